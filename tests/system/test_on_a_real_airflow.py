"""The example DAG on a whole Airflow, as a user would run it, and what must not be found anywhere afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
import urllib.parse
from pathlib import Path

import pytest

from airflow_provider_360dialog.get_provider_info import get_provider_info

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("airflow_logs_on_failure")]

DAG = "example_media_lifecycle"
MEDIA = Path(__file__).resolve().parents[2] / "dags_examples" / "media"


def run_to_success(airflow, dag_id, conf):
    deadline = time.monotonic() + 60
    while not any(dag["dag_id"] == dag_id for dag in airflow.ask("/api/v2/dags")["dags"]):
        assert time.monotonic() < deadline, airflow.ask("/api/v2/importErrors")
        time.sleep(1)
    run_id, state = airflow.run(dag_id, conf)
    failed = [(ti["task_id"], ti["map_index"]) for ti in airflow.task_instances(dag_id, run_id) if ti["state"] != "success"]
    assert (state, failed) == ("success", [])
    return run_id


@pytest.fixture(scope="module")
def finished(airflow, emulator, tmp_path_factory):
    """One run of the example DAG over the sample files: (run id, out folder, what the emulator counted)."""
    out = tmp_path_factory.mktemp("out")
    run_id = run_to_success(airflow, DAG, {"folder": str(MEDIA), "out": str(out)})
    return run_id, out, emulator.counters()


@pytest.fixture(scope="module")
def rows(finished):
    return json.loads((finished[1] / "report.json").read_text())


@pytest.fixture(scope="module")
def good(rows):
    return [row for row in rows if row["verdict"] == "good"]


def test_the_example_dags_load(airflow, finished):
    assert airflow.ask("/api/v2/importErrors")["import_errors"] == []
    assert {dag["dag_id"] for dag in airflow.ask("/api/v2/dags")["dags"]} == {path.stem for path in MEDIA.parent.glob("*.py")}


def test_every_file_is_judged_and_only_the_bad_ones_are_refused(rows):
    assert sorted(row["file"] for row in rows) == sorted(path.name for path in MEDIA.iterdir() if not path.name.startswith("."))
    assert len(rows) >= 8
    for row in rows:
        assert (row["verdict"] == "refused") == row["file"].startswith("bad_"), row
        assert bool(row["reasons"]) == (row["verdict"] == "refused"), row


def test_every_good_file_comes_back_identical(good):
    for row in good:
        copy = Path(row["copy"].removeprefix("file://"))
        assert copy.read_bytes() == (MEDIA / row["file"]).read_bytes()


def test_every_good_file_is_uploaded_once_and_gone_afterwards(emulator, finished, good):
    counters = finished[2]
    sums = {hashlib.sha256((MEDIA / row["file"]).read_bytes()).hexdigest(): 1 for row in good}
    assert counters["uploads_by_sha256"] == sums
    assert [media.media_id for media in emulator.live_media(emulator.number_id)] == []
    for row in good:
        assert emulator.media(row["media_id"]).deleted


def test_no_request_failed(finished):
    """Above all no GET: each failed one costs error budget."""
    counters = finished[2]
    assert (counters["refused"], counters["failed_gets"]) == ({}, 0)


def test_results_in_xcom_are_small_and_have_the_documented_keys(airflow, finished, rows, good):
    run_id = finished[0]
    keys = {
        "one_file.upload": {"media_id", "sha256", "mime_type", "size_bytes", "safe_until", "reused", "receipt"},
        "one_file.fetch_url": {"media_id", "mime_type", "sha256", "size_bytes", "url_expires_at"},
        "one_file.download": {"uri", "size_bytes", "sha256", "mime_type"},
    }
    for task_id, expected in keys.items():
        for index in range(len(good)):
            value = airflow.xcom(DAG, run_id, task_id, map_index=index)
            assert set(value) == expected
            assert len(json.dumps(value)) < 4096
    assert airflow.xcom(DAG, run_id, "report") == {"files": len(rows), "good": len(good), "refused": len(rows) - len(good)}


@pytest.fixture(scope="module")
def finished_taskflow(airflow, tmp_path_factory):
    """One run of the smallest example: (run id, copy)."""
    copy = tmp_path_factory.mktemp("taskflow") / "copy.jpg"
    return run_to_success(airflow, "example_taskflow", {"path": str(MEDIA / "photo.jpg"), "copy": str(copy)}), copy


def test_the_hook_serves_tasks_and_its_records_pass_through_xcom_as_plain_dictionaries(airflow, emulator, finished_taskflow):
    run_id, copy = finished_taskflow
    assert copy.read_bytes() == (MEDIA / "photo.jpg").read_bytes()
    uploaded = airflow.xcom("example_taskflow", run_id, "upload")
    assert set(uploaded) == {"media_id", "sha256", "mime_type", "size_bytes", "uploaded_at", "safe_until", "reused", "receipt"}
    assert uploaded["sha256"] == hashlib.sha256(copy.read_bytes()).hexdigest()
    assert airflow.xcom("example_taskflow", run_id, "delete") is True
    assert emulator.live_media(emulator.number_id) == []


def everything_that_airflow_kept(home):
    """All log files, and the metadata database as text: XCom, rendered fields, events and the rest."""
    for path in home.rglob("*.log"):
        yield path.name, path.read_text(errors="replace")
    with contextlib.closing(sqlite3.connect(home / "airflow.db")) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = database.execute(f'SELECT * FROM "{table}"').fetchall()
            yield (
                table,
                "\n".join(
                    value.decode(errors="replace") if isinstance(value, bytes) else str(value) for row in rows for value in row
                ),
            )


def test_key_and_download_links_are_found_nowhere(airflow, emulator, finished, finished_taskflow, good):
    """Logging at DEBUG, over all processes of a whole Airflow."""
    kept = list(everything_that_airflow_kept(airflow.home))
    assert any(name == "attempt=1.log" and '"level":"debug"' in text for name, text in kept)
    assert any(name == "xcom" and good[0]["media_id"] in text for name, text in kept)
    hashes = [urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["hash"][0] for url in emulator.issued_urls]
    assert len(hashes) >= len(good)
    found = [(name, secret) for name, text in kept for secret in (emulator.key, *hashes, "&hash=") if secret in text]
    assert found == []


def test_the_connection_form_shows_our_fields(airflow):
    (form,) = [each for each in airflow.ask("/ui/connections/hook_meta") if each["connection_type"] == "dialog360"]
    declared = get_provider_info()["connection-types"][0]
    assert form["hook_name"] == "360dialog"
    standard = form["standard_fields"]
    assert standard["password"]["title"] == "API key"
    assert standard["host"]["title"] == "Base URL"
    assert standard["host"]["placeholder"] == "https://waba-v2.360dialog.io"
    assert {name for name, field in standard.items() if field and field["hidden"]} == {"url_schema", "login", "port"}
    assert list(form["extra_fields"]) == list(declared["conn-fields"])
    for name, field in declared["conn-fields"].items():
        shown = form["extra_fields"][name]
        assert shown["schema"]["title"] == field["label"]
        assert shown["description"] == field["description"]
        assert shown["value"] == field["schema"].get("default")


def test_airflow_lists_the_provider(airflow):
    listed = airflow.ask("/api/v2/providers", limit=100)["providers"]
    assert "airflow-provider-360dialog" in [each["package_name"] for each in listed]
