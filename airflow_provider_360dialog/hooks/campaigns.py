"""Campaigns for operators and for code of one's own: connections, places and the ledger from Airflow, the work from `jobs`."""

from __future__ import annotations

import threading
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_360dialog.exceptions import CallError, TooManyRejectsError
from airflow_provider_360dialog.hooks.arguments import bound, instant, share
from airflow_provider_360dialog.hooks.lineage import CAMPAIGNS_URI, note, place_of
from airflow_provider_360dialog.hooks.tasks import dag_run

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
    from airflow_provider_360dialog.hooks.manifests import Input
    from airflow_provider_360dialog.hooks.preparing import Preparer
    from airflow_provider_360dialog.jobs.campaign import Progress, Uploader
    from airflow_provider_360dialog.jobs.export import Exported, Readiness
    from airflow_provider_360dialog.jobs.plan import PlanResult
    from airflow_provider_360dialog.ledger.campaigns import PendingItem
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import UploadedMedia

    Place = str | os.PathLike[str] | ObjectStoragePath
    Wanted = Place | Sequence[object]

Assign = Literal["manifest", "replicate"]
_VERSION: Final = "{version}"
MAX_ITEMS: Final = 1_000_000
MAX_BYTES_IN_FLIGHT: Final = 64 * 1024 * 1024


class Campaigns:
    """The campaigns of this Airflow's ledger."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def stop(self) -> None:
        """End as soon as possible; called when the task is told to end."""
        self._stop.set()

    def plan(
        self,
        campaign: str,
        source: Wanted,
        channels: Sequence[str],
        needed_until: datetime | str,
        *,
        assign: Assign = "manifest",
        max_reject_ratio: float | str = 0.01,
        dry_run: bool = False,
        rejects_uri: Place | None = None,
        whole: bool = True,
        prepare: bool = False,
        prepared_uri: Place | None = None,
        max_items: int | str | None = MAX_ITEMS,
        max_bytes: int | str | None = None,
    ) -> dict[str, Any]:
        """Judge every file of a campaign and put on record what has to be uploaded. Sends no file.

        Args:
            campaign: its name. source: the URI of a manifest (JSONL or CSV), a folder, a glob, or a list of at most 1,000 items.
            channels: connection ids of the numbers. needed_until: aware instant until which the ids must work.
            assign: ``manifest``: each item on the channel that it names; ``replicate``: each item on every channel.
            max_reject_ratio: share of the items, 0 to 1, that may be rejected. dry_run: look and count only.
            rejects_uri: where rejected items go with their reasons, as JSONL; None: beside the manifest or the folder.
            whole: these are all channels of the campaign; else what its other channels need stays.
            prepare: mend pictures first where that is of use; needs Pillow (``[media]``). The files themselves are not touched.
            prepared_uri: the folder in which prepared files are kept as long as the campaign needs them; None: beside the
            manifest or the folder.
            max_items: items that it may have, on all channels together, the rejected included. max_bytes: bytes that its
            different files may have, added up over the channels. None for any number.

        Returns:
            ``counts`` (items, rejected, prepared, ready, uploads, bytes), ``eta`` (seconds and busiest channel), ``rejects_uri``
            (None where nothing was rejected), ``channels``: connection ids that have something to upload.

        Raises:
            TooManyRejectsError: more than ``max_reject_ratio``; the rest stays planned.
            CampaignTooLargeError: more than ``max_items`` or ``max_bytes``; what was read before stays planned.
            CallError, SourceUnreadableError and others: see `airflow_provider_360dialog.exceptions`.
        """
        from airflow_provider_360dialog.hooks.ledger import opened_ledger
        from airflow_provider_360dialog.hooks.lines import write_lines
        from airflow_provider_360dialog.hooks.manifests import input_at
        from airflow_provider_360dialog.hooks.places import source_at
        from airflow_provider_360dialog.jobs.plan import Order, Planner

        if assign not in {"manifest", "replicate"}:
            raise CallError(f"assign is 'manifest' or 'replicate', not {str(assign)[:40]!r}.")
        ratio = share("max_reject_ratio", max_reject_ratio)
        given = input_at(source)
        place = rejects_uri or given.rejects_uri
        store = opened_ledger(self._stop)
        until = instant("needed_until", needed_until).timestamp()
        kept_at = _kept_at(given, prepared_uri) if prepare and not dry_run else None
        bounds = {"max_items": bound("max_items", max_items), "max_bytes": bound("max_bytes", max_bytes)}
        order = Order(campaign, until, _numbers(channels), replicate=assign == "replicate", whole=whole, **bounds)
        written: list[str] = []

        def write(lines: Any) -> None:
            if place is not None:
                write_lines(place, lines)
                written.append(str(place))

        with _preparing(kept_at, wanted=prepare) as preparing:
            planner = Planner(store, source_at, self._stop, preparing, dag_run())
            plan = planner.dry_run if dry_run else partial(planner.plan, write_rejects=write)
            found = plan(given.items(), order)
        if not dry_run:
            note(self, read=[place_of(source)], wrote=[CAMPAIGNS_URI])
        if found.rejected > ratio * found.items:
            raise TooManyRejectsError(
                campaign=campaign,
                rejected=found.rejected,
                items=found.items,
                max_reject_ratio=ratio,
                rejects_uri=written[0] if written else None,
            )
        return _told(found, written, dry_run=dry_run)

    def upload(
        self,
        campaign: str,
        hook: Dialog360Hook,
        *,
        concurrency: int | None = None,
        max_bytes_in_flight: int = MAX_BYTES_IN_FLIGHT,
        max_reject_ratio: float | str = 0.01,
        report: Callable[[Progress], object] = lambda _: None,
    ) -> dict[str, int]:
        """Upload what a campaign still needs on a hook's channel: ``total``, ``done``, ``rejected``, ``uploads``, ``failed``.

        Args:
            campaign: its name. hook: of the channel. concurrency: files at once; None follows the pace.
            max_bytes_in_flight: of all files under way together. max_reject_ratio: share of the channel's items that may be
            rejected. report: takes the progress every ten seconds.
        """
        from airflow_provider_360dialog.hooks.ledger import opened_ledger
        from airflow_provider_360dialog.ledger.campaigns import Campaigns as OnRecord

        if concurrency is not None and concurrency < 1:
            raise CallError(f"concurrency is at least 1, or None to follow the pace; not {concurrency!r}.")
        store = opened_ledger(self._stop)
        good_until = OnRecord(store).find(campaign).good_until
        uploader = self._uploader(store, hook, good_until, concurrency, max_bytes_in_flight, report)
        channel_id = hook.get_conn().ledger.identity.channel_id
        done = uploader.upload(campaign, channel_id, max_reject_ratio=share("max_reject_ratio", max_reject_ratio))
        _note_uploads(hook)
        return done.counts()

    def refresh(
        self,
        hook: Dialog360Hook,
        valid_until: datetime | str,
        *,
        campaign: str | None = None,
        source_missing: Literal["fail", "skip"] = "fail",
        report: Callable[[Progress], object] = lambda _: None,
    ) -> dict[str, int]:
        """Upload anew what living campaigns use on a hook's channel and what dies before ``valid_until``. Never a GET.

        Args:
            hook: of the channel. valid_until: aware instant, at most 29 days ahead. campaign: of one campaign only.
            source_missing: what to do where a file is not where it was: ``fail`` (after all others) or ``skip``.
            report: takes the progress every ten seconds.
        """
        from airflow_provider_360dialog.hooks.ledger import opened_ledger

        if source_missing not in {"fail", "skip"}:
            raise CallError(f"source_missing is 'fail' or 'skip', not {str(source_missing)[:40]!r}.")
        until = instant("valid_until", valid_until).timestamp()
        uploader = self._uploader(opened_ledger(self._stop), hook, until, None, MAX_BYTES_IN_FLIGHT, report)
        channel_id = hook.get_conn().ledger.identity.channel_id
        skip = source_missing == "skip"
        done = uploader.refresh(channel_id, valid_until=until, campaign=campaign, skip_missing=skip)
        _note_uploads(hook)
        return done.counts()

    def export(
        self,
        campaign: str,
        destination: Place,
        *,
        min_valid_until: datetime | str | None = None,
        require_complete: bool = True,
    ) -> Exported:
        """Write which id answers for which item, as JSONL, or as CSV where the name ends in ``.csv``. Asks the ledger only.

        Args:
            campaign: its name. destination: of the file; replaced where it stands. ``{version}`` in it becomes the version.
            min_valid_until: aware instant until which an id has to be safe to count; None: as long as the campaign needs it.
            require_complete: write nothing where an item is missing.
        """
        from airflow_provider_360dialog.hooks.ledger import opened_ledger
        from airflow_provider_360dialog.hooks.lines import write_lines
        from airflow_provider_360dialog.jobs.export import export

        exported = export(
            campaign,
            lambda lines, version: write_lines(named(destination, version), lines),
            store=opened_ledger(self._stop),
            as_csv=str(destination).lower().endswith(".csv"),
            min_valid_until=None if min_valid_until is None else instant("min_valid_until", min_valid_until).timestamp(),
            require_complete=require_complete,
            named_by_version=_VERSION in str(destination),
        )
        note(self, read=[CAMPAIGNS_URI], wrote=[named(destination, exported.version)])
        return exported

    def readiness(self, campaign: str, *, min_valid_until: datetime | str | None = None) -> Readiness:
        """How much of a campaign has an id that is safe for long enough, over all its channels. Asks the ledger only."""
        from airflow_provider_360dialog.hooks.ledger import opened_ledger
        from airflow_provider_360dialog.jobs.export import readiness

        until = None if min_valid_until is None else instant("min_valid_until", min_valid_until).timestamp()
        return readiness(campaign, store=opened_ledger(self._stop), min_valid_until=until)

    def _uploader(
        self,
        store: Store,
        hook: Dialog360Hook,
        until: float,
        concurrency: int | None,
        max_bytes_in_flight: int,
        report: Callable[[Progress], object],
    ) -> Uploader:
        from datetime import UTC, datetime

        from airflow_provider_360dialog.jobs.campaign import Uploader

        valid_until = datetime.fromtimestamp(until, UTC)

        def send(item: PendingItem) -> UploadedMedia:
            return hook._upload(  # noqa: SLF001 - the campaign is told to the lineage, not its files
                item.uri,
                valid_until=valid_until,
                sha256=item.file.sha256,
                mime_type=item.said["mime_type"],
                filename=item.said["filename"],
                kind=item.said["kind"],
            )

        def tell(progress: Progress) -> None:
            with suppress(Exception):  # progress is a courtesy
                report(progress)

        return Uploader(
            store,
            send,
            hook.get_conn().stop,
            report=tell,
            concurrency=concurrency,
            max_bytes_in_flight=max_bytes_in_flight,
            dag_run=dag_run(),
        )


def _note_uploads(hook: Dialog360Hook) -> None:
    note(hook, read=[CAMPAIGNS_URI], wrote=[hook._media_uri()])  # noqa: SLF001 - the hook's own name for it


def _kept_at(given: Input, prepared_uri: Place | None) -> Place:
    """The folder for prepared files: never one whose files the next plan would take for items."""
    from airflow_provider_360dialog.hooks.listing import lies_within

    place = prepared_uri or given.prepared_uri
    if place is None:
        raise CallError(
            "With prepare=True, a list or a whole bucket as source needs prepared_uri: a folder that keeps the prepared files."
        )
    if given.tree_uri is not None and lies_within(place, given.tree_uri):
        raise CallError(
            "prepared_uri lies within source, so its files would be items of the next plan; give a folder that lies elsewhere."
        )
    return place


def _preparing(kept_at: Place | None, *, wanted: bool) -> AbstractContextManager[Preparer | None]:
    if not wanted:
        return nullcontext()
    from airflow_provider_360dialog.hooks.preparing import Preparer

    return Preparer(kept_at)


def _numbers(channels: Sequence[str]) -> dict[str, Any]:
    """Connection id -> number; a number that was never used is asked for its id once."""
    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
    from airflow_provider_360dialog.jobs.plan import PlanChannel

    if isinstance(channels, str):
        raise CallError(f"channels is a list of connection ids, not one text: write [{channels[:60]!r}].")
    found: dict[str, PlanChannel] = {}
    for conn_id in channels:
        calls = Dialog360Hook(conn_id).get_conn()
        found[conn_id] = PlanChannel(conn_id, calls.ledger.identity.channel_id, calls.api.policy.uploads_per_second)
        calls.api.close()
    return found


def named(destination: Place, version: int) -> Place:
    """The place of an export, with its version where the name has room for it."""
    text = str(destination)
    return text.replace(_VERSION, str(version)) if _VERSION in text else destination


def _told(found: PlanResult, written: list[str], *, dry_run: bool) -> dict[str, Any]:
    busiest = found.channels[0] if found.channels else None
    return {
        "counts": {
            "items": found.items,
            "rejected": found.rejected,
            "prepared": found.prepared,
            "ready": sum(each.ready for each in found.channels),
            "uploads": sum(each.uploads for each in found.channels),
            "bytes": sum(each.size_bytes for each in found.channels),
        },
        "eta": {"seconds": round(found.seconds, 1), "busiest": None if busiest is None else busiest.conn_id},
        "rejects_uri": written[0] if written else None,
        "channels": [] if dry_run else [each.conn_id for each in found.channels if each.uploads],
    }
