"""Operators for campaigns: plan, upload at the line, export, renew.

What has to be done is in the ledger, so each of them can be killed, retried, cleared or run twice at once: nothing is uploaded
again that has an id already.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator

from airflow_provider_360dialog.hooks.campaigns import MAX_BYTES_IN_FLIGHT, MAX_ITEMS, Campaigns, named
from airflow_provider_360dialog.hooks.lineage import CAMPAIGNS_URI
from airflow_provider_360dialog.operators.base import Dialog360Operator
from airflow_provider_360dialog.operators.links import Dialog360CampaignLink, Dialog360HubLink
from airflow_provider_360dialog.operators.summary import summing_up

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from typing import Literal

    from airflow.sdk import Context, ObjectStoragePath

    from airflow_provider_360dialog.jobs.campaign import Progress
    from airflow_provider_360dialog.jobs.export import Exported


@cache
def campaigns_asset() -> Asset:
    """The one Asset of all campaigns: each export is an event of it.

    Made when it is first wanted: for the first Asset of a process Airflow loads the handlers of all installed providers.
    """
    return Asset(name="dialog360_campaigns", uri=CAMPAIGNS_URI)


class _CampaignOperator(BaseOperator):
    """Speaks of a campaign over all its channels."""

    ui_color = "#e3f6ec"
    operator_extra_links = (Dialog360CampaignLink(),)

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)

    @cached_property
    def campaigns(self) -> Campaigns:
        """The campaigns of this Airflow's ledger."""
        return Campaigns()

    def on_kill(self) -> None:
        """Airflow is about to end the process."""
        self.campaigns.stop()


class Dialog360PlanCampaignOperator(_CampaignOperator):
    """Judge every file of a campaign by its content, and put on record what has to be uploaded. Sends no file.

    Give the channels that have work to the upload: ``Dialog360UploadCampaignOperator.partial(...).expand(dialog360_conn_id=
    channels(plan.output))``, where ``channels`` is a ``@task`` that returns ``planned["channels"]``, for Airflow maps over the
    whole result of a task. Without work the upload is skipped: what follows it needs ``trigger_rule="none_failed"``. A plan
    replaces the campaign's earlier one; unchanged files are not read again.

    XCom: ``counts`` (items, rejected, prepared, ready, uploads, bytes), ``eta`` (seconds, busiest), ``rejects_uri``, ``channels``
    (connection ids with work).

    Args:
        campaign: its name. Templated.
        source: the URI of a manifest (``.jsonl``, ``.csv``), a folder (the key is then the relative path), a glob, or a list of
            at most 1,000 items. Columns: key, uri, channel (a connection id), mime_type, filename, kind, subject. Templated.
        channels: connection ids of the numbers that it may use. Templated.
        needed_until: aware instant, or ISO 8601 text, until which the ids must work. Templated.
        assign: ``manifest``: each item goes to the channel it names; ``replicate``: each item to every channel.
        max_reject_ratio: share of the items, 0 to 1, that may be rejected before the task fails. What is good stays planned.
        dry_run: only look, count and log.
        rejects_uri: where rejected items go with their reasons, JSONL; None: beside the manifest or the folder. Templated.
        prepare: mend pictures first where that is of use: turn them, remove their position, make them RGB, a PNG a JPEG, and
            small enough. Needs Pillow (``[media]``). The files themselves are not touched.
        prepared_uri: the folder in which prepared files are kept as long as the campaign needs them; None: beside the manifest
            or the folder. Templated.
        max_items: items that the campaign may have, on all channels together; a plan that comes to more fails. None: any number.
            Templated.
        max_bytes: bytes that its different files may have, added up over the channels; the same. Templated.
    """

    template_fields: Collection[str] = (
        "campaign",
        "source",
        "channels",
        "needed_until",
        "max_reject_ratio",
        "max_items",
        "max_bytes",
        "rejects_uri",
        "prepared_uri",
    )

    def __init__(
        self,
        *,
        campaign: str,
        source: str | ObjectStoragePath | Sequence[Any],
        channels: Sequence[str],
        needed_until: datetime | str,
        assign: Literal["manifest", "replicate"] = "manifest",
        max_reject_ratio: float | str = 0.01,
        dry_run: bool = False,
        rejects_uri: str | ObjectStoragePath | None = None,
        prepare: bool = False,
        prepared_uri: str | ObjectStoragePath | None = None,
        max_items: int | str | None = MAX_ITEMS,
        max_bytes: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_items = max_items
        self.max_bytes = max_bytes
        self.prepare = prepare
        self.prepared_uri = prepared_uri
        self.campaign = campaign
        self.source = source
        self.channels = channels
        self.needed_until = needed_until
        self.assign = assign
        self.max_reject_ratio = max_reject_ratio
        self.dry_run_only = dry_run
        self.rejects_uri = rejects_uri

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Plan; see the class for the result."""
        from airflow_provider_360dialog.hooks.waiting import as_airflow_sees_it

        with as_airflow_sees_it(), summing_up("plan of a campaign") as tell:
            planned = self.campaigns.plan(
                self.campaign,
                self.source,
                self.channels,
                self.needed_until,
                assign=self.assign,
                max_reject_ratio=self.max_reject_ratio,
                dry_run=self.dry_run_only,
                rejects_uri=self.rejects_uri or None,
                prepare=self.prepare,
                prepared_uri=self.prepared_uri or None,
                max_items=self.max_items,
                max_bytes=self.max_bytes,
            )
            return tell(planned)


class Dialog360UploadCampaignOperator(Dialog360Operator):
    """Upload what a campaign still needs on one channel, at the line and not over it. Map it over channels, not over files.

    With ``source`` it plans first, for this one channel. Files are sent several at once, as many as the pace needs; a bad one is
    rejected and the others go on. Where nothing is left to do, 360dialog is not called.

    XCom: ``total``, ``done``, ``rejected``, ``uploads``, ``failed`` (ints).

    Args:
        campaign: its name. Templated.
        source: as for the plan; None where it was planned before. Templated.
        needed_until: with ``source``: aware instant, or ISO 8601 text, until which the ids must work. Templated.
        concurrency: files at once; None follows from the pace and from how long uploads take.
        max_bytes_in_flight: of all files under way together; a larger one goes alone. Bytes.
        max_reject_ratio: share of the channel's items, 0 to 1, that may be rejected before the task fails.
        prepare: with ``source``: as for the plan. prepared_uri: the same. Templated.
        dialog360_conn_id: the number. Templated.
    """

    operator_extra_links = (Dialog360CampaignLink(), Dialog360HubLink())
    template_fields: Collection[str] = (
        "campaign",
        "source",
        "needed_until",
        "max_reject_ratio",
        "prepared_uri",
        "dialog360_conn_id",
    )

    def __init__(
        self,
        *,
        campaign: str,
        source: str | ObjectStoragePath | Sequence[Any] | None = None,
        needed_until: datetime | str | None = None,
        concurrency: int | None = None,
        max_bytes_in_flight: int = MAX_BYTES_IN_FLIGHT,
        max_reject_ratio: float | str = 0.01,
        prepare: bool = False,
        prepared_uri: str | ObjectStoragePath | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prepare = prepare
        self.prepared_uri = prepared_uri
        self.campaign = campaign
        self.source = source
        self.needed_until = needed_until
        self.concurrency = concurrency
        self.max_bytes_in_flight = max_bytes_in_flight
        self.max_reject_ratio = max_reject_ratio

    @cached_property
    def campaigns(self) -> Campaigns:
        """The campaigns of this Airflow's ledger."""
        return Campaigns()

    def on_kill(self) -> None:
        """Airflow is about to end the process: what is in flight gets three seconds."""
        super().on_kill()
        self.campaigns.stop()

    def execute(self, context: Context) -> dict[str, int]:
        """Upload; see the class for the result."""
        with self.as_airflow_sees_it(), summing_up("uploads of a campaign") as tell:
            if self.source is not None and self.source != "":  # an empty list is a campaign of nothing
                self._plan(self.source)
            counts = self.campaigns.upload(
                self.campaign,
                self.hook,
                concurrency=self.concurrency,
                max_bytes_in_flight=self.max_bytes_in_flight,
                max_reject_ratio=self.max_reject_ratio,
                report=report_to(context),
            )
            return tell(counts, left=_left(counts))

    def _plan(self, source: str | ObjectStoragePath | Sequence[Any]) -> None:
        from airflow_provider_360dialog.exceptions import CallError

        if not self.needed_until:
            raise CallError("With a source, an upload needs needed_until: the instant until which the ids must work.")
        self.campaigns.plan(
            self.campaign,
            source,
            [self.dialog360_conn_id],
            self.needed_until,
            assign="replicate",
            max_reject_ratio=self.max_reject_ratio,
            whole=False,
            prepare=self.prepare,
            prepared_uri=self.prepared_uri or None,
        )


class Dialog360ExportCampaignOperator(_CampaignOperator):
    """Write which media id answers for which item of a campaign. Asks the ledger only; the same ids give the same bytes.

    XCom: ``uri``, ``rows``, ``missing`` (ints), ``min_safe_until`` (ISO 8601 text or None), ``version`` (int; grows where the
    content has changed). A success is an event of the Asset ``dialog360://campaigns``, on which a sending DAG can be scheduled;
    its extra holds ``campaign``, ``uri``, ``version`` and ``rows``.

    Args:
        campaign: its name. Templated.
        destination: of the file, JSONL, or CSV where the name ends in ``.csv``; replaced where it stands; ``{version}`` in it
            becomes the version. Templated.
        min_valid_until: aware instant, or ISO 8601 text, until which an id has to be safe; None: as the campaign needs.
            Templated.
        require_complete: fail, and write nothing, where an item has no such id.
        partitioned: whether the event carries the campaign as its partition key, where this Airflow knows partitions. Then
            only DAGs with a partitioned timetable are run by it; False: only DAGs without one.
    """

    template_fields: Collection[str] = ("campaign", "destination", "min_valid_until")

    def __init__(
        self,
        *,
        campaign: str,
        destination: str | ObjectStoragePath,
        min_valid_until: datetime | str | None = None,
        require_complete: bool = True,
        partitioned: bool = True,
        **kwargs: Any,
    ) -> None:
        kwargs["outlets"] = [*(kwargs.get("outlets") or []), campaigns_asset()]
        super().__init__(**kwargs)
        self.campaign = campaign
        self.destination = destination
        self.partitioned = partitioned
        self.min_valid_until = min_valid_until
        self.require_complete = require_complete

    def execute(self, context: Context) -> dict[str, Any]:
        """Export; see the class for the result."""
        from airflow_provider_360dialog.hooks.waiting import as_airflow_sees_it

        with as_airflow_sees_it(), summing_up("export of a campaign") as tell:
            exported = self.campaigns.export(
                self.campaign,
                self.destination,
                min_valid_until=self.min_valid_until or None,
                require_complete=self.require_complete,
            )
            found = exported.readiness
            counts = {"rows": found.rows, "missing": found.missing, "version": exported.version}
            tell(counts, export_uri=str(named(self.destination, exported.version)))
        first_end = exported.readiness.min_safe_until
        uri = str(named(self.destination, exported.version))
        self._tell_airflow(context, uri, exported)
        return {
            "uri": uri,
            "rows": exported.readiness.rows,
            "missing": exported.readiness.missing,
            "min_safe_until": None if first_end is None else first_end.isoformat(timespec="seconds"),
            "version": exported.version,
        }

    def _tell_airflow(self, context: Context, uri: str, exported: Exported) -> None:
        if "outlet_events" not in context:
            return
        event = context["outlet_events"][campaigns_asset()]
        event.extra.update(campaign=self.campaign, uri=uri, version=exported.version, rows=exported.readiness.rows)
        if self.partitioned and hasattr(event, "add_partitions"):
            event.add_partitions(self.campaign)


class Dialog360RefreshMediaOperator(Dialog360Operator):
    """Upload anew, from where it lies, what living campaigns use on one channel and what dies before an instant. Never a GET.

    The new id stands beside the old one, which retires and works on until a clean-up deletes it. Export again afterwards.

    XCom: as `Dialog360UploadCampaignOperator`.

    Args:
        valid_until: aware instant, or ISO 8601 text, until which the ids must work; at most 29 days ahead. Templated.
        campaign: of one campaign only. Templated.
        source_missing: where a file is not where it was: ``fail`` (after all others) or ``skip``.
        dialog360_conn_id: the number. Templated.
    """

    operator_extra_links = (Dialog360CampaignLink(), Dialog360HubLink())
    template_fields: Collection[str] = ("valid_until", "campaign", "dialog360_conn_id")

    def __init__(
        self,
        *,
        valid_until: datetime | str,
        campaign: str | None = None,
        source_missing: Literal["fail", "skip"] = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.valid_until = valid_until
        self.campaign = campaign
        self.source_missing = source_missing

    def execute(self, context: Context) -> dict[str, int]:
        """Refresh; see the class for the result."""
        with self.as_airflow_sees_it(), summing_up("refresh") as tell:
            counts = Campaigns().refresh(
                self.hook,
                self.valid_until,
                campaign=self.campaign or None,
                source_missing=self.source_missing,
                report=report_to(context),
            )
            return tell(counts, left=_left(counts))


def _left(counts: dict[str, int]) -> int:
    return max(0, counts["total"] - counts["done"] - counts["rejected"])


def report_to(context: Context) -> Callable[[Progress], object]:
    """Puts progress where Airflow's pages show it, in versions that have such a place."""
    store: Any = context.get("task_state_store")
    if store is None:
        return lambda _: None
    return lambda progress: store.set("dialog360_progress", progress.counts())
