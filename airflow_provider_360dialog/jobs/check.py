"""Look at the files of many items, for a report: several at once, told in their order, in flat memory."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import Dialog360Error, SourceUnreadableError, StoppedError, TransientError
from airflow_provider_360dialog.jobs.judging import said_of
from airflow_provider_360dialog.jobs.manifest import Malformed, Wanted
from airflow_provider_360dialog.jobs.report import Checked
from airflow_provider_360dialog.media.problems import error

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from airflow_provider_360dialog.jobs.report import Report
    from airflow_provider_360dialog.media.decoding.deep import Deep
    from airflow_provider_360dialog.ports import Problem, Source

log = logging.getLogger(__name__)

_PAGE: Final = 200
_HANDS: Final = 4
_TELL_EVERY_S: Final = 10.0


@dataclass(frozen=True)
class CheckJob:
    """The means of a check.

    Attributes:
        source_at: opens a file by its uri. look: judges one; takes the source, and the caller's word for it by name.
        stop: set when the task is told to end.
    """

    source_at: Callable[[str], Source]
    look: Callable[..., Deep]
    stop: threading.Event

    def run(self, wanted: Iterable[Wanted | Malformed], report: Report) -> None:
        """Look at all, and put them into ``report``.

        Raises:
            StoppedError: the task was told to end. TransientError: the storage failed in a way that may pass.
        """
        source, told_at = iter(wanted), time.monotonic()
        with ThreadPoolExecutor(_HANDS) as hands:
            while page := list(islice(source, _PAGE)):
                for checked in hands.map(self.check, page):
                    report.add(checked)
                if time.monotonic() - told_at >= _TELL_EVERY_S:
                    told_at = time.monotonic()
                    log.info("%d files looked at so far: %s", report.counts.files, report.counts.sentence())

    def check(self, item: Wanted | Malformed) -> Checked:
        """Look at one file. What is wrong with it, or with its line in a manifest, is in the result."""
        if self.stop.is_set():
            raise StoppedError(operation="check")
        if isinstance(item, Malformed):
            name = item.key or item.uri or f"line {item.line}"
            problem = error("malformed", f"Line {item.line or '?'} is no item: {item.reason}.", "Mend the line of the manifest.")
            return Checked(name=name, verdict=None, unreadable=problem)
        try:
            found = self.look(self.source_at(item.uri), **said_of(item))
        except TransientError:
            raise
        except Dialog360Error as fault:
            return Checked(name=item.key, verdict=None, unreadable=unreadable(fault))
        return Checked(name=item.key, verdict=found.verdict, thumbnail=found.thumbnail)


def unreadable(fault: Dialog360Error) -> Problem:
    """Why a file has no verdict, as a finding."""
    if isinstance(fault, SourceUnreadableError):
        remedy = "Check the path, and the rights of whoever reads it."
        return error("source_unreadable", f"The file cannot be read: {fault.reason}.", remedy)
    return error("storage_failed", str(fault), "Look at the storage, and try again.")
