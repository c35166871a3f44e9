"""Dead ids among live ones: the error budget against plain Airflow retries, by the proof `budget`, several times over.

One number, the stricter of the two throttles, and clocks that are moved. The plain way is a model of mapped tasks that ask with
`requests.get` and have three retries (`plain_client`).
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks import support
from benchmarks.compare.measure import ENGINE_NAMES, Sheet, engines_of, line_of, progress

MOST_FAILED = 4
PLAIN = "plain Airflow retries"


def run(*, rounds: int = 5, engine: str = "both", live: int = 100, dead: int = 20, hours: int = 8) -> dict[str, Any]:
    """Ask for them all, in every round.

    Args:
        rounds: how many. engine: sqlite, postgresql or both. live, dead: ids. hours: of moved time.
    """
    started, sheet = time.monotonic(), Sheet()
    engines = engines_of(engine)
    for index in range(rounds):
        found = line_of(["budget", f"--engine={engine}", f"--live={live}", f"--dead={dead}", f"--hours={hours}"])
        _note(sheet, PLAIN, found["baseline"], live)
        for each in engines:
            _note(sheet, f"this provider, {ENGINE_NAMES[each]}", found[each], live)
            settled = found[each]["all_asked_after_h"]
            sheet.add(f"until all ids are answered, this provider, {ENGINE_NAMES[each]}", "h of moved time", settled)
        progress("error_budget", f"round {index + 1} of {rounds}", started)
    for each in engines:
        name = f"this provider, {ENGINE_NAMES[each]}"
        sheet.bound(f"failed GETs in the worst hour, {name}", at_most=MOST_FAILED)
        sheet.bound(f"blocks, {name}", at_most=0)
        sheet.bound(f"live files not had, {name}", at_most=0)
    return sheet.tell("error_budget", {"engine": engine, "live": live, "dead": dead, "hours": hours}, started=started)


def _note(sheet: Sheet, way: str, found: dict[str, Any], live: int) -> None:
    sheet.add(f"failed GETs in the worst hour, {way}", "GETs", found["most_failed_in_an_hour"])
    sheet.add(f"blocks, {way}", "blocks", found["blocks"])
    sheet.add(f"live files not had, {way}", "files", live - found["live_fetched"])


if __name__ == "__main__":
    support.main(run)
