"""The proofs of the ledger at small size; `scripts/proof ledger` runs the same functions at full size."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import adopt_race, cpu, dead_id, kill_loop, rotation, scale, support


def test_processes_that_adopt_the_same_files_at_once_make_one_post_each(engine):
    """US-2: and those who come later make none. Whoever comes first may create the ledger."""
    found = adopt_race.run(engine=engine, processes=4, files=5, numbers=3, later=1, dag_runs=0, new_ledgers=5)
    assert found["holds"], found


def test_no_id_is_lost_or_doubled_when_workers_are_killed(engine):
    """F1 to F5, US-7: what the server may have accepted without our knowing is counted, and nothing is uploaded twice but that."""
    found = kill_loop.run(engine=engine, files=60, workers=2, kills=6, service_s=0.05)
    assert found["holds"], found


def test_a_dead_id_is_asked_once_in_all_runs():
    """Whatever `retries` says, of an operator and of a function alike."""
    found = dead_id.run(dag_runs=3)
    assert found["holds"], found
    assert found["tries"] == {"operator": [1, 1, 1], "function": [6, 6, 6]}


def test_a_rotated_key_fails_no_more_calls_than_were_in_flight(engine):
    """US-8, F41: with the new key on the connection the run goes on, without it every file fails with one sentence."""
    found = rotation.run(engine=engine, files=60, threads=6, service_s=0.05)
    assert found["holds"], found


def test_the_cost_of_the_ledger_is_measured(engine):
    """The figures; how large they may be is for `scripts/proof`, because a busy machine decides nothing here."""
    found = cpu.run(engine=engine, uploads=20, repeats=1)[engine]
    assert 0 < found["core_ms"] <= found["all_ms"] * 2


def test_no_hot_question_reads_a_whole_table(engine):
    """P9, by the databases' own plans; a hundred times the rows."""
    found = scale.run(engine=engine, small=1_000, large=100_000, repeats=10)
    assert found["holds"], found[engine]["scans"]
    assert found[engine]["plans"] > 20


@pytest.mark.parametrize(
    ("line", "is_bad"),
    [
        ("3 0 0 SCAN d360_media", True),
        ("3 0 0 SCAN d360_media USING INDEX d360_media_waiting", True),
        ("9 0 0 USE TEMP B-TREE FOR ORDER BY", True),
        ("->  Seq Scan on d360_fingerprint  (cost=0.00..1.01 rows=1 width=8)", True),
        ("->  Sort  (cost=888.16..888.49 rows=131 width=32)", True),
        ("3 0 0 SEARCH d360_media USING INDEX d360_media_of (fingerprint_id=?)", False),
        ("->  Seq Scan on d360_channel  (cost=0.00..1.01 rows=1 width=8)", False),
        ("->  Index Scan using d360_media_waiting on d360_media  (cost=0.42..8.44 rows=1 width=8)", False),
    ],
)
def test_a_plan_that_scans_is_recognised(line, is_bad):
    """The guard itself."""
    assert scale.is_scan(f"lookup: {line}") is is_bad


def test_a_name_that_is_no_proof_is_refused_with_the_names_that_are():
    """A misspelt name must not pass for a proof."""
    command = [sys.executable, "-m", "benchmarks", "ledger", "kill_lop"]
    done = subprocess.run(command, cwd=support.CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "kill_loop" in done.stderr
    assert not done.stdout


def test_a_proof_prints_one_line_of_json_and_fails_where_it_does_not_hold(monkeypatch, capsys):
    """The line is all that stands on stdout."""
    monkeypatch.setattr(cpu, "MOST_MS", {"sqlite": 0.0})
    found = cpu.run(engine="sqlite", uploads=2, repeats=1)
    assert json.loads(capsys.readouterr().out) == found
    assert found["holds"] is False
