"""A pytest plugin: no watched API key and no media URL's hash may be seen in a log line, an output or an error, all session long.

Watched are all keys that contain ``canary`` (or stand in `ALSO_WATCHED`), and every media URL that an emulator in this process
gives to a number which was opened with such a key. Looked at are, with DEBUG on: every record that reaches a log handler
(formatted, with its traceback), what each test writes to stdout and stderr (Airflow's task logs go there), and every
`Dialog360Error` that is made (text, repr, pickle, and its traceback with all causes once the test is over).

The emulator's own log lines do not count. A whole run that looked at nothing fails too: where several processes share it, what all of
them looked at counts, and each has to account for that.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from airflow_provider_360dialog import emulator
from airflow_provider_360dialog.emulator.links import Links
from airflow_provider_360dialog.emulator.state import State
from airflow_provider_360dialog.exceptions import Dialog360Error

KEY = "test-key-canary-7f3a"
ALSO_WATCHED = ("test-key-of-the-wire",)

_NOT_OURS = ("uvicorn", "airflow_provider_360dialog.emulator")
_NOISE = ("aiobotocore", "asyncio", "boto3", "botocore", "s3fs", "s3transfer")  # never sees a key or a media URL, fills screens
_WHOLE_SUITE = ("tests/hooks/", "tests/jobs/", "tests/operators/")
_numbers = itertools.count(300000000000001)


class Canary:
    """What is watched, what was looked at, and what was found."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {}
        self.looked_at: Counter[str] = Counter()
        self.handed_out: Counter[str] = Counter()
        self.found: list[str] = []
        self.test = "before the first test"
        self.folders: set[str] = set()
        self.errors: list[Dialog360Error] = []
        self.watched_numbers: set[tuple[int, str]] = set()
        for key in (KEY, *ALSO_WATCHED):
            self.watch(key, "an API key")

    def watch(self, secret: str, what: str) -> None:
        """From now on ``secret`` may not be seen, as it is or percent-encoded."""
        self.handed_out[what] += 1
        self.words[secret] = what
        self.words[quote(secret, safe="")] = what

    def watch_url(self, url: str) -> None:
        """From now on the hash of a media URL may not be seen."""
        self.watch(parse_qs(urlsplit(url).query)["hash"][0], "a media URL's hash")

    def look(self, text: str, where: str) -> None:
        """Note every watched word in ``text``."""
        self.looked_at[where] += 1
        for word, what in list(self.words.items()):
            at = text.find(word)
            if at >= 0:
                line = text[max(0, at - 120) : at + len(word) + 20].replace("\n", " ")
                self.found.append(f"{what} in {where}, {self.test}: ...{line}")

    def look_at_record(self, record: logging.LogRecord) -> None:
        """Look at a log record as a handler would print it."""
        if not record.name.startswith(_NOT_OURS):
            self.look(logging.Formatter().format(record), f"a log record of {record.name.partition('.')[0]}")

    def look_at_error(self, error: Dialog360Error) -> None:
        """Look at an error as it is made; its traceback is looked at when the test is over."""
        for where, text in (
            ("text", str(error)),
            ("repr", repr(error)),
            ("attributes", repr(vars(error))),
            ("pickle", pickle.dumps(error).decode("latin-1")),
        ):
            self.look(text, f"an error's {where}")
        self.errors.append(error)

    def end_test(self) -> None:
        """Look at the tracebacks of the errors of one test, and let go of them."""
        errors, self.errors = self.errors, []
        for error in errors:
            self.look("".join(traceback.format_exception(error)), "an error's traceback")

    def account(self) -> dict[str, Any]:
        """What this process looked at and found, in types that travel to another one."""
        return {
            "looked_at": dict(self.looked_at),
            "handed_out": dict(self.handed_out),
            "found": [line.encode(errors="backslashreplace").decode() for line in self.found],
            "folders": sorted(self.folders),
        }

    def add(self, account: dict[str, Any] | None) -> None:
        """Count what another process looked at as looked at; one without an account is itself something found."""
        if account is None:
            self.found.append("a process of this session ended without saying what it had seen")
            return
        self.looked_at.update(account["looked_at"])
        self.handed_out.update(account["handed_out"])
        self.found += account["found"]
        self.folders.update(account["folders"])


CANARY = Canary()


def _patch(patch: pytest.MonkeyPatch) -> None:
    """Stand where keys and URLs are handed out, and where records and errors are made."""
    put_key, issue, call_handlers = State._put_key, Links.issue, logging.Logger.callHandlers

    def put_and_watch(self: State, number_id: str, key: str) -> None:
        put_key(self, number_id, key)
        if "canary" in key or key in ALSO_WATCHED:
            CANARY.watch(key, "an API key")
            CANARY.watched_numbers.add((id(self.links), number_id))

    def issue_and_watch(self: Links, *, number_id: str, **more: Any) -> str:
        url = issue(self, number_id=number_id, **more)
        if (id(self), number_id) in CANARY.watched_numbers:
            CANARY.watch_url(url)
        return url

    def look_and_call(self: logging.Logger, record: logging.LogRecord) -> None:
        CANARY.look_at_record(record)
        call_handlers(self, record)

    def make_and_look(self: Dialog360Error, *args: object) -> None:
        Exception.__init__(self, *args)
        CANARY.look_at_error(self)

    patch.setattr(State, "_put_key", put_and_watch)
    patch.setattr(Links, "issue", issue_and_watch)
    patch.setattr(logging.Logger, "callHandlers", look_and_call)
    patch.setattr(Dialog360Error, "__init__", make_and_look)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_PATCH] = patch = pytest.MonkeyPatch()
    _patch(patch)


_PATCH = pytest.StashKey[pytest.MonkeyPatch]()
_ACCOUNT = "canary"


def pytest_runtest_setup(item: pytest.Item) -> None:
    CANARY.test = item.nodeid
    CANARY.folders.add(item.nodeid.rpartition("::")[0].rpartition("/")[0] + "/")
    logging.getLogger().setLevel(logging.DEBUG)  # each time: Airflow configures logging when it is imported
    for name in _NOISE:
        logging.getLogger(name).setLevel(logging.INFO)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown" and not hasattr(report, "node"):  # else the process that ran the test has looked
        CANARY.end_test()
        for name, text in report.sections:
            CANARY.look(text, f"what a test wrote ({name.lower()})")


def complaints(canary: Canary, *, whole_suite: bool) -> list[str]:
    """Why the session has to fail: what was found, or that nothing was looked at."""
    wrong = list(dict.fromkeys(canary.found))
    if whole_suite:
        wrong += [f"no {what} was ever handed out" for what in ("a media URL's hash",) if not canary.handed_out[what]]
        seen = " ".join(canary.looked_at)
        for where in ("a log record of urllib3", "a log record of airflow_provider_360dialog", "an error's traceback", "wrote"):
            if where not in seen:
                wrong.append(f"nothing was looked at under: {where}")
    return wrong


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of the processes of pytest-xdist has ended."""
    CANARY.add(getattr(node, "workeroutput", {}).get(_ACCOUNT))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[_PATCH].undo()
    if hasattr(session.config, "workeroutput"):  # one process of several: whoever started it judges them all
        session.config.workeroutput[_ACCOUNT] = CANARY.account()
        return
    if complaints(CANARY, whole_suite=_is_whole_suite(session)) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    wrong = complaints(CANARY, whole_suite=_is_whole_suite(terminalreporter._session))
    if wrong:
        terminalreporter.section("A SECRET WAS SEEN, OR NOBODY LOOKED", red=True, bold=True)
        for line in wrong[:50]:
            terminalreporter.write_line(line)
    total = sum(CANARY.looked_at.values())
    if total:
        terminalreporter.write_line(
            f"canary: looked at {total} texts for {sum(CANARY.handed_out.values())} secrets, saw {len(CANARY.found)}"
        )


def _is_whole_suite(session: pytest.Session) -> bool:
    """Whether the folders that use secrets were run, all of them and unfiltered, with output captured."""
    config = session.config
    narrowed = config.option.keyword or config.option.markexpr or config.option.deselect or "::" in " ".join(config.args)
    stopped = session.shouldstop or session.shouldfail or config.option.collectonly or config.option.capture == "no"
    return not narrowed and not stopped and set(_WHOLE_SUITE) <= CANARY.folders


class Number:
    """A number of the shared emulator whose key and URLs are watched."""

    def __init__(self, emu: emulator.Emulator, number_id: str, key: str) -> None:
        self.emu, self.number_id, self.key, self.base_url = emu, number_id, key, emu.base_url

    def arm(self, kind: str, **more: Any) -> Any:
        """Arm a fault for this number; see `Emulator.arm`."""
        return self.emu.arm(kind, number_id=self.number_id, **more)

    def sent(self, operation: str) -> int:
        """How many requests of an operation reached the emulator."""
        return int(self.emu.counters(self.number_id)["requests"].get(operation, 0))

    def receive(self, content: bytes, mime_type: str = "image/jpeg", **more: Any) -> tuple[str, str]:
        """A customer sends a file: its media id and the webhook's URL."""
        webhook = self.emu.inject_webhook_media(content, mime_type=mime_type, number=self.number_id, **more)
        message = webhook["entry"][0]["changes"][0]["value"]["messages"][0]
        part = message[message["type"]]
        return part["id"], part.get("url", "")

    def rotate_key(self) -> str:
        """A new watched key; the old one gets 401."""
        self.key = f"{KEY}-{next(_numbers)}"
        self.emu.rotate_key(self.number_id, self.key)
        return self.key


@pytest.fixture(scope="session")
def emulated() -> Iterator[emulator.Emulator]:
    """One emulator for the session."""
    with emulator.running(key=KEY) as emu:
        yield emu


@pytest.fixture
def number(emulated: emulator.Emulator) -> Iterator[Number]:
    """A fresh number on it: no faults, default settings, the real time, a key of its own."""
    number_id = str(next(_numbers))
    emulated.add_number(number_id, f"{KEY}-{number_id}")
    yield Number(emulated, number_id, f"{KEY}-{number_id}")
    emulated.disarm()
    emulated.state.settings = emulator.Settings()
    emulated.configure()
    emulated.state.clock.offset_s = 0.0  # else all later tests of the session live in this one's future
