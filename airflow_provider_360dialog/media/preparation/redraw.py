"""Draw a picture anew with Pillow: turned, in 8-bit RGB, without metadata, small enough. Runs in a worker process.

Deliberately knows neither what WhatsApp takes nor whether a picture has to be drawn: the recipe says it. The same source gives
the same bytes with the same versions of Pillow and its libraries.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from airflow_provider_360dialog.media.metadata import EXIF, ORIENTATION_TAG, read_tags
from airflow_provider_360dialog.media.picture_rules import MOST_PIXELS, STICKER_SIDE
from airflow_provider_360dialog.media.preparation.fitting import Dial, Fitting, TooLargeError
from airflow_provider_360dialog.media.preparation.jpeg_quality import quality_of
from airflow_provider_360dialog.media.preparation.pixels import (
    is_transparent,
    jpeg_pixels,
    png_pixels,
    scaled,
    scaled_size,
    turned,
    webp_pixels,
)
from airflow_provider_360dialog.media.preparation.recipes import CHANGES
from airflow_provider_360dialog.media.preparation.rewrite import rewrite

MOST_ENCODES: Final = 5
HIGHEST_QUALITY: Final = 95
LOWEST_QUALITY: Final = 80
"""Of a JPEG: below it, fewer pixels look better than more loss."""
STICKER_QUALITY: Final = 90
LOWEST_STICKER_QUALITY: Final = 20
HALVED_ABOVE_PIXELS: Final = 50_000_000
"""A JPEG that has to shrink and has more is decoded at half its size: at full size it would need 4 bytes a pixel, twice."""

_KEPT_BLOCKS: Final = 8  # of 16 MiB, kept by Pillow from picture to picture: asking for memory takes a third of the time
_SWAPPED: Final = frozenset({5, 6, 7, 8})  # orientations in which width and height change places


def redraw(*, source: str, target: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Draw a picture anew.

    Args:
        source: path of the picture. target: path for the result; not written where nothing had to change.
        recipe: a `recipes.Recipe` as a dict, whose ``redraw`` is true.

    Returns:
        ``changes`` (codes of `recipes.CHANGES`; empty where nothing had to change); ``mime_type``, ``width`` and ``height`` of
        the result; ``quality``, with which it was encoded (None for a PNG); ``encodes``: how often pixels were encoded.

    Raises:
        TooLargeError: nothing that was tried fits.
        Exception: whatever Pillow raises for a damaged picture.
    """
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]  # documented, in "Block allocator"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        drawn = _DRAWERS[recipe["mime_type"]](Path(source), recipe)
    if drawn.data is not None:
        Path(target).write_bytes(drawn.data)
    return {
        "changes": [code for code in CHANGES if code in drawn.changes],
        "mime_type": drawn.mime_type,
        "width": drawn.size[0],
        "height": drawn.size[1],
        "quality": drawn.quality,
        "encodes": drawn.encodes,
    }


class _Drawn(NamedTuple):
    """What came of a picture. ``data`` is None where nothing had to change; ``changes``: codes in no order."""

    data: bytes | None
    mime_type: str
    size: tuple[int, int]
    quality: int | None
    encodes: int
    changes: set[str]


class _Coding(NamedTuple):
    """How a JPEG is encoded: ``tables`` in place of those of the quality; ``subsampling`` as Pillow counts (0: none)."""

    quality: int
    tables: list[list[int]] | None
    subsampling: int

    def at(self, quality: int) -> _Coding:
        """The same with another quality; with the own tables where it is the own quality."""
        return self if quality == self.quality else _Coding(quality, None, self.subsampling)


_BEST: Final = _Coding(HIGHEST_QUALITY, None, 0)


# --- JPEG ---------------------------------------------------------------------------------------------------------


def _draw_jpeg(source: Path, recipe: dict[str, Any]) -> _Drawn:
    max_bytes, is_too_large = recipe["max_bytes"], _is_too_large(source, recipe)
    with _open_jpeg(source) as file:
        changes, full_size = _first_changes(file, recipe), file.size
        coding = _own_coding(file, recipe["orientation"])
        is_halved = is_too_large and math.prod(full_size) > HALVED_ABOVE_PIXELS
        if is_halved:
            file.draft(None, (max(1, file.width // 2), max(1, file.height // 2)))
        picture, profile = jpeg_pixels(file)
        if file.mode != "RGB":
            changes.add("to_rgb")
        known = None
        if is_too_large and coding.tables:
            known = (coding.quality, _smaller_bytes(source.stat().st_size, file) * (0.35 if is_halved else 1))
    picture = turned(picture, recipe["orientation"])
    del file  # and its pixels, which may be as large once more
    if is_halved:
        changes.add("scaled_down")
    drawn = _fit_jpeg(picture, coding, profile, max_bytes=max_bytes, known=known, changes=changes)
    if is_too_large and not drawn.changes & {"scaled_down", "quality_lowered"}:
        drawn.changes.add("quality_lowered")  # with the same tables, but with a coding that is a little smaller
    return drawn


def _open_jpeg(source: Path) -> JpegImagePlugin.JpegImageFile:
    """By the plain reader: the first of several pictures is wanted, and lists of them (MPO) are often broken."""
    try:
        file = JpegImagePlugin.JpegImageFile(source)
    except SyntaxError as fault:
        raise UnidentifiedImageError(str(fault)) from fault
    _refuse_bomb(file)
    return file


def _own_coding(file: JpegImagePlugin.JpegImageFile, orientation: int) -> _Coding:
    """The tables and the subsampling of a JPEG, turned with its pixels, so that hardly anything is lost once more."""
    tables = [file.quantization.get(layer[3]) for layer in file.layer]
    if file.mode not in {"RGB", "L"} or None in tables:
        return _BEST
    own = [[min(step, 255) for step in table] for table in tables if table is not None]
    while len(own) > 1 and own[-1] == own[-2]:
        own.pop()  # the last one is for all further components
    if orientation in _SWAPPED:
        own = [[table[8 * (i % 8) + i // 8] for i in range(64)] for table in own]
    factors = [tuple(layer[1:3]) for layer in file.layer]
    across, down = factors[0]
    if orientation in _SWAPPED:
        across, down = down, across
    is_usual = len(factors) == 3 and factors[1:] == [(1, 1), (1, 1)]
    # grey has no colours to blur, so they may take as little room as there is
    subsampling = 2 if len(factors) == 1 else {(2, 1): 1, (2, 2): 2}.get((across, down), 0) if is_usual else 0
    return _Coding(quality_of(own[0]), own, subsampling)


def _fit_jpeg(
    picture: Image.Image,
    coding: _Coding,
    profile: bytes | None,
    *,
    max_bytes: int,
    known: tuple[int, float] | None,
    changes: set[str],
) -> _Drawn:
    """Encode a picture with its coding, and where that is too large with less quality, and then with fewer pixels."""
    fitting = Fitting(max_bytes, MOST_ENCODES)
    if known is None:
        data = fitting.encode(lambda _: _encode_jpeg(picture, coding, profile, small=False), coding.quality)
        if fitting.fits(data):
            return _Drawn(data, "image/jpeg", picture.size, coding.quality, fitting.encodes, changes)
        known = coding.quality, _smaller_bytes(len(data), None)
    highest = min(coding.quality, HIGHEST_QUALITY)
    lowest = min(highest, LOWEST_QUALITY)
    dial = Dial(range(lowest, highest + 1), _weigh_quality, slope=0.65, patience=2)
    fit = fitting.search(lambda quality: _encode_jpeg(picture, coding.at(quality), profile), dial, known=known)
    if fit is not None:
        if fit.setting < coding.quality:
            changes.add("quality_lowered")
        return _Drawn(fit.data, "image/jpeg", picture.size, fit.setting, fitting.encodes, changes)
    low = coding.at(lowest)
    if lowest < coding.quality:
        changes.add("quality_lowered")
    data, size = _scale_down(
        picture, lambda smaller: _encode_jpeg(smaller, low, profile), fitting, known_bytes=fitting.smallest_bytes
    )
    return _Drawn(data, "image/jpeg", size, lowest, fitting.encodes, changes | {"scaled_down"})


def _encode_jpeg(picture: Image.Image, coding: _Coding, profile: bytes | None, *, small: bool = True) -> bytes:
    """Progressive where it has to be small: 7 % smaller than with optimised codes, for twice the time."""
    tables: dict[str, Any] = {"quality": coding.quality} if coding.tables is None else {"qtables": coding.tables}
    more = {"progressive": True} if small else {}
    return _encode(picture, "JPEG", subsampling=coding.subsampling, icc_profile=profile, **tables, **more)


def _smaller_bytes(size_bytes: int, file: Image.Image | None) -> float:
    """What a JPEG of so many bytes would have as a progressive one."""
    return size_bytes * (1.0 if file is not None and file.info.get("progressive") else 0.92)


def _weigh_quality(quality: int) -> float:
    """The size of a JPEG follows the size of its steps."""
    return -math.log(max(5000 / quality if quality < 50 else 200 - 2 * quality, 1))


# --- PNG ----------------------------------------------------------------------------------------------------------

_GREY, _PALETTE, _GREY_ALPHA = 0, 3, 4  # colour types of the header
_PACKED: Final = 1.5  # times the limit: above it, to pack a PNG tighter is not worth an encode


def _draw_png(source: Path, recipe: dict[str, Any]) -> _Drawn:
    with Image.open(source, formats=["PNG"]) as file:
        _refuse_bomb(file)
        file.load()
        with source.open("rb") as head:
            bits, colour_type = head.read(26)[24:]  # which Pillow does not tell
        changes = _first_changes(file, recipe)
        picture, profile = png_pixels(file, bits)
    if bits == 16:
        changes.add("to_8_bit")
    if colour_type in {_GREY, _PALETTE, _GREY_ALPHA}:
        changes.add("to_rgb")
    picture = turned(picture, recipe["orientation"])
    del file  # and its pixels, which may be as large once more
    if is_transparent(picture):
        return _draw_clear_png(source, picture, profile, recipe=recipe, changes=changes)
    changes.add("to_jpeg")
    picture = picture.convert("RGB") if picture.mode == "RGBA" else picture
    return _fit_jpeg(picture, _BEST, profile, max_bytes=recipe["max_bytes"], known=None, changes=changes)


def _draw_clear_png(
    source: Path,
    picture: Image.Image,
    profile: bytes | None,
    *,
    recipe: dict[str, Any],
    changes: set[str],
) -> _Drawn:
    """A PNG that has to stay one, for it is transparent somewhere."""
    is_too_large = _is_too_large(source, recipe)
    if not is_too_large and changes <= {"location_removed", "metadata_removed"}:
        data = _without_metadata(source) if "location_removed" in changes else None
        return _Drawn(data, "image/png", picture.size, None, 0, changes if data else set())
    fitting = Fitting(recipe["max_bytes"], MOST_ENCODES)
    size_bytes = source.stat().st_size
    if not is_too_large or size_bytes < _PACKED * recipe["max_bytes"]:
        data = fitting.encode(lambda _: _encode_png(picture, profile, small=is_too_large), _FULL)
        if fitting.fits(data):
            packed = {"quality_lowered"} if is_too_large else set()
            return _Drawn(data, "image/png", picture.size, None, fitting.encodes, changes | packed)
        size_bytes = len(data)
    data, size = _scale_down(picture, lambda smaller: _encode_png(smaller, profile), fitting, known_bytes=size_bytes)
    return _Drawn(data, "image/png", size, None, fitting.encodes, changes | {"scaled_down"})


def _without_metadata(source: Path) -> bytes:
    with source.open("rb") as file:
        rewrite(file, bare := io.BytesIO(), mime_type="image/png")
    return bare.getvalue()


def _encode_png(picture: Image.Image, profile: bytes | None, *, small: bool = True) -> bytes:
    return _encode(picture, "PNG", optimize=small, icc_profile=profile)


# --- WebP ---------------------------------------------------------------------------------------------------------


def _draw_webp(source: Path, recipe: dict[str, Any]) -> _Drawn:
    with Image.open(source, formats=["WEBP"]) as file:
        _refuse_bomb(file)
        file.load()
        changes = _first_changes(file, recipe)
        picture = turned(webp_pixels(file), recipe["orientation"])
    if picture.size != (STICKER_SIDE, STICKER_SIDE):
        changes.add("fitted_to_512")
    picture = scaled(picture, min(1, STICKER_SIDE / max(picture.size)))
    fitting = Fitting(recipe["max_bytes"], MOST_ENCODES)
    dial = Dial(range(LOWEST_STICKER_QUALITY, STICKER_QUALITY + 1), float, slope=0.03, patience=2)
    fit = fitting.search(lambda quality: _encode_webp(picture, quality), dial)
    quality = LOWEST_STICKER_QUALITY if fit is None else fit.setting
    if quality < STICKER_QUALITY or _is_too_large(source, recipe):
        changes.add("quality_lowered")
    if fit is not None:
        data = fit.data
    else:
        changes.add("scaled_down")
        known_bytes = fitting.smallest_bytes
        data, _ = _scale_down(picture, lambda smaller: _encode_webp(smaller, quality), fitting, known_bytes=known_bytes)
    return _Drawn(data, "image/webp", (STICKER_SIDE, STICKER_SIDE), quality, fitting.encodes, changes)


def _encode_webp(picture: Image.Image, quality: int) -> bytes:
    """In the middle of a sticker's canvas. Method 6 would take fifteen times as long, for a few per cent."""
    canvas = Image.new("RGBA", (STICKER_SIDE, STICKER_SIDE))
    canvas.paste(picture, ((STICKER_SIDE - picture.width) // 2, (STICKER_SIDE - picture.height) // 2))
    alpha_quality = 100 if quality == STICKER_QUALITY else min(100, quality + 30)
    return _encode(canvas, "WEBP", quality=quality, alpha_quality=alpha_quality, method=4)


# --- what the formats share ---------------------------------------------------------------------------------------

_DRAWERS: Final = {"image/jpeg": _draw_jpeg, "image/png": _draw_png, "image/webp": _draw_webp}
_FULL: Final = 1000  # settings of the scale: thousandths of a side
_SCALE: Final = Dial(range(1, _FULL), lambda setting: 2 * math.log(setting), slope=0.8, patience=MOST_ENCODES)


def _is_too_large(source: Path, recipe: dict[str, Any]) -> bool:
    return bool(0 < recipe["max_bytes"] < source.stat().st_size)


def _refuse_bomb(file: Image.Image) -> None:
    if file.width * file.height > MOST_PIXELS:
        raise Image.DecompressionBombError(f"it has {file.width:,} x {file.height:,} pixels")


def _first_changes(file: Image.Image, recipe: dict[str, Any]) -> set[str]:
    """What is said of turn, metadata and further pictures. EXIF that says the orientation only is not worth a word."""
    exif = file.info.get("exif", b"").removeprefix(EXIF)
    has_exif = bool(read_tags(exif).keys() - {ORIENTATION_TAG})
    has_texts = bool(getattr(file, "text", None)) or any(file.info.get(name) for name in ("xmp", "photoshop", "comment"))
    changes = {"first_picture_kept"} if recipe["several"] else set()
    if recipe["orientation"] != 1:
        changes.add("turned")
    if recipe["located"]:
        changes.add("location_removed")
    elif has_exif or has_texts:
        changes.add("metadata_removed")
    return changes


def _scale_down(
    picture: Image.Image, encode: Callable[[Image.Image], bytes], fitting: Fitting, *, known_bytes: int
) -> tuple[bytes, tuple[int, int]]:
    """The largest scale whose result fits, and its size in pixels; ``known_bytes``: what the full size makes."""
    known = (_FULL, known_bytes)
    fit = fitting.search(lambda setting: encode(scaled(picture, setting / _FULL)), _SCALE, known=known)
    if fit is None:
        raise TooLargeError(fitting.max_bytes, fitting.encodes)
    return fit.data, scaled_size(picture, fit.setting / _FULL)


def _encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    """Encode; of what the picture brings along nothing is written but what the options say."""
    picture.info = {}
    before = ImageFile.MAXBLOCK
    if options.get("progressive"):  # of noise, Pillow's guess at the size of the whole result is too small
        ImageFile.MAXBLOCK = max(before, 4 * picture.width * picture.height)
    try:
        picture.save(out := io.BytesIO(), form, **options)
    finally:
        ImageFile.MAXBLOCK = before
    return out.getvalue()
