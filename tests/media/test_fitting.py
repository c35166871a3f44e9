"""The search for the best setting that fits, over encoders that are formulas."""

import math

import pytest

from airflow_provider_360dialog.media.preparation.fitting import Dial, Fitting, TooLargeError

QUALITY = Dial(range(80, 96), lambda quality: -math.log(200 - 2 * quality), slope=0.65, patience=2)
SCALE = Dial(range(1, 1000), lambda scale: 2 * math.log(scale), slope=0.8, patience=5)


def encoder(full, slope, dial, asked):
    """A result that grows with the weight of a setting, and a little of its own will."""

    def encode(setting):
        asked.append(setting)
        size = full * math.exp(slope * (dial.weigh(setting) - dial.weigh(dial.settings.stop - 1)))
        return bytes(int(size * (1 + 0.01 * math.sin(setting))))

    return encode


@pytest.mark.parametrize("slope", [0.4, 0.65, 0.9])
@pytest.mark.parametrize("share", [0.99, 0.9, 0.75, 0.6])
def test_the_best_quality_that_fits_is_found(slope, share):
    """With what the highest one makes known, as after a first encode; one more would not fit, or nothing is left to be gained."""
    asked = []
    encode = encoder(1_000_000, slope, QUALITY, asked)
    limit = int(1_000_000 * share)
    fits = [quality for quality in QUALITY.settings if len(encode(quality)) <= limit]
    asked.clear()
    found = Fitting(limit, 4).search(encode, QUALITY, known=(95, 1_000_000))
    if not fits:
        assert found is None
        assert asked[-1] == 80
        assert len(asked) <= 3
    else:
        assert found.setting == fits[-1] or len(found.data) >= 0.97 * limit
        assert len(found.data) <= limit
        assert len(asked) <= 4


@pytest.mark.parametrize("slope", [0.6, 0.8, 1.0, 1.2])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.02])
@pytest.mark.parametrize("encodes", [2, 3, 4])
def test_a_scale_comes_close_to_the_limit_from_below(slope, share, encodes):
    asked = []
    fitting = Fitting(int(1_000_000 * share), encodes)
    found = fitting.search(encoder(1_000_000, slope, SCALE, asked), SCALE, known=(1000, 1_000_000))
    assert fitting.max_bytes * (0.8 if encodes > 2 else 0.3) <= len(found.data) <= fitting.max_bytes
    assert fitting.encodes == len(asked) <= encodes


def test_the_last_hope_is_aimed_low():
    """Where the guess at the slope is a little wrong, one encode has to do."""
    encode = encoder(1_000_000, 0.75, SCALE, [])
    found = Fitting(500_000, 1).search(encode, SCALE, known=(1000, 1_000_000))
    assert 0.8 * 500_000 < len(found.data) <= 500_000


def test_without_anything_known_the_highest_setting_comes_first():
    asked = []
    found = Fitting(1_000_000, 5).search(encoder(500_000, 0.65, QUALITY, asked), QUALITY)
    assert (found.setting, asked) == (95, [95])


def test_no_more_is_encoded_than_is_allowed():
    asked = []
    fitting = Fitting(100, 5)
    assert fitting.search(lambda setting: asked.append(setting) or bytes(101), SCALE, known=(1000, 101)) is None
    assert fitting.encodes == len(asked) == 5
    assert fitting.search(lambda setting: bytes(10), SCALE) is None
    assert fitting.smallest_bytes == 101


def test_the_lowest_setting_is_the_last_that_is_tried():
    asked = []
    fitting = Fitting(100, 5)
    assert fitting.search(lambda setting: asked.append(setting) or bytes(1000 + setting), QUALITY) is None
    assert asked == [95, 80]
    assert fitting.smallest_bytes == 1080
    asked.clear()
    assert Fitting(100, 5).search(lambda setting: asked.append(setting) or bytes(101), QUALITY) is None
    assert asked == [95, 94, 80]


def test_without_a_limit_everything_fits():
    assert Fitting(0, 5).fits(bytes(10**6))
    assert [Fitting(10, 5).fits(bytes(n)) for n in (10, 11)] == [True, False]


def test_the_failure_says_its_numbers():
    assert str(TooLargeError(5_242_880, 5)) == "it does not fit into 5,242,880 bytes after 5 encodes"
