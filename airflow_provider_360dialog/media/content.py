"""What the bytes of a file say of themselves, and the types that WhatsApp does not take but that deserve their name.

Records and tables only; reading bytes is the business of `signatures` and the modules beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 64 * 1024
"""How much of a file's beginning is looked at."""

TAIL_BYTES = 4 * 1024 * 1024
"""How much of a file's end is looked at, and only where the format keeps its directory there (zip, OLE2)."""

PDF_TAIL_BYTES = 256 * 1024
"""How much of a PDF's end is looked at, where its trailer is."""


@dataclass(frozen=True)
class Content:
    """The true type of a file.

    Attributes:
        mime_type: None where no type is recognised.
        label: the type in words, with its article, to be put into a sentence.
        remedy: what to do where the type is not accepted; empty where it is.
        animated: True for a WebP with several frames.
        utf16: True for text in UTF-16.
        candidates: accepted types that these bytes do not tell apart; a declared type, kind or name may choose among them,
            otherwise ``mime_type`` holds.
        compatible: further types that the file may rightly be called by, though it cannot be sent (Vorbis is called Ogg).
    """

    mime_type: str | None
    label: str
    remedy: str = ""
    animated: bool = False
    utf16: bool = False
    candidates: tuple[str, ...] = ()
    compatible: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """The parts of a file that are looked at.

    Attributes:
        head: its first bytes, at most `HEAD_BYTES`. size_bytes: of the whole file.
        tail: its last bytes, at most `TAIL_BYTES`; empty where they were not kept.
    """

    head: bytes
    size_bytes: int
    tail: bytes = b""

    @property
    def whole(self) -> bool:
        """True where the head is the whole file."""
        return self.size_bytes <= len(self.head)

    def slice(self, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset`` of the file; shorter or empty where they were not kept."""
        if offset < 0:
            return b""
        if offset + length <= len(self.head):
            return self.head[offset : offset + length]
        start = offset - (self.size_bytes - len(self.tail))
        return self.tail[start : start + length] if start >= 0 else b""


TO_IMAGE = "Save it as JPEG or PNG."
TO_VIDEO = "Convert it to MP4 (H.264 video, AAC audio)."
TO_AUDIO = "Convert it to MP3, M4A or Ogg/Opus."
TO_DOCUMENT = "Export it as PDF or as a current Office format."
TO_PLAIN_FILE = "Send the file that is inside of it, or a link to it."
TO_TEXT = "Rename it to .txt, or pass mime_type='text/plain', to send it as plain text."
NOT_A_FILE_TO_SEND = "Look at what produced the file: this is rarely what was meant to be sent."

TEXT_TYPES: dict[str, str] = {
    ".bat": "text/x-bat",
    ".cmd": "text/x-bat",
    ".css": "text/css",
    ".csv": "text/csv",
    ".eml": "message/rfc822",
    ".htm": "text/html",
    ".html": "text/html",
    ".ics": "text/calendar",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".php": "text/x-php",
    ".py": "text/x-python",
    ".sh": "text/x-sh",
    ".sql": "text/x-sql",
    ".svg": "image/svg+xml",
    ".tsv": "text/tab-separated-values",
    ".vcf": "text/vcard",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
"""Extensions of types that are written in text and that WhatsApp does not take under their own name."""

OTHER_TYPES: dict[str, str] = {
    **TEXT_TYPES,
    ".3g2": "video/3gpp2",
    ".7z": "application/x-7z-compressed",
    ".aif": "audio/aiff",
    ".aiff": "audio/aiff",
    ".apk": "application/vnd.android.package-archive",
    ".avi": "video/x-msvideo",
    ".avif": "image/avif",
    ".awb": "audio/amr-wb",
    ".bmp": "image/bmp",
    ".bz2": "application/x-bzip2",
    ".dll": "application/x-msdownload",
    ".docm": "application/vnd.ms-word.document.macroenabled.12",
    ".epub": "application/epub+zip",
    ".exe": "application/x-msdownload",
    ".flac": "audio/flac",
    ".flv": "video/x-flv",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".heif": "image/heic",
    ".ico": "image/x-icon",
    ".jar": "application/java-archive",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".msg": "application/vnd.ms-outlook",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".pptm": "application/vnd.ms-powerpoint.presentation.macroenabled.12",
    ".ps": "application/postscript",
    ".psd": "image/vnd.adobe.photoshop",
    ".rar": "application/vnd.rar",
    ".rtf": "application/rtf",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".wma": "audio/x-ms-wma",
    ".wmv": "video/x-ms-wmv",
    ".xlsb": "application/vnd.ms-excel.sheet.binary.macroenabled.12",
    ".xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    ".zip": "application/zip",
}
"""Extensions of types that are not accepted. An extension that is neither here nor in the limits table counts as none."""
