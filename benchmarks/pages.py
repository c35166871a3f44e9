"""What people look at is quick at 10^6 rows: every page of the media page, behind Airflow's own login, and ``dialog360 status``.

The ledger is written by the database itself, in bulk: ids of ten channels and refused ids (as in `scale`); one campaign with an
item for each file, some of them rejected; many small campaigns, with the runs that were at them; what customers sent.
Pages are asked for over ASGI with a token that Airflow signed; ``status`` runs in this process, so that what starting Python and
importing Airflow cost is not in it. What the whole command takes is told beside it.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.store import Store
from benchmarks import support
from benchmarks.scale import CHANNELS, SERIES, build, engine_of

PAGE_MS = 200.0
STATUS_MS = 1000.0
SMALL_CAMPAIGNS = 200
_CAMPAIGNS = (
    "INSERT INTO d360_campaign (id, name, needed_until, plan, planned_at, created_at) {series} "
    "SELECT i, CASE WHEN i = 1 THEN 'the-large-one' ELSE 'campaign-' || i END, "
    ":now + CASE WHEN i % 4 = 3 THEN -1 ELSE 1 END * (1 + i % 13) * 43200.0, 1, :now - 3600.0, :now - 7200.0 FROM n"
)
_RUNS = (
    "INSERT INTO d360_campaign_run (campaign_id, channel_id, dag_id, run_id, began_at, seen_at, ended_at) {series} "
    "SELECT 1 + i / {channels}, i % {channels}, 'vouchers', 'scheduled__' || i, :now - 600.0, :now - i % 300, "
    "CASE WHEN i % 3 > 0 THEN :now - i % 300 END FROM n"
)
_ITEMS = (
    "INSERT INTO d360_item (campaign_id, channel_id, conn_id, key, uri, fingerprint_id, state, reason, plan) {series} "
    "SELECT {campaign}, 1 + i % {channels}, 'c' || (1 + i % {channels}), 'k' || i, 's3://vouchers/' || i || '.pdf', "
    "CASE WHEN i % 97 > 0 THEN i END, CASE WHEN i % 97 > 0 THEN 'planned' ELSE 'rejected' END, "
    "CASE WHEN i % 97 = 0 THEN :reason END, 1 FROM n"
)
_INBOUND = (
    "INSERT INTO d360_inbound (channel_id, media_id, batch_id, source_id, line, received_at, state, run_id, reason) {series} "
    "SELECT 1 + i % {channels}, CAST(700000000000000 + i AS TEXT), 1, 1, i, :now - (i * 31 % 604800), "
    "CASE WHEN i % 20 = 0 THEN 'pending' WHEN i % 500 = 1 THEN 'lost' ELSE 'archived' END, 1, "
    "CASE WHEN i % 500 = 1 THEN 'gone' END FROM n"
)
_REASON = '[{"code": "image_too_large", "message": "It has 6,291,456 bytes.", "remedy": "Save it smaller."}]'


def run(*, engine: str = "both", rows: int = 1_000_000, repeats: int = 30) -> dict[str, Any]:
    """Fill a ledger on each engine and look at it.

    It holds where, from a million rows on, every page's median is below 200 ms and that of ``status`` below a second.

    Args:
        engine: sqlite, postgresql or both. rows: files, items of the largest campaign, and received files each.
        repeats: of each page.
    """
    started = time.monotonic()
    figures: dict[str, Any] = {}
    for each in support.ENGINES if engine == "both" else (engine,):
        with support.folder() as place, support.ledger_url(each, place) as url:
            emulated = support.Emulator("http://127.0.0.1:9", [])
            with support.environment(support.airflow_environment(emulated, url)):
                figures[each] = _look(url, rows, repeats)
    judged = rows >= 1_000_000
    slow = {
        f"{each}: {name}": found["median_ms"]
        for each, of_engine in figures.items()
        for name, found in of_engine["ms"].items()
        if found["median_ms"] > (STATUS_MS if name == "status" else PAGE_MS)
    }
    answered = all(found["bytes"] > 100 for of_engine in figures.values() for found in of_engine["ms"].values())
    shown = {"rows": rows, "repeats": repeats, "slow": slow} | figures
    return support.tell("pages", shown, started=started, holds=answered and not (judged and slow))


def _look(url: str, rows: int, repeats: int) -> dict[str, Any]:
    began = time.monotonic()
    fill(Store(url).open(), rows)
    build_s = round(time.monotonic() - began, 1)
    visit = _visitor()
    paths = {
        "channels": "channels",
        "campaigns": "campaigns",
        "campaigns that have ended": "campaigns?ended=true",
        "the large campaign": "campaign?name=the-large-one",
        "a small campaign": "campaign?name=campaign-2",
        "inbound": "inbound",
    }
    found = {name: _timed(lambda path=path: visit(path), repeats) for name, path in paths.items()}  # type: ignore[misc]
    found["status"] = _timed(_status, repeats)
    command = [sys.executable, "-m", "airflow_provider_360dialog.cli", "status", "the-large-one", "--json"]
    whole = _timed(lambda: subprocess.run(command, capture_output=True, text=True, check=False).stdout, min(repeats, 5))
    return {"build_s": build_s, "ms": found, "whole_status_command_ms": whole["median_ms"]}


def _timed(ask: Callable[[], str], repeats: int) -> dict[str, Any]:
    times: list[float] = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        text = ask()
        times.append((time.perf_counter() - started) * 1000)
    first, *rest = times
    shown = {"first_ms": first, "median_ms": statistics.median(rest), "most_ms": max(rest)}
    return {name: round(value, 1) for name, value in shown.items()} | {"bytes": len(text)}


def _status() -> str:
    from airflow_provider_360dialog.cli import main

    with redirect_stdout(io.StringIO()) as out:
        main(["status", "the-large-one", "--json"])
    return out.getvalue()


def _visitor() -> Callable[[str], str]:
    """Somebody who is logged in and has the least role there is; gives the text of a page."""
    from airflow import settings
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.models.revoked_token import RevokedToken
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from airflow_provider_360dialog.ui.app import create_app

    RevokedToken.__table__.create(settings.engine, checkfirst=True)  # type: ignore[attr-defined]
    token = init_auth_manager(FastAPI()).generate_jwt(SimpleAuthManagerUser(username="vi", role="viewer"))
    client = TestClient(create_app(), headers={"Authorization": f"Bearer {token}", "Accept": "text/html"})

    def visit(path: str) -> str:
        answer = client.get(f"/{path}")
        assert answer.status_code == 200, answer.text[:500]
        return str(answer.text)

    return visit


def fill(store: Store, rows: int) -> None:
    """Ids, campaigns, items, runs and received files."""
    build(store, rows)
    few = max(1, rows // (10 * SMALL_CAMPAIGNS))
    with store.write() as db:
        now = db.scalar(sa.select(store.now))
        db.execute(schema.inbound_batch.insert().values(id=1, channel_id=1, name="b"))
        db.execute(schema.inbound_source.insert().values(id=1, channel_id=1, uri="s", read_at=now))
        db.execute(schema.inbound_run.insert().values(id=1, channel_id=1, began_at=now))
        _insert(db, _CAMPAIGNS, SMALL_CAMPAIGNS + 1, now=now)
        _insert(db, _RUNS, (SMALL_CAMPAIGNS + 1) * CHANNELS - 1, now=now)
        _insert(db, _ITEMS.replace("{campaign}", "1"), rows, reason=_REASON)
        for campaign in range(2, SMALL_CAMPAIGNS + 2):
            _insert(db, _ITEMS.replace("{campaign}", str(campaign)), few, reason=_REASON)
        _insert(db, _INBOUND, rows, now=now)
    if store.dialect == "postgresql":
        with engine_of(store).connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.exec_driver_sql("VACUUM ANALYZE")
    engine_of(store).dispose()


def _insert(db: sa.Connection, statement: str, rows: int, **values: Any) -> None:
    text = statement.replace("{series}", SERIES[db.dialect.name]).replace("{channels}", str(CHANNELS))
    db.execute(sa.text(text), {"rows": rows, **values})


if __name__ == "__main__":
    support.main(run)
