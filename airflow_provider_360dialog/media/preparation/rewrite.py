"""Copy a picture without its metadata: parts are left out, pixels are not decoded, so they stay as they are.

Pure Python in flat memory, for bytes of strangers. Kept is what is needed to show the picture the same, with its colour profile;
everything else goes, known or not, and so does what hangs behind the picture's end: it may be another picture, or a film.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final

from airflow_provider_360dialog.media.metadata import EXIF, orientation_exif
from airflow_provider_360dialog.media.preparation.segments import (
    EOI,
    MOST_SEGMENTS,
    SOF,
    SOS,
    Segment,
    copy_exactly,
    copy_scan,
    read_exactly,
    read_segment,
    read_start,
)


def rewrite(source: BinaryIO, target: BinaryIO, *, mime_type: str, orientation: int = 1) -> bool:
    """Copy a picture without its metadata.

    Args:
        source: at the first byte; seekable. target: where the copy goes; seekable, and left where the copy ends.
        mime_type: ``image/jpeg``, ``image/png`` or ``image/webp``, by content.
        orientation: EXIF's, 1 to 8, which the copy shall say with nothing beside; 1 for no EXIF at all.

    Returns:
        Whether anything was left out.

    Raises:
        ValueError: the parts of the picture do not follow each other, or its end is missing. What was written is of no use then.
    """
    before, start = source.tell(), target.tell()
    _WRITERS[mime_type](source, target, b"" if orientation == 1 else orientation_exif(orientation))
    return source.seek(0, io.SEEK_END) - before != target.tell() - start


# --- JPEG ---------------------------------------------------------------------------------------------------------

_APP0, _APP1 = 0xE0, 0xE1
_TABLES: Final = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD})
_NAMED: Final = {_APP0: b"JFIF\x00", 0xE2: b"ICC_PROFILE\x00", 0xEE: b"Adobe"}
"""Application segments that say how colours are meant: kind -> how the content begins."""
_JFIF_BYTES: Final = 14


def _write_jpeg(source: BinaryIO, target: BinaryIO, exif: bytes) -> None:
    read_start(source)
    target.write(b"\xff\xd8")
    waiting = Segment(_APP1, EXIF + exif).to_bytes() if exif else b""
    for _ in range(MOST_SEGMENTS):
        segment = read_segment(source)
        if waiting and segment.kind != _APP0:  # behind JFIF, which has to be the first
            target.write(waiting)
            waiting = b""
        if _is_kept(segment):
            target.write(_without_thumbnail(segment).to_bytes())
        if segment.kind == SOS:
            copy_scan(source, target)
        elif segment.kind == EOI:
            return
    raise ValueError(f"it has more than {MOST_SEGMENTS:,} segments")


def _is_kept(segment: Segment) -> bool:
    if segment.kind in _NAMED:
        return segment.content.startswith(_NAMED[segment.kind])
    return segment.kind in {*_TABLES, *SOF, SOS, EOI}


def _without_thumbnail(segment: Segment) -> Segment:
    if segment.kind != _APP0 or len(segment.content) <= _JFIF_BYTES:
        return segment
    return Segment(_APP0, segment.content[: _JFIF_BYTES - 2] + b"\x00\x00")


# --- PNG ----------------------------------------------------------------------------------------------------------

_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT bKGD pHYs cICP mDCV cLLI acTL fcTL fdAT".split())
_MOST_PNG_CHUNKS: Final = 65_536
_LARGEST_PNG_NUMBER: Final = 0x7FFF_FFFF


def _write_png(source: BinaryIO, target: BinaryIO, exif: bytes) -> None:
    if read_exactly(source, 8) != _PNG_START:
        raise ValueError("it does not begin as a PNG")
    target.write(_PNG_START)
    for number in range(_MOST_PNG_CHUNKS):
        head = read_exactly(source, 8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if length > _LARGEST_PNG_NUMBER or not kind.isalpha() or (kind == b"IHDR") != (number == 0):
            raise ValueError("its chunks do not follow each other")
        if kind not in _PNG_KEPT:
            if kind[:1].isupper():
                raise ValueError("it has a chunk that is needed and that nobody knows")
            _pass_over(source, length + 4)
            continue
        target.write(head)
        copy_exactly(source, target, length + 4)
        if number == 0 and exif:
            target.write(_png_chunk(b"eXIf", exif))
        if kind == b"IEND":
            return
    raise ValueError(f"it has more than {_MOST_PNG_CHUNKS:,} chunks")


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def _pass_over(source: BinaryIO, length: int) -> None:
    """Go on behind so many bytes, the last of which has to be there."""
    if length:
        source.seek(length - 1, io.SEEK_CUR)
        read_exactly(source, 1)


# --- WebP ---------------------------------------------------------------------------------------------------------

_WEBP_KEPT: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_MOST_WEBP_CHUNKS: Final = 4096
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04


def _write_webp(source: BinaryIO, target: BinaryIO, exif: bytes) -> None:
    head = read_exactly(source, 12)
    if (head[:4], head[8:]) != (b"RIFF", b"WEBP"):
        raise ValueError("it does not begin as a WebP")
    start = target.tell()
    target.write(head)
    is_extended = _copy_webp_chunks(source, target, int.from_bytes(head[4:8], "little") - 4, has_exif=bool(exif))
    if is_extended and exif:
        target.write(b"EXIF" + len(exif).to_bytes(4, "little") + exif + bytes(len(exif) % 2))
    end = target.tell()
    target.seek(start + 4)
    target.write((end - start - 8).to_bytes(4, "little"))
    target.seek(end)


def _copy_webp_chunks(source: BinaryIO, target: BinaryIO, left: int, *, has_exif: bool) -> bool:
    """Copy what is kept of the chunks in the next ``left`` bytes; True where an extended header is among them."""
    is_extended = False
    for _ in range(_MOST_WEBP_CHUNKS):
        if left < 8:
            return is_extended
        head = read_exactly(source, 8)
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        left -= 8 + length
        if left < 0:
            raise ValueError("its chunks do not follow each other")
        if kind == b"VP8X" and length:
            is_extended = True
            flags = read_exactly(source, 1)[0] & ~(_EXIF_FLAG | _XMP_FLAG) | (_EXIF_FLAG if has_exif else 0)
            target.write(head + bytes((flags,)))
            copy_exactly(source, target, length - 1)
        elif kind in _WEBP_KEPT:
            target.write(head)
            copy_exactly(source, target, length)
        else:
            _pass_over(source, length)
        if length % 2:
            if kind in _WEBP_KEPT:
                target.write(b"\x00")
            if left:  # some writers do not fill up the last chunk
                read_exactly(source, 1)
                left -= 1
    raise ValueError(f"it has more than {_MOST_WEBP_CHUNKS:,} chunks")


_WRITERS: Final[dict[str, Callable[[BinaryIO, BinaryIO, bytes], None]]] = {
    "image/jpeg": _write_jpeg,
    "image/png": _write_png,
    "image/webp": _write_webp,
}
