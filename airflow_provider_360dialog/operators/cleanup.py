"""Operators that delete what nobody needs any more, with a plan, a bound and an audit; and the one that records sends.

Everything is on record as it happens, so each of them can be killed, retried or cleared: a run that finds nothing left to do
deletes nothing.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_360dialog.operators.base import Dialog360Operator
from airflow_provider_360dialog.operators.summary import summing_up

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Literal

    from airflow.sdk import Context, ObjectStoragePath


class Dialog360CleanupMediaOperator(Dialog360Operator):
    """Note which ids of one channel have ended by themselves; and plan, or carry out, the deletion of others.

    First ``mode="plan"``: the plan is a file, one line for each id, which somebody can read and approve. Then ``mode="apply"``
    with the same arguments: exactly these ids are deleted, at most 5 a second, each one only if it is still within the policy
    when its turn comes. What a live campaign needs is kept, also where it was planned in between.

    XCom: ``expired`` (int); with a plan also ``planned``, ``kept_referenced`` (ints) and ``plan_uri``. Of ``apply``: ``planned``,
    ``deleted``, ``gone_already``, ``deleted_before``, ``kept_referenced``, ``failed``, ``unknown``, ``left``, ``erased_items``
    (ints), ``plan_uri``, ``audit_uri``.

    Args:
        policy: ``expire_only``: bookkeeping, in either mode; sends nothing. ``delete_unreferenced``: what no campaign needs.
            ``delete_campaign``: the files of ``campaign`` that no other campaign needs. ``erase_subject``: the files of
            ``subject`` that nobody else needs, and then its items in the ledger.
        mode: ``plan`` or ``apply``.
        campaign: a name, with ``delete_campaign``. Templated.
        plan_uri: path or object storage URI of the plan, one for each channel; the audit is written beside it, with
            ``.audit.jsonl`` behind the name. Templated.
        max_delete: how many ids may be deleted (int), or which share of the channel's (float, 0.0 to 1.0); more fails the task
            before anything is deleted. None: no bound. Templated.
        grace: for how long after ``needed_until`` a campaign's files are kept, and since upload and last use what none needs.
        subject: with ``erase_subject``. Never templated, for rendered arguments are stored and shown.
        dialog360_conn_id: the number. Templated.

    Where 360dialog refuses deletes as too many it slows down, then gives its slot back and goes on later. Fails with the last
    failure where single ids could not be deleted; a retry tries these again.
    """

    template_fields: Collection[str] = ("campaign", "plan_uri", "max_delete", "dialog360_conn_id")

    def __init__(
        self,
        *,
        policy: Literal["expire_only", "delete_unreferenced", "delete_campaign", "erase_subject"] = "expire_only",
        mode: Literal["plan", "apply"] = "plan",
        campaign: str | None = None,
        plan_uri: str | ObjectStoragePath | None = None,
        max_delete: float | str | None = None,
        grace: timedelta = timedelta(hours=24),
        subject: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.mode = mode
        self.campaign = campaign
        self.plan_uri = plan_uri
        self.max_delete = max_delete
        self.grace = grace
        self.subject = subject

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Clean up; see the class for the result."""
        from airflow_provider_360dialog.hooks.cleanup import clean_up

        with self.as_airflow_sees_it(), summing_up(f"clean-up, {self.mode}") as tell:
            found = clean_up(
                self.hook,
                policy=self.policy,
                mode=self.mode,
                campaign=self.campaign or None,
                plan_uri=self.plan_uri or None,
                max_delete=self.max_delete,
                grace=self.grace,
                subject=self.subject or None,
            )
            return tell(found)


class Dialog360MarkUsedOperator(BaseOperator):
    """Record in the ledger that the media ids of a file were sent. Needs no API key, and sends nothing.

    XCom: ``ids``, ``known``, ``unknown`` (ints): lines with an id, and how many ids are on record or not.

    Args:
        source: a file of ids: ``.jsonl`` or ``.csv`` with a ``media_id`` (an export of a campaign is both), or one id a line.
            With a ``phone_number_id`` beside it, only that number's ids are looked at. Templated.
        trust_last_use: prolong ``safe_until`` to 29 days from now; see the hook's ``mark_used``.
    """

    template_fields: Collection[str] = ("source",)
    ui_color = "#e3f6ec"

    def __init__(self, *, source: str | ObjectStoragePath, trust_last_use: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.source = source
        self.trust_last_use = trust_last_use

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - Airflow's signature
        """Record; see the class for the result."""
        from airflow_provider_360dialog.hooks.cleanup import mark_used
        from airflow_provider_360dialog.hooks.waiting import as_airflow_sees_it

        with as_airflow_sees_it(), summing_up("record of sends") as tell:
            return tell(mark_used(self.source, stop=self._stop, trust_last_use=self.trust_last_use))

    def on_kill(self) -> None:
        """Airflow is about to end the process."""
        self._stop.set()

    @cached_property
    def _stop(self) -> threading.Event:
        return threading.Event()
