"""The proofs of the inbound archive at small size, and their own guards; `scripts/proof inbound` runs the same at full size."""

from __future__ import annotations

import pytest

from benchmarks import forged, inbound, inbound_airflow
from benchmarks.inbound_days import most_in_an_hour, spread


def test_what_customers_send_is_archived_once_and_the_number_is_never_blocked(engine):
    """P1, P7: by two processes at once, through the busy hours, with dead ids enough to spend the budget."""
    found = inbound.run(engine=engine, items=100, dead=0.06, hours=15, tail_hours=3)
    assert found["holds"], found
    assert found[engine]["lost_reported"] == 6


def test_a_plain_client_is_blocked_by_the_same_traffic_and_loses_files():
    """Else the emulator would block nobody, and the proof would say nothing."""
    found = inbound.Plain(inbound.plan(300, dead=0.1, own_url=0.7, hours=15)).archive()
    assert found["blocks"], found
    assert found["live_lost"], found


def test_made_up_webhooks_hold_up_nothing(engine):
    """P1: three failed GETs at first, then one an hour, whatever they look like."""
    found = forged.run(engine=engine, forged=20, genuine=20, hours=8)
    assert found["holds"], found
    assert set(found[engine]) == {"one_file", "single_files", "urls"}


@pytest.mark.system
def test_an_archive_that_is_killed_and_has_to_wait_goes_on_where_it_was():
    """P4, P7, on a whole Airflow; a throttle of a minute or less is waited out inside the task, so it is longer."""
    found = inbound_airflow.run(items=24, dead=2, block_s=62, service_s=0.3, jitter_s=1.0)
    assert found["holds"], found


def test_the_dead_lie_at_equal_distances_and_most_comes_after_a_campaign():
    sent = inbound.plan(1000, dead=0.01, own_url=0.7, hours=72)
    assert [index for index, item in enumerate(sent) if item.is_dead] == list(range(50, 1000, 100))
    assert [item.at_s for item in sent] == sorted(item.at_s for item in sent)
    assert 250 < sum(item.at_s // 3600 % 24 == 10 for item in sent) < 400
    assert 600 < sum(item.has_url for item in sent) < 800
    assert all(2000 <= item.size_bytes <= 200_000 for item in sent)
    assert not any(item.is_dead for item in inbound.plan(10, dead=0.0, own_url=0.5, hours=2))


@pytest.mark.parametrize(
    ("instants", "most"),
    [([], 0), ([5.0], 1), ([0.0, 3599.9], 2), ([0.0, 3600.0], 1), ([0.0, 1.0, 2.0, 3600.5, 3601.5], 3)],
)
def test_the_fullest_hour_is_found_wherever_it_begins(instants, most):
    assert most_in_an_hour(instants) == most


def test_a_spread_needs_two_values():
    assert spread([1.0]) == {}
    assert spread([float(value) for value in range(101)]) == {"p50": 50.0, "p99": 99.0, "max": 100.0}


def test_a_scene_that_does_not_exist_is_refused():
    with pytest.raises(SystemExit, match="no such scenes: forgd"):
        forged.run(scenes="forgd")
