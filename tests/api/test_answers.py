"""What a success says, in every form that was seen and some that were not."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.api import answers
from airflow_provider_360dialog.api.messages import Answer
from airflow_provider_360dialog.exceptions import AnswerUnreadableError, Dialog360Error
from airflow_provider_360dialog.ports import FetchedMedia, Health

NOW = datetime(2024, 10, 14, 11, 18, 6, tzinfo=UTC)
BASE = "https://waba-v2.360dialog.io"
SHA = hashlib.sha256(b"x").hexdigest()
# Byte for byte as on the wire: key order, escaped slashes, an integer size.
RECORDED = (
    rb'{"url":"https:\/\/lookaside.fbsbx.com\/whatsapp_business\/attachments\/?mid=1761991787669262&ext=1728904986&hash=ATtx",'
    rb'"mime_type":"image\/png","sha256":"c86c28d4ce8cf1eb7d5ae2ce2e7e45a0ad5a8d3a2b6b9bbd5b1d4d9b9d2d3c4e","file_size":182859,'
    rb'"id":"1761991787669262","messaging_product":"whatsapp"}'
)


def fetch(body: bytes, media_id: str = "1761991787669262") -> FetchedMedia | Dialog360Error:
    return answers.read_fetch(Answer(200, {}, body), media_id=media_id, now=NOW, base_url=BASE)


def test_the_recorded_answer_to_a_fetch_is_read():
    fetched = fetch(RECORDED)
    assert isinstance(fetched, FetchedMedia)
    assert fetched.media_id == "1761991787669262"
    assert fetched.mime_type == "image/png"
    assert fetched.size_bytes == 182859
    assert fetched.sha256 == "c86c28d4ce8cf1eb7d5ae2ce2e7e45a0ad5a8d3a2b6b9bbd5b1d4d9b9d2d3c4e"
    assert fetched.url_expires_at == datetime(2024, 10, 14, 11, 23, 6, tzinfo=UTC)
    assert fetched.url.reveal().endswith("/?mid=1761991787669262&ext=1728904986&hash=ATtx")


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"file_size": "182859"}, "size_bytes", 182859),
        ({"file_size": None}, "size_bytes", None),
        ({"file_size": -1}, "size_bytes", None),
        ({"file_size": "1e3"}, "size_bytes", None),
        ({"sha256": base64.b64encode(bytes.fromhex(SHA)).decode()}, "sha256", SHA),
        ({"sha256": SHA.upper()}, "sha256", SHA),
        ({"sha256": "not a hash"}, "sha256", None),
        ({"mime_type": "audio/ogg; codecs=opus"}, "mime_type", "audio/ogg"),
        ({"mime_type": "<script>"}, "mime_type", None),
        ({"id": 1761991787669262}, "media_id", "1761991787669262"),
        ({"id": None}, "media_id", "1761991787669262"),
    ],
)
def test_a_fetch_is_read_in_every_form_of_a_field(change: dict[str, object], field: str, expected: object):
    fetched = fetch(json.dumps(json.loads(RECORDED) | change).encode())
    assert getattr(fetched, field) == expected


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b"<html>", "HTML"),
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"url": 1}', "no 'url'"),
        (b'{"id": "1761991787669262"}', "no 'url'"),
        (RECORDED.replace(b'"id":"1761991787669262"', b'"id":"2"'), "another media id"),
        (RECORDED.replace(b"lookaside.fbsbx.com", b"evil.example"), "not a media host"),
        (RECORDED.replace(b"https:", b"http:"), "not https"),
    ],
)
def test_a_fetch_that_cannot_be_used_says_why(body: bytes, words: str):
    error = fetch(body)
    assert isinstance(error, AnswerUnreadableError)
    assert words in str(error)
    assert "ATtx" not in str(error)


def test_an_answer_that_was_cut_at_the_cap_is_not_parsed():
    error = answers.read_upload(Answer(200, {}, b'{"id":"1"}', whole=False), now=NOW)
    assert isinstance(error, AnswerUnreadableError)


@pytest.mark.parametrize(
    ("body", "media_id"),
    [
        (b'{"id":"545466424653131"}', "545466424653131"),
        (b'{"id":545466424653131}', "545466424653131"),
        (b'{"id":"1","x":{}}', "1"),
    ],
    ids=["as recorded", "as a number", "with something more"],
)
def test_an_upload_gives_its_id(body: bytes, media_id: str):
    assert answers.read_upload(Answer(201, {}, body), now=NOW) == media_id


@pytest.mark.parametrize(
    "body",
    [
        b'{"media":[{"id":"1"}]}',
        b'{"id":""}',
        b'{"id":null}',
        b'{"id":true}',
        b'{"id":"2:c2Ft"}',
        b'{"id":["1"]}',
        b'{"id":-1}',
        b"{}",
    ],
)
def test_an_upload_without_a_numeric_id_cannot_be_used(body: bytes):
    assert isinstance(answers.read_upload(Answer(200, {}, body), now=NOW), AnswerUnreadableError)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200, {}, b'{"success":true}'), True),
        (Answer(200, {}, b'{"success":"true"}'), True),
        (Answer(204, {}, b""), True),
        (Answer(200, {}, b'{"success":false}'), AnswerUnreadableError),
        (Answer(200, {}, b'{"success":[1]}'), AnswerUnreadableError),
        (Answer(200, {}, b""), AnswerUnreadableError),
        (Answer(200, {}, b"<html>"), AnswerUnreadableError),
    ],
)
def test_a_delete_counts_only_where_it_says_so(answer: Answer, expected: object):
    outcome = answers.read_delete(answer, media_id="1", now=NOW)
    assert outcome is expected or (isinstance(expected, type) and isinstance(outcome, expected))


def test_a_health_has_no_character_that_cannot_be_printed():
    """Its words stand in logs and on a terminal."""
    entity = {"entity_type": "WA\nBA", "can_send_message": "LIMI\x1b[2JTED", "additional_info": ["a\r\nb"]}
    body = {"health_status": {"can_send_message": "BLOCK\nED \ud800", "entities": [entity]}}
    health = answers.read_health(Answer(200, {}, json.dumps(body).encode()), now=NOW)
    assert isinstance(health, Health)
    assert (health.status, health.entities, health.notes) == ("BLOCK ED  ", {"WA BA": "LIMI [2JTED"}, ("WA BA: a  b",))


def test_health_is_read_with_the_words_of_limited_and_blocked_entities():
    body = {
        "health_status": {
            "can_send_message": "BLOCKED",
            "entities": [
                {"entity_type": "PHONE_NUMBER", "id": "106540352242922", "can_send_message": "LIMITED", "additional_info": ["quality"]},
                {"entity_type": "WABA", "id": "2", "can_send_message": "BLOCKED",
                 "errors": [{"error_code": 141006, "error_description": "No payment method", "possible_solution": "Add one"}]},
                "nonsense",
            ],
        }
    }  # fmt: skip
    health = answers.read_health(Answer(200, {}, json.dumps(body).encode()), now=NOW)
    assert isinstance(health, Health)
    assert (health.status, health.phone_number_id) == ("BLOCKED", "106540352242922")
    assert health.entities == {"PHONE_NUMBER": "LIMITED", "WABA": "BLOCKED"}
    assert health.notes == ("PHONE_NUMBER: quality", "WABA: No payment method Add one (code 141006)")


@pytest.mark.parametrize(
    ("ext_s", "expires_in_s"),
    [(300, 300), (120, 120), (-10, 300), (86400 * 30, 300), (None, 300)],
    ids=["as recorded", "shorter", "past: clocks differ", "far away: clocks differ", "absent"],
)
def test_a_url_ends_when_it_says_where_that_is_believable(ext_s: int | None, expires_in_s: int):
    ext = "" if ext_s is None else f"&ext={int(NOW.timestamp()) + ext_s}"
    target = answers.read_media_url(f"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1{ext}", base_url=BASE)
    assert answers.url_end(target, now=NOW) == NOW + timedelta(seconds=expires_in_s)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["id", "url", "sha256", "file_size", "mime_type", "success", "health_status", "can_send_message", "entities",
                         "errors", "additional_info", "entity_type", "error_code"]),
        inner,
        max_size=5,
    ),
    max_leaves=15,
)  # fmt: skip


@given(values.map(lambda v: json.dumps(v).encode()) | st.binary(max_size=60), st.sampled_from([200, 201, 202, 204, 299]))
def test_any_success_is_read_or_called_unreadable(body: bytes, status: int):
    answer = Answer(status, {}, body)
    assert isinstance(answers.read_upload(answer, now=NOW), str | AnswerUnreadableError)
    assert isinstance(fetch(body, "1"), FetchedMedia | AnswerUnreadableError)
    assert isinstance(answers.read_delete(answer, media_id="1", now=NOW), bool | AnswerUnreadableError)
    assert isinstance(answers.read_health(answer, now=NOW), Health | AnswerUnreadableError)
