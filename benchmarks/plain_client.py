"""What people would write: one Airflow task for each media id, a plain `requests.get`, `retries=3`; no budget, no memory.

Models mapped tasks by their order in time, on the emulator's clock: ``callers`` worker slots, each busy for ``task_s`` with one
try of one task; a status from 400 on, a block's 429 included, fails the try; a failed task gives its slot back and is tried again
after ``retry_delay_s``, before tasks that were never tried (Airflow takes the lower map index first); after four tries it has
failed for good. Left out: the scheduler's own delays, and that tries of one moment overlap on the wire (they go one by one).
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from typing import Any

import requests

from benchmarks import support


def ask_all(
    alive: list[bool], *, callers: int, task_s: float = 2.0, retries: int = 3, retry_delay_s: float = 300.0, seed: int = 360
) -> dict[str, Any]:
    """Ask a strict emulator of its own for as many ids; ``alive``: for each id, in the order in which they are asked."""
    with support.emulator() as emulated, requests.Session() as session:
        emulated.ask("settings", {"profile": "strict"})
        number = emulated.numbers[0]
        session.headers["D360-API-KEY"] = number.key
        media_ids = support.make_ids(emulated, number.number_id, alive, seed=seed)
        clock, fetched, last_s = _Clock(emulated), 0, 0.0
        slots = [0.0] * callers
        fresh, failed = deque(range(len(media_ids))), list[tuple[float, int, int]]()
        while fresh or failed:
            at = heapq.heappop(slots)
            if not (fresh or failed[0][0] <= at):
                at = failed[0][0]
            if failed and failed[0][0] <= at:
                _, index, tried = heapq.heappop(failed)
            else:
                index, tried = fresh.popleft(), 0
            clock.move_to(at)
            last_s = at + task_s
            heapq.heappush(slots, last_s)
            if session.get(f"{emulated.base_url}/{media_ids[index]}", timeout=30).ok:
                fetched += 1
            elif tried < retries:
                heapq.heappush(failed, (last_s + retry_delay_s, index, tried + 1))
        found = emulated.ask("counters")["numbers"][number.number_id]
    return {
        "blocks": found["blocks"],
        "failed": found["failed_gets"],
        "failed_in_a_block": found["blocked_gets"],
        "gets": found["requests"]["fetch"],
        "live_fetched": fetched,
        "most_failed_in_an_hour": found["max_failed_gets_per_hour"],
        "minutes": round(last_s / 60, 1),
    }


class _Clock:
    """The emulator's, moved to an instant counted from the beginning."""

    def __init__(self, emulated: support.Emulator) -> None:
        self._emulated, self._began_s, self._offset_s = emulated, time.time(), 0.0

    def move_to(self, at_s: float) -> None:
        missing_s = self._began_s + at_s - (time.time() + self._offset_s)
        if missing_s > 0:
            self._offset_s = self._emulated.ask("clock", {"advance_s": missing_s})["offset_s"]
