"""Ids on their way out: noted as ended, listed, taken for deletion, settled, with an audit row for each.

An id is taken in one transaction, which looks up once more whether anybody needs it, under the lock of its file's row: no new
item of that file can be put on record meanwhile, and who comes after finds no current id and uploads anew. Knows no network: who
sends the delete says afterwards what came of it.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.decisions import MEDIA_LIFE_S, SAFETY_MARGIN_S
from airflow_provider_360dialog.ledger.references import ALIVE, References, states_of
from airflow_provider_360dialog.ledger.refused import RefusedIds
from airflow_provider_360dialog.ledger.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_360dialog.exceptions import MediaGoneError
    from airflow_provider_360dialog.ledger.references import Terms
    from airflow_provider_360dialog.ledger.store import Store

Action: TypeAlias = Literal["deleted", "gone already", "kept", "failed"]

_item, _files, _media, _audit = schema.item, schema.fingerprint, schema.media, schema.audit
_PAGE: Final = 500
_NAMES: Final = 100
_WHY: Final = {
    schema.CURRENT: "no campaign needs it",
    schema.RETIRING: "a newer id has taken its place",
    schema.SURPLUS: "it never answered for its file",
    schema.DELETING: "a delete of it was begun and not finished",
    schema.EXPIRED: "its life has ended, by the ledger's count",
}
_KEPT: Final = "kept: somebody else needs it"


class Taken(enum.Enum):
    """What became of an id that was to be taken for deletion.

    ``REFERENCED`` means too: used, replaced, or out of the plan's terms since the plan was made.
    """

    TAKEN = "taken"
    REFERENCED = "referenced"
    GONE_ALREADY = "gone already"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Candidate:
    """An id within the terms. ``kept``: it is one of theirs and stays, for somebody else needs it."""

    media_id: str
    sha256: str
    mime_type: str
    state: str
    reason: str
    kept: bool


@dataclass(frozen=True)
class AuditRow:
    """What was done with an id. ``at``: float seconds."""

    at: float
    media_id: str
    action: str


class Cleanup:
    """One channel's ids, on their way out.

    Args:
        store: an opened ledger. channel_id: the channel's row.
    """

    def __init__(self, store: Store, channel_id: int) -> None:
        self._store, self._channel_id = store, channel_id
        self._now: sa.ColumnElement[float] = store.now.element
        self._references = References(self._now, channel_id)

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def expire(self) -> int:
        """Note the ids whose life at 360dialog has ended by itself, 30 days after upload (or after a last use that was trusted).

        Returns:
            How many there were. They answer for no file any more.
        """
        expired = 0
        ended = (_media.c.safe_until <= self._now - SAFETY_MARGIN_S, _media.c.state.in_(ALIVE))
        query = sa.select(_media.c.id, _media.c.fingerprint_id).where(_media.c.channel_id == self._channel_id, *ended)
        while True:
            with self._store.write() as db:
                page = db.execute(query.order_by(_media.c.id).limit(_PAGE)).all()
                files = self._lock_all(db, _files, {row.fingerprint_id for row in page})
                rows = self._lock_all(db, _media, {row.id for row in page})
                late = _media.update().where(_media.c.id.in_(rows), *ended)
                expired += db.execute(late.values(state=schema.EXPIRED, state_since=self._now)).rowcount
                gone = sa.select(_media.c.id).where(_media.c.id.in_(rows), _media.c.state == schema.EXPIRED)
                answered = (_files.c.id.in_(files), _files.c.media_row.in_(gone))
                db.execute(_files.update().where(*answered).values(media_row=None))
            if len(page) < _PAGE:
                return expired

    def mark_used_many(self, media_ids: Iterable[str], *, trust_last_use: bool = False) -> int:
        """Record that messages with these ids were sent, as `Uploads.mark_used` does for one: how many of them are on record."""
        asked, known = sorted(set(media_ids)), 0
        used: dict[str, Any] = {"last_used_at": self._now}
        if trust_last_use:
            promised = self._now + (MEDIA_LIFE_S - SAFETY_MARGIN_S)
            used["safe_until"] = sa.case((_media.c.safe_until < promised, promised), else_=_media.c.safe_until)
        for at in range(0, len(asked), _PAGE):
            with self._store.write() as db:
                rows = db.scalars(sa.select(_media.c.id).where(*self._are(asked[at : at + _PAGE]))).all()
                locked = self._lock_all(db, _media, set(rows))
                if locked:
                    known += db.execute(_media.update().where(_media.c.id.in_(locked)).values(**used)).rowcount
        return known

    # --- looking --------------------------------------------------------------------------------------------------

    def count_alive(self) -> int:
        """Ids that are not known to have ended."""
        query = sa.select(sa.func.count()).where(_media.c.channel_id == self._channel_id, _media.c.state.in_(ALIVE))
        with self._store.read() as db:
            return int(db.scalar(query) or 0)

    def standing(self, media_ids: Sequence[str], terms: Terms) -> dict[str, bool]:
        """Those of a page of ids that are on record -> whether there is still something of them to delete."""
        query = sa.select(_media.c.media_id, _media.c.state).where(*self._are(media_ids))
        with self._store.read() as db:
            return {row.media_id: row.state in states_of(terms) for row in db.execute(query)}

    def candidates(self, terms: Terms, *, after: str = "", limit: int = _PAGE) -> list[Candidate]:
        """A page of the ids within the terms, by media id.

        Args:
            terms: what is to be deleted. after: the last media id of the page before. limit: rows of a page.
        """
        found: list[Candidate] = []
        while len(found) < limit:
            # Two questions: whoever asks for both at once has PostgreSQL look at every item of the ledger for each page.
            with self._store.read() as db:
                page = db.execute(self._rows(terms, after)).all()
                found += self._judged(db, terms, [row.id for row in page])
            if len(page) < _PAGE:
                break
            after = page[-1].media_id
        return found[:limit]

    def needed_by(self, media_id: str) -> list[str]:
        """Names of the live campaigns that need an id now, at most 100; no grace counts."""
        with self._store.read() as db:
            return self._needed_by(db, media_id)

    def is_referenced(self, media_id: str) -> bool:
        """Whether a live campaign needs an id now."""
        return bool(self.needed_by(media_id))

    # --- taking and settling --------------------------------------------------------------------------------------

    def take_for_deletion(self, media_id: str, terms: Terms) -> Taken:
        """Take an id, if the terms still allow it: from now on it answers for no file. The delete may be sent once this returns.

        One that was taken before, and never settled, is taken again.
        """
        with self._store.write() as db:
            row = self._locked(db, media_id)
            if row is None:
                return Taken.UNKNOWN
            if row.state not in states_of(terms):
                return Taken.GONE_ALREADY
            # A statement of its own: what waited for the lock would still see the references as they were before.
            query = sa.select(_media.c.id).where(
                _media.c.id == row.id, *self._references.within(terms, of_one=True), self._references.may_go(terms)
            )
            if db.scalar(query) is None:
                return Taken.REFERENCED
            self._begin(db, row)
        return Taken.TAKEN

    def begin_delete(self, media_id: str, *, force: bool = False) -> list[str]:
        """Take one id that somebody names, unless a live campaign needs it.

        Args:
            media_id: of any file, also one that is not on record. force: whatever needs it.

        Returns:
            The campaigns that need it, at most 100, and nothing was changed; empty where the delete may be sent.
        """
        with self._store.write() as db:
            row = self._locked(db, media_id)
            if row is None or row.state == schema.DELETED:
                return []
            needed_by = [] if force else self._needed_by(db, media_id)
            if not needed_by:
                self._begin(db, row)
        return needed_by

    def settle(self, media_id: str, action: Action, reason: str, *, gone: MediaGoneError | None = None) -> None:
        """Put on record what came of an id, with its audit row, in one transaction.

        Args:
            media_id: an id that was taken, or was to be. action: ``failed`` leaves it as it is, to be tried again.
            reason: by which policy and in which plan; where its last audit row of that reason says the same, no other is written.
            gone: 360dialog's words, where it did not know the id.
        """
        ended = {"deleted": schema.DELETED, "gone already": schema.GONE}
        with self._store.write() as db:
            if action in ended:
                taken = (*self._are([media_id]), _media.c.state == schema.DELETING)
                db.execute(_media.update().where(*taken).values(state=ended[action], state_since=self._now))
                self._refuse(db, media_id, gone)
            self._note(db, {media_id: action}, reason)

    def note_ended(self, media_ids: Sequence[str], reason: str) -> int:
        """Put on record that a page of ids was gone when its turn came; how many of them were deleted for this very reason."""
        with self._store.write() as db:
            done = self._last_actions(db, media_ids, reason)
            fresh = {each: "gone already" for each in media_ids if done.get(each) not in {"deleted", "gone already"}}
            self._note(db, fresh, reason)
        return sum(action == "deleted" for action in done.values())

    def audit(self, media_ids: Sequence[str], reason: str) -> list[AuditRow]:
        """What was done with a page of ids for one reason, in the order in which it was done."""
        query = sa.select(_audit.c.at, _audit.c.media_id, _audit.c.action).where(*self._audited(media_ids, reason))
        with self._store.read() as db:
            return [AuditRow(*row) for row in db.execute(query.order_by(_audit.c.id))]

    # --- subjects -------------------------------------------------------------------------------------------------

    def erase_subject(self, subject: str, *, name_of: Callable[[str], str] = str) -> int:
        """Remove a subject's items of this channel, and the remembered verdicts on their files; how many items there were.

        Args:
            subject: as the items have it. name_of: gives the name under which the verdict on the file at a URI is remembered.
        """
        erased, verdicts = 0, Sources(self._store)
        query = sa.select(_item).where(_item.c.subject == subject, _item.c.channel_id == self._channel_id)
        while True:
            with self._store.read() as db:
                page = db.execute(query.order_by(_item.c.id).limit(_PAGE)).all()
            for row in page:
                verdicts.forget(name_of(row.uri), mime_type=row.said_mime_type, filename=row.said_filename, kind=row.said_kind)
            with self._store.write() as db:
                erased += db.execute(_item.delete().where(_item.c.id.in_([row.id for row in page]))).rowcount
            if len(page) < _PAGE:
                return erased

    def seal(self, subject: str) -> str:
        """What stands for a subject in a file: the same each time, and of no use to anybody without the ledger."""
        with self._store.read() as db:
            pepper = db.execute(sa.select(schema.meta.c.value).where(schema.meta.c.name == "key_pepper")).scalar_one()
        return hmac.new(bytes.fromhex(pepper), f"subject\n{subject}".encode(), hashlib.sha256).hexdigest()[:32]

    # --- rows -----------------------------------------------------------------------------------------------------

    def _rows(self, terms: Terms, after: str) -> sa.Select[Any]:
        """A page of what a policy speaks of."""
        of_channel = (_media.c.channel_id == self._channel_id, _media.c.media_id > after)
        query = sa.select(_media.c.id, _media.c.media_id).where(*of_channel, *self._references.within(terms))
        return query.order_by(_media.c.media_id).limit(_PAGE)

    def _judged(self, db: sa.Connection, terms: Terms, rows: Sequence[int]) -> list[Candidate]:
        """Of a page, what may go; and, of a campaign or a subject, what is kept."""
        may_go = sa.case((self._references.may_go(terms), 1), else_=0).label("may_go")
        query = (
            sa.select(_media.c.media_id, _files.c.sha256, _files.c.mime_type, _media.c.state, may_go)
            .join_from(_media, _files, _files.c.id == _media.c.fingerprint_id)
            .where(_media.c.id.in_(rows))
            .order_by(_media.c.media_id)
        )
        return [
            Candidate(
                media_id=row.media_id,
                sha256=row.sha256,
                mime_type=row.mime_type,
                state=row.state,
                reason=_WHY[row.state] if row.may_go else _KEPT,
                kept=not row.may_go,
            )
            for row in db.execute(query)
            if row.may_go or terms.policy != "delete_unreferenced"
        ]

    def _are(self, media_ids: Sequence[str]) -> tuple[sa.ColumnElement[bool], ...]:
        return _media.c.channel_id == self._channel_id, _media.c.media_id.in_(media_ids)

    def _locked(self, db: sa.Connection, media_id: str) -> sa.Row[Any] | None:
        """An id's row, locked after its file's, as everybody locks them: two who lock crosswise would wait for each other."""
        of_file = sa.select(_media.c.fingerprint_id).where(*self._are([media_id])).scalar_subquery()
        db.execute(sa.select(_files.c.id).where(_files.c.id == of_file).with_for_update())
        return db.execute(sa.select(_media).where(*self._are([media_id])).with_for_update()).first()

    def _needed_by(self, db: sa.Connection, media_id: str) -> list[str]:
        return list(db.scalars(self._references.campaigns_needing(*self._are([media_id])).limit(_NAMES)))

    def _lock_all(self, db: sa.Connection, table: sa.Table, rows: set[int]) -> list[int]:
        """Lock many rows of one table, in one order."""
        query = sa.select(table.c.id).where(table.c.id.in_(rows)).order_by(table.c.id).with_for_update()
        return list(db.scalars(query)) if rows else []

    def _begin(self, db: sa.Connection, row: sa.Row[Any]) -> None:
        db.execute(_media.update().where(_media.c.id == row.id).values(state=schema.DELETING, state_since=self._now))
        answers = (_files.c.id == row.fingerprint_id, _files.c.media_row == row.id)
        db.execute(_files.update().where(*answers).values(media_row=None))

    def _refuse(self, db: sa.Connection, media_id: str, gone: MediaGoneError | None) -> None:
        """It is not asked for again."""
        write: Callable[..., None] = RefusedIds(self._store, self._channel_id).write
        if gone is None:
            write(db, media_id, status=404, code=None, details="it was deleted by this provider")
        else:
            write(db, media_id, status=gone.status, code=gone.code, details=gone.details)

    def _audited(self, media_ids: Sequence[str], reason: str) -> tuple[sa.ColumnElement[bool], ...]:
        of_ids = _audit.c.media_id.in_(media_ids)
        return _audit.c.channel_id == self._channel_id, of_ids, _audit.c.reason == reason

    def _last_actions(self, db: sa.Connection, media_ids: Sequence[str], reason: str) -> dict[str, str]:
        query = sa.select(_audit.c.media_id, _audit.c.action).where(*self._audited(media_ids, reason)).order_by(_audit.c.id)
        return {row.media_id: row.action for row in db.execute(query)}

    def _note(self, db: sa.Connection, actions: dict[str, str], reason: str) -> None:
        last = self._last_actions(db, list(actions), reason)
        rows = [
            {"channel_id": self._channel_id, "media_id": media_id, "action": action, "reason": reason}
            for media_id, action in actions.items()
            if last.get(media_id) != action
        ]
        if rows:
            db.execute(_audit.insert().values(at=self._now), rows)


def channels_of(store: Store, media_ids: Sequence[str]) -> list[int]:
    """The channels that have any of a page of ids, whatever its state."""
    channel = schema.channel
    of_any = sa.select(_media.c.id).where(_media.c.channel_id == channel.c.id, _media.c.media_id.in_(media_ids))
    with store.read() as db:
        return list(db.scalars(sa.select(channel.c.id).where(of_any.correlate(channel).exists()).order_by(channel.c.id)))


def channel_numbers(store: Store) -> dict[str, int]:
    """Phone number id -> channel, of all that are on record."""
    with store.read() as db:
        return {row.phone_number_id: row.id for row in db.execute(sa.select(schema.channel))}
