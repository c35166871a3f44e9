"""A campaign from its manifest to the list of its ids. The test copies this file to the DAG folder and runs it."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_provider_360dialog.operators.campaigns import (
    Dialog360ExportCampaignOperator,
    Dialog360PlanCampaignOperator,
    Dialog360RefreshMediaOperator,
    Dialog360UploadCampaignOperator,
)
from airflow_provider_360dialog.sensors.campaign import Dialog360CampaignReadySensor

PARAMS = {"campaign": "", "folder": "", "first": "", "needed_until": "", "share": "", "nothing": ""}

with DAG("campaign", schedule=None, params=PARAMS) as dag:
    campaign = "{{ params.campaign }}"

    plan = Dialog360PlanCampaignOperator(
        task_id="plan",
        campaign=campaign,
        source="{{ params.folder }}/manifest.jsonl",
        channels=["{{ params.first }}", "number_b", "number_c"],
        needed_until="{{ params.needed_until }}",
        max_reject_ratio="{{ params.share }}",
        rejects_uri="{{ params.folder }}/rejects.jsonl",
    )

    @task
    def channels(planned: dict[str, list[str]]) -> list[str]:
        return planned["channels"]

    upload = Dialog360UploadCampaignOperator.partial(
        task_id="upload", campaign=campaign, source="{{ params.nothing }}", max_reject_ratio="{{ params.share }}"
    ).expand(dialog360_conn_id=channels(plan.output))
    ready = Dialog360CampaignReadySensor(
        task_id="ready", campaign=campaign, min_valid_until="{{ params.nothing }}", trigger_rule="none_failed"
    )
    export = Dialog360ExportCampaignOperator(
        task_id="export",
        campaign=campaign,
        destination="{{ params.folder }}/ids.csv",
        min_valid_until="{{ params.needed_until }}",
    )
    refresh = Dialog360RefreshMediaOperator(
        task_id="refresh", valid_until="{{ params.needed_until }}", campaign=campaign, dialog360_conn_id="{{ params.first }}"
    )
    upload >> ready >> export >> refresh
