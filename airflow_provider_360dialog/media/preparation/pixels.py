"""The pixels of an opened picture as they are wanted: in 8-bit RGB or RGBA, turned, scaled. Nothing is encoded here."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, ImageChops, ImageCms, ImageMath

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def jpeg_pixels(file: Image.Image) -> tuple[Image.Image, bytes | None]:
    """The picture in RGB, and the colour profile that it still needs."""
    file.load()
    profile = file.info.get("icc_profile")
    if file.mode == "RGB":
        return file, _rgb_profile(profile)
    # Pillow takes every CMYK JPEG for one of Adobe's, in which 0 is full ink
    is_inverted = file.mode == "CMYK" and "adobe" not in file.info
    return _to_srgb(ImageChops.invert(file) if is_inverted else file, profile), None


def png_pixels(file: Image.Image, bits: int) -> tuple[Image.Image, bytes | None]:
    """The picture in RGB or RGBA, 8 bits each, and the colour profile that it still needs."""
    profile, key = file.info.get("icc_profile"), file.info.get("transparency")
    if file.mode in {"P", "PA"}:
        return file.convert("RGB" if file.mode == "P" and key is None else "RGBA"), _rgb_profile(profile)
    if file.mode in {"RGB", "RGBA"}:
        if key is not None and bits == 16:
            file.info["transparency"] = tuple(value >> 8 for value in key)  # Pillow has cut off the lower bits of the pixels
        return file if file.mode == "RGBA" or key is None else file.convert("RGBA"), _rgb_profile(profile)
    grey, alpha = _grey_pixels(file, bits, key)
    grey.info.clear()
    picture = _to_srgb(grey, profile)
    if alpha is not None:
        picture.putalpha(alpha)
    return picture, None


def webp_pixels(file: Image.Image) -> Image.Image:
    """In RGBA and sRGB: a profile would take room that a sticker has not."""
    profile, picture = _rgb_profile(file.info.get("icc_profile")), file.convert("RGBA")
    picture.info.clear()
    if profile is None:
        return picture
    converted = _to_srgb(picture.convert("RGB"), profile)
    converted.putalpha(picture.getchannel("A"))
    return converted


def is_transparent(picture: Image.Image) -> bool:
    """Whether a picture lets something shine through anywhere."""
    return picture.mode == "RGBA" and picture.getchannel("A").histogram()[255] < picture.width * picture.height


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """A picture as EXIF's orientation, 1 to 8, says that it is meant."""
    return picture if orientation == 1 else picture.transpose(_TURNS[orientation])


def scaled(picture: Image.Image, factor: float) -> Image.Image:
    """A picture with its sides multiplied; of transparent pixels the colours do not spread."""
    if factor == 1:
        return picture
    return picture.resize(scaled_size(picture, factor), Image.Resampling.LANCZOS, reducing_gap=3.0)


def scaled_size(picture: Image.Image, factor: float) -> tuple[int, int]:
    """Width and height that `scaled` gives."""
    return max(1, round(picture.width * factor)), max(1, round(picture.height * factor))


# --- colours ------------------------------------------------------------------------------------------------------


def _grey_pixels(file: Image.Image, bits: int, key: int | None) -> tuple[Image.Image, Image.Image | None]:
    """Brightness and transparency of a grey picture, 8 bits each."""
    if file.mode == "LA":
        return file.getchannel("L"), file.getchannel("A")
    is_wide = bits == 16
    raw = file.convert("I" if is_wide else "L")
    raw.info.clear()
    grey = raw.point(lambda value: value * (1 / 257) + 0.5).convert("L") if is_wide else raw
    if key is None:
        return grey, None
    if bits == 1:
        key = 255 if key else 0
    elif bits < 8:
        key = key * 255 // (2**bits - 1)  # Pillow spreads the pixels, but not the transparent one
    clear = raw if is_wide else raw.convert("I")
    alpha = ImageMath.lambda_eval(lambda image: (image["clear"] != key) * 255, clear=clear)
    return grey, alpha.convert("L")


def _rgb_profile(profile: bytes | None) -> bytes | None:
    """A profile, where it is meant for RGB; its header says so."""
    return profile if profile is not None and profile[16:20] == b"RGB " else None


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """A picture in RGB as its profile says, or as Pillow does it where that does not work."""
    if profile is not None:
        try:
            converted = ImageCms.profileToProfile(
                picture,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None
        if converted is not None:
            return converted
    return picture.convert("RGB")
