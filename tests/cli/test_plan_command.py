"""``dialog360 plan``: the job of the operator, for a shell."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_360dialog.cli import plan as command
from airflow_provider_360dialog.cli.commands import build_parser
from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.ledger import ledger_store

UNTIL = (datetime.now(UTC) + timedelta(days=3)).isoformat(timespec="seconds")


@pytest.fixture
def folder(tmp_path, number, connect):
    """Three files for a number with a connection: two of one content, and an empty one, which is bad."""
    connect(number.base_url, number.key)
    found = tmp_path / "vouchers"
    found.mkdir()
    for name, content in {"a.txt": "one", "b.txt": "one", "c.txt": ""}.items():
        (found / name).write_text(content)
    return found


@pytest.fixture
def plan(dialog360, folder):
    """Run it for that folder and number."""

    def run(*words):
        return dialog360("plan", "summer", folder, "--channel", "number_a", "--needed-until", UNTIL, *words)

    return run


def tolerant(*words):
    return ("--max-reject-ratio", "0.5", *words)


def test_it_says_what_the_job_says(plan, folder):
    """And puts on record what the operator would."""
    done = plan("--json", *tolerant())
    assert done.status == 0
    again = Campaigns().plan("summer", folder, ["number_a"], UNTIL, max_reject_ratio=0.5)
    assert done.data == {"ok": True, "campaign": "summer", "dry_run": False, **again}
    assert done.data["counts"] == {"items": 3, "rejected": 1, "prepared": 0, "ready": 0, "uploads": 1, "bytes": 3}
    assert done.data["channels"] == ["number_a"]


def test_it_says_so_to_people(plan, folder):
    done = plan(*tolerant())
    lines = [line for line in done.out.splitlines() if line]
    assert lines[0] == "Campaign summer is planned."
    assert lines[1].split() == ["items", "rejected", "prepared", "ready", "uploads", "size"]
    assert lines[2].split() == ["3", "1", "0", "0", "1", "3", "bytes"]
    assert lines[3] == "1 file to upload: 1 s at the line, if it begins now (number_a takes longest)."
    assert lines[4] == "Channels with work: number_a."
    assert lines[5] == f"1 item rejected; the reasons are in {folder}.rejects.jsonl."
    assert "\x1b" not in done.out, "no colours but in a terminal"


def test_too_many_rejects_are_problems(plan):
    done = plan("--json")
    assert (done.status, done.data["error"]) == (1, "TooManyRejectsError")
    assert plan().out == ""


def test_a_campaign_has_no_more_than_one_says(plan):
    done = plan("--max-items", "2", "--json", *tolerant())
    assert (done.status, done.data["error"]) == (1, "CampaignTooLargeError")
    assert plan("--max-bytes", "2", "--json", *tolerant()).data["error"] == "CampaignTooLargeError"
    assert plan("--max-items", "3", "--max-bytes", "3", "--json", *tolerant()).status == 0


def test_a_dry_run_leaves_nothing(plan, sql, folder):
    done = plan("--dry-run", *tolerant())
    assert done.status == 0
    assert done.out.startswith("Campaign summer was looked at, and nothing was put on record.\n")
    ledger_store().open()
    assert sql("SELECT * FROM d360_campaign") == []
    assert [each.name for each in folder.parent.iterdir()] == ["vouchers"]


def test_rejects_are_written_where_one_says(plan, tmp_path):
    done = plan("--rejects-uri", tmp_path / "bad.jsonl", *tolerant())
    assert done.status == 0
    assert [json.loads(line)["key"] for line in (tmp_path / "bad.jsonl").read_text().splitlines()] == ["c.txt"]


def test_each_item_goes_to_each_channel_where_one_says(plan, number, connect):
    number.emu.add_number("520000000000077", "test-key-canary-7f3a-77")
    connect(number.base_url, "test-key-canary-7f3a-77", conn_id="number_b")
    done = plan("--channel", "number_b", "--replicate", "--json", *tolerant())
    assert done.data["counts"]["items"] == 6
    assert sorted(done.data["channels"]) == ["number_a", "number_b"]
    assert plan("--channel", "number_b", "--json").data["error"] == "TooManyRejectsError", "none of them names its channel"


def test_pictures_are_mended_where_one_says(plan, folder, checkout, tmp_path):
    (folder / "chart.png").write_bytes((checkout / "dags_examples" / "media" / "chart.png").read_bytes())
    done = plan("--prepare", "--prepared-uri", tmp_path / "mended", "--json", *tolerant())
    assert done.data["counts"]["prepared"] == 1
    assert [each.suffix for each in (tmp_path / "mended").rglob("*.jpg")] == [".jpg"]


@pytest.mark.parametrize("until", ["tomorrow", "2026-12-01T09:00:00"])
def test_an_instant_without_a_time_zone_is_usage(dialog360, until):
    done = dialog360("plan", "summer", "x", "--channel", "number_a", "--needed-until", until)
    assert done.status == 2
    assert "not an instant with a time zone" in done.err


def test_what_a_plan_needs_is_usage(dialog360):
    assert dialog360("plan", "summer", "x", "--channel", "number_a").status == 2
    assert dialog360("plan", "summer", "x", "--needed-until", UNTIL).status == 2


def test_a_missing_connection_is_told_with_its_variable(dialog360, folder, airflow_database):
    done = dialog360("plan", "summer", folder, "--channel", "nobody", "--needed-until", UNTIL)
    assert (done.status, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith("Connection 'nobody': There is no such connection: ")
    assert "AIRFLOW_CONN_NOBODY" in done.err


def test_a_ledgers_missing_connection_is_told_with_its_variable(plan, monkeypatch, airflow_database):
    monkeypatch.setenv("AIRFLOW__DIALOG360__LEDGER_CONN_ID", "nobody")
    done = plan("--json")
    assert (done.status, done.data["error"]) == (1, "LedgerRefusedError")
    assert "[dialog360] ledger_conn_id names connection 'nobody'" in done.data["message"]
    assert "AIRFLOW_CONN_NOBODY" in done.data["message"]


def test_its_log_is_one_line_that_moves_in_a_terminal(folder, monkeypatch, caplog):
    """Warnings stay above it; elsewhere nobody takes the lines away."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name, value in {"COLUMNS": "200", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    logger, err = logging.getLogger("airflow_provider_360dialog"), Terminal()
    monkeypatch.setattr("sys.stderr", err)
    before = (logger.level, logger.propagate, list(logger.handlers))
    words = ["plan", "summer", str(folder), "--channel", "number_a", "--needed-until", UNTIL, *tolerant()]
    out = Terminal()
    result = command.plan(build_parser().parse_args(words), out)
    shown = err.getvalue()
    assert "1 rejected [empty_file]: The file is empty." in shown
    assert "number_a: 3 items, 0 ready, 1 rejected; 1 files" in shown
    assert not [each for each in caplog.records if each.name.startswith(logger.name)], "no line is shown twice"
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    assert "\x1b[" in result.text, "colours"
