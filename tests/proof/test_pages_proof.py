"""The proof of what people look at, at small size; `scripts/proof page` runs the same function at full size."""

from __future__ import annotations

from benchmarks import pages


def test_every_page_and_the_status_are_asked_for_and_answer(engine):
    """On a ledger with something of everything; nothing is timed here."""
    found = pages.run(engine=engine, rows=2_000, repeats=1)
    assert found["holds"], found
    asked = found[engine]["ms"]
    assert set(asked) >= {"channels", "campaigns", "the large campaign", "inbound", "status"}
    assert all(each["bytes"] > 1_000 for each in asked.values()), asked
