"""Never asked twice (P1).

A dead id that an operator and a function want, both with `retries=5`, in several runs of a real Airflow, costs one GET in all.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks import support

DEAD = "999000111222333"


def run(*, dag_runs: int = 3, engine: str = "sqlite") -> dict[str, Any]:
    """Run the DAG; ``engine``: sqlite or postgresql."""
    started = time.monotonic()
    with support.folder() as place, support.emulator() as emulated, support.ledger_url(engine, place) as url:
        variables = support.airflow_environment(emulated, url) | {
            "PROOF_MEDIA_ID": DEAD,
            "PROOF_NUMBERS": emulated.numbers[0].conn_id,
        }
        script = support.CHECKOUT / "benchmarks" / "dags" / "dead.py"
        runs = support.run_dags(script, runs=dag_runs, variables=variables, within_s=120 + 30 * dag_runs)
        gets = emulated.requests("fetch")
    tries = {name: [each["tasks"][f"{name}:-1"][1] for each in runs] for name in ("operator", "function")}
    states = {state for each in runs for state, _ in each["tasks"].values()}
    figures = {"engine": engine, "dag_runs": dag_runs, "gets": gets, "tries": tries, "states": sorted(states)}
    return support.tell("dead_id", figures, started=started, holds=gets == 1 and len(runs) == dag_runs and states == {"failed"})


if __name__ == "__main__":
    support.main(run)
