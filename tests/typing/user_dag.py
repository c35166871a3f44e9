"""A user's DAG file: every operator and sensor with every argument, and what a task of one's own returns. Only type-checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Asset, ObjectStoragePath

from airflow_provider_360dialog.operators.campaigns import (
    Dialog360ExportCampaignOperator,
    Dialog360PlanCampaignOperator,
    Dialog360RefreshMediaOperator,
    Dialog360UploadCampaignOperator,
)
from airflow_provider_360dialog.operators.cleanup import Dialog360CleanupMediaOperator, Dialog360MarkUsedOperator
from airflow_provider_360dialog.operators.files import Dialog360CheckMediaOperator, Dialog360PrepareMediaOperator
from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator
from airflow_provider_360dialog.operators.media import (
    Dialog360DeleteMediaOperator,
    Dialog360DownloadMediaOperator,
    Dialog360FetchMediaUrlOperator,
    Dialog360UploadMediaOperator,
)
from airflow_provider_360dialog.sensors.campaign import Dialog360CampaignReadySensor
from airflow_provider_360dialog.sensors.inbound import Dialog360InboundDrainedSensor
from airflow_provider_360dialog.sensors.retrieval import Dialog360RetrievalOpenSensor

NUMBERS = ["shop_berlin", "shop_bonn"]
SEND_AT = datetime(2026, 11, 25, 9, tzinfo=UTC)
FOLDER = ObjectStoragePath("s3://aws_default@shop")

with DAG("one_file"):
    upload = Dialog360UploadMediaOperator(
        task_id="upload",
        path=FOLDER / "summer.jpg",
        mime_type="image/jpeg",
        filename="summer.jpg",
        kind="image",
        valid_until=SEND_AT,
        reuse=True,
        prepare=True,
        dialog360_conn_id="shop_berlin",
        deferrable=True,
        retries=2,
    )
    fetch = Dialog360FetchMediaUrlOperator(
        task_id="fetch", media_id="{{ ti.xcom_pull('upload')['media_id'] }}", return_url=False, ask_again=False
    )
    download = Dialog360DownloadMediaOperator(
        task_id="download",
        destination="/data/summer.jpg",
        media_id="545466424653131",
        sha256="0" * 64,
        overwrite=True,
        ask_again=False,
    )
    delete = Dialog360DeleteMediaOperator(
        task_id="delete", media_id=["545466424653131"], ignore_missing=True, dry_run=False, force=False
    )
    upload >> fetch >> download >> delete

with DAG("a_campaign"):
    plan = Dialog360PlanCampaignOperator(
        task_id="plan",
        campaign="vouchers-{{ ds }}",
        source=[{"key": "1", "uri": "summer.jpg"}],
        channels=NUMBERS,
        needed_until=SEND_AT,
        assign="replicate",
        max_reject_ratio="{{ params.tolerance }}",
        dry_run=False,
        rejects_uri="/data/rejects.jsonl",
        max_items=20_000,
        max_bytes=10**9,
        prepare=True,
        prepared_uri=FOLDER / "prepared",
    )
    send_files = Dialog360UploadCampaignOperator.partial(
        task_id="upload",
        campaign="vouchers-{{ ds }}",
        concurrency=8,
        max_bytes_in_flight=1 << 28,
        max_reject_ratio=0.05,
        max_active_tis_per_dag=4,
    ).expand(dialog360_conn_id=NUMBERS)
    ready = Dialog360CampaignReadySensor(
        task_id="ready", campaign="vouchers-{{ ds }}", min_valid_until=SEND_AT, deferrable=True, poke_interval=60
    )
    export = Dialog360ExportCampaignOperator(
        task_id="export",
        campaign="vouchers-{{ ds }}",
        destination="/data/{version}.csv",
        min_valid_until="2026-11-25T09:00:00+00:00",
        require_complete=False,
        partitioned=False,
    )
    used = Dialog360MarkUsedOperator(task_id="used", source="/data/sent.csv", trust_last_use=True)
    one_number = Dialog360UploadCampaignOperator(
        task_id="upload_one_number",
        campaign="vouchers-{{ ds }}",
        source="/data/vouchers.csv",
        needed_until=SEND_AT,
        concurrency=None,
        max_bytes_in_flight=1 << 28,
        max_reject_ratio=0.05,
        prepare=True,
        prepared_uri=FOLDER / "prepared",
    )
    plan >> [send_files, one_number] >> ready >> export >> used

with DAG("upkeep"):
    Dialog360RefreshMediaOperator(task_id="refresh", valid_until=SEND_AT, campaign=None, source_missing="skip")
    Dialog360CleanupMediaOperator(
        task_id="clean_up",
        policy="delete_campaign",
        mode="apply",
        campaign="vouchers",
        plan_uri="/data/plan.jsonl",
        max_delete=0.1,
        grace=timedelta(hours=1),
        subject=None,
    )
    Dialog360CheckMediaOperator(task_id="check", source="/data/*.jpg", report_uri=None, max_reject_ratio=0.0, decode=False)
    Dialog360PrepareMediaOperator(
        task_id="prepare", source="/data", destination="/ready", manifest_uri="/ready/manifest.csv", max_reject_ratio=0.01
    )

with DAG("inbound", schedule=[Asset("webhooks")]):
    is_open = Dialog360RetrievalOpenSensor(task_id="is_open", dialog360_conn_id="shop_berlin", deferrable=True, timeout=3600)
    archive = Dialog360ArchiveInboundMediaOperator(
        task_id="archive",
        source=Asset("webhooks"),
        destination=FOLDER / "archive",
        on_lost="fail",
        delete_after_archive=False,
        write_metadata=True,
        webhook_url_life=timedelta(minutes=5),
        also_accept=["image/gif"],
    )
    drained = Dialog360InboundDrainedSensor(task_id="drained", older_than=timedelta(hours=6), dialog360_conn_id="shop_berlin")
    is_open >> archive >> drained
