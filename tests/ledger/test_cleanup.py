"""What may be deleted, on both engines: by which policy, who keeps it, who comes first in a race, and what is on record afterwards."""

from __future__ import annotations

import itertools

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.campaigns import Campaigns, PlannedItem
from airflow_provider_360dialog.ledger.cleanup import AuditRow, Taken, channel_numbers, channels_of
from airflow_provider_360dialog.ledger.references import Terms
from airflow_provider_360dialog.ledger.sources import Sources
from airflow_provider_360dialog.ledger.uploads import Claim
from airflow_provider_360dialog.ledger.verify import find_disagreements
from airflow_provider_360dialog.ports import UploadedMedia, Verdict
from tests.ledger.doubles import START, Worker, file_of, gone, ledger_of, row_of, states, together, upload

HOUR_S, DAY_S = 3600.0, 86_400.0
FILE, OTHER = file_of(), file_of("another")
UNREFERENCED = Terms("delete_unreferenced", grace_s=DAY_S)
SUMMER = Terms("delete_campaign", grace_s=DAY_S, campaign="summer", campaign_plan=1)
ANNA = Terms("erase_subject", grace_s=DAY_S, subject="anna")
REASON = "delete_campaign, plan 1"


@pytest.fixture
def cleanup(ledger):
    return ledger.cleanup


@pytest.fixture
def plan(store, ledger):
    """Plans a campaign: files, or (file, subject), each under a key of its own."""

    def make(name, until, *files, of=ledger, known=True):
        campaigns = Campaigns(store)
        campaign = campaigns.begin_plan(name, until)
        items = [
            PlannedItem(
                channel_id=of.identity.channel_id,
                conn_id="c",
                key=f"key {number}",
                uri=f"/files/{number}.jpg",
                said={"mime_type": None, "filename": None, "kind": None},
                filename="a.jpg",
                subject=subject,
                file=file if known else None,
                reasons=() if known else ({"code": "x", "message": "y", "remedy": "z"},),
            )
            for number, (file, subject) in enumerate(each if isinstance(each, tuple) else (each, None) for each in files)
        ]
        campaigns.record(campaign, items)
        campaigns.end_plan(campaign)
        return campaign

    return make


def listed(cleanup, terms):
    """Media id -> whether it is kept."""
    return {each.media_id: each.kept for each in cleanup.candidates(terms)}


def audited(cleanup, media_id, reason=REASON):
    return [row.action for row in cleanup.audit([media_id], reason)]


# --- ended by itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "ended"), [(29.99, 0), (30, 1), (60, 1)])
def test_an_id_ends_thirty_days_after_its_upload(days, ended, ledger, cleanup, clock, store):
    """Then it answers for nothing, and the ledger still agrees with itself."""
    upload(ledger, FILE, "1")
    clock.advance(days * DAY_S)
    assert cleanup.expire() == ended
    assert states(store) == {"1": schema.EXPIRED if ended else schema.CURRENT}
    assert (row_of(store, FILE).media_row is None) is bool(ended)
    assert cleanup.expire() == 0
    assert [each.kind for each in find_disagreements(store) if each.severity == "damage"] == []


def test_a_last_use_that_is_trusted_prolongs_its_life(ledger, cleanup, clock):
    """One that is only recorded does not."""
    for media_id, file, trusted in (("1", FILE, True), ("2", OTHER, False)):
        upload(ledger, file, media_id)
        clock.advance(10 * DAY_S)
        ledger.uploads.mark_used(media_id, trust_last_use=trusted)
    clock.advance(21 * DAY_S)  # 41 days and 31 after the uploads, 31 and 21 after the uses
    ledger.uploads.mark_used("1", trust_last_use=True)
    assert cleanup.expire() == 1
    assert ledger.state_of("1") == schema.CURRENT
    assert ledger.state_of("2") == schema.EXPIRED


def test_all_that_has_ended_is_noted_however_much_it_is(ledger, cleanup, clock, store):
    """In pages, retired and surplus ones too, of this channel only."""
    other = ledger_of(store, "100000000000002")
    upload(other, FILE, "9")
    for number in range(3):
        upload(ledger, FILE, str(number))
    for number in range(600):
        upload(ledger, file_of(f"{number}"), f"1{number:04}")
    ledger.cleanup.take_for_deletion("10007", Terms("delete_unreferenced", grace_s=0))
    clock.advance(31 * DAY_S)
    assert cleanup.expire() == 603
    assert other.state_of("9") == schema.CURRENT
    assert cleanup.count_alive() == 0


# --- what may go --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needed_until_h", "now_h", "goes"),
    [
        pytest.param(None, 23, False, id="nobody needs it, but it is fresh"),
        pytest.param(None, 24, True, id="nobody needs it, and it is a day old"),
        pytest.param(48, 47, False, id="a campaign needs it"),
        pytest.param(48, 71, False, id="a campaign needed it less than the grace ago"),
        pytest.param(48, 72, True, id="the grace is over"),
    ],
)
def test_what_no_campaign_needs_may_go(*, needed_until_h, now_h, goes, ledger, cleanup, clock, plan):
    """Not before its grace; taking it agrees with the list."""
    upload(ledger, FILE, "1")
    if needed_until_h is not None:
        plan("summer", START + needed_until_h * HOUR_S, FILE)
    clock.advance(now_h * HOUR_S)
    assert listed(cleanup, UNREFERENCED) == ({"1": False} if goes else {})
    assert cleanup.take_for_deletion("1", UNREFERENCED) is (Taken.TAKEN if goes else Taken.REFERENCED)


def test_a_use_keeps_it_for_the_grace(ledger, cleanup, clock):
    """Whether the use prolongs the promise or not."""
    upload(ledger, FILE, "1")
    clock.advance(5 * DAY_S)
    ledger.uploads.mark_used("1")
    clock.advance(DAY_S - 1)
    assert listed(cleanup, UNREFERENCED) == {}
    clock.advance(1)
    assert listed(cleanup, UNREFERENCED) == {"1": False}


@pytest.mark.parametrize("policy", [UNREFERENCED, SUMMER, ANNA], ids=lambda terms: terms.policy)
def test_an_id_that_was_replaced_goes_after_its_own_grace(policy, ledger, cleanup, clock, plan):
    """Although a campaign needs the file: the newer one answers (needs F21)."""
    upload(ledger, FILE, "1")
    plan("summer", START + DAY_S, (FILE, "anna"))
    plan("autumn", START + 20 * DAY_S, FILE)
    upload(ledger, FILE, "2")
    clock.advance(47 * HOUR_S)
    assert {each for each, kept in listed(cleanup, policy).items() if not kept} == set()
    assert cleanup.needed_by("1") == ["autumn"]
    clock.advance(HOUR_S)
    assert {each for each, kept in listed(cleanup, policy).items() if not kept} == {"1"}
    assert cleanup.needed_by("1") == []
    assert cleanup.take_for_deletion("2", policy) is Taken.REFERENCED
    ledger.uploads.mark("2", schema.GONE)
    assert cleanup.take_for_deletion("1", policy) is Taken.REFERENCED, "the newer one answers no more"


def test_what_never_answered_goes_at_once(ledger, cleanup, plan, clock):
    """Whoever needs the file."""
    plan("summer", START + 20 * DAY_S, FILE)
    claim = Worker(ledger).claim(FILE)
    ledger.uploads.discard(claim, "1")
    assert listed(cleanup, UNREFERENCED) == {"1": False}
    assert cleanup.take_for_deletion("1", UNREFERENCED) is Taken.TAKEN


def test_of_a_campaign_all_goes_but_what_another_needs(ledger, cleanup, plan, store):
    """What another needs is named as kept; its own need, grace and rejected items do not count."""
    files = [file_of(f"{number}") for number in range(4)]
    for number, file in enumerate(files):
        upload(ledger, file, str(number))
    plan("summer", START + DAY_S, *files[:3])
    plan("autumn", START + 20 * DAY_S, files[1], files[3])
    plan("winter", START + 20 * DAY_S, files[2], known=False)
    assert listed(cleanup, SUMMER) == {"0": False, "1": True, "2": False}
    assert [each.reason for each in cleanup.candidates(SUMMER)][1] == "kept: somebody else needs it"
    assert cleanup.take_for_deletion("3", SUMMER) is Taken.REFERENCED, "it is not the campaign's"


def test_a_campaign_that_was_planned_again_needs_its_files(ledger, cleanup, plan, clock):
    """The plan of the clean-up speaks of the campaign as it was."""
    upload(ledger, FILE, "1")
    plan("summer", START + DAY_S, FILE)
    clock.advance(3 * DAY_S)
    assert listed(cleanup, SUMMER) == {"1": False}
    plan("summer", START + 20 * DAY_S, FILE)
    assert listed(cleanup, SUMMER) == {"1": True}
    assert cleanup.take_for_deletion("1", SUMMER) is Taken.REFERENCED


def test_of_a_subject_all_goes_but_what_others_need(ledger, cleanup, plan, clock):
    """Its own live items do not keep a file, and what has ended by the ledger's count is deleted too."""
    files = [file_of(f"{number}") for number in range(4)]
    for number, file in enumerate(files):
        upload(ledger, file, str(number))
    plan("summer", START + 60 * DAY_S, (files[0], "anna"), (files[1], "anna"), (files[1], "bert"), (files[3], "bert"))
    plan("autumn", START + 60 * DAY_S, (files[2], "anna"), (files[2], None))
    assert listed(cleanup, ANNA) == {"0": False, "1": True, "2": True}
    clock.advance(31 * DAY_S)
    assert cleanup.expire() == 4
    assert listed(cleanup, ANNA) == {"0": False, "1": False, "2": False}
    assert cleanup.take_for_deletion("0", ANNA) is Taken.TAKEN
    assert cleanup.take_for_deletion("3", ANNA) is Taken.REFERENCED, "it is not hers"


def test_candidates_come_in_pages_that_miss_and_repeat_nothing(ledger, cleanup, clock):
    """In one order, also where some of them go meanwhile."""
    ids = sorted(upload(ledger, file_of(f"{number}")) for number in range(7))
    clock.advance(2 * DAY_S)
    found, after = [], ""
    while page := cleanup.candidates(UNREFERENCED, after=after, limit=3):
        after = page[-1].media_id
        found += [each.media_id for each in page]
        cleanup.take_for_deletion(page[0].media_id, UNREFERENCED)
        cleanup.settle(page[0].media_id, "deleted", REASON)
    assert found == ids


def test_other_channels_are_left_alone(store, ledger, clock, plan):
    """Their ids are not listed, not taken, and their references are their own."""
    other = ledger_of(store, "100000000000002")
    upload(ledger, FILE, "1")
    upload(other, FILE, "1")
    plan("summer", START + 20 * DAY_S, FILE, of=other)
    clock.advance(2 * DAY_S)
    assert listed(ledger.cleanup, UNREFERENCED) == {"1": False}
    assert listed(other.cleanup, UNREFERENCED) == {}
    assert ledger.cleanup.take_for_deletion("1", UNREFERENCED) is Taken.TAKEN
    assert other.state_of("1") == schema.CURRENT


# --- taking -------------------------------------------------------------------------------------------------------


def test_what_was_taken_answers_for_nothing(ledger, cleanup, clock, store):
    """From before the delete leaves: who comes after uploads anew (needs F19)."""
    upload(ledger, FILE, "1")
    clock.advance(2 * DAY_S)
    assert cleanup.take_for_deletion("1", UNREFERENCED) is Taken.TAKEN
    assert states(store) == {"1": schema.DELETING}
    assert ledger.uploads.adopt(FILE) is None
    assert isinstance(Worker(ledger).claim(FILE), Claim)


def test_what_a_dead_run_has_taken_is_taken_again(ledger, cleanup, clock, plan):
    """Whoever needs the file by now has uploaded it anew."""
    upload(ledger, FILE, "1")
    clock.advance(2 * DAY_S)
    cleanup.take_for_deletion("1", UNREFERENCED)
    plan("summer", clock.now + DAY_S, FILE)
    assert listed(cleanup, UNREFERENCED) == {"1": False}
    assert cleanup.take_for_deletion("1", UNREFERENCED) is Taken.TAKEN


@pytest.mark.parametrize("state", [schema.DELETED, schema.GONE, schema.EXPIRED])
def test_what_has_ended_is_gone_already(state, ledger, cleanup, store):
    """And stays what it is; an id that is not on record is unknown."""
    upload(ledger, FILE, "1")
    ledger.uploads.mark("1", state)
    assert cleanup.take_for_deletion("1", UNREFERENCED) is Taken.GONE_ALREADY
    assert states(store) == {"1": state}
    assert cleanup.take_for_deletion("2", UNREFERENCED) is Taken.UNKNOWN
    assert cleanup.standing(["1", "2"], UNREFERENCED) == {"1": False}


def test_of_many_who_take_and_plan_at_once_no_item_keeps_a_dead_id(ledger, clock, store, plan):
    """Either the plan came first, and the id is kept; or the id was taken first, and does not answer for the item (needs F19)."""
    outcomes = set()
    for number in range(12):
        file = file_of(f"{number}")
        upload(ledger, file, f"7{number}")
        clock.advance(2 * DAY_S)

        def act(i, file=file, number=number):
            if i == 0:
                return ledger.cleanup.take_for_deletion(f"7{number}", UNREFERENCED)
            plan(f"campaign {number}", clock.now + DAY_S, file)
            return ledger.uploads.adopt(file)

        taken, adopted = together(2, act)
        outcomes.add(taken)
        assert (taken, adopted is None) in {(Taken.TAKEN, True), (Taken.REFERENCED, False)}
    assert outcomes


def test_of_many_who_take_and_claim_at_once_all_end_well(ledger, clock, store):
    """Nobody hangs, and who was given the id was given it before it was taken."""
    upload(ledger, FILE, "1")
    clock.advance(2 * DAY_S)
    order = itertools.count()

    def act(i):
        if i % 2:
            return ledger.cleanup.take_for_deletion("1", UNREFERENCED), next(order)
        return Worker(ledger, f"w{i}").claim(FILE), next(order)

    results = [each for each, _ in together(8, act)]
    assert [each for each in results if isinstance(each, Taken)] == [Taken.TAKEN] * 4
    claims = [each for each in results if isinstance(each, Claim)]
    assert len(claims) <= 1
    assert all(each.media_id == "1" for each in results if isinstance(each, UploadedMedia))
    assert ledger.uploads.adopt(FILE) is None
    if claims:
        ledger.uploads.complete(claims[0], FILE, "2")
        assert states(store) == {"1": schema.DELETING, "2": schema.CURRENT}


# --- one id that somebody names -----------------------------------------------------------------------------------


def test_an_id_that_a_live_campaign_needs_is_not_given_up(ledger, cleanup, plan, clock, store):
    """Unless by force; a campaign that is over has no say, from the instant on."""
    upload(ledger, FILE, "1")
    plan("summer", START + DAY_S, FILE)
    plan("autumn", START + 2 * DAY_S, FILE)
    assert cleanup.begin_delete("1") == cleanup.needed_by("1") == ["autumn", "summer"]
    assert cleanup.is_referenced("1")
    assert states(store) == {"1": schema.CURRENT}
    clock.advance(DAY_S)
    assert cleanup.begin_delete("1") == ["autumn"]
    assert cleanup.begin_delete("1", force=True) == []
    assert states(store) == {"1": schema.DELETING}
    assert not cleanup.is_referenced("1")
    assert cleanup.begin_delete("not on record") == []


# --- settling -----------------------------------------------------------------------------------------------------


def test_what_was_deleted_is_on_record_and_not_asked_for_again(ledger, cleanup, store):
    """State, refusal and audit row stand or fall together."""
    upload(ledger, FILE, "1")
    cleanup.begin_delete("1")
    cleanup.settle("1", "deleted", REASON)
    assert states(store) == {"1": schema.DELETED}
    assert ledger.refused.look_up("1").status == 404
    assert cleanup.audit(["1"], REASON) == [AuditRow(START, "1", "deleted")]


def test_what_360dialog_did_not_know_is_gone_in_its_words(ledger, cleanup, store):
    """As after a fetch."""
    upload(ledger, FILE, "1")
    cleanup.begin_delete("1")
    cleanup.settle("1", "gone already", REASON, gone=gone("1", operation="delete", status=404))
    assert states(store) == {"1": schema.GONE}
    assert "no such object" in ledger.refused.look_up("1").details
    assert audited(cleanup, "1") == ["gone already"]


def test_what_failed_or_is_kept_stays_what_it_is(ledger, cleanup, store):
    """With an audit row, one for each turn of events and reason."""
    upload(ledger, FILE, "1")
    cleanup.begin_delete("1")
    for action in ("failed", "failed", "kept", "failed", "deleted", "deleted"):
        cleanup.settle("1", action, REASON)
    cleanup.settle("1", "kept", "another plan")
    assert states(store) == {"1": schema.DELETED}
    assert audited(cleanup, "1") == ["failed", "kept", "failed", "deleted"]
    assert audited(cleanup, "1", "another plan") == ["kept"]


def test_an_id_that_was_given_out_again_meanwhile_is_not_called_deleted(ledger, cleanup, store):
    """Should 360dialog ever give one id twice."""
    upload(ledger, FILE, "1")
    cleanup.begin_delete("1")
    upload(ledger, FILE, "1")
    cleanup.settle("1", "deleted", REASON)
    assert states(store) == {"1": schema.CURRENT}


def test_what_was_gone_before_is_noted_once_and_what_this_plan_deleted_is_told_apart(ledger, cleanup, store):
    """By the reason."""
    for media_id, file in (("1", FILE), ("2", OTHER)):
        upload(ledger, file, media_id)
        cleanup.begin_delete(media_id)
    cleanup.settle("1", "deleted", REASON)
    cleanup.settle("2", "deleted", "another plan")
    assert [cleanup.note_ended(["1", "2"], REASON) for _ in range(2)] == [1, 1]
    assert [audited(cleanup, each) for each in "12"] == [["deleted"], ["gone already"]]


# --- subjects and sends -------------------------------------------------------------------------------------------


def test_a_subjects_items_and_its_files_names_are_forgotten(ledger, cleanup, plan, store):
    """Of this channel, and of nobody else."""
    other, sources = ledger_of(store, "100000000000002"), Sources(store)
    verdict = Verdict("image", "image/jpeg", "anna.jpg", 5, FILE.sha256)
    plan("summer", START + DAY_S, (FILE, "anna"), (FILE, "bert"))
    plan("autumn", START + DAY_S, (FILE, "anna"), of=other)
    for number in range(2):
        sources.remember(f"file:/files/{number}.jpg", "1", verdict, mime_type=None, filename=None, kind=None)
    assert cleanup.erase_subject("anna", name_of=lambda uri: f"file:{uri}") == 1
    with store.read() as db:
        left = db.execute(sa.select(schema.item.c.subject, schema.item.c.channel_id).order_by(schema.item.c.subject)).all()
    assert left == [("anna", other.identity.channel_id), ("bert", ledger.identity.channel_id)]
    remembered = [
        sources.recall(f"file:/files/{number}.jpg", "1", mime_type=None, filename=None, kind=None) for number in range(2)
    ]
    assert [each is None for each in remembered] == [True, False]
    assert cleanup.erase_subject("anna") == 0


def test_a_subject_is_sealed_the_same_way_each_time(cleanup, ledger):
    """And does not stand in its seal."""
    seal = cleanup.seal("+4915112345678")
    assert seal == ledger.cleanup.seal("+4915112345678") != cleanup.seal("+4915112345679")
    assert len(seal) == 32
    assert "49151" not in seal


@pytest.mark.parametrize("trusted", [True, False])
def test_many_sends_are_recorded_at_once(trusted, ledger, cleanup, clock, store):
    """As each of them would be alone."""
    ids = [upload(ledger, file_of(f"{number}")) for number in range(520)]
    clock.advance(10 * DAY_S)
    assert cleanup.mark_used_many([*ids, *ids, "404"], trust_last_use=trusted) == 520
    with store.read() as db:
        used = set(db.execute(sa.select(schema.media.c.last_used_at, schema.media.c.safe_until)).all())
    assert used == {(clock.now, START + (39 if trusted else 29) * DAY_S)}
    assert cleanup.mark_used_many([]) == 0


def test_the_channels_of_ids_are_found(store, ledger):
    """For those who name an id only."""
    other = ledger_of(store, "100000000000002")
    upload(ledger, FILE, "1")
    upload(other, FILE, "1")
    upload(other, OTHER, "2")
    both = [ledger.identity.channel_id, other.identity.channel_id]
    assert [channels_of(store, ids) for ids in (["1"], ["2", "404"], ["404"])] == [both, both[1:], []]
    assert channel_numbers(store) == {"100000000000001": both[0], "100000000000002": both[1]}


def test_a_page_is_full_although_most_of_what_is_looked_at_is_needed(ledger, cleanup, clock, plan, monkeypatch):
    """Whoever gets a short page takes it for the last."""
    monkeypatch.setattr("airflow_provider_360dialog.ledger.cleanup._PAGE", 4)
    files = [file_of(f"{number}") for number in range(30)]
    for number, file in enumerate(files):
        upload(ledger, file, f"{number:02}")
    plan("summer", START + 20 * DAY_S, *(file for number, file in enumerate(files) if number % 7))
    clock.advance(2 * DAY_S)
    assert [each.media_id for each in cleanup.candidates(UNREFERENCED, limit=4)] == ["00", "07", "14", "21"]
    assert [each.media_id for each in cleanup.candidates(UNREFERENCED, after="21", limit=4)] == ["28"]
