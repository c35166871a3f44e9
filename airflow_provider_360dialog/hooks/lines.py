"""Text in blocks and lines: files of any place, read as they come and unpacked on the way, and text written whole or not at all.

What a line means is the business of whoever reads it; what a place is, of `hooks.places`.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from typing import TYPE_CHECKING, Any, Final, cast

from airflow_provider_360dialog.exceptions import SourceUnreadableError, destination_error, source_error
from airflow_provider_360dialog.hooks.places import destination_at, source_at
from airflow_provider_360dialog.jobs.manifest import RECORD_MAX_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_360dialog.ports import Source

LINE_MAX_BYTES: Final = 4 * (RECORD_MAX_CHARS + 1)
"""Of a line of a manifest: holds more characters than a record may have."""

_BLOCK_BYTES: Final = 256 * 1024
_UNPACKED_MAX_BYTES: Final = 4 * 1024**3  # ten million lines and more; a file of 4 MB could hold as much
_PACKED: Final = ".gz"


def text_lines(place: object, *, line_max_bytes: int = LINE_MAX_BYTES) -> Iterator[str]:
    """The lines of a UTF-8 text, without their ends; what is not UTF-8 turns into U+FFFD.

    Args:
        place: as of `hooks.places.source_at`; unpacked where its name ends in .gz.
        line_max_bytes: as of `lines`.

    Raises:
        SourceUnreadableError, StorageFailedError: while it is read.
    """
    source, packed = source_at(place), str(place).lower().endswith(_PACKED)
    first = True
    for line in lines(source, packed=packed, errors="replace", line_max_bytes=line_max_bytes):
        yield (line.removeprefix("\ufeff") if first else line).removesuffix("\r")
        first = False


def write_lines(place: object, lines: Iterable[str]) -> tuple[int, str]:
    """Write a UTF-8 text under its final name, whole or not at all; what stands there is replaced.

    Args:
        place: as of `hooks.places.destination_at`. lines: without their ends.

    Returns:
        The number of lines, and the sha256 of the bytes as lowercase hex.

    Raises:
        DestinationError, StorageFailedError: it could not be written. Nothing has changed then.
    """
    destination = destination_at(place, overwrite=True)
    destination.check()
    count, digest = 0, hashlib.sha256()
    try:
        with destination.stage() as staged:
            for count, line in enumerate(lines, 1):  # noqa: B007 - the last number is the result
                content = f"{line}\n".encode("utf-8", "backslashreplace")
                digest.update(content)
                staged.file.write(content)
            staged.publish()
    except OSError as fault:
        raise destination_error(destination.uri, fault) from fault
    return count, digest.hexdigest()


def read_bytes(source_or_place: object, *, max_bytes: int) -> bytes:
    """All bytes of a short file; of one that is too long, no more is read than the bound and one block.

    Args:
        source_or_place: a `ports.Source`, or a place as of `hooks.places.source_at`; unpacked where its name ends in .gz.
        max_bytes: that it may have, unpacked.

    Raises:
        SourceUnreadableError: longer than that; damaged, not there, or not readable.
        StorageFailedError: the storage failed in a way that may pass.
    """
    is_source = hasattr(source_or_place, "size_bytes")  # no path has one
    source = cast("Source", source_or_place) if is_source else source_at(source_or_place)
    packed = source.name.lower().endswith(_PACKED)
    content = bytearray()
    for block in blocks(source, packed=packed):
        content += block
        if len(content) > max_bytes:
            found = "it unpacks to more than" if packed else "it is longer than"
            raise SourceUnreadableError(uri=source.uri, reason=f"{found} {max_bytes:,} bytes, and is not read any further")
    return bytes(content)


def lines(source: Source, *, packed: bool, errors: str, line_max_bytes: int = LINE_MAX_BYTES) -> Iterator[str]:
    """Lines without their line feeds. Of one that is far too long, enough for its reader to see that; the rest is dropped.

    Args:
        source: of UTF-8 text. packed: by gzip. errors: what becomes of other bytes, as of `bytes.decode`.
        line_max_bytes: what a line may have. A longer one is cut there, unless it ends in the block in which it gets too long.

    Raises:
        SourceUnreadableError, StorageFailedError: while it is read.
    """
    rest, dropping = b"", False
    for block in blocks(source, packed=packed):
        data = rest + block
        if dropping:
            _, found, data = data.partition(b"\n")
            dropping = not found
        whole, found, rest = data.rpartition(b"\n")
        if found:
            yield from whole.decode("utf-8", errors).split("\n")
        if len(rest) > line_max_bytes:
            yield rest[:line_max_bytes].decode("utf-8", errors)
            rest, dropping = b"", True
    if rest:
        yield rest.decode("utf-8", errors)


def blocks(source: Source, *, packed: bool) -> Iterator[bytes]:
    """The bytes of a file in blocks of 256 KiB, unpacked by gzip where it is packed.

    Raises:
        SourceUnreadableError: damaged, or it unpacks to more than 4 GiB; not there, or not readable.
        StorageFailedError: the storage failed in a way that may pass.
    """
    left = _UNPACKED_MAX_BYTES
    with source.open() as handle:
        file: Any = gzip.GzipFile(fileobj=handle, mode="rb") if packed else handle
        try:
            while block := file.read(_BLOCK_BYTES):
                left -= len(block)
                if packed and left < 0:
                    raise SourceUnreadableError(
                        uri=source.uri,
                        reason=f"it unpacks to more than {_UNPACKED_MAX_BYTES >> 30} GiB; split it, or give it unpacked",
                    )
                yield block
        except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
            raise SourceUnreadableError(
                uri=source.uri, reason="it is damaged, cut off, or no gzip file; write it again, or give it unpacked"
            ) from fault
        except OSError as fault:
            raise source_error(source.uri, fault) from fault
