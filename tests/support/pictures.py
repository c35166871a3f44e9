"""Pictures that Pillow makes, small, for tests of what is done to pictures."""

from __future__ import annotations

import io

from PIL import Image

BERLIN = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}
"""A position, as EXIF keeps it."""
_ORIENTATION, _GPS = 0x0112, 0x8825


def scene(width=96, height=64, mode="RGB", seed=0):
    """A picture that is no single colour, whose four corners differ."""
    image = Image.new("RGB", (width, height))
    image.putdata([((x * 5 + seed) % 256, (y * 7) % 256, (x * y + seed) % 256) for y in range(height) for x in range(width)])
    return image.convert(mode)


def noise(width, height):
    """A picture that cannot be compressed well."""
    return Image.merge("RGB", [Image.effect_noise((width, height), 80 + 10 * n) for n in range(3)])


def exif(*, orientation=None, position=None):
    """A block of EXIF."""
    tags = Image.Exif()
    if orientation is not None:
        tags[_ORIENTATION] = orientation
    if position is not None:
        tags[_GPS] = position
    return tags


def jpeg(image=None, **how):
    """The bytes of a JPEG; ``how``: for Pillow."""
    return _saved(scene() if image is None else image, "JPEG", **how)


def png(image=None, **how):
    """The bytes of a PNG."""
    return _saved(scene() if image is None else image, "PNG", **how)


def webp(image=None, **how):
    """The bytes of a WebP."""
    return _saved(scene(512, 512, "RGBA") if image is None else image, "WEBP", **how)


def turned(**how):
    """A JPEG that is stored turned."""
    return jpeg(exif=exif(orientation=6), **how)


def located(**how):
    """A JPEG that says where it was taken, and is fine otherwise."""
    return jpeg(exif=exif(position=BERLIN), **how)


def opened(content):
    """What Pillow finds in bytes."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def _saved(image, form, **how):
    target = io.BytesIO()
    image.save(target, form, **how)
    return target.getvalue()
