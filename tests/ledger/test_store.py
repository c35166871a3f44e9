"""The database: who makes it, who may not, what it looks like on disk, forks, and what happens when it does not answer."""

from __future__ import annotations

import gc
import os
import sqlite3
import stat
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import LedgerMissingError, LedgerRefusedError, LedgerUnavailableError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger import store as module
from airflow_provider_360dialog.ledger.intake import Arrival
from airflow_provider_360dialog.ledger.store import Store
from tests.ledger import workers
from tests.ledger.doubles import NOW_SQL, Clock, Worker, execute, file_of, file_place, ledger_of, together, upload
from tests.support.postgres import PASSWORD


def say_version(url, version):
    execute(url, f"UPDATE d360_meta SET value = '{version}' WHERE name = 'schema_version'")


def stands(url):
    return execute(url, "SELECT value FROM d360_meta WHERE name = 'schema_version'")


# --- the schema's life --------------------------------------------------------------------------------------------


def test_an_empty_database_gets_a_schema_once(url):
    """And the second who opens it finds it."""
    Store(url).open()
    pepper = execute(url, "SELECT value FROM d360_meta WHERE name = 'key_pepper'")
    Store(url).open()
    assert stands(url) == [(str(schema.VERSION),)]
    assert execute(url, "SELECT value FROM d360_meta WHERE name = 'key_pepper'") == pepper


@pytest.mark.parametrize("attempt", range(3))
def test_many_processes_make_one_schema(attempt, url, processes):
    """All open it at once; one makes it, nobody fails, all find the same secret."""
    peppers = processes(workers.open_it, url)
    assert len(set(peppers)) == 1
    assert len(execute(url, "SELECT * FROM d360_meta WHERE name = 'schema_version'")) == 1


def test_a_file_that_another_process_is_just_making_is_waited_for(sqlite_url):
    """To turn a new file to write-ahead mode takes a lock for which SQLite itself does not wait."""
    place = file_place(sqlite_url)
    place.parent.mkdir()
    other = sqlite3.connect(place, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE something (a)")
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    try:
        Store(sqlite_url).open()
    finally:
        timer.join()
        other.close()


def test_many_threads_make_one_schema(url):
    """Each with a store of its own."""
    together(12, lambda _: Store(url).open())
    assert stands(url) == [(str(schema.VERSION),)]


@pytest.mark.parametrize("opens", [Store.open, Store.open_existing, Store.migrate], ids=["writer", "reader", "migrate"])
def test_a_newer_schema_is_refused(opens, url):
    """Somebody else has upgraded: what it means is unknown here."""
    Store(url).open()
    say_version(url, schema.VERSION + 1)
    with pytest.raises(LedgerRefusedError, match=r"newer than this provider's \(\d+\): upgrade the provider"):
        opens(Store(url))
    assert stands(url) == [(str(schema.VERSION + 1),)]


@pytest.fixture(params=[1, 2, 4, 5], ids=["version 1", "version 2", "version 4", "version 5"])
def version(request):
    """Of a schema that was released once."""
    return request.param


@pytest.fixture
def older(url, engine, version):
    """A ledger as an older version left it: with a channel and a media id."""
    if engine == "sqlite":
        file_place(url).parent.mkdir()
    for statement in Path(__file__).with_name(f"schema_{version}.{engine}.sql").read_text().split(";\n"):
        if statement:
            execute(url, statement)
    execute(url, f"INSERT INTO d360_meta VALUES ('schema_version', '{version}')")
    execute(url, f"INSERT INTO d360_meta VALUES ('key_pepper', '{'ab' * 32}')")
    execute(url, "INSERT INTO d360_channel VALUES (1, '100000000000001', NULL, 1.0)")
    execute(url, "INSERT INTO d360_connection (conn_id, origin, channel_id) VALUES ('a', 'https://h', 1)")
    execute(url, "INSERT INTO d360_fingerprint (id, channel_id, sha256, mime_type, size_bytes) VALUES (1, 1, 'x', 'y', 1)")
    execute(url, "INSERT INTO d360_media VALUES (1, 1, 1, '77', 'current', 1.0, 1.0, 2.0, NULL)")
    if version >= 2:
        execute(url, "INSERT INTO d360_retrieval VALUES (1, 99.0)")
        execute(url, "INSERT INTO d360_credit (id, channel_id, spent_at, deadline) VALUES (1, 1, 5.0, 6.0)")
    return url


def shape(url):
    """Tables with their columns, constraints and indexes."""
    inspector = sa.inspect(module._engine_for(sa.make_url(url)))
    return {
        table: (
            sorted((column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)),
            sorted(tuple(each["column_names"]) for each in inspector.get_unique_constraints(table)),
            sorted((each["name"], tuple(each["column_names"])) for each in inspector.get_indexes(table) if each["name"]),
            sorted((each["referred_table"], tuple(each["constrained_columns"])) for each in inspector.get_foreign_keys(table)),
        )
        for table in inspector.get_table_names()
    }


def indexes(url):
    """Each index of ours with what it leaves out, in the database's own words."""
    from_ = "sqlite_master" if url.startswith("sqlite") else "pg_indexes"
    name, words = ("name", "sql") if url.startswith("sqlite") else ("indexname", "indexdef")
    return sorted(execute(url, f"SELECT {name}, {words} FROM {from_} WHERE {words} LIKE 'CREATE INDEX%d360%'"))


def test_an_older_schema_is_migrated_on_sqlite(older, engine, version):
    """Automatically. On PostgreSQL a worker does not change what others use: refused, with the command that does."""
    if engine == "sqlite":
        Store(older).open()
        assert stands(older) == [(str(schema.VERSION),)]
        return
    for opens in (Store.open, Store.open_existing):
        with pytest.raises(LedgerRefusedError, match=r"older.*dialog360 ledger migrate") as caught:
            opens(Store(older))
        assert not caught.value.retryable
    assert stands(older) == [(str(version),)]


def test_readers_do_not_migrate(older, version):
    """They change nothing, on either engine."""
    with pytest.raises(LedgerRefusedError, match="dialog360 ledger migrate"):
        Store(older).open_existing()
    assert stands(older) == [(str(version),)]


def test_a_migrated_ledger_is_like_a_new_one_and_has_lost_nothing(older, version, engine, tmp_path, request):
    """`Store.migrate` is what the command calls; twice does no harm."""
    for _ in range(2):
        assert Store(older).migrate() == schema.VERSION
    fresh = f"sqlite:///{tmp_path}/fresh.db" if engine == "sqlite" else request.getfixturevalue("postgres_server").new_database()
    Store(fresh).open()
    assert shape(older) == shape(fresh)
    assert indexes(older) == indexes(fresh)
    assert any(name == "d360_inbound_pending" and "WHERE" in words for name, words in indexes(older))
    assert execute(older, "SELECT media_id FROM d360_media") == [("77",)]
    assert execute(older, "SELECT closed_until FROM d360_retrieval") == ([(99.0,)] if version >= 2 else [])
    found = execute(older, "SELECT spent_at, deadline, by_webhook_url FROM d360_credit")
    assert found == ([(5.0, 6.0, False)] if version >= 2 else []), "no URL of a webhook was used before"
    with Store(older).open().read() as db:
        assert db.scalar(sa.select(schema.media.c.media_id)) == "77"


def test_a_migrated_ledger_takes_in_and_hands_out_what_customers_send(older):
    """And its credits know who holds them."""
    Store(older).migrate()
    ledger = ledger_of(Store(older).open())
    assert ledger.intake.take_in(ledger.intake.begin(task=None), "/w/1.jsonl", "b", [Arrival("7", 1)]) == 1
    assert ledger.inbound.take(ledger.claimant()).media_id == "7"
    assert isinstance(ledger.ration.hold(for_s=60, by_webhook_url=True), int)


def test_many_migrate_at_once(older):
    """One does it, the others wait."""
    assert together(6, lambda _: Store(older).migrate()) == [schema.VERSION] * 6


def test_a_version_before_the_first_is_a_sentence(url):
    """There is no way from there."""
    Store(url).open()
    say_version(url, "0")
    with pytest.raises(LedgerRefusedError):
        Store(url).migrate()


def test_a_version_that_is_no_number_is_a_sentence(url):
    """Somebody has edited it."""
    Store(url).open()
    say_version(url, "two")
    with pytest.raises(LedgerRefusedError):
        Store(url).open()


@pytest.mark.parametrize("url", ["mysql://h/d", "sqlite:///relative.db", "sqlite://"])
def test_what_cannot_be_a_ledger_is_refused(url):
    """Before anything is opened."""
    with pytest.raises(LedgerRefusedError):
        Store(url).open()


def test_a_file_that_is_no_database_is_refused_and_left_alone(sqlite_url):
    """It may be somebody's."""
    place = file_place(sqlite_url)
    place.parent.mkdir()
    place.write_text("my diary\n" * 1000)
    with pytest.raises(LedgerRefusedError, match="does not answer as a ledger"):
        Store(sqlite_url).open()
    assert place.read_text() == "my diary\n" * 1000


# --- readers ------------------------------------------------------------------------------------------------------


def test_a_missing_ledger_is_a_sentence_for_readers_and_stays_missing(url, engine):
    """No file, no folder, no table."""
    with pytest.raises(LedgerMissingError, match=r"There is no ledger at .*dialog360 ledger init"):
        Store(url).open_existing()
    if engine == "sqlite":
        assert not file_place(url).parent.exists()
    else:
        assert execute(url, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'd360%'") == [(0,)]


def test_an_empty_file_is_no_ledger_and_stays_empty(sqlite_url):
    """Reading changes nothing."""
    place = file_place(sqlite_url)
    place.parent.mkdir()
    place.touch()
    with pytest.raises(LedgerMissingError):
        Store(sqlite_url).open_existing()
    assert place.stat().st_size == 0


def test_readers_read_what_writers_wrote(store, ledger, url):
    """With the same store or another."""
    upload(ledger, file_of(), "1")
    with Store(url, now_sql=NOW_SQL).open_existing().read() as db:
        assert db.scalar(sa.select(schema.media.c.media_id)) == "1"


def test_a_reader_that_comes_to_write_is_checked_like_a_writer(sqlite_url, monkeypatch):
    """One store of a process serves both; having read does not excuse from the check for other machines."""
    Store(sqlite_url).open()
    execute(sqlite_url, "UPDATE d360_meta SET name = 'boot:of-another-machine' WHERE name LIKE 'boot:%'")
    store = Store(sqlite_url)
    store.open_existing()
    with pytest.raises(LedgerRefusedError, match="another machine"):
        store.open()


# --- on disk ------------------------------------------------------------------------------------------------------


def test_the_file_and_its_folder_are_their_owners_alone(sqlite_url, monkeypatch):
    """Also what SQLite puts beside it, and whatever the umask."""
    before = os.umask(0)
    try:
        ledger = ledger_of(Store(sqlite_url).open())
        upload(ledger, file_of())
    finally:
        os.umask(before)
    place = file_place(sqlite_url)
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    beside = {each.name: stat.S_IMODE(each.stat().st_mode) for each in place.parent.iterdir()}
    assert {"ledger.db", "ledger.db-wal"} <= set(beside)
    assert set(beside.values()) == {0o600}


def test_sqlite_writes_ahead_and_waits_for_the_disk(sqlite_url):
    """What was committed survives a power cut (needs F22)."""
    with Store(sqlite_url).open().read() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert db.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.parametrize("name", ["with space.db", "what?.db", "100%25.db", "größe.db", "a#b.db"])
def test_any_file_name_will_do(name, tmp_path):
    """The URL of a path, as SQLAlchemy builds it."""
    place = tmp_path / name
    Store(sa.URL.create("sqlite", database=str(place)).render_as_string(hide_password=False)).open()
    assert place.exists()


def test_a_place_that_cannot_be_made_is_a_sentence(tmp_path):
    """For instance below a file."""
    (tmp_path / "file").touch()
    with pytest.raises(LedgerRefusedError):
        Store(f"sqlite:///{tmp_path}/file/ledger.db").open()


# --- the clock ----------------------------------------------------------------------------------------------------


def test_the_databases_own_clock_is_unix_time_in_utc(url):
    """To a second, whatever the time zone of either side."""
    store = Store(url).open()
    before = time.time()
    with store.read() as db:
        now = db.scalar(sa.select(store.now))
    assert before - 1 < now < time.time() + 1


def test_time_goes_on_within_a_transaction(postgres_url):
    """PostgreSQL's ``now()`` would stand still."""
    store = Store(postgres_url).open()
    with store.read() as db:
        first = db.scalar(sa.select(store.now))
        time.sleep(0.05)
        assert db.scalar(sa.select(store.now)) > first


# --- forks --------------------------------------------------------------------------------------------------------


def in_a_fork(act):
    """Run ``act`` in a forked child that exits by itself; whether it went well."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            gc.collect()
            code = 0
        except BaseException:  # noqa: BLE001 - the child must not go on as a test session
            traceback.print_exc()
        finally:
            os._exit(code)
    ends_at = time.monotonic() + 20
    while time.monotonic() < ends_at:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_parent_and_child_both_use_it_after_a_fork(store, ledger):
    """Airflow forks its tasks; nobody uses another's connection, nobody closes it."""
    upload(ledger, file_of("before"))

    def child():
        for i in range(5):
            upload(ledger, file_of(f"child {i}"))

    with store.read() as db:  # in the middle of a transaction, with further connections in the pool
        together(3, lambda i: ledger.uploads.adopt(file_of("before")))
        assert in_a_fork(child)
        assert db.scalar(sa.select(sa.func.count()).select_from(schema.media)) >= 1
    upload(ledger, file_of("after"))
    with store.read() as db:
        assert db.scalar(sa.select(sa.func.count()).select_from(schema.media)) == 7


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_write_does_not_break_the_write(store, ledger):
    """The child goes away; the parent's transaction is still its own."""
    with store.write() as db:
        db.execute(schema.meta.insert().values(name="mine", value="1"))
        assert in_a_fork(lambda: None)
    with store.read() as db:
        assert db.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.name == "mine")) == "1"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_while_the_keeper_was_busy_does_not_hang(store, ledger):
    """A lock that another thread held at the fork is nobody's in the child."""
    holds, ends = threading.Event(), threading.Event()

    def hold():
        with ledger.keeper._changed:
            holds.set()
            ends.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(5)
    try:

        def child():
            import signal

            signal.alarm(20)
            claim = Worker(ledger).claim(file_of())
            with ledger.keeper.keeping(claim, ledger.uploads):
                pass

        assert in_a_fork(child)
    finally:
        ends.set()
        thread.join()


# --- a ledger that does not answer --------------------------------------------------------------------------------


def chain(error):
    """Everything that a log could show of an error."""
    seen, texts = set(), [*traceback.format_exception(error)]
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        texts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(texts)


def test_sqlite_that_stays_locked_is_unavailable(sqlite_url, monkeypatch):
    """Somebody holds the write lock for longer than we wait (needs F60); it works again afterwards."""
    monkeypatch.setattr(module, "BUSY_S", 0.1)
    ledger = ledger_of(Store(sqlite_url).open())
    other = sqlite3.connect(file_place(sqlite_url), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailableError, match="locked") as caught:
        Worker(ledger).claim(file_of())
    assert caught.value.retryable
    assert ledger.uploads.adopt(file_of()) is None  # readers are not kept waiting
    other.execute("ROLLBACK")
    other.close()
    upload(ledger, file_of())


def test_sqlite_that_is_locked_for_a_moment_is_waited_for(sqlite_url):
    """Nobody notices."""
    ledger = ledger_of(Store(sqlite_url).open())
    other = sqlite3.connect(file_place(sqlite_url), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    timer.start()
    upload(ledger, file_of())
    timer.join()
    other.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_that_is_stopped_is_unavailable_without_a_secret_and_works_again(mode, postgres_server, postgres_url):
    """Before a transaction, and in the middle of one."""
    store = Store(postgres_url)
    ledger = ledger_of(store.open())
    try:
        with pytest.raises(LedgerUnavailableError) as in_the_middle, store.write() as db:
            db.execute(sa.select(store.now))
            postgres_server.stop(mode)
            db.execute(sa.select(store.now))
        with pytest.raises(LedgerUnavailableError) as before:
            Worker(ledger).claim(file_of())
        with pytest.raises(LedgerUnavailableError) as opening:
            Store(postgres_url).open()
    finally:
        postgres_server.stop()
        postgres_server.start()
    for caught in (in_the_middle, before, opening):
        assert caught.value.retryable
        text = chain(caught.value)
        assert PASSWORD not in text
        assert "postgresql+psycopg" not in text
        assert "sqlalche.me" not in text  # nor SQLAlchemy's own page about it
        assert f"127.0.0.1:{postgres_server.port}/" in str(caught.value)
    upload(ledger, file_of())


def test_a_wrong_password_is_a_sentence_without_it(postgres_url):
    """Nor the right one."""
    wrong = postgres_url.replace(PASSWORD, "test-password-that-is-wrong")
    with pytest.raises(LedgerUnavailableError, match="authentication failed") as caught:
        Store(wrong).open()
    assert "that-is-wrong" not in chain(caught.value)


def test_an_error_in_a_statement_shows_no_parameter(url):
    """Values of rows are not for logs."""
    store = Store(url).open()
    with pytest.raises(LedgerRefusedError) as caught, store.write() as db:
        db.execute(sa.text("INSERT INTO d360_meta (name, value) VALUES (:a, :b)"), {"a": "test-value-of-a-row", "b": None})
    assert "test-value-of-a-row" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_transaction_leaves_nothing(url):
    """Whole or not at all, whatever failed in it."""
    store = Store(url).open()
    with pytest.raises(RuntimeError), store.write() as db:
        db.execute(schema.meta.insert().values(name="x", value="1"))
        raise RuntimeError
    assert execute(url, "SELECT * FROM d360_meta WHERE name = 'x'") == []


def test_a_disk_that_is_full_is_unavailable(sqlite_url):
    """And may be emptied."""
    store = Store(sqlite_url).open()
    with pytest.raises(LedgerUnavailableError, match="full"), store.write() as db:
        pages = db.exec_driver_sql("PRAGMA page_count").scalar()
        db.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for i in range(10_000):
            db.execute(schema.meta.insert().values(name=f"{i}", value="x" * 1000))
    for name in [name for name in module._engines if name[1] == sqlite_url]:
        module._engines.pop(name).dispose()
    assert len(execute(sqlite_url, "SELECT * FROM d360_meta")) == 3


def test_a_missing_driver_is_a_sentence_that_says_what_to_install(monkeypatch):
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerRefusedError, match=r"pip install 'airflow-provider-360dialog\[postgres\]'") as caught:
        Store("postgresql+psycopg://u:test-password@h/of_a_missing_driver").open()
    assert "test-password" not in str(caught.value)


# --- transaction pooling ------------------------------------------------------------------------------------------


OF_THE_TRANSACTION = ["transaction_isolation"]  # said with its BEGIN, and gone with its end


def test_no_statement_stays_prepared_and_no_session_state_is_left(postgres_url):
    """A pooler may hand each transaction to another server connection."""
    store = Store(postgres_url).open()
    ledger = ledger_of(store)
    for i in range(12):  # psycopg would prepare at the sixth
        upload(ledger, file_of())
        ledger.uploads.adopt(file_of())
        ledger.refused.look_up(str(i))
    with store.read() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar() == 0
        assert db.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").scalar() == 0
        assert db.exec_driver_sql("SELECT name FROM pg_settings WHERE source = 'session'").scalars().all() == OF_THE_TRANSACTION
        assert db.exec_driver_sql("SELECT count(*) FROM pg_listening_channels()").scalar() == 0


def test_every_transaction_may_have_another_connection(postgres_server, postgres_url, clock_free_ledger):
    """Killed between any two transactions, nothing is missed."""
    ledger = clock_free_ledger(postgres_url)
    for i in range(3):
        claim = Worker(ledger).claim(file_of(str(i)))
        postgres_server.disconnect(postgres_url)
        assert ledger.uploads.complete(claim, file_of(str(i)), str(i))


@pytest.fixture
def clock_free_ledger():
    return lambda url: ledger_of(Store(url).open())


def test_the_movable_clock_moves(url, engine, tmp_path):
    """The double itself: the tests of this folder rest on it."""
    if engine == "sqlite":
        (tmp_path / "d360").mkdir()
    clock = Clock(url)
    store = Store(url, now_sql=NOW_SQL).open()
    clock.advance(90)
    with store.read() as db:
        assert db.scalar(sa.select(store.now)) == clock.now
