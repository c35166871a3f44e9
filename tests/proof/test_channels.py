"""The proof of many channels at small size, and its own guards; how fast is for `scripts/proof`: a busy machine says little."""

from __future__ import annotations

import time
import urllib.request

import pytest

from benchmarks import channels
from benchmarks.answering import answering, key_of, number_of


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_workers_upload_a_campaign_on_many_channels_and_what_an_upload_costs_is_told(engine):
    found = channels.run(channels=6, processes=2, channels_each=2, seconds=3, cores=0, files=150, warm_s=1.0, at_least_per_s=0)
    assert found["uploads"] > 0, found
    assert not found["errors"]
    assert not found["ran_dry"]
    assert found["uploaded_twice"] == 0
    assert found["channels_served"] >= 4
    assert min(found["each_costs"][name] for name in ("workers_cpu_ms", "postgresql_cpu_ms", "transactions", "wal_bytes")) > 0


def test_seconds_over_the_line_are_counted_on_each_channel_by_itself():
    at_the_line = [index / 24.5 for index in range(50)]
    assert channels._over_the_line([at_the_line, at_the_line]) == {"most_in_a_second": 25, "seconds_over_the_line": 0.0}
    one_more = [*at_the_line, at_the_line[-1]]
    assert channels._over_the_line([one_more]) == {"most_in_a_second": 26, "seconds_over_the_line": round(1 / 51, 5)}
    assert channels._over_the_line([[]]) == {"most_in_a_second": 0, "seconds_over_the_line": 0.0}


def test_the_server_that_answers_knows_its_numbers_and_notes_what_came_and_when():
    """A body in several pieces too."""
    with answering(numbers=2, service_s=0.0) as server:
        base_url, before = server.emulated.base_url, time.monotonic()
        body = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n' + bytes(300_000)
        headers = {"D360-API-KEY": key_of(2), "Content-Type": "multipart/form-data; boundary=x"}
        for _ in range(2):
            with urllib.request.urlopen(urllib.request.Request(f"{base_url}/media", body, headers), timeout=10) as answer:
                assert b'"id"' in answer.read()
        health = urllib.request.Request(f"{base_url}/health_status", headers={"D360-API-KEY": key_of(1)})
        with urllib.request.urlopen(health, timeout=10) as answer:
            assert number_of(1) in answer.read().decode()
        first, second = server.arrivals()
        assert first == []
        assert [name for _, name in second] == ["a.pdf", "a.pdf"]
        assert before <= second[0][0] <= second[1][0] <= time.monotonic()
