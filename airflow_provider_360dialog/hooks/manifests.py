"""Where a campaign's items come from: a manifest, a folder, a glob or a list; and small text files, read and written.

Everything is read as it comes: blocks of a manifest, one folder of this machine at a time, one page of an S3 bucket at a time.
What a line of a manifest means is the business of `jobs.manifest`; what a place is, of `hooks.places`.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import re
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.exceptions import (
    CallError,
    Dialog360Error,
    SourceUnreadableError,
    destination_error,
    source_error,
)
from airflow_provider_360dialog.hooks.places import (
    _local_path,
    _object_path,
    _read_error,
    _said,
    _shown,
    destination_at,
    source_at,
)
from airflow_provider_360dialog.jobs.manifest import RECORD_MAX_CHARS, Malformed, read_csv, read_item, read_jsonl, read_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.jobs.manifest import Wanted
    from airflow_provider_360dialog.ports import Source

log = logging.getLogger(__name__)

REJECTS_SUFFIX: Final = ".rejects.jsonl"

_MANIFEST: Final = re.compile(r"\.(?:jsonl|ndjson|json-lines|(?P<csv>csv))(?P<packed>\.gz)?\Z", re.IGNORECASE)
_FORMS: Final = (
    "a manifest's name ends in .jsonl, .ndjson or .csv (also with .gz behind); a folder in an object store ends in a slash"
)
_BLOCK_BYTES: Final = 256 * 1024
_LINE_MAX_BYTES: Final = 4 * (RECORD_MAX_CHARS + 1)  # holds more characters than a record may have
_UNPACKED_MAX_BYTES: Final = 4 * 1024**3  # ten million lines and more; a file of 4 MB could hold as much
_NO_URI: Final = "a URI cannot hold its name, because of a '?' or '#' in it; rename the object"
_MARKS: Final = re.compile(r"[?#]")
_WILD: Final = re.compile(r"[*?]")


@dataclass(frozen=True)
class Input:
    """Where items come from.

    Attributes:
        uri: for messages; holds no secret and no connection id.
        rejects_uri: beside the source, where its rejects are written unless somebody says otherwise; None for a list.
        items: reads from the start each time it is called. While it reads it raises SourceUnreadableError (mend the path or the
            rights) or StorageFailedError (try again); a line that is no item does not raise.
    """

    uri: str
    rejects_uri: str | None
    items: Callable[[], Iterator[Wanted | Malformed]]


def input_at(source: object) -> Input:
    """What a campaign's ``source`` stands for.

    Args:
        source: one of

            - a manifest: a path or URI that ends in .jsonl, .ndjson, .json-lines or .csv, also with .gz behind it. UTF-8. A
              relative uri in it is relative to its folder.
            - a folder: one of this machine, or a URI that ends in a slash. All its files, those below it too; the key is the
              relative path. Left out are hidden ones (a dot in front), files of rejects, links to folders, and links that lead
              out of it.
            - a glob: ``*`` and ``?`` within a part of the path, ``**`` for any number of folders. The key is the path relative to
              the last folder before the first wildcard.
            - a list of at most 1,000 mappings or paths.

            Paths and URIs may be ``ObjectStoragePath`` as well; a connection id in them is kept.

    Raises:
        SourceUnreadableError: none of these, not there, or not readable.
        StorageFailedError: the storage failed in a way that may pass.
        CallError: a list that is too long, or a value that can be none of these.
    """
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        items = [str(each) if _is_place(each) else each for each in source]
        read_list(items, base="")  # raises where there are too many
        return Input(f"a list of {len(items):,}", None, partial(read_list, items, base=""))
    if not isinstance(source, str) and not _is_place(source):
        raise CallError(f"A source of items is a path, a URI or a list; this is a {type(source).__name__}.")
    try:
        local = _local_path(source)
        path = _object_path(source) if local is None else None
    except Exception as fault:
        raise SourceUnreadableError(uri=_shown(str(source)), reason=_said(fault)) from fault
    if local is not None:
        return _local_input(local, as_folder=str(source).endswith("/"))
    assert path is not None  # noqa: S101 - one of the two
    return _object_input(path, as_folder=str(source).endswith("/"))


def text_lines(place: object) -> Iterator[str]:
    """The lines of a UTF-8 text, without their ends; what is not UTF-8 turns into U+FFFD, a line beyond 256 kB is cut.

    Args:
        place: as of `hooks.places.source_at`; unpacked where its name ends in .gz.

    Raises:
        SourceUnreadableError, StorageFailedError: while it is read.
    """
    first = True
    for line in _lines(source_at(place), packed=str(place).lower().endswith(".gz"), errors="replace"):
        yield (line.removeprefix("\ufeff") if first else line).removesuffix("\r")
        first = False


def write_lines(place: object, lines: Iterable[str]) -> tuple[int, str]:
    """Write a UTF-8 text under its final name, whole or not at all; what stands there is replaced.

    Args:
        place: as of `hooks.places.destination_at`. lines: without their ends.

    Returns:
        The number of lines, and the sha256 of the bytes as lowercase hex.

    Raises:
        DestinationError, StorageFailedError: it could not be written. Nothing has changed then.
    """
    destination = destination_at(place, overwrite=True)
    destination.check()
    count, digest = 0, hashlib.sha256()
    try:
        with destination.stage() as staged:
            for count, line in enumerate(lines, 1):  # noqa: B007 - the last number is the result
                content = f"{line}\n".encode("utf-8", "backslashreplace")
                digest.update(content)
                staged.file.write(content)
            staged.publish()
    except OSError as fault:
        raise destination_error(destination.uri, fault) from fault
    return count, digest.hexdigest()


def _is_place(value: object) -> bool:
    return isinstance(value, os.PathLike) or (hasattr(value, "protocol") and hasattr(value, "path"))


def _local_input(path: Path, *, as_folder: bool) -> Input:
    text = str(path)
    try:
        mode = path.stat().st_mode
    except OSError as fault:
        if isinstance(fault, FileNotFoundError) and _WILD.search(text):
            return _glob_input(f"{text}/" if as_folder else text, _local_files, shown=text)
        raise source_error(text, fault) from fault
    if stat.S_ISDIR(mode):
        return _folder_input(text.rstrip("/") + "/", _local_files, shown=text)
    return _manifest_input(path, text, shown=text)


def _object_input(path: ObjectStoragePath, *, as_folder: bool) -> Input:
    text = str(path).rstrip("/")
    shown = _shown(text)
    if _WILD.search(path.path):
        return _glob_input(f"{text}/" if as_folder else text, _object_files, shown=shown)
    whole_bucket = not path.path.strip("/").partition("/")[2]
    if not (as_folder or whole_bucket) and (_MANIFEST.search(path.name) or _is_empty(f"{text}/")):
        return _manifest_input(path, text, shown=shown)
    return _folder_input(f"{text}/", _object_files, shown=shown)


def _is_empty(folder: str) -> bool:
    try:
        return next(_object_files(folder, "**"), None) is None
    except SourceUnreadableError as fault:
        if isinstance(fault.__cause__, FileNotFoundError):
            return True
        raise


# --- manifests ----------------------------------------------------------------------------------------------------


def _manifest_input(place: object, text: str, *, shown: str) -> Input:
    name = text.rpartition("/")[2]
    found = _MANIFEST.search(name)
    if found is None:
        raise SourceUnreadableError(uri=shown, reason=f"it is neither a manifest nor a folder: {_FORMS}")
    source = source_at(place)
    source.size_bytes()  # raises where there is none
    read = read_csv if found["csv"] else read_jsonl
    packed, base = bool(found["packed"]), text[: -len(name)]

    def items() -> Iterator[Wanted | Malformed]:
        return read(_lines(source, packed=packed, errors="surrogateescape"), base=base)

    return Input(shown, text + REJECTS_SUFFIX, items)


def _lines(source: Source, *, packed: bool, errors: str) -> Iterator[str]:
    """Lines without their line feeds. Of one that is far too long, enough for its reader to see that; the rest is dropped."""
    rest, dropping = b"", False
    for block in _blocks(source, packed=packed):
        data = rest + block
        if dropping:
            _, found, data = data.partition(b"\n")
            dropping = not found
        whole, found, rest = data.rpartition(b"\n")
        if found:
            yield from whole.decode("utf-8", errors).split("\n")
        if len(rest) > _LINE_MAX_BYTES:
            yield rest[:_LINE_MAX_BYTES].decode("utf-8", errors)
            rest, dropping = b"", True
    if rest:
        yield rest.decode("utf-8", errors)


def _blocks(source: Source, *, packed: bool) -> Iterator[bytes]:
    left = _UNPACKED_MAX_BYTES
    with source.open() as handle:
        file: Any = gzip.GzipFile(fileobj=handle, mode="rb") if packed else handle
        try:
            while block := file.read(_BLOCK_BYTES):
                left -= len(block)
                if packed and left < 0:
                    raise SourceUnreadableError(
                        uri=source.uri,
                        reason=f"it unpacks to more than {_UNPACKED_MAX_BYTES >> 30} GiB; split it, or give it unpacked",
                    )
                yield block
        except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
            raise SourceUnreadableError(
                uri=source.uri, reason="it is damaged, cut off, or no gzip file; write it again, or give it unpacked"
            ) from fault
        except OSError as fault:
            raise source_error(source.uri, fault) from fault


# --- folders and globs --------------------------------------------------------------------------------------------


def _folder_input(folder: str, files: Callable[[str, str], Iterator[str]], *, shown: str) -> Input:
    return Input(shown, _beside(folder), partial(_file_items, folder, "**", files))


def _glob_input(text: str, files: Callable[[str, str], Iterator[str]], *, shown: str) -> Input:
    first = _WILD.search(text)
    assert first is not None  # noqa: S101 - the caller has looked
    folder = text[: first.start()].rpartition("/")[0] + "/"
    if folder.endswith("://"):
        raise SourceUnreadableError(uri=shown, reason="the name of a bucket cannot hold a wildcard")
    pattern = text[len(folder) :]
    return Input(shown, _beside(folder), partial(_file_items, folder, pattern + "**" * pattern.endswith("/"), files))


def _beside(folder: str) -> str:
    """The place of the rejects; within a bucket where the folder is all of it, for there is nothing beside that."""
    text = folder.rstrip("/")
    _, found, rest = text.partition("://")
    if not found or "/" in rest:
        return text + REJECTS_SUFFIX
    return f"{folder}{rest.rpartition('@')[2]}{REJECTS_SUFFIX}"


def _file_items(folder: str, pattern: str, files: Callable[[str, str], Iterator[str]]) -> Iterator[Wanted | Malformed]:
    fits = _pattern(pattern).fullmatch
    count = 0
    for key in files(folder, pattern):
        if not _is_left_out(key) and fits(key):
            count += 1
            found = read_item({"key": key, "uri": folder + key}, base="")
            yield found if _is_kept(folder, key) else Malformed(_NO_URI, key=found.key, uri=_shown(folder + key))
    if not count:
        log.warning("no file is in %r that the source speaks of", _shown(folder))


def _is_kept(folder: str, key: str) -> bool:
    """Whether a URI leads to this very object: a ``?`` or ``#`` with nothing behind it is lost, and another one would be sent."""
    if "://" not in folder or not _MARKS.search(key):
        return True
    try:
        return str(_object_path(folder + key)) == folder + key
    except ValueError:
        return False


def _is_left_out(key: str) -> bool:
    return key.startswith(".") or "/." in key or key.endswith(REJECTS_SUFFIX)


def _pattern(text: str) -> re.Pattern[str]:
    *folders, name = re.sub(r"(?<![^/])(?:\*\*/)+", "**/", text).split("/")
    above = "".join("(?:[^/]+/)*" if part == "**" else f"{_part(part)}/" for part in folders)
    return re.compile(above + (".*" if name == "**" else _part(name)), re.DOTALL)


def _part(text: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(token[:1], re.escape(token)) for token in re.split(r"(\*+|\?)", text))


def _depth(pattern: str) -> int | None:
    """How many parts a path has at most that fits; None for any number."""
    parts = pattern.split("/")
    return None if "**" in parts else len(parts)


class _Left:
    """Counts the links that are left out, and says so once."""

    def __init__(self, folder: str) -> None:
        self._real = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118 - with the slash at its end
        self._folder, self._count, self._example = folder, 0, ""

    def leaves(self, link: os.DirEntry[str]) -> bool:
        """Whether a link is none to a file within the folder."""
        if not Path(link.path).is_dir() and os.path.realpath(link.path).startswith(self._real):
            return False
        self._count, self._example = self._count + 1, self._example or link.name
        return True

    def say(self) -> None:
        if self._count:
            log.warning(
                "left out %d symbolic links in %r that lead out of it or to a folder, such as %r; give what they lead to as a "
                "source of its own, or in a manifest", self._count, self._folder, self._example,
            )  # fmt: skip


def _local_files(folder: str, pattern: str) -> Iterator[str]:
    """Relative paths of the files that may fit, sorted; one folder's names are held at a time for each level."""
    left, most = _Left(folder), _depth(pattern)
    stack = [iter(_listed(folder, "", left))]
    while stack:
        key = next(stack[-1], None)
        if key is None:
            stack.pop()
        elif not key.endswith("/"):
            yield key
        elif most is None or key.count("/") < most:
            stack.append(iter(_listed(folder, key, left)))
    left.say()


def _listed(folder: str, below: str, left: _Left) -> list[str]:
    """What is in ``folder + below``, relative to ``folder``, folders with a slash behind; without hidden ones and such links."""
    try:
        with os.scandir(folder + below) as entries:
            return sorted(
                below + entry.name + "/" * entry.is_dir(follow_symlinks=False)
                for entry in entries
                if not entry.name.startswith(".") and not (entry.is_symlink() and left.leaves(entry))
            )
    except OSError as fault:
        raise source_error(folder + below, fault) from fault


def _object_files(folder: str, pattern: str) -> Iterator[str]:
    """Keys relative to the folder, as the store lists them; without placeholders of folders."""
    try:
        path = _object_path(folder)
        root = path.path.rstrip("/") + "/"
        if path.protocol in {"s3", "s3a"} and hasattr(path.fs, "call_s3"):
            yield from _s3_files(path.fs, root, pattern)
        else:
            yield from _walked_files(path.fs, root, pattern)
    except Dialog360Error:
        raise
    except Exception as fault:
        raise _read_error(_shown(folder), fault) from fault


def _s3_files(store: Any, root: str, pattern: str) -> Iterator[str]:
    """A page of 1,000 at a time, and nothing kept: the file system's own listing holds a whole folder and remembers it."""
    bucket, _, prefix = root.partition("/")
    begins_with = prefix + _WILD.split(pattern, maxsplit=1)[0]
    request = {"Bucket": bucket, "Prefix": begins_with, "Delimiter": "/" if _depth(pattern) == 1 else ""}
    while True:
        page = store.call_s3("list_objects_v2", **request)
        for each in page.get("Contents", ()):
            if not each["Key"].endswith("/"):
                yield each["Key"][len(prefix) :]
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _walked_files(store: Any, root: str, pattern: str) -> Iterator[str]:
    store.invalidate_cache()  # what it remembers may be older than the files
    for folder, below, names in store.walk(root.rstrip("/"), maxdepth=_depth(pattern), on_error="raise"):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(filter(None, names)):
            yield f"{folder.rstrip('/')}/{name}"[len(root) :]
