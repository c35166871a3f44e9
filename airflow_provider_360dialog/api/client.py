"""The five calls of one channel, one attempt each: arguments in, a record or an error as data out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from airflow_provider_360dialog.api import answers, messages
from airflow_provider_360dialog.api.identity import MediaTarget, read_media_url
from airflow_provider_360dialog.api.multipart import MultipartFile
from airflow_provider_360dialog.api.refusals import read_refusal
from airflow_provider_360dialog.api.sender import Sender, Sink
from airflow_provider_360dialog.exceptions import Dialog360Error, SourceChangedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_360dialog.ports import Channel, FetchedMedia, Health, Policy, Source

Now: TypeAlias = "Callable[[], datetime]"


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


class MediaApi:
    """Speaks for one channel. What the wire did comes back as a value, to be recorded before it is raised.

    Args:
        channel: host, key and bounds. now: aware UTC clock.
    """

    def __init__(self, channel: Channel, *, now: Now = utc_now) -> None:
        self._channel, self._now = channel, now
        self._sender = Sender(channel)

    @property
    def policy(self) -> Policy:
        """What the number may be asked to do, as its connection says."""
        return self._channel.policy

    def longest_s(self, moved_bytes: int = 0) -> float:
        """How long one call takes at most, float seconds, where ``moved_bytes`` of a file are moved."""
        return self._sender.longest_s(moved_bytes)

    def close(self) -> None:
        """Close pooled connections."""
        self._sender.close()

    def upload(
        self,
        source: Source,
        *,
        size_bytes: int,
        sha256: str,
        mime_type: str,
        filename: str,
        depart: Callable[[], Dialog360Error | None] | None = None,
    ) -> str | Dialog360Error:
        """``POST /media``: the media id.

        Args:
            source: the file. size_bytes, sha256: as judged; other bytes on the wire give `SourceChangedError`.
            mime_type, filename: safe and in agreement with the content.
            depart: called when the connection stands and the file is open; returns when the request may leave, or with why it
                must not, which is then the outcome.

        Raises:
            SourceUnreadableError, SourceChangedError: the file failed while it was read.
        """
        with MultipartFile(source, size_bytes=size_bytes, mime_type=mime_type, filename=filename) as body:

            def ready() -> Dialog360Error | None:
                body.look_ahead()
                return None if depart is None else depart()

            answer = self._sender.exchange(messages.build_upload(), body=body, depart=ready)
            sent_sha256 = body.sent_sha256
        outcome = answer if isinstance(answer, Dialog360Error) else answers.read_upload(answer, now=self._now())
        if isinstance(outcome, str) and sent_sha256 != sha256:
            return SourceChangedError(uri=source.uri, media_id=outcome)
        return outcome

    def fetch(self, media_id: str) -> FetchedMedia | Dialog360Error:
        """``GET /<media id>``. A failure costs error budget.

        Raises:
            MediaIdInvalidError: before anything is sent.
        """
        answer = self._sender.exchange(messages.build_fetch(media_id))
        if isinstance(answer, Dialog360Error):
            return answer
        return answers.read_fetch(
            answer,
            media_id=media_id,
            now=self._now(),
            base_url=self._channel.base_url,
            extra_hosts=self._channel.download_hosts,
            block_s=self._channel.policy.block_s,
        )

    def read_url(self, url: str) -> MediaTarget:
        """Judge a media URL without sending anything.

        Raises:
            MediaUrlRefusedError: it is not one that may be asked.
        """
        return read_media_url(url, base_url=self._channel.base_url, extra_hosts=self._channel.download_hosts)

    def download(self, target: MediaTarget, sink: Sink, *, max_bytes: int) -> messages.Answer | Dialog360Error:
        """``GET /whatsapp_business/attachments/``: the file goes to ``sink``, one byte more than ``max_bytes`` at most."""
        answer = self._sender.exchange(messages.build_download(target), sink=sink, max_bytes=max_bytes)
        if isinstance(answer, Dialog360Error) or 200 <= answer.status < 300:
            return answer
        return read_refusal("download", answer, now=self._now(), block_s=self._channel.policy.block_s)

    def delete(self, media_id: str) -> bool | Dialog360Error:
        """``DELETE /<media id>``.

        Raises:
            MediaIdInvalidError: before anything is sent.
        """
        answer = self._sender.exchange(messages.build_delete(media_id))
        if isinstance(answer, Dialog360Error):
            return answer
        return answers.read_delete(answer, media_id=media_id, now=self._now())

    def health(self) -> Health | Dialog360Error:
        """``GET /health_status``. Costs no error budget."""
        answer = self._sender.exchange(messages.build_health())
        return answer if isinstance(answer, Dialog360Error) else answers.read_health(answer, now=self._now())
