"""``dialog360 plan``: the plan of a campaign, by the same job as `Dialog360PlanCampaignOperator`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_360dialog.cli.page import Page, cells
from airflow_provider_360dialog.cli.progress import job_lines
from airflow_provider_360dialog.cli.run import Result
from airflow_provider_360dialog.cli.words import counted, duration
from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.jobs.report import size_words

if TYPE_CHECKING:
    from argparse import Namespace


def plan(args: Namespace, out: TextIO) -> Result:
    """Judge and record, or only look."""
    with job_lines(f"Planning {args.campaign}"):
        found = Campaigns().plan(
            args.campaign,
            args.source,
            args.channel,
            args.needed_until,
            assign="replicate" if args.replicate else "manifest",
            max_reject_ratio=args.max_reject_ratio,
            dry_run=args.dry_run,
            rejects_uri=args.rejects_uri,
            prepare=args.prepare,
            prepared_uri=args.prepared_uri,
            max_items=args.max_items,
            max_bytes=args.max_bytes,
        )
    return Result(_text(args, found, out), {"campaign": args.campaign, "dry_run": args.dry_run, **found})


def _text(args: Namespace, found: dict[str, Any], out: TextIO) -> str:
    counts, eta = found["counts"], found["eta"]
    page = Page(out)
    done = "was looked at, and nothing was put on record" if args.dry_run else "is planned"
    page.say(f"Campaign {args.campaign} {done}.")
    page.blank()
    head = ["items", "rejected", "prepared", "ready", "uploads", "size"]
    page.table(head, [cells(*(counts[name] for name in head[:-1]), size_words(counts["bytes"]))])
    page.blank()
    if counts["uploads"]:
        page.say(
            f"{counted(counts['uploads'], 'file')} to upload: {duration(max(1.0, eta['seconds']))} at the line, if it begins now "
            f"({eta['busiest']} takes longest)."
        )
    else:
        page.say("Nothing has to be uploaded.")
    if found["channels"]:
        page.say(f"Channels with work: {', '.join(found['channels'])}.")
    if counts["rejected"]:
        place = found["rejects_uri"]
        page.say(
            f"{counted(counts['rejected'], 'item')} rejected" + (f"; the reasons are in {place}." if place else "."), "yellow"
        )
    return page.text()
