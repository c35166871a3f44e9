"""Which look is taken into a file of which type, and what its findings are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from airflow_provider_360dialog.media.film_rules import film_problems, voice_problems
from airflow_provider_360dialog.media.films import Film, walk_film
from airflow_provider_360dialog.media.paper_rules import paper_problems
from airflow_provider_360dialog.media.papers import OleFacts, PdfFacts, ZipFacts, read_paper
from airflow_provider_360dialog.media.picture_rules import picture_problems
from airflow_provider_360dialog.media.pictures import PICTURE_WALKS, Picture
from airflow_provider_360dialog.media.text import TextFacts, text_walk
from airflow_provider_360dialog.media.voices import Voice, walk_voice

if TYPE_CHECKING:
    from airflow_provider_360dialog.media.content import Sample
    from airflow_provider_360dialog.media.walks import Walk
    from airflow_provider_360dialog.ports import Problem

Look: TypeAlias = Picture | Film | Voice | PdfFacts | ZipFacts | OleFacts | TextFacts

_WALKS: Final[dict[str, Callable[[], Walk]]] = {
    **PICTURE_WALKS,
    **dict.fromkeys(("video/mp4", "audio/mp4", "video/3gpp", "audio/3gpp"), walk_film),
    **dict.fromkeys(("audio/ogg", "audio/aac", "audio/amr", "audio/mpeg"), walk_voice),
    "text/plain": text_walk,
}


def walk_for(mime_type: str | None) -> Walk | None:
    """The walk that looks into a file of this type while it passes by; None where none is needed."""
    walk = _WALKS.get(mime_type or "")
    return None if walk is None else walk()


def look_at(sample: Sample, mime_type: str | None, walked: Look | None) -> Look | None:
    """What is known of a file beside its type.

    Args:
        sample: its first and last bytes. mime_type: its true type. walked: what its walk has found.
    """
    return walked if walked is not None else read_paper(sample, mime_type)


def look_problems(look: Look | None, *, mime_type: str, kind: str | None, said_plain: bool) -> list[Problem]:
    """What is wrong inside of a file.

    Args:
        look: from `look_at`. mime_type: the file's true type. kind: for which it is meant, or None.
        said_plain: the caller calls it plain text.
    """
    if look is None:
        return []
    if isinstance(look, Picture):
        return picture_problems(look, mime_type=mime_type, kind=kind)
    if isinstance(look, Film):
        return film_problems(look, kind)
    if isinstance(look, Voice):
        return voice_problems(look, kind)
    return paper_problems(look, said_plain=said_plain)
