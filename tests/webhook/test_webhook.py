"""What webhooks say about received files: as documented, as delivered twice, as wrapped by a receiver, and as forged."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import pickle
import random
from collections import OrderedDict, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import MagicMock

import pytest

from airflow_provider_360dialog.emulator.webhook import media_part, webhook
from airflow_provider_360dialog.ports import MediaUrl
from airflow_provider_360dialog.webhook import INBOUND_LIFE, Inbound, InboundMedia, UnusableMedia, read_inbound

NUMBER = "106540352242922"
MEDIA_ID = "1003383421387256"
SHA = hashlib.sha256(b"x").hexdigest()
SECRET = "ATtxSECRET"
URL = f"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid={MEDIA_ID}&ext=1744344796&hash={SECRET}"
RECEIVED_AT = datetime(2025, 4, 11, 4, 8, 16, tzinfo=UTC)


def b64(hex_digest: str) -> str:
    return base64.b64encode(bytes.fromhex(hex_digest)).decode()


def message(kind: str = "image", *, media_id: Any = MEDIA_ID, **more: Any) -> dict[str, Any]:
    part = {"id": media_id, "mime_type": "image/jpeg", "sha256": b64(SHA), "caption": "c", "url": URL}
    return {"from": "15551234567", "id": f"wamid.{media_id}", "timestamp": "1744344496", "type": kind, kind: part} | more


def with_part(kind: str = "image", **more: Any) -> dict[str, Any]:
    """A message whose media object has these fields; `...` takes one away."""
    made = message(kind)
    made[kind] = {key: each for key, each in (made[kind] | more).items() if each is not ...}
    return made


def value(*messages: Any, **more: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": "1", "phone_number_id": NUMBER}
    contacts = [{"profile": {"name": "n"}, "wa_id": "15551234567"}]
    return {"messaging_product": "whatsapp", "metadata": metadata, "contacts": contacts, "messages": list(messages)} | more


def change(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"field": "messages", "value": value(*messages, **more)}


def hook(*messages: Any, **more: Any) -> dict[str, Any]:
    entry = {"id": "102290129340398", "changes": [change(*messages, **more)]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def counts(inbound: Inbound) -> tuple[int, int, int, int, int]:
    return len(inbound.media), len(inbound.unusable), inbound.duplicates, inbound.others, inbound.malformed


def only(payload: object) -> InboundMedia:
    inbound = read_inbound(payload)
    assert counts(inbound) == (1, 0, 0, 0, 0)
    return inbound.media[0]


def only_lost(payload: object) -> UnusableMedia:
    inbound = read_inbound(payload)
    assert counts(inbound) == (0, 1, 0, 0, 0)
    return inbound.unusable[0]


# --- what is documented -------------------------------------------------------------------------------------------


def test_the_documented_webhook_is_read_whole():
    media = only(hook(message()))
    assert dict(media) == {
        "media_id": MEDIA_ID,
        "phone_number_id": NUMBER,
        "kind": "image",
        "mime_type": "image/jpeg",
        "sha256": SHA,
        "url_expires_at": "2025-04-11T04:13:16+00:00",
        "received_at": "2025-04-11T04:08:16+00:00",
        "message_id": f"wamid.{MEDIA_ID}",
        "sender": "15551234567",
        "file_name": None,
        "caption": "c",
    }
    assert isinstance(media.url, MediaUrl)
    assert media.url.reveal() == URL
    assert media.received_at == RECEIVED_AT
    assert media.deadline == RECEIVED_AT + timedelta(days=7) == RECEIVED_AT + INBOUND_LIFE
    assert json.loads(json.dumps(media)) == dict(media)


def test_a_minimal_message_is_enough():
    media = only({"metadata": {"phone_number_id": NUMBER}, "messages": [{"type": "audio", "audio": {"id": MEDIA_ID}}]})
    assert (media.media_id, media.phone_number_id, media.kind) == (MEDIA_ID, NUMBER, "audio")
    optional = ("mime_type", "sha256", "url", "url_expires_at", "received_at", "message_id", "sender", "file_name", "caption")
    assert [getattr(media, name) for name in (*optional, "deadline")] == [None] * 10


@pytest.mark.parametrize(
    ("mime_type", "kind", "read_as"),
    [
        ("image/jpeg", "image", "image/jpeg"),
        ("video/mp4", "video", "video/mp4"),
        ("audio/ogg; codecs=opus", "audio", "audio/ogg"),
        ("application/pdf", "document", "application/pdf"),
        ("image/webp", "sticker", "image/webp"),
    ],
)
def test_every_kind_of_the_emulator_is_read(number, mime_type: str, kind: str, read_as: str):
    """A webhook made by code that shares nothing with this."""
    made = number.emu.inject_webhook_media(b"content", mime_type=mime_type, number=number.number_id, file_name="a.x", caption="c")
    media = only(made)
    part = made["entry"][0]["changes"][0]["value"]["messages"][0][kind]
    assert (media.phone_number_id, media.kind, media.mime_type) == (number.number_id, kind, read_as)
    assert media.media_id == part["id"]
    assert media.sha256 == hashlib.sha256(b"content").hexdigest()
    assert media.url is not None
    assert media.url.reveal() == part["url"]
    assert media.url_expires_at is not None
    assert media.received_at is not None
    assert media.file_name == ("a.x" if kind == "document" else None)


def test_a_webhook_without_a_url_is_read_as_one():
    """Meta's rollout of the URL is gradual."""
    part = media_part(media_id=MEDIA_ID, mime_type="image/png", sha256_hex=SHA, file_name="", caption=None, url=None)
    made = webhook(number_id=NUMBER, display_phone="1", sender="2", sent_at_s=1744344496, kind="image", part=part)
    media = only(made)
    assert (media.url, media.url_expires_at, media.sha256, media.received_at) == (None, None, SHA, RECEIVED_AT)


# --- each field in every form -------------------------------------------------------------------------------------

SHA_URLSAFE = hashlib.sha256(b"27").hexdigest()


def test_the_fixture_of_base64url_is_not_plain_base64():
    assert set("+/") & set(b64(SHA_URLSAFE))


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"id": int(MEDIA_ID)}, "media_id", MEDIA_ID),
        ({"id": "0"}, "media_id", "0"),
        ({"id": "9" * 32}, "media_id", "9" * 32),
        ({"sha256": SHA.upper()}, "sha256", SHA),
        ({"sha256": b64(SHA).rstrip("=")}, "sha256", SHA),
        ({"sha256": base64.urlsafe_b64encode(bytes.fromhex(SHA_URLSAFE)).decode()}, "sha256", SHA_URLSAFE),
        ({"sha256": b64(SHA[:-2])}, "sha256", None),
        ({"sha256": 7}, "sha256", None),
        ({"mime_type": "Audio/OGG ; codecs=opus"}, "mime_type", "audio/ogg"),
        ({"mime_type": "<b>"}, "mime_type", None),
        ({"mime_type": ["image/png"]}, "mime_type", None),
        ({"url": ""}, "url", None),
        ({"url": 5}, "url", None),
        ({"url": "https://h/?" + "x" * 5000}, "url", None),
        ({"caption": ""}, "caption", None),
        ({"caption": "two\nlines"}, "caption", "two\nlines"),
        ({"caption": "\u202ecod.exe\r\x1b[0m"}, "caption", r"\u202ecod.exe\r\x1b[0m"),
        ({"caption": "\U0001f468\u200d\U0001f469 \u0645\u06cc\u200c\u062e"}, "caption", "\U0001f468\u200d\U0001f469 \u0645\u06cc\u200c\u062e"),
        ({"caption": "x" * 5000}, "caption", "x" * 1024),
        ({"filename": None}, "file_name", None),
        ({"filename": {"a": 1}}, "file_name", None),
        ({"unknown": {"deep": [1]}}, "caption", "c"),
    ],
)  # fmt: skip
def test_a_media_object_is_read_in_every_form_of_a_field(fields: dict[str, Any], name: str, expected: object):
    assert getattr(only(hook(with_part(**fields))), name) == expected


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"from": 15551234567}, "sender", "15551234567"),
        ({"from": None}, "sender", None),
        ({"from": "a\nb"}, "sender", r"a\nb"),
        ({"from": "1" * 100}, "sender", "1" * 64),
        ({"id": None}, "message_id", None),
        ({"id": "wamid.\u200b" + "x" * 300}, "message_id", r"wamid.\u200b" + "x" * 238),
        ({"context": {"from": "1"}, "referral": [], "errors": None}, "media_id", MEDIA_ID),
        ({"errors": []}, "media_id", MEDIA_ID),
    ],
)
def test_a_message_is_read_in_every_form_of_a_field(fields: dict[str, Any], name: str, expected: object):
    assert getattr(only(hook(message(**fields))), name) == expected


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "../../etc/passwd"),
        ("a\x00.pdf", r"a\x00.pdf"),
        ("invoice\u202efdp.exe", r"invoice\u202efdp.exe"),
        ("CON", "CON"),
        ("two\nlines\u2028three", r"two\nlines\u2028three"),
        ("\ud800.pdf", r"\ud800.pdf"),
        ("\u2066a\u200f\ufeff", r"\u2066a\u200f\ufeff"),
        ("Ärger 写真.pdf", "Ärger 写真.pdf"),
        ("x" * 10_240, "x" * 255),
        ("\x00" * 10_240, (r"\x00" * 64)[:255]),
    ],
    ids=[
        "parents",
        "NUL",
        "right to left",
        "device",
        "lines",
        "lone surrogate",
        "isolates and marks",
        "fine",
        "10 kB",
        "10 kB of NUL",
    ],
)
def test_a_documents_name_is_kept_as_text_that_can_be_shown(name: str, shown: str):
    """Metadata only: nothing makes it a path, and nothing in it acts on a log or a terminal."""
    file_name = only(hook(with_part("document", filename=name))).file_name
    assert file_name == shown
    assert file_name.isprintable()
    assert len(file_name) <= 255


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("1744344496", RECEIVED_AT),
        (1744344496, RECEIVED_AT),
        (1744344496.9, RECEIVED_AT),
        ("1744344496123", RECEIVED_AT),
        (1744344496123, RECEIVED_AT),
        ("4102444799", datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("4102444800", None),
        ("1230768000", datetime(2009, 1, 1, tzinfo=UTC)),
        ("1230767999", None),
        ("99999999999", None),  # the last that is taken for seconds
        ("1744344496123456", None),  # microseconds
        ("9" * 32, None),
        pytest.param("9" * 5000, None, id="text of 5,000 digits"),
        pytest.param(10**5000, None, id="5,000 digits"),
        ("-1744344496", None),
        (-1744344496, None),
        (0, None),
        ("", None),
        (" 1744344496", None),
        ("1744344496.5", None),
        ("١٧٤٤٣٤٤٤٩٦", None),
        ("2025-04-11T04:08:16Z", None),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
        (1e300, None),
        ([1744344496], None),
        (None, None),
    ],
)
def test_the_instant_of_a_message_is_read_where_it_can_be_believed(timestamp: object, expected: datetime | None):
    """A wrong one would let a file count as gone that is not."""
    media = only(hook(message(timestamp=timestamp)))
    assert media.received_at == expected
    assert media.deadline == (expected and expected + timedelta(days=7))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?ext=1744344796", datetime(2025, 4, 11, 4, 13, 16, tzinfo=UTC)),
        ("?mid=1&ext=1744344796000&hash=x", datetime(2025, 4, 11, 4, 13, 16, tzinfo=UTC)),
        ("?mid=1&ext=1744344796#here", datetime(2025, 4, 11, 4, 13, 16, tzinfo=UTC)),
        ("?mid=1&next=1744344796", None),
        ("?mid=1&ext=1744344796\n", None),
        ("?mid=1&ext=17443447960000000000", None),
        ("?mid=1&ext=", None),
        ("?mid=1#ext=1744344796", None),
        ("?mid=1#?ext=1744344796", None),
        ("", None),
    ],
)
def test_the_end_of_a_url_is_what_its_query_says_where_that_can_be_believed(query: str, expected: datetime | None):
    media = only(hook(with_part(url=f"https://lookaside.fbsbx.com/whatsapp_business/attachments/{query}")))
    assert media.url is not None
    assert media.url_expires_at == expected


@pytest.mark.parametrize(
    "url",
    ["http://evil.example/x", "https://user:pw@evil.example:8443/?a=b", "not a url", "https:\\/\\/h\\/?x=1", "\u202e", "/?a=b"],
)
def test_a_url_is_not_judged_here(url: str):
    """Whoever asks for it does that, with the connection at hand."""
    media = only(hook(with_part(url=url)))
    assert media.url is not None
    assert media.url.reveal() == url


@pytest.mark.parametrize(
    "url", [f"https://h?hash={SECRET}", f"?u=https://h&hash={SECRET}", f"https://h#hash={SECRET}", "https://h\nINFO forged/"]
)
def test_a_url_whose_host_is_odd_shows_nothing_of_its_query(url: str):
    media = only(hook(with_part(url=url)))
    assert media.url is not None
    assert media.url.reveal() == url
    shown = f"{media.url!r} {media.url} {pickle.dumps(media.url).decode('latin-1')} {media.url.serialize()}"
    assert SECRET not in shown
    assert "forged" not in shown


# --- what cannot be asked for -------------------------------------------------------------------------------------

TOO_LARGE = {
    "code": 131052,
    "title": "Media download error",
    "message": "Media download error",
    "error_data": {"details": "Failed to download the media from the sender.\nReason: too large"},
}
UNSUPPORTED = {"code": 131051, "title": "Message type unknown", "error_data": {"details": "Message type is not supported."}}


def test_an_error_in_the_place_of_a_media_object_is_a_loss_with_whatsapps_words():
    lost = only_lost(hook({"from": "1", "id": "wamid.e", "timestamp": "1744344496", "type": "video", "errors": [TOO_LARGE]}))
    assert (lost.kind, lost.phone_number_id, lost.media_id, lost.received_at) == ("video", NUMBER, None, RECEIVED_AT)
    assert lost.details == (
        "This video cannot be asked for: WhatsApp says Media download error: Failed to download the media from the sender. "
        "Reason: too large (code 131052)."
    )
    assert dict(lost) == {
        "mark": lost.mark,
        "phone_number_id": NUMBER,
        "kind": "video",
        "details": lost.details,
        "received_at": "2025-04-11T04:08:16+00:00",
        "media_id": None,
    }


def test_an_error_beside_a_media_id_is_a_loss_that_keeps_the_id():
    lost = only_lost(hook(message(errors=[TOO_LARGE])))
    assert (lost.media_id, lost.kind) == (MEDIA_ID, "image")


@pytest.mark.parametrize(
    ("made", "words", "media_id"),
    [
        (with_part(id=...), "it has no media id", None),
        (with_part(id=None), "it has no media id", None),
        (with_part(id=""), "it has no media id", None),
        (with_part(id="media-1"), "its media id is not one", None),
        (with_part(id="9" * 33), "its media id is not one", None),
        (with_part(id=10**32), "its media id is not one", None),
        (with_part(id=10**5000), "its media id is not one", None),
        (with_part(id="-1"), "its media id is not one", None),
        (with_part(id=-1), "its media id is not one", None),
        (with_part(id=True), "its media id is not one", None),
        (with_part(id=False), "its media id is not one", None),
        (with_part(id=1.0), "its media id is not one", None),
        (with_part(id=["1"]), "its media id is not one", None),
        (with_part(id="1\n"), "its media id is not one", None),
        (with_part(id="//evil/x"), "its media id is not one", None),
        (with_part(id="١٢٣"), "its media id is not one", None),
        (message(image=None), "it has no media object", None),
        (message(image="x"), "it has no media object", None),
        (message(image=[{"id": MEDIA_ID}]), "it has no media object", None),
        (message(errors=["what"]), "WhatsApp says that there was an error", MEDIA_ID),
        (message(errors=[{}]), "WhatsApp says nothing more (code unknown)", MEDIA_ID),
        (message(errors=[{"code": "131052", "error_data": 1}]), "WhatsApp says nothing more (code 131052)", MEDIA_ID),
        (
            message(errors=[{"code": 1, "title": "It failed.", "message": "It failed."}]),
            "WhatsApp says It failed (code 1).",
            MEDIA_ID,
        ),
        (message(errors=[TOO_LARGE, {"code": 1}]), "(code 131052); nothing more (code 1)", MEDIA_ID),
    ],
)
def test_a_file_that_cannot_be_asked_for_is_a_loss_that_says_why(made: dict[str, Any], words: str, media_id: str | None):
    lost = only_lost(hook(made))
    assert words in lost.details
    assert lost.media_id == media_id
    assert lost.phone_number_id == NUMBER


@pytest.mark.parametrize(
    "metadata", [..., None, {}, "x", {"phone_number_id": None}, {"phone_number_id": "+49 30"}, {"phone_number_id": ""}]
)
def test_a_file_of_an_unnamed_number_is_a_loss(metadata: object):
    made = value(message())
    made["metadata"] = metadata
    if metadata is ...:
        del made["metadata"]
    lost = only_lost(made)
    assert (lost.phone_number_id, lost.media_id) == (None, MEDIA_ID)
    assert "phone_number_id" in lost.details


def test_a_number_may_be_an_integer():
    made = value(message())
    made["metadata"]["phone_number_id"] = int(NUMBER)
    assert only(made).phone_number_id == NUMBER


def test_the_words_of_an_error_are_short_printable_and_hold_no_query():
    said = f"see {URL}\x1b[2J\u202e" + "?" * 100_000 + " and" * 500
    lost = only_lost(hook(message("document", errors=[{"code": 10**300, "title": said, "message": "y" * 9000}] * 50)))
    assert lost.details.isprintable()
    assert len(lost.details) <= 300
    assert lost.details.endswith(".")
    assert "lookaside.fbsbx.com" in lost.details
    assert SECRET not in lost.details


@pytest.mark.parametrize(
    ("made", "is_lost"),
    [
        ({"type": "unsupported", "errors": [UNSUPPORTED]}, False),
        ({"type": "unsupported", "errors": [UNSUPPORTED | {"code": "131051"}, UNSUPPORTED]}, False),
        ({"type": "unsupported", "errors": [TOO_LARGE]}, True),
        ({"type": "unsupported", "errors": [UNSUPPORTED, TOO_LARGE]}, True),
        ({"type": "unsupported", "errors": [UNSUPPORTED], "unsupported": {"type": "poll_creation"}}, False),
        ({"type": "unsupported", "errors": [UNSUPPORTED], "unsupported": {"type": "gif"}}, True),
        ({"type": "unsupported", "errors": [UNSUPPORTED], "unsupported": {"type": "image"}}, True),
        ({"type": "unsupported", "errors": [UNSUPPORTED], "unsupported": ["image"]}, False),
        ({"type": "unsupported", "errors": [UNSUPPORTED], "unsupported": {"type": ["image"]}}, False),
        ({"type": "unknown", "errors": [TOO_LARGE]}, True),
        ({"type": "unknown", "errors": ["?"]}, True),
        ({"errors": [TOO_LARGE]}, True),
        ({"type": 5, "errors": [TOO_LARGE]}, True),
        ({"type": "unsupported"}, False),
        ({"type": "unknown", "errors": []}, False),
        ({"type": "text", "errors": [TOO_LARGE]}, False),
    ],
)
def test_an_error_without_a_kind_is_a_loss_unless_it_is_of_a_kind_that_the_api_lacks(made: dict[str, Any], is_lost: bool):
    inbound = read_inbound(hook({"id": "wamid.u", "timestamp": "1744344496"} | made))
    assert counts(inbound) == ((0, 1, 0, 0, 0) if is_lost else (0, 0, 0, 1, 0))
    assert [lost.kind for lost in inbound.unusable] == [None] * is_lost


def test_a_mark_is_the_same_in_every_delivery_and_never_a_media_id():
    """With a message id it hangs on that alone; without one, on all that the message says, in whatever order."""
    named = with_part(id=...)
    again = named | {"timestamp": "1744344999", "context": {}}
    nameless = {key: each for key, each in with_part(id=...).items() if key != "id"}
    turned = json.dumps(hook(dict(reversed(nameless.items()))))
    other = nameless | {"timestamp": "1744344497"}
    first, second = only_lost(hook(named)).mark, only_lost(hook(again)).mark
    third, fourth, fifth = (only_lost(each).mark for each in (hook(nameless), turned, hook(other)))
    assert first == second
    assert third == fourth
    assert len({first, third, fifth, only_lost(hook(named | {"id": "wamid.2"})).mark}) == 4
    assert first == "none-" + hashlib.sha256(json.dumps([NUMBER, named["id"]]).encode()).hexdigest()[:32]


def test_the_same_message_id_at_two_numbers_is_two_losses():
    other = value(with_part(id=...))
    other["metadata"]["phone_number_id"] = "2"
    assert counts(read_inbound([hook(with_part(id=...)), other])) == (0, 2, 0, 0, 0)


# --- what a payload may look like ---------------------------------------------------------------------------------


def test_a_batch_is_read_in_order_and_its_duplicates_are_counted():
    """At-least-once: the first wins, also where the second says more."""
    first = with_part(url=..., caption="first")
    second = message(media_id="2")
    lost = with_part("video", id=...)
    batch = [hook(first, second), hook(with_part(caption="second"), lost), hook(lost, second, {"type": "text"})]
    inbound = read_inbound(batch)
    assert counts(inbound) == (2, 1, 3, 1, 0)
    assert [media.media_id for media in inbound] == [MEDIA_ID, "2"]
    assert inbound.media[0].caption == "first"
    assert len(inbound) == 2


def test_one_media_id_at_two_numbers_is_two_files():
    other = value(message())
    other["metadata"]["phone_number_id"] = "2"
    assert counts(read_inbound([value(message()), other])) == (2, 0, 0, 0, 0)


def test_entries_and_changes_of_one_webhook_are_all_read():
    made = hook(message(media_id="1"))
    made["entry"][0]["changes"].append(change(message(media_id="2")))
    made["entry"].append({"id": "x", "changes": [change(message(media_id="3"))]})
    assert [media.media_id for media in read_inbound(made)] == ["1", "2", "3"]


WHOLE = hook(message())
LISTED: Any = WHOLE
for _ in range(8):
    LISTED = [LISTED]


def wrapped_often(times: int) -> Any:
    return {"body": wrapped_often(times - 1)} if times else WHOLE


@pytest.mark.parametrize(
    "payload",
    [
        WHOLE,
        value(message()),
        change(message()),
        {"value": value(message())},
        WHOLE["entry"][0],
        [WHOLE],
        (WHOLE,),
        LISTED,
        json.dumps(WHOLE),
        json.dumps(WHOLE).encode(),
        bytearray(json.dumps(WHOLE), "utf-16"),
        "\ufeff" + json.dumps(WHOLE),
        json.dumps(json.dumps(WHOLE)),
        json.dumps([value(message())]),
        [json.dumps(change(message()))],
        {"body": WHOLE, "headers": {}},
        {"body": json.dumps(WHOLE), "statusCode": 200},
        {"payload": [WHOLE], "body": None},
        {"payload": {"body": json.dumps(WHOLE)}},
        wrapped_often(8),
        {"id": 1, "value": 2, "payload": WHOLE},
        WHOLE | {"payload": hook(message(media_id="2"))},
        WHOLE | {"object": 5, 7: "x", ("a",): "y"},
        OrderedDict(WHOLE),
        defaultdict(list, WHOLE),
    ],
)
def test_a_webhook_is_read_whole_or_in_parts_as_text_or_wrapped(payload: object):
    assert only(payload).media_id == MEDIA_ID


@pytest.mark.parametrize(
    ("payload", "others", "malformed"),
    [
        ([], 0, 0),
        (hook({"type": "text", "text": {"body": "x"}}, {"type": "reaction"}), 2, 0),
        (hook(message("IMAGE"), message("gif"), message(" image")), 3, 0),
        (hook({}, {"type": None}, {"type": {}}, {"type": ["image"]}), 4, 0),
        (hook(statuses=[{"status": "sent"}, {"status": "read"}]), 2, 0),
        (hook({"type": "text"}, statuses=[{}, 1]), 2, 1),
        (hook(), 1, 0),
        (hook(messages=None), 1, 0),
        (hook(messages=None, statuses=None, errors=[TOO_LARGE]), 1, 0),
        (hook(messages={}), 0, 1),
        (hook(messages="x", statuses=3), 0, 2),
        (hook(None, 1, "x", [message()]), 0, 4),
        ({"field": "smb_message_echoes", "value": {"message_echoes": [message()]}}, 1, 0),
        ({"field": "history", "value": value(message())}, 1, 0),
        ({"entry": [{"changes": [{"field": "account_alerts", "value": 5}, {"field": ["x"]}]}]}, 2, 0),
        ({"entry": [{"changes": [{"field": "messages"}, {"field": "messages", "value": [1]}, 7]}]}, 0, 3),
        ({"entry": [{}, 5, {"changes": 5}, {"changes": []}]}, 0, 3),
        ({"entry": {"changes": []}}, 0, 1),
        ({"metadata": {}}, 1, 0),
        ({}, 0, 1),
        ({"messages": 5}, 0, 1),
        ({"payload": WHOLE, "body": "x"}, 0, 1),
        ({"payload": 5}, 0, 1),
        ({"value": {"entry": []}}, 0, 1),
        (None, 0, 1),
        (5, 0, 1),
        (True, 0, 1),
        (float("nan"), 0, 1),
        pytest.param(10**5000, 0, 1, id="5,000 digits"),
        (object(), 0, 1),
        (MagicMock(spec=dict), 0, 1),
        ("", 0, 1),
        ("null", 0, 1),
        ("{", 0, 1),
        ("{}{}", 0, 1),
        ("\ud800", 0, 1),
        (b"\xff\xfe\xfd", 0, 1),
        pytest.param("[" * 100_000, 0, 1, id="text that nests"),
        pytest.param("1" * 10_000, 0, 1, id="text of 10,000 digits"),
        ([LISTED], 0, 1),
        (wrapped_often(9), 0, 1),
        ([None, [5, "x"]], 0, 3),
    ],
)  # fmt: skip
def test_what_is_not_a_received_file_is_counted(payload: object, others: int, malformed: int):
    assert counts(read_inbound(payload)) == (0, 0, 0, others, malformed)


def test_what_lies_beside_something_malformed_is_read():
    assert counts(read_inbound(["{", hook(None, message()), {"body": WHOLE}, 5])) == (1, 0, 1, 0, 3)


# --- what wants to do harm ----------------------------------------------------------------------------------------


class Hostile(dict):  # type: ignore[type-arg]
    """A dict whose every method is a trap."""

    def __getitem__(self, key: object) -> Any:
        raise RuntimeError

    get = items = keys = values = __iter__ = __contains__ = __len__ = __eq__ = __repr__ = __getitem__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class HostileText(str):
    """Text whose methods are traps."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError

    removeprefix = partition = isprintable = __iter__ = __format__ = __repr__ = encode = strip = __str__  # type: ignore[assignment]


def test_a_payload_of_hostile_types_is_read_by_what_it_holds():
    assert only(Hostile(hook(Hostile(with_part(caption=HostileText("c")))))).caption == "c"
    assert only(HostileText(json.dumps(WHOLE))).media_id == MEDIA_ID


def test_a_payload_that_holds_itself_is_read_once():
    """A million ways round, and each is a place where something malformed stood."""
    circle: list[Any] = [hook(message())]
    circle.extend([circle] * 50)
    assert counts(read_inbound(circle)) == (1, 0, 0, 0, 50)
    ring = message(type="image", id=None)
    ring["image"] = {"id": ring, "url": ring}
    assert "its media id is not one" in only_lost(hook(ring)).details
    wrapped: dict[str, Any] = {}
    wrapped["body"] = wrapped
    assert counts(read_inbound(wrapped)) == (0, 0, 0, 0, 1)


def test_a_message_that_shares_its_parts_with_another_is_read_whole():
    shared = {"id": MEDIA_ID, "caption": "c"}
    both = read_inbound(
        hook({"type": "image", "image": shared}, {"type": "video", "video": shared | {"id": "2"}}, *[message()] * 2)
    )
    assert counts(both) == (2, 0, 2, 0, 0)


def deepest() -> Any:
    """A list in a list, further than Python can write it."""
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    return deep


def test_a_deep_message_is_read_and_marked():
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep, deep]  # a copy that did not know what it has copied would never end
    assert only(hook(message(unknown=deep))).media_id == MEDIA_ID
    nameless = with_part(id=..., unknown=[[deepest()]]) | {"id": None, "odd": object(), "bytes": b"x", "huge": 10**5000}
    assert only_lost(hook(nameless)).mark == only_lost(copy.copy(hook(nameless))).mark


def test_a_text_is_read_and_marked_however_deep_it_is():
    """Up to where Python's JSON gives up; just before that, writing it again would fail."""
    text = json.dumps(hook(with_part(id=...) | {"id": None, "unknown": "DEEP"}))
    seen = [counts(read_inbound(text.replace('"DEEP"', "[" * deep + "]" * deep))) for deep in [*range(850, 1_000), 200_000]]
    assert seen[0] == (0, 1, 0, 0, 0)
    assert seen[-1] == (0, 0, 0, 0, 1)
    assert set(seen) == {seen[0], seen[-1]}


def test_the_last_of_two_keys_counts_as_everywhere_in_json():
    text = json.dumps(WHOLE).replace('"id": "1003383421387256"', '"id": "1", "id": "2"')
    assert only(text).media_id == "2"


def shown_forms(inbound: Inbound) -> str:
    """Everything that a log, a store or another process may see of it."""
    records = [*inbound.media, *inbound.unusable]
    plain = [inbound, *records, *(dict(each) for each in records)]
    return (
        "".join(f"{each!r}{each!s}" for each in plain)
        + json.dumps(records)
        + repr(pickle.dumps(inbound))
        + repr(pickle.loads(pickle.dumps(inbound)))
    )


def test_no_query_of_a_url_shows_in_anything_returned():
    """A media URL and the API key together give the file to anybody."""
    inbound = read_inbound(
        [hook(message(), message(media_id="2", errors=[TOO_LARGE | {"title": f"cannot read {URL}"}]), with_part("video", id="x"))]
    )
    assert counts(inbound) == (1, 2, 0, 0, 0)
    seen = shown_forms(inbound)
    assert "lookaside.fbsbx.com" in seen
    assert SECRET not in seen
    assert "mid=" not in seen
    assert pickle.loads(pickle.dumps(inbound)).media[0].media_id == MEDIA_ID
    with pytest.raises(AttributeError):
        inbound.media[0].media_id = "2"  # type: ignore[misc]


# --- anything at all ----------------------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, False, 0, -1, 10**40, 10**5000, 1.5, float("nan"), float("inf"), "", "image", "unsupported", "x\u202e\x00\ud800",
    "9" * 40, "17", b"\xff", "{", '{"entry":[]}', "https://h?a=b", [], [[]], {}, {"id": "1"}, {5: 6}, (), set(), object(),
    {"errors": [TOO_LARGE]}, [UNSUPPORTED], URL.replace(SECRET, "other"), ["image"],
]  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything inside."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, each in list(pairs) for found in ((*path, key), *places(each, (*path, key)))]


def mutate(node: Any, chance: random.Random) -> None:
    """Change, remove or repeat something at a random place."""
    found = places(node)
    if not found:
        return
    *way, last = chance.choice(found)
    for key in way:
        node = node[key]
    if (action := chance.randrange(4)) == 0:
        del node[last]
    elif action == 1 and isinstance(node, list):
        node.append(copy.deepcopy(node[last]))
    elif action == 1 and isinstance(last, str):
        node[last.upper()] = node.pop(last)
    else:
        node[last] = copy.deepcopy(chance.choice(ODD))


def sample() -> list[dict[str, Any]]:
    """Messages of every sort."""
    return [
        message(),
        message("video", media_id="2"),
        with_part("document", id="3", filename="a.pdf"),
        with_part("audio", id="4", mime_type="audio/ogg; codecs=opus"),
        message("sticker", media_id="2"),
        with_part(id=...),
        message(media_id="6", errors=[TOO_LARGE]),
        {"id": "wamid.u", "type": "unsupported", "errors": [UNSUPPORTED]},
        {"id": "wamid.v", "type": "unsupported", "errors": [TOO_LARGE]},
        {"id": "wamid.t", "type": "text", "text": {"body": "x"}},
    ]


def as_text(payload: Any) -> Any:
    """Its JSON; itself where Python will not write it out."""
    try:
        return json.dumps(payload, default=repr, skipkeys=True)
    except ValueError:
        return payload


def check(inbound: Inbound) -> None:
    """What must be so of whatever is returned."""
    for media in inbound:
        assert media.media_id.isascii()
        assert media.media_id.isdigit()
        assert 1 <= len(media.media_id) <= 32
        assert media.phone_number_id.isdigit()
        assert media.kind in {"image", "video", "audio", "document", "sticker"}
        texts = (media.message_id, 250), (media.sender, 64), (media.file_name, 255)
        assert all(text is None or (text.isprintable() and 0 < len(text) <= most) for text, most in texts)
        assert len(media.caption or "") <= 1024
        assert media.sha256 is None or len(bytes.fromhex(media.sha256)) == 32
        assert all(at is None or at.tzinfo is UTC for at in (media.received_at, media.url_expires_at, media.deadline))
    for lost in inbound.unusable:
        assert lost.mark.startswith("none-")
        assert len(lost.mark) == 37
        assert lost.details.isprintable()
        assert len(lost.details) <= 300
    assert len({(media.phone_number_id, media.media_id) for media in inbound}) == len(inbound)
    assert len({lost.mark for lost in inbound.unusable}) == len(inbound.unusable)
    assert SECRET not in shown_forms(inbound)


@pytest.mark.parametrize("seed", range(20))
def test_every_message_is_in_exactly_one_place_whatever_is_in_it(seed: int):
    """A hundred payloads a seed, each with up to eight faults in its messages."""
    chance = random.Random(seed)
    unequal = set()
    for _ in range(100):
        messages: Any = sample()
        for _ in range(chance.randrange(9)):
            mutate(messages, chance)
        payload = hook(*messages, statuses=[{}])
        inbound = read_inbound(payload)
        assert sum(counts(inbound)) == len(messages) + 1
        assert inbound.malformed == sum(not isinstance(each, dict) for each in messages)
        unequal.add(counts(inbound))
        again = read_inbound((payload, payload))
        assert again.duplicates == 2 * inbound.duplicates + len(inbound.media) + len(inbound.unusable)
        assert [lost.mark for lost in again.unusable] == [lost.mark for lost in inbound.unusable]
    assert len(unequal) > 20, "the faults made no difference: nothing was tested"


@pytest.mark.parametrize("seed", range(20))
def test_nothing_raises_and_nothing_unchecked_comes_out_whatever_the_payload(seed: int):
    """A hundred payloads a seed, each with up to six faults anywhere, some of them as text or wrapped."""
    chance = random.Random(1_000 + seed)
    read = 0
    for _ in range(100):
        payload: Any = [hook(*sample(), statuses=[{}]), change(message(media_id="9")), {"body": value(message(media_id="8"))}]
        for _ in range(chance.randrange(1, 7)):
            mutate(payload, chance)
        if chance.random() < 0.3:
            payload = as_text(payload)
        inbound = read_inbound(payload)
        check(inbound)
        read += len(inbound)
    assert read > 200, "hardly anything could be read: nothing was tested"
