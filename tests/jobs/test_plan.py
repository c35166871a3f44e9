"""A plan over files in memory: every item is judged and accounted for, nothing is read twice, and nothing is sent."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
import tracemalloc

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import (
    CallError,
    CampaignTooLargeError,
    LedgerUnavailableError,
    SourceUnreadableError,
    StoppedError,
    StorageFailedError,
)
from airflow_provider_360dialog.jobs import calls as calls_module
from airflow_provider_360dialog.jobs import plan as plan_module
from airflow_provider_360dialog.jobs.manifest import Malformed, Wanted, read_jsonl, read_list
from airflow_provider_360dialog.jobs.plan import Order, PlanChannel, Planner
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.campaign_runs import read_runs
from airflow_provider_360dialog.ledger.campaigns import Campaigns
from airflow_provider_360dialog.ledger.rules import CEILING_PER_S
from airflow_provider_360dialog.ledger.sources import Sources
from airflow_provider_360dialog.ports import DagRun
from tests.ledger.doubles import NOW_SQL, START, Clock, StampedSource, Waiting, file_of, together, upload
from tests.support.ledger import channel_of, open_store

DAY = 86_400.0
PDF = b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\nstartxref\n0\n%%EOF\n"
PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>Sorry</body></html>"
NUMBERS = {"one": "100000000000001", "two": "100000000000002", "three": "100000000000003"}


class Storage:
    """Files in memory by URI."""

    def __init__(self):
        self.files = {}

    def put(self, uri, content=None, *, stamp="1", kind=StampedSource):
        source = kind(PDF + uri.encode() if content is None else content, uri.rpartition("/")[2], stamp)
        source.uri = uri
        self.files[uri] = source
        return source

    def __call__(self, uri):
        if uri not in self.files:
            raise SourceUnreadableError(uri=uri, reason="there is no such file")
        return self.files[uri]

    @property
    def opened(self):
        return sum(each.opened for each in self.files.values())


@pytest.fixture
def storage():
    return Storage()


@pytest.fixture
def clock(tmp_path):
    """The ledger's; it stands still."""
    return Clock(f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture
def store(tmp_path, clock):
    return open_store(tmp_path, now_sql=NOW_SQL)


@pytest.fixture
def channels(store):
    """Connection id -> number; three of them."""
    return {name: channel_of(store, number, api_key=f"key of {name}") for name, number in NUMBERS.items()}


class Rejects:
    """Takes the rejects, as a file would."""

    def __init__(self):
        self.rows, self.times = [], 0

    def __call__(self, lines):
        self.times += 1
        self.rows += [json.loads(line) for line in lines]


@pytest.fixture
def rejects():
    return Rejects()


@pytest.fixture
def planner(store, storage):
    return Planner(store, storage)


@pytest.fixture
def order(channels):
    """An order for so many of the channels; other words of it as keywords."""

    def make(*names, **more):
        numbers = {name: PlanChannel(name, channels[name].identity.channel_id) for name in names or ["one"]}
        return Order(**{"campaign": "spring", "needed_until": START + 10 * DAY, "channels": numbers} | more)

    return make


def wanted(storage, count, *, start=0, channel=None):
    """So many vouchers, and their files."""
    for i in range(start, start + count):
        uri = f"s3://b/v{i:05}.pdf"
        if uri not in storage.files:
            storage.put(uri)
        yield Wanted(f"k{i:05}", uri, channel=channel, line=i + 1)


def items(store):
    """Key and connection -> state, as they are on record."""
    with store.read() as db:
        return {(row.key, row.conn_id): row.state for row in db.execute(sa.select(schema.item))}


def tables(store):
    """All that is in the ledger."""
    with sqlite3.connect(store.place) as db:
        return list(db.iterdump())


# --- what becomes of an item --------------------------------------------------------------------------------------


def test_good_files_are_on_record_and_counted(planner, storage, order, store, rejects):
    """With the seconds that they take at the line."""
    found = planner.plan(wanted(storage, 450), order(), write_rejects=rejects)
    assert (found.items, found.rejected) == (450, 0)
    (one,) = found.channels
    assert (one.conn_id, one.items, one.ready, one.rejected, one.uploads) == ("one", 450, 0, 0, 450)
    assert one.size_bytes == sum(len(each.content) for each in storage.files.values())
    assert found.seconds == one.seconds == 450 / CEILING_PER_S
    assert set(items(store).values()) == {schema.PLANNED}
    assert len(items(store)) == 450
    assert rejects.times == 0


def test_who_plans_is_on_record_while_it_goes_on(planner, storage, order, store, rejects):
    """With the DAG run on whose behalf, so that people who look find it."""
    planner.dag_run, seen = DagRun("vouchers", "monday"), []

    def looking(entries):
        yield from entries
        with store.read() as db:
            seen.extend(read_runs(db, 1, START))

    planner.plan(looking(wanted(storage, 3)), order(), write_rejects=rejects)
    with store.read() as db:
        seen.extend(read_runs(db, 1, START))
    assert [(each.dag_id, each.run_id, each.is_running) for each in seen] == [
        ("vouchers", "monday", True),
        ("vouchers", "monday", False),
    ]


@pytest.mark.parametrize("limit", [449, 450])
def test_a_plan_of_more_items_than_it_may_have_stops_and_keeps_within_the_bound(limit, planner, storage, order, store, rejects):
    """T23: the wrong manifest. Rejected items count; what was read before stays on record, without an end."""
    entries = [*wanted(storage, 440), *(Malformed("no item", line=n) for n in range(10))]

    def plan():
        return planner.plan(entries, order(max_items=limit), write_rejects=rejects)

    if limit == 450:
        assert plan().items == 450
        return
    with pytest.raises(CampaignTooLargeError, match="more than the 449 items that max_items allows") as caught:
        plan()
    assert not caught.value.retryable
    assert 0 < len(items(store)) <= 449
    assert not Campaigns(store).find("spring").is_planned
    with pytest.raises(CampaignTooLargeError):
        planner.dry_run(entries, order(max_items=limit))


def test_a_plan_of_more_bytes_than_it_may_have_stops(planner, storage, order, store, rejects):
    """A file counts once for each channel, however many items it has."""
    for n in range(4):
        storage.put(f"s3://b/{n}.pdf", PDF + bytes([65 + n]) * 100)
    size = len(PDF) + 100
    entries = [Wanted(f"k{n}", f"s3://b/{n % 4}.pdf", line=n + 1) for n in range(12)]
    both = {"replicate": True, "max_bytes": 8 * size}
    assert planner.plan(entries, order("one", "two", **both), write_rejects=rejects).items == 24
    with pytest.raises(CampaignTooLargeError) as caught:
        planner.plan(entries, order("one", "two", **both | {"max_bytes": 8 * size - 1}), write_rejects=rejects)
    assert (caught.value.bound, caught.value.limit) == ("max_bytes", 8 * size - 1)


def test_pages_named_pdf_are_rejected_one_by_one_with_the_reason(planner, storage, order, store, rejects):
    """5 of 120 (needs US-6). They cost no request, and the good ones are planned."""
    asked = list(wanted(storage, 120))
    bad = [f"s3://b/v{i:05}.pdf" for i in (3, 40, 41, 90, 119)]
    for uri in bad:
        storage.put(uri, PAGE)
    found = planner.plan(asked, order(), write_rejects=rejects)
    assert (found.items, found.rejected, found.channels[0].uploads) == (120, 5, 115)
    assert [row["uri"] for row in rejects.rows] == bad
    assert rejects.times == 1
    for row in rejects.rows:
        assert row["key"] == asked[row["line"] - 1].key
        assert row["channel"] == "one"
        assert all(problem["code"] and problem["message"] and problem["remedy"] for problem in row["problems"])
    assert list(items(store).values()).count(schema.REJECTED) == 5
    with store.read() as db:
        assert db.scalar(sa.select(sa.func.count()).select_from(schema.fingerprint)) == 115


def test_lines_that_are_no_items_are_rejected_by_number(planner, storage, order, store, rejects):
    """Line 3 and 5 (needs F76); text that is not UTF-8 never reaches the database."""
    asked = wanted(storage, 3)
    lines = [json.dumps({"key": each.key, "uri": each.uri}) for each in asked]
    lines[2:2] = ["{broken"]
    lines[4:4] = ['{"key": "\udcff", "uri": "x"}']
    found = planner.plan(read_jsonl(lines, base=""), order(), write_rejects=rejects)
    assert (found.items, found.rejected, found.channels[0].items) == (5, 2, 3)
    assert [(row["line"], row["problems"][0]["code"]) for row in rejects.rows] == [(3, "malformed"), (5, "malformed")]
    assert len(items(store)) == 3


@pytest.mark.parametrize("key", ["\ud800", "a\udcff", "\0", "a\nb"])
def test_a_key_that_is_no_text_is_rejected_before_the_database(key, planner, order, store, rejects):
    found = planner.plan(read_list([{"key": key, "uri": "s3://b/x"}], base=""), order(), write_rejects=rejects)
    assert (found.rejected, items(store), rejects.rows[0]["problems"][0]["code"]) == (1, {}, "malformed")


def test_an_unknown_or_missing_channel_is_rejected_without_a_look_at_the_file(planner, storage, order, store, rejects):
    """Which connection ids there are is part of the sentence."""
    asked = [
        *wanted(storage, 1, channel="two"),
        *wanted(storage, 1, start=1, channel="four"),
        *wanted(storage, 1, start=2),
        Malformed("no item", line=9, key="k", channel="one"),
    ]
    found = planner.plan(asked, order("one", "two"), write_rejects=rejects)
    assert (found.items, found.rejected) == (4, 3)
    assert [row["channel"] for row in rejects.rows] == ["four", None, "one"]
    assert [row["problems"][0]["code"] for row in rejects.rows] == ["channel", "channel", "malformed"]
    assert "one, two" in rejects.rows[0]["problems"][0]["message"]
    assert items(store) == {("k00000", "two"): schema.PLANNED}
    assert storage.opened == 1


def test_with_one_channel_none_has_to_be_named(planner, storage, order, store, rejects):
    """But if it is, it is the right one."""
    asked = [*wanted(storage, 1), *wanted(storage, 1, start=1, channel="one"), *wanted(storage, 1, start=2, channel="two")]
    found = planner.plan(asked, order(), write_rejects=rejects)
    assert found.rejected == 1
    assert sorted(items(store)) == [("k00000", "one"), ("k00001", "one")]


def test_replicated_items_are_on_every_channel_and_their_files_read_once(planner, storage, order, store, rejects):
    """Whatever they say themselves; busiest first."""
    asked = [*wanted(storage, 5, channel="one"), *wanted(storage, 5, start=5, channel="none of them")]
    found = planner.plan(asked, order("one", "two", "three", replicate=True), write_rejects=rejects)
    assert (found.items, found.rejected, len(items(store))) == (30, 0, 30)
    assert [(each.conn_id, each.uploads) for each in found.channels] == [("one", 10), ("three", 10), ("two", 10)]
    assert storage.opened == 10


def test_two_connections_of_one_number_are_one_channel(planner, storage, channels, store, rejects):
    """Nothing is counted twice, and no item is missing a channel that there is only one of."""
    number = channels["one"].identity.channel_id
    twice = {name: PlanChannel(name, number) for name in ("one", "again")}
    asked = [*wanted(storage, 2, channel="one"), *wanted(storage, 2, start=2, channel="again"), *wanted(storage, 1, start=4)]
    for replicate in (False, True):
        order = Order("spring", START + DAY, twice, replicate=replicate)
        for found in (planner.dry_run(asked, order), planner.plan(asked, order, write_rejects=rejects)):
            assert (found.items, found.rejected) == (5, 0)
            assert [(each.items, each.uploads) for each in found.channels] == [(5, 5)]
    assert len(items(store)) == 5


def test_the_busiest_channel_says_how_long_it_takes(planner, storage, channels, rejects):
    """At what its connection allows, which is never more than the line."""
    ids = {name: each.identity.channel_id for name, each in channels.items()}
    numbers = {"one": PlanChannel("one", ids["one"], 1000.0), "two": PlanChannel("two", ids["two"], 2.0)}
    asked = [*wanted(storage, 49, channel="one"), *wanted(storage, 10, start=49, channel="two")]
    found = planner.plan(asked, Order("spring", START + DAY, numbers), write_rejects=rejects)
    assert [(each.conn_id, each.seconds) for each in found.channels] == [("two", 5.0), ("one", 49 / CEILING_PER_S)]
    assert found.seconds == 5.0


def test_files_that_cannot_be_read_are_rejected_as_such(planner, storage, order, rejects):
    """Missing, forbidden, or gone while it is read (needs F71); the others are planned."""

    class Vanishes(StampedSource):
        def stamp(self):
            if self.opened:
                raise SourceUnreadableError(uri=self.uri, reason="gone")
            return self.stamped

    class Forbidden(StampedSource):
        def open(self):
            raise PermissionError(13, "Permission denied")

    storage.put("s3://b/gone.pdf", kind=Vanishes)
    storage.put("s3://b/forbidden.pdf", kind=Forbidden)
    names = ["missing", "gone", "forbidden"]
    asked = [*wanted(storage, 3), *(Wanted(name, f"s3://b/{name}.pdf") for name in names)]
    found = planner.plan(asked, order(), write_rejects=rejects)
    assert (found.items, found.rejected, found.channels[0].uploads) == (6, 3, 3)
    assert [(row["key"], row["problems"][0]["code"]) for row in rejects.rows] == [(name, "source_unreadable") for name in names]


def test_what_is_said_of_a_file_counts(planner, storage, order, rejects):
    """One file as two types is two files to send; a word that the content denies is a reason."""
    storage.put("s3://b/f", b"plain words\n")
    asked = [
        Wanted("text", "s3://b/f", mime_type="text/plain", filename="f.txt"),
        Wanted("pdf", "s3://b/f", mime_type="application/pdf", filename="f.pdf"),
        Wanted("photo", "s3://b/f", mime_type="text/plain", filename="f.txt", kind="image"),
    ]
    found = planner.plan(asked, order(), write_rejects=rejects)
    assert [row["key"] for row in rejects.rows] == ["pdf", "photo"]
    assert found.channels[0].uploads == 1


# --- rejects ------------------------------------------------------------------------------------------------------


def test_rejects_are_written_once_line_by_line_before_the_plan_is_complete(planner, storage, order, store):
    """Should that fail, what earlier plans wanted stands."""
    planner.plan(wanted(storage, 3), order(), write_rejects=lambda lines: None)
    seen = []

    def write(lines):
        assert iter(lines) is lines, "a stream"
        seen.append(list(lines))
        raise StorageFailedError(uri="s3://b/rejects", reason="503")

    asked = [Wanted(f"none{i}", "s3://b/none", line=i) for i in range(450)]
    with pytest.raises(StorageFailedError):
        planner.plan(iter(asked), order(), write_rejects=write)
    assert len(seen) == 1
    assert [json.loads(line)["line"] for line in seen[0]] == list(range(450))
    assert not any("\n" in line for line in seen[0])
    assert len(items(store)) == 453
    planner.plan(iter(asked), order(), write_rejects=lambda lines: None)
    assert len(items(store)) == 450


def test_a_plan_tells_what_it_found_within_its_first_page(planner, storage, order, rejects, caplog):
    """How long it will take, before all is read."""
    caplog.set_level(logging.INFO, logger=plan_module.__name__)
    told_after = []

    def asked():
        for i, each in enumerate(wanted(storage, 1000)):
            if not told_after and any("uploads take" in record.message for record in caplog.records):
                told_after.append(i)
            yield each

    planner.plan(asked(), order(), write_rejects=rejects)
    assert told_after == [200]


# --- read once ----------------------------------------------------------------------------------------------------


def test_a_second_plan_opens_no_file_that_has_not_changed(planner, storage, order, rejects):
    """Another campaign's neither; a changed one is read, and counts as it is now."""
    planner.plan(wanted(storage, 300), order(), write_rejects=rejects)
    assert storage.opened == 300
    for name in ("spring", "autumn"):
        again = planner.plan(wanted(storage, 300), order(campaign=name), write_rejects=rejects)
        assert again.channels[0].uploads == 300
    assert planner.dry_run(wanted(storage, 300), order()).channels[0].uploads == 300
    assert storage.opened == 300
    changed = storage.files["s3://b/v00007.pdf"]
    changed.content, changed.stamped = PAGE, "2"
    assert planner.plan(wanted(storage, 300), order(), write_rejects=rejects).rejected == 1
    assert storage.opened == 301


def test_a_file_that_many_want_is_read_once(planner, storage, order, rejects):
    """One logo for 200 recipients, though its storage gives no stamp."""
    storage.put("s3://b/logo.pdf", stamp=None)
    asked = [Wanted(f"k{i}", "s3://b/logo.pdf") for i in range(200)]
    found = planner.plan(asked, order(), write_rejects=rejects)
    assert (found.channels[0].items, found.channels[0].uploads, storage.opened) == (200, 1, 1)


def test_a_file_without_a_stamp_is_read_each_time(planner, storage, order, rejects):
    """It was changed just now, or its storage does not say."""
    storage.put("s3://b/v00000.pdf", stamp=None)
    for opened in (1, 2):
        planner.plan(wanted(storage, 1), order(), write_rejects=rejects)
        assert storage.opened == opened


def test_a_file_that_changes_while_it_is_read_is_not_remembered(planner, storage, order, rejects):
    """Its stamp was another before than after (needs F74)."""

    class Changing(StampedSource):
        def open(self):
            self.stamped += "+"
            return super().open()

    changing = storage.put("s3://b/v00000.pdf", kind=Changing)
    for opened in (1, 2):
        changing.stamped = "1"
        planner.plan(wanted(storage, 1), order(), write_rejects=rejects)
        assert changing.opened == opened


def test_files_are_read_by_several_hands(planner, storage, order, rejects):
    """Of slow storage."""
    under_way, most = [], []

    class Slow(StampedSource):
        def open(self):
            under_way.append(self)
            most.append(len(under_way))
            time.sleep(0.01)
            under_way.remove(self)
            return super().open()

    for i in range(16):
        storage.put(f"s3://b/v{i:05}.pdf", kind=Slow)
    planner.plan(wanted(storage, 16), order(), write_rejects=rejects)
    assert max(most) > 1


# --- what ends it -------------------------------------------------------------------------------------------------


def test_a_storage_that_fails_ends_the_plan_and_what_was_judged_is_not_read_again(planner, storage, order, store, rejects):
    """In the same page as in those before; what earlier plans wanted stands (needs F73)."""
    planner.plan(wanted(storage, 1, start=900), order(), write_rejects=rejects)

    class Failing(StampedSource):
        broken = True

        def open(self):
            if self.broken:
                raise OSError(5, "Input/output error")
            return super().open()

    class Slow(StampedSource):
        def open(self):
            time.sleep(0.005)
            return super().open()

    for i in range(300, 400):
        storage.put(f"s3://b/v{i:05}.pdf", kind=Slow)
    failing = storage.put("s3://b/v00260.pdf", kind=Failing)
    with pytest.raises(StorageFailedError):
        planner.plan(wanted(storage, 400), order(), write_rejects=rejects)
    assert len(items(store)) == 201
    assert 250 <= storage.opened < 390, "it went on reading a storage that fails"
    failing.broken = False
    found = planner.plan(wanted(storage, 400), order(), write_rejects=rejects)
    assert (found.rejected, found.channels[0].items) == (0, 400)
    assert {each.opened for each in storage.files.values()} == {1}


def test_a_manifest_that_breaks_off_drops_nothing(planner, storage, order, store, rejects):
    """The items that came before it are on record, and the old ones are as well."""
    planner.plan(wanted(storage, 3), order(), write_rejects=rejects)

    def broken():
        yield from wanted(storage, 200, start=3)
        raise StorageFailedError(uri="s3://b/m.jsonl", reason="503")

    with pytest.raises(StorageFailedError):
        planner.plan(broken(), order(), write_rejects=rejects)
    assert len(items(store)) == 203


def test_a_plan_that_is_told_to_end_ends_within_its_page(planner, storage, order, store, rejects):
    """Files that are being read are finished, no other is begun, and a rerun reads none of them again."""
    planner.plan(wanted(storage, 1, start=900), order(), write_rejects=rejects)

    class Stops(StampedSource):
        def open(self):
            planner.stop.set()
            return super().open()

    storage.put("s3://b/v00250.pdf", kind=Stops)
    with pytest.raises(StoppedError):
        planner.plan(wanted(storage, 1000), order(), write_rejects=rejects)
    assert storage.opened < 300
    assert len(items(store)) == 201
    planner.stop.clear()
    planner.plan(wanted(storage, 400), order(), write_rejects=rejects)
    assert storage.opened == 401
    assert len(items(store)) == 400


NAMES = {
    "nothing": "",
    "blanks": "  ",
    "251 characters": "n" * 251,
    "a line break": "a\nb",
    "a NUL": "a\0b",
    "half a character": "\ud800",
    "a text that turns around": "a\u202eb",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_that_cannot_be_is_refused_before_anything_is_read(name, planner, storage, order, store, rejects):
    for act in (planner.dry_run, lambda asked, which: planner.plan(asked, which, write_rejects=rejects)):
        with pytest.raises(CallError, match="printable"):
            act(wanted(storage, 1), order(campaign=name))
    assert storage.files == {}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param({"channels": {}}, "at least one channel", id="no channel"),
        pytest.param({"needed_until": 1.0}, "in the past", id="needed until long ago"),
        pytest.param({"needed_until": START}, "in the past", id="needed until now"),
    ],
)
def test_an_order_that_cannot_be_is_refused_by_a_dry_run_too(*, more, words, planner, storage, order, store, rejects):
    before = tables(store)
    for act in (planner.dry_run, lambda asked, which: planner.plan(asked, which, write_rejects=rejects)):
        with pytest.raises(CallError, match=words):
            act(wanted(storage, 1), order(**more))
    assert tables(store)[: len(before)] == before
    assert items(store) == {}


class Fails:
    """A method that is unavailable the first ``times`` times. ``after``: it did its work all the same."""

    def __init__(self, monkeypatch, owner, name, *, times=2, after=False):
        method, self.left = getattr(owner, name), times

        def call(*args, **more):
            result = method(*args, **more) if after or not self.left else None
            if self.left:
                self.left -= 1
                raise LedgerUnavailableError(place="p", reason="r")
            return result

        monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("after", [False, True], ids=["it was not committed", "it was committed, and the answer was lost"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Campaigns, name) for name in ("begin_plan", "record", "end_plan", "work", "ready_among")]
    + [(Sources, "recall_many"), (Sources, "remember_many")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_ledger_that_is_away_for_a_moment_is_waited_for(*, owner, name, after, store, storage, order, rejects, monkeypatch):
    """The plan is what it would have been (needs F63)."""
    outage = Fails(monkeypatch, owner, name, after=after)
    planner = Planner(store, storage, Waiting())
    act = planner.dry_run if name == "ready_among" else lambda *what: planner.plan(*what, write_rejects=rejects)
    found = act([*wanted(storage, 3), Malformed("no item")], order())
    assert outage.left == 0
    assert (found.items, found.rejected, found.channels[0].uploads) == (4, 1, 3)
    assert len(items(store)) == (0 if name == "ready_among" else 3)
    assert len(rejects.rows) == (0 if name == "ready_among" else 1)


def test_a_ledger_that_stays_away_ends_the_plan(store, storage, order, rejects, monkeypatch):
    """Once the patience with it is over; a rerun goes on."""
    monkeypatch.setattr(calls_module, "PATIENCE_S", 0.05)
    with monkeypatch.context() as patched:
        Fails(patched, Campaigns, "record", times=10**6)
        with pytest.raises(LedgerUnavailableError):
            Planner(store, storage).plan(wanted(storage, 3), order(), write_rejects=rejects)
    assert Planner(store, storage).plan(wanted(storage, 3), order(), write_rejects=rejects).channels[0].uploads == 3
    assert storage.opened == 3


# --- plans beside each other --------------------------------------------------------------------------------------


def test_two_runs_of_one_campaign_at_once_plan_the_same(store, storage, order, rejects):
    """Nothing doubled, nothing dropped (needs F17)."""
    asked = list(wanted(storage, 500))
    found = together(3, lambda _: Planner(store, storage).plan(iter(asked), order(), write_rejects=rejects))
    assert [each.channels[0].items for each in found] == [500] * 3
    assert len(items(store)) == 500


# --- what is ready already ----------------------------------------------------------------------------------------


@pytest.fixture
def half_ready(storage, channels):
    """Of ten vouchers four are uploaded, one of them on another channel."""
    for i, each in enumerate(wanted(storage, 4)):
        content = storage.files[each.uri].content
        upload(channels["two" if i == 3 else "one"], file_of(content, "application/pdf"))
    return lambda: wanted(storage, 10)


def test_what_is_uploaded_already_is_not_work(planner, half_ready, order, rejects):
    found = planner.plan(half_ready(), order(), write_rejects=rejects).channels[0]
    assert (found.ready, found.uploads, found.seconds) == (3, 7, 7 / CEILING_PER_S)


def test_a_dry_run_leaves_no_trace(planner, half_ready, storage, order, store, caplog):
    """The ledger's tables stay byte for byte; it counts what a plan would count, and shows the rejects."""
    caplog.set_level(logging.INFO, logger=plan_module.__name__)
    storage.put("s3://b/page.pdf", PAGE)
    asked = [*half_ready(), *wanted(storage, 2, start=8), Wanted("page", "s3://b/page.pdf"), Malformed("no item", line=77)]
    asked = [*asked, Wanted("same as k00009", "s3://b/v00009.pdf")]
    before = tables(store)
    dry = planner.dry_run(iter(asked), order())
    assert tables(store) == before
    assert (dry.items, dry.rejected) == (15, 2)
    assert (dry.channels[0].ready, dry.channels[0].uploads) == (3, 7)
    assert any("content is an HTML page" in record.message for record in caplog.records)
    assert any("no item" in record.message for record in caplog.records)
    real = planner.plan(iter(asked), order(), write_rejects=lambda lines: None)
    facts = lambda each: (each.ready, each.rejected, each.uploads, each.size_bytes, each.seconds)  # noqa: E731
    assert list(map(facts, real.channels)) == list(map(facts, dry.channels))
    assert (real.items, real.rejected, real.seconds) == (dry.items, dry.rejected, dry.seconds)


def test_a_dry_run_knows_how_far_an_upload_reaches(planner, half_ready, order, clock):
    """A campaign of next year is ready with an id that is safe for a week, as for a plan."""
    assert planner.dry_run(half_ready(), order(needed_until=START + 365 * DAY)).channels[0].ready == 3
    clock.advance(DAY)
    assert planner.dry_run(half_ready(), order(needed_until=START + 29 * DAY)).channels[0].ready == 3
    assert planner.dry_run(half_ready(), order(needed_until=START + 29 * DAY + 1)).channels[0].ready == 0


# --- size ---------------------------------------------------------------------------------------------------------

MANY = 7_000


class Endless:
    """Files that are made when they are asked for; each has its own content."""

    def __call__(self, uri):
        return StampedSource(PDF + uri.encode(), "v.pdf")


@pytest.mark.parametrize("act", ["plan", "dry_run"])
def test_memory_does_not_grow_with_the_campaign(act, store, order):
    """Each item more would cost its key, its path and its hash; together that would be 3 MB."""

    def run(count):
        asked = (
            Malformed("no item", line=i, key="k" * 200) if i % 10 == 0 else Wanted(f"{i:0200}", f"s3://b/{i:0200}.pdf", line=i)
            for i in range(count)
        )
        planner = Planner(store, Endless())
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        if act == "plan":
            found = planner.plan(asked, order(), write_rejects=lambda lines: sum(1 for _ in lines))
        else:
            found = planner.dry_run(asked, order())
        assert (found.items, found.rejected) == (count, count // 10)
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        small, large = run(1000), run(MANY)
    finally:
        tracemalloc.stop()
    assert large < small + 500_000
