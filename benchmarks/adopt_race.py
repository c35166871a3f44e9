"""Upload once (P3, US-2).

Processes that adopt the same files at once on several numbers make one POST for each file and number; runs that come later none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks import support


def run(
    *,
    engine: str = "both",
    processes: int = 8,
    files: int = 40,
    numbers: int = 3,
    later: int = 3,
    dag_runs: int = 40,
    new_ledgers: int = 25,
) -> dict[str, Any]:
    """Race, then come later.

    Args:
        engine: sqlite, postgresql or both. processes: that start at once. files, numbers: each file is wanted on each number.
        later: fresh processes that want the same afterwards. dag_runs: the same as DAG runs of a real Airflow, one by one.
        new_ledgers: that all processes open at once while they do not exist yet.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    figures = {
        each: _race(each, processes=processes, files=files, numbers=numbers, later=later, dag_runs=dag_runs)
        | _open(each, processes=processes, new_ledgers=new_ledgers)
        for each in engines
    }
    sizes = {"processes": processes, "files": files, "numbers": numbers, "later": later, "dag_runs": dag_runs}
    holds = all(
        found["posts"] == files * numbers
        and found["most_posts_of_one_file"] == 1
        and found["ids_differ"] == 0
        and found["posts_later"] == 0
        and found["dag_runs_succeeded"] == dag_runs
        and not found["opens_failed"]
        for found in figures.values()
    )
    return support.tell("adopt_race", sizes | figures, started=started, holds=holds)


def _race(engine: str, *, processes: int, files: int, numbers: int, later: int, dag_runs: int) -> dict[str, Any]:
    with (
        support.folder() as place,
        support.emulator(numbers=numbers, service_s=0.02) as emulated,
        support.ledger_url(engine, place) as url,
    ):
        paths = support.make_files(place, files)
        values = support.airflow_environment(emulated, url)
        conn_ids = [number.conn_id for number in emulated.numbers]
        time.sleep(2.1)  # until then a file's time of change is not trusted, and the source cache would not be used
        began = time.monotonic()
        told = _at_once(processes, values, paths, conn_ids)
        race_s = time.monotonic() - began
        posts, stored = emulated.requests("upload"), emulated.uploads_by_sha256()
        for _ in range(later):
            told += _at_once(1, values, paths, conn_ids)
        runs = []
        if dag_runs:
            variables = values | {"PROOF_FOLDER": str(place), "PROOF_NUMBERS": " ".join(conn_ids)}
            script = support.CHECKOUT / "benchmarks" / "dags" / "adopt.py"
            runs = support.run_dags(script, runs=dag_runs, variables=variables, within_s=120 + 30 * dag_runs)
        return {
            "posts": posts,
            "most_posts_of_one_file": max(stored.values()),
            "ids_differ": sum(ids != told[0] for ids in told),
            "race_s": round(race_s, 1),
            "posts_later": emulated.requests("upload") - posts,
            "dag_runs_succeeded": sum(each["state"] == "success" for each in runs),
        }


def _at_once(count: int, values: dict[str, str], paths: list[str], conn_ids: list[str]) -> list[dict[str, str]]:
    """What each of ``count`` processes was told: number and path -> media id."""
    told = _together(count, _adopt_all, values, paths, conn_ids, within_s=60 + 0.5 * len(paths) * len(conn_ids))
    failed = [each for each in told if isinstance(each, str)]
    assert not failed, failed
    return told


def _open(engine: str, *, processes: int, new_ledgers: int) -> dict[str, Any]:
    """Anyone may create an empty ledger: let all try at the same moment, again and again."""
    with support.folder() as place, support.ledgers(engine, place) as new:
        failed = [
            word for words in _together(processes, _open_all, [new() for _ in range(new_ledgers)], within_s=120) for word in words
        ]
    return {"opens": processes * new_ledgers, "opens_failed": len(failed), "why": sorted(set(failed))}


def _together(count: int, target: Callable[..., None], *args: Any, within_s: float) -> list[Any]:
    """What ``count`` fresh processes answer."""
    context = support.workers()
    results, barrier = context.Queue(), context.Barrier(count)
    processes = [context.Process(target=target, args=(*args, barrier, results)) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        told = support.answers_of(results, count, within_s=within_s)
        for process in processes:
            process.join(10)
    finally:
        for process in processes:
            process.kill()
    return told


def _adopt_all(values: dict[str, str], paths: list[str], conn_ids: list[str], barrier: Any, results: Any) -> None:
    """In a process of its own."""
    try:
        os.environ.update(values)
        from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

        hooks = {conn_id: Dialog360Hook(conn_id) for conn_id in conn_ids}
        barrier.wait(60)
        results.put({f"{conn_id} {path}": hook.upload(path).media_id for path in paths for conn_id, hook in hooks.items()})
    except Exception as error:
        results.put(repr(error))
        raise


def _open_all(urls: list[str], barrier: Any, results: Any) -> None:
    """In a process of its own."""
    from airflow_provider_360dialog.exceptions import Dialog360Error
    from airflow_provider_360dialog.ledger.store import Store

    failed = []
    for url in urls:
        barrier.wait(60)
        try:
            Store(url).open()
        except Dialog360Error as error:
            failed.append(str(error).replace(Store(url).place, "..."))
    results.put(failed)


if __name__ == "__main__":
    support.main(run)
