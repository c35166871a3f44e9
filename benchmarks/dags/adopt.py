"""Every file on every number, by the operator for the first file and by the hook for all; for `adopt_race`."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.media import Dialog360UploadMediaOperator

FOLDER = Path(os.environ["PROOF_FOLDER"])
NUMBERS = os.environ["PROOF_NUMBERS"].split()

with DAG("adopt", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)}) as dag:
    first = str(min(FOLDER.glob("*.png")))
    Dialog360UploadMediaOperator.partial(task_id="first", path=first).expand(dialog360_conn_id=NUMBERS)

    @task
    def every(conn_id: str) -> int:
        hook = Dialog360Hook(conn_id)
        found = [hook.upload(path) for path in sorted(FOLDER.glob("*.png"))]
        assert all(each.reused for each in found)
        return len(found)

    every.expand(conn_id=NUMBERS)
