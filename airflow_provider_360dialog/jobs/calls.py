"""What every job needs: a channel's wire, its part of the ledger, a clock, a flag to stop."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import tenacity

from airflow_provider_360dialog.api.client import utc_now
from airflow_provider_360dialog.api.repeat import repeat
from airflow_provider_360dialog.exceptions import LedgerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.api.messages import Operation
    from airflow_provider_360dialog.exceptions import Dialog360Error
    from airflow_provider_360dialog.ledger.channel import ChannelLedger

T = TypeVar("T")

log = logging.getLogger(__name__)

PATIENCE_S: Final = 300.0
"""How long a ledger is waited for that does not answer."""


@dataclass(frozen=True)
class Calls:
    """One channel's wire and memory, with its bounds of patience.

    Attributes:
        api: one attempt each. ledger: what is on record of the channel.
        now: aware UTC clock, for what concerns this process only; instants on record are the ledger's.
        stop: set when the task is told to end.
        meter: is told of each attempt, with its operation and its outcome; must not raise.
    """

    api: MediaApi
    ledger: ChannelLedger
    now: Callable[[], datetime] = utc_now
    stop: threading.Event = field(default_factory=threading.Event)
    meter: Callable[[Operation, object], object] = lambda *_: None

    def outcome(self, operation: Operation, attempt: Callable[[], T | Dialog360Error]) -> T | Dialog360Error:
        """Repeat within the table's bounds; the last outcome, as data."""

        def metered() -> T | Dialog360Error:
            outcome = attempt()
            self.meter(operation, outcome)
            return outcome

        return repeat(metered, operation=operation, stop=self.stop, now=self.now)

    def patiently(self, ask: Callable[[], T]) -> T:
        """Ask the ledger; for five minutes, if need be, where it does not answer. Meanwhile nothing is sent.

        Raises:
            LedgerUnavailableError: it did not answer in all that time, or the task was told to end.
        """
        return patiently(ask, stop=self.stop)


def patiently(ask: Callable[[], T], *, stop: threading.Event) -> T:
    """`Calls.patiently` for those who have no channel."""
    controller = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(LedgerUnavailableError),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
        stop=tenacity.stop_after_delay(PATIENCE_S) | tenacity.stop_when_event_set(stop),
        sleep=tenacity.sleep_using_event(stop),
        before_sleep=_tell,
        reraise=True,
    )
    return controller(ask)


_TELL_EVERY_S: Final = 10.0
_told_at = [-math.inf]


def _tell(state: tenacity.RetryCallState) -> None:
    """Every ten seconds, however many threads ask."""
    if time.monotonic() - _told_at[0] < _TELL_EVERY_S:
        return
    _told_at[0] = time.monotonic()
    fault = state.outcome.exception() if state.outcome is not None else None
    log.warning("nothing is sent until the ledger answers: %s", fault)
