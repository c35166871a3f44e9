"""Upload what a campaign still needs on one channel, and renew what is about to die: many files at once, at the line."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import (
    CallError,
    Dialog360Error,
    LedgerUnavailableError,
    MediaRejectedError,
    SourceChangedError,
    SourceUnreadableError,
    StoppedError,
    TooManyRejectsError,
    TransientError,
    UploadRefusedError,
    WaitError,
)
from airflow_provider_360dialog.jobs.calls import patiently
from airflow_provider_360dialog.ledger.campaign_runs import Presence
from airflow_provider_360dialog.ledger.campaigns import Campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_360dialog.ledger.campaigns import PendingItem
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import DagRun, UploadedMedia

log = logging.getLogger(__name__)

_FIRST_HANDS: Final = 8
_MOST_HANDS: Final = 64
_LOOK_EVERY_S: Final = 2.0
_TELL_EVERY_S: Final = 10.0
_ALIKE: Final = 3
_ALIKE_PAUSE_S: Final = 60.0
_FAILED_IN_A_ROW: Final = 20
_LAST_WORDS_S: Final = 3.0


@dataclass
class Progress:
    """How far one channel's uploads are.

    Attributes:
        total: items that were not ready at the start. done: of these. rejected: of these. uploads: files that were sent.
        failed: files whose upload failed for now. began_at: on the monotonic clock.
    """

    total: int = 0
    done: int = 0
    rejected: int = 0
    uploads: int = 0
    failed: int = 0
    began_at: float = field(default_factory=time.monotonic)

    def line(self, rate_per_s: float) -> str:
        """One line for the log. ``rate_per_s``: items done a second, lately."""
        left = max(0, self.total - self.done - self.rejected)
        eta = f"{left / rate_per_s:.0f} s" if rate_per_s > 0 else "unknown"
        return f"{self.done} done, {left} left, {self.rejected} rejected, {rate_per_s:.1f} a second, ETA {eta if left else '0 s'}"

    def counts(self) -> dict[str, int]:
        """For XCom."""
        return {
            "total": self.total,
            "done": self.done,
            "rejected": self.rejected,
            "uploads": self.uploads,
            "failed": self.failed,
        }


@dataclass
class Uploader:
    """The means of a channel's uploads.

    Attributes:
        store: the ledger. send: uploads one item's file and returns its record; raises as `jobs.upload`.
        stop: set when the task is told to end. report: takes the progress every ten seconds; must not raise.
        concurrency: files at once; None lets it follow from the pace and from how long uploads take, up to 64.
        max_bytes_in_flight: of all files that are being sent together; one that is larger goes alone.
        dag_run: on whose behalf; None outside of Airflow's tasks.
    """

    store: Store
    send: Callable[[PendingItem], UploadedMedia]
    stop: threading.Event
    report: Callable[[Progress], object] = lambda _: None
    concurrency: int | None = None
    max_bytes_in_flight: int = 64 * 1024 * 1024
    dag_run: DagRun | None = None

    def upload(self, name: str, channel_id: int, *, max_reject_ratio: float) -> Progress:
        """Upload all files of a campaign's items on one channel that have no id yet that is safe for long enough.

        Raises:
            CampaignUnknownError: it was never planned.
            TooManyRejectsError: more than ``max_reject_ratio`` of the channel's items were rejected since the plan.
            WaitError: uploads are paused; what is done is on record.
            Dialog360Error: what stopped the channel, or the last of the failures that may pass.
        """
        campaigns = Campaigns(self.store)
        campaign = patiently(lambda: campaigns.find(name), stop=self.stop)
        pages = self._pages(partial(campaigns.pending, campaign, channel_id))
        look = partial(campaigns.work, campaign, channel_id)
        before = next(iter(patiently(look, stop=self.stop)), None)
        total = 0 if before is None else before.items - before.ready - before.rejected
        with Presence(self.store, campaign.row, channel_id, self.dag_run).told() as seen:
            progress = _Run(self, campaigns, Progress(total=total), seen=seen).run(pages)
        after_all = next(iter(patiently(look, stop=self.stop)), None)
        # Those of the plan were weighed by the plan; those of earlier tries count, so that a retry is no way around.
        if after_all is not None and after_all.rejected_later > max_reject_ratio * after_all.items:
            raise TooManyRejectsError(
                campaign=name,
                rejected=after_all.rejected_later,
                items=after_all.items,
                max_reject_ratio=max_reject_ratio,
                rejects_uri=None,
            )
        return progress

    def refresh(self, channel_id: int, *, valid_until: float, campaign: str | None, skip_missing: bool) -> Progress:
        """Upload anew what living campaigns (or one) use on one channel and what dies before ``valid_until`` (float seconds).

        Raises:
            SourceUnreadableError: a file is not where it was, or not as it was, unless ``skip_missing``; all others are renewed
                first.
            Dialog360Error: as `upload`.
        """
        campaigns = Campaigns(self.store)
        pages = self._pages(partial(campaigns.dying, channel_id, valid_until=valid_until, campaign=campaign))
        run = _Run(self, campaigns, Progress(), keep_items=True)
        progress = run.run(pages)
        if run.refused is not None:
            raise run.refused
        if run.missing is not None and not skip_missing:
            if isinstance(run.missing, SourceChangedError):
                raise SourceUnreadableError(
                    uri=run.missing.uri, reason="it is not the file any more that was uploaded from there"
                )
            raise run.missing
        return progress

    def _pages(self, page_after: Callable[..., list[PendingItem]]) -> Iterator[list[PendingItem]]:
        after = 0
        while page := patiently(partial(page_after, after=after), stop=self.stop):
            after = page[-1].row
            yield page


class _File:
    """One file's way: under way from one place, or bad there and everywhere else it was looked for.

    Attributes:
        place: from which it is under way; None for nowhere. items: that it answers for, from there.
        others: items of the same bytes at other places, should this one be bad. bad_places: tried in vain.
        refusal: where 360dialog has refused these bytes, from wherever they come: its answer.
    """

    __slots__ = ("bad_places", "items", "others", "place", "refusal")

    def __init__(self, place: str | None = None) -> None:
        self.place, self.items = place, 1
        self.others: list[PendingItem] = []
        self.bad_places: set[str] = set()
        self.refusal: UploadRefusedError | None = None


_DONE: Final = _File()
_LEFT: Final = _File()


class _Run:
    """One pass over pages of items. One thread hands out files and reads what became of them; the others upload.

    Attributes:
        refused: the last of 360dialog's refusals. missing: the last file that was not there, or not the one that was planned.
    """

    def __init__(
        self,
        means: Uploader,
        campaigns: Campaigns,
        progress: Progress,
        *,
        keep_items: bool = False,
        seen: Callable[[], object] = lambda: None,
    ) -> None:
        self._means, self._campaigns, self._progress, self._seen = means, campaigns, progress, seen
        self._keep_items = keep_items
        self._hands = means.concurrency or _FIRST_HANDS
        self._under_way: dict[Future[UploadedMedia], PendingItem] = {}
        self._bytes = 0
        self._files: dict[int, _File] = {}
        self._again: deque[PendingItem] = deque()
        self._alike: tuple[str, int] = ("", 0)
        self._sent_before_pause: set[Future[UploadedMedia]] = set()
        self._paused_before = False
        self._failed_in_a_row = 0
        self._failure: Dialog360Error | None = None
        self._fatal: Dialog360Error | None = None
        self._looked_at = self._told_at = time.monotonic()
        self._done_at_look = self._done_at_telling = 0
        self._best_rate, self._short_of_hands = 0.0, False
        self.refused: Dialog360Error | None = None
        self.missing: Dialog360Error | None = None

    def run(self, pages: Iterator[list[PendingItem]]) -> Progress:
        """Until nothing is left, or something stops the channel.

        Raises:
            Dialog360Error: what stopped it; or, at the end, the last failure that may pass.
        """
        pool = ThreadPoolExecutor(self._means.concurrency or _MOST_HANDS, thread_name_prefix="upload")
        try:
            self._hand_out(self._different(pages), pool)
            while self._under_way and not self._means.stop.is_set():
                self._collect()
        finally:
            if self._means.stop.is_set():  # what is in flight gets a moment; the ledger tells what became of the rest
                wait(list(self._under_way), timeout=_LAST_WORDS_S)
                self._read_done()
            pool.shutdown(wait=not self._means.stop.is_set(), cancel_futures=True)
        if not self._ends and self._failure is None:  # what has become ready by somebody else's doing is done
            self._progress.done = max(self._progress.done, self._progress.total - self._progress.rejected)
        self._tell()
        if self._fatal is not None:
            raise self._fatal
        if self._means.stop.is_set():
            raise StoppedError(operation="upload")
        if self._failure is not None:
            raise self._failure
        return self._progress

    @property
    def _ends(self) -> bool:
        return self._fatal is not None or self._means.stop.is_set()

    def _hand_out(self, items: Iterator[PendingItem], pool: ThreadPoolExecutor) -> None:
        while not self._ends:
            item = self._again.popleft() if self._again else next(items, None)
            if item is None:
                if not self._under_way:
                    return
                self._collect()  # it may be bad where it is, and have to be sent from elsewhere
                continue
            while not self._ends and not self._has_room(item):
                self._collect()
            if not self._ends:
                self._bytes += item.file.size_bytes
                self._under_way[pool.submit(self._means.send, item)] = item

    def _different(self, pages: Iterator[list[PendingItem]]) -> Iterator[PendingItem]:
        for page in pages:
            if self._keep_items:
                self._progress.total += len(page)
            yield from (item for item in page if self._is_to_be_sent(item))

    def _is_to_be_sent(self, item: PendingItem) -> bool:
        """Each file once: whoever else wants it has its id when it is done."""
        file = self._files.get(item.file_row)
        if file is None:
            self._files[item.file_row] = _File(item.uri)
            return True
        if file is _DONE:
            self._progress.done += 1
        elif item.uri in file.bad_places:
            self._progress.rejected += 1
        elif file.refusal is not None:
            self._reject(item, file, file.refusal)
        elif file.place == item.uri:
            file.items += 1
        elif file.place is not None:
            file.others.append(item)
        elif file is not _LEFT:
            file.place, file.items = item.uri, 1
            return True
        return False

    def _has_room(self, item: PendingItem) -> bool:
        if not self._under_way:
            return True
        if len(self._under_way) >= self._hands:
            self._short_of_hands = True
            return False
        return self._bytes + item.file.size_bytes <= self._means.max_bytes_in_flight

    def _collect(self) -> None:
        wait(list(self._under_way), timeout=0.2, return_when=FIRST_COMPLETED)
        self._read_done()
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._follow_the_pace(now)
        if now - self._told_at >= _TELL_EVERY_S:
            self._tell()

    def _read_done(self) -> None:
        for future in [each for each in self._under_way if each.done()]:
            item = self._under_way.pop(future)
            self._bytes -= item.file.size_bytes
            try:
                record = future.result()
            except Dialog360Error as error:
                self._read_failure(item, error, counts=future not in self._sent_before_pause)
            else:
                self._alike, self._failed_in_a_row = ("", 0), 0
                file, self._files[item.file_row] = self._files[item.file_row], _DONE
                self._progress.done += file.items + len(file.others)
                self._progress.uploads += 0 if record.reused else 1
            self._sent_before_pause.discard(future)

    def _read_failure(self, item: PendingItem, error: Dialog360Error, *, counts: bool) -> None:
        if isinstance(error, SourceChangedError | MediaRejectedError | UploadRefusedError | SourceUnreadableError):
            file = self._files[item.file_row]
            self._reject(item, file, error)
            if isinstance(error, UploadRefusedError):
                file.refusal = error
            file.place, others, file.others = None, file.others, []
            self._again.extend(each for each in others if self._is_to_be_sent(each))
            if counts:
                self._count_alike(error)
        elif isinstance(error, TransientError) and not isinstance(error, StoppedError | LedgerUnavailableError):
            self._progress.failed += 1
            self._files[item.file_row] = _LEFT
            self._failure = error
            log.warning("an upload failed and is left for the next try: %s", error)
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _FAILED_IN_A_ROW:
                log.warning("%d uploads in a row have failed: the rest is left for the next try", self._failed_in_a_row)
                self._fatal = self._fatal or error
        else:  # the key, the number, the ledger, a pause: it would happen to all of them
            self._fatal = self._fatal or error
            if not isinstance(error, WaitError | CallError):
                log.warning("the channel stops: %s", error)

    def _reject(self, item: PendingItem, file: _File, error: Dialog360Error) -> None:
        self._progress.rejected += file.items if file.place == item.uri else 1
        file.bad_places.add(item.uri)
        log.warning("a file is rejected: %s", "; ".join(map(_for_the_log, _reasons(error))))
        if isinstance(error, UploadRefusedError):
            self.refused = error
        else:
            self.missing = error
        if not self._keep_items:
            patiently(lambda: self._campaigns.reject(item, _reasons(error)), stop=self._means.stop)

    def _count_alike(self, error: Dialog360Error) -> None:
        """Three equal refusals in a row are no accident: ask whether the files are what they should be, and wait."""
        said = _common_cause(error)
        if said is None:
            return
        words, count = self._alike
        self._alike = (said, count + 1 if words == said else 1)
        if self._alike[1] < _ALIKE:
            return
        if self._paused_before:
            self._fatal = self._fatal or error
            return
        self._sent_before_pause = set(self._under_way)
        self._paused_before, self._alike = True, ("", 0)
        log.warning(
            "%d files in a row were refused with the same words. Is something wrong with all of these files, or the number? "
            "Waiting %.0f s before the next; if they are refused again, the task stops. %s",
            _ALIKE,
            _ALIKE_PAUSE_S,
            error,
        )
        self._means.stop.wait(_ALIKE_PAUSE_S)

    def _follow_the_pace(self, now: float) -> None:
        """More hands as long as more hands help: at the line, or where the link is full, they do not."""
        rate = (self._progress.done - self._done_at_look) / (now - self._looked_at)
        if self._means.concurrency is None and self._short_of_hands and rate > 1.02 * self._best_rate:
            self._hands = min(_MOST_HANDS, self._hands + _FIRST_HANDS)
        self._best_rate, self._short_of_hands = max(self._best_rate, rate), False
        self._looked_at, self._done_at_look = now, self._progress.done

    def _tell(self) -> None:
        now = time.monotonic()
        rate = (self._progress.done - self._done_at_telling) / max(0.001, now - self._told_at)
        self._told_at, self._done_at_telling = now, self._progress.done
        log.info("%s", self._progress.line(rate))
        self._seen()
        self._means.report(self._progress)


def _reasons(error: Dialog360Error) -> list[dict[str, str]]:
    """Why an item is rejected, as the ledger keeps it."""
    if isinstance(error, MediaRejectedError):
        return [{"code": p.code, "message": p.message, "remedy": p.remedy} for p in error.problems]
    if isinstance(error, SourceChangedError):
        remedy = "Its file is not the one that was planned: plan the campaign again."
        return [{"code": "source_changed", "message": str(error), "remedy": remedy}]
    code = "source_unreadable" if isinstance(error, SourceUnreadableError) else "upload_refused"
    return [{"code": code, "message": str(error), "remedy": ""}]


def _for_the_log(reason: dict[str, str]) -> str:
    """A path can name a customer: it is in the ledger, not in the log."""
    code = reason["code"]
    return f"[{code}]" if code.startswith("source_") else f"[{code}] {reason['message']} {reason['remedy']}".rstrip()


def _common_cause(error: Dialog360Error) -> str | None:
    """In words that are the same for all files what may be wrong with all of them; None where it is this file's alone."""
    if isinstance(error, UploadRefusedError):
        return str(error)
    if isinstance(error, SourceUnreadableError) and isinstance(error.__cause__, PermissionError):
        return error.reason
    return None
