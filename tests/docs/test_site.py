"""The documentation becomes HTML without a warning, and the reference has everything that is public.

The site is built once, by the command of ``scripts/docs``, where no socket can be connected.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag

import pytest
from sphinx.util.inventory import InventoryFile

from airflow_provider_360dialog import emulator, exceptions, ports
from airflow_provider_360dialog.get_provider_info import get_provider_info
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from tests.docs.pages import CHECKOUT

INFO = get_provider_info()
PAGES = sorted(page for page in [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
NO_NETWORK = """
import socket
def refuse(*_, **__):
    raise RuntimeError("a build of the documentation asks for the network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
"""
LOADING = {
    ("img", "src"), ("img", "srcset"), ("script", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("source", "srcset"),
    ("video", "src"), ("video", "poster"), ("audio", "src"), ("object", "data"), ("embed", "src"), ("base", "href"), ("form", "action"),
    ("use", "href"), ("image", "href"),
}  # fmt: skip


def build(source, to, *, blocked):
    """The command of ``scripts/docs``, for any folder that holds pages."""
    (blocked / "sitecustomize.py").write_text(NO_NETWORK)
    (command,) = re.findall(r"^\.venv/bin/python (-m sphinx .*)$", (CHECKOUT / "scripts" / "docs").read_text(), re.MULTILINE)
    command = command.replace("$to", str(to)).replace(' . "', f' {source} "').replace("-c docs", f"-c {CHECKOUT}/docs")
    return subprocess.run(
        f'"{sys.executable}" {command}',
        shell=True, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(blocked)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What the build said, and the folder of the HTML."""
    to = tmp_path_factory.mktemp("site")
    return build(".", to, blocked=tmp_path_factory.mktemp("blocked")), to / "html"


@pytest.fixture(scope="module")
def site(built):
    """The folder of the HTML."""
    return built[1]


class Page(HTMLParser):
    """What a page links to, what it loads, and what a link to it may name."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.ids, self.references = [], [], set(), []
        self.styles = " ".join(re.findall(r"<style.*?</style>| style=\"[^\"]*\"", text, re.DOTALL))
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        self.ids |= {said[name] for name in ("id", "name") if said.get(name)}
        self.loads += [said[name] for kind, name in LOADING if kind == tag and said.get(name)]
        if tag == "a" and said.get("href"):
            self.links.append(said["href"])
            if "reference" in (said.get("class") or "").split():
                self.references.append(said["href"])


@cache
def parsed(path):
    return Page(path.read_text(encoding="utf-8"))


def html_of(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    return pages


def entries(site):
    """Kind -> names of the reference."""
    found = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    return {kind.removeprefix("py:"): set(items) for kind, items in found.items() if kind.startswith("py:")}


def classes_of(sort):
    """The public classes of the modules that Airflow is told of."""
    modules = [importlib.import_module(name) for row in INFO[sort] for name in row["python-modules"]]
    return [
        f"{module.__name__}.{name}"
        for module in modules
        for name, each in vars(module).items()
        if isinstance(each, type) and each.__module__ == module.__name__ and not name.startswith("_")
    ]


# --- the build ----------------------------------------------------------------------------------------------------


def test_the_site_builds_without_a_warning(built):
    done, site = built
    assert done.stderr == ""
    assert done.returncode == 0
    assert (site / "docs" / "index.html").exists()


def test_the_sites_root_leads_to_the_start_page(site):
    assert 'url=docs/index.html"' in (site / "index.html").read_text()


def test_a_broken_link_fails_the_build_and_a_good_page_does_not(tmp_path):
    """Each fault is named; without them the same little site is built."""
    docs = tmp_path / "source" / "docs"
    docs.mkdir(parents=True)
    index = "# Start\n\n```{toctree}\nother\n```\n\n[x](other.md#a-heading) [y](../docs) [z](notes.txt)\n\n```csv\na,b\n```\n"
    (docs / "index.md").write_text(index)
    (docs / "other.md").write_text("# Other\n\n## A `heading`\n\n## Snake_case\n\n[back](index.md), [here](#snake_case)\n")
    (docs / "notes.txt").write_text("a file")
    done = build(tmp_path / "source", tmp_path / "good", blocked=tmp_path)
    assert (done.stderr, done.returncode) == ("", 0)
    assert [path.read_text() for path in (tmp_path / "good" / "html" / "_downloads").rglob("notes.txt")] == ["a file"]

    faults = (
        "[a](gone.md) [b](other.md#gone-heading) [c](#gone-here) ![d](gone.png) {py:class}`airflow_provider_360dialog.Gone`\n"
    )
    (docs / "index.md").write_text(index + faults)
    (docs / "forgotten.md").write_text("# Forgotten\n")
    done = build(tmp_path / "source", tmp_path / "bad", blocked=tmp_path)
    assert done.returncode == 1
    for fault in ("gone.md", "gone-heading", "gone-here", "gone.png", "360dialog.Gone", "forgotten.md"):
        assert fault in done.stderr, fault


# --- the pages ----------------------------------------------------------------------------------------------------


def test_every_page_is_in_a_table_of_contents(site):
    """All of them stand in the navigation of the start page."""
    assert len(PAGES) > 20
    start = site / "docs" / "index.html"
    listed = {(start.parent / urldefrag(link).url).resolve() for link in parsed(start).references if "://" not in link}
    missing = [page for page in PAGES if (site / page.relative_to(CHECKOUT)).with_suffix(".html").resolve() not in listed]
    assert [page for page in missing if page != CHECKOUT / "docs" / "index.md"] == []


def test_every_link_leads_to_a_page_and_a_place_on_it(site):
    looked_at = 0
    for page in html_of(site):
        for link in parsed(page).links:
            if re.match(r"[a-z]+:", link):
                continue
            path, fragment = urldefrag(link)
            target = (page.parent / unquote(path)).resolve() if path else page
            assert target.exists(), f"{page.relative_to(site)}: {link}"
            if fragment and target.suffix == ".html":
                looked_at += 1
                assert unquote(fragment) in parsed(target).ids, f"{page.relative_to(site)}: {link}"
    assert looked_at > 500


def test_no_page_loads_anything_from_another_host(site):
    loads = [(page, what) for page in html_of(site) for what in parsed(page).loads]
    assert len(loads) > 100
    assert [(page.name, what) for page, what in loads if re.match(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", what)] == []
    sheets = {sheet: sheet.read_text(encoding="utf-8") for kind in ("css", "svg") for sheet in site.rglob(f"*.{kind}")}
    assert len(sheets) > 2
    for sheet, text in (sheets | {page: parsed(page).styles for page in html_of(site)}).items():
        assert not re.search(r"url\(\s*['\"]?\s*(?:https?:)?//|@import|\bhref=['\"](?:https?:)?//", text), sheet


def test_a_link_to_a_page_of_the_root_is_a_link_to_its_html(site):
    linked = {link for page in html_of(site) for link in parsed(page).links if not re.match(r"[a-z]+:", link)}
    assert any(link.endswith("SECURITY.html") for link in linked)
    assert [link for link in linked if re.search(r"\.md(#|$)", link)] == []


# --- the reference ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sort", "least"), [("operators", 13), ("sensors", 3)])
def test_every_operator_and_sensor_has_an_entry(site, sort, least):
    names = classes_of(sort)
    assert len(names) >= least
    assert set(names) <= entries(site)["class"]


def test_every_method_of_the_hook_has_an_entry(site):
    methods = {
        f"{Dialog360Hook.__module__}.Dialog360Hook.{name}"
        for name, each in vars(Dialog360Hook).items()
        if inspect.isfunction(each) and not name.startswith("_")
    }
    assert len(methods) > 10
    assert methods <= entries(site)["method"]


def test_every_error_has_an_entry(site):
    errors = {
        f"{exceptions.__name__}.{name}"
        for name, each in vars(exceptions).items()
        if isinstance(each, type) and issubclass(each, exceptions.Dialog360Error)
    }
    assert len(errors) > 40
    assert errors == entries(site)["exception"]


def test_every_record_of_a_result_has_an_entry(site):
    records = {f"{ports.__name__}.{each.__name__}" for each in ports.Record.__subclasses__() if each.__module__ == ports.__name__}
    assert len(records) > 3
    assert records <= entries(site)["class"]


def test_every_name_that_the_emulator_gives_has_an_entry(site):
    every = set().union(*entries(site).values())
    assert {f"{emulator.__name__}.{name}" for name in emulator.__all__} <= every
    methods = {f"{emulator.__name__}.Emulator.{name}" for name in vars(emulator.Emulator) if not name.startswith("_")}
    assert len(methods) > 10
    assert methods <= entries(site)["method"]


def test_nothing_private_has_an_entry(site):
    every = set().union(*entries(site).values())
    assert not [name for name in every if re.search(r"\._", name)]


def test_entries_that_share_a_line_of_a_docstring_are_parted(site):
    """``campaign: its name. rejected, items: how many of how many.`` are two entries."""
    page = (site / "docs" / "reference" / "exceptions.html").read_text(encoding="utf-8")
    about = page.partition('id="airflow_provider_360dialog.exceptions.TooManyRejectsError"')[2].partition("</dl>\n</dd></dl>")[0]
    assert re.findall(r"<li><p><strong>([^<]+)</strong>", about) == [
        "campaign",
        "rejected, items",
        "max_reject_ratio",
        "rejects_uri",
    ]


def test_a_name_in_single_backquotes_is_a_link_where_the_reference_has_it(site):
    reference = site / "docs" / "reference"
    for page, name in (("webhook", "webhook.InboundMedia.deadline"), ("emulator", "emulator.Settings")):
        text, toc, _ = (reference / f"{page}.html").read_text(encoding="utf-8").partition('class="toc-drawer')
        assert toc
        assert re.search(rf'href="#airflow_provider_360dialog\.{re.escape(name)}"[^>]*><code', text), name
    for page in reference.glob("*.html"):
        assert "`" not in re.sub(r"<pre>.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), page.name
