"""The words in which commands are described, and what their options take. Pure; imports next to nothing."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final


@dataclass(frozen=True)
class Option:
    """An option of a command, in argparse's words."""

    flags: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Command:
    """A command. ``handler``: ``module:function`` in this package, imported when it is run."""

    name: str
    about: str
    handler: str
    options: tuple[Option, ...] = ()


@dataclass(frozen=True)
class Group:
    """Commands under one name."""

    name: str
    about: str
    commands: tuple[Command, ...]


def instant(text: str) -> datetime:
    """An aware instant.

    Raises:
        argparse.ArgumentTypeError: with what it has to look like.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"not an instant with a time zone, such as 2026-11-22T06:00:00+00:00: {text!r}")
    return found


def count(text: str) -> int:
    """A whole number, 0 or more.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"not a whole number: {text!r}")
    return int(text)


def hours(text: str) -> timedelta:
    """A length of time, from a number of hours.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        return timedelta(hours=float(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"not a number of hours: {text!r}") from None


def option(*flags: str, **settings: Any) -> Option:
    """An `Option`, written as for argparse."""
    return Option(flags, settings)


JSON: Final = option("--json", action="store_true", help="print one JSON object instead of text")
