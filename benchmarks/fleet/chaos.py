"""What is done to the fleet while it works: SIGKILL to its parts, and a crash of the ledger's PostgreSQL.

Only processes that descend from this one are ever killed, by their ids.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.fleet.airflow import WORKERS, Fleet, kill_process

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

KINDS = ("ledger", "task", "process", "node", "triggerer", "scheduler")
"""The ledger's PostgreSQL; a task's process; Celery's process around one, whose task is left an orphan; a whole worker with all
its processes; the triggerer; the scheduler."""
_SAMPLE_S = 1.0
_DOWN_S = 3.0
_LOOK_FOR_S = 15.0
_BUSY = 3
_UPLOADS, _OTHERS = frozenset({"upload", "refresh"}), frozenset({"archive", "apply", "plan", "export"})


@dataclass(frozen=True)
class Event:
    """Something that was done. ``at_s``: seconds since the load began. ``hit``: which tasks it met."""

    at_s: float
    kind: str
    what: str
    hit: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Busy:
    """A task that runs: its worker, Celery's process around it, its own, its name."""

    worker: str
    process: psutil.Process
    task: psutil.Process
    name: str


@dataclass
class Memory:
    """Resident memory of processes that run tasks, in bytes. ``tasks``: how many were seen."""

    peak: int = 0
    peak_of: str = ""
    pids: set[int] = field(default_factory=set)


class Chaos:
    """One run of it.

    Args:
        fleet: whose parts. ledger: the ledger's server. metadata: Airflow's, with its database: says what tasks are.
        gap_s: between two kills, about. away_s: how long the ledger is away. seed: of moments and victims.
    """

    def __init__(
        self, fleet: Fleet, ledger: Postgres, metadata: Callable[[str], list[Any]], *, gap_s: float, away_s: float, seed: int
    ) -> None:
        self._fleet, self._ledger, self._metadata = fleet, ledger, metadata
        self._gap_s, self._away_s, self._chance = gap_s, away_s, random.Random(seed)
        self._began = time.monotonic()
        self.events: list[Event] = []
        self.memory = Memory()
        self._wanted = dict.fromkeys(KINDS, _UPLOADS)

    @property
    def counts(self) -> dict[str, int]:
        """Kind -> how often."""
        found = Counter(event.kind for event in self.events)
        return {kind: found[kind] for kind in KINDS}

    def run(self, is_over: Callable[[], bool], *, longest_s: float) -> None:
        """Until it is over, and everything was hit once; the order is another one each time round."""
        self._began = time.monotonic()
        while len(self._fleet.busy()) < _BUSY and time.monotonic() < self._began + _LOOK_FOR_S:
            self._rest(0.5)
        kinds: list[str] = []
        while not (is_over() and all(self.counts.values())) and time.monotonic() < self._began + longest_s:
            if not kinds:
                kinds = self._chance.sample(KINDS, len(KINDS))
            self._hit(kinds.pop())
            self._rest(self._chance.uniform(0.6, 1.4) * self._gap_s)

    def _hit(self, kind: str) -> None:
        """Wait for work that it meets, then do it, at an arbitrary moment."""
        busy = self._busy_with(self._wanted[kind]) if kind != "triggerer" else self._that_wait()
        self._wanted[kind] = _OTHERS if self._wanted[kind] == _UPLOADS else _UPLOADS
        self._rest(self._chance.uniform(0.1, 1.5))  # so that not only beginnings are met
        match kind:
            case "ledger":
                self._ledger.stop("immediate")
                self._rest(self._away_s)
                self._ledger.start()
                self._note(kind, f"PostgreSQL of the ledger, away for {self._away_s:.0f} s", busy)
            case "task" | "process":
                self._kill_one_of(kind, busy)
            case _:
                part = self._chance.choice([each.worker for each in busy] or WORKERS) if kind == "node" else kind
                count = self._fleet.kill(part)
                self._note(kind, f"{part}, {count} processes", [each for each in busy if each.worker == part or kind != "node"])
                self._rest(_DOWN_S)
                self._fleet.start(part)

    def _kill_one_of(self, kind: str, busy: list[_Busy]) -> None:
        if not busy:
            return
        victim = self._chance.choice(busy)
        if victim.task.is_running() and kill_process(victim.task if kind == "task" else victim.process):
            what = "a task's process" if kind == "task" else "Celery's process around a task, which is left an orphan"
            self._note(kind, f"{what}, of {victim.worker}", [victim])

    def _busy_with(self, wanted: frozenset[str]) -> list[_Busy]:
        """The tasks of these names that run now; where there are none in time, all."""
        ends_at = time.monotonic() + _LOOK_FOR_S
        while True:
            names = self._running()
            busy = [_Busy(*each, names.get(each[2].pid, "")) for each in self._fleet.busy()]
            found = [each for each in busy if each.name.partition(".")[2] in wanted]
            if found or time.monotonic() > ends_at:
                return found or busy
            self._rest(0.5)

    def _that_wait(self) -> list[_Busy]:
        """Nobody that runs: but wait until a task waits without a slot."""
        waiting = "SELECT 1 FROM task_instance WHERE state IN ('deferred', 'awaiting_input') LIMIT 1"
        ends_at = time.monotonic() + _LOOK_FOR_S
        while not self._metadata(waiting) and time.monotonic() < ends_at:
            self._rest(0.5)
        return []

    def _running(self) -> dict[int, str]:
        """Process id -> the task that Airflow believes to run in it."""
        rows = self._metadata("SELECT pid, dag_id, task_id FROM task_instance WHERE state = 'running' AND pid IS NOT NULL")
        return {pid: f"{dag_id}.{task_id}" for pid, dag_id, task_id in rows}

    def _note(self, kind: str, what: str, hit: list[_Busy]) -> None:
        names = tuple(sorted(each.name or "a task that begins" for each in hit))
        self.events.append(Event(round(time.monotonic() - self._began, 1), kind, what, names))
        print(f"{self.events[-1].at_s:7.1f} s  {kind}: {what}; {len(self.events[-1].hit)} tasks", file=sys.stderr)

    def _rest(self, seconds: float) -> None:
        """Sleep, and look how much memory tasks take."""
        ends_at = time.monotonic() + seconds
        while True:
            self.sample()
            left = ends_at - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _SAMPLE_S))

    def sample(self) -> None:
        """Look once."""
        for worker, _, task in self._fleet.busy():
            try:
                resident = task.memory_info().rss
            except psutil.Error:
                continue
            self.memory.pids.add(task.pid)
            if resident > self.memory.peak:
                self.memory.peak, self.memory.peak_of = resident, worker
