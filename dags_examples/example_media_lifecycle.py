"""The whole life of a media file at 360dialog, for every file of a folder.

Guarantees, when a run ends in success:

* every file was judged before anything was sent, and those that WhatsApp would not take were not sent;
* every other file was uploaded, fetched, downloaded again, found identical byte for byte, and deleted at 360dialog;
* ``<out>/report.json`` has one row for each file: its verdict with all reasons, and what became of it.

A file that is refused does not fail the run: that is a verdict, and it stands in the report. A file that comes back different
does.

Needs a connection ``dialog360_default``. ``folder`` and ``out`` are paths that every worker can reach: local, or ``s3://`` and
its like.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from airflow.sdk import ObjectStoragePath, Param, dag, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.media import (
    Dialog360DeleteMediaOperator,
    Dialog360DownloadMediaOperator,
    Dialog360FetchMediaUrlOperator,
    Dialog360UploadMediaOperator,
)


@dag(
    schedule=None,
    tags=["360dialog", "example"],
    params={
        "folder": Param(str(Path(__file__).parent / "media"), type="string", description="The files to take through"),
        "out": Param(f"{tempfile.gettempdir()}/media_lifecycle", type="string", description="Where copies and report go"),
    },
    doc_md=__doc__,
)
def example_media_lifecycle() -> None:
    """One row of tasks for each good file, between a judgement of all files and a report on all files."""

    @task
    def judge(params: dict[str, Any]) -> list[dict[str, Any]]:
        """The verdict on each file of the folder. Reads the files; sends nothing."""
        hook = Dialog360Hook()
        rows = []
        for path in sorted(ObjectStoragePath(params["folder"]).iterdir(), key=lambda path: path.name):
            if path.is_file() and not path.name.startswith("."):
                verdict = hook.inspect(str(path))
                reasons = [f"{each.message} {each.remedy}" for each in verdict.errors]
                rows.append({"path": str(path), "file": path.name, "good": verdict.ok, "kind": verdict.kind, "reasons": reasons})
        return rows

    @task
    def good_files(verdicts: list[dict[str, Any]], params: dict[str, Any]) -> list[dict[str, str]]:
        """What to go on with, as arguments for ``one_file``."""
        out = ObjectStoragePath(params["out"])
        out.mkdir(parents=True, exist_ok=True)
        return [{"path": row["path"], "copy": str(out / row["file"])} for row in verdicts if row["good"]]

    @task
    def verify(path: str, copy: str, media_id: str) -> dict[str, str]:
        """Compares the copy with the file that was sent, all bytes of it."""
        if ObjectStoragePath(path).read_bytes() != ObjectStoragePath(copy).read_bytes():
            raise AirflowFailException(f"{copy} came back different from {path}")
        return {"path": path, "copy": copy, "media_id": media_id}

    @task_group
    def one_file(path: str, copy: str) -> None:
        upload = Dialog360UploadMediaOperator(task_id="upload", path=path)
        media_id = upload.output["media_id"]
        # Says what 360dialog holds. The link stays out of XCom: it gives the file to whoever has it and the key.
        fetch = Dialog360FetchMediaUrlOperator(task_id="fetch_url", media_id=media_id)
        download = Dialog360DownloadMediaOperator(
            task_id="download",
            media_id=media_id,
            destination=copy,
            sha256=upload.output["sha256"],  # of the bytes that were sent: anything else is discarded
            overwrite=True,  # so that the run can be repeated
        )
        delete = Dialog360DeleteMediaOperator(task_id="delete", media_id=media_id)
        verified = verify(path, copy, media_id)
        fetch >> download >> verified >> delete

    @task(trigger_rule="none_failed")  # also where no file was good and nothing followed
    def report(verdicts: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, int]:
        """Writes ``report.json`` and gives the counts."""
        verified = {row["path"]: row for row in get_current_context()["ti"].xcom_pull(task_ids="one_file.verify") or []}
        rows = [
            {
                "file": row["file"],
                "kind": row["kind"],
                "verdict": "good" if row["good"] else "refused",
                "reasons": row["reasons"],
                "identical": row["path"] in verified,
                "deleted": row["path"] in verified,  # its deletion had to succeed before this task could start
                **{key: verified.get(row["path"], {}).get(key) for key in ("media_id", "copy")},
            }
            for row in verdicts
        ]
        (ObjectStoragePath(params["out"]) / "report.json").write_text(json.dumps(rows, indent=2))
        return {"files": len(rows), "good": len(verified), "refused": len(rows) - len(verified)}

    verdicts = judge()
    one_file.expand_kwargs(good_files(verdicts)) >> report(verdicts)


example_media_lifecycle()
