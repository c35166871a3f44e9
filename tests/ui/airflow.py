"""Airflow's own API server, with people who log in, and the media page in it; no scheduler, for nothing is run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port

USERS = {"ada": "admin", "vi": "viewer"}
PASSWORD = "test-password-of-airflow"
_START_S = 180


@dataclass
class ApiServer:
    """It runs; ``home`` holds its ledger, ``ledger.db``."""

    base_url: str
    home: Path

    def ask(self, path, *, token=None, method="GET", accept="*/*", body=None):
        """Status and text of an answer; redirects are followed."""
        headers = {"Accept": accept, "Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.base_url + path, body, headers, method=method)
        try:
            with _opener().open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def log_in(self, user):
        """A token, as a program gets one."""
        body = json.dumps({"username": user, "password": PASSWORD}).encode()
        status, text = self.ask("/auth/token", method="POST", body=body)
        assert status == 201, text
        return json.loads(text)["access_token"]


@contextmanager
def api_server(home):
    """Start one over a new database, and stop it by its process group."""
    port = free_port()
    running = ApiServer(f"http://127.0.0.1:{port}", home)
    (home / "passwords.json").write_text(json.dumps(dict.fromkeys(USERS, PASSWORD)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DIALOG360__LEDGER_PATH": str(home / "ledger.db"),
    }
    airflow = [sys.executable, "-m", "airflow"]
    with (home / "api-server.log").open("w") as log:
        options = {"env": environment, "cwd": home, "stdout": log, "stderr": log, "stdin": subprocess.DEVNULL}
        subprocess.run([*airflow, "db", "migrate"], check=True, timeout=_START_S, **options)
        process = subprocess.Popen([*airflow, "api-server"], start_new_session=True, **options)
        try:
            _wait(running, process, home / "api-server.log")
            yield running
        finally:
            for sign in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, sign)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)


def _wait(running, process, log):
    ends_at = time.monotonic() + _START_S
    while True:
        with suppress(OSError):
            if running.ask("/api/v2/version")[0] == 200:
                return
        if process.poll() is not None or time.monotonic() > ends_at:
            raise RuntimeError("the API server did not start:\n" + "\n".join(log.read_text().splitlines()[-40:]))
        time.sleep(0.5)


def _opener():
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
