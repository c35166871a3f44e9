"""At the line, not over it (P2).

Processes upload different files to an emulator that refuses the 26th POST of any second and takes 0.3 s for each. By its own
arrival times: how many a second once all are under way, how many were refused, the most in any second, and who got how many.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from benchmarks import support

AT_LEAST_PER_S = 24.25
_THREADS = 16


def run(
    *,
    engine: str = "both",
    processes: str = "1,4,16",
    files: int = 600,
    service_s: float = 0.3,
    size_bytes: int = 4096,
    jitter_s: float = 0.0,
    at_least_per_s: float = AT_LEAST_PER_S,
) -> dict[str, Any]:
    """Upload.

    Args:
        engine: sqlite, postgresql or both. processes: how many at once, one round for each number.
        files: of a round, shared by its processes. service_s: of a POST. size_bytes: of a file.
        jitter_s: a POST arrives up to so much later. at_least_per_s: what must be held; 0 on a machine that has other work.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    rounds = [int(each) for each in processes.split(",")]
    figures = {
        each: {str(count): _round(each, count, files, service_s, size_bytes, jitter_s) for count in rounds} for each in engines
    }
    holds = all(
        found["uploaded"] == files
        and not found["errors"]
        and found["refused"] <= (0.002 * files if jitter_s else 0)
        and (jitter_s or found["most_in_a_second"] <= 25)
        and found["per_s"] >= at_least_per_s
        for per_engine in figures.values()
        for found in per_engine.values()
    )
    sizes = {"files": files, "service_s": service_s, "size_bytes": size_bytes, "jitter_s": jitter_s}
    return support.tell("pace", sizes | figures, started=started, holds=bool(holds))


def _round(engine: str, processes: int, files: int, service_s: float, size_bytes: int, jitter_s: float) -> dict[str, Any]:
    with (
        support.folder() as place,
        support.emulator(service_s=service_s) as emulated,
        support.ledger_url(engine, place) as url,
    ):
        emulated.ask("settings", {"posts_per_s": 25, "jitter_s": jitter_s})
        paths = support.make_files(place, files, size_bytes=size_bytes)
        number = emulated.numbers[0]
        told = _at_once(processes, support.airflow_environment(emulated, url), paths, number.conn_id)
        counters = emulated.ask("counters?times=true")["numbers"][number.number_id]
    refused = counters["refused_by_pace"]
    posts = counters["requests"]["upload"]
    shares = [len(each["media_ids"]) for each in told]
    return {
        "uploaded": len({media_id for each in told for media_id in each["media_ids"]}),
        "errors": [error for each in told for error in each["errors"]][:3],
        "per_s": round(_steady_per_s(counters["post_times_s"]) * (1 - refused / posts), 2),
        "refused": refused,
        "most_in_a_second": counters["max_posts_per_s"],
        "jain": round(jain(shares), 3),
        "fewest": min(shares),
        "most": max(shares),
    }


def _steady_per_s(arrivals: list[float]) -> float:
    """Arrivals a second, without the first and the last second: there not everybody is under way."""
    arrivals = sorted(arrivals)
    steady = [at for at in arrivals if arrivals[0] + 1 <= at <= arrivals[-1] - 1]
    return (len(steady) - 1) / (steady[-1] - steady[0]) if len(steady) > 1 else 0.0


def jain(shares: list[int]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares)) if any(shares) else 0.0


def _at_once(count: int, values: dict[str, str], paths: list[str], conn_id: str) -> list[dict[str, list[str]]]:
    """What each of ``count`` fresh processes has uploaded, and what went wrong."""
    context = support.workers()
    results, barrier, taken = context.Queue(), context.Barrier(count), context.Value("i", 0)
    threads = max(2, _THREADS // count)
    processes = [
        context.Process(target=_upload_all, args=(values, paths, conn_id, threads, (taken, barrier, results)))
        for _ in range(count)
    ]
    for process in processes:
        process.start()
    try:
        told = support.answers_of(results, count, within_s=90 + len(paths) / 5)
        for process in processes:
            process.join(10)
    finally:
        for process in processes:
            process.kill()
    return told


def _upload_all(values: dict[str, str], paths: list[str], conn_id: str, threads: int, shared: tuple[Any, Any, Any]) -> None:
    """In a process of its own: take the next file until there is none, in several threads."""
    taken, barrier, results = shared
    os.environ.update(values)
    from airflow_provider_360dialog.exceptions import Dialog360Error
    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

    media_ids: list[str] = []
    errors: list[str] = []
    hook = Dialog360Hook(conn_id)
    try:
        _ = hook.get_conn().ledger.identity  # asks for the number's health once
    except Dialog360Error as error:
        errors.append(repr(error))
    barrier.wait(60)

    def work() -> None:
        while True:
            with taken.get_lock():
                index = taken.value
                taken.value += 1
            if index >= len(paths):
                return
            try:
                media_ids.append(hook.upload(paths[index]).media_id)
            except Exception as error:  # noqa: BLE001 - told to the parent
                errors.append(repr(error))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    results.put({"media_ids": media_ids, "errors": errors})


if __name__ == "__main__":
    support.main(run)
