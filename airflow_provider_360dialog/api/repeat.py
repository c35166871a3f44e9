"""When the same call is made again within a task. `tenacity` counts and sleeps; the rules are a table.

Only faults that can pass are repeated: no connection, a cut-off exchange, 5xx, an unreadable success, a throttle that says how
long. A plain 400, 401, 403 or 404 is never sent twice. An answer that may cost error budget is asked for once more at most.
"""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import tenacity

from airflow_provider_360dialog.exceptions import (
    AnswerUnreadableError,
    Dialog360Error,
    InterruptedExchangeError,
    ServerError,
    StoppedError,
    ThrottledError,
    UnreachableError,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from airflow_provider_360dialog.api.messages import Operation

T = TypeVar("T")

log = logging.getLogger(__name__)

LONGEST_WAIT_S: Final = 60.0
LONGEST_BLOCK_S: Final = 10.0
"""A block of retrieval that lasts longer is no business of a worker that sleeps."""
_LONGEST_CALL_S: Final = 600.0
_AFTER_S: Final = (0.1, 1.0)

# How many further attempts each fault is worth (needs F30 to F47), counted over all faults of one call: what comes after three
# attempts is repeated only where its own number is higher. An unreachable host saw nothing, so it costs nothing.
FURTHER_ATTEMPTS: Final[Mapping[Operation, Mapping[type[Dialog360Error], int]]] = {
    "upload": {
        UnreachableError: 5,
        InterruptedExchangeError: 2,
        ServerError: 4,
        AnswerUnreadableError: 2,
        ThrottledError: 5,
    },
    "fetch": {
        UnreachableError: 5,
        InterruptedExchangeError: 1,
        ServerError: 1,
        AnswerUnreadableError: 1,
        ThrottledError: 1,
    },
    "download": {
        UnreachableError: 5,
        InterruptedExchangeError: 2,
        ServerError: 1,
        AnswerUnreadableError: 1,
        ThrottledError: 1,
    },
    "delete": {
        UnreachableError: 5,
        InterruptedExchangeError: 3,
        ServerError: 3,
        AnswerUnreadableError: 3,
        ThrottledError: 3,
    },
    "health": {UnreachableError: 1},
}

_backoff = tenacity.wait_random_exponential(multiplier=1, max=30, min=0.5)


def repeat(
    attempt: Callable[[], T | Dialog360Error],
    *,
    operation: Operation,
    stop: threading.Event,
    now: Callable[[], datetime],
) -> T | Dialog360Error:
    """Call ``attempt`` until it succeeds, or fails for good, or its faults are used up; the last outcome, as data.

    Args:
        attempt: one try; errors as values. operation: whose rules count.
        stop: set when the task is told to end: waiting ends at once and nothing more is sent. now: aware UTC clock.
    """

    def is_worth_it(state: tenacity.RetryCallState) -> bool:
        outcome = _outcome(state)
        return isinstance(outcome, Dialog360Error) and wait_s(operation, outcome, state.attempt_number, now=now()) is not None

    def wait(state: tenacity.RetryCallState) -> float:
        outcome = _outcome(state)
        assert isinstance(outcome, Dialog360Error)  # noqa: S101 - only such outcomes are waited for
        least_s = wait_s(operation, outcome, state.attempt_number, now=now()) or 0.0
        if isinstance(outcome, ThrottledError):  # all who were refused together were told the same instant
            least_s += random.uniform(*_AFTER_S)  # noqa: S311 - spreads, hides nothing
        return max(least_s, _backoff(state))

    def tell(state: tenacity.RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        log.warning("%s: attempt %d failed, next in %.1f s: %s", operation, state.attempt_number, seconds, _outcome(state))

    def guarded() -> T | Dialog360Error:
        return StoppedError(operation=operation) if stop.is_set() else attempt()

    controller = tenacity.Retrying(
        retry=is_worth_it,
        wait=wait,
        stop=tenacity.stop_after_delay(_LONGEST_CALL_S),
        sleep=tenacity.sleep_using_event(stop),
        before_sleep=tell,
        retry_error_callback=_outcome,
    )
    return controller(guarded)


def wait_s(operation: Operation, error: Dialog360Error, attempts: int, *, now: datetime) -> float | None:
    """At least how long to wait before the next attempt, float seconds; None where there is none. Pure.

    Args:
        operation: whose rules count. error: what the last attempt gave. attempts: how many there were.
    """
    if attempts > FURTHER_ATTEMPTS[operation].get(type(error), 0):
        return None
    if isinstance(error, ThrottledError):
        floor = error.retry_at
        if operation == "upload":
            floor = max(floor, now + timedelta(seconds=min(2.0**attempts, LONGEST_WAIT_S)))
        seconds = max(0.0, (floor - now).total_seconds())
        if operation in {"fetch", "download"} and seconds > LONGEST_BLOCK_S:
            return None
    elif isinstance(error, ServerError) and error.retry_after_s is not None:
        seconds = error.retry_after_s
    else:
        return 0.0
    return seconds if seconds <= LONGEST_WAIT_S else None


def _outcome(state: tenacity.RetryCallState) -> object:
    return state.outcome.result() if state.outcome is not None else None
