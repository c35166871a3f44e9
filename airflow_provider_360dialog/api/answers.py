"""What a success says, as records. Pure: answer and time in; a record, or an error as data, out."""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.api.identity import MediaTarget, read_media_url
from airflow_provider_360dialog.api.refusals import read_refusal
from airflow_provider_360dialog.exceptions import AnswerUnreadableError, Dialog360Error, MediaUrlRefusedError
from airflow_provider_360dialog.ports import FetchedMedia, Health, MediaUrl

if TYPE_CHECKING:
    from airflow_provider_360dialog.api.messages import Answer, Operation

URL_LIFE: Final = timedelta(minutes=5)

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_MEDIA_ID = re.compile(r"[0-9]{1,32}")
_MIME = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")


def read_upload(answer: Answer, *, now: datetime) -> str | Dialog360Error:
    """The media id of an upload: any 2xx whose body is ``{"id": "<digits>"}``."""
    data = _read_object("upload", answer, now=now)
    if isinstance(data, Dialog360Error):
        return data
    media_id = _digits(data.get("id"))
    if media_id is not None and _MEDIA_ID.fullmatch(media_id):
        return media_id
    reason = "it has no numeric 'id'"
    if "media" in data:
        reason += "; an answer with 'media' comes from the retired On-Premise API: check the connection's host"
    return AnswerUnreadableError(operation="upload", status=answer.status, reason=reason)


def read_fetch(
    answer: Answer,
    *,
    media_id: str,
    now: datetime,
    base_url: str,
    extra_hosts: frozenset[str] = frozenset(),
    block_s: float = 3600.0,
) -> FetchedMedia | Dialog360Error:
    """What ``GET /<media id>`` says; its URL is judged here already, so that a bad one is the server's fault, not the user's."""
    data = _read_object("fetch", answer, now=now, media_id=media_id, block_s=block_s)
    if isinstance(data, Dialog360Error):
        return data

    def unreadable(reason: str) -> AnswerUnreadableError:
        return AnswerUnreadableError(operation="fetch", status=answer.status, reason=reason)

    if data.get("id") is not None and _digits(data["id"]) != media_id:
        return unreadable("it speaks of another media id than was asked for")
    url = data.get("url")
    if not isinstance(url, str):
        return unreadable("it has no 'url'")
    try:
        target = read_media_url(url, base_url=base_url, extra_hosts=extra_hosts)
    except MediaUrlRefusedError as refused:
        return unreadable(f"its media URL is not acceptable: {refused.reason}")
    return FetchedMedia(
        media_id=media_id,
        url=MediaUrl(url),
        mime_type=read_mime_type(data.get("mime_type")),
        sha256=read_sha256(data.get("sha256")),
        size_bytes=read_size(data.get("file_size")),
        url_expires_at=url_end(target, now=now),
    )


def read_delete(answer: Answer, *, media_id: str, now: datetime) -> bool | Dialog360Error:
    """True where 360dialog says that it deleted: ``{"success": true}``, or 204 with nothing."""
    if answer.status == 204 and not answer.body:
        return True
    data = _read_object("delete", answer, now=now, media_id=media_id)
    if isinstance(data, Dialog360Error):
        return data
    if data.get("success") is True or data.get("success") == "true":
        return True
    return AnswerUnreadableError(operation="delete", status=answer.status, reason="it does not say that it succeeded")


def read_health(answer: Answer, *, now: datetime) -> Health | Dialog360Error:
    """The state of the number. A 200 that says BLOCKED is a readable answer."""
    data = _read_object("health", answer, now=now)
    if isinstance(data, Dialog360Error):
        return data
    health = data.get("health_status")
    if not isinstance(health, dict) or not isinstance(health.get("can_send_message"), str):
        return AnswerUnreadableError(operation="health", status=answer.status, reason="it has no 'health_status'")
    phone_number_id: str | None = None
    entities: dict[str, str] = {}
    notes: list[str] = []
    for entity in _list(health.get("entities")):
        if not isinstance(entity, dict):
            continue
        name, status = _shown(entity.get("entity_type", "?"), 40), _shown(entity.get("can_send_message", "?"), 40)
        entities[name] = status
        if name == "PHONE_NUMBER" and phone_number_id is None:
            phone_number_id = _digits(entity.get("id"))
        notes.extend(f"{name}: {words}" for words in _health_words(entity))
    return Health(_shown(health["can_send_message"], 40), phone_number_id, entities, tuple(notes[:20]))


def _health_words(entity: dict[str, Any]) -> list[str]:
    words = [str(note) for note in _list(entity.get("additional_info"))]
    for error in _list(entity.get("errors")):
        if isinstance(error, dict):
            said = (error.get(key) for key in ("error_description", "possible_solution"))
            words.append(f"{' '.join(str(w) for w in said if w)} (code {error.get('error_code')})")
    return [_shown(each, 300) for each in words]


def _shown(value: object, most: int) -> str:
    """What the host wrote, as it may stand in a log."""
    return "".join(ch if ch.isprintable() else " " for ch in str(value)[:most])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def url_end(target: MediaTarget, *, now: datetime) -> datetime:
    """When a URL that was given just now ends: what its ``ext`` says where that is believable, else five minutes from now."""
    if target.expires_at is not None and now < target.expires_at <= now + 2 * URL_LIFE:
        return target.expires_at
    return now + URL_LIFE


def read_sha256(value: Any) -> str | None:
    """Lowercase hex from hex (GET answers) or base64 (webhooks); None for anything that is not 32 bytes."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if _HEX.fullmatch(text):
        return text.lower()
    padded = text + "=" * (-len(text) % 4)
    try:
        raw = base64.b64decode(padded, altchars=b"-_" if "-" in padded or "_" in padded else None, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 32 else None


def read_size(value: Any) -> int | None:
    """A number of bytes from an integer or its text; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = _digits(value)
    return int(text) if text is not None and len(text) < 16 else None


def read_mime_type(value: Any) -> str | None:
    """Lower case and without parameters (``audio/ogg; codecs=opus``); None where it is not a MIME type."""
    if not isinstance(value, str):
        return None
    text = value.partition(";")[0].strip().lower()
    return text if _MIME.fullmatch(text) else None


def _digits(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    return value if isinstance(value, str) and value.isascii() and value.isdigit() else None


def _read_object(
    operation: Operation, answer: Answer, *, now: datetime, media_id: str = "", block_s: float = 3600.0
) -> dict[str, Any] | Dialog360Error:
    if not 200 <= answer.status < 300:
        return read_refusal(operation, answer, now=now, media_id=media_id, block_s=block_s)

    def unreadable(reason: str) -> AnswerUnreadableError:
        return AnswerUnreadableError(operation=operation, status=answer.status, reason=reason)

    if not answer.whole:
        return unreadable("it is longer than 64 kB")
    if not answer.body.strip():
        return unreadable("it is empty")
    try:
        data = json.loads(answer.body)
    except (ValueError, RecursionError):
        return unreadable("it is an HTML page" if answer.body.lstrip()[:1] == b"<" else "it is not JSON")
    return data if isinstance(data, dict) else unreadable("it is not a JSON object")
