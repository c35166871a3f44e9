"""What a job logs, as one line that moves, where somebody sits at a terminal; elsewhere its lines go where Airflow sends them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.status import Status
from rich.text import Text

from airflow_provider_360dialog.jobs.report import printable

_OURS: Final = "airflow_provider_360dialog"


@contextmanager
def job_lines(first: str) -> Iterator[None]:
    """Show the last line of the provider's log on standard error, warnings above it to stay.

    Args:
        first: what is shown before the first line comes.
    """
    if not sys.stderr.isatty():
        yield
        return
    logger = logging.getLogger(_OURS)
    level, passes_on = logger.level, logger.propagate
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with Status(_line(first), console=console) as status:
        handler = _Shown(status)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = passes_on


@contextmanager
def told_line(first: str) -> Iterator[Callable[[str], None]]:
    """The same line for words of one's own; takes them, and shows nothing where nobody sits at a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with Status(_line(first), console=console) as status:
        yield lambda words: status.update(_line(words))


class _Shown(logging.Handler):
    """Puts records where people look."""

    def __init__(self, status: Status) -> None:
        super().__init__()
        self._status = status

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        if record.levelno >= logging.WARNING:
            self._status.console.print(Text(printable(words), style="yellow"))
        else:
            self._status.update(_line(words))


def _line(words: str) -> Text:
    return Text(printable(words), no_wrap=True, overflow="ellipsis")
