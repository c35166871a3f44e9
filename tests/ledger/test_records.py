"""Refused ids, verdicts on unchanged files, and what a ledger holds in numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger import sources as sources_module
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.statistics import ChannelStatistics, read_statistics
from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.ports import Problem, Verdict
from tests.jobs.doubles import JPEG
from tests.ledger.doubles import StampedSource, Worker, execute, file_of, gone, ledger_of, states, upload

# --- refused ids --------------------------------------------------------------------------------------------------


def test_a_refused_id_is_answered_for_from_then_on(ledger):
    """With what was said first, and how to ask all the same."""
    assert ledger.refused.look_up("1") is None
    ledger.refused.remember(gone("1"))
    ledger.refused.remember(gone("1", status=404, details="later words"))
    found = ledger.refused.look_up("1")
    assert (found.media_id, found.status, found.code, found.operation) == ("1", 400, 100, "fetch")
    assert "no such object" in found.details
    assert "ask_again=True" in found.details
    assert not found.retryable


def test_a_refusal_without_words(ledger):
    """Status and nothing else."""
    ledger.refused.remember(gone("1", code=None, details=""))
    assert ledger.refused.look_up("1").details.startswith("answered from the ledger")


def test_an_id_that_answers_after_all_is_not_refused_any_more(ledger):
    """And only that one."""
    for media_id in ("1", "2"):
        ledger.refused.remember(gone(media_id))
    ledger.refused.forget("1")
    assert ledger.refused.look_up("1") is None
    assert ledger.refused.look_up("2") is not None


def test_another_numbers_refusals_say_nothing(store, ledger):
    """An id may be unknown here and known there."""
    ledger.refused.remember(gone("1"))
    assert ledger_of(store, "100000000000002").refused.look_up("1") is None


def test_what_is_gone_or_deleted_is_refused_and_answers_for_no_file(store, ledger):
    """Whether the ledger knew the id or not."""
    for media_id, content in (("1", "a"), ("2", "b")):
        upload(ledger, file_of(content), media_id)
    ledger.is_gone(gone("1"))
    ledger.is_deleted("2")
    ledger.is_gone(gone("3"))
    assert states(store) == {"1": schema.GONE, "2": schema.DELETED}
    assert [ledger.state_of(each) for each in "123"] == [schema.GONE, schema.DELETED, None]
    assert all(ledger.refused.look_up(each) is not None for each in "123")
    assert ledger.uploads.adopt(file_of("a")) is None


# --- verdicts -----------------------------------------------------------------------------------------------------

VERDICT = Verdict("image", "image/jpeg", "photo.jpg", 5, "ab" * 32, (Problem("odd", "warning", "It is odd.", "Mend it."),))
SAID = {"mime_type": None, "filename": None, "kind": None}


@pytest.fixture
def sources(ledger):
    ledger.sources.remember("file:///a", "stamp", VERDICT, **SAID)
    return ledger.sources


def test_an_unchanged_file_keeps_its_verdict_with_all_its_warnings(sources):
    """Equal in every field."""
    assert sources.recall("file:///a", "stamp", **SAID) == VERDICT


@pytest.mark.parametrize(
    ("uri", "stamp", "said"),
    [
        pytest.param("file:///a", "another", {}, id="it has changed"),
        pytest.param("file:///b", "stamp", {}, id="another file"),
        pytest.param("file:///a", "stamp", {"mime_type": "image/png"}, id="another type is said"),
        pytest.param("file:///a", "stamp", {"filename": "x.jpg"}, id="another name is said"),
        pytest.param("file:///a", "stamp", {"kind": "document"}, id="another kind is said"),
    ],
)
def test_everything_else_is_judged_anew(uri, stamp, said, sources):
    """The caller's words are part of the question."""
    assert sources.recall(uri, stamp, **SAID | said) is None


def test_a_changed_file_replaces_its_verdict(sources):
    """One row a file, and the old stamp means nothing any more."""
    later = replace(VERDICT, size_bytes=6)
    sources.remember("file:///a", "later", later, **SAID)
    assert sources.recall("file:///a", "later", **SAID) == later
    assert sources.recall("file:///a", "stamp", **SAID) is None


def test_new_rules_judge_every_file_anew(sources, monkeypatch):
    """A raised number forgets all verdicts."""
    monkeypatch.setattr(sources_module, "_JUDGEMENT", sources_module._JUDGEMENT + 1)
    assert sources.recall("file:///a", "stamp", **SAID) is None


def test_a_verdict_can_be_forgotten(sources):
    """Its bytes turned out to be others."""
    sources.forget("file:///a", **SAID)
    assert sources.recall("file:///a", "stamp", **SAID) is None


def test_real_verdicts_survive(ledger):
    """As the judge gives them, also with names that are no Unicode."""
    verdict = inspect(StampedSource(JPEG), mime_type=None, filename=None, kind=None)
    ledger.sources.remember("file:///\udcff", "1", verdict, **SAID)
    assert ledger.sources.recall("file:///\udcff", "1", **SAID) == verdict


def test_paths_are_not_in_the_ledger(sources, url):
    """They may name customers."""
    sources.remember("file:///tmp/jane-doe.jpg", "1", VERDICT, **SAID)
    assert "jane-doe" not in str(execute(url, "SELECT * FROM d360_source"))


# --- numbers ------------------------------------------------------------------------------------------------------


def test_an_empty_ledger_has_no_channels(store):
    """And that is no error."""
    assert read_statistics(store) == []


def test_everything_is_counted_once(store, ledger, clock):
    """Two channels, every state, a running lease, a lapsed one, a possible orphan."""
    for i in range(3):
        upload(ledger, file_of(f"{i}"), f"{i}")
        clock.advance(10)
    upload(ledger, file_of("0"), "10")
    ledger.is_deleted("1")
    lost = Worker(ledger).claim(file_of("lost"))
    clock.lapse()
    Worker(ledger).claim(file_of("running"))
    ledger.uploads.discard(Worker(ledger).claim(file_of("wrong")), "11")
    other = ledger_of(store, "100000000000002")
    Channels(store).freeze(other.identity, "moved")
    assert lost.fence == 1
    assert read_statistics(store) == [
        ChannelStatistics(
            phone_number_id="100000000000001",
            frozen=False,
            media={schema.CURRENT: 2, schema.RETIRING: 1, schema.DELETED: 1, schema.SURPLUS: 1},
            uploading=1,
            orphan_possible=1,
            refused=1,
            soonest_end_s=29 * 86_400.0 - 131,  # of file 2, which was uploaded 10 + 121 seconds ago
        ),
        ChannelStatistics("100000000000002", True, {}, 0, 0, 0, None),
    ]
