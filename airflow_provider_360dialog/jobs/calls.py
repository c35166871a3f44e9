"""What every job needs: a channel's wire, its part of the ledger, a clock, a flag to stop."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_360dialog.api.client import utc_now
from airflow_provider_360dialog.api.repeat import repeat

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.api.messages import Operation
    from airflow_provider_360dialog.exceptions import Dialog360Error
    from airflow_provider_360dialog.ledger.channel import ChannelLedger

T = TypeVar("T")


@dataclass(frozen=True)
class Calls:
    """One channel's wire and memory, with its bounds of patience.

    Attributes:
        api: one attempt each. ledger: what is on record of the channel.
        now: aware UTC clock, for what concerns this process only; instants on record are the ledger's.
        stop: set when the task is told to end.
    """

    api: MediaApi
    ledger: ChannelLedger
    now: Callable[[], datetime] = utc_now
    stop: threading.Event = field(default_factory=threading.Event)

    def outcome(self, operation: Operation, attempt: Callable[[], T | Dialog360Error]) -> T | Dialog360Error:
        """Repeat within the table's bounds; the last outcome, as data."""
        return repeat(attempt, operation=operation, stop=self.stop, now=self.now)
