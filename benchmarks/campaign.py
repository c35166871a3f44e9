"""A campaign of 12,000 PDFs over three channels: at the line, once, and nothing twice (P2 to P5, P9; US-1, US-6, US-7, US-10).

Per engine three scenes, each on a ledger and an emulator of its own (25 POSTs in any second and number, 0.3 s for each). One
process plans; one process for each channel uploads, as mapped tasks would, by the calls of the operators (`hooks.campaigns`),
without Airflow around them.

* ``pace``: how long, how many refused, how much memory and XCom; then all of it again, which must read no file and ask 360dialog
  nothing.
* ``rivals``: 500 of the files are HTML pages named .pdf; at 60 % a second run of the same campaign comes along.
* ``killed``: one channel's process is killed at half (SIGKILL) and started again as the same task's next try.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import campaign_tasks as tasks_of
from benchmarks import support

LINE_PER_S = 24.5
LONGEST, MOST_REFUSED = 1.1, 0.002
XCOM_MAX_BYTES, MEMORY_MAX_MB, PLAN_MAX_S, ETA_MAX_S = 4096, 200, 10.0, 10.0
MOST_IN_FLIGHT = 64
_POSTS_PER_S = 25
_HTML = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n"
_UNTRUSTED_S = 2.1  # for so long after a change a file's stamp is not trusted, and the file would be read again
_SCENES = ("pace", "rivals", "killed")


@dataclass(frozen=True)
class _Job:
    """What is to be done, and where everything lies.

    Attributes:
        place: a folder. manifest: of the campaign. files: how many it names, over so many channels. service_s: of a POST.
        longest: see `run`.
    """

    place: Path
    manifest: Path
    channels: int
    files: int
    service_s: float
    longest: float

    @property
    def share(self) -> int:
        """Files of the busiest channel."""
        return -(-self.files // self.channels)

    @property
    def within_s(self) -> float:
        """By when a process has answered."""
        return 120 + 4 * self.share / LINE_PER_S


def run(
    *,
    engine: str = "both",
    scenes: str = "pace,rivals,killed",
    files: int = 12_000,
    channels: int = 3,
    size_bytes: int = 180_000,
    service_s: float = 0.3,
    bad: int = 500,
    longest: float = LONGEST,
) -> dict[str, Any]:
    """Plan, upload, export, repeat.

    Args:
        engine: sqlite, postgresql or both. scenes: which of pace, rivals and killed.
        files: of a campaign. channels: that share them. size_bytes: of a file. service_s: of a POST. bad: files that are HTML.
        longest: how many times the time at the line an upload may take; 0 on a machine that has other work, and then refusals
            do not count either.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    wanted = scenes.split(",")
    if unknown := set(wanted) - set(_SCENES):
        raise SystemExit(f"no such scenes: {', '.join(sorted(unknown))}")
    figures: dict[str, dict[str, Any]] = {each: {} for each in engines}
    with support.folder() as place:
        good = make_campaign(place / "good", files, channels=channels, size_bytes=size_bytes)
        spoilt = make_campaign(place / "spoilt", files, channels=channels, size_bytes=size_bytes, bad=bad, like=good)
        time.sleep(_UNTRUSTED_S)
        of = {"pace": (_pace, good), "rivals": (_rivals, spoilt), "killed": (_killed, good)}
        for each in engines:
            for scene in wanted:
                play, manifest = of[scene]
                job = _Job(place, manifest, channels, files, service_s, longest)
                with _stage(job, each) as stage:
                    found, kept = play(stage)
                figures[each][scene] = found | {"not_kept": [promise for promise, is_kept in kept.items() if not is_kept]}
    sizes = {"files": files, "channels": channels, "size_bytes": size_bytes, "service_s": service_s, "bad": bad}
    holds = all(not found["not_kept"] for of_engine in figures.values() for found in of_engine.values())
    return support.tell("campaign", sizes | figures, started=started, holds=holds)


# --- files --------------------------------------------------------------------------------------------------------


def make_campaign(place: Path, files: int, *, channels: int, size_bytes: int, bad: int = 0, like: Path | None = None) -> Path:
    """A folder of PDFs that all differ, and the manifest that shares them out; every so many is HTML instead.

    Args:
        like: manifest of a folder with the same files, whose good ones are linked instead of written again.
    """
    place.mkdir()
    spoilt = {_nth(index, index * files // bad, channels) for index in range(bad)}
    noise = os.urandom(size_bytes)
    manifest = place / "manifest.jsonl"
    with manifest.open("w") as lines:
        for index in range(files):
            path = place / f"voucher-{index:05}.pdf"
            if index in spoilt:
                path.write_bytes(_HTML + f"<!-- {index} -->".encode())
            elif like is not None:
                os.link(like.parent / path.name, path)
            else:
                path.write_bytes(_pdf(index, noise))
            conn_id = f"number_{index % channels + 1}"
            lines.write(json.dumps({"key": f"customer-{index:05}", "uri": path.name, "channel": conn_id}) + "\n")
    return manifest


def _nth(count: int, index: int, channels: int) -> int:
    """The next file from ``index`` on that lies on the channel whose turn it is, so that all channels have as many."""
    return index + (count - index) % channels


def _pdf(index: int, noise: bytes) -> bytes:
    """A PDF of one empty page, filled up with noise to the length of the noise."""
    head = (
        f"%PDF-1.4\n% voucher {index}\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        "2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]>>endobj\n"
    ).encode()
    end = b"\nendstream endobj\ntrailer<</Root 1 0 R>>\nstartxref\n0\n%%EOF\n"
    begin = "4 0 obj<</Length {:010}>>stream\n"
    room = len(noise) - len(head) - len(begin.format(0)) - len(end)
    return head + begin.format(room).encode() + noise[:room] + end


# --- the stage ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stage:
    """An emulator, an empty ledger, and who works there."""

    job: _Job
    place: Path
    url: str
    emulated: support.Emulator

    @property
    def conn_ids(self) -> list[str]:
        return [number.conn_id for number in self.emulated.numbers]

    def do(self, *tasks: _Task) -> list[dict[str, Any]]:
        """What each of these tasks, all at once, has to tell."""
        for task in tasks:
            task.start(self)
        try:
            return [task.told(self.job.within_s) for task in tasks]
        finally:
            for task in tasks:
                task.end()

    def plan(self, *, run: str = "run", max_reject_ratio: float = 0.01) -> dict[str, Any]:
        return self.do(_Task(tasks_of.plan, run, "plan", {"conn_ids": self.conn_ids, "max_reject_ratio": max_reject_ratio}))[0]

    def uploads(self, *, run: str = "run", max_reject_ratio: float = 0.01) -> list[_Task]:
        """A task for each channel."""
        return [
            _Task(tasks_of.upload, run, f"upload-{conn_id}", {"conn_id": conn_id, "max_reject_ratio": max_reject_ratio})
            for conn_id in self.conn_ids
        ]

    def export(self, name: str, *, require_complete: bool = True) -> dict[str, Any]:
        """What the export says of itself, and the sha256 of its file."""
        path = self.place / name
        told = self.do(_Task(tasks_of.export, "run", name, {"destination": str(path), "require_complete": require_complete}))[0]
        return told | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None}

    def requests(self) -> int:
        """How many requests of all kinds have reached the emulator."""
        return sum(sum(each["requests"].values()) for each in self.emulated.ask("counters")["numbers"].values())

    def posts(self, number: support.Number) -> int:
        found = self.emulated.ask(f"counters?number={number.number_id}")["numbers"][number.number_id]
        return int(found["requests"].get("upload", 0))

    def wait_until(self, what: str, is_so: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + self.job.within_s
        while not is_so():
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{what}: not within {self.job.within_s:.0f} s")
            time.sleep(min(1.0, 0.02 * self.job.share / LINE_PER_S))


@contextmanager
def _stage(job: _Job, engine: str) -> Iterator[_Stage]:
    with support.folder() as place, support.ledger_url(engine, place) as url, ExitStack() as stack:
        with support.environment({"TMPDIR": str(place)}):  # what it stores goes even where it has to be killed
            emulated = stack.enter_context(support.emulator(numbers=job.channels, service_s=job.service_s))
        emulated.ask("settings", {"posts_per_s": _POSTS_PER_S})
        yield _Stage(job, place, url, emulated)


class _Task:
    """One task of a run: a process, which is told what Airflow would tell it, and tells what the operator would return."""

    def __init__(self, work: Callable[..., None], run: str, name: str, arguments: dict[str, Any]) -> None:
        self._work, self._run, self._name, self._arguments = work, run, name, arguments
        self._try_number = 0
        self._process: Any = None
        self._answers: Any = None

    def start(self, stage: _Stage) -> None:
        self._try_number += 1
        context = support.workers()
        self._answers = context.Queue()
        facts = SimpleNamespace(dag_id="proof", run_id=self._run, task_id=self._name, map_index=-1, try_number=self._try_number)
        values = support.airflow_environment(stage.emulated, stage.url)
        arguments = (values, facts, str(stage.job.manifest), self._answers)
        self._process = context.Process(target=self._work, args=arguments, kwargs=self._arguments, daemon=True)
        self._process.start()

    def told(self, within_s: float) -> dict[str, Any]:
        """What it says at its end; ``error`` where it failed."""
        told: dict[str, Any] = support.answers_of(self._answers, 1, within_s=within_s)[0]
        self._process.join(10)
        return told

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.join(10)

    def end(self) -> None:
        if self._process is not None and self._process.is_alive():
            self.kill()


# --- the scenes ---------------------------------------------------------------------------------------------------


def _pace(stage: _Stage) -> tuple[dict[str, Any], dict[str, bool]]:
    job, number_of = stage.job, {number.conn_id: number for number in stage.emulated.numbers}
    planned = stage.plan()
    told = stage.do(*stage.uploads())
    counters = stage.emulated.ask("counters")["numbers"]
    first = stage.export("first.jsonl")
    requests = stage.requests()
    again = stage.plan(run="again")
    uploads_again = stage.do(*stage.uploads(run="again"))
    second = stage.export("second.jsonl")
    refused = sum(each["refused_by_pace"] for each in counters.values())
    posts = sum(each["requests"].get("upload", 0) for each in counters.values())
    of_channels = {
        conn_id: {
            "files": each["result"].get("done"),
            "seconds": each["seconds"],
            "ratio": round(each["seconds"] * LINE_PER_S / max(1, each["result"].get("done", 0)), 3),
            "refused": counters[number_of[conn_id].number_id]["refused_by_pace"],
            "most_in_a_second": counters[number_of[conn_id].number_id]["max_posts_per_s"],
            "memory_mb": each["memory_mb"],
            "memory_over_imports_mb": each["memory_over_imports_mb"],
        }
        for conn_id, each in zip(stage.conn_ids, told, strict=True)
    }
    xcom = [len(json.dumps(each["result"])) for each in (planned, *told, first, again, *uploads_again, second)]
    figures = {
        "plan_s": planned["seconds"],
        "first_eta_s": planned["first_eta_s"],
        "plan_opened": planned["opened"],
        "plan_memory_over_imports_mb": planned["memory_over_imports_mb"],
        "channels": of_channels,
        "posts": posts,
        "refused": refused,
        "export_s": first["seconds"],
        "xcom_bytes": max(xcom),
        "again_plan_s": again["seconds"],
        "again_opened": again["opened"] + sum(each["opened"] for each in uploads_again),
        "again_requests": stage.requests() - requests,
        "errors": [each["error"] for each in (planned, *told, first, again, *uploads_again, second) if each["error"]][:3],
    }
    kept = {
        "no error": not figures["errors"],
        "all uploaded once": posts - refused == job.files == first["result"].get("rows"),
        "at the line": not job.longest or all(each["ratio"] <= job.longest for each in of_channels.values()),
        "not over it": not job.longest or refused <= max(MOST_REFUSED * posts, 1),
        "flat memory": all(each["memory_over_imports_mb"] < MEMORY_MAX_MB for each in of_channels.values()),
        "small XCom": max(xcom) < XCOM_MAX_BYTES,
        "an early ETA": planned["first_eta_s"] is not None and planned["first_eta_s"] < ETA_MAX_S,
        "opens were seen": planned["opened"] >= job.files <= sum(each["opened"] for each in told),
        "again: no request": figures["again_requests"] == 0,
        "again: no file read": figures["again_opened"] == 0,
        "again: planned at once": again["seconds"] < PLAN_MAX_S,
        "again: nothing to do": again["result"].get("channels") == []
        and not any(each["result"].get("uploads") for each in uploads_again),
        "again: the same export": first["sha256"] == second["sha256"] is not None
        and first["result"].get("version") == second["result"].get("version"),
    }  # fmt: skip
    return figures, kept


def _rivals(stage: _Stage) -> tuple[dict[str, Any], dict[str, bool]]:
    """Both runs allow for twice as many rejects as there are; that 1 % is too little is seen first."""
    job = stage.job
    bad = sorted(path.name for path in job.manifest.parent.glob("*.pdf") if path.read_bytes()[:1] == b"<")
    ratio = 2 * len(bad) / job.files
    strict = stage.plan()
    planned = stage.plan(max_reject_ratio=ratio)
    rejects = Path(planned["result"].get("rejects_uri") or os.devnull)
    named = sorted(json.loads(line)["uri"].rpartition("/")[2] for line in rejects.read_text().splitlines())
    first = stage.uploads(max_reject_ratio=ratio)
    good = job.files - len(bad)
    for task in first:
        task.start(stage)
    try:
        stage.wait_until("60 % are uploaded", lambda: stage.emulated.requests("upload") >= 0.6 * good)
        at, began = stage.emulated.requests("upload"), time.monotonic()
        second_plan = stage.plan(run="second", max_reject_ratio=ratio)
        second = stage.do(*stage.uploads(run="second", max_reject_ratio=ratio))
        second_s = time.monotonic() - began
        told = [task.told(job.within_s) for task in first]
    finally:
        for task in first:
            task.end()
    counters = stage.emulated.ask("counters")["numbers"].values()
    refused = sum(each["refused_by_pace"] for each in counters)
    exports = [stage.export(f"{name}.jsonl", require_complete=False) for name in ("first", "second")]
    everybody = [planned, *told, second_plan, *second, *exports]
    stored = stage.emulated.uploads_by_sha256()
    figures = {
        "bad": len(bad),
        "one_percent_says": (strict["error"] or "")[:160],
        "rejects_named": len(named),
        "posts": sum(each["requests"].get("upload", 0) for each in counters),
        "refused": refused,
        "stored_twice": sum(count - 1 for count in stored.values()),
        "second_began_at_share": round(at / good, 3),
        "second_run_s": round(second_s, 1),
        "uploads_of_first": sum(each["result"].get("uploads", 0) for each in told),
        "uploads_of_second": sum(each["result"].get("uploads", 0) for each in second),
        "rows": exports[0]["result"].get("rows"),
        "errors": [each["error"] for each in everybody if each["error"]][:3],
    }
    kept = {
        "no error": not figures["errors"],
        "1 % is too little": "TooManyRejectsError" in (strict["error"] or ""),
        "all bad files named": named == bad != [],
        "no extra POST": figures["posts"] - refused == good == len(stored),
        "half-way": 0.6 <= figures["second_began_at_share"] <= 0.9,
        "the same export": exports[0]["sha256"] == exports[1]["sha256"] is not None and figures["rows"] == good,
    }
    return figures, kept


def _killed(stage: _Stage) -> tuple[dict[str, Any], dict[str, bool]]:
    planned = stage.plan()
    tasks, number = stage.uploads(), stage.emulated.numbers[0]
    share = planned["result"].get("counts", {}).get("items", 0) // stage.job.channels
    for task in tasks:
        task.start(stage)
    try:
        stage.wait_until("half are uploaded", lambda: stage.posts(number) >= share / 2)
        tasks[0].kill()
        in_flight = _open_attempts(stage.url)[number.number_id]
        at, began = stage.posts(number), time.monotonic()
        tasks[0].start(stage)
        told = [task.told(stage.job.within_s) for task in tasks]
        retry_s = told[0]["seconds"]
        since_kill_s = time.monotonic() - began
    finally:
        for task in tasks:
            task.end()
    counters = stage.emulated.ask(f"counters?number={number.number_id}")["numbers"][number.number_id]
    extra = counters["requests"]["upload"] - counters["refused_by_pace"] - share
    exported = stage.export("first.jsonl")
    left = share - at
    figures = {
        "killed_at": at,
        "in_flight_at_kill": in_flight,
        "extra_posts": extra,
        "retry_uploads": told[0]["result"].get("uploads"),
        "retry_s": retry_s,
        "retry_beyond_the_line_s": round(retry_s - left / LINE_PER_S, 1),
        "other_channels_s": [each["seconds"] for each in told[1:]],
        "all_s_after_kill": round(since_kill_s, 1),
        "rows": exported["result"].get("rows"),
        "errors": [each["error"] for each in (planned, *told, exported) if each["error"]][:3],
    }
    kept = {
        "no error": not figures["errors"],
        "at half": 0.5 * share <= at <= 0.9 * share,
        "at most what was in flight": 0 <= extra <= in_flight <= MOST_IN_FLIGHT,
        "nothing is missing": figures["rows"] == stage.job.files,
        "goes on at once": figures["retry_beyond_the_line_s"] <= 60,
    }
    return figures, kept


def _open_attempts(url: str) -> dict[str, int]:
    """Number id -> uploads that are claimed and whose outcome is not on record."""
    import sqlalchemy as sa

    from airflow_provider_360dialog.ledger import schema
    from airflow_provider_360dialog.ledger.store import Store

    files, number_id = schema.fingerprint, schema.channel.c.phone_number_id
    count = sa.func.coalesce(sa.func.sum(files.c.sending), 0)
    with Store(url).open_existing().read() as db:
        rows = db.execute(sa.select(number_id, count).join_from(schema.channel, files).group_by(number_id))
        return {number_id: int(sending) for number_id, sending in rows}


if __name__ == "__main__":
    support.main(run)
