"""Stickers: WebP by Pillow, still and moving, and put together by hand where a flag lies."""

from __future__ import annotations

import functools
import random
import struct

from PIL import Image, ImageDraw

from tests.media.labelled.labels import Labelled, cut, damaged
from tests.media.labelled.pictures import drawn, saved

_ANIMATION, _ALPHA = 0x02, 0x10


@functools.cache
def _face(side: int = 512, shift: int = 0) -> Image.Image:
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse([side // 10, side // 10, side * 9 // 10, side * 9 // 10], fill=(255, 210, 60, 255))
    draw.rectangle([side // 3, side // 3 + shift, side // 3 + 20, side // 3 + 60 + shift], fill=(60, 40, 0, 255))
    return image


@functools.cache
def _still(side: int = 512, *, lossless: bool = True) -> bytes:
    return saved(_face(side), "WEBP", lossless=lossless, quality=50, method=0)


@functools.cache
def _moving() -> bytes:
    rest = [_face(shift=shift) for shift in (20, 40)]
    return saved(_face(), "WEBP", save_all=True, append_images=rest, duration=200, loop=0, lossless=True, quality=0, method=0)


def _riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _extended(flags: int, *chunks: bytes) -> bytes:
    side = (511).to_bytes(3, "little")
    return _riff(_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + side + side) + b"".join(chunks))


def _one_frame() -> bytes:
    """An animation of one frame, as a converter makes it of a still picture; no encoder here writes it."""
    side = (511).to_bytes(3, "little")
    frame = _chunk(b"ANMF", bytes(6) + side + side + b"\x64\0\0\0" + _still()[12:])
    return _extended(_ANIMATION | _ALPHA, _chunk(b"ANIM", bytes(6)), frame)


def _flag_only() -> bytes:
    return _extended(_ANIMATION | _ALPHA, _still()[12:])


def padded(data: bytes, size_bytes: int) -> bytes:
    """The same WebP with exactly so many bytes: a chunk behind that nobody knows, and where the size is odd a byte behind all."""
    body = _extended(_ALPHA, data[12:])[12:] if data[12:16] != b"VP8X" else data[12:]
    missing = size_bytes // 2 * 2 - len(body) - 12 - 8
    return _riff(body + _chunk(b"JUNK", bytes(missing))) + bytes(size_bytes % 2)


def _sized(size_bytes: int) -> bytes:
    return padded(_still(), size_bytes)


def _unfilled() -> bytes:
    return _riff(_extended(_ALPHA, _still()[12:])[12:] + _chunk(b"JUNK", bytes(99))[:-1])


def _noise(side: int, seed: int) -> Image.Image:
    return Image.frombytes("RGBA", (side, side), random.Random(seed).randbytes(side * side * 4))


@functools.cache
def _noisy(side: int, frames: int) -> bytes:
    """Noise that no encoder makes small."""
    rest = [_noise(side, seed) for seed in range(1, frames)]
    options = {"save_all": True, "append_images": rest, "duration": 100} if rest else {}
    return saved(_noise(side, 0), "WEBP", lossless=True, quality=0, method=0, exact=True, **options)


def _opaque(side: int = 512) -> bytes:
    return saved(drawn("RGB", (side, side)), "WEBP", quality=30, method=0)


FILES = [
    Labelled("lossless sticker", "smile.webp", _still),
    Labelled("lossy sticker", "smile.webp", lambda: _still(lossless=False)),
    Labelled("animated sticker", "wink.webp", _moving),
    Labelled("sticker said to be one", "smile.webp", _still, mime_type="image/webp", kind="sticker"),
    Labelled("sticker of 256 x 256 pixels", "smile.webp", lambda: _still(256)),
    Labelled("opaque sticker", "photo.webp", _opaque),
    Labelled("opaque sticker of 300 x 300 pixels", "photo.webp", lambda: _opaque(300)),
    Labelled("photo of 96 x 64 pixels saved as WebP", "photo.webp", lambda: saved(drawn(), "WEBP")),
    Labelled("sticker of 100,000 bytes", "smile.webp", lambda: _sized(100_000)),
    Labelled("sticker of 100,001 bytes", "smile.webp", lambda: _sized(100_001)),
    Labelled("sticker of 100 KiB", "smile.webp", lambda: _sized(102_400)),
    Labelled("sticker of 100 KiB and a byte", "smile.webp", lambda: _sized(102_401)),
    Labelled("sticker of real noise above 100 KiB", "noise.webp", lambda: _noisy(190, 1)),
    Labelled("animated sticker of real noise above 100 KiB", "noise.webp", lambda: _noisy(190, 2)),
    Labelled("animated sticker of real noise above 500 KiB", "noise.webp", lambda: _noisy(190, 4)),
    Labelled("animated sticker of 500,000 bytes", "wink.webp", lambda: padded(_moving(), 500_000)),
    Labelled("animated sticker of 500,001 bytes", "wink.webp", lambda: padded(_moving(), 500_001)),
    Labelled("animated sticker of 500 KiB", "wink.webp", lambda: padded(_moving(), 512_000)),
    Labelled("animated sticker of 500 KiB and a byte", "wink.webp", lambda: padded(_moving(), 512_001)),
    Labelled("animation of one frame", "still.webp", _one_frame),
    Labelled("animation of one frame, 200,000 bytes", "still.webp", lambda: padded(_one_frame(), 200_000)),
    Labelled("animation by its flag only, without a frame", "still.webp", _flag_only),
    Labelled("sticker cut in the middle", "smile.webp", lambda: cut(_still())),
    Labelled("animated sticker cut in the middle", "wink.webp", lambda: cut(_moving())),
    Labelled("sticker with a header that makes no sense", "smile.webp", lambda: damaged(_still(), 20, 21)),
    Labelled("sticker with damaged pixels behind a good header", "smile.webp", lambda: damaged(_still(), 25, len(_still()))),
    Labelled("sticker whose last chunk lacks its filling byte", "smile.webp", _unfilled),
    Labelled("sticker as a document", "smile.webp", _still, kind="document"),
    Labelled("sticker as an image", "smile.webp", _still, kind="image", accepted=False),
    Labelled("WebP of no chunk that there is", "smile.webp", lambda: _riff(b"WHAT" + bytes(40)), accepted=False),
]
