"""Undo a Content-Encoding that nobody asked for, within bounds. Pure: bytes in, bytes out."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_RATIO: Final = 200
_RATIO_COUNTS_FROM_BYTES: Final = 1024 * 1024
_STEP_BYTES: Final = 256 * 1024


class EncodingError(Exception):
    """The body cannot be decoded: an unknown encoding, damaged data, or a compression bomb."""


def decode(chunks: Iterable[bytes], encoding: str, *, max_bytes: int) -> Iterator[bytes]:
    """The body's own bytes, at most ``max_bytes`` + 1 of them: one more than allowed tells the reader that there was more.

    Args:
        chunks: bytes as they came. encoding: the answer's Content-Encoding, empty for none.
        max_bytes: how many decoded bytes the reader will accept.

    Raises:
        EncodingError: unknown encoding, damaged or cut-off data, or more than 200 bytes out for each byte in.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        produced = _plain(chunks)
    elif encoding in {"gzip", "x-gzip"}:
        produced = _inflate(chunks, wbits=zlib.MAX_WBITS | 16)
    elif encoding == "deflate":
        produced = _inflate(chunks, wbits=zlib.MAX_WBITS)
    else:
        raise EncodingError("its Content-Encoding is not one that was asked for")
    left = max_bytes + 1
    for block in produced:
        if left <= 0:
            return
        yield block[:left]
        left -= len(block)


def _plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    return (chunk for chunk in chunks if chunk)


def _inflate(chunks: Iterable[bytes], *, wbits: int) -> Iterator[bytes]:
    engine = zlib.decompressobj(wbits)
    taken = given = 0
    try:
        for chunk in chunks:
            taken += len(chunk)
            pending = chunk
            while pending:
                block = engine.decompress(pending, _STEP_BYTES)
                pending = engine.unconsumed_tail
                given += len(block)
                if given > _RATIO_COUNTS_FROM_BYTES and given > MAX_RATIO * taken:
                    raise EncodingError(f"it unpacks to more than {MAX_RATIO} times its size")
                if block:
                    yield block
            if engine.eof:
                return
    except zlib.error:
        pass
    raise EncodingError("its compressed data is damaged or cut off")
