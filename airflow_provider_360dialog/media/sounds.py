"""Sound without a box structure: MP3, AAC in ADTS frames, and what an Ogg file begins with.

MP3 and ADTS have no mark of their own, only frame headers that other bytes resemble. So one header is never believed alone: the
next one has to stand where the first says, unless the file or the head ends before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_360dialog.media.content import TO_AUDIO, TO_VIDEO, Content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_360dialog.media.content import Sample

_MP3 = Content("audio/mpeg", "an MP3 file")
_AAC = Content("audio/aac", "AAC audio")
_MP2 = Content("audio/mp2", "MPEG audio of layer II (mp2)", TO_AUDIO)
_OPUS = Content("audio/ogg", "Ogg/Opus audio")
NO_SOUND = Content(None, "an ID3 tag without MP3 sound behind it", "Export the sound again.")

_IN_OGG = ("audio/ogg",)
_OGG_CODECS = (
    (b"OpusHead", _OPUS),
    (
        b"\x01vorbis",
        Content(
            "audio/vorbis",
            "Ogg/Vorbis audio",
            "Convert it to Ogg/Opus, MP3 or M4A: WhatsApp plays no Vorbis.",
            compatible=_IN_OGG,
        ),
    ),
    (b"\x7fFLAC", Content("audio/flac", "FLAC audio in Ogg", TO_AUDIO, compatible=_IN_OGG)),
    (b"Speex   ", Content("audio/speex", "Ogg/Speex audio", TO_AUDIO, compatible=_IN_OGG)),
    (b"\x80theora", Content("video/ogg", "an Ogg/Theora video", TO_VIDEO)),
    (b"\x01video", Content("video/ogg", "an Ogg video", TO_VIDEO)),
    (b"fishead\x00", Content("application/ogg", "an Ogg file with several streams", TO_AUDIO, compatible=_IN_OGG)),
)
_OTHER_OGG = Content("application/ogg", "an Ogg file of an unknown codec", TO_AUDIO, compatible=_IN_OGG)
_MAX_PAGES = 16

SOUNDS = {
    content.mime_type: content for content in (_MP3, _AAC, _MP2, _OPUS, _OTHER_OGG, *(content for _, content in _OGG_CODECS))
}

_SEARCH_BYTES = 4096  # behind an ID3 tag some writers leave padding before the first frame
_KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # layer III, MPEG 1
_KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # layers II and III, MPEG 2 and 2.5
_KBPS_1_II = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # MPEG 1, 2, 2.5
_LAYER_III, _LAYER_II = 1, 2


def read_ogg(head: bytes) -> Content:
    """The type of a file that begins with ``OggS``, by the first packets of all its streams."""
    found = [read_ogg_codec(packet) for packet in _first_packets(head)]
    return next((content for content in found if content is not _OPUS), _OPUS) if found else _OTHER_OGG


def read_ogg_codec(packet: bytes) -> Content:
    """What a stream of an Ogg file holds, by the beginning of its first packet."""
    return next((content for mark, content in _OGG_CODECS if packet.startswith(mark)), _OTHER_OGG)


def _first_packets(head: bytes) -> Iterator[bytes]:
    at = 0
    for _ in range(_MAX_PAGES):
        page = head[at : at + 27]
        if len(page) < 27 or page[:5] != b"OggS\x00" or not page[5] & 2:  # 2: first page of a stream
            return
        lengths = head[at + 27 : at + 27 + page[26]]
        start = at + 27 + page[26]
        yield head[start : start + 8]
        at = start + sum(lengths)


def is_amr_frame(header: bytes) -> bool:
    """Whether a frame of narrow-band AMR begins with this byte (RFC 4867, 5.3)."""
    return bool(header) and header[0] & 0x83 == 0 and header[0] >> 3 in {*range(9), 15}


def read_frames(sample: Sample) -> Content | None:
    """MP3 or AAC, with or without an ID3 tag in front; None where the file does not begin so."""
    head = sample.head
    if head[:3] != b"ID3":
        return _frames_at(sample, 0)
    if len(head) < 10 or head[3] == 0xFF or head[4] == 0xFF or max(head[6:10]) > 0x7F:
        return None
    start = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + (10 if head[5] & 0x10 else 0)
    if start >= len(head):
        return NO_SOUND if start >= sample.size_bytes else _MP3
    return _search_frames(sample, start) or NO_SOUND


def _search_frames(sample: Sample, start: int) -> Content | None:
    head = sample.head
    limit = min(start + _SEARCH_BYTES, len(head))
    at = head.find(b"\xff", start, limit)
    while at >= 0:
        if found := _frames_at(sample, at):
            return found
        at = head.find(b"\xff", at + 1, limit)
    return None


def _frames_at(sample: Sample, at: int) -> Content | None:
    if sample.head[at : at + 1] != b"\xff":
        return None
    for content, length_of in _READERS:
        if _two_frames(sample, at, length_of):
            return content
    return None


def _two_frames(sample: Sample, at: int, length_of: Callable[[bytes], int]) -> bool:
    head = sample.head
    length = length_of(head[at : at + 7])
    after = at + length
    if not length or after > sample.size_bytes:
        return False
    if after + 7 > len(head):
        return True  # the file, or what is looked at of it, ends before the next header
    return length_of(head[after : after + 7]) > 0 or head[after : after + 3] in {b"TAG", b"APE", b"LYR"}


def _mpeg_length(header: bytes, layer: int) -> int:
    """Bytes of the MPEG audio frame that begins with this header; 0 where it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0 or header[1] >> 1 & 3 != layer:
        return 0
    version, rate, hz = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or rate in {0, 15} or hz == 3 or header[3] & 3 == 2:  # reserved values, and free format
        return 0
    kbps = (_KBPS_1 if layer == _LAYER_III else _KBPS_1_II)[rate] if version == 3 else _KBPS_2[rate]
    factor = 144_000 if version == 3 or layer == _LAYER_II else 72_000
    return factor * kbps // _HZ[version][hz] + (header[2] >> 1 & 1)


def _mp3_length(header: bytes) -> int:
    return _mpeg_length(header, _LAYER_III)


def _mp2_length(header: bytes) -> int:
    return _mpeg_length(header, _LAYER_II)


def _adts_length(header: bytes) -> int:
    """Bytes of the ADTS frame that begins with this header; 0 where it is none."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 else 0


_READERS = ((_MP3, _mp3_length), (_AAC, _adts_length), (_MP2, _mp2_length))
