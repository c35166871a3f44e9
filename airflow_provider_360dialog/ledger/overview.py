"""What a ledger can tell a person at a glance: channels, campaigns, rejects, what customers sent. Reads only.

Made for pages that somebody looks at while work goes on: each answer takes well under 200 ms at a million rows, because nothing
is counted or looked at beyond a budget (`bounded`). What is not known exactly says so.

Nothing here names a person: a campaign's keys and paths may be phone numbers or names, so a rejected item is told by its row, and
a reason that quotes a path by its code alone.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import CampaignUnknownError
from airflow_provider_360dialog.ledger import arrivals, rules, schema
from airflow_provider_360dialog.ledger.bounded import Count, Sureness, count_ranges, table_of, total
from airflow_provider_360dialog.ledger.campaigns import good_until_of
from airflow_provider_360dialog.ledger.progress import Lane, Progress, lanes_of, read_progress, read_safe_until
from airflow_provider_360dialog.ledger.rations import ChannelRation, read_rations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_360dialog.ledger.store import Store

DAY_S: Final = 86_400.0
DAYS: Final = 35

_MEDIA_BUDGET: Final = 300_000
_REASONS_BUDGET: Final = 5_000
_ITEMS_BUDGET: Final = 12_500
_ITEMS_OF_A_LIST_BUDGET: Final = 2_000
_CURSOR: Final = re.compile(r"[0-9]{1,18}(-[0-9]{1,18})?")
_channel, _item, _media, _campaign, _connection = schema.channel, schema.item, schema.media, schema.campaign, schema.connection
T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows; when they were read (float seconds, the ledger's clock); where the next page begins, None for no more."""

    rows: tuple[T, ...]
    now: float
    after: str | None = None


@dataclass(frozen=True)
class ConnectionOverview:
    """A connection that speaks for a channel. ``used_at``: when it was used last, float seconds; None where nobody noted it."""

    conn_id: str
    used_at: float | None


@dataclass(frozen=True)
class ChannelOverview:
    """One channel. Instants are float seconds; None means that there is none, or that it has passed.

    Attributes:
        phone_number_id: never shown whole: `ends_in` is what may be shown. frozen_because: why nothing may be sent for it.
        pace_per_s, line_per_s: uploads a second that are allowed now, and that are believed to hold.
        paused_until: no upload before. credits_left, credits: failed GETs that it can still afford, of how many.
        closed_until: no GET before. is_blocked: because a block was seen; else the error budget is spent.
        live: current ids that are safe now. dying: for each of the next 35 days, how many of them stop being safe.
    """

    row: int
    phone_number_id: str = field(repr=False)
    connections: tuple[ConnectionOverview, ...]
    frozen_because: str | None
    pace_per_s: float
    line_per_s: float
    paused_until: float | None
    credits_left: int
    credits: int
    closed_until: float | None
    is_blocked: bool
    live: Count
    dying: tuple[Count, ...]

    @property
    def ends_in(self) -> str:
        """The last two digits of its phone number id."""
        return self.phone_number_id[-2:]


@dataclass(frozen=True)
class CampaignChannelOverview:
    """A channel's part of a campaign. ``eta_s``: seconds until the last upload is sent, at the line; None where it is frozen."""

    row: int
    ends_in: str
    conn_id: str
    progress: Progress
    line_per_s: float
    paused_until: float | None
    is_frozen: bool
    eta_s: float | None


@dataclass(frozen=True)
class CampaignOverview:
    """One campaign. Instants are float seconds.

    Attributes:
        planned_at: when the last plan was complete; None while the first one runs. version: of its export; 0 before the first.
        good_until: until when an id has to be safe to count as done. progress: over all its channels.
        eta_s: seconds until the slowest channel is through, at the line; None where one of them is frozen.
        safe_until: the first instant at which an id that is done stops being safe; None where it was not asked for or nothing is
            done. safe_until_is_exact: else it is safe at least until then.
        channels: the most uploads first. has_all_channels: False where it has more than could be looked at.
    """

    row: int
    name: str
    needed_until: float
    planned_at: float | None
    version: int
    good_until: float
    progress: Progress
    eta_s: float | None
    safe_until: float | None
    safe_until_is_exact: bool
    channels: tuple[CampaignChannelOverview, ...]
    has_all_channels: bool


@dataclass(frozen=True)
class Reason:
    """Why an item was rejected, without paths and without numbers of persons."""

    code: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Reject:
    """A rejected item, by a row number that says nothing of it. ``ends_in``: of its channel's number."""

    row: int
    ends_in: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class ReasonCount:
    """How many items were rejected for a code; message and remedy are those of one of them."""

    reason: Reason
    count: Count


@dataclass(frozen=True)
class InboundOverview:
    """What customers sent to one channel. Instants are float seconds.

    Attributes:
        overdue, urgent, soon, later: pending files whose life has ended; ends within a day; within three days; later.
        suspects: of these, files of batches that may be made up. suspect_batches: how many batches that are.
        oldest_received_at: of the pending; None where nothing is.
        lost: reason -> how many, in the newest `arrivals.RUNS` runs of the ledger.
    """

    row: int
    ends_in: str
    overdue: Count
    urgent: Count
    soon: Count
    later: Count
    suspects: Count
    suspect_batches: int
    oldest_received_at: float | None
    lost: dict[str, Count]

    @property
    def pending(self) -> Count:
        """All that is still to be archived."""
        return total((self.overdue, self.urgent, self.soon, self.later))


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
        """One campaign, with the instant until which it is safe.

        Raises:
            CampaignUnknownError: it was never planned.
        """
        with self._read() as db:
            now = self._now(db)
            row = _campaign_row(db, name)
            found = self._campaigns(db, [row], now, most_items=_ITEMS_BUDGET)[0]
            if not found.progress.done.number:
                return found
            lanes = [Lane(found.row, each.row, found.good_until) for each in found.channels]
            safe_until, is_exact = read_safe_until(db, lanes)
        return replace(found, safe_until=safe_until, safe_until_is_exact=is_exact)

    def _campaigns(
        self, db: sa.Connection, rows: Sequence[sa.Row[Any]], now: float, *, most_items: int
    ) -> list[CampaignOverview]:
        good_until = {row.id: good_until_of(row.needed_until, now) for row in rows}
        lanes, complete = lanes_of(db, good_until)
        progress = read_progress(db, lanes, most_items=most_items)
        ids = sorted({lane.channel_id for lane in lanes})
        rations, channels = read_rations(db, ids, now), _named(db, ids)
        found = []
        for row in rows:
            parts = [
                _campaign_channel(channels[lane.channel_id], progress[lane], rations[lane.channel_id], now)
                for lane in lanes
                if lane.campaign == row.id
            ]
            parts.sort(key=lambda each: (-each.progress.uploads.number, each.conn_id))
            found.append(_campaign_overview(row, good_until[row.id], parts, has_all_channels=row.id in complete))
        return found

    # --- rejects --------------------------------------------------------------------------------------------------

    def rejects(self, name: str, after: str | None = None, limit: int = 50) -> Page[Reject]:
        """A page of a campaign's rejected items, by channel and row.

        Raises:
            CampaignUnknownError: it was never planned.
        """
        channel, row = _cursor(after)
        found: list[Reject] = []
        with self._read() as db:
            now = self._now(db)
            campaign = _campaign_row(db, name).id
            numbers = self._channels_with_rejects(db, campaign)
            at = (0, 0)
            for channel_id, number in numbers:
                if channel_id < channel:
                    continue
                behind = row if channel_id == channel else 0
                query = (
                    sa.select(_item.c.id, _item.c.reason)
                    .where(*_rejected(campaign, channel_id), _item.c.id > behind)
                    .order_by(_item.c.id)
                    .limit(limit + 1 - len(found))
                )
                for each in db.execute(query):
                    if len(found) == limit:
                        return Page(tuple(found), now, f"{at[0]}-{at[1]}")
                    found.append(Reject(each.id, number[-2:], _reasons(each.reason)))
                    at = (channel_id, each.id)
        return Page(tuple(found), now)

    def reject_reasons(self, name: str) -> list[ReasonCount]:
        """Why a campaign's items were rejected, the most frequent reason first; over the first rejected items of each channel.

        Raises:
            CampaignUnknownError: it was never planned.
        """
        with self._read() as db:
            campaign = _campaign_row(db, name).id
            ids = [channel_id for channel_id, _ in self._channels_with_rejects(db, campaign)]
            columns = (("campaign", sa.BigInteger), ("channel", sa.BigInteger))
            cells = table_of(self._store.dialect, [(campaign, channel_id) for channel_id in ids], columns)
            joined = sa.select(_item.c.reason).join_from(cells, _item, sa.and_(*_rejected(cells.c.campaign, cells.c.channel)))
            looked_at = joined.limit(_REASONS_BUDGET + 1).subquery()
            query = sa.select(looked_at.c.reason, sa.func.count().label("rows")).group_by(looked_at.c.reason)
            rows = db.execute(query).all() if ids else []
        counts: dict[str, ReasonCount] = {}
        sure: Sureness = "exact" if sum(row.rows for row in rows) <= _REASONS_BUDGET else "at_least"
        for row in rows:
            for reason in _reasons(row.reason):
                known = counts.get(reason.code, ReasonCount(reason, Count(0)))
                counts[reason.code] = ReasonCount(known.reason, Count(known.count.number + row.rows, sure))
        return sorted(counts.values(), key=lambda each: (-each.count.number, each.reason.code))

    def _channels_with_rejects(self, db: sa.Connection, campaign: int) -> list[tuple[int, str]]:
        """(channel, phone number id) of those that have any."""
        any_ = sa.exists().where(*_rejected(campaign, _channel.c.id))
        query = sa.select(_channel.c.id, _channel.c.phone_number_id).where(any_).order_by(_channel.c.id)
        return [(row.id, row.phone_number_id) for row in db.execute(query)]

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
    used_at = sa.func.max(_connection.c.policy_at).label("used_at")
    query = sa.select(_connection.c.channel_id, _connection.c.conn_id, used_at).where(_connection.c.channel_id.in_(ids))
    query = query.group_by(_connection.c.channel_id, _connection.c.conn_id).order_by(_connection.c.conn_id)
    found: dict[int, tuple[ConnectionOverview, ...]] = {}
    for row in db.execute(query):
        found[row.channel_id] = (*found.get(row.channel_id, ()), ConnectionOverview(row.conn_id, row.used_at))
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
    row: sa.Row[Any], good_until: float, parts: list[CampaignChannelOverview], *, has_all_channels: bool
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
    )


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
