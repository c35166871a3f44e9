"""The figures of one benchmark: a value for each round, the median, ratios round by round, and what they are held to.

Knows nothing of what is measured. A ratio is taken within a round, where both sides ran one after the other on the same machine,
and its median over the rounds; never of two medians.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks import support

ENGINE_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass
class _Figure:
    name: str
    unit: str
    rounds: list[float | None] = field(default_factory=list)
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float | None:
        known = [value for value in self.rounds if value is not None]
        return statistics.median(known) if known else None

    @property
    def holds(self) -> bool:
        if self.at_least is None and self.at_most is None:
            return True
        median = self.median
        return median is not None and (self.at_least or 0) <= median <= (float("inf") if self.at_most is None else self.at_most)

    def told(self) -> dict[str, Any]:
        bounds = {name: value for name in ("at_least", "at_most") if (value := getattr(self, name)) is not None}
        return {
            "name": self.name,
            "unit": self.unit,
            "median": _rounded(self.median),
            "rounds": [_rounded(value) for value in self.rounds],
            **(bounds | {"holds": self.holds} if bounds else {}),
        }


class Sheet:
    """Collects. A figure is added once a round, under the same name; a ratio or a bound is set when all rounds are over."""

    def __init__(self) -> None:
        self._figures: dict[str, _Figure] = {}
        self._ratios: dict[str, _Figure] = {}

    def add(self, name: str, unit: str, value: float | None) -> None:
        """The value of this round."""
        self._figures.setdefault(name, _Figure(name, unit)).rounds.append(value)

    def ratio(self, name: str, figure: str, to: str) -> None:
        """One figure over another, round by round; None where the other is 0."""
        pairs = zip(self._figures[figure].rounds, self._figures[to].rounds, strict=True)
        self._ratios[name] = _Figure(name, "", [_quotient(over, under) for over, under in pairs])

    def bound(self, name: str, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """What the median of a figure or of a ratio is held to."""
        figure = self._ratios.get(name) or self._figures[name]
        figure.at_least, figure.at_most = at_least, at_most

    @property
    def holds(self) -> bool:
        return all(each.holds for each in (*self._figures.values(), *self._ratios.values()))

    def tell(self, benchmark: str, sizes: dict[str, Any], *, started: float) -> dict[str, Any]:
        """Print the one line, and hand it back."""
        told = {
            "sizes": sizes,
            "rounds": max((len(each.rounds) for each in self._figures.values()), default=0),
            "figures": [each.told() for each in self._figures.values()],
            "ratios": [each.told() for each in self._ratios.values()],
        }
        return support.tell(benchmark, told, started=started, holds=self.holds)


def _quotient(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def _rounded(value: float | None) -> float | None:
    """Four digits say more than any of these measurements."""
    if value is None:
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short


def line_of(command: list[str]) -> dict[str, Any]:
    """What another module of `benchmarks` prints: ``["pace", "--files", "60"]``. Whether it holds there does not matter here.

    Raises:
        RuntimeError: it printed no line.
    """
    module, *options = command
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *options],
        cwd=support.CHECKOUT,
        capture_output=True,  # on stderr is a warning for each picture
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"benchmarks.{module} ended with {done.returncode} and printed no figures\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def engines_of(engine: str) -> tuple[str, ...]:
    """``both`` or one of them."""
    return support.ENGINES if engine == "both" else (engine,)


def progress(benchmark: str, text: str, started: float) -> None:
    """A line on stderr, for whoever waits."""
    print(f"{benchmark}: {text}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
