"""Pictures drawn anew, by real Pillow: what comes out is upright 8-bit RGB without metadata, and fits."""

import io
import struct
import zlib
from dataclasses import asdict, replace

import pytest
from PIL import Image, ImageChops, ImageCms, ImageFile, ImageFilter, ImageOps, ImageStat
from PIL.JpegImagePlugin import get_sampling

from airflow_provider_360dialog.media.judge import examine
from airflow_provider_360dialog.media.picture_rules import MOST_PIXELS
from airflow_provider_360dialog.media.preparation import redraw as redraw_module
from airflow_provider_360dialog.media.preparation.fitting import TooLargeError
from airflow_provider_360dialog.media.preparation.recipes import CHANGES, Recipe, recipe_for
from airflow_provider_360dialog.media.preparation.redraw import redraw
from tests.media.builders import MemorySource, chunk, segment

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def photo(size=(48, 32), mode="RGB"):
    """Smooth, with an edge, and different in every corner."""
    red = Image.linear_gradient("L").resize(size)
    green = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90).resize(size)
    blue = Image.radial_gradient("L").resize(size)
    picture = Image.merge("RGB", (red, green, blue))
    picture.paste((250, 20, 20), (0, 0, size[0] // 3, size[1] // 4))
    return picture.convert(mode)


def noise(size, mode="RGB", sigma=60):
    """Hard to compress; smooth enough to look like something."""
    bands = [Image.effect_noise(size, sigma).filter(ImageFilter.GaussianBlur(0.6)) for _ in mode]
    return Image.merge(mode, bands)


def clear(picture):
    """With transparency that is really used."""
    picture = picture.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def exif(orientation=1, *, located=False, more=False):
    data = Image.Exif()
    data[0x0112] = orientation
    if more:
        data[0x010F] = "Maker"
    if located:
        data.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return data


def encoded(form, picture, **options):
    picture.save(out := io.BytesIO(), form[6:], **options)
    return out.getvalue()


def png(bits, colour, rows, *chunks, interlace=0):
    """A PNG that Pillow does not write; ``rows``: of bytes, unfiltered."""
    passes = rows if interlace else [rows]
    body = b"".join(b"\0" + row for part in passes for row in part)
    width, height = (8, 8)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace))
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND")
    )


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def interlaced(picture):
    """An interlaced PNG of 8 x 8 pixels in RGB."""
    at = picture.load()
    passes = [[b"".join(bytes(at[x, y]) for x in range(x0, 8, dx)) for y in range(y0, 8, dy)] for x0, y0, dx, dy in ADAM7]
    return png(8, 2, passes, interlace=1)


def without_adobe(content):
    """A CMYK JPEG of somebody else: no marker, so 0 is no ink."""
    at = content.index(b"\xff\xee")
    return content[:at] + content[at + 16 :]


PLAIN = Recipe(mime_type=JPEG, use="image", redraw=True, orientation=1, located=False, several=False, max_bytes=0)


def examined(content, kind=None):
    return examine(MemorySource(content, "file"), kind=kind)


def draw(folder, content, **changed):
    """What `redraw` answers, and the bytes of the result; those of the source where nothing had to change."""
    found = examined(content)
    recipe = recipe_for(found)
    if changed:
        recipe = replace(recipe or PLAIN, mime_type=found.verdict.mime_type, redraw=True, **changed)
    assert recipe is not None
    assert recipe.redraw
    (folder / "source").write_bytes(content)
    (folder / "target").unlink(missing_ok=True)
    answer = redraw(source=str(folder / "source"), target=str(folder / "target"), recipe=asdict(recipe))
    assert (folder / "target").exists() == bool(answer["changes"])
    assert (folder / "source").read_bytes() == content
    return answer, (folder / "target").read_bytes() if answer["changes"] else content


def is_finished(folder, content):
    """Whether a second preparation changes nothing."""
    recipe = recipe_for(examined(content))
    return recipe is None or (recipe.redraw and draw(folder, content)[0]["changes"] == [])


def opened(content):
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def distance(one, other):
    """Mean difference of two pictures per channel, 0 to 255."""
    assert (one.size, one.mode) == (other.size, other.mode)
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


# --- all kinds of pictures ----------------------------------------------------------------------------------------

PHOTO = photo()
WIDE = Image.linear_gradient("L").resize((48, 32)).convert("I").point(lambda value: value * 257)
GREYS = [(7919 * n + 200) % 65_536 for n in range(64)]
GREY_16 = [struct.pack(">8H", *GREYS[8 * y : 8 * y + 8]) for y in range(8)]
RGB_16 = [b"".join(struct.pack(">HHH", 8000 * x, 8000 * y, 30_000) for x in range(8)) for y in range(8)]
GREY_4 = [bytes(((2 * x) % 16) << 4 | (2 * x + 1) % 16 for x in range(4)) for y in range(8)]
GREY_1 = [bytes([0b11001010])] * 8

KINDS = {
    "JPEG, progressive, turned": (encoded(JPEG, PHOTO, progressive=True, exif=exif(6)), {"turned"}, JPEG),
    "JPEG with a position and a maker, turned": (
        encoded(JPEG, PHOTO, exif=exif(3, located=True, more=True)),
        {"turned", "location_removed"},
        JPEG,
    ),
    "JPEG with a maker, turned": (encoded(JPEG, PHOTO, exif=exif(3, more=True)), {"turned", "metadata_removed"}, JPEG),
    "JPEG with a comment, turned": (encoded(JPEG, PHOTO, exif=exif(3), comment="note"), {"turned", "metadata_removed"}, JPEG),
    "JPEG with a profile, turned": (encoded(JPEG, PHOTO, exif=exif(8), icc_profile=PROFILE), {"turned"}, JPEG),
    "JPEG, 4:4:4, turned": (encoded(JPEG, PHOTO, exif=exif(5), subsampling=0), {"turned"}, JPEG),
    "JPEG, 4:2:2, turned": (encoded(JPEG, PHOTO, exif=exif(7), subsampling=1), {"turned"}, JPEG),
    "JPEG, grey": (encoded(JPEG, PHOTO.convert("L")), {"to_rgb"}, JPEG),
    "JPEG, CMYK of Adobe": (encoded(JPEG, PHOTO.convert("CMYK"), quality=95), {"to_rgb"}, JPEG),
    "JPEG, CMYK of somebody else": (
        without_adobe(encoded(JPEG, ImageChops.invert(PHOTO.convert("CMYK")), quality=95)),
        {"to_rgb"},
        JPEG,
    ),
    "JPEG, stored in RGB": (encoded(JPEG, PHOTO, exif=exif(2), keep_rgb=True), {"turned"}, JPEG),
    "JPEG of one pixel": (encoded(JPEG, photo((1, 1)), exif=exif(6)), {"turned"}, JPEG),
    "PNG": (encoded(PNG, PHOTO), {"to_jpeg"}, JPEG),
    "PNG with a text": (
        encoded(PNG, PHOTO)[:33] + chunk(b"tEXt", b"Software\0x") + encoded(PNG, PHOTO)[33:],
        {"to_jpeg", "metadata_removed"},
        JPEG,
    ),
    "PNG with a position, turned": (
        encoded(PNG, PHOTO, exif=exif(6, located=True)),
        {"turned", "to_jpeg", "location_removed"},
        JPEG,
    ),
    "PNG with a profile": (encoded(PNG, PHOTO, icc_profile=PROFILE), {"to_jpeg"}, JPEG),
    "PNG, interlaced": (interlaced(photo((8, 8))), {"to_jpeg"}, JPEG),
    "PNG, 16 bits": (png(16, 2, RGB_16), {"to_jpeg", "to_8_bit"}, JPEG),
    "PNG, 16 bits, a transparent colour": (
        png(16, 2, RGB_16, chunk(b"tRNS", struct.pack(">HHH", 8000, 16_000, 30_000))),
        {"to_8_bit"},
        PNG,
    ),
    "PNG, black and white": (encoded(PNG, PHOTO.convert("1")), {"to_rgb", "to_jpeg"}, JPEG),
    "PNG, grey": (encoded(PNG, PHOTO.convert("L")), {"to_rgb", "to_jpeg"}, JPEG),
    "PNG, grey, 4 bits, a transparent one": (png(4, 0, GREY_4, chunk(b"tRNS", b"\0\5")), {"to_rgb"}, PNG),
    "PNG, grey, 1 bit, a transparent one": (png(1, 0, GREY_1, chunk(b"tRNS", b"\0\1")), {"to_rgb"}, PNG),
    "PNG, grey, 16 bits": (encoded(PNG, WIDE.convert("I;16")), {"to_rgb", "to_8_bit", "to_jpeg"}, JPEG),
    "PNG, grey, 16 bits, a transparent one": (
        png(16, 0, GREY_16, chunk(b"tRNS", struct.pack(">H", GREYS[9]))),
        {"to_rgb", "to_8_bit"},
        PNG,
    ),
    "PNG, grey with alpha": (encoded(PNG, clear(PHOTO).convert("LA")), {"to_rgb"}, PNG),
    "PNG, grey with alpha that is not used": (encoded(PNG, PHOTO.convert("LA")), {"to_rgb", "to_jpeg"}, JPEG),
    "PNG, palette": (encoded(PNG, PHOTO.quantize(16)), {"to_rgb", "to_jpeg"}, JPEG),
    "PNG, palette, transparent": (encoded(PNG, clear(PHOTO).quantize(16)), {"to_rgb"}, PNG),
    "PNG, palette with alpha that is not used": (
        encoded(PNG, PHOTO.quantize(16), transparency=b"\xff" * 16),
        {"to_rgb", "to_jpeg"},
        JPEG,
    ),
    "PNG with alpha": (encoded(PNG, clear(PHOTO)), set(), PNG),
    "PNG with alpha that is not used": (encoded(PNG, PHOTO.convert("RGBA")), {"to_jpeg"}, JPEG),
    "PNG with alpha, turned": (encoded(PNG, clear(PHOTO), exif=exif(6)), {"turned"}, PNG),
    "PNG with alpha and a position": (encoded(PNG, clear(PHOTO), exif=exif(1, located=True)), {"location_removed"}, PNG),
    "PNG with alpha and a maker": (encoded(PNG, clear(PHOTO), exif=exif(1, more=True)), set(), PNG),
    "PNG, a transparent colour": (encoded(PNG, PHOTO, transparency=(250, 20, 20)), set(), PNG),
    "PNG, a transparent colour that is nowhere": (encoded(PNG, PHOTO, transparency=(1, 255, 2)), {"to_jpeg"}, JPEG),
    "PNG of one pixel": (encoded(PNG, photo((1, 1))), {"to_jpeg"}, JPEG),
    "PNG, long and thin": (encoded(PNG, photo((1, 20_000)), exif=exif(6)), {"to_jpeg", "turned"}, JPEG),
    "sticker": (encoded(WEBP, clear(photo((300, 200)))), {"fitted_to_512"}, WEBP),
    "sticker, large": (encoded(WEBP, photo((900, 600))), {"fitted_to_512"}, WEBP),
    "sticker, turned, with a position": (
        encoded(WEBP, clear(photo((512, 512))), exif=exif(6, located=True)),
        {"turned", "location_removed"},
        WEBP,
    ),
    "sticker with a profile": (encoded(WEBP, clear(photo((30, 20))), icc_profile=PROFILE), {"fitted_to_512"}, WEBP),
    "sticker of one pixel": (encoded(WEBP, photo((1, 1))), {"fitted_to_512"}, WEBP),
    "sticker, long and thin": (encoded(WEBP, photo((1, 2000))), {"fitted_to_512"}, WEBP),
}


BEYOND_PILLOW = (
    "PNG, 16 bits, a transparent colour",
    "PNG, grey, 4 bits, a transparent one",
    "PNG, grey, 1 bit, a transparent one",
    "PNG, grey, 16 bits, a transparent one",
)
"""Of these Pillow's own conversion goes wrong; their pixels are told one by one below."""


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_is_drawn_as_it_should_be(name, tmp_path):
    """Upright, RGB, 8 bits, no metadata; the same each time; and a second time nothing has to change."""
    content, changes, mime_type = KINDS[name]
    answer, result = draw(tmp_path, content)
    found = examined(result)
    assert set(answer["changes"]) == changes
    assert [code for code in CHANGES if code in changes] == answer["changes"]
    assert (answer["mime_type"], found.verdict.mime_type) == (mime_type, mime_type)
    assert (answer["width"], answer["height"]) == (found.look.width, found.look.height)
    assert (found.look.bits, found.look.orientation, found.look.located) == (8, 1, False)
    assert found.look.colours in {"rgb", "rgba"}
    assert (answer["quality"] is None) == (mime_type == PNG)
    assert answer["encodes"] == (1 if changes - {"location_removed"} else 0)
    assert is_finished(tmp_path, result)
    assert draw(tmp_path, content) == (answer, result)
    if changes:
        assert not {"exif", "xmp", "comment", "photoshop", "dpi"} & opened(result).info.keys() - {"dpi"}
        assert b"Maker" not in result


@pytest.mark.parametrize("name", [name for name in KINDS if "sticker" not in name and name not in BEYOND_PILLOW])
def test_it_looks_like_its_source(name, tmp_path):
    """Compared with what Pillow itself makes of the source, by its own ways, where it knows how."""
    content = KINDS[name][0]
    before, after = opened(content), opened(draw(tmp_path, content)[1])
    if "somebody else" in name:
        expected = PHOTO
    elif before.mode == "I;16":
        expected = before.convert("I").point(lambda value: value / 257).convert("L").convert(after.mode)
    else:
        expected = ImageOps.exif_transpose(before).convert(after.mode)
    if after.mode == "RGBA":
        assert distance(expected.getchannel("A"), after.getchannel("A")) == 0
    assert distance(expected.convert("RGB"), after.convert("RGB")) < (9 if "4:2" in name or before.size == (1, 1) else 5)


def test_sixteen_bits_are_scaled(tmp_path):
    after = opened(draw(tmp_path, KINDS["PNG, grey, 16 bits, a transparent one"][0])[1])
    assert list(after.get_flattened_data()) == [(*[round(v / 257)] * 3, 0 if n == 9 else 255) for n, v in enumerate(GREYS)]


def test_a_transparent_colour_is_found_whatever_the_depth(tmp_path):
    four = opened(draw(tmp_path, KINDS["PNG, grey, 4 bits, a transparent one"][0])[1])
    assert list(four.get_flattened_data())[:8] == [(17 * n, 17 * n, 17 * n, 0 if n == 5 else 255) for n in range(8)]
    one = opened(draw(tmp_path, KINDS["PNG, grey, 1 bit, a transparent one"][0])[1])
    assert [pixel[3] for pixel in list(one.get_flattened_data())[:8]] == [0, 0, 255, 255, 0, 255, 0, 255]
    wide = opened(draw(tmp_path, KINDS["PNG, 16 bits, a transparent colour"][0])[1])
    assert [n for n, pixel in enumerate(wide.get_flattened_data()) if pixel[3] == 0] == [17]


# --- turning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_turned_jpeg_loses_next_to_nothing(orientation, subsampling, tmp_path):
    """Drawn with its own tables, turned like itself: hardly a step of its coding changes. Quality 95 of its own would do worse."""
    content = encoded(JPEG, photo((64, 48)), quality=60, subsampling=subsampling, exif=exif(orientation))
    answer, result = draw(tmp_path, content)
    expected = ImageOps.exif_transpose(opened(content))
    assert answer["quality"] == 60
    assert distance(expected, opened(result)) < (0.6 if subsampling == 0 else 1.5)
    assert len(result) < 1.1 * len(content)


def test_a_turned_jpeg_keeps_its_tables_and_its_subsampling(tmp_path):
    sampled = {
        (orientation, subsampling): get_sampling(opened(draw(tmp_path, content)[1]))
        for orientation in (3, 6)
        for subsampling in (0, 1, 2)
        for content in [encoded(JPEG, PHOTO, quality=77, subsampling=subsampling, exif=exif(orientation))]
    }
    assert sampled == {(3, 0): 0, (3, 1): 1, (3, 2): 2, (6, 0): 0, (6, 1): 0, (6, 2): 2}
    assert get_sampling(opened(draw(tmp_path, encoded(JPEG, PHOTO.convert("L")))[1])) == 2
    rough = opened(draw(tmp_path, encoded(JPEG, PHOTO, qtables=[[300] * 64], exif=exif(6)))[1])
    assert rough.quantization == {0: [255] * 64}  # as large as the common kind of JPEG takes
    lopsided = [[1 + n // 2 for n in range(64)], [64 - n // 2 for n in range(64)]]
    content = encoded(JPEG, PHOTO, qtables=lopsided, exif=exif(6))
    after = opened(draw(tmp_path, content)[1])
    turned = [[table[8 * (n % 8) + n // 8] for n in range(64)] for table in lopsided]
    assert list(after.quantization.values()) == turned


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_png_and_a_sticker_are_turned(orientation, tmp_path):
    content = encoded(PNG, clear(photo((20, 12))), exif=exif(orientation))
    assert opened(draw(tmp_path, content)[1]).tobytes() == ImageOps.exif_transpose(opened(content)).tobytes()
    content = encoded(WEBP, photo((60, 40)), exif=exif(orientation), lossless=True)
    after = opened(draw(tmp_path, content)[1])
    box = after.getchannel("A").getbbox()
    expected = ImageOps.exif_transpose(opened(content)).convert("RGB")
    assert distance(after.convert("RGB").crop(box), expected) < 6


# --- colours ------------------------------------------------------------------------------------------------------


def profile(space, *tags):
    """An ICC profile of version 2 by hand; ``tags``: (signature, content)."""
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for signature, content in tags:
        table += signature + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", at + len(body), b"lcms", 0x02100000, b"prtr" if space == b"CMYK" else b"mntr", space, PCS[space]
    )
    head += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


PCS = {b"CMYK": b"Lab ", b"GRAY": b"XYZ ", b"RGB ": b"XYZ "}
WHITE = (b"wtpt", b"XYZ \0\0\0\0" + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D))
LINEAR = profile(b"GRAY", WHITE, (b"kTRC", b"curv" + bytes(8)))
CURVE = b"curv" + bytes(8)
LINEAR_RGB = profile(
    b"RGB ",
    WHITE,
    *(
        (name + b"XYZ", b"XYZ \0\0\0\0" + struct.pack(">III", *xyz))
        for name, xyz in (
            (b"r", (0x6FA2, 0x38F5, 0x0390)),
            (b"g", (0x6299, 0xB785, 0x18DA)),
            (b"b", (0x24A0, 0x0F84, 0xB6CF)),
        )
    ),
    *((name + b"TRC", CURVE) for name in (b"r", b"g", b"b")),
)
GREENISH = profile(
    b"CMYK",
    WHITE,
    (
        b"A2B0",
        b"mft1\0\0\0\0\4\3\2\0"
        + struct.pack(">9I", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
        + bytes(range(256)) * 4
        + bytes((153, 88, 158, 0, 128, 128)) * 8  # without black, every ink makes Lab 60, -40, 30
        + bytes(range(256)) * 3,
    ),
)


def test_the_profile_of_a_printer_is_obeyed(tmp_path):
    """Its colours are converted to those of screens; the profile itself goes, for it speaks of inks."""
    answer, result = draw(tmp_path, encoded(JPEG, PHOTO.convert("CMYK"), icc_profile=GREENISH))
    after = opened(result)
    assert answer["changes"] == ["to_rgb"]
    assert "icc_profile" not in after.info
    assert distance(after, Image.new("RGB", after.size, (74, 162, 88))) < 3


def test_the_profile_of_a_grey_picture_is_obeyed(tmp_path):
    for content in (
        encoded(JPEG, Image.new("L", (16, 16), 55), icc_profile=LINEAR),
        encoded(PNG, Image.new("L", (16, 16), 55), icc_profile=LINEAR),
        encoded(PNG, Image.new("LA", (16, 16), (55, 99)), icc_profile=LINEAR),
    ):
        after = opened(draw(tmp_path, content)[1])
        assert "icc_profile" not in after.info
        assert distance(after.convert("RGB"), Image.new("RGB", (16, 16), (127, 127, 127))) < 3


@pytest.mark.parametrize("broken", [b"", b"\0" * 200, GREENISH[:300], LINEAR, PROFILE], ids=len)
def test_a_profile_that_does_not_work_is_passed_over(broken, tmp_path):
    plain = encoded(JPEG, PHOTO.convert("CMYK"), quality=95)
    after = opened(draw(tmp_path, encoded(JPEG, PHOTO.convert("CMYK"), quality=95, icc_profile=broken))[1])
    assert after.tobytes() == opened(draw(tmp_path, plain)[1]).tobytes()


@pytest.mark.parametrize("name", ["JPEG with a profile, turned", "PNG with a profile"])
def test_the_profile_of_an_rgb_picture_is_kept(name, tmp_path):
    assert opened(draw(tmp_path, KINDS[name][0])[1]).info["icc_profile"] == PROFILE


def test_the_colours_of_a_sticker_become_those_of_screens(tmp_path):
    """Its transparency stays, and its profile goes, for the room that it takes."""
    content = encoded(WEBP, Image.new("RGBA", (512, 300), (55, 55, 55, 99)), icc_profile=LINEAR_RGB, lossless=True)
    after = opened(draw(tmp_path, content)[1]).crop((0, 106, 512, 406))
    assert "icc_profile" not in after.info
    assert distance(after, Image.new("RGBA", after.size, (127, 127, 127, 99))) < 3


def test_a_profile_of_another_kind_of_colours_is_not_kept(tmp_path):
    assert "icc_profile" not in opened(draw(tmp_path, encoded(PNG, PHOTO, icc_profile=LINEAR))[1]).info


def test_the_profile_of_a_picture_that_stays_a_png_is_kept(tmp_path):
    assert opened(draw(tmp_path, encoded(PNG, clear(PHOTO), exif=exif(6), icc_profile=PROFILE))[1]).info["icc_profile"] == PROFILE


# --- fitting ------------------------------------------------------------------------------------------------------

ROUGH = noise((400, 300))


@pytest.mark.parametrize("share", [0.99, 0.9, 0.75])
@pytest.mark.parametrize("form", [JPEG, PNG])
def test_the_best_quality_that_fits_is_taken(form, share, tmp_path, monkeypatch):
    content = encoded(form, ROUGH, quality=95, subsampling=0) if form == JPEG else encoded(form, ROUGH)
    full_bytes = len(encoded(JPEG, ROUGH, quality=95, subsampling=0))
    limit = int(full_bytes * share)
    answer, result = draw(tmp_path, content, max_bytes=limit)
    assert len(result) <= limit
    assert answer["encodes"] <= 5
    assert answer["changes"] == [*["to_jpeg"] * (form == PNG), *["quality_lowered"] * (answer["quality"] < 95 or form == JPEG)]
    assert (answer["width"], answer["height"]) == ROUGH.size
    quality = answer["quality"]
    assert 80 <= quality <= 95
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 2**22)  # else Pillow cannot write so much noise
    better = encoded(JPEG, opened(content), quality=quality + 1, subsampling=0, progressive=True)
    assert len(better) > limit or len(result) >= 0.97 * limit or quality == 95
    assert is_finished(tmp_path, result)


@pytest.mark.parametrize("share", [0.4, 0.2, 0.1])
@pytest.mark.parametrize("quality", [70, 95])
def test_fewer_pixels_only_where_the_lowest_quality_does_not_fit(share, quality, tmp_path):
    content = encoded(JPEG, ROUGH, quality=quality, subsampling=0)
    limit = int(len(content) * share)
    answer, result = draw(tmp_path, content, max_bytes=limit)
    assert 0.8 * limit < len(result) <= limit
    assert answer["encodes"] <= 5
    assert answer["changes"] == [*["quality_lowered"] * (quality > 80), "scaled_down"]
    assert answer["quality"] == min(quality, 80)
    assert abs(answer["width"] / answer["height"] - 4 / 3) < 0.03
    assert answer["width"] < 400


def test_a_little_too_large_is_mended_by_its_coding_alone(tmp_path):
    content = encoded(JPEG, ROUGH, quality=75, subsampling=0)
    answer, result = draw(tmp_path, content, max_bytes=int(len(content) * 0.97))
    assert (answer["quality"], answer["changes"]) == (75, ["quality_lowered"])
    assert distance(opened(content), opened(result)) < 1


def test_a_transparent_png_gets_fewer_pixels(tmp_path):
    content = encoded(PNG, clear(noise((200, 150))))
    for share in (0.8, 0.3, 0.05):
        limit = int(len(content) * share)
        answer, result = draw(tmp_path, content, max_bytes=limit)
        assert 0.8 * limit < len(result) <= limit
        assert answer["changes"] == ["scaled_down"]
        assert answer["encodes"] <= 5
        assert opened(result).mode == "RGBA"


def test_a_transparent_png_that_was_badly_packed_keeps_its_pixels(tmp_path):
    content = encoded(PNG, clear(noise((200, 150), sigma=10)), compress_level=1)
    tight = len(encoded(PNG, opened(content), optimize=True))
    answer, result = draw(tmp_path, content, max_bytes=tight + 9)
    assert answer["changes"] == ["quality_lowered"]
    assert opened(result).tobytes() == opened(content).tobytes()


def test_a_picture_of_many_pixels_that_has_to_shrink_is_decoded_at_half_its_size(tmp_path, monkeypatch):
    content = encoded(JPEG, noise((401, 301)), quality=90)
    whole = draw(tmp_path, content, max_bytes=len(content) * 3 // 4)[0]
    assert "scaled_down" not in whole["changes"]
    monkeypatch.setattr(redraw_module, "HALVED_ABOVE_PIXELS", 100_000)
    answer, result = draw(tmp_path, content, max_bytes=len(content) * 3 // 4)
    assert opened(result).size == (answer["width"], answer["height"]) == (201, 151)
    assert "scaled_down" in answer["changes"]
    turned, _ = draw(tmp_path, encoded(JPEG, noise((401, 301)), exif=exif(6)))
    assert turned["width"] == 301


@pytest.mark.parametrize("seed", ["fine", "soft", "rough", "wild"])
def test_a_sticker_fits(seed, tmp_path):
    picture = {
        "fine": noise((512, 512), sigma=8),
        "soft": Image.merge("RGBA", (*photo((512, 512)).split(), Image.effect_noise((512, 512), 6))),
        "rough": clear(noise((512, 512))),
        "wild": Image.merge("RGBA", [Image.effect_noise((512, 512), 200) for _ in "RGBA"]),
    }[seed]
    content = encoded(WEBP, picture, lossless=True, method=0)
    answer, result = draw(tmp_path, content)
    assert len(result) <= 100_000
    assert answer["encodes"] <= 5
    assert (answer["width"], answer["height"], opened(result).size) == (512, 512, (512, 512))
    assert answer["changes"] == ["quality_lowered", *["scaled_down"] * (seed == "wild")]
    assert (answer["quality"] == 90) == (seed == "fine")
    assert is_finished(tmp_path, result)


def test_a_sticker_has_transparent_room_around_it(tmp_path):
    for size, box in (
        ((300, 200), (106, 156, 406, 356)),
        ((1024, 512), (0, 128, 512, 384)),
        ((512, 100), (0, 206, 512, 306)),
    ):
        after = opened(draw(tmp_path, encoded(WEBP, photo(size)))[1])
        assert (after.mode, after.getchannel("A").getbbox()) == ("RGBA", box)


@pytest.mark.parametrize(
    "content",
    [encoded(JPEG, ROUGH), encoded(PNG, clear(noise((60, 40)))), encoded(WEBP, clear(noise((60, 40))))],
    ids=["JPEG", "PNG", "WebP"],
)
def test_what_cannot_fit_is_said_after_five_encodes(content, tmp_path):
    with pytest.raises(TooLargeError, match=r"10 bytes after [1-5] encodes"):
        draw(tmp_path, content, max_bytes=10)
    assert not (tmp_path / "target").exists()


# --- damage -------------------------------------------------------------------------------------------------------


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    big = struct.pack(">II", 15_000, 14_000)
    bomb = encoded(PNG, PHOTO)
    bomb = bomb[:8] + chunk(b"IHDR", big + bomb[24:29]) + bomb[33:]
    content = encoded(JPEG, PHOTO)
    at = content.index(b"\xff\xc0") + 5
    for mime_type, data in ((PNG, bomb), (JPEG, content[:at] + struct.pack(">HH", 15_000, 14_000) + content[at + 4 :])):
        (tmp_path / "source").write_bytes(data)
        recipe = asdict(replace(PLAIN, mime_type=mime_type))
        with pytest.raises((Image.DecompressionBombError, Image.DecompressionBombWarning)):
            redraw(source=str(tmp_path / "source"), target=str(tmp_path / "target"), recipe=recipe)


@pytest.mark.parametrize("form", [JPEG, PNG, WEBP])
def test_a_damaged_picture_raises_and_leaves_nothing_behind(form, tmp_path):
    whole = encoded(form, ROUGH, exif=exif(6))
    for data in (whole[: len(whole) // 2], b"nothing"):
        (tmp_path / "source").write_bytes(data)
        recipe = asdict(replace(PLAIN, mime_type=form, orientation=6))
        with pytest.raises(OSError, match=r"\w+"):
            redraw(source=str(tmp_path / "source"), target=str(tmp_path / "target"), recipe=recipe)
        assert not (tmp_path / "target").exists()


def test_the_first_of_several_pictures_is_kept_even_where_their_list_is_broken(tmp_path):
    two = encoded("image/mpo", PHOTO, save_all=True, append_images=[PHOTO.rotate(180)], exif=exif(6))
    answer, result = draw(tmp_path, two)
    assert answer["changes"] == ["turned", "first_picture_kept"]
    assert distance(opened(result), PHOTO.transpose(Image.Transpose.ROTATE_270)) < 9
    assert recipe_for(examined(result)) is None
    at = two.index(b"MPF\0")
    broken = two[: at + 30] + b"\xff" * 40 + two[at + 70 :]
    assert "turned" in draw(tmp_path, broken)[0]["changes"]


def test_settings_of_pillow_that_others_rely_on_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 65_536)
    before = ImageFile.MAXBLOCK
    draw(tmp_path, encoded(JPEG, ROUGH), max_bytes=20_000)
    assert before == ImageFile.MAXBLOCK
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Image.MAX_IMAGE_PIXELS == MOST_PIXELS  # Pillow's own is smaller than what is judged to be fit


def test_notes_beside_the_picture_are_named_once(tmp_path):
    content = encoded(JPEG, PHOTO, exif=exif(6))
    noted = content[:20] + segment(0xED, b"Photoshop 3.0\x008BIM\4\4\0\0\0\0\0\4\x1c\2\5\0") + content[20:]
    assert draw(tmp_path, noted)[0]["changes"] == ["turned", "metadata_removed"]
