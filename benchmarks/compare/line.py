"""Line ratio and refusals: the proof `pace`, several times over, without its baseline and without delays on the way.

The line is what the emulator allows, 25 POSTs in any second. The ratio is what it accepted a second, once all processes are under
way, over these 25; the ceiling of a channel is 24.5, so 0.98 is the most that can be.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks import support
from benchmarks.compare.measure import ENGINE_NAMES, Sheet, engines_of, line_of, progress

LINE_PER_S = 25
LEAST_RATIO, MOST_REFUSED = 0.97, 0.002


def run(*, rounds: int = 5, engine: str = "both", processes: str = "1,4,16", files: int = 560) -> dict[str, Any]:
    """Upload. Every round has each engine with each number of processes.

    Args:
        rounds: how many. engine: sqlite, postgresql or both. processes: how many at once. files: shared by the processes; below
            560 the climb to the ceiling counts as well.
    """
    started, sheet = time.monotonic(), Sheet()
    options = {"engine": engine, "processes": processes, "jitters": "0", "files": str(files), "baseline-threads": "0"}
    options |= {"at-least-per-s": "0", "at-least-jain": "0"}
    cases = [(each, count) for each in engines_of(engine) for count in processes.split(",")]
    for index in range(rounds):
        found = line_of(["pace", *(f"--{name}={value}" for name, value in options.items())])
        for each, count in cases:
            _note(sheet, case_name(each, count), found[each][count], files)
        progress("line", f"round {index + 1} of {rounds}", started)
    for each, count in cases:
        sheet.bound(f"line ratio, {case_name(each, count)}", at_least=LEAST_RATIO)
        sheet.bound(f"refused, {case_name(each, count)}", at_most=MOST_REFUSED)
        sheet.bound(f"errors, {case_name(each, count)}", at_most=0)
    return sheet.tell("line", {"engine": engine, "processes": processes, "files": files}, started=started)


def case_name(engine: str, processes: str) -> str:
    """As it stands in the results."""
    return f"{ENGINE_NAMES[engine]}, {processes} {'process' if processes == '1' else 'processes'}"


def _note(sheet: Sheet, case: str, found: dict[str, Any], files: int) -> None:
    sheet.add(f"line ratio, {case}", f"accepted/s over {LINE_PER_S}", found["per_s"] / LINE_PER_S)
    sheet.add(f"refused, {case}", "share of the files", found["refused"] / files)
    sheet.add(f"most in a second, {case}", "POSTs", found["most_in_a_second"])
    sheet.add(f"errors, {case}", "files", files - found["uploaded"])


if __name__ == "__main__":
    support.main(run)
