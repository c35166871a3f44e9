"""What can be told of a ledger without changing it: its version, its clock, whether it could be written to."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.host import check_only_host

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store


class _UndoError(Exception):
    """Ends a transaction so that nothing of it stays."""


def standing_version(store: Store) -> int | None:
    """The version of the schema that stands, whatever it is; None where there is no ledger. Creates nothing.

    Raises:
        LedgerUnavailableError: it cannot be reached. LedgerRefusedError: what is there is no ledger.
    """
    if store.dialect == "sqlite" and not Path(store.place).exists():
        return None
    with store.read() as db:
        if not sa.inspect(db).has_table(schema.meta.name):
            return None
        found = db.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.name == "schema_version"))
    return None if found is None else int(found)


def missing_parts(store: Store) -> list[str]:
    """What a ledger of the right version should have and has not: ``table`` or ``table.column``; empty where it is whole."""
    missing = []
    with store.read() as db:
        inspector = sa.inspect(db)
        tables = set(inspector.get_table_names())
        for table in schema.metadata.sorted_tables:
            if table.name not in tables:
                missing.append(table.name)
                continue
            found = {column["name"] for column in inspector.get_columns(table.name)}
            missing += [f"{table.name}.{column.name}" for column in table.columns if column.name not in found]
    return missing


def read_clock(store: Store) -> float:
    """The present instant by the ledger's clock, float seconds since 1970."""
    with store.read() as db:
        return float(db.scalar(sa.select(store.now)) or 0.0)


def try_writing(store: Store) -> None:
    """Write to a ledger that stands, and take it back: nothing stays.

    Raises:
        LedgerRefusedError: it may not be written to, or another machine uses this SQLite file. LedgerUnavailableError: it cannot
            be reached, or somebody else has kept the lock for 30 s.
    """
    with suppress(_UndoError), store.write() as db:
        if store.dialect == "sqlite":
            check_only_host(db, store.now, place=store.place)
        db.execute(schema.meta.update().where(schema.meta.c.name == "schema_version").values(value=schema.meta.c.value))
        raise _UndoError
