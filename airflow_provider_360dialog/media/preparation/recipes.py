"""From the facts of a picture to what a preparation has to do to it: pure, nothing is read or drawn here.

Prepared are pictures that WhatsApp would refuse, turn, or spoil, and those that tell where they were taken; everything else is
left as it is. 360dialog's page says that a PNG arrives as a JPEG: here it becomes one with more care. The other rules are those
of `picture_rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from airflow_provider_360dialog.media.limits import BY_MIME_TYPE
from airflow_provider_360dialog.media.picture_rules import STICKER_SIDE
from airflow_provider_360dialog.media.pictures import Picture

if TYPE_CHECKING:
    from airflow_provider_360dialog.media.judge import Examined

RECIPES: Final = "p1"
"""Raised whenever the same picture would be prepared into other bytes on purpose: then everything is prepared anew."""

MENDED: Final = frozenset({"image_not_8_bit", "image_not_rgb", "too_large", "sticker_too_large"})
"""Errors that a preparation can mend. A file with any other is left as it is, and refused for all of them."""

Use: TypeAlias = Literal["image", "sticker", "document"]

CHANGES: Final[dict[str, str]] = {
    "turned": "Its pixels were turned as the EXIF orientation says.",
    "to_rgb": "Its colours were converted to RGB.",
    "to_8_bit": "It was reduced to 8 bits per channel.",
    "to_jpeg": "The PNG became a JPEG, for it has no transparency and WhatsApp would make a worse one.",
    "location_removed": "Metadata that holds a position was removed.",
    "metadata_removed": "Metadata was left out; the colour profile is kept.",
    "first_picture_kept": "Of several pictures in the file the first was kept, which is the one that is shown.",
    "quality_lowered": "It was compressed more, to fit the limit.",
    "scaled_down": "It has fewer pixels, to fit the limit.",
    "fitted_to_512": "It was fitted into 512 x 512 pixels, with transparent room around it.",
}
"""What a preparation can do: code -> what was done, one sentence."""


@dataclass(frozen=True)
class Recipe:
    """What has to be done to one picture.

    Attributes:
        mime_type: of the source. use: what it is prepared for.
        redraw: its pixels have to be decoded; else bytes are only left out.
        orientation: EXIF's, 1 to 8. located: metadata holds a position. several: further pictures hang behind the first.
        max_bytes: what the result may have at most; 0 for as many as it has.
    """

    mime_type: str
    use: Use
    redraw: bool
    orientation: int
    located: bool
    several: bool
    max_bytes: int

    @property
    def id(self) -> str:
        """The rules that it follows: the same source by the same rules need not be prepared again."""
        return f"{RECIPES}-{self.use}"


def recipe_for(examined: Examined) -> Recipe | None:
    """What has to be done to a file; None where it is no picture, is as it should be, or cannot be mended."""
    verdict, picture = examined.verdict, examined.look
    if not isinstance(picture, Picture) or picture.flaw is not None or verdict.mime_type not in BY_MIME_TYPE:
        return None
    if any(problem.code not in MENDED for problem in verdict.errors):
        return None
    _, max_bytes = BY_MIME_TYPE[verdict.mime_type].bounds(animated=picture.animated)
    is_too_large = verdict.size_bytes > max_bytes
    use: Use
    if verdict.kind == "document":
        redraw, use = False, "document"  # as it is, but for a position
    elif verdict.mime_type == "image/webp":
        if picture.animated and is_too_large:
            return None
        is_512 = (picture.width, picture.height) == (STICKER_SIDE, STICKER_SIDE)
        redraw, use = not picture.animated and (is_too_large or picture.orientation != 1 or not is_512), "sticker"
    else:
        is_plain = picture.colours == "rgb" and picture.bits == 8 and verdict.mime_type == "image/jpeg"
        redraw, use = not is_plain or is_too_large or picture.orientation != 1, "image"
    several = picture.several and use == "image"
    if not (redraw or picture.located or several):
        return None
    return Recipe(
        mime_type=verdict.mime_type,
        use=use,
        redraw=redraw,
        orientation=picture.orientation,
        located=picture.located,
        several=several,
        max_bytes=max_bytes if redraw else 0,
    )
