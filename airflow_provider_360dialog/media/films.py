"""Facts of an ISO base media file (mp4, m4a, 3gp): its tracks with their codecs, and the order and completeness of its parts.

A walk over box headers in the one pass that hashes the file. Work and memory are bounded whatever the bytes are, and nothing is
decoded. What the facts mean is decided in `film_rules`; the type by brand in `boxes`. Numbers of bytes are those of ISO/IEC
14496-12 (boxes), 14496-14 and 14496-1 (``esds``), 14496-15 (``avcC``) and ITU-T H.264 (sequence parameter set).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from airflow_provider_360dialog.media.walks import Range

MAX_BOXES: Final = 4096  # below the top level
MAX_BOXES_OF_LEVEL: Final = 512
MAX_PAYLOAD_BYTES: Final = 64 * 1024
MAX_DESCRIPTIONS: Final = 16  # of one track; real ones have one

UNREADABLE: Final = "no codec that can be read"
ENCRYPTED: Final = "an encrypted codec"

_HEADER_BYTES = 16  # with a 64-bit size
_OPEN_END = 2**64  # of a box that reaches to the end of the file; a written size ends below, or beyond every file
_NEEDED = frozenset({b"ftyp", b"moov", b"moof", b"mdat"})  # what else is cut off, or follows as junk, is not missed
_MEDIA = frozenset({b"mdat", b"imda"})

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


@dataclass(frozen=True)
class Track:
    """One track. ``handler``: ``vide``, ``soun`` or another mark. ``reorders``: its frames are not shown in coded order."""

    handler: str
    codecs: tuple[Codec, ...] = ()
    reorders: bool = False


@dataclass(frozen=True)
class Film:
    """What an ISO base media file holds.

    Attributes:
        brands: the major one first. duration_s: None where the index does not say.
        has_index: a ``moov`` was found. index_first: it stands before the media. has_media: an ``mdat`` was found.
        fragmented: the index announces fragments. cut: a part is longer than the file.
        complete: the walk came to the end of the file; False where it gave up at `MAX_BOXES`, as in a film of many fragments.
        index_read: it came to the end of the index; False where a track may have been missed.
    """

    brands: tuple[str, ...] = ()
    tracks: tuple[Track, ...] = ()
    duration_s: float | None = None
    has_index: bool = False
    index_first: bool = False
    has_media: bool = False
    fragmented: bool = False
    cut: bool = False
    complete: bool = True
    index_read: bool = True

    @property
    def pictures(self) -> tuple[Track, ...]:
        """The video tracks."""
        return tuple(track for track in self.tracks if track.handler == "vide")

    @property
    def sounds(self) -> tuple[Track, ...]:
        """The audio tracks."""
        return tuple(track for track in self.tracks if track.handler == "soun")

    @property
    def truncated(self) -> bool:
        """True where the end is missing: without an index or without media there is nothing to play."""
        return self.cut or (self.complete and not (self.has_index and self.has_media))

    @property
    def mime_type(self) -> str | None:
        """Video or audio, by the tracks; 3gpp where the major brand says so. None without a picture and a sound."""
        family = "3gpp" if self.brands and self.brands[0][:2] == "3g" else "mp4"
        if self.pictures:
            return f"video/{family}"
        return f"audio/{family}" if self.sounds else None


_Steps: TypeAlias = Generator[Range, bytes, None]


def walk_film() -> Generator[Range, bytes, Film]:
    """The facts of a file: a walk for `walks.Passing`. Never raises, whatever the bytes are."""
    reader = _Reader()
    yield from reader.walk()
    return reader.film()


class _Box(NamedTuple):
    kind: bytes
    start: int  # of the payload
    end: int


def _read_box(header: bytes, at: int, parent_end: int) -> _Box | None:
    """The box whose first bytes these are; None where they are those of none. Its end may lie beyond that of its parent."""
    if len(header) < 8:
        return None
    size, kind, length = int.from_bytes(header[:4], "big"), header[4:8], 8
    if size == 1:
        size, length = int.from_bytes(header[8:16], "big"), 16
    elif size == 0:
        size = parent_end - at
    return _Box(kind, at + length, at + size) if size >= length else None


@dataclass
class _Trak:
    """A track while it is read."""

    id: int = 0
    handler: bytes = b""
    descriptions: bytes = b""
    codecs: tuple[Codec, ...] = ()
    reorders: bool = False

    def close(self) -> None:
        """Only now the handler is known for certain; the bytes are not kept."""
        read = {b"vide": _read_picture, b"soun": _read_sound}.get(self.handler)
        self.codecs = tuple(_read_descriptions(self.descriptions, read)) if read else ()
        self.descriptions = b""

    def track(self, reordered_ids: set[int]) -> Track:
        return Track(_text(self.handler), self.codecs, self.reorders or self.id in reordered_ids)


@dataclass
class _Reader:
    left: int = MAX_BOXES
    brands: tuple[str, ...] = ()
    traks: list[_Trak] = field(default_factory=list)
    duration_s: float | None = None
    seen: set[bytes] = field(default_factory=set)
    index_first: bool = False
    fragment_of: int = 0
    first_offsets: dict[int, int] = field(default_factory=dict)
    reordered_ids: set[int] = field(default_factory=set)
    cut: bool = False
    complete: bool = False
    index_read: bool = True

    def film(self) -> Film:
        return Film(
            brands=self.brands,
            tracks=tuple(trak.track(self.reordered_ids) for trak in self.traks),
            duration_s=self.duration_s,
            has_index=b"moov" in self.seen,
            index_first=self.index_first,
            has_media=not _MEDIA.isdisjoint(self.seen),
            fragmented=b"mvex" in self.seen,
            cut=self.cut,
            complete=self.complete,
            index_read=self.index_read,
        )

    def walk(self) -> _Steps:
        at, header, last = 0, (yield Range(0, _HEADER_BYTES)), b""
        for _ in range(MAX_BOXES_OF_LEVEL):
            box = _read_box(header, at, _OPEN_END)
            if box is None or self.left == 0:
                self.complete = box is None
                self.cut = last == b"moof"  # its media is missing
                return
            yield from self._visit_top(box)
            # The last byte of this box, and the header of the next: so a cut is seen without knowing how long the file is.
            piece = b"" if box.end == _OPEN_END else (yield Range(box.end - 1, 1 + _HEADER_BYTES))
            if not piece:
                self.cut = box.kind in _NEEDED and box.end != _OPEN_END
                self.complete = True
                return
            at, header, last = box.end, piece[1:], box.kind

    def _visit_top(self, box: _Box) -> _Steps:
        first = box.kind not in self.seen
        self.seen.add(box.kind)
        if box.kind == b"ftyp" and first:
            payload = yield from _payload(box.start, box.end)
            marks = [payload[at : at + 4] for at in range(0, min(len(payload), 4096), 4) if at != 4]  # at 4: the version
            self.brands = tuple(_text(mark) for mark in marks if len(mark) == 4)
        elif box.kind == b"moov" and first:
            self.index_first = _MEDIA.isdisjoint(self.seen)
            yield from self._level(box.start, box.end, {b"mvhd": self._mvhd, b"trak": self._trak, b"mvex": self._mvex})
        elif box.kind == b"moof":
            yield from self._level(box.start, box.end, {b"traf": self._traf})

    def _level(self, at: int, end: int, visitors: dict[bytes, Callable[[int, int], _Steps]]) -> _Steps:
        """Visit the boxes of one level. A box that claims to be longer than its parent is taken to end with it."""
        for _ in range(MAX_BOXES_OF_LEVEL):
            if at + 8 > end:
                return
            if self.left == 0:
                break
            self.left -= 1
            box = _read_box((yield Range(at, _HEADER_BYTES)), at, end)
            if box is None:
                return
            if box.kind in visitors:
                yield from visitors[box.kind](box.start, min(box.end, end))
            at = box.end
        self.index_read &= b"moof" in self.seen

    def _mvhd(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, min(end, start + 32))
        form, at = (">IQ", 20) if payload[:1] == b"\1" else (">II", 12)
        if len(payload) >= at + struct.calcsize(form):
            scale, duration = struct.unpack_from(form, payload, at)
            self.duration_s = duration / scale if scale and duration else None

    def _mvex(self, _start: int, _end: int) -> _Steps:
        self.seen.add(b"mvex")
        yield from ()

    def _trak(self, start: int, end: int) -> _Steps:
        self.traks.append(_Trak())
        yield from self._level(start, end, {b"tkhd": self._tkhd, b"mdia": self._mdia})
        self.traks[-1].close()

    def _tkhd(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, min(end, start + 24))
        at = 20 if payload[:1] == b"\1" else 12
        self.traks[-1].id = int.from_bytes(payload[at : at + 4], "big")

    def _mdia(self, start: int, end: int) -> _Steps:
        yield from self._level(start, end, {b"hdlr": self._hdlr, b"minf": self._minf})

    def _hdlr(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, min(end, start + 12))
        self.traks[-1].handler = self.traks[-1].handler or payload[8:12]

    def _minf(self, start: int, end: int) -> _Steps:
        yield from self._level(start, end, {b"stbl": self._stbl})

    def _stbl(self, start: int, end: int) -> _Steps:
        yield from self._level(start, end, {b"stsd": self._stsd, b"ctts": self._ctts})

    def _stsd(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, end)
        self.traks[-1].descriptions = self.traks[-1].descriptions or payload

    def _ctts(self, start: int, end: int) -> _Steps:
        """Every frame has the same offset, or there are frames that wait for a later one: B-frames."""
        payload = yield from _payload(start, end)
        entries = payload[8 : 8 + 8 * int.from_bytes(payload[4:8], "big")]
        offsets = {offset for count, offset in struct.iter_unpack(">II", entries[: len(entries) // 8 * 8]) if count}
        self.traks[-1].reorders |= len(offsets) > 1

    def _traf(self, start: int, end: int) -> _Steps:
        self.fragment_of = 0
        yield from self._level(start, end, {b"tfhd": self._tfhd, b"trun": self._trun})

    def _tfhd(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, min(end, start + 8))
        self.fragment_of = int.from_bytes(payload[4:8], "big")

    def _trun(self, start: int, end: int) -> _Steps:
        payload = yield from _payload(start, end)
        flags, count = int.from_bytes(payload[1:4], "big"), int.from_bytes(payload[4:8], "big")
        if not flags & 0x800:  # no composition offsets
            return
        first = 8 + 4 * (flags & 0x5).bit_count() + 4 * (flags & 0x700).bit_count()
        step = 4 * (flags & 0xF00).bit_count()
        for at in range(first, min(len(payload) - 3, first + step * count), step):
            offset = int.from_bytes(payload[at : at + 4], "big")
            if self.first_offsets.setdefault(self.fragment_of, offset) != offset:
                self.reordered_ids.add(self.fragment_of)
                return


def _payload(start: int, end: int) -> Generator[Range, bytes, bytes]:
    if end <= start:
        return b""
    return (yield Range(start, min(end - start, MAX_PAYLOAD_BYTES)))


# --- sample descriptions --------------------------------------------------------------------------------------------


def _read_descriptions(stsd: bytes, read: Callable[[bytes, bytes], Codec]) -> list[Codec]:
    entries = list(_boxes_of(stsd, 8))[: min(int.from_bytes(stsd[4:8], "big"), MAX_DESCRIPTIONS + 1)]
    found = [read(kind, entry) for kind, entry in entries[:MAX_DESCRIPTIONS]]
    return found if found and len(entries) <= MAX_DESCRIPTIONS else [*found, Codec(UNREADABLE)]


def _boxes_of(data: bytes, at: int) -> Generator[tuple[bytes, bytes], None, None]:
    """Kind and payload of the boxes that lie in these bytes."""
    for _ in range(MAX_DESCRIPTIONS + 1):
        box = _read_box(data[at : at + _HEADER_BYTES], at, len(data))
        if box is None:
            return
        yield box.kind, data[box.start : box.end]
        at = box.end


def _child(data: bytes, at: int, wanted: bytes) -> bytes:
    return next((payload for kind, payload in _boxes_of(data, at) if kind == wanted), b"")


def _read_picture(kind: bytes, entry: bytes) -> Codec:
    """Offsets count from behind the entry's own header of 8 bytes."""
    size: dict[str, Any] = {"width": _number(entry, 24), "height": _number(entry, 26)}
    if kind == b"mp4v":
        object_type = _read_esds(_child(entry, 78, b"esds"))[0]
        return Codec(_VIDEO_OBJECTS.get(object_type) or _unknown(kind, object_type), **size)
    name = _VIDEO_CODECS.get(kind) or _unknown(kind)
    return Codec(name, **size, **(_read_avcc(_child(entry, 78, b"avcC")) if name == "H.264" else {}))


def _read_sound(kind: bytes, entry: bytes) -> Codec:
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
    return f"an unknown codec ('{_text(kind)}'{f' 0x{object_type:02x}' if object_type else ''})"


def _text(mark: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in mark)
