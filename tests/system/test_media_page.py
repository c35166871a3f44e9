"""The media page in a running Airflow, over HTTP and in a real browser: log in, watch a pre-upload advance, open the rejects."""

from __future__ import annotations

import json
import time

import pytest

from airflow_provider_360dialog.ledger.store import Store
from airflow_provider_360dialog.ui.app import create_app
from tests.support.ledger import MovedClock
from tests.ui.airflow import PASSWORD, api_server
from tests.ui.browser import MISSING, browser, find_chromium
from tests.ui.conftest import forget
from tests.ui.demo import CENTRE, Demo

pytestmark = pytest.mark.system
PATHS = [route.path for route in create_app().routes]
CAMPAIGN = "?name=spring-vouchers"
FRAME = "document.querySelector('iframe').contentDocument"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An API server over the ledger of a busy evening; ``demo`` is that ledger."""
    home = tmp_path_factory.mktemp("airflow")
    clock = MovedClock(home)
    demo = Demo(Store(f"sqlite:///{home}/ledger.db", now_sql=clock.now_sql).open(), clock).fill(ids=40, items=36)
    with api_server(home) as running:
        running.demo = demo
        yield running
    forget(home)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_without_a_login_there_is_no_data(server, accept):
    """A path that nobody serves is answered with Airflow's own page and 200: so it is the refusal that is looked for."""
    for path in PATHS:
        status, text = server.ask(f"/dialog360{path}{CAMPAIGN}", accept=accept)
        assert (path, status) == (path, 401)
        assert "spring" not in text


def test_who_is_logged_in_reads_and_changes_nothing(server):
    token = server.log_in("vi")
    for path in PATHS:
        status, text = server.ask(f"/dialog360{path}{CAMPAIGN}", token=token)
        assert (path, status) == (path, 200)
        assert "WhatsApp media</title>" in text
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert server.ask(f"/dialog360{path}", token=token, method=method, body=b"")[0] == 405


def test_airflow_lists_the_plugin_once_and_complains_of_nothing(server):
    token = server.log_in("ada")
    plugins = json.loads(server.ask("/api/v2/plugins", token=token)[1])["plugins"]
    (ours,) = [each for each in plugins if each["name"] == "dialog360"]
    assert [each["url_route"] for each in ours["external_views"]] == ["whatsapp-media"]
    assert json.loads(server.ask("/api/v2/plugins/importErrors", token=token)[1])["import_errors"] == []


@pytest.fixture(scope="module")
def tab(server):
    """A browser in which somebody has logged in by Airflow's own form, on the way to the page."""
    if find_chromium() is None:
        pytest.skip(f"THE BROWSER TEST DID NOT RUN: {MISSING}")
    with browser() as tab:
        tab.look(width=1280)
        tab.log_in(f"{server.base_url}/plugin/whatsapp-media", "vi", PASSWORD)
        yield tab


def open_page(tab, server, path):
    """One of our pages inside of Airflow's frame, by the address that Airflow shows for it."""
    tab.open(f"{server.base_url}/plugin/whatsapp-media/dialog360/{path}")
    tab.wait_for(f"{FRAME}.location.href.endsWith({json.dumps(path)}) && !!{FRAME}.querySelector('h1')")


def test_the_page_stands_in_the_navigation(server, tab):
    tab.open(f"{server.base_url}/")
    tab.wait_for("[...document.querySelectorAll('nav button, nav a, button')].some(e => /browse/i.test(e.innerText))")
    tab.run("[...document.querySelectorAll('nav button, nav a, button')].find(e => /browse/i.test(e.innerText)).click()")
    tab.wait_for("[...document.querySelectorAll('a')].some(e => e.innerText.includes('WhatsApp media'))")
    tab.run("[...document.querySelectorAll('a')].find(e => e.innerText.includes('WhatsApp media')).click()")
    tab.wait_for(f"{FRAME}.querySelector('h1')?.innerText === 'Channels'")


def test_a_block_counts_down(server, tab):
    open_page(tab, server, "channels?every=0")
    place = f"[...{FRAME}.querySelectorAll('.told')].find(e => e.innerText.includes('blocked')).querySelector('[data-until]')"
    seen = tab.run(f"{place}.innerText")
    assert seen.startswith("(in ")
    tab.wait_for(f"{place}.innerText !== {json.dumps(seen)}")
    assert tab.complaints() == []


def test_a_running_upload_advances_on_the_page(server, tab):
    """The page renews itself; nobody touches it."""
    open_page(tab, server, f"campaign{CAMPAIGN}&every=1")
    done = f"[...{FRAME}.querySelectorAll('.tile')].find(e => e.innerText.includes('done')).querySelector('dd').innerText"
    before = int(tab.wait_for(done))
    server.demo.upload(CENTRE, server.demo.left.pop())
    tab.wait_for(f"{done} === '{before + 1}'")
    server.demo.upload(CENTRE, server.demo.left.pop())
    tab.wait_for(f"{done} === '{before + 2}'")


def test_rejects_are_reached_by_the_keyboard_alone(server, tab):
    open_page(tab, server, f"campaign{CAMPAIGN}&every=0")
    tab.run("document.querySelector('iframe').contentWindow.focus()")
    focused = f"{FRAME}.activeElement"
    ends_at = time.monotonic() + 60
    while tab.run(f"{focused}.tagName") != "SUMMARY":
        tab.press("Tab")
        assert time.monotonic() < ends_at, tab.run(f"{focused}.outerHTML")[:500]
    assert tab.run(f"getComputedStyle({focused}).outlineStyle") != "none"
    tab.press("Enter")
    rows = tab.wait_for(f"{FRAME}.querySelector('details[open]')?.innerText")
    assert "image_too_large" in rows
    assert "s3://" not in rows


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_it_is_dark_where_airflow_is_dark(server, tab, theme):
    """Whatever the system prefers."""
    tab.look(width=1280, dark=theme == "light")
    open_page(tab, server, "channels?every=0")
    tab.run(f"document.documentElement.classList.remove('dark', 'light'); document.documentElement.classList.add('{theme}')")
    colour = tab.wait_for(
        f"{FRAME}.documentElement.dataset.theme === '{theme}' && getComputedStyle({FRAME}.body).backgroundColor"
    )
    assert colour == {"dark": "rgb(20, 24, 27)", "light": "rgb(246, 246, 243)"}[theme]


@pytest.mark.parametrize("path", ["channels", "campaigns", f"campaign{CAMPAIGN}", "inbound"])
def test_nothing_runs_out_of_a_phone(server, tab, path):
    tab.look(width=360, height=740)
    tab.open(f"{server.base_url}/dialog360/{path}")
    tab.wait_for("!!document.querySelector('h1')")
    assert tab.run("document.documentElement.scrollWidth") == 360
    tab.look(width=1280)
    assert tab.complaints() == []


def test_without_scripts_the_page_says_the_same(server, tab):
    """The block is an instant then, and what the system prefers is the theme."""
    tab.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.ask("Page.navigate", url=f"{server.base_url}/dialog360/channels?every=0")
        time.sleep(1)
    finally:
        tab.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert "nothing is fetched or downloaded until" in tab.wait_for("document.querySelector('.told.bad')?.innerText")
