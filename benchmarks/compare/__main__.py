"""`python -m benchmarks.compare [--quick] [NAME...]`: measure, side by side with what people would use instead.

Without names all benchmarks run, one after the other. Each result goes into `benchmarks/results.json` as soon as it is there;
at the end docs/benchmarks.md and its plots are made anew of that file. Results of another machine or of other versions are then
dropped: figures of two machines do not stand on one page. `--quick` runs at tiny sizes and keeps nothing, unless `--out` names a
file. Exit 1 where a benchmark failed, or a bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare import machine, page
from benchmarks.support import CHECKOUT

RESULTS = CHECKOUT / "benchmarks" / "results.json"


@dataclass(frozen=True)
class Benchmark:
    """How long five rounds take on four quiet cores, and the sizes of a quick one."""

    minutes: float
    quick: dict[str, int | str]


BENCHMARKS = {
    "line": Benchmark(14, {"files": 60, "processes": "1,4"}),
    "contest": Benchmark(7.5, {"files": 40, "files_of_the_loop": 10}),
    "mapped_tasks": Benchmark(17, {"files_on_one": 8, "files_on_three": 9}),
    "memory": Benchmark(0.5, {"size_bytes": 20_000_000}),
    "overhead": Benchmark(4, {"uploads": 40, "wire_files": 100, "ledger_uploads": 50}),
    "rerun": Benchmark(3, {"files": 60, "channels": 2}),
    "error_budget": Benchmark(2.5, {"live": 20, "dead": 4, "hours": 2}),
    "parsing": Benchmark(0.5, {}),
}
ROUNDS = 5


def main(arguments: list[str]) -> int:
    """Measure, and make the page."""
    given = _parser().parse_args(arguments)
    names = given.names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        print(f"no such benchmarks: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    if not given.page:
        rounds = given.rounds or (1 if given.quick else ROUNDS)
        out = given.out or (None if given.quick else RESULTS)
        if not given.quick:
            minutes = sum(BENCHMARKS[name].minutes for name in names) * rounds / ROUNDS
            print(f"{', '.join(names)}: about {minutes:.0f} minutes on four quiet cores", file=sys.stderr)
        spoilt = _measure_all(names, rounds, out, quick=given.quick)
        print(f"failed or not held: {', '.join(spoilt)}" if spoilt else "all hold", file=sys.stderr)
        if given.quick or given.out:
            return 1 if spoilt else 0
    else:
        spoilt = []
    page.make(json.loads(RESULTS.read_text()))
    return 1 if spoilt else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    minutes = ", ".join(f"{name} ({each.minutes:g} min)" for name, each in BENCHMARKS.items())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{minutes}; default all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round; for a look whether they run")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, with --quick 1")
    parser.add_argument("--out", type=Path, help="the results go there, and no page is made")
    parser.add_argument("--page", action="store_true", help="measure nothing; make page and plots of the results that are there")
    return parser


def _measure_all(names: list[str], rounds: int, out: Path | None, *, quick: bool) -> list[str]:
    """Those that failed or do not hold."""
    spoilt = []
    for name in names:
        found = _measure(name, rounds, BENCHMARKS[name].quick if quick else {})
        if found is None or not found["holds"]:
            spoilt.append(name)
        if found is not None and out is not None:
            keep(out, name, found)
        elif found is not None:
            print(json.dumps({"name": name} | found), flush=True)
    return spoilt


def _measure(name: str, rounds: int, sizes: dict[str, int | str]) -> dict[str, Any] | None:
    """What one benchmark says, in a process of its own; None where it says nothing."""
    date, busy, load, began = machine.today(), machine.busy_percent(), machine.load_average(), time.monotonic()
    options = [f"--{size.replace('_', '-')}={value}" for size, value in ({"rounds": rounds} | sizes).items()]
    command = [sys.executable, "-m", f"benchmarks.compare.{name}", *options]
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        print(f"{name} ended with {done.returncode} and printed no figures", file=sys.stderr)
        return None
    told = json.loads(lines[-1])
    ran = {
        "date": date,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "busy_percent_before": busy,
        "load_average_before": load,
        "load_average_after": machine.load_average(),
    }
    return {"ran": ran} | {key: told[key] for key in ("sizes", "rounds", "figures", "ratios", "holds")}


def keep(out: Path, name: str, found: dict[str, Any]) -> None:
    """Put one result beside those that are there, unless they are of another machine or of other versions."""
    now = {"machine": machine.describe(), "versions": machine.versions()}
    stored = json.loads(out.read_text()) if out.exists() else {}
    is_same = all(stored.get(key) == value for key, value in now.items())
    benchmarks = stored["benchmarks"] if is_same else {}
    if stored and not is_same:
        print(f"{out.name}: the earlier results are of another machine or of other versions, and are dropped", file=sys.stderr)
    everything = benchmarks | {name: found}
    ordered = {each: everything[each] for each in BENCHMARKS if each in everything}
    out.write_text(json.dumps(now | {"benchmarks": ordered}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
