"""Text: plain, or markup that only looks like it.

An error page of a broken generator is the commonest bad file, so what begins like HTML is never plain text.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from airflow_provider_360dialog.media.content import TO_DOCUMENT, TO_IMAGE, Content

if TYPE_CHECKING:
    from airflow_provider_360dialog.media.content import Sample

_PLAIN = Content("text/plain", "plain text")
_UTF16 = Content("text/plain", "plain text in UTF-16", utf16=True)
_NOT_UTF8 = Content(None, "text that is not UTF-8", "Save it as UTF-8.")
_ERROR_PAGE = "Look at what produced the file: HTML in the place of another file is mostly an error page."
_HTML = Content("text/html", "an HTML page", _ERROR_PAGE)
_SVG = Content("image/svg+xml", "an SVG drawing", TO_IMAGE)
_XML = Content("application/xml", "an XML file", TO_DOCUMENT)

_CONTROLS = bytes(code for code in [*range(32), 127] if code not in b"\t\n\r\x0c")
_MARKUP_BYTES = 4096  # a licence in a comment may stand in front
_HTML_TAGS = (
    "!doctype html", "html", "head", "body", "title", "meta", "script", "style", "link", "iframe", "table", "div", "span", "p",
    "h1", "h2", "h3", "br", "b", "a", "center", "pre", "font", "form", "img", "ul", "ol", "section",
)  # fmt: skip
_HTML_STARTS = tuple(f"<{tag}{end}".encode() for tag in _HTML_TAGS for end in ("", " ", ">", "/", "\n", "\r", "\t") if end)
_BOM8, _BOM16 = codecs.BOM_UTF8, (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_markup(head: bytes) -> Content | None:
    """HTML, SVG or XML by its first tag, in any encoding; None for everything else."""
    start = head[:_MARKUP_BYTES]
    if start.startswith(_BOM16):
        start = start.decode("utf-16", "replace").encode()
    start = start.removeprefix(_BOM8).lstrip().lower()
    while start.startswith(b"<!--"):
        start = start.partition(b"-->")[2].lstrip()
    if not start.startswith(b"<"):
        return None
    if start.startswith(_HTML_STARTS) or b"<html" in start:
        return _HTML
    if start.startswith(b"<svg") or (b"<svg" in start and start.startswith((b"<?xml", b"<!doctype svg"))):
        return _SVG
    return _XML if start.startswith(b"<?xml") else None


def read_text(sample: Sample) -> Content | None:
    """Plain text, whole characters and no control characters, as far as the head shows; else None."""
    head = sample.head
    if head.startswith(_BOM16):
        return _UTF16 if _is_utf16(head, whole=sample.whole) else None
    if len(head.translate(None, _CONTROLS)) != len(head):
        return None
    try:
        codecs.utf_8_decode(head, "strict", sample.whole)  # where there is more, the last character may be cut in two
    except UnicodeDecodeError:
        return _NOT_UTF8 if _mostly_ascii(head) else None
    return _PLAIN


def _is_utf16(head: bytes, *, whole: bool) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-16")().decode(head, final=whole)
    except UnicodeDecodeError:
        return False
    return not any(ord(char) < 32 and char not in "\t\n\r\x0c" for char in text[:4096])


def _mostly_ascii(head: bytes) -> bool:
    """True where seven of eight bytes are ASCII, as in most Latin-1 texts and in no compressed data."""
    return len(head.translate(None, bytes(range(128)))) * 8 < len(head)
