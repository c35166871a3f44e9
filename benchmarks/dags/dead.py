"""One dead id, asked by an operator and by a function, both with `retries=5`. `dead_id` runs it three times."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.media import Dialog360FetchMediaUrlOperator

MEDIA_ID = os.environ["PROOF_MEDIA_ID"]
CONN_ID = os.environ["PROOF_NUMBERS"].split()[0]
PATIENCE = {"retries": 5, "retry_delay": timedelta(0)}

with DAG("dead", schedule=None) as dag:
    Dialog360FetchMediaUrlOperator(task_id="operator", media_id=MEDIA_ID, dialog360_conn_id=CONN_ID, **PATIENCE)

    @task(**PATIENCE)
    def function() -> object:
        return Dialog360Hook(CONN_ID).fetch_media(MEDIA_ID)

    function()
