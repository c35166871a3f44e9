"""Whether a ledger agrees with itself. Reads only, asks 360dialog nothing.

``damage`` is what this code never writes: somebody else did, or a backup was not whole. ``suspect`` may be wrong since a restore.
``notice`` is the ordinary wake of a worker that died or of time that passed; it mends itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.condition import missing_parts
from airflow_provider_360dialog.ledger.decisions import MEDIA_LIFE_S, SAFETY_MARGIN_S

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store

Severity: TypeAlias = Literal["damage", "suspect", "notice"]
Now: TypeAlias = "sa.ColumnElement[float]"

_files, _media, _channel, _key = schema.fingerprint, schema.media, schema.channel, schema.key
_ROUNDING_S: Final = 1.0
_nothing = sa.literal(None, sa.Text)


@dataclass(frozen=True)
class Finding:
    """One kind of disagreement.

    Attributes:
        kind: stable, lower_snake_case. severity: see the module. count: how many rows.
        meaning, remedy: one sentence each.
        examples: some of the rows: ``phone_number_id``, ``media_id``, ``sha256``, as far as a row has them; or ``part``, of the
            schema.
    """

    kind: str
    severity: Severity
    count: int
    meaning: str
    remedy: str
    examples: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class _Rule:
    kind: str
    severity: Severity
    meaning: str
    remedy: str
    rows: Callable[[Now], sa.Select[Any]]


def find_disagreements(store: Store, *, restored_at: float | None = None, examples: int = 20) -> list[Finding]:
    """Everything that does not fit, worst first; empty where all is well.

    Args:
        store: a ledger that stands (`Store.open_existing`).
        restored_at: the instant, float seconds, that a restored backup shows; adds two findings of what cannot be trusted.
        examples: rows named of each kind, at most.
    """
    if parts := missing_parts(store):
        lacking = tuple({"part": part} for part in parts[:examples])
        return [Finding(_INCOMPLETE, "damage", len(parts), _MISSING, _RESTORE, lacking)]
    rules = [*_RULES, *(() if restored_at is None else _since(restored_at))]
    found = []
    with store.read() as db:
        for rule in rules:
            rows = rule.rows(store.now.element)
            count = db.scalar(sa.select(sa.func.count()).select_from(rows.order_by(None).subquery())) or 0
            if count:
                named = [_named(row) for row in db.execute(rows.limit(examples))]
                found.append(Finding(rule.kind, rule.severity, count, rule.meaning, rule.remedy, tuple(named)))
    return sorted(found, key=lambda each: ("damage", "suspect", "notice").index(each.severity))


def _named(row: sa.Row[Any]) -> dict[str, str]:
    values = zip(("phone_number_id", "media_id", "sha256"), row, strict=False)
    return {name: value for name, value in values if value is not None}


def _of_files() -> sa.Select[Any]:
    query = sa.select(_channel.c.phone_number_id, _nothing.label("media_id"), _files.c.sha256)
    return query.select_from(_files.outerjoin(_channel, _channel.c.id == _files.c.channel_id)).order_by(_files.c.id)


def _of_media() -> sa.Select[Any]:
    tables = _media.outerjoin(_channel, _channel.c.id == _media.c.channel_id)
    tables = tables.outerjoin(_files, _files.c.id == _media.c.fingerprint_id)
    query = sa.select(_channel.c.phone_number_id, _media.c.media_id, _files.c.sha256)
    return query.select_from(tables).order_by(_media.c.id)


def _two_current(_now: Now) -> sa.Select[Any]:
    twice = (
        sa.select(_media.c.fingerprint_id)
        .where(_media.c.state == schema.CURRENT)
        .group_by(_media.c.fingerprint_id)
        .having(sa.func.count() > 1)
    )
    return _of_files().where(_files.c.id.in_(twice))


def _pointer_wrong(_now: Now) -> sa.Select[Any]:
    right = sa.exists().where(
        _media.c.id == _files.c.media_row,
        _media.c.fingerprint_id == _files.c.id,
        _media.c.channel_id == _files.c.channel_id,
        _media.c.state == schema.CURRENT,
    )
    return _of_files().where(_files.c.media_row.is_not(None), ~right.correlate(_files))


def _current_unused(_now: Now) -> sa.Select[Any]:
    answers = sa.and_(_files.c.id.is_not(None), _files.c.media_row == _media.c.id)
    return _of_media().where(_media.c.state == schema.CURRENT, sa.func.coalesce(answers, sa.false()).is_(sa.false()))


def _wrong_channel(_now: Now) -> sa.Select[Any]:
    return _of_media().where(sa.or_(_files.c.id.is_(None), _files.c.channel_id != _media.c.channel_id))


def _lease_without_owner(_now: Now) -> sa.Select[Any]:
    no_owner = sa.and_(_files.c.owner.is_(None), sa.or_(_files.c.lease_until.is_not(None), _files.c.sending > 0))
    no_end = sa.and_(_files.c.owner.is_not(None), _files.c.lease_until.is_(None))
    return _of_files().where(sa.or_(no_owner, no_end))


def _promise_too_long(_now: Now) -> sa.Select[Any]:
    used = sa.func.coalesce(_media.c.last_used_at, _media.c.uploaded_at)
    latest = sa.case((used > _media.c.uploaded_at, used), else_=_media.c.uploaded_at)
    return _of_media().where(_media.c.safe_until > latest + (MEDIA_LIFE_S - SAFETY_MARGIN_S + _ROUNDING_S))


def _lease_lapsed(now: Now) -> sa.Select[Any]:
    return _of_files().where(_files.c.owner.is_not(None), _files.c.lease_until <= now)


def _past_end(now: Now) -> sa.Select[Any]:
    return _of_media().where(_media.c.state == schema.CURRENT, _media.c.safe_until <= now)


def _channel_without_key(_now: Now) -> sa.Select[Any]:
    has_key = sa.exists().where(_key.c.channel_id == _channel.c.id)
    return sa.select(_channel.c.phone_number_id).where(~has_key.correlate(_channel)).order_by(_channel.c.id)


def _since(restored_at: float) -> tuple[_Rule, ...]:
    touched = sa.or_(_media.c.uploaded_at > restored_at, _media.c.state_since > restored_at, _media.c.last_used_at > restored_at)
    untouched = sa.not_(sa.func.coalesce(touched, sa.false()))
    live = _media.c.state.in_([schema.CURRENT, schema.RETIRING])
    return (
        _Rule(
            "touched_after_restore",
            "suspect",
            "Media ids that were uploaded, used or changed after the instant that the backup shows.",
            "Compare them with what was sent since; upload their files with reuse=False where in doubt.",
            lambda _now: _of_media().where(touched),
        ),
        _Rule(
            "unseen_since_restore",
            "notice",
            "Live media ids of the backup: a delete after the backup was made is not on record, and they would be reused.",
            "Upload what a send needs with reuse=False; they end 30 days after their upload in any case. Do not ask for each: "
            "failed GETs block the number.",
            lambda now: _of_media().where(live, _media.c.safe_until > now, untouched),
        ),
    )


_INCOMPLETE: Final = "schema_incomplete"
_MISSING: Final = "The schema has the right version, but tables or columns are missing. Nothing else was looked at."
_RESTORE: Final = "Restore a whole backup; or put this ledger away and let the next upload make a new one."
_RULES: Final = (
    _Rule(
        "two_current",
        "damage",
        "Files for which more than one media id is current.",
        "The one that the file points at answers. Delete the other with Dialog360DeleteMediaOperator.",
        _two_current,
    ),
    _Rule(
        "pointer_wrong",
        "damage",
        "Files that point at a media id which is not current, or is another file's or another channel's.",
        "No media id answers for them: the next upload sends the file again and mends the row.",
        _pointer_wrong,
    ),
    _Rule(
        "current_unused",
        "damage",
        "Media ids that are current, but no file points at them.",
        "They are never reused. Delete them with Dialog360DeleteMediaOperator, or let them end.",
        _current_unused,
    ),
    _Rule(
        "wrong_channel",
        "damage",
        "Media ids that are of another channel than their file, or whose file is not on record.",
        "The backup was not whole, or somebody edited the ledger. Restore a whole one.",
        _wrong_channel,
    ),
    _Rule(
        "lease_without_owner",
        "damage",
        "Files with half a lease: an end or an upload without an owner, or an owner without an end.",
        "The next upload of the file claims it and mends the row.",
        _lease_without_owner,
    ),
    _Rule(
        "promise_too_long",
        "damage",
        "Media ids that are promised for longer than 29 days after their upload or last use.",
        "They would be reused when they are dead. Upload their files with reuse=False.",
        _promise_too_long,
    ),
    _Rule(
        "lease_lapsed",
        "notice",
        "Files whose uploader has not been heard of since its lease ended.",
        "The next upload of the file takes over; what 360dialog may have accepted is counted as orphan_possible.",
        _lease_lapsed,
    ),
    _Rule(
        "past_end",
        "notice",
        "Current media ids that are not safe any more.",
        "They are not reused. The next upload of the file replaces them.",
        _past_end,
    ),
    _Rule(
        "channel_without_key",
        "notice",
        "Channels for which no API key is on record.",
        "The next call asks 360dialog once whose its key is, and records that.",
        _channel_without_key,
    ),
)
KINDS: Final = (_INCOMPLETE, *(rule.kind for rule in _RULES), "touched_after_restore", "unseen_since_restore")
