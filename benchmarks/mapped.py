"""One task for each channel against one mapped task for each file, on the same emulator and the same Airflow.

The mapped one is what people would write: a `requests.post` in a `@task` with three retries, expanded over the files. Both are
timed from the start of the DAG run to its end, as Airflow has them on record: on one channel the operator alone (it plans by
itself), on three channels a plan and the operator mapped over the channels. A whole Airflow runs them, `LocalExecutor` with four
slots on SQLite.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks import real_airflow, support
from benchmarks.campaign import make_campaign

DAGS = [Path(__file__).parent / "dags" / f"{name}.py" for name in ("mapped_files", "mapped_channels")]
_POSTS_PER_S = 25


def run(
    *,
    files_on_one: int = 200,
    files_on_three: int = 600,
    parallelism: int = 4,
    size_bytes: int = 180_000,
    service_s: float = 0.3,
    times_on_one: float = 4.0,
    times_on_three: float = 15.0,
) -> dict[str, Any]:
    """Run all four DAGs, one after the other.

    Args:
        files_on_one, files_on_three: on one channel; on three together. parallelism: of the executor.
        size_bytes: of a file. service_s: of a POST. times_on_one, times_on_three: how many times as fast it has to be; 0 for any.
    """
    started = time.monotonic()
    figures: dict[str, Any] = {}
    wanted = {"one": (files_on_one, times_on_one), "three": (files_on_three, times_on_three)}
    with support.folder() as place, support.emulator(numbers=3, service_s=service_s) as emulated:
        emulated.ask("settings", {"posts_per_s": _POSTS_PER_S})
        (home := place / "airflow").mkdir()
        variables = support.airflow_environment(emulated, f"sqlite:///{place}/ledger.db") | {
            "PROOF_ONE": str(make_campaign(place / "one", files_on_one, channels=1, size_bytes=size_bytes)),
            "PROOF_THREE": str(make_campaign(place / "three", files_on_three, channels=3, size_bytes=size_bytes)),
            "PROOF_NUMBERS": " ".join(number.conn_id for number in emulated.numbers),
        }
        dag_ids = [f"{name}_{way}" for name in wanted for way in ("operator", "mapped")]
        with real_airflow.running(home, DAGS, variables, dag_ids=dag_ids, parallelism=parallelism) as airflow:
            figures["airflow_up_s"] = round(time.monotonic() - started, 1)
            for name, (files, times) in wanted.items():
                ways = {way: _timed(airflow, emulated, f"{name}_{way}", files) for way in ("operator", "mapped")}
                ratio = ways["mapped"]["seconds"] / max(0.1, ways["operator"]["seconds"])
                whole = all(way["state"] == "success" and way["stored"] == files for way in ways.values())
                figures[name] = {"files": files, **ways, "ratio": round(ratio, 1), "holds": whole and ratio >= times}
    sizes = {"parallelism": parallelism, "size_bytes": size_bytes, "service_s": service_s}
    return support.tell("mapped", sizes | figures, started=started, holds=all(figures[name]["holds"] for name in wanted))


def _timed(airflow: real_airflow.RealAirflow, emulated: support.Emulator, dag_id: str, files: int) -> dict[str, Any]:
    before, refused_before = emulated.requests("upload"), _refused(emulated)
    ran = airflow.run(dag_id, within_s=120 + 3 * files)
    posts, refused = emulated.requests("upload") - before, _refused(emulated) - refused_before
    return {
        "state": ran.state,
        "seconds": round(ran.seconds, 1),
        "tasks": sum(ran.tasks.values()),
        "tries": ran.tries,
        "stored": posts - refused,
        "refused": refused,
    }


def _refused(emulated: support.Emulator) -> int:
    return sum(each["refused_by_pace"] for each in emulated.ask("counters")["numbers"].values())


if __name__ == "__main__":
    support.main(run)
