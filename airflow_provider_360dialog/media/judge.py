"""Judge a file before anything is sent: one pass over its bytes, every problem at once.

The only module here that reads. What a fact means is decided in `rules`; this one collects facts in flat memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_360dialog.exceptions import source_error
from airflow_provider_360dialog.media.content import HEAD_BYTES, Sample
from airflow_provider_360dialog.media.limits import LARGEST_MAX_BYTES
from airflow_provider_360dialog.media.looks import look_at, walk_for
from airflow_provider_360dialog.media.rules import Facts, decide
from airflow_provider_360dialog.media.signatures import read_content, tail_bytes
from airflow_provider_360dialog.media.walks import Passing

if TYPE_CHECKING:
    from typing import BinaryIO

    from airflow_provider_360dialog.media.content import Content
    from airflow_provider_360dialog.media.looks import Look
    from airflow_provider_360dialog.media.walks import Walk
    from airflow_provider_360dialog.ports import Source, Verdict

BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Measured:
    """What a file is. ``content`` is None for an empty one; ``sha256``: lowercase hex."""

    content: Content | None
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Examined:
    """A verdict, and what was seen inside of the file; None where nothing was looked at."""

    verdict: Verdict
    look: Look | None


def measure(handle: BinaryIO) -> Measured:
    """What a file is, by its bytes alone: one pass from where the handle stands to its end, in flat memory."""
    sample, sha256, _ = _read_all(handle, with_look=False)
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
    return examine(source, mime_type=mime_type, filename=filename, kind=kind).verdict


def examine(
    source: Source,
    *,
    mime_type: str | None = None,
    filename: str | None = None,
    kind: str | None = None,
) -> Examined:
    """`inspect`, with what was seen inside."""
    try:
        sample, sha256, walked = _read(source)
    except OSError as error:
        raise source_error(source.uri, error) from error
    content = read_content(sample) if sample.head else None
    look = look_at(sample, content.mime_type, walked) if sha256 and content is not None else None
    facts = Facts(
        name=filename or source.name,
        size_bytes=sample.size_bytes,
        sha256=sha256,
        content=content,
        mime_type=mime_type,
        kind=kind,
        look=look,
    )
    return Examined(decide(facts), look)


def _read(source: Source) -> tuple[Sample, str, Look | None]:
    """What is looked at, and the sha256 of everything; an empty sha256 where reading stopped above the largest limit."""
    announced_bytes = source.size_bytes()
    if announced_bytes > LARGEST_MAX_BYTES:
        return Sample(head=b"", size_bytes=announced_bytes), "", None
    with source.open() as handle:
        return _read_all(handle, with_look=True)


def _read_all(handle: BinaryIO, *, with_look: bool) -> tuple[Sample, str, Look | None]:
    head = _read_head(handle)
    walk = _walk_by(head) if with_look and head else None
    passing = None if walk is None else Passing(walk)
    if passing is not None:
        passing.feed(head)
    digest = hashlib.sha256(head)
    kept_bytes = tail_bytes(head)
    tail = bytearray(head[-kept_bytes:]) if kept_bytes else None
    size_bytes = len(head)
    while size_bytes <= LARGEST_MAX_BYTES and (block := handle.read(BLOCK_BYTES)):
        digest.update(block)
        size_bytes += len(block)
        if passing is not None:
            passing.feed(block)
        if tail is not None:
            tail += block
            del tail[:-kept_bytes]
    whole = size_bytes <= LARGEST_MAX_BYTES
    sample = Sample(head=head, size_bytes=size_bytes, tail=bytes(tail or b""))
    return sample, digest.hexdigest() if whole else "", passing.end() if passing is not None and whole else None


def _walk_by(head: bytes) -> Walk | None:
    """The walk for what a file seems to be by its first bytes; how long it is, nobody knows yet."""
    size_bytes = len(head) if len(head) < HEAD_BYTES else LARGEST_MAX_BYTES
    return walk_for(read_content(Sample(head, size_bytes)).mime_type)


def _read_head(handle: BinaryIO) -> bytes:
    """The first bytes, as many as are looked at; a source may give them in pieces."""
    head = handle.read(HEAD_BYTES)
    while 0 < len(head) < HEAD_BYTES and (more := handle.read(HEAD_BYTES - len(head))):
        head += more
    return head
