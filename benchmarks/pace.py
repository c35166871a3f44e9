"""At the line, not over it (P2).

Processes upload different files to an emulator that refuses the 26th POST of any second and takes 0.3 s for each; in half of the
rounds every POST is delayed at random on its way. By the emulator's own arrival times: how many a second were accepted once all
are under way, how many were refused, the most in any second, and who got how many. Beside it what a plain `requests` session that
retries does with the same files (the baseline).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import support

AT_LEAST_PER_S = 24.25
AT_LEAST_PER_S_WITH_JITTER = 22.0
AT_LEAST_JAIN = 0.9
_POSTS_PER_S = 25
_CLIMB_S = 5.0  # a new channel climbs to the ceiling
_THREADS = 16


@dataclass(frozen=True)
class _Job:
    """What is uploaded, and to what kind of emulator."""

    place: Path
    paths: list[str]
    size_bytes: int
    service_s: float


def run(
    *,
    engine: str = "both",
    processes: str = "1,4,16",
    jitters: str = "0,0.08",
    files: int = 600,
    service_s: float = 0.3,
    size_bytes: int = 200_000,
    baseline_threads: int = 10,
    at_least_per_s: float = AT_LEAST_PER_S,
    at_least_per_s_with_jitter: float = AT_LEAST_PER_S_WITH_JITTER,
    at_least_jain: float = AT_LEAST_JAIN,
) -> dict[str, Any]:
    """Upload. Each engine with each number of processes and each jitter is a round, named like "4" or "4 jitter 0.08".

    Args:
        engine: sqlite, postgresql or both. processes: how many at once. jitters: a POST arrives up to so many seconds later.
        files: of a round, shared by its processes. service_s: of a POST. size_bytes: of a file.
        baseline_threads: of the baseline, which runs once for each jitter; 0 leaves it out.
        at_least_per_s, at_least_per_s_with_jitter, at_least_jain: what must be held; 0 on a machine that has other work.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    counts, delays = [int(each) for each in processes.split(",")], [float(each) for each in jitters.split(",")]
    baselines: dict[str, Any] = {}
    figures: dict[str, dict[str, Any]] = {each: {} for each in engines}
    with support.folder() as place:
        job = _Job(place, support.make_files(place, files, size_bytes=size_bytes), size_bytes, service_s)
        for jitter_s in delays:
            least_per_s = at_least_per_s_with_jitter if jitter_s else at_least_per_s
            baseline = _baseline(job, jitter_s, baseline_threads) if baseline_threads else None
            baselines[f"jitter {jitter_s:g}"] = baseline
            for each in engines:
                for count in counts:
                    found = _round(job, each, count, jitter_s)
                    found |= {} if baseline is None else _ratios(found, baseline)
                    found["holds"] = is_held(found, files, jitter_s=jitter_s, per_s=least_per_s, jain=at_least_jain)
                    figures[each][f"{count} jitter {jitter_s:g}" if jitter_s else str(count)] = found
    sizes = {"files": files, "service_s": service_s, "size_bytes": size_bytes, "baseline": baselines}
    holds = all(found["holds"] for per_engine in figures.values() for found in per_engine.values())
    return support.tell("pace", sizes | figures, started=started, holds=holds)


def is_held(found: dict[str, Any], files: int, *, jitter_s: float, per_s: float, jain: float) -> bool:
    """Whether a round is at the line and not over it, and nobody was starved."""
    if jitter_s:
        over = found["refused"] > most_refused(files)
    else:
        over = found["refused"] > 0 or found["most_in_a_second"] > _POSTS_PER_S
    return found["uploaded"] == files and not found["errors"] and not over and found["per_s"] >= per_s and found["jain"] >= jain


def most_refused(files: int) -> int:
    """How many may be refused where POSTs are delayed at random: 0.2 %, and one in any case."""
    return max(1, int(0.002 * files))


@contextmanager
def _emulator(job: _Job, jitter_s: float) -> Iterator[support.Emulator]:
    """One that allows 25 a second; what it stores lies in the proof's folder, and goes even where it has to be killed."""
    with ExitStack() as stack:
        with support.environment({"TMPDIR": str(job.place)}):
            emulated = stack.enter_context(support.emulator(numbers=2, service_s=job.service_s))
        emulated.ask("settings", {"posts_per_s": _POSTS_PER_S, "jitter_s": jitter_s})
        yield emulated


def _round(job: _Job, engine: str, processes: int, jitter_s: float) -> dict[str, Any]:
    """Processes that share a ledger."""
    with _emulator(job, jitter_s) as emulated, support.folder() as place, support.ledger_url(engine, place) as url:
        number = emulated.numbers[0]
        environment = support.airflow_environment(emulated, url)
        threads = max(2, _THREADS // processes)
        told = _at_once(
            processes, _upload_all, (environment, number.conn_id, job.paths, threads), within_s=90 + len(job.paths) / 5
        )
        seen = _seen(job, emulated, number)
    shares = [len(each["media_ids"]) for each in told]
    found = _figures(told, seen) | {"jain": round(jain(shares), 3), "fewest": min(shares), "most": max(shares)}
    if not jitter_s and seen["most_in_a_second"] > _POSTS_PER_S:
        found |= crowd(seen["arrivals"], started=min(each["started"] for each in told))
    return found


def _baseline(job: _Job, jitter_s: float, threads: int) -> dict[str, Any]:
    """One process, a plain session that retries: what people write who have no ration."""
    with _emulator(job, jitter_s) as emulated:
        number = emulated.numbers[1]
        arguments = (emulated.base_url, number.key, job.paths, threads)
        told = _at_once(1, _upload_plainly, arguments, within_s=90 + len(job.paths))
        return _figures(told, _seen(job, emulated, number))


def _seen(job: _Job, emulated: support.Emulator, number: support.Number) -> dict[str, Any]:
    """What the emulator has counted, and which of the arrivals it accepted."""
    counters = emulated.ask("counters?times=true")["numbers"][number.number_id]
    arrivals = counters["post_times_s"]
    accepted = accepted_of(arrivals)
    refused = counters["refused_by_pace"]
    if refused != len(arrivals) - len(accepted):
        raise RuntimeError(f"the emulator refused {refused} of {len(arrivals)}, by its rule {len(arrivals) - len(accepted)}")
    return {
        "arrivals": arrivals,
        "accepted": accepted,
        "refused": refused,
        "wasted_bytes": refused * job.size_bytes,
        "most_in_a_second": counters["max_posts_per_s"],
    }


def _figures(told: list[dict[str, Any]], seen: dict[str, Any]) -> dict[str, Any]:
    arrivals = seen["arrivals"]
    return {
        "uploaded": len({media_id for each in told for media_id in each["media_ids"]}),
        "errors": [error for each in told for error in each["errors"]][:3],
        "per_s": round(steady_per_s(arrivals, seen["accepted"], climb_s=_CLIMB_S), 2),
        "per_s_from_the_start": round(steady_per_s(arrivals, seen["accepted"]), 2),
        "lasted_s": round(max(arrivals) - min(arrivals), 1) if arrivals else 0.0,
        **{name: seen[name] for name in ("refused", "wasted_bytes", "most_in_a_second")},
    }


def _ratios(found: dict[str, Any], baseline: dict[str, Any]) -> dict[str, float | None]:
    """Ours to the baseline's; None where the baseline's is 0."""
    return {
        f"{name}_to_baseline": round(found[name] / baseline[name], 3) if baseline[name] else None for name in ("per_s", "refused")
    }


def accepted_of(arrivals: list[float]) -> list[float]:
    """Which of the arrivals, in the order in which they were judged, the emulator's rule lets in."""
    from airflow_provider_360dialog.emulator.limits import UploadLimit

    limit = UploadLimit()
    return [at for at in arrivals if limit.admit(at, _POSTS_PER_S)]


def steady_per_s(arrivals: list[float], accepted: list[float], *, climb_s: float = 0.0) -> float:
    """Accepted a second, without the first and the last second of all arrivals: there not everybody is under way.

    Args:
        arrivals, accepted: when. climb_s: left out as well at the start, where the run is four times as long.
    """
    starts, ends = min(arrivals, default=0.0) + 1, max(arrivals, default=0.0) - 1
    if ends - starts > 4 * climb_s:
        starts += climb_s
    return sum(1 for at in accepted if starts <= at < ends) / (ends - starts) if ends > starts else 0.0


def crowd(arrivals: list[float], *, started: float) -> dict[str, Any]:
    """For a diagnosis: the gaps in and beside the fullest second, and when the first 26 came; milliseconds, from ``started``."""
    arrivals = sorted(arrivals)
    first = last = oldest = 0
    for newest, at in enumerate(arrivals):
        while at - arrivals[oldest] >= 1:
            oldest += 1
        if newest - oldest > last - first:
            first, last = oldest, newest

    def gaps(low: int, high: int) -> list[float]:
        low, high = max(0, low), min(len(arrivals) - 1, high)
        return [round((arrivals[index + 1] - arrivals[index]) * 1000, 1) for index in range(low, high)]

    return {
        "worst_window": gaps(first, last),
        "worst_window_from_ms": round((arrivals[first] - started) * 1000, 1),
        "worst_window_before": gaps(first - 3, first),
        "worst_window_after": gaps(last, last + 3),
        "first_26_ms": [round((at - started) * 1000, 1) for at in arrivals[:26]],
    }


def jain(shares: list[int]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares)) if any(shares) else 0.0


def _at_once(count: int, target: Callable[..., None], arguments: tuple[Any, ...], *, within_s: float) -> list[dict[str, Any]]:
    """What each of ``count`` fresh processes has uploaded, and what went wrong."""
    context = support.workers()
    results, barrier, taken = context.Queue(), context.Barrier(count), context.Value("i", 0)
    processes = [context.Process(target=target, args=(*arguments, (taken, barrier, results))) for _ in range(count)]
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


def _upload_all(values: dict[str, str], conn_id: str, paths: list[str], threads: int, shared: tuple[Any, Any, Any]) -> None:
    """In a process of its own: what an operator does."""
    os.environ.update(values)
    from airflow_provider_360dialog.exceptions import Dialog360Error
    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

    errors: list[str] = []
    hook = Dialog360Hook(conn_id)
    try:
        _ = hook.get_conn().ledger.identity  # asks for the number's health once
    except Dialog360Error as error:
        errors.append(repr(error))
    _share_out(lambda path: hook.upload(path).media_id, paths, threads, shared, errors)


def _upload_plainly(base_url: str, key: str, paths: list[str], threads: int, shared: tuple[Any, Any, Any]) -> None:
    """In a process of its own: the baseline."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    retry = Retry(total=10, status_forcelist=[429], allowed_methods=None, backoff_factor=1, respect_retry_after_header=True)
    session = requests.Session()
    session.mount(base_url, HTTPAdapter(max_retries=retry))
    session.headers["D360-API-KEY"] = key

    def upload(path: str) -> str:
        with Path(path).open("rb") as file:
            form = {"file": (Path(path).name, file, "image/png")}
            answer = session.post(f"{base_url}/media", data={"messaging_product": "whatsapp"}, files=form, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["id"])

    _share_out(upload, paths, threads, shared, [])


def _share_out(
    upload: Callable[[str], str], paths: list[str], threads: int, shared: tuple[Any, Any, Any], errors: list[str]
) -> None:
    """Once all processes are ready: take the next file until there is none, in several threads, and tell the parent."""
    taken, barrier, results = shared
    media_ids: list[str] = []

    def work() -> None:
        while True:
            with taken.get_lock():
                index = taken.value
                taken.value += 1
            if index >= len(paths):
                return
            try:
                media_ids.append(upload(paths[index]))
            except Exception as error:  # noqa: BLE001 - told to the parent
                errors.append(repr(error))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    barrier.wait(60)
    started = time.monotonic()  # of the machine: the emulator's arrivals are on the same clock
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    results.put({"media_ids": media_ids, "errors": errors, "started": started})


if __name__ == "__main__":
    support.main(run)
