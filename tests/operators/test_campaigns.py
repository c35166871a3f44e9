"""Campaigns through the operators, the real hook and the emulator: planned, uploaded, exported, renewed, waited for."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.util
import inspect
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, ObjectStoragePath
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    TaskDeferred,
)
from airflow.sdk.execution_time.context import set_current_context
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_360dialog.exceptions import CampaignIncompleteError, ServerError, StoppedError
from airflow_provider_360dialog.get_provider_info import get_provider_info
from airflow_provider_360dialog.hooks import session
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.jobs import campaign as job
from airflow_provider_360dialog.operators import campaigns as module
from airflow_provider_360dialog.operators.campaigns import (
    Dialog360ExportCampaignOperator,
    Dialog360PlanCampaignOperator,
    Dialog360RefreshMediaOperator,
    Dialog360UploadCampaignOperator,
)
from airflow_provider_360dialog.sensors.campaign import Dialog360CampaignReadySensor
from tests.canary import CANARY, KEY, Number, _numbers

HTML = b"<html><body>Error 500</body></html>"
NEEDED = (datetime.now(UTC) + timedelta(days=10)).isoformat()
ARGUMENTS = {
    Dialog360PlanCampaignOperator: {"campaign": "c", "source": "/a/", "channels": ["number_a"], "needed_until": NEEDED},
    Dialog360UploadCampaignOperator: {"campaign": "c"},
    Dialog360ExportCampaignOperator: {"campaign": "c", "destination": "/a/ids.csv"},
    Dialog360RefreshMediaOperator: {"valid_until": NEEDED},
    Dialog360CampaignReadySensor: {"campaign": "c"},
}
EACH = pytest.mark.parametrize("operator", list(ARGUMENTS), ids=lambda each: each.__name__)


def pdf(name):
    """A small file that is judged good, unlike any other name's."""
    return b"%PDF-1.4\n" + hashlib.sha256(name.encode()).digest() * 40 + b"\nstartxref\n0\n%%EOF\n"


@pytest.fixture
def folder(tmp_path):
    """Twelve vouchers."""
    return vouchers(tmp_path / "vouchers", 12)


@pytest.fixture
def forty(tmp_path):
    """Enough to come in between."""
    return vouchers(tmp_path / "vouchers", 40)


def vouchers(folder, count):
    folder.mkdir()
    for each in range(count):
        (folder / f"{each:02}.pdf").write_bytes(pdf(f"{each}"))
    return folder


@pytest.fixture
def three(emulated, connected, connect):
    """Three connected numbers, the first of them `connected`."""
    numbers = [connected]
    for conn_id in ("number_b", "number_c"):
        number_id = str(next(_numbers))
        emulated.add_number(number_id, f"{KEY}-{number_id}")
        connect(emulated.base_url, f"{KEY}-{number_id}", conn_id=conn_id)
        numbers.append(Number(emulated, number_id, f"{KEY}-{number_id}"))
    return numbers


def plan(source, channels=("number_a",), **more):
    made = Dialog360PlanCampaignOperator(
        task_id="t", **{"campaign": "c", "source": source, "channels": list(channels), "needed_until": NEEDED} | more
    )
    return made.execute({})


def uploading(source=None, conn_id="number_a", **more):
    """An upload that is ready to be executed."""
    planned = {} if source is None else {"source": str(source) if isinstance(source, Path) else source, "needed_until": NEEDED}
    return Dialog360UploadCampaignOperator(task_id="t", **{"campaign": "c", "dialog360_conn_id": conn_id} | planned | more)


def export(destination, **more):
    return Dialog360ExportCampaignOperator(task_id="t", **{"campaign": "c", "destination": str(destination)} | more).execute({})


def exported(path):
    if path.suffix == ".csv":
        return list(csv.DictReader(path.read_text().splitlines()))
    return [json.loads(line) for line in path.read_text().splitlines()]


def uploads_of(number):
    """Sha256 -> how often it was stored at 360dialog."""
    return number.emu.counters(number.number_id)["uploads_by_sha256"]


def wait_until(condition, seconds=20.0):
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


@contextlib.contextmanager
def running_as(try_number):
    """As the same task's n-th try."""
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=try_number)
    with set_current_context({"ti": ti}):
        yield


# --- what Airflow needs -------------------------------------------------------------------------------------------


def test_every_operator_is_here():
    """A new one must not be forgotten below."""
    found = {each for name, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__}
    assert {each for each in found if not each.__name__.startswith("_")} == set(ARGUMENTS) - {Dialog360CampaignReadySensor}


@EACH
def test_airflow_is_told_where_it_is(operator):
    """Its pages list operators and sensors by these modules."""
    info = get_provider_info()
    known = {name for section in ("operators", "sensors") for each in info[section] for name in each["python-modules"]}
    assert operator.__module__ in known


@EACH
def test_making_an_operator_does_no_work(operator, monkeypatch):
    """DAG files are parsed again and again, where no connection and no ledger exists."""
    monkeypatch.setattr(Dialog360Hook, "__init__", lambda *_, **__: pytest.fail("a hook was made"))
    monkeypatch.setattr(module.Campaigns, "__init__", lambda *_, **__: pytest.fail("the ledger was asked"))
    with DAG("d", schedule=None):
        operator(task_id="t", **ARGUMENTS[operator])


@EACH
def test_arguments_are_stored_untouched_under_their_own_names(operator):
    """Airflow renders templates into the attributes."""
    names = [name for name in inspect.signature(operator.__init__).parameters if name not in {"self", "kwargs"}]
    markers = {name: object() for name in names}
    made = operator(task_id="t", **markers)
    for name in set(names) - {"dry_run"}:  # Airflow's own method has that name
        assert getattr(made, name) is markers[name]
    assert set(operator.template_fields) <= {*names, "dialog360_conn_id"}
    assert callable(made.dry_run)


def test_dags_survive_serialisation():
    """The scheduler and the web server see the serialised form only."""
    with DAG("d", schedule=None) as dag:
        for operator, arguments in ARGUMENTS.items():
            operator(task_id=operator.__name__, **arguments)
    back = DagSerialization.deserialize_dag(json.loads(json.dumps(DagSerialization.serialize_dag(dag))))
    for operator, arguments in ARGUMENTS.items():
        task = back.task_dict[operator.__name__]
        assert tuple(task.template_fields) == tuple(operator.template_fields)
        assert {name: getattr(task, name) for name in arguments} == arguments


@EACH
def test_on_kill_before_anything_ran_is_harmless(operator):
    """Where no connection exists either."""
    operator(task_id="t", **ARGUMENTS[operator]).on_kill()


def test_a_plan_that_is_told_to_end_ends(connected, folder):
    made = Dialog360PlanCampaignOperator(task_id="t", **ARGUMENTS[Dialog360PlanCampaignOperator] | {"source": str(folder)})
    made.on_kill()
    with pytest.raises(StoppedError):
        made.execute({})


def test_an_upload_that_is_told_to_end_ends_within_four_seconds(connected, forty):
    """`on_kill` comes on the main thread, while `execute` runs."""
    plan(str(forty))
    connected.emu.configure(service_s=0.5)
    made = uploading()
    told_at = []

    def tell_when_some_are_there():
        wait_until(lambda: len(uploads_of(connected)) >= 3)
        told_at.append(time.monotonic())
        made.on_kill()

    threading.Thread(target=tell_when_some_are_there).start()
    with pytest.raises(StoppedError):
        made.execute({})
    assert time.monotonic() - told_at[0] < 4
    done = len(uploads_of(connected))
    assert 0 < done < 40
    connected.emu.configure(service_s=0.0)
    assert uploading().execute({})["uploads"] == 40 - done
    assert set(uploads_of(connected).values()) == {1}


# --- one number, straight from a forty ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", [str, lambda path: f"{path}/*.pdf", lambda path: ObjectStoragePath(f"file://{path}/")])
def test_a_folder_is_uploaded_by_one_task(form, connected, folder, tmp_path):
    """The common case: one number, one folder; a rerun calls nobody and exports the same."""
    assert uploading(form(folder)).execute({}) == {"total": 12, "done": 12, "rejected": 0, "uploads": 12, "failed": 0}
    result = export(tmp_path / "ids.jsonl")
    assert {name: result[name] for name in ("uri", "rows", "missing", "version")} == {
        "uri": str(tmp_path / "ids.jsonl"),
        "rows": 12,
        "missing": 0,
        "version": 1,
    }
    assert timedelta(days=28) < datetime.fromisoformat(result["min_safe_until"]) - datetime.now(UTC) < timedelta(days=29)
    rows = exported(tmp_path / "ids.jsonl")
    assert [row["key"] for row in rows] == [f"{each:02}.pdf" for each in range(12)]
    for row in rows:
        assert connected.emu.content(row["media_id"]) == (folder / row["key"]).read_bytes()
        assert row["phone_number_id"] == connected.number_id
    requests = connected.emu.counters(connected.number_id)["requests"]
    assert uploading(folder).execute({})["total"] == 0
    assert export(tmp_path / "again.jsonl")["version"] == 1
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "ids.jsonl").read_bytes()
    assert connected.emu.counters(connected.number_id)["requests"] == requests


def test_what_is_new_in_the_folder_is_all_that_is_sent(connected, folder, tmp_path):
    """And what has gone from it is not wanted any more."""
    uploading(folder).execute({})
    (folder / "new.pdf").write_bytes(pdf("new"))
    (folder / "11.pdf").unlink()
    assert uploading(folder).execute({})["uploads"] == 1
    result = export(tmp_path / "ids.csv")
    assert (result["rows"], result["version"], connected.sent("upload")) == (12, 1, 13)
    assert [row["key"] for row in exported(tmp_path / "ids.csv")][-2:] == ["10.pdf", "new.pdf"]


def test_an_empty_list_is_a_campaign_of_nothing(connected, folder):
    """Not the one that was planned before."""
    plan(str(folder))
    assert uploading([]).execute({})["total"] == 0
    assert connected.sent("upload") == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"campaign": "never"}, "not on record"),
        ({"source": "/nowhere/at/all/", "needed_until": NEEDED}, "/nowhere"),
        ({"source": ["a"], "needed_until": ""}, "needed_until"),
        ({"source": ["a"], "needed_until": "tomorrow"}, "needed_until"),
        ({"source": ["a"], "needed_until": "2020-01-01T00:00:00Z"}, "past"),
        ({"max_reject_ratio": "much"}, "max_reject_ratio"),
        ({"max_reject_ratio": "1.5"}, "max_reject_ratio"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": -1}, "concurrency"),
    ],
)
def test_a_call_that_cannot_be_fails_for_good_and_sends_nothing(more, words, connected, folder):
    """Retrying would not mend it."""
    plan([{"key": "a", "uri": str(folder / "00.pdf")}])
    with pytest.raises(AirflowFailException, match=words):
        uploading(**more).execute({})
    assert connected.sent("upload") == 0


def test_a_rendered_share_is_a_text(connected, folder):
    """Templates give texts."""
    (folder / "bad.pdf").write_bytes(HTML)
    assert uploading(folder, max_reject_ratio="0.08").execute({})["done"] == 12
    with pytest.raises(AirflowFailException, match="1 of 13 items"):
        uploading(folder, max_reject_ratio="0.07").execute({})


@pytest.mark.parametrize("channels", ["number_a", "['number_a']"])
def test_channels_are_a_list(channels, connected, folder):
    """A text is no list of its letters."""
    made = Dialog360PlanCampaignOperator(task_id="t", campaign="c", source=str(folder), channels=channels, needed_until=NEEDED)
    with pytest.raises(AirflowFailException, match="list"):
        made.execute({})


# --- a plan -------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_there_is_to_do_and_sends_no_file(three, folder):
    """Each item on every number, where it is told so; the busiest number tells when it will be done."""
    result = plan(str(folder), ["number_a", "number_b", "number_c"], assign="replicate")
    size = sum(len((folder / f"{each:02}.pdf").read_bytes()) for each in range(12))
    assert result == {
        "counts": {"items": 36, "rejected": 0, "prepared": 0, "ready": 0, "uploads": 36, "bytes": 3 * size},
        "eta": {"seconds": pytest.approx(12 / 24.5, abs=0.1), "busiest": "number_a"},
        "rejects_uri": None,
        "channels": ["number_a", "number_b", "number_c"],
    }
    assert [number.sent("upload") for number in three] == [0, 0, 0]


@pytest.mark.parametrize(
    "bounds",
    [{"max_items": 11}, {"max_items": "11"}, {"max_bytes": 100}, {"max_bytes": " 100 "}],
    ids=str,
)
def test_a_plan_is_no_larger_than_it_may_be(connected, folder, bounds):
    """T23: it fails for good. A rendered bound is a text."""
    with pytest.raises(AirflowFailException, match=rf"more than the .* that {next(iter(bounds))} allows"):
        plan(str(folder), **bounds)


@pytest.mark.parametrize("bounds", [{}, {"max_items": None}, {"max_items": "None", "max_bytes": ""}, {"max_items": 12}], ids=str)
def test_a_plan_may_have_so_much_or_any_number(connected, folder, bounds):
    assert plan(str(folder), **bounds)["counts"]["items"] == 12


@pytest.mark.parametrize("wrong", [0, -1, "many", "1e6", "²", 1.5, True])
def test_a_bound_that_is_none_is_a_sentence(connected, folder, wrong):
    with pytest.raises(AirflowFailException, match="max_items is a whole number from 1 on, or None"):
        plan(str(folder), max_items=wrong)


def test_a_dry_run_leaves_no_trace(connected, folder, tmp_path):
    (folder / "bad.pdf").write_bytes(HTML)
    rejects = tmp_path / "rejects.jsonl"
    result = plan(str(folder), dry_run=True, max_reject_ratio=1, rejects_uri=str(rejects))
    assert result["counts"]["uploads"] == 12
    assert result["counts"]["rejected"] == 1
    assert not rejects.exists()
    with pytest.raises(AirflowFailException, match="not on record"):
        export(tmp_path / "ids.csv")


def test_replicated_items_have_an_id_on_each_number(three, folder, tmp_path):
    """Ids belong to a number."""
    names = ["number_a", "number_b", "number_c"]
    for path in sorted(folder.iterdir())[5:]:
        path.unlink()
    plan(str(folder), names, assign="replicate")
    with ThreadPoolExecutor() as pool:
        assert [each["uploads"] for each in pool.map(lambda name: uploading(conn_id=name).execute({}), names)] == [5, 5, 5]
    assert export(tmp_path / "ids.csv")["rows"] == 15
    rows = exported(tmp_path / "ids.csv")
    for number, name in zip(three, names, strict=True):
        mine = [row for row in rows if row["channel"] == name]
        assert {row["phone_number_id"] for row in mine} == {number.number_id}
        assert {row["media_id"] for row in mine} == {each.media_id for each in number.emu.live_media(number.number_id)}
    assert len({row["media_id"] for row in rows}) == 15


def test_rejects_stand_in_a_file_with_their_reasons_and_cost_no_request(connected, folder, tmp_path):
    """Web pages that are called .pdf, a file that is not there, a line that is none (needs US-6)."""
    for each in range(4):
        (folder / f"{each:02}.pdf").write_bytes(HTML)
    lines = [json.dumps({"key": path.name, "uri": f"vouchers/{path.name}"}) for path in sorted(folder.iterdir())]
    lines += [
        json.dumps({"key": "gone", "uri": "vouchers/gone.pdf"}),
        "{",
        json.dumps({"key": "elsewhere", "uri": "x", "channel": "y"}),
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(lines))
    with pytest.raises(AirflowFailException, match="7 of 15 items") as caught:
        plan(str(manifest))
    assert f"{manifest}.rejects.jsonl" in str(caught.value)
    rejects = exported(Path(f"{manifest}.rejects.jsonl"))
    assert [each["line"] for each in rejects] == [1, 2, 3, 4, 13, 14, 15]
    assert [each["key"] for each in rejects[:5]] == ["00.pdf", "01.pdf", "02.pdf", "03.pdf", "gone"]
    codes = [{problem["code"] for problem in each["problems"]} for each in rejects]
    assert codes[4:] == [{"source_unreadable"}, {"malformed"}, {"channel"}]
    assert all("type_not_accepted" in each for each in codes[:4])
    assert all(problem["message"] for each in rejects for problem in each["problems"])
    assert uploading(max_reject_ratio=0.5).execute({})["uploads"] == 8  # what is good stays planned
    assert plan(str(manifest), max_reject_ratio=0.5, rejects_uri=str(tmp_path / "why.jsonl"))["counts"]["ready"] == 8
    assert len(exported(tmp_path / "why.jsonl")) == 7
    assert connected.emu.counters(connected.number_id)["refused"] == {}
    assert connected.sent("upload") == 8


# --- a key, a pause, a failure ------------------------------------------------------------------------------------


@pytest.fixture
def read_once(monkeypatch):
    """Connections are read once, and then only after a refusal."""
    monkeypatch.setattr(session, "_OFTEN_S", 60.0)


def test_a_new_key_in_mid_run_goes_on(connected, connect, forty, read_once):
    """Needs US-8: at 360dialog the new key ends the old one; no more calls are refused than were in flight, plus one."""
    connected.emu.configure(service_s=0.1)
    before = connected.emu.state.strangers

    def rotate():
        wait_until(lambda: connected.sent("upload") >= 15)
        number_id = str(next(_numbers))
        connect(connected.base_url, f"{KEY}-{number_id}")
        connected.emu.rotate_key(connected.number_id, f"{KEY}-{number_id}")

    thread = threading.Thread(target=rotate)
    thread.start()
    result = uploading(forty, concurrency=4).execute({})
    thread.join()
    assert (result["done"], result["failed"]) == (40, 0)
    assert 1 <= connected.emu.state.strangers - before <= 5
    assert set(uploads_of(connected).values()) == {1}
    assert len(uploads_of(connected)) == 40


def test_a_revoked_key_stops_after_what_is_in_flight(connected, folder, read_once):
    """One clear sentence, and no retry that would burn."""
    plan(str(folder))
    before = connected.emu.state.strangers
    connected.emu.rotate_key(connected.number_id, f"{KEY}-{next(_numbers)}")
    with pytest.raises(AirflowFailException, match="does not accept the API key"):
        uploading(concurrency=4).execute({})
    assert 1 <= connected.emu.state.strangers - before <= 5
    assert connected.sent("upload") == 0


def test_paused_uploads_are_waited_out_without_a_slot(connected, folder):
    """To the instant that 360dialog has named; nothing is sent before it, and no retry is used."""
    connected.arm("error", operation="upload", times="always", status=429, text="Too many", retry_after=600.0)
    before = datetime.now(UTC)
    with pytest.raises(AirflowRescheduleException) as caught:
        uploading(folder, concurrency=2).execute({})
    assert 590 <= (caught.value.reschedule_date - before).total_seconds() <= 640
    sent = connected.sent("upload")
    assert 1 <= sent <= 2
    connected.emu.disarm()
    made = uploading(deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        made.execute({})
    assert isinstance(deferred.value.trigger, DateTimeTrigger)
    assert 590 <= (deferred.value.trigger.moment - before).total_seconds() <= 640
    with pytest.raises(TaskDeferred):
        getattr(made, deferred.value.method_name)({}, {"moment": "too early"})
    assert connected.sent("upload") == sent


def test_a_failure_that_may_pass_is_left_to_airflows_retries(connected, folder):
    """And the retry sends the rest only."""
    plan(str(folder))
    connected.arm("error", operation="upload", status=503, text="Restarting", retry_after=300.0)
    with pytest.raises(ServerError):
        uploading().execute({})
    assert uploading().execute({}) == {"total": 1, "done": 1, "rejected": 0, "uploads": 1, "failed": 0}
    assert connected.sent("upload") == 13


# --- killed, and run twice ----------------------------------------------------------------------------------------

FIRST_TRY = f"""
import sys, types
from airflow.sdk.execution_time.context import set_current_context
from airflow_provider_360dialog.operators.campaigns import Dialog360UploadCampaignOperator

ti = types.SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
made = Dialog360UploadCampaignOperator(
    task_id="t", campaign="c", source=sys.argv[1], needed_until="{NEEDED}", dialog360_conn_id="number_a", concurrency=4
)
with set_current_context({{"ti": ti}}):
    made.execute({{}})
"""


def test_after_a_sigkill_only_the_rest_is_uploaded(connected, forty, tmp_path, own_ledger):
    """Plus at most what was in flight, which is counted as possibly lost; and the retry waits for no lease."""
    connected.emu.configure(service_s=0.2)
    with (tmp_path / "log").open("wb") as log:
        first = subprocess.Popen([sys.executable, "-c", FIRST_TRY, str(forty)], stdout=log, stderr=log)
    try:
        wait_until(lambda: len(uploads_of(connected)) >= 20 or first.poll() is not None, 40)
        assert first.poll() is None, (tmp_path / "log").read_text()
    finally:
        first.kill()
        first.wait()
    wait_until(lambda: sum(uploads_of(connected).values()) == connected.sent("upload"))  # what was on its way has arrived
    done_first = connected.sent("upload")
    began = time.monotonic()
    with running_as(try_number=2):
        result = uploading(forty, concurrency=4).execute({})
    assert time.monotonic() - began < 20
    assert result["done"] == result["total"] <= 20 + 4
    assert done_first < 30
    assert connected.sent("upload") <= 40 + 4
    assert len(uploads_of(connected)) == 40
    assert export(tmp_path / "ids.csv")["rows"] == 40
    with contextlib.closing(sqlite3.connect(own_ledger)) as db:
        current, maybe_lost = db.execute(
            "SELECT (SELECT count(*) FROM d360_media WHERE state = 'current'), sum(orphan_possible) FROM d360_fingerprint"
        ).fetchone()
    assert current == 40
    assert connected.sent("upload") - 40 <= maybe_lost <= 4


def test_a_second_run_in_the_middle_of_the_first_sends_nothing_again(connected, forty, tmp_path):
    """Needs US-10: it waits, and exports the same."""
    connected.emu.configure(service_s=0.3)

    def run(name):
        counts = uploading(forty).execute({})
        export(tmp_path / name)
        return counts

    with ThreadPoolExecutor() as pool:
        first = pool.submit(run, "first.csv")
        wait_until(lambda: len(uploads_of(connected)) >= 24)
        second = pool.submit(run, "second.csv")
        first, second = first.result(30), second.result(30)
    assert first["uploads"] + second["uploads"] == 40
    assert (first["done"], first["total"]) == (40, 40)
    assert second["total"] == second["done"] < 40
    assert set(uploads_of(connected).values()) == {1}
    assert (connected.sent("upload"), len(uploads_of(connected))) == (40, 40)
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()


# --- export, refresh, waiting -------------------------------------------------------------------------------------


def test_an_export_is_complete_or_is_not_written(connected, folder, tmp_path):
    """Unless somebody wants what there is."""
    plan(str(folder))
    with pytest.raises(CampaignIncompleteError, match="12 of 12"):  # a retry finds more, so it is no final failure
        export(tmp_path / "ids.csv")
    assert not (tmp_path / "ids.csv").exists()
    assert export(tmp_path / "ids.csv", require_complete=False) == {
        "uri": str(tmp_path / "ids.csv"),
        "rows": 0,
        "missing": 12,
        "min_safe_until": None,
        "version": 1,
    }
    uploading().execute({})
    assert export(tmp_path / "ids.csv")["version"] == 2
    far = (datetime.now(UTC) + timedelta(days=40)).isoformat()
    with pytest.raises(CampaignIncompleteError):
        export(tmp_path / "ids.csv", min_valid_until=far)
    assert len(exported(tmp_path / "ids.csv")) == 12
    assert export(tmp_path / "ids.csv", min_valid_until="")["version"] == 2


def test_an_export_can_carry_its_version_in_its_name(connected, folder, tmp_path):
    """Known before it is written; the same ids are the same version."""
    uploading(folder).execute({})
    for _ in range(2):
        found = export(tmp_path / "ids-{version}.jsonl")
        assert (found["uri"], found["version"]) == (str(tmp_path / "ids-1.jsonl"), 1)
    (folder / "new.pdf").write_bytes((folder / "00.pdf").read_bytes())
    uploading(folder).execute({})
    assert export(tmp_path / "ids-{version}.jsonl")["uri"] == str(tmp_path / "ids-2.jsonl")
    assert len(exported(tmp_path / "ids-1.jsonl")) == 12
    assert len(exported(tmp_path / "ids-2.jsonl")) == 13


def test_uploads_that_plan_for_themselves_leave_each_other_their_items(three, folder, tmp_path):
    """One campaign, a folder for each of two numbers."""
    uploading(folder, "number_a").execute({})
    uploading(folder, "number_b").execute({})
    uploading(folder, "number_a").execute({})
    assert export(tmp_path / "ids.jsonl")["rows"] == 24


def test_a_campaign_whose_first_plan_died_is_not_complete(connected, folder, tmp_path, monkeypatch):
    """Although every item that it came to is ready, by another campaign's doing."""
    uploading(folder, campaign="other").execute({})
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("airflow_provider_360dialog.ledger.campaigns.Campaigns.end_plan", lambda *_, **__: 1 / 0)
        plan(str(folder))
    with pytest.raises(CampaignIncompleteError, match="is not complete: it is running, or was ended midway"):
        export(tmp_path / "ids.jsonl")
    assert not Dialog360CampaignReadySensor(task_id="t", campaign="c").poke({})
    assert plan(str(folder))["counts"]["ready"] == 12
    assert export(tmp_path / "ids.jsonl")["rows"] == 12


def test_a_dry_run_gives_no_channels_to_upload_for(connected, folder):
    """Else the upload behind it would upload what an earlier plan has wanted."""
    found = plan(str(folder), dry_run=True)
    assert found["counts"]["uploads"] == 12
    assert found["channels"] == []


def age(own_ledger, days):
    """As if all ids had been uploaded so many days earlier."""
    with contextlib.closing(sqlite3.connect(own_ledger)) as db:
        db.execute("UPDATE d360_media SET uploaded_at = uploaded_at - ?, safe_until = safe_until - ?", (days * 86400,) * 2)
        db.commit()


def test_a_refresh_renews_what_dies_too_early_and_asks_for_nothing(connected, folder, tmp_path, own_ledger):
    """The old ids stand beside the new ones; an export has the new ones; a rerun has nothing to do."""
    uploading(folder).execute({})
    old = export(tmp_path / "old.csv")
    age(own_ledger, 25)
    refresh = {"task_id": "t", "dialog360_conn_id": "number_a", "valid_until": NEEDED}
    with pytest.raises(AirflowFailException, match="No media id can be promised"):
        Dialog360RefreshMediaOperator(**refresh | {"valid_until": datetime.now(UTC) + timedelta(days=30)}).execute({})
    assert connected.sent("upload") == 12
    (folder / "07.pdf").unlink()
    with pytest.raises(AirflowFailException, match=r"07\.pdf"):
        Dialog360RefreshMediaOperator(**refresh).execute({})
    made = Dialog360RefreshMediaOperator(**refresh, source_missing="skip", campaign="")
    assert made.execute({}) == {"total": 1, "done": 0, "rejected": 1, "uploads": 0, "failed": 0}
    (folder / "07.pdf").write_bytes(pdf("7"))
    assert Dialog360RefreshMediaOperator(**refresh, campaign="c").execute({})["uploads"] == 1
    assert Dialog360RefreshMediaOperator(**refresh).execute({})["total"] == 0
    new = export(tmp_path / "new.csv")
    assert (old["version"], new["version"]) == (1, 2)
    before, after = exported(tmp_path / "old.csv"), exported(tmp_path / "new.csv")
    assert not {row["media_id"] for row in before} & {row["media_id"] for row in after}
    assert len(connected.emu.live_media(connected.number_id)) == 24
    assert set(connected.emu.counters(connected.number_id)["requests"]) == {"health", "upload"}


@pytest.mark.parametrize("more", [{"source_missing": "ignore"}, {"valid_until": "soon"}, {"valid_until": "2026-12-01T09:00:00"}])
def test_a_refresh_that_cannot_be_fails_for_good(more, connected):
    with pytest.raises(AirflowFailException):
        Dialog360RefreshMediaOperator(task_id="t", dialog360_conn_id="number_a", **{"valid_until": NEEDED} | more).execute({})


def sensor(**more):
    return Dialog360CampaignReadySensor(task_id="t", **{"campaign": "c"} | more)


def test_the_sensor_waits_until_every_item_has_an_id_and_calls_nobody(three, folder, monkeypatch):
    """On all numbers. It needs no connection."""
    plan(str(folder), ["number_a", "number_b"], assign="replicate")
    assert sensor().mode == "reschedule"  # no slot is held between two looks
    assert not sensor().poke({})
    uploading().execute({})
    assert not sensor().poke({})
    uploading(conn_id="number_b").execute({})
    before = [number.emu.counters(number.number_id)["requests"] for number in three]
    for conn_id in ("NUMBER_A", "NUMBER_B"):
        monkeypatch.delenv(f"AIRFLOW_CONN_{conn_id}")
    assert sensor().poke({})
    assert sensor(min_valid_until="").poke({})
    assert sensor(min_valid_until=NEEDED, deferrable=True).execute({}) is None
    assert not sensor(min_valid_until=datetime.now(UTC) + timedelta(days=30)).poke({})
    assert [number.emu.counters(number.number_id)["requests"] for number in three] == before


def test_deferrable_the_sensor_looks_again_after_its_interval_and_ends_with_its_timeout(connected, folder):
    """The timeout runs from the first look on, not from the last."""
    plan(str(folder))
    made = sensor(deferrable=True, poke_interval=90, timeout=600)
    before = datetime.now(UTC)
    with pytest.raises(TaskDeferred) as caught:
        made.execute({})
    assert isinstance(caught.value.trigger, DateTimeTrigger)
    assert 89 <= (caught.value.trigger.moment - before).total_seconds() <= 95
    assert timedelta(seconds=895) < caught.value.timeout <= timedelta(seconds=900)
    resumed = json.loads(json.dumps(caught.value.kwargs)) | {"event": {}}
    with pytest.raises(TaskDeferred) as again:
        made.resume_execution(caught.value.method_name, resumed, {})
    assert again.value.timeout <= caught.value.timeout
    long_ago = {"began_at": (before - timedelta(seconds=601)).isoformat(), "event": {}}
    with pytest.raises(AirflowSensorTimeout):
        made.resume_execution("resume", long_ago, {})
    with pytest.raises(AirflowSensorTimeout):
        made.resume_execution("__fail__", {"error": "Trigger timeout"}, {})
    uploading().execute({})
    assert made.resume_execution("resume", long_ago, {}) is None


@pytest.mark.parametrize("more", [{"campaign": "never planned"}, {"min_valid_until": "soon"}])
def test_the_sensor_does_not_wait_for_what_cannot_come(more, connected, folder):
    plan(str(folder))
    with pytest.raises(AirflowFailException):
        sensor(**more).poke({})


# --- progress -----------------------------------------------------------------------------------------------------


class StateStore:
    """Airflow's, as far as a task writes to it."""

    def __init__(self, fault=None):
        self.written, self.fault = [], fault

    def set(self, key, value, **_):
        if self.fault is not None:
            raise self.fault
        self.written.append((key, json.loads(json.dumps(value))))


def test_progress_is_written_where_airflow_shows_it(connected, folder, monkeypatch):
    """Every ten seconds and at the end."""
    monkeypatch.setattr(job, "_TELL_EVERY_S", 0.1)
    plan(str(folder))
    store = StateStore()
    result = uploading().execute({"task_state_store": store})
    assert {key for key, _ in store.written} == {"dialog360_progress"}
    assert len(store.written) > 2
    assert store.written[-1][1] == result


@pytest.mark.parametrize("fault", [RuntimeError("away"), ServerError(operation="upload", status=500, details="")])
def test_progress_that_cannot_be_written_fails_nothing(fault, connected, folder):
    """It is a courtesy."""
    assert uploading(folder).execute({"task_state_store": StateStore(fault)})["done"] == 12


# --- one DAG ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ran(airflow_database, three, folder, monkeypatch):
    """A campaign's DAG, run twice: what it left behind each time, and what was sent by then."""
    from tests.operators.conftest import Run

    where = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    where.mkdir(parents=True, exist_ok=True)
    path = Path(shutil.copy(Path(__file__).parent / "dags" / "campaign.py", where))
    spec = importlib.util.spec_from_file_location("campaign", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)

    lines = [
        json.dumps({"key": f"{each:02}", "uri": f"{each:02}.pdf", "channel": f"number_{'aab'[each % 3]}"}) for each in range(12)
    ]
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    params = {"campaign": "vouchers", "folder": str(folder), "first": "number_a", "needed_until": NEEDED, "share": "0.05"}
    found = []
    for _ in range(2):
        run = Run(loaded.dag.test(run_conf=params | {"nothing": ""}), three[0], folder)
        sent = [number.emu.counters(number.number_id)["requests"] for number in three]
        found.append(SimpleNamespace(run=run, sent=sent, ids=(folder / "ids.csv").read_bytes()))
    return found


def test_a_campaign_from_its_manifest_to_its_ids_as_a_dag(ran, three, folder):
    """Planned once, uploaded by one mapped task for each number that has work, exported; run again, nobody is called."""
    first, second = ran
    assert set(first.run.states.values()) == {"success"}
    mapped = [key for key in first.run.states if key[0] == "upload"]
    assert sorted(mapped) == [("upload", 0), ("upload", 1)]  # the third number has nothing to do
    assert first.run.xcom("plan")["channels"] == ["number_a", "number_b"]
    assert [first.run.xcom("upload", index)["uploads"] for index in (0, 1)] == [8, 4]
    assert [number.sent("upload") for number in three] == [8, 4, 0]
    rows = exported(folder / "ids.csv")
    assert first.run.xcom("export")["rows"] == len(rows) == 12
    assert {row["channel"] for row in rows} == {"number_a", "number_b"}

    assert {key[0]: state for key, state in second.run.states.items()} == {
        "plan": "success",
        "channels": "success",
        "upload": "skipped",
        "ready": "success",
        "export": "success",
        "refresh": "success",
    }
    assert second.sent == first.sent
    assert second.ids == first.ids
    assert second.run.xcom("export")["version"] == first.run.xcom("export")["version"] == 1
    told = {"campaign": "vouchers", "uri": str(folder / "ids.csv"), "version": 1, "rows": 12}
    assert [each.run.events for each in ran] == [[("export", "vouchers", told)]] * 2

    for each in ran:  # results are small, and hold no secret
        stored = [json.dumps(value, default=str) for _, _, value in each.run.all_xcoms]
        stored += [json.dumps(fields, default=str) for fields in each.run.rendered.values()]
        assert sum(map(len, stored[: len(each.run.all_xcoms)])) < 4096
        seen = len(CANARY.found)
        for text in stored:
            CANARY.look(text, "the metadata database")
        assert len(CANARY.found) == seen

    models = pytest.importorskip("airflow.models.task_state_store")  # progress, in versions that have a place for it
    from airflow.utils.session import create_session

    with create_session() as session_:
        rows = session_.query(models.TaskStateStoreModel).filter_by(dag_id="campaign", task_id="upload").all()
        progress = {row.map_index: (row.key, json.loads(row.value)["done"]) for row in rows}
    assert progress == {0: ("dialog360_progress", 8), 1: ("dialog360_progress", 4)}
