"""The pure decisions, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.ledger.decisions import (
    MEDIA_LIFE_S,
    SAFETY_MARGIN_S,
    Claimant,
    Lease,
    Reuse,
    Upload,
    Wait,
    decide,
    safe_until_of,
)

NOW = 1000.0
NOBODY = None
LIVE = Lease("other", "t", 1, 1060.0)
LAPSED = Lease("other", "t", 1, 1000.0)
STRANGER = Claimant("me")


@pytest.mark.parametrize(
    ("safe_until", "lease", "claimant", "reuse", "expected"),
    [
        pytest.param(None, NOBODY, STRANGER, True, Upload(), id="nothing is there: upload"),
        pytest.param(2000.0, NOBODY, STRANGER, True, Reuse(), id="an id is safe until just then: it answers"),
        pytest.param(1999.9, NOBODY, STRANGER, True, Upload(), id="an id ends a moment too early: upload"),
        pytest.param(2000.0, NOBODY, STRANGER, False, Upload(), id="an id may not answer: upload"),
        pytest.param(2000.0, LIVE, STRANGER, True, Reuse(), id="an id is safe and somebody refreshes it: it answers"),
        pytest.param(None, LIVE, STRANGER, True, Wait(1060.0), id="somebody uploads: wait for their lease"),
        pytest.param(1999.9, LIVE, STRANGER, True, Wait(1060.0), id="an id ends too early and somebody uploads: wait"),
        pytest.param(2000.0, LIVE, STRANGER, False, Wait(1060.0), id="an id may not answer and somebody uploads: wait"),
        pytest.param(None, LAPSED, STRANGER, True, Upload(), id="a lease ends now: upload, and nothing is stolen"),
        pytest.param(None, LAPSED, Claimant("me", "t", 2), True, Upload(), id="a lapsed lease of an earlier try: not stolen"),
        pytest.param(None, LIVE, Claimant("me", "t", 2), True, Upload(stolen=True), id="a higher try of the task: steal"),
        pytest.param(None, LIVE, Claimant("me", "t", 1), True, Wait(1060.0), id="the same try, another process: wait"),
        pytest.param(None, LIVE, Claimant("me", "u", 2), True, Wait(1060.0), id="another task: wait"),
        pytest.param(
            None, Lease("other", None, 0, 1060.0), Claimant("me", None, 5), True, Wait(1060.0), id="no task on either side: wait"
        ),
        pytest.param(
            None, Lease("other", None, 0, 1060.0), Claimant("me", "t", 5), True, Wait(1060.0), id="a holder without a task: wait"
        ),
        pytest.param(2000.0, LIVE, Claimant("me", "t", 2), True, Reuse(), id="a higher try, but an id answers: nothing to steal"),
    ],
)
def test_decision(safe_until, lease, claimant, reuse, expected):
    """One rule a row; 2000 is wanted at 1000."""
    decided = decide(safe_until=safe_until, lease=lease, claimant=claimant, wanted_until=2000.0, now=NOW, reuse=reuse)
    assert decided == expected


tasks = st.sampled_from([None, "t", "u"])
tries = st.integers(0, 3)
instants = st.floats(0, 4000)


@given(
    safe_until=st.none() | instants,
    lease=st.none() | st.builds(Lease, st.just("other"), tasks, tries, instants),
    claimant=st.builds(Claimant, st.just("me"), tasks, tries),
    wanted_until=instants,
    now=instants,
    reuse=st.booleans(),
)
def test_rules_that_hold_always(*, safe_until, lease, claimant, wanted_until, now, reuse):
    """Whatever the state."""
    decided = decide(safe_until=safe_until, lease=lease, claimant=claimant, wanted_until=wanted_until, now=now, reuse=reuse)
    live = lease is not None and lease.until > now
    match decided:
        case Reuse():
            assert reuse
            assert safe_until >= wanted_until
        case Wait(until):
            assert live
            assert until == lease.until > now
        case Upload(stolen):
            assert stolen is live
            if live:
                assert claimant.task == lease.task is not None
                assert claimant.try_number > lease.try_number


@pytest.mark.parametrize(
    ("used_at", "trust", "counted_from"),
    [
        (None, False, 100.0),
        (None, True, 100.0),
        (500.0, False, 100.0),
        (500.0, True, 500.0),
        (50.0, True, 100.0),
    ],
)
def test_safe_until(used_at, trust, counted_from):
    """30 days less 24 hours; a use counts only where that is trusted, and never shortens."""
    assert safe_until_of(100.0, used_at, trust_last_use=trust) == counted_from + MEDIA_LIFE_S - SAFETY_MARGIN_S
    assert MEDIA_LIFE_S - SAFETY_MARGIN_S == 29 * 86_400
