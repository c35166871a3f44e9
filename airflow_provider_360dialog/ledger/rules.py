"""The arithmetic of the ration: when the next upload may leave, whether one more GET may be risked. Pure.

All instants are float seconds by the ledger database's clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

USE_BY_S: Final = 0.018
"""How late an upload may leave after its instant; later, the instant is forfeited."""
CEILING_PER_S: Final = 25 / 1.02
"""360dialog takes 25 a second. Spaced so, 25 gaps are 1.02 s: no second holds 26 while each leaves at most 20 ms late. 24.5."""
FLOOR_PER_S: Final = 0.5
LESS: Final = 0.94
"""What a refusal leaves of the rate: the most that arrivals can hold that scatter over 0.1 s."""
MUCH_LESS: Final = 0.7
"""What is left where the lowered rate is refused as well, for then somebody else uses the number too."""
AGAIN_WITHIN_S: Final = 5.0
SLOW_DOWN_EVERY_S: Final = 1.0
CLIMB_S: Final = 10.0
FIRST_PER_S: Final = 23.5
"""From which a new channel climbs to the ceiling."""
PROBE: Final = 0.0005
PROBE_LATER: Final = 0.002
PROBE_LATER_S: Final = 120.0
LONGEST_PAUSE_S: Final = 900.0
LONGEST_WAIT_S: Final = 60.0
"""Nobody reserves an instant that lies further ahead."""


@dataclass(frozen=True)
class Pace:
    """One channel's uploads.

    Attributes:
        next_at: the first instant that nobody has reserved. refused_at: when 360dialog last refused one as too many; 0 for never.
        rate: uploads per second right after that. line: the rate that is believed to hold.
        paused_until: no upload before this instant.
    """

    next_at: float
    rate: float = CEILING_PER_S
    line: float = CEILING_PER_S
    refused_at: float = 0.0
    paused_until: float = 0.0

    def rate_at(self, now: float) -> float:
        """Uploads per second that are allowed now: ten quiet seconds bring the rate to the line; then the line rises."""
        quiet_s = max(0.0, now - self.refused_at)
        if quiet_s < CLIMB_S:
            return self.rate + (self.line - self.rate) * quiet_s / CLIMB_S
        probed_s = quiet_s - CLIMB_S
        growth = PROBE * min(probed_s, PROBE_LATER_S) + PROBE_LATER * max(0.0, probed_s - PROBE_LATER_S)
        return min(CEILING_PER_S, self.line * math.exp(min(growth, 10.0)))


def fresh(now: float) -> Pace:
    """The pace of a channel of which nothing is known: nearly the ceiling, as if it had been refused a while ago.

    If arrivals scatter, the first refusal then comes at a rate at which a second one cannot follow before the first is known.
    """
    return Pace(next_at=now, rate=FIRST_PER_S, refused_at=now - AGAIN_WITHIN_S)


@dataclass(frozen=True)
class Turn:
    """The right to send one upload.

    Attributes:
        at: its instant; it may leave `USE_BY_S` later at most. reserved_at: when it was given. A refusal or a pause that comes
        after that takes it back. costs_credit: whether it has to hold a credit as well, because failed uploads count.
    """

    at: float
    reserved_at: float
    costs_credit: bool = False


def reserve(pace: Pace, *, now: float, ceiling: float) -> tuple[Turn, Pace]:
    """The turn of one upload, and the pace after it.

    Instants that lie more than a minute ahead of both clock and pause come of a clock that jumped back: they are let go.
    """
    allowed = min(pace.rate_at(now), ceiling)
    paused_until = pace.paused_until if pace.paused_until <= now + LONGEST_PAUSE_S else 0.0
    next_at = pace.next_at
    if next_at > max(now, paused_until) + LONGEST_WAIT_S + 2 / allowed:
        next_at = now
    at = max(next_at, now, paused_until)
    after = replace(pace, next_at=at + 1 / allowed, paused_until=paused_until, refused_at=min(pace.refused_at, now))
    return Turn(at, reserved_at=now), after


def stands(turn: Turn, pace: Pace) -> bool:
    """Whether a turn may still be used: nothing was refused and no pause was asked for since it was given."""
    return pace.refused_at < turn.reserved_at and pace.paused_until <= turn.at


def slow_down(pace: Pace, *, now: float, pause_until: float | None = None, ceiling: float = CEILING_PER_S) -> Pace:
    """The pace after a refusal: slower, at most once a second however many refusals come back together; paused where told so.

    Every turn that was given before is taken back, so their instants are free again.
    """
    paused_until = pace.paused_until
    if pause_until is not None:
        paused_until = max(paused_until, min(pause_until, now + LONGEST_PAUSE_S))
    if 0 <= now - pace.refused_at < SLOW_DOWN_EVERY_S:
        return replace(pace, paused_until=paused_until)
    refused = min(pace.rate_at(now), ceiling)
    again = now - pace.refused_at < AGAIN_WITHIN_S
    rate = max(FLOOR_PER_S, refused * (MUCH_LESS if again else LESS))
    line = max(FLOOR_PER_S, refused * LESS)
    return Pace(next_at=now + 1 / rate, rate=rate, line=line, refused_at=now, paused_until=paused_until)


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


MOST_BY_WEBHOOK_URL: Final = 2
"""Credits that URLs of webhooks may spend: nobody says how long such a URL lives."""


@dataclass(frozen=True)
class Credit:
    """One credit on record: held by a request until ``deadline``, or spent at ``spent_at``.

    ``by_webhook_url``: by a download through the URL that a webhook brought.
    """

    deadline: float
    spent_at: float | None = None
    by_webhook_url: bool = False


@dataclass(frozen=True)
class Open:
    """One more GET may be sent."""


@dataclass(frozen=True)
class AskById:
    """URLs of webhooks have failed as often as they may."""


@dataclass(frozen=True)
class Full:
    """Every credit that is left is held by a request under way; one may come back at any time."""


@dataclass(frozen=True)
class Closed:
    """No GET before ``until``."""

    until: float


Retrieval: TypeAlias = Open | Full | Closed | AskById


def decide_retrieval(
    credits_: Sequence[Credit], *, closed_until: float, budget: Budget, now: float, by_webhook_url: bool = False
) -> Retrieval:
    """Whether one more GET may be risked.

    Args:
        credits_: all on record. closed_until: end of the last block. budget: the channel's. now: present instant.
        by_webhook_url: whether it is for a download through the URL that a webhook brought.
    """
    if closed_until > now:
        return Closed(until=closed_until)
    spent, held = _spent(credits_, budget, now), _held(credits_, now)
    if len(spent) >= budget.max_errors:
        return Closed(until=_spent_at(spent[len(spent) - budget.max_errors]) + budget.window_s)
    if by_webhook_url:
        failed = sum(each.by_webhook_url for each in spent)
        if failed >= MOST_BY_WEBHOOK_URL:
            return AskById()
        if failed + sum(each.by_webhook_url for each in held) >= MOST_BY_WEBHOOK_URL:
            return Full()
    return Full() if len(spent) + len(held) >= budget.max_errors else Open()


def credits_left(credits_: Sequence[Credit], *, closed_until: float, budget: Budget, now: float) -> int:
    """How many more GETs may fail now; those under way count as if they would. 0 during a block."""
    if closed_until > now:
        return 0
    return max(0, budget.max_errors - len(_spent(credits_, budget, now)) - len(_held(credits_, now)))


def _spent(credits_: Sequence[Credit], budget: Budget, now: float) -> list[Credit]:
    """Those that count within the window, in the order in which they were spent.

    A holder that has not been heard of by its deadline is dead: what it sent may have failed.
    """
    known = (each for each in credits_ if each.spent_at is not None or each.deadline <= now)
    return sorted((each for each in known if _spent_at(each) > now - budget.window_s), key=_spent_at)


def _held(credits_: Sequence[Credit], now: float) -> list[Credit]:
    return [each for each in credits_ if each.spent_at is None and each.deadline > now]


def _spent_at(credit: Credit) -> float:
    return credit.deadline if credit.spent_at is None else credit.spent_at
