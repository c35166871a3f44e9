"""The reports of checked files: the page for people, and the JSON document."""

from __future__ import annotations

import json
import tracemalloc
from base64 import b64encode
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from airflow_provider_360dialog.jobs.report import Checked, Counts, Report, printable, size_words, told
from airflow_provider_360dialog.ports import Change, Problem, Receipt, Shape, Verdict

NOON = datetime(2026, 11, 23, 13, 0, tzinfo=timezone(timedelta(hours=1)))
CUT = Problem("image_truncated", "error", "The JPEG is cut off.", "Copy it again.")
LARGE = Problem("too_large", "error", "The file has 6,000,000 bytes.", "Make it smaller.")
TURNED = Problem("image_rotated", "warning", "It is stored turned.", "Turn its pixels.")
GONE = Problem("source_unreadable", "error", "Cannot read it.", "")
PIXELS = b"\xff\xd8\xff\xe0 pixels"
RECEIPT = Receipt(
    changes=(Change("turned", "Its pixels were turned."), Change("quality_lowered", "It was compressed more.")),
    before=Shape("a" * 64, "image/png", 6_112_345, 4000, 3000, None),
    after=Shape("b" * 64, "image/jpeg", 4_912_345, 2000, 1500, 92),
    recipe="p1-image",
    encodes=2,
    uri="s3://bucket/prepared/photo.jpg",
)


def verdict(*problems, receipt=None, mime_type="image/jpeg"):
    return Verdict("image", mime_type, "photo.jpg", 21_022, "c" * 64, problems, receipt)


def checked(name="photo.jpg", *problems, thumbnail=None, **more):
    return Checked(name, verdict(*problems, **more), None, thumbnail)


@pytest.fixture
def report():
    with Report(source="s3://bucket/winter/", checked_at=NOON) as report:
        yield report


class Page(HTMLParser):
    """What a browser would find. ``tags``: (name, attributes); ``text``: of the body; ``rows``: of tables, as lists of cells."""

    EMPTY = frozenset({"meta", "img", "wbr", "br"})

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.open, self.rows, self.words = html, [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open and "body" in self.open:
            self.words.append(data)
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]}{data}".split()) + " " * data.endswith(" ")

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def page(report):
    return Page(report.html())


# --- one file -----------------------------------------------------------------------------------------------------


def test_a_file_is_told_by_its_verdict():
    assert told(checked("a/photo.jpg", CUT, TURNED)) == {
        "path": "a/photo.jpg",
        "ok": False,
        "kind": "image",
        "mime_type": "image/jpeg",
        "size_bytes": 21_022,
        "sha256": "c" * 64,
        "problems": [
            {"code": "image_truncated", "severity": "error", "message": "The JPEG is cut off.", "remedy": "Copy it again."},
            {"code": "image_rotated", "severity": "warning", "message": "It is stored turned.", "remedy": "Turn its pixels."},
        ],
    }


def test_an_empty_file_has_a_size_and_one_above_every_limit_no_sha256():
    """Zero is a number."""
    empty = told(Checked("x", Verdict(None, None, "x", 0, "", (CUT,))))
    assert (empty["size_bytes"], empty["sha256"], empty["kind"]) == (0, None, None)


def test_what_could_not_be_read_is_told_with_its_reason_and_no_facts():
    found = told(Checked("gone.jpg", None, GONE))
    assert found.pop("problems") == [asdict(GONE)]
    assert found == {"path": "gone.jpg", "ok": False, "kind": None, "mime_type": None, "size_bytes": None, "sha256": None}


def test_only_a_prepared_file_has_a_receipt():
    assert told(checked(receipt=RECEIPT))["receipt"] == asdict(RECEIPT)
    assert "receipt" not in told(checked())


@pytest.mark.parametrize("pair", [(None, None), (verdict(), GONE)], ids=["neither", "both"])
def test_a_file_has_either_a_verdict_or_a_reason(pair):
    with pytest.raises(ValueError, match="either"):
        Checked("x", *pair)


# --- all of them --------------------------------------------------------------------------------------------------


def test_the_document_holds_every_file_in_its_order_with_the_counts(report):
    files = [
        checked("a"),
        checked("b", CUT, CUT),
        checked("c", TURNED),
        Checked("d", None, GONE),
        checked("e", TURNED, receipt=RECEIPT),
    ]
    for each in files:
        report.add(each)
    lines = list(report.json_lines())
    document = json.loads("\n".join(lines))
    assert document.pop("files") == json.loads(json.dumps([told(each) for each in files]))
    assert document == {
        "checked_at": "2026-11-23T12:00:00+00:00",
        "source": "s3://bucket/winter/",
        "not_looked_at": None,
        "counts": {
            "files": 5,
            "ok": 3,
            "warned": 2,
            "bad": 2,
            "unreadable": 1,
            "prepared": 1,
            "by_code": {"image_truncated": 1, "image_rotated": 2, "source_unreadable": 1},
        },
    }
    assert report.counts.most_common() == [("image_rotated", 2), ("image_truncated", 1), ("source_unreadable", 1)]
    assert len(lines) == len(files) + 2, "a line for each file, so that the document can be read as it streams"
    assert list(report.json_lines()) == lines, "it can be written again"


def test_more_files_can_be_added_after_a_look(report):
    report.add(checked("a"))
    report.add(checked("b"))
    lines = report.json_lines()
    assert "a" in next(lines) + next(lines)
    report.add(checked("c"))
    assert [each["path"] for each in json.loads("".join(report.json_lines()))["files"]] == ["a", "b", "c"]


def test_a_document_of_no_files_is_a_document(report):
    assert json.loads("".join(report.json_lines()))["files"] == []
    assert "There was no file to look at." in page(report).text


def test_memory_does_not_grow_with_the_number_of_files(report):
    """Neither while they are added nor while the document is written, though each has something to list."""

    def add(count):
        for at in range(count):
            bad, warned = checked(f"{at}.jpg", CUT, thumbnail=PIXELS), checked(f"{at}.png", TURNED, receipt=RECEIPT)
            report.add(bad)
            report.add(warned)

    add(2_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    add(2_000)
    for _ in report.json_lines():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.counts.files == 8_000
    assert peak - before < 200_000, "the same again in memory would be 4 MB"


@pytest.mark.parametrize(
    ("files", "bad", "sentence"),
    [
        (0, 0, "There was no file to look at."),
        (1, 0, "The file can be sent."),
        (1, 1, "The file cannot be sent."),
        (12_000, 0, "All 12,000 files can be sent."),
        (12_000, 12_000, "None of 12,000 files can be sent."),
        (12_000, 12, "11,988 of 12,000 files can be sent; 12 cannot."),
    ],
)
def test_the_first_sentence_says_what_has_to_be_known(files, bad, sentence):
    assert Counts(files=files, ok=files - bad, bad=bad).sentence() == sentence


# --- the page -----------------------------------------------------------------------------------------------------


def fill(report):
    report.add(checked("fine.jpg"))
    report.add(checked("cut.jpg", CUT, TURNED, thumbnail=PIXELS))
    report.add(Checked("gone.jpg", None, GONE))
    report.add(checked("turned.jpg", TURNED))
    report.add(checked("better.jpg", receipt=RECEIPT, thumbnail=b"\x89PNG\r\n\x1a\n pixels"))


def test_the_page_says_what_is_wrong_what_to_do_and_what_was_done(report):
    fill(report)
    found = page(report)
    assert "3 of 5 files can be sent; 2 cannot." in found.text
    assert "1 of them could not be read" in found.text
    assert "2 files are in order; of these, only what was prepared is listed." in found.text
    rows = {row[0].partition(" ")[0]: row for row in found.rows if row[0] != "File"}
    assert set(rows) == {"cut.jpg", "gone.jpg", "turned.jpg", "better.jpg"}
    assert rows["cut.jpg"][1:3] == ["image image/jpeg", "21.0 kB"]
    said = "The JPEG is cut off.→ Copy it again. warning It is stored turned.→ Turn its pixels."
    assert " ".join(rows["cut.jpg"][3].split()) == said
    assert rows["gone.jpg"][1:3] == ["not read", "–"]
    assert rows["better.jpg"][0] == "better.jpg → prepared as s3://bucket/prepared/photo.jpg"
    assert rows["better.jpg"][1] == "6.1 MB 4,000 × 3,000 image/png"
    assert rows["better.jpg"][2] == "4.9 MB 2,000 × 1,500 image/jpeg, quality 92"
    assert rows["better.jpg"][3].split(" ", 4)[:4] == ["Its", "pixels", "were", "turned."]


def test_the_page_asks_for_nothing_from_anywhere(report):
    """No script, no address but pictures in itself and places on it; and a browser is told to refuse any other."""
    fill(report)
    found = page(report)
    names = {name for name, _ in found.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "svg", "video", "audio"}
    policy = next(each["content"] for each in found.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    addresses = [value for _, attrs in found.tags for key, value in attrs.items() if key in {"src", "href", "srcset", "action"}]
    places = {f"#{attrs['id']}" for _, attrs in found.tags if "id" in attrs}
    assert len(addresses) == 5
    assert all(each.startswith("data:image/") or each in places for each in addresses)
    assert "url(" not in found.html
    assert "@import" not in found.html


def test_the_page_can_be_read_by_ear_and_by_keyboard(report):
    fill(report)
    found = page(report)
    assert found.all("html") == [{"lang": "en"}]
    levels = [int(name[1]) for name, _ in found.tags if name in {"h1", "h2", "h3", "h4"}]
    assert levels[0] == 1
    assert all(lower <= upper + 1 for upper, lower in pairwise(levels)), "no level is left out"
    assert levels.count(1) == 1
    heads = found.all("th")
    assert {each["scope"] for each in heads} == {"col", "row"}
    assert all(each["alt"] for each in found.all("img"))
    assert len(found.all("img")) == 2
    assert len(found.all("table")) == 4
    assert all("aria-label" in each or "aria-labelledby" in each for each in found.all("table"))
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert any(each.get("name") == "viewport" for each in found.all("meta"))


def test_strangers_words_stay_words():
    """Wherever they stand: no tag, no attribute, no control, no change of direction."""
    evil = '"><script>alert(1)</script>\x1b[31m\u202e\u2066\x00\udc80{{ 7 * 7 }} ffmpeg <b onclick=x>'
    problem = Problem("code_<i>", "error", evil, evil)
    receipt = Receipt((Change("c", evil),), Shape("", evil, 1, 1, 1, None), Shape("", evil, 1, 1, 1, 1), evil, 1, evil)
    with Report(source=evil, checked_at=NOON, not_looked_at=evil) as report:
        report.add(Checked(evil, Verdict(evil, evil, evil, 1, "", (problem, problem), receipt)))
        report.add(Checked(evil, None, problem))
        report.add(checked(evil, Problem("w", "warning", evil, evil)))
        html = report.html()
        assert json.loads("".join(report.json_lines()))["files"][0]["path"] == evil
    found = Page(html)
    assert not {"script", "b", "i"} & {name for name, _ in found.tags}
    assert all(char.isprintable() or char == "\n" for char in html)
    assert html.encode("utf-8")
    assert found.text.count("\\x1b[31m\\x202e\\x2066\\x00\\xdc80{{ 7 * 7 }}") > 10


def test_what_files_have_in_common_is_said_once(report):
    for name in ("a", "b", "c"):
        report.add(checked(f"{name}.jpg", CUT))
    other = Problem("too_large", "error", "The file has 7,000,000 bytes.", "Make it smaller.")
    report.add(checked("d.jpg", LARGE))
    report.add(checked("e.jpg", other))
    text = page(report).text
    assert text.count("The JPEG is cut off.") == text.count("Copy it again.") == text.count("Make it smaller.") == 1
    assert text.count("6,000,000") == text.count("7,000,000") == 1
    assert text.index("Image truncated 3 files") < text.index("Too large 2 files"), "the most frequent first"


def test_remedies_that_differ_stand_with_their_files(report):
    report.add(checked("a.mp4", Problem("video_codec", "error", "HEVC.", "ffmpeg -i in.mp4 -c:v libx264 out.mp4")))
    report.add(checked("b.mp4", Problem("video_codec", "error", "HEVC.", "Or so: ffmpeg -i in.mp4 -an out.mp4")))
    rows = [row for row in page(report).rows if row[0] != "File"]
    assert "ffmpeg -i in.mp4 -c:v libx264 out.mp4" in rows[0][3]
    assert "Or so: ffmpeg -i in.mp4 -an out.mp4" in rows[1][3]
    assert page(report).text.count("HEVC.") == 1
    assert len(page(report).all("code")) == 3, "two commands and the code of the finding"


def test_each_code_is_listed_up_to_a_bound_and_counted_beyond_it():
    """Errors are listed in full where warnings are not."""
    with Report(source="x", checked_at=NOON, most_bad=3, most_others=2) as report:
        for at in range(4):
            report.add(checked(f"bad-{at}.jpg", CUT))
            report.add(checked(f"turned-{at}.jpg", TURNED, receipt=RECEIPT))
        report.add(checked("last.jpg", LARGE))
        found = page(report)
    text = found.text
    names = [row[0].partition(" ")[0] for row in found.rows if row[0] != "File"]
    assert names == ["bad-0.jpg", "bad-1.jpg", "bad-2.jpg", "last.jpg", *["turned-0.jpg", "turned-1.jpg"] * 2]
    assert "The first 3 of 4 files are listed. All of them are in the JSON report." in text
    assert text.count("The first 2 of 4 files are listed. All of them are in the JSON report.") == 2
    assert "5 files would be refused" in text


def test_thumbnails_are_bounded_and_the_bad_files_keep_theirs():
    with Report(source="x", checked_at=NOON, most_thumbnails=2) as report:
        for at in range(5):
            report.add(checked(f"{at}.jpg", TURNED, thumbnail=PIXELS))
        report.add(checked("bad.jpg", CUT, thumbnail=PIXELS))
        found = page(report)
    images = found.all("img")
    assert len(images) == 3
    assert images[0]["src"] == f"data:image/jpeg;base64,{b64encode(PIXELS).decode()}"


@pytest.mark.parametrize("thumbnail", [b"<svg onload=x>", b"", PIXELS + bytes(30_000)], ids=["no picture", "empty", "not small"])
def test_what_is_no_small_picture_is_not_shown(report, thumbnail):
    report.add(checked("a.jpg", CUT, thumbnail=thumbnail))
    found = page(report)
    assert found.all("img") == []
    assert [each for each in found.all("span") if each.get("class") == "blank"]


def test_what_could_not_be_looked_at_is_said(report):
    assert "PyAV" not in page(report).text
    with Report(source="x", checked_at=NOON, not_looked_at="PyAV is not installed.") as other:
        assert "PyAV is not installed." in page(other).text
        assert json.loads("".join(other.json_lines()))["not_looked_at"] == "PyAV is not installed."


def test_the_instant_is_told_in_utc(report):
    assert "2026-11-23 12:00 UTC" in page(report).text
    assert page(report).all("time") == [{"datetime": NOON.astimezone(UTC).isoformat()}]


# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (21_022, "21.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (104_857_600, "104.9 MB"),
        (5_000_000_000_000, "5,000.0 GB"),
    ],
)
def test_a_size_is_told_in_powers_of_ten(size_bytes, words):
    assert size_words(size_bytes) == words


def test_what_cannot_be_printed_stands_as_its_code():
    assert printable("a\x1b\u202eé\udc80 b") == "a\\x1b\\x202eé\\xdc80 b"
