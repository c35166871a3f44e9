"""The limits over the wire, with the movable clock."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(("profile", "failures", "block_s"), [("documented", 20, 1800), ("strict", 6, 3600)])
def test_failed_gets_shut_retrieval_but_nothing_else(channel, profile, failures, block_s):
    """After the profile's failures a good id is refused, uploads and downloads are not, until the block is over."""
    channel.emu.configure(profile=profile)
    media_id = channel.new_id()
    url = channel.media_url(media_id)
    for _ in range(failures - 1):
        channel.fetch("1")
    assert channel.fetch(media_id).status_code == 200
    channel.fetch("not-a-number")
    assert channel.fetch(media_id).status_code == 429
    assert channel.upload().status_code == 200
    assert channel.session.get(url, timeout=10).status_code == 200
    channel.emu.advance(block_s - 5)
    assert channel.fetch(media_id).status_code == 429
    channel.emu.advance(5)
    assert channel.fetch(media_id).status_code == 200
    counters = channel.counters()
    assert counters["failed_gets"] == failures + 2
    assert (counters["blocked_gets"], counters["blocks"]) == (2, 1)
    assert counters["max_failed_gets_per_hour"] >= failures + 1


def test_block_is_of_one_number(channel, other):
    """Another number is not affected."""
    for _ in range(20):
        channel.fetch("1")
    assert channel.fetch("1").status_code == 429
    assert other.fetch(other.new_id()).status_code == 200


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        ("429", 429, "Too many"),
        ("429_retry_after", 429, "Too many"),
        ("400", 400, "exceeded the endpoint rate limit"),
        ("403", 403, "limit exceeded"),
    ],
)
def test_blocked_answer_is_selectable(channel, answer, status, says):
    """Four ways of saying no; only one names the time."""
    channel.emu.configure(blocked_answer=answer)
    for _ in range(20):
        channel.fetch("1")
    response = channel.fetch("1")
    assert response.status_code == status
    assert says in response.json()["error"]
    has_time = "retry-after" in response.headers
    assert has_time is (answer == "429_retry_after")
    assert not has_time or 1795 <= int(response.headers["retry-after"]) <= 1801


@pytest.mark.parametrize(("extend", "status"), [(True, 429), (False, 200)])
def test_request_during_a_block_extends_it_if_told_so(channel, extend, status):
    """With the switch, asking too early starts the block anew."""
    channel.emu.configure(extend_block=extend)
    media_id = channel.new_id()
    for _ in range(20):
        channel.fetch("1")
    channel.emu.advance(1700)
    channel.fetch(media_id)
    channel.emu.advance(200)
    assert channel.fetch(media_id).status_code == status


@pytest.mark.parametrize(("counts", "status"), [(True, 429), (False, 200)])
def test_failed_downloads_count_if_told_so(channel, counts, status):
    """The unknown of the real service is a switch."""
    channel.emu.configure(count_failed_downloads=counts)
    media_id = channel.new_id()
    dead = f"{channel.url}/whatsapp_business/attachments/?mid={media_id}&ext=1&hash=AT"
    for _ in range(20):
        assert channel.session.get(dead, timeout=10).status_code == 404
    assert channel.fetch(media_id).status_code == status


def test_every_status_from_400_on_is_a_failure(channel):
    """A 500 by a fault spends as a 400 does; a cut connection answers nothing and spends nothing."""
    channel.arm("error", operation="fetch", status=500)
    channel.arm("unauthorized", operation="fetch")
    for _ in range(2):
        channel.fetch("1")
    assert channel.counters()["failed_gets"] == 2


def test_26th_upload_of_a_second_is_refused(channel):
    """Over the wire: the surplus of a burst gets 429 and is counted."""
    channel.emu.configure(posts_per_s=3)
    statuses = [channel.upload().status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    counters = channel.counters(with_times=True)
    assert counters["refused_by_pace"] == 2
    assert (counters["max_posts_per_s"], counters["max_accepted_posts_per_s"]) == (5, 3)
    assert counters["post_times_s"] == sorted(counters["post_times_s"])
    assert len(counters["post_times_s"]) == 5


def test_service_time_and_jitter_delay_an_upload(channel):
    """The answer comes after the service time; the arrival is counted after the jitter."""
    channel.emu.configure(service_s=0.1, jitter_s=0.01)
    assert channel.upload().elapsed.total_seconds() >= 0.1
