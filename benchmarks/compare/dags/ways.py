"""The same files in two ways, for each round: a task for each channel, an HttpOperator for each file; for `mapped_tasks`."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import DAG, task

from airflow_provider_360dialog.operators.campaigns import Dialog360PlanCampaignOperator, Dialog360UploadCampaignOperator

PLACE, ROUNDS = Path(os.environ["PROOF_PLACE"]), int(os.environ["PROOF_ROUNDS"])
NUMBERS = os.environ["PROOF_NUMBERS"].split()
NEEDED_UNTIL = (datetime.now(UTC) + timedelta(days=3)).date().isoformat() + "T00:00:00+00:00"


@task
def items(manifest: str) -> list[dict[str, str]]:
    """One dictionary for each file."""
    rows = [json.loads(line) for line in Path(manifest).read_text().splitlines()]
    return [{"path": str(Path(manifest).parent / row["uri"]), "http_conn_id": f"http_{row['channel']}"} for row in rows]


class UploadFile(HttpOperator):
    """One file; its media id. The key stands in the connection, among its extra headers."""

    template_fields = (*HttpOperator.template_fields, "path")

    def __init__(self, *, path: str, **kwargs: Any) -> None:
        super().__init__(
            endpoint="media",
            method="POST",
            data={"messaging_product": "whatsapp"},
            response_filter=lambda answer: answer.json()["id"],
            **kwargs,
        )
        self.path = path

    def execute(self, context: Any) -> Any:
        with Path(self.path).open("rb") as file:
            self.request_kwargs = {"files": {"file": (Path(self.path).name, file, "application/pdf")}}
            return super().execute(context)


for index in range(ROUNDS):
    one, three = PLACE / f"one-{index}" / "manifest.jsonl", PLACE / f"three-{index}" / "manifest.jsonl"
    for name, manifest in (("one", one), ("three", three)):
        with DAG(f"{name}_mapped_{index}", schedule=None):
            UploadFile.partial(task_id="upload", retries=3, retry_delay=timedelta(seconds=1)).expand_kwargs(items(str(manifest)))

    with DAG(f"one_ours_{index}", schedule=None, default_args={"retries": 3}):
        Dialog360UploadCampaignOperator(
            task_id="upload",
            campaign=f"one-{index}",
            source=str(one.parent / "*.pdf"),
            needed_until=NEEDED_UNTIL,
            dialog360_conn_id=NUMBERS[0],
        )

    with DAG(f"three_ours_{index}", schedule=None, default_args={"retries": 3}):
        plan = Dialog360PlanCampaignOperator(
            task_id="plan", campaign=f"three-{index}", source=str(three), channels=NUMBERS, needed_until=NEEDED_UNTIL
        )
        plan >> Dialog360UploadCampaignOperator.partial(task_id="upload", campaign=f"three-{index}").expand(
            dialog360_conn_id=NUMBERS
        )
