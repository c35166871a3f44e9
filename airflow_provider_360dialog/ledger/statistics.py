"""What is in a ledger, in numbers. Counts only: no id, no key, no number of a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store


@dataclass(frozen=True)
class ChannelStatistics:
    """One channel.

    Attributes:
        phone_number_id: of the channel. frozen: whether nothing may be sent for it.
        media: state -> number of ids. uploading: fingerprints with a running lease.
        orphan_possible: uploads that 360dialog may have accepted without our knowing; an upper bound.
        refused: ids that are not asked again. soonest_end_s: seconds until the first current id is not safe any more, or None.
    """

    phone_number_id: str
    frozen: bool
    media: dict[str, int]
    uploading: int
    orphan_possible: int
    refused: int
    soonest_end_s: float | None


def read_statistics(store: Store) -> list[ChannelStatistics]:
    """Every channel, by phone number id. Reads only."""
    files, media, refused = schema.fingerprint, schema.media, schema.refused
    runs = sa.and_(files.c.owner.is_not(None), files.c.lease_until > store.now.element)
    unsure = sa.func.coalesce(
        sa.func.sum(files.c.orphan_possible + sa.case((runs, files.c.sending - 1), else_=files.c.sending)), 0
    )
    uploading = sa.func.coalesce(sa.func.sum(sa.case((runs, 1), else_=0)), 0)
    of_files = sa.or_(files.c.orphan_possible > 0, files.c.sending > 0)
    with store.read() as db:
        states: dict[int, dict[str, int]] = {}
        by_state = sa.select(media.c.channel_id, media.c.state, sa.func.count()).group_by(media.c.channel_id, media.c.state)
        for channel_id, state, count in db.execute(by_state):
            states.setdefault(channel_id, {})[state] = count
        of_channels = sa.select(files.c.channel_id, uploading, unsure).where(of_files).group_by(files.c.channel_id)
        counts = {row[0]: (int(row[1]), int(row[2])) for row in db.execute(of_channels)}
        refusals = sa.select(refused.c.channel_id, sa.func.count()).group_by(refused.c.channel_id)
        gone = {row[0]: int(row[1]) for row in db.execute(refusals)}
        found = []
        for row in db.execute(sa.select(schema.channel).order_by(schema.channel.c.phone_number_id)).all():
            soonest = db.scalar(
                sa.select(sa.func.min(media.c.safe_until) - store.now.element).where(
                    media.c.channel_id == row.id, media.c.state == schema.CURRENT
                )
            )
            running, orphans = counts.get(row.id, (0, 0))
            found.append(
                ChannelStatistics(
                    phone_number_id=row.phone_number_id,
                    frozen=row.frozen_because is not None,
                    media=states.get(row.id, {}),
                    uploading=running,
                    orphan_possible=orphans,
                    refused=gone.get(row.id, 0),
                    soonest_end_s=soonest,
                )
            )
    return found
