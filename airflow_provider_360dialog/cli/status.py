"""``dialog360 status``: how far a campaign is. Asks the ledger and nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TextIO

from airflow_provider_360dialog.cli.page import Page, cell, cells
from airflow_provider_360dialog.cli.run import Result
from airflow_provider_360dialog.cli.words import duration, how_many, moment, number_ending, when
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.jobs.report import size_words
from airflow_provider_360dialog.ledger.bounded import Count
from airflow_provider_360dialog.ledger.campaigns import Campaigns
from airflow_provider_360dialog.ledger.overview import Overview

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from airflow_provider_360dialog.ledger.campaign_runs import CampaignRun
    from airflow_provider_360dialog.ledger.progress import Progress
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ledger.views import CampaignChannelOverview, CampaignOverview, ReasonCount

_COUNTS: Final = ("items", "done", "left", "rejected", "uploads", "size_bytes")


def status(args: Namespace, out: TextIO) -> Result:
    """Done, left, rejected, and whether the ids live for long enough."""
    store = ledger_store().open_existing()
    overview = Overview(store)
    found, now = overview.campaign(args.campaign), store.read_now().timestamp()
    reasons = overview.reject_reasons(args.campaign) if found.progress.rejected.number else []
    complete = is_complete(store, found)
    if complete:
        found = _surely_complete(found)
    return Result(
        _text(found, reasons, complete=complete, now=now, out=out), _told(found, reasons, complete=complete), ok=complete
    )


def is_complete(store: Store, found: CampaignOverview) -> bool:
    """Whether each item has an id that is safe for long enough; surely, for an export may depend on it.

    What a sample of a large campaign does not show is looked up.
    """
    progress = found.progress
    if found.planned_at is None or not progress.items.number or progress.rejected.number or progress.left.number:
        return False
    if progress.left.sure == "exact":
        return True
    campaigns = Campaigns(store)
    campaign = campaigns.find(found.name)
    if not found.has_all_channels:
        return all(each.ready == each.items for each in campaigns.work(campaign))
    return not any(campaigns.pending(campaign, each.row, limit=1) for each in found.channels)


def _surely_complete(found: CampaignOverview) -> CampaignOverview:
    """The same without doubts about what is left."""

    def surely(progress: Progress) -> Progress:
        return replace(progress, done=progress.items, left=Count(0), uploads=Count(0), size_bytes=Count(0))

    channels = tuple(replace(each, progress=surely(each.progress)) for each in found.channels)
    return replace(found, progress=surely(found.progress), channels=channels)


# --- for programs -------------------------------------------------------------------------------------------------


def _told(found: CampaignOverview, reasons: Sequence[ReasonCount], *, complete: bool) -> dict[str, Any]:
    return {
        "campaign": found.name,
        "complete": complete,
        "planned_at": moment(found.planned_at),
        "needed_until": moment(found.needed_until),
        "safe_until": moment(found.safe_until),
        "safe_until_is_exact": found.safe_until_is_exact,
        "version": found.version,
        "running": found.is_running,
        "runs": [_told_run(each) for each in found.runs],
        **_numbers(found.progress),
        "eta_s": _rounded(found.eta_s),
        "channels": [
            {
                "conn_id": each.conn_id,
                "number_ends_in": each.ends_in,
                **_numbers(each.progress),
                "line_per_s": _rounded(each.line_per_s),
                "paused_until": moment(each.paused_until),
                "frozen": each.is_frozen,
                "eta_s": _rounded(each.eta_s),
                "safe_until": moment(each.safe_until),
                "safe_until_is_exact": each.safe_until_is_exact,
            }
            for each in found.channels
        ],
        "rejects": [
            {
                "code": each.reason.code,
                "count": each.count.number,
                "sure": each.count.sure,
                "message": each.reason.message,
                "remedy": each.reason.remedy,
            }
            for each in reasons
        ],
    }


def _told_run(each: CampaignRun) -> dict[str, Any]:
    return {
        "dag_id": each.dag_id,
        "run_id": each.run_id,
        "running": each.is_running,
        "began_at": moment(each.began_at),
        "seen_at": moment(each.seen_at),
    }


def _numbers(progress: Progress) -> dict[str, Any]:
    """The counts, and of each that is not exact how well it is known."""
    counts = {name: getattr(progress, name) for name in _COUNTS}
    unsure = {name: count.sure for name, count in counts.items() if count.sure != "exact"}
    return {**{name: count.number for name, count in counts.items()}, "not_exact": unsure}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


# --- for people ---------------------------------------------------------------------------------------------------


def _text(found: CampaignOverview, reasons: Sequence[ReasonCount], *, complete: bool, now: float, out: TextIO) -> str:
    page = Page(out)
    page.say(_verdict(found, complete=complete), "bold green" if complete else "bold yellow")
    page.say(f"Needed until  {when(found.needed_until, now)}")
    page.say(*_safe_until(found, now))
    if found.progress.uploads.number:
        page.say(f"Through       {_eta(found.eta_s)}")
    for run in found.runs[:1]:
        page.say(f"At it         {_run(run, now)}", "" if run.is_running else "yellow" * bool(found.progress.left.number))
    page.blank()
    head = ["channel", "number", "items", "done", "left", "rejected", "to upload", "size", "per s", "through"]
    rows = [_row(each) for each in found.channels]
    if len(rows) > 1:
        rows.append(cells("all", "", *_counts(found.progress), "", _through(found.progress, found.eta_s), style="bold"))
    page.table(head, rows)
    if reasons:
        page.blank()
        page.say("Rejected:")
        for each in reasons:
            page.say(f"  {how_many(each.count)}  [{each.reason.code}] {each.reason.message}", "yellow")
            if each.reason.remedy:
                page.say(f"      -> {each.reason.remedy}")
    return page.text()


def _verdict(found: CampaignOverview, *, complete: bool) -> str:
    progress = found.progress
    if complete:
        return f"Campaign {found.name} is complete: every item has an id ({how_many(progress.items)})."
    if found.planned_at is None:
        return f"Campaign {found.name} is not complete: its first plan is not at its end."
    if not progress.items.number:
        return f"Campaign {found.name} is not complete: it has no items."
    share = 100 * progress.done.number / progress.items.number
    return (
        f"Campaign {found.name} is not complete: {how_many(progress.done)} of {how_many(progress.items)} items have an id "
        f"({min(share, 99.9) if progress.done.number < progress.items.number else share:.1f} %)."
    )


def _safe_until(found: CampaignOverview, now: float) -> tuple[str, str]:
    if found.safe_until is None:
        return "Safe until    - (nothing is done)" if not found.progress.done.number else "Safe until    -", ""
    words = f"Safe until    {when(found.safe_until, now)}" + ("" if found.safe_until_is_exact else ", at the least")
    if found.safe_until < found.needed_until:
        return f"{words}: too early for the last send, refresh it before", "yellow"
    return words, ""


def _run(each: CampaignRun, now: float) -> str:
    who = "somebody outside of a DAG" if each.dag_id is None else f"DAG {each.dag_id}, run {each.run_id}"
    return f"{who}, now" if each.is_running else f"nobody now; last {who}, until {when(each.seen_at, now)}"


def _row(each: CampaignChannelOverview) -> Sequence[Any]:
    through = "frozen" if each.is_frozen else _through(each.progress, each.eta_s)
    row = cells(each.conn_id or "-", number_ending(each.ends_in), *_counts(each.progress), f"{each.line_per_s:.1f}")
    return [*row, cell(through, "red" if each.is_frozen else "")]


def _counts(progress: Progress) -> list[object]:
    """Whole numbers stand at the right, and so do those that are only about right."""
    counts = [getattr(progress, name) for name in _COUNTS[:-1]]
    return [*(each.number if each.sure == "exact" else how_many(each) for each in counts), size_words(progress.size_bytes.number)]


def _through(progress: Progress, eta_s: float | None) -> str:
    return _eta(eta_s) if progress.uploads.number else "-"


def _eta(eta_s: float | None) -> str:
    return "never: a channel is frozen" if eta_s is None else f"in {duration(max(1.0, eta_s))}"
