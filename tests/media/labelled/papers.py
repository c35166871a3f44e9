"""Documents: PDF by hand, Office files as zip archives with the parts that they need, old Office files as OLE2."""

from __future__ import annotations

import io
import struct
import zipfile

from tests.media.builders import ole2, zipped
from tests.media.labelled.labels import Labelled, cut, damaged

MIB, MB = 2**20, 10**6
_PAGE = b"BT /F1 24 Tf 72 760 Td (Invoice 360-0001) Tj ET"
_OBJECTS = (
    b"<< /Type /Catalog /Pages 2 0 R >>",
    b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
    b"<< /Length %d >>\nstream\n%b\nendstream" % (len(_PAGE), _PAGE),
    b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
)
_LOCK = b"<< /Filter /Standard /V 2 /R 3 /Length 128 /P -3904 /O <" + b"3f" * 32 + b"> /U <" + b"7a" * 32 + b"> >>"


def pdf(*more: bytes, trailer: bytes = b"", start: int | None = None, padding: int = 0) -> bytes:
    """A PDF of one page. ``more``: further objects. ``trailer``: what else it says. ``start``: where it says that its table is."""
    out, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate((*_OBJECTS, *more), 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    if padding:
        out += b"%" + bytes(padding - 2) + b"\n"
    at = len(out) if start is None else start
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R %b>>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, trailer, at)
    return bytes(out)


PDF = pdf()


def sized_pdf(size_bytes: int) -> bytes:
    """A PDF of exactly this size: a comment in it is so long that the place of its table has more digits."""
    table_at = PDF.index(b"xref\n0 6")
    more_digits = len(str(size_bytes - len(PDF) + table_at)) - len(str(table_at))
    return pdf(padding=size_bytes - len(PDF) - more_digits)


def _announcing(size_bytes: int) -> bytes:
    """A PDF for the web (linearised) tells its length at its beginning."""
    head = b"%%PDF-1.4\n%%\xe2\xe3\xcf\xd3\n9 0 obj\n<< /Linearized 1 /L %d /N 1 >>\nendobj\n" % size_bytes
    return head + PDF[PDF.index(b"1 0 obj") :]


_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_DOCUMENTS = "http://schemas.openxmlformats.org/officeDocument/2006"
_VENDOR = "application/vnd.openxmlformats-officedocument"
_MAIN_PARTS = {
    "docx": ("word/document.xml", f"{_VENDOR}.wordprocessingml.document.main+xml", "<w:document><w:body/></w:document>"),
    "xlsx": ("xl/workbook.xml", f"{_VENDOR}.spreadsheetml.sheet.main+xml", "<workbook><sheets/></workbook>"),
    "pptx": ("ppt/presentation.xml", f"{_VENDOR}.presentationml.presentation.main+xml", "<p:presentation/>"),
}


def office(sort: str, *more: str, content_type: str | None = None, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An Office file with its main part. ``sort``: docx, xlsx or pptx. ``more``: names of further parts."""
    part, main_type, body = _MAIN_PARTS[sort]
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Override PartName="/{part}" '
        f'ContentType="{content_type or main_type}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_DOCUMENTS}/relationships/officeDocument" Target="{part}"/></Relationships>',
        part: body,
        "docProps/app.xml": "<Properties/>" * 40,
        **dict.fromkeys(more, "part"),
    }
    return archive({name: text.encode() for name, text in parts.items()}, packing)


def archive(parts: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with these parts, of 1980."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, content in parts.items():
            target.writestr(zipfile.ZipInfo(name), content, packing)
    return out.getvalue()


def stored_type(mime_type: str, *names: str) -> bytes:
    """OpenDocument and EPUB: the type is the first part."""
    return archive({"mimetype": mime_type.encode(), **dict.fromkeys(names, b"<x/>")}, zipfile.ZIP_STORED)


def _each_entry(data: bytes, change: dict[int, bytes], *, local: dict[int, bytes] | None = None) -> bytes:
    """The same archive with fields of every entry of its directory (and of the headers in front of its parts) changed."""
    out = bytearray(data)
    for mark, fields in ((b"PK\x01\x02", change), (b"PK\x03\x04", local or {})):
        at = data.find(mark)
        while at >= 0:
            for offset, content in fields.items():
                out[at + offset : at + offset + len(content)] = content
            at = data.find(mark, at + 4)
    return bytes(out)


def _bomb_by_claim() -> bytes:
    return _each_entry(office("xlsx"), {24: struct.pack("<I", 0xFFFFFFF0)})


def _bomb_by_ratio() -> bytes:
    """The list of parts of a bomb whose one sheet is of zeros only; the zeros themselves are left out."""
    return _each_entry(office("xlsx", "xl/worksheets/sheet1.xml"), {24: struct.pack("<I", 200 * MIB)})


def _overlapping() -> bytes:
    """All parts share the bytes of the first, as in a bomb that needs no nesting."""
    return _each_entry(office("docx"), {42: struct.pack("<I", 0)})


def _locked_by_zip() -> bytes:
    return _each_entry(office("docx"), {8: b"\1\0"}, local={6: b"\1\0"})


def _locked_archive() -> bytes:
    return _each_entry(archive({"secret.txt": b"secret" * 40}), {8: b"\1\0"}, local={6: b"\1\0"})


def _hidden_directory(name: str) -> bytes:
    """An old Office file of 8 MiB with its directory in the middle, which is not looked at."""
    data = bytearray(ole2(name, padding_sectors=0).ljust(8 * MIB, b"\0"))
    data[5001 * 512 : 5002 * 512] = data[2 * 512 : 3 * 512]
    data[2 * 512 : 3 * 512] = bytes(512)
    data[48:52] = struct.pack("<I", 5000)
    return bytes(data)


def doc(padding_sectors: int = 4) -> bytes:
    """A Word document of before 2007, as far as its streams say."""
    return ole2("WordDocument", "1Table", "\5SummaryInformation", padding_sectors=padding_sectors)


def xls() -> bytes:
    """An Excel workbook of before 2007."""
    return ole2("Workbook", "\5SummaryInformation", root_class="2008020000000000c000000000000046", padding_sectors=4)


def ppt() -> bytes:
    """A PowerPoint presentation of before 2007."""
    return ole2("PowerPoint Document", "Current User", root_class="108d81649b4fcf1186ea00aa00b929e8", padding_sectors=4)


def locked_office() -> bytes:
    """What Office makes of a docx, xlsx or pptx with a password."""
    return ole2("EncryptedPackage", "EncryptionInfo", "\6DataSpaces", padding_sectors=8)


_MACRO_MAIN = "application/vnd.ms-{}.macroEnabled.main+xml"
_OPEN = "application/vnd.oasis.opendocument."

FILES = [
    Labelled("PDF", "invoice.pdf", lambda: PDF),
    Labelled("PDF with 100 bytes of junk in front", "invoice.pdf", lambda: b"\x81junk\0" + bytes(94) + PDF),
    Labelled("PDF with a blank line in front", "invoice.pdf", lambda: b"\r\n" + PDF),
    Labelled("PDF with 1,000 bytes of junk behind", "invoice.pdf", lambda: PDF + bytes(1000)),
    Labelled("PDF with 2,000 bytes of junk in front", "invoice.pdf", lambda: b"\x81" + bytes(1999) + PDF, accepted=False),
    Labelled("PDF behind the headers of a mail", "invoice.pdf", lambda: b"Subject: your invoice\r\n\r\n" + PDF),
    Labelled("PDF that is encrypted", "invoice.pdf", lambda: pdf(_LOCK, trailer=b"/Encrypt 6 0 R ")),
    Labelled("PDF cut in the middle", "invoice.pdf", lambda: cut(PDF)),
    Labelled("PDF without its end mark", "invoice.pdf", lambda: PDF[:-7]),
    Labelled("PDF cut in the middle, as a document", "invoice.pdf", lambda: cut(PDF), kind="document"),
    Labelled("PDF whose table would begin behind its end", "invoice.pdf", lambda: pdf(start=9_999_999)),
    Labelled("PDF for the web", "invoice.pdf", lambda: _announcing(len(_announcing(1000)))),
    Labelled("PDF for the web that misses 200 bytes", "invoice.pdf", lambda: _announcing(len(_announcing(1000)) + 200)),
    Labelled("PDF declared application/x-pdf", "invoice.pdf", lambda: PDF, mime_type="application/x-pdf"),
    Labelled("PDF as an image", "invoice.pdf", lambda: PDF, kind="image", accepted=False),
    Labelled("PDF called docx", "invoice.docx", lambda: PDF),
    Labelled("PDF of 100,000,000 bytes", "book.pdf", lambda: sized_pdf(100 * MB)),
    Labelled("PDF of 100,000,001 bytes", "book.pdf", lambda: sized_pdf(100 * MB + 1)),
    Labelled("PDF of 100 MiB and a byte", "book.pdf", lambda: sized_pdf(100 * MIB + 1)),
    Labelled("Word document (docx)", "letter.docx", lambda: office("docx")),
    Labelled("Excel workbook (xlsx)", "prices.xlsx", lambda: office("xlsx")),
    Labelled("PowerPoint presentation (pptx)", "talk.pptx", lambda: office("pptx")),
    Labelled("docx with its parts not packed", "letter.docx", lambda: office("docx", packing=zipfile.ZIP_STORED)),
    Labelled("docx with a workbook in it", "letter.docx", lambda: office("docx", "word/embeddings/prices.xlsx")),
    Labelled("docx that calls itself xlsx", "prices.xlsx", lambda: office("docx")),
    Labelled("docx with a zip password", "letter.docx", _locked_by_zip),
    Labelled("zip archive with a password", "secret.zip", _locked_archive, accepted=False),
    Labelled("zip archive with a password, called docx", "letter.docx", _locked_archive, accepted=False),
    Labelled("docx cut in the middle", "letter.docx", lambda: cut(office("docx"))),
    Labelled("docx without its beginning half", "letter.docx", lambda: office("docx")[:30] + office("docx")[230:]),
    Labelled("docx with a damaged list of parts", "letter.docx", lambda: _each_entry(office("docx"), {28: b"\xff\xff"})),
    Labelled("docx whose parts overlap", "letter.docx", _overlapping),
    Labelled("xlsx that claims to unpack to 16 GiB", "prices.xlsx", _bomb_by_claim),
    Labelled("xlsx with parts that claim to swell a thousandfold", "prices.xlsx", _bomb_by_ratio),
    Labelled("Word document (doc)", "letter.doc", doc),
    Labelled("Excel workbook (xls)", "prices.xls", xls),
    Labelled("PowerPoint presentation (ppt)", "talk.ppt", ppt),
    Labelled("workbook of Excel 5", "prices.xls", lambda: ole2("Book", padding_sectors=8)),
    Labelled("xls called doc", "prices.doc", xls),
    Labelled("doc cut in the middle", "letter.doc", lambda: cut(doc(8))),
    Labelled("doc whose header names no sector size", "letter.doc", lambda: damaged(doc(), 30, 32)),
    Labelled("doc with its directory out of sight", "letter.doc", lambda: _hidden_directory("WordDocument")),
    Labelled("doc with its directory out of sight, without a name", "letter", lambda: _hidden_directory("WordDocument")),
    Labelled(
        "docx with macros (docm)",
        "letter.docm",
        lambda: office("docx", "word/vbaProject.bin", content_type=_MACRO_MAIN.format("word.document")),
        accepted=False,
    ),
    Labelled(
        "docx with macros called docx",
        "letter.docx",
        lambda: office("docx", "word/vbaProject.bin", content_type=_MACRO_MAIN.format("word.document")),
        accepted=False,
    ),
    Labelled(
        "docx with macros in a part that is written in capitals",
        "letter.docx",
        lambda: office("docx", "word/VBAPROJECT.BIN", content_type=_MACRO_MAIN.format("word.document")),
        accepted=False,
    ),
    Labelled("xlsx with macros (xlsm)", "prices.xlsm", lambda: office("xlsx", "xl/vbaProject.bin"), accepted=False),
    Labelled("pptx with macros (pptm)", "talk.pptm", lambda: office("pptx", "ppt/vbaProject.bin"), accepted=False),
    Labelled("binary workbook (xlsb)", "prices.xlsb", lambda: office("xlsx", "xl/workbook.bin"), accepted=False),
    Labelled("docx with a password", "letter.docx", locked_office, accepted=False),
    Labelled("xlsx with a password called xls", "prices.xls", locked_office, accepted=False),
    Labelled("OpenDocument text (odt)", "letter.odt", lambda: stored_type(f"{_OPEN}text", "content.xml"), accepted=False),
    Labelled("OpenDocument sheet (ods)", "prices.ods", lambda: stored_type(f"{_OPEN}spreadsheet", "content.xml"), accepted=False),
    Labelled("odt called docx", "letter.docx", lambda: stored_type(f"{_OPEN}text", "content.xml"), accepted=False),
    Labelled(
        "e-book (epub)", "novel.epub", lambda: stored_type("application/epub+zip", "META-INF/container.xml"), accepted=False
    ),
    Labelled("Java archive (jar)", "tool.jar", lambda: zipped("META-INF/MANIFEST.MF", "Main.class"), accepted=False),
    Labelled("Android app (apk)", "app.apk", lambda: zipped("AndroidManifest.xml", "classes.dex"), accepted=False),
    Labelled("Android app called docx", "letter.docx", lambda: zipped("AndroidManifest.xml", "classes.dex"), accepted=False),
    Labelled("zip archive", "photos.zip", lambda: zipped("a.jpg", "b.jpg"), accepted=False),
    Labelled("zip archive called docx", "letter.docx", lambda: zipped("virus.exe"), accepted=False),
    Labelled("empty zip archive", "photos.zip", zipped, accepted=False),
    Labelled("Outlook message (msg)", "mail.msg", lambda: ole2("__substg1.0_0037001F", "__nameid_version1.0"), accepted=False),
    Labelled("Visio drawing called doc", "plan.doc", lambda: ole2("VisioDocument", padding_sectors=4), accepted=False),
    Labelled("RTF", "letter.rtf", lambda: b"{\\rtf1\\ansi Thank you for your order.}", accepted=False),
    Labelled("RTF called doc", "letter.doc", lambda: b"{\\rtf1\\ansi Thank you for your order.}", accepted=False),
    Labelled("PostScript", "letter.ps", lambda: b"%!PS-Adobe-3.0\nshowpage\n", accepted=False),
]
