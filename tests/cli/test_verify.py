"""``dialog360 ledger verify``: each kind of damage, made by SQL, is found; and an ordinary ledger has none."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from airflow_provider_360dialog.ledger.verify import KINDS

DAY_S = 86_400
FIRST = "(SELECT min(id) FROM d360_media)"
FIRST_FILE = "(SELECT min(id) FROM d360_fingerprint)"
OTHER_CHANNEL = (
    "INSERT INTO d360_channel (id, phone_number_id, created_at) VALUES (99, '999', 0)",
    "INSERT INTO d360_key (fingerprint, channel_id, first_seen_at) VALUES ('x', 99, 0)",
)

DAMAGE = {
    "two_current": ["UPDATE d360_media SET state = 'current' WHERE state = 'retiring'"],
    "pointer_wrong": ["UPDATE d360_media SET state = 'deleted' WHERE id = (SELECT max(id) FROM d360_media)"],
    "current_unused": ["UPDATE d360_fingerprint SET media_row = NULL"],
    "wrong_channel": [*OTHER_CHANNEL, f"UPDATE d360_media SET channel_id = 99 WHERE id = {FIRST}"],
    "lease_without_owner": [f"UPDATE d360_fingerprint SET lease_until = 1, sending = 1 WHERE id = {FIRST_FILE}"],
    "promise_too_long": [f"UPDATE d360_media SET safe_until = safe_until + 86400 WHERE id = {FIRST}"],
}  # fmt: skip
WAKE = {
    "lease_lapsed": [f"UPDATE d360_fingerprint SET owner = 'h:1:ab', lease_until = 1, sending = 1 WHERE id = {FIRST_FILE}"],
    "past_end": ["UPDATE d360_media SET safe_until = 5, uploaded_at = 4, state_since = 4 WHERE state = 'current'"],
    "channel_without_key": ["DELETE FROM d360_key"],
}


@pytest.fixture
def filled(uploads):
    """Two files with current ids; beside the first one an id that retires."""
    return uploads(2) + uploads(1, reuse=False)


def kinds(done):
    return [finding["kind"] for finding in done.data["findings"]]


def test_an_ordinary_ledger_agrees_with_itself(dialog360, engine, filled, number):
    before = number.sent("fetch") + number.sent("health")
    done = dialog360("ledger", "verify", "--json")
    assert (done.status, done.data["ok"], kinds(done)) == (0, True, [])
    assert dialog360("ledger", "verify").out.endswith("The ledger agrees with itself.\n")
    assert number.sent("fetch") + number.sent("health") == before


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_named(dialog360, engine, filled, number, sql, kind):
    for statement in DAMAGE[kind]:
        assert sql(statement)
    done = dialog360("ledger", "verify", "--json")
    assert (done.status, done.data["ok"]) == (1, False)
    finding = next(each for each in done.data["findings"] if each["kind"] == kind)
    assert (finding["severity"], finding["count"] > 0) == ("damage", True)
    assert finding["examples"][0]["phone_number_id"] in {number.number_id, "999"}
    assert len(finding["examples"][0]["sha256"]) == 64
    text = dialog360("ledger", "verify").out
    assert f"damage  {kind}: {finding['count']}\n" in text
    assert f"  -> {finding['remedy']}" in text


@pytest.mark.parametrize("kind", WAKE)
def test_the_wake_of_a_dead_worker_and_of_time_is_a_notice(dialog360, engine, filled, sql, kind):
    """It mends itself, so it must not wake anybody at night."""
    for statement in WAKE[kind]:
        assert sql(statement)
    done = dialog360("ledger", "verify", "--json")
    assert (done.status, kinds(done)) == (0, [kind])
    assert done.data["findings"][0]["severity"] == "notice"


def test_a_half_lease_without_an_end_is_damage_too(dialog360, filled, sql):
    sql(f"UPDATE d360_fingerprint SET owner = 'h:1:ab' WHERE id = {FIRST_FILE}")
    assert kinds(dialog360("ledger", "verify", "--json")) == ["lease_without_owner"]


def test_a_longer_promise_after_a_use_is_no_damage(dialog360, filled, sql):
    sql("UPDATE d360_media SET last_used_at = uploaded_at + 86400, safe_until = safe_until + 86400")
    assert kinds(dialog360("ledger", "verify", "--json")) == []


def test_after_a_restore_what_was_touched_since_is_suspect(dialog360, engine, filled, sql):
    """F66: and what was live in the backup may have been deleted since, unseen."""
    now = time.time()
    sql("UPDATE d360_media SET uploaded_at = :at, state_since = :at, safe_until = :at + 2505600", at=now - 3 * DAY_S)
    sql(f"UPDATE d360_media SET last_used_at = :at WHERE id = {FIRST}", at=now - DAY_S)
    restored_at = datetime.fromtimestamp(now - 2 * DAY_S, UTC).isoformat()
    done = dialog360("ledger", "verify", "--json", "--restored-at", restored_at)
    assert done.status == 1
    found = {each["kind"]: each for each in done.data["findings"]}
    assert [row["media_id"] for row in found["touched_after_restore"]["examples"]] == [filled[0]]
    assert found["touched_after_restore"]["severity"] == "suspect"
    assert {row["media_id"] for row in found["unseen_since_restore"]["examples"]} == set(filled[1:])
    later = datetime.fromtimestamp(now, UTC).isoformat()
    done = dialog360("ledger", "verify", "--json", "--restored-at", later)
    assert (done.status, kinds(done)) == (0, ["unseen_since_restore"])


def test_every_kind_has_its_test():
    assert {*DAMAGE, *WAKE, "schema_incomplete", "touched_after_restore", "unseen_since_restore"} == set(KINDS)


def test_a_schema_with_a_hole_is_found(dialog360, engine, filled, sql):
    sql("DROP TABLE d360_source")
    done = dialog360("ledger", "verify", "--json")
    assert (done.status, kinds(done)) == (1, ["schema_incomplete"])
    assert done.data["findings"][0]["examples"] == [{"part": "d360_source"}]
    sql("ALTER TABLE d360_refused RENAME COLUMN details TO words")
    assert "part d360_refused.details" in dialog360("ledger", "verify").out


def test_rows_beyond_the_limit_are_counted(dialog360, filled, sql):
    sql("UPDATE d360_media SET safe_until = safe_until + 86400")
    done = dialog360("ledger", "verify", "--limit", "1")
    assert "promise_too_long: 3\n" in done.out
    assert "... and 2 more" in done.out
    assert done.out.count("media_id") == 1


@pytest.mark.parametrize("text", ["yesterday", "2026-11-22", "2026-11-22T06:00:00"])
def test_an_instant_needs_a_time_zone(dialog360, text):
    done = dialog360("ledger", "verify", "--restored-at", text)
    assert done.status == 2
    assert "time zone" in done.err
