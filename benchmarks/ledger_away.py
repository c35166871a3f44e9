"""Without the ledger nothing is sent (P1, P4).

Processes upload and fetch through the hook without pause, each thread as an Airflow task of its own. In mid-run their PostgreSQL
is stopped as by a crash, and started again after a while. By the emulator's own arrival times: no request of any kind comes while
it is away, except what had left before. A call that says that the ledger is away is made again as the task's next try; one that
waits is waited for. Afterwards all go on, every file has one media id, and none is lost.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import on_record, support

_LEFT_BEFORE_S = 1.0  # an instant that was reserved before lies so far ahead at most, with as many threads as here
_NEXT_TRY_S = 0.25


def run(
    *,
    files: int = 300,
    processes: int = 4,
    threads: int = 6,
    away_s: float = 8.0,
    before_s: float = 3.0,
    service_s: float = 0.3,
    fetch_s: float = 0.2,
) -> dict[str, Any]:
    """Stop the ledger, and look what arrives.

    Args:
        files: uploaded and fetched once each. processes, threads: who does it; so many that some wait for their turn.
        away_s: between stop and start. before_s: of work, from the first request on, before the stop.
        service_s, fetch_s: how long the emulator takes for an upload, for a GET.
    """
    from tests.support.postgres import postgres

    started = time.monotonic()
    with support.folder() as home, support.emulator(service_s=service_s) as emulated, postgres() as server:
        from airflow_provider_360dialog.ledger.store import Store

        emulated.ask("settings", {"profile": "strict", "posts_per_s": 25})
        emulated.ask("faults", {"kind": "delay", "operation": "fetch", "times": "always", "delay_s": fetch_s})
        url, number = server.new_database(), emulated.numbers[0]
        Store(url).open()  # who creates it where many come first is shown by `adopt_race`
        paths = support.make_files(home, files)
        # Each credit that is held when the ledger goes may be lost for an hour; the larger budget lets all go on all the same.
        values = support.airflow_environment(emulated, url, extra={"throttle_policy": "documented"})
        crew = _Crew(values, paths, number.conn_id, processes, threads)
        try:
            crew.start()
            _wait_for_requests(emulated, within_s=120)
            time.sleep(before_s)
            stopped = time.monotonic()
            server.stop("immediate")
            time.sleep(away_s)
            start = time.monotonic()
            server.start()
            told = crew.told(within_s=300 + files / 5)
        finally:
            crew.end()
        arrivals = _arrivals(emulated, number.number_id)
        noted = [(path, media_id) for each in told for path, media_id, _ in each["uploaded"]]
        counters = emulated.ask("counters")["numbers"][number.number_id]
        figures = on_record.look(url, emulated, number.number_id, noted, paths)
        figures["credits_lost"] = _credits(url)
    late_s = [at - stopped for at in arrivals if stopped < at < start]
    figures |= {
        "requests": len(arrivals),
        "arrived_before": sum(at <= stopped for at in arrivals),
        "arrived_after": sum(at >= start for at in arrivals),
        "arrived_while_away": len(late_s),
        "last_of_them_s_after_the_stop": round(max(late_s), 3) if late_s else None,
        "uploaded_twice": sum(count > 1 for count in counters["uploads_by_sha256"].values()),
        "refused_by_pace": counters["refused_by_pace"],
        "fetched": sum(each["fetched"] for each in told),
        "said_unavailable": sum(each["unavailable"] for each in told),
        "longest_call_s": round(max(each["longest_s"] for each in told), 1),
        "threads_that_went_on": sum(any(at > start for _, _, at in each["uploaded"]) for each in told),
        "errors": [error for each in told for error in each["errors"]][:3],
    }
    holds = (
        all(at_s <= _LEFT_BEFORE_S + service_s for at_s in late_s)
        and figures["arrived_before"] > 0
        and figures["arrived_after"] > 0
        and figures["current_ids"] == figures["files_with_one_current_id"] == figures["current_ids_live"] == files
        and figures["returned"] == figures["fetched"] == files
        and figures["returned_not_current"] == 0
        and figures["uploaded_twice"] == figures["orphans"] == 0
        and figures["threads_that_went_on"] == processes * threads
        and not figures["errors"]
    )
    sizes = {"files": files, "processes": processes, "threads": processes * threads, "away_s": away_s, "service_s": service_s}
    return support.tell("ledger_away", sizes | {"fetch_s": fetch_s} | figures, started=started, holds=holds)


def _wait_for_requests(emulated: support.Emulator, *, within_s: float) -> None:
    """Until the work has begun: how long processes take to start says nothing."""
    ends_at = time.monotonic() + within_s
    while not any(sum(each["requests"].values()) for each in emulated.ask("counters")["numbers"].values()):
        if time.monotonic() > ends_at:
            raise TimeoutError(f"nobody asked for anything within {within_s:.0f} s")
        time.sleep(0.05)


def _arrivals(emulated: support.Emulator, number_id: str) -> list[float]:
    """When each request came, of whatever kind; monotonic, and so comparable over the processes of a host."""
    found = emulated.ask("requests?last=2000")
    counted = sum(emulated.ask("counters")["numbers"][number_id]["requests"].values())
    assert len(found) == counted, f"the emulator remembers {len(found)} of {counted} requests: fewer files, please"
    return sorted(each["arrived_s"] for each in found)


def _credits(url: str) -> int:
    """How many credits are held or spent at the end, although no GET has failed."""
    import sqlalchemy as sa

    from airflow_provider_360dialog.ledger.schema import credit
    from airflow_provider_360dialog.ledger.store import Store

    with Store(url).open_existing().read() as db:
        return int(db.scalar(sa.select(sa.func.count()).select_from(credit)) or 0)


class _Crew:
    """The processes, and what their threads have to say."""

    def __init__(self, values: dict[str, str], paths: list[str], conn_id: str, processes: int, threads: int) -> None:
        context = support.workers()
        self._results, self._count = context.Queue(), processes * threads
        shares = [paths[index :: self._count] for index in range(self._count)]
        self._processes = [
            context.Process(
                target=_work_all, args=(values, conn_id, shares[index * threads : (index + 1) * threads], self._results)
            )
            for index in range(processes)
        ]

    def start(self) -> None:
        for process in self._processes:
            process.start()

    def told(self, *, within_s: float) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = support.answers_of(self._results, self._count, within_s=within_s)
        for process in self._processes:
            process.join(10)
        return told

    def end(self) -> None:
        for process in self._processes:
            process.kill()


def _work_all(values: dict[str, str], conn_id: str, shares: list[list[str]], results: Any) -> None:
    """In a process of its own: one thread, and one Airflow task, for each share of the files."""
    os.environ.update(values)
    tasks = [_Task(conn_id, share) for share in shares]
    threads = [threading.Thread(target=task.work) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for task in tasks:
        results.put(task.told)


class _Task:
    """Uploads and fetches, file by file; a try that fails for want of the ledger is followed by the next."""

    def __init__(self, conn_id: str, paths: list[str]) -> None:
        self._conn_id, self._paths, self._try_number = conn_id, paths, 0
        self._hook: Any = None
        self.told: dict[str, Any] = {"uploaded": [], "fetched": 0, "unavailable": 0, "longest_s": 0.0, "errors": []}

    def work(self) -> None:
        try:
            for path in self._paths:
                media_id = self._until_told(lambda hook, path=path: hook.upload(path).media_id)
                self.told["uploaded"].append((path, media_id, time.monotonic()))
                self._until_told(lambda hook, media_id=media_id: hook.fetch_media(media_id))
                self.told["fetched"] += 1
        except Exception as error:  # noqa: BLE001 - told to the parent
            self.told["errors"].append(repr(error))

    def _until_told(self, call: Any) -> Any:
        from airflow_provider_360dialog.exceptions import LedgerUnavailableError

        while True:
            began = time.monotonic()
            try:
                return call(self._hook or self._next_try())
            except LedgerUnavailableError:
                self._hook = None
                self.told["unavailable"] += 1
                time.sleep(_NEXT_TRY_S)
            finally:
                self.told["longest_s"] = max(self.told["longest_s"], time.monotonic() - began)

    def _next_try(self) -> Any:
        from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

        hook = Dialog360Hook(self._conn_id)
        ledger = hook.get_conn().ledger
        self._try_number += 1
        ledger.task, ledger.try_number = f"proof/run/{Path(self._paths[0]).stem}/-1", self._try_number
        self._hook = hook
        return hook


if __name__ == "__main__":
    support.main(run)
