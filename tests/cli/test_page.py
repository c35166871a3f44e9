"""Pages: what people see, in a terminal and elsewhere."""

from __future__ import annotations

import io
import re

import pytest

from airflow_provider_360dialog.cli.page import Page, cells

HEAD = ["number", "connections", "pace/s", "budget left", "downloads", "live ids", "end in a week"]
ROW = ["...22", "shop_berlin, travel", "24.5", "4 of 4", "blocked until 2026-11-22 07:04 UTC (in 41 min 6 s)", 11204, 7654]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """A table as a terminal of so many columns shows it, without its colours."""

    def show(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm-256color")
        page = Page(Terminal())
        page.table(HEAD, [cells(*ROW)])
        return re.sub(r"\x1b\[[0-9;]*m", "", page.text())

    return show


@pytest.mark.parametrize("columns", [60, 79, 80, 81, 100, 200])
def test_a_terminal_shows_every_cell_whole(shown, columns):
    """Broken over lines where it has to be, and never cut off."""
    text = shown(columns)
    assert max(map(len, text.splitlines())) <= columns
    letters = sorted("".join([*HEAD, *map(str, ROW[:-2]), "11,204", "7,654"]).replace(" ", ""))
    assert sorted("".join(text.split())) == letters


def test_elsewhere_nothing_is_broken_or_coloured():
    page = Page(io.StringIO())
    page.say("a " * 500 + "z", "red")
    page.table(HEAD, [cells(*ROW)])
    lines = page.text().splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("z")
    assert lines[2].endswith("11,204          7,654"), "numbers stand at the right"
    assert "\x1b" not in page.text()


def test_no_word_of_a_stranger_reaches_the_terminal_as_a_code():
    page = Page(Terminal())
    page.say("a\x1b[31m[red]b")
    page.table(["x"], [cells("c\x1b[31m[red]d")])
    assert "a\\x1b[31m[red]b" in page.text()
    assert "c\\x1b[31m[red]d" in page.text()
