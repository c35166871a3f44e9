"""``INSERT .. ON CONFLICT``, which both databases have and SQLAlchemy's core insert has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store


def insert_for(store: Store) -> Any:
    """The insert of the ledger's database; both give the same methods."""
    return postgresql.insert if store.dialect == "postgresql" else sqlite.insert
