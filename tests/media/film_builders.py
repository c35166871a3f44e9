"""ISO base media files made by hand, box by box."""

import struct

from tests.media.builders import box


def full(kind, *payload, version=0, flags=0):
    return box(kind, bytes([version]) + flags.to_bytes(3, "big"), *payload)


def u16(*numbers):
    return struct.pack(f">{len(numbers)}H", *numbers)


def u32(*numbers):
    return struct.pack(f">{len(numbers)}I", *numbers)


def long_box(kind, payload):
    return u32(1) + kind + struct.pack(">Q", 16 + len(payload)) + payload


def open_box(kind, payload):
    return u32(0) + kind + payload


def picture(kind=b"avc1", *children, width=640, height=360):
    return box(kind, bytes(6), u16(1), bytes(16), u16(width, height), bytes(50), *children)


def sound(kind=b"mp4a", *children, channels=2, version=0, more=b""):
    return box(kind, bytes(6), u16(1), u16(version), bytes(6), u16(channels, 16), bytes(4), u32(44_100 << 16), more, *children)


def descriptor(tag, payload, long_length=False):
    length = bytes([0x80, 0x80, 0x80, len(payload)]) if long_length else bytes([len(payload)])
    return bytes([tag]) + length + payload


def esds(object_type, config=b"", flags=0, optional=b"", long_length=False):
    decoder = bytes([object_type]) + bytes(12) + (descriptor(5, config, long_length) if config else b"")
    stream = u16(1) + bytes([flags]) + optional + descriptor(4, decoder, long_length)
    return full(b"esds", descriptor(3, stream, long_length))


def bits(*pieces):
    """``(value, width)`` as bits, and a bare number as Exp-Golomb; filled up with zeros to whole bytes."""
    text = ""
    for piece in pieces:
        if isinstance(piece, tuple):
            text += f"{piece[0]:0{piece[1]}b}"
        else:
            text += "0" * ((piece + 1).bit_length() - 1) + f"{piece + 1:b}"
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def sps(profile, *fields):
    return bytes([0x67, profile, 0, 30]) + bits(*fields, (1, 1)) + b"\x80"


def avcc(profile, parameter_set=b""):
    sets = bytes([0xE1]) + u16(len(parameter_set)) + parameter_set if parameter_set else b"\xe0"
    return box(b"avcC", bytes([1, profile, 0, 30, 0xFF]) + sets + b"\0")


def stsd(*entries, count=None):
    return full(b"stsd", u32(len(entries) if count is None else count), *entries)


def ctts(*entries, version=0):
    return full(b"ctts", u32(len(entries)), *(u32(*entry) for entry in entries), version=version)


def trak(handler, *in_stbl, track_id=1):
    hdlr = full(b"hdlr", bytes(4), handler, bytes(12))
    return box(
        b"trak", full(b"tkhd", bytes(8), u32(track_id), bytes(68)), box(b"mdia", hdlr, box(b"minf", box(b"stbl", *in_stbl)))
    )


MAIN = trak(b"vide", stsd(picture(b"avc1", avcc(77, sps(77, 0)))))
AAC = trak(b"soun", stsd(sound(b"mp4a", esds(0x40, b"\x12\x10"))), track_id=2)
FTYP = box(b"ftyp", b"isom", u32(512), b"isomiso2avc1mp41")
MDAT = box(b"mdat", bytes(100))


def moov(*traks):
    return box(b"moov", full(b"mvhd", u32(0, 0, 1000, 2500), bytes(80)), *traks)


def mp4(*traks, brand=b"isom"):
    return box(b"ftyp", brand, u32(512), b"mp41") + moov(*traks) + MDAT
