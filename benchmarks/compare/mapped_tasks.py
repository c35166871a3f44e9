"""One task for each channel against one mapped HttpOperator for each file, on the same Airflow and the same emulator.

Like the proof `mapped`, with Airflow's own operator, and several rounds on one Airflow: each round has files of its own, since
the ledger would not send the same ones twice. Timed from the start of a DAG run to its end, as Airflow has them on record.
`LocalExecutor` with four slots on SQLite.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks import real_airflow, support
from benchmarks.campaign import make_campaign
from benchmarks.compare.measure import Sheet, progress

DAGS = Path(__file__).parent / "dags" / "ways.py"
TIMES = {"one": 4.0, "three": 15.0}
CHANNELS = {"one": 1, "three": 3}
_POSTS_PER_S = 25
_WAYS = {"ours": "this provider", "mapped": "mapped HttpOperator"}


def run(
    *,
    rounds: int = 5,
    files_on_one: int = 200,
    files_on_three: int = 150,
    parallelism: int = 4,
    size_bytes: int = 100_000,
    service_s: float = 0.3,
) -> dict[str, Any]:
    """Run all four DAGs, one after the other, in every round.

    Args:
        rounds: how many. files_on_one, files_on_three: on one channel; on three together. parallelism: of the executor; more than
            four, and Airflow on SQLite says "database is locked". size_bytes: of a file. service_s: of a POST.
    """
    started, sheet = time.monotonic(), Sheet()
    files = {"one": files_on_one, "three": files_on_three}
    with support.folder() as place, support.emulator(numbers=3, service_s=service_s) as emulated:
        emulated.ask("settings", {"posts_per_s": _POSTS_PER_S})
        (home := place / "airflow").mkdir()
        for case, count in files.items():
            for index in range(rounds):
                make_campaign(place / f"{case}-{index}", count, channels=CHANNELS[case], size_bytes=size_bytes)
        variables = _variables(place, emulated, rounds)
        dag_ids = [f"{case}_{way}_{index}" for case in files for way in _WAYS for index in range(rounds)]
        with real_airflow.running(home, [DAGS], variables, dag_ids=dag_ids, parallelism=parallelism) as airflow:
            progress("mapped_tasks", "Airflow is up", started)
            for index in range(rounds):
                for case, count in files.items():
                    for way in _WAYS:
                        _note(sheet, case_name(case, way, count), airflow, emulated, (f"{case}_{way}_{index}", count))
                progress("mapped_tasks", f"round {index + 1} of {rounds}", started)
    for case, count in files.items():
        ours, mapped = (case_name(case, way, count) for way in _WAYS)
        ratio = f"times as fast, {_where(case)}, {count} files"
        sheet.ratio(ratio, f"seconds, {mapped}", f"seconds, {ours}")
        sheet.bound(ratio, at_least=TIMES[case])
        for name in (ours, mapped):
            sheet.bound(f"not stored, {name}", at_most=0)
    sizes = {"files_on_one": files_on_one, "files_on_three": files_on_three, "parallelism": parallelism}
    sizes_of_each = {"size_bytes": size_bytes, "service_s": service_s}
    return sheet.tell("mapped_tasks", sizes | sizes_of_each, started=started)


def case_name(case: str, way: str, files: int) -> str:
    """As it stands in the results."""
    return f"{_where(case)}, {files} files, {_WAYS[way]}"


def _where(case: str) -> str:
    return "1 channel" if CHANNELS[case] == 1 else f"{CHANNELS[case]} channels"


def _variables(place: Path, emulated: support.Emulator, rounds: int) -> dict[str, str]:
    found = support.airflow_environment(emulated, f"sqlite:///{place}/ledger.db")
    for number in emulated.numbers:
        connection = {"conn_type": "http", "host": emulated.base_url, "extra": {"D360-API-KEY": number.key}}
        found[f"AIRFLOW_CONN_HTTP_{number.conn_id.upper()}"] = json.dumps(connection)
    found["PROOF_NUMBERS"] = " ".join(number.conn_id for number in emulated.numbers)
    return found | {"PROOF_PLACE": str(place), "PROOF_ROUNDS": str(rounds)}


def _note(sheet: Sheet, name: str, airflow: real_airflow.RealAirflow, emulated: support.Emulator, dag: tuple[str, int]) -> None:
    dag_id, files = dag
    posts, refused = emulated.requests("upload"), _refused(emulated)
    ran = airflow.run(dag_id, within_s=120 + 3 * files)
    new_posts, new_refused = emulated.requests("upload") - posts, _refused(emulated) - refused
    sheet.add(f"seconds, {name}", "s", ran.seconds)
    sheet.add(f"tasks, {name}", "task instances", sum(ran.tasks.values()))
    sheet.add(f"refused, {name}", "POSTs", new_refused)
    sheet.add(f"not stored, {name}", "files", files - (new_posts - new_refused if ran.state == "success" else 0))


def _refused(emulated: support.Emulator) -> int:
    return sum(each["refused_by_pace"] for each in emulated.ask("counters")["numbers"].values())


if __name__ == "__main__":
    support.main(run)
