"""Every media id on record, row by row: for a backup that any program can read. Holds no key and nothing derived from one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_360dialog.ledger.store import Store

FIELDS: Final = (
    "phone_number_id", "media_id", "sha256", "mime_type", "size_bytes", "state", "uploaded_at", "safe_until",
)  # fmt: skip
_ROWS_AT_ONCE: Final = 1000


def read_media(store: Store) -> Iterator[dict[str, Any]]:
    """All media ids in the order in which they were recorded, as one moment saw them. Memory does not grow with their number.

    Yields:
        `FIELDS`: texts, except ``size_bytes`` (int); instants are ISO 8601 in UTC.
    """
    files, media, channel = schema.fingerprint, schema.media, schema.channel
    query = (
        sa.select(
            channel.c.phone_number_id,
            media.c.media_id,
            files.c.sha256,
            files.c.mime_type,
            files.c.size_bytes,
            media.c.state,
            media.c.uploaded_at,
            media.c.safe_until,
        )
        .join_from(media, files, files.c.id == media.c.fingerprint_id)
        .join(channel, channel.c.id == media.c.channel_id)
        .order_by(media.c.id)
    )
    with store.read() as db:
        for row in db.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}):
            yield dict(zip(FIELDS, (*row[:6], _iso(row[6]), _iso(row[7])), strict=True))


def _iso(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")
