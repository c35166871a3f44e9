"""One task for each channel, over the same files as `mapped_files`; for `mapped`."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_360dialog.operators.campaigns import Dialog360PlanCampaignOperator, Dialog360UploadCampaignOperator

ONE, THREE = os.environ["PROOF_ONE"], os.environ["PROOF_THREE"]  # manifests
NUMBERS = os.environ["PROOF_NUMBERS"].split()
NEEDED_UNTIL = (datetime.now(UTC) + timedelta(days=3)).date().isoformat() + "T00:00:00+00:00"

with DAG("one_operator", schedule=None, default_args={"retries": 3}):
    Dialog360UploadCampaignOperator(
        task_id="upload",
        campaign="one",
        source=str(Path(ONE).parent / "*.pdf"),
        needed_until=NEEDED_UNTIL,
        dialog360_conn_id=NUMBERS[0],
    )

with DAG("three_operator", schedule=None, default_args={"retries": 3}):
    plan = Dialog360PlanCampaignOperator(
        task_id="plan", campaign="three", source=THREE, channels=NUMBERS, needed_until=NEEDED_UNTIL
    )
    plan >> Dialog360UploadCampaignOperator.partial(task_id="upload", campaign="three").expand(dialog360_conn_id=NUMBERS)
