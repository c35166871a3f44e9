"""One channel's part of the ledger: what a job needs to remember while it works for one number."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from typing import TYPE_CHECKING

import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import ChannelFrozenError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.cleanup import Cleanup
from airflow_provider_360dialog.ledger.decisions import Claimant
from airflow_provider_360dialog.ledger.inbound import Inbound
from airflow_provider_360dialog.ledger.intake import Intake
from airflow_provider_360dialog.ledger.keeper import Keeper
from airflow_provider_360dialog.ledger.ration import Ration
from airflow_provider_360dialog.ledger.refused import RefusedIds
from airflow_provider_360dialog.ledger.sources import Sources
from airflow_provider_360dialog.ledger.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_360dialog.exceptions import MediaGoneError
    from airflow_provider_360dialog.ledger.channels import Identity
    from airflow_provider_360dialog.ledger.store import Store

_KEEPER = Keeper()


class ChannelLedger:
    """Everything on record of one channel.

    Args:
        store: the ledger, opened.
        identify: says which channel it is; called once, when that is first needed, for it may have to ask 360dialog.
        task: Airflow's name for the task in all its tries, or None. try_number: of the task, from 1.
    """

    def __init__(self, store: Store, identify: Callable[[], Identity], *, task: str | None = None, try_number: int = 0) -> None:
        self.store = store
        self.task, self.try_number = task, try_number
        self.keeper: Keeper = _KEEPER
        self._identify = identify
        self._identity: Identity | None = None
        self._lock = threading.Lock()

    @property
    def identity(self) -> Identity:
        """The channel."""
        with self._lock:
            if self._identity is None:
                self._identity = self._identify()
            return self._identity

    def check_usable(self) -> None:
        """Raise where nothing may be sent for the channel.

        Raises:
            ChannelFrozenError: its number has moved away.
        """
        identity = self.identity
        query = sa.select(schema.channel.c.frozen_because).where(schema.channel.c.id == identity.channel_id)
        with self.store.read() as db:
            reason = db.scalar(query)
        if reason is not None:
            raise ChannelFrozenError(phone_number_id=identity.phone_number_id, reason=reason)

    @property
    def is_identified(self) -> bool:
        """Whether it is known already which channel it is."""
        return self._identity is not None

    @property
    def uploads(self) -> Uploads:
        """Its fingerprints and media ids."""
        return Uploads(self.store, self.identity.channel_id)

    @property
    def refused(self) -> RefusedIds:
        """Its ids that are not asked again."""
        return RefusedIds(self.store, self.identity.channel_id)

    @property
    def ration(self) -> Ration:
        """Its instants for uploads and its credits for GETs."""
        return Ration(self.store, self.identity.channel_id)

    @property
    def intake(self) -> Intake:
        """The way in of what customers sent."""
        return Intake(self.store, self.identity.channel_id)

    @property
    def inbound(self) -> Inbound:
        """What customers sent, to be archived."""
        return Inbound(self.store, self.identity.channel_id)

    @property
    def cleanup(self) -> Cleanup:
        """Its ids on their way out."""
        return Cleanup(self.store, self.identity.channel_id)

    @property
    def sources(self) -> Sources:
        """Verdicts on unchanged files."""
        return Sources(self.store)

    def claimant(self) -> Claimant:
        """A new claim's owner: no two claims are alike, not even of one process."""
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        return Claimant(owner=owner, task=self.task, try_number=self.try_number)

    def is_gone(self, error: MediaGoneError) -> None:
        """360dialog does not know an id: it is not asked again, and answers for no file any more."""
        self.refused.remember(error)
        self.uploads.mark(error.media_id, schema.GONE)

    def is_deleted(self, media_id: str) -> None:
        """An id was deleted: the same."""
        self.uploads.mark(media_id, schema.DELETED)
        with self.store.write() as db:
            self.refused.write(db, media_id, status=404, code=None, details="it was deleted by this provider")

    def state_of(self, media_id: str) -> str | None:
        """What is on record of an id: a state of `schema`, or None."""
        media = schema.media
        query = sa.select(media.c.state).where(media.c.channel_id == self.identity.channel_id, media.c.media_id == media_id)
        with self.store.read() as db:
            state: str | None = db.scalar(query)
        return state
