"""The sensor that waits until a number's retrieval is open: it reads the ledger and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.media import Dialog360DownloadMediaOperator
from airflow_provider_360dialog.sensors.retrieval import Dialog360RetrievalOpenSensor
from tests.jobs.doubles import JPEG


def sensor(**more):
    return Dialog360RetrievalOpenSensor(task_id="t", dialog360_conn_id="number_a", **more)


@pytest.fixture
def spent(connected):
    """The number's error budget, to its last credit."""
    hook = Dialog360Hook("number_a")
    for dead in range(4):
        with pytest.raises(AirflowFailException), hook.as_airflow_sees_it():
            hook.fetch_media(f"99900{dead}")
    return connected


def test_a_number_of_which_nothing_is_known_is_open(connected, own_ledger):
    """No ledger is made for the question."""
    assert sensor().poke({})
    assert sensor(deferrable=True).execute({}) is None
    assert not own_ledger.exists()


def test_it_is_closed_while_the_budget_is_spent_and_asks_nobody(spent):
    before = spent.sent("fetch"), spent.sent("health")
    made = sensor()
    assert made.mode == "reschedule"  # no slot is held between two looks
    assert not made.poke({})
    assert (spent.sent("fetch"), spent.sent("health")) == before


def test_deferrable_it_waits_for_the_exact_instant_and_looks_again(spent):
    made = sensor(deferrable=True, timeout=7200)
    opens_at = Dialog360Hook("number_a").retrieval_opens_at()
    with pytest.raises(TaskDeferred) as caught:
        made.execute({})
    assert isinstance(caught.value.trigger, DateTimeTrigger)
    assert timedelta(0) <= caught.value.trigger.moment - opens_at <= timedelta(seconds=30)
    assert timedelta(minutes=59) < opens_at - datetime.now(UTC) <= timedelta(hours=1)
    assert caught.value.timeout == timedelta(hours=2)
    assert not caught.value.kwargs
    with pytest.raises(TaskDeferred):
        made.resume({}, {})


def test_a_wrong_connection_fails_it_for_good(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_NUMBER_A", '{"conn_type": "dialog360", "host": "https://waba-v2.360dialog.io"}')
    with pytest.raises(AirflowFailException, match="password"):
        sensor().poke({})
    with pytest.raises(AirflowFailException, match="password"):
        sensor(deferrable=True).execute({})


def test_a_download_passes_ask_again_on(connected, tmp_path):
    """An id that is on record as refused is asked once more, where the task says so."""
    media_id, _ = connected.receive(JPEG)
    hook = Dialog360Hook("number_a")
    connected.arm("error", operation="fetch", status=400, text="no such object", code=100, subcode=33, times=1)
    with pytest.raises(AirflowFailException), hook.as_airflow_sees_it():
        hook.fetch_media(media_id)
    more = {"task_id": "t", "dialog360_conn_id": "number_a", "media_id": media_id, "destination": str(tmp_path / "a.jpg")}
    with pytest.raises(AirflowFailException):
        Dialog360DownloadMediaOperator(**more).execute({})
    assert Dialog360DownloadMediaOperator(**more, ask_again=True).execute({})["size_bytes"] == len(JPEG)
