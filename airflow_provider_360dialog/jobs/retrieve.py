"""Fetch a media URL, and download a file through it: verified first, published after."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.api.answers import read_mime_type, read_sha256
from airflow_provider_360dialog.api.identity import check_media_id
from airflow_provider_360dialog.api.messages import Answer
from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    CallError,
    Dialog360Error,
    DownloadCorruptError,
    DownloadTooLargeError,
    MediaGoneError,
    MediaUrlExpiredError,
    destination_error,
)
from airflow_provider_360dialog.jobs.turns import get_by_webhook_url, get_with_credit
from airflow_provider_360dialog.media.content import Sample
from airflow_provider_360dialog.media.limits import LARGEST_MAX_BYTES
from airflow_provider_360dialog.media.signatures import read_content
from airflow_provider_360dialog.ports import DownloadedMedia

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, TypeAlias

    from airflow_provider_360dialog.api.identity import MediaTarget
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ports import Destination, FetchedMedia

    _Get: TypeAlias = Callable[[Callable[[], Answer | Dialog360Error], float], Answer | Dialog360Error | None]

log = logging.getLogger(__name__)

_HEAD_BYTES: Final = 4096
_URL_MARGIN: Final = timedelta(seconds=5)


@dataclass(frozen=True)
class _Announced:
    """What is known of the bytes before they come."""

    sha256s: frozenset[str] = frozenset()
    size_bytes: int | None = None
    mime_type: str | None = None


class _Meter:
    """Counts and hashes what passes on its way to a file; keeps the first 4 KiB."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha256 = file, hashlib.sha256()
        self.size_bytes, self.head = 0, b""

    def write(self, block: bytes) -> None:
        if len(self.head) < _HEAD_BYTES:
            self.head += block[: _HEAD_BYTES - len(self.head)]
        self.size_bytes += len(block)
        self._sha256.update(block)
        self._file.write(block)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def fetch(media_id: str, *, calls: Calls, ask_again: bool = False) -> FetchedMedia:
    """``GET /<media id>``: the URL and what 360dialog says of the file. A failure costs error budget.

    Args:
        media_id: digits. calls: the channel's wire and ledger.
        ask_again: send the request even where the ledger knows that 360dialog has refused this id.

    Raises:
        MediaIdInvalidError: before anything is sent.
        MediaGoneError: 360dialog does not know the id; on record, so that the next one who asks is answered without a request.
        Dialog360Error: any other failure.
    """
    check_media_id(media_id)
    calls.patiently(calls.ledger.check_usable)
    refused = calls.patiently(lambda: calls.ledger.refused.look_up(media_id))
    if refused is not None and not ask_again:
        raise refused

    def ask() -> FetchedMedia | Dialog360Error:
        outcome = calls.api.fetch(media_id)
        if isinstance(outcome, MediaGoneError):
            gone = outcome
            calls.patiently(lambda: calls.ledger.is_gone(gone))  # while the credit is held: whoever dies here has spent it
        return outcome

    fetched = calls.outcome("fetch", lambda: get_with_credit(calls, "fetch", ask, longest_s=calls.api.longest_s()))
    if isinstance(fetched, Dialog360Error):
        raise fetched
    if refused is not None:
        calls.patiently(lambda: calls.ledger.refused.forget(media_id))
    log.info("fetched the URL of media id %s: %s, %s bytes", media_id, fetched.mime_type, fetched.size_bytes)
    return fetched


def download(
    destination: Destination,
    *,
    calls: Calls,
    media_id: str | None = None,
    url: str | None = None,
    sha256: str | None = None,
    ask_again: bool = False,
) -> DownloadedMedia:
    """Bring a file to ``destination``, complete and verified or not at all.

    Args:
        destination: the final place. calls: the channel's wire.
        media_id: asked for a URL where none is given, and once more where a URL has ended or its bytes are wrong.
        url: a media URL, tried first. sha256: hex or base64, checked besides what 360dialog announces.
        ask_again: ask for a URL even where the ledger knows that 360dialog has refused this id.

    Raises:
        MediaUrlRefusedError, MediaIdInvalidError, DestinationError: before anything is sent.
        MediaUrlExpiredError: the URL has ended and there is no id, or its successor has ended too.
        DownloadCorruptError: size or sha256 differ, also on the second try.
        Dialog360Error: any other failure.
    """
    if media_id is None and url is None:
        raise CallError("A download needs a media_id, a url, or both; neither was given.")
    if media_id is not None:
        check_media_id(media_id)
    wanted = read_sha256(sha256)
    if sha256 is not None and wanted is None:
        raise CallError("The sha256 to check against is neither 64 hex digits nor the base64 of 32 bytes.")
    target = calls.api.read_url(url) if url is not None else None
    destination.check()

    def get(attempt: Callable[[], Answer | Dialog360Error], longest_s: float) -> Answer | Dialog360Error:
        return get_with_credit(calls, "download", attempt, longest_s=longest_s)

    announced = _Announced(sha256s=frozenset({wanted} if wanted else ()))
    fresh_urls = 1
    if target is None or (target.expires_at is not None and target.expires_at <= calls.now() + _URL_MARGIN):
        if media_id is None:
            raise MediaUrlExpiredError
        target, announced = _fresh(media_id, wanted, calls, ask_again=ask_again)
    while True:
        outcome = _try(destination, target, announced, calls, get)
        assert outcome is not None  # noqa: S101 - only a webhook's URL can be refused a credit for good
        if isinstance(outcome, DownloadedMedia):
            log.info("downloaded %s: %s, %d bytes", destination.uri, outcome.mime_type, outcome.size_bytes)
            return outcome
        again = isinstance(outcome, MediaUrlExpiredError | AccessRefusedError | DownloadCorruptError)
        if media_id is None or not again or not fresh_urls:
            raise outcome
        log.warning("download of media id %s failed, trying once with a new URL: %s", media_id, outcome)
        fresh_urls -= 1
        target, announced = _fresh(media_id, wanted, calls, ask_again=ask_again)


def download_by_webhook_url(
    destination: Destination, url: str, *, calls: Calls, sha256: str | None
) -> DownloadedMedia | Dialog360Error | None:
    """Bring a file to ``destination`` through the URL that its webhook brought; the failure as data, for then the id is asked.

    Args:
        destination, calls: as for `download`. url: as the webhook has it. sha256: lowercase hex to check against, or None.

    Returns:
        None, without sending, where such URLs have failed as often as they may.

    Raises:
        MediaUrlRefusedError: before anything is sent.
    """
    announced = _Announced(sha256s=frozenset({sha256} if sha256 else ()))

    def get(attempt: Callable[[], Answer | Dialog360Error], longest_s: float) -> Answer | Dialog360Error | None:
        return get_by_webhook_url(calls, attempt, longest_s=longest_s)

    return _try(destination, calls.api.read_url(url), announced, calls, get)


def _fresh(media_id: str, wanted: str | None, calls: Calls, *, ask_again: bool) -> tuple[MediaTarget, _Announced]:
    fetched = fetch(media_id, calls=calls, ask_again=ask_again)
    expected = frozenset(each for each in (wanted, fetched.sha256) if each is not None)
    return calls.api.read_url(fetched.url.reveal()), _Announced(expected, fetched.size_bytes, fetched.mime_type)


def _try(
    destination: Destination, target: MediaTarget, announced: _Announced, calls: Calls, get: _Get
) -> DownloadedMedia | Dialog360Error | None:
    if announced.size_bytes is not None and announced.size_bytes > LARGEST_MAX_BYTES:
        return DownloadTooLargeError(size_bytes=announced.size_bytes, max_bytes=LARGEST_MAX_BYTES)

    def attempt() -> DownloadedMedia | Dialog360Error | None:
        try:
            return _once(destination, target, announced, calls, get)
        except OSError as fault:
            return destination_error(destination.uri, fault)

    return calls.outcome("download", attempt)


def _once(
    destination: Destination, target: MediaTarget, announced: _Announced, calls: Calls, get: _Get
) -> DownloadedMedia | Dialog360Error | None:
    max_bytes = LARGEST_MAX_BYTES if announced.size_bytes is None else announced.size_bytes
    with destination.stage() as staged:
        meter = _Meter(staged.file)

        def bring() -> Answer | Dialog360Error:
            answer = calls.api.download(target, meter, max_bytes=max_bytes)
            if isinstance(answer, Dialog360Error):
                return answer
            reason = _flaw(meter, announced, read_mime_type(answer.headers.get("content-type")), max_bytes)
            return answer if reason is None else DownloadCorruptError(uri=destination.uri, reason=reason)

        answer = get(bring, calls.api.longest_s(max_bytes))
        if not isinstance(answer, Answer):
            return answer
        staged.publish()
    mime_type = announced.mime_type or read_content(Sample(meter.head, meter.size_bytes)).mime_type
    return DownloadedMedia(destination.uri, meter.size_bytes, meter.sha256, mime_type)


def _flaw(meter: _Meter, announced: _Announced, content_type: str | None, max_bytes: int) -> str | None:
    """What keeps the received bytes from being the announced file; None where nothing does."""
    if meter.size_bytes > max_bytes:
        return f"it is longer than the {max_bytes} bytes that were expected"
    if announced.size_bytes is not None and meter.size_bytes != announced.size_bytes:
        return f"it has {meter.size_bytes} bytes instead of {announced.size_bytes}"
    if announced.sha256s:
        return None if announced.sha256s == {meter.sha256} else "its sha256 is not the one that was announced or asked for"
    # Nothing to compare with: at least refuse what is plainly an error page.
    if not meter.size_bytes:
        return "it is empty"
    markup = meter.head.lstrip()[:1] == b"<"
    if content_type in {"text/html", "application/json"} or markup:
        return "it is an error page, not a file"
    return None
