"""Which of Airflow's tasks runs this code, in the words of other rooms."""

from __future__ import annotations

from typing import Any

from airflow_provider_360dialog.ports import DagRun


def task_name() -> tuple[str | None, int]:
    """Airflow's name for the running task, the same in all its tries, and the try; None outside of a task."""
    ti = _task_instance()
    return (None, 0) if ti is None else (f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}", ti.try_number)


def dag_run() -> DagRun | None:
    """The DAG run of the running task; None outside of a task."""
    ti = _task_instance()
    return None if ti is None else DagRun(ti.dag_id, ti.run_id)


def _task_instance() -> Any:
    from airflow.sdk import get_current_context

    try:
        return get_current_context()["ti"]
    except RuntimeError:
        return None
