"""What each fault kind does to an answer or to the socket.

Every function takes the exchange, the true answer and the armed fault. Faults that break HTTP itself write to the
transport below the server and close it; the others send through it.
"""

from __future__ import annotations

import asyncio
import base64
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

from airflow_provider_360dialog.emulator.armory import ArmedFault
from airflow_provider_360dialog.emulator.exchange import CHUNK_BYTES, Exchange, chunks_of
from airflow_provider_360dialog.emulator.settings import ErrorShape
from airflow_provider_360dialog.emulator.shapes import (
    Answer,
    Headers,
    bad_key,
    gateway_error,
    html_page,
    json_answer,
    meta_error,
)

_OTHER_BYTES = bytes(255 - value for value in range(256))
_MEBIBYTE = 1024 * 1024
_DRIP_TICK_S = 0.02
_VERSION = re.compile(r"\A/v[0-9]+(?=/)")

Strike = Callable[[Exchange, Answer, ArmedFault], Awaitable[None]]


def takes_effect(fault: ArmedFault) -> bool:
    """Tell whether a request that meets an `INSTEAD` fault is carried out first."""
    performs = fault.params.get("performs", False)
    return bool(fault.params["status"] < 400 if performs is None else performs)


def replacement(fault: ArmedFault, shape: ErrorShape, now_s: float) -> Answer:
    """Return the answer that an `INSTEAD` fault gives.

    Args:
        fault: A fault of kind error, unauthorized, html or empty.
        shape: The emulator's error shape.
        now_s: The movable clock, for a Retry-After date.
    """
    params = fault.params
    shape = ErrorShape(params.get("shape") or shape)
    match fault.kind.name:
        case "unauthorized":
            return bad_key(shape)
        case "html":
            return html_page(params["status"])
        case "empty":
            return Answer(params["status"], b"", [])
    headers = _retry_after(params, now_s)
    if shape is ErrorShape.A:
        answer = meta_error(params["text"], status=params["status"], code=params["code"], subcode=params["subcode"])
        return replace(answer, headers=[*answer.headers, *headers])
    return gateway_error(shape, params["status"], params["text"], headers=headers)


def _retry_after(params: dict[str, Any], now_s: float) -> Headers:
    value = params["retry_after"]
    if value is None:
        return []
    if isinstance(value, str):
        return [("retry-after", value)]
    text = formatdate(now_s + value, usegmt=True) if params["retry_after_format"] == "date" else f"{value:g}"
    return [("retry-after", text)]


def redirect(exchange: Exchange, fault: ArmedFault) -> Answer:
    """Return the first redirect of a redirect fault."""
    status, location = fault.params["status"], fault.params["location"]
    if location is not None:
        return redirect_to(status, location.replace("{path}", exchange.target))
    return hop(exchange.target, status, fault.params["hops"])


def hop(target: str, status: int, hops_left: int) -> Answer:
    """Return a redirect to a place of this server that needs one hop fewer, in the end to a version prefix that works."""
    if hops_left > 1:
        return redirect_to(status, f"/_hop/{status}/{hops_left - 1}{target}")
    return redirect_to(status, "/v2" + without_version(target))


def without_version(path: str) -> str:
    """Return a path without a leading version such as `/v2`, which means nothing here."""
    return _VERSION.sub("", path)


def redirect_to(status: int, location: str) -> Answer:
    """Return a redirect with nginx's kind of page."""
    return replace(html_page(status), headers=[("content-type", "text/html"), ("location", location)])


async def strike(exchange: Exchange, answer: Answer, fault: ArmedFault) -> None:
    """Send the true answer as a `RESHAPE` fault bends it."""
    await _STRIKES[fault.kind.name](exchange, answer, fault)


async def _send_as_is(exchange: Exchange, answer: Answer, _fault: ArmedFault) -> None:
    await exchange.send(answer)


async def _gzip(exchange: Exchange, answer: Answer, _fault: ArmedFault) -> None:
    headers = [*answer.headers, ("content-encoding", "gzip")]
    await exchange.send_stream(answer.status, headers, _compressed(answer.body))


def _compressed(body: bytes | Path) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=31)
    for chunk in chunks_of(body):
        yield packer.compress(chunk)
    yield packer.flush()


async def _gzip_bomb(exchange: Exchange, answer: Answer, fault: ArmedFault) -> None:
    headers = [*answer.headers, ("content-encoding", "gzip")]
    await exchange.send_stream(answer.status, headers, _bomb(fault.params["size_bytes"]))


def _bomb(size_bytes: int) -> Iterator[bytes]:
    """Yield one gzip member of zeros; a full flush makes each mebibyte the same thousand bytes, made once."""
    block = bytes(_MEBIBYTE)
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    yield b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
    for _ in range(size_bytes // _MEBIBYTE):
        checksum = zlib.crc32(block, checksum)
        yield packed
    rest = block[: size_bytes % _MEBIBYTE]
    packer = zlib.compressobj(9, wbits=-15)
    yield packer.compress(rest) + packer.flush()
    yield zlib.crc32(rest, checksum).to_bytes(4, "little") + (size_bytes % 2**32).to_bytes(4, "little")


async def _truncate(exchange: Exchange, answer: Answer, fault: ArmedFault) -> None:
    keep = fault.params["keep_bytes"]
    left = answer.size_bytes // 2 if keep is None else keep
    exchange.settle(answer.status)
    headers = [*answer.headers, ("content-length", str(answer.size_bytes))]
    await exchange.write_raw(exchange.head(answer.status, headers))
    for chunk in chunks_of(answer.body):
        if left <= 0 or exchange.is_gone:
            break
        await exchange.write_raw(chunk[:left])
        left -= len(chunk)
    await exchange.close_raw()


async def _endless(exchange: Exchange, answer: Answer, fault: ArmedFault) -> None:
    headers = [*answer.headers]
    await exchange.send_stream(answer.status, headers, _followed_by_blanks(answer.body, fault.params["size_bytes"]))


def _followed_by_blanks(body: bytes | Path, size_bytes: int | None) -> Iterator[bytes]:
    yield from chunks_of(body)
    blanks = b" " * CHUNK_BYTES
    while size_bytes is None:
        yield blanks
    while size_bytes > 0:
        yield blanks[:size_bytes]
        size_bytes -= CHUNK_BYTES


async def _drip(exchange: Exchange, answer: Answer, fault: ArmedFault) -> None:
    rate, part = fault.params["bytes_per_s"], fault.params["part"]
    exchange.settle(answer.status)
    head = exchange.head(answer.status, [*answer.headers, ("content-length", str(answer.size_bytes))])
    await _write_slowly(exchange, head, rate if part != "body" else None)
    for chunk in chunks_of(answer.body):
        await _write_slowly(exchange, chunk, rate if part != "head" else None)
    await exchange.close_raw()


async def _write_slowly(exchange: Exchange, data: bytes, bytes_per_s: float | None) -> None:
    step = len(data) if bytes_per_s is None else max(1, int(bytes_per_s * _DRIP_TICK_S))
    for start in range(0, len(data), step):
        if exchange.is_gone:
            return
        piece = data[start : start + step]
        await exchange.write_raw(piece)
        if bytes_per_s is not None:
            await asyncio.sleep(len(piece) / bytes_per_s)


async def _wrong_bytes(exchange: Exchange, answer: Answer, _fault: ArmedFault) -> None:
    headers = [*answer.headers, ("content-length", str(answer.size_bytes))]
    other = (chunk.translate(_OTHER_BYTES) for chunk in chunks_of(answer.body))
    await exchange.send_stream(answer.status, headers, other)


async def _wrong_size(exchange: Exchange, answer: Answer, fault: ArmedFault) -> None:
    delta = fault.params["delta_bytes"]
    if answer.document is not None:
        size = answer.document.get("file_size")
        await _change(exchange, answer, {"file_size": size + delta} if isinstance(size, int) else {})
        return
    size_bytes = max(0, answer.size_bytes + delta)
    headers = [*answer.headers, ("content-length", str(size_bytes))]
    await exchange.send_stream(answer.status, headers, _resized(answer.body, size_bytes))


def _resized(body: bytes | Path, size_bytes: int) -> Iterator[bytes]:
    left = size_bytes
    for chunk in chunks_of(body):
        yield chunk[:left]
        left -= min(left, len(chunk))
    while left > 0:
        yield bytes(min(left, CHUNK_BYTES))
        left -= min(left, CHUNK_BYTES)


async def _change(exchange: Exchange, answer: Answer, changes: dict[str, Any], *, without: str = "") -> None:
    """Send a JSON answer with some fields changed or left out; an answer that is not a success passes untouched."""
    if answer.document is None or answer.status >= 400:
        await exchange.send(answer)
        return
    document = {name: value for name, value in (answer.document | changes).items() if name != without}
    headers = [header for header in answer.headers if header[0] != "content-type"]
    await exchange.send(json_answer(document, answer.status, headers))


async def _omit_field(exchange: Exchange, answer: Answer, fault: ArmedFault) -> None:
    await _change(exchange, answer, {}, without=fault.params["field"])


async def _string_file_size(exchange: Exchange, answer: Answer, _fault: ArmedFault) -> None:
    await _change(exchange, answer, {"file_size": str((answer.document or {}).get("file_size"))})


async def _base64_sha256(exchange: Exchange, answer: Answer, _fault: ArmedFault) -> None:
    digest = bytes.fromhex(str((answer.document or {}).get("sha256", "")))
    await _change(exchange, answer, {"sha256": base64.b64encode(digest).decode()})


_STRIKES: dict[str, Strike] = {
    "delay": _send_as_is,
    "gzip": _gzip,
    "gzip_bomb": _gzip_bomb,
    "truncate": _truncate,
    "endless": _endless,
    "drip": _drip,
    "wrong_bytes": _wrong_bytes,
    "wrong_size": _wrong_size,
    "omit_field": _omit_field,
    "string_file_size": _string_file_size,
    "base64_sha256": _base64_sha256,
}
