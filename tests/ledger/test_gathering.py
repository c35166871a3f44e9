"""Threads of one process that want turns of one channel ask together, and a pace that was just heard is not asked for again."""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest

from airflow_provider_360dialog.exceptions import LedgerUnavailableError
from airflow_provider_360dialog.ledger import ration as ration_module
from airflow_provider_360dialog.ledger import rules
from airflow_provider_360dialog.ledger.ration import Ration
from airflow_provider_360dialog.ledger.rules import Closed, Turn

THREADS = 12


class Gate:
    """Holds up whoever asks the ledger for turns, and counts."""

    def __init__(self, monkeypatch, *, then=None):
        self.asked, self._then, self.opens = [], then, threading.Event()
        self._reserve = Ration._reserve
        monkeypatch.setattr(Ration, "_reserve", lambda ration, wishes: self._ask(ration, wishes))  # noqa: PLW0108 - a method of the ration, not of the gate

    def _ask(self, ration, wishes):
        self.asked.append(len(wishes))
        assert self.opens.wait(20)
        if self._then is not None:
            self._then(len(self.asked))
        self._reserve(ration, wishes)


def ask_together(ledger, gate, count=THREADS, **more):
    """What each thread got: the first one asks alone, and the others gather meanwhile."""
    answers = []

    def ask():
        try:
            answers.append(ledger.ration.reserve(**more))
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            answers.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    threads[0].start()
    while not gate.asked:
        time.sleep(0.001)
    for thread in threads[1:]:
        thread.start()
    desk = ledger.ration._desk
    while len(desk._wishes) < count - 1:
        time.sleep(0.001)
    gate.opens.set()
    for thread in threads:
        thread.join(30)
    return answers


def test_threads_that_wait_for_another_are_answered_in_one_transaction(ledger, monkeypatch):
    """And no two get one instant."""
    gate = Gate(monkeypatch)
    turns = ask_together(ledger, gate)
    assert gate.asked == [1, THREADS - 1]
    instants = sorted(turn.at for turn in turns)
    gaps = [later - earlier for earlier, later in itertools.pairwise(instants)]
    assert min(gaps) >= 1 / rules.CEILING_PER_S - 1e-6


def test_whoever_does_not_want_to_wait_so_long_gets_no_instant_and_takes_none(ledger, monkeypatch, clock):
    """Of those who gathered, the first ones have theirs."""
    gate = Gate(monkeypatch)
    answers = ask_together(ledger, gate, max_wait_s=0.1)
    turns = [each for each in answers if isinstance(each, Turn)]
    assert 1 <= len(turns) < THREADS
    closed = [each for each in answers if isinstance(each, Closed)]
    assert len(closed) == THREADS - len(turns)
    assert ledger.ration.reserve().at == pytest.approx(closed[0].until, abs=1e-3)


def test_what_the_ledger_refuses_to_one_it_refuses_to_all_who_gathered(ledger, monkeypatch):
    """Nobody waits for the ledger's silence a second time; each has an error of its own."""

    def fail(asked):
        if asked == 2:
            raise LedgerUnavailableError(place="here", reason="it does not answer")

    gate = Gate(monkeypatch, then=fail)
    answers = ask_together(ledger, gate)
    errors = [each for each in answers if isinstance(each, LedgerUnavailableError)]
    assert gate.asked == [1, THREADS - 1]
    assert len(errors) == len({id(each) for each in errors}) == THREADS - 1
    assert isinstance(ledger.ration.reserve(), Turn), "the next one asks anew"


def test_what_else_ends_a_thread_that_asks_is_not_the_others_affair(ledger, monkeypatch):
    """A task that is told to end may be told while it asks for all."""

    def interrupt(asked):
        if asked == 2:
            raise KeyboardInterrupt

    answers = ask_together(ledger, gate := Gate(monkeypatch, then=interrupt))
    assert sum(isinstance(each, KeyboardInterrupt) for each in answers) == 1
    assert sum(isinstance(each, Turn) for each in answers) == THREADS - 1
    assert gate.asked == [1, THREADS - 1, THREADS - 2]


def test_channels_do_not_wait_for_each_other(store, ledger, monkeypatch):
    from tests.ledger.doubles import ledger_of

    gate = Gate(monkeypatch)
    other = ledger_of(store, "100000000000002")
    waiting = threading.Thread(target=ledger.ration.reserve)
    waiting.start()
    while not gate.asked:
        time.sleep(0.001)
    assert other.ration._desk is not ledger.ration._desk
    gate.opens.set()
    assert isinstance(other.ration.reserve(), Turn)
    waiting.join(30)


def test_a_child_that_is_forked_while_somebody_asks_is_not_stuck(ledger, monkeypatch):
    gate = Gate(monkeypatch)
    waiting = threading.Thread(target=ledger.ration.reserve)
    waiting.start()
    while not gate.asked:
        time.sleep(0.001)
    child = os.fork()
    if not child:
        is_free = False
        try:
            desk = ration_module._desk_of(ledger.store, ledger.identity.channel_id)
            is_free = desk._changed.acquire(timeout=5) and not desk._is_asking
        finally:
            os._exit(0 if is_free else 1)
    gate.opens.set()
    waiting.join(30)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_pace_that_was_just_heard_is_not_asked_for_again(ledger, monkeypatch):
    """A refusal that this process has put on record counts at once; what others have, 50 ms later at most."""
    ration = ledger.ration
    monkeypatch.setattr(ration_module, "_HEARD_S", 3600.0)
    turn = ration.reserve()
    monkeypatch.setattr(ration._store, "read", lambda: pytest.fail("the ledger was asked"))
    assert ration.stands(turn)
    ration.refused(pause_s=None)
    assert not ration.stands(turn)


def test_a_pace_that_was_heard_a_while_ago_is_asked_for(store, ledger, clock):
    """By another process, which has heard of a refusal meanwhile."""
    from airflow_provider_360dialog.ledger.store import Store
    from tests.ledger.doubles import NOW_SQL

    turn = ledger.ration.reserve()
    elsewhere = Ration(Store(store._url, now_sql=NOW_SQL, single_host=False).open(), ledger.identity.channel_id)
    clock.advance(0.001)
    elsewhere.refused(pause_s=None)
    time.sleep(0.06)
    assert not ledger.ration.stands(turn)
