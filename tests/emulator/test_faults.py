"""Every row of the fault table, shown on the socket."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import time
import zlib
from email.utils import parsedate_to_datetime

import pytest
import requests

from airflow_provider_360dialog.emulator import FAULT_KINDS, strikes
from airflow_provider_360dialog.emulator.faults import Stage


def split(raw: bytes) -> tuple[bytes, bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    return head, body


def test_unknown_fault_is_refused_with_the_known_ones(channel):
    """The 422 teaches the table."""
    response = channel.admin("POST", "faults", json={"kind": "gremlin"})
    assert response.status_code == 422
    for name in FAULT_KINDS:
        assert repr(name) in response.json()["detail"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"kind": "redirect", "color": "red"}, "unknown parameters"),
        ({"kind": "redirect", "status": 304}, "must be one of"),
        ({"kind": "html", "status": 42}, "between 200 and 599"),
        ({"kind": "drip", "bytes_per_s": 0}, "above 0"),
        ({"kind": "drip", "bytes_per_s": "fast"}, "must be float"),
        ({"kind": "drip", "part": "tail"}, "must be one of"),
        ({"kind": "gzip", "operation": "send"}, "unknown operation"),
        ({"kind": "wrong_bytes", "operation": "upload"}, "strikes only"),
        ({"kind": "gzip", "times": 0}, "at least 1"),
        ({"kind": "truncate", "keep_bytes": -1}, "negative"),
    ],
)
def test_nonsense_is_refused(channel, fault, says):
    """A fault that could never do what it says is not armed."""
    response = channel.admin("POST", "faults", json=fault)
    assert response.status_code == 422
    assert says in response.json()["detail"]


def test_fault_strikes_the_next_n_matching_requests_only(channel, other):
    """Times, operation, number and media id all narrow it."""
    first, second = channel.new_id(), channel.new_id()
    channel.arm("html", operation="fetch", media_id=first, times=2)
    assert channel.fetch(second).status_code == 200
    assert channel.health().status_code == 200
    assert other.health().status_code == 200
    assert [channel.fetch(first).status_code for _ in range(3)] == [502, 502, 200]


def test_always_strikes_until_disarmed(channel):
    """`always` has no end of its own."""
    fault = channel.arm("html", times="always", status=503)
    assert [channel.health().status_code for _ in range(3)] == [503] * 3
    assert channel.admin("DELETE", "faults", params={"fault_id": fault.fault_id}).json() == {"disarmed": 1}
    assert channel.health().status_code == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_elsewhere(channel, status):
    """The location is verbatim; the upload reached nothing."""
    channel.arm("redirect", status=status, location="https://elsewhere.example{path}")
    response = channel.upload(allow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (status, "https://elsewhere.example/media")
    counters = channel.counters()
    assert (counters["redirected"], counters["ids_alive"], counters["max_posts_per_s"]) == (1, 0, 0)


@pytest.mark.parametrize("hops", [1, 2, 5])
@pytest.mark.parametrize("when", ["headers", "body"])
def test_same_origin_redirect_succeeds_after_k_hops(channel, hops, when):
    """A client that follows gets through, with method and body kept on 308."""
    channel.arm("redirect", hops=hops, when=when)
    response = channel.upload()
    assert response.status_code == 200
    assert len(response.history) == hops
    assert response.url == f"{channel.url}/v2/media"


def test_redirect_loop_never_ends(channel):
    """With `loop` a follower must give up by itself."""
    channel.arm("redirect", times="always", loop=True)
    with pytest.raises(requests.TooManyRedirects):
        channel.health()


@pytest.mark.parametrize("operation", ["upload", "download"])
def test_gzip_is_valid_and_unasked(channel, operation):
    """The body is compressed although nobody offered to take that."""
    content = b"abc" * 100_000
    media_id = channel.new_id(content)
    url = channel.media_url(media_id)
    channel.arm("gzip", operation=operation)
    plain = {"Accept-Encoding": "identity"}
    response = channel.upload(headers=plain, stream=True)
    response = response if operation == "upload" else channel.session.get(url, headers=plain, stream=True, timeout=10)
    assert response.headers["content-encoding"] == "gzip"
    unpacked = gzip.decompress(response.raw.read())
    assert unpacked == content or unpacked.startswith(b'{"id":')


def test_gzip_bomb_is_small_and_opens_to_its_size(channel):
    """64 MiB and 5 bytes of zeros, in one valid gzip member of a thousandth of that."""
    size = 64 * 1024 * 1024 + 5
    channel.arm("gzip_bomb", size_bytes=size)
    response = channel.session.get(f"{channel.url}/health_status", stream=True, timeout=10)
    packed = response.raw.read(decode_content=False)
    assert len(packed) < size // 500
    opened = zlib.decompressobj(wbits=31)
    unpacked = opened.decompress(packed)
    assert (len(unpacked), unpacked.count(0), opened.eof) == (size, size, True)


@pytest.mark.parametrize(("keep", "sent"), [(None, None), (0, 0), (10, 10)])
def test_truncated_body_promises_more_than_it_sends(channel, keep, sent):
    """Content-Length is the whole, then the connection closes."""
    whole = channel.health().content
    channel.arm("truncate", keep_bytes=keep)
    head, body = split(channel.raw())
    assert f"content-length: {len(whole)}".encode() in head
    assert body == whole[: len(whole) // 2 if sent is None else sent]


def test_endless_body_stops_only_when_the_client_leaves(channel):
    """Megabytes of blanks, and the server survives the client's going."""
    channel.arm("endless")
    with channel.session.get(f"{channel.url}/health_status", stream=True, timeout=10) as response:
        sizes = itertools.accumulate(map(len, response.iter_content(1 << 20)))
        assert any(size > 8 << 20 for size in sizes)
    assert channel.health().status_code == 200


def test_long_body_has_the_given_surplus(channel):
    """A bounded surplus ends properly."""
    whole = channel.health().content
    channel.arm("endless", size_bytes=100_000)
    assert channel.health().content == whole + b" " * 100_000


@pytest.mark.parametrize("part", ["head", "body", "all"])
def test_drip_is_slow_where_it_says(channel, part):
    """First byte, end of head and end of body come at the rate's pace."""
    channel.arm("drip", bytes_per_s=2000, part=part)
    started = time.monotonic()
    head, body = split(channel.raw())
    took = time.monotonic() - started
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert f"content-length: {len(body)}".encode() in head
    slow = {"head": len(head), "body": len(body), "all": len(head) + len(body)}[part] / 2000
    assert slow * 0.8 <= took <= slow * 2 + 0.5


def test_delay_waits_before_any_fault(channel):
    """`delay_s` belongs to every kind; `delay` does nothing else."""
    channel.arm("delay", delay_s=0.15)
    channel.arm("html", delay_s=0.15)
    assert (slow := channel.health()).status_code == 200
    assert slow.elapsed.total_seconds() >= 0.15
    assert (slow := channel.health()).status_code == 502
    assert slow.elapsed.total_seconds() >= 0.15


@pytest.mark.parametrize(("status", "stored"), [(502, 0), (503, 0), (504, 0), (200, 1)])
def test_html_page(channel, status, stored):
    """A proxy's page; a 200 among them stores first."""
    channel.arm("html", status=status)
    response = channel.upload()
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html")
    assert response.text.startswith("<html>")
    assert channel.counters()["ids_alive"] == stored


def test_empty_200(channel):
    """Stored, but not a word about it."""
    channel.arm("empty")
    response = channel.upload()
    assert (response.status_code, response.content, channel.counters()["ids_alive"]) == (200, b"", 1)


@pytest.mark.parametrize(("operation", "field"), [("upload", "id"), ("fetch", "url"), ("delete", "success")])
def test_field_is_left_out(channel, operation, field):
    """A 200 without its main field."""
    media_id = channel.new_id()
    channel.arm("omit_field", operation=operation, field=field)
    call = {"upload": channel.upload, "fetch": lambda: channel.fetch(media_id), "delete": lambda: channel.delete(media_id)}
    response = call[operation]()
    assert response.status_code == 200
    assert field not in response.json()


def test_wrong_bytes_have_the_right_length(channel):
    """Only a hash can tell."""
    media_id = channel.new_id(b"12345")
    channel.arm("wrong_bytes")
    response = channel.download(media_id)
    assert len(response.content) == 5
    assert not set(response.content) & set(b"12345")


@pytest.mark.parametrize("delta", [-3, 100_000])
def test_wrong_size(channel, delta):
    """A download, or what the answer says of it, is longer or shorter."""
    media_id = channel.new_id(b"12345")
    channel.arm("wrong_size", operation="download", delta_bytes=delta)
    assert len(channel.download(media_id).content) == 5 + delta
    channel.arm("wrong_size", operation="fetch", delta_bytes=delta)
    assert channel.fetch(media_id).json()["file_size"] == 5 + delta


def test_file_size_as_string_and_sha256_as_base64(channel):
    """The variants that documents show and the wire did not."""
    media_id = channel.new_id(b"12345")
    channel.arm("string_file_size")
    assert channel.fetch(media_id).json()["file_size"] == "5"
    channel.arm("base64_sha256")
    shown = channel.fetch(media_id).json()["sha256"]
    assert len(shown) == 44
    assert channel.fetch(media_id).json()["sha256"] == hashlib.sha256(b"12345").hexdigest()


@pytest.mark.parametrize(("performs", "stored"), [(True, 1), (False, 0)])
def test_drop_closes_without_an_answer(channel, performs, stored):
    """The upload may be stored, and the client cannot know."""
    channel.arm("drop", performs=performs)
    with pytest.raises(requests.ConnectionError):
        channel.upload()
    assert channel.counters()["ids_alive"] == stored
    assert channel.counters()["refused"] == {"upload:none": 1}


@pytest.mark.parametrize("when", ["headers", "body"])
def test_reset_is_a_reset(channel, when):
    """The socket reports RST, not an end of file."""
    channel.arm("reset", when=when)
    with pytest.raises(ConnectionResetError):
        channel.raw()
    assert channel.counters()["requests"] == {}


def test_reset_before_a_large_body_is_read(channel):
    """The sender of 20 MB is cut off."""
    channel.arm("reset")
    with pytest.raises(requests.ConnectionError):
        channel.upload(bytes(20_000_000), "application/pdf")


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ("B", '{"error":"no"}'),
        ("C", '{"meta":{"success":false,"http_code":418,"developer_message":"no"}}'),
        ("C2", '{"meta":{"httpCode":418,"developerMessage":"no","success":false}}'),
    ],
)
def test_error_in_each_shape(channel, shape, text):
    """Any status, shape and text."""
    channel.arm("error", status=418, shape=shape, text="no")
    response = channel.health()
    assert (response.status_code, response.text) == (418, text)


def test_error_as_meta_object(channel):
    """Shape A carries code and subcode."""
    channel.arm("error", status=400, shape="A", text="no", code=131052, subcode=7)
    error = channel.health().json()["error"]
    assert (error["message"], error["code"], error["error_subcode"]) == ("no", 131052, 7)


@pytest.mark.parametrize(
    ("params", "header"),
    [({"retry_after": 7}, "7"), ({"retry_after": 0.5}, "0.5"), ({"retry_after": "soon"}, "soon"), ({}, None)],
)
def test_retry_after_as_given(channel, params, header):
    """Seconds, verbatim text, or none."""
    channel.arm("error", status=429, **params)
    assert channel.health().headers.get("retry-after") == header


def test_retry_after_as_a_date_fits_the_date_header(channel):
    """Both go by the movable clock."""
    channel.arm("error", status=429, retry_after=90, retry_after_format="date")
    headers = channel.health().headers
    wait = parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers["date"])
    assert 89 <= wait.total_seconds() <= 91


def test_unauthorized_although_the_key_is_good(channel):
    """A revoked key, as far as the client can tell."""
    channel.arm("unauthorized", shape="C")
    assert channel.health().json()["meta"]["http_code"] == 401
    assert channel.health().status_code == 200


def test_missing_user_agent_is_refused(channel):
    """Only requests without one meet the fault, and it does not spend itself on others."""
    channel.arm("need_user_agent")
    assert channel.health().status_code == 200
    assert channel.raw().startswith(b"HTTP/1.1 403")


def test_every_kind_is_acted_upon():
    """The table and the code that strikes name the same kinds; a row that does nothing cannot be added."""
    by_stage = {stage: {kind.name for kind in FAULT_KINDS.values() if kind.stage is stage} for stage in Stage}
    assert by_stage[Stage.RESHAPE] == set(strikes._STRIKES)
    assert by_stage[Stage.GATE] == {"redirect", "reset", "need_user_agent"}
    assert by_stage[Stage.INSTEAD] == {"error", "unauthorized", "html", "empty", "drop"}


@pytest.mark.parametrize("status", [400, 520, 599])
def test_status_without_words_can_be_sent(channel, status):
    """Proxies invent statuses."""
    channel.arm("html", status=status)
    assert channel.health().status_code == status
    channel.arm("error", status=status)
    assert channel.health().status_code == status
