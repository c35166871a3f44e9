r"""Every answer as data: the exact bodies and headers of recorded traffic, built from plain values.

Key order, escaped slashes (`\/`), integer sizes and the `WWW-Authenticate` of a refusal are as recorded
(`facts.md`, sections 2 to 7). Nothing is sent here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from airflow_provider_360dialog.emulator.rules import waba_id_of
from airflow_provider_360dialog.emulator.settings import ErrorShape

JSON_TYPE = "application/json; charset=UTF-8"
Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer before it is sent.

    Attributes:
        status: HTTP status.
        body: The bytes, or the file that holds them.
        headers: All headers but `Content-Length`.
        document: The JSON value that `body` was made of, for faults that change one field.
    """

    status: int
    body: bytes | Path
    headers: Headers = field(default_factory=list)
    document: dict[str, Any] | None = None

    @property
    def size_bytes(self) -> int:
        """Length of the body."""
        return self.body.stat().st_size if isinstance(self.body, Path) else len(self.body)


def to_wire(document: Mapping[str, Any]) -> bytes:
    """Write JSON the way Meta does: no spaces, every slash escaped."""
    return json.dumps(document, separators=(",", ":")).replace("/", "\\/").encode()


def json_answer(document: dict[str, Any], status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """Return an answer with a JSON body."""
    return Answer(status, to_wire(document), [("content-type", JSON_TYPE), *headers], document)


def success(document: dict[str, Any], number_id: str) -> Answer:
    """Return a 200 with the usage header that Meta sends for a WhatsApp business account."""
    usage = {"type": "whatsapp", "call_count": 1, "total_cputime": 1, "total_time": 1}
    usage |= {"estimated_time_to_regain_access": 0}
    text = json.dumps({waba_id_of(number_id): [usage]}, separators=(",", ":"))
    return json_answer(document, headers=[("x-business-use-case-usage", text), ("facebook-api-version", "v19.0")])


def media_document(*, media_id: str, url: str, mime_type: str, sha256_hex: str, size_bytes: int) -> dict[str, Any]:
    """Return the answer to `GET /<media id>` in the recorded key order."""
    return {
        "url": url,
        "mime_type": mime_type,
        "sha256": sha256_hex,
        "file_size": size_bytes,
        "id": media_id,
        "messaging_product": "whatsapp",
    }


def _trace_id() -> str:
    return "A" + secrets.token_urlsafe(16)


def meta_error(
    message: str,
    *,
    status: int = 400,
    kind: str = "OAuthException",
    code: int = 100,
    subcode: int | None = None,
) -> Answer:
    """Return an error of Meta's, passed through by 360dialog."""
    error: dict[str, Any] = {"message": message, "type": kind, "code": code}
    if subcode is not None:
        error["error_subcode"] = subcode
    error["fbtrace_id"] = _trace_id()
    challenge = f'OAuth "Facebook Platform" "invalid_request" "{_one_line(message)}"'
    headers = [("www-authenticate", challenge), ("facebook-api-version", "v19.0"), ("cache-control", "no-store")]
    return json_answer({"error": error}, status, headers)


def _one_line(text: str) -> str:
    return "".join(ch for ch in text if " " <= ch <= "~")


def no_such_object(media_id: str, verb: str = "get") -> Answer:
    """Return Meta's refusal of an id that is unknown, expired, deleted, malformed or of another number."""
    message = (
        f"Unsupported {verb} request. Object with ID '{media_id}' does not exist, cannot be loaded due to missing "
        "permissions, or does not support this operation. Please read the Graph API documentation at "
        "https://developers.facebook.com/docs/graph-api"
    )
    return meta_error(message, kind="GraphMethodException", subcode=33)


def invalid_post_id() -> Answer:
    """Return Meta's refusal of a DELETE with a malformed id: another text, another type, no subcode."""
    return meta_error("(#100) Invalid post_id parameter")


def phrase_of(status: int) -> str:
    """Return the words of a status; a status without any, such as 520, gets none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def html_page(status: int) -> Answer:
    """Return a proxy's page."""
    title = f"{status} {phrase_of(status)}"
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    page += "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    return Answer(status, page.encode(), [("content-type", "text/html")])


def gateway_error(shape: ErrorShape, status: int, text: str, *, code: int = 0, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """Return an error in one of the shapes that clients have met.

    Args:
        shape: The body's shape.
        status: HTTP status.
        text: What the body says.
        code: Meta's error code, used by shape A only.
        headers: More headers, such as `retry-after`.
    """
    if shape is ErrorShape.A:
        answer = meta_error(text, status=status, code=code)
    elif shape is ErrorShape.HTML:
        answer = html_page(status)
    elif shape is ErrorShape.B:
        answer = json_answer({"error": text}, status)
    elif shape is ErrorShape.C:
        answer = json_answer({"meta": {"success": False, "http_code": status, "developer_message": text}}, status)
    else:
        inner = 404 if status == 401 else status  # the recorded oddity: the body does not repeat the status
        answer = json_answer({"meta": {"httpCode": inner, "developerMessage": text, "success": False}}, status)
    return Answer(answer.status, answer.body, [*answer.headers, *headers], answer.document)


_BAD_KEY_TEXTS = {
    ErrorShape.A: "Invalid OAuth access token - Cannot parse access token",
    ErrorShape.C2: "Invalid api_key or token expired",
}


def bad_key(shape: ErrorShape) -> Answer:
    """Return the 401 for a missing, unknown or revoked key."""
    return gateway_error(shape, 401, _BAD_KEY_TEXTS.get(shape, "Invalid api key"), code=190)


def health_document(number_id: str, health: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to `GET /health_status`.

    Args:
        number_id: The phone number's id.
        health: `can_send_message` and, if set, `additional_info` or `errors`; applied to the phone number.
    """
    entities = [{"entity_type": "PHONE_NUMBER", "id": number_id, **health}]
    entities += [
        {"entity_type": kind, "id": waba_id_of(number_id) + suffix, "can_send_message": "AVAILABLE"}
        for kind, suffix in (("WABA", ""), ("BUSINESS", "2"), ("APP", "3"))
    ]
    overall = health["can_send_message"]
    return {"health_status": {"can_send_message": overall, "entities": entities}, "id": number_id}
