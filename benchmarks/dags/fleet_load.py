"""What a company runs beside each other on six numbers; for `fleet`. Each run's sizes and names come with its conf."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG

from airflow_provider_360dialog.operators.campaigns import (
    Dialog360ExportCampaignOperator,
    Dialog360PlanCampaignOperator,
    Dialog360RefreshMediaOperator,
    Dialog360UploadCampaignOperator,
)
from airflow_provider_360dialog.operators.cleanup import Dialog360CleanupMediaOperator
from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator

NUMBERS = os.environ["PROOF_NUMBERS"].split()
OFTEN = {  # each kill burns a try; a person who sees so many would look, and clear the task
    "schedule": None,
    "max_active_runs": 16,
    "default_args": {"retries": 15, "retry_delay": timedelta(seconds=2)},
}
GIVEN = "{{ dag_run.conf['%s'] }}"

with DAG("fleet_campaign", **OFTEN):
    plan = Dialog360PlanCampaignOperator(
        task_id="plan",
        campaign=GIVEN % "campaign",
        source=GIVEN % "manifest",
        channels=NUMBERS,
        assign="replicate",
        needed_until=GIVEN % "needed_until",
    )
    upload = Dialog360UploadCampaignOperator.partial(task_id="upload", campaign=GIVEN % "campaign").expand(
        dialog360_conn_id=NUMBERS
    )
    export = Dialog360ExportCampaignOperator(task_id="export", campaign=GIVEN % "campaign", destination=GIVEN % "export")
    plan >> upload >> export

with DAG("fleet_refresh", **OFTEN):
    Dialog360RefreshMediaOperator.partial(task_id="refresh", valid_until=GIVEN % "valid_until").expand(dialog360_conn_id=NUMBERS)

with DAG("fleet_inbound", **OFTEN):
    Dialog360ArchiveInboundMediaOperator.partial(
        task_id="archive", source=GIVEN % "webhooks", destination=GIVEN % "archive", deferrable=True
    ).expand(dialog360_conn_id=NUMBERS)

with DAG("fleet_cleanup", **OFTEN):
    what = {
        "policy": "delete_unreferenced",
        "plan_uri": GIVEN % "folder" + "/{{ task.dialog360_conn_id }}.jsonl",
        "grace": timedelta(hours=1),
    }
    ask = ApprovalOperator(
        task_id="approve",
        subject="Delete {{ ti.xcom_pull('plan', key='planned') | sum }} media ids?",
        defaults="Reject",
        response_timeout=timedelta(hours=2),
    )
    (
        Dialog360CleanupMediaOperator.partial(task_id="plan", mode="plan", **what).expand(dialog360_conn_id=NUMBERS)
        >> ask
        >> Dialog360CleanupMediaOperator.partial(task_id="apply", mode="apply", **what).expand(dialog360_conn_id=NUMBERS)
    )
