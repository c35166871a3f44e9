"""Pictures prepared for a task: each one once, where a folder keeps what came of it.

What a preparation does is the business of `media.preparation`. A folder, of this machine or of an object store, holds for each
picture that had to change the prepared file, and beside it a JSON file with verdict and receipt, written last. Both are named by
the fingerprint of the source and by the recipe, so what stands there need not be made again.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import MediaToolsMissingError, SourceUnreadableError, destination_error
from airflow_provider_360dialog.hooks.folders import folder_at
from airflow_provider_360dialog.hooks.lines import read_bytes
from airflow_provider_360dialog.hooks.places import local_path, source_at
from airflow_provider_360dialog.media.decoding.workshop import Workshop
from airflow_provider_360dialog.media.judge import examine
from airflow_provider_360dialog.media.names import safe_name
from airflow_provider_360dialog.media.preparation.prepare import Prepared, follow
from airflow_provider_360dialog.media.preparation.recipes import RECIPES, recipe_for
from airflow_provider_360dialog.ports import Verdict

if TYPE_CHECKING:
    from typing import Self

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.media.preparation.recipes import Recipe
    from airflow_provider_360dialog.ports import Source

    Place = str | os.PathLike[str] | ObjectStoragePath

_MOST_WORKERS: Final = 4
_STEM_CHARS: Final = 60
_RECORD_MAX_BYTES: Final = 64 * 1024


class Preparer:
    """Prepares pictures; a context manager, for any number of threads.

    Args:
        folder: where prepared files are kept: a path or an object storage URI. None keeps them no longer than the context.

    Raises:
        MediaToolsMissingError: Pillow is not installed. DestinationError: on entering; nothing could be kept in the folder.
    """

    def __init__(self, folder: Place | None = None) -> None:
        _require_pillow()
        self._folder = None if folder is None else folder_at(folder)
        self._place = "" if folder is None else f"{str(local_path(folder) or folder).rstrip('/')}/"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._folder is not None:
            self._folder.check()
        temporary = tempfile.TemporaryDirectory(prefix="dialog360-", ignore_cleanup_errors=True)
        self._here = Path(self._stack.enter_context(temporary))
        self._workshop = self._stack.enter_context(Workshop(workers=min(_MOST_WORKERS, os.cpu_count() or 1)))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def mark(self) -> str:
        """See `jobs.judging.Preparing`."""
        return f"{RECIPES} {self._place}"

    def prepare(self, source: Source, **said: str | None) -> Prepared:
        """See `media.preparation.prepare.prepare`; ``said``: its ``mime_type``, ``filename`` and ``kind``.

        With a folder the verdict's receipt says where the prepared file is, and ``path`` is None; without one, ``path`` is on
        this machine until the context ends.
        """
        examined = examine(source, **said)
        recipe = recipe_for(examined)
        if recipe is None:
            return Prepared(examined.verdict)
        if self._folder is None:
            return follow(recipe, examined, source, workshop=self._workshop, folder=self._here)
        kept = self._find(examined.verdict, recipe)
        if kept is not None:
            return Prepared(kept)
        prepared = follow(recipe, examined, source, workshop=self._workshop, folder=self._here)
        if prepared.path is None:
            return prepared
        try:
            return Prepared(self._keep(prepared, examined.verdict, recipe))
        finally:
            prepared.path.unlink(missing_ok=True)

    def stands(self, verdict: Verdict) -> bool:
        """Whether the file of a remembered verdict can still be sent: as it is, or prepared in this folder."""
        receipt = verdict.receipt
        if receipt is None:
            return True
        try:
            return receipt.uri is not None and source_at(receipt.uri).size_bytes() == verdict.size_bytes
        except SourceUnreadableError:
            return False

    def _find(self, source: Verdict, recipe: Recipe) -> Verdict | None:
        """What stands in the folder for a source; the name to send is the source's of today."""
        try:
            content = read_bytes(f"{self._place}{_base(source, recipe)}.json", max_bytes=_RECORD_MAX_BYTES)
            verdict = Verdict.from_facts(json.loads(content))
        except (SourceUnreadableError, ValueError, TypeError, KeyError):
            return None  # not there, or not ours: it is made anew
        receipt = verdict.receipt
        if receipt is None or receipt.before.sha256 != source.sha256 or receipt.recipe != recipe.id:
            return None
        uri = self._place + _base(source, recipe) + PurePosixPath(verdict.filename).suffix  # whatever the record says
        name = safe_name(PurePosixPath(source.filename).stem, verdict.mime_type)
        verdict = replace(verdict, filename=name, receipt=replace(receipt, uri=uri))
        return verdict if self.stands(verdict) else None

    def _keep(self, prepared: Prepared, source: Verdict, recipe: Recipe) -> Verdict:
        verdict, path = prepared.verdict, prepared.path
        assert self._folder is not None and path is not None and verdict.receipt is not None  # noqa: S101, PT018 - the caller looked
        base = _base(source, recipe)
        name = base + PurePosixPath(verdict.filename).suffix
        self._put(name, path.read_bytes(), verdict.mime_type)
        verdict = replace(verdict, receipt=replace(verdict.receipt, uri=self._place + name))
        self._put(f"{base}.json", json.dumps(asdict(verdict), indent=1).encode(), "application/json")
        return verdict

    def _put(self, name: str, content: bytes, mime_type: str | None) -> None:
        assert self._folder is not None  # noqa: S101 - the caller looked
        with self._folder.stage() as staged:
            try:
                staged.file.write(content)
            except OSError as fault:
                raise destination_error(self._folder.uri, fault) from fault
            staged.publish(name, mime_type=mime_type)


def _base(source: Verdict, recipe: Recipe) -> str:
    """A name without its ending, for people and for finding it again."""
    stem = PurePosixPath(source.filename).stem[:_STEM_CHARS].rstrip(".") or "file"
    return f"{stem}-{source.sha256[:16]}-{recipe.id}"


def _require_pillow() -> None:
    from importlib.util import find_spec

    if find_spec("PIL") is None:
        raise MediaToolsMissingError(tool="Pillow")
