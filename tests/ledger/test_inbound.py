"""What customers sent, on both engines: handed out in the order of need and to one at a time, guarded by batch, settled by its owner."""

from __future__ import annotations

import random
import re
import time
from collections import Counter

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.decisions import LEASE_S, Claimant
from airflow_provider_360dialog.ledger.inbound import LIFE_S, SUSPECT_AFTER, LostMedia, RunCounts, Standing
from airflow_provider_360dialog.ledger.intake import Arrival
from airflow_provider_360dialog.ledger.store import Store, _engine_for
from tests.ledger import test_inbound as here
from tests.ledger.doubles import NOW_SQL, START, execute, ledger_of, together

HOUR_S, DAY_S = 3600.0, 86_400.0
FILE = {"mime_type": "image/png", "sha256": "cd" * 32, "size_bytes": 100}


@pytest.fixture
def inbound(ledger):
    return ledger.inbound


@pytest.fixture
def run(ledger):
    """The number of one that nobody goes on with."""
    return ledger.intake.begin(task=None)


@pytest.fixture
def arrive(ledger, run):
    """Media ids come in: ``ago_s`` ago, one batch for all (``batch=None``: one for each)."""

    def come(*ids, batch="b", ago_s=60.0, of=ledger, clock=None, **more):
        number = run if of is ledger else of.intake.begin(task=None)
        received_at = (START if clock is None else clock.now) - ago_s
        for name in ids:
            one = Arrival(str(name), 1, received_at=received_at, **more)
            of.intake.take_in(number, "/w/1.jsonl", f"of {name}" if batch is None else batch, [one])

    return come


@pytest.fixture
def take(ledger):
    """The next row, for nobody in particular or as a try of a task."""

    def next_one(task=None, try_number=0, of=ledger):
        return of.inbound.take(Claimant(of.claimant().owner, task, try_number))

    return next_one


@pytest.fixture
def lose(inbound, run, take):
    """So many are asked for in vain."""

    def lose_some(count=SUSPECT_AFTER):
        for _ in range(count):
            inbound.lose(take(), run, "gone", "404", failed=True)

    return lose_some


def archive(inbound, item, run, **more):
    return inbound.archive(item, run, **{"uri": f"/a/{item.media_id}", **FILE, **more})


def rest(take):
    """Everything that is handed out now, in its order."""
    found = []
    while (item := take()) is not None:
        found.append(item)
        assert len(found) < 1000
    return found


ids = lambda items: [each.media_id for each in items]  # noqa: E731 - a word for a list


def rows_of(store):
    """Media id -> its row, as it stands."""
    with store.read() as db:
        return {row.media_id: row for row in db.execute(sa.select(schema.inbound).order_by(schema.inbound.c.id))}


def batches_of(store):
    """Name -> (failures in a row, when the last suspect was asked for)."""
    table = schema.inbound_batch
    with store.read() as db:
        return {row.name: (row.failed_in_a_row, row.asked_at) for row in db.execute(sa.select(table))}


def everything(store):
    """All that settling could change."""
    with store.read() as db:
        tables = (schema.inbound, schema.inbound_batch, schema.inbound_run)
        return [db.execute(sa.select(table).order_by(table.c.id)).all() for table in tables]


# --- the order ----------------------------------------------------------------------------------------------------


def test_what_is_handed_out_says_all_that_is_known(arrive, take, clock, store):
    """And for how long it is whose."""
    said = {"kind": "image", "mime_type": "image/jpeg", "sha256": "ab" * 32, "url_until": START + 240}
    arrive(7, ago_s=60, **said)
    clock.advance(5)
    item = take("t", 2)
    row = rows_of(store)["7"]
    assert (item.row, item.batch, item.media_id, item.received_at, item.now) == (row.id, row.batch_id, "7", START - 60, START + 5)
    assert {name: getattr(item, name) for name in said} == said
    assert (item.source, item.line, item.suspect) == ("/w/1.jsonl", 1, False)
    assert (row.owner, row.task, row.try_number, row.lease_until) == (item.owner, "t", 2, START + 5 + LEASE_S)


def test_the_soonest_end_goes_first_then_the_youngest_then_what_failed_then_the_suspects(arrive, take, inbound, lose, clock):
    """Of those that end within a day the soonest; of those that failed the one that has rested longest."""
    arrive("f1", "f2", batch=None, ago_s=0)
    first, second = take(), take()
    inbound.fail(first, "503")
    clock.advance(60)
    inbound.fail(second, "503")
    arrive(*"stuvw", batch="bad", ago_s=5 * DAY_S)
    lose()
    clock.advance(HOUR_S)
    arrive("old", batch=None, ago_s=5 * DAY_S, clock=clock)
    arrive("ends in 23 h", batch=None, ago_s=6 * DAY_S + HOUR_S, clock=clock)
    arrive("young", batch=None, ago_s=10, clock=clock)
    arrive("ends in 2 h", batch=None, ago_s=7 * DAY_S - 2 * HOUR_S, clock=clock)
    arrive("middle", batch=None, ago_s=2 * DAY_S, clock=clock)
    found = rest(take)
    assert ids(found[:5]) == ["ends in 2 h", "ends in 23 h", "young", "middle", "old"]
    assert ids(found[5:7]) == [first.media_id, second.media_id]
    assert [each.suspect for each in found] == [False] * 7 + [True]


@pytest.mark.parametrize(("left_s", "first"), [(DAY_S + 1, "young"), (DAY_S, "old")])
def test_what_ends_within_a_day_is_urgent(left_s, first, arrive, take):
    """To the second."""
    arrive("young", "younger", batch=None, ago_s=0)
    arrive("old", batch=None, ago_s=LIFE_S - left_s)
    found = ids(rest(take))
    assert ("old" if found[0] == "old" else "young") == first
    assert len(found) == 3


@pytest.mark.parametrize(("left_s", "is_asked"), [(61, True), (60, False), (1, False), (0, False), (-1, False), (-DAY_S, False)])
@pytest.mark.parametrize("rank", [schema.FRESH, schema.FAILED, schema.SUSPECT])
def test_nothing_is_asked_for_in_its_last_minute_or_later(rank, left_s, is_asked, arrive, take, store):
    """The answer could come too late (needs F82); whatever became of it before."""
    arrive("7", ago_s=LIFE_S - left_s)
    with store.write() as db:
        db.execute(schema.inbound.update().values(rank=rank))
        db.execute(schema.inbound_batch.update().values(failed_in_a_row=SUSPECT_AFTER if rank == schema.SUSPECT else 0))
    assert (take() is not None) is is_asked


def test_other_channels_rows_are_theirs(arrive, take, store):
    """Also to a later try of the same task."""
    other = ledger_of(store, "100000000000002")
    arrive("7", of=other)
    assert take() is None
    assert take("t", 1, of=other).media_id == "7"
    assert take("t", 2) is None


# --- leases -------------------------------------------------------------------------------------------------------


def test_a_row_under_a_lease_is_free_again_when_it_lapses(arrive, take, clock):
    """At that instant."""
    arrive("7")
    assert take().media_id == "7"
    clock.advance(LEASE_S - 0.5)
    assert take() is None
    clock.advance(0.5)
    assert take().media_id == "7"


def test_a_lease_that_is_renewed_stays_and_one_that_was_taken_over_cannot_be(arrive, take, clock, inbound):
    """For another two minutes each time; one that lapsed, and that nobody wanted, too."""
    arrive("7")
    item = take()
    for _ in range(3):
        clock.advance(LEASE_S - 1)
        assert inbound.renew(item)
        assert take() is None
    clock.lapse()
    assert inbound.renew(item)
    assert take() is None
    clock.lapse()
    later = take()
    assert later.owner != item.owner
    assert not inbound.renew(item)
    assert inbound.renew(later)


def test_what_was_settled_has_no_lease_to_renew(arrive, take, inbound, run):
    """Nor what was given back."""
    arrive("7", "8", batch=None)
    one, other = take(), take()
    archive(inbound, one, run)
    inbound.give_back(other)
    assert not inbound.renew(one)
    assert not inbound.renew(other)


@pytest.mark.parametrize(
    ("task", "try_number", "takes_over"),
    [("t", 3, True), ("t", 9, True), ("t", 2, False), ("t", 1, False), ("u", 3, False), (None, 0, False), (None, 3, False)],
)
def test_a_later_try_of_the_same_task_takes_over_at_once(task, try_number, takes_over, arrive, take, inbound):
    """Airflow has given the one before up; nobody else may."""
    arrive("7")
    before = take("t", 2)
    after = take(task, try_number)
    assert (after is not None) is takes_over
    assert inbound.renew(before) is not takes_over


def test_who_has_no_task_is_never_taken_over(arrive, take):
    """Outside of tasks nobody knows who has given up."""
    arrive("7")
    take()
    assert take("t", 2) is None
    assert take(None, 5) is None


def test_a_later_try_takes_over_at_once_also_where_the_one_before_had_as_many_as_a_batch_allows(arrive, take):
    """They are nobody's any more, so they are not under way."""
    arrive(*range(SUSPECT_AFTER))
    before = [take("t", 1) for _ in range(SUSPECT_AFTER)]
    assert None not in before
    assert sorted(ids([take("t", 2) or before[0] for _ in range(SUSPECT_AFTER)])) == ["0", "1", "2"]


def test_each_row_is_handed_to_one_of_sixteen_threads(arrive, store):
    """All at once, until nothing is left."""
    for number in range(100):
        arrive(f"{number}a", f"{number}b", batch=f"b{number}")
    ledgers = [ledger_of(store) for _ in range(16)]
    found = together(16, lambda i: ids(rest(lambda: ledgers[i].inbound.take(ledgers[i].claimant()))))
    assert sum(len(each) > 0 for each in found) > 1
    assert Counter(name for each in found for name in each) == Counter(f"{number}{x}" for number in range(100) for x in "ab")


def test_each_row_is_handed_to_one_of_many_processes(arrive, url, processes):
    """As on a fleet."""
    arrive(*range(60), batch=None)
    found = processes(here.take_all_in_a_process, url)
    assert Counter(name for each in found for name in each) == Counter(str(number) for number in range(60))


def take_all_in_a_process(url, at):
    ledger = ledger_of(Store(url, now_sql=NOW_SQL, single_host=False).open())
    time.sleep(max(0.0, at - time.time()))
    return ids(rest(lambda: ledger.inbound.take(ledger.claimant())))


def test_threads_never_have_more_of_a_batch_under_way_than_may_fail(arrive, store):
    """Whoever takes them: eight at the same instant, three each time."""
    ledgers = [ledger_of(store) for _ in range(8)]
    arrive(*range(40))
    for _ in range(5):
        items = together(8, lambda i: ledgers[i].inbound.take(ledgers[i].claimant()))
        taken = [each for each in items if each is not None]
        assert len(taken) == SUSPECT_AFTER
        for each in taken:
            ledgers[0].inbound.give_back(each)


# --- the guard of a batch -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_of_one_batch_no_more_are_under_way_than_may_still_fail(failures, arrive, take, lose, clock):
    """Three in all. A lease that has lapsed does not count, and other batches have their own three."""
    arrive(*range(20))
    lose(failures)
    assert len(rest(take)) == SUSPECT_AFTER - failures
    clock.lapse()
    assert len(rest(take)) == SUSPECT_AFTER - failures
    arrive(*range(100, 110), batch="another", ago_s=2 * DAY_S)
    assert len(rest(take)) == SUSPECT_AFTER


@pytest.mark.parametrize("holder", [(None, 0), ("t", 2), ("t", 3), ("u", 1)])
@pytest.mark.parametrize("asker", [(None, 0), ("t", 2)])
def test_whoever_has_them_they_are_under_way(holder, asker, arrive, take):
    """Outside of a task, in another one, in the same or a later try: only what an earlier try had is nobody's."""
    arrive(*range(10))
    assert None not in [take(*holder) for _ in range(SUSPECT_AFTER)]
    assert take(*asker) is None


def test_what_ends_makes_room_for_the_next_of_its_batch(arrive, take, inbound, run):
    """However it ends."""
    arrive(*range(20))
    held = rest(take)
    archive(inbound, held[0], run)
    held += rest(take)
    assert len(held) == 4
    inbound.fail(held[1], "503")
    held += rest(take)
    assert len(held) == 5
    inbound.lose(held[2], run, "refused_type", "zip", failed=False)
    held += rest(take)
    assert len(held) == 6
    inbound.give_back(held[3])
    assert ids(rest(take)) == [held[3].media_id]
    inbound.lose(held[4], run, "gone", "404", failed=True)
    assert rest(take) == [], "it counts: two are under way, and only two more may fail"


def test_after_three_failures_the_rest_of_a_batch_is_suspect(arrive, take, lose, store, clock):
    """Handed out last, one an hour; and what others brought goes on."""
    arrive(*range(8), batch="bad")
    held = take()
    lose(2)
    assert {row.rank for row in rows_of(store).values()} == {schema.FRESH}
    clock.lapse()
    lose(1)
    pending = [row for row in rows_of(store).values() if row.state == schema.PENDING]
    assert [row.rank for row in pending] == [schema.SUSPECT] * 5
    assert held.suspect is False
    arrive("good 1", "good 2", batch=None, ago_s=2 * DAY_S)
    assert sorted(ids(rest(take))) == ["good 1", "good 2"], "the first of its hours begins with the suspicion"
    for asked_at in (None, clock.now + HOUR_S):
        assert batches_of(store)["bad"] == (3, asked_at)
        clock.advance(HOUR_S - 0.5)
        assert [each for each in rest(take) if each.suspect] == []
        clock.advance(0.5)
        assert [each.suspect for each in rest(take)] == [True]


def test_of_several_batches_under_suspicion_the_one_asked_longest_ago_goes_first(arrive, take, inbound, lose, run, clock):
    """One an hour for the whole channel, whatever their number: a flood must not cost more than a trickle."""
    for name in ("x", "y", "z"):
        arrive(*(f"{name}{number}" for number in range(20)), batch=name)
        lose()
    assert take() is None
    clock.advance(HOUR_S)
    order = []
    for _ in range(7):
        (item,) = rest(take)
        order.append(item.media_id[0])
        inbound.lose(item, run, "gone", "404", failed=True)
        assert take() is None
        clock.advance(HOUR_S - 1)
        assert take() is None
        clock.advance(1)
    assert order == ["x", "y", "z", "x", "y", "z", "x"]


def test_a_batch_under_suspicion_of_which_nothing_may_be_asked_does_not_keep_the_others_back(arrive, take, inbound, lose, clock):
    """All of it is settled, or rests."""
    for name, count in (("settled", 3), ("rests", 4), ("waits", 5)):
        arrive(*(f"{name} {number}" for number in range(count)), batch=name)
        lose()
    clock.advance(HOUR_S)
    found = []
    for _ in range(7):
        (item,) = rest(take)
        found.append(item.media_id.split()[0])
        if found[-1] == "rests":
            inbound.fail(item, "503")
        clock.advance(HOUR_S)
    assert found == ["rests", "waits", "rests", "waits", "rests", "waits", "waits"], "its third rest is four hours"


def test_the_youngest_of_a_batch_under_suspicion_is_asked_for(arrive, take, lose, clock):
    """It is the likeliest to be there."""
    arrive("x1", "x2", "x3", ago_s=0)
    arrive("older", ago_s=3 * DAY_S)
    arrive("younger", ago_s=2 * DAY_S)
    lose()
    clock.advance(HOUR_S)
    assert take().media_id == "younger"


def test_suspects_of_other_channels_have_an_hour_of_their_own(arrive, take, lose, store, clock):
    """And their failures do not count here."""
    other = ledger_of(store, "100000000000002")
    arrive(*range(5))
    arrive(*range(5), of=other)
    lose()
    clock.advance(HOUR_S)
    assert take().suspect
    assert not take(of=other).suspect


def test_one_success_clears_a_batch(arrive, take, run, lose, ledger, clock):
    """Whoever made up a batch could not have known an id that answers. What had failed before is as it was."""
    inbound, store = ledger.inbound, ledger.store
    arrive("failed once", ago_s=DAY_S)
    inbound.fail(take(), "503")
    arrive(*range(8))
    lose()
    assert {row.rank for row in rows_of(store).values() if row.state == schema.PENDING} == {schema.SUSPECT}
    clock.advance(HOUR_S)
    suspect = take()
    assert suspect.suspect
    assert archive(inbound, suspect, run)
    assert batches_of(store)["b"] == (0, None)
    pending = {name: row.rank for name, row in rows_of(store).items() if row.state == schema.PENDING}
    assert pending.pop("failed once") == schema.FAILED
    assert list(pending.values()) == [schema.FRESH] * 4
    assert len(rest(take)) == SUSPECT_AFTER


def test_a_success_in_between_starts_the_count_anew(arrive, take, inbound, run, lose, store):
    """In a row means without one."""
    arrive(*range(20))
    for _ in range(4):
        lose(2)
        archive(inbound, take(), run)
    assert batches_of(store) == {"b": (0, None)}
    assert {row.rank for row in rows_of(store).values()} == {schema.FRESH}
    assert len(rest(take)) == SUSPECT_AFTER


def test_a_success_of_one_batch_does_not_clear_another(arrive, take, inbound, run, lose, store):
    """Nor does a failure of one count for another."""
    arrive(*range(5), batch="bad")
    lose(2)
    arrive(*range(10, 15), batch="good", ago_s=0)
    archive(inbound, take(), run)
    lose(1)
    assert batches_of(store) == {"bad": (2, None), "good": (1, None)}


def test_what_says_nothing_of_a_batch_does_not_count(arrive, take, inbound, run, store):
    """A server that is down, a file of a type that nobody wants, an id that is known to be gone: none of them is a guess."""
    arrive(*range(20))
    for number in range(6):
        inbound.fail(take(), "503", run=run, reason=("corrupt", None)[number % 2])
        inbound.lose(take(), run, "refused_type", "zip", failed=False)
        inbound.give_back(take())
    assert batches_of(store) == {"b": (0, None)}
    assert len(rest(take)) == SUSPECT_AFTER


def test_a_suspect_that_fails_stays_one_and_rests(arrive, take, inbound, lose, store, clock):
    """It is asked for again when both its rest and the hour are over."""
    arrive(*range(4))
    lose()
    clock.advance(HOUR_S)
    item = take()
    inbound.fail(item, "503")
    inbound_row = rows_of(store)[item.media_id]
    assert (inbound_row.rank, inbound_row.again_at) == (schema.SUSPECT, clock.now + HOUR_S)
    clock.advance(HOUR_S)
    again = take()
    assert (again.media_id, again.suspect) == (item.media_id, True)
    inbound.fail(again, "503")
    clock.advance(HOUR_S)
    assert take() is None, "it rests for two hours now"
    clock.advance(HOUR_S)
    assert take().media_id == item.media_id


# --- a webhook's own URL ------------------------------------------------------------------------------------------


def test_a_url_that_failed_is_not_tried_again_and_counts_for_the_batch(arrive, take, inbound, store, clock):
    """The row is free again: its id is asked at its next turn. The third in a row makes the rest suspect, and the ids have to wait."""
    arrive(*range(5), url_until=START + DAY_S)
    items = rest(take)
    assert [each.url_until for each in items] == [START + DAY_S] * 3
    for each in items:
        inbound.url_failed(each)
        inbound.url_failed(each)  # an answer that got lost on its way: it counts once
    assert batches_of(store) == {"b": (3, None)}
    found = rows_of(store)
    assert [found[each.media_id].url_until for each in items] == [None] * 3
    assert not any(inbound.renew(each) for each in items)
    assert {row.rank for row in found.values()} == {schema.SUSPECT}
    assert take() is None
    clock.advance(HOUR_S)
    again = take()
    assert (again.suspect, take()) == (True, None)


def test_a_url_and_an_id_that_fail_are_two_failures_of_a_batch(arrive, take, inbound, run, store):
    """Both were asked in vain, and at each turn only one of them is."""
    arrive(*range(5), url_until=START + DAY_S)
    first, second = take(), take()
    inbound.url_failed(first)
    again = take()
    assert (again.media_id, again.url_until) == (first.media_id, None)
    assert take() is None, "one more could be the fourth"
    inbound.lose(again, run, "gone", "404", failed=True)
    inbound.url_failed(second)
    assert batches_of(store) == {"b": (3, None)}


def test_a_suspect_that_was_given_back_unasked_has_not_used_up_the_hour(arrive, take, lose, inbound, clock):
    """Retrieval was closed, say."""
    arrive(*range(9))
    lose()
    clock.advance(HOUR_S)
    item = take()
    assert item.suspect
    assert take() is None
    inbound.give_back(item)
    assert take().suspect


def test_new_batches_under_suspicion_do_not_keep_older_ones_waiting(arrive, take, lose, clock):
    """A forger could do that every hour."""
    arrive(*(f"x{number}" for number in range(9)), batch="x")
    lose()
    for hour in range(3):
        clock.advance(HOUR_S - 60)
        arrive(*(f"{hour}-{number}" for number in range(9)), batch=f"new {hour}")
        lose()
        clock.advance(60)
        assert take().suspect


# --- settling -----------------------------------------------------------------------------------------------------


def test_what_is_archived_says_where_and_what_it_is(arrive, take, inbound, run, store, clock):
    """As its content says; and it is nobody's any more."""
    arrive("7", mime_type="image/gif", sha256="00" * 32)
    item = take("t", 1)
    clock.advance(5)
    assert archive(inbound, item, run)
    row = rows_of(store)["7"]
    assert (row.state, row.uri, row.run_id, row.settled_at) == (schema.ARCHIVED, "/a/7", run, START + 5)
    assert {name: getattr(row, name) for name in FILE} == FILE
    assert (row.owner, row.task, row.try_number, row.lease_until, row.reason) == (None, None, None, None, None)
    assert inbound.counts(run) == RunCounts(taken_in=1, archived=1, archived_bytes=100, lost={})
    assert not archive(inbound, item, run)
    assert inbound.counts(run).archived == 1
    clock.lapse()
    assert take() is None


def test_what_is_lost_says_why(arrive, take, inbound, run, store, clock):
    """For good: it is not asked for again, and not lost twice."""
    arrive("7")
    item = take("t", 1)
    clock.advance(5)
    for _ in range(2):
        inbound.lose(item, run, "too_large", "101 MB", failed=True)
    row = rows_of(store)["7"]
    assert (row.state, row.reason, row.details, row.run_id) == (schema.LOST, "too_large", "101 MB", run)
    assert (row.settled_at, row.owner, row.lease_until) == (START + 5, None, None)
    assert batches_of(store) == {"b": (1, None)}
    assert inbound.counts(run).lost == {"too_large": 1}
    clock.advance(DAY_S)
    assert take() is None


def test_what_is_given_back_is_as_it_was(arrive, take, inbound, store):
    """And may be taken at once."""
    arrive("7", url_until=START + DAY_S)
    before = everything(store)
    item = take("t", 1)
    assert everything(store) != before
    inbound.give_back(item)
    assert everything(store) == before
    assert take().media_id == "7"


SETTLES = {
    "archive": archive,
    "lose": lambda inbound, item, run: inbound.lose(item, run, "gone", "404", failed=True),
    "fail": lambda inbound, item, run: inbound.fail(item, "503", run=run, reason="corrupt"),
    "give_back": lambda inbound, item, run: inbound.give_back(item),
    "renew": lambda inbound, item, run: inbound.renew(item),
    "url_failed": lambda inbound, item, run: inbound.url_failed(item),
}


@pytest.fixture
def come_too_late(arrive, take, ledger, run, clock):
    """Settle a row that somebody else has had since; what stood before, the answer, what stands after."""

    def come(settle, became_of_it):
        inbound = ledger.inbound
        arrive("7", url_until=START + DAY_S)
        item = take()
        clock.lapse()
        later = take()
        if became_of_it == "given back":
            inbound.give_back(later)
        elif became_of_it == "archived":
            archive(inbound, later, run)
        elif became_of_it == "lost":
            inbound.lose(later, run, "gone", "404", failed=True)
        before = everything(ledger.store)
        return before, SETTLES[settle](inbound, item, run), everything(ledger.store)

    return come


@pytest.mark.parametrize("became_of_it", ["taken over", "given back", "archived", "lost"])
@pytest.mark.parametrize("settle", SETTLES)
def test_only_who_has_the_lease_can_settle(settle, became_of_it, come_too_late):
    """Whoever has lost it changes nothing: neither row nor batch nor count; and is told so where that matters."""
    before, answer, after = come_too_late(settle, became_of_it)
    assert after == before
    assert not answer


@pytest.mark.parametrize("settle", SETTLES)
def test_what_has_ended_meanwhile_is_not_settled_again(settle, arrive, take, ledger, run, clock):
    """It was noted as expired after somebody's lease had lapsed."""
    inbound, store = ledger.inbound, ledger.store
    arrive("7", ago_s=LIFE_S - 90)
    item = take()
    clock.lapse()
    assert inbound.expire(run) == 1
    before = everything(store)
    assert not SETTLES[settle](inbound, item, run)
    assert everything(store) == before


# --- what failed --------------------------------------------------------------------------------------------------

RESTS_H = [1, 2, 4, 8, 16, 24, 24, 24, 24, 20.5, 10.25, 5.125, 2.5625, 1.28125, 1]
"""Twice as long each time, at most a day, at most half of what is left of a week, at least an hour."""


def test_what_failed_rests_longer_each_time_and_never_for_most_of_what_is_left(arrive, take, inbound, run, clock, store):
    """From its arrival to its end."""
    arrive("7", ago_s=0)
    for rests_h in RESTS_H:
        inbound.fail(take(), "503")
        row = rows_of(store)["7"]
        assert (row.again_at - clock.now) / HOUR_S == pytest.approx(rests_h, abs=1e-6)
        assert (row.state, row.rank, row.owner, row.lease_until) == (schema.PENDING, schema.FAILED, None, None)
        clock.advance(rests_h * HOUR_S - 1)
        assert take() is None
        clock.advance(1)
    assert rows_of(store)["7"].failures == len(RESTS_H)
    inbound.fail(take(), "503")
    clock.advance(START + LIFE_S - clock.now)
    assert take() is None
    assert inbound.expire(run) == 1


def test_what_failed_with_a_reason_is_told_as_lost_by_its_run_and_stays_pending(arrive, take, run, ledger, store, clock):
    """The last run that failed has it; once it is there after all, nobody."""
    inbound = ledger.inbound
    arrive("7")
    inbound.fail(take(), "its sha256 differs", run=run, reason="corrupt")
    row = rows_of(store)["7"]
    assert (row.state, row.reason, row.details, row.settled_at) == (schema.PENDING, "corrupt", "its sha256 differs", None)
    assert inbound.counts(run).lost == {"corrupt": 1}
    (lost,) = inbound.lost_in(run)
    assert lost == LostMedia(row.id, "7", None, "corrupt", "its sha256 differs", START - 60, None, "/w/1.jsonl", 1)
    clock.advance(HOUR_S)
    later = ledger.intake.begin(task=None)
    inbound.fail(take(), "it is not there", run=later, reason="gone")
    assert (inbound.counts(run).lost, inbound.counts(later).lost) == ({}, {"gone": 1})
    clock.advance(2 * HOUR_S)
    archive(inbound, take(), later)
    row = rows_of(store)["7"]
    assert (row.state, row.reason, row.details) == (schema.ARCHIVED, None, None)
    assert inbound.counts(later) == RunCounts(taken_in=0, archived=1, archived_bytes=100, lost={})
    assert inbound.lost_in(later) == []


@pytest.mark.parametrize(("reason", "in_the_end"), [("corrupt", "corrupt"), (None, "expired")])
def test_what_failed_and_ends_is_lost_for_its_last_reason(reason, in_the_end, arrive, take, ledger, clock):
    """In the run that notes the end; its details tell what happened last."""
    inbound, run, later = ledger.inbound, ledger.intake.begin(task=None), ledger.intake.begin(task=None)
    arrive("7")
    inbound.fail(take(), "what happened", run=run, reason=reason)
    assert inbound.counts(run).lost == ({} if reason is None else {reason: 1})
    clock.advance(LIFE_S)
    assert inbound.expire(later) == 1
    (lost,) = inbound.lost_in(later)
    assert (lost.reason, lost.details, lost.lost_at) == (in_the_end, "what happened", clock.now)
    assert rows_of(ledger.store)["7"].state == schema.LOST
    assert (inbound.counts(run).lost, inbound.counts(later).lost) == ({}, {in_the_end: 1})


def test_a_reason_stays_when_what_failed_next_says_nothing_of_the_file(arrive, take, inbound, run, clock, ledger):
    """A server that was down does not make good bytes of bad ones; the run of then tells of it."""
    arrive("7")
    inbound.fail(take(), "its sha256 differs", run=run, reason="corrupt")
    clock.advance(HOUR_S)
    later = ledger.intake.begin(task=None)
    inbound.fail(take(), "503", run=later)
    assert (inbound.counts(run).lost, inbound.counts(later).lost) == ({}, {"corrupt": 1})
    clock.advance(LIFE_S)
    assert inbound.expire(run) == 1
    assert inbound.counts(run).lost == {"corrupt": 1}


def test_what_somebody_is_asking_for_does_not_expire_meanwhile(arrive, take, inbound, run, store, clock):
    """It may stand in the archive the next moment; when the lease has lapsed, it has."""
    arrive("7", "8", batch=None, ago_s=LIFE_S - 90)
    items = [take(), take()]
    clock.advance(100)
    assert inbound.expire(run) == 0
    assert archive(inbound, items[0], run)
    clock.advance(LEASE_S - 100)
    assert inbound.expire(run) == 1
    assert {row.state for row in rows_of(store).values()} == {schema.ARCHIVED, schema.LOST}


def test_what_ends_without_having_been_asked_for_has_expired(arrive, inbound, run, store, ledger, take):
    """From the instant on, once, in the run that notes it; what is settled, lives, or belongs to others is left alone (needs F82)."""
    other = ledger_of(store, "100000000000002")
    arrive("ended", ago_s=LIFE_S, batch=None)
    arrive("ended long ago", ago_s=LIFE_S * 3, batch=None)
    arrive("not yet", ago_s=LIFE_S - 1, batch=None)
    arrive("another's", ago_s=LIFE_S, of=other)
    arrive("no id", ago_s=LIFE_S, lost_because="no id", batch=None)
    arrive("archived", batch=None)
    archive(inbound, take(), run)
    later = ledger.intake.begin(task=None)
    assert [inbound.expire(later) for _ in range(2)] == [2, 0]
    found = rows_of(store)
    assert {name: row.state for name, row in found.items()} == {
        "ended": schema.LOST,
        "ended long ago": schema.LOST,
        "not yet": schema.PENDING,
        "another's": schema.PENDING,
        "no id": schema.LOST,
        "archived": schema.ARCHIVED,
    }
    assert (found["ended"].reason, found["ended"].run_id, found["ended"].settled_at) == ("expired", later, START)
    assert (found["no id"].reason, found["no id"].run_id) == ("no_id", run)
    assert inbound.counts(later).lost == {"expired": 2}
    assert inbound.counts(run).lost == {"no_id": 1}


# --- looking ------------------------------------------------------------------------------------------------------


def test_a_run_counts_what_it_did_and_nothing_else(arrive, take, inbound, run, ledger):
    """Over all its waits; losses by reason."""
    arrive(*range(8), batch=None)
    later = ledger.intake.begin(task="t")
    for number in range(3):
        archive(inbound, take(), later, size_bytes=2**40 + number)
    for reason in ("gone", "gone", "refused_type"):
        inbound.lose(take(), later, reason, "x", failed=False)
    inbound.fail(take(), "503", run=later)
    assert inbound.counts(later) == RunCounts(0, 3, 3 * 2**40 + 3, {"gone": 2, "refused_type": 1})
    assert inbound.counts(run) == RunCounts(8, 0, 0, {})
    assert inbound.counts(ledger.intake.begin(task="t")) == inbound.counts(later)


def test_a_run_began_when_it_began(inbound, ledger, clock):
    """Whoever goes on with it later."""
    run = ledger.intake.begin(task="t")
    clock.advance(60)
    assert ledger.intake.begin(task="t") == run
    assert inbound.began_at(run) == START
    assert inbound.began_at(ledger.intake.begin(task=None)) == START + 60


def test_the_losses_of_a_run_come_in_pages_that_miss_and_repeat_nothing(arrive, take, inbound, run, ledger):
    """Those that are pending still among them; in one order."""
    arrive(*range(9), batch=None, kind="image")
    later = ledger.intake.begin(task=None)
    items = rest(take)
    for number, item in enumerate(items):
        if number % 3 == 0:
            inbound.fail(item, f"details {number}", run=later, reason="corrupt")
        elif number % 3 == 1:
            inbound.lose(item, later, "gone", f"details {number}", failed=False)
        else:
            inbound.lose(item, run, "gone", "in another run", failed=False)
    found, after = [], 0
    while page := inbound.lost_in(later, after=after, limit=4):
        assert len(page) <= 4
        found += page
        after = page[-1].row
    assert found == inbound.lost_in(later)
    assert [each.row for each in found] == sorted(each.row for each in items if items.index(each) % 3 != 2)
    by_row = {each.row: (number, each) for number, each in enumerate(items)}
    for each in found:
        number, item = by_row[each.row]
        assert (each.media_id, each.kind, each.details) == (item.media_id, "image", f"details {number}")
        assert (each.reason, each.lost_at) == (("corrupt", None) if number % 3 == 0 else ("gone", START))
    assert len(inbound.lost_in(run)) == 3


def test_a_standing_tells_what_is_pending_and_how_long_the_oldest_has_been(arrive, take, lose, run, clock, ledger):
    """Suspects as well, and what is under way; other channels' not."""
    inbound = ledger.inbound
    assert inbound.standing() == Standing(pending=0, suspects=0, oldest_received_at=None, now=START)
    assert inbound.standing().oldest_pending_s is None
    arrive(*range(5), batch="bad", ago_s=0)
    lose()
    arrive("old", ago_s=3 * DAY_S, batch=None)
    arrive("young", ago_s=10, batch=None)
    arrive("older, another's", ago_s=4 * DAY_S, of=ledger_of(ledger.store, "100000000000002"))
    archive(inbound, take(), run)
    clock.advance(5.5)
    assert take().media_id == "old"
    assert inbound.standing() == Standing(pending=3, suspects=2, oldest_received_at=START - 3 * DAY_S, now=START + 5.5)
    assert inbound.standing().oldest_pending_s == 3 * DAY_S + 5


def test_to_look_changes_nothing(arrive, take, inbound, run, store):
    """And what looks does not wait for who writes."""
    arrive(*range(3))
    inbound.fail(take(), "x", run=run, reason="corrupt")
    before = everything(store)
    with store.write() as db:
        db.execute(sa.select(schema.channel.c.id).with_for_update())
        db.execute(schema.inbound.update().values(line=schema.inbound.c.line))
        inbound.standing()
        inbound.counts(run)
        inbound.lost_in(run)
    assert everything(store) == before


# --- many at once -------------------------------------------------------------------------------------------------


def test_of_two_who_settle_one_row_at_once_one_does(arrive, store, run, ledger):
    """Whoever has the lease; the other is told, and no count is doubled."""
    arrive(*range(30), batch=None)
    inbound = ledger.inbound
    old = [inbound.take(Claimant(f"old {number}", "t", 1)) for number in range(30)]
    new = [inbound.take(Claimant(f"new {number}", "t", 2)) for number in range(30)]
    assert None not in old + new
    rng = random.Random(5)
    mine = [sorted(old + new, key=lambda _: rng.random()) for _ in range(4)]
    ledgers = [ledger_of(store) for _ in range(4)]
    done = together(4, lambda i: [each.owner for each in mine[i] if archive(ledgers[i].inbound, each, run)])
    assert sorted(owner for each in done for owner in each) == sorted(each.owner for each in new)
    assert inbound.counts(run) == RunCounts(30, 30, 3000, {})


def test_who_takes_and_who_settles_and_who_brings_never_wait_in_a_circle(arrive, store, ledger):
    """Eight threads, two more that bring, end and look: nothing hangs or fails, each row is settled once, and the counts add up."""
    for batch in range(12):
        arrive(*(f"{batch}.{number}" for number in range(10)), batch=f"b{batch}", url_until=START + DAY_S)
    ledgers = [ledger_of(store) for _ in range(10)]
    runs = [each.intake.begin(task=f"t{i}") for i, each in enumerate(ledgers)]

    rngs = [random.Random(i) for i in range(10)]

    def bring(i, number):
        more = [Arrival(f"new {number}.{each}", each + 1, received_at=START) for each in range(2)]
        ledgers[i].intake.take_in(runs[i], f"/w/{number % 3}.jsonl", f"b{number % 12}", more)
        ledgers[i].intake.was_read(f"/w/{number % 3}.jsonl", str(number))

    def look(i, _):
        assert ledgers[i].inbound.expire(runs[i]) == 0
        assert ledgers[i].inbound.standing().pending >= 0

    def settle(i, _):
        inbound = ledgers[i].inbound
        item = inbound.take(ledgers[i].claimant())
        if item is None:
            return None
        act = rngs[i].choice(["archive", "archive", "lose", "fail", "url_failed", "give_back"])
        done = SETTLES[act](inbound, item, runs[i])
        return item.media_id if act == "archive" and done else None

    def work(i):
        act = {8: bring, 9: look}.get(i, settle)
        return [found for number in range(30) if (found := act(i, number)) is not None]

    archived = Counter(name for each in together(10, work) for name in each)
    assert set(archived.values()) == {1}
    found = rows_of(store)
    assert len(found) == 120 + 60
    assert {name for name, row in found.items() if row.state == schema.ARCHIVED} == set(archived)
    counts = [ledger.inbound.counts(run) for run in runs]
    assert sum(each.archived for each in counts) == len(archived)
    assert sum(each.archived_bytes for each in counts) == 100 * len(archived)
    assert sum(each.taken_in for each in counts) == 60
    lost = sum(row.state == schema.LOST for row in found.values())
    told = sum((Counter(each.lost) for each in counts), Counter())
    assert told["gone"] == lost > 0
    assert told["corrupt"] == sum(row.reason == "corrupt" for row in found.values()) > 0
    assert not [row for row in found.values() if row.owner is not None]


# --- scale --------------------------------------------------------------------------------------------------------


def fill(url, pending, settled):
    """Rows of the one channel as a week leaves them: every third batch has twenty that failed."""
    if url.startswith("sqlite"):
        numbers = (
            f"(WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {pending + settled}) SELECT n FROM g)"
        )
    else:
        numbers = f"(SELECT n FROM generate_series(1, {pending + settled}) AS n)"
    execute(url, f"INSERT INTO d360_inbound_batch (channel_id, name) SELECT 1, n FROM {numbers} AS g WHERE n <= 500")
    execute(url, f"INSERT INTO d360_inbound_source (channel_id, uri, read_at) VALUES (1, '/w/1.jsonl', {START})")
    execute(
        url,
        "INSERT INTO d360_inbound (channel_id, media_id, batch_id, source_id, line, received_at, state, rank)"
        f" SELECT 1, n, 1 + n % 500, 1, n, {START} - n, CASE WHEN n > {settled} THEN 'pending' ELSE 'archived' END,"
        f" CASE WHEN n % 3 = 0 THEN 1 ELSE 0 END FROM {numbers} AS g",
    )
    if not url.startswith("sqlite"):
        for table in ("d360_inbound", "d360_inbound_batch"):
            execute(url, f"ANALYZE {table}")


def plan_of(db, statement, parameters):
    """What the database would do."""
    words = "EXPLAIN QUERY PLAN " if db.dialect.name == "sqlite" else "EXPLAIN "
    return [str(row[-1]) for row in db.exec_driver_sql(words + statement, parameters)]


def test_twenty_thousand_pending_rows_are_not_read_to_find_the_next(store, ledger, url, take):
    """Among many more that are settled: each step of `take` goes by an index that holds only what it looks for."""
    channel_id = ledger.identity.channel_id
    assert channel_id == 1
    fill(url, pending=20_000, settled=60_000)
    asked = []
    engine = _engine_for(store._url)

    def note(_db, _cursor, statement, parameters, *_):
        if statement.startswith("SELECT") and "d360_inbound" in statement:
            asked.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    assert take().media_id == "60001", "the youngest that has not failed"
    with store.write() as db:
        db.execute(schema.inbound.update().where(schema.inbound.c.rank == schema.FRESH).values(again_at=START + DAY_S))
    assert take().media_id is not None
    sa.event.remove(engine, "before_cursor_execute", note)
    turns = [each for each in asked if "LIMIT" in each[0]]
    assert len(turns) == 2 + 3
    with store.read() as db:
        for statement, parameters in turns:
            plan = plan_of(db, statement, parameters)
            assert any("d360_inbound_pending" in step for step in plan), plan
        for statement, parameters in asked:
            plan = plan_of(db, statement, parameters)
            assert not [step for step in plan if re.search(r"SCAN d360_inbound\b(?!.*INDEX)|Seq Scan on d360_inbound\b", step)], (
                plan
            )
