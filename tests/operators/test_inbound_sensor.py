"""The sensor that waits until nothing that customers sent has been waiting for too long: it reads the ledger and nothing else."""

from __future__ import annotations

import inspect
import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, AirflowSensorTimeout, TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_360dialog.exceptions import CallError, LedgerUnavailableError
from airflow_provider_360dialog.get_provider_info import get_provider_info
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator
from airflow_provider_360dialog.sensors.base import LedgerSensor
from airflow_provider_360dialog.sensors.campaign import Dialog360CampaignReadySensor
from airflow_provider_360dialog.sensors.inbound import Dialog360InboundDrainedSensor
from tests.jobs.doubles import JPEG, Patient

DAY = timedelta(days=1)


def sensor(**more):
    return Dialog360InboundDrainedSensor(task_id="t", dialog360_conn_id="number_a", **more)


def archive(folder, webhooks):
    made = Dialog360ArchiveInboundMediaOperator(
        task_id="t", dialog360_conn_id="number_a", source=webhooks, destination=str(folder)
    )
    made.hook._session.stop = Patient()
    return made.execute({})


@pytest.fixture
def receive(connected, tmp_path):
    """A customer sent a file so long ago; it is taken in, and 360dialog fails to give it."""

    def received(age):
        webhook = connected.emu.inject_webhook_media(JPEG + os.urandom(8), number=connected.number_id, with_url=False)
        message = webhook["entry"][0]["changes"][0]["value"]["messages"][0]
        message["timestamp"] = str(int((datetime.now(UTC) - age).timestamp()))
        fault = connected.arm("error", operation="fetch", status=500, times="always")
        assert archive(tmp_path, webhook)["counts"]["pending"] >= 1
        connected.emu.disarm(fault.fault_id)

    return received


def asked(number):
    return number.emu.counters(number.number_id)["requests"]


# --- what Airflow needs -------------------------------------------------------------------------------------------


def test_airflow_is_told_where_it_is():
    (known,) = get_provider_info()["sensors"]
    assert Dialog360InboundDrainedSensor.__module__ in known["python-modules"]


def test_arguments_are_stored_untouched_and_no_slot_is_held(monkeypatch):
    monkeypatch.setattr(Dialog360Hook, "__init__", lambda *_, **__: pytest.fail("a hook was made"))
    names = [name for name in inspect.signature(Dialog360InboundDrainedSensor).parameters if name != "kwargs"]
    markers = {name: object() for name in names}
    with DAG("d", schedule=None):
        made = Dialog360InboundDrainedSensor(task_id="t", **markers)
        assert {name: getattr(made, name) for name in names} == markers
        by_default = Dialog360InboundDrainedSensor(task_id="u")
    assert (by_default.mode, by_default.older_than, by_default.deferrable) == ("reschedule", DAY, False)
    assert by_default.dialog360_conn_id == "dialog360_default"


def test_a_dag_survives_serialisation():
    with DAG("d", schedule=None) as dag:
        sensor(older_than=timedelta(hours=6))
    back = DagSerialization.deserialize_dag(json.loads(json.dumps(DagSerialization.serialize_dag(dag)))).task_dict["t"]
    assert tuple(back.template_fields) == ("dialog360_conn_id",)
    assert back.dialog360_conn_id == "number_a"


# --- what it waits for --------------------------------------------------------------------------------------------


def test_where_nothing_was_ever_received_it_is_over_and_makes_no_ledger(connected, own_ledger):
    assert sensor(older_than=timedelta(0)).poke({})
    assert sensor(deferrable=True).execute({}) is None
    assert not own_ledger.exists()


def test_a_number_that_is_not_on_record_has_nothing_pending(receive, connect, connected):
    """Though another number of the same ledger has."""
    receive(2 * DAY)
    connect(connected.base_url, "a-key-that-was-never-used", conn_id="number_b")
    assert Dialog360InboundDrainedSensor(task_id="t", dialog360_conn_id="number_b").poke({})
    assert not sensor().poke({})


@pytest.mark.parametrize(
    ("age", "older_than", "over"),
    [
        (timedelta(hours=23), DAY, True),
        (timedelta(hours=25), DAY, False),
        (timedelta(hours=25), 2 * DAY, True),
        (timedelta(minutes=1), timedelta(0), False),
        (timedelta(minutes=2), timedelta(minutes=1), False),
    ],
    ids=str,
)
def test_it_waits_while_something_is_pending_that_is_too_old(age, older_than, over, receive, connected):
    """And with an age of nothing, until nothing is pending at all."""
    receive(age)
    before = asked(connected)
    assert sensor(older_than=older_than).poke({}) is over
    assert asked(connected) == before


def test_with_an_age_of_nothing_it_waits_also_for_what_came_this_moment(receive, own_ledger):
    """By a clock that runs ahead even."""
    receive(timedelta(0))
    with closing(sqlite3.connect(own_ledger, timeout=30)) as db, db:
        db.execute("UPDATE d360_inbound SET received_at = received_at + 1000")
    assert Dialog360Hook("number_a").inbound_standing().oldest_pending_s == 0
    assert not sensor(older_than=timedelta(0)).poke({})


def test_the_oldest_counts(receive):
    receive(timedelta(hours=30))
    receive(timedelta(hours=1))
    assert not sensor().poke({})


def test_what_was_archived_or_lost_is_waited_for_no_more(receive, tmp_path, own_ledger):
    """Six days old: archived. Eight: lost, once a run has noted that."""
    receive(6 * DAY)
    assert not sensor().poke({})
    with closing(sqlite3.connect(own_ledger, timeout=30)) as db, db:
        db.execute("UPDATE d360_inbound SET again_at = 0")  # its rest is over
    assert archive(tmp_path, None)["counts"]["archived"] == 1
    assert sensor(older_than=timedelta(0)).poke({})
    receive(timedelta(minutes=1))
    with closing(sqlite3.connect(own_ledger, timeout=30)) as db, db:
        db.execute("UPDATE d360_inbound SET received_at = received_at - 8 * 86400 WHERE state = ?", (schema.PENDING,))
    assert not sensor().poke({})
    assert archive(tmp_path, None)["lost"] == {"expired": 1}
    assert sensor(older_than=timedelta(0)).poke({})


def test_suspects_count(connected, tmp_path, caplog):
    """Nobody knows yet whether they were made up."""
    old = int((datetime.now(UTC) - 2 * DAY).timestamp())
    made_up = []
    for media_id in range(6):
        webhook = connected.emu.inject_webhook_media(JPEG, number=connected.number_id, with_url=False)
        message = webhook["entry"][0]["changes"][0]["value"]["messages"][0]
        message["timestamp"], message["image"]["id"] = str(old), f"99990000{media_id}"
        made_up.append(webhook)
    path = tmp_path / "forged.jsonl"
    path.write_text("\n".join(map(json.dumps, made_up)))
    archive(tmp_path, str(path))
    standing = Dialog360Hook("number_a").inbound_standing()
    assert standing.pending == standing.suspects > 0
    assert not sensor().poke({})
    assert sensor(older_than=3 * DAY).poke({})


@pytest.mark.parametrize("deferrable", [True, False])
def test_it_asks_nobody_also_with_a_wrong_key(deferrable, receive, connect, connected):
    """The connection's number is on record."""
    receive(2 * DAY)
    connect(connected.base_url, "a-wrong-key")
    before = len(connected.emu.requests(10_000))
    made = sensor(deferrable=deferrable)
    assert not made.poke({})
    with pytest.raises(TaskDeferred if deferrable else AirflowRescheduleException):
        made.execute({"ti": SimpleNamespace(get_first_reschedule_date=lambda _: None)})
    assert len(connected.emu.requests(10_000)) == before


# --- how it waits -------------------------------------------------------------------------------------------------


def test_rescheduled_it_looks_again_after_its_interval_and_ends_with_its_timeout(receive):
    """The timeout runs from the first look on."""
    receive(2 * DAY)
    made, began_at = sensor(poke_interval=90, timeout=600), datetime.now(UTC)
    context = {"ti": SimpleNamespace(get_first_reschedule_date=lambda _: began_at)}
    with pytest.raises(AirflowRescheduleException) as caught:
        made.execute(context)
    assert timedelta(seconds=89) < caught.value.reschedule_date - began_at < timedelta(seconds=120)
    began_at -= timedelta(seconds=601)
    with pytest.raises(AirflowSensorTimeout):
        made.execute(context)


def test_deferrable_it_looks_again_after_its_interval_and_ends_with_its_timeout(receive, tmp_path):
    """It holds no slot meanwhile, and goes on when nothing waits any more."""
    receive(2 * DAY)
    made, before = sensor(deferrable=True, poke_interval=90, timeout=600), datetime.now(UTC)
    with pytest.raises(TaskDeferred) as caught:
        made.execute({})
    assert isinstance(caught.value.trigger, DateTimeTrigger)
    assert timedelta(seconds=89) < caught.value.trigger.moment - before < timedelta(seconds=120)
    assert timedelta(seconds=870) < caught.value.timeout <= timedelta(seconds=900), (
        "a last look comes before Airflow's own timeout"
    )
    kwargs = json.loads(json.dumps(caught.value.kwargs)) | {"event": {}}
    with pytest.raises(TaskDeferred) as again:
        made.resume_execution(caught.value.method_name, kwargs, {})
    assert again.value.timeout <= caught.value.timeout
    long_ago = {"began_at": (before - timedelta(seconds=601)).isoformat(), "event": {}}
    with pytest.raises(AirflowSensorTimeout):
        made.resume_execution("resume", long_ago, {})
    made.older_than = 3 * DAY
    assert made.resume_execution("resume", long_ago, {}) is None


# --- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("older_than", [86_400, "1 day", None, -DAY, "{{ params.age }}"], ids=str)
@pytest.mark.parametrize("deferrable", [True, False])
def test_an_age_that_is_none_fails_it_at_once(deferrable, older_than, connected):
    """Whatever `retries` says, and before anything is pending."""
    with pytest.raises(AirflowFailException, match="older_than"):
        sensor(older_than=older_than, deferrable=deferrable).execute(
            {"ti": SimpleNamespace(get_first_reschedule_date=lambda _: None)}
        )


def test_a_wrong_connection_fails_it_for_good(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_NUMBER_A", '{"conn_type": "dialog360", "host": "https://waba-v2.360dialog.io"}')
    with pytest.raises(AirflowFailException, match="password"):
        sensor().poke({})
    with pytest.raises(AirflowFailException, match="password"):
        sensor(deferrable=True).execute({})


def test_a_ledger_that_does_not_answer_is_left_to_airflows_retries(connected, monkeypatch):
    def fail(_):
        raise LedgerUnavailableError(place="far", reason="gone")

    monkeypatch.setattr(Dialog360Hook, "inbound_standing", fail)
    with pytest.raises(LedgerUnavailableError):
        sensor().poke({})


# --- the base -----------------------------------------------------------------------------------------------------


class Lamp(LedgerSensor):
    """Green after so many looks; or it fails."""

    def __init__(self, *, looks=1, fault=None, **more):
        super().__init__(**more)
        self.looks, self.fault = looks, fault

    def is_over(self):
        if self.fault is not None:
            raise self.fault
        self.looks -= 1
        return self.looks == 0


@pytest.mark.parametrize("kind", [Dialog360CampaignReadySensor, Dialog360InboundDrainedSensor])
def test_both_sensors_that_look_into_the_ledger_wait_in_the_same_way(kind):
    assert issubclass(kind, LedgerSensor)
    assert all(getattr(kind, name) is getattr(LedgerSensor, name) for name in ("execute", "resume", "poke"))


def test_a_mode_of_ones_own_is_kept():
    assert Lamp(task_id="t", mode="poke").mode == "poke"


def test_what_retrying_cannot_mend_ends_it_and_the_rest_is_raised_as_it_is():
    with pytest.raises(AirflowFailException, match="wrong") as caught:
        Lamp(task_id="t", fault=CallError("wrong")).poke({})
    assert isinstance(caught.value.__cause__, CallError)
    with pytest.raises(LedgerUnavailableError):
        Lamp(task_id="t", fault=LedgerUnavailableError(place="far", reason="gone"), deferrable=True).execute({})


def test_the_timeout_is_what_is_left_of_it_and_a_last_look_comes_first():
    """Of ten minutes four are over."""
    began_at = (datetime.now(UTC) - timedelta(minutes=4)).isoformat()
    with pytest.raises(TaskDeferred) as caught:
        Lamp(task_id="t", looks=9, timeout=600, deferrable=True).resume({}, {}, began_at=began_at)
    assert caught.value.kwargs == {"began_at": began_at}
    assert timedelta(minutes=10) < caught.value.timeout <= timedelta(minutes=11)
    with pytest.raises(TaskDeferred) as last:
        Lamp(task_id="t", looks=9, timeout=250, poke_interval=90, deferrable=True).resume({}, {}, began_at=began_at)
    assert last.value.trigger.moment - datetime.now(UTC) <= timedelta(seconds=10), "when the time is over, not an interval later"
    assert Lamp(task_id="t", looks=1, timeout=60, deferrable=True).resume({}, {}, began_at=began_at) is None
    with pytest.raises(AirflowSensorTimeout, match="'t'"):
        Lamp(task_id="t", looks=9, timeout=60, deferrable=True).resume({}, {}, began_at=began_at)
