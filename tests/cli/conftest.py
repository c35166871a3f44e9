"""Commands run in this process, against the emulator and a ledger of the test's own."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.cli import main
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger import store as store_module
from tests.support.postgres import PASSWORD, USER, postgres_server  # noqa: F401 - a fixture


class Done:
    """What a command left behind. ``status``, ``out``, ``err``."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def data(self):
        """The one JSON object on standard output."""
        return json.loads(self.out)


@pytest.fixture
def dialog360(capsys):
    """Run ``dialog360 ...``."""

    def run(*words):
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as ended:  # argparse's own
            status = ended.code
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Done(status, out, err)

    return run


@pytest.fixture
def connect(monkeypatch):
    """Write an Airflow connection into the environment."""

    def write(base_url, key, conn_id="number_a", **extra):
        fields = {"conn_type": "dialog360", "host": base_url, "password": key, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return write


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, monkeypatch):
    """The ledger's engine; on PostgreSQL an empty database of the test's own."""
    if request.param == "sqlite":
        yield request.param
        return
    server = request.getfixturevalue("postgres_server")
    url = server.new_database()
    name = url.rpartition("/")[2]
    fields = {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": server.port,
        "login": USER,
        "password": PASSWORD,
        "schema": name,
    }
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER_DB", json.dumps(fields))
    monkeypatch.setenv("AIRFLOW__DIALOG360__LEDGER_CONN_ID", "ledger_db")
    yield request.param
    for each in [each for each in store_module._engines if each[1] == url]:
        store_module._engines.pop(each).dispose()
    server.drop_database(url)


@pytest.fixture
def uploads(number, connect, tmp_path):
    """Upload some small files through the hook; their media ids."""
    connect(number.base_url, number.key)
    hook = Dialog360Hook("number_a")

    def upload(count=1, **more):
        found = []
        for at in range(count):
            path = tmp_path / f"note-{at}.txt"
            path.write_text(f"note {at} of {number.number_id}")
            found.append(hook.upload(path, **more).media_id)
        return found

    return upload


@pytest.fixture
def sql():
    """Run SQL on the ledger behind the provider's back."""

    def run(statement, **values):
        with ledger_store().write() as db:
            done = db.execute(sa.text(statement), values)
            return done.all() if done.returns_rows else done.rowcount

    return run


@pytest.fixture(scope="session")
def airflow_database():
    """Airflow's own tables, in the session's AIRFLOW_HOME."""
    from airflow.utils.db import initdb

    initdb()
