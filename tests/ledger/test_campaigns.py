"""Campaigns on record: what a plan wants stays, whatever else happens; an item is ready as soon as any id answers for its file."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import re
import sqlite3
import threading
import time
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import CampaignIncompleteError, CampaignUnknownError
from airflow_provider_360dialog.jobs import export as export_module
from airflow_provider_360dialog.jobs.export import COLUMNS, export, readiness
from airflow_provider_360dialog.jobs.manifest import Wanted
from airflow_provider_360dialog.jobs.plan import Order, PlanChannel, Planner
from airflow_provider_360dialog.ledger import campaigns as campaigns_module
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.campaigns import Campaigns, PlannedItem, good_until_of
from airflow_provider_360dialog.ledger.store import Store, _engine_for
from tests.ledger.doubles import NOW_SQL, START, StampedSource, Waiting, execute, file_of, ledger_of, new_id, together, upload

DAY = 86_400.0
SOON = START + 10 * DAY
HTML = ({"code": "content", "message": "It is a page.", "remedy": "Mend the generator."},)
NO_WORDS = {"mime_type": None, "filename": None, "kind": None}

NAMES = {
    "quotes": 'o\'brien "quoted"',
    "a statement": "x'); DROP TABLE d360_item; --",
    "wildcards and placeholders": "%_\\*?:name %(name)s ${x}",
    "other alphabets": "Grüße 🎉 ταχύτητα 你好 שלום",
    "marks that combine": "e\u0301\u0308",
    "250 letters": "n" * 250,
    "250 characters of four bytes": "🎉" * 250,
    "blanks around it": " leading and trailing ",
    "a path": "../../etc/passwd",
}
ALIKE = [
    "a",
    "A",
    "á",
    "a\u0301",
    "ä",
    "b",
    "B",
    "a b",
    "ab",
    "a-b",
    "a_b",
    "aa",
    " a",
    "a ",
    "ß",
    "ss",
    "10",
    "9",
    "1",
    "Z",
    "z",
    "😀",
]


@pytest.fixture
def campaigns(store):
    return Campaigns(store)


@pytest.fixture
def small_pages(monkeypatch):
    """Three rows each."""
    monkeypatch.setattr(campaigns_module, "_PAGE", 3)


def item(ledger, key, content=None, *, reasons=(), **more):
    """An item as a plan gives it; its file's content is its key unless said otherwise."""
    file = None if reasons else file_of(key if content is None else content, "application/pdf")
    facts = {"conn_id": "one", "uri": f"memory:{key}", "said": NO_WORDS, "filename": "voucher.pdf", "subject": None}
    return PlannedItem(channel_id=ledger.identity.channel_id, key=key, file=file, reasons=reasons, **facts | more)


def plan(campaigns, items, *, name="spring", needed_until=SOON):
    """A whole plan; the campaign as it stands then."""
    campaign = campaigns.begin_plan(name, needed_until)
    campaigns.record(campaign, items)
    campaigns.end_plan(campaign)
    return campaigns.find(name)


def keys(campaigns, name="spring"):
    """Of all items, as they come."""
    return [row.key for row in campaigns.rows(campaigns.find(name))]


def pending(campaigns, campaign, ledger):
    """URIs that have no id yet, page by page."""
    found, after = [], 0
    while page := campaigns.pending(campaign, ledger.identity.channel_id, after=after, limit=campaigns_module._PAGE):
        assert all(each.row > after for each in page), "it comes round for ever"
        found += [each.uri.removeprefix("memory:") for each in page]
        after = page[-1].row
    return found


def dying(campaigns, ledger, valid_until, **more):
    found, after = [], 0
    while page := campaigns.dying(ledger.identity.channel_id, valid_until=valid_until, after=after, **more):
        assert all(each.row > after for each in page), "it comes round for ever"
        found += [each.uri.removeprefix("memory:") for each in page]
        after = page[-1].row
    return found


def send(ledger, *contents):
    """Upload files, as any task would; their ids."""
    return [upload(ledger, file_of(content, "application/pdf")) for content in contents]


# --- plans --------------------------------------------------------------------------------------------------------


def test_a_campaign_that_was_never_planned_is_unknown(campaigns):
    with pytest.raises(CampaignUnknownError, match="'spring'"):
        campaigns.find("spring")


def test_a_plan_is_found_again_as_it_was_made(campaigns, ledger):
    """Each word of the user is there for the upload."""
    said = {"mime_type": "application/pdf", "filename": "a b.pdf", "kind": "document"}
    made = plan(campaigns, [item(ledger, "k", "text", said=said, subject="s", uri="s3://b/k")])
    assert (made.name, made.needed_until, made.plan, made.good_until) == ("spring", SOON, 1, SOON)
    (found,) = campaigns.pending(made, ledger.identity.channel_id)
    assert (found.uri, found.said, found.file) == ("s3://b/k", said, file_of("text", "application/pdf"))


def test_the_next_plan_lets_go_of_what_it_does_not_want(campaigns, ledger, small_pages):
    """However many pages of it there are; and says how many."""
    plan(campaigns, [item(ledger, f"k{i:02}") for i in range(20)])
    again = campaigns.begin_plan("spring", SOON + DAY)
    campaigns.record(again, [item(ledger, "k03"), item(ledger, "new")])
    assert len(keys(campaigns)) == 21
    assert campaigns.end_plan(again) == 19
    assert keys(campaigns) == ["k03", "new"]
    assert (campaigns.find("spring").plan, campaigns.find("spring").needed_until) == (2, SOON + DAY)
    assert campaigns.end_plan(again) == 0


def test_a_plan_of_nothing_leaves_an_empty_campaign(campaigns, ledger):
    plan(campaigns, [item(ledger, "k")])
    campaign = plan(campaigns, [])
    assert keys(campaigns) == []
    assert campaigns.work(campaign) == []


def test_a_plan_that_dies_drops_nothing(campaigns, ledger):
    """What the last whole plan wanted stands; a rerun, with the same items or others, has its own way in the end."""
    plan(campaigns, [item(ledger, "a"), item(ledger, "b")])
    campaigns.record(campaigns.begin_plan("spring", SOON), [item(ledger, "b"), item(ledger, "c")])  # SIGKILL
    assert keys(campaigns) == ["a", "b", "c"]
    plan(campaigns, [item(ledger, "b"), item(ledger, "d")])
    assert keys(campaigns) == ["b", "d"]


def test_of_one_key_given_twice_the_later_one_counts(campaigns, ledger):
    """In one page as in two; the item is still one."""
    campaign = campaigns.begin_plan("spring", SOON)
    campaigns.record(campaign, [item(ledger, "k", "1"), item(ledger, "l", "2"), item(ledger, "k", "3")])
    assert [row.sha256 for row in campaigns.rows(campaign)] == [file_of("3").sha256, file_of("2").sha256]
    campaigns.record(campaign, [item(ledger, "k", reasons=HTML), item(ledger, "l", "4", uri="elsewhere")])
    campaigns.end_plan(campaign)
    assert [(row.key, row.state, row.sha256) for row in campaigns.rows(campaign)] == [
        ("k", schema.REJECTED, None),
        ("l", schema.PLANNED, file_of("4").sha256),
    ]


def test_a_rejected_item_is_planned_again_once_its_file_is_mended(campaigns, ledger, store):
    """And nothing of the old reasons is left."""
    plan(campaigns, [item(ledger, "k", reasons=HTML)])
    campaign = plan(campaigns, [item(ledger, "k")])
    assert pending(campaigns, campaign, ledger) == ["k"]
    with store.read() as db:
        assert db.scalar(sa.select(schema.item.c.reason)) is None


def test_a_plan_replaces_every_word_of_an_item(campaigns, ledger, store):
    """Its row stays, for others may be reading on from it."""

    def row():
        with store.read() as db:
            return db.execute(sa.select(schema.item)).one()._asdict()

    plan(campaigns, [item(ledger, "k", said=dict.fromkeys(NO_WORDS, "a"), subject="a")])
    before = row()
    said = {"said": dict.fromkeys(NO_WORDS, "b"), "uri": "elsewhere", "subject": "b", "conn_id": "b", "filename": "b.pdf"}
    plan(campaigns, [item(ledger, "k", reasons=HTML, **said)])
    after = row()
    assert {name for name in before if before[name] == after[name]} == {"id", "campaign_id", "channel_id", "key"}


def test_thirty_plans_of_one_day_are_one(campaigns, ledger):
    """A backfill (needs F18)."""
    items = [item(ledger, f"k{i}") for i in range(5)]
    for _ in range(30):
        plan(campaigns, items)
    assert keys(campaigns) == [f"k{i}" for i in range(5)]


def test_one_file_under_two_names_is_one_upload(campaigns, ledger, store):
    """Its name belongs to the item (needs F75), its type to the file."""
    items = [item(ledger, "a", "same", filename="a.pdf"), item(ledger, "b", "same", filename="b.pdf")]
    campaign = plan(campaigns, items)
    (work,) = campaigns.work(campaign)
    assert (work.items, work.uploads, work.size_bytes) == (2, 1, len("same"))
    send(ledger, "same")
    assert [(row.key, row.filename) for row in campaigns.rows(campaign)] == [("a", "a.pdf"), ("b", "b.pdf")]
    assert len({row.media_id for row in campaigns.rows(campaign)}) == 1


# --- plans at once ------------------------------------------------------------------------------------------------


def steps(campaigns, items, *, size=10, name="spring"):
    """A plan in small pages, as a job makes it."""
    campaign = campaigns.begin_plan(name, SOON)
    for i in range(0, len(items), size):
        campaigns.record(campaign, items[i : i + size])
    campaigns.end_plan(campaign)


def plan_at(url, contents, at):
    """A worker's plan in a process of its own."""
    time.sleep(max(0.0, at - time.time()))
    store = Store(url, now_sql=NOW_SQL).open()
    ledger = ledger_of(store)
    steps(Campaigns(store), [item(ledger, f"k{content}", content) for content in contents])


def stand_once(url, count):
    """All items of a campaign and their files are there, each once."""
    assert execute(url, "SELECT count(*), count(DISTINCT key) FROM d360_item") == [(count, count)]
    assert execute(url, "SELECT count(*), count(DISTINCT sha256) FROM d360_fingerprint") == [(count, count)]


def test_plans_of_one_campaign_in_threads_leave_each_item_once(campaigns, ledger, url):
    """Whoever ends first (needs F17)."""
    items = [item(ledger, f"k{i}") for i in range(60)]
    together(6, lambda _: steps(campaigns, items))
    stand_once(url, 60)
    assert campaigns.find("spring").plan == 6


def test_plans_of_one_campaign_in_processes_leave_each_item_once(campaigns, ledger, url, processes):
    processes(plan_at, url, [str(i) for i in range(60)])
    stand_once(url, 60)


def test_plans_in_opposite_order_do_not_wait_for_each_other(campaigns, ledger, url):
    """Nobody locks crosswise: a deadlock would cost a second each time, and look like a ledger that is away."""
    for name in ("a", "b", "c"):
        items = [item(ledger, f"{name}{i:03}") for i in range(200)]
        orders = [items, items[::-1], items[100:] + items[:100], items[::-1][50:] + items[::-1][:50]]
        together(4, lambda i, orders=orders, name=name: steps(campaigns, orders[i], size=200, name=name))
    assert execute(url, "SELECT count(*) FROM d360_item") == [(600,)]


def test_what_the_later_plan_wants_stays_whoever_ends_last(campaigns, ledger):
    """An earlier one does not make it its own, and does not let it go."""
    plan(campaigns, [item(ledger, "old")])
    first, second = (campaigns.begin_plan("spring", SOON) for _ in range(2))
    campaigns.record(first, [item(ledger, "both"), item(ledger, "first")])
    campaigns.record(second, [item(ledger, "both"), item(ledger, "second")])
    campaigns.record(first, [item(ledger, "both")])
    campaigns.end_plan(first)
    assert keys(campaigns) == ["both", "first", "second"]
    campaigns.end_plan(second)
    assert keys(campaigns) == ["both", "second"]


def test_what_the_later_plan_wants_stays_though_the_earlier_one_writes_last(campaigns, ledger):
    """With the file that it gave (needs F77). Until the next plan there may be more than the later one wants, never less."""
    first, second = (campaigns.begin_plan("spring", SOON) for _ in range(2))
    campaigns.record(second, [item(ledger, "both", "new"), item(ledger, "second")])
    campaigns.end_plan(second)
    campaigns.record(first, [item(ledger, "both", "old"), item(ledger, "first")])
    campaigns.end_plan(first)
    assert keys(campaigns) == ["both", "first", "second"]
    assert next(campaigns.rows(first)).sha256 == file_of("new").sha256
    plan(campaigns, [item(ledger, "both"), item(ledger, "second")])
    assert keys(campaigns) == ["both", "second"]


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)  # on SQLite nobody can come between
def test_what_a_later_plan_wants_just_now_is_not_let_go(campaigns, ledger, store):
    """It comes between the look at what is old and its removal."""
    plan(campaigns, [item(ledger, "old"), item(ledger, "wanted")])
    ending = campaigns.begin_plan("spring", SOON)
    later = campaigns.begin_plan("spring", SOON)

    came = []

    def between(_db, _cursor, statement, *_):
        if statement.startswith("DELETE FROM d360_item") and not came:
            came.append(threading.Thread(target=campaigns.record, args=(later, [item(ledger, "wanted")])))
            came[0].start()
            came[0].join(10)
            assert not came[0].is_alive()

    sa.event.listen(_engine_for(store._url), "before_cursor_execute", between)
    assert campaigns.end_plan(ending) == 1
    assert came
    assert keys(campaigns) == ["wanted"]


def test_jobs_that_plan_the_same_files_in_opposite_order_do_not_wait_for_each_other(store, ledger):
    """For two campaigns; neither sees a ledger that is away, and a third reads no file again."""
    files = {
        f"s3://b/{i}": StampedSource(b"%PDF-1.7\n" + bytes([i]) + b"\nstartxref\n0\n%%EOF\n", f"{i}.pdf") for i in range(200)
    }
    for uri, source in files.items():
        source.uri = uri
    number = PlanChannel("one", ledger.identity.channel_id)

    def act(i):
        job = Planner(store, files.__getitem__, Waiting())
        asked = [Wanted(uri, uri) for uri in sorted(files, reverse=bool(i % 2))]
        found = job.plan(asked, Order(f"c{i}", SOON, {"one": number}), write_rejects=list)
        return found.channels[0].uploads, job.stop.waits_s

    assert together(4, act) == [(200, [])] * 4
    opened = sum(source.opened for source in files.values())
    assert act(5) == (200, [])
    assert sum(source.opened for source in files.values()) == opened


# --- what is ready ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needed_until", "good_until"),
    [
        pytest.param(START + 60, START + 60, id="needed for a minute"),
        pytest.param(START + 29 * DAY, START + 29 * DAY, id="as long as an upload of today is promised"),
        pytest.param(START + 29 * DAY + 1, START + 7 * DAY, id="longer than that: a week, and a refresh"),
        pytest.param(START + 365 * DAY, START + 7 * DAY, id="for a year"),
    ],
)
def test_how_long_an_id_has_to_be_safe(needed_until, good_until):
    assert good_until_of(needed_until, START) == good_until


def test_a_campaign_says_how_long_an_id_has_to_be_safe(campaigns, ledger, clock):
    """As of now; unless somebody asks for an instant of their own."""
    assert campaigns.begin_plan("spring", START + 30 * DAY).good_until == START + 7 * DAY
    clock.advance(DAY)
    assert campaigns.find("spring").good_until == START + 30 * DAY
    assert campaigns.find("spring", min_valid_until=START + 5).good_until == START + 5


def test_an_id_answers_as_long_as_the_campaign_needs_it(campaigns, ledger, clock):
    """Not a second less."""
    send(ledger, "k")
    clock.advance(5 * DAY)
    exactly = plan(campaigns, [item(ledger, "k")], needed_until=START + 29 * DAY)
    assert pending(campaigns, exactly, ledger) == []
    longer = plan(campaigns, [item(ledger, "k")], needed_until=START + 29 * DAY + 1)
    assert pending(campaigns, longer, ledger) == ["k"]


def test_an_id_for_a_far_campaign_answers_until_it_is_within_reach(campaigns, ledger, clock):
    """Then an upload can reach its end, and the old one does not (needs US-3)."""
    send(ledger, "k")
    campaign = plan(campaigns, [item(ledger, "k")], needed_until=START + 35 * DAY)
    assert pending(campaigns, campaign, ledger) == []
    clock.advance(6 * DAY + 1)
    campaign = campaigns.find("spring")
    assert pending(campaigns, campaign, ledger) == ["k"]
    send(ledger, "k")
    assert pending(campaigns, campaign, ledger) == []


def test_ids_of_other_campaigns_and_of_plain_uploads_answer_at_once(campaigns, ledger):
    """One logo for forty campaigns (needs US-2)."""
    made = [plan(campaigns, [item(ledger, f"k{i}", "logo")], name=f"c{i}") for i in range(40)]
    assert [campaigns.work(each)[0].uploads for each in made] == [1] * 40
    (media_id,) = send(ledger, "logo")
    for campaign in made:
        assert [row.media_id for row in campaigns.rows(campaign)] == [media_id]
        (work,) = campaigns.work(campaign)
        assert (work.ready, work.uploads, work.size_bytes) == (1, 0, 0)


def test_ids_that_are_not_current_answer_for_nothing(campaigns, ledger):
    campaign = plan(campaigns, [item(ledger, "k")])
    for state in (schema.DELETING, schema.DELETED, schema.GONE, schema.EXPIRED, schema.SURPLUS):
        (media_id,) = send(ledger, "k")
        assert pending(campaigns, campaign, ledger) == [], state
        ledger.uploads.mark(media_id, state)
        assert pending(campaigns, campaign, ledger) == ["k"], state
        assert [(row.media_id, row.safe_until) for row in campaigns.rows(campaign)] == [(None, None)], state
        assert campaigns.work(campaign)[0].ready == 0, state
        assert campaigns.ready_among([item(ledger, "k")], good_until=START) == set(), state
        assert readiness("spring", store=campaigns._store).missing == 1, state


def test_a_retiring_id_gives_way_to_the_newer_one(campaigns, ledger):
    campaign = plan(campaigns, [item(ledger, "k")])
    old, new = send(ledger, "k", "k")
    assert [row.media_id for row in campaigns.rows(campaign)] == [new]
    ledger.uploads.mark(new, schema.GONE)
    assert [row.media_id for row in campaigns.rows(campaign)] == [None], f"{old} does not come back"


def test_an_upload_under_way_is_not_ready(campaigns, ledger):
    campaign = plan(campaigns, [item(ledger, "k")])
    ledger.uploads.claim(file_of("k", "application/pdf"), ledger.claimant())
    assert pending(campaigns, campaign, ledger) == ["k"]


def test_channels_are_apart(campaigns, store, ledger):
    """The same file and key on two numbers: two items, two uploads, and an id of one does not answer for the other."""
    other = ledger_of(store, "100000000000002")
    campaign = plan(campaigns, [item(ledger, "k"), item(other, "k", conn_id="two"), item(other, "l", conn_id="two")])
    assert [(each.conn_id, each.items, each.uploads) for each in campaigns.work(campaign)] == [("two", 2, 2), ("one", 1, 1)]
    (media_id,) = send(ledger, "k")
    assert pending(campaigns, campaign, ledger) == []
    assert pending(campaigns, campaign, other) == ["k", "l"]
    assert [(row.conn_id, row.key, row.media_id) for row in campaigns.rows(campaign)] == [
        ("one", "k", media_id),
        ("two", "k", None),
        ("two", "l", None),
    ]
    assert [each.conn_id for each in campaigns.work(campaign, other.identity.channel_id)] == ["two"]
    asked = [item(ledger, "k"), item(other, "k")]
    assert campaigns.ready_among(asked, good_until=START) == {
        (ledger.identity.channel_id, file_of("k").sha256, "application/pdf")
    }


def test_another_type_is_another_file(campaigns, ledger):
    """The fingerprint is bytes and type."""
    campaign = plan(campaigns, [item(ledger, "k")])
    upload(ledger, file_of("k", "text/plain"))
    assert pending(campaigns, campaign, ledger) == ["k"]
    assert campaigns.ready_among([item(ledger, "k")], good_until=START) == set()


def test_work_is_counted_by_item_and_by_file(campaigns, ledger):
    """Uploads are files; what is ready or rejected is none."""
    items = [item(ledger, f"k{i}", f"file {i % 4}") for i in range(10)]
    campaign = plan(campaigns, [*items, item(ledger, "bad", reasons=HTML)])
    send(ledger, "file 0")
    (work,) = campaigns.work(campaign)
    assert (work.items, work.rejected, work.ready, work.uploads, work.size_bytes) == (11, 1, 3, 3, 18)


def test_a_page_follows_a_page_until_nothing_is_left(campaigns, ledger, store, small_pages):
    """Of items to upload as of items to export, over channels, ready and rejected ones between them."""
    other = ledger_of(store, "100000000000002")
    numbered = [f"k{i:02}" for i in range(20)]
    items = [item(each, key, reasons=HTML if key == "k07" else ()) for key in numbered for each in (ledger, other)]
    campaign = plan(campaigns, items)
    send(ledger, *numbered[9:13])
    assert pending(campaigns, campaign, ledger) == [key for key in numbered if key not in {"k07", *numbered[9:13]}]
    found = [(row.phone_number_id, row.key) for row in campaigns.rows(campaign)]
    assert found == [(number, key) for number in ("100000000000001", "100000000000002") for key in numbered]


def test_a_page_that_is_just_full_is_not_the_last(campaigns, ledger, small_pages):
    for count in (2, 3, 4, 6):
        plan(campaigns, [item(ledger, f"k{i}") for i in range(count)])
        assert keys(campaigns) == [f"k{i}" for i in range(count)]


def test_items_that_turn_ready_between_two_pages_move_no_other(campaigns, ledger):
    """Pages are cut by row, not by count."""
    campaign = plan(campaigns, [item(ledger, f"k{i}") for i in range(6)])
    first = campaigns.pending(campaign, ledger.identity.channel_id, limit=3)
    send(ledger, "k0", "k1", "k2", "k4")
    second = campaigns.pending(campaign, ledger.identity.channel_id, after=first[-1].row, limit=3)
    assert [each.uri for each in second] == ["memory:k3", "memory:k5"]


# --- what dies ----------------------------------------------------------------------------------------------------


def test_what_dies_before_an_instant_is_named_with_its_source(campaigns, ledger, clock, small_pages):
    """Only what living campaigns use, only what has an id (needs US-3)."""
    numbered = [f"k{i}" for i in range(8)]
    plan(campaigns, [*(item(ledger, key) for key in numbered), item(ledger, "none"), item(ledger, "bad", reasons=HTML)])
    plan(campaigns, [item(ledger, "over")], name="over", needed_until=START + DAY)
    send(ledger, *numbered, "over", "nobody's")
    clock.advance(2 * DAY)
    send(ledger, "k3")
    assert dying(campaigns, ledger, START + 29 * DAY) == []
    assert dying(campaigns, ledger, START + 29 * DAY + 1) == [key for key in numbered if key != "k3"]
    assert dying(campaigns, ledger, START + 31 * DAY + 1) == numbered


def test_what_dies_can_be_asked_for_one_campaign_and_one_channel(campaigns, ledger, store):
    other = ledger_of(store, "100000000000002")
    plan(campaigns, [item(ledger, "a"), item(other, "b")])
    plan(campaigns, [item(ledger, "c")], name="autumn")
    send(ledger, "a", "c")
    send(other, "b")
    for which, found in [({}, ["a", "c"]), ({"campaign": "autumn"}, ["c"]), ({"campaign": "none"}, [])]:
        assert dying(campaigns, ledger, START + 40 * DAY, **which) == found
    assert dying(campaigns, other, START + 40 * DAY) == ["b"]


# --- refused later ------------------------------------------------------------------------------------------------


def test_a_file_that_is_refused_rejects_its_items_and_no_others(campaigns, ledger, store):
    """Those of the same file at the same place, in this campaign and on this channel."""
    other = ledger_of(store, "100000000000002")
    same = {"content": "same", "uri": "memory:same"}
    items = [item(ledger, "a", **same), item(ledger, "b", **same), item(ledger, "c", "same"), item(other, "a", **same)]
    campaign = plan(campaigns, [*items, item(ledger, "d"), item(ledger, "e", "as another type", uri="memory:same")])
    autumn = plan(campaigns, [item(ledger, "a", **same)], name="autumn")
    campaigns.reject(campaigns.pending(campaign, ledger.identity.channel_id)[0], HTML)
    assert [row.key for row in campaigns.rows(campaign) if row.state == schema.PLANNED] == ["c", "d", "e", "a"]
    assert pending(campaigns, campaign, ledger) == ["c", "d", "same"]
    assert pending(campaigns, campaign, other) == ["same"]
    assert pending(campaigns, autumn, ledger) == ["same"]
    assert {each.conn_id: each.rejected for each in campaigns.work(campaign, ledger.identity.channel_id)} == {"one": 2}
    with store.read() as db:
        reasons = db.scalars(sa.select(schema.item.c.reason).where(schema.item.c.state == schema.REJECTED)).all()
    assert [json.loads(reason) for reason in reasons] == [list(HTML)] * 2


def test_a_rejected_item_is_not_ready_though_its_file_has_an_id(campaigns, ledger):
    """It may have been uploaded for somebody else."""
    campaign = plan(campaigns, [item(ledger, "k")])
    campaigns.reject(campaigns.pending(campaign, ledger.identity.channel_id)[0], HTML)
    send(ledger, "k")
    (work,) = campaigns.work(campaign)
    assert (work.ready, work.rejected) == (0, 1)
    assert readiness("spring", store=campaigns._store).missing == 1


# --- texts --------------------------------------------------------------------------------------------------------


def test_any_printable_text_is_a_name_and_a_key(campaigns, ledger, store):
    """It comes back as it was; nothing else is touched."""
    for what, text in NAMES.items():
        said = dict.fromkeys(NO_WORDS, text)
        words = {"uri": text, "conn_id": text, "filename": text}
        campaign = plan(campaigns, [item(ledger, text, subject=text, said=said, **words)], name=text)
        assert campaign.name == text, what
        (found,) = campaigns.pending(campaign, ledger.identity.channel_id)
        assert (found.uri, found.said) == (text, said), what
        (row,) = campaigns.rows(campaign)
        assert (row.key, row.conn_id, row.filename) == (text, text, text), what
        send(ledger, text)
    for what, text in NAMES.items():
        export(text, written := Written(), store=store)
        assert [json.loads(line)["key"] for line in written.lines] == [text], what


def test_keys_and_names_that_look_alike_are_apart(campaigns, ledger, small_pages):
    """Through all pages, in whatever order the database sorts them."""
    for name in ALIKE:
        plan(campaigns, [item(ledger, key, f"{name}/{key}") for key in ALIKE], name=name)
    for name in ALIKE:
        found = keys(campaigns, name)
        assert sorted(found) == sorted(ALIKE)
    assert len({campaigns.find(name).row for name in ALIKE}) == len(ALIKE)


def test_a_name_that_no_plan_accepts_is_unknown(campaigns, ledger):
    """The database is not asked: what is no text would fail in its driver."""
    for text in ("\ud800", "a\udcffb", "nul\0byte", "a\nb"):
        with pytest.raises(CampaignUnknownError):
            campaigns.find(text)


# --- what was exported --------------------------------------------------------------------------------------------


class Written:
    """Takes an export, as a file would; whole or not at all."""

    def __init__(self, meanwhile=None):
        self.lines, self.times, self.versions, self._meanwhile = [], 0, [], meanwhile

    def __call__(self, lines, version):
        if self._meanwhile:
            self._meanwhile()
        found = list(lines)
        self.lines, self.times = found, self.times + 1
        self.versions.append(version)
        return len(found), hashlib.sha256("".join(f"{line}\n" for line in found).encode()).hexdigest()


@pytest.fixture
def written():
    return Written()


def test_the_version_grows_with_what_is_exported(campaigns, ledger):
    """Not with how often."""
    campaign = plan(campaigns, [item(ledger, "k")])
    assert [campaigns.note_export(campaign, sha256) for sha256 in ("a", "a", "b", "b", "a")] == [1, 1, 2, 2, 3]
    other = plan(campaigns, [], name="other")
    assert campaigns.note_export(other, "a") == 1
    plan(campaigns, [item(ledger, "k")])
    assert campaigns.note_export(campaign, "a") == 3, "a plan changes nothing of it"


def test_exports_at_once_have_a_version_for_each_content(campaigns, ledger):
    campaign = plan(campaigns, [])
    assert together(6, lambda _: campaigns.note_export(campaign, "same")) == [1] * 6
    assert sorted(together(6, lambda i: campaigns.note_export(campaign, f"other {i}"))) == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("as_csv", [False, True], ids=["jsonl", "csv"])
def test_the_same_ids_give_the_same_bytes(as_csv, campaigns, ledger, store, clock, small_pages):
    """However often, however planned; another id gives another version."""
    numbered = [f"k{i}" for i in range(7)]
    plan(campaigns, [item(ledger, key) for key in numbered])
    send(ledger, *numbered)
    first, again = Written(), Written()
    made = export("spring", first, store=store, as_csv=as_csv)
    clock.advance(60)
    plan(campaigns, [item(ledger, key) for key in reversed(numbered)])
    assert export("spring", again, store=store, as_csv=as_csv).version == made.version == 1
    assert again.lines == first.lines
    send(ledger, "k3")
    assert export("spring", again, store=store, as_csv=as_csv).version == 2
    assert [a == b for a, b in zip(first.lines, again.lines, strict=True)].count(False) == 1


def test_both_forms_say_the_same(campaigns, ledger, store):
    """Also where a key holds what a CSV has to quote."""
    odd = ['a,"b"', "semi;colon", "=1+1", " blank ", "'", "ü🎉", "line\u2028end"]
    plan(campaigns, [item(ledger, key) for key in odd])
    ids = dict(zip(odd, send(ledger, *odd), strict=True))
    as_jsonl, as_csv = Written(), Written()
    made = export("spring", as_jsonl, store=store)
    export("spring", as_csv, store=store, as_csv=True)
    rows = [json.loads(line) for line in as_jsonl.lines]
    assert list(csv.DictReader(line + "\n" for line in as_csv.lines)) == rows
    assert {row["key"]: row["media_id"] for row in rows} == ids
    assert list(rows[0]) == list(COLUMNS)
    by_key = {row["key"]: row for row in rows}
    assert by_key["'"] == {
        "key": "'",
        "channel": "one",
        "phone_number_id": "100000000000001",
        "media_id": ids["'"],
        "mime_type": "application/pdf",
        "filename": "voucher.pdf",
        "sha256": file_of("'").sha256,
        "safe_until": datetime.fromtimestamp(START + 29 * DAY, UTC).isoformat(),
    }
    assert (made.readiness.items, made.readiness.rows, made.readiness.missing) == (7, 7, 0)
    assert made.readiness.min_safe_until == datetime.fromtimestamp(START + 29 * DAY, UTC)


def test_an_unknown_campaign_is_not_exported(store, written):
    for ask in (lambda: export("none", written, store=store), lambda: readiness("none", store=store)):
        with pytest.raises(CampaignUnknownError):
            ask()
    assert written.times == 0


def test_nothing_is_written_where_an_item_is_missing(campaigns, ledger, store, written):
    """Unless that is asked for; then the rest, with the count of what is missing."""
    plan(campaigns, [item(ledger, "a"), item(ledger, "b"), item(ledger, "c", reasons=HTML)])
    send(ledger, "a")
    with pytest.raises(CampaignIncompleteError) as caught:
        export("spring", written, store=store)
    assert (caught.value.missing, caught.value.rejected, caught.value.items) == (2, 1, 3)
    assert caught.value.retryable
    assert written.times == 0
    made = export("spring", written, store=store, require_complete=False)
    assert [json.loads(line)["key"] for line in written.lines] == ["a"]
    assert (made.readiness.missing, made.readiness.rejected, made.readiness.rows) == (2, 1, 1)


def test_an_empty_campaign_is_not_complete(campaigns, store, written):
    """A manifest that was empty by mistake must not start a send."""
    plan(campaigns, [])
    with pytest.raises(CampaignIncompleteError):
        export("spring", written, store=store)
    assert export("spring", written, store=store, require_complete=False, as_csv=True).readiness.min_safe_until is None
    assert written.lines == [",".join(COLUMNS)]


def test_an_export_that_becomes_incomplete_on_its_way_is_not_published(campaigns, ledger, store):
    """An id dies, or a plan adds an item, between the look and the writing."""
    plan(campaigns, [item(ledger, "a"), item(ledger, "b")])
    dies = send(ledger, "a", "b")[1]
    written = Written(lambda: ledger.uploads.mark(dies, schema.GONE))
    with pytest.raises(CampaignIncompleteError):
        export("spring", written, store=store)
    assert written.times == 0
    written = Written()
    assert export("spring", written, store=store, require_complete=False).version == 1, "nothing was noted"


def test_only_ids_that_are_safe_until_then_count(campaigns, ledger, store, written):
    """``min_valid_until`` takes the place of the campaign's own need, also where that is less or more."""
    plan(campaigns, [item(ledger, "k")], needed_until=START + DAY)
    send(ledger, "k")
    for until in (START, START + 29 * DAY):
        assert readiness("spring", store=store, min_valid_until=until).is_complete
        assert export("spring", written, store=store, min_valid_until=until).readiness.rows == 1
    for until in (START + 29 * DAY + 1, START + 40 * DAY):
        assert not readiness("spring", store=store, min_valid_until=until).is_complete
        with pytest.raises(CampaignIncompleteError):
            export("spring", written, store=store, min_valid_until=until)
    assert written.times == 2
    assert readiness("spring", store=store).is_complete


def test_an_export_is_never_held_whole(campaigns, ledger, store, small_pages, monkeypatch):
    """It asks for the next page when the last one is written."""
    numbered = [f"k{i}" for i in range(9)]
    plan(campaigns, [item(ledger, key) for key in numbered])
    send(ledger, *numbered)
    pages = itertools.count()
    read = Store.read

    def counted(self):
        next(pages)
        return read(self)

    monkeypatch.setattr(Store, "read", counted)

    def write(lines, _version):
        begun = next(pages)
        assert [next(lines) for _ in range(3)]
        assert next(pages) == begun + 2, "one page for three lines"
        return len(list(lines)), new_id()

    assert export_module.export("spring", write, store=store).readiness.rows == 9


# --- size ---------------------------------------------------------------------------------------------------------

MANY = 20_000
_POPULATE = """
INSERT INTO d360_campaign (id, name, needed_until, plan, created_at) VALUES (7, 'many', {soon}, 1, 0), (8, 'more', {soon}, 1, 0);
INSERT INTO d360_fingerprint (id, channel_id, sha256, mime_type, size_bytes, media_row)
    SELECT i, {channel}, 'sha' || i, 'application/pdf', 10, i FROM ({numbers}) AS n;
INSERT INTO d360_media (id, channel_id, fingerprint_id, media_id, state, state_since, uploaded_at, safe_until)
    SELECT i, {channel}, i, 'm' || i, 'current', 0, 0, {soon} FROM ({numbers}) AS n;
INSERT INTO d360_item (id, campaign_id, channel_id, conn_id, key, uri, fingerprint_id, state, plan)
    SELECT i, 7 + i % 2, {channel}, 'one', 'k' || (1000000 + i), 'u', i, 'planned', 1 FROM ({numbers}) AS n;
UPDATE d360_fingerprint SET media_row = NULL WHERE id > {ready}
"""


@pytest.fixture
def many(url, engine, ledger, campaigns):
    """20,000 items in two campaigns; all have an id but the last ten."""
    if engine == "sqlite":
        numbers = f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {MANY}) SELECT i FROM c"
    else:
        numbers = f"SELECT i FROM generate_series(1, {MANY}) AS i"
    facts = {"soon": SOON, "channel": ledger.identity.channel_id, "numbers": numbers, "ready": MANY - 10}
    for statement in _POPULATE.split(";"):
        execute(url, statement.format(**facts))
    return campaigns.find("many")


def everything(campaigns, campaign, ledger):
    """Question -> how it is asked, for the last part of the campaign."""
    channel_id = ledger.identity.channel_id
    rows = campaigns.rows(campaign)
    last = PlannedItem(channel_id, "one", f"k{1_000_000 + MANY}", "u", NO_WORDS, None, None, file_of("x"))
    return {
        "pending": lambda: campaigns.pending(campaign, channel_id),
        "rows": lambda: [next(rows) for _ in range(600)],
        "dying": lambda: campaigns.dying(channel_id, valid_until=SOON + 1),
        "dying of one": lambda: campaigns.dying(channel_id, valid_until=SOON + 1, campaign="many"),
        "reject": lambda: campaigns.reject(campaigns.pending(campaign, channel_id)[0], HTML),
        "ready_among": lambda: campaigns.ready_among([last], good_until=SOON),
        "record": lambda: campaigns.record(campaign, [last]),
        "end_plan": lambda: campaigns.end_plan(campaign),
        "work": lambda: campaigns.work(campaign),
    }


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_no_question_reads_all_items(campaigns, ledger, store, url, many):
    """Items are found by an index that begins with their campaign or their file: EXPLAIN QUERY PLAN over 20,000 of them."""
    asked = []
    engine = _engine_for(store._url)

    def note(_db, _cursor, statement, parameters, *_):
        if "d360_item" in statement:
            asked.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    for ask in everything(campaigns, many, ledger).values():
        ask()
    sa.event.remove(engine, "before_cursor_execute", note)
    assert len(asked) >= 9
    with sqlite3.connect(url.removeprefix("sqlite:///")) as db:
        looked = 0
        for statement, parameters in asked:
            one = parameters[0] if isinstance(parameters, list) else parameters
            for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}", one):
                if not re.match(r"(SCAN|SEARCH) d360_item\b", step):
                    continue
                looked += 1
                by = re.search(r"\((campaign_id|fingerprint_id|rowid|id)=\?", step)
                assert step.startswith("SEARCH") and by, f"{step}: {statement}"  # noqa: PT018 - one sentence
    assert looked >= 9


def test_few_items_are_found_among_many(campaigns, ledger, many):
    """A rerun that finds five to do out of 10,000; and generous bounds for those who have to look at all."""
    channel_id = ledger.identity.channel_id

    def cost_s(act):
        begun = time.perf_counter()
        act()
        return time.perf_counter() - begun

    assert len(campaigns.pending(many, channel_id)) == 5
    assert campaigns.dying(channel_id, valid_until=SOON) == []
    assert min(cost_s(lambda: campaigns.dying(channel_id, valid_until=SOON)) for _ in range(3)) < 0.05
    assert min(cost_s(lambda: campaigns.pending(many, channel_id)) for _ in range(3)) < 0.5
    assert cost_s(lambda: list(campaigns.rows(many))) < 5
    assert cost_s(lambda: campaigns.work(many)) < 2
