"""The media page: nobody sees anything without Airflow's leave, nothing can be changed, nothing names a person."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time

import pytest
from fastapi.routing import APIRoute

from airflow_provider_360dialog.ledger.campaign_runs import Presence
from airflow_provider_360dialog.ledger.campaigns import Campaigns, PlannedItem
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.store import Store
from airflow_provider_360dialog.ports import DagRun
from airflow_provider_360dialog.ui.app import create_app
from airflow_provider_360dialog.ui.plugin import Dialog360Plugin
from tests.support.ledger import MovedClock, channel_of
from tests.ui.conftest import forget
from tests.ui.demo import NO_WORDS, NORTH, Demo

ROUTES = create_app().routes
PATHS = [route.path for route in ROUTES]
KINDS = {"html": "text/html,application/xhtml+xml", "json": "application/json", "anything": "*/*"}
NUMBER = re.compile(r"\d{8,}")


def content_of(answer):
    """The page without its style, its script and what only it knows: nonces."""
    return re.sub(r"<(style|script).*?</\1>", "", answer.text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def evening(tmp_path_factory):
    """The file of a ledger on a busy evening, to be copied: to fill one takes a second."""
    folder = tmp_path_factory.mktemp("evening")
    clock = MovedClock(folder)
    Demo(Store(f"sqlite:///{folder}/ledger.db", now_sql=clock.now_sql).open(), clock).fill(ids=40, items=36)
    forget(folder)
    assert [each.name for each in folder.iterdir()] == ["ledger.db"]
    return folder / "ledger.db"


@pytest.fixture
def demo(evening, own_ledger):
    """The page's ledger is that of a busy evening."""
    shutil.copy(evening, own_ledger)
    yield
    forget(own_ledger.parent)


# --- who may see it -----------------------------------------------------------------------------------------------


def test_there_is_nothing_but_routes_that_get():
    """No mount, no websocket, no OpenAPI page, which would be open to everybody."""
    assert len(ROUTES) >= 5
    for route in ROUTES:
        assert isinstance(route, APIRoute), route
        assert route.methods == {"GET"}, route.path
    assert {"/docs", "/redoc", "/openapi.json"}.isdisjoint(PATHS)


@pytest.mark.parametrize("accept", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("path", PATHS)
def test_who_is_not_logged_in_sees_nothing(anonymous, demo, path, accept):
    """Not even whether the question was well put."""
    for query in ("", "?name=spring-vouchers&after=0", "?after=nonsense&every=-1"):
        answer = anonymous.get(path.lstrip("/") + query, headers={"Accept": accept})
        assert answer.status_code == 401
        assert "spring" not in answer.text
        assert "whatsapp_" not in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_a_token_that_airflow_did_not_sign_is_none(anonymous, demo, path):
    for headers in ({"Authorization": "Bearer x.y.z"}, {"Cookie": "_token=x.y.z"}):
        answer = anonymous.get(path.lstrip("/"), headers=headers)
        assert answer.status_code in {401, 403}


@pytest.mark.parametrize("path", PATHS)
def test_who_may_not_see_plugins_may_not_see_it(visitor, demo, auth_manager, monkeypatch, path):
    """Airflow's auth manager is asked for the right to see plugins."""
    asked = []
    monkeypatch.setattr(type(auth_manager), "is_authorized_view", lambda self, **more: asked.append(more["access_view"].value))
    answer = visitor.get(path.lstrip("/") + "?name=spring-vouchers", headers={"Accept": "text/html"})
    assert answer.status_code == 403
    assert asked == ["PLUGINS"]
    assert "spring" not in answer.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_nothing_can_be_changed(visitor, anonymous, demo, method, path):
    for who in (visitor, anonymous):
        assert who.request(method, path.lstrip("/")).status_code == 405


@pytest.mark.parametrize("path", PATHS)
def test_whoever_is_logged_in_sees_a_page_that_loads_nothing(visitor, demo, path):
    answer = visitor.get(path.lstrip("/") + "?name=spring-vouchers")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    nonce = policy["script-src"].strip("'").removeprefix("nonce-")
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["frame-ancestors"] == "'self'"
    assert len(nonce) >= 20
    assert answer.text.count(f'nonce="{nonce}"') == answer.text.count("<style") + answer.text.count("<script") == 2
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"""(src|href|action)\s*=\s*["']?(\w+:)?//""", content_of(answer))
    assert " style=" not in answer.text  # the policy would drop it
    assert nonce not in visitor.get(path.lstrip("/") + "?name=spring-vouchers").text


# --- what it says -------------------------------------------------------------------------------------------------


def test_channels_tells_of_blocks_budgets_and_what_dies(visitor, demo):
    page = content_of(visitor.get("channels"))
    cards = dict(re.findall(r"Number …(\d\d) (.*?)</section>", page, re.DOTALL))
    assert list(cards) == ["34", "58", "71", "90"]
    assert ">3</dd>" in cards["34"]
    assert "open</span>" in cards["34"]
    assert "360dialog has blocked retrieval" in cards["58"]
    assert re.search(r'data-until="\d+\.\d+">\(in 4[23] min\)', cards["58"])
    assert "the number has moved to another account" in cards["90"]
    assert cards["34"].count("<rect") == 35
    assert "none</figcaption>" in cards["90"]


def test_a_campaign_tells_what_is_left_and_why_items_were_rejected(visitor, demo):
    page = content_of(visitor.get("campaign", params={"name": "spring-vouchers"}))
    tiles = re.findall(r"<dt>(?:<a[^>]*>)?([^<]*).*?<dd>(.*?)</dd>", page)
    assert [value for _, value in tiles] == ["43", "24", "12", "7", "12", "1 s"]
    assert "Not ready: 1 s of uploads are left." in page
    assert "Save it smaller, or plan the campaign with prepare=True." in page
    assert re.findall(r"<h3>(.*?) <span class=\"tag bad\">(\d+)</span>", page) == [
        ("Image too large", "4"),
        ("Source unreadable", "3"),
    ]
    assert len(re.findall(r'<th role="rowheader" scope="row">\d+</th>', page)) == 7


def test_a_campaign_leads_to_the_dag_run_that_is_at_it(visitor, store):
    """Its names are escaped; the path is relative, so that it holds below whatever address Airflow has."""
    demo = Demo(store, None)
    demo.campaign("spring", 3600, {NORTH: [demo.file()]})
    assert "Nobody uploads for it now" in content_of(visitor.get("campaign", params={"name": "spring"}))
    run = DagRun("vouchers", "manual__2026-11-23T06:00:00+00:00/<b>")
    with Presence(store, 1, 1, run).told():
        page = content_of(visitor.get("campaign", params={"name": "spring"}))
        assert '<span class="tag good">running</span>' in content_of(visitor.get("campaigns"))
    href = "../dags/vouchers/runs/manual__2026-11-23T06%3A00%3A00%2B00%3A00%2F%3Cb%3E"
    assert f'<a href="{href}" target="_top" data-out>vouchers</a> since' in page
    assert "Nobody uploads for it now" not in page
    page = content_of(visitor.get("campaign", params={"name": "spring"}))
    assert f'<a href="{href}" target="_top" data-out>vouchers</a> was at it from' in page
    assert "Nobody uploads for it now" in page
    with Presence(store, 1, 1, None).told():
        assert "Somebody outside of a DAG since" in content_of(visitor.get("campaign", params={"name": "spring"}))


@pytest.mark.parametrize(("status", "words"), [(401, "Put the number&#39;s current key"), (403, "Look at the number")])
def test_a_refused_key_is_told_with_what_to_do(visitor, store, status, words):
    demo = Demo(store, None)
    assert "key refused" not in visitor.get("channels").text
    Channels(store).key_refused("whatsapp_north", "https://h", status)
    page = content_of(visitor.get("channels"))
    assert page.count('<span class="tag bad">key refused</span>') == 1
    assert f"(HTTP {status}) of connection whatsapp_north at" in page
    assert words in page
    assert demo.channels


def test_the_list_of_campaigns_says_of_each_how_it_stands(visitor, demo):
    page = content_of(visitor.get("campaigns"))
    stand = re.findall(r'<bdi>(.*?)</bdi></a> <span class="tag (\w+)">(.*?)</span>', page)
    assert stand == [
        ("spring-vouchers", "warn", "Not ready: 1 s of uploads are left."),
        ("moved-number", "bad", "It cannot become ready: nothing may be sent for one of its channels."),
        ("autumn-catalogue", "warn", "It is being planned: what follows grows."),
        ("welcome-logo", "good", "Ready."),
    ]
    assert "summer-sale" not in page
    ended = content_of(visitor.get("campaigns", params={"ended": "true"}))
    assert "summer-sale" in ended
    assert "spring-vouchers" not in ended


def test_inbound_tells_what_vanishes_soon_and_what_is_lost(visitor, demo):
    page = content_of(visitor.get("inbound"))
    cards = dict(re.findall(r"Number …(\d\d) (.*?)</section>", page, re.DOTALL))
    assert "hurry" in cards["34"]
    assert re.findall(r"<dd>(.*?)</dd>", cards["34"]) == ["0", "1", "9", "62", "1", "2"]
    assert "360dialog does not know it any more" in cards["34"]
    assert "pending" in cards["58"]
    assert "Nothing is pending." in cards["71"]


@pytest.mark.parametrize("path", ["channels", "campaigns", "campaigns?ended=true", "campaign?name=spring-vouchers", "inbound"])
def test_no_key_no_path_and_no_number_is_shown(visitor, demo, path):
    """Keys of items are phone numbers here; of a channel's number the last two digits are shown."""
    page = content_of(visitor.get(path))
    page = re.sub(r'data-(until|now)="[\d.]+"', "", page)
    assert not NUMBER.findall(page)
    for secret in ("s3://", "vouchers/", "49170", "test-key", NORTH, "/webhooks"):
        assert secret not in page


def test_a_connection_that_is_named_after_its_number_is_shown_without(visitor, store):
    """The connection here is called conn_100000000000001."""
    ledger = channel_of(store)
    planned = Campaigns(store).begin_plan("spring", time.time() + 3600)
    Campaigns(store).record(planned, [PlannedItem(ledger.identity.channel_id, "c", "k", "u", NO_WORDS, None, None, None)])
    for path in ("channels", "campaign?name=spring"):
        page = visitor.get(path).text
        assert "conn_…01" in page
        assert "100000000000001" not in page


def test_nothing_that_a_stranger_has_named_becomes_html(visitor, store):
    """A campaign's name, a connection's id, a reason."""
    hostile = "<script>alert(1)</script>\"'&{{7*7}}\u202e"
    ledger = channel_of(store)
    with store.write() as db:
        db.exec_driver_sql("UPDATE d360_connection SET conn_id = ?", (hostile,))
    planned = Campaigns(store).begin_plan("<b>&amp;\"'</b>{{7*7}}/../x?y=1#z", time.time() + 3600)
    reason = {"code": hostile, "message": hostile, "remedy": hostile}
    item = PlannedItem(ledger.identity.channel_id, "c", "k", "u", NO_WORDS, None, None, None, (reason,))
    Campaigns(store).record(planned, [item])
    Channels(store).freeze(ledger.identity, hostile)
    found = visitor.get("campaigns").text
    link = re.search(r'href="(campaign\?[^"]*)"', found)[1].replace("&amp;", "&")
    for page in (visitor.get("channels"), visitor.get("campaigns"), visitor.get(link)):
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<b>&" not in page.text
        assert "49" not in re.findall(r"\d+", content_of(page).replace(":49", ""))
        assert "\u202e" not in page.text
    assert "&lt;b&gt;&amp;amp;&#34;&#39;&lt;/b&gt;{{7*7}}/../x?y=1#z" in visitor.get(link).text


# --- paging and refreshing ----------------------------------------------------------------------------------------


def test_channels_are_paged(visitor, store):
    for n in range(120):
        channel_of(store, f"1000000000{n:05}", api_key=f"test-key-{n:03}")
    seen, path, pages = [], "channels", 0
    while path:
        page = content_of(visitor.get(path))
        seen += re.findall(r"aria-labelledby=\"channel-(\d+)\"", page)
        found = re.search(r'<a href="([^"]*)" rel="next">', page)
        path, pages = found and found[1].replace("&amp;", "&"), pages + 1
    assert pages == 3
    assert [int(each) for each in seen] == list(range(1, 121))


def test_a_page_renews_itself_unless_it_is_held(visitor, store):
    page = visitor.get("channels").text
    assert '<meta http-equiv="refresh" content="15">' in page
    held = re.search(r'<a href="([^"]*)">Hold still</a>', page)[1]
    assert 'http-equiv="refresh"' not in visitor.get(held).text


@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "after=1-", f"after={'9' * 30}", "every=-1", "every=x", "ended=perhaps"]
)
def test_an_address_that_is_not_ours_is_refused_in_words(visitor, store, query):
    answer = visitor.get(f"campaigns?{query}", headers={"Accept": "text/html"})
    assert answer.status_code == 422
    assert "This address is not one of ours" in answer.text


@pytest.mark.parametrize("name", ["unknown", "", "\x00", "a\nb"])
def test_a_campaign_that_was_never_planned_is_told_so(visitor, store, name):
    answer = visitor.get("campaign", params={"name": name}, headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "No campaign of this name was ever planned." in answer.text


# --- no ledger ----------------------------------------------------------------------------------------------------

PAGES = ["", "channels", "campaigns", "campaign?name=x", "inbound"]


@pytest.mark.parametrize("path", PAGES)
def test_without_a_ledger_the_page_says_that_there_is_none_and_makes_none(visitor, own_ledger, path):
    answer = visitor.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert "There is no ledger yet." in answer.text
    assert not own_ledger.exists()


@pytest.mark.parametrize("path", PAGES)
def test_a_ledger_that_does_not_answer_is_told_in_words(visitor, monkeypatch, path):
    """Neither the address nor the password of its database is shown."""
    fields = '{"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "l", "password": "test-secret", "schema": "d"}'
    monkeypatch.setenv("AIRFLOW_CONN_AWAY", fields)
    monkeypatch.setenv("AIRFLOW__DIALOG360__LEDGER_CONN_ID", "away")
    answer = visitor.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert "test-secret" not in answer.text
    assert "127.0.0.1" not in answer.text


def test_a_ledger_that_cannot_serve_says_what_to_do(visitor, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    answer = visitor.get("channels", headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert "Use PostgreSQL" in answer.text


# --- how Airflow finds it -----------------------------------------------------------------------------------------


def test_airflow_loads_the_plugin_by_its_entry_point():
    from importlib.metadata import entry_points

    from airflow_provider_360dialog.get_provider_info import get_provider_info

    (point,) = [each for each in entry_points(group="airflow.plugins") if each.dist.name == "airflow-provider-360dialog"]
    assert point.load() is Dialog360Plugin
    (named,) = get_provider_info()["plugins"]
    assert named == {"name": Dialog360Plugin.name, "plugin-class": f"{Dialog360Plugin.__module__}.{Dialog360Plugin.__name__}"}


def test_the_page_is_imported_by_none_who_only_knows_the_plugin():
    """Task processes load plugins too."""
    code = "import sys, airflow_provider_360dialog.ui.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    known = done.stdout.split()
    assert "airflow_provider_360dialog.ui.plugin" in known
    assert "airflow_provider_360dialog.ui.app" not in known
    assert not any(name.startswith("airflow_provider_360dialog.ledger") for name in known)


def test_the_view_in_the_navigation_leads_to_a_route():
    """Relative, so that an Airflow below a path of its own finds it."""
    (app,), (view,) = Dialog360Plugin.fastapi_apps, Dialog360Plugin.external_views
    assert view["destination"] == "nav"
    assert not view["href"].startswith("/")
    assert "/" + view["href"] in {app["url_prefix"] + path for path in PATHS}
