"""What webhooks say that customers sent to one channel: put on record once, before anything is asked, and never with a URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.inbound import LIFE_S, SUSPECT_AFTER, lock_channel
from airflow_provider_360dialog.ledger.upsert import insert_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_360dialog.ledger.store import Store

MOST_PENDING: Final = 500_000
"""A channel that has so many pending rows takes in no more: nobody sends so much in a week."""

_rows, _batches, _sources, _runs = schema.inbound, schema.inbound_batch, schema.inbound_source, schema.inbound_run
_PAGE: Final = 200


@dataclass(frozen=True)
class Arrival:
    """One message of a webhook that speaks of a file.

    Attributes:
        media_id: its id; or, where the webhook has none, a mark that is the same each time.
        line: of its source, from 1. kind, mime_type, sha256 (hex): as the webhook says, or None.
        received_at: float seconds; None where the webhook does not say. url_until: until when the webhook's own URL may be tried.
        lost_because: for one that cannot be asked for: why, in words.
    """

    media_id: str
    line: int
    kind: str | None = None
    mime_type: str | None = None
    sha256: str | None = None
    received_at: float | None = None
    url_until: float | None = None
    lost_because: str | None = None


class Intake:
    """One channel's way in.

    Args:
        store: an opened ledger. channel_id: the channel's row.
    """

    def __init__(self, store: Store, channel_id: int) -> None:
        self._store, self._channel_id = store, channel_id
        self._now: sa.ColumnElement[float] = store.now.element

    def begin(self, *, task: str | None) -> int:
        """The number of a run; the same one for a task that waited, or is tried again. ``task``: None for one by itself."""
        of_task = (_runs.c.channel_id == self._channel_id, _runs.c.task == task)
        values = {"channel_id": self._channel_id, "task": task, "began_at": self._now}
        with self._store.write() as db:
            made = insert_for(self._store)(_runs).values(**values).on_conflict_do_nothing().returning(_runs.c.id)
            number = db.execute(made).scalar()
            return int(number if number is not None else db.execute(sa.select(_runs.c.id).where(*of_task)).scalar_one())

    def unread(self, found: Sequence[tuple[str, str | None]]) -> list[bool]:
        """Of many sources, as (URI, stamp): whether each has to be read, because it was not, or has changed since."""
        known: dict[str, str | None] = {}
        with self._store.read() as db:
            for start in range(0, len(found), _PAGE):
                uris = [uri for uri, _ in found[start : start + _PAGE]]
                of_page = (_sources.c.channel_id == self._channel_id, _sources.c.uri.in_(uris))
                page = db.execute(sa.select(_sources.c.uri, _sources.c.stamp).where(*of_page))
                known.update({row.uri: row.stamp for row in page})
        return [stamp is None or known.get(uri) != stamp for uri, stamp in found]

    def has_room(self) -> bool:
        """Whether more may be taken in."""
        some = (
            sa.select(_rows.c.id)
            .where(_rows.c.channel_id == self._channel_id, _rows.c.state == schema.PENDING)
            .limit(MOST_PENDING)
            .subquery()
        )
        with self._store.read() as db:
            return db.execute(sa.select(sa.func.count()).select_from(some)).scalar_one() < MOST_PENDING

    def take_in(self, run: int, uri: str, batch: str, arrivals: Iterable[Arrival]) -> int:
        """Put arrivals of one source on record; what is there already stays as it is.

        Args:
            run: which takes them in. uri: of the source. batch: which rows are judged together. arrivals: a few hundred at most.

        Returns:
            How many are new.
        """
        wanted = list({each.media_id: each for each in reversed(list(arrivals))}.values())[::-1]
        new = 0
        with self._store.write() as db:
            now = lock_channel(db, self._store, self._channel_id)
            source_id = self._source(db, uri)
            batch_id = self._batch(db, batch)
            for start in range(0, len(wanted), _PAGE):
                values = [self._values(each, run, source_id, batch_id, now) for each in wanted[start : start + _PAGE]]
                insert = insert_for(self._store)(_rows).values(values).on_conflict_do_nothing().returning(_rows.c.id)
                new += len(db.execute(insert).all())
            db.execute(_runs.update().where(_runs.c.id == run).values(taken_in=_runs.c.taken_in + new))
        return new

    def was_read(self, uri: str, stamp: str) -> None:
        """A source was read to its end."""
        values = {"stamp": stamp, "read_at": self._now}
        statement = insert_for(self._store)(_sources).values(channel_id=self._channel_id, uri=uri, **values)
        with self._store.write() as db:
            db.execute(statement.on_conflict_do_update(index_elements=["channel_id", "uri"], set_=values))

    def _values(self, each: Arrival, run: int, source_id: int, batch_id: int, now: float) -> dict[str, Any]:
        received_at = now if each.received_at is None else min(each.received_at, now)
        lost = each.lost_because is not None
        return {
            "channel_id": self._channel_id,
            "media_id": each.media_id,
            "batch_id": batch_id,
            "source_id": source_id,
            "line": each.line,
            "kind": each.kind,
            "mime_type": each.mime_type,
            "sha256": each.sha256,
            "received_at": received_at,
            "url_until": None if each.url_until is None else min(each.url_until, received_at + LIFE_S),
            "state": schema.LOST if lost else schema.PENDING,
            "rank": sa.select(
                sa.case((_batches.c.failed_in_a_row >= SUSPECT_AFTER, schema.SUSPECT), else_=schema.FRESH)
            ).where(_batches.c.id == batch_id).scalar_subquery(),
            "run_id": run if lost else None,
            "settled_at": now if lost else None,
            "reason": "no_id" if lost else None,
            "details": each.lost_because,
        }  # fmt: skip

    def _source(self, db: sa.Connection, uri: str) -> int:
        return self._found_or_made(db, _sources, {"uri": uri}, {"read_at": self._now})

    def _batch(self, db: sa.Connection, name: str) -> int:
        return self._found_or_made(db, _batches, {"name": name}, {})

    def _found_or_made(self, db: sa.Connection, table: sa.Table, key: dict[str, Any], more: dict[str, Any]) -> int:
        key = {"channel_id": self._channel_id, **key}
        db.execute(insert_for(self._store)(table).values(**key, **more).on_conflict_do_nothing())
        return int(db.execute(sa.select(table.c.id).filter_by(**key)).scalar_one())
