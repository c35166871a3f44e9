"""How results look to people: tables, durations, counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.bounded import Count


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of equal width; whole numbers stand at the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[at]) for line in [head, *cells]) for at in range(len(head))]
    right = [bool(rows) and all(isinstance(row[at], int) for row in rows) for at in range(len(head))]

    def line(texts: Sequence[str]) -> str:
        padded = (text.rjust(w) if r else text.ljust(w) for text, w, r in zip(texts, widths, right, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, cells)])


def duration(seconds: float) -> str:
    """The two largest units: ``28 d 23 h``, ``4 min 10 s``, ``7 s``."""
    left = round(abs(seconds))
    parts: list[tuple[int, str]] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 media id``, ``2 media ids``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def how_many(count: Count) -> str:
    """``1,204``, ``about 980,000``, ``at least 400,000``."""
    prefix = {"exact": "", "about": "about ", "at_least": "at least "}[count.sure]
    return f"{prefix}{count.number:,}"


def moment(instant_s: float | None) -> str | None:
    """An instant for programs: ISO 8601, UTC, whole seconds."""
    return None if instant_s is None else datetime.fromtimestamp(instant_s, UTC).isoformat(timespec="seconds")


def when(instant_s: float, now_s: float) -> str:
    """An instant for people: ``2026-12-03 00:00 UTC (in 9 d 3 h)``."""
    distance = f"in {duration(instant_s - now_s)}" if instant_s > now_s else f"{duration(now_s - instant_s)} ago"
    return f"{datetime.fromtimestamp(instant_s, UTC):%Y-%m-%d %H:%M} UTC ({distance})"


def number_ending(ends_in: str) -> str:
    """A number, by its last two digits."""
    return f"...{ends_in}"
