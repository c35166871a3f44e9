"""A fleet's run in words: what was killed when, what it cost, and which promise held."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.fleet.chaos import Event

_SHOWN = 8


def in_words(figures: Mapping[str, Any], kept: Mapping[str, bool], events: list[Event], wrong: Mapping[str, list[str]]) -> str:
    """The whole report.

    Args:
        figures: by name. kept: promise -> whether it held. events: what was done to the fleet.
        wrong: what broke a promise, by kind; some of each are shown.
    """
    lines = ["", "What was done to the fleet:", ""]
    for event in events:
        hit = ", ".join(event.hit[:_SHOWN]) + (f" and {len(event.hit) - _SHOWN} more" if len(event.hit) > _SHOWN else "")
        lines.append(f"  {event.at_s:7.1f} s  {event.kind:<10} {event.what}{'; ' + hit if hit else ''}")
    lines += ["", "Figures:", ""]
    width = max(map(len, figures), default=0)
    lines += [f"  {name:<{width}}  {value}" for name, value in figures.items()]
    for kind, found in wrong.items():
        lines += [f"  {kind}: {each}" for each in found[:_SHOWN]]
    lines += ["", "Promises:", ""]
    lines += [f"  {'kept  ' if is_kept else 'BROKEN'}  {promise}" for promise, is_kept in kept.items()]
    return "\n".join([*lines, ""])


def write(path: str, text: str) -> None:
    """Put it into a file, where one is named."""
    if path:
        Path(path).write_text(text)
