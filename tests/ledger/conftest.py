"""Each test runs on both engines, each time with an empty database of its own; the ledger's clock stands until it is moved."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from airflow_provider_360dialog.ledger import store as store_module
from airflow_provider_360dialog.ledger.store import Store
from tests.ledger import workers
from tests.ledger.doubles import NOW_SQL, Clock, ledger_of
from tests.support.postgres import postgres_server  # noqa: F401 - a fixture

ENGINES = ("sqlite", "postgresql")
PROCESSES = 6


@pytest.fixture(params=ENGINES)
def engine(request):
    """The name of an engine."""
    return request.param


@pytest.fixture
def sqlite_url(tmp_path):
    """Of a ledger that is not there yet."""
    return f"sqlite:///{tmp_path}/d360/ledger.db"


@pytest.fixture
def postgres_url(postgres_server):  # noqa: F811
    """Of an empty database. To make one for each test would cost more than all the rest: they are emptied and used again."""
    url = postgres_server.spare.pop() if postgres_server.spare else postgres_server.new_database()
    yield url
    postgres_server.empty(url)
    postgres_server.spare.append(url)


@pytest.fixture
def url(engine, request):
    """Of an empty database or of a file that is not there yet; connections to it are closed afterwards."""
    url = request.getfixturevalue("sqlite_url" if engine == "sqlite" else "postgres_url")
    yield url
    for name in [name for name in store_module._engines if name[1] == url]:
        store_module._engines.pop(name).dispose()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A SQLite ledger with a movable clock and nothing in it, to be copied: that is ten times as fast as to make one."""
    folder = tmp_path_factory.mktemp("prepared")
    url = f"sqlite:///{folder}/ledger.db"
    Clock(url)
    Store(url, now_sql=NOW_SQL).open()
    for name in [name for name in store_module._engines if name[1] == url]:
        store_module._engines.pop(name).dispose()
    assert [each.name for each in folder.iterdir()] == ["ledger.db"]
    return folder / "ledger.db"


@pytest.fixture
def clock(url, engine, tmp_path, prepared):
    """Moves the ledger's time."""
    if engine == "postgresql":
        return Clock(url)
    (tmp_path / "d360").mkdir(mode=0o700)
    shutil.copy(prepared, tmp_path / "d360" / "ledger.db")
    return Clock(url, stands=True)


@pytest.fixture
def store(url, clock):
    """An opened ledger on the movable clock."""
    return Store(url, now_sql=NOW_SQL).open()


@pytest.fixture
def ledger(store):
    """A channel of it."""
    return ledger_of(store)


@pytest.fixture(scope="session")
def processes():
    """A pool of processes that were not forked from this one. ``run(act, *arguments)``: each of them acts at the same instant."""
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert len(set(pool.map(workers.warm_up, range(PROCESSES)))) > 1

        def run(act, *arguments, count=PROCESSES):
            at = time.time() + 0.1
            return [each.result(60) for each in [pool.submit(act, *arguments, at) for _ in range(count)]]

        yield run
