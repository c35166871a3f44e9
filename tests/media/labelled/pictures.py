"""Photos and drawings: by Pillow's encoders, and with their headers changed where no encoder writes what is wanted."""

from __future__ import annotations

import functools
import io
import struct
import zlib

from PIL import Image

from tests.media.builders import chunk, segment, zipped
from tests.media.labelled.encoders import deep_png
from tests.media.labelled.labels import Labelled, cut, damaged
from tests.media.labelled.papers import PDF

SIDES = (96, 64)
MIB, MB = 2**20, 10**6
_SOI, _COM, _APP1 = b"\xff\xd8", 0xFE, 0xE1
_GAIN_MAP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description hdrgm:Version='1.0'/></x:xmpmeta>"


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """A picture as Pillow writes it."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@functools.cache
def drawn(mode: str = "RGB", sides: tuple[int, int] = SIDES) -> Image.Image:
    """Slopes of colour with some grain, so that every part of the file matters."""
    slopes = [Image.linear_gradient("L").rotate(90 * turn).resize(sides) for turn in range(3)]
    grain = Image.frombytes("L", sides, bytes(at * at % 251 for at in range(sides[0] * sides[1])))
    return Image.blend(Image.merge("RGB", slopes), Image.merge("RGB", [grain] * 3), 0.2).convert(mode)


@functools.cache
def jpeg(mode: str = "RGB", **options: object) -> bytes:
    """A JPEG of 96 x 64 pixels."""
    return saved(drawn(mode), "JPEG", quality=85, **options)


@functools.cache
def png(mode: str = "RGB", **options: object) -> bytes:
    """A PNG of 96 x 64 pixels."""
    return saved(drawn(mode), "PNG", **options)


def turned(orientation: int) -> bytes:
    """A JPEG that says in its EXIF how it has to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif.tobytes())


def _with_segment(data: bytes, kind: int, content: bytes) -> bytes:
    return _SOI + segment(kind, content) + data[2:]


def _turned_in_big_endian() -> bytes:
    tiff = b"MM\0*" + struct.pack(">IHHHIHxxI", 8, 1, 0x0112, 3, 1, 6, 0)
    return _with_segment(jpeg(), _APP1, b"Exif\0\0" + tiff)


def padded_jpeg(size_bytes: int) -> bytes:
    """A JPEG of exactly this size, filled up with comments."""
    data, missing = jpeg(), size_bytes - len(jpeg())
    comments = []
    while missing > 65_000 + 4:
        comments.append(segment(_COM, bytes(65_000 - 4)))
        missing -= 65_000
    return _SOI + b"".join(comments) + segment(_COM, bytes(missing - 4)) + data[2:]


def _frame_at(data: bytes) -> int:
    """Where the header of a baseline JPEG's frame stands."""
    return data.index(b"\xff\xc0\0\x11")


def _scan_at(data: bytes) -> int:
    return data.index(b"\xff\xda") + 14


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header lies about its size."""
    at = _frame_at(jpeg())
    return jpeg()[: at + 5] + struct.pack(">HH", height, width) + jpeg()[at + 9 :]


def _jpeg_of_twelve_bits() -> bytes:
    at = _frame_at(jpeg())
    return jpeg()[:at] + b"\xff\xc1\0\x11\x0c" + jpeg()[at + 5 :]


def _jpeg_of_seven_components() -> bytes:
    at = _frame_at(jpeg())
    return jpeg()[: at + 9] + b"\7" + jpeg()[at + 10 :]


def _jpeg_of_a_wrong_length() -> bytes:
    at = _frame_at(jpeg())
    return jpeg()[: at + 3] + b"\x12" + jpeg()[at + 4 :]


def _png_with_a_wrong_sum() -> bytes:
    """Only the checksum behind the pixels is damaged, as a copy by way of a bad memory leaves it."""
    at = png().index(b"IEND") - 8
    return damaged(png(), at, at + 4)


def _jpeg_with_pixels_gone() -> bytes:
    """Behind its header, an early part of the scan is gone and the rest is of another picture: no decoder makes sense of it."""
    at = _scan_at(jpeg())
    return jpeg()[:at] + b"\xff\xc4\0\3\0" * 8 + jpeg()[at + 40 :]


def _mpo() -> bytes:
    return saved(drawn(), "MPO", save_all=True, append_images=[drawn().rotate(180)])


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header lies about its size, with a right checksum."""
    return _with_header(png(), struct.pack(">II", width, height) + png()[24:29])


def _with_header(data: bytes, fields: bytes) -> bytes:
    return data[:8] + chunk(b"IHDR", fields) + data[33:]


def _one_frame_png() -> bytes:
    control = chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, *SIDES, 0, 0, 1, 10, 0, 0))
    return png()[:33] + control + png()[33:]


def _apng() -> bytes:
    return saved(drawn(), "PNG", save_all=True, append_images=[drawn().rotate(180), drawn().rotate(90)], duration=100)


def _interlaced_header() -> bytes:
    """Interlaced (Adam7), which Pillow does not write: one pixel, so that its first pass is all there is."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\x10\x20\x30")) + chunk(b"IEND")


def _turned_png() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return png(exif=exif.tobytes())


def _pixels_at(data: bytes) -> int:
    return data.index(b"IDAT") + 4


FILES = [
    Labelled("baseline JPEG", "photo.jpg", jpeg),
    Labelled("progressive JPEG", "photo.jpg", lambda: jpeg(progressive=True)),
    Labelled("JPEG with all of its colours, 4:4:4", "photo.jpeg", lambda: jpeg(subsampling=0)),
    Labelled("JPEG with restart markers", "photo.jpg", lambda: jpeg(restart_marker_blocks=2)),
    Labelled("JPEG with a comment as long as one can be", "photo.jpg", lambda: _with_segment(jpeg(), _COM, bytes(65_533))),
    Labelled("JPEG of one pixel", "photo.jpg", lambda: saved(Image.new("RGB", (1, 1)), "JPEG")),
    Labelled("JPEG with a zip archive behind", "photo.jpg", lambda: jpeg() + zipped("inner.txt")),
    Labelled("JPEG with a zip archive behind, called a zip", "photo.zip", lambda: jpeg() + zipped("inner.txt")),
    Labelled("JPEG with a PDF behind", "photo.jpg", lambda: jpeg() + PDF),
    Labelled("grey JPEG", "scan.jpg", lambda: jpeg("L")),
    Labelled("CMYK JPEG with Adobe's marker", "flyer.jpg", lambda: jpeg("CMYK")),
    Labelled("CMYK JPEG as a document", "flyer.jpg", lambda: jpeg("CMYK"), kind="document"),
    Labelled("JPEG of 12 bits", "xray.jpg", _jpeg_of_twelve_bits),
    *[Labelled(f"JPEG turned by EXIF orientation {turn}", "photo.jpg", lambda turn=turn: turned(turn)) for turn in range(1, 9)],
    Labelled("JPEG turned by an orientation that there is not", "photo.jpg", lambda: turned(9)),
    Labelled("JPEG turned by EXIF in big-endian order", "photo.jpg", _turned_in_big_endian),
    Labelled("turned JPEG as a document", "photo.jpg", lambda: turned(6), kind="document"),
    Labelled("two JPEGs in one file (MPO)", "photo.jpg", _mpo),
    Labelled("JPEG with a gain map behind (Ultra HDR)", "photo.jpg", lambda: _with_segment(_mpo(), _APP1, _GAIN_MAP)),
    Labelled("JPEG cut in the middle", "photo.jpg", lambda: cut(jpeg())),
    Labelled("JPEG cut in its headers", "photo.jpg", lambda: jpeg()[:100]),
    Labelled("JPEG without its last two bytes", "photo.jpg", lambda: jpeg()[:-2]),
    Labelled("JPEG cut in the middle, as a document", "photo.jpg", lambda: cut(jpeg()), kind="document"),
    Labelled("progressive JPEG cut in the middle", "photo.jpg", lambda: cut(jpeg(progressive=True))),
    Labelled("JPEG of seven components", "photo.jpg", _jpeg_of_seven_components),
    Labelled("JPEG with a frame header of a wrong length", "photo.jpg", _jpeg_of_a_wrong_length),
    Labelled("JPEG of no height", "photo.jpg", lambda: jpeg_of(96, 0)),
    Labelled("JPEG of headers only", "photo.jpg", lambda: jpeg()[: _frame_at(jpeg())] + b"\xff\xd9"),
    Labelled("JPEG with damaged pixels behind a good header", "photo.jpg", _jpeg_with_pixels_gone),
    Labelled(
        "JPEG with some pixels damaged",
        "photo.jpg",
        lambda: damaged(jpeg(restart_marker_blocks=2), _scan_at(jpeg()) + 900, _scan_at(jpeg()) + 920),
    ),
    Labelled("JPEG that says it has 65,000 x 65,000 pixels", "photo.jpg", lambda: jpeg_of(65_000, 65_000)),
    Labelled("JPEG that says it has a side of 65,501 pixels", "photo.jpg", lambda: jpeg_of(65_501, 8)),
    Labelled("JPEG of 5,000,000 bytes", "photo.jpg", lambda: padded_jpeg(5 * MB)),
    Labelled("JPEG of 5,000,001 bytes", "photo.jpg", lambda: padded_jpeg(5 * MB + 1)),
    Labelled("JPEG of 5 MiB", "photo.jpg", lambda: padded_jpeg(5 * MIB)),
    Labelled("JPEG of 5 MiB and a byte", "photo.jpg", lambda: padded_jpeg(5 * MIB + 1)),
    Labelled("JPEG of 5 MiB and a byte as a document", "photo.jpg", lambda: padded_jpeg(5 * MIB + 1), kind="document"),
    Labelled("PNG in RGB", "chart.png", png),
    Labelled("PNG in RGBA", "logo.png", lambda: png("RGBA")),
    Labelled("PNG as a document", "chart.png", png, kind="document"),
    Labelled("PNG with one transparent colour", "logo.png", lambda: png(transparency=(0, 0, 0))),
    Labelled("interlaced PNG", "dot.png", _interlaced_header),
    Labelled("turned PNG", "photo.png", _turned_png),
    Labelled("grey PNG", "scan.png", lambda: png("L")),
    Labelled("grey PNG with transparency", "scan.png", lambda: png("LA")),
    Labelled("PNG with a palette of 256 colours", "chart.png", lambda: png("P")),
    Labelled("PNG with a palette of two colours", "chart.png", lambda: saved(drawn().quantize(2), "PNG", bits=1)),
    Labelled("PNG in black and white, 1 bit", "fax.png", lambda: png("1")),
    Labelled("PNG in grey of 16 bits", "xray.png", lambda: saved(drawn("I;16"), "PNG")),
    Labelled("PNG in RGB of 16 bits", "photo.png", deep_png),
    Labelled("PNG in RGB of 16 bits as a document", "photo.png", deep_png, kind="document"),
    Labelled("animated PNG", "wink.png", _apng),
    Labelled("PNG that announces an animation of one frame", "still.png", _one_frame_png),
    Labelled("PNG cut in the middle", "chart.png", lambda: cut(png())),
    Labelled("PNG without its end chunk", "chart.png", lambda: png()[:-12]),
    Labelled("PNG of its mark only", "chart.png", lambda: png()[:8]),
    Labelled("PNG with a wrong checksum of its header", "chart.png", lambda: damaged(png(), 29, 33)),
    Labelled("PNG with a colour type that there is not", "chart.png", lambda: _with_header(png(), png()[16:25] + b"\5\0\0\0")),
    Labelled("PNG of no width", "chart.png", lambda: png_of(0, 64)),
    Labelled("PNG with a chunk out of place", "chart.png", lambda: png()[:33] + b"\xff\xff\xff\xffIDAT" + png()[41:]),
    Labelled(
        "PNG with damaged pixels behind a good header",
        "chart.png",
        lambda: damaged(png(), _pixels_at(png()) + 40, _pixels_at(png()) + 400),
    ),
    Labelled("PNG with a wrong checksum of its pixels", "chart.png", _png_with_a_wrong_sum),
    Labelled("PNG that says it has 50,000 x 50,000 pixels", "chart.png", lambda: png_of(50_000, 50_000)),
    Labelled("PNG with a side of 65,500 pixels", "line.png", lambda: saved(Image.new("RGB", (65_500, 1)), "PNG")),
    Labelled("PNG with a side of 65,501 pixels", "line.png", lambda: saved(Image.new("RGB", (65_501, 1)), "PNG")),
]
