"""The windows, proved with instants instead of waiting."""

from __future__ import annotations

import pytest

from airflow_provider_360dialog.emulator.limits import ErrorThrottle, SlidingWindow, UploadLimit
from airflow_provider_360dialog.emulator.settings import POLICIES, Profile, Settings


def admitted(instants, posts_per_s=25):
    limit = UploadLimit()
    return [limit.admit(at, posts_per_s) for at in instants]


@pytest.mark.parametrize(
    ("instants", "refused"),
    [
        pytest.param([0.0] * 25, 0, id="25 at once pass"),
        pytest.param([0.0] * 26, 1, id="the 26th at once is refused"),
        pytest.param([0.0] * 25 + [0.999999], 1, id="the 26th just inside the second is refused"),
        pytest.param([0.0] * 25 + [1.0], 0, id="the 26th after exactly a second passes"),
        pytest.param([i * 0.0401 for i in range(200)], 0, id="an even pace of 25 passes for ever"),
        pytest.param([0.5] * 25 + [1.1] * 25, 25, id="two bursts across a calendar second are one second"),
        pytest.param([0.0] * 25 + [0.5] * 99 + [1.0] * 25, 99, id="refused uploads take no place"),
    ],
)
def test_upload_limit(instants, refused):
    """No 26 uploads are accepted within any 1.000 s."""
    assert admitted(instants).count(False) == refused


def test_highest_second_counts_refused_arrivals_too():
    """What the client sent is told apart from what was accepted."""
    limit = UploadLimit()
    for _ in range(40):
        limit.admit(5.0, 25)
    assert (limit.arrived.highest, limit.accepted.highest) == (40, 25)


@pytest.mark.parametrize(
    ("profile", "last_open", "block_s"),
    [
        pytest.param(Profile.DOCUMENTED, 19, 1800, id="20 failures shut it for 30 minutes"),
        pytest.param(Profile.STRICT, 5, 3600, id="more than 5 failures shut it for 60 minutes"),
    ],
)
def test_error_throttle_shuts_and_opens(profile, last_open, block_s):
    """The profile's count shuts retrieval for the profile's time, to the microsecond."""
    throttle = ErrorThrottle(POLICIES[profile])
    for _ in range(last_open):
        throttle.fail(100.0)
    assert not throttle.is_blocked(100.0)
    throttle.fail(101.0)
    assert throttle.blocks == 1
    assert throttle.is_blocked(101.0 + block_s - 1e-6)
    assert throttle.retry_after_s(101.0) == block_s
    assert not throttle.is_blocked(101.0 + block_s)


@pytest.mark.parametrize(("gap_s", "blocked"), [(3599.9 / 5, True), (3600.0 / 5, False)])
def test_error_throttle_window_slides(gap_s, blocked):
    """A failure that is exactly an hour old does not count any more."""
    throttle = ErrorThrottle(POLICIES[Profile.STRICT])
    for index in range(6):
        throttle.fail(index * gap_s)
    assert throttle.is_blocked(5 * gap_s) is blocked


def test_window_remembers_its_highest():
    """The most that ever stood in the window survives it."""
    window = SlidingWindow(10)
    for at in (0, 1, 2, 50):
        window.add(at)
    assert (window.count(50), window.highest) == (1, 3)


@pytest.mark.parametrize("changes", [{"profile": "x"}, {"error_shape": "Z"}, {"posts_per_s": 0}, {"jitter_s": -1}])
def test_settings_refuse_nonsense(changes):
    """A wrong value is refused at once."""
    with pytest.raises(ValueError, match=r".+"):
        Settings(**changes)


@pytest.mark.parametrize(
    ("profile", "chosen", "counts"),
    [("documented", None, False), ("strict", None, True), ("documented", True, True), ("strict", False, False)],
)
def test_failed_downloads_count_as_the_profile_says_unless_chosen(profile, chosen, counts):
    """Strict counts failed downloads, documented does not, the switch wins."""
    assert Settings(profile=profile, count_failed_downloads=chosen).policy.counts_downloads is counts
