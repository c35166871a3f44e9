"""Every Monday: delete at 360dialog what no campaign needs any more, after somebody has looked at the list.

Guarantees:

* only ids that stand in the plans ``<folder>/<day>-<channel>.jsonl`` are deleted, and only after somebody has approved; without
  an answer within 20 hours, or with a no, none is;
* what a living campaign needs is kept, also where that campaign was planned while the plans were waiting for the answer;
* what became of each id stands in ``<folder>/<day>-<channel>.jsonl.audit.jsonl``, and a second run over the same plans deletes
  nothing.

Needs the three connections below. The question is asked under "Required Actions" of Airflow's pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, task

from airflow_provider_360dialog.operators.cleanup import Dialog360CleanupMediaOperator

CHANNELS = ["whatsapp_north", "whatsapp_centre", "whatsapp_south"]  # connection ids: one for each phone number
WHAT = {
    "policy": "delete_unreferenced",
    "plan_uri": "{{ params.folder }}/{{ ds }}-{{ task.dialog360_conn_id }}.jsonl",
    "map_index_template": "{{ task.dialog360_conn_id }}",
}


@dag(
    schedule="0 9 * * MON",
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    tags=["360dialog", "example"],
    params={"folder": Param("/data/cleanup", type="string", description="Where plans and audits go")},
    doc_md=__doc__,
)
def example_media_cleanup() -> None:
    """Plan, ask, apply exactly that plan."""
    plan = Dialog360CleanupMediaOperator.partial(task_id="plan", mode="plan", **WHAT).expand(dialog360_conn_id=CHANNELS)

    @task.short_circuit
    def is_there_any(planned: Sequence[int]) -> bool:
        """Nobody is asked about nothing."""
        return sum(planned) > 0

    approve = ApprovalOperator(
        task_id="approve",
        subject="Delete {{ ti.xcom_pull('plan', key='planned') | sum }} media ids at 360dialog?",
        body="They stand in {{ params.folder }}/{{ ds }}-*.jsonl. A deleted id cannot be had back.",
        defaults="Reject",  # the answer where nobody gives one
        response_timeout=timedelta(hours=20),
    )
    apply = Dialog360CleanupMediaOperator.partial(
        task_id="apply",
        mode="apply",
        max_delete=20_000,  # of one channel; a plan for more is a mistake, whoever has approved it
        **WHAT,
    ).expand(dialog360_conn_id=CHANNELS)
    is_there_any(plan.output["planned"]) >> approve >> apply


example_media_cleanup()
