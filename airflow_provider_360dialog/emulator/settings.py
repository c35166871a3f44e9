"""What one emulator can be told to do differently; knows no request and no state."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self


class ErrorShape(StrEnum):
    """The bodies in which an error can arrive (`facts.md`, section 7)."""

    A = "A"
    """Meta's object: `{"error": {"message": ..., "code": ...}}`."""
    B = "B"
    """360dialog's string: `{"error": "..."}`, as its OpenAPI says."""
    C = "C"
    """360dialog's `meta` object in snake case, seen by clients."""
    C2 = "C2"
    """360dialog's `meta` object in camel case, from older pages; a 401 says `httpCode` 404 inside."""
    HTML = "HTML"
    """A proxy's page."""


class BlockedAnswer(StrEnum):
    """How a GET is refused while the error throttle is shut; no page says which one is real."""

    STATUS_429 = "429"
    STATUS_429_RETRY_AFTER = "429_retry_after"
    STATUS_400 = "400"
    STATUS_403 = "403"


class Profile(StrEnum):
    """Which of the two published error throttles holds."""

    DOCUMENTED = "documented"
    """20 error responses in 60 minutes shut retrieval for 30 minutes (newest page)."""
    STRICT = "strict"
    """More than 5 failed requests in an hour shut it for one hour (older page, still quoted)."""


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """One error throttle.

    Attributes:
        shuts_at: The failure with this ordinal inside the window starts the block.
        window_s: Length of the sliding window in seconds.
        block_s: How long retrieval stays shut, in seconds.
        counts_downloads: Whether a failed download spends a failure too.
    """

    shuts_at: int
    window_s: float
    block_s: float
    counts_downloads: bool


POLICIES = {
    Profile.DOCUMENTED: ThrottlePolicy(shuts_at=20, window_s=3600, block_s=1800, counts_downloads=False),
    Profile.STRICT: ThrottlePolicy(shuts_at=6, window_s=3600, block_s=3600, counts_downloads=True),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is switchable while the emulator runs.

    Attributes:
        profile: The error throttle; see `Profile`.
        error_shape: The body of a gateway error (401, 404, 429, a shut throttle).
        blocked_answer: The answer to a GET while the throttle is shut.
        extend_block: Whether a request made during a block starts the block anew.
        count_failed_downloads: Whether failed downloads spend failures; `None` leaves it to the profile.
        any_key: Whether an unknown key opens a new number instead of a 401.
        posts_per_s: Uploads that a number may make in any sliding second.
        service_s: Seconds that an upload takes before it is answered.
        jitter_s: An upload reaches the limiter after a random delay between 0 and this many seconds.
        lost_url_status: Status of a download by an expired or unknown URL (Meta says 404).
        url_life_s: Life of a media URL in seconds.
        uploaded_life_s: Life of an uploaded media id in seconds.
        received_life_s: Life of a received media id in seconds.
    """

    profile: Profile = Profile.DOCUMENTED
    error_shape: ErrorShape = ErrorShape.B
    blocked_answer: BlockedAnswer = BlockedAnswer.STATUS_429
    extend_block: bool = False
    count_failed_downloads: bool | None = None
    any_key: bool = False
    posts_per_s: int = 25
    service_s: float = 0.0
    jitter_s: float = 0.0
    lost_url_status: int = 404
    url_life_s: int = 300
    uploaded_life_s: int = field(default=30 * 86_400)
    received_life_s: int = field(default=7 * 86_400)

    def __post_init__(self) -> None:
        """Accept plain strings for the enums.

        Raises:
            ValueError: A string names no member, or a number is out of range.
        """
        object.__setattr__(self, "profile", Profile(self.profile))
        object.__setattr__(self, "error_shape", ErrorShape(self.error_shape))
        object.__setattr__(self, "blocked_answer", BlockedAnswer(self.blocked_answer))
        if self.posts_per_s < 1 or min(self.service_s, self.jitter_s) < 0:
            raise ValueError("posts_per_s must be at least 1, service_s and jitter_s at least 0")

    @property
    def policy(self) -> ThrottlePolicy:
        """The error throttle in force."""
        policy = POLICIES[self.profile]
        if self.count_failed_downloads is None:
            return policy
        return replace(policy, counts_downloads=self.count_failed_downloads)

    def changed(self, changes: dict[str, Any]) -> Self:
        """Return a copy with some fields replaced.

        Raises:
            ValueError: A name is unknown or a value is not allowed.
        """
        unknown = sorted(set(changes) - set(self.__slots__))
        if unknown:
            raise ValueError(f"unknown settings {unknown}; known: {sorted(self.__slots__)}")
        return replace(self, **changes)
