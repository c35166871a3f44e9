"""A killed holder's credit is spent, and no more than that (P1).

Processes that ask for live and dead media ids are SIGKILLed again and again, most of them while their GETs are in flight, at an
emulator with the stricter of the two throttles that takes its time for each GET. It counts what it answers whether or not the
caller still lives. All the while the parent reads the ledger's credits: spent and held together are never more than the budget.
An hour after the last kill (and the 45 s until which its GET might have been answered) the budget is whole again.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import moved, support

_MOST = 4  # failed GETs in an hour; more than five, and 360dialog blocks the number
_HOUR_S = 3600.0
_WHILE_ASKED_S = (
    15  # so that no GET is older than its deadline, should the clocks be moved twice between its credit and its request
)


def run(
    *,
    engine: str = "both",
    kills: int = 60,
    processes: int = 4,
    callers: int = 2,
    live: int = 60,
    dead: int = 20,
    fetch_s: float = 0.25,
    step_s: int = 60,
    seed: int = 360,
) -> dict[str, Any]:
    """Kill, look all the time, and look whether the budget comes back.

    Args:
        engine: sqlite, postgresql or both. kills: SIGKILLs in all. processes: how many at once. callers: threads of each.
        live, dead: ids, asked in random order. fetch_s: how long the emulator takes for a GET.
        step_s: by which moved time moves while the number is closed. seed: of victims and moments.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    figures = {each: _engine(each, kills, (processes, callers), (live, dead), (fetch_s, step_s), seed) for each in engines}
    holds = all(
        found["most_spent_and_held"] == _MOST  # not less: else nothing was at stake
        and found["most_failed_in_an_hour"] <= _MOST
        and found["most_failed_and_in_flight"] <= _MOST
        and not found["blocks"]
        and found["kills"] == kills
        and 4 * found["credits_of_killed_holders"] >= kills
        and (found["failed_unheard"] > 0 or kills < 30)  # a dead id whose caller died in flight: few kills may meet none
        and found["free_after_last_kill"] < _MOST
        and found["free_an_hour_later"] == found["answered_an_hour_later"] == found["in_flight_an_hour_later"] == _MOST
        and not found["errors"]
        for found in figures.values()
    )
    sizes = {"kills": kills, "processes": processes, "callers": processes * callers, "live": live, "dead": dead, "seed": seed}
    return support.tell("credits", sizes | {"fetch_s": fetch_s} | figures, started=started, holds=holds)


def _engine(
    engine: str, kills: int, counts: tuple[int, int], ids: tuple[int, int], times: tuple[float, int], seed: int
) -> dict[str, Any]:
    fetch_s, step_s = times
    with support.folder() as home, support.emulator() as emulated, support.ledger_url(engine, home) as url:
        emulated.ask("settings", {"profile": "strict"})
        emulated.ask("faults", {"kind": "delay", "operation": "fetch", "times": "always", "delay_s": fetch_s})
        number = emulated.numbers[0]
        alive = [True] * ids[0] + [False] * ids[1]
        media_ids = support.make_ids(emulated, number.number_id, alive, seed=seed)
        place = moved.Place(url, engine, emulated.base_url, number)
        clock = moved.Clock(place, emulated)
        calls = place.calls(clock.store)
        watch = _Watch(clock.store)
        crew = _Crew(place, clock, emulated, home / "journal", media_ids, counts)
        try:
            crew.start()
            killed = crew.kill_often(kills, fetch_s=fetch_s, step_s=step_s, chance=random.Random(seed))
        finally:
            crew.end()
        crew.wait_for_answers()
        hours, free_now = clock.ahead.value / _HOUR_S, _free(calls.ledger.ration)
        for _ in range(int((_HOUR_S + calls.api.longest_s()) / step_s) + 1):
            clock.move(step_s)
        free_later = _free(calls.ledger.ration)
        watch.end()
        counters = emulated.ask("counters")["numbers"][number.number_id]
        at_once = _ask_at_once(calls, media_ids[:_MOST], emulated, number.number_id)
        calls.api.close()
        told = crew.told()
    return {
        "kills": killed,
        "credits_of_killed_holders": len(watch.lapsed),
        "hours": round(hours, 1),
        "looks": watch.looks,
        "most_spent_and_held": watch.most,
        "most_held": watch.most_held,
        "gets": counters["requests"]["fetch"],
        "failed": counters["failed_gets"],
        "failed_unheard": counters["failed_gets"] - told.count("gone"),
        "most_failed_in_an_hour": counters["max_failed_gets_per_hour"],
        "most_failed_and_in_flight": counters["max_failed_plus_in_flight_gets"],
        "blocks": counters["blocks"],
        "closed": told.count("closed"),
        "errors": [word for word in told if word not in {"fetched", "gone", "closed"}][:3] + watch.errors[:1],
        "free_after_last_kill": free_now,
        "free_an_hour_later": free_later,
        **at_once,
    }


def _free(ration: Any) -> int:
    """How many credits can be held at once; they are given back."""
    held = []
    while len(held) <= _MOST and isinstance(credit := ration.hold(for_s=60), int):
        held.append(credit)
    for credit in held:
        ration.give_back(credit)
    return len(held)


def _ask_at_once(calls: Any, media_ids: list[str], emulated: support.Emulator, number_id: str) -> dict[str, int]:
    """As many GETs as the budget has credits, all in flight together."""
    from airflow_provider_360dialog.jobs.retrieve import fetch

    emulated.ask("counters/reset", {})
    threads = [threading.Thread(target=fetch, args=(media_id,), kwargs={"calls": calls}) for media_id in media_ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counters = emulated.ask("counters")["numbers"][number_id]
    return {
        "answered_an_hour_later": counters["accepted"].get("fetch", 0),
        "in_flight_an_hour_later": counters["max_failed_plus_in_flight_gets"],
    }


class _Watch:
    """Reads the credits all the time, in a thread."""

    def __init__(self, store: Any) -> None:
        self._store, self._ended = store, threading.Event()
        self.looks = self.most = self.most_held = 0
        self.lapsed: set[int] = set()  # credits whose holder was never heard of: only the killed leave any
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._look_often, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(30)

    def _look_often(self) -> None:
        import sqlalchemy as sa

        from airflow_provider_360dialog.ledger.schema import credit

        query = sa.select(credit.c.id, credit.c.spent_at, credit.c.deadline, self._store.now)
        try:
            while not self._ended.wait(0.004):
                with self._store.read() as db:
                    self._count(db.execute(query).all())
        except Exception as error:  # noqa: BLE001 - told with the figures
            self.errors.append(repr(error))

    def _count(self, credits_: list[Any]) -> None:
        held = [each.id for each in credits_ if each.spent_at is None and each.deadline > each.now]
        self.lapsed |= {each.id for each in credits_ if each.spent_at is None and each.deadline <= each.now}
        since = [each.deadline if each.spent_at is None else each.spent_at for each in credits_]
        counting = sum(at > each.now - _HOUR_S for at, each in zip(since, credits_, strict=True))
        self.looks += 1
        self.most, self.most_held = max(self.most, counting), max(self.most_held, len(held))


class _Crew:
    """The processes. Each of their threads holds a lock while its GET is in flight, so that the clocks stand still."""

    def __init__(
        self,
        place: moved.Place,
        clock: moved.Clock,
        emulated: support.Emulator,
        journal: Path,
        media_ids: list[str],
        counts: tuple[int, int],
    ) -> None:
        self._place, self._clock, self._emulated, self._journal, self._media_ids = place, clock, emulated, journal, media_ids
        self._count, self._callers = counts
        self._context = support.workers()
        self._locks: list[list[Any]] = [[] for _ in range(self._count)]
        self._states: list[Any] = [None] * self._count  # per thread: until when it waits, -1 while its GET is in flight
        self._processes: list[Any] = [None] * self._count
        self._anybody_killed = False
        journal.touch()

    def start(self) -> None:
        for index in range(self._count):
            self._start(index)

    def _start(self, index: int) -> None:
        self._locks[index] = [self._context.Lock() for _ in range(self._callers)]
        self._states[index] = self._context.RawArray("d", self._callers)
        args = (self._place, self._clock.ahead, self._journal, self._media_ids, self._locks[index], self._states[index])
        self._processes[index] = self._context.Process(target=_ask_on, args=args, daemon=True)
        self._processes[index].start()

    def _kill(self, index: int) -> None:
        assert self._processes[index].is_alive(), "a process ended by itself"
        self._processes[index].kill()
        self._processes[index].join(10)
        self._anybody_killed = True

    def end(self) -> None:
        """Kill all that are left."""
        for process in self._processes:
            if process is not None and process.is_alive():
                process.kill()
                process.join(10)
        self._locks = []
        self._anybody_killed = True

    def told(self) -> list[str]:
        return self._journal.read_text().splitlines()

    def kill_often(self, kills: int, *, fetch_s: float, step_s: int, chance: random.Random) -> int:
        """Until so many have died: three of four holders of credits, the fourth anybody. In between, time passes."""
        killed = 0
        gives_up_at = time.monotonic() + 60 + 10 * kills
        while killed < kills:
            assert time.monotonic() < gives_up_at, f"only {killed} could be killed"
            time.sleep(chance.uniform(0.01, 0.03))
            for _ in range(min(chance.choice((1, 1, 1, 2, 3)), kills - killed)):
                if self._holders():
                    time.sleep(chance.uniform(0, fetch_s / 2))
                if not (holders := self._holders()):
                    break
                victim = chance.choice(holders) if killed % 4 else chance.randrange(self._count)
                self._kill(victim)
                killed += 1
                if killed < kills:  # the last ones die together, and stay dead
                    self._start(victim)
            self._pass_time(step_s)
        return killed

    def _holders(self) -> list[int]:
        return [index for index, state in enumerate(self._states) if min(state) < 0]

    def _pass_time(self, step_s: int) -> None:
        """Move the clocks while nothing is in flight: what the killed had sent is answered, the living hold their GETs back."""
        with ExitStack() as nobody_sends:
            for process, locks in zip(self._processes, self._locks, strict=True):
                for lock in locks if process.is_alive() else ():
                    nobody_sends.enter_context(lock)
            self.wait_for_answers()
            now_s = moved.now_s(self._clock.ahead)
            all_wait = all(min(state) > now_s for state in self._states)
            self._clock.move(step_s if all_wait else min(step_s, _WHILE_ASKED_S))

    def wait_for_answers(self) -> None:
        """Until the emulator has answered what the killed had sent."""
        while self._anybody_killed and self._emulated.gets_in_flight(self._place.number.number_id):
            time.sleep(0.01)
        self._anybody_killed = False


def _ask_on(place: moved.Place, ahead: Any, journal: Path, media_ids: list[str], locks: list[Any], states: Any) -> None:
    """In a process of its own, until it is killed: one thread for each lock."""
    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.exceptions import ChannelClosedError, MediaGoneError
    from airflow_provider_360dialog.jobs.retrieve import fetch

    class Watched(MediaApi):
        """Sends while its thread's lock is free, and shows that it does."""

        index: int

        def fetch(self, media_id: str) -> Any:
            with locks[self.index]:
                states[self.index] = -1.0
                try:
                    return super().fetch(media_id)
                finally:
                    states[self.index] = 0.0

    store, noting = place.open(), os.open(journal, os.O_WRONLY | os.O_APPEND)
    noise = random.Random(os.getpid())

    def work(index: int) -> None:
        api = place.api(Watched)
        api.index = index
        calls = place.calls(store, api)
        while True:
            until, word = 0.0, "fetched"
            try:
                fetch(noise.choice(media_ids), calls=calls, ask_again=True)
            except MediaGoneError:
                word = "gone"
            except ChannelClosedError as closed:
                until, word = closed.retry_at.timestamp(), "closed"
            except Exception as error:  # noqa: BLE001 - told to the parent
                word = repr(error)
            os.write(noting, f"{word}\n".encode())
            states[index] = until
            while moved.now_s(ahead) < until:
                time.sleep(0.02)
            states[index] = 0.0

    for index in range(len(locks)):
        threading.Thread(target=work, args=(index,)).start()


if __name__ == "__main__":
    support.main(run)
