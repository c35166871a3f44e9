"""A blocked number is waited out without a slot and without burning a retry (P1).

A whole Airflow with `LocalExecutor`, and an emulator whose retrieval has just been blocked by somebody else's failed GETs. It
begins the block anew where it is asked during the block. Operators that defer, operators that are rescheduled, and functions
inside `hook.as_airflow_sees_it()` want a media id each. While they wait, Airflow's database and its REST API are asked what they
hold, and the triggerer is killed and started again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from airflow_provider_360dialog import emulator as emulation
from benchmarks import support

KEY, NUMBER_ID, CONN_ID = "test-key", "100000000000001", "number_1"
WAITS_AS = {"deferred": "deferred", "rescheduled": "up_for_reschedule", "function": "up_for_reschedule"}
_LATEST_S = 30.0  # how late Airflow may run a task after the instant that the task has named
_LONGEST_STINT_S = 15.0  # how long a task may hold a slot at a stretch
_FEWEST_SAMPLES = 20
_TAKEN = ("occupied_slots", "running_slots", "queued_slots")
_PARTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
_DAG = """
import json
import os
from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_provider_360dialog.hooks import waiting
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.media import Dialog360FetchMediaUrlOperator

CONN_ID = os.environ["PROOF_NUMBERS"]
waiting._JITTER_S = float(os.environ["PROOF_JITTER_S"]) or waiting._JITTER_S


@task
def fetch(media_id):
    hook = Dialog360Hook(CONN_ID)
    with hook.as_airflow_sees_it():
        return hook.fetch_media(media_id)


with DAG("waiting", schedule=None, default_args={"retries": 3, "retry_delay": timedelta(seconds=1)}):
    for task_id, media_id in json.loads(os.environ["PROOF_MEDIA_IDS"]).items():
        if task_id.startswith("function"):
            fetch.override(task_id=task_id)(media_id)
        else:
            Dialog360FetchMediaUrlOperator(
                task_id=task_id, media_id=media_id, dialog360_conn_id=CONN_ID, deferrable=task_id.startswith("deferred")
            )
"""


@dataclass(frozen=True)
class Sample:
    """What Airflow's database said at an instant: task id -> state and try."""

    at: float
    tasks: dict[str, tuple[str | None, int]]

    @property
    def slots(self) -> int:
        """How many slots of the pool are taken; every task here takes one."""
        return sum(state in {"queued", "running"} for state, _ in self.tasks.values())


@dataclass
class Seen:
    """What was seen of one run.

    Attributes:
        opens_at: the end of the block as the ledger has it. credits: on record when the block first was; each stands for one GET.
        instants: task id -> the instants that the task has named to Airflow. pools: what the REST API said of the pool.
        all_wait_at: when all tasks waited, 0 for never. killed_at: when the triggerer was killed. triggerers: that had a trigger.
        state: of the run. earlier_tries: that Airflow has on record.
    """

    samples: list[Sample] = field(default_factory=list)
    opens_at: float = 0.0
    credits: int = 0
    instants: dict[str, list[float]] = field(default_factory=dict)
    pools: list[dict[str, int]] = field(default_factory=list)
    all_wait_at: float = 0.0
    killed_at: float = 0.0
    triggerers: set[int] = field(default_factory=set)
    state: str = ""
    earlier_tries: int = 0


@dataclass(frozen=True)
class Get:
    """One GET at the emulator."""

    at: float
    media_id: str
    status: int


def run(
    *,
    block_s: int = 70,
    deferred: int = 3,
    rescheduled: int = 3,
    functions: int = 3,
    parallelism: int = 3,
    jitter_s: float = 0.0,
) -> dict[str, Any]:
    """Wait.

    Args:
        block_s: how long the block lasts; above 60, because up to a minute is waited out inside the task.
        deferred, rescheduled, functions: tasks of each kind.
        parallelism: of the executor. Four could see the block at once, and that would be the error budget of an hour.
        jitter_s: by how much at most a task comes later than it might; 0 for what the hook has.
    """
    started = time.monotonic()
    counts = {"deferred": deferred, "rescheduled": rescheduled, "function": functions}
    task_ids = [f"{kind}_{index}" for kind, count in counts.items() for index in range(count)]
    throttle = {"profile": "strict", "blocked_answer": "429_retry_after", "extend_block": True}
    with support.folder() as place, emulation.running(number_id=NUMBER_ID, key=KEY, **throttle) as emulated:
        media_ids = {task_id: _receive(emulated) for task_id in task_ids}
        ledger = place / "ledger.db"
        variables = _variables(emulated, ledger) | {
            "PROOF_MEDIA_IDS": json.dumps(media_ids),
            "PROOF_JITTER_S": str(jitter_s),
        }
        with _airflow(place, variables, parallelism=parallelism) as airflow:
            up_after_s = time.monotonic() - started
            _have_it_blocked(emulated, block_s)
            seen = _watch(airflow, ledger, block_s)
        gets = _gets(emulated, set(media_ids.values()))
        block_ended_at = emulated.state.number(NUMBER_ID).throttle.blocked_until_s
    figures, holds = judge(seen, gets, media_ids, block_ended_at=block_ended_at)
    sizes = {"block_s": block_s, **counts, "parallelism": parallelism, "airflow_up_s": round(up_after_s, 1)}
    return support.tell("waiting", sizes | figures, started=started, holds=holds)


def judge(seen: Seen, gets: list[Get], media_ids: dict[str, str], *, block_ended_at: float) -> tuple[dict[str, Any], bool]:
    """The figures, and whether everything is as promised.

    Args:
        seen: of Airflow. gets: at the emulator. media_ids: task id -> its media id.
        block_ended_at: by the emulator; a GET that came during the block has moved it.
    """
    served = [get for get in gets if get.status == 200]
    last = seen.samples[-1].tasks if seen.samples else {}
    waited_as = {task_id: _waited_as(seen.samples, task_id) for task_id in media_ids}
    slots = _slots_while_all_wait(seen)
    after_block, after_instant = _lateness(seen, served, media_ids)
    figures: dict[str, Any] = {
        "state": seen.state,
        "tasks": _counted([state for state, _ in last.values()]),
        "tries": _counted([number for _, number in last.values()]),
        "earlier_tries": seen.earlier_tries,
        "waited_as": _counted([f"{_kind(task_id)}: {state}" for task_id, state in waited_as.items()]),
        "waits_of_a_task": _counted([len(seen.instants.get(task_id, [])) for task_id in media_ids]),
        "samples_while_all_wait": len(slots),
        "most_slots_while_all_wait": max(slots, default=None),
        "longest_with_a_slot_s": round(_longest_stint_s(seen.samples, media_ids), 1),
        "pool_by_rest": seen.pools,
        "triggerer_killed_before_end_s": round(seen.opens_at - seen.killed_at, 1),
        "triggerers": len(seen.triggerers),
        "gets_before_block_on_record": seen.credits,
        "gets_while_blocked": len(gets) - len(served),
        "gets_served": len(served),
        "resumed_after_block_s": _spread(after_block),
        "late_after_own_instant_s": _spread(after_instant),
        "ran_before_own_instant": _ran_too_early(seen),
    }
    kept = {
        "no retry": all(task == ("success", 1) for task in last.values()) and not seen.earlier_tries,
        "all done": seen.state == "success" and set(last) == set(media_ids) == set(seen.instants),
        "waited as told": all(state == WAITS_AS[_kind(task_id)] for task_id, state in waited_as.items()),
        "waited once": all(len(instants) == 1 for instants in seen.instants.values()),
        "no slot": len(slots) >= _FEWEST_SAMPLES and not any(slots),
        "slot given back": figures["longest_with_a_slot_s"] <= _LONGEST_STINT_S,
        "no slot by REST": bool(seen.pools) and not any(pool[name] for pool in seen.pools for name in _TAKEN),
        "triggerer replaced": 0 < seen.all_wait_at < seen.killed_at < seen.opens_at and len(seen.triggerers) > 1,
        "block left alone": 0 < seen.credits == figures["gets_while_blocked"] and block_ended_at <= seen.opens_at,
        "one GET each": len(served) == len(after_block) == len(media_ids),
        "not too early": all(late >= 0 for late in after_block + after_instant) and not figures["ran_before_own_instant"],
        "not too late": all(late <= _LATEST_S for late in after_instant),
    }
    return figures | {"not_kept": [promise for promise, is_kept in kept.items() if not is_kept]}, all(kept.values())


def _kind(task_id: str) -> str:
    return task_id.partition("_")[0]


def _slots_while_all_wait(seen: Seen) -> list[int]:
    first_instant = min((min(instants) for instants in seen.instants.values()), default=0.0)
    return [sample.slots for sample in seen.samples if 0 < seen.all_wait_at <= sample.at < first_instant]


def _longest_stint_s(samples: list[Sample], task_ids: Iterable[str]) -> float:
    """The longest time for which one task was seen to run without a break."""
    longest = 0.0
    for task_id in task_ids:
        since: float | None = None
        for sample in samples:
            if sample.tasks.get(task_id, (None, 0))[0] != "running":
                since = None
                continue
            since = sample.at if since is None else since
            longest = max(longest, sample.at - since)
    return longest


def _lateness(seen: Seen, served: list[Get], media_ids: dict[str, str]) -> tuple[list[float], list[float]]:
    """By how many seconds each task's GET came after the block's end, and after the last instant that the task had named."""
    at = {get.media_id: get.at for get in served}
    resumed = {task_id: at[media_id] for task_id, media_id in media_ids.items() if media_id in at}
    after_instant = [at - max(seen.instants[task_id]) for task_id, at in resumed.items() if task_id in seen.instants]
    return [at - seen.opens_at for at in resumed.values()], after_instant


def _counted(words: list[Any]) -> dict[str, int]:
    return {str(word): words.count(word) for word in sorted(set(words), key=str)}


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {name: round(of(values), 2) for name, of in (("min", min), ("median", statistics.median), ("max", max))}


def _waited_as(samples: list[Sample], task_id: str) -> str | None:
    """The one state, besides those of a task that runs and ends, that a task was seen in; several are told together."""
    states = {sample.tasks[task_id][0] for sample in samples if task_id in sample.tasks}
    return " ".join(sorted(str(state) for state in states - {None, "scheduled", "queued", "running", "success"})) or None


def _ran_too_early(seen: Seen) -> list[str]:
    """The tasks that Airflow took up between their first wait and the instant that they had named."""
    early = set()
    for task_id, instants in seen.instants.items():
        has_waited = False
        for sample in seen.samples:
            state = sample.tasks.get(task_id, (None, 0))[0]
            has_waited = has_waited or state in WAITS_AS.values()
            if has_waited and sample.at < instants[0] and state not in WAITS_AS.values():
                early.add(task_id)
    return sorted(early)


def _receive(emulated: emulation.Emulator) -> str:
    """A customer sends a file; its id."""
    sent = emulated.inject_webhook_media(support.PNG + secrets.token_bytes(64), mime_type="image/png")
    message = sent["entry"][0]["changes"][0]["value"]["messages"][0]
    return str(message[message["type"]]["id"])


def _have_it_blocked(emulated: emulation.Emulator, block_s: int) -> None:
    """Somebody else who has the number's key asks for dead ids until 360dialog blocks the number."""
    throttle = emulated.state.number(NUMBER_ID).throttle
    throttle.policy = replace(throttle.policy, block_s=block_s)
    for dead in range(throttle.policy.shuts_at):
        request = urllib.request.Request(f"{emulated.base_url}/99900011122{dead:04}", headers={"D360-API-KEY": KEY})
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=10).close()
    assert throttle.is_blocked(emulated.state.now_s()), "the emulator is not blocked"


def _gets(emulated: emulation.Emulator, media_ids: set[str]) -> list[Get]:
    """The GETs of these ids, oldest first."""
    found = [Get(each["arrived_at_s"], each["path"].rpartition("/")[2], each["status"]) for each in emulated.requests(2000)]
    return [get for get in found if get.media_id in media_ids]


def _variables(emulated: emulation.Emulator, ledger: Path) -> dict[str, str]:
    number = support.Number(NUMBER_ID, KEY, CONN_ID)
    told = support.airflow_environment(support.Emulator(emulated.base_url, [number]), f"sqlite:///{ledger}")
    return told | {"PROOF_NUMBERS": CONN_ID}


class _Airflow:
    """An Airflow of our own: one process for each of its parts, and its database."""

    def __init__(self, home: Path, variables: dict[str, str], *, parallelism: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        self._home = home
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        (home / "dags").mkdir()
        (home / "dags" / "waiting.py").write_text(_DAG)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self._environment = clean | variables | {
            "AIRFLOW_HOME": str(home),
            "PYTHONPATH": str(support.CHECKOUT),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(parallelism),
            "AIRFLOW__CORE__FERNET_KEY": "",  # so that the instants of triggers can be read
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.base_url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
        }  # fmt: skip

    def start(self, *parts: str) -> None:
        for part in parts:
            with (self._home / f"{part}.log").open("ab") as output:
                self._running[part] = subprocess.Popen(
                    self._command(*_PARTS[part]), env=self._environment, cwd=self._home, stdout=output, stderr=output,
                    stdin=subprocess.DEVNULL,
                )  # fmt: skip

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "airflow", *words]

    def make_database(self) -> None:
        command = self._command("db", "migrate")
        subprocess.run(command, env=self._environment, cwd=self._home, stdout=subprocess.DEVNULL, timeout=120, check=True)

    def kill(self, part: str) -> None:
        """SIGKILL to a part and all that it has started, as when its host goes down."""
        process = self._running.pop(part)
        family = _family(process.pid)
        process.kill()
        _kill(family)
        process.wait(10)

    def stop(self) -> None:
        """End every part, and whatever a part leaves behind."""
        family = [each for process in self._running.values() for each in _family(process.pid)]
        for process in self._running.values():
            process.terminate()
        ends_at = time.monotonic() + 3
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, ends_at - time.monotonic()))
            process.kill()
            process.wait(10)
        _kill(family)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The API's answer. On SQLite a busy moment is answered with 500, so a GET is repeated."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base_url}/api/v2/{path}", data, {"Content-Type": "application/json"})
        for attempts_left in (2, 1, 0):
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as fault:
                if data is not None or fault.code < 500 or not attempts_left:
                    raise
                time.sleep(0.5)
        return None

    def wait_for(self, what: str, is_so: Callable[[], bool], *, within_s: float, every_s: float = 0.5) -> None:
        """Until something is so.

        Raises:
            TimeoutError: it does not become so, or a part has ended; the last words of every log are in the text.
        """
        ends_at = time.monotonic() + within_s
        while True:
            with contextlib.suppress(OSError, ValueError, sqlite3.OperationalError):
                if is_so():
                    return
            ended = [part for part, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > ends_at:
                words = "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in self._logs())
                raise TimeoutError(f"{what}: not within {within_s:.0f} s, ended: {ended or 'none'}\n{words}")
            time.sleep(every_s)

    def is_so_in_time(self, what: str, is_so: Callable[[], bool], *, within_s: float) -> bool:
        """As `wait_for`, but where it does not become so, that is said on stderr, and the figures tell the rest."""
        try:
            self.wait_for(what, is_so, within_s=within_s)
        except TimeoutError as fault:
            print(fault, file=sys.stderr)
            return False
        return True

    def _logs(self) -> list[Path]:
        return sorted(self._home.glob("*.log")) + sorted(self._home.glob("logs/dag_id=*/**/*.log"))

    def is_up(self) -> bool:
        health = self.ask("monitor/health")
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health[part]["status"] == "healthy" for part in parts) and any(
            dag["dag_id"] == "waiting" for dag in self.ask("dags")["dags"]
        )

    def select(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of Airflow's database, which is opened for reading only."""
        return _select(self._home / "airflow.db", query)


def _select(path: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        return database.execute(query).fetchall()


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


@contextmanager
def _airflow(home: Path, variables: dict[str, str], *, parallelism: int) -> Iterator[_Airflow]:
    airflow = _Airflow(home, variables, parallelism=parallelism)
    airflow.make_database()
    try:
        airflow.start(*_PARTS)
        airflow.wait_for("Airflow is up", airflow.is_up, within_s=120)
        yield airflow
    finally:
        airflow.stop()


def _watch(airflow: _Airflow, ledger: Path, block_s: int) -> Seen:
    """Start a run, kill the triggerer when a third of the block is over, and look until the run has ended."""
    seen = Seen()
    run_id = airflow.ask("dags/waiting/dagRuns", {"logical_date": None})["dag_run_id"]
    airflow.wait_for("the block is on record", lambda: _note_block(ledger, seen), within_s=60, every_s=0.02)
    if airflow.is_so_in_time("all tasks wait", lambda: _look(airflow, seen) and _all_wait(seen), within_s=block_s / 2):
        seen.all_wait_at = time.time()
    _note_pool(airflow, seen)
    a_third = seen.opens_at - block_s * 2 / 3
    airflow.wait_for("a third is over", lambda: _look(airflow, seen) and time.time() >= a_third, within_s=block_s)
    airflow.kill("triggerer")
    seen.killed_at = time.time()
    _note_pool(airflow, seen)
    airflow.start("triggerer")
    within_s = seen.opens_at - time.time() + 120
    airflow.is_so_in_time(
        "the run has ended", lambda: _look(airflow, seen) and _has_ended(airflow, seen, run_id), within_s=within_s
    )
    _look(airflow, seen)
    seen.opens_at = _closed_until(ledger)
    seen.earlier_tries = airflow.select("SELECT count(*) FROM task_instance_history")[0][0]
    return seen


def _note_block(ledger: Path, seen: Seen) -> bool:
    """Whether the ledger knows of the block; how many credits were out by then."""
    found = _select(ledger, "SELECT closed_until, (SELECT count(*) FROM d360_credit) FROM d360_retrieval WHERE closed_until > 0")
    if found:
        seen.opens_at, seen.credits = found[0]
    return bool(found)


def _closed_until(ledger: Path) -> float:
    return float(_select(ledger, "SELECT closed_until FROM d360_retrieval")[0][0])


def _look(airflow: _Airflow, seen: Seen) -> bool:
    """One sample, and the instants that the tasks have named so far."""
    rows = airflow.select("SELECT task_id, state, try_number FROM task_instance")
    seen.samples.append(Sample(time.time(), {task_id: (state, number) for task_id, state, number in rows}))
    named = airflow.select(
        "SELECT ti.task_id, r.reschedule_date FROM task_reschedule r JOIN task_instance ti ON ti.id = r.ti_id ORDER BY r.id"
    )
    told = [(task_id, datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) for task_id, text in named]
    for task_id, kwargs, triggerer in airflow.select(
        "SELECT ti.task_id, t.kwargs, t.triggerer_id FROM trigger t JOIN task_instance ti ON ti.trigger_id = t.id"
    ):
        told.append((task_id, float(json.loads(kwargs)["moment"]["__data__"]["timestamp"])))
        seen.triggerers |= {triggerer} - {None}
    for task_id, instant in told:
        known = seen.instants.setdefault(task_id, [])
        if instant not in known:
            known.append(instant)
    return True


def _all_wait(seen: Seen) -> bool:
    states = [state for state, _ in seen.samples[-1].tasks.values()]
    return bool(states) and all(state in WAITS_AS.values() for state in states)


def _note_pool(airflow: _Airflow, seen: Seen) -> None:
    pool = airflow.ask("pools/default_pool")
    seen.pools.append({name: pool[name] for name in (*_TAKEN, "deferred_slots")})


def _has_ended(airflow: _Airflow, seen: Seen, run_id: str) -> bool:
    seen.state = airflow.select(f"SELECT state FROM dag_run WHERE run_id = '{run_id}'")[0][0]
    return seen.state in {"success", "failed"}


if __name__ == "__main__":
    support.main(run)
