"""Good files under bad names, and what else a caller may say wrongly of them."""

from __future__ import annotations

from tests.media.labelled.labels import Labelled
from tests.media.labelled.papers import PDF, office
from tests.media.labelled.pictures import jpeg, png
from tests.media.labelled.sounds import aac, m4a, opus
from tests.media.labelled.stickers import FILES as STICKERS


def named(id: str, name: str) -> Labelled:  # noqa: A002 - the word of Labelled
    """A JPEG of this name."""
    return Labelled(id, name, jpeg)


FILES = [
    Labelled("PNG called jpg", "photo.jpg", png),
    Labelled("JPEG called png", "photo.png", jpeg),
    Labelled("JPEG called mp4", "photo.mp4", jpeg),
    Labelled("JPEG called pdf", "photo.pdf", jpeg),
    Labelled("docx called zip", "letter.zip", lambda: office("docx")),
    named("name without an extension", "photo"),
    named("name with an extension that nobody knows", "photo.v2"),
    named("name in capitals", "PHOTO.JPG"),
    named("name ending in jpe", "photo.jpe"),
    named("name ending in jfif", "photo.jfif"),
    Labelled("name ending in m4b", "book.m4b", m4a),
    Labelled("name ending in m4a over an Opus file", "voice.m4a", opus),
    named("name with a path up and away", "../../etc/passwd.jpg"),
    named("name with a path of Windows", "C:\\Users\\ada\\photo.jpg"),
    named("name of a device", "CON.jpg"),
    named("name that begins with a hyphen", "-rf.jpg"),
    named("name that begins with dots", "...photo.jpg"),
    named("name of nothing but an extension", ".jpg"),
    named("name of nothing but spaces", "   "),
    named("name with a line break", "a\r\nX-Evil: y.jpg"),
    named("name with quotes", 'a"; filename="b.jpg'),
    named("name with accents", "été à Paris.jpg"),
    named("name in Cyrillic letters", "фото.jpg"),
    named("name of emoji", "🎉🎉.jpg"),
    named("name that is turned around to hide exe", "photo\u202egpj.exe"),
    named("name with a zero byte", "photo.jpg\0.exe"),
    named("name with a space behind", "photo.jpg "),
    named("name of 300 letters", "a" * 300 + ".jpg"),
    named("name with two dots in a row", "photo..jpg"),
    named("name with two right extensions", "photo.jpg.jpg"),
    named("name with pdf in front of jpg", "invoice.pdf.jpg"),
    named("name with jpg in front of exe", "photo.jpg.exe"),
    named("name with a version number", "photo.v1.2.jpg"),
    Labelled("JPEG declared image/jpg", "photo.jpg", jpeg, mime_type="image/jpg"),
    Labelled("JPEG declared in capitals", "photo.jpg", jpeg, mime_type="IMAGE/JPEG"),
    Labelled("JPEG declared as bytes", "photo.jpg", jpeg, mime_type="application/octet-stream"),
    Labelled("JPEG declared as anything", "photo.jpg", jpeg, mime_type="*/*"),
    Labelled("JPEG declared image/png", "photo.jpg", jpeg, mime_type="image/png"),
    Labelled("JPEG declared nonsense", "photo.jpg", jpeg, mime_type="holiday"),
    Labelled("JPEG declared a PDF and called one", "photo.pdf", jpeg, mime_type="application/pdf"),
    Labelled("PDF declared plain text", "invoice.pdf", lambda: PDF, mime_type="text/plain"),
    Labelled("JPEG as a document", "photo.jpg", jpeg, kind="document"),
    Labelled("JPEG as an image", "photo.jpg", jpeg, kind="image"),
    Labelled("JPEG as a sticker", "photo.jpg", jpeg, kind="sticker", accepted=False),
    Labelled("JPEG as audio", "photo.jpg", jpeg, kind="audio", accepted=False),
    Labelled("JPEG of a kind that there is not", "photo.jpg", jpeg, kind="photo", accepted=False),
    Labelled("AAC as a document", "song.aac", aac, kind="document"),
    Labelled("docx as a video", "letter.docx", lambda: office("docx"), kind="video", accepted=False),
    Labelled("sticker called jpg", "smile.jpg", STICKERS[0].make),
]
