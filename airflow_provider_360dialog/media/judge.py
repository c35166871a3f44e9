"""Judge a file before anything is sent: one pass over its bytes, every problem at once.

The only module here that reads. What a fact means is decided in `rules`; this one collects facts in flat memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_360dialog.exceptions import source_error
from airflow_provider_360dialog.media.content import HEAD_BYTES, TAIL_BYTES, Sample
from airflow_provider_360dialog.media.limits import LARGEST_MAX_BYTES
from airflow_provider_360dialog.media.rules import Facts, decide
from airflow_provider_360dialog.media.signatures import needs_tail, read_content

if TYPE_CHECKING:
    from typing import BinaryIO

    from airflow_provider_360dialog.media.content import Content
    from airflow_provider_360dialog.ports import Source, Verdict

BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Measured:
    """What a file is. ``content`` is None for an empty one; ``sha256``: lowercase hex."""

    content: Content | None
    size_bytes: int
    sha256: str


def measure(handle: BinaryIO) -> Measured:
    """What a file is, by its bytes alone: one pass from where the handle stands to its end, in flat memory."""
    sample, sha256 = _read_all(handle)
    return Measured(read_content(sample) if sample.head else None, sample.size_bytes, sha256)


def inspect(
    source: Source,
    *,
    mime_type: str | None = None,
    filename: str | None = None,
    kind: str | None = None,
) -> Verdict:
    """Judge a file by its content, its size, and what is said of it.

    Args:
        source: the file; read once from its beginning, not at all where its size is already above every limit.
        mime_type: what the caller declares. None or ``application/octet-stream`` leave it to the content.
        filename: the name to send, in place of the source's own.
        kind: the kind of message that it is meant for. None takes the kind of the type.

    Returns:
        The verdict. ``ok`` is True where nothing forbids an upload; otherwise ``errors`` lists every reason with its remedy.

    Raises:
        SourceUnreadableError, StorageFailedError: the source cannot be read. A bad file is not an exception but a verdict.
    """
    try:
        sample, sha256 = _read(source)
    except OSError as error:
        raise source_error(source.uri, error) from error
    return decide(
        Facts(
            name=filename or source.name,
            size_bytes=sample.size_bytes,
            sha256=sha256,
            content=read_content(sample) if sample.head else None,
            mime_type=mime_type,
            kind=kind,
        )
    )


def _read(source: Source) -> tuple[Sample, str]:
    """What is looked at, and the sha256 of everything; an empty sha256 where reading stopped above the largest limit."""
    announced_bytes = source.size_bytes()
    if announced_bytes > LARGEST_MAX_BYTES:
        return Sample(head=b"", size_bytes=announced_bytes), ""
    with source.open() as handle:
        return _read_all(handle)


def _read_all(handle: BinaryIO) -> tuple[Sample, str]:
    head = _read_head(handle)
    digest = hashlib.sha256(head)
    tail = bytearray(head) if needs_tail(head) else None
    size_bytes = len(head)
    while size_bytes <= LARGEST_MAX_BYTES and (block := handle.read(BLOCK_BYTES)):
        digest.update(block)
        size_bytes += len(block)
        if tail is not None:
            tail += block
            del tail[:-TAIL_BYTES]
    whole = size_bytes <= LARGEST_MAX_BYTES
    return Sample(head=head, size_bytes=size_bytes, tail=bytes(tail or b"")), digest.hexdigest() if whole else ""


def _read_head(handle: BinaryIO) -> bytes:
    """The first bytes, as many as are looked at; a source may give them in pieces."""
    head = handle.read(HEAD_BYTES)
    while 0 < len(head) < HEAD_BYTES and (more := handle.read(HEAD_BYTES - len(head))):
        head += more
    return head
