"""What a document says of itself: a PDF's end and lock, what a zip unpacks to, how far an OLE2 file reaches.

Reads headers, directories and trailers only; nothing is unpacked, decrypted or rendered, no library is asked, and no bytes raise.
What a fact means is the business of `paper_rules`; which type a file has, that of `signatures`.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from airflow_provider_360dialog.media.archives import OLE2_MAGIC, directory_of
from airflow_provider_360dialog.media.text import TextFacts

if TYPE_CHECKING:
    from airflow_provider_360dialog.media.content import Sample


@dataclass(frozen=True)
class PdfFacts:
    """A PDF.

    Attributes:
        version: of the header, for example ``1.7``; empty where it names none. header_at: its offset; None without header.
        ends: its last 64 KiB hold a ``%%EOF`` behind a ``startxref``; None where the end was not kept.
        missing_bytes: by which it is shorter than a linearised PDF says that it is.
        xref_at: where it says that its table of objects begins, in bytes of the file; None where it does not.
        encrypted: its newest trailer names an encryption; None where that was not kept, or cannot be read.
        size_bytes: of the file.
    """

    version: str
    header_at: int | None
    ends: bool | None
    missing_bytes: int
    xref_at: int | None
    encrypted: bool | None
    size_bytes: int


@dataclass(frozen=True)
class ZipFacts:
    """A zip, by its central directory alone.

    Attributes:
        directory: ``whole``; ``missing`` (no end record, or none where it says); ``damaged``; ``too_long`` (longer than what is
            looked at, which no honest document needs); ``unseen`` (the end was not kept).
        entries: parts read. packed_bytes, unpacked_bytes: their sums, as the directory claims.
        worst_ratio: unpacked to packed bytes of the part that swells most, among those above `BIG_PART_BYTES` unpacked.
        outside: a part lies, in whole or part, outside of what is in front of the directory. overlapping: two share bytes.
        encrypted: a part needs a password.
    """

    directory: str
    entries: int = 0
    packed_bytes: int = 0
    unpacked_bytes: int = 0
    worst_ratio: float = 0.0
    outside: bool = False
    overlapping: bool = False
    encrypted: bool = False


@dataclass(frozen=True)
class OleFacts:
    """An OLE2 file: whether its header can be read, and the bytes that its sectors need, as far as they are in sight."""

    readable: bool
    needed_bytes: int
    size_bytes: int


PaperFacts: TypeAlias = PdfFacts | ZipFacts | OleFacts | TextFacts


def read_paper(sample: Sample, mime_type: str | None) -> PdfFacts | ZipFacts | OleFacts | None:
    """The facts of a PDF, zip or OLE2 file; None for everything else (a text needs `text.text_walk`).

    Args:
        sample: with the last bytes where they were kept: 4 MiB serve all three formats.
        mime_type: the true type, as `signatures.read_content` says; it tells a PDF behind junk from a text that speaks of PDF.
    """
    if sample.head.startswith(b"PK\x03\x04"):
        return read_parts(sample)
    if sample.head.startswith(OLE2_MAGIC):
        return read_sectors(sample)
    return read_pdf(sample) if mime_type == "application/pdf" else None


def _end_of(sample: Sample) -> bytes:
    return sample.tail or (sample.head if sample.whole else b"")


# --- PDF ----------------------------------------------------------------------------------------------------------

PDF_END_BYTES: Final = 64 * 1024
"""Bytes at the end of a PDF among which its end mark has to be; servers and mail programs add junk behind it."""

_HEADER_WITHIN_BYTES = 1024
_DICTIONARY_BYTES = 64 * 1024
_MAX_CANDIDATES = 16  # of a word that may stand in a string as well
_HEADER = re.compile(rb"%PDF-(\d\.\d)?")
_START = re.compile(rb"startxref[\x00\t\n\x0c\r ]{1,16}(\d{1,20})(?!\d)")
_OBJECT = re.compile(rb"\d{1,10}[\x00\t\n\x0c\r ]{1,16}\d{1,5}[\x00\t\n\x0c\r ]{1,16}obj")
_FIRST_DICTIONARY = re.compile(rb"<<([^<>]{0,1024})>>")
_LENGTH = re.compile(rb"/L[\x00\t\n\x0c\r ]{1,16}(\d{1,20})(?!\d)")
_SPACES = b"\x00\t\n\x0c\r "
_TOKEN = re.compile(
    rb"%[^\r\n]*|<<|>>|/[^\x00\t\n\x0c\r ()<>\[\]{}/%]*|<[0-9A-Fa-f\s]*>?|[^\x00\t\n\x0c\r ()<>\[\]{}/%]+|[()\[\]{}>]"
)
_STRING_MARK = re.compile(rb"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")


def read_pdf(sample: Sample) -> PdfFacts:
    """The facts of a PDF; its last 64 KiB have to be in the sample."""
    header = _HEADER.search(sample.head, 0, _HEADER_WITHIN_BYTES + 8)
    header_at = header.start() if header else 0
    end = _end_of(sample)
    start = _last_start(end)
    xref_at = int(start.group(1)) if start else None
    encrypted = None
    if start is not None and xref_at is not None:
        encrypted = _is_encrypted(sample, (xref_at, xref_at + header_at), end[: start.start()])
    return PdfFacts(
        version=(header.group(1) or b"").decode() if header else "",
        header_at=header_at if header else None,
        ends=(start is not None) if end else None,
        missing_bytes=_missing_bytes(sample, header_at),
        xref_at=xref_at,
        encrypted=encrypted,
        size_bytes=sample.size_bytes,
    )


def _last_start(end: bytes) -> re.Match[bytes] | None:
    """The ``startxref`` that stands in front of the last ``%%EOF``."""
    lowest = max(0, len(end) - PDF_END_BYTES)
    eof_at = len(end)
    while (eof_at := end.rfind(b"%%EOF", lowest, eof_at)) >= 0:
        at = end.rfind(b"startxref", max(0, eof_at - 1024), eof_at)
        if at >= 0 and (start := _START.match(end, at)):
            return start
    return None


def _missing_bytes(sample: Sample, header_at: int) -> int:
    """A linearised PDF says in its first dictionary how long it is; what is added later makes it longer, never shorter."""
    first = _FIRST_DICTIONARY.search(sample.head, header_at, header_at + 2048)
    length = _LENGTH.search(first.group(1)) if first and b"/Linearized" in first.group(1) else None
    return max(0, int(length.group(1)) - (sample.size_bytes - header_at)) if length else 0


def _is_encrypted(sample: Sample, places: tuple[int, int], in_front: bytes) -> bool | None:
    """By the dictionary at ``startxref``, the newest; where that is not in sight, by the trailer in front of the word."""
    for at in dict.fromkeys(places):  # offsets count from the header, or from the first byte where junk is in front of it
        text = _kept(sample, at).lstrip(_SPACES)
        if text.startswith(b"xref"):
            found = _names_encryption(text[text.find(b"trailer") + 7 :]) if b"trailer" in text else None
        else:
            is_object = _OBJECT.match(text)
            found = _names_encryption(text[is_object.end() :]) if is_object else None
        if found is not None:
            return found
    at = len(in_front)
    for _ in range(_MAX_CANDIDATES):
        at = in_front.rfind(b"trailer", max(0, len(in_front) - _DICTIONARY_BYTES), at)
        if at < 0 or in_front.find(b"endobj", at) >= 0:
            return None  # behind a trailer there are no objects: the word stands inside of one
        found = _names_encryption(in_front[at + 7 :])
        if found is not None:
            return found
    return None


def _kept(sample: Sample, at: int) -> bytes:
    """At most 64 KiB from an offset on, as many as were kept."""
    piece = sample.head[at : at + _DICTIONARY_BYTES]
    from_tail = at + len(piece) - (sample.size_bytes - len(sample.tail))
    return piece if from_tail < 0 else piece + sample.tail[from_tail : from_tail + _DICTIONARY_BYTES - len(piece)]


def _names_encryption(text: bytes) -> bool | None:
    """Whether the dictionary that begins here has an ``/Encrypt`` of its own; None where it is none, or does not end here."""
    depth, key, at = 0, b"", 0
    while token_at := _TOKEN.search(text, at):
        token, at = token_at.group(), token_at.end()
        if depth == 0 and token != b"<<" and token[:1] != b"%":
            return None
        if token == b"(":
            at = _behind_string(text, at)
        if token[:1] == b"%":
            continue
        if token in {b">>", b"]"}:
            depth -= 1
            if depth == 0:
                return False
            continue
        if depth == 1:
            if key == b"/Encrypt" and token != b"null":
                return True
            key = _ESCAPED.sub(_unescaped, token) if not key and token[:1] == b"/" else b""
        depth += token in {b"<<", b"["}
    return None


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match.group(1).decode())


def _behind_string(text: bytes, at: int) -> int:
    """The offset behind the bracket that closes a string; brackets in it come in pairs, or behind a backslash."""
    depth = 1
    for mark in _STRING_MARK.finditer(text, at):
        depth += {b"(": 1, b")": -1}.get(mark.group(), 0)
        if depth == 0:
            return mark.end()
    return len(text)


# --- zip ----------------------------------------------------------------------------------------------------------

BIG_PART_BYTES: Final = 100 * 2**20
"""Only parts that unpack to more than this can make a phone suffer by their ratio."""

_ENTRY = struct.Struct("<4s4xH10xIIHHH8xI")  # mark, flags, packed, unpacked, lengths of three texts, place
_IN_EXTRA = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Part:
    at: int
    ends_at: int
    packed_bytes: int
    unpacked_bytes: int
    encrypted: bool


def read_parts(sample: Sample) -> ZipFacts:
    """The facts of a zip; its directory has to be in the sample's last bytes."""
    end = _end_of(sample)
    if not end:
        return ZipFacts("unseen")
    kept_from = sample.size_bytes - len(end)
    found = directory_of(end)
    if found is None:
        return ZipFacts("missing")
    starts_at, ends_at, recorded_at = found
    if starts_at < 0:
        return ZipFacts("too_long" if kept_from + starts_at >= 0 else "missing")
    if recorded_at > kept_from + starts_at:
        return ZipFacts("missing")  # bytes that were in front of the directory are gone
    parts: list[_Part] = []
    try:
        parts.extend(_parts(end, starts_at, ends_at))
    except ValueError:
        return ZipFacts("damaged")
    return _sums(parts, kept_from + starts_at)


def _parts(end: bytes, at: int, ends_at: int) -> Iterator[_Part]:
    """The parts that a directory lists; ValueError where it breaks off."""
    while at < ends_at:
        if at + 46 > ends_at:
            raise ValueError("half an entry")
        mark, flags, packed, unpacked, name, extra, comment, place = _ENTRY.unpack_from(end, at)
        if mark != b"PK\x01\x02":
            raise ValueError("no entry")
        if _IN_EXTRA in {packed, unpacked, place}:
            unpacked, packed, place = _large(end[at + 46 + name : at + 46 + name + extra], (unpacked, packed, place))
        yield _Part(place, place + 30 + name + packed, packed, unpacked, encrypted=bool(flags & 1))
        at += 46 + name + extra + comment
    if at > ends_at:
        raise ValueError("an entry that reaches behind the directory")


def _large(extra: bytes, values: tuple[int, ...]) -> list[int]:
    """The numbers that do not fit into an entry stand in its extra field 1, in this order."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            body = extra[at + 4 : at + 4 + length]
            numbers = iter(number for (number,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8]))
            return [next(numbers, value) if value == _IN_EXTRA else value for value in values]
        at += 4 + length
    return list(values)


def _sums(parts: list[_Part], directory_at: int) -> ZipFacts:
    by_place = sorted((part.at, part.ends_at) for part in parts)
    big = [part for part in parts if part.unpacked_bytes > BIG_PART_BYTES]
    return ZipFacts(
        "whole",
        entries=len(parts),
        packed_bytes=sum(part.packed_bytes for part in parts),
        unpacked_bytes=sum(part.unpacked_bytes for part in parts),
        worst_ratio=max((part.unpacked_bytes / max(1, part.packed_bytes) for part in big), default=0.0),
        outside=any(ends_at > directory_at for _, ends_at in by_place),
        overlapping=any(ends_at > next_at for (_, ends_at), (next_at, _) in itertools.pairwise(by_place)),
        encrypted=any(part.encrypted for part in parts),
    )


# --- OLE2 ---------------------------------------------------------------------------------------------------------

_FIRST_MARK = 0xFFFFFFFA  # this and above are marks, not sector numbers
_MAX_TABLE_LISTS = 64  # sectors that list further tables; a file of 100 MiB has 13


def read_sectors(sample: Sample) -> OleFacts:
    """The facts of an OLE2 file: the last sector that its header and its allocation tables speak of has to be there."""
    shift = int.from_bytes(sample.slice(30, 2), "little")
    if shift not in {9, 12} or len(sample.slice(0, 512)) < 512:
        return OleFacts(readable=False, needed_bytes=0, size_bytes=sample.size_bytes)
    width = 1 << shift
    tables, lists = _tables(sample, width)
    directory, small_table, small_tables = (_number(sample.slice(at, 4)) for at in (48, 60, 64))
    named = [*tables, *lists, directory, small_table if small_tables else 0, _last_used(sample, tables, width)]
    last = max(number for number in named if number < _FIRST_MARK)
    return OleFacts(readable=True, needed_bytes=(last + 1) * width + 1, size_bytes=sample.size_bytes)


def _tables(sample: Sample, width: int) -> tuple[list[int], list[int]]:
    """The sectors of the allocation tables, in order, and the sectors that list more of them than fit into the header."""
    tables = _numbers(sample.slice(76, 436))
    lists: list[int] = []
    table_count, number, count = (_number(sample.slice(at, 4)) for at in (44, 68, 72))
    while count and number < _FIRST_MARK and number not in lists and len(lists) < _MAX_TABLE_LISTS:
        lists.append(number)
        *more, number = _numbers(sample.slice((number + 1) * width, width)) or [_FIRST_MARK]
        tables += more
    return [table for table in tables[: table_count or None] if table < _FIRST_MARK], lists


def _last_used(sample: Sample, tables: list[int], width: int) -> int:
    """The last sector that is in use, as far as the tables are in sight; a table in use is one as well."""
    for index in reversed(range(len(tables))):
        entries = sample.slice((tables[index] + 1) * width, width)
        used = entries.rstrip(b"\xff\x00")  # free sectors are all ones, with some writers 0
        if used:
            return index * (width // 4) + (len(used) - 1) // 4
    return 0


def _number(four: bytes) -> int:
    return int.from_bytes(four, "little")


def _numbers(data: bytes) -> list[int]:
    return [number for (number,) in struct.iter_unpack("<I", data[: len(data) // 4 * 4])]
