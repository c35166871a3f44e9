"""Facts of an ISO base media file (mp4, m4a, 3gp): its tracks with their codecs, and the order and completeness of its parts.

A walk over box headers in the one pass that hashes the file. Work and memory are bounded whatever the bytes are, and nothing is
decoded. What the facts mean is decided in `film_rules`; the type by brand in `boxes`. Numbers of bytes are those of ISO/IEC
14496-12 (boxes), 14496-14 and 14496-1 (``esds``), 14496-15 (``avcC``) and ITU-T H.264 (sequence parameter set).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from airflow_provider_360dialog.media.descriptions import (
    HEADER_BYTES,
    Box,
    Codec,
    mark_text,
    read_box,
    read_descriptions,
    read_picture,
    read_sound,
)
from airflow_provider_360dialog.media.walks import Range

MAX_BOXES: Final = 4096  # below the top level
MAX_BOXES_OF_LEVEL: Final = 512
MAX_PAYLOAD_BYTES: Final = 64 * 1024

_OPEN_END = 2**64  # of a box that reaches to the end of the file; a written size ends below, or beyond every file
_NEEDED = frozenset({b"ftyp", b"moov", b"moof", b"mdat"})  # what else is cut off, or follows as junk, is not missed
_MEDIA = frozenset({b"mdat", b"imda"})


@dataclass(frozen=True)
class Track:
    """One track. ``handler``: ``vide``, ``soun`` or another mark. ``reorders``: its frames are not shown in coded order."""

    handler: str
    codecs: tuple[Codec, ...] = ()
    reorders: bool = False


@dataclass(frozen=True)
class Film:
    """What an ISO base media file holds.

    Attributes:
        brands: the major one first. duration_s: None where the index does not say.
        has_index: a ``moov`` was found. index_first: it stands before the media. has_media: an ``mdat`` was found.
        fragmented: the index announces fragments. cut: a part is longer than the file.
        complete: the walk came to the end of the file; False where it gave up at `MAX_BOXES`, as in a film of many fragments.
        index_read: it came to the end of the index; False where a track may have been missed.
    """

    brands: tuple[str, ...] = ()
    tracks: tuple[Track, ...] = ()
    duration_s: float | None = None
    has_index: bool = False
    index_first: bool = False
    has_media: bool = False
    fragmented: bool = False
    cut: bool = False
    complete: bool = True
    index_read: bool = True

    @property
    def pictures(self) -> tuple[Track, ...]:
        """The video tracks."""
        return tuple(track for track in self.tracks if track.handler == "vide")

    @property
    def sounds(self) -> tuple[Track, ...]:
        """The audio tracks."""
        return tuple(track for track in self.tracks if track.handler == "soun")

    @property
    def truncated(self) -> bool:
        """True where the end is missing: without an index or without media there is nothing to play."""
        return self.cut or (self.complete and not (self.has_index and self.has_media))

    @property
    def mime_type(self) -> str | None:
        """Video or audio, by the tracks; 3gpp where the major brand says so. None without a picture and a sound."""
        family = "3gpp" if self.brands and self.brands[0][:2] == "3g" else "mp4"
        if self.pictures:
            return f"video/{family}"
        return f"audio/{family}" if self.sounds else None


_Steps: TypeAlias = Generator[Range, bytes, None]


def walk_film() -> Generator[Range, bytes, Film]:
    """The facts of a file: a walk for `walks.Passing`. Never raises, whatever the bytes are."""
    reader = _Reader()
    yield from reader.walk()
    return reader.film()


@dataclass
class _Trak:
    """A track while it is read."""

    id: int = 0
    handler: bytes = b""
    descriptions: bytes = b""
    codecs: tuple[Codec, ...] = ()
    reorders: bool = False

    def close(self) -> None:
        """Only now the handler is known for certain; the bytes are not kept."""
        read = {b"vide": read_picture, b"soun": read_sound}.get(self.handler)
        self.codecs = tuple(read_descriptions(self.descriptions, read)) if read else ()
        self.descriptions = b""

    def track(self, reordered_ids: set[int]) -> Track:
        return Track(mark_text(self.handler), self.codecs, self.reorders or self.id in reordered_ids)


@dataclass
class _Reader:
    left: int = MAX_BOXES
    brands: tuple[str, ...] = ()
    traks: list[_Trak] = field(default_factory=list)
    duration_s: float | None = None
    seen: set[bytes] = field(default_factory=set)
    index_first: bool = False
    fragment_of: int = 0
    first_offsets: dict[int, int] = field(default_factory=dict)
    reordered_ids: set[int] = field(default_factory=set)
    cut: bool = False
    complete: bool = False
    index_read: bool = True

    def film(self) -> Film:
        return Film(
            brands=self.brands,
            tracks=tuple(trak.track(self.reordered_ids) for trak in self.traks),
            duration_s=self.duration_s,
            has_index=b"moov" in self.seen,
            index_first=self.index_first,
            has_media=not _MEDIA.isdisjoint(self.seen),
            fragmented=b"mvex" in self.seen,
            cut=self.cut,
            complete=self.complete,
            index_read=self.index_read,
        )

    def walk(self) -> _Steps:
        at, header, last = 0, (yield Range(0, HEADER_BYTES)), b""
        for _ in range(MAX_BOXES_OF_LEVEL):
            box = read_box(header, at, _OPEN_END)
            if box is None or self.left == 0:
                self.complete = box is None
                self.cut = last == b"moof"  # its media is missing
                return
            yield from self._visit_top(box)
            # The last byte of this box, and the header of the next: so a cut is seen without knowing how long the file is.
            piece = b"" if box.end == _OPEN_END else (yield Range(box.end - 1, 1 + HEADER_BYTES))
            if not piece:
                self.cut = box.kind in _NEEDED and box.end != _OPEN_END
                self.complete = True
                return
            at, header, last = box.end, piece[1:], box.kind

    def _visit_top(self, box: Box) -> _Steps:
        first = box.kind not in self.seen
        self.seen.add(box.kind)
        if box.kind == b"ftyp" and first:
            payload = yield from _payload(box.start, box.end)
            marks = [payload[at : at + 4] for at in range(0, min(len(payload), 4096), 4) if at != 4]  # at 4: the version
            self.brands = tuple(mark_text(mark) for mark in marks if len(mark) == 4)
        elif box.kind == b"moov" and first:
            self.index_first = _MEDIA.isdisjoint(self.seen)
            yield from self._level(box.start, box.end, {b"mvhd": self._mvhd, b"trak": self._trak, b"mvex": self._mvex})
        elif box.kind == b"moof":
            yield from self._level(box.start, box.end, {b"traf": self._traf})

    def _level(self, at: int, end: int, visitors: dict[bytes, Callable[[int, int], _Steps]]) -> _Steps:
        """Visit the boxes of one level. A box that claims to be longer than its parent is taken to end with it."""
        for _ in range(MAX_BOXES_OF_LEVEL):
            if at + 8 > end:
                return
            if self.left == 0:
                break
            self.left -= 1
            box = read_box((yield Range(at, HEADER_BYTES)), at, end)
            if box is None:
                return
            if box.kind in visitors:
                yield from visitors[box.kind](box.start, min(box.end, end))
            at = box.end
        self.index_read &= b"moof" in self.seen

    def _mvhd(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, min(end, start + 32))
        form, at = (">IQ", 20) if payload[:1] == b"\1" else (">II", 12)
        if len(payload) >= at + struct.calcsize(form):
            scale, duration = struct.unpack_from(form, payload, at)
            self.duration_s = duration / scale if scale and duration else None

    def _mvex(self, _start: int, _end: int) -> _Steps:
        self.seen.add(b"mvex")
        yield from ()

    def _trak(self, start: int, end: int) -> _Steps:
        self.traks.append(_Trak())
        yield from self._level(start, end, {b"tkhd": self._tkhd, b"mdia": self._mdia})
        self.traks[-1].close()

    def _tkhd(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, min(end, start + 24))
        at = 20 if payload[:1] == b"\1" else 12
        self.traks[-1].id = int.from_bytes(payload[at : at + 4], "big")

    def _mdia(self, start: int, end: int) -> _Steps:
        yield from self._level(start, end, {b"hdlr": self._hdlr, b"minf": self._minf})

    def _hdlr(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, min(end, start + 12))
        self.traks[-1].handler = self.traks[-1].handler or payload[8:12]

    def _minf(self, start: int, end: int) -> _Steps:
        yield from self._level(start, end, {b"stbl": self._stbl})

    def _stbl(self, start: int, end: int) -> _Steps:
        yield from self._level(start, end, {b"stsd": self._stsd, b"ctts": self._ctts})

    def _stsd(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, end)
        self.traks[-1].descriptions = self.traks[-1].descriptions or payload

    def _ctts(self, start: int, end: int) -> _Steps:
        """Every frame has the same offset, or there are frames that wait for a later one: B-frames."""
        payload = yield from _payload(start, end)
        entries = payload[8 : 8 + 8 * int.from_bytes(payload[4:8], "big")]
        offsets = {offset for count, offset in struct.iter_unpack(">II", entries[: len(entries) // 8 * 8]) if count}
        self.traks[-1].reorders |= len(offsets) > 1

    def _traf(self, start: int, end: int) -> _Steps:
        self.fragment_of = 0
        yield from self._level(start, end, {b"tfhd": self._tfhd, b"trun": self._trun})

    def _tfhd(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, min(end, start + 8))
        self.fragment_of = int.from_bytes(payload[4:8], "big")

    def _trun(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, end)
        flags, count = int.from_bytes(payload[1:4], "big"), int.from_bytes(payload[4:8], "big")
        if not flags & 0x800:  # no composition offsets
            return
        first = 8 + 4 * (flags & 0x5).bit_count() + 4 * (flags & 0x700).bit_count()
        step = 4 * (flags & 0xF00).bit_count()
        for at in range(first, min(len(payload) - 3, first + step * count), step):
            offset = int.from_bytes(payload[at : at + 4], "big")
            if self.first_offsets.setdefault(self.fragment_of, offset) != offset:
                self.reordered_ids.add(self.fragment_of)
                return


def _payload(start: int, end: int) -> Generator[Range, bytes, bytes]:
    if end <= start:
        return b""
    return (yield Range(start, min(end - start, MAX_PAYLOAD_BYTES)))
