"""Who is at a campaign: signs of life of a DAG run, for people who look."""

from __future__ import annotations

import pytest

from airflow_provider_360dialog.exceptions import LedgerRefusedError, LedgerUnavailableError
from airflow_provider_360dialog.ledger import campaign_runs
from airflow_provider_360dialog.ledger.campaign_runs import ALL_CHANNELS, SILENT_S, Presence, read_runs, running_among
from airflow_provider_360dialog.ledger.campaigns import Campaigns
from airflow_provider_360dialog.ports import DagRun
from tests.ledger.doubles import START

MONDAY, TUESDAY = DagRun("vouchers", "monday"), DagRun("vouchers", "tuesday")


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Each sign of life is written down."""
    monkeypatch.setattr(campaign_runs, "_SEEN_EVERY_S", 0.0)


@pytest.fixture
def campaign(store):
    """The row of a campaign."""
    return Campaigns(store).begin_plan("spring", START + 86_400).row


@pytest.fixture
def present(store, campaign):
    """Somebody at the campaign."""

    def make(dag_run=MONDAY, channel_id=1):
        return Presence(store, campaign, channel_id, dag_run)

    return make


@pytest.fixture
def look(store, campaign, clock):
    """Who is at it, as (run, whether it runs, began, seen), in seconds since the start; and the list's word for it."""

    def read():
        with store.read() as db:
            runs = read_runs(db, campaign, clock.now)
            listed = campaign in running_among(db, [campaign, campaign + 1], clock.now)
        assert listed == any(each.is_running for each in runs)
        return [(each.run_id, each.is_running, each.began_at - START, each.seen_at - START) for each in runs]

    return read


def test_a_run_is_seen_while_it_lasts_and_remembered_afterwards(present, look, clock):
    assert look() == []
    with present().told() as seen:
        assert look() == [("monday", True, 0, 0)]
        clock.advance(50)
        seen()
        assert look() == [("monday", True, 0, 50)]
        clock.advance(10)
    assert look() == [("monday", False, 0, 60)]


def test_who_was_killed_does_not_run_any_more(present, look, clock):
    """It has told no end."""
    killed = present().told()
    killed.__enter__()
    clock.advance(SILENT_S - 1)
    assert look() == [("monday", True, 0, 0)]
    clock.advance(1)
    assert look() == [("monday", False, 0, 0)]


def test_the_channels_of_a_run_are_one_run_that_goes_on_until_the_last(present, look, clock):
    with present(channel_id=ALL_CHANNELS).told():
        pass
    clock.advance(5)
    with present(channel_id=1).told():
        clock.advance(5)
        with present(channel_id=2).told():
            clock.advance(5)
        assert look() == [("monday", True, 0, 15)]
    assert look() == [("monday", False, 0, 15)]


def test_of_two_at_one_channel_the_later_is_told_and_the_earlier_again_once_it_is_alone(present, look, clock):
    with present(MONDAY).told() as seen:
        clock.advance(10)
        with present(TUESDAY).told():
            clock.advance(10)
            seen()
            assert look() == [("tuesday", True, 10, 10)]
        seen()
        assert look() == [("monday", True, 0, 20)]


def test_the_end_of_the_earlier_is_not_the_end_of_the_later(present, look, clock):
    first = present(MONDAY).told()
    first.__enter__()
    clock.advance(10)
    with present(TUESDAY).told():
        first.__exit__(None, None, None)
        assert look() == [("tuesday", True, 10, 10)]


def test_who_runs_stands_before_who_was_there_last(present, look, clock):
    with present(TUESDAY, channel_id=1).told():
        clock.advance(5)
        with present(MONDAY, channel_id=2).told():
            pass
        assert [run_id for run_id, *_ in look()] == ["tuesday", "monday"]


def test_somebody_outside_of_airflow_has_no_names(present, look):
    with present(None).told():
        assert look() == [(None, True, 0, 0)]


def test_a_failure_is_an_end(present, look):
    with pytest.raises(ZeroDivisionError), present().told():
        raise ZeroDivisionError
    assert look() == [("monday", False, 0, 0)]


def test_signs_of_life_are_written_down_now_and_then_only(present, look, clock, monkeypatch):
    monkeypatch.setattr(campaign_runs, "_SEEN_EVERY_S", 1e6)
    with present().told() as seen:
        clock.advance(50)
        seen()
        assert look() == [("monday", True, 0, 0)]


@pytest.mark.parametrize("fault", [LedgerUnavailableError(place="p", reason="r"), LedgerRefusedError(place="p", reason="r")])
def test_a_ledger_that_does_not_answer_stops_nobody(present, look, store, clock, monkeypatch, fault):
    """And whoever could not tell the beginning tells it later."""

    def away():
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr(store, "write", away)
        manager = present().told()
        seen = manager.__enter__()
        seen()
    assert look() == []
    clock.advance(5)
    seen()
    assert look() == [("monday", True, 5, 5)]
    monkeypatch.setattr(store, "write", away)
    manager.__exit__(None, None, None)
