"""One whole Airflow for the tests of this folder: scheduler, triggerer, DAG processor, API server and real task processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_360dialog import emulator as emulation
from tests.support.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
API_KEY = "canary-key-5d41402abc4b2a76"  # only the emulator may ever see it; every other number's key begins with it
THREE_CHANNELS = ("whatsapp_north", "whatsapp_centre", "whatsapp_south")
PARTNER_CHANNELS = tuple(
    f"{group}_{number:03}" for group in ("bakeries", "clinics", "hotels", "schools") for number in range(1, 61)
)
START_TIMEOUT_S = 180
RUN_TIMEOUT_S = 300


@dataclass
class Airflow:
    """A running Airflow and how to ask it."""

    base_url: str
    home: Path

    def ask(self, path, *, method="GET", body=None, timeout_s=30, **query):
        """The JSON answer of the API server. On SQLite a busy moment is answered with 500, so it is asked again.

        What is done by a repeated question that had been done after all is answered with 409; that gives None.
        """
        url = self.base_url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        for attempt in range(5):
            try:
                with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                    return json.loads(answer.read().decode().splitlines()[-1])
            except urllib.error.HTTPError as error:
                if error.code == 409 and attempt:
                    return None
                if error.code < 500 or attempt == 4:
                    raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:2000]}") from error
                time.sleep(1)
        return None

    def run(self, dag_id, conf, *, logical_date=None):
        """Trigger a DAG, wait for its end; gives run id and final state."""
        run_id = self.start(dag_id, conf, logical_date=logical_date)
        return run_id, self.wait(dag_id, run_id)

    def start(self, dag_id, conf, *, logical_date=None):
        """Trigger a DAG; gives the run id."""
        run_id = f"manual__{uuid.uuid4()}"
        body = {"dag_run_id": run_id, "logical_date": logical_date, "conf": conf}
        self.ask(f"/api/v2/dags/{dag_id}/dagRuns", method="POST", body=body)
        return run_id

    def wait(self, dag_id, run_id):
        """The state in which a run has ended."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}"
        return self.ask(f"{path}/wait", interval=1, timeout_s=RUN_TIMEOUT_S)["state"]

    def task_instances(self, dag_id, run_id):
        path = f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}/taskInstances"
        answer = self.ask(path, limit=100)
        assert answer["total_entries"] <= 100
        return answer["task_instances"]

    def xcom(self, dag_id, run_id, task_id, *, map_index=-1):
        run = urllib.parse.quote(run_id, safe="")
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.ask(path, map_index=map_index, deserialize="false")["value"]

    def is_healthy(self):
        try:
            health = self.ask("/api/v2/monitor/health", timeout_s=5)
        except (OSError, AssertionError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health[part]["status"] == "healthy" for part in parts)


def tail(path, lines=60):
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


@pytest.fixture(scope="session")
def emulator():
    """The emulated 360dialog that the running Airflow talks to; ``numbers``: connection id -> phone number id."""
    with emulation.running(key=API_KEY) as emulated:
        channels = enumerate((*THREE_CHANNELS, *PARTNER_CHANNELS), 1)
        emulated.numbers = {conn_id: f"2000000000{index:05}" for index, conn_id in channels}
        for conn_id, number_id in emulated.numbers.items():
            emulated.add_number(number_id, f"{API_KEY}-{conn_id}")
        issue, emulated.issued_urls = emulated.state.links.issue, []

        def issue_and_note(**facts):
            emulated.issued_urls.append(issue(**facts))
            return emulated.issued_urls[-1]

        emulated.state.links.issue = issue_and_note
        yield emulated


@pytest.fixture(scope="session")
def airflow(emulator, tmp_path_factory):
    """A running `airflow standalone` with the example DAGs and a connection to the emulator."""
    home = tmp_path_factory.mktemp("standalone")
    api, worker_logs, trigger_logs = free_port(), free_port(), free_port()
    base_url = f"http://127.0.0.1:{api}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # standalone starts its parts by name
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_DIALOG360_DEFAULT": json.dumps({"conn_type": "dialog360", "host": emulator.base_url, "password": API_KEY}),
        **{
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(
                {"conn_type": "dialog360", "host": emulator.base_url, "password": f"{API_KEY}-{conn_id}"}
            )
            for conn_id in emulator.numbers
        },
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags_examples"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__PARALLELISM": "4",  # more, and SQLite says "database is locked"
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base_url}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(api),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",  # what a log must not hold, it must not hold at its most talkative
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
    }
    log = home / "standalone.log"
    running = Airflow(base_url, home)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"], env=environment, cwd=home, stdout=output, stderr=output,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not running.is_healthy():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"airflow standalone did not become healthy in {START_TIMEOUT_S} s:\n{tail(log)}", pytrace=False)
            time.sleep(1)
        yield running
    finally:
        stop(process)


def stop(process):
    """End the process and all that it started: they share its group."""
    for sign, patience_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)


@pytest.fixture
def airflow_logs_on_failure(request, airflow):
    """Prints what Airflow complained of where a test of this folder fails."""
    yield
    if request.node.stash.get(_FAILED, False):
        print(complaints(airflow.home))  # noqa: T201 - pytest shows it below the failure


def complaints(home):
    """The last lines of all logs that speak of an error."""
    words = ('"level":"error"', '"level":"critical"', "[error ", "Traceback", "Error:")
    lines = [
        f"{path.relative_to(home)}: {line[:1500]}"
        for path in sorted(home.rglob("*.log"), key=lambda path: path.stat().st_mtime)
        for line in path.read_text(errors="replace").splitlines()
        if any(word in line for word in words)
    ]
    return "\n".join(lines[-20:]) or f"no complaint in the logs under {home}"


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and report.failed:
        item.stash[_FAILED] = True
    return report
