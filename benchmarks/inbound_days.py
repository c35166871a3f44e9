"""Days of moved time in which customers send files to one number and the archive runs once an hour; for `inbound` and `forged`.

The archive is the operator's (`Dialog360Hook.archive_inbound`), in processes of their own, without Airflow around it. One that is
told to wait comes back at its instant, as Airflow would have it do. The clocks move only while nobody is at work.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import statistics
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks import moved, support

HOUR_S = 3600.0
_SEED = 360
_JITTER_S = 30.0  # as `hooks.waiting` has it
_HTTP_ERROR = 400


@dataclass(frozen=True)
class Item:
    """A file that a customer sends.

    Attributes:
        at_s: when, from the beginning. size_bytes: its length. is_dead: nobody can have it.
        has_url: whether its webhook brings one. is_alone: whether its webhook is landed in a file of its own.
    """

    at_s: float
    size_bytes: int
    is_dead: bool
    has_url: bool
    is_alone: bool


class Landing:
    """The folder that webhooks are landed in, and what was in the messages."""

    def __init__(self, folder: Path, emulated: support.Emulator, *, seed: int = _SEED) -> None:
        self.folder, self.sha256_of, self.dead = folder, dict[str, str](), set[str]()
        self._emulated, self._number, self._noise = emulated, emulated.numbers[0], random.Random(seed)
        (folder / "single").mkdir(parents=True)

    def land(self, item: Item) -> str:
        """A customer sends it now; its media id."""
        noise = self._noise.randbytes(item.size_bytes)
        content = support.PNG + noise if self._noise.random() < 0.7 else b"%PDF-1.4\n" + noise + b"\n%%EOF\n"
        media_id, webhook = receive(self._emulated, self._number, content, with_url=item.has_url)
        if item.is_dead:
            delete(self._emulated, self._number, media_id)
            self.dead.add(media_id)
        else:
            self.sha256_of[media_id] = hashlib.sha256(content).hexdigest()
        self.write(f"single/{media_id}.json" if item.is_alone else f"hour-{int(item.at_s / HOUR_S):03}.jsonl", [webhook])
        return media_id

    def write(self, name: str, webhooks: Iterable[Any]) -> None:
        """Add webhooks to a file, one a line."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.writelines(f"{json.dumps(webhook)}\n" for webhook in webhooks)


def receive(emulated: support.Emulator, number: support.Number, content: bytes, *, with_url: bool) -> tuple[str, Any]:
    """A customer sends a file; its media id and its webhook."""
    mime_type = "image/png" if content.startswith(support.PNG) else "application/pdf"
    sent = {"content_base64": base64.b64encode(content).decode(), "mime_type": mime_type, "number_id": number.number_id}
    webhook = emulated.ask("webhook-media", sent | {"with_url": with_url})
    message = webhook["entry"][0]["changes"][0]["value"]["messages"][0]
    return str(message[message["type"]]["id"]), webhook


def delete(emulated: support.Emulator, number: support.Number, media_id: str) -> None:
    """It vanishes, and nobody says so."""
    headers = {"D360-API-KEY": number.key}
    request = urllib.request.Request(f"{emulated.base_url}/{media_id}", headers=headers, method="DELETE")
    urllib.request.urlopen(request, timeout=30).close()


# --- who archives -------------------------------------------------------------------------------------------------


class Worker:
    """A process that archives when it is told to, as one Airflow task after the other with at most one active run."""

    def __init__(self, name: str, place: moved.Place, values: dict[str, str], folders: tuple[Path, Path]) -> None:
        context = support.workers()
        self._name, self._runs = name, 0
        self._orders, self._answers = context.Queue(), context.Queue()
        arguments = (place, values, *map(str, folders), self._orders, self._answers)
        self._process = context.Process(target=_archive_on, args=arguments, daemon=True)
        self._process.start()
        self.due_at = float("inf")  # when a task that waits comes back, by the moved clock
        self.waits = 0
        self.results: list[dict[str, Any]] = []
        self.errors: list[str] = []

    @property
    def is_waiting(self) -> bool:
        return self.due_at < float("inf")

    def begin(self) -> None:
        """A task that begins, or comes back from its wait."""
        self._runs += not self.is_waiting
        self.due_at = float("inf")
        self._orders.put(f"{self._name}-{self._runs}")

    def read_answer(self, noise: random.Random) -> None:
        """When it has come to its end, or has to wait."""
        answer = support.answers_of(self._answers, 1, within_s=300)[0]
        if answer["until"] is not None:
            self.due_at = answer["until"] + noise.uniform(0, _JITTER_S)
            self.waits += 1
        elif answer["error"] is not None:
            self.errors.append(answer["error"])
        else:
            self.results.append(answer["result"])

    def end(self) -> None:
        self._orders.put(None)
        self._process.join(10)
        self._process.kill()
        self._orders.close()
        self._orders.join_thread()


def _archive_on(place: moved.Place, values: dict[str, str], source: str, destination: str, orders: Any, answers: Any) -> None:
    """In a process of its own, until it is told to end: archive as the run that is named."""
    os.environ.update(values)
    os.dup2(2, 1)  # Airflow logs to stdout
    from airflow.sdk.execution_time.context import set_current_context

    from airflow_provider_360dialog.exceptions import WaitError
    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

    store = place.open()
    with mock.patch("airflow_provider_360dialog.hooks.ledger.ledger_store", return_value=store):
        while (run_id := orders.get()) is not None:
            facts = SimpleNamespace(dag_id="proof", run_id=run_id, task_id="archive", map_index=-1, try_number=1)
            told: dict[str, Any] = {"until": None, "error": None, "result": None}
            try:
                with set_current_context({"ti": facts}):  # type: ignore[arg-type,typeddict-item,unused-ignore]
                    told["result"] = Dialog360Hook(place.number.conn_id).archive_inbound(source, destination)
            except WaitError as wait:
                told["until"] = wait.retry_at.timestamp()
            except Exception as error:  # noqa: BLE001 - told to the parent
                told["error"] = f"{type(error).__name__}: {error}"[:300]
            answers.put(told)


class Timeline:
    """Moved seconds from the beginning; what really passes counts too."""

    def __init__(self, move: Callable[[float], None]) -> None:
        self._move, self._began, self._moved_s = move, time.monotonic(), 0.0

    def now_s(self) -> float:
        return time.monotonic() - self._began + self._moved_s

    def move_to(self, at_s: float) -> None:
        missing_s = at_s - self.now_s()
        if missing_s > 0:
            self._move(missing_s)
            self._moved_s += missing_s


@dataclass(frozen=True)
class Stage:
    """A ledger and an emulator whose clocks are moved together, the landed webhooks, and the archive.

    Attributes:
        failures: when each failed GET or download arrived, by the moved clock, float seconds.
    """

    place: moved.Place
    emulated: support.Emulator
    clock: moved.Clock
    landing: Landing
    archive: Path
    workers: list[Worker]
    failures: list[float]

    def pass_hours(self, hours: int, sent: list[Item], *, works: Callable[[int, int], bool], land: Callable[[int], None]) -> None:
        """Let customers send and the archive run once an hour.

        Args:
            hours: how many. sent: by customers. works: (worker, hour) -> whether it runs then, unless it waits.
            land: told each hour before it is archived.
        """
        timeline, noise = Timeline(self.clock.move), random.Random(_SEED)
        coming, hour, began_at = deque(sent), 1, moved.now_s(self.clock.ahead)
        while hour <= hours:
            waits = [worker.due_at - began_at for worker in self.workers]
            at_s = min(hour * HOUR_S, *waits, *(item.at_s for item in list(coming)[:1]))
            timeline.move_to(at_s)
            while coming and coming[0].at_s <= timeline.now_s():
                self.landing.land(coming.popleft())
            due = [worker for worker in self.workers if worker.due_at <= moved.now_s(self.clock.ahead)]
            if timeline.now_s() >= hour * HOUR_S:
                land(hour)
                due += [each for index, each in enumerate(self.workers) if works(index, hour) and not each.is_waiting]
                hour += 1
            if due:
                self._work(due, noise)

    def _work(self, due: list[Worker], noise: random.Random) -> None:
        seen_until = self.failures[-1] if self.failures else 0.0
        for worker in due:
            worker.begin()
        for worker in due:
            worker.read_answer(noise)
        asked = [each for each in self.emulated.ask("requests?last=2000") if each["method"] == "GET"]
        failed = [each["arrived_at_s"] for each in asked if (each["status"] or _HTTP_ERROR) >= _HTTP_ERROR]
        self.failures.extend(sorted(at for at in failed if at > seen_until))

    def counters(self) -> dict[str, Any]:
        number_id = self.place.number.number_id
        found: dict[str, Any] = self.emulated.ask(f"counters?number={number_id}")["numbers"][number_id]
        return found

    def most_failed_in_an_hour(self) -> int:
        """Of GETs and downloads together."""
        return most_in_an_hour(self.failures)

    def archived(self) -> dict[str, list[str]]:
        """Media id -> the sha256 of each file that bears it."""
        found: dict[str, list[str]] = {}
        for path in files_in(self.archive / self.place.number.number_id):
            found.setdefault(path.name.partition("-")[0], []).append(hashlib.sha256(path.read_bytes()).hexdigest())
        return found

    def reported(self) -> Counter[tuple[str, str]]:
        """(media id, reason) -> in how many lines of the reports it is finally lost."""
        return reported_in(self.archive)

    def ages_s(self) -> list[float]:
        """Of everything archived, how long it took from the message on, shortest first."""
        import sqlalchemy as sa

        from airflow_provider_360dialog.ledger.schema import ARCHIVED, inbound

        query = sa.select(inbound.c.settled_at - inbound.c.received_at).where(inbound.c.state == ARCHIVED)
        with self.clock.store.read() as db:
            return sorted(db.execute(query).scalars())


def most_in_an_hour(instants: list[float], *, hour_s: float = HOUR_S) -> int:
    """Of instants in seconds, how many lie in the fullest hour."""
    return max((sum(end - hour_s < at <= end for at in instants) for end in instants), default=0)


def files_in(folder: Path) -> list[Path]:
    """Archived files, without reports and what is hidden."""
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "lost" and path.name[0] != "."]


def reported_in(archive: Path) -> Counter[tuple[str, str]]:
    """(media id, reason) -> in how many lines of the reports it is finally lost."""
    rows = [json.loads(line) for path in archive.glob("*/lost/*.jsonl") for line in path.read_text().splitlines()]
    return Counter((row["media_id"], row["reason"]) for row in rows if row["is_final"])


@contextmanager
def stage(engine: str, *, workers: int) -> Iterator[Stage]:
    """A stage with a ledger of its own."""
    with support.folder() as home, support.emulator() as emulated, support.ledger_url(engine, home) as url:
        emulated.ask("settings", {"profile": "strict"})
        place = moved.Place(url, engine, emulated.base_url, emulated.numbers[0])
        clock = moved.Clock(place, emulated)
        place.identify(clock.store)
        landing, archive = Landing(home / "webhooks", emulated), home / "archive"
        values = support.airflow_environment(emulated, url)
        folders = (landing.folder, archive)
        hands = [Worker(f"run-{index}", place, values, folders) for index in range(workers)]
        try:
            yield Stage(place, emulated, clock, landing, archive, hands, [])
        finally:
            for each in hands:
                each.end()


def spread(values: list[float]) -> dict[str, float]:
    """Of values, shortest first."""
    if len(values) < 2:
        return {}
    percentiles = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": percentiles[49], "p99": percentiles[98], "max": values[-1]}
