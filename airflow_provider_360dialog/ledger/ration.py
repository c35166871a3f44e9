"""One channel's ration, shared by everybody who shares the ledger: instants for uploads, credits for GETs."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import rules, schema
from airflow_provider_360dialog.ledger.channels import POLICY_LIFE_S
from airflow_provider_360dialog.ledger.clock import SETTLED, clock_of
from airflow_provider_360dialog.ledger.upsert import insert_for

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store

_pace, _retrieval, _credit, _connection = schema.pace, schema.retrieval, schema.credit, schema.connection


@dataclass(frozen=True)
class _Say:
    """What a channel's connections say of uploads, the strictest of them: the highest rate, and whether failures cost budget."""

    ceiling: float
    failures_count: bool


class _Found(TypedDict):
    credits_: list[rules.Credit]
    closed_until: float
    budget: rules.Budget
    now: float


class Ration:
    """One channel's instants and credits.

    Args:
        store: an opened ledger. channel_id: the channel's row.
    """

    def __init__(self, store: Store, channel_id: int) -> None:
        self._store, self._channel_id = store, channel_id
        self.clock = clock_of(store)

    # --- uploads --------------------------------------------------------------------------------------------------

    def reserve(self, *, max_wait_s: float = rules.LONGEST_WAIT_S) -> rules.Turn | rules.Closed:
        """The turn of one upload. Whoever cannot use it within 18 ms of its instant lets it go and reserves another.

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
            pace, say, now = self._paced(db)
            turn, after = rules.reserve(pace, now=now, ceiling=say.ceiling)
            if turn.at - now > max_wait_s:
                return rules.Closed(until=turn.at)
            self._put_pace(db, after)
        return replace(turn, costs_credit=say.failures_count)

    def stands(self, turn: rules.Turn) -> bool:
        """Whether a turn may still be used; False where an upload of the channel was refused since. Reads only."""
        with self._store.read() as db:
            sent_at = time.monotonic()
            row = db.execute(sa.select(_pace, self._store.now).where(_pace.c.channel_id == self._channel_id)).one()
            self.clock.measure(sent_at=sent_at, answered_at=time.monotonic(), database_now=row.now)
        return rules.stands(turn, _pace_of(row))

    def refused(self, *, pause_s: float | None) -> float:
        """An upload was refused as too many: slower, and paused for ``pause_s`` where 360dialog said so; the rate now."""
        with self._store.write() as db:
            pace, say, now = self._paced(db)
            pause_until = None if pause_s is None else now + pause_s
            after = rules.slow_down(pace, now=now, pause_until=pause_until, ceiling=say.ceiling)
            self._put_pace(db, after)
        return after.rate

    def rate(self) -> float:
        """Uploads per second that are allowed now; 0 during a pause. Reads only."""
        with self._store.read() as db:
            now = db.execute(sa.select(self._store.now)).scalar_one()
            row = db.execute(sa.select(_pace).where(_pace.c.channel_id == self._channel_id)).first()
            lowest = db.scalar(sa.select(sa.func.min(_connection.c.uploads_per_second)).where(*self._says(now)))
        pace = rules.fresh(now) if row is None else _pace_of(row)
        if now < pace.paused_until <= now + rules.LONGEST_PAUSE_S:
            return 0.0
        return min(pace.rate_at(now), rules.CEILING_PER_S if lowest is None else lowest)

    def _settle_clock(self) -> None:
        """Ask for the time alone: an answer that had to wait for a lock says little of when it was made."""
        with self._store.read() as db:
            db.execute(sa.select(self._store.now))  # the connection is warm
            for _ in range(SETTLED):
                sent_at = time.monotonic()
                now = db.execute(sa.select(self._store.now)).scalar_one()
                self.clock.measure(sent_at=sent_at, answered_at=time.monotonic(), database_now=now)

    def _paced(self, db: sa.Connection) -> tuple[rules.Pace, _Say, float]:
        """The channel's pace, locked; what its connections say of uploads; the present instant."""
        said = self._says(self._store.now.element)
        lowest = sa.select(sa.func.min(_connection.c.uploads_per_second)).where(*said).scalar_subquery()
        counting = sa.exists().where(*said, _connection.c.count_failed_uploads)
        query = sa.select(_pace, self._store.now, lowest.label("lowest"), counting.label("counting"))
        query = query.where(_pace.c.channel_id == self._channel_id)
        sent_at = time.monotonic()
        row = db.execute(query.with_for_update(of=_pace)).first()
        if row is None:
            fresh = rules.fresh(db.execute(sa.select(self._store.now)).scalar_one())
            values = {"channel_id": self._channel_id, **asdict(fresh)}
            db.execute(insert_for(self._store)(_pace).values(**values).on_conflict_do_nothing())
            sent_at = time.monotonic()
            row = db.execute(query.with_for_update(of=_pace)).one()
        self.clock.measure(sent_at=sent_at, answered_at=time.monotonic(), database_now=row.now)
        return _pace_of(row), _Say(rules.CEILING_PER_S if row.lowest is None else row.lowest, bool(row.counting)), row.now

    def _put_pace(self, db: sa.Connection, pace: rules.Pace) -> None:
        db.execute(_pace.update().where(_pace.c.channel_id == self._channel_id).values(**asdict(pace)))

    # --- GETs -----------------------------------------------------------------------------------------------------

    def hold(self, *, for_s: float, by_webhook_url: bool = False) -> int | rules.Retrieval:
        """A credit for one GET, or why there is none.

        Args:
            for_s: until when its outcome will be known at the latest; a holder that says nothing until then has spent it.
            by_webhook_url: for a download through the URL that a webhook brought.
        """
        with self._store.write() as db:
            found = self._look(db)
            decision = rules.decide_retrieval(by_webhook_url=by_webhook_url, **found)
            if not isinstance(decision, rules.Open):
                return decision
            values = {"channel_id": self._channel_id, "deadline": found["now"] + for_s, "by_webhook_url": by_webhook_url}
            held = db.execute(_credit.insert().values(**values).returning(_credit.c.id))
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
        """A block was seen: no GET until it ends (``for_s``; None: as long as the policy says); when it opens."""
        with self._store.write() as db:
            found = self._look(db)
            of_channel = _retrieval.c.channel_id == self._channel_id
            standing = db.execute(sa.select(_retrieval.c.closed_until).where(of_channel)).scalar_one()
            until = max(standing, found["now"] + (found["budget"].block_s if for_s is None else for_s))
            db.execute(_retrieval.update().where(of_channel).values(closed_until=until))
        return float(until)

    def retrieval(self) -> tuple[rules.Retrieval, float]:
        """Whether a GET may be sent now, and the present instant. Reads only."""
        with self._store.read() as db:
            found = self._look(db, lock=False)
        return rules.decide_retrieval(**found), found["now"]

    def credits_left(self) -> int:
        """How many more GETs may fail now. Reads only."""
        with self._store.read() as db:
            return rules.credits_left(**self._look(db, lock=False))

    def _look(self, db: sa.Connection, *, lock: bool = True) -> _Found:
        """What the rules want to know."""
        query = sa.select(_retrieval.c.closed_until).where(_retrieval.c.channel_id == self._channel_id)
        row = db.execute(query.with_for_update() if lock else query).first()
        if row is None and lock:
            values = {"channel_id": self._channel_id, "closed_until": 0.0}
            db.execute(insert_for(self._store)(_retrieval).values(**values).on_conflict_do_nothing())
            row = db.execute(query.with_for_update()).one()
        now = db.execute(sa.select(self._store.now)).scalar_one()  # after the lock, for which it may have waited
        budget = self._budget(db, now)
        if lock:
            old = sa.func.coalesce(_credit.c.spent_at, _credit.c.deadline) <= now - budget.window_s
            db.execute(_credit.delete().where(_credit.c.channel_id == self._channel_id, old))
        columns = (_credit.c.deadline, _credit.c.spent_at, _credit.c.by_webhook_url)
        on_record = db.execute(sa.select(*columns).where(_credit.c.channel_id == self._channel_id))
        return {
            "credits_": [rules.Credit(*each) for each in on_record],
            "closed_until": row.closed_until if row is not None else 0.0,
            "budget": budget,
            "now": now,
        }

    def _budget(self, db: sa.Connection, now: float) -> rules.Budget:
        """What the channel's connections leave: the strictest counts."""
        said = db.execute(sa.select(_connection.c.throttle, _connection.c.error_budget).where(*self._says(now))).all()
        rule = rules.DOCUMENTED if said and all(throttle == "documented" for throttle, _ in said) else rules.STRICT
        max_errors = min([rule.max_errors, *(budget for _, budget in said if budget is not None)])
        return rules.Budget(max_errors, rule.window_s, rule.block_s)

    def _says(self, now: Any) -> tuple[sa.ColumnElement[bool], ...]:
        """The connections that speak for the channel and have been used lately."""
        return _connection.c.channel_id == self._channel_id, _connection.c.policy_at > now - POLICY_LIFE_S


def _pace_of(row: sa.Row[Any]) -> rules.Pace:
    return rules.Pace(row.next_at, rate=row.rate, line=row.line, refused_at=row.refused_at, paused_until=row.paused_until)
