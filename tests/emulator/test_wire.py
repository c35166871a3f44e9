"""Every answer against what was recorded, byte for byte."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
import requests

from airflow_provider_360dialog.emulator import rules
from airflow_provider_360dialog.emulator.settings import ErrorShape
from airflow_provider_360dialog.emulator.shapes import bad_key

JSON_TYPE = "application/json; charset=UTF-8"
NO_OBJECT = (
    (
        r"{\"error\":{\"message\":\"Unsupported %s request. Object with ID '%s' does not exist, cannot be loaded due to "
        r"missing permissions, or does not support this operation. Please read the Graph API documentation at "
        r"https:\\/\\/developers.facebook.com\\/docs\\/graph-api\",\"type\":\"GraphMethodException\",\"code\":100,"
        r"\"error_subcode\":33,\"fbtrace_id\":\"TRACE\"}}"
    )
    .replace(r"\"", '"')
    .replace(r"\\/", r"\/")
)


def without_trace(response) -> str:
    text, count = re.subn(r'"fbtrace_id":"A[\w-]{22}"', '"fbtrace_id":"TRACE"', response.text)
    assert count == 1, response.text
    return text


def test_upload_answers_only_an_id(channel):
    """V1: HTTP 200, JSON with a charset, a decimal id of 15 or 16 digits and nothing else."""
    response = channel.upload()
    assert response.status_code == 200
    assert response.headers["content-type"] == JSON_TYPE
    assert re.fullmatch(r'\{"id":"[1-9][0-9]{14,15}"\}', response.text)


def test_equal_bytes_get_different_ids(channel):
    """V2: nothing is deduplicated."""
    assert channel.new_id() != channel.new_id()
    assert list(channel.counters()["uploads_by_sha256"].values()) == [2]


def test_media_answer_is_as_recorded(channel):
    """V2: key order, escaped slashes, hex sha256, integer size, `ext` = now + 300 s."""
    content = b"\x89PNG" + b"z" * 182855
    media_id = channel.new_id(content)
    before = int(channel.emu.state.now_s())
    text = channel.fetch(media_id).text
    found = re.search(r"ext=([0-9]+)&hash=(AT[\w-]{44})", text)
    assert before + 300 <= int(found[1]) <= before + 302
    expected = (
        r'{"url":"https:\/\/lookaside.fbsbx.com\/whatsapp_business\/attachments\/?mid=ID&EXTHASH",'
        r'"mime_type":"image\/png","sha256":"SHA","file_size":182859,"id":"ID","messaging_product":"whatsapp"}'
    )
    expected = expected.replace("ID", media_id).replace("SHA", hashlib.sha256(content).hexdigest())
    assert text == expected.replace("EXTHASH", found[0])
    assert len(text) == 336 + 2 * (len(media_id) - 16)  # the recorded Content-Length


def test_each_fetch_gives_a_fresh_url(channel):
    """V2: the same id, two URLs."""
    media_id = channel.new_id()
    assert channel.media_url(media_id) != channel.media_url(media_id)


def test_download_gives_the_bytes_and_the_recorded_headers(channel):
    """V2: raw bytes, inline disposition, ranges, no caching, an entity tag."""
    content = bytes(range(256)) * 2000
    response = channel.download(channel.new_id(content))
    assert response.content == content
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-length"] == str(len(content))
    assert response.headers["content-disposition"] == "inline;filename=whatsapp.png"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["cache-control"] == "private, no-cache, no-store, must-revalidate"
    assert re.fullmatch(r'"[0-9a-f]{40}"', response.headers["etag"])


def test_order_of_the_query_does_not_matter(channel):
    """V2: a recorded client reordered it."""
    base, _, query = channel.media_url(channel.new_id()).partition("?")
    swapped = "&".join(reversed(query.split("&")))
    assert channel.session.get(f"{base}?{swapped}", timeout=10).status_code == 200


def test_delete_says_success_and_the_id_is_gone(channel):
    """V2: 16 bytes; afterwards the id is unknown and its URLs are 404."""
    media_id = channel.new_id()
    url = channel.media_url(media_id)
    response = channel.delete(media_id)
    assert (response.status_code, response.content) == (200, b'{"success":true}')
    assert channel.session.get(url, timeout=10).status_code == 404
    assert without_trace(channel.fetch(media_id)) == NO_OBJECT % ("get", media_id)
    assert without_trace(channel.delete(media_id)) == NO_OBJECT % ("delete", media_id)


def test_refusals_of_ids_are_as_recorded(channel):
    """V2: GET and DELETE of a malformed id differ in text, type and subcode; both carry WWW-Authenticate."""
    got, deleted = channel.fetch("123_123"), channel.delete("123_123")
    assert got.status_code == deleted.status_code == 400
    assert without_trace(got) == NO_OBJECT % ("get", "123_123")
    assert len(got.content) == 363
    assert got.headers["www-authenticate"].startswith(
        'OAuth "Facebook Platform" "invalid_request" "Unsupported get request. Object with ID \'123_123\' does'
    )
    expected = '{"error":{"message":"(#100) Invalid post_id parameter","type":"OAuthException","code":100,'
    assert without_trace(deleted) == expected + '"fbtrace_id":"TRACE"}}'
    assert len(deleted.content) == 130
    assert deleted.headers["www-authenticate"].endswith('"(#100) Invalid post_id parameter"')


def test_ids_and_urls_belong_to_their_number(channel, other):
    """Another number's key finds neither the id nor the URL, and cannot delete."""
    media_id = channel.new_id()
    url = channel.media_url(media_id)
    assert without_trace(other.fetch(media_id)) == NO_OBJECT % ("get", media_id)
    assert other.session.get(url, timeout=10).status_code == 404
    assert other.delete(media_id).status_code == 400
    assert channel.session.get(url, timeout=10).status_code == 200


@pytest.mark.parametrize("change", [("mid=", "mid=1"), ("ext=", "ext=9"), ("hash=AT", "hash=AU"), ("hash=", "h=")])
def test_altered_url_is_refused(channel, change):
    """Every part of the query is signed."""
    assert channel.session.get(channel.media_url(channel.new_id()).replace(*change), timeout=10).status_code == 404


def test_url_dies_after_300_s_and_the_id_after_30_days(channel):
    """The movable clock ends both lives to the second."""
    media_id = channel.new_id()
    url = channel.media_url(media_id)
    channel.emu.advance(290)
    assert channel.session.get(url, timeout=10).status_code == 200
    channel.emu.advance(10)
    assert channel.session.get(url, timeout=10).status_code == 404
    channel.emu.advance(30 * 86_400 - 330)
    assert channel.download(media_id).status_code == 200
    channel.emu.advance(30)
    assert without_trace(channel.fetch(media_id)) == NO_OBJECT % ("get", media_id)
    assert channel.counters()["ids_alive"] == 0


@pytest.mark.parametrize("mime", sorted(rules.MAX_BYTES_BY_MIME))
def test_type_of_the_list_is_accepted(channel, mime):
    """All 19 types of Meta's own refusal text pass, audio/opus and image/webp too."""
    assert channel.fetch(channel.new_id(b"x", mime)).json()["mime_type"] == mime


@pytest.mark.parametrize("mime", ["application/octet-stream", "text/csv", "video/3gp", "image/gif", None])
def test_other_type_is_refused_with_the_list(channel, mime):
    """400, code 100, the list, and what was received."""
    response = channel.upload(mime=mime, name="blob")
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (400, "OAuthException", 100)
    start = "(#100) Param file must be a file with one of the following types: audio/aac, audio/mp4, audio/mpeg, "
    assert error["message"].startswith(start)
    assert error["message"].endswith(f"video/3gpp. Received file of type '{mime or 'application/octet-stream'}'.")


@pytest.mark.parametrize("extra", [{}, {"type": "image/png"}, {"type": "whatever"}])
def test_type_field_is_optional(channel, extra):
    """V1 omits it, V2 sends it; the part's own type decides."""
    assert channel.upload(data={"messaging_product": "whatsapp", **extra}).status_code == 200


@pytest.mark.parametrize(
    ("form", "says"),
    [
        pytest.param({"files": {"file": ("a", b"x", "image/png")}}, "messaging_product is required", id="no product"),
        pytest.param({"files": {"messaging_product": (None, "whatsapp")}}, "file is required", id="no file"),
        pytest.param({"data": {"messaging_product": "whatsapp"}}, "messaging_product is required", id="no multipart"),
        pytest.param(
            {"data": b"--B\r\nrubbish", "headers": {"Content-Type": "multipart/form-data; boundary=B"}},
            "Invalid parameter",
            id="a torn form",
        ),
        pytest.param(
            {"files": {"messaging_product": (None, "sms"), "file": ("a", b"x", "image/png")}},
            "must be one of",
            id="another product",
        ),
    ],
)
def test_incomplete_form_is_refused(channel, form, says):
    """400, code 100, and nothing is stored."""
    response = channel.session.post(f"{channel.url}/media", timeout=10, **form)
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]
    assert channel.counters()["ids_alive"] == 0


@pytest.mark.parametrize(
    ("mime", "size", "status"),
    [
        ("image/png", rules.IMAGE_MAX_BYTES, 200),
        ("image/png", rules.IMAGE_MAX_BYTES + 1, 400),
        ("audio/ogg", rules.AUDIO_MAX_BYTES + 1, 400),
        ("video/mp4", rules.VIDEO_MAX_BYTES + 1, 400),
        ("application/pdf", rules.VIDEO_MAX_BYTES + 1, 200),
        ("image/webp", rules.IMAGE_MAX_BYTES + 1, 200),
    ],
)
def test_size_limit_of_each_kind(channel, mime, size, status):
    """The limit holds to the byte; stickers have none at upload (V2)."""
    assert channel.upload(bytes(size), mime).status_code == status


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("A", None),
        ("B", '{"error":"Invalid api key"}'),
        ("C", '{"meta":{"success":false,"http_code":401,"developer_message":"Invalid api key"}}'),
        ("C2", '{"meta":{"httpCode":404,"developerMessage":"Invalid api_key or token expired","success":false}}'),
    ],
)
@pytest.mark.parametrize("key", [None, "", "unknown"])
def test_bad_key_is_401_in_the_chosen_shape(channel, shape, body, key):
    """Missing, empty or unknown: the same 401."""
    channel.emu.configure(error_shape=shape)
    headers = {} if key is None else {"D360-API-KEY": key}
    response = requests.get(f"{channel.url}/health_status", headers=headers, timeout=10)
    assert response.status_code == 401
    assert response.text == body or (shape == "A" and response.json()["error"]["code"] == 190)


@pytest.mark.parametrize("shape", list(ErrorShape))
def test_every_shape_has_a_401(shape):
    """No shape of the table is without an answer."""
    assert bad_key(shape).status == 401


def test_401_arrives_although_a_large_body_is_unread(channel):
    """The answer leaves at once and the sender of 20 MB still hears it."""
    files = {"messaging_product": (None, "whatsapp"), "file": ("a.pdf", bytes(20_000_000), "application/pdf")}
    response = requests.post(f"{channel.url}/media", files=files, headers={"D360-API-KEY": "no"}, timeout=10)
    assert response.status_code == 401


def test_rotated_key_is_refused_at_once(channel):
    """A new key revokes the old one; media stay."""
    media_id = channel.new_id()
    channel.emu.rotate_key(channel.number_id, channel.key + "-2")
    assert channel.fetch(media_id).status_code == 401
    channel.session.headers["D360-API-KEY"] = channel.key + "-2"
    assert channel.fetch(media_id).status_code == 200


def test_any_key_opens_a_number_of_its_own(channel):
    """With the switch, two unknown keys are two numbers that keep their media apart."""
    channel.emu.configure(any_key=True)
    first = channel.new_id()
    channel.session.headers["D360-API-KEY"] = "never-seen"
    assert channel.fetch(first).status_code == 400
    assert channel.fetch(channel.new_id()).status_code == 200


def test_health_status_is_as_documented(channel):
    """The number is available and named twice; a blocked one says why."""
    document = channel.health().json()
    entity = {"entity_type": "PHONE_NUMBER", "id": channel.number_id, "can_send_message": "AVAILABLE"}
    assert document["health_status"]["entities"][0] == entity
    assert list(document) == ["health_status", "id"]
    assert document["id"] == channel.number_id
    errors = [{"error_code": 141006, "error_description": "d", "possible_solution": "s"}]
    channel.emu.set_health("BLOCKED", number=channel.number_id, errors=errors)
    status = channel.health().json()["health_status"]
    assert status["can_send_message"] == "BLOCKED"
    assert status["entities"][0]["errors"] == errors


def test_health_ignores_the_key(channel):
    """`GET /health` is no credential test."""
    assert requests.get(f"{channel.url}/health", timeout=10).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/media/1"), ("PUT", "/media"), ("POST", "/1"), ("GET", "/")])
def test_unknown_path_is_404_and_costs_nothing(channel, method, path):
    """`/media/<id>` is a common mistake; it is no failed GET."""
    assert channel.session.request(method, channel.url + path, timeout=10).status_code == 404
    assert channel.counters()["failed_gets"] == 0


@pytest.mark.parametrize(
    ("mime", "kind", "more"),
    [
        ("image/jpeg", "image", {"caption": "c"}),
        ("audio/ogg; codecs=opus", "audio", {"voice": True}),
        ("video/mp4", "video", {}),
        ("application/pdf", "document", {"filename": "f.pdf"}),
        ("image/webp", "sticker", {"animated": False}),
    ],
)
def test_received_media(channel, mime, kind, more):
    """The webhook is as documented, with base64 sha256; its URL and its id work, the id for 7 days."""
    content = b"from a customer"
    hook = channel.emu.inject_webhook_media(
        content, mime_type=mime, number=channel.number_id, file_name="f.pdf", caption=more.get("caption")
    )
    value = hook["entry"][0]["changes"][0]["value"]
    message = value["messages"][0]
    assert value["metadata"]["phone_number_id"] == channel.number_id
    assert message["type"] == kind
    part = message[kind]
    assert part["mime_type"] == mime
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", part["sha256"])
    assert more.items() <= part.items()
    url = part["url"].replace("https://lookaside.fbsbx.com", channel.url)
    assert channel.session.get(url, timeout=10).content == content
    assert channel.fetch(part["id"]).json()["sha256"] == hashlib.sha256(content).hexdigest()
    channel.emu.advance(7 * 86_400 - 60)
    assert channel.fetch(part["id"]).status_code == 200
    channel.emu.advance(60)
    assert channel.fetch(part["id"]).status_code == 400


def test_webhook_url_is_optional_and_has_its_own_life(channel):
    """`with_url=False` leaves it out; a negative life makes it dead on arrival."""
    hooks = [
        channel.emu.inject_webhook_media(b"x", number=channel.number_id, with_url=False),
        channel.emu.inject_webhook_media(b"x", number=channel.number_id, url_life_s=-1),
    ]
    parts = [hook["entry"][0]["changes"][0]["value"]["messages"][0]["image"] for hook in hooks]
    assert "url" not in parts[0]
    url = parts[1]["url"].replace("https://lookaside.fbsbx.com", channel.url)
    assert channel.session.get(url, timeout=10).status_code == 404
    assert json.dumps(hooks[0]).count(channel.number_id) == 1
