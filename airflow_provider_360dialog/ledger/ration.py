"""One channel's ration, shared by everybody who shares the ledger: instants for uploads, credits for GETs."""

from __future__ import annotations

import math
import os
import secrets
import threading
import time
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import Dialog360Error
from airflow_provider_360dialog.ledger import rules, schema
from airflow_provider_360dialog.ledger.channels import POLICY_LIFE_S
from airflow_provider_360dialog.ledger.clock import SETTLED, clock_of
from airflow_provider_360dialog.ledger.statements import PACE
from airflow_provider_360dialog.ledger.upsert import insert_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_360dialog.ledger.store import Store

_pace, _retrieval, _credit, _connection = schema.pace, schema.retrieval, schema.credit, schema.connection

_HEARD_S: Final = 0.05


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


@dataclass(eq=False)
class _Wish:
    """Of one thread for one turn. ``answer``: None until it is known."""

    max_wait_s: float
    answer: rules.Turn | rules.Closed | Dialog360Error | None = None


@dataclass
class _Desk:
    """Where the threads of a process ask for turns of a channel: while one asks, the others gather, and then one asks for all.

    So a process waits for the channel's row once, however many threads it has, and what a turn costs falls where many are wanted.
    """

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _is_asking: bool = False
    _wishes: list[_Wish] = field(default_factory=list)
    _seen: tuple[float, rules.Pace | None] = (-math.inf, None)

    def take(self, wish: _Wish, ask: Callable[[Sequence[_Wish]], None]) -> rules.Turn | rules.Closed:
        """The answer to a wish. ``ask``: answers all that have gathered, or raises."""
        with self._changed:
            self._wishes.append(wish)
            self._changed.wait_for(lambda: wish.answer is not None or not self._is_asking)
            if wish.answer is None:
                self._is_asking, wishes, self._wishes = True, self._wishes, []
            else:
                wishes = []
        if wishes:
            self._ask(ask, wishes, wish)
        if isinstance(wish.answer, Dialog360Error):
            raise copy(wish.answer)
        assert wish.answer is not None  # noqa: S101 - `_ask` has raised, or all are answered
        return wish.answer

    def see(self, pace: rules.Pace, asked_at: float) -> rules.Pace:
        """What the ledger says, to a question of this monotonic instant."""
        self._seen = (asked_at, pace)
        return pace

    def seen(self, within_s: float) -> rules.Pace | None:
        """The pace, where the ledger has said it so lately."""
        seen_at, pace = self._seen
        return pace if time.monotonic() - seen_at < within_s else None

    def _ask(self, ask: Callable[[Sequence[_Wish]], None], wishes: list[_Wish], mine: _Wish) -> None:
        try:
            ask(wishes)
        except Dialog360Error as error:  # what the ledger says to one it says to all
            for each in wishes:
                each.answer = error.with_traceback(None)
        finally:  # whatever else ends this thread is not the others' affair
            with self._changed:
                self._is_asking = False
                self._wishes += [each for each in wishes if each.answer is None and each is not mine]
                self._changed.notify_all()


_desks: WeakKeyDictionary[Store, dict[int, _Desk]] = WeakKeyDictionary()
_desks_lock = threading.Lock()


def _desk_of(store: Store, channel_id: int) -> _Desk:
    with _desks_lock:
        return _desks.setdefault(store, {}).setdefault(channel_id, _Desk())


def _forget_desks() -> None:
    """In a forked child: who asks and who waits are threads of the parent."""
    global _desks_lock  # noqa: PLW0603 - it may be held by a thread that does not exist here
    _desks_lock = threading.Lock()
    _desks.clear()


os.register_at_fork(after_in_child=_forget_desks)


class Ration:
    """One channel's instants and credits.

    Args:
        store: an opened ledger. channel_id: the channel's row.
    """

    def __init__(self, store: Store, channel_id: int) -> None:
        self._store, self._channel_id = store, channel_id
        self.clock = clock_of(store)
        self._desk = _desk_of(store, channel_id)

    # --- uploads --------------------------------------------------------------------------------------------------

    def reserve(self, *, max_wait_s: float = rules.LONGEST_WAIT_S) -> rules.Turn | rules.Closed:
        """The turn of one upload. Whoever cannot use it within 18 ms of its instant lets it go and reserves another.

        Args:
            max_wait_s: at most 60; where the instant lies further ahead, nothing is reserved, and the answer says from when it is
                worth asking again.
        """
        return self._desk.take(_Wish(max_wait_s), self._reserve)

    def _reserve(self, wishes: Sequence[_Wish]) -> None:
        """Answer them all in one transaction."""
        if not self.clock.is_settled:
            self._settle_clock()
        answers: list[rules.Turn | rules.Closed] = []
        with self._store.write() as db:
            if self._store.dialect == "postgresql":
                # An instant that a crash of the server forgets does no harm; waiting for the disk would make it late.
                db.execute(sa.text("SET LOCAL synchronous_commit = off"))
            found, say, now = self._paced(db)
            pace = found
            for wish in wishes:
                turn, after = rules.reserve(pace, now=now, ceiling=say.ceiling)
                if turn.at - now > wish.max_wait_s:
                    answers.append(rules.Closed(until=turn.at))
                else:
                    answers.append(replace(turn, costs_credit=say.failures_count))
                    pace = after
            if pace is not found:
                self._put_pace(db, pace)
        for wish, answer in zip(wishes, answers, strict=True):
            wish.answer = answer

    def stands(self, turn: rules.Turn) -> bool:
        """Whether a turn may still be used; False where an upload of the channel was refused since.

        Reads only, and only where this process has not heard of the pace within 50 ms: a refusal takes longer to come back.
        """
        pace = self._desk.seen(_HEARD_S)
        if pace is None:
            with self._store.read() as db:
                sent_at = time.monotonic()
                row = db.execute(self._store.statements.pace, {"b_channel": self._channel_id}).one()
                self.clock.measure(sent_at=sent_at, answered_at=time.monotonic(), database_now=row.now)
            pace = self._desk.see(_pace_of(row), sent_at)
        return rules.stands(turn, pace)

    def refused(self, *, pause_s: float | None) -> float:
        """An upload was refused as too many: slower, and paused for ``pause_s`` where 360dialog said so; the rate now."""
        with self._store.write() as db:
            pace, say, now = self._paced(db)
            pause_until = None if pause_s is None else now + pause_s
            after = rules.slow_down(pace, now=now, pause_until=pause_until, ceiling=say.ceiling)
            self._put_pace(db, after)
        self._desk.see(after, time.monotonic())
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
        query, which = self._store.statements.paced, {"b_channel": self._channel_id}
        sent_at = time.monotonic()
        row = db.execute(query, which).first()
        if row is None:
            fresh = rules.fresh(db.execute(sa.select(self._store.now)).scalar_one())
            values = {"channel_id": self._channel_id, **asdict(fresh)}
            db.execute(insert_for(self._store)(_pace).values(**values).on_conflict_do_nothing())
            sent_at = time.monotonic()
            row = db.execute(query, which).one()
        self.clock.measure(sent_at=sent_at, answered_at=time.monotonic(), database_now=row.now)
        pace = self._desk.see(_pace_of(row), sent_at)
        return pace, _Say(rules.CEILING_PER_S if row.lowest is None else row.lowest, bool(row.counting)), row.now

    def _put_pace(self, db: sa.Connection, pace: rules.Pace) -> None:
        values = {f"b_{name}": getattr(pace, name) for name in PACE}
        db.execute(self._store.statements.put_pace, {"b_channel": self._channel_id, **values})

    # --- GETs -----------------------------------------------------------------------------------------------------

    def hold(self, *, for_s: float, by_webhook_url: bool = False, number: int | None = None) -> int | rules.Retrieval:
        """A credit for one GET, or why there is none.

        Args:
            for_s: until when its outcome will be known at the latest; a holder that says nothing until then has spent it.
            by_webhook_url: for a download through the URL that a webhook brought.
            number: of the credit, `new_credit`; who asks again with the same, not knowing whether the first time was committed,
                holds one and not two. None for who does not ask again.
        """
        with self._store.write() as db:
            found = self._look(db)
            if number is not None and self._hold_on(db, number, found["now"] + for_s):
                return number
            decision = rules.decide_retrieval(by_webhook_url=by_webhook_url, **found)
            if not isinstance(decision, rules.Open):
                return decision
            values: dict[str, Any] = {"channel_id": self._channel_id, "deadline": found["now"] + for_s}
            values["by_webhook_url"] = by_webhook_url
            values |= {} if number is None else {"id": number}
            held = db.execute(_credit.insert().values(**values).returning(_credit.c.id))
            return int(held.scalar_one())

    def _hold_on(self, db: sa.Connection, credit: int, deadline: float) -> bool:
        """Whether a credit is on record already, where the answer was lost on its way; it counts once, from the new deadline."""
        held = sa.and_(_credit.c.id == credit, _credit.c.spent_at.is_(None))
        return bool(db.execute(_credit.update().where(held).values(deadline=deadline)).rowcount)

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


def new_credit() -> int:
    """A number that no credit has had."""
    return secrets.randbits(62)


def _pace_of(row: sa.Row[Any]) -> rules.Pace:
    return rules.Pace(row.next_at, rate=row.rate, line=row.line, refused_at=row.refused_at, paused_until=row.paused_until)
