"""Text: plain, or markup that only looks like it; where it breaks, and what it may be instead.

An error page of a broken generator is the commonest bad file, so what begins like HTML is never plain text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_360dialog.media.content import HEAD_BYTES, TO_DOCUMENT, TO_IMAGE, Content
from airflow_provider_360dialog.media.walks import LARGEST_RANGE_BYTES, Range

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


# --- from the first byte to the last ---------------------------------------------------------------------------------

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_MIN_LINES, _MAX_LINES = 5, 50
_SEPARATORS = ((b"\t", 1), (b";", 1), (b"|", 1), (b",", 2))  # with one comma a line, a poem is a table too
_QUOTED = re.compile(rb'"[^"\r\n]*"')
_PAGE_LINE = re.compile(
    rb"^[ \t]{0,80}<(?:!doctype html|/?html|/?body)[ >]|</(?:html|body)>[ \t]{0,80}\r?$", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class TextFacts:
    """A text, from its first byte to its last.

    Attributes:
        encoding: ``utf-8`` or ``utf-16``. bom: it begins with a byte order mark.
        broken_at: offset of the first byte that is no text; None where there is none.
        broken_by: ``encoding`` or ``control``; empty where nothing is broken.
        separator, columns: of a table, by its first lines; empty and 0 where they are none.
        html: among its first lines one begins with the tag that opens or closes an HTML page, or ends with one that closes it.
    """

    encoding: str
    bom: bool
    broken_at: int | None
    broken_by: str
    separator: str
    columns: int
    html: bool


def text_walk() -> Generator[Range, bytes, TextFacts]:
    """Looks at a text while it passes by, for `walks.Passing`."""
    head = yield Range(0, HEAD_BYTES)
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    look = _Look("utf-16" if wide else "utf-8")
    piece, offset, wanted = head, 0, HEAD_BYTES
    while not look.take(piece, offset, at_end=len(piece) < wanted) and len(piece) == wanted:
        offset, wanted = offset + wanted, LARGEST_RANGE_BYTES
        piece = yield Range(offset, wanted)
    start = head.decode("utf-16", "replace").encode() if wide else head.removeprefix(codecs.BOM_UTF8)
    separator, columns = _table(start, whole=len(head) < HEAD_BYTES)
    return TextFacts(
        encoding=look.encoding,
        bom=wide or head.startswith(codecs.BOM_UTF8),
        broken_at=look.broken_at,
        broken_by=look.broken_by,
        separator=separator,
        columns=columns,
        html=_PAGE_LINE.search(start) is not None,
    )


class _Look:
    """Decodes piece after piece and keeps the place of the first byte that is no text."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.broken_at: int | None = None
        self.broken_by = ""
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")

    def take(self, piece: bytes, offset: int, *, at_end: bool) -> bool:
        """True where this piece is broken."""
        undecoded = len(self._decoder.getstate()[0])
        text, places = "", []
        try:
            text = self._decoder.decode(piece, at_end)
        except UnicodeDecodeError as error:
            places.append((offset - undecoded + error.start, "encoding"))
        if self.encoding == "utf-16":
            if "\0" in text:
                in_front = len(text.partition("\0")[0].encode("utf-16-le")) + (0 if offset else len(codecs.BOM_UTF16))
                places.append((offset - undecoded + in_front, "control"))
        elif len(piece.translate(None, _CONTROLS)) != len(piece) and (control := _CONTROL.search(piece)):
            places.append((offset + control.start(), "control"))
        if places:
            self.broken_at, self.broken_by = min(places)
        return bool(places)


def _table(start: bytes, *, whole: bool) -> tuple[str, int]:
    """Separator and columns of a table: every line that is looked at has equally many separators outside of quotes."""
    lines = [_QUOTED.sub(b"", line) for line in start.splitlines()[: None if whole else -1][:_MAX_LINES] if line.strip()]
    if len(lines) < _MIN_LINES:
        return "", 0
    for separator, at_least in _SEPARATORS:
        counts = {line.count(separator) for line in lines}
        if len(counts) == 1 and (count := counts.pop()) >= at_least:
            return separator.decode(), count + 1
    return "", 0
