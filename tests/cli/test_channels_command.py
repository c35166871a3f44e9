"""``dialog360 channels``: what each number may do now, for a shell."""

from __future__ import annotations

import pytest

from airflow_provider_360dialog.cli import channels as command
from airflow_provider_360dialog.exceptions import Dialog360Error
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.ration import Ration


@pytest.fixture
def ration(uploads):
    """Of the one channel on record."""
    uploads()
    return Ration(ledger_store().open(), 1)


def only(done):
    (channel,) = done.data["channels"]
    return channel


def test_a_channel_is_told_by_what_it_may_do_and_what_it_has(dialog360, number, uploads, sql):
    media_ids = uploads(3)
    sql("UPDATE d360_media SET safe_until = safe_until - 86400 * 25 WHERE media_id = :id", id=media_ids[0])
    with pytest.raises(Dialog360Error):
        Dialog360Hook("number_a").fetch_media("999999999999999")
    done = dialog360("channels", "--json")
    assert done.status == 0
    told = only(done)
    pace = told.pop("pace_per_s"), told.pop("line_per_s")
    assert 20 < pace[0] <= pace[1] <= 24.51
    assert told == {
        "number_ends_in": number.number_id[-2:], "conn_ids": ["number_a"], "frozen_because": None, "key_refused": [], "paused_until": None,
        "error_budget": 4, "error_budget_left": 3, "blocked": False, "closed_until": None, "live": 3, "dying_within_7_days": 1,
        "not_exact": {},
    }  # fmt: skip
    head, row = dialog360("channels").out.splitlines()
    assert head.split("  ")[0] == "number"
    assert row.split()[:2] == [f"...{number.number_id[-2:]}", "number_a"]
    assert row.split()[-6:] == ["3", "of", "4", "open", "3", "1"]


def test_a_refused_key_is_a_problem(dialog360, uploads, number):
    uploads()
    Channels(ledger_store().open()).key_refused("number_a", number.base_url, 401)
    done = dialog360("channels", "--json")
    (refused,) = only(done)["key_refused"]
    assert (done.status, refused["conn_id"], refused["status"]) == (1, "number_a", 401)
    assert "360dialog refused the key of number_a (HTTP 401) at 2" in dialog360("channels").out


def test_an_id_that_ends_in_a_week_is_no_soon_dying_one(dialog360, uploads, sql):
    uploads()
    sql("UPDATE d360_media SET safe_until = safe_until - 86400 * 21.9")
    assert only(dialog360("channels", "--json"))["dying_within_7_days"] == 0
    sql("UPDATE d360_media SET safe_until = safe_until - 86400 * 0.2")
    assert only(dialog360("channels", "--json"))["dying_within_7_days"] == 1


def test_a_block_is_a_problem_and_says_until_when(dialog360, ration):
    ration.close(for_s=600)
    done = dialog360("channels", "--json")
    assert (done.status, only(done)["blocked"], only(done)["error_budget_left"]) == (1, True, 0)
    assert only(done)["closed_until"].endswith("+00:00")
    text = dialog360("channels").out
    assert "  blocked until 2" in text
    assert "UTC (in 9 min" in text or "UTC (in 10 min" in text


def test_a_spent_budget_is_a_problem(dialog360, ration):
    for _ in range(4):
        ration.spend(ration.hold(for_s=60))
    done = dialog360("channels", "--json")
    assert (done.status, only(done)["blocked"], only(done)["error_budget_left"]) == (1, False, 0)
    assert "  budget spent until 2" in dialog360("channels").out


def test_a_pause_of_uploads_is_told(dialog360, ration):
    ration.refused(pause_s=120)
    done = dialog360("channels", "--json")
    assert (done.status, only(done)["paused_until"] is None) == (0, False)
    assert ": no upload before 2" in dialog360("channels").out


def test_a_frozen_channel_is_a_problem(dialog360, number, uploads, sql):
    uploads()
    sql("UPDATE d360_channel SET frozen_because = :why", why=f"its key answers for number {number.number_id} now")
    done = dialog360("channels")
    assert done.status == 1
    assert f"...{number.number_id[-2:]} is frozen: its key answers for number" in done.out
    assert number.number_id not in done.out


def test_all_pages_are_told(dialog360, uploads, monkeypatch):
    uploads()
    for at in range(4):
        Channels(ledger_store().open()).bind(
            api_key=f"test-key-{at}", conn_id=f"more_{at}", origin="https://h", phone_number_id=f"52000000000000{at}"
        )
    monkeypatch.setattr(command, "_PAGE", 2)
    told = dialog360("channels", "--json").data["channels"]
    assert [each["conn_ids"] for each in told] == [["number_a"], *([f"more_{at}"] for at in range(4))]


def test_360dialog_is_asked_only_where_one_says(dialog360, number, uploads):
    """Then once for each connection; it costs no error budget."""
    uploads()
    before = dict(number.emu.counters(number.number_id)["requests"])
    assert "health" not in only(dialog360("channels", "--json"))
    assert dict(number.emu.counters(number.number_id)["requests"]) == before
    done = dialog360("channels", "--health", "--json")
    after = dict(number.emu.counters(number.number_id)["requests"])
    assert after.pop("health") == before.pop("health") + 1
    assert after == before
    (health,) = only(done)["health"]
    assert (done.status, health["conn_id"], health["level"]) == (0, "number_a", "ok")
    text = dialog360("channels", "--health").out
    assert "\nok    number_a: The API key works and the number is available." in text
    assert all(secret not in text + done.out for secret in (number.key, number.number_id))


def test_a_key_that_does_not_work_is_a_problem(dialog360, number, uploads, connect):
    uploads()
    connect(number.base_url, f"{number.key}-of-nobody")
    done = dialog360("channels", "--health", "--json")
    assert (done.status, [each["level"] for each in only(done)["health"]]) == (1, ["FAIL"])


def test_a_connection_that_is_gone_is_a_problem(dialog360, uploads, monkeypatch, airflow_database):
    uploads()
    monkeypatch.delenv("AIRFLOW_CONN_NUMBER_A")
    done = dialog360("channels", "--health")
    assert done.status == 1
    assert "FAIL  number_a: There is no such connection: " in done.out
    assert "AIRFLOW_CONN_NUMBER_A" in done.out


def test_an_empty_ledger_and_none(dialog360):
    assert dialog360("channels", "--json").data["error"] == "LedgerMissingError"
    dialog360("ledger", "init")
    done = dialog360("channels")
    assert (done.status, done.out) == (0, "No channel is on record yet.\n")
