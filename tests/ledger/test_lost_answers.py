"""The link to the ledger breaks when a transaction is committed and before that is known: who asks again gets what is theirs."""

from __future__ import annotations

import pytest

from airflow_provider_360dialog.ledger.decisions import LEASE_S
from airflow_provider_360dialog.ledger.ration import new_credit
from airflow_provider_360dialog.ledger.uploads import Busy, Claim
from tests.ledger.doubles import Worker, file_of, new_id, unsure

FILE = file_of()


@pytest.fixture
def worker(ledger):
    """One that claims `FILE`, and whose first answer is lost."""
    worker = Worker(ledger)
    first = worker.claim(FILE)
    assert isinstance(first, Claim)
    return worker


def test_a_claim_that_is_asked_for_again_is_the_same_and_counts_once(worker, ledger, store):
    """Nothing was sent under it; before, its own claimant waited until it lapsed, and it was counted as possibly lost."""
    claim = worker.claim(FILE)
    assert isinstance(claim, Claim)
    assert unsure(store, FILE) == 1
    assert ledger.uploads.complete(claim, FILE, new_id()) is not None
    assert unsure(store, FILE) == 0


def test_a_claim_that_is_asked_for_again_is_as_good_as_new(worker, ledger, clock):
    """The answer may have been lost for so long that its lease is nearly over, or is."""
    clock.advance(LEASE_S + 1)
    assert isinstance(worker.claim(FILE), Claim)
    clock.advance(LEASE_S - 1)
    assert isinstance(Worker(ledger).claim(FILE), Busy)


def test_a_claim_that_somebody_has_taken_over_is_not_given_again(worker, ledger, clock):
    clock.lapse()
    assert isinstance(Worker(ledger).claim(FILE), Claim)
    assert isinstance(worker.claim(FILE), Busy)


def test_a_credit_that_is_asked_for_again_is_held_once(ledger, clock):
    number = new_credit()
    assert ledger.ration.hold(for_s=60, number=number) == number
    clock.advance(50)
    assert ledger.ration.hold(for_s=60, number=number) == number
    clock.advance(50)
    assert ledger.ration.credits_left() == 3
    ledger.ration.give_back(number)
    assert ledger.ration.credits_left() == 4
