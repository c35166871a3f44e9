"""Settings that must stand before anything imports Airflow. Itself it imports none: the tests of most rooms never need it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.canary"]  # secrets may be seen nowhere

_AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="airflow-home-"))

for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[name]  # a developer's own connections and settings must not decide a test
os.environ.update(
    AIRFLOW_HOME=str(_AIRFLOW_HOME),
    AIRFLOW__CORE__UNIT_TEST_MODE="True",
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(_AIRFLOW_HOME / "dags"),
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "system: needs a whole running Airflow (started by a fixture; about a minute)")


def pytest_unconfigure() -> None:
    shutil.rmtree(_AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_ledger(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a ledger of its own, at this path, once something writes to it."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    monkeypatch.setenv("AIRFLOW__DIALOG360__LEDGER_PATH", str(path))
    return path
