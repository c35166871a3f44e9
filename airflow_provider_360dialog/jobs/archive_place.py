"""Where a received file goes in an archive: what it may be, and what it is called, by its bytes alone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import CallError, InboundTypeRefusedError, destination_error
from airflow_provider_360dialog.media.content import OTHER_TYPES
from airflow_provider_360dialog.media.judge import measure
from airflow_provider_360dialog.media.limits import extension_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import BinaryIO

    from airflow_provider_360dialog.ledger.inbound import PendingMedia
    from airflow_provider_360dialog.media.judge import Measured
    from airflow_provider_360dialog.ports import Folder, StagedFor


_RUN_BY_BROWSERS: Final = frozenset({"text/html", "image/svg+xml", "text/javascript", "application/xml", "text/x-php"})
"""Never archived: whoever opened such a file from the archive's own address would run what a customer wrote."""


@dataclass(frozen=True)
class Kept:
    """A file under its final name. ``name``: relative to the folder. ``mime_type``: its true type."""

    uri: str
    name: str
    mime_type: str
    measured: Measured


class Place:
    """The destination of one file; its name is made when its bytes are there."""

    def __init__(self, folder: Folder, item: PendingMedia, number: str, *, also_accept: frozenset[str]) -> None:
        self.uri, self._folder, self._also_accept = folder.uri, folder, also_accept
        self._item, self._phone_number_id = item, number
        self.kept: Kept | None = None

    def check(self) -> None:
        """The folder was probed once for all."""

    @contextmanager
    def stage(self) -> Iterator[_Judged]:
        """A temporary home."""
        with self._folder.stage() as staged:
            yield _Judged(self, staged)

    def publish(self, staged: StagedFor) -> None:
        """Give the verified bytes the name that is theirs.

        Raises:
            InboundTypeRefusedError: they are of a type that nobody wants to find in an archive.
        """
        staged.file.seek(0)
        measured = measure(staged.file)
        mime_type, extension = _type_of(measured, self._item.mime_type, self._also_accept)
        day = datetime.fromtimestamp(self._item.received_at, UTC)
        stem = f"{self._phone_number_id}/{day:%Y/%m/%d}/{self._item.media_id}-{measured.sha256[:8]}"
        name = f"{stem}{extension}"
        self.kept = Kept(staged.publish(name, mime_type=mime_type), name, mime_type, measured)


class _Judged:
    """A staged file that is judged before it is published."""

    def __init__(self, place: Place, staged: StagedFor) -> None:
        self.file: BinaryIO = staged.file
        self._place, self._staged = place, staged

    def publish(self) -> None:
        self._place.publish(self._staged)


def check_types(also_accept: Collection[str]) -> frozenset[str]:
    """Types that are archived besides those that WhatsApp lists.

    Raises:
        CallError: one of them is not known by its content.
    """
    known = frozenset(OTHER_TYPES.values()) - _RUN_BY_BROWSERS
    unknown = sorted(set(also_accept) - known)
    if isinstance(also_accept, str) or unknown:
        names = repr(also_accept) if isinstance(also_accept, str) else ", ".join(map(repr, unknown))
        raise CallError(f"also_accept is a list of MIME types out of {', '.join(sorted(known))}; not {names[:200]}.")
    return frozenset(also_accept)


def _type_of(measured: Measured, announced: str | None, also_accept: frozenset[str]) -> tuple[str, str]:
    """The type by content, and its extension.

    Raises:
        InboundTypeRefusedError: it is none that is archived.
    """
    content = measured.content
    if content is None or content.mime_type is None:
        raise InboundTypeRefusedError(label="empty" if content is None else content.label)
    mime_type = announced if announced is not None and announced in content.candidates else content.mime_type
    extension = extension_for(mime_type)
    if extension is None and mime_type in also_accept:
        extension = next(each for each, other in OTHER_TYPES.items() if other == mime_type)
    if extension is None:
        raise InboundTypeRefusedError(label=content.label)
    return mime_type, extension


def write_text(folder: Folder, name: str, lines: Iterable[str]) -> str:
    """A small text in a folder, whole or not at all; its URI.

    Raises:
        DestinationError, StorageFailedError: it could not be written.
    """
    try:
        with folder.stage() as staged:
            for line in lines:
                staged.file.write(f"{line}\n".encode("utf-8", "backslashreplace"))
            return staged.publish(name, mime_type="application/json")
    except OSError as fault:
        raise destination_error(folder.uri, fault) from fault
