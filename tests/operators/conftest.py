from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.canary import KEY


@pytest.fixture(scope="session")
def airflow_database():
    """Airflow's own tables, in the session's AIRFLOW_HOME."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(scope="session")
def every_operator(airflow_database):
    """The test DAG, from the DAG folder: `dag.test()` looks for it there."""
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(shutil.copy(Path(__file__).parent / "dags" / "every_operator.py", folder))
    spec = importlib.util.spec_from_file_location("every_operator", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dag


@pytest.fixture
def connect(monkeypatch):
    """Write an Airflow connection into the environment."""

    def write(base_url, key, conn_id="number_a"):
        fields = {"conn_type": "dialog360", "host": base_url, "password": key}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return write


@pytest.fixture
def connected(number, connect):
    """The watched number, with an Airflow connection."""
    connect(number.base_url, number.key)
    return number


@pytest.fixture
def media(checkout):
    """The sample files."""
    return checkout / "dags_examples" / "media"


class Run:
    """What a run of the test DAG left behind."""

    def __init__(self, run, number, out):
        from airflow.models.asset import AssetEvent
        from airflow.models.renderedtifields import RenderedTaskInstanceFields
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        self.number, self.out = number, out
        mine = {"run_id": run.run_id, "dag_id": run.dag_id}
        with create_session() as session:
            instances = session.query(TaskInstance).filter_by(**mine)
            self.states = {(ti.task_id, ti.map_index): str(ti.state) for ti in instances}
            self.tries = {(ti.task_id, ti.map_index): ti.try_number for ti in instances}
            events = session.query(AssetEvent).filter_by(source_run_id=run.run_id, source_dag_id=run.dag_id)
            self.events = [(event.source_task_id, event.partition_key, event.extra) for event in events]
            xcoms = session.query(XComModel).filter_by(**mine)
            self.xcoms = {(x.task_id, x.map_index): x.value for x in xcoms if x.key == "return_value"}
            self.all_xcoms = [(x.task_id, x.key, x.value) for x in xcoms]
            self.rendered = {
                (r.task_id, r.map_index): r.rendered_fields for r in session.query(RenderedTaskInstanceFields).filter_by(**mine)
            }

    def xcom(self, task_id, map_index=-1):
        value = self.xcoms[task_id, map_index]
        return json.loads(value) if isinstance(value, str) else value


@pytest.fixture(scope="session")
def run(every_operator, emulated, checkout, tmp_path_factory):
    """The test DAG, run once for all tests."""
    from tests.canary import Number

    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        for number_id, conn_id in (("410000000000001", "NUMBER_A"), ("410000000000002", "SHAKY_NUMBER")):
            key = f"{KEY}-{number_id}"
            emulated.add_number(number_id, key)
            fields = {"conn_type": "dialog360", "host": emulated.base_url, "password": key}
            patch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(fields))
        emulated.arm("error", operation="upload", number_id=number_id, status=503, text="Restarting", retry_after=300.0)
        folder = checkout / "dags_examples" / "media"
        done = every_operator.test(run_conf={"folder": str(folder), "out": str(out)})
        return Run(done, Number(emulated, "410000000000001", f"{KEY}-410000000000001"), out)
