"""Numbers as lengths, for the pictures of the media page. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_360dialog.ledger.bounded import Count


@dataclass(frozen=True)
class Bar:
    """A number as a length, in whole units of the drawing; what is not nothing is seen."""

    start: int
    length: int
    count: Count


def bars(counts: Sequence[Count], *, height: int) -> list[Bar]:
    """One beside the other; the highest as high as the drawing. ``start`` is measured from the top."""
    most = max((each.number for each in counts), default=0)
    lengths = [_length(each.number, most, height) for each in counts]
    return [Bar(height - length, length, each) for length, each in zip(lengths, counts, strict=True)]


def parts(counts: Sequence[Count], *, width: int) -> list[Bar]:
    """One behind the other; together as wide as the drawing, as far as rounding lets them."""
    whole = sum(each.number for each in counts)
    found: list[Bar] = []
    start = 0
    for each in counts:
        found.append(Bar(start, _length(each.number, whole, width), each))
        start += found[-1].length
    return found


def _length(number: int, whole: int, room: int) -> int:
    return max(2, number * room // whole) if number else 0
