"""Containers that keep a directory: zip (docx, xlsx, pptx and everything else in a zip) and OLE2 (doc, xls, ppt).

Reads directories only and never unpacks anything, so no file can make it work long or need much memory.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from airflow_provider_360dialog.media.content import NOT_A_FILE_TO_SEND, TO_DOCUMENT, TO_PLAIN_FILE, Content
from airflow_provider_360dialog.media.limits import DOC, DOCX, PPT, PPTX, XLS, XLSX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_360dialog.media.content import Sample

# --- zip ----------------------------------------------------------------------------------------------------------

_END_BYTES = 22 + 65_535  # the end record and the longest comment behind it
_ZIP64_END_BYTES = 56 + 20  # the larger end record, and the locator between it and the usual one
_MAX_ENTRIES = 20_000

_BROKEN_ZIP = Content(
    "application/zip",
    "a zip or Office file that is damaged or cut off",
    "Open the file yourself, and save or copy it again.",
    compatible=(DOCX, XLSX, PPTX),
)
_ZIP = Content("application/zip", "a zip archive", TO_PLAIN_FILE)
_OFFICE = (
    ("word/", Content(DOCX, "a Word document (docx)"), "word.document"),
    ("xl/", Content(XLSX, "an Excel workbook (xlsx)"), "excel.sheet"),
    ("ppt/", Content(PPTX, "a PowerPoint presentation (pptx)"), "powerpoint.presentation"),
)
_BY_PART = (
    ("AndroidManifest.xml", Content("application/vnd.android.package-archive", "an Android app", NOT_A_FILE_TO_SEND)),
    ("META-INF/MANIFEST.MF", Content("application/java-archive", "a Java archive", NOT_A_FILE_TO_SEND)),
)
_STORED_TYPES = {
    b"application/vnd.oasis.opendocument.text": "an OpenDocument text",
    b"application/vnd.oasis.opendocument.spreadsheet": "an OpenDocument spreadsheet",
    b"application/vnd.oasis.opendocument.presentation": "an OpenDocument presentation",
    b"application/epub+zip": "an e-book (EPUB)",
}


def read_zip(sample: Sample) -> Content:
    """The type of a file that begins like a zip archive, by the names of its parts."""
    names = set(_part_names(sample.tail or sample.head))
    if not names:
        return _BROKEN_ZIP
    lower_names = {name.lower() for name in names}  # in Office files, names of parts differ by more than case (ECMA-376-2)
    if "[content_types].xml" in lower_names:
        for folder, content, word in _OFFICE:
            parts = [name for name in lower_names if name.startswith(folder)]
            if parts:
                return _without_macros(parts, folder, content, word)
    if "mimetype" in names:
        return _stored_type(sample.head)
    return next((content for part, content in _BY_PART if part in names), _ZIP)


def _without_macros(parts: list[str], folder: str, content: Content, word: str) -> Content:
    if f"{folder}vbaproject.bin" in parts:
        mime_type = f"application/vnd.ms-{word}.macroenabled.12"
        return Content(mime_type, "an Office file with macros", "Save it without macros, or export it as PDF.")
    if "xl/workbook.bin" in parts:
        mime_type = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
        return Content(mime_type, "a binary Excel workbook (xlsb)", "Save it as .xlsx.")
    return content


def _stored_type(head: bytes) -> Content:
    """OpenDocument and EPUB put their type, unpacked, into the first part."""
    start = 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    stored = head[start : start + 80]
    for mime_type, label in sorted(_STORED_TYPES.items()):
        if stored.startswith(mime_type):
            return Content(mime_type.decode(), label, TO_DOCUMENT)
    return _ZIP


def _part_names(end_of_file: bytes) -> Iterator[str]:
    found = directory_of(end_of_file)
    at = -1 if found is None else found[0]
    if at < 0:
        return  # the directory is longer than what was kept, or its length is nonsense
    for _ in range(_MAX_ENTRIES):
        entry = end_of_file[at : at + 46]
        if len(entry) < 46 or entry[:4] != b"PK\x01\x02":
            return
        length, extra, comment = (int.from_bytes(entry[i : i + 2], "little") for i in (28, 30, 32))
        yield end_of_file[at + 46 : at + 46 + length].decode("utf-8", "replace").replace("\\", "/")
        at += 46 + length + extra + comment


def directory_of(end: bytes) -> tuple[int, int, int] | None:
    """Where the directory starts and ends in these bytes (before their beginning: below 0), and where it says that it starts."""
    at, last = len(end), None
    while (at := end.rfind(b"PK\x05\x06", max(0, len(end) - _END_BYTES), at)) >= 0:
        if at + 22 > len(end):
            continue
        length, recorded_at, comment = struct.unpack_from("<IIH", end, at + 12)
        if at + 22 + comment > len(end):  # the mark stands in a comment
            continue
        found = _with_zip64(end, at, length, recorded_at)
        if found[0] < 0 or end[found[0] : found[0] + 4] == b"PK\x01\x02":
            return found
        last = last or found
    return last


def _with_zip64(end: bytes, at: int, length: int, recorded_at: int) -> tuple[int, int, int]:
    """The larger end record counts where there is one: some writers always add it, Office needs it never."""
    ends_at = at
    large_at = at - _ZIP64_END_BYTES
    if large_at >= 0 and end[at - 20 : at - 16] == b"PK\x06\x07" and end[large_at : large_at + 4] == b"PK\x06\x06":
        ends_at = large_at
        length, recorded_at = struct.unpack_from("<QQ", end, large_at + 40)
    return ends_at - length, ends_at, recorded_at


# --- OLE2 ---------------------------------------------------------------------------------------------------------

OLE2_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAX_SECTORS = 256  # of a directory; Office files need one to a few
_END_OF_CHAIN = 0xFFFFFFFA  # this and above are marks, not sector numbers

_WORD = Content(DOC, "a Word document (doc)")
_EXCEL = Content(XLS, "an Excel workbook (xls)")
_POWERPOINT = Content(PPT, "a PowerPoint presentation (ppt)")
_SOME_OFFICE = Content(
    None,
    "an old Office file (doc, xls or ppt; these bytes do not tell which)",
    "Say which by the extension or the MIME type.",
    candidates=(DOC, XLS, PPT),
)
_OTHER_OLE2 = Content("application/x-ole-storage", "an OLE2 file that is neither doc, xls nor ppt", TO_DOCUMENT)
_LOCKED = Content(
    "application/x-ole-storage",
    "a password-protected Office file",
    "Remove the password, or export it as PDF.",
    compatible=(DOC, DOCX, XLS, XLSX, PPT, PPTX),
)
_OUTLOOK = Content("application/vnd.ms-outlook", "an Outlook message", "Export it as PDF.")
_BY_STREAM = {"WordDocument": _WORD, "Workbook": _EXCEL, "Book": _EXCEL, "PowerPoint Document": _POWERPOINT}
_BY_ROOT_CLASS = {  # a document that embeds another has the streams of both; the class of its root says which it is
    bytes.fromhex("0609020000000000c000000000000046"): _WORD,
    bytes.fromhex("0009020000000000c000000000000046"): _WORD,
    bytes.fromhex("2008020000000000c000000000000046"): _EXCEL,
    bytes.fromhex("1008020000000000c000000000000046"): _EXCEL,
    bytes.fromhex("108d81649b4fcf1186ea00aa00b929e8"): _POWERPOINT,
}


def read_ole2(sample: Sample) -> Content:
    """The type of a file that begins with the OLE2 mark, by its root's class and the names of its streams."""
    entries = list(_directory(sample))
    names = {name for name, _ in entries}
    if "EncryptedPackage" in names:
        return _LOCKED
    if any(name.startswith("__substg1.0_") for name in names):
        return _OUTLOOK
    by_class = next((_BY_ROOT_CLASS.get(cls) for name, cls in entries if name == "Root Entry"), None)
    found = {content.mime_type: content for name, content in _BY_STREAM.items() if name in names}
    if by_class is not None and by_class.mime_type in found:
        return by_class
    if len(found) == 1:
        return next(iter(found.values()))
    return _OTHER_OLE2 if entries and not found else _SOME_OFFICE


def _directory(sample: Sample) -> Iterator[tuple[str, bytes]]:
    """Name and class id of each directory entry that lies in what was kept; nothing where a part of the chain does not."""
    shift = int.from_bytes(sample.slice(30, 2), "little")
    if shift not in {9, 12}:
        return
    width = 1 << shift
    sectors = []
    for number in _chain(sample, int.from_bytes(sample.slice(48, 4), "little"), width):
        sector = sample.slice((number + 1) * width, width) if number >= 0 else b""
        if len(sector) < width:
            return
        sectors.append(sector)
    for sector in sectors:
        for at in range(0, width, 128):
            length = int.from_bytes(sector[at + 64 : at + 66], "little")
            if 2 <= length <= 64:
                yield sector[at : at + length - 2].decode("utf-16-le", "replace"), sector[at + 80 : at + 96]


def _chain(sample: Sample, number: int, width: int) -> Iterator[int]:
    """The sector numbers of a chain; a last -1 says that it goes on where nothing was kept."""
    for _ in range(_MAX_SECTORS):
        if number >= _END_OF_CHAIN:
            return
        yield number
        table, index = divmod(number, width // 4)
        place = sample.slice(76 + 4 * table, 4) if table < 109 else b""  # the header lists the first 109 tables
        entry = sample.slice((int.from_bytes(place, "little") + 1) * width + 4 * index, 4) if place else b""
        if len(entry) < 4:
            yield -1
            return
        number = int.from_bytes(entry, "little")
