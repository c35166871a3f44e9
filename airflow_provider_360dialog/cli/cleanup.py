"""``dialog360 cleanup``: by the same job as `Dialog360CleanupMediaOperator`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_360dialog.cli.page import Page, cells
from airflow_provider_360dialog.cli.progress import job_lines
from airflow_provider_360dialog.cli.run import Result, UsageError
from airflow_provider_360dialog.cli.words import counted
from airflow_provider_360dialog.hooks.cleanup import EXPIRE_ONLY, clean_up
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

if TYPE_CHECKING:
    from argparse import Namespace


def cleanup(args: Namespace, out: TextIO) -> Result:
    """Plan, or carry out."""
    _check(args)
    with job_lines(f"Cleaning up {args.conn_id}"):
        found = clean_up(
            Dialog360Hook(args.conn_id),
            policy=args.policy,
            mode="apply" if args.apply else "plan",
            campaign=args.campaign,
            plan_uri=args.apply or args.plan,
            max_delete=args.max_delete,
            grace=args.grace,
            subject=_subject(args),
        )
    return Result(_text(args, found, out), {"conn_id": args.conn_id, "policy": args.policy, **found})


def _check(args: Namespace) -> None:
    if args.plan and args.apply:
        raise UsageError("--plan and --apply do not go together: look at the plan before it is carried out")
    if args.policy == EXPIRE_ONLY and (args.plan or args.apply):
        raise UsageError("--plan and --apply need a --policy that deletes something")
    if args.policy != EXPIRE_ONLY and not (args.plan or args.apply):
        raise UsageError(f"--policy {args.policy} needs --plan PLACE, and then --apply PLACE")
    if args.max_delete is not None and not args.apply:
        raise UsageError("--max-delete goes with --apply: nothing else deletes")


def _subject(args: Namespace) -> str | None:
    """From standard input, it stands neither in the shell's history nor in the list of processes."""
    subject: str | None = args.subject
    return sys.stdin.readline().strip() if subject == "-" else subject


def _text(args: Namespace, found: dict[str, Any], out: TextIO) -> str:
    page = Page(out)
    if args.policy == EXPIRE_ONLY:
        page.say(f"{counted(found['expired'], 'media id')} of {args.conn_id} had reached the end of life. Nothing was deleted.")
        return page.text()
    counts = {name: value for name, value in found.items() if isinstance(value, int)}
    page.table([name.replace("_", " ") for name in counts], [cells(*counts.values())])
    page.blank()
    if args.apply:
        page.say(f"The plan {found['plan_uri']} was carried out; what was done stands in {found['audit_uri']}.")
    else:
        page.say(f"The plan stands in {found['plan_uri']}. Nothing was deleted.")
        page.say("Look at it, then run this with --apply in place of --plan.")
    return page.text()
