"""``dialog360 check``: what 360dialog and WhatsApp would say of files, before they are sent. Asks nobody, needs no connection."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, TextIO

from rich.console import Console
from rich.progress import track
from rich.text import Text

from airflow_provider_360dialog.cli.run import Result
from airflow_provider_360dialog.cli.words import counted
from airflow_provider_360dialog.exceptions import Dialog360Error, SourceUnreadableError
from airflow_provider_360dialog.hooks.places import source_at
from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.ports import Problem

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_360dialog.ports import Verdict

_COLOURS: Final = {"ok": "green", "warn": "yellow", "BAD": "bold red"}
_MANY: Final = 20


def check(args: Namespace, out: TextIO) -> Result:
    """Judge files one after the other; each is told as soon as it is known."""
    console = Console(file=out, highlight=False, soft_wrap=True)
    bad = warned = 0
    for path, found in _judged(_progress(args.files)):
        problems = found["problems"]
        bad += not found["ok"]
        warned += found["ok"] and bool(problems)
        if args.json:
            out.write(json.dumps({"path": path, **found}) + "\n")
        else:
            _tell(console, path, found)
    if not args.json:
        good = len(args.files) - bad
        console.print(f"{counted(good, 'file')} can be sent, {warned:,} of them with warnings; {bad:,} cannot.")
    return Result("", ok=not bad)


def _progress(files: list[str]) -> Iterable[str]:
    """A bar on standard error, where somebody sits there and it takes a while."""
    if len(files) < _MANY or not sys.stderr.isatty():
        return files
    return track(files, "Looking at files", console=Console(stderr=True), transient=True)


def _judged(files: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in files:
        try:
            yield path, _told(inspect(source_at(path)))
        except Dialog360Error as error:
            code = "source_unreadable" if isinstance(error, SourceUnreadableError) else "storage_failed"
            problem = Problem(code, "error", str(error), "")
            yield path, {"ok": False, "kind": None, "mime_type": None, "size_bytes": None, "sha256": None,
                         "problems": [asdict(problem)]}  # fmt: skip


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "ok": verdict.ok,
        "kind": verdict.kind,
        "mime_type": verdict.mime_type,
        "size_bytes": verdict.size_bytes,
        "sha256": verdict.sha256 or None,
        "problems": [asdict(problem) for problem in verdict.problems],
    }


def _tell(console: Console, path: str, found: dict[str, Any]) -> None:
    """One line for a file, two for each problem. Names and contents are strangers' words: no colour codes in them count."""
    level = "BAD" if not found["ok"] else "warn" if found["problems"] else "ok"
    size = None if found["size_bytes"] is None else f"{found['size_bytes']:,} bytes"
    facts = ", ".join(each for each in (found["kind"], found["mime_type"], size) if each)
    line = Text(f"{level:<4}  ", style=_COLOURS[level])
    line.append(f"{_printable(path)}", style="bold")
    line.append(f"  {facts}", style="default")
    console.print(line)
    for problem in found["problems"]:
        console.print(Text(f"      [{problem['code']}] {_printable(problem['message'])}"))
        if problem["remedy"]:
            console.print(Text(f"      -> {_printable(problem['remedy'])}"))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
