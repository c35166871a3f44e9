"""The true type, by the bytes alone."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.media import limits
from airflow_provider_360dialog.media.content import HEAD_BYTES, Sample
from airflow_provider_360dialog.media.signatures import read_content, tail_bytes
from tests.media import builders as b


def content_of(data):
    head = data[:HEAD_BYTES]
    return read_content(Sample(head, len(data), data[-tail_bytes(head) :] if tail_bytes(head) else b""))


@pytest.mark.parametrize("mime_type", sorted(b.BUILDERS))
def test_every_accepted_type_is_recognised(mime_type):
    content = content_of(b.BUILDERS[mime_type]())
    assert content.mime_type == mime_type
    assert not content.remedy


FTYP = b.box(b"ftyp", b"isom", bytes(4))
WIDE_MDAT = b"\0\0\0\1mdat" + (16 + 50).to_bytes(8, "big") + bytes(50)
MOOV_SOUND = b.box(b"moov", b.track(b"soun"))
WORD_CLASS = "0609020000000000c000000000000046"
EXCEL_CLASS = "2008020000000000c000000000000046"


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        pytest.param(b.id3(b.mp3()), "audio/mpeg", id="MP3 behind an ID3 tag"),
        pytest.param(b.id3(b.mp3(), 100_000), "audio/mpeg", id="MP3 behind a tag longer than the head"),
        pytest.param(b.id3(b.adts()), "audio/aac", id="AAC behind an ID3 tag"),
        pytest.param(b.id3(bytes(500) + b.mp3()), "audio/mpeg", id="MP3 behind padding"),
        pytest.param(b.mp3(1), "audio/mpeg", id="MP3 of one frame"),
        pytest.param(b.mp3(2) + b"TAG" + bytes(125), "audio/mpeg", id="MP3 with an old tag at its end"),
        pytest.param(b.mp3(1) + bytes(100), None, id="one frame header and then something else is no MP3"),
        pytest.param(b"\xff\xfb\x90\x00", None, id="a frame that is cut off is no MP3"),
        pytest.param((b"\xff\xfd\x84\x00" + bytes(380)) * 2, "audio/mp2", id="layer II is named"),
        pytest.param(b.iso_media(b"isom", b"soun"), "audio/mp4", id="MP4 with sound only"),
        pytest.param(b.iso_media(b"M4A ", b"vide", b"soun"), "video/mp4", id="M4A with a picture is a video"),
        pytest.param(b.iso_media(b"M4A ", b"soun", moov_last=True), "audio/mp4", id="M4A with moov at its end, by brand"),
        pytest.param(b.iso_media(b"isom"), None, id="MP4 without tracks"),
        pytest.param(FTYP + WIDE_MDAT + MOOV_SOUND, "audio/mp4", id="MP4 with a box of 64-bit length in front of its tracks"),
        pytest.param(FTYP + bytes(4) + MOOV_SOUND[4:], "audio/mp4", id="MP4 whose last box reaches to the end of the file"),
        pytest.param(FTYP + b"\0\0\0\3free" + MOOV_SOUND, "video/mp4", id="MP4 with a box shorter than its header"),
        pytest.param(b.iso_media(b"XXXX", b"vide", compatible=b"mp42"), "video/mp4", id="an unknown brand compatible with MP4"),
        pytest.param(b.iso_media(b"XXXX", b"vide"), None, id="an unknown brand"),
        pytest.param(b.iso_media(b"3gp4", b"soun"), "audio/3gpp", id="3GP with sound only"),
        pytest.param(b.iso_media(b"3g2a", b"vide"), "video/3gpp2", id="3G2"),
        pytest.param(b.iso_media(b"qt  ", b"vide"), "video/quicktime", id="QuickTime"),
        pytest.param(b.box(b"moov", b.track(b"vide")), "video/quicktime", id="QuickTime without a brand"),
        pytest.param(b.iso_media(b"heic"), "image/heic", id="HEIC"),
        pytest.param(b.iso_media(b"mif1", compatible=b"miafheic"), "image/heic", id="HEIC by its general brand"),
        pytest.param(b.iso_media(b"mif1", compatible=b"miafavif"), "image/avif", id="AVIF by its general brand"),
        pytest.param(b.iso_media(b"avif"), "image/avif", id="AVIF"),
        pytest.param(b.ogg(b"\x01vorbis" + bytes(23)), "audio/vorbis", id="Vorbis"),
        pytest.param(b.ogg(b"\x7fFLAC\1\0"), "audio/flac", id="FLAC in Ogg"),
        pytest.param(b.ogg(b"Speex   1.2"), "audio/speex", id="Speex"),
        pytest.param(b.ogg(b"\x80theora\3"), "video/ogg", id="Theora"),
        pytest.param(b.ogg(b.OPUS, b"\x80theora\3"), "video/ogg", id="Theora behind Opus"),
        pytest.param(b"OggS" + bytes(4), "application/ogg", id="Ogg that is cut off"),
        pytest.param(b"GIF89a" + bytes(20), "image/gif", id="GIF"),
        pytest.param(b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(40), "image/bmp", id="BMP"),
        pytest.param(b"BMW drivers meet at nine.", "text/plain", id="text that begins like a BMP"),
        pytest.param(b"II*\0" + bytes(20), "image/tiff", id="TIFF"),
        pytest.param(b"\0\0\1\0" + bytes(20), "image/x-icon", id="ICO"),
        pytest.param(b"RIFF\0\0\0\0WAVEfmt ", "audio/wav", id="WAV"),
        pytest.param(b"RIFF\0\0\0\0AVI LIST", "video/x-msvideo", id="AVI"),
        pytest.param(b.webp(chunk=b"JUNK"), None, id="damaged WebP"),
        pytest.param(b"FORM\0\0\0\0AIFFCOMM", "audio/aiff", id="AIFF"),
        pytest.param(b"fLaC" + bytes(20), "audio/flac", id="FLAC"),
        pytest.param(b"#!AMR-WB\n" + bytes(20), "audio/amr-wb", id="wide-band AMR"),
        pytest.param(b"\x1a\x45\xdf\xa3\x42\x82\x84webm" + bytes(9), "video/webm", id="WebM"),
        pytest.param(b"\x1a\x45\xdf\xa3\x42\x82\x88matroska", "video/x-matroska", id="Matroska"),
        pytest.param(b"\n\n" + b.PDF, "application/pdf", id="PDF behind line ends"),
        pytest.param(bytes(900) + b.PDF, "application/pdf", id="PDF behind junk"),
        pytest.param(bytes(1100) + b.PDF, None, id="PDF mark too far behind"),
        pytest.param(b"<br />\n<b>Warning</b>: x in y\n" + b.PDF, "text/html", id="PDF behind an error message in HTML"),
        pytest.param(b"A PDF begins with %PDF-1.4.", "text/plain", id="text that speaks of PDF"),
        pytest.param(b.ole2("WordDocument", padding_sectors=90), limits.DOC, id="doc with its directory behind padding"),
        pytest.param(b.ole2("WordDocument", padding_sectors=126 - 4), limits.DOC, id="doc of one full allocation table"),
        pytest.param(b.ole2("a", "b", "c", "d", "e", "Workbook"), limits.XLS, id="xls whose directory has two sectors"),
        pytest.param(b.ole2("Book"), limits.XLS, id="xls of Excel 5"),
        pytest.param(b.ole2("WordDocument", "Workbook", root_class=WORD_CLASS), limits.DOC, id="doc that embeds an xls"),
        pytest.param(b.ole2("WordDocument", "Workbook", root_class=EXCEL_CLASS), limits.XLS, id="xls that embeds a doc"),
        pytest.param(b.ole2("WordDocument", "Workbook"), None, id="an Office file that names no class"),
        pytest.param(b.ole2("WordDocument")[:600], None, id="an Office file without its directory"),
        pytest.param(b.ole2("EncryptedPackage", "EncryptionInfo"), "application/x-ole-storage", id="Office file with a password"),
        pytest.param(b.ole2("__substg1.0_0037001F"), "application/vnd.ms-outlook", id="Outlook message"),
        pytest.param(b.ole2("Something"), "application/x-ole-storage", id="another OLE2 file"),
        pytest.param(b.office("word/document.xml", "word/embeddings/xl.xlsx"), limits.DOCX, id="docx that embeds an xlsx"),
        pytest.param(b.office("word\\document.xml"), limits.DOCX, id="docx with backslashes"),
        pytest.param(
            b.office("word/document.xml", "word/vbaProject.bin"),
            "application/vnd.ms-word.document.macroenabled.12",
            id="docx with macros",
        ),
        pytest.param(b.office("xl/workbook.bin"), "application/vnd.ms-excel.sheet.binary.macroenabled.12", id="xlsb"),
        pytest.param(b.office("word/document.xml")[:-30], "application/zip", id="docx that is cut off"),
        pytest.param(b.zipped("word/document.xml"), "application/zip", id="a zip with a folder named word"),
        pytest.param(b"PK\3\4" + b.office()[-22:], "application/zip", id="zip without the directory that its end speaks of"),
        pytest.param(b.zipped("a.txt"), "application/zip", id="zip"),
        pytest.param(b.zipped("META-INF/MANIFEST.MF"), "application/java-archive", id="jar"),
        pytest.param(
            b.zipped("content.xml", first=("mimetype", b"application/vnd.oasis.opendocument.text")),
            "application/vnd.oasis.opendocument.text",
            id="odt",
        ),
        pytest.param(b"\x1f\x8b\x08" + bytes(20), "application/gzip", id="gzip"),
        pytest.param(b"Rar!\x1a\x07\x01\0", "application/vnd.rar", id="RAR"),
        pytest.param(b"7z\xbc\xaf\x27\x1c" + bytes(9), "application/x-7z-compressed", id="7-Zip"),
        pytest.param(b"MZ\x90\0\3" + bytes(80), "application/x-msdownload", id="Windows program"),
        pytest.param(b"MZ is the mark of a program.", "text/plain", id="text that begins like a program"),
        pytest.param(b"\x7fELF" + bytes(20), "application/x-executable", id="Linux program"),
        pytest.param(b"{\\rtf1\\ansi hello}", "application/rtf", id="RTF"),
        pytest.param(b.HTML, "text/html", id="HTML"),
        pytest.param(b"\xef\xbb\xbf  <!-- x -->\n<HTML>", "text/html", id="HTML behind BOM, space and comment"),
        pytest.param(b"<!-- " + b"x" * 3000 + b" --><html>", "text/html", id="HTML behind a long comment"),
        pytest.param("<html>é</html>".encode("latin-1"), "text/html", id="HTML in Latin-1"),
        pytest.param("<html>".encode("utf-16"), "text/html", id="HTML in UTF-16"),
        pytest.param(b'<?xml version="1.0"?><html xmlns="">', "text/html", id="XHTML"),
        pytest.param(b"<svg xmlns=''>", "image/svg+xml", id="SVG"),
        pytest.param(b"<?xml version='1.0'?>\n<svg>", "image/svg+xml", id="SVG behind an XML declaration"),
        pytest.param(b"<?xml version='1.0'?><a/>", "application/xml", id="XML"),
        pytest.param(b"< 5 is less than five", "text/plain", id="text with a less-than sign"),
        pytest.param(b"<bob@example.com> wrote", "text/plain", id="text that begins with an address"),
        pytest.param("\ufeffÖffnungszeiten".encode(), "text/plain", id="UTF-8 with BOM"),
        pytest.param("Öffnungszeiten".encode("utf-16"), "text/plain", id="UTF-16 with BOM"),
        pytest.param("Öffnungszeiten, sonst alles in Latin-1".encode("latin-1"), None, id="Latin-1"),
        pytest.param(b"a\0b", None, id="text with NUL"),
        pytest.param(b"a\x1b[31mb", None, id="text with control characters"),
        pytest.param(b"a\tb\r\n\x0cc", "text/plain", id="text with tabs, line and page ends"),
        pytest.param(bytes(range(256)), None, id="bytes of no type"),
    ],
)
def test_content(data, mime_type):
    content = content_of(data)
    assert content.mime_type == mime_type
    assert content.mime_type in limits.BY_MIME_TYPE or content.remedy


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_a_character_that_is_cut_in_two_by_the_end_of_the_head_is_no_fault(shift):
    data = b"x" * shift + "\U0001f600".encode() * (HEAD_BYTES // 4 + 10)
    assert content_of(data).mime_type == "text/plain"


def test_a_character_that_is_cut_in_two_by_the_end_of_the_file_is_a_fault():
    assert content_of(b"Thank you \xf0\x9f\x98").mime_type is None


def test_an_animated_webp_needs_its_flag_and_its_chunk():
    assert content_of(b.webp(animated=True)).animated
    assert not content_of(b.webp()).animated
    assert not content_of(b.webp(animated=True, anim=False)).animated


def test_an_mp4_whose_tracks_are_not_in_sight_may_be_sound():
    content = content_of(b.iso_media(b"isom", b"soun", moov_last=True))
    assert content.candidates == ("video/mp4", "audio/mp4")


def test_an_office_file_larger_than_the_head_is_told_by_its_end():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", "x")
        archive.writestr("ppt/media/video1.bin", bytes(5 * 1024 * 1024))
    assert content_of(out.getvalue()).mime_type == limits.PPTX


@given(st.sampled_from(sorted(b.BUILDERS)), st.data())
def test_a_damaged_file_never_raises(mime_type, data):
    damaged = bytearray(b.BUILDERS[mime_type]())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    content_of(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


STARTS = [
    b"PK\3\4",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"OggS\0\2",
    b"\0\0\0\x18ftyp",
    b"ID3",
    b"\xff\xfb",
    b"\xff\xf1",
    b"RIFF",
    b"\xff\xfe",
]


@given(st.sampled_from([b"", *STARTS]), st.binary(max_size=2000))
def test_random_bytes_never_raise(start, rest):
    content_of(start + rest)


def test_an_office_file_whose_comment_looks_like_its_end_is_one():
    """Its real end record is the one whose comment reaches to the end of the file."""
    out = io.BytesIO(b.office("word/document.xml"))
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"PK\x05\x06" + bytes(30)
    assert content_of(out.getvalue()).mime_type == limits.DOCX
