"""What WhatsApp does not take at all, under its own name and dressed up; polyglots; and what is nothing."""

from __future__ import annotations

import base64
import gzip
import io
import random
import struct
import tarfile

from PIL import Image

from tests.media.builders import box, id3
from tests.media.labelled.films import film
from tests.media.labelled.labels import Labelled
from tests.media.labelled.papers import PDF
from tests.media.labelled.pictures import drawn, jpeg, png, saved
from tests.media.labelled.texts import PAGE

MIB = 2**20
RANDOM = random.Random(360)
NOISE = RANDOM.randbytes(4096)
PROGRAM = (
    b"MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff\0\0"
    + bytes(44)
    + b"\x80\0\0\0"
    + b"This program cannot be run in DOS mode.".ljust(64, b"\0")
    + b"PE\0\0"
)


def stranger(id: str, name: str, make, **said: str) -> Labelled:  # noqa: A002 - the word of Labelled
    """A file that is never accepted."""
    return Labelled(id, name, make, accepted=False, **said)


def _gif(frames: int = 1) -> bytes:
    rest = [drawn().rotate(90 * turn) for turn in range(1, frames)]
    return saved(drawn(), "GIF", save_all=bool(rest), append_images=rest)


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("photo.jpg"), io.BytesIO(b""))
    return out.getvalue()


FILES = [
    stranger("empty file", "photo.jpg", lambda: b""),
    stranger("empty file without a name", "", lambda: b""),
    stranger("random bytes", "data.bin", lambda: NOISE),
    stranger("random bytes called jpg", "photo.jpg", lambda: NOISE),
    stranger("zeros", "photo.jpg", lambda: bytes(4096)),
    stranger("one byte", "photo.jpg", lambda: b"\xff"),
    stranger("101 MiB of zeros", "film.mp4", lambda: bytes(101 * MIB)),
    stranger("still GIF", "wink.gif", _gif),
    stranger("animated GIF", "wink.gif", lambda: _gif(3)),
    stranger("animated GIF called mp4", "wink.mp4", lambda: _gif(3)),
    stranger("GIF declared image/gif", "wink.gif", _gif, mime_type="image/gif"),
    stranger("GIF as a document", "wink.gif", _gif, kind="document"),
    stranger("BMP", "scan.bmp", lambda: saved(drawn(), "BMP")),
    stranger("TIFF", "scan.tiff", lambda: saved(drawn(), "TIFF")),
    stranger("TIFF called jpg", "scan.jpg", lambda: saved(drawn(), "TIFF")),
    stranger("icon", "logo.ico", lambda: saved(Image.new("RGBA", (16, 16)), "ICO")),
    stranger("AVIF", "photo.avif", lambda: saved(drawn(), "AVIF", speed=10)),
    stranger("AVIF called jpg", "photo.jpg", lambda: saved(drawn(), "AVIF", speed=10)),
    stranger("HEIC", "photo.heic", lambda: box(b"ftyp", b"heic", bytes(4), b"mif1heic") + box(b"meta", bytes(200))),
    stranger("HEIC called jpg", "IMG_0001.jpg", lambda: box(b"ftyp", b"mif1", bytes(4), b"mif1heic") + box(b"meta", bytes(200))),
    stranger("JPEG 2000", "scan.jp2", lambda: saved(drawn(), "JPEG2000")),
    stranger("JPEG XL", "photo.jxl", lambda: b"\xff\x0a" + NOISE[:200]),
    stranger("Photoshop file", "flyer.psd", lambda: b"8BPS\0\1" + bytes(60)),
    stranger(
        "raw image of a camera", "photo.cr3", lambda: box(b"ftyp", b"crx ", bytes(4), b"crx isom") + box(b"mdat", bytes(99))
    ),
    stranger("Windows program", "setup.exe", lambda: PROGRAM),
    stranger("Windows program called jpg", "photo.jpg", lambda: PROGRAM),
    stranger("Windows program called pdf.exe", "invoice.pdf.exe", lambda: PROGRAM),
    stranger("Windows program as a document", "invoice.pdf", lambda: PROGRAM, kind="document"),
    stranger("Linux program", "tool", lambda: b"\x7fELF\2\1\1" + bytes(80)),
    stranger("gzip file", "log.txt.gz", lambda: gzip.compress(b"Opening hours", mtime=0)),
    stranger("tar archive", "photos.tar", _tar),
    stranger("RAR archive", "photos.rar", lambda: b"Rar!\x1a\7\1\0" + NOISE[:200]),
    stranger("7-Zip archive", "photos.7z", lambda: b"7z\xbc\xaf\x27\x1c\0\4" + NOISE[:200]),
    stranger("SQLite database", "orders.db", lambda: b"SQLite format 3\0" + bytes(84)),
    stranger("MIDI", "song.mid", lambda: b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0"),
    stranger("GIF that is a script as well", "wink.js", lambda: b"GIF89a/*" + _gif()[8:] + b"*/=1;alert(1)//"),
    stranger("HTML page that is a PDF as well", "invoice.pdf", lambda: b"<html><body>\n" + PDF + b"</body></html>\n"),
    stranger("HTML page behind the mark of a JPEG", "photo.jpg", lambda: b"\xff\xd8\xff\xe0" + PAGE),
    stranger("HTML page behind the mark of a PNG", "chart.png", lambda: png()[:8] + PAGE),
    stranger("HTML page behind the mark of a PDF", "invoice.pdf", lambda: b"%PDF-1.4\n" + PAGE),
    stranger("HTML page behind the mark of an ID3 tag", "song.mp3", lambda: id3(PAGE)),
    stranger("program behind the mark of a WebP", "smile.webp", lambda: b"RIFF" + struct.pack("<I", 400) + b"WEBP" + PROGRAM),
    stranger("program behind the mark of AMR", "note.amr", lambda: b"#!AMR\n" + PROGRAM),
    stranger("program behind the mark of a zip", "letter.docx", lambda: b"PK\3\4" + PROGRAM),
    stranger("program behind the mark of OLE2", "letter.doc", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + PROGRAM),
    stranger(
        "MP4 of a brand that nobody knows",
        "clip.mp4",
        lambda: film().replace(b"isom", b"nope").replace(b"iso2", b"nop2").replace(b"avc1mp41", b"nop3nop4"),
    ),
    stranger("mark of an MP4 and nothing else", "clip.mp4", lambda: box(b"ftyp", b"isom", bytes(4), b"isom")),
    stranger("JPEG with its first byte gone", "photo.jpg", lambda: jpeg()[1:]),
    stranger("JPEG in base64", "photo.jpg", lambda: base64.encodebytes(jpeg())),
]
