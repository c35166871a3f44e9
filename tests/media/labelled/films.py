"""Films by real encoders; by hand only what no encoder writes (two descriptions of a track, copy protection, no track at all)."""

from __future__ import annotations

from tests.media import film_builders as f
from tests.media.builders import box
from tests.media.labelled.encoders import HIGH, MAIN, MAIN_B, X264, film
from tests.media.labelled.labels import Labelled, cut

MIB, MB = 2**20, 10**6
X265 = {"preset": "ultrafast", "x265-params": "pools=none:frame-threads=1:log-level=none"}
VPX = {"deadline": "realtime", "cpu-used": "8"}
FRAGMENTS = {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}
LAST: dict[str, str] = {}
FREE = {**X264, "bf": "0"}


def hevc(container: str = "mp4", **more) -> bytes:
    """H.265 with AAC."""
    return film(container, "libx265", options=X265, **more)


def h263() -> bytes:
    """The 3GP of phones from 2005: H.263 and AMR."""
    return film("3gp", "h263", "libopencore_amrnb", options={}, side=(176, 144), mux=LAST)


def webm() -> bytes:
    """VP9 with Opus."""
    return film("webm", "libvpx-vp9", "libopus", options=VPX, mux=LAST)


def _other(picture: str, pixels: str = "yuv420p", **options: str) -> bytes:
    return film(picture=picture, options=options, pixels=pixels)


def sized(size_bytes: int) -> bytes:
    """A film of exactly this size, with room behind that is marked as free."""
    return film() + box(b"free", bytes(size_bytes - len(film()) - 8))


def _wiped() -> bytes:
    """The index says where everything lies, and there is nothing but zeros."""
    return film()[: film().index(b"mdat") + 4].ljust(len(film()), b"\0")


def _half_wiped() -> bytes:
    at = film().index(b"mdat") + 4
    half = at + (len(film()) - at) // 2
    return film()[:half].ljust(len(film()), b"\0")


def _renamed(data: bytes, *pairs: tuple[bytes, bytes]) -> bytes:
    for old, new in pairs:
        data = data.replace(old, new)
    return data


def _with_subtitles_only(brand: bytes) -> bytes:
    return f.mp4(f.trak(b"text", f.stsd(box(b"tx3g", bytes(6), f.u16(1), bytes(30)))), brand=brand)


def _two_descriptions() -> bytes:
    entries = (f.picture(b"avc1", f.avcc(77, f.sps(77, 0))), f.picture(b"hvc1", box(b"hvcC", bytes(23))))
    return f.mp4(f.trak(b"vide", f.stsd(*entries)), f.AAC)


FILES = [
    Labelled("MP4 with H.264 Baseline and AAC", "clip.mp4", film),
    Labelled("MP4 with H.264 Main", "clip.mp4", lambda: film(options=MAIN)),
    Labelled("MP4 with H.264 Main and B-frames", "clip.mp4", lambda: film(options=MAIN_B)),
    Labelled("MP4 with H.264 High", "clip.mp4", lambda: film(options=HIGH)),
    Labelled("MP4 with H.264 High and B-frames", "clip.mp4", lambda: film(options={**HIGH, "bf": "2", "b-adapt": "0"})),
    Labelled("grey MP4 with H.264 High", "clip.mp4", lambda: film(options=FREE, pixels="gray")),
    Labelled("MP4 without sound", "clip.mp4", lambda: film(sound=None)),
    Labelled("MP4 with its index last", "clip.mp4", lambda: film(mux=LAST)),
    Labelled("MP4 in fragments", "clip.mp4", lambda: film(mux=FRAGMENTS)),
    Labelled("MP4 with two video streams", "clip.mp4", lambda: film(pictures=2)),
    Labelled("MP4 with two audio streams", "clip.mp4", lambda: film(sounds=2)),
    Labelled("MP4 with two audio streams as a document", "clip.mp4", lambda: film(sounds=2), kind="document"),
    Labelled("MP4 with H.264 of 10 bits", "clip.mp4", lambda: film(options=FREE, pixels="yuv420p10le")),
    Labelled("MP4 with H.264 in 4:2:2", "clip.mp4", lambda: film(options=FREE, pixels="yuv422p")),
    Labelled("MP4 with H.264 in 4:4:4", "clip.mp4", lambda: film(options=FREE, pixels="yuv444p")),
    Labelled("MP4 with H.265", "clip.mp4", hevc, accepted=False),
    Labelled("MP4 with H.265 in fragments", "clip.mp4", lambda: hevc(mux=FRAGMENTS), accepted=False),
    Labelled("MP4 with H.265 as a document", "clip.mp4", hevc, kind="document"),
    Labelled(
        "MP4 with H.265 that calls itself H.264",
        "clip.mp4",
        lambda: _renamed(hevc(), (b"hev1", b"avc1"), (b"hvc1", b"avc1")),
        accepted=False,
    ),
    Labelled(
        "MP4 with H.265 that calls itself H.264 throughout",
        "clip.mp4",
        lambda: _renamed(hevc(), (b"hev1", b"avc1"), (b"hvcC", b"avcC")),
        accepted=False,
    ),
    Labelled("MP4 with VP9", "clip.mp4", lambda: _other("libvpx-vp9", **VPX), accepted=False),
    Labelled("MP4 with AV1", "clip.mp4", lambda: _other("libsvtav1", preset="12", **{"svtav1-params": "lp=1"}), accepted=False),
    Labelled("MP4 with MPEG-4 Visual", "clip.mp4", lambda: _other("mpeg4"), accepted=False),
    Labelled("MP4 with MPEG-2", "clip.mp4", lambda: _other("mpeg2video"), accepted=False),
    Labelled("MP4 with Motion JPEG", "clip.mp4", lambda: _other("mjpeg", "yuvj420p"), accepted=False),
    Labelled("MP4 with MP3 sound", "clip.mp4", lambda: film(sound="libmp3lame"), accepted=False),
    Labelled("MP4 with Opus sound", "clip.mp4", lambda: film(sound="libopus"), accepted=False),
    Labelled("MP4 with AC-3 sound", "clip.mp4", lambda: film(sound="ac3"), accepted=False),
    Labelled("MP4 with E-AC-3 sound", "clip.mp4", lambda: film(sound="eac3"), accepted=False),
    Labelled("MP4 with ALAC sound", "clip.mp4", lambda: film(sound="alac"), accepted=False),
    Labelled("MP4 with FLAC sound", "clip.mp4", lambda: film(sound="flac"), accepted=False),
    Labelled(
        "MP4 with MPEG-4 Visual and MP3", "clip.mp4", lambda: film("mp4", "mpeg4", "libmp3lame", options={}), accepted=False
    ),
    Labelled("MP4 with H.265 behind a first description of H.264", "clip.mp4", _two_descriptions, accepted=False),
    Labelled(
        "MP4 with copy protection",
        "clip.mp4",
        lambda: _renamed(film(), (b"avc1\0", b"encv\0"), (b"mp4a", b"enca")),
        accepted=False,
    ),
    Labelled("MP4 with nothing but subtitles", "clip.mp4", lambda: _with_subtitles_only(b"isom"), accepted=False),
    Labelled("3GP with nothing but subtitles", "clip.3gp", lambda: _with_subtitles_only(b"3gp4"), accepted=False),
    Labelled("3GP with H.264 and AAC", "clip.3gp", lambda: film("3gp")),
    Labelled("3GP with H.264 and AAC called 3gpp", "clip.3gpp", lambda: film("3gp"), mime_type="video/3gp"),
    Labelled("3GP with H.263 and AMR", "clip.3gp", h263, accepted=False),
    Labelled("3GP with H.264 and AMR", "clip.3gp", lambda: film("3gp", sound="libopencore_amrnb"), accepted=False),
    Labelled("3GP with H.263 and AAC", "clip.3gp", lambda: film("3gp", "h263", options={}, side=(176, 144)), accepted=False),
    Labelled("3GP with H.263 called mp4", "clip.mp4", h263, accepted=False),
    Labelled("3G2", "clip.3g2", lambda: film("3g2"), accepted=False),
    Labelled("QuickTime", "clip.mov", lambda: film("mov"), accepted=False),
    Labelled("QuickTime called mp4", "clip.mp4", lambda: film("mov"), accepted=False),
    Labelled(
        "QuickTime with ProRes",
        "clip.mov",
        lambda: film("mov", "prores_ks", "pcm_s16le", options={}, pixels="yuv422p10le"),
        accepted=False,
    ),
    Labelled("Matroska", "clip.mkv", lambda: film("matroska", mux=LAST), accepted=False),
    Labelled("Matroska called mp4", "clip.mp4", lambda: film("matroska", mux=LAST), accepted=False),
    Labelled("WebM with VP9", "clip.webm", webm, accepted=False),
    Labelled("WebM with VP8", "clip.webm", lambda: film("webm", "libvpx", "libopus", options=VPX, mux=LAST), accepted=False),
    Labelled("WebM declared video/mp4", "clip.mp4", webm, accepted=False, mime_type="video/mp4"),
    Labelled("AVI", "clip.avi", lambda: film("avi", "mpeg4", "libmp3lame", options={}, mux=LAST), accepted=False),
    Labelled("Flash video", "clip.flv", lambda: film("flv", mux=LAST), accepted=False),
    Labelled("WMV", "clip.wmv", lambda: film("asf", "wmv2", "wmav2", options={}, mux=LAST), accepted=False),
    Labelled("MPEG transport stream", "clip.ts", lambda: film("mpegts", mux=LAST), accepted=False),
    Labelled("MPEG-2 video", "clip.mpg", lambda: film("mpeg", "mpeg2video", "mp2", options={}, mux=LAST), accepted=False),
    Labelled("MP4 called m4v", "clip.m4v", film),
    Labelled("MP4 declared video/3gpp", "clip.mp4", film, mime_type="video/3gpp"),
    Labelled("MP4 as an image", "clip.mp4", film, kind="image", accepted=False),
    Labelled("MP4 cut in the middle", "clip.mp4", lambda: cut(film(), 0.6)),
    Labelled("MP4 cut in its index, behind the first track", "clip.mp4", lambda: film()[: film().rindex(b"trak") - 4]),
    Labelled("MP4 without its last byte", "clip.mp4", lambda: film()[:-1]),
    Labelled("MP4 with its index last, cut in the middle", "clip.mp4", lambda: cut(film(mux=LAST))),
    Labelled("MP4 cut in the middle, as a document", "clip.mp4", lambda: cut(film(), 0.6), kind="document"),
    Labelled("MP4 with its media wiped out", "clip.mp4", _wiped),
    Labelled("MP4 with the second half of its media wiped out", "clip.mp4", _half_wiped),
    Labelled("MP4 of 16,000,000 bytes", "clip.mp4", lambda: sized(16 * MB)),
    Labelled("MP4 of 16,000,001 bytes", "clip.mp4", lambda: sized(16 * MB + 1)),
    Labelled("MP4 of 16 MiB", "clip.mp4", lambda: sized(16 * MIB)),
    Labelled("MP4 of 16 MiB and a byte", "clip.mp4", lambda: sized(16 * MIB + 1)),
    Labelled("MP4 of 16 MiB and a byte as a document", "clip.mp4", lambda: sized(16 * MIB + 1), kind="document"),
]
