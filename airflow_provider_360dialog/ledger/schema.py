"""The tables. One row per channel, per fingerprint on a channel, per media id.

Instants are float seconds since 1970 by the database's own clock. Texts that name a state are the constants below.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

VERSION: Final = 6

CURRENT: Final = "current"
"""The id that answers for its fingerprint; at most one."""
RETIRING: Final = "retiring"
"""A newer id stands beside it; it still works, and may be deleted once its grace is over."""
SURPLUS: Final = "surplus"
"""Came too late in a race, or stands for bytes that nobody judged; to be deleted."""
DELETING: Final = "deleting"
"""A delete was or is about to be sent."""
DELETED: Final = "deleted"
GONE: Final = "gone"
"""360dialog said that it does not know it."""
EXPIRED: Final = "expired"
"""Its life at 360dialog has ended by itself."""

MEDIA_STATES: Final = (CURRENT, RETIRING, SURPLUS, DELETING, DELETED, GONE, EXPIRED)

PLANNED: Final = "planned"
"""An item whose file was judged good."""
REJECTED: Final = "rejected"
"""An item whose file will not be sent, or that names none."""

PENDING: Final = "pending"
"""A received file that is still to be archived."""
ARCHIVED: Final = "archived"
LOST: Final = "lost"
"""A received file that cannot be had; `reason` says why."""

INBOUND_STATES: Final = (PENDING, ARCHIVED, LOST)

FRESH: Final = 0
"""A pending file that was not asked for in vain."""
FAILED: Final = 1
"""It failed before; asked for after the fresh ones."""
SUSPECT: Final = 2
"""Three of its batch failed one after the other: somebody may have made them up. Asked for last, one an hour."""

metadata = sa.MetaData()
_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Instant = sa.Double

meta = sa.Table(
    "d360_meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

channel = sa.Table(
    "d360_channel",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("phone_number_id", sa.Text, nullable=False, unique=True),
    sa.Column("frozen_because", sa.Text),
    sa.Column("created_at", _Instant, nullable=False),
)

key = sa.Table(
    "d360_key",
    metadata,
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("first_seen_at", _Instant, nullable=False),
)

connection = sa.Table(
    "d360_connection",
    metadata,
    sa.Column("conn_id", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("uploads_per_second", _Instant),  # what the connection says, as it was last used
    sa.Column("error_budget", sa.Integer),
    sa.Column("throttle", sa.Text),
    sa.Column("count_failed_uploads", sa.Boolean),
    sa.Column("policy_at", _Instant),
    sa.Column("key_refused_at", _Instant),  # None where its key was not refused, or was accepted since
    sa.Column("key_refused_status", sa.Integer),
    sa.Index("d360_connection_of", "channel_id"),
)

fingerprint = sa.Table(
    "d360_fingerprint",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("mime_type", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("media_row", _Id),  # the current media id; no foreign key, for the two tables point at each other
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("owner", sa.Text),
    sa.Column("task", sa.Text),
    sa.Column("try_number", sa.Integer),
    sa.Column("lease_until", _Instant),
    sa.Column("sending", sa.Integer, nullable=False, server_default="0"),
    sa.Column("orphan_possible", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("channel_id", "sha256", "mime_type"),
)
sa.Index(
    "d360_fingerprint_unsure",
    fingerprint.c.channel_id,
    sqlite_where=(fingerprint.c.orphan_possible > 0) | (fingerprint.c.sending > 0),
    postgresql_where=(fingerprint.c.orphan_possible > 0) | (fingerprint.c.sending > 0),
)

media = sa.Table(
    "d360_media",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("fingerprint_id", _Id, sa.ForeignKey("d360_fingerprint.id"), nullable=False),
    sa.Column("media_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("state_since", _Instant, nullable=False),
    sa.Column("uploaded_at", _Instant, nullable=False),
    sa.Column("safe_until", _Instant, nullable=False),
    sa.Column("last_used_at", _Instant),
    sa.UniqueConstraint("channel_id", "media_id"),
    sa.Index("d360_media_expiring", "channel_id", "state", "safe_until"),
    sa.Index("d360_media_waiting", "channel_id", "state", "state_since"),
    sa.Index("d360_media_of", "fingerprint_id"),
)

refused = sa.Table(
    "d360_refused",
    metadata,
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), primary_key=True),
    sa.Column("media_id", sa.Text, primary_key=True),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("code", sa.Integer),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("refused_at", _Instant, nullable=False),
)

pace = sa.Table(
    "d360_pace",
    metadata,
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), primary_key=True),
    sa.Column("next_at", _Instant, nullable=False),
    sa.Column("refused_at", _Instant, nullable=False),
    sa.Column("rate", _Instant, nullable=False),  # uploads per second, right after the last refusal
    sa.Column("line", _Instant, nullable=False),  # uploads per second that are believed to hold
    sa.Column("paused_until", _Instant, nullable=False),
)

retrieval = sa.Table(
    "d360_retrieval",
    metadata,
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), primary_key=True),
    sa.Column("closed_until", _Instant, nullable=False),
)

credit = sa.Table(
    "d360_credit",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("spent_at", _Instant),  # None while it is held
    sa.Column("deadline", _Instant, nullable=False),  # of the request that holds it; a dead holder's credit is spent from here on
    sa.Column("by_webhook_url", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("d360_credit_of", "channel_id"),
)

campaign = sa.Table(
    "d360_campaign",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("needed_until", _Instant, nullable=False),
    sa.Column("plan", sa.BigInteger, nullable=False, server_default="0"),  # counts the plans; an item carries that of its last
    sa.Column("planned_at", _Instant),  # when the last plan was complete
    sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),  # of the export
    sa.Column("exported", sa.Text),  # sha256 of what was exported last, hex
    sa.Column("created_at", _Instant, nullable=False),
    sa.Index("d360_campaign_living", "needed_until"),
)

campaign_run = sa.Table(
    "d360_campaign_run",
    metadata,
    sa.Column("campaign_id", _Id, sa.ForeignKey("d360_campaign.id"), primary_key=True),
    sa.Column("channel_id", _Id, primary_key=True),  # 0 for a plan, which is of all channels
    sa.Column("dag_id", sa.Text),  # None outside of Airflow's tasks
    sa.Column("run_id", sa.Text),
    sa.Column("began_at", _Instant, nullable=False),
    sa.Column("seen_at", _Instant, nullable=False),
    sa.Column("ended_at", _Instant),  # None while it runs; a worker that was killed has told no end
)
sa.Index(
    "d360_campaign_run_under_way",
    campaign_run.c.campaign_id,
    campaign_run.c.seen_at,
    sqlite_where=campaign_run.c.ended_at.is_(None),
    postgresql_where=campaign_run.c.ended_at.is_(None),
)

item = sa.Table(
    "d360_item",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("campaign_id", _Id, sa.ForeignKey("d360_campaign.id"), nullable=False),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("conn_id", sa.Text, nullable=False),  # by which the channel was named
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("uri", sa.Text, nullable=False),  # where its file is
    sa.Column("said_mime_type", sa.Text),  # the user's words for the file, as for an upload
    sa.Column("said_filename", sa.Text),
    sa.Column("said_kind", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("filename", sa.Text),  # the safe one
    sa.Column("fingerprint_id", _Id, sa.ForeignKey("d360_fingerprint.id")),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),  # of a rejected one: JSON, a list of {"code", "message", "remedy"}
    sa.Column("plan", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("campaign_id", "channel_id", "key"),
    sa.Index("d360_item_of_file", "fingerprint_id", "campaign_id"),
    sa.Index("d360_item_by_channel", "campaign_id", "channel_id", "state", "id"),
)
sa.Index(
    "d360_item_of_subject",
    item.c.subject,
    sqlite_where=item.c.subject.is_not(None),
    postgresql_where=item.c.subject.is_not(None),
)

audit = sa.Table(
    "d360_audit",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("at", _Instant, nullable=False),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("media_id", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),  # deleted, gone already, kept, failed
    sa.Column("reason", sa.Text, nullable=False),  # by which policy, and in which plan
    sa.Index("d360_audit_of", "channel_id", "media_id"),
)

inbound_batch = sa.Table(
    "d360_inbound_batch",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("failed_in_a_row", sa.Integer, nullable=False, server_default="0"),
    sa.Column("suspect_since", _Instant),
    sa.Column("asked_at", _Instant),  # when the last suspect of it was asked for
    sa.UniqueConstraint("channel_id", "name"),
)
sa.Index(
    "d360_inbound_batch_suspect",
    inbound_batch.c.channel_id,
    sqlite_where=inbound_batch.c.failed_in_a_row > 0,
    postgresql_where=inbound_batch.c.failed_in_a_row > 0,
)

inbound_source = sa.Table(
    "d360_inbound_source",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("uri", sa.Text, nullable=False),
    sa.Column("stamp", sa.Text),  # of its content when it was read to its end; None before
    sa.Column("read_at", _Instant, nullable=False),
    sa.UniqueConstraint("channel_id", "uri"),
)

inbound_run = sa.Table(
    "d360_inbound_run",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("task", sa.Text),  # of Airflow, in all its tries; None outside of tasks
    sa.Column("began_at", _Instant, nullable=False),
    sa.Column("taken_in", sa.Integer, nullable=False, server_default="0"),
    sa.Column("archived", sa.Integer, nullable=False, server_default="0"),
    sa.Column("archived_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("channel_id", "task"),
)

inbound = sa.Table(
    "d360_inbound",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("channel_id", _Id, sa.ForeignKey("d360_channel.id"), nullable=False),
    sa.Column("media_id", sa.Text, nullable=False),  # or a mark, where the webhook has none
    sa.Column("batch_id", _Id, sa.ForeignKey("d360_inbound_batch.id"), nullable=False),
    sa.Column("source_id", _Id, sa.ForeignKey("d360_inbound_source.id"), nullable=False),
    sa.Column("line", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text),
    sa.Column("mime_type", sa.Text),  # as the webhook says; after archiving, as the content says
    sa.Column("sha256", sa.Text),  # the same
    sa.Column("received_at", _Instant, nullable=False),
    sa.Column("url_until", _Instant),  # until when the webhook's own URL may be tried; the URL is never stored
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("again_at", _Instant, nullable=False, server_default="0"),
    sa.Column("owner", sa.Text),
    sa.Column("task", sa.Text),
    sa.Column("try_number", sa.Integer),
    sa.Column("lease_until", _Instant),
    sa.Column("run_id", _Id),  # by which it was settled
    sa.Column("settled_at", _Instant),
    sa.Column("uri", sa.Text),  # where it is archived
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("reason", sa.Text),  # why it is lost, or failed last
    sa.Column("details", sa.Text),
    sa.UniqueConstraint("channel_id", "media_id"),
)
for _name, _columns, _where in (
    ("d360_inbound_pending", (inbound.c.channel_id, inbound.c.rank, inbound.c.received_at), inbound.c.state == PENDING),
    ("d360_inbound_under_way", (inbound.c.channel_id,), inbound.c.owner.is_not(None)),
    ("d360_inbound_of_batch", (inbound.c.batch_id, inbound.c.received_at), inbound.c.state == PENDING),
    ("d360_inbound_lost", (inbound.c.run_id,), inbound.c.reason.is_not(None)),
):
    sa.Index(_name, *_columns, sqlite_where=_where, postgresql_where=_where)

source = sa.Table(
    "d360_source",
    metadata,
    sa.Column("question", sa.Text, primary_key=True),
    sa.Column("stamp", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("seen_at", _Instant, nullable=False),
)
