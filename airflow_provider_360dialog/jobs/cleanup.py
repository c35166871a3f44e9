"""Clean up one channel: list what may be deleted, and delete exactly what was listed.

Nothing but what a plan names is ever deleted, and each id is looked up once more when its turn comes. What was done stands in the
ledger at once, so a run that ended anywhere is finished by running it again.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import (
    CleanupTooLargeError,
    Dialog360Error,
    LedgerUnavailableError,
    MediaGoneError,
    SetupError,
    StoppedError,
    ThrottledError,
    UnreachableError,
    WaitError,
)
from airflow_provider_360dialog.jobs.cleanup_plan import FORMAT, PAGE, build_header, build_line, read_plan
from airflow_provider_360dialog.ledger.campaigns import Campaigns
from airflow_provider_360dialog.ledger.cleanup import Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.jobs.cleanup_plan import Plan, Wish
    from airflow_provider_360dialog.ledger.cleanup import Action, Cleanup

log = logging.getLogger(__name__)

DELETES_PER_S: Final = 5.0
_CALM: Final = 100
_MOST_REFUSALS: Final = 4
_MOST_FAILURES: Final = 3
_QUIET: Final = timedelta(minutes=10)
_TELL_EVERY_S: Final = 10.0
# Whatever was asked, the next id would meet the same.
_ENDS_THE_RUN: Final = (SetupError, WaitError, StoppedError, UnreachableError, LedgerUnavailableError)


@dataclass
class Planned:
    """What a plan holds.

    Attributes:
        planned: ids that it would delete. kept_referenced: ids that it names and keeps, for somebody else needs them.
        expired: ids whose life was found to have ended by itself; nothing has to be done for them.
    """

    planned: int = 0
    kept_referenced: int = 0
    expired: int = 0

    def counts(self) -> dict[str, int]:
        """All of it as a dictionary."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass
class Applied:
    """What came of a plan in one run.

    Attributes:
        planned: ids that it would delete. deleted: in this run. gone_already: were gone when their turn came.
        deleted_before: of these, by earlier runs of the same plan. kept_referenced: stay, for somebody needs them.
        failed: could not be deleted; run it again. unknown: not on record, so left alone. left: the run did not come to them.
        erased_items: items of the subject that were removed from the ledger.
        fault: the last failure of a single id.
    """

    planned: int = 0
    deleted: int = 0
    gone_already: int = 0
    deleted_before: int = 0
    kept_referenced: int = 0
    failed: int = 0
    unknown: int = 0
    left: int = 0
    erased_items: int = 0
    fault: Dialog360Error | None = None

    def counts(self) -> dict[str, int]:
        """The numbers."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "fault"}


def expire(calls: Calls) -> int:
    """Note the ids of a channel whose life has ended by itself; how many. Sends nothing."""
    calls.patiently(lambda: calls.ledger.identity)  # for which the ledger may have to be asked
    expired = calls.patiently(calls.ledger.cleanup.expire)
    log.info("%d ids have ended by themselves", expired)
    return expired


def plan_cleanup(wish: Wish, write: Callable[[Iterator[str]], object], *, calls: Calls) -> Planned:
    """List what may be deleted now. Sends nothing, and deletes nothing.

    Args:
        wish: what is wanted. write: takes the lines of the plan, without line ends, and stores them whole. calls: the channel.

    Raises:
        CallError: the wish cannot be meant. CampaignUnknownError: its campaign was never planned.
        StoppedError: the task was told to end; what was written is not whole.
    """
    wish.check()
    cleanup = calls.ledger.cleanup
    found = Planned(expired=expire(calls))
    terms = wish.terms(_campaign_plan(wish, calls))
    number, now = calls.ledger.identity.phone_number_id, calls.patiently(calls.ledger.store.read_now)
    header = build_header(terms, channel=number, sealed_subject=_seal(wish, calls), now=now)

    def lines() -> Iterator[str]:
        yield header
        after = ""
        while True:
            if calls.stop.is_set():
                raise StoppedError(operation="plan a clean-up")
            page = calls.patiently(partial(cleanup.candidates, terms, after=after, limit=PAGE))
            for each in page:
                yield build_line(each)
            found.kept_referenced += sum(each.kept for each in page)
            found.planned += sum(not each.kept for each in page)
            if len(page) < PAGE:
                return
            after = page[-1].media_id

    write(lines())
    log.info("clean-up by %s: %d ids may be deleted, %d are kept", wish.policy, found.planned, found.kept_referenced)
    return found


def apply_cleanup(
    wish: Wish,
    lines: Callable[[], Iterable[str]],
    write_audit: Callable[[Iterator[str]], object],
    *,
    calls: Calls,
    max_delete: float | None = None,
    per_s: float = DELETES_PER_S,
    name_of: Callable[[str], str] = str,
) -> Applied:
    """Delete what a plan names, and nothing else, as far as it is still within the plan's terms.

    Args:
        wish: the one that the plan was made for; the longer grace of the two counts.
        lines: the plan, from its beginning each time.
        write_audit: takes what was done for this plan, now and before, as lines of JSON; called also where the run ends early.
        calls: the channel. max_delete: an int is a number of ids, a float up to 1 a share of the channel's; None: no bound.
        per_s: deletes per second; half of it after each refusal.
        name_of: gives the name under which the verdict on the file at a URI is remembered; see `Cleanup.erase_subject`.

    Raises:
        CleanupPlanRefusedError, CleanupTooLargeError: nothing was deleted.
        WaitError: 360dialog refuses deletes as too many; what is left stays for the next run, from its instant on.
        SetupError, StoppedError, UnreachableError, LedgerUnavailableError: the same, without an instant.
        Dialog360Error: three ids in a row failed.
    """
    wish.check()
    calls.patiently(calls.ledger.check_usable)
    expire(calls)
    plan = read_plan(lines, wish, channel=calls.ledger.identity.phone_number_id, sealed_subject=_seal(wish, calls))
    run = _Run(plan, calls, _Spacing(per_s))
    run.count(max_delete)
    fault: Dialog360Error | None = None
    try:
        run.delete_all()
        if wish.subject is not None and not run.applied.failed:
            subject = wish.subject
            run.applied.erased_items = calls.patiently(lambda: run.cleanup.erase_subject(subject, name_of=name_of))
    except Dialog360Error as error:
        fault = error
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in run.applied.counts().items())
    log.info("clean-up by %s: %s", wish.policy, told)
    try:
        write_audit(run.audit())
    except Exception:
        if fault is None:
            raise
        log.exception("the audit file could not be written; running the plan again writes it")
    if fault is not None:
        raise fault
    return run.applied


def _campaign_plan(wish: Wish, calls: Calls) -> int:
    if wish.campaign is None:
        return 0
    name = wish.campaign
    campaign = calls.patiently(lambda: Campaigns(calls.ledger.store).find(name))
    if campaign.needed_until > calls.patiently(calls.ledger.store.read_now).timestamp():
        until = datetime.fromtimestamp(campaign.needed_until, UTC).isoformat(timespec="seconds")
        log.warning("campaign %r is itself needed until %s; what it alone needs is in the plan", name, until)
    return campaign.plan


def _seal(wish: Wish, calls: Calls) -> str | None:
    subject = wish.subject
    return None if subject is None else calls.patiently(lambda: calls.ledger.cleanup.seal(subject))


class _Spacing:
    """Deletes at their pace: half of it after each refusal, twice as much again after a hundred that were not refused."""

    def __init__(self, per_s: float) -> None:
        self._most_per_s = self._per_s = per_s
        self._next_at = 0.0
        self._calm = 0
        self.refusals = 0

    def wait_s(self) -> float:
        """Until the next one may be sent."""
        return max(0.0, self._next_at - time.monotonic())

    def sends(self) -> None:
        """One is about to be sent."""
        self._next_at = time.monotonic() + 1 / self._per_s
        self._calm += 1
        if self._calm >= _CALM:
            self._calm = self.refusals = 0
            self._per_s = min(self._most_per_s, 2 * self._per_s)

    def refused(self) -> None:
        """360dialog said: too many."""
        self._calm = 0
        self.refusals += 1
        self._per_s /= 2
        self._next_at = time.monotonic() + 1 / self._per_s
        log.warning("360dialog refused a delete as too many: going on with %.2f a second", self._per_s)


class _Run:
    """One run of a plan."""

    def __init__(self, plan: Plan, calls: Calls, spacing: _Spacing) -> None:
        self.applied = Applied()
        self.cleanup: Cleanup = calls.ledger.cleanup
        self._plan, self._calls, self._spacing = plan, calls, spacing
        self._in_a_row = 0
        self._tell_at = time.monotonic() + _TELL_EVERY_S

    def count(self, max_delete: float | None) -> None:
        """Read the whole plan once, before anything is done.

        Raises:
            CleanupPlanRefusedError, CleanupTooLargeError.
        """
        to_do = 0
        for page in self._plan.pages():
            self.applied.planned += sum(page.values())
            standing = self._standing(page)
            to_do += sum(may_go and standing.get(media_id, False) for media_id, may_go in page.items())
        self.applied.left = self.applied.planned
        if max_delete is not None:
            alive = self._calls.patiently(self.cleanup.count_alive)
            bound = max_delete * alive if isinstance(max_delete, float) else max_delete
            if to_do > bound:
                raise CleanupTooLargeError(planned=to_do, alive=alive, max_delete=max_delete)

    def delete_all(self) -> None:
        """Go through the plan; see `apply_cleanup` for what it raises."""
        for page in self._plan.pages():
            standing = self._standing(page)
            ended = [each for each, may_go in page.items() if may_go and standing.get(each) is False]
            if ended:
                before = self._calls.patiently(partial(self.cleanup.note_ended, ended, self._plan.reason))
                self.applied.deleted_before += before
                self.applied.gone_already += len(ended)
                self.applied.left -= len(ended)
            for media_id, may_go in page.items():
                if not may_go:
                    self._settle(media_id, "kept")
                    self.applied.kept_referenced += 1
                elif standing.get(media_id) is not False:
                    self._delete(media_id)
                    self.applied.left -= 1
                    self._tell()

    def audit(self) -> Iterator[str]:
        """What was done with each id of the plan, in all of its runs."""
        head = {"dialog360_audit": FORMAT, "channel": self._calls.ledger.identity.phone_number_id, "reason": self._plan.reason}
        yield json.dumps(head | {"this_run": self.applied.counts()})
        for page in self._plan.pages():
            for row in self._calls.patiently(partial(self.cleanup.audit, list(page), self._plan.reason)):
                at = datetime.fromtimestamp(row.at, UTC).isoformat(timespec="milliseconds")
                yield json.dumps({"at": at, "media_id": row.media_id, "action": row.action, "reason": self._plan.reason})

    def _delete(self, media_id: str) -> None:
        if self._calls.stop.wait(self._spacing.wait_s()):
            raise StoppedError(operation="delete")
        taken = self._calls.patiently(lambda: self.cleanup.take_for_deletion(media_id, self._plan.terms))
        if taken is Taken.TAKEN:
            self._send(media_id)
        elif taken is Taken.GONE_ALREADY:
            self._settle(media_id, "gone already")
            self.applied.gone_already += 1
        else:
            self._settle(media_id, "kept")
            self.applied.unknown += taken is Taken.UNKNOWN
            self.applied.kept_referenced += taken is Taken.REFERENCED

    def _send(self, media_id: str) -> None:
        outcome = self._calls.outcome("delete", lambda: self._attempt(media_id))
        if isinstance(outcome, MediaGoneError):
            self._settle(media_id, "gone already", outcome)
            self.applied.gone_already += 1
        elif isinstance(outcome, _ENDS_THE_RUN):
            raise outcome
        elif isinstance(outcome, Dialog360Error):
            self._fail(media_id, outcome)
            return
        else:
            self._settle(media_id, "deleted")
            self.applied.deleted += 1
        self._in_a_row = 0

    def _attempt(self, media_id: str) -> bool | Dialog360Error:
        self._spacing.sends()
        outcome = self._calls.api.delete(media_id)
        if isinstance(outcome, ThrottledError):
            self._spacing.refused()
            if self._spacing.refusals >= _MOST_REFUSALS:  # long enough for nobody to repeat it within the task
                return outcome.until(max(outcome.retry_at, self._calls.now() + _QUIET))
        return outcome

    def _fail(self, media_id: str, error: Dialog360Error) -> None:
        """One id could not be deleted; the others may."""
        self._settle(media_id, "failed")
        self.applied.failed += 1
        self.applied.fault = error
        self._in_a_row += 1
        log.warning("media id %s could not be deleted: %s", media_id, error)
        if self._in_a_row >= _MOST_FAILURES:
            raise error

    def _settle(self, media_id: str, action: Action, gone: MediaGoneError | None = None) -> None:
        self._calls.patiently(lambda: self.cleanup.settle(media_id, action, self._plan.reason, gone=gone))

    def _standing(self, page: dict[str, bool]) -> dict[str, bool]:
        return self._calls.patiently(lambda: self.cleanup.standing(list(page), self._plan.terms))

    def _tell(self) -> None:
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TELL_EVERY_S
            log.info("clean-up: %d deleted, %d left of %d", self.applied.deleted, self.applied.left, self.applied.planned)
