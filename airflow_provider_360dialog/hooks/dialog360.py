"""The hook: one connection, four calls, and the health of the number.

It resolves the connection and paths, hands the work to `jobs`, and re-reads the connection once where the key was refused.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_360dialog.exceptions import CallError, Dialog360Error, KeyRefusedError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from datetime import datetime

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
        self._channel: Channel | None = None
        self._calls: Calls | None = None

    def get_conn(self) -> Calls:
        """The channel's wire, made once from the connection.

        Raises:
            ConnectionInvalidError: names the field of the connection that is wrong.
        """
        if self._calls is None:
            from airflow_provider_360dialog.api.client import MediaApi
            from airflow_provider_360dialog.jobs.calls import Calls

            self._channel = self._read_channel()
            self._calls = Calls(MediaApi(self._channel), stop=self._stop)
        return self._calls

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
            valid_until: aware instant (or its ISO 8601 text) until which the id must work; at most 29 days from now.
            reuse: whether an earlier upload of the same file may answer. There is none to answer yet: see ``reused``.

        Returns:
            ``media_id`` (digits, as text), ``sha256`` (hex), ``mime_type``, ``size_bytes``, ``uploaded_at`` and ``safe_until``
            (aware UTC), ``reused`` (False: this version uploads each time).

        Raises:
            MediaRejectedError: the file is unfit; every problem and its remedy is listed, nothing was sent.
            SourceUnreadableError: it cannot be read.
            Dialog360Error: see the tree in `airflow_provider_360dialog.exceptions`.
        """
        del reuse  # the ledger, which could answer, comes with a later version
        from airflow_provider_360dialog.hooks.places import source_at
        from airflow_provider_360dialog.jobs.upload import upload

        until = _instant(valid_until)
        return self._with_current_key(
            lambda calls: upload(
                source_at(source), calls=calls, mime_type=mime_type, filename=filename, kind=kind, valid_until=until
            )
        )

    def inspect(
        self, source: Place, *, mime_type: str | None = None, filename: str | None = None, kind: str | None = None
    ) -> Verdict:
        """Judge a file as `upload` would, without sending anything: ``ok``, ``kind``, ``mime_type``, ``problems`` and so on."""
        from airflow_provider_360dialog.hooks.places import source_at
        from airflow_provider_360dialog.media.judge import inspect

        return inspect(source_at(source), mime_type=mime_type, filename=filename, kind=kind)

    def fetch_media(self, media_id: str) -> FetchedMedia:
        """Ask for the download URL of a media id. A failure counts against the number's error budget at 360dialog.

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

        fetched = self._with_current_key(lambda calls: fetch(media_id, calls=calls))
        return replace(fetched, url=MediaUrl(fetched.url.reveal(), on_reveal=mask_secret))

    def download(
        self,
        destination: Place,
        *,
        media_id: str | None = None,
        url: MediaUrl | str | None = None,
        sha256: str | None = None,
        overwrite: bool = False,
    ) -> DownloadedMedia:
        """Bring a file to ``destination``: size and sha256 are checked, and only then it takes its final name.

        Args:
            destination: the final name of one file.
            media_id: whose file; its URL is fetched. Besides ``url``: asked for a new URL where that one has ended.
            url: a media URL from `fetch_media` or a webhook, tried first.
            sha256: hex or base64 to check against, besides what 360dialog announces.
            overwrite: whether a file that stands there may be replaced.

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
        return self._with_current_key(lambda calls: download(place, calls=calls, media_id=media_id, url=text, sha256=sha256))

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

    def health(self) -> Health:
        """``GET /health_status``: the number's state in 360dialog's words. Costs no error budget.

        Returns:
            ``status`` (AVAILABLE, LIMITED, BLOCKED), ``phone_number_id``, ``entities`` (type -> status), ``notes``.
        """
        return self._with_current_key(lambda calls: calls.result("health", calls.api.health))

    def test_connection(self) -> tuple[bool, str]:
        """For the test button: whether the key works, and in words what 360dialog says of the number."""
        try:
            health = self.health()
        except Dialog360Error as error:
            return False, str(error)
        number = f" Phone number id {health.phone_number_id}." if health.phone_number_id else ""
        words = {
            "AVAILABLE": "The API key works and the number is available.",
            "LIMITED": "The API key works, but the number is LIMITED: some messages will not be sent.",
            "BLOCKED": "The API key works, but the number is BLOCKED: it cannot send messages now. Media calls may still work.",
        }.get(health.status, f"The API key works; 360dialog calls the number {health.status!r}.")
        return True, " ".join([words + number, *health.notes])

    def stop(self) -> None:
        """End waiting and send nothing more; called when the task is told to end. What is in flight goes on to its answer."""
        self._stop.set()

    def _read_channel(self) -> Channel:
        from airflow_provider_360dialog.hooks.connection import read_connection

        conn = self.get_connection(self.dialog360_conn_id)
        if conn.password:
            mask_secret(conn.password)
        return read_connection(conn)

    def _with_current_key(self, call: Callable[[Calls], T]) -> T:
        """Call; where the key was refused, read the connection once more, and call again if somebody has put a new key there."""
        calls = self.get_conn()
        refused: KeyRefusedError
        try:
            return call(calls)
        except KeyRefusedError as error:
            refused = error
        before, self._calls = self._channel, None
        calls = self.get_conn()
        if self._channel is None or before is None or self._channel.api_key == before.api_key:
            raise refused
        self.log.warning(
            "the API key of connection %r was refused and has been replaced meanwhile: going on", self.dialog360_conn_id
        )
        return call(calls)


def _instant(value: datetime | str | None) -> datetime | None:
    if value is None:
        return None
    import pendulum

    if isinstance(value, str):
        try:
            parsed = pendulum.parse(value, exact=True)
        except ValueError:
            parsed = None
        if not isinstance(parsed, pendulum.DateTime):
            raise CallError(f"valid_until is not an ISO 8601 instant such as 2026-12-01T09:00:00+01:00: {value[:60]!r}")
        return parsed
    if value.tzinfo is None:
        raise CallError(
            "valid_until has no time zone; pass an aware datetime, such as pendulum.datetime(2026, 12, 1, tz='Europe/Berlin')."
        )
    return value
