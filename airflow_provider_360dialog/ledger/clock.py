"""The database's clock, told from here without asking it each time."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store

_JUMP_S: Final = 0.005
SETTLED: Final = 6
"""Measurements that are enough."""


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
        return len(self._measured) >= SETTLED

    def now(self) -> float:
        """The database's present instant, as far as can be told from here."""
        return time.monotonic() + min(self._measured)[1]


_clocks: WeakKeyDictionary[Store, Clock] = WeakKeyDictionary()
_clocks_lock = threading.Lock()


def clock_of(store: Store) -> Clock:
    """This process's clock for a ledger."""
    with _clocks_lock:
        return _clocks.setdefault(store, Clock())
