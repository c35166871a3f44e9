"""One mapped task for each file, as people would write it; for `mapped`. Knows nothing of this package."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import requests
from airflow.sdk import DAG, BaseHook, task


@task
def items(manifest: str) -> list[dict[str, str]]:
    """One dictionary for each file."""
    rows = [json.loads(line) for line in Path(manifest).read_text().splitlines()]
    return [{"path": str(Path(manifest).parent / row["uri"]), "conn_id": row["channel"]} for row in rows]


@task(retries=3, retry_delay=timedelta(seconds=1))
def upload(path: str, conn_id: str) -> str:
    """One file; its media id."""
    connection = BaseHook.get_connection(conn_id)
    with Path(path).open("rb") as file:
        answer = requests.post(
            f"{connection.host}/media",
            headers={"D360-API-KEY": connection.password},
            data={"messaging_product": "whatsapp"},
            files={"file": (Path(path).name, file, "application/pdf")},
            timeout=60,
        )
    answer.raise_for_status()
    return str(answer.json()["id"])


for name in ("one", "three"):
    with DAG(f"{name}_mapped", schedule=None):
        upload.expand_kwargs(items(os.environ[f"PROOF_{name.upper()}"]))
