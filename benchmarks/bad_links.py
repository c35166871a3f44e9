"""Bad links and wrong clocks: nothing doubled, pace and error budget held, and without the ledger nothing sent (P1 to P4).

Worker processes upload one campaign on two numbers, two or more for each, and archive what customers sent to them. Their clocks
are wrong, five minutes apart (`skewed`). Their PostgreSQL stands behind a link (`tests.support.proxy`) that, scene after scene,
cuts connections, adds 100 ms to each question, passes nothing for ten seconds, refuses everybody. In the end the books of the
ledger and of the emulator are compared: one current id for each file; what was stored besides is on record as surplus, or is
counted as ``orphan_possible``; at most 25 POSTs in any second; failed GETs within the budget; no request while the link passed
nothing, but for those whose turn or credit was on record before.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import campaign_tasks, skewed, support
from benchmarks.campaign import make_campaign
from benchmarks.inbound_days import delete, files_in, receive

MOST_REFUSED = 0.002
_CHANNELS = 2
_MOST_FAILED = 4  # GETs in an hour; more than five, and 360dialog blocks the number
_POSTS_PER_S = 25
_UNTRUSTED_S = 2.1  # for so long after a change a file's stamp is not trusted
_LEFT_BEFORE_S = 1.0  # what had its turn or its credit before, and how long it takes to arrive
_LAST_REQUESTS = 2000


def run(
    *,
    files: int = 3000,
    processes: int = 4,
    seconds: int = 300,
    received: int = 60,
    dead: int = 2,
    apart_s: int = 300,
    delay_s: float = 0.1,
    away_s: float = 10.0,
    service_s: float = 0.3,
    size_bytes: int = 20_000,
    archive_runs: int = 60,
    loaded: int = 0,
    library: int = 1,
) -> dict[str, Any]:
    """Upload and archive over a bad link, and compare the books.

    Args:
        files: of the campaign on each of the two numbers. processes: workers, an even number. seconds: for how long the link is
            bad; then it is good, and all come to their end.
        received, dead: files that customers sent to each number, and those of them that nobody can have.
        apart_s: how far the first worker's clock is behind the last one's. delay_s: that the link adds. away_s: of one stall.
        service_s: of a POST. size_bytes: of a file.
        archive_runs: of each worker at most, until nothing is pending.
        loaded: 1 on a machine that has other work: then more than 25 in a second is only told.
        library: 0 leaves libfaketime alone, whose workers take longer to start.
    """
    from tests.support.postgres import postgres
    from tests.support.proxy import proxy

    started = time.monotonic()
    with ExitStack() as stack:
        place = stack.enter_context(support.folder())
        with support.environment({"TMPDIR": str(place)}):
            emulated = stack.enter_context(support.emulator(numbers=_CHANNELS, service_s=service_s))
        emulated.ask("settings", {"profile": "strict", "posts_per_s": _POSTS_PER_S})
        server = stack.enter_context(postgres())
        link = stack.enter_context(proxy(server.port))
        stage = _Stage(place, emulated, server.new_database(), server.port, link.port)
        stage.prepare(files, received=received, dead=dead, size_bytes=size_bytes)
        stage.library = skewed.find_library() if library else None
        crew = stack.enter_context(
            _crew(stage, processes, apart_s=apart_s, archive_runs=archive_runs, within_s=3 * seconds + 300.0)
        )
        stage.wait_for_requests(within_s=120)
        weather = _Weather(link, emulated, delay_s=delay_s, away_s=away_s)
        weather.rage(seconds, while_=lambda: any(worker.poll() is None for worker in crew.workers))
        told = crew.told()
        figures = stage.compare(told) | weather.figures()
    kept = _kept(figures, files=files, processes=processes, loaded=bool(loaded))
    figures["not_kept"] = [promise for promise, is_kept in kept.items() if not is_kept]
    sizes = {"files": files, "processes": processes, "received": received, "dead": dead, "apart_s": apart_s, "delay_s": delay_s}
    return support.tell("bad_links", sizes | {"away_s": away_s} | figures, started=started, holds=not figures["not_kept"])


def _kept(figures: dict[str, Any], *, files: int, processes: int, loaded: bool) -> dict[str, bool]:
    """Promise -> whether it was kept."""
    channels = figures["channels"].values()
    refused_ok = all(each["refused_by_pace"] <= max(1, MOST_REFUSED * files) for each in channels)
    return {
        "no error": not figures["errors"],
        "every file has one current id, which lives": all(
            each["current_ids"] == each["files_with_one_current_id"] == each["current_ids_live"] == files for each in channels
        ),
        "nothing doubled that is not counted": all(each["orphans"] <= each["orphan_possible"] for each in channels),
        "not over the line": loaded or (refused_ok and all(each["most_in_a_second"] <= _POSTS_PER_S for each in channels)),
        "within the budget": all(
            each["most_failed_in_an_hour"] <= _MOST_FAILED
            and each["most_failed_and_in_flight"] <= _MOST_FAILED
            and not each["blocks"]
            for each in channels
        ),
        "archived once": all(each["archived_wrong"] == each["archived_twice"] == 0 and each["archived"] > 0 for each in channels),
        "nothing without the ledger": figures["left_while_away"] == 0,
        "the link was bad": figures["cuts"] > 0 and figures["stalls"] > 0 and figures["slow_s"] > 0,
        "the clocks were apart": processes < 2 or figures["clocks_apart_s"] > 1,
    }


@dataclass
class _Stage:
    """What is to be done, where it lies, and both books. ``library``: which makes clocks wrong; None: they are patched."""

    place: Path
    emulated: support.Emulator
    url: str
    port: int
    link_port: int
    library: Path | None = None
    paths: list[str] = field(default_factory=list)
    received: dict[str, set[str]] = field(default_factory=dict)  # number id -> media ids that customers sent
    live: dict[str, dict[str, str]] = field(default_factory=dict)  # number id -> media id -> sha256, without the dead

    @property
    def values(self) -> dict[str, str]:
        """What tells the workers of numbers and ledger; the ledger stands behind the link."""
        behind = self.url.replace(f":{self.port}/", f":{self.link_port}/")
        return support.airflow_environment(self.emulated, behind)

    def prepare(self, files: int, *, received: int, dead: int, size_bytes: int) -> None:
        """Files, the plan, and what customers have sent."""
        shared = make_campaign(self.place / "files", files, channels=1, size_bytes=size_bytes)
        rows = [json.loads(line) for line in shared.read_text().splitlines()]
        self.paths = [str(shared.parent / row["uri"]) for row in rows]
        manifest = shared.with_name("of-all.jsonl")
        conn_ids = [number.conn_id for number in self.emulated.numbers]
        manifest.write_text("".join(json.dumps(row | {"channel": conn_id}) + "\n" for conn_id in conn_ids for row in rows))
        time.sleep(_UNTRUSTED_S)
        self._plan(manifest, conn_ids)
        for number in self.emulated.numbers:
            self._land(number, received, dead)

    def _plan(self, manifest: Path, conn_ids: list[str]) -> None:
        """Over the good link: who plans where many come first is shown by `campaign`."""
        context, facts = support.workers(), SimpleNamespace(dag_id="p", run_id="p", task_id="plan", map_index=-1, try_number=1)
        answers = context.Queue()
        values = support.airflow_environment(self.emulated, self.url)
        arguments = {"conn_ids": conn_ids, "max_reject_ratio": 0.0}
        process = context.Process(
            target=campaign_tasks.plan, args=(values, facts, str(manifest), answers), kwargs=arguments, daemon=True
        )
        process.start()
        told = support.answers_of(answers, 1, within_s=600)[0]
        process.join(10)
        if told["error"]:
            raise RuntimeError(told["error"])

    def _land(self, number: support.Number, received: int, dead: int) -> None:
        noise, found, lines = random.Random(number.number_id), {}, []
        for index in range(received):
            content = support.PNG + noise.randbytes(2000)
            media_id, webhook = receive(self.emulated, number, content, with_url=index % 2 == 0)
            lines.append(json.dumps(webhook))
            found[media_id] = hashlib.sha256(content).hexdigest()
        self.received[number.number_id] = set(found)
        for media_id in noise.sample(sorted(found), dead):
            delete(self.emulated, number, media_id)
            del found[media_id]
        self.live[number.number_id] = found
        folder = self.place / "webhooks" / number.number_id
        folder.mkdir(parents=True)
        (folder / "all.jsonl").write_text("\n".join(lines) + "\n")

    def wait_for_requests(self, *, within_s: float) -> None:
        """Until the work has begun: how long processes take to start says nothing."""
        ends_at = time.monotonic() + within_s
        while not self.emulated.requests("upload"):
            if time.monotonic() > ends_at:
                raise TimeoutError(f"nobody uploaded anything within {within_s:.0f} s")
            time.sleep(0.1)

    def compare(self, told: list[dict[str, Any]]) -> dict[str, Any]:
        """Figures of both books."""
        clocks = [each["wrong_by_s"] for each in told]
        return {
            "channels": {number.conn_id: self._books(number) for number in self.emulated.numbers},
            "clocks": "libfaketime" if self.library else "patched",
            "clocks_apart_s": round(max(clocks) - min(clocks), 1),
            "said_unavailable": sum(each["unavailable"] for each in told),
            "waits": sum(each["waits"] for each in told),
            "archive_runs": [each["runs"] for each in told],
            "pending": [each["pending"] for each in told],
            "errors": [error for each in told for error in each["errors"]][:3],
        }

    def _books(self, number: support.Number) -> dict[str, Any]:
        counters = self.emulated.ask(f"counters?number={number.number_id}")["numbers"][number.number_id]
        live = self.live[number.number_id]
        archived: dict[str, list[str]] = {}
        for path in files_in(self.place / "archive" / number.number_id):
            archived.setdefault(path.name.partition("-")[0], []).append(_sha256(path))
        return {
            **self._on_record(number),
            "posts": counters["requests"].get("upload", 0),
            "stored": sum(counters["uploads_by_sha256"].values()),
            "refused_by_pace": counters["refused_by_pace"],
            "most_in_a_second": counters["max_posts_per_s"],
            "gets": counters["requests"].get("fetch", 0),
            "most_failed_in_an_hour": counters["max_failed_gets_per_hour"],
            "most_failed_and_in_flight": counters["max_failed_plus_in_flight_gets"],
            "blocks": counters["blocks"],
            "failed_gets": counters["failed_gets"],
            "archived": len(archived),
            "archived_wrong": sum(live.get(media_id) != copies[0] for media_id, copies in archived.items()),
            "archived_twice": sum(len(copies) - 1 for copies in archived.values()),
        }

    def _on_record(self, number: support.Number) -> dict[str, Any]:
        """What the ledger says of a number's uploads; orphans: ids that live at the emulator and of which it knows nothing."""
        import sqlalchemy as sa

        from airflow_provider_360dialog.ledger import schema
        from airflow_provider_360dialog.ledger.store import Store

        media, files, channel = schema.media, schema.fingerprint, schema.channel
        is_ours = channel.c.phone_number_id == number.number_id
        ids = sa.select(files.c.sha256, media.c.media_id, media.c.state, (media.c.id == files.c.media_row).label("answers"))
        ids = ids.join_from(media, files, media.c.fingerprint_id == files.c.id).join(channel, channel.c.id == files.c.channel_id)
        unsure = sa.select(sa.func.sum(files.c.orphan_possible + files.c.sending)).join_from(files, channel).where(is_ours)
        with Store(self.url).open_existing().read() as db:
            rows, possible = db.execute(ids.where(is_ours)).all(), int(db.scalar(unsure) or 0)
            held = int(db.scalar(sa.select(sa.func.count()).select_from(schema.credit).join(channel).where(is_ours)) or 0)
        current = Counter(row.sha256 for row in rows if row.state == schema.CURRENT and row.answers)
        lives = self.emulated.live_ids(number.number_id) - self.received[number.number_id]
        return {
            "current_ids": sum(row.state == schema.CURRENT for row in rows),
            "files_with_one_current_id": sum(current[_sha256(Path(path))] == 1 for path in self.paths),
            "current_ids_live": sum(row.media_id in lives for row in rows if row.state == schema.CURRENT),
            "surplus": sum(row.state != schema.CURRENT for row in rows),
            "orphans": len(lives - {row.media_id for row in rows}),
            "orphan_possible": possible,
            "credits_spent_or_held": held,
        }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Crew:
    """The workers."""

    def __init__(self, workers: list[subprocess.Popen[str]], logs: list[Path], within_s: float) -> None:
        self.workers, self._logs, self._within_s = workers, logs, within_s

    def told(self) -> list[dict[str, Any]]:
        """What each has to tell at its end."""
        ends_at, found = time.monotonic() + self._within_s, []
        for index, worker in enumerate(self.workers):
            worker.wait(max(1.0, ends_at - time.monotonic()))
            assert worker.stdout is not None
            line = worker.stdout.read().strip()
            if not line:
                words = self._logs[index].read_text(errors="replace")[-3000:]
                raise RuntimeError(f"worker {index} ended with {worker.returncode} and said nothing:\n{words}")
            found.append(json.loads(line))
        return found


@contextmanager
def _crew(stage: _Stage, processes: int, *, apart_s: int, archive_runs: int, within_s: float) -> Iterator[_Crew]:
    workers: list[subprocess.Popen[str]] = []
    logs: list[Path] = []
    try:
        for index in range(processes):
            number = stage.emulated.numbers[index % _CHANNELS]
            orders = {
                "values": stage.values,
                "conn_id": number.conn_id,
                "name": f"run-{index}",
                "webhooks": str(stage.place / "webhooks" / number.number_id),
                "archive": str(stage.place / "archive"),
                "archive_runs": archive_runs,
                "within_s": within_s,
            }
            ahead_s = apart_s * (index / max(1, processes - 1) - 0.5)
            logs.append(stage.place / f"worker-{index}.log")
            workers.append(skewed.start(orders, ahead_s=ahead_s, log=logs[-1], library=stage.library))
        yield _Crew(workers, logs, within_s)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait(10)
            if worker.stdout is not None:
                worker.stdout.close()


class _Weather:
    """What the link does, scene after scene."""

    def __init__(self, link: Any, emulated: support.Emulator, *, delay_s: float, away_s: float) -> None:
        self._link, self._emulated, self._delay_s, self._away_s = link, emulated, delay_s, away_s
        self._chance = random.Random(360)
        self._stalls = self._left_while_away = 0
        self._slow_s, self._latest_s = 0.0, 0.0
        self._arrived_while_away = 0

    def rage(self, seconds: float, *, while_: Callable[[], bool]) -> None:
        """Until so many seconds are over, or nobody is at work any more."""
        ends_at = time.monotonic() + seconds
        scenes = [self._cuts, self._slow, self._stall, self._cuts, self._refusal]
        for scene in _again_and_again(scenes):
            if time.monotonic() > ends_at or not while_():
                break
            scene(min(self._away_s, seconds / len(scenes)))
        self._link.delay_s = 0.0
        self._link.go_on()

    def figures(self) -> dict[str, Any]:
        return {
            "cuts": self._link.cuts,
            "stalls": self._stalls,
            "slow_s": round(self._slow_s, 1),
            "arrived_while_away": self._arrived_while_away,
            "last_of_them_s": round(self._latest_s, 3),
            "left_while_away": self._left_while_away,
        }

    def _cuts(self, for_s: float) -> None:
        ends_at = time.monotonic() + for_s
        while time.monotonic() < ends_at:
            time.sleep(self._chance.uniform(0.05, 0.6))
            self._link.cut(self._chance.choice((1, 1, 2, None)))

    def _slow(self, for_s: float) -> None:
        self._link.delay_s = self._delay_s
        time.sleep(for_s)
        self._link.delay_s = 0.0
        self._slow_s += for_s

    def _stall(self, for_s: float) -> None:
        self._link.stall()
        self._away(for_s)

    def _refusal(self, for_s: float) -> None:
        self._link.refuse()
        self._away(for_s)

    def _away(self, for_s: float) -> None:
        """The link passes nothing: which requests come all the same?"""
        began = time.monotonic()
        time.sleep(for_s)
        ended = time.monotonic()
        self._link.go_on()
        came = [each["arrived_s"] - began for each in self._emulated.ask(f"requests?last={_LAST_REQUESTS}")]
        late = [at_s for at_s in came if 0 < at_s < ended - began]
        self._stalls += 1
        self._arrived_while_away += len(late)
        self._latest_s = max([self._latest_s, *late])
        self._left_while_away += sum(at_s > _LEFT_BEFORE_S for at_s in late)
        time.sleep(min(for_s, 3.0))


def _again_and_again(scenes: list[Callable[[float], None]]) -> Iterator[Callable[[float], None]]:
    while True:
        yield from scenes


if __name__ == "__main__":
    support.main(run)
