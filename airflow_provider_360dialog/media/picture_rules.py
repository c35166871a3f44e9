"""From the facts of a picture to its findings: pure functions, one per question, every finding at once.

Sources: 360dialog and Meta document 8 bits per channel and RGB or RGBA for images, 512 x 512 pixels for stickers; that a PNG
arrives as JPEG stands in 360dialog's page on images. What concerns only how a picture is shown does not concern a document.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.media.problems import error, warning

if TYPE_CHECKING:
    from airflow_provider_360dialog.media.pictures import Picture
    from airflow_provider_360dialog.ports import Problem

MOST_PIXELS: Final = 200_000_000
"""Above it a picture is refused before anybody decodes it: it would need 600 MB. The largest phone cameras make 200 million."""
LONGEST_SIDE: Final = 65_500
"""Pixels. libjpeg's own limit, and so that of most phones."""
STICKER_SIDE: Final = 512

_NAMES: Final = {"grey": "grey only", "palette": "in the colours of a palette", "cmyk": "in the colours of a printer (CMYK)"}
_SAVE_AGAIN: Final = "Copy or download it again, or save it again from the program that made it."


def picture_problems(picture: Picture, *, mime_type: str, kind: str | None = None) -> list[Problem]:
    """Find what is wrong with a picture.

    Args:
        picture: its facts; what was not found (0, empty) is no finding.
        mime_type: its true type: ``image/jpeg``, ``image/png`` or ``image/webp``.
        kind: the kind of message that it is meant for. None takes the kind of the type: a sticker for WebP, else an image.

    Returns:
        All findings, in no order of weight. For ``document`` only whether it is broken, and as a warning: it is sent as it is.
    """
    if kind == "document":
        return [replace(problem, severity="warning") for problem in _flaw_problems(picture)]
    questions = _OF_STICKERS if mime_type == "image/webp" else _OF_IMAGES
    problems = [problem for question in questions for problem in question(picture)]
    return problems + (_png_problems(picture) if mime_type == "image/png" else [])


# --- the questions ------------------------------------------------------------------------------------------------


def _flaw_problems(picture: Picture) -> list[Problem]:
    if picture.flaw is None:
        return []
    if picture.flaw.code == "image_truncated":
        return [error("image_truncated", f"The picture is cut off: it {picture.flaw.words}.", _SAVE_AGAIN)]
    return [error("image_corrupt", f"The picture is damaged: it {picture.flaw.words}.", _SAVE_AGAIN)]


def _size_problems(picture: Picture) -> list[Problem]:
    pixels, side = picture.width * picture.height, max(picture.width, picture.height)
    if pixels <= MOST_PIXELS and side <= LONGEST_SIDE:
        return []
    message = (
        f"The picture says that it has {picture.width:,} x {picture.height:,} pixels; more than {MOST_PIXELS:,} in all or "
        f"{LONGEST_SIDE:,} on a side are not decoded."
    )
    return [error("image_too_many_pixels", message, "Save it smaller: phones show no more than some 4,000 pixels on a side.")]


def _depth_problems(picture: Picture) -> list[Problem]:
    if picture.bits in {0, 8}:
        return []
    plural = "" if picture.bits == 1 else "s"
    message = f"The picture has {picture.bits} bit{plural} per channel; WhatsApp takes 8."
    return [error("image_not_8_bit", message, "Save it with 8 bits per channel, or send it as a document.")]


def _colour_problems(picture: Picture) -> list[Problem]:
    name = _NAMES.get(picture.colours)
    if name is None:
        return []
    message = f"The picture is {name}; WhatsApp takes RGB and RGBA."
    return [error("image_not_rgb", message, "Save it as RGB, or send it as a document.")]


def _turn_problems(picture: Picture) -> list[Problem]:
    if picture.orientation == 1:
        return []
    message = f"The picture is stored turned (EXIF orientation {picture.orientation}), and some viewers show it like that."
    return [warning("image_rotated", message, "Turn its pixels and save it with orientation 1; WhatsApp itself turns it.")]


def _several_problems(picture: Picture) -> list[Problem]:
    if not picture.several:
        return []
    message = f"The file holds {picture.pictures:,} pictures (MPO); only the first is shown."
    return [warning("image_several", message, "Save the one that is meant as a JPEG of its own.")]


def _png_problems(picture: Picture) -> list[Problem]:
    """Questions that only a PNG raises: an animated one has no kind to be sent as, for only stickers move."""
    lost = ", without its transparency" if picture.transparent else ""
    problems = [
        warning(
            "png_reencoded",
            f"WhatsApp sends a PNG on as a JPEG of its own making{lost}: thin lines and small text get blurred.",
            "Send a JPEG of high quality, or send the PNG as a document.",
        )
    ]
    if picture.animated:
        message = f"The picture is an animated PNG of {picture.frames:,} frames; only stickers may move."
        problems.append(error("image_animated", message, "Save one frame, or send it as a video or an animated sticker."))
    return problems


def _sticker_problems(picture: Picture) -> list[Problem]:
    problems = []
    width, height = picture.width, picture.height
    if width and (width, height) != (STICKER_SIDE, STICKER_SIDE):
        message = f"The sticker has {width:,} x {height:,} pixels; WhatsApp expects {STICKER_SIDE} x {STICKER_SIDE}."
        problems.append(warning("sticker_not_512", message, "Save it with 512 x 512 pixels, and some empty room around it."))
    if width and not picture.transparent:
        message = "The sticker has no transparency, so it is shown as a square."
        problems.append(warning("sticker_not_transparent", message, "Make its background transparent."))
    return problems


_OF_IMAGES = (_flaw_problems, _size_problems, _depth_problems, _colour_problems, _turn_problems, _several_problems)
_OF_STICKERS = (_flaw_problems, _size_problems, _sticker_problems)

# --- wording ------------------------------------------------------------------------------------------------------
