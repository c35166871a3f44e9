"""What a look at many files found: one page for people, one JSON document for programs.

Knows no Airflow, no network and no clock. Where the reports go, and who looked at the files, is the business of the caller.
"""

from __future__ import annotations

import json
import re
import tempfile
from base64 import b64encode
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from jinja2 import Template

    from airflow_provider_360dialog.ports import Problem, Verdict

THUMBNAIL_PX: Final = 112
"""Longest side that a thumbnail needs: the page shows 56, and phones have two pixels where it counts one."""

_THUMBNAIL_MAX_BYTES: Final = 24_000
_IN_MEMORY_BYTES: Final = 1_000_000
_PICTURES: Final = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_CAPITALS: Final = {"csv": "CSV", "html": "HTML", "mime": "MIME", "pdf": "PDF", "png": "PNG", "rgb": "RGB", "utf8": "UTF-8"}
_ENDING: Final = re.compile(r"\.([A-Za-z0-9]{1,4})\Z")


@dataclass(frozen=True)
class Checked:
    """One file that was looked at.

    Attributes:
        name: as its owner calls it: a path, a URI without secrets, or a key below a folder. Untrusted.
        verdict: None where it could not be read.
        unreadable: why it could not; None where it could.
        thumbnail: a small JPEG or PNG that was made here, or None.
    """

    name: str
    verdict: Verdict | None
    unreadable: Problem | None = None
    thumbnail: bytes | None = None

    def __post_init__(self) -> None:
        if (self.verdict is None) == (self.unreadable is None):
            raise ValueError("a file has either a verdict or a reason why it has none")

    @property
    def ok(self) -> bool:
        """Whether it can be sent."""
        return self.verdict is not None and self.verdict.ok

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All findings, errors first."""
        if self.verdict is not None:
            return self.verdict.problems
        return () if self.unreadable is None else (self.unreadable,)


def told(checked: Checked) -> dict[str, Any]:
    """One file for programs.

    Returns:
        ``path`` (str), ``ok`` (bool), ``kind``, ``mime_type``, ``size_bytes`` and ``sha256`` (each None where it is not known),
        ``problems`` (list of ``code``, ``severity``, ``message``, ``remedy``); and where it was prepared ``receipt``, as
        `ports.Receipt` has it.
    """
    verdict = checked.verdict
    found = {
        "path": checked.name,
        "ok": checked.ok,
        "kind": verdict and verdict.kind,
        "mime_type": verdict and verdict.mime_type,
        "size_bytes": verdict and verdict.size_bytes,
        "sha256": (verdict and verdict.sha256) or None,
        "problems": [asdict(problem) for problem in checked.problems],
    }
    if verdict is not None and verdict.receipt is not None:
        found["receipt"] = asdict(verdict.receipt)
    return found


@dataclass
class Counts:
    """How many files are what.

    Attributes:
        files: all. ok: can be sent. warned: of these, with warnings. bad: cannot be sent. unreadable: of these, not readable.
        prepared: have a receipt. by_code: code of a finding -> files that have it.
    """

    files: int = 0
    ok: int = 0
    warned: int = 0
    bad: int = 0
    unreadable: int = 0
    prepared: int = 0
    by_code: dict[str, int] = field(default_factory=dict)

    def add(self, checked: Checked) -> None:
        """Count one more."""
        self.files += 1
        self.ok += checked.ok
        self.warned += checked.ok and bool(checked.problems)
        self.bad += not checked.ok
        self.unreadable += checked.verdict is None
        self.prepared += checked.verdict is not None and checked.verdict.receipt is not None
        for code in {problem.code for problem in checked.problems}:
            self.by_code[code] = self.by_code.get(code, 0) + 1

    def most_common(self) -> list[tuple[str, int]]:
        """Codes and files that have them, the most frequent first."""
        return sorted(self.by_code.items(), key=lambda item: (-item[1], item[0]))

    def sentence(self) -> str:
        """What a person has to know first."""
        if not self.files:
            return "There was no file to look at."
        if self.files == 1:
            return "The file can be sent." if self.ok else "The file cannot be sent."
        if not self.bad:
            return f"All {self.files:,} files can be sent."
        if not self.ok:
            return f"None of {self.files:,} files can be sent."
        return f"{self.ok:,} of {self.files:,} files can be sent; {self.bad:,} cannot."


class Report:
    """Takes files one by one, in memory that does not grow with their number; leave it, and its temporary file is gone.

    Args:
        source: what was looked at, for people and programs; holds no secret.
        checked_at: when, aware.
        not_looked_at: one sentence on what could not be looked at in any file; None where there is nothing to say.
        most_bad, most_others: files that the page lists of each code; of those that cannot be sent, and of the others.
        most_thumbnails: in each of the page's lists.
    """

    def __init__(
        self,
        *,
        source: str,
        checked_at: datetime,
        not_looked_at: str | None = None,
        most_bad: int = 500,
        most_others: int = 100,
        most_thumbnails: int = 200,
    ) -> None:
        self.counts = Counts()
        self._source, self._not_looked_at = source, not_looked_at
        self._checked_at = checked_at.astimezone(UTC)
        self._bad = _Listed(most_bad, most_thumbnails)
        self._warned = _Listed(most_others, most_thumbnails)
        self._prepared = _Listed(most_others, most_thumbnails)
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by `close`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything."""
        self._spool.close()

    def add(self, checked: Checked) -> None:
        """Take one more file."""
        self.counts.add(checked)
        self._spool.seek(0, 2)
        self._spool.write(json.dumps(told(checked)).encode() + b"\n")
        if checked.problems:
            (self._warned if checked.ok else self._bad).add(checked.problems[0].code, checked)
        if checked.verdict is not None and checked.verdict.receipt is not None:
            self._prepared.add("", checked)

    def json_lines(self) -> Iterator[str]:
        """The JSON document, in lines without their ends: one for each file, and a few around them.

        Its keys: ``checked_at`` (ISO 8601), ``source``, ``not_looked_at`` (None or a sentence), ``counts`` (as `Counts`), and
        ``files``, each as of `told`, in the order in which they were added.
        """
        head = {
            "checked_at": self._checked_at.isoformat(timespec="seconds"),
            "source": self._source,
            "not_looked_at": self._not_looked_at,
            "counts": asdict(self.counts),
        }
        yield json.dumps(head)[:-1] + ', "files": ['
        at, left = 0, self.counts.files
        while left:
            self._spool.seek(at)
            line = self._spool.readline()
            at, left = at + len(line), left - 1
            yield line.decode().rstrip("\n") + ("," if left else "")
        yield "]}"

    def html(self) -> str:
        """The page: complete in itself, without scripts; it asks for nothing from anywhere."""
        page = _template().render(
            counts=self.counts,
            source=self._source,
            checked_at=self._checked_at,
            not_looked_at=self._not_looked_at,
            bad=self._bad.groups(),
            warned=self._warned.groups(),
            prepared=self._prepared.groups(),
        )
        return page.lstrip()  # what the template defines leaves blank lines


@dataclass(frozen=True)
class _Group:
    """Files with the same first finding. ``message``, ``remedy``: what several that are listed have in common, or None."""

    code: str
    count: int
    listed: list[Checked]
    message: str | None
    remedy: str | None

    @property
    def title(self) -> str:
        """The code in words."""
        words = [_CAPITALS.get(word, word) for word in self.code.split("_")]
        return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


class _Listed:
    """The first files of each code, and the first thumbnails: bounded, for the codes are few."""

    def __init__(self, most_files: int, most_thumbnails: int) -> None:
        self._most_files, self._thumbnails_left = most_files, most_thumbnails
        self._counts: Counter[str] = Counter()
        self._files: dict[str, list[Checked]] = {}

    def add(self, code: str, checked: Checked) -> None:
        """Count it, and keep it where there is room."""
        self._counts[code] += 1
        if self._counts[code] > self._most_files:
            return
        if not self._thumbnails_left or _data_uri(checked.thumbnail) is None:
            checked = replace(checked, thumbnail=None)
        self._thumbnails_left -= checked.thumbnail is not None
        self._files.setdefault(code, []).append(checked)

    def groups(self) -> list[_Group]:
        """The largest first."""
        return [
            _Group(
                code,
                count,
                self._files.get(code, []),
                self._common(code, "message"),
                self._common(code, "remedy"),
            )
            for code, count in sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        ]

    def _common(self, code: str, name: str) -> str | None:
        texts = [getattr(problem, name) for each in self._files.get(code, []) for problem in each.problems[:1]]
        return texts[0] if len(texts) > 1 and len(set(texts)) == 1 else None


def printable(text: str) -> str:
    """A stranger's text as it may be shown: controls, direction marks and the like stand as their codes."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def size_words(size_bytes: int) -> str:
    """``640 bytes``, ``21.0 kB``, ``104.9 MB``: powers of ten."""
    if size_bytes < 1000:
        return f"{size_bytes} byte" + ("" if size_bytes == 1 else "s")
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB"):  # noqa: B007 - the last one is used
        size /= 1000
        if size < 999.95:
            break
    return f"{size:,.1f} {unit}"


def _data_uri(thumbnail: bytes | None) -> str | None:
    """A thumbnail for the page; None for what is no small picture."""
    if thumbnail is None or len(thumbnail) > _THUMBNAIL_MAX_BYTES:
        return None
    for mark, mime_type in _PICTURES.items():
        if thumbnail.startswith(mark):
            return f"data:{mime_type};base64,{b64encode(thumbnail).decode()}"
    return None


def _ending(name: str) -> str:
    """What stands where a thumbnail would."""
    found = _ENDING.search(name)
    return found[1].upper() if found else "?"


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # before it is escaped
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "ending": _ending, "size": size_words, "thousands": "{:,}".format}
    environment.filters["files"] = lambda count: f"{count:,} file" + ("" if count == 1 else "s")
    text = files(__package__).joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(text)
