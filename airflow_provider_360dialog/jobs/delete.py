"""Delete media. Already gone is done."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_360dialog.api.identity import check_media_id
from airflow_provider_360dialog.exceptions import Dialog360Error, MediaGoneError, MediaReferencedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_360dialog.jobs.calls import Calls

log = logging.getLogger(__name__)


def delete(media_id: str, *, calls: Calls, ignore_missing: bool = True, force: bool = False) -> bool:
    """``DELETE /<media id>``.

    Args:
        media_id: digits. calls: the channel's wire.
        ignore_missing: an id that 360dialog does not know (any more) counts as done.
        force: delete it although a live campaign needs it.

    Returns:
        True where it was there and is gone now; False where it was gone already.

    Raises:
        MediaIdInvalidError, MediaReferencedError: before anything is sent.
        MediaGoneError: it was gone already, and ``ignore_missing`` is off.
        Dialog360Error: any other failure.
    """
    check_media_id(media_id)
    calls.patiently(calls.ledger.check_usable)
    # Before the call: from now on it answers for no file.
    _refuse_if(calls.patiently(lambda: calls.ledger.cleanup.begin_delete(media_id, force=force)), media_id)
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


def check_unneeded(media_ids: Iterable[str], *, calls: Calls) -> None:
    """Raise where a live campaign needs one of them; so that of many either all are deleted or none.

    Raises:
        MediaReferencedError: for the first that is needed.
    """
    for media_id in media_ids:
        _refuse_if(calls.patiently(partial(calls.ledger.cleanup.needed_by, media_id)), media_id)


def _refuse_if(needed_by: list[str], media_id: str) -> None:
    if needed_by:
        raise MediaReferencedError(media_id=media_id, campaigns=len(needed_by), campaign=needed_by[0])
