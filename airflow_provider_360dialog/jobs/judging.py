"""Judge the files of many items: several at once, each one once, and what has not changed since it was found good not at all."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from airflow_provider_360dialog.exceptions import Dialog360Error, StoppedError, TransientError
from airflow_provider_360dialog.jobs.calls import patiently
from airflow_provider_360dialog.media.judge import inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Self

    from airflow_provider_360dialog.jobs.manifest import Wanted
    from airflow_provider_360dialog.ledger.sources import Sources
    from airflow_provider_360dialog.media.preparation.prepare import Prepared
    from airflow_provider_360dialog.ports import Source, Verdict

_HANDS: Final = 4


class Preparing(Protocol):
    """Mends pictures before they are judged, and keeps what came of it where uploads find it."""

    @property
    def mark(self) -> str:
        """Stands for its rules and the place where it keeps files: verdicts are put on record under this mark."""
        ...

    def prepare(self, source: Source, **said: str | None) -> Prepared:
        """As `media.preparation.prepare.prepare`; the verdict's receipt says where the prepared file is."""
        ...

    def stands(self, verdict: Verdict) -> bool:
        """Whether the file of a verdict on record is still there."""
        ...


@dataclass(frozen=True)
class Judged:
    """A verdict, or why there is none.

    Attributes:
        reasons: ``code``, ``message`` and ``remedy`` of each error; empty where the file is good. Then there is a verdict.
        unchanged: the file's stamp was the same before it was read and after.
    """

    verdict: Verdict | None = None
    reasons: tuple[dict[str, str], ...] = ()
    unchanged: bool = False


@dataclass
class Judges:
    """Judge files; a context manager.

    Attributes:
        operation: for the error of a task that is told to end. source_at: opens a file by its uri; raises where that is none.
        stop: set when the task is told to end. preparing: None judges files as they are.
        sources: the verdicts on record; None asks for none. remembers: whether new ones are put there.
    """

    operation: str
    source_at: Callable[[str], Source]
    stop: threading.Event
    preparing: Preparing | None = None
    sources: Sources | None = None
    remembers: bool = True
    _hands: ThreadPoolExecutor = field(init=False)

    def __enter__(self) -> Self:
        self._hands = ThreadPoolExecutor(_HANDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._hands.shutdown(cancel_futures=True)

    def judge(self, wanted: list[Wanted]) -> list[Judged]:
        """A verdict for each; a file that many want is read once.

        Raises:
            TransientError: the storage, not the file: Airflow tries again, and what was read by then is remembered.
            StoppedError: the task was told to end.
        """
        asked = [(each.uri, each.mime_type, each.filename, each.kind) for each in wanted]
        different = dict(zip(asked, wanted, strict=True))
        judged = dict(zip(different, self._judge_files(list(different.values())), strict=True))
        return [judged[each] for each in asked]

    def _judge_files(self, wanted: list[Wanted]) -> list[Judged]:
        opened = list(self._hands.map(self._open, wanted))
        stamped = {
            index: (source.uri, stamp, self._question(each))
            for index, (each, (source, stamp, _)) in enumerate(zip(wanted, opened, strict=True))
            if source is not None and stamp is not None
        }
        known = self._recall(stamped)
        under_way = {
            index: self._hands.submit(self._read, wanted[index], *opened[index])
            for index in range(len(wanted))
            if index not in known
        }
        fault = _first_fault(under_way.values())
        read = {index: each.result() for index, each in under_way.items() if not each.cancelled() and each.exception() is None}
        self._remember(stamped, read)  # also before a fault is raised: the next try does not read these again
        if fault is not None:
            raise fault
        return [known[index] if index in known else read[index] for index in range(len(wanted))]

    def _recall(self, stamped: dict[int, tuple[str, str, dict[str, str | None]]]) -> dict[int, Judged]:
        if self.sources is None:
            return {}
        sources = self.sources
        recalled = patiently(lambda: sources.recall_many(list(stamped.values())), stop=self.stop)
        found = {index: verdict for index, verdict in zip(stamped, recalled, strict=True) if verdict is not None}
        stand = self._hands.map(self._stands, found.values())
        return {index: Judged(verdict) for (index, verdict), stands in zip(found.items(), stand, strict=True) if stands}

    def _stands(self, verdict: Verdict) -> bool:
        return self.preparing is None or self.preparing.stands(verdict)

    def _remember(self, stamped: dict[int, tuple[str, str, dict[str, str | None]]], read: dict[int, Judged]) -> None:
        if self.sources is None or not self.remembers:
            return
        sources = self.sources
        learned = [(*stamped[index], each.verdict) for index, each in read.items() if each.verdict and each.unchanged]
        learned.sort(key=lambda each: (each[0], str(each[2])))  # two plans that lock crosswise would wait for each other
        patiently(lambda: sources.remember_many(learned), stop=self.stop)

    def _question(self, wanted: Wanted) -> dict[str, str | None]:
        return said_of(wanted) if self.preparing is None else {**said_of(wanted), "prepared": self.preparing.mark}

    def _open(self, wanted: Wanted) -> tuple[Source | None, str | None, Dialog360Error | None]:
        """A file and its stamp, or what is wrong with it."""
        try:
            source = self.source_at(wanted.uri)
            return source, source.stamp(), None
        except TransientError:
            raise
        except Dialog360Error as error:
            return None, None, error

    def _read(self, wanted: Wanted, source: Source | None, stamp: str | None, error: Dialog360Error | None) -> Judged:
        if self.stop.is_set():
            raise StoppedError(operation=self.operation)
        if source is not None and error is None:
            try:
                verdict = self._verdict(source, said_of(wanted))
                if verdict.ok:
                    return Judged(verdict, unchanged=stamp is not None and source.stamp() == stamp)
                return Judged(reasons=tuple({"code": p.code, "message": p.message, "remedy": p.remedy} for p in verdict.errors))
            except TransientError:
                raise
            except Dialog360Error as caught:
                error = caught
        return Judged(reasons=(reason_of("source_unreadable", str(error)),))

    def _verdict(self, source: Source, said: dict[str, str | None]) -> Verdict:
        if self.preparing is None:
            return inspect(source, **said)
        prepared = self.preparing.prepare(source, **said)
        if prepared.path is not None:  # kept by nobody, and sent by somebody else
            prepared.path.unlink(missing_ok=True)
        return prepared.verdict


def said_of(wanted: Wanted) -> dict[str, str | None]:
    """The caller's word for a file."""
    return {"mime_type": wanted.mime_type, "filename": wanted.filename, "kind": wanted.kind}


def reason_of(code: str, message: str) -> dict[str, str]:
    """Why an item is rejected, where there is no finding that says it."""
    return {"code": code, "message": message, "remedy": ""}


def _first_fault(under_way: Collection[Future[Judged]]) -> BaseException | None:
    """Wait until all is done, or until something fails: then what has not begun is left, and what has is waited for."""
    wait(under_way, return_when=FIRST_EXCEPTION)
    for each in under_way:
        each.cancel()
    wait(under_way)
    faults = (each.exception() for each in under_way if not each.cancelled())
    return next((each for each in faults if each is not None), None)
