"""Copy a whole ledger into an empty one, such as a SQLite file into a PostgreSQL that several hosts will share.

Everything goes along: ids, refused ids, pace, credits, campaigns, what customers sent, the audit, and the secret under which keys
are remembered. What one machine noted of itself does not.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import LedgerRefusedError
from airflow_provider_360dialog.ledger import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_360dialog.ledger.store import Store

_PAGE: Final = 2_000
_PEPPER: Final = "key_pepper"


def copy_ledger(source: Store, target: Store) -> dict[str, int]:
    """Copy all of it, in one transaction of the target; table -> rows.

    Args:
        source: the ledger, which nobody may use meanwhile. target: an empty database, or a ledger that was made and never used.

    Raises:
        LedgerRefusedError: somebody is at work in the source, the target has something in it, or either is none.
        LedgerMissingError: there is no ledger to copy. LedgerUnavailableError: either cannot be reached.
    """
    if source.place == target.place:
        raise LedgerRefusedError(place=target.place, reason="it is the ledger that is to be copied")
    source.open_existing()
    with source.read() as origin:
        _check_quiet(origin, source)
        target.open()
        with target.write() as db:
            _check_empty(db, target)
            copied = {table.name: _copy(table, origin, db) for table in _tables()}
            _copy_pepper(origin, db)
            if target.dialect == "postgresql":
                _go_on_counting(db)
    return copied


def _tables() -> list[sa.Table]:
    """In an order in which each row finds those that it points at."""
    return [table for table in schema.metadata.sorted_tables if table is not schema.meta]


def _check_quiet(db: sa.Connection, source: Store) -> None:
    now = db.execute(sa.select(source.now)).scalar_one()
    credit = schema.credit
    at_work = (
        sa.select(sa.func.count()).where(schema.fingerprint.c.sending > 0, schema.fingerprint.c.lease_until > now),
        sa.select(sa.func.count()).where(schema.inbound.c.owner.is_not(None), schema.inbound.c.lease_until > now),
        sa.select(sa.func.count()).where(credit.c.spent_at.is_(None), credit.c.deadline > now),
    )
    if any(db.execute(each).scalar_one() for each in at_work):
        reason = "tasks are at work in it. Pause the DAGs, wait for their tasks, and, where one was killed, two minutes more"
        raise LedgerRefusedError(place=source.place, reason=reason)


def _check_empty(db: sa.Connection, target: Store) -> None:
    # The row of the version is locked, so that of two copies at once the later finds what the earlier has brought.
    db.execute(sa.select(schema.meta).where(schema.meta.c.name == "schema_version").with_for_update()).one()
    if any(db.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() for table in _tables()):
        raise LedgerRefusedError(place=target.place, reason="there is something in it already; a copy needs an empty database")


def _copy(table: sa.Table, origin: sa.Connection, db: sa.Connection) -> int:
    copied = 0
    for page in _pages(origin.execution_options(yield_per=_PAGE).execute(sa.select(table)).mappings()):
        db.execute(table.insert(), page)
        copied += len(page)
    return copied


def _pages(rows: sa.MappingResult) -> Iterator[list[dict[str, Any]]]:
    found = iter(rows)
    while page := [dict(row) for row in islice(found, _PAGE)]:
        yield page


def _copy_pepper(origin: sa.Connection, db: sa.Connection) -> None:
    """Without it no key would be known."""
    is_pepper = schema.meta.c.name == _PEPPER
    value = origin.execute(sa.select(schema.meta.c.value).where(is_pepper)).scalar_one()
    db.execute(schema.meta.update().where(is_pepper).values(value=value))


def _go_on_counting(db: sa.Connection) -> None:
    """The next row's number is behind the last one's."""
    for table in _tables():
        if "id" not in table.c:
            continue
        last = db.execute(sa.select(sa.func.max(table.c.id))).scalar_one()
        if last is not None:
            db.execute(sa.text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"), {"name": table.name, "last": last})
