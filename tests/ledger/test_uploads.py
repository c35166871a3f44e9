"""Upload once, on both engines: who answers, who uploads, who waits, what becomes of every id, and what is owned up to."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from airflow_provider_360dialog.exceptions import ChannelFrozenError, LedgerUnavailableError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.decisions import LEASE_S, MEDIA_LIFE_S, SAFETY_MARGIN_S
from airflow_provider_360dialog.ledger.keeper import Keeper
from airflow_provider_360dialog.ledger.statistics import read_statistics
from airflow_provider_360dialog.ledger.uploads import Busy, Claim, Uploads
from airflow_provider_360dialog.ports import UploadedMedia
from tests.ledger import workers
from tests.ledger.doubles import (
    START,
    Worker,
    file_of,
    ledger_of,
    new_id,
    row_of,
    states,
    together,
    unsure,
    upload,
)

DAY_S = 86_400.0
FILE = file_of()


@pytest.fixture
def uploads(ledger):
    return ledger.uploads


@pytest.fixture
def worker(ledger):
    """Makes workers."""
    return lambda *args, **more: Worker(ledger, *args, **more)


def claimed(worker, **more):
    claim = worker.claim(FILE, **more)
    assert isinstance(claim, Claim)
    return claim


# --- who answers --------------------------------------------------------------------------------------------------


def test_nothing_answers_for_a_file_that_nobody_uploaded(uploads):
    """And asking leaves no row."""
    assert uploads.adopt(FILE) is None


def test_an_upload_answers_from_then_on(uploads, worker):
    """With everything that was said of it."""
    record = uploads.complete(claimed(worker()), FILE, "1")
    assert (record.media_id, record.sha256, record.mime_type, record.size_bytes) == ("1", FILE.sha256, "image/jpeg", 5)
    assert record.uploaded_at.timestamp() == START
    assert record.safe_until.timestamp() == START + 29 * DAY_S
    assert not record.reused
    for found in (uploads.adopt(FILE), worker().claim(FILE)):
        assert isinstance(found, UploadedMedia)
        assert found.reused
        assert {**found, "reused": False} == dict(record)


@pytest.mark.parametrize(
    "other", [file_of("another"), file_of(mime_type="image/png")], ids=["other bytes", "the same bytes as another type"]
)
def test_it_answers_for_nothing_else(other, ledger, uploads):
    """Bytes and type make the fingerprint (needs F75)."""
    upload(ledger, FILE)
    assert uploads.adopt(other) is None


def test_it_answers_for_no_other_number(store, ledger):
    """Ids belong to a number."""
    upload(ledger, FILE)
    assert ledger_of(store, "100000000000002").uploads.adopt(FILE) is None


@pytest.mark.parametrize(
    ("days", "wanted_days", "answers"),
    [
        pytest.param(0, None, True, id="fresh, and a week is wanted"),
        pytest.param(22, None, True, id="a week left to the second"),
        pytest.param(22 + 1 / 86_400, None, False, id="a second less than a week left"),
        pytest.param(22.5, 5, True, id="little is left and less is wanted"),
        pytest.param(28, 1, True, id="until the last second"),
        pytest.param(0, 29, True, id="all that can be promised"),
        pytest.param(0, 29 + 1 / 86_400, False, id="more than can be promised"),
        pytest.param(40, -100, True, id="wanted until the past: also an old one was safe then"),
        pytest.param(31, 0, False, id="ended"),
    ],
)
def test_an_id_answers_while_it_is_safe_for_long_enough(days, wanted_days, answers, ledger, uploads, clock):
    """`adopt` and `claim` agree on it."""
    upload(ledger, FILE, "1")
    clock.advance(days * DAY_S)
    wanted_until = None if wanted_days is None else clock.now + wanted_days * DAY_S
    assert (uploads.adopt(FILE, wanted_until=wanted_until) is not None) is answers
    assert isinstance(Worker(ledger).claim(FILE, wanted_until=wanted_until), UploadedMedia) is answers


def test_reuse_false_uploads_in_any_case(ledger, worker):
    """Although an id would answer."""
    upload(ledger, FILE)
    assert isinstance(worker().claim(FILE, reuse=False), Claim)


# --- who uploads, who waits ---------------------------------------------------------------------------------------


def test_others_wait_while_one_uploads(worker, clock):
    """Until the lease would lapse."""
    claimed(worker("a"))
    clock.advance(50)
    step = worker("b").claim(FILE)
    assert step == Busy(for_s=LEASE_S - 50)


def test_files_and_numbers_do_not_wait_for_each_other(store, worker):
    """A lease is one fingerprint's on one channel (needs R6)."""
    claimed(worker("a"))
    assert isinstance(worker("b").claim(file_of("another")), Claim)
    assert isinstance(Worker(ledger_of(store, "100000000000002")).claim(FILE), Claim)


@pytest.mark.parametrize(("after_s", "takes"), [(LEASE_S - 0.001, False), (LEASE_S, True), (LEASE_S + 1000, True)])
def test_a_lease_lapses_by_the_ledgers_clock(after_s, takes, worker, clock):
    """Not a moment before its end."""
    first = claimed(worker("a"))
    clock.advance(after_s)
    step = worker("b").claim(FILE)
    assert isinstance(step, Claim) is takes
    if takes:
        assert step.fence == first.fence + 1


def test_a_renewed_lease_lives_on(uploads, worker, clock):
    """Two minutes from the renewal."""
    claim = claimed(worker("a"))
    clock.advance(100)
    assert uploads.renew(claim)
    clock.advance(100)
    assert worker("b").claim(FILE) == Busy(for_s=20)


def test_a_lapsed_lease_that_nobody_took_may_be_renewed(uploads, worker, clock):
    """It is still the holder's."""
    claim = claimed(worker("a"))
    clock.lapse()
    assert uploads.renew(claim)
    assert isinstance(worker("b").claim(FILE), Busy)


@pytest.mark.parametrize("ended_by", ["taken", "completed", "released", "discarded"])
def test_a_lease_that_is_over_cannot_be_renewed_nor_sent_for_again(ended_by, uploads, worker, clock):
    """False says so."""
    claim = claimed(worker("a"))
    if ended_by == "taken":
        clock.lapse()
        claimed(worker("b"))
    elif ended_by == "completed":
        uploads.complete(claim, FILE, "1")
    elif ended_by == "released":
        uploads.release(claim, unknown=False)
    else:
        uploads.discard(claim, "1")
    assert uploads.renew(claim) is False
    assert uploads.send_again(claim) is False


def test_a_clock_that_jumps_back_makes_leases_longer_never_shorter(worker, clock):
    """Nobody takes too early what another still has (needs F69)."""
    claimed(worker("a"))
    clock.advance(-3600)
    assert worker("b").claim(FILE) == Busy(for_s=3600 + LEASE_S)


@pytest.mark.parametrize(
    ("task", "try_number", "steals"),
    [
        pytest.param("t", 2, True, id="the next try of the task"),
        pytest.param("t", 7, True, id="a later try of the task"),
        pytest.param("t", 1, False, id="the same try in another process"),
        pytest.param("t", 0, False, id="an earlier try"),
        pytest.param("u", 2, False, id="a higher try of another task"),
        pytest.param(None, 2, False, id="no task at all"),
    ],
)
def test_only_a_higher_try_of_the_same_task_steals_at_once(task, try_number, steals, worker):
    """Airflow starts it when it has given the last one up (needs F2, F7, F8)."""
    claimed(worker("a", task="t", try_number=1))
    step = worker("b", task=task, try_number=try_number).claim(FILE)
    assert isinstance(step, Claim if steals else Busy)


def test_without_a_task_nobody_steals(worker):
    """None is not a name that two share."""
    claimed(worker("a"))
    assert isinstance(worker("b", try_number=9).claim(FILE), Busy)


def test_a_thief_can_be_stolen_from(worker):
    """Try 3 takes from try 2, and try 2 does not take it back."""
    claimed(worker("a", task="t", try_number=1))
    claimed(worker("b", task="t", try_number=2))
    claimed(worker("c", task="t", try_number=3))
    assert isinstance(worker("d", task="t", try_number=2).claim(FILE), Busy)


def test_a_released_claim_is_free_at_once(uploads, worker):
    """Nobody waits for somebody who has given up."""
    uploads.release(claimed(worker("a")), unknown=True)
    claimed(worker("b"))


def test_a_frozen_channel_uploads_nothing(store, ledger, worker):
    """Its number has moved away; the sentence says so."""
    Channels(store).freeze(ledger.identity, "its key answers for number 5 now")
    with pytest.raises(ChannelFrozenError, match="answers for number 5"):
        worker().claim(FILE)


# --- what becomes of ids ------------------------------------------------------------------------------------------


def test_a_new_id_stands_beside_the_old_one(store, ledger, uploads, clock):
    """What was exported goes on working (needs F21)."""
    old = upload(ledger, FILE)
    clock.advance(25 * DAY_S)
    new = upload(ledger, FILE, reuse=True)
    assert states(store) == {old: schema.RETIRING, new: schema.CURRENT}
    assert uploads.adopt(FILE).media_id == new


def test_the_old_id_answers_while_its_successor_is_being_uploaded(ledger, uploads, worker):
    """Others need not wait for a refresh that they did not ask for."""
    old = upload(ledger, FILE)
    claimed(worker("refresh"), reuse=False)
    assert uploads.adopt(FILE).media_id == old
    assert worker().claim(FILE).media_id == old


def test_the_loser_of_a_race_keeps_its_id_on_record(store, uploads, worker, clock):
    """As surplus, for deletion (needs F7, R2); whoever took over answers."""
    late = claimed(worker("a"))
    clock.lapse()
    taker = claimed(worker("b"))
    assert uploads.complete(late, FILE, "1") is None
    assert uploads.adopt(FILE) is None
    assert uploads.complete(taker, FILE, "2").media_id == "2"
    assert states(store) == {"1": schema.SURPLUS, "2": schema.CURRENT}
    assert uploads.adopt(FILE).media_id == "2"


def test_the_loser_may_come_after_the_winner(store, uploads, worker, clock):
    """The other order."""
    late = claimed(worker("a"))
    clock.lapse()
    uploads.complete(claimed(worker("b")), FILE, "2")
    assert uploads.complete(late, FILE, "1") is None
    assert states(store) == {"1": schema.SURPLUS, "2": schema.CURRENT}


def test_a_lapsed_lease_that_nobody_took_may_still_complete(store, uploads, worker, clock):
    """Slow is not lost."""
    claim = claimed(worker("a"))
    clock.advance(3600)
    assert uploads.complete(claim, FILE, "1").media_id == "1"
    assert states(store) == {"1": schema.CURRENT}


def test_a_discarded_id_is_surplus_and_never_answers(store, uploads, worker):
    """It stands for bytes that nobody judged (needs F74)."""
    uploads.discard(claimed(worker()), "1")
    assert states(store) == {"1": schema.SURPLUS}
    assert uploads.adopt(FILE) is None
    claimed(worker())


def test_a_discard_leaves_the_current_id_alone(store, ledger, uploads, worker):
    """Only the new one is wrong."""
    old = upload(ledger, FILE)
    uploads.discard(claimed(worker(), reuse=False), "2")
    assert states(store) == {old: schema.CURRENT, "2": schema.SURPLUS}
    assert uploads.adopt(FILE).media_id == old


@pytest.mark.parametrize("state", [schema.DELETING, schema.DELETED, schema.GONE])
def test_an_id_that_was_deleted_or_is_gone_never_answers_again(state, store, ledger, uploads, worker):
    """The next one who asks uploads."""
    upload(ledger, FILE, "1")
    assert uploads.mark("1", state)
    assert uploads.adopt(FILE) is None
    uploads.complete(claimed(worker()), FILE, "2")
    assert states(store) == {"1": state, "2": schema.CURRENT}


def test_what_becomes_of_an_old_generation_does_not_touch_the_new_one(ledger, uploads):
    """A late delete of the retired id."""
    upload(ledger, FILE, "1")
    upload(ledger, FILE, "2")
    uploads.mark("1", schema.DELETED)
    assert uploads.adopt(FILE).media_id == "2"


def test_a_mark_during_an_upload_does_not_disturb_it(store, ledger, uploads, worker):
    """The old id is deleted while its successor is on its way (needs F19)."""
    upload(ledger, FILE, "1")
    claim = claimed(worker(), reuse=False)
    uploads.mark("1", schema.DELETED)
    assert uploads.complete(claim, FILE, "2").media_id == "2"
    assert states(store) == {"1": schema.DELETED, "2": schema.CURRENT}


def test_a_mark_on_an_id_that_is_not_on_record_says_so(uploads):
    """It may be another system's."""
    assert uploads.mark("404", schema.GONE) is False


def test_another_numbers_id_cannot_be_marked(store, ledger, uploads):
    """Ids belong to a number."""
    upload(ledger_of(store, "100000000000002"), FILE, "1")
    assert uploads.mark("1", schema.GONE) is False
    assert states(store) == {"1": schema.CURRENT}


def test_storing_an_id_twice_changes_nothing(store, uploads, worker):
    """The database's answer to the first commit was lost, and the job stores once more (needs F64)."""
    claim = claimed(worker())
    first = uploads.complete(claim, FILE, "1")
    again = uploads.complete(claim, FILE, "1")
    assert states(store) == {"1": schema.CURRENT}
    assert uploads.adopt(FILE) is not None
    assert again is not None
    assert again.media_id == first.media_id


def test_storing_a_surplus_id_twice_counts_it_once(store, uploads, worker, clock):
    """Two uploads are unknown, one of them comes to light, twice: one is still unknown."""
    lost, late = claimed(worker("dead")), None
    clock.lapse()
    late = claimed(worker("late"))
    clock.lapse()
    claimed(worker("taker"))
    assert unsure(store, FILE) == 3
    for _ in range(2):
        uploads.complete(late, FILE, "1")
    assert unsure(store, FILE) == 2
    assert lost.fence == 1


def test_a_use_is_recorded_and_promises_nothing(store, ledger, uploads, clock):
    """By default only the upload counts."""
    upload(ledger, FILE, "1")
    clock.advance(10 * DAY_S)
    assert uploads.mark_used("1")
    assert uploads.adopt(FILE).safe_until.timestamp() == START + MEDIA_LIFE_S - SAFETY_MARGIN_S


def test_a_use_prolongs_only_where_that_is_trusted(ledger, uploads, clock):
    """360dialog's reading: 30 days after last use; a later use never shortens it."""
    upload(ledger, FILE, "1")
    clock.advance(10 * DAY_S)
    assert uploads.mark_used("1", trust_last_use=True)
    prolonged = START + 10 * DAY_S + MEDIA_LIFE_S - SAFETY_MARGIN_S
    assert uploads.adopt(FILE).safe_until.timestamp() == prolonged
    clock.advance(-5 * DAY_S)
    assert uploads.mark_used("1", trust_last_use=True)
    assert uploads.mark_used("1")
    assert uploads.adopt(FILE).safe_until.timestamp() == prolonged


def test_a_use_of_an_unknown_id_says_so(uploads):
    """It may be another system's."""
    assert uploads.mark_used("404", trust_last_use=True) is False


# --- what is owned up to ------------------------------------------------------------------------------------------


def orphans(store):
    return read_statistics(store)[0].orphan_possible


def test_a_holder_that_dies_leaves_one_possible_orphan(store, uploads, worker, clock):
    """Counted at the latest when its lease has lapsed, and not twice when somebody takes over (needs F4)."""
    claimed(worker("a"))
    assert (orphans(store), read_statistics(store)[0].uploading) == (0, 1)
    clock.lapse()
    assert (orphans(store), read_statistics(store)[0].uploading) == (1, 0)
    taker = claimed(worker("b"))
    assert orphans(store) == 1
    uploads.complete(taker, FILE, "1")
    assert orphans(store) == 1


@pytest.mark.parametrize(
    ("resends", "end", "expected"),
    [
        pytest.param(0, "completed", 0, id="one POST that answered"),
        pytest.param(2, "completed", 2, id="two that were cut off and one that answered"),
        pytest.param(0, "refused", 0, id="one POST that was refused"),
        pytest.param(1, "refused", 1, id="one that was cut off, then a refusal"),
        pytest.param(0, "unknown", 1, id="one that was cut off"),
        pytest.param(2, "unknown", 3, id="three that were cut off"),
        pytest.param(1, "discarded", 1, id="one that was cut off, then the wrong bytes"),
        pytest.param(1, "died", 2, id="one that was cut off, then a death"),
    ],
)
def test_every_post_without_an_answer_is_owned_up_to(*, resends, end, expected, store, uploads, worker, clock):
    """No more and no less than what may stand at 360dialog."""
    claim = claimed(worker("a"))
    for _ in range(resends):
        assert uploads.send_again(claim)
    if end == "completed":
        uploads.complete(claim, FILE, "1")
    elif end == "discarded":
        uploads.discard(claim, "1")
    elif end == "died":
        clock.lapse()
    else:
        uploads.release(claim, unknown=end == "unknown")
    assert orphans(store) == expected
    assert unsure(store, FILE) == expected


def test_a_post_that_was_cut_off_is_owned_up_to_while_the_next_one_runs(store, uploads, worker):
    """The first may stand at 360dialog already."""
    claim = claimed(worker("a"))
    uploads.send_again(claim)
    assert orphans(store) == 1


def test_an_id_that_comes_to_light_is_no_orphan(store, uploads, worker, clock):
    """Surplus is known."""
    late = claimed(worker("a"))
    clock.lapse()
    uploads.complete(claimed(worker("b")), FILE, "2")
    assert orphans(store) == 1
    uploads.complete(late, FILE, "1")
    assert orphans(store) == 0


def test_a_release_after_the_lease_was_lost_changes_nothing(store, uploads, worker, clock):
    """What the taker counted stays counted, and its lease stays its own."""
    late = claimed(worker("a"))
    clock.lapse()
    taker = claimed(worker("b"))
    for unknown in (True, False):
        uploads.release(late, unknown=unknown)
    assert row_of(store, FILE).owner == taker.owner
    assert unsure(store, FILE) == 2
    uploads.release(taker, unknown=False)
    assert unsure(store, FILE) == 1


def test_a_discard_after_the_lease_was_lost_keeps_the_takers_lease(store, uploads, worker, clock):
    """And the id is on record."""
    late = claimed(worker("a"))
    clock.lapse()
    taker = claimed(worker("b"))
    uploads.discard(late, "1")
    assert row_of(store, FILE).owner == taker.owner
    assert states(store) == {"1": schema.SURPLUS}


# What 360dialog does with a worker's one POST, and how the worker ends.
ENDS = ("heard and stored twice", "accepted and died", "accepted and given back")


def interleavings():
    """Claims in the order a, b, c; each end somewhere after its own claim."""
    for order in set(itertools.permutations(["A", "B", "C", "a", "b", "c"])):
        if all(order.index(each.upper()) < order.index(each) for each in "abc") and "".join(filter(str.isupper, order)) == "ABC":
            yield order


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_no_interleaving_of_three_workers_hides_an_orphan(store, ledger, uploads, clock):
    """Every order of three claims (each after the last one's lease) and their ends, for every way to end."""
    connection = store._engine().raw_connection()
    connection.cursor().execute("PRAGMA synchronous = OFF")  # of the one connection that this thread uses
    connection.close()
    orders = sorted(interleavings())
    assert len(orders) == 15
    for number, (order, ends) in enumerate(itertools.product(orders, itertools.product(ENDS, repeat=3))):
        file, claims, given, recorded = file_of(f"{number}"), {}, 0, 0
        for step in order:
            how = ends["abc".index(step.lower())]
            if step.isupper():
                claims[step] = Worker(ledger, task="t", try_number=len(claims) + 1).claim(file, reuse=False)
                given += 1
                continue
            claim = claims[step.upper()]
            if how.startswith("heard"):
                media_id = new_id()
                for _ in range(2 if how.endswith("twice") else 1):
                    uploads.complete(claim, file, media_id)
                recorded += 1
            elif how.endswith("back"):
                uploads.release(claim, unknown=True)
            assert unsure(store, file) >= given - recorded, (order, ends)
        assert unsure(store, file) == given - recorded, f"more than there are: {order}, {ends}"


# --- races --------------------------------------------------------------------------------------------------------


def paused_before_commit(monkeypatch):
    """The next release inside a transaction waits; ``(it is there, go on)``."""
    there, go_on, release = threading.Event(), threading.Event(), Uploads._release

    def pause(self, *args, **more):
        release(self, *args, **more)
        there.set()
        go_on.wait(10)

    monkeypatch.setattr(Uploads, "_release", pause)
    return there, go_on


def in_thread(act):
    """Start; ``join`` gives its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(act()))
    thread.start()

    def join():
        thread.join(20)
        assert results, "it failed or hangs"
        return results[0]

    return join


def test_who_claims_while_the_id_is_being_stored_gets_that_id(uploads, worker, monkeypatch):
    """Not the right to upload once more: the claim waits for the row and then has to look again."""
    claim, other = claimed(worker("a")), worker("b")
    there, go_on = paused_before_commit(monkeypatch)
    completed = in_thread(lambda: uploads.complete(claim, FILE, "1"))
    assert there.wait(5)
    step = in_thread(lambda: other.claim(FILE))
    time.sleep(0.3)
    go_on.set()
    assert completed().media_id == "1"
    assert isinstance(step(), UploadedMedia)


def test_who_makes_the_row_at_the_same_time_gets_the_id_as_well(url, store, ledger, monkeypatch):
    """The first claim ever of a file, twice at once."""
    steps = together(8, lambda i: Worker(ledger, f"{i}").claim(FILE))
    assert sorted(type(step).__name__ for step in steps) == ["Busy"] * 7 + ["Claim"]


def test_a_delete_and_a_refresh_of_one_file_do_not_lock_each_other_out(store, ledger, uploads, worker, monkeypatch):
    """Both touch the id and its fingerprint (needs F19): in the same order, or PostgreSQL ends one of them."""
    upload(ledger, FILE, "1")
    claim = claimed(worker("a"), reuse=False)
    there, go_on, stored = threading.Event(), threading.Event(), Uploads._store_media

    def pause(self, *args):  # between the lock on the fingerprint and the one on the old id
        there.set()
        go_on.wait(10)
        return stored(self, *args)

    monkeypatch.setattr(Uploads, "_store_media", pause)
    failed = []

    def attempt(act):
        try:
            return act() or True
        except LedgerUnavailableError as error:
            failed.append(str(error))
            return True

    completed = in_thread(lambda: attempt(lambda: uploads.complete(claim, FILE, "2")))
    assert there.wait(5)
    marked = in_thread(lambda: attempt(lambda: uploads.mark("1", schema.DELETING)))
    time.sleep(0.3)
    go_on.set()
    completed(), marked()
    assert failed == []
    assert states(store) == {"1": schema.DELETING, "2": schema.CURRENT}


def test_of_many_threads_one_uploads(store, ledger):
    """Exactly one claim for each file; everybody gets its id."""
    files = [file_of(f"{i}") for i in range(10)]
    posts = []

    def act(i):
        got = []
        for file in files[i % 3 :] + files[: i % 3]:
            own, step = Worker(ledger, f"{i}"), None
            while not isinstance(step, UploadedMedia):
                step = own.claim(file)
                if isinstance(step, Claim):
                    posts.append(file)
                    step = ledger.uploads.complete(step, file, new_id())
                elif isinstance(step, Busy):
                    time.sleep(0.002)
            got.append((file.sha256, step.media_id))
        return dict(got)

    results = together(8, act)
    assert len(posts) == len(files)
    assert all(result == results[0] for result in results)
    assert set(states(store).values()) == {schema.CURRENT}


def test_of_many_processes_one_claims(url, processes):
    """And the others wait."""
    for content in ("a", "b", "c"):
        assert sorted(processes(workers.claim_only, url, "100000000000001", content)) == [False] * 5 + [True]


def test_of_many_processes_one_uploads(url, processes):
    """6 of them adopt 12 files at once: 12 uploads, and everybody has the same 12 ids."""
    contents = [f"file {i}" for i in range(12)]
    results = processes(workers.adopt_all, url, "100000000000001", contents)
    assert sum(sent for result in results for _, sent in result.values()) == 12
    assert len({tuple(result[content][0] for content in contents) for result in results}) == 1


# --- the keeper ---------------------------------------------------------------------------------------------------


def test_the_keeper_keeps_leases_alive_while_their_blocks_run(uploads, worker, clock):
    """And its thread ends with the last of them."""
    keeper = Keeper(renew_every_s=0.02)
    claim = claimed(worker("a"))
    with keeper.keeping(claim, uploads):
        for _ in range(3):
            clock.advance(100)
            time.sleep(0.1)
        assert isinstance(worker("b").claim(FILE), Busy)
    thread = keeper._thread
    if thread is not None:
        thread.join(2)
    assert keeper._thread is None
    clock.lapse()
    time.sleep(0.1)
    assert isinstance(worker("b").claim(FILE), Claim)


def test_the_keeper_says_when_a_lease_is_lost_and_goes_on(uploads, worker, clock, caplog):
    """A warning; the other leases live."""
    lost, kept = claimed(worker("a")), worker("a").claim(file_of("kept"))
    clock.lapse()
    claimed(worker("b"))
    keeper = Keeper(renew_every_s=0.02)
    with keeper.keeping(lost, uploads), keeper.keeping(kept, uploads):
        time.sleep(0.15)
    assert "was lost to another worker" in caplog.text
    assert isinstance(worker("b").claim(file_of("kept")), Busy)


def test_the_keeper_survives_a_ledger_that_does_not_answer(uploads, worker, clock, caplog):
    """It tries again."""

    class Fails:
        def renew(self, claim):
            if not calls:
                calls.append(1)
                raise LedgerUnavailableError(place="p", reason="r")
            calls.append(uploads.renew(claim))

    calls = []
    with Keeper(renew_every_s=0.02).keeping(claimed(worker("a")), Fails()):
        time.sleep(0.2)
    assert calls[:2] == [1, True]
    assert "could not be renewed" in caplog.text


def test_the_keeper_does_not_cry_when_a_claim_ends_while_it_renews(uploads, worker, caplog):
    """An upload that is done has not lost its lease."""
    keeper, there, go_on = Keeper(renew_every_s=0.02), threading.Event(), threading.Event()

    class Slow:
        def renew(self, claim):
            there.set()
            go_on.wait(5)
            return uploads.renew(claim)

    claim = claimed(worker("a"))
    with keeper.keeping(claim, Slow()):
        assert there.wait(2)
        uploads.complete(claim, FILE, "1")
    thread = keeper._thread
    go_on.set()
    thread.join(2)
    assert "lost" not in caplog.text
