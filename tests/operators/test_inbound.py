"""The archive of what customers send, through the operator, the real hook and the emulator: every way in, waits, ends."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import os
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, Asset, ObjectStoragePath
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, TaskDeferred
from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor, set_current_context
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_360dialog.exceptions import StoppedError
from airflow_provider_360dialog.get_provider_info import get_provider_info
from airflow_provider_360dialog.hooks import waiting
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.jobs import archive as job
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.operators import inbound as module
from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator as Archive
from tests.canary import CANARY, KEY, Number, _numbers
from tests.jobs.doubles import JPEG, Patient

ARGUMENTS = {"source": "/webhooks/", "destination": "/archive/"}
COUNTS = {"taken_in", "archived", "bytes", "lost", "pending", "suspects", "not_deleted"}
RESULT = {"counts", "lost", "lost_uri", "oldest_pending_s", "budget_left", "webhooks"}
OLD_URL = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext=4102444800&hash=nobody-watches-this"


@pytest.fixture
def other(emulated, connected, connect):
    """A second connected number."""
    number_id = str(next(_numbers))
    emulated.add_number(number_id, f"{KEY}-{number_id}")
    connect(emulated.base_url, f"{KEY}-{number_id}", conn_id="number_b")
    return Number(emulated, number_id, f"{KEY}-{number_id}")


@pytest.fixture
def landed(tmp_path):
    """Where webhooks are landed."""
    folder = tmp_path / "webhooks"
    folder.mkdir()
    return folder


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "archive"


def message_of(webhook):
    return webhook["entry"][0]["changes"][0]["value"]["messages"][0]


def id_of(webhook):
    message = message_of(webhook)
    return message[message["type"]]["id"]


def receive(number, *, age=timedelta(minutes=1), **more):
    """A customer has sent a photo, which no other is like; its webhook."""
    webhook = number.emu.inject_webhook_media(
        JPEG + os.urandom(8), number=number.number_id, **{"mime_type": "image/jpeg", "with_url": False} | more
    )
    message_of(webhook)["timestamp"] = str(int((datetime.now(UTC) - age).timestamp()))
    return webhook


def dead(number, **more):
    """The webhook of a file that is gone."""
    webhook = receive(number, **more)
    number.emu.state.delete_media(number.emu.media(id_of(webhook)))
    return webhook


def land(folder, name, *webhooks):
    path = folder / name
    path.write_text("".join(json.dumps(each) + "\n" for each in webhooks))
    return path


def archived(folder):
    """The ids of the files that stand in an archive."""
    names = [path.name for path in folder.rglob("[0-9]*-*.*")]
    return sorted(name.partition("-")[0] for name in names if not name.endswith((".json", ".jsonl")))


def ids(*webhooks):
    return sorted(map(id_of, webhooks))


def archiving(landed, archive, **more):
    """An operator that is ready to be executed, whose waits within calls cost no time."""
    landed = str(landed) if isinstance(landed, Path) else landed
    made = Archive(task_id="t", **{"source": landed, "destination": str(archive), "dialog360_conn_id": "number_a"} | more)
    made.hook._session.stop = Patient()
    return made


@contextmanager
def running_as(try_number=1, run_id="r"):
    """As the same task's n-th try."""
    ti = SimpleNamespace(dag_id="d", run_id=run_id, task_id="t", map_index=-1, try_number=try_number)
    with set_current_context({"ti": ti}):
        yield


def an_hour_passes(ledger, seconds=3600.0):
    """What the ledger has noted of failures becomes older."""
    with closing(sqlite3.connect(ledger, timeout=30)) as db, db:
        db.execute("UPDATE d360_credit SET spent_at = spent_at - ?", (seconds,))


@pytest.fixture
def spend(connected):
    """Use the number's error budget up."""

    def spent():
        hook = Dialog360Hook("number_a")
        for each in range(4):
            with pytest.raises(AirflowFailException), hook.as_airflow_sees_it():
                hook.fetch_media(f"99900{each}")

    return spent


# --- what Airflow needs -------------------------------------------------------------------------------------------


def test_airflow_is_told_where_it_is():
    (known,) = get_provider_info()["operators"]
    assert Archive.__module__ in known["python-modules"]


def test_making_it_does_no_work(monkeypatch):
    """DAG files are parsed again and again, where no connection exists."""
    monkeypatch.setattr(Dialog360Hook, "__init__", lambda *_, **__: pytest.fail("a hook was made"))
    with DAG("d", schedule=None):
        made = Archive(task_id="t", **ARGUMENTS)
    assert made.dialog360_conn_id == "dialog360_default"


def test_arguments_are_stored_untouched_under_their_own_names():
    """Airflow renders templates into the attributes."""
    names = [name for name in inspect.signature(Archive.__init__).parameters if name not in {"self", "kwargs"}]
    markers = {name: object() for name in names}
    made = Archive(task_id="t", **markers)
    assert {name: getattr(made, name) for name in names} == markers
    assert set(Archive.template_fields) == {"source", "destination", "dialog360_conn_id"}


@pytest.mark.parametrize(
    "source",
    ["/webhooks/", {"entry": []}, ["/a.json", {"entry": []}], "{{ dag_run.conf | tojson }}"],
    ids=["folder", "payload", "list", "template"],
)
def test_a_dag_survives_serialisation(source):
    """The scheduler and the web server see the serialised form only."""
    with DAG("d", schedule=None) as dag:
        Archive(task_id="t", **ARGUMENTS | {"source": source})
    back = DagSerialization.deserialize_dag(json.loads(json.dumps(DagSerialization.serialize_dag(dag)))).task_dict["t"]
    assert tuple(back.template_fields) == tuple(Archive.template_fields)
    assert back.source == source


def test_a_dag_with_an_asset_as_source_survives_serialisation():
    with DAG("d", schedule=None) as dag:
        Archive(task_id="t", **ARGUMENTS | {"source": Asset("webhooks")})
    json.dumps(DagSerialization.serialize_dag(dag))


def test_on_kill_before_anything_ran_is_harmless():
    Archive(task_id="t", **ARGUMENTS).on_kill()


# --- what it takes ------------------------------------------------------------------------------------------------


def extra_of_place(webhook, folder):
    return {"uri": str(land(folder, "one.json", webhook)), "rows": 1}


SOURCES = {
    "a file": lambda webhook, folder: str(land(folder, "one.json", webhook)),
    "a glob": lambda webhook, folder: f"{land(folder, 'one.jsonl', webhook).parent}/*.jsonl",
    "an object of a folder": lambda webhook, folder: ObjectStoragePath(f"file://{land(folder, 'one.json', webhook).parent}/"),
    "a payload": lambda webhook, folder: webhook,
    "its value alone": lambda webhook, folder: webhook["entry"][0]["changes"][0]["value"],
    "a payload as JSON, as tojson writes it": lambda webhook, folder: json.dumps(webhook),
    "a payload as Python writes it": lambda webhook, folder: str(webhook),
    "a list of payloads": lambda webhook, folder: [webhook],
    "a list of places": lambda webhook, folder: [str(land(folder, "one.json", webhook))],
    "a place in a mapping": extra_of_place,
    "a list as JSON": lambda webhook, folder: json.dumps([webhook]),
    "a lazy sequence": lambda webhook, folder: iter([webhook]),
}


@pytest.mark.parametrize("form", SOURCES.values(), ids=SOURCES)
def test_it_takes_webhooks_in_every_form(form, connected, landed, archive):
    """Of the numbers that a webhook names, each takes its own."""
    webhook = receive(connected)
    result = archiving(form(webhook, landed), archive).execute({})
    assert result["counts"] | {"bytes": 0} == {**dict.fromkeys(COUNTS, 0), "taken_in": 1, "archived": 1}
    assert archived(archive) == ids(webhook)


@pytest.mark.parametrize("source", [None, "", "  ", [], {}, "[]"], ids=repr)
def test_no_news_is_no_failure_and_what_is_pending_is_archived_all_the_same(source, connected, archive, spend, own_ledger):
    """An hour without webhooks, a run without conf."""
    webhook = receive(connected)
    spend()
    with pytest.raises(AirflowRescheduleException):
        archiving([webhook], archive).execute({})
    an_hour_passes(own_ledger)
    result = archiving(source, archive).execute({})
    assert (result["counts"]["taken_in"], result["counts"]["archived"]) == (0, 1)


ASSET = Asset(name="landed_webhooks", uri="x-bucket://webhooks/")
OTHER_ASSET = Asset(name="other", uri="x-bucket://other/")


def events(*found):
    """A context of a run that these events triggered: (Asset, extra) each."""
    return {
        "triggering_asset_events": TriggeringAssetEventsAccessor.build(
            AssetEventDagRunReferenceResult(
                asset={"name": asset.name, "uri": asset.uri, "extra": {}},
                extra=extra,
                source_task_id=None,
                source_dag_id=None,
                source_run_id=None,
                source_map_index=None,
                source_aliases=[],
                timestamp=datetime.now(UTC),
            )
            for asset, extra in found
        )
    }


def test_events_of_an_asset_bring_places_and_payloads(connected, landed, archive):
    """Those of the Asset that was named, all that triggered the run, and no other's."""
    by_place, in_hand, not_ours = (receive(connected) for _ in range(3))
    context = events((ASSET, extra_of_place(by_place, landed)), (ASSET, in_hand), (OTHER_ASSET, not_ours))
    result = archiving(ASSET, archive).execute(context)
    assert result["counts"]["taken_in"] == 2
    assert archived(archive) == ids(by_place, in_hand)


@pytest.mark.parametrize("context", [{}, events(), events((OTHER_ASSET, {"uri": "/nowhere"})), events((ASSET, {}))])
def test_a_run_that_no_event_triggered_archives_what_is_pending(context, connected, archive):
    """Somebody has started it by hand."""
    assert archiving(ASSET, archive).execute(context)["counts"]["taken_in"] == 0


def test_urls_that_airflow_has_stored_are_not_used_and_it_says_so_once(connected, archive, caplog):
    """Three files, one warning; the files come by their ids."""
    webhooks = [receive(connected) for _ in range(3)]
    for webhook in webhooks:
        message_of(webhook)["image"]["url"] = OLD_URL
    result = archiving(json.dumps(webhooks), archive).execute({})
    told = [record.getMessage() for record in caplog.records if "Airflow's own database" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("3 media URLs")
    assert (result["counts"]["archived"], result["webhooks"]["urls_dropped"], connected.sent("fetch")) == (3, 3, 3)
    assert not [record for record in caplog.records if "nobody-watches" in record.getMessage()]
    assert "lookaside" not in json.dumps(result)


def test_a_url_that_a_file_brings_is_used_and_costs_no_question(connected, landed, archive, caplog):
    land(landed, "a.jsonl", receive(connected, with_url=True))
    assert archiving(landed, archive).execute({})["counts"]["archived"] == 1
    assert (connected.sent("fetch"), connected.sent("download")) == (0, 1)
    assert "Airflow's own database" not in caplog.text


# --- what it gives ------------------------------------------------------------------------------------------------


def test_the_result_has_exactly_these_keys_and_is_small(connected, landed, archive):
    """However much there was: 300 files that were left for too long."""
    old = [receive(connected, age=timedelta(days=8)) for _ in range(300)]
    good = receive(connected)
    land(landed, "a.jsonl", *old, good)
    result = archiving(landed, archive).execute({})
    assert set(result) == RESULT
    assert set(result["counts"]) == COUNTS
    size = len(next(archive.rglob(f"{id_of(good)}-*")).read_bytes())
    expected = {"taken_in": 301, "archived": 1, "bytes": size, "lost": 300, "pending": 0, "suspects": 0, "not_deleted": 0}
    assert result["counts"] == expected
    assert (result["lost"], result["oldest_pending_s"], result["budget_left"]) == ({"expired": 300}, None, 4)
    assert result["webhooks"] == {"sources": 1, "read": 1, "new": 301}
    assert len(json.dumps(result)) < 4096
    lines = [json.loads(line) for line in Path(result["lost_uri"]).read_text().splitlines()]
    assert sorted(line["media_id"] for line in lines) == ids(*old)
    assert connected.sent("fetch") == 1


def test_what_may_still_come_is_counted_with_its_age(connected, landed, archive):
    """360dialog fails for one of two."""
    stuck, good = receive(connected, age=timedelta(hours=3)), receive(connected)
    connected.arm("error", operation="fetch", status=500, media_id=id_of(stuck), times="always")
    land(landed, "a.jsonl", stuck, good)
    result = archiving(landed, archive).execute({})
    assert (result["counts"]["archived"], result["counts"]["pending"], result["lost"]) == (1, 1, {})
    assert 3 * 3600 <= result["oldest_pending_s"] < 3 * 3600 + 300
    assert result["budget_left"] == 2


@pytest.mark.parametrize("deletes", [True, False])
def test_the_copy_at_360dialog_is_deleted_only_where_told(deletes, connected, landed, archive):
    land(landed, "a.jsonl", receive(connected))
    archiving(landed, archive, delete_after_archive=deletes).execute({})
    assert connected.sent("delete") == deletes
    assert len(connected.emu.live_media(connected.number_id)) == 1 - deletes


@pytest.mark.parametrize("writes", [True, False])
def test_what_the_webhook_says_is_written_beside_only_where_told(writes, connected, landed, archive):
    """It names the sender."""
    webhook = receive(connected, caption="Our roof", sender="4915112345678")
    land(landed, "a.jsonl", webhook)
    archiving(landed, archive, write_metadata=writes).execute({})
    found = [json.loads(path.read_text()) for path in archive.rglob("*.json")]
    assert [(each["media_id"], each["caption"], each["sender"]) for each in found] == (
        [(id_of(webhook), "Our roof", "4915112345678")] * writes
    )


@pytest.mark.parametrize(("life", "uses_it"), [(timedelta(minutes=5), False), (timedelta(hours=1), True)], ids=str)
def test_a_url_without_an_end_is_used_for_as_long_as_told(life, uses_it, connected, landed, archive):
    """`webhook_url_life`, from the message on, which is 20 minutes old."""
    webhook = receive(connected, age=timedelta(minutes=20), with_url=True, url_life_s=3600)
    part = message_of(webhook)["image"]
    part["url"] = "&".join(each for each in part["url"].split("&") if not each.startswith("ext="))
    assert "ext=" not in part["url"]
    land(landed, "a.jsonl", webhook)
    archiving(landed, archive, webhook_url_life=life).execute({})
    assert connected.sent("download") == 1 + uses_it  # the emulator has no such URL, so the id is asked for one then


# --- a closed channel ---------------------------------------------------------------------------------------------


@pytest.fixture
def closed(connected, spend, landed, archive):
    """A number whose error budget is spent, with one webhook landed: the webhook, when it opens, both folders."""
    webhook = receive(connected)
    land(landed, "a.jsonl", webhook)
    spend()
    return webhook, Dialog360Hook("number_a").retrieval_opens_at(), landed, archive


def waits(made):
    """The instant for which an execution waits."""
    with pytest.raises(TaskDeferred if made.deferrable else AirflowRescheduleException) as caught:
        made.execute({})
    if not made.deferrable:
        return caught.value.reschedule_date
    assert isinstance(caught.value.trigger, DateTimeTrigger)
    assert caught.value.method_name == "resume"
    assert not caught.value.kwargs
    return caught.value.trigger.moment


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "rescheduled"])
def test_a_spent_budget_is_waited_out_to_the_instant(deferrable, connected, closed, landed, archive):
    """Nothing is sent meanwhile, and what was landed is on record."""
    sent = connected.sent("fetch")
    until = waits(archiving(landed, archive, deferrable=deferrable))
    assert timedelta(0) <= until - closed[1] <= timedelta(seconds=30)
    assert connected.sent("fetch") == sent
    assert Dialog360Hook("number_a").inbound_standing().pending == 1
    assert archived(archive) == []


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "rescheduled"])
def test_after_the_wait_it_goes_on_and_reads_what_is_new(deferrable, connected, closed, landed, archive, own_ledger):
    """One run over all its waits: its counts are of all of it, in the same try."""
    with running_as():
        waits(archiving(landed, archive, deferrable=deferrable))
        new = receive(connected)
        land(landed, "b.jsonl", new)
        an_hour_passes(own_ledger)
        made = archiving(landed, archive, deferrable=deferrable)
        result = made.resume({}, {"moment": "now"}) if deferrable else made.execute({})
    assert archived(archive) == ids(closed[0], new)
    assert (result["counts"]["taken_in"], result["counts"]["archived"]) == (2, 2)
    assert (result["webhooks"]["sources"], result["webhooks"]["new"]) == (2, 1)


def test_a_next_try_goes_on_with_the_same_run(connected, closed, landed, archive, own_ledger):
    """And another DAG run is another."""
    with running_as(try_number=1):
        waits(archiving(landed, archive))
    an_hour_passes(own_ledger)
    with running_as(try_number=2):
        result = archiving(landed, archive).execute({})
    assert (result["counts"]["taken_in"], result["counts"]["archived"]) == (1, 1)
    with running_as(run_id="next"):
        result = archiving(landed, archive).execute({})
    assert (result["counts"]["taken_in"], result["counts"]["archived"]) == (0, 0)


# --- how it ends --------------------------------------------------------------------------------------------------


def test_a_loss_fails_the_task_where_told_after_all_the_rest_is_archived(connected, landed, archive):
    """For good: a retry would bring nothing back."""
    live = [receive(connected) for _ in range(3)]
    gone = dead(connected)
    land(landed, "a.jsonl", *live[:2], gone, live[2])
    with pytest.raises(AirflowFailException, match="gone"):
        archiving(landed, archive, on_lost="fail").execute({})
    assert archived(archive) == ids(*live)
    (report,) = archive.rglob("lost/*.jsonl")
    assert json.loads(report.read_text())["media_id"] == id_of(gone)
    assert archiving(landed, archive, on_lost="fail").execute({})["counts"]["lost"] == 0  # it has been told


def test_a_loss_is_reported_and_fails_nothing_by_default(connected, landed, archive):
    land(landed, "a.jsonl", dead(connected))
    assert archiving(landed, archive).execute({})["lost"] == {"gone": 1}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"on_lost": "ignore"}, "on_lost"),
        ({"on_lost": None}, "on_lost"),
        ({"webhook_url_life": 300}, "webhook_url_life"),
        ({"webhook_url_life": "5m"}, "webhook_url_life"),
        ({"destination": ""}, None),
        ({"destination": "nosuch://bucket/a/"}, "nosuch"),
        ({"destination": "s3://"}, "bucket"),
        ({"source": 5}, "int"),
        ({"source": b"{}"}, "bytes"),
        ({"source": "{not json"}, "tojson"),
        ({"source": "/nowhere/at/all.jsonl"}, "/nowhere"),
        ({"source": ["/nowhere/at/all.jsonl", None]}, "/nowhere"),
        ({"source": {"uri": "/nowhere/at/all.jsonl"}}, "/nowhere"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_meant_fail_it_without_a_retry(more, words, connected, landed, archive):
    """And nothing is asked for."""
    land(landed, "a.jsonl", receive(connected))
    with pytest.raises(AirflowFailException, match=words):
        archiving(landed, archive, **more).execute({})
    assert (connected.sent("fetch"), connected.sent("download")) == (0, 0)


def test_a_folder_that_cannot_be_written_fails_it_and_costs_nothing(connected, landed, archive):
    land(landed, "a.jsonl", receive(connected))
    archive.write_text("a file")
    with pytest.raises(AirflowFailException, match="file stands there"):
        archiving(landed, archive).execute({})
    assert connected.sent("fetch") == 0
    archive.unlink()
    assert archiving(landed, archive).execute({})["counts"]["archived"] == 1


def test_one_webhook_file_that_cannot_be_read_fails_it_after_all_the_rest_is_archived(connected, landed, archive):
    good = receive(connected)
    after = receive(connected)
    source = [str(land(landed, "a.jsonl", good)), "/nowhere/at/all.jsonl", after]
    with pytest.raises(AirflowFailException, match="/nowhere"):
        archiving(source, archive).execute({})
    assert archived(archive) == ids(good, after)


def test_a_wrong_key_fails_it_for_good_and_loses_nothing(connected, landed, archive):
    webhook = receive(connected)
    land(landed, "a.jsonl", webhook)
    Dialog360Hook("number_a").get_conn().ledger.identity  # noqa: B018 - as after any earlier call
    fault = connected.arm("unauthorized", times="always")
    with pytest.raises(AirflowFailException, match="API key"):
        archiving(landed, archive).execute({})
    connected.emu.disarm(fault.fault_id)
    assert archiving(landed, archive).execute({})["counts"]["archived"] == 1


def test_told_to_end_it_ends_and_what_was_not_archived_is_pending_and_free(connected, landed, archive):
    """`on_kill` comes on the main thread, while `execute` runs."""
    webhooks = [receive(connected) for _ in range(12)]
    land(landed, "a.jsonl", *webhooks)
    fault = connected.arm("delay", operation="download", delay_s=0.3, times="always")
    made = archiving(landed, archive)
    ends_at = time.monotonic() + 30

    def tell_when_one_is_there():
        while not archived(archive) and time.monotonic() < ends_at:
            time.sleep(0.01)
        made.on_kill()

    teller = threading.Thread(target=tell_when_one_is_there)
    teller.start()
    with pytest.raises(StoppedError):
        made.execute({})
    teller.join()
    assert made.hook._session.stop.is_set()
    done = archived(archive)
    assert 0 < len(done) < 12
    assert Dialog360Hook("number_a").inbound_standing().pending == 12 - len(done)
    connected.emu.disarm(fault.fault_id)
    assert archiving(landed, archive).execute({})["counts"]["archived"] == 12 - len(done)  # nobody else holds a row
    assert archived(archive) == ids(*webhooks)


def test_told_to_end_it_gives_back_what_takes_too_long(connected, landed, archive, own_ledger, monkeypatch):
    """Airflow kills soon after: who comes next need not wait for a lease to end."""
    monkeypatch.setattr(job, "_LAST_WORDS_S", 0.1)
    slow = receive(connected)
    land(landed, "a.jsonl", slow)
    connected.arm("delay", operation="download", delay_s=2.0)
    made = archiving(landed, archive)
    ends_at = time.monotonic() + 30

    def tell_when_it_is_asked_for():
        while not connected.sent("download") and time.monotonic() < ends_at:
            time.sleep(0.01)
        made.on_kill()

    threading.Thread(target=tell_when_it_is_asked_for).start()
    with pytest.raises(StoppedError):
        made.execute({})
    with closing(sqlite3.connect(own_ledger, timeout=30)) as db:
        assert db.execute("SELECT state, owner FROM d360_inbound").fetchall() == [(schema.PENDING, None)]
    assert archiving(landed, archive).execute({})["counts"]["archived"] == 1
    while any(each.name.startswith("archive") for each in threading.enumerate()) and time.monotonic() < ends_at:
        time.sleep(0.01)
    assert archived(archive) == ids(slow)


def test_told_to_end_before_it_began_it_asks_for_nothing(connected, landed, archive):
    land(landed, "a.jsonl", receive(connected))
    made = archiving(landed, archive)
    made.on_kill()
    with pytest.raises(StoppedError):
        made.execute({})
    assert connected.emu.counters(connected.number_id)["requests"] == {}


# --- as a DAG -----------------------------------------------------------------------------------------------------

_DAG_FILE = '''
"""Every way in which webhooks reach the archive. A test has written this file, and runs it."""

from datetime import timedelta

from airflow.sdk import DAG, get_current_context, task

from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator as Archive

with DAG("inbound", schedule=None, params={"webhooks": "", "archive": ""}) as dag:
    place = {"destination": "{{ params.archive }}/{{ task.task_id }}"}
    one = {"dialog360_conn_id": "number_{{ 'a' }}"}
    folder = Archive.partial(task_id="folder", source="{{ params.webhooks }}/", write_metadata=True, **place).expand(
        dialog360_conn_id=["number_a", "number_b"]
    )
    conf = Archive(task_id="conf", source="{{ dag_run.conf | tojson }}", **place, **one)
    conf_again = Archive(task_id="conf_again", source="{{ dag_run.conf }}", **place, **one)
    conf_part = Archive(task_id="conf_part", source="{{ dag_run.conf.part }}", **place, **one)

    @task
    def said(name: str) -> object:
        return get_current_context()["dag_run"].conf[name]

    mapping = Archive(task_id="mapping", source=said.override(task_id="a_mapping")("mapping"), **place, **one)
    listed = Archive(task_id="listed", source=said.override(task_id="a_list")("listed"), **place, **one)
    pulled = Archive(task_id="pulled", source="{{ ti.xcom_pull('a_text') }}", **place, **one)
    said.override(task_id="a_text")("pulled") >> pulled
    strict = Archive(
        task_id="strict", source="{{ params.webhooks }}/{{ 'strict' }}.jsonl.later", on_lost="fail", retries=3,
        retry_delay=timedelta(0), **place, **one,
    )
    folder >> conf >> conf_again >> conf_part >> mapping >> listed >> pulled >> strict

with DAG("inbound_waits", schedule=None, params={"webhooks": "", "archive": ""}) as waits:
    for deferrable in (True, False):
        Archive(
            task_id="deferred" if deferrable else "rescheduled",
            source="{{ params.webhooks }}/", destination="{{ params.archive }}", dialog360_conn_id="number_a",
            deferrable=deferrable, retries=0,
        )
'''


@pytest.fixture(scope="module")
def dag_file(airflow_database):
    """The module of the two DAGs, in the DAG folder: `dag.test()` looks for them there."""
    path = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]) / "inbound_dags.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_DAG_FILE)
    spec = importlib.util.spec_from_file_location("inbound_dags", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def ran(dag_file, connected, other, landed, archive, caplog):
    """One run of the DAG: what it left behind, and which webhook went which way."""
    from tests.operators.conftest import Run

    sent = {name: receive(connected) for name in ("a", "conf", "part", "mapping", "first", "second", "pulled")}
    sent["b"], sent["lost"] = receive(other), dead(connected)
    message_of(sent["conf"])["image"]["url"] = OLD_URL
    land(landed, "both.jsonl", sent["a"], sent["b"])
    land(landed, "strict.jsonl.later", sent["lost"])
    conf = {
        **sent["conf"],
        "part": sent["part"],
        "mapping": sent["mapping"],
        "listed": [sent["first"], {"uri": str(land(landed, "second.json.later", sent["second"]))}],
        "pulled": sent["pulled"],
        "webhooks": str(landed),
        "archive": str(archive),
    }
    caplog.set_level(logging.WARNING)
    run = Run(dag_file.dag.test(run_conf=conf), connected, archive)
    return SimpleNamespace(run=run, sent=sent, warned=[record.getMessage() for record in caplog.records])


def test_every_way_in_leads_through_a_dag(ran, archive, landed, connected, other):
    """Templates, XCom, mapping; results are small and hold no URL."""
    run, sent = ran.run, ran.sent
    states = {key: state for key, state in run.states.items() if state != "success"}
    assert states == {("strict", -1): "failed"}
    assert run.tries["strict", -1] == 1  # what is lost stays lost
    assert run.xcom("folder", 0)["counts"]["archived"] == run.xcom("folder", 1)["counts"]["archived"] == 1
    assert archived(archive / "folder" / connected.number_id) == ids(sent["a"])
    assert archived(archive / "folder" / other.number_id) == ids(sent["b"])
    assert len(list((archive / "folder").rglob("*.json"))) == 2
    for task_id, names in {
        "conf": ["conf"],
        "conf_again": [],
        "conf_part": ["part"],
        "mapping": ["mapping"],
        "listed": ["first", "second"],
        "pulled": ["pulled"],
    }.items():
        result = run.xcom(task_id)
        assert set(result) == RESULT
        assert result["counts"]["taken_in"] == result["counts"]["archived"] == len(names), task_id
        assert archived(archive / task_id) == ids(*(sent[name] for name in names)), task_id
    assert run.xcom("conf")["webhooks"]["urls_dropped"] == 1

    ours = [(task_id, json.dumps(value, default=str)) for task_id, _, value in run.all_xcoms if not task_id.startswith("a_")]
    assert len(ours) > 8
    before = len(CANARY.found)
    for task_id, text in ours:
        assert len(text) < 4096, task_id
        assert "lookaside" not in text, task_id
        CANARY.look(text, "the metadata database")
    assert len(CANARY.found) == before
    for index, conn_id in enumerate(("number_a", "number_b")):
        assert run.rendered["folder", index] == {
            "source": f"{landed}/",
            "destination": f"{archive}/folder",
            "dialog360_conn_id": conn_id,
        }
    assert run.rendered["pulled", -1]["dialog360_conn_id"] == "number_a"


@pytest.fixture
def short_waits(monkeypatch):
    """A wait ends when it may, not up to a minute later."""
    monkeypatch.setattr(waiting, "_JITTER_S", 0.1)
    monkeypatch.setattr(waiting, "SHORTEST_WAIT", timedelta(seconds=0.1))


def test_a_closed_channel_burns_no_retry(dag_file, connected, closed, short_waits, own_ledger):
    """Two tasks without retries wait, one in the triggerer, one rescheduled; then both end in success."""
    from tests.operators.conftest import Run

    webhook, _, landed, archive = closed
    an_hour_passes(own_ledger, 3600 - 6)
    run = Run(dag_file.waits.test(run_conf={"webhooks": str(landed), "archive": str(archive)}), connected, archive)
    assert run.states == {("deferred", -1): "success", ("rescheduled", -1): "success"}
    assert set(run.tries.values()) == {1}
    assert archived(archive) == ids(webhook)
    assert sum(run.xcom(task_id)["counts"]["archived"] for task_id in ("deferred", "rescheduled")) == 1
    assert connected.emu.counters(connected.number_id)["failed_gets"] == 4


def test_the_module_has_no_other_operator():
    """A new one needs tests of its own."""
    found = {each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__}
    assert found == {Archive}
