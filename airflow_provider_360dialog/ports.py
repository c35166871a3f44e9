"""The records that cross rooms, and what a room needs from outside.

Knows no network, no database and no Airflow. `hooks` supplies sources, destinations and credentials from Airflow; tests supply
them from memory.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, Self, TypeAlias

from airflow_provider_360dialog.exceptions import MediaUrlHiddenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

Kind: TypeAlias = Literal["image", "video", "audio", "document", "sticker"]
Severity: TypeAlias = Literal["error", "warning"]


_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#\\\s]*@)?([A-Za-z0-9.:\[\]-]*)(?=[/?#]|\Z)")


class MediaUrl:
    """A five-minute download link. Confidential: only `reveal` shows its query.

    ``repr``, ``str``, ``pickle`` and Airflow's serialisation show the host and nothing else; a copy that went through one of
    them raises `MediaUrlHiddenError` on `reveal`.

    Args:
        text: the URL as 360dialog gave it.
        on_reveal: called with the text each time it is handed out (the hook masks it in logs that way).
    """

    __slots__ = ("_on_reveal", "_text", "host")

    def __init__(self, text: str, *, on_reveal: Callable[[str], object] | None = None) -> None:
        self._text: str | None = text
        self._on_reveal = on_reveal
        found = _HOST.match(text)
        self.host = found[1] if found is not None else ""

    def reveal(self) -> str:
        """The whole URL. Treat it as a password: it gives the file to whoever holds it together with the API key."""
        if self._text is None:
            raise MediaUrlHiddenError
        if self._on_reveal is not None:
            self._on_reveal(self._text)
        return self._text

    def __repr__(self) -> str:
        return f"MediaUrl({self.host!r}, query hidden)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[Any, ...]:
        return _hidden_url, (self.host,)

    def __copy__(self) -> MediaUrl:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> MediaUrl:
        return self

    def serialize(self) -> dict[str, Any]:
        """What Airflow may store of it."""
        return {"host": self.host}


def _hidden_url(host: str) -> MediaUrl:
    url = MediaUrl(f"https://{host}/")
    url._text = None  # noqa: SLF001 - the pickled form has no query to give back
    return url


class Record(dict[str, Any]):
    """Base of the hook's results: attributes for code, and at the same time the plain dict that Airflow stores.

    As a mapping it holds the same fields in JSON-safe form: instants as ISO 8601 text, a receipt as a dictionary, no media URL.
    So a ``@task`` can return a record, and the next task finds a plain dict in XCom.
    """

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, each.name)
            if not isinstance(value, MediaUrl):
                self[each.name] = _json_safe(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]


def _json_safe(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Receipt):
        return asdict(value) | {"changes": [asdict(change) for change in value.changes]}
    return value


@dataclass(frozen=True)
class UploadedMedia(Record):
    """A file that 360dialog holds.

    Attributes:
        media_id: decimal digits as text. Belongs to one phone number.
        sha256: lowercase hex of the bytes that were sent.
        mime_type: the type that was sent.
        size_bytes: their number.
        uploaded_at: aware UTC instant of the answer.
        safe_until: aware UTC instant until which the id is promised to work (upload + 30 days - 24 h margin).
        reused: True where an earlier upload answered and nothing was sent.
        receipt: what was changed before; None where nothing was.
    """

    media_id: str
    sha256: str
    mime_type: str
    size_bytes: int
    uploaded_at: datetime
    safe_until: datetime
    reused: bool
    receipt: Receipt | None = None


@dataclass(frozen=True)
class FetchedMedia(Record):
    """What 360dialog says of a media id.

    Attributes:
        media_id: as asked.
        url: the download link; its query is shown only by ``url.reveal()``.
        mime_type: without parameters; None where the answer had none.
        sha256: lowercase hex, from hex or base64; None where the answer had none.
        size_bytes: from a number or a text; None where the answer had none.
        url_expires_at: aware UTC instant at which the link ends.
    """

    media_id: str
    url: MediaUrl
    mime_type: str | None
    sha256: str | None
    size_bytes: int | None
    url_expires_at: datetime


@dataclass(frozen=True)
class DownloadedMedia(Record):
    """A file that now stands complete under its final name.

    Attributes:
        uri: where. size_bytes, sha256: of the stored bytes, the latter as lowercase hex.
        mime_type: as announced, else as judged by content.
    """

    uri: str
    size_bytes: int
    sha256: str
    mime_type: str | None


@dataclass(frozen=True)
class Health(Record):
    """Answer of ``GET /health_status``.

    Attributes:
        status: AVAILABLE, LIMITED or BLOCKED (or a word that 360dialog invents later).
        phone_number_id: the PHONE_NUMBER entity's id, or None.
        entities: entity type -> its own status.
        notes: what LIMITED and BLOCKED entities say of themselves, one printable sentence each.
    """

    status: str
    phone_number_id: str | None
    entities: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """One finding about a file.

    Attributes:
        code: stable, lower_snake_case. severity: ``error`` (it would be refused, or fail at send) or ``warning``.
        message: what is wrong, one sentence. remedy: what to do about it, one sentence.
    """

    code: str
    severity: Severity
    message: str
    remedy: str


@dataclass(frozen=True)
class Change:
    """One thing that a preparation did.

    Attributes:
        code: stable, lower_snake_case. message: what was done, one sentence.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Shape:
    """A picture before or after its preparation.

    Attributes:
        sha256: lowercase hex of all bytes. size_bytes: their number.
        width, height: pixels, as stored.
        quality: of a JPEG or of a lossy WebP that was made here, 1 to 100 as libjpeg counts; None where that is not known.
    """

    sha256: str
    mime_type: str
    size_bytes: int
    width: int
    height: int
    quality: int | None


@dataclass(frozen=True)
class Receipt:
    """What a preparation did to one picture.

    Attributes:
        changes: at least one. before, after: the source, and what is sent in its place.
        recipe: id of the rules by which it was prepared. encodes: how often pixels were encoded; 0 where they were not touched.
        uri: where the prepared file is; None where it was kept for one upload only.
    """

    changes: tuple[Change, ...]
    before: Shape
    after: Shape
    recipe: str
    encodes: int
    uri: str | None = None

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """A receipt from what ``dataclasses.asdict`` made of it, also after it was JSON."""
        changes = tuple(Change(**each) for each in facts["changes"])
        return cls(**{**facts, "changes": changes, "before": Shape(**facts["before"]), "after": Shape(**facts["after"])})


@dataclass(frozen=True)
class Verdict:
    """The judgement of one file.

    Attributes:
        kind: None where the type is not accepted at all.
        mime_type: the type to send, mended where the caller's word for it was a known slip; None where unknown.
        filename: the safe ASCII name to send, with the right extension.
        size_bytes: bytes read. sha256: lowercase hex of all bytes; empty where reading stopped at the size limit.
        problems: all findings, errors first.
        receipt: where the file was prepared; all the rest then speaks of the prepared bytes. None where nothing had to change.
    """

    kind: Kind | None
    mime_type: str | None
    filename: str
    size_bytes: int
    sha256: str
    problems: tuple[Problem, ...] = ()
    receipt: Receipt | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The findings that forbid an upload."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def ok(self) -> bool:
        """True where nothing forbids an upload."""
        return not self.errors

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """A verdict from what ``dataclasses.asdict`` made of it, also after it was JSON."""
        problems, receipt = tuple(Problem(**each) for each in facts["problems"]), facts.get("receipt")
        return cls(**{**facts, "problems": problems, "receipt": receipt and Receipt.from_facts(receipt)})


class Source(Protocol):
    """A file to upload. `open` may be called again and again, and gives a new seekable handle at the start each time."""

    @property
    def uri(self) -> str:
        """Where it is, for messages; holds no secret."""
        ...

    @property
    def name(self) -> str:
        """The last part of its path, as its owner named it. Untrusted."""
        ...

    def size_bytes(self) -> int:
        """Its size now."""
        ...

    def open(self) -> BinaryIO:
        """A new binary handle at the first byte."""
        ...

    def stamp(self) -> str | None:
        """What stands for its present content without reading it (an etag, or time and size).

        None where that cannot be told, or where the file is so new that a change could go unnoticed.
        """
        ...


class Staged(Protocol):
    """A download on its way: written, verified, and only then published."""

    file: BinaryIO

    def publish(self) -> None:
        """Give the bytes their final name, whole and at once."""
        ...


class Destination(Protocol):
    """A place to download to."""

    @property
    def uri(self) -> str:
        """Where it is, for messages and results."""
        ...

    def check(self) -> None:
        """Raise `DestinationError` where nothing could be published; called before anything is sent."""
        ...

    def stage(self) -> AbstractContextManager[Staged]:
        """A temporary home for the bytes. Leaving without `Staged.publish` removes every trace."""
        ...


class StagedFor(Protocol):
    """A file on its way into a folder; its name is known only when its bytes are."""

    file: BinaryIO

    def publish(self, name: str, *, mime_type: str | None = None) -> str:
        """Give the bytes their final name, whole and at once; what stands there is replaced.

        Args:
            name: relative path below the folder: parts of ``A-Z a-z 0-9 . _ -`` with slashes in between.
            mime_type: what a store should say of the file, where it keeps types; None for nothing.

        Returns:
            The place of the file, which can be opened again. It may name an Airflow connection, and holds no secret.

        Raises:
            CallError: ``name`` or ``mime_type`` is not of that form.
            DestinationError, StorageFailedError: it could not be published; nothing stands half-written under its name.
        """
        ...


class Folder(Protocol):
    """A place for many files whose names are made from their bytes."""

    @property
    def uri(self) -> str:
        """Where it is, for messages."""
        ...

    def check(self) -> None:
        """Write a tiny file there and take it away again.

        Raises:
            DestinationError, StorageFailedError: nothing could be published there.
        """
        ...

    def stage(self) -> AbstractContextManager[StagedFor]:
        """A temporary home for one file. Leaving without `StagedFor.publish` removes every trace."""
        ...


@dataclass(frozen=True)
class DagRun:
    """The DAG run of Airflow on whose behalf something is done."""

    dag_id: str
    run_id: str


@dataclass(frozen=True)
class Timeouts:
    """Bounds of one exchange, float seconds.

    Attributes:
        connect_s: for a connection to stand. idle_s: between two reads. total_s: of a whole exchange with a small answer; moving
        a file adds one second for every 50 kB.
    """

    connect_s: float = 10.0
    idle_s: float = 20.0
    total_s: float = 30.0


ThrottlePolicy: TypeAlias = Literal["strict", "documented"]


@dataclass(frozen=True)
class Policy:
    """What a number may be asked to do, as its connection says.

    Attributes:
        phone_number_id: of the connection, or None to learn it from 360dialog.
        throttle: which of the document's two rules for failed GETs is obeyed: ``strict`` (more than 5 in an hour, blocked for an
        hour) or ``documented`` (20 in 60 minutes, blocked for 30).
        uploads_per_second: this Airflow's share, above 0 to 24.5.
        error_budget: failed GETs that this Airflow may cause in an hour; None for all that the rule leaves.
        count_failed_uploads: whether those count as well.
    """

    phone_number_id: str | None = None
    throttle: ThrottlePolicy = "strict"
    uploads_per_second: float = 24.5
    error_budget: int | None = None
    count_failed_uploads: bool = False

    @property
    def block_s(self) -> float:
        """How long a block lasts where 360dialog does not say, float seconds."""
        return 3600.0 if self.throttle == "strict" else 1800.0


@dataclass(frozen=True)
class Channel:
    """How to speak for one WhatsApp number: what an Airflow connection says.

    Attributes:
        api_key: the secret; shown by no ``repr``.
        base_url: scheme and host (and port), no path, no trailing slash.
        policy: what the number may be asked to do.
        download_hosts: further hosts whose media URLs are accepted.
        timeouts: see `Timeouts`. ca_bundle: path of a PEM file, or None for the system's. proxy: URL, or None for a direct way.
    """

    api_key: str = field(repr=False)
    base_url: str
    policy: Policy = Policy()
    download_hosts: frozenset[str] = frozenset()
    timeouts: Timeouts = Timeouts()
    ca_bundle: str | None = None
    proxy: str | None = field(default=None, repr=False)
