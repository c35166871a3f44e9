"""Folders that files are archived into: what may be published where, and that nothing half-done is left behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_360dialog.exceptions import CallError, DestinationError, StorageFailedError
from airflow_provider_360dialog.hooks.folders import PROBE_NAME, folder_at
from airflow_provider_360dialog.hooks.places import source_at

NAME = "15551234/2026/11/23/1234567890-0a1b2c3d.jpg"


def tree(folder):
    """Every file and folder below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def publish(folder, content=b"content", name=NAME, **more):
    with folder.stage() as staged:
        staged.file.write(content)
        return staged.publish(name, **more)


def read(uri):
    with source_at(uri).open() as file:
        return file.read()


@pytest.fixture
def spool(tmp_path_factory, monkeypatch):
    """The folder for temporary files of this machine."""
    path = tmp_path_factory.mktemp("spool")
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return path


class Archive:
    """A folder under test, and what stands in it as somebody else sees it."""

    def __init__(self, folder, files):
        self.folder, self.files = folder, files


@pytest.fixture(params=["local", "s3", "memory"])
def archive(request, tmp_path):
    """A folder of each kind, new and empty."""
    if request.param == "local":
        path = tmp_path / "new" / "archive"
        return Archive(
            folder_at(path), lambda: {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
        )
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        return Archive(
            folder_at(bucket.uri("in/archive/")),
            lambda: {key.removeprefix("in/archive/"): bucket.read(key) for key in sorted(bucket.keys())},
        )
    fs, root = MemoryFileSystem(), f"/{uuid.uuid4().hex}"
    attach("memory", fs=fs)
    return Archive(folder_at(f"memory:/{root}"), lambda: {k.removeprefix(f"{root}/"): fs.cat_file(k) for k in fs.find(root)})


def store_of(protocol, fs):
    """A folder in a store of which this test is the library."""
    conn_id = f"fake_{uuid.uuid4().hex}"
    attach(protocol, conn_id, fs=fs)
    return folder_at(f"{protocol}://{conn_id}@{uuid.uuid4().hex}/archive/")


# --- what every folder does ---------------------------------------------------------------------------------------


def test_publishes_the_bytes_under_the_name(archive, spool):
    """Identical, in folders that are made on the way, and nothing beside them."""
    content = os.urandom(100_000)
    publish(archive.folder, content)
    assert archive.files() == {NAME: content}
    assert tree(spool) == []


def test_the_place_of_a_published_file_opens_again(archive):
    """What `publish` returns is enough for a later task, connection included."""
    assert read(publish(archive.folder, b"once more")) == b"once more"


def test_a_staged_file_can_be_read_back_before_it_gets_its_name(archive):
    """Its type is sniffed and its hash taken from the bytes themselves."""
    with archive.folder.stage() as staged:
        staged.file.write(b"0123456789")
        staged.file.seek(3)
        assert staged.file.read(2) == b"34"
        staged.publish(NAME)
    assert archive.files() == {NAME: b"0123456789"}


def test_nothing_has_a_name_before_it_is_published(archive, spool):
    """And leaving without a name leaves nothing."""
    with archive.folder.stage() as staged:
        staged.file.write(b"content")
        staged.file.flush()
        assert NAME not in archive.files()
    assert archive.files() == {}
    assert tree(spool) == []


class Stopped(BaseException):
    """As a signal handler raises it."""


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, SystemExit, Stopped])
def test_nothing_is_left_behind_by_whatever_ends_it(fault, archive, spool):
    """An error, Ctrl-C, or a task that is stopped."""
    with pytest.raises(fault), archive.folder.stage() as staged:
        staged.file.write(b"x" * 100_000)
        raise fault
    assert archive.files() == {}
    assert tree(spool) == []


def test_publishing_again_replaces_what_stands_there(archive):
    """A name holds a hash of the bytes, so it can be done twice."""
    assert publish(archive.folder, b"old") == publish(archive.folder, b"new")
    assert archive.files() == {NAME: b"new"}


def test_many_threads_may_publish_one_name(archive):
    """Every one succeeds, and the file is whole."""
    content, start = os.urandom(300_000), Barrier(8, timeout=20)

    def one(_):
        start.wait()
        return publish(archive.folder, content)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(one, range(8)))) == 1
    assert archive.files() == {NAME: content}


def test_the_probe_leaves_nothing_behind(archive, spool):
    """It may be made again and again."""
    archive.folder.check()
    archive.folder.check()
    assert archive.files() == {}
    assert tree(spool) == []


def test_the_probe_touches_nothing_that_stands_there(archive):
    """Least of all what was archived."""
    publish(archive.folder)
    archive.folder.check()
    assert archive.files() == {NAME: b"content"}


def test_many_may_probe_at_once(archive):
    """They share one name, and none fails by another's probe."""
    rounds, start = 10, Barrier(6, timeout=20)

    def one(_):
        for _ in range(rounds):
            start.wait()
            archive.folder.check()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(6)))
    assert archive.files() == {}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="nothing"),
        pytest.param("/", id="a slash"),
        pytest.param("/etc/passwd", id="an absolute path"),
        pytest.param("..", id="the folder above"),
        pytest.param("../a.jpg", id="a file above"),
        pytest.param("a/../../b.jpg", id="a way up in the middle"),
        pytest.param("a/./b.jpg", id="a dot in the middle"),
        pytest.param(".", id="a dot"),
        pytest.param("a//b.jpg", id="an empty part"),
        pytest.param("a/", id="a slash at the end"),
        pytest.param(".htaccess", id="a hidden file"),
        pytest.param("a/.git/config", id="a hidden folder"),
        pytest.param(PROBE_NAME, id="the probe"),
        pytest.param("a" * 256, id="a part that is too long"),
        pytest.param("a/" + "b" * 252 + ".jpg", id="a last part that is too long"),
        pytest.param("a b.jpg", id="a blank"),
        pytest.param("a\nb.jpg", id="a line break"),
        pytest.param("a.jpg\n", id="a line break at the end"),
        pytest.param("a\0.jpg", id="a zero byte"),
        pytest.param("a\\b.jpg", id="a backslash"),
        pytest.param("C:a.jpg", id="a drive"),
        pytest.param("a.jpg?x", id="a query"),
        pytest.param("a#1.jpg", id="a hash"),
        pytest.param("a%2f..%2fb.jpg", id="a percent sign"),
        pytest.param("ä.jpg", id="a letter that is not ASCII"),
        pytest.param("a\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe", id="a change of direction"),
        pytest.param("\N{ARABIC-INDIC DIGIT ONE}.jpg", id="a digit that is not ASCII"),
        pytest.param("~root/a.jpg", id="somebody's home"),
        pytest.param("CON", id="a device"),
        pytest.param("2026/nul.jpg", id="a device with an extension"),
        pytest.param("Lpt1.tar.gz/a.jpg", id="a device as a folder"),
        pytest.param(b"a.jpg", id="bytes"),
        pytest.param(None, id="None"),
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name, archive, spool):
    """Defence in depth (needs T10): it is a mistake in our code or an attack, and nothing is written."""
    with pytest.raises(CallError, match="name to archive"):
        publish(archive.folder, name=name)
    assert archive.files() == {}
    assert tree(spool) == []


@pytest.mark.parametrize("name", ["a", "2026/a.b.jpg", "_x-/-y_", "a..b", "a" * 255, "CONSOLE/com10.jpg", "x.CON"])
def test_an_unsuspicious_name_is_taken_as_it_is(name, archive):
    """Nothing is changed in it."""
    assert publish(archive.folder, name=name).endswith(f"/{name}")
    assert archive.files() == {name: b"content"}


@pytest.mark.parametrize("mime_type", ["", "jpeg", "image/jpeg\r\nX-Evil: 1", "image/jpeg\n", "image/ jpeg", "bild/ä"])
def test_a_type_that_is_none_is_refused(mime_type, archive):
    """It becomes a header of the store."""
    with pytest.raises(CallError, match="media type"):
        publish(archive.folder, mime_type=mime_type)
    assert archive.files() == {}


# --- on this machine ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda p: p, id="a Path"),
        pytest.param(lambda p: f"{p}/", id="a path with a slash"),
        pytest.param(lambda p: p.name, id="a relative path"),
        pytest.param(lambda p: f"~/{p.name}", id="a path in the home folder"),
        pytest.param(lambda p: p.as_uri(), id="a file URI, percent-encoded"),
        pytest.param(lambda p: ObjectStoragePath(f"file://{p}"), id="an ObjectStoragePath of a folder"),
    ],
)
def test_takes_a_local_folder_in_every_form(form, tmp_path, monkeypatch):
    """The same folder, whatever its name holds, and the result is a path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a b%41ü#1"
    folder = folder_at(form(path))
    folder.check()
    assert folder.uri == str(path)
    assert publish(folder, name="x/a.jpg") == str(path / "x" / "a.jpg")
    assert tree(path) == ["x", "x/a.jpg"]


def test_a_file_and_its_folders_have_the_rights_that_the_worker_gives(tmp_path):
    """Not those of a private temporary file."""
    old = os.umask(0o027)
    try:
        publish(folder_at(tmp_path / "in"), name="x/a.jpg")
    finally:
        os.umask(old)
    assert (tmp_path / "in" / "x" / "a.jpg").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "in" / "x").stat().st_mode & 0o777 == 0o750


def test_what_is_staged_lies_in_the_folder_itself(tmp_path):
    """Publishing is a rename, which needs the same file system; a file under the final name is on the disk."""
    with folder_at(tmp_path).stage() as staged:
        assert len(tree(tmp_path)) == 1
        assert tree(tmp_path)[0].startswith(".dialog360-")
        inode = os.fstat(staged.file.fileno()).st_ino
        assert Path(staged.publish("a.jpg")).stat().st_ino == inode


def test_the_bytes_are_on_the_disk_before_they_have_their_name(tmp_path, monkeypatch):
    """A machine that loses power has the whole file or none."""
    seen, fsync = [], os.fsync
    monkeypatch.setattr("os.fsync", lambda fd: (seen.append((tree(tmp_path), os.fstat(fd).st_size)), fsync(fd)))
    publish(folder_at(tmp_path), b"x" * 10, name="a.jpg")
    ((found, size_bytes),) = seen
    assert "a.jpg" not in found
    assert size_bytes == 10


def outside(tmp_path):
    """A folder that nobody may write to, whose name begins as the archive's does."""
    path = tmp_path / "archive-not"
    path.mkdir()
    (path / "secret").write_bytes(b"theirs")
    return path


@pytest.mark.parametrize("link", ["2026", "2026/11"], ids=["the first folder", "a folder in the middle"])
def test_a_link_does_not_lead_a_file_out_of_the_folder(link, tmp_path):
    """Neither the file nor a folder for it is made elsewhere."""
    other, root = outside(tmp_path), tmp_path / "archive"
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(other)
    before = tree(root)
    with pytest.raises(DestinationError, match="link"):
        publish(folder_at(root), name="2026/11/23/secret")
    assert tree(other) == ["secret"]
    assert (other / "secret").read_bytes() == b"theirs"
    assert tree(root) == before


def test_a_link_that_comes_at_the_last_moment_does_not_either(tmp_path, monkeypatch):
    """Between the look and the folder."""
    other, root, mkdir = outside(tmp_path), tmp_path / "archive", Path.mkdir

    def plant(path, *args, **kwargs):
        if path.name == "2026":
            path.symlink_to(other)
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", plant)
    with pytest.raises(DestinationError, match="link"):
        publish(folder_at(root), name="2026/secret")
    assert tree(other) == ["secret"]
    assert (other / "secret").read_bytes() == b"theirs"
    assert tree(root) == ["2026"]


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path):
    """What it led to stays as it is; the same for the probe."""
    other, root = outside(tmp_path), tmp_path / "archive"
    root.mkdir()
    for name in ("a.jpg", PROBE_NAME):
        (root / name).symlink_to(other / "secret")
    folder = folder_at(root)
    folder.check()
    publish(folder, name="a.jpg")
    assert (other / "secret").read_bytes() == b"theirs"
    assert not (root / "a.jpg").is_symlink()
    assert tree(root) == ["a.jpg"]


@pytest.mark.parametrize("target", ["nowhere", "2026"], ids=["to nowhere", "to itself"])
def test_a_link_that_leads_to_nothing_is_the_places_fault(target, tmp_path):
    """Retrying does not mend it."""
    (tmp_path / "2026").symlink_to(target)
    with pytest.raises(DestinationError):
        publish(folder_at(tmp_path), name="2026/a.jpg")
    assert tree(tmp_path) == ["2026"]


def test_links_within_the_folder_and_to_it_are_followed(tmp_path):
    """An archive may lie on another disk."""
    (tmp_path / "disk" / "2026").mkdir(parents=True)
    (tmp_path / "disk" / "this-year").symlink_to("2026")
    (tmp_path / "archive").symlink_to("disk")
    folder = folder_at(tmp_path / "archive")
    folder.check()
    publish(folder, name="this-year/a.jpg")
    assert (tmp_path / "disk" / "2026" / "a.jpg").read_bytes() == b"content"


def a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    return tmp_path / "file"


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(a_file, id="a file"),
        pytest.param(lambda p: a_file(p) / "in", id="a path through a file"),
        pytest.param(lambda _: "/proc/archive", id="a folder that nobody may make"),
        pytest.param(lambda p: p / ("a" * 300), id="a name that is too long"),
    ],
)
def test_a_folder_that_cannot_be_written_to_is_found_out_by_the_probe(place, tmp_path):
    """Before a GET is spent (needs F72); retrying does not help."""
    folder = folder_at(place(tmp_path))
    with pytest.raises(DestinationError) as caught:
        folder.check()
    assert not caught.value.retryable
    assert str(place(tmp_path))[:200] in str(caught.value)
    assert not (tmp_path / "file").exists() or (tmp_path / "file").read_bytes() == b"old"


def test_the_probe_says_where_a_file_stands_in_the_place_of_the_folder(tmp_path):
    """Better than the system's "File exists"."""
    with pytest.raises(DestinationError, match="name of a folder"):
        folder_at(a_file(tmp_path)).check()


@pytest.mark.parametrize("call", ["os.open", "os.fsync"])
@pytest.mark.parametrize(
    ("code", "error"),
    [(errno.EROFS, DestinationError), (errno.EACCES, DestinationError), (errno.ENOSPC, StorageFailedError)],
    ids=["a read-only disk", "no rights", "a full disk, which may pass"],
)
def test_a_disk_that_refuses_is_found_out_by_the_probe_and_leaves_nothing(*, call, code, error, tmp_path, monkeypatch):
    """The same error comes from publishing."""
    folder = folder_at(tmp_path / "archive")
    folder.check()
    with monkeypatch.context() as patched:
        patched.setattr(call, lambda *_, **__: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
        with pytest.raises(error, match=os.strerror(code)):
            folder.check()
        with pytest.raises(error, match=os.strerror(code)):
            publish(folder)
    assert tree(tmp_path / "archive") == []


def test_a_file_where_a_folder_is_wanted_is_the_places_fault(tmp_path):
    """Retrying does not mend it."""
    (tmp_path / "2026").write_bytes(b"old")
    for name in ("2026/a.jpg", "2026/11/a.jpg"):
        with pytest.raises(DestinationError):
            publish(folder_at(tmp_path), name=name)
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(DestinationError):
        publish(folder_at(tmp_path), name="a.jpg")
    assert tree(tmp_path) == ["2026", "a.jpg"]


def test_a_probe_that_may_not_be_taken_away_is_no_fault(tmp_path, monkeypatch):
    """It has one name, so it does not pile up."""
    unlink = Path.unlink

    def refuse(path, **kwargs):
        if path.name == PROBE_NAME:
            raise PermissionError(errno.EPERM, "no")
        unlink(path, **kwargs)

    monkeypatch.setattr(Path, "unlink", refuse)
    folder_at(tmp_path).check()
    folder_at(tmp_path).check()
    assert tree(tmp_path) == [PROBE_NAME]


# --- in a store ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["s3://store@{}/in/x", "s3://store@{}/in/x/"], ids=["without", "with a slash"])
def test_the_last_slash_does_not_matter(form, bucket):
    """A prefix is a folder."""
    folder = folder_at(form.format(bucket.name))
    uri = publish(folder, name="a.jpg")
    assert bucket.keys() == ["in/x/a.jpg"]
    assert uri == f"s3://store@{bucket.name}/in/x/a.jpg"
    assert folder.uri == f"s3://{bucket.name}/in/x"


@pytest.mark.parametrize("form", ["s3://store@{}", "s3://store@{}/"])
def test_a_whole_bucket_may_be_the_folder(form, bucket):
    """Keys begin without a slash."""
    folder = folder_at(form.format(bucket.name))
    folder.check()
    assert read(publish(folder, name="a.jpg")) == b"content"
    assert bucket.keys() == ["a.jpg"]


def test_takes_an_object_storage_path_with_its_connection(bucket):
    """The connection stays in the result."""
    folder = folder_at(ObjectStoragePath(f"s3://{bucket.name}/in/", conn_id="store"))
    assert publish(folder, name="a.jpg") == f"s3://store@{bucket.name}/in/a.jpg"


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("https://example.com/archive/?sig=hunter2", id="a web address"),
        pytest.param("", id="an empty text"),
        pytest.param("a\0b", id="a zero byte"),
        pytest.param("nothing://x/archive/", id="a scheme that nobody knows"),
        pytest.param("gs://bucket/archive/", id="a store whose provider is not installed"),
        pytest.param("s3://", id="no bucket"),
        pytest.param("s3://store@/archive/", id="a connection and no bucket"),
        pytest.param("s3://store@bucket/a?sig=hunter2", id="a query"),
        pytest.param("s3://store@bucket/a#1/", id="a fragment"),
        pytest.param("s3://store@bucket/a?", id="an empty query"),
        pytest.param("s3://user:hunter2@bucket/archive/", id="a password"),
        pytest.param("s3://user:hun/hunter2@bucket/archive/", id="a password with a slash"),
        pytest.param("s3://user%3Ahunter2@bucket/archive/", id="a password, percent-encoded"),
    ],
)
def test_a_place_that_is_no_folder_is_refused_and_no_secret_is_shown(place, caplog, capfd):
    """Not in the error, its causes, or the log: Airflow would take a password for a connection id, and log it."""
    with caplog.at_level("DEBUG"), pytest.raises(DestinationError) as caught:
        folder_at(place)
    shown = "".join(traceback.format_exception(caught.value)).replace(place, "")  # without the line of this very test
    out = capfd.readouterr()
    assert "hunter2" not in str(caught.value) + shown + caplog.text + out.out + out.err


def test_a_password_in_a_path_object_is_refused_too():
    """It would stand in XCom, in the ledger and in reports."""
    with pytest.raises(DestinationError) as caught:
        folder_at(ObjectStoragePath("s3://bucket/archive/", conn_id="user:hunter2"))
    assert "hunter2" not in str(caught.value)


def headers(bucket, key):
    found = bucket.client.head_object(Bucket=bucket.name, Key=key)
    return found.get("ContentDisposition"), found["ContentType"]


@pytest.mark.parametrize("size_bytes", [10, 20 * 1024 * 1024], ids=["in one request", "in parts"])
@pytest.mark.parametrize("mime_type", ["image/jpeg", "text/html", "audio/ogg; codecs=opus"])
def test_a_browser_saves_what_is_archived_and_never_runs_it(mime_type, size_bytes, bucket):
    """`Content-Disposition: attachment` (needs T14), with the type beside it."""
    content = os.urandom(size_bytes)
    publish(folder_at(bucket.uri("in/")), content, "a.html", mime_type=mime_type)
    assert headers(bucket, "in/a.html") == ("attachment", mime_type)
    assert bucket.read("in/a.html") == content
    assert bucket.unfinished() == []


def test_without_a_type_a_store_says_none_of_its_own_guess(bucket):
    """Bytes, to be saved."""
    publish(folder_at(bucket.uri("in/")), name="a.html")
    assert headers(bucket, "in/a.html") == ("attachment", "binary/octet-stream")


class GoogleLike(MemoryFileSystem):
    """Takes what gcsfs's put_file takes."""

    protocol = "gs"

    def put_file(self, lpath, rpath, *, content_type=None, chunksize=0, fixed_key_metadata=None, callback=None):
        self.told = (content_type, chunksize, fixed_key_metadata)
        super().put_file(lpath, rpath)


class AzureLike(MemoryFileSystem):
    """Takes what adlfs's put_file takes and uses."""

    protocol = "abfs"

    def put_file(self, lpath, rpath, *, overwrite=True, max_concurrency=None, callback=None):
        super().put_file(lpath, rpath)


def test_google_is_told_the_same_in_its_own_words():
    """And a block of which 256 KiB is a divisor."""
    store = GoogleLike(skip_instance_cache=True)
    folder = store_of("gs", store)
    folder.check()
    assert read(publish(folder, mime_type="text/html")) == b"content"
    content_type, chunk_bytes, metadata = store.told
    assert (content_type, metadata) == ("text/html", {"content_disposition": "attachment"})
    assert chunk_bytes % (256 * 1024) == 0


def test_a_store_that_takes_no_headers_is_given_none():
    """Azure's library would drop or refuse them."""
    folder = store_of("abfs", AzureLike(skip_instance_cache=True))
    folder.check()
    assert read(publish(folder, mime_type="text/html")) == b"content"


def deny(bucket, *actions):
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{bucket.name}/*"}
            for action in actions
        ],
    }
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))


def test_a_store_that_refuses_us_is_found_out_by_the_probe(bucket):
    """403 (needs F72)."""
    deny(bucket, "s3:PutObject")
    with pytest.raises(DestinationError) as caught:
        folder_at(bucket.uri("in/")).check()
    assert not caught.value.retryable
    assert "store@" not in str(caught.value)
    assert bucket.keys() == []


def test_a_bucket_that_is_not_there_is_found_out_by_the_probe(bucket):
    """For good, and it is not made."""
    with pytest.raises(DestinationError, match="bucket"):
        folder_at("s3://store@no-such-bucket-here/in/").check()
    assert "no-such-bucket-here" not in [each["Name"] for each in bucket.client.list_buckets()["Buckets"]]


def test_a_store_that_cannot_be_reached_may_be_tried_again(bucket, monkeypatch):
    """Whatever its library says."""
    from s3fs import S3FileSystem

    async def stutter(*_, **__):
        raise RuntimeError("SlowDown?sig=hunter2")

    monkeypatch.setattr(S3FileSystem, "_call_s3", stutter)
    folder = folder_at(bucket.uri("in/"))
    with pytest.raises(StorageFailedError) as caught:
        folder.check()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(StorageFailedError):
        publish(folder)


def test_a_store_in_which_nothing_can_be_deleted_is_good(bucket, monkeypatch):
    """The probe stays, and does not pile up."""
    from s3fs import S3FileSystem

    call, refused = S3FileSystem._call_s3, []

    async def refuse(self, method, *args, **kwargs):
        if method.startswith("delete"):
            refused.append(method)
            raise PermissionError("Access Denied")
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", refuse)
    folder = folder_at(bucket.uri("in/"))
    folder.check()
    folder.check()
    assert bucket.keys() == [f"in/{PROBE_NAME}"]
    assert len(refused) == 2


def test_a_bucket_that_goes_meanwhile_is_the_places_fault(bucket, spool):
    """And does not come back."""
    with pytest.raises(DestinationError, match="bucket"), folder_at(bucket.uri("in/")).stage() as staged:
        staged.file.write(b"content")
        bucket.client.delete_bucket(Bucket=bucket.name)
        staged.publish(NAME)
    assert bucket.name not in [each["Name"] for each in bucket.client.list_buckets()["Buckets"]]
    assert tree(spool) == []


@pytest.mark.parametrize("at", ["put_object", "create_multipart_upload", "upload_part", "complete_multipart_upload"])
def test_a_put_that_fails_leaves_no_object_and_no_part(at, bucket, spool, monkeypatch):
    """Whole or not at all; a later part fails when earlier ones are there."""
    from s3fs import S3FileSystem

    call, failed = S3FileSystem._call_s3, []

    async def stutter(self, method, *args, **kwargs):
        if method == at and kwargs.get("PartNumber", 9) > 1:
            failed.append(method)
            raise RuntimeError("SlowDown")
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", stutter)
    content = b"x" * (10 if at == "put_object" else 20 * 1024 * 1024)
    with pytest.raises(StorageFailedError):
        publish(folder_at(bucket.uri("in/")), content)
    assert failed
    assert bucket.keys() == bucket.unfinished() == []
    assert tree(spool) == []


class Half(MemoryFileSystem):
    """A store that keeps what was written when it fails, as one that commits on close does."""

    protocol = "memory"
    fault, written = None, 0

    def put_file(self, lpath, rpath, **kwargs):
        if self.fault is None:
            return super().put_file(lpath, rpath, **kwargs)
        if self.written:
            self.pipe_file(rpath, Path(lpath).read_bytes()[: self.written])
        raise self.fault


@pytest.mark.parametrize(
    ("fault", "error"), [(RuntimeError("gone"), StorageFailedError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_store_that_keeps_halves_is_tidied(fault, error):
    """Nothing stands half-written under a final name, in whatever store."""
    store = Half(skip_instance_cache=True)
    folder = store_of("memory", store)
    store.fault, store.written = fault, 3
    with pytest.raises(error):
        publish(folder)
    assert store.find(str(folder.uri).partition("://")[2]) == []


def test_what_stands_whole_in_such_a_store_survives_a_put_that_fails():
    """It has the same bytes, for it has the same name."""
    store = Half(skip_instance_cache=True)
    folder = store_of("memory", store)
    uri = publish(folder)
    store.fault = RuntimeError("gone")
    with pytest.raises(StorageFailedError):
        publish(folder)
    assert read(uri) == b"content"


def test_a_machine_without_room_for_a_spool_may_be_tried_again(bucket, monkeypatch):
    """It is this machine's fault, not the store's."""
    monkeypatch.setattr("tempfile.NamedTemporaryFile", lambda **_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(StorageFailedError, match=r"temporary file.*No space left"):
        folder_at(bucket.uri("in/")).check()


GROWTH = """
import json, re, sys
from pathlib import Path
from airflow_provider_360dialog.hooks.folders import folder_at
folder = folder_at(sys.argv[1])
def peak_kib():  # getrusage would begin with the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
def publish(name, mebibytes):
    with folder.stage() as staged:
        for _ in range(mebibytes):
            staged.file.write(b"x" * (1 << 20))
        return staged.publish(name)
publish("small", 15)  # imports, pools and the buffer of a file that goes in one request
before = peak_kib()
uri = publish("large", 100)
print(json.dumps({"grown_kib": peak_kib() - before, "uri": uri}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the peak of one process")
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_memory_stays_flat_for_a_large_file(kind, tmp_path, bucket, store_connection, checkout):
    """100 MiB, the most that WhatsApp carries: under 32 MiB more than for what a store takes in one request."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, bucket.uri("in/") if kind == "s3" else str(tmp_path)],
        env=os.environ | {"AIRFLOW_CONN_STORE": store_connection, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert source_at(said["uri"]).size_bytes() == 100 * 1024 * 1024
    assert said["grown_kib"] < 32 * 1024


def test_what_a_killed_process_left_is_taken_away_after_a_day(tmp_path):
    """And what another one is writing now is not."""
    old, new, other = (tmp_path / name for name in (".dialog360-aa.part", ".dialog360-bb.part", "mine.part"))
    for path in (old, new, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - 90_000,) * 2)
    folder_at(tmp_path).check()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dialog360-bb.part", "mine.part"]
