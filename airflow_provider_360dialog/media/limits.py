"""What WhatsApp accepts: one row per MIME type, and the slips in names of types that are understood and mended.

The only place in which a size limit, an accepted MIME type or its extensions are typed; the README's table is rendered from it.
Deliberately knows nothing of file contents.

Sources, as quoted in the rows: "360dialog" is https://docs.360dialog.com/docs/messaging/media/upload-retrieve-or-delete-media,
"Meta" is https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media, "uploader" is
the list of types in Meta's own 400 answer to an upload. Neither document says whether MB is 10^6 or 2^20 bytes: above the
binary reading a file is refused, between the two readings it is warned of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_360dialog.ports import Kind

KINDS: tuple[Kind, ...] = ("image", "video", "audio", "document", "sticker")

MIB = 2**20
MB = 10**6
KIB = 2**10
KB = 10**3

IMAGE_MAX_BYTES = 5 * MIB
AUDIO_MAX_BYTES = 16 * MIB
VIDEO_MAX_BYTES = 16 * MIB
DOCUMENT_MAX_BYTES = 100 * MIB
STICKER_MAX_BYTES = 100 * KIB
ANIMATED_STICKER_MAX_BYTES = 500 * KIB

_DOCUMENTED = "360dialog and Meta; documented"
_STICKER = "Meta; documented, enforced when sent and not at upload (observed)"


@dataclass(frozen=True)
class Limit:
    """One accepted MIME type.

    Attributes:
        kind: of message that the type belongs to. mime_type: as it is sent, lower case, no parameters.
        extensions: acceptable file name endings, with dot, lower case; the first is the canonical one.
        max_bytes: a file above is refused. warn_above_bytes: a file above is warned of.
        source: where the row comes from, and how sure it is.
        animated_max_bytes, animated_warn_above_bytes: the same for an animated file, or None where that makes no difference.
    """

    kind: Kind
    mime_type: str
    extensions: tuple[str, ...]
    max_bytes: int
    warn_above_bytes: int
    source: str
    animated_max_bytes: int | None = None
    animated_warn_above_bytes: int | None = None

    def bounds(self, *, animated: bool) -> tuple[int, int]:
        """The number of bytes above which a file is refused, and that above which it is warned of."""
        if animated and self.animated_max_bytes is not None and self.animated_warn_above_bytes is not None:
            return self.animated_max_bytes, self.animated_warn_above_bytes
        return self.max_bytes, self.warn_above_bytes


def _image(mime_type: str, *extensions: str) -> Limit:
    return Limit("image", mime_type, extensions, IMAGE_MAX_BYTES, 5 * MB, _DOCUMENTED)


def _audio(mime_type: str, *extensions: str) -> Limit:
    return Limit("audio", mime_type, extensions, AUDIO_MAX_BYTES, 16 * MB, _DOCUMENTED)


def _document(mime_type: str, *extensions: str) -> Limit:
    return Limit("document", mime_type, extensions, DOCUMENT_MAX_BYTES, 100 * MB, _DOCUMENTED)


DOC = "application/msword"
XLS = "application/vnd.ms-excel"
PPT = "application/vnd.ms-powerpoint"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"

LIMITS: tuple[Limit, ...] = (
    _image("image/jpeg", ".jpg", ".jpeg"),
    _image("image/png", ".png"),
    _audio("audio/aac", ".aac"),
    _audio("audio/amr", ".amr"),
    _audio("audio/mpeg", ".mp3"),
    _audio("audio/mp4", ".m4a"),
    _audio("audio/ogg", ".ogg"),
    Limit("video", "video/mp4", (".mp4",), VIDEO_MAX_BYTES, 16 * MB, _DOCUMENTED),
    Limit(
        "video", "video/3gpp", (".3gp",), VIDEO_MAX_BYTES, 16 * MB,
        "Meta and uploader; documented (360dialog writes video/3gp, which the uploader does not list)",
    ),
    _document("text/plain", ".txt"),
    _document("application/pdf", ".pdf"),
    _document(DOC, ".doc"),
    _document(DOCX, ".docx"),
    _document(XLS, ".xls"),
    _document(XLSX, ".xlsx"),
    _document(PPT, ".ppt"),
    _document(PPTX, ".pptx"),
    Limit(
        "sticker", "image/webp", (".webp",), STICKER_MAX_BYTES, 100 * KB, _STICKER,
        ANIMATED_STICKER_MAX_BYTES, 500 * KB,
    ),
)  # fmt: skip

BY_MIME_TYPE: dict[str, Limit] = {limit.mime_type: limit for limit in LIMITS}
LARGEST_MAX_BYTES = max(limit.max_bytes for limit in LIMITS)

GENERIC_MIME_TYPES = frozenset({"", "*/*", "application/octet-stream", "application/x-octet-stream", "binary/octet-stream"})
"""Words that say nothing of a type: the content decides."""

MIME_SLIPS: dict[str, str] = {
    "application/ogg": "audio/ogg",
    "application/x-pdf": "application/pdf",
    "audio/aacp": "audio/aac",
    "audio/acc": "audio/aac",  # as 360dialog's page spells the extension
    "audio/m4a": "audio/mp4",
    "audio/mp3": "audio/mpeg",
    "audio/mpeg3": "audio/mpeg",
    "audio/opus": "audio/ogg",  # passes the uploader, then fails at send with 131053
    "audio/x-aac": "audio/aac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/x-mpeg-3": "audio/mpeg",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "text/txt": "text/plain",
    "video/3gp": "video/3gpp",  # as 360dialog's page spells it
    "video/m4v": "video/mp4",
    "video/x-m4v": "video/mp4",
}
"""Wrong but common words for an accepted type -> the right word. ``audio/3gpp`` is not one: WhatsApp takes no audio-only 3GP."""

EXTENSION_SLIPS: dict[str, str] = {
    ".acc": "audio/aac",  # as 360dialog's page spells it
    ".3gpp": "video/3gpp",
    ".jfif": "image/jpeg",
    ".jpe": "image/jpeg",
    ".log": "text/plain",
    ".m4b": "audio/mp4",
    ".m4v": "video/mp4",
    ".mp4": "audio/mp4",  # right for video; an audio-only file of that name is sent as .m4a
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".text": "text/plain",
}
"""Endings that are understood for this one type, and mended to its canonical one."""

_TYPES_BY_EXTENSION: dict[str, str] = {ext: limit.mime_type for limit in LIMITS for ext in limit.extensions}


def canonical_mime(text: str) -> tuple[str, bool]:
    """Read a word for a type as its writer meant it.

    Args:
        text: for example ``Audio/OGG; codecs=opus`` or ``video/3gp``.

    Returns:
        The type in lower case, without parameters and spaces, and whether a slip was mended (folding alone is no slip). A
        type that is not accepted comes back as it is.
    """
    folded = "".join(text.partition(";")[0].split()).lower()
    mended = MIME_SLIPS.get(folded)
    return (folded, False) if mended is None else (mended, True)


def kind_of(mime_type: str) -> Kind | None:
    """The kind of message that an accepted type belongs to; None where the type is not accepted. Expects a canonical type."""
    limit = BY_MIME_TYPE.get(mime_type)
    return None if limit is None else limit.kind


def extension_for(mime_type: str) -> str | None:
    """The canonical extension, with dot, of an accepted type; None where the type is not accepted."""
    limit = BY_MIME_TYPE.get(mime_type)
    return None if limit is None else limit.extensions[0]


def type_for_extension(extension: str) -> str | None:
    """The accepted type that an extension (lower case, with dot) belongs to, known slips included; else None."""
    return _TYPES_BY_EXTENSION.get(extension) or EXTENSION_SLIPS.get(extension)


def size_text(size_bytes: int) -> str:
    """A binary limit in words, for example ``5 MiB``."""
    return f"{size_bytes // MIB} MiB" if size_bytes >= MIB else f"{size_bytes // KIB} KiB"


def render_limits_table() -> str:
    """The table as Markdown, with a final newline, for the README."""
    lines = ["| kind | MIME type | extension | refused above | warned above |", "|---|---|---|---|---|"]
    for limit in LIMITS:
        refused, warned = size_text(limit.max_bytes), f"{limit.warn_above_bytes:,} bytes"
        if limit.animated_max_bytes is not None:
            refused += f", animated {size_text(limit.animated_max_bytes)}"
            warned += f", animated {limit.animated_warn_above_bytes:,} bytes"
        extensions = ", ".join(f"`{extension}`" for extension in limit.extensions)
        lines.append(f"| {limit.kind} | `{limit.mime_type}` | {extensions} | {refused} | {warned} |")
    return "\n".join(lines) + "\n"
