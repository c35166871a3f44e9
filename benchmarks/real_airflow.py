"""A whole Airflow for proofs: API server, scheduler with `LocalExecutor`, DAG processor and triggerer on a database of their own.

Everything listens on loopback, works in one folder, and is stopped by its process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks import support

_PARTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


@dataclass(frozen=True)
class DagRun:
    """A DAG run that has ended.

    Attributes:
        seconds: from its start to its end, as Airflow has them. tasks: task id -> how many of its instances there were.
        tries: the highest number of a try.
    """

    state: str
    seconds: float
    tasks: dict[str, int]
    tries: int


class RealAirflow:
    """A running Airflow and how to ask it. See `running`."""

    def __init__(self, home: Path, environment: dict[str, str], base_url: str) -> None:
        self.base_url = base_url
        self._home, self._environment = home, environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *parts: str) -> None:
        for part in parts:
            with (self._home / f"{part}.log").open("ab") as output:
                self._running[part] = subprocess.Popen(
                    [sys.executable, "-m", "airflow", *_PARTS[part]], env=self._environment, cwd=self._home,
                    stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                )  # fmt: skip

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
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=5)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The API's answer. On SQLite a busy moment is answered with 500, so a GET is repeated."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base_url}/api/v2/{path}", data, {"Content-Type": "application/json"})
        for attempts_left in (4, 3, 2, 1, 0):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as fault:
                if data is not None or fault.code < 500 or not attempts_left:
                    raise
                time.sleep(0.5)
        return None

    def wait_for(self, what: str, is_so: Callable[[], bool], *, within_s: float, every_s: float = 1.0) -> None:
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
                logs = sorted(self._home.glob("*.log")) + sorted(self._home.glob("logs/dag_id=*/**/*.log"))[:5]
                words = "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)
                raise TimeoutError(f"{what}: not within {within_s:.0f} s, ended: {ended or 'none'}\n{words}")
            time.sleep(every_s)

    def is_up(self, dag_ids: Collection[str]) -> bool:
        health = self.ask("monitor/health")
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        known = {dag["dag_id"] for dag in self.ask("dags")["dags"]}
        return all(health[part]["status"] == "healthy" for part in parts) and known.issuperset(dag_ids)

    def run(self, dag_id: str, *, within_s: float) -> DagRun:
        """Trigger a DAG and look every second, in Airflow's database, whether it has ended.

        Raises:
            TimeoutError: it has not ended in time.
        """
        run_id = self.ask(f"dags/{dag_id}/dagRuns", {"logical_date": None})["dag_run_id"]
        ended = "SELECT 1 FROM dag_run WHERE run_id = ? AND dag_id = ? AND state IN ('success', 'failed')"
        self.wait_for(f"{dag_id} has ended", lambda: bool(self._select(ended, run_id, dag_id)), within_s=within_s)
        found = self.ask(f"dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}")
        began, end = (datetime.fromisoformat(found[name]) for name in ("start_date", "end_date"))
        counted = "SELECT task_id, count(*), max(try_number) FROM task_instance WHERE run_id = ? AND dag_id = ? GROUP BY task_id"
        rows = self._select(counted, run_id, dag_id)
        return DagRun(
            state=found["state"],
            seconds=(end - began).total_seconds(),
            tasks={task_id: count for task_id, count, _ in rows},
            tries=max(tries for *_, tries in rows),
        )

    def _select(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of Airflow's database, which is opened for reading only."""
        with contextlib.closing(sqlite3.connect(f"file:{self._home}/airflow.db?mode=ro", uri=True, timeout=5)) as database:
            return database.execute(query, values).fetchall()


@contextmanager
def running(
    home: Path, dags: Collection[Path], variables: dict[str, str], *, dag_ids: Collection[str], parallelism: int
) -> Iterator[RealAirflow]:
    """An Airflow that has these DAG files.

    Args:
        home: a folder of its own. dags: files. variables: of the environment of all its processes. dag_ids: to wait for.
        parallelism: of the executor; more than four, and Airflow on SQLite says "database is locked".
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base_url = f"http://127.0.0.1:{port}"
    folder = home / "dags"
    folder.mkdir()
    for path in dags:
        (folder / path.name).write_text(path.read_text())
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment = clean | variables | {
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": str(support.CHECKOUT),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(max(16, parallelism)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base_url}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
    }  # fmt: skip
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=environment, cwd=home, stdout=subprocess.DEVNULL, timeout=120, check=True)
    airflow = RealAirflow(home, environment, base_url)
    try:
        airflow.start(*_PARTS)
        airflow.wait_for("Airflow is up", lambda: airflow.is_up(dag_ids), within_s=120)
        yield airflow
    finally:
        airflow.stop()


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
