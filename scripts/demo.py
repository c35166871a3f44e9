"""The demo behind ``scripts/demo``: an emulator, a real Airflow in one process, one run of the example DAG, one table.

What the table says of copies and deletions is looked up here, on disk and in the emulator; the run's own word is not enough.
Everything lies in ``.demo/``: Airflow's empty metadata database is kept there, because to create it takes longer than the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
HOME = CHECKOUT / ".demo"
RUN = HOME / "run"  # made anew by every run
DAG = "example_media_lifecycle"
KEY = "test-key"


class DemoError(Exception):
    """Something is wrong; the text says what, and where to read more."""


def main() -> int:
    """Run it all; 0 where everything is as it should be."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="Take files through their whole life at an emulated 360dialog."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=CHECKOUT / "dags_examples" / "media")
    folder = parser.parse_args().folder.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped then, too
    HOME.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_one())
            shutil.rmtree(RUN, ignore_errors=True)
            (RUN / "airflow").mkdir(parents=True)
            base_url = stack.enter_context(emulator())
            run_dag(folder, base_url)
            return show(json.loads((RUN / "out" / "report.json").read_text()), folder, base_url)
        except DemoError as error:
            print(f"demo: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            print("\ndemo: stopped", file=sys.stderr)
            return 130
    return 1


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Two demos in one checkout would share files."""
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError("another demo is running in this checkout") from None
        yield


@contextlib.contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process with children of its own: when the block ends, for whatever reason, all of them are gone."""
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, cwd=RUN, **options)
    try:
        yield process
    finally:
        for sign, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 5)):  # Airflow swallows SIGTERM while it runs a DAG
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        if process.stdout:
            process.stdout.close()


@contextlib.contextmanager
def emulator() -> Iterator[str]:
    """The emulated 360dialog on a free port; gives its base URL."""
    log = RUN / "emulator.log"
    command = [sys.executable, "-m", "airflow_provider_360dialog.emulator", "--port", "0"]
    with log.open("w") as errors, started(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()], daemon=True).start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(queue.Empty):
                if found := re.search(r"http://[\d.]+:\d+", lines.get(timeout=0.2)):
                    say(f"360dialog, emulated: {found[0]}")
                    yield found[0]
                    return
        raise DemoError(f"the emulator does not start; it says:\n{log.read_text()[-2000:]}")


def run_dag(folder: Path, base_url: str) -> None:
    """One run of the example DAG with a fresh metadata database and a fresh connection."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")} | {
        "AIRFLOW_HOME": str(RUN / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags_examples"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_DIALOG360_DEFAULT": json.dumps({"conn_type": "dialog360", "host": base_url, "password": KEY}),
    }
    empty = HOME / f"airflow-{version('apache-airflow-core')}.db"
    if not empty.exists():
        say("Airflow's metadata database: creating it (once)")
        airflow(["db", "migrate"], environment)
        shutil.copy(RUN / "airflow" / "airflow.db", empty.with_suffix(".new"))
        empty.with_suffix(".new").rename(empty)
    shutil.copy(empty, RUN / "airflow" / "airflow.db")
    say(f"Airflow {version('apache-airflow-core')}: airflow dags test {DAG}")
    airflow(["dags", "test", DAG, "--conf", json.dumps({"folder": str(folder), "out": str(RUN / "out")})], environment)


def airflow(arguments: list[str], environment: dict[str, str]) -> None:
    """One command of Airflow's, its output in the log."""
    log = RUN / "airflow.log"
    with (
        log.open("a") as output,
        started([sys.executable, "-m", "airflow", *arguments], stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            code = process.wait(timeout=300)
        except subprocess.TimeoutExpired:
            code = None
    if code != 0:
        ended = "took more than 300 s" if code is None else f"ended with {code}"
        errors = [line[:300] for line in log.read_text().splitlines() if "Error" in line or "Exception" in line][-6:]
        raise DemoError("\n".join([f"airflow {arguments[0]} {arguments[1]} {ended}. Its log: {log}", *errors]))


def show(rows: list[dict[str, Any]], folder: Path, base_url: str) -> int:
    """The table; 0 where every good file made the whole way and every bad file was refused unsent."""
    (counters,) = ask(f"{base_url}/_emulator/counters")["numbers"].values()
    still_there = {media["media_id"] for media in ask(f"{base_url}/_emulator/media")}
    table = [["file", "verdict", "media id", "downloaded again", "deleted"]]
    wrong = []
    sums = set()
    for row in rows:
        content = (folder / row["file"]).read_bytes()
        if (row["verdict"] == "good") == row["file"].startswith("bad_"):
            wrong.append(f"{row['file']} was judged {row['verdict']}")
        if row["verdict"] != "good":
            table.append([row["file"], row["verdict"], "-", "-", "-"])
            continue
        sums.add(hashlib.sha256(content).hexdigest())
        identical = content == Path(row["copy"].removeprefix("file://")).read_bytes()
        deleted = row["media_id"] not in still_there
        if not (identical and deleted):
            wrong.append(f"{row['file']} did not make the whole way")
        words = ["identical" if identical else "NO", "yes" if deleted else "NO"]
        table.append([row["file"], f"good {row['kind']}", row["media_id"], *words])
    if not sums or set(counters["uploads_by_sha256"]) != sums or counters["failed_gets"]:
        wrong.append(f"360dialog was sent other files than the good ones, or had to refuse something: {counters}")
    print_table(table)
    say("\n".join(f"{row['file']}: {reason}" for row in rows for reason in row["reasons"]))
    good = sum(row["verdict"] == "good" for row in rows)
    say(f"\n{len(rows)} files: {good} good, {len(rows) - good} refused and never sent.")
    if wrong:
        say("\n".join(["WRONG:", *wrong, f"Logs and copies: {RUN}"]))
    return 1 if wrong else 0


def print_table(lines: list[list[str]]) -> None:
    """Columns under a rule, an empty line before and after."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in [[], lines[0], ["-" * width for width in widths], *lines[1:], []]:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip())


def ask(url: str) -> Any:
    """The JSON answer of the emulator's admin interface."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own server
        return json.load(answer)


def say(line: str) -> None:
    """Tell the person who waits."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
