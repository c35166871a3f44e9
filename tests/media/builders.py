"""Small files of every accepted type, made by hand, and a source that keeps them in memory."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

from airflow_provider_360dialog.media import limits


class MemorySource:
    """A `Source` in memory. ``opened`` counts how often it was opened."""

    def __init__(self, data: bytes, name: str = "file", announced_bytes: int | None = None) -> None:
        self.data, self.name, self.uri = data, name, f"memory://{name}"
        self.announced_bytes = len(data) if announced_bytes is None else announced_bytes
        self.opened = 0

    def size_bytes(self) -> int:
        return self.announced_bytes

    def open(self) -> io.BytesIO:
        self.opened += 1
        return io.BytesIO(self.data)


def box(kind: bytes, *payload: bytes) -> bytes:
    body = b"".join(payload)
    return struct.pack(">I", 8 + len(body)) + kind + body


def track(handler: bytes) -> bytes:
    return box(b"trak", box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(12))))


def iso_media(brand: bytes, *handlers: bytes, compatible: bytes = b"", moov_last: bool = False) -> bytes:
    ftyp = box(b"ftyp", brand, bytes(4), compatible)
    moov = box(b"moov", *(track(handler) for handler in handlers))
    mdat = box(b"mdat", bytes(100_000 if moov_last else 100))
    return ftyp + (mdat + moov if moov_last else moov + mdat)


def ogg(*first_packets: bytes) -> bytes:
    pages = [b"OggS\0\2" + bytes(20) + bytes([1, len(packet)]) + packet for packet in first_packets]
    return b"".join(pages) + b"OggS\0\0" + bytes(20) + b"\1\4" + b"data"


def mp3(frames: int = 3) -> bytes:
    return (b"\xff\xfb\x90\x00" + bytes(413)) * frames  # MPEG 1 layer III, 128 kbit/s, 44.1 kHz: 417 bytes


def id3(body: bytes, tag_bytes: int = 100) -> bytes:
    size = bytes((tag_bytes >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + size + bytes(tag_bytes) + body


def adts(frames: int = 3) -> bytes:
    return (b"\xff\xf1\x50\x80\x0d\x1f\xfc" + bytes(97)) * frames  # 104 bytes each


def webp(*, animated: bool = False, chunk: bytes = b"VP8X", anim: bool = True) -> bytes:
    body = b"WEBP" + chunk + struct.pack("<I", 10) + bytes([2 if animated else 0]) + bytes(9)
    body += b"ANIM" + struct.pack("<I", 6) + bytes(6) if animated and anim else b""
    return b"RIFF" + struct.pack("<I", len(body)) + body


def sticker() -> bytes:
    """A still one of 512 x 512 pixels with transparency, as far as its headers say."""
    picture = struct.pack("<BI", 0x2F, 511 | 511 << 14 | 1 << 28) + bytes(5)
    body = b"WEBP" + b"VP8L" + struct.pack("<I", len(picture)) + picture
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animation(frames: int, size_bytes: int) -> bytes:
    """A WebP with the flag of an animation and so many frames of 512 x 512 pixels; filled up with a chunk that nobody reads."""

    def part(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    side = (511).to_bytes(3, "little")
    picture = part(b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 512, 512) + bytes(8))
    frame = part(b"ANMF", bytes(6) + side + side + bytes(4) + picture)
    body = b"WEBP" + part(b"VP8X", b"\x12\0\0\0" + side + side) + part(b"ANIM", bytes(6)) + frame * frames
    body += part(b"JUNK", bytes(size_bytes - len(body) - 16))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def film(brand: bytes, *tracks: str) -> bytes:
    """With tracks that WhatsApp takes: ``MAIN`` (H.264) and ``AAC``."""
    from tests.media import film_builders

    return film_builders.mp4(*(getattr(film_builders, track) for track in tracks), brand=brand)


def zipped(*names: str, first: tuple[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        if first:
            archive.writestr(zipfile.ZipInfo(first[0]), first[1])
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"part")
    return out.getvalue()


def office(*names: str) -> bytes:
    return zipped("[Content_Types].xml", "_rels/.rels", *names)


def ole2(*streams: str, root_class: str = "00" * 16, padding_sectors: int = 0) -> bytes:
    """Header, one allocation table, padding, and a directory as long as it has to be, at the end as in real files."""
    entries = [_ole2_entry("Root Entry", bytes.fromhex(root_class)), *(_ole2_entry(name) for name in streams)]
    directory = b"".join(entries)
    directory += bytes(-len(directory) % 512)
    first, sectors = 1 + padding_sectors, len(directory) // 512
    table = [0xFFFFFFFD] + [0xFFFFFFFE] * padding_sectors + [*range(first + 1, first + sectors), 0xFFFFFFFE]
    header = bytearray(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    header[30:32] = struct.pack("<H", 9)
    header[48:52] = struct.pack("<I", first)
    header[76:512] = struct.pack("<I", 0) + b"\xff" * 432
    allocation = struct.pack(f"<{len(table)}I", *table).ljust(512, b"\xff")
    return bytes(header) + allocation + bytes(512 * padding_sectors) + directory


def _ole2_entry(name: str, class_id: bytes = bytes(16)) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    return (text.ljust(64, b"\0") + struct.pack("<H", len(text)) + bytes(14) + class_id).ljust(128, b"\0")


def segment(kind: int, content: bytes) -> bytes:
    return bytes([0xFF, kind]) + struct.pack(">H", 2 + len(content)) + content


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


JPEG = (
    b"\xff\xd8" + segment(0xE0, b"JFIF\0" + bytes(9)) + segment(0xC0, struct.pack(">BHHB", 8, 20, 30, 3) + bytes(9))
    + segment(0xDA, bytes(10)) + b"scan" + b"\xff\xd9"
)  # fmt: skip
PNG = (
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 20, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND")
)  # fmt: skip
PDF = b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\nstartxref\n0\n%%EOF\n"
OPUS = b"OpusHead\1\1" + bytes(9)
HTML = b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>"

BUILDERS: dict[str, Callable[[], bytes]] = {
    "image/jpeg": lambda: JPEG,
    "image/png": lambda: PNG,
    "audio/aac": adts,
    "audio/amr": lambda: b"#!AMR\n" + bytes(26),
    "audio/mpeg": mp3,
    "audio/mp4": lambda: film(b"M4A ", "AAC"),
    "audio/ogg": lambda: ogg(OPUS),
    "video/mp4": lambda: film(b"isom", "AAC", "MAIN"),
    "video/3gpp": lambda: film(b"3gp4", "MAIN"),
    "text/plain": lambda: b"Opening hours: 9 to 17.\n",
    "application/pdf": lambda: PDF,
    limits.DOC: lambda: ole2("WordDocument", "1Table"),
    limits.DOCX: lambda: office("word/document.xml"),
    limits.XLS: lambda: ole2("Workbook"),
    limits.XLSX: lambda: office("xl/workbook.xml"),
    limits.PPT: lambda: ole2("PowerPoint Document"),
    limits.PPTX: lambda: office("ppt/presentation.xml"),
    "image/webp": sticker,
}
