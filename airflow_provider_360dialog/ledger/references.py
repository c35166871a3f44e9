"""Who still needs an id: the rules of a clean-up, as SQL.

A live reference of an id is a planned item of the id's file, of a campaign with ``needed_until > now - grace_s``. A media id that
a newer one has replaced is let go after its grace, although a campaign needs the file: the newer one answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.decisions import RETIRE_GRACE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

Policy: TypeAlias = Literal["delete_unreferenced", "delete_campaign", "erase_subject"]
POLICIES: Final[tuple[Policy, ...]] = ("delete_unreferenced", "delete_campaign", "erase_subject")

ALIVE: Final = (schema.CURRENT, schema.RETIRING, schema.SURPLUS, schema.DELETING)
"""States of an id that is not known to have ended."""

_campaign, _item, _files, _media = schema.campaign, schema.item, schema.fingerprint, schema.media
_newer = _media.alias("newer")


@dataclass(frozen=True)
class Terms:
    """What is to be deleted.

    Attributes:
        policy: ``delete_unreferenced``: what no campaign needs. ``delete_campaign``: files of one campaign that no other needs.
            ``erase_subject``: files of one subject that nobody else needs.
        grace_s: how long a reference counts after its campaign's ``needed_until``; for what no campaign needs, also the least
            time since the upload and the last use. Float seconds.
        retire_grace_s: how long an id works on after a newer one has replaced it. Float seconds.
        campaign: a name, for ``delete_campaign``.
        campaign_plan: number of its last plan when the terms were set; planned again since, it counts as another campaign.
        subject: for ``erase_subject``.
    """

    policy: Policy
    grace_s: float
    retire_grace_s: float = RETIRE_GRACE_S
    campaign: str | None = None
    campaign_plan: int = 0
    subject: str | None = None


def states_of(terms: Terms) -> tuple[str, ...]:
    """States of ids of which there is something to delete.

    What is to be erased is deleted also where its life has ended by the ledger's count: 360dialog's page speaks of 30 days after
    the last use, which the ledger does not see.
    """
    return (*ALIVE, schema.EXPIRED) if terms.policy == "erase_subject" else ALIVE


class References:
    """Conditions on rows of media of one channel.

    Args:
        now: the ledger's present instant. channel_id: the channel's row.
    """

    def __init__(self, now: sa.ColumnElement[float], channel_id: int) -> None:
        self._now, self._channel_id = now, channel_id

    def within(self, terms: Terms, *, of_one: bool = False) -> tuple[sa.ColumnElement[bool], ...]:
        """Which ids a policy speaks of. ``of_one``: for a question about one id; by its file, not by all of a campaign's."""
        right_state = _media.c.state.in_(states_of(terms))
        if terms.policy == "delete_unreferenced":
            return (right_state,)
        files = sa.select(_item.c.fingerprint_id).where(
            _item.c.channel_id == self._channel_id, _item.c.fingerprint_id.is_not(None)
        )
        if terms.policy == "delete_campaign":
            files = files.join(_campaign, _campaign.c.id == _item.c.campaign_id)
            files = files.where(_campaign.c.name == terms.campaign, _item.c.state == schema.PLANNED)
        else:
            files = files.where(_item.c.subject == terms.subject)
        if of_one:
            files = files.where(_item.c.fingerprint_id == _media.c.fingerprint_id).correlate(_media)
            return right_state, files.exists()
        return right_state, _media.c.fingerprint_id.in_(files)

    def may_go(self, terms: Terms) -> sa.ColumnElement[bool]:
        """Whether an id may be deleted. The one place that says so."""
        state = _media.c.state
        needed = self._needing(terms.grace_s, self._others(terms)).correlate(_media).exists()
        replaced = self._is_replaced(terms.retire_grace_s)
        dead = state.in_([schema.SURPLUS, schema.DELETING, schema.EXPIRED])  # they answer for no file
        if terms.policy != "delete_unreferenced":
            return sa.or_(dead, ~needed, replaced)
        before = self._now - terms.grace_s
        unused = sa.or_(_media.c.last_used_at.is_(None), _media.c.last_used_at <= before)
        idle = sa.and_(state == schema.CURRENT, ~needed, _media.c.uploaded_at <= before, unused)
        old = sa.and_(state == schema.RETIRING, ~needed, _media.c.state_since <= self._now - terms.retire_grace_s)
        return sa.or_(dead, idle, old, replaced)

    def campaigns_needing(self, *media: sa.ColumnElement[bool]) -> sa.Select[Any]:
        """Names of the live campaigns that need an id now, without any grace."""
        answers = _media.c.state.in_([schema.CURRENT, schema.RETIRING])
        query = self._needing(0.0).join(_media, _media.c.fingerprint_id == _item.c.fingerprint_id)
        return query.where(*media, answers, ~self._is_replaced(RETIRE_GRACE_S)).distinct().order_by(_campaign.c.name)

    def _needing(self, grace_s: float, by: Sequence[sa.ColumnElement[bool]] = ()) -> sa.Select[Any]:
        """Names of the campaigns with a live reference."""
        return (
            sa.select(_campaign.c.name)
            .join_from(_item, _campaign, _campaign.c.id == _item.c.campaign_id)
            .where(
                _item.c.fingerprint_id == _media.c.fingerprint_id,
                _item.c.state == schema.PLANNED,
                _campaign.c.needed_until > self._now - grace_s,
                *by,
            )
        )

    @staticmethod
    def _others(terms: Terms) -> list[sa.ColumnElement[bool]]:
        """Whose references count: everybody's but those of the campaign, or of the subject, that is to go."""
        if terms.policy == "delete_campaign":
            return [sa.or_(_campaign.c.name != terms.campaign, _campaign.c.plan > terms.campaign_plan)]
        if terms.policy == "erase_subject":
            return [sa.or_(_item.c.subject.is_(None), _item.c.subject != terms.subject)]
        return []

    def _is_replaced(self, retire_grace_s: float) -> sa.ColumnElement[bool]:
        """Whether a newer id has stood beside it for so long that whoever had exported it has the newer one by now."""
        answers = (_newer.c.fingerprint_id == _files.c.id, _newer.c.state == schema.CURRENT, _newer.c.safe_until > self._now)
        stands = (
            sa.select(_newer.c.id)
            .join_from(_files, _newer, _newer.c.id == _files.c.media_row)
            .where(_files.c.id == _media.c.fingerprint_id, *answers)
            .correlate(_media)
            .exists()
        )
        return sa.and_(_media.c.state == schema.RETIRING, _media.c.state_since <= self._now - retire_grace_s, stands)
