"""Judge a file by its headers first, and where these are good by decoding it: what the extra ``[media]`` adds to `judge`.

Native decoders touch the file in a worker process only. Where a library is missing, the verdict is that of the headers, and
`missing_tools` says so; nothing is refused because nobody could look.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.exceptions import StorageFailedError, WorkerUnavailableError
from airflow_provider_360dialog.media.decoding.decode import FILM_TYPES, PICTURE_TYPES
from airflow_provider_360dialog.media.decoding.spool import spool
from airflow_provider_360dialog.media.decoding.workshop import (
    JobCrashedError,
    JobFailedError,
    JobHungError,
    JobTooLargeError,
    WorkerMissingError,
)
from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.media.problems import error, warning

if TYPE_CHECKING:
    from airflow_provider_360dialog.media.decoding.workshop import Workshop
    from airflow_provider_360dialog.ports import Problem, Source, Verdict

LIMIT_S: Final = 4.0
"""How long decoding one file may take, so that with everything else no file takes 5 s."""

_LONGEST_THUMBNAIL_BYTES: Final = 2**20
_THUMBNAIL_MARKS: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_TOOLS: Final = {"Pillow": ("PIL", "pictures"), "PyAV": ("av", "videos and sounds")}


@dataclass(frozen=True)
class Deep:
    """What came of a deep look.

    Attributes:
        verdict: of the headers, and of decoding where that was done.
        thumbnail: a small JPEG or PNG of a picture or a film; None where none was asked for, or none could be made.
    """

    verdict: Verdict
    thumbnail: bytes | None = None


def missing_tools() -> tuple[str, ...]:
    """Which of the libraries of ``[media]`` are not installed: ``Pillow``, ``PyAV``; empty where everything can be looked at."""
    return tuple(tool for tool, (module, _) in _TOOLS.items() if find_spec(module) is None)


def missing_words(tools: tuple[str, ...]) -> str:
    """What could not be looked at without these tools, and what helps; empty where none is missing."""
    if not tools:
        return ""
    verb = "is" if len(tools) == 1 else "are"
    return (
        f"{' and '.join(tools)} {verb} not installed, so {' and '.join(_TOOLS[tool][1] for tool in tools)} were judged by their "
        "headers and not decoded; what helps: pip install 'airflow-provider-360dialog[media]'"
    )


def not_looked_at(*, decode: bool = True) -> str | None:
    """What is not looked at here in any file, in one sentence; None where that is nothing.

    Args:
        decode: whether files are decoded at all, as far as that is possible.
    """
    if not decode:
        return "Only headers were read: what they do not tell, such as damaged pixels, was not looked at."
    return missing_words(missing_tools()) or None


def inspect_headers(
    source: Source, *, mime_type: str | None = None, filename: str | None = None, kind: str | None = None
) -> Deep:
    """`judge.inspect` in the form of `inspect_deeply`, for those who want nothing decoded."""
    return Deep(inspect(source, mime_type=mime_type, filename=filename, kind=kind))


def inspect_deeply(
    source: Source,
    *,
    workshop: Workshop,
    mime_type: str | None = None,
    filename: str | None = None,
    kind: str | None = None,
    thumbnail_px: int | None = None,
) -> Deep:
    """`judge.inspect`, and where that finds no error in a picture, a film or a sound, decode it.

    Args:
        source: the file; read once more where it is decoded.
        workshop: where decoding is done. thumbnail_px: longest side of the thumbnail that is wanted, or None.
        mime_type, filename, kind: as `judge.inspect` takes them.

    Raises:
        SourceChangedError: the file was changed meanwhile. SourceUnreadableError, StorageFailedError: it cannot be read.
        WorkerUnavailableError: no worker process could be started.
    """
    verdict = inspect(source, mime_type=mime_type, filename=filename, kind=kind)
    if not verdict.ok or not _can_decode(verdict.mime_type):
        return Deep(verdict)
    with _folder() as folder:
        path = folder / "media"
        spool(source, path, sha256=verdict.sha256)
        problems, thumbnail = _decode(path, verdict, workshop, thumbnail_px)
    together = sorted((*verdict.problems, *problems), key=lambda problem: problem.severity != "error")
    return Deep(replace(verdict, problems=tuple(together)), thumbnail)


@contextmanager
def _folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="dialog360-")
    except OSError as fault:
        raise StorageFailedError(uri="the folder for temporary files", reason=fault.strerror or str(fault)) from fault
    with folder as name:
        yield Path(name)


def _can_decode(mime_type: str | None) -> bool:
    tool = "Pillow" if mime_type in PICTURE_TYPES else "PyAV" if mime_type in FILM_TYPES else None
    return tool is not None and find_spec(_TOOLS[tool][0]) is not None


def _decode(path: Path, verdict: Verdict, workshop: Workshop, thumbnail_px: int | None) -> tuple[list[Problem], bytes | None]:
    mime_type = verdict.mime_type or ""
    try:
        found = workshop.run("decode", limit_s=LIMIT_S, path=str(path), mime_type=mime_type, thumbnail_px=thumbnail_px)
        return _flaw_problems(found, verdict), _thumbnail(found)
    except JobHungError:
        return [_not_decoded(f"that takes longer than {LIMIT_S:.0f} s", mime_type)], None
    except JobTooLargeError:
        return [_not_decoded("that needs more memory than a worker process may have", mime_type)], None
    except JobFailedError as fault:
        return [_not_decoded(f"the decoder cannot be used ({fault.kind}: {fault.words})", mime_type)], None
    except (
        JobCrashedError,
        TypeError,
        KeyError,
        ValueError,
    ):  # an answer of another form is that of a worker that was taken over
        return [_crashed()], None
    except WorkerMissingError as fault:
        raise WorkerUnavailableError(reason=fault.reason) from fault


def _flaw_problems(found: dict[str, Any], verdict: Verdict) -> list[Problem]:
    mime_type = verdict.mime_type or ""
    problems = [_FLAWS[flaw["code"]](bool(flaw["whole"]), _shown(flaw["words"]), mime_type) for flaw in found["flaws"]]
    if verdict.kind == "document":
        return [replace(problem, severity="warning") for problem in problems]
    return [_of_film(problem) for problem in problems] if mime_type.startswith("video/") else problems


def _of_film(problem: Problem) -> Problem:
    """A film without its sound is still a film."""
    return replace(problem, severity="warning") if problem.code == "audio_corrupt" else problem


def _thumbnail(found: dict[str, Any]) -> bytes | None:
    text = found["thumbnail"]
    if text is None:
        return None
    thumbnail = base64.b64decode(text, validate=True)
    if not thumbnail.startswith(_THUMBNAIL_MARKS) or len(thumbnail) > _LONGEST_THUMBNAIL_BYTES:
        raise ValueError("not a thumbnail")
    return thumbnail


# --- wording ------------------------------------------------------------------------------------------------------

_SAVE_AGAIN: Final = "Copy or download it again, or save it again from the program that made it."
_GET_AGAIN: Final = "Copy or download it again, or export it again from the program that made it."
_MENDED_FILM: Final = (
    "-map 0:v:0 -map 0:a:0? -c:v libx264 -profile:v main -bf 0 -pix_fmt yuv420p -c:a aac -movflags +faststart out.mp4"
)
_MENDED_SOUNDS: Final = {
    "audio/aac": ("in.aac", "-c:a aac out.aac"),
    "audio/amr": ("in.amr", "-c:a aac -movflags +faststart out.m4a"),
    "audio/mp4": ("in.m4a", "-c:a aac -movflags +faststart out.m4a"),
    "audio/mpeg": ("in.mp3", "-c:a libmp3lame out.mp3"),
    "audio/ogg": ("in.ogg", "-ac 1 -c:a libopus -b:a 32k out.ogg"),
}


def _image_corrupt(whole: bool, words: str, _: str) -> Problem:
    if whole:
        return error("image_corrupt", f"The picture is damaged: it cannot be decoded{words}.", _SAVE_AGAIN)
    message = "A part of the picture is damaged: phones show grey or wrong colours there."
    return replace(error("image_corrupt", message, _SAVE_AGAIN), severity="warning")


def _video_corrupt(whole: bool, words: str, _: str) -> Problem:
    if whole:
        return error("video_corrupt", f"The video is damaged: its pictures cannot be decoded{words}.", _GET_AGAIN)
    message = f"A part of the video is damaged: some of its pictures cannot be decoded{words}."
    return replace(error("video_corrupt", message, _play_over("in.mp4", _MENDED_FILM)), severity="warning")


def _audio_corrupt(whole: bool, words: str, mime_type: str) -> Problem:
    name, arguments = _MENDED_SOUNDS.get(mime_type, ("in.mp4", _MENDED_FILM))
    if whole:
        return error("audio_corrupt", f"The sound is damaged: it cannot be decoded{words}.", _GET_AGAIN)
    message = f"A part of the sound is damaged: it cannot be decoded{words}."
    return replace(error("audio_corrupt", message, _play_over(name, arguments)), severity="warning")


_FLAWS: Final = {"image_corrupt": _image_corrupt, "video_corrupt": _video_corrupt, "audio_corrupt": _audio_corrupt}


def _play_over(name: str, arguments: str) -> str:
    mapped = arguments if "-map" in arguments else f"-map 0:a:0 {arguments}"
    return f"Get it again; or, to play over the damage: ffmpeg -err_detect ignore_err -i {name} {mapped}"


def _crashed() -> Problem:
    message = "The file makes its decoder crash: it is badly damaged, or made to attack whoever opens it."
    return error("decoder_crashed", message, "Find out where it comes from; if it is yours, save it again from what made it.")


def _not_decoded(why: str, mime_type: str) -> Problem:
    if mime_type in PICTURE_TYPES:
        remedy = "Open it yourself to see that it is whole, or save it with fewer pixels."
    else:
        remedy = "Play it yourself to see that it is whole, or export it with fewer pixels."
    return warning("not_decoded", f"The file was judged by its headers and not decoded: {why}.", remedy)


def _shown(words: str) -> str:
    """What a library says of a file, short and printable, to be put behind a sentence."""
    line = "".join(char if char.isprintable() else " " for char in words[:100]).strip(" .")
    return f" ({line})" if line else ""
