"""From one version of the schema to the next. Each step runs once, inside the transaction that holds the lock.

A step is never edited after its release: it has to find what the version before it left. It does no harm where it ran before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _add_the_ration(db: sa.Connection) -> None:
    """Version 2: pace and error budget of a channel, and what its connections say of them."""
    for table in (schema.pace, schema.retrieval, schema.credit):
        table.create(db, checkfirst=True)
    real = "DOUBLE PRECISION" if db.dialect.name == "postgresql" else "DOUBLE"
    standing = {column["name"] for column in sa.inspect(db).get_columns("d360_connection")}
    new = {"uploads_per_second": real, "error_budget": "INTEGER", "throttle": "TEXT", "policy_at": real}
    for name, kind in new.items():
        if name not in standing:
            db.execute(sa.text(f"ALTER TABLE d360_connection ADD COLUMN {name} {kind}"))
    db.execute(sa.text("CREATE INDEX IF NOT EXISTS d360_connection_of ON d360_connection (channel_id)"))


def _remember_the_line(db: sa.Connection) -> None:
    """Version 3: a pace knows its line; what stood in it before was never used. Failed uploads may count."""
    schema.pace.drop(db, checkfirst=True)
    schema.pace.create(db)
    standing = {column["name"] for column in sa.inspect(db).get_columns("d360_connection")}
    if "count_failed_uploads" not in standing:
        db.execute(sa.text("ALTER TABLE d360_connection ADD COLUMN count_failed_uploads BOOLEAN"))


def _add_campaigns(db: sa.Connection) -> None:
    """Version 4: campaigns, their items, and who deleted what."""
    for table in (schema.campaign, schema.item, schema.audit):
        table.create(db, checkfirst=True)


def _add_inbound(db: sa.Connection) -> None:
    """Version 5: what customers sent, and how it is archived; a credit knows whether a webhook's own URL holds it."""
    for table in (schema.inbound_batch, schema.inbound_source, schema.inbound_run, schema.inbound):
        table.create(db, checkfirst=True)
    standing = {column["name"] for column in sa.inspect(db).get_columns("d360_credit")}
    if "by_webhook_url" not in standing:
        no = "false" if db.dialect.name == "postgresql" else "0"
        db.execute(sa.text(f"ALTER TABLE d360_credit ADD COLUMN by_webhook_url BOOLEAN NOT NULL DEFAULT {no}"))


def _remember_runs(db: sa.Connection) -> None:
    """Version 6: which DAG run is at a campaign; whether a connection's key was refused."""
    schema.campaign_run.create(db, checkfirst=True)
    real = "DOUBLE PRECISION" if db.dialect.name == "postgresql" else "DOUBLE"
    standing = {column["name"] for column in sa.inspect(db).get_columns("d360_connection")}
    for name, kind in {"key_refused_at": real, "key_refused_status": "INTEGER"}.items():
        if name not in standing:
            db.execute(sa.text(f"ALTER TABLE d360_connection ADD COLUMN {name} {kind}"))


STEPS: Final[Mapping[int, Callable[[sa.Connection], None]]] = {
    1: _add_the_ration,
    2: _remember_the_line,
    3: _add_campaigns,
    4: _add_inbound,
    5: _remember_runs,
}
"""From which version -> what makes the next one of it."""


def upgrade(db: sa.Connection, version: int) -> int:
    """Bring an older schema to the present version; the version that stands afterwards."""
    while version < schema.VERSION:
        STEPS[version](db)
        version += 1
        db.execute(schema.meta.update().where(schema.meta.c.name == "schema_version").values(value=str(version)))
    return version
