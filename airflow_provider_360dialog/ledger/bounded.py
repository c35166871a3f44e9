"""Counts that cost no more than was agreed, however large the ledger is: index ranges, each up to a cap, and samples.

A database with B-trees cannot say how many rows a range holds without walking it. So a question may walk so many rows and no
more; what is beyond is told as such, never guessed in silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

if TYPE_CHECKING:
    from collections.abc import Iterable

Sureness: TypeAlias = Literal["exact", "about", "at_least"]
Columns: TypeAlias = Sequence[tuple[str, type[sa.types.TypeEngine[Any]]]]
Range: TypeAlias = Callable[[sa.CTE], sa.Select[Any]]


@dataclass(frozen=True)
class Count:
    """How many, and how well that is known: counted, estimated from a sample, or counted as far as was agreed."""

    number: int
    sure: Sureness = "exact"


def total(counts: Iterable[Count]) -> Count:
    """All of them together, known as badly as the worst of them."""
    found = list(counts)
    sureness: set[Sureness] = {each.sure for each in found}
    worst: Sureness = "at_least" if "at_least" in sureness else "about" if "about" in sureness else "exact"
    return Count(sum(each.number for each in found), worst)


def table_of(dialect: str, rows: Sequence[Sequence[float]], columns: Columns, *, name: str = "cells") -> sa.CTE:
    """Numbers as a table, in one parameter; its first column ``n`` counts the rows from 0."""
    values = sa.bindparam(None, json.dumps([[n, *row] for n, row in enumerate(rows)]), sa.Text)
    typed = [("n", sa.BigInteger), *columns]
    if dialect == "postgresql":
        each: Any = sa.func.jsonb_array_elements(sa.cast(values, JSONB)).table_valued(sa.column("value", JSONB))
        picked: list[sa.Label[Any]] = [
            sa.cast(each.c.value[index].astext, kind).label(column) for index, (column, kind) in enumerate(typed)
        ]
    else:
        each = sa.func.json_each(values).table_valued("value")
        picked = [sa.func.json_extract(each.c.value, f"$[{index}]").label(column) for index, (column, _) in enumerate(typed)]
    return sa.select(*picked).select_from(each).cte(name)


def count_ranges(
    db: sa.Connection, rows: Sequence[Sequence[float]], columns: Columns, range_of: Range, *, budget: int
) -> list[Count]:
    """How many rows each of many index ranges holds. Walks at most ``2 * budget`` rows.

    First every range is walked up to its share of the budget; what is longer shares the budget once more.

    Args:
        db: a transaction. rows, columns: what sets the ranges apart, as for `table_of`.
        range_of: a row of that table -> the statement that selects the range.
        budget: rows.
    """
    found = _walk(db, rows, columns, range_of, cap=max(1, budget // max(1, len(rows))))
    long = [n for n, count in enumerate(found) if count.sure != "exact"]
    if long:
        again = _walk(db, [rows[n] for n in long], columns, range_of, cap=max(1, budget // len(long)))
        for n, count in zip(long, again, strict=True):
            found[n] = count
    return found


def _walk(db: sa.Connection, rows: Sequence[Sequence[float]], columns: Columns, range_of: Range, *, cap: int) -> list[Count]:
    cells = table_of(db.dialect.name, rows, columns)
    walked = range_of(cells).limit(cap + 1).correlate(cells).subquery()
    counted = sa.select(sa.func.count()).select_from(walked).correlate(cells).scalar_subquery()
    numbers = {row.n: row.walked for row in db.execute(sa.select(cells.c.n, counted.label("walked")))}
    return [Count(min(numbers[n], cap), "exact" if numbers[n] <= cap else "at_least") for n in range(len(rows))]
