"""Folders that files are archived into: on this machine, or a prefix of anything that ``ObjectStoragePath`` reaches.

A file is staged first and named last, because its name is made from its bytes. Knows nothing of how names are made; it refuses
those that could lead anywhere else. What a place is, is the business of `hooks.places`.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from airflow_provider_360dialog.exceptions import CallError, DestinationError, StorageFailedError, destination_error
from airflow_provider_360dialog.hooks.places import (
    WITH_BUCKETS,
    local_path,
    object_path,
    part_in,
    put_file,
    remove_old_parts,
    shown_uri,
    spooled,
    to_disk,
    words_of,
    write_error,
)
from airflow_provider_360dialog.media.names import DEVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.ports import Folder

PROBE_NAME: Final = ".dialog360-probe"
"""What `Folder.check` writes and takes away. No file that is published can have this name: none begins with a dot."""

_PROBE: Final = b"Written to see whether files can be archived here. Can be deleted.\n"

_PART: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
_MIME_TYPE: Final = re.compile(r"[A-Za-z0-9.+_-]+/[A-Za-z0-9.+_-]+(; ?[A-Za-z0-9_-]+=[A-Za-z0-9.+_-]+)*")

_ONE_PUT: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
"""Stores in which an object appears whole or not at all. The others open a file and write to it."""


def folder_at(place: object) -> Folder:
    """A folder for files to be archived into. It need not exist yet; nothing is written before `Folder.check`.

    Args:
        place: a path, a ``file://`` or object storage URI (``s3://conn_id@bucket/prefix/``, with or without the last slash), or
            an ``ObjectStoragePath``.

    Raises:
        DestinationError: not a place that files can be written to.
    """
    text = str(place)
    try:
        local = local_path(place)
        return ObjectFolder(_prefix_path(place, text)) if local is None else LocalFolder(local)
    except Exception as fault:
        raise DestinationError(uri=shown_uri(text), reason=words_of(fault)) from fault


def _prefix_path(place: object, text: str) -> ObjectStoragePath:
    if "?" in text or "#" in text:
        raise ValueError("the URIs of its files could not be opened again, because of a '?' or '#' in them; rename the folder")
    path = object_path(place)
    if path.protocol in WITH_BUCKETS and path.bucket in {"", f"{path.protocol}:"}:  # the second is what "s3://" is read as
        raise ValueError("it names no bucket")
    return path


def _checked(name: str) -> str:
    """The name, where it cannot lead out of a folder or mean something else on another system.

    Raises:
        CallError: it could. Our own code builds the names, so this is a mistake in it, or an attack.
    """
    if isinstance(name, str) and all(
        _PART.fullmatch(part) and part.partition(".")[0].upper() not in DEVICES for part in name.split("/")
    ):
        return name
    raise CallError(
        f"{str(name)[:80]!r} is no name to archive a file under: it has parts of A-Z, a-z, 0-9, '.', '_' and '-' with slashes in "
        "between, each of 1 to 255 characters, none beginning with a dot, and none that is a device on Windows."
    )


def _checked_type(mime_type: str | None) -> str | None:
    if mime_type is None or _MIME_TYPE.fullmatch(mime_type):
        return mime_type
    raise CallError(f"{mime_type[:80]!r} is no media type: it looks like 'image/jpeg'.")


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.uri = str(path)

    def check(self) -> None:
        """Make the folder, write a tiny file there the way files are published, and take it away again."""
        probe = self._path / PROBE_NAME
        remove_old_parts(self._path)
        with self.stage() as staged:
            staged.file.write(_PROBE)
            staged.move_to(probe)
        with suppress(OSError):  # another process may have taken it away, or put its own there
            probe.unlink()

    @contextmanager
    def stage(self) -> Iterator[_LocalStagedFor]:
        """A temporary name in the folder itself, so that publishing is one rename."""
        with ExitStack() as stack:
            try:
                self._path.mkdir(parents=True, exist_ok=True)
                file, path = stack.enter_context(part_in(self._path))
            except FileExistsError as fault:
                raise DestinationError(uri=self.uri, reason="a file stands there; give the name of a folder") from fault
            except OSError as fault:
                raise destination_error(self.uri, fault) from fault
            yield _LocalStagedFor(file, path, self._path)


class _LocalStagedFor:
    def __init__(self, file: BinaryIO, path: Path, folder: Path) -> None:
        self.file, self._path, self._folder = file, path, folder

    def publish(self, name: str, *, mime_type: str | None = None) -> str:
        final = self._folder / _checked(name)
        _checked_type(mime_type)  # a file system keeps none, but a mistake shows everywhere
        self.move_to(final)
        return str(final)

    def move_to(self, final: Path) -> None:
        try:
            to_disk(self.file)
            self._refuse_way_out(final)  # before a folder is made outside
            final.parent.mkdir(parents=True, exist_ok=True)
            self._refuse_way_out(final)  # a link may have come meanwhile
            self._path.replace(final)
        except OSError as fault:
            raise destination_error(str(final), fault) from fault

    def _refuse_way_out(self, final: Path) -> None:
        if not Path(os.path.realpath(final.parent)).is_relative_to(os.path.realpath(self._folder)):
            raise DestinationError(uri=str(final), reason="a symbolic link on the way leads out of the folder; remove it")


class ObjectFolder:
    """A prefix of an object store."""

    def __init__(self, path: ObjectStoragePath) -> None:
        self._path = path
        self.uri = shown_uri(str(path))

    def check(self) -> None:
        """Put a tiny object the way files are published, and delete it again, where the store lets us."""
        probe = self._path / PROBE_NAME
        with self.stage() as staged:
            staged.file.write(_PROBE)
            staged.put(probe, None)
        with suppress(Exception):  # a store may let us write and not delete; the one name does not pile up
            probe.fs.rm_file(probe.path)

    @contextmanager
    def stage(self) -> Iterator[_ObjectStagedFor]:
        """A local spool."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(spooled())
            except OSError as fault:
                raise StorageFailedError(uri=self.uri, reason=f"no temporary file on this machine: {words_of(fault)}") from fault
            yield _ObjectStagedFor(file, self._path)


class _ObjectStagedFor:
    def __init__(self, file: BinaryIO, folder: ObjectStoragePath) -> None:
        self.file, self._folder = file, folder

    def publish(self, name: str, *, mime_type: str | None = None) -> str:
        path = self._folder / _checked(name)
        self.put(path, _checked_type(mime_type))
        return str(path)  # with the connection id: without it nobody could open it again

    def put(self, path: ObjectStoragePath, mime_type: str | None) -> None:
        try:
            self.file.flush()
            put_file(path, self.file.name, **_said_of_it(path.protocol, mime_type))
        except BaseException as fault:
            if path.protocol not in _ONE_PUT:
                self._remove_half(path)
            if isinstance(fault, Exception):
                raise write_error(shown_uri(str(path)), fault) from fault
            raise

    def _remove_half(self, path: ObjectStoragePath) -> None:
        """What stands there whole was there before, with the same bytes: its name is made from them."""
        with suppress(Exception):
            if path.fs.info(path.path)["size"] != Path(self.file.name).stat().st_size:
                path.fs.rm_file(path.path)


def _said_of_it(protocol: str, mime_type: str | None) -> dict[str, Any]:
    """Headers that a store gives with an object, in the words of its library: a browser must save it, and never show or run it.

    s3fs takes the names of S3's PutObject, gcsfs its own. adlfs takes none, and Azure then says octet-stream, which is saved.
    """
    if protocol in {"s3", "s3a"}:
        return {"ContentDisposition": "attachment"} | ({} if mime_type is None else {"ContentType": mime_type})
    if protocol in {"gs", "gcs"}:
        return {"fixed_key_metadata": {"content_disposition": "attachment"}, "content_type": mime_type}
    return {}
