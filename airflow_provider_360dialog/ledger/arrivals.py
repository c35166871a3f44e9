"""What customers sent to many channels at once, as far as it is pending or lost. Reads only, and no more rows than was agreed."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.bounded import Count, count_ranges
from airflow_provider_360dialog.ledger.inbound import LIFE_S, SUSPECT_AFTER, URGENT_S

RUNS: Final = 1000
"""Losses are told of so many runs, the newest of the whole ledger."""

_PENDING_BUDGET: Final = 20_000
_LOST_BUDGET: Final = 20_000
_RANKS: Final = (schema.FRESH, schema.FAILED, schema.SUSPECT)
_inbound, _batch, _run, _channel = schema.inbound, schema.inbound_batch, schema.inbound_run, schema.channel


def pending_by_class(db: sa.Connection, ids: list[int], now: float) -> dict[int, list[list[Count]]]:
    """Channel -> for each rank: pending files overdue, ending within a day, within three days, later."""
    ends_at = (now - LIFE_S, now - LIFE_S + URGENT_S, now - LIFE_S + 3 * URGENT_S)
    edges = (-1.0, *ends_at, now + 1e9)
    cells = [(channel, rank, *edges[n : n + 2]) for channel in ids for rank in _RANKS for n in range(4)]
    columns = (("channel", sa.BigInteger), ("rank", sa.Integer), ("low", sa.Double), ("high", sa.Double))

    def range_of(cell: sa.CTE) -> sa.Select[Any]:
        return sa.select(sa.literal_column("1")).where(
            *_is_pending(cell.c.channel, cell.c.rank),
            _inbound.c.received_at > cell.c.low,
            _inbound.c.received_at <= cell.c.high,
        )

    counts = iter(count_ranges(db, cells, columns, range_of, budget=_PENDING_BUDGET))
    return {channel: [[next(counts) for _ in range(4)] for _ in _RANKS] for channel in ids}


def _is_pending(channel: Any, rank: Any) -> tuple[sa.ColumnElement[bool], ...]:
    return _inbound.c.channel_id == channel, _inbound.c.rank == rank, _inbound.c.state == schema.PENDING


def oldest(db: sa.Connection, ids: list[int]) -> dict[int, float | None]:
    """Channel -> when the oldest that is pending was received. One short look for each rank, as the index has them."""
    received_at = sa.func.min(_inbound.c.received_at)
    looks = [
        sa.select(received_at).where(*_is_pending(_channel.c.id, rank)).correlate(_channel).scalar_subquery() for rank in _RANKS
    ]
    query = sa.select(_channel.c.id, *looks).where(_channel.c.id.in_(ids))
    return {row[0]: min((each for each in row[1:] if each is not None), default=None) for row in db.execute(query)}


def suspect_batches(db: sa.Connection, ids: list[int]) -> dict[int, int]:
    """Channel -> how many batches may be made up; few, for the index holds none but those that fail."""
    suspect = (_batch.c.channel_id.in_(ids), _batch.c.failed_in_a_row > 0, _batch.c.failed_in_a_row >= SUSPECT_AFTER)
    query = sa.select(_batch.c.channel_id, sa.func.count()).where(*suspect).group_by(_batch.c.channel_id)
    return {row[0]: row[1] for row in db.execute(query)}


def lost(db: sa.Connection, ids: list[int]) -> dict[int, dict[str, Count]]:
    """Channel -> reason -> how many, in the newest runs."""
    newest = sa.select(_run.c.id, _run.c.channel_id).order_by(_run.c.id.desc()).limit(RUNS).subquery()
    lost = (_inbound.c.reason.is_not(None), _inbound.c.state == schema.LOST, newest.c.channel_id.in_(ids))
    joined = sa.select(newest.c.channel_id, _inbound.c.reason).join_from(newest, _inbound, _inbound.c.run_id == newest.c.id)
    looked_at = joined.where(*lost).limit(_LOST_BUDGET + 1).subquery()
    query = sa.select(looked_at.c.channel_id, looked_at.c.reason, sa.func.count().label("rows"))
    rows = db.execute(query.group_by(looked_at.c.channel_id, looked_at.c.reason)).all()
    is_all = sum(row.rows for row in rows) <= _LOST_BUDGET
    found: dict[int, dict[str, Count]] = {}
    for row in rows:
        found.setdefault(row.channel_id, {})[row.reason] = Count(row.rows, "exact" if is_all else "at_least")
    return found
