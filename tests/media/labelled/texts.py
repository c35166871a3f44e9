"""Texts in all encodings, and what is written in text but is no plain text."""

from __future__ import annotations

import codecs

from tests.media.labelled.labels import Labelled

GERMAN = "Öffnungszeiten: 9 bis 17 Uhr.\nWir freuen uns auf Sie.\n"
TABLE = "name;city\n" + "".join(f"Ada {number};London\n" for number in range(8))
LONG = b"All work and no play makes Jack a dull boy.\n" * 2400  # above 100 kB
PAGE = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>\n"
JSON = b'{"error": {"code": 401, "message": "token expired"}}\n'
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>\n'
PLAIN = "text/plain"


def _page_in_a_text() -> bytes:
    return b"Your invoice could not be made. The server says:\n\n<html>\n<body>502 Bad Gateway</body>\n</html>\n"


FILES = [
    Labelled("text in UTF-8", "hours.txt", GERMAN.encode),
    Labelled("text in UTF-8 with a byte order mark", "hours.txt", lambda: codecs.BOM_UTF8 + GERMAN.encode()),
    Labelled("text of one letter", "a.txt", lambda: b"a"),
    Labelled("text with emoji", "hello.txt", "Hello 👋🏽 from Zürich\n".encode),
    Labelled("text in UTF-16 with a mark, little-endian", "hours.txt", lambda: codecs.BOM_UTF16_LE + GERMAN.encode("utf-16-le")),
    Labelled("text in UTF-16 with a mark, big-endian", "hours.txt", lambda: codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be")),
    Labelled("text in UTF-16 without a mark", "hours.txt", lambda: GERMAN.encode("utf-16-le"), accepted=False),
    Labelled("text in Latin-1", "hours.txt", lambda: GERMAN.encode("latin-1"), accepted=False),
    Labelled("text with a zero byte", "hours.txt", lambda: b"Opening\0hours", accepted=False),
    Labelled("text of more than 100 kB", "novel.txt", lambda: LONG),
    Labelled("text of more than 100 kB with a binary tail", "novel.txt", lambda: LONG + bytes(range(256)), accepted=False),
    Labelled("text of more than 100 kB with a tail in Latin-1", "novel.txt", lambda: LONG + b"Gr\xfc\xdfe\n", accepted=False),
    Labelled("text of more than 100 kB cut within a letter", "novel.txt", lambda: LONG + "Ö".encode()[:1], accepted=False),
    Labelled("text called log", "server.log", GERMAN.encode),
    Labelled("text called text", "hours.text", GERMAN.encode),
    Labelled("text without an extension", "README", GERMAN.encode),
    Labelled("text as an image", "hours.txt", GERMAN.encode, kind="image", accepted=False),
    Labelled("table called csv", "people.csv", TABLE.encode, accepted=False),
    Labelled("table called csv, declared text/csv", "people.csv", TABLE.encode, mime_type="text/csv", accepted=False),
    Labelled("table called csv, declared plain text", "people.csv", TABLE.encode, mime_type=PLAIN),
    Labelled("table called txt", "people.txt", TABLE.encode),
    Labelled("table without an extension", "people", TABLE.encode),
    Labelled("table called txt, declared text/csv", "people.txt", TABLE.encode, mime_type="text/csv", accepted=False),
    Labelled("HTML page", "page.html", lambda: PAGE, accepted=False),
    Labelled("HTML page in XML", "page.xhtml", lambda: b'<?xml version="1.0"?>\n' + PAGE[16:], accepted=False),
    Labelled("HTML page declared plain text", "page.html", lambda: PAGE, mime_type=PLAIN, accepted=False),
    Labelled("HTML page in UTF-16", "page.html", lambda: codecs.BOM_UTF16_LE + PAGE.decode().encode("utf-16-le"), accepted=False),
    Labelled("HTML page behind a comment, called txt", "page.txt", lambda: b"<!-- by a robot -->\n" + PAGE, accepted=False),
    Labelled("text that holds an HTML page", "invoice.txt", _page_in_a_text),
    Labelled("error page called pdf", "invoice.pdf", lambda: PAGE, accepted=False),
    Labelled("error page called jpg", "photo.jpg", lambda: PAGE, accepted=False),
    Labelled("error page called jpg and declared so", "photo.jpg", lambda: PAGE, mime_type="image/jpeg", accepted=False),
    Labelled("error in JSON called jpg", "photo.jpg", lambda: JSON, accepted=False),
    Labelled("error in JSON declared a PDF", "invoice.pdf", lambda: JSON, mime_type="application/pdf", accepted=False),
    Labelled("JSON", "orders.json", lambda: JSON, accepted=False),
    Labelled("JSON declared plain text", "orders.json", lambda: JSON, mime_type=PLAIN),
    Labelled("XML", "orders.xml", lambda: b'<?xml version="1.0"?>\n<orders/>\n', accepted=False),
    Labelled("Markdown", "readme.md", lambda: b"# Hours\n\n9 to 17\n", accepted=False),
    Labelled("shell script", "install.sh", lambda: b"#!/bin/sh\necho hello\n", accepted=False),
    Labelled("calendar entry", "date.ics", lambda: b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", accepted=False),
    Labelled("SVG drawing", "logo.svg", lambda: SVG, accepted=False),
    Labelled("SVG drawing called png", "logo.png", lambda: SVG, accepted=False),
    Labelled("SVG drawing with a script, declared plain text", "logo.svg", lambda: SVG, mime_type=PLAIN, accepted=False),
    Labelled("text that only speaks of PDF", "how-to.txt", lambda: b"A PDF begins with %PDF-1.4 and ends with %%EOF.\n"),
    Labelled("text declared by a type that there is not", "hours.txt", GERMAN.encode, mime_type="text/txt"),
]
