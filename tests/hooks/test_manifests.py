"""Manifests, folders, globs and lists as the source of items."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import uuid
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_360dialog.exceptions import CallError, SourceUnreadableError, StorageFailedError
from airflow_provider_360dialog.hooks import lines
from airflow_provider_360dialog.hooks.manifests import input_at
from airflow_provider_360dialog.hooks.places import source_at
from airflow_provider_360dialog.jobs.manifest import RECORD_MAX_CHARS, Malformed, Wanted

JSONL = b'{"key": "a", "uri": "in/a.pdf"}\n{"key": "b", "uri": "/x/b.pdf"}\n'
CSV = b"key,uri\r\na,in/a.pdf\r\nb,/x/b.pdf\r\n"


def pairs(source):
    return [(each.key, each.uri) for each in input_at(source).items()]


def keys(source):
    return [each.key for each in input_at(source).items()]


def content(item):
    with source_at(item.uri).open() as file:
        return file.read()


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def memory_folder(*names):
    attach("memory", fs=MemoryFileSystem())
    root = f"memory://{uuid.uuid4().hex}/in"
    for name in names:
        ObjectStoragePath(f"{root}/{name}").write_bytes(name.encode())
    return root


# --- manifests ----------------------------------------------------------------------------------------------------


MANIFESTS = [
    ("m.jsonl", JSONL),
    ("m.NDJSON", JSONL),
    ("m.json-lines", JSONL),
    ("m.csv", CSV),
    ("m.Csv", b"\xef\xbb\xbf" + CSV),
    ("m.jsonl.gz", gzip.compress(JSONL)),
    ("m.csv.GZ", gzip.compress(CSV[:20]) + gzip.compress(CSV[20:])),
]


@pytest.mark.parametrize(("name", "text"), MANIFESTS, ids=[name for name, _ in MANIFESTS])
def test_reads_a_manifest_as_its_name_says(name, text, tmp_path, bucket):
    """On this machine and in a store, again and again; relative places are relative to it, and a connection id is kept."""
    (tmp_path / name).write_bytes(text)
    found = input_at(tmp_path / name)
    assert found.uri == str(tmp_path / name)
    assert found.rejects_uri == f"{tmp_path / name}.rejects.jsonl"
    for _ in range(2):
        assert [(each.key, each.uri) for each in found.items()] == [("a", f"{tmp_path}/in/a.pdf"), ("b", "/x/b.pdf")]

    stored = input_at(bucket.put(f"p/{name}", text))
    assert stored.uri == f"s3://{bucket.name}/p/{name}"
    assert stored.rejects_uri == bucket.uri(f"p/{name}.rejects.jsonl")
    for _ in range(2):
        assert [(each.key, each.uri) for each in stored.items()] == [("a", bucket.uri("p/in/a.pdf")), ("b", "/x/b.pdf")]


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(str, id="a path as text"),
        pytest.param(os.path.relpath, id="a relative path"),
        pytest.param(lambda p: p.as_uri(), id="a file URI"),
        pytest.param(lambda p: ObjectStoragePath(f"file://{p}"), id="an ObjectStoragePath of a file"),
        pytest.param(lambda p: f"~/{p.relative_to(Path.home())}", id="a path in the home folder"),
    ],
)
def test_a_local_manifest_in_every_form(form, tmp_path, monkeypatch):
    """What is relative to it is a plain path, whatever its own name holds."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "c %41ü/in/a.pdf")
    path = tmp_path / "c %41ü" / "m.jsonl"
    path.write_bytes(JSONL)
    first = next(input_at(form(path)).items())
    assert content(first) == b"c %41\xc3\xbc/in/a.pdf"


def test_a_manifest_as_a_path_with_its_connection_beside_it(bucket):
    """The connection id goes into the items' places."""
    bucket.put("p/m.csv", CSV)
    bucket.put("p/in/a.pdf", b"content")
    found = input_at(ObjectStoragePath(f"s3://{bucket.name}/p/m.csv", conn_id="store"))
    assert content(next(found.items())) == b"content"
    assert found.rejects_uri == bucket.uri("p/m.csv.rejects.jsonl")


def test_a_line_that_is_not_utf8_is_rejected_alone(tmp_path):
    """With its number."""
    for name, (first, second) in (
        ("m.jsonl", JSONL.splitlines(keepends=True)),
        ("m.csv", CSV.splitlines(keepends=True)[1:]),
    ):
        header = b"key,uri\n" if name == "m.csv" else b""
        (tmp_path / name).write_bytes(header + first + second.replace(b"b", b"\xe4") + second)
        good, bad, after = input_at(tmp_path / name).items()
        assert (good.key, after.key) == ("a", "b")
        assert isinstance(bad, Malformed)
        assert bad.line == 2 + bool(header)
        assert "UTF-8" in bad.reason


def test_a_manifest_in_utf16_is_rejected_line_by_line(tmp_path):
    """As old spreadsheets write it: nothing raises."""
    (tmp_path / "m.csv").write_bytes(CSV.decode().encode("utf-16"))
    (found,) = input_at(tmp_path / "m.csv").items()
    assert isinstance(found, Malformed)


@pytest.mark.parametrize("size", [RECORD_MAX_CHARS + 1, 262_143, 262_144, 262_145, 300_000, 1_000_000])
@pytest.mark.parametrize("letter", ["x", "ü", "\N{CAMERA}"], ids=["1 byte", "2 bytes", "4 bytes"])
def test_a_line_without_end_is_one_reject(size, letter, tmp_path):
    """However its length meets the blocks in which it is read."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(JSONL + f'{{"key": "{letter * size}"}}\n'.encode() + JSONL + letter.encode() * size)
    found = list(input_at(path).items())
    assert [each.line for each in found] == [1, 2, 3, 4, 5, 6]
    assert [each.line for each in found if isinstance(each, Malformed)] == [3, 6]
    assert all("longer than" in found[n].reason for n in (2, 5))


def test_lines_are_whole_wherever_blocks_end(tmp_path, monkeypatch):
    """Blocks of three bytes: the same lines."""
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 3)
    text = "\ufeffkey,uri\r\nü\N{CAMERA},a\r\n\nb\u2028b,c\nd,e"
    (tmp_path / "m.csv").write_text(text, encoding="utf-8", newline="")
    items = list(input_at(tmp_path / "m.csv").items())
    assert [(each.line, each.key) for each in items] == [(2, "ü\N{CAMERA}"), (4, "b\N{REPLACEMENT CHARACTER}b"), (5, "d")]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_memory_stays_flat_for_a_large_manifest(packed, tmp_path):
    """20 MB of items, and 40 MB in one line (promise P9)."""
    path = tmp_path / ("m.jsonl.gz" if packed else "m.jsonl")
    with (gzip.open if packed else open)(path, "wb") as file:
        for _ in range(100):
            file.write(b'{"key": "a", "uri": "b", "x": 1}\n' * 500)
        for _ in range(40):
            file.write(b"x" * 1_000_000)
    tracemalloc.start()
    try:
        count = sum(1 for _ in input_at(path).items())
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()
    assert count == 50_001


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(gzip.compress(JSONL * 1000)[:-20], id="cut off"),
        pytest.param(JSONL, id="not packed at all"),
        pytest.param(gzip.compress(JSONL)[:12] + b"\xff" * 40, id="other bytes"),
    ],
)
def test_a_damaged_gzip_file_fails_for_good(damaged, tmp_path, bucket):
    """And says what to do."""
    (tmp_path / "m.jsonl.gz").write_bytes(damaged)
    for place in (tmp_path / "m.jsonl.gz", bucket.put("m.jsonl.gz", damaged)):
        with pytest.raises(SourceUnreadableError, match="unpacked"):
            list(input_at(place).items())


def test_a_gzip_bomb_is_not_read_to_its_end(tmp_path, monkeypatch):
    """A guard on what comes out."""
    monkeypatch.setattr(lines, "_UNPACKED_MAX_BYTES", 1_000_000)
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(JSONL * 50_000))
    with pytest.raises(SourceUnreadableError, match="unpacks to more"):
        list(input_at(tmp_path / "m.jsonl.gz").items())


# --- what cannot be read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("missing.jsonl", id="a manifest that is not there"),
        pytest.param("missing/", id="a folder that is not there"),
        pytest.param("file.pdf", id="a file that is no manifest"),
        pytest.param("file.pdf/m.csv", id="a path through a file"),
        pytest.param("pipe.csv", id="a pipe, which would never end"),
        pytest.param("a" * 300, id="a name that is too long"),
        pytest.param("", id="an empty text"),
        pytest.param("a\0.csv", id="a zero byte"),
        pytest.param("https://example.com/m.csv?sig=secret", id="a web address"),
        pytest.param("nothing://x/m.csv", id="a scheme that nobody knows"),
        pytest.param("gs://bucket/m.csv", id="a store whose provider is not installed"),
        pytest.param("file:///x/?.pdf", id="a wildcard in a file URI that it could not hold"),
        pytest.param("s3://store@*/a/", id="a wildcard for a bucket"),
    ],
)
def test_a_source_that_cannot_be_read_fails_for_good(source, tmp_path, monkeypatch, bucket):
    """At once, and the message shows no query."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "file.pdf")
    os.mkfifo("pipe.csv")
    with pytest.raises(SourceUnreadableError) as caught:
        input_at(source)
    assert "sig=" not in str(caught.value)


def test_a_glob_of_a_folder_that_is_not_there_fails_for_good(tmp_path):
    """When it is read: a typing error should not be taken for a night without vouchers."""
    with pytest.raises(SourceUnreadableError, match="missing"):
        list(input_at(tmp_path / "missing" / "*.pdf").items())


@pytest.mark.parametrize("source", ["m.jsonl", "in", "in/a.pdf"])
def test_an_object_that_cannot_be_read_fails_for_good(source, bucket):
    """Not there, and neither manifest nor folder."""
    bucket.put("in2/a.pdf", b"")
    with pytest.raises(SourceUnreadableError):
        input_at(bucket.uri(source))


@pytest.mark.parametrize("source", ["", "in/", "in/*.pdf", "**"])
def test_a_bucket_that_is_not_there_fails_for_good(source, bucket):
    """When it is read."""
    with pytest.raises(SourceUnreadableError):
        list(input_at(f"s3://store@no-such-bucket-here/{source}").items())


@pytest.mark.parametrize("source", [None, 7, b"m.csv", {"key": "a", "uri": "b"}, {"a"}], ids=repr)
def test_a_source_that_is_none_is_a_mistake_in_the_call(source):
    """Of the wrong type."""
    with pytest.raises(CallError, match="path, a URI or a list"):
        input_at(source)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; run the tests as another user to see this one")
def test_a_folder_without_read_rights_fails_for_good(tmp_path):
    """Nothing is left out in silence."""
    write(tmp_path, "a.pdf", "closed/b.pdf")
    (tmp_path / "closed").chmod(0)
    with pytest.raises(SourceUnreadableError, match="closed"):
        list(input_at(tmp_path).items())


def test_a_store_that_stutters_may_be_tried_again(bucket, monkeypatch):
    """While it lists, and while it reads."""
    manifest, folder = input_at(bucket.put("in/m.csv", CSV)), input_at(bucket.uri("in/"))
    monkeypatch.setattr("s3fs.S3FileSystem.call_s3", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("SlowDown?sig=1")))
    monkeypatch.setattr("s3fs.S3FileSystem._open", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("SlowDown?sig=1")))
    for source in (manifest, folder):
        with pytest.raises(StorageFailedError) as caught:
            list(source.items())
        assert "sig=" not in str(caught.value)


# --- folders ------------------------------------------------------------------------------------------------------


FILES = ("b.pdf", "a/2.pdf", "a/1.pdf", "a b/ü?x#%41.pdf", "a/x/y.jpg")
LEFT_OUT = (".hidden", ".git/a.pdf", "a/.b/c.pdf", "a/.c.pdf", "x.rejects.jsonl", "a/y.rejects.jsonl")


def test_a_folder_gives_all_files_below_it(tmp_path):
    """In order; the key is the relative path. Hidden files and our own rejects are left out."""
    write(tmp_path / "in", *FILES, *LEFT_OUT)
    (tmp_path / "in" / "empty").mkdir()
    for source in (tmp_path / "in", f"{tmp_path}/in/", ObjectStoragePath(f"file://{tmp_path}/in"), f"file://{tmp_path}/in/"):
        found = input_at(source)
        assert found.uri == str(tmp_path / "in")
        assert found.rejects_uri == f"{tmp_path}/in.rejects.jsonl"
        items = list(found.items())
        assert [each.key for each in items] == ["a b/ü?x#%41.pdf", "a/1.pdf", "a/2.pdf", "a/x/y.jpg", "b.pdf"]
        assert [content(each).decode() for each in items] == [each.key for each in items]


@pytest.mark.parametrize("folder", ["", "p/", "p q/"])
def test_a_folder_of_a_store_gives_all_objects_below_it(folder, bucket):
    """With the connection id in their places, so that they can be opened."""
    for name in (*FILES, *LEFT_OUT):
        bucket.put(folder + name, name.encode())
    bucket.put(f"{folder}placeholder/", b"")
    bucket.put("p2/other.pdf" if folder else "z.pdf", b"z.pdf")
    sources = [
        bucket.uri(folder),
        ObjectStoragePath(f"s3://{bucket.name}/{folder}", conn_id="store"),
        bucket.uri(folder).rstrip("/"),
    ]
    for source in sources:
        found = input_at(source)
        beside = bucket.uri("p.rejects.jsonl").replace("p.", f"{folder.rstrip('/')}.") if folder else None
        assert found.rejects_uri == (beside or bucket.uri(f"{bucket.name}.rejects.jsonl"))
        items = list(found.items())
        assert sorted(each.key for each in items) == sorted((*FILES, *(() if folder else ("z.pdf",))))
        assert [content(each).decode() for each in items] == [each.key for each in items]


def test_a_folder_of_any_store():
    """That fsspec knows; sorted where it is walked."""
    root = memory_folder(*FILES[:3], ".hidden", ".git/a.pdf", "x.rejects.jsonl")
    found = input_at(f"{root}/")
    assert [(each.key, content(each)) for each in found.items()] == [
        ("b.pdf", b"b.pdf"),
        ("a/1.pdf", b"a/1.pdf"),
        ("a/2.pdf", b"a/2.pdf"),
    ]
    assert keys(f"{root}/*/*.pdf") == ["a/1.pdf", "a/2.pdf"]
    assert keys(f"{root}/*.pdf") == ["b.pdf"]
    ObjectStoragePath(f"{root}/c.pdf").write_bytes(b"")
    assert len(list(found.items())) == 4


def test_a_folder_of_any_store_that_is_not_there_fails_for_good():
    """Where a store has folders, a missing one is a mistake."""
    with pytest.raises(SourceUnreadableError):
        list(input_at(f"{memory_folder()}/").items())


def test_what_a_store_remembers_of_a_folder_is_not_believed(monkeypatch):
    """A worker lives long; its file systems remember listings."""
    forgotten = []
    monkeypatch.setattr(MemoryFileSystem, "invalidate_cache", lambda *_: forgotten.append(True))
    root = memory_folder("a.pdf")
    forgotten.clear()
    assert keys(f"{root}/") == ["a.pdf"]
    assert forgotten


def test_a_large_folder_of_a_store_is_read_page_by_page(bucket, monkeypatch):
    """The next page is asked for when the last one is used up; what is new is seen."""
    for n in range(25):
        bucket.put(f"in/{n:03}.pdf", b"")
    asked = []
    from s3fs import S3FileSystem

    call = S3FileSystem.call_s3

    def small(self, method, **request):
        asked.append(request)
        return call(self, method, MaxKeys=10, **request)

    monkeypatch.setattr(S3FileSystem, "call_s3", small)
    found = input_at(bucket.uri("in/"))
    items = found.items()
    next(items)
    assert len(asked) == 1
    assert len(list(items)) == 24
    assert len(asked) == 3
    bucket.put("in/new.pdf", b"")
    assert len(list(found.items())) == 26
    asked.clear()
    assert keys(bucket.uri("in/01*.pdf")) == [f"01{n}.pdf" for n in range(10)]
    assert [(each["Prefix"], each["Delimiter"]) for each in asked] == [("in/01", "/")]


def test_links_that_lead_out_are_left_out_and_counted(tmp_path, caplog):
    """A link to a file within the folder is a file; no link to a folder is followed, so nothing comes twice or for ever."""
    write(tmp_path, "in/a.pdf", "in/sub/b.pdf", "secret.pdf", "inside/c.pdf")
    folder = tmp_path / "in"
    (folder / "good.pdf").symlink_to("sub/b.pdf")
    (folder / "dead.pdf").symlink_to("nowhere.pdf")
    (folder / "self.pdf").symlink_to("self.pdf")
    (folder / "out.pdf").symlink_to("../secret.pdf")
    (folder / "out2.pdf").symlink_to(tmp_path / "inside" / "c.pdf")
    (folder / "out-folder").symlink_to("../inside")
    (folder / "sub" / "loop").symlink_to("..")
    assert keys(folder) == ["a.pdf", "dead.pdf", "good.pdf", "self.pdf", "sub/b.pdf"]
    (said,) = caplog.messages
    assert "left out 4 symbolic links" in said
    (tmp_path / "link").symlink_to("in")
    assert pairs(tmp_path / "link")[0] == ("a.pdf", f"{tmp_path}/link/a.pdf")


def test_a_file_whose_path_is_no_key_is_rejected_alone(tmp_path, bucket):
    """Too long, or not printable: the reason says which, and its place is shown."""
    long = "/".join(["x" * 100] * 3) + ".pdf"
    write(tmp_path, "a.pdf", "b\n.pdf", long)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe4.pdf")).write_bytes(b"")
    found = list(input_at(tmp_path).items())
    assert [type(each) for each in found] == [Wanted, Malformed, Malformed, Malformed]
    assert all(each.uri.isprintable() for each in found)
    for name in ("in/a.pdf", "in/b\tc?", f"in/{long}", "in/\u202efdp.exe"):
        bucket.put(name, b"")
    found = list(input_at(bucket.uri("in/")).items())
    assert [type(each) for each in found] == [Wanted, Malformed, Malformed, Malformed]
    assert all(each.uri.isprintable() for each in found)


@pytest.mark.parametrize("name", ["a?", "a#", "a?#.pdf"])
def test_an_object_that_a_uri_would_miss_is_rejected(name, bucket, tmp_path):
    """Another object would be sent in its place. On this machine there is no such name."""
    bucket.put(f"in/{name}", b"right")
    bucket.put("in/a", b"wrong")
    found = {each.key: each for each in input_at(bucket.uri("in/")).items()}
    assert isinstance(found[name], Malformed)
    assert "rename" in found[name].reason
    assert content(found["a"]) == b"wrong"
    write(tmp_path, name)
    assert [content(each).decode() for each in input_at(tmp_path).items()] == [name]


def test_an_empty_folder_gives_nothing_and_says_so(tmp_path, bucket, caplog):
    """A night without vouchers is no failure; a typing error should be seen."""
    for source in (tmp_path, f"{tmp_path}/*.pdf", bucket.uri("nothing/"), bucket.uri("nothing/*")):
        caplog.clear()
        assert keys(source) == []
        assert any("no file is in" in each for each in caplog.messages)


# --- globs --------------------------------------------------------------------------------------------------------


GLOBS = [
    ("*.pdf", ["b.pdf"]),
    ("?.pdf", ["b.pdf"]),
    ("*", ["b.pdf"]),
    ("a/*.pdf", ["1.pdf", "2.pdf"]),
    ("*/?.pdf", ["a/1.pdf", "a/2.pdf"]),
    ("**/*.pdf", ["a b/ü?x#%41.pdf", "a/1.pdf", "a/2.pdf", "b.pdf"]),
    ("**", ["a b/ü?x#%41.pdf", "a/1.pdf", "a/2.pdf", "a/x/y.jpg", "b.pdf"]),
    ("a*/**/**/*.jpg", ["a/x/y.jpg"]),
    ("a**", []),
    ("a?b/*", ["a b/ü?x#%41.pdf"]),
    ("*/", ["a b/ü?x#%41.pdf", "a/1.pdf", "a/2.pdf", "a/x/y.jpg"]),
    ("[ab].pdf*", []),
]


@pytest.mark.parametrize(("glob", "expected"), GLOBS, ids=[glob for glob, _ in GLOBS])
def test_a_glob_gives_the_files_that_fit(glob, expected, tmp_path, bucket):
    """On this machine and in a store alike; keys are relative to its fixed part."""
    write(tmp_path / "in", *FILES, *LEFT_OUT)
    for name in (*FILES, *LEFT_OUT):
        bucket.put(f"in/{name}", name.encode())
    below = "a/" if glob.startswith("a/") else ""
    for root in (f"{tmp_path}/in/", bucket.uri("in/")):
        found = input_at(root + glob)
        items = list(found.items())
        assert sorted(each.key for each in items) == expected
        assert [content(each).decode() for each in items] == [below + each.key for each in items]
        assert found.rejects_uri == f"{root}{below}".rstrip("/") + ".rejects.jsonl"


def test_a_name_that_holds_a_wildcard_is_itself_where_it_is_there(tmp_path):
    """On this machine."""
    write(tmp_path / "in*", "a.pdf")
    write(tmp_path / "in2", "b.pdf")
    assert keys(tmp_path / "in*") == ["a.pdf"]


def test_a_glob_looks_no_deeper_than_it_has_to(tmp_path, monkeypatch):
    """One level of a deep tree."""
    write(tmp_path, "a.pdf", "b/c/d/e.pdf")
    seen, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(path) or scandir(path))
    assert keys(f"{tmp_path}/*") == ["a.pdf"]
    assert len(seen) == 1


# --- lists --------------------------------------------------------------------------------------------------------


def test_a_list_gives_its_items(bucket, tmp_path):
    """Mappings, paths as text, and path objects of any kind; there is no place for rejects."""
    uri = bucket.put("a.pdf", b"content")
    write(tmp_path, "b.pdf")
    found = input_at([{"key": "k", "uri": uri}, uri, ObjectStoragePath(uri), tmp_path / "b.pdf", 7])
    assert found.rejects_uri is None
    items = list(found.items())
    assert [each.key for each in items] == ["k", uri, uri, str(tmp_path / "b.pdf"), None]
    assert [content(each) for each in items[:4]] == [b"content"] * 3 + [b"b.pdf"]
    assert len(list(found.items())) == 5


def test_a_list_that_is_too_long_is_refused_at_once():
    """With the remedy."""
    with pytest.raises(CallError, match="manifest"):
        input_at(["a"] * 1001)
