"""The tutorial is followed by its text alone: its files are written, its commands run in order, one shell for each terminal.

A real Airflow and a real emulator run, as on the page; ``INSTEAD`` and ``REPLACED`` list all that is done in another way. What a
command prints has to be what the page shows below it, whole: ``...`` is anything, ids, instants and the like (``VARIES``) are others
each time. What the page says of numbers, ids and waits is looked up besides, at the emulator and in the files.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.docs.pages import CHECKOUT, all_blocks, headings, read
from tests.support.ports import free_port
from tests.ui.airflow import ApiServer

pytestmark = pytest.mark.system
PAGE = CHECKOUT / "docs" / "tutorial.md"
BLOCKS = [block for block in all_blocks() if block.page == PAGE]
FOLDER = "whatsapp-tutorial"
TERMINALS = ("first terminal", "second terminal", "third terminal")
COMMAND_S = 240
START_S = 240
STOP_S = 60
RUNS = ("first", "second", "third", "fourth")

INSTEAD = {
    "python3 -m venv ~/whatsapp-tutorial/environment": "cp -r {prepared} ~/whatsapp-tutorial",
    "pip install --constraint constraints.txt '.[media]'": "true",
    "read -rs D360_API_KEY": "D360_API_KEY=test-key-of-mine",
}
"""Commands that are others here: the environment stands already, and nobody types a key."""

REPLACED = {
    "127.0.0.1:8360": "127.0.0.1:{emulator_port}",
    "dialog360 emulator ": "dialog360 emulator --port {emulator_port} ",
    "AIRFLOW__API__PORT=8080": "AIRFLOW__API__PORT={airflow_port}",
    "--conn-type dialog360 --conn-password": "--conn-type dialog360 --conn-host http://127.0.0.1:{emulator_port} --conn-password",
    "https://waba-v2.360dialog.io": "http://127.0.0.1:{emulator_port}",
    "/home/you": "{home}",
}
"""Words that are others here, in files, commands and output: free ports, and the emulator where a real number is spoken of."""

VARIES = (
    r"\b\d{15,16}\b",  # ids
    r"(?<='admin': )\w{16}|(?<=\"admin\": \")\w{16}",
    r"\d{4}-\d\d-\d\d",
    r"\d\d:\d\d(?::\d\d)?",
    r"\((?:in \d[^)]*|\d[^)]* ago)\)",
    r"\d+\.\d kB",  # another Pillow packs otherwise
    r"\d+ bytes, \d+\.\d\d s",
    r"(?<=  )2[34]\.\d(?=  )",  # the pace climbs
    r"\s+",
)
"""What differs from run to run: what the page shows has this form, and what is printed has it too."""

_ANYTHING = r"\.\.\.(?!\d\d\b)"  # `...01` is how a number is shown
_FREE = re.compile("|".join((_ANYTHING, *VARIES)))
_END = "-- end of command"


def pattern_of(shown: list[str]) -> re.Pattern[str]:
    """What the output has to match as a whole; a line that is ``...`` stands for any number of lines."""
    return re.compile("".join(r"(?:.*\n)*?" if line.strip() == "..." else _pattern_of_line(line) + r"\s*\n" for line in shown))


def _pattern_of_line(line: str) -> str:
    made, at = "", 0
    for found in _FREE.finditer(line):
        form = next((each for each in VARIES if re.compile(each).match(line, found.start())), ".*")
        made += f"{re.escape(line[at : found.start()])}(?:{form})"
        at = found.end()
    return made + re.escape(line[at:])


def without_empty_lines(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if line.strip())


# --- terminals ----------------------------------------------------------------------------------------------------


class Terminal:
    """A bash of its own, whose commands are given one by one; what it and they print is one stream."""

    # Below nohup a shell ignores that its window was closed, and so would all its commands.
    _BASH = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execvp('bash', ['bash', '--norc', '--noprofile'])"
    )

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._BASH], cwd=folder, env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
        )  # fmt: skip
        self._said, self._more = "", threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._more:
                self._said += line
                self._more.notify_all()

    def run(self, command: str) -> tuple[str, int]:
        """Output and exit status of a command, when it has ended."""
        self._send(f"{{ {command}\n}} </dev/null; printf '\\n{_END} %s\\n' $?")
        said = self.wait_for(re.compile(rf"(?s)(?P<output>.*)\n{_END} (?P<status>\d+)\n"), COMMAND_S)
        return said["output"], int(said["status"])

    def start(self, command: str) -> None:
        """Begin a command that does not end by itself."""
        self._send(command)

    def _send(self, text: str) -> None:
        self._said = ""
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    @property
    def said(self) -> str:
        """All that was printed since the last command."""
        with self._more:
            return self._said

    def wait_for(self, pattern: re.Pattern[str], within_s: float) -> re.Match[str]:
        """The output since the last command, as soon as it begins with this."""
        ends_at = time.monotonic() + within_s
        with self._more:
            while not (found := pattern.match(self._said)):
                left_s = ends_at - time.monotonic()
                if left_s < 0 or (self._process.poll() is not None and not self._more.wait(1)):
                    raise TimeoutError(
                        f"{pattern.pattern[:2000]}\nis not what was said within {within_s} s:\n{self._said[-4000:]}"
                    )
                self._more.wait(min(left_s, 1))
        return found

    def close_window(self) -> bool:
        """What a terminal says to all that runs in it when its window is closed; whether all has ended."""
        os.killpg(self._process.pid, signal.SIGHUP)
        ends_at = time.monotonic() + STOP_S
        while self._is_alive() and time.monotonic() < ends_at:
            time.sleep(0.2)
        return not self._is_alive()

    def _is_alive(self) -> bool:
        said = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
        processes = (line.split() for line in said.splitlines())
        return any(group == str(self._process.pid) and not state.startswith("Z") for group, state in processes)

    def close(self) -> None:
        """Whatever runs in it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)


# --- the walk -----------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """How things stood when a run of the DAG had ended."""

    took_s: float
    rows: list[dict[str, str]]
    counters: dict[str, dict]
    alive: dict[str, str]
    """Media id -> sha256, of all numbers."""


@dataclass
class Walk:
    """One reading of the page."""

    home: Path
    words: dict[str, str]
    seen: dict[str, Seen] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    counters: dict[str, dict] = field(default_factory=dict)
    alive: dict[str, str] = field(default_factory=dict)
    ended: dict[str, bool] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.home / FOLDER

    def put(self, text: str) -> str:
        """A text of the page with the words that are others here."""
        for word, instead in REPLACED.items():
            if word in text:
                self.used.add(word)
                text = text.replace(word, instead.format(**self.words))
        return text

    def ask_emulator(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.words['emulator_port']}/_emulator/{path}", timeout=30) as answer:
            return json.load(answer)

    def look(self) -> tuple[dict[str, dict], dict[str, str]]:
        return self.ask_emulator("counters")["numbers"], {
            each["media_id"]: each["sha256_hex"] for each in self.ask_emulator("media")
        }


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if found and found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        elif line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """The whole page, followed once."""
    home = tmp_path_factory.mktemp("home")
    walk = Walk(home, {"home": str(home), "prepared": str(prepare(tmp_path_factory.mktemp("ready")))})
    ports = {name: str(free_port()) for name in ("emulator_port", "airflow_port", "worker_logs", "trigger_logs")}
    walk.words |= ports
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTEST_"))} | {
        "HOME": str(home),
        "PYTHONPATH": str(CHECKOUT),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": ports["worker_logs"],
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": ports["trigger_logs"],
    }
    (home / FOLDER).mkdir()
    folders = {"first terminal": CHECKOUT, "second terminal": home, "third terminal": home}
    terminals = {name: Terminal(folders[name], environment) for name in TERMINALS}
    try:
        follow(walk, terminals)
    except (AssertionError, TimeoutError, OSError) as trouble:
        why = f"{trouble}\n{complaints(walk.folder / 'airflow' / 'logs', terminals['third terminal'])}"
    else:
        why = ""
    finally:
        for terminal in terminals.values():
            terminal.close()
    if why:  # outside, so that it is said once
        pytest.fail(why, pytrace=False)
    return walk


def complaints(logs: Path, terminal: Terminal) -> str:
    """What tasks and Airflow's parts complained of, where they did."""
    words = ('"level":"error"', '"level":"critical"', "[error ", "[critical", "Error:")
    lines = [line for path in sorted(logs.glob("dag_id=*/**/*.log")) for line in path.read_text().splitlines()]
    return "\n".join([line[:2000] for line in lines + terminal.said.splitlines() if any(word in line for word in words)][-20:])


def prepare(folder: Path) -> Path:
    """An environment that stands already: this test's own."""
    activate = folder / "environment" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f"PATH={Path(sys.executable).parent}:$PATH\ndeactivate() {{ :; }}\n")
    return folder / "environment"


def follow(walk: Walk, terminals: dict[str, Terminal]) -> None:
    """All blocks, in their order."""
    for block in BLOCKS:
        if block.file:
            (walk.folder / block.file).write_text(walk.put(block.text))
        elif block.language == "console":
            mark = block.mark if block.mark in TERMINALS else TERMINALS[0]
            *all_but_one, last = commands(block.text)
            for command, shown in all_but_one:
                type_in(walk, terminals, block, command, shown)
            if mark == TERMINALS[0]:
                type_in(walk, terminals, block, *last)
            else:
                terminals[mark].start(walk.put(last[0]))
                terminals[mark].wait_for(pattern_of([walk.put(line) for line in last[1]]), START_S)


def type_in(walk: Walk, terminals: dict[str, Terminal], block, command: str, shown: list[str]) -> None:
    """One command, and what comes of it."""
    if command == "deactivate":  # after "Close the second and the third terminal"
        walk.counters, walk.alive = walk.look()
        walk.ended = {name: terminals[name].close_window() for name in TERMINALS[1:]}
    mark = block.mark if block.mark in TERMINALS else TERMINALS[0]
    text = walk.put(INSTEAD.get(command, command).format(**walk.words) if command in INSTEAD else command)
    walk.used |= {command} & set(INSTEAD)
    begun = time.monotonic()
    output, status = terminals[mark].run(text)
    print(round(time.monotonic() - begun, 1), command)  # noqa: T201 - pytest shows it where something fails
    where = f"{block}: {command}\nended with {status} and printed:\n{output}"
    assert status == 0 or (block.mark == "exit 1" and status == 1), where
    if shown:
        assert pattern_of([walk.put(line) for line in shown if line.strip()]).fullmatch(without_empty_lines(output)), where
    if run := re.search(r"dags state vouchers (\w+)", command):
        rows = list(csv.DictReader((walk.folder / "ids.csv").open()))
        walk.seen[run[1]] = Seen(time.monotonic() - begun, rows, *walk.look())
        walk.pages[run[1]] = media_page(walk)


def media_page(walk: Walk) -> str:
    """The campaign's page, as the person sees it who logs in with the password that the page tells of."""
    airflow = ApiServer(f"http://127.0.0.1:{walk.words['airflow_port']}", walk.folder)
    password = json.loads((walk.folder / "airflow" / "simple_auth_manager_passwords.json.generated").read_text())["admin"]
    body = json.dumps({"username": "admin", "password": password}).encode()
    token = json.loads(airflow.ask("/auth/token", method="POST", body=body)[1])["access_token"]
    status, text = airflow.ask("/dialog360/campaign?name=autumn-vouchers", token=token)
    assert status == 200, text
    return re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]+>", " ", text, flags=re.DOTALL))


# --- what is true of it -------------------------------------------------------------------------------------------


def test_every_command_works_and_prints_what_the_page_shows(walk):
    """The fixture has compared them, one by one."""
    assert list(walk.seen) == list(RUNS)


def uploads(counters: dict[str, dict]) -> int:
    return sum(each["accepted"].get("upload", 0) for each in counters.values())


def test_each_run_uploads_what_has_no_id_yet_and_nothing_twice(walk):
    assert [uploads(walk.seen[run].counters) for run in RUNS] == [40, 40, 49, 50]
    for number in walk.seen["fourth"].counters.values():
        assert set(number["uploads_by_sha256"].values()) <= {1}


def test_each_export_names_for_every_good_file_the_id_that_360dialog_has_of_it(walk):
    assert [len(walk.seen[run].rows) for run in RUNS] == [40, 40, 49, 50]
    for seen in walk.seen.values():
        for row in seen.rows:
            assert seen.alive[row["media_id"]] == row["sha256"]
            assert row["channel"] == ("shop_berlin" if int(row["key"][-3:]) % 2 else "shop_bonn")
        assert len({row["media_id"] for row in seen.rows}) == len(seen.rows)


def test_the_bad_file_is_the_one_that_is_missing_and_is_never_sent(walk):
    third = walk.seen["third"]
    assert {f"customer-{number:03}" for number in range(1, 51)} - {row["key"] for row in third.rows} == {"customer-050"}
    bad = hashlib.sha256(b"<html>Not found</html>\n").hexdigest()
    assert not any(bad in each["uploads_by_sha256"] for each in third.counters.values())


def test_one_number_is_refused_once_and_is_not_asked_again_before_its_time(walk):
    """That it waits is what the page's own commands have shown by then."""
    refused = {number: each["refused"] for number, each in walk.seen["third"].counters.items()}
    assert sorted(map(str, refused.values())) == ["{'upload:429': 1}", "{}"]


def test_the_media_page_says_what_the_shell_says(walk):
    assert "autumn-vouchers" in walk.pages["third"]
    assert "done: their id is safe for long enough 49" in walk.pages["third"]
    assert "The content is an HTML page (text/html), which WhatsApp does not accept." in walk.pages["third"]
    assert "done: their id is safe for long enough 50" in walk.pages["fourth"]


def test_the_file_of_the_trial_is_sent_once_and_taken_back(walk):
    (mine,) = [each for number, each in walk.counters.items() if number not in walk.seen["fourth"].counters]
    assert mine["accepted"] == {"health": 2, "upload": 1, "delete": 1}
    assert set(walk.alive) == set(walk.seen["fourth"].alive)


def test_closed_windows_end_what_runs_in_them_and_nothing_is_left(walk):
    assert walk.ended == {"second terminal": True, "third terminal": True}
    assert not walk.folder.exists()


def test_nothing_is_replaced_in_silence(walk):
    """What stands in the tables is used; all else is the page's own text."""
    assert walk.used == {*INSTEAD, *REPLACED}


def test_the_table_of_steps_is_that_of_the_headings():
    steps = [heading for heading in headings(read(PAGE), 2) if heading[0].isdigit()]
    assert re.findall(r"^\| \[(\d+\. [^\]]+)\]", read(PAGE), re.MULTILINE) == steps
    assert len(steps) == 10


@pytest.mark.parametrize(
    ("shown", "said", "fits"),
    [
        (["20 done"], "20 done\n", True),
        (["20 done"], "21 done\n", False),
        (["20 done"], "20 done\nand more\n", False),
        (["20 done", "..."], "20 done\nand more\n", True),
        (["shop  ...01  20"], "shop   ...01    20\n", True),
        (["shop  ...01  20"], "shop  ...02  20\n", False),
        (["1 of 545466424653131 at 2026-11-22T15:30:00"], "1 of 145466424653139 at 2027-01-02T00:00:01\n", True),
        (["1 of 545466424653131"], "2 of 145466424653139\n", False),
    ],
)
def test_what_is_shown_is_compared_but_for_what_varies(shown, said, fits):
    assert bool(pattern_of(shown).fullmatch(said)) is fits
