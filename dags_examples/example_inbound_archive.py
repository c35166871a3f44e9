"""Every hour: what customers have sent goes into a bucket of your own, before WhatsApp forgets it after seven days.

Your webhook receiver lands webhooks below ``<webhooks>/``, one or many in a file (``docs/inbound.md`` has one). Every run reads
what is new there, and then archives whatever is pending for the number, also what earlier runs left. A file of webhooks is read
once, so keep them for two weeks, and let the bucket's lifecycle rule delete them then.

Guarantees, when a run ends in success:

* each file that could be had stands in ``<archive>/<phone number id>/<yyyy>/<mm>/<dd>/``, complete, with the sha256 that WhatsApp
  announced, and beside it what the webhook says of it, as JSON; or it is in the lost report with its reason;
* the number was never blocked: where too many files were gone already, the task waited, without a worker's slot, and went on;
* no file was fetched twice, however often the run was repeated or retried.

``nothing_waits_for_a_day`` turns red, and calls ``tell_somebody``, where a file is still pending a day after it came. Six days
are left then. It looks at what earlier runs have put on record, so what came while Airflow was away is seen an hour later.

Needs the two connections below, and one for the bucket (``s3://my_aws@bucket/...``). A folder works as well.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from airflow.sdk import Context, Param, dag

from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator
from airflow_provider_360dialog.sensors.inbound import Dialog360InboundDrainedSensor

CHANNELS = ["whatsapp_north", "whatsapp_south"]  # connection ids: one for each phone number


def tell_somebody(context: Context) -> None:
    """Put your pager, chat or mail here."""
    logging.getLogger(__name__).error("%s: received files have been waiting for a day", context["task_instance"].task_id)


@dag(
    schedule="@hourly",
    catchup=False,  # one run reads whatever came while Airflow was away
    max_active_runs=1,  # one that waits for a number's error budget reads what is new when it goes on
    default_args={"retries": 2},  # for a worker that dies: the retry goes on where it was
    tags=["360dialog", "example"],
    params={
        "webhooks": Param("/data/webhooks", type="string", description="Where the receiver lands webhooks"),
        "archive": Param("/data/archive", type="string", description="Where files go"),
    },
    doc_md=__doc__,
)
def example_inbound_archive() -> None:
    """Archive on all numbers at once; look whether anything has been waiting for too long."""
    Dialog360ArchiveInboundMediaOperator.partial(
        task_id="archive",
        source="{{ params.webhooks }}/",
        destination="{{ params.archive }}",
        write_metadata=True,
        map_index_template="{{ task.dialog360_conn_id }}",  # so that the grid shows whose files they are
    ).expand(dialog360_conn_id=CHANNELS)
    Dialog360InboundDrainedSensor.partial(
        task_id="nothing_waits_for_a_day",
        older_than=timedelta(days=1),
        timeout=1800,  # half an hour for the archive to get there
        retries=0,
        on_failure_callback=tell_somebody,
        map_index_template="{{ task.dialog360_conn_id }}",
    ).expand(dialog360_conn_id=CHANNELS)


example_inbound_archive()
