"""Every operator once, in every way in which arguments reach it. The test copies this file to the DAG folder and runs it."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, get_current_context, task

from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.files import Dialog360CheckMediaOperator, Dialog360PrepareMediaOperator
from airflow_provider_360dialog.operators.media import (
    Dialog360DeleteMediaOperator,
    Dialog360DownloadMediaOperator,
    Dialog360FetchMediaUrlOperator,
    Dialog360UploadMediaOperator,
)

MEDIA_ID = "{{ ti.xcom_pull('upload')['media_id'] }}"

with DAG("every_operator", schedule=None, params={"folder": "", "out": "", "conn_id": "number_a"}) as dag:
    conn = {"dialog360_conn_id": "{{ params.conn_id }}"}

    upload = Dialog360UploadMediaOperator(
        task_id="upload",
        path="{{ params.folder }}/photo.jpg",
        mime_type="{{ 'image/jpeg' }}",
        filename="{{ 'holiday' }}.jpg",
        kind="{{ 'image' }}",
        valid_until="{{ macros.datetime.now(macros.dateutil.tz.UTC) + macros.timedelta(days=7) }}",
        **conn,
    )
    fetch = Dialog360FetchMediaUrlOperator(task_id="fetch", media_id=MEDIA_ID, **conn)
    fetch_url = Dialog360FetchMediaUrlOperator(task_id="fetch_url", media_id=MEDIA_ID, return_url=True, **conn)
    download = Dialog360DownloadMediaOperator(
        task_id="download",
        destination="{{ params.out }}/copy.jpg",
        media_id=MEDIA_ID,
        sha256="{{ ti.xcom_pull('upload')['sha256'] }}",
        **conn,
    )
    delete = Dialog360DeleteMediaOperator(task_id="delete", media_id=MEDIA_ID, **conn)
    delete_again = Dialog360DeleteMediaOperator(task_id="delete_again", media_id=MEDIA_ID, **conn)

    @task
    def fetch_in_a_function(uploaded: dict[str, str]) -> object:
        return Dialog360Hook("number_a").fetch_media(uploaded["media_id"])

    in_a_function = fetch_in_a_function(upload.output)
    upload >> [fetch, fetch_url, download, in_a_function] >> delete >> delete_again

    @task
    def files() -> list[str]:
        folder = get_current_context()["params"]["folder"]
        return [f"{folder}/{name}" for name in ("chart.png", "invoice.pdf", "notes.txt", "photo.jpg", "sticker.webp", "clip.mp4")]

    many = Dialog360UploadMediaOperator.partial(task_id="many", reuse=False, **conn).expand(path=files())

    @task
    def ids(records: list[dict[str, str]]) -> list[str]:
        return [record["media_id"] for record in records]

    all_ids = ids(many.output)
    dry = Dialog360DeleteMediaOperator(task_id="delete_dry", media_id=all_ids, dry_run=True, **conn)
    as_xcom = Dialog360DeleteMediaOperator(task_id="delete_xcom", media_id=all_ids, **conn)
    as_text = Dialog360DeleteMediaOperator(task_id="delete_text", media_id="{{ ti.xcom_pull('ids') }}", **conn)
    as_json = Dialog360DeleteMediaOperator(task_id="delete_json", media_id="{{ ti.xcom_pull('ids') | tojson }}", **conn)
    mapped = Dialog360DeleteMediaOperator.partial(task_id="delete_mapped", **conn).expand(media_id=all_ids)
    dry >> as_xcom >> as_text >> as_json >> mapped

    Dialog360UploadMediaOperator(task_id="mended", path="{{ params.folder }}/chart.png", prepare=True, **conn)
    Dialog360CheckMediaOperator(
        task_id="check",
        source="{{ params.folder }}/",
        report_uri="{{ params.out }}/report",
        max_reject_ratio="{{ 0.5 }}",
    )
    Dialog360PrepareMediaOperator(
        task_id="prepare",
        source="{{ params.folder }}/*.png",
        destination="{{ params.out }}/ready",
        manifest_uri="{{ params.out }}/ready.jsonl",
        max_reject_ratio="{{ 0.5 }}",
    )

    Dialog360FetchMediaUrlOperator(task_id="gone", media_id="999", retries=5, retry_delay=timedelta(0), **conn)
    Dialog360UploadMediaOperator(
        task_id="unfit", path="{{ params.folder }}/bad_html_named.pdf", retries=5, retry_delay=timedelta(0), **conn
    )
    Dialog360UploadMediaOperator(
        task_id="shaky",
        path="{{ params.folder }}/notes.txt",
        retries=2,
        retry_delay=timedelta(0),
        dialog360_conn_id="shaky_number",
    )
