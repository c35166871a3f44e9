"""A Content-Encoding that nobody asked for is undone, within bounds."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.api.decoding import EncodingError, decode

TEXT = b'{"id":"1"}' * 50
GZIPPED = gzip.compress(TEXT)


def decoded(raw: bytes, encoding: str, *, max_bytes: int = 10**6, step: int = 7) -> bytes:
    chunks = (raw[at : at + step] for at in range(0, len(raw), step))
    return b"".join(decode(chunks, encoding, max_bytes=max_bytes))


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [("", TEXT), ("identity", TEXT), ("gzip", GZIPPED), (" GZIP ", GZIPPED), ("x-gzip", GZIPPED), ("deflate", zlib.compress(TEXT))],
    ids=["nothing", "identity", "gzip", "gzip in capitals", "x-gzip", "deflate"],
)  # fmt: skip
def test_the_bytes_come_out(encoding: str, raw: bytes):
    assert decoded(raw, encoding) == TEXT


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str):
    with pytest.raises(EncodingError):
        decoded(b"x", encoding)


@pytest.mark.parametrize("raw", [gzip.compress(TEXT)[:-5], b"not gzip at all", b""], ids=["cut off", "damaged", "empty"])
def test_damaged_data_is_refused(raw: bytes):
    with pytest.raises(EncodingError):
        decoded(raw, "gzip")


def test_one_byte_more_than_allowed_is_given_and_no_more():
    """So the reader can tell "exactly as long as allowed" from "longer"."""
    assert len(decoded(b"x" * 100, "", max_bytes=100)) == 100
    assert len(decoded(b"x" * 1000, "", max_bytes=100)) == 101
    assert len(decoded(gzip.compress(b"x" * 1000), "gzip", max_bytes=100)) == 101


def test_a_bomb_is_given_up_at_its_ratio():
    """1 MB that would unpack to 1 GB: at most a few hundred kilobytes are ever unpacked at a time."""
    packed = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packed.compress(bytes(10**6)) for _ in range(1000)) + packed.flush()
    given_bytes = 0
    with pytest.raises(EncodingError, match="200 times"):
        for block in decode(iter([bomb]), "gzip", max_bytes=10**9):
            given_bytes += len(block)
            assert len(block) <= 256 * 1024
    assert given_bytes < 201 * len(bomb)


def test_what_follows_the_end_of_the_data_is_not_waited_for():
    """A server that never stops after a finished gzip body does not hold us."""

    def endless():
        yield gzip.compress(TEXT)
        pytest.fail("read on after the end")

    assert b"".join(decode(endless(), "gzip", max_bytes=10**6)) == TEXT


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "", "br"]))
def test_any_bytes_end_in_bytes_or_one_error(raw: bytes, encoding: str):
    try:
        decoded(raw, encoding)
    except EncodingError:
        return
