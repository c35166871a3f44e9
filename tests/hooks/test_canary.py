"""The plugin that listens for secrets, listened to."""

from __future__ import annotations

import logging
import sys

import pytest

from airflow_provider_360dialog.exceptions import KeyRefusedError
from tests.canary import Canary, complaints

KEY = "not-the-one-that-is-watched-here"
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
