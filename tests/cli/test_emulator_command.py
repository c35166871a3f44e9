"""``dialog360 emulator``: the emulator's own command line by another name."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from airflow_provider_360dialog.cli import emulator
from airflow_provider_360dialog.emulator.__main__ import build_parser

FACTS = ("option_strings", "dest", "default", "type", "choices", "nargs", "const", "help", "metavar", "required")


def test_its_options_are_the_emulators():
    parser = argparse.ArgumentParser()
    for each in emulator.EMULATOR.options:
        parser.add_argument(*each.flags, **each.settings)
    ours, theirs = ([[getattr(each, fact) for fact in FACTS] for each in one._actions] for one in (parser, build_parser()))
    assert len(ours) > 10
    assert ours == theirs


def test_every_option_reaches_it(dialog360, monkeypatch):
    given = [
        "--host=127.0.0.2", "--port=1", "--number-id=5", "--key=-test-key", "--data=/tmp/x", "--any-key", "--profile=strict",
        "--error-shape=A", "--blocked-answer=400", "--extend-block", "--count-failed-downloads=no", "--posts-per-s=3",
        "--service-s=0.5", "--jitter-s=0.1", "--lost-url-status=410",
    ]  # fmt: skip
    assert len(given) == len(emulator.EMULATOR.options)
    seen = []
    monkeypatch.setattr("airflow_provider_360dialog.emulator.__main__.main", lambda words: seen.append(words) or 0)
    assert dialog360("emulator", *given).status == 0
    assert seen == [given]


def test_it_serves_until_it_is_told_to_stop():
    """Its one line is on standard output."""
    words = [Path(sys.executable).parent / "dialog360", "emulator", "--port", "0", "--number-id", "106540352242922", "--any-key"]
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        in_time = threading.Timer(60, process.kill)
        in_time.start()
        try:
            found = re.fullmatch(r"(http://127\.0\.0\.1:\d+) number 106540352242922 key test-key\n", process.stdout.readline())
            request = urllib.request.Request(f"{found[1]}/health_status", headers={"D360-API-KEY": "test-key"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["health_status"]
        finally:
            process.terminate()
            in_time.cancel()
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
