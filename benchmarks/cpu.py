"""What the ledger adds to an upload: CPU of this process (a PostgreSQL server's own is not counted), medians of repeats.

`core` is adopt, claim and complete; `all` is every call to the ledger that `jobs.upload` makes for a new file: look for a verdict
and keep one, adopt, claim, start and end the lease's keeper, complete; `again` is what a file on record costs: verdict and adopt.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from benchmarks import support

MOST_MS = {"sqlite": 3.0, "postgresql": 5.0}


def run(*, engine: str = "both", uploads: int = 500, repeats: int = 7) -> dict[str, Any]:
    """Measure; it holds where the median of `all` is within 3 ms (SQLite) and 5 ms (PostgreSQL)."""
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    figures = {each: _measure(each, uploads, repeats) for each in engines}
    sizes = {"uploads": uploads, "repeats": repeats, "most_ms": MOST_MS}
    holds = all(found["all_ms"] <= MOST_MS[each] for each, found in figures.items())
    return support.tell("cpu", sizes | figures, started=started, holds=holds)


def _measure(engine: str, uploads: int, repeats: int) -> dict[str, Any]:
    with support.folder() as place, support.ledger_url(engine, place) as url:
        works = dict(_works(url))
        spent: dict[str, list[float]] = {name: [] for name in works}
        for work in works.values():  # engines, caches and imports are warm
            _cpu_s(work, min(50, uploads))
        for _ in range(repeats):
            for name, work in works.items():
                spent[name].append(_cpu_s(work, uploads) / uploads * 1000)
    return {f"{name}_ms": round(statistics.median(values), 3) for name, values in spent.items()} | {
        "all_repeats_ms": [round(each, 2) for each in spent["all"]]
    }


def _cpu_s(work: Callable[[], object], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - started


def _works(url: str) -> Iterator[tuple[str, Callable[[], object]]]:
    from airflow_provider_360dialog.ledger.channel import ChannelLedger
    from airflow_provider_360dialog.ledger.channels import Channels
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ledger.uploads import Claim, Fingerprint
    from airflow_provider_360dialog.ports import Verdict

    store = Store(url).open()
    identity = Channels(store).bind(api_key="k", conn_id="c", origin="https://h", phone_number_id="100000000000001")
    ledger = ChannelLedger(store, lambda: identity, task="dag/run/task/-1", try_number=1)
    numbers, said = count(1), {"mime_type": None, "filename": None, "kind": None}

    def next_file() -> tuple[int, Fingerprint]:
        number = next(numbers)
        return number, Fingerprint(hashlib.sha256(str(number).encode()).hexdigest(), "image/png", 100_000)

    def claimed(file: Fingerprint) -> Claim:
        claim = ledger.uploads.claim(file, ledger.claimant())
        assert isinstance(claim, Claim)
        return claim

    def core() -> None:
        number, file = next_file()
        assert ledger.uploads.adopt(file) is None
        assert ledger.uploads.complete(claimed(file), file, str(10**14 + number)) is not None

    def everything() -> None:
        number, file = next_file()
        uri = f"/files/{number}.png"
        assert ledger.sources.recall(uri, "stamp", **said) is None
        verdict = Verdict("image", "image/png", f"{number}.png", file.size_bytes, file.sha256)
        ledger.sources.remember(uri, "stamp", verdict, **said)
        assert ledger.uploads.adopt(file) is None
        claim = claimed(file)
        with ledger.keeper.keeping(claim, ledger.uploads):
            assert ledger.uploads.complete(claim, file, str(10**14 + number)) is not None
        known.append((uri, file))

    known: list[tuple[str, Fingerprint]] = []

    def again() -> None:
        uri, file = known[next(numbers) % len(known)]
        assert ledger.sources.recall(uri, "stamp", **said) is not None
        assert ledger.uploads.adopt(file) is not None

    yield from {"core": core, "all": everything, "again": again}.items()


if __name__ == "__main__":
    support.main(run)
