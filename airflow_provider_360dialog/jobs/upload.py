"""Upload one file, once: judge it, ask the ledger, send it where nobody has, remember its id."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from airflow_provider_360dialog.exceptions import (
    AnswerUnreadableError,
    Dialog360Error,
    InterruptedExchangeError,
    LedgerUnavailableError,
    MediaRejectedError,
    ServerError,
    SourceChangedError,
    StoppedError,
    ValidityOutOfReachError,
)
from airflow_provider_360dialog.jobs.turns import upload_in_turn
from airflow_provider_360dialog.ledger.decisions import MEDIA_LIFE_S, SAFETY_MARGIN_S
from airflow_provider_360dialog.ledger.uploads import Busy, Claim, Fingerprint
from airflow_provider_360dialog.media.decoding.spool import SpooledSource
from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.media.preparation.recipes import RECIPES
from airflow_provider_360dialog.ports import UploadedMedia

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ledger.uploads import Uploads
    from airflow_provider_360dialog.media.preparation.prepare import Prepared
    from airflow_provider_360dialog.ports import Source, Verdict

T = TypeVar("T")

log = logging.getLogger(__name__)

_ASK_EVERY_S: Final = 0.5
# After these the file may stand at 360dialog under an id that we were not told.
_UNKNOWN: Final = (InterruptedExchangeError, ServerError, AnswerUnreadableError)


def upload(
    source: Source,
    *,
    calls: Calls,
    mime_type: str | None = None,
    filename: str | None = None,
    kind: str | None = None,
    valid_until: datetime | None = None,
    reuse: bool = True,
    sha256: str | None = None,
    prepare: Callable[..., Prepared] | None = None,
) -> UploadedMedia:
    """The media id of ``source``: one that is on record and safe for long enough, or a new one.

    Args:
        source: the file. calls: the channel's wire and ledger.
        mime_type, filename, kind: the caller's word for them; the content decides, and disagreement is an error.
        valid_until: aware instant until which the id must work, at most 29 days from now; None for a week from now.
        reuse: False uploads in any case; what stood for the file before retires beside the new id.
        sha256: hex of the bytes that are meant to be sent; None for whatever is there.
        prepare: mends a picture first: takes the source, and the caller's word for it by name. None sends files as they are.

    Raises:
        SourceChangedError: other bytes are there, or came on the way.
        MediaRejectedError: the file is unfit; nothing was sent.
        ValidityOutOfReachError: no upload can be promised for that long.
        Dialog360Error: what 360dialog answered, or what kept it or the ledger from answering.
    """
    wanted_until = _check_validity(valid_until, calls)
    said = {"mime_type": mime_type, "filename": filename, "kind": kind}
    judged = _recall(source, calls, said, prepare) or _judge(source, calls, said, prepare)
    file = _fit_file(source, judged.verdict, sha256)
    for warning in judged.verdict.problems:
        log.warning("judged with a warning: [%s] %s %s", warning.code, warning.message, warning.remedy)

    if reuse:
        known = calls.patiently(lambda: calls.ledger.uploads.adopt(file, wanted_until=wanted_until))
        if known is not None:
            return _told(known, judged)
    if judged.source is None:  # what was prepared once is needed again
        judged = _judge(source, calls, said, prepare)
        file = _fit_file(source, judged.verdict, sha256)
    while True:
        step = _claim(file, calls, wanted_until=wanted_until, reuse=reuse)
        if isinstance(step, UploadedMedia):
            return _told(step, judged)
        try:
            uploaded = _send(judged.source or source, judged.verdict, file, step, calls)
        except SourceChangedError:
            calls.ledger.sources.forget(source.uri, **_question(said, prepare))  # its stamp has lied: next time it is read
            raise
        if uploaded is not None:
            return _told(uploaded, judged)
        log.warning("another worker took this file over meanwhile; its answer counts")


@dataclass(frozen=True)
class _Judged:
    """A verdict, and what is to be sent; None where that was prepared at another time."""

    verdict: Verdict
    source: Source | None


def _check_validity(valid_until: datetime | None, calls: Calls) -> float | None:
    if valid_until is None:
        return None
    latest = calls.patiently(calls.ledger.store.read_now) + timedelta(seconds=MEDIA_LIFE_S - SAFETY_MARGIN_S)
    if valid_until > latest:
        raise ValidityOutOfReachError(valid_until=valid_until, latest=latest)
    return valid_until.timestamp()


def _question(said: dict[str, str | None], prepare: object) -> dict[str, str | None]:
    return said if prepare is None else {**said, "prepared": RECIPES}


def _recall(source: Source, calls: Calls, said: dict[str, str | None], prepare: object) -> _Judged | None:
    """The verdict on a file that has not changed since it was found good: it is not read again."""
    stamp = source.stamp()
    if stamp is None:
        return None
    question = _question(said, prepare)
    known = calls.patiently(lambda: calls.ledger.sources.recall(source.uri, stamp, **question))
    return None if known is None else _Judged(known, source if known.receipt is None else None)


def _judge(source: Source, calls: Calls, said: dict[str, str | None], prepare: Callable[..., Prepared] | None) -> _Judged:
    stamp = source.stamp()
    if prepare is None:
        judged = _Judged(inspect(source, **said), source)
    else:
        prepared = prepare(source, **said)
        sent = source if prepared.path is None else SpooledSource(prepared.path, name=source.name)
        judged = _Judged(prepared.verdict, sent)
    if stamp is not None and judged.verdict.ok and source.stamp() == stamp:
        question = _question(said, prepare)
        calls.patiently(lambda: calls.ledger.sources.remember(source.uri, stamp, judged.verdict, **question))
    return judged


def _fit_file(source: Source, verdict: Verdict, sha256: str | None) -> Fingerprint:
    if not verdict.ok or verdict.mime_type is None:
        raise MediaRejectedError(name=source.name, problems=verdict.errors)
    if sha256 is not None and verdict.sha256 != sha256.lower():
        raise SourceChangedError(uri=source.uri)
    return Fingerprint(verdict.sha256, verdict.mime_type, verdict.size_bytes)


def _claim(file: Fingerprint, calls: Calls, *, wanted_until: float | None, reuse: bool) -> UploadedMedia | Claim:
    """The right to upload, or the id of whoever had it: those who come second wait instead of uploading too."""
    claimant = calls.ledger.claimant()
    waited = False
    while True:
        step = calls.patiently(lambda: calls.ledger.uploads.claim(file, claimant, wanted_until=wanted_until, reuse=reuse))
        if not isinstance(step, Busy):
            return step
        if not waited:
            log.info("another worker is uploading this file: waiting for its id, at most %.0f s", step.for_s)
            waited = True
        if calls.stop.wait(min(step.for_s, _ASK_EVERY_S) * random.uniform(0.5, 1.5) + 0.01):  # noqa: S311 - spreads, hides nothing
            raise StoppedError(operation="upload")


def _send(source: Source, verdict: Verdict, file: Fingerprint, claim: Claim, calls: Calls) -> UploadedMedia | None:
    """POST under a claim, and store what comes back; None where the claim was lost to another worker."""
    uploads = calls.ledger.uploads
    tried = unknown = False
    started = time.monotonic()

    def attempt() -> str | Dialog360Error:
        nonlocal tried, unknown
        # On record before it leaves, where the last one may have been accepted; and nothing leaves once the claim is lost.
        if tried and not calls.patiently(lambda: uploads.send_again(claim) if unknown else uploads.renew(claim)):
            raise _LeaseLost
        tried = True

        def post(depart: Callable[[], Dialog360Error | None]) -> str | Dialog360Error:
            def leave() -> Dialog360Error | None:
                nonlocal unknown
                error = depart()
                unknown = error is None
                return error

            return calls.api.upload(
                source,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                mime_type=file.mime_type,
                filename=verdict.filename,
                depart=leave,
            )

        outcome = upload_in_turn(calls, post, longest_s=calls.api.longest_s(file.size_bytes))
        unknown = isinstance(outcome, _UNKNOWN)
        return outcome

    settled = False
    try:
        with calls.ledger.keeper.keeping(claim, uploads):
            outcome = calls.outcome("upload", attempt)
            if isinstance(outcome, str):
                log.info(
                    "uploaded media id %s: %s, %d bytes, %.2f s",
                    outcome,
                    file.mime_type,
                    file.size_bytes,
                    time.monotonic() - started,
                )
                media_id = outcome
                settled = True
                return _store(lambda: uploads.complete(claim, file, media_id), media_id, calls)
        if isinstance(outcome, SourceChangedError) and outcome.media_id is not None:
            settled, wrong_id = True, outcome.media_id
            _store(lambda: uploads.discard(claim, wrong_id), wrong_id, calls)
        raise outcome
    except _LeaseLost:
        settled = True  # whoever took it over has counted what may have been accepted
        return None
    finally:
        if not settled:
            _release(uploads, claim, unknown=unknown)


class _LeaseLost(Exception):  # noqa: N818 - not an error that anybody sees
    """Another worker has taken the claim over; nothing more may be sent under it."""


def _release(uploads: Uploads, claim: Claim, *, unknown: bool) -> None:
    try:
        uploads.release(claim, unknown=unknown)
    except LedgerUnavailableError as error:  # what went wrong before is what the caller has to know
        log.warning("a claim could not be given back and will lapse by itself: %s", error)


def _store(store: Callable[[], T], media_id: str, calls: Calls) -> T:
    """Store an id: without it the upload would be lost, and made again."""
    try:
        return calls.patiently(store)
    except LedgerUnavailableError:
        log.exception("media id %s was uploaded and could not be stored; it will be uploaded again", media_id)
        raise


def _told(media: UploadedMedia, judged: _Judged) -> UploadedMedia:
    if media.reused:
        log.info("media id %s stands for this file already: nothing is sent", media.media_id)
    return replace(media, receipt=judged.verdict.receipt)
