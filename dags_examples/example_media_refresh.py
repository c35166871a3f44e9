"""Every evening: a campaign that was put off keeps its media ids. What would die within a week is uploaded anew.

Guarantees, when a run ends in success:

* every id in ``<folder>/<campaign>.ids.csv`` works for at least a week from now;
* no id stopped working: the old one stands beside the new one until a clean-up deletes it, so whoever still sends with
  yesterday's export can;
* 360dialog was not asked for anything: no GET was sent, and where no id was about to die, nothing was.

Needs the three connections below, and the files where they were when the campaign was planned.
"""

from __future__ import annotations

from airflow.sdk import Param, dag

from airflow_provider_360dialog.operators.campaigns import Dialog360ExportCampaignOperator, Dialog360RefreshMediaOperator

CHANNELS = ["whatsapp_north", "whatsapp_centre", "whatsapp_south"]  # connection ids: one for each phone number
IN_A_WEEK = "{{ macros.ds_add(ds, 7) }}T23:59:59+00:00"


@dag(
    schedule="0 18 * * *",
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    tags=["360dialog", "example"],
    params={
        "campaign": Param("summer-sale", type="string", description="The campaign whose ids are written down"),
        "folder": Param("/data/campaigns", type="string", description="Where the ids go"),
    },
    doc_md=__doc__,
)
def example_media_refresh() -> None:
    """Refresh on all channels at once, for all living campaigns; then write down the ids of one."""
    refresh = Dialog360RefreshMediaOperator.partial(
        task_id="refresh",
        valid_until=IN_A_WEEK,
        map_index_template="{{ task.dialog360_conn_id }}",
    ).expand(dialog360_conn_id=CHANNELS)
    export = Dialog360ExportCampaignOperator(
        task_id="export",
        campaign="{{ params.campaign }}",
        destination="{{ params.folder }}/{{ params.campaign }}.ids.csv",
        min_valid_until=IN_A_WEEK,  # with an id that dies earlier the run fails, and the old file stays
    )
    refresh >> export


example_media_refresh()
