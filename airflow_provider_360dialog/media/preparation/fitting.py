"""Find the best setting whose result fits a limit, with few encodes: pure, the encoder is given.

The size of a picture grows about exponentially with what its settings weigh, so the search interpolates its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

_CLOSE: Final = 0.97  # of the limit: another encode would gain too little
_AIM: Final = 0.985
_SAFE_AIM: Final = 0.88  # where there is one encode left, and none has fitted


class TooLargeError(ValueError):
    """No setting that was tried makes the picture small enough."""

    def __init__(self, max_bytes: int, encodes: int) -> None:
        super().__init__(max_bytes, encodes)
        self.max_bytes, self.encodes = max_bytes, encodes

    def __str__(self) -> str:
        return f"it does not fit into {self.max_bytes:,} bytes after {self.encodes} encodes"


class Fit(NamedTuple):
    """The best result that fits: the setting that made it, and its bytes."""

    setting: int
    data: bytes


@dataclass(frozen=True)
class Dial:
    """A setting that can be turned.

    Attributes:
        settings: from the smallest result to the largest; every integer in between is allowed.
        weigh: of a setting; the logarithm of a result's size grows about linearly with it.
        slope: how fast, as a first guess.
        patience: encodes without any that fits, after which the lowest setting is tried.
    """

    settings: range
    weigh: Callable[[int], float]
    slope: float
    patience: int


class Fitting:
    """A search with a fixed number of encodes, over one dial or one after the other.

    Args:
        max_bytes: the limit; 0 for none. encodes: how many are allowed in all.
    """

    def __init__(self, max_bytes: int, encodes: int) -> None:
        self.max_bytes, self._most = max_bytes, encodes
        self.encodes, self.smallest_bytes = 0, 0

    def encode(self, encode: Callable[[int], bytes], setting: int) -> bytes:
        """One encode, counted."""
        self.encodes += 1
        data = encode(setting)
        self.smallest_bytes = min(len(data), self.smallest_bytes or len(data))
        return data

    def fits(self, data: bytes) -> bool:
        """Whether a result is small enough."""
        return not self.max_bytes or len(data) <= self.max_bytes

    def search(self, encode: Callable[[int], bytes], dial: Dial, *, known: tuple[int, float] | None = None) -> Fit | None:
        """Turn one dial.

        Args:
            encode: setting -> result. dial: which settings there are.
            known: a setting, also one that is not allowed, and the bytes that it makes or would make.

        Returns:
            The best that fits; None where nothing that was tried does.
        """
        points = [] if known is None else [(dial.weigh(known[0]), math.log(known[1]))]
        low, high, best, tried = dial.settings.start, dial.settings.stop - 1, None, 0
        while low <= high and self.encodes < self._most:
            is_last_hope = best is None and tried >= dial.patience
            setting = low if is_last_hope else self._aim(points, dial, low, high, has_fit=best is not None)
            data = self.encode(encode, setting)
            tried += 1
            points.append((dial.weigh(setting), math.log(len(data))))
            if self.fits(data):
                best, low = Fit(setting, data), setting + 1
                if len(data) >= _CLOSE * self.max_bytes:
                    break
            else:
                high = setting - 1
        return best

    def _aim(self, points: list[tuple[float, float]], dial: Dial, low: int, high: int, *, has_fit: bool) -> int:
        """The setting from low to high that should come next below the limit."""
        if not points:
            return high
        is_last = not has_fit and self._most - self.encodes == 1
        goal = math.log(self.max_bytes * (_SAFE_AIM if is_last else _AIM))
        (at, size), *others = sorted(points, key=lambda point: abs(point[1] - goal))
        slopes = [(size - other[1]) / (at - other[0]) for other in others if other[0] != at]
        slope = slopes[0] if slopes and slopes[0] > 0 else dial.slope
        wanted = at + (goal - size) / slope
        return max((setting for setting in range(low, high + 1) if dial.weigh(setting) <= wanted), default=low)
