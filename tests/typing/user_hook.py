"""A user's code on the hook: results with their types, errors with their data. Only type-checked."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from airflow.sdk import dag, task

from airflow_provider_360dialog.exceptions import (
    ChannelClosedError,
    Dialog360Error,
    GoneError,
    InboundLostError,
    MediaGoneError,
    MediaRejectedError,
    ThrottledError,
    TooManyRejectsError,
    TransientError,
    WaitError,
)
from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.ports import DownloadedMedia, FetchedMedia, Health, Kind, Problem, Receipt, UploadedMedia, Verdict
from airflow_provider_360dialog.webhook import InboundMedia, read_inbound

LOG = logging.getLogger(__name__)


def one_file(hook: Dialog360Hook) -> str:
    """Every method, and the fields of what it gives."""
    verdict = hook.inspect("summer.jpg", kind="image")
    assert_type(verdict, Verdict)
    assert_type(verdict.kind, Kind | None)
    assert_type(verdict.errors, tuple[Problem, ...])
    texts: list[str] = [f"{problem.code}: {problem.message} {problem.remedy}" for problem in verdict.problems]
    if not verdict.ok:
        return "; ".join(texts)

    media = hook.upload(Path("summer.jpg"), valid_until=datetime.now(UTC) + timedelta(days=7), prepare=True)
    assert_type(media, UploadedMedia)
    assert_type(media.safe_until, datetime)
    assert_type(media.reused, bool)
    assert_type(media.receipt, Receipt | None)
    changes: list[str] = [] if media.receipt is None else [change.message for change in media.receipt.changes]

    fetched = hook.fetch_media(media.media_id, ask_again=True)
    assert_type(fetched, FetchedMedia)
    assert_type(fetched.size_bytes, int | None)
    assert_type(fetched.url.reveal(), str)

    stored = hook.download("/data/again.jpg", media_id=media.media_id, url=fetched.url, sha256=media.sha256, overwrite=True)
    assert_type(stored, DownloadedMedia)
    assert_type(stored.uri, str)

    assert_type(hook.mark_used(media.media_id), bool)
    assert_type(hook.delete(media.media_id, ignore_missing=False, force=True), bool)
    assert_type(hook.retrieval_opens_at(), datetime | None)
    assert_type(hook.health(), Health)
    assert_type(hook.test_connection(), tuple[bool, str])
    standing = hook.inbound_standing()
    return f"{media['media_id']} {changes} {0 if standing is None else standing.pending}"


def archive(hook: Dialog360Hook, payload: dict[str, Any]) -> dict[str, Any]:
    """Webhooks, read and archived."""
    inbound = read_inbound(payload)
    assert_type(inbound.media, tuple[InboundMedia, ...])
    senders: set[str | None] = {media.sender for media in inbound}
    return hook.archive_inbound(payload, "archive", on_lost="fail", also_accept=("image/gif",)) | {"senders": len(senders)}


def a_campaign(hook: Dialog360Hook) -> int:
    """The jobs without their operators."""
    campaigns = Campaigns()
    planned = campaigns.plan("vouchers", "manifest.csv", ["shop_berlin"], "2026-11-25T00:00:00+00:00", assign="replicate")
    uploads: int = planned["counts"]["uploads"]
    done = campaigns.upload("vouchers", hook, report=lambda progress: LOG.info(progress.line(5.0)))
    assert_type(done, dict[str, int])
    exported = campaigns.export("vouchers", Path("ids.csv"), require_complete=False)
    assert_type(exported.readiness.min_safe_until, datetime | None)
    return uploads - done["uploads"] + exported.version


def what_happened(error: Dialog360Error) -> str | datetime | int | None:
    """Errors carry data."""
    if isinstance(error, MediaRejectedError):
        return error.problems[0].remedy
    if isinstance(error, TooManyRejectsError):
        return error.rejects_uri
    if isinstance(error, MediaGoneError):
        return f"{error.media_id} {error.status} {error.code}"
    if isinstance(error, InboundLostError):
        return sum(error.lost.values())
    if isinstance(error, (ThrottledError, ChannelClosedError)):
        return error.retry_at
    return "later" if isinstance(error, (TransientError, WaitError)) else "never" if isinstance(error, GoneError) else None


@dag  # type: ignore[arg-type]  # Airflow's types want a function that returns a DAG
def my_own_code() -> None:
    """TaskFlow."""

    @task
    def upload(path: str) -> UploadedMedia:
        hook = Dialog360Hook(dialog360_conn_id="shop_berlin")
        with hook.as_airflow_sees_it():
            return hook.upload(path)

    upload("/data/vouchers/summer.jpg")


my_own_code()
