"""The smallest way, with nothing but ``@task`` and the hook: upload a file, download it again, delete it.

Guarantees: the copy is complete and identical, because `Dialog360Hook.download` checks it against the sha256 of what was sent
before it takes its name. A record of the hook is a plain dictionary to the next task, without the download link.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook


@dag(
    schedule=None,
    tags=["360dialog", "example"],
    params={
        "path": Param(type="string", description="The file to send"),
        "copy": Param(type="string", description="Where the copy goes; must not exist"),
    },
    doc_md=__doc__,
)
def example_taskflow() -> None:
    """Three tasks in a row."""

    @task
    def upload(params: dict[str, Any]) -> dict[str, Any]:
        return Dialog360Hook().upload(params["path"])

    @task
    def download(media: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        return Dialog360Hook().download(params["copy"], media_id=media["media_id"], sha256=media["sha256"])

    @task
    def delete(media: dict[str, Any]) -> bool:
        return Dialog360Hook().delete(media["media_id"])

    media = upload()
    download(media) >> delete(media)


example_taskflow()
