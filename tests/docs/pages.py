"""The documentation as data: pages, sections, blocks of code, links, and what stands between two markers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "airflow_provider_360dialog"
PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted(page for page in CHECKOUT.glob("docs/**/*.md") if "_build" not in page.parts),
]

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- ([^\n]+?) -->\s*\Z")
_ENTRY = re.compile(r"^(?!:)(?:.*<([^>]+)>|(\S+))$", re.MULTILINE)
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``mark`` holds the words of the HTML comment right before it, or nothing.

    The language of a directive of Sphinx has its braces: ``{toctree}``.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"

    @property
    def file(self) -> str:
        """The name of the file whose content this is (``<!-- file: dags/vouchers.py -->``), or empty."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else ""


def name_of(page: Path) -> str:
    """``README.md``, ``cli.md``, ``decisions/index.md``: as short as it is unique."""
    return str(page.relative_to(CHECKOUT)).removeprefix("docs/")


@cache
def read(page: Path | str) -> str:
    """A page, by its path or by its name in docs/."""
    return (CHECKOUT / "docs" / page if isinstance(page, str) else page).read_text(encoding="utf-8")


@cache
def all_blocks() -> tuple[Block, ...]:
    """All blocks, over all pages."""
    found = []
    for page in PAGES:
        text = read(page)
        for fence in _FENCE.finditer(text):
            mark = _MARK.search(text, 0, fence.start())
            line = text.count("\n", 0, fence.start()) + 1
            found.append(Block(page, line, fence[1].strip(), fence[2], mark[1] if mark else ""))
    return tuple(found)


def blocks(*, language: str) -> list[Block]:
    """All blocks of a language, over all pages."""
    return [block for block in all_blocks() if block.language == language]


def headings(text: str, level: int) -> list[str]:
    """The headings of one level, without backquotes; comments inside of code do not count."""
    return [found[2].replace("`", "") for found in _HEADING.finditer(_FENCE.sub("", text)) if len(found[1]) == level]


def section(page: str, title: str) -> str:
    """The text below the one heading that has these words, up to the next heading of its level or above; code included."""
    text = read(page)
    hidden = _FENCE.sub(lambda fence: re.sub(r"[^\n]", " ", fence[0]), text)  # same offsets, no comments of code
    found = [each for each in _HEADING.finditer(hidden) if each[2].replace("`", "") == title]
    assert len(found) == 1, f"{page}: {len(found)} headings {title!r}"
    start = found[0]
    ends = (each.start() for each in _HEADING.finditer(hidden, start.end()) if len(each[1]) <= len(start[1]))
    return text[start.end() : next(ends, len(text))]


def between(page: Path | str, marker: str) -> str:
    """What stands between ``<!-- marker -->`` and ``<!-- /marker -->``, with one final newline."""
    found = re.findall(rf"<!-- {marker} -->\n(.*?)<!-- /{marker} -->", read(page), re.DOTALL)
    assert len(found) == 1, f"{page}: {len(found)} parts {marker!r}"
    return found[0].strip("\n") + "\n"


def links() -> list[tuple[Path, str]]:
    """Every link with its page, those of a toctree among them; links inside of code do not count."""
    written = [(page, target) for page in PAGES for target in _LINK.findall(_FENCE.sub("", read(page)))]
    return written + [(block.page, target) for block in blocks(language="{toctree}") for target in _entries(block)]


def _entries(block: Block) -> Iterator[str]:
    """What a toctree leads to: a name without its suffix, a pattern, ``title <name>``."""
    folder = block.page.parent
    for named, plain in _ENTRY.findall(block.text):
        name = named or plain
        if "*" in name:
            yield from (str(path.relative_to(folder)) for path in folder.glob(f"{name}.md"))
        elif name != "self":
            yield name if "://" in name or name.endswith(".md") else f"{name}.md"


def is_generated(page: Path) -> bool:
    """Whether Sphinx adds to it what is not in the file: headings of an API reference."""
    return any(
        re.fullmatch(r"\{(auto\w+|eval-rst|automodapi|include)\}.*", block.language)
        for block in all_blocks()
        if block.page == page
    )


def anchors(page: Path) -> set[str]:
    """What ``#...`` may name, as GitHub makes it of headings."""
    return {
        re.sub(r"[^\w\- ]", "", found[2].lower()).replace(" ", "-") for found in _HEADING.finditer(_FENCE.sub("", read(page)))
    }


def codes(text: str) -> set[str]:
    """Everything that stands in backquotes, outside of blocks."""
    return set(re.findall(r"`([^`\n]+)`", _FENCE.sub("", text)))
