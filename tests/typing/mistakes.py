"""Mistakes that a type checker finds, each with the code of what it says. Only type-checked.

A misspelt argument of an operator that has a default is not among them: operators hand what they do not know on to Airflow's own, and
Airflow refuses it when the DAG file is read.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_360dialog import emulator
from airflow_provider_360dialog.exceptions import MediaGoneError, MediaRejectedError  # noqa: TC001 - as users write it
from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.campaigns import Dialog360PlanCampaignOperator, Dialog360RefreshMediaOperator
from airflow_provider_360dialog.operators.cleanup import Dialog360CleanupMediaOperator
from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator
from airflow_provider_360dialog.operators.media import Dialog360DownloadMediaOperator, Dialog360UploadMediaOperator
from airflow_provider_360dialog.sensors.campaign import Dialog360CampaignReadySensor
from airflow_provider_360dialog.sensors.inbound import Dialog360InboundDrainedSensor

hook = Dialog360Hook()
SEND_AT = datetime(2026, 11, 25, 9, tzinfo=UTC)

Dialog360UploadMediaOperator(task_id="a", file="summer.jpg")  # E: call-arg
Dialog360UploadMediaOperator(task_id="b", path=b"bytes of a file")  # E: arg-type
Dialog360UploadMediaOperator(task_id="c", path="summer.jpg", valid_until=7)  # E: arg-type
Dialog360DownloadMediaOperator(task_id="d", destination="/data/1", media_id=545466424653131)  # E: arg-type
Dialog360PlanCampaignOperator(task_id="e", campaign="x", source="x", channels=["x"])  # E: call-arg
Dialog360PlanCampaignOperator(task_id="f", campaign="x", source="x", channels=["x"], needed_until="", assign=1)  # E: arg-type
Dialog360RefreshMediaOperator(task_id="g", valid_until="x", source_missing="ignore")  # E: arg-type
Dialog360CleanupMediaOperator(task_id="h", policy="delete_everything")  # E: arg-type
Dialog360ArchiveInboundMediaOperator(task_id="i", source="x", destination="x", on_lost="ignore")  # E: arg-type
Dialog360CampaignReadySensor(task_id="j")  # E: call-arg
Dialog360InboundDrainedSensor(task_id="k", older_than=6)  # E: arg-type

hook.upload("summer.jpg", mimetype="image/jpeg")  # E: call-arg
hook.upload("summer.jpg", "image/jpeg")  # E: call-arg
hook.upload(b"bytes of a file")  # E: arg-type
hook.download("again.jpg", url=5)  # E: arg-type
hook.delete(["1", "2"])  # E: arg-type
hook.archive_inbound("webhooks/", "archive", on_lost="raise")  # E: arg-type
Campaigns().refresh("shop_berlin", SEND_AT)  # E: arg-type

size: str = hook.upload("summer.jpg").size_bytes  # E: assignment
seconds: float = hook.upload("summer.jpg").safe_until  # E: assignment
link: str = hook.fetch_media("545466424653131").url  # E: assignment
opens: datetime = hook.retrieval_opens_at()  # E: assignment
media_id = hook.upload("summer.jpg").id  # E: attr-defined
pending = hook.inbound_standing().pending  # E: union-attr
hook.upload("summer.jpg").media_id = "1"  # E: misc

with emulator.running() as emu:
    emu.arm("error", times="forever")  # E: arg-type
    emu.advance("30 days")  # E: arg-type
    emu.rotate(emu.number_id, "test-key")  # E: attr-defined


def remedy(error: MediaRejectedError | MediaGoneError) -> str:
    """One of the two has no problems."""
    return error.problems[0].remedy  # E: union-attr
