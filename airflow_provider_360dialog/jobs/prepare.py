"""Prepare the pictures of many items, and say for each which file to send: in a manifest, of which a campaign can be planned."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.exceptions import StoppedError
from airflow_provider_360dialog.jobs.judging import Judges, reason_of
from airflow_provider_360dialog.jobs.manifest import Malformed, Wanted

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO

    from airflow_provider_360dialog.jobs.judging import Judged, Preparing
    from airflow_provider_360dialog.ports import Source

log = logging.getLogger(__name__)

_PAGE: Final = 200
_TELL_EVERY_S: Final = 10.0


@dataclass
class PreparedCounts:
    """How many items are what.

    Attributes:
        items: all. prepared: have a picture that was changed. rejected: cannot be sent, and are not in the manifest.
        unchanged: the rest.
    """

    items: int = 0
    prepared: int = 0
    unchanged: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Writers:
    """Where lines of JSON go; each takes all its lines at once. The manifest is written last, and always.

    Attributes:
        receipts, rejects: called where there is any.
    """

    manifest: Callable[[Iterator[str]], object]
    receipts: Callable[[Iterator[str]], object]
    rejects: Callable[[Iterator[str]], object]


@dataclass
class PrepareJob:
    """The means of a preparation.

    Attributes:
        source_at: opens a file by its uri. preparing: prepares and keeps. stop: set when the task is told to end.
    """

    source_at: Callable[[str], Source]
    preparing: Preparing
    stop: threading.Event
    _counts: PreparedCounts = field(default_factory=PreparedCounts, init=False)

    def run(self, wanted: Iterable[Wanted | Malformed], writers: Writers) -> PreparedCounts:
        """Prepare; memory stays flat.

        Raises:
            StoppedError: the task was told to end; what was prepared is kept, and found by the next try.
            TransientError: the storage failed in a way that may pass; the same.
        """
        source, told_at = iter(wanted), time.monotonic()
        with ExitStack() as stack:
            manifest, receipts, rejects = (stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(3))
            judges = stack.enter_context(Judges("prepare", self.source_at, self.stop, preparing=self.preparing))
            while page := list(islice(source, _PAGE)):
                if self.stop.is_set():
                    raise StoppedError(operation="prepare")
                good = [each for each in page if isinstance(each, Wanted)]
                judged = dict(zip(map(id, good), judges.judge(good), strict=True))
                for each in page:
                    self._sort(each, judged.get(id(each)), manifest, receipts, rejects)
                if time.monotonic() - told_at >= _TELL_EVERY_S:
                    told_at = time.monotonic()
                    self._tell()
            _pass_on(receipts, writers.receipts)
            _pass_on(rejects, writers.rejects)
            manifest.seek(0)
            writers.manifest(line.rstrip("\n") for line in manifest)
        self._tell()
        return self._counts

    def _sort(
        self, item: Wanted | Malformed, judged: Judged | None, manifest: IO[str], receipts: IO[str], rejects: IO[str]
    ) -> None:
        counts = self._counts
        counts.items += 1
        if isinstance(item, Malformed) or judged is None or judged.verdict is None:
            counts.rejected += 1
            reasons = judged.reasons if judged is not None else (reason_of("malformed", getattr(item, "reason", "")),)
            facts = {"line": item.line, "key": item.key, "channel": item.channel, "uri": item.uri, "problems": list(reasons)}
            rejects.write(json.dumps(facts) + "\n")
            return
        receipt = judged.verdict.receipt
        line = _line(item)
        if receipt is None:
            counts.unchanged += 1
        else:
            counts.prepared += 1
            line |= {"uri": receipt.uri, "filename": judged.verdict.filename}
            line.pop("mime_type", None)
            receipts.write(json.dumps({"key": item.key, "source_uri": item.uri, **asdict(receipt)}) + "\n")
        manifest.write(json.dumps(line) + "\n")

    def _tell(self) -> None:
        found = self._counts
        log.info(
            "%d items: %d pictures prepared, %d files are as they should be, %d cannot be sent",
            found.items,
            found.prepared,
            found.unchanged,
            found.rejected,
        )


def _line(item: Wanted) -> dict[str, Any]:
    """An item as a manifest has it."""
    facts = asdict(item)
    del facts["line"]
    return {name: value for name, value in facts.items() if value is not None}


def _pass_on(lines: IO[str], write: Callable[[Iterator[str]], object]) -> None:
    if lines.tell():
        lines.seek(0)
        write(line.rstrip("\n") for line in lines)
