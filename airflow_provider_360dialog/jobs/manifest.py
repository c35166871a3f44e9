"""Read a campaign's input: lines of JSON, CSV, or a list. Pure: text in, items out, one at a time.

Whatever the text is, nothing is raised for it, and nothing is lost: a line that is no item comes out as `Malformed` with its
number and what to do about it, and the next line is read as if it had not been there. Knows no files, no ledger, no Airflow; does
not open what an item points to, and does not compare items (the ledger's unique key does).
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, get_args

from airflow_provider_360dialog.exceptions import CallError
from airflow_provider_360dialog.ports import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

log = logging.getLogger(__name__)

KEY_MAX_CHARS: Final = 250
URI_MAX_CHARS: Final = 4096
LIST_MAX_ITEMS: Final = 1000
RECORD_MAX_CHARS: Final = 65_536
"""Of one line of JSON, or one record of a CSV with all its lines."""
RECORD_MAX_LINES: Final = 100
"""Of one record of a CSV. A quote that is never closed costs at most this many lines of reading ahead, whatever follows it."""

_MAX_CHARS: Final = {
    "key": KEY_MAX_CHARS,
    "uri": URI_MAX_CHARS,
    "channel": 250,
    "mime_type": 250,
    "filename": 1000,
    "kind": 250,
    "subject": KEY_MAX_CHARS,
}
COLUMNS: Final = frozenset(_MAX_CHARS)
_CHECKED: Final = tuple(_MAX_CHARS.items())
_SEPARATORS: Final = (",", ";", "\t")
_KINDS: Final = frozenset(get_args(Kind))

# Beside control characters: what ends a line, turns the direction of the text around it, or is no character at all.
_UNPRINTABLE: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRETIVE: Final = re.compile(r"\?.*|(?<=://)[^/@]*:[^/]*@", re.DOTALL)  # a query, a password

_NOT_UTF8: Final = "it holds what is not UTF-8 text; save the manifest as UTF-8"
_TOO_LONG: Final = f"it is longer than {RECORD_MAX_CHARS:,} characters; put one item on a line"
_HEADER: Final = (
    "the first line of a CSV must name its columns, each once, at least key and uri; none of the lines after it was read. "
    "Write key,uri,channel,mime_type,filename,kind,subject (or those of them that are used) above them"
)
_UNCLOSED: Final = (
    f"a quotation mark opens here and is not closed properly within {RECORD_MAX_LINES} lines and {RECORD_MAX_CHARS:,} "
    'characters; write two ("") for one inside a quoted text, and keep each item on one line'
)
_STRAY: Final = 'a quotation mark stands in a text that is not quoted; put the text in quotation marks and write two ("") for it'
_QUOTE_SEPARATORS: Final = "put quotation marks around a text that holds a separator"
_MANY_LINES: Final = "a quoted text that begins here goes on over several lines; keep each item on one line"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One item as the user asks for it.

    Attributes:
        key: recipient or slot name, 1 to 250 printable characters. uri: of its file, 1 to 4,096.
        channel: an Airflow connection id. mime_type, filename, kind, subject: None where not given.
        line: of the manifest where it begins, from 1 (of a list: its position, from 1); None for a file of a folder.
    """

    key: str
    uri: str
    channel: str | None = None
    mime_type: str | None = None
    filename: str | None = None
    kind: Kind | None = None
    subject: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that is no item.

    Attributes:
        reason: what is wrong and what to do about it, for each column that is wrong; quotes nothing of the line.
        line: as of `Wanted`.
        key, uri, channel: for messages, as far as they can be shown: shortened, without a URL's query or password.
    """

    reason: str
    line: int | None = None
    key: str | None = None
    uri: str | None = None
    channel: str | None = None


def read_jsonl(lines: Iterable[str], *, base: str) -> Iterator[Wanted | Malformed]:
    """One JSON object on each line.

    Args:
        lines: with or without their ends; bytes that were not UTF-8 as lone surrogates (``surrogateescape``).
        base: what a relative uri begins with: a path or the URI of an object store, ending in a slash. Empty leaves it as it is.

    Yields:
        One result for each line that is not blank.
    """
    unknown = _Unknown()
    for number, line in enumerate(lines, 1):
        text = line.removeprefix("\ufeff") if number == 1 else line
        if not text or text.isspace():
            continue
        fields = _json_object(text)
        if isinstance(fields, str):
            yield Malformed(fields, number)
            continue
        if not fields.keys() <= COLUMNS:
            unknown.met(fields)
        yield read_item(fields, base=base, line=number)


def read_csv(lines: Iterable[str], *, base: str) -> Iterator[Wanted | Malformed]:
    """A header line, then a record on each line; comma, semicolon or tab, as the header has it; quotes as in RFC 4180.

    Blanks after a separator do not count. Records without any text are skipped as blank lines are. A quoted text may hold line
    breaks where its column is none of ours. A record of several lines that cannot be read (its quote is closed too late or not at
    all, its number of fields is wrong, a column of ours runs over the line) is malformed in its first line only: reading goes on
    with the second, so that one quotation mark never swallows the items below it. A quotation mark within a text that is not
    quoted is malformed too, as in the RFC: it may be the second half of such a record.

    Args:
        lines, base: as of `read_jsonl`.

    Yields:
        One result for each record; one only, for the header, where that does not name the columns.
    """
    rows = _Rows(lines)
    header, names = rows.header()
    if names is None:
        if header:
            yield Malformed(_HEADER, header)
        return
    unknown = _Unknown()
    unknown.met(names)
    count = len(names)
    for number, row in rows.records():
        if isinstance(row, str):
            yield Malformed(row, number)
            continue
        if len(row) == count:
            found = read_item(dict(zip(names, row, strict=True)), base=base, line=number)
        else:
            found = Malformed(f"it has {len(row)} fields where the first line names {count} columns; {_QUOTE_SEPARATORS}", number)
        if isinstance(found, Malformed):
            if not any(field and not field.isspace() for field in row):
                continue
            found = rows.back_if_long(found)
        yield found


def read_list(items: Sequence[object], *, base: str) -> Iterator[Wanted | Malformed]:
    """Items that were given in code: mappings with the same columns, or paths, whose text is then the key as well.

    Raises:
        CallError: more than 1,000 (at once, not when the first is asked for).
    """
    if len(items) > LIST_MAX_ITEMS:
        raise CallError(
            f"A list may hold {LIST_MAX_ITEMS:,} items, this one has {len(items):,}. Write them into a manifest (JSONL or CSV) "
            "and give its path, or give the folder of the files."
        )
    return _read_list(items, base)


def _read_list(items: Sequence[object], base: str) -> Iterator[Wanted | Malformed]:
    unknown = _Unknown()
    for number, item in enumerate(items, 1):
        if isinstance(item, os.PathLike):
            item = os.fspath(item)  # noqa: PLW2901 - the same item in the form that is read
        if isinstance(item, str):
            yield read_item({"key": item, "uri": item}, base=base, line=number)
        elif isinstance(item, Mapping):
            if not item.keys() <= COLUMNS:
                unknown.met(item)
            yield read_item(item, base=base, line=number)
        else:
            yield Malformed("it is neither a path nor a mapping; give a text, or a dict with key and uri", number)


def read_item(fields: Mapping[str, object], *, base: str, line: int | None = None) -> Wanted | Malformed:
    """One item from its columns; others are left out.

    Args:
        fields: column -> text; None and blank text mean: not given. base: as of `read_jsonl`. line: for the result.
    """
    given: dict[str, Any] = {}
    for name, most in _CHECKED:
        value = fields.get(name)
        if value is None or value == "":
            continue
        if type(value) is not str or len(value) > most or not value.isprintable():
            return _read_odd(fields, base=base, line=line)
        given[name] = value
    return _item(given, base, line)


def _read_odd(fields: Mapping[str, object], *, base: str, line: int | None) -> Wanted | Malformed:
    """The same for columns that are wrong, or merely unusual."""
    given: dict[str, str] = {}
    faults = []
    for name, most in _CHECKED:
        value = fields.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            faults.append(f"{name} is not text; put it in quotation marks")
        elif len(value) > most:
            faults.append(f"{name} has {len(value):,} characters; give 1 to {most:,}")
        elif _UNPRINTABLE.search(value):
            faults.append(f"{name} holds control characters, or text that is not UTF-8; give printable characters only")
        else:
            given[name] = value
    return _malformed(faults, fields, line) if faults else _item(given, base, line)


def _item(given: dict[str, Any], base: str, line: int | None) -> Wanted | Malformed:
    for name in [name for name, value in given.items() if value.isspace()]:
        del given[name]
    faults = []
    if "key" not in given:
        faults.append("key is missing; give each item one, such as its recipient")
    if "uri" not in given:
        faults.append("uri is missing; give the place of the file, absolute or relative to the manifest")
    if "kind" in given:
        given["kind"] = given["kind"].strip().lower()
        if given["kind"] not in _KINDS:
            faults.append(f"kind is none of {', '.join(get_args(Kind))}; leave it empty to have it derived from the type")
    if faults:
        return _malformed(faults, given, line)
    if base:
        given["uri"] = _absolute(given["uri"], base)
    return Wanted(**given, line=line)


def _malformed(faults: list[str], fields: Mapping[str, object], line: int | None) -> Malformed:
    shown = {name: _shown(fields.get(name)) for name in ("key", "uri", "channel")}
    return Malformed("; ".join(faults), line, **shown)


def _shown(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    text = _SECRETIVE.sub("", value[:URI_MAX_CHARS]) if "://" in value else value
    text = text[:KEY_MAX_CHARS]
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _absolute(uri: str, base: str) -> str:
    if uri.startswith(("/", "~/")) or ("://" in uri and _SCHEME.match(uri)):
        return uri
    whole = base + uri
    if "://" not in base or "." not in uri:  # a file system knows its own dots
        return whole
    parts = uri.split("/")
    return _without_dots(whole) if "." in parts or ".." in parts else whole


def _without_dots(uri: str) -> str:
    """Keys of an object store are no paths: ``./`` and ``../`` have to be worked out. None leads out of the bucket."""
    scheme, _, rest = uri.partition("://")
    bucket, *parts = rest.split("/")
    kept: list[str] = []
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    return f"{scheme}://{'/'.join([bucket, *kept])}"


class _Unknown:
    """Says once of each column that it is ignored; of the first 20 of them."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def met(self, columns: Iterable[object]) -> None:
        if len(self._said) >= 20:
            return
        new = sorted({_name(each) for each in columns if each not in COLUMNS} - self._said)[:20]
        if new:
            self._said.update(new)
            log.warning("these columns are none of an item's and are ignored: %s", ", ".join(new))


def _name(column: object) -> str:
    text = str(column)[:60] if isinstance(column, str | int) else type(column).__name__
    return repr(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text))


# --- JSON ---------------------------------------------------------------------------------------------------------


class _JsonError(ValueError):
    """JSON that another reader may understand differently."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _JsonError("it names a column twice; leave one")
    return fields


def _no_number(_: str) -> NoReturn:
    raise _JsonError("it holds NaN or Infinity, which JSON does not have; give a text or null")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)


def _json_object(text: str) -> dict[str, object] | str:
    """The object, or what is wrong with the line."""
    if len(text) > RECORD_MAX_CHARS:
        return _TOO_LONG
    if not text.isascii() and _SURROGATE.search(text):
        return _NOT_UTF8
    try:
        fields = _DECODER.decode(text)
    except json.JSONDecodeError as fault:
        return f"it is not JSON (column {fault.colno}: {fault.msg}); write one whole object on each line"
    except _JsonError as fault:
        return str(fault)
    except (RecursionError, ValueError):  # brackets within brackets; a number of thousands of digits
        return "it is JSON that cannot be read (nested too deep, or a number too long); write a flat object of texts"
    if not isinstance(fields, dict):
        return 'it is JSON but no object; write {"key": ..., "uri": ...}'
    return fields


# --- CSV ----------------------------------------------------------------------------------------------------------


def _record_of(separator: str) -> re.Pattern[str]:
    """RFC 4180. The csv module also takes a quote within a plain text, which may be the second half of a broken record."""
    field = rf' *+"[^"]*+(?:""[^"]*+)*+"|[^"{separator}]*+'
    return re.compile(rf"(?:{field})(?:{separator}(?:{field}))*+[\r\n]*")


_RECORDS: Final = {separator: _record_of(separator) for separator in _SEPARATORS}


class _Rows:
    """The records of a CSV, with a way back to the second line of one that cannot be read."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._back: deque[str] = deque()
        self._ahead: list[str] = []  # further lines of the present record
        self._number = 0
        self._separator = ","

    def header(self) -> tuple[int, list[str] | None]:
        """Its line, 0 for an empty text; and the names of the columns, None where key and uri are not among them."""
        while (line := self._next()) is not None:
            text = line.removeprefix("\ufeff") if self._number == 1 else line
            if text.strip():
                break
        else:
            return 0, None
        for separator in _SEPARATORS:
            row = self._row(text, separator)
            names = [name.strip().lower() for name in row] if isinstance(row, list) else []
            if {"key", "uri"}.issubset(names) and all(names.count(name) == 1 for name in COLUMNS.intersection(names)):
                self._separator = separator
                return self._number, names
            self._give_back()
        return self._number, None

    def records(self) -> Iterator[tuple[int, list[str] | str]]:
        """Number of the first line, and the fields or what is wrong."""
        while (line := self._next()) is not None:
            if not line or line.isspace():
                continue
            number = self._number
            row = self._row(line, self._separator)
            if isinstance(row, str):
                self._give_back()
            yield number, row

    def back_if_long(self, found: Malformed) -> Malformed:
        """The same; if it ran over several lines, reading goes on with the second of them."""
        if not self._ahead:
            return found
        self._give_back()
        return replace(found, reason=f"{_MANY_LINES} ({found.reason})")

    def _next(self) -> str | None:
        line = self._back.popleft() if self._back else next(self._lines, None)
        if line is not None:
            self._number += 1
        return line

    def _give_back(self) -> None:
        self._back.extendleft(reversed(self._ahead))
        self._number -= len(self._ahead)
        self._ahead = []

    def _row(self, line: str, separator: str) -> list[str] | str:
        self._ahead = []
        if len(line) > RECORD_MAX_CHARS:
            return _TOO_LONG
        if not line.isascii() and _SURROGATE.search(line):
            return _NOT_UTF8
        if '"' not in line:
            fields = line.rstrip("\r\n").split(separator)
            return [field.lstrip(" ") for field in fields] if " " in line else fields
        try:
            fields = next(csv.reader(self._record(line), strict=True, skipinitialspace=True, delimiter=separator))
        except csv.Error:
            return _UNCLOSED
        return fields if _RECORDS[separator].fullmatch("".join([line, *self._ahead])) else _STRAY

    def _record(self, line: str) -> Iterator[str]:
        """The line, and the next ones as long as a record may go on."""
        size = len(line)
        yield line.rstrip("\r\n") + "\n"
        while len(self._ahead) < RECORD_MAX_LINES - 1 and (more := self._next()) is not None:
            self._ahead.append(more)
            size += len(more)
            if size > RECORD_MAX_CHARS:
                return
            yield more.rstrip("\r\n") + "\n"
