"""The archive of what customers send to each number, one mapped task a number, which defers; for `inbound_airflow`."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_360dialog.hooks import waiting
from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator

waiting._JITTER_S = float(os.environ["PROOF_JITTER_S"])  # noqa: SLF001 - a proof that waits half a minute more says no more

with DAG("inbound", schedule=None, default_args={"retries": 2, "retry_delay": timedelta(seconds=1)}):
    Dialog360ArchiveInboundMediaOperator.partial(
        task_id="archive",
        source=os.environ["PROOF_WEBHOOKS"],
        destination=os.environ["PROOF_ARCHIVE"],
        deferrable=True,
    ).expand(dialog360_conn_id=os.environ["PROOF_NUMBERS"].split())
