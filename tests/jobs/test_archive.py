"""The archive against the emulator's strict rule: what is asked, in which order, how often, and that a run may end anywhere.

Every test ends with a look at the emulator's own counters: the number was never blocked.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    ChannelClosedError,
    DestinationError,
    KeyRefusedError,
    LedgerUnavailableError,
    MediaGoneError,
    StoppedError,
    StorageFailedError,
    ThrottledError,
    UnreachableError,
    WaitError,
)
from airflow_provider_360dialog.hooks.folders import PROBE_NAME, folder_at
from airflow_provider_360dialog.jobs import archive
from airflow_provider_360dialog.jobs.retrieve import fetch
from tests.jobs.inbound_doubles import DAY_S, HOUR_S, Gate, Once, desk_of, id_of, jpeg, message_of, part_of, wait_for, without
from tests.media import builders


@pytest.fixture
def desk(number, tmp_path):
    """Strict: the sixth failed GET in an hour shuts the number, and failed downloads count."""
    number.emu.configure(profile="strict")
    with desk_of(number, tmp_path) as desk:
        yield desk
        desk.check_never_blocked()


def reasons(desk):
    return [(row["state"], row["reason"]) for row in desk.rows()]


# --- names and bytes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [True, False], ids=["by the webhook's URL", "by id"])
def test_a_file_stands_under_number_day_id_and_hash(url, desk):
    """The same bytes that the customer sent, the day on which they came, and nothing beside them."""
    content = jpeg()
    webhook = desk.receive(content, url=url)
    outcome = desk.archive(desk.land("a.jsonl", webhook))
    day = datetime.fromtimestamp(int(message_of(webhook)["timestamp"]), desk.now().tzinfo)
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"{desk.number.number_id}/{day:%Y/%m/%d}/{id_of(webhook)}-{sha256[:8]}.jpg"
    assert desk.files() == {name: content}
    row = desk.rows()[0]
    assert (row["state"], row["uri"], row["mime_type"]) == ("archived", str(desk.place / name), "image/jpeg")
    assert (row["sha256"], row["size_bytes"], row["run_id"]) == (sha256, len(content), outcome.run)
    assert (outcome.counts.archived, outcome.counts.archived_bytes, outcome.counts.lost) == (1, len(content), {})
    assert desk.sent() == ((0, 1) if url else (1, 1))


SHOWN = {
    "photo.jpg": "jpg", "chart.png": "png", "clip.mp4": "mp4", "invoice.pdf": "pdf", "letter.docx": "docx", "notes.txt": "txt",
    "sticker.webp": "webp", "voice_note.ogg": "ogg",
}  # fmt: skip


@pytest.mark.parametrize("announced", [None, "image/png", "application/pdf"])
def test_the_extension_is_that_of_the_true_type(announced, desk, checkout):
    """Whatever the sender's phone calls it."""
    contents = {name: (checkout / "dags_examples" / "media" / name).read_bytes() for name in SHOWN}
    contents |= {"tune.mp3": builders.mp3(), "old.doc": builders.ole2("WordDocument"), "tune.m4a": b""}
    contents["tune.m4a"] = builders.iso_media(b"M4A ", b"soun")
    wanted = {hashlib.sha256(contents[name]).hexdigest()[:8]: name.rpartition(".")[2] for name in contents}
    webhooks = [desk.receive(content, announced or "image/jpeg", file_name="x.exe") for content in contents.values()]
    outcome = desk.archive(desk.land("a.jsonl", *webhooks))
    assert outcome.counts.lost == {}
    found = {name.rpartition("-")[2].split(".")[0]: name.rpartition(".")[2] for name in desk.files()}
    assert found == wanted


def test_an_announced_type_chooses_where_the_bytes_do_not_tell(desk):
    """A voice recording and a film look alike in some boxes; any other word of the sender is nothing."""
    content = builders.iso_media(b"isom", b"soun", moov_last=True)
    for announced, extension in (("audio/mp4", "m4a"), ("video/mp4", "mp4"), ("image/png", "mp4")):
        webhook = desk.receive(content, announced)
        desk.archive(desk.land(f"{extension}.jsonl", webhook))
        [name] = [name for name in desk.files() if id_of(webhook) in name]
        assert name.endswith(f".{extension}")


def test_two_that_sent_the_same_photo_have_a_file_each(desk):
    """The id is part of the name."""
    content = jpeg()
    desk.archive(desk.land("a.jsonl", desk.receive(content), desk.receive(content)))
    assert sorted(desk.files().values()) == [content, content]


def test_a_second_run_finds_nothing_to_do(desk):
    """No request, no file touched, no probe written."""
    path = desk.land("a.jsonl", *[desk.receive() for _ in range(4)])
    desk.archive(path)
    before, sent = desk.files(), desk.sent()
    folder = folder_at(desk.place)
    folder.check = Once(folder.check)
    outcome = desk.archive(path, folder=folder)
    assert (desk.files(), desk.sent()) == (before, sent)
    assert (outcome.counts.taken_in, outcome.counts.archived, outcome.report_uri, outcome.error) == (0, 0, None, None)
    assert folder.check.calls == []


# --- the webhook's own URL ----------------------------------------------------------------------------------------


def test_no_id_is_asked_while_urls_live(desk):
    """They cost nothing, and the GETs of a number are few."""
    outcome = desk.archive(desk.land("a.jsonl", *[desk.receive() for _ in range(12)]))
    assert outcome.counts.archived == 12
    assert desk.sent() == (0, 12)


@pytest.mark.parametrize(("life_s", "sent"), [(300, (0, 1)), (20, (0, 1)), (3, (1, 1)), (0, (1, 1)), (-100, (1, 1))])
def test_a_url_is_tried_only_while_its_ext_lies_ahead(life_s, sent, desk):
    """With a margin of five seconds."""
    assert desk.archive(desk.land("a.jsonl", desk.receive(url_life_s=life_s))).counts.archived == 1
    assert desk.sent() == sent


def test_a_url_in_milliseconds_is_understood(desk):
    """As some of 360dialog's examples have it; here its end has passed."""
    webhook = desk.receive()
    part = part_of(webhook)
    ends_at = part["url"].partition("ext=")[2].partition("&")[0]
    part["url"] = part["url"].replace(f"ext={ends_at}", f"ext={int(desk.emu.state.now_s() - 1) * 1000}")
    assert desk.archive(desk.land("a.jsonl", webhook)).counts.archived == 1
    assert desk.sent() == (1, 1)


@pytest.mark.parametrize(("waited_s", "sent"), [(0, (0, 1)), (50, (0, 1)), (58, (1, 1)), (70, (1, 1))])
def test_a_url_without_ext_is_tried_for_as_long_as_the_caller_says(waited_s, sent, desk):
    """From its message on."""
    webhook = desk.receive()
    part = part_of(webhook)
    ends_at = part["url"].partition("ext=")[2].partition("&")[0]
    bare = part["url"].replace(f"ext={ends_at}&", "").replace(f"&ext={ends_at}", "")
    part["url"] = bare
    # The emulator knows the URL with its ext only, so an answer to this one is a 404, and the id is asked.
    desk.clock.advance(waited_s)
    desk.archive(desk.land("a.jsonl", webhook), webhook_url_life=timedelta(seconds=60))
    assert desk.sent()[1] - 1 == (1 if sent == (0, 1) else 0)
    assert len(desk.archived_ids()) == 1


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        pytest.param("error", {"status": 404, "text": "Media not found"}, id="404"),
        pytest.param("error", {"status": 400, "text": "Bad signature"}, id="400"),
        pytest.param("error", {"status": 403, "text": "URL signature mismatch"}, id="403"),
        pytest.param("error", {"status": 410, "text": "gone"}, id="410"),
        pytest.param("wrong_bytes", {}, id="other bytes"),
        pytest.param("html", {"status": 200}, id="a page"),
        pytest.param("empty", {}, id="nothing"),
        pytest.param("wrong_size", {"delta_bytes": 1}, id="a byte too many"),
    ],
)
def test_a_url_that_fails_falls_back_to_the_id_with_one_fetch(kind, more, desk):
    """And is not tried again."""
    content = jpeg()
    desk.number.arm(kind, operation="download", **more)
    outcome = desk.archive(desk.land("a.jsonl", desk.receive(content)))
    assert (outcome.counts.archived, outcome.error) == (1, None)
    assert list(desk.files().values()) == [content]
    assert desk.sent() == (1, 2)
    assert desk.calls.ledger.ration.credits_left() == 3


@pytest.mark.parametrize(("kind", "more"), [("error", {"status": 503}), ("truncate", {}), ("drop", {}), ("reset", {})])
def test_a_fault_that_passes_is_survived_on_the_same_url(kind, more, desk):
    """No id is asked for it."""
    desk.number.arm(kind, operation="download", **more)
    assert desk.archive(desk.land("a.jsonl", desk.receive())).counts.archived == 1
    assert desk.sent() == (0, 1 if kind == "reset" else 2)  # what is reset at once is not counted


def test_two_credits_at_most_go_for_urls_and_then_only_ids_are_asked(desk):
    """Nobody says how long such a URL lives; ids are what the budget is for."""
    contents = [jpeg() for _ in range(10)]
    webhooks = [desk.receive(content) for content in contents]
    for number, webhook in enumerate(webhooks):
        part_of(webhook)["url"] = desk.fake_url()
        desk.land(f"{number}/a.json", webhook)  # each judged alone
    outcome = desk.archive(desk.landing)
    assert (outcome.counts.archived, outcome.error) == (10, None)
    assert sorted(desk.files().values()) == sorted(contents)
    assert desk.failed() == 2
    assert desk.sent() == (10, 12)


FOREIGN = [
    "https://evil.example/whatsapp_business/attachments/?ext={ext}&hash=x",
    "http://lookaside.fbsbx.com/whatsapp_business/attachments/?ext={ext}&hash=x",
    "https://lookaside.fbsbx.com@evil.example/whatsapp_business/attachments/?ext={ext}&hash=x",
    "https://lookaside.fbsbx.com:8443/whatsapp_business/attachments/?ext={ext}&hash=x",
    "https://lookaside.fbsbx.com/whatsapp_business/../v1/media/?ext={ext}&hash=x",
    "//evil.example/whatsapp_business/attachments/?ext={ext}",
    "file:///etc/passwd?ext={ext}",
    "https://lookaside.fbsbx.com/whatsapp_business/attachments/?ext={ext}#x",
    "gopher://127.0.0.1/?ext={ext}",
    "?ext={ext}",
]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_url_that_leads_elsewhere_opens_no_socket_and_the_id_is_asked(url, desk, monkeypatch):
    """The number's host is the only one that anything is sent to, and not even a name is looked up."""
    import socket

    webhook = desk.receive()
    part_of(webhook)["url"] = url.format(ext=int(desk.emu.state.now_s() + 1000))
    connected, looked_up = Once(socket.socket.connect), Once(socket.getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", lambda *args: connected(*args))  # noqa: PLW0108 - a method, which gets its socket
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    outcome = desk.archive(desk.land("a.jsonl", webhook))
    assert (outcome.counts.archived, outcome.error) == (1, None)
    ours = desk.number.base_url.removeprefix("http://")
    assert {f"{args[1][0]}:{args[1][1]}" for args, _ in connected.calls} == {ours}
    assert {f"{args[0]}:{args[1]}" for args, _ in looked_up.calls} <= {ours}
    assert desk.sent() == (1, 1)
    assert desk.failed() == 0


def test_the_hash_of_the_webhook_is_checked_by_url_and_by_id(desk):
    """A file that is not the announced one is never stored, even if 360dialog stands by it."""
    webhook = desk.receive()
    part_of(webhook)["sha256"] = base64.b64encode(hashlib.sha256(b"another").digest()).decode()
    outcome = desk.archive(desk.land("a.jsonl", webhook))
    assert desk.files().keys() == {os.path.relpath(outcome.report_uri, desk.place)}
    assert reasons(desk) == [("pending", "corrupt")]


def test_a_webhook_without_hash_type_or_time_is_archived_all_the_same(desk):
    """Only the id is needed."""
    webhook = without(desk.receive(), "sha256", "mime_type", "url")
    message_of(webhook).pop("timestamp")
    assert desk.archive(desk.land("a.jsonl", webhook)).counts.archived == 1


def test_an_id_is_not_asked_in_its_first_five_seconds(desk):
    """It may not be there at once, and a failure costs."""
    desk.archive(desk.land("a.jsonl", desk.receive(url=False)))
    assert len(desk.stop.waits_s) == 1
    assert 0 < desk.stop.waits_s[0] <= 5


# --- order --------------------------------------------------------------------------------------------------------


def test_the_order_is_that_of_need(desk, monkeypatch):
    """What ends within a day, soonest end first; then the youngest."""
    monkeypatch.setattr(archive, "_HANDS", 1)
    made = []
    for waited_s in (600, 6.5 * DAY_S, 600, 60):
        made.append(desk.receive(url=False))
        desk.clock.advance(waited_s)
    first, second, old, young = made
    desk.archive(desk.land("a.jsonl", old, second, young, first))
    done = sorted((row["settled_at"], row["media_id"]) for row in desk.rows())
    assert [media_id for _, media_id in done] == [id_of(each) for each in (first, second, young, old)]


def test_what_failed_before_comes_after_what_is_new(desk, monkeypatch):
    """It has had its chance, and waits its turn; also where it is younger."""
    monkeypatch.setattr(archive, "_HANDS", 1)
    new = [desk.receive(url=False) for _ in range(3)]
    desk.clock.advance(60)
    failing = desk.receive(url=False)
    desk.number.arm("error", operation="fetch", times=2, status=500, media_id=id_of(failing))
    assert desk.archive(desk.land("failing.json", failing)).counts.archived == 0
    desk.clock.advance(HOUR_S + 5)
    desk.archive(desk.land("a.jsonl", *new))
    done = sorted((row["settled_at"], row["media_id"]) for row in desk.rows())
    assert len(done) == 4
    assert done[-1][1] == id_of(failing)


# --- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [True, False])
def test_what_is_past_its_seven_days_is_expired_without_a_request(url, desk):
    """Its webhook may have lain around for a week."""
    path = desk.land("a.jsonl", desk.receive(url=url, url_life_s=30 * DAY_S))
    desk.clock.advance(7 * DAY_S)
    outcome = desk.archive(path)
    assert outcome.counts.lost == {"expired": 1}
    assert reasons(desk) == [("lost", "expired")]
    assert desk.sent() == (0, 0)
    assert [line["reason"] for line in desk.report(outcome)] == ["expired"]
    assert desk.archive(path).counts.lost == {}


def test_in_the_last_minute_nothing_is_asked_and_before_it_is(desk):
    """The answer could come too late, and would cost."""
    early, late = desk.land("early.json", desk.receive(url=False)), desk.land("late.json", desk.receive(url=False))
    desk.clock.advance(7 * DAY_S - 90)
    assert desk.archive(early).counts.archived == 1
    desk.clock.advance(60)
    outcome = desk.archive(late)
    assert (outcome.counts.archived, outcome.counts.lost, outcome.standing.pending) == (0, {}, 1)
    assert desk.sent() == (1, 1)


def test_what_expires_while_a_run_works_is_told_by_that_run(desk):
    """It is looked at when it begins and when it ends."""
    path = desk.land("a.jsonl", desk.receive(url=False))
    desk.clock.advance(7 * DAY_S - 30)
    run = desk.begin()
    desk.take_in(path, run=run)
    archiver = desk.archiver()
    archiver._take = lambda calls: desk.clock.advance(60)
    archiver.archive(run, desk.calls)
    assert desk.calls.ledger.inbound.counts(run).lost == {"expired": 1}


# --- ids that are gone --------------------------------------------------------------------------------------------


def test_a_dead_id_costs_one_request_and_never_another(desk):
    """Not in the next run, not of another DAG, and not under another file's name."""
    dead = [desk.forge(), desk.forge()]
    path = desk.land("a.jsonl", *dead)
    outcome = desk.archive(path)
    assert outcome.counts.lost == {"gone": 2}
    assert reasons(desk) == [("lost", "gone")] * 2
    assert desk.sent() == (2, 0)
    assert [(line["reason"], line["is_final"]) for line in desk.report(outcome)] == [("gone", True)] * 2
    desk.clock.advance(2 * HOUR_S)
    for calls in (desk.calls, desk.calls_of(task="other/run/task/-1", try_number=1)):
        assert desk.archive([path, desk.land("b.jsonl", *dead)], calls=calls).counts.lost == {}
        with pytest.raises(MediaGoneError):
            fetch(id_of(dead[0]), calls=calls)
    assert desk.sent() == (2, 0)


def test_an_id_that_the_ledger_knows_as_refused_is_not_asked(desk):
    """Somebody has asked for it before its webhook came."""
    webhook = desk.forge()
    with pytest.raises(MediaGoneError):
        fetch(id_of(webhook), calls=desk.calls)
    outcome = desk.archive(desk.land("a.jsonl", webhook))
    assert outcome.counts.lost == {"gone": 1}
    assert desk.sent() == (1, 0)
    assert "answered from the ledger" in desk.rows()[0]["details"]


def test_an_id_that_was_deleted_here_is_not_asked(desk):
    """By whoever cleaned up too early."""
    from airflow_provider_360dialog.jobs.delete import delete

    webhook = desk.receive(url=False)
    delete(id_of(webhook), calls=desk.calls)
    assert desk.archive(desk.land("a.jsonl", webhook)).counts.lost == {"gone": 1}
    assert desk.sent() == (0, 0)


def test_no_remedy_for_uploads_stands_in_a_report(desk):
    """What a customer sent cannot be uploaded again."""
    outcome = desk.archive(desk.land("a.jsonl", desk.forge()))
    [line] = desk.report(outcome)
    assert "upload" not in line["details"]
    assert "does not know it (HTTP 400" in line["details"]


# --- the budget ---------------------------------------------------------------------------------------------------


def test_four_failures_close_the_number_until_an_instant_and_then_it_goes_on(desk, monkeypatch):
    """Nothing is sent in between, by anybody; what is left is archived afterwards."""
    monkeypatch.setattr(archive, "_HANDS", 1)  # else the last failure and the first good ones race
    good = [desk.receive(url=False) for _ in range(5)]
    desk.clock.advance(100)
    desk.land("a/dead.jsonl", desk.forge(), desk.forge())
    desk.land("b/dead.jsonl", desk.forge(), desk.forge())
    desk.land("c/good.jsonl", *good)
    closed = desk.archive(desk.landing)
    assert isinstance(closed.error, ChannelClosedError)
    wait_s = (closed.error.retry_at - desk.now()).total_seconds()
    assert HOUR_S - 60 < wait_s <= HOUR_S
    assert desk.failed() == 4
    assert desk.leases() == []
    assert (closed.counts.archived, closed.standing.pending) == (0, 5)
    sent = desk.sent()
    again = desk.archive(desk.landing)
    assert isinstance(again.error, WaitError)
    assert (again.error.retry_at, desk.sent()) == (closed.error.retry_at, sent)
    desk.clock.advance(wait_s)
    done = desk.archive(desk.landing)
    assert (done.error, done.standing.pending) == (None, 0)
    assert desk.archived_ids() == {id_of(each) for each in good}
    assert desk.failed() == 4


def test_a_block_that_somebody_else_has_caused_is_waited_out(desk):
    """One request sees it, and it is on record for all."""
    desk.number.arm("error", operation="fetch", times="always", status=429, text="Too many", retry_after=1800.0)
    for number in range(6):
        desk.land(f"{number}.jsonl", desk.receive(url=False))
    outcome = desk.archive(desk.landing)
    assert isinstance(outcome.error, WaitError)
    assert abs((outcome.error.retry_at - desk.now()).total_seconds() - 1800) < 60
    sent = desk.sent()
    assert sent[0] <= 3  # as many as were under way
    assert isinstance(desk.archive(None).error, ChannelClosedError)
    assert desk.sent() == sent
    desk.emu.disarm()
    desk.clock.advance(1800 + HOUR_S)
    assert desk.archive(None).standing.pending == 0


def test_a_throttled_url_closes_the_number_and_its_id_is_not_asked(desk):
    """A block is a block, whichever GET sees it."""
    desk.number.arm("error", operation="download", times="always", status=429, text="Too many", retry_after=900.0)
    outcome = desk.archive(desk.land("a.jsonl", desk.receive()))
    assert isinstance(outcome.error, ThrottledError)
    assert desk.sent() == (0, 1)
    assert reasons(desk) == [("pending", None)]


def test_a_smaller_share_of_the_budget_is_kept(desk, monkeypatch):
    """Another system uses the number too: after its share of failures, nothing more is sent."""
    from airflow_provider_360dialog.ledger import rules

    monkeypatch.setattr(rules, "STRICT", replace(rules.STRICT, max_errors=2))
    for number in range(9):
        desk.land(f"{number}/dead.json", desk.forge())
    assert isinstance(desk.archive(desk.landing).error, WaitError)
    assert desk.failed() == 2


def test_a_number_with_only_suspects_left_is_not_waited_for(desk):
    """A task that waited for what may be made up would wait for ever."""
    desk.land("a.jsonl", *desk.forge_many(30))
    outcome = desk.archive(desk.landing)
    assert outcome.error is None
    assert outcome.standing.suspects == outcome.standing.pending > 0


def test_a_number_that_is_closed_is_not_waited_for_where_only_suspects_are_left(desk, monkeypatch):
    """Others have spent the budget; of a suspect the run says nothing, and it is pending and free."""
    monkeypatch.setattr(archive, "_HANDS", 1)
    desk.land("forged.jsonl", *desk.forge_many(30))
    assert desk.archive(desk.landing).error is None
    desk.clock.advance(3000)
    desk.land("0/dead.json", desk.forge())
    desk.archive(desk.landing)
    desk.clock.advance(700)
    for number in range(1, 4):
        desk.land(f"{number}/dead.json", desk.forge())
    outcome = desk.archive(desk.landing)
    assert (outcome.error, outcome.counts.lost) == (None, {"gone": 3})
    assert desk.calls.ledger.ration.credits_left() == 0
    assert outcome.standing.suspects == outcome.standing.pending == 27
    assert desk.leases() == []


# --- refusals and faults of the wire ------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [True, False])
def test_a_refused_key_stops_the_run_and_loses_nothing(url, desk):
    """As many requests as were under way, and every row is pending and free."""
    desk.number.arm("unauthorized", operation="download" if url else "fetch", times="always")
    desk.land("a.jsonl", *[desk.receive(url=url) for _ in range(9)])
    outcome = desk.archive(desk.landing)
    assert isinstance(outcome.error, KeyRefusedError)
    assert desk.failed() <= 3
    assert reasons(desk) == [("pending", None)] * 9
    assert desk.leases() == []
    desk.emu.disarm()
    desk.clock.advance(HOUR_S)
    assert desk.archive(None).counts.archived == 9


def test_a_refused_access_stops_the_run_and_loses_nothing(desk):
    """The number or the account may not do this: no file's fault."""
    desk.number.arm("error", operation="fetch", times="always", status=403, text="Not allowed")
    desk.land("a.jsonl", *[desk.receive(url=False) for _ in range(5)])
    outcome = desk.archive(desk.landing)
    assert isinstance(outcome.error, AccessRefusedError)
    assert desk.sent()[0] <= 3
    assert reasons(desk) == [("pending", None)] * 5
    assert desk.leases() == []


def test_a_server_that_fails_leaves_the_row_pending_and_at_rest(desk):
    """For an hour, then it is tried again, and the rest is longer each time; no reason, for nothing is lost."""
    webhook = desk.receive(url=False)
    desk.number.arm("error", operation="fetch", times="always", status=500)
    outcome = desk.archive(desk.land("a.json", webhook))
    assert (outcome.error, outcome.counts.lost, outcome.standing.pending) == (None, {}, 1)
    assert desk.sent() == (2, 0)  # repeated once
    assert desk.archive(None).error is None
    desk.clock.advance(HOUR_S - 60)
    desk.archive(None)
    assert desk.sent() == (2, 0)
    desk.clock.advance(61)
    desk.archive(None)
    assert desk.sent() == (4, 0)
    desk.clock.advance(HOUR_S + 1)
    desk.archive(None)
    assert desk.sent() == (4, 0)
    desk.emu.disarm()
    desk.clock.advance(HOUR_S)
    assert desk.archive(None).counts.archived == 1


def test_one_file_that_fails_does_not_hold_up_the_others(desk):
    """They are archived in the same run."""
    bad, good = desk.receive(url=False), [desk.receive(url=False) for _ in range(8)]
    desk.number.arm("error", operation="fetch", times="always", status=500, media_id=id_of(bad))
    outcome = desk.archive(desk.land("a.jsonl", bad, *good))
    assert (outcome.error, outcome.counts.archived, outcome.standing.pending) == (None, 8, 1)


def test_downloads_that_are_never_found_are_told_as_gone_and_end_as_gone(desk):
    """It may still come, so it is asked again until its life ends; each time it is told."""
    webhook = desk.receive(url=False)
    desk.number.arm("error", operation="download", times="always", status=404, text="Media not found")
    outcome = desk.archive(desk.land("a.json", webhook))
    assert (outcome.error, outcome.counts.lost, outcome.standing.pending) == (None, {"gone": 1}, 1)
    assert [(line["reason"], line["is_final"]) for line in desk.report(outcome)] == [("gone", False)]
    assert desk.sent() == (2, 2)
    desk.clock.advance(HOUR_S + 1)
    assert desk.archive(None).counts.lost == {"gone": 1}
    desk.clock.advance(7 * DAY_S)
    outcome = desk.archive(None)
    assert reasons(desk) == [("lost", "gone")]
    assert [(line["reason"], line["is_final"]) for line in desk.report(outcome)] == [("gone", True)]
    assert desk.sent() == (4, 4)


def test_what_was_told_as_lost_and_came_after_all_is_lost_no_more(desk):
    """The ledger says archived, without a reason."""
    desk.number.arm("wrong_bytes", operation="download", times=2)
    outcome = desk.archive(desk.land("a.json", desk.receive(url=False)))
    assert outcome.counts.lost == {"corrupt": 1}
    desk.clock.advance(HOUR_S + 1)
    assert desk.archive(None).counts.archived == 1
    assert reasons(desk) == [("archived", None)]


def test_a_host_that_cannot_be_reached_costs_nothing_and_ends_the_run(desk):
    """No credit, no failure of a file; every row is pending and free."""
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        calls = desk.calls_of(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}")
        outcome = desk.archive(desk.land("a.jsonl", *[desk.receive(url=False) for _ in range(4)]), calls=calls)
    assert isinstance(outcome.error, UnreachableError)
    assert desk.calls.ledger.ration.credits_left() == 4
    assert [(row["state"], row["failures"]) for row in desk.rows()] == [("pending", 0)] * 4
    assert desk.leases() == []
    assert desk.archive(None).counts.archived == 4


# --- the destination ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["a file", "below a file", "/proc"])
def test_a_place_that_cannot_be_written_to_is_found_out_before_any_request(where, desk):
    """No credit is spent for what could not be stored (F72); every row is pending and free."""
    (desk.path / "taken").write_text("mine")
    place = {"a file": desk.path / "taken", "below a file": desk.path / "taken" / "x", "/proc": "/proc/nothing/here"}[where]
    outcome = desk.archive(desk.land("a.jsonl", *[desk.receive(url=False) for _ in range(4)]), folder=folder_at(place))
    assert isinstance(outcome.error, DestinationError)
    assert desk.sent() == (0, 0)
    assert reasons(desk) == [("pending", None)] * 4
    assert desk.leases() == []
    assert (desk.path / "taken").read_text() == "mine"


def test_a_full_disk_is_found_out_before_any_request(desk):
    """The probe is a file like any other."""
    folder = folder_at(desk.place)

    def check():
        raise StorageFailedError(uri="x", reason="No space left on device")

    folder.check = check
    outcome = desk.archive(desk.land("a.jsonl", desk.receive()), folder=folder)
    assert isinstance(outcome.error, StorageFailedError)
    assert desk.sent() == (0, 0)
    assert desk.leases() == []


class FullFolder:
    """A folder whose disk has filled up right after the probe."""

    def __init__(self, folder):
        self._folder, self.uri = folder, folder.uri

    def check(self):
        self._folder.check()

    @contextmanager
    def stage(self):
        with self._folder.stage() as staged:

            def write(_block):
                raise OSError(errno.ENOSPC, "No space left on device")

            yield SimpleNamespace(file=SimpleNamespace(write=write), publish=staged.publish)


@pytest.mark.parametrize("url", [True, False])
def test_a_disk_that_fills_up_ends_the_run_and_blames_no_file(url, desk):
    """What was under way is pending and free, and no half file is left."""
    path = desk.land("a.jsonl", *[desk.receive(url=url) for _ in range(9)])
    outcome = desk.archive(path, folder=FullFolder(desk.folder))
    assert isinstance(outcome.error, StorageFailedError)
    assert "No space left" in str(outcome.error)
    assert desk.sent()[1] <= 3
    assert [(row["state"], row["failures"]) for row in desk.rows()] == [("pending", 0)] * 9
    assert desk.leases() == []
    assert desk.files() == {}
    desk.clock.advance(HOUR_S)
    assert desk.archive(None).counts.archived == 9


def test_the_folder_is_probed_once_a_run(desk):
    """Not for each file; and the probe is gone."""
    folder = folder_at(desk.place)
    folder.check = Once(folder.check)
    assert desk.archive(desk.land("a.jsonl", *[desk.receive() for _ in range(9)]), folder=folder).counts.archived == 9
    assert len(folder.check.calls) == 1
    assert PROBE_NAME not in desk.files()


# --- the ledger ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [3, 5, 11])
@pytest.mark.parametrize("what", ["read", "write"])
def test_a_ledger_that_is_away_again_and_again_is_waited_for(what, every, desk, monkeypatch):
    """Nothing is lost and no file is fetched twice."""
    desk.land("a.jsonl", *[desk.receive(url=number % 2 == 0) for number in range(12)], desk.forge())
    path, lock, count = desk.landing, threading.Lock(), [0]
    ask = getattr(desk.store, what)

    def sometimes():
        with lock:
            count[0] += 1
            away = count[0] % every == 0
        if away:
            raise LedgerUnavailableError(place="p", reason="r")
        return ask()

    run = desk.begin()
    desk.take_in(path, run=run)
    archiver = desk.archiver()
    monkeypatch.setattr(desk.store, what, sometimes)
    archiver.archive(run, desk.calls)
    monkeypatch.undo()
    assert count[0] > every
    assert desk.sent() == (7, 12)
    assert [state for state, _ in reasons(desk)].count("archived") == 12
    assert desk.leases() == []


def test_an_answer_of_the_ledger_that_is_lost_counts_nothing_twice(desk, monkeypatch):
    """What was committed and not heard of is said again."""
    from airflow_provider_360dialog.ledger.inbound import Inbound

    archive_row, lost = Inbound.archive, []

    def commit_and_vanish(self, item, *args, **more):
        answer = archive_row(self, item, *args, **more)
        if item.media_id not in lost:
            lost.append(item.media_id)
            raise LedgerUnavailableError(place="p", reason="r")
        return answer

    monkeypatch.setattr(Inbound, "archive", commit_and_vanish)
    outcome = desk.archive(desk.land("a.jsonl", *[desk.receive() for _ in range(3)]))
    assert len(lost) == 3
    assert (outcome.counts.archived, outcome.error) == (3, None)


# --- ends of a run ------------------------------------------------------------------------------------------------


def test_a_run_that_is_told_to_end_finishes_what_is_under_way(desk):
    """The rest is pending and free, and the next run does it."""
    contents = [jpeg() for _ in range(12)]
    for number, content in enumerate(contents):
        desk.land(f"{number}/a.json", desk.receive(content, url=False))
    desk.calls.api.download = gate = Gate(desk.calls.api.download)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(desk.archive, desk.landing)
        wait_for(lambda: gate.waiting == 3, "the third download")
        desk.stop.set()
        gate.open()
        outcome = running.result(60)
    assert isinstance(outcome.error, StoppedError)
    assert desk.sent() == (3, 3)
    assert len(desk.files()) == 3
    assert [state for state, _ in reasons(desk)].count("archived") == 3
    assert desk.leases() == []
    desk.stop.clear()
    assert desk.archive(None).counts.archived == 9
    assert desk.sent() == (12, 12)
    assert sorted(desk.files().values()) == sorted(contents)


def test_what_does_not_end_in_time_is_given_back(desk, monkeypatch):
    """SIGKILL would follow; what comes later is stored under the same name and counts for nobody."""
    monkeypatch.setattr(archive, "_LAST_WORDS_S", 0.1)
    content = jpeg()
    desk.land("a.json", desk.receive(content))
    desk.calls.api.download = gate = Gate(desk.calls.api.download)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(desk.archive, desk.landing)
        wait_for(lambda: gate.waiting == 1, "the download")
        desk.stop.set()
        outcome = running.result(60)
        assert isinstance(outcome.error, StoppedError)
        assert desk.leases() == []
        assert desk.files() == {name: content for name, content in desk.files().items() if name.endswith(".part")}
        gate.open()
    wait_for(lambda: not any(thread.name.startswith("archive") for thread in threading.enumerate()), "the end of the last thread")
    assert reasons(desk) == [("pending", None)]
    desk.stop.clear()
    assert desk.archive(None).counts.archived == 1
    assert list(desk.files().values()) == [content]


def test_a_run_that_is_told_to_end_before_it_begins_sends_nothing(desk):
    """And takes no row."""
    run = desk.begin()
    desk.take_in(desk.land("a.json", desk.receive()), run=run)
    desk.stop.set()
    with pytest.raises((StoppedError, LedgerUnavailableError)):
        desk.archiver().archive(run, desk.calls)
    assert desk.sent() == (0, 0)
    assert desk.leases() == []


def kill(desk, count, *, batches):
    """A try of a task that took ``count`` files in hand and was killed: its leases stand. All its webhooks."""
    webhooks = [desk.receive() for _ in range(6)]
    if batches:
        for number, webhook in enumerate(webhooks):
            desk.land(f"{number}/a.json", webhook)
    else:
        desk.land("a.jsonl", *webhooks)
    calls = desk.calls_of(task="dag/run/task/-1", try_number=1)
    desk.take_in(desk.landing, calls=calls)
    for _ in range(count):
        assert calls.ledger.inbound.take(calls.ledger.claimant()) is not None
    return webhooks


@pytest.mark.parametrize(
    ("count", "batches"),
    [
        pytest.param(3, True, id="three of three batches"),
        pytest.param(2, False, id="two of one batch"),
        pytest.param(3, False, id="three of one batch"),
    ],
)
def test_a_killed_try_is_taken_over_by_the_next_one_at_once(count, batches, desk):
    """Airflow starts it only when it has given the last one up."""
    kill(desk, count, batches=batches)
    outcome = desk.archive(None, calls=desk.calls_of(task="dag/run/task/-1", try_number=2))
    assert (outcome.counts.archived, outcome.standing.pending) == (6, 0)
    assert desk.sent() == (0, 6)


@pytest.mark.parametrize(
    "task", [{"task": "dag/run/other/-1", "try_number": 2}, {"task": "dag/run/task/-1", "try_number": 1}, {}]
)
def test_nobody_else_takes_over_before_the_leases_lapse(task, desk):
    """It may be alive; two minutes after its last word it is not."""
    kill(desk, 3, batches=True)
    calls = desk.calls_of(**task)
    outcome = desk.archive(None, calls=calls)
    assert (outcome.counts.archived, outcome.standing.pending) == (3, 3)
    desk.clock.advance(121)
    desk.archive(None, calls=calls)
    assert len(desk.files()) == 6
    assert desk.sent() == (0, 6)


def test_two_runs_at_once_share_the_work_and_fetch_nothing_twice(desk):
    """Whichever takes a row, the other one does not."""
    contents = [jpeg() for _ in range(40)]
    for number in range(8):
        desk.land(f"{number}.jsonl", *[desk.receive(each, url=number % 2 == 0) for each in contents[number * 5 : number * 5 + 5]])
    desk.clock.advance(10)
    runs = [desk.calls_of(task=f"dag/run/task-{number}/-1", try_number=1) for number in range(2)]
    together = threading.Barrier(2)

    def go(calls):
        together.wait(60)
        return desk.archive(desk.landing, calls=calls)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(go, runs))
    assert [each.error for each in outcomes] == [None, None]
    assert sum(each.counts.archived for each in outcomes) == 40
    assert sum(each.counts.taken_in for each in outcomes) == 40
    assert desk.sent() == (20, 40)
    assert sorted(desk.files().values()) == sorted(contents)


# --- afterwards ---------------------------------------------------------------------------------------------------


def test_a_copy_is_deleted_only_when_the_archive_row_stands(desk):
    """And not without being asked to."""
    desk.archive(desk.land("kept.json", desk.receive()))
    assert desk.number.sent("delete") == 0
    states, delete = [], desk.calls.api.delete

    def look_and_delete(media_id):
        states.append(desk.row(media_id)["state"])
        assert any(media_id in name for name in desk.files())
        return delete(media_id)

    desk.calls.api.delete = look_and_delete
    webhooks = [desk.receive() for _ in range(4)]
    outcome = desk.archive(desk.land("a.jsonl", *webhooks, desk.forge()), delete_after_archive=True)
    assert (states, outcome.not_deleted, outcome.error) == (["archived"] * 4, 0, None)
    assert not {id_of(each) for each in webhooks} & {each.media_id for each in desk.emu.live_media(desk.number.number_id)}
    assert desk.archive(None, delete_after_archive=True).counts.lost == {}


@pytest.mark.parametrize(
    ("kind", "more"), [("error", {"status": 500}), ("error", {"status": 405}), ("drop", {"performs": False})]
)
def test_a_delete_that_fails_is_only_counted(kind, more, desk):
    """The file stands; the copy ends by itself."""
    desk.number.arm(kind, operation="delete", times="always", **more)
    outcome = desk.archive(desk.land("a.jsonl", *[desk.receive() for _ in range(3)]), delete_after_archive=True)
    assert (outcome.counts.archived, outcome.not_deleted, outcome.error) == (3, 3, None)


def test_a_copy_that_is_gone_already_counts_as_deleted(desk):
    """Somebody was quicker."""
    desk.number.arm("error", operation="delete", times="always", status=404, text="not found", shape="B")
    outcome = desk.archive(desk.land("a.json", desk.receive()), delete_after_archive=True)
    assert (outcome.counts.archived, outcome.not_deleted, outcome.error) == (1, 0, None)


def test_a_key_that_is_refused_while_deleting_stops_the_run_after_the_file_was_archived(desk):
    """The row stands as archived."""
    desk.number.arm("unauthorized", operation="delete", times="always")
    outcome = desk.archive(desk.land("a.json", desk.receive()), delete_after_archive=True)
    assert isinstance(outcome.error, KeyRefusedError)
    assert reasons(desk) == [("archived", None)]


def test_a_run_that_has_lost_its_lease_deletes_nothing(desk):
    """The row is another run's, whose folder may be another one; it could only note it as gone."""
    desk.land("a.json", desk.receive())
    desk.calls.api.download = gate = Gate(desk.calls.api.download)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(desk.archive, desk.landing, delete_after_archive=True)
        wait_for(lambda: gate.waiting == 1, "the download")
        desk.clock.advance(121)
        other = desk.calls_of(task="dag/run/other/-1", try_number=1)
        taken = other.ledger.inbound.take(other.ledger.claimant())
        assert taken is not None
        gate.open()
        running.result(60)
    assert desk.number.sent("delete") == 0
    other.ledger.inbound.give_back(taken)
    assert desk.archive(None, calls=other).counts.archived == 1


HOSTILE_TEXT = "\u202efdp.exe\n\x00\x1b[31m\"}{'\u2028</script>\ud800"


def test_metadata_holds_all_that_the_webhook_says_escaped_and_no_url(desk):
    """A JSON file beside the file, under its name."""
    webhook = desk.receive(
        b"%PDF-1.7\n%%EOF\n", "application/pdf", file_name=HOSTILE_TEXT, caption=f"a\n{HOSTILE_TEXT}", sender="15550001111"
    )
    path = desk.land("a.jsonl", webhook)
    outcome = desk.archive(path, write_metadata=True)
    assert outcome.counts.archived == 1
    [name] = [name for name in desk.files() if name.endswith(".pdf")]
    text = desk.files()[f"{name}.json"].decode("ascii")
    said = json.loads(text)
    part, message = part_of(webhook), message_of(webhook)
    shown = "\\u202efdp.exe\\n\\x00\\x1b[31m\"}{'\\u2028</script>\\ud800"
    assert said == {
        "phone_number_id": desk.number.number_id,
        "uri": str(desk.place / name),
        "mime_type": "application/pdf",
        "size_bytes": 15,
        "sha256": desk.emu.media(part["id"]).sha256_hex,
        "media_id": part["id"],
        "kind": "document",
        "announced_mime_type": "application/pdf",
        "received_at": datetime.fromtimestamp(int(message["timestamp"]), desk.now().tzinfo).isoformat(),
        "message_id": message["id"],
        "sender": "15550001111",
        "file_name": shown,
        "caption": "a\n" + shown.replace("exe\\n", "exe\n"),
        "source": str(path),
        "line": 1,
    }
    for secret in (part["url"], "lookaside", "hash="):
        assert secret not in text


def test_metadata_of_a_webhook_that_is_not_there_any_more_says_what_the_ledger_knows(desk):
    """The file is archived all the same."""
    path = desk.land("a.jsonl", desk.receive(caption="hello"))
    desk.take_in(path)
    path.unlink()
    assert desk.archive(None, write_metadata=True).counts.archived == 1
    [text] = [content for name, content in desk.files().items() if name.endswith(".json")]
    said = json.loads(text)
    assert (said["caption"], said["sender"], said["message_id"], said["kind"]) == (None, None, None, "image")


def test_metadata_of_a_payload_names_sender_and_caption(desk):
    """It is still in hand."""
    desk.archive(desk.receive(caption="hello"), write_metadata=True)
    [text] = [content for name, content in desk.files().items() if name.endswith(".json")]
    assert json.loads(text)["caption"] == "hello"


def test_the_report_has_one_line_for_each_loss_and_no_more(desk):
    """Reason, words, when it came, where its webhook is; over many pages."""
    made = [desk.receive(url=False) for _ in range(3)]
    for webhook in made:
        part_of(webhook).pop("id")
        message_of(webhook)["id"] = f"wamid.{os.urandom(8).hex()}"
    many = [json.loads(json.dumps(made[0]).replace(message_of(made[0])["id"], f"wamid.{number}")) for number in range(1100)]
    path = desk.land("a.jsonl", *many, desk.forge(), desk.receive(b"MZ" + bytes(100)), desk.receive())
    outcome = desk.archive(path)
    assert outcome.counts.lost == {"no_id": 1100, "gone": 1, "refused_type": 1}
    lines = desk.report(outcome)
    assert len(lines) == 1102
    names = ["media_id", "reason", "details", "kind", "received_at", "is_final", "source", "line"]
    assert all(list(line) == names for line in lines)
    assert sorted(line["line"] for line in lines) == list(range(1, 1103))
    assert {line["source"] for line in lines} == {str(path)}
    assert outcome.report_uri == str(
        desk.place / desk.number.number_id / "lost" / f"{desk.now():%Y-%m-%d}-run-{outcome.run}.jsonl"
    )
    assert all(datetime.fromisoformat(line["received_at"]).utcoffset() == timedelta(0) for line in lines)


def test_what_an_earlier_try_has_lost_is_told_by_the_one_that_ends_well(desk):
    """Its own report was never written."""
    path = desk.land("a.jsonl", desk.forge(), desk.receive(url=False))
    desk.number.arm("unauthorized", operation="download")
    first = desk.archive(path, calls=desk.calls_of(task="dag/run/task/-1", try_number=1))
    assert isinstance(first.error, KeyRefusedError)
    last = desk.archive(path, calls=desk.calls_of(task="dag/run/task/-1", try_number=2))
    assert (last.error, last.counts.archived, last.counts.lost) == (None, 1, {"gone": 1})
    assert [line["reason"] for line in desk.report(last)] == ["gone"]


def test_no_loss_no_report(desk):
    """Not even an empty one."""
    outcome = desk.archive(desk.land("a.json", desk.receive()))
    assert outcome.report_uri is None
    assert len(desk.files()) == 1


# --- forged webhooks (T15) ----------------------------------------------------------------------------------------


def forge_a_thousand(desk, *, with_urls=False):
    """1,000 made-up ids in one file; in another one 50 genuine ones, which are older, so that their turn comes later."""
    genuine = [desk.receive(url=False) for _ in range(50)]
    desk.clock.advance(100)
    desk.land("genuine.jsonl", *genuine)
    desk.land("forged.jsonl", *desk.forge_many(1000, url=(lambda _: desk.fake_url()) if with_urls else None))
    return {id_of(each) for each in genuine}


@pytest.mark.parametrize("with_urls", [False, True], ids=["ids", "ids and URLs"])
def test_forged_webhooks_neither_block_the_number_nor_keep_genuine_ones_from_the_archive(with_urls, desk):
    """Never more is spent than there is, and after the window at the latest all genuine ones are there."""
    genuine = forge_a_thousand(desk, with_urls=with_urls)
    first = desk.archive(desk.landing)
    assert first.error is None or isinstance(first.error, WaitError)
    assert desk.failed() <= 4
    desk.clock.advance(HOUR_S)
    second = desk.archive(desk.landing)
    assert second.error is None
    assert desk.archived_ids() - {"lost"} == genuine
    assert second.standing.suspects == second.standing.pending >= 994


@pytest.mark.parametrize("with_urls", [False, True], ids=["ids", "ids and URLs"])
def test_a_forged_batch_costs_three_failures_in_its_first_hour(with_urls, desk):
    """One credit is left for everybody else, so all genuine ones are archived in the first run."""
    genuine = forge_a_thousand(desk, with_urls=with_urls)
    assert desk.archive(desk.landing).error is None
    assert desk.archived_ids() == genuine
    for _ in range(5):
        desk.clock.advance(600)
        desk.archive(desk.landing)
    assert desk.failed() <= 3


def test_forged_files_of_one_webhook_each_are_judged_together(desk):
    """As a landing with one file for each webhook has them."""
    genuine = [desk.receive(url=False) for _ in range(10)]
    desk.clock.advance(100)
    desk.land("genuine.jsonl", *genuine)
    for number, webhook in enumerate(desk.forge_many(60)):
        desk.land(f"forged/{number}.json", webhook)
    outcome = desk.archive(desk.landing)
    assert outcome.error is None
    assert desk.archived_ids() == {id_of(each) for each in genuine}
    assert desk.failed() <= 3


@pytest.mark.parametrize("with_urls", [False, True], ids=["ids", "ids and URLs"])
def test_of_a_forged_batch_one_request_an_hour_is_made_afterwards(with_urls, desk):
    """However often a task runs; and its genuine neighbours of later are archived at once."""
    forge_a_thousand(desk, with_urls=with_urls)
    desk.archive(desk.landing)
    desk.clock.advance(HOUR_S)
    desk.archive(desk.landing)
    assert len(desk.archived_ids()) == 50
    for hour in range(5):
        desk.clock.advance(HOUR_S)
        before = desk.failed()
        desk.land(f"genuine-{hour}.jsonl", desk.receive(url=False))
        for _ in range(4):
            desk.clock.advance(30)
            assert desk.archive(desk.landing).error is None
        assert desk.failed() - before == 1
    assert len(desk.archived_ids()) == 55


def test_of_a_suspect_the_id_is_asked_though_it_brings_a_url(desk):
    """One request settles it; a URL that fails would leave it where it was. The first two have lost their URLs already."""
    forge_a_thousand(desk, with_urls=True)
    desk.archive(desk.landing)
    before, lost = desk.sent(), reasons(desk).count(("lost", "gone"))
    for _ in range(4):
        desk.clock.advance(HOUR_S + 60)
        desk.archive(desk.landing)
    assert [now - then for now, then in zip(desk.sent(), before, strict=True)] == [4, 0]
    assert reasons(desk).count(("lost", "gone")) == lost + 4


def test_a_batch_under_suspicion_is_cleared_by_one_that_answers(desk):
    """Who made it up could not have known an id that answers."""
    made = desk.forge_many(3)
    genuine = [desk.receive(url=False) for _ in range(9)]
    for webhook in genuine:  # older, so that they come later
        message_of(webhook)["timestamp"] = str(int(message_of(webhook)["timestamp"]) - 1000)
    path = desk.land("a.jsonl", *made, *genuine)
    outcome = desk.archive(path)
    for _ in range(2):
        if not outcome.standing.pending:
            break
        desk.clock.advance(HOUR_S + 1)
        outcome = desk.archive(path)
    assert outcome.standing.pending == 0
    assert desk.archived_ids() == {id_of(each) for each in genuine}


def test_a_webhooks_url_that_is_refused_in_an_unknown_way_is_a_url_that_failed(desk):
    """It is not tried again, its row is free, and the id is asked."""
    path = desk.land("a.jsonl", desk.receive())
    desk.number.arm("error", operation="download", status=418, times=1)
    outcome = desk.archive(path)
    assert (outcome.error, outcome.counts.archived) == (None, 1)
    assert desk.leases() == []
    assert desk.sent() == (1, 2)
