"""The webhook that announces a received file, as Meta documents it (`facts.md`, section 10). Nothing is delivered."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from airflow_provider_360dialog.emulator.rules import kind_of, waba_id_of


def media_part(
    *, media_id: str, mime_type: str, sha256_hex: str, file_name: str, caption: str | None, url: str | None
) -> dict[str, Any]:
    """Return the media object of a message; here, unlike in GET answers, sha256 is base64."""
    part: dict[str, Any] = {"id": media_id, "mime_type": mime_type}
    part["sha256"] = base64.b64encode(bytes.fromhex(sha256_hex)).decode()
    if caption is not None:
        part["caption"] = caption
    match kind_of(mime_type):
        case "document":
            part["filename"] = file_name
        case "audio":
            part["voice"] = True
        case "sticker":
            part["animated"] = False
    if url is not None:
        part["url"] = url
    return part


def webhook(
    *, number_id: str, display_phone: str, sender: str, sent_at_s: int, kind: str, part: dict[str, Any]
) -> dict[str, Any]:
    """Return the whole webhook of one message with one file."""
    message = {
        "from": sender,
        "id": "wamid." + base64.b64encode(secrets.token_bytes(24)).decode(),
        "timestamp": str(sent_at_s),
        "type": kind,
        kind: part,
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": display_phone, "phone_number_id": number_id},
        "contacts": [{"profile": {"name": "Customer"}, "wa_id": sender}],
        "messages": [message],
    }
    change = {"field": "messages", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": waba_id_of(number_id), "changes": [change]}]}
