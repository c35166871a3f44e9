"""Upload one file: judge it, send it, say until when its id is safe."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import MediaRejectedError, ValidityOutOfReachError
from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.ports import UploadedMedia

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ports import Source

log = logging.getLogger(__name__)

MEDIA_LIFE: Final = timedelta(days=30)
"""Life of an uploaded media id, counted from the upload (the stricter of two readings of the document)."""
SAFETY_MARGIN: Final = timedelta(hours=24)


def upload(
    source: Source,
    *,
    calls: Calls,
    mime_type: str | None = None,
    filename: str | None = None,
    kind: str | None = None,
    valid_until: datetime | None = None,
) -> UploadedMedia:
    """Judge ``source``, upload it, and return its media id.

    Args:
        source: the file. calls: the channel's wire.
        mime_type, filename, kind: the caller's word for them; the content decides, and disagreement is an error.
        valid_until: aware instant until which the id must work; at most 29 days from now.

    Raises:
        MediaRejectedError: the file is unfit; nothing was sent.
        ValidityOutOfReachError: no upload can be promised for that long.
        Dialog360Error: what 360dialog answered, or what kept it from answering.
    """
    latest = calls.now() + MEDIA_LIFE - SAFETY_MARGIN
    if valid_until is not None and valid_until > latest:
        raise ValidityOutOfReachError(valid_until=valid_until, latest=latest)
    verdict = inspect(source, mime_type=mime_type, filename=filename, kind=kind)
    if not verdict.ok or verdict.mime_type is None:
        raise MediaRejectedError(name=source.name, problems=verdict.errors)
    for warning in verdict.problems:
        log.warning("judged with a warning: [%s] %s %s", warning.code, warning.message, warning.remedy)
    mime = verdict.mime_type
    started = time.monotonic()
    media_id = calls.result(
        "upload",
        lambda: calls.api.upload(
            source, size_bytes=verdict.size_bytes, sha256=verdict.sha256, mime_type=mime, filename=verdict.filename
        ),
    )
    uploaded_at = calls.now()
    log.info("uploaded media id %s: %s, %d bytes, %.2f s", media_id, mime, verdict.size_bytes, time.monotonic() - started)
    return UploadedMedia(
        media_id=media_id,
        sha256=verdict.sha256,
        mime_type=mime,
        size_bytes=verdict.size_bytes,
        uploaded_at=uploaded_at,
        safe_until=uploaded_at + MEDIA_LIFE - SAFETY_MARGIN,
        reused=False,
    )
