"""Never locked out (P1).

Callers in several processes want media ids of which some are dead, from an emulator with the stricter of the two throttles. The
clocks of ledger and emulator are moved together, while no request is under way. Once every id has been asked, the dead ones are
asked again and again, to the last credit of every hour.
"""

from __future__ import annotations

import base64
import os
import queue
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks import support

_MOST = 4  # failed GETs in an hour; more than five, and 360dialog blocks the number
_CLOCK = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0 + (SELECT ahead FROM proof_clock))",
    "postgresql": "(extract(epoch FROM clock_timestamp())::float8 + (SELECT ahead FROM proof_clock))",
}


@dataclass(frozen=True)
class _Order:
    """What a process is told."""

    url: str
    engine: str
    base_url: str
    number: support.Number
    dead: list[str]


def run(
    *,
    engine: str = "both",
    live: int = 200,
    dead: int = 40,
    processes: int = 4,
    callers: int = 4,
    hours: int = 24,
    step_s: int = 60,
) -> dict[str, Any]:
    """Ask.

    Args:
        engine: sqlite, postgresql or both. live, dead: ids. processes: how many. callers: threads of each.
        hours: of moved time. step_s: by which it moves.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    figures = {each: _day(each, live, dead, (processes, callers), (hours, step_s)) for each in engines}
    holds = all(
        found["most_failed_in_an_hour"] <= _MOST
        and found["most_failed_and_in_flight"] <= _MOST
        and not found["blocks"]
        and found["live_fetched"] == live
        and found["dead_known"] == dead
        and not found["errors"]
        for found in figures.values()
    )
    sizes = {"live": live, "dead": dead, "processes": processes, "callers": processes * callers, "hours": hours}
    return support.tell("budget", sizes | figures, started=started, holds=holds)


def _day(engine: str, live: int, dead: int, counts: tuple[int, int], times: tuple[int, int]) -> dict[str, Any]:
    with support.folder() as place, support.emulator() as emulated, support.ledger_url(engine, place) as url:
        emulated.ask("settings", {"profile": "strict"})
        number = emulated.numbers[0]
        noise = random.Random(360)
        alive = [_receive(emulated, number.number_id, noise) for _ in range(live)]
        gone = [f"9{noise.randrange(10**14):014}" for _ in range(dead)]
        order = _Order(url, engine, emulated.base_url, number, gone)
        told, all_asked_at_s = _pass_time(order, noise.sample(alive + gone, live + dead), emulated, counts, times)
        found = emulated.ask("counters")["numbers"][number.number_id]
    fetched = {media_id for each in told for media_id in each["fetched"]}
    refused = {media_id for each in told for media_id in each["refused"]}
    return {
        "live_fetched": len(fetched & set(alive)),
        "dead_known": len(refused & set(gone)),
        "all_asked_after_h": None if all_asked_at_s is None else round(all_asked_at_s / 3600, 1),
        "gets": found["requests"]["fetch"],
        "failed": found["failed_gets"],
        "most_failed_in_an_hour": found["max_failed_gets_per_hour"],
        "most_failed_and_in_flight": found["max_failed_plus_in_flight_gets"],
        "blocks": found["blocks"],
        "closed": sum(each["closed"] for each in told),
        "errors": [error for each in told for error in each["errors"]][:3],
    }


def _receive(emulated: support.Emulator, number_id: str, noise: random.Random) -> str:
    """A customer sends a file; its id."""
    content = base64.b64encode(support.PNG + noise.randbytes(100)).decode()
    sent = emulated.ask("webhook-media", {"content_base64": content, "mime_type": "image/png", "number_id": number_id})
    message = sent["entry"][0]["changes"][0]["value"]["messages"][0]
    return str(message[message["type"]]["id"])


def _pass_time(
    order: _Order, media_ids: list[str], emulated: support.Emulator, counts: tuple[int, int], times: tuple[int, int]
) -> tuple[list[dict[str, Any]], float | None]:
    """Start the callers and move both clocks; what each process was told, and at which second all ids were settled."""
    count, callers = counts
    hours, step_s = times
    store = _open(order, make_clock=True)
    context = support.workers()
    wanted, results, ended = context.Queue(), context.Queue(), context.Event()
    ahead, left = context.Value("d", 0.0), context.Value("i", len(media_ids))
    busy = [[context.Lock() for _ in range(callers)] for _ in range(count)]
    for media_id in media_ids:
        wanted.put(media_id)
    shared = (wanted, ended, ahead, left)
    ready = context.Barrier(count + 1)
    processes = [context.Process(target=_ask_all, args=(order, locks, shared, (ready, results))) for locks in busy]
    for process in processes:
        process.start()
    settled_at_s = None
    try:
        ready.wait(60)
        while ahead.value < hours * 3600:
            time.sleep(0.01)
            with ExitStack() as nobody_asks:
                for lock in (lock for locks in busy for lock in locks):
                    nobody_asks.enter_context(lock)
                _move(store, emulated, ahead, step_s)
            if settled_at_s is None and not left.value:
                settled_at_s = ahead.value
        ended.set()
        told = support.answers_of(results, count, within_s=120)
        for process in processes:
            process.join(10)
    finally:
        for process in processes:
            process.kill()
        wanted.cancel_join_thread()
    return told, settled_at_s


def _move(store: Any, emulated: support.Emulator, ahead: Any, step_s: int) -> None:
    emulated.ask("clock", {"advance_s": step_s})
    with store.write() as db:
        db.exec_driver_sql(f"UPDATE proof_clock SET ahead = ahead + {step_s}")
    ahead.value += step_s


def _open(order: _Order, *, make_clock: bool = False) -> Any:
    """The ledger, on a clock of its own."""
    from airflow_provider_360dialog.ledger.store import Store

    if make_clock:
        with Store(order.url).open().write() as db:
            db.exec_driver_sql("CREATE TABLE proof_clock (ahead DOUBLE PRECISION NOT NULL)")
            db.exec_driver_sql("INSERT INTO proof_clock VALUES (0)")
    return Store(order.url, now_sql=_CLOCK[order.engine], single_host=False).open()


class _Callers:
    """The threads of one process."""

    def __init__(self, order: _Order, shared: tuple[Any, ...]) -> None:
        from airflow_provider_360dialog.ledger.channels import Channels

        self._order = order
        self._wanted, self._ended, self._ahead, self._left = shared
        self._store = _open(order)
        at = {"conn_id": order.number.conn_id, "origin": order.base_url, "phone_number_id": order.number.number_id}
        self._identity = Channels(self._store).bind(api_key=order.number.key, **at)
        self._noise = random.Random(os.getpid())
        self.told: dict[str, Any] = {"fetched": [], "refused": [], "closed": 0, "errors": []}

    def work(self, lock: Any) -> None:
        """Until the end; the lock is held while something is asked."""
        from airflow_provider_360dialog.api.client import MediaApi
        from airflow_provider_360dialog.jobs.calls import Calls
        from airflow_provider_360dialog.ledger.channel import ChannelLedger
        from airflow_provider_360dialog.ports import Channel

        api = MediaApi(Channel(api_key=self._order.number.key, base_url=self._order.base_url))
        calls = Calls(api, ChannelLedger(self._store, lambda: self._identity))
        while not self._ended.is_set():
            media_id, again = self._next()
            if media_id is None:
                continue  # somebody else has the last ones
            with lock:
                until = self._ask(media_id, calls, again=again)
            while time.time() + self._ahead.value < until and not self._ended.wait(0.02):
                pass
        api.close()

    def _next(self) -> tuple[str | None, bool]:
        try:
            return self._wanted.get(timeout=0.02), False
        except queue.Empty:
            return (None if self._left.value else self._noise.choice(self._order.dead)), True

    def _ask(self, media_id: str, calls: Any, *, again: bool) -> float:
        """One question; until when to wait, 0 where it was answered."""
        from airflow_provider_360dialog.exceptions import ChannelClosedError, MediaGoneError
        from airflow_provider_360dialog.jobs.retrieve import fetch

        try:
            fetch(media_id, calls=calls, ask_again=again)
            self.told["fetched"].append(media_id)
        except MediaGoneError:
            self.told["refused"].append(media_id)
        except ChannelClosedError as closed:
            self.told["closed"] += 1
            if not again:
                self._wanted.put(media_id)
            return closed.retry_at.timestamp()
        except Exception as error:  # noqa: BLE001 - told to the parent
            self.told["errors"].append(repr(error))
        if not again:
            with self._left.get_lock():
                self._left.value -= 1
        return 0.0


def _ask_all(order: _Order, locks: list[Any], shared: tuple[Any, ...], told_by: tuple[Any, Any]) -> None:
    """In a process of its own: one thread for each lock."""
    ready, results = told_by
    callers = _Callers(order, shared)
    ready.wait(60)
    threads = [threading.Thread(target=callers.work, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared[0].cancel_join_thread()
    results.put(callers.told)


if __name__ == "__main__":
    support.main(run)
