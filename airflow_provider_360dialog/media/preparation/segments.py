"""The segments of a JPEG, read one after the other from a handle: bounded, nothing is decoded."""

from __future__ import annotations

import re
from typing import BinaryIO, Final, NamedTuple

EOI, SOS, DQT = 0xD9, 0xDA, 0xDB
SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
MOST_SEGMENTS: Final = 4096

_START: Final = b"\xff\xd8"
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a length
_IN_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # all other marks belong to the scan
_MOST_JUNK_BYTES: Final = 64 * 1024
_BLOCK_BYTES: Final = 64 * 1024


class Segment(NamedTuple):
    """``kind``: the second byte of its marker. ``content``: behind its length; empty where the marker stands alone."""

    kind: int
    content: bytes

    def to_bytes(self) -> bytes:
        """As it stands in a file."""
        marker = bytes((0xFF, self.kind))
        return marker if self.kind in _ALONE else marker + (2 + len(self.content)).to_bytes(2, "big") + self.content


def read_exactly(handle: BinaryIO, length: int) -> bytes:
    """So many bytes; ValueError where the file ends before. For lengths of a few ten thousand."""
    content = handle.read(length)
    while len(content) < length and (more := handle.read(length - len(content))):
        content += more
    if len(content) < length:
        raise ValueError("the file ends too early")
    return content


def copy_exactly(source: BinaryIO, target: BinaryIO, length: int) -> None:
    """Copy so many bytes in flat memory; ValueError where the file ends before."""
    while length:
        block = read_exactly(source, min(length, _BLOCK_BYTES))
        target.write(block)
        length -= len(block)


def read_start(handle: BinaryIO) -> None:
    """Read the two bytes that begin a JPEG; ValueError where there are others."""
    if read_exactly(handle, 2) != _START:
        raise ValueError("it does not begin as a JPEG")


def read_segment(handle: BinaryIO) -> Segment:
    """The next one. Fill bytes and junk in front of it are passed over, as decoders do; ValueError where there is none."""
    kind = _read_kind(handle)
    if kind in _ALONE:
        return Segment(kind, b"")
    length = int.from_bytes(read_exactly(handle, 2), "big")
    if length < 2:
        raise ValueError("a segment has an impossible length")
    return Segment(kind, read_exactly(handle, length - 2))


def copy_scan(source: BinaryIO, target: BinaryIO) -> None:
    """Copy coded pixels up to the marker of the next segment. ``source`` has to be seekable; it stands in front of it then."""
    while True:
        block = source.read(_BLOCK_BYTES)
        if len(block) < 2:
            raise ValueError("the file ends too early")
        marker = _IN_SCAN.search(block)
        # the last byte may begin a marker
        length = marker.start() if marker else len(block) - (block[-1] == 0xFF)
        target.write(block[:length])
        source.seek(length - len(block), 1)
        if marker:
            return


def _read_kind(handle: BinaryIO) -> int:
    before = 0
    for _ in range(_MOST_JUNK_BYTES):
        byte = read_exactly(handle, 1)[0]
        if before == 0xFF and byte not in {0x00, 0xFF}:
            return byte
        before = byte
    raise ValueError("its segments do not follow each other")
