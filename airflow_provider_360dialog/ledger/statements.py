"""The statements of the hot path, built once: to build one costs more than to run it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.channels import POLICY_LIFE_S

_pace, _connection = schema.pace, schema.connection
_files, _media, _channel, _source, _refused = schema.fingerprint, schema.media, schema.channel, schema.source, schema.refused

IS_CURRENT: Final = sa.and_(
    _media.c.id == _files.c.media_row, _media.c.fingerprint_id == _files.c.id, _media.c.state == schema.CURRENT
)
PACE: Final = ("next_at", "rate", "line", "refused_at", "paused_until")
"""What is on record of a channel's pace."""


class Statements:
    """Named after what they do in `uploads`, `sources`, `refused` and `ration`; their parameters begin with ``b_``.

    Args:
        dialect: of the database. now: the expression for its present instant.
    """

    def __init__(self, dialect: str, now: sa.ColumnElement[float]) -> None:
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        b = sa.bindparam
        is_file = (
            _files.c.channel_id == b("b_channel"),
            _files.c.sha256 == b("b_sha256"),
            _files.c.mime_type == b("b_mime_type"),
        )
        is_row = _files.c.id == b("b_row")
        self.adopt = (
            sa.select(_media.c.media_id, _media.c.uploaded_at, _media.c.safe_until, now)
            .join_from(_files, _media, IS_CURRENT)
            .join(_channel, _channel.c.id == _files.c.channel_id)
            .where(*is_file, _channel.c.frozen_because.is_(None))
        )
        self.look = (
            sa.select(
                _files,
                _media.c.media_id,
                _media.c.uploaded_at,
                _media.c.safe_until,
                _channel.c.phone_number_id,
                _channel.c.frozen_because,
                now,
            )
            .join_from(_files, _channel, _channel.c.id == _files.c.channel_id)
            .outerjoin(_media, IS_CURRENT)
            .where(*is_file)
        )
        self.lock = sa.select(_files.c.id).where(*is_file).with_for_update()
        self.make = (
            insert(_files)
            .values(channel_id=b("b_channel"), sha256=b("b_sha256"), mime_type=b("b_mime_type"), size_bytes=b("b_size_bytes"))
            .on_conflict_do_nothing()
        )
        self.take = (
            _files.update()
            .where(is_row)
            .values(
                fence=b("b_fence"),
                owner=b("b_owner"),
                task=b("b_task"),
                try_number=b("b_try_number"),
                lease_until=b("b_lease_until"),
                orphan_possible=b("b_orphan_possible"),
                sending=1,
            )
        )
        self.row = sa.select(_files, now).where(is_row).with_for_update(of=_files)
        self.store_media = (
            insert(_media)
            .values(
                channel_id=b("b_channel"),
                media_id=b("b_media_id"),
                fingerprint_id=b("b_row"),
                state=b("b_state"),
                state_since=b("b_now"),
                uploaded_at=b("b_now"),
                safe_until=b("b_safe_until"),
            )
            .on_conflict_do_nothing()
            .returning(_media.c.id)
        )
        self.end = (
            _files.update()
            .where(is_row)
            .values(
                owner=None,
                task=None,
                try_number=None,
                lease_until=None,
                sending=0,
                orphan_possible=b("b_orphan_possible"),
                media_row=b("b_media_row"),
            )
        )
        self.recall = sa.select(_source.c.verdict).where(_source.c.question == b("b_question"), _source.c.stamp == b("b_stamp"))
        verdict = {"stamp": b("b_stamp"), "verdict": b("b_verdict"), "seen_at": now.element}
        self.remember = (
            insert(_source)
            .values(question=b("b_question"), **verdict)
            .on_conflict_do_update(index_elements=["question"], set_=verdict)
        )
        of_channel = _pace.c.channel_id == b("b_channel")
        said = (_connection.c.channel_id == b("b_channel"), _connection.c.policy_at > now.element - POLICY_LIFE_S)
        lowest = sa.select(sa.func.min(_connection.c.uploads_per_second)).where(*said).scalar_subquery()
        counting = sa.exists().where(*said, _connection.c.count_failed_uploads)
        self.pace = sa.select(_pace, now).where(of_channel)
        self.paced = (
            sa.select(_pace, now, lowest.label("lowest"), counting.label("counting")).where(of_channel).with_for_update(of=_pace)
        )
        self.put_pace = _pace.update().where(of_channel).values({name: b(f"b_{name}") for name in PACE})
        self.is_refused = sa.select(_refused).where(
            _refused.c.channel_id == b("b_channel"), _refused.c.media_id == b("b_media_id")
        )
