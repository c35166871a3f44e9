"""Paths, URIs and object stores: what is read, what is written, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_360dialog.exceptions import (
    CallError,
    DestinationError,
    Dialog360Error,
    DownloadCorruptError,
    SourceUnreadableError,
    StorageFailedError,
)
from airflow_provider_360dialog.hooks.places import destination_at, source_at


def names(folder):
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def memory_path():
    """A new path of a store that is no local folder and needs no server."""
    attach("memory", fs=MemoryFileSystem())
    return ObjectStoragePath(f"memory://{uuid.uuid4().hex}/a.jpg")


@pytest.fixture
def received(number, photo):
    """A photo that a customer sent: its media id."""
    return number.receive(photo.read_bytes())[0]


# --- where files are read from ------------------------------------------------------------------------------------


def read(place):
    source = source_at(place)
    with source.open() as file:
        content = file.read()
    assert source.size_bytes() == len(content)
    return source.name, content


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda p: p, id="a Path"),
        pytest.param(str, id="a path as text"),
        pytest.param(os.path.relpath, id="a relative path"),
        pytest.param(lambda p: f"~/{p.name}", id="a path in the home folder"),
        pytest.param(lambda p: p.as_uri(), id="a file URI, percent-encoded"),
        pytest.param(lambda p: p.as_uri().replace("file:///", "file://localhost/"), id="a file URI with localhost"),
        pytest.param(lambda p: p.as_uri().replace("file:", "FILE:"), id="a file URI in capitals"),
        pytest.param(lambda p: ObjectStoragePath(f"file://{p}"), id="an ObjectStoragePath of a file"),
    ],
)
def test_reads_a_local_file_in_every_form(form, tmp_path, monkeypatch):
    """The same file, whatever its name holds."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "a b%41ü#1?.jpg"
    path.write_bytes(b"content")
    assert read(form(path)) == (path.name, b"content")


@pytest.mark.parametrize("name", ["a#1.jpg", "a?1.jpg", "a%31.jpg"], ids=["a hash", "a question mark", "a percent sign"])
def test_a_name_is_never_cut_or_changed(name, tmp_path, hook, received):
    """An unusual name in a URI or a path object means that file or none, never another one."""
    for folder, form in (
        ("uri", f"file://{tmp_path}/uri/{name}"),
        ("object", ObjectStoragePath(f"file://{tmp_path}/object/{name}")),
    ):
        if name == "a%31.jpg" and folder == "uri":
            continue  # in a URI this is the name a1.jpg
        with contextlib.suppress(DestinationError):
            hook.download(form, media_id=received)
            assert names(tmp_path / folder) == [name]


def test_reads_from_memory():
    """Any store that fsspec knows will do."""
    path = memory_path()
    path.write_bytes(b"content")
    assert read(path) == ("a.jpg", b"content")
    assert read(str(path)) == ("a.jpg", b"content")


def test_reads_from_an_object_store(bucket):
    """Through Airflow's connection, named in the URI or beside it."""
    uri = bucket.put("folder/a b.jpg", b"content")
    assert read(uri) == ("a b.jpg", b"content")
    assert read(ObjectStoragePath(f"s3://{bucket.name}/folder/a b.jpg", conn_id="store")) == ("a b.jpg", b"content")
    assert source_at(uri).uri == f"s3://{bucket.name}/folder/a b.jpg"


def test_a_source_can_be_opened_again_and_again(bucket, photo):
    """A resend starts at the first byte."""
    for place in (photo, bucket.put("a.jpg", photo.read_bytes())):
        source = source_at(place)
        with source.open() as first:
            first.read(10)
            with source.open() as second:
                assert second.read(2) == b"\xff\xd8"


def no_place(tmp_path):
    return tmp_path / "missing.jpg"


def a_folder(tmp_path):
    return tmp_path


def a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def a_socket_device(tmp_path):
    return "/dev/null"


def a_dead_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    return tmp_path / "link"


def below_a_file(tmp_path):
    (tmp_path / "file").touch()
    return tmp_path / "file" / "a.jpg"


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(no_place, id="a file that is not there"),
        pytest.param(a_folder, id="a folder"),
        pytest.param(a_pipe, id="a pipe, which would never end"),
        pytest.param(a_socket_device, id="a device"),
        pytest.param(a_dead_link, id="a link to nowhere"),
        pytest.param(below_a_file, id="a path through a file"),
        pytest.param(lambda _: "", id="an empty text"),
        pytest.param(lambda _: " ", id="a blank"),
        pytest.param(lambda _: "a\0b.jpg", id="a zero byte"),
        pytest.param(lambda _: "/" + "a" * 5000, id="a name that is too long"),
        pytest.param(lambda _: "https://example.com/a.jpg?sig=secret", id="a web address"),
        pytest.param(lambda _: "HTTP://example.com/a.jpg", id="a web address in capitals"),
        pytest.param(lambda _: "nothing://x/a.jpg", id="a scheme that nobody knows"),
        pytest.param(lambda _: "gs://bucket/a.jpg", id="a store whose provider is not installed"),
    ],
)
def test_a_source_that_cannot_be_read_fails_for_good_and_sends_nothing(place, tmp_path, hook, number):
    """Retrying does not make a file appear; the message names it and shows no query."""
    with pytest.raises(SourceUnreadableError) as caught:
        hook.upload(place(tmp_path))
    assert number.sent("upload") == 0
    assert "sig=" not in str(caught.value)
    assert not caught.value.retryable


def test_a_missing_object_fails_for_good(bucket, hook, number):
    """A key or a bucket that is not there is the path's fault."""
    for uri in (bucket.uri("missing.jpg"), "s3://store@no-such-bucket-here/a.jpg"):
        with pytest.raises(SourceUnreadableError):
            hook.upload(uri)
    assert number.sent("upload") == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; run the tests as another user to see this one")
def test_a_file_without_read_rights_fails_for_good(tmp_path, hook):
    """The worker's rights are named."""
    path = tmp_path / "a.jpg"
    path.touch(mode=0)
    with pytest.raises(SourceUnreadableError, match="rights"):
        hook.upload(path)


def test_a_file_that_the_system_refuses_fails_for_good(photo, hook, monkeypatch):
    """The same where the system says so itself."""
    hook.get_conn()  # what it imports and reads is not refused
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(SourceUnreadableError, match="Permission denied"):
        hook.upload(photo)


def test_a_store_that_stutters_may_be_tried_again(hook, monkeypatch):
    """An object store's 503 is not the path's fault, whichever library says it."""
    path = memory_path()
    path.write_bytes(b"x")
    for fault in (RuntimeError("SlowDown?sig=1"), OSError(errno.EIO, "I/O error")):
        monkeypatch.setattr(type(path.fs), "_open", lambda *_, fault=fault, **__: (_ for _ in ()).throw(fault))
        with pytest.raises(StorageFailedError) as caught:
            hook.upload(path)
        assert "sig=" not in str(caught.value)


def test_uploads_from_an_object_store(bucket, hook, number, photo):
    """What the store holds is what 360dialog holds."""
    uploaded = hook.upload(bucket.put("photo.jpg", photo.read_bytes()))
    assert number.emu.content(uploaded.media_id) == photo.read_bytes()
    assert uploaded.sha256 == hashlib.sha256(photo.read_bytes()).hexdigest()


GROWTH = """
import json, sys
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
hook = Dialog360Hook("number_a")
warm, large = sys.argv[1:]
hook.upload(warm)  # imports, pools and buffers of a small file
def peak_kib():  # of this process alone; ru_maxrss begins with the parent's
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before = peak_kib()
record = hook.upload(large)
print(json.dumps({"grown_kib": peak_kib() - before, "size": record.size_bytes}))
"""


def test_memory_stays_flat_for_a_large_object(bucket, number, store_connection, checkout):
    """100 MB from an object store: under 64 MB more than for a small one."""
    pdf = b"%PDF-1.7\n" + os.urandom(1 << 20) + b"\nstartxref\n0\n%%EOF\n"
    large = pdf * 95
    uris = [bucket.put("small.pdf", pdf), bucket.put("large.pdf", large)]
    connection = {"conn_type": "dialog360", "host": number.base_url, "password": number.key}
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, *uris],
        env=os.environ
        | {"AIRFLOW_CONN_NUMBER_A": json.dumps(connection), "AIRFLOW_CONN_STORE": store_connection, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["size"] == len(large)
    assert said["grown_kib"] < 64 * 1024
    assert number.key not in done.stdout + done.stderr


# --- where files are written to -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda p: p, id="a Path"),
        pytest.param(os.path.relpath, id="a relative path"),
        pytest.param(lambda p: f"~/new/{p.name}", id="a path in the home folder"),
        pytest.param(lambda p: p.as_uri(), id="a file URI, percent-encoded"),
        pytest.param(lambda p: ObjectStoragePath(f"file://{p}"), id="an ObjectStoragePath of a file"),
    ],
)
def test_writes_a_local_file_in_every_form(form, tmp_path, monkeypatch, hook, received, photo):
    """Under exactly that name, in folders that are made on the way, and nothing beside it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "new" / "a b%41ü#1.jpg"
    record = hook.download(form(path), media_id=received)
    assert path.read_bytes() == photo.read_bytes()
    assert names(path.parent) == [path.name]
    assert record.size_bytes == path.stat().st_size
    assert record.sha256 == hashlib.sha256(photo.read_bytes()).hexdigest()


def test_writes_to_an_object_store(bucket, hook, received, photo):
    """Under exactly that key."""
    record = hook.download(bucket.uri("in/a b.jpg"), media_id=received)
    assert bucket.keys() == ["in/a b.jpg"]
    assert bucket.read("in/a b.jpg") == photo.read_bytes()
    assert record == {
        "uri": f"s3://{bucket.name}/in/a b.jpg",
        "size_bytes": len(photo.read_bytes()),
        "sha256": hashlib.sha256(photo.read_bytes()).hexdigest(),
        "mime_type": "image/jpeg",
    }


def test_writes_to_memory(hook, received, photo):
    """Any store that fsspec knows will do."""
    path = memory_path()
    hook.download(path, media_id=received)
    assert path.read_bytes() == photo.read_bytes()


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda p: p, id="a folder"),
        pytest.param(lambda p: f"{p}/", id="a folder with a slash"),
        pytest.param(lambda p: p / "old.jpg", id="a file that stands there"),
        pytest.param(lambda p: p / "dead-link", id="a link that stands there, to nowhere"),
        pytest.param(lambda p: p / "old.jpg" / "a.jpg", id="a path through a file"),
        pytest.param(lambda p: p / ("a" * 300), id="a name that is too long"),
        pytest.param(lambda _: "https://example.com/a.jpg?sig=secret", id="a web address"),
        pytest.param(lambda _: "", id="an empty text"),
        pytest.param(lambda _: "a\0b", id="a zero byte"),
        pytest.param(lambda _: "nothing://x/a.jpg", id="a scheme that nobody knows"),
        pytest.param(lambda _: "gs://bucket/a.jpg", id="a store whose provider is not installed"),
    ],
)
def test_a_destination_that_cannot_be_used_is_refused_before_anything_is_sent(place, tmp_path, hook, number, received):
    """A GET costs error budget at worst, so what can be known before is judged before."""
    (tmp_path / "old.jpg").write_bytes(b"old")
    (tmp_path / "dead-link").symlink_to("nowhere")
    with pytest.raises(DestinationError) as caught:
        hook.download(place(tmp_path), media_id=received)
    assert number.sent("fetch") == number.sent("download") == 0
    assert "sig=" not in str(caught.value)
    assert (tmp_path / "old.jpg").read_bytes() == b"old"
    assert names(tmp_path) == ["dead-link", "old.jpg"]


def test_an_object_that_stands_there_is_refused_before_anything_is_sent(bucket, hook, number, received):
    """The same in a store."""
    bucket.put("a.jpg", b"old")
    with pytest.raises(DestinationError, match="overwrite"):
        hook.download(bucket.uri("a.jpg"), media_id=received)
    assert number.sent("fetch") == 0
    assert bucket.read("a.jpg") == b"old"


@pytest.mark.parametrize(
    "form", ["s3://store@{}", "s3://store@{}/", "s3://store@{}/in/"], ids=["a bucket", "its root", "a folder"]
)
def test_a_place_in_a_store_that_is_no_file_is_refused_before_anything_is_sent(form, bucket, hook, number, received):
    """A key is wanted."""
    with pytest.raises(DestinationError):
        hook.download(form.format(bucket.name), media_id=received)
    assert number.sent("fetch") == 0
    assert bucket.keys() == []


def test_a_store_that_refuses_us_is_found_out_before_anything_is_sent(hook, number, received, bucket):
    """A bucket that is not there costs no GET (needs F72)."""
    with pytest.raises(DestinationError):
        hook.download("s3://store@no-such-bucket-here/a.jpg", media_id=received)
    assert number.sent("fetch") == 0


def test_overwrite_replaces_what_stands_there(tmp_path, bucket, hook, received, photo):
    """Whole, and only when asked."""
    (tmp_path / "a.jpg").write_bytes(b"old")
    bucket.put("a.jpg", b"old")
    hook.download(tmp_path / "a.jpg", media_id=received, overwrite=True)
    hook.download(bucket.uri("a.jpg"), media_id=received, overwrite=True)
    assert (tmp_path / "a.jpg").read_bytes() == bucket.read("a.jpg") == photo.read_bytes()
    assert names(tmp_path) == ["a.jpg"]


def test_overwrite_does_not_replace_a_folder(tmp_path, hook, number, received):
    """A folder is never taken for a file."""
    with pytest.raises(DestinationError, match="folder"):
        hook.download(tmp_path, media_id=received, overwrite=True)
    assert number.sent("fetch") == 0


@pytest.mark.parametrize("has_links", [True, False], ids=["where hard links work", "where there are none"])
def test_a_file_that_appears_meanwhile_is_left_alone(has_links, tmp_path, monkeypatch):
    """Two tasks with one destination: the first one wins and the second one says so."""
    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    place = destination_at(tmp_path / "a.jpg", overwrite=False)
    place.check()
    with pytest.raises(DestinationError, match="meanwhile"), place.stage() as staged:
        staged.file.write(b"mine")
        (tmp_path / "a.jpg").write_bytes(b"theirs")
        staged.publish()
    assert (tmp_path / "a.jpg").read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.jpg"]


def test_an_object_that_appears_meanwhile_is_left_alone(bucket):
    """The same in a store, as far as a store can tell."""
    place = destination_at(bucket.uri("a.jpg"), overwrite=False)
    place.check()
    with pytest.raises(DestinationError), place.stage() as staged:
        staged.file.write(b"mine")
        bucket.put("a.jpg", b"theirs")
        staged.publish()
    assert bucket.read("a.jpg") == b"theirs"


def test_publishing_works_where_there_are_no_hard_links(tmp_path, monkeypatch, hook, received, photo):
    """Some network file systems have none."""
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    hook.download(tmp_path / "a.jpg", media_id=received)
    assert (tmp_path / "a.jpg").read_bytes() == photo.read_bytes()
    assert names(tmp_path) == ["a.jpg"]


def test_a_new_file_has_the_rights_that_the_worker_gives(tmp_path, hook, received):
    """Not those of a private temporary file."""
    old = os.umask(0o027)
    try:
        hook.download(tmp_path / "a.jpg", media_id=received)
    finally:
        os.umask(old)
    assert (tmp_path / "a.jpg").stat().st_mode & 0o777 == 0o640


def test_a_name_of_255_bytes_can_be_written(tmp_path, hook, received):
    """The temporary name beside it must not be longer than names may be."""
    for name in ("a" * 251 + ".jpg", "ü" * 125 + ".jpg", "\N{CAMERA}" * 62 + ".jpg"):
        hook.download(tmp_path / name, media_id=received)
        assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("fault", "more"),
    [
        pytest.param("wrong_bytes", {}, id="other bytes"),
        pytest.param("wrong_size", {"delta_bytes": -1}, id="too few bytes"),
        pytest.param("error", {"status": 403, "text": "no"}, id="a refusal"),
        pytest.param("html", {"status": 200}, id="a proxy's page with 200"),
    ],
)
def test_nothing_is_left_behind_by_a_download_that_failed(*, fault, more, tmp_path, bucket, hook, number, received, monkeypatch):
    """No final name, no temporary name, no unfinished upload, no spool."""
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    (tmp_path / "out").mkdir()
    number.arm(fault, operation="download", times="always", **more)
    for place in (tmp_path / "out" / "a.jpg", bucket.uri("a.jpg")):
        with pytest.raises(Exception, match=r"discarded|refuses"):
            hook.download(place, media_id=received)
    assert names(tmp_path / "out") == names(spool) == []
    assert bucket.keys() == bucket.unfinished() == []


def test_a_corrupt_download_does_not_touch_what_stands_there(tmp_path, bucket, hook, number, received):
    """Overwriting is only for the better."""
    (tmp_path / "a.jpg").write_bytes(b"old")
    bucket.put("a.jpg", b"old")
    number.arm("wrong_bytes", operation="download", times="always")
    for place in (tmp_path / "a.jpg", bucket.uri("a.jpg")):
        with pytest.raises(DownloadCorruptError):
            hook.download(place, media_id=received, overwrite=True)
    assert (tmp_path / "a.jpg").read_bytes() == bucket.read("a.jpg") == b"old"


def test_a_full_disk_may_be_tried_again_and_leaves_nothing(tmp_path, hook, received, monkeypatch):
    """Storage that fails is not the path's fault (needs F70)."""
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StorageFailedError, match="No space left"):
        hook.download(tmp_path / "a.jpg", media_id=received)
    assert names(tmp_path) == []


def test_a_store_that_fails_to_take_the_file_leaves_nothing(bucket, hook, received, monkeypatch):
    """One put, and if it fails there is no key."""
    from s3fs import S3FileSystem

    call = S3FileSystem._call_s3

    async def stutter(self, method, *args, **kwargs):
        if method in {"put_object", "create_multipart_upload"}:
            raise RuntimeError("SlowDown")
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", stutter)
    with pytest.raises(StorageFailedError):
        hook.download(bucket.uri("a.jpg"), media_id=received)
    assert bucket.keys() == []


def test_a_download_without_id_and_url_is_a_mistake(hook, tmp_path):
    """And says what is missing."""
    with pytest.raises(CallError, match="media_id"):
        hook.download(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg?", "a.jpg#", "a.jpg?#x"])
def test_a_name_that_airflow_would_shorten_is_not_taken_for_another(name):
    """`ObjectStoragePath` drops an empty query or fragment: that would be another object."""
    with pytest.raises(SourceUnreadableError, match=r"\?"):
        source_at(f"s3://bucket/{name}")


@pytest.mark.parametrize("mark", ["\t", "\r", "\n"])
def test_a_name_that_airflow_would_change_is_refused(mark):
    """A URI loses these characters, and another object would be read."""
    with pytest.raises(SourceUnreadableError, match="another name"):
        source_at(f"s3://objects@in/a{mark}b.json")


@pytest.mark.parametrize("user", ["user:pw-canary", "user:p/w-canary", "user%3Apw-canary"])
def test_a_password_in_a_uri_is_refused_and_not_shown(user, caplog):
    """Airflow would take it for a connection id, and log it."""
    for refused in (lambda: source_at(f"s3://{user}@b/k"), lambda: destination_at(f"s3://{user}@b/k", overwrite=True)):
        with pytest.raises(Dialog360Error) as found:
            refused()
        assert "canary" not in f"{found.value} {caplog.text}"
