"""A PostgreSQL of our own for tests and scripts: a new data folder, a free loopback port, fsync on, gone afterwards.

Never uses a server that runs already. As root it runs as an unprivileged user, because PostgreSQL refuses root::

    with postgres() as server:
        url = server.new_database()      # postgresql+psycopg://ledger:...@127.0.0.1:PORT/d1
        server.stop(); server.start()    # faults
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.ports import free_port

USER = "ledger"
PASSWORD = "test-password-of-the-ledger"
MISSING = "no PostgreSQL server binaries (initdb, postgres) here: apt-get install postgresql"

_START_S = 30.0
_SETTINGS = {"fsync": "on", "max_connections": "200", "shared_buffers": "64MB", "log_min_messages": "warning"}
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresMissingError(Exception):
    """There is no PostgreSQL to start."""


class Postgres:
    """A server. `base_url` ends without a database; `new_database` gives a whole URL."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self._user = _unprivileged_user()
        self.port = free_port()
        self.spare: list[str] = []  # databases that nobody uses now
        self._make_data()

    @property
    def base_url(self) -> str:
        """A SQLAlchemy URL without a database."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    @property
    def socket_folder(self) -> Path:
        """Where its unix socket is."""
        return self._folder

    @property
    def pid(self) -> int | None:
        """Of the server, while it runs."""
        return None if self._process is None else self._process.pid

    def new_database(self, template: str | None = None) -> str:
        """The SQLAlchemy URL of a database that is empty, or a copy of another one (its URL or name)."""
        name = f"d{next(self._names)}"
        copied = "template0" if template is None else template.rpartition("/")[2]
        self.execute(f'CREATE DATABASE {name} TEMPLATE "{copied}"')
        return f"{self.base_url}/{name}"

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self.execute(f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)')

    def empty(self, url: str) -> None:
        """Disconnect everybody from a database and remove all its tables."""
        self.disconnect(url)
        self.execute("SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public", url)

    def disconnect(self, url: str) -> None:
        """End every connection to a database (its URL or name)."""
        name = url.rpartition("/")[2]
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def execute(self, sql: str, database: str = "postgres") -> list[Any]:
        """One statement, with autocommit; its rows. ``database``: a name or a URL."""
        with self.connect(database) as db:
            cursor = db.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A bare connection, with autocommit. ``database``: a name or a URL."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            dbname=database.rpartition("/")[2],
            autocommit=True,
            connect_timeout=10,
        )

    def start(self) -> None:
        """Start it, and return when it answers."""
        assert self._process is None, "it runs already"
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self._folder, **_SETTINGS}
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_dies_with_us(), *command], stdout=log, stderr=log, cwd="/", start_new_session=True, **self._as_user()
            )
        ends_at = time.monotonic() + _START_S
        while True:
            try:
                self.connect().close()
                break
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > ends_at:
                    self.stop("immediate")
                    raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()[-3000:]}") from None
                time.sleep(0.02)

    def stop(self, mode: str = "fast") -> None:
        """Stop it (``smart``, ``fast``, or ``immediate``: like a crash). Does nothing where it does not run."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(_SIGNALS[mode])
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it on the same port."""
        self.stop(mode)
        self.start()

    def _make_data(self) -> None:
        self._data, self._log = self._folder / "data", self._folder / "log"
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)  # the folder is the server's own
        options = ["--no-sync", "--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}", "-E", "UTF8", "--locale=C"]
        done = subprocess.run(
            [str(self._programs / "initdb"), "-D", str(self._data), *options],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            **self._as_user(),
        )
        password.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}\n{done.stderr}")

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a server of our own; it ends with the block, by its process id, and its data with it.

    Raises:
        PostgresMissingError: there are no binaries.
    """
    programs = find_programs()
    if programs is None:
        raise PostgresMissingError(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a short path: a socket's name has room for 107 bytes
    try:
        server = Postgres(programs, folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_programs() -> Path | None:
    """The folder that holds initdb and postgres: of PATH, else the newest of Debian's."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    places += sorted(installed, key=lambda place: float(place.parent.name) if place.parent.name.isdigit() else 0, reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One server for the session. Without binaries: a loud skip, and in CI a failure."""
    try:
        with postgres() as server:
            yield server
    except PostgresMissingError as error:
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(f"CI must test PostgreSQL, and there is {error}")
        pytest.skip(f"POSTGRESQL IS NOT TESTED: {error}")


def _dies_with_us() -> list[str]:
    """A prefix that stops the server (fast) should this process be killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT", "--"] if setpriv else []


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom to run as; None where we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresMissingError("no user to run PostgreSQL as: it refuses root, and there is neither 'postgres' nor 'nobody'")
