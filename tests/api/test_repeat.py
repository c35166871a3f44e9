"""When the same call is made again: a table, and the loop around it on a clock that does not tick."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_360dialog import exceptions as ex
from airflow_provider_360dialog.api.repeat import FURTHER_ATTEMPTS, repeat, wait_s

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Waits(threading.Event):
    """A stop flag whose waiting is only written down."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return self.is_set()


def throttled(seconds: float, operation: str = "upload") -> ex.ThrottledError:
    return ex.ThrottledError(operation=operation, status=429, details="", retry_at=NOW + timedelta(seconds=seconds))


UNREACHABLE = ex.UnreachableError(operation="x", origin="https://h", reason="refused")
CUT_OFF = ex.InterruptedExchangeError(operation="x", origin="https://h", reason="reset")
SERVER = ex.ServerError(operation="x", status=503, details="")
UNREADABLE = ex.AnswerUnreadableError(operation="x", status=200, reason="empty")
FINAL = [
    ex.UploadRefusedError(status=400, code=100, details=""),
    ex.RequestRefusedError(operation="fetch", status=400, code=1, details=""),
    ex.KeyRefusedError(operation="fetch", details=""),
    ex.AccessRefusedError(operation="fetch", code=None, details=""),
    ex.MediaGoneError(media_id="1", operation="fetch", status=400, code=100, details=""),
    ex.MediaUrlExpiredError(status=404),
    ex.EndpointMissingError(operation="upload"),
    ex.CertificateError(origin="https://h", reason="expired"),
    ex.RedirectRefusedError(operation="x", status=308, origin="https://h", reason="r"),
]


def run(operation: str, *outcomes: object, stop: Waits | None = None) -> tuple[object, int, list[float]]:
    """The last outcome, how many attempts there were, and the waits between them."""
    waits, calls = stop or Waits(), iter(outcomes)
    made: list[object] = []

    def attempt() -> object:
        made.append(outcome := next(calls))
        return outcome

    return repeat(attempt, operation=operation, stop=waits, now=lambda: NOW), len(made), waits.seconds


@pytest.mark.parametrize("operation", FURTHER_ATTEMPTS)
@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_a_plain_refusal_is_never_sent_twice(operation: str, error: ex.Dialog360Error):
    """400, 401, 403, 404, TLS and redirects: one attempt, no wait."""
    assert run(operation, error, "never") == (error, 1, [])


@pytest.mark.parametrize(
    ("operation", "error", "attempts"),
    [
        ("upload", UNREACHABLE, 6), ("upload", CUT_OFF, 3), ("upload", SERVER, 5), ("upload", UNREADABLE, 3), ("upload", throttled(1), 6),
        ("fetch", UNREACHABLE, 6), ("fetch", CUT_OFF, 2), ("fetch", SERVER, 2), ("fetch", UNREADABLE, 2),
        ("download", UNREACHABLE, 6), ("download", CUT_OFF, 3), ("download", SERVER, 2),
        ("delete", UNREACHABLE, 6), ("delete", CUT_OFF, 4), ("delete", SERVER, 4), ("delete", throttled(1, "delete"), 4),
        ("health", UNREACHABLE, 2), ("health", SERVER, 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)  # fmt: skip
def test_a_fault_that_may_pass_is_repeated_within_its_bound(operation: str, error: ex.Dialog360Error, attempts: int):
    """For ever the same fault: the last one comes back as the outcome, after exactly so many attempts."""
    outcome, made, waits = run(operation, *[error] * 20)
    assert (outcome, made, len(waits)) == (error, attempts, attempts - 1)
    assert all(0 < wait <= 60 for wait in waits)


def test_success_ends_it():
    assert run("upload", SERVER, CUT_OFF, "id")[:2] == ("id", 3)


def test_mixed_faults_do_not_add_up():
    """The bound of a fault counts all attempts, so a flapping host is not asked dozens of times."""
    assert run("upload", UNREACHABLE, UNREACHABLE, CUT_OFF, "never")[1] == 3


@pytest.mark.parametrize(
    ("operation", "error", "attempts", "seconds"),
    [
        ("upload", throttled(0), 1, 2), ("upload", throttled(0), 2, 4), ("upload", throttled(0), 5, 32), ("upload", throttled(45), 1, 45),
        ("upload", throttled(61), 1, None), ("fetch", throttled(7), 1, 7), ("fetch", throttled(7), 2, None),
        ("fetch", throttled(3600), 1, None), ("download", throttled(3600), 1, None), ("delete", throttled(600), 1, None),
        ("upload", ex.ServerError(operation="upload", status=503, details="", retry_after_s=9.0), 1, 9),
        ("upload", ex.ServerError(operation="upload", status=503, details="", retry_after_s=900.0), 1, None),
        ("upload", UNREACHABLE, 1, 0),
    ],
)  # fmt: skip
def test_the_shortest_wait_is(operation: str, error: ex.Dialog360Error, attempts: int, seconds: float | None):
    """What the server says, if it is a minute at most; a longer wait is for the caller, who need not hold a slot meanwhile."""
    assert wait_s(operation, error, attempts, now=NOW) == seconds


def test_waits_are_not_shorter_than_the_server_asked_for():
    _, _, waits = run("upload", throttled(20), "id")
    assert waits[0] >= 20


def test_waits_differ_between_callers():
    """Jitter: many workers that failed together do not come back together."""
    assert len({run("upload", SERVER, "id")[2][0] for _ in range(20)}) > 10


def test_a_stop_ends_the_waiting_and_sends_nothing_more():
    stop = Waits()

    def attempt() -> ex.Dialog360Error:
        stop.set()
        return SERVER

    outcome = repeat(attempt, operation="upload", stop=stop, now=lambda: NOW)
    assert isinstance(outcome, ex.StoppedError)


def test_what_an_attempt_raises_is_not_swallowed():
    def attempt() -> str:
        raise ex.SourceUnreadableError(uri="x", reason="y")

    with pytest.raises(ex.SourceUnreadableError):
        repeat(attempt, operation="upload", stop=Waits(), now=lambda: NOW)
