"""What the metadata in a picture tells: how it is turned, and whether it holds a position. Pure: bytes in, facts out.

Read are EXIF and XMP, also as PNG keeps them in texts. Names of places (a city in IPTC) are no position. What cannot be looked
at, for it is compressed or broken, is taken for one: to remove too much does no harm.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

EXIF: Final = b"Exif\x00\x00"
XMP: Final = b"http://ns.adobe.com/xap/1.0/\x00"
XMP_EXTENSION: Final = b"http://ns.adobe.com/xmp/extension/\x00"
ORIENTATION_TAG: Final = 0x0112

_ORDERS: Final[dict[bytes, Literal["little", "big"]]] = {b"II*\x00": "little", b"MM\x00*": "big"}
_GPS_TAG, _LATITUDE_TAG = 0x8825, 0x0002


# --- EXIF ---------------------------------------------------------------------------------------------------------


class Exif(NamedTuple):
    """``orientation``: 1 to 8; 1 where it says none that can be believed. ``located``: whether it holds a position."""

    orientation: int
    located: bool


def read_exif(tiff: bytes) -> Exif:
    """Orientation and position of one block of EXIF, without its mark."""
    tags = read_tags(tiff)
    turn, gps_at = tags.get(ORIENTATION_TAG, 1), tags.get(_GPS_TAG)
    # a directory that says its version only, as many phones write it, holds no position
    located = gps_at is not None and (gps_at + 2 > len(tiff) or _LATITUDE_TAG in read_tags(tiff, gps_at))
    return Exif(turn if 1 <= turn <= 8 else 1, located)


def read_tags(tiff: bytes, start: int | None = None) -> dict[int, int]:
    """Tag -> value of one directory, by default the first; of a value that is no SHORT, what its four bytes would be as LONG.

    Follows nothing, so neither cycles nor counts can make it read more than these bytes once.
    """
    order = _ORDERS.get(tiff[:4])
    if order is None:
        return {}
    start = int.from_bytes(tiff[4:8], order) if start is None else start
    count = int.from_bytes(tiff[start : start + 2], order)
    tags = {}
    for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        length = 2 if int.from_bytes(tiff[at + 2 : at + 4], order) == 3 else 4
        tags[int.from_bytes(tiff[at : at + 2], order)] = int.from_bytes(tiff[at + 8 : at + 8 + length], order)
    return tags


def orientation_exif(orientation: int) -> bytes:
    """EXIF, without its mark, that says an orientation and nothing else."""
    entry = ORIENTATION_TAG.to_bytes(2, "big") + b"\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\x00\x00"
    return b"MM\x00*\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"


# --- XMP ----------------------------------------------------------------------------------------------------------

# exif:GPSLatitude, drone-dji:GpsLongitude, GPSCoordinates, geo:lat: prefixes and cases differ by writer
_POSITION: Final = re.compile(rb"[Gg][Pp][Ss][_-]?(?:[Dd]est)?[_-]?(?:[Ll]at|[Ll]on|[Cc]oord|[Pp]os)|geo:(?:lat|long)\b")
_LONGEST_NAME_BYTES: Final = 32


class Xmp:
    """XMP that comes in pieces; a name may lie across two of them."""

    def __init__(self) -> None:
        self._end = b""

    def has_position(self, piece: bytes) -> bool:
        """Whether the next piece, with the end of the one before, names a position."""
        text = self._end + piece.replace(b"\x00", b"")  # without zeros, UTF-16 reads as UTF-8 does
        self._end = text[-_LONGEST_NAME_BYTES:]
        return _POSITION.search(text) is not None


# --- texts of a PNG -----------------------------------------------------------------------------------------------

TEXT_KINDS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
LONGEST_KEYWORD_BYTES: Final = 79
_XMP_KEYWORD: Final = b"xml:com.adobe.xmp"
_RAW_KEYWORDS: Final = frozenset({b"raw profile type exif", b"raw profile type app1", b"raw profile type xmp"})


def is_metadata_text(start: bytes) -> bool:
    """Whether a text that begins with these bytes (`LONGEST_KEYWORD_BYTES` and a zero suffice) may hold a position."""
    return _keyword(start) in {_XMP_KEYWORD, *_RAW_KEYWORDS}


def text_has_position(kind: bytes, content: bytes) -> bool:
    """Whether a whole text for which `is_metadata_text` is true holds a position, or may hold one that nobody saw.

    Args:
        kind: one of `TEXT_KINDS`. content: of the chunk.
    """
    text = _plain_text(kind, content)
    if text is None:
        return True
    if _keyword(content) == _XMP_KEYWORD:
        return Xmp().has_position(text)
    try:
        # ImageMagick's form: a name, a length, and hexadecimal digits in lines
        profile = bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return True
    return read_exif(profile.removeprefix(EXIF)).located or Xmp().has_position(profile)


def _keyword(content: bytes) -> bytes:
    return content[: LONGEST_KEYWORD_BYTES + 1].split(b"\x00", 1)[0].lower()


def _plain_text(kind: bytes, content: bytes) -> bytes | None:
    """What stands behind the keyword; None where it is compressed or cut off."""
    _, _, rest = content.partition(b"\x00")
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt" or rest[:1] != b"\x00":
        return None
    parts = rest[2:].split(b"\x00", 2)  # language, translated keyword, text
    return parts[2] if len(parts) == 3 else None
