"""Sounds by real encoders; by hand only what no encoder here writes (Speex, wide-band AMR, layers put together)."""

from __future__ import annotations

import struct

from tests.media.builders import OPUS, id3, ogg
from tests.media.labelled.encoders import FASTSTART, sound
from tests.media.labelled.labels import Labelled, cut, damaged

MIB, MB = 2**20, 10**6
FAST = tuple(FASTSTART.items())
PLAIN_MP3 = (("id3v2_version", "0"), ("write_xing", "0"))


def aac() -> bytes:
    """AAC in ADTS frames."""
    return sound("adts", "aac")


def amr() -> bytes:
    """AMR of 12.2 kbit/s: frames of 32 bytes."""
    return sound("amr", "libopencore_amrnb", rate=8_000)


def mp3() -> bytes:
    """An MP3 with a short ID3 tag and a table of its length."""
    return sound("mp3", "libmp3lame", seconds=1, bit_rate=128_000)


def m4a() -> bytes:
    """AAC in an M4A file, its index first."""
    return sound("ipod", "aac", mux=FAST)


def opus(channels: int = 1) -> bytes:
    """Opus in Ogg."""
    return sound("ogg", "libopus", channels=channels)


def vorbis() -> bytes:
    """Vorbis in Ogg."""
    return sound("ogg", "vorbis", channels=2)


def _bare_mp3() -> bytes:
    return sound("mp3", "libmp3lame", seconds=1, bit_rate=128_000, mux=PLAIN_MP3)


def sized_mp3(size_bytes: int) -> bytes:
    """An MP3 of exactly this size: its tag holds a picture as large as that."""
    return id3(_bare_mp3(), size_bytes - len(_bare_mp3()) - 10)


def _speex() -> bytes:
    header = b"Speex   " + b"1.2.1".ljust(20, b"\0") + struct.pack("<13i", 1, 80, 16_000, 1, 4, 1, -1, 320, 0, 1, 0, 0, 0)
    return ogg(header)


def _wide_band_amr() -> bytes:
    return b"#!AMR-WB\n" + (b"\x44" + bytes(60)) * 25


def _amr_of_two_channels() -> bytes:
    return b"#!AMR_MC1.0\n" + struct.pack(">I", 2) + amr()[6:]


FILES = [
    Labelled("AAC in ADTS frames", "song.aac", aac),
    Labelled("stereo AAC in ADTS frames", "song.aac", lambda: sound("adts", "aac", channels=2)),
    Labelled("AMR", "note.amr", amr),
    Labelled("MP3 with a short ID3 tag", "song.mp3", mp3),
    Labelled("MP3 without any tag", "song.mp3", _bare_mp3),
    Labelled("stereo MP3", "song.mp3", lambda: sound("mp3", "libmp3lame", channels=2)),
    Labelled("MP3 of 22 kHz (MPEG 2)", "song.mp3", lambda: sound("mp3", "libmp3lame", rate=22_050)),
    Labelled("MP3 behind an ID3 tag of 100,000 bytes", "song.mp3", lambda: id3(_bare_mp3(), 100_000)),
    Labelled("M4A", "song.m4a", m4a),
    Labelled("M4A with its index last", "song.m4a", lambda: sound("ipod", "aac")),
    Labelled("AAC in an MP4 file without a picture", "song.m4a", lambda: sound("mp4", "aac", mux=FAST)),
    Labelled("AAC in an MP4 file without a picture, called mp4", "song.mp4", lambda: sound("mp4", "aac", mux=FAST)),
    Labelled("M4A with two audio streams", "song.m4a", lambda: sound("ipod", "aac", streams=2, mux=FAST)),
    Labelled("Ogg/Opus, mono", "voice.ogg", opus),
    Labelled("Ogg/Opus, stereo", "voice.ogg", lambda: opus(2)),
    Labelled("Ogg with two Opus streams", "voice.ogg", lambda: sound("ogg", "libopus", streams=2)),
    Labelled("Ogg/Opus called opus", "voice.opus", opus),
    Labelled("Ogg/Opus called oga and declared audio/opus", "voice.oga", opus, mime_type="audio/opus"),
    Labelled("Ogg/Opus declared with its codec", "voice.ogg", opus, mime_type="audio/ogg; codecs=opus"),
    Labelled("stereo Ogg/Opus as a document", "voice.ogg", lambda: opus(2), kind="document"),
    Labelled("Ogg/Vorbis", "song.ogg", vorbis, accepted=False),
    Labelled("Ogg/Vorbis declared audio/ogg", "song.ogg", vorbis, accepted=False, mime_type="audio/ogg"),
    Labelled("Ogg/FLAC", "song.ogg", lambda: sound("ogg", "flac"), accepted=False),
    Labelled("Ogg/Speex", "voice.ogg", _speex, accepted=False),
    Labelled("Ogg/Vorbis as a document", "song.ogg", vorbis, accepted=False, kind="document"),
    Labelled("Ogg with a Vorbis song chained behind an Opus one", "songs.ogg", lambda: opus() + vorbis(), accepted=False),
    Labelled("Ogg with Opus and Theora", "clip.ogg", lambda: ogg(OPUS, b"\x80theora\3\2\1"), accepted=False),
    Labelled("Ogg of a codec that nobody knows", "song.ogg", lambda: ogg(b"Nobody knows"), accepted=False),
    Labelled("wide-band AMR", "note.awb", _wide_band_amr, accepted=False),
    Labelled("wide-band AMR called amr", "note.amr", _wide_band_amr, accepted=False),
    Labelled("AMR of two channels", "note.amr", _amr_of_two_channels, accepted=False),
    Labelled("WAV", "song.wav", lambda: sound("wav", "pcm_s16le"), accepted=False),
    Labelled("WAV called mp3", "song.mp3", lambda: sound("wav", "pcm_s16le"), accepted=False),
    Labelled("MP3 in a WAV file", "song.wav", lambda: sound("wav", "libmp3lame"), accepted=False),
    Labelled("WebM with Opus only (weba)", "song.weba", lambda: sound("webm", "libopus"), accepted=False),
    Labelled("Matroska with AAC only", "song.mkv", lambda: sound("matroska", "aac"), accepted=False),
    Labelled("FLAC", "song.flac", lambda: sound("flac", "flac"), accepted=False),
    Labelled("FLAC behind an ID3 tag, called mp3", "song.mp3", lambda: id3(sound("flac", "flac")), accepted=False),
    Labelled("MPEG audio of layer II called mp3", "song.mp3", lambda: sound("mp2", "mp2"), accepted=False),
    Labelled("AIFF", "song.aiff", lambda: sound("aiff", "pcm_s16be"), accepted=False),
    Labelled("Core Audio", "song.caf", lambda: sound("caf", "pcm_s16be"), accepted=False),
    Labelled("WMA", "song.wma", lambda: sound("asf", "wmav2"), accepted=False),
    Labelled("AC-3", "song.ac3", lambda: sound("ac3", "ac3"), accepted=False),
    Labelled("ALAC in an M4A file", "song.m4a", lambda: sound("ipod", "alac", mux=FAST), accepted=False),
    Labelled("MP3 in an M4A file", "song.m4a", lambda: sound("mp4", "libmp3lame", mux=FAST), accepted=False),
    Labelled("Opus in an M4A file", "song.m4a", lambda: sound("mp4", "libopus", mux=FAST), accepted=False),
    Labelled("AMR in a 3GP file without a picture", "note.3gp", lambda: sound("3gp", "libopencore_amrnb"), accepted=False),
    Labelled("AAC in a 3GP file without a picture", "note.3gp", lambda: sound("3gp", "aac"), accepted=False),
    Labelled("AAC cut in the middle of a frame", "song.aac", lambda: aac()[:-20]),
    Labelled("AMR cut in the middle of a frame", "note.amr", lambda: amr()[:-20]),
    Labelled("MP3 cut in the middle", "song.mp3", lambda: cut(mp3())),
    Labelled("M4A cut in the middle", "song.m4a", lambda: cut(m4a())),
    Labelled("M4A with its index last, cut in the middle", "song.m4a", lambda: cut(sound("ipod", "aac"))),
    Labelled("Ogg/Opus cut in the middle", "voice.ogg", lambda: cut(sound("ogg", "libopus", seconds=3))),
    Labelled("ID3 tag with nothing behind", "song.mp3", lambda: id3(b""), accepted=False),
    Labelled("AAC with damaged frames behind the first", "song.aac", lambda: damaged(aac(), 600, len(aac()))),
    Labelled("M4A with its sound wiped out", "song.m4a", lambda: m4a()[: m4a().index(b"mdat") + 4].ljust(len(m4a()), b"\0")),
    Labelled("MP3 of 16,000,000 bytes", "song.mp3", lambda: sized_mp3(16 * MB)),
    Labelled("MP3 of 16,000,001 bytes", "song.mp3", lambda: sized_mp3(16 * MB + 1)),
    Labelled("MP3 of 16 MiB", "song.mp3", lambda: sized_mp3(16 * MIB)),
    Labelled("MP3 of 16 MiB and a byte", "song.mp3", lambda: sized_mp3(16 * MIB + 1)),
    Labelled("MP3 declared audio/mp3", "song.mp3", mp3, mime_type="audio/mp3"),
    Labelled("MP3 as a video", "song.mp3", mp3, kind="video", accepted=False),
    Labelled("AAC spelled acc", "song.acc", aac, mime_type="audio/acc"),
]
