"""Delete media. Already gone is done."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_360dialog.api.identity import check_media_id
from airflow_provider_360dialog.exceptions import Dialog360Error, MediaGoneError
from airflow_provider_360dialog.ledger import schema

if TYPE_CHECKING:
    from airflow_provider_360dialog.jobs.calls import Calls

log = logging.getLogger(__name__)


def delete(media_id: str, *, calls: Calls, ignore_missing: bool = True) -> bool:
    """``DELETE /<media id>``.

    Args:
        media_id: digits. calls: the channel's wire.
        ignore_missing: an id that 360dialog does not know (any more) counts as done.

    Returns:
        True where it was there and is gone now; False where it was gone already.

    Raises:
        MediaIdInvalidError: before anything is sent.
        MediaGoneError: it was gone already, and ``ignore_missing`` is off.
        Dialog360Error: any other failure.
    """
    check_media_id(media_id)
    calls.patiently(calls.ledger.check_usable)
    calls.patiently(
        lambda: calls.ledger.uploads.mark(media_id, schema.DELETING)
    )  # before the call: from now on it answers for no file
    outcome = calls.outcome("delete", lambda: calls.api.delete(media_id))
    if isinstance(outcome, MediaGoneError):
        gone = outcome
        calls.patiently(lambda: calls.ledger.is_gone(gone))
        if ignore_missing:
            log.info("media id %s was gone already", media_id)
            return False
    if isinstance(outcome, Dialog360Error):
        raise outcome
    calls.patiently(lambda: calls.ledger.is_deleted(media_id))
    log.info("deleted media id %s", media_id)
    return True
