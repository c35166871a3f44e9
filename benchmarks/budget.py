"""Never locked out (P1).

Callers in several processes want media ids of which some are dead, from an emulator with the stricter of the two throttles. The
clocks of ledger and emulator are moved together, while no request is under way. Once every id has been asked, the dead ones are
asked again and again, to the last credit of every hour. Beside it: what a plain client does to a number of its own with as many
ids, the dead ones at the same places (`plain_client`). `--live 1990 --dead 10` for 2,000 ids of which 0.5 % are dead.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from contextlib import ExitStack
from typing import Any

from benchmarks import moved, plain_client, support

_MOST = 4  # failed GETs in an hour; more than five, and 360dialog blocks the number
_SEED = 360


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
    alive = _spread(live, dead)
    figures = {each: _day(each, alive, (processes, callers), (hours, step_s)) for each in engines}
    baseline = plain_client.ask_all(alive, callers=processes * callers, seed=_SEED)
    holds = all(
        found["most_failed_in_an_hour"] <= _MOST
        and found["most_failed_and_in_flight"] <= _MOST
        and not found["blocks"]
        and found["live_fetched"] == live
        and found["dead_known"] == dead
        and not found["errors"]
        for found in figures.values()
    ) and (dead < 2 or baseline["blocks"] > 0)  # two dead ids, four times each: an emulator that blocks nobody proves nothing
    sizes = {"live": live, "dead": dead, "processes": processes, "callers": processes * callers, "hours": hours}
    return support.tell("budget", sizes | figures | {"baseline": baseline}, started=started, holds=holds)


def _spread(live: int, dead: int) -> list[bool]:
    """For each id in its order whether it lives: the dead ones lie at equal distances."""
    places = {int((index + 0.5) * (live + dead) / dead) for index in range(dead)}
    return [place not in places for place in range(live + dead)]


def _day(engine: str, alive: list[bool], counts: tuple[int, int], times: tuple[int, int]) -> dict[str, Any]:
    with support.folder() as home, support.emulator() as emulated, support.ledger_url(engine, home) as url:
        emulated.ask("settings", {"profile": "strict"})
        number = emulated.numbers[0]
        media_ids = support.make_ids(emulated, number.number_id, alive, seed=_SEED)
        live = {media_id for media_id, lives in zip(media_ids, alive, strict=True) if lives}
        dead = [media_id for media_id in media_ids if media_id not in live]
        place = moved.Place(url, engine, emulated.base_url, number)
        told, settled = _pass_time(place, media_ids, dead, emulated, counts, times)
        found = emulated.ask("counters")["numbers"][number.number_id]
    fetched = {media_id for each in told for media_id in each["fetched"]}
    refused = {media_id for each in told for media_id in each["refused"]}
    return {
        "live_fetched": len(fetched & live),
        "dead_known": len(refused & set(dead)),
        "all_asked_after_h": None if settled is None else round(settled[0] / 3600, 1),
        "all_asked_after_real_s": None if settled is None else round(settled[1], 1),
        "gets": found["requests"]["fetch"],
        "failed": found["failed_gets"],
        "most_failed_in_an_hour": found["max_failed_gets_per_hour"],
        "most_failed_and_in_flight": found["max_failed_plus_in_flight_gets"],
        "blocks": found["blocks"],
        "closed": sum(each["closed"] for each in told),
        "errors": [error for each in told for error in each["errors"]][:3],
    }


def _pass_time(
    place: moved.Place,
    media_ids: list[str],
    dead: list[str],
    emulated: support.Emulator,
    counts: tuple[int, int],
    times: tuple[int, int],
) -> tuple[list[dict[str, Any]], tuple[float, float] | None]:
    """Start the callers and move the clocks; what each process was told, and after how long, moved and real, all were asked."""
    count, callers = counts
    hours, step_s = times
    clock = moved.Clock(place, emulated)
    context = support.workers()
    wanted, results, ended = context.Queue(), context.Queue(), context.Event()
    left = context.Value("i", len(media_ids))
    busy = [[context.Lock() for _ in range(callers)] for _ in range(count)]
    for media_id in media_ids:
        wanted.put(media_id)
    shared = (wanted, ended, clock.ahead, left)
    ready = context.Barrier(count + 1)
    processes = [context.Process(target=_ask_all, args=(place, dead, locks, shared, (ready, results))) for locks in busy]
    for process in processes:
        process.start()
    settled = None
    try:
        ready.wait(60)
        began = time.monotonic()
        while clock.ahead.value < hours * 3600:
            time.sleep(0.01)
            with ExitStack() as nobody_asks:
                for lock in (lock for locks in busy for lock in locks):
                    nobody_asks.enter_context(lock)
                clock.move(step_s)
            if settled is None and not left.value:
                settled = (clock.ahead.value, time.monotonic() - began)
        ended.set()
        told = support.answers_of(results, count, within_s=120)
        for process in processes:
            process.join(10)
    finally:
        for process in processes:
            process.kill()
        wanted.cancel_join_thread()
    return told, settled


class _Callers:
    """The threads of one process."""

    def __init__(self, place: moved.Place, dead: list[str], shared: tuple[Any, ...]) -> None:
        self._place, self._dead = place, dead
        self._wanted, self._ended, self._ahead, self._left = shared
        self._store = place.open()
        place.identify(self._store)
        self._noise = random.Random(os.getpid())
        self.told: dict[str, Any] = {"fetched": [], "refused": [], "closed": 0, "errors": []}

    def work(self, lock: Any) -> None:
        """Until the end; the lock is held while something is asked."""
        calls = self._place.calls(self._store)
        while not self._ended.is_set():
            media_id, again = self._next()
            if media_id is None:
                continue  # somebody else has the last ones
            with lock:
                until = self._ask(media_id, calls, again=again)
            while moved.now_s(self._ahead) < until and not self._ended.wait(0.02):
                pass
        calls.api.close()

    def _next(self) -> tuple[str | None, bool]:
        try:
            return self._wanted.get(timeout=0.02), False
        except queue.Empty:
            return (None if self._left.value or not self._dead else self._noise.choice(self._dead)), True

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


def _ask_all(place: moved.Place, dead: list[str], locks: list[Any], shared: tuple[Any, ...], told_by: tuple[Any, Any]) -> None:
    """In a process of its own: one thread for each lock."""
    ready, results = told_by
    callers = _Callers(place, dead, shared)
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
