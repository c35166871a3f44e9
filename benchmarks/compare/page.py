"""Makes the tables of docs/benchmarks.md and its plots of the results, and nothing else of that page.

A table stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``; what is around it was written by people.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.compare import plots
from benchmarks.support import CHECKOUT

PAGE = CHECKOUT / "docs" / "benchmarks.md"
IMAGES = CHECKOUT / "docs" / "images"
_PART = re.compile(r"(<!-- ([a-z]\w*) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def make(results: dict[str, Any], *, page: Path = PAGE, images: Path = IMAGES) -> None:
    """Write the page's tables and all plots anew."""
    page.write_text(filled(page.read_text(), results))
    for name, text in plots.draw_all(results).items():
        (images / f"benchmark-{name}.svg").write_text(text)


def filled(text: str, results: dict[str, Any]) -> str:
    """The page with the tables of these results."""
    tables = tables_of(results)
    return _PART.sub(lambda part: f"{part[1]}{tables[part[2]]}{part[3]}" if part[2] in tables else part[0], text)


def tables_of(results: dict[str, Any]) -> dict[str, str]:
    """Marker -> what stands there, ending in a newline."""
    found = {"machine": _machine(results), "runs": _runs(results)}
    return found | {name: _figures(each) for name, each in results["benchmarks"].items()}


def _machine(results: dict[str, Any]) -> str:
    of = results["machine"]
    machine = f"{of['cores']} cores ({of['processor']}), {of['memory_gib']} GiB, {of['system']}"
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return f"- Machine: {machine}\n- Versions: {versions}\n"


def _runs(results: dict[str, Any]) -> str:
    rows = []
    for name, each in results["benchmarks"].items():
        ran = each["ran"]
        load = f"{ran['load_average_before'][0]:g} / {ran['load_average_after'][0]:g}"
        sizes = ", ".join(f"{size.replace('_', ' ')} {_number(value)}" for size, value in each["sizes"].items())
        held = "all" if each["holds"] else "**not all**"
        busy = f"{ran['busy_percent_before']:g} %"
        rows.append((f"`{name}`", ran["date"], each["rounds"], ran["minutes"], busy, load, sizes, held))
    head = ("benchmark", "date", "rounds", "minutes", "others' CPU before", "load before / after", "sizes", "bounds held")
    return _table(head, rows)


def _figures(found: dict[str, Any]) -> str:
    rows = []
    for each in (*found["ratios"], *found["figures"]):
        low, high = _range(each["rounds"])
        rows.append((each["name"], _number(each["median"]), each["unit"] or "ratio", f"{low} to {high}", _held(each)))
    return _table(("figure", "median", "unit", "rounds", "held to"), rows)


def _held(figure: dict[str, Any]) -> str:
    words = [
        f"{sentence} {_number(figure[bound])}"
        for bound, sentence in (("at_least", "at least"), ("at_most", "at most"))
        if bound in figure
    ]
    return f"{' and '.join(words)}: {'holds' if figure['holds'] else '**does not hold**'}" if words else "-"


def _range(values: list[float | None]) -> tuple[str, str]:
    known = [value for value in values if value is not None]
    return (_number(min(known)), _number(max(known))) if known else ("-", "-")


def _number(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "-" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
