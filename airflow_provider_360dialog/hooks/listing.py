"""What is under a place: one file, a folder with all below it, or a glob; each with what the listing itself tells of it.

Listed as it comes: one folder of this machine at a time, one page of an S3 bucket at a time. What the files hold is not looked
at, and none costs a request of its own. What a place is, is the business of `hooks.places`.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_360dialog.exceptions import CallError, Dialog360Error, SourceUnreadableError, source_error
from airflow_provider_360dialog.hooks.places import (
    local_path,
    local_stamp,
    object_path,
    object_stamp,
    read_error,
    shown_uri,
    source_at,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.sdk import ObjectStoragePath

log = logging.getLogger(__name__)

REJECTS_SUFFIX: Final = ".rejects.jsonl"

_CHANGED_IN_URIS: Final = re.compile(r"[?#\t\r\n]")
_WILD: Final = re.compile(r"[*?]")


@dataclass(frozen=True)
class Listed:
    """One file of a listing.

    Attributes:
        uri: names this very file, for `hooks.places.source_at`. A connection id in it is kept.
        stamp: what stands for its present content without reading it; the same text as that of its source. None where that cannot
            be told, or where the file is so new that a change could go unnoticed.
    """

    uri: str
    stamp: str | None


def files_at(source: object, *, endings: tuple[str, ...]) -> Iterator[Listed]:
    """The files that a source stands for.

    Args:
        source: one of

            - a file, whatever its ending.
            - a folder: one of this machine, a URI that ends in a slash, or an object prefix under which something lies. All its
              files, those below it too.
            - a glob, as of `hooks.manifests.input_at`.

            From a folder or a glob come only names that end in one of ``endings``. Left out are hidden ones (a dot in front),
            files of rejects, links to folders, and links that lead out of it; with one warning, objects that no URI can name.
        endings: such as ``(".json", ".json.gz")``, in capitals or not.

    Returns:
        One at a time, in the order of the listing: in S3 by key, else sorted by name within each folder. Nothing where a folder
        is empty, where nothing fits a glob, or where a folder whose name ends in a slash is not there yet; the log says so.

    Raises:
        SourceUnreadableError: a file, a folder without a slash, or a bucket that is not there; or one that is not readable.
        StorageFailedError: the storage failed in a way that may pass.
        CallError: a value that can be none of these.

        What can be known at once is raised by the call, the rest while it lists.
    """
    if not isinstance(source, str) and not is_place(source):
        raise CallError(f"A source of files is a path or a URI; this is a {type(source).__name__}.")
    ends = tuple(ending.lower() for ending in endings)
    found = look_at(source, is_file=lambda name: name.lower().endswith(ends), missing_ok=True)
    if isinstance(found, File):
        return iter([Listed(found.uri, source_at(found.uri).stamp())])
    return _listed(found, ends)


def _listed(tree: Tree, ends: tuple[str, ...]) -> Iterator[Listed]:
    count = nameless = 0
    for entry in tree.entries():
        if not entry.key.lower().endswith(ends):
            continue
        if not tree.can_name(entry.key):
            nameless += 1
            continue
        count += 1
        yield Listed(tree.uri + entry.key, tree.stamp(entry))
    if nameless:
        log.warning(
            "left out %d objects in %r whose names a URI cannot hold, because of a '?', a '#', a tab or the end of a line; "
            "rename them", nameless, tree.shown,
        )  # fmt: skip
    if not count:
        log.info("no file is in %r that the source speaks of", tree.shown)


# --- what a source is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """One file.

    Attributes:
        place: for `hooks.places.source_at`. uri: the same as text; keeps a connection id. shown: the same for messages.
    """

    place: Path | ObjectStoragePath
    uri: str
    shown: str


class Entry(NamedTuple):
    """A file of a folder."""

    key: str
    """Relative to the folder."""
    facts: Mapping[str, Any]
    """What the store's listing says of it; nothing on this machine."""


@dataclass(frozen=True)
class Tree:
    """A folder, or the folder before the first wildcard of a glob.

    Attributes:
        uri: ends in a slash; keeps a connection id. shown: the source, for messages.
        pattern: of the keys that are meant. is_local: on this machine.
        missing_ok: one that is not there is empty. Of S3 it is always; no bucket at all is never.
    """

    uri: str
    shown: str
    pattern: str
    is_local: bool
    missing_ok: bool

    def entries(self) -> Iterator[Entry]:
        """The files that are meant, from the start each time; without hidden ones and rejects.

        Raises:
            SourceUnreadableError, StorageFailedError: while it lists.
        """
        fits = _pattern(self.pattern).fullmatch
        for entry in _local_files(self) if self.is_local else _object_files(self):
            if not _is_left_out(entry.key) and fits(entry.key):
                yield entry

    def can_name(self, key: str) -> bool:
        """Whether a URI leads to this very object: some marks are lost in one, and another object would be read."""
        if self.is_local or not _CHANGED_IN_URIS.search(key):
            return True
        try:
            return str(object_path(self.uri + key)) == self.uri + key
        except ValueError:
            return False

    def stamp(self, entry: Entry) -> str | None:
        """As the source of this file would say, without a request."""
        if not self.is_local:
            return object_stamp(entry.facts)
        try:
            return local_stamp(Path(self.uri + entry.key).stat())
        except OSError:  # gone meanwhile, or a link to nowhere: whoever reads it will see
            return None


def look_at(source: object, *, is_file: Callable[[str], object], missing_ok: bool = False) -> File | Tree:
    """Whether a path or URI is a file, a folder or a glob.

    Args:
        source: text, or a path object (`is_place`).
        is_file: whether an object of this name is taken for a file, without a look at what lies below it.
        missing_ok: whether a folder that is not there is an empty one; on this machine only if it ends in a slash, or of a glob.

    Raises:
        SourceUnreadableError: none of these, not there, or not readable.
        StorageFailedError: the storage failed in a way that may pass.
    """
    try:
        local = local_path(source)
        path = object_path(source) if local is None else None
    except Exception as fault:
        raise SourceUnreadableError(uri=shown_uri(str(source)), reason=words_of(fault)) from fault
    as_folder = str(source).endswith("/")
    if local is not None:
        return _look_at_local(local, as_folder=as_folder, missing_ok=missing_ok)
    assert path is not None  # noqa: S101 - one of the two
    return _look_at_object(path, as_folder=as_folder, is_file=is_file, missing_ok=missing_ok)


def is_place(value: object) -> bool:
    """Whether it is a path object: of this machine, or of an object store."""
    return isinstance(value, os.PathLike) or (hasattr(value, "protocol") and hasattr(value, "path"))


def lies_within(place: object, tree_uri: str) -> bool:
    """Whether a place is a folder, or lies below it, as their names say.

    Raises:
        SourceUnreadableError: one of them is no place.
    """
    try:
        local, folder = local_path(place), local_path(tree_uri)
        if local is None or folder is None:
            if local is not None or folder is not None:
                return False
            inner, outer = object_path(place), object_path(tree_uri)
            return f"{inner.path.rstrip('/')}/".startswith(f"{outer.path.rstrip('/')}/")
    except Exception as fault:
        raise SourceUnreadableError(uri=shown_uri(str(place)), reason=words_of(fault)) from fault
    return Path(os.path.realpath(local)).is_relative_to(os.path.realpath(folder))


def _look_at_local(path: Path, *, as_folder: bool, missing_ok: bool) -> File | Tree:
    text = str(path)
    whole = Tree(text.rstrip("/") + "/", text, "**", is_local=True, missing_ok=missing_ok)
    try:
        mode = path.stat().st_mode
    except OSError as fault:
        if isinstance(fault, FileNotFoundError) and _WILD.search(text):
            return _glob(f"{text}/" if as_folder else text, text, is_local=True, missing_ok=missing_ok)
        if isinstance(fault, FileNotFoundError) and as_folder and missing_ok:
            return whole
        raise source_error(text, fault) from fault
    return whole if stat.S_ISDIR(mode) else File(path, text, text)


def _look_at_object(
    path: ObjectStoragePath, *, as_folder: bool, is_file: Callable[[str], object], missing_ok: bool
) -> File | Tree:
    text = str(path).rstrip("/")
    shown = shown_uri(text)
    if _WILD.search(path.path):
        return _glob(f"{text}/" if as_folder else text, shown, is_local=False, missing_ok=missing_ok)
    whole = Tree(f"{text}/", shown, "**", is_local=False, missing_ok=missing_ok)
    whole_bucket = not path.path.strip("/").partition("/")[2]
    if not (as_folder or whole_bucket) and (is_file(path.name) or _is_empty(whole)):
        return File(path, text, shown)
    return whole


def _glob(text: str, shown: str, *, is_local: bool, missing_ok: bool) -> Tree:
    first = _WILD.search(text)
    assert first is not None  # noqa: S101 - the caller has looked
    folder = text[: first.start()].rpartition("/")[0] + "/"
    if folder.endswith("://"):
        raise SourceUnreadableError(uri=shown, reason="the name of a bucket cannot hold a wildcard")
    pattern = text[len(folder) :]
    return Tree(folder, shown, pattern + "**" * pattern.endswith("/"), is_local=is_local, missing_ok=missing_ok)


def _is_empty(tree: Tree) -> bool:
    try:
        return next(_object_files(tree), None) is None
    except SourceUnreadableError as fault:
        if isinstance(fault.__cause__, FileNotFoundError):
            return True
        raise


# --- names --------------------------------------------------------------------------------------------------------


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


# --- this machine -------------------------------------------------------------------------------------------------


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


def _local_files(tree: Tree) -> Iterator[Entry]:
    """The files that may fit, sorted; one folder's names are held at a time for each level."""
    left, most = _Left(tree.uri), _depth(tree.pattern)
    stack = [iter(_names(tree, "", left))]
    while stack:
        key = next(stack[-1], None)
        if key is None:
            stack.pop()
        elif not key.endswith("/"):
            yield Entry(key, {})
        elif most is None or key.count("/") < most:
            stack.append(iter(_names(tree, key, left)))
    left.say()


def _names(tree: Tree, below: str, left: _Left) -> list[str]:
    """What is in the folder at ``below``, relative to it, folders with a slash behind; without hidden ones and such links."""
    try:
        with os.scandir(tree.uri + below) as entries:
            return sorted(
                below + entry.name + "/" * entry.is_dir(follow_symlinks=False)
                for entry in entries
                if not entry.name.startswith(".") and not (entry.is_symlink() and left.leaves(entry))
            )
    except OSError as fault:
        if isinstance(fault, FileNotFoundError) and tree.missing_ok and not below:
            return []
        raise source_error(tree.uri + below, fault) from fault


# --- object stores ------------------------------------------------------------------------------------------------


def _object_files(tree: Tree) -> Iterator[Entry]:
    """The files that may fit, as the store lists them; without placeholders of folders."""
    try:
        path = object_path(tree.uri)
        root = path.path.rstrip("/") + "/"
        if path.protocol in {"s3", "s3a"} and hasattr(path.fs, "call_s3"):
            yield from _s3_files(path.fs, root, tree.pattern)
        else:
            yield from _walked_files(path.fs, root, tree)
    except Dialog360Error:
        raise
    except Exception as fault:
        raise read_error(tree.shown, fault) from fault


def _s3_files(store: Any, root: str, pattern: str) -> Iterator[Entry]:
    """A page of 1,000 at a time, and nothing kept: the file system's own listing holds a whole folder and remembers it."""
    bucket, _, prefix = root.partition("/")
    begins_with = prefix + _WILD.split(pattern, maxsplit=1)[0]
    request = {"Bucket": bucket, "Prefix": begins_with, "Delimiter": "/" if _depth(pattern) == 1 else ""}
    while True:
        page = store.call_s3("list_objects_v2", **request)
        for each in page.get("Contents", ()):
            if not each["Key"].endswith("/"):
                yield Entry(each["Key"][len(prefix) :], {"ETag": each.get("ETag"), "size": each.get("Size")})
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _walked_files(store: Any, root: str, tree: Tree) -> Iterator[Entry]:
    """One folder's listing for each level; the file system's own walk leaves out in silence what it may not read."""
    store.invalidate_cache()  # what it remembers may be older than the files
    most = _depth(tree.pattern)
    try:
        stack = [iter(_children(store, root))]
    except FileNotFoundError:
        if tree.missing_ok:
            return
        raise
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            continue
        place, facts = found
        key = place[len(root) :]
        if facts.get("type") != "directory":
            yield Entry(key, facts)
        elif most is None or key.count("/") + 1 < most:
            with suppress(FileNotFoundError):  # emptied meanwhile; an object store has no empty folders
                stack.append(iter(_children(store, f"{place}/")))


def _children(store: Any, folder: str) -> list[tuple[str, Mapping[str, Any]]]:
    """What is in a folder, files first, by name; without hidden folders, and without the folder's own placeholder."""
    children = []
    for facts in store.ls(folder.rstrip("/"), detail=True):
        name = facts["name"].rstrip("/").rpartition("/")[2]
        is_itself = facts["name"].strip("/") == folder.strip("/")
        if name and not is_itself and not (facts.get("type") == "directory" and name.startswith(".")):
            children.append((f"{folder}{name}", facts))
    return sorted(children, key=lambda child: (child[1].get("type") == "directory", child[0]))
