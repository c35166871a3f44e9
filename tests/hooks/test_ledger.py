"""Where the ledger is: the configuration, who may use SQLite, and what a PostgreSQL connection may say."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import LedgerMissingError, LedgerRefusedError, LedgerUnavailableError
from airflow_provider_360dialog.hooks import ledger as module
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger.store import Store
from tests.support.postgres import PASSWORD, postgres_server  # noqa: F401 - a fixture
from tests.support.proxy import proxy


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def say(monkeypatch):
    """Set an option of Airflow: ``say(executor=...)`` of [core], all others of [dialog360]."""

    def write(**options):
        for name, value in options.items():
            section = "CORE" if name == "executor" else "DIALOG360"
            monkeypatch.setenv(f"AIRFLOW__{section}__{name.upper()}", value)

    return write


@pytest.fixture
def postgres_connection(monkeypatch, say):
    """An Airflow connection that is the ledger's."""

    def write(**fields):
        fields = {"conn_type": "postgres", "host": "127.0.0.1", "login": "u", "password": "test-p/w:@?#%", "schema": "d"} | fields
        monkeypatch.setenv("AIRFLOW_CONN_THE_LEDGER", json.dumps(fields))
        say(ledger_conn_id="the_ledger")
        return ledger_store()

    return write


# --- SQLite -------------------------------------------------------------------------------------------------------


def test_the_path_is_the_configured_one(own_ledger):
    """[dialog360] ledger_path; nothing is made by asking."""
    assert ledger_store().place == str(own_ledger)
    assert not own_ledger.exists()
    with pytest.raises(LedgerMissingError):
        ledger_store().open_existing()


def test_without_a_path_it_lies_in_airflows_home(monkeypatch):
    """dialog360/ledger.db."""
    monkeypatch.delenv("AIRFLOW__DIALOG360__LEDGER_PATH")
    assert ledger_store().place == f"{os.environ['AIRFLOW_HOME']}/dialog360/ledger.db"


def test_a_tilde_is_the_home(say):
    """As in a shell."""
    say(ledger_path="~/a/ledger.db")
    assert ledger_store().place == str(Path("~/a/ledger.db").expanduser())


def test_a_relative_path_is_refused(say):
    """Relative to what?"""
    say(ledger_path="ledger.db")
    with pytest.raises(LedgerRefusedError, match="not absolute"):
        ledger_store().open()


@pytest.mark.parametrize("name", ["with space.db", "what?.db", "100%25.db", "größe.db", "a#b.db"])
def test_any_file_name_will_do(name, say, tmp_path):
    """The file has the name that was configured."""
    say(ledger_path=str(tmp_path / name))
    ledger_store().open()
    assert (tmp_path / name).exists()


def test_one_process_has_one_store():
    """Its engine's connections are shared."""
    assert ledger_store() is ledger_store()


@pytest.mark.parametrize("executor", ["LocalExecutor", "SequentialExecutor", "LocalExecutor,LocalExecutor"])
def test_executors_of_one_host_may_use_sqlite(executor, say):
    """An allow-list."""
    say(executor=executor)
    ledger_store()


@pytest.mark.parametrize(
    "executor",
    [
        "CeleryExecutor",
        "KubernetesExecutor",
        "LocalExecutor,CeleryExecutor",
        "airflow.providers.celery.executors.celery_executor.CeleryExecutor",
        "LocalExecutor,far:airflow.providers.celery.executors.celery_executor.CeleryExecutor",
        "airflow.providers.edge3.executors.EdgeExecutor",
        "my.company.executors.SomethingExecutor",
        "my.company.executors.Runner",
        "LocalExecutor;team_a=CeleryExecutor",
        "team_a=LocalExecutor,CeleryExecutor",
    ],
)
def test_all_others_are_refused_with_the_way_out(executor, say):
    """Also those that nobody has heard of (needs F62)."""
    say(executor=executor)
    with pytest.raises(LedgerRefusedError, match=r"(?s)SQLite is for one host.*PostgreSQL.*ledger_conn_id") as caught:
        ledger_store()
    assert not caught.value.retryable


def test_in_a_pod_sqlite_is_refused_although_the_executor_is_local(monkeypatch):
    """Each pod would have an empty one."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(LedgerRefusedError, match="pod"):
        ledger_store()


@pytest.mark.parametrize("executor", ["LocalExecutor", "CeleryExecutor"])
def test_who_knows_better_may_say_so(executor, say, monkeypatch):
    """[dialog360] allow_single_host_ledger."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    say(executor=executor, allow_single_host_ledger="True")
    ledger_store().open()


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conn_type", ["mysql", "http", "dialog360", "sqlite"])
def test_a_connection_of_another_type_is_refused(conn_type, postgres_connection):
    """Both the connection and its type are named, the password is not."""
    with pytest.raises(LedgerRefusedError, match=f"'the_ledger' is of type '{conn_type}', not postgres") as caught:
        postgres_connection(conn_type=conn_type)
    assert "test-p" not in str(caught.value)


def test_a_connection_whose_type_airflow_has_lost_is_refused_with_the_way_out(postgres_connection):
    """``airflow connections add --conn-type postgres`` stores "generic" where no provider knows the type."""
    with pytest.raises(LedgerRefusedError, match="--conn-uri postgres://"):
        postgres_connection(conn_type="generic")


@pytest.mark.parametrize("conn_type", ["postgres", "postgresql"])
def test_a_postgres_connection_is_the_ledger_whatever_the_executor(conn_type, postgres_connection, say, monkeypatch):
    """SQLite's guard is not asked."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    say(executor="CeleryExecutor")
    store = postgres_connection(conn_type=conn_type, port=6432)
    assert store.place == "postgresql://127.0.0.1:6432/d"
    assert (store._url.drivername, store._url.password) == ("postgresql+psycopg", "test-p/w:@?#%")


def test_the_postgres_connections_options_reach_the_driver_and_unknown_ones_do_not(postgres_connection):
    """The mode of TLS matters; what Airflow's own hook understands may not break ours."""
    store = postgres_connection(extra={"sslmode": "require", "sslrootcert": "/ca.pem", "cursor": "dictcursor", "iam": True})
    assert dict(store._url.query) == {"sslmode": "require", "sslrootcert": "/ca.pem"}


def test_a_postgres_connection_that_does_not_exist_is_an_error_that_names_it(say):
    """Airflow's own words will do."""
    say(ledger_conn_id="nowhere")
    with pytest.raises(Exception, match="nowhere"):
        ledger_store()


def test_a_postgres_that_is_not_there_is_unavailable(postgres_connection):
    """With the place, without the password."""
    with pytest.raises(LedgerUnavailableError, match=r"postgresql://127\.0\.0\.1:1/d") as caught:
        postgres_connection(port=1).open()
    assert "test-p" not in str(caught.value)


def test_the_application_name_of_the_connection_is_the_servers(postgres_server, postgres_connection):  # noqa: F811
    """An option that is accepted does something."""
    database = postgres_server.new_database().rpartition("/")[2]
    fields = {"port": postgres_server.port, "login": "ledger", "password": PASSWORD, "schema": database}
    with postgres_connection(**fields, extra={"application_name": "ours"}).open().read() as db:
        assert db.exec_driver_sql("SHOW application_name").scalar() == "ours"


# --- through the hook ---------------------------------------------------------------------------------------------


def test_the_hook_uploads_once_and_does_not_read_an_unchanged_file_again(hook, number, tmp_path, monkeypatch):
    """With a real file, two hooks, and a file that is changed in the end."""
    from airflow_provider_360dialog.hooks.places import LocalSource

    place, opened, real = tmp_path / "photo.jpg", [], LocalSource.open
    monkeypatch.setattr(LocalSource, "open", lambda self: opened.append(1) or real(self))
    monkeypatch.setattr("airflow_provider_360dialog.hooks.places._FRESH_S", 0.0)
    from tests.jobs.doubles import JPEG

    place.write_bytes(JPEG)
    first = hook.upload(str(place))
    count = len(opened)
    assert count > 0
    assert Dialog360Hook("number_a").upload(str(place)).media_id == first.media_id
    assert len(opened) == count
    assert number.sent("upload") == 1
    place.write_bytes(JPEG + b"x")
    assert hook.upload(str(place)).media_id != first.media_id
    assert len(opened) > count


def test_a_ledger_that_is_refused_stops_every_call_but_health(hook, number, say, photo):
    """Nothing is sent without it."""
    say(executor="CeleryExecutor")
    for act in (lambda: hook.upload(str(photo)), lambda: hook.fetch_media("1"), lambda: hook.delete("1")):
        with pytest.raises(LedgerRefusedError):
            act()
    assert number.emu.counters(number.number_id)["requests"].get("upload", 0) == 0
    hook.health()


def test_the_cache_of_stores_is_by_place(say, tmp_path):
    """A changed configuration gives another store."""
    first = ledger_store()
    say(ledger_path=str(tmp_path / "other.db"))
    assert ledger_store() is not first
    assert isinstance(ledger_store(), Store)
    assert len(module._stores) >= 2


def test_a_task_that_begins_while_the_ledger_is_away_waits_for_it(number, postgres_server, monkeypatch, checkout):  # noqa: F811
    """Nothing is sent meanwhile, and no retry of Airflow's is spent."""
    url = sa.make_url(postgres_server.new_database())
    with proxy(url.port) as way:
        fields = {"conn_type": "postgres", "host": "127.0.0.1", "port": way.port, "login": url.username, "password": url.password}
        monkeypatch.setenv("AIRFLOW_CONN_THE_LEDGER", json.dumps(fields | {"schema": url.database}))
        monkeypatch.setenv("AIRFLOW__DIALOG360__LEDGER_CONN_ID", "the_ledger")
        monkeypatch.setenv(
            "AIRFLOW_CONN_NUMBER_A", json.dumps({"conn_type": "dialog360", "host": number.base_url, "password": number.key})
        )
        way.refuse()
        hook = Dialog360Hook("number_a")
        with ThreadPoolExecutor(1) as pool:
            uploading = pool.submit(hook.upload, checkout / "dags_examples" / "media" / "photo.jpg")
            with pytest.raises(TimeoutError):
                uploading.result(1.5)
            assert number.sent("upload") == 0
            way.go_on()
            assert uploading.result(60).media_id
    assert number.sent("upload") == 1
