"""``dialog360 status``: how far a campaign is, for a shell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger.bounded import Count
from airflow_provider_360dialog.ledger.campaign_runs import Presence
from airflow_provider_360dialog.ledger.overview import Overview
from airflow_provider_360dialog.ports import DagRun

NOW = datetime.now(UTC)
KEYS = [
    "ok", "campaign", "complete", "planned_at", "needed_until", "safe_until", "safe_until_is_exact", "version", "running", "runs", "items", "done",
    "left", "rejected", "uploads", "size_bytes", "not_exact", "eta_s", "channels", "rejects",
]  # fmt: skip


@pytest.fixture
def plan(number, connect, tmp_path):
    """Plan a campaign of some files on the connected number."""
    connect(number.base_url, number.key)

    def run(*contents, days=3, channels=("number_a",)):
        folder = tmp_path / "vouchers"
        folder.mkdir(exist_ok=True)
        for at, content in enumerate(contents):
            (folder / f"{at}.txt").write_text(content)
        until = NOW + timedelta(days=days)
        Campaigns().plan("summer", folder, channels, until, assign="replicate", max_reject_ratio=1.0)
        return until

    return run


@pytest.fixture
def upload():
    """Upload what the campaign needs."""

    def run(conn_id="number_a"):
        return Campaigns().upload("summer", Dialog360Hook(conn_id), max_reject_ratio=1.0)

    return run


def test_who_is_at_it_is_told(dialog360, plan):
    plan("one")
    done = dialog360("status", "summer", "--json").data
    (run,) = done["runs"]
    assert (done["running"], run["running"], run["dag_id"], run["run_id"]) == (False, False, None, None)
    assert run["began_at"] <= run["seen_at"]
    assert "At it         nobody now; last somebody outside of a DAG, until 2" in dialog360("status", "summer").out
    with Presence(ledger_store().open(), 1, 1, DagRun("vouchers", "monday")).told():
        assert dialog360("status", "summer", "--json").data["running"] is True
        assert "At it         DAG vouchers, run monday, now" in dialog360("status", "summer").out


def test_what_is_left_is_told_with_the_time_that_it_takes(dialog360, plan, number):
    until = plan("one", "two", "two")
    done = dialog360("status", "summer", "--json")
    assert (done.status, list(done.data)) == (1, KEYS)
    told = {name: done.data[name] for name in ("items", "done", "left", "rejected", "uploads", "size_bytes")}
    assert told == {"items": 3, "done": 0, "left": 3, "rejected": 0, "uploads": 2, "size_bytes": 6}
    assert (done.data["complete"], done.data["safe_until"], done.data["not_exact"]) == (False, None, {})
    assert done.data["needed_until"] == until.isoformat(timespec="seconds")
    (channel,) = done.data["channels"]
    assert (channel["conn_id"], channel["number_ends_in"], channel["left"]) == ("number_a", number.number_id[-2:], 3)
    assert channel["eta_s"] == round(2 / channel["line_per_s"], 1) == done.data["eta_s"]


def test_it_is_told_to_people(dialog360, plan, number):
    plan("one", "two", "two")
    lines = dialog360("status", "summer").out.splitlines()
    assert lines[0] == "Campaign summer is not complete: 0 of 3 items have an id (0.0 %)."
    assert lines[1].startswith("Needed until  2")
    assert "(in 2 d " in lines[1] or "(in 3 d" in lines[1]
    assert lines[2] == "Safe until    - (nothing is done)"
    assert lines[3] == "Through       in 1 s"
    assert lines[4].startswith("At it         nobody now; last somebody outside of a DAG")
    assert lines[7].split()[:6] == ["number_a", f"...{number.number_id[-2:]}", "3", "0", "3", "0"]


def test_a_complete_campaign_is_all_well(dialog360, plan, upload):
    plan("one", "two")
    upload()
    done = dialog360("status", "summer", "--json")
    assert (done.status, done.data["ok"], done.data["complete"]) == (0, True, True)
    assert (done.data["done"], done.data["left"], done.data["uploads"]) == (2, 0, 0)
    assert timedelta(days=28.9) < datetime.fromisoformat(done.data["safe_until"]) - NOW < timedelta(days=29.1)
    text = dialog360("status", "summer")
    assert text.status == 0
    assert text.out.startswith("Campaign summer is complete: every item has an id (2).\n")
    assert "Through" not in text.out


def test_what_was_rejected_is_missing_and_is_told_with_its_remedy(dialog360, plan, upload):
    """As for an export that has to be complete."""
    plan("one", "", "")
    upload()
    done = dialog360("status", "summer", "--json")
    assert (done.status, done.data["done"], done.data["left"], done.data["rejected"]) == (1, 1, 0, 2)
    (reason,) = done.data["rejects"]
    assert (reason["code"], reason["count"], reason["sure"]) == ("empty_file", 2, "exact")
    assert "\n  2  [empty_file] The file is empty.\n      -> Look at what produced it" in dialog360("status", "summer").out


def test_ids_that_die_before_the_last_send_are_told(dialog360, plan, upload):
    plan("one", days=60)
    upload()
    done = dialog360("status", "summer")
    assert done.status == 0, "no id could be safe for as long"
    assert "too early for the last send, refresh it before" in done.out
    plan("one", days=3)
    assert "too early" not in dialog360("status", "summer").out


def test_a_plan_that_is_not_at_its_end_is_not_complete(dialog360, plan, upload, sql):
    """Whatever is done: nobody knows all of its items."""
    plan("one")
    upload()
    sql("UPDATE d360_campaign SET planned_at = NULL")
    done = dialog360("status", "summer")
    assert done.status == 1
    assert "its first plan is not at its end" in done.out


def test_a_campaign_of_nothing_is_not_complete(dialog360, plan):
    plan()
    done = dialog360("status", "summer")
    assert (done.status, done.out.splitlines()[0]) == (1, "Campaign summer is not complete: it has no items.")


@pytest.mark.parametrize("has_all", [True, False], ids=["a sample", "only some channels"])
def test_no_sample_says_that_a_campaign_is_complete(dialog360, plan, upload, sql, monkeypatch, has_all):
    """Of a large one only some items are looked at; an export looks at all of them."""
    look = Overview.campaign

    def sampled(self, name):
        """As if none of the items that are left had been looked at."""
        found = look(self, name)
        about = replace(found.progress, left=Count(0, "about"), uploads=Count(0, "about"))
        channels = [replace(each, progress=about) for each in found.channels]
        return replace(found, progress=about, channels=tuple(channels), has_all_channels=has_all)

    monkeypatch.setattr(Overview, "campaign", sampled)
    plan("one", "two", "three")
    upload()
    sql("UPDATE d360_media SET safe_until = safe_until - 86400 * 28 WHERE id = (SELECT max(id) FROM d360_media)")
    done = dialog360("status", "summer", "--json")
    assert (done.status, done.data["complete"], done.data["left"]) == (1, False, 0)
    assert done.data["not_exact"] == {"left": "about", "uploads": "about"}
    sql("UPDATE d360_media SET safe_until = (SELECT max(safe_until) FROM d360_media)")
    done = dialog360("status", "summer", "--json")
    assert (done.status, done.data["complete"], done.data["done"], done.data["not_exact"]) == (0, True, 3, {})


def test_each_channel_is_told_by_its_last_digits(dialog360, plan, upload, number, connect, sql):
    """One that is frozen never gets through."""
    other = f"{int(number.number_id) + 6_000_000:d}"
    number.emu.add_number(other, f"{number.key}-b")
    connect(number.base_url, f"{number.key}-b", conn_id="number_b")
    plan("one", "two", channels=("number_a", "number_b"))
    upload()
    sql("UPDATE d360_channel SET frozen_because = 'it moved' WHERE phone_number_id = :id", id=other)
    done, text = dialog360("status", "summer", "--json"), dialog360("status", "summer")
    assert [(each["conn_id"], each["left"], each["frozen"], each["eta_s"]) for each in done.data["channels"]] == [
        ("number_b", 2, True, None), ("number_a", 0, False, 0.0)
    ]  # fmt: skip
    assert done.data["eta_s"] is None
    rows = [line.split() for line in text.out.splitlines()]
    assert ["all", "4", "2", "2", "0", "2"] in [row[:6] for row in rows]
    assert "Through       never: a channel is frozen" in text.out
    assert [row[-1] for row in rows if row and row[0] in {"number_a", "number_b"}] == ["frozen", "-"]
    assert all("never:" not in row for row in rows if row and row[0] == "number_b")
    assert all(each not in done.out + text.out for each in (number.number_id, other))


def test_a_campaign_that_nobody_planned_is_an_error(dialog360, uploads):
    uploads()
    done = dialog360("status", "winter", "--json")
    assert (done.status, done.data["error"]) == (1, "CampaignUnknownError")


def test_it_asks_the_ledger_only(dialog360, plan, number):
    plan("one")
    before = dict(number.emu.counters(number.number_id)["requests"])
    dialog360("status", "summer")
    assert dict(number.emu.counters(number.number_id)["requests"]) == before
