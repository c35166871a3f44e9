"""Which files the upload endpoint takes: the MIME types of Meta's own refusal text and the size limit of each kind.

Sizes are the binary reading of the published megabytes, the only one that a client has been seen to use. Stickers have
no limit here: a 2.16 MB animated sticker was recorded as accepted (`facts.md`, section 8).
"""

from __future__ import annotations

import re

MEBIBYTE = 1024 * 1024
IMAGE_MAX_BYTES = 5 * MEBIBYTE
AUDIO_MAX_BYTES = 16 * MEBIBYTE
VIDEO_MAX_BYTES = 16 * MEBIBYTE
DOCUMENT_MAX_BYTES = 100 * MEBIBYTE

_OPENXML = "application/vnd.openxmlformats-officedocument."

# In the order in which Meta's refusal lists them.
MAX_BYTES_BY_MIME: dict[str, int | None] = {
    "audio/aac": AUDIO_MAX_BYTES,
    "audio/mp4": AUDIO_MAX_BYTES,
    "audio/mpeg": AUDIO_MAX_BYTES,
    "audio/amr": AUDIO_MAX_BYTES,
    "audio/ogg": AUDIO_MAX_BYTES,
    "audio/opus": AUDIO_MAX_BYTES,
    "application/vnd.ms-powerpoint": DOCUMENT_MAX_BYTES,
    "application/msword": DOCUMENT_MAX_BYTES,
    _OPENXML + "wordprocessingml.document": DOCUMENT_MAX_BYTES,
    _OPENXML + "presentationml.presentation": DOCUMENT_MAX_BYTES,
    _OPENXML + "spreadsheetml.sheet": DOCUMENT_MAX_BYTES,
    "application/pdf": DOCUMENT_MAX_BYTES,
    "text/plain": DOCUMENT_MAX_BYTES,
    "application/vnd.ms-excel": DOCUMENT_MAX_BYTES,
    "image/jpeg": IMAGE_MAX_BYTES,
    "image/png": IMAGE_MAX_BYTES,
    "image/webp": None,
    "video/mp4": VIDEO_MAX_BYTES,
    "video/3gpp": VIDEO_MAX_BYTES,
}

_EXTENSIONS = {
    "audio/aac": "aac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/amr": "amr",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "application/vnd.ms-powerpoint": "ppt",
    "application/msword": "doc",
    _OPENXML + "wordprocessingml.document": "docx",
    _OPENXML + "presentationml.presentation": "pptx",
    _OPENXML + "spreadsheetml.sheet": "xlsx",
    "application/pdf": "pdf",
    "text/plain": "txt",
    "application/vnd.ms-excel": "xls",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "video/mp4": "mp4",
    "video/3gpp": "3gp",
}

_MEDIA_ID = re.compile(r"[0-9]{1,32}\Z")


def plain_mime(content_type: str) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def extension_of(content_type: str) -> str:
    """Return the usual file extension of a content type, `bin` if it has none."""
    return _EXTENSIONS.get(plain_mime(content_type), "bin")


def is_media_id(text: str) -> bool:
    """Tell whether a path segment has the shape of a media id."""
    return _MEDIA_ID.match(text) is not None


def kind_of(mime_type: str) -> str:
    """Return the webhook's word for a content type: image, audio, video, sticker or document."""
    mime = plain_mime(mime_type)
    if mime == "image/webp":
        return "sticker"
    family = mime.partition("/")[0]
    return family if family in {"image", "audio", "video"} else "document"


def waba_id_of(number_id: str) -> str:
    """Return the id of the WhatsApp business account that a number belongs to here: made up, but stable."""
    return number_id[::-1].lstrip("0") + "1"


def type_refusal(mime_type: str) -> str:
    """Return Meta's sentence for a file of a type that it does not take."""
    return (
        f"(#100) Param file must be a file with one of the following types: {', '.join(MAX_BYTES_BY_MIME)}. "
        f"Received file of type '{mime_type}'."
    )
