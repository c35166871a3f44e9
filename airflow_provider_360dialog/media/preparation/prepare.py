"""Prepare one picture: decide what has to be done, have it done, and judge what came of it. The source is never touched.

What has to be done is decided in `recipes`; pixels are drawn anew by `redraw`, in a worker process, and metadata is left out by
`rewrite`, which decodes nothing. Whatever goes wrong with a file becomes a finding.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.exceptions import WorkerUnavailableError
from airflow_provider_360dialog.media.decoding.spool import SpooledSource, spool
from airflow_provider_360dialog.media.decoding.workshop import (
    JobCrashedError,
    JobFailedError,
    JobHungError,
    JobTooLargeError,
    WorkerMissingError,
)
from airflow_provider_360dialog.media.judge import examine
from airflow_provider_360dialog.media.names import safe_name
from airflow_provider_360dialog.media.pictures import Picture
from airflow_provider_360dialog.media.preparation.fitting import TooLargeError
from airflow_provider_360dialog.media.preparation.jpeg_quality import jpeg_quality
from airflow_provider_360dialog.media.preparation.recipes import CHANGES, recipe_for
from airflow_provider_360dialog.media.preparation.rewrite import rewrite
from airflow_provider_360dialog.media.problems import error
from airflow_provider_360dialog.ports import Change, Receipt, Shape

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_360dialog.media.decoding.workshop import Workshop
    from airflow_provider_360dialog.media.judge import Examined
    from airflow_provider_360dialog.media.preparation.recipes import Recipe
    from airflow_provider_360dialog.ports import Source, Verdict

LONGEST_S: Final = 120.0
"""A picture that takes longer is not prepared. One of 12 million pixels that has to shrink takes about two seconds."""


@dataclass(frozen=True)
class Prepared:
    """What is to be sent.

    Attributes:
        verdict: of it. Where something was changed it has a receipt; where nothing had to change it is that of the source.
        path: the prepared file, in the folder that was given; None where the source itself is to be sent, or refused.
    """

    verdict: Verdict
    path: Path | None = None


def prepare(
    source: Source,
    *,
    workshop: Workshop,
    folder: Path,
    mime_type: str | None = None,
    filename: str | None = None,
    kind: str | None = None,
) -> Prepared:
    """Prepare a file where that is of use.

    Args:
        source: the file. workshop: where pixels are drawn. folder: of this machine, for the result; belongs to the caller.
        mime_type, filename, kind: the caller's word for the file, as for `judge.inspect`.

    Returns:
        What is to be sent. The verdict is not ``ok`` where the file is unfit and cannot be mended, or its preparation failed.

    Raises:
        SourceChangedError: the file was changed meanwhile. SourceUnreadableError, StorageFailedError: it cannot be read.
        WorkerUnavailableError: no worker process could be started.
    """
    examined = examine(source, mime_type=mime_type, filename=filename, kind=kind)
    return follow(recipe_for(examined), examined, source, workshop=workshop, folder=folder)


def follow(recipe: Recipe | None, examined: Examined, source: Source, *, workshop: Workshop, folder: Path) -> Prepared:
    """The second half of `prepare`: do what a recipe says; None leaves the file as it is."""
    if recipe is None:
        return Prepared(examined.verdict)
    mark = secrets.token_hex(8)
    original, target = folder / f"{mark}.source", folder / f"{mark}.prepared"
    prepared = Prepared(examined.verdict)
    try:
        spool(source, original, sha256=examined.verdict.sha256)
        made = _draw(recipe, original, target, workshop) if recipe.redraw else _leave_out(recipe, original, target)
        if isinstance(made, str):
            prepared = Prepared(_unprepared(examined.verdict, made))
        elif made["changes"]:
            prepared = Prepared(_judged(made, recipe, examined, original, target), target)
        return prepared
    finally:
        original.unlink(missing_ok=True)
        if prepared.path is None:
            target.unlink(missing_ok=True)


def _draw(recipe: Recipe, original: Path, target: Path, workshop: Workshop) -> dict[str, Any] | str:
    """What was drawn; or in words, to go on behind a colon, why nothing was."""
    try:
        return workshop.run("redraw", limit_s=LONGEST_S, source=str(original), target=str(target), recipe=asdict(recipe))
    except JobFailedError as fault:
        if fault.kind == TooLargeError.__name__:
            return fault.words
        words = fault.kind if "/" in fault.words else fault.words or fault.kind  # a path of ours says nothing about the file
        return f"it cannot be decoded ({words})"
    except JobHungError:
        return f"it took longer than {LONGEST_S:.0f} s"
    except JobTooLargeError:
        return "it needs more memory than a worker process may have"
    except JobCrashedError:
        return "it made the decoder crash"
    except WorkerMissingError as fault:
        raise WorkerUnavailableError(reason=fault.reason) from fault


def _leave_out(recipe: Recipe, original: Path, target: Path) -> dict[str, Any] | str:
    try:
        with original.open("rb") as file, target.open("xb") as new:
            rewrite(file, new, mime_type=recipe.mime_type, orientation=recipe.orientation)
    except ValueError as fault:
        return f"its parts cannot be told apart ({fault})"
    changes = ["location_removed" if recipe.located else "metadata_removed", *["first_picture_kept"] * recipe.several]
    return {"changes": changes, "quality": None, "encodes": 0}


def _unprepared(verdict: Verdict, why: str) -> Verdict:
    remedy = "Open it yourself and save it again as a JPEG, or send it without preparation."
    problem = error("not_prepared", f"The picture could not be prepared: {why}.", remedy)
    return replace(verdict, problems=(problem, *verdict.problems))


def _judged(made: dict[str, Any], recipe: Recipe, examined: Examined, original: Path, target: Path) -> Verdict:
    before = examined.verdict
    name = safe_name(PurePosixPath(before.filename).stem, made.get("mime_type", recipe.mime_type))
    after = examine(SpooledSource(target, name=name), kind=recipe.use)
    receipt = Receipt(
        changes=tuple(Change(code, CHANGES[code]) for code in made["changes"]),
        before=_shape(examined, original, None),
        after=_shape(after, target, made["quality"]),
        recipe=recipe.id,
        encodes=made["encodes"],
    )
    return replace(after.verdict, receipt=receipt)


def _shape(examined: Examined, path: Path, quality: int | None) -> Shape:
    verdict, picture = examined.verdict, examined.look
    width, height = (picture.width, picture.height) if isinstance(picture, Picture) else (0, 0)
    if verdict.mime_type == "image/jpeg":
        with path.open("rb") as file:
            quality = jpeg_quality(file)
    return Shape(
        sha256=verdict.sha256,
        mime_type=verdict.mime_type or "",
        size_bytes=verdict.size_bytes,
        width=width,
        height=height,
        quality=quality,
    )
