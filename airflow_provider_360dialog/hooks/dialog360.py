"""The hook: one connection, four calls, and the health of the number.

It resolves paths and hands the work to `jobs`; `session` keeps what the connection says.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_360dialog.exceptions import Dialog360Error, LedgerMissingError
from airflow_provider_360dialog.hooks.arguments import instant
from airflow_provider_360dialog.hooks.lineage import media_uri, note
from airflow_provider_360dialog.hooks.session import Session

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator
    from contextlib import AbstractContextManager

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.hooks.inbound import OnLost, Webhooks
    from airflow_provider_360dialog.hooks.preparing import Preparer
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ledger.inbound import Standing
    from airflow_provider_360dialog.ledger.store import Store
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
        self._session = Session(dialog360_conn_id, self._read_channel)
        self._masked: str | None = None

    def get_conn(self) -> Calls:
        """The channel's wire and ledger, as the connection says now.

        Raises:
            ConnectionInvalidError: names the field of the connection that is wrong.
            LedgerUnavailableError, LedgerRefusedError: without the ledger nothing is sent.
        """
        return self._session.calls()

    def upload(
        self,
        source: Place,
        *,
        mime_type: str | None = None,
        filename: str | None = None,
        kind: str | None = None,
        valid_until: datetime | str | None = None,
        reuse: bool = True,
        sha256: str | None = None,
        prepare: bool = False,
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
            sha256: hex; a file whose bytes to be sent are others is not sent.
            prepare: mend a picture first where that is of use; needs Pillow (``[media]``). The file itself is not touched.

        Returns:
            ``media_id`` (digits, as text), ``sha256`` (hex), ``mime_type``, ``size_bytes``, ``uploaded_at`` and ``safe_until``
            (aware UTC), ``reused`` (True where the ledger had an id and nothing was sent), ``receipt`` (what was changed, or
            None).

        Raises:
            MediaRejectedError: the file is unfit; every problem and its remedy is listed, nothing was sent.
            SourceUnreadableError: it cannot be read. SourceChangedError: it is not, or not any more, what it should be.
            Dialog360Error: see the tree in `airflow_provider_360dialog.exceptions`.
        """
        until = None if valid_until is None else instant("valid_until", valid_until)
        with _preparer(wanted=prepare) as preparer:
            said = {"mime_type": mime_type, "filename": filename, "kind": kind}
            prepared = None if preparer is None else preparer.prepare
            uploaded = self._upload(source, valid_until=until, reuse=reuse, sha256=sha256, prepare=prepared, **said)
        note(self, read=[source], wrote=[self._media_uri()])
        return uploaded

    def _upload(self, source: Place, **wanted: Any) -> UploadedMedia:
        """`upload`, without telling the lineage: a campaign's files are not told one by one."""
        from airflow_provider_360dialog.hooks.places import source_at
        from airflow_provider_360dialog.jobs.upload import upload

        uploaded = self._session.run(lambda calls: upload(source_at(source), calls=calls, **wanted))
        self._session.meter.uploaded(uploaded)
        return uploaded

    def _media_uri(self) -> str | None:
        """The number's media, for the lineage."""
        number = self._session.phone_number_id
        return None if number is None else media_uri(number)

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

        fetched = self._session.run(lambda calls: fetch(media_id, calls=calls, ask_again=ask_again))
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
        downloaded = self._session.run(
            lambda calls: download(place, calls=calls, media_id=media_id, url=text, sha256=sha256, ask_again=ask_again)
        )
        note(self, read=[self._media_uri()], wrote=[destination])
        return downloaded

    def delete(self, media_id: str, *, ignore_missing: bool = True, force: bool = False) -> bool:
        """Delete a media id: True where it was there, False where it was gone already.

        Args:
            media_id: digits, as text. ignore_missing: False makes an id that is gone already an error.
            force: delete it although a campaign needs it whose ``needed_until`` lies ahead.

        Raises:
            MediaIdInvalidError, MediaReferencedError: before anything is sent.
            MediaGoneError: gone already, and ``ignore_missing`` is off.
            Dialog360Error: any other failure.
        """
        from airflow_provider_360dialog.jobs.delete import delete

        return self._session.run(lambda calls: delete(media_id, calls=calls, ignore_missing=ignore_missing, force=force))

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
        """When the number's retrieval opens (aware UTC), as far as the ledger knows; None where it is open. Sends nothing."""
        from airflow_provider_360dialog.jobs.turns import retrieval_opens_at

        channel, store = self._read_channel(), self._existing_ledger()
        return None if store is None else retrieval_opens_at(channel, store=store, conn_id=self.dialog360_conn_id)

    def archive_inbound(
        self,
        source: Webhooks,
        destination: Place,
        *,
        on_lost: OnLost = "report",
        delete_after_archive: bool = False,
        write_metadata: bool = False,
        webhook_url_life: timedelta = timedelta(minutes=5),
        also_accept: Collection[str] = (),
    ) -> dict[str, Any]:
        """Archive what customers sent, before it vanishes; see `hooks.inbound.archive_inbound` for arguments and result."""
        from airflow_provider_360dialog.hooks.inbound import archive_inbound

        return archive_inbound(
            self,
            source,
            destination,
            on_lost=on_lost,
            delete_after_archive=delete_after_archive,
            write_metadata=write_metadata,
            webhook_url_life=webhook_url_life,
            also_accept=also_accept,
        )

    def inbound_standing(self) -> Standing | None:
        """What is still to be archived, as far as the ledger knows; None where it knows nothing. Sends nothing."""
        from airflow_provider_360dialog.jobs.identify import known_identity
        from airflow_provider_360dialog.ledger.inbound import Inbound

        channel, store = self._read_channel(), self._existing_ledger()
        identity = None if store is None else known_identity(channel, store=store, conn_id=self.dialog360_conn_id)
        return None if store is None or identity is None else Inbound(store, identity.channel_id).standing()

    def _existing_ledger(self) -> Store | None:
        """The ledger, for looking; None where nothing was ever put on record."""
        from airflow_provider_360dialog.hooks.ledger import ledger_store

        try:
            return ledger_store().open_existing()
        except LedgerMissingError:
            return None

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
        self._session.stop.set()

    def _read_channel(self) -> Channel:
        from airflow_provider_360dialog.hooks.connection import read_connection

        conn = self.get_connection(self.dialog360_conn_id)
        if conn.password and conn.password != self._masked:
            mask_secret(conn.password)
            self._masked = conn.password
        return read_connection(conn)


def _preparer(*, wanted: bool) -> AbstractContextManager[Preparer | None]:
    if not wanted:
        return nullcontext()
    from airflow_provider_360dialog.hooks.preparing import Preparer

    return Preparer()


def describe_health(health: Health) -> str:
    """In words what 360dialog says of a number whose key works."""
    number = f" Phone number id {health.phone_number_id}." if health.phone_number_id else ""
    words = {
        "AVAILABLE": "The API key works and the number is available.",
        "LIMITED": "The API key works, but the number is LIMITED: some messages will not be sent.",
        "BLOCKED": "The API key works, but the number is BLOCKED: it cannot send messages now. Media calls may still work.",
    }.get(health.status, f"The API key works; 360dialog calls the number {health.status!r}.")
    return " ".join([words + number, *health.notes])
