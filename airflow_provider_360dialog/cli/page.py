"""A page for people: sentences and tables, in colours and as wide as the terminal where there is one, else plain and unbroken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from airflow_provider_360dialog.jobs.report import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

_GAP: Final = 2
_UNBROKEN: Final = 10_000


class Page:
    """Collects what is to be shown.

    Args:
        out: where it will be written; decides on width and colours.
    """

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)
        if not self._console.is_terminal:
            self._console = Console(file=out, width=_UNBROKEN, highlight=False, markup=False, emoji=False)
        self._parts: list[str] = []

    def say(self, sentence: str, style: str = "") -> None:
        """A line of its own. The words may be a stranger's: neither markup nor codes in them count."""
        self._add(Text(printable(sentence), style=style))

    def blank(self) -> None:
        """An empty line."""
        self._parts.append("")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
        """A table; columns of numbers stand at the right."""
        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
        for at, name in enumerate(head):
            is_number = bool(rows) and all(row[at].justify == "right" for row in rows)
            table.add_column(name, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._add(table)

    def text(self) -> str:
        """All of it, without a final newline."""
        return "\n".join(self._parts).rstrip("\n")

    def _add(self, what: RenderableType) -> None:
        with self._console.capture() as captured:
            self._console.print(what)
        self._parts += [line.rstrip(" ") for line in captured.get().splitlines()]


def cells(*values: object, style: str = "") -> list[Text]:
    """A row: whole numbers with thousands and at the right, None as ``-``, words as they are."""
    return [value if isinstance(value, Text) else cell(value, style) for value in values]


def cell(value: object, style: str = "") -> Text:
    """One cell."""
    if isinstance(value, int):
        return Text(f"{value:,}", style=style, justify="right")
    return Text("-" if value is None else printable(str(value)), style=style)
