"""Why items of a campaign were rejected, told so that it names nobody.

A campaign's keys and paths may be phone numbers or names, so a rejected item is told by its row, and a reason that quotes a path
by its code alone.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.bounded import Count, Sureness, table_of
from airflow_provider_360dialog.ledger.views import Reason, ReasonCount, Reject

_REASONS_BUDGET: Final = 5_000
_channel, _item = schema.channel, schema.item


def read_rejects(db: sa.Connection, campaign: int, *, after: tuple[int, int], limit: int) -> tuple[list[Reject], str | None]:
    """Rejected items of a campaign by channel and row, and where the next page begins; None for no more.

    Args:
        db: a transaction. campaign: its row. after: channel and row of the last one that was told. limit: how many at the most.
    """
    found: list[Reject] = []
    at = (0, 0)
    for channel_id, number in _channels_with_rejects(db, campaign):
        if channel_id < after[0]:
            continue
        behind = after[1] if channel_id == after[0] else 0
        query = (
            sa.select(_item.c.id, _item.c.reason)
            .where(*_rejected(campaign, channel_id), _item.c.id > behind)
            .order_by(_item.c.id)
            .limit(limit + 1 - len(found))
        )
        for each in db.execute(query):
            if len(found) == limit:
                return found, f"{at[0]}-{at[1]}"
            found.append(Reject(each.id, number[-2:], _reasons(each.reason)))
            at = (channel_id, each.id)
    return found, None


def count_reasons(db: sa.Connection, campaign: int) -> list[ReasonCount]:
    """The reasons of a campaign, the most frequent first; over the first rejected items of each channel."""
    ids = [channel_id for channel_id, _ in _channels_with_rejects(db, campaign)]
    if not ids:
        return []
    columns = (("campaign", sa.BigInteger), ("channel", sa.BigInteger))
    cells = table_of(db.dialect.name, [(campaign, channel_id) for channel_id in ids], columns)
    joined = sa.select(_item.c.reason).join_from(cells, _item, sa.and_(*_rejected(cells.c.campaign, cells.c.channel)))
    looked_at = joined.limit(_REASONS_BUDGET + 1).subquery()
    query = sa.select(looked_at.c.reason, sa.func.count().label("rows")).group_by(looked_at.c.reason)
    rows = db.execute(query).all()
    counts: dict[str, ReasonCount] = {}
    sure: Sureness = "exact" if sum(row.rows for row in rows) <= _REASONS_BUDGET else "at_least"
    for row in rows:
        for reason in _reasons(row.reason):
            known = counts.get(reason.code, ReasonCount(reason, Count(0)))
            counts[reason.code] = ReasonCount(known.reason, Count(known.count.number + row.rows, sure))
    return sorted(counts.values(), key=lambda each: (-each.count.number, each.reason.code))


def _channels_with_rejects(db: sa.Connection, campaign: int) -> list[tuple[int, str]]:
    """(channel, phone number id) of those that have any."""
    any_ = sa.exists().where(*_rejected(campaign, _channel.c.id))
    query = sa.select(_channel.c.id, _channel.c.phone_number_id).where(any_).order_by(_channel.c.id)
    return [(row.id, row.phone_number_id) for row in db.execute(query)]


def _rejected(campaign: Any, channel: Any) -> tuple[sa.ColumnElement[bool], ...]:
    return _item.c.campaign_id == campaign, _item.c.channel_id == channel, _item.c.state == schema.REJECTED


def _reasons(text: str | None) -> tuple[Reason, ...]:
    found = json.loads(text or "[]") or [{"code": "unknown"}]
    return tuple(_reason(each.get("code", "unknown"), each.get("message", ""), each.get("remedy", "")) for each in found)


def _reason(code: str, message: str, remedy: str) -> Reason:
    if code == "source_unreadable":  # the message quotes the path
        return Reason(code, "The file cannot be read where the manifest says that it is.", remedy)
    if code == "source_changed":
        return Reason(code, "The file has changed since it was planned.", remedy)
    return Reason(code, without_persons(message), without_persons(remedy))


def without_persons(text: str) -> str:
    """A text without what may stand for a person: addresses of files, and digits as long as a phone number."""
    text = re.sub(r"\w[\w+.-]*://\S+", "(address)", text)
    return re.sub(r"\d{5,}(\d\d)", r"…\1", text)
