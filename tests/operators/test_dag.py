"""All operators in one real DAG run: templates, mapping, XCom, retries."""

from __future__ import annotations

import json

import pytest

from tests.canary import CANARY

UPLOADED = {"media_id", "sha256", "mime_type", "size_bytes", "safe_until", "reused", "receipt"}
FETCHED = {"media_id", "mime_type", "sha256", "size_bytes", "url_expires_at"}


def test_every_task_ends_as_it_should(run):
    """All but the two that cannot succeed."""
    assert {key: state for key, state in run.states.items() if state != "success"} == {
        ("gone", -1): "failed",
        ("unfit", -1): "failed",
    }
    assert len(run.states) > 20


@pytest.mark.parametrize("task_id", ["gone", "unfit"])
def test_what_retrying_cannot_mend_is_tried_once(run, task_id):
    """Whatever `retries` says."""
    assert run.tries[task_id, -1] == 1


def test_what_retrying_can_mend_is_left_to_airflow(run):
    """A server that asks for more patience than one call has fails the try, and the next try succeeds."""
    assert run.tries["shaky", -1] == 2


@pytest.mark.parametrize(
    ("task_id", "fields"),
    [
        ("upload", UPLOADED),
        ("mended", UPLOADED),
        ("check", {"counts", "report_uri", "json_uri"}),
        ("prepare", {"counts", "manifest_uri", "receipts_uri", "rejects_uri"}),
        ("fetch", FETCHED),
        ("fetch_url", FETCHED | {"url"}),
        ("download", {"uri", "size_bytes", "sha256", "mime_type"}),
        ("delete", {"requested", "deleted", "missing", "dry_run"}),
        ("fetch_in_a_function", FETCHED),
    ],
)
def test_xcom_has_exactly_these_fields(run, task_id, fields):
    """The shapes are part of the contract."""
    assert set(run.xcom(task_id)) == fields


def test_xcom_values_have_these_types(run):
    """Ids as text, sizes as numbers, instants as ISO 8601 with their zone."""
    uploaded = run.xcom("upload")
    assert uploaded["media_id"].isdigit()
    assert (uploaded["mime_type"], uploaded["reused"], len(uploaded["sha256"])) == ("image/jpeg", False, 64)
    assert isinstance(uploaded["size_bytes"], int)
    assert uploaded["safe_until"].endswith("+00:00")
    assert run.xcom("fetch")["url_expires_at"].endswith("+00:00")


def test_templates_reach_every_argument(run):
    """Down to the file name that was sent and the hash that was checked."""
    assert run.number.emu.media(run.xcom("upload")["media_id"]).file_name == "holiday.jpg"
    assert (run.out / "copy.jpg").exists()
    assert run.xcom("download")["uri"] == str(run.out / "copy.jpg")


def test_what_was_prepared_has_its_receipt_in_xcom(run):
    receipt = run.xcom("mended")["receipt"]
    assert [change["code"] for change in receipt["changes"]] == ["to_jpeg"]
    assert receipt["after"]["sha256"] == run.xcom("mended")["sha256"]
    assert run.xcom("mended")["mime_type"] == "image/jpeg"
    assert run.xcom("upload")["receipt"] is None


def test_a_gate_and_a_preparation_write_where_their_templates_say(run):
    assert run.xcom("check")["counts"]["bad"] == 6
    assert run.xcom("check")["report_uri"] == str(run.out / "report" / "report.html")
    assert run.xcom("prepare")["counts"] == {"items": 1, "prepared": 1, "unchanged": 0, "rejected": 0}
    assert (run.out / "ready.jsonl").read_text().startswith('{"key": "chart.png"')


def test_mapped_uploads_give_one_id_each(run):
    """`.partial().expand()` over paths."""
    ids = {run.xcom("many", index)["media_id"] for index in range(6)}
    assert len(ids) == 6
    assert set(run.xcom("ids")) == ids


@pytest.mark.parametrize(
    ("task_id", "counts"),
    [
        ("delete", (1, 1, 0, False)),
        ("delete_again", (1, 0, 1, False)),
        ("delete_dry", (6, 0, 0, True)),
        ("delete_xcom", (6, 6, 0, False)),
        ("delete_text", (6, 0, 6, False)),
        ("delete_json", (6, 0, 6, False)),
    ],
)
def test_deletes_count_what_they_did(run, task_id, counts):
    """One id, an XCom list, a list as a template writes it, and JSON."""
    assert tuple(run.xcom(task_id).values()) == counts
    assert list(run.xcom(task_id)) == ["requested", "deleted", "missing", "dry_run"]


def test_mapped_deletes_get_one_id_each(run):
    """`.partial().expand()` over ids."""
    assert [run.xcom("delete_mapped", index)["requested"] for index in range(6)] == [1] * 6


def test_a_task_of_one_number_leads_to_the_hub(run):
    """Airflow stores the link when the task has ended; tasks of no number have none."""
    links = {task_id: value for task_id, key, value in run.all_xcoms if key == "_link_Dialog360HubLink"}
    assert {"upload", "fetch", "download", "delete", "many", "gone"} <= set(links)
    assert not {"check", "prepare", "ids"} & set(links)
    assert {json.loads(value) if value.startswith('"') else value for value in links.values()} == {"https://hub.360dialog.com"}


def test_no_secret_is_stored_in_the_metadata_database(run):
    """XComs and rendered fields; the URL that was asked for with `return_url=True` is the one exception."""
    asked_for = [(task_id, key) for task_id, key, _ in run.all_xcoms if task_id == "fetch_url"]
    assert asked_for
    assert "lookaside.fbsbx.com" in json.dumps(run.xcom("fetch_url"))
    stored = [json.dumps(value, default=str) for task_id, _, value in run.all_xcoms if task_id != "fetch_url"]
    stored += [json.dumps(fields, default=str) for fields in run.rendered.values()]
    assert len(stored) > 40
    before = len(CANARY.found)
    for text in stored:
        CANARY.look(text, "the metadata database")
    assert len(CANARY.found) == before
    assert not any("hash=" in text for text in stored)
