"""Where a campaign's items come from: a manifest, a folder, a glob or a list. Everything is read as it comes.

What a line of a manifest means is the business of `jobs.manifest`; how lines are read, of `hooks.lines`; what is in a folder, of
`hooks.listing`; what a place is, of `hooks.places`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import CallError, SourceUnreadableError
from airflow_provider_360dialog.hooks.lines import lines
from airflow_provider_360dialog.hooks.listing import REJECTS_SUFFIX, File, is_place, look_at
from airflow_provider_360dialog.hooks.places import shown_uri, source_at
from airflow_provider_360dialog.jobs.manifest import Malformed, Wanted, read_csv, read_item, read_jsonl, read_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_360dialog.hooks.listing import Tree

log = logging.getLogger(__name__)

_MANIFEST: Final = re.compile(r"\.(?:jsonl|ndjson|json-lines|(?P<csv>csv))(?P<packed>\.gz)?\Z", re.IGNORECASE)
_FORMS: Final = (
    "a manifest's name ends in .jsonl, .ndjson or .csv (also with .gz behind); a folder in an object store ends in a slash"
)
PREPARED_SUFFIX: Final = ".prepared/"
_NO_URI: Final = "a URI cannot hold its name, because of a '?' or '#' in it; rename the object"


@dataclass(frozen=True)
class Input:
    """Where items come from.

    Attributes:
        uri: for messages; holds no secret and no connection id.
        rejects_uri: beside the source, where its rejects are written unless somebody says otherwise; None for a list.
        prepared_uri: beside the source, where files are kept that were prepared for it; None for a list, and for a whole bucket.
        tree_uri: of the folder whose files are the items, ending in a slash; None for a manifest or a list.
        items: reads from the start each time it is called. While it reads it raises SourceUnreadableError (mend the path or the
            rights) or StorageFailedError (try again); a line that is no item does not raise.
    """

    uri: str
    rejects_uri: str | None
    items: Callable[[], Iterator[Wanted | Malformed]]
    prepared_uri: str | None = None
    tree_uri: str | None = None


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
        items = [str(each) if is_place(each) else each for each in source]
        read_list(items, base="")  # raises where there are too many
        return Input(f"a list of {len(items):,}", None, partial(read_list, items, base=""))
    if not isinstance(source, str) and not is_place(source):
        raise CallError(f"A source of items is a path, a URI or a list; this is a {type(source).__name__}.")
    found = look_at(source, is_file=_MANIFEST.search)
    if isinstance(found, File):
        return _manifest_input(found)
    beside, tree = found.uri.rstrip("/"), found.uri
    prepared = None if _is_bucket(beside) else beside + PREPARED_SUFFIX
    return Input(found.shown, _beside(found.uri), partial(_tree_items, found), prepared_uri=prepared, tree_uri=tree)


def _manifest_input(file: File) -> Input:
    name = file.uri.rpartition("/")[2]
    found = _MANIFEST.search(name)
    if found is None:
        raise SourceUnreadableError(uri=file.shown, reason=f"it is neither a manifest nor a folder: {_FORMS}")
    source = source_at(file.place)
    source.size_bytes()  # raises where there is none
    read = read_csv if found["csv"] else read_jsonl
    packed, base = bool(found["packed"]), file.uri[: -len(name)]

    def items() -> Iterator[Wanted | Malformed]:
        return read(lines(source, packed=packed, errors="surrogateescape"), base=base)

    return Input(file.shown, file.uri + REJECTS_SUFFIX, items, prepared_uri=file.uri + PREPARED_SUFFIX)


def _tree_items(tree: Tree) -> Iterator[Wanted | Malformed]:
    count = 0
    for count, entry in enumerate(tree.entries(), 1):  # noqa: B007 - whether there was one
        uri = tree.uri + entry.key
        item = read_item({"key": entry.key, "uri": uri}, base="")
        no_uri = isinstance(item, Wanted) and not tree.can_name(entry.key)
        yield Malformed(_NO_URI, key=item.key, uri=shown_uri(uri)) if no_uri else item
    if not count:
        log.warning("no file is in %r that the source speaks of", shown_uri(tree.uri))


def _beside(folder: str) -> str:
    """The place of the rejects; within a bucket where the folder is all of it, for there is nothing beside that."""
    text = folder.rstrip("/")
    if not _is_bucket(text):
        return text + REJECTS_SUFFIX
    return f"{folder}{text.partition('://')[2].rpartition('@')[2]}{REJECTS_SUFFIX}"


def _is_bucket(text: str) -> bool:
    _, found, rest = text.partition("://")
    return bool(found) and "/" not in rest
