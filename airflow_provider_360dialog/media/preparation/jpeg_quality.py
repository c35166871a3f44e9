"""With which quality a JPEG was made, from 1 to 100 as libjpeg counts: told by its table for brightness, nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import BinaryIO, Final

from airflow_provider_360dialog.media.preparation.segments import DQT, EOI, MOST_SEGMENTS, SOF, SOS, read_segment, read_start

_STANDARD: Final = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""ITU-T T.81, table K.1, which libjpeg scales by the quality."""


def jpeg_quality(handle: BinaryIO) -> int | None:
    """The quality of a JPEG.

    Args:
        handle: at the first byte of the file; read in flat memory up to the first scan at most.

    Returns:
        Exact where libjpeg, or anybody who uses its tables, made the file; for other tables the one that comes next to them.
        None where no table is found.
    """
    tables: dict[int, list[int]] = {}
    brightness = 0
    try:
        read_start(handle)
        for _ in range(MOST_SEGMENTS):
            segment = read_segment(handle)
            if segment.kind == DQT:
                tables.update(_read_tables(segment.content))
            elif segment.kind in SOF and len(segment.content) > 8:
                brightness = segment.content[8]
            elif segment.kind in {SOS, EOI}:
                break
    except ValueError:
        pass  # what stands in front of the broken part holds
    table = tables.get(brightness)
    return None if table is None else quality_of(table)


def quality_of(table: Sequence[int]) -> int:
    """The quality of a table of 64 steps, in any order: so that it is that of a turned picture as well."""
    steps = sorted(table)
    return min(range(100, 0, -1), key=lambda quality: sum(abs(a - b) for a, b in zip(steps, _steps(quality), strict=True)))


@cache
def _steps(quality: int) -> list[int]:
    """The table that libjpeg makes for a quality, sorted."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sorted(min(max((step * percent + 50) // 100, 1), 255) for step in _STANDARD)


def _read_tables(content: bytes) -> dict[int, list[int]]:
    """Number -> steps, of one DQT segment; a table that is cut off is passed over."""
    tables, at = {}, 0
    while at < len(content):
        step_bytes, number = 1 + (content[at] >> 4 != 0), content[at] & 15
        piece = content[at + 1 : at + 1 + 64 * step_bytes]
        if len(piece) == 64 * step_bytes:
            tables[number] = [int.from_bytes(piece[i : i + step_bytes], "big") for i in range(0, len(piece), step_bytes)]
        at += 1 + 64 * step_bytes
    return tables
