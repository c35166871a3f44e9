"""What is asked and what is answered, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from airflow_provider_360dialog.api.identity import MediaTarget, check_media_id

if TYPE_CHECKING:
    from collections.abc import Mapping

Operation: TypeAlias = Literal["upload", "fetch", "download", "delete", "health"]

MAX_JSON_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class ApiRequest:
    """One request, without host, key and body.

    Attributes:
        operation: in the words of this project. method: HTTP's. target: path and query, sent byte for byte.
    """

    operation: Operation
    method: Literal["GET", "POST", "DELETE"]
    target: str = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """One answer, read to its end.

    Attributes:
        status: HTTP status. headers: names in lower case. body: decoded, at most 64 kB of it; empty for a download that went
        to its sink. whole: False where there was more than that.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    whole: bool = True


def build_upload() -> ApiRequest:
    """``POST /media``; the body is a `multipart.MultipartFile`."""
    return ApiRequest("upload", "POST", "/media")


def build_fetch(media_id: str) -> ApiRequest:
    """``GET /<media id>``. No ``phone_number_id``: it breaks the call for received media.

    Raises:
        MediaIdInvalidError: not a media id.
    """
    return ApiRequest("fetch", "GET", f"/{check_media_id(media_id)}")


def build_download(target: MediaTarget) -> ApiRequest:
    """``GET /whatsapp_business/attachments/?...`` on the connection's host."""
    return ApiRequest("download", "GET", target.path_and_query)


def build_delete(media_id: str) -> ApiRequest:
    """``DELETE /<media id>``.

    Raises:
        MediaIdInvalidError: not a media id.
    """
    return ApiRequest("delete", "DELETE", f"/{check_media_id(media_id)}")


def build_health() -> ApiRequest:
    """``GET /health_status``, which costs no error budget."""
    return ApiRequest("health", "GET", "/health_status")
