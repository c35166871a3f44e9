"""Every night: media ids for the coming day's campaign, on three phone numbers, long before anybody sends.

Guarantees, when a run ends in success:

* every item of ``<folder>/<day>.csv`` has a media id on its own number that works for three days, and stands with it in
  ``<folder>/<day>.ids.csv``; or its file was refused before it was sent, and it stands with the reasons in
  ``<folder>/<day>.csv.rejects.jsonl`` (more than one in a hundred of these fail the run);
* no file was sent twice, however often the run was repeated or retried; where nothing was left to do, 360dialog was not called.

Needs the three connections below. The manifest has the columns ``key`` (the recipient), ``uri`` (the file; relative to the
manifest, or absolute) and ``channel`` (one of the three). ``folder`` is one that every worker can reach: local, or ``s3://`` and
its like.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_360dialog.operators.campaigns import (
    Dialog360ExportCampaignOperator,
    Dialog360PlanCampaignOperator,
    Dialog360UploadCampaignOperator,
)

CHANNELS = ["whatsapp_north", "whatsapp_centre", "whatsapp_south"]  # connection ids: one for each phone number
CAMPAIGN = "vouchers-{{ ds }}"


@dag(
    schedule="0 2 * * *",
    catchup=False,  # last month's vouchers are not wanted any more
    max_active_runs=1,
    default_args={"retries": 2},  # for a worker that dies: the retry goes on where it was
    tags=["360dialog", "example"],
    params={"folder": Param("/data/vouchers", type="string", description="Where the manifests are")},
    doc_md=__doc__,
)
def example_campaign_preupload() -> None:
    """Judge all files, upload on all channels at once, write down the ids."""
    plan = Dialog360PlanCampaignOperator(
        task_id="plan",
        campaign=CAMPAIGN,
        source="{{ params.folder }}/{{ ds }}.csv",
        channels=CHANNELS,
        needed_until="{{ macros.ds_add(ds, 3) }}T00:00:00+00:00",
    )

    @task
    def channels_with_work(planned: dict[str, Any]) -> list[str]:
        """Airflow maps over a task's whole result only, so this one has no other."""
        return planned["channels"]

    upload = Dialog360UploadCampaignOperator.partial(
        task_id="upload",
        campaign=CAMPAIGN,
        map_index_template="{{ task.dialog360_conn_id }}",  # so that the grid shows whose upload it is
    ).expand(dialog360_conn_id=channels_with_work(plan.output))
    export = Dialog360ExportCampaignOperator(
        task_id="export",
        campaign=CAMPAIGN,
        destination="{{ params.folder }}/{{ ds }}.ids.csv",
        require_complete=False,  # what was refused is in the rejects; True would fail the run for the first of them
        trigger_rule="none_failed",  # where there was nothing to upload, that task is skipped, and the ids are there
    )
    upload >> export


example_campaign_preupload()
