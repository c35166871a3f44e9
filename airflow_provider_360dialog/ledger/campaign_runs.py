"""Who is at a campaign now: the DAG run, and its signs of life. A courtesy to people who look; no decision depends on it."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import LedgerRefusedError, LedgerUnavailableError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.upsert import insert_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import DagRun

log = logging.getLogger(__name__)

ALL_CHANNELS: Final = 0
"""In place of a channel, for a plan."""
SILENT_S: Final = 120.0
"""Who has given no sign of life for so long does not run any more."""
_SEEN_EVERY_S: Final = 8.0
_MOST_RUNS: Final = 1_000
_run = schema.campaign_run


@dataclass(frozen=True)
class CampaignRun:
    """A DAG run, or somebody outside of Airflow, that plans or uploads for a campaign. Instants are float seconds.

    Attributes:
        dag_id, run_id: Airflow's names; None for somebody outside of its tasks. began_at: of the first of its tasks that are on
            record. seen_at: its last sign of life. is_running: whether one of its tasks was seen just now and has told no end.
    """

    dag_id: str | None
    run_id: str | None
    began_at: float
    seen_at: float
    is_running: bool


class Presence:
    """One task's signs of life at one channel's part of a campaign.

    Args:
        store: the ledger, opened. campaign: its row. channel_id: or `ALL_CHANNELS`. dag_run: Airflow's; None outside of it.
    """

    def __init__(self, store: Store, campaign: int, channel_id: int, dag_run: DagRun | None) -> None:
        self._store = store
        self._place = {"campaign_id": campaign, "channel_id": channel_id}
        self._names = {"dag_id": dag_run and dag_run.dag_id, "run_id": dag_run and dag_run.run_id}
        self._began_at: float | None = None
        self._told_at = 0.0

    @contextmanager
    def told(self) -> Iterator[Callable[[], None]]:
        """Tell that it begins, and at last that it has ended; what it gives is to be called while the work goes on."""
        self._quietly(self._begin)
        try:
            yield self.seen
        finally:
            self._quietly(self._end)

    def seen(self) -> None:
        """It is still there; written down every eight seconds at the most."""
        if time.monotonic() - self._told_at >= _SEEN_EVERY_S:
            self._quietly(self._go_on)

    def _quietly(self, write: Callable[[sa.Connection, float], None]) -> None:
        self._told_at = time.monotonic()
        try:
            with self._store.write() as db:
                write(db, db.execute(sa.select(self._store.now)).scalar_one())
        except (LedgerUnavailableError, LedgerRefusedError) as fault:
            log.info("the ledger was not told who is at the campaign: %s", fault)

    def _begin(self, db: sa.Connection, now: float) -> None:
        values = {**self._names, "began_at": now, "seen_at": now, "ended_at": None}
        statement = insert_for(self._store)(_run).values(**self._place, **values)
        db.execute(statement.on_conflict_do_update(index_elements=["campaign_id", "channel_id"], set_=values))
        self._began_at = now

    def _go_on(self, db: sa.Connection, now: float) -> None:
        """Where somebody else has begun later, the row is theirs until they end."""
        if self._began_at is None:
            self._begin(db, now)
            return
        is_free = sa.or_(_run.c.began_at == self._began_at, _run.c.ended_at.is_not(None), _run.c.seen_at < now - SILENT_S)
        values = {**self._names, "began_at": self._began_at, "seen_at": now, "ended_at": None}
        db.execute(_run.update().where(*self._here(), is_free).values(**values))

    def _end(self, db: sa.Connection, now: float) -> None:
        mine = _run.c.began_at == self._began_at
        db.execute(_run.update().where(*self._here(), mine).values(seen_at=now, ended_at=now))

    def _here(self) -> list[sa.ColumnElement[bool]]:
        return [_run.c[name] == value for name, value in self._place.items()]


def read_runs(db: sa.Connection, campaign: int, now: float) -> tuple[CampaignRun, ...]:
    """Who was at a campaign last: those who run first, then the latest."""
    query = sa.select(_run).where(_run.c.campaign_id == campaign).order_by(_run.c.seen_at.desc()).limit(_MOST_RUNS)
    found: dict[tuple[Any, Any], list[sa.Row[Any]]] = {}
    for row in db.execute(query):
        found.setdefault((row.dag_id, row.run_id), []).append(row)
    runs = [
        CampaignRun(
            *names,
            began_at=min(row.began_at for row in rows),
            seen_at=max(row.seen_at for row in rows),
            is_running=any(row.ended_at is None and row.seen_at > now - SILENT_S for row in rows),
        )
        for names, rows in found.items()
    ]
    return tuple(sorted(runs, key=lambda each: (not each.is_running, -each.seen_at)))


def running_among(db: sa.Connection, campaigns: Sequence[int], now: float) -> set[int]:
    """Of these campaigns, those that somebody is at."""
    query = sa.select(_run.c.campaign_id).distinct()
    query = query.where(_run.c.campaign_id.in_(campaigns), _run.c.ended_at.is_(None), _run.c.seen_at > now - SILENT_S)
    return set(db.execute(query).scalars())
