"""Clean-up for operators: a hook's channel, places of plan and audit, and what users write for numbers; the work is in `jobs`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.exceptions import CallError, Dialog360Error

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Sequence

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.jobs.cleanup_plan import Wish

    Place = str | os.PathLike[str] | ObjectStoragePath

EXPIRE_ONLY: Final = "expire_only"
AUDIT_SUFFIX: Final = ".audit.jsonl"


def clean_up(
    hook: Dialog360Hook,
    *,
    policy: str = EXPIRE_ONLY,
    mode: str = "plan",
    campaign: str | None = None,
    plan_uri: Place | None = None,
    max_delete: float | str | None = None,
    grace: timedelta = timedelta(hours=24),
    subject: str | None = None,
) -> dict[str, Any]:
    """Note what has ended on a hook's channel, and plan or carry out deletes.

    Args:
        hook: of the channel. policy: ``expire_only``, ``delete_unreferenced``, ``delete_campaign`` or ``erase_subject``.
        mode: ``plan`` writes the plan to ``plan_uri``, ``apply`` carries it out and writes its audit beside it.
        campaign, subject: of ``delete_campaign`` and of ``erase_subject``. max_delete: see `read_max_delete`.
        grace: how long after ``needed_until``, and since upload and last use, ids are kept.

    Returns:
        ``expired`` (int) for ``expire_only``; else the numbers of `jobs.cleanup.Planned` or `jobs.cleanup.Applied`, with
        ``plan_uri`` and ``audit_uri``.
    """
    from airflow_provider_360dialog.jobs.cleanup import expire
    from airflow_provider_360dialog.jobs.cleanup_plan import Wish

    if mode not in {"plan", "apply"}:
        raise CallError(f"mode is 'plan' or 'apply', not {str(mode)[:40]!r}.")
    if not isinstance(grace, timedelta):
        raise CallError(f"grace is a timedelta, not {str(grace)[:40]!r}.")
    bound = read_max_delete(max_delete)
    if policy == EXPIRE_ONLY:
        if plan_uri or campaign or subject:
            raise CallError("expire_only deletes nothing and takes no plan_uri, campaign or subject; name another policy.")
        return {"expired": _run(hook, expire)}
    wish = Wish(policy, campaign=campaign or None, subject=subject or None, grace_s=grace.total_seconds())
    wish.check()
    if not plan_uri or str(plan_uri).endswith(("/", ".gz")):
        raise CallError(
            f"policy {policy!r} needs plan_uri: the place of a file for the plan, such as s3://bucket/clean-up.jsonl."
        )
    return _plan(hook, wish, plan_uri) if mode == "plan" else _apply(hook, wish, plan_uri, bound)


def read_max_delete(value: float | str | None) -> float | None:
    """How much may be deleted: an int is a number of ids; a float from 0 to 1 a share of the channel's ids; None: no bound.

    Args:
        value: also the text of either, as a template gives it: "0.05" and "1.0" are shares, "1" is one id. Empty text: None.

    Raises:
        CallError: anything else.
    """
    text = str(value).strip()
    if text in {"", "None"}:
        return None
    if not isinstance(value, bool):
        if text.isascii() and text.isdigit():
            return int(text)
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if 0.0 <= share <= 1.0:
            return share
    raise CallError(f"max_delete is a number of ids (500) or a share of the channel's ids from 0.0 to 1.0, not {text[:40]!r}.")


def check_unneeded(hook: Dialog360Hook, media_ids: Sequence[str]) -> None:
    """Raise where a live campaign needs one of these ids of a hook's channel.

    Raises:
        MediaReferencedError: names the id and a campaign.
    """
    from airflow_provider_360dialog.jobs.delete import check_unneeded

    _run(hook, lambda calls: check_unneeded(media_ids, calls=calls))


def mark_used(source: Place, *, stop: threading.Event, trust_last_use: bool = False) -> dict[str, int]:
    """Record that the ids of a file were sent, on whichever channel they are; see `jobs.used.mark_used`."""
    from airflow_provider_360dialog.hooks.ledger import opened_ledger
    from airflow_provider_360dialog.hooks.lines import text_lines
    from airflow_provider_360dialog.jobs.used import form_of, mark_used, read_sent

    sent = read_sent(text_lines(source), form_of(str(source)))
    return mark_used(sent, store=opened_ledger(stop), stop=stop, trust_last_use=trust_last_use)


def _plan(hook: Dialog360Hook, wish: Wish, plan_uri: Place) -> dict[str, Any]:
    from airflow_provider_360dialog.hooks.lines import write_lines
    from airflow_provider_360dialog.jobs.cleanup import plan_cleanup

    planned = _run(hook, lambda calls: plan_cleanup(wish, lambda lines: write_lines(plan_uri, lines), calls=calls))
    return {**planned.counts(), "plan_uri": str(plan_uri)}


def _apply(hook: Dialog360Hook, wish: Wish, plan_uri: Place, max_delete: float | None) -> dict[str, Any]:
    from airflow_provider_360dialog.hooks.lines import text_lines, write_lines
    from airflow_provider_360dialog.hooks.places import destination_at
    from airflow_provider_360dialog.jobs.cleanup import Applied, apply_cleanup

    audit_uri = f"{plan_uri}{AUDIT_SUFFIX}"
    destination_at(audit_uri, overwrite=True).check()  # nothing is deleted that cannot be accounted for

    def apply(calls: Calls) -> Applied:
        return apply_cleanup(
            wish,
            lambda: text_lines(plan_uri),
            lambda lines: write_lines(audit_uri, lines),
            calls=calls,
            max_delete=max_delete,
            name_of=_name_of,
        )

    applied = _run(hook, apply)
    if applied.fault is not None:  # what was done stands in the audit; a retry deletes the rest
        raise applied.fault
    return {**applied.counts(), "plan_uri": str(plan_uri), "audit_uri": audit_uri}


def _name_of(uri: str) -> str:
    from airflow_provider_360dialog.hooks.places import source_at

    try:
        return source_at(uri).uri
    except Dialog360Error:
        return uri


def _run(hook: Dialog360Hook, job: Any) -> Any:
    return hook._session.run(job)  # noqa: SLF001 - so that a key that is replaced meanwhile is seen
