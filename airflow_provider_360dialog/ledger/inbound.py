"""What customers sent to one channel, as `intake` has put it on record: handed out in the order of need, settled, counted.

Whoever wants to archive takes one row at a time, under a lease; the rules of the order are in `take`. Everything that takes in or
settles rows locks the channel's row first, so that nobody waits for each other in a circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.decisions import LEASE_S

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.decisions import Claimant
    from airflow_provider_360dialog.ledger.store import Store

Loss: TypeAlias = Literal["expired", "gone", "no_id", "corrupt", "refused_type", "too_large"]

LIFE_S: Final = 7 * 86_400.0
"""Life of received media, from the instant at which it was received."""
LAST_MOMENT_S: Final = 60.0
"""In the last minute of its life a file is not asked for any more: the answer could come too late."""
URGENT_S: Final = 86_400.0
"""What ends within a day goes first."""
SUSPECT_AFTER: Final = 3
"""Failures in a row, without a success in between, after which the rest of a batch is suspect."""
SUSPECT_EVERY_S: Final = 3600.0
AGAIN_AFTER_S: Final = 3600.0
LONGEST_REST_S: Final = 86_400.0

_rows, _batches, _sources, _runs = schema.inbound, schema.inbound_batch, schema.inbound_source, schema.inbound_run


@dataclass(frozen=True)
class PendingMedia:
    """A row under a lease.

    Attributes:
        row, batch: their numbers. media_id, kind, mime_type, sha256, received_at, url_until: as `intake.Arrival`.
        source, line: where its webhook is. suspect: its batch may be made up. now: when it was taken. owner: of the lease.
    """

    row: int
    batch: int
    media_id: str
    kind: str | None
    mime_type: str | None
    sha256: str | None
    received_at: float
    url_until: float | None
    source: str
    line: int
    suspect: bool
    now: float
    owner: str


@dataclass(frozen=True)
class LostMedia:
    """A row that is lost, or nearly so: ``lost_at`` is None where it will be asked for again. Instants are float seconds."""

    row: int
    media_id: str
    kind: str | None
    reason: str
    details: str | None
    received_at: float
    lost_at: float | None
    source: str
    line: int


@dataclass(frozen=True)
class Standing:
    """What is still to be done for a channel.

    Attributes:
        pending: rows. suspects: how many of them are suspect. oldest_received_at: float seconds; None where nothing is pending.
        now: when that was so.
    """

    pending: int
    suspects: int
    oldest_received_at: float | None
    now: float

    @property
    def oldest_pending_s(self) -> int | None:
        """How long the oldest has been waiting, whole seconds; None where nothing is pending."""
        return None if self.oldest_received_at is None else max(0, int(self.now - self.oldest_received_at))


@dataclass(frozen=True)
class RunCounts:
    """What one run has done so far, over all waits and tries: rows taken in, files archived and their bytes, losses by reason."""

    taken_in: int
    archived: int
    archived_bytes: int
    lost: dict[str, int]


class Inbound:
    """One channel's received files.

    Args:
        store: an opened ledger. channel_id: the channel's row.
    """

    def __init__(self, store: Store, channel_id: int) -> None:
        self._store, self._channel_id = store, channel_id
        self._now: sa.ColumnElement[float] = store.now.element

    # --- handing out ----------------------------------------------------------------------------------------------

    def take(self, claimant: Claimant) -> PendingMedia | None:
        """The row whose turn it is, under a lease; None where there is none now.

        What ends within a day goes first, the soonest end before all; then the youngest; then what failed before and has rested;
        last the suspects, one an hour. Of one batch never more rows are under way than may still fail before it is suspect.
        May be called again with the same claimant where it is not known whether the first time was committed.
        """
        with self._store.write() as db:
            now = lock_channel(db, self._store, self._channel_id)
            row = self._mine(db, claimant) or self._next(db, claimant, now)
            if row is None:
                return None
            lease = {"owner": claimant.owner, "task": claimant.task, "try_number": claimant.try_number}
            db.execute(_rows.update().where(_rows.c.id == row).values(**lease, lease_until=now + LEASE_S))
            columns = (_rows.c.media_id, _rows.c.kind, _rows.c.mime_type, _rows.c.sha256, _rows.c.received_at, _rows.c.url_until)
            query = sa.select(*columns, _rows.c.line, _rows.c.rank, _rows.c.batch_id, _sources.c.uri)
            found = db.execute(query.join(_sources, _sources.c.id == _rows.c.source_id).where(_rows.c.id == row)).one()
            if found.rank == schema.SUSPECT:
                db.execute(_batches.update().where(_batches.c.id == found.batch_id).values(asked_at=now))
        return PendingMedia(
            row,
            found.batch_id,
            *found[:6],
            source=found.uri,
            line=found.line,
            suspect=found.rank == schema.SUSPECT,
            now=now,
            owner=claimant.owner,
        )

    def _mine(self, db: sa.Connection, claimant: Claimant) -> int | None:
        """What the claimant has taken already, where the answer was lost on its way."""
        query = sa.select(_rows.c.id).where(_rows.c.channel_id == self._channel_id, _rows.c.owner == claimant.owner)
        row: int | None = db.scalar(query)
        return row

    def renew(self, item: PendingMedia) -> bool:
        """Prolong a lease; False where somebody else has taken the row."""
        with self._store.write() as db:
            return db.execute(self._of(item).values(lease_until=self._now + LEASE_S)).rowcount > 0

    def _next(self, db: sa.Connection, claimant: Claimant, now: float) -> int | None:
        free = sa.or_(_rows.c.owner.is_(None), _rows.c.lease_until <= now)
        if claimant.task is not None:  # Airflow starts a next try only when it has given the last one up
            same_task = _rows.c.task.is_not_distinct_from(claimant.task)
            free = sa.or_(free, sa.and_(same_task, _rows.c.try_number < claimant.try_number))
        may = (*self._pending(), free, _rows.c.again_at <= now, _rows.c.received_at > now - LIFE_S + LAST_MOMENT_S)
        full = self._full_batches(db, free)
        if full:
            may = (*may, _rows.c.batch_id.not_in(full))
        received_at, query = _rows.c.received_at, sa.select(_rows.c.id).where(*may).limit(1)
        fresh, urgent_from = _rows.c.rank == schema.FRESH, now - LIFE_S + URGENT_S
        turns = (
            query.where(fresh, received_at <= urgent_from).order_by(received_at),
            query.where(fresh, received_at > urgent_from).order_by(received_at.desc()),
            query.where(_rows.c.rank == schema.FAILED).order_by(_rows.c.again_at),
        )
        for turn in turns:
            found = db.execute(turn).first()
            if found is not None:
                return int(found.id)
        return self._next_suspect(db, query.where(_rows.c.rank == schema.SUSPECT), now)

    def _next_suspect(self, db: sa.Connection, query: sa.Select[tuple[int]], now: float) -> int | None:
        """One an hour for the whole channel, and none in a batch's first; the batch that was asked longest ago first."""
        under_suspicion = (_batches.c.channel_id == self._channel_id, _batches.c.failed_in_a_row >= SUSPECT_AFTER)
        batches = db.execute(sa.select(_batches).where(*under_suspicion)).all()
        an_hour_ago = now - SUSPECT_EVERY_S
        if any((batch.asked_at or 0.0) > an_hour_ago for batch in batches):
            return None
        for batch in sorted(batches, key=lambda each: each.asked_at or 0.0):
            if (batch.suspect_since or 0.0) > an_hour_ago:
                continue
            row = db.execute(query.where(_rows.c.batch_id == batch.id).order_by(_rows.c.received_at.desc())).first()
            if row is not None:
                return int(row.id)
        return None

    def _full_batches(self, db: sa.Connection, free: sa.ColumnElement[bool]) -> list[int]:
        """Batches of which so many are under way that one more could be the fourth failure in a row."""
        under_way = (*self._pending(), _rows.c.owner.is_not(None), sa.not_(free))
        counted = sa.select(_rows.c.batch_id, sa.func.count().label("under_way")).where(*under_way).group_by(_rows.c.batch_id)
        busy: dict[int, int] = {row.batch_id: row.under_way for row in db.execute(counted)}
        failing = (_batches.c.channel_id == self._channel_id, _batches.c.failed_in_a_row > 0)
        failed = {row.id: row.failed_in_a_row for row in db.execute(sa.select(_batches).where(*failing))}
        return [batch for batch, count in busy.items() if count >= max(1, SUSPECT_AFTER - failed.get(batch, 0))]

    # --- settling -------------------------------------------------------------------------------------------------

    def archive(self, item: PendingMedia, run: int, *, uri: str, mime_type: str, sha256: str, size_bytes: int) -> bool:
        """A file stands under its final name. False where somebody else has settled it meanwhile: to the same name."""
        values = {"state": schema.ARCHIVED, "uri": uri, "mime_type": mime_type, "sha256": sha256, "size_bytes": size_bytes}
        with self._store.write() as db:
            lock_channel(db, self._store, self._channel_id)
            if not self._settle(db, item, run, reason=None, details=None, **values):
                return False
            counts = {"archived": _runs.c.archived + 1, "archived_bytes": _runs.c.archived_bytes + size_bytes}
            db.execute(_runs.update().where(_runs.c.id == run).values(**counts))
            self._clear(db, item.batch)
        return True

    def lose(self, item: PendingMedia, run: int, reason: Loss, details: str, *, failed: bool) -> None:
        """A file cannot be had. ``failed``: 360dialog was asked in vain, which speaks against its batch."""
        with self._store.write() as db:
            lock_channel(db, self._store, self._channel_id)
            if self._settle(db, item, run, state=schema.LOST, reason=reason, details=details) and failed:
                self._count_failure(db, item.batch)

    def fail(self, item: PendingMedia, details: str, *, run: int | None = None, reason: Loss | None = None) -> None:
        """It did not come this time, which says nothing of its batch. It rests for an hour, and longer each time.

        With a reason, the run tells of it as lost, for that is what it will be unless what comes next time is better.
        """
        left = sa.case((_rows.c.received_at + LIFE_S > self._now, _rows.c.received_at + LIFE_S - self._now), else_=0.0)
        with self._store.write() as db:
            lock_channel(db, self._store, self._channel_id)
            failures = db.execute(sa.select(_rows.c.failures, left).where(_rows.c.id == item.row)).one()
            rest_s = min(AGAIN_AFTER_S * 2.0 ** min(failures[0], 10), LONGEST_REST_S, max(AGAIN_AFTER_S, failures[1] / 2))
            rank = sa.case((_rows.c.rank == schema.FRESH, schema.FAILED), else_=_rows.c.rank)
            values = {"failures": _rows.c.failures + 1, "rank": rank, "again_at": self._now + rest_s}
            reason_then = sa.func.coalesce(reason, _rows.c.reason)
            db.execute(self._of(item).values(**values, **_FREE, reason=reason_then, details=details, run_id=run))

    def url_failed(self, item: PendingMedia) -> None:
        """The webhook's own URL did not work, and is not tried again. The row is free: its id is asked when its turn comes."""
        with self._store.write() as db:
            lock_channel(db, self._store, self._channel_id)
            if db.execute(self._of(item).values(url_until=None, **_FREE)).rowcount:
                self._count_failure(db, item.batch)

    def give_back(self, item: PendingMedia) -> None:
        """Nothing was learnt of it; it is as it was."""
        with self._store.write() as db:
            lock_channel(db, self._store, self._channel_id)
            if db.execute(self._of(item).values(**_FREE)).rowcount and item.suspect:
                db.execute(_batches.update().where(_batches.c.id == item.batch).values(asked_at=None))

    def expire(self, run: int) -> int:
        """Note what has come to its end without being archived; how many."""
        nobody_has_it = sa.or_(_rows.c.owner.is_(None), _rows.c.lease_until <= self._now)
        ended = (*self._pending(), _rows.c.received_at <= self._now - LIFE_S, nobody_has_it)
        reason = sa.func.coalesce(_rows.c.reason, "expired")
        values = {"state": schema.LOST, "run_id": run, "settled_at": self._now, "reason": reason, **_FREE}
        with self._store.write() as db:
            lock_channel(db, self._store, self._channel_id)
            return int(db.execute(_rows.update().where(*ended).values(**values)).rowcount)

    def _settle(self, db: sa.Connection, item: PendingMedia, run: int, **values: Any) -> bool:
        return db.execute(self._of(item).values(run_id=run, settled_at=self._now, **_FREE, **values)).rowcount > 0

    def _count_failure(self, db: sa.Connection, batch: int) -> None:
        counted = _batches.update().where(_batches.c.id == batch).values(failed_in_a_row=_batches.c.failed_in_a_row + 1)
        failed = db.execute(counted.returning(_batches.c.failed_in_a_row)).scalar_one()
        if failed == SUSPECT_AFTER:  # the hour before the first suspect is asked for begins
            db.execute(_batches.update().where(_batches.c.id == batch).values(suspect_since=self._now))
            of_batch = (_rows.c.batch_id == batch, _rows.c.state == schema.PENDING)
            db.execute(_rows.update().where(*of_batch).values(rank=schema.SUSPECT))

    def _clear(self, db: sa.Connection, batch: int) -> None:
        """A success: who made up a batch could not have known an id that answers."""
        failed = db.execute(sa.select(_batches.c.failed_in_a_row).where(_batches.c.id == batch)).scalar_one()
        if not failed:
            return
        db.execute(_batches.update().where(_batches.c.id == batch).values(failed_in_a_row=0, suspect_since=None, asked_at=None))
        if failed >= SUSPECT_AFTER:
            of_batch = (_rows.c.batch_id == batch, _rows.c.state == schema.PENDING)
            rank = sa.case((_rows.c.failures > 0, schema.FAILED), else_=schema.FRESH)
            db.execute(_rows.update().where(*of_batch).values(rank=rank))

    # --- looking --------------------------------------------------------------------------------------------------

    def standing(self) -> Standing:
        """What is pending. Reads only."""
        with self._store.read() as db:
            now = db.execute(sa.select(self._store.now)).scalar_one()
            query = sa.select(_rows.c.rank, sa.func.count(), sa.func.min(_rows.c.received_at)).where(*self._pending())
            found = db.execute(query.group_by(_rows.c.rank)).all()
        return Standing(
            pending=sum(count for _, count, _ in found),
            suspects=sum(count for rank, count, _ in found if rank == schema.SUSPECT),
            oldest_received_at=min((oldest for _, _, oldest in found), default=None),
            now=now,
        )

    def counts(self, run: int) -> RunCounts:
        """What a run has done so far. Reads only."""
        lost = sa.select(_rows.c.reason, sa.func.count().label("lost")).where(_rows.c.run_id == run, _rows.c.reason.is_not(None))
        with self._store.read() as db:
            done = db.execute(
                sa.select(_runs.c.taken_in, _runs.c.archived, _runs.c.archived_bytes).where(_runs.c.id == run)
            ).one()
            return RunCounts(*done, lost={row.reason: row.lost for row in db.execute(lost.group_by(_rows.c.reason))})

    def began_at(self, run: int) -> float:
        """When a run began, float seconds. Reads only."""
        with self._store.read() as db:
            return float(db.execute(sa.select(_runs.c.began_at).where(_runs.c.id == run)).scalar_one())

    def lost_in(self, run: int, *, after: int = 0, limit: int = 500) -> list[LostMedia]:
        """What a run has lost, a page at a time: rows above ``after``. Reads only."""
        columns = (_rows.c.id, _rows.c.media_id, _rows.c.kind, _rows.c.reason, _rows.c.details, _rows.c.received_at)
        query = sa.select(*columns, _rows.c.settled_at, _sources.c.uri, _rows.c.line)
        query = query.join(_sources, _sources.c.id == _rows.c.source_id)
        query = query.where(_rows.c.run_id == run, _rows.c.reason.is_not(None), _rows.c.id > after)
        with self._store.read() as db:
            return [LostMedia(*row) for row in db.execute(query.order_by(_rows.c.id).limit(limit))]

    def _pending(self) -> tuple[sa.ColumnElement[bool], ...]:
        return _rows.c.channel_id == self._channel_id, _rows.c.state == schema.PENDING

    def _of(self, item: PendingMedia) -> sa.Update:
        return _rows.update().where(_rows.c.id == item.row, _rows.c.state == schema.PENDING, _rows.c.owner == item.owner)


def lock_channel(db: sa.Connection, store: Store, channel_id: int) -> float:
    """Lock a channel's row, by which all who take in, take and settle wait for each other; the present instant."""
    query = sa.select(schema.channel.c.id).where(schema.channel.c.id == channel_id)
    db.execute(query.with_for_update(key_share=True))
    return float(db.execute(sa.select(store.now)).scalar_one())


_FREE: Final = {"owner": None, "task": None, "try_number": None, "lease_until": None}
