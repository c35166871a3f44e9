"""How far campaigns are, for many (campaign, channel) pairs at once and at a bounded cost.

Whether an item is done is looked up, never stored (`campaigns`): of a small lane every item is looked up; of a large one items at
even distances in the order in which they are uploaded, so that the estimate follows the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.bounded import Count, table_of, total
from airflow_provider_360dialog.ledger.statements import IS_CURRENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_LANES: Final = 1000
_COUNT_BUDGET: Final = 60_000
_SAMPLE_BUDGET: Final = 1_000
_STEPS_BUDGET: Final = 2_000
_item, _files, _media = schema.item, schema.fingerprint, schema.media
_COLUMNS: Final = (("campaign", sa.BigInteger), ("channel", sa.BigInteger))


@dataclass(frozen=True)
class Lane:
    """One channel's part of one campaign. ``good_until``: float seconds until which an id has to be safe."""

    campaign: int
    channel_id: int
    good_until: float


@dataclass(frozen=True)
class Progress:
    """Items by what became of them; different files that are still to be uploaded, and their bytes."""

    items: Count
    rejected: Count
    done: Count
    left: Count
    uploads: Count
    size_bytes: Count

    @classmethod
    def together(cls, parts: Sequence[Progress]) -> Progress:
        """Of several lanes."""
        names = ("items", "rejected", "done", "left", "uploads", "size_bytes")
        return cls(*(total(getattr(each, name) for each in parts) for name in names))

    def at_least(self) -> Progress:
        """The same where there is more that was not looked at."""
        counts = (self.items, self.rejected, self.done, self.left, self.uploads, self.size_bytes)
        return Progress(*(Count(each.number, "at_least") for each in counts))


def lanes_of(db: sa.Connection, good_until: Mapping[int, float]) -> tuple[list[Lane], set[int]]:
    """The lanes of campaigns, and which campaigns have no others. Jumps from channel to channel by the index."""
    if not good_until:
        return [], set()
    cells = table_of(db.dialect.name, [(row,) for row in good_until], (("campaign", sa.BigInteger),))
    first = sa.select(sa.func.min(_item.c.channel_id)).where(_item.c.campaign_id == cells.c.campaign)
    lanes = sa.select(cells.c.campaign, first.correlate(cells).scalar_subquery().label("channel")).cte("lanes", recursive=True)
    following = sa.select(sa.func.min(_item.c.channel_id)).where(
        _item.c.campaign_id == lanes.c.campaign, _item.c.channel_id > lanes.c.channel
    )
    lanes = lanes.union_all(
        sa.select(lanes.c.campaign, following.correlate(lanes).scalar_subquery()).where(lanes.c.channel.is_not(None))
    )
    rows = db.execute(sa.select(lanes).limit(MOST_LANES)).all()
    found = [Lane(row.campaign, row.channel, good_until[row.campaign]) for row in rows if row.channel is not None]
    return found, {row.campaign for row in rows if row.channel is None}


def read_progress(db: sa.Connection, lanes: Sequence[Lane], *, most_items: int) -> dict[Lane, Progress]:
    """How far each lane is. ``most_items``: of so many items, over all lanes, each one may be looked up; else a sample is."""
    if not lanes:
        return {}
    planned = _counted(db, lanes, schema.PLANNED)
    rejected = _counted(db, lanes, schema.REJECTED)
    few, share = most_items // len(lanes), max(2, _SAMPLE_BUDGET // len(lanes))
    small = [n for n, count in enumerate(planned) if count.sure == "exact" and count.number <= max(few, share)]
    large = [n for n in range(len(lanes)) if n not in set(small)]
    seen = {**_look_at_all(db, lanes, small), **_look_at_some(db, lanes, large, share)}
    return {lane: _progress(planned[n], rejected[n], seen.get(n), is_all=n in set(small)) for n, lane in enumerate(lanes)}


def first_safe_until(found: Iterable[tuple[float | None, bool]]) -> tuple[float | None, bool]:
    """Of several lanes together."""
    known = [each for each in found if each[0] is not None]
    return min(known, key=lambda each: (each[0], not each[1]), default=(None, False))


def read_safe_until(db: sa.Connection, lanes: Sequence[Lane]) -> list[tuple[float | None, bool]]:
    """Of each lane the first instant at which an id that answers stops being safe, and whether that is exact; else no earlier."""
    if not lanes:
        return []
    rows = [(lane.campaign, lane.channel_id, lane.good_until) for lane in lanes]
    cells = table_of(db.dialect.name, rows, (*_COLUMNS, ("good_until", sa.Double)))
    steps = max(10, _STEPS_BUDGET // len(lanes))
    walked = (
        sa.select(_media.c.safe_until, _media.c.fingerprint_id)
        .where(
            _media.c.channel_id == cells.c.channel, _media.c.state == schema.CURRENT, _media.c.safe_until >= cells.c.good_until
        )
        .order_by(_media.c.safe_until)
        .limit(steps)
        .correlate(cells)
        .subquery()
    )
    # Not EXISTS: PostgreSQL would turn that into a join, and read the whole campaign for it.
    answers = sa.select(_item.c.id).where(
        _item.c.fingerprint_id == walked.c.fingerprint_id,
        _item.c.campaign_id == cells.c.campaign,
        _item.c.state == schema.PLANNED,
    )
    answering = answers.limit(1).correlate(walked, cells).scalar_subquery().is_not(None)
    found = sa.select(sa.func.min(walked.c.safe_until)).where(answering).correlate(cells)
    reached = sa.select(sa.func.max(walked.c.safe_until)).having(sa.func.count() == steps).correlate(cells)
    asked = sa.select(cells.c.n, found.scalar_subquery().label("found"), reached.scalar_subquery().label("reached"))
    looks = {row.n: row for row in db.execute(asked.select_from(cells))}
    return [(looks[n].reached, False) if looks[n].found is None else (looks[n].found, True) for n in range(len(lanes))]


def _counted(db: sa.Connection, lanes: Sequence[Lane], state: str) -> list[Count]:
    """How many items each lane has of a state.

    A long lane is walked for its share of the budget, and the rest reckoned: a plan puts items on record in the manifest's order,
    so those of one channel lie about evenly between the lane's first row and its last.
    """
    cap = max(2, _COUNT_BUDGET // len(lanes))
    cells = table_of(db.dialect.name, [(lane.campaign, lane.channel_id) for lane in lanes], _COLUMNS)
    walked = sa.select(_item.c.id).where(*_in_lane(cells, state)).order_by(_item.c.id).limit(cap).correlate(cells).subquery()
    count = sa.select(sa.func.count()).select_from(walked).correlate(cells).scalar_subquery()
    numbers: dict[int, int] = {row[0]: row[1] for row in db.execute(sa.select(cells.c.n, count))}
    long = [lanes[n] for n in numbers if numbers[n] == cap]
    spans = _spans(db, long, state, behind=cap - 1)
    found = []
    for n, lane in enumerate(lanes):
        if lane not in spans:
            found.append(Count(numbers[n]))
            continue
        first, reached, last = spans[lane]
        found.append(Count(round(cap * (last - first + 1) / (reached - first + 1)), "about"))
    return found


def _spans(db: sa.Connection, lanes: Sequence[Lane], state: str, *, behind: int = 0) -> dict[Lane, tuple[int, int, int]]:
    """Lane -> the rows of its first item of a state, of the one that so many others stand before, and of its last one."""
    if not lanes:
        return {}
    cells = table_of(db.dialect.name, [(lane.campaign, lane.channel_id) for lane in lanes], _COLUMNS)
    rows = sa.select(_item.c.id).where(*_in_lane(cells, state)).limit(1).correlate(cells)
    ends = (rows.order_by(_item.c.id), rows.order_by(_item.c.id).offset(behind), rows.order_by(_item.c.id.desc()))
    query = sa.select(cells.c.n, *(each.scalar_subquery() for each in ends))
    return {lanes[row[0]]: (row[1], row[2], row[3]) for row in db.execute(query)}


def _in_lane(cell: sa.CTE, state: str = schema.PLANNED) -> tuple[sa.ColumnElement[bool], ...]:
    return _item.c.campaign_id == cell.c.campaign, _item.c.channel_id == cell.c.channel, _item.c.state == state


@dataclass(frozen=True)
class _Seen:
    """Of the items that were looked at: how many, how many are done, the different files of the others, their bytes."""

    items: int
    done: int
    uploads: int
    size_bytes: int


def _look_at_all(db: sa.Connection, lanes: Sequence[Lane], chosen: list[int]) -> dict[int, _Seen]:
    if not chosen:
        return {}
    rows = [(lanes[n].campaign, lanes[n].channel_id, n, lanes[n].good_until) for n in chosen]
    cells = table_of(db.dialect.name, rows, (*_COLUMNS, ("lane", sa.BigInteger), ("good_until", sa.Double)))
    looked_at = sa.select(cells.c.lane, cells.c.good_until, _item.c.fingerprint_id).join_from(
        cells, _item, sa.and_(*_in_lane(cells))
    )
    return _facts(db, looked_at.cte("looked_at"))


def _look_at_some(db: sa.Connection, lanes: Sequence[Lane], chosen: list[int], share: int) -> dict[int, _Seen]:
    if not chosen:
        return {}
    spans = _spans(db, [lanes[n] for n in chosen], schema.PLANNED)
    rows = [
        (lanes[n].campaign, lanes[n].channel_id, n, lanes[n].good_until, first + (last - first) * i // (share - 1))
        for n in chosen
        for first, _, last in [spans[lanes[n]]]
        for i in range(share)
    ]
    cells = table_of(
        db.dialect.name, rows, (*_COLUMNS, ("lane", sa.BigInteger), ("good_until", sa.Double), ("behind", sa.BigInteger))
    )
    nearest = sa.select(_item.c.id).where(*_in_lane(cells), _item.c.id >= cells.c.behind).order_by(_item.c.id).limit(1)
    points = sa.select(cells.c.lane, cells.c.good_until, nearest.correlate(cells).scalar_subquery().label("item")).distinct()
    points_ = points.cte("points")
    looked_at = sa.select(points_.c.lane, points_.c.good_until, _item.c.fingerprint_id)
    return _facts(db, looked_at.join_from(points_, _item, _item.c.id == points_.c.item).cte("looked_at"))


def _facts(db: sa.Connection, looked_at: sa.CTE) -> dict[int, _Seen]:
    is_done = sa.and_(_media.c.id.is_not(None), _media.c.safe_until >= looked_at.c.good_until)
    by_file = (
        sa.select(
            looked_at.c.lane,
            _files.c.id,
            _files.c.size_bytes,
            sa.case((is_done, 1), else_=0).label("done"),
            sa.func.count().label("rows"),
        )
        .join_from(looked_at, _files, _files.c.id == looked_at.c.fingerprint_id)
        .outerjoin(_media, IS_CURRENT)
        .group_by(looked_at.c.lane, _files.c.id, _files.c.size_bytes, sa.literal_column("4"))
        .subquery()
    )
    waits = by_file.c.done == 0
    query = sa.select(
        by_file.c.lane,
        sa.func.sum(by_file.c.rows),
        sa.func.sum(by_file.c.rows * by_file.c.done),
        sa.func.count(sa.case((waits, 1))),
        sa.func.sum(sa.case((waits, by_file.c.size_bytes), else_=0)),
    ).group_by(by_file.c.lane)
    return {row[0]: _Seen(*(int(each) for each in row[1:])) for row in db.execute(query)}


def _progress(planned: Count, rejected: Count, seen: _Seen | None, *, is_all: bool) -> Progress:
    seen = seen or _Seen(0, 0, 0, 0)
    items = total((planned, rejected))
    if is_all:
        left = Count(seen.items - seen.done)
        return Progress(items, rejected, Count(seen.done), left, Count(seen.uploads), Count(seen.size_bytes))
    scale = planned.number / max(1, seen.items)
    done = round(seen.done * scale)
    rest = (done, planned.number - done, round(seen.uploads * scale), round(seen.size_bytes * scale))
    return Progress(items, rejected, *(Count(each, "about") for each in rest))
