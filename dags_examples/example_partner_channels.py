"""Every night: the campaigns of a partner who sends for hundreds of phone numbers, in groups that do not wait for each other.

Guarantees, when a group ends in success:

* every item of ``<folder>/<day>/<group>.csv`` has a media id on its own number that works for three days, and stands with it in
  ``<folder>/<day>/<group>.ids.csv``;
* a number that is slow, or a manifest that is bad, holds up its own group's export and nothing else: the groups share no task,
  and no group runs more than eight uploads at once;
* the log of each ``plan`` names the busiest number and how long it will take, before the first file is sent.

Needs a connection for each channel; a secrets backend can serve them. Each group's manifest has the columns ``key``, ``uri`` and
``channel``. A group may hold up to 1,000 channels: Airflow maps over no more than that.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task, task_group

from airflow_provider_360dialog.operators.campaigns import (
    Dialog360ExportCampaignOperator,
    Dialog360PlanCampaignOperator,
    Dialog360UploadCampaignOperator,
)

SIZES = {"bakeries": 60, "clinics": 60, "hotels": 60, "schools": 60}
GROUPS = {group: [f"{group}_{number:03}" for number in range(1, size + 1)] for group, size in SIZES.items()}  # connection ids


@dag(
    schedule="0 1 * * *",
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    tags=["360dialog", "example"],
    params={"folder": Param("/data/partner", type="string", description="Where the manifests are")},
    doc_md=__doc__,
)
def example_partner_channels() -> None:
    """For each group: plan, upload on the channels that have something to upload, write down the ids."""
    for group, channels in GROUPS.items():
        one_group.override(group_id=group)(group, channels)


@task
def channels_with_work(planned: dict[str, Any]) -> list[str]:
    """Airflow maps over a task's whole result only, so this one has no other."""
    return planned["channels"]


@task_group
def one_group(group: str, channels: list[str]) -> None:
    """One campaign over the channels of a group."""
    campaign, place = f"{group}-{{{{ ds }}}}", f"{{{{ params.folder }}}}/{{{{ ds }}}}/{group}"
    plan = Dialog360PlanCampaignOperator(
        task_id="plan",
        campaign=campaign,
        source=f"{place}.csv",
        channels=channels,
        needed_until="{{ macros.ds_add(ds, 3) }}T00:00:00+00:00",
    )
    upload = Dialog360UploadCampaignOperator.partial(
        task_id="upload",
        campaign=campaign,
        max_active_tis_per_dagrun=8,  # of this group: the other groups find free slots
        map_index_template="{{ task.dialog360_conn_id }}",
    ).expand(dialog360_conn_id=channels_with_work(plan.output))  # over channels, not over files: a channel has one rate
    export = Dialog360ExportCampaignOperator(
        task_id="export",
        campaign=campaign,
        destination=f"{place}.ids.csv",
        trigger_rule="none_failed",  # on a second run there is nothing to upload, and the ids are there
    )
    upload >> export


example_partner_channels()
