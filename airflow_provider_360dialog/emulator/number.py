"""One phone number: its limits, its health, and the counters that tests read."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_360dialog.emulator.limits import ErrorThrottle, SlidingWindow, UploadLimit

if TYPE_CHECKING:
    from airflow_provider_360dialog.emulator.settings import ThrottlePolicy

HOUR_S = 3600.0


class Counters:
    """What happened to one number since the last reset.

    Attributes:
        requests: Requests per operation, however they were answered.
        accepted: Requests per operation that were answered with less than 400.
        refused: Requests per operation and status from 400 on; `none` when no whole answer left.
        refused_by_pace: Uploads beyond the limit per second.
        failed_gets: Requests for a media URL that were answered from 400 on, those during a block included.
        blocked_gets: Those of them that were refused because the endpoint was shut.
        redirected: Requests that were sent elsewhere and reached no limit.
        gets_in_flight: Requests for a media URL that are being answered.
        uploads_by_sha256: Stored uploads per sha256 in hex.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.refused_by_pace = 0
        self.failed_gets = 0
        self.blocked_gets = 0
        self.redirected = 0
        self.gets_in_flight = 0
        self.max_failed_plus_in_flight = 0
        self.uploads_by_sha256: Counter[str] = Counter()
        self.post_times = array("d")
        self.failed_window = SlidingWindow(HOUR_S)

    def start_get(self, now_s: float) -> None:
        """Note that a request for a media URL arrived."""
        self.gets_in_flight += 1
        risk = self.failed_window.count(now_s) + self.gets_in_flight
        self.max_failed_plus_in_flight = max(self.max_failed_plus_in_flight, risk)

    def end_get(self) -> None:
        """Note that a request for a media URL is over."""
        self.gets_in_flight -= 1

    def answered(self, operation: str, status: int | None) -> None:
        """Note the status of an answer; `None` when the connection was cut instead."""
        if status is not None and status < 400:
            self.accepted[operation] += 1
        else:
            self.refused[f"{operation}:{'none' if status is None else status}"] += 1

    def fail_get(self, now_s: float) -> None:
        """Note a failed request for a media URL, on the movable clock."""
        self.failed_gets += 1
        self.failed_window.add(now_s)


class Number:
    """A WhatsApp business phone number as 360dialog serves it."""

    def __init__(self, number_id: str, display_phone: str, policy: ThrottlePolicy) -> None:
        self.number_id = number_id
        self.display_phone = display_phone
        self.health: dict[str, Any] = {"can_send_message": "AVAILABLE"}
        self.upload_limit = UploadLimit()
        self.throttle = ErrorThrottle(policy)
        self.counters = Counters()

    def reset_counters(self) -> None:
        """Start counting anew; limits and a running block stay."""
        in_flight = self.counters.gets_in_flight
        self.counters = Counters()
        self.counters.gets_in_flight = in_flight
        self.upload_limit.arrived.highest = self.upload_limit.accepted.highest = 0
        self.throttle.blocks = 0

    def forgive(self) -> None:
        """End a block and forget its failures."""
        self.throttle = ErrorThrottle(self.throttle.policy)

    def summary(self, *, ids_alive: int, now_s: float, with_times: bool = False) -> dict[str, Any]:
        """Return the counters as a JSON object.

        Args:
            ids_alive: Media ids of this number that work now.
            now_s: The movable clock.
            with_times: Also list the arrival of every upload, in seconds of the monotonic clock.
        """
        counters = self.counters
        summary = {
            "requests": dict(counters.requests),
            "accepted": dict(counters.accepted),
            "refused": dict(counters.refused),
            "refused_by_pace": counters.refused_by_pace,
            "redirected": counters.redirected,
            "max_posts_per_s": self.upload_limit.arrived.highest,
            "max_accepted_posts_per_s": self.upload_limit.accepted.highest,
            "failed_gets": counters.failed_gets,
            "blocked_gets": counters.blocked_gets,
            "max_failed_gets_per_hour": counters.failed_window.highest,
            "max_failed_plus_in_flight_gets": counters.max_failed_plus_in_flight,
            "blocks": self.throttle.blocks,
            "blocked_for_s": self.throttle.retry_after_s(now_s),
            "ids_alive": ids_alive,
            "uploads_by_sha256": dict(counters.uploads_by_sha256),
        }
        if with_times:
            summary["post_times_s"] = counters.post_times.tolist()
        return summary
