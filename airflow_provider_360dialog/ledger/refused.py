"""Ids that 360dialog called unknown or gone: asked again, the ledger answers, and no error budget is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_360dialog.exceptions import MediaGoneError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.upsert import insert_for

if TYPE_CHECKING:
    import sqlalchemy as sa

    from airflow_provider_360dialog.ledger.store import Store

_refused = schema.refused
_ALREADY = "answered from the ledger, without a request; ask_again=True asks 360dialog again"


class RefusedIds:
    """One channel's refused ids.

    Args:
        store: an opened ledger. channel_id: the channel's row.
    """

    def __init__(self, store: Store, channel_id: int) -> None:
        self._store, self._channel_id = store, channel_id

    def look_up(self, media_id: str) -> MediaGoneError | None:
        """The refusal on record, or None."""
        with self._store.read() as db:
            which = {"b_channel": self._channel_id, "b_media_id": media_id}
            row = db.execute(self._store.statements.is_refused, which).first()
        if row is None:
            return None
        details = f"{row.details} ({_ALREADY})" if row.details else _ALREADY
        return MediaGoneError(media_id=media_id, operation="fetch", status=row.status, code=row.code, details=details)

    def remember(self, error: MediaGoneError) -> None:
        """Put a refusal on record, before it is raised."""
        with self._store.write() as db:
            self.write(db, error.media_id, status=error.status, code=error.code, details=error.details)

    def write(self, db: sa.Connection, media_id: str, *, status: int, code: int | None, details: str) -> None:
        """The same inside a transaction that stands already; the first refusal stays."""
        values = {
            "channel_id": self._channel_id,
            "media_id": media_id,
            "status": status,
            "code": code,
            "details": details,
            "refused_at": self._store.now.element,
        }
        db.execute(insert_for(self._store)(_refused).values(**values).on_conflict_do_nothing())

    def forget(self, media_id: str) -> None:
        """An id that answers after all."""
        with self._store.write() as db:
            db.execute(_refused.delete().where(*self._is(media_id)))

    def _is(self, media_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        return _refused.c.channel_id == self._channel_id, _refused.c.media_id == media_id
