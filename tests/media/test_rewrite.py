"""A picture without its metadata: the same pixels, and nothing that tells where or by whom it was made."""

import io
import random
import struct
import time
import tracemalloc
import zlib

import pytest
from PIL import Image, ImageCms, ImageOps

from airflow_provider_360dialog.media.pictures import PICTURE_WALKS
from airflow_provider_360dialog.media.preparation.rewrite import rewrite
from airflow_provider_360dialog.media.walks import walk_over
from tests.media.builders import chunk, segment

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
SECRET = b"52.5200 N 13.4050 E"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r exif:GPSLatitude="' + SECRET + b'"/></x:xmpmeta>'


def picture(mode="RGB", size=(40, 24)):
    grey = Image.radial_gradient("L").resize(size)
    return Image.merge("RGBA", (grey, grey.transpose(0), grey.transpose(1), grey)).convert(mode)


def exif(orientation=1):
    data = Image.Exif()
    data[0x010E], data[0x0112] = SECRET.decode(), orientation
    data.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return data


def encoded(mime_type, mode="RGB", **options):
    picture(mode).save(out := io.BytesIO(), mime_type[6:], **options)
    return out.getvalue()


def spliced(content, at, *pieces):
    return content[:at] + b"".join(pieces) + content[at:]


def with_chunks(content, *chunks):
    """A PNG with further chunks behind its header, and in front of its end."""
    return spliced(spliced(content, len(content) - 12, *chunks), 33, *chunks)


def riff(*chunks, is_filled_up=True):
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in chunks)
    body = body if is_filled_up else body[:-1]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def scanned(content, *pieces):
    """A JPEG with segments between its first two scans."""
    first = content.index(b"\xff\xda")
    return spliced(content, content.index(b"\xff\xc4", first), *pieces)


NOTES = (
    segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
    segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40) + SECRET),
    segment(0xED, b"Photoshop 3.0\0" + SECRET),
    segment(0xE0, b"JFXX\0\x10" + SECRET),
    segment(0xE2, b"MPF\0" + SECRET),
    segment(0xE2, b"FPXR\0" + SECRET),
    segment(0xEE, b"Nobody" + SECRET),
    segment(0xE5, SECRET),
    segment(0xFE, SECRET),
)
ANIMATION = [picture(size=(40, 24)), picture().rotate(90), picture().rotate(180)]

WITH_METADATA = {
    "JPEG": (JPEG, encoded(JPEG, exif=exif(), comment=SECRET, xmp=XMP, icc_profile=PROFILE)),
    "JPEG, progressive": (JPEG, encoded(JPEG, exif=exif(), progressive=True)),
    "JPEG, notes of all kinds": (JPEG, spliced(encoded(JPEG), 20, *NOTES)),
    "JPEG, notes between its scans": (JPEG, scanned(encoded(JPEG, progressive=True), *NOTES)),
    "JPEG, an end within a note between its scans": (
        JPEG,
        scanned(encoded(JPEG, progressive=True), segment(0xFE, b"\xff\xd9" + SECRET)),
    ),
    "JPEG, another behind its end": (JPEG, encoded(JPEG) + encoded(JPEG, comment=SECRET)),
    "JPEG, CMYK of Adobe": (JPEG, encoded(JPEG, "CMYK", exif=exif())),
    "JPEG, grey": (JPEG, encoded(JPEG, "L", exif=exif())),
    "JPEG, restarts": (JPEG, encoded(JPEG, exif=exif(), restart_marker_blocks=1)),
    "JPEG, junk and fill bytes": (JPEG, spliced(encoded(JPEG, exif=exif()), 20, b"\0\1\xff\xff\xff")),
    "JPEG, a thumbnail in its JFIF": (
        JPEG,
        b"\xff\xd8" + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\3" + SECRET[:18]) + encoded(JPEG)[20:],
    ),
    "PNG": (PNG, encoded(PNG, exif=exif(), icc_profile=PROFILE, dpi=(300, 300))),
    "PNG, texts": (
        PNG,
        with_chunks(
            encoded(PNG),
            chunk(b"tEXt", b"Comment\0" + SECRET),
            chunk(b"zTXt", b"Comment\0\0" + zlib.compress(SECRET)),
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
            chunk(b"tIME", bytes(7)),
            chunk(b"prVt", SECRET),
        ),
    ),
    "PNG, palette with a transparent colour": (PNG, encoded(PNG, "P", exif=exif(), transparency=3)),
    "PNG, transparent": (PNG, encoded(PNG, "RGBA", exif=exif())),
    "PNG, 16 bits": (PNG, encoded(PNG, "I;16", exif=exif())),
    "PNG, animated": (PNG, encoded(PNG, save_all=True, append_images=ANIMATION, exif=exif())),
    "PNG, a trailer": (PNG, encoded(PNG) + SECRET),
    "WebP": (WEBP, encoded(WEBP, exif=exif(), xmp=XMP, icc_profile=PROFILE)),
    "WebP, transparent": (WEBP, encoded(WEBP, "RGBA", exif=exif(), xmp=XMP + b" ")),
    "WebP, lossless": (WEBP, encoded(WEBP, "RGBA", exif=exif(), lossless=True)),
    "WebP, animated": (WEBP, encoded(WEBP, save_all=True, append_images=ANIMATION, exif=exif())),
    "WebP, an unknown chunk": (WEBP, riff((b"VP8 ", encoded(WEBP)[20:]), (b"note", SECRET + b"odd"))),
    "WebP, a trailer": (WEBP, encoded(WEBP) + SECRET),
}


def bare(content, mime_type, **more):
    """The copy, and whether anything was left out."""
    answer = rewrite(io.BytesIO(content), target := io.BytesIO(), mime_type=mime_type, **more)
    return target.getvalue(), answer


def frames(content):
    with Image.open(io.BytesIO(content)) as opened:
        if opened.format == "MPO":
            return [opened.convert("RGBA").tobytes()]
        return [opened.seek(n) or opened.convert("RGBA").tobytes() for n in range(getattr(opened, "n_frames", 1))]


@pytest.mark.parametrize("name", WITH_METADATA)
def test_the_pixels_stay_and_the_metadata_goes(name):
    mime_type, content = WITH_METADATA[name]
    copy, something = bare(content, mime_type)
    assert something
    assert SECRET not in copy
    assert frames(copy) == frames(content)
    with Image.open(io.BytesIO(copy)) as opened, Image.open(io.BytesIO(content)) as before:
        assert not opened.getexif()
        assert not {"exif", "xmp", "XML:com.adobe.xmp", "photoshop", "comment", "mp"} & opened.info.keys()
        assert opened.info.get("icc_profile") == before.info.get("icc_profile")
        assert (opened.size, opened.mode) == (before.size, before.mode)
    found = walk_over(PICTURE_WALKS[mime_type](), copy)
    assert (found.flaw, found.located, found.orientation) == (None, False, 1)
    if copy[12:16] == b"VP8X":
        assert copy[20] & 0x0C == 0  # neither of EXIF nor of XMP is said that it is there


@pytest.mark.parametrize("name", WITH_METADATA)
def test_a_copy_is_copied_as_it_is(name):
    mime_type, content = WITH_METADATA[name]
    copy, _ = bare(content, mime_type)
    assert bare(copy, mime_type) == (copy, False)


@pytest.mark.parametrize(
    ("mime_type", "content"),
    [
        (JPEG, encoded(JPEG, icc_profile=PROFILE, dpi=(72, 72))),
        (JPEG, encoded(JPEG, "CMYK")),
        (PNG, encoded(PNG, icc_profile=PROFILE, dpi=(72, 72))),
        (PNG, with_chunks(encoded(PNG), chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"cICP", b"\1\r\0\1"))),
        (WEBP, encoded(WEBP, "RGBA", icc_profile=PROFILE)),
    ],
)
def test_what_is_needed_to_show_it_stays(mime_type, content):
    assert bare(content, mime_type) == (content, False)


def test_a_jpeg_is_copied_across_the_ends_of_blocks():
    """Coded pixels are copied in blocks of 64 KiB; a marker, or a byte that only looks like one, may lie across two."""
    start, end = encoded(JPEG).partition(b"\xff\xda")[0] + segment(0xDA, bytes(10)), b"\xff\xd9"
    for length in (*range(65_520, 65_538), 131_071):
        for middle in (b"\xff\x00", b"\xff\xd3", b"\xff\xff\xff\x00", b""):
            content = start + b"\x12" * length + middle + b"\x34" * 9 + end
            assert bare(content + b"more", JPEG) == (content, True)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("mime_type", [JPEG, PNG, WEBP])
def test_the_turn_can_be_kept_without_the_rest(mime_type, orientation):
    content = encoded(mime_type, exif=exif(orientation))
    copy, something = bare(content, mime_type, orientation=orientation)
    found = walk_over(PICTURE_WALKS[mime_type](), copy)
    assert (something, found.orientation, found.located, found.flaw) == (True, orientation, False, None)
    assert SECRET not in copy
    with Image.open(io.BytesIO(copy)) as after, Image.open(io.BytesIO(content)) as before:
        assert dict(after.getexif()) == {0x0112: orientation}
        assert ImageOps.exif_transpose(after).tobytes() == ImageOps.exif_transpose(before).tobytes()
    assert bare(copy, mime_type, orientation=orientation) == (copy, False)
    if mime_type == JPEG:
        assert copy[2:4] == b"\xff\xe0"  # JFIF has to be the first


def test_a_webp_whose_last_chunk_is_not_filled_up_is_mended():
    """Some writers forget it, and Pillow does not open what they have made."""
    whole = riff((b"VP8 ", encoded(WEBP)[20:]))
    assert bare(riff((b"VP8 ", encoded(WEBP)[20:]), (b"odd ", SECRET), is_filled_up=False), WEBP) == (whole, True)
    assert bare(riff((b"VP8 ", b"odd"), is_filled_up=False), WEBP) == (riff((b"VP8 ", b"odd")), True)


def test_a_webp_without_room_for_exif_gets_none():
    """Without the extended header nobody would look for it."""
    assert bare(encoded(WEBP), WEBP, orientation=6) == (encoded(WEBP), False)


def test_it_reads_and_writes_where_the_handles_stand():
    source, target = io.BytesIO(b"before" + encoded(WEBP, exif=exif())), io.BytesIO(b"before")
    source.seek(6)
    target.seek(6)
    rewrite(source, target, mime_type=WEBP)
    assert target.getvalue() == b"before" + bare(encoded(WEBP, exif=exif()), WEBP)[0]
    assert target.tell() == len(target.getvalue())


# --- broken and hostile bytes -------------------------------------------------------------------------------------

SHORT = [each for name, each in WITH_METADATA.items() if name in {"JPEG, progressive", "PNG, texts", "WebP, transparent"}]


@pytest.mark.parametrize(("mime_type", "content"), SHORT, ids=[each[0] for each in SHORT])
def test_a_file_that_is_cut_anywhere_is_refused(mime_type, content):
    for length in range(0, len(content) - (1 if mime_type == WEBP else 0), 3):
        with pytest.raises(ValueError, match=r"ends too early|begin as"):
            bare(content[:length], mime_type)


HOSTILE = {
    "5 MB of FF": (JPEG, b"\xff\xd8" + b"\xff" * 5_000_000),
    "5 MB of zeros": (JPEG, b"\xff\xd8" + bytes(5_000_000)),
    "markers that stand alone": (JPEG, b"\xff\xd8" + b"\xff\xd0" * 100_000),
    "a scan without an end": (JPEG, b"\xff\xd8" + segment(0xDA, bytes(10)) + b"\xff\x00" * 2_500_000),
    "a scan that ends in FF": (JPEG, b"\xff\xd8" + segment(0xDA, bytes(10)) + b"\x12\xff"),
    "thousands of scans": (JPEG, b"\xff\xd8" + (segment(0xDA, bytes(10)) + b"\x12") * 100_000),
    "a segment of an impossible length": (JPEG, b"\xff\xd8\xff\xe1\0\1" + bytes(99)),
    "no chunk": (PNG, encoded(PNG)[:8] + bytes(5_000_000)),
    "thousands of chunks": (PNG, encoded(PNG)[:33] + chunk(b"tEXt") * 100_000),
    "a chunk of an impossible length": (PNG, encoded(PNG)[:33] + b"\xff\xff\xff\xffIDAT" + bytes(99)),
    "a chunk longer than the file": (PNG, encoded(PNG)[:33] + b"\x7f\xff\xff\xfftEXt" + bytes(99)),
    "two headers": (PNG, encoded(PNG)[:33] + encoded(PNG)[8:]),
    "no header": (PNG, encoded(PNG)[:8] + encoded(PNG)[33:]),
    "a needed chunk that nobody knows": (PNG, with_chunks(encoded(PNG), chunk(b"NEED"))),
    "a WebP of thousands of chunks": (WEBP, riff(*[(b"abcd", b"")] * 100_000)),
    "a WebP chunk longer than the file": (WEBP, b"RIFF\xff\xff\xff\xffWEBPabcd\xf0\xff\xff\xff" + bytes(99)),
    "a WebP chunk longer than its file says": (WEBP, b"RIFF\x20\0\0\0WEBPabcd\x40\0\0\0" + bytes(99)),
    "a WebP that is a sound": (WEBP, b"RIFF\x20\0\0\0WAVE" + bytes(99)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused(name):
    mime_type, content = HOSTILE[name]
    started_s = time.process_time()
    words = {"thousands": "more than", "impossible": "impossible|follow", "5 MB": "follow", "no chunk": "follow"}
    with pytest.raises(ValueError, match=next((words[part] for part in words if part in name), r"\w+ \w+")):
        bare(content, mime_type)
    assert time.process_time() - started_s < 5


def test_mutated_pictures_are_copied_or_refused():
    rng, refused = random.Random(360), 0
    for _ in range(2000):
        mime_type, content = rng.choice(list(WITH_METADATA.values()))
        data = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        try:
            copy, _ = bare(bytes(data), mime_type)
        except ValueError:
            refused += 1
            continue
        assert len(copy) <= len(data) + 1
    assert 200 < refused < 1900


def test_memory_is_flat_while_a_large_picture_is_copied(tmp_path):
    block = b"\x12" * 1_000_000
    scan = encoded(JPEG).partition(b"\xff\xda")[0] + segment(0xDA, bytes(10)) + block * 30 + b"\xff\xd9"
    kept = encoded(PNG)[:33] + struct.pack(">I", 30_000_000) + b"IDAT" + block * 30 + bytes(4) + chunk(b"IEND")
    for mime_type, content in ((JPEG, scan), (PNG, kept), (PNG, kept.replace(b"IDAT", b"tEXt", 1))):
        (tmp_path / "source").write_bytes(content)
        with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("wb") as target:
            tracemalloc.start()
            rewrite(source, target, mime_type=mime_type)
            peak_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak_bytes < 1_000_000
