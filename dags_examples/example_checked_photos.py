"""A folder of photos becomes media ids: looked at by a gate, prepared, uploaded; a person gets a page of what was wrong.

Guarantees, when a run ends in success:

* at most one in twenty of the photos in ``<folder>/<day>/`` was unfit; ``<folder>-reports/<day>/report.html`` says which, why,
  and what would mend them, with small pictures. Where more are unfit, nothing is sent and the page says the same;
* every other photo has a media id that works for a week, and stands with it in ``<folder>/<day>.ids.csv``: upright, without the
  place where it was taken, in RGB, and small enough. The photos themselves are as they were.

Needs the connection below, and the extra ``[media]`` on the workers. ``folder`` is one that every worker can reach: local, or
``s3://`` and its like.
"""

from __future__ import annotations

from airflow.sdk import Param, dag

from airflow_provider_360dialog.operators.campaigns import Dialog360ExportCampaignOperator, Dialog360UploadCampaignOperator
from airflow_provider_360dialog.operators.files import Dialog360CheckMediaOperator

CHANNEL = "dialog360_default"  # connection id of the phone number
CAMPAIGN = "photos-{{ ds }}"
PHOTOS = "{{ params.folder }}/{{ ds }}"
MOST_UNFIT = 0.05


@dag(
    schedule="0 5 * * *",
    catchup=False,  # yesterday's photos are not wanted any more
    max_active_runs=1,
    default_args={"retries": 2},  # for a worker that dies: the retry goes on where it was
    tags=["360dialog", "example"],
    params={"folder": Param("/data/photos", type="string", description="Where the folders of the days are")},
    doc_md=__doc__,
)
def example_checked_photos() -> None:
    """Check, prepare and upload, write down the ids."""
    check = Dialog360CheckMediaOperator(
        task_id="check",
        source=f"{PHOTOS}/",
        report_uri="{{ params.folder }}-reports/{{ ds }}",
        max_reject_ratio=MOST_UNFIT,
    )
    upload = Dialog360UploadCampaignOperator(
        task_id="upload",
        campaign=CAMPAIGN,
        source=f"{PHOTOS}/",  # plans first, for this one number
        needed_until="{{ macros.ds_add(ds, 8) }}T00:00:00+00:00",
        max_reject_ratio=MOST_UNFIT,
        prepare=True,
        prepared_uri="{{ params.folder }}-prepared/{{ ds }}",  # keep it as long as the ids are needed: renewals read it
        dialog360_conn_id=CHANNEL,
    )
    export = Dialog360ExportCampaignOperator(
        task_id="export",
        campaign=CAMPAIGN,
        destination=f"{PHOTOS}.ids.csv",
        require_complete=False,  # what was refused is on the page
    )
    check >> upload >> export


example_checked_photos()
