"""What strangers write, made up for a few seconds; `scripts/proof security` takes ten minutes for each room."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from hypothesis import strategies as st

from benchmarks import fuzz_readers
from benchmarks.fuzz_readers import Subject

SUBJECTS = {
    "wire": {"answers", "media_url", "decoding", "redirects", "sender"},
    "media": {"judge", "rewrite"},
    "webhook": {"payloads", "files", "payloads in hand"},
}


@pytest.mark.parametrize("room", fuzz_readers.ROOMS)
def test_what_was_made_up_is_read_refused_or_judged(room, monkeypatch):
    """Each reader of the room gets some, and what comes of it is not always the same."""
    monkeypatch.setattr(fuzz_readers, "_ROUND", 40)
    with fuzz_readers._SUBJECTS[room]() as subjects:
        assert {each.name for each in subjects} == SUBJECTS[room]
        found = fuzz_readers._Search(subjects, 7).go(60.0, rounds=1)
    assert found["findings"] == []
    assert all(count >= 40 for count in found["of"].values())
    for subject in subjects:
        assert sum(outcome.startswith(f"{subject.name} ") for outcome in found["outcomes"]) > 1, found["outcomes"]


def test_a_room_has_a_process_of_its_own():
    found = fuzz_readers.run(rooms="webhook", seconds=2.0, seed=7)
    assert found["holds"], found
    assert found["webhook"]["examples"]


def test_a_room_that_does_not_exist_is_refused():
    with pytest.raises(SystemExit, match="no such rooms: attic"):
        fuzz_readers.run(rooms="wire+attic")


# --- what the proof would not overlook ----------------------------------------------------------------------------


def _crashing(number):
    return str(1 / (number - 1000)) if number >= 1000 else "read"


def _wrong(number):
    assert number < 1000, "too large"
    return "read"


def _busy(number):
    until = time.process_time() + (0.2 if number >= 1000 else 0.0)
    while time.process_time() < until:
        pass
    return "read"


def _refusing(number):
    if number >= 1000:
        raise KeyError(number)
    return "read"


@pytest.mark.parametrize(
    ("read", "own", "where", "smallest"),
    [
        (_crashing, (), "ZeroDivisionError at test_fuzz_readers.py", "1000"),
        (_wrong, (), "AssertionError at test_fuzz_readers.py", "1000"),
        (_refusing, (), "KeyError at test_fuzz_readers.py", "1000"),
        (_refusing, (KeyError,), "", ""),
        (_busy, (), "made is slow", None),
    ],
    ids=["a crash", "a wrong result", "an error of no room", "an error of the room", "a slow one"],
)
def test_a_finding_is_told_once_and_small(read, own, where, smallest, monkeypatch):
    monkeypatch.setattr(fuzz_readers, "MOST_S", 0.1)
    monkeypatch.setattr(fuzz_readers, "_ROUND", 100)
    numbers = st.integers(0, 1000) | st.just(1000)
    found = fuzz_readers._Search([Subject("made", numbers, read, own)], 7).go(60.0, rounds=2)
    assert [each["where"].startswith(where) for each in found["findings"]] == ([True] if where else []), found["findings"]
    if where and smallest is not None:
        assert found["findings"][0]["example"] == smallest


@contextmanager
def _endless():
    yield [Subject("made", st.just(0), lambda _: time.sleep(120) or "read")]


ENDLESS = """
from tests.proof import test_fuzz_readers as tests
tests.fuzz_readers._ENDLESS_S = 1.0
with tests._endless() as subjects:
    tests.fuzz_readers._Search(subjects, 7).go(60.0)
"""


def test_an_example_without_an_end_is_found():
    """The process is ended, with a traceback that says where."""
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS],
        capture_output=True,
        text=True,
        cwd=fuzz_readers.support.CHECKOUT,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Timeout (0:00:01)!" in done.stderr
    assert "_read" in done.stderr
