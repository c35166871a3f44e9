"""Take in what webhooks say: from files where they were landed, or from a payload in hand; into the ledger, and nothing else.

A file that was read to its end is not read again unless it changes. URLs stay where they are: `Finder` reads a webhook once more
when its row's turn has come.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NoReturn

from airflow_provider_360dialog.exceptions import (
    CallError,
    SourceUnreadableError,
    StoppedError,
    StorageFailedError,
)
from airflow_provider_360dialog.ledger.intake import Arrival
from airflow_provider_360dialog.webhook import read_inbound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_360dialog.exceptions import Dialog360Error
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ledger.inbound import PendingMedia
    from airflow_provider_360dialog.webhook import Inbound, InboundMedia

log = logging.getLogger(__name__)

DOCUMENT_MAX_BYTES: Final = 8 * 1024 * 1024
"""Of a JSON document that is no JSON Lines. WhatsApp's largest webhook has 3 MB."""
LINE_MAX_BYTES: Final = 4 * 1024 * 1024
WEBHOOK_URL_LIFE: Final = timedelta(minutes=5)

_PAYLOAD: Final = "payload:"
_PAGE: Final = 500
_WINDOW_LINES: Final = 500
_WINDOWS: Final = 4


@dataclass(frozen=True)
class WebhookFile:
    """Where webhooks are: one JSON document, or one webhook a line.

    Attributes:
        uri: names it, also for the next one who wants to read it. stamp: of its content; None where it has to be read each time.
        lines: reads it line by line, each at most `LINE_MAX_BYTES`. whole: reads it as one text of at most `DOCUMENT_MAX_BYTES`.
            Both raise SourceUnreadableError or StorageFailedError.
        is_stored: whether it is a file; else a payload that has gone through Airflow's own database.
    """

    uri: str
    stamp: str | None
    lines: Callable[[], Iterable[str]]
    whole: Callable[[], bytes]
    is_stored: bool = True

    def webhooks(self) -> Iterator[tuple[int, Inbound]]:
        """What each line says, with its number from 1; a document is one line, blank ones are left out."""
        first = True
        for number, line in enumerate(self.lines(), 1):
            if not line.strip():
                continue
            if first and not _is_json(line):
                document = self._document()
                if document is not None:
                    yield 1, read_inbound(document)
                    return
            first = False
            yield number, read_inbound(line)

    def _document(self) -> object:
        """All of it as one value; None where it is none, or is too long for one."""
        try:
            return json.loads(self.whole())
        except (ValueError, RecursionError, SourceUnreadableError):
            return None


def payload_file(payload: object) -> WebhookFile:
    """A payload in hand as if it were a file: the same one is taken in once.

    Raises:
        CallError: it is none that JSON could hold.
    """
    try:
        text = payload if isinstance(payload, str) else json.dumps(payload, default=str)
    except (TypeError, ValueError, RecursionError) as fault:
        raise CallError(f"The payload of a webhook is JSON, and this is not ({fault}): give it as it came.") from fault
    name = f"{_PAYLOAD}{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
    return WebhookFile(name, "in hand", lambda: [text.replace("\n", " ")], text.encode, is_stored=False)


def is_payload(uri: str) -> bool:
    """Whether a source's name is that of a payload, which cannot be read again."""
    return uri.startswith(_PAYLOAD)


def broken_file(uri: str, fault: Dialog360Error) -> WebhookFile:
    """A place that cannot be looked at, in the order of the others: its fault is told when its turn comes."""

    def fail() -> NoReturn:
        raise fault

    return WebhookFile(uri, None, fail, fail)


@dataclass
class Intake:
    """What was found in one execution.

    Attributes:
        sources, read: files, and how many of them had to be read. new: rows put on record. known: messages of files that were on
        record. others: messages of other kinds. malformed: what is no webhook. other_channels: files of other numbers.
        no_channel: files of which the webhook does not say the number. urls_dropped: URLs that Airflow has stored.
        fault: the first source that could not be read; all others were.
    """

    sources: int = 0
    read: int = 0
    new: int = 0
    known: int = 0
    others: int = 0
    malformed: int = 0
    other_channels: int = 0
    no_channel: int = 0
    urls_dropped: int = 0
    fault: Dialog360Error | None = field(default=None, repr=False)

    def counts(self) -> dict[str, int]:
        """The numbers that are not 0."""
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "fault"}
        return {name: count for name, count in named.items() if count}


def take_in(files: Iterable[WebhookFile], *, run: int, calls: Calls, webhook_url_life: timedelta = WEBHOOK_URL_LIFE) -> Intake:
    """Put on record what files say of one channel. Sends nothing.

    Args:
        files: as a listing gives them. run: which takes in. calls: the channel.
        webhook_url_life: how long after its message a webhook's URL without ``ext`` may be tried.

    Raises:
        StoppedError: the task was told to end. LedgerUnavailableError: it did not answer for five minutes.
    """
    found = Intake()
    intake = calls.ledger.intake
    try:
        for page in _pages(iter(files)):
            stamps = [(each.uri, each.stamp) for each in page]
            for file, unread in zip(page, calls.patiently(partial(intake.unread, stamps)), strict=True):
                found.sources += 1
                if not unread:
                    continue
                _Reading(file, run, calls, webhook_url_life, found).read()
    except _NoRoom:
        log.warning("too much is pending for this number already: the rest of the webhooks is left for later")
    if found.urls_dropped:
        log.warning(
            "%d media URLs came through Airflow's own database (conf, XCom or an Asset event), where others can read them: they "
            "are dropped. Give the place of a file instead, so that URLs are used while they live",
            found.urls_dropped,
        )
    if found.malformed:
        log.warning("%d places in the sources are no webhook: damaged lines, or files of something else", found.malformed)
    if found.no_channel:
        log.warning("%d received files belong to no number, for their webhook does not name one: left alone", found.no_channel)
    log.info("webhooks: %s", ", ".join(f"{name} {count}" for name, count in found.counts().items()) or "none")
    return found


def _pages(files: Iterator[WebhookFile]) -> Iterator[list[WebhookFile]]:
    while page := list(islice(files, _PAGE)):
        yield page


class _NoRoom(Exception):  # noqa: N818 - no error, a reason to stop reading
    """Nothing more is taken in."""


class _Reading:
    """One file on its way into the ledger."""

    def __init__(self, file: WebhookFile, run: int, calls: Calls, url_life: timedelta, found: Intake) -> None:
        self._file, self._run, self._calls, self._url_life, self._found = file, run, calls, url_life, found
        self._number = calls.ledger.identity.phone_number_id
        self._waiting: list[Arrival] = []
        self._flushed = False

    def read(self) -> None:
        try:
            for line, webhook in self._file.webhooks():
                if self._calls.stop.is_set():
                    raise StoppedError(operation="read webhooks")
                self._add(line, webhook)
                if len(self._waiting) >= _PAGE:
                    self._flush(self._file.uri)
        except (SourceUnreadableError, StorageFailedError) as fault:
            _note(self._found, fault)
            if self._waiting:
                self._flush(self._file.uri)
            return
        if self._waiting:
            alone = len(self._waiting) == 1 and not self._flushed
            self._flush(self._neighbours() if alone else self._file.uri)
        self._found.read += 1
        stamp = self._file.stamp
        if stamp is not None:
            self._calls.patiently(lambda: self._calls.ledger.intake.was_read(self._file.uri, stamp))

    def _add(self, line: int, webhook: Inbound) -> None:
        found = self._found
        found.known += webhook.duplicates
        found.others += webhook.others
        found.malformed += webhook.malformed
        for media in webhook.media:
            if media.phone_number_id == self._number:
                self._waiting.append(self._arrival(line, media))
            else:
                found.other_channels += 1
        for lost in webhook.unusable:
            if lost.phone_number_id == self._number:
                received_at = None if lost.received_at is None else lost.received_at.timestamp()
                self._waiting.append(Arrival(lost.mark, line, kind=lost.kind, received_at=received_at, lost_because=lost.details))
            elif lost.phone_number_id is None:
                found.no_channel += 1
            else:
                found.other_channels += 1

    def _arrival(self, line: int, media: InboundMedia) -> Arrival:
        url_until = None
        if media.url is not None and not self._file.is_stored:
            self._found.urls_dropped += 1
        elif media.url is not None:
            until = media.url_expires_at
            if until is None and media.received_at is not None:
                until = media.received_at + self._url_life
            url_until = None if until is None else until.timestamp()
        return Arrival(
            media.media_id,
            line,
            kind=media.kind,
            mime_type=media.mime_type,
            sha256=media.sha256,
            received_at=None if media.received_at is None else media.received_at.timestamp(),
            url_until=url_until,
        )

    def _flush(self, batch: str) -> None:
        arrivals, self._waiting, self._flushed = self._waiting, [], True
        intake = self._calls.ledger.intake
        if not self._calls.patiently(intake.has_room):
            raise _NoRoom
        new = self._calls.patiently(lambda: intake.take_in(self._run, self._file.uri, batch, arrivals))
        self._found.new += new
        self._found.known += len(arrivals) - new

    def _neighbours(self) -> str:
        """A webhook that is alone in its file is judged together with those that this run finds beside it."""
        return f"{self._file.uri.rpartition('/')[0]}/ of run {self._run}"


def _note(found: Intake, fault: Dialog360Error) -> None:
    found.fault = found.fault or fault
    log.warning("a source of webhooks could not be read, and is left for the next run: %s", fault)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class Finder:
    """What the webhook of a row says, read once more from where it lies. Thread-safe; keeps a few windows of lines.

    Args:
        file_at: gives the file of a URI, or None where it cannot be had any more.
    """

    def __init__(self, file_at: Callable[[str], WebhookFile | None]) -> None:
        self._file_at = file_at
        self._windows: OrderedDict[tuple[str, int], dict[str, InboundMedia]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, item: PendingMedia, number: str) -> InboundMedia | None:
        """The webhook's words for a row of a number; None where they are not there any more."""
        with self._lock:
            window = (item.source, item.line // _WINDOW_LINES)
            if window not in self._windows:
                self._windows[window] = self._read(*window, number)
                if len(self._windows) > _WINDOWS:
                    self._windows.popitem(last=False)
            self._windows.move_to_end(window)
            return self._windows[window].get(item.media_id)

    def _read(self, uri: str, window: int, number: str) -> dict[str, InboundMedia]:
        found: dict[str, InboundMedia] = {}
        try:
            file = self._file_at(uri)
            for line, webhook in file.webhooks() if file is not None else ():
                if line // _WINDOW_LINES > window:
                    break
                if line // _WINDOW_LINES == window:
                    for media in webhook.media:
                        if media.phone_number_id == number:
                            found.setdefault(media.media_id, media)
        except (SourceUnreadableError, StorageFailedError) as fault:
            log.warning("a webhook could not be read again, so its URL is not used: %s", fault)
        return found
