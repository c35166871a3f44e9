"""The two limits of a phone number as pure arithmetic: uploads per sliding second, and failed GETs per hour.

No clock is read here; every instant is an argument, in seconds.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_360dialog.emulator.settings import ThrottlePolicy


class SlidingWindow:
    """How many instants lie within the last `length_s` seconds, and the most that ever did.

    An instant leaves the window when it is exactly `length_s` old.
    """

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self.highest = 0
        self._instants: deque[float] = deque()

    def count(self, now_s: float) -> int:
        """Return how many instants lie in the window that ends now."""
        while self._instants and now_s - self._instants[0] >= self.length_s:
            self._instants.popleft()
        return len(self._instants)

    def add(self, now_s: float) -> int:
        """Put an instant in and return the new count."""
        self._instants.append(now_s)
        count = self.count(now_s)
        self.highest = max(self.highest, count)
        return count


class UploadLimit:
    """25 uploads in any second: the 26th within any 1.000 s is refused and does not count itself."""

    def __init__(self) -> None:
        self.arrived = SlidingWindow(1.0)
        self.accepted = SlidingWindow(1.0)

    def admit(self, now_s: float, posts_per_s: int) -> bool:
        """Judge one arrival on a monotonic clock and remember it."""
        self.arrived.add(now_s)
        if self.accepted.count(now_s) >= posts_per_s:
            return False
        self.accepted.add(now_s)
        return True


class ErrorThrottle:
    """Failures of the retrieval endpoint and the block that too many of them start.

    Failures stay in the window when a block ends, so one more may shut the endpoint again: the reading of the published
    sentence that is hardest on a client.
    """

    def __init__(self, policy: ThrottlePolicy) -> None:
        self.policy = policy
        self.blocks = 0
        self.blocked_until_s = 0.0
        self._failures = SlidingWindow(policy.window_s)

    def is_blocked(self, now_s: float) -> bool:
        """Tell whether a request that arrives now is refused."""
        return now_s < self.blocked_until_s

    def retry_after_s(self, now_s: float) -> float:
        """Return the seconds until the block ends, 0 without a block."""
        return max(0.0, self.blocked_until_s - now_s)

    def fail(self, now_s: float) -> None:
        """Count one failed request; start a block if it is one too many."""
        if self._failures.add(now_s) >= self.policy.shuts_at and not self.is_blocked(now_s):
            self.block(now_s)

    def block(self, now_s: float) -> None:
        """Shut the endpoint from now on for the policy's time."""
        self.blocks += 1
        self.blocked_until_s = now_s + self.policy.block_s

    def extend(self, now_s: float) -> None:
        """Start the running block's time anew."""
        self.blocked_until_s = now_s + self.policy.block_s
