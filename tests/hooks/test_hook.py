"""The hook: what it returns, what happens when the key changes, what the test button says."""

from __future__ import annotations

import json
import logging
import pickle
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import pendulum
import pytest
from airflow.sdk.serde import deserialize, serialize

from airflow_provider_360dialog.exceptions import (
    CallError,
    ConnectionInvalidError,
    Dialog360Error,
    KeyRefusedError,
    MediaIdInvalidError,
    MediaRejectedError,
    MediaUrlHiddenError,
    MediaUrlRefusedError,
    StoppedError,
    ValidityOutOfReachError,
)
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.ports import Record
from tests.jobs.doubles import Patient


@pytest.fixture
def records(hook, photo, tmp_path):
    """One of each record."""
    uploaded = hook.upload(photo)
    fetched = hook.fetch_media(uploaded.media_id)
    downloaded = hook.download(tmp_path / "a.jpg", url=fetched.url)
    return [uploaded, fetched, downloaded, hook.health()]


# --- records ------------------------------------------------------------------------------------------------------


def test_the_four_operations_work_end_to_end(hook, number, photo, tmp_path):
    """Up, asked for, down and identical, gone."""
    uploaded = hook.upload(photo)
    fetched = hook.fetch_media(uploaded.media_id)
    downloaded = hook.download(tmp_path / "a.jpg", media_id=uploaded.media_id, sha256=uploaded.sha256)
    assert (tmp_path / "a.jpg").read_bytes() == photo.read_bytes()
    assert uploaded.sha256 == fetched.sha256 == downloaded.sha256
    assert uploaded.size_bytes == fetched.size_bytes == downloaded.size_bytes == photo.stat().st_size
    assert uploaded.mime_type == fetched.mime_type == downloaded.mime_type == "image/jpeg"
    assert hook.delete(uploaded.media_id) is True
    assert hook.delete(uploaded.media_id) is False
    assert number.emu.live_media(number.number_id) == []


def test_an_upload_is_safe_for_29_days(hook, photo):
    """30 days of life less a margin of 24 h, in aware UTC."""
    uploaded = hook.upload(photo)
    assert uploaded.safe_until - uploaded.uploaded_at == timedelta(days=29)
    assert uploaded.uploaded_at.utcoffset() == timedelta(0)
    assert abs(uploaded.uploaded_at - datetime.now(UTC)) < timedelta(seconds=10)
    assert uploaded.reused is False


def test_a_url_ends_in_five_minutes(hook, photo):
    """As an aware instant."""
    fetched = hook.fetch_media(hook.upload(photo).media_id)
    assert timedelta(minutes=4) < fetched.url_expires_at - datetime.now(UTC) < timedelta(minutes=6)


def test_a_record_is_a_plain_dictionary_too(records):
    """The same fields by name, JSON-safe, and no URL among them."""
    for record in records:
        assert json.loads(json.dumps(record)) == json.loads(json.dumps(dict(record)))
        for name, value in record.items():
            attribute = getattr(record, name)
            assert value == (attribute.isoformat() if isinstance(attribute, datetime) else attribute)
    assert set(records[0]) == {"media_id", "sha256", "mime_type", "size_bytes", "uploaded_at", "safe_until", "reused", "receipt"}
    assert set(records[1]) == {"media_id", "mime_type", "sha256", "size_bytes", "url_expires_at"}
    assert set(records[2]) == {"uri", "size_bytes", "sha256", "mime_type"}
    assert set(records[3]) == {"status", "phone_number_id", "entities", "notes"}


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(repr, id="repr"),
        pytest.param(str, id="str"),
        pytest.param(lambda r: f"{r} {r.url}", id="a format string"),
        pytest.param(lambda r: pickle.dumps(r).decode("latin-1"), id="pickle"),
        pytest.param(json.dumps, id="JSON"),
        pytest.param(lambda r: json.dumps(serialize(r)), id="Airflow's serialisation"),
        pytest.param(lambda r: json.dumps(serialize(r.url)), id="Airflow's serialisation of the URL alone"),
        pytest.param(lambda r: repr(vars(r)), id="its attributes"),
    ],
)
def test_no_form_of_a_record_shows_the_urls_query(form, records):
    """The link gives the file to whoever has it and the key."""
    secret = records[1].url.reveal().partition("?")[2]
    text = form(records[1])
    assert secret not in text
    assert secret.partition("hash=")[2] not in text


def test_a_record_survives_pickle_but_its_query_does_not(records):
    """A copy that went through a store says so, instead of asking a wrong URL."""
    for record in records:
        copy = pickle.loads(pickle.dumps(record))
        assert (type(copy), dict(copy)) == (type(record), dict(record))
    with pytest.raises(MediaUrlHiddenError):
        pickle.loads(pickle.dumps(records[1])).url.reveal()


def test_a_record_goes_through_airflows_serialisation_as_a_dictionary(records):
    """The next task finds a plain dictionary in XCom."""
    for record in records:
        back = deserialize(serialize(record))
        assert not isinstance(back, Record)
        assert json.loads(json.dumps(back)) == json.loads(json.dumps(record))


def test_a_url_that_lost_its_query_is_not_asked(hook, number, records, tmp_path):
    """The error says what to do; nothing is sent."""
    before = number.sent("download")
    with pytest.raises(MediaUrlHiddenError, match="Fetch it again"):
        hook.download(tmp_path / "b.jpg", url=pickle.loads(pickle.dumps(records[1])).url)
    assert number.sent("download") == before


# --- the key ------------------------------------------------------------------------------------------------------


CALLS = {
    "upload": lambda hook, media_id, folder, photo: hook.upload(photo, reuse=False),
    "fetch": lambda hook, media_id, folder, photo: hook.fetch_media(media_id),
    "download": lambda hook, media_id, folder, photo: hook.download(folder / "new.jpg", media_id=media_id),
    "delete": lambda hook, media_id, folder, photo: hook.delete(media_id),
    "health": lambda hook, media_id, folder, photo: hook.health(),
}


@pytest.mark.parametrize(("name", "call"), CALLS.items(), ids=CALLS)
def test_a_key_that_was_replaced_in_the_connection_is_used_at_once(name, call, hook, number, connect, photo, tmp_path):  # noqa: PLR0917 - fixtures
    """The old key is refused once, the connection is read once more, and the work goes on (needs US-8, F41)."""
    media_id = hook.upload(photo).media_id
    before = number.emu.state.strangers
    connect(number.base_url, number.rotate_key())
    assert call(hook, media_id, tmp_path, photo)
    assert number.emu.state.strangers == before + (name != "health")  # which reads the connection each time


@pytest.mark.parametrize(("name", "call"), CALLS.items(), ids=CALLS)
def test_a_key_that_was_not_replaced_stops_after_one_call(name, call, hook, number, photo, tmp_path):
    """Blind repeats with a dead key help nobody: one call, and one question whether the number has moved away."""
    media_id = hook.upload(photo).media_id
    number.rotate_key()
    before = number.emu.state.strangers
    with pytest.raises(KeyRefusedError, match="password") as caught:
        call(hook, media_id, tmp_path, photo)
    assert number.emu.state.strangers == before + (1 if name == "health" else 2)
    assert not caught.value.retryable


def test_a_key_that_is_replaced_by_a_dead_one_stops_after_two_calls(hook, number, connect, photo):
    """Once more, not for ever."""
    hook.upload(photo)
    number.rotate_key()
    connect(number.base_url, "test-key-canary-another-dead-one")
    before = number.emu.state.strangers
    with pytest.raises(KeyRefusedError):
        hook.upload(photo, reuse=False)
    assert number.emu.state.strangers == before + 2


def test_a_call_that_is_refused_late_uses_the_key_that_another_thread_has_found(hook, number, connect, photo):
    """Two calls under way with the old key; the first to be refused re-reads the connection, and the second must go on too."""
    hook.upload(photo)
    connect(number.base_url, number.rotate_key())
    meanwhile = [lambda: hook.upload(photo, reuse=False)]

    def health(calls):
        request = calls.api.health()  # leaves with the old key
        if meanwhile:
            meanwhile.pop()()  # what another thread does while this request is on its way
        if isinstance(request, Dialog360Error):
            raise request
        return request

    assert hook._session.run(health).status == "AVAILABLE"


def test_a_hook_recovers_when_the_key_comes_later(hook, number, connect, photo):
    """The same hook, asked again after somebody mended the connection."""
    number.rotate_key()
    with pytest.raises(KeyRefusedError):
        hook.upload(photo)
    connect(number.base_url, number.key)
    assert hook.upload(photo).media_id


# --- the test button ----------------------------------------------------------------------------------------------


def test_the_test_button_says_available(hook, number):
    """Which number it is, and no GET that costs error budget."""
    ok, words = hook.test_connection()
    assert ok
    assert "available" in words
    assert number.number_id in words
    assert (number.sent("health"), number.sent("fetch")) == (1, 0)


def test_the_test_button_says_limited_and_why(hook, number):
    """In 360dialog's own words."""
    number.emu.set_health("LIMITED", number=number.number_id, additional_info=["The display name has\nnot been approved."])
    ok, words = hook.test_connection()
    assert ok
    assert "LIMITED" in words
    assert "The display name has not been approved." in words


def test_the_test_button_says_blocked_and_why(hook, number):
    """A blocked number's key still works, and media may too."""
    error = {"error_code": 141010, "error_description": "Payment missing.", "possible_solution": "Pay."}
    number.emu.set_health("BLOCKED", number=number.number_id, errors=[error])
    ok, words = hook.test_connection()
    assert ok
    for word in ("BLOCKED", "Payment missing.", "Pay.", "141010"):
        assert word in words


def test_the_test_button_repeats_a_word_that_nobody_knows_yet(hook, number):
    """360dialog may invent more."""
    number.emu.set_health("PAUSED", number=number.number_id)
    assert "'PAUSED'" in hook.test_connection()[1]


@pytest.mark.parametrize(
    ("fault", "more", "says"),
    [
        pytest.param("unauthorized", {}, "does not accept the API key", id="a wrong key"),
        pytest.param("html", {"status": 200}, "HTML page", id="a page where an answer should be"),
        pytest.param("error", {"status": 404}, "no such endpoint", id="a host that is something else"),
        pytest.param("error", {"status": 500}, "HTTP 500", id="a server that fails"),
        pytest.param("omit_field", {"field": "health_status"}, "health_status", id="an answer without health"),
        pytest.param("redirect", {"location": "https://evil.example/{path}"}, "https://evil.example", id="a redirect away"),
    ],
)
def test_the_test_button_says_what_is_wrong(fault, more, says, hook, number):
    """One sentence, never a traceback."""
    number.arm(fault, operation="health", times="always", **more)
    ok, words = hook.test_connection()
    assert not ok
    assert says in words
    assert "\n" not in words


def test_the_test_button_says_that_nobody_is_there(connect, number):
    """A host that cannot be reached."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # taken, and nobody listens
        connect(f"http://127.0.0.1:{sock.getsockname()[1]}", number.key)
        hook = Dialog360Hook("number_a")
        hook._session.stop = Patient()
        ok, words = hook.test_connection()
    assert not ok
    assert "Cannot reach" in words


def test_the_test_button_names_the_field_of_a_wrong_connection(connect, number):
    """The field and the remedy."""
    connect("https://waba.360dialog.io", number.key)
    ok, words = Dialog360Hook("number_a").test_connection()
    assert not ok
    assert "'host'" in words


def test_the_test_button_says_that_the_ca_bundle_is_missing(connect, number, tmp_path):
    """A path that holds no certificates is the connection's fault, in words."""
    connect("https://127.0.0.1:1", number.key, ca_bundle=str(tmp_path / "missing.pem"))
    ok, words = Dialog360Hook("number_a").test_connection()
    assert not ok
    assert "ca_bundle" in words or "CA bundle" in words


def test_a_ca_bundle_that_holds_no_certificates_is_an_error_of_ours(connect, number, tmp_path, photo):
    """Whatever the TLS library raises, callers see one tree of errors."""
    (tmp_path / "broken.pem").write_text("nothing")
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect(f"https://127.0.0.1:{server.getsockname()[1]}", number.key, ca_bundle=str(tmp_path / "broken.pem"))
        with pytest.raises(Dialog360Error) as caught:
            Dialog360Hook("number_a").upload(photo)
    assert not caught.value.retryable


# --- arguments ----------------------------------------------------------------------------------------------------


IN_A_WEEK = pendulum.now("Europe/Berlin").add(days=7)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(IN_A_WEEK, id="pendulum"),
        pytest.param(datetime.now(UTC) + timedelta(days=28, hours=23), id="an aware datetime just within reach"),
        pytest.param(IN_A_WEEK.isoformat(), id="ISO 8601 text with an offset"),
        pytest.param(IN_A_WEEK.in_timezone("UTC").to_iso8601_string(), id="ISO 8601 text with Z"),
        pytest.param("2001-01-01T00:00:00Z", id="an instant long ago, which any upload satisfies"),
    ],
)
def test_valid_until_takes_aware_instants(value, hook, photo):
    """As objects and as text, which is what a template gives."""
    assert hook.upload(photo, valid_until=value).media_id


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(datetime.now(UTC).replace(tzinfo=None), id="a naive datetime"),
        pytest.param(IN_A_WEEK.naive().isoformat(), id="text without a zone, which pendulum would take for UTC"),
        pytest.param("2026-12-01", id="a day"),
        pytest.param("12:00", id="a time"),
        pytest.param("P7D", id="a duration"),
        pytest.param("2026-12-01T00:00Z/P1D", id="an interval"),
        pytest.param("tomorrow", id="a word"),
        pytest.param("", id="an empty text"),
        pytest.param(1790000000, id="a number"),
    ],
)
def test_valid_until_takes_nothing_else(value, hook, number, photo):
    """A guess about a time zone would be wrong by hours on the day it matters."""
    with pytest.raises(CallError):
        hook.upload(photo, valid_until=value)
    assert number.sent("upload") == 0


def test_valid_until_beyond_29_days_is_refused_before_anything_is_sent(hook, number, photo):
    """No upload can be promised for longer; the error says which instant could."""
    with pytest.raises(ValidityOutOfReachError) as caught:
        hook.upload(photo, valid_until=pendulum.now("UTC").add(days=29, minutes=1))
    assert abs(caught.value.latest - pendulum.now("UTC").add(days=29)) < timedelta(seconds=10)
    assert number.sent("upload") == 0


@pytest.mark.parametrize("value", ["", "abc", "12 3", "1" * 33, "../1", "//evil/1", "1?x=1", "١٢٣", 123, None, ["1"], "1\n"])
def test_what_is_no_media_id_is_refused_before_anything_is_sent(value, hook, number, tmp_path):
    """1 to 32 ASCII digits, as text."""
    for call in (hook.fetch_media, hook.delete):
        with pytest.raises(MediaIdInvalidError):
            call(value)
    if value is not None:
        with pytest.raises(MediaIdInvalidError):
            hook.download(tmp_path / "a.jpg", media_id=value)
    assert number.emu.counters(number.number_id)["requests"] == {}


@pytest.mark.parametrize("url", ["https://evil.example/whatsapp_business/attachments/?hash=secret", "x", "", "http://[::1"])
def test_what_is_no_media_url_is_refused_before_anything_is_sent(url, hook, number, tmp_path):
    """And its query is not repeated."""
    with pytest.raises(MediaUrlRefusedError) as caught:
        hook.download(tmp_path / "a.jpg", url=url)
    assert "secret" not in str(caught.value)
    assert number.emu.counters(number.number_id)["requests"] == {}


@pytest.mark.parametrize("sha256", ["", "abc", "0" * 63, "g" * 64])
def test_what_is_no_sha256_is_refused_before_anything_is_sent(sha256, hook, number, tmp_path):
    """A check that cannot be made must not be dropped silently."""
    with pytest.raises(CallError, match="sha256"):
        hook.download(tmp_path / "a.jpg", media_id="1", sha256=sha256)
    assert number.emu.counters(number.number_id)["requests"] == {}


def test_a_bad_file_is_refused_before_anything_is_sent(hook, number, checkout):
    """Every reason at once, each with its remedy."""
    with pytest.raises(MediaRejectedError) as caught:
        hook.upload(checkout / "dags_examples" / "media" / "bad_html_named.pdf")
    assert caught.value.problems
    assert all(problem.remedy for problem in caught.value.problems)
    assert number.sent("upload") == 0


def test_inspect_judges_and_sends_nothing(hook, number, photo):
    """The verdict that an upload would act on."""
    verdict = hook.inspect(photo)
    assert (verdict.ok, verdict.kind, verdict.mime_type) == (True, "image", "image/jpeg")
    assert number.emu.counters(number.number_id)["requests"] == {}


# --- the rest -----------------------------------------------------------------------------------------------------


def test_making_a_hook_reads_no_connection():
    """DAG files are parsed where no connection may exist."""
    assert Dialog360Hook("there_is_no_such_connection").dialog360_conn_id == "there_is_no_such_connection"
    assert Dialog360Hook().dialog360_conn_id == "dialog360_default"


def test_a_wrong_connection_is_found_out_at_the_first_call(connect, photo):
    """With the field's name."""
    connect("https://waba.360dialog.io", "k")
    with pytest.raises(ConnectionInvalidError, match="retired"):
        Dialog360Hook("number_a").upload(photo)


def test_a_stopped_hook_sends_nothing_more(hook, number, photo):
    """Also before its first call."""
    hook.stop()
    with pytest.raises(StoppedError):
        hook.upload(photo)
    assert number.sent("upload") == 0


def test_stopping_ends_a_wait_at_once(hook, number, photo):
    """A task that is told to end does not sleep through it."""
    number.arm("error", operation="upload", times="always", status=429, retry_after=50.0)
    stopped_at = []

    def stop_while_it_waits():
        while not number.sent("upload"):
            time.sleep(0.01)
        time.sleep(0.5)
        stopped_at.append(time.monotonic())
        hook.stop()

    threading.Thread(target=stop_while_it_waits, daemon=True).start()
    with pytest.raises(StoppedError):
        hook.upload(photo)
    assert time.monotonic() - stopped_at[0] < 20  # and not the 50 that were asked for
    assert number.sent("upload") == 1


def test_one_hook_serves_many_threads(hook, number, photo):
    """One pool, no mix-up: the same file by eight threads is one upload."""
    ids = []
    threads = [threading.Thread(target=lambda: ids.append(hook.upload(photo).media_id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert {media.media_id for media in number.emu.live_media(number.number_id)} == set(ids)


def test_log_lines_are_few_and_hold_no_query(hook, photo, tmp_path, caplog):
    """One line a decision at INFO."""
    with caplog.at_level(logging.INFO, "airflow_provider_360dialog"):
        media_id = hook.upload(photo).media_id
        hook.download(tmp_path / "a.jpg", media_id=media_id)
        hook.delete(media_id)
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("airflow_provider_360dialog.jobs")]
    assert len(lines) == 5  # whose key it is, upload, fetch, download, delete
    assert not any("?" in line for line in lines)
