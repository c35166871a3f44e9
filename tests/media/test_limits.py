"""The limits table, and the words for types that are understood."""

import pytest

from airflow_provider_360dialog.media.limits import (
    BY_MIME_TYPE,
    EXTENSION_SLIPS,
    KINDS,
    LARGEST_MAX_BYTES,
    LIMITS,
    MIME_SLIPS,
    canonical_mime,
    extension_for,
    kind_of,
    render_limits_table,
    type_for_extension,
)
from tests.media.builders import BUILDERS


def test_every_row_of_the_limits_table_has_a_file_in_these_tests():
    assert len(LIMITS) == 18
    assert set(BUILDERS) == set(BY_MIME_TYPE)


def test_rows_are_consistent():
    assert len(BY_MIME_TYPE) == len(LIMITS)
    assert {limit.kind for limit in LIMITS} == set(KINDS)
    for limit in LIMITS:
        assert limit.warn_above_bytes < limit.max_bytes <= LARGEST_MAX_BYTES
        assert all(extension.startswith(".") and extension == extension.lower() for extension in limit.extensions)
        assert extension_for(limit.mime_type) == limit.extensions[0]
        assert kind_of(limit.mime_type) == limit.kind


def test_no_extension_belongs_to_two_types():
    extensions = [extension for limit in LIMITS for extension in limit.extensions]
    assert len(extensions) == len(set(extensions))


@pytest.mark.parametrize(
    ("mime_type", "max_bytes", "warn_above_bytes"),
    [
        ("image/jpeg", 5_242_880, 5_000_000),
        ("audio/ogg", 16_777_216, 16_000_000),
        ("video/3gpp", 16_777_216, 16_000_000),
        ("application/pdf", 104_857_600, 100_000_000),
        ("image/webp", 102_400, 100_000),
    ],
)
def test_limits_are_refused_at_the_binary_and_warned_at_the_decimal_reading(mime_type, max_bytes, warn_above_bytes):
    assert BY_MIME_TYPE[mime_type].bounds(animated=False) == (max_bytes, warn_above_bytes)


def test_an_animated_sticker_has_its_own_limit_and_nothing_else_has():
    assert BY_MIME_TYPE["image/webp"].bounds(animated=True) == (512_000, 500_000)
    assert BY_MIME_TYPE["image/png"].bounds(animated=True) == BY_MIME_TYPE["image/png"].bounds(animated=False)


def test_every_slip_leads_to_an_accepted_type_and_is_none_itself():
    assert set(MIME_SLIPS.values()) | set(EXTENSION_SLIPS.values()) <= set(BY_MIME_TYPE)
    assert not set(MIME_SLIPS) & set(BY_MIME_TYPE)


@pytest.mark.parametrize(
    ("word", "mime_type", "was_mended"),
    [
        ("video/3gp", "video/3gpp", True),
        ("audio/opus", "audio/ogg", True),
        ("image/jpg", "image/jpeg", True),
        ("audio/mp3", "audio/mpeg", True),
        ("audio/x-m4a", "audio/mp4", True),
        ("audio/ogg; codecs=opus", "audio/ogg", False),
        ("  Image/PNG ", "image/png", False),
        ("AUDIO/OPUS ; x=y", "audio/ogg", True),
        ("audio/3gpp", "audio/3gpp", False),
        ("image/gif", "image/gif", False),
        ("", "", False),
    ],
)
def test_a_word_for_a_type_is_read_as_its_writer_meant_it(word, mime_type, was_mended):
    assert canonical_mime(word) == (mime_type, was_mended)


@pytest.mark.parametrize(
    ("extension", "mime_type"),
    [(".jpeg", "image/jpeg"), (".acc", "audio/aac"), (".mp4", "video/mp4"), (".exe", None), ("", None)],
)
def test_type_for_extension(extension, mime_type):
    assert type_for_extension(extension) == mime_type


def test_types_that_are_not_accepted_have_no_kind_and_no_extension():
    assert kind_of("image/gif") is None
    assert extension_for("image/gif") is None


def test_the_rendered_table_has_one_line_per_row():
    lines = render_limits_table().splitlines()
    assert len(lines) == len(LIMITS) + 2
    assert "| sticker | `image/webp` | `.webp` | 100 KiB, animated 500 KiB | 100,000 bytes, animated 500,000 bytes |" in lines
    assert "| image | `image/jpeg` | `.jpg`, `.jpeg` | 5 MiB | 5,000,000 bytes |" in lines
