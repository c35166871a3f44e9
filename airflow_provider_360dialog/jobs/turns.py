"""Nothing is sent out of turn: an upload leaves at its instant, a GET holds a credit."""

from __future__ import annotations

import logging
import math
import random
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from airflow_provider_360dialog.exceptions import (
    CertificateError,
    ChannelClosedError,
    Dialog360Error,
    LedgerUnavailableError,
    RedirectRefusedError,
    StoppedError,
    ThrottledError,
    UnreachableError,
)
from airflow_provider_360dialog.jobs.identify import known_identity
from airflow_provider_360dialog.ledger.ration import Ration, new_credit
from airflow_provider_360dialog.ledger.rules import USE_BY_S, AskById, Closed, Full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_360dialog.api.messages import Operation
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ledger.rules import Turn
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import Channel

T = TypeVar("T")

log = logging.getLogger(__name__)

_LONGEST_QUEUE_S: Final = 60.0
_CONNECT_BEFORE_S: Final = 0.3
_LAST_LOOK_BEFORE_S: Final = 0.05
_FRESH_S: Final = 0.05
# Nothing reached 360dialog, or it answered with something that is no error.
_FREE: Final = (
    CertificateError,
    ChannelClosedError,
    LedgerUnavailableError,
    RedirectRefusedError,
    StoppedError,
    UnreachableError,
)


def upload_in_turn(
    calls: Calls, attempt: Callable[[Callable[[], Dialog360Error | None]], T | Dialog360Error], *, longest_s: float
) -> T | Dialog360Error:
    """One POST, at an instant that nobody else has. An instant that was missed is let go, for another may be using its second.

    Args:
        calls: the channel. attempt: the POST; it calls its argument when everything is ready to leave, and leaves when that
            returns; where it returns an error, nothing is sent, and that is the outcome.
        longest_s: by when its outcome is known at the latest; counts where failed uploads cost error budget.

    Returns:
        What the attempt gave; or, without sending, `ChannelClosedError` where uploads are paused for more than a minute.
    """
    turn = _take_turn(calls)
    if isinstance(turn, Dialog360Error):
        return turn
    line = _Line(calls, turn)
    if turn.costs_credit:
        wait_s = turn.at - turn.reserved_at + _LONGEST_QUEUE_S
        line.leave_within(wait_s)
        outcome = _with_credit(calls, "upload", lambda: line.go(attempt), wait_s + longest_s)
    else:
        outcome = line.go(attempt)
    if isinstance(outcome, ThrottledError):
        throttled = outcome
        rate = calls.patiently(lambda: calls.ledger.ration.refused(pause_s=throttled.retry_after_s))
        log.warning("360dialog refused an upload as too many: going on with %.1f a second", rate)
    return outcome


def _take_turn(calls: Calls) -> Turn | Dialog360Error:
    turn = calls.patiently(calls.ledger.ration.reserve)
    return _closed(calls, "upload", turn.until) if isinstance(turn, Closed) else turn


class _Line:
    """One upload on its way to its instant."""

    def __init__(self, calls: Calls, turn: Turn) -> None:
        self._calls, self._clock = calls, calls.ledger.ration.clock
        self._turn: Turn | None = turn
        self._leave_by = math.inf

    def leave_within(self, wait_s: float) -> None:
        """Later nothing may leave: the credit that it holds would lapse before the outcome is known."""
        self._leave_by = time.monotonic() + wait_s

    def go(self, attempt: Callable[[Callable[[], Dialog360Error | None]], T | Dialog360Error]) -> T | Dialog360Error:
        """Wait until it is time to connect; the rest is waited where the connection stands."""
        error = self._wait(self._turn.at - _CONNECT_BEFORE_S) if self._turn is not None else None
        return error or attempt(self._depart)

    def _depart(self) -> Dialog360Error | None:
        """Return at the instant; None where the upload may leave now."""
        try:
            while True:
                turn, self._turn = self._turn or _take_turn(self._calls), None
                if isinstance(turn, Dialog360Error):
                    return turn
                if time.monotonic() + turn.at - self._clock.now() > self._leave_by:
                    return _closed(self._calls, "upload", turn.at)
                error = self._wait(turn.at - _LAST_LOOK_BEFORE_S)
                if error is None and self._still_stands(turn):
                    error = self._wait(turn.at)
                    if error is None and self._clock.now() - turn.at <= USE_BY_S:
                        return None
                if error is not None:
                    return error
        except LedgerUnavailableError as unavailable:
            return unavailable.with_traceback(None)

    def _still_stands(self, turn: Turn) -> bool:
        """Whether nothing was refused since; also, that the ledger is there to be asked."""
        if self._clock.now() - turn.reserved_at < _FRESH_S:
            return True
        return self._calls.patiently(lambda: self._calls.ledger.ration.stands(turn))

    def _wait(self, at: float) -> Dialog360Error | None:
        wait_s = at - self._clock.now()
        stopped = self._calls.stop.wait(wait_s) if wait_s > 0 else self._calls.stop.is_set()
        return StoppedError(operation="upload") if stopped else None


def get_with_credit(
    calls: Calls, operation: Operation, attempt: Callable[[], T | Dialog360Error], *, longest_s: float
) -> T | Dialog360Error:
    """One GET under a credit, settled before anybody learns of the outcome.

    Args:
        calls: the channel. operation: fetch or download. attempt: the GET.
        longest_s: by when its outcome is known at the latest; a holder that dies has spent its credit by then.

    Returns:
        What the attempt gave; or, without sending, `ChannelClosedError` where the budget is used up or a block has been seen.
    """
    return _with_credit(calls, operation, _minding_throttle(calls, attempt), longest_s)


def get_by_webhook_url(calls: Calls, attempt: Callable[[], T | Dialog360Error], *, longest_s: float) -> T | Dialog360Error | None:
    """`get_with_credit` for a download through the URL that a webhook brought.

    Returns:
        None, without sending, where such URLs have failed as often as they may: ask by the id.
    """
    credit = _hold(calls, "download", longest_s, by_webhook_url=True)
    return None if credit is None else _under(credit, calls, _minding_throttle(calls, attempt))


def retrieval_opens_at(channel: Channel, *, store: Store, conn_id: str) -> datetime | None:
    """When a number's retrieval opens, by what is on record; None where it is open, or nothing is known of the number."""
    identity = known_identity(channel, store=store, conn_id=conn_id)
    if identity is None:
        return None
    decision, now = Ration(store, identity.channel_id).retrieval()
    if isinstance(decision, Closed):
        return _instant(decision.until)
    return _instant(now) if isinstance(decision, Full) else None


def _with_credit(
    calls: Calls, operation: Operation, attempt: Callable[[], T | Dialog360Error], longest_s: float
) -> T | Dialog360Error:
    credit = _hold(calls, operation, longest_s)
    assert credit is not None  # noqa: S101 - only for a webhook's URL there may be none
    return _under(credit, calls, attempt)


def _minding_throttle(calls: Calls, attempt: Callable[[], T | Dialog360Error]) -> Callable[[], T | Dialog360Error]:
    """The attempt of a GET; where it meets a block, that is put on record first."""

    def ask() -> T | Dialog360Error:
        outcome = attempt()
        if not isinstance(outcome, ThrottledError):
            return outcome
        throttled = outcome
        until = _instant(calls.patiently(lambda: calls.ledger.ration.close(for_s=throttled.retry_after_s)))
        log.warning("360dialog has blocked retrieval for this number: nothing is asked before %s", until.isoformat())
        return throttled.until(until)

    return ask


def _under(credit: int | Dialog360Error, calls: Calls, attempt: Callable[[], T | Dialog360Error]) -> T | Dialog360Error:
    if isinstance(credit, Dialog360Error):
        return credit
    with _spent_unless_settled(calls, credit) as settle:
        outcome = attempt()
        settle(isinstance(outcome, Dialog360Error) and not isinstance(outcome, _FREE))
    return outcome


@contextmanager
def _spent_unless_settled(calls: Calls, credit: int) -> Iterator[Callable[[bool], None]]:
    """Whatever happens inside, the credit is settled; where nobody says how, it is spent."""
    ration, settled = calls.ledger.ration, False

    def settle(failed: bool) -> None:
        nonlocal settled
        calls.patiently(lambda: ration.spend(credit) if failed else ration.give_back(credit))
        settled = True

    try:
        yield settle
    finally:
        if not settled:
            ration.spend(credit)


def _hold(calls: Calls, operation: Operation, longest_s: float, *, by_webhook_url: bool = False) -> int | Dialog360Error | None:
    """A credit; None where a webhook's URL may have none any more; or, as an error, why there is none at all."""
    ration, number = calls.ledger.ration, new_credit()
    gives_up_at = time.monotonic() + _LONGEST_QUEUE_S
    while True:
        held = calls.patiently(lambda: ration.hold(for_s=longest_s, by_webhook_url=by_webhook_url, number=number))
        if isinstance(held, int):
            return held
        if isinstance(held, AskById):
            return None
        if isinstance(held, Closed):
            return _closed(calls, operation, held.until)
        if time.monotonic() > gives_up_at and by_webhook_url:
            return None  # other downloads by such URLs take their time
        if time.monotonic() > gives_up_at:
            return _closed(calls, operation, calls.patiently(ration.retrieval)[1] + _LONGEST_QUEUE_S)
        if calls.stop.wait(random.uniform(0.02, 0.1)):  # noqa: S311 - spreads, hides nothing
            return StoppedError(operation=operation)


def _closed(calls: Calls, operation: Operation, until: float) -> ChannelClosedError:
    number = calls.ledger.identity.phone_number_id
    return ChannelClosedError(operation=operation, phone_number_id=number, retry_at=_instant(until))


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
