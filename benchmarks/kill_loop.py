"""No committed id is lost or doubled (P4, F1 to F5).

Workers that upload the same files are killed at random points, again and again. Each worker is a task of its own and goes once
around all files; two workers share a starting point, so that they meet at every file. A killed worker starts as the same task's
next try, at the file that it was at. It notes each id in a journal once `upload` has returned it.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

from benchmarks import on_record, support

CONN_ID, RESTART_S = "number_1", 0.05


def run(
    *, engine: str = "both", files: int = 600, workers: int = 4, kills: int = 60, service_s: float = 0.1, seed: int = 360
) -> dict[str, Any]:
    """Kill, and look what is on record.

    Args:
        engine: sqlite, postgresql or both. files, workers: each worker wants all files. kills: SIGKILLs in all, while they work.
        service_s: how long the emulator thinks after it has stored an upload: who is killed in this time makes an orphan.
        seed: of the choice of victims and moments.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    figures = {each: _loop(each, files=files, workers=workers, kills=kills, service_s=service_s, seed=seed) for each in engines}
    sizes = {"files": files, "workers": workers, "kills": kills, "in_flight_per_kill": 1, "service_s": service_s, "seed": seed}
    holds = all(
        found["current_ids"] == found["files_with_one_current_id"] == found["current_ids_live"] == files
        and found["kills"] == kills
        and found["returned"] == files * workers
        and found["returned_not_current"] == 0
        and found["posts_of_second_pass"] == 0
        and found["orphans"] <= found["orphan_possible"] <= kills
        for found in figures.values()
    )
    return support.tell("kill_loop", sizes | figures, started=started, holds=holds)


def _loop(engine: str, *, files: int, workers: int, kills: int, service_s: float, seed: int) -> dict[str, Any]:
    with support.folder() as place, support.emulator(service_s=service_s) as emulated, support.ledger_url(engine, place) as url:
        from airflow_provider_360dialog.ledger.store import Store

        paths = support.make_files(place, files)
        number = emulated.numbers[0]
        Store(url).open()  # who creates it where many come first is shown by `adopt_race`
        began = time.monotonic()
        shift = files // max(1, workers // 2)
        crew = [
            _Worker(place / f"journal-{index}", url, emulated.base_url, number, _turned(paths, index // 2 * shift))
            for index in range(workers)
        ]
        try:
            killed = _kill(crew, kills=kills, pause_s=0.7 * files * service_s / max(1, workers // 2) / kills, seed=seed)
            _wait(crew, within_s=180 + 4 * files * service_s)
        finally:
            for worker in crew:
                worker.kill()
        loop_s = time.monotonic() - began
        time.sleep(service_s + 0.2)  # what was in flight at the last kill has reached the emulator
        posts = emulated.requests("upload")
        second = _Worker(place / "journal-second", url, emulated.base_url, number, paths)
        second.start()
        try:
            _wait([second], within_s=60 + files)
        finally:
            second.kill()
        figures = on_record.look(
            url, emulated, number.number_id, [line for worker in [*crew, second] for line in worker.noted()], paths
        )
        figures["returned"] -= files  # the second pass's
        return figures | {
            "kills": killed,
            "tries": [worker.tries for worker in crew],
            "posts": posts,
            "posts_of_second_pass": emulated.requests("upload") - posts,
            "loop_s": round(loop_s, 1),
        }


class _Worker:
    """A task in all its tries: one process at a time."""

    def __init__(self, journal: Path, url: str, base_url: str, number: support.Number, paths: list[str]) -> None:
        self.journal, self.tries = journal, 0
        self._args = (journal, url, base_url, number, paths)
        self._process: Any = None
        journal.touch()

    def start(self) -> None:
        self.tries += 1
        self._process = support.workers().Process(target=_work, args=(*self._args, self.tries), daemon=True)
        self._process.start()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def kill(self) -> bool:
        """SIGKILL; False where it had ended already."""
        if self._process is None:
            return False
        self._process.kill()
        self._process.join(10)
        return bool(self._process.exitcode != 0)

    @property
    def failed(self) -> bool:
        return self._process is not None and self._process.exitcode not in {None, 0, -9}

    def noted(self) -> list[tuple[str, str]]:
        """(path, media id) in the order in which they were returned; each line is written whole or not at all."""
        lines = self.journal.read_text().splitlines()
        return [(path, media_id) for path, media_id in (line.split("\t") for line in lines)]


def _kill(crew: list[_Worker], *, kills: int, pause_s: float, seed: int) -> int:
    """Start all, and kill one after the other at random moments; how many died of it."""
    chance, killed = random.Random(seed), 0
    for worker in crew:
        worker.start()
    time.sleep(1.0)
    while killed < kills:
        time.sleep(chance.uniform(0.2, 1.8) * pause_s)
        running = [worker for worker in crew if worker.is_running]
        assert running, f"all workers were done after {killed} kills: make the emulator slower or the kills fewer"
        assert not any(worker.failed for worker in crew), "a worker failed on its own"
        worker = chance.choice(running)
        if worker.kill():
            killed += 1
            time.sleep(RESTART_S)
            worker.start()
    return killed


def _wait(crew: list[_Worker], *, within_s: float) -> None:
    ends_at = time.monotonic() + within_s
    while any(worker.is_running for worker in crew):
        assert time.monotonic() < ends_at, f"not done within {within_s:.0f} s: {[len(worker.noted()) for worker in crew]}"
        time.sleep(0.05)
    assert not any(worker.failed for worker in crew), "a worker failed on its own"


def _work(journal: Path, url: str, base_url: str, number: support.Number, paths: list[str], try_number: int) -> None:
    """In a process of its own: go on where the journal ends."""
    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.hooks.places import LocalSource
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.jobs.identify import identify
    from airflow_provider_360dialog.jobs.upload import upload
    from airflow_provider_360dialog.ledger.channel import ChannelLedger
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import Channel

    channel = Channel(api_key=number.key, base_url=base_url)
    api, store = MediaApi(channel), Store(url).open()
    ledger = ChannelLedger(
        store,
        lambda: identify(channel, api=api, store=store, conn_id=CONN_ID),
        task=f"proof/run/{journal.name}/-1",
        try_number=try_number,
    )
    calls = Calls(api, ledger)
    noting = os.open(journal, os.O_WRONLY | os.O_APPEND)
    for path in paths[len(journal.read_text().splitlines()) :]:
        uploaded = upload(LocalSource(Path(path)), calls=calls)
        os.write(noting, f"{path}\t{uploaded.media_id}\n".encode())


def _turned(paths: list[str], start: int) -> list[str]:
    return paths[start:] + paths[:start]


if __name__ == "__main__":
    support.main(run)
