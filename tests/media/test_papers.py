"""What documents say of themselves: by hand-made files, cut, forged and damaged ones."""

import io
import random
import struct
import time
import tracemalloc
import zipfile
import zlib

import pytest

from airflow_provider_360dialog.media.content import HEAD_BYTES, TAIL_BYTES, Sample
from airflow_provider_360dialog.media.papers import (
    BIG_PART_BYTES,
    PDF_END_BYTES,
    OleFacts,
    PdfFacts,
    ZipFacts,
    read_paper,
    read_parts,
    read_pdf,
    read_sectors,
)
from airflow_provider_360dialog.media.text import text_walk
from airflow_provider_360dialog.media.walks import LARGEST_RANGE_BYTES, Passing, walk_over
from tests.media import builders as b

PLAIN = b"/Size 3 /Root 1 0 R"
LOCKED = PLAIN + b" /Encrypt 2 0 R"


def sample_of(data, tail_bytes=TAIL_BYTES):
    return Sample(data[:HEAD_BYTES], len(data), data[-tail_bytes:])


# --- PDF ----------------------------------------------------------------------------------------------------------


def pdf(trailer=PLAIN, *, body=b"", table_entries=2, in_front=b"", behind=b"", shift=0):
    """With a table of objects, as PDF 1.4 has it."""
    start = b"%PDF-1.4\n" + body + b"\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"
    table = b"xref\n0 %d\n" % table_entries + b"0000000016 00000 n \n" * table_entries
    end = b"trailer\n<< " + trailer + b" >>\nstartxref\n%d\n%%%%EOF\n" % (len(start) + shift)
    return in_front + start + table + end + behind


def pdf_with_stream(keys=PLAIN, *, body=b"", stream=b"\0" * 50, shift=0):
    """With a compressed table of objects, as PDF 1.5 has it."""
    start = b"%PDF-1.5\n" + body
    table = b"7 0 obj\n<< /Type /XRef /W [1 2 1] /Index [0 9] " + keys + b" >>\nstream\n" + stream + b"\nendstream\nendobj\n"
    return start + table + b"startxref\n%d\n%%%%EOF\n" % (len(start) + shift)


def linearised(first=LOCKED, last=b"/Size 2", *, body_bytes=100_000, longer_by=0, short_by=0):
    """The first trailer stands near the beginning, and counts; the last one may say next to nothing."""
    top = b"%PDF-1.4\n5 0 obj\n<< /Linearized 1 /L LLLLLLLLLL /H [ 661 214 ] /O 7 >>\nendobj\n"
    section = b"xref\n0 1\n0000000016 00000 n \ntrailer\n<< " + first + b" >>\nstartxref\n0\n%%EOF\n"
    end = b"xref\n0 1\n0000000016 00000 n \ntrailer\n<< " + last + b" >>\nstartxref\n%d\n%%%%EOF\n" % len(top)
    whole = top + section + b"x" * body_bytes + end
    whole = whole.replace(b"L" * 10, b"%010d" % (len(whole) + longer_by))
    return whole[: len(whole) - short_by]


def facts_of(data, tail_bytes=PDF_END_BYTES):
    return read_pdf(sample_of(data, tail_bytes))


def test_a_small_pdf_tells_its_version_and_its_parts():
    data = pdf()
    assert facts_of(data) == PdfFacts("1.4", 0, True, 0, data.index(b"xref\n"), False, len(data))


def test_a_pdf_that_is_in_the_head_as_a_whole_needs_no_tail():
    data = pdf(LOCKED)
    assert read_pdf(Sample(data, len(data))).encrypted is True


def test_a_pdf_whose_end_was_not_kept_is_not_said_to_be_cut_off():
    data = pdf(body=b"x" * HEAD_BYTES)
    facts = read_pdf(Sample(data[:HEAD_BYTES], len(data)))
    assert (facts.ends, facts.xref_at, facts.encrypted) == (None, None, None)


@pytest.mark.parametrize(
    ("data", "version", "header_at"),
    [
        pytest.param(pdf(), "1.4", 0, id="header in front"),
        pytest.param(pdf(in_front=b"x" * 900), "1.4", 900, id="header behind junk"),
        pytest.param(b"%PDF-x" + pdf()[8:], "", 0, id="header without version"),
        pytest.param(b"\0" * 1100 + pdf(), "", None, id="header too late"),
    ],
)
def test_the_header(data, version, header_at):
    facts = facts_of(data)
    assert (facts.version, facts.header_at) == (version, header_at)


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        pytest.param(pdf(), True, id="whole"),
        pytest.param(pdf(behind=b"<p>junk</p>" * 5800), True, id="junk of almost 64 KiB behind"),
        pytest.param(pdf(behind=b"x" * (PDF_END_BYTES + 1)), False, id="more junk than that"),
        pytest.param(pdf(behind=b"%%EOF " * 500), True, id="junk that looks like an end mark"),
        pytest.param(pdf()[:-7], False, id="end mark cut off"),
        pytest.param(pdf().replace(b"startxref", b"startxxxx"), False, id="no startxref"),
        pytest.param(pdf().replace(b"startxref\n", b"startxref\nx"), False, id="startxref without a number"),
        pytest.param(b"%PDF-1.4\n", False, id="nothing but a header"),
        pytest.param(pdf()[:-7] + b"\n% a comment\n%%EOF", True, id="comment in front of the end mark"),
    ],
)
@pytest.mark.parametrize("tail_bytes", [PDF_END_BYTES + 4096, TAIL_BYTES])
def test_the_end_mark(data, ends, tail_bytes):
    assert facts_of(data, tail_bytes).ends is ends


def test_every_cut_of_a_pdf_is_seen():
    data = pdf(body=b"5 0 obj << /Length 3 >> stream\nabc\nendstream endobj\n")
    whole = data.index(b"%%EOF") + 5
    assert {facts_of(data[:cut]).ends for cut in range(9, whole)} == {False}
    assert facts_of(data[:whole]).ends is True


@pytest.mark.parametrize("body_bytes", [10, 100_000])
def test_a_linearised_pdf_tells_what_is_missing(body_bytes):
    assert facts_of(linearised(body_bytes=body_bytes)).missing_bytes == 0
    assert facts_of(linearised(body_bytes=body_bytes, short_by=50)).missing_bytes == 50
    assert facts_of(linearised(body_bytes=body_bytes) + b"update").missing_bytes == 0
    assert facts_of(b"junk" + linearised(body_bytes=body_bytes)).missing_bytes == 0
    assert facts_of(b"junk" + linearised(body_bytes=body_bytes, short_by=50)).missing_bytes == 50


def test_a_length_counts_in_the_first_dictionary_of_a_linearised_pdf_only():
    assert facts_of(pdf(body=b"2 0 obj << /L 99999999 >> endobj")).missing_bytes == 0
    assert facts_of(pdf(body=b"x" * 3000 + b"2 0 obj << /Linearized 1 /L 99999999 >> endobj")).missing_bytes == 0


NESTED = PLAIN + b" /Info << /Encrypt 1 0 R >> /ID [ (/Encrypt 2 0 R) ]"
WORDS = b"4 0 obj << /Length 60 >> stream\n(/Encrypt 9 0 R) trailer << /Encrypt 9 0 R >> xref\nendstream endobj\n"


@pytest.mark.parametrize(
    ("data", "encrypted"),
    [
        pytest.param(pdf(), False, id="plain"),
        pytest.param(pdf(LOCKED), True, id="encrypted"),
        pytest.param(pdf(b"/Encrypt<</Filter/Standard/V 4>>/Root 1 0 R"), True, id="encryption written in place"),
        pytest.param(pdf(b"/Size 3/#45ncrypt 2 0 R"), True, id="name written with an escape"),
        pytest.param(pdf(b"/Encrypt null /Root 1 0 R"), False, id="no encryption, said aloud"),
        pytest.param(pdf(b"/Encrypter 2 0 R"), False, id="a longer name"),
        pytest.param(pdf(b"/Kind /Encrypt /Size 3"), False, id="the word as a value"),
        pytest.param(pdf(NESTED), False, id="the word in a dictionary, a list and a string"),
        pytest.param(pdf(b"/A (\\) /Encrypt 1 0 R) /B (a(b)/Encrypt 2) /C <2F456E63>"), False, id="the word in odd strings"),
        pytest.param(pdf(b"/A (\\\\) /Encrypt 1 0 R"), True, id="behind a string that ends in a backslash"),
        pytest.param(pdf(b"% /Encrypt 1 0 R\n/Size 3"), False, id="the word in a comment"),
        pytest.param(pdf(NESTED + b" /Encrypt 2 0 R"), True, id="encrypted, behind nested things"),
        pytest.param(pdf(body=WORDS), False, id="the word in a page"),
        pytest.param(pdf(LOCKED, body=WORDS), True, id="the word in a page, and encrypted"),
        pytest.param(pdf(LOCKED, table_entries=9000), True, id="a table longer than the tail"),
        pytest.param(pdf(table_entries=9000), False, id="a table longer than the tail, plain"),
        pytest.param(pdf(LOCKED, in_front=b"j" * 500, shift=0), True, id="offsets that count from the header"),
        pytest.param(pdf(LOCKED, in_front=b"j" * 500, shift=500), True, id="offsets that count from the first byte"),
        pytest.param(pdf(LOCKED, shift=7), True, id="a wrong offset: the trailer in front of startxref"),
        pytest.param(b"j" * 500 + pdf_with_stream(LOCKED), True, id="compressed table, offsets from the header"),
        pytest.param(b"j" * 500 + pdf_with_stream(LOCKED, shift=500), True, id="compressed table, offsets from the first byte"),
        pytest.param(pdf_with_stream(LOCKED, shift=-1), True, id="an offset to the line end in front"),
        pytest.param(pdf(b"/Encrypt % no\n null /Size 3"), False, id="a comment in front of a value"),
        pytest.param(pdf_with_stream(), False, id="compressed table"),
        pytest.param(pdf_with_stream(LOCKED), True, id="compressed table, encrypted"),
        pytest.param(pdf_with_stream(LOCKED, body=b"x" * 200_000), True, id="compressed table in the tail"),
        pytest.param(pdf_with_stream(body=WORDS * 2000), False, id="compressed table behind pages with the word"),
        pytest.param(pdf_with_stream(body=WORDS, shift=3), None, id="a wrong offset and a page with the word"),
        pytest.param(
            pdf_with_stream(LOCKED, body=b"x" * 70_000, stream=b"\0" * 70_000), None, id="compressed table out of sight"
        ),
        pytest.param(linearised(), True, id="linearised: the first trailer counts"),
        pytest.param(linearised(PLAIN), False, id="linearised, plain"),
        pytest.param(linearised(PLAIN, last=LOCKED), False, id="linearised: the last trailer does not count"),
        pytest.param(pdf(LOCKED) + pdf(PLAIN)[9:], True, id="an update whose offset leads to the first trailer"),
        pytest.param(pdf(b"/Size 3")[:-30].replace(b" >>", b""), None, id="a trailer without end"),
    ],
)
def test_encryption(data, encrypted):
    assert facts_of(data).encrypted is encrypted


def test_a_longer_tail_brings_a_compressed_table_into_sight():
    data = pdf_with_stream(LOCKED, body=b"x" * 70_000, stream=b"\0" * 70_000)
    assert facts_of(data, TAIL_BYTES).encrypted is True


def test_a_dictionary_across_head_and_tail_is_read_as_one():
    data = pdf_with_stream(LOCKED, body=b"x" * (HEAD_BYTES - 40))
    assert read_pdf(Sample(data[:HEAD_BYTES], len(data), data[HEAD_BYTES:])).encrypted is True


# --- zip ----------------------------------------------------------------------------------------------------------


def zipped(*parts, comment=b"", method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.comment = comment
        for name, content in parts:
            archive.writestr(name, content)
    return out.getvalue()


OFFICE = (("[Content_Types].xml", b"types" * 50), ("word/document.xml", bytes(5000)), ("word/styles.xml", b"styles"))


def listed(*parts, gap=0, flags=0, extra=b"", place_by=0, directory_by=0):
    """A zip without any content: what its directory says of parts (packed, unpacked) is all that counts."""
    entries, place = [], 0
    for packed, unpacked in parts:
        numbers = (min(packed, 0xFFFFFFFF), min(unpacked, 0xFFFFFFFF), 1, len(extra), 0, 0, 0, 0)
        entries.append(
            struct.pack("<4s6HIIIHHHHHII", b"PK\1\2", 0, 20, flags, 8, 0, 0, 0, *numbers, place + place_by) + b"a" + extra
        )
        place += 31 + min(packed, 1000)
    directory = b"".join(entries)
    local = b"PK\3\4" + bytes(max(0, place - 4 + gap))
    end = struct.pack(
        "<4sHHHHIIH", b"PK\5\6", 0, 0, len(parts) % 65536, len(parts) % 65536, len(directory), len(local) + directory_by, 0
    )
    return local + directory + end


def with_zip64_end(data):
    at = data.rindex(b"PK\5\6")
    count, length, place = struct.unpack("<HII", data[at + 10 : at + 20])
    large = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, place)
    return data[:at] + large + struct.pack("<4sIQI", b"PK\6\7", 0, at, 1) + data[at:]


def with_byte(data, at, byte):
    at %= len(data)
    return data[:at] + bytes([byte]) + data[at + 1 :]


def parts_of(data, tail_bytes=TAIL_BYTES):
    return read_parts(sample_of(data, tail_bytes))


def test_a_zip_is_summed_up():
    with zipfile.ZipFile(io.BytesIO(zipped(*OFFICE))) as archive:
        infos = archive.infolist()
    packed, unpacked = sum(info.compress_size for info in infos), sum(info.file_size for info in infos)
    assert parts_of(zipped(*OFFICE)) == ZipFacts("whole", 3, packed, unpacked)


@pytest.mark.parametrize(
    ("data", "directory"),
    [
        pytest.param(zipped(*OFFICE), "whole", id="whole"),
        pytest.param(zipped(*OFFICE, comment=b"hello"), "whole", id="with a comment"),
        pytest.param(zipped(*OFFICE, comment=b"PK\5\6 and again PK\5\6" * 40), "whole", id="end marks in the comment"),
        pytest.param(zipped(*OFFICE) + b"\r\n", "whole", id="a line end behind"),
        pytest.param(with_zip64_end(zipped(*OFFICE)), "whole", id="with the larger end record"),
        pytest.param(zipped(*OFFICE)[:-1], "missing", id="last byte cut off"),
        pytest.param(zipped(*OFFICE)[:200], "missing", id="cut in the middle"),
        pytest.param(zipped(*OFFICE)[:60] + zipped(*OFFICE)[100:], "missing", id="bytes in front of the directory are gone"),
        pytest.param(b"PK\3\4" + zipped(*OFFICE)[-22:], "missing", id="no directory where the end says"),
        pytest.param(zipped(*OFFICE).replace(b"PK\1\2", b"PK\1\3", 2), "damaged", id="entries overwritten"),
        pytest.param(with_byte(listed((9, 9)), -69 + 32, 99), "damaged", id="an entry that reaches behind the directory"),
        pytest.param(with_byte(listed((9, 9), (9, 9)), -69 + 28, 0), "damaged", id="half an entry"),
    ],
)
def test_the_directory(data, directory):
    assert parts_of(data).directory == directory


def test_a_zip_whose_end_was_not_kept_is_not_said_to_be_damaged():
    data = zipped(("a", random.Random(1).randbytes(HEAD_BYTES)))
    assert read_parts(Sample(data[:HEAD_BYTES], len(data))).directory == "unseen"
    assert read_parts(Sample(zipped(*OFFICE), len(zipped(*OFFICE)))).directory == "whole"


def test_a_directory_longer_than_what_is_looked_at_is_said_to_be_so():
    data = listed(*[(0, 0)] * 3000)
    assert parts_of(data, 100_000).directory == "too_long"
    assert parts_of(data, 200_000).directory == "whole"


def test_a_zip_longer_than_the_tail_is_measured_in_bytes_of_the_file():
    data = zipped(("a", random.Random(1).randbytes(100_000)), ("b", b"b"), method=zipfile.ZIP_STORED)
    facts = parts_of(data, 1000)
    assert (facts.directory, facts.outside, facts.unpacked_bytes) == ("whole", False, 100_001)


@pytest.mark.parametrize(
    ("data", "outside", "overlapping"),
    [
        pytest.param(listed((10, 10), (20, 20)), False, False, id="one behind the other"),
        pytest.param(listed((10, 10), (20, 20), gap=9), False, False, id="a gap"),
        pytest.param(listed((10, 10), (2000, 20)), True, False, id="longer than the room in front of the directory"),
        pytest.param(listed((1200, 10), (20, 20), gap=500), False, True, id="overlapping"),
        pytest.param(listed((10, 10), (10, 10), place_by=1), True, False, id="behind the directory's beginning"),
        pytest.param(zipped(*OFFICE), False, False, id="as zipfile writes it"),
    ],
)
def test_where_parts_lie(data, outside, overlapping):
    facts = parts_of(data)
    assert (facts.directory, facts.outside, facts.overlapping) == ("whole", outside, overlapping)


def test_a_directory_may_list_parts_in_any_order():
    data = listed((10, 10), (20, 20))
    at = data.index(b"PK\1\2")
    swapped = data[:at] + data[at + 47 : at + 94] + data[at : at + 47] + data[at + 94 :]
    assert parts_of(swapped) == parts_of(data)
    assert not parts_of(swapped).overlapping


def test_the_ratio_is_that_of_the_worst_big_part():
    facts = parts_of(listed((1, 10**6), (1000, BIG_PART_BYTES + 1000), (10, BIG_PART_BYTES)))
    assert facts.worst_ratio == (BIG_PART_BYTES + 1000) / 1000
    assert parts_of(listed((0, 2 * BIG_PART_BYTES))).worst_ratio == 2 * BIG_PART_BYTES
    assert parts_of(listed((10, BIG_PART_BYTES))).worst_ratio == 0


def test_sizes_in_the_extra_field_count():
    extra = struct.pack("<HHxx", 7, 2) + struct.pack("<HHQ", 1, 8, 5 * 2**32)
    assert parts_of(listed((100, 0xFFFFFFFF), extra=extra)).unpacked_bytes == 5 * 2**32
    both = struct.pack("<HHQQ", 1, 16, 7 * 2**32, 6 * 2**32)
    facts = parts_of(listed((0xFFFFFFFF, 0xFFFFFFFF), extra=both))
    assert (facts.packed_bytes, facts.unpacked_bytes) == (6 * 2**32, 7 * 2**32)
    assert parts_of(listed((100, 0xFFFFFFFF), extra=b"\1\0\x08\0abc")).unpacked_bytes == 0xFFFFFFFF


def test_a_password_is_seen_in_the_directory():
    assert parts_of(listed((10, 10), flags=0x0801)).encrypted
    assert not parts_of(listed((10, 10), flags=0x0808)).encrypted


# --- OLE2 ---------------------------------------------------------------------------------------------------------


def ole_of(data):
    return read_sectors(sample_of(data))


def with_number(data, at, number):
    return data[:at] + struct.pack("<I", number) + data[at + 4 :]


def large_ole(tables):
    """Allocation tables beyond the 109 of the header are listed in a sector of their own; all sectors are in use."""
    sectors = tables * 128
    header = bytearray(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    header[30:32] = struct.pack("<H", 9)
    more = tables - 109
    header[44:80] = struct.pack("<IIIIIIIII", tables, 0, 0, 4096, 0xFFFFFFFE, 0, sectors - 1, 1, 0)[:36]
    header[48:52] = struct.pack("<I", 1)
    numbers = [sectors - 2 - index for index in range(tables)]
    header[76:512] = struct.pack("<109I", *numbers[:109])
    listing = struct.pack("<128I", *numbers[109:], *[0xFFFFFFFF] * (127 - more), 0xFFFFFFFE)
    content = {number: struct.pack("<I", 0xFFFFFFFD) * 128 for number in numbers} | {sectors - 1: listing}
    return bytes(header) + b"".join(content.get(number, bytes(512)) for number in range(sectors))


@pytest.mark.parametrize("padding", [0, 3, 100])
def test_every_cut_of_an_ole2_file_that_takes_a_sector_is_seen(padding):
    data = b.ole2("WordDocument", "1Table", padding_sectors=padding)
    whole = ole_of(data)
    assert whole.readable
    assert whole.needed_bytes == len(data) - 511
    for cut in range(512, len(data) - 511, 256):
        facts = ole_of(data[:cut])
        assert facts.needed_bytes > facts.size_bytes == cut


def test_a_last_sector_that_is_not_full_is_fine():
    data = b.ole2("Workbook")
    assert ole_of(data[:-100]).needed_bytes <= len(data) - 100


def test_free_sectors_at_the_end_of_a_table_are_not_needed():
    data = b.ole2("Workbook")
    assert ole_of(data[:512] + data[512:].replace(b"\xff" * 400, bytes(400))).needed_bytes <= len(data)


@pytest.mark.parametrize("at", [48, 76], ids=["directory", "allocation table"])
def test_a_header_that_leads_out_of_the_file(at):
    data = b.ole2("Workbook")
    assert ole_of(with_number(data, at, 5000)).needed_bytes == 5001 * 512 + 1
    assert ole_of(with_number(data, at, 0xFFFFFFFE)).needed_bytes <= len(data)


@pytest.mark.parametrize("number", [0xFFFFFFFE, 51, 0x01010101])
def test_the_last_sector_in_use_is_needed(number):
    data = b.ole2("Workbook")
    assert ole_of(with_number(data, 512 + 4 * 50, number)).needed_bytes == 51 * 512 + 1


def test_the_list_of_tables_is_needed():
    data = with_number(b.ole2("Workbook"), 68, 5000)
    assert ole_of(data).needed_bytes <= len(data)
    assert ole_of(with_number(data, 72, 1)).needed_bytes == 5001 * 512 + 1


def test_the_table_of_small_sectors_counts_where_there_is_one():
    data = with_number(b.ole2("Workbook"), 60, 5000)
    assert ole_of(data).needed_bytes <= len(data)
    assert ole_of(with_number(data, 64, 1)).needed_bytes > len(data)


def test_as_many_tables_count_as_the_header_says():
    data = with_number(b.ole2("Workbook"), 80, 5000)
    assert ole_of(data).needed_bytes > len(data)
    assert ole_of(with_number(data, 44, 1)).needed_bytes <= len(data)


def test_tables_that_are_listed_outside_of_the_header_count():
    data = large_ole(112)
    assert ole_of(data).needed_bytes == len(data) - 511
    lost = data[:512] + data[512 + 40 * 512 :]  # what is left still ends in its last tables, but not where they should be
    assert ole_of(lost).needed_bytes > len(lost)
    beyond = with_number(data, len(data) - 512, 30_000)
    assert ole_of(beyond).needed_bytes == 30_001 * 512 + 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b.ole2("Workbook")[:300], id="cut in the header"),
        pytest.param(b.ole2("Workbook")[:30] + b"\x0b\0" + b.ole2("Workbook")[32:], id="sectors of a size that there is not"),
    ],
)
def test_a_header_that_cannot_be_read(data):
    assert ole_of(data) == OleFacts(readable=False, needed_bytes=0, size_bytes=len(data))


# --- text ---------------------------------------------------------------------------------------------------------


def text_of(data):
    return walk_over(text_walk(), data)


LONG = HEAD_BYTES + LARGEST_RANGE_BYTES


@pytest.mark.parametrize(
    ("data", "encoding", "bom"),
    [
        pytest.param("Öffnungszeiten".encode(), "utf-8", False, id="UTF-8"),
        pytest.param("\ufeffÖffnungszeiten".encode(), "utf-8", True, id="UTF-8 with BOM"),
        pytest.param("Öffnungszeiten \U0001f600".encode("utf-16"), "utf-16", True, id="UTF-16"),
        pytest.param("\ufeffÖ".encode("utf-16-be"), "utf-16", True, id="UTF-16, the other way round"),
        pytest.param(b"a\tb\r\n\x0cc", "utf-8", False, id="tabs, line and page ends"),
        pytest.param(b"x" * (2 * LONG), "utf-8", False, id="one very long line"),
        pytest.param("\u20ac".encode() * LONG, "utf-8", False, id="characters across every border"),
        pytest.param(
            "\U0001f600".encode("utf-16") + "\U0001f600a".encode("utf-16-le") * LONG, "utf-16", True, id="pairs across borders"
        ),
        pytest.param(b"x" * HEAD_BYTES, "utf-8", False, id="exactly the head"),
        pytest.param(b"x" * LONG, "utf-8", False, id="exactly two ranges"),
        pytest.param(b"", "utf-8", False, id="nothing"),
    ],
)
def test_whole_texts(data, encoding, bom):
    facts = text_of(data)
    assert (facts.encoding, facts.bom, facts.broken_at, facts.broken_by) == (encoding, bom, None, "")


@pytest.mark.parametrize("at", [0, 10, HEAD_BYTES - 1, HEAD_BYTES, LONG - 1, LONG, LONG + 5])
@pytest.mark.parametrize(
    ("bad", "by"),
    [
        pytest.param(b"\0", "control", id="NUL"),
        pytest.param(b"\x1b", "control", id="escape"),
        pytest.param(b"\x7f", "control", id="delete"),
        pytest.param(b"\xff", "encoding", id="no UTF-8"),
        pytest.param("ü".encode("latin-1") + b"a", "encoding", id="Latin-1"),
        pytest.param(b"\0\xff", "control", id="both, the first counts"),
        pytest.param(b"\xff\0", "encoding", id="both, the other way round"),
    ],
)
def test_the_first_byte_that_is_no_text_is_found_wherever_it_is(at, bad, by):
    facts = text_of(b"x" * at + bad + b"x" * (LONG + 10 - at))
    assert (facts.broken_at, facts.broken_by) == (at, by)


@pytest.mark.parametrize("length", [3, HEAD_BYTES, HEAD_BYTES + 1, LONG + 2])
def test_a_character_that_is_cut_in_two_by_the_end_of_the_file_is_found(length):
    data = b"x" * (length - 3) + b"\xf0\x9f\x98"
    assert text_of(data).broken_at == length - 3


@pytest.mark.parametrize("chars", [0, 5, HEAD_BYTES, LONG])
def test_utf16_is_looked_at_to_its_end(chars):
    text = b"\xff\xfe" + b"x\0" * chars
    nul, half = text_of(text + bytes(2) + b"x\0" * 9), text_of(text + b"x")
    assert (nul.broken_at, nul.broken_by) == (len(text), "control")
    assert (half.broken_at, half.broken_by) == (len(text), "encoding")


LINES = [b"id;name;city", b'1;"a;b";Kiel', b"2;c;Bonn", b"", b"3;d;Ulm", b"4;e;Trier"]


@pytest.mark.parametrize(
    ("data", "separator", "columns"),
    [
        pytest.param(b"\n".join(LINES), ";", 3, id="semicolons, one of them quoted"),
        pytest.param(b"\r\n".join(LINES).replace(b";", b"\t"), "\t", 3, id="tabs"),
        pytest.param(b"\r".join(LINES).replace(b";", b"|"), "|", 3, id="bars and old line ends"),
        pytest.param(b"\n".join(LINES).replace(b";", b","), ",", 3, id="commas"),
        pytest.param(("\ufeff" + b"\n".join(LINES).decode()).encode(), ";", 3, id="behind a BOM"),
        pytest.param(b"\n".join(LINES).decode().encode("utf-16"), ";", 3, id="in UTF-16"),
        pytest.param(b"a;b\n" * 5, ";", 2, id="two columns"),
        pytest.param(b"a;b\n" * 4, "", 0, id="four lines are no table"),
        pytest.param(b"a,b\n" * 5, "", 0, id="one comma a line is no table"),
        pytest.param(b"\n".join(LINES[:5]) + b"\n5;6", "", 0, id="a line with fewer columns"),
        pytest.param(b"Dear all,\nhere is it.\nYours,\nme\n\nPS: more\n", "", 0, id="a letter"),
        pytest.param(b"a,b,c\n" * 20_000, ",", 3, id="longer than the head: a half line at its end does not count"),
        pytest.param((b"x" * 2000 + b";y\n") * 60, ";", 2, id="long lines: a half one at the end of the head does not count"),
        pytest.param(b"a,b,c\n" * 50 + b"and then a text\n", ",", 3, id="50 lines are enough"),
        pytest.param(b"x" * 2 * LONG, "", 0, id="one long line"),
    ],
)
def test_tables(data, separator, columns):
    facts = text_of(data)
    assert (facts.separator, facts.columns) == (separator, columns)


@pytest.mark.parametrize(
    ("data", "html"),
    [
        pytest.param(b"HTTP/1.1 502 Bad Gateway\r\n\r\n  <HTML lang='en'>", True, id="an answer of a server"),
        pytest.param(b"Warning: x\n<!doctype html>\n", True, id="a page behind a warning"),
        pytest.param(b"<nav>\n</body>\n", True, id="the end of a page"),
        pytest.param(b"<nav>x</nav></BODY>\r\nx", True, id="the end of a page behind other things"),
        pytest.param("x\n<body >".encode("utf-16"), True, id="in UTF-16"),
        pytest.param(b"Write <html> in front and </html> behind.", False, id="a text about HTML"),
        pytest.param(b"a < b\n<bodyguard> wrote", False, id="an angle bracket"),
    ],
)
def test_pages_in_a_text(data, html):
    assert text_of(data).html is html


# --- any bytes ----------------------------------------------------------------------------------------------------

SEEDS = [
    pdf(LOCKED, body=WORDS),
    pdf_with_stream(LOCKED),
    linearised(body_bytes=500),
    zipped(*OFFICE),
    with_zip64_end(zipped(*OFFICE, comment=b"hello")),
    listed((100, 0xFFFFFFFF), extra=struct.pack("<HHQ", 1, 8, 2**33)),
    b.ole2("WordDocument", "1Table", padding_sectors=3),
    large_ole(111)[:4096],
    b"\n".join(LINES),
    "Öffnungszeiten\n".encode("utf-16"),
]


def damaged(chance):
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randrange(6)):
        at = chance.randrange(len(data))
        data[at : at + chance.choice([1, 1, 1, 4])] = (
            chance.randbytes(chance.choice([1, 1, 4])) if chance.random() < 0.8 else b"\xff" * 4
        )
    if chance.random() < 0.3:
        data = data[: chance.randrange(1, len(data) + 1)]
    if chance.random() < 0.2:
        other = chance.choice(SEEDS)
        data[chance.randrange(len(data)) :] = other[chance.randrange(len(other)) :]
    return bytes(data)


def test_3000_damaged_files_never_raise():
    """Whatever the bytes are, and however many of them were kept, there are facts."""
    chance = random.Random(20_261_123)
    kinds = set()
    for _ in range(3000):
        data = damaged(chance)
        for tail_bytes in (TAIL_BYTES, chance.randrange(1, 2000)):
            sample = Sample(data[: chance.choice([HEAD_BYTES, 700])], len(data), data[-tail_bytes:])
            facts = read_paper(sample, chance.choice(["application/pdf", "text/plain", None]))
            kinds.add(type(facts))
            read_pdf(sample), read_parts(sample), read_sectors(sample)
        walk_over(text_walk(), data)
    assert kinds == {PdfFacts, ZipFacts, OleFacts, type(None)}


def test_the_size_of_blocks_makes_no_difference():
    chance = random.Random(7)
    for _ in range(150):
        data = chance.choice([b"", b"x" * HEAD_BYTES, "ü€\n".encode() * 70_000]) + damaged(chance)
        passing, at = Passing(text_walk()), 0
        while at < len(data):
            length = chance.choice([1, 7, 4096, 100_000, 300_000]) if len(data) > 5000 else chance.randrange(1, 600)
            length = max(length, len(data) // 300)
            passing.feed(data[at : at + length])
            at += length
        assert passing.end() == text_of(data)


def entries_of_a_million():
    entry = struct.pack("<4s6HIIIHHHHHII", b"PK\1\2", 0, 20, 0, 8, 0, 0, 0, 5, 5, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * (TAIL_BYTES // 47)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 65535, 65535, 47_000_000, 9_000_000, 0)
    return Sample(b"PK\3\4" + bytes(100), 56_000_022, (directory + end)[-TAIL_BYTES:])


def full_directory():
    data = listed(*[(0, 1)] * 89_000)
    return Sample(data[:HEAD_BYTES], len(data), data[-TAIL_BYTES:])


def circle_of_tables():
    data = bytearray(large_ole(112))
    data[-4:] = struct.pack("<I", len(data) // 512 - 2)
    return sample_of(bytes(data))


HOSTILE = [
    pytest.param(lambda: sample_of(b"%PDF-1.7" + b"/Encrypt " * 500_000 + b"startxref 9 %%EOF"), id="nothing but /Encrypt"),
    pytest.param(
        lambda: sample_of(b"%PDF-1.7 1 0 obj <<" + b"/Encrypt" * 500_000 + b"startxref 9 %%EOF"), id="/Encrypt in pairs"
    ),
    pytest.param(lambda: sample_of(b"%PDF-1.7" + b"startxref 9 %%EOF" * 250_000), id="a chain of startxref"),
    pytest.param(lambda: sample_of(b"%PDF-1.7" + b"startxref %%EOF" * 250_000), id="a chain of startxref without number"),
    pytest.param(lambda: sample_of(b"%PDF-1.7" + b"%%EOF" * 800_000), id="end marks"),
    pytest.param(lambda: sample_of(b"%PDF-1.7" + b"trailer<<" * 500_000 + b"startxref 9 %%EOF"), id="trailers"),
    pytest.param(lambda: sample_of(b"%PDF-1.7" + b"trailer<</A(" * 400_000 + b"startxref 9 %%EOF"), id="strings without end"),
    pytest.param(lambda: sample_of(b"%PDF-1.7" + b"trailer<<" + b"<" * 60_000 + b"startxref 9 %%EOF"), id="angle brackets"),
    pytest.param(lambda: sample_of(b"%PDF-1.7" + b"<<" + b"/Linearized" * 90 + b">>" * 9), id="linearised without a length"),
    pytest.param(lambda: sample_of(b"%PDF-1.7 startxref " + b"9" * 60_000 + b" %%EOF"), id="a number of 60,000 digits"),
    pytest.param(lambda: sample_of(b"PK\3\4" + b"PK\5\6" * 1_000_000), id="end records"),
    pytest.param(lambda: sample_of(b"PK\3\4" + b"PK\5\6" * 16_000 + b"\xff" * 21), id="end records in a comment"),
    pytest.param(entries_of_a_million, id="a directory of a million entries"),
    pytest.param(full_directory, id="a directory as long as what is looked at"),
    pytest.param(circle_of_tables, id="tables in a circle"),
    pytest.param(lambda: sample_of(b.ole2("a")[:512] + bytes(TAIL_BYTES)), id="OLE2 of zeros"),
]


@pytest.mark.parametrize("make", HOSTILE)
def test_work_and_memory_are_bounded(make):
    """These take milliseconds to half a second; five seconds and 64 MiB would be a hang and a leak."""
    sample = make()
    began = time.perf_counter()
    for read in (read_pdf, read_parts, read_sectors):
        read(sample)
    assert time.perf_counter() - began < 5
    tracemalloc.start()
    for read in (read_pdf, read_parts, read_sectors):
        read(sample)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_a_directory_of_a_million_entries_is_too_long():
    assert read_parts(entries_of_a_million()).directory == "too_long"


def test_a_long_text_is_looked_at_in_flat_memory():
    passing, block = Passing(text_walk()), b"a;b;c\n" * 50_000
    tracemalloc.start()
    for _ in range(60):
        passing.feed(block)
    facts = passing.end()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert facts.columns == 3
    assert peak < 8 * 2**20


def test_a_real_bomb_is_told_by_its_directory():
    """150 MiB of zeros, packed by zlib: what the directory says is what would be unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = sum(len(packer.compress(bytes(2**20))) for _ in range(150)) + len(packer.flush())
    facts = parts_of(listed((packed, 150 * 2**20), gap=packed))
    assert facts.directory == "whole"
    assert 1000 < facts.worst_ratio < 1040


@pytest.mark.parametrize(
    ("data", "mime_type", "kind"),
    [
        (pdf(), "application/pdf", PdfFacts),
        (pdf(in_front=b"junk"), "application/pdf", PdfFacts),
        (zipped(*OFFICE), "application/zip", ZipFacts),
        (b.ole2("Workbook"), None, OleFacts),
        (pdf(), "text/plain", type(None)),
        (b.JPEG, "image/jpeg", type(None)),
    ],
)
def test_each_format_has_its_facts(data, mime_type, kind):
    assert type(read_paper(sample_of(data), mime_type)) is kind
