"""``dialog360 ledger init | migrate | stats | export``."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
import tracemalloc
from pathlib import Path

import pytest

from airflow_provider_360dialog.cli.words import duration, table
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.export import FIELDS

READERS = [("stats",), ("verify",), ("export",)]


# --- init and migrate ---------------------------------------------------------------------------------------------


def test_init_creates_the_ledger_and_says_where(dialog360, engine):
    done = dialog360("ledger", "init")
    assert done.status == 0
    assert done.out == f"The ledger was created: {ledger_store().place} ({engine}, schema version {schema.VERSION}).\n"
    assert done.err == ""


def test_init_leaves_a_ledger_that_stands(dialog360, engine, uploads):
    media_ids = uploads(2)
    done = dialog360("ledger", "init", "--json")
    assert (done.status, done.data["created"]) == (0, False)
    assert "The ledger stands already" in dialog360("ledger", "init").out
    assert [row["media_id"] for row in csv.DictReader(io.StringIO(dialog360("ledger", "export").out))] == media_ids


def test_a_ledger_is_copied_into_an_empty_postgresql(dialog360, uploads, number, tmp_path, monkeypatch, postgres_server):
    """And the ids answer there, once it is the ledger."""
    media_ids = uploads(2)
    url = postgres_server.new_database()
    monkeypatch.setenv("AIRFLOW_CONN_NEW_LEDGER", url.replace("postgresql+psycopg", "postgres"))
    done = dialog360("ledger", "copy", "--to", "new_ledger", "--json")
    assert (done.status, done.data["rows"]["d360_media"], done.data["engine"]) == (0, 2, "postgresql")
    assert dialog360("ledger", "copy", "--to", "new_ledger").err.count("a copy needs an empty database") == 1
    monkeypatch.setenv("AIRFLOW__DIALOG360__LEDGER_CONN_ID", "new_ledger")
    assert [row["media_id"] for row in csv.DictReader(io.StringIO(dialog360("ledger", "export").out))] == media_ids
    assert Dialog360Hook("number_a").upload(tmp_path / "note-0.txt").media_id == media_ids[0]
    assert number.sent("upload") == 2
    assert "it is the ledger that is to be copied" in dialog360("ledger", "copy", "--to", "new_ledger").err


def test_a_copy_names_the_option_whose_connection_is_wrong(dialog360, uploads):
    uploads()
    done = dialog360("ledger", "copy", "--to", "nobody")
    assert done.status == 1
    assert "--to names connection 'nobody', which Airflow does not have" in done.err


def test_migrate_has_nothing_to_do_where_the_schema_is_new(dialog360, engine):
    assert dialog360("ledger", "migrate").out.startswith("There was no ledger; it was created: ")
    done = dialog360("ledger", "migrate")
    assert done.status == 0
    assert done.out.startswith("Nothing to do, the schema is up to date: ")
    assert dialog360("ledger", "migrate", "--json").data == {
        "ok": True, "ledger": ledger_store().place, "engine": engine, "schema_version": schema.VERSION, "version_before": schema.VERSION,
    }  # fmt: skip


def test_migrate_says_so_where_no_way_leads_to_this_version(dialog360, engine, sql):
    """It must not call an old schema good."""
    dialog360("ledger", "init")
    sql("UPDATE d360_meta SET value = '0' WHERE name = 'schema_version'")
    done = dialog360("ledger", "migrate")
    assert done.status == 1
    assert done.err.count("\n") == 1
    assert "version 0" in done.err


@pytest.mark.parametrize("command", [("init",), ("migrate",), *READERS], ids=lambda words: words[0])
def test_a_newer_schema_is_refused(dialog360, command, sql):
    dialog360("ledger", "init")
    sql("UPDATE d360_meta SET value = '99' WHERE name = 'schema_version'")
    ledger_store()._checked_by = 0
    done = dialog360("ledger", *command)
    assert (done.status, done.out) == (1, "")
    assert "newer than this provider's" in done.err


# --- readers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", READERS, ids=lambda words: words[0])
def test_a_reader_never_creates_a_ledger(dialog360, command, own_ledger):
    done = dialog360("ledger", *command)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"There is no ledger at {own_ledger} yet.")
    assert done.err.count("\n") == 1
    assert not own_ledger.exists()


def test_an_error_is_a_json_object_too(dialog360):
    done = dialog360("ledger", "stats", "--json")
    assert done.status == 1
    assert (done.data["ok"], done.data["error"]) == (False, "LedgerMissingError")
    assert done.data["message"] == done.err.strip()


def test_stats_counts_each_channel(dialog360, engine, number, uploads, sql):
    media_ids = uploads(3)
    uploads(1, reuse=False)  # the first file again
    sql(
        "UPDATE d360_fingerprint SET orphan_possible = 2 WHERE media_row = (SELECT min(id) FROM d360_media WHERE media_id = :id)",
        id=media_ids[1],
    )
    done = dialog360("ledger", "stats", "--json")
    assert done.status == 0
    (channel,) = done.data["channels"]
    ends_s = channel.pop("soonest_end_s")
    assert 28.9 * 86_400 < ends_s <= 29 * 86_400
    assert channel == {
        "phone_number_id": number.number_id, "frozen": False, "media": {"current": 3, "retiring": 1}, "uploading": 0,
        "orphan_possible": 2, "refused": 0,
    }  # fmt: skip
    text = dialog360("ledger", "stats").out
    row = next(line for line in text.splitlines() if line.startswith(number.number_id))
    assert row.split()[:11] == [number.number_id, "3", "1", "0", "0", "0", "0", "0", "0", "2", "0"]
    assert "in 28 d 23 h" in row or "in 29 d" in row


def test_stats_of_an_empty_ledger(dialog360):
    dialog360("ledger", "init")
    assert "No channel is on record yet." in dialog360("ledger", "stats").out


def test_a_frozen_channel_is_called_so(dialog360, number, uploads, sql):
    uploads()
    sql("UPDATE d360_channel SET frozen_because = 'it moved'")
    assert f"{number.number_id} (frozen)" in dialog360("ledger", "stats").out


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        (None, "names connection 'ledger_db', which Airflow does not have"),
        ({"conn_type": "mysql", "host": "h"}, "is of type 'mysql', not postgres"),
        ({"conn_type": "postgres", "host": "127.0.0.1", "port": 9, "login": "a", "password": "test-password-9"}, "refused"),
    ],
    ids=["missing", "of another type", "unreachable"],
)
def test_a_ledger_that_cannot_be_had_is_a_sentence(dialog360, monkeypatch, connection, words):
    monkeypatch.setenv("AIRFLOW__DIALOG360__LEDGER_CONN_ID", "ledger_db")
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_LEDGER_DB", json.dumps(connection))
    for command in ("init", "migrate", "stats", "verify", "export"):
        done = dialog360("ledger", command)
        assert (done.status, done.out) == (1, "")
        assert words in done.err
        assert done.err.count("\n") == 1
        assert "test-password-9" not in done.err


# --- export -------------------------------------------------------------------------------------------------------


def test_export_gives_every_media_id_as_csv(dialog360, engine, number, uploads):
    media_ids = uploads(3)
    done = dialog360("ledger", "export")
    assert done.status == 0
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert done.out.splitlines()[0] == ",".join(FIELDS)
    assert [row["media_id"] for row in rows] == media_ids
    assert {row["phone_number_id"] for row in rows} == {number.number_id}
    assert {(row["mime_type"], row["state"]) for row in rows} == {("text/plain", "current")}
    assert all(len(row["sha256"]) == 64 and row["uploaded_at"].endswith("+00:00") for row in rows)


def test_export_gives_json_lines(dialog360, engine, uploads):
    uploads(2)
    rows = [json.loads(line) for line in dialog360("ledger", "export", "--format", "jsonl").out.splitlines()]
    assert len(rows) == 2
    assert all(list(row) == list(FIELDS) for row in rows)
    assert rows[0]["size_bytes"] == len(f"note 0 of {rows[0]['phone_number_id']}")


def test_export_holds_no_key(dialog360, number, uploads, sql):
    """Nor anything derived from one."""
    uploads()
    out = dialog360("ledger", "export").out
    (pepper,), (mark,) = (
        sql("SELECT value FROM d360_meta WHERE name = 'key_pepper'")[0],
        sql("SELECT fingerprint FROM d360_key")[0],
    )
    assert not any(secret in out for secret in (number.key, pepper, mark))


def test_export_to_a_file_is_readable_by_its_owner_only(dialog360, uploads, tmp_path):
    uploads(2)
    place = tmp_path / "backup" / "ids.jsonl"
    done = dialog360("ledger", "export", "--to", place)
    assert (done.status, done.out) == (0, f"2 media ids written to {place} (jsonl).\n")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert len(place.read_text().splitlines()) == 2
    assert [path.name for path in place.parent.iterdir()] == ["ids.jsonl"]


def test_export_replaces_nothing_unless_told(dialog360, uploads, tmp_path):
    uploads()
    place = tmp_path / "ids.csv"
    place.write_text("mine")
    done = dialog360("ledger", "export", "--to", place)
    assert done.status == 1
    assert "a file stands there already" in done.err
    assert place.read_text() == "mine"
    done = dialog360("ledger", "export", "--to", place, "--overwrite", "--json")
    assert (done.data["rows"], done.data["format"], done.data["to"]) == (1, "csv", str(place))
    assert len(place.read_text().splitlines()) == 2
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_export_to_object_storage(dialog360, uploads):
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem

    attach("memory", fs=MemoryFileSystem())
    uploads(2)
    assert dialog360("ledger", "export", "--to", "memory://bucket/ids.csv").status == 0
    assert len(ObjectStoragePath("memory://bucket/ids.csv").read_text().splitlines()) == 3


def test_export_of_a_broken_ledger_leaves_no_file(dialog360, uploads, tmp_path, sql):
    uploads()
    sql("DROP TABLE d360_key")
    sql("ALTER TABLE d360_media RENAME TO away")
    place = tmp_path / "out" / "ids.csv"
    done = dialog360("ledger", "export", "--to", place)
    assert done.status == 1
    assert done.err.count("\n") == 1
    assert list(Path(place.parent).iterdir()) == []


def test_a_full_disk_is_a_sentence_and_leaves_no_file(dialog360, uploads, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    uploads()
    monkeypatch.setattr(os, "fchmod", full)
    done = dialog360("ledger", "export", "--to", tmp_path / "out" / "ids.csv")
    assert done.status == 1
    assert "No space left on device" in done.err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("options", [["--json"], ["--overwrite"]], ids=str)
def test_options_of_a_place_need_one(dialog360, options):
    done = dialog360("ledger", "export", *options)
    assert done.status == 2
    assert "--to" in done.err


def test_export_has_flat_memory(dialog360, engine, uploads, sql, tmp_path):
    """Ten times the rows, the same memory."""
    uploads()
    place = tmp_path / "ids.csv"

    def peak():
        tracemalloc.start()
        try:
            assert dialog360("ledger", "export", "--to", place, "--overwrite").status == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    numbers = "WITH RECURSIVE n(i) AS (SELECT CAST(:first AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
    columns = "channel_id, fingerprint_id, media_id, state, state_since, uploaded_at, safe_until"
    fill = f"INSERT INTO d360_media ({columns}) "
    like = "SELECT channel_id, fingerprint_id, CAST(7000000 + n.i AS TEXT), 'retiring', state_since, uploaded_at, safe_until FROM n, d360_media m WHERE m.id = (SELECT min(id) FROM d360_media)"
    order = f"{fill}{numbers}{like}" if engine == "sqlite" else f"{numbers}{fill}{like}"
    sql(order, first=1, last=2000)
    peak()  # imports
    small = peak()
    sql(order, first=2001, last=20_000)
    large = peak()
    assert len(place.read_text().splitlines()) == 20_002
    assert large < small * 1.5 + 300_000


# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (7.4, "7 s"), (250, "4 min 10 s"), (3600, "1 h"), (90_000, "1 d 1 h"), (86_461, "1 d"), (-65, "1 min 5 s")],
)
def test_a_duration_in_two_units(seconds, words):
    assert duration(seconds) == words


def test_a_table_lines_up():
    assert table(["name", "count"], [["a", 1], ["bcdef", 1000]]) == "name   count\n-----  -----\na          1\nbcdef   1000"


def test_the_states_are_all_there():
    """A state that is added to the schema has to get its column."""
    states = {value for name, value in vars(schema).items() if name.isupper() and isinstance(value, str)}
    assert set(schema.MEDIA_STATES) == states - {schema.PLANNED, schema.REJECTED, *schema.INBOUND_STATES}
