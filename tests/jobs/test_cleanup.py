"""Plan and apply against the emulator: exactly what was planned, nothing that is needed, at its pace, however it is interrupted."""

from __future__ import annotations

import itertools
import json
import logging
import time

import pytest

from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.exceptions import (
    CallError,
    CampaignUnknownError,
    ChannelFrozenError,
    CleanupPlanRefusedError,
    CleanupTooLargeError,
    InterruptedExchangeError,
    KeyRefusedError,
    MediaReferencedError,
    ServerError,
    StoppedError,
    ThrottledError,
)
from airflow_provider_360dialog.jobs import cleanup, cleanup_plan
from airflow_provider_360dialog.jobs.cleanup import apply_cleanup, expire, plan_cleanup
from airflow_provider_360dialog.jobs.cleanup_plan import Wish
from airflow_provider_360dialog.jobs.delete import check_unneeded, delete
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.campaigns import Campaigns, PlannedItem
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.cleanup import Cleanup
from tests.jobs.doubles import JPEG
from tests.ledger.doubles import file_of, states, upload

DAY_S = 86_400.0
SUMMER = Wish("delete_campaign", campaign="summer")
NOBODYS = Wish("delete_unreferenced")
ANNA = Wish("erase_subject", subject="anna")
FAST = 10.0**6


class Shop:
    """A number whose ids stand in the ledger and at 360dialog, and the clean-up's files."""

    def __init__(self, calls, number, clock):
        self.calls, self.number, self.clock, self.store = calls, number, clock, calls.ledger.store
        self.campaigns = Campaigns(self.store)
        self.lines, self.audit = [], []

    def now(self):
        return self.store.read_now().timestamp()

    def upload(self, count):
        """Files with an id: media id -> file."""
        files = [file_of(f"{time.monotonic_ns()}") for _ in range(count)]
        return {upload(self.calls.ledger, file, self.number.receive(JPEG)[0]): file for file in files}

    def plan_campaign(self, name, days, files, subject=None):
        campaign = self.campaigns.begin_plan(name, self.now() + days * DAY_S)
        channel_id = self.calls.ledger.identity.channel_id
        said = {"mime_type": None, "filename": None, "kind": None}
        self.campaigns.record(
            campaign,
            [
                PlannedItem(channel_id, "c", f"{subject} {n}", f"/f/{n}", said, "a.jpg", subject, file)
                for n, file in enumerate(files)
            ],
        )
        self.campaigns.end_plan(campaign)

    def plan(self, wish, **more):
        def write(lines):
            self.lines = list(lines)

        return plan_cleanup(wish, write, calls=self.calls, **more)

    def apply(self, wish, *, per_s=FAST, **more):
        def write(lines):
            self.audit = [json.loads(line) for line in lines]

        return apply_cleanup(wish, lambda: iter(self.lines), write, calls=self.calls, per_s=per_s, **more)

    def alive(self):
        return {each.media_id for each in self.number.emu.live_media(self.number.number_id)}

    def planned_ids(self):
        return {json.loads(line)["media_id"] for line in self.lines[1:] if "keep" not in json.loads(line)}

    def fails(self, place, kind="error", **more):
        """The delete of the planned id at a place, from 0 on, meets a fault."""
        self.number.arm(kind, operation="delete", media_id=sorted(self.planned_ids())[place], **more)

    def audited(self):
        """Media id -> what was done last, of all that was to be deleted."""
        done = {line["media_id"]: line["action"] for line in self.audit[1:]}
        return {media_id: action for media_id, action in done.items() if media_id in self.planned_ids()}


@pytest.fixture
def shop(calls, number, clock):
    return Shop(calls, number, clock)


@pytest.fixture
def summer(shop):
    """A campaign of yesterday with six files, of which the last is also needed next week: its ids."""
    files = shop.upload(6)
    shop.plan_campaign("summer", 1, files.values())
    shop.plan_campaign("autumn", 9, list(files.values())[5:])
    shop.clock.advance(1.5 * DAY_S)
    return list(files)


# --- what is deleted ----------------------------------------------------------------------------------------------


def test_exactly_what_was_planned_is_deleted_and_a_rerun_deletes_nothing(shop, summer, number):
    """What is needed next week stays; the audit has every id, also after the rerun, which sends nothing (needs US-4)."""
    assert shop.plan(SUMMER).counts() == {"planned": 5, "kept_referenced": 1, "expired": 0}
    assert shop.alive() >= set(summer)
    assert number.sent("delete") == 0
    applied = shop.apply(SUMMER).counts()
    assert {name: count for name, count in applied.items() if count} == {"planned": 5, "deleted": 5, "kept_referenced": 1}
    assert shop.alive() == {summer[5]}
    assert shop.audited() == dict.fromkeys(summer[:5], "deleted")
    assert [line["action"] for line in shop.audit[1:] if line["media_id"] == summer[5]] == ["kept"]
    first = shop.audit[1:]
    again = shop.apply(SUMMER).counts()
    assert again == dict.fromkeys(applied, 0) | {"planned": 5, "gone_already": 5, "deleted_before": 5, "kept_referenced": 1}
    assert shop.audit[1:] == first
    assert number.sent("delete") == 5


def test_a_campaign_that_was_planned_between_plan_and_apply_keeps_its_ids(shop, summer):
    """Exactly these (needs F19, F20)."""
    shop.plan(SUMMER)
    kept = next(each for each in shop.calls.ledger.cleanup.candidates(SUMMER.terms(1)) if not each.kept)
    file = next(file for file in _files(shop) if file.sha256 == kept.sha256)
    shop.plan_campaign("winter", 5, [file])
    applied = shop.apply(SUMMER)
    assert (applied.deleted, applied.kept_referenced) == (4, 2)
    assert shop.alive() == {kept.media_id, summer[5]}
    assert shop.audited()[kept.media_id] == "kept"


def _files(shop):
    from airflow_provider_360dialog.ledger.uploads import Fingerprint

    rows = shop.campaigns.rows(shop.campaigns.find("summer"))
    return [Fingerprint(row.sha256, row.mime_type, 5) for row in rows]


def test_the_same_campaign_planned_anew_keeps_its_ids(shop, summer):
    """A weekly campaign keeps its name."""
    shop.plan(SUMMER)
    shop.plan_campaign("summer", 5, _files(shop))
    assert shop.apply(SUMMER).deleted == 0
    assert shop.alive() >= set(summer)


def test_a_line_that_was_struck_out_is_not_deleted(shop, summer):
    """Whoever approves a plan may shorten it; a blank line is none."""
    shop.plan(SUMMER)
    struck = min(shop.planned_ids())
    shop.lines = ["" if struck in line else line for line in shop.lines]
    assert shop.apply(SUMMER).deleted == 4
    assert shop.alive() == {struck, summer[5]}


def test_a_line_that_was_added_is_deleted_only_within_the_terms(shop, summer, number):
    """Neither what another campaign needs, nor what is not the campaign's, nor what is not on record."""
    (fresh,) = shop.upload(1)
    unknown = number.receive(JPEG)[0]
    shop.plan(SUMMER)
    shop.lines = [line for line in shop.lines if "keep" not in line]
    shop.lines += [json.dumps({"media_id": each}) for each in (summer[5], fresh, unknown)]
    applied = shop.apply(SUMMER)
    assert (applied.deleted, applied.kept_referenced, applied.unknown, applied.left) == (5, 2, 1, 0)
    assert shop.alive() == {summer[5], fresh, unknown}


def test_what_nobody_needs_is_deleted_in_pages(shop, number, monkeypatch):
    """Also more than fit on one."""
    monkeypatch.setattr(cleanup_plan, "PAGE", 50)
    monkeypatch.setattr(cleanup, "PAGE", 50)
    ids = set(shop.upload(120))
    shop.clock.advance(2 * DAY_S)
    needed = set(shop.upload(2))
    assert shop.plan(NOBODYS).planned == 120
    assert shop.planned_ids() == ids
    assert shop.apply(NOBODYS).deleted == 120
    assert shop.alive() == needed


def test_what_has_ended_by_itself_needs_no_delete(shop, number):
    """It is noted, and nothing is sent."""
    shop.upload(3)
    shop.clock.advance(31 * DAY_S)
    assert shop.plan(NOBODYS).counts() == {"planned": 0, "kept_referenced": 0, "expired": 3}
    assert expire(shop.calls) == 0
    assert shop.apply(NOBODYS).counts()["planned"] == 0
    assert number.emu.counters(number.number_id)["requests"] == {}


def test_what_ends_between_plan_and_apply_is_gone_already(shop, number):
    """Without a request."""
    shop.upload(3)
    shop.clock.advance(2 * DAY_S)
    shop.plan(NOBODYS)
    shop.clock.advance(29 * DAY_S)
    assert shop.apply(NOBODYS).gone_already == 3
    assert number.sent("delete") == 0


def test_what_360dialog_has_lost_counts_as_done(shop, number):
    """In its words in the ledger."""
    ids = list(shop.upload(2))
    shop.clock.advance(2 * DAY_S)
    shop.plan(NOBODYS)
    number.emu.state.media.pop(ids[0])
    applied = shop.apply(NOBODYS)
    assert (applied.deleted, applied.gone_already) == (1, 1)
    assert states(shop.store) == {ids[0]: schema.GONE, ids[1]: schema.DELETED}


def test_a_subject_is_erased(shop, number):
    """Its ids and its items; what others need stays, and the file of the plan names nobody (needs US-11)."""
    files = shop.upload(3)
    ids = list(files)
    shop.plan_campaign("summer", 9, list(files.values())[:2], subject="anna")
    shop.plan_campaign("autumn", 9, list(files.values())[1:], subject="bert")
    assert shop.plan(ANNA).counts() == {"planned": 1, "kept_referenced": 1, "expired": 0}
    assert "anna" not in "\n".join(shop.lines)
    applied = shop.apply(ANNA)
    assert (applied.deleted, applied.kept_referenced, applied.erased_items) == (1, 1, 2)
    assert shop.alive() == set(ids[1:])
    assert "anna" not in json.dumps(shop.audit)
    assert list(shop.campaigns.rows(shop.campaigns.find("summer"))) == []
    assert len(list(shop.campaigns.rows(shop.campaigns.find("autumn")))) == 2
    assert shop.apply(ANNA).counts()["deleted"] == 0


def test_a_subject_keeps_its_items_while_an_id_could_not_be_deleted(shop, number):
    """So that the next run finds them."""
    files = shop.upload(2)
    shop.plan_campaign("summer", 9, files.values(), subject="anna")
    shop.plan(ANNA)
    number.arm("error", operation="delete", media_id=next(iter(files)), times=4, status=500)
    assert (applied := shop.apply(ANNA)).failed == 1
    assert applied.erased_items == 0
    assert (applied := shop.apply(ANNA)).deleted == 1
    assert applied.erased_items == 2


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"dialog360_cleanup": 2}, "format", id="a format of the future"),
        pytest.param({"dialog360_cleanup": None}, "format", id="no plan at all"),
        pytest.param({"channel": "1"}, "another number", id="another channel's"),
        pytest.param({"policy": "delete_unreferenced"}, "policy", id="another policy's"),
        pytest.param({"campaign": "autumn"}, "campaign", id="another campaign's"),
        pytest.param({"subject": "x"}, "subject", id="a subject's"),
        pytest.param({"grace_s": None}, "not whole", id="without its grace"),
        pytest.param({"campaign_plan": True}, "not whole", id="with nonsense for a number"),
        pytest.param({"plan": 7}, "not whole", id="without a name"),
    ],
)
def test_another_plan_is_refused(change, reason, shop, summer, number):
    """Before anything is deleted."""
    shop.plan(SUMMER)
    shop.lines[0] = json.dumps(json.loads(shop.lines[0]) | change)
    with pytest.raises(CleanupPlanRefusedError, match=reason):
        shop.apply(SUMMER)
    assert number.sent("delete") == 0
    assert shop.audit == []


@pytest.mark.parametrize("line", ["{", "[]", '{"media_id": 12}', '{"media_id": "../1"}', "{}"])
def test_a_plan_with_a_bad_line_is_refused_whole(line, shop, summer, number):
    """Although the lines before it are good."""
    shop.plan(SUMMER)
    shop.lines.append(line)
    with pytest.raises(CleanupPlanRefusedError, match="line 8"):
        shop.apply(SUMMER)
    assert number.sent("delete") == 0


@pytest.mark.parametrize("lines", [[], [""], ["media_id,reason", "1,x"]])
def test_a_file_that_is_no_plan_is_refused(lines, shop):
    """An empty one, too."""
    shop.lines = lines
    with pytest.raises(CleanupPlanRefusedError):
        shop.apply(NOBODYS)


@pytest.mark.parametrize(
    ("max_delete", "refused"),
    [(None, False), (5, False), (4, True), (0, True), (0.84, False), (0.82, True), (1.0, False), (1, True)],
)
def test_more_than_max_delete_is_refused_whole(max_delete, refused, shop, summer, number):
    """A number of ids, or a share of the channel's six; the error says what to do (needs F20)."""
    shop.plan(SUMMER)
    if refused:
        with pytest.raises(CleanupTooLargeError, match="raising max_delete to 5") as caught:
            shop.apply(SUMMER, max_delete=max_delete)
        assert (caught.value.planned, caught.value.alive) == (5, 6)
        assert number.sent("delete") == 0
    else:
        assert shop.apply(SUMMER, max_delete=max_delete).deleted == 5


def test_max_delete_counts_what_is_left_of_a_plan(shop, summer, number):
    """Else the second half of a large plan could not be carried out."""
    shop.plan(SUMMER)
    shop.fails(3, status=401, text="no")
    with pytest.raises(KeyRefusedError):
        shop.apply(SUMMER, max_delete=0.84)
    assert shop.apply(SUMMER, max_delete=2).deleted == 2


@pytest.mark.parametrize(
    "wish",
    [
        Wish("delete_everything"),
        Wish("delete_campaign"),
        Wish("delete_unreferenced", campaign="summer"),
        Wish("delete_campaign", campaign="summer", subject="anna"),
        Wish("erase_subject"),
        Wish("delete_unreferenced", grace_s=-1.0),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(wish, shop):
    """A campaign without its policy would delete much more than was meant."""
    with pytest.raises(CallError):
        shop.plan(wish)
    with pytest.raises(CallError):
        shop.apply(wish)


def test_a_campaign_that_was_never_planned_is_an_error(shop):
    """Not an empty plan."""
    with pytest.raises(CampaignUnknownError):
        shop.plan(Wish("delete_campaign", campaign="sumer"))


def test_the_longer_grace_of_plan_and_apply_counts(shop, number):
    """Nobody deletes earlier than either says."""
    shop.upload(1)
    shop.clock.advance(2 * DAY_S)
    shop.plan(NOBODYS)
    assert shop.apply(Wish("delete_unreferenced", grace_s=5 * DAY_S)).kept_referenced == 1
    shop.clock.advance(4 * DAY_S)
    assert shop.apply(Wish("delete_unreferenced", grace_s=5 * DAY_S)).deleted == 1


def test_a_frozen_channel_deletes_nothing(shop, summer, number):
    """What the error says (needs F86)."""
    shop.plan(SUMMER)
    Channels(shop.store).freeze(shop.calls.ledger.identity, "moved")
    with pytest.raises(ChannelFrozenError):
        shop.apply(SUMMER)
    assert number.sent("delete") == 0


def test_a_campaign_that_is_needed_still_is_deleted_with_a_warning(shop, number, caplog):
    """Who names it means it; what others need stays."""
    files = shop.upload(2)
    shop.plan_campaign("summer", 5, files.values())
    with caplog.at_level(logging.WARNING):
        assert shop.plan(SUMMER).planned == 2
    assert "itself needed until" in caplog.text
    assert shop.apply(SUMMER).deleted == 2


# --- pace and interruptions ---------------------------------------------------------------------------------------


def test_deletes_leave_at_their_pace(shop, summer, monkeypatch):
    """Five a second (needs US-4)."""
    shop.plan(SUMMER)
    send, times = MediaApi.delete, []
    monkeypatch.setattr(MediaApi, "delete", lambda *args: times.append(time.monotonic()) or send(*args))
    shop.apply(SUMMER, per_s=5.0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(gaps) == 4
    assert all(gap >= 0.199 for gap in gaps)  # how much later is the machine's affair


def test_a_refusal_halves_the_pace(shop, summer, number, stop):
    """And is waited out (needs F45)."""
    shop.plan(SUMMER)
    shop.fails(1, status=429, text="x", retry_after=3.0)
    assert shop.apply(SUMMER, per_s=2.0).deleted == 5
    assert stop.waits_s[0] == pytest.approx(0.5, abs=0.1)
    assert any(3 <= wait_s < 4.2 for wait_s in stop.waits_s)
    assert max(each for each in stop.waits_s if each < 1.05) == pytest.approx(1.0, abs=0.1)


def test_a_refusal_without_a_time_gives_up_for_ten_minutes(shop, summer, number):
    """After one request; what is left stays for the next run, the audit is written all the same (needs F46)."""
    shop.plan(SUMMER)
    shop.fails(2, status=429, text="Too many")
    with pytest.raises(ThrottledError) as caught:
        shop.apply(SUMMER)
    assert abs((caught.value.retry_at - shop.calls.now()).total_seconds() - 600) < 5
    assert number.sent("delete") == 3
    assert sorted(shop.audited().values()) == ["deleted", "deleted"]
    assert shop.audit[0]["this_run"]["left"] == 3
    applied = shop.apply(SUMMER)
    assert (applied.deleted, applied.gone_already, applied.deleted_before) == (3, 2, 2)
    assert sorted(shop.audited().values()) == ["deleted"] * 5


def test_several_refusals_give_up(shop, summer, number):
    """However short each of them is."""
    shop.plan(SUMMER)
    number.arm("error", operation="delete", times="always", status=429, text="x", retry_after=1.0)
    with pytest.raises(ThrottledError) as caught:
        shop.apply(SUMMER)
    assert number.sent("delete") == 4
    assert (caught.value.retry_at - shop.calls.now()).total_seconds() > 590


def test_refusals_now_and_then_give_up_as_well(shop, summer, number):
    """Each of them is answered by a success, and the fourth is the last."""
    shop.plan(SUMMER)
    for place in range(4):
        shop.fails(place, status=429, text="x", retry_after=1.0)
    with pytest.raises(ThrottledError):
        shop.apply(SUMMER)
    number.emu.disarm()
    shop.apply(SUMMER)
    assert shop.alive() == {summer[5]}


def test_a_refused_key_ends_the_run(shop, summer, number):
    """After one request; the id that was taken is tried again (needs F41)."""
    shop.plan(SUMMER)
    shop.fails(1, status=401, text="no")
    with pytest.raises(KeyRefusedError):
        shop.apply(SUMMER)
    assert number.sent("delete") == 2
    assert sorted(states(shop.store).values()) == sorted([schema.DELETED, schema.DELETING, *[schema.CURRENT] * 4])
    assert shop.apply(SUMMER).deleted == 4
    assert shop.alive() == {summer[5]}


def test_one_id_that_fails_does_not_stop_the_others(shop, summer, number):
    """It is told, and a rerun tries only this one."""
    shop.plan(SUMMER)
    failing = min(summer[:5])
    number.arm("error", operation="delete", media_id=failing, times=4, status=500)
    applied = shop.apply(SUMMER)
    assert (applied.deleted, applied.failed) == (4, 1)
    assert isinstance(applied.fault, ServerError)
    assert shop.audited()[failing] == "failed"
    before = number.sent("delete")
    assert shop.apply(SUMMER).deleted == 1
    assert number.sent("delete") == before + 1
    assert shop.audited()[failing] == "deleted"


def test_three_that_fail_in_a_row_end_the_run(shop, summer, number):
    """The fourth would as well."""
    shop.plan(SUMMER)
    number.arm("drop", operation="delete", times="always", performs=False)
    with pytest.raises(InterruptedExchangeError):
        shop.apply(SUMMER)
    assert number.sent("delete") == 12
    number.emu.disarm()
    assert shop.apply(SUMMER).deleted == 5


def test_a_delete_whose_answer_was_lost_is_done(shop, summer, number):
    """Asked again, it is gone."""
    shop.plan(SUMMER)
    number.arm("drop", operation="delete", times=1, performs=True)
    applied = shop.apply(SUMMER)
    assert (applied.deleted, applied.gone_already, applied.failed) == (4, 1, 0)
    assert shop.alive() == {summer[5]}


def test_a_stop_ends_the_run_with_its_audit(shop, summer, number, stop, monkeypatch):
    """What is left stays for the next one."""
    shop.plan(SUMMER)
    send, sent = MediaApi.delete, []

    def and_stop(self, media_id):
        sent.append(media_id)
        if len(sent) == 2:
            stop.set()
        return send(self, media_id)

    monkeypatch.setattr(MediaApi, "delete", and_stop)
    with pytest.raises(StoppedError):
        shop.apply(SUMMER)
    assert sorted(shop.audited().values()) == ["deleted", "deleted"]
    stop.clear()
    assert shop.apply(SUMMER).deleted == 3


@pytest.mark.parametrize("where", ["take_for_deletion", "settle"])
def test_a_run_that_dies_anywhere_is_finished_by_the_next(where, shop, summer, number, monkeypatch):
    """Before the request, or after it and before anything was noted."""
    shop.plan(SUMMER)
    act, done = getattr(Cleanup, where), []

    def die(self, media_id, *args, **more):
        if media_id == summer[5]:  # it is kept, and comes anywhere among the others
            return act(self, media_id, *args, **more)
        if len(done) == 2 and where == "settle":
            raise KeyboardInterrupt
        done.append(act(self, media_id, *args, **more))
        if len(done) == 3:
            raise KeyboardInterrupt
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Cleanup, where, die)
        with pytest.raises(KeyboardInterrupt):
            shop.apply(SUMMER)
    assert shop.audit == []
    assert schema.DELETING in states(shop.store).values()
    applied = shop.apply(SUMMER)
    assert applied.deleted + applied.gone_already == 5
    assert shop.alive() == {summer[5]}
    assert set(states(shop.store).values()) <= {schema.DELETED, schema.GONE, schema.CURRENT}


def test_an_audit_that_cannot_be_written_does_not_hide_why_the_run_ended(shop, summer, number):
    """A second run writes it."""
    shop.plan(SUMMER)
    number.arm("error", operation="delete", times=1, status=401, text="no")

    def fail(lines):
        raise OSError("full")

    with pytest.raises(KeyRefusedError):
        apply_cleanup(SUMMER, lambda: iter(shop.lines), fail, calls=shop.calls, per_s=FAST)
    with pytest.raises(OSError, match="full"):
        apply_cleanup(SUMMER, lambda: iter(shop.lines), fail, calls=shop.calls, per_s=FAST)
    shop.apply(SUMMER)
    assert sorted(shop.audited().values()) == ["deleted"] * 5


# --- one id -------------------------------------------------------------------------------------------------------


def test_one_id_that_a_campaign_needs_is_not_deleted_unless_by_force(shop, summer, number):
    """Nothing is sent; the error names the campaign and the remedy (needs T16)."""
    for act in (delete, lambda media_id, calls: check_unneeded([summer[0], media_id], calls=calls)):
        with pytest.raises(MediaReferencedError, match=r"'autumn' still needs it.*force=True") as caught:
            act(summer[5], calls=shop.calls)
        assert (caught.value.campaigns, caught.value.retryable) == (1, False)
    assert number.sent("delete") == 0
    assert delete(summer[0], calls=shop.calls) is True, "its campaign is over"
    assert delete(summer[5], calls=shop.calls, force=True) is True
