"""What a ledger can tell a person at a glance: channels, campaigns, rejects, what customers sent. Reads only.

Made for pages that somebody looks at while work goes on: each answer takes well under 200 ms at a million rows, because nothing
is counted or looked at beyond a budget (`bounded`). What is not known exactly says so.

Nothing here names a person.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import CampaignUnknownError
from airflow_provider_360dialog.ledger import arrivals, rules, schema
from airflow_provider_360dialog.ledger.bounded import Count, count_ranges, total
from airflow_provider_360dialog.ledger.campaign_runs import read_runs, running_among
from airflow_provider_360dialog.ledger.campaigns import good_until_of
from airflow_provider_360dialog.ledger.progress import (
    Lane,
    Progress,
    first_safe_until,
    lanes_of,
    read_progress,
    read_safe_until,
)
from airflow_provider_360dialog.ledger.rations import ChannelRation, read_rations
from airflow_provider_360dialog.ledger.rejects import count_reasons, read_rejects, without_persons
from airflow_provider_360dialog.ledger.views import (
    CampaignChannelOverview,
    CampaignOverview,
    ChannelOverview,
    ConnectionOverview,
    InboundOverview,
    Page,
    ReasonCount,
    Reject,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_360dialog.ledger.store import Store

DAY_S: Final = 86_400.0
DAYS: Final = 35

_MEDIA_BUDGET: Final = 300_000
_ITEMS_BUDGET: Final = 12_500
_ITEMS_OF_A_LIST_BUDGET: Final = 2_000
_CURSOR: Final = re.compile(r"[0-9]{1,18}(-[0-9]{1,18})?")
_channel, _media, _campaign, _connection = schema.channel, schema.media, schema.campaign, schema.connection


class Overview:
    """Questions to an opened ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- channels -------------------------------------------------------------------------------------------------

    def channels(self, after: str | None = None, limit: int = 50) -> Page[ChannelOverview]:
        """A page of channels, in the order in which they became known."""
        with self._read() as db:
            now = self._now(db)
            rows, more = self._channel_rows(db, after, limit)
            ids = [row.id for row in rows]
            rations = read_rations(db, ids, now)
            connections = _connections(db, ids)
            days = self._dying(db, ids, now)
        found = [_channel_overview(row, rations[row.id], connections.get(row.id, ()), days[row.id], now) for row in rows]
        return Page(tuple(found), now, str(ids[-1]) if more else None)

    def _channel_rows(self, db: sa.Connection, after: str | None, limit: int) -> tuple[Sequence[sa.Row[Any]], bool]:
        query = sa.select(_channel).where(_channel.c.id > _cursor(after)[0]).order_by(_channel.c.id).limit(limit + 1)
        rows = db.execute(query).all()
        return rows[:limit], len(rows) > limit

    def _dying(self, db: sa.Connection, ids: list[int], now: float) -> dict[int, list[Count]]:
        """Channel -> current ids that stop being safe on each of the days, and one more count: on any later day."""
        edges = [*(now + day * DAY_S for day in range(DAYS + 1)), now + 1e9]
        cells = [(channel, *edges[day : day + 2]) for channel in ids for day in range(DAYS + 1)]
        columns = (("channel", sa.BigInteger), ("low", sa.Double), ("high", sa.Double))

        def range_of(cell: sa.CTE) -> sa.Select[Any]:
            return sa.select(sa.literal_column("1")).where(
                _media.c.channel_id == cell.c.channel,
                _media.c.state == schema.CURRENT,
                _media.c.safe_until >= cell.c.low,
                _media.c.safe_until < cell.c.high,
            )

        counts = count_ranges(db, cells, columns, range_of, budget=_MEDIA_BUDGET)
        return {channel: counts[n * (DAYS + 1) : (n + 1) * (DAYS + 1)] for n, channel in enumerate(ids)}

    # --- campaigns ------------------------------------------------------------------------------------------------

    def campaigns(self, after: str | None = None, limit: int = 50, *, ended: bool = False) -> Page[CampaignOverview]:
        """A page of campaigns: those that are still needed, the soonest first; or those that have ended, the latest first."""
        at = _campaign.c.needed_until
        with self._read() as db:
            now = self._now(db)
            query = sa.select(_campaign).where(at <= now if ended else at > now).limit(limit + 1)
            query = query.order_by(at.desc(), _campaign.c.id.desc()) if ended else query.order_by(at, _campaign.c.id)
            if after is not None:
                last = sa.select(at, _campaign.c.id).where(_campaign.c.id == _cursor(after)[0]).cte("last")
                here, there = sa.tuple_(at, _campaign.c.id), sa.tuple_(last.c.needed_until, last.c.id)
                query = query.join(last, here < there if ended else here > there)
            rows = db.execute(query).all()
            found = self._campaigns(db, rows[:limit], now, most_items=_ITEMS_OF_A_LIST_BUDGET)
        return Page(tuple(found), now, str(rows[limit - 1].id) if len(rows) > limit else None)

    def campaign(self, name: str) -> CampaignOverview:
        """One campaign, with the instant until which it is safe, and who was at it last.

        Raises:
            CampaignUnknownError: it was never planned.
        """
        with self._read() as db:
            now = self._now(db)
            row = _campaign_row(db, name)
            found = self._campaigns(db, [row], now, most_items=_ITEMS_BUDGET)[0]
            found = replace(found, runs=read_runs(db, row.id, now))
            if not found.progress.done.number:
                return found
            lanes = [Lane(found.row, each.row, found.good_until) for each in found.channels]
            safe = read_safe_until(db, lanes)
        channels = tuple(
            replace(each, safe_until=at, safe_until_is_exact=exact)
            for each, (at, exact) in zip(found.channels, safe, strict=True)
        )
        first, is_exact = first_safe_until(safe)
        return replace(found, safe_until=first, safe_until_is_exact=is_exact, channels=channels)

    def _campaigns(
        self, db: sa.Connection, rows: Sequence[sa.Row[Any]], now: float, *, most_items: int
    ) -> list[CampaignOverview]:
        good_until = {row.id: good_until_of(row.needed_until, now) for row in rows}
        lanes, complete = lanes_of(db, good_until)
        progress = read_progress(db, lanes, most_items=most_items)
        ids = sorted({lane.channel_id for lane in lanes})
        rations, channels = read_rations(db, ids, now), _named(db, ids)
        running = running_among(db, list(good_until), now)
        found = []
        for row in rows:
            parts = [
                _campaign_channel(channels[lane.channel_id], progress[lane], rations[lane.channel_id], now)
                for lane in lanes
                if lane.campaign == row.id
            ]
            parts.sort(key=lambda each: (-each.progress.uploads.number, each.conn_id))
            found.append(
                _campaign_overview(
                    row, good_until[row.id], parts, has_all_channels=row.id in complete, is_running=row.id in running
                )
            )
        return found

    # --- rejects --------------------------------------------------------------------------------------------------

    def rejects(self, name: str, after: str | None = None, limit: int = 50) -> Page[Reject]:
        """A page of a campaign's rejected items, by channel and row.

        Raises:
            CampaignUnknownError: it was never planned.
        """
        with self._read() as db:
            now = self._now(db)
            found, behind = read_rejects(db, _campaign_row(db, name).id, after=_cursor(after), limit=limit)
        return Page(tuple(found), now, behind)

    def reject_reasons(self, name: str) -> list[ReasonCount]:
        """Why a campaign's items were rejected, the most frequent reason first; over the first rejected items of each channel.

        Raises:
            CampaignUnknownError: it was never planned.
        """
        with self._read() as db:
            return count_reasons(db, _campaign_row(db, name).id)

    # --- inbound --------------------------------------------------------------------------------------------------

    def inbound(self, after: str | None = None, limit: int = 50) -> Page[InboundOverview]:
        """A page of channels with what is pending and lost of what customers sent."""
        with self._read() as db:
            now = self._now(db)
            rows, more = self._channel_rows(db, after, limit)
            ids = [row.id for row in rows]
            classes = arrivals.pending_by_class(db, ids, now)
            oldest = arrivals.oldest(db, ids)
            batches = arrivals.suspect_batches(db, ids)
            lost = arrivals.lost(db, ids)
        found = []
        for row in rows:
            overdue, urgent, soon, later = (total(each) for each in zip(*classes[row.id], strict=True))
            found.append(
                InboundOverview(
                    row=row.id,
                    ends_in=row.phone_number_id[-2:],
                    overdue=overdue,
                    urgent=urgent,
                    soon=soon,
                    later=later,
                    suspects=total(classes[row.id][schema.SUSPECT]),
                    suspect_batches=batches.get(row.id, 0),
                    oldest_received_at=oldest[row.id],
                    lost=lost.get(row.id, {}),
                )
            )
        return Page(tuple(found), now, str(ids[-1]) if more else None)

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with self._store.read() as db:
            if self._store.dialect == "postgresql":
                db.execute(sa.text("SET LOCAL jit = off"))  # to compile such a statement takes longer than to run it
            yield db

    def _now(self, db: sa.Connection) -> float:
        return float(db.execute(sa.select(self._store.now)).scalar_one())


# --- channels -----------------------------------------------------------------------------------------------------


def _connections(db: sa.Connection, ids: list[int]) -> dict[int, tuple[ConnectionOverview, ...]]:
    """Channel -> its connections; the same one at two hosts is one."""
    latest = [sa.func.max(_connection.c[name]).label(name) for name in ("policy_at", "key_refused_at", "key_refused_status")]
    query = sa.select(_connection.c.channel_id, _connection.c.conn_id, *latest).where(_connection.c.channel_id.in_(ids))
    query = query.group_by(_connection.c.channel_id, _connection.c.conn_id).order_by(_connection.c.conn_id)
    found: dict[int, tuple[ConnectionOverview, ...]] = {}
    for row in db.execute(query):
        each = ConnectionOverview(row.conn_id, row.policy_at, row.key_refused_at, row.key_refused_status)
        found[row.channel_id] = (*found.get(row.channel_id, ()), each)
    return found


def _channel_overview(
    row: sa.Row[Any], ration: ChannelRation, connections: tuple[ConnectionOverview, ...], days: list[Count], now: float
) -> ChannelOverview:
    decision = rules.decide_retrieval(ration.credits_, closed_until=ration.closed_until, budget=ration.budget, now=now)
    left = rules.credits_left(ration.credits_, closed_until=ration.closed_until, budget=ration.budget, now=now)
    return ChannelOverview(
        row=row.id,
        phone_number_id=row.phone_number_id,
        connections=connections,
        frozen_because=None if row.frozen_because is None else without_persons(row.frozen_because),
        pace_per_s=ration.rate(now),
        line_per_s=ration.line(),
        paused_until=ration.paused_until(now),
        credits_left=left,
        credits=ration.budget.max_errors,
        closed_until=decision.until if isinstance(decision, rules.Closed) else None,
        is_blocked=ration.closed_until > now,
        live=total(days),
        dying=tuple(days[:DAYS]),
    )


# --- campaigns ----------------------------------------------------------------------------------------------------


def _campaign_row(db: sa.Connection, name: str) -> sa.Row[Any]:
    row = db.execute(sa.select(_campaign).where(_campaign.c.name == name)).first() if name.isprintable() else None
    if row is None:
        raise CampaignUnknownError(campaign=name)
    return row


def _named(db: sa.Connection, ids: list[int]) -> dict[int, sa.Row[Any]]:
    """Channel -> its row, with the name of one of its connections."""
    of = sa.select(sa.func.min(_connection.c.conn_id)).where(_connection.c.channel_id == _channel.c.id).scalar_subquery()
    query = sa.select(_channel, sa.func.coalesce(of, "").label("conn_id")).where(_channel.c.id.in_(ids))
    return {row.id: row for row in db.execute(query)}


def _campaign_channel(channel: sa.Row[Any], progress: Progress, ration: ChannelRation, now: float) -> CampaignChannelOverview:
    paused_until, is_frozen = ration.paused_until(now), channel.frozen_because is not None
    wait_s = 0.0 if paused_until is None else paused_until - now
    eta_s = (wait_s if progress.uploads.number else 0.0) + progress.uploads.number / ration.line()
    return CampaignChannelOverview(
        row=channel.id,
        ends_in=channel.phone_number_id[-2:],
        conn_id=channel.conn_id,
        progress=progress,
        line_per_s=ration.line(),
        paused_until=paused_until,
        is_frozen=is_frozen,
        eta_s=None if is_frozen and progress.uploads.number else eta_s,
    )


def _campaign_overview(
    row: sa.Row[Any],
    good_until: float,
    parts: list[CampaignChannelOverview],
    *,
    has_all_channels: bool,
    is_running: bool,
) -> CampaignOverview:
    etas = [each.eta_s for each in parts]
    progress = Progress.together([each.progress for each in parts])
    return CampaignOverview(
        row=row.id,
        name=row.name,
        needed_until=row.needed_until,
        planned_at=row.planned_at,
        version=row.version,
        good_until=good_until,
        progress=progress if has_all_channels else progress.at_least(),
        eta_s=None if None in etas else max((each for each in etas if each is not None), default=0.0),
        safe_until=None,
        safe_until_is_exact=False,
        channels=tuple(parts),
        has_all_channels=has_all_channels,
        is_running=is_running,
    )


def _cursor(after: str | None) -> tuple[int, int]:
    """Where a page begins.

    Raises:
        ValueError: it is no cursor of ours.
    """
    if after is None:
        return 0, 0
    if not _CURSOR.fullmatch(after):
        raise ValueError("this is not where a page begins")
    first, _, second = after.partition("-")
    return int(first), int(second or 0)
