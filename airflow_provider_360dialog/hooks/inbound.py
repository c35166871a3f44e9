"""The archive of what customers send, for operators and for code of one's own: places and payloads here, the work in `jobs`."""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_360dialog.exceptions import CallError, InboundLostError, SourceUnreadableError, StorageFailedError
from airflow_provider_360dialog.hooks.lineage import note, place_of

if TYPE_CHECKING:
    import os

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.jobs.intake import Intake, WebhookFile

    Place = str | os.PathLike[str] | ObjectStoragePath
    Webhooks = Place | Mapping[str, Any] | Iterable[Any] | None

OnLost = Literal["report", "fail"]

ENDINGS: Final = tuple(f"{ending}{packed}" for ending in (".json", ".jsonl", ".ndjson") for packed in ("", ".gz"))
"""Names of files in a folder that are read as webhooks."""

_WEBHOOK_KEYS: Final = frozenset({"entry", "changes", "messages", "value", "payload", "body"})
_TEXT_MAX_CHARS: Final = 16 * 1024 * 1024


def archive_inbound(
    hook: Dialog360Hook,
    source: Webhooks,
    destination: Place,
    *,
    on_lost: OnLost = "report",
    delete_after_archive: bool = False,
    write_metadata: bool = False,
    webhook_url_life: timedelta = timedelta(minutes=5),
    also_accept: Collection[str] = (),
) -> dict[str, Any]:
    """Take in what webhooks say of a hook's channel, and archive everything that is pending for it; see the operator.

    Args:
        hook: of the channel. source: see `webhook_files`. destination: a folder: path or object storage URI.
        on_lost: ``report`` what is lost, or ``fail`` when all the rest is done.
        delete_after_archive: whether 360dialog's copy is deleted. write_metadata: whether a JSON file is written beside each.
        also_accept: MIME types that are archived besides those that WhatsApp lists for media.
        webhook_url_life: how long after its message a webhook's URL may be tried that does not say when it ends.

    Returns:
        ``counts`` (taken_in, archived, bytes, lost, pending, suspects, not_deleted), ``lost`` (reason -> number), ``lost_uri``,
        ``oldest_pending_s`` (None where nothing is pending), ``budget_left``, ``webhooks`` (what was read now).

    Raises:
        WaitError: retrieval is closed until ``retry_at``; call again then. InboundLostError: with ``on_lost="fail"``.
        Dialog360Error: see the tree in `airflow_provider_360dialog.exceptions`.
    """
    from airflow_provider_360dialog.hooks.folders import folder_at
    from airflow_provider_360dialog.jobs.archive import Archiver, write_report
    from airflow_provider_360dialog.jobs.archive_place import check_types
    from airflow_provider_360dialog.jobs.intake import Finder, is_payload, take_in

    if on_lost not in {"report", "fail"}:
        raise CallError(f"on_lost is 'report' or 'fail', not {str(on_lost)[:40]!r}.")
    if not isinstance(webhook_url_life, timedelta):
        raise CallError(f"webhook_url_life is a timedelta, not {str(webhook_url_life)[:40]!r}.")
    folder, accepted = folder_at(destination), check_types(also_accept)
    payloads: dict[str, WebhookFile] = {}
    files = webhook_files(source, payloads)
    session = hook._session  # noqa: SLF001 - so that a key that is replaced meanwhile is seen
    session.run(lambda calls: calls.patiently(lambda: calls.ledger.identity))
    calls = hook.get_conn()
    ledger = calls.ledger
    run = calls.patiently(partial(ledger.intake.begin, task=ledger.task))
    archiver = Archiver(
        session.run,
        folder,
        Finder(lambda uri: payloads.get(uri) if is_payload(uri) else _file(uri)),
        calls.stop,
        also_accept=accepted,
        delete_after_archive=delete_after_archive,
        write_metadata=write_metadata,
    )
    with session.meter.archiving(run, calls):
        found = take_in(files, run=run, calls=calls, webhook_url_life=webhook_url_life)
        not_deleted = archiver.archive(run, calls)
    note(hook, read=[place_of(source), hook._media_uri()], wrote=[destination])  # noqa: SLF001 - the hook's own name for it
    lost_uri = write_report(folder, run, calls)
    result = _told(calls, run, found, lost_uri, not_deleted)
    hook.log.info("archive: %s", {**result["counts"], "budget_left": result["budget_left"]})
    if on_lost == "fail" and result["lost"]:
        raise InboundLostError(lost=result["lost"], report_uri=lost_uri)
    if found.fault is not None:
        raise found.fault
    return result


def webhook_files(source: Webhooks, payloads: dict[str, WebhookFile]) -> Iterator[WebhookFile]:
    """Where a source's webhooks are, as they come.

    Args:
        source: the URI of a file (JSON, or JSON Lines; also packed with gzip), of a folder or a glob of such; a webhook's payload
            as mapping; a list of any of these; or the text of a payload or list, as a template gives it. A mapping with a ``uri``
            and no webhook in it, as an Asset event's extra may be, stands for that place. None or empty: nothing new.
        payloads: gets the payloads by their names.

    Raises:
        CallError: it is none of these.
    """
    from airflow_provider_360dialog.hooks.listing import files_at
    from airflow_provider_360dialog.jobs.intake import broken_file, payload_file

    for each in _parts(source):
        if isinstance(each, Mapping):
            file = payload_file(each)
            payloads[file.uri] = file
            yield file
        else:
            try:
                for listed in files_at(each, endings=ENDINGS):
                    yield _file(listed.uri, listed.stamp)
            except (SourceUnreadableError, StorageFailedError) as fault:
                yield broken_file(fault.uri, fault)


def _parts(source: Any) -> Iterator[Any]:
    """Places and payloads, one after the other."""
    if isinstance(source, str) and source.lstrip()[:1] in {"{", "["}:
        source = _value(source)
    if source is None or (isinstance(source, str) and not source.strip()) or source == {}:
        return
    if isinstance(source, Mapping):
        place = source.get("uri")
        yield place if isinstance(place, str) and not _WEBHOOK_KEYS & set(source) else source
    elif isinstance(source, str) or hasattr(source, "__fspath__") or hasattr(source, "protocol"):
        yield source
    elif isinstance(source, Iterable) and not isinstance(source, bytes | bytearray):
        for each in source:
            yield from _parts(each)
    else:
        raise CallError(
            f"source is the place of webhooks, a webhook's payload, or a list of these; not a {type(source).__name__}."
        )


def _value(text: str) -> Any:
    """The payload that a template made into text: JSON with ``tojson``, Python's own form without."""
    if len(text) <= _TEXT_MAX_CHARS:
        for read in (json.loads, ast.literal_eval):
            try:
                return read(text)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
    raise CallError("source looks like a payload and is not one. In a template, write it as {{ dag_run.conf | tojson }}.")


def _file(uri: str, stamp: str | None = None) -> WebhookFile:
    from airflow_provider_360dialog.hooks.lines import read_bytes, text_lines
    from airflow_provider_360dialog.jobs.intake import DOCUMENT_MAX_BYTES, LINE_MAX_BYTES, WebhookFile

    return WebhookFile(
        uri,
        stamp,
        lines=lambda: text_lines(uri, line_max_bytes=LINE_MAX_BYTES),
        whole=lambda: read_bytes(uri, max_bytes=DOCUMENT_MAX_BYTES),
    )


def _told(calls: Calls, run: int, found: Intake, lost_uri: str | None, not_deleted: int) -> dict[str, Any]:
    inbound = calls.ledger.inbound
    done, left = calls.patiently(lambda: inbound.counts(run)), calls.patiently(inbound.standing)
    counts = {
        "taken_in": done.taken_in,
        "archived": done.archived,
        "bytes": done.archived_bytes,
        "lost": sum(done.lost.values()),
        "pending": left.pending,
        "suspects": left.suspects,
        "not_deleted": not_deleted,
    }
    return {
        "counts": counts,
        "lost": done.lost,
        "lost_uri": lost_uri,
        "oldest_pending_s": left.oldest_pending_s,
        "budget_left": calls.patiently(calls.ledger.ration.credits_left),
        "webhooks": found.counts(),
    }
