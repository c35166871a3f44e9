"""One channel's ration, shared by everybody who shares the ledger: instants for uploads, credits for GETs."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import rules, schema
from airflow_provider_360dialog.ledger.channels import POLICY_LIFE_S
from airflow_provider_360dialog.ledger.upsert import insert_for

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store

_pace, _retrieval, _credit, _connection = schema.pace, schema.retrieval, schema.credit, schema.connection


_JUMP_S = 0.005
_SETTLED = 6


class Clock:
    """The database's clock as this process can tell it: offsets are measured, and the one of least delay counts."""

    def __init__(self, remembered: int = 64) -> None:
        self._measured: deque[tuple[float, float]] = deque(maxlen=remembered)

    def measure(self, *, sent_at: float, answered_at: float, database_now: float) -> None:
        """One exchange: monotonic before and after, and what the database said in between."""
        delay = answered_at - sent_at
        if self._measured and not -_JUMP_S <= database_now - sent_at - min(self._measured)[1] <= delay + _JUMP_S:
            self._measured.clear()  # the database's clock, or this host's, has been moved
        self._measured.append((delay, database_now - (sent_at + delay / 2)))

    @property
    def is_settled(self) -> bool:
        """Whether enough has been measured for the offset to be trusted."""
        return len(self._measured) >= _SETTLED

    def now(self) -> float:
        """The database's present instant, as far as can be told from here."""
        return time.monotonic() + min(self._measured)[1]


_clocks: WeakKeyDictionary[Store, Clock] = WeakKeyDictionary()
_clocks_lock = threading.Lock()


def clock_of(store: Store) -> Clock:
    """This process's clock for a ledger."""
    with _clocks_lock:
        return _clocks.setdefault(store, Clock())


class Ration:
    """One channel's instants and credits.

    Args:
        store: an opened ledger. channel_id: the channel's row.
    """

    def __init__(self, store: Store, channel_id: int) -> None:
        self._store, self._channel_id = store, channel_id
        self.clock = clock_of(store)

    # --- uploads --------------------------------------------------------------------------------------------------

    def reserve(self, *, max_wait_s: float = rules.LONGEST_WAIT_S) -> float | rules.Closed:
        """The instant at which one upload may leave. Whoever cannot use it within 18 ms lets it go and reserves another.

        Args:
            max_wait_s: at most 60; where the instant lies further ahead, nothing is reserved, and the answer says from when it is
                worth asking again.
        """
        if not self.clock.is_settled:
            self._settle_clock()
        with self._store.write() as db:
            if self._store.dialect == "postgresql":
                # An instant that a crash of the server forgets does no harm; waiting for the disk would make it late.
                db.execute(sa.text("SET LOCAL synchronous_commit = off"))
            row, ceiling = self._paced(db)
            pace = rules.Pace(row.next_at, row.rate, row.changed_at, row.paused_until)
            at, after = rules.reserve(pace, now=row.now, ceiling=ceiling)
            if at - row.now > max_wait_s:
                return rules.Closed(until=at)
            self._put_pace(db, after)
        return at

    def _settle_clock(self) -> None:
        """Ask for the time alone: an answer that had to wait for a lock says little of when it was made."""
        with self._store.read() as db:
            db.execute(sa.select(self._store.now))  # the connection is warm
            for _ in range(_SETTLED):
                sent_at = time.monotonic()
                now = db.execute(sa.select(self._store.now)).scalar_one()
                self.clock.measure(sent_at=sent_at, answered_at=time.monotonic(), database_now=now)

    def refused(self, *, pause_s: float | None) -> float:
        """An upload was refused as too many: slower, and paused for ``pause_s`` where 360dialog said so; the rate now."""
        with self._store.write() as db:
            row, ceiling = self._paced(db)
            pause_until = None if pause_s is None else row.now + pause_s
            after = rules.slow_down(
                rules.Pace(row.next_at, row.rate, row.changed_at, row.paused_until),
                now=row.now,
                pause_until=pause_until,
                ceiling=ceiling,
            )
            self._put_pace(db, after)
        return after.rate

    def _paced(self, db: sa.Connection) -> tuple[sa.Row[Any], float]:
        """The channel's pace, locked, and the ceiling that its connections leave."""
        lowest = (
            sa.select(sa.func.min(_connection.c.uploads_per_second)).where(*self._says(self._store.now.element)).scalar_subquery()
        )
        query = sa.select(_pace, self._store.now, lowest.label("ceiling")).where(_pace.c.channel_id == self._channel_id)
        sent_at = time.monotonic()
        row = db.execute(query.with_for_update(of=_pace)).first()
        if row is None:
            now = db.scalar(sa.select(self._store.now))
            values = {"next_at": now, "rate": rules.CEILING_PER_S, "changed_at": now, "paused_until": 0.0}
            db.execute(insert_for(self._store)(_pace).values(channel_id=self._channel_id, **values).on_conflict_do_nothing())
            sent_at = time.monotonic()
            row = db.execute(query.with_for_update(of=_pace)).one()
        self.clock.measure(sent_at=sent_at, answered_at=time.monotonic(), database_now=row.now)
        return row, rules.CEILING_PER_S if row.ceiling is None else row.ceiling

    def _put_pace(self, db: sa.Connection, pace: rules.Pace) -> None:
        db.execute(
            _pace.update()
            .where(_pace.c.channel_id == self._channel_id)
            .values(next_at=pace.next_at, rate=pace.rate, changed_at=pace.changed_at, paused_until=pace.paused_until)
        )

    # --- GETs -----------------------------------------------------------------------------------------------------

    def hold(self, *, for_s: float) -> int | rules.Full | rules.Closed:
        """A credit for one GET, or why there is none.

        Args:
            for_s: until when its outcome will be known at the latest; a holder that says nothing until then has spent it.
        """
        with self._store.write() as db:
            decision, now, _ = self._look(db)
            if not isinstance(decision, rules.Open):
                return decision
            held = db.execute(_credit.insert().values(channel_id=self._channel_id, deadline=now + for_s).returning(_credit.c.id))
            return int(held.scalar_one())

    def give_back(self, credit: int) -> None:
        """The GET succeeded, or nothing was sent."""
        with self._store.write() as db:
            db.execute(_credit.delete().where(_credit.c.id == credit))

    def spend(self, credit: int) -> None:
        """The GET failed, or nobody knows: the credit is gone for the length of the window, from now."""
        with self._store.write() as db:
            db.execute(_credit.update().where(_credit.c.id == credit).values(spent_at=self._store.now.element))

    def close(self, *, for_s: float | None) -> float:
        """A block was seen: no GET until it ends (``for_s``; None for as long as the policy says); the instant of its end."""
        with self._store.write() as db:
            _, now, budget = self._look(db)
            until = now + (budget.block_s if for_s is None else for_s)
            db.execute(
                _retrieval.update()
                .where(_retrieval.c.channel_id == self._channel_id, _retrieval.c.closed_until < until)
                .values(closed_until=until)
            )
        return float(until)

    def retrieval(self) -> tuple[rules.Open | rules.Full | rules.Closed, float]:
        """Whether a GET may be sent now, and the present instant. Reads only."""
        with self._store.read() as db:
            decision, now, _ = self._look(db, lock=False)
        return decision, now

    def _look(
        self, db: sa.Connection, *, lock: bool = True
    ) -> tuple[rules.Open | rules.Full | rules.Closed, float, rules.Budget]:
        query = sa.select(_retrieval.c.closed_until, self._store.now).where(_retrieval.c.channel_id == self._channel_id)
        row = db.execute(query.with_for_update() if lock else query).first()
        if row is None and lock:
            values = {"channel_id": self._channel_id, "closed_until": 0.0}
            db.execute(insert_for(self._store)(_retrieval).values(**values).on_conflict_do_nothing())
            row = db.execute(query.with_for_update()).one()
        now = row.now if row is not None else db.execute(sa.select(self._store.now)).scalar_one()
        budget = self._budget(db, now)
        if lock:
            old = sa.func.coalesce(_credit.c.spent_at, _credit.c.deadline) <= now - budget.window_s
            db.execute(_credit.delete().where(_credit.c.channel_id == self._channel_id, old))
        found = db.execute(sa.select(_credit.c.deadline, _credit.c.spent_at).where(_credit.c.channel_id == self._channel_id))
        on_record = [rules.Credit(deadline, spent_at) for deadline, spent_at in found]
        closed_until = row.closed_until if row is not None else 0.0
        return rules.decide_retrieval(on_record, closed_until=closed_until, budget=budget, now=now), now, budget

    def _budget(self, db: sa.Connection, now: float) -> rules.Budget:
        """What the channel's connections leave: the strictest counts."""
        said = db.execute(sa.select(_connection.c.throttle, _connection.c.error_budget).where(*self._says(now))).all()
        rule = rules.DOCUMENTED if said and all(throttle == "documented" for throttle, _ in said) else rules.STRICT
        max_errors = min([rule.max_errors, *(budget for _, budget in said if budget is not None)])
        return rules.Budget(max_errors, rule.window_s, rule.block_s)

    def _says(self, now: Any) -> tuple[sa.ColumnElement[bool], ...]:
        """The connections that speak for the channel and have been used lately."""
        return _connection.c.channel_id == self._channel_id, _connection.c.policy_at > now - POLICY_LIFE_S
