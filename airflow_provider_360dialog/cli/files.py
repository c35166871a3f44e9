"""``dialog360 check``: what 360dialog and WhatsApp would say of files, before they are sent. Asks nobody, needs no connection."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TextIO, TypeAlias

from rich.cells import cell_len
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from airflow_provider_360dialog.cli.run import Result, UsageError
from airflow_provider_360dialog.cli.words import counted
from airflow_provider_360dialog.exceptions import SourceChangedError, SourceUnreadableError, StorageFailedError
from airflow_provider_360dialog.hooks.places import shown_uri, source_at
from airflow_provider_360dialog.jobs.check import unreadable
from airflow_provider_360dialog.jobs.report import Checked, Counts, printable, size_words, told
from airflow_provider_360dialog.media.decoding.deep import inspect_deeply, not_looked_at
from airflow_provider_360dialog.media.decoding.workshop import Workshop
from airflow_provider_360dialog.media.judge import inspect

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Self

    from rich.console import RenderableType

    from airflow_provider_360dialog.exceptions import Dialog360Error
    from airflow_provider_360dialog.ports import Problem, Receipt, Shape, Source, Verdict

Judge: TypeAlias = "Callable[[Source], Verdict]"

_COLOURS: Final = {"ok": "green", "warn": "yellow", "BAD": "bold red", "error": "red", "warning": "yellow"}
_HANDS: Final = min(4, os.cpu_count() or 1)
_MANY: Final = 8
_NARROW: Final = 132
_TYPE_WIDTH: Final = 30
_SIZE_WIDTH: Final = 9
_FINDINGS_WIDTH: Final = 100
_LONGEST_NAME: Final = 200
_GAP: Final = 2


def check(args: Namespace, out: TextIO) -> Result:
    """Judge files, several at once; each is told as soon as it and those before it are known."""
    if args.prepare and args.headers_only:
        raise UsageError("--prepare and --headers-only do not go together: what is prepared has to be decoded")
    counts = Counts()
    unseen = not_looked_at(decode=not args.headers_only)
    with _judge(args) as judge, _Bar(len(args.files)) as bar, ThreadPoolExecutor(_HANDS) as hands:
        page = None if args.json else _Page(out, args.files)
        for checked in hands.map(partial(_look, judge=judge), args.files):
            counts.add(checked)
            with bar.step():
                if page is None:
                    out.write(json.dumps(told(checked)) + "\n")
                else:
                    page.tell(checked)
    if page is not None:
        page.end(counts, unseen)
    elif unseen:
        sys.stderr.write(f"{unseen}\n")
    return Result("", ok=not counts.bad)


# --- who judges ---------------------------------------------------------------------------------------------------


@contextmanager
def _judge(args: Namespace) -> Iterator[Judge]:
    if args.prepare:
        with _preparing(args.prepare) as judge:
            yield judge
    elif args.headers_only:
        yield inspect
    else:
        with _deeply() as judge:
            yield judge


@contextmanager
def _deeply() -> Iterator[Judge]:
    with Workshop(workers=_HANDS) as workshop:
        yield lambda source: inspect_deeply(source, workshop=workshop).verdict


@contextmanager
def _preparing(folder: str) -> Iterator[Judge]:
    """Leaves better copies in a folder; their verdicts then have a receipt. What needs none is looked at deeply."""
    from airflow_provider_360dialog.hooks.preparing import Preparer

    with Preparer(folder) as preparer, _deeply() as look:

        def judge(source: Source) -> Verdict:
            verdict = preparer.prepare(source).verdict
            return verdict if verdict.receipt is not None else look(source)

        yield judge


def _look(path: str, judge: Judge) -> Checked:
    try:
        source = source_at(path)
    except SourceUnreadableError as error:
        return Checked(shown_uri(path) if "://" in path else path, None, _unreadable(path, error))
    try:
        return Checked(path, judge(source))
    except (SourceChangedError, SourceUnreadableError, StorageFailedError) as error:
        return Checked(path, None, _unreadable(path, error))


def _unreadable(path: str, error: Dialog360Error) -> Problem:
    problem = unreadable(error)
    if os.path.isdir(path):  # noqa: PTH112 - unlike pathlib's it never raises
        return replace(problem, remedy="It is a folder: name the files in it, such as FOLDER/*.")
    return problem


# --- what is shown ------------------------------------------------------------------------------------------------


class _Bar:
    """A bar on standard error, where somebody sits there and it takes a while; it steps aside while something is written."""

    def __init__(self, files: int) -> None:
        self._bar: Progress | None = None
        if files >= _MANY and sys.stderr.isatty():
            columns = (TextColumn("Looking at files"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            console = Console(stderr=True)
            self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False, redirect_stdout=False)
            self._task = self._bar.add_task("", total=files)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextmanager
    def step(self) -> Iterator[None]:
        """One file more is done; within, something can be written."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        yield
        self._bar.advance(self._task)
        self._bar.start()
        self._bar.refresh()


class _Page:
    """The table, row by row: its widths are known before the first file is, so that none has to wait for the others."""

    def __init__(self, out: TextIO, files: Iterable[str]) -> None:
        self._out = out
        longest = min(_LONGEST_NAME, max(cell_len(printable(each)) for each in files))
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)
        is_terminal = self._console.is_terminal
        self._is_narrow = is_terminal and self._console.width < _NARROW
        fixed = [4] if self._is_narrow else [4, 8, _TYPE_WIDTH, _SIZE_WIDTH]
        taken = sum(fixed) + _GAP * (len(fixed) + 1)
        if not is_terminal:  # wide enough that neither names nor codes are broken
            self._console = Console(
                file=out, width=taken + longest + _FINDINGS_WIDTH, no_color=True, highlight=False, markup=False
            )
        left = self._console.width - taken
        self._file_width = longest if not is_terminal else min(max(longest, 24), left * 2 // 5)
        self._findings_width = max(left - self._file_width, 1)
        self._print(self._row(*map(Text, ("", "file", "kind", "type", "size", "findings")), style="dim"))

    def tell(self, checked: Checked) -> None:
        """One row."""
        verdict = checked.verdict
        level = "BAD" if not checked.ok else "warn" if checked.problems else "ok"
        kind, mime_type, size = (
            ("-", "-", "-")
            if verdict is None
            else (verdict.kind or "-", verdict.mime_type or "-", size_words(verdict.size_bytes))
        )
        self._print(
            self._row(
                Text(level, style=_COLOURS[level]),
                Text(printable(checked.name), style="bold"),
                Text(kind),
                Text(mime_type),
                Text(size),
                _findings(checked),
            )
        )

    def end(self, counts: Counts, not_looked_at: str | None) -> None:
        """What was not looked at, and how many files are what."""
        if not_looked_at:
            self._print(Text(not_looked_at, style="dim"))
        prepared = f", {counts.prepared:,} of them prepared" if counts.prepared else ""
        words = (
            f"{counted(counts.ok, 'file')} can be sent, {counts.warned:,} of them with warnings{prepared}; {counts.bad:,} cannot."
        )
        self._print(Text(words, style=_COLOURS["BAD" if counts.bad else "ok"]))

    def _row(
        self, level: Text, name: Text, kind: Text, mime_type: Text, size: Text, last: RenderableType, *, style: str = ""
    ) -> Table:
        row = Table(box=None, show_header=False, padding=(0, _GAP, 0, 0), pad_edge=False, style=style)
        row.add_column(width=4)
        row.add_column(width=self._file_width, overflow="fold")
        if self._is_narrow:
            row.add_column(width=self._findings_width, overflow="fold")
            facts = Text(", ".join(each.plain for each in (kind, mime_type, size) if each.plain != "-"), style="dim")
            row.add_row(level, name, Group(facts, last))
            return row
        row.add_column(width=8)
        row.add_column(width=_TYPE_WIDTH, overflow="fold")
        row.add_column(width=_SIZE_WIDTH, justify="right")
        row.add_column(width=self._findings_width, overflow="fold")
        row.add_row(level, name, kind, mime_type, size, last)
        return row

    def _print(self, what: RenderableType) -> None:
        """Without the blanks with which a table fills its last column."""
        with self._console.capture() as captured:
            self._console.print(what)
        self._out.write("".join(f"{line.rstrip(' ')}\n" for line in captured.get().splitlines()))
        self._out.flush()


def _findings(checked: Checked) -> RenderableType:
    """What was prepared, and each problem with its remedy. Messages are strangers' words: no colour codes in them count."""
    lines: list[RenderableType] = []
    receipt = checked.verdict and checked.verdict.receipt
    if receipt:
        lines += _prepared(receipt)
    for problem in checked.problems:
        lines.append(Text(f"[{problem.code}] {printable(problem.message)}", style=_COLOURS[problem.severity]))
        if problem.remedy:
            lines.append(_indented("->", printable(problem.remedy)))
    return Group(*lines)


def _prepared(receipt: Receipt) -> list[RenderableType]:
    place = printable(receipt.uri) if receipt.uri else "prepared"
    change = f"{place}: {_shape(receipt.before)} -> {_shape(receipt.after)}"
    return [_indented("->", change, style="cyan"), *(_indented("  ", printable(each.message)) for each in receipt.changes)]


def _shape(shape: Shape) -> str:
    quality = f", quality {shape.quality}" if shape.quality else ""
    return f"{size_words(shape.size_bytes)}, {shape.width} x {shape.height}{quality}"


def _indented(mark: str, text: str, *, style: str = "") -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=2)
    grid.add_column(overflow="fold")
    grid.add_row(mark, Text(text), style=style)
    return grid
