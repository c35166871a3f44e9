"""A ledger for a test: a SQLite file of its own, one channel in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from airflow_provider_360dialog.ledger.channel import ChannelLedger
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.store import Store


class MovedClock:
    """Time as it runs, and ahead of it by as much as it was moved; for a SQLite ledger that is made next."""

    now_sql = "((julianday('now') - 2440587.5) * 86400.0 + (SELECT ahead FROM test_ahead))"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ledger.db"
        self._execute("CREATE TABLE test_ahead AS SELECT 0.0 AS ahead")

    def advance(self, seconds: float) -> None:
        """Move it."""
        self._execute(f"UPDATE test_ahead SET ahead = ahead + {seconds!r}")

    def _execute(self, sql: str) -> None:
        db = sqlite3.connect(self._path, timeout=30)
        try:
            db.execute(sql)
            db.commit()
        finally:
            db.close()


def open_store(folder: Path, **options: Any) -> Store:
    """A new ledger in a folder."""
    return Store(f"sqlite:///{folder}/ledger.db", **options).open()


def channel_of(
    store: Store, number: str = "100000000000001", *, api_key: str = "test-key-of-the-ledger", **task: Any
) -> ChannelLedger:
    """A number's part of a ledger."""
    identity = Channels(store).bind(api_key=api_key, conn_id=f"conn_{number}", origin="https://h", phone_number_id=number)
    return ChannelLedger(store, lambda: identity, **task)
