"""What an upload costs this process, over bare `requests`: CPU, not time, because the pace decides about time.

Three measurements: the wire alone beside `requests` (`wire.py cpu`), the ledger alone (`cpu`), and the whole `hook.upload` as a
task calls it, which judges the file, asks the ledger, takes a turn and sends, beside the same files by `requests` in as many
threads. A PostgreSQL server's own CPU is not counted.
"""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import support
from benchmarks.compare.measure import ENGINE_NAMES, Sheet, engines_of, line_of, progress

_THREADS = 16


def run(
    *, rounds: int = 5, engine: str = "both", uploads: int = 200, wire_files: int = 1000, ledger_uploads: int = 300
) -> dict[str, Any]:
    """Measure all three, in every round.

    Args:
        rounds: how many. engine: sqlite, postgresql or both. uploads: whole ones. wire_files: over the wire alone.
        ledger_uploads: in the ledger alone.
    """
    started, sheet = time.monotonic(), Sheet()
    engines = engines_of(engine)
    with support.folder() as place:
        paths = support.make_files(place, uploads, size_bytes=100_000)
        for index in range(rounds):
            wire = line_of(["wire", "cpu", "--repeats=1", f"--files={wire_files}", f"--threads={_THREADS}"])
            sheet.add("wire alone, requests", "CPU ms", wire["bare_ms"])
            sheet.add("wire alone, this provider", "CPU ms", wire["ours_ms"])
            ledger = line_of(["cpu", "--repeats=1", f"--engine={engine}", f"--uploads={ledger_uploads}"])
            sheet.add("whole upload, requests", "CPU ms", _whole("requests", "sqlite", paths))
            for each in engines:
                sheet.add(f"ledger alone, {ENGINE_NAMES[each]}", "CPU ms", ledger[each]["all_ms"])
                sheet.add(f"whole upload, this provider, {ENGINE_NAMES[each]}", "CPU ms", _whole("hook", each, paths))
            progress("overhead", f"round {index + 1} of {rounds}", started)
    sheet.ratio("wire alone, ours over requests", "wire alone, this provider", "wire alone, requests")
    for each in engines:
        name = ENGINE_NAMES[each]
        sheet.ratio(f"whole upload, ours over requests, {name}", f"whole upload, this provider, {name}", "whole upload, requests")
    sizes = {"engine": engine, "uploads": uploads, "wire_files": wire_files, "ledger_uploads": ledger_uploads}
    return sheet.tell("overhead", sizes, started=started)


def _whole(way: str, engine: str, paths: list[str]) -> float:
    """CPU milliseconds for each file, in a process of its own."""
    with support.folder() as place, support.emulator() as emulated, support.ledger_url(engine, place) as url:
        context = support.workers()
        results = context.Queue()
        environment = support.airflow_environment(emulated, url)
        process = context.Process(target=_upload, args=(way, environment, emulated.base_url, emulated.numbers[0], paths, results))
        process.start()
        try:
            found: float = support.answers_of(results, 1, within_s=120 + len(paths))[0]
            process.join(10)
        finally:
            process.kill()
    return found


def _upload(way: str, values: dict[str, str], base_url: str, number: support.Number, paths: list[str], results: Any) -> None:
    """In a process of its own. The first tenth of the files warms up."""
    os.environ.update(values)
    logging.disable(logging.WARNING)  # what is said of each picture
    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

    hook = Dialog360Hook(number.conn_id)
    upload = hook.upload if way == "hook" else _plain(base_url, number.key)
    warm = max(1, len(paths) // 10)
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(upload, paths[:warm]))
        started = time.process_time()
        list(pool.map(upload, paths[warm:]))
        results.put((time.process_time() - started) / (len(paths) - warm) * 1000)


def _plain(base_url: str, key: str) -> Any:
    import threading
    from pathlib import Path

    import requests

    local = threading.local()

    def upload(path: str) -> None:
        session = local.__dict__.setdefault("session", requests.Session())
        with Path(path).open("rb") as file:
            answer = session.post(
                f"{base_url}/media",
                headers={"D360-API-KEY": key},
                data={"messaging_product": "whatsapp"},
                files={"file": (Path(path).name, file, "image/png")},
                timeout=60,
            )
        answer.raise_for_status()

    return upload


if __name__ == "__main__":
    support.main(run)
