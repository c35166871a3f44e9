"""What comes in, on both engines: once for each media id, whoever brings it; no URL; and no source is read twice without a reason."""

from __future__ import annotations

import json
import random
import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.emulator.webhook import media_part, webhook
from airflow_provider_360dialog.exceptions import LedgerUnavailableError
from airflow_provider_360dialog.jobs.calls import Calls
from airflow_provider_360dialog.jobs.intake import WebhookFile, payload_file, take_in
from airflow_provider_360dialog.ledger import intake as module
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.inbound import LIFE_S, RunCounts
from airflow_provider_360dialog.ledger.intake import Arrival, Intake
from airflow_provider_360dialog.ledger.store import Store
from tests.ledger import test_intake as here
from tests.ledger.doubles import NOW_SQL, START, execute, ledger_of, together

HOUR_S, DAY_S = 3600.0, 86_400.0
NUMBER = "100000000000001"
CANARY = "canary-of-a-url"


@pytest.fixture
def intake(ledger):
    return ledger.intake


@pytest.fixture
def run(intake):
    """The number of one that nobody goes on with."""
    return intake.begin(task=None)


def rows_of(store):
    """Media id -> its row, as it stands."""
    query = sa.select(schema.inbound, schema.inbound_source.c.uri.label("source"), schema.inbound_batch.c.name.label("batch"))
    query = query.join(schema.inbound_source, schema.inbound_source.c.id == schema.inbound.c.source_id)
    query = query.join(schema.inbound_batch, schema.inbound_batch.c.id == schema.inbound.c.batch_id)
    with store.read() as db:
        return {row.media_id: row for row in db.execute(query.order_by(schema.inbound.c.id))}


def arrivals(*numbers, **more):
    """One a line."""
    return [Arrival(str(number), line, **more) for line, number in enumerate(numbers, 1)]


# --- once ---------------------------------------------------------------------------------------------------------


def test_a_row_has_what_its_webhook_says(intake, run, store):
    """And waits, fresh, for nobody in particular."""
    said = {"kind": "image", "mime_type": "image/jpeg", "sha256": "ab" * 32, "received_at": START - 60, "url_until": START + 240}
    assert intake.take_in(run, "/w/1.jsonl", "a batch", [Arrival("7", 12, **said)]) == 1
    row = rows_of(store)["7"]
    assert {name: getattr(row, name) for name in said} == said
    assert (row.source, row.line, row.batch, row.state, row.rank) == ("/w/1.jsonl", 12, "a batch", schema.PENDING, schema.FRESH)
    assert (row.failures, row.again_at, row.owner, row.lease_until, row.run_id, row.reason) == (0, 0, None, None, None, None)


def test_a_media_id_is_taken_in_once_whichever_source_brings_it_and_however_often(intake, run, ledger, store):
    """What the first one said stays: WhatsApp delivers at least once, in any order (needs F79)."""
    first = [Arrival("7", 1, kind="image", received_at=START - 60), Arrival("8", 2)]
    assert intake.take_in(run, "/w/1.jsonl", "b", first) == 2
    assert intake.take_in(run, "/w/1.jsonl", "b", first) == 0
    assert intake.take_in(run, "/w/2.jsonl", "c", [Arrival("7", 5, kind="video"), Arrival("9", 6), Arrival("8", 7)]) == 1
    found = rows_of(store)
    assert {name: (row.source, row.line, row.kind, row.batch) for name, row in found.items()} == {
        "7": ("/w/1.jsonl", 1, "image", "b"),
        "8": ("/w/1.jsonl", 2, None, "b"),
        "9": ("/w/2.jsonl", 6, None, "c"),
    }
    assert found["7"].received_at == START - 60
    assert ledger.inbound.counts(run) == RunCounts(taken_in=3, archived=0, archived_bytes=0, lost={})


def test_of_one_id_twice_in_one_reading_the_first_counts(intake, run, store):
    """A file can hold one delivery and the next."""
    assert intake.take_in(run, "/w/1.jsonl", "b", [Arrival("7", 1), Arrival("8", 2), Arrival("7", 3)]) == 2
    assert {name: row.line for name, row in rows_of(store).items()} == {"7": 1, "8": 2}


def test_what_was_settled_does_not_come_back(intake, run, ledger, store):
    """Archived or lost: a later delivery of the same webhook is known."""
    intake.take_in(run, "/w/1.jsonl", "b", arrivals(7, 8))
    archived, lost = (ledger.inbound.take(ledger.claimant()) for _ in range(2))
    ledger.inbound.archive(archived, run, uri="/a/1", mime_type="image/png", sha256="cd" * 32, size_bytes=5)
    ledger.inbound.lose(lost, run, "gone", "404", failed=True)
    before = rows_of(store)
    assert intake.take_in(run, "/w/2.jsonl", "c", arrivals(7, 8)) == 0
    assert rows_of(store) == before


def test_more_than_a_page_is_taken_in_whole(intake, run, store):
    """In their order, whatever part of them was there."""
    wanted = arrivals(*range(1000, 1000 + 2 * module._PAGE + 50))
    intake.take_in(run, "/w/0.jsonl", "b", wanted[100:250])
    assert intake.take_in(run, "/w/1.jsonl", "b", iter(wanted)) == len(wanted) - 150
    assert sorted(rows_of(store)) == [each.media_id for each in wanted]
    assert intake.take_in(run, "/w/2.jsonl", "b", []) == 0


def test_two_channels_may_have_the_same_id(intake, run, store):
    """Each its own row, source and batch, of the same names."""
    other = ledger_of(store, "100000000000002")
    assert intake.take_in(run, "/w/1.jsonl", "b", arrivals(7)) == 1
    assert other.intake.take_in(other.intake.begin(task=None), "/w/1.jsonl", "b", arrivals(7)) == 1
    with store.read() as db:
        for table in (schema.inbound, schema.inbound_source, schema.inbound_batch):
            assert db.scalar(sa.select(sa.func.count(table.c.channel_id.distinct()))) == 2


def test_eight_threads_that_bring_the_same_take_it_in_once(store):
    """Each with a source of its own; all together have counted each id once."""
    wanted = arrivals(*range(1000, 1300))
    ledgers = [ledger_of(store) for _ in range(8)]
    runs = [each.intake.begin(task=f"t{i}") for i, each in enumerate(ledgers)]
    new = together(8, lambda i: ledgers[i].intake.take_in(runs[i], f"/w/{i}.jsonl", f"b{i}", wanted))
    assert sum(new) == 300
    assert [ledgers[0].inbound.counts(run).taken_in for run in runs] == new
    assert sorted(rows_of(store)) == [each.media_id for each in wanted]


def test_processes_that_bring_the_same_take_it_in_once(url, ledger, store, processes):
    """In pieces, each process its own, over and over."""
    found = processes(here.take_in_in_a_process, url, 240)
    assert sum(found) == 240
    assert len(rows_of(store)) == 240


def take_in_in_a_process(url, count, at):
    ledger = ledger_of(Store(url, now_sql=NOW_SQL, single_host=False).open())
    run = ledger.intake.begin(task="t")
    rng = random.Random()
    time.sleep(max(0.0, at - time.time()))
    new = 0
    for _ in range(30):
        first = rng.randrange(0, count, 40)
        new += ledger.intake.take_in(run, f"/w/{first}.jsonl", f"b{first}", arrivals(*range(first, first + 40)))
    for first in range(0, count, 40):
        new += ledger.intake.take_in(run, f"/w/{first}.jsonl", f"b{first}", arrivals(*range(first, first + 40)))
    return new


def test_two_who_bring_the_same_in_another_order_do_not_wait_for_each_other_in_a_circle(store, monkeypatch):
    """Each in the middle of its reading: what one has is what the other wants next."""
    ids = list(range(1000, 1000 + 2 * module._PAGE))
    ledgers = [ledger_of(store) for _ in range(2)]
    runs = [each.intake.begin(task=None) for each in ledgers]
    for i, each in enumerate(ledgers):
        each.intake.take_in(runs[i], f"/w/{i}.jsonl", f"b{i}", [])
    both_are_in_the_middle = threading.Barrier(2)
    values = Intake._values

    def wait_in_the_middle(self, each, *more):
        if each.line == module._PAGE + 1:
            with suppress(threading.BrokenBarrierError):  # one of them waits for the other to end, as it should
                both_are_in_the_middle.wait(1)
        return values(self, each, *more)

    monkeypatch.setattr(Intake, "_values", wait_in_the_middle)
    orders = (ids, ids[::-1])
    new = together(2, lambda i: ledgers[i].intake.take_in(runs[i], f"/w/{i}.jsonl", f"b{i}", arrivals(*orders[i])))
    assert sum(new) == len(ids)


def test_a_reading_that_breaks_off_leaves_nothing(intake, run, store, monkeypatch):
    """Neither rows nor a count that is too high: the next one brings them again."""
    monkeypatch.setattr(module, "_PAGE", 2)
    with pytest.raises(LedgerUnavailableError), monkeypatch.context() as patch:
        values = Intake._values

        def fail_late(self, each, *more):
            if each.line == 5:
                raise sa.exc.OperationalError("", {}, Exception("gone"))
            return values(self, each, *more)

        patch.setattr(Intake, "_values", fail_late)
        intake.take_in(run, "/w/1.jsonl", "b", arrivals(*range(6)))
    assert rows_of(store) == {}
    assert intake.take_in(run, "/w/1.jsonl", "b", arrivals(*range(6))) == 6


# --- times --------------------------------------------------------------------------------------------------------

TIMES = {
    "not said": (None, None, START, None),
    "a minute ago": (START - 60, None, START - 60, None),
    "in the future": (START + 600, None, START, None),
    "a month ago": (START - 30 * DAY_S, None, START - 30 * DAY_S, None),
    "a URL for five minutes": (START - 60, START + 240, START - 60, START + 240),
    "a URL that has ended": (START - 600, START - 300, START - 600, START - 300),
    "a URL for ever: until the file ends": (START - 60, START + 10**9, START - 60, START - 60 + LIFE_S),
    "a URL for ever, received in the future": (START + DAY_S, START + 10**9, START, START + LIFE_S),
    "a URL for ever, received when nobody says": (None, START + 10**9, START, START + LIFE_S),
}


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES.keys())
def test_times_are_the_webhooks_within_reason(times, intake, run, store):
    """Nothing was received in the future, and no URL outlives its file."""
    received_at, url_until, *kept = times
    intake.take_in(run, "/w/1.jsonl", "b", [Arrival("7", 1, received_at=received_at, url_until=url_until)])
    row = rows_of(store)["7"]
    assert [row.received_at, row.url_until] == kept


# --- without an id ------------------------------------------------------------------------------------------------


def test_what_has_no_id_is_lost_at_once_and_counted(intake, run, ledger, store):
    """In the run that found it, once; it is never handed out."""
    bad = Arrival("mark-1", 3, kind="image", received_at=START - 60, lost_because="its webhook has no id")
    assert intake.take_in(run, "/w/1.jsonl", "b", [bad, Arrival("7", 4)]) == 2
    later = intake.begin(task=None)
    assert intake.take_in(later, "/w/2.jsonl", "b", [bad]) == 0
    row = rows_of(store)["mark-1"]
    assert (row.state, row.reason, row.details) == (schema.LOST, "no_id", "its webhook has no id")
    assert (row.run_id, row.settled_at) == (run, START)
    assert ledger.inbound.counts(run) == RunCounts(taken_in=2, archived=0, archived_bytes=0, lost={"no_id": 1})
    assert ledger.inbound.counts(later) == RunCounts(taken_in=0, archived=0, archived_bytes=0, lost={})
    assert ledger.inbound.take(ledger.claimant()).media_id == "7"
    assert ledger.inbound.take(ledger.claimant()) is None
    lost = ledger.inbound.lost_in(run)[0]
    assert (lost.media_id, lost.lost_at, lost.source, lost.line) == ("mark-1", START, "/w/1.jsonl", 3)


# --- no URL -------------------------------------------------------------------------------------------------------


def landed(media_id):
    """A webhook as a receiver lands it: with a URL; without an id where there is none."""
    url = f"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext=1800000300&hash={CANARY}"
    part = media_part(media_id=media_id, mime_type="image/png", sha256_hex="ab" * 32, file_name="", caption=None, url=url)
    if not media_id:
        del part["id"]
    return webhook(number_id=NUMBER, display_phone="1", sender="2", sent_at_s=int(START) - 60, kind="image", part=part)


def test_no_column_of_any_table_ever_holds_a_url(store, url):
    """From the webhook to the last state of its row (needs F79)."""
    ledger = ledger_of(store, NUMBER)
    calls = Calls(None, ledger)
    text = [json.dumps(landed(each)) for each in ("71", "72", "73", "74", "")]
    file = WebhookFile("/w/1.jsonl", "stamp", lambda: text, lambda: b"")
    run = ledger.intake.begin(task="t")
    found = take_in([file, payload_file(landed("75"))], run=run, calls=calls, webhook_url_life=timedelta(minutes=5))
    assert (found.new, found.urls_dropped) == (6, 1)
    items = [ledger.inbound.take(ledger.claimant()) for _ in range(3)]
    assert sum(item.url_until is not None for item in items) >= 2, "their webhooks have one"
    ledger.inbound.url_failed(items[0])
    ledger.inbound.archive(items[1], run, uri="/a/1.png", mime_type="image/png", sha256="ab" * 32, size_bytes=1)
    ledger.inbound.lose(items[2], run, "gone", "it is not there", failed=True)
    everything = {table: execute(url, f"SELECT * FROM {table}") for table in schema.metadata.tables}
    assert len(everything["d360_inbound"]) == 6
    for word in (CANARY, "lookaside", "https://lookaside"):
        assert word not in repr(everything)
    assert not [name for name in schema.inbound.c.keys() if name.startswith("url") and name != "url_until"]  # noqa: SIM118


# --- sources ------------------------------------------------------------------------------------------------------


def test_a_source_is_read_until_it_was_read_to_its_end_and_again_when_it_changes(intake, run):
    """One without a stamp is read each time."""
    found = [("/w/1.jsonl", "1"), ("/w/2.jsonl", "1"), ("/w/3.jsonl", None)]
    assert intake.unread(found) == [True, True, True]
    intake.take_in(run, "/w/1.jsonl", "b", arrivals(7))
    assert intake.unread(found) == [True, True, True], "its end was not reached"
    intake.was_read("/w/1.jsonl", "1")
    intake.was_read("/w/3.jsonl", "1")
    assert intake.unread(found) == [False, True, True]
    assert intake.unread([("/w/1.jsonl", "2")]) == [True]
    intake.was_read("/w/1.jsonl", "2")
    assert intake.unread([("/w/1.jsonl", "2"), ("/w/1.jsonl", "1")]) == [False, True]
    assert intake.unread([]) == []


def test_to_take_in_more_of_a_source_does_not_forget_that_it_was_read(intake, run, store, clock):
    """Nor is it on record twice; when it was read last is."""
    intake.was_read("/w/1.jsonl", "1")
    clock.advance(60)
    intake.take_in(run, "/w/1.jsonl", "b", arrivals(7))
    assert intake.unread([("/w/1.jsonl", "1")]) == [False]
    intake.was_read("/w/1.jsonl", "1")
    with store.read() as db:
        table = schema.inbound_source
        assert db.execute(sa.select(table.c.uri, table.c.stamp, table.c.read_at)).all() == [("/w/1.jsonl", "1", START + 60)]


def test_sources_are_asked_for_in_any_number_and_of_this_channel_alone(intake, store):
    """More than a page of them, in the order of the question."""
    other = ledger_of(store, "100000000000002").intake
    found = [(f"/w/{number}.jsonl", "1") for number in range(module._PAGE * 2 + 5)]
    for number in (0, module._PAGE - 1, module._PAGE, len(found) - 1):
        intake.was_read(*found[number])
    other.was_read(*found[7])
    assert [i for i, unread in enumerate(intake.unread(found)) if not unread] == [0, 199, 200, 404]
    assert [i for i, unread in enumerate(other.unread(found)) if not unread] == [7]


# --- runs and room ------------------------------------------------------------------------------------------------


def test_a_task_that_waited_or_is_tried_again_goes_on_with_its_run(intake, store):
    """Without a task, and on another channel, each has its own."""
    first = intake.begin(task="dag.task.run")
    assert intake.begin(task="dag.task.run") == first
    others = [
        intake.begin(task="dag.other.run"),
        intake.begin(task=None),
        intake.begin(task=None),
        ledger_of(store, "100000000000002").intake.begin(task="dag.task.run"),
    ]
    assert len({first, *others}) == 5
    assert ledger_of(store).intake.begin(task="dag.task.run") == first


def test_of_many_who_begin_one_task_at_once_all_have_one_run(store):
    """Airflow may start a task twice."""
    intakes = [ledger_of(store).intake for _ in range(8)]
    for number in range(5):
        assert len(set(together(8, lambda i, number=number: intakes[i].begin(task=f"t{number}")))) == 1


def test_a_channel_that_has_too_much_pending_takes_in_no_more(intake, run, ledger, store, monkeypatch):
    """Until something is settled; what others have does not count (needs T15)."""
    monkeypatch.setattr(module, "MOST_PENDING", 3)
    other = ledger_of(store, "100000000000002").intake
    other.take_in(other.begin(task=None), "/w/1.jsonl", "b", arrivals(*range(5)))
    intake.take_in(run, "/w/1.jsonl", "b", [*arrivals(1, 2), Arrival("mark", 9, lost_because="no id")])
    assert intake.has_room()
    intake.take_in(run, "/w/2.jsonl", "b", arrivals(3))
    assert not intake.has_room()
    ledger.inbound.lose(ledger.inbound.take(ledger.claimant()), run, "gone", "404", failed=False)
    assert intake.has_room()


# --- batches under suspicion --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "rank"), [(0, schema.FRESH), (2, schema.FRESH), (3, schema.SUSPECT), (4, schema.SUSPECT)])
def test_what_comes_to_a_batch_under_suspicion_is_suspect(failures, rank, ledger, run, store, clock):
    """As long as it is; what the same source brings to another batch is not (needs T15)."""
    intake = ledger.intake
    intake.take_in(run, "/w/1.jsonl", "bad", arrivals(*range(10)))
    for _ in range(failures):
        clock.advance(HOUR_S)
        ledger.inbound.lose(ledger.inbound.take(ledger.claimant()), run, "gone", "404", failed=True)
    intake.take_in(run, "/w/1.jsonl", "bad", arrivals("new"))
    intake.take_in(run, "/w/1.jsonl", "good", arrivals("other"))
    found = rows_of(store)
    assert (found["new"].rank, found["other"].rank) == (rank, schema.FRESH)


def test_what_comes_to_a_batch_after_it_was_cleared_is_fresh(intake, run, ledger, store, clock):
    """One file that was there speaks for all."""
    intake.take_in(run, "/w/1.jsonl", "b", arrivals(*range(5)))
    for _ in range(3):
        ledger.inbound.lose(ledger.inbound.take(ledger.claimant()), run, "gone", "404", failed=True)
    clock.advance(HOUR_S)
    ledger.inbound.archive(
        ledger.inbound.take(ledger.claimant()), run, uri="/a/1", mime_type="image/png", sha256="cd" * 32, size_bytes=5
    )
    intake.take_in(run, "/w/1.jsonl", "b", arrivals("new"))
    assert rows_of(store)["new"].rank == schema.FRESH


def ranks_after_a_race(store, url, prepare, meanwhile):
    """Ranks of what is pending, when ``meanwhile(inbound, run)`` settles while a reading is about to end.

    The reading is held up at its last statement, which counts in its run: by another transaction that has changed that run.
    """
    ledger = ledger_of(store)
    run, mine = ledger.intake.begin(task="reads"), ledger.intake.begin(task="archives")
    ledger.intake.take_in(mine, "/w/0.jsonl", "b", arrivals(*range(6)))
    prepare(ledger, mine)
    reading = threading.Thread(target=lambda: ledger_of(store).intake.take_in(run, "/w/1.jsonl", "b", arrivals("late")))
    with store.write() as db:
        db.execute(schema.inbound_run.update().where(schema.inbound_run.c.id == run).values(archived=0))
        reading.start()
        ends_at = time.monotonic() + 20
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while execute(url, waiting) == [(0,)]:
            assert time.monotonic() < ends_at, "the reading does not come to its end"
            time.sleep(0.01)
        settling = threading.Thread(target=lambda: meanwhile(ledger, mine))
        settling.start()
        settling.join(1.5)  # it may go on, or wait for the reading to end
    for thread in (reading, settling):
        thread.join(20)
        assert not thread.is_alive()
    return {name: row.rank for name, row in rows_of(store).items() if row.state == schema.PENDING}


def lose(ledger, run, count=3):
    for _ in range(count):
        ledger.inbound.lose(ledger.inbound.take(ledger.claimant()), run, "gone", "404", failed=True)


def archive_one(ledger, run):
    item = ledger.inbound.take(ledger.claimant())
    ledger.inbound.archive(item, run, uri="/a/1", mime_type="image/png", sha256="cd" * 32, size_bytes=5)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_what_comes_in_while_its_batch_becomes_suspect_is_suspect(store, url):
    """Else an unlimited number of made up ids could be asked for one after the other."""
    ranks = ranks_after_a_race(store, url, lambda *_: None, lose)
    assert len(ranks) == 4
    assert set(ranks.values()) == {schema.SUSPECT}


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_what_comes_in_while_its_batch_is_cleared_is_not_left_behind(store, url, clock):
    """A suspect of a batch that is not under suspicion would never be handed out."""

    def lose_and_wait(ledger, run):
        lose(ledger, run)
        clock.advance(HOUR_S)

    ranks = ranks_after_a_race(store, url, lose_and_wait, archive_one)
    assert len(ranks) == 3
    assert set(ranks.values()) == {schema.FRESH}
