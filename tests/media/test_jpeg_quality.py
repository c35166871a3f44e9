"""The quality that the tables of a JPEG tell."""

import io
import random

import pytest
from PIL import Image, JpegImagePlugin

from airflow_provider_360dialog.media.preparation.jpeg_quality import jpeg_quality, quality_of
from tests.media.builders import JPEG, segment


def encoded(**options):
    Image.radial_gradient("L").resize((16, 16)).convert("RGB").save(out := io.BytesIO(), "JPEG", **options)
    return out.getvalue()


def test_the_quality_of_a_table_that_libjpeg_made_is_exact():
    for quality in range(1, 101):
        content = encoded(quality=quality)
        assert jpeg_quality(io.BytesIO(content)) == quality
        assert jpeg_quality(io.BytesIO(encoded(quality=quality, progressive=True, subsampling=0))) == quality


def test_a_turned_picture_keeps_its_quality():
    for quality in range(1, 101, 7):
        table = Image.open(io.BytesIO(encoded(quality=quality))).quantization[0]
        assert quality_of([table[8 * (i % 8) + i // 8] for i in range(64)]) == quality


def test_the_table_of_the_first_component_counts():
    """Some writers give the table of the colours the number 0."""
    with Image.open(io.BytesIO(encoded(quality=70))) as picture:
        rough, fine = picture.quantization[0], [1] * 64
    content = encoded(qtables=[fine, rough])
    assert jpeg_quality(io.BytesIO(content)) == 100
    at = content.index(b"\xff\xc0")
    swapped = bytearray(content)
    swapped[at + 12] = 1
    assert jpeg_quality(io.BytesIO(bytes(swapped))) == 70


def test_other_tables_have_the_quality_that_comes_next_to_them():
    for name, preset in JpegImagePlugin.presets.items():
        quality = jpeg_quality(io.BytesIO(encoded(qtables=preset["quantization"])))
        assert quality is not None
        assert name != "web_high" or 70 <= quality <= 95
    assert quality_of([1000] * 64) == 1


def test_tables_of_two_bytes_a_step_are_read():
    steps = b"".join(step.to_bytes(2, "big") for step in Image.open(io.BytesIO(encoded(quality=40))).quantization[0])
    assert jpeg_quality(io.BytesIO(b"\xff\xd8" + segment(0xDB, b"\x10" + steps) + b"\xff\xd9")) == 40


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        JPEG,
        b"\xff\xd8" + segment(0xDB, b"\0" + bytes(10)) + b"\xff\xd9",
        b"\xff\xd8\xff\xdb\0\1",
        b"\xff\xd8" + b"\xff\xd0" * 100_000,
        b"\xff\xd8" + bytes(200_000),
    ],
    ids=["nothing", "a PNG", "cut off", "no segment", "no table", "half a table", "an impossible length", "markers", "zeros"],
)
def test_without_a_table_nothing_is_told(content):
    assert jpeg_quality(io.BytesIO(content)) is None


def test_no_bytes_make_it_raise():
    rng, whole = random.Random(360), encoded(quality=80)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.choice((0, 0xFF, rng.randrange(256)))
        assert jpeg_quality(io.BytesIO(bytes(data[: rng.randrange(len(data) + 1)]))) in {None, *range(1, 101)}
