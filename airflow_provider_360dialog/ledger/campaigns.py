"""Campaigns on record: what was planned, what is still to be uploaded, and which id answers for which item.

An item is ready where the current id of its file is safe for as long as the campaign needs it. That is looked up, never stored:
an id that dies, or is uploaded for another campaign, changes it everywhere at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import CampaignUnknownError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.decisions import DEFAULT_VALIDITY_S, MEDIA_LIFE_S, SAFETY_MARGIN_S
from airflow_provider_360dialog.ledger.statements import IS_CURRENT
from airflow_provider_360dialog.ledger.uploads import Fingerprint
from airflow_provider_360dialog.ledger.upsert import insert_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from airflow_provider_360dialog.ledger.store import Store

_campaign, _item, _files, _media, _channel = schema.campaign, schema.item, schema.fingerprint, schema.media, schema.channel
_PAGE: Final = 500
_REACH_S: Final = MEDIA_LIFE_S - SAFETY_MARGIN_S


@dataclass(frozen=True)
class Campaign:
    """A campaign on record.

    Attributes:
        row: its key in the ledger. needed_until: float seconds. plan: number of its last plan; 0 before the first.
        good_until: until when an id has to be safe to answer for an item: ``needed_until`` where an upload of today could reach
            that far, else a week from now (a refresh does the rest when it is nearer).
        is_planned: whether a plan was ever complete; while the first one runs, nobody knows all of its items.
    """

    row: int
    name: str
    needed_until: float
    plan: int
    good_until: float
    is_planned: bool = False


@dataclass(frozen=True)
class PlannedItem:
    """One item as a plan puts it on record: with its file's fingerprint, or with the reasons why it will not be sent."""

    channel_id: int
    conn_id: str
    key: str
    uri: str
    said: dict[str, str | None]
    filename: str | None
    subject: str | None
    file: Fingerprint | None
    reasons: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class PendingItem:
    """One item that has no id yet that is safe for long enough."""

    row: int
    uri: str
    said: dict[str, str | None]
    file_row: int
    file: Fingerprint


@dataclass(frozen=True)
class Work:
    """One channel's part of a campaign.

    Attributes:
        conn_id: by which the plan named it. items: all, the rejected included. rejected, ready: of these.
        rejected_later: of the rejected, those whose file the plan had found good.
        uploads: different files that are still to be sent; they have size_bytes together.
    """

    channel_id: int
    conn_id: str
    items: int
    rejected: int
    rejected_later: int
    ready: int
    uploads: int
    size_bytes: int


@dataclass(frozen=True)
class ItemRow:
    """One item with the id that answers for it, or none."""

    key: str
    conn_id: str
    phone_number_id: str
    state: str
    filename: str | None
    sha256: str | None
    mime_type: str | None
    media_id: str | None
    safe_until: float | None


class Campaigns:
    """The campaigns of a ledger, over all its channels."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, name: str, *, min_valid_until: float | None = None) -> Campaign:
        """A campaign.

        Args:
            name: its name. min_valid_until: float seconds, in place of its own ``good_until``.

        Raises:
            CampaignUnknownError: it was never planned.
        """
        row = None
        if name.isprintable():  # no other was ever planned, and some cannot be asked for
            with self._store.read() as db:
                row = db.execute(sa.select(_campaign, self._store.now).where(_campaign.c.name == name)).first()
        if row is None:
            raise CampaignUnknownError(campaign=name)
        good_until = good_until_of(row.needed_until, row.now) if min_valid_until is None else min_valid_until
        return Campaign(row.id, row.name, row.needed_until, row.plan, good_until, row.planned_at is not None)

    # --- planning -------------------------------------------------------------------------------------------------

    def begin_plan(self, name: str, needed_until: float) -> Campaign:
        """Begin a plan of a campaign, which is made where there is none. What an earlier plan wanted stands until `end_plan`."""
        with self._store.write() as db:
            now = db.execute(sa.select(self._store.now)).scalar_one()
            values = {"name": name, "needed_until": needed_until, "created_at": now, "plan": 1}
            statement = insert_for(self._store)(_campaign).values(**values)
            statement = statement.on_conflict_do_update(
                index_elements=["name"], set_={"needed_until": needed_until, "plan": _campaign.c.plan + 1}
            )
            row = db.execute(statement.returning(_campaign.c.id, _campaign.c.plan)).one()
        return Campaign(row.id, name, needed_until, row.plan, good_until_of(needed_until, now))

    def record(self, campaign: Campaign, items: Sequence[PlannedItem]) -> None:
        """Put items of a plan on record; where a key is there already, the later one counts."""
        if not items:
            return
        with self._store.write() as db:
            files = self._file_rows(db, items)
            insert = insert_for(self._store)(_item)
            statement = insert.on_conflict_do_update(
                index_elements=["campaign_id", "channel_id", "key"],
                set_={name: insert.excluded[name] for name in _ITEM_COLUMNS},
                # Two plans of one campaign at once: what the one that began later says stands, whoever writes last.
                where=_item.c.plan <= insert.excluded.plan,
            )
            # In one order for all: two who lock crosswise would wait for each other. The later of one key's items stays so.
            in_order = sorted(items, key=lambda each: (each.channel_id, each.key))
            db.execute(statement, [_values(campaign, each, files) for each in in_order])

    def end_plan(self, campaign: Campaign, *, only: Collection[int] | None = None) -> int:
        """A plan is complete: items that only earlier plans wanted are let go; how many.

        Args:
            campaign: as `begin_plan` gave it. only: on these channels; None for all.
        """
        gone = 0
        old = sa.select(_item.c.id).where(_item.c.campaign_id == campaign.row, _item.c.plan < campaign.plan).limit(_PAGE)
        if only is not None:
            old = old.where(_item.c.channel_id.in_(only))
        while True:
            with self._store.write() as db:
                rows = [row.id for row in db.execute(old)]
                if not rows:
                    done = _campaign.update().where(_campaign.c.id == campaign.row)
                    db.execute(done.values(planned_at=self._store.now.element))
                    return gone
                # Asked again: a later plan may have wanted one of them since.
                gone += db.execute(_item.delete().where(_item.c.id.in_(rows), _item.c.plan < campaign.plan)).rowcount

    def ready_among(self, items: Sequence[PlannedItem], *, good_until: float) -> set[tuple[int, str, str]]:
        """Of these items' files, those that have an id that is safe until then: (channel, sha256, MIME type)."""
        wanted = {(each.channel_id, each.file.sha256, each.file.mime_type) for each in items if each.file is not None}
        query = (
            sa.select(_files.c.channel_id, _files.c.sha256, _files.c.mime_type)
            .join_from(_files, _media, IS_CURRENT)
            .where(
                _files.c.channel_id.in_({each[0] for each in wanted}),
                _files.c.sha256.in_({each[1] for each in wanted}),
                _media.c.safe_until >= good_until,
            )
        )
        with self._store.read() as db:
            return wanted & {(row.channel_id, row.sha256, row.mime_type) for row in db.execute(query)}

    # --- uploading ------------------------------------------------------------------------------------------------

    def pending(self, campaign: Campaign, channel_id: int, *, after: int = 0, limit: int = _PAGE) -> list[PendingItem]:
        """A page of one channel's items that are not ready, by their rows."""
        query = (
            sa.select(
                _item.c.id,
                _item.c.uri,
                _item.c.said_mime_type,
                _item.c.said_filename,
                _item.c.said_kind,
                _item.c.fingerprint_id,
                _files.c.sha256,
                _files.c.mime_type,
                _files.c.size_bytes,
            )
            .join_from(_item, _files, _files.c.id == _item.c.fingerprint_id)
            .outerjoin(_media, IS_CURRENT)
            .where(*self._planned(campaign, channel_id), _item.c.id > after, _is_missing(campaign.good_until))
            .order_by(_item.c.id)
            .limit(limit)
        )
        with self._store.read() as db:
            return [_pending(row) for row in db.execute(query)]

    def dying(self, channel_id: int, *, valid_until: float, campaign: str | None = None, after: int = 0) -> list[PendingItem]:
        """A page of one channel's items of living campaigns (or of one) whose id is not safe until ``valid_until``."""
        query = (
            sa.select(_item, _files.c.sha256, _files.c.mime_type, _files.c.size_bytes)
            .join_from(_item, _campaign, _campaign.c.id == _item.c.campaign_id)
            .join(_files, _files.c.id == _item.c.fingerprint_id)
            .join(_media, IS_CURRENT)
            .where(
                _item.c.channel_id == channel_id,
                _item.c.state == schema.PLANNED,
                _item.c.id > after,
                _campaign.c.needed_until > self._store.now.element,
                _media.c.channel_id == channel_id,  # the way to the few ids that die; else every item of the ledger is looked at
                _media.c.safe_until < valid_until,
            )
            .order_by(_item.c.id)
            .limit(_PAGE)
        )
        if campaign is not None:
            query = query.where(_campaign.c.name == campaign)
        with self._store.read() as db:
            return [_pending(row) for row in db.execute(query)]

    def reject(self, item: PendingItem, reasons: Sequence[dict[str, str]]) -> None:
        """An item's file turned out to be none that can be sent; so for all items of the same file at the same place."""
        same = sa.select(_item.c.campaign_id, _item.c.channel_id).where(_item.c.id == item.row).subquery()
        alike = (
            _item.c.campaign_id == sa.select(same.c.campaign_id).scalar_subquery(),
            _item.c.channel_id == sa.select(same.c.channel_id).scalar_subquery(),
            _item.c.fingerprint_id == item.file_row,
            _item.c.uri == item.uri,
        )
        with self._store.write() as db:
            db.execute(_item.update().where(*alike).values(state=schema.REJECTED, reason=json.dumps(list(reasons))))

    # --- looking --------------------------------------------------------------------------------------------------

    def work(self, campaign: Campaign, channel_id: int | None = None) -> list[Work]:
        """What there is of a campaign on each of its channels, most uploads first."""
        of_campaign = [_item.c.campaign_id == campaign.row]
        if channel_id is not None:
            of_campaign.append(_item.c.channel_id == channel_id)
        missing = sa.and_(_item.c.state == schema.PLANNED, _is_missing(campaign.good_until))
        count = sa.func.count
        items = (
            sa.select(
                _item.c.channel_id,
                sa.func.min(_item.c.conn_id).label("conn_id"),
                count().label("items"),
                count(sa.case((_item.c.state == schema.REJECTED, 1))).label("rejected"),
                count(sa.case((sa.and_(_item.c.state == schema.REJECTED, _files.c.id.is_not(None)), 1))).label("rejected_later"),
                count(sa.case((sa.and_(_item.c.state == schema.PLANNED, sa.not_(_is_missing(campaign.good_until))), 1))).label(
                    "ready"
                ),
            )
            .outerjoin_from(_item, _files, _files.c.id == _item.c.fingerprint_id)
            .outerjoin(_media, IS_CURRENT)
            .where(*of_campaign)
            .group_by(_item.c.channel_id)
        )
        different = (
            sa.select(_files.c.id, _files.c.channel_id, _files.c.size_bytes)
            .distinct()
            .join_from(_item, _files, _files.c.id == _item.c.fingerprint_id)
            .outerjoin(_media, IS_CURRENT)
            .where(*of_campaign, missing)
            .subquery()
        )
        uploads = sa.select(different.c.channel_id, count(), sa.func.sum(different.c.size_bytes)).group_by(different.c.channel_id)
        with self._store.read() as db:
            to_do = {row[0]: (row[1], int(row[2] or 0)) for row in db.execute(uploads)}
            found = [
                Work(row[0], row[1], row[2], row[3], row[4], row[5], *to_do.get(row[0], (0, 0))) for row in db.execute(items)
            ]
        return sorted(found, key=lambda each: (-each.uploads, each.conn_id))

    def rows(self, campaign: Campaign) -> Iterator[ItemRow]:
        """All items, by channel and key, each with the id that answers for it; pages, so that memory stays flat."""
        at: tuple[int, str] = (0, "")
        while True:
            query = (
                sa.select(
                    _item.c.channel_id,
                    _item.c.key,
                    _item.c.conn_id,
                    _channel.c.phone_number_id,
                    _item.c.state,
                    _item.c.filename,
                    _files.c.sha256,
                    _files.c.mime_type,
                    _media.c.media_id,
                    _media.c.safe_until,
                )
                .join_from(_item, _channel, _channel.c.id == _item.c.channel_id)
                .outerjoin(_files, _files.c.id == _item.c.fingerprint_id)
                .outerjoin(_media, IS_CURRENT)
                .where(_item.c.campaign_id == campaign.row, sa.tuple_(_item.c.channel_id, _item.c.key) > at)
                .order_by(_item.c.channel_id, _item.c.key)
                .limit(_PAGE)
            )
            with self._store.read() as db:
                page = db.execute(query).all()
            for row in page:
                yield ItemRow(*tuple(row)[1:])
            if len(page) < _PAGE:
                return
            at = (page[-1].channel_id, page[-1].key)

    def note_export(self, campaign: Campaign, sha256: str) -> int:
        """Note what was exported, by its hash; the version, which grows where something has changed."""
        with self._store.write() as db:
            of_campaign = _campaign.c.id == campaign.row
            row = db.execute(sa.select(_campaign.c.version, _campaign.c.exported).where(of_campaign).with_for_update()).one()
            if row.exported == sha256:
                return int(row.version)
            db.execute(_campaign.update().where(of_campaign).values(version=row.version + 1, exported=sha256))
            return int(row.version) + 1

    def _planned(self, campaign: Campaign, channel_id: int) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            _item.c.campaign_id == campaign.row,
            _item.c.channel_id == channel_id,
            _item.c.state == schema.PLANNED,
        )

    def _file_rows(self, db: sa.Connection, items: Sequence[PlannedItem]) -> dict[tuple[int, str, str], int]:
        """(channel, sha256, MIME type) -> the fingerprint's row, made where there is none."""
        wanted = {(each.channel_id, each.file.sha256, each.file.mime_type): each.file for each in items if each.file is not None}
        if not wanted:
            return {}
        found = self._standing(db, wanted)
        fresh = [
            {
                "channel_id": channel,
                "sha256": sha256,
                "mime_type": mime_type,
                "size_bytes": wanted[channel, sha256, mime_type].size_bytes,
            }
            for channel, sha256, mime_type in sorted(wanted)
            if (channel, sha256, mime_type) not in found
        ]
        if fresh:
            db.execute(insert_for(self._store)(_files).on_conflict_do_nothing(), fresh)
            found = self._standing(db, wanted)
        return found

    def _standing(self, db: sa.Connection, wanted: dict[tuple[int, str, str], Fingerprint]) -> dict[tuple[int, str, str], int]:
        of = (_files.c.channel_id.in_({each[0] for each in wanted}), _files.c.sha256.in_({each[1] for each in wanted}))
        query = sa.select(_files.c.id, _files.c.channel_id, _files.c.sha256, _files.c.mime_type).where(*of)
        # Locked against a clean-up that is just taking an id of one of them: it sees the new items, or they see that the id goes.
        rows = db.execute(query.with_for_update(read=True, key_share=True))
        return {(row.channel_id, row.sha256, row.mime_type): row.id for row in rows}


_ITEM_COLUMNS: Final = (
    "conn_id",
    "uri",
    "said_mime_type",
    "said_filename",
    "said_kind",
    "subject",
    "filename",
    "fingerprint_id",
    "state",
    "reason",
    "plan",
)


def good_until_of(needed_until: float, now: float) -> float:
    """Until when an id has to be safe to answer for an item that is needed until then. Float seconds. Pure."""
    return needed_until if needed_until <= now + _REACH_S else now + DEFAULT_VALIDITY_S


def _pending(row: Any) -> PendingItem:
    return PendingItem(
        row=row.id,
        uri=row.uri,
        said={"mime_type": row.said_mime_type, "filename": row.said_filename, "kind": row.said_kind},
        file_row=row.fingerprint_id,
        file=Fingerprint(row.sha256, row.mime_type, row.size_bytes),
    )


def _is_missing(good_until: float) -> sa.ColumnElement[bool]:
    return sa.or_(_media.c.id.is_(None), _media.c.safe_until < good_until)


def _values(campaign: Campaign, item: PlannedItem, files: dict[tuple[int, str, str], int]) -> dict[str, Any]:
    file = item.file
    return {
        "campaign_id": campaign.row,
        "channel_id": item.channel_id,
        "key": item.key,
        "conn_id": item.conn_id,
        "uri": item.uri,
        "said_mime_type": item.said.get("mime_type"),
        "said_filename": item.said.get("filename"),
        "said_kind": item.said.get("kind"),
        "subject": item.subject,
        "filename": item.filename,
        "fingerprint_id": None if file is None else files[item.channel_id, file.sha256, file.mime_type],
        "state": schema.REJECTED if file is None else schema.PLANNED,
        "reason": json.dumps(list(item.reasons)) if item.reasons else None,
        "plan": campaign.plan,
    }
