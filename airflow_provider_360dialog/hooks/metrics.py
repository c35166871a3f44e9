"""What Airflow's metrics are told of a number: what was sent and refused, how fast it may be, what it may still afford.

The names are in `METRICS`, and nowhere else. Metrics are a courtesy: one that cannot be sent fails no task.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    AnswerUnreadableError,
    Dialog360Error,
    EndpointMissingError,
    InterruptedExchangeError,
    KeyRefusedError,
    MediaGoneError,
    MediaUrlExpiredError,
    RequestRefusedError,
    ServerError,
    ThrottledError,
    UnreachableError,
    UploadRefusedError,
)
from airflow_provider_360dialog.ledger.rules import Closed
from airflow_provider_360dialog.ports import DownloadedMedia

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_360dialog.api.messages import Operation
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ledger.inbound import RunCounts
    from airflow_provider_360dialog.ports import UploadedMedia

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """One name. ``tags``: besides ``conn_id``, which all of them have."""

    kind: Literal["counter", "gauge"]
    tags: tuple[str, ...] = ()


PREFIX: Final = "dialog360."
METRICS: Final[Mapping[str, Metric]] = {
    "upload.files": Metric("counter"),
    "upload.bytes": Metric("counter"),
    "upload.reused": Metric("counter"),
    "upload.orphans_possible": Metric("counter"),
    "upload.pace": Metric("gauge"),
    "download.files": Metric("counter"),
    "download.bytes": Metric("counter"),
    "delete.files": Metric("counter"),
    "throttled": Metric("counter", ("operation",)),
    "refused": Metric("counter", ("operation",)),
    "failed": Metric("counter", ("operation",)),
    "retrieval.error_budget_left": Metric("gauge"),
    "retrieval.blocked_seconds": Metric("gauge"),
    "inbound.archived": Metric("counter"),
    "inbound.lost": Metric("counter", ("reason",)),
    "inbound.pending": Metric("gauge"),
}
"""Name behind `PREFIX` -> what it is."""

_BACKENDS: Final = ("statsd_on", "statsd_datadog_enabled", "otel_on")
_LOOK_EVERY_S: Final = 10.0
_REFUSED: Final = (
    AccessRefusedError,
    EndpointMissingError,
    KeyRefusedError,
    MediaGoneError,
    MediaUrlExpiredError,
    RequestRefusedError,
    UploadRefusedError,
)
_UNKNOWN: Final = (InterruptedExchangeError, ServerError, AnswerUnreadableError)
_NUMBER: Final = re.compile(r"\d{4,}(?=\d\d)")
_complained = threading.Event()


class Meter:
    """Tells of one connection. Never raises, and never asks 360dialog.

    Args:
        conn_id: becomes the tag; where somebody has put a telephone number into it, its last two digits are left.
    """

    def __init__(self, conn_id: str) -> None:
        self._tags = {"conn_id": _NUMBER.sub("_", conn_id)}
        self._lock = threading.Lock()
        self._look_at = -math.inf

    def answered(self, operation: Operation, outcome: object) -> None:
        """One request has come to its end: a success, or an error as data. For `Calls.meter`."""
        if isinstance(outcome, ThrottledError):
            self._tell("throttled", operation=operation)
        elif isinstance(outcome, _REFUSED):
            self._tell("refused", operation=operation)
        elif isinstance(outcome, (*_UNKNOWN, UnreachableError)):
            self._tell("failed", operation=operation)
            if operation == "upload" and isinstance(outcome, _UNKNOWN):
                self._tell("upload.orphans_possible")
        elif isinstance(outcome, DownloadedMedia):
            self._tell("download.files")
            self._tell("download.bytes", outcome.size_bytes)
        elif operation == "delete" and not isinstance(outcome, Dialog360Error):
            self._tell("delete.files")

    def uploaded(self, media: UploadedMedia) -> None:
        """A file has its id: one that was sent for it, or an earlier one's."""
        if media.reused:
            self._tell("upload.reused")
        else:
            self._tell("upload.files")
            self._tell("upload.bytes", media.size_bytes)

    def look(self, calls: Calls, *, at_once: bool = False) -> None:
        """Tell of pace and error budget, as the ledger has them; every ten seconds at most, and only where somebody listens.

        Args:
            calls: the channel. at_once: also where it was told a moment ago.
        """
        with self._lock:
            if time.monotonic() < self._look_at and not at_once:
                return
            self._look_at = time.monotonic() + _LOOK_EVERY_S
        with _quietly():
            if not is_listened_to() or not calls.ledger.is_identified:
                return
            ration = calls.ledger.ration
            decision, now = ration.retrieval()
            self._tell("upload.pace", ration.rate())
            self._tell("retrieval.error_budget_left", ration.credits_left())
            self._tell("retrieval.blocked_seconds", max(0.0, decision.until - now) if isinstance(decision, Closed) else 0.0)

    @contextmanager
    def archiving(self, run: int, calls: Calls) -> Iterator[None]:
        """Tell what a run of the archive does inside, also where it ends in a wait or an error.

        Args:
            run: of the ledger; goes on over waits and tries of a task, so that only what is new counts. calls: the channel.
        """
        before = self._counts(run, calls)
        try:
            yield
        finally:
            after = self._counts(run, calls)
            if before is not None and after is not None:
                self._tell("inbound.archived", after.archived - before.archived)
                for reason, lost in after.lost.items():
                    self._tell("inbound.lost", lost - before.lost.get(reason, 0), reason=reason)
                with _quietly():
                    self._tell("inbound.pending", calls.ledger.inbound.standing().pending)

    def _counts(self, run: int, calls: Calls) -> RunCounts | None:
        with _quietly():
            return calls.ledger.inbound.counts(run) if is_listened_to() else None
        return None

    def _tell(self, name: str, value: float = 1, **tags: str) -> None:
        with _quietly():
            from airflow.sdk.observability.stats import Stats

            tell = partial(Stats.gauge if METRICS[name].kind == "gauge" else Stats.incr, tags={**self._tags, **tags})
            if METRICS[name].kind == "gauge" or value > 0:
                tell(PREFIX + name, value)


def is_listened_to() -> bool:
    """Whether this Airflow sends its metrics anywhere: without that, the ledger need not be asked for them."""
    from airflow.sdk.configuration import conf

    return any(conf.getboolean("metrics", each, fallback=False) for each in _BACKENDS)


@contextmanager
def _quietly() -> Iterator[None]:
    try:
        yield
    except Exception:  # whatever keeps metrics from being sent is no reason to stop
        if not _complained.is_set():
            _complained.set()
            log.warning("metrics cannot be sent; the task goes on without them", exc_info=True)
