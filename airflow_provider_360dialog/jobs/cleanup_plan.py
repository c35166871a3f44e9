"""The plan of a clean-up as a file: a header, then one line of JSON for each id. Pure."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.api.identity import check_media_id
from airflow_provider_360dialog.exceptions import CallError, CleanupPlanRefusedError, MediaIdInvalidError
from airflow_provider_360dialog.ledger.decisions import RETIRE_GRACE_S
from airflow_provider_360dialog.ledger.references import POLICIES, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from airflow_provider_360dialog.ledger.cleanup import Candidate

FORMAT: Final = 1
PAGE: Final = 500


@dataclass(frozen=True)
class Wish:
    """What somebody wants to be cleaned up.

    Attributes:
        policy: ``delete_unreferenced``, ``delete_campaign`` or ``erase_subject``; see `ledger.references.Terms`.
        campaign: a name, with ``delete_campaign`` only. subject: with ``erase_subject`` only.
        grace_s: how long after a campaign's ``needed_until`` its ids are kept, and how long what no campaign needs has to have
            been idle. retire_grace_s: how long an id is kept that a newer one has replaced. Float seconds.
    """

    policy: str
    campaign: str | None = None
    subject: str | None = field(default=None, repr=False)
    grace_s: float = 86_400.0
    retire_grace_s: float = RETIRE_GRACE_S

    def terms(self, campaign_plan: int = 0, *, grace_s: float = 0.0, retire_grace_s: float = 0.0) -> Terms:
        """The same for the ledger; of its own graces and the given ones the longer."""
        return Terms(
            policy=next(each for each in POLICIES if each == self.policy),
            grace_s=max(self.grace_s, grace_s),
            retire_grace_s=max(self.retire_grace_s, retire_grace_s),
            campaign=self.campaign,
            campaign_plan=campaign_plan,
            subject=self.subject,
        )

    def check(self) -> None:
        """Raise `CallError` where it cannot be meant."""
        if self.policy not in POLICIES:
            raise CallError(f"policy is expire_only, {', '.join(POLICIES)}; not {str(self.policy)[:40]!r}.")
        for name, policy in (("campaign", "delete_campaign"), ("subject", "erase_subject")):
            if bool(getattr(self, name)) is not (self.policy == policy):
                raise CallError(f"policy {policy!r} needs {name}, and no other policy takes it; this is {self.policy!r}.")
        if self.grace_s < 0 or self.retire_grace_s < 0:
            raise CallError("A grace is a length of time, 0 or more.")


@dataclass(frozen=True)
class Plan:
    """A plan that may be carried out here. ``reason``: what the audit says of it. ``lines``: gives it from its beginning."""

    terms: Terms
    reason: str
    lines: Callable[[], Iterable[str]]

    def pages(self) -> Iterator[dict[str, bool]]:
        """Media id -> whether it may be deleted (else it is kept), in pages.

        Raises:
            CleanupPlanRefusedError: a line names no media id.
        """
        numbered = enumerate(self.lines(), start=1)
        next(numbered, None)
        while page := list(islice(numbered, PAGE)):
            yield dict(_read_line(number, line) for number, line in page if line.strip())


def build_header(terms: Terms, *, channel: str, sealed_subject: str | None, now: datetime) -> str:
    """The first line. ``channel``: its phone number id. No subject stands in it, only what the ledger makes of one."""
    return json.dumps(
        {
            "dialog360_cleanup": FORMAT,
            "plan": secrets.token_hex(8),
            "channel": channel,
            "policy": terms.policy,
            "campaign": terms.campaign,
            "campaign_plan": terms.campaign_plan,
            "subject": sealed_subject,
            "grace_s": terms.grace_s,
            "retire_grace_s": terms.retire_grace_s,
            "planned_at": now.isoformat(timespec="seconds"),
        }
    )


def build_line(found: Candidate) -> str:
    """The line of one id; ``keep`` where it is named only to say that it stays."""
    line: dict[str, Any] = {name: getattr(found, name) for name in ("media_id", "sha256", "mime_type", "reason")}
    return json.dumps({**line, "keep": True} if found.kept else line)


def read_plan(lines: Callable[[], Iterable[str]], wish: Wish, *, channel: str, sealed_subject: str | None) -> Plan:
    """A plan that was made for this wish and this channel.

    Raises:
        CleanupPlanRefusedError: it is none, or another.
    """
    header = _parsed(next(iter(lines()), ""))
    if header is None or header.get("dialog360_cleanup") != FORMAT:
        raise CleanupPlanRefusedError(reason=f"its first line is no header of a plan of format {FORMAT}")
    if header.get("channel") != channel:
        raise CleanupPlanRefusedError(reason=f"it was made for another number than {channel}")
    wanted = {"policy": wish.policy, "campaign": wish.campaign, "subject": sealed_subject}
    if differs := [name for name, value in wanted.items() if header.get(name) != value]:
        raise CleanupPlanRefusedError(reason=f"it was made with another {' and another '.join(differs)}")
    plan, numbers = header.get("plan"), [header.get(name) for name in ("campaign_plan", "grace_s", "retire_grace_s")]
    if not isinstance(plan, str) or any(type(each) not in {int, float} for each in numbers):
        raise CleanupPlanRefusedError(reason="its header is not whole")
    campaign_plan, grace_s, retire_grace_s = (float(str(each)) for each in numbers)
    terms = wish.terms(int(campaign_plan), grace_s=grace_s, retire_grace_s=retire_grace_s)
    return Plan(terms, f"{wish.policy}, plan {plan[:32]}", lines)


def _read_line(number: int, line: str) -> tuple[str, bool]:
    facts = _parsed(line) or {}
    try:
        return check_media_id(facts.get("media_id")), not facts.get("keep")
    except MediaIdInvalidError:
        raise CleanupPlanRefusedError(reason=f"line {number} names no media id") from None


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None
