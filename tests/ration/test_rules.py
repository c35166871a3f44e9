"""The arithmetic of the ration, on a clock that is an argument."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.ledger.rules import (
    CEILING_PER_S,
    CLIMB_S,
    DOCUMENTED,
    FLOOR_PER_S,
    LESS,
    MOST_BY_WEBHOOK_URL,
    MUCH_LESS,
    STRICT,
    USE_BY_S,
    AskById,
    Budget,
    Closed,
    Credit,
    Full,
    Open,
    Pace,
    credits_left,
    decide_retrieval,
    fresh,
    reserve,
    slow_down,
    stands,
)

FRESH = Pace(next_at=0.0)


def instants(pace: Pace, *, now: float, count: int, ceiling: float = CEILING_PER_S) -> tuple[list[float], Pace]:
    """As many callers, each of whom asks while the last one's instant is less than a second ahead."""
    found = []
    for _ in range(count):
        turn, pace = reserve(pace, now=now, ceiling=ceiling)
        now = max(now, turn.at - 1.0)
        found.append(turn.at)
    return found, pace


def most_in_any_second(times: list[float]) -> int:
    times = sorted(times)
    return max(sum(1 for t in times[i:] if t < start + 1.0) for i, start in enumerate(times))


# --- uploads ------------------------------------------------------------------------------------------------------


def test_the_ceiling_is_24_5_a_second():
    assert pytest.approx(24.51, abs=0.01) == CEILING_PER_S


@given(st.lists(st.floats(0, USE_BY_S), min_size=120, max_size=120))
def test_no_second_holds_26_however_late_each_upload_leaves_within_its_bound(lateness: list[float]):
    """The proof of the spacing: 25 gaps are one second and the lateness that is allowed."""
    planned, _ = instants(FRESH, now=0.0, count=120)
    assert most_in_any_second([at + late for at, late in zip(planned, lateness, strict=True)]) <= 25


def test_instants_are_never_given_twice_and_never_in_the_past():
    first, pace = instants(FRESH, now=100.0, count=5)
    second, _ = instants(pace, now=100.05, count=5)
    assert first[0] == 100.0
    assert all(b > a for a, b in zip(first + second, (first + second)[1:], strict=False))


def test_idle_time_is_not_saved_up():
    """No burst after a pause: an hour of silence gives the right to one upload, not to thousands."""
    _, pace = instants(FRESH, now=0.0, count=3)
    later, _ = instants(pace, now=3600.0, count=30)
    assert most_in_any_second(later) <= 25


@pytest.mark.parametrize("ceiling", [24.5, 10.0, 0.5, 100.0])
def test_a_connection_lowers_the_ceiling_and_never_raises_it(ceiling: float):
    found, _ = instants(FRESH, now=0.0, count=50, ceiling=ceiling)
    assert 49 / (found[-1] - found[0]) == pytest.approx(min(ceiling, CEILING_PER_S))


def test_a_new_channel_begins_a_little_lower():
    pace = fresh(100.0)
    assert 23.9 <= pace.rate_at(100.0) < pace.rate_at(102.0) < CEILING_PER_S
    assert pace.rate_at(105.0) == pytest.approx(CEILING_PER_S)
    assert slow_down(pace, now=100.0).refused_at == 100.0


def refused_at(*instants_: float, pace: Pace = FRESH) -> Pace:
    for at in instants_:
        pace = slow_down(pace, now=at)
    return pace


def test_a_refusal_slows_down_once_a_second_however_many_come_back():
    pace = refused_at(*(10.0 + step * 0.04 for step in range(20)))
    assert pace.rate_at(10.0) == pytest.approx(CEILING_PER_S * LESS)


def test_a_first_refusal_leaves_what_scattered_arrivals_can_hold():
    """The most in a second of which the arrivals scatter over 80 ms: 25 gaps are 1.08 s."""
    assert refused_at(10.0).rate_at(10.0) <= 25 / 1.08


def test_a_lowered_rate_that_is_refused_as_well_is_lowered_much():
    """Somebody else uses the number too."""
    pace = refused_at(10.0)
    before = pace.rate_at(12.0)
    assert refused_at(12.0, pace=pace).rate_at(12.0) == pytest.approx(before * MUCH_LESS)


def test_it_never_comes_to_a_standstill():
    assert refused_at(*(2.0 * second for second in range(1, 100))).rate_at(198.0) == FLOOR_PER_S


def test_quiet_brings_the_rate_back_to_the_line_at_once_and_slowly_above_it():
    pace = refused_at(10.0, 12.0)
    assert pace.rate_at(12.0) < pace.line - 5
    assert pace.rate_at(12.0 + CLIMB_S) == pytest.approx(pace.line)
    assert pace.line < pace.rate_at(60.0) < pace.line * 1.03
    assert pace.rate_at(12.0 + 3600) == CEILING_PER_S


@given(st.lists(st.floats(0, 3000), min_size=1, max_size=12), st.floats(0, 4000), st.floats(0, 100))
def test_the_rate_only_rises_while_it_is_quiet_and_stays_in_its_bounds(refusals: list[float], after: float, later: float):
    pace = refused_at(*sorted(refusals))
    at = pace.refused_at + after
    assert FLOOR_PER_S <= pace.rate_at(at) <= pace.rate_at(at + later) <= CEILING_PER_S


def test_other_users_of_the_number_are_found_and_left_their_share():
    """360dialog takes 10 a second of ours: within a minute we send nearly that, and are refused once in a while."""
    pace, now, sent, refusals = FRESH, 0.0, [], []
    while now < 600:
        turn, pace = reserve(pace, now=now, ceiling=CEILING_PER_S)
        now = turn.at
        if sum(1 for at in sent[-10:] if at > now - 1.0) >= 10:
            pace = slow_down(pace, now=now)
            refusals.append(now)
        else:
            sent.append(now)
    assert sum(1 for at in sent if at > 60) / 540 >= 9.3
    assert sum(1 for at in refusals if at > 60) <= 540 / 10


def test_a_pause_that_360dialog_asks_for_is_kept_and_bounded():
    assert reserve(slow_down(FRESH, now=10.0, pause_until=40.0), now=11.0, ceiling=25)[0].at == 40.0
    assert reserve(slow_down(FRESH, now=10.0, pause_until=10**9), now=11.0, ceiling=25)[0].at == 910.0


def test_a_refusal_takes_back_what_was_given_before_it_and_its_instants_are_free_again():
    given_, pace = [], FRESH
    for _ in range(10):
        turn, pace = reserve(pace, now=100.0, ceiling=25)
        given_.append(turn)
    pace = slow_down(pace, now=100.1)
    assert not any(stands(turn, pace) for turn in given_)
    again, after = reserve(pace, now=100.15, ceiling=25)
    assert 100.1 < again.at < given_[4].at
    assert stands(again, after)


def test_a_pause_takes_back_what_would_leave_before_its_end():
    turn, pace = reserve(FRESH, now=100.0, ceiling=25)
    assert stands(turn, pace)
    assert not stands(turn, replace(pace, paused_until=130.0))
    assert stands(replace(turn, at=131.0), replace(pace, paused_until=130.0))


def test_a_clock_that_jumped_back_does_not_stop_the_uploads():
    """F69: instants of an hour ahead are let go; those of a minute are waited for."""
    assert reserve(Pace(3700.0), now=100.0, ceiling=25)[0].at == 100.0
    assert reserve(Pace(130.0), now=100.0, ceiling=25)[0].at == 130.0
    assert reserve(Pace(163.0, rate=0.5, line=0.5, refused_at=100.0), now=100.0, ceiling=0.5)[0].at == 163.0  # slow, in due form
    back = reserve(refused_at(3700.0), now=100.0, ceiling=25)[1]
    assert back.rate_at(130.0) > back.rate_at(100.0)  # quiet counts from now on


# --- GETs ---------------------------------------------------------------------------------------------------------


def spent(*at: float) -> list[Credit]:
    return [Credit(deadline=t, spent_at=t) for t in at]


def held(*until: float) -> list[Credit]:
    return [Credit(deadline=t) for t in until]


NOW = 10_000.0
ROWS = {
    "nothing on record": ([], 0.0, Open()),
    "three failed": (spent(9000, 9100, 9200), 0.0, Open()),
    "four failed: until the oldest leaves the hour": (spent(9000, 9100, 9200, 9300), 0.0, Closed(12600)),
    "five failed, one too many already: until two have left": (spent(9000, 9100, 9200, 9300, 9400), 0.0, Closed(12700)),
    "failures of more than an hour ago": (spent(6000, 6100, 6200, 6300), 0.0, Open()),
    "exactly an hour ago": (spent(6400, 9000, 9100, 9200), 0.0, Open()),
    "three under way": (held(10_010, 10_020, 10_030), 0.0, Open()),
    "four under way": (held(10_010, 10_020, 10_030, 10_040), 0.0, Full()),
    "two failed and two under way": (spent(9000, 9100) + held(10_010, 10_020), 0.0, Full()),
    "four failed and one under way": (spent(9000, 9100, 9200, 9300) + held(10_010), 0.0, Closed(12600)),
    "a dead holder's credit is spent from its deadline": (spent(9000, 9100, 9200) + held(9999), 0.0, Closed(12600)),
    "dead holders of two hours ago": (held(2000, 2000, 2000, 2000), 0.0, Open()),
    "a block": ([], 10_500.0, Closed(10_500)),
    "a block that has ended": ([], 9_999.0, Open()),
    "a block that ends before the budget is whole": (spent(9000, 9100, 9200, 9300), 10_500.0, Closed(10_500)),
}


@pytest.mark.parametrize(("on_record", "closed_until", "expected"), ROWS.values(), ids=ROWS.keys())
def test_one_more_get_may_be_risked(on_record: list[Credit], closed_until: float, expected: object):
    assert decide_retrieval(on_record, closed_until=closed_until, budget=STRICT, now=NOW) == expected


def test_the_documented_rule_leaves_eighteen():
    assert decide_retrieval(spent(*range(9000, 9017)), closed_until=0, budget=DOCUMENTED, now=NOW) == Open()
    assert decide_retrieval(spent(*range(9000, 9018)), closed_until=0, budget=DOCUMENTED, now=NOW) == Closed(12600)


# --- URLs of webhooks ---------------------------------------------------------------------------------------------


def by_url(credits_: list[Credit]) -> list[Credit]:
    return [replace(each, by_webhook_url=True) for each in credits_]


URL_ROWS = {
    "nothing on record": ([], 0.0, Open()),
    "one failed": (by_url(spent(9000)), 0.0, Open()),
    "two failed": (by_url(spent(9000, 9100)), 0.0, AskById()),
    "three failed, which no caller can have brought about": (by_url(spent(9000, 9100, 9200)), 0.0, AskById()),
    "two failed, of which one counts no longer": (by_url(spent(6400, 9100)), 0.0, Open()),
    "one under way": (by_url(held(10_010)), 0.0, Open()),
    "two under way: one may come back": (by_url(held(10_010, 10_020)), 0.0, Full()),
    "one failed and one under way": (by_url(spent(9000) + held(10_020)), 0.0, Full()),
    "two failed and one under way": (by_url(spent(9000, 9100) + held(10_020)), 0.0, AskById()),
    "one failed and one died": (by_url(spent(9000) + held(9999)), 0.0, AskById()),
    "two died two hours ago": (by_url(held(2000, 2000)), 0.0, Open()),
    "one died and one is under way": (by_url(held(9999, 10_010)), 0.0, Full()),
    "others failed": (spent(9000, 9100, 9200), 0.0, Open()),
    "others are under way": (held(10_010, 10_020, 10_030), 0.0, Open()),
    "one failed, and others": (by_url(spent(9000)) + spent(9100, 9200), 0.0, Open()),
    "one failed, and others are under way": (by_url(spent(9000)) + held(10_010, 10_020), 0.0, Open()),
    "the budget is spent": (by_url(spent(9000, 9100)) + spent(9200, 9300), 0.0, Closed(12600)),
    "the budget is spent by others": (spent(9000, 9100, 9200, 9300), 0.0, Closed(12600)),
    "every credit is held by others": (held(10_010, 10_020, 10_030, 10_040), 0.0, Full()),
    "two failed, and the rest is held": (by_url(spent(9000, 9100)) + held(10_010, 10_020), 0.0, AskById()),
    "a block": ([], 10_500.0, Closed(10_500)),
    "a block, and two failed": (by_url(spent(9000, 9100)), 10_500.0, Closed(10_500)),
}


@pytest.mark.parametrize(("on_record", "closed_until", "expected"), URL_ROWS.values(), ids=URL_ROWS.keys())
def test_one_more_url_of_a_webhook_may_be_tried(on_record: list[Credit], closed_until: float, expected: object):
    """Two may fail, for nobody says how long they live; the rest of the budget is for ids."""
    found = decide_retrieval(on_record, closed_until=closed_until, budget=STRICT, now=NOW, by_webhook_url=True)
    assert found == expected


@pytest.mark.parametrize(("on_record", "closed_until", "expected"), ROWS.values(), ids=ROWS.keys())
def test_what_urls_of_webhooks_have_used_up_counts_for_ids_like_any_other(
    on_record: list[Credit], closed_until: float, expected: object
):
    """No more and no less."""
    assert decide_retrieval(by_url(on_record), closed_until=closed_until, budget=STRICT, now=NOW) == expected


@pytest.mark.parametrize(("max_errors", "expected"), [(1, Closed(12600)), (2, Open()), (3, Open()), (18, Open())])
def test_a_small_budget_is_kept_for_urls_as_well(max_errors: int, expected: object):
    assert MOST_BY_WEBHOOK_URL == 2
    budget = Budget(max_errors, 3600.0, 3600.0)
    assert decide_retrieval(by_url(spent(9000)), closed_until=0, budget=budget, now=NOW, by_webhook_url=True) == expected


LEFT_ROWS = {
    "nothing on record": ([], 0.0, 4),
    "one failed": (spent(9000), 0.0, 3),
    "one under way": (held(10_010), 0.0, 3),
    "two failed and one under way": (spent(9000, 9100) + held(10_010), 0.0, 1),
    "a dead holder": (held(9999), 0.0, 3),
    "a holder that dies at this instant": (held(NOW), 0.0, 3),
    "dead holders of two hours ago": (held(2000, 2000), 0.0, 4),
    "failures of more than an hour ago": (spent(6000, 6100, 9000), 0.0, 3),
    "exactly an hour ago": (spent(6400), 0.0, 4),
    "all are under way": (held(10_010, 10_020, 10_030, 10_040), 0.0, 0),
    "all have failed": (spent(9000, 9100, 9200, 9300), 0.0, 0),
    "more than all": (spent(9000, 9100, 9200, 9300) + held(10_010, 10_020), 0.0, 0),
    "URLs of webhooks count alike": (by_url(spent(9000) + held(10_010)), 0.0, 2),
    "a block": ([], 10_500.0, 0),
    "a block that ends now": ([], NOW, 4),
}


@pytest.mark.parametrize(("on_record", "closed_until", "expected"), LEFT_ROWS.values(), ids=LEFT_ROWS.keys())
def test_so_many_more_gets_may_fail(on_record: list[Credit], closed_until: float, expected: int):
    """Those under way count as if they would."""
    assert credits_left(on_record, closed_until=closed_until, budget=STRICT, now=NOW) == expected


@pytest.mark.parametrize(("on_record", "closed_until", "expected"), ROWS.values(), ids=ROWS.keys())
def test_credits_are_left_exactly_while_one_more_get_may_be_risked(
    on_record: list[Credit], closed_until: float, expected: object
):
    left = credits_left(on_record, closed_until=closed_until, budget=STRICT, now=NOW)
    assert (left > 0) is (expected == Open())


@given(
    seed=st.integers(0, 10**6),
    budget=st.integers(1, 6),
    failing=st.floats(0, 1),
    dying=st.floats(0, 0.3),
)
def test_in_no_window_do_more_fail_than_the_budget(seed: int, budget: int, failing: float, dying: float):
    """Callers that come and go for hours, some killed in the middle: spent and held together never exceed the budget, in any hour.

    Nor do those of webhooks' URLs exceed their share.
    """
    rng, rule = random.Random(seed), Budget(budget, 3600.0, 3600.0)
    now, on_record, failures, by_webhooks = 0.0, [], [], []
    under_way: list[tuple[float, Credit]] = []
    for _ in range(300):
        now += rng.expovariate(1 / 40)
        for ends_at, credit in [each for each in under_way if each[0] <= now]:
            under_way.remove((ends_at, credit))
            dies = rng.random() < dying  # it failed at 360dialog, and nobody settles it
            if not dies:
                on_record.remove(credit)
            if dies or rng.random() < failing:
                failures.append(ends_at)
                by_webhooks += [ends_at] if credit.by_webhook_url else []
                on_record += [] if dies else [replace(credit, spent_at=now)]
        of_url = rng.random() < 0.5
        if decide_retrieval(on_record, closed_until=0.0, budget=rule, now=now, by_webhook_url=of_url) == Open():
            credit = Credit(deadline=now + 30.0, by_webhook_url=of_url)
            on_record.append(credit)
            under_way.append((now + rng.uniform(0, 25), credit))
        recent = [at for at in failures if at > now - 3600.0]
        assert len(recent) <= budget
        assert len([at for at in by_webhooks if at > now - 3600.0]) <= MOST_BY_WEBHOOK_URL
