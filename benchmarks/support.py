"""What the proofs share: an emulator in a process of its own, files, ledgers on both engines, worker processes, the JSON line.

A proof is a function `run(**sizes)` that prints one line of JSON with its figures and `holds`. Everything listens on loopback and
is stopped by its process id.
"""

from __future__ import annotations

import argparse
import base64
import inspect
import itertools
import json
import multiprocessing
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

CHECKOUT = Path(__file__).resolve().parents[1]
ENGINES = ("sqlite", "postgresql")
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
    b"\x00\x00\x00\x0cIDATx\x9cc```\x00\x00\x00\x04\x00\x01\xf6\x178U\x00\x00\x00\x00IEND\xaeB`\x82"
)
"""A whole picture of one pixel; what is put behind it makes it another file, and no worse a picture."""
_line_goes_to: TextIO | None = None


@dataclass(frozen=True)
class Number:
    """A number at the emulator, the key that it was opened with, and the Airflow connection that speaks for it."""

    number_id: str
    key: str
    conn_id: str


@dataclass(frozen=True)
class Emulator:
    """A running emulator, asked over its admin paths."""

    base_url: str
    numbers: list[Number]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.base_url}/_emulator/{path}", data, {"Content-Type": "application/json"}, method="POST" if data else "GET"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def requests(self, operation: str) -> int:
        """How many requests of an operation reached it, over all numbers."""
        return sum(each["requests"].get(operation, 0) for each in self.ask("counters")["numbers"].values())

    def uploads_by_sha256(self) -> Counter[tuple[str, str]]:
        """(number id, sha256) -> how many times it was stored."""
        found: Counter[tuple[str, str]] = Counter()
        for number_id, each in self.ask("counters")["numbers"].items():
            found.update({(number_id, sha256): count for sha256, count in each["uploads_by_sha256"].items()})
        return found

    def refused_keys(self) -> int:
        """How many requests came with a key that it does not know, and were answered 401."""
        return int(self.ask("counters")["unknown_key_requests"])

    def live_ids(self, number_id: str) -> set[str]:
        return {media["media_id"] for media in self.ask(f"media?number={number_id}")}

    def rotate_key(self, number_id: str, key: str) -> None:
        self.ask(f"numbers/{number_id}/key", {"key": key})

    def receive(self, number_id: str, content: bytes) -> str:
        """A customer sends a file; its media id."""
        encoded = base64.b64encode(content).decode()
        sent = self.ask("webhook-media", {"content_base64": encoded, "mime_type": "image/png", "number_id": number_id})
        message = sent["entry"][0]["changes"][0]["value"]["messages"][0]
        return str(message[message["type"]]["id"])

    def gets_in_flight(self, number_id: str) -> int:
        """How many requests for a media URL have arrived and are not answered yet, whether or not their callers live."""
        found = self.ask("counters")["numbers"][number_id]
        refused = sum(count for name, count in found["refused"].items() if name.startswith("fetch:"))
        return int(found["requests"].get("fetch", 0) - found["accepted"].get("fetch", 0) - refused)


@contextmanager
def emulator(*, numbers: int = 1, service_s: float = 0.0) -> Iterator[Emulator]:
    """An emulator that limits no uploads."""
    command = [sys.executable, "-m", "airflow_provider_360dialog.emulator", "--port", "0", "--posts-per-s", "1000000"]
    known = [Number(f"10000000000000{index}", f"proof-key-{index}", f"number_{index}") for index in range(1, numbers + 1)]
    command += ["--number-id", known[0].number_id, "--key", known[0].key, "--service-s", str(service_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            started = Emulator(next(word for word in line.split() if word.startswith("http://")).rstrip(","), known)
            for number in known[1:]:
                started.ask("numbers", {"number_id": number.number_id, "key": number.key})
            yield started
        finally:
            end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """Stop a process by its id."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="proof-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def make_files(place: Path, count: int, *, size_bytes: int = 4096) -> list[str]:
    """Files that all differ, old enough for the ledger to trust their time of change."""
    noise = random.Random(360)
    paths = []
    for number in range(count):
        paths.append(place / f"{number:04}.png")
        paths[-1].write_bytes(PNG + noise.randbytes(size_bytes - len(PNG)))
    return [str(path) for path in paths]


def make_ids(emulated: Emulator, number_id: str, alive: list[bool], *, seed: int) -> list[str]:
    """Media ids of received files, and where ``alive`` says no, ids that were never given."""
    noise = random.Random(seed)
    return [
        emulated.receive(number_id, PNG + noise.randbytes(100)) if lives else f"9{noise.randrange(10**14):014}" for lives in alive
    ]


@contextmanager
def ledgers(engine: str, place: Path) -> Iterator[Callable[[], str]]:
    """What gives the URL of a ledger that does not exist yet, each time another; PostgreSQL is a server of our own."""
    if engine == "sqlite":
        numbers = itertools.count()
        yield lambda: f"sqlite:///{place}/ledger-{next(numbers)}.db"
        return
    from tests.support.postgres import postgres

    with postgres() as server:
        yield server.new_database


@contextmanager
def ledger_url(engine: str, place: Path) -> Iterator[str]:
    """The URL of a ledger that does not exist yet."""
    with ledgers(engine, place) as new:
        yield new()


def has_postgres() -> bool:
    """Whether there are binaries to start."""
    from tests.support.postgres import find_programs

    return find_programs() is not None


def airflow_environment(emulated: Emulator, url: str, *, extra: dict[str, Any] | None = None) -> dict[str, str]:
    """What tells an Airflow hook about the numbers and the ledger; ``extra``: of every number's connection."""
    found = {}
    for number in emulated.numbers:
        fields = {"conn_type": "dialog360", "host": emulated.base_url, "password": number.key, "extra": extra or {}}
        found[f"AIRFLOW_CONN_{number.conn_id.upper()}"] = json.dumps(fields)
    if url.startswith("sqlite"):
        return found | {
            "AIRFLOW__DIALOG360__LEDGER_PATH": url.removeprefix("sqlite:///"),
            "AIRFLOW__DIALOG360__LEDGER_CONN_ID": "",
        }
    from sqlalchemy.engine import make_url

    at = make_url(url)
    fields = {"conn_type": "postgres", "host": at.host, "port": at.port, "schema": at.database}
    fields |= {"login": at.username, "password": at.password}
    return found | {"AIRFLOW_CONN_PROOF_LEDGER": json.dumps(fields), "AIRFLOW__DIALOG360__LEDGER_CONN_ID": "proof_ledger"}


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def workers() -> Any:
    """Fresh processes, forked from a server that has imported everything and opened nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.warm"])
    return context


def answers_of(results: Any, count: int, *, within_s: float) -> list[Any]:
    """``count`` answers from a queue, in order of arrival.

    Raises:
        TimeoutError: they do not come.
    """
    ends_at = time.monotonic() + within_s
    found: list[Any] = []
    while len(found) < count:
        try:
            found.append(results.get(timeout=max(0.01, ends_at - time.monotonic())))
        except queue.Empty:
            raise TimeoutError(f"{count - len(found)} of {count} workers did not answer within {within_s:.0f} s") from None
    return found


def run_dags(script: Path, *, runs: int, variables: dict[str, str], within_s: float) -> list[dict[str, Any]]:
    """Run the DAG of a file with `dag.test()` on an Airflow of its own, in a process of its own; per run state and tries.

    Raises:
        RuntimeError: the process failed; its last words are in the text.
    """
    with folder() as home:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        clean |= variables | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        }
        (home / "dags").mkdir()
        copy = shutil.copy(script, home / "dags")
        out = home / "runs.json"
        command = [sys.executable, "-m", "benchmarks.dag_runs", copy, str(runs), str(out)]
        with (home / "output").open("w+") as output:
            try:
                subprocess.run(command, env=clean, cwd=CHECKOUT, stdout=output, stderr=output, timeout=within_s, check=True)
            except subprocess.SubprocessError as fault:
                output.seek(0)
                raise RuntimeError(f"{fault}\n{output.read()[-6000:]}") from fault
        found: list[dict[str, Any]] = json.loads(out.read_text())
        return found


def tell(proof: str, figures: dict[str, Any], *, started: float, holds: bool) -> dict[str, Any]:
    """Print the one line, and hand it back."""
    line = {"proof": proof, **figures, "seconds": round(time.monotonic() - started, 1), "holds": holds}
    print(json.dumps(line), flush=True, file=_line_goes_to or sys.stdout)
    return line


def main(run: Callable[..., dict[str, Any]]) -> None:
    """The command line of a proof: one option per size; exit 1 where it does not hold."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(run)))
    for name, parameter in inspect.signature(run).parameters.items():
        kind = type(parameter.default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=parameter.default, help="default %(default)s")
    sizes = vars(parser.parse_args())
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        del os.environ[name]  # a developer's own connections and settings must not decide
    with folder() as home:
        os.environ.update(AIRFLOW_HOME=str(home), AIRFLOW__CORE__UNIT_TEST_MODE="True", AIRFLOW__CORE__LOAD_EXAMPLES="False")
        global _line_goes_to  # noqa: PLW0603 - once, before anything runs
        _line_goes_to = sys.stdout
        with redirect_stdout(sys.stderr):  # Airflow logs to stdout; the line alone goes there
            import airflow  # noqa: F401

            found = run(**sizes)
    if threading.active_count() > 1:
        print("threads are left:", [each.name for each in threading.enumerate()], file=sys.stderr)
    sys.exit(0 if found["holds"] else 1)
