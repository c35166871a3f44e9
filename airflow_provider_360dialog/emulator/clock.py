"""The movable clock: real UTC plus an offset that an admin call pushes forward."""

from __future__ import annotations

import time
from collections.abc import Callable


class MovableClock:
    """Unix seconds that can be moved forward; media lives, URL lives and the error throttle go by it."""

    def __init__(self, offset_s: float = 0.0, *, real: Callable[[], float] = time.time) -> None:
        self._real = real
        self.offset_s = offset_s

    def now_s(self) -> float:
        """Return the emulated instant in Unix seconds."""
        return self._real() + self.offset_s

    def advance(self, seconds: float) -> float:
        """Move the clock forward and return the new instant.

        Raises:
            ValueError: `seconds` is negative: time that has been told cannot be taken back.
        """
        if seconds < 0:
            raise ValueError("the clock moves forward only")
        self.offset_s += seconds
        return self.now_s()
