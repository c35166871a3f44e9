"""Decode a file as a phone would, to find what its headers do not tell. Only a worker process calls this: see `workshop`.

Pictures are decoded whole, by Pillow; of films and sounds the first seconds and a little of the end, by PyAV. Demuxer and decoder
follow from the type that was found before; nothing is guessed here, so that none of the libraries' other formats can be reached.
What a flaw means is decided in `deep`. Writes no file.

Pillow passes over damage inside of a JPEG, as libjpeg does, and leaves grey or wrong colours. FFmpeg's decoder does not, so where
PyAV is installed it looks at a JPEG as well.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.media.picture_rules import MOST_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from PIL.Image import Image

BUDGET_S: Final = 2.0
"""Seconds by the clock, after which what is left of a film or an animation is believed: on a busy machine less is looked at, and
no worker is lost."""
LOOKED_AT_S: Final = 2.0
"""Of each stream, from its beginning."""

_MOST_PACKETS: Final = 2_000
_LAST_PACKETS: Final = 60
_LAST_S: Final = 1.0
_THUMBNAIL_QUALITY: Final = 80
_LUCK: Final = 10  # of so many parts that are noise, one may be taken for sound

_PICTURES: Final = {"image/jpeg": ("JPEG", "MPO"), "image/png": ("PNG",), "image/webp": ("WEBP",)}
_DEMUXERS: Final = {
    "video/mp4": "mov",
    "video/3gpp": "mov",
    "audio/mp4": "mov",
    "audio/aac": "aac",
    "audio/amr": "amr",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
}
_CODECS: Final = frozenset({"h264", "aac", "mp3", "opus", "amr_nb"})
_DECODERS: Final = "h264,aac,mp3float,mp3,opus,libopus,amrnb,libopencore_amrnb"
"""Those of FFmpeg's that are reached; it has some 500, and a document may hold any."""

PICTURE_TYPES: Final = frozenset(_PICTURES)
FILM_TYPES: Final = frozenset(_DEMUXERS)


def load(*, mime_type: str, **_: Any) -> None:
    """Import what a file of this type needs."""
    with suppress(ImportError):
        import av  # noqa: F401, PLC0415 - it takes seconds with a cold disk, and may be missing
    if mime_type in _PICTURES:
        import PIL.ImageOps  # noqa: PLC0415 - the same
        import PIL.JpegImagePlugin  # noqa: PLC0415
        import PIL.PngImagePlugin  # noqa: PLC0415
        import PIL.WebPImagePlugin  # noqa: F401, PLC0415


def decode(*, path: str, mime_type: str, thumbnail_px: int | None = None) -> dict[str, Any]:
    """Decode one file, as far as `BUDGET_S` and `LOOKED_AT_S` reach.

    Args:
        path: absolute. mime_type: its true type, one of `PICTURE_TYPES` or `FILM_TYPES`.
        thumbnail_px: longest side of the thumbnail that is wanted, or None.

    Returns:
        ``flaws``: a list of ``{"code", "whole", "words"}``; ``whole`` says that next to nothing could be decoded, ``words`` are
        the library's, or empty. ``thumbnail``: base64 of a JPEG or PNG, or None.

    Raises:
        MemoryError: it needs too much. Whatever else a library raises is a flaw.
    """
    if mime_type in _PICTURES:
        return _decode_picture(path, mime_type, thumbnail_px)
    return _decode_film(path, mime_type, thumbnail_px)


def _answer(flaws: list[dict[str, Any]], thumbnail: str | None = None) -> dict[str, Any]:
    return {"flaws": flaws, "thumbnail": thumbnail}


def _flaw(code: str, *, whole: bool, fault: BaseException | None = None) -> dict[str, Any]:
    words = getattr(fault, "strerror", None) or str(fault or "")
    return {"code": code, "whole": whole, "words": "" if "/" in words else words}  # a path says nothing about the file


# --- pictures -----------------------------------------------------------------------------------------------------


def _decode_picture(path: str, mime_type: str, thumbnail_px: int | None) -> dict[str, Any]:
    try:
        image = _load_picture(path, mime_type, thumbnail_px)
    except MemoryError:
        raise
    except Exception as fault:  # noqa: BLE001 - Pillow raises SyntaxError, struct.error and many others of a damaged file
        return _answer([_flaw("image_corrupt", whole=True, fault=fault)])
    flaws = [_flaw("image_corrupt", whole=False)] if mime_type == "image/jpeg" and _is_damaged_jpeg(path) else []
    with suppress(Exception):  # a picture without a thumbnail is no worse
        return _answer(flaws, _picture_thumbnail(image, thumbnail_px))
    return _answer(flaws)


def _load_picture(path: str, mime_type: str, thumbnail_px: int | None) -> Image:
    """Its first frame, after all of them were decoded."""
    from PIL import Image, ImageFile  # noqa: PLC0415

    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow warns above it, and refuses above twice as many
    try:
        if mime_type == "image/png":
            with Image.open(path, formats=_PICTURES[mime_type]) as image:
                image.verify()  # the checksums, which decoding does not look at
        image = Image.open(path, formats=_PICTURES[mime_type])
    except Image.DecompressionBombError as fault:
        raise MemoryError from fault
    least = thumbnail_px or 1  # of a JPEG all data is read, and only as many pixels are made as are needed
    image.draft(None, (max(least, image.width // 8), max(least, image.height // 8)))
    image.load()
    return _play(image) if mime_type == "image/webp" else image


def _play(image: Image) -> Image:
    """Decode the further frames; returns the first."""
    first, until = image.copy(), time.monotonic() + BUDGET_S
    for number in range(1, getattr(image, "n_frames", 1)):
        if time.monotonic() > until:
            break
        image.seek(number)
        image.load()
    return first


def _is_damaged_jpeg(path: str) -> bool:
    try:
        import av  # noqa: PLC0415
    except ImportError:
        return False
    try:
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.options = {"err_detect": "explode"}
        decoder.thread_count = 1
        decoder.decode(av.Packet(Path(path).read_bytes()))
    except av.error.InvalidDataError:
        return True
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a sort of JPEG that FFmpeg does not know is not damaged
        return False
    return False


def _picture_thumbnail(image: Image, thumbnail_px: int | None) -> str | None:
    if thumbnail_px is None:
        return None
    from PIL import ImageOps  # noqa: PLC0415

    image.thumbnail((thumbnail_px, thumbnail_px))
    return _encoded(ImageOps.exif_transpose(image))


def _encoded(image: Image) -> str:
    """Base64 of a new file, without any metadata of the old one."""
    transparent = image.has_transparency_data
    image = image.convert("RGBA" if transparent else "RGB")
    image.info = {}
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if transparent else "JPEG", quality=_THUMBNAIL_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()


# --- films and sounds ---------------------------------------------------------------------------------------------


def _decode_film(path: str, mime_type: str, thumbnail_px: int | None) -> dict[str, Any]:
    import av  # noqa: PLC0415

    code = "video_corrupt" if mime_type.startswith("video/") else "audio_corrupt"
    try:
        options = {"enable_drefs": "0", "codec_whitelist": _DECODERS}
        with av.open(path, format=_DEMUXERS[mime_type], options=options, metadata_errors="ignore") as container:
            return _decode_streams(container, code, thumbnail_px)
    except MemoryError:
        raise
    except Exception as fault:  # noqa: BLE001 - PyAV raises AttributeError, UnicodeDecodeError and others of a damaged file
        return _answer([_flaw(code, whole=True, fault=fault)])


def _decode_streams(container: InputContainer, code: str, thumbnail_px: int | None) -> dict[str, Any]:
    until = time.monotonic() + BUDGET_S
    streams: list[Any] = [*container.streams.video[:1], *container.streams.audio[:1]]
    if not streams:
        return _answer([_flaw(code, whole=True)])
    takes = [_Take(stream, until) for stream in streams if _is_known(stream)]
    if not takes:
        return _answer([])  # a document may hold what it wants
    _look_at_beginning(container, takes)
    _look_at_end(container, takes)
    flaws = [flaw for take in takes if (flaw := take.flaw()) is not None]
    first = takes[0].first
    with suppress(Exception):  # as above
        return _answer(flaws, _film_thumbnail(first, thumbnail_px))
    return _answer(flaws)


def _is_known(stream: Any) -> bool:
    context = stream.codec_context
    return context is not None and context.codec.canonical_name in _CODECS


class _Take:
    """What was seen of one stream."""

    def __init__(self, stream: Any, until: float) -> None:
        self.stream, self._until = stream, until
        self._code = "video_corrupt" if stream.type == "video" else "audio_corrupt"
        self.first: Any = None
        self.packets = self._frames = self._damaged = 0
        self._started_s: float | None = None
        self._seen_s = 0.0
        self._fault: Exception | None = None
        stream.codec_context.thread_count = 1  # threads take memory, and a worker has one processor at best

    @property
    def _is_late(self) -> bool:
        return time.monotonic() > self._until

    @property
    def is_enough(self) -> bool:
        """Of the beginning."""
        return self._is_late or self._seen_s >= LOOKED_AT_S or self.packets >= _MOST_PACKETS

    def decode(self, packet: Packet[Any], *, is_end: bool = False) -> None:
        self.packets += 1
        try:
            frames: list[Any] = list(packet.decode())
        except MemoryError:
            raise
        except Exception as fault:  # noqa: BLE001 - as above
            self._damaged += 1
            self._fault = fault
            return
        for frame in frames:
            self._frames += 1
            if self.first is None:
                self.first = frame
            self._damaged += frame.is_corrupt and not is_end  # behind a jump a frame may lack those that it refers to
            self._note_time(frame)

    def _note_time(self, frame: Any) -> None:
        if frame.time is not None:
            self._started_s = frame.time if self._started_s is None else self._started_s
            self._seen_s = frame.time - self._started_s

    def flaw(self) -> dict[str, Any] | None:
        if not self._damaged and (self._frames or self._is_late):
            return None
        return _flaw(self._code, whole=self._frames * _LUCK < max(self._damaged, 1), fault=self._fault)


def _look_at_beginning(container: InputContainer, takes: list[_Take]) -> None:
    _demux(container, takes, lambda take: take.is_enough)


def _look_at_end(container: InputContainer, takes: list[_Take]) -> None:
    """Where an index says how to get there."""
    length = container.duration
    if container.format.name == "aac" or length is None or length < (LOOKED_AT_S + _LAST_S) * 1_000_000:
        return
    import av  # noqa: PLC0415

    container.seek(int(length - _LAST_S * av.time_base))
    seen = {id(take): take.packets for take in takes}
    _demux(container, takes, lambda take: take.packets - seen[id(take)] >= _LAST_PACKETS, is_end=True)


def _demux(container: InputContainer, takes: list[_Take], is_enough: Callable[[_Take], bool], *, is_end: bool = False) -> None:
    by_stream = {take.stream.index: take for take in takes}
    left = 20 * _MOST_PACKETS
    for packet in container.demux(*(take.stream for take in takes)):
        take = by_stream[packet.stream.index]
        if not is_enough(take):
            take.decode(packet, is_end=is_end)
        left -= 1
        if left == 0 or all(is_enough(take) for take in takes):
            return


def _film_thumbnail(frame: Any, thumbnail_px: int | None) -> str | None:
    if thumbnail_px is None or not hasattr(frame, "to_image"):
        return None
    scale = min(1.0, thumbnail_px / max(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    image = frame.reformat(width=width, height=height, format="rgb24").to_image()
    return _encoded(image.rotate(getattr(frame, "rotation", 0), expand=True))
