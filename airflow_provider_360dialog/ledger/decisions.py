"""Reuse, upload, steal or wait; safe until when. Pure: state and time in, decision out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEDIA_LIFE_S: Final = 30 * 86_400.0
"""Life of an uploaded media id, counted from the upload (the stricter of two readings of the document)."""
SAFETY_MARGIN_S: Final = 86_400.0
DEFAULT_VALIDITY_S: Final = 7 * 86_400.0
"""How long an id must still be safe to answer for a file where the caller does not say."""
LEASE_S: Final = 120.0
RETIRE_GRACE_S: Final = 48 * 3600.0
"""How long an id that was replaced keeps working for those who have exported it."""


@dataclass(frozen=True)
class Claimant:
    """Who asks.

    Attributes:
        owner: this one claim: host, process, random. task: of Airflow, the same in all its tries; None outside of tasks.
        try_number: of the task, from 1.
    """

    owner: str
    task: str | None = None
    try_number: int = 0


@dataclass(frozen=True)
class Lease:
    """Who holds a fingerprint, and until when (float seconds, database clock)."""

    owner: str
    task: str | None
    try_number: int
    until: float


@dataclass(frozen=True)
class Reuse:
    """The current id answers."""


@dataclass(frozen=True)
class Upload:
    """The claimant uploads. ``stolen``: from somebody whose lease had not lapsed."""

    stolen: bool = False


@dataclass(frozen=True)
class Wait:
    """Somebody else is uploading; at ``until`` their lease lapses."""

    until: float


def decide(
    *, safe_until: float | None, lease: Lease | None, claimant: Claimant, wanted_until: float, now: float, reuse: bool
) -> Reuse | Upload | Wait:
    """What a claimant of one fingerprint on one channel does.

    Args:
        safe_until: of the current id; None where there is none. lease: the present holder's, lapsed or not; None for nobody.
        claimant: who asks. wanted_until: until when the id must be safe. now: all float seconds by the database's clock.
        reuse: whether the current id may answer at all.
    """
    if reuse and safe_until is not None and safe_until >= wanted_until:
        return Reuse()
    if lease is None or lease.until <= now:
        return Upload()
    if claimant.task is not None and claimant.task == lease.task and claimant.try_number > lease.try_number:
        return Upload(stolen=True)  # Airflow starts a next try only when it has given the last one up
    return Wait(until=lease.until)


def safe_until_of(uploaded_at: float, last_used_at: float | None = None, *, trust_last_use: bool = False) -> float:
    """Until when an id is promised to work, float seconds.

    360dialog's page says "30 days after last use"; Meta's says after upload. Only where the caller trusts the former does a use
    count, and it never shortens the promise.
    """
    counted_from = uploaded_at
    if trust_last_use and last_used_at is not None:
        counted_from = max(uploaded_at, last_used_at)
    return counted_from + MEDIA_LIFE_S - SAFETY_MARGIN_S
