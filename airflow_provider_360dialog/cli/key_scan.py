"""Look for API keys that somebody has written into a DAG file. Says where, never what."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_FILES: Final = 2000
MAX_BYTES: Final = 1_000_000
_NEAR_LINES: Final = 10
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})

_OURS = re.compile(r"360dialog\.io|d360[-_]api[-_]key", re.IGNORECASE)
_LITERAL = re.compile(r"""(['"])([A-Za-z0-9_-]{20,})\1""")
_NAMED = re.compile(r"api.?key|d360|token|secret|passw|credential|authorization", re.IGNORECASE)
_NAME = re.compile(r"(?=.*[_-])(?:[A-Z0-9_-]+|[a-z0-9_-]+)")  # snake_case, UPPER_CASE, kebab-case


@dataclass(frozen=True)
class Place:
    """A line of a file, from 1."""

    path: str
    line: int


@dataclass(frozen=True)
class Seen:
    """``places`` that look like keys; ``files``: how many were read; ``left_out``: how many were not."""

    places: tuple[Place, ...]
    files: int
    left_out: int


def scan(folder: Path) -> Seen:
    """Read the Python files below a folder: at most 2,000 of at most 1 MB each."""
    places: list[Place] = []
    files = left_out = 0
    for path in _python_files(folder):
        if files == MAX_FILES:
            left_out += 1
            continue
        try:
            text = path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size <= MAX_BYTES else None
        except OSError:
            text = None
        if text is None:
            left_out += 1
            continue
        files += 1
        places += [Place(str(path.relative_to(folder)), line) for line in find_keys(text)]
    return Seen(tuple(places), files, left_out)


def find_keys(text: str) -> list[int]:
    """The lines, from 1, of literals that look like an API key, in a text that speaks of 360dialog's host or key. Pure.

    A literal counts where it is within ten lines of such a word and as mixed as a key is (upper case, lower case, digits), or
    where its own line calls it a key.
    """
    lines = text.splitlines()
    ours = [at for at, line in enumerate(lines) if _OURS.search(line)]
    return [at + 1 for at, line in enumerate(lines) if ours and _holds_key(line, min(abs(at - other) for other in ours))]


def _holds_key(line: str, distance: int) -> bool:
    for found in _LITERAL.finditer(line):
        value = found[2]
        is_mixed = all(re.search(kind, value) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
        if is_mixed and distance <= _NEAR_LINES:
            return True
        is_worded = re.search("[A-Za-z]", value) and re.search("[0-9]", value) and not _NAME.fullmatch(value)
        if is_worded and _NAMED.search(line[: found.start()]):
            return True
    return False


def _python_files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if name.endswith(".py"))
