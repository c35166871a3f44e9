"""The arithmetic of the ration: when the next upload may leave, whether one more GET may be risked. Pure.

All instants are float seconds by the ledger database's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

USE_BY_S: Final = 0.018
"""How late an upload may leave after its instant; later, the instant is forfeited."""
CEILING_PER_S: Final = 25 / 1.02
"""360dialog takes 25 a second. Spaced so, 25 gaps are 1.02 s: no second holds 26 while each leaves at most 20 ms late. 24.5."""
FLOOR_PER_S: Final = 0.5
SLOWER: Final = 0.7
SLOW_DOWN_EVERY_S: Final = 1.0
QUIET_S: Final = 10.0
FASTER_PER_S: Final = 0.5
LONGEST_PAUSE_S: Final = 900.0
LONGEST_WAIT_S: Final = 60.0
"""Nobody reserves an instant that lies further ahead."""


@dataclass(frozen=True)
class Pace:
    """One channel's uploads.

    Attributes:
        next_at: the first instant that nobody has reserved. rate: uploads per second. changed_at: when the rate last changed.
        paused_until: no upload before this instant.
    """

    next_at: float
    rate: float
    changed_at: float
    paused_until: float


def reserve(pace: Pace, *, now: float, ceiling: float) -> tuple[float, Pace]:
    """The instant at which one upload may leave, and the pace after it.

    Quiet raises the rate again: 0.5/s for each 10 s without a refusal, up to ``ceiling``. Instants that lie more than a minute
    ahead of both clock and pause come of a clock that jumped back: they are let go.
    """
    rate, changed_at = pace.rate, min(pace.changed_at, now)
    if rate < CEILING_PER_S and (steps := int((now - changed_at) / QUIET_S)) > 0:
        rate, changed_at = min(CEILING_PER_S, rate + steps * FASTER_PER_S), changed_at + steps * QUIET_S
    allowed = min(rate, ceiling)
    paused_until = pace.paused_until if pace.paused_until <= now + LONGEST_PAUSE_S else 0.0
    next_at = pace.next_at
    if next_at > max(now, paused_until) + LONGEST_WAIT_S + 2 / allowed:
        next_at = now
    at = max(next_at, now, paused_until)
    return at, Pace(next_at=at + 1 / allowed, rate=rate, changed_at=changed_at, paused_until=paused_until)


def slow_down(pace: Pace, *, now: float, pause_until: float | None = None, ceiling: float = CEILING_PER_S) -> Pace:
    """The pace after a refusal: slower, at most once a second however many refusals come back together; paused where told so."""
    paused_until = pace.paused_until
    if pause_until is not None:
        paused_until = max(paused_until, min(pause_until, now + LONGEST_PAUSE_S))
    if now - pace.changed_at < SLOW_DOWN_EVERY_S:
        return Pace(pace.next_at, pace.rate, pace.changed_at, paused_until)
    return Pace(pace.next_at, max(FLOOR_PER_S, min(pace.rate, ceiling) * SLOWER), now, paused_until)


@dataclass(frozen=True)
class Budget:
    """How many failed GETs a channel may afford.

    Attributes:
        max_errors: failed GETs and GETs in flight together. window_s: over which they count.
        block_s: how long a block lasts where 360dialog does not say.
    """

    max_errors: int
    window_s: float
    block_s: float


STRICT: Final = Budget(max_errors=4, window_s=3600.0, block_s=3600.0)
"""More than 5 failed requests in an hour: blocked for an hour. One is left as a margin."""
DOCUMENTED: Final = Budget(max_errors=18, window_s=3600.0, block_s=1800.0)
"""20 error responses in 60 minutes: blocked for 30 minutes. Two are left as a margin."""


@dataclass(frozen=True)
class Credit:
    """One credit on record: held by a request until ``deadline``, or spent at ``spent_at``."""

    deadline: float
    spent_at: float | None = None


@dataclass(frozen=True)
class Open:
    """One more GET may be sent."""


@dataclass(frozen=True)
class Full:
    """Every credit that is left is held by a request under way; one may come back at any time."""


@dataclass(frozen=True)
class Closed:
    """No GET before ``until``."""

    until: float


def decide_retrieval(credits_: Sequence[Credit], *, closed_until: float, budget: Budget, now: float) -> Open | Full | Closed:
    """Whether one more GET may be risked.

    Args:
        credits_: all on record. closed_until: end of the last block. budget: the channel's. now: present instant.
    """
    if closed_until > now:
        return Closed(until=closed_until)
    # A holder that has not been heard of by its deadline is dead: what it sent may have failed.
    known = (
        c.spent_at if c.spent_at is not None else c.deadline for c in credits_ if c.spent_at is not None or c.deadline <= now
    )
    spent_at = sorted(at for at in known if at > now - budget.window_s)
    held = sum(1 for c in credits_ if c.spent_at is None and c.deadline > now)
    if len(spent_at) >= budget.max_errors:
        return Closed(until=spent_at[len(spent_at) - budget.max_errors] + budget.window_s)
    return Full() if len(spent_at) + held >= budget.max_errors else Open()
