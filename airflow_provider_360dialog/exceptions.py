"""Every error of the provider, in one tree.

The branches say what the caller can do; the leaves say what happened::

    Dialog360Error
    |-- CallError                   mend the file or the call; retrying cannot help
    |   |-- MediaRejectedError      our judgement of the file: every problem and its remedy
    |   |-- UploadRefusedError      360dialog's judgement: 400, 413 or their like to an upload
    |   |-- RequestRefusedError     360dialog refused another request as malformed
    |   |-- MediaIdInvalidError     not a media id; no request was built
    |   |-- MediaUrlRefusedError    not a media URL that may be asked; no socket was opened
    |   |-- MediaUrlHiddenError     the query of a media URL did not survive serialisation
    |   |-- ValidityOutOfReachError  no upload lives as long as was asked for
    |   |-- CampaignUnknownError    a campaign that was never planned
    |   |-- CampaignTooLargeError   a plan has more items or bytes than it was allowed
    |   |-- TooManyRejectsError     more items were rejected than a campaign may lose
    |   |-- TooManyUnfitFilesError  more files cannot be sent than a check or a preparation allows
    |   |-- MediaReferencedError    a live campaign needs the id that was to be deleted
    |   |-- CleanupPlanRefusedError  a clean-up's plan is not one that may be carried out here
    |   |-- CleanupTooLargeError    a clean-up's plan names more ids than max_delete allows
    |   |-- SourceUnreadableError   the file to upload cannot be read
    |   |-- DestinationError        the place to download to cannot be used
    |   |-- DownloadTooLargeError   announced larger than WhatsApp media can be
    |   `-- InboundTypeRefusedError  a received file is of no type that is archived
    |-- SetupError                  mend the connection; retrying cannot help
    |   |-- ConnectionInvalidError  a field of the Airflow connection is wrong
    |   |-- MediaToolsMissingError  pictures are to be prepared, and Pillow is not installed
    |   |-- KeyRefusedError         401: the API key is not, or no longer, valid
    |   |-- AccessRefusedError      403: the number or the account may not do this
    |   |-- RedirectRefusedError    the host wants us elsewhere; the key stays home
    |   |-- CertificateError        TLS cannot be trusted
    |   |-- EndpointMissingError    404 where the API should be: wrong base URL or a proxy
    |   |-- ChannelFrozenError      the number moved away; nothing is sent for it
    |   |-- LedgerMissingError      there is no ledger to read yet
    |   `-- LedgerRefusedError      the ledger must not be used as it is configured
    |-- WaitError                   wait until ``retry_at``
    |   |-- ThrottledError          360dialog said: too many
    |   `-- ChannelClosedError      we know without asking: nothing may be sent yet
    |-- TransientError              try again
    |   |-- UnreachableError        nothing was sent
    |   |-- InterruptedExchangeError  the request may have arrived; no whole answer came back
    |   |-- ServerError             5xx
    |   |-- AnswerUnreadableError   a success that cannot be read
    |   |-- SourceChangedError      the file changed since it was judged
    |   |-- WorkerUnavailableError  no process could be started to decode files in
    |   |-- LedgerUnavailableError  the ledger cannot be reached: nothing was sent
    |   |-- CampaignIncompleteError items of a campaign have no id yet
    |   |-- StorageFailedError      disk or object storage failed in a way that may pass
    |   |-- DownloadCorruptError    the bytes are not those that were announced
    |   `-- StoppedError            the task was told to stop
    `-- GoneError                   give up: it does not exist any more
        |-- InboundLostError        received files could not be archived
        |-- MediaGoneError          360dialog does not know this media id (any more)
        `-- MediaUrlExpiredError    a media URL is past its life and there is no id to ask for a new one

Errors are data: each leaf takes keyword arguments, keeps them as attributes, builds its own sentence, and survives ``pickle``.
No sentence holds an API key, the query of a URL, or a header; what 360dialog wrote back is quoted shortened and printable.
"""

from __future__ import annotations

import errno
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_360dialog.ports import Problem


def _revive(cls: type[Dialog360Error], message: str, facts: dict[str, Any]) -> Dialog360Error:
    error = cls.__new__(cls, message)
    Exception.__init__(error, message)
    error.__dict__.update(facts)
    return error


def _quoted(text: str, limit: int = 300) -> str:
    """What a stranger wrote, on one printable line of at most ``limit`` characters."""
    line = "".join(ch if ch.isprintable() else " " for ch in text)
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


class Dialog360Error(Exception):
    """Root of the tree. ``retryable`` says whether the same call can succeed later without anybody changing anything."""

    retryable: ClassVar[bool] = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), str(self), dict(self.__dict__))


# --- mend the file or the call ------------------------------------------------------------------------------------


class CallError(Dialog360Error):
    """The file or the call is wrong; nothing but a change to it can help."""


class MediaRejectedError(CallError):
    """A file was judged unfit before anything was sent.

    Attributes:
        name: the file's name, shortened and printable.
        problems: every finding of severity ``error``, each with ``code``, ``message`` and ``remedy``.
    """

    def __init__(self, *, name: str, problems: Sequence[Problem]) -> None:
        self.name = _quoted(name, 120)
        self.problems = tuple(problems)
        listed = "; ".join(f"[{p.code}] {p.message} {p.remedy}" for p in self.problems)
        super().__init__(f"{self.name!r} was not uploaded: {listed}")


class UploadRefusedError(CallError):
    """360dialog refused an upload (400, 413 or their like). The same bytes would be refused again.

    Attributes:
        status: HTTP status. code: Meta's error code, if the answer had one. details: 360dialog's words.
    """

    def __init__(self, *, status: int, code: int | None, details: str) -> None:
        self.status, self.code, self.details = status, code, _quoted(details)
        super().__init__(
            f"360dialog refused the upload (HTTP {status}{_code(code)}): {self.details or 'no reason given'}. "
            "Check type and size of the file against the limits; the same file will be refused again."
        )


class RequestRefusedError(CallError):
    """360dialog refused a fetch, download or delete as malformed. ``operation``, ``status``, ``code``, ``details``."""

    def __init__(self, *, operation: str, status: int, code: int | None, details: str) -> None:
        self.operation, self.status, self.code, self.details = operation, status, code, _quoted(details)
        super().__init__(
            f"360dialog refused a malformed request ({operation}, HTTP {status}{_code(code)}): "
            f"{self.details or 'no reason given'}. "
            "The same request would be refused again."
        )


class CampaignUnknownError(CallError):
    """A campaign that this ledger does not have. ``campaign``."""

    def __init__(self, *, campaign: str) -> None:
        self.campaign = _quoted(campaign, 120)
        super().__init__(
            f"Campaign {self.campaign!r} is not on record in this ledger. Plan it first (Dialog360PlanCampaignOperator), "
            "or check its name and [dialog360] ledger_conn_id."
        )


class CampaignTooLargeError(CallError):
    """A plan has more items, or more bytes to upload, than it was allowed.

    Attributes:
        campaign: its name. bound: ``max_items`` or ``max_bytes``. limit: items, or bytes.
    """

    def __init__(self, *, campaign: str, bound: str, limit: int) -> None:
        self.campaign, self.bound, self.limit = _quoted(campaign, 120), bound, limit
        what = "items" if bound == "max_items" else "bytes to upload"
        super().__init__(
            f"Campaign {self.campaign!r} has more than the {limit:,} {what} that {bound} allows. Planning stopped there, and no "
            f"file was sent. Look whether its manifest is the right one; if all of it is meant, raise {bound}."
        )


class TooManyRejectsError(CallError):
    """More of a campaign's items were rejected than it may lose.

    Attributes:
        campaign: its name. rejected, items: how many of how many. max_reject_ratio: how many of all may be rejected, 0 to 1.
        rejects_uri: where each one stands with its reasons; None where that was not written.
    """

    def __init__(self, *, campaign: str, rejected: int, items: int, max_reject_ratio: float, rejects_uri: str | None) -> None:
        self.campaign, self.rejected, self.items = _quoted(campaign, 120), rejected, items
        self.max_reject_ratio, self.rejects_uri = max_reject_ratio, rejects_uri
        where = f"The reasons and remedies are in {rejects_uri}" if rejects_uri else "The reasons and remedies are in the log"
        super().__init__(
            f"{rejected} of {items} items of campaign {self.campaign!r} were rejected, more than the share of "
            f"{max_reject_ratio:g} that max_reject_ratio allows. {where}; mend them, or raise max_reject_ratio."
        )


class TooManyUnfitFilesError(CallError):
    """More of the files that were looked at cannot be sent than is allowed.

    Attributes:
        unfit, files: how many of how many. max_reject_ratio: how many of all may be unfit, 0 to 1.
        report_uri: where each one stands with its reasons; None where that was not written.
    """

    def __init__(self, *, unfit: int, files: int, max_reject_ratio: float, report_uri: str | None) -> None:
        self.unfit, self.files, self.max_reject_ratio, self.report_uri = unfit, files, max_reject_ratio, report_uri
        where = f"The reasons and remedies are in {report_uri}" if report_uri else "The codes of the reasons are in the log"
        super().__init__(
            f"{unfit} of {files} files cannot be sent, more than the share of {max_reject_ratio:g} that max_reject_ratio allows. "
            f"{where}; mend them, or raise max_reject_ratio."
        )


class MediaIdInvalidError(CallError):
    """A value that is not a media id (1 to 32 decimal digits, as text). No request was built."""

    def __init__(self, *, value: object) -> None:
        self.value = _quoted(repr(value), 60)
        super().__init__(
            f"{self.value} is not a media id: 360dialog's ids are text of 1 to 32 digits. "
            "Pass the media_id that an upload or a webhook gave (not a URL, a handle or a file name)."
        )


class MediaUrlRefusedError(CallError):
    """A text that is not a media URL which may be asked. No socket was opened. ``reason`` never quotes the query."""

    def __init__(self, *, reason: str) -> None:
        self.reason = _quoted(reason)
        super().__init__(
            f"The media URL was refused: {self.reason}. Accepted is what GET /<media id> or a webhook gives: "
            "https://lookaside.fbsbx.com/whatsapp_business/attachments/?... "
            "(other hosts: 'Extra download hosts' of the connection)."
        )


class MediaUrlHiddenError(CallError):
    """A media URL lost its query on the way through pickle, XCom or a log, as it should."""

    def __init__(self) -> None:
        super().__init__(
            "This media URL's query was left out when the record was stored. Fetch it again, in the task that uses it."
        )


class ValidityOutOfReachError(CallError):
    """No upload can be promised to work as long as was asked for. ``valid_until`` and ``latest``, aware UTC."""

    def __init__(self, *, valid_until: datetime, latest: datetime) -> None:
        self.valid_until, self.latest = valid_until, latest
        super().__init__(
            f"No media id can be promised until {valid_until.isoformat(timespec='seconds')}: ids live 30 days "
            f"less a margin of 24 h, which now means {latest.isoformat(timespec='seconds')}. "
            "Upload later, or refresh nearer to the send."
        )


class MediaReferencedError(CallError):
    """A live campaign needs the id that was to be deleted. Nothing was sent.

    Attributes:
        media_id: the id. campaigns: how many need it. campaign: the name of one of them.
    """

    def __init__(self, *, media_id: str, campaigns: int, campaign: str) -> None:
        self.media_id, self.campaigns, self.campaign = media_id, campaigns, _quoted(campaign, 120)
        others = f" and {campaigns - 1} more" if campaigns > 1 else ""
        super().__init__(
            f"Media id {media_id} was not deleted: campaign {self.campaign!r}{others} still needs it. Nothing was sent. "
            "Delete it when no campaign needs it any more, or pass force=True to delete it all the same."
        )


class CleanupPlanRefusedError(CallError):
    """A plan of a clean-up that cannot be carried out here; nothing was deleted. ``reason``."""

    def __init__(self, *, reason: str) -> None:
        self.reason = _quoted(reason)
        super().__init__(
            f"The plan of this clean-up was refused: {self.reason}. Nothing was deleted. "
            "Make a new one with mode='plan', the same connection and the same arguments."
        )


class CleanupTooLargeError(CallError):
    """A plan of a clean-up names more ids than ``max_delete`` allows; nothing was deleted.

    Attributes:
        planned: ids that it would delete. alive: ids of the channel that are not known to have ended.
        max_delete: how many it may delete, or the share of ``alive``, as it was given.
    """

    def __init__(self, *, planned: int, alive: int, max_delete: float) -> None:
        self.planned, self.alive, self.max_delete = planned, alive, max_delete
        super().__init__(
            f"The clean-up would delete {planned} of the channel's {alive} ids, more than max_delete={max_delete} allows. "
            f"Nothing was deleted. Look at the plan; if it is right, approve it by raising max_delete to {planned}."
        )


class SourceUnreadableError(CallError):
    """A file to upload cannot be opened. ``uri`` and the system's ``reason``."""

    def __init__(self, *, uri: str, reason: str) -> None:
        self.uri, self.reason = _quoted(uri), _quoted(reason)
        super().__init__(f"Cannot read {self.uri!r}: {self.reason}. Check the path, and the rights of the Airflow worker.")


class DestinationError(CallError):
    """A place to download to cannot be used. ``uri`` and ``reason``."""

    def __init__(self, *, uri: str, reason: str) -> None:
        self.uri, self.reason = _quoted(uri), _quoted(reason)
        super().__init__(f"Cannot download to {self.uri!r}: {self.reason}.")


class DownloadTooLargeError(CallError):
    """A file is announced larger than WhatsApp media can be; nothing was downloaded. ``size_bytes``, ``max_bytes``."""

    def __init__(self, *, size_bytes: int, max_bytes: int) -> None:
        self.size_bytes, self.max_bytes = size_bytes, max_bytes
        super().__init__(
            f"The file is announced with {size_bytes:,} bytes; WhatsApp media have at most {max_bytes:,}. It was not downloaded."
        )


class InboundTypeRefusedError(CallError):
    """A customer's file is, by its content, of no type that WhatsApp media may have. Nothing was stored.

    Attributes:
        label: what it is, in words.
    """

    def __init__(self, *, label: str) -> None:
        self.label = _quoted(label, 120)
        super().__init__(
            f"A received file was not stored: it is {self.label}, and only the types that WhatsApp lists for media are archived. "
            "Name its type in also_accept, if customers may send such files."
        )


# --- mend the connection ------------------------------------------------------------------------------------------


class SetupError(Dialog360Error):
    """The connection, the key or the way to 360dialog is wrong; every call would fail until that is mended."""


class ConnectionInvalidError(SetupError):
    """A field of the Airflow connection is wrong. ``conn_id``, ``field`` and what is wrong with it (``reason``)."""

    def __init__(self, *, conn_id: str, field: str, reason: str) -> None:
        self.conn_id, self.field, self.reason = conn_id, field, reason
        super().__init__(f"Connection {conn_id!r}, field {field!r}: {reason}")


class MediaToolsMissingError(SetupError):
    """A picture has to be decoded, and the library for it is not installed. ``tool``: its name."""

    def __init__(self, *, tool: str) -> None:
        self.tool = tool
        super().__init__(
            f"Pictures are prepared with {tool}, which is not installed where this task runs. Install it there: "
            "pip install 'airflow-provider-360dialog[media]'."
        )


class KeyRefusedError(SetupError):
    """401: the API key is missing, wrong, or was revoked by a newer one. ``operation``, ``status``, ``details``."""

    def __init__(self, *, operation: str, details: str, status: int = 401) -> None:
        self.operation, self.status, self.details = operation, status, _quoted(details)
        super().__init__(
            f"360dialog does not accept the API key (HTTP {status} to {operation}): {self.details or 'no reason given'}. "
            "Generating a new key revokes the old one: put the current key into the connection's password."
        )


class AccessRefusedError(SetupError):
    """403: this number or account may not do this. ``operation``, ``status``, ``code``, ``details``."""

    def __init__(self, *, operation: str, code: int | None, details: str, status: int = 403) -> None:
        self.operation, self.status, self.code, self.details = operation, status, code, _quoted(details)
        super().__init__(
            f"360dialog refuses {operation} for this number (HTTP {status}{_code(code)}): {self.details or 'no reason given'}. "
            "Look at the number's status in the 360dialog Hub."
        )


class RedirectRefusedError(SetupError):
    """The host answered with a redirect that must not be followed. ``origin`` is scheme and host only."""

    def __init__(self, *, operation: str, status: int, origin: str, reason: str) -> None:
        self.operation, self.status, self.origin, self.reason = operation, status, _quoted(origin, 120), reason
        super().__init__(
            f"Refused to follow a redirect (HTTP {status} to {operation}) to {self.origin}: {reason}. "
            "The API key goes to the connection's own host only. Check the connection's host, and any proxy on the way."
        )


class CertificateError(SetupError):
    """The TLS certificate of the host cannot be trusted. ``origin``, ``reason``."""

    def __init__(self, *, origin: str, reason: str) -> None:
        self.origin, self.reason = origin, _quoted(reason)
        super().__init__(
            f"The TLS certificate of {origin} was not accepted: {self.reason}. Nothing was sent. "
            "For a private certificate authority set 'CA bundle' on the connection; verification cannot be turned off."
        )


class EndpointMissingError(SetupError):
    """404 where the API should be: to an endpoint that always exists, or with a web page in the place of JSON. ``operation``."""

    def __init__(self, *, operation: str) -> None:
        self.operation = operation
        super().__init__(
            f"The connection's host has no such endpoint (HTTP 404 to {operation}). Is it the WhatsApp API of 360dialog "
            "(https://waba-v2.360dialog.io), and is there a proxy in between?"
        )


class ChannelFrozenError(SetupError):
    """The number of a channel is not this account's any more. ``phone_number_id``, ``reason``."""

    def __init__(self, *, phone_number_id: str, reason: str) -> None:
        self.phone_number_id, self.reason = phone_number_id, _quoted(reason)
        super().__init__(
            f"Channel {phone_number_id} is frozen: {self.reason}. Nothing is sent and nothing is deleted for it. "
            "A key of this very number on the connection thaws it."
        )


class LedgerMissingError(SetupError):
    """There is no ledger to read. ``place``."""

    def __init__(self, *, place: str) -> None:
        self.place = place
        super().__init__(
            f"There is no ledger at {place} yet. The first upload makes one, and so does 'dialog360 ledger init'; "
            "if there should be one, check [dialog360] ledger_conn_id and ledger_path."
        )


class LedgerRefusedError(SetupError):
    """The ledger must not be used as it is. ``place``, ``reason``."""

    def __init__(self, *, place: str, reason: str) -> None:
        self.place, self.reason = place, _quoted(reason, 600)
        super().__init__(f"The ledger at {place} cannot be used: {self.reason}.")


# --- wait ---------------------------------------------------------------------------------------------------------


class WaitError(Dialog360Error):
    """Nothing is wrong but the time. ``retry_at``: the aware UTC instant from which the call may be made again."""

    retryable = True
    retry_at: datetime


class ThrottledError(WaitError):
    """360dialog refused a call as too many (429, the documented 400, a 403 that speaks of a limit).

    Attributes:
        operation, status, details: what was asked and what came back.
        retry_at: aware UTC instant before which nothing may be sent for this operation on this channel.
        retry_after_s: what 360dialog said of it in float seconds, or None where it said nothing.
    """

    def __init__(
        self, *, operation: str, status: int, details: str, retry_at: datetime, retry_after_s: float | None = None
    ) -> None:
        self.operation, self.status, self.details, self.retry_at = operation, status, _quoted(details), retry_at
        self.retry_after_s = retry_after_s
        super().__init__(
            f"360dialog throttles {operation} for this number (HTTP {status}): {self.details or 'no reason given'}. "
            f"Nothing should be sent before {retry_at.isoformat(timespec='seconds')}; calls before then may extend the block."
        )

    def until(self, retry_at: datetime) -> ThrottledError:
        """The same with another instant, where more is known of it than the answer said."""
        return ThrottledError(
            operation=self.operation,
            status=self.status,
            details=self.details,
            retry_at=retry_at,
            retry_after_s=self.retry_after_s,
        )


class ChannelClosedError(WaitError):
    """Nothing was sent: the number's retrieval is blocked, its error budget is used up, or its uploads are paused.

    Attributes:
        operation: what was asked. phone_number_id: of the channel.
        retry_at: aware UTC instant from which it is worth asking again.
    """

    def __init__(self, *, operation: str, phone_number_id: str, retry_at: datetime) -> None:
        self.operation, self.phone_number_id, self.retry_at = operation, phone_number_id, retry_at
        what = (
            "uploads have to wait: they are paused, or more than a minute of them wait already"
            if operation == "upload"
            else "retrieval is closed: too many failed requests within an hour lock it"
        )
        super().__init__(
            f"Channel {phone_number_id}: {what}. Nothing was sent; it opens at {retry_at.isoformat(timespec='seconds')}."
        )


# --- try again ----------------------------------------------------------------------------------------------------


class TransientError(Dialog360Error):
    """A fault that may pass by itself. The call was already repeated within its bounds."""

    retryable = True


class UnreachableError(TransientError):
    """No connection to the host: nothing was sent. ``operation``, ``origin``, ``reason``."""

    def __init__(self, *, operation: str, origin: str, reason: str) -> None:
        self.operation, self.origin, self.reason = operation, origin, _quoted(reason)
        super().__init__(f"Cannot reach {origin} to {operation}: {self.reason}. Nothing was sent.")


class InterruptedExchangeError(TransientError):
    """The connection broke or a deadline passed after bytes had left. ``operation``, ``origin``, ``reason``.

    An upload may have been accepted without our seeing its id.
    """

    def __init__(self, *, operation: str, origin: str, reason: str) -> None:
        self.operation, self.origin, self.reason = operation, origin, _quoted(reason)
        tail = " 360dialog may have accepted the file." if operation == "upload" else ""
        super().__init__(f"The exchange with {origin} to {operation} was cut off: {self.reason}.{tail}")


class ServerError(TransientError):
    """5xx. ``operation``, ``status``, ``details``, ``retry_after_s`` (float seconds, or None where none was given)."""

    def __init__(self, *, operation: str, status: int, details: str, retry_after_s: float | None = None) -> None:
        self.operation, self.status, self.details, self.retry_after_s = (
            operation,
            status,
            _quoted(details),
            retry_after_s,
        )
        super().__init__(f"360dialog failed to {operation} (HTTP {status}): {self.details or 'no reason given'}.")


class AnswerUnreadableError(TransientError):
    """An answer that says success but cannot be read as one. ``operation``, ``status``, ``reason``."""

    def __init__(self, *, operation: str, status: int, reason: str) -> None:
        self.operation, self.status, self.reason = operation, status, _quoted(reason)
        super().__init__(f"360dialog's answer to {operation} (HTTP {status}) cannot be used: {self.reason}.")


class SourceChangedError(TransientError):
    """A file was changed since it was judged or planned. ``uri``; ``media_id`` of other bytes that were sent: it is not used."""

    def __init__(self, *, uri: str, media_id: str | None = None) -> None:
        self.uri, self.media_id = _quoted(uri), media_id
        super().__init__(
            f"{self.uri!r} has changed since it was judged: its bytes are not those that are meant, "
            "so no media id of them is used."
        )


class WorkerUnavailableError(TransientError):
    """No worker process could be started to decode files in. ``reason``."""

    def __init__(self, *, reason: str) -> None:
        self.reason = _quoted(reason)
        super().__init__(
            f"No worker process could be started to decode files in: {self.reason}. Check the memory of where this task runs."
        )


class LedgerUnavailableError(TransientError):
    """The ledger cannot be reached or is locked. ``place``, ``reason``. Without it nothing is sent."""

    def __init__(self, *, place: str, reason: str) -> None:
        self.place, self.reason = place, _quoted(reason)
        super().__init__(f"The ledger at {place} cannot be reached ({self.reason}). Nothing is sent without it.")


class StorageFailedError(TransientError):
    """Reading a source or writing a destination failed in a way that may pass (a full disk, an object store's 503)."""

    def __init__(self, *, uri: str, reason: str) -> None:
        self.uri, self.reason = _quoted(uri), _quoted(reason)
        super().__init__(f"Storage failed at {self.uri!r}: {self.reason}. Nothing stands half-written under a final name.")


class DownloadCorruptError(TransientError):
    """Downloaded bytes differ from what was announced; nothing took the final name. ``uri``, ``reason``."""

    def __init__(self, *, uri: str, reason: str) -> None:
        self.uri, self.reason = _quoted(uri), _quoted(reason)
        super().__init__(f"The download for {self.uri!r} was discarded: {self.reason}. The destination was left untouched.")


class CampaignIncompleteError(TransientError):
    """Items of a campaign have no id yet that is safe for long enough.

    Attributes:
        campaign: its name. missing, rejected, items: how many have none, how many of these were rejected, and of how many.
        is_planned: False while its first plan is not complete, so that not all items are known.
    """

    def __init__(self, *, campaign: str, missing: int, rejected: int, items: int, is_planned: bool = True) -> None:
        self.campaign, self.missing, self.rejected, self.items = _quoted(campaign, 120), missing, rejected, items
        self.is_planned = is_planned
        super().__init__(
            f"{missing} of {items} items of campaign {self.campaign!r} have no media id that is safe for long enough "
            f"({rejected} of these were rejected). Upload them first (Dialog360UploadCampaignOperator), or export with "
            "require_complete=False."
            if is_planned
            else f"The plan of campaign {self.campaign!r} is not complete: it is running, or was ended midway. "
            "Wait for it, or run it again (Dialog360PlanCampaignOperator)."
        )


class StoppedError(TransientError):
    """The task was told to stop. ``operation``."""

    def __init__(self, *, operation: str) -> None:
        self.operation = operation
        super().__init__(f"Stopped while about to {operation}: the task was told to end.")


# --- give up ------------------------------------------------------------------------------------------------------


class GoneError(Dialog360Error):
    """What was asked for does not exist any more; asking again costs error budget and finds nothing."""


class InboundLostError(GoneError):
    """Files that customers sent could not be archived; what could be had is archived.

    Attributes:
        lost: how many, by reason. report_uri: one line of JSON for each.
    """

    def __init__(self, *, lost: dict[str, int], report_uri: str | None) -> None:
        self.lost, self.report_uri = dict(lost), report_uri
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(self.lost.items()))
        where = f" Each one stands with its reason in {report_uri!r}." if report_uri else ""
        super().__init__(
            f"Received files are lost: {said}.{where} What could be had is archived. "
            "With on_lost='report' the task succeeds all the same."
        )


class MediaGoneError(GoneError):
    """360dialog does not know this media id for this number (expired, deleted, another number's, or never given).

    Attributes:
        media_id: the id. operation, status, code, details: what was asked and what came back.
    """

    def __init__(self, *, media_id: str, operation: str, status: int, code: int | None, details: str) -> None:
        self.media_id, self.operation, self.status, self.code = media_id, operation, status, code
        self.details = _quoted(details)
        super().__init__(
            f"360dialog does not know media id {media_id} for this number (HTTP {status}{_code(code)} to {operation}): "
            f"{self.details or 'no reason given'}. It expired (30 days after upload, 7 days for received media), was deleted, "
            "or belongs to another number. It will not come back: upload the file again."
        )


class MediaUrlExpiredError(GoneError):
    """A media URL is past its five minutes; there is no id to ask for a new one, or that has ended as well. ``status``."""

    def __init__(self, *, status: int | None = None) -> None:
        self.status = status
        seen = f" (HTTP {status})" if status else ""
        super().__init__(
            f"The media URL is no longer valid{seen}: they live 5 minutes. With a media_id, a new one is fetched once; "
            "where that ends the same way, the file is gone."
        )


_FINAL_ERRNOS = {
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EPERM,
    errno.EROFS,
}  # fmt: skip


def source_error(uri: str, fault: OSError) -> SourceUnreadableError | StorageFailedError:
    """Whether a failed read is the path's fault (for good) or the storage's (may pass)."""
    reason = fault.strerror or str(fault) or type(fault).__name__
    if fault.errno in _FINAL_ERRNOS or isinstance(fault, FileNotFoundError | PermissionError | IsADirectoryError):
        return SourceUnreadableError(uri=uri, reason=reason)
    return StorageFailedError(uri=uri, reason=reason)


def destination_error(uri: str, fault: OSError) -> DestinationError | StorageFailedError:
    """Whether a failed write is the path's fault (for good) or the storage's (may pass)."""
    reason = fault.strerror or str(fault) or type(fault).__name__
    if fault.errno in _FINAL_ERRNOS or isinstance(fault, FileNotFoundError | PermissionError | IsADirectoryError):
        return DestinationError(uri=uri, reason=reason)
    return StorageFailedError(uri=uri, reason=reason)


def _code(code: int | None) -> str:
    return "" if code is None else f", code {code}"
