"""From the facts of a document to its problems."""

import pytest

from airflow_provider_360dialog.media.paper_rules import LARGE_UNPACKED_BYTES, UNPACKED_MAX_BYTES, paper_problems
from airflow_provider_360dialog.media.papers import BIG_PART_BYTES, OleFacts, PdfFacts, ZipFacts
from airflow_provider_360dialog.media.text import TextFacts

E, W = "error", "warning"
GIB = 2**30


def pdf(*, ends=True, missing_bytes=0, xref_at=900, encrypted=False):
    return PdfFacts("1.7", 0, ends, missing_bytes, xref_at, encrypted, 1000)


def text(*, encoding="utf-8", broken_at=None, broken_by="", separator="", columns=0, html=False):
    return TextFacts(encoding, False, broken_at, broken_by, separator, columns, html)


def found(facts, **said):
    return [(problem.code, problem.severity) for problem in paper_problems(facts, **said)]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(pdf(), [], id="a whole PDF"),
        pytest.param(pdf(ends=None, xref_at=None, encrypted=None), [], id="a PDF whose end was not kept"),
        pytest.param(pdf(ends=False, xref_at=None), [("pdf_truncated", E)], id="a PDF without end"),
        pytest.param(pdf(missing_bytes=3), [("pdf_truncated", E)], id="a linearised PDF that is too short"),
        pytest.param(pdf(missing_bytes=2), [], id="a linearised PDF without its last line end"),
        pytest.param(pdf(ends=False, missing_bytes=9), [("pdf_truncated", E)], id="both, said once"),
        pytest.param(pdf(xref_at=999), [], id="a table of objects in the last byte"),
        pytest.param(pdf(xref_at=1000), [("pdf_corrupt", E)], id="a table of objects outside of the file"),
        pytest.param(pdf(xref_at=0), [], id="a table of objects at 0, which readers search for"),
        pytest.param(pdf(missing_bytes=9, xref_at=1000), [("pdf_truncated", E)], id="cut off explains the rest"),
        pytest.param(pdf(encrypted=True), [("pdf_encrypted", W)], id="an encrypted PDF"),
        pytest.param(pdf(encrypted=True, xref_at=5000), [("pdf_corrupt", E), ("pdf_encrypted", W)], id="encrypted and damaged"),
        pytest.param(ZipFacts("whole", 10, 1000, 5000), [], id="a whole zip"),
        pytest.param(ZipFacts("unseen"), [], id="a zip whose end was not kept"),
        pytest.param(ZipFacts("missing"), [("document_truncated", E)], id="a zip without directory"),
        pytest.param(ZipFacts("damaged"), [("document_truncated", E)], id="a zip with half a directory"),
        pytest.param(ZipFacts("too_long"), [("document_bomb", E)], id="a directory that is too long"),
        pytest.param(ZipFacts("whole", 2, 9, 9, outside=True), [("document_truncated", E)], id="a part outside"),
        pytest.param(ZipFacts("whole", 2, 9, 9, overlapping=True), [("document_truncated", E)], id="parts that overlap"),
        pytest.param(ZipFacts("whole", 2, 9, 9, outside=True, overlapping=True), [("document_truncated", E)], id="both, once"),
        pytest.param(ZipFacts("whole", 2, 9, 9, encrypted=True), [("document_encrypted", W)], id="a password"),
        pytest.param(
            ZipFacts("whole", 2, 9, 5 * GIB, outside=True, encrypted=True),
            [("document_truncated", E), ("document_bomb", E), ("document_encrypted", W)],
            id="everything at once",
        ),
        pytest.param(OleFacts(readable=True, needed_bytes=1000, size_bytes=1000), [], id="a whole OLE2 file"),
        pytest.param(OleFacts(readable=True, needed_bytes=1001, size_bytes=1000), [("document_truncated", E)], id="cut off"),
        pytest.param(OleFacts(readable=False, needed_bytes=0, size_bytes=10), [("document_truncated", E)], id="no header"),
        pytest.param(text(), [], id="a plain text"),
        pytest.param(text(broken_at=7, broken_by="encoding"), [("type_unknown", E)], id="no UTF-8"),
        pytest.param(text(broken_at=0, broken_by="control"), [("type_unknown", E)], id="a control character at the start"),
        pytest.param(text(columns=3, separator=";"), [("csv_as_text", W)], id="a table"),
        pytest.param(text(html=True), [("html_as_text", W)], id="a page"),
        pytest.param(text(html=True, broken_at=9, broken_by="control"), [("type_unknown", E)], id="no text: nothing else counts"),
    ],
)
def test_problems(facts, expected):
    assert found(facts) == expected


@pytest.mark.parametrize(
    ("facts", "bomb"),
    [
        pytest.param(ZipFacts("whole", 9, 51 * 2**20, 1244 * 2**20, 25.0), False, id="a million rows and 24 columns, XlsxWriter"),
        pytest.param(ZipFacts("whole", 9, 18 * 2**20, 285 * 2**20, 16.1), False, id="a million rows and 8 columns, openpyxl"),
        pytest.param(ZipFacts("whole", 9, 2**20, 300 * 2**20, 300.0), False, id="equal rows without references"),
        pytest.param(ZipFacts("whole", 9, 2**20, BIG_PART_BYTES + 1, 1001.0), True, id="a part of zeros"),
        pytest.param(ZipFacts("whole", 9, 2**20, BIG_PART_BYTES + 1, 1000.0), False, id="a part of almost nothing but zeros"),
        pytest.param(ZipFacts("whole", 9, 100 * 2**20, UNPACKED_MAX_BYTES, 41.0), False, id="4 GiB"),
        pytest.param(ZipFacts("whole", 9, 100 * 2**20, UNPACKED_MAX_BYTES + 1, 41.0), True, id="more than 4 GiB"),
        pytest.param(ZipFacts("whole", 9, 10 * 2**20, LARGE_UNPACKED_BYTES + 1, 102.5), True, id="1 GiB of little"),
        pytest.param(ZipFacts("whole", 9, 11 * 2**20, LARGE_UNPACKED_BYTES + 1, 93.1), False, id="1 GiB of more"),
        pytest.param(ZipFacts("whole", 9, 10, LARGE_UNPACKED_BYTES, 0.0), False, id="1 GiB of many small parts"),
        pytest.param(ZipFacts("whole", 9, 0, LARGE_UNPACKED_BYTES + 1, 0.0), True, id="out of nothing"),
    ],
)
def test_bombs(facts, bomb):
    assert found(facts) == ([("document_bomb", E)] if bomb else [])


def test_a_table_is_fine_where_the_caller_means_plain_text():
    assert found(text(columns=3, separator=","), said_plain=True) == []
    assert found(text(html=True), said_plain=True) == [("html_as_text", W)]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        pytest.param(pdf(missing_bytes=12_345), "12,345 bytes are missing", id="bytes missing"),
        pytest.param(pdf(xref_at=54_321), "at byte 54,321 of 1,000", id="a place outside"),
        pytest.param(ZipFacts("whole", 2, 1234, 5 * GIB), "from 1,234 to 5,368,709,120 bytes", id="a bomb"),
        pytest.param(
            OleFacts(readable=True, needed_bytes=2345, size_bytes=1000), "needs at least 2,345 bytes, and has 1,000", id="sectors"
        ),
        pytest.param(text(broken_at=81_234, broken_by="encoding"), "is not UTF-8, at byte 81,234", id="UTF-8"),
        pytest.param(text(encoding="utf-16", broken_at=2, broken_by="encoding"), "is not UTF-16, at byte 2", id="UTF-16"),
        pytest.param(text(broken_at=5, broken_by="control"), "control character, as no plain text does, at byte 5", id="control"),
        pytest.param(text(columns=4, separator="\t"), "4 columns, separated by tabs", id="tabs"),
        pytest.param(text(columns=4, separator="|"), "separated by bars", id="bars"),
        pytest.param(text(columns=4, separator=";"), "separated by semicolons", id="semicolons"),
        pytest.param(text(columns=4, separator=","), "separated by commas", id="commas"),
    ],
)
def test_messages_tell_the_figures(facts, words):
    (problem,) = paper_problems(facts)
    assert words in problem.message
    assert problem.remedy.endswith(".")
