"""What every job needs to call 360dialog: the wire, a clock, a flag to stop."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_360dialog.api.client import utc_now
from airflow_provider_360dialog.api.repeat import repeat
from airflow_provider_360dialog.exceptions import Dialog360Error

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.api.messages import Operation

T = TypeVar("T")


@dataclass(frozen=True)
class Calls:
    """One channel's wire, with its bounds of patience.

    Attributes:
        api: one attempt each. now: aware UTC clock. stop: set when the task is told to end.
    """

    api: MediaApi
    now: Callable[[], datetime] = utc_now
    stop: threading.Event = field(default_factory=threading.Event)

    def outcome(self, operation: Operation, attempt: Callable[[], T | Dialog360Error]) -> T | Dialog360Error:
        """Repeat within the table's bounds; the last outcome, as data."""
        return repeat(attempt, operation=operation, stop=self.stop, now=self.now)

    def result(self, operation: Operation, attempt: Callable[[], T | Dialog360Error]) -> T:
        """The same, raised where it is an error."""
        outcome = self.outcome(operation, attempt)
        if isinstance(outcome, Dialog360Error):
            raise outcome
        return outcome
