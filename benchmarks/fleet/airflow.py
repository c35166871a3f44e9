"""A whole Airflow with CeleryExecutor out of an environment of its own: its parts, how to kill them, how to ask it.

All parts run the installed wheel with `.venv-fleet`'s Python, each in a process group of its own. See `Fleet`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import support
from benchmarks.fleet.services import EmulatedHost, Redis, dies_with_us, is_ours
from tests.support.ports import free_port

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

PYTHON = support.CHECKOUT / ".venv-fleet" / "bin" / "python"
WORKERS = ("worker-1", "worker-2")
PROCESSES = 4
HEARTBEAT_TIMEOUT_S = 30
_WORKER = ("celery", "worker", "--concurrency", str(PROCESSES), "--skip-serve-logs", "--without-gossip", "--without-mingle")
_PARTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    **{name: (*_WORKER, "--celery-hostname", f"{name}@%h") for name in WORKERS},
}
_STOP_S = 8.0


def set_up() -> None:
    """Make `.venv-fleet`, where it is not there yet."""
    subprocess.run([str(support.CHECKOUT / "scripts" / "set-up-fleet")], check=True, stdout=sys.stderr, timeout=900)


def clean_environment(home: Path) -> dict[str, str]:
    """What a process of the fleet begins with: nobody's own settings, and a home."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONPATH"))}
    return ours | {"AIRFLOW_HOME": str(home)}


def wheel_folder() -> str:
    """Where the fleet finds the package."""
    program = "import airflow_provider_360dialog as package; print(package.__path__[0])"
    done = subprocess.run([str(PYTHON), "-P", "-c", program], capture_output=True, text=True, check=True, cwd="/", timeout=60)
    return done.stdout.strip()


class Fleet:
    """A running Airflow.

    Attributes:
        home: its folder. base_url: of the API server.
    """

    def __init__(self, home: Path, environment: dict[str, str], base_url: str) -> None:
        self.home, self.base_url = home, base_url
        self._environment = environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    # --- parts ----------------------------------------------------------------------------------------------------

    def airflow(self, *words: str, timeout_s: float = 180) -> None:
        """One command of Airflow's."""
        with (self.home / "commands.log").open("ab") as output:
            subprocess.run(
                [str(PYTHON), "-P", "-m", "airflow", *words], env=self._environment, cwd=self.home, stdout=output, stderr=output,
                timeout=timeout_s, check=True,
            )  # fmt: skip

    def start(self, *parts: str) -> None:
        """Start parts. Call it from a thread that lives on: they end with it."""
        for part in parts:
            with (self.home / f"{part}.log").open("ab") as output:
                self._running[part] = subprocess.Popen(
                    [*dies_with_us(), str(PYTHON), "-P", "-m", "airflow", *_PARTS[part]], env=self._environment, cwd=self.home,
                    stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip

    def kill(self, part: str) -> int:
        """SIGKILL to a part and all that it has started, as when its host goes down: how many processes."""
        process = self._running.pop(part)
        family = [process, *_family(process.pid)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(10)
        return len(family)

    def busy(self) -> list[tuple[str, psutil.Process, psutil.Process]]:
        """Celery's processes with a task: (worker, Celery's process, the task's)."""
        found = []
        for name in WORKERS:
            main = self._running.get(name)
            family = {process.pid: process for process in _family(main.pid)} if main else {}
            for task in family.values():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process = family.get(task.ppid())
                    if process is not None and main is not None and process.ppid() == main.pid:
                        found.append((name, process, task))
        return found

    def ended(self) -> list[str]:
        """Parts that ended by themselves."""
        return [part for part, process in self._running.items() if process.poll() is not None]

    def stop(self) -> None:
        """End every part and whatever any part has left behind: bounded in time."""
        processes, self._running = dict(self._running), {}
        family = [each for process in processes.values() for each in _family(process.pid)]
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        ends_at = time.monotonic() + _STOP_S
        for process in processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, ends_at - time.monotonic()))
            process.kill()
            process.wait(10)
        left = {each.pid: each for each in [*family, *self._orphans()]}
        for each in left.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(list(left.values()), timeout=10)

    def _orphans(self) -> Iterator[psutil.Process]:
        """Processes that a killed part has left, and that are now children of ours."""
        for child in _children(os.getpid()):
            with contextlib.suppress(psutil.Error, OSError):
                if child.cwd() == str(self.home):
                    yield child
                    yield from _family(child.pid)

    # --- questions ------------------------------------------------------------------------------------------------

    def ask(self, path: str, body: dict[str, Any] | None = None, *, method: str = "") -> Any:
        """The API's answer; asked again where the server or its database was busy, if that can do no harm."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.base_url}/api/v2/{path}",
            data,
            {"Content-Type": "application/json"},
            method=method or ("GET" if data is None else "POST"),
        )
        for attempts_left in (4, 3, 2, 1, 0):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as fault:
                if fault.code < 500 or not attempts_left:
                    raise RuntimeError(f"{path}: {fault.code} {fault.read().decode()[:500]}") from fault
            except OSError:
                if not attempts_left:
                    raise
            time.sleep(1)
        return None

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run; one that stands already is left alone."""
        try:
            self.ask(f"dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})
        except RuntimeError as fault:
            if ": 409 " not in str(fault):
                raise

    def state(self, dag_id: str, run_id: str) -> str:
        """Of a run."""
        return str(self.ask(f"dags/{dag_id}/dagRuns/{quoted(run_id)}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        found = self.ask(f"dags/{dag_id}/dagRuns/{quoted(run_id)}/taskInstances?limit=100")
        instances: list[dict[str, Any]] = found["task_instances"]
        return instances

    def wait_for(self, what: str, is_so: Callable[[], bool], *, within_s: float, every_s: float = 1.0) -> None:
        """Until something is so.

        Raises:
            TimeoutError: it does not become so, or a part has ended; the last words of every log are in the text.
        """
        ends_at = time.monotonic() + within_s
        while True:
            with contextlib.suppress(OSError, ValueError, RuntimeError, KeyError):
                if is_so():
                    return
            if self.ended() or time.monotonic() > ends_at:
                words = "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2500:]}" for log in self.home.glob("*.log"))
                raise TimeoutError(f"{what}: not within {within_s:.0f} s; parts that ended: {self.ended() or 'none'}\n{words}")
            time.sleep(every_s)

    def is_up(self, dag_ids: set[str]) -> bool:
        """Whether every part is well, both workers take tasks, and the DAGs are known."""
        health = self.ask("monitor/health")
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        known = {dag["dag_id"] for dag in self.ask("dags")["dags"]}
        ready = all(b" ready." in (self.home / f"{name}.log").read_bytes() for name in WORKERS)
        return ready and known >= dag_ids and all(health[part]["status"] == "healthy" for part in parts)


def quoted(run_id: str) -> str:
    """For a path."""
    return urllib.parse.quote(run_id, safe="")


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill_process(process: psutil.Process) -> bool:
    """SIGKILL to one process of ours; False where it has ended meanwhile."""
    if not is_ours(process.pid):
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
        return True
    return False


@contextmanager
def fleet(home: Path, dags: Path, metadata: Postgres, redis: Redis, variables: dict[str, str]) -> Iterator[Fleet]:
    """The parts, started; `Fleet.is_up` says when they are there.

    Args:
        home: a folder of its own. dags: the folder of DAG files. metadata: server of Airflow's database. redis: the broker.
        variables: of the environment of all processes.
    """
    url = metadata.new_database().replace("+psycopg:", "+psycopg2:")
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    environment = clean_environment(home) | variables | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PROCESSES * len(WORKERS)),  # what waits in the broker for long looks lost to Airflow
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "32",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base_url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__CELERY__BROKER_URL": redis.url,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{url}",
        "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
        # How soon Airflow notices a death: minutes by default, which would be most of a short run.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT_S),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES": "20",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
    }  # fmt: skip
    found = Fleet(home, environment, base_url)
    try:
        found.airflow("db", "migrate")
        found.start(*_PARTS)
        yield found
    finally:
        found.stop()


def add_connections(airflow: Fleet, host: EmulatedHost, ledger_url: str) -> None:
    """The numbers' connections and the ledger's, into Airflow's database, where their passwords are encrypted."""
    from sqlalchemy.engine import make_url

    for number in host.numbers:
        fields: dict[str, Any] = {"connection_id": number.conn_id, "conn_type": "dialog360", "host": host.base_url}
        airflow.ask("connections", fields | {"password": number.key})
    at = make_url(ledger_url)
    fields = {"connection_id": "fleet_ledger", "conn_type": "postgres", "host": at.host, "port": at.port, "schema": at.database}
    airflow.ask("connections", fields | {"login": at.username, "password": at.password})
