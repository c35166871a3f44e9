"""Find out for which number a key speaks: from the ledger, else by one health call for each new key."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    AnswerUnreadableError,
    ChannelFrozenError,
    ConnectionInvalidError,
    Dialog360Error,
    EndpointMissingError,
    RequestRefusedError,
    ServerError,
)
from airflow_provider_360dialog.ledger.channels import Channels, Known, Refused, decide_identity, decide_new_key
from airflow_provider_360dialog.ports import Health

if TYPE_CHECKING:
    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.ledger.channels import Identity
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import Channel

log = logging.getLogger(__name__)

# Health answers that say nothing about the key: then the connection's field says whose it is, or nobody does. Where 360dialog was
# only hindered from saying it, that is the error, unless the field is there.
_SILENT = (AnswerUnreadableError, EndpointMissingError, RequestRefusedError)
_HINDERED = (AccessRefusedError, ServerError)


def identify(channel: Channel, *, api: MediaApi, store: Store, conn_id: str) -> Identity:
    """The channel on record for a connection; a key that was never seen is asked about once, and the answer is stored.

    Raises:
        ConnectionInvalidError: the key belongs to another number than the connection says or had until now.
        Dialog360Error: 360dialog could not be asked.
    """
    channels, field = Channels(store), channel.policy.phone_number_id
    by_key, by_connection = channels.look_up(api_key=channel.api_key, conn_id=conn_id, origin=channel.base_url)
    decision = decide_identity(field=field, by_key=by_key, by_connection=by_connection)
    if isinstance(decision, Refused):
        raise ConnectionInvalidError(conn_id=conn_id, field="extra: phone_number_id", reason=decision.reason)
    if isinstance(decision, Known) and decision.identity.frozen_because is None:
        identity = decision.identity
    else:
        found = _ask(api, field)
        if isinstance(decision, Known) and found != decision.identity.phone_number_id:
            frozen = decision.identity
            raise ChannelFrozenError(
                phone_number_id=frozen.phone_number_id, reason=frozen.frozen_because or "no reason on record"
            )
        # A new key; or one of a frozen channel, whose number answers to it again.
        number = decide_new_key(field=field, found=found, by_connection=by_connection)
        if isinstance(number, Refused):
            raise ConnectionInvalidError(conn_id=conn_id, field="extra: phone_number_id", reason=number.reason)
        log.info("connection %r speaks for phone number id %s", conn_id, number)
        identity = channels.bind(api_key=channel.api_key, conn_id=conn_id, origin=channel.base_url, phone_number_id=number)
    others = channels.speak(conn_id, channel.base_url, identity, channel.policy)
    if others:
        log.warning(
            "connections %s say different things of the ration of number %s: the stricter counts",
            ", ".join(map(repr, [conn_id, *others])),
            identity.phone_number_id,
        )
    return identity


def known_identity(channel: Channel, *, store: Store, conn_id: str) -> Identity | None:
    """The channel that is on record for a connection; None where nothing is. Sends nothing."""
    by_key, by_connection = Channels(store).look_up(api_key=channel.api_key, conn_id=conn_id, origin=channel.base_url)
    return by_key or by_connection


def _ask(api: MediaApi, field: str | None) -> str | None:
    outcome = api.health()
    if isinstance(outcome, Health):
        return outcome.phone_number_id
    if isinstance(outcome, _SILENT) or (isinstance(outcome, _HINDERED) and field is not None):
        log.warning("360dialog does not say whose the key is (%s); the connection's field has to", outcome)
        return None
    raise outcome


def freeze_if_moved(identity: Identity, *, api: MediaApi, store: Store) -> str | None:
    """After a 401 or 403: where the key answers for another number now, stop the channel; the reason, or None.

    Nothing is deleted: the ids may still be the number's, wherever it is now.
    """
    outcome = api.health()
    if isinstance(outcome, Dialog360Error) or outcome.phone_number_id in {None, identity.phone_number_id}:
        return None
    reason = f"its key answers for number {outcome.phone_number_id} now: the number has moved away"
    Channels(store).freeze(identity, reason)
    return reason
