"""Small texts, read and written; lines, blocks and whole files within their bounds."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_360dialog.exceptions import DestinationError, SourceUnreadableError, StorageFailedError
from airflow_provider_360dialog.hooks import lines
from airflow_provider_360dialog.hooks.lines import read_bytes, text_lines, write_lines
from airflow_provider_360dialog.hooks.places import source_at

MB = 1_000_000


def test_lines_are_written_and_read_back(tmp_path, bucket):
    """Whole, counted and hashed; what stands there is replaced."""
    lines = [json.dumps({"key": "ü"}), "", "b"]
    stored = b'{"key": "\\u00fc"}\n\nb\n'
    for place in (tmp_path / "new" / "ids.txt", bucket.uri("new/ids.txt")):
        write_lines(place, ["old"] * 10)
        assert write_lines(place, iter(lines)) == (3, hashlib.sha256(stored).hexdigest())
        assert list(text_lines(place)) == lines
        assert write_lines(place, []) == (0, hashlib.sha256().hexdigest())
        assert list(text_lines(place)) == []
    assert bucket.keys() == ["new/ids.txt"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ids.txt"]


def test_lines_that_break_off_change_nothing(tmp_path, bucket):
    """No half file, no temporary one."""

    def broken():
        yield "new"
        raise RuntimeError("the ledger is away")

    for place in (tmp_path / "out" / "ids.txt", bucket.uri("out/ids.txt")):
        write_lines(place, ["old"])
        with pytest.raises(RuntimeError, match="ledger"):
            write_lines(place, broken())
        assert list(text_lines(place)) == ["old"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ids.txt"]
    assert bucket.unfinished() == []


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    """A folder, and a full disk, which may be tried again."""
    with pytest.raises(DestinationError):
        write_lines(tmp_path, ["a"])
    if Path("/dev/full").exists():
        monkey = pytest.MonkeyPatch()
        with monkey.context() as patch, pytest.raises(StorageFailedError):
            patch.setattr(os, "fsync", lambda _: Path("/dev/full").write_bytes(b"x"))
            write_lines(tmp_path / "a", ["a"])
    assert list(tmp_path.iterdir()) == []


def test_a_text_of_any_bytes_can_be_read(tmp_path):
    """Byte order mark, line ends of two kinds, what is no UTF-8; packed too."""
    text = b"\xef\xbb\xbf1\r\n2\n\xff\n\n3"
    (tmp_path / "a.txt").write_bytes(text)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text))
    for name in ("a.txt", "a.txt.gz"):
        assert list(text_lines(tmp_path / name)) == ["1", "2", "\N{REPLACEMENT CHARACTER}", "", "3"]
    with pytest.raises(SourceUnreadableError):
        list(text_lines(tmp_path / "missing.txt"))


def test_lines_that_no_encoding_takes_are_escaped(tmp_path):
    """A file of rejects names what it can."""
    assert write_lines(tmp_path / "a", ["\udcff"])[0] == 1
    assert list(text_lines(tmp_path / "a")) == ["\\udcff"]


# --- long lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_line_may_be_as_long_as_the_reader_says(name, tmp_path):
    """A webhook of 3 MB stands on one line; without a word it is cut as a manifest's."""
    long = "x" * 3 * MB
    text = f"1\n{long}\n2\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert list(text_lines(tmp_path / name, line_max_bytes=3 * MB)) == ["1", long, "2"]
    first, cut, last = text_lines(tmp_path / name)
    assert (first, last) == ("1", "2")
    assert len(cut) == lines.LINE_MAX_BYTES < 300_000


@pytest.mark.parametrize("excess", [0, 1, 10 * MB])
def test_a_line_beyond_what_the_reader_says_is_cut(excess, tmp_path, monkeypatch):
    """And the next one is whole."""
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 1_000)  # so that none ends in the block in which it gets too long
    bound = 5_000
    (tmp_path / "a.txt").write_bytes(b"x" * (bound + excess) + b"y" * 2_000 * bool(excess) + b"\nnext\n")
    assert list(text_lines(tmp_path / "a.txt", line_max_bytes=bound)) == ["x" * bound, "next"]


# --- whole files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "A.JSON.GZ"])
@pytest.mark.parametrize("content", [b"", b"{}", os.urandom(600_000)], ids=["empty", "short", "of several blocks"])
def test_all_bytes_of_a_file_are_read(name, content, tmp_path, bucket):
    """Of a path, a URI, a path object, or a source; unpacked where its name says so; up to the very bound."""
    stored = gzip.compress(content) if name.lower().endswith(".gz") else content
    (tmp_path / name).write_bytes(stored)
    uri = bucket.put(f"p/{name}", stored)
    for place in (tmp_path / name, str(tmp_path / name), uri, ObjectStoragePath(uri), source_at(uri), source_at(tmp_path / name)):
        assert read_bytes(place, max_bytes=len(content)) == content


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
@pytest.mark.parametrize("size", [1_001, 600_000])
def test_a_file_that_is_too_long_is_refused_with_the_bound(name, size, tmp_path):
    """By one byte or by many; what counts is what comes out."""
    content = b"x" * size
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(SourceUnreadableError, match="than 1,000 bytes") as caught:
        read_bytes(tmp_path / name, max_bytes=1_000)
    assert ("unpacks" in str(caught.value)) == name.endswith(".gz")


def test_of_a_file_that_is_too_long_little_is_read(tmp_path, monkeypatch):
    """A bomb of gzip fills no memory."""
    read, count = lines.gzip.GzipFile.read, []

    def counted(self, size=-1):
        block = read(self, size)
        count.append(len(block))
        return block

    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"x" * 20 * MB))
    monkeypatch.setattr(lines.gzip.GzipFile, "read", counted)
    with pytest.raises(SourceUnreadableError):
        read_bytes(tmp_path / "a.json.gz", max_bytes=MB)
    assert MB < sum(count) < 2 * MB


def test_a_file_that_is_damaged_or_gone_fails_for_good(tmp_path, bucket):
    """As any source."""
    (tmp_path / "a.json.gz").write_bytes(b"{}")
    for place in (tmp_path / "a.json.gz", tmp_path / "b.json", tmp_path, bucket.uri("b.json")):
        with pytest.raises(SourceUnreadableError):
            read_bytes(place, max_bytes=MB)
