"""0 lost, 0 doubled, 0 blocked, whatever dies (all promises): a whole fleet on CeleryExecutor, PostgreSQL and Redis.

Two Celery workers of four processes, scheduler, triggerer, API server and DAG processor run the installed wheel; Airflow's
database and the ledger are PostgreSQL servers of their own; the emulator keeps strict limits. Campaigns on six numbers, each by
several runs at once, renewals, the archive of received files and clean-ups with approval run beside each other, while tasks,
workers, triggerer, scheduler and the ledger's server are killed. Then the books are compared: see `books` and `verdict`. What
waits for a spent error budget is let go on by moving the ledger's instants and the emulator's clock by an hour.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import support
from benchmarks.fleet import airflow, report
from benchmarks.fleet.chaos import Chaos
from benchmarks.fleet.ending import finish
from benchmarks.fleet.load import Load, Sizes
from benchmarks.fleet.services import adopt_orphans
from benchmarks.fleet.stage import staged
from benchmarks.fleet.verdict import judge

_MOST_ENDED = 20  # campaigns of the past that end while the fleet works


def run(
    *,
    minutes: float = 15.0,
    channels: int = 6,
    files: int = 400,
    runs_at_once: int = 3,
    inbound: int = 20,
    large_mb: int = 24,
    gap_s: float = 20.0,
    away_s: float = 10.0,
    wave_s: float = 60.0,
    service_s: float = 0.15,
    refused: float = 0.002,
    seed: int = 360,
    report_to: str = "",
    keep_in: str = "",
) -> dict[str, Any]:
    """Work, kill, and look at the books.

    Args:
        minutes: of load. channels: numbers. files: of one campaign on each number; a new one begins when the last is done.
        runs_at_once: DAG runs of each campaign. inbound: received files of a number and wave. large_mb: of one file.
        gap_s: between two kills, about. away_s: how long the ledger's server is away. wave_s: then a new wave may begin.
        service_s: that the emulator takes for an upload. seed: of files, victims and moments. report_to: a file, for the report.
        keep_in: a folder, for the logs and tables of the run.
        refused: the share of a number's uploads that may be refused as too many, which is what the scheduling of a loaded machine
            does to arrivals; one is no share.
    """
    started = time.monotonic()
    waves = min(_MOST_ENDED, max(1, math.ceil(minutes * 60 / wave_s)))
    sizes = Sizes(files, runs_at_once, max(8, files // 10), inbound, large_mb * 10**6, wave_s)
    airflow.set_up()
    adopt_orphans()
    with ExitStack() as stack:
        stack.enter_context(_interruptible())
        stage = stack.enter_context(staged(sizes, channels=channels, waves=waves, service_s=service_s, seed=seed))
        if keep_in:
            stack.callback(stage.keep, Path(keep_in))
        up_after_s = time.monotonic() - started
        load = Load(stage.fleet, stage.shop, stage.inbox, sizes, minutes * 60, _dead(channels))
        chaos = Chaos(stage.fleet, stage.ledger, stage.ask_metadata, gap_s=gap_s, away_s=away_s, seed=seed)
        load.start()
        chaos.run(load.is_over.is_set, longest_s=minutes * 60 + 240 + 6 * gap_s)
        load.stopped.set()
        load.join(120)
        load_s = time.monotonic() - started - up_after_s
        finished = finish(stage, load)
        figures, kept, wrong = judge(stage, load, chaos, finished, refused=refused)
    sizes_told = {"minutes": minutes, "channels": channels, "files": files, "seed": seed, "up_after_s": round(up_after_s, 1)}
    figures = sizes_told | {"load_s": round(load_s, 1), "kills": chaos.counts, "waves": len(load.shop.waves)} | figures
    not_kept = [promise for promise, is_kept in kept.items() if not is_kept]
    words = report.in_words(figures, kept, chaos.events, wrong)
    print(words, file=sys.stderr)
    report.write(report_to, words)
    return support.tell("fleet", figures | {"not_kept": not_kept}, started=started, holds=not not_kept)


def _dead(channels: int) -> list[list[int]]:
    """How many received files of each number nobody has, by waves: the first number's are more than its budget allows at once."""
    return [[5, *[1] * (channels - 1)], *[[2] * min(2, channels) + [0] * (channels - 2)] * 2]


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the proof as SIGINT does: by way of every `finally`."""

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(130)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
