"""Files for the proofs of judging and preparing: whole ones of every kind by real encoders, mutants of them, and photos of 2 MB.

The same number gives the same mutant and the same photo, as long as Pillow and PyAV have the same versions.
"""

from __future__ import annotations

import array
import io
import logging
import math
import random
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support import CHECKOUT

if TYPE_CHECKING:
    from PIL import Image

SAMPLES = CHECKOUT / "dags_examples" / "media"
_AUDIO_HZ = 48_000
_ORIENTATION_TAG, _GPS_TAG, _MAKER_TAG = 0x0112, 0x8825, 0x927C
_BIT_EXACT = {"fflags": "+bitexact"}

logging.getLogger("PIL").setLevel(logging.INFO)  # below that it writes whole blocks of EXIF


@dataclass(frozen=True)
class Named:
    """A file in memory, and a `Source`; ``how`` says what was done to it."""

    name: str
    data: bytes
    how: str = ""

    @property
    def uri(self) -> str:
        return f"memory://{self.name}"

    def size_bytes(self) -> int:
        return len(self.data)

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.data)

    def stamp(self) -> str | None:
        return None


# --- whole files --------------------------------------------------------------------------------------------------


@cache
def seeds() -> tuple[Named, ...]:
    """Whole small files of every kind, mixed: what encoders make, what tests make by hand, and the committed samples."""
    from airflow_provider_360dialog.media.limits import extension_for
    from tests.media.builders import BUILDERS

    made = [Named(name, make()) for name, make in (_pictures() | _recordings() | _papers()).items()]
    by_hand = [Named(f"by_hand{extension_for(mime_type)}", make()) for mime_type, make in BUILDERS.items()]
    found = [*made, *by_hand, *(Named(path.name, path.read_bytes()) for path in sorted(SAMPLES.iterdir()))]
    random.Random(360).shuffle(found)  # so that the first ones are of all kinds
    return tuple(found)


def _pictures() -> dict[str, Callable[[], bytes]]:
    small, frames = scene(160, 120, seed=1), [scene(96, 96, seed=seed) for seed in (2, 3, 4)]
    clear = frames[0].convert("RGBA")
    clear.putalpha(frames[1].convert("L"))
    sticker = clear.resize((512, 512))
    moving = {"save_all": True, "append_images": frames[1:], "duration": 100}
    jpeg, png, webp = "JPEG", "PNG", "WEBP"
    return {
        "baseline.jpg": lambda: _saved(small, jpeg, quality=80),
        "progressive.jpg": lambda: _saved(small, jpeg, quality=80, progressive=True),
        "large.jpg": lambda: _saved(scene(1200, 900, seed=5), jpeg, quality=60),
        "turned.jpg": lambda: _saved(small, jpeg, exif=exif(random.Random(1), orientation=6, located=True)),
        "cmyk.jpg": lambda: _saved(small.convert("CMYK"), jpeg),
        "grey.jpg": lambda: _saved(small.convert("L"), jpeg),
        "several.jpg": lambda: _saved(frames[0], "MPO", save_all=True, append_images=frames[1:2]),
        "rgb.png": lambda: _saved(small, png),
        "rgba.png": lambda: _saved(clear, png),
        "palette.png": lambda: _saved(small.convert("P"), png, transparency=3),
        "grey.png": lambda: _saved(small.convert("L"), png),
        "deep.png": lambda: _saved(small.convert("I;16"), png),
        "moving.png": lambda: _saved(frames[0], png, **moving),
        "turned.png": lambda: _saved(small, png, exif=exif(random.Random(2), orientation=3, located=True)),
        "lossy.webp": lambda: _saved(sticker, webp, quality=60),
        "lossless.webp": lambda: _saved(clear, webp, lossless=True),
        "moving.webp": lambda: _saved(frames[0], webp, loop=0, **moving),
        "turned.webp": lambda: _saved(small, webp, exif=exif(random.Random(3), orientation=8, located=True)),
    }


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def _recordings() -> dict[str, Callable[[], bytes]]:
    h264, aac = ("libx264", {"profile": "main", "bf": "0", "threads": "1"}), ("aac", "fltp", 2)
    b_frames = ("libx264", {"profile": "high", "bf": "2", "threads": "1", "preset": "ultrafast"})
    h265 = ("libx265", {"x265-params": "log-level=none"})
    return {
        "clip.mp4": lambda: _recorded("mp4", h264, aac),
        "index_first.mp4": lambda: _recorded("mp4", h264, aac, options={"movflags": "+faststart"}),
        "pieces.mp4": lambda: _recorded("mp4", h264, aac, options={"movflags": "frag_keyframe+empty_moov"}),
        "b_frames.mp4": lambda: _recorded("mp4", b_frames, None),
        "h265.mp4": lambda: _recorded("mp4", h265, aac),
        "clip.3gp": lambda: _recorded("3gp", h264, aac),
        "h263.3gp": lambda: _recorded("3gp", ("h263", {}), ("libopencore_amrnb", "s16", 1), size=(176, 144)),
        "clip.mov": lambda: _recorded("mov", h264, aac),
        "sound.m4a": lambda: _recorded("ipod", None, aac),
        "voice.ogg": lambda: _recorded("ogg", None, ("libopus", "s16", 1)),
        "vorbis.ogg": lambda: _recorded("ogg", None, ("vorbis", "fltp", 2)),
        "sound.mp3": lambda: _recorded("mp3", None, ("libmp3lame", "s16p", 2)),
        "sound.aac": lambda: _recorded("adts", None, aac),
        "sound.amr": lambda: _recorded("amr", None, ("libopencore_amrnb", "s16", 1)),
        "sound.wav": lambda: _recorded("wav", None, ("pcm_s16le", "s16", 1)),
    }


def _recorded(
    form: str,
    film: tuple[str, dict[str, str]] | None,
    sound: tuple[str, str, int] | None,
    *,
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (160, 120),
) -> bytes:
    """A second of film (codec, options) and sound (codec, sample format, channels)."""
    import av

    with tempfile.TemporaryDirectory() as folder:  # putting the index first needs a path
        path = Path(folder) / "recording"
        with av.open(str(path), "w", format=form, options=_BIT_EXACT | (options or {})) as target:
            streams = []  # all of them, before the first packet
            if film is not None:
                streams.append((_film_stream(target, *film, size), _film_frames))
            if sound is not None:
                streams.append((_sound_stream(target, *sound), _sound_frames))
            for stream, frames in streams:
                for frame in (*frames(stream), None):
                    target.mux(stream.encode(frame))
        return path.read_bytes()


def _film_stream(target: Any, codec: str, options: dict[str, str], size: tuple[int, int]) -> Any:
    stream = target.add_stream(codec, rate=15, options={"flags": "+bitexact"} | options)
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    return stream


def _film_frames(stream: Any) -> Iterator[Any]:
    import av

    picture = scene(stream.width, stream.height, seed=6)
    return (av.VideoFrame.from_image(picture.rotate(number)) for number in range(15))


def _sound_stream(target: Any, codec: str, form: str, channels: int) -> Any:
    hz = 8_000 if "amr" in codec else _AUDIO_HZ
    stream = target.add_stream(codec, rate=hz, options={"strict": "experimental", "flags": "+bitexact"})
    stream.layout, stream.format = {1: "mono", 2: "stereo"}[channels], form
    stream.codec_context.open()
    return stream


def _sound_frames(stream: Any) -> Iterator[Any]:
    import av

    hz, samples, form = stream.rate, stream.codec_context.frame_size or 960, stream.format.name
    copies = 1 if form.endswith("p") else len(stream.layout.channels)
    levels = [0.3 * math.sin(at / hz * 2 * math.pi * 440) for at in range(samples) for _ in range(copies)]
    wave = array.array("h", [int(level * 32767) for level in levels]) if form.startswith("s16") else array.array("f", levels)
    for start in range(0, hz, samples):
        frame = av.AudioFrame(format=form, layout=stream.layout, samples=samples)
        frame.sample_rate, frame.pts, frame.time_base = hz, start, Fraction(1, hz)
        for plane in frame.planes:
            plane.update(wave.tobytes().ljust(plane.buffer_size, b"\0")[: plane.buffer_size])
        yield frame


def _papers() -> dict[str, Callable[[], bytes]]:
    from tests.media.builders import ole2

    return {
        "report.pdf": lambda: pdf(20_000),
        "letter.docx": lambda: _office("word/document.xml"),
        "table.xlsx": lambda: _office("xl/workbook.xml"),
        "slides.pptx": lambda: _office("ppt/presentation.xml"),
        "secret.zip": _locked_archive,
        "old.doc": lambda: ole2("WordDocument", "1Table", padding_sectors=40),
        "old.xls": lambda: ole2("Workbook", padding_sectors=40),
        "old.ppt": lambda: ole2("PowerPoint Document", padding_sectors=40),
        "plain.txt": lambda: "Grüße aus Zürich, 9 to 17.\n".encode() * 200,
        "utf16.txt": lambda: ("Grüße\r\n" * 200).encode("utf-16"),
        "table.txt": lambda: b"name;city\nAda;London\n" * 100,
        "page.html": lambda: b"<!DOCTYPE html>\n<html><body>" + b"<p>text</p>" * 50 + b"</body></html>",
    }


def _office(main: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("[Content_Types].xml", "_rels/.rels", main, "docProps/app.xml"):
            archive.writestr(zipfile.ZipInfo(name), f'<?xml version="1.0"?><part name="{name}"/>' * 30, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _locked_archive() -> bytes:
    """A zip whose one part says that it needs a password."""
    content = bytearray(_office("secret.txt").replace(b"[Content_Types].xml", b"something_else.txt_"))
    for mark, flags_at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + flags_at] |= 1
    return bytes(content)


def pdf(size_bytes: int) -> bytes:
    """A PDF of exactly so many bytes, most of them in one stream; at least 1,000."""
    noise = random.Random(7)
    filled = size_bytes
    while True:
        body = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
        body += b"2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n3 0 obj\n<< /Length %d >>\nstream\n" % filled
        end = b"\nendstream\nendobj\n"
        xref_at = len(body) + filled + len(end)
        end += b"xref\n0 1\n0000000000 65535 f \ntrailer\n<< /Size 4 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % xref_at
        if (too_many := len(body) + filled + len(end) - size_bytes) == 0:
            return body + noise.randbytes(filled) + end
        filled -= too_many


# --- mutants ------------------------------------------------------------------------------------------------------

_EXTREMES = (0, 1, 7, 0x7F, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF, 2**63, 2**64 - 1)
_NEAR_BYTES = 2048
"""Headers lie at the beginning, directories at the end: half of all damage is done there."""


def mutant(number: int, whole: Sequence[Named]) -> Named:
    """One broken file; every number gives another, and the same each time.

    Args:
        number: any. whole: `seeds`; they take turns.
    """
    noise = random.Random(number)
    seed = whole[number % len(whole)]
    data, how = bytearray(seed.data), []
    for _ in range(noise.choice((1, 1, 1, 2, 3))):
        damage = noise.choice(_DAMAGES)
        how.append(damage.__name__.strip("_"))
        data = damage(data, noise, whole)
    if data.startswith(b"\x89PNG\r\n\x1a\n") and noise.random() < 0.7:
        how.append("checksums_mended")
        data = _with_checksums(data)
    return Named(seed.name, bytes(data), f"{number}: {seed.name} {'+'.join(how)}")


def _place(data: bytearray, noise: random.Random) -> int:
    near = noise.random()
    if near < 0.4:
        return noise.randrange(min(len(data), _NEAR_BYTES) + 1)
    if near < 0.5:
        return len(data) - noise.randrange(min(len(data), _NEAR_BYTES) + 1)
    return noise.randrange(len(data) + 1)


def _range(data: bytearray, noise: random.Random) -> slice:
    start = _place(data, noise)
    return slice(start, start + int(2 ** noise.uniform(0, 14)))


def _flipped(data: bytearray, noise: random.Random, _: Sequence[Named]) -> bytearray:
    for _ in range(int(2 ** noise.uniform(0, 7))):
        if data:
            bits = 1 << noise.randrange(8) if noise.random() < 0.5 else noise.randrange(256)
            data[min(_place(data, noise), len(data) - 1)] ^= bits
    return data


def _cut(data: bytearray, noise: random.Random, _: Sequence[Named]) -> bytearray:
    return data[: _place(data, noise)] if noise.random() < 0.8 else data[_place(data, noise) :]


def _spliced(data: bytearray, noise: random.Random, whole: Sequence[Named]) -> bytearray:
    """The beginning of one and the end of another: half of the time of the same sort."""
    of_sort = [each for each in whole if each.data[:3] == data[:3]]
    other = bytearray(noise.choice(of_sort if of_sort and noise.random() < 0.5 else whole).data)
    return data[: _place(data, noise)] + other[_place(other, noise) :]


def _doubled(data: bytearray, noise: random.Random, _: Sequence[Named]) -> bytearray:
    part = _range(data, noise)
    data[part.start : part.start] = data[part] * noise.choice((1, 1, 2, 30))
    return data


def _removed(data: bytearray, noise: random.Random, _: Sequence[Named]) -> bytearray:
    del data[_range(data, noise)]
    return data


def _zeroed(data: bytearray, noise: random.Random, _: Sequence[Named]) -> bytearray:
    part = _range(data, noise)
    data[part] = noise.choice((b"\0", b"\xff")) * len(data[part])
    return data


def _length_set(data: bytearray, noise: random.Random, _: Sequence[Named]) -> bytearray:
    """What may be a length (a number no larger than the file) becomes an extreme one."""
    width, order = noise.choice(((2, "big"), (2, "little"), (4, "big"), (4, "little"), (4, "big"), (4, "little"), (8, "big")))
    start = _place(data, noise)
    for at in range(start, min(start + 512, len(data) - width)):
        value = int.from_bytes(data[at : at + width], order)  # type: ignore[arg-type]  # "big" or "little"
        if 1 < value <= max(len(data), 4096):
            extreme = noise.choice((*_EXTREMES, value - 1, value + 1, value * 2, len(data), len(data) + 1)) % 256**width
            data[at : at + width] = extreme.to_bytes(width, order)  # type: ignore[arg-type]  # the same
            break
    return data


def _stretched(data: bytearray, noise: random.Random, _: Sequence[Named]) -> bytearray:
    """To as much as eight megabytes: what is quadratic shows."""
    part = _range(data, noise)
    data[part.start : part.start] = data[part] * (int(2 ** noise.uniform(16, 23)) // max(1, len(data[part])))
    return data


_OFTEN = (_flipped, _flipped, _flipped, _cut, _spliced, _doubled, _removed, _zeroed, _length_set, _length_set)
_DAMAGES = _OFTEN * 5 + (_stretched,)


def _with_checksums(data: bytearray) -> bytearray:
    """Of a PNG, as far as its chunks follow each other: else no mutant would reach what stands behind the checksum."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        data[at + 8 + length : at + 12 + length] = struct.pack(">I", zlib.crc32(data[at + 4 : at + 8 + length]))
        at += 12 + length
    return data


# --- photos -------------------------------------------------------------------------------------------------------


def scene(width: int, height: int, *, seed: int, grain: float = 0.1) -> Image.Image:
    """A picture of soft colours and shapes under grain; ``grain``: 0 for none, 1 for nothing else."""
    from PIL import Image, ImageDraw

    noise = random.Random(seed)
    corners = Image.frombytes("RGB", (4, 3), noise.randbytes(36))
    image = corners.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(30):
        x, y, side = noise.randrange(width), noise.randrange(height), noise.randrange(width // 8 + 2)
        draw.ellipse([x, y, x + side, y + side], fill=tuple(noise.randbytes(3)))
    return Image.blend(image, Image.frombytes("RGB", (width, height), noise.randbytes(width * height * 3)), grain)


def exif(noise: random.Random, *, orientation: int, located: bool) -> bytes:
    """A block of EXIF as phones write it, with some kilobytes of the maker's own."""
    from PIL import Image

    block = Image.Exif()
    block[_ORIENTATION_TAG] = orientation
    block[0x010F], block[0x0110] = f"maker {noise.randrange(100)}", f"model {noise.randrange(1000)}"
    block.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", _MAKER_TAG: noise.randbytes(noise.choice((500, 4000, 30_000)))})
    if located:
        block.get_ifd(_GPS_TAG).update({1: "N", 2: (47.0, 22.0, noise.randrange(60)), 3: "E", 4: (8.0, 32.0, 30.0)})
    return block.tobytes()


def photos(count: int, *, size_bytes: int, megapixels: float, pictures: int = 20) -> Iterator[Named]:
    """JPEGs that all differ, as phones make them: about so many bytes, EXIF of many sorts, of ``pictures`` pictures in all."""
    for number in range(count):
        noise, base = random.Random(number), _photo(number % pictures, size_bytes, megapixels)
        turn = noise.choice((1, 1, 1, 3, 6, 8))
        yield Named(f"photo_{number:04}.jpg", with_exif(base, exif(noise, orientation=turn, located=noise.random() < 0.5)))


def unfit_photos(count: int, *, size_bytes: int, pictures: int, least_megapixels: float = 8.0) -> Iterator[tuple[str, Named]]:
    """Photos that have to be drawn anew, with the name of their sort; of ``pictures`` pictures a sort, ``how`` says which.

    Their pixels: ``least_megapixels`` million and up to four million more.
    """
    sorts = ("turned", "cmyk", "png")
    for number in range(count):
        sort, seed = sorts[number % len(sorts)], number // len(sorts) % pictures
        megapixels, noise = least_megapixels + seed % 5, random.Random(number)
        if sort == "png":
            name, data = f"photo_{number:04}.png", with_text(_png_photo(seed, size_bytes, megapixels), noise.randbytes(16).hex())
        else:
            base = _photo(seed, size_bytes, megapixels, "CMYK" if sort == "cmyk" else "RGB")
            turn = 6 if sort == "turned" else 1
            name, data = f"photo_{number:04}.jpg", with_exif(base, exif(noise, orientation=turn, located=True))
        yield sort, Named(name, data, f"{sort} {seed}")


def with_exif(jpeg: bytes, block: bytes) -> bytes:
    """A JPEG with a block of EXIF in front, not encoded anew."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(block)) + block + jpeg[2:]


def with_text(png: bytes, text: str) -> bytes:
    """A PNG with a comment behind its header."""
    chunk = b"tEXtComment\0" + text.encode()
    return png[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


@cache
def _photo(seed: int, size_bytes: int, megapixels: float, mode: str = "RGB") -> bytes:
    """The quality decides on its size."""
    image = scene(*sides(megapixels), seed=seed, grain=0.5 / megapixels).convert(mode)
    low, high = 5, 98
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(_saved(image, "JPEG", quality=middle)) < size_bytes else (low, middle)
    return _saved(image, "JPEG", quality=low)


@cache
def _png_photo(seed: int, size_bytes: int, megapixels: float) -> bytes:
    """How much of it has grain decides on its size: without, there is little to store."""
    width, height = sides(megapixels)
    image, grainy = scene(width, height, seed=seed, grain=0.0), scene(width, 500, seed=seed, grain=0.05)
    bytes_a_row = len(_saved(grainy, "PNG")) / 500
    rows = min(500, int(0.75 * size_bytes / bytes_a_row))  # the rest of it needs some bytes as well
    image.paste(grainy.crop((0, 0, width, rows)), (0, 0))
    return _saved(image, "PNG")


def sides(megapixels: float) -> tuple[int, int]:
    """Width and height of a photo, four to three."""
    width = round((megapixels * 1_000_000 * 4 / 3) ** 0.5)
    return width, round(width * 3 / 4)
