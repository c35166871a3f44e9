"""A look into a file while it passes by: a walk asks for ranges of bytes in ascending order, and gets them as they come.

So a video whose index lies at its end is read in the one pass that hashes it, in flat memory, and from storages that cannot seek.
A walk is a generator: it yields a `Range`, is sent the bytes (fewer where the file ends before), and returns what it has found.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, NamedTuple, TypeAlias

LARGEST_RANGE_BYTES: Final = 256 * 1024


class Range(NamedTuple):
    """Bytes that a walk wants: ``length`` 0 to `LARGEST_RANGE_BYTES`, ``offset`` not before that of its last range."""

    offset: int
    length: int


Walk: TypeAlias = Generator[Range, bytes, Any]


class Passing:
    """Feeds one walk.

    Args:
        walk: a new one.
    """

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._kept, self._kept_from = bytearray(), 0
        self._wanted: Range | None = None
        self._found: Any = None
        self._advance(None)

    def feed(self, block: bytes) -> None:
        """The next bytes of the file."""
        if self._wanted is None:
            return
        skip = max(0, min(self._wanted.offset - self._kept_from - len(self._kept), len(block)))
        if skip == len(block) and not self._kept:
            self._kept_from += skip
            return
        if not self._kept:
            self._kept_from += skip
            block = block[skip:]
        self._kept += block
        self._serve(at_end=False)

    def end(self) -> Any:
        """What the walk has found, now that the file is at its end."""
        self._serve(at_end=True)
        return self._found

    def _serve(self, *, at_end: bool) -> None:
        while (wanted := self._wanted) is not None:
            start = wanted.offset - self._kept_from
            if not at_end and start + wanted.length > len(self._kept):
                return
            piece = bytes(self._kept[max(0, start) : max(0, start + wanted.length)])
            self._advance(piece)

    def _advance(self, piece: bytes | None) -> None:
        before = self._wanted
        try:
            wanted = next(self._walk) if piece is None else self._walk.send(piece)
        except StopIteration as stop:
            self._wanted, self._found = None, stop.value
            self._kept.clear()
            return
        if not 0 <= wanted.length <= LARGEST_RANGE_BYTES or wanted.offset < (before.offset if before else 0):
            raise ValueError(f"a walk asked for {wanted} after {before}")
        self._wanted = wanted
        drop = min(max(0, wanted.offset - self._kept_from), len(self._kept))
        del self._kept[:drop]
        self._kept_from += drop


def walk_over(walk: Walk, content: bytes) -> Any:
    """What a walk finds in bytes that are there already."""
    passing = Passing(walk)
    passing.feed(content)
    return passing.end()
