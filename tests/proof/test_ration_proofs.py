"""The proofs of the ration at small size; `scripts/proof ration` runs the same functions at full size."""

from __future__ import annotations

import pytest

from benchmarks import budget, ledger_away, pace
from benchmarks import credits as killed_holders


def test_processes_that_share_a_ledger_upload_at_the_line_and_not_over_it(engine):
    """P2: how fast is for `scripts/proof`, because a busy machine decides nothing here."""
    found = pace.run(engine=engine, processes="2", files=60, at_least_per_s=0, jitters="0", baseline_threads=0)[engine]["2"]
    assert found["uploaded"] == 60, found
    assert not found["errors"]
    assert found["refused"] == 0
    assert found["most_in_a_second"] <= 25


def test_dead_ids_never_lock_a_number_out(engine):
    """P1: four hours, to the last credit of each; every live id is fetched. A plain client is blocked by the same ids."""
    found = budget.run(engine=engine, live=22, dead=8, processes=2, callers=2, hours=4, step_s=120)
    assert found["holds"], found
    assert found[engine]["failed"] >= 8, "the budget was not used"
    assert found["baseline"]["blocks"], found["baseline"]
    assert found["baseline"]["live_fetched"] < 22


def test_a_killed_holder_spends_its_credit_and_an_hour_later_the_budget_is_whole(engine):
    """P1: six kills, most of them while a GET is in flight."""
    found = killed_holders.run(engine=engine, kills=6, processes=3, fetch_s=1.0, step_s=120)  # long enough for four GETs to meet
    assert found["holds"], found


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_nothing_is_sent_while_the_ledger_is_away_and_all_go_on_afterwards(engine):
    """P1, P4: three seconds without PostgreSQL."""
    found = ledger_away.run(files=60, processes=2, threads=3, away_s=3.0, before_s=1.0)
    assert found["holds"], found


@pytest.mark.parametrize(("shares", "index"), [([5, 5, 5, 5], 1.0), ([20, 0, 0, 0], 0.25), ([], 0.0), ([0, 0], 0.0)])
def test_fairness_is_1_where_all_have_the_same_and_1_of_n_where_one_has_all(shares, index):
    assert pace.jain(shares) == pytest.approx(index)
