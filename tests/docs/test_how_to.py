"""Every how-to page is followed as it stands: its files are written, its commands run top to bottom in one shell, in a fresh folder.

360dialog is an emulator, Airflow's tables are made once. ``airflow``, ``dialog360`` and ``pytest`` are the real ones, but they are
forks of one process that has imported them already (the end of this module): else half a minute a page would go by with imports.
What a page shows as output has to be in the output, digits aside.
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
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_360dialog import emulator
from tests.docs.pages import CHECKOUT, all_blocks, headings, read
from tests.support.ports import free_port
from tests.support.postgres import MISSING, PostgresMissingError, postgres

HOW_TO = CHECKOUT / "docs" / "how-to"
PAGES = sorted(HOW_TO.glob("*.md"))
NUMBERS = {"dialog360_default": "test-key", "shop_berlin": "test-key-berlin", "shop_bonn": "test-key-bonn"}
PROGRAMS = ("airflow", "dialog360", "pytest")
PAGE_S = 150
PORT_ON_PAGES = "8360"
START_S = 60
_END_OF_COMMAND = "\x1e"


@dataclass(frozen=True)
class Command:
    """What stands after a prompt, with its continued lines; and the output that the page shows for it."""

    text: str
    shown: tuple[str, ...]


def commands(text: str) -> list[Command]:
    """The commands of a console block."""
    found: list[tuple[str, list[str]]] = []
    is_continued = False
    for line in text.splitlines():
        if is_continued or line.startswith("> "):
            found[-1] = (f"{found[-1][0]}\n{line.removeprefix('> ')}", [])
        elif line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
            continue
        is_continued = line.endswith("\\")
    return [Command(command, tuple(shown)) for command, shown in found]


def plain(text: str) -> str:
    """Without what differs from run to run: instants, ids, rates, and how columns are filled. Counts stay."""
    text = re.sub(r"127\.0\.0\.1:\d+|\d{4}-\d\d-\d\d|\d\d:\d\d(?::\d\d)?|\d{5,}|\d+\.\d+|(?<=\.\.\.)\d\d", "0", text)
    return re.sub(r"\s+", " ", re.sub(r"-{2,}", "--", text)).strip()


# --- the pages run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def airflow():
    """A folder with an AIRFLOW_HOME that has its tables, and programs that are there at once."""
    root = Path(tempfile.mkdtemp(prefix="how-to-"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTEST_"))}
    environment |= {
        "AIRFLOW_HOME": str(root / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "work" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-the-test-that-is-long-enough",
        "PYTHONPATH": str(CHECKOUT),
        "PATH": f"{root / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    for program in PROGRAMS:
        _write_program(root / "bin" / program, root / "socket")
    with (root / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, __file__, str(root / "socket")], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        gives_up_at = time.monotonic() + START_S
        while not (root / "socket").exists():
            assert server.poll() is None, (root / "server.log").read_text()
            assert time.monotonic() < gives_up_at
            time.sleep(0.05)
        subprocess.run(
            [root / "bin" / "airflow", "db", "migrate"], env=environment, check=True, capture_output=True, timeout=START_S
        )
        shutil.copytree(root / "home", root / "home-as-new")
        yield root, environment
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def postgresql():
    """A server for the pages that need one."""
    try:
        with postgres() as server:
            yield server
    except PostgresMissingError:
        pytest.skip(MISSING)


@pytest.fixture
def follow(airflow, request):
    """Follow a page; the output of each of its commands."""
    root, environment = airflow
    for name in ("home", "work"):
        shutil.rmtree(root / name, ignore_errors=True)
    shutil.copytree(root / "home-as-new", root / "home")
    (root / "work" / "dags").mkdir(parents=True)
    shutil.copytree(CHECKOUT / "dags_examples" / "media", root / "work" / "media")
    with emulator.running(any_key=True) as emu:
        connections = {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps({"conn_type": "dialog360", "host": emu.base_url, "password": key})
            for conn_id, key in NUMBERS.items()
        }

        def follow(page: Path) -> list[tuple[Command, str]]:
            if page.stem == "index":  # it makes what the other pages have
                shutil.rmtree(root / "work")
                (root / "work").mkdir()
                return _follow(page, root / "work", root / "files", {**environment, "CHECKOUT": str(CHECKOUT)})
            more = {}
            if any("$LEDGER_URI" in block.text for block in all_blocks() if block.page == page):
                more["LEDGER_URI"] = request.getfixturevalue("postgresql").new_database().replace("+psycopg", "")
            return _follow(page, root / "work", root / "files", {**environment, **connections, "EMULATOR": emu.base_url, **more})

        yield follow


def _follow(page: Path, folder: Path, files: Path, environment: dict[str, str]) -> list[tuple[Command, str]]:
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    script, run = ["set -e -o pipefail"], []
    for at, block in enumerate(block for block in all_blocks() if block.page == page):
        if block.file:
            (files / str(at)).write_text(block.text, encoding="utf-8")
            script.append(f"mkdir -p {shlex.quote(str(Path(block.file).parent))}; cp {files / str(at)} {shlex.quote(block.file)}")
        elif block.language == "console":
            for command in commands(
                block.text.replace(PORT_ON_PAGES, str(free_port()) if page.stem == "index" else PORT_ON_PAGES)
            ):
                run.append(command)
                script.append(f"{command.text}\nprintf '\\n\\036\\n'")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder, env=environment, timeout=PAGE_S, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    outputs = done.stdout.split(_END_OF_COMMAND)
    assert done.returncode == 0, f"{run[min(len(outputs), len(run)) - 1].text}\n{outputs[-1][-6000:]}"
    return list(zip(run, outputs, strict=False))


def _write_program(path: Path, address: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"#!{sys.executable} -IS\n"
        "import json, os, socket, sys\n"
        f"server = socket.socket(socket.AF_UNIX)\nserver.connect({str(address)!r})\n"
        "said = json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)])\n"
        "socket.send_fds(server, [said.encode()], [0, 1, 2])\n"
        "sys.exit(int(server.recv(16) or b'255'))\n"
    )
    path.chmod(0o755)


def test_the_index_leads_to_every_page():
    """In its table, and in the site's navigation."""
    pages = sorted(page.stem for page in PAGES if page.stem != "index")
    assert len(pages) >= 15
    index = read("how-to/index.md")
    assert sorted(re.findall(r"^\| .+ \| \[([\w-]+)\]\(\1\.md\) \|$", index, re.MULTILINE)) == pages
    (navigation,) = (block.text for block in all_blocks() if block.page.parent == HOW_TO and block.language == "{toctree}")
    assert sorted(navigation.split()[1:]) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_for_and_how_to_see_it_and_what_may_go_wrong(page):
    assert any(block.page == page and block.language == "console" for block in all_blocks())
    if page.stem != "index":
        assert re.match(r"# .+\n\n\*\*Goal:\*\* ", read(page))
        seen = headings(read(page), 2)
        assert [name for name in seen if name.startswith(("See that it worked", "Prove it"))]
        assert seen[-1] == "What may go wrong"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed_as_it_stands(page, follow):
    """And what it shows is what comes."""
    for command, output in follow(page):
        said = plain(output)
        for line in command.shown:
            assert plain(line.removesuffix("...")) in said, f"{command.text}\n{line}\nis not in\n{output}"


# --- the process that has imported everything ---------------------------------------------------------------------


def serve(address: str) -> None:
    """Run each program that is asked for in a fork."""
    _import_everything()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{address}.new")
    listening.listen()
    Path(f"{address}.new").rename(address)
    while True:
        asked, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _run(asked)
        asked.close()
        while _reap():
            pass


def _reap() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _run(asked: socket.socket) -> None:
    """One program, in the fork, until its end."""
    said, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, 3)
    program, arguments, folder, environment = json.loads(said)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    threading.Thread(target=_end_with, args=(asked,), daemon=True).start()
    status: object = 0
    try:
        status = _main_of(program)()
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            sys.stderr.write(f"{status}\n")
    except BaseException:  # noqa: BLE001 - what a program does with it: say it, and fail
        import traceback

        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    asked.send(str(status if isinstance(status, int) else int(status is not None)).encode())
    os._exit(0)


def _end_with(asked: socket.socket) -> None:
    """Whoever asked was killed: so is this program."""
    asked.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _main_of(program: str) -> object:
    if program == "airflow":
        from airflow.__main__ import main
    elif program == "dialog360":
        from airflow_provider_360dialog.cli import main
    else:
        main = pytest.console_main
    return main


def _import_everything() -> None:
    """And make what ``dag.test()`` makes at its first request: Airflow's own API for tasks, in all its versions."""
    from importlib import import_module

    for name in (
        "airflow.settings", "airflow.cli.cli_parser", "airflow.cli.commands.dag_command", "airflow.cli.commands.db_command",
        "airflow.sdk.execution_time.supervisor", "airflow.sdk.execution_time.task_runner", "airflow.api_fastapi.execution_api.app",
        "airflow.dag_processing.dagbag", "airflow.dag_processing.collection", "airflow.providers_manager", "airflow.utils.db",
        "airflow.models.dagrun", "airflow.serialization.serialized_objects", "fastapi.testclient", "pytest", "rich.console",
        "airflow.providers.standard.operators.hitl", "airflow.providers.standard.operators.python",
        *(
            f"airflow_provider_360dialog.{path.relative_to(CHECKOUT / 'airflow_provider_360dialog').with_suffix('')}".replace("/", ".")
            for folder in ("hooks", "operators", "sensors", "cli", "jobs", "ledger", "api")
            for path in sorted((CHECKOUT / "airflow_provider_360dialog" / folder).glob("[a-z]*.py"))
        ),
    ):  # fmt: skip
        import_module(name)

    from airflow.sdk.api.client import API_VERSION
    from airflow.sdk.execution_time.supervisor import in_process_api_server
    from fastapi.testclient import TestClient

    with TestClient(in_process_api_server().app) as client:
        assert client.get("/health", headers={"Airflow-API-Version": API_VERSION}).is_success


if __name__ == "__main__":
    serve(sys.argv[1])
