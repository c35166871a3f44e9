"""An archive that is killed, and one that has to wait, goes on where it was: nothing is missing or there twice (P1, P4, P7).

A whole Airflow with `LocalExecutor` archives what customers sent to some numbers, one deferrable task a number. When a quarter of
the first number's files stands in the archive, the process of its task is killed (SIGKILL), and Airflow tries again. When half
of a number's files stands there, 360dialog blocks the number, so its task has to wait; while all wait, the triggerer is killed
and started again. Only what was in flight at the kill may be downloaded a second time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import psutil

from airflow_provider_360dialog import emulator as emulation
from benchmarks import support
from benchmarks.inbound_days import files_in, reported_in
from benchmarks.real_airflow import RealAirflow, running

DAG = support.CHECKOUT / "benchmarks" / "dags" / "inbound.py"
_HANDS = 3  # files that a task has in flight
_LOOK_EVERY_S = 0.1


class Task(NamedTuple):
    """What Airflow's database says of a task."""

    map_index: int
    state: str | None
    try_number: int
    pid: int | None
    deferral: str | None


@dataclass
class Seen:
    """What was seen of the run.

    Attributes:
        state: of the run. tries: of each task. deferrals: of each task, when its triggers were made. triggerers: that had them.
        killed_at: how many files of the first number stood in the archive. waited: whether all tasks waited at once.
    """

    state: str = ""
    tries: dict[int, int] = field(default_factory=dict)
    deferrals: dict[int, set[str]] = field(default_factory=dict)
    triggerers: set[int] = field(default_factory=set)
    killed_at: int = 0
    triggerer_killed: bool = False
    waited: bool = False


def run(
    *, items: int = 150, channels: int = 2, dead: int = 4, block_s: int = 75, service_s: float = 0.25, jitter_s: float = 5.0
) -> dict[str, Any]:
    """Archive, kill, block.

    Args:
        items: that customers send to each number. channels: numbers. dead: of the items, the ids that nobody has any more.
        block_s: how long a block lasts; above 60, because up to a minute is waited out inside the task.
        service_s: that the emulator takes for each GET and download. jitter_s: by how much at most a task comes later.
    """
    started = time.monotonic()
    with support.folder() as home, emulation.running(blocked_answer="429_retry_after", extend_block=True) as emulated:
        numbers = _numbers(emulated, channels)
        webhooks, archive = home / "webhooks", home / "archive"
        values = support.airflow_environment(
            support.Emulator(emulated.base_url, numbers),
            f"sqlite:///{home}/ledger.db",
            extra={"throttle_policy": "documented"},
        )
        values |= {"PROOF_WEBHOOKS": str(webhooks), "PROOF_ARCHIVE": str(archive), "PROOF_JITTER_S": str(jitter_s)}
        values["PROOF_NUMBERS"] = " ".join(number.conn_id for number in numbers)
        with running(home, [DAG], values, dag_ids={"inbound"}, parallelism=channels) as airflow:
            up_after_s = time.monotonic() - started
            sent = _Sent(emulated, webhooks, numbers, items, dead)
            emulated.arm("delay", operation="fetch", times="always", delay_s=service_s)
            emulated.arm("delay", operation="download", times="always", delay_s=service_s)
            seen = _Watch(airflow, home, emulated, numbers, (items, block_s)).see()
        figures, kept = _judge(seen, sent, emulated, archive, numbers)
    sizes = {"items": items, "channels": channels, "dead": dead, "block_s": block_s, "airflow_up_s": round(up_after_s, 1)}
    not_kept = [promise for promise, is_kept in kept.items() if not is_kept]
    return support.tell("inbound_airflow", sizes | figures | {"not_kept": not_kept}, started=started, holds=not not_kept)


def _numbers(emulated: emulation.Emulator, count: int) -> list[support.Number]:
    numbers = [support.Number(emulated.number_id, emulated.key, "number_1")]
    for index in range(2, count + 1):
        numbers.append(support.Number(f"20000000000000{index}", f"proof-key-{index}", f"number_{index}"))
        emulated.add_number(numbers[-1].number_id, numbers[-1].key)
    return numbers


class _Sent:
    """What customers send: a third with URLs of their own, which live while Airflow archives. The dead lie at equal distances."""

    def __init__(
        self, emulated: emulation.Emulator, webhooks: Path, numbers: list[support.Number], items: int, dead: int
    ) -> None:
        self.sha256_of: dict[str, str] = {}
        self.dead: set[str] = set()
        webhooks.mkdir()
        places = {int((index + 0.5) * items / dead) for index in range(dead)}
        for number in numbers:
            said = [self._send(emulated, number.number_id, index, index in places) for index in range(items)]
            (webhooks / f"{number.conn_id}.jsonl").write_text("".join(f"{json.dumps(webhook)}\n" for webhook in said))

    def _send(self, emulated: emulation.Emulator, number_id: str, index: int, is_dead: bool) -> dict[str, Any]:
        content = support.PNG + f"{number_id} {index} ".encode() * (100 + 20 * index)
        has_url = index % 3 == 0 and not is_dead
        webhook = emulated.inject_webhook_media(content, mime_type="image/png", number=number_id, with_url=has_url)
        media_id = str(webhook["entry"][0]["changes"][0]["value"]["messages"][0]["image"]["id"])
        if is_dead:
            self.dead.add(media_id)
            emulated.state.delete_media(emulated.media(media_id))
        else:
            self.sha256_of[media_id] = hashlib.sha256(content).hexdigest()
        return webhook


class _Watch:
    """One run, and what is done to it."""

    def __init__(
        self,
        airflow: RealAirflow,
        home: Path,
        emulated: emulation.Emulator,
        numbers: list[support.Number],
        sizes: tuple[int, int],
    ) -> None:
        self._airflow, self._home, self._emulated, self._numbers = airflow, home, emulated, numbers
        self._archive, (self._items, self._block_s) = home / "archive", sizes
        self._blocked: set[str] = set()
        self._tasks: list[Task] = []
        self._seen = Seen()

    def see(self) -> Seen:
        """Until it has ended."""
        self._airflow.ask("dags/inbound/dagRuns", {"logical_date": None})
        if self._in_time("the first task is killed", self._kill_task, within_s=90):
            self._seen.waited = self._in_time("all wait", self._all_wait, within_s=60 + self._block_s)
            self._restart_triggerer()
        self._in_time("the run has ended", self._has_ended, within_s=240 + 3 * self._block_s)
        return self._seen

    def _in_time(self, what: str, is_so: Callable[[], bool], *, within_s: float) -> bool:
        """Where it does not become so, the figures tell the rest."""
        try:
            self._airflow.wait_for(what, lambda: self._look() and is_so(), within_s=within_s, every_s=_LOOK_EVERY_S)
        except TimeoutError as fault:
            print(fault, file=sys.stderr)
            return False
        return True

    def _look(self) -> bool:
        """One sample; and a number of which half is archived is blocked."""
        rows = self._select(
            "SELECT ti.map_index, ti.state, ti.try_number, ti.pid, t.created_date FROM task_instance ti "
            "LEFT JOIN trigger t ON t.id = ti.trigger_id WHERE ti.map_index >= 0 ORDER BY ti.map_index"
        )
        self._tasks = [Task(*row) for row in rows]
        for task in self._tasks:
            self._seen.tries[task.map_index] = task.try_number
            if task.deferral is not None:
                self._seen.deferrals.setdefault(task.map_index, set()).add(task.deferral)
        self._seen.triggerers |= {row[0] for row in self._select("SELECT triggerer_id FROM trigger") if row[0] is not None}
        for index, number in enumerate(self._numbers):
            is_killed = index > 0 or self._seen.killed_at > 0
            if is_killed and number.number_id not in self._blocked and self._archived(number) >= self._items / 2:
                self._blocked.add(number.number_id)
                throttle = self._emulated.state.number(number.number_id).throttle
                throttle.policy = replace(throttle.policy, block_s=self._block_s)
                throttle.block(self._emulated.state.now_s())
        return True

    def _archived(self, number: support.Number) -> int:
        return len(files_in(self._archive / number.number_id))

    def _kill_task(self) -> bool:
        """The process in which the operator runs, once a quarter of its files is archived."""
        count = self._archived(self._numbers[0])
        task = next((each for each in self._tasks if each.map_index == 0 and each.state == "running"), None)
        if task is None or task.pid is None or count < self._items / 4:
            return False
        assert psutil.Process(task.pid) in psutil.Process().children(recursive=True), "not a process of ours"
        os.kill(task.pid, signal.SIGKILL)
        self._seen.killed_at = count
        return True

    def _all_wait(self) -> bool:
        return len(self._blocked) == len(self._numbers) and all(task.state == "deferred" for task in self._tasks)

    def _restart_triggerer(self) -> None:
        ours = [each for each in psutil.Process().children() if "triggerer" in each.cmdline()]
        family = [*ours, *(child for each in ours for child in each.children(recursive=True))]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=10)
        self._seen.triggerer_killed = bool(ours)
        self._airflow.start("triggerer")

    def _has_ended(self) -> bool:
        self._seen.state = self._select("SELECT state FROM dag_run")[0][0]
        return self._seen.state in {"success", "failed"}

    def _select(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self._home}/airflow.db?mode=ro", uri=True, timeout=5)) as database:
            return database.execute(query).fetchall()


def _judge(
    seen: Seen, sent: _Sent, emulated: emulation.Emulator, archive: Path, numbers: list[support.Number]
) -> tuple[dict[str, Any], dict[str, bool]]:
    files = [path for number in numbers for path in files_in(archive / number.number_id)]
    names = Counter(path.name.partition("-")[0] for path in files)
    found = {path.name.partition("-")[0]: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    identical = sum(found.get(media_id) == sha256 for media_id, sha256 in sent.sha256_of.items())
    downloads = _downloads(emulated)
    twice = [media_id for media_id, count in downloads.items() if count > 1]
    reported = reported_in(archive)
    figures = {
        "state": seen.state,
        "tries": list(seen.tries.values()),
        "deferrals": [len(seen.deferrals.get(index, ())) for index in seen.tries],
        "killed_at": seen.killed_at,
        "triggerers": len(seen.triggerers),
        "objects": len(files),
        "identical": identical,
        "downloads": sum(downloads.values()),
        "downloaded_twice": len(twice),
        "lost_reported": len(reported),
        "lost_on_record": _lost_on_record(archive.parent / "ledger.db"),
        "halves_left": len(list(archive.rglob(".*.part"))),
        "gets_while_blocked": sum(emulated.counters(number.number_id)["blocked_gets"] for number in numbers),
        "blocks": sum(emulated.counters(number.number_id)["blocks"] for number in numbers),
    }
    kept = {
        "success": seen.state == "success",
        "killed and tried again": seen.killed_at > 0 and figures["tries"] == [2, *[1] * (len(numbers) - 1)],
        "all waited": seen.waited and all(figures["deferrals"]),
        "triggerer replaced": seen.triggerer_killed and len(seen.triggerers) > 1,
        "all live ones identical": identical == len(sent.sha256_of),
        "each under one name": len(names) == len(files) == len(sent.sha256_of),
        "no more than in flight a second time": len(twice) <= _HANDS and max(downloads.values(), default=0) <= 2,
        "all dead ones lost": figures["lost_on_record"] == len(sent.dead),
        "all dead ones reported": reported == Counter((media_id, "gone") for media_id in sent.dead),
    }
    return figures, kept


def _downloads(emulated: emulation.Emulator) -> Counter[str]:
    """Media id -> how many downloads of it have succeeded."""
    asked = [each for each in emulated.requests(2000) if each["path"].startswith("/whatsapp_business/") and each["status"] == 200]
    return Counter(parse_qs(each["query"])["mid"][0] for each in asked)


def _lost_on_record(ledger: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=5)) as database:
        found: int = database.execute("SELECT count(*) FROM d360_inbound WHERE state = 'lost' AND reason = 'gone'").fetchone()[0]
        return found


if __name__ == "__main__":
    support.main(run)
