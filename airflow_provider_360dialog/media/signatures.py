"""The true type of a file, by its first bytes (at most 64 KiB), and by the directory at its end for zip and OLE2.

Strict on purpose: what is not recognised has no type. Types that WhatsApp does not take are recognised too, so that a refusal
can name them. Inspection of codecs, frame rates and colour depths is not the business of this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_360dialog.media.archives import OLE2_MAGIC, read_ole2, read_zip
from airflow_provider_360dialog.media.boxes import read_iso_media
from airflow_provider_360dialog.media.content import (
    NOT_A_FILE_TO_SEND,
    PDF_TAIL_BYTES,
    TAIL_BYTES,
    TO_AUDIO,
    TO_DOCUMENT,
    TO_IMAGE,
    TO_PLAIN_FILE,
    TO_VIDEO,
    Content,
)
from airflow_provider_360dialog.media.sounds import is_amr_frame, read_frames, read_ogg
from airflow_provider_360dialog.media.text import read_markup, read_text

if TYPE_CHECKING:
    from airflow_provider_360dialog.media.content import Sample

_ZIP_MAGIC = b"PK\x03\x04"
_UNKNOWN = Content(None, "of no type that is recognised", "Check that the file is whole, and open it yourself.")
_PDF = Content("application/pdf", "a PDF document")
_PDF_MARK, _PDF_WITHIN_BYTES = b"%PDF-", 1024  # PDF readers accept junk of this length in front

_MAGIC: tuple[tuple[int, bytes, Content], ...] = (
    (0, b"\xff\xd8\xff", Content("image/jpeg", "a JPEG image")),
    (0, b"\x89PNG\r\n\x1a\n", Content("image/png", "a PNG image")),
    (0, _PDF_MARK, _PDF),
    (0, b"#!AMR-WB\n", Content("audio/amr-wb", "wide-band AMR audio", TO_AUDIO)),
    (0, b"GIF87a", Content("image/gif", "a GIF image", "Save it as JPEG or PNG; if it moves, convert it to MP4.")),
    (0, b"GIF89a", Content("image/gif", "a GIF image", "Save it as JPEG or PNG; if it moves, convert it to MP4.")),
    (0, b"II*\x00", Content("image/tiff", "a TIFF image", TO_IMAGE)),
    (0, b"MM\x00*", Content("image/tiff", "a TIFF image", TO_IMAGE)),
    (0, b"\x00\x00\x01\x00", Content("image/x-icon", "an icon (ico)", TO_IMAGE)),
    (0, b"8BPS", Content("image/vnd.adobe.photoshop", "a Photoshop file", TO_IMAGE)),
    (0, b"\xff\x0a", Content("image/jxl", "a JPEG XL image", TO_IMAGE)),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", Content("image/jxl", "a JPEG XL image", TO_IMAGE)),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", Content("image/jp2", "a JPEG 2000 image", TO_IMAGE)),
    (0, b"fLaC", Content("audio/flac", "FLAC audio", TO_AUDIO)),
    (0, b"ADIF", Content("audio/x-hx-aac-adif", "AAC audio in an ADIF container", TO_AUDIO)),
    (0, b"MThd", Content("audio/midi", "a MIDI file", TO_AUDIO)),
    (8, b"AIFF", Content("audio/aiff", "AIFF audio", TO_AUDIO)),
    (0, b"caff", Content("audio/x-caf", "a Core Audio file", TO_AUDIO)),
    (0, b"FLV\x01", Content("video/x-flv", "a Flash video", TO_VIDEO)),
    (
        0,
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        Content("video/x-ms-wmv", "a Windows Media file", TO_VIDEO, compatible=("audio/x-ms-wma",)),
    ),
    (0, b"\x00\x00\x01\xba", Content("video/mpeg", "an MPEG-1/2 video", TO_VIDEO)),
    (0, b"\x00\x00\x01\xb3", Content("video/mpeg", "an MPEG-1/2 video", TO_VIDEO)),
    (0, b"\x1f\x8b\x08", Content("application/gzip", "a gzip file", TO_PLAIN_FILE)),
    (0, b"BZh", Content("application/x-bzip2", "a bzip2 file", TO_PLAIN_FILE)),
    (0, b"\xfd7zXZ\x00", Content("application/x-xz", "an xz file", TO_PLAIN_FILE)),
    (0, b"\x28\xb5\x2f\xfd", Content("application/zstd", "a zstd file", TO_PLAIN_FILE)),
    (0, b"Rar!\x1a\x07", Content("application/vnd.rar", "a RAR archive", TO_PLAIN_FILE)),
    (0, b"7z\xbc\xaf\x27\x1c", Content("application/x-7z-compressed", "a 7-Zip archive", TO_PLAIN_FILE)),
    (257, b"ustar", Content("application/x-tar", "a tar archive", TO_PLAIN_FILE)),
    (0, b"PK\x05\x06", Content("application/zip", "an empty zip archive", TO_PLAIN_FILE)),
    (0, b"{\\rtf", Content("application/rtf", "an RTF document", TO_DOCUMENT)),
    (0, b"%!PS", Content("application/postscript", "a PostScript file", TO_DOCUMENT)),
    (0, b"\x7fELF", Content("application/x-executable", "a Linux program", NOT_A_FILE_TO_SEND)),
    (0, b"SQLite format 3\x00", Content("application/vnd.sqlite3", "an SQLite database", NOT_A_FILE_TO_SEND)),
)
_BMP = Content("image/bmp", "a BMP image", TO_IMAGE)
_PROGRAM = Content("application/x-msdownload", "a Windows program", NOT_A_FILE_TO_SEND)
_WEBP = Content("image/webp", "a WebP image")
_ANIMATED_WEBP = Content("image/webp", "an animated WebP image", animated=True)
_AMR = Content("audio/amr", "AMR audio")
_BROKEN_AMR = Content(None, "the mark of AMR without sound behind it", "Export the sound again.")
_BROKEN_WEBP = Content(None, "a damaged WebP image", "Save the image again.")
_WEBM = Content("video/webm", "a WebM file", TO_VIDEO, compatible=("audio/webm",))
_MATROSKA = Content("video/x-matroska", "a Matroska video", TO_VIDEO)
_RIFF = {
    b"WAVE": Content("audio/wav", "WAV audio", TO_AUDIO),
    b"AVI ": Content("video/x-msvideo", "an AVI video", TO_VIDEO),
}
_ANIMATION_FLAG = 0x02
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})


def tail_bytes(head: bytes) -> int:
    """How many bytes of the file's end have to be kept, for its type or for what is wrong inside."""
    if head.startswith((_ZIP_MAGIC, OLE2_MAGIC)):
        return TAIL_BYTES
    return PDF_TAIL_BYTES if _PDF_MARK in head[: _PDF_WITHIN_BYTES + len(_PDF_MARK)] else 0


def read_content(sample: Sample) -> Content:
    """Find the true type of a file.

    Args:
        sample: its first bytes, and its last ones where `tail_bytes` asked for them.

    Returns:
        The type; ``mime_type`` None where none is recognised. Never raises, whatever the bytes are.
    """
    head = sample.head
    if head.startswith(_ZIP_MAGIC):
        return read_zip(sample)
    if head.startswith(OLE2_MAGIC):
        return read_ole2(sample)
    if head.startswith(b"OggS"):
        return read_ogg(head)
    found = _by_magic(head) or _by_structure(head) or read_iso_media(head) or read_frames(sample) or read_markup(head)
    return found or _late_pdf_or_text(sample)


def _by_magic(head: bytes) -> Content | None:
    return next((content for at, magic, content in _MAGIC if head.startswith(magic, at)), None)


def _by_structure(head: bytes) -> Content | None:
    """Types whose first bytes are too short a mark to be believed without a second look."""
    if head[:4] == b"RIFF":
        return _webp(head) if head[8:12] == b"WEBP" else _RIFF.get(head[8:12])
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _WEBM if b"webm" in head[:64] else _MATROSKA
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return _BMP
    if head[:6] == b"#!AMR\n":
        return _AMR if is_amr_frame(head[6:7]) else _BROKEN_AMR
    if head[:2] == b"MZ" and b"\x00" in head[:64]:
        return _PROGRAM
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return Content("video/mp2t", "an MPEG transport stream", TO_VIDEO) if b"\x00" in head[:376] else None
    return None


def _webp(head: bytes) -> Content:
    first = head[12:16]
    if first in {b"VP8 ", b"VP8L"}:
        return _WEBP
    if first != b"VP8X" or len(head) < 30:
        return _BROKEN_WEBP
    return _ANIMATED_WEBP if head[20] & _ANIMATION_FLAG and _may_hold_animation(head) else _WEBP


def _may_hold_animation(head: bytes) -> bool:
    """True where an ANIM chunk is found, or may lie behind the head; the flag alone would win five times the size limit."""
    at = 12
    while at + 8 <= len(head):
        if head[at : at + 4] == b"ANIM":
            return True
        length = int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return at > len(head) or len(head) < 8 + int.from_bytes(head[4:8], "little")


def _late_pdf_or_text(sample: Sample) -> Content:
    text = read_text(sample)
    mark = sample.head.find(_PDF_MARK, 0, _PDF_WITHIN_BYTES)
    if mark >= 0 and (text is None or text.mime_type is None or not sample.head[:mark].strip(b" \t\r\n\xef\xbb\xbf")):
        return _PDF  # a text that only speaks of PDF stays a text
    return text or _UNKNOWN
