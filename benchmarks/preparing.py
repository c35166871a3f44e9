"""What a preparation costs beside one plain decode and encode of Pillow, for photos of 2 MB of which nothing has to shrink.

Photos that are stored turned, in the colours of a printer, and as PNG. Both ways do one photo at a time in a worker process that
has started before, in turns, with the same subsampling and quantisation tables (these are the quality), which are those that the
preparation chose. The plain way neither turns nor judges, and copies no metadata.

Then some are prepared into a folder, and again: what stands there is found by the fingerprint of its source, and no picture is
opened.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_360dialog.media.decoding.workshop import Workshop
from benchmarks import files, support
from benchmarks.peaks import children

MOST_TIMES = 1.3
_LIMIT_S = 120.0
_PHOTO_BYTES = 2_000_000


class _PlainWorkshop(Workshop):
    _module = "benchmarks.plain_pillow"


@dataclass
class _Spent:
    """Seconds for the photos of one sort."""

    ours: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    qualities: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, Any]:
        medians = {"ours_s": statistics.median(self.ours), "plain_s": statistics.median(self.plain)}
        return {name: round(seconds, 4) for name, seconds in medians.items()} | {
            "ratio": round(sum(self.ours) / sum(self.plain), 3),
            "changes": self.changes,
            "quality": self.qualities,
        }


def run(
    *, photos: int = 300, pictures: int = 5, most_times: float = MOST_TIMES, least_megapixels: float = 8.0, kept: int = 60
) -> dict[str, Any]:
    """Prepare; it holds where all of it takes at most 1.3 times as long as the plain way.

    Args:
        photos: in all, a third of each sort. pictures: different ones of each sort; the others differ in their metadata only.
        most_times: by what the plain way is exceeded at most. least_megapixels: of a photo; others have up to four more.
        kept: photos that are prepared into a folder twice.
    """
    started = time.monotonic()
    spent: dict[str, _Spent] = {}
    wrong: list[str] = []
    sizes: dict[str, Any] = {"size_bytes": _PHOTO_BYTES, "least_megapixels": least_megapixels}
    with ExitStack() as stack:
        place = stack.enter_context(support.folder())
        ours, plain = stack.enter_context(Workshop(workers=1)), stack.enter_context(_PlainWorkshop(workers=1))
        pair = _Pair(place, ours, plain, wrong)
        for _, photo in files.unfit_photos(3, pictures=1, **sizes):
            pair.both(photo, 0, _Spent())  # started, imported, warm
        for number, (sort, photo) in enumerate(files.unfit_photos(photos, pictures=pictures, **sizes)):
            pair.both(photo, number, spent.setdefault(sort, _Spent()))
    ours_s, plain_s = (sum(sum(getattr(each, name)) for each in spent.values()) for name in ("ours", "plain"))
    again = _prepare_twice(kept, pictures, sizes)
    figures = {
        "photos": photos,
        "photo_bytes": round(statistics.mean(pair.sizes)),
        "ratio": round(ours_s / plain_s, 3),
        "ours_per_s": round(photos / ours_s, 2),
        "plain_per_s": round(photos / plain_s, 2),
        **{sort: each.figures() for sort, each in spent.items()},
        "kept": again,
        "wrong": wrong[:10],
    }
    holds = not wrong and ours_s <= most_times * plain_s and again["found"] == kept and not again["workers_at_second"]
    return support.tell("preparing", figures, started=started, holds=holds)


def _prepare_twice(count: int, pictures: int, sizes: dict[str, Any]) -> dict[str, Any]:
    """Seconds and worker processes of a first and a second preparation, as a task does it; ``found``: with the same receipts."""
    from airflow_provider_360dialog.hooks.places import source_at
    from airflow_provider_360dialog.hooks.preparing import Preparer

    figures: dict[str, Any] = {"photos": count}
    receipts = []
    with support.folder() as place:
        paths = []
        for _, photo in files.unfit_photos(count, pictures=pictures, **sizes):
            paths.append(place / photo.name)
            paths[-1].write_bytes(photo.data)
        for turn in ("first", "second"):
            before = children()
            with Preparer(place / "prepared") as preparer:
                started = time.perf_counter()
                receipts.append([preparer.prepare(source_at(str(path))).verdict.receipt for path in paths])
                figures[f"{turn}_s"] = round(time.perf_counter() - started, 3)
                figures[f"workers_at_{turn}"] = len(children() - before)
    figures["found"] = sum(first is not None and first == second for first, second in zip(*receipts, strict=True))
    return figures


class _Pair:
    """Both ways over one photo."""

    def __init__(self, place: Path, ours: Workshop, plain: Workshop, wrong: list[str]) -> None:
        self._place, self._ours, self._plain, self._wrong = place, ours, plain, wrong
        self._settings: dict[str, dict[str, Any]] = {}
        self.sizes: list[int] = []

    def both(self, photo: files.Named, number: int, spent: _Spent) -> None:
        """Prepare it and encode it plainly; which goes first, takes turns."""
        source = self._place / photo.name
        source.write_bytes(photo.data)
        self.sizes.append(len(photo.data))
        try:
            if photo.how not in self._settings:
                self._settings[photo.how] = self._settings_for(source)
            options = self._settings[photo.how]
            ways = [lambda: self._prepare(source, spent), lambda: self._encode(source, options, spent)]
            for way in ways if number % 2 else reversed(ways):
                way()
        finally:
            source.unlink()

    def _settings_for(self, source: Path) -> dict[str, Any]:
        """What the preparation chooses for a picture."""
        prepared = self._prepare(source, _Spent(), keep=True)
        if prepared.path is None:
            return {}
        found: dict[str, Any] = self._plain.run("settings", limit_s=_LIMIT_S, source=str(prepared.path))["options"]
        prepared.path.unlink()
        return found

    def _prepare(self, source: Path, spent: _Spent, *, keep: bool = False) -> Any:
        from airflow_provider_360dialog.hooks.places import source_at
        from airflow_provider_360dialog.media.preparation.prepare import prepare

        started = time.perf_counter()
        prepared = prepare(source_at(str(source)), workshop=self._ours, folder=self._place)
        spent.ours.append(time.perf_counter() - started)
        receipt = prepared.verdict.receipt
        if receipt is None or not prepared.verdict.ok or receipt.encodes != 1:
            self._wrong.append(f"{source.name}: {receipt or prepared.verdict.errors}"[:300])
        else:
            spent.changes.update(change.code for change in receipt.changes)
            spent.qualities[str(receipt.after.quality)] += 1
        if prepared.path is not None and not keep:
            prepared.path.unlink()
        return prepared

    def _encode(self, source: Path, options: dict[str, Any], spent: _Spent) -> None:
        target = self._place / "plain.jpg"
        started = time.perf_counter()
        self._plain.run("encode", limit_s=_LIMIT_S, source=str(source), target=str(target), options=options)
        spent.plain.append(time.perf_counter() - started)
        target.unlink()


if __name__ == "__main__":
    support.main(run)
