"""The plugin that listens for secrets, listened to."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from airflow_provider_360dialog.exceptions import KeyRefusedError
from tests.canary import Canary, complaints

KEY = "not-the-one-that-is-watched-here"
HEARD = (
    "a media URL's hash",
    "a log record of urllib3",
    "a log record of airflow_provider_360dialog",
    "an error's traceback",
    "wrote",
)
URL = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext=2&hash=ATcanaryhash"


def record(message, *args, name="urllib3.connectionpool", exc_info=None):
    return logging.LogRecord(name, logging.DEBUG, __file__, 1, message, args, exc_info)


def failing_record():
    try:
        int(KEY)
    except ValueError:
        return record("something failed", exc_info=sys.exc_info())


@pytest.mark.parametrize(
    ("leak", "is_found"),
    [
        pytest.param(lambda c: c.look_at_record(record("key %s", KEY)), True, id="a key among a log record's arguments"),
        pytest.param(lambda c: c.look_at_record(failing_record()), True, id="a key in a record's traceback"),
        pytest.param(lambda c: c.look_at_record(record("GET %s", URL)), True, id="a media URL in a log record"),
        pytest.param(lambda c: c.look_at_error(KeyRefusedError(operation="fetch", details=KEY)), True, id="a key in an error"),
        pytest.param(lambda c: c.look(f"hello {KEY}", "what a test wrote"), True, id="a key on stdout"),
        pytest.param(lambda c: c.look_at_record(record("GET /?...")), False, id="a scrubbed line is no leak"),
        pytest.param(lambda c: c.look_at_record(record(KEY, name="uvicorn.error")), False, id="the emulator's own lines"),
    ],
)
def test_hears_every_secret(leak, is_found):
    """A guard that cannot fail guards nothing."""
    canary = Canary()
    canary.watch(KEY, "an API key")
    canary.watch_url(URL)
    leak(canary)
    canary.end_test()
    assert bool(complaints(canary, whole_suite=False)) is is_found


def test_complains_when_a_whole_run_looked_at_nothing():
    """Silence is only good news where somebody listened."""
    assert complaints(Canary(), whole_suite=True)


def test_what_several_processes_looked_at_counts_together():
    """None of them has to look at everything; what one has found, or does not account for, is a complaint of all."""
    total = Canary()
    for heard in HEARD:
        one = Canary()
        (one.handed_out if "hash" in heard else one.looked_at)[heard] += 1
        assert complaints(one, whole_suite=True)
        one.folders.add(f"tests/{heard}/")
        total.add(json.loads(json.dumps(one.account())))
    assert complaints(total, whole_suite=True) == []
    assert total.folders == {f"tests/{heard}/" for heard in HEARD}
    one = Canary()
    one.found.append("an API key in \ud800")
    total.add(one.account())
    total.add(None)
    assert len(complaints(total, whole_suite=True)) == 2


@pytest.mark.parametrize("processes", [0, 2])
def test_a_session_in_which_a_key_was_seen_fails(processes, checkout, tmp_path):
    """In whichever process it was, and though every test passes."""
    leak = tmp_path / "test_leak.py"
    leak.write_text("import logging\ndef test_it(): logging.error('test-key-canary-7f3a')\ndef test_other(): print('nothing')\n")
    options = f"-p tests.canary -p no:cacheprovider -n {processes}".split()
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, leak]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert (done.returncode, "2 passed" in done.stdout) == (1, True), done.stdout + done.stderr
    assert "an API key in a log record of root, test_leak.py::test_it" in done.stdout
