"""Facts of sound without a box structure: Ogg, AAC in ADTS frames, AMR and MP3, read while the file passes by.

Only what the rules need: how many channels an Opus file has, how many streams play at once, and whether the end is missing.
Which codec an Ogg file holds is the business of `sounds`; what the facts mean is decided in `film_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeAlias

from airflow_provider_360dialog.media.content import Sample
from airflow_provider_360dialog.media.sounds import read_frames, read_ogg_codec
from airflow_provider_360dialog.media.walks import Range

MAX_UNITS: Final = 2**19
"""Pages or frames that are followed; what is behind is not looked at. Three hours where each holds 20 ms."""

_BLOCK_BYTES = 64 * 1024
_PAGE_BYTES = 27 + 255 + 32  # the header of an Ogg page with its longest table, and as much of a packet as is looked at
_SEARCH_BYTES = 4096  # behind an ID3 tag some writers leave padding before the first frame
_HEAD_BYTES = _SEARCH_BYTES + _BLOCK_BYTES
_SLACK_BYTES = 2048  # some writers of MP3 count one frame or an old tag too many
_AMR_MARK = b"#!AMR\n"
_AMR_LENGTHS = (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1)  # RFC 4867, 5.3; 0: reserved
_FIRST_PAGE = 2


@dataclass(frozen=True)
class Voice:
    """What a sound file holds.

    Attributes:
        mime_type: by what stands behind any tag; None where it is none of the formats that are read here.
        channels: the most that a stream of an Ogg/Opus file has; None elsewhere.
        streams: that play at once in an Ogg file; 1 elsewhere.
        truncated: the end is missing for certain. False does not prove the opposite.
    """

    mime_type: str | None = None
    channels: int | None = None
    streams: int = 1
    truncated: bool = False


_Steps: TypeAlias = Generator[Range, bytes, Voice]


def walk_voice() -> _Steps:
    """The facts of a file: a walk for `walks.Passing`. Never raises, whatever the bytes are."""
    head = yield Range(0, _HEAD_BYTES)
    if head.startswith(b"OggS"):
        return (yield from _walk_ogg())
    if head.startswith(_AMR_MARK):
        return Voice("audio/amr", truncated=(yield from _follow(len(_AMR_MARK), 1, _amr_length)))
    start = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        start = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
        head = yield Range(start, _HEAD_BYTES)
    return (yield from _walk_frames(head, start))


# --- Ogg ------------------------------------------------------------------------------------------------------------


@dataclass
class _Pages:
    """Collects from the pages of an Ogg file (RFC 3533, RFC 7845)."""

    channels: int = 0
    streams: int = 0
    in_heads: bool = True
    mime_type: str | None = "audio/ogg"  # that of a stream which is not Opus, where there is one

    def length_of(self, page: bytes) -> int:
        if page[:4] != b"OggS"[: len(page)] or not page:
            return 0
        if len(page) < 27:
            return 27  # the file ends in the middle of a header
        start = 27 + page[26]
        if page[5] & _FIRST_PAGE:
            packet = page[start:]
            if self.mime_type == "audio/ogg" and len(page) >= 8 + start:
                self.mime_type = read_ogg_codec(packet).mime_type
            if packet[:8] == b"OpusHead" and len(packet) > 9:
                self.channels = max(self.channels, packet[9])
            self.streams += self.in_heads
        else:
            self.in_heads = False
        return start + sum(page[27:start])


def _walk_ogg() -> _Steps:
    pages = _Pages()
    truncated = yield from _follow(0, _PAGE_BYTES, pages.length_of)
    return Voice(pages.mime_type, pages.channels or None, max(1, pages.streams), truncated)


# --- frames ---------------------------------------------------------------------------------------------------------


def _walk_frames(head: bytes, start: int) -> _Steps:
    at = 0
    while at >= 0:
        found = read_frames(Sample(head[at : at + _BLOCK_BYTES], len(head) - at)) if head[at : at + 1] == b"\xff" else None
        if found or not start:
            break
        at = head.find(b"\xff", at + 1, _SEARCH_BYTES)
    else:
        return Voice()
    mime_type = found.mime_type if found else None
    if mime_type == "audio/aac":
        return Voice(mime_type, truncated=(yield from _follow(start + at, 7, _adts_length)))
    if mime_type == "audio/mpeg" and (told_bytes := _told_bytes(head[at : at + 64])) > _SLACK_BYTES:
        last = yield Range(start + at + told_bytes - _SLACK_BYTES, 1)
        return Voice(mime_type, truncated=not last)
    return Voice(mime_type)


def _told_bytes(frame: bytes) -> int:
    """The length of the sound by the table in the first frame of an MP3 file; 0 where there is none."""
    frame = frame.ljust(64, b"\0")
    at = max(frame.find(b"Xing", 4, 44), frame.find(b"Info", 4, 44))
    if at >= 0 and frame[at + 7] & 2:
        at += 12 if frame[at + 7] & 1 else 8
    elif frame[36:40] == b"VBRI":
        at = 36 + 10
    else:
        return 0
    return int.from_bytes(frame[at : at + 4], "big")


def _adts_length(header: bytes) -> int:
    if header[:1] != b"\xff" or (len(header) > 1 and header[1] & 0xF6 != 0xF0):
        return 0
    return (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5 if len(header) == 7 else 7


def _amr_length(header: bytes) -> int:
    return _AMR_LENGTHS[header[0] >> 3] if header and header[0] & 0x83 == 0 else 0


def _follow(at: int, header_bytes: int, length_of: Callable[[bytes], int]) -> Generator[Range, bytes, bool]:
    """Go from unit to unit as far as each says where the next one stands.

    Args:
        at: where the first one stands.
        header_bytes: that ``length_of`` wants to see; it gets fewer where the file ends before.
        length_of: bytes of the unit that begins so; 0 where none does.

    Returns:
        True where the last one is longer than the file.
    """
    first, piece, base = at, b"", at
    for _ in range(MAX_UNITS):
        if at + header_bytes > base + len(piece):
            base = max(first, at - 1)  # one byte of the last unit, to see whether it is there
            piece = yield Range(base, _BLOCK_BYTES)
        if at > base + len(piece):
            return True
        length = length_of(piece[at - base : at - base + header_bytes])
        if length == 0:
            return False
        at += length
    return False
