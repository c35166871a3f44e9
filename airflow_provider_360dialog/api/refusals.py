"""What an answer that is not a success means. Pure: answer and time in, error out (as data; nobody raises here).

360dialog and what stands before it write errors in five shapes; the HTTP status decides, the body adds a code and words.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    AnswerUnreadableError,
    Dialog360Error,
    EndpointMissingError,
    KeyRefusedError,
    MediaGoneError,
    MediaUrlExpiredError,
    RequestRefusedError,
    ServerError,
    ThrottledError,
    UploadRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_360dialog.api.messages import Answer, Operation

# Meta's codes for "too many" (error code reference; 131048, 131056 and 133016 as a production client maps them).
_THROTTLE_CODES: Final = frozenset({4, 80007, 130429, 131048, 131056, 133016})
_BAD_KEY_CODES: Final = frozenset({0, 190})
# "exceeded the endpoint rate limit" and "exceeded the limit of 1 request every * seconds" are documented as HTTP 400.
_THROTTLE_400 = re.compile(
    r"rate.?limit|too many (?:requests|calls)|limit of \d+ (?:requests?|calls?)"
    r"|exceeded[^.]{0,60}\b(?:requests?|calls?)\b|\b(?:requests?|calls?)\b[^.]{0,60}exceeded",
    re.IGNORECASE,
)
_THROTTLE_403 = re.compile(r"\brate\b|\blimit|exceeded", re.IGNORECASE)
# A 400 can also mean an account that was disabled or has not paid: never a reason to write an id off.
_ACCOUNT = re.compile(r"account|invoice|payment|billing|unpaid|disabled", re.IGNORECASE)

# How long to keep quiet where a throttle names no time; retrieval is blocked for as long as the channel's policy says.
_QUIET_S: Final[Mapping[Operation, float]] = {"upload": 2, "delete": 600, "health": 60}
_LONGEST_RETRY_AFTER_S: Final = 24 * 3600.0


def read_refusal(
    operation: Operation, answer: Answer, *, now: datetime, media_id: str = "", block_s: float = 3600.0
) -> Dialog360Error:
    """The error that an answer other than 2xx stands for.

    Args:
        operation: what was asked. answer: what came back. now: aware UTC. media_id: the id that was asked for, if any.
        block_s: how long a block of retrieval lasts where the answer does not say.
    """
    code, details = read_error_body(answer)
    status = answer.status
    retry_after_s = read_retry_after(answer.headers, now=now)
    if _is_throttle(status, code, details):
        wait_s = _QUIET_S.get(operation, block_s) if retry_after_s is None else retry_after_s
        retry_at = now + timedelta(seconds=wait_s)
        return ThrottledError(operation=operation, status=status, details=details, retry_at=retry_at, retry_after_s=retry_after_s)
    if status >= 500 or status == 408:
        return ServerError(operation=operation, status=status, details=details, retry_after_s=retry_after_s)
    if status == 401 or (status in {400, 403} and code in _BAD_KEY_CODES):
        return KeyRefusedError(operation=operation, details=details, status=status)
    if status == 403:
        return AccessRefusedError(operation=operation, code=code, details=details)
    if 400 <= status < 500:
        return _read_4xx(operation, answer, code, details, media_id)
    return AnswerUnreadableError(operation=operation, status=status, reason="this status has no meaning here")


def _read_4xx(operation: Operation, answer: Answer, code: int | None, details: str, media_id: str) -> Dialog360Error:
    status = answer.status
    if status == 404 and (operation in {"upload", "health"} or (operation != "download" and _is_markup(answer))):
        return EndpointMissingError(operation=operation)
    if operation == "upload":
        return UploadRefusedError(status=status, code=code, details=details)
    if status == 400 and code in {None, 33} | _THROTTLE_CODES and _ACCOUNT.search(details):
        return AccessRefusedError(operation=operation, code=code, details=details, status=status)
    if operation == "download" and status in {400, 404, 410}:
        return MediaUrlExpiredError(status=status)
    if operation in {"fetch", "delete"} and (status in {404, 410} or (status == 400 and code in {None, 33, 100})):
        return MediaGoneError(media_id=media_id, operation=operation, status=status, code=code, details=details)
    return RequestRefusedError(operation=operation, status=status, code=code, details=details)


def _is_throttle(status: int, code: int | None, details: str) -> bool:
    if status == 429:
        return True
    if status == 400:
        return code in _THROTTLE_CODES or _THROTTLE_400.search(details) is not None
    return status == 403 and (code in _THROTTLE_CODES or _THROTTLE_403.search(details) is not None)


def _is_markup(answer: Answer) -> bool:
    return answer.body.lstrip()[:1] == b"<"


def read_error_body(answer: Answer) -> tuple[int | None, str]:
    """Meta's error code, if there is one, and the words of whichever shape the body has (empty where it has none).

    Shapes (facts: V1, V2 recordings; OpenAPI 1.41; older pages): ``{"error": {...}}``, ``{"error": "text"}``,
    ``{"meta": {"developer_message": ..}}``, the same in camel case, ``{"errors": [{..}]}``, and anything else as text.
    """
    text = answer.body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None, "an HTML page" if _is_markup(answer) else text.strip()
    if not isinstance(data, dict):
        return None, text.strip()
    error = data.get("error")
    if isinstance(error, dict):
        extra = error.get("error_data")
        more = extra.get("details") if isinstance(extra, dict) else None
        words = [w for w in (error.get("message"), more, error.get("details")) if isinstance(w, str) and w]
        return _integer(error.get("code")), ". ".join(dict.fromkeys(words))
    if isinstance(error, str):
        return None, error
    meta = data.get("meta")
    if isinstance(meta, dict):
        for name in ("developer_message", "developerMessage"):
            if isinstance(meta.get(name), str) and meta[name]:
                return None, str(meta[name])
    errors = data.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        first = errors[0]
        words = [w for w in (first.get("title"), first.get("details")) if isinstance(w, str) and w]
        return _integer(first.get("code")), ". ".join(words)
    message = data.get("message")
    return None, message if isinstance(message, str) else text.strip()


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) else None


def read_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """``Retry-After`` in float seconds from now, 0 to 86,400; from seconds or an HTTP date; None where absent or unreadable."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        at = _read_date(text)
        if at is None:
            return None
        # The date is the server's: measured against the server's own Date where it gave one, a wrong clock here does no harm.
        seconds = (at - _server_now(headers, now)).total_seconds()
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S)


def _server_now(headers: Mapping[str, str], now: datetime) -> datetime:
    return _read_date(headers.get("date", "")) or now


def _read_date(text: str) -> datetime | None:
    """An HTTP date, aware; None where it is none."""
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
