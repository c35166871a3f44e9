"""One channel's ration on record: instants for uploads and credits for GETs, for all who share the ledger."""

from __future__ import annotations

import gc
import itertools
import math
import os
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.exceptions import (
    ChannelClosedError,
    DestinationError,
    InterruptedExchangeError,
    MediaGoneError,
    ServerError,
    ThrottledError,
    UnreachableError,
)
from airflow_provider_360dialog.jobs import turns
from airflow_provider_360dialog.jobs.calls import Calls
from airflow_provider_360dialog.jobs.retrieve import download, fetch
from airflow_provider_360dialog.jobs.turns import get_with_credit, retrieval_opens_at, upload_in_turn
from airflow_provider_360dialog.jobs.upload import upload
from airflow_provider_360dialog.ledger import rules, schema
from airflow_provider_360dialog.ledger import store as store_module
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.clock import Clock as Offsets
from airflow_provider_360dialog.ledger.ration import Ration
from airflow_provider_360dialog.ledger.rules import CEILING_PER_S, LESS, MUCH_LESS, AskById, Closed, Full, Open
from airflow_provider_360dialog.ledger.store import Store
from airflow_provider_360dialog.ports import Channel, Policy, Timeouts
from tests.jobs.doubles import JPEG, MemoryDestination, MemorySource
from tests.ledger import test_ration as here
from tests.ledger.doubles import NOW_SQL, ORIGIN, START, Waiting, execute, ledger_of, together

HOUR = 3600.0
GAP = 1 / CEILING_PER_S


@pytest.fixture
def ration(ledger):
    """The channel's, on the movable clock; nothing was refused for long."""
    quiet = {"channel_id": ledger.identity.channel_id, **asdict(rules.Pace(next_at=START))}
    with ledger.store.write() as db:
        db.execute(schema.pace.insert().values(**quiet))
    return ledger.ration


@pytest.fixture
def speak(ledger):
    """A connection says something of the ration; who says something else."""
    channels = Channels(ledger.store)
    return lambda conn_id="a", **said: channels.speak(conn_id, ORIGIN, ledger.identity, Policy(**said))


def credits_of(store):
    """All on record: (spent_at, deadline)."""
    with store.read() as db:
        table = schema.credit
        return [tuple(row) for row in db.execute(sa.select(table.c.spent_at, table.c.deadline).order_by(table.c.id))]


def hold_all(ration, for_s=60.0):
    """Credits until there is none."""
    found = []
    while isinstance(held := ration.hold(for_s=for_s), int):
        found.append(held)
        assert len(found) < 100
    return found, held


def approximately(at):
    """Clocks that are fractions of days lose microseconds."""
    return pytest.approx(at, abs=1e-3)


# --- credits ------------------------------------------------------------------------------------------------------


def test_four_may_be_held_and_the_fifth_has_to_wait(ration):
    """The strict rule where nobody says otherwise."""
    held, answer = hold_all(ration)
    assert len(set(held)) == 4
    assert answer == Full()


def test_what_is_given_back_can_be_held_again(ration, store):
    held, _ = hold_all(ration)
    ration.give_back(held[2])
    assert len(hold_all(ration)[0]) == 1
    for credit in held:
        ration.give_back(credit)
    assert len(credits_of(store)) == 1


def test_what_is_spent_comes_back_an_hour_after_it_was_settled(ration, clock):
    """Not an hour after it was held: the failure may have happened at the last moment."""
    credit = ration.hold(for_s=60)
    clock.advance(50)
    ration.spend(credit)
    for _ in range(3):
        ration.spend(ration.hold(for_s=60))
        clock.advance(10)
    assert ration.hold(for_s=60) == Closed(until=START + 50 + HOUR)
    clock.advance(HOUR - 30 - 0.5)
    assert ration.hold(for_s=60) == Closed(until=START + 50 + HOUR)
    clock.advance(0.5)
    assert len(hold_all(ration)[0]) == 2, "the first two were spent at the same instant"


def test_it_opens_at_the_instant_that_was_told_and_not_before(ration, clock):
    for _ in range(4):
        ration.spend(ration.hold(for_s=60))
        clock.advance(600)
    closed = ration.hold(for_s=60)
    clock.advance(closed.until - clock.now)
    assert isinstance(ration.hold(for_s=60), int)
    assert ration.hold(for_s=60) == Full()


def test_a_holder_that_dies_has_spent_its_credit_from_its_deadline_on(ration, clock):
    """What it had sent may have failed as late as that; an hour after, the budget is whole again."""
    hold_all(ration, for_s=90)
    clock.advance(89.5)
    assert ration.hold(for_s=90) == Full()
    clock.advance(0.5)
    assert ration.hold(for_s=90) == Closed(until=START + 90 + HOUR)
    clock.advance(HOUR)
    assert len(hold_all(ration)[0]) == 4


def test_a_holder_that_settles_after_its_deadline_counts_from_then(ration, clock):
    credit = ration.hold(for_s=10)
    clock.advance(30)
    ration.spend(credit)
    clock.advance(HOUR - 1)
    assert len(hold_all(ration)[0]) == 3
    clock.advance(1)
    assert len(hold_all(ration)[0]) == 1


def test_what_no_longer_counts_is_deleted(ration, store, clock):
    for _ in range(3):
        ration.spend(ration.hold(for_s=60))
    ration.hold(for_s=60)
    clock.advance(HOUR + 60)
    ration.hold(for_s=60)
    assert len(credits_of(store)) == 1


def test_to_look_changes_nothing(ration, store, clock):
    assert ration.retrieval() == (Open(), START)
    held, _ = hold_all(ration)
    assert ration.retrieval() == (Full(), START)
    before = credits_of(store)
    clock.advance(2 * HOUR)
    assert ration.retrieval() == (Open(), clock.now)
    assert credits_of(store) == before
    assert len(held) == 4


def test_a_block_closes_all_gets_until_its_end(ration, clock):
    assert ration.close(for_s=120.0) == START + 120
    assert ration.hold(for_s=60) == Closed(until=START + 120)
    clock.advance(119.5)
    assert ration.retrieval()[0] == Closed(until=START + 120)
    clock.advance(0.5)
    assert isinstance(ration.hold(for_s=60), int)


@pytest.mark.parametrize(("throttle", "block_s"), [("strict", 3600), ("documented", 1800)])
def test_a_block_of_which_nothing_is_said_lasts_as_long_as_the_policy(ration, speak, throttle, block_s):
    speak(throttle=throttle)
    assert ration.close(for_s=None) == START + block_s


def test_a_shorter_block_does_not_end_a_longer_one(ration):
    """And whoever saw the shorter one is told when it really opens."""
    ration.close(for_s=600)
    ration.close(for_s=60)
    assert ration.hold(for_s=60) == Closed(until=START + 600)


def test_channels_do_not_share_their_credits(store):
    one, other = ledger_of(store).ration, ledger_of(store, "100000000000002").ration
    hold_all(one)
    assert len(hold_all(other)[0]) == 4


# --- URLs of webhooks, and what is left ---------------------------------------------------------------------------


def hold_url(ration):
    """A credit for a download through the URL that a webhook brought."""
    return ration.hold(for_s=60, by_webhook_url=True)


def test_urls_of_webhooks_may_hold_two_credits_and_do_not_hinder_the_others(ration):
    """While they are held, one may come back: whoever wants a third has to wait; who asks for an id has the rest."""
    first, second = hold_url(ration), hold_url(ration)
    assert hold_url(ration) == Full()
    others, answer = hold_all(ration)
    assert (len(others), answer) == (2, Full())
    ration.give_back(first)
    third = hold_url(ration)
    assert len({first, second, third, *others}) == 5
    assert hold_url(ration) == Full()


def test_once_two_urls_of_webhooks_have_failed_the_id_is_to_be_asked(ration, clock):
    """Until the first of them has left the hour. The rest of the budget is as free as before."""
    ration.spend(hold_url(ration))
    clock.advance(600)
    second = hold_url(ration)
    assert hold_url(ration) == Full()
    ration.spend(second)
    assert hold_url(ration) == AskById()
    assert ration.retrieval() == (Open(), clock.now)
    others, _ = hold_all(ration)
    assert len(others) == 2
    assert hold_url(ration) == AskById()
    for credit in others:
        ration.give_back(credit)
    clock.advance(HOUR - 600 - 0.5)
    assert hold_url(ration) == AskById()
    clock.advance(0.5)
    assert isinstance(hold_url(ration), int)
    assert hold_url(ration) == Full()


def test_a_dead_holder_of_a_webhooks_url_has_spent_it(ration, clock):
    """From its deadline on, for an hour."""
    hold_url(ration)
    hold_url(ration)
    clock.advance(59.5)
    assert hold_url(ration) == Full()
    clock.advance(0.5)
    assert hold_url(ration) == AskById()
    clock.advance(HOUR - 0.5)
    assert hold_url(ration) == AskById()
    clock.advance(0.5)
    assert isinstance(hold_url(ration), int)


def test_what_others_have_spent_or_a_block_closes_urls_of_webhooks_as_well(ration, clock):
    """They are GETs of the channel like any other."""
    for credit in hold_all(ration)[0]:
        ration.spend(credit)
    assert hold_url(ration) == Closed(until=START + HOUR)
    clock.advance(HOUR)
    ration.close(for_s=120)
    assert hold_url(ration) == Closed(until=clock.now + 120)
    clock.advance(120)
    assert isinstance(hold_url(ration), int)


def test_of_many_threads_two_get_a_credit_for_a_webhooks_url(store):
    """All at once; and four in all."""
    rations = [ledger_of(store).ration for _ in range(12)]
    found = together(12, lambda i: rations[i].hold(for_s=60, by_webhook_url=i < 8))
    assert sum(isinstance(each, int) for each in found[:8]) <= 2
    assert sum(isinstance(each, int) for each in found) == 4
    assert not [each for each in found if not isinstance(each, int) and each != Full()]
    with store.read() as db:
        marks = db.execute(sa.select(schema.credit.c.by_webhook_url)).scalars().all()
    assert sorted(marks) == sorted(i < 8 for i, each in enumerate(found) if isinstance(each, int))


def test_what_is_left_is_told_in_every_state(ration, speak, clock, store):
    """Held, given back, spent, dead, during a block, and by another connection's word; to look changes nothing."""
    other = ledger_of(store, "100000000000002").ration
    assert (ration.credits_left(), other.credits_left()) == (4, 4)
    held, url = ration.hold(for_s=60), hold_url(ration)
    assert ration.credits_left() == 2
    ration.give_back(held)
    assert ration.credits_left() == 3
    ration.spend(url)
    ration.hold(for_s=60)
    assert ration.credits_left() == 2
    before = credits_of(store)
    clock.advance(120)
    assert ration.credits_left() == 2, "the one that died is spent"
    speak("a", error_budget=2)
    assert ration.credits_left() == 0
    speak("a", throttle="documented")
    assert ration.credits_left() == 16
    ration.close(for_s=HOUR)
    assert (ration.credits_left(), other.credits_left()) == (0, 4)
    clock.advance(HOUR)
    assert ration.credits_left() == 4, "all that was spent has left the hour, and the connection has no say any more"
    assert credits_of(store) == before


# --- what connections say -----------------------------------------------------------------------------------------


def room(ration):
    """How many credits can be held now."""
    held, _ = hold_all(ration)
    for credit in held:
        ration.give_back(credit)
    return len(held)


@pytest.mark.parametrize(
    ("said", "credits_"),
    [
        ([], 4),
        ([{}], 4),
        ([{"error_budget": 2}], 2),
        ([{"error_budget": 9}], 4),
        ([{"throttle": "documented"}], 18),
        ([{"throttle": "documented", "error_budget": 7}], 7),
        ([{"throttle": "documented", "error_budget": 30}], 18),
        ([{"throttle": "documented"}, {}], 4),
        ([{"throttle": "documented"}, {"throttle": "documented", "error_budget": 5}], 5),
        ([{"error_budget": 3}, {"error_budget": 1}, {}], 1),
    ],
)
def test_the_strictest_connection_counts(ration, speak, said, credits_):
    for conn_id, each in zip("abc", said, strict=False):
        speak(conn_id, **each)
    assert room(ration) == credits_


def test_connections_that_disagree_are_named(speak):
    assert speak("a", error_budget=2) == []
    assert speak("b", error_budget=2) == []
    assert speak("c") == ["a", "b"]
    assert speak("a", error_budget=2) == ["c"]


def test_what_a_connection_says_counts_at_once_and_while_credits_are_held(ration, speak):
    speak(error_budget=1)
    assert room(ration) == 1
    speak()
    held, _ = hold_all(ration)
    assert len(held) == 4
    speak(error_budget=2)
    assert ration.hold(for_s=60) == Full()
    for credit in held[:3]:
        ration.give_back(credit)
    assert room(ration) == 1
    speak(throttle="documented")
    assert room(ration) == 17


def test_a_connection_that_was_not_used_for_an_hour_has_no_say(ration, speak, clock):
    speak("old", error_budget=1, uploads_per_second=1.0)
    clock.advance(HOUR - 1)
    speak("new", throttle="documented")
    assert room(ration) == 1
    clock.advance(1)
    assert room(ration) == 18
    assert speak("new", throttle="documented") == []


def test_a_connection_of_another_number_has_no_say(ration, store, speak):
    other = ledger_of(store, "100000000000002")
    Channels(store).speak("other", ORIGIN, other.identity, Policy(error_budget=1, uploads_per_second=1.0))
    assert room(ration) == 4
    assert spacing(ration) == approximately(GAP)


# --- instants -----------------------------------------------------------------------------------------------------


def spacing(ration):
    """Between the next two instants."""
    first, second = ration.reserve().at, ration.reserve().at
    return second - first


def test_instants_are_a_gap_apart_and_the_first_is_now(ration):
    found = [ration.reserve().at for _ in range(30)]
    assert found == [approximately(START + index * GAP) for index in range(30)]


def test_idle_time_is_not_saved_up(ration, clock):
    ration.reserve()
    clock.advance(HOUR)
    assert [ration.reserve().at, ration.reserve().at] == [approximately(clock.now), approximately(clock.now + GAP)]


def test_whoever_does_not_want_to_wait_so_long_reserves_nothing(ration):
    for _ in range(50):
        ration.reserve()
    turned_away = ration.reserve(max_wait_s=1.0)
    assert turned_away == Closed(until=approximately(START + 50 * GAP))
    assert ration.reserve().at == approximately(turned_away.until)


def test_a_pause_is_waited_out_by_everybody(ration, store, clock):
    ration.reserve()
    ration.refused(pause_s=30)
    assert ledger_of(store).ration.reserve().at == START + 30
    clock.advance(31)
    assert ration.reserve().at == approximately(START + 31)


def test_a_pause_of_more_than_a_minute_is_told_instead_of_reserved(ration, clock):
    ration.refused(pause_s=300)
    assert ration.reserve() == Closed(until=START + 300)
    clock.advance(241)
    assert ration.reserve().at == START + 300


def test_a_refusal_slows_down_once_a_second_however_many_come_back(ration, clock):
    ration.reserve()
    clock.advance(5)
    rates = {round(ration.refused(pause_s=None), 6) for _ in range(10)}
    assert rates == {round(CEILING_PER_S * LESS, 6)}
    assert spacing(ration) == approximately(1 / (CEILING_PER_S * LESS))
    clock.advance(1)
    assert ration.refused(pause_s=None) == pytest.approx(CEILING_PER_S * LESS * MUCH_LESS, rel=1e-3)


def test_quiet_brings_the_pace_back(ration, clock):
    ration.reserve()
    clock.advance(5)
    slow = ration.refused(pause_s=None)
    clock.advance(20)
    ration.reserve()
    assert GAP < spacing(ration) < 1 / slow
    clock.advance(HOUR)
    ration.reserve()
    assert spacing(ration) == approximately(GAP)


def test_a_refusal_takes_back_what_was_given_before_it(ration, store, clock):
    """By whomever: in another process too, the instant is not used."""
    given = ration.reserve()
    other = ledger_of(store).ration
    assert other.stands(given)
    clock.advance(0.1)
    other.refused(pause_s=None)
    assert not ration.stands(given)
    clock.advance(0.1)
    assert ration.stands(ration.reserve())


def test_a_turn_says_whether_a_failed_upload_costs_budget(ration, speak):
    """The stricter of two connections counts."""
    assert not ration.reserve().costs_credit
    speak("a")
    assert not ration.reserve().costs_credit
    assert speak("b", count_failed_uploads=True) == ["a"]
    assert ration.reserve().costs_credit


def test_a_connection_lowers_the_pace_at_once_and_the_lower_counts(ration, speak):
    speak("a", uploads_per_second=10.0)
    assert spacing(ration) == approximately(0.1)
    speak("b", uploads_per_second=5.0)
    ration.reserve()
    assert spacing(ration) == approximately(0.2)


def test_a_connection_raises_the_pace_at_once(ration, speak):
    """It is a change of the connection, not the end of a refusal: nothing has to be quiet first."""
    speak(uploads_per_second=5.0)
    assert spacing(ration) == approximately(0.2)
    speak(uploads_per_second=20.0)
    ration.reserve()
    assert spacing(ration) == approximately(0.05)


def test_a_refusal_slows_down_what_the_connection_allows(ration, speak, clock):
    speak(uploads_per_second=10.0)
    ration.reserve()
    clock.advance(5)
    assert ration.refused(pause_s=None) == pytest.approx(10.0 * LESS)


def test_a_clock_that_jumped_back_does_not_stop_the_channel(ration, clock):
    """Neither what was reserved nor what was paused by the clock of before (needs F69)."""
    ration.reserve()
    ration.refused(pause_s=600)
    clock.advance(-6 * HOUR)
    turn = ration.reserve()
    assert not isinstance(turn, Closed) or turn.until <= clock.now + rules.LONGEST_PAUSE_S


# --- many at once -------------------------------------------------------------------------------------------------


def test_threads_never_hold_more_than_the_budget(store):
    """Eight, a hundred times each; what fails is spent."""
    most, held, lock = [], set(), threading.Lock()
    rations = [ledger_of(store).ration for _ in range(8)]

    def act(i):
        for turn in range(25):
            credit = rations[i].hold(for_s=60)
            if not isinstance(credit, int):
                continue
            with lock:
                assert credit not in held
                held.add(credit)
                most.append(len(held))
            time.sleep(0.001)
            with lock:
                held.discard(credit)
            (rations[i].spend if (i, turn) in {(0, 0), (3, 3)} else rations[i].give_back)(credit)

    together(8, act)
    spent = [row for row in credits_of(store) if row[0] is not None]
    assert len(spent) <= 2
    assert 1 <= max(most) <= 4


def test_of_many_processes_four_get_a_credit(url, ledger, processes):
    """At the same instant, in several rounds."""
    for number in range(5):
        found = processes(here.hold_in_a_process, url, f"2{number:014}")
        assert sorted(found) == [False] * 2 + [True] * 4


def test_processes_reserve_instants_that_differ(url, ration, processes):
    """And nothing is left out: the line is used to the full."""
    found = sorted(itertools.chain(*processes(here.reserve_in_a_process, url, "100000000000001", 25, count=4)))
    assert len(found) == 100
    assert [b - a for a, b in itertools.pairwise(found)] == [approximately(GAP)] * 99


@pytest.mark.parametrize("default", ["read committed", "repeatable read", "serializable"])
def test_who_waited_for_another_sees_what_it_has_held(store, url, engine, speak, ration, default):
    """Whatever the server's default isolation is: an older snapshot would not show the credit that was held meanwhile."""
    speak(error_budget=1)
    ration.give_back(ration.hold(for_s=60))
    if engine == "postgresql":
        execute(url, f"ALTER DATABASE {sa.make_url(url).database} SET default_transaction_isolation = '{default}'")
        store._engine().dispose()
    found = []
    try:
        with store.write() as db:
            ration._look(db)
            other = threading.Thread(target=lambda: found.append(ration.hold(for_s=60)))
            other.start()
            time.sleep(0.3)
            db.execute(schema.credit.insert().values(channel_id=ration._channel_id, deadline=START + 60))
        other.join(30)
    finally:
        if engine == "postgresql":
            execute(url, f"ALTER DATABASE {sa.make_url(url).database} RESET default_transaction_isolation")
    assert found == [Full()]


def hold_in_a_process(url, number, at):
    ration = _ration_in_a_process(url, number)
    time.sleep(max(0.0, at - time.time()))
    return isinstance(ration.hold(for_s=60), int)


def reserve_in_a_process(url, number, count, at):
    ration = _ration_in_a_process(url, number)
    time.sleep(max(0.0, at - time.time()))
    return [ration.reserve().at for _ in range(count)]


def _ration_in_a_process(url, number):
    return ledger_of(Store(url, now_sql=NOW_SQL, single_host=False).open(), number).ration


# --- the clock ----------------------------------------------------------------------------------------------------


def test_the_measurement_of_least_delay_counts():
    clock = Offsets()
    clock.measure(sent_at=0.0, answered_at=1.0, database_now=1000.9)
    clock.measure(sent_at=2.0, answered_at=2.01, database_now=1002.005)
    clock.measure(sent_at=3.0, answered_at=3.5, database_now=1003.1)
    assert clock.now() - time.monotonic() == pytest.approx(1000.0, abs=1e-3)


@pytest.mark.parametrize("jump_s", [-30.0, 0.5, 30.0])
def test_a_database_clock_that_jumps_is_followed_at_once(jump_s):
    """Else each upload waits for as long as the jump, or lets its instant go, until the old measurements are forgotten."""
    clock = Offsets()
    clock.measure(sent_at=1.0, answered_at=1.001, database_now=1001.0005)
    clock.measure(sent_at=2.0, answered_at=2.02, database_now=1002.01 + jump_s)
    assert clock.now() - time.monotonic() == pytest.approx(1000.0 + jump_s, abs=0.02)


@pytest.fixture
def only_new_garbage():
    """What stands already, which in a session of thousands of tests is a gigabyte, is not looked through by each collection."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_a_ledger_never_has_the_clock_of_another(store, url, clock, only_new_garbage):
    """Not even where it takes the place of one that is gone."""
    for jump_s in range(20):
        clock.advance(HOUR * jump_s)
        one = Store(url, now_sql=NOW_SQL, single_host=False).open()
        ration = ledger_of(one).ration
        assert not ration.clock.is_settled
        ration.reserve()
        assert ration.clock.now() == pytest.approx(clock.now, abs=1.0)
        del one, ration
        gc.collect()


# --- uploads in turn ----------------------------------------------------------------------------------------------


@pytest.fixture
def at(number, store):
    """A worker of its own: the job's wire and ledger. ``stop``, ``base_url`` and timeouts as keywords."""
    made = []

    def make(*, stop=None, base_url=None):
        api = MediaApi(Channel(api_key=number.key, base_url=base_url or number.base_url, timeouts=Timeouts(1.0, 1.0, 2.0)))
        made.append(api)
        return Calls(
            api,
            ledger_of(store, number.number_id),
            now=lambda: datetime.fromtimestamp(number.emu.state.now_s(), UTC),
            stop=stop or Waiting(),
        )

    yield make
    for api in made:
        api.close()


def instant(at):
    return datetime.fromtimestamp(at, UTC)


def spent_of(store):
    """(spent, held)."""
    found = credits_of(store)
    return sum(spent is not None for spent, _ in found), sum(spent is None for spent, _ in found)


class Post:
    """A POST: notes when it left, and with what it was held back."""

    def __init__(self, answer=None, before=None):
        self.left, self.held_back, self._answer, self._before = [], [], answer, before

    def __call__(self, depart):
        if self._before is not None:
            self._before()
        error = depart()
        if error is not None:
            self.held_back.append(error)
            return error
        self.left.append(time.monotonic())
        return self._answer


def test_an_upload_waits_for_its_instant(at):
    """The fourth of those who come together leaves three gaps later."""
    calls = at()
    for _ in range(3):
        calls.ledger.ration.reserve()
    post = Post()
    upload_in_turn(calls, post, longest_s=60)
    assert calls.stop.waits_s[-1] == pytest.approx(3 * GAP, abs=0.05)
    assert len(post.left) == 1


def test_an_instant_that_was_missed_is_let_go(at, clock):
    """The connection took longer than 18 ms after it: its second may be full by now. Another instant is taken there and then."""
    post = Post(before=lambda: time.sleep(0.1))
    calls = at()
    reserved = []
    reserve = Ration.reserve

    def spy(self, **more):
        reserved.append(reserve(self, **more))
        return reserved[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "_FRESH_S", 10.0)  # a look at the ledger would find its clock where it stood
        patch.setattr(Ration, "reserve", spy)
        upload_in_turn(calls, post, longest_s=60)
    assert len(post.left) == 1
    assert len(reserved) == 2


def test_a_refusal_meanwhile_takes_the_turn_back(at, clock):
    """Whoever was refused: what waits for its instant takes another, at the new pace."""
    calls = at()
    for _ in range(8):
        calls.ledger.ration.reserve()

    def refuse():
        clock.advance(0.1)
        at().ledger.ration.refused(pause_s=20)
        clock.advance(0.1)

    seen = []
    calls.stop.meanwhile = None
    post = Post(before=refuse)
    stands = Ration.stands
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ration, "stands", lambda self, turn: seen.append(stands(self, turn)) or seen[-1])
        upload_in_turn(calls, post, longest_s=60)
    assert seen[0] is False
    assert len(post.left) == 1
    assert max(calls.stop.waits_s) == pytest.approx(20, abs=1)  # the pause, as told to everybody


def test_a_worker_that_is_told_to_end_does_not_send(at):
    stop = Waiting()
    calls = at(stop=stop)
    stop.set()
    post = Post()
    outcome = upload_in_turn(calls, post, longest_s=60)
    assert not post.left
    assert type(outcome).__name__ == "StoppedError"


def test_failed_uploads_cost_budget_where_a_connection_says_so(at, store, number):
    calls = at()
    Channels(store).speak("strict", ORIGIN, calls.ledger.identity, Policy(count_failed_uploads=True))
    number.arm("error", operation="upload", status=400, text="no", times=1)
    with pytest.raises(Exception, match=r"\w"):
        upload(MemorySource(JPEG + os.urandom(16)), calls=calls)
    assert spent_of(store) == (1, 0)
    assert upload(MemorySource(JPEG + os.urandom(16)), calls=calls).media_id
    assert spent_of(store) == (1, 0)
    calls.ledger.ration.close(for_s=600)
    with pytest.raises(ChannelClosedError) as caught:
        upload(MemorySource(JPEG + os.urandom(16)), calls=calls)
    assert caught.value.retry_at == instant(START + 600)
    assert number.sent("upload") == 2


def test_uploads_paused_for_long_are_refused_with_the_instant_and_nothing_is_sent(at, number):
    calls = at()
    calls.ledger.ration.refused(pause_s=300)
    with pytest.raises(ChannelClosedError) as caught:
        upload(MemorySource(JPEG + os.urandom(16)), calls=calls)
    assert caught.value.retry_at == instant(START + 300)
    assert caught.value.operation == "upload"
    assert number.sent("upload") == 0


def test_a_refused_upload_slows_everybody_down(at, store, number, clock):
    calls = at()
    calls.ledger.ration.reserve()
    clock.advance(5)
    refusal = ThrottledError(operation="upload", status=429, details="", retry_at=instant(START))
    outcome = upload_in_turn(calls, Post(refusal), longest_s=60)
    assert isinstance(outcome, ThrottledError)
    ration = at().ledger.ration
    ration.reserve()
    assert spacing(ration) == approximately(1 / (CEILING_PER_S * LESS))


# --- GETs under a credit ------------------------------------------------------------------------------------------

DEAD = "999000111222333"


def test_a_fetch_that_fails_spends_one_credit(at, store, number):
    with pytest.raises(MediaGoneError):
        fetch(DEAD, calls=at())
    assert spent_of(store) == (1, 0)
    assert number.sent("fetch") == 1


def test_an_id_on_record_as_refused_costs_nothing(at, store, number):
    for _ in range(3):
        with pytest.raises(MediaGoneError):
            fetch(DEAD, calls=at())
    assert spent_of(store) == (1, 0)
    assert number.sent("fetch") == 1


def test_a_fetch_that_succeeds_gives_its_credit_back(at, store, number):
    media_id, _ = number.receive(JPEG)
    for _ in range(6):
        fetch(media_id, calls=at())
    assert credits_of(store) == []


def test_a_host_that_cannot_be_reached_costs_nothing(at, store):
    with pytest.raises(UnreachableError):
        fetch(DEAD, calls=at(base_url="http://127.0.0.1:9"))
    assert credits_of(store) == []


def test_the_fifth_dead_id_of_an_hour_is_not_asked(at, store, number, clock):
    """Whoever it is: the exact instant, and no request."""
    for index in range(4):
        with pytest.raises(MediaGoneError):
            fetch(f"99900011122200{index}", calls=at())
        clock.advance(60)
    for _ in range(2):
        with pytest.raises(ChannelClosedError) as caught:
            fetch(DEAD, calls=at())
        assert caught.value.retry_at == instant(START + HOUR)
        assert caught.value.phone_number_id == number.number_id
    assert number.sent("fetch") == 4
    clock.advance(HOUR - 240)
    with pytest.raises(MediaGoneError):
        fetch(DEAD, calls=at())


def test_a_throttle_closes_the_channel_for_everybody(at, store, number):
    """The first one has the refusal, the next one the exact instant, without a request."""
    media_id, _ = number.receive(JPEG)
    number.arm("error", operation="fetch", status=429, text="Too many requests", retry_after=1200, times=1)
    with pytest.raises((ThrottledError, ChannelClosedError)):
        fetch(media_id, calls=at())
    sent = number.sent("fetch")
    assert sent == 1
    with pytest.raises(ChannelClosedError) as caught:
        fetch(media_id, calls=at())
    assert caught.value.retry_at == instant(START + 1200)
    with pytest.raises(ChannelClosedError):
        download(MemoryDestination(), calls=at(), media_id=media_id)
    assert number.sent("fetch") == sent
    assert spent_of(store) == (1, 0)


def test_a_throttle_that_does_not_say_how_long_closes_for_the_policys_hour(at, number):
    media_id, _ = number.receive(JPEG)
    number.arm("error", operation="fetch", status=429, text="Too many requests", times=1)
    with pytest.raises((ThrottledError, ChannelClosedError)):
        fetch(media_id, calls=at())
    with pytest.raises(ChannelClosedError) as caught:
        fetch(media_id, calls=at())
    assert caught.value.retry_at == instant(START + HOUR)


def test_each_attempt_of_a_fetch_costs_its_own_credit(at, store, number):
    media_id, _ = number.receive(JPEG)
    number.arm("error", operation="fetch", status=503, text="later", times=2)
    with pytest.raises(ServerError):
        fetch(media_id, calls=at())
    assert number.sent("fetch") == 2
    assert spent_of(store) == (2, 0)


def test_a_download_that_breaks_off_spends(at, store, number):
    """Three attempts; and then the number's credits are as good as gone."""
    _, url = number.receive(JPEG)
    number.arm("truncate", operation="download", times=3)
    with pytest.raises(InterruptedExchangeError):
        download(MemoryDestination(), calls=at(), url=url)
    assert spent_of(store) == (3, 0)


def test_a_download_that_succeeds_costs_nothing(at, store, number):
    media_id, _ = number.receive(JPEG)
    place = MemoryDestination()
    download(place, calls=at(), media_id=media_id)
    assert place.published == JPEG
    assert credits_of(store) == []


def test_whatever_is_raised_meanwhile_spends(at, store):
    """Nobody knows what became of the request."""
    with pytest.raises(KeyboardInterrupt):
        get_with_credit(at(), "fetch", _interrupted, longest_s=60)
    with pytest.raises(DestinationError):
        get_with_credit(at(), "download", _full_disk, longest_s=60)
    assert spent_of(store) == (2, 0)


def _interrupted():
    raise KeyboardInterrupt


def _full_disk():
    raise DestinationError(uri="memory:", reason="full")


def test_a_get_waits_while_the_last_credits_are_held(at, store, number):
    """And goes on as soon as one comes back."""
    media_id, _ = number.receive(JPEG)
    ration = at().ledger.ration
    held, _ = hold_all(ration)
    stop = Waiting(lambda: ration.give_back(held[0]))
    fetch(media_id, calls=at(stop=stop))
    assert len(stop.waits_s) == 1
    assert spent_of(store) == (0, 3)


def test_who_queued_for_a_minute_is_told_to_come_back_by_the_ledgers_clock(at, monkeypatch):
    """The worker's own clock has no say."""
    monkeypatch.setattr(turns, "_LONGEST_QUEUE_S", 0.0)
    calls = at()
    hold_all(calls.ledger.ration)
    with pytest.raises(ChannelClosedError) as caught:
        fetch(DEAD, calls=calls)
    assert abs(caught.value.retry_at - instant(START)) <= timedelta(seconds=120)


def test_failed_uploads_do_not_count(at, store, number):
    """The document: POST is not affected."""
    number.arm("error", operation="upload", status=400, text="no", times=1)
    with pytest.raises(Exception, match=r"\w"):
        upload(MemorySource(JPEG + os.urandom(16)), calls=at())
    assert number.sent("upload") == 1
    assert credits_of(store) == []


def test_uploads_go_on_while_retrieval_is_closed(at, number):
    calls = at()
    calls.ledger.ration.close(for_s=600)
    assert upload(MemorySource(JPEG + os.urandom(16)), calls=calls).media_id
    assert number.sent("upload") == 1


def test_when_retrieval_opens_can_be_asked_without_a_request(at, number, store):
    calls = at()
    channel = Channel(api_key="test-key-of-the-ledger", base_url=ORIGIN)
    opens = lambda: retrieval_opens_at(channel, store=store, conn_id=f"c_{number.number_id}")  # noqa: E731
    assert retrieval_opens_at(Channel(api_key="unknown", base_url=ORIGIN), store=store, conn_id="unknown") is None
    ration = calls.ledger.ration
    assert opens() is None
    held, _ = hold_all(ration)
    assert opens() == instant(START)
    for credit in held:
        ration.spend(credit)
    assert opens() == instant(START + HOUR)
    assert number.sent("fetch") == 0


# --- a ledger that does not answer --------------------------------------------------------------------------------


def test_without_the_ledger_nothing_is_sent(at, number, store, monkeypatch):
    """Neither a GET nor a POST goes out on credit."""
    calls = at()
    _ = calls.ledger.identity

    def broken(self, **_):
        raise sa.exc.OperationalError("", {}, Exception("gone"))

    monkeypatch.setattr(Ration, "hold", broken)
    monkeypatch.setattr(Ration, "reserve", broken)
    media_id, _ = number.receive(JPEG)
    with pytest.raises(sa.exc.OperationalError):
        fetch(media_id, calls=calls)
    with pytest.raises(sa.exc.OperationalError):
        upload(MemorySource(JPEG + os.urandom(16)), calls=calls)
    assert number.sent("fetch") == number.sent("upload") == 0


def test_the_constants_leave_room_for_the_lateness_that_is_allowed():
    assert math.isclose(25 / CEILING_PER_S, 1.02)
    assert store_module.BUSY_S >= 1
