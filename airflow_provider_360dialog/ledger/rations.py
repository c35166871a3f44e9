"""The rations of many channels at once, as `ration` would find each of them. Reads only, and takes no lock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import rules, schema
from airflow_provider_360dialog.ledger.channels import POLICY_LIFE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

_connection = schema.connection


@dataclass(frozen=True)
class ChannelRation:
    """One channel's ration as it stands. ``ceiling``: uploads per second that its connections allow at most."""

    pace: rules.Pace
    ceiling: float
    budget: rules.Budget
    credits_: tuple[rules.Credit, ...]
    closed_until: float

    def line(self) -> float:
        """Uploads per second that are believed to hold."""
        return min(self.pace.line, self.ceiling)

    def rate(self, now: float) -> float:
        """Uploads per second that are allowed now."""
        return min(self.pace.rate_at(now), self.ceiling)

    def paused_until(self, now: float) -> float | None:
        """Before which instant no upload is sent; None where it has passed."""
        return self.pace.paused_until if now < self.pace.paused_until <= now + rules.LONGEST_PAUSE_S else None


def read_rations(db: sa.Connection, ids: list[int], now: float) -> dict[int, ChannelRation]:
    """Channel -> what `ration` would find for it, for many at once."""
    pace, retrieval, credit = schema.pace, schema.retrieval, schema.credit
    paces = {
        row.channel_id: rules.Pace(row.next_at, row.rate, row.line, row.refused_at, row.paused_until)
        for row in db.execute(sa.select(pace).where(pace.c.channel_id.in_(ids)))
    }
    closed = {row.channel_id: row.closed_until for row in db.execute(sa.select(retrieval).where(retrieval.c.channel_id.in_(ids)))}
    credits_: dict[int, list[rules.Credit]] = {}
    for row in db.execute(sa.select(credit).where(credit.c.channel_id.in_(ids))):
        credits_.setdefault(row.channel_id, []).append(rules.Credit(row.deadline, row.spent_at, row.by_webhook_url))
    said: dict[int, list[sa.Row[Any]]] = {}
    lately = _connection.c.policy_at > now - POLICY_LIFE_S
    for row in db.execute(sa.select(_connection).where(_connection.c.channel_id.in_(ids), lately)):
        said.setdefault(row.channel_id, []).append(row)
    return {
        each: ChannelRation(
            paces.get(each) or rules.fresh(now),
            min([rules.CEILING_PER_S, *(row.uploads_per_second for row in said.get(each, ()) if row.uploads_per_second)]),
            _budget(said.get(each, ())),
            tuple(credits_.get(each, ())),
            closed.get(each, 0.0),
        )
        for each in ids
    }


def _budget(said: Sequence[sa.Row[Any]]) -> rules.Budget:
    """What a channel's connections leave: the strictest counts."""
    rule = rules.DOCUMENTED if said and all(row.throttle == "documented" for row in said) else rules.STRICT
    return replace(rule, max_errors=min([rule.max_errors, *(row.error_budget for row in said if row.error_budget is not None)]))
