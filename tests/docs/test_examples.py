"""Every example works as it stands.

Python blocks are DAG files (parsed as Airflow parses them), tests (run by pytest), or marked ``<!-- run -->`` and executed against
the emulator, in a folder that holds a good photo as ``summer.jpg``. The one receiver of webhooks is tried by ``test_receiver.py``. There
is no fifth sort. A block that is a file's content (``<!-- file: dags/vouchers.py -->``) is a part of a page whose commands use that file;
the test that runs them writes it. ``test_commands.py`` runs the blocks of commands.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from airflow_provider_360dialog import emulator
from tests.docs.pages import CHECKOUT, blocks, name_of

PYTHON = [block for block in blocks(language="python") if not block.file]
JSON = blocks(language="json")
SHELL = [block for block in blocks(language="console") if not name_of(block.page).startswith(("how-to/", "tutorial"))]
DAGS = [block for block in PYTHON if re.search(r"\bDAG\(|^@dag\b", block.text, re.MULTILINE)]
TESTS = [block for block in PYTHON if re.search(r"^def test_", block.text, re.MULTILINE)]
RUNS = [block for block in PYTHON if block.mark == "run"]
RECEIVERS = [block for block in PYTHON if block.mark == "receiver"]
URIS = [(block, uri) for block in SHELL for uri in re.findall(r"'(dialog360://[^']+)'", block.text)]


@pytest.fixture
def emulated(monkeypatch, tmp_path):
    """An emulator behind the default connection, and a folder with a photo to work in."""
    with emulator.running() as emu:
        connection = {"conn_type": "dialog360", "host": emu.base_url, "password": emu.key}
        monkeypatch.setenv("AIRFLOW_CONN_DIALOG360_DEFAULT", json.dumps(connection))
        shutil.copy(CHECKOUT / "dags_examples" / "media" / "photo.jpg", tmp_path / "summer.jpg")
        monkeypatch.chdir(tmp_path)
        yield emu


def test_there_is_something_of_every_sort():
    assert len(DAGS) >= 4
    assert len(RUNS) >= 6
    assert TESTS
    assert len(RECEIVERS) == 1
    assert JSON
    assert URIS


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_block_compiles_and_is_tried(block):
    ast.parse(block.text)
    assert [block in sort for sort in (DAGS, TESTS, RUNS, RECEIVERS)].count(True) == 1


@pytest.mark.parametrize("block", DAGS, ids=str)
def test_a_dag_parses(block, tmp_path):
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "example.py").write_text(block.text)
    bag = DagBag(tmp_path)
    assert not bag.import_errors
    assert all(dag.tasks for dag in bag.dags.values())
    assert bag.dags


@pytest.mark.parametrize("block", RUNS, ids=str)
def test_an_example_runs(block, emulated):
    before = len(emulated.requests(1000))
    exec(compile(block.text, str(block), "exec"), {"__name__": "example"})
    assert len(emulated.requests(1000)) > before or "inspect" in block.text


@pytest.mark.parametrize("block", TESTS, ids=str)
def test_an_example_of_a_test_passes(block, tmp_path):
    (tmp_path / "test_example.py").write_text(block.text)
    shutil.copy(CHECKOUT / "dags_examples" / "media" / "photo.jpg", tmp_path / "summer.jpg")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_example.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* passed", done.stdout)


@pytest.mark.parametrize("block", JSON, ids=str)
def test_a_json_block_parses(block):
    found = json.loads(block.text)
    if isinstance(found, dict) and "conn_type" in found:
        assert channel_of(json.dumps(found)).api_key


@pytest.mark.parametrize(("block", "uri"), URIS, ids=[f"{block}-{n}" for n, (block, _) in enumerate(URIS)])
def test_a_connection_uri_is_accepted(block, uri):
    assert channel_of(uri).api_key


def test_a_connection_in_json_on_a_command_line_is_accepted():
    found = [text for block in SHELL for text in re.findall(r"'(\{[^']*\"conn_type\"[^']*\})'", block.text)]
    assert found
    for text in found:
        assert channel_of(text).api_key


def channel_of(text):
    """What the hook makes of a connection in the environment."""
    from airflow.sdk import Connection

    from airflow_provider_360dialog.hooks.connection import read_connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_OF_THE_DOCS", text)
        return read_connection(Connection.get("of_the_docs"))
