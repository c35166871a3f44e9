"""`python -m benchmarks.dag_runs FILE RUNS OUT`: the DAG of a file, run one after the other by `dag.test()`.

Needs AIRFLOW_HOME and the DAG folder in its environment; started by `support.run_dags` only.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any


def main(script: str, runs: int, out: Path) -> None:
    from airflow.utils.db import initdb

    logging.getLogger("alembic").setLevel(logging.WARNING)
    initdb()
    spec = importlib.util.spec_from_file_location(Path(script).stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out.write_text(json.dumps([_what_became_of(module.dag.test()) for _ in range(runs)]))


def _what_became_of(run: Any) -> dict[str, Any]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        instances = session.query(TaskInstance).filter_by(dag_id=run.dag_id, run_id=run.run_id).all()
        tasks = {f"{each.task_id}:{each.map_index}": [str(each.state), each.try_number] for each in instances}
    return {"state": str(run.state), "tasks": tasks}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
