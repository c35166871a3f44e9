"""ISO base media files (mp4, m4a, 3gp, mov, heic, avif) by brand and by the kinds of their tracks.

Reads box headers only, within the bytes it is given; knows nothing of codecs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_360dialog.media.content import TO_AUDIO, TO_IMAGE, TO_VIDEO, Content

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_BOXES = 256  # of one level; more are not looked at
_VIDEO, _SOUND = b"vide", b"soun"

_QUICKTIME = Content("video/quicktime", "a QuickTime movie", TO_VIDEO)
_AVIF = Content("image/avif", "an AVIF image", TO_IMAGE)
_HEIC = Content("image/heic", "a HEIC image", TO_IMAGE)
_MP4 = Content("video/mp4", "an MP4 video")
_M4A = Content("audio/mp4", "audio in an MP4 container")
_MP4_OR_M4A = Content("video/mp4", "an MP4 file", candidates=("video/mp4", "audio/mp4"))
_3GP = Content("video/3gpp", "a 3GP video")
_3GP_AUDIO = Content("audio/3gpp", "a 3GP file without a picture", TO_AUDIO, compatible=("video/3gpp",))
_3G2 = Content("video/3gpp2", "a 3GPP2 (.3g2) video", TO_VIDEO)
_NO_MEDIA = Content(None, "an MP4 container without sound and picture", "Export the file again.")
_UNKNOWN = Content(None, "an ISO media container of an unknown brand", TO_VIDEO)

_FIXED = {
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), _HEIC),
    b"qt  ": _QUICKTIME,
    b"crx ": Content("image/x-canon-cr3", "a camera raw image", TO_IMAGE),
    b"jp2 ": Content("image/jp2", "a JPEG 2000 image", TO_IMAGE),
}
_AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P "})
_MP4_BRANDS = frozenset(
    {b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"mp41", b"mp42", b"mp71", b"avc1",
     b"M4V ", b"M4VH", b"M4VP", b"MSNV", b"dash", b"cmfc", b"mmp4", b"XAVC", b"hvc1", b"hev1", b"f4v ", b"F4V "}
)  # fmt: skip


def read_iso_media(head: bytes) -> Content | None:
    """The type of a file that begins with an ISO media box; None where it does not."""
    kind = head[4:8]
    if kind in {b"moov", b"mdat", b"wide", b"pnot"} and _looks_like_box(head):
        return _QUICKTIME  # QuickTime from before there were brands
    if kind != b"ftyp":
        return None
    size = int.from_bytes(head[:4], "big")
    if not 16 <= size <= 4096 or size % 4 or len(head) < size:
        return None
    major = head[8:12]
    brands = [major, *(head[at : at + 4] for at in range(16, size, 4))]
    return next((found for brand in brands if (found := _by_brand(brand, brands, head))), _UNKNOWN)


def _looks_like_box(head: bytes) -> bool:
    size = int.from_bytes(head[:4], "big")
    return size == 1 or size >= 8


def _by_brand(brand: bytes, brands: list[bytes], head: bytes) -> Content | None:
    if brand in {b"mif1", b"msf1"} and not {b"avif", b"avis"}.isdisjoint(brands):
        return _AVIF
    if brand in _FIXED:
        return _FIXED[brand]
    if brand[:3] == b"3g2":
        return _3G2
    if brand[:2] == b"3g":
        return _3GP_AUDIO if _tracks(head) == {_SOUND} else _3GP
    if brand in _AUDIO_BRANDS:
        return _MP4 if _VIDEO in (_tracks(head) or ()) else _M4A
    return _by_tracks(_tracks(head)) if brand in _MP4_BRANDS else None


def _by_tracks(tracks: set[bytes] | None) -> Content:
    if tracks is None:
        return _MP4_OR_M4A
    if _VIDEO in tracks:
        return _MP4
    return _M4A if _SOUND in tracks else _NO_MEDIA


def _tracks(head: bytes) -> set[bytes] | None:
    """The handlers of all tracks; None where the track list lies outside of the head and no picture was seen before its end."""
    for kind, start, end in _boxes(head, 0, len(head)):
        if kind == b"moov":
            handlers = {_handler(head, *inner) for box, *inner in _boxes(head, start, end) if box == b"trak"}
            return handlers if end <= len(head) or _VIDEO in handlers else None
    return None


def _handler(head: bytes, start: int, end: int) -> bytes:
    for box, *media in _boxes(head, start, end):
        if box == b"mdia":
            for inner, at, _ in _boxes(head, *media):
                if inner == b"hdlr":
                    return head[at + 8 : at + 12]  # after version, flags and a reserved word
    return b""


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the payload of each box whose header lies within ``data``. An end may lie beyond."""
    for _ in range(_MAX_BOXES):
        if start + 8 > min(end, len(data)):
            return
        size, kind, header = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif size == 0:
            size = end - start  # up to the end of the file
        if size < header:
            return
        yield kind, start + header, start + size
        start += size
