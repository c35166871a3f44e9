"""What an answer that is not a success means: one row per rule."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog import exceptions as ex
from airflow_provider_360dialog.api.messages import Answer
from airflow_provider_360dialog.api.refusals import read_error_body, read_refusal, read_retry_after

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GONE = {"error": {"message": "Unsupported get request.", "type": "GraphMethodException", "code": 100, "error_subcode": 33}}


def meta(code: int, message: str = "text") -> dict[str, object]:
    return {"error": {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "x"}}


def refusal(operation: str, status: int, body: object = "", **headers: str) -> ex.Dialog360Error:
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    answer = Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)
    return read_refusal(operation, answer, now=NOW, media_id="123")


ROWS = {
    "an unknown or expired id, as recorded": ("fetch", 400, GONE, ex.MediaGoneError),
    "deleting an unknown id": ("delete", 400, GONE, ex.MediaGoneError),
    "deleting a malformed id, as recorded": ("delete", 400, meta(100, "(#100) Invalid post_id parameter"), ex.MediaGoneError),
    "an unknown id in 360dialog's own shape": ("fetch", 400, {"error": "media not found"}, ex.MediaGoneError),
    "404 to a fetch": ("fetch", 404, {"error": "not found"}, ex.MediaGoneError),
    "404 without a body to a fetch": ("fetch", 404, "", ex.MediaGoneError),
    "404 with a web page to a fetch: not our host": ("fetch", 404, "<html>", ex.EndpointMissingError),
    "410 to a delete": ("delete", 410, "", ex.MediaGoneError),
    "400 with another code to a fetch": ("fetch", 400, meta(131009), ex.RequestRefusedError),
    "400 about unpaid invoices is no dead id": ("fetch", 400, {"error": "account disabled: unpaid invoices"}, ex.AccessRefusedError),
    "a bad upload parameter": ("upload", 400, meta(100, "(#100) Param file must be a file"), ex.UploadRefusedError),
    "a file that is too big": ("upload", 413, "<html>", ex.UploadRefusedError),
    "a file size limit that is exceeded is no throttle": ("upload", 400, {"error": "file size limit exceeded"}, ex.UploadRefusedError),
    "404 to an upload: wrong base URL": ("upload", 404, "", ex.EndpointMissingError),
    "404 to health": ("health", 404, "", ex.EndpointMissingError),
    "an ended URL": ("download", 404, "", ex.MediaUrlExpiredError),
    "an ended URL as 400": ("download", 400, {"error": "URL signature expired"}, ex.MediaUrlExpiredError),
    "an ended URL as 410": ("download", 410, "", ex.MediaUrlExpiredError),
    "a bad key, shape B": ("upload", 401, {"error": "Invalid api key"}, ex.KeyRefusedError),
    "a bad key, shape C": ("fetch", 401, {"meta": {"success": False, "http_code": 401, "developer_message": "x"}}, ex.KeyRefusedError),
    "a bad key, camel case with another code inside": ("delete", 401, {"meta": {"httpCode": 404, "developerMessage": "x"}}, ex.KeyRefusedError),
    "a bad key, Meta's code 190 as 400": ("fetch", 400, meta(190), ex.KeyRefusedError),
    "a path that is blocked for the account": ("fetch", 403, {"error": "forbidden"}, ex.AccessRefusedError),
    "a locked account": ("upload", 403, meta(131031), ex.AccessRefusedError),
    "429": ("upload", 429, "", ex.ThrottledError),
    "the documented 400 in text": ("fetch", 400, {"error": "You have exceeded the endpoint rate limit"}, ex.ThrottledError),
    "the documented 400, older": (
        "fetch", 400, {"meta": {"httpCode": 400, "developerMessage": "You have exceeded the limit of 1 request every 5 seconds"}},
        ex.ThrottledError,
    ),
    "the documented 400 as a top-level message": ("upload", 400, {"message": "exceeded the endpoint rate limit"}, ex.ThrottledError),
    "the documented 400 inside Meta's shape": ("upload", 400, meta(1, "Too many requests"), ex.ThrottledError),
    "Meta's code 130429 as 400": ("upload", 400, meta(130429), ex.ThrottledError),
    "Meta's code 80007 as 403": ("fetch", 403, meta(80007), ex.ThrottledError),
    "a 403 that speaks of a limit": ("fetch", 403, {"error": "Limit reached"}, ex.ThrottledError),
    "a 403 that speaks of a rate": ("fetch", 403, {"error": "request rate too high"}, ex.ThrottledError),
    "500": ("fetch", 500, {"error": "internal"}, ex.ServerError),
    "502 with a web page": ("upload", 502, "<html><h1>Bad Gateway</h1>", ex.ServerError),
    "503": ("delete", 503, "", ex.ServerError),
    "408": ("upload", 408, "", ex.ServerError),
    "a method that is not allowed": ("delete", 405, "", ex.RequestRefusedError),
    "a redirect without a redirect status": ("fetch", 304, "", ex.AnswerUnreadableError),
}  # fmt: skip


@pytest.mark.parametrize(("operation", "status", "body", "expected"), ROWS.values(), ids=ROWS.keys())
def test_it_means(operation: str, status: int, body: object, expected: type[ex.Dialog360Error]):
    assert type(refusal(operation, status, body)) is expected


@pytest.mark.parametrize(
    ("operation", "headers", "wait_s"),
    [
        ("fetch", {}, 3600),
        ("download", {}, 3600),
        ("upload", {}, 2),
        ("delete", {}, 600),
        ("fetch", {"retry_after": "7"}, 7),
        ("upload", {"retry_after": "Sun, 22 Nov 2026 12:01:30 GMT"}, 90),
    ],
)  # fmt: skip
def test_a_throttle_says_when_it_ends(operation: str, headers: dict[str, str], wait_s: int):
    """360dialog's word where it gave one, else the rule for that call."""
    error = refusal(operation, 429, "", **headers)
    assert isinstance(error, ex.ThrottledError)
    assert error.retry_at == NOW + timedelta(seconds=wait_s)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "999999999"}, 86400.0),
        ({"retry-after": "inf"}, 86400.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:10:30 GMT", "date": "Sun, 22 Nov 2026 12:10:00 GMT"}, 30.0),
        ({"retry-after": "Sun, 99 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 +99999999999999"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 3000000000:00:30 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT", "date": "Sun, 22 Nov 2026 12:00:00 -2399999999960"}, 30.0),
    ],
    ids=[
        "absent", "empty", "seconds", "fraction", "negative", "absurd", "infinite", "not a number", "words", "a date", "a past date",
        "a date by the server's own clock", "no date of this world", "a zone beyond all zones", "an hour beyond all days",
        "a date by a clock of no zone",
    ],
)  # fmt: skip
def test_retry_after_is_read_as(headers: dict[str, str], seconds: float | None):
    assert read_retry_after(headers, now=NOW) == seconds


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (GONE, 100, "Unsupported get request."),
        ({"error": {"message": "m", "code": 131009, "error_data": {"details": "d"}}}, 131009, "m. d"),
        ({"error": "text"}, None, "text"),
        ({"meta": {"developer_message": "snake"}}, None, "snake"),
        ({"meta": {"developerMessage": "camel"}}, None, "camel"),
        ({"meta": {}, "errors": [{"code": 1006, "title": "t", "details": "d"}]}, 1006, "t. d"),
        ({"message": "top"}, None, "top"),
        ([1], None, "[1]"),
        ("<!DOCTYPE html><h1>502</h1>", None, "an HTML page"),
        ("", None, ""),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
    ],
    ids=["Meta", "Meta with details", "B", "C", "C'", "D", "message", "a list", "HTML", "empty", "not UTF-8"],
)  # fmt: skip
def test_an_error_body_is_read_in_each_shape(body: object, code: int | None, words: str):
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    assert read_error_body(Answer(400, {}, raw)) == (code, words)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["error", "meta", "errors", "message", "code", "developer_message", "title", "details", "error_data"]), inner, max_size=4
    ),
    max_leaves=10,
)  # fmt: skip


@given(
    st.sampled_from(["upload", "fetch", "download", "delete", "health"]),
    st.integers(300, 599),
    st.binary(max_size=50) | json_values.map(lambda v: json.dumps(v).encode()),
    st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text(max_size=30)),
)
def test_any_answer_becomes_one_error_of_the_tree(operation: str, status: int, body: bytes, headers: dict[str, str]):
    """Whatever a server or something before it writes, nothing else is raised, and the sentence is one printable line."""
    error = read_refusal(operation, Answer(status, headers, body), now=NOW, media_id="1")
    assert isinstance(error, ex.Dialog360Error)
    assert str(error).isprintable()
