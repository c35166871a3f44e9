"""One number, one process, four ways to upload: this provider, a loop, a pool of threads that retry, pywa's gather.

The emulator refuses the 26th POST of any second and takes 0.3 s for each. By its own arrival times: how many it accepted a
second, from the first arrival to the one with which 95 % of the files are there (so that one late retry does not decide), and how
many it refused, which had carried their bytes for nothing.
"""

from __future__ import annotations

import logging
import math
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import pace, support
from benchmarks.compare.measure import Sheet, progress

POSTS_PER_S = 25
WAYS = {
    "ours": "this provider, 16 threads",
    "retry_pool": "urllib3 Retry, 10 threads",
    "pywa_gather": "pywa gather, 10 at a time",
    "naive_loop": "loop, retry on 429",
}
TIMES_THE_POOL, OF_ITS_WASTE = 1.3, 0.01
_NEARLY_ALL = 0.95


def run(
    *, rounds: int = 5, files: int = 300, files_of_the_loop: int = 60, size_bytes: int = 200_000, service_s: float = 0.3
) -> dict[str, Any]:
    """Let each have its turn, in every round.

    Args:
        rounds: how many. files: for each. files_of_the_loop: fewer, for the way that sends one after the other at a constant
            rate. size_bytes: of a file. service_s: of a POST.
    """
    started, sheet = time.monotonic(), Sheet()
    with support.folder() as place:
        paths = support.make_files(place, files, size_bytes=size_bytes)
        for index in range(rounds):
            for way, name in WAYS.items():
                some = paths[:files_of_the_loop] if way == "naive_loop" else paths
                _note(sheet, name, _turn(way, place, some, service_s), size_bytes)
            progress("contest", f"round {index + 1} of {rounds}", started)
    _compare(sheet)
    sizes = {"files": files, "files_of_the_loop": files_of_the_loop, "size_bytes": size_bytes, "service_s": service_s}
    return sheet.tell("contest", sizes, started=started)


def _compare(sheet: Sheet) -> None:
    ours, *others = WAYS.values()
    for other in others:
        sheet.ratio(f"accepted/s, ours over {other}", f"accepted/s, {ours}", f"accepted/s, {other}")
    pool = WAYS["retry_pool"]
    sheet.ratio(f"wasted, ours over {pool}", f"wasted, {ours}", f"wasted, {pool}")
    sheet.bound(f"accepted/s, ours over {pool}", at_least=TIMES_THE_POOL)
    sheet.bound(f"wasted, ours over {pool}", at_most=OF_ITS_WASTE)
    sheet.bound(f"not uploaded, {ours}", at_most=0)


def _note(sheet: Sheet, name: str, found: dict[str, Any], size_bytes: int) -> None:
    sheet.add(f"accepted/s, {name}", "files/s", found["per_s"])
    sheet.add(f"until all, {name}", "s", found["all_s"])
    sheet.add(f"wasted, {name}", "refused POSTs for 100 files", 100 * found["refused"] / found["files"])
    sheet.add(f"wasted bytes, {name}", "MB for 100 files", 100 * found["refused"] * size_bytes / found["files"] / 1e6)
    sheet.add(f"not uploaded, {name}", "files", found["files"] - found["uploaded"])


def _turn(way: str, place: Path, paths: list[str], service_s: float) -> dict[str, Any]:
    """One way, in a process of its own, with an emulator and a ledger of its own."""
    with support.folder() as own, ExitStack() as stack:
        with support.environment({"TMPDIR": str(place)}):  # what it stores goes even where it has to be killed
            emulated = stack.enter_context(support.emulator(service_s=service_s))
        emulated.ask("settings", {"posts_per_s": POSTS_PER_S, "error_shape": "A"})  # the shape that pywa can read
        number = emulated.numbers[0]
        context = support.workers()
        results = context.Queue()
        environment = support.airflow_environment(emulated, f"sqlite:///{own}/ledger.db")
        process = context.Process(target=_play, args=(way, environment, emulated.base_url, number, paths, results))
        process.start()
        try:
            media_ids, error = support.answers_of(results, 1, within_s=120 + 2 * len(paths))[0]
            process.join(10)
        finally:
            process.kill()
        counters = emulated.ask("counters?times=true")["numbers"][number.number_id]
    if error:
        print(f"{way}: {error}", flush=True)
    return _figures(counters["post_times_s"], counters["refused_by_pace"], len(paths)) | {"uploaded": len(set(media_ids))}


def _figures(arrivals: list[float], refused: int, files: int) -> dict[str, Any]:
    accepted = sorted(pace.accepted_of(arrivals))
    if len(arrivals) - len(accepted) != refused:
        raise RuntimeError(f"the emulator refused {refused} of {len(arrivals)}, by its rule {len(arrivals) - len(accepted)}")
    nearly = min(len(accepted), math.ceil(_NEARLY_ALL * files))
    lasted_s = accepted[nearly - 1] - arrivals[0] if nearly > 1 else 0.0
    return {
        "files": files,
        "refused": refused,
        "per_s": (nearly - 1) / lasted_s if lasted_s else None,
        "all_s": accepted[-1] - arrivals[0] if accepted else None,
    }


def _play(way: str, values: dict[str, str], base_url: str, number: support.Number, paths: list[str], results: Any) -> None:
    """In a process of its own; tells the media ids, or what went wrong."""
    os.environ.update(values)
    logging.disable(logging.WARNING)  # what is said of each picture
    from benchmarks.compare import clients

    try:
        found = _ours(number.conn_id, paths) if way == "ours" else getattr(clients, way)(base_url, number.key, paths)
        results.put((found, None))
    except Exception as error:  # noqa: BLE001 - told to the parent
        results.put(([], repr(error)))


def _ours(conn_id: str, paths: list[str]) -> list[str]:
    from concurrent.futures import ThreadPoolExecutor

    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

    hook = Dialog360Hook(conn_id)
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda path: hook.upload(path).media_id, paths))


if __name__ == "__main__":
    support.main(run)
