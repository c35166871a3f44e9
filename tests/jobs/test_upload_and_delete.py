"""Upload and delete against every misbehaviour: what is sent again, what is not, and which bytes arrive."""

from __future__ import annotations

import pytest

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    AnswerUnreadableError,
    Dialog360Error,
    EndpointMissingError,
    InterruptedExchangeError,
    KeyRefusedError,
    MediaGoneError,
    MediaIdInvalidError,
    MediaRejectedError,
    RequestRefusedError,
    ServerError,
    SourceChangedError,
    ThrottledError,
    UploadRefusedError,
)
from airflow_provider_360dialog.jobs.delete import delete
from airflow_provider_360dialog.jobs.upload import upload
from tests.jobs.doubles import JPEG, MemorySource

SHAPES = ["A", "B", "C", "C2", "HTML"]


@pytest.fixture
def send(calls, source):
    return lambda: upload(source, calls=calls)


# --- upload -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        pytest.param("html", {"status": 502}, id="a proxy's 502"),
        pytest.param("error", {"status": 500}, id="a 500"),
        pytest.param("error", {"status": 503, "retry_after": 2.0}, id="a 503 that names a time"),
        pytest.param("error", {"status": 429, "text": "Too many", "retry_after": 3.0}, id="a throttle with seconds"),
        pytest.param(
            "error", {"status": 429, "text": "x", "retry_after": 3.0, "retry_after_format": "date"}, id="a throttle with a date"
        ),
        pytest.param("error", {"status": 429, "text": "Too many"}, id="a throttle without a time"),
        pytest.param("error", {"status": 400, "text": "exceeded the endpoint rate limit"}, id="the documented 400"),
        pytest.param("error", {"status": 403, "text": "rate limit"}, id="a 403 that speaks of a rate"),
        pytest.param("html", {"status": 200}, id="a proxy's page with 200"),
        pytest.param("empty", {}, id="nothing with 200"),
        pytest.param("omit_field", {"field": "id"}, id="an answer without an id"),
        pytest.param("drop", {"performs": True}, id="dropped after accepting"),
        pytest.param("drop", {"performs": False}, id="dropped before accepting"),
        pytest.param("reset", {"when": "body"}, id="reset after the body"),
        pytest.param("reset", {"when": "headers"}, id="reset after the headers"),
        pytest.param("truncate", {"keep_bytes": 3}, id="an answer that is cut short"),
        pytest.param("redirect", {"status": 308}, id="a redirect within the host"),
        pytest.param("gzip", {}, id="gzip that nobody asked for"),
    ],
)
def test_one_fault_on_the_way_is_survived_and_the_whole_file_arrives(kind, more, send, number, source):
    """The body is rewound on each resend, and the id that comes back is a living one with these bytes."""
    number.arm(kind, operation="upload", **more)
    uploaded = send()
    assert number.emu.content(uploaded.media_id) == source.content
    assert number.emu.media(uploaded.media_id).mime_type == "image/jpeg"


def test_an_upload_that_was_accepted_without_our_knowing_is_repeated(send, number, stop):
    """There is no way to ask; the orphan dies in 30 days, the id that we have is valid."""
    number.arm("drop", operation="upload", performs=True)
    uploaded = send()
    alive = [media.media_id for media in number.emu.live_media(number.number_id)]
    assert len(alive) == 2
    assert uploaded.media_id in alive
    assert (number.sent("upload"), len(stop.waits_s)) == (2, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, UploadRefusedError),
        (401, KeyRefusedError),
        (403, AccessRefusedError),
        (404, EndpointMissingError),
        (413, UploadRefusedError),
    ],
)
def test_a_refused_upload_is_sent_once_in_every_shape(shape, status, error, send, number, stop):
    """The same bytes would be refused again."""
    number.arm("error", operation="upload", times="always", status=status, shape=shape, text="Refused", code=100)
    with pytest.raises(error) as caught:
        send()
    assert number.sent("upload") == 1
    assert stop.waits_s == []
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("kind", "more", "error", "attempts"),
    [
        pytest.param("error", {"status": 500}, ServerError, 5, id="a server that keeps failing"),
        pytest.param("error", {"status": 429, "text": "x", "retry_after": 1.0}, ThrottledError, 6, id="a throttle that stays"),
        pytest.param("error", {"status": 429, "text": "x", "retry_after": 61.0}, ThrottledError, 1, id="a throttle for long"),
        pytest.param("html", {"status": 200}, AnswerUnreadableError, 3, id="a page instead of an id"),
        pytest.param("drop", {}, InterruptedExchangeError, 3, id="a connection that is always dropped"),
    ],
)
def test_repeats_have_a_bound(*, kind, more, error, attempts, send, number, stop):
    """Then the task says what happened, and Airflow's retries take over."""
    number.arm(kind, operation="upload", times="always", **more)
    with pytest.raises(error) as caught:
        send()
    assert number.sent("upload") == attempts
    assert len(stop.waits_s) == attempts - 1
    assert all(0 < wait_s <= 60 for wait_s in stop.waits_s)
    assert caught.value.retryable


def test_throttles_without_a_time_are_waited_out_longer_and_longer(send, number, stop):
    """2, 4, 8 seconds at least (needs F46)."""
    number.arm("error", operation="upload", times=4, status=429, text="Too many")
    send()
    for least, waited in zip((2, 4, 8, 16), stop.waits_s, strict=True):
        assert least <= waited <= 60


def test_a_file_that_changes_while_it_is_sent_is_not_handed_out(calls, number):
    """What was judged is not what was sent (needs F74)."""

    class Changing(MemorySource):
        def open(self):
            file = super().open()
            self.content = self.content[:-20] + b"x" * 20
            return file

    with pytest.raises(SourceChangedError) as caught:
        upload(Changing(JPEG), calls=calls)
    assert caught.value.media_id is not None
    assert number.sent("upload") == 1


@pytest.mark.parametrize("by", [-1000, 1000], ids=["shorter", "longer"])
def test_a_file_whose_length_changes_while_it_is_sent_is_not_handed_out(by, calls, number):
    """Neither cut off nor half of a new one."""

    class Changing(MemorySource):
        def open(self):
            file = super().open()
            self.content = JPEG[:by] if by < 0 else JPEG + b"x" * by
            return file

    with pytest.raises(Dialog360Error) as caught:
        record = upload(Changing(JPEG), calls=calls)
        assert number.emu.content(record.media_id) == JPEG  # longer: what was judged was sent, and that is fine as well
        raise SourceChangedError(uri="memory:")
    assert isinstance(caught.value, SourceChangedError)


def test_an_unfit_file_is_not_sent(calls, number):
    """Judged before the first byte leaves."""
    with pytest.raises(MediaRejectedError):
        upload(MemorySource(b"<html>"), calls=calls)
    assert number.sent("upload") == 0


# --- delete -------------------------------------------------------------------------------------------------------


def test_delete_says_whether_it_was_there(calls, stored):
    """True once, False ever after."""
    assert delete(stored[0], calls=calls) is True
    assert delete(stored[0], calls=calls) is False


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("status", [400, 404])
def test_an_id_that_is_gone_is_done_after_one_request(shape, status, calls, number, stored, stop):
    """However 360dialog says it."""
    number.arm("error", operation="delete", times="always", status=status, shape=shape, text="gone", code=100, subcode=33)
    assert delete(stored[0], calls=calls) is False
    assert number.sent("delete") == 1
    assert stop.waits_s == []


def test_an_id_that_is_gone_is_an_error_where_that_matters(calls, number):
    """After one request as well."""
    with pytest.raises(MediaGoneError):
        delete("123", calls=calls, ignore_missing=False)
    assert number.sent("delete") == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("status", "error"),
    [(401, KeyRefusedError), (403, AccessRefusedError), (405, RequestRefusedError), (409, RequestRefusedError)],
)
def test_a_refused_delete_is_sent_once_in_every_shape(*, shape, status, error, calls, number, stored, stop):
    """And nothing is called deleted."""
    number.arm("error", operation="delete", times="always", status=status, shape=shape, text="Refused", code=100)
    with pytest.raises(error):
        delete(stored[0], calls=calls)
    assert number.sent("delete") == 1
    assert stop.waits_s == []


def test_a_page_that_says_404_is_no_proof_that_an_id_is_gone(calls, number, stored):
    """A proxy's page comes from a wrong base URL, not from 360dialog."""
    number.arm("error", operation="delete", times="always", status=404, shape="HTML")
    with pytest.raises(EndpointMissingError):
        delete(stored[0], calls=calls)
    assert number.emu.live_media(number.number_id)


@pytest.mark.parametrize(
    ("kind", "more", "was_there"),
    [
        pytest.param("html", {"status": 502}, True, id="a proxy's 502"),
        pytest.param("drop", {"performs": False}, True, id="dropped before it took effect"),
        pytest.param("drop", {"performs": True}, False, id="dropped after it took effect: gone when asked again"),
        pytest.param("empty", {"performs": True}, False, id="nothing with 200"),
        pytest.param("error", {"status": 429, "text": "x", "retry_after": 2.0}, True, id="a throttle with a time"),
    ],
)
def test_one_fault_on_the_way_to_delete_is_survived(kind, more, was_there, calls, number, stored):
    """In the end it is gone."""
    number.arm(kind, operation="delete", **more)
    assert delete(stored[0], calls=calls) is was_there
    assert number.emu.live_media(number.number_id) == []


def test_a_throttle_of_deletes_without_a_time_is_reported_after_one_request(calls, number, stored, stop):
    """Ten minutes are not slept through in a worker (needs F46)."""
    number.arm("error", operation="delete", times="always", status=429, text="Too many")
    with pytest.raises(ThrottledError) as caught:
        delete(stored[0], calls=calls)
    assert number.sent("delete") == 1
    assert stop.waits_s == []
    assert abs((caught.value.retry_at - calls.now()).total_seconds() - 600) < 5


def test_what_is_no_media_id_is_not_asked_to_be_deleted(calls, number):
    """Nothing is sent."""
    with pytest.raises(MediaIdInvalidError):
        delete("../1", calls=calls)
    assert number.sent("delete") == 0
