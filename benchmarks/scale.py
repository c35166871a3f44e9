"""Flat cost (P9): the hot questions to a ledger cost about the same at 10^4 and at 10^6 rows, and none of them scans a table.

Rows are written by the databases themselves, in bulk: ten channels, each fingerprint with one media id and one refused id; nine
of ten ids are current, the rest retire, wait for deletion or are gone. Uploads and refused ids are asked for through the ledger;
what is about to expire and what may be cleaned up are the statements that the refresh and clean-up jobs need.
"""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.decisions import RETIRE_GRACE_S, Claimant
from airflow_provider_360dialog.ledger.refused import RefusedIds
from airflow_provider_360dialog.ledger.statistics import read_statistics
from airflow_provider_360dialog.ledger.store import Store
from airflow_provider_360dialog.ledger.uploads import Claim, Fingerprint, Uploads
from benchmarks import support

CHANNELS = 10
LARGE_TABLES = {schema.fingerprint.name, schema.media.name, schema.refused.name, schema.source.name}
MOST = 3.0
DAY_S = 86_400.0

_STATES = (
    "CASE WHEN i % 100 < 90 THEN 'current' WHEN i % 100 < 94 THEN 'retiring' WHEN i % 100 < 98 THEN 'surplus' ELSE 'gone' END"
)
SERIES = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)",
    "postgresql": "WITH n(i) AS (SELECT generate_series(1, CAST(:rows AS bigint)))",
}
_HASH = {"sqlite": "lower(hex(randomblob(32)))", "postgresql": "encode(sha256(i::text::bytea), 'hex')"}
_BUILD = (
    (
        "INSERT INTO d360_fingerprint (id, channel_id, sha256, mime_type, size_bytes, media_row, fence) "
        "{series} SELECT i, 1 + i % {channels}, {hash}, 'image/png', 100000, CASE WHEN i % 100 < 90 THEN i END, 1 FROM n"
    ),
    (
        "INSERT INTO d360_media (id, channel_id, fingerprint_id, media_id, state, state_since, uploaded_at, safe_until) {series} "
        "SELECT i, 1 + i % {channels}, i, CAST(100000000000000 + (i * 7919) % 1000000007 AS TEXT), {states}, "
        ":now - (i * 31 % 30) * 86400.0 - i % 86400, :now - (i * 17 % 20) * 86400.0, "
        ":now + (9 + i * 17 % 20) * 86400.0 + i % 86400 FROM n"
    ),
    (
        "INSERT INTO d360_refused (channel_id, media_id, status, code, details, refused_at) {series} "
        "SELECT 1 + i % {channels}, CAST(500000000000000 + (i * 7919) % 1000000007 AS TEXT), 400, 100, 'gone', :now FROM n"
    ),
)


def run(*, engine: str = "both", small: int = 10_000, large: int = 1_000_000, repeats: int = 300) -> dict[str, Any]:
    """Build two ledgers on each engine and ask both.

    It holds where no plan of the larger one scans a table, and, from a million rows on, where no median is above 3 times its cost
    in the smaller one. Below that the times are shown and nothing else: a short run is for the suite, which times nothing.

    Args:
        engine: sqlite, postgresql or both. small, large: fingerprints, ids and refused ids each. repeats: of each question.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    figures: dict[str, Any] = {}
    for each in engines:
        few, _, _ = _ask(each, small, repeats)
        many, plans, build_s = _ask(each, large, repeats)
        ratios = {name: round(many[name] / few[name], 2) for name in few}
        scans = [plan for plan in plans if is_scan(plan)]
        figures[each] = {
            "small_ms": few,
            "large_ms": many,
            "ratio": ratios,
            "plans": len(plans),
            "scans": scans,
            "build_s": build_s,
        }
    judged = large >= 1_000_000
    holds = all(
        found["plans"]
        and not found["scans"]
        and (not judged or max(value for name, value in found["ratio"].items() if name != "statistics") <= MOST)
        for found in figures.values()
    )
    return support.tell("scale", {"small": small, "large": large, "repeats": repeats} | figures, started=started, holds=holds)


def _ask(engine: str, rows: int, repeats: int) -> tuple[dict[str, float], list[str], float]:
    """Name -> median milliseconds; every line of every plan; seconds that building took."""
    with support.folder() as place, support.ledger_url(engine, place) as url:
        store = Store(url).open()
        began = time.monotonic()
        build(store, rows)
        build_s = time.monotonic() - began
        found: dict[str, list[float]] = {}
        plans: list[str] = []
        questions = _Questions(store, rows)
        with _watched(store, plans) as watch:
            for name, question in questions.all():
                watch(name)
                question()  # warm; its plans are looked at
                watch(None)
                found[name] = [_ms(question) for _ in range(repeats)]
        medians = {name: round(statistics.median(values), 3) for name, values in found.items()}
        medians["statistics"] = round(_ms(lambda: read_statistics(store)), 3)
        return medians, plans, round(build_s, 1)


def _ms(question: Callable[[], object]) -> float:
    started = time.perf_counter()
    question()
    return (time.perf_counter() - started) * 1000


def build(store: Store, rows: int) -> None:
    """Ten channels, and so many fingerprints, media ids and refused ids, written by the database itself."""
    for number in range(1, CHANNELS + 1):
        Channels(store).bind(
            api_key=f"k{number}", conn_id=f"c{number}", origin="https://h", phone_number_id=f"10000000000{number:04}"
        )
    words = {"series": SERIES[store.dialect], "hash": _HASH[store.dialect], "states": _STATES, "channels": CHANNELS}
    if store.dialect == "sqlite":
        with store.read() as db:
            db.exec_driver_sql("PRAGMA cache_size = -1000000")  # of this one connection: building in random order needs memory
    with store.write() as db:
        now = db.scalar(sa.select(store.now))
        for statement in _BUILD:
            db.execute(sa.text(statement.format(**words)), {"rows": rows, "now": now} if ":now" in statement else {"rows": rows})
        if store.dialect == "postgresql":
            for table in (schema.fingerprint, schema.media):
                db.execute(sa.text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), :rows)"), {"rows": rows})
    engine = engine_of(store)
    if store.dialect == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()  # the memory for building goes with its connection


def engine_of(store: Store) -> sa.Engine:
    """The engine behind a ledger, for what a ledger does not offer."""
    with store.read() as db:
        return db.engine


class _Questions:
    """What is asked all day; each call asks for another row."""

    def __init__(self, store: Store, rows: int) -> None:
        self._store, self._rows = store, rows
        self._chance = random.Random(360)
        self._made = 0
        self._open: list[tuple[int, Claim, Fingerprint]] = []
        self._known = list(self._files())
        self._dead = list(self._refused())

    def all(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """In this order: `complete` ends what `claim` has begun."""
        yield "lookup", self.lookup
        yield "claim", self.claim
        yield "complete", self.complete
        yield "claim_again", self.claim_again
        yield "complete_again", self.complete
        yield "refused", self.refused
        yield "expiring_next", self.expiring_next
        yield "clean_up", self.clean_up

    def lookup(self) -> None:
        channel_id, file = self._chance.choice(self._known)
        assert Uploads(self._store, channel_id).adopt(file, wanted_until=0.0) is not None

    def claim(self) -> None:
        self._made += 1
        self._claim(
            1 + self._made % CHANNELS, Fingerprint(f"{self._chance.getrandbits(256):064x}", "image/png", 100_000), reuse=True
        )

    def claim_again(self) -> None:
        channel_id, file = self._known.pop()
        self._claim(channel_id, file, reuse=False)

    def _claim(self, channel_id: int, file: Fingerprint, *, reuse: bool) -> None:
        claim = Uploads(self._store, channel_id).claim(file, Claimant(f"host:1:{self._chance.random()}"), reuse=reuse)
        assert isinstance(claim, Claim)
        self._open.append((channel_id, claim, file))

    def complete(self) -> None:
        channel_id, claim, file = self._open.pop()
        assert (
            Uploads(self._store, channel_id).complete(claim, file, str(self._chance.randrange(8 * 10**15, 9 * 10**15)))
            is not None
        )

    def refused(self) -> None:
        channel_id, media_id = self._chance.choice(self._dead)
        assert RefusedIds(self._store, channel_id).look_up(media_id) is not None

    def expiring_next(self) -> None:
        """The current ids of a channel that end first."""
        media = schema.media
        query = (
            sa.select(media.c.id, media.c.fingerprint_id, media.c.media_id, media.c.safe_until)
            .where(media.c.channel_id == self._channel(), media.c.state == schema.CURRENT)
            .order_by(media.c.safe_until)
            .limit(100)
        )
        with self._store.read() as db:
            assert len(db.execute(query).all()) == 100 or self._rows < 10_000

    def clean_up(self) -> None:
        """What may be deleted, longest waiting first.

        One statement for each state, or the index could not give the order; and the instant as a parameter, for PostgreSQL
        compares nothing with its clock by an index (`clock_timestamp()` is volatile).
        """
        media, channel_id = schema.media, self._channel()
        with self._store.read() as db:
            before = db.execute(sa.select(self._store.now)).scalar_one() - RETIRE_GRACE_S
            for state in (schema.SURPLUS, schema.RETIRING):
                query = (
                    sa.select(media.c.id, media.c.media_id, media.c.state_since)
                    .where(
                        media.c.channel_id == channel_id,
                        media.c.state == state,
                        media.c.state_since < before,
                    )
                    .order_by(media.c.state_since)
                    .limit(100)
                )
                db.execute(query).all()

    def _channel(self) -> int:
        return self._chance.randint(1, CHANNELS)

    def _files(self) -> Iterator[tuple[int, Fingerprint]]:
        files, chosen = schema.fingerprint, self._chosen(2000)
        query = sa.select(files).where(files.c.id.in_(chosen), files.c.media_row.is_not(None))
        with self._store.read() as db:
            for row in db.execute(query):
                yield row.channel_id, Fingerprint(row.sha256, row.mime_type, row.size_bytes)

    def _refused(self) -> Iterator[tuple[int, str]]:
        for i in self._chosen(500):
            yield 1 + i % CHANNELS, str(500000000000000 + (i * 7919) % 1000000007)

    def _chosen(self, count: int) -> list[int]:
        return self._chance.sample(range(1, self._rows + 1), min(count, self._rows))


@contextmanager
def _watched(store: Store, plans: list[str]) -> Iterator[Callable[[str | None], None]]:
    """Explain every statement of a question, with its own parameters, before it runs; keep the plans."""
    asked: list[str] = []
    engine = engine_of(store)

    def explain(_db: Any, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if asked and statement.split(maxsplit=1)[0] in {"SELECT", "UPDATE", "INSERT", "DELETE"}:
            prefix = "EXPLAIN " if store.dialect == "postgresql" else "EXPLAIN QUERY PLAN "
            cursor.execute(prefix + statement, parameters)
            plans.extend(f"{asked[0]}: {' '.join(str(word) for word in row).strip()}" for row in cursor.fetchall())

    def watch(name: str | None) -> None:
        asked[:] = [] if name is None else [name]

    sa.event.listen(engine, "before_cursor_execute", explain)
    try:
        yield watch
    finally:
        sa.event.remove(engine, "before_cursor_execute", explain)


def is_scan(line: str) -> bool:
    """Whether a line of a plan (SQLite's or PostgreSQL's) reads a large table from end to end, or sorts one."""
    if "TEMP B-TREE" in line or re.search(r"\bSort\b(?! Key)", line):
        return True
    scanned = re.search(r"\bSCAN (\w+)|\bSeq Scan on (\w+)", line)
    return scanned is not None and (scanned[1] or scanned[2]) in LARGE_TABLES


if __name__ == "__main__":
    support.main(run)
