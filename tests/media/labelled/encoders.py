"""Small films and sounds by the encoders of PyAV; the same versions of those give the same bytes."""

from __future__ import annotations

import array
import functools
import math
import tempfile
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

FRAMES, RATE = 12, 25
X264 = {"threads": "1", "preset": "ultrafast", "g": "12"}  # its number of threads stands in the stream
BASELINE = {**X264, "profile": "baseline", "bf": "0"}
MAIN = {**X264, "profile": "main", "bf": "0"}
MAIN_B = {**X264, "profile": "main", "bf": "2", "b-adapt": "0"}
HIGH = {**X264, "profile": "high", "bf": "0", "x264-params": "8x8dct=1"}
FASTSTART = {"movflags": "+faststart"}


@functools.cache
def _pictures(side: tuple[int, int]) -> tuple[Image.Image, ...]:
    """A bright square that wanders over a slope of colours."""
    ground = Image.merge("RGB", [Image.linear_gradient("L").resize(side).rotate(90 * turn).resize(side) for turn in range(3)])
    found = []
    for number in range(FRAMES):
        picture = ground.copy()
        picture.paste((250, 220, 40), (number * 3, 10, number * 3 + 20, 30))
        found.append(picture)
    return tuple(found)


def film(
    container: str = "mp4",
    picture: str | None = "libx264",
    sound: str | None = "aac",
    *,
    options: dict[str, str] = BASELINE,
    pixels: str = "yuv420p",
    side: tuple[int, int] = (64, 64),
    mux: dict[str, str] = FASTSTART,
    pictures: int = 1,
    sounds: int = 1,
) -> bytes:
    """Half a second of film. ``pictures`` and ``sounds`` say how many streams of each; None leaves a sort out."""
    return _film(
        container=container,
        picture=picture,
        sound=sound,
        options=tuple(options.items()),
        pixels=pixels,
        side=side,
        mux=tuple(mux.items()),
        pictures=pictures,
        sounds=sounds,
    )


@functools.cache
def _film(*, container, picture, sound, options, pixels, side, mux, pictures, sounds) -> bytes:
    with tempfile.TemporaryDirectory() as folder:  # an index is put first by reading the file again, which needs a path
        path = Path(folder) / "film"
        with av.open(str(path), "w", format=container, options={**dict(mux), "fflags": "+bitexact"}) as target:
            streams = [_picture_stream(target, picture, dict(options), pixels, side) for _ in range(pictures if picture else 0)]
            voices = [_sound_stream(target, sound) for _ in range(sounds if sound else 0)]
            for stream in streams:
                for number, image in enumerate(_pictures(side)):
                    frame = av.VideoFrame.from_image(image)
                    frame.pts, frame.time_base = number, Fraction(1, RATE)
                    target.mux(stream.encode(frame.reformat(format=pixels)))
                target.mux(stream.encode(None))
            for stream in voices:
                _play(target, stream, FRAMES / RATE)
        return path.read_bytes()


@functools.cache
def sound(
    container: str,
    codec: str,
    *,
    rate: int = 48_000,
    channels: int = 1,
    seconds: float = 0.5,
    bit_rate: int = 64_000,
    mux: tuple[tuple[str, str], ...] = (),
    streams: int = 1,
) -> bytes:
    """A hum. ``mux``: options of the container."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound"
        with av.open(str(path), "w", format=container, options={**dict(mux), "fflags": "+bitexact"}) as target:
            voices = [_sound_stream(target, codec, rate, channels, bit_rate) for _ in range(streams)]
            for stream in voices:
                _play(target, stream, seconds)
        return path.read_bytes()


def _picture_stream(target, codec, options, pixels, side):
    stream = target.add_stream(codec, rate=RATE, options={"flags": "+bitexact", "threads": "1", **options})
    stream.width, stream.height = side
    stream.pix_fmt = pixels
    stream.time_base = Fraction(1, RATE)
    return stream


def _sound_stream(target, codec, rate=None, channels=1, bit_rate=64_000):
    rate = rate or (8_000 if codec == "libopencore_amrnb" else 48_000)
    stream = target.add_stream(codec, rate=rate, options={"strict": "experimental", "flags": "+bitexact"})
    stream.layout = "mono" if channels == 1 else "stereo"
    stream.format = stream.codec_context.codec.audio_formats[0]
    if not codec.startswith(("pcm", "flac", "alac")):
        stream.bit_rate = 12_200 if codec == "libopencore_amrnb" else bit_rate
    stream.codec_context.open()
    return stream


def _play(target, stream, seconds) -> None:
    rate, position = stream.rate, 0
    size = stream.codec_context.frame_size or 960
    layout = stream.layout.name
    while position < seconds * rate:
        frame = av.AudioFrame(format=stream.format.name, layout=layout, samples=size)
        frame.sample_rate, frame.pts, frame.time_base = rate, position, Fraction(1, rate)
        _fill(frame, [0.3 * math.sin((position + at) / rate * 2 * math.pi * 220) for at in range(size)])
        target.mux(stream.encode(frame))
        position += size
    target.mux(stream.encode(None))


def _fill(frame, levels) -> None:
    """Interleaved or one plane a channel, in whole numbers or in fractions."""
    name = frame.format.name
    of_plane = 1 if name.endswith("p") else len(frame.layout.channels)
    code, scale = {"s16": ("h", 32_767), "s32": ("i", 2**31 - 1), "flt": ("f", 1.0), "dbl": ("d", 1.0)}[name.rstrip("p")]
    values = [level * scale for level in levels for _ in range(of_plane)]
    data = array.array(code, values if code in "fd" else [int(value) for value in values]).tobytes()
    for plane in frame.planes:
        plane.update(data.ljust(plane.buffer_size, b"\0"))


@functools.cache
def deep_png() -> bytes:
    """A PNG of 16 bits per channel in RGB, which Pillow does not write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        with av.open(str(path), "w", format="image2", options={"update": "1"}) as target:
            stream = target.add_stream("png", rate=1, options={"flags": "+bitexact", "threads": "1"})
            stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb48be"
            target.mux(stream.encode(av.VideoFrame.from_image(_pictures((64, 64))[0]).reformat(format="rgb48be")))
            target.mux(stream.encode(None))
        return path.read_bytes()
