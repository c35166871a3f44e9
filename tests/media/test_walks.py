"""A look into a file that passes by."""

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.media.walks import LARGEST_RANGE_BYTES, Passing, Range, walk_over

BLOCK = bytes(range(256)) * 1024  # 256 KiB
CONTENT = random.Random(5).randbytes(1000)


def asks_for(*ranges):
    """A walk that asks for these ranges, and finds what it was sent for each."""
    pieces = []
    for each in ranges:
        piece = yield Range(*each)
        pieces += [piece]
    return pieces


def feed(walk, content, block_bytes):
    passing = Passing(walk)
    for start in range(0, len(content), block_bytes):
        passing.feed(content[start : start + block_bytes])
    return passing.end()


@given(
    ranges=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 300)), max_size=12).map(
        lambda ranges: sorted(ranges, key=lambda each: each[0])
    ),
    block_bytes=st.integers(1, 1100),
)
def test_a_walk_gets_exactly_its_ranges_however_the_file_comes(ranges, block_bytes):
    """Ranges may overlap, lie apart, repeat, be empty, and reach behind the end, where they are cut."""
    expected = [CONTENT[offset : offset + length] for offset, length in ranges]
    assert feed(asks_for(*ranges), CONTENT, block_bytes) == expected
    assert walk_over(asks_for(*ranges), CONTENT) == expected


def test_an_empty_file_gives_empty_pieces():
    assert Passing(asks_for((0, 4), (8, 4))).end() == [b"", b""]


def test_empty_blocks_change_nothing():
    passing = Passing(asks_for((1, 2), (5, 2)))
    for block in (b"", b"abc", b"", b"", b"defgh", b""):
        passing.feed(block)
    assert passing.end() == [b"bc", b"fg"]


def test_a_walk_that_asks_for_nothing_has_its_finding_at_once():
    passing = Passing(asks_for())
    passing.feed(b"abc")
    assert passing.end() == []


def test_the_finding_stays_when_the_end_is_said_twice():
    passing = Passing(asks_for((0, 2)))
    passing.feed(b"abc")
    assert (passing.end(), passing.end()) == ([b"ab"], [b"ab"])


def test_a_walk_is_asked_no_more_than_it_wants():
    """A walk that has what it wanted goes on before the file is at its end."""
    steps = []

    def walk():
        steps.append((yield Range(0, 2)))
        steps.append((yield Range(2, 2)))

    passing = Passing(walk())
    passing.feed(b"a")
    assert steps == []
    passing.feed(b"bc")
    assert steps == [b"ab"]
    passing.feed(b"d")
    assert steps == [b"ab", b"cd"]


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param([(0, LARGEST_RANGE_BYTES + 1)], id="more than may be kept"),
        pytest.param([(4, 1), (3, 1)], id="backwards"),
        pytest.param([(0, 1), (0, LARGEST_RANGE_BYTES + 1)], id="more than may be kept, later"),
        pytest.param([(0, -1)], id="less than nothing"),
        pytest.param([(-1, 1)], id="before the file"),
    ],
)
def test_a_walk_that_asks_for_the_impossible_is_a_mistake_of_ours(ranges):
    with pytest.raises(ValueError, match="a walk asked for"):
        walk_over(asks_for(*ranges), CONTENT)


def test_the_largest_range_is_given():
    content = BLOCK + b"more"
    assert walk_over(asks_for((2, LARGEST_RANGE_BYTES)), content) == [content[2 : 2 + LARGEST_RANGE_BYTES]]


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param([(63 * len(BLOCK) + 7, 9)], id="far away"),
        pytest.param([(at, LARGEST_RANGE_BYTES) for at in range(0, 64 * len(BLOCK), 100_000)], id="everything, overlapping"),
        pytest.param([(0, 1)], id="done early"),
    ],
)
def test_memory_is_flat_while_a_large_file_passes(ranges):
    def walk():
        last = b""
        for each in ranges:
            last = yield Range(*each)
        return last

    tracemalloc.start()
    passing = Passing(walk())
    for _ in range(64):
        passing.feed(BLOCK)
    last = passing.end()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert last == (BLOCK * 2)[ranges[-1][0] % len(BLOCK) :][: min(ranges[-1][1], 64 * len(BLOCK) - ranges[-1][0])]
    assert peak_bytes < 2_000_000


def test_what_was_kept_is_let_go_when_a_walk_is_done():
    passing = Passing(asks_for((0, 1)))
    tracemalloc.start()
    passing.feed(BLOCK * 16)
    kept_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert passing.end() == [BLOCK[:1]]
    assert kept_bytes < 100_000
