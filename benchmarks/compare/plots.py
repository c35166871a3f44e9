"""The plots of docs/benchmarks.md, as SVG that says the same bytes for the same results.

A bar is a median, a dot a round. Colours and greys are of middle brightness and nothing is behind them, so that a plot can be
read on a light and on a dark page. The description inside each file is the digest of what was drawn.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from typing import Any

_OURS, _THEIRS, _TEXT = "#3f8fd2", "#d9822b", "#7a7a7a"
_DOT: dict[str, Any] = {"markersize": 3.5, "markerfacecolor": "#dddddd", "markeredgecolor": "#555555", "markeredgewidth": 0.7}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "benchmarks",
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
}


@dataclass(frozen=True)
class Panel:
    """Bars of the figures whose names begin alike.

    Attributes:
        begins: of the names; what follows labels the bar. unit: of the axis.
        span: where the axis begins at the latest, and where it ends; the median is then a mark, as a bar would lie.
        is_log: powers of ten.
        marks: value -> word, a broken line across the bars. are_ours: all bars are of this provider.
    """

    begins: tuple[str, ...]
    unit: str
    span: tuple[float, float] | None = None
    is_log: bool = False
    marks: dict[float, str] = field(default_factory=dict)
    are_ours: bool = False


PLOTS = {
    "line": (
        Panel(
            ("line ratio, ",), "accepted a second over 25", span=(0.94, 1.005), marks={0.97: "0.97", 1.0: "line"}, are_ours=True
        ),
    ),
    "contest": (
        Panel(("accepted/s, ",), "files accepted a second", marks={25.0: "line"}),
        Panel(("wasted, ",), "refused POSTs for 100 files"),
    ),
    "mapped_tasks": (Panel(("seconds, ",), "seconds from the start of the DAG run to its end"),),
    "memory": (Panel(("peak memory, ",), "MB above where the process stood"),),
    "overhead": (Panel(("wire alone, ", "ledger alone, ", "whole upload, "), "CPU ms of this process for each upload"),),
    "rerun": (Panel(("first run, ", "rerun, "), "seconds", are_ours=True),),
    "error_budget": (Panel(("failed GETs in the worst hour, ",), "failed GETs", is_log=True, marks={6.0: "blocked from 6"}),),
    "parsing": (Panel(("import, ", "parse, "), "ms in a process that has imported Airflow"),),
}


def draw_all(results: dict[str, Any]) -> dict[str, str]:
    """Name -> SVG, for each benchmark that has results."""
    return {name: draw(name, found) for name, found in results["benchmarks"].items()}


def draw(name: str, found: dict[str, Any]) -> str:
    """The plot of one benchmark's results."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = [(panel, _bars(panel, found)) for panel in PLOTS[name]]
    rows = max(len(bars) for _, bars in panels)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.6 if len(panels) == 1 else 9.6, 0.7 + 0.32 * rows), layout="constrained")
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (panel, bars) in zip(all_axes, panels, strict=True):
            _draw_panel(axes, panel, bars)
        all_axes[0].invert_yaxis()
        out = io.StringIO()
        metadata = {"Date": None, "Creator": "benchmarks/compare/plots.py", "Description": digest(name, found)}
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def digest(name: str, found: dict[str, Any]) -> str:
    """Changes with whatever the plot shows."""
    drawn = [(repr(panel), _bars(panel, found)) for panel in PLOTS[name]]
    return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()


def _bars(panel: Panel, found: dict[str, Any]) -> list[tuple[str, float, list[float], bool]]:
    """Label, median, rounds, and whether it is of this provider."""
    bars = []
    for figure in found["figures"]:
        begins = next((begins for begins in panel.begins if figure["name"].startswith(begins)), None)
        if begins is None or figure["median"] is None:
            continue
        label = figure["name"].removeprefix(begins) if len(panel.begins) == 1 else figure["name"]
        rounds = [value for value in figure["rounds"] if value is not None]
        bars.append((label, figure["median"], rounds, panel.are_ours or _is_ours(figure["name"])))
    return bars


def _is_ours(name: str) -> bool:
    return any(word in name for word in ("this provider", "ledger alone", "import, operators", "parse, example"))


def _draw_panel(axes: Any, panel: Panel, bars: list[tuple[str, float, list[float], bool]]) -> None:
    places = range(len(bars))
    colours = [_OURS if is_ours else _THEIRS for *_, is_ours in bars]
    medians = [median for _, median, _, _ in bars]
    if panel.span is None:
        axes.barh(places, medians, color=colours, height=0.62)
    else:
        axes.vlines(medians, [place - 0.31 for place in places], [place + 0.31 for place in places], color=colours, linewidth=3)
        axes.set_xlim(min(panel.span[0], *(min(rounds) - 0.005 for _, _, rounds, _ in bars)), panel.span[1])
    for place, (_, _, rounds, _) in zip(places, bars, strict=True):
        axes.plot(rounds, [place] * len(rounds), "o", **_DOT)
    axes.set_yticks(places, [label for label, *_ in bars])
    axes.set_xlabel(panel.unit)
    if panel.is_log:
        axes.set_xscale("log")
        axes.set_xlim(left=1)
    for value, word in panel.marks.items():
        axes.axvline(value, color=_TEXT, linestyle="--", linewidth=0.8)
        axes.annotate(word, (value, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_facecolor("none")
