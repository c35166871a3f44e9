"""A campaign's input: every line becomes an item or a reason, whatever the text is."""

from __future__ import annotations

import itertools
import json
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.exceptions import CallError
from airflow_provider_360dialog.jobs.manifest import (
    RECORD_MAX_CHARS,
    RECORD_MAX_LINES,
    Malformed,
    Wanted,
    read_csv,
    read_item,
    read_jsonl,
    read_list,
)

GOOD = '{"key": "+491701", "uri": "a.pdf"}'


def jsonl(*lines, base=""):
    return list(read_jsonl(lines, base=base))


def table(*lines, base=""):
    return list(read_csv(lines, base=base))


# --- what is an item ----------------------------------------------------------------------------------------------


ALL = {
    "key": "+491701", "uri": "/x/a.pdf", "channel": "number_a", "mime_type": "application/pdf", "filename": "Gutschein.pdf",
    "kind": "document", "subject": "customer 7",
}  # fmt: skip


def test_reads_all_columns_of_a_line_of_json():
    """As they stand there."""
    assert jsonl(json.dumps(ALL)) == [Wanted(**ALL, line=1)]


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_reads_all_columns_of_a_csv(separator):
    """In any order, with the separator of the header."""
    names = sorted(ALL)
    assert table(separator.join(names), separator.join(ALL[name] for name in names)) == [Wanted(**ALL, line=2)]


def test_reads_all_columns_of_a_list():
    """The line is the position."""
    assert list(read_list([ALL, ALL], base="")) == [Wanted(**ALL, line=1), Wanted(**ALL, line=2)]


@pytest.mark.parametrize("nothing", [None, "", "  "], ids=["null", "empty", "blank"])
def test_empty_text_means_not_given(nothing):
    """An empty cell is no value."""
    item = dict.fromkeys(ALL, nothing) | {"key": "a", "uri": "b"}
    assert jsonl(json.dumps(item)) == [Wanted("a", "b", line=1)]


def test_paths_in_a_list_are_their_own_keys():
    """Text as it stands, path objects too."""
    assert list(read_list(["s3://c@b/a.pdf", "in/a.pdf", Path("/x/a.pdf")], base="")) == [
        Wanted("s3://c@b/a.pdf", "s3://c@b/a.pdf", line=1),
        Wanted("in/a.pdf", "in/a.pdf", line=2),
        Wanted("/x/a.pdf", "/x/a.pdf", line=3),
    ]


def test_a_list_of_more_than_a_thousand_is_refused_at_once():
    """Not only when the first item is asked for."""
    assert len(list(read_list(["a"] * 1000, base=""))) == 1000
    with pytest.raises(CallError, match="manifest"):
        read_list(["a"] * 1001, base="")


@pytest.mark.parametrize("kind", ["image", "video", "audio", "document", "sticker", "Image ", "STICKER"])
def test_the_kinds_are_known(kind):
    """However a spreadsheet spells them."""
    assert read_item({"key": "a", "uri": "b", "kind": kind}, base="") == Wanted("a", "b", kind=kind.strip().lower())


@pytest.mark.parametrize(
    ("uri", "base", "whole"),
    [
        pytest.param("a.pdf", "/data/c/", "/data/c/a.pdf", id="a name"),
        pytest.param("../a.pdf", "/data/c/", "/data/c/../a.pdf", id="a file system knows its own dots"),
        pytest.param("/x/a.pdf", "/data/c/", "/x/a.pdf", id="an absolute path"),
        pytest.param("~/a.pdf", "/data/c/", "~/a.pdf", id="the home folder"),
        pytest.param("~$a.docx", "/data/c/", "/data/c/~$a.docx", id="a name with a tilde"),
        pytest.param("file:///x/a.pdf", "/data/c/", "file:///x/a.pdf", id="a file URI"),
        pytest.param("s3://c@b/a.pdf", "/data/c/", "s3://c@b/a.pdf", id="a URI of a store"),
        pytest.param("in/a.pdf", "s3://c@b/p/", "s3://c@b/p/in/a.pdf", id="a key"),
        pytest.param("./a.pdf", "s3://c@b/p/", "s3://c@b/p/a.pdf", id="a dot in a key"),
        pytest.param("../q/a..pdf", "s3://c@b/p/", "s3://c@b/q/a..pdf", id="two dots in a key"),
        pytest.param("../../../a.pdf", "s3://c@b/p/", "s3://c@b/a.pdf", id="none leads out of the bucket"),
        pytest.param("a?b#c%41.pdf", "s3://c@b/p/", "s3://c@b/p/a?b#c%41.pdf", id="an unusual key"),
        pytest.param("x://y", "s3://c@b/p/", "x://y", id="a scheme that nobody knows"),
        pytest.param("1 x://y", "/d/", "/d/1 x://y", id="a name that looks like a URI"),
        pytest.param("a.pdf", "", "a.pdf", id="no base"),
    ],
)
def test_a_relative_uri_is_relative_to_the_manifest(uri, base, whole):
    """Absolute ones stay."""
    assert [each.uri for each in jsonl(json.dumps({"key": "k", "uri": uri}), base=base)] == [whole]


# --- what is none -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        pytest.param({"uri": "b"}, "key is missing", id="no key"),
        pytest.param({"key": "a"}, "uri is missing", id="no uri"),
        pytest.param({"key": " ", "uri": ""}, "key is missing.*uri is missing", id="neither, both are said"),
        pytest.param({"key": "k" * 251, "uri": "b"}, "251 characters", id="a key that is too long"),
        pytest.param({"key": "k" * 10**6, "uri": "b"}, "1,000,000 characters", id="a key of a megabyte"),
        pytest.param({"key": "k", "uri": "b" * 4097}, "uri has", id="a uri that is too long"),
        pytest.param({"key": "k", "uri": "b", "subject": "s" * 251}, "subject has", id="a subject that is too long"),
        pytest.param({"key": "a\0", "uri": "b"}, "key holds control", id="a zero byte"),
        pytest.param({"key": "a\nb", "uri": "b"}, "key holds control", id="a line break"),
        pytest.param({"key": "a\x1b[31m", "uri": "b"}, "key holds control", id="an escape sequence"),
        pytest.param({"key": "a\u2028", "uri": "b"}, "key holds control", id="a line separator"),
        pytest.param({"key": "gpj.\u202eexe", "uri": "b"}, "key holds control", id="text from right to left by force"),
        pytest.param({"key": "a\ud800", "uri": "b"}, "not UTF-8", id="half a character"),
        pytest.param({"key": "a", "uri": "b\udcff"}, "uri holds", id="half a character in the uri"),
        pytest.param({"key": "a", "uri": "b", "subject": "\x07"}, "subject holds", id="a bell in the subject"),
        pytest.param({"key": 7, "uri": "b"}, "key is not text", id="a number for a key"),
        pytest.param({"key": "a", "uri": ["b"]}, "uri is not text", id="a list for a uri"),
        pytest.param({"key": "a", "uri": "b", "channel": {}}, "channel is not text", id="an object for a channel"),
        pytest.param({"key": "a", "uri": "b", "kind": "photo"}, "kind is none of image", id="a kind that nobody knows"),
    ],
)
def test_a_column_that_is_wrong_makes_no_item(columns, said):
    """The reason says which and what to do; it quotes nothing of it."""
    found = read_item(columns, base="", line=7)
    assert isinstance(found, Malformed)
    assert found.line == 7
    assert re.search(said, found.reason)
    assert found.reason.isprintable()
    assert len(found.reason) < 1000


@pytest.mark.parametrize(
    "key",
    [
        "Größe 5",
        "顧客",
        "مشتری\u200cها",
        "👩\u200d👧",
        "Screenshot 9.41.00\u202fAM.png",
        "a\u00a0b",
        "'; DROP TABLE media--",
        "../../x",
    ],
)
def test_printable_keys_of_all_scripts_are_taken(key):
    """What joins letters, and blanks of all widths, are no control characters."""
    assert read_item({"key": key, "uri": "b"}, base="") == Wanted(key, "b")


def test_what_is_shown_of_a_malformed_item_is_short_and_holds_no_secret():
    """It goes into a file of rejects."""
    found = read_item({"key": "a\n" * 5000, "uri": "https://example.com/a?hash=secret", "channel": "\x1b"}, base="")
    assert found.key.isprintable()
    assert len(found.key) == 250
    assert found.uri == "https://example.com/a"
    assert read_item({"uri": "s3://id:secret@bucket/a"}, base="").uri == "s3://bucket/a"
    assert read_item({"uri": "s3://conn@bucket/a"}, base="").uri == "s3://conn@bucket/a"


BAD_JSON = [
    pytest.param("hello", "not JSON", id="no JSON"),
    pytest.param('{"key": "a", "uri": "b"', "not JSON", id="half an object"),
    pytest.param('{"key": "a", "uri": "b"}}', "not JSON", id="too much"),
    pytest.param("{'key': 'a', 'uri': 'b'}", "not JSON", id="single quotation marks"),
    pytest.param('{"key": "a\0", "uri": "b"}', "not JSON", id="a raw zero byte"),
    pytest.param('["a", "b"]', "no object", id="a list"),
    pytest.param('"a"', "no object", id="a text"),
    pytest.param("null", "no object", id="null"),
    pytest.param("NaN", "NaN", id="not a number"),
    pytest.param('{"key": "a", "uri": "b", "price": -Infinity}', "Infinity", id="infinity"),
    pytest.param('{"key": "a", "uri": "b", "key": "c"}', "twice", id="a name twice"),
    pytest.param("[" * 60_000, "nested", id="brackets within brackets"),
    pytest.param('{"a":' * 10_000 + "1" + "}" * 10_000, "nested", id="objects within objects"),
    pytest.param("1" * 5000, "number too long", id="a number of 5,000 digits"),
    pytest.param('{"key": "a", "uri": "b", "x": "\udcff"}', "UTF-8", id="bytes that are not UTF-8"),
    pytest.param('{"key": "\\ud800", "uri": "b"}', "UTF-8", id="half a character, escaped"),
    pytest.param('{"key": "a", "uri": "b", "x": "' + "x" * RECORD_MAX_CHARS + '"}', "longer than", id="a line that is too long"),
    pytest.param("\ufeff" + GOOD, "not JSON", id="a byte order mark within the file"),
]


@pytest.mark.parametrize(("line", "said"), BAD_JSON)
def test_a_line_that_is_no_object_is_rejected_alone(line, said):
    """With its number; the lines around it are read (needs F76)."""
    before, bad, after = jsonl(GOOD, line, GOOD)
    assert isinstance(before, Wanted)
    assert (type(bad), bad.line) == (Malformed, 2)
    assert said in bad.reason
    assert bad.reason.isprintable()
    assert after == Wanted("+491701", "a.pdf", line=3)


def test_a_byte_order_mark_line_ends_and_blank_lines_do_not_matter():
    """Blank lines are skipped and counted."""
    lines = ["\ufeff" + GOOD + "\r\n", "\r\n", "", "   \n", GOOD + "\n", GOOD]
    assert [each.line for each in jsonl(*lines) if isinstance(each, Wanted)] == [1, 5, 6]
    csv = ["\ufeffkey,uri\r\n", "a,b\r\n", "\r\n", '"c","d"\r\n', ",\r\n", "e,f"]
    assert table(*csv) == [Wanted("a", "b", line=2), Wanted("c", "d", line=4), Wanted("e", "f", line=6)]
    assert table() == table("", "\n") == jsonl() == []


def test_a_column_that_nobody_knows_is_named_once(caplog):
    """In the log, printable; and no log is filled with them."""
    jsonl(*[json.dumps({"key": "a", "uri": "b", "colour": 1, "x\n": 2})] * 50)
    assert len(caplog.messages) == 1
    assert "'colour'" in caplog.text
    assert "x\n" not in caplog.messages[0]
    caplog.clear()
    table("key,uri,Notes", "a,b,c", "a,b,c")
    assert caplog.messages == ["these columns are none of an item's and are ignored: 'notes'"]
    caplog.clear()
    jsonl(*[json.dumps({"key": "a", "uri": "b", f"column {n}": 1}) for n in range(500)])
    assert len(caplog.messages) <= 20
    list(read_list([{"key": "a", "uri": "b", 7: 1, (1, 2): 1}], base=""))


@pytest.mark.parametrize("item", [None, 7, b"a.pdf", ["a", "b"], {1, 2}, pytest.param(object(), id="object()")], ids=repr)
def test_what_is_neither_path_nor_mapping_makes_no_item(item):
    """Whatever was in the list."""
    assert isinstance(next(read_list([item], base="")), Malformed)


# --- CSV ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    ["a,b", "key", "uri,channel", "key,uri,key", '"key', "{}", "x" * 10**5, "key\udcff,uri", "key|uri"],
    ids=[
        "other names",
        "no uri",
        "no key",
        "a name twice",
        "an open quote",
        "JSON",
        "too long",
        "no UTF-8",
        "a strange separator",
    ],
)
def test_a_csv_without_the_names_of_its_columns_is_one_reject(header):
    """Nothing can be said of its other lines."""
    (found,) = table("", header, "a,b", "c,d")
    assert isinstance(found, Malformed)
    assert found.line == 2
    assert "name its columns" in found.reason


def test_the_header_may_be_quoted_and_spelled_in_capitals():
    """As spreadsheets do."""
    assert table('"Key" , "URI"', "a,b") != []
    assert table('Key, "URI"', '"a", "b, c"', "d, e") == [Wanted("a", "b, c", line=2), Wanted("d", "e", line=3)]


def test_quotes_are_read_as_rfc_4180_has_them():
    """Separators and doubled quotes within, blanks before; a quote in a plain text may be half of something."""
    good, bad = table("key,uri", '"a, ""b""", "c"\r\n', '5" pipe,d')
    assert good == Wanted('a, "b"', "c", line=2)
    assert (bad.line, "write two" in bad.reason) == (3, True)


def test_a_note_may_run_over_several_lines():
    """Where its column is none of an item's; the line is the first."""
    assert table("key,uri,note", 'a,b,"one', "", "c,d,two", 'three"', "e,f,") == [
        Wanted("a", "b", line=2),
        Wanted("e", "f", line=6),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(["a"], id="too few fields"),
        pytest.param(["a,b,c,d"], id="too many fields"),
        pytest.param(['"a,b,c'], id="a quote that is never closed"),
        pytest.param(['a,"b"c,d'], id="text behind a quote"),
        pytest.param(['"a', 'b",c,d'], id="a key of two lines"),
        pytest.param(['a,b,"', '",d'], id="too many fields, over two lines"),
        pytest.param(["a,b,\udcff"], id="bytes that are not UTF-8"),
        pytest.param(["a,b," + "c" * RECORD_MAX_CHARS], id="a line that is too long"),
        pytest.param(['a,b,"' + "c" * 200_000 + '"'], id="a field beyond the limit of the csv module"),
        pytest.param(["a\0,b,c"], id="a zero byte"),
        pytest.param(["a\r,b,c"], id="a carriage return in a key"),
        pytest.param(['"a"\r"b",b,c'], id="a carriage return behind a quote"),
    ],
)
def test_a_record_that_is_wrong_is_rejected_alone(bad):
    """Its first line has the reason; every item below is read."""
    found = table("key,uri,note", "k1,u1,", *bad, "k2,u2,", 'k3,u3,""')
    first = len(bad) + 3
    assert found[0] == Wanted("k1", "u1", line=2)
    assert found[-2:] == [Wanted("k2", "u2", line=first), Wanted("k3", "u3", line=first + 1)]
    rejected = found[1:-2]
    assert rejected
    assert all(isinstance(each, Malformed) for each in rejected)
    assert rejected[0].line == 3


def test_a_quote_that_is_closed_by_the_next_one_swallows_nothing():
    """Two typing errors, a hundred lines apart or twenty: each is rejected, and nothing between them."""
    for apart in (20, RECORD_MAX_LINES * 2):
        between = [f"k{n},u{n}," for n in range(apart)]
        found = table("key,uri,note", 'a,"b,', *between, 'c",d,', "e,f,")
        assert [each.key for each in found if isinstance(each, Wanted)][:apart] == [f"k{n}" for n in range(apart)]
        assert found[0].line == 2
        assert found[-1] == Wanted("e", "f", line=apart + 4)


def test_a_record_is_bounded_over_all_its_lines():
    """A note of five long lines is too much, one of two is not."""
    for lines, good in ((2, True), (5, False)):
        note = ["x" * 20_000] * lines
        found = table("key,uri,note", 'a,b,"', *note, '"', "c,d,")
        assert isinstance(found[0], Wanted) is good
        assert found[-1] == Wanted("c", "d", line=lines + 4)


def test_an_open_quote_costs_memory_and_time_of_one_record_only():
    """The worst text we know: from every line on, a quote is open for ever. A million characters, not a billion."""
    pulled = itertools.count()

    def lines():
        yield "key,uri"
        for _ in range(20_000):
            next(pulled)
            yield 'b","'

    rejected = 0
    for ahead, found in enumerate(read_csv(lines(), base="")):
        rejected += isinstance(found, Malformed)
        if ahead == 100:
            assert next(pulled) < 100 + 2 * RECORD_MAX_LINES
    assert rejected == 20_000


# --- any text -----------------------------------------------------------------------------------------------------


def line_texts():
    pieces = st.sampled_from(
        ['"', '""', ",", ";", "\t", "\r", "key", "uri", " ", "a", "{", "}", "[", ":", "null", "\ufeff", "\0", "\udcff"]
    )
    return st.lists(pieces | st.text(st.characters(exclude_characters="\n"), max_size=5), max_size=12).map("".join)


def json_lines():
    values = st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=5
    )
    names = st.sampled_from(sorted(ALL)) | st.text()
    return st.dictionaries(names, values).map(json.dumps) | line_texts()


@given(st.lists(json_lines()))
def test_every_line_of_json_is_accounted_for(lines):
    """One result for each line that is not blank, in order, and never an error."""
    wanted = [number for number, line in enumerate(lines, 1) if line.strip().strip("\ufeff" if number == 1 else "").strip()]
    found = list(read_jsonl(lines, base="/x/"))
    assert {each.line for each in found} >= set(wanted)
    assert [each.line for each in found] == sorted({each.line for each in found})
    check(found)


@given(st.lists(line_texts()))
def test_any_csv_is_read_to_its_last_line(lines):
    """Whatever stands above, the last good line is read, and no line gives two results."""
    found = list(read_csv(["key,uri,note", *lines, "last key,last uri,"], base=""))
    assert found[-1] == Wanted("last key", "last uri", line=len(lines) + 2)
    numbers = [each.line for each in found]
    assert numbers == sorted(set(numbers))
    check(found)


@given(st.lists(line_texts()))
def test_every_line_of_a_csv_without_quotes_is_accounted_for(lines):
    """One result for each line with any text."""
    lines = [line.replace('"', "'") for line in lines]
    found = list(read_csv(["key,uri,note", *lines], base=""))
    assert [each.line for each in found] == [number for number, line in enumerate(lines, 2) if line.replace(",", " ").strip()]


@given(st.lists(line_texts()))
def test_any_header_is_survived(lines):
    """No text raises."""
    check(list(read_csv(lines, base="s3://c@b/")))


def check(found):
    for each in found:
        if isinstance(each, Malformed):
            assert each.reason.isprintable()
        for text in (each.key, each.uri, each.channel):
            assert text is None or text.encode()
        if isinstance(each, Wanted):
            assert 1 <= len(each.key) <= 250
            assert each.uri


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_memory_stays_flat_over_many_lines(form):
    """50,000 lines as 500: nothing is kept (promise P9)."""

    def lines(count):
        if form == "csv":
            yield "key,uri,note"
        for n in range(count):
            yield json.dumps({"key": str(n), "uri": "a"}) if form == "jsonl" else f'{n},a,"x{n % 7}'

    def peak(count):
        tracemalloc.start()
        try:
            for _ in (read_jsonl if form == "jsonl" else read_csv)(lines(count), base=""):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(500)
    assert peak(50_000 if form == "jsonl" else 20_000) < peak(500) + 100_000
