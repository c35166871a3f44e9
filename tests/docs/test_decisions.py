"""The pages of decisions have one form, and their figures and those of the pages on scale and security are the code's."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.hooks.campaigns import MAX_BYTES_IN_FLIGHT
from airflow_provider_360dialog.jobs import archive, campaign
from airflow_provider_360dialog.ledger import host, rules, store
from tests.docs.pages import CHECKOUT, between, headings, links, read, section

FOLDER = CHECKOUT / "docs" / "decisions"
INDEX = FOLDER / "index.md"
DECISIONS = sorted(set(FOLDER.glob("*.md")) - {INDEX})
PARTS = ["Context", "Decision", "Consequences", "What would change our mind"]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_four_parts_and_is_short(page):
    text = read(page)
    assert headings(text, 2) == PARTS
    assert len(headings(text, 1)) == 1
    assert len(text.splitlines()) <= 50


def test_every_decision_is_in_the_table_and_in_the_tree():
    assert len(DECISIONS) > 10
    named = [target for page, target in links() if page == INDEX and "/" not in target]
    assert sorted(named) == sorted(2 * [page.name for page in DECISIONS])


def test_the_figures_of_the_pace_are_those_that_hold():
    text = read("decisions/pace.md")
    assert f"25 / 1.02 =\n  {rules.CEILING_PER_S:.2f} a second" in text
    assert f"up to {rules.USE_BY_S * 1000:.0f} ms after its instant" in text
    assert f"costs little ({1 - rules.LESS:.0%})".replace("%", " %") in text
    assert f"costs much ({1 - rules.MUCH_LESS:.0%})".replace("%", " %") in text
    assert rules.CLIMB_S == 10
    assert "Ten quiet seconds" in text
    assert f"12,000 / {rules.CEILING_PER_S:.2f} = {12_000 / rules.CEILING_PER_S:.0f} s" in text
    assert f"one instant, {1000 / rules.CEILING_PER_S:.0f} ms" in text


def test_the_connections_to_the_database_are_those_of_the_engine():
    text = section("scale.md", "Connections to the database")
    pool = store._new_postgres(sa.make_url("postgresql+psycopg://nobody@localhost/nothing")).pool
    assert f"a pool of {pool.size()} connections" in text
    assert f"up to {pool._max_overflow} more" in text
    most = pool.size() + pool._max_overflow
    assert f"40 x {most} = {40 * most}" in text
    assert f"40 x {pool.size()} = {40 * pool.size()}" in text
    assert f"up to {most} for each process" in read("scale.md")


def test_the_arithmetic_on_paper_is_right():
    text = section("scale.md", "On paper beyond")
    month_s = 30 * 86_400
    for told in (
        f"| 10^8 / (30 x 86,400 s) | {1e8 / month_s:.1f} |",
        f"10,000 / {rules.CEILING_PER_S:.2f} per s | {1e4 / rules.CEILING_PER_S:.0f} s a month",
        f"| {1e8 / 30 / 3600:.0f} a second, on at least 926 / {rules.CEILING_PER_S:.2f} = {926 / rules.CEILING_PER_S + 0.5:.0f} numbers",
        f"{1e4 / 3600:.1f} CPU-hours a day",
        f"{1e8 * 800 / 1e9:.0f} GB",
        f"with 2 GETs of 0.5 s each (assumed) | {archive._HANDS} a second",
        f"are {926 * 0.2:.0f} MB a second",
    ):
        assert told in text
    assert f"{1e4 * 0.020:.0f} s before the first file" in text
    assert MAX_BYTES_IN_FLIGHT == 64 << 20
    assert "`max_bytes_in_flight` (64 MiB)" in read("scale.md")


def test_other_figures_are_those_of_the_code():
    assert f"up to {campaign._MOST_HANDS}." in read("decisions/map-over-channels.md")
    assert f"{campaign._MOST_HANDS} at most" in read("decisions/requests.md")
    assert host.ACTIVE_S == 300
    assert "within five minutes" in read("decisions/sqlite-on-one-host.md")
    credits_ = read("decisions/credits-before-a-get.md")
    assert f"{rules.STRICT.max_errors} failures in {rules.STRICT.window_s / 60:.0f} minutes" in credits_
    assert f"{rules.DOCUMENTED.max_errors} of 20, {rules.DOCUMENTED.block_s / 60:.0f} minutes" in credits_


def test_there_is_a_place_for_measured_costs():
    """Whoever measures writes between the two marks."""
    assert between("scale.md", "fleet")
