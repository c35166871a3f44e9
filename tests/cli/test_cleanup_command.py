"""``dialog360 cleanup``: the job of the operator, for a shell."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest

from airflow_provider_360dialog.cli.campaign_commands import CAMPAIGN_COMMANDS
from airflow_provider_360dialog.cli.commands import build_parser
from airflow_provider_360dialog.hooks.cleanup import EXPIRE_ONLY
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.ledger.references import POLICIES


@pytest.fixture
def cleanup(dialog360, tmp_path):
    """Run it for the connected number."""

    def run(*words):
        return dialog360("cleanup", "--conn-id", "number_a", *words)

    return run


@pytest.fixture
def place(tmp_path):
    return tmp_path / "plan.jsonl"


def alive(number):
    return {each.media_id for each in number.emu.live_media(number.number_id)}


def test_without_a_policy_it_only_notes_what_has_ended(cleanup, uploads, sql, number):
    media_ids = uploads(2)
    sql("UPDATE d360_media SET uploaded_at = 0, safe_until = 1 WHERE media_id = :id", id=media_ids[0])
    assert cleanup().out == "1 media id of number_a had reached the end of life. Nothing was deleted.\n"
    done = cleanup("--json")
    assert (done.status, done.data) == (0, {"ok": True, "conn_id": "number_a", "policy": "expire_only", "expired": 0})
    assert len(alive(number)) == 2


def test_a_plan_is_looked_at_and_then_carried_out(cleanup, uploads, number, place):
    """Exactly what it names is deleted."""
    media_ids = uploads(2)
    words = ("--policy", "delete_unreferenced", "--grace", "0")
    done = cleanup(*words, "--plan", place)
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[1].split() == ["2", "0", "0"]
    assert lines[3:] == [
        f"The plan stands in {place}. Nothing was deleted.",
        "Look at it, then run this with --apply in place of --plan.",
    ]
    assert alive(number) == set(media_ids)
    header, first, _ = place.read_text().splitlines()
    place.write_text(f"{header}\n{first}\n")
    done = cleanup(*words, "--apply", place, "--json")
    assert (done.status, done.data["planned"], done.data["deleted"]) == (0, 1, 1)
    assert done.data["audit_uri"] == f"{place}.audit.jsonl"
    assert alive(number) == set(media_ids) - {json.loads(first)["media_id"]}
    text = cleanup(*words, "--apply", place).out
    assert text.splitlines()[-1] == f"The plan {place} was carried out; what was done stands in {place}.audit.jsonl."


def test_no_more_is_deleted_than_one_says(cleanup, uploads, number, place):
    uploads(2)
    words = ("--policy", "delete_unreferenced", "--grace", "0")
    cleanup(*words, "--plan", place)
    done = cleanup(*words, "--apply", place, "--max-delete", "1", "--json")
    assert (done.status, done.data["error"]) == (1, "CleanupTooLargeError")
    assert len(alive(number)) == 2


def test_young_ids_are_kept_unless_one_says(cleanup, uploads, place):
    uploads(2)
    assert cleanup("--policy", "delete_unreferenced", "--plan", place, "--json").data["planned"] == 0


def test_a_campaign_and_a_subject_reach_the_job(cleanup, uploads, place, monkeypatch, dialog360):
    """A subject may come by standard input, where nobody else sees it."""
    uploads()
    done = cleanup("--policy", "delete_campaign", "--campaign", "never", "--plan", place, "--json")
    assert done.data["error"] == "CampaignUnknownError"
    monkeypatch.setattr("sys.stdin", io.StringIO("customer-17\n"))
    done = cleanup("--policy", "erase_subject", "--subject", "-", "--plan", place, "--json")
    assert (done.status, done.data["planned"]) == (0, 0)
    written = json.loads(place.read_text().splitlines()[0])["subject"]
    cleanup("--policy", "erase_subject", "--subject", "customer-17", "--plan", place)
    assert json.loads(place.read_text().splitlines()[0])["subject"] == written
    cleanup("--policy", "erase_subject", "--subject", "customer-18", "--plan", place)
    assert json.loads(place.read_text().splitlines()[0])["subject"] != written
    assert "customer-17" not in done.out + done.err


@pytest.mark.parametrize(
    "words",
    [
        ("--plan", "p", "--apply", "p", "--policy", "delete_unreferenced"),
        ("--plan", "p"),
        ("--apply", "p"),
        ("--policy", "delete_unreferenced"),
        ("--policy", "delete_unreferenced", "--plan", "p", "--max-delete", "3"),
        ("--policy", "everything"),
        ("--grace", "a while"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_usage(cleanup, words):
    done = cleanup(*words)
    assert (done.status, done.out) == (2, "")
    assert "dialog360" in done.err


def test_the_policies_are_those_of_the_job():
    (command,) = (each for each in CAMPAIGN_COMMANDS if each.name == "cleanup")
    (option,) = (each for each in command.options if each.flags == ("--policy",))
    assert option.settings["choices"] == [EXPIRE_ONLY, *POLICIES]
    args = build_parser().parse_args(["cleanup"])
    assert (args.grace, args.conn_id) == (timedelta(hours=24), Dialog360Hook.default_conn_name)
