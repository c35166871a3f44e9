"""How the tracks of an ISO base media file are coded: sample descriptions (``stsd``) and what lies in them.

Numbers of bytes are those of ISO/IEC 14496-12, 14496-14 and 14496-1 (``esds``), 14496-15 (``avcC``) and ITU-T H.264 (sequence
parameter set). Nothing raises, whatever the bytes are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

MAX_DESCRIPTIONS: Final = 16  # of one track; real ones have one

UNREADABLE: Final = "no codec that can be read"
ENCRYPTED: Final = "an encrypted codec"

HEADER_BYTES = 16  # with a 64-bit size


_VIDEO_CODECS = {
    **dict.fromkeys((b"avc1", b"avc2", b"avc3", b"avc4"), "H.264"),
    **dict.fromkeys((b"hvc1", b"hev1", b"hvc2", b"hev2"), "H.265"),
    **dict.fromkeys((b"dvh1", b"dvhe", b"dva1", b"dvav", b"dav1"), "Dolby Vision"),
    **dict.fromkeys((b"s263", b"h263", b"H263"), "H.263"),
    **dict.fromkeys((b"jpeg", b"mjpa", b"mjpb", b"MJPG"), "Motion JPEG"),
    **dict.fromkeys((b"apch", b"apcn", b"apcs", b"apco", b"ap4h", b"ap4x"), "ProRes"),
    **dict.fromkeys((b"vvc1", b"vvi1"), "H.266"),
    **dict.fromkeys((b"XVID", b"DIVX", b"FMP4"), "MPEG-4 Visual"),
    **dict.fromkeys((b"encv", b"drmi"), ENCRYPTED),
    b"av01": "AV1",
    b"vp08": "VP8",
    b"vp09": "VP9",
    b"png ": "PNG pictures",
    b"mjp2": "JPEG 2000",
    b"vc-1": "VC-1",
}
_SOUND_CODECS = {
    **dict.fromkeys((b"sawb", b"sawp"), "wide-band AMR"),
    **dict.fromkeys((b"dtsc", b"dtsh", b"dtsl", b"dtse", b"dtsx"), "DTS"),
    **dict.fromkeys((b"lpcm", b"sowt", b"twos", b"in24", b"in32", b"fl32", b"fl64", b"ipcm", b"fpcm", b"raw "), "PCM"),
    **dict.fromkeys((b"mha1", b"mha2", b"mhm1", b"mhm2"), "MPEG-H"),
    **dict.fromkeys((b"sqcp", b"Qclp"), "QCELP"),
    **dict.fromkeys((b"enca", b"drms"), ENCRYPTED),
    b"alac": "ALAC",
    b"ac-3": "AC-3",
    b"ec-3": "E-AC-3",
    b"ac-4": "AC-4",
    b"Opus": "Opus",
    b"fLaC": "FLAC",
    b"samr": "AMR",
    b".mp3": "MP3",
    b"ulaw": "G.711",
    b"alaw": "G.711",
    b"mlpa": "TrueHD",
}
_VIDEO_OBJECTS = {
    0x20: "MPEG-4 Visual",
    **dict.fromkeys(range(0x60, 0x66), "MPEG-2 video"),
    0x6A: "MPEG-1 video",
    0x6C: "Motion JPEG",
    0x6D: "PNG pictures",
    0x6E: "JPEG 2000",
}
_SOUND_OBJECTS = {
    **dict.fromkeys((0x40, 0x66, 0x67, 0x68), "AAC"),
    **dict.fromkeys((0x69, 0x6B), "MP3"),
    0xA5: "AC-3",
    0xA6: "E-AC-3",
    0xA9: "DTS",
    0xAD: "Opus",
    0xDD: "Vorbis",
    0xE1: "QCELP",
}
_IN_MPEG_4_AUDIO = {32: "MP1", 33: "MP2", 34: "MP3", 36: "MPEG-4 ALS", 37: "MPEG-4 SLS", 38: "MPEG-4 SLS", 42: "xHE-AAC"}
_AAC_TYPES = frozenset({1, 2, 3, 4, 5, 6, 17, 19, 20, 22, 23, 29, 39})  # Main, LC, SSR, LTP, HE, scalable, ER variants, HEv2, ELD
_WITH_SAMPLING = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})  # H.264, 7.3.2.1.1
_PROFILES = frozenset(bytes([profile]) for profile in (66, 77, 88, *_WITH_SAMPLING))
_SAMPLINGS = {0: "4:0:0", 1: "4:2:0", 2: "4:2:2", 3: "4:4:4"}


@dataclass(frozen=True)
class Codec:
    """How a track is coded.

    Attributes:
        name: ``H.264``, ``AAC``, ...; `ENCRYPTED`, `UNREADABLE`, or an unknown mark in quotes.
        profile: ``profile_idc`` of H.264, else None. sampling: of H.264, for example ``4:2:0``; empty where not known.
        bits: of one sample of H.264; None where not known.
        width, height: pixels, 0 for sound. channels: 0 for pictures.
    """

    name: str
    profile: int | None = None
    sampling: str = ""
    bits: int | None = None
    width: int = 0
    height: int = 0
    channels: int = 0


class Box(NamedTuple):
    """One box: its kind, and where its payload lies."""

    kind: bytes
    start: int  # of the payload
    end: int


def read_box(header: bytes, at: int, parent_end: int) -> Box | None:
    """The box whose first bytes these are; None where they are those of none. Its end may lie beyond that of its parent."""
    if len(header) < 8:
        return None
    size, kind, length = int.from_bytes(header[:4], "big"), header[4:8], 8
    if size == 1:
        size, length = int.from_bytes(header[8:16], "big"), 16
    elif size == 0:
        size = parent_end - at
    return Box(kind, at + length, at + size) if size >= length else None


def read_descriptions(stsd: bytes, read: Callable[[bytes, bytes], Codec]) -> list[Codec]:
    """All codecs of one ``stsd``. ``read``: `read_picture` or `read_sound`."""
    entries = list(_boxes_of(stsd, 8))[: min(int.from_bytes(stsd[4:8], "big"), MAX_DESCRIPTIONS + 1)]
    found = [read(kind, entry) for kind, entry in entries[:MAX_DESCRIPTIONS]]
    return found if found and len(entries) <= MAX_DESCRIPTIONS else [*found, Codec(UNREADABLE)]


def _boxes_of(data: bytes, at: int) -> Generator[tuple[bytes, bytes], None, None]:
    """Kind and payload of the boxes that lie in these bytes."""
    for _ in range(MAX_DESCRIPTIONS + 1):
        box = read_box(data[at : at + HEADER_BYTES], at, len(data))
        if box is None:
            return
        yield box.kind, data[box.start : box.end]
        at = box.end


def _child(data: bytes, at: int, wanted: bytes) -> bytes:
    return next((payload for kind, payload in _boxes_of(data, at) if kind == wanted), b"")


def read_picture(kind: bytes, entry: bytes) -> Codec:
    """Offsets count from behind the entry's own header of 8 bytes."""
    size: dict[str, Any] = {"width": _number(entry, 24), "height": _number(entry, 26)}
    if kind == b"mp4v":
        object_type = _read_esds(_child(entry, 78, b"esds"))[0]
        return Codec(_VIDEO_OBJECTS.get(object_type) or _unknown(kind, object_type), **size)
    name = _VIDEO_CODECS.get(kind) or _unknown(kind)
    if name != "H.264":
        return Codec(name, **size)
    avcc = _child(entry, 78, b"avcC")
    return Codec(name, **size, **_read_avcc(avcc)) if _is_avcc(avcc) else Codec(UNREADABLE, **size)


def read_sound(kind: bytes, entry: bytes) -> Codec:
    """The codec of a sound track's description."""
    channels = _number(entry, 16)
    if kind != b"mp4a":
        return Codec(_SOUND_CODECS.get(kind) or _unknown(kind), channels=channels)
    object_type, config = _read_esds(_find_esds(entry))
    name = _SOUND_OBJECTS.get(object_type) or _unknown(kind, object_type)
    if object_type == 0x40 and config:
        bits = _Bits(config[:8])
        audio_type = bits.take(5)
        audio_type = 32 + bits.take(6) if audio_type == 31 else audio_type
        if audio_type not in _AAC_TYPES:
            name = _IN_MPEG_4_AUDIO.get(audio_type) or f"MPEG-4 audio of the object type {audio_type}"
        if bits.take(4) == 15:  # a frequency that is written out
            bits.take(24)
        channels = {7: 8}.get(told := bits.take(4), told) or channels  # some writers put 2 into the entry of a mono track
    return Codec(name, channels=channels)


def _find_esds(entry: bytes) -> bytes:
    """QuickTime's versions of an entry have more fields, and may wrap the description in a ``wave``."""
    longer = {1: 16, 2: 36}.get(_number(entry, 8), 0)
    for at in (28 + longer, 28):
        if found := _child(entry, at, b"esds") or _child(_child(entry, at, b"wave"), 0, b"esds"):
            return found
    return b""


def _read_esds(esds: bytes) -> tuple[int, bytes]:
    """Object type, and the decoder's own configuration; 0 and nothing where they cannot be read."""
    stream = _descriptor(esds[4:], 3)
    if len(stream) < 3:
        return 0, b""
    flags, at = stream[2], 3
    at += 2 if flags & 0x80 else 0
    at += 1 + stream[at] if flags & 0x40 and at < len(stream) else 0
    at += 2 if flags & 0x20 else 0
    decoder = _descriptor(stream[at:], 4)
    return (decoder[0], _descriptor(decoder[13:], 5)) if decoder else (0, b"")


def _descriptor(data: bytes, tag: int) -> bytes:
    """The payload of a descriptor; nothing where another one stands here."""
    length = 0
    for at, byte in enumerate(data[:5]):
        if at == 0:
            if byte != tag:
                return b""
            continue
        length = length << 7 | byte & 0x7F
        if byte < 0x80:
            return data[at + 1 : at + 1 + length]
    return b""


def _is_avcc(avcc: bytes) -> bool:
    """Version 1 and a profile that H.264 knows, by the first parameter set where there is one."""
    if len(avcc) < 6 or avcc[0] != 1:
        return False
    sps = avcc[8:10] if avcc[5] & 31 else b""
    return (sps[1:] if sps and sps[0] & 31 == 7 else avcc[1:2]) in _PROFILES


def _read_avcc(avcc: bytes) -> dict[str, Any]:
    """Profile, and sampling and depth by the first sequence parameter set."""
    profile = avcc[1] if len(avcc) > 1 else None
    sps = avcc[8 : 8 + _number(avcc, 6)].replace(b"\0\0\3", b"\0\0") if len(avcc) > 5 and avcc[5] & 31 else b""
    if len(sps) < 5:
        return {"profile": profile}
    profile = sps[1]
    if profile not in _WITH_SAMPLING:
        return {"profile": profile, "sampling": "4:2:0", "bits": 8}
    bits = _Bits(sps[4:24])
    bits.take_exp_golomb()
    sampling = bits.take_exp_golomb()
    if sampling == 3:
        bits.take(1)
    depth = 8 + max(bits.take_exp_golomb(), bits.take_exp_golomb())
    if bits.short or sampling not in _SAMPLINGS:
        return {"profile": profile}
    return {"profile": profile, "sampling": _SAMPLINGS[sampling], "bits": depth}


class _Bits:
    """Bits from the front of a few bytes; zeros behind their end, and then ``short``."""

    def __init__(self, data: bytes) -> None:
        self._text = "".join(f"{byte:08b}" for byte in data)
        self._at = 0

    @property
    def short(self) -> bool:
        return self._at > len(self._text)

    def take(self, count: int) -> int:
        piece = self._text[self._at : self._at + count]
        self._at += count
        return int(piece.ljust(count, "0") or "0", 2)

    def take_exp_golomb(self) -> int:
        one = self._text.find("1", self._at)
        zeros = (len(self._text) if one < 0 else one) - self._at
        self._at += zeros
        return self.take(max(0, zeros) + 1) - 1


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _unknown(kind: bytes, object_type: int | None = None) -> str:
    if object_type == 0:
        return UNREADABLE
    return f"an unknown codec ('{mark_text(kind)}'{f' 0x{object_type:02x}' if object_type else ''})"


def mark_text(mark: bytes) -> str:
    """A mark of four characters as printable text."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in mark)
