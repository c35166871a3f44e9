"""Fetch and download against every misbehaviour: what is asked again, what is not, and that only true bytes are published."""

from __future__ import annotations

import base64
import gzip
import hashlib

import pytest

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    AnswerUnreadableError,
    CallError,
    DestinationError,
    Dialog360Error,
    DownloadCorruptError,
    InterruptedExchangeError,
    KeyRefusedError,
    MediaGoneError,
    MediaIdInvalidError,
    MediaUrlExpiredError,
    RequestRefusedError,
    ServerError,
    StoppedError,
    ThrottledError,
)
from airflow_provider_360dialog.jobs.retrieve import download, fetch
from tests.jobs.doubles import JPEG, MemoryDestination


@pytest.fixture
def sent(number):
    """How many fetches and downloads reached the emulator."""
    return lambda: (number.sent("fetch"), number.sent("download"))


# --- the URL's life -----------------------------------------------------------------------------------------------


def test_a_download_by_id_fetches_once_and_downloads_once(calls, stored, place, sha256, sent):
    """The whole way, and nothing besides."""
    record = download(place, calls=calls, media_id=stored[0])
    assert place.published == JPEG
    assert (record.sha256, record.size_bytes, record.mime_type, record.uri) == (sha256, len(JPEG), "image/jpeg", place.uri)
    assert sent() == (1, 1)


def test_a_webhooks_url_needs_no_fetch(calls, stored, place, sent):
    """It costs no error budget."""
    download(place, calls=calls, media_id=stored[0], url=stored[1])
    assert place.published == JPEG
    assert sent() == (0, 1)


def test_a_url_that_is_refused_is_fetched_anew_once(calls, number, stored, place, sent):
    """404 to a URL means that it ended; the id still knows a new one."""
    number.arm("error", operation="download", status=404, text="Media not found")
    download(place, calls=calls, media_id=stored[0], url=stored[1])
    assert place.published == JPEG
    assert sent() == (1, 2)


def test_a_url_that_is_refused_twice_is_not_asked_a_third_time(calls, number, stored, place, sent):
    """Somewhere it has to end."""
    number.arm("error", operation="download", times="always", status=404, text="Media not found")
    with pytest.raises(MediaUrlExpiredError):
        download(place, calls=calls, media_id=stored[0], url=stored[1])
    assert sent() == (1, 2)


def test_a_url_of_an_id_that_was_just_fetched_gets_one_more_chance(calls, number, stored, place, sent):
    """By id: two fetches at the most."""
    number.arm("error", operation="download", times="always", status=404, text="Media not found")
    with pytest.raises(MediaUrlExpiredError):
        download(place, calls=calls, media_id=stored[0])
    assert sent() == (2, 2)


def test_a_url_past_its_life_is_not_tried(calls, number, stored, place, sent):
    """What is known to have ended costs no request (needs F51)."""
    number.emu.advance(301)
    download(place, calls=calls, media_id=stored[0], url=stored[1])
    assert place.published == JPEG
    assert sent() == (1, 1)


def test_a_url_past_its_life_without_an_id_fails_for_good_and_sends_nothing(calls, number, stored, place, sent):
    """There is nobody to ask for a new one."""
    number.emu.advance(301)
    with pytest.raises(MediaUrlExpiredError, match="media_id"):
        download(place, calls=calls, url=stored[1])
    assert sent() == (0, 0)


def test_a_url_that_is_refused_without_an_id_fails_for_good(calls, number, stored, place, sent):
    """After exactly one request."""
    number.arm("error", operation="download", times="always", status=404, text="Media not found")
    with pytest.raises(MediaUrlExpiredError) as caught:
        download(place, calls=calls, url=stored[1])
    assert sent() == (0, 1)
    assert not caught.value.retryable


def test_an_id_that_is_gone_costs_one_fetch(calls, number, stored, place, sent):
    """A failed GET spends error budget; whoever asks again is answered by the ledger."""
    number.emu.advance(8 * 86_400)
    for ask in (lambda: fetch(stored[0], calls=calls), lambda: download(place, calls=calls, media_id=stored[0])):
        with pytest.raises(MediaGoneError) as caught:
            ask()
        assert caught.value.media_id == stored[0]
    assert sent() == (1, 0)


def test_a_url_that_is_refused_and_an_id_that_is_gone_cost_one_fetch(calls, number, stored, place, sent):
    """The fallback finds nothing and that is the end."""
    number.emu.advance(8 * 86_400)
    with pytest.raises(MediaGoneError):
        download(place, calls=calls, media_id=stored[0], url=stored[1])
    assert sent() == (1, 0)


# --- what is in the answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["string_file_size", "base64_sha256", "gzip"])
def test_the_other_forms_of_an_answer_mean_the_same(fault, calls, number, stored, sha256, place):
    """`file_size` as text, sha256 in base64, gzip that nobody asked for."""
    number.arm(fault, operation="fetch", times="always")
    fetched = fetch(stored[0], calls=calls)
    assert (fetched.sha256, fetched.size_bytes, fetched.mime_type) == (sha256, len(JPEG), "image/jpeg")
    download(place, calls=calls, media_id=stored[0])
    assert place.published == JPEG


@pytest.mark.parametrize("field", ["sha256", "file_size", "mime_type", "id", "messaging_product"])
def test_a_field_that_is_missing_is_none_and_the_download_still_works(field, calls, number, stored, place):
    """Only the URL is needed."""
    number.arm("omit_field", operation="fetch", times="always", field=field)
    fetch(stored[0], calls=calls)
    record = download(place, calls=calls, media_id=stored[0])
    assert place.published == JPEG
    assert record.mime_type == "image/jpeg"


def test_an_answer_without_a_url_is_asked_for_once_more(calls, number, stored, sent, stop):
    """A success that cannot be read may be read the next time; twice is enough for a GET."""
    number.arm("omit_field", operation="fetch", times="always", field="url")
    with pytest.raises(AnswerUnreadableError, match="url"):
        fetch(stored[0], calls=calls)
    assert sent() == (2, 0)
    assert len(stop.waits_s) == 1


@pytest.mark.parametrize(
    ("kind", "more", "error", "downloads"),
    [
        pytest.param("wrong_bytes", {}, DownloadCorruptError, 2, id="other bytes of the right length"),
        pytest.param("wrong_size", {"delta_bytes": 1}, DownloadCorruptError, 2, id="one byte too many"),
        pytest.param("wrong_size", {"delta_bytes": -1}, DownloadCorruptError, 2, id="one byte too few"),
        pytest.param("wrong_size", {"delta_bytes": 10_000_000}, DownloadCorruptError, 2, id="ten megabytes too many"),
        pytest.param("endless", {}, DownloadCorruptError, 2, id="a body without an end"),
        pytest.param("html", {"status": 200}, DownloadCorruptError, 2, id="a proxy's page with 200"),
        pytest.param("empty", {}, DownloadCorruptError, 2, id="nothing with 200"),
        pytest.param("gzip_bomb", {"size_bytes": 1 << 30}, (DownloadCorruptError, AnswerUnreadableError), None, id="a bomb"),
        pytest.param("truncate", {}, InterruptedExchangeError, 3, id="a body that is cut short"),
        pytest.param("drop", {}, InterruptedExchangeError, 3, id="no answer at all"),
        pytest.param("reset", {}, InterruptedExchangeError, 0, id="a connection that is reset"),
    ],
)
def test_bytes_that_are_not_the_announced_ones_are_never_published(
    *, kind, more, error, downloads, calls, number, stored, place, sent
):
    """Size and sha256 are checked before the final name; a second URL is tried once, and then it is over."""
    number.arm(kind, operation="download", times="always", **more)
    with pytest.raises(error):
        download(place, calls=calls, media_id=stored[0])
    assert place.published is None
    if downloads is not None:
        assert sent()[1] == downloads
    assert sent()[0] <= 2


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        pytest.param("wrong_bytes", {}, id="other bytes"),
        pytest.param("truncate", {}, id="a body that is cut short"),
        pytest.param("endless", {}, id="a body without an end"),
        pytest.param("html", {"status": 200}, id="a proxy's page with 200"),
        pytest.param("empty", {}, id="nothing with 200"),
        pytest.param("html", {"status": 502}, id="a proxy's 502"),
        pytest.param("drop", {}, id="no answer at all"),
        pytest.param("reset", {}, id="a connection that is reset"),
        pytest.param("gzip", {}, id="gzip that nobody asked for"),
        pytest.param("error", {"status": 403, "text": "no"}, id="a 403 to the URL"),
        pytest.param("error", {"status": 429, "text": "slow", "retry_after": 1.0}, id="a throttle with a time"),
    ],
)
def test_one_fault_on_the_way_is_survived(kind, more, calls, number, stored, place):
    """What can pass by itself does not fail the task."""
    number.arm(kind, operation="download", **more)
    download(place, calls=calls, media_id=stored[0])
    assert place.published == JPEG


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        pytest.param("html", {"status": 200}, id="a proxy's page with 200"),
        pytest.param("empty", {}, id="nothing with 200"),
        pytest.param("wrong_size", {"delta_bytes": 101 * 1024 * 1024}, id="more than any media may have"),
        pytest.param("gzip_bomb", {"size_bytes": 1 << 30}, id="a bomb"),
    ],
)
def test_an_unannounced_file_is_at_least_no_error_page_and_not_too_large(kind, more, calls, number, stored, place):
    """A webhook's URL alone says neither size nor hash."""
    number.arm(kind, operation="download", times="always", **more)
    with pytest.raises((DownloadCorruptError, AnswerUnreadableError)):
        download(place, calls=calls, url=stored[1])
    assert place.published is None


@pytest.mark.parametrize("form", ["hex", "capitals", "base64", "base64 without padding"])
def test_the_callers_hash_is_checked_in_every_form(form, calls, stored, place, sha256):
    """Hex of an API answer, base64 of a webhook."""
    b64 = base64.b64encode(bytes.fromhex(sha256)).decode()
    text = {"hex": sha256, "capitals": sha256.upper(), "base64": b64, "base64 without padding": b64.rstrip("=")}[form]
    download(place, calls=calls, url=stored[1], sha256=text)
    assert place.published == JPEG
    other = MemoryDestination()
    wrong = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(DownloadCorruptError):
        download(other, calls=calls, url=stored[1], sha256=wrong)
    assert other.published is None


def test_a_callers_hash_that_360dialog_contradicts_publishes_nothing(calls, stored, place):
    """Both must be right: the file that was announced is not the one that is wanted."""
    with pytest.raises(DownloadCorruptError):
        download(place, calls=calls, media_id=stored[0], sha256="0" * 64)
    assert place.published is None


def test_an_announcement_that_lies_publishes_nothing_even_if_the_callers_hash_agrees(calls, number, stored, place, sha256):
    """A size that differs is a reason to look again."""
    number.arm("wrong_size", operation="fetch", times="always", delta_bytes=5)
    with pytest.raises(DownloadCorruptError):
        download(place, calls=calls, media_id=stored[0], sha256=sha256)
    assert place.published is None


def test_a_compressed_file_that_is_meant_to_be_one_stays_as_it_is(calls, number, place):
    """Only a Content-Encoding is undone, never the content."""
    content = gzip.compress(JPEG)
    media_id, _ = number.receive(content, mime_type="application/pdf")
    download(place, calls=calls, media_id=media_id)
    assert place.published == content


# --- how often ----------------------------------------------------------------------------------------------------


SHAPES = ["A", "B", "C", "C2", "HTML"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, (MediaGoneError, RequestRefusedError)),
        (401, KeyRefusedError),
        (403, AccessRefusedError),
        (404, (MediaGoneError, Dialog360Error)),
        (405, RequestRefusedError),
    ],
)
def test_a_refused_fetch_is_sent_once_in_every_shape(*, shape, status, error, calls, number, stored, sent, stop):
    """A repeat would cost error budget and find the same."""
    number.arm("error", operation="fetch", times="always", status=status, shape=shape, text="Refused", code=100, subcode=33)
    with pytest.raises(error) as caught:
        fetch(stored[0], calls=calls)
    assert sent() == (1, 0)
    assert stop.waits_s == []
    assert not caught.value.retryable


@pytest.mark.parametrize("shape", SHAPES)
def test_a_server_error_is_repeated_once_on_a_get(shape, calls, number, stored, sent):
    """Each failed GET costs error budget, so one repeat is the most."""
    number.arm("error", operation="fetch", times="always", status=500, shape=shape)
    with pytest.raises(ServerError):
        fetch(stored[0], calls=calls)
    assert sent() == (2, 0)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_one_server_error_is_survived(status, calls, number, stored, sent, stop):
    """After a short wait with jitter."""
    number.arm("html", operation="fetch", status=status)
    assert fetch(stored[0], calls=calls).media_id == stored[0]
    assert sent() == (2, 0)
    assert len(stop.waits_s) == 1
    assert 0 < stop.waits_s[0] <= 30


@pytest.mark.parametrize("how", ["seconds", "date"])
def test_a_throttle_that_names_a_short_time_is_waited_out(how, calls, number, stored, sent, stop):
    """`Retry-After` in seconds or as a date, and never less than it says."""
    number.arm("error", operation="fetch", status=429, text="Too many", retry_after=8.0, retry_after_format=how)
    assert fetch(stored[0], calls=calls).media_id == stored[0]
    assert sent() == (2, 0)
    assert len(stop.waits_s) == 1
    assert 7 <= stop.waits_s[0] <= 31


@pytest.mark.parametrize(
    ("more", "wait_s"),
    [
        pytest.param({"status": 429, "text": "Too many", "retry_after": 20.0}, 20, id="429 with a Retry-After over 10 s"),
        pytest.param({"status": 429, "text": "Too many", "retry_after": 300.0}, 300, id="429 with a long Retry-After"),
        pytest.param(
            {"status": 429, "text": "Too many", "retry_after": 1800.0, "retry_after_format": "date"}, 1800, id="429 with a date"
        ),
        pytest.param({"status": 429, "text": "Too many"}, 3600, id="429 without a time: the policy's block"),
        pytest.param({"status": 429, "text": "x", "retry_after": "soon"}, 3600, id="429 with a word for a time"),
        pytest.param({"status": 400, "text": "exceeded the endpoint rate limit"}, 3600, id="the documented 400"),
        pytest.param(
            {"status": 400, "text": "exceeded the limit of 1 request every 5 seconds"}, 3600, id="the other documented 400"
        ),
        pytest.param({"status": 400, "text": "x", "code": 80007, "shape": "A"}, 3600, id="a 400 with Meta's code for too many"),
        pytest.param({"status": 403, "text": "Error limit exceeded"}, 3600, id="a 403 that speaks of a limit"),
    ],
)
@pytest.mark.parametrize("operation", ["fetch", "download"])
def test_a_block_is_reported_with_its_end_after_one_request(*, operation, more, wait_s, calls, number, stored, place, stop):
    """A worker does not sleep for an hour, and a call during a block may extend it."""
    number.arm("error", operation=operation, times="always", **more)
    with pytest.raises(ThrottledError) as caught:
        if operation == "fetch":
            fetch(stored[0], calls=calls)
        else:
            download(place, calls=calls, media_id=stored[0])
    assert number.sent(operation) == 1
    assert stop.waits_s == []
    assert abs((caught.value.retry_at - calls.now()).total_seconds() - wait_s) < 5
    assert caught.value.retryable


@pytest.mark.parametrize("answer", ["429", "429_retry_after", "400", "403"])
@pytest.mark.parametrize("shape", ["A", "B", "C", "C2"])
def test_a_real_block_of_the_number_is_recognised_in_every_form(answer, shape, calls, number, stored):
    """As the emulator shuts the number after five failures, which here are another system's."""
    number.emu.configure(profile="strict", blocked_answer=answer, error_shape=shape)
    for unknown in range(6):
        assert isinstance(calls.api.fetch(f"12{unknown}"), MediaGoneError)
    with pytest.raises(ThrottledError) as caught:
        fetch(stored[0], calls=calls)
    assert abs((caught.value.retry_at - calls.now()).total_seconds() - 3600) < 10
    assert number.emu.counters(number.number_id)["blocked_gets"] == 1


def test_a_stop_during_a_wait_sends_nothing_more(calls, number, stored, sent, stop):
    """The task was told to end."""

    def end(timeout=None):
        stop.set()
        return True

    stop.wait = end
    number.arm("error", operation="fetch", times="always", status=500)
    with pytest.raises(StoppedError):
        fetch(stored[0], calls=calls)
    assert sent() == (1, 0)


# --- before anything is sent --------------------------------------------------------------------------------------


def test_nothing_is_sent_for_a_place_that_cannot_be_used(calls, stored, sent):
    """The destination is judged first."""
    with pytest.raises(DestinationError):
        download(MemoryDestination(usable=False), calls=calls, media_id=stored[0])
    assert sent() == (0, 0)


def test_nothing_is_sent_for_arguments_that_are_wrong(calls, stored, place, sent):
    """Id, hash, and at least one of id and URL."""
    with pytest.raises(MediaIdInvalidError):
        download(place, calls=calls, media_id="x", url=stored[1])
    with pytest.raises(CallError):
        download(place, calls=calls, media_id=stored[0], sha256="x")
    with pytest.raises(CallError):
        download(place, calls=calls)
    assert sent() == (0, 0)


def test_storage_that_fails_is_not_blamed_on_360dialog(calls, stored, sent):
    """And it is not downloaded again in vain."""

    class Full(MemoryDestination):
        def stage(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(Dialog360Error, match="No space left"):
        download(Full(), calls=calls, media_id=stored[0])
    assert sent() == (1, 0)
