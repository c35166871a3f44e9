"""How a fleet's run comes to its end: nothing is killed any more, what is left is done, and hours pass for what has to wait."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.fleet import books
from benchmarks.fleet.stage import HOUR_S, Stage

if TYPE_CHECKING:
    from benchmarks.fleet.load import Load, Run

_MOST_HOURS = 4


@dataclass(frozen=True)
class Finished:
    """How it ended.

    Attributes:
        left: runs that have not ended in time. again: runs that had failed and were started again. hours: that were moved on.
        calls_for_nothing: uploads of a campaign's run that had nothing left to do.
    """

    left: list[str]
    again: list[str]
    hours: int
    calls_for_nothing: int
    seconds: float


def finish(stage: Stage, load: Load) -> Finished:
    """Nothing is killed any more: let everything come to its end."""
    began = time.monotonic()
    if load.fault is not None:
        raise load.fault
    within_s = 240 + load.load_s
    left = load.wait(within_s=within_s, but=frozenset({"fleet_inbound"}))
    if left:
        return Finished([run.run_id for run in left], [], 0, 0, round(time.monotonic() - began, 1))
    again = [run for run in load.runs if run.state == "failed"]
    for each in again:  # as a person would
        load.start_run(each.dag_id, f"{each.run_id}-again", **each.conf)
    load.start_run("fleet_cleanup", "cleanup-last", folder=str(stage.place / "cleanup" / "last"))
    left += load.wait(within_s=within_s, but=frozenset({"fleet_inbound"}))
    posts = stage.host.asked.requests("upload")
    first = load.shop.waves[0]
    load.start_run("fleet_campaign", "nothing-to-do", **load.conf_of(first))
    hours = _bring_the_rest(stage, load)
    left += load.wait(within_s=120, but=frozenset({"fleet_inbound"}))
    return Finished(
        left=sorted({run.run_id for run in left if run.state not in {"success", "failed"}}),
        again=[run.run_id for run in again],
        hours=hours,
        calls_for_nothing=stage.host.asked.requests("upload") - posts,
        seconds=round(time.monotonic() - began, 1),
    )


def _bring_the_rest(stage: Stage, load: Load) -> int:
    """Let hours pass until everything that customers sent is archived or lost; how many."""
    for hour in range(_MOST_HOURS):
        _until_they_wait(load, [each for each in load.runs if each.dag_id == "fleet_inbound"])
        states = books.inbound_states(stage.store())
        is_known = len(states) >= len(stage.inbox.sha256_of) + len(stage.inbox.dead)
        if is_known and not any(state == "pending" for state in states.values()):
            return hour
        _an_hour_passes(stage)
        conf = {"webhooks": str(stage.inbox.webhooks), "archive": str(stage.inbox.archive)}
        _until_they_wait(load, [load.start_run("fleet_inbound", f"inbound-hour-{hour + 1}", **conf)])
    return _MOST_HOURS


def _until_they_wait(load: Load, runs: list[Run], *, within_s: float = 120) -> None:
    """Until each run has ended, or all of its tasks that have not wait without a slot."""
    ends_at = time.monotonic() + within_s
    while time.monotonic() < ends_at:
        load.look()
        if all(_waits(load, each) for each in runs if each.state not in {"success", "failed"}):
            return
        time.sleep(1)


def _waits(load: Load, run_: Run) -> bool:
    states = {each["state"] for each in load.fleet.tasks(run_.dag_id, run_.run_id)}
    return "deferred" in states and states <= {"deferred", "success", "failed", "skipped"}


def _an_hour_passes(stage: Stage) -> None:
    """For credits, blocks and what rests in the ledger, and for the emulator's clock."""
    hour = int(HOUR_S)
    for table, columns in {
        "d360_credit": ("spent_at", "deadline"),
        "d360_retrieval": ("closed_until",),
        "d360_inbound": ("again_at", "url_until", "received_at"),
        "d360_inbound_batch": ("suspect_since", "asked_at"),
    }.items():
        stage.ledger.execute(f"UPDATE {table} SET {', '.join(f'{each} = {each} - {hour}' for each in columns)}", stage.ledger_url)
    stage.host.asked.ask("clock", {"advance_s": HOUR_S})
