"""A key that is rotated in mid-run (US-8, F41) costs at most one refused call for each upload in flight, and one more.

Threads share one hook and work through a queue; none of them stops because another one failed: that the calls end is the hook's
doing. Where the connection has the new key the run goes on; where it has not, all files that are left fail with one sentence.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import support

NEW_KEY = "proof-key-rotated"


def run(*, engine: str = "both", files: int = 300, threads: int = 16, service_s: float = 0.1) -> dict[str, Any]:
    """Rotate when a third of the files is uploaded.

    Args:
        engine: sqlite, postgresql or both. files: in the queue. threads: uploads in flight. service_s: of the emulator.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    sizes = {"files": files, "threads": threads, "service_s": service_s}
    figures: dict[str, Any] = {}
    for each in engines:
        goes_on = _rotate(each, is_replaced=True, files=files, threads=threads, service_s=service_s)
        stops = _rotate(each, is_replaced=False, files=files, threads=threads, service_s=service_s)
        figures[each] = {"connection_has_new_key": goes_on, "connection_has_old_key": stops}
    holds = all(
        goes_on["refused_calls"] <= threads + 1
        and goes_on["uploaded"] == files
        and stops["refused_calls"] <= threads + 1
        and stops["uploaded"] < files
        and len(stops["sentences"]) == 1
        and stops["uploaded_after_mending"] == files
        for goes_on, stops in (figures[each].values() for each in engines)
    )
    return support.tell("rotation", sizes | figures, started=started, holds=holds)


def _rotate(engine: str, *, is_replaced: bool, files: int, threads: int, service_s: float) -> dict[str, Any]:
    from airflow_provider_360dialog.exceptions import Dialog360Error
    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

    with (
        support.folder() as place,
        support.emulator(service_s=service_s) as emulated,
        support.ledger_url(engine, place) as url,
        support.environment(support.airflow_environment(emulated, url)),
    ):
        paths = support.make_files(place, files)
        number = emulated.numbers[0]
        hook = Dialog360Hook(number.conn_id)
        done, third = Counter[str](), threading.Event()
        lock = threading.Lock()

        def upload(path: str) -> None:
            try:
                word = "uploaded" if hook.upload(path).media_id else "no id"
            except Dialog360Error as error:
                word = str(error)
            with lock:
                done[word] += 1
                if done["uploaded"] >= files // 3:
                    third.set()

        with ThreadPoolExecutor(threads) as pool:
            waiting = [pool.submit(upload, path) for path in paths]
            assert third.wait(60), done
            if is_replaced:
                _replace_key(number)
            emulated.rotate_key(number.number_id, NEW_KEY)
            for each in waiting:
                each.result(120)
        found = {"uploaded": done["uploaded"], "refused_calls": emulated.refused_keys()}
        if is_replaced:
            return found
        _replace_key(number)
        hook = Dialog360Hook(number.conn_id)  # the task's next try
        again = sum(bool(hook.upload(path).media_id) for path in paths)
        sentences = [word for word in done if word != "uploaded"]
        return found | {"failed": files - done["uploaded"], "sentences": sentences, "uploaded_after_mending": again}


def _replace_key(number: support.Number) -> None:
    name = f"AIRFLOW_CONN_{number.conn_id.upper()}"
    os.environ[name] = json.dumps(json.loads(os.environ[name]) | {"password": NEW_KEY})


if __name__ == "__main__":
    support.main(run)
