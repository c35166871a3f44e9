"""The jobs over the wire: one POST for one file however many ask, through deaths, deletions and a ledger that stops answering."""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.exceptions import (
    ChannelFrozenError,
    Dialog360Error,
    LedgerUnavailableError,
    MediaGoneError,
    SourceChangedError,
    UploadRefusedError,
    ValidityOutOfReachError,
)
from airflow_provider_360dialog.jobs import calls as calls_module
from airflow_provider_360dialog.jobs.calls import Calls
from airflow_provider_360dialog.jobs.delete import delete
from airflow_provider_360dialog.jobs.retrieve import fetch
from airflow_provider_360dialog.jobs.upload import upload
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.channel import ChannelLedger
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.cleanup import Cleanup
from airflow_provider_360dialog.ledger.ration import Ration
from airflow_provider_360dialog.ledger.refused import RefusedIds
from airflow_provider_360dialog.ledger.store import Store
from airflow_provider_360dialog.ledger.uploads import Uploads
from airflow_provider_360dialog.ports import Channel, Timeouts
from tests.jobs.doubles import JPEG
from tests.ledger import workers
from tests.ledger.doubles import StampedSource, Waiting, Worker, file_of, ledger_of, states, together, unsure


@pytest.fixture
def at(number, store):
    """A worker of its own: the job's wire and ledger. ``stop`` and the task's names as keywords."""
    made = []

    def make(*, stop=None, **task):
        api = MediaApi(Channel(api_key=number.key, base_url=number.base_url, timeouts=Timeouts(2.0, 2.0, 5.0)))
        made.append(api)
        now = lambda: datetime.fromtimestamp(number.emu.state.now_s(), UTC)  # noqa: E731
        return Calls(api, ledger_of(store, number.number_id, **task), now=now, stop=stop or threading.Event())

    yield make
    for api in made:
        api.close()


@pytest.fixture
def content():
    return JPEG + os.urandom(16)


@pytest.fixture
def file(content):
    return file_of(content)


def live(number):
    return sorted(media.media_id for media in number.emu.live_media(number.number_id))


# --- once ---------------------------------------------------------------------------------------------------------


def test_of_many_threads_one_posts(at, number, content):
    """All have the id, one has sent it."""
    number.arm("delay", operation="upload", delay_s=0.2)
    calls = [at() for _ in range(8)]
    records = together(8, lambda i: upload(StampedSource(content), calls=calls[i]))
    assert number.sent("upload") == 1
    assert len({record.media_id for record in records}) == 1
    assert sorted(record.reused for record in records) == [False] + [True] * 7


def test_of_many_processes_one_posts(url, number, processes):
    """Five files, six processes: five POSTs; then none."""
    contents = [JPEG + os.urandom(16) for _ in range(5)]
    arguments = (url, number.base_url, number.key, number.number_id, contents)
    number.arm("delay", operation="upload", delay_s=0.05, times=5)
    results = processes(workers.upload_files, *arguments)
    assert number.sent("upload") == 5
    assert len({tuple(result) for result in results}) == 1
    assert sorted(results[0]) == live(number)
    assert processes(workers.upload_files, *arguments, count=1) == results[:1]
    assert number.sent("upload") == 5


def test_a_rerun_with_nothing_to_do_sends_nothing(at, number, content):
    """Not one request of any kind."""
    first = upload(StampedSource(content), calls=at())
    requests = len(number.emu.requests())
    again = upload(StampedSource(content), calls=at())
    assert len(number.emu.requests()) == requests
    assert (again.media_id, again.reused) == (first.media_id, True)


def test_when_the_holder_dies_another_takes_over(at, number, content, file, store, clock):
    """After the lease, not before; what the dead one may have uploaded is counted (needs F2, F4)."""
    Worker(ledger_of(store, number.number_id)).claim(file)
    waiting = Waiting(clock.lapse)
    record = upload(StampedSource(content), calls=at(stop=waiting))
    assert len(for_a_claim(waiting)) == 1
    assert number.sent("upload") == 1
    assert live(number) == [record.media_id]
    assert unsure(store, file) == 1


def test_the_next_try_of_a_task_does_not_wait(at, number, content, file, store):
    """The first was killed."""
    first = ledger_of(store, number.number_id, task="d/r/t/-1", try_number=1)
    first.uploads.claim(file, first.claimant())
    waiting = Waiting()
    upload(StampedSource(content), calls=at(stop=waiting, task="d/r/t/-1", try_number=2))
    assert for_a_claim(waiting) == []


def for_a_claim(waiting):
    """Without waits for a turn, which are shorter: a busy machine comes too late for its first."""
    return [wait_s for wait_s in waiting.waits_s if wait_s > 0.1]


def test_two_who_want_it_longer_than_it_lives_upload_once_more_together(at, number, content, clock):
    """After 25 days one refresh serves both."""
    old = upload(StampedSource(content), calls=at()).media_id
    clock.advance(25 * 86_400)
    calls = [at() for _ in range(4)]
    new = {record.media_id for record in together(4, lambda i: upload(StampedSource(content), calls=calls[i]))}
    assert len(new) == 1
    assert old not in new
    assert number.sent("upload") == 2


# --- a lease that is lost -----------------------------------------------------------------------------------------


def taken_over(store, number, file, clock):
    """Somebody takes a file over and uploads it, while the first one waits for its next attempt."""

    def act():
        clock.lapse()
        taker = ledger_of(store, number.number_id)
        claim = taker.uploads.claim(file, taker.claimant())
        taker.uploads.complete(claim, file, "777000777000777")

    return act


def test_who_has_lost_the_lease_sends_nothing_more(at, number, content, file, store, clock):
    """The first POST was cut off, another worker took over: its id is the answer, and what was cut off is owned up to."""
    number.arm("drop", operation="upload", performs=True)
    waiting = Waiting(taken_over(store, number, file, clock))
    record = upload(StampedSource(content), calls=at(stop=waiting))
    assert record.media_id == "777000777000777"
    orphans = set(live(number)) - set(states(store))
    assert unsure(store, file) >= len(orphans)
    assert number.sent("upload") == 1


def test_a_refusal_after_the_lease_was_lost_is_told(at, number, content, file, store, clock):
    """Or the id that there is by now; nothing else."""
    number.arm("error", operation="upload", times=1, status=500)
    number.arm("error", operation="upload", times="always", status=400, text="no")
    waiting = Waiting(taken_over(store, number, file, clock))
    with contextlib.suppress(UploadRefusedError):
        assert upload(StampedSource(content), calls=at(stop=waiting)).media_id == "777000777000777"


# --- deleted and gone ---------------------------------------------------------------------------------------------


def test_after_a_delete_the_next_upload_gives_a_new_id(at, number, content, store):
    """And the old one is refused without a request."""
    first = upload(StampedSource(content), calls=at()).media_id
    assert delete(first, calls=at())
    second = upload(StampedSource(content), calls=at())
    assert second.media_id != first
    assert not second.reused
    assert states(store) == {first: schema.DELETED, second.media_id: schema.CURRENT}
    with pytest.raises(MediaGoneError):
        fetch(first, calls=at())
    assert number.sent("fetch") == 0


def test_an_id_answers_for_nothing_from_before_its_delete_leaves(at, number, content, store):
    """The call failed, and may have arrived (needs F19, F32)."""
    first = upload(StampedSource(content), calls=at()).media_id
    number.arm("error", operation="delete", times="always", status=409, text="no")
    with pytest.raises(Dialog360Error):
        delete(first, calls=at())
    assert states(store) == {first: schema.DELETING}
    assert upload(StampedSource(content), calls=at()).media_id != first


def test_a_second_delete_leaves_a_deleted_id_deleted(at, number, content, store):
    """The record says who did it, for ever."""
    first = upload(StampedSource(content), calls=at()).media_id
    assert delete(first, calls=at()) is True
    assert delete(first, calls=at()) is False
    assert states(store) == {first: schema.DELETED}


def test_an_id_that_is_seen_gone_is_uploaded_anew(at, number, content, store):
    """By a fetch; and nobody asks for it again."""
    first = upload(StampedSource(content), calls=at()).media_id
    number.emu.state.media.pop(first)
    for _ in range(3):
        with pytest.raises(MediaGoneError):
            fetch(first, calls=at())
    assert number.sent("fetch") == 1
    assert upload(StampedSource(content), calls=at()).media_id != first


def test_who_insists_is_asked_for_and_an_answer_ends_the_refusal(at, number):
    """`ask_again` costs a request; what is found is not refused any more."""
    media_id, _ = number.receive(JPEG)
    number.arm("error", operation="fetch", status=404, text="gone", code=100, subcode=33)
    for _ in range(2):
        with pytest.raises(MediaGoneError):
            fetch(media_id, calls=at())
    assert number.sent("fetch") == 1
    fetch(media_id, calls=at(), ask_again=True)
    fetch(media_id, calls=at())
    assert number.sent("fetch") == 3


def test_a_frozen_channel_sends_nothing_and_deletes_nothing(at, number, content, store):
    """What the error says (needs F86)."""
    first = upload(StampedSource(content), calls=at()).media_id
    calls = at()
    Channels(store).freeze(calls.ledger.identity, "moved")
    before = len(number.emu.requests())
    for act in (
        lambda: upload(StampedSource(JPEG), calls=calls),
        lambda: delete(first, calls=calls),
        lambda: fetch(first, calls=calls),
    ):
        with pytest.raises(ChannelFrozenError):
            act()
    assert len(number.emu.requests()) == before
    assert states(store) == {first: schema.CURRENT}


# --- files --------------------------------------------------------------------------------------------------------


def test_an_unchanged_file_is_not_read_again(at, content):
    """Neither to judge it nor to send it; a changed one is."""
    source = StampedSource(content)
    first = upload(source, calls=at())
    opened = source.opened
    for _ in range(3):
        assert upload(source, calls=at()).media_id == first.media_id
    assert source.opened == opened
    source.content, source.stamped = JPEG + os.urandom(16), "2"
    assert upload(source, calls=at()).media_id != first.media_id
    assert source.opened > opened


def test_a_file_without_a_stamp_is_read_each_time(at, content):
    """It was changed just now, or its storage does not say."""
    source = StampedSource(content, stamp=None)
    for _ in range(2):
        before = source.opened
        upload(source, calls=at())
        assert source.opened > before


def test_a_file_that_changes_while_it_is_judged_is_not_remembered(at, content, store):
    """Its stamp was another before than after."""

    class Changing(StampedSource):
        def open(self):
            self.stamped += "+"
            return super().open()

    source = Changing(content)
    upload(source, calls=at())
    assert ledger_of(store).sources.recall(source.uri, "1", mime_type=None, filename=None, kind=None) is None


def test_a_file_whose_stamp_lied_can_be_uploaded_next_time(at, content, number):
    """Its bytes are others than those that were judged, and nothing showed it: judged anew, and not refused for ever."""
    source = StampedSource(content)
    delete(upload(source, calls=at()).media_id, calls=at())
    source.content = content[:-16] + os.urandom(16)  # same stamp, same size
    with pytest.raises(SourceChangedError):
        upload(source, calls=at())
    record = upload(source, calls=at())
    assert number.emu.content(record.media_id) == source.content


# --- a ledger that does not answer --------------------------------------------------------------------------------


class Fails:
    """A method that is unavailable the first ``times`` times. ``after``: it did its work all the same."""

    def __init__(self, method, times, *, after=False):
        self.method, self.left, self.after = method, times, after

    def install(self, monkeypatch, owner, name):
        fails, method = self, self.method

        def call(*args, **more):
            result = method(*args, **more) if fails.after or not fails.left else None
            if fails.left:
                fails.left -= 1
                raise LedgerUnavailableError(place="p", reason="r")
            return result

        monkeypatch.setattr(owner, name, call)


@pytest.fixture
def short_patience(monkeypatch):
    """With a ledger that is away."""
    monkeypatch.setattr(calls_module, "PATIENCE_S", 0.3)


@pytest.mark.parametrize("step", ["adopt", "claim"])
def test_without_the_ledger_nothing_is_sent(step, at, number, content, monkeypatch, short_patience):
    """It fails closed (needs R5), once the patience with it is over (needs F63)."""
    calls = at()
    Fails(getattr(Uploads, step), 10**6).install(monkeypatch, Uploads, step)
    with pytest.raises(LedgerUnavailableError) as caught:
        upload(StampedSource(content), calls=calls)
    assert caught.value.retryable
    assert number.sent("upload") == 0


@pytest.mark.parametrize("call", [fetch, delete])
def test_without_the_ledger_nothing_is_asked_or_deleted(call, at, number, monkeypatch, short_patience):
    """The same for the other calls."""
    media_id, _ = number.receive(JPEG)
    calls = at()

    def unavailable(*_args, **_more):
        raise LedgerUnavailableError(place="p", reason="r")

    monkeypatch.setattr(Store, "_transaction", unavailable)
    with pytest.raises(LedgerUnavailableError):
        call(media_id, calls=calls)
    assert number.sent("fetch") + number.sent("delete") == 0


OUTAGES = [
    (Uploads, "adopt", "upload"),
    (Uploads, "claim", "upload"),
    (Ration, "reserve", "upload"),
    (Ration, "hold", "fetch"),
    (Ration, "give_back", "fetch"),
    (RefusedIds, "look_up", "fetch"),
    (ChannelLedger, "check_usable", "fetch"),
    (ChannelLedger, "check_usable", "delete"),
    (Cleanup, "begin_delete", "delete"),
    (Uploads, "mark", "delete"),
    (ChannelLedger, "is_deleted", "delete"),
]


@pytest.mark.parametrize(("owner", "name", "operation"), OUTAGES, ids=lambda value: getattr(value, "__name__", value))
def test_a_ledger_that_is_away_for_a_moment_is_waited_for(*, owner, name, operation, at, number, content, monkeypatch):
    """Each call is sent once, however the ledger fails on the way (needs F63)."""
    media_id, _ = number.receive(JPEG)
    outage = Fails(getattr(owner, name), 2)
    outage.install(monkeypatch, owner, name)
    calls = at()
    act = {
        "upload": lambda: upload(StampedSource(content), calls=calls),
        "fetch": lambda: fetch(media_id, calls=calls),
        "delete": lambda: delete(media_id, calls=calls),
    }
    assert act[operation]()
    assert outage.left == 0
    assert number.sent(operation) == 1


def test_a_dead_id_is_on_record_however_the_ledger_fails_on_the_way(at, number, monkeypatch):
    """Else it would cost another GET."""
    outage = Fails(ChannelLedger.is_gone, 2)
    outage.install(monkeypatch, ChannelLedger, "is_gone")
    for _ in range(2):
        with pytest.raises(MediaGoneError):
            fetch("999", calls=at())
    assert outage.left == 0
    assert number.sent("fetch") == 1


@pytest.mark.parametrize("after", [False, True], ids=["it was not committed", "it was committed, and the answer was lost"])
def test_an_id_is_stored_once_the_ledger_answers_again(*, after, at, number, content, file, store, monkeypatch):
    """Not uploaded again (needs F64)."""
    Fails(Uploads.complete, 1, after=after).install(monkeypatch, Uploads, "complete")
    record = upload(StampedSource(content), calls=at())
    assert number.sent("upload") == 1
    assert states(store) == {record.media_id: schema.CURRENT}
    assert unsure(store, file) == 0


def test_a_wrong_id_is_put_on_record_once_the_ledger_answers_again(at, number, content, store, monkeypatch):
    """An id that was received is never dropped (needs R2)."""

    class Changing(StampedSource):
        def open(self):
            file = super().open()
            self.content = self.content[:-20] + b"x" * 20
            return file

    Fails(Uploads.discard, 1).install(monkeypatch, Uploads, "discard")
    with pytest.raises(SourceChangedError):
        upload(Changing(content), calls=at())
    assert states(store) == dict.fromkeys(live(number), schema.SURPLUS)


def test_a_refusal_is_told_although_the_claim_cannot_be_given_back(at, number, content, monkeypatch):
    """360dialog's word is final; a ledger that fails after it does not make the task retry."""
    number.arm("error", operation="upload", times="always", status=400, text="no")
    Fails(Uploads.release, 10**6).install(monkeypatch, Uploads, "release")
    with pytest.raises(UploadRefusedError):
        upload(StampedSource(content), calls=at())


def test_a_stop_while_an_id_cannot_be_stored_ends_at_once(at, content, file, store, monkeypatch):
    """Within the few seconds that a task has; the id is counted as possibly lost (needs F6)."""
    stop, failing = Waiting(), Fails(Uploads.complete, 10**6)

    def stop_once_it_fails():  # on a busy machine the upload's own turn is waited for before that
        if failing.left < 10**6:
            stop.set()
        else:
            stop.meanwhile = stop_once_it_fails

    stop.meanwhile = stop_once_it_fails
    monkeypatch.setattr(calls_module, "PATIENCE_S", 1.0)
    failing.install(monkeypatch, Uploads, "complete")
    with pytest.raises(LedgerUnavailableError):
        upload(StampedSource(content), calls=at(stop=stop))
    assert stop.is_set(), "it waited without looking at the flag"
    assert unsure(store, file) == 1


# --- clocks -------------------------------------------------------------------------------------------------------


def test_a_workers_fast_clock_does_not_make_it_upload_again_and_again(at, number, content, store, clock):
    """What can be promised is the ledger's business (needs F68): refused, or uploaded once."""
    clock.advance(number.emu.state.now_s() - 600 - clock.now)  # the worker is ten minutes ahead
    calls = at()
    until = calls.now() + timedelta(days=29) - timedelta(seconds=1)
    for _ in range(2):
        with contextlib.suppress(ValidityOutOfReachError):
            upload(StampedSource(content), calls=calls, valid_until=until)
    assert number.sent("upload") <= 1
