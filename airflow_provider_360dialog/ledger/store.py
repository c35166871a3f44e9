"""The database of the ledger: one engine for each URL and process, transactions, the clock, the schema's life.

SQLite for one host, PostgreSQL for many; everything else here is written once for both. Works behind transaction pooling: no
session state, no prepared statements held. Where the database does not answer
(`LedgerUnavailableError`), the caller sends nothing.
"""

from __future__ import annotations

import math
import os
import secrets
import sqlite3
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from airflow_provider_360dialog.exceptions import (
    LedgerMissingError,
    LedgerRefusedError,
    LedgerUnavailableError,
)
from airflow_provider_360dialog.ledger import schema, upgrades
from airflow_provider_360dialog.ledger.host import check_file_system, check_only_host
from airflow_provider_360dialog.ledger.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY_S: Final = 30
_SEEN_EVERY_S: Final = 60.0
_LOCK_ID: Final = 0x6433_3630  # "d360"
_NOW: Final = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "(extract(epoch FROM clock_timestamp())::float8)",
}


class Store:
    """The ledger's database.

    Args:
        url: SQLAlchemy URL: ``sqlite:///<absolute path>`` or ``postgresql+psycopg://...``.
        now_sql: an SQL expression for the present instant in float seconds since 1970; None for the database's clock. Tests pass
            their own to move time.
        single_host: whether to look out for other hosts that open the same SQLite file.
    """

    def __init__(self, url: str | sa.URL, *, now_sql: str | None = None, single_host: bool = True) -> None:
        self._url = sa.make_url(url)
        self._single_host = single_host
        self.dialect = self._url.get_backend_name()
        if self.dialect not in _NOW:
            raise LedgerRefusedError(place=self.place, reason="it is neither SQLite nor PostgreSQL")
        self.now: sa.ColumnElement[float] = sa.literal_column(now_sql or _NOW[self.dialect], sa.Double).label("now")
        self._checked_by = 0
        self._seen_at = -math.inf

    @cached_property
    def statements(self) -> Statements:
        """What the hot path asks, built once."""
        return Statements(self.dialect, self.now)

    @property
    def place(self) -> str:
        """Where the ledger is, for messages: no user, no password."""
        if self._url.get_backend_name() == "sqlite":
            return self._url.database or ""
        return f"{self._url.get_backend_name()}://{self._url.host or 'local'}:{self._url.port or 5432}/{self._url.database}"

    def open(self) -> Store:
        """Make sure, once a process, that the schema stands; an empty database gets one. SQLite: note every minute who uses it.

        Raises:
            LedgerRefusedError: the schema is newer than this version, or too old to be used as it is, or a SQLite file lies where
                it must not. LedgerUnavailableError: it cannot be reached.
        """
        if self._checked_by != os.getpid():
            self._make_file()
            if self._version() != schema.VERSION:
                self.migrate(upgrade=self.dialect == "sqlite")
            self._checked_by = os.getpid()
            self._seen_at = -math.inf
        if self.dialect == "sqlite" and self._single_host and time.monotonic() - self._seen_at > _SEEN_EVERY_S:
            with self.write() as db:
                check_only_host(db, self.now, place=self.place)
            self._seen_at = time.monotonic()
        return self

    def open_existing(self) -> Store:
        """For readers: never creates anything.

        Raises:
            LedgerMissingError: there is no ledger yet. LedgerRefusedError, LedgerUnavailableError: as for `open`.
        """
        if self._checked_by != os.getpid():
            if self.dialect == "sqlite" and not _has_content(Path(self.place)):
                raise LedgerMissingError(place=self.place)
            version = self._version()
            if version is None:
                raise LedgerMissingError(place=self.place)
            self._check_version(version, upgrade=False)
            self._checked_by = os.getpid()
        return self

    def migrate(self, *, upgrade: bool = True) -> int:
        """Create or upgrade the schema, under a lock; the version that stands afterwards.

        Args:
            upgrade: whether an older schema may be changed; an empty database always gets one.
        """
        self._make_file()
        with self.write() as db:
            if self.dialect == "postgresql":
                db.execute(sa.text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
            version = self._read_version(db)
            if version is None:
                schema.metadata.create_all(db)
                db.execute(schema.meta.insert(), [
                    {"name": "schema_version", "value": str(schema.VERSION)},
                    {"name": "key_pepper", "value": secrets.token_hex(32)},
                ])  # fmt: skip
                return schema.VERSION
            self._check_version(version, upgrade=upgrade)
            try:
                return upgrades.upgrade(db, version)
            except LookupError:
                reason = f"no way leads from its schema (version {version}) to this provider's ({schema.VERSION})"
                raise LedgerRefusedError(place=self.place, reason=reason) from None

    def read_now(self) -> datetime:
        """The present instant by the database's clock, aware UTC."""
        with self.read() as db:
            return datetime.fromtimestamp(db.execute(sa.select(self.now)).scalar_one(), UTC)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction that may change something; SQLite takes its one write lock at the start."""
        with self._transaction(write=True) as db:
            yield db

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One transaction that changes nothing."""
        with self._transaction(write=False) as db:
            yield db

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[sa.Connection]:
        error: LedgerUnavailableError | LedgerRefusedError | None = None
        try:
            with self._engine().connect().execution_options(d360_write=write) as db, db.begin():
                yield db
        except (OperationalError, InterfaceError, InternalError, DisconnectionError, PoolTimeoutError) as fault:
            error = LedgerUnavailableError(place=self.place, reason=_words(fault))
        except SQLAlchemyError as fault:
            error = LedgerRefusedError(place=self.place, reason=f"it does not answer as a ledger does: {_words(fault)}")
        if error is not None:  # not chained: a driver's text can hold the connection's password
            raise error from None

    def _engine(self) -> sa.Engine:
        try:
            return _engine_for(self._url)
        except (ImportError, NoSuchModuleError) as fault:
            reason = "the driver for PostgreSQL is not installed: pip install 'airflow-provider-360dialog[postgres]'"
            raise LedgerRefusedError(place=self.place, reason=reason) from fault

    def _make_file(self) -> None:
        """An empty file that only its owner can read, in a folder of the same kind."""
        if self.dialect != "sqlite":
            return
        path = Path(self.place)
        if not path.is_absolute():
            raise LedgerRefusedError(place=self.place, reason="the path is not absolute")
        if path.exists():
            check_file_system(path)
            return
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_file_system(path)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as fault:
            raise LedgerRefusedError(place=self.place, reason=fault.strerror or type(fault).__name__) from fault

    def _version(self) -> int | None:
        with self.read() as db:
            return self._read_version(db)

    def _read_version(self, db: sa.Connection) -> int | None:
        if not sa.inspect(db).has_table(schema.meta.name):
            return None
        found = db.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.name == "schema_version"))
        if found is not None and not found.isdecimal():
            raise LedgerRefusedError(place=self.place, reason=f"its schema version is {found[:20]!r}, which is no number")
        return None if found is None else int(found)

    def _check_version(self, version: int, *, upgrade: bool) -> None:
        if version > schema.VERSION:
            reason = f"its schema (version {version}) is newer than this provider's ({schema.VERSION}): upgrade the provider"
            raise LedgerRefusedError(place=self.place, reason=reason)
        if version < schema.VERSION and not upgrade:
            reason = (
                f"its schema (version {version}) is older than this provider's ({schema.VERSION}): run 'dialog360 ledger migrate'"
            )
            raise LedgerRefusedError(place=self.place, reason=reason)


_engines: dict[tuple[int, str], sa.Engine] = {}


def _engine_for(url: sa.URL) -> sa.Engine:
    """The engine of this process: a connection that was opened before a fork must not be used after it."""
    name = (os.getpid(), url.render_as_string(hide_password=False))
    if name not in _engines:
        _engines[name] = _new_sqlite(url) if url.get_backend_name() == "sqlite" else _new_postgres(url)
    return _engines[name]


def _forget_engines() -> None:
    """In a forked child: let go of the parent's connections without closing them; they are still the parent's."""
    for engine in _engines.values():
        engine.dispose(close=False)
    _engines.clear()


os.register_at_fork(after_in_child=_forget_engines)


def _new_postgres(url: sa.URL) -> sa.Engine:
    named = {} if "application_name" in url.query else {"application_name": "airflow-provider-360dialog"}
    return sa.create_engine(
        url,
        pool_size=8,  # what goes beyond is closed when it is given back: too few would be opened anew for every other upload
        max_overflow=7,
        isolation_level="READ COMMITTED",  # whoever waited for a lock has to see what its holder wrote
        pool_pre_ping=True,
        pool_recycle=300,
        hide_parameters=True,
        connect_args={"prepare_threshold": None, "connect_timeout": 10, **named},
    )


def _new_sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_S})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late
        cursor = connection.cursor()
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        _write_ahead(cursor)
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("d360_write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _write_ahead(cursor: Any) -> None:
    """Write-ahead mode, which stays with the file. The lock that the change takes is one for which SQLite does not wait."""
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    gives_up_at = time.monotonic() + BUSY_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > gives_up_at:
                raise
            time.sleep(0.05)
        else:
            return


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _words(fault: SQLAlchemyError) -> str:
    """What a database's error says, on one line and without its address, parameters or statement."""
    cause = fault.orig if isinstance(fault, DBAPIError) and fault.orig is not None else fault
    first = str(cause).strip().splitlines()[:1] or [""]
    return f"{type(cause).__name__}: {first[0][:200]}"
