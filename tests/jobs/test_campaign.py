"""A campaign's uploads on one channel: each file once, within bounds, whatever becomes of single files; and their renewal."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import threading
import time
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.exceptions import (
    CampaignUnknownError,
    ChannelClosedError,
    ChannelFrozenError,
    KeyRefusedError,
    LedgerUnavailableError,
    ServerError,
    SourceUnreadableError,
    StoppedError,
    TooManyRejectsError,
    UploadRefusedError,
)
from airflow_provider_360dialog.jobs import campaign as module
from airflow_provider_360dialog.jobs.calls import Calls
from airflow_provider_360dialog.jobs.campaign import Progress, Uploader
from airflow_provider_360dialog.jobs.upload import upload
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.campaign_runs import read_runs
from airflow_provider_360dialog.ledger.campaigns import Campaigns, PendingItem, PlannedItem
from airflow_provider_360dialog.ledger.uploads import Fingerprint
from airflow_provider_360dialog.ports import Channel, DagRun, Timeouts
from tests.jobs.doubles import MemorySource
from tests.support.ledger import channel_of, open_store

DAY_S = 86_400.0
NOTHING_SAID = {"mime_type": None, "filename": None, "kind": None}
_media_ids = itertools.count(10**14)


def pdf(name):
    """A small file that is judged good, unlike any other name's."""
    return b"%PDF-1.4\n" + hashlib.sha256(name.encode()).digest() * 40 + b"\nstartxref\n0\n%%EOF\n"


class Bench:
    """One channel of a ledger, its campaigns, and the files that these are about, in memory."""

    def __init__(self, store):
        self.store, self.ledger, self.campaigns = store, channel_of(store), Campaigns(store)
        self.channel_id = self.ledger.identity.channel_id
        self.files = {}

    def plan(self, files, *, campaign="c", days=10.0):
        """Put a campaign on record: key -> content, (content, place), (content, place, size in bytes), or None for a reject."""
        items = []
        for key, given in files.items():
            content, place, *size = given if isinstance(given, tuple) else (given, f"memory:{key}")
            self.files.setdefault(place, content)
            if content is None:
                reason = ({"code": "malformed", "message": "", "remedy": ""},)
                items.append(PlannedItem(self.channel_id, "number_a", key, place, NOTHING_SAID, None, None, None, reason))
                continue
            file = Fingerprint(hashlib.sha256(content).hexdigest(), "application/pdf", *(size or [len(content)]))
            items.append(PlannedItem(self.channel_id, "number_a", key, place, NOTHING_SAID, f"{key}.pdf", None, file))
        now = self.store.read_now().timestamp()
        planned = self.campaigns.begin_plan(campaign, now + days * DAY_S)
        self.campaigns.record(planned, items)
        self.campaigns.end_plan(planned)

    def source_at(self, place):
        if place not in self.files:
            raise SourceUnreadableError(uri=place, reason="No such file or directory")
        source = MemorySource(self.files[place])
        source.uri = place
        source.name = f"{place.removeprefix('memory:')}.pdf"
        return source

    def states(self):
        """Key -> planned, or the codes of the reasons why it is rejected."""
        item = schema.item
        with self.store.read() as db:
            rows = db.execute(sa.select(item.c.key, item.c.state, item.c.reason)).all()
        return {
            row.key: [each["code"] for each in json.loads(row.reason)] if row.state == schema.REJECTED else row.state
            for row in rows
        }

    def ready(self, campaign="c"):
        return sum(work.ready for work in self.campaigns.work(self.campaigns.find(campaign)))

    def ids(self):
        """Media id -> state, of all that are on record."""
        with self.store.read() as db:
            return {row.media_id: row.state for row in db.execute(sa.select(schema.media.c.media_id, schema.media.c.state))}


class Sender:
    """In place of the wire: fails as it is told, and puts on record what succeeds."""

    def __init__(self, bench, *, takes_s=0.0):
        self.bench, self.takes_s, self.faults = bench, takes_s, {}
        self.sent, self.most, self.moments = [], 0, []
        self._lock, self._under_way = threading.Lock(), []

    def __call__(self, item):
        with self._lock:
            self.sent.append(item.uri)
            self._under_way.append(item)
            self.most = max(self.most, len(self._under_way))
            self.moments.append(tuple(each.file.size_bytes for each in self._under_way))
        try:
            self.work(item)
            claim = self.bench.ledger.uploads.claim(item.file, self.bench.ledger.claimant())
            return self.bench.ledger.uploads.complete(claim, item.file, str(next(_media_ids)))
        finally:
            with self._lock:
                self._under_way.remove(item)

    def work(self, item):
        time.sleep(self.takes_s)
        if item.uri in self.faults:
            raise self.faults[item.uri]


class Pausing(threading.Event):
    """A flag to stop whose minute costs no time; ``during`` is called instead."""

    def __init__(self):
        super().__init__()
        self.pauses, self.during = [], lambda: None

    def wait(self, timeout=None):
        if timeout is not None and timeout >= 60:
            self.pauses.append(timeout)
            self.during()
            return self.is_set()
        return super().wait(timeout)


@pytest.fixture
def stop():
    return Pausing()


@pytest.fixture
def bench(tmp_path, clock):
    return Bench(open_store(tmp_path, now_sql=clock.now_sql))


@pytest.fixture
def sender(bench):
    return Sender(bench)


@pytest.fixture
def uploader(bench, sender, stop):
    """An uploader without a wire."""
    return lambda **more: Uploader(bench.store, sender, stop, **more)


@pytest.fixture
def on_the_wire(bench, number, stop):
    """An uploader for the emulator, one file at a time unless told otherwise: then what is armed meets the first of them."""
    channel = Channel(api_key=number.key, base_url=number.base_url, timeouts=Timeouts(2.0, 5.0, 10.0))
    calls = Calls(MediaApi(channel), bench.ledger, stop=stop)

    def make(concurrency=1, valid_until=None, **more):
        def send(item):
            return upload(bench.source_at(item.uri), calls=calls, sha256=item.file.sha256, valid_until=valid_until, **item.said)

        return Uploader(bench.store, send, stop, concurrency=concurrency, **more)

    yield make
    calls.api.close()


def go(uploader, bench, *, ratio=1.0):
    return uploader.upload("c", bench.channel_id, max_reject_ratio=ratio)


def item_of(size_bytes):
    return PendingItem(1, "memory:a", NOTHING_SAID, 1, Fingerprint("0" * 64, "application/pdf", size_bytes))


def refused(text="Something is wrong"):
    return UploadRefusedError(status=400, code=100, details=text)


# --- each file once -----------------------------------------------------------------------------------------------


def test_everything_that_is_pending_is_sent_once_and_a_rerun_makes_no_call(bench, number, on_the_wire):
    """Not even one that costs nothing."""
    contents = [pdf(f"{each}") for each in range(30)]
    bench.plan({f"{each}": content for each, content in enumerate(contents)})
    done = go(on_the_wire(8), bench)
    assert done.counts() == {"total": 30, "done": 30, "rejected": 0, "uploads": 30, "failed": 0}
    sent = number.emu.counters(number.number_id)
    assert sent["uploads_by_sha256"] == {hashlib.sha256(content).hexdigest(): 1 for content in contents}
    assert bench.ready() == 30
    assert go(on_the_wire(8), bench).counts() == {"total": 0, "done": 0, "rejected": 0, "uploads": 0, "failed": 0}
    assert number.emu.counters(number.number_id)["requests"] == sent["requests"] == {"upload": 30}


def test_who_uploads_is_on_record_while_it_goes_on(bench, sender, uploader):
    """With the DAG run on whose behalf, so that people who look find it."""
    bench.plan({"a": pdf("a")})
    seen = []

    def who():
        with bench.store.read() as db:
            found = read_runs(db, bench.campaigns.find("c").row, bench.store.read_now().timestamp())
        return [(each.dag_id, each.run_id, each.is_running) for each in found]

    sender.work = lambda item: seen.append(who())
    go(uploader(dag_run=DagRun("vouchers", "monday")), bench)
    assert seen == [[("vouchers", "monday", True)]]
    assert who() == [("vouchers", "monday", False)]


@pytest.mark.parametrize("places", ["one place", "places of their own"])
def test_items_of_one_file_count_each_and_are_sent_once(places, bench, number, on_the_wire):
    """A logo for a thousand recipients."""
    bench.plan({
        f"{each}": (pdf(f"{each % 3}"), f"memory:{each if places == 'places of their own' else each % 3}") for each in range(12)
    })  # fmt: skip
    assert go(on_the_wire(4), bench).counts() == {"total": 12, "done": 12, "rejected": 0, "uploads": 3, "failed": 0}
    assert number.sent("upload") == 3
    assert bench.ready() == 12


def test_an_id_of_another_campaign_answers(bench, sender, uploader):
    """What is ready is not even looked at."""
    bench.plan({"a": pdf("a")}, campaign="before")
    uploader().upload("before", bench.channel_id, max_reject_ratio=0.0)
    bench.plan({"a": pdf("a"), "b": pdf("b")})
    assert go(uploader(), bench).counts()["total"] == 1
    assert sender.sent == ["memory:a", "memory:b"]


def test_a_campaign_that_was_never_planned_is_unknown(bench, uploader):
    with pytest.raises(CampaignUnknownError):
        go(uploader(), bench)


# --- how many at once ---------------------------------------------------------------------------------------------


def test_bytes_in_flight_stay_below_their_bound_and_what_is_larger_goes_alone(bench, sender, uploader):
    """Memory and the link are shared with other tasks."""
    sizes = [30, 30, 30, 250, 30, 100, 30, 30, 70, 30]
    bench.plan({f"{each}": (pdf(f"{each}"), f"memory:{each}", size) for each, size in enumerate(sizes)})
    sender.takes_s = 0.02
    assert go(uploader(max_bytes_in_flight=100), bench).done == len(sizes)
    assert 2 <= sender.most <= 3
    assert all(sum(sizes) <= 100 or len(sizes) == 1 for sizes in sender.moments)
    assert {(250,), (100,)} <= set(sender.moments)


def test_a_given_concurrency_is_kept(bench, sender, uploader):
    bench.plan({f"{each}": pdf(f"{each}") for each in range(20)})
    sender.takes_s = 0.01
    go(uploader(concurrency=3), bench)
    assert sender.most == 3


def test_without_one_more_are_sent_at_once_as_long_as_that_helps(bench, sender, uploader, monkeypatch):
    """Where uploads take long, eight at once do not reach the line."""
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.15)
    bench.plan({f"{each}": pdf(f"{each}") for each in range(150)})
    sender.takes_s = 0.1
    go(uploader(), bench)
    assert 8 < sender.most <= 64


@pytest.mark.parametrize(
    ("rates", "hands"),
    [
        pytest.param([20, 24, 24, 24.2, 23], [16, 24, 24, 24, 24], id="at the line more hands do not help"),
        pytest.param([5, 10, 15, 20], [16, 24, 32, 40], id="below it they do"),
        pytest.param([10.0 * each for each in range(1, 10)], [16, 24, 32, 40, 48, 56, 64, 64, 64], id="64 are the most"),
        pytest.param([0, 0], [8, 8], id="nothing comes back: not the hands are missing"),
    ],
)
def test_how_many_are_sent_at_once_follows_from_what_was_done(rates, hands, bench, uploader, monkeypatch):
    """In the last two seconds."""
    run = module._Run(uploader(), bench.campaigns, Progress())
    found, now = [], run._looked_at
    for rate in rates:
        run._under_way = {Future(): None for _ in range(run._hands)}
        assert not run._has_room(None)
        run._under_way.clear()  # as they come back
        run._progress.done += int(rate * 20)
        now += 20.0
        run._follow_the_pace(now)
        found.append(run._hands)
    assert found == hands


def test_hands_that_are_not_all_used_are_enough(bench, uploader):
    """A bound on bytes, or a short rest, keeps them idle."""
    run = module._Run(uploader(), bench.campaigns, Progress())
    run._under_way = {Future(): None for _ in range(7)}
    assert run._has_room(item_of(1))
    assert not run._has_room(item_of(65 * 1024**2))
    run._progress.done = 100
    run._follow_the_pace(run._looked_at + 2)
    assert run._hands == 8


# --- bad files ----------------------------------------------------------------------------------------------------


def test_a_bad_file_is_rejected_with_its_reason_and_the_others_go_on(bench, number, on_the_wire):
    """However it turns out to be bad: the plan was made in the evening, the upload is made in the night."""
    bench.plan({name: pdf(name) for name in ("a refused", "changed", "gone", "html", "yet good", "zest")})
    bench.files["memory:html"] = b"<html><body>Error 500</body></html>"
    bench.files["memory:changed"] = pdf("another")
    del bench.files["memory:gone"]
    number.arm("error", operation="upload", status=400, text="Bad", code=100)
    done = go(on_the_wire(), bench)
    assert done.counts() == {"total": 6, "done": 2, "rejected": 4, "uploads": 2, "failed": 0}
    states = bench.states()
    assert [code for code in states["html"] if code.islower()] == states["html"] != []
    del states["html"]
    assert states == {
        "gone": ["source_unreadable"],
        "changed": ["source_changed"],
        "a refused": ["upload_refused"],
        "yet good": "planned",
        "zest": "planned",
    }
    assert number.sent("upload") == 3


def test_what_was_rejected_is_not_tried_again_by_a_rerun(bench, sender, uploader):
    """A new plan would have it tried."""
    bench.plan({"a": pdf("a"), "b": pdf("b")})
    sender.faults["memory:a"] = refused()
    go(uploader(), bench)
    assert go(uploader(), bench).counts()["total"] == 0
    assert len(sender.sent) == 2
    bench.plan({"a": pdf("a"), "b": pdf("b")})
    assert go(uploader(), bench).counts()["rejected"] == 1
    assert len(sender.sent) == 3


@pytest.mark.parametrize("concurrency", [1, 4])
def test_bytes_that_are_bad_at_one_place_are_sent_from_another(concurrency, bench, sender, uploader):
    """Copies of one file; some of the copies are gone."""
    places = {f"{each}": (pdf("same"), f"memory:{each}") for each in range(5)}
    bench.plan(places | {"last": (pdf("same"), "memory:0"), "other": pdf("other")})
    for each in range(3):
        sender.faults[f"memory:{each}"] = SourceUnreadableError(uri=f"memory:{each}", reason="No such file or directory")
    done = go(uploader(concurrency=concurrency), bench)
    assert done.counts() == {"total": 7, "done": 3, "rejected": 4, "uploads": 2, "failed": 0}
    assert sorted(sender.sent) == ["memory:0", "memory:1", "memory:2", "memory:3", "memory:other"]
    assert {key for key, state in bench.states().items() if state == "planned"} == {"3", "4", "other"}
    assert bench.ready() == 3


def test_bytes_that_360dialog_refuses_are_not_sent_again_from_elsewhere(bench, sender, uploader):
    """They would be refused again."""
    bench.plan({f"{each}": (pdf("same"), f"memory:{each}") for each in range(5)} | {"other": pdf("other")})
    sender.faults = {f"memory:{each}": refused() for each in range(5)}
    done = go(uploader(concurrency=1), bench)
    assert (done.done, done.rejected) == (1, 5)
    assert sender.sent == ["memory:0", "memory:other"]
    assert bench.states() == {f"{each}": ["upload_refused"] for each in range(5)} | {"other": "planned"}


@pytest.mark.parametrize(("ratio", "fails"), [(0.25, False), (0.24, True), (0.0, True), (1.0, False)])
def test_a_share_of_the_items_may_be_rejected(ratio, fails, bench, sender, uploader):
    """More is an error, once all others are done."""
    bench.plan({name: pdf(name) for name in "abcd"})
    sender.faults["memory:a"] = refused()
    if not fails:
        assert go(uploader(), bench, ratio=ratio).rejected == 1
        return
    with pytest.raises(TooManyRejectsError) as caught:
        go(uploader(), bench, ratio=ratio)
    assert (caught.value.rejected, caught.value.items, bench.ready()) == (1, 4, 3)
    with pytest.raises(TooManyRejectsError):  # a retry is no way around it
        go(uploader(), bench, ratio=ratio)


def test_rejects_of_the_plan_are_not_weighed_again(bench, uploader):
    """They may lie on one channel of many: the plan has weighed them against all items."""
    bench.plan({"a": pdf("a"), "b": None})
    assert go(uploader(), bench, ratio=0.0).done == 1


# --- the same refusal again and again -----------------------------------------------------------------------------


def test_three_equal_refusals_in_a_row_pause_once_and_three_more_stop(bench, number, on_the_wire, stop, caplog):
    """Needs F39: no accident, so somebody has to look."""
    bench.plan({f"{each}": pdf(f"{each}") for each in range(20)})
    number.arm("error", operation="upload", times="always", status=400, text="Bad", code=100)
    with caplog.at_level(logging.WARNING), pytest.raises(UploadRefusedError):
        go(on_the_wire(), bench)
    assert number.sent("upload") == 6
    assert stop.pauses == [60.0]
    assert [record for record in caplog.records if "?" in record.message and "60 s" in record.message]
    assert sum(state == ["upload_refused"] for state in bench.states().values()) == 6


def test_what_was_in_flight_at_the_pause_does_not_count_after_it(bench, sender, uploader, stop):
    """Else a pause would be none: those who were sent before it come back with the same words."""
    bench.plan({f"{each}": pdf(f"{each}") for each in range(30)})
    sender.takes_s = 0.02
    sender.faults = {f"memory:{each}": refused() for each in range(30)}
    sent_at_pause = []
    stop.during = lambda: (time.sleep(0.1), sent_at_pause.append(len(sender.sent)))
    with pytest.raises(UploadRefusedError):
        go(uploader(concurrency=8), bench)
    assert len(stop.pauses) == 1
    assert sent_at_pause[0] + 3 <= len(sender.sent) <= sent_at_pause[0] + 16


def test_the_rest_is_sent_where_the_pause_has_helped(bench, number, on_the_wire, stop):
    """Three are lost until the next plan."""
    bench.plan({f"{each}": pdf(f"{each}") for each in range(10)})
    number.arm("error", operation="upload", times="always", status=400, text="Bad", code=100)
    stop.during = number.emu.disarm
    done = go(on_the_wire(), bench)
    assert (done.done, done.rejected, len(stop.pauses)) == (7, 3, 1)


@pytest.mark.parametrize(
    ("faults", "pauses"),
    [
        pytest.param([refused()] * 2 + [None] + [refused()] * 2, 0, id="a success between them"),
        pytest.param([refused("a"), refused("b"), refused("a"), refused("b")], 0, id="other words"),
        pytest.param([SourceUnreadableError(uri=f"memory:{each}", reason="Gone") for each in range(9)], 0, id="files gone"),
        pytest.param([refused()] * 3 + [None] * 3, 1, id="three and then no more"),
    ],
)
def test_what_has_no_common_cause_is_no_reason_to_pause(faults, pauses, bench, sender, uploader, stop):
    """Each is the trouble of its own file."""
    bench.plan({f"{each}": pdf(f"{each}") for each in range(len(faults))})
    sender.faults = {f"memory:{each}": fault for each, fault in enumerate(faults) if fault is not None}
    assert go(uploader(concurrency=1), bench).rejected == len(sender.faults)
    assert len(stop.pauses) == pauses


def test_a_storage_that_refuses_access_is_asked_about_too(bench, sender, uploader, stop):
    """Needs F71: wrong credentials are not the files' fault."""
    bench.plan({f"{each}": pdf(f"{each}") for each in range(20)})
    for each in range(20):
        fault = SourceUnreadableError(uri=f"memory:{each}", reason="Forbidden")
        fault.__cause__ = PermissionError("Forbidden")
        sender.faults[f"memory:{each}"] = fault
    with pytest.raises(SourceUnreadableError):
        go(uploader(concurrency=1), bench)
    assert (len(sender.sent), len(stop.pauses)) == (6, 1)


# --- what may pass, and what stops the channel --------------------------------------------------------------------


def test_what_may_pass_is_left_pending_and_raised_at_the_end(bench, sender, uploader):
    """The others are done by then, and a retry has only these to do."""
    bench.plan({f"{each}": pdf(f"{each}") for each in range(10)} | {"again": (pdf("3"), "memory:3")})
    fault = sender.faults["memory:3"] = ServerError(operation="upload", status=503, details="busy")
    seen = []
    with pytest.raises(ServerError) as caught:
        go(uploader(report=lambda progress: seen.append(progress.counts())), bench)
    assert caught.value is fault
    assert seen[-1] == {"total": 11, "done": 9, "rejected": 0, "uploads": 9, "failed": 1}
    assert set(bench.states().values()) == {"planned"}
    sender.faults.clear()
    assert go(uploader(), bench).counts() == {"total": 2, "done": 2, "rejected": 0, "uploads": 1, "failed": 0}
    assert sender.sent.count("memory:3") == 2


def test_a_host_that_answers_nothing_but_failures_is_left_alone(bench, sender, uploader, stop):
    """Each of them took minutes of patience: Airflow's next try is the better place to wait."""
    bench.plan({f"{each}": pdf(f"{each}") for each in range(60)})
    sender.faults = {f"memory:{each}": ServerError(operation="upload", status=503, details="busy") for each in range(60)}
    with pytest.raises(ServerError):
        go(uploader(), bench)
    assert 20 <= len(sender.sent) <= 28
    assert not stop.pauses


FATAL = {
    "a pause": ChannelClosedError(operation="upload", phone_number_id="1", retry_at=datetime.now(UTC)),
    "the key": KeyRefusedError(operation="upload", details="no"),
    "the ledger": LedgerUnavailableError(place="here", reason="away"),
    "the number": ChannelFrozenError(phone_number_id="1", reason="moved"),
}


@pytest.mark.parametrize("fault", FATAL.values(), ids=FATAL)
def test_what_would_happen_to_all_stops_the_channel_after_what_is_in_flight(fault, bench, sender, uploader):
    """Nothing more is sent, and nothing that succeeded is lost."""
    bench.plan({f"{each}": pdf(f"{each}") for each in range(20)})
    failed = threading.Event()

    def work(item):
        if item.uri == "memory:0":
            while len(sender.sent) < 4:
                time.sleep(0.005)
            failed.set()
            raise fault
        assert failed.wait(5)
        time.sleep(0.1)

    sender.work, seen = work, []
    with pytest.raises(type(fault)) as caught:
        go(uploader(concurrency=4, report=lambda progress: seen.append(progress.counts())), bench)
    assert caught.value is fault
    assert len(sender.sent) == 4
    assert seen[-1] == {"total": 20, "done": 3, "rejected": 0, "uploads": 3, "failed": 0}
    assert bench.ready() == 3
    assert set(bench.states().values()) == {"planned"}


# --- being told to end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [2, 8, 10], ids=["while others wait for room", "while the last few wait", "at the end"])
def test_told_to_end_it_returns_although_uploads_hang(concurrency, bench, sender, uploader, stop, monkeypatch):
    """SIGKILL follows within five seconds (needs F6); what is in flight gets three of them."""
    assert module._LAST_WORDS_S <= 3
    monkeypatch.setattr(module, "_LAST_WORDS_S", 0.3)
    bench.plan({f"{each}": pdf(f"{each}") for each in range(10)})
    hang = threading.Event()
    sender.work = lambda item: hang.wait(20)
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    try:
        with pytest.raises(StoppedError):
            go(uploader(concurrency=concurrency), bench)
        assert time.monotonic() - began < 5  # and not the 20 s of what hangs
        assert len(sender.sent) == concurrency
    finally:
        hang.set()


def test_told_to_end_everything_that_was_answered_is_on_record(bench, number, on_the_wire, stop):
    """What was in flight is waited for, and no id is lost; the rest is for the next try, and only that."""
    number.emu.configure(service_s=0.4)
    bench.plan({f"{each}": pdf(f"{each}") for each in range(40)})
    told_at, seen = [], []

    def tell_when_some_are_there():
        ends_at = time.monotonic() + 20
        while len(number.emu.live_media(number.number_id)) < 4 and time.monotonic() < ends_at:
            time.sleep(0.02)
        told_at.append(time.monotonic())
        stop.set()

    threading.Thread(target=tell_when_some_are_there).start()
    with pytest.raises(StoppedError):
        go(on_the_wire(8, report=lambda progress: seen.append(progress.counts())), bench)
    assert time.monotonic() - told_at[0] < 4.0
    at_360dialog = {media.media_id for media in number.emu.live_media(number.number_id)}
    assert 0 < len(at_360dialog) < 30
    assert bench.ids().keys() == at_360dialog
    assert seen[-1]["done"] == len(at_360dialog)
    stop.clear()
    number.emu.configure(service_s=0.0)
    assert go(on_the_wire(8), bench).uploads == 40 - len(at_360dialog)
    assert number.sent("upload") == 40


# --- telling ------------------------------------------------------------------------------------------------------


def test_progress_is_told_again_and_again_and_at_the_end(bench, sender, uploader, monkeypatch, caplog):
    """A line for the log, and the same numbers for whoever shows them."""
    assert module._TELL_EVERY_S == 10.0
    monkeypatch.setattr(module, "_TELL_EVERY_S", 0.05)
    bench.plan({f"{each}": pdf(f"{each}") for each in range(40)})
    sender.faults["memory:7"] = refused()
    sender.takes_s, seen = 0.01, []
    with caplog.at_level(logging.INFO):
        go(uploader(concurrency=2, report=lambda progress: seen.append(progress.counts())), bench)
    assert len(seen) >= 3
    assert [each["done"] for each in seen] == sorted(each["done"] for each in seen)
    assert seen[-1] == {"total": 40, "done": 39, "rejected": 1, "uploads": 39, "failed": 0}
    lines = [record.message for record in caplog.records if "ETA" in record.message]
    assert len(lines) == len(seen)
    assert lines[-1].startswith("39 done, 0 left, 1 rejected, ")
    assert lines[-1].endswith("ETA 0 s")


@pytest.mark.parametrize(
    ("progress", "rate", "line"),
    [
        (Progress(total=100, done=40, rejected=10), 5.0, "40 done, 50 left, 10 rejected, 5.0 a second, ETA 10 s"),
        (Progress(total=100, done=40), 0.0, "40 done, 60 left, 0 rejected, 0.0 a second, ETA unknown"),
        (Progress(total=1, done=2), 1.0, "2 done, 0 left, 0 rejected, 1.0 a second, ETA 0 s"),
    ],
    ids=["under way", "nothing comes back", "somebody else has planned more meanwhile"],
)
def test_a_line_says_what_is_left(progress, rate, line):
    assert progress.line(rate) == line


# --- refresh ------------------------------------------------------------------------------------------------------


@pytest.fixture
def aged(bench, clock, on_the_wire):
    """Three ids of a living campaign 20 days old; one of a campaign that is over; two younger ones."""
    bench.plan({"a": pdf("a"), "b": pdf("b"), "also b": (pdf("b"), "memory:b"), "c": pdf("c")}, days=60)
    bench.plan({"x": pdf("x")}, campaign="over", days=10)
    for name in ("c", "over"):
        on_the_wire().upload(name, bench.channel_id, max_reject_ratio=0.0)
    clock.advance(20 * DAY_S)
    bench.plan({"y": pdf("y")}, campaign="young", days=60)
    on_the_wire().upload("young", bench.channel_id, max_reject_ratio=0.0)
    return bench


def renew(make, bench, *, days=15, campaign=None, skip_missing=False):
    until = bench.store.read_now() + timedelta(days=days)
    return make(valid_until=until).refresh(
        bench.channel_id, valid_until=until.timestamp(), campaign=campaign, skip_missing=skip_missing
    )


def test_only_what_a_living_campaign_needs_and_what_dies_too_early_is_renewed(aged, number, on_the_wire):
    """Never with a GET; the old id goes on beside the new one for those who have it already."""
    before = aged.ids()
    done = renew(on_the_wire, aged)
    assert done.counts() == {"total": 4, "done": 4, "rejected": 0, "uploads": 3, "failed": 0}
    assert sorted(aged.ids().values()) == ["current"] * 5 + ["retiring"] * 3
    assert [aged.ids()[media_id] for media_id in before].count("retiring") == 3
    assert number.emu.counters(number.number_id)["requests"] == {"upload": 5 + 3}
    assert len(number.emu.live_media(number.number_id)) == 8
    assert renew(on_the_wire, aged).counts()["total"] == 0
    assert number.sent("upload") == 8


def test_nothing_dies_early_enough_to_be_renewed(aged, number, on_the_wire):
    """Nine days are left, eight are asked for."""
    assert renew(on_the_wire, aged, days=8).counts()["total"] == 0
    assert number.sent("upload") == 5


def test_one_campaign_is_renewed_where_one_is_named(aged, on_the_wire):
    assert renew(on_the_wire, aged, campaign="young", days=28.9).counts()["total"] == 0
    assert renew(on_the_wire, aged, campaign="over").counts()["total"] == 0
    assert renew(on_the_wire, aged, campaign="c").counts()["uploads"] == 3


@pytest.mark.parametrize("how", ["gone", "other bytes", "no media any more"])
def test_a_file_that_is_not_where_it_was_is_an_error_after_all_others_or_left_out(how, aged, number, on_the_wire):
    """Its old id works on, and its item stays planned: somebody may bring the file back."""
    contents = {"other bytes": pdf("other"), "no media any more": b"<html></html>"}
    if how == "gone":
        del aged.files["memory:a"]
    else:
        aged.files["memory:a"] = contents[how]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one, the next lines say
        renew(on_the_wire, aged)
    assert not caught.value.retryable
    assert ("a.pdf" if how == "no media any more" else "memory:a") in str(caught.value)
    assert (number.sent("upload"), aged.states()["a"]) == (7, "planned")
    done = renew(on_the_wire, aged, skip_missing=True)
    assert done.counts() == {"total": 1, "done": 0, "rejected": 1, "uploads": 0, "failed": 0}
    assert number.sent("upload") == 7
    assert "retiring" in aged.ids().values()


def test_a_refusal_is_an_error_of_a_refresh_whatever_may_be_missing(aged, number, on_the_wire):
    """The file is there, and 360dialog does not take it any more."""
    number.arm("error", operation="upload", status=400, text="Bad", code=100)
    with pytest.raises(UploadRefusedError):
        renew(on_the_wire, aged, skip_missing=True)
    assert set(aged.states().values()) == {"planned"}
    assert number.sent("upload") == 5 + 3


def test_many_missing_files_do_not_stop_a_refresh(aged, on_the_wire, stop):
    """They are no common cause."""
    aged.files = {"memory:c": pdf("c")}
    aged.plan({f"more{each}": pdf(f"{os.urandom(4)}") for each in range(3)}, campaign="more", days=5)
    assert renew(on_the_wire, aged, skip_missing=True).counts()["done"] == 1
    assert not stop.pauses
