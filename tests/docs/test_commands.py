"""Every command that a page shows is run, and prints what the page shows.

The blocks of one section of a page run top to bottom in one shell, in a fresh copy of the world of ``world.py``. A mark before a block
says more: ``exit 1``: a command of it ends so, and else all end with 0; ``no ledger``: the section's world has none yet; ``postgres``: it
has a connection ``new_ledger`` to an empty one; ``output``: a block of text is what the last command above has printed; ``needs a key``: a stand-in on this machine answers for 360dialog.

Shown output is compared word by word. Numbers, sums, durations and sizes are free, and so is how lines are broken; ``...`` is
anything. The tutorial and the how-to pages have runners of their own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from airflow_provider_360dialog import emulator
from tests.docs import world as worlds
from tests.docs.pages import CHECKOUT, PAGES, Block, all_blocks, name_of, read
from tests.support.postgres import postgres

NOT_RUN = {
    r"scripts/test": "it is what runs this test; CI runs it by .ci/run",
    r"scripts/proof .*": "takes many minutes; tests/proof runs the same functions at small size",
    r"scripts/benchmarks( .*)?": "takes about an hour; the tests of benchmarks/ run parts of it at small size",
    r"pip install .*": "needs a package index; scripts/test-wheel installs the built wheel, and CI runs it",
    r"WEBHOOK_FOLDER=s3://\S+ .* uvicorn receiver:app .*": "needs a bucket; tests/docs/test_receiver.py runs the receiver",
}
_DEMO = [sys.executable, str(CHECKOUT / "scripts" / "demo.py")]
_ONE_AT_A_TIME = ["flock", "--wait", "120", str(CHECKOUT / "scripts" / "demo.py")] if shutil.which("flock") else []
RUN_INSTEAD = {"scripts/demo": shlex.join([*_ONE_AT_A_TIME, *_DEMO])}
"""What scripts/demo runs once its environment stands; this one stands. A demo refuses to run beside another one."""

OWN_RUNNERS = {"tutorial.md": "tests/docs/test_tutorial.py", "how-to/": "tests/docs/test_how_to.py"}
TODAY_ON_PAGES = date(2026, 11, 22)
SECTION_S = 300
PORT_ON_PAGES = "8360"
HOST_ON_PAGES = "https://waba-v2.360dialog.io"
_SERVES = re.compile(r"(?:-m airflow_provider_360dialog\.emulator|dialog360 emulator)\b")
_FOLDERS = re.compile(r"(?<![\w./])(?=/(?:tmp|data)/)")
_INSTANT = re.compile(r"\b20\d\d-\d\d-\d\d(?=T)")


@dataclass(frozen=True)
class Command:
    """``shown``: the output below it, and what a block marked ``output`` shows further down."""

    block: Block
    text: str
    shown: str

    @property
    def is_run(self) -> bool:
        return not any(re.fullmatch(pattern, self.text, re.DOTALL) for pattern in NOT_RUN)

    @property
    def serves(self) -> bool:
        return _SERVES.search(self.text) is not None


@dataclass
class Section:
    """What runs in one shell."""

    title: str
    commands: list[Command] = field(default_factory=list)

    @property
    def marks(self) -> set[str]:
        return {mark for command in self.commands for mark in command.block.mark.split(", ")}

    @property
    def text(self) -> str:
        return "\n".join(command.text for command in self.commands)


@dataclass(frozen=True)
class Ended:
    """One command's end. ``out`` speaks of the page's folders."""

    status: int
    out: str
    err: str


def commands_of(block: Block) -> list[Command]:
    """What stands behind prompts, continued lines included, each with the output below it."""
    found: list[tuple[list[str], list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif found and not found[-1][1] and found[-1][0][-1].endswith("\\"):
            found[-1][0].append(line)
        else:
            assert found, f"{block}: output before the first command"
            found[-1][1].append(line)
    return [Command(block, "\n".join(words), "\n".join(shown)) for words, shown in found]


def has_own_runner(page: Path) -> bool:
    return name_of(page).startswith(tuple(OWN_RUNNERS))


def sections() -> list[Section]:
    """All sections that hold commands, in the order of the pages."""
    found: dict[str, Section] = {}
    last: Section | None = None
    for block in all_blocks():
        if has_own_runner(block.page):
            continue
        if block.language == "console":
            title = title_above(block)
            last = found.setdefault(title, Section(title))
            last.commands += commands_of(block)
        elif block.mark == "output":
            assert last is not None
            command = last.commands.pop()
            assert not command.shown
            last.commands.append(Command(command.block, command.text, block.text))
    return list(found.values())


def title_above(block: Block) -> str:
    """Page and heading of the second level."""
    lines = read(block.page).splitlines()[: block.line]
    headings = [line[3:] for line in lines if line.startswith("## ")]
    return f"{name_of(block.page)}, {headings[-1] if headings else 'top'}"


SECTIONS = sections()
COMMANDS = [command for section in SECTIONS for command in section.commands]


# --- running ------------------------------------------------------------------------------------------------------


class Runner:
    """Runs sections, a few at once, each of them when it is first asked for."""

    def __init__(self, folder: Path, world: worlds.World, webhooks: str) -> None:
        self._folder, self._world, self._webhooks = folder, world, webhooks
        self._pool = ThreadPoolExecutor(4)
        self._ended: dict[str, Future[list[Ended | None]]] = {
            section.title: self._pool.submit(self._run, at, section) for at, section in enumerate(SECTIONS)
        }

    def ended(self, command: Command) -> Ended | None:
        section = next(each for each in SECTIONS if command in each.commands)
        return self._ended[section.title].result(2 * SECTION_S)[section.commands.index(command)]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _run(self, at: int, section: Section) -> list[Ended | None]:
        folder, kept = self._folder / f"{at}", self._folder / f"{at}-kept"
        kept.mkdir()
        environment = self._world.copy(folder, is_new="no ledger" in section.marks)
        with ExitStack() as stack:
            if "postgres" in section.marks:
                url = stack.enter_context(postgres()).new_database()
                environment["AIRFLOW_CONN_NEW_LEDGER"] = url.replace("postgresql+psycopg", "postgres")
            port = free_port()
            if PORT_ON_PAGES in section.text and not any(command.serves for command in section.commands):
                stack.enter_context(emulator.running(port))
            script = "\n".join(
                [*(line for n, each in enumerate(section.commands) if each.is_run for line in self._lines(n, each, kept, folder, port)),
                 "kill $(jobs -p) 2>/dev/null; wait"]
            )  # fmt: skip
            run_script(script, folder, environment)
        return [read_end(kept, n, folder) if each.is_run else None for n, each in enumerate(section.commands)]

    def _lines(self, n: int, command: Command, kept: Path, folder: Path, port: int) -> Iterator[str]:
        text = command.text
        text = _INSTANT.sub(lambda day: str(datetime.now(UTC).date() + (date.fromisoformat(day[0]) - TODAY_ON_PAGES)), text)
        text = _FOLDERS.sub(str(folder), text).replace(f"{HOST_ON_PAGES}/", f"{self._webhooks}/")
        text = re.sub(rf"\b{PORT_ON_PAGES}\b", str(port), text)
        text = RUN_INSTEAD.get(command.text, text)  # as it stands: the checkout may lie below /tmp itself
        out = f">{kept}/{n}.out 2>{kept}/{n}.err </dev/null"
        if command.serves:
            yield f"{text} --port {port} {out} &"
            yield f"for _ in {{1..600}}; do [ -s {kept}/{n}.out ] && break; sleep 0.1; done; [ -s {kept}/{n}.out ]"
        else:
            yield f"{{ {text}\n}} {out}"
        yield f"echo $? >{kept}/{n}.status"


def run_script(script: str, folder: Path, environment: dict[str, str]) -> None:
    """In a session of its own, of which nothing is left."""
    shell = subprocess.Popen(
        ["bash", "-c", script], cwd=folder, env=environment, start_new_session=True, stdin=subprocess.DEVNULL
    )
    try:
        shell.wait(SECTION_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def read_end(kept: Path, n: int, folder: Path) -> Ended:
    """What a command has left; status -1 where it did not come to its end."""
    status = kept / f"{n}.status"
    texts = [path.read_text() if (path := kept / f"{n}.{each}").exists() else "" for each in ("out", "err")]
    out, err = (text.replace(str(folder), "") for text in texts)
    return Ended(int(status.read_text()) if status.exists() else -1, out, err)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Webhooks(BaseHTTPRequestHandler):
    """Stands in for 360dialog's setting of a webhook, which the emulator has not: what was set can be asked for."""

    setting: bytes = b"{}"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        wrong = self.path != "/v1/configs/webhook" or self.headers["D360-API-KEY"] != "test-key" or not json.loads(body)["url"]
        type(self).setting = b'{"error": "wrong"}' if wrong else body
        self.answer(400 if wrong else 200)

    def do_GET(self) -> None:
        self.answer(200 if self.headers["D360-API-KEY"] == "test-key" else 401)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(self.setting)))
        self.end_headers()
        self.wfile.write(self.setting)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def stand_in() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Webhooks)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    template = folder / "world"
    template.mkdir()
    with worlds.made(template) as world, stand_in() as webhooks:
        runner = Runner(folder, world, webhooks)
        yield runner
        runner.close()


# --- comparing ----------------------------------------------------------------------------------------------------

_FREE = (
    (re.compile(r"\b(?:\d+(?:\.\d+)? (?:d|h|min|s)\b ?)+"), " <time> "),
    (re.compile(r"\b\d[\d,.]* (?:bytes|kB|MB|GB)\b"), " <size> "),
    (re.compile(r"(?<![0-9A-Za-z])(?=[a-f]*\d)[0-9a-f]{12,}(?![0-9A-Za-z])"), "#"),
    (re.compile(r"\d+(?:[.,]\d+)*"), "#"),
    (re.compile(r"-{2,}"), "--"),
)


def loosely(text: str) -> list[str]:
    """Words, without what differs from run to run."""
    text = " ".join(text.split())
    for pattern, word in _FREE:
        text = pattern.sub(word, text)
    return text.split()


def fits(shown: str, printed: str) -> bool:
    """Whether what a page shows is what was printed."""
    pattern = " ".join(".*".join(map(re.escape, word.split("..."))) for word in loosely(shown))
    return re.fullmatch(pattern.replace(" .* ", " (?:.* )?"), " ".join(loosely(printed)), re.DOTALL) is not None


@pytest.mark.parametrize(
    ("shown", "printed", "is_right"),
    [
        ("4 of 12 done", "7 of 1,200 done", True),
        ("in 1 min 39 s", "in 4 h", True),
        ("157.8 MB left", "12 bytes left", True),
        ("a\n  b", "a b\n", True),
        ("first\n...\nlast", "first\nx\ny\nlast", True),
        ("first\n...\nlast", "first\nlast", True),
        ("...22 shop", "...07 shop", True),
        ("sha256 9558aa3c1b2d44e0", "sha256 e0ffaa3c1b2d44e1", True),
        ("4 of 12 done", "7 of 12 left", False),
        ("done", "done and more", False),
        ("first\n...\nlast", "first\nx", False),
        ("", "something", False),
    ],
)
def test_output_is_compared_loosely(shown, printed, is_right):
    assert fits(shown, printed) is is_right


# --- the rules ----------------------------------------------------------------------------------------------------


def test_there_are_commands_and_output():
    assert len(SECTIONS) > 15
    assert len(COMMANDS) > 30
    assert sum(bool(command.shown) for command in COMMANDS) > 15
    assert all(len({each.block.page for each in section.commands}) == 1 for section in SECTIONS)


def test_every_page_with_commands_has_one_runner():
    """This one, or the one that is named here."""
    elsewhere = [page for page in PAGES if has_own_runner(page)]
    for prefix, test in OWN_RUNNERS.items():
        if any(name_of(page).startswith(prefix) for page in elsewhere):
            assert "console" in (CHECKOUT / test).read_text(), test
    here = {command.block.page for command in COMMANDS}
    assert here.isdisjoint(elsewhere)
    assert here | set(elsewhere) >= {block.page for block in all_blocks() if block.language == "console"}


def test_a_block_of_commands_is_one():
    """A shell under another name would be run by nobody."""
    others = {block.language for block in all_blocks() if not block.file} & {"sh", "bash", "shell", "shell-session", "zsh"}
    assert not others
    unmarked = [
        str(block) for block in all_blocks() if block.language in {"", "text"} and re.search(r"^\$ ", block.text, re.MULTILINE)
    ]
    assert not unmarked


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_what_is_not_run_is_on_a_page(pattern):
    assert any(re.fullmatch(pattern, command.text, re.DOTALL) for command in COMMANDS)


def test_what_is_run_in_another_form_is_on_a_page():
    assert set(RUN_INSTEAD) <= {command.text for command in COMMANDS}


@pytest.mark.parametrize("command", [each for each in COMMANDS if each.is_run], ids=lambda each: f"{each.block} {each.text[:40]}")
def test_a_command_does_what_the_page_shows(runner, command):
    ended = runner.ended(command)
    assert ended.status != -1, f"not reached, or longer than {SECTION_S} s: {ended}"
    wanted = {0, *(int(mark.removeprefix("exit ")) for mark in command.block.mark.split(", ") if mark.startswith("exit "))}
    assert ended.status in wanted, ended.out + ended.err
    assert "Traceback" not in ended.out + ended.err
    if command.shown:
        printed = " ".join(loosely(ended.out))
        assert fits(command.shown, ended.out), (
            f"printed:\n{ended.out}\nthat is\n{printed}\nshown\n{' '.join(loosely(command.shown))}"
        )


@pytest.mark.parametrize("block", sorted({each.block for each in COMMANDS if "exit " in each.block.mark}, key=str), ids=str)
def test_an_exit_status_that_a_page_marks_is_seen(runner, block):
    wanted = {int(mark.removeprefix("exit ")) for mark in block.mark.split(", ") if mark.startswith("exit ")}
    assert wanted <= {runner.ended(each).status for each in COMMANDS if each.block == block and each.is_run}


def test_the_headers_of_a_webhook_are_set(runner):
    """The commands are run before this; the stand-in has kept what was set."""
    setting = [each for each in COMMANDS if HOST_ON_PAGES in each.text]
    assert setting
    assert json.loads(runner.ended(setting[-1]).out)["headers"]
