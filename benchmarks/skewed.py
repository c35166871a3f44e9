"""A worker of `bad_links`, whose clock is wrong: uploads a campaign on one number and archives what customers sent to it.

Started as a process of its own, because a clock is wrong from a process's beginning on: by libfaketime where it is installed
(Debian: faketime), else by other clocks in the places where the provider reads the time. What it is told comes as JSON on its
standard input; what it has to tell goes as one line of JSON to its standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from benchmarks import campaign_tasks, support

_LIBRARY = "faketime/libfaketimeMT.so.1"
_NEXT_TRY_S = 0.3
_MOST_TRIES = 400
_NEXT_RUN_S = 5.0


def start(orders: dict[str, Any], *, ahead_s: float, log: Path, library: Path | None) -> subprocess.Popen[str]:
    """A worker whose clock is ``ahead_s`` wrong. ``orders``: see `_work`; ``log``: a file for what it says besides."""
    values = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")} | orders["values"]
    if library is not None:
        values |= {"LD_PRELOAD": str(library), "FAKETIME": f"{ahead_s:+.0f}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    ours = {"patched_s": 0.0 if library is not None else ahead_s, "monotonic_at_0_s": time.monotonic() - time.time()}
    with log.open("w") as file:
        worker = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.skewed"],
            cwd=support.CHECKOUT,
            env=values,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(orders | ours))
    worker.stdin.close()
    return worker


def find_library() -> Path | None:
    """Where libfaketime is on this machine; None where it is not."""
    return next(iter(sorted(Path("/usr/lib").glob(f"*/{_LIBRARY}"))), None)


def _patch(ahead_s: float) -> None:
    """Other clocks where the provider reads the time."""
    from airflow_provider_360dialog.api import client
    from airflow_provider_360dialog.hooks import places

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=ahead_s)

    client.datetime = Ahead  # type: ignore[misc,attr-defined,unused-ignore]
    places.time = SimpleNamespace(time=lambda: time.time() + ahead_s)  # type: ignore[assignment,unused-ignore]


def _wrong_by_s(monotonic_at_0_s: float) -> float:
    """By how much the clock that the provider reads is ahead of the one that the worker's parent reads."""
    from airflow_provider_360dialog.api.client import utc_now

    return utc_now().timestamp() - (time.monotonic() - monotonic_at_0_s)


def _work(orders: dict[str, Any]) -> dict[str, Any]:
    """Try after try, as Airflow would; ``conn_id``, ``name``, ``webhooks``, ``archive``, ``archive_runs``, ``within_s``."""
    from airflow.sdk.execution_time.context import set_current_context

    from airflow_provider_360dialog.exceptions import LedgerUnavailableError, WaitError
    from airflow_provider_360dialog.hooks.campaigns import Campaigns
    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

    told: dict[str, Any] = {
        "wrong_by_s": _wrong_by_s(orders["monotonic_at_0_s"]),
        "uploads": 0,
        "archived": 0,
        "unavailable": 0,
        "waits": 0,
        "errors": [],
    }
    ends_at = time.monotonic() + orders["within_s"]

    def in_tries(task_id: str, act: Any) -> Any:
        for try_number in range(1, _MOST_TRIES):
            facts = SimpleNamespace(dag_id="proof", run_id=orders["name"], task_id=task_id, map_index=-1, try_number=try_number)
            try:
                with set_current_context({"ti": facts}):  # type: ignore[arg-type,typeddict-item,unused-ignore]
                    return act(Dialog360Hook(orders["conn_id"]))
            except LedgerUnavailableError:
                told["unavailable"] += 1
            except WaitError:
                told["waits"] += 1
                return None  # the budget is used up; an hour is too long for this proof
            except Exception as error:  # noqa: BLE001 - told to the parent
                told["errors"].append(f"{task_id}: {type(error).__name__}: {error}"[:300])
                return None
            if time.monotonic() > ends_at:
                break
            time.sleep(_NEXT_TRY_S)
        told["errors"].append(f"{task_id}: not within {orders['within_s']:.0f} s")
        return None

    def archive() -> None:
        for run in range(orders["archive_runs"]):
            found = in_tries(f"archive-{run}", lambda hook: hook.archive_inbound(orders["webhooks"], orders["archive"]))
            told["runs"], told["pending"] = run + 1, found["counts"]["pending"] if found else None
            if not told["pending"] or time.monotonic() > ends_at:
                return
            time.sleep(_NEXT_RUN_S)

    import threading

    other = threading.Thread(target=archive)
    other.start()
    done = in_tries("upload", lambda hook: Campaigns().upload(campaign_tasks.CAMPAIGN, hook))
    told["uploads"] = done["uploads"] if done else 0
    other.join()
    return told


def _main() -> None:
    orders = json.load(sys.stdin)
    answers = os.dup(1)
    os.dup2(2, 1)  # Airflow logs to stdout
    import benchmarks.warm  # noqa: F401

    if orders["patched_s"]:
        _patch(orders["patched_s"])
    os.write(answers, json.dumps(_work(orders)).encode() + b"\n")


if __name__ == "__main__":
    _main()
