"""What WhatsApp's webhooks say about received files, as records. Pure: a payload in, records and counts out; nothing raises.

It does not know who sent the payload: check the webhook's signature or secret before a payload gets here. It asks for nothing,
stores nothing, and has no clock: whether a received file is still there, whoever asks for it decides (`InboundMedia.deadline`).

The shape is that of Meta's webhook reference, which 360dialog passes on unchanged: ``object`` > ``entry[]`` > ``changes[]`` >
``value`` > ``messages[]``. Deliveries come at least once and in any order, so every record has a key that repeats with them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, get_args

from airflow_provider_360dialog.api.answers import read_mime_type, read_sha256
from airflow_provider_360dialog.api.identity import check_media_id, read_expiry
from airflow_provider_360dialog.exceptions import MediaIdInvalidError
from airflow_provider_360dialog.ports import Kind, MediaUrl, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INBOUND_LIFE: Final = timedelta(days=7)  # of received media; Meta's media reference, confirmed by 360dialog's

_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_UNNAMED_KINDS: Final = (None, "unsupported", "unknown")  # what a message says whose content WhatsApp could not pass on
_UNSUPPORTED_CODE: Final = "131051"  # a kind of message that the API does not have: nothing was lost (Meta's error codes)
_UNSUPPORTED_FILES: Final = ("gif", "media_placeholder", *_KINDS)  # unless its word for it is one of these
_MOST_LAYERS: Final = 8  # lists, texts and envelopes around a webhook
_DEEPEST: Final = 40  # a whole webhook inside all of them has 20
_MAX_URL_CHARS: Final = 4096
_EARLIEST: Final = datetime(2009, 1, 1, tzinfo=UTC)  # WhatsApp's first year
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_ODD: Final = False  # stands for what JSON cannot say; a boolean, because no field that is read here may be one

_URL_QUERY = re.compile(r"\?\S+")


@dataclass(frozen=True)
class InboundMedia(Record):
    """A file that a customer sent, as its webhook announces it. ``(phone_number_id, media_id)`` is its key.

    As a mapping it has every field but a URL that is there, so it can be stored; see `ports.Record`.

    Attributes:
        media_id: 1 to 32 digits, as text.
        phone_number_id: of the number that received it, digits; only that number's key can ask for the file.
        kind: the message's type: image, video, audio, document or sticker.
        mime_type: as the sender's phone said, lower case, without parameters; None where there is none. Not to be trusted.
        sha256: of the file, lowercase hex; from base64 (as on the wire) or hex; None where it is not 32 bytes.
        url: the webhook's own link, None where it has none: Meta's rollout is gradual. Not judged here, and refused by
            `hooks.Dialog360Hook` unless it is a media URL. Only ``url.reveal()`` shows its query.
        url_expires_at: aware UTC instant in the URL's ``ext``, None where it has none that can be believed.
        received_at: aware UTC instant of the message, None where it has none between 2009 and 2100.
        message_id: WhatsApp's, at most 250 characters. sender: a phone number mostly, at most 64. Both untrusted, with everything
            unprintable escaped, None where there is none.
        file_name: of a document, as the sender named it, at most 255 characters, escaped in the same way. Never a path: it may
            hold slashes, dots and reserved names.
        caption: at most 1,024 characters, escaped in the same way but for line feeds and the joiners of emoji and of Persian.
    """

    media_id: str
    phone_number_id: str
    kind: Kind
    mime_type: str | None
    sha256: str | None
    url: MediaUrl | None
    url_expires_at: datetime | None
    received_at: datetime | None
    message_id: str | None
    sender: str | None
    file_name: str | None
    caption: str | None

    @property
    def deadline(self) -> datetime | None:
        """Aware UTC instant after which the file is gone, `INBOUND_LIFE` after it was received; None where that is unknown."""
        return None if self.received_at is None else self.received_at + INBOUND_LIFE


@dataclass(frozen=True)
class UnusableMedia(Record):
    """A message that speaks of a file which cannot be asked for: lost, and to be recorded as such. ``mark`` is its key.

    Attributes:
        mark: ``none-`` and 32 hex digits: the same in every delivery of the message, and never a media id.
        phone_number_id: of the number that received it; None where the webhook does not say.
        kind: as in `InboundMedia`; None where WhatsApp did not say what it failed to deliver.
        details: why, one printable sentence of at most 300 characters, with WhatsApp's own words where it gave some. Untrusted.
        received_at: as in `InboundMedia`.
        media_id: where the message has one all the same (beside an error, or without a number).
    """

    mark: str
    phone_number_id: str | None
    kind: Kind | None
    details: str
    received_at: datetime | None
    media_id: str | None


@dataclass(frozen=True)
class Inbound:
    """What a payload says about received files. Every message of it is in exactly one of the five.

    Iterates over `media`, and ``len()`` is their number: where it is 0 there may still be losses in `unusable`.

    Attributes:
        media: files to ask for, in the payload's order.
        unusable: files that cannot be asked for, in the payload's order.
        duplicates: how many messages spoke of a file that an earlier one of this payload had named; the first one won.
        others: messages of other kinds (text, reaction, ...), statuses, changes of other fields, and values with none of these.
        malformed: places where something stood that is no part of a webhook: no JSON, a number for a list, nesting without end.
    """

    media: tuple[InboundMedia, ...]
    unusable: tuple[UnusableMedia, ...]
    duplicates: int
    others: int
    malformed: int

    def __iter__(self) -> Iterator[InboundMedia]:
        return iter(self.media)

    def __len__(self) -> int:
        return len(self.media)


def read_inbound(payload: object) -> Inbound:
    """The files that a webhook announces, ready to be stored or asked for.

    Args:
        payload: a webhook as Meta's reference has it; or its ``value``, a change (``{"field", "value"}``) or an ``entry`` object
            alone; or a list or tuple of these, eight deep at most; or JSON text (str, or bytes in UTF-8, 16 or 32) of any of
            these. A dict that is none of them is read by its ``payload`` or ``body``, if exactly one of the two is there.

    Returns:
        The files and what else was there. Never raises: what cannot be read is counted as ``malformed``. A payload that is read
        again gives the same keys and marks again.
    """
    reader = _Reader()
    reader.read(_plain(payload, {}))
    return Inbound(
        tuple(reader.media.values()), tuple(reader.unusable.values()), reader.duplicates, reader.others, reader.malformed
    )


class _Reader:
    """Walks down to the messages of a payload and collects what they say."""

    def __init__(self) -> None:
        self.media: dict[tuple[str, str], InboundMedia] = {}
        self.unusable: dict[str, UnusableMedia] = {}
        self.duplicates = self.others = self.malformed = 0

    def read(self, node: Any, layers: int = 0) -> None:
        """A webhook, a part of one, or what is wrapped around it."""
        if layers > _MOST_LAYERS:
            self.malformed += 1
        elif isinstance(node, list):
            for each in node:
                self.read(each, layers + 1)
        elif isinstance(node, str | bytes):
            self.read(_parsed(node), layers + 1)
        elif isinstance(node, dict):
            self._read_object(node, layers)
        else:
            self.malformed += 1

    def _read_object(self, node: dict[str, Any], layers: int) -> None:
        if isinstance(node.get("entry"), list):
            self._read_each(node["entry"], self._read_entry)
        elif isinstance(node.get("changes"), list):
            self._read_entry(node)
        elif isinstance(node.get("value"), dict) and ("field" in node or _is_value(node["value"])):
            self._read_change(node)
        elif _is_value(node):
            self._read_value(node)
        elif (inner := _unwrapped(node)) is not None:
            self.read(inner, layers + 1)
        else:
            self.malformed += 1

    def _read_each(self, nodes: Any, read_one: Callable[[dict[str, Any]], None]) -> None:
        """A list of objects; its absence, which many libraries write as null, is no fault."""
        if nodes is not None and not isinstance(nodes, list):
            self.malformed += 1
            return
        for node in nodes or ():
            if isinstance(node, dict):
                read_one(node)
            else:
                self.malformed += 1

    def _read_entry(self, entry: dict[str, Any]) -> None:
        if isinstance(entry.get("changes"), list):
            self._read_each(entry["changes"], self._read_change)
        else:
            self.malformed += 1

    def _read_change(self, change: dict[str, Any]) -> None:
        if change.get("field") not in (None, "messages"):
            self.others += 1
        elif isinstance(change.get("value"), dict):
            self._read_value(change["value"])
        else:
            self.malformed += 1

    def _read_value(self, value: dict[str, Any]) -> None:
        if value.get("messages") in (None, []) and value.get("statuses") in (None, []):
            self.others += 1
            return
        metadata = value.get("metadata")
        number = _digits(metadata.get("phone_number_id")) if isinstance(metadata, dict) else None
        self._read_each(value.get("messages"), lambda message: self._keep(_read_message(message, number)))
        self._read_each(value.get("statuses"), lambda _status: self._keep(None))

    def _keep(self, found: InboundMedia | UnusableMedia | None) -> None:
        if found is None:
            self.others += 1
        elif isinstance(found, InboundMedia):
            known = self.media.setdefault((found.phone_number_id, found.media_id), found)
            self.duplicates += known is not found
        else:
            lost = self.unusable.setdefault(found.mark, found)
            self.duplicates += lost is not found


def _is_value(node: dict[str, Any]) -> bool:
    return isinstance(node.get("messages"), list) or isinstance(node.get("metadata"), dict)


def _unwrapped(node: dict[str, Any]) -> Any:
    held = [node[key] for key in ("payload", "body") if isinstance(node.get(key), dict | list | str | bytes)]
    return held[0] if len(held) == 1 else None


def _read_message(message: dict[str, Any], number: str | None) -> InboundMedia | UnusableMedia | None:
    """What a message says about a file; None where it is about something else."""
    errors = message["errors"] if isinstance(message.get("errors"), list) else []
    kind = message.get("type")
    if kind not in _KINDS:
        unnamed = kind in _UNNAMED_KINDS or not isinstance(kind, str)
        return _unusable(message, number, None, None, _quoted(errors)) if unnamed and _hides_media(message, errors) else None
    part = message.get(kind)
    if not isinstance(part, dict):
        return _unusable(message, number, kind, None, _quoted(errors) or "it has no media object")
    media_id = _digits(part.get("id"))
    obstacle = _quoted(errors) or _obstacle(part, media_id, number)
    if obstacle or media_id is None or number is None:
        return _unusable(message, number, kind, media_id, obstacle)
    url = _read_url(part.get("url"))
    return InboundMedia(
        media_id=media_id,
        phone_number_id=number,
        kind=kind,
        mime_type=read_mime_type(part.get("mime_type")),
        sha256=read_sha256(part.get("sha256")),
        url=url,
        url_expires_at=read_expiry(part["url"].partition("#")[0].partition("?")[2]) if url else None,
        received_at=_instant(message.get("timestamp")),
        message_id=_shown(message.get("id"), 250),
        sender=_shown(message.get("from"), 64),
        file_name=_shown(part.get("filename"), 255),
        caption=_shown(part.get("caption"), 1024, keep="\n\u200c\u200d"),
    )


def _obstacle(part: dict[str, Any], media_id: str | None, number: str | None) -> str:
    if part.get("id") in (None, ""):
        return "it has no media id"
    if media_id is None:
        return "its media id is not one, which is 1 to 32 digits"
    return "" if number else "its webhook does not say which number received it (metadata.phone_number_id)"


def _unusable(
    message: dict[str, Any], number: str | None, kind: Kind | None, media_id: str | None, obstacle: str
) -> UnusableMedia:
    name = message.get("id")
    basis = json.dumps([number, name if isinstance(name, str) and name else message], sort_keys=True, default=repr)
    return UnusableMedia(
        mark=f"none-{hashlib.sha256(basis.encode()).hexdigest()[:32]}",
        phone_number_id=number,
        kind=kind,
        details=f"This {kind or 'message'} cannot be asked for: {obstacle}.",
        received_at=_instant(message.get("timestamp")),
        media_id=media_id,
    )


def _hides_media(message: dict[str, Any], errors: list[Any]) -> bool:
    """Whether a message without a kind may have been a file, as one above 100 MB is (131052), or a sort of picture."""
    said = message.get("unsupported")
    if errors and isinstance(said, dict) and said.get("type") in _UNSUPPORTED_FILES:
        return True
    return any(not isinstance(each, dict) or _digits(each.get("code")) != _UNSUPPORTED_CODE for each in errors)


def _quoted(errors: list[Any]) -> str:
    """WhatsApp's words for what went wrong, without the query of a URL in them; empty where there was no error."""
    said = "; ".join(_error_words(each) for each in errors[:5])
    return f"WhatsApp says {_shown(_URL_QUERY.sub('?...', said), 240)}" if errors else ""


def _error_words(error: Any) -> str:
    if not isinstance(error, dict):
        return "that there was an error"
    data = error.get("error_data")
    said = [error.get("title"), error.get("message"), data.get("details") if isinstance(data, dict) else None]
    words = [" ".join(each[:1000].split()).rstrip(".") for each in said if isinstance(each, str)]
    return f"{': '.join(dict.fromkeys(filter(None, words))) or 'nothing more'} (code {_digits(error.get('code')) or 'unknown'})"


def _read_url(value: Any) -> MediaUrl | None:
    """The URL, unjudged."""
    return MediaUrl(value) if isinstance(value, str) and 0 < len(value) <= _MAX_URL_CHARS else None


def _instant(value: Any) -> datetime | None:
    """Unix seconds, or milliseconds from 10**11 on, of text or a number; None outside of 2009 to 2100."""
    if isinstance(value, float) and 0 < value < 1e15:
        value = int(value)
    digits = _digits(value)
    if digits is None:
        return None
    seconds = int(digits)
    if seconds >= 10**11:
        seconds //= 1000
    return datetime.fromtimestamp(seconds, UTC) if _EARLIEST.timestamp() <= seconds < _LATEST.timestamp() else None


def _digits(value: Any) -> str | None:
    """Text of 1 to 32 ASCII digits, from text or an integer."""
    if isinstance(value, int):  # a boolean has no digits
        value = str(value)
    if not isinstance(value, str) or len(value) > 32:  # the error would write it out first
        return None
    try:
        return check_media_id(value)
    except MediaIdInvalidError:
        return None


def _shown(value: Any, most: int, *, keep: str = "") -> str | None:
    """A stranger's text as it may be stored and shown: what is not printable (controls, bidi, surrogates) as its escape."""
    text = value if isinstance(value, str) else _digits(value)
    if not text:
        return None
    return "".join(ch if ch.isprintable() or ch in keep else ch.encode("unicode_escape").decode() for ch in text[:most])[:most]


def _parsed(text: str | bytes) -> Any:
    try:
        return _plain(json.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text), {})
    except (ValueError, RecursionError):
        return _ODD


def _plain(value: Any, seen: dict[int, Any], depth: int = 0) -> Any:
    """A copy of exact dict, list, str, bytes, int, float, bool and None, so that no stranger's method runs afterwards.

    What is none of these becomes `_ODD`, and so does a container inside itself, one that lies too deep, and an integer that is
    too long to be written. A dict loses the keys that are not text.
    """
    kind = type(value)  # and not isinstance, which an object can deceive
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, bytes | bytearray):
        return b"".join([value])
    if issubclass(kind, int):
        return int.__add__(value, 0) if int.bit_length(value) < 128 else _ODD
    if issubclass(kind, float):
        return float.__add__(value, 0.0)
    return _plain_container(value, seen, depth) if issubclass(kind, dict | list | tuple) else _ODD


def _plain_container(value: Any, seen: dict[int, Any], depth: int) -> Any:
    if id(value) in seen or depth == _DEEPEST:
        return seen.get(id(value), _ODD)
    seen[id(value)] = _ODD  # for the time in which it is not whole
    if issubclass(type(value), dict):
        items = [(key, each) for key, each in dict.items(value) if issubclass(type(key), str)]
        plain: Any = {str.__str__(key): _plain(each, seen, depth + 1) for key, each in items}
    else:
        each_of = list.__iter__ if issubclass(type(value), list) else tuple.__iter__
        plain = [_plain(each, seen, depth + 1) for each in each_of(value)]
    seen[id(value)] = plain
    return plain
