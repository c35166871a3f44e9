"""A bad link: a TCP proxy on loopback that delays, stalls and cuts what goes through it.

::

    with proxy(server.port) as link:
        url = ...link.port...
        link.delay_s = 0.1    # from now on each piece comes so much later, to and fro together
        link.stall()          # nothing passes, and nobody is told; who connects is taken and hears nothing
        link.go_on()
        link.cut(1)           # so many connections, by reset; None: all
        link.refuse()         # all are cut, and nobody can connect until `go_on`
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

_RESET = struct.pack("ii", 1, 0)  # close with RST instead of FIN
_BLOCK_BYTES = 65_536


class Proxy:
    """The link. Its methods may be called from any thread.

    Attributes:
        delay_s: of a question and its answer together. cuts: connections that were cut so far.
    """

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self.cuts = 0
        self.port = 0
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self._refuses = False
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="bad-link", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def end(self) -> None:
        """Cut everything, and stop listening."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self, count: int | None = None) -> None:
        """Cut so many connections at random; None: all."""
        self._do(partial(self._cut, count))

    def stall(self) -> None:
        self._do(self._passes.clear)

    def refuse(self) -> None:
        self._refuses = True
        self.cut()

    def go_on(self) -> None:
        """What was held back passes; who connects is let through."""
        self._refuses = False
        self._do(self._passes.set)

    def _do(self, act: object) -> None:
        asyncio.run_coroutine_threadsafe(self._call(act), self._loop).result(10)

    async def _call(self, act: object) -> None:
        assert callable(act)
        act()

    def _cut(self, count: int | None) -> None:
        chosen = random.sample(sorted(self._open, key=id), min(len(self._open), len(self._open) if count is None else count))
        for pair in chosen:
            self._reset(pair)
            self.cuts += 1

    def _reset(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._open.discard(pair)
        for writer in pair:
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        self._cut(None)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far_writer)
        self._open.add(pair)
        await asyncio.gather(self._pass_on(reader, far_writer, pair), self._pass_on(far_reader, writer, pair))

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    ) -> None:
        with suppress(OSError):
            while block := await reader.read(_BLOCK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s / 2)
                await self._passes.wait()
                writer.write(block)
                await writer.drain()
        if pair in self._open:
            self._open.discard(pair)
            for each in pair:
                each.close()


@contextmanager
def proxy(target_port: int) -> Iterator[Proxy]:
    """A link to a port of this host, until the block ends."""
    link = Proxy(target_port)
    link.start()
    try:
        yield link
    finally:
        link.end()
