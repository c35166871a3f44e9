"""Path strings to places: local files, and anything that Airflow's ``ObjectStoragePath`` reaches.

Object stores commit when a file is closed, even by an exception. So a download is spooled to a local file, verified there, and
put under its final key by one call.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, cast
from urllib.parse import unquote

from airflow_provider_360dialog.exceptions import (
    DestinationError,
    Dialog360Error,
    SourceUnreadableError,
    StorageFailedError,
    destination_error,
    source_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.ports import Destination, Source

_BLOCK_BYTES: Final = 8 * 1024 * 1024
"""Block of an object store's reader and writer. Their own default of 50 MiB costs 150 MB and more for one large file."""

_FRESH_S: Final = 2.0
_ABANDONED_S: Final = 86_400.0

WITH_BUCKETS: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss"})

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PASSWORD = re.compile(r"\A([^:/]+://)[^/@]*[:%][^@]*@")
_SECRETIVE = re.compile(r"\?\S+")


def source_at(place: object) -> Source:
    """A file to read.

    Args:
        place: a path, a ``file://`` or object storage URI (``s3://conn_id@bucket/key``), or an ``ObjectStoragePath``.

    Raises:
        SourceUnreadableError: not a place that files can be read from.
    """
    try:
        local = local_path(place)
        return ObjectSource(object_path(place)) if local is None else LocalSource(local)
    except Exception as fault:
        raise SourceUnreadableError(uri=shown_uri(str(place)), reason=words_of(fault)) from fault


def destination_at(place: object, *, overwrite: bool) -> Destination:
    """A place for a file to be written to; the same forms as for `source_at`.

    Args:
        place: the final name. overwrite: whether what stands there already may be replaced.

    Raises:
        DestinationError: not a place that files can be written to.
    """
    try:
        local = local_path(place)
        if local is not None:
            return LocalDestination(local, overwrite=overwrite)
        path = object_path(place)
    except Exception as fault:
        raise DestinationError(uri=shown_uri(str(place)), reason=words_of(fault)) from fault
    if not path.name or str(place).endswith("/"):
        raise DestinationError(uri=shown_uri(str(place)), reason="it is a folder; give the name of a file")
    return ObjectDestination(path, overwrite=overwrite)


def local_path(place: object) -> Path | None:
    """The path of a place on this machine; None for an object store.

    Raises:
        ValueError: neither.
    """
    if isinstance(place, Path):
        return place.expanduser().absolute()
    if getattr(place, "protocol", None) in {"file", "local"}:  # an ObjectStoragePath, whose path is as it is
        return Path(str(getattr(place, "path", ""))).absolute()
    text = str(place)
    if not text.strip() or "\0" in text:
        raise ValueError("it is not a path")
    found = _SCHEME.match(text)
    if found is None:
        return Path(text).expanduser().absolute()
    scheme = found[1].lower()
    if scheme == "file":
        return _file_uri_path(text)
    if scheme in {"http", "https"}:
        raise ValueError("web addresses are not read from or written to; use a path or an object store")
    return None


def _file_uri_path(uri: str) -> Path:
    host, slash, rest = uri[len("file://") :].partition("/")
    if any(mark in uri for mark in "?#"):
        raise ValueError("a file URI with '?' or '#' is ambiguous: percent-encode them (%3F, %23), or give a plain path")
    if host not in {"", "localhost"} or not slash:
        raise ValueError("a file URI names a file of this machine: file:///absolute/path")
    return Path("/" + unquote(rest))


def object_path(place: object) -> ObjectStoragePath:
    """The path of a place in an object store.

    Raises:
        ValueError: it is none, or Airflow would read another one. Exception: Airflow cannot reach this kind of store.
    """
    from airflow.sdk import ObjectStoragePath

    text = str(place)
    if _PASSWORD.match(text):  # before Airflow takes it for a connection id, and logs it
        raise ValueError("before the '@' stands the id of an Airflow connection; user and password belong into that connection")
    path = place if isinstance(place, ObjectStoragePath) else ObjectStoragePath(text)
    if any(str(path).count(mark) != text.count(mark) for mark in "?#\t\r\n"):
        raise ValueError("Airflow would read another name: a '?', '#', tab or line end in it is dropped; rename the object")
    _ = path.fs  # fails here, before anything is sent, where Airflow has no provider for this kind of store
    return path


def shown_uri(uri: str) -> str:
    """A URI for messages: no user part, no query."""
    head, _, tail = _SECRETIVE.sub("", _PASSWORD.sub(r"\1", uri)).partition("://")
    return f"{head}://{tail.rpartition('@')[2] if '@' in tail.partition('/')[0] else tail}"


def words_of(fault: BaseException) -> str:
    """What a library's error says, without queries of URLs."""
    if type(fault) is ValueError:
        return str(fault)
    return f"{type(fault).__name__}: {_SECRETIVE.sub('', str(fault))}"


class LocalSource:
    """A regular file on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.uri, self.name = str(path), path.name

    def size_bytes(self) -> int:
        """Its size now."""
        try:
            found = self._path.stat()
        except OSError as fault:
            raise source_error(self.uri, fault) from fault
        if not stat.S_ISREG(found.st_mode):
            raise SourceUnreadableError(uri=self.uri, reason="it is not a regular file")
        return found.st_size

    def open(self) -> BinaryIO:
        """A new handle at the first byte."""
        self.size_bytes()  # before opening: a pipe would wait for ever
        try:
            return self._path.open("rb")
        except OSError as fault:
            raise source_error(self.uri, fault) from fault

    def stamp(self) -> str | None:
        """Time of change, inode and size; None for two seconds after a change, while another could have the same time."""
        try:
            found = self._path.stat()
        except OSError as fault:
            raise source_error(self.uri, fault) from fault
        return local_stamp(found)


class ObjectSource:
    """One object of an object store."""

    def __init__(self, path: ObjectStoragePath) -> None:
        self._path = path
        self.uri, self.name = shown_uri(str(path)), path.name

    def size_bytes(self) -> int:
        """Its size now."""
        try:
            return int(self._path.stat().st_size)
        except Exception as fault:
            raise read_error(self.uri, fault) from fault

    def open(self) -> BinaryIO:
        """A new handle at the first byte."""
        try:
            # Not by the path's own `open`, which reports each file to the lineage collector, and again with each block.
            handle: Any = self._path.fs.open(self._path.path, "rb", block_size=_BLOCK_BYTES)
            return cast("BinaryIO", _ObjectReader(handle, self.uri))
        except Exception as fault:
            raise read_error(self.uri, fault) from fault

    def stamp(self) -> str | None:
        """Etag and size, or a store's own checksum; None where it has neither."""
        try:
            facts = self._path.fs.info(self._path.path)
        except Exception as fault:
            raise read_error(self.uri, fault) from fault
        return object_stamp(facts)


def local_stamp(found: os.stat_result) -> str | None:
    """What stands for a local file's content; None where the file is so new that a change could go unnoticed."""
    if time.time() - max(found.st_mtime, found.st_ctime) < _FRESH_S:
        return None
    return f"{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}-{found.st_size}"


def object_stamp(facts: Mapping[str, Any]) -> str | None:
    """What stands for an object's content, of what a store tells of it; None where there is neither etag nor checksum."""
    marks = (facts.get(name) for name in ("ETag", "etag", "md5Hash", "content_md5", "crc32c"))
    mark = next((str(each).strip('"') for each in marks if each), None)  # listings and single answers quote it differently
    return None if mark is None else f"{mark}-{facts.get('size')}"


def read_error(uri: str, fault: Exception) -> Dialog360Error:
    """What a store's fault while reading means."""
    if isinstance(fault, OSError):
        return source_error(uri, fault)
    return StorageFailedError(uri=uri, reason=words_of(fault))


class _ObjectReader:
    """An object store's handle whose faults of any library are ours."""

    def __init__(self, handle: Any, uri: str) -> None:
        self._handle, self._uri = handle, uri

    def read(self, size: int = -1) -> bytes:
        try:
            return cast("bytes", self._handle.read(size))
        except Exception as fault:
            raise read_error(self._uri, fault) from fault

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LocalDestination:
    """A name in a folder of this machine."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._path, self._overwrite = path, overwrite
        self.uri = str(path)

    def check(self) -> None:
        """Raise where nothing could be published."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.is_dir():
                raise DestinationError(uri=self.uri, reason="it is a folder; give the name of a file")
            if not self._overwrite and os.path.lexists(self._path):
                raise DestinationError(uri=self.uri, reason="a file stands there already; pass overwrite=True to replace it")
            if not os.access(self._path.parent, os.W_OK | os.X_OK):
                raise DestinationError(uri=self.uri, reason="its folder cannot be written to")
        except OSError as fault:
            raise destination_error(self.uri, fault) from fault

    @contextmanager
    def stage(self) -> Iterator[_LocalStaged]:
        """A temporary name in the same folder, so that publishing is one rename."""
        with part_in(self._path.parent) as (file, path):
            yield _LocalStaged(file, path, self._path, overwrite=self._overwrite)


@contextmanager
def part_in(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file with a temporary name and the rights that the process gives; gone at the end unless it was renamed."""
    path = folder / f".dialog360-{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        with os.fdopen(descriptor, "w+b") as file:
            yield file, path
    finally:
        path.unlink(missing_ok=True)


def remove_old_parts(folder: Path) -> None:
    """Take away what processes have left in a folder that were killed more than a day ago."""
    with suppress(OSError):
        for path in folder.glob(".dialog360-*.part"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)


def to_disk(file: BinaryIO) -> None:
    """Make sure that what was written survives a power cut."""
    file.flush()
    os.fsync(file.fileno())


class _LocalStaged:
    def __init__(self, file: BinaryIO, path: Path, final: Path, *, overwrite: bool) -> None:
        self.file, self._path, self._final, self._overwrite = file, path, final, overwrite

    def publish(self) -> None:
        to_disk(self.file)
        if self._overwrite:
            self._path.replace(self._final)
            return
        try:
            self._final.hardlink_to(self._path)  # fails where the name was taken meanwhile
        except FileExistsError:
            raise DestinationError(
                uri=str(self._final), reason="a file has appeared there meanwhile; it was left alone"
            ) from None
        except OSError:  # a file system without hard links
            if os.path.lexists(self._final):
                raise DestinationError(
                    uri=str(self._final), reason="a file has appeared there meanwhile; it was left alone"
                ) from None
            self._path.replace(self._final)


class ObjectDestination:
    """One key of an object store."""

    def __init__(self, path: ObjectStoragePath, *, overwrite: bool) -> None:
        self._path, self._overwrite = path, overwrite
        self.uri = shown_uri(str(path))

    def check(self) -> None:
        """Raise where nothing could be published."""
        try:
            taken = not self._overwrite and self._path.exists()
            missing = not taken and self._path.protocol in WITH_BUCKETS and not self._path.fs.exists(self._path.bucket)
        except PermissionError:  # may write, may not look
            return
        except Exception as fault:
            raise write_error(self.uri, fault) from fault
        if missing:
            raise DestinationError(uri=self.uri, reason=f"there is no bucket {self._path.bucket!r}")
        if taken:
            raise DestinationError(uri=self.uri, reason="an object stands there already; pass overwrite=True to replace it")

    @contextmanager
    def stage(self) -> Iterator[_ObjectStaged]:
        """A local spool."""
        with spooled() as file:
            yield _ObjectStaged(file, self)

    def put(self, spool: str) -> None:
        """The verified file under the final key, by one call."""
        self.check()
        try:
            put_file(self._path, spool)
        except Exception as fault:
            raise write_error(self.uri, fault) from fault


@contextmanager
def spooled() -> Iterator[BinaryIO]:
    """A temporary file on this machine."""
    with tempfile.NamedTemporaryFile(prefix="dialog360-", suffix=".part") as file:
        yield cast("BinaryIO", file)


def put_file(path: ObjectStoragePath, spool: str, **options: Any) -> None:
    """A file of this machine under a store's key, by one call, in flat memory."""
    chunks = {"chunksize": _BLOCK_BYTES} if path.protocol in {"s3", "s3a", "gs", "gcs"} else {}
    parts = {"max_concurrency": 2} if path.protocol in {"s3", "s3a"} else {}  # s3fs holds ten in memory, which is the whole file
    path.fs.put_file(spool, path.path, **chunks, **parts, **options)


class _ObjectStaged:
    def __init__(self, file: BinaryIO, destination: ObjectDestination) -> None:
        self.file, self._destination = file, destination

    def publish(self) -> None:
        self.file.flush()
        self._destination.put(self.file.name)


def write_error(uri: str, fault: Exception) -> Dialog360Error:
    """What a store's fault while writing means."""
    if isinstance(fault, OSError):
        return destination_error(uri, fault)
    return StorageFailedError(uri=uri, reason=words_of(fault))
