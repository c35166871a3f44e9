"""Broken files of every kind: each gets its verdict, soon and in bounded memory, whatever libraries make of it (P5).

Bytes are flipped, cut, spliced, doubled, removed and zeroed, and lengths are set to extremes. Three ways, each in a process of
its own:

* ``base``: `media.judge.inspect`, without the extra ``[media]``.
* ``deep``: `media.decoding.deep.inspect_deeply`, which decodes in worker processes.
* ``prepare``: `media.preparation.prepare.prepare`. What it has prepared is found good, and prepared again it stays as it is.

A file is made again by its number: `files.mutant(number, files.seeds())`, or alone by ``--first NUMBER --files 1``.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import files, support
from benchmarks.peaks import Peaks

WAYS = ("base", "deep", "prepare")
MOST_S = 5.0
MOST_GROWTH_BYTES = 200 * 10**6
_FIRST_FILES = 50  # memory is compared with what it is after so many
_START_S = 120.0
_SILENT_S = 300.0  # a file that takes longer will never end
_NATIVE = ("PIL", "av")
_NAMED = 5
_THUMBNAIL_PX = 160

Judge: TypeAlias = Callable[[files.Named, str | None], Any]
"""A file, and the kind it is meant for -> its verdict, and in words what is wrong about that."""
_Way: TypeAlias = Callable[[int, Any], Any]
"""Number of worker processes, tally -> a context manager that gives a `Judge`."""


def run(
    *,
    ways: str = ",".join(WAYS),
    count: int = 5000,
    first: int = 0,
    workers: int = 2,
    keep: str = "",
    most_s: float = MOST_S,
) -> dict[str, Any]:
    """Judge broken files; it holds where every one has a verdict within 5 s and 200 MB, and no more.

    Args:
        ways: which of base, deep and prepare. count: files for each way. first: number of the first.
        workers: worker processes of the ways that have some. keep: a folder for the files that the line names; none by default.
        most_s: that one file may take.
    """
    started = time.monotonic()
    wanted = ways.split(",")
    if unknown := set(wanted) - set(WAYS):
        raise SystemExit(f"no such ways: {', '.join(sorted(unknown))}")
    whole = files.seeds()
    numbers = range(first, first + count)
    figures = {way: _summed(_apart(_JUDGES[way], whole, numbers, workers), count, most_s) for way in wanted}
    if keep:
        _keep(Path(keep), whole, figures)
    holds = not any(found["not_kept"] for found in figures.values())
    return support.tell("fuzz", {"files": count, "first": first, "seeds": len(whole)} | figures, started=started, holds=holds)


def _keep(place: Path, whole: Sequence[files.Named], figures: dict[str, Any]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for of_way in figures.values():
        for named in (*of_way["faults"], *of_way["slowest"], *of_way["largest"]):
            found = files.mutant(named["number"], whole)
            (place / f"{named['number']}-{found.name}").write_bytes(found.data)


# --- the process of a way -----------------------------------------------------------------------------------------


def _apart(judging: _Way, whole: Sequence[files.Named], numbers: range, workers: int) -> dict[str, Any]:
    """The figures of one way from a process of its own, which tells each number before it begins with it."""
    context = get_context("spawn")
    answers, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, judging, whole, numbers, workers))
    process.start()
    theirs.close()
    at, found, silent_s = numbers.start, None, _START_S
    end = ""
    try:
        while found is None and not end:
            end = "" if answers.poll(silent_s) else f"took more than {silent_s:.0f} s"
            said = at if end else answers.recv()
            at, found = (said, None) if isinstance(said, int) else (at, said)
            silent_s = _SILENT_S
    except EOFError:
        process.join(10)
        end = f"the process ended with {process.exitcode}"
    finally:
        if found is None:
            process.kill()
        process.join()
    if found is None:
        found = vars(_Tally(faults=[{"number": at, "how": files.mutant(at, whole).how, "fault": end}]))
    return found


@dataclass
class _Tally:
    """What one way has seen."""

    ok: int = 0
    changed: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    at: str = ""
    lost: list[str] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    slowest: list[tuple[float, int, str]] = field(default_factory=list)
    largest: list[tuple[int, int, str]] = field(default_factory=list)
    growth_bytes: int = 0
    growth_of_workers_bytes: int = 0
    peak_of_workers_bytes: int = 0
    native: list[str] = field(default_factory=list)


def _work(answers: Any, judging: _Way, whole: Sequence[files.Named], numbers: range, workers: int) -> None:
    tally = _Tally()
    with judging(workers, tally) as judge, Peaks() as peaks:
        for done, number in enumerate(numbers):
            answers.send(number)
            file = files.mutant(number, whole)
            before = peaks.now()
            _judge(judge, file, number, tally)
            after = peaks.now()
            if done < _FIRST_FILES:
                start = after
            heapq.heappush(tally.largest, (max(b - a for a, b in zip(before, after, strict=True)), number, file.how))
            tally.largest = heapq.nlargest(_NAMED, tally.largest) if done >= _FIRST_FILES else []
        end = peaks.now()
    tally.growth_bytes, tally.growth_of_workers_bytes = (b - a for a, b in zip(start, end, strict=True))
    tally.peak_of_workers_bytes = end[1]
    tally.native = [name for name in _NATIVE if name in sys.modules]
    answers.send(vars(tally))


def _judge(judge: Judge, file: files.Named, number: int, tally: _Tally) -> None:
    from airflow_provider_360dialog.exceptions import Dialog360Error

    kind = "document" if random.Random(-1 - number).random() < 0.1 else None
    tally.at = file.how
    started = time.perf_counter()
    try:
        verdict, wrong = judge(file, kind)
        seconds = time.perf_counter() - started
    except Dialog360Error as error:
        tally.errors[type(error).__name__] += 1
        return
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        place = f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}" if at else ""
        fault = f"{type(error).__name__} at {place}: {error}"[:300]
        tally.faults.append({"number": number, "how": file.how, "fault": fault})
        return
    tally.seconds.append(seconds)
    tally.slowest = heapq.nlargest(_NAMED, [*tally.slowest, (seconds, number, file.how)])
    tally.ok += verdict.ok
    tally.codes.update({problem.code for problem in verdict.problems})
    if wrong:
        tally.faults.append({"number": number, "how": file.how, "fault": wrong})


def _summed(found: dict[str, Any], count: int, most_s: float) -> dict[str, Any]:
    seconds, faults = found["seconds"], found["faults"]
    figures = {
        "verdicts": len(seconds),
        "ok": found["ok"],
        "changed": found["changed"],
        "codes": dict(sorted(found["codes"].items())),
        "errors": found["errors"],
        "jobs": dict(sorted(found["jobs"].items())),
        "workers_lost": found["lost"][:20],
        "faults": faults[:20],
        "fault_count": len(faults),
        "s": {name: round(of, 4) for name, of in _spread(seconds).items()},
        "slowest": [{"s": round(s, 3), "number": number, "how": how} for s, number, how in found["slowest"]],
        "largest": [{"grew_mb": _mb(of), "number": number, "how": how} for of, number, how in found["largest"] if of > 10**6],
        "growth_mb": _mb(found["growth_bytes"]),
        "growth_of_workers_mb": _mb(found["growth_of_workers_bytes"]),
        "peak_of_a_worker_mb": _mb(found["peak_of_workers_bytes"]),
    }
    kept = {
        "every file has a verdict": len(seconds) == count and not faults,
        "none takes too long": max(seconds, default=0.0) <= most_s,
        "memory grows by less than 200 MB": max(found["growth_bytes"], found["growth_of_workers_bytes"]) < MOST_GROWTH_BYTES,
        "no decoder in this process": not found["native"],
        "the worker processes did something": not found["jobs"] or any(job.endswith(" done") for job in found["jobs"]),
    }
    return figures | {"not_kept": [promise for promise, is_kept in kept.items() if not is_kept]}


def _spread(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98], "max": max(values)}


def _mb(size_bytes: int) -> float:
    return round(size_bytes / 10**6, 1)


# --- the ways -----------------------------------------------------------------------------------------------------


@contextmanager
def _base(_: int, __: _Tally) -> Iterator[Judge]:
    from airflow_provider_360dialog.media.judge import inspect

    def judge(file: files.Named, kind: str | None) -> Any:
        verdict = inspect(file, kind=kind)
        return verdict, _wrong_about(verdict, file)

    yield judge


def _wrong_about(verdict: Any, file: files.Named) -> str:
    """In words what a verdict says of the bytes that is not so."""
    if (verdict.size_bytes, verdict.sha256) != (len(file.data), hashlib.sha256(file.data).hexdigest()):
        return "the verdict is of other bytes"
    if verdict.ok and (verdict.kind is None or verdict.mime_type is None):
        return "accepted without a type"
    return ""


@contextmanager
def _deep(workers: int, tally: _Tally) -> Iterator[Judge]:
    from airflow_provider_360dialog.media.decoding.deep import inspect_deeply

    with _workshop(workers, tally) as workshop:

        def judge(file: files.Named, kind: str | None) -> Any:
            verdict = inspect_deeply(file, workshop=workshop, kind=kind, thumbnail_px=_THUMBNAIL_PX).verdict
            return verdict, _wrong_about(verdict, file)

        yield judge


@contextmanager
def _prepare(workers: int, tally: _Tally) -> Iterator[Judge]:
    from airflow_provider_360dialog.media.preparation.prepare import prepare

    with ExitStack() as stack:
        workshop, folder = stack.enter_context(_workshop(workers, tally)), stack.enter_context(support.folder())

        def judge(file: files.Named, kind: str | None) -> Any:
            prepared = prepare(file, workshop=workshop, folder=folder, kind=kind)
            left = {path.name for path in folder.iterdir()} - {prepared.path.name if prepared.path else ""}
            if left:
                return prepared.verdict, f"files are left: {', '.join(sorted(left))}"
            if prepared.path is None:
                return prepared.verdict, _wrong_about(prepared.verdict, file)
            tally.changed += 1
            again = files.Named(prepared.verdict.filename, prepared.path.read_bytes())
            prepared.path.unlink()
            return prepared.verdict, _wrong_about_prepared(prepared.verdict, again, kind)

        def _wrong_about_prepared(verdict: Any, again: files.Named, kind: str | None) -> str:
            from airflow_provider_360dialog.media.judge import inspect

            if wrong := _wrong_about(verdict, again):
                return wrong
            found = inspect(again, kind=kind)
            if not verdict.ok or not found.ok:
                return f"prepared and not good: {[problem.code for problem in (verdict if not verdict.ok else found).errors]}"
            second = prepare(again, workshop=workshop, folder=folder, kind=kind)
            if second.path is not None:
                second.path.unlink()
                changes = [change.code for change in second.verdict.receipt.changes] if second.verdict.receipt else []
                return f"a second preparation changes it: {changes}"
            return "" if second.verdict.ok else "good, and refused when it is to be prepared again"

        yield judge


@contextmanager
def _workshop(workers: int, tally: _Tally) -> Iterator[Any]:
    """A workshop that counts what became of its jobs."""
    from airflow_provider_360dialog.media.decoding.workshop import JobFailedError, Workshop

    class Counting(Workshop):
        def run(self, job: str, *, limit_s: float, **arguments: Any) -> dict[str, Any]:
            became = f"{job} done"
            try:
                return super().run(job, limit_s=limit_s, **arguments)
            except Exception as error:
                became = f"{job} {type(error).__name__} {getattr(error, 'kind', '')}".strip()
                if not isinstance(error, JobFailedError):
                    tally.lost.append(f"{type(error).__name__} {tally.at}")
                raise
            finally:
                tally.jobs[became] += 1

    with Counting(workers=workers) as workshop:
        yield workshop


_JUDGES = {"base": _base, "deep": _deep, "prepare": _prepare}


if __name__ == "__main__":
    support.main(run)
