"""Which number a key speaks for. Keys are remembered by a keyed fingerprint only.

What was proven at one host (``origin``) holds for that host: another one, such as an emulator, is asked anew.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.upsert import insert_for

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import Policy

POLICY_LIFE_S: Final = 3600.0
"""A connection that was not used for an hour has no say in the ration any more."""


@dataclass(frozen=True)
class Identity:
    """A channel on record. ``frozen_because`` is None for one that may be used."""

    channel_id: int
    phone_number_id: str
    frozen_because: str | None = None


@dataclass(frozen=True)
class Known:
    """The key speaks for this channel; nothing has to be asked."""

    identity: Identity


@dataclass(frozen=True)
class Ask:
    """A key that was not seen before: ``GET /health_status`` has to say whose it is."""


@dataclass(frozen=True)
class Refused:
    """The key does not belong where it is used."""

    reason: str


def decide_identity(*, field: str | None, by_key: Identity | None, by_connection: Identity | None) -> Known | Ask | Refused:
    """Whether a connection may be used as it stands. Pure.

    Args:
        field: the connection's phone number id, if it says one. by_key: whose the key was proven to be, if it was seen before.
        by_connection: for whom this connection spoke until now.
    """
    if by_key is None:
        return Ask()
    other = _disagreement(field=field, found=by_key.phone_number_id, by_connection=by_connection)
    return Known(by_key) if other is None else Refused(other)


def decide_new_key(*, field: str | None, found: str | None, by_connection: Identity | None) -> str | Refused:
    """The phone number id that a new key is bound to. Pure.

    Args:
        field: the connection's. found: what ``GET /health_status`` says, None where it does not say.
        by_connection: for whom this connection spoke until now.
    """
    number = found or field
    if number is None:
        return Refused(
            "360dialog does not say which number the key belongs to. Put the number's id into the field 'phone_number_id'"
        )
    other = _disagreement(field=field, found=number, by_connection=by_connection)
    return number if other is None else Refused(other)


def _disagreement(*, field: str | None, found: str, by_connection: Identity | None) -> str | None:
    if field is not None:
        return None if field == found else f"the field says number {field}, but the API key belongs to number {found}"
    if by_connection is not None and by_connection.phone_number_id != found:
        return (
            f"this connection spoke for number {by_connection.phone_number_id}, but its API key belongs to number {found}. "
            f"Put the right key back; or, if the change is meant, set 'phone_number_id' to {found}"
        )
    return None


class Channels:
    """The channels of a ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look_up(self, *, api_key: str, conn_id: str, origin: str) -> tuple[Identity | None, Identity | None]:
        """Whose the key is, and for whom the connection spoke, as far as they are on record."""
        with self._store.read() as db:
            mark = self._mark(db, api_key, origin)
            of_key = schema.key.c.fingerprint == mark
            of_connection = sa.and_(*_connection(conn_id, origin))
            by_key = _identity(db.execute(_channels().join(schema.key).where(of_key)).first())
            by_connection = _identity(db.execute(_channels().join(schema.connection).where(of_connection)).first())
        return by_key, by_connection

    def bind(self, *, api_key: str, conn_id: str, origin: str, phone_number_id: str) -> Identity:
        """Record that a key and a connection speak for a number; a frozen channel whose own key is seen again thaws."""
        insert = insert_for(self._store)
        with self._store.write() as db:
            now = db.scalar(sa.select(self._store.now))
            db.execute(insert(schema.channel).values(phone_number_id=phone_number_id, created_at=now).on_conflict_do_nothing())
            of_number = schema.channel.c.phone_number_id == phone_number_id
            channel_id = db.execute(sa.select(schema.channel.c.id).where(of_number).with_for_update()).scalar_one()
            db.execute(schema.channel.update().where(of_number).values(frozen_because=None))
            key = {"fingerprint": self._mark(db, api_key, origin), "channel_id": channel_id, "first_seen_at": now}
            db.execute(
                insert(schema.key)
                .values(**key)
                .on_conflict_do_update(index_elements=["fingerprint"], set_={"channel_id": channel_id})
            )
        identity = Identity(channel_id, phone_number_id)
        self.bind_connection(conn_id, origin, identity)
        return identity

    def bind_connection(self, conn_id: str, origin: str, identity: Identity) -> None:
        """Record for which channel a connection speaks."""
        with self._store.write() as db:
            db.execute(
                insert_for(self._store)(schema.connection)
                .values(conn_id=conn_id, origin=origin, channel_id=identity.channel_id)
                .on_conflict_do_update(index_elements=["conn_id", "origin"], set_={"channel_id": identity.channel_id})
            )

    def speak(self, conn_id: str, origin: str, identity: Identity, policy: Policy) -> list[str]:
        """Record that a connection speaks for a channel, and what it says of its ration.

        Returns:
            The connections that have spoken for the same channel within an hour and say something else: the stricter counts.
        """
        said = {
            "uploads_per_second": policy.uploads_per_second,
            "error_budget": policy.error_budget,
            "throttle": policy.throttle,
            "count_failed_uploads": policy.count_failed_uploads,
        }
        table = schema.connection
        with self._store.write() as db:
            now = db.execute(sa.select(self._store.now)).scalar_one()
            values = {"channel_id": identity.channel_id, "policy_at": now, **said}
            statement = insert_for(self._store)(table).values(conn_id=conn_id, origin=origin, **values)
            db.execute(statement.on_conflict_do_update(index_elements=["conn_id", "origin"], set_=values))
            others = db.execute(
                sa.select(table).where(
                    table.c.channel_id == identity.channel_id,
                    sa.or_(table.c.conn_id != conn_id, table.c.origin != origin),
                    table.c.policy_at > now - POLICY_LIFE_S,
                )
            ).all()
        return [row.conn_id for row in others if any(getattr(row, name) != value for name, value in said.items())]

    def key_refused(self, conn_id: str, origin: str, status: int) -> None:
        """Record that 360dialog has refused a connection's key, for people who look."""
        with self._store.write() as db:
            now = db.execute(sa.select(self._store.now)).scalar_one()
            values = {"key_refused_at": now, "key_refused_status": status}
            db.execute(schema.connection.update().where(*_connection(conn_id, origin)).values(**values))

    def key_accepted(self, conn_id: str, origin: str) -> None:
        """Record that a connection's key works, where it was refused before."""
        of_connection = (*_connection(conn_id, origin), schema.connection.c.key_refused_at.is_not(None))
        with self._store.read() as db:
            if db.execute(sa.select(schema.connection.c.conn_id).where(*of_connection)).first() is None:
                return
        with self._store.write() as db:
            db.execute(schema.connection.update().where(*of_connection).values(key_refused_at=None, key_refused_status=None))

    def freeze(self, identity: Identity, reason: str) -> None:
        """Stop a channel whose number has moved away. Nothing is deleted."""
        with self._store.write() as db:
            db.execute(schema.channel.update().where(schema.channel.c.id == identity.channel_id).values(frozen_because=reason))

    def _mark(self, db: sa.Connection, api_key: str, origin: str) -> str:
        """The key's fingerprint under this ledger's own secret: it says nothing outside of this ledger."""
        pepper = db.execute(sa.select(schema.meta.c.value).where(schema.meta.c.name == "key_pepper")).scalar_one()
        return hmac.new(bytes.fromhex(pepper), f"{origin}\n{api_key}".encode(), hashlib.sha256).hexdigest()


def _connection(conn_id: str, origin: str) -> tuple[sa.ColumnElement[bool], ...]:
    return schema.connection.c.conn_id == conn_id, schema.connection.c.origin == origin


def _channels() -> sa.Select[tuple[int, str, str | None]]:
    return sa.select(schema.channel.c.id, schema.channel.c.phone_number_id, schema.channel.c.frozen_because).select_from(
        schema.channel
    )


def _identity(row: sa.Row[tuple[int, str, str | None]] | None) -> Identity | None:
    return None if row is None else Identity(row.id, row.phone_number_id, row.frozen_because)
