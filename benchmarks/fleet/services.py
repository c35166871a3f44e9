"""What the fleet stands on: Redis, two PostgreSQL servers, and the emulator in a process of its own that remembers all it saw.

Each listens on a free loopback port, works in a folder of its own, and is stopped by its process id.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import support
from tests.support.ports import free_port

REDIS_MISSING = "no redis-server here: apt-get install redis-server"
_START_S = 30.0
_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on what a killed parent leaves behind is a child of this process, so that it can be found and ended (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)


def dies_with_us() -> list[str]:
    """A prefix that ends a process should the thread that starts it end without having stopped it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def end(process: subprocess.Popen[Any], *, patience_s: float = 5.0) -> None:
    """Stop a process: politely, then at once."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        process.send_signal(sign)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        return


@contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    """A Redis of our own.

    Raises:
        FileNotFoundError: there is none on this machine.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError(REDIS_MISSING)
    folder.mkdir()
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--rdbcompression", "no"]
    with (folder / "redis.log").open("wb") as output:
        process = subprocess.Popen(
            [*dies_with_us(), program, *options, "--dir", str(folder), "--dbfilename", "all.rdb"],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        found = Redis(port, folder / "all.rdb")
        found.wait()
        yield found
    finally:
        end(process)


class Redis:
    """A running Redis. ``url``: for Celery. ``dump``: where `save` writes all that it holds."""

    def __init__(self, port: int, dump: Path) -> None:
        self.url, self.dump, self._port = f"redis://127.0.0.1:{port}/0", dump, port

    def wait(self) -> None:
        """Until it answers."""
        ends_at = time.monotonic() + _START_S
        while True:
            try:
                if self._say("PING").startswith(b"+PONG"):
                    return
            except OSError:
                if time.monotonic() > ends_at:
                    raise
            time.sleep(0.05)

    def save(self) -> bytes:
        """All that it holds, as it writes it to disk."""
        self._say("SAVE")
        return self.dump.read_bytes()

    def _say(self, word: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
            connection.sendall(f"{word}\r\n".encode())
            return connection.recv(200)


class EmulatedHost:
    """The emulator, on one port and one folder over its restarts.

    Attributes:
        numbers: its numbers. data: its folder; the journal in it is the whole truth about uploads and deletes.
    """

    def __init__(self, data: Path, numbers: int, *, service_s: float) -> None:
        self.data, self._service_s, self._port = data, service_s, free_port()
        self.base_url = f"http://127.0.0.1:{self._port}"
        self.numbers = [
            support.Number(f"10000000000000{index}", f"test-key-{index}-{secrets.token_hex(12)}", f"number_{index}")
            for index in range(1, numbers + 1)
        ]
        self.asked = support.Emulator(self.base_url, self.numbers)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, with all that it knew before."""
        is_first = not self.data.exists()
        command = [
            sys.executable,
            "-m",
            "airflow_provider_360dialog.emulator",
            "--port",
            str(self._port),
            "--data",
            str(self.data),
        ]
        command += ["--number-id", self.numbers[0].number_id, "--key", self.numbers[0].key, "--service-s", str(self._service_s)]
        command += ["--profile", "strict", "--blocked-answer", "429_retry_after", "--extend-block"]
        self._process = subprocess.Popen(
            [*dies_with_us(), *command], stdout=subprocess.PIPE, text=True, cwd=support.CHECKOUT, start_new_session=True
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the emulator did not start")
        for number in self.numbers[1:] if is_first else []:
            self.asked.ask("numbers", {"number_id": number.number_id, "key": number.key})

    def stop(self) -> None:
        """Stop it."""
        process, self._process = self._process, None
        if process is not None:
            end(process)

    def journal(self) -> list[dict[str, Any]]:
        """All that has ever happened to media, oldest first."""
        return [json.loads(line) for line in (self.data / "journal.jsonl").read_text().splitlines() if line]

    def age(self, seconds: float) -> None:
        """Let all media be so much older. It must not run."""
        assert self._process is None
        events = self.journal()
        for event in events:
            if event["event"] == "media":
                event["created_at_s"] -= seconds
                event["expires_at_s"] -= seconds
        (self.data / "journal.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))

    def content(self, media_id: str) -> bytes:
        """The bytes of a live id."""
        return (self.data / "bytes" / media_id).read_bytes()


@contextmanager
def emulated_host(data: Path, numbers: int, *, service_s: float) -> Iterator[EmulatedHost]:
    """A running emulator with strict limits."""
    host = EmulatedHost(data, numbers, service_s=service_s)
    try:
        host.start()
        yield host
    finally:
        host.stop()


def is_ours(pid: int) -> bool:
    """Whether a process descends from this one: nothing else is ever killed."""
    import psutil

    try:
        return os.getpid() in {parent.pid for parent in psutil.Process(pid).parents()}
    except psutil.NoSuchProcess:
        return False
