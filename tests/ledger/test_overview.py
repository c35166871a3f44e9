"""What a person is shown of a ledger, on both engines: the same numbers as those who act upon it have, as far as they are looked at."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import CampaignUnknownError
from airflow_provider_360dialog.ledger import arrivals, bounded, overview, progress, rejects, schema
from airflow_provider_360dialog.ledger.bounded import Count, count_ranges, total
from airflow_provider_360dialog.ledger.campaign_runs import Presence
from airflow_provider_360dialog.ledger.campaigns import Campaigns, PlannedItem
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.decisions import MEDIA_LIFE_S, SAFETY_MARGIN_S
from airflow_provider_360dialog.ledger.inbound import LIFE_S
from airflow_provider_360dialog.ledger.intake import Arrival
from airflow_provider_360dialog.ledger.overview import Overview
from airflow_provider_360dialog.ledger.rejects import without_persons
from airflow_provider_360dialog.ports import DagRun, Policy
from tests.ledger.doubles import START, file_of, ledger_of, upload

HOUR_S, DAY_S = 3600.0, 86_400.0
NO_WORDS = {"mime_type": None, "filename": None, "kind": None}
LARGE = {"code": "image_too_large", "message": "It has 6,291,456 bytes.", "remedy": "Save it smaller."}
EMPTY = {"code": "file_empty", "message": "It is empty.", "remedy": ""}


@pytest.fixture
def look(store):
    return Overview(store)


@pytest.fixture
def plan(store):
    """A campaign: channel -> files, or reasons in place of one."""

    def make(name, wanted, *, needed_in_s=DAY_S, complete=True):
        campaigns = Campaigns(store)
        campaign = campaigns.begin_plan(name, START + needed_in_s)
        items = [_item(ledger, n, what) for ledger, files in wanted.items() for n, what in enumerate(files)]
        campaigns.record(campaign, items)
        if complete:
            campaigns.end_plan(campaign)
        return campaign

    return make


def _item(ledger, n, what):
    file, reasons = (None, (what,)) if isinstance(what, dict) else (what, ())
    key = f"4917012{n:06}"
    place = {"channel_id": ledger.identity.channel_id, "conn_id": "c", "key": key, "uri": f"s3://b/{key}.jpg"}
    return PlannedItem(**place, said=NO_WORDS, filename=None, subject=None, file=file, reasons=reasons)


def files(count, prefix="f"):
    return [file_of(f"{prefix}{n}") for n in range(count)]


def every(page_of, limit):
    """All rows, page by page, and how many pages those were."""
    found, after = [], None
    pages = 0
    while after is not None or not pages:
        page = page_of(after, limit)
        assert len(page.rows) <= limit
        found += page.rows
        after, pages = page.after, pages + 1
    return found, pages


# --- channels -----------------------------------------------------------------------------------------------------


def test_a_ledger_with_nothing_in_it_has_nothing_to_show(look):
    assert look.channels().rows == look.campaigns().rows == look.campaigns(ended=True).rows == look.inbound().rows == ()


@pytest.mark.parametrize(
    "policy", [{}, {"throttle": "documented"}, {"error_budget": 2}, {"error_budget": 3, "throttle": "documented"}]
)
@pytest.mark.parametrize("events", ["", "h", "s", "ss", "ssss", "shh", "b", "sb", "sss~", "w", "hhhh", "b~", "b~s"])
def test_the_error_budget_is_the_one_that_get_requests_meet(look, ledger, clock, store, policy, events):
    """h: a GET is under way; s: one failed; b: a block is seen; w: a webhook's URL failed; ~: an hour passes."""
    Channels(store).speak("c", "https://h", ledger.identity, Policy(**policy))
    for event in events:
        if event == "~":
            clock.advance(HOUR_S + 1)
        elif event == "b":
            ledger.ration.close(for_s=600)
        else:
            held = ledger.ration.hold(for_s=60, by_webhook_url=event == "w")
            if event != "h" and isinstance(held, int):
                ledger.ration.spend(held)
    (shown,) = look.channels().rows
    decision, now = ledger.ration.retrieval()
    assert shown.credits_left == ledger.ration.credits_left()
    assert shown.closed_until == getattr(decision, "until", None)
    assert shown.is_blocked == ("b" in events.rpartition("~")[2])
    assert look.channels().now == now
    assert shown.credits >= shown.credits_left


def test_a_channel_obeys_its_strictest_connection_of_the_last_hour(look, ledger, clock, store):
    channels = Channels(store)
    channels.speak("slow", "https://h", ledger.identity, Policy(uploads_per_second=5, error_budget=1))
    clock.advance(HOUR_S + 1)
    channels.speak("quick", "https://h", ledger.identity, Policy(uploads_per_second=12))
    (shown,) = look.channels().rows
    assert (shown.pace_per_s, shown.line_per_s, shown.credits) == (12, 12, 4)
    assert [(each.conn_id, each.used_at) for each in shown.connections if each.used_at] == [
        ("quick", START + HOUR_S + 1),
        ("slow", START),
    ]


def test_the_pace_is_the_one_that_uploads_meet(look, ledger, clock):
    ledger.ration.reserve()
    clock.advance(60)
    rate = ledger.ration.refused(pause_s=30)
    (shown,) = look.channels().rows
    assert (shown.pace_per_s, shown.paused_until) == (rate, clock.now + 30)
    assert shown.pace_per_s <= shown.line_per_s < 24.5
    clock.advance(31)
    (later,) = look.channels().rows
    assert later.paused_until is None
    assert later.pace_per_s > later.line_per_s == shown.line_per_s


def test_of_a_number_the_last_two_digits_are_shown(look, ledger, store):
    Channels(store).freeze(ledger.identity, "number 100000000000001 now belongs to https://h/x")
    (shown,) = look.channels().rows
    assert shown.ends_in == "01"
    assert shown.frozen_because == "number …01 now belongs to (address)"
    assert "100000000000001" not in repr(replace(shown, connections=()))  # here a connection is named after it


def test_ids_die_on_their_day(look, ledger, clock):
    """Safe for 29 days from the upload; what is retired, deleted or over is not alive."""
    upload(ledger, file_of("old"))
    clock.advance(20 * DAY_S)
    for n in range(3):
        upload(ledger, file_of(str(n)))
    dead = upload(ledger, file_of("dead"))
    ledger.uploads.mark(dead, schema.GONE)
    upload(ledger_of_another(ledger), file_of("0"))
    shown = look.channels().rows[0]
    assert {day: count.number for day, count in enumerate(shown.dying) if count.number} == {9: 1, 29: 3}
    assert shown.live == Count(4)
    clock.advance(9 * DAY_S + 1)
    shown = look.channels().rows[0]
    assert {day: count.number for day, count in enumerate(shown.dying) if count.number} == {19: 3}
    assert shown.live == Count(3)


def ledger_of_another(ledger):
    return ledger_of(ledger.store, "100000000000002")


def test_so_many_ids_are_counted_and_no_more(look, ledger, monkeypatch):
    """Then the count says that there are more."""
    for n in range(12):
        upload(ledger, file_of(str(n)))
    monkeypatch.setattr(overview, "_MEDIA_BUDGET", 5)
    (shown,) = look.channels().rows
    assert shown.live == Count(5, "at_least")
    assert shown.dying[29] == Count(5, "at_least")
    assert shown.dying[28] == Count(0)


def test_channels_come_in_pages(look, store):
    for n in range(7):
        ledger_of(store, f"20000000000000{n}")
    found, pages = every(look.channels, 3)
    assert [each.ends_in for each in found] == [f"0{n}" for n in range(7)]
    assert pages == 3
    assert [each.ends_in for each in every(look.inbound, 3)[0]] == [f"0{n}" for n in range(7)]


@pytest.mark.parametrize("after", ["x", "-1", "1-", "1-2-3", " 1", "١", "9" * 19, ""])
def test_what_is_no_place_in_a_list_is_refused(look, after):
    for page_of in (look.channels, look.campaigns, look.inbound):
        with pytest.raises(ValueError, match="not where a page begins"):
            page_of(after)


# --- campaigns ----------------------------------------------------------------------------------------------------


def test_a_campaign_is_as_far_as_those_who_upload_for_it_find_it(look, ledger, plan, store, clock):
    """Items by what became of them; a file that two items share is one upload."""
    other = ledger_of_another(ledger)
    first, second = files(6), files(3, "g")
    campaign = plan("spring", {ledger: [*first, first[5], LARGE], other: [*second, EMPTY, EMPTY]})
    for file in first[:4]:
        upload(ledger, file)
    upload(other, second[0])
    shown = look.campaign("spring")
    found = Campaigns(store).work(Campaigns(store).find("spring"))
    assert [(each.row, each.progress.items.number, each.progress.rejected.number) for each in shown.channels] == [
        (work.channel_id, work.items, work.rejected) for work in found
    ]
    for part, work in zip(shown.channels, found, strict=True):
        assert part.progress.done == Count(work.ready)
        assert part.progress.left == Count(work.items - work.rejected - work.ready)
        assert (part.progress.uploads, part.progress.size_bytes) == (Count(work.uploads), Count(work.size_bytes))
        assert part.eta_s == pytest.approx(work.uploads / part.line_per_s)
    whole = shown.progress
    assert (whole.items, whole.rejected, whole.done, whole.left, whole.uploads) == tuple(map(Count, (13, 3, 5, 5, 4)))
    assert shown.planned_at == START
    assert (shown.version, shown.row) == (0, campaign.row)
    parts = tuple(replace(each, safe_until=None, safe_until_is_exact=False) for each in shown.channels)
    assert look.campaigns().rows == (replace(shown, safe_until=None, safe_until_is_exact=False, channels=parts),)


def test_an_id_that_is_not_safe_for_long_enough_does_not_count(look, ledger, plan, clock):
    upload(ledger, file_of("a"))
    clock.advance(20 * DAY_S)
    plan("soon", {ledger: [file_of("a")]}, needed_in_s=28 * DAY_S)
    plan("late", {ledger: [file_of("a")]}, needed_in_s=30 * DAY_S)
    assert look.campaign("soon").progress.done == Count(1)
    assert look.campaign("late").progress.left == Count(1)


def test_an_id_that_does_not_count_says_nothing_of_how_long_the_others_are_safe(look, ledger, plan, clock):
    upload(ledger, file_of("old"))
    clock.advance(20 * DAY_S)
    upload(ledger, file_of("new"))
    plan("late", {ledger: [file_of("old"), file_of("new")]}, needed_in_s=30 * DAY_S)
    shown = look.campaign("late")
    assert (shown.progress.left, shown.safe_until) == (Count(1), clock.now + 29 * DAY_S)


@pytest.mark.parametrize("steps", [2000, 20])
def test_a_campaign_is_safe_until_its_first_id_is_not(look, plan, ledger, clock, steps, monkeypatch):
    """As the export says it; where it is not found in so many steps, it is safe at least until the last of them."""
    monkeypatch.setattr(progress, "_STEPS_BUDGET", steps)
    others, wanted = files(15, "other "), files(5)
    plan("another", {ledger: others})
    for file in others:
        upload(ledger, file)
        clock.advance(60)
    for file in wanted:
        upload(ledger, file)
        clock.advance(60)
    campaign = plan("spring", {ledger: wanted})
    shown = look.campaign("spring")
    with ledger.store.read() as db:
        first = db.scalar(
            sa.select(sa.func.min(schema.media.c.safe_until)).where(
                schema.media.c.fingerprint_id.in_(
                    sa.select(schema.item.c.fingerprint_id).where(schema.item.c.campaign_id == campaign.row)
                )
            )
        )
    assert (shown.safe_until, shown.safe_until_is_exact) == (first, True)
    monkeypatch.setattr(progress, "_STEPS_BUDGET", 1)
    bound = look.campaign("spring")
    assert not bound.safe_until_is_exact
    assert START < bound.safe_until < first


def test_each_channel_is_safe_until_its_own_first_id_is_not(look, ledger, store, plan, clock):
    other, third = ledger_of(store, "200000000000002"), ledger_of(store, "200000000000003")
    plan("spring", {ledger: files(3), other: files(3), third: files(1)})
    for each in (ledger, other):
        for file in files(3):
            upload(each, file)
            clock.advance(60)
    shown = look.campaign("spring")
    safe = {each.row: (each.safe_until, each.safe_until_is_exact) for each in shown.channels}
    first = START + MEDIA_LIFE_S - SAFETY_MARGIN_S
    assert safe == {
        ledger.identity.channel_id: (first, True),
        other.identity.channel_id: (first + 180, True),
        third.identity.channel_id: (None, False),
    }
    assert (shown.safe_until, shown.safe_until_is_exact) == (first, True)


def test_who_is_at_a_campaign_is_told_on_its_page_and_in_the_list(look, ledger, plan, store):
    """On both at once, and of no other campaign."""
    campaign = plan("spring", {ledger: files(1)})
    plan("autumn", {ledger: files(1)})
    with Presence(store, campaign.row, ledger.identity.channel_id, DagRun("vouchers", "monday")).told():
        assert {each.name: each.is_running for each in look.campaigns().rows} == {"spring": True, "autumn": False}
        shown = look.campaign("spring")
        assert (shown.is_running, [(each.dag_id, each.run_id) for each in shown.runs]) == (True, [("vouchers", "monday")])
    shown = look.campaign("spring")
    assert (shown.is_running, [each.is_running for each in shown.runs]) == (False, [False])
    assert look.campaign("autumn").runs == ()


def test_a_refused_key_is_told_until_one_is_accepted(look, ledger, store, clock):
    """Of the connection that has it, at the host where that was."""
    channels = Channels(store)
    channels.speak("north", "https://h", ledger.identity, Policy())
    channels.speak("south", "https://h", ledger.identity, Policy())

    def told():
        (channel,) = look.channels().rows
        return {each.conn_id: (each.key_refused_at, each.key_refused_status) for each in channel.connections}

    clock.advance(7)
    channels.key_refused("north", "https://h", 401)
    channels.key_refused("south", "https://another", 401)
    assert {name: at for name, at in told().items() if at[0]} == {"north": (START + 7, 401)}
    channels.key_accepted("south", "https://h")
    channels.key_accepted("north", "https://another")
    assert told()["north"] == (START + 7, 401)
    channels.key_accepted("north", "https://h")
    assert told()["north"] == (None, None)


def test_nothing_done_is_safe_until_never(look, ledger, plan):
    plan("spring", {ledger: files(2)})
    assert look.campaign("spring").safe_until is None


def test_nothing_is_sent_for_a_frozen_channel_so_it_is_never_ready(look, ledger, plan, store):
    plan("spring", {ledger: files(2), ledger_of_another(ledger): files(1)})
    Channels(store).freeze(ledger.identity, "moved")
    shown = look.campaign("spring")
    assert shown.eta_s is None
    assert [(each.is_frozen, each.eta_s is None) for each in shown.channels] == [(True, True), (False, False)]


def test_a_pause_is_waited_for_before_the_rest_is_uploaded(look, ledger, plan):
    plan("spring", {ledger: files(10)})
    ledger.ration.reserve()
    ledger.ration.refused(pause_s=60)
    (part,) = look.campaign("spring").channels
    assert part.eta_s == pytest.approx(60 + 10 / part.line_per_s)


@pytest.mark.parametrize("done", [0, 30, 200, 400])
def test_of_a_large_campaign_a_sample_tells_about_how_far_it_is(look, ledger, plan, monkeypatch, done, store):
    """Uploads go in the order of the items, and so does the sample: it is off by less than one of its steps."""
    other = ledger_of_another(ledger)
    wanted = files(400)
    plan("spring", {ledger: [*wanted, *[LARGE] * 50], other: files(400)})
    made = {each.sha256: each for each in wanted}
    with store.read() as db:
        in_order = [row.sha256 for row in db.execute(sa.select(schema.fingerprint.c.sha256).join_from(
            schema.item, schema.fingerprint, schema.item.c.fingerprint_id == schema.fingerprint.c.id
        ).where(schema.item.c.channel_id == ledger.identity.channel_id).order_by(schema.item.c.id))]  # fmt: skip
    _bulk_upload(store, ledger, [made[sha256] for sha256 in in_order[:done]])
    monkeypatch.setattr(overview, "_ITEMS_BUDGET", 40)
    monkeypatch.setattr(progress, "_SAMPLE_BUDGET", 40)
    monkeypatch.setattr(progress, "_COUNT_BUDGET", 200)
    shown = next(each for each in look.campaign("spring").channels if each.row == ledger.identity.channel_id).progress
    assert {each.sure for each in (shown.items, shown.done, shown.left, shown.uploads)} == {"about"}
    assert shown.items.number == pytest.approx(450, rel=0.05)
    assert shown.done.number == pytest.approx(done, abs=400 / 20 + 1)
    assert shown.done.number + shown.left.number == pytest.approx(400, rel=0.05)
    assert shown.uploads == shown.left


def _bulk_upload(store, ledger, wanted):
    """Their current ids, all at once; one by one they take too long."""
    with store.write() as db:
        of = sa.select(schema.fingerprint.c.id).where(
            schema.fingerprint.c.sha256.in_([each.sha256 for each in wanted]),
            schema.fingerprint.c.channel_id == ledger.identity.channel_id,
        )
        facts = {"channel_id": ledger.identity.channel_id, "state": schema.CURRENT, "state_since": START, "uploaded_at": START}
        rows = [
            {"fingerprint_id": row, "media_id": f"9{row}", "safe_until": START + 29 * DAY_S} | facts for row in db.scalars(of)
        ]
        if rows:
            db.execute(schema.media.insert(), rows)
            own = sa.select(schema.media.c.id).where(schema.media.c.fingerprint_id == schema.fingerprint.c.id).scalar_subquery()
            db.execute(schema.fingerprint.update().values(media_row=own).where(schema.fingerprint.c.id.in_(of)))


def test_a_campaign_with_more_channels_than_are_looked_at_has_at_least_so_much(look, store, plan, monkeypatch):
    ledgers = [ledger_of(store, f"20000000000000{n}") for n in range(4)]
    plan("wide", {each: files(2) for each in ledgers})
    plan("narrow", {ledgers[0]: files(2)})
    monkeypatch.setattr(progress, "MOST_LANES", 5)
    shown = {each.name: each for each in look.campaigns().rows}
    assert shown["narrow"].has_all_channels
    assert shown["narrow"].progress.items == Count(2)
    assert not shown["wide"].has_all_channels
    assert shown["wide"].progress.items.sure == "at_least"


def test_what_is_needed_soonest_stands_first_and_what_has_ended_apart(look, ledger, plan, clock):
    for n, hours in enumerate((5, 3, 9, 3, -2, -7, -2)):
        plan(f"c{n}", {ledger: files(1)}, needed_in_s=hours * HOUR_S)
    for limit in (1, 2, 50):
        assert [each.name for each in every(look.campaigns, limit)[0]] == ["c1", "c3", "c0", "c2"]
        ended, _ = every(lambda after, limit: look.campaigns(after, limit, ended=True), limit)
        assert [each.name for each in ended] == ["c6", "c4", "c5"]


@pytest.mark.parametrize("name", ["unknown", "", "a\nb", "\x00"])
def test_a_campaign_that_was_never_planned_is_unknown(look, ledger, plan, name):
    plan("spring", {ledger: files(1)})
    for ask in (look.campaign, look.rejects, look.reject_reasons):
        with pytest.raises(CampaignUnknownError):
            ask(name)


# --- rejects ------------------------------------------------------------------------------------------------------


def test_rejected_items_come_in_pages_and_name_nobody(look, ledger, plan):
    other = ledger_of_another(ledger)
    campaign = plan("spring", {other: [LARGE, LARGE, file_of("g")]})  # whose rows come before those of the first channel
    Campaigns(ledger.store).record(campaign, [_item(ledger, n, what) for n, what in enumerate([EMPTY, *files(3), LARGE, EMPTY])])
    plan("summer", {ledger: [EMPTY] * 4})
    for limit in (1, 2, 3, 50):
        found, _ = every(lambda after, limit: look.rejects("spring", after, limit), limit)
        assert [each.ends_in for each in found] == ["01"] * 3 + ["02"] * 2
        assert [each.reasons[0].code for each in found] == [
            "file_empty",
            "image_too_large",
            "file_empty",
            "image_too_large",
            "image_too_large",
        ]
        assert len({each.row for each in found}) == 5
        assert "4917012" not in repr(found)
        assert "s3://" not in repr(found)


def test_reasons_are_counted_the_most_frequent_first(look, ledger, plan, monkeypatch):
    plan("spring", {ledger: [EMPTY, *files(3), LARGE], ledger_of_another(ledger): [LARGE, LARGE]})
    found = look.reject_reasons("spring")
    assert [(each.reason.code, each.reason.remedy, each.count) for each in found] == [
        ("image_too_large", "Save it smaller.", Count(3)),
        ("file_empty", "", Count(1)),
    ]
    monkeypatch.setattr(rejects, "_REASONS_BUDGET", 2)
    assert {each.count.sure for each in look.reject_reasons("spring")} == {"at_least"}
    assert look.reject_reasons("spring")[0].count.number <= 3


@pytest.mark.parametrize("code", ["source_unreadable", "source_changed"])
def test_a_reason_that_quotes_a_path_is_told_in_other_words(look, ledger, plan, code):
    plan("spring", {ledger: [{"code": code, "message": "/data/4917012345678 Jane Doe.pdf: no", "remedy": "x"}]})
    (found,) = look.rejects("spring").rows[0].reasons
    assert found.code == code
    assert "Jane" not in found.message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The file has 6,291,456 bytes.", "The file has 6,291,456 bytes."),
        ("at byte 1234", "at byte 1234"),
        ("sent to +4917012345678 today", "sent to +…78 today"),
        ("s3://b/Jane Doe.pdf is away", "(address) Doe.pdf is away"),
        ("GET https://h/x?y=1&z failed", "GET (address) failed"),
    ],
)
def test_a_text_loses_what_may_stand_for_a_person(text, shown):
    assert without_persons(text) == shown


def test_a_reason_that_is_odd_is_shown_all_the_same(look, ledger, plan, store):
    plan("spring", {ledger: [EMPTY, LARGE]})
    with store.write() as db:
        db.execute(schema.item.update().where(schema.item.c.key == "4917012000000").values(reason=None))
        db.execute(schema.item.update().where(schema.item.c.key == "4917012000001").values(reason=json.dumps([{"code": "new"}])))
    assert [each.reasons[0].code for each in look.rejects("spring").rows] == ["unknown", "new"]


# --- inbound ------------------------------------------------------------------------------------------------------


def test_what_is_pending_is_told_by_how_soon_it_vanishes(look, ledger, store, clock):
    """Against a count by hand, with failures and suspects among them."""
    chance, ledgers = random.Random(7), (ledger, ledger_of_another(ledger))
    for each in ledgers:
        run = each.intake.begin(task=None)
        made = [Arrival(f"m{n}", n, received_at=START - chance.uniform(0, LIFE_S + DAY_S)) for n in range(60)]
        each.intake.take_in(run, "/w/1.jsonl", "b", made)
    clock.advance(DAY_S)
    rows = schema.inbound
    with store.write() as db:
        db.execute(rows.update().where(rows.c.line % 5 == 1).values(rank=schema.FAILED))
        db.execute(rows.update().where(rows.c.line % 5 == 2).values(rank=schema.SUSPECT))
        pending = db.execute(sa.select(rows).where(rows.c.state == schema.PENDING)).all()
    for shown, each in zip(look.inbound().rows, ledgers, strict=True):
        left = [row.received_at + LIFE_S - clock.now for row in pending if row.channel_id == shown.row]
        by_hand = Counter(
            "overdue" if s <= 0 else "urgent" if s <= DAY_S else "soon" if s <= 3 * DAY_S else "later" for s in left
        )
        assert {name: getattr(shown, name) for name in by_hand} == {name: Count(number) for name, number in by_hand.items()}
        assert len(by_hand) == 4
        standing = each.inbound.standing()
        assert (shown.pending, shown.suspects) == (Count(standing.pending), Count(standing.suspects))
        assert shown.oldest_received_at == standing.oldest_received_at


def test_losses_are_told_by_reason_and_batches_that_may_be_made_up(look, ledger):
    run = ledger.intake.begin(task=None)
    ledger.intake.take_in(run, "/w/1.jsonl", "b", [Arrival(f"m{n}", n, received_at=START) for n in range(6)])
    for reason in ("gone", "corrupt", "gone"):
        ledger.inbound.lose(ledger.inbound.take(ledger.claimant()), run, reason, "", failed=True)
    (shown,) = look.inbound().rows
    assert shown.lost == {"gone": Count(2), "corrupt": Count(1)}
    assert (shown.suspect_batches, shown.suspects, shown.pending) == (1, Count(3), Count(3))


def test_what_failed_and_will_be_asked_for_again_is_not_lost(look, ledger):
    run = ledger.intake.begin(task=None)
    ledger.intake.take_in(run, "/w/1.jsonl", "b", [Arrival("m", 1, received_at=START)])
    ledger.inbound.fail(ledger.inbound.take(ledger.claimant()), "", run=run, reason="corrupt")
    (shown,) = look.inbound().rows
    assert (shown.lost, shown.pending) == ({}, Count(1))


def test_losses_of_the_newest_runs_are_counted_up_to_a_bound(look, ledger, monkeypatch):
    for n, reason in enumerate(("corrupt", "gone", "gone")):
        run = ledger.intake.begin(task=f"t{n}")
        ledger.intake.take_in(run, f"/w/{n}.jsonl", f"b{n}", [Arrival(f"m{n}", 1, received_at=START)])
        ledger.inbound.lose(ledger.inbound.take(ledger.claimant()), run, reason, "", failed=False)
    monkeypatch.setattr(arrivals, "RUNS", 2)
    assert look.inbound().rows[0].lost == {"gone": Count(2)}
    monkeypatch.setattr(arrivals, "_LOST_BUDGET", 1)
    assert look.inbound().rows[0].lost["gone"].sure == "at_least"


# --- cost ---------------------------------------------------------------------------------------------------------


def test_ranges_are_counted_within_a_budget_that_the_long_ones_share(store, ledger, monkeypatch):
    """First each has its share; what is longer is walked once more, with what the others did not need."""
    run = ledger.intake.begin(task=None)
    sizes = (0, 1, 30, 8, 55)
    for batch, size in enumerate(sizes):
        made = [Arrival(f"{batch}-{n}", n, received_at=START) for n in range(size)]
        ledger.intake.take_in(run, f"/w/{batch}.jsonl", f"b{batch}", made)
    walked = []
    monkeypatch.setattr(bounded, "_walk", lambda *args, cap, real=bounded._walk: walked.append(cap) or real(*args, cap=cap))

    def range_of(cell):
        return sa.select(sa.literal_column("1")).where(schema.inbound.c.source_id == cell.c.source)

    with store.read() as db:
        sources = sorted(db.scalars(sa.select(schema.inbound_source.c.id)))
        found = count_ranges(db, [(each,) for each in sources], (("source", sa.BigInteger),), range_of, budget=70)
    assert found == [Count(0), Count(1), Count(30), Count(8), Count(35, "at_least")]
    assert walked == [14, 35]


def test_a_sum_is_known_as_badly_as_the_worst_of_its_parts():
    assert total([]) == Count(0)
    assert total([Count(1), Count(2, "about")]) == Count(3, "about")
    assert total([Count(1, "at_least"), Count(2, "about")]) == Count(3, "at_least")


@pytest.mark.parametrize("ask", ["channels", "campaigns", "campaign", "rejects", "reject_reasons", "inbound"])
def test_it_reads_only_and_finds_by_an_index(look, ledger, plan, engine, ask, monkeypatch):
    """Whatever is large is searched, never scanned; SQLite tells that of a small ledger too."""
    plan("spring", {ledger: [*files(30), EMPTY], ledger_of_another(ledger): files(3)})
    upload(ledger, file_of("f0"))
    run = ledger.intake.begin(task=None)
    ledger.intake.take_in(run, "/w/1.jsonl", "b", [Arrival("m", 1, received_at=START)])
    monkeypatch.setattr(overview, "_ITEMS_BUDGET", 8)
    monkeypatch.setattr(progress, "_SAMPLE_BUDGET", 8)
    plans, statements = [], []

    def explain(_db, cursor, statement, parameters, _context, _many):
        statements.append(statement)
        if engine == "sqlite" and statement.startswith(("SELECT", "WITH")):
            cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            plans.extend(row[3] for row in cursor.fetchall())

    with ledger.store.read() as db:
        used = db.engine
    sa.event.listen(used, "before_cursor_execute", explain)
    try:
        getattr(look, ask)(*(() if ask in {"channels", "campaigns", "inbound"} else ("spring",)))
    finally:
        sa.event.remove(used, "before_cursor_execute", explain)
    assert statements
    assert all(each.startswith(("SELECT", "WITH", "SET LOCAL jit", "BEGIN")) for each in statements)
    large = ("d360_media", "d360_item", "d360_fingerprint", "d360_inbound")
    assert engine != "sqlite" or plans
    assert [each for each in plans if each.startswith("SCAN") and each.split()[1] in large] == []
