"""What is under a place, and the stamp of each file, which the listing itself tells."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem

from airflow_provider_360dialog.exceptions import CallError, SourceUnreadableError, StorageFailedError
from airflow_provider_360dialog.hooks import places
from airflow_provider_360dialog.hooks.listing import Listed, files_at
from airflow_provider_360dialog.hooks.places import source_at

PLAIN = (".json", ".jsonl", ".ndjson")
ENDINGS = (*PLAIN, *(f"{each}.gz" for each in PLAIN))

FILES = ("10/b.json", "10/a b/ü%41.NDJSON.gz", "10/a/1.jsonl", "10/a/x/y.json.GZ", "9.Json")
LEFT_OUT = (
    ".hidden.json",
    ".git/a.json",
    "10/.b/c.json",
    "10/.c.json",
    "10/x.jsonl.rejects.jsonl",
    "10/readme.txt",
    "10/a.json.zip",
    "10/a.gz",
    "10/json",
)


def files(source, endings=ENDINGS):
    return list(files_at(source, endings=endings))


def uris(source):
    return [each.uri for each in files(source)]


def content(listed):
    with source_at(listed.uri).open() as file:
        return file.read().decode()


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


@pytest.fixture
def aged(monkeypatch):
    """No file is too new to have a stamp."""
    monkeypatch.setattr(places, "_FRESH_S", -60.0)


@pytest.fixture
def asked(monkeypatch):
    """The S3 requests, each by its name."""
    made = []

    def counted(real):
        return lambda self, method, *args, **kwargs: made.append(method) or real(self, method, *args, **kwargs)

    for name in ("call_s3", "_call_s3"):  # what the listing calls, and what the file system calls itself
        monkeypatch.setattr(S3FileSystem, name, counted(getattr(S3FileSystem, name)))
    return made


class Etags:
    """A store that is walked and that tells an etag of each file; `asked` holds the names of the files asked for one by one."""

    def __init__(self, monkeypatch):
        self.asked = []
        ls, info = MemoryFileSystem.ls, MemoryFileSystem.info
        with_etag = lambda facts: facts | {"etag": f"e{facts['size']}"} if facts["type"] == "file" else facts  # noqa: E731
        monkeypatch.setattr(MemoryFileSystem, "ls", lambda fs, *args, **kw: [with_etag(each) for each in ls(fs, *args, **kw)])
        monkeypatch.setattr(MemoryFileSystem, "info", lambda fs, path, **kw: self.asked.append(path) or with_etag(info(fs, path)))
        attach("memory", fs=MemoryFileSystem())
        self.root = f"memory://{uuid.uuid4().hex}/in"

    def put(self, *names):
        for name in names:
            ObjectStoragePath(f"{self.root}/{name}").write_bytes(name.encode())


@pytest.fixture
def walked(monkeypatch):
    return Etags(monkeypatch)


# --- one file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.json", "A.TXT", "no ending", ".hidden.json", "a.rejects.jsonl", "a*.json", "ü?x#%41.json"])
@pytest.mark.parametrize("form", [lambda p: p, str, lambda p: p.name], ids=["a path", "as text", "relative"])
def test_a_file_of_this_machine_is_given_whatever_its_name(form, name, tmp_path, aged, monkeypatch):
    """By its absolute path, with the stamp of its source."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, name, "ax.json")
    path = str(tmp_path / name)
    assert files(form(tmp_path / name)) == [Listed(path, source_at(path).stamp())]
    assert source_at(path).stamp() is not None


def test_a_file_uri_names_the_file(tmp_path, aged):
    """Percent-encoded, or as a path object."""
    write(tmp_path, "a b.json")
    for source in ((tmp_path / "a b.json").as_uri(), ObjectStoragePath(f"file://{tmp_path}/a b.json")):
        assert files(source) == files(tmp_path / "a b.json") != []


@pytest.mark.parametrize("name", ["a.json", "A.TXT", "in/no ending", "in/.hidden.json", "in/x.rejects.jsonl"])
def test_an_object_is_given_whatever_its_name(name, bucket):
    """Its connection is kept, beside it or in it."""
    uri = bucket.put(name, b"content")
    stamp = source_at(uri).stamp()
    assert stamp is not None
    assert files(uri) == files(ObjectStoragePath(f"s3://{bucket.name}/{name}", conn_id="store")) == [Listed(uri, stamp)]


def test_an_object_with_one_of_the_endings_is_asked_for_and_nothing_is_listed(bucket, asked):
    """One request, and no right to list is needed."""
    uri = bucket.put("in/a.Json.gz", b"content")
    assert uris(uri) == [uri]
    assert asked == ["head_object"]


@pytest.mark.parametrize("name", ["a.json", "no ending"])
def test_a_file_of_any_store(name, walked):
    """Its stamp is its etag."""
    walked.put(name)
    assert files(f"{walked.root}/{name}") == [Listed(f"{walked.root}/{name}", f"e{len(name)}-{len(name)}")]


# --- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_of_this_machine_gives_what_has_one_of_the_endings(tmp_path, aged):
    """Sorted, those below it too; each has the stamp that its source would tell, and can be read."""
    write(tmp_path / "in", *FILES, *LEFT_OUT)
    expected = [
        f"{tmp_path}/in/{name}" for name in ("10/a b/ü%41.NDJSON.gz", "10/a/1.jsonl", "10/a/x/y.json.GZ", "10/b.json", "9.Json")
    ]
    for source in (tmp_path / "in", f"{tmp_path}/in/", f"file://{tmp_path}/in/", ObjectStoragePath(f"file://{tmp_path}/in")):
        found = files(source)
        assert [each.uri for each in found] == expected
        assert [each.stamp for each in found] == [source_at(uri).stamp() for uri in expected]
        assert None not in {each.stamp for each in found}
        assert [f"{tmp_path}/in/{content(each)}" for each in found] == expected


@pytest.mark.parametrize("folder", ["", "p q/"])
def test_a_folder_of_a_store_gives_what_has_one_of_the_endings(folder, bucket):
    """By key; each has the stamp that its source would tell, and can be read."""
    for name in (*FILES, *LEFT_OUT):
        bucket.put(folder + name, name.encode())
    bucket.put(f"{folder}placeholder.json/", b"")
    bucket.put("p q2/other.json" if folder else "z.json", b"")
    for source in (
        bucket.uri(folder),
        bucket.uri(folder).rstrip("/"),
        ObjectStoragePath(f"s3://{bucket.name}/{folder}", conn_id="store"),
    ):
        found = files(source)
        assert [each.uri for each in found] == [
            bucket.uri(folder + name) for name in sorted((*FILES, *(() if folder else ("z.json",))))
        ]
        assert [each.stamp for each in found] == [source_at(each.uri).stamp() for each in found]
        assert None not in {each.stamp for each in found}
        assert [bucket.uri(folder + content(each)) for each in found[: len(FILES)]] == [each.uri for each in found[: len(FILES)]]


def test_a_folder_of_any_store_gives_what_has_one_of_the_endings(walked):
    """Sorted where it is walked; each has the stamp that its source would tell."""
    walked.put(*FILES, *LEFT_OUT)
    found = files(f"{walked.root}/")
    assert walked.asked == []
    names = ["9.Json", "10/b.json", "10/a/1.jsonl", "10/a/x/y.json.GZ", "10/a b/ü%41.NDJSON.gz"]
    assert sorted(each.uri for each in found) == sorted(f"{walked.root}/{name}" for name in names)
    assert [each.uri for each in found][:2] == [f"{walked.root}/{name}" for name in names[:2]]
    assert [each.stamp for each in found] == [source_at(each.uri).stamp() for each in found]
    assert None not in {each.stamp for each in found}


def test_a_hidden_folder_of_any_store_is_not_looked_into(walked, monkeypatch):
    """Folders come in order."""
    walked.put("b/1.json", "a/1.json", ".git/x/1.json")
    seen, ls = [], MemoryFileSystem.ls
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda fs, path, **kw: seen.append(path.rpartition("/")[2]) or ls(fs, path, **kw))
    assert uris(f"{walked.root}/") == [f"{walked.root}/a/1.json", f"{walked.root}/b/1.json"]
    assert seen == ["in", "a", "b"]


def test_a_store_that_tells_neither_etag_nor_checksum_gives_no_stamps():
    """Then a file has to be read."""
    attach("memory", fs=MemoryFileSystem())
    root = f"memory://{uuid.uuid4().hex}/in"
    ObjectStoragePath(f"{root}/a.json").write_bytes(b"{}")
    assert files(f"{root}/") == files(f"{root}/a.json") == [Listed(f"{root}/a.json", None)]


@pytest.mark.parametrize("below", ["", "x/"])
def test_a_name_without_a_slash_is_a_folder_where_something_lies_below_it(below, bucket):
    """As `aws s3 ls` shows it."""
    uri = bucket.put(f"in/2026/{below}a.json", b"")
    bucket.put("in/20261/b.json", b"")
    assert uris(bucket.uri("in/2026")) == [uri]


def test_a_folder_of_a_store_costs_no_request_for_a_file(bucket, asked, monkeypatch):
    """A page holds a thousand; here ten, and 25 files cost three pages, each asked for when the last one is used up."""
    for n in range(25):
        bucket.put(f"in/{n:03}.json", b"x" * n)
    counted = S3FileSystem.call_s3
    monkeypatch.setattr(S3FileSystem, "call_s3", lambda fs, method, **request: counted(fs, method, MaxKeys=10, **request))
    found = files_at(bucket.uri("in/"), endings=ENDINGS)
    next(found)
    assert len(asked) == 1
    assert len({each.stamp for each in found}) == 24
    assert asked == ["list_objects_v2"] * 3


def test_a_stamp_changes_with_the_content(bucket, tmp_path, aged):
    """Of the same size too. What a listing remembered would be older than the file."""
    for put, folder in (
        (bucket.put, bucket.uri("in/")),
        (lambda name, text: (tmp_path / name).write_bytes(text), f"{tmp_path}/"),
    ):
        (tmp_path / "in").mkdir(exist_ok=True)
        put("in/a.json", b"1")
        (before,) = files(folder)
        put("in/a.json", b"2")
        (after,) = files(folder)
        assert (before.uri, before.stamp) != (after.uri, after.stamp)
        assert before.uri == after.uri


@pytest.mark.parametrize(("age_s", "has_stamp"), [(1.9, False), (2.1, True)], ids=["just written", "two seconds old"])
def test_a_file_has_no_stamp_while_a_change_could_go_unnoticed(age_s, has_stamp, tmp_path, monkeypatch):
    """In a folder as by itself."""
    write(tmp_path, "a.json")
    written_at = (tmp_path / "a.json").stat().st_ctime
    monkeypatch.setattr(places, "time", SimpleNamespace(time=lambda: written_at + age_s))
    assert [each.stamp is not None for source in (tmp_path, tmp_path / "a.json") for each in files(source)] == [has_stamp] * 2


@pytest.mark.parametrize("endings", [(".json",), (".JSON",), (".jsOn", ".x")])
def test_endings_are_the_same_in_capitals(endings, tmp_path):
    """In the name and in the question."""
    write(tmp_path, "a.json", "b.JSON", "c.Json", "d.txt")
    assert [Path(each.uri).name for each in files_at(tmp_path, endings=endings)] == ["a.json", "b.JSON", "c.Json"]


def test_links_of_a_folder(tmp_path, aged, caplog):
    """To a file within, it has that file's stamp; to nowhere, it has none and its reader will see; what leads out is left out."""
    write(tmp_path, "in/a.json", "secret.json", "inside/c.json")
    folder = tmp_path / "in"
    (folder / "good.json").symlink_to("a.json")
    (folder / "dead.json").symlink_to("nowhere.json")
    (folder / "out.json").symlink_to("../secret.json")
    (folder / "out-folder").symlink_to("../inside")
    found = {Path(each.uri).name: each.stamp for each in files(folder)}
    assert list(found) == ["a.json", "dead.json", "good.json"]
    assert found["dead.json"] is None
    assert found["good.json"] == found["a.json"] == source_at(folder / "good.json").stamp()
    assert "left out 2 symbolic links" in caplog.text


def test_a_file_that_goes_while_its_folder_is_listed_has_no_stamp(tmp_path, aged):
    """Whoever moves files away must not end the listing of the others."""
    write(tmp_path, "a.json", "b.json", "c.json")
    found = files_at(tmp_path, endings=ENDINGS)
    next(found)
    (tmp_path / "b.json").unlink()
    assert [(Path(each.uri).name, each.stamp is None) for each in found] == [("b.json", True), ("c.json", False)]


def test_objects_that_no_uri_can_name_are_left_out_with_one_warning(bucket, tmp_path, caplog):
    """Another object would be read in their place. The log counts them. On this machine there is no such name."""
    bad = ["a.json?", "b#", "c\td.json", "g\rh.json"]
    fine = ["cd.json", "gh.json", "x#y?z.json"]
    for name in (*bad, *fine):
        bucket.put(f"in/{name}", name.encode())
    found = list(files_at(bucket.uri("in/"), endings=("", ".json")))
    assert [content(each) for each in found] == fine
    (said,) = [each for each in caplog.messages if "rename" in each]
    assert "left out 4 objects" in said
    assert not any(name in said for name in ("b#", "c\td", "cd"))
    write(tmp_path, *bad, *fine)
    caplog.clear()
    assert sorted(content(each) for each in files_at(tmp_path, endings=("",))) == sorted((*bad, *fine))
    assert caplog.messages == []


def test_objects_that_are_not_meant_are_not_warned_of(bucket, caplog):
    """Only those with one of the endings."""
    bucket.put("in/a.txt?", b"")
    bucket.put("in/a.json", b"")
    assert uris(bucket.uri("in/")) == [bucket.uri("in/a.json")]
    assert not any("rename" in each for each in caplog.messages)


# --- globs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("10/*", ["10/b.json"]),
        ("*", ["9.Json"]),
        ("*.Json", ["9.Json"]),
        ("*.txt", []),
        ("10/a/**", ["10/a/1.jsonl", "10/a/x/y.json.GZ"]),
        ("1?/", ["10/a b/ü%41.NDJSON.gz", "10/a/1.jsonl", "10/a/x/y.json.GZ", "10/b.json"]),
        ("*/", ["10/a b/ü%41.NDJSON.gz", "10/a/1.jsonl", "10/a/x/y.json.GZ", "10/b.json"]),
        ("**/*.json", ["10/b.json"]),
    ],
)
def test_a_glob_gives_the_files_that_fit_and_have_one_of_the_endings(glob, expected, tmp_path, bucket, walked, aged):
    """Everywhere alike, with their stamps."""
    write(tmp_path / "in", *FILES, *LEFT_OUT)
    walked.put(*FILES, *LEFT_OUT)
    for name in (*FILES, *LEFT_OUT):
        bucket.put(f"in/{name}", name.encode())
    for root in (f"{tmp_path}/in/", bucket.uri("in/"), f"{walked.root}/"):
        found = files(root + glob)
        assert sorted(each.uri for each in found) == [root + name for name in expected]
        assert [each.stamp for each in found] == [source_at(each.uri).stamp() for each in found]


# --- nothing ------------------------------------------------------------------------------------------------------


NOTHING = {
    "an empty folder": "{folder}/empty",
    "an empty folder with a slash": "{folder}/empty/",
    "a folder without such files": "{folder}/texts",
    "a folder that is not there yet": "{folder}/none/",
    "a folder within it": "{folder}/none/at all/",
    "a file URI of one": "file://{folder}/none/",
    "a glob that nothing fits": "{folder}/empty/*.json",
    "a glob of a folder that is not there yet": "{folder}/none/*.json",
    "an empty prefix": "{bucket}in/empty/",
    "an empty bucket": "{bucket}",
    "an empty bucket without a slash": "s3://store@{name}",
    "a glob of a store that nothing fits": "{bucket}in/*.json",
    "a folder of another store that is not there yet": "{memory}/none/",
    "a glob of it": "{memory}/none/*/*.json",
}


@pytest.mark.parametrize("source", NOTHING.values(), ids=NOTHING)
def test_where_nothing_is_nothing_is_listed_and_the_log_says_so_once(source, tmp_path, bucket, caplog):
    """An hour without webhooks is no error, and no warning."""
    attach("memory", fs=MemoryFileSystem())
    write(tmp_path, "texts/a.txt")
    (tmp_path / "empty").mkdir()
    place = source.format(folder=tmp_path, bucket=bucket.uri(""), name=bucket.name, memory=f"memory://{uuid.uuid4().hex}")
    caplog.set_level(logging.INFO, "airflow_provider_360dialog")
    caplog.clear()
    assert files(place) == []
    (said,) = [each for each in caplog.records if each.name.startswith("airflow_provider_360dialog")]
    assert said.levelno == logging.INFO
    assert "no file is in" in said.getMessage()
    assert "store@" not in said.getMessage()


# --- what cannot be listed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("missing.json", id="a file that is not there"),
        pytest.param("missing", id="a folder that is not there, without a slash"),
        pytest.param("a.json/b/", id="a folder in a file"),
        pytest.param("a" * 300 + "/", id="a name that is too long"),
        pytest.param("", id="an empty text"),
        pytest.param("a\0.json", id="a zero byte"),
        pytest.param("https://example.com/m.json?sig=secret", id="a web address"),
        pytest.param("nothing://x/m.json", id="a scheme that nobody knows"),
        pytest.param("gs://bucket/m.json", id="a store whose provider is not installed"),
        pytest.param("s3://store@*/a/", id="a wildcard for a bucket"),
        pytest.param("{bucket}missing.json", id="an object that is not there"),
        pytest.param("{bucket}missing", id="a prefix without a slash that is not there"),
        pytest.param("{bucket}in/a.json#", id="an object that no URI can name"),
        pytest.param("s3://store@no-such-bucket-here/a.json", id="an object of a bucket that is not there"),
        pytest.param("s3://store@no-such-bucket-here/a", id="a prefix of one"),
    ],
)
def test_a_source_that_cannot_be_read_fails_for_good(source, tmp_path, monkeypatch, bucket):
    """By the call itself, before anything is listed; the message shows no query."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "a.json")
    bucket.put("in/a.json", b"")
    with pytest.raises(SourceUnreadableError) as caught:
        files_at(source.format(bucket=bucket.uri("")), endings=ENDINGS)
    assert "sig=" not in str(caught.value)


@pytest.mark.parametrize("source", ["", "in/", "in/*.json", "**"])
def test_a_bucket_that_is_not_there_fails_for_good(source, bucket):
    """A mistake, and no fresh hour."""
    with pytest.raises(SourceUnreadableError):
        files(f"s3://store@no-such-bucket-here/{source}")


@pytest.mark.parametrize("source", [None, 7, b"m.json", ["a.json"], {"a.json"}], ids=repr)
def test_a_source_that_is_none_is_a_mistake_in_the_call(source):
    """Of the wrong type."""
    with pytest.raises(CallError, match="path or a URI"):
        files_at(source, endings=ENDINGS)


@pytest.mark.parametrize("fault", [PermissionError("no rights"), FileNotFoundError("gone")], ids=["refused", "gone"])
def test_a_folder_that_cannot_be_looked_into_fails_for_good(fault, tmp_path, monkeypatch):
    """Below the one that was named, nothing is left out in silence."""
    write(tmp_path, "a.json", "closed/b.json")
    scandir = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: (_ for _ in ()).throw(fault) if str(path).endswith("closed/") else scandir(path)
    )
    with pytest.raises(SourceUnreadableError, match="closed"):
        files(f"{tmp_path}/")
    if isinstance(fault, PermissionError):  # itself, too; what is gone is not there yet
        with pytest.raises(SourceUnreadableError, match="closed"):
            files(f"{tmp_path}/closed/")


def test_a_folder_of_a_store_that_refuses_us_fails_for_good(walked, monkeypatch):
    """That nothing is there is another matter."""
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda *_, **__: (_ for _ in ()).throw(PermissionError("no rights")))
    with pytest.raises(SourceUnreadableError):
        files(f"{walked.root}/")


def test_a_store_that_stutters_may_be_tried_again(bucket, monkeypatch):
    """While it lists, and while it tells of one file; the message shows no query."""
    uri = bucket.put("in/a.json", b"")

    def fail(*_, **__):
        raise RuntimeError("SlowDown?sig=1")

    for name in ("call_s3", "_call_s3"):
        monkeypatch.setattr(S3FileSystem, name, fail)
    for source in (bucket.uri("in/"), bucket.uri("in"), uri):
        with pytest.raises(StorageFailedError) as caught:
            files(source)
        assert "sig=" not in str(caught.value)


def test_a_subfolder_that_cannot_be_read_is_not_left_out_in_silence(walked, monkeypatch):
    """The file system's own walk does that, and a campaign would lose its files."""
    walked.put("a/1.json", "b/1.json")
    ls = MemoryFileSystem.ls

    def refuse(fs, path, **more):
        if path.endswith("/b"):
            raise PermissionError(path)
        return ls(fs, path, **more)

    monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
    with pytest.raises(SourceUnreadableError):
        uris(f"{walked.root}/")
