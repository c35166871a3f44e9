"""The hook: one connection, four calls, and the health of the number.

It resolves the connection and paths, hands the work to `jobs`, and re-reads the connection once where the key was refused.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from copy import copy
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    CallError,
    ChannelFrozenError,
    Dialog360Error,
    KeyRefusedError,
    StoppedError,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ports import (
        Channel,
        DownloadedMedia,
        FetchedMedia,
        Health,
        MediaUrl,
        UploadedMedia,
        Verdict,
    )

    Place = str | os.PathLike[str] | ObjectStoragePath

T = TypeVar("T")


class Dialog360Hook(BaseHook):
    """WhatsApp media of one phone number at 360dialog.

    Files are named by local paths, ``file://`` URIs, object storage URIs (``s3://conn_id@bucket/key``) or ``ObjectStoragePath``.
    Results are records with attributes that are plain dictionaries too, so a ``@task`` can return them; no media URL is in
    the dictionary. Errors are those of `airflow_provider_360dialog.exceptions`.

    Args:
        dialog360_conn_id: an Airflow connection of type ``dialog360``: one phone number and its API key.
    """

    conn_name_attr = "dialog360_conn_id"
    default_conn_name = "dialog360_default"
    conn_type = "dialog360"
    hook_name = "360dialog"

    def __init__(self, dialog360_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dialog360_conn_id = dialog360_conn_id
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._refused: Dialog360Error | None = None
        self._asked_whether_moved = False
        self._calls: Calls | None = None

    def get_conn(self) -> Calls:
        """The channel's wire and ledger, made once from the connection.

        Raises:
            ConnectionInvalidError: names the field of the connection that is wrong.
            LedgerUnavailableError, LedgerRefusedError: without the ledger nothing is sent.
        """
        with self._lock:
            return self._connected()

    def upload(
        self,
        source: Place,
        *,
        mime_type: str | None = None,
        filename: str | None = None,
        kind: str | None = None,
        valid_until: datetime | str | None = None,
        reuse: bool = True,
    ) -> UploadedMedia:
        """Judge a file by its content, upload it, and return its media id.

        Args:
            source: the file.
            mime_type: the caller's word for its type; None lets the content decide. Disagreement is an error.
            filename: the name to send; None for the file's own. It is made safe and gets the right extension.
            kind: image, video, audio, document or sticker; None follows the type.
            valid_until: aware instant (or its ISO 8601 text) until which the id must work, at most 29 days ahead; None: a week.
            reuse: whether an earlier upload of the same bytes and type may answer, if its id is safe for long enough. False
                uploads in any case, and what answered before retires beside the new id.

        Returns:
            ``media_id`` (digits, as text), ``sha256`` (hex), ``mime_type``, ``size_bytes``, ``uploaded_at`` and ``safe_until``
            (aware UTC), ``reused`` (True where the ledger had an id and nothing was sent).

        Raises:
            MediaRejectedError: the file is unfit; every problem and its remedy is listed, nothing was sent.
            SourceUnreadableError: it cannot be read.
            Dialog360Error: see the tree in `airflow_provider_360dialog.exceptions`.
        """
        from airflow_provider_360dialog.hooks.places import source_at
        from airflow_provider_360dialog.jobs.upload import upload

        until = _instant(valid_until)
        return self._with_current_key(
            lambda calls: upload(
                source_at(source), calls=calls, mime_type=mime_type, filename=filename, kind=kind, valid_until=until, reuse=reuse
            )
        )

    def inspect(
        self, source: Place, *, mime_type: str | None = None, filename: str | None = None, kind: str | None = None
    ) -> Verdict:
        """Judge a file as `upload` would, without sending anything: ``ok``, ``kind``, ``mime_type``, ``problems`` and so on."""
        from airflow_provider_360dialog.hooks.places import source_at
        from airflow_provider_360dialog.media.judge import inspect

        return inspect(source_at(source), mime_type=mime_type, filename=filename, kind=kind)

    def fetch_media(self, media_id: str, *, ask_again: bool = False) -> FetchedMedia:
        """Ask for the download URL of a media id. A failure counts against the number's error budget at 360dialog.

        Args:
            media_id: digits, as text.
            ask_again: send the request even where the ledger knows that 360dialog has refused this id.

        Returns:
            ``media_id``, ``url`` (its query is shown by ``url.reveal()`` only), ``mime_type``, ``sha256`` (hex), ``size_bytes``,
            ``url_expires_at`` (aware UTC, about five minutes from now).

        Raises:
            MediaIdInvalidError: before anything is sent. MediaGoneError: 360dialog does not know the id; do not ask again.
            Dialog360Error: any other failure.
        """
        from dataclasses import replace

        from airflow_provider_360dialog.jobs.retrieve import fetch
        from airflow_provider_360dialog.ports import MediaUrl

        fetched = self._with_current_key(lambda calls: fetch(media_id, calls=calls, ask_again=ask_again))
        return replace(fetched, url=MediaUrl(fetched.url.reveal(), on_reveal=mask_secret))

    def download(
        self,
        destination: Place,
        *,
        media_id: str | None = None,
        url: MediaUrl | str | None = None,
        sha256: str | None = None,
        overwrite: bool = False,
        ask_again: bool = False,
    ) -> DownloadedMedia:
        """Bring a file to ``destination``: size and sha256 are checked, and only then it takes its final name.

        Args:
            destination: the final name of one file.
            media_id: whose file; its URL is fetched. Besides ``url``: asked for a new URL where that one has ended.
            url: a media URL from `fetch_media` or a webhook, tried first.
            sha256: hex or base64 to check against, besides what 360dialog announces.
            overwrite: whether a file that stands there may be replaced.
            ask_again: ask for a URL even where the ledger knows that 360dialog has refused this id.

        Returns:
            ``uri``, ``size_bytes``, ``sha256`` (hex), ``mime_type``.

        Raises:
            MediaUrlRefusedError, MediaIdInvalidError, DestinationError: before anything is sent.
            MediaGoneError, MediaUrlExpiredError: it cannot be had any more. DownloadCorruptError: it came damaged, twice.
            Dialog360Error: any other failure.
        """
        from airflow_provider_360dialog.hooks.places import destination_at
        from airflow_provider_360dialog.jobs.retrieve import download

        text = url if url is None or isinstance(url, str) else url.reveal()
        place = destination_at(destination, overwrite=overwrite)
        return self._with_current_key(
            lambda calls: download(place, calls=calls, media_id=media_id, url=text, sha256=sha256, ask_again=ask_again)
        )

    def delete(self, media_id: str, *, ignore_missing: bool = True) -> bool:
        """Delete a media id: True where it was there, False where it was gone already.

        Args:
            media_id: digits, as text. ignore_missing: False makes an id that is gone already an error.

        Raises:
            MediaIdInvalidError: before anything is sent. MediaGoneError: gone already, and ``ignore_missing`` is off.
            Dialog360Error: any other failure.
        """
        from airflow_provider_360dialog.jobs.delete import delete

        return self._with_current_key(lambda calls: delete(media_id, calls=calls, ignore_missing=ignore_missing))

    def mark_used(self, media_id: str, *, trust_last_use: bool = False) -> bool:
        """Record that a message with this id was sent: False where the id is not on record.

        Args:
            media_id: digits, as text.
            trust_last_use: prolong ``safe_until`` to 29 days from now. 360dialog's page promises "30 days after last use", Meta's
                only 30 days after upload, so by default a use is recorded and promises nothing.
        """
        from airflow_provider_360dialog.api.identity import check_media_id

        return self.get_conn().ledger.uploads.mark_used(check_media_id(media_id), trust_last_use=trust_last_use)

    def retrieval_opens_at(self) -> datetime | None:
        """When the number's retrieval opens (aware UTC), as far as the ledger knows; None where it is open. Sends nothing.

        Raises:
            LedgerMissingError: nothing was ever recorded.
        """
        from airflow_provider_360dialog.hooks.ledger import ledger_store
        from airflow_provider_360dialog.jobs.turns import retrieval_opens_at

        channel = self._read_channel()
        return retrieval_opens_at(channel, store=ledger_store().open_existing(), conn_id=self.dialog360_conn_id)

    def health(self) -> Health:
        """``GET /health_status``: the number's state in 360dialog's words. Costs no error budget and needs no ledger.

        Returns:
            ``status`` (AVAILABLE, LIMITED, BLOCKED), ``phone_number_id``, ``entities`` (type -> status), ``notes``.
        """
        from airflow_provider_360dialog.api.client import MediaApi

        api = MediaApi(self._read_channel())
        try:
            outcome = api.health()
        finally:
            api.close()
        if isinstance(outcome, Dialog360Error):
            raise outcome
        return outcome

    def test_connection(self) -> tuple[bool, str]:
        """For the test button: whether the key works, and in words what 360dialog says of the number."""
        try:
            health = self.health()
        except Dialog360Error as error:
            return False, str(error)
        return True, describe_health(health)

    @contextmanager
    def as_airflow_sees_it(self) -> Iterator[None]:
        """For a ``@task`` of your own: what is inside waits and fails as our operators do.

        A closed channel gives the worker's slot back until the exact instant, and the task runs again then; that burns no retry.
        What retrying cannot mend fails the task at once, whatever ``retries`` says. The rest is left to Airflow's retries.
        """
        from airflow_provider_360dialog.hooks.waiting import as_airflow_sees_it

        with as_airflow_sees_it():
            yield

    def stop(self) -> None:
        """End waiting and send nothing more; called when the task is told to end. What is in flight goes on to its answer."""
        self._stop.set()

    def _read_channel(self) -> Channel:
        from airflow_provider_360dialog.hooks.connection import read_connection

        conn = self.get_connection(self.dialog360_conn_id)
        if conn.password:
            mask_secret(conn.password)
        return read_connection(conn)

    def _connected(self, channel: Channel | None = None) -> Calls:
        """What `get_conn` gives; with ``channel``, made anew. Called with the lock held."""
        if self._calls is None or channel is not None:
            from airflow_provider_360dialog.api.client import MediaApi
            from airflow_provider_360dialog.hooks.ledger import ledger_store
            from airflow_provider_360dialog.jobs.calls import Calls
            from airflow_provider_360dialog.jobs.identify import identify
            from airflow_provider_360dialog.ledger.channel import ChannelLedger

            channel = channel or self._read_channel()
            api, store = MediaApi(channel), ledger_store().open()
            whose = partial(identify, channel, api=api, store=store, conn_id=self.dialog360_conn_id)
            task, try_number = _task()
            ledger = ChannelLedger(store, whose, task=task, try_number=try_number)
            self._channel, self._calls = channel, Calls(api, ledger, stop=self._stop)
        return self._calls

    def _with_current_key(self, call: Callable[[Calls], T]) -> T:
        """Call; where key or access was refused, read the connection once more, and go on if somebody has put a new key there.

        Where the key is still the same, the number may have moved away: then the channel is frozen.
        """
        if self._stop.is_set():
            raise StoppedError(operation="call 360dialog")
        with self._lock:
            calls, used = self._usable(), self._channel
        refused: Dialog360Error
        try:
            return call(calls)
        except (KeyRefusedError, AccessRefusedError) as error:
            refused = error
        with self._lock:
            if self._channel is used and self._refused is None:  # else another thread has been here already
                self._refused = refused
            calls = self._usable()
        return call(calls)

    def _usable(self) -> Calls:
        """What `get_conn` gives; where its key was refused, only with another key. Called with the lock held.

        Raises:
            Dialog360Error: the refusal of this very key, without sending it again.
        """
        if self._refused is None:
            return self._connected()
        channel = self._read_channel()
        if self._calls is not None and self._channel is not None and channel.api_key == self._channel.api_key:
            if not self._asked_whether_moved:
                self._asked_whether_moved = True
                self._refused = self._moved(self._calls) or self._refused
            raise copy(self._refused)
        if self._calls is not None:
            self._calls.api.close()
        self._refused, self._asked_whether_moved = None, False
        self.log.warning("the API key of connection %r was refused and has been replaced: going on", self.dialog360_conn_id)
        return self._connected(channel)

    def _moved(self, calls: Calls) -> ChannelFrozenError | None:
        """Whether the number has moved away; asked once for each key that was refused, and not where it never had a number."""
        from airflow_provider_360dialog.jobs.identify import freeze_if_moved

        if not calls.ledger.is_identified:
            return None
        identity = calls.ledger.identity
        reason = freeze_if_moved(identity, api=calls.api, store=calls.ledger.store)
        return None if reason is None else ChannelFrozenError(phone_number_id=identity.phone_number_id, reason=reason)


def describe_health(health: Health) -> str:
    """In words what 360dialog says of a number whose key works."""
    number = f" Phone number id {health.phone_number_id}." if health.phone_number_id else ""
    words = {
        "AVAILABLE": "The API key works and the number is available.",
        "LIMITED": "The API key works, but the number is LIMITED: some messages will not be sent.",
        "BLOCKED": "The API key works, but the number is BLOCKED: it cannot send messages now. Media calls may still work.",
    }.get(health.status, f"The API key works; 360dialog calls the number {health.status!r}.")
    return " ".join([words + number, *health.notes])


def _task() -> tuple[str | None, int]:
    """Airflow's name for the running task, the same in all its tries, and the try; None outside of a task."""
    from airflow.sdk import get_current_context

    try:
        ti = get_current_context()["ti"]
    except RuntimeError:
        return None, 0
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}", ti.try_number


def _instant(value: datetime | str | None) -> datetime | None:
    if value is None:
        return None
    import pendulum

    instant: object = value
    if isinstance(value, str):
        try:
            instant = pendulum.parse(value, exact=True, tz=None)
        except ValueError:
            instant = None
    if isinstance(instant, datetime) and instant.tzinfo is not None:
        return instant
    raise CallError(
        f"valid_until has to be an instant with a time zone, not {str(value)[:60]!r}: "
        "an aware datetime, or text such as 2026-12-01T09:00:00+01:00."
    )
