"""Archive what customers sent to one channel: in the order of need, verified, within the error budget, never past its life.

What has to be done and what was done is in the ledger: a run that ended anywhere is finished by the next one. No URL is stored; a
name is made from the number, the date, the media id and the bytes, never from the sender's words.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    AnswerUnreadableError,
    Dialog360Error,
    DownloadCorruptError,
    DownloadTooLargeError,
    InboundTypeRefusedError,
    InterruptedExchangeError,
    LedgerUnavailableError,
    MediaGoneError,
    MediaUrlExpiredError,
    MediaUrlRefusedError,
    RequestRefusedError,
    ServerError,
    SetupError,
    StoppedError,
    WaitError,
)
from airflow_provider_360dialog.jobs.archive_place import Place, write_text
from airflow_provider_360dialog.jobs.delete import delete
from airflow_provider_360dialog.jobs.retrieve import download, download_by_webhook_url
from airflow_provider_360dialog.ports import DownloadedMedia

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_360dialog.jobs.archive_place import Kept
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.jobs.intake import Finder
    from airflow_provider_360dialog.ledger.inbound import Loss, LostMedia, PendingMedia
    from airflow_provider_360dialog.ports import Folder
    from airflow_provider_360dialog.webhook import InboundMedia

log = logging.getLogger(__name__)

_HANDS: Final = 3
_URL_MARGIN_S: Final = 5.0
_READY_AFTER_S: Final = 5.0
_TELL_EVERY_S: Final = 10.0
_LAST_WORDS_S: Final = 3.0
_REFUSED_IN_A_ROW: Final = 3
# The file may come next time.
_PASSING: Final = (ServerError, InterruptedExchangeError, AnswerUnreadableError)
# A webhook's URL does not work; its id may.
_URL_FAILED: Final = (MediaUrlExpiredError, AccessRefusedError, RequestRefusedError, DownloadCorruptError, *_PASSING)


@dataclass
class Archiver:
    """The means of a channel's archive.

    Attributes:
        run: calls a function with the channel's wire and ledger, as its connection stands. folder: where files go.
        finder: reads webhooks again. stop: set when the task is told to end.
        also_accept: MIME types that are archived besides those that WhatsApp lists; see `check_types`.
        delete_after_archive: whether 360dialog's copy is deleted once ours stands. write_metadata: a JSON file beside each.
    """

    run: Callable[[Callable[[Calls], bool]], bool]
    folder: Folder
    finder: Finder
    stop: threading.Event
    also_accept: frozenset[str] = frozenset()
    delete_after_archive: bool = False
    write_metadata: bool = False
    _fatal: Dialog360Error | None = field(default=None, init=False)
    _ends: bool = field(default=False, init=False)
    _refused_in_a_row: int = field(default=0, init=False)
    _probed: bool = field(default=False, init=False)
    _not_deleted: int = field(default=0, init=False)
    _told_at: float = field(default_factory=time.monotonic, init=False)

    def archive(self, run_id: int, calls: Calls) -> int:
        """Bring everything that may be asked for now.

        Args:
            run_id: of the run, which its rows name. calls: for looking and taking.

        Returns:
            How many copies at 360dialog could not be deleted; they end by themselves.

        Raises:
            DestinationError, StorageFailedError: nothing could be stored; no credit was spent for nothing.
            WaitError: the number's retrieval is closed, and something is left that it would be asked for.
            Dialog360Error: what stopped the channel. Whatever is not archived is still pending.
        """
        calls.patiently(calls.ledger.check_usable)
        calls.patiently(lambda: calls.ledger.inbound.expire(run_id))
        under_way: dict[Future[bool], PendingMedia] = {}
        pool = ThreadPoolExecutor(_HANDS, thread_name_prefix="archive")
        try:
            while not self.stop.is_set():
                while len(under_way) < _HANDS and (item := self._take(calls)) is not None:
                    under_way[pool.submit(self._one, item, run_id)] = item
                if not under_way:
                    break
                wait(list(under_way), timeout=0.2, return_when=FIRST_COMPLETED)
                self._read_done(under_way, calls)
        finally:
            if self.stop.is_set():
                wait(list(under_way), timeout=_LAST_WORDS_S)
                self._read_done(under_way, calls)
                for item in under_way.values():
                    self._give_back(item, calls)
            pool.shutdown(wait=not self.stop.is_set(), cancel_futures=True)
        if self._fatal is not None:
            raise self._fatal
        if self.stop.is_set():
            raise StoppedError(operation="archive")
        calls.patiently(lambda: calls.ledger.inbound.expire(run_id))
        return self._not_deleted

    def _take(self, calls: Calls) -> PendingMedia | None:
        if self._ends or self.stop.is_set():
            return None
        claimant = calls.ledger.claimant()
        item = calls.patiently(lambda: calls.ledger.inbound.take(claimant))
        if item is not None and not self._probed:
            try:
                self.folder.check()
            except BaseException:
                self._give_back(item, calls)
                raise
            self._probed = True
        return item

    def _one(self, item: PendingMedia, run_id: int) -> bool:
        return self.run(lambda calls: _Errand(self, item, run_id, calls).run())

    def _read_done(self, under_way: dict[Future[bool], PendingMedia], calls: Calls) -> None:
        for future in [each for each in under_way if each.done()]:
            item = under_way.pop(future)
            error = future.exception()
            if error is None:
                self._not_deleted += not future.result()
                self._refused_in_a_row = 0
                continue
            if isinstance(error, RequestRefusedError):
                self._refused_in_a_row += 1
                if self._refused_in_a_row < _REFUSED_IN_A_ROW:
                    continue  # this one file's; of several, it would be the account's or the number's
            self._ends = True
            self._give_back(item, calls)
            if not isinstance(error, Dialog360Error):
                raise error
            if isinstance(error, WaitError) and item.suspect:
                continue  # nobody waits for one that may be made up
            if self._fatal is None or (isinstance(self._fatal, WaitError) and not isinstance(error, WaitError)):
                self._fatal = error
        if time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            standing = calls.patiently(calls.ledger.inbound.standing)
            log.info("archive: %d pending, %d of them suspect", standing.pending, standing.suspects)

    def _give_back(self, item: PendingMedia, calls: Calls) -> None:
        try:
            calls.ledger.inbound.give_back(item)
        except LedgerUnavailableError as error:
            log.warning("a row could not be given back, and is free again in two minutes: %s", error)


class _Errand:
    """One file's way."""

    def __init__(self, means: Archiver, item: PendingMedia, run_id: int, calls: Calls) -> None:
        self._means, self._item, self._run_id, self._calls = means, item, run_id, calls
        self._inbound = calls.ledger.inbound
        self._place = Place(means.folder, item, calls.ledger.identity.phone_number_id, also_accept=means.also_accept)

    def run(self) -> bool:
        """Archive it, or note why not. False where only the deletion afterwards has failed.

        Raises:
            Dialog360Error: what concerns more than this file. It is still pending then.
        """
        with self._calls.ledger.keeper.keeping(self._item, self._inbound):
            if not self._by_webhook_url():
                self._by_id()
            return self._place.kept is None or self._keep(self._place.kept)

    def _by_webhook_url(self) -> bool:
        """Whether the errand is over: the file is there, or will not be had now. Else the id is to be asked."""
        item, until = self._item, self._item.url_until
        if item.suspect or until is None or until <= item.now + _URL_MARGIN_S:  # of a suspect one thing is asked: its id
            return False
        webhook = self._means.finder.find(item, self._calls.ledger.identity.phone_number_id)
        if webhook is None or webhook.url is None:
            return False
        try:
            outcome = download_by_webhook_url(self._place, webhook.url.reveal(), calls=self._calls, sha256=item.sha256)
        except MediaUrlRefusedError as refused:
            log.warning("the URL in the webhook of media id %s is not used: %s", item.media_id, refused.reason)
            return False
        except InboundTypeRefusedError as refused:
            self._lose("refused_type", refused)
            return True
        if outcome is None or isinstance(outcome, DownloadedMedia):
            return outcome is not None
        if not isinstance(outcome, _URL_FAILED):
            raise outcome
        log.info("the webhook's URL of media id %s does not work, its id will be asked: %s", item.media_id, outcome)
        self._calls.patiently(lambda: self._inbound.url_failed(item))  # so that a batch never fails more often than rows are out
        return True

    def _by_id(self) -> None:
        item, calls = self._item, self._calls
        known = calls.patiently(lambda: calls.ledger.refused.look_up(item.media_id))
        if known is not None:
            self._lose("gone", known)
            return
        age_s = item.now - item.received_at
        if age_s < _READY_AFTER_S and calls.stop.wait(_READY_AFTER_S - age_s):  # it may not be there at once
            raise StoppedError(operation="archive")
        try:
            download(self._place, calls=calls, media_id=item.media_id, sha256=item.sha256)
        except MediaGoneError as error:
            self._lose("gone", error, failed=True)
        except InboundTypeRefusedError as error:
            self._lose("refused_type", error)
        except DownloadTooLargeError as error:
            self._lose("too_large", error)
        except DownloadCorruptError as error:
            self._fail(error, "corrupt")
        except MediaUrlExpiredError as error:
            self._fail(error, "gone")
        except _PASSING as error:
            self._fail(error, None)
        except (RequestRefusedError, AccessRefusedError) as error:
            self._fail(error, None)  # it rests, so that it is not in the way of the others next time
            raise

    def _keep(self, kept: Kept) -> bool:
        item, measured = self._item, kept.measured
        if self._means.write_metadata:
            self._write_metadata(kept)
        settle = partial(self._inbound.archive, item, self._run_id, uri=kept.uri, mime_type=kept.mime_type)
        if not self._calls.patiently(partial(settle, sha256=measured.sha256, size_bytes=measured.size_bytes)):
            log.info("media id %s was archived by somebody else meanwhile, under the same name", item.media_id)
            return True
        log.info("archived media id %s: %s, %d bytes", item.media_id, kept.mime_type, measured.size_bytes)
        return not self._means.delete_after_archive or self._delete()

    def _delete(self) -> bool:
        try:
            delete(self._item.media_id, calls=self._calls)
        except SetupError:
            raise
        except Dialog360Error as error:
            log.warning("media id %s is archived, but could not be deleted: %s", self._item.media_id, error)
            return False
        return True

    def _write_metadata(self, kept: Kept) -> None:
        item, number = self._item, self._calls.ledger.identity.phone_number_id
        said = _describe(item, self._means.finder.find(item, number))
        facts = {"mime_type": kept.mime_type, "size_bytes": kept.measured.size_bytes, "sha256": kept.measured.sha256}
        text = json.dumps({"phone_number_id": number, "uri": kept.uri, **facts, **said}, indent=2)
        write_text(self._means.folder, f"{kept.name}.json", [text])

    def _lose(self, reason: Loss, error: Dialog360Error, *, failed: bool = False) -> None:
        log.warning("media id %s is lost (%s): %s", self._item.media_id, reason, _words(error))
        self._calls.patiently(lambda: self._inbound.lose(self._item, self._run_id, reason, _words(error), failed=failed))

    def _fail(self, error: Dialog360Error, reason: Loss | None) -> None:
        log.warning("media id %s could not be archived this time: %s", self._item.media_id, _words(error))
        self._calls.patiently(lambda: self._inbound.fail(self._item, _words(error), run=self._run_id, reason=reason))


def _words(error: Dialog360Error) -> str:
    """Why a received file is not there; without the remedies that are for uploads."""
    if isinstance(error, MediaGoneError):
        return f"360dialog does not know it (HTTP {error.status}, code {error.code}): {error.details}"
    if isinstance(error, DownloadCorruptError):
        return f"what came is not the file: {error.reason}"
    return str(error)


def _describe(item: PendingMedia, webhook: InboundMedia | None) -> dict[str, Any]:
    """What is known of a received file beside its bytes. What the sender wrote is escaped, and not to be trusted."""
    return {
        "media_id": item.media_id,
        "kind": item.kind,
        "announced_mime_type": item.mime_type,
        "received_at": datetime.fromtimestamp(item.received_at, UTC).isoformat(),
        "message_id": webhook.message_id if webhook else None,
        "sender": webhook.sender if webhook else None,
        "file_name": webhook.file_name if webhook else None,
        "caption": webhook.caption if webhook else None,
        "source": item.source,
        "line": item.line,
    }


def write_report(folder: Folder, run_id: int, calls: Calls) -> str | None:
    """One line of JSON for each file that a run has lost; its URI, or None where it lost none.

    Args:
        folder: of the archive. run_id: of the run. calls: the channel.
    """
    inbound = calls.ledger.inbound
    page = calls.patiently(partial(inbound.lost_in, run_id))
    if not page:
        return None

    def lines() -> Iterator[str]:
        rows = page
        while rows:
            yield from map(_report_line, rows)
            rows = calls.patiently(partial(inbound.lost_in, run_id, after=rows[-1].row))

    began_at = datetime.fromtimestamp(calls.patiently(partial(inbound.began_at, run_id)), UTC)
    name = f"{calls.ledger.identity.phone_number_id}/lost/{began_at:%Y-%m-%d}-run-{run_id}.jsonl"
    return write_text(folder, name, lines())


def _report_line(lost: LostMedia) -> str:
    facts = {
        "media_id": lost.media_id,
        "reason": lost.reason,
        "details": lost.details,
        "kind": lost.kind,
        "received_at": datetime.fromtimestamp(lost.received_at, UTC).isoformat(),
        "is_final": lost.lost_at is not None,
        "source": lost.source,
        "line": lost.line,
    }
    return json.dumps(facts)
