"""What the headers of pictures tell. Pictures are made by hand, or by Pillow 13.0.0 where `MADE_WITH_PILLOW` says so."""

import base64
import random
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest

from airflow_provider_360dialog.media.pictures import PICTURE_WALKS, Flaw, Picture
from airflow_provider_360dialog.media.walks import Passing, walk_over

SAMPLES = Path(__file__).parents[2] / "dags_examples" / "media"
JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
TRUNCATED, CORRUPT = "image_truncated", "image_corrupt"

# --- pictures made by hand ----------------------------------------------------------------------------------------


def segment(kind, content):
    return bytes([0xFF, kind]) + struct.pack(">H", 2 + len(content)) + content


def frame(width=30, height=20, *, components=3, bits=8, kind=0xC0):
    return segment(kind, struct.pack(">BHHB", bits, height, width, components) + bytes(3 * components))


JFIF = segment(0xE0, b"JFIF\0" + bytes(9))
TABLES = segment(0xDB, bytes(65)) + segment(0xC4, bytes(20))
SCAN = segment(0xDA, bytes(10)) + b"\x12\xff\x00\x34\xff\xd0\x56" * 9


def jpeg(*segments, sizes=None, end=b"\xff\xd9"):
    return b"\xff\xd8" + JFIF + b"".join(segments) + (frame() if sizes is None else sizes) + TABLES + SCAN + end


def chunk(kind, content=b"", *, crc=None):
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) if crc is None else crc)
    )


def header(width=30, height=20, *, bits=8, colour=2, rest=b"\0\0\0", crc=None):
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, bits, colour) + rest, crc=crc)


IDAT, IEND = chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND")
PLTE = chunk(b"PLTE", bytes(6))


def png(*chunks, first=None):
    return b"\x89PNG\r\n\x1a\n" + (header() if first is None else first) + b"".join(chunks or (IDAT,)) + IEND


def part(kind, content=b""):
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def webp(*parts, less=0):
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body) - less) + body


def vp8(width=30, height=20, start=b"\x10\0\0\x9d\x01\x2a"):
    return part(b"VP8 ", start + struct.pack("<HH", width, height) + bytes(7))


def vp8l(width=30, height=20, *, alpha=0, mark=0x2F, version=0):
    return part(b"VP8L", struct.pack("<BI", mark, width - 1 | height - 1 << 14 | alpha << 28 | version << 29) + bytes(4))


def vp8x(width=30, height=20, *, flags=0):
    return part(b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


ANIM, ANMF = part(b"ANIM", bytes(6)), part(b"ANMF", bytes(16) + vp8())
ANIMATED, ALPHA = 0x02, 0x10


def tiff(*tags, order=">", gps=None, start=8):
    """One directory of EXIF. ``tags``: (tag, type, value); ``gps``: the tags of its own directory behind it."""
    entries = [
        (tag, kind, struct.pack(order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,))))
        for tag, kind, value in tags
    ]
    gps_at = start + 2 + 12 * (len(entries) + 1) + 4
    if gps is not None:
        entries.append((0x8825, 4, struct.pack(order + "I", gps_at)))
    magic = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", start) + bytes(start - 8)
    body = struct.pack(order + "H", len(entries)) + b"".join(
        struct.pack(order + "HHI", tag, kind, 1) + value for tag, kind, value in entries
    )
    inner = (
        b""
        if gps is None
        else struct.pack(order + "H", len(gps)) + b"".join(struct.pack(order + "HHII", tag, 2, 1, 0) for tag in gps)
    )
    return magic + body + bytes(4) + inner


def turned(orientation, kind=3, **more):
    return tiff((0x010F, 2, 0), (0x0112, kind, orientation), **more)


def exif(content):
    return segment(0xE1, b"Exif\0\0" + content)


def xmp(content):
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + content)


def mpf(count, order=">"):
    return segment(0xE2, b"MPF\0" + tiff((0xB000, 7, 0), (0xB001, 4, count), order=order))


# Each by Image.new(mode, (9, 5), colour).save(..., format, ...) with the options that its name tells.
MADE_WITH_PILLOW = {
    name: base64.b64decode(text)
    for name, text in {
        "progressive CMYK JPEG, turned, with a position": (
            "/9j/7gAOQWRvYmUAZAAAAAAA/+EAZEV4aWYAAE1NACoAAAAIAAIBEgADAAAAAQAGAACIJQAEAAAAAQAAACYAAAAAAAIAAQACAAAAAk4AAAAAAgAFAAAA"
            "AwAAAEQAAAAAAAAAAQAAAAEAAAACAAAAAQAAAAMAAAAB/9sAQwAbEhQXFBEbFxYXHhwbIChCKyglJShROj0wQmBVZWRfVV1baniZgWpxkHNbXYW1hpCe"
            "o6utq2eAvMm6pseZqKuk/8IAFAgABQAJBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAAEBf/aAA4EQwBNAFkASwAAAAHR0LrQ/8QAFBAB"
            "AAAAAAAAAAAAAAAAAAAAEP/aAAgBQwABBQI//8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgBTQABBQI//8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgB"
            "WQABBQI//8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgBSwABBQI//8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgBQwAGPwI//8QAFBABAAAAAAAAAAAA"
            "AAAAAAAAEP/aAAgBTQAGPwI//8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgBWQAGPwI//8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgBSwAGPwI//8QA"
            "FBABAAAAAAAAAAAAAAAAAAAAEP/aAAgBQwABPyE//8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgBTQABPyE//8QAFBABAAAAAAAAAAAAAAAAAAAAEP/a"
            "AAgBWQABPyE//8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgBSwABPyE//9oADgRDAE0AWQBLAAAAEKr/xAAUEAEAAAAAAAAAAAAAAAAAAAAQ/9oACAFD"
            "AAE/ED//xAAUEAEAAAAAAAAAAAAAAAAAAAAQ/9oACAFNAAE/ED//xAAUEAEAAAAAAAAAAAAAAAAAAAAQ/9oACAFZAAE/ED//xAAUEAEAAAAAAAAAAAAA"
            "AAAAAAAQ/9oACAFLAAE/ED//2Q=="
        ),
        "MPO of two": (
            "/9j/4AAQSkZJRgABAQAAAQABAAD/4gBoTVBGAElJKgAIAAAAAwAAsAcABAAAADAxMDABsAQAAQAAAAIAAAACsAcAIAAAADIAAAAAAAAAAAADAIgBAAAA"
            "AAAAAAAAAAAAAAAeAQAAbAEAAAAAAAAgICAgICAgICAgICAgICAg/9sAQwAoHB4jHhkoIyEjLSsoMDxkQTw3Nzx7WF1JZJGAmZaPgIyKoLTmw6Cq2q2K"
            "jMj/y9ru9f///5vB////+v/m/f/4/9sAQwErLS08NTx2QUF2+KWMpfj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4"
            "+Pj4/8AAEQgABQAJAwEiAAIRAQMRAf/EABUAAQEAAAAAAAAAAAAAAAAAAAAF/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/EABUBAQEAAAAAAAAAAAAAAAAA"
            "AAAC/8QAFBEBAAAAAAAAAAAAAAAAAAAAAP/aAAwDAQACEQMRAD8AlgCn/9n/2P/gABBKRklGAAEBAAABAAEAAP/bAEMAKBweIx4ZKCMhIy0rKDA8ZEE8"
            "Nzc8e1hdSWSRgJmWj4CMiqC05sOgqtqtiozI/8va7vX///+bwf////r/5v3/+P/bAEMBKy0tPDU8dkFBdviljKX4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4"
            "+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+P/AABEIAAUACQMBIgACEQEDEQH/xAAVAAEBAAAAAAAAAAAAAAAAAAAABf/EABQQAQAAAAAAAAAAAAAA"
            "AAAAAAD/xAAVAQEBAAAAAAAAAAAAAAAAAAABA//EABQRAQAAAAAAAAAAAAAAAAAAAAD/2gAMAwEAAhEDEQA/AJoAVf/Z"
        ),
        "APNG of three": (
            "iVBORw0KGgoAAAANSUhEUgAAAAkAAAAFCAIAAAAYMVE8AAAACGFjVEwAAAADAAAAAM7tusAAAAAaZmNUTAAAAAAAAAAJAAAABQAAAAAAAAAAAAAAAQAA"
            "6JeOZwAAABRJREFUeJxj1BCRY8ABmHBJ0EgOADPWAGS4udmtAAAAGmZjVEwAAAABAAAACQAAAAUAAAAAAAAAAAAAAAEAAHPkZLMAAAAYZmRBVAAAAAJ4"
            "nGMMEJFjwAGYcEnQSA4ASY4AjLt0BP4AAAAaZmNUTAAAAAMAAAAJAAAABQAAAAAAAAAAAAAAAQAAnnK3WgAAABhmZEFUAAAABHicY6wQkWPAAZhwSdBI"
            "DgBfRgC0G6qPDwAAAABJRU5ErkJggg=="
        ),
        "palette PNG, transparent": (
            "iVBORw0KGgoAAAANSUhEUgAAAAkAAAAFAQMAAACtnVQoAAAABlBMVEUBAgMEBQaVU29IAAAAAXRSTlMAQObYZgAAAFxlWElmTU0AKgAAAAgAAgESAAMA"
            "AAABAAYAAIglAAQAAAABAAAAJgAAAAAAAgABAAIAAAACTgAAAAACAAUAAAADAAAARAAAAAAAAAABAAAAAQAAAAIAAAABAAAAAwAAAAHgiCXSAAAAC0lE"
            "QVR4nGNgQAEAAA8AAbVWKT4AAAAASUVORK5CYII="
        ),
        "animated WebP of three": (
            "UklGRioBAABXRUJQVlA4WAoAAAASAAAACAAABAAAQU5JTQYAAAAAAAAAAABBTk1GSAAAAAAAAAAAAAgAAAQAAAAAAAJBTFBICgAAAAEHUK2ICERE/wNW"
            "UDggHgAAAFABAJ0BKgkABQABQCYllAAEYYAA/vuNK/VpNIkAAEFOTUZSAAAAAAAAAAAACAAABAAAAAAAAkFMUEgKAAAAAQdQrYgIRET/A1ZQOCAoAAAA"
            "UAEAnQEqCQAFAAFAJiWYAARhgAD++kXL6GjT8P//O38QX8QT7AAAAEFOTUZUAAAAAAAAAAAACAAABAAAAAAAAkFMUEgKAAAAAQdQrYgIRET/A1ZQOCAq"
            "AAAAMAEAnQEqCQAFAAFAJiWgAANwAP746n/+vVLXKTf//npn/3L/9beoAAAA"
        ),
        "lossless WebP, transparent": ("UklGRh4AAABXRUJQVlA4TBEAAAAvCAABEAdQiqLUo1qBiOh/AAA="),
        "lossy WebP, transparent, turned": (
            "UklGRrIAAABXRUJQVlA4WAoAAAAYAAAACAAABAAAQUxQSAoAAAABB1CtiAhERP8DVlA4IB4AAABQAQCdASoJAAUAAUAmJZQABDOAAP77jSv1aTSJAABF"
            "WElGXAAAAE1NACoAAAAIAAIBEgADAAAAAQAGAACIJQAEAAAAAQAAACYAAAAAAAIAAQACAAAAAk4AAAAAAgAFAAAAAwAAAEQAAAAAAAAAAQAAAAEAAAAC"
            "AAAAAQAAAAMAAAAB"
        ),
        "lossy WebP": ("UklGRioAAABXRUJQVlA4IB4AAABQAQCdASoJAAUAAUAmJZQABDOAAP77jSv1aTSJAAA="),
    }.items()
}


def look(mime_type, content):
    return walk_over(PICTURE_WALKS[mime_type](), content)


def mime_type_of(content):
    return {b"\xff\xd8": JPEG, b"\x89P": PNG, b"RI": WEBP}[content[:2]]


def code(found):
    return found.flaw.code if found.flaw else None


RGB = {"width": 30, "height": 20, "bits": 8, "colours": "rgb"}
PLAIN = Picture(**RGB)


def but(**facts):
    return Picture(**{**RGB, **facts})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(jpeg(), PLAIN, id="a plain one"),
        pytest.param(jpeg(sizes=frame(kind=0xC2)), PLAIN, id="progressive"),
        pytest.param(jpeg(sizes=frame(65_535, 1)), but(width=65_535, height=1), id="as wide as the format allows"),
        pytest.param(jpeg(sizes=frame(components=1)), but(colours="grey"), id="grey"),
        pytest.param(jpeg(sizes=frame(components=4)), but(colours="cmyk"), id="CMYK"),
        pytest.param(jpeg(sizes=frame(bits=12, kind=0xC1)), but(bits=12), id="12 bits"),
        pytest.param(jpeg(b"\xff" * 5000), PLAIN, id="fill bytes in front of a marker"),
        pytest.param(jpeg(b"\0\1\xff\0junk"), PLAIN, id="junk between segments, which decoders pass over"),
        pytest.param(jpeg(b"\0" * 4095), PLAIN, id="a marker across two looks for it"),
        pytest.param(jpeg(b"\xff\x01\xff\xd7"), PLAIN, id="markers that stand alone"),
        pytest.param(jpeg(exif(turned(6))), but(orientation=6), id="turned, big endian"),
        pytest.param(jpeg(exif(turned(8, order="<"))), but(orientation=8), id="turned, little endian"),
        pytest.param(jpeg(exif(turned(5)), exif(turned(3))), but(orientation=5), id="the first EXIF holds"),
        pytest.param(jpeg(exif(b""), exif(turned(3))), but(orientation=3), id="an EXIF that says nothing is passed over"),
        pytest.param(jpeg(segment(0xE1, turned(3)), segment(0xE2, b"Exif\0\0" + turned(3))), PLAIN, id="EXIF in the wrong place"),
        pytest.param(jpeg(segment(0xE1, mpf(2)[4:])), PLAIN, id="a list of pictures in the wrong place"),
        pytest.param(jpeg(segment(0x0A, b"\xff\xd9")), PLAIN, id="a segment of a kind that nobody knows"),
        pytest.param(jpeg(mpf(2)), but(pictures=2), id="several pictures, big endian"),
        pytest.param(jpeg(mpf(3, "<")), but(pictures=3), id="several pictures, little endian"),
        pytest.param(jpeg(mpf(1)), PLAIN, id="a list of one picture"),
        pytest.param(jpeg(segment(0xE2, b"MPF\0")), PLAIN, id="an empty list of pictures"),
        pytest.param(
            jpeg(mpf(2), xmp(b'<x hdrgm:Version="1.0"/>')), but(pictures=2, gain_map=True), id="a gain map, said behind"
        ),
        pytest.param(
            jpeg(xmp(b'<x hdrgm:Version="1.0"/>'), xmp(b""), mpf(2)), but(pictures=2, gain_map=True), id="a gain map, said before"
        ),
        pytest.param(jpeg(end=b"\xff\xd9" + jpeg()), PLAIN, id="another picture behind its end"),
        pytest.param(
            jpeg(end=b"\xff\xd9" + bytes(300_000) + b"SEFT"), PLAIN, id="a trailer longer than what is kept of a file's end"
        ),
        pytest.param(jpeg(end=b"\x12" * (65_535 - 63) + b"\xff\xd9"), PLAIN, id="its end across two looks for it"),
        pytest.param(jpeg(end=b"\x12" * 300_000 + b"\xff\xd9"), PLAIN, id="a long scan"),
        pytest.param(jpeg(end=SCAN + TABLES + b"\xff\xd9"), PLAIN, id="several scans"),
    ],
)
def test_the_facts_of_a_jpeg(content, expected):
    assert look(JPEG, content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"\xff\xd8", TRUNCATED, id="nothing behind its mark"),
        pytest.param(jpeg(end=b""), TRUNCATED, id="no end"),
        pytest.param(jpeg(end=b"\xff"), TRUNCATED, id="half an end"),
        pytest.param(jpeg(end=bytes(200_000)), TRUNCATED, id="zeros for its second half, as of a broken download"),
        pytest.param(jpeg(exif(b"\xff\xd9"), end=b""), TRUNCATED, id="an end in front of its scan only"),
        pytest.param(jpeg(exif(b"\xff\xd9\xff\xd9"))[:40], TRUNCATED, id="cut off in a segment"),
        pytest.param(b"\xff\xd8" + JFIF + b"\xff\xd9", CORRUPT, id="no picture"),
        pytest.param(jpeg(sizes=b""), CORRUPT, id="no size"),
        pytest.param(jpeg(sizes=frame(0, 20)), CORRUPT, id="no width"),
        pytest.param(jpeg(sizes=frame(30, 0)), CORRUPT, id="no height"),
        pytest.param(jpeg(sizes=frame() + frame()), CORRUPT, id="two sizes"),
        pytest.param(jpeg(sizes=frame(components=2)), CORRUPT, id="two colours"),
        pytest.param(
            jpeg(sizes=segment(0xC0, struct.pack(">BHHB", 8, 20, 30, 3) + bytes(8))),
            CORRUPT,
            id="a header too short for its colours",
        ),
        pytest.param(jpeg(b"\xff\xe5\0\1"), CORRUPT, id="a segment shorter than its length"),
        pytest.param(jpeg(bytes(70_000)), CORRUPT, id="a desert between segments"),
        pytest.param(jpeg(segment(0xE5, b"") * 5000), CORRUPT, id="thousands of segments"),
    ],
)
def test_what_is_broken_about_a_jpeg(content, expected):
    assert code(look(JPEG, content)) == expected


@pytest.mark.parametrize("kind", [0xC4, 0xC8, 0xCC])
def test_the_tables_of_a_jpeg_are_not_taken_for_its_size(kind):
    assert look(JPEG, jpeg(frame(7, 7, kind=kind))) == PLAIN


@pytest.mark.parametrize("kind", [0xC1, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_every_coding_of_a_jpeg_has_its_size_at_the_same_place(kind):
    assert look(JPEG, jpeg(sizes=frame(kind=kind))) == PLAIN


GREY, PALETTE = {"colours": "grey"}, {"colours": "palette"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(png(), PLAIN, id="a plain one"),
        pytest.param(png(first=header(rest=b"\0\0\1")), PLAIN, id="interlaced"),
        pytest.param(png(first=header(bits=16)), but(bits=16), id="16 bits"),
        pytest.param(png(first=header(colour=6)), but(colours="rgba", transparent=True), id="with alpha"),
        pytest.param(
            png(first=header(colour=6, bits=16)), but(colours="rgba", transparent=True, bits=16), id="with alpha, 16 bits"
        ),
        pytest.param(png(first=header(colour=0, bits=1)), but(**GREY, bits=1), id="black and white"),
        pytest.param(png(first=header(colour=0)), but(**GREY), id="grey"),
        pytest.param(png(first=header(colour=4)), but(**GREY, transparent=True), id="grey with alpha"),
        pytest.param(png(PLTE, IDAT, first=header(colour=3, bits=4)), but(**PALETTE), id="a palette has 8 bits per channel"),
        pytest.param(
            png(PLTE, chunk(b"tRNS", b"\0"), IDAT, first=header(colour=3)),
            but(**PALETTE, transparent=True),
            id="a transparent palette",
        ),
        pytest.param(png(chunk(b"tRNS", bytes(6)), IDAT), but(transparent=True), id="a transparent colour"),
        pytest.param(png(IDAT, chunk(b"tRNS", bytes(6))), PLAIN, id="a transparent colour behind the picture does not count"),
        pytest.param(png(chunk(b"acTL", b"\0\0\0\3" + bytes(4)), IDAT), but(frames=3), id="animated"),
        pytest.param(png(chunk(b"acTL", b"\0\0\0\1" + bytes(4)), IDAT), PLAIN, id="an animation of one frame"),
        pytest.param(png(chunk(b"acTL", bytes(8)), IDAT), PLAIN, id="an animation of no frame"),
        pytest.param(
            png(IDAT, chunk(b"acTL", b"\0\0\0\3" + bytes(4))), PLAIN, id="an animation said behind the picture does not count"
        ),
        pytest.param(png(chunk(b"eXIf", turned(3)), IDAT), but(orientation=3), id="turned"),
        pytest.param(png(IDAT, chunk(b"eXIf", turned(3, order="<"))), but(orientation=3), id="turned, said behind the picture"),
        pytest.param(
            png(chunk(b"eXIf", turned(3) + bytes(300_000)), IDAT), but(orientation=3), id="turned, in more EXIF than is looked at"
        ),
        pytest.param(png(IDAT, IDAT, IDAT), PLAIN, id="a picture in pieces"),
        pytest.param(
            png(chunk(b"tEXt", bytes(99)), IDAT, chunk(b"tIME", bytes(7))) + b"trailer", PLAIN, id="other chunks, and a trailer"
        ),
        pytest.param(png(first=header(0x7FFF_FFFF, 1)), but(width=0x7FFF_FFFF, height=1), id="as wide as the format allows"),
    ],
)
def test_the_facts_of_a_png(content, expected):
    assert look(PNG, content) == expected


KNOWN_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}


def test_a_png_of_every_colour_has_only_the_depths_that_the_format_knows():
    accepted = {
        (colour, bits)
        for colour in range(8)
        for bits in range(20)
        if not look(PNG, png(PLTE, IDAT, first=header(colour=colour, bits=bits))).flaw
    }
    assert accepted == {(colour, bits) for colour, depths in KNOWN_DEPTHS.items() for bits in depths}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(png()[:8], TRUNCATED, id="nothing behind its mark"),
        pytest.param(png()[:-12], TRUNCATED, id="no end"),
        pytest.param(png()[:-1], TRUNCATED, id="an end without the last of its bytes"),
        pytest.param(
            png(first=header() + struct.pack(">I", 0x7FFF_FFFF) + b"tEXt"), TRUNCATED, id="a chunk longer than the file"
        ),
        pytest.param(png(first=IDAT + header()), CORRUPT, id="another chunk first"),
        pytest.param(png(first=header(rest=b"\0\0\0\0")), CORRUPT, id="a header too long"),
        pytest.param(png(first=chunk(b"iHDR", header()[8:-4])), CORRUPT, id="a header of another name"),
        pytest.param(png(first=b"\0\0\0\x0e" + header()[4:]), CORRUPT, id="a header that says another length"),
        pytest.param(png(first=header(rest=b"\1\0\0")), CORRUPT, id="an unknown compression"),
        pytest.param(png(first=header(rest=b"\0\1\0")), CORRUPT, id="an unknown filter"),
        pytest.param(png(first=header(rest=b"\0\0\2")), CORRUPT, id="an unknown interlacing"),
        pytest.param(png(first=header(crc=0)), CORRUPT, id="a header whose checksum is wrong"),
        pytest.param(png(first=header(0, 20)), CORRUPT, id="no width"),
        pytest.param(png(first=header(30, 0)), CORRUPT, id="no height"),
        pytest.param(png(header(), IDAT), CORRUPT, id="two headers"),
        pytest.param(png(IDAT, b"\0\0\0\0ID\0T\0\0\0\0"), CORRUPT, id="a chunk without a name"),
        pytest.param(png(IDAT, b"\x80\0\0\0tEXt"), CORRUPT, id="a chunk of an impossible length"),
        pytest.param(png(chunk(b"tEXt")), CORRUPT, id="no picture"),
        pytest.param(png(first=header(colour=3)), CORRUPT, id="no palette"),
        pytest.param(png(IDAT, PLTE, first=header(colour=3)), CORRUPT, id="a palette behind the picture"),
        pytest.param(png(*[chunk(b"tEXt")] * 70_000), CORRUPT, id="tens of thousands of chunks"),
    ],
)
def test_what_is_broken_about_a_png(content, expected):
    assert code(look(PNG, content)) == expected


CLEAR = {"colours": "rgba", "transparent": True}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(webp(vp8()), PLAIN, id="lossy"),
        pytest.param(webp(vp8(30 | 0x4000, 20 | 0xC000)), PLAIN, id="lossy, with a wish for scaling in its size"),
        pytest.param(webp(vp8l()), PLAIN, id="lossless"),
        pytest.param(webp(vp8l(16_384, 16_384)), but(width=16_384, height=16_384), id="lossless, as large as the format allows"),
        pytest.param(webp(vp8l(alpha=1)), but(**CLEAR), id="lossless, transparent"),
        pytest.param(webp(vp8x(), vp8()), PLAIN, id="extended"),
        pytest.param(webp(vp8x(flags=ALPHA), part(b"ALPH", bytes(3)), vp8()), but(**CLEAR), id="lossy, transparent"),
        pytest.param(webp(vp8x(), vp8l(alpha=1)), PLAIN, id="the extended header's word on transparency holds"),
        pytest.param(webp(vp8x(flags=ANIMATED), ANIM, ANMF, ANMF), but(frames=2), id="animated"),
        pytest.param(
            webp(vp8x(99, 50, flags=ANIMATED | ALPHA), ANIM, ANMF, ANMF, ANMF),
            but(width=99, height=50, frames=3, **CLEAR),
            id="animated, transparent, frames smaller than it",
        ),
        pytest.param(webp(vp8x(flags=ANIMATED), ANIM, ANMF), PLAIN, id="an animation of one frame"),
        pytest.param(webp(vp8x(), vp8(), ANMF, ANMF), PLAIN, id="frames without the flag do not count"),
        pytest.param(webp(vp8x(flags=8), vp8(), part(b"EXIF", turned(6))), but(orientation=6), id="turned"),
        pytest.param(
            webp(vp8x(flags=8), vp8(), part(b"EXIF", b"Exif\0\0" + turned(7, order="<"))),
            but(orientation=7),
            id="turned, with the mark that does not belong there",
        ),
        pytest.param(
            webp(vp8x(), vp8(), part(b"EXIF", turned(6)), part(b"EXIF", turned(3))), but(orientation=6), id="turned twice"
        ),
        pytest.param(webp(vp8x(), vp8(), vp8l(99, 99)), PLAIN, id="a second picture does not count"),
        pytest.param(webp(vp8x(), vp8(), part(b"XMP ", b"odd")), PLAIN, id="an odd chunk at its end"),
        pytest.param(webp(vp8x(), part(b"ICCP", b"odd"), vp8()), PLAIN, id="an odd chunk in its middle"),
        pytest.param(webp(vp8x(), vp8(), part(b"XMP ", b"odd"), less=1)[:-1], PLAIN, id="an odd chunk at its end, not filled up"),
        pytest.param(webp(vp8()) + b"trailer", PLAIN, id="a trailer"),
        pytest.param(
            webp(vp8x(1 << 24, 1, flags=ANIMATED), ANMF), but(width=1 << 24, height=1), id="a canvas as wide as the format allows"
        ),
        pytest.param(webp(vp8x(), vp8(), part(b"abcd"), part(b"EXIF")), PLAIN, id="empty chunks"),
    ],
)
def test_the_facts_of_a_webp(content, expected):
    assert look(WEBP, content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(webp(vp8())[:12], TRUNCATED, id="nothing behind its mark"),
        pytest.param(webp(vp8())[:-1], TRUNCATED, id="the last byte is missing"),
        pytest.param(webp(vp8(), less=-2), TRUNCATED, id="it says that it is longer"),
        pytest.param(webp(), CORRUPT, id="no chunk"),
        pytest.param(webp(vp8x()), CORRUPT, id="no picture"),
        pytest.param(webp(vp8x(flags=ANIMATED), ANIM), CORRUPT, id="no frame"),
        pytest.param(webp(vp8x(flags=ANIMATED), vp8()), CORRUPT, id="an animation flag over a picture that is no frame"),
        pytest.param(webp(ANIM, vp8()), CORRUPT, id="another chunk first"),
        pytest.param(webp(vp8x(), vp8x(), vp8()), CORRUPT, id="two headers"),
        pytest.param(webp(vp8(), part(b"VP8X")), CORRUPT, id="a header at its end"),
        pytest.param(
            webp(vp8x(flags=ANIMATED), ANMF, part(b"ANMF", bytes(15))), CORRUPT, id="a frame that is too short to be one"
        ),
        pytest.param(webp(vp8(), less=2), CORRUPT, id="a chunk reaches behind the end that it says"),
        pytest.param(webp(vp8x(), vp8(31, 20)), CORRUPT, id="another width than its canvas"),
        pytest.param(webp(vp8x(), vp8l(30, 21)), CORRUPT, id="another height than its canvas"),
        pytest.param(webp(vp8(0, 20)), CORRUPT, id="no width"),
        pytest.param(webp(vp8(30, 0)), CORRUPT, id="no height"),
        pytest.param(webp(vp8(start=b"\x11\0\0\x9d\x01\x2a")), CORRUPT, id="lossy, begins with a frame that needs another"),
        pytest.param(webp(vp8(start=b"\x10\0\0\x9d\x01\x2b")), CORRUPT, id="lossy, without its start code"),
        pytest.param(webp(vp8l(mark=0x2E)), CORRUPT, id="lossless, without its mark"),
        pytest.param(webp(vp8l(version=1)), CORRUPT, id="lossless, of an unknown version"),
        pytest.param(webp(part(b"VP8 ", bytes(9))), CORRUPT, id="a header that is too short"),
        pytest.param(webp(part(b"VP8L")), CORRUPT, id="an empty picture"),
        pytest.param(webp(part(b"VP8X"), vp8()), CORRUPT, id="an empty header"),
        pytest.param(webp(vp8x(flags=ANIMATED), *[ANMF] * 5000), CORRUPT, id="thousands of chunks"),
    ],
)
def test_what_is_broken_about_a_webp(content, expected):
    assert code(look(WEBP, content)) == expected


def test_facts_in_front_of_a_flaw_are_kept():
    """So that all that is wrong is told at once."""
    assert look(JPEG, jpeg(exif(turned(6)), sizes=frame(components=4), end=b"")) == but(
        colours="cmyk", orientation=6, flaw=Flaw(TRUNCATED, "has no end; a copy or a download was cut off")
    )
    assert look(PNG, png(first=header(bits=16))[:-1]).bits == 16
    found = look(WEBP, webp(vp8x(flags=ANIMATED | ALPHA), ANIM, ANMF, ANMF, part(b"XMP ", bytes(99)), ANMF)[:-60])
    assert (found.width, found.frames, found.transparent, code(found)) == (30, 2, True, TRUNCATED)


def test_several_pictures_and_animation_are_told_by_numbers():
    assert [but(frames=n).animated for n in (1, 2)] == [False, True]
    assert [but(pictures=n).several for n in (1, 2)] == [False, True]
    assert not but(pictures=2, gain_map=True).several


# --- EXIF ---------------------------------------------------------------------------------------------------------


def read_exif(content):
    found = look(PNG, png(chunk(b"eXIf", content), IDAT))
    assert found.flaw is None
    return found.orientation, found.located


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        *(pytest.param(turned(n, order=order), n, id=f"orientation {n}, {order}") for n in range(1, 9) for order in "<>"),
        pytest.param(turned(6, start=20), 6, id="a directory that begins later"),
        pytest.param(turned(6, 4), 6, id="in four bytes"),
        pytest.param(turned(6, 4, order="<"), 6, id="in four bytes, little endian"),
        pytest.param(turned(0), 1, id="0 is none"),
        pytest.param(turned(9), 1, id="9 is none"),
        pytest.param(turned(0x0601), 1, id="a number of the wrong byte order is none"),
        pytest.param(turned(0x1_0006, 4), 1, id="a large number is none"),
        pytest.param(b"", 1, id="nothing"),
        pytest.param(b"MM\0*", 1, id="only its mark"),
        pytest.param(b"XX" + turned(6)[2:], 1, id="another mark"),
        pytest.param(b"MM\0+" + turned(6)[4:], 1, id="the mark of BigTIFF"),
        pytest.param(turned(6)[:33], 1, id="cut off in its entry"),
        pytest.param(b"MM\0*" + b"\xff" * 99, 1, id="a directory far away"),
        pytest.param(b"MM\0*\0\0\0\0" + turned(6)[8:], 1, id="a directory in its own mark"),
        pytest.param(turned(6).replace(b"\0\2\1\x0f", b"\xff\xff\1\x0f"), 6, id="more entries than there is room for"),
    ],
)
def test_the_turn_that_exif_says(content, expected):
    assert read_exif(content) == (expected, False)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("gps", "expected"),
    [
        pytest.param([1, 2, 3, 4], True, id="with a latitude"),
        pytest.param([0], False, id="with its version only, as phones write it"),
        pytest.param([], False, id="empty"),
    ],
)
def test_a_position_is_seen(order, gps, expected):
    assert read_exif(turned(3, order=order, gps=gps)) == (3, expected)


def test_a_position_outside_of_what_is_looked_at_is_taken_for_one():
    assert read_exif(tiff((0x8825, 4, 0xFFFF_FFF0))) == (1, True)


def test_a_position_that_points_back_at_itself_ends():
    assert read_exif(tiff((0x0002, 2, 0), (0x8825, 4, 8))) == (1, True)
    assert read_exif(tiff((0x8825, 4, 8))) == (1, False)


def test_a_position_is_seen_in_every_format():
    content = tiff(gps=[2])
    assert look(JPEG, jpeg(exif(content))).located
    assert look(PNG, png(chunk(b"eXIf", content), IDAT)).located
    assert look(WEBP, webp(vp8x(), vp8(), part(b"EXIF", content))).located


# --- XMP ----------------------------------------------------------------------------------------------------------

XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
LATITUDE = b'<x:xmpmeta><rdf:Description exif:GPSLatitude="52,31.2N"/></x:xmpmeta>'
CITY = b'<x:xmpmeta><rdf:Description photoshop:City="Berlin" exif:GPSVersionID="2.3.0.0" dc:title="GPS"/></x:xmpmeta>'
PACKETS = {
    "a latitude": (LATITUDE, True),
    "a longitude as an element": (b"<exif:GPSLongitude>13,24.3E</exif:GPSLongitude>", True),
    "coordinates of a drone": (b'<r drone-dji:GpsLatitude="+52.5"/>', True),
    "coordinates of a film": (b"<Keys:GPSCoordinates>52.5 13.4</Keys:GPSCoordinates>", True),
    "the name of another vocabulary": (b"<geo:lat>52.5</geo:lat>", True),
    "the place that it shows": (b'<r exif:GPSDestLatitude="52,31.2N"/>', True),
    "UTF-16": (LATITUDE.decode().encode("utf-16"), True),
    "a city": (CITY, False),
    "nothing": (b"", False),
}


@pytest.mark.parametrize("name", PACKETS)
def test_a_position_in_xmp_is_seen_in_every_format(name):
    packet, expected = PACKETS[name]
    long = segment(0xE1, XMP_EXTENSION + bytes(40) + packet)
    assert look(JPEG, jpeg(xmp(packet))) == but(located=expected)
    assert look(JPEG, jpeg(xmp(CITY), long)) == but(located=expected)
    assert look(JPEG, jpeg(long, xmp(CITY), exif(turned(6)))) == but(located=expected, orientation=6)
    assert look(PNG, png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet), IDAT)) == but(located=expected)
    assert look(PNG, png(IDAT, chunk(b"tEXt", b"XML:com.adobe.xmp\0" + packet))) == but(located=expected)
    assert look(WEBP, webp(vp8x(), vp8(), part(b"XMP ", packet))) == but(located=expected)


def test_a_name_that_lies_across_two_segments_is_seen():
    for cut in range(1, len(LATITUDE)):
        pieces = (LATITUDE[:cut], LATITUDE[cut:])
        assert look(JPEG, jpeg(*[segment(0xE1, XMP_EXTENSION + bytes(40) + piece) for piece in pieces])).located


def test_xmp_in_the_wrong_place_is_none():
    assert look(JPEG, jpeg(segment(0xE2, xmp(LATITUDE)[4:]), segment(0xED, LATITUDE), segment(0xFE, LATITUDE))) == PLAIN
    assert look(PNG, png(chunk(b"tEXt", b"Comment\0" + LATITUDE), chunk(b"zTXt", b"Comment\0\0x"), IDAT)) == PLAIN
    assert look(PNG, png(chunk(b"iTXt", b"Comment\0\1\0\0\0" + LATITUDE), IDAT)) == PLAIN


def raw_profile(content):
    """As ImageMagick writes it."""
    digits = content.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return f"\nexif\n{len(content):8}\n{chr(10).join(lines)}\n".encode()


@pytest.mark.parametrize("keyword", [b"Raw profile type exif", b"Raw profile type APP1", b"raw profile type xmp"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(raw_profile(b"Exif\0\0" + tiff(gps=[2])), True, id="EXIF with a position"),
        pytest.param(raw_profile(tiff(gps=[2])), True, id="EXIF without its mark"),
        pytest.param(raw_profile(b"Exif\0\0" + turned(6)), False, id="EXIF without a position"),
        pytest.param(raw_profile(b"http://ns.adobe.com/xap/1.0/\0" + LATITUDE), True, id="XMP with a position"),
        pytest.param(raw_profile(CITY), False, id="XMP without a position"),
        pytest.param(raw_profile(turned(6)) + b"z", True, id="no hexadecimal digits"),
        pytest.param(raw_profile(turned(6))[:-2], True, id="half a byte at its end"),
        pytest.param("\nexif\n 2\n\u0661\u0661".encode(), True, id="digits of another script"),
    ],
)
def test_an_old_text_of_a_png_is_looked_into(keyword, content, expected):
    assert look(PNG, png(chunk(b"tEXt", keyword + b"\0" + content), IDAT)) == but(located=expected)
    assert look(PNG, png(IDAT, chunk(b"iTXt", keyword + b"\0\0\0en\0\0" + content))) == but(located=expected)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"x")), id="zTXt"),
        pytest.param(chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(b"x")), id="XMP in zTXt"),
        pytest.param(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x")), id="compressed iTXt"),
        pytest.param(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0"), id="iTXt that is cut off"),
        pytest.param(chunk(b"iTXt", b"XML:com.adobe.xmp"), id="a keyword alone"),
        pytest.param(chunk(b"tEXt", b"XML:com.adobe.xmp\0" + bytes(300_000)), id="more than is looked at"),
    ],
)
def test_metadata_that_nobody_looked_into_is_taken_for_a_position(text):
    assert look(PNG, png(text, IDAT)) == but(located=True)
    assert look(PNG, png(text, chunk(b"tEXt", b"XML:com.adobe.xmp\0" + CITY), IDAT)) == but(located=True)


def test_xmp_of_a_webp_that_is_longer_than_what_is_looked_at_is_taken_for_a_position():
    assert look(WEBP, webp(vp8x(), vp8(), part(b"XMP ", bytes(300_000)))) == but(located=True)
    assert look(WEBP, webp(vp8x(), vp8(), part(b"XMP ", bytes(200_000)))) == PLAIN


# --- real pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("progressive CMYK JPEG, turned, with a position", {"colours": "cmyk", "orientation": 6, "located": True}),
        ("MPO of two", {"pictures": 2}),
        ("APNG of three", {"frames": 3}),
        ("palette PNG, transparent", {"colours": "palette", "transparent": True, "orientation": 6, "located": True}),
        ("animated WebP of three", {**CLEAR, "frames": 3}),
        ("lossless WebP, transparent", CLEAR),
        ("lossy WebP, transparent, turned", {**CLEAR, "orientation": 6, "located": True}),
        ("lossy WebP", {}),
    ],
)
def test_a_picture_made_with_pillow_is_what_its_name_says(name, expected):
    content = MADE_WITH_PILLOW[name]
    assert look(mime_type_of(content), content) == but(width=9, height=5, **expected)


@pytest.mark.parametrize(
    ("name", "mime_type", "expected"),
    [
        ("photo.jpg", JPEG, Picture(800, 600, 8, "rgb")),
        ("chart.png", PNG, Picture(640, 400, 8, "rgb")),
        ("bad_png_named.jpg", PNG, Picture(640, 400, 8, "rgb")),
        ("sticker.webp", WEBP, Picture(512, 512, 8, "rgba", transparent=True)),
        ("sticker_animated.webp", WEBP, Picture(512, 512, 8, "rgba", transparent=True, frames=4)),
        ("bad_sticker_too_large.webp", WEBP, Picture(190, 190, 8, "rgb")),
    ],
)
def test_a_committed_sample_is_whole(name, mime_type, expected):
    assert look(mime_type, (SAMPLES / name).read_bytes()) == expected


# --- hostile bytes ------------------------------------------------------------------------------------------------

WHOLE = [
    (JPEG, jpeg(exif(turned(6, gps=[2])))),
    (JPEG, jpeg(mpf(2), xmp(b'<x hdrgm:Version="1.0"/>'), b"\xff\xff\0junk")),
    (JPEG, jpeg(end=b"\x12" * 70_000 + b"\xff\xd9")),
    (PNG, png()),
    (PNG, png(chunk(b"eXIf", turned(6, gps=[2])), chunk(b"acTL", b"\0\0\0\2" + bytes(4)), IDAT, IDAT)),
    (PNG, png(PLTE, chunk(b"tRNS", b"\0"), IDAT, first=header(colour=3))),
    (WEBP, webp(vp8())),
    (WEBP, webp(vp8l(alpha=1))),
    (WEBP, webp(vp8x(flags=ANIMATED), ANIM, ANMF, ANMF, part(b"EXIF", turned(6, gps=[2])))),
    (JPEG, jpeg(xmp(LATITUDE), segment(0xE1, XMP_EXTENSION + bytes(40) + LATITUDE))),
    (PNG, png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + LATITUDE), IDAT)),
    (PNG, png(chunk(b"tEXt", b"Raw profile type exif\0" + raw_profile(tiff(gps=[2]))), IDAT)),
    (WEBP, webp(vp8x(), vp8(), part(b"XMP ", LATITUDE))),
    *((mime_type_of(content), content) for content in MADE_WITH_PILLOW.values()),
]


@pytest.mark.parametrize(("mime_type", "content"), [each for each in WHOLE if len(each[1]) < 4000], ids=range(len(WHOLE) - 1))
def test_a_file_that_is_cut_anywhere_is_called_cut_off(mime_type, content):
    assert look(mime_type, content).flaw is None
    end = content.index(b"\xff\xd9") + 2 if content == MADE_WITH_PILLOW["MPO of two"] else len(content)
    for length in range(12, end):
        assert code(look(mime_type, content[:length])) == TRUNCATED


def mutated(rng, content):
    """Some bytes turned, a piece cut out, the end cut off, or a piece of another picture put in."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))])
            case 1:
                del data[at : at + rng.randint(1, 40)]
            case 2:
                del data[max(at, 2) :]
            case 3:
                other = rng.choice(WHOLE)[1]
                start = rng.randrange(len(other))
                data[at:at] = other[start : start + rng.randint(1, 300)]
    return bytes(data)


def test_mutated_pictures_are_read_to_the_same_end_in_blocks_of_any_size():
    """3,000 of them, each by the walk of its own format or another; nothing is raised, and no fact is out of range."""
    rng, flawed = random.Random(360), 0
    for _ in range(3000):
        mime_type, content = rng.choice(WHOLE)
        mime_type = rng.choice((mime_type, mime_type, mime_type, JPEG, PNG, WEBP))
        data = mutated(rng, content)
        passing, at = Passing(PICTURE_WALKS[mime_type]()), 0
        while at < len(data):
            length = rng.choice((1, 3, 17, 256, 4096, 70_000))
            passing.feed(data[at : at + length])
            at += length
        found = passing.end()
        assert found == look(mime_type, data)
        assert 1 <= found.orientation <= 8
        assert found.flaw or (found.width and found.height and found.bits and found.colours)
        assert found.frames >= 1
        assert found.pictures >= 1
        flawed += found.flaw is not None
    assert 1000 < flawed < 2900


HOSTILE = {
    "5 MB of FF": (JPEG, b"\xff" * 5_000_000),
    "5 MB of alternating FF and 00": (JPEG, b"\xff\xd8" + b"\xff\0" * 2_500_000),
    "5 MB of markers that stand alone": (JPEG, b"\xff\xd8" + b"\xff\xd0" * 2_500_000),
    "5 MB of empty segments": (JPEG, b"\xff\xd8" + b"\xff\xe1\0\2" * 1_250_000),
    "5 MB of zeros as PNG": (PNG, png()[:8] + bytes(5_000_000)),
    "a PNG of a million chunks": (PNG, png(first=header() + chunk(b"tEXt") * 1_000_000)),
    "a PNG of a million pieces": (PNG, png(first=header() + chunk(b"IDAT") * 1_000_000)),
    "a PNG of many animations": (PNG, png(first=header() + chunk(b"acTL", b"\xff" * 8) * 100_000)),
    "a WebP of a million chunks": (WEBP, webp(vp8x(), part(b"abcd") * 1_000_000)),
    "a WebP of a million frames": (WEBP, webp(vp8x(flags=ANIMATED), part(b"ANMF", bytes(16)) * 1_000_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_early_with_a_named_flaw(name):
    mime_type, content = HOSTILE[name]
    asked, longest = 0, 0
    walk = PICTURE_WALKS[mime_type]()
    started_s = time.process_time()
    wanted = next(walk)
    while True:
        asked, longest = asked + 1, max(longest, wanted.length)
        try:
            wanted = walk.send(content[wanted.offset : wanted.offset + wanted.length])
        except StopIteration as stop:
            found = stop.value
            break
    spent_s = time.process_time() - started_s
    assert code(found) == CORRUPT
    assert found.flaw.words
    assert asked <= 2 * 65_536 + 2
    assert longest <= 64 * 1024
    assert spent_s < 5


def test_the_names_of_chunks_are_not_collected():
    names = [bytes([65 + n // 676, 65 + n // 26 % 26, 65 + n % 26, 90]) for n in range(17_576)]
    content = png(first=header() + b"".join(chunk(name) for name in names))
    walk = PICTURE_WALKS[PNG]()
    wanted = next(walk)
    tracemalloc.start()
    with pytest.raises(StopIteration):
        while True:
            wanted = walk.send(content[wanted.offset : wanted.offset + wanted.length])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 200_000


def test_directories_of_exif_are_read_once_whatever_they_say():
    """EXIF of 64 KiB whose directories claim 65,535 entries each and point at themselves, in every segment of a JPEG."""
    content = b"MM\0*\0\0\0\x08\xff\xff" + (struct.pack(">HHII", 0x8825, 4, 1, 8) * 5500)[:65_000]
    started_s = time.process_time()
    found = look(JPEG, jpeg(*[exif(content)] * 70))
    assert (found.orientation, found.located, found.flaw) == (1, False, None)
    assert time.process_time() - started_s < 10


def test_memory_is_flat_while_a_large_picture_passes():
    block = b"\x12" * 262_144
    for mime_type, start in (
        (JPEG, jpeg(end=b"")),
        (PNG, png()[:-12] + struct.pack(">I", 100_000_000) + b"IDAT"),
        (WEBP, b"RIFF\xff\xff\xff\x0fWEBPVP8 \xf0\xff\xff\x0f" + vp8()[8:]),
    ):
        passing = Passing(PICTURE_WALKS[mime_type]())
        tracemalloc.start()
        passing.feed(start)
        for _ in range(100):
            passing.feed(block)
        found = passing.end()
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert code(found) == TRUNCATED
        assert peak_bytes < 1_500_000
