"""The proof of the pace at small size, and its arithmetic; how fast and how fair is for `scripts/proof`: a busy machine says little."""

from __future__ import annotations

import json

import pytest

from benchmarks import pace

EVENLY = [100 + index / 24.5 for index in range(100)]


def test_every_round_is_told_beside_the_baseline_in_one_line(engine, capsys):
    """P2: whatever is refused, nothing is lost."""
    found = pace.run(engine=engine, processes="2", files=50, at_least_per_s=0, at_least_per_s_with_jitter=0, at_least_jain=0)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert told == [found]
    assert found["size_bytes"] == 200_000
    assert set(found[engine]) == {"2", "2 jitter 0.08"}
    assert set(found["baseline"]) == {"jitter 0", "jitter 0.08"}
    for each in [*found[engine].values(), *found["baseline"].values()]:
        assert each["uploaded"] == 50, found
        assert not each["errors"], found
        assert each["wasted_bytes"] == each["refused"] * 200_000
    assert found["holds"] == all(each["holds"] for each in found[engine].values())


def test_a_delay_on_the_way_may_cost_one_of_600():
    assert [pace.most_refused(files) for files in (60, 600, 1000, 2400)] == [1, 1, 2, 4]


@pytest.mark.parametrize(
    ("changed", "jitter_s", "held"),
    [
        pytest.param({}, 0.0, True, id="at the line"),
        pytest.param({"per_s": 24.2}, 0.0, False, id="too slow"),
        pytest.param({"refused": 1}, 0.0, False, id="one refused"),
        pytest.param({"refused": 1}, 0.08, True, id="one refused after a delay on the way"),
        pytest.param({"refused": 2}, 0.08, False, id="two refused after a delay on the way"),
        pytest.param({"most_in_a_second": 26}, 0.0, False, id="26 in a second"),
        pytest.param({"most_in_a_second": 26}, 0.08, True, id="26 in a second after a delay on the way"),
        pytest.param({"jain": 0.89}, 0.0, False, id="some starved"),
        pytest.param({"uploaded": 599}, 0.0, False, id="one lost"),
        pytest.param({"errors": ["E"]}, 0.0, False, id="one failed"),
    ],
)
def test_a_round_holds_only_at_the_line_and_not_over_it(changed, jitter_s, held):
    found = {"uploaded": 600, "errors": [], "refused": 0, "most_in_a_second": 25, "per_s": 24.5, "jain": 1.0} | changed
    assert pace.is_held(found, 600, jitter_s=jitter_s, per_s=24.25, jain=0.9) is held


def test_the_first_and_the_last_second_do_not_count():
    assert pace.steady_per_s(EVENLY, EVENLY) == pytest.approx(24.5, rel=0.03)
    assert pace.steady_per_s(EVENLY, EVENLY[::2]) == pytest.approx(12.25, rel=0.05)
    assert pace.steady_per_s([1.0, 2.0], [1.0, 2.0]) == 0
    assert pace.steady_per_s([], []) == 0


def test_the_26th_of_a_second_is_refused_and_does_not_count_itself():
    at_once = [5.0] * 30
    assert pace.accepted_of([*at_once, 5.5, 6.0]) == [*at_once[:25], 6.0]


def test_the_fullest_second_is_shown_with_its_gaps():
    early = [*EVENLY[:50], *(at - 0.03 for at in EVENLY[50:])]  # 10.8 ms behind the one before instead of 40.8
    found = pace.crowd(early, started=99.5)
    assert found["worst_window"] == [40.8] * 24 + [10.8]
    assert found["worst_window_from_ms"] == 1520.4
    assert found["worst_window_before"] == found["worst_window_after"] == [40.8] * 3
    assert found["first_26_ms"][:2] == [500.0, 540.8]
    assert len(found["first_26_ms"]) == 26
