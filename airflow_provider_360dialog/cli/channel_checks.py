"""The doctor's look at one connection: fields, key, number, and 360dialog's clock. One request: ``GET /health_status``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.cli.checks import Check, check_skew
from airflow_provider_360dialog.cli.connections import why_missing
from airflow_provider_360dialog.exceptions import (
    AnswerUnreadableError,
    Dialog360Error,
    RequestRefusedError,
    ServerError,
    ThrottledError,
)
from airflow_provider_360dialog.hooks.dialog360 import describe_health
from airflow_provider_360dialog.ledger.channels import Channels, Known, Refused, decide_identity, decide_new_key
from airflow_provider_360dialog.ports import Health

if TYPE_CHECKING:
    from airflow_provider_360dialog.api.messages import Answer
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import Channel

_MAY_PASS: Final = (AnswerUnreadableError, RequestRefusedError, ServerError, ThrottledError)  # these say nothing about the key


def check_channel(conn_id: str, store: Store | None) -> Iterator[Check]:
    """All about one connection. ``store``: a ledger that can be read, or None."""
    channel = _read(conn_id)
    if isinstance(channel, Check):
        yield channel
        return
    policy = channel.policy
    words = f"{channel.base_url}, throttle policy {policy.throttle}, {policy.uploads_per_second:g} uploads/s."
    yield Check("connection", "ok", words, conn_id=conn_id)
    before = time.time()
    answer = _ask(channel)
    after = time.time()
    health = _read_health(answer)
    yield _key(health, conn_id)
    yield _identity(channel, conn_id, store, health.phone_number_id if isinstance(health, Health) else None)
    theirs = None if isinstance(answer, Dialog360Error) else _date(answer)
    if theirs is not None:  # whole seconds: half of one is added on average
        skew_s, unsure_s = (before + after) / 2 - (theirs + 0.5), (after - before) / 2 + 0.5
        yield check_skew("clock", skew_s, unsure_s=unsure_s, other="360dialog", conn_id=conn_id)


def check_key(conn_id: str) -> Check:
    """Only whether the key works, and what 360dialog says of the number."""
    channel = _read(conn_id)
    return channel if isinstance(channel, Check) else _key(_read_health(_ask(channel)), conn_id)


def _read(conn_id: str) -> Channel | Check:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    from airflow_provider_360dialog.hooks.connection import read_connection

    try:
        return read_connection(BaseHook.get_connection(conn_id))
    except Dialog360Error as error:
        return Check("connection", "FAIL", str(error), "Mend this field of the connection.", conn_id)
    except AirflowNotFoundException:
        return Check("connection", "FAIL", *why_missing(conn_id), conn_id)


def _ask(channel: Channel) -> Answer | Dialog360Error:
    from airflow_provider_360dialog.api.messages import build_health
    from airflow_provider_360dialog.api.sender import Sender

    sender = Sender(channel)
    try:
        return sender.exchange(build_health())
    finally:
        sender.close()


def _read_health(answer: Answer | Dialog360Error) -> Health | Dialog360Error:
    from airflow_provider_360dialog.api.answers import read_health
    from airflow_provider_360dialog.api.client import utc_now

    return answer if isinstance(answer, Dialog360Error) else read_health(answer, now=utc_now())


def _key(health: Health | Dialog360Error, conn_id: str) -> Check:
    if isinstance(health, _MAY_PASS):
        return Check("key", "warn", str(health), "Run this again in some minutes; it says nothing about the key.", conn_id)
    if isinstance(health, Dialog360Error):
        return Check("key", "FAIL", str(health), conn_id=conn_id)
    words = describe_health(health)
    if health.status == "AVAILABLE":
        return Check("key", "ok", words, conn_id=conn_id)
    remedy = "Look at the number in the 360dialog Hub and in Meta's WhatsApp Manager."
    return Check("key", "FAIL" if health.status == "BLOCKED" else "warn", words, remedy, conn_id)


def _identity(channel: Channel, conn_id: str, store: Store | None, found: str | None) -> Check:
    """Whether the key belongs to the number on record. Reads only: nothing is bound, frozen or thawed."""
    field = channel.policy.phone_number_id
    by_key = by_connection = None
    if store is not None:
        by_key, by_connection = Channels(store).look_up(api_key=channel.api_key, conn_id=conn_id, origin=channel.base_url)
    decision = decide_identity(field=field, by_key=by_key, by_connection=by_connection)
    if isinstance(decision, Refused):
        return Check("identity", "FAIL", f"It would be refused: {decision.reason}.", "Mend the connection.", conn_id)
    if isinstance(decision, Known):
        return _known(decision, found, conn_id)
    number = decide_new_key(field=field, found=found, by_connection=by_connection)
    if isinstance(number, Refused):
        return Check("identity", "FAIL", f"It would be refused: {number.reason}.", "Mend the connection.", conn_id)
    return Check("identity", "ok", f"The key is not on record yet; it would be bound to number {number}.", conn_id=conn_id)


def _known(decision: Known, found: str | None, conn_id: str) -> Check:
    number = decision.identity.phone_number_id
    if decision.identity.frozen_because is not None:
        message = f"Channel {number} is frozen: {decision.identity.frozen_because}."
        return Check("identity", "FAIL", message, "A key of this very number on the connection thaws it.", conn_id)
    if found not in {None, number}:
        message = f"The ledger knows this key as number {number}'s, but 360dialog says that it is number {found}'s now."
        return Check("identity", "FAIL", message, "Put a key of the right number into the connection's password.", conn_id)
    return Check("identity", "ok", f"The key belongs to number {number}, as on record.", conn_id=conn_id)


def _date(answer: Answer) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return None
