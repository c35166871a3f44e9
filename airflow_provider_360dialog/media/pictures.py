"""What the headers of a JPEG, PNG or WebP tell: size, colours, turn, frames, a position, and whether its end is there.

Nothing is decoded, so a picture that is found whole may still hold broken pixels. What a fact means for a message is decided in
`picture_rules`. Where decoders differ, a picture is called broken only where the common ones (libjpeg, libpng, libwebp) give up.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from airflow_provider_360dialog.media.metadata import (
    EXIF,
    LONGEST_KEYWORD_BYTES,
    TEXT_KINDS,
    XMP,
    XMP_EXTENSION,
    Xmp,
    is_metadata_text,
    read_exif,
    read_tags,
    text_has_position,
)
from airflow_provider_360dialog.media.walks import LARGEST_RANGE_BYTES, Range

Colours: TypeAlias = Literal["", "rgb", "rgba", "grey", "palette", "cmyk"]
PictureWalk: TypeAlias = Generator[Range, bytes, "Picture"]
_Part: TypeAlias = Generator[Range, bytes, Any]


class Flaw(NamedTuple):
    """What is broken about a picture. ``words`` continue the sentence "The picture is ...: it ..."."""

    code: Literal["image_truncated", "image_corrupt"]
    words: str


@dataclass
class Picture:
    """The facts of one picture.

    Attributes:
        width, height: pixels, as stored and before any turn; 0 where not found.
        bits: per channel, 8 for a palette, whose colours have 8 bits whatever its index has; 0 where not found.
        colours: ``cmyk`` covers YCCK, ``grey`` also grey with transparency; empty where not found.
        orientation: EXIF's, 1 to 8; 1 where it has none that can be believed.
        frames: at least 1; several where the picture moves (WebP, APNG).
        transparent: whether it says that it has an alpha channel or a transparent colour.
        pictures: how many a multi-picture JPEG (MPO) lists.
        gain_map: whether the pictures behind the first only make it brighter on some screens (Ultra HDR).
        located: whether EXIF or XMP holds a position, or may hold it where nobody looked.
        flaw: the first that was found; what stands behind it was not looked at.
    """

    width: int = 0
    height: int = 0
    bits: int = 0
    colours: Colours = ""
    orientation: int = 1
    frames: int = 1
    transparent: bool = False
    pictures: int = 1
    gain_map: bool = False
    located: bool = False
    flaw: Flaw | None = None

    @property
    def animated(self) -> bool:
        """True where it has several frames; a flag alone makes no animation."""
        return self.frames > 1

    @property
    def several(self) -> bool:
        """True where further pictures, worth to be seen, hang behind the first."""
        return self.pictures > 1 and not self.gain_map


def walk_jpeg() -> PictureWalk:
    """Segments up to the first scan, then the scan for its end, behind which anything may follow (pictures, a clip, notes)."""
    return _picture(_jpeg)


def walk_png() -> PictureWalk:
    """All chunks, by their headers."""
    return _picture(_png)


def walk_webp() -> PictureWalk:
    """All chunks, by their headers; frames are counted."""
    return _picture(_webp)


PICTURE_WALKS: Final[dict[str, Callable[[], PictureWalk]]] = {
    "image/jpeg": walk_jpeg,
    "image/png": walk_png,
    "image/webp": walk_webp,
}
"""MIME type -> a new walk for `walks.Passing`, over the file from its first byte; it expects the magic bytes of that type."""


# --- what the formats share ---------------------------------------------------------------------------------------

_MOST_PARTS: Final = 4096  # segments of a JPEG, chunks of a WebP: cameras write some 30, an animation one a frame
_MOST_PNG_CHUNKS: Final = 65_536  # some writers make a chunk of every 512 bytes
_NO_END: Final = "has no end; a copy or a download was cut off"


class _FlawFound(Exception):  # noqa: N818 - not an error of anybody; it leaves a walk from within its parts
    def __init__(self, code: Literal["image_truncated", "image_corrupt"], words: str) -> None:
        super().__init__(words)
        self.flaw = Flaw(code, words)


def _picture(parts: Callable[[Picture], _Part]) -> PictureWalk:
    found = Picture()
    try:
        yield from parts(found)
    except _FlawFound as stop:
        found.flaw = stop.flaw
    return found


def _exactly(offset: int, length: int) -> Generator[Range, bytes, bytes]:
    piece = yield Range(offset, length)
    if len(piece) < length:
        raise _FlawFound("image_truncated", _NO_END)
    return piece


def _corrupt(words: str) -> _FlawFound:
    return _FlawFound("image_corrupt", words)


def _note_exif(found: Picture, tiff: bytes) -> None:
    """Where a picture has several blocks of EXIF, the first that says something holds."""
    exif = read_exif(tiff)
    if found.orientation == 1:
        found.orientation = exif.orientation
    found.located = found.located or exif.located


def _big(piece: bytes) -> int:
    return int.from_bytes(piece, "big")


def _little(piece: bytes) -> int:
    return int.from_bytes(piece, "little")


# --- JPEG ---------------------------------------------------------------------------------------------------------

_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # headers of a frame, whatever its coding
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_EOI, _SOS, _APP1, _APP2 = 0xD9, 0xDA, 0xE1, 0xE2
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_END: Final = re.compile(rb"\xff\xd9")  # a third of the time of bytes.find: its first byte is rare
_JUNK_BYTES: Final = 4096
_MOST_JUNK: Final = 16  # times _JUNK_BYTES
_SCAN_BYTES: Final = 64 * 1024
_COMPONENTS: Final[dict[int, Colours]] = {1: "grey", 3: "rgb", 4: "cmyk"}
_XMP_EXTENSION_HEAD_BYTES: Final = len(XMP_EXTENSION) + 40  # behind its name: whose extension, how long, which part of it
_PICTURES_TAG: Final = 0xB001


def _jpeg(found: Picture) -> _Part:
    at, xmp = 2, Xmp()
    for _ in range(_MOST_PARTS):
        at, kind = yield from _next_marker(at)
        if kind in _ALONE:
            continue
        if kind == _EOI:
            raise _corrupt("has no picture in it")
        length = _big((yield from _exactly(at, 2)))
        if length < 2:
            raise _corrupt("has a segment of an impossible length")
        if kind == _SOS:
            if not found.colours:
                raise _corrupt("does not say how large it is")
            return (yield from _find_end(at + length))
        if kind in _SOF:
            _read_frame(found, length, (yield from _exactly(at + 2, 6)))
        elif kind in {_APP1, _APP2}:
            _read_application(found, kind, (yield Range(at + 2, length - 2)), xmp)
        at += length
    raise _corrupt(f"has more than {_MOST_PARTS:,} segments")


def _next_marker(at: int) -> Generator[Range, bytes, tuple[int, int]]:
    """Where the next segment goes on behind its marker, and its kind. Fill bytes and junk are passed over, as decoders do."""
    for _ in range(_MOST_JUNK):
        piece = yield Range(at, _JUNK_BYTES)
        if marker := _MARKER.search(piece):
            return at + marker.end(), piece[marker.start() + 1]
        if len(piece) < _JUNK_BYTES:
            raise _FlawFound("image_truncated", _NO_END)
        at += len(piece) - 1  # its last byte may begin a marker
    raise _corrupt("has segments that do not follow each other")


def _read_frame(found: Picture, length: int, content: bytes) -> None:
    colours = _COMPONENTS.get(content[5])
    if colours is None or length != 8 + 3 * content[5]:
        raise _corrupt("has a header that makes no sense")
    if found.colours:
        raise _corrupt("says twice how large it is")
    found.bits, found.height, found.width, found.colours = content[0], _big(content[1:3]), _big(content[3:5]), colours
    _refuse_nothing(found)


def _refuse_nothing(found: Picture) -> None:
    if not (found.width and found.height):
        raise _corrupt("has a side of 0 pixels")


def _read_application(found: Picture, kind: int, content: bytes, xmp: Xmp) -> None:
    if kind == _APP1 and content.startswith(EXIF):
        _note_exif(found, content.removeprefix(EXIF))
    elif kind == _APP1 and content.startswith(XMP):
        found.gain_map = found.gain_map or b"hdrgm:Version=" in content
        found.located = found.located or xmp.has_position(content)
    elif kind == _APP1 and content.startswith(XMP_EXTENSION):
        found.located = found.located or xmp.has_position(content[_XMP_EXTENSION_HEAD_BYTES:])
    elif kind == _APP2 and content.startswith(b"MPF\x00"):
        found.pictures = max(found.pictures, read_tags(content[4:]).get(_PICTURES_TAG, 1))


def _find_end(at: int) -> _Part:
    """Within a scan the end marker cannot occur: every other 0xFF is followed by a 0 or a marker of the scan's own."""
    while True:
        piece = yield Range(at, _SCAN_BYTES)
        if _END.search(piece):
            return
        if len(piece) < _SCAN_BYTES:
            raise _FlawFound("image_truncated", _NO_END)
        at += _SCAN_BYTES - 1


# --- PNG ----------------------------------------------------------------------------------------------------------

_PNG_COLOURS: Final[dict[int, tuple[Colours, frozenset[int]]]] = {
    0: ("grey", frozenset({1, 2, 4, 8, 16})),
    2: ("rgb", frozenset({8, 16})),
    3: ("palette", frozenset({1, 2, 4, 8})),
    4: ("grey", frozenset({8, 16})),
    6: ("rgba", frozenset({8, 16})),
}
"""Colour type -> colours, and the bit depths that PNG knows for it."""
_LARGEST_PNG_NUMBER: Final = 0x7FFF_FFFF
_REMEMBERED: Final = frozenset({b"PLTE", b"IDAT"})  # chunks whose order matters here


def _png(found: Picture) -> _Part:
    _read_header(found, (yield from _exactly(8, 25)))
    at, seen = 33, set[bytes]()
    for _ in range(_MOST_PNG_CHUNKS):
        head = yield from _exactly(at, 8)
        length, kind = _big(head[:4]), head[4:]
        if length > _LARGEST_PNG_NUMBER or not kind.isalpha() or kind == b"IHDR":
            raise _corrupt("has chunks that do not follow each other")
        if kind == b"IEND":
            if b"IDAT" not in seen:
                raise _corrupt("has no picture in it")
            return (yield from _exactly(at + 8, 4))
        yield from _read_chunk(found, kind, at + 8, length, seen)
        if kind in _REMEMBERED:
            seen.add(kind)
        at += 12 + length
    raise _corrupt(f"has more than {_MOST_PNG_CHUNKS:,} chunks")


def _read_header(found: Picture, chunk: bytes) -> None:
    colours, depths = _PNG_COLOURS.get(chunk[17], ("", frozenset()))
    if chunk[:8] != b"\x00\x00\x00\x0dIHDR" or chunk[16] not in depths or chunk[18:20] != b"\x00\x00" or chunk[20] > 1:
        raise _corrupt("has a header that makes no sense")
    if zlib.crc32(chunk[4:21]) != _big(chunk[21:]):
        raise _corrupt("has a header whose checksum is wrong")
    found.width, found.height = _big(chunk[8:12]), _big(chunk[12:16])
    found.bits, found.colours = 8 if colours == "palette" else chunk[16], colours
    found.transparent = chunk[17] in {4, 6}
    _refuse_nothing(found)


def _read_chunk(found: Picture, kind: bytes, at: int, length: int, seen: set[bytes]) -> _Part:
    if kind == b"IDAT" and found.colours == "palette" and b"PLTE" not in seen:
        raise _corrupt("has no palette in front of its picture")
    if kind == b"eXIf":
        _note_exif(found, (yield Range(at, min(length, LARGEST_RANGE_BYTES))))
    elif kind in TEXT_KINDS:
        yield from _read_text(found, kind, at, length)
    elif b"IDAT" in seen:
        return  # the chunks below count in front of the picture only
    elif kind == b"acTL":
        found.frames = max(1, _big((yield from _exactly(at, 4))))
    elif kind == b"tRNS":
        found.transparent = True


def _read_text(found: Picture, kind: bytes, at: int, length: int) -> _Part:
    start = yield Range(at, min(length, LONGEST_KEYWORD_BYTES + 1))
    if found.located or not is_metadata_text(start):
        return
    if length > LARGEST_RANGE_BYTES:
        found.located = True
    else:
        found.located = text_has_position(kind, (yield Range(at, length)))


# --- WebP ---------------------------------------------------------------------------------------------------------

_ANIMATION_FLAG, _ALPHA_FLAG = 0x02, 0x10
_WEBP_PICTURES: Final = frozenset({b"VP8 ", b"VP8L"})
_WEBP_HEADS: Final = {b"VP8X": 10, b"VP8 ": 10, b"VP8L": 5, b"ANMF": 16}
_WEBP_READ: Final = {**_WEBP_HEADS, b"EXIF": LARGEST_RANGE_BYTES, b"XMP ": LARGEST_RANGE_BYTES}
"""Chunk -> how many of its first bytes are looked at; those of `_WEBP_HEADS` have at least these."""


@dataclass
class _Webp:
    """What the chunks of a WebP say. ``flags`` is None without VP8X."""

    canvas: tuple[int, int] = (0, 0)
    picture: tuple[int, int] = (0, 0)
    flags: int | None = None
    alpha: bool = False
    frames: int = 0
    exif: bytes = field(default=b"", repr=False)
    xmp_located: bool = False

    @property
    def moves(self) -> bool:
        return bool((self.flags or 0) & _ANIMATION_FLAG)

    def add(self, kind: bytes, content: bytes) -> None:
        if kind == b"EXIF":
            self.exif = self.exif or content
        elif kind == b"XMP ":
            self.xmp_located = self.xmp_located or len(content) == LARGEST_RANGE_BYTES or Xmp().has_position(content)
        elif len(content) < _WEBP_HEADS.get(kind, 0):
            raise _corrupt("has a header that is too short")
        elif kind == b"ANMF":
            self.frames += 1
        elif kind == b"VP8X":
            self.flags, self.canvas = content[0], (1 + _little(content[4:7]), 1 + _little(content[7:10]))
        elif kind in _WEBP_PICTURES and self.picture == (0, 0):
            self.picture, self.alpha = (_read_vp8 if kind == b"VP8 " else _read_vp8l)(content)


def _webp(found: Picture) -> _Part:
    webp = _Webp()
    try:
        end = yield from _read_chunks(webp)
    finally:
        _note(found, webp)
    _judge(found, webp)
    yield from _exactly(end - 1, 1)


def _read_chunks(webp: _Webp) -> Generator[Range, bytes, int]:
    """Returns where the file says that it ends."""
    head = yield from _exactly(0, 12)
    end, at = 8 + _little(head[4:8]), 12
    for number in range(_MOST_PARTS):
        if at + 8 > end:
            return end
        chunk = yield from _exactly(at, 8)
        kind, length = chunk[:4], _little(chunk[4:])
        in_order = kind in {b"VP8X", *_WEBP_PICTURES} if number == 0 else kind != b"VP8X"
        if at + 8 + length > end or not in_order:
            raise _corrupt("has chunks that do not follow each other")
        wanted = min(length, _WEBP_READ.get(kind, 0))
        webp.add(kind, (yield from _exactly(at + 8, wanted)) if wanted else b"")
        at += 8 + length + length % 2
    raise _corrupt(f"has more than {_MOST_PARTS:,} chunks")


def _read_vp8(content: bytes) -> tuple[tuple[int, int], bool]:
    if content[0] & 1 or content[3:6] != b"\x9d\x01\x2a":
        raise _corrupt("has a picture that makes no sense")
    return (_little(content[6:8]) & 0x3FFF, _little(content[8:10]) & 0x3FFF), False


def _read_vp8l(content: bytes) -> tuple[tuple[int, int], bool]:
    bits = _little(content[1:5])
    if content[0] != 0x2F or bits >> 29:
        raise _corrupt("has a picture that makes no sense")
    return (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)), bool(bits >> 28 & 1)


def _note(found: Picture, webp: _Webp) -> None:
    found.width, found.height = webp.picture if webp.flags is None else webp.canvas
    found.bits = 8
    found.transparent = webp.alpha if webp.flags is None else bool(webp.flags & _ALPHA_FLAG)
    found.colours = "rgba" if found.transparent else "rgb"
    found.frames = max(1, webp.frames) if webp.moves else 1
    _note_exif(found, webp.exif.removeprefix(EXIF))
    found.located = found.located or webp.xmp_located


def _judge(found: Picture, webp: _Webp) -> None:
    is_empty = webp.frames == 0 if webp.moves else webp.picture == (0, 0)
    if is_empty:
        raise _corrupt("has no picture in it")
    if not webp.moves and webp.picture != (found.width, found.height):
        raise _corrupt("says two sizes of itself")
    _refuse_nothing(found)
