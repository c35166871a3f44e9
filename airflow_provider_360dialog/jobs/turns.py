"""Nothing is sent out of turn: an upload waits for its instant, a GET holds a credit."""

from __future__ import annotations

import logging
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from airflow_provider_360dialog.exceptions import (
    CertificateError,
    ChannelClosedError,
    Dialog360Error,
    RedirectRefusedError,
    StoppedError,
    ThrottledError,
    UnreachableError,
)
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.ration import Ration
from airflow_provider_360dialog.ledger.rules import USE_BY_S, Closed, Full

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_360dialog.api.messages import Operation
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import Channel

T = TypeVar("T")

log = logging.getLogger(__name__)

_LONGEST_QUEUE_S: Final = 60.0
# Nothing reached 360dialog, or it answered with something that is no error.
_FREE: Final = (CertificateError, RedirectRefusedError, StoppedError, UnreachableError)


def upload_in_turn(calls: Calls, attempt: Callable[[], T | Dialog360Error]) -> T | Dialog360Error:
    """One POST, at an instant that nobody else has. An instant that was missed is let go, for another may be using its second.

    Returns:
        What the attempt gave; or, without sending, `ChannelClosedError` where uploads are paused for more than a minute.
    """
    ration = calls.ledger.ration
    while True:
        at = ration.reserve()
        if isinstance(at, Closed):
            return _closed(calls, "upload", at.until)
        if calls.stop.wait(max(0.0, at - ration.clock.now())):
            return StoppedError(operation="upload")
        if ration.clock.now() - at <= USE_BY_S:
            break
    outcome = attempt()
    if isinstance(outcome, ThrottledError):
        rate = ration.refused(pause_s=outcome.retry_after_s)
        log.warning("360dialog refused an upload as too many: going on with %.1f a second", rate)
    return outcome


def get_with_credit(
    calls: Calls, operation: Operation, attempt: Callable[[], T | Dialog360Error], *, longest_s: float
) -> T | Dialog360Error:
    """One GET under a credit, settled before anybody learns of the outcome.

    Args:
        calls: the channel. operation: fetch or download. attempt: the GET.
        longest_s: by when its outcome is known at the latest; a holder that dies has spent its credit by then.

    Returns:
        What the attempt gave; or, without sending, `ChannelClosedError` where the budget is used up or a block has been seen.
    """
    ration = calls.ledger.ration
    credit = _hold(calls, operation, longest_s)
    if isinstance(credit, Dialog360Error):
        return credit
    settled = False
    try:
        outcome = attempt()
        if isinstance(outcome, Dialog360Error) and not isinstance(outcome, _FREE):
            ration.spend(credit)
        else:
            ration.give_back(credit)
        settled = True
    finally:
        if not settled:
            ration.spend(credit)
    if isinstance(outcome, ThrottledError):
        until = ration.close(for_s=outcome.retry_after_s)
        log.warning("360dialog has blocked retrieval for this number: nothing is asked before %s", _instant(until).isoformat())
    return outcome


def retrieval_opens_at(channel: Channel, *, store: Store, conn_id: str) -> datetime | None:
    """When a number's retrieval opens, by what is on record; None where it is open, or nothing is known of the number."""
    by_key, by_connection = Channels(store).look_up(api_key=channel.api_key, conn_id=conn_id, origin=channel.base_url)
    identity = by_key or by_connection
    if identity is None:
        return None
    decision, now = Ration(store, identity.channel_id).retrieval()
    if isinstance(decision, Closed):
        return _instant(decision.until)
    return _instant(now) if isinstance(decision, Full) else None


def _hold(calls: Calls, operation: Operation, longest_s: float) -> int | Dialog360Error:
    ration = calls.ledger.ration
    gives_up_at = time.monotonic() + _LONGEST_QUEUE_S
    while True:
        held = ration.hold(for_s=longest_s)
        if isinstance(held, int):
            return held
        if isinstance(held, Closed):
            return _closed(calls, operation, held.until)
        if isinstance(held, Full) and time.monotonic() > gives_up_at:
            return _closed(calls, operation, ration.retrieval()[1] + _LONGEST_QUEUE_S)
        if calls.stop.wait(random.uniform(0.02, 0.1)):  # noqa: S311 - spreads, hides nothing
            return StoppedError(operation=operation)


def _closed(calls: Calls, operation: Operation, until: float) -> ChannelClosedError:
    number = calls.ledger.identity.phone_number_id
    return ChannelClosedError(operation=operation, phone_number_id=number, retry_at=_instant(until))


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
