"""Many channels on few cores: the total rate that a ledger on PostgreSQL holds, what limits it, and what one upload costs.

One campaign on all channels. Worker processes, as many as a fleet has slots, upload it channel by channel by the call of the
operator (`hooks.campaigns`), as mapped tasks would, without Airflow around them: claim, turn, POST, complete. The workers and
PostgreSQL share ``cores``; a server that answers and checks nothing (`answering`) has the other ones. Once all are under way,
figures are taken over ``seconds``: the rate, CPU of workers, PostgreSQL and server, rows, WAL and transactions for each upload.
By the arrival times at the server, no file may come twice, nor a channel get more than 25 in any second, but for 0.2 % of the
seconds: everything here shares few cores, so that an upload may leave late.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import campaign_tasks, support
from benchmarks.answering import Answering, answering
from benchmarks.campaign import make_campaign

AT_LEAST_PER_S = 150.0
MOST_OVER = 0.002
_POSTS_PER_S = 25
_SLOT_S = 10.0
_CAMPAIGN = campaign_tasks.CAMPAIGN
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def run(
    *,
    channels: int = 200,
    processes: int = 16,
    channels_each: int = 1,
    seconds: int = 300,
    cores: int = 2,
    files: int = 600,
    size_bytes: int = 50_000,
    service_s: float = 0.3,
    warm_s: float = 15.0,
    at_least_per_s: float = AT_LEAST_PER_S,
) -> dict[str, Any]:
    """Upload for a while, and count.

    Args:
        channels: that the campaign is for. processes: workers. channels_each: that one serves at once; a Celery slot has one.
        seconds: over which the figures are taken. cores: for workers and PostgreSQL together; 0 for all, shared with the server.
        files: of the campaign on each channel; too few, and the work is over early. size_bytes: of a file.
        service_s: of a POST. warm_s: after the first upload, until figures are taken.
        at_least_per_s: the total rate that must be held; 0 on a machine that has other work.
    """
    from tests.support.postgres import postgres

    started = time.monotonic()
    ours, others = _shares(cores)
    with ExitStack() as stack:
        home = stack.enter_context(support.folder())
        with _on(others):
            server = stack.enter_context(answering(numbers=channels, service_s=service_s))
        stack.enter_context(_on(ours))
        database = stack.enter_context(postgres())
        url, manifest = database.new_database(), _make_campaign(home, server.emulated, files, size_bytes)
        values = support.airflow_environment(server.emulated, url)
        plan_s = _plan(values, str(manifest), server.emulated)
        crew = _Crew(values, [number.conn_id for number in server.emulated.numbers], processes, channels_each)
        look = _Look(database, url, server, crew, ours)
        try:
            crew.start()
            _wait_for_uploads(server, within_s=120)
            time.sleep(warm_s)
            before = look.now()
            time.sleep(seconds)
            after = look.now()
            told = crew.end()
        finally:
            crew.kill()
        arrivals = server.arrivals()
    figures = {"plan_s": plan_s} | _figures(before, after, arrivals, len(ours))
    figures |= {
        "uploaded_twice": sum(count - 1 for each in arrivals for count in Counter(name for _, name in each).values()),
        **_over_the_line([[at for at, _ in each] for each in arrivals]),
        "tasks": sum(each["tasks"] for each in told),
        "channels_served": sum(bool(each) for each in arrivals),
        "ran_dry": any(each["ran_dry"] for each in told),
        "errors": [error for each in told for error in each["errors"]][:3],
    }
    holds = (
        figures["per_s"] >= at_least_per_s
        and not figures["errors"]
        and not figures["ran_dry"]
        and not figures["uploaded_twice"]
        and figures["seconds_over_the_line"] <= MOST_OVER
    )
    sizes = {"channels": channels, "processes": processes, "channels_each": channels_each, "cores": cores, "measured_s": seconds}
    sizes |= {"size_bytes": size_bytes, "service_s": service_s}
    return support.tell("channels", sizes | figures, started=started, holds=holds)


def _shares(cores: int) -> tuple[set[int], set[int]]:
    """Which of the machine's cores are for workers and PostgreSQL, and which for the server."""
    all_of_them = sorted(os.sched_getaffinity(0))
    if not cores or cores >= len(all_of_them):
        return set(all_of_them), set(all_of_them)
    return set(all_of_them[:cores]), set(all_of_them[cores:])


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """What is started inside runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _make_campaign(home: Path, emulated: support.Emulator, files: int, size_bytes: int) -> Path:
    """Every file is wanted on every channel; there it is another upload each."""
    shared = make_campaign(home / "files", files, channels=1, size_bytes=size_bytes)
    rows = [json.loads(line) for line in shared.read_text().splitlines()]
    manifest = shared.with_name("of-all.jsonl")
    with manifest.open("w") as lines:
        lines.writelines(json.dumps(row | {"channel": number.conn_id}) + "\n" for number in emulated.numbers for row in rows)
    time.sleep(2.1)  # for so long after a change a file's stamp is not trusted, and the file would be read again
    return manifest


def _plan(values: dict[str, str], manifest: str, emulated: support.Emulator) -> float:
    """Seconds that the plan took."""
    context, facts = support.workers(), SimpleNamespace(dag_id="proof", run_id="run", task_id="plan", map_index=-1, try_number=1)
    answers = context.Queue()
    arguments = {"conn_ids": [number.conn_id for number in emulated.numbers], "max_reject_ratio": 0.0}
    process = context.Process(target=campaign_tasks.plan, args=(values, facts, manifest, answers), kwargs=arguments, daemon=True)
    process.start()
    told = support.answers_of(answers, 1, within_s=1800)[0]
    process.join(10)
    if told["error"]:
        raise RuntimeError(told["error"])
    return float(told["seconds"])


def _wait_for_uploads(server: Answering, *, within_s: float) -> None:
    ends_at = time.monotonic() + within_s
    while not any(server.arrivals()):
        if time.monotonic() > ends_at:
            raise TimeoutError(f"nobody uploaded anything within {within_s:.0f} s")
        time.sleep(0.5)


# --- who uploads --------------------------------------------------------------------------------------------------


class _Crew:
    """The worker processes; channel after channel, until they are told to end."""

    def __init__(self, values: dict[str, str], conn_ids: list[str], processes: int, channels_each: int) -> None:
        context = support.workers()
        self._results, self._over, self._taken = context.Queue(), context.Event(), context.Value("i", 0)
        arguments = (values, conn_ids, channels_each, self._taken, self._over, self._results)
        self._processes = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(processes)]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes if process.pid is not None]

    def start(self) -> None:
        for process in self._processes:
            process.start()

    def end(self) -> list[dict[str, Any]]:
        """What each has to tell: tasks, errors, and whether it found nothing to do."""
        self._over.set()
        told: list[dict[str, Any]] = support.answers_of(self._results, len(self._processes), within_s=60)
        for process in self._processes:
            process.join(10)
        return told

    def kill(self) -> None:
        for process in self._processes:
            if process.is_alive():
                process.kill()
                process.join(10)


def _work(values: dict[str, str], conn_ids: list[str], channels_each: int, taken: Any, over: Any, results: Any) -> None:
    """In a process of its own: the next channel's task, until there is none or it is over."""
    import threading

    os.environ.update(values)
    import airflow_provider_360dialog.hooks.campaigns  # noqa: F401

    told: dict[str, Any] = {"tasks": 0, "errors": [], "ran_dry": False}
    hooks: set[Any] = set()

    def serve() -> None:
        from airflow_provider_360dialog.exceptions import StoppedError
        from airflow_provider_360dialog.hooks.campaigns import Campaigns
        from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

        while not over.is_set():
            with taken.get_lock():
                index = taken.value
                taken.value += 1
            if index >= len(conn_ids):
                told["ran_dry"] = not over.is_set()
                return
            hook = Dialog360Hook(conn_ids[index])
            hooks.add(hook)
            try:
                Campaigns().upload(_CAMPAIGN, hook)
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - told to the parent
                told["errors"].append(f"{type(error).__name__}: {error}"[:300])
            told["tasks"] += 1
            hooks.discard(hook)

    threads = [threading.Thread(target=serve) for _ in range(channels_each)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not over.wait(0.5):
        pass
    for hook in list(hooks):
        hook.stop()
    for thread in threads:
        thread.join(30)
    results.put(told)


# --- what it costs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """Everything that grows, at one instant."""

    at: float
    cpu_s: dict[str, float]
    idle_s: float
    database: dict[str, float]
    load: float


class _Look:
    """Reads what grows."""

    def __init__(self, database: Any, url: str, server: Answering, crew: _Crew, ours: set[int]) -> None:
        self._database, self._url, self._server, self._crew, self._ours = database, url, server, crew, ours

    def now(self) -> _Seen:
        cpu_s = {
            "workers": sum(_cpu_s(pid) for pid in self._crew.pids),
            "postgresql": _cpu_s_of_all(self._database.pid),
            "server": _cpu_s(self._server.pid),
        }
        return _Seen(time.monotonic(), cpu_s, _idle_s(self._ours), self._counts(), os.getloadavg()[0])

    def _counts(self) -> dict[str, float]:
        name = self._url.rpartition("/")[2]
        row = self._database.execute(
            "SELECT d.xact_commit + d.xact_rollback, d.tup_inserted + d.tup_updated + d.tup_deleted, w.wal_bytes, w.wal_records, "
            f"w.wal_sync, d.sessions FROM pg_stat_database d, pg_stat_wal w WHERE d.datname = '{name}'"
        )[0]
        return dict(
            zip(("transactions", "rows", "wal_bytes", "wal_records", "wal_syncs", "connects"), map(float, row), strict=True)
        )


def _cpu_s(pid: int, *, with_ended: bool = False) -> float:
    """CPU seconds of a process; with those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return sum(map(int, fields[11 : 15 if with_ended else 13])) / _TICKS_PER_S


def _cpu_s_of_all(pid: int) -> float:
    """Of a PostgreSQL server: itself and all its backends, those that have ended too."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _cpu_s(pid, with_ended=True) + sum(_cpu_s(int(child)) for child in children)


def _idle_s(cores: set[int]) -> float:
    """How long these cores had nothing to do, or only a disk to wait for."""
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    idle = {line[0]: int(line[4]) + int(line[5]) for line in lines if line[0].startswith("cpu")}
    return sum(idle[f"cpu{core}"] for core in cores) / _TICKS_PER_S


def _figures(before: _Seen, after: _Seen, arrivals: list[list[tuple[float, str]]], cores: int) -> dict[str, Any]:
    lasted_s = after.at - before.at
    instants = sorted(at for each in arrivals for at, _ in each if before.at <= at < after.at)
    slots = Counter(int((at - before.at) // _SLOT_S) for at in instants)
    whole = [slots[slot] / _SLOT_S for slot in range(int(lasted_s // _SLOT_S))]
    uploads = max(1, len(instants))
    cpu_s = {name: after.cpu_s[name] - before.cpu_s[name] for name in after.cpu_s}
    return {
        "uploads": len(instants),
        "per_s": round(len(instants) / lasted_s, 1),
        "per_s_in_10_s": {"lowest": min(whole, default=0.0), "median": statistics.median(whole) if whole else 0.0},
        "each_costs": {
            **{f"{name}_cpu_ms": round(1000 * spent / uploads, 2) for name, spent in cpu_s.items()},
            **{name: round((after.database[name] - before.database[name]) / uploads, 3) for name in after.database},
        },
        "cores_used": {name: round(spent / lasted_s, 2) for name, spent in cpu_s.items()},
        "idle_share": round((after.idle_s - before.idle_s) / lasted_s / cores, 3),
        "load": [before.load, after.load],
    }


def _over_the_line(arrivals: list[list[float]]) -> dict[str, float]:
    """Of all channels: the most in any second, and which share of the seconds that end with an arrival holds more than 25."""
    counts: list[int] = []
    for instants in map(sorted, arrivals):
        oldest = 0
        for newest, at in enumerate(instants):
            while at - instants[oldest] >= 1:
                oldest += 1
            counts.append(newest - oldest + 1)
    over = sum(count > _POSTS_PER_S for count in counts)
    return {"most_in_a_second": max(counts, default=0), "seconds_over_the_line": round(over / max(1, len(counts)), 5)}


if __name__ == "__main__":
    support.main(run)
