"""Numbers, instants and verdicts as the media page words them, and as long as it draws them."""

from __future__ import annotations

import pytest

from airflow_provider_360dialog.jobs.report import size_words
from airflow_provider_360dialog.ledger.bounded import Count
from airflow_provider_360dialog.ledger.progress import Progress
from airflow_provider_360dialog.ledger.views import CampaignOverview
from airflow_provider_360dialog.ui.chart import bars, parts
from airflow_provider_360dialog.ui.pages import count_words, duration_words, verdict

NOW, HOUR_S = 1_800_000_000.0, 3600.0


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (Count(0), "0"),
        (Count(1_234_567), "1,234,567"),
        (Count(20_000, "at_least"), "more than 20,000"),
        (Count(893_590, "about"), "about 894,000"),
        (Count(43, "about"), "about 43"),
    ],
)
def test_a_count_says_how_well_it_is_known(count, words):
    assert count_words(count) == words


def test_an_estimate_of_bytes_is_no_more_exact_than_one_of_items():
    assert count_words(Count(8_612_364_250, "about"), size_words) == "about 8.6 GB"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.2, "1 s"),
        (89, "89 s"),
        (90, "2 min"),
        (61 * 60, "61 min"),
        (90 * 60, "1 h 30 min"),
        (7200, "2 h"),
        (50 * HOUR_S, "2 d 2 h"),
        (72 * HOUR_S, "3 d"),
    ],
)
def test_what_is_still_to_come_is_never_told_shorter_than_it_is(seconds, words):
    assert duration_words(seconds) == words


def campaign(*, done=0, left=0, rejected=0, sure="exact", planned=True, needed_in_s=HOUR_S, eta_s=60.0):
    """One that stands so."""
    counts = (Count(done + left + rejected), Count(rejected), Count(done, sure), Count(left, sure), Count(left), Count(0))
    facts = {"row": 1, "name": "n", "version": 0, "good_until": 0.0, "safe_until": None, "safe_until_is_exact": False}
    return CampaignOverview(
        **facts,
        needed_until=NOW + needed_in_s,
        planned_at=NOW if planned else None,
        progress=Progress(*counts),
        eta_s=eta_s,
        channels=(),
        has_all_channels=True,
    )


@pytest.mark.parametrize(
    ("stands", "kind", "words"),
    [
        ({"done": 3}, "good", "Ready."),
        ({"done": 3, "rejected": 1}, "warn", "Ready, but for"),
        ({"done": 3, "sure": "about"}, "good", "As far as a sample shows"),
        ({"done": 3, "left": 1}, "warn", "Not ready: 60 s of uploads are left."),
        ({"left": 1, "eta_s": HOUR_S - 1}, "warn", "Not ready: 60 min"),
        ({"left": 1, "eta_s": HOUR_S + 1}, "bad", "Too late: 61 min"),
        ({"left": 1, "eta_s": None}, "bad", "It cannot become ready"),
        ({"left": 1, "planned": False}, "warn", "It is being planned"),
        ({}, "warn", "It has no items."),
        ({"left": 1, "needed_in_s": 0}, "none", "It has ended."),
    ],
)
def test_a_campaign_gets_one_verdict(stands, kind, words):
    found, sentence = verdict(campaign(**stands), NOW)
    assert found == kind
    assert sentence.startswith(words)


def test_what_is_not_nothing_is_seen():
    """One among a hundred thousand as well; and nothing is nothing."""
    drawn = bars([Count(0), Count(1), Count(50_000), Count(100_000)], height=60)
    assert [(bar.start, bar.length) for bar in drawn] == [(60, 0), (58, 2), (30, 30), (0, 60)]
    behind = parts([Count(99_999), Count(0), Count(1)], width=1000)
    assert [(bar.start, bar.length) for bar in behind] == [(0, 999), (999, 0), (999, 2)]
    assert [bar.length for bar in bars([Count(0)] * 3, height=60) + parts([], width=9)] == [0, 0, 0]
