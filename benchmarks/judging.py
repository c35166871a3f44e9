"""How fast files are judged where the answer lies in their headers: photos by one process and by two, and one large document.

Each photo is read once, for its sha256, from a folder of this machine; the photos were written just before, so they come from
memory and not from the disk. The document is judged in the pass that hashes it, beside `hashlib` alone over the same reads.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import files, support

AT_LEAST_PER_S = 150.0
_PROCESSES = (1, 2)
_PHOTO_BYTES = 2_000_000


def run(
    *,
    photos: int = 1000,
    rounds: int = 3,
    at_least_per_s: float = AT_LEAST_PER_S,
    document_mb: int = 100,
    passes: int = 5,
    megapixels: float = 4.0,
) -> dict[str, Any]:
    """Judge; it holds where two processes judge at least 150 photos a second, and every verdict is the right one.

    Args:
        photos: files of 2 MB. rounds: over all of them, in turns with one process and with two; medians count.
        at_least_per_s: by two processes. document_mb: size of the document, 10^6 bytes. passes: over it.
        megapixels: of each photo; 2 MB all the same.
    """
    started = time.monotonic()
    with support.folder() as place:
        paths, right = _photos(place, photos, megapixels)
        figures = _rates(paths, right, rounds) | {"document": _document(place / "report.pdf", document_mb, passes)}
    sizes = {"photos": photos, "photo_bytes": round(statistics.mean(each[0] for each in right)), "rounds": rounds}
    holds = not figures["wrong"] and figures["per_s"]["2"] >= at_least_per_s and not figures["document"]["wrong"]
    return support.tell("judging", sizes | figures, started=started, holds=holds)


def _photos(place: Path, count: int, megapixels: float) -> tuple[list[str], list[tuple[int, str]]]:
    """Paths of photos, and of each its size and sha256."""
    paths, right = [], []
    for photo in files.photos(count, size_bytes=_PHOTO_BYTES, megapixels=megapixels):
        path = place / photo.name
        path.write_bytes(photo.data)
        paths.append(str(path))
        right.append((len(photo.data), hashlib.sha256(photo.data).hexdigest()))
    return paths, right


def _rates(paths: list[str], right: list[tuple[int, str]], rounds: int) -> dict[str, Any]:
    wrong, seconds = 0, {processes: list[float]() for processes in _PROCESSES}
    with ExitStack() as stack:
        pools = {each: stack.enter_context(ProcessPoolExecutor(each, get_context("spawn"))) for each in _PROCESSES}
        for processes, pool in pools.items():  # started, and everything imported
            list(pool.map(_judge, [paths[:1]] * processes * 4))
        for _ in range(rounds):
            for processes, pool in pools.items():
                spent_s, found = _timed(lambda pool=pool: [each for part in pool.map(_judge, _parts(paths)) for each in part])
                seconds[processes].append(spent_s)
                wrong += sum((*said, True) != told for said, told in zip(right, found, strict=True))
    per_s = {str(each): round(len(paths) / statistics.median(spent), 1) for each, spent in seconds.items()}
    return {"per_s": per_s, "s": {str(each): [round(s, 2) for s in spent] for each, spent in seconds.items()}, "wrong": wrong}


def _parts(paths: list[str]) -> list[Sequence[str]]:
    return [paths[at : at + 10] for at in range(0, len(paths), 10)]


def _judge(paths: Sequence[str]) -> list[tuple[int, str, bool]]:
    """In a process of the pool: size, sha256 and whether it is good, of each."""
    from airflow_provider_360dialog.hooks.places import source_at
    from airflow_provider_360dialog.media.judge import inspect

    verdicts = [inspect(source_at(path)) for path in paths]
    return [(verdict.size_bytes, verdict.sha256, verdict.ok) for verdict in verdicts]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def _document(path: Path, document_mb: int, passes: int) -> dict[str, Any]:
    from airflow_provider_360dialog.hooks.places import source_at
    from airflow_provider_360dialog.media.judge import inspect

    path.write_bytes(files.pdf(document_mb * 10**6))
    judged, hashed, wrong = list[float](), list[float](), 0
    for _ in range(passes):
        spent_s, verdict = _timed(lambda: inspect(source_at(str(path))))
        judged.append(spent_s)
        spent_s, sha256 = _timed(lambda: _sha256(path))
        hashed.append(spent_s)
        wrong += (verdict.sha256, verdict.ok, verdict.mime_type) != (sha256, True, "application/pdf")
    judged_s, hashed_s = statistics.median(judged), statistics.median(hashed)
    rates = {"judged_mb_per_s": round(document_mb / judged_s), "hashed_mb_per_s": round(document_mb / hashed_s)}
    return {"mb": document_mb, **rates, "ratio": round(judged_s / hashed_s, 3), "wrong": wrong}


def _sha256(path: Path) -> str:
    from airflow_provider_360dialog.media.judge import BLOCK_BYTES

    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    support.main(run)
