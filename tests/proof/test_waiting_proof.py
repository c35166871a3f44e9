"""The proof of waiting at small size; `python -m benchmarks.waiting` runs the same function at full size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import waiting
from benchmarks.waiting import Get, Sample, Seen

MEDIA_IDS = {"deferred_0": "111", "rescheduled_0": "222"}
REFUSED, EARLY = Get(10.0, "111", 429), Get(69.0, "222", 200)
GETS = [REFUSED, Get(75.0, "222", 200), Get(81.0, "111", 200)]
POOL = {"occupied_slots": 0, "running_slots": 0, "queued_slots": 0, "deferred_slots": 1}


@pytest.mark.system
def test_a_blocked_number_is_waited_out_without_a_slot_and_without_a_retry():
    """P1, on a whole Airflow; a throttle of a minute or less is waited out inside the task, so it is longer."""
    found = waiting.run(block_s=63, deferred=1, rescheduled=1, functions=1, jitter_s=1.0)
    assert found["holds"], found


def samples(*, at=range(10, 90), while_waiting=("deferred", "up_for_reschedule"), first_try=1, **changes):
    """One a second: run, wait until 70 and 80, succeed; ``changes`` by second, as s20=(state, state)."""
    by_second = {}
    for second in at:
        resumed = [second >= 80, second >= 74]
        states = ["success" if done else state for done, state in zip(resumed, while_waiting, strict=True)]
        by_second[second] = ["running", "queued"] if second < 12 else states
    for name, states in changes.items():
        by_second[int(name.removeprefix("s"))] = states
    return [
        Sample(second, {task_id: (state, first_try) for task_id, state in zip(MEDIA_IDS, states, strict=True)})
        for second, states in by_second.items()
    ]


KEPT = Seen(
    samples=samples(),
    opens_at=70.0,
    credits=1,
    instants={"deferred_0": [79.0], "rescheduled_0": [73.0]},
    pools=[POOL, POOL],
    all_wait_at=12.0,
    killed_at=30.0,
    triggerers={1, 2},
    state="success",
)


def not_kept(seen, gets=GETS, *, block_ended_at=70.0):
    figures, holds = waiting.judge(seen, gets, MEDIA_IDS, block_ended_at=block_ended_at)
    assert holds is not bool(figures["not_kept"])
    return figures["not_kept"]


def test_a_run_that_waits_as_promised_holds():
    assert not_kept(KEPT) == []


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"samples": samples(first_try=2)}, ["no retry"]),
        ({"earlier_tries": 1}, ["no retry"]),
        ({"state": "failed"}, ["all done"]),
        ({"samples": samples(s40=["up_for_retry", "up_for_reschedule"])}, ["waited as told", "not too early"]),
        ({"samples": samples(while_waiting=("up_for_reschedule", "up_for_reschedule"))}, ["waited as told"]),
        ({"samples": samples(s40=["running", "up_for_reschedule"])}, ["no slot", "not too early"]),
        ({"samples": samples(at=range(60, 90))}, ["no slot"]),
        (
            {"samples": samples(**{f"s{second}": ["running"] * 2 for second in range(12, 28)}), "all_wait_at": 28.0},
            ["slot given back"],
        ),
        ({"all_wait_at": 0.0}, ["no slot", "triggerer replaced"]),
        ({"pools": [POOL, POOL | {"running_slots": 1}]}, ["no slot by REST"]),
        ({"pools": []}, ["no slot by REST"]),
        ({"triggerers": {1}}, ["triggerer replaced"]),
        ({"killed_at": 71.0}, ["triggerer replaced"]),
        ({"credits": 0}, ["block left alone"]),
        ({"instants": {"deferred_0": [45.0, 79.0], "rescheduled_0": [73.0]}}, ["waited once"]),
        ({"instants": {"deferred_0": [79.0], "rescheduled_0": [40.0]}}, ["not too late"]),
        ({"instants": {"deferred_0": [82.0], "rescheduled_0": [73.0]}}, ["not too early"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_what_airflow_saw_breaks_a_promise(changes, broken):
    """The guard itself: each departure from the promise is told by its name."""
    assert not_kept(replace(KEPT, **changes)) == broken


def test_a_get_during_the_block_breaks_the_promise():
    assert not_kept(KEPT, [*GETS, Get(40.0, "222", 429)], block_ended_at=110.0) == ["block left alone"]


def test_a_get_before_the_end_of_the_block_breaks_the_promise():
    assert not_kept(KEPT, [REFUSED, EARLY, GETS[-1]]) == ["not too early"]


def test_a_task_that_never_came_breaks_the_promise():
    assert not_kept(KEPT, GETS[:-1]) == ["one GET each"]
