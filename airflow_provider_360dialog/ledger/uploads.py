"""Upload once: fingerprints, leases and media ids of one channel.

The way of an upload: `adopt` (an id that answers?), `claim` (who uploads), the POST, `complete` (the id becomes current in the
transaction that stores it). A holder that dies leaves its lease to lapse; what it may have uploaded is counted, never hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import ChannelFrozenError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.decisions import (
    DEFAULT_VALIDITY_S,
    LEASE_S,
    Claimant,
    Lease,
    Reuse,
    Wait,
    decide,
    safe_until_of,
)
from airflow_provider_360dialog.ports import UploadedMedia

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store

_files = schema.fingerprint
_media = schema.media


@dataclass(frozen=True)
class Fingerprint:
    """The bytes that are sent: sha256 (lowercase hex), MIME type, and their number."""

    sha256: str
    mime_type: str
    size_bytes: int


@dataclass(frozen=True)
class Claim:
    """The right to upload one fingerprint until the lease lapses. ``fence`` grows with each claim of it."""

    row: int
    fence: int
    owner: str


@dataclass(frozen=True)
class Busy:
    """Somebody else uploads the same. ``for_s``: float seconds until their lease would lapse."""

    for_s: float


class Uploads:
    """One channel's fingerprints and media ids.

    Args:
        store: an opened ledger. channel_id: the channel's row.
    """

    def __init__(self, store: Store, channel_id: int) -> None:
        self._store, self._channel_id = store, channel_id

    def adopt(self, file: Fingerprint, *, wanted_until: float | None = None) -> UploadedMedia | None:
        """The id that answers for a file, or None. Reads only.

        Args:
            file: what would be sent. wanted_until: float seconds; None for a week from now.
        """
        with self._store.read() as db:
            row = db.execute(self._store.statements.adopt, self._file(file)).first()
        if row is None or row.safe_until < (row.now + DEFAULT_VALIDITY_S if wanted_until is None else wanted_until):
            return None
        return _record(file, row.media_id, row.uploaded_at, row.safe_until, reused=True)

    def claim(
        self, file: Fingerprint, claimant: Claimant, *, wanted_until: float | None = None, reuse: bool = True
    ) -> UploadedMedia | Claim | Busy:
        """An id that answers, or the right to upload, or how long somebody else has it.

        With the right, an upload counts as under way: should nothing more be heard of it, it is counted as ``orphan_possible``.
        May be called again with the same claimant where it is not known whether the first time was committed.

        Raises:
            ChannelFrozenError: the number has moved away; nothing may be sent for it.
        """
        with self._store.write() as db:
            row = self._locked(db, file)
            if row.frozen_because is not None:
                raise ChannelFrozenError(phone_number_id=row.phone_number_id, reason=row.frozen_because)
            if row.owner == claimant.owner:  # on record already, and the answer was lost on its way: nothing was sent
                claim = Claim(row=row.id, fence=row.fence, owner=claimant.owner)
                db.execute(self._held(claim).values(lease_until=row.now + LEASE_S))
                return claim
            lease = None
            if row.owner is not None:
                lease = Lease(row.owner, row.task, row.try_number or 0, row.lease_until or 0.0)
            decision = decide(
                safe_until=row.safe_until,
                lease=lease,
                claimant=claimant,
                wanted_until=row.now + DEFAULT_VALIDITY_S if wanted_until is None else wanted_until,
                now=row.now,
                reuse=reuse,
            )
            if isinstance(decision, Reuse):
                return _record(file, row.media_id, row.uploaded_at, row.safe_until, reused=True)
            if isinstance(decision, Wait):
                return Busy(for_s=max(0.0, decision.until - row.now))
            taken = {
                "b_row": row.id,
                "b_fence": row.fence + 1,
                "b_owner": claimant.owner,
                "b_task": claimant.task,
                "b_try_number": claimant.try_number,
                "b_lease_until": row.now + LEASE_S,
                "b_orphan_possible": row.orphan_possible + row.sending,
            }
            db.execute(self._store.statements.take, taken)
            return Claim(row=row.id, fence=row.fence + 1, owner=claimant.owner)

    def renew(self, claim: Claim) -> bool:
        """Prolong a lease; False where it was lost to somebody else."""
        with self._store.write() as db:
            done = db.execute(self._held(claim).values(lease_until=self._store.now.element + LEASE_S))
        return bool(done.rowcount)

    def send_again(self, claim: Claim) -> bool:
        """One more POST is about to leave, and the last one may have been accepted; False where the lease was lost."""
        with self._store.write() as db:
            done = db.execute(self._held(claim).values(sending=_files.c.sending + 1))
        return bool(done.rowcount)

    def complete(self, claim: Claim, file: Fingerprint, media_id: str) -> UploadedMedia | None:
        """Store an id that came back. It becomes current, and what was current retires beside it.

        May be called again where it is not known whether the first time was committed.

        Returns:
            The record; None where the lease was lost meanwhile: the id is on record as surplus, and whoever took over answers.
        """
        with self._store.write() as db:
            row = db.execute(self._store.statements.row, {"b_row": claim.row}).one()
            holds = (row.fence, row.owner) == (claim.fence, claim.owner)
            if not holds and (already := self._already(db, row, media_id)) is not None:
                answers = already.state in {schema.CURRENT, schema.RETIRING}
                return _record(file, media_id, already.uploaded_at, already.safe_until, reused=False) if answers else None
            safe_until = safe_until_of(row.now)
            stored = self._store_media(db, row, media_id, schema.CURRENT if holds else schema.SURPLUS, safe_until)
            if not holds:
                # Its taker counted it as possibly lost; now it is known.
                found = sa.case((_files.c.orphan_possible > 0, _files.c.orphan_possible - 1), else_=0)
                db.execute(_files.update().where(_files.c.id == row.id).values(orphan_possible=found))
                return None
            if row.media_row is not None and row.media_row != stored:
                db.execute(
                    _media.update()
                    .where(_media.c.id == row.media_row, _media.c.state == schema.CURRENT)
                    .values(state=schema.RETIRING, state_since=row.now)
                )
            self._release(db, row, media_row=stored, unknown=row.sending - 1)
        return _record(file, media_id, row.now, safe_until, reused=False)

    def discard(self, claim: Claim, media_id: str) -> None:
        """Store an id that stands for the wrong bytes: it is never returned, only deleted some day. The claim ends."""
        with self._store.write() as db:
            row = db.execute(self._store.statements.row, {"b_row": claim.row}).one()
            self._store_media(db, row, media_id, schema.SURPLUS, safe_until_of(row.now))
            if (row.fence, row.owner) == (claim.fence, claim.owner):
                self._release(db, row, unknown=row.sending - 1)

    def release(self, claim: Claim, *, unknown: bool) -> None:
        """End a claim without an id. ``unknown``: whether the last POST may have been accepted all the same."""
        with self._store.write() as db:
            row = db.execute(self._store.statements.row, {"b_row": claim.row}).one()
            if (row.fence, row.owner) == (claim.fence, claim.owner):
                self._release(db, row, unknown=row.sending - (0 if unknown else 1))

    def mark(self, media_id: str, state: str) -> bool:
        """Note what became of an id; one that is not current any more answers for nothing. False where it is not on record.

        What was deleted stays deleted, whatever is heard of it later.
        """
        with self._store.write() as db:
            # The file's row before its ids' rows, as everybody else locks them: two who lock crosswise would wait for each other.
            of_file = sa.select(_media.c.fingerprint_id).where(*self._is_id(media_id)).scalar_subquery()
            db.execute(sa.select(_files.c.id).where(_files.c.id == of_file).with_for_update())
            found = db.execute(
                sa.select(_media.c.id, _media.c.fingerprint_id, _media.c.state).where(*self._is_id(media_id)).with_for_update()
            ).first()
            if found is None:
                return False
            if found.state == schema.DELETED:
                return True
            db.execute(_media.update().where(_media.c.id == found.id).values(state=state, state_since=self._store.now.element))
            if state != schema.CURRENT:
                holder = sa.and_(_files.c.id == found.fingerprint_id, _files.c.media_row == found.id)
                db.execute(_files.update().where(holder).values(media_row=None))
        return True

    def mark_used(self, media_id: str, *, trust_last_use: bool = False) -> bool:
        """Record a send. Only with ``trust_last_use`` does it prolong the promise. False where the id is not on record."""
        with self._store.write() as db:
            found = db.execute(
                sa.select(_media, self._store.now).where(*self._is_id(media_id)).with_for_update(of=_media)
            ).first()
            if found is None:
                return False
            promised = safe_until_of(found.uploaded_at, found.now, trust_last_use=trust_last_use)
            db.execute(
                _media.update()
                .where(_media.c.id == found.id)
                .values(last_used_at=found.now, safe_until=max(found.safe_until, promised))
            )
        return True

    def _file(self, file: Fingerprint) -> dict[str, Any]:
        return {"b_channel": self._channel_id, "b_sha256": file.sha256, "b_mime_type": file.mime_type}

    def _is_id(self, media_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        return _media.c.channel_id == self._channel_id, _media.c.media_id == media_id

    def _locked(self, db: sa.Connection, file: Fingerprint) -> sa.Row[Any]:
        """The fingerprint's row, made where there is none, and locked until the transaction ends."""
        statements, which = self._store.statements, self._file(file)
        make = {**which, "b_size_bytes": file.size_bytes}
        if self._store.dialect == "sqlite":  # holds the one write lock since the transaction began
            if (row := db.execute(statements.look, which).first()) is None:
                db.execute(statements.make, make)
            return row or db.execute(statements.look, which).one()
        # Lock first, look second: one statement that does both would, after waiting for the lock, still see the media ids as they
        # were before it waited (read committed).
        if db.execute(statements.lock, which).first() is None:
            db.execute(statements.make, make)
            db.execute(statements.lock, which)
        return db.execute(statements.look, which).one()

    def _already(self, db: sa.Connection, row: sa.Row[Any], media_id: str) -> sa.Row[Any] | None:
        """The id's row, where it was stored for this fingerprint before."""
        return db.execute(sa.select(_media).where(*self._is_id(media_id), _media.c.fingerprint_id == row.id)).first()

    def _held(self, claim: Claim) -> sa.Update:
        return _files.update().where(_files.c.id == claim.row, _files.c.fence == claim.fence, _files.c.owner == claim.owner)

    def _release(self, db: sa.Connection, row: sa.Row[Any], *, unknown: int, media_row: int | None = None) -> None:
        ended = {
            "b_row": row.id,
            "b_orphan_possible": row.orphan_possible + max(0, unknown),
            "b_media_row": row.media_row if media_row is None else media_row,
        }
        db.execute(self._store.statements.end, ended)

    def _store_media(self, db: sa.Connection, row: sa.Row[Any], media_id: str, state: str, safe_until: float) -> int:
        """The id's row. Should 360dialog ever give one id twice, it stands for the later upload."""
        fresh = {
            "b_channel": self._channel_id,
            "b_media_id": media_id,
            "b_row": row.id,
            "b_state": state,
            "b_now": row.now,
            "b_safe_until": safe_until,
        }
        stored = db.scalar(self._store.statements.store_media, fresh)
        if stored is None:
            known = db.execute(sa.select(_media.c.id, _media.c.fingerprint_id).where(*self._is_id(media_id))).one()
            earlier = sa.and_(_files.c.id == known.fingerprint_id, _files.c.media_row == known.id, _files.c.id != row.id)
            db.execute(_files.update().where(earlier).values(media_row=None))
            later = {"state": state, "state_since": row.now, "uploaded_at": row.now, "safe_until": safe_until}
            db.execute(_media.update().where(_media.c.id == known.id).values(fingerprint_id=row.id, **later))
            stored = known.id
        return int(stored)


def _record(file: Fingerprint, media_id: str, uploaded_at: float, safe_until: float, *, reused: bool) -> UploadedMedia:
    return UploadedMedia(
        media_id=media_id,
        sha256=file.sha256,
        mime_type=file.mime_type,
        size_bytes=file.size_bytes,
        uploaded_at=datetime.fromtimestamp(uploaded_at, UTC),
        safe_until=datetime.fromtimestamp(safe_until, UTC),
        reused=reused,
    )
