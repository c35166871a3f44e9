"""The cheapest 360dialog: takes every upload, gives an id, notes when it came; for rates at which the emulator is the limit.

It checks nothing, refuses nothing and keeps no bytes. A key is `key_of` a number's place among the numbers; the place is in the
number's id. What came is asked for at `/_arrivals`, and judged by whoever asks.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from benchmarks import support

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nd360-api-key: *proof-key-(\d+)", re.IGNORECASE)
_FILENAME = re.compile(rb'filename="([^"]*)"')


def key_of(place: int) -> str:
    """The key of a number, by its place among the numbers, from 1."""
    return f"proof-key-{place}"


def number_of(place: int) -> str:
    """The phone number id."""
    return f"1{place:014}"


@dataclass(frozen=True)
class Answering:
    """A running server. ``emulated``: what tells the hooks of its numbers. pid: of its process."""

    emulated: support.Emulator
    pid: int

    def arrivals(self) -> list[list[tuple[float, str]]]:
        """Per number (monotonic instant, name of the file) of each upload, in the order in which they came."""
        with urllib.request.urlopen(f"{self.emulated.base_url}/_arrivals", timeout=60) as answer:
            found = json.load(answer)
        return [found.get(str(place), []) for place in range(1, len(self.emulated.numbers) + 1)]


@contextmanager
def answering(*, numbers: int, service_s: float) -> Iterator[Answering]:
    """A server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.answering", "--service-s", str(service_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=support.CHECKOUT) as process:
        try:
            assert process.stdout is not None
            known = [support.Number(number_of(each), key_of(each), f"number_{each}") for each in range(1, numbers + 1)]
            yield Answering(support.Emulator(process.stdout.readline().strip(), known), process.pid)
        finally:
            support.end(process)


class _Books:
    """What has come, over all connections."""

    def __init__(self, service_s: float) -> None:
        self.service_s = service_s
        self.uploads: dict[int, list[tuple[float, str]]] = defaultdict(list)
        self._ids = itertools.count(10**15 + time.time_ns() % 10**14)

    def answer(self, head: bytes, body: bytes, arrived_s: float) -> tuple[bytes, float]:
        """The answer to a request, and after how long it leaves. ``body``: its beginning."""
        key = _KEY.search(head)
        place = int(key[1]) if key else 0
        if head.startswith(b"POST /media "):
            found = _FILENAME.search(body)
            self.uploads[place].append((arrived_s, found[1].decode() if found else ""))
            return _json({"id": str(next(self._ids))}), self.service_s
        if head.startswith(b"GET /_arrivals "):
            return _json(self.uploads), 0.0
        entity = {"entity_type": "PHONE_NUMBER", "id": number_of(place), "can_send_message": "AVAILABLE"}
        return _json({"health_status": {"can_send_message": "AVAILABLE", "entities": [entity]}}), 0.0


def _json(data: Any) -> bytes:
    body = json.dumps(data).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


class _Wire(asyncio.Protocol):
    """One connection; one request after the other."""

    def __init__(self, books: _Books) -> None:
        self._books = books
        self._transport: asyncio.Transport | None = None
        self._next()

    def _next(self) -> None:
        self._begun, self._head = b"", b""
        self._left, self._arrived_s = 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._head:
            self._arrived_s = self._arrived_s or time.monotonic()
            self._begun += data
            head, end, body = self._begun.partition(b"\r\n\r\n")
            if not end:
                return
            length = _LENGTH.search(head)
            self._head, self._begun, self._left = head, body[:1000], (int(length[1]) if length else 0) - len(body)
        else:
            self._left -= len(data)
            self._begun += data[: 1000 - len(self._begun)]
        if self._left <= 0 and self._transport is not None:
            answer, after_s = self._books.answer(self._head, self._begun, self._arrived_s)
            self._next()
            asyncio.get_running_loop().call_later(after_s, self._transport.write, answer)


async def _serve(service_s: float) -> None:
    loop, books, over = asyncio.get_running_loop(), _Books(service_s), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    server = await loop.create_server(lambda: _Wire(books), "127.0.0.1", 0, backlog=1000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await over.wait()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service-s", type=float, default=0.0)
    asyncio.run(_serve(parser.parse_args().service_s))
