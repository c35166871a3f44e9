"""A gate that checks files and the preparation of pictures, as operators: what they take, give, write and refuse."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.sdk import DAG, ObjectStoragePath
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_360dialog.exceptions import StoppedError, StorageFailedError
from airflow_provider_360dialog.hooks import places
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.campaigns import Dialog360PlanCampaignOperator, Dialog360UploadCampaignOperator
from airflow_provider_360dialog.operators.files import Dialog360CheckMediaOperator, Dialog360PrepareMediaOperator
from tests.support.pictures import jpeg, located, png, turned

ARGUMENTS = {
    Dialog360CheckMediaOperator: {"source": "/a/"},
    Dialog360PrepareMediaOperator: {"source": "/a/", "destination": "/b/"},
}
EACH = pytest.mark.parametrize("operator", list(ARGUMENTS), ids=lambda each: each.__name__)


@pytest.fixture
def folder(tmp_path):
    """Two good ones, one with a warning, one whose pixels are damaged, and one that is an error page."""
    folder = tmp_path / "menus"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg())
    (folder / "b.jpg").write_bytes(located())
    (folder / "c.jpg").write_bytes(turned())
    content = bytearray(png())
    at = content.index(b"IDAT") + 8
    content[at : at + 60] = b"\x55" * 60
    (folder / "d.png").write_bytes(content)
    (folder / "e.pdf").write_bytes(b"<html><body>Error</body></html>")
    return folder


def check(folder, **arguments):
    return Dialog360CheckMediaOperator(task_id="t", source=str(folder), **arguments).execute({})


@EACH
def test_arguments_are_stored_untouched_and_judged_when_the_task_runs(operator):
    wrong = dict.fromkeys(ARGUMENTS[operator], 7)
    task = operator(task_id="t", max_reject_ratio="many", **wrong)
    assert {name: getattr(task, name) for name in wrong} == wrong
    with pytest.raises(AirflowFailException, match="max_reject_ratio is a share"):
        task.execute({})


@EACH
def test_an_operator_of_no_number_takes_no_connection(operator):
    assert "dialog360_conn_id" not in inspect.signature(operator.__init__).parameters
    assert not issubclass(operator, Dialog360Hook)


@EACH
def test_a_dag_with_it_can_be_serialised(operator):
    with DAG("d") as dag:
        operator(task_id="t", **ARGUMENTS[operator])
    assert json.dumps(DagSerialization.to_dict(dag))


@EACH
def test_nothing_heavy_is_imported_while_a_dag_is_parsed(operator, checkout):
    """Pillow and PyAV take a second, and belong into worker processes."""
    code = f"import sys, {operator.__module__}; print(sorted(each for each in ('PIL', 'av', 'jinja2') if each in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True, timeout=120)
    light = subprocess.run(
        [sys.executable, "-c", "import sys, airflow.sdk; from airflow.sdk import BaseOperator; print('jinja2' in sys.modules)"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    expected = ["jinja2"] if "True" in light.stdout else []
    assert found.stdout.splitlines()[-1] == str(expected)


def test_a_gate_fails_where_a_file_is_unfit_and_the_report_stands(folder, tmp_path):
    with pytest.raises(AirflowFailException, match=r"2 of 5 files cannot be sent.*report/report\.html"):
        check(folder, report_uri=str(tmp_path / "report"))
    assert (tmp_path / "report" / "report.html").read_text().lower().startswith("<!doctype html>")
    assert json.loads((tmp_path / "report" / "report.json").read_text())["counts"]["bad"] == 2


def test_a_gate_lets_as_many_through_as_it_may(folder, tmp_path):
    found = check(folder, report_uri=tmp_path / "report", max_reject_ratio="0.4")
    assert found["counts"] | {"by_code": {}} == {
        "files": 5, "ok": 3, "warned": 1, "bad": 2, "unreadable": 0, "prepared": 0, "by_code": {},
    }  # fmt: skip
    assert found["counts"]["by_code"]["image_corrupt"] == 1
    assert found["counts"]["by_code"]["type_not_accepted"] == 1
    assert (found["report_uri"], found["json_uri"]) == (
        str(tmp_path / "report" / "report.html"),
        str(tmp_path / "report" / "report.json"),
    )
    assert json.loads(json.dumps(found)) == found


def test_headers_alone_do_not_see_damaged_pixels_and_the_report_says_so(folder, tmp_path):
    found = check(folder, report_uri=tmp_path / "report", max_reject_ratio=0.2, decode=False)
    assert found["counts"]["bad"] == 1
    assert "Only headers were read" in json.loads((tmp_path / "report" / "report.json").read_text())["not_looked_at"]


def test_the_report_has_every_file_in_the_order_of_the_folder(folder, tmp_path):
    check(folder, report_uri=tmp_path / "report", max_reject_ratio=1)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [each["path"] for each in report["files"]] == ["a.jpg", "b.jpg", "c.jpg", "d.png", "e.pdf"]
    assert [each["ok"] for each in report["files"]] == [True, True, True, False, False]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "data:image/jpeg;base64," in page  # of c.jpg, which has a warning
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_file_that_is_gone_and_a_line_that_is_no_item_are_in_the_report(folder, tmp_path):
    (folder / "list.jsonl").write_text('{"key": "x", "uri": "none.jpg"}\n{"key": "y"}\n{"key": "z", "uri": "a.jpg"}\n')
    check(folder / "list.jsonl", report_uri=tmp_path / "report", max_reject_ratio=1)
    files = json.loads((tmp_path / "report" / "report.json").read_text())["files"]
    assert [(each["path"], each["ok"], [p["code"] for p in each["problems"]]) for each in files] == [
        ("x", False, ["source_unreadable"]),
        ("y", False, ["malformed"]),
        ("z", True, []),
    ]
    assert all(problem["remedy"] for each in files for problem in each["problems"])


def test_what_a_manifest_says_of_a_file_counts(folder):
    (folder / "list.jsonl").write_text('{"key": "x", "uri": "a.jpg", "kind": "video"}\n')
    with pytest.raises(AirflowFailException):
        check(folder / "list.jsonl")


def test_a_report_never_lies_among_the_files(folder):
    with pytest.raises(AirflowFailException, match="report_uri lies within source"):
        check(folder, report_uri=str(folder / "report"))


def test_no_file_is_no_failure(tmp_path):
    (tmp_path / "none").mkdir()
    assert check(tmp_path / "none", report_uri=tmp_path / "report")["counts"]["files"] == 0


def test_a_list_and_path_objects_are_taken(folder):
    made = Dialog360CheckMediaOperator(task_id="t", source=[str(folder / "a.jpg")])
    assert made.execute({})["counts"]["ok"] == 1
    made = Dialog360CheckMediaOperator(task_id="t", source=ObjectStoragePath(f"file://{folder}"), max_reject_ratio=1)
    assert made.execute({})["counts"]["files"] == 5


def test_a_storage_that_fails_for_now_is_left_to_airflows_retries(folder, monkeypatch):
    def failing(self):
        raise StorageFailedError(uri=self.uri, reason="it is busy")

    monkeypatch.setattr(places.LocalSource, "open", failing)
    with pytest.raises(StorageFailedError):
        check(folder)


@EACH
def test_a_task_that_is_told_to_end_ends(operator, folder, tmp_path):
    arguments = ARGUMENTS[operator] | {"source": str(folder)}
    if "destination" in arguments:
        arguments["destination"] = str(tmp_path / "ready")
    task = operator(task_id="t", **arguments)
    task.on_kill()
    with pytest.raises(StoppedError):
        task.execute({})


def test_a_preparation_gives_a_manifest(folder, tmp_path):
    made = Dialog360PrepareMediaOperator(
        task_id="t", source=str(folder), destination=str(tmp_path / "ready"), max_reject_ratio="0.4"
    )
    found = made.execute({})
    assert found["counts"] == {"items": 5, "prepared": 2, "unchanged": 1, "rejected": 2}
    assert found["manifest_uri"] == str(tmp_path / "ready" / "manifest.jsonl")
    assert json.loads(json.dumps(found)) == found
    assert made.execute({}) == found


def test_no_worker_process_is_left(folder):
    check(folder, max_reject_ratio=1)
    assert [each for each in Path("/proc").iterdir() if each.name.isdigit() and _is_our_worker(each)] == []


def _is_our_worker(process):
    try:
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        return parent == os.getpid() and "media.decoding.worker" in (process / "cmdline").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    "operator", [Dialog360PlanCampaignOperator, Dialog360UploadCampaignOperator], ids=lambda each: each.__name__
)
def test_operators_of_campaigns_prepare_where_they_are_told_to(operator, connected, tmp_path):
    """What they keep lies where they are told to keep it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(turned())
    arguments = {"campaign": connected.number_id, "source": str(tmp_path / "in"), "needed_until": _in_days(9), "prepare": True}
    whose = {"channels": ["number_a"]} if operator is Dialog360PlanCampaignOperator else {"dialog360_conn_id": "number_a"}
    operator(task_id="t", prepared_uri=str(tmp_path / "ready"), **arguments, **whose).execute({})
    assert [path.suffix for path in sorted((tmp_path / "ready").iterdir())] == [".jpg", ".json"]
    assert connected.sent("upload") == (operator is Dialog360UploadCampaignOperator)


def _in_days(days):
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()
