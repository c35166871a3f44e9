"""One request and its answer on the socket: reading the body, sending an answer, and the raw transport below HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_360dialog.emulator.shapes import phrase_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from airflow_provider_360dialog.emulator.shapes import Answer, Headers

CHUNK_BYTES = 64 * 1024
_RAW_BUFFER_BYTES = 256 * 1024
_LINGER_ZERO = struct.pack("ii", 1, 0)  # close with RST instead of FIN


class GoneError(Exception):
    """The client left before its request was whole."""


def chunks_of(body: bytes | Path) -> Iterator[bytes]:
    """Yield a body in pieces, reading a file as it goes."""
    if isinstance(body, bytes):
        if body:
            yield body
        return
    with body.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


class Exchange:
    """A request being served.

    Attributes:
        method: HTTP method.
        path: Decoded path.
        query: Raw query without the question mark.
        headers: Lower-case name to last value.
        arrived_s: Arrival of its first bytes on the monotonic clock.
        body_bytes: Bytes of the body that were read.
        status: Status of the answer, once one leaves.
        on_status: Told the status just before the first byte of an answer leaves, `None` if the connection is cut.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, now_s: Callable[[], float]) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        self.raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}
        self.arrived_s: float = scope.get("state", {}).get("arrived_s") or time.monotonic()
        self.arrived_at_s = now_s()
        self.body_bytes = 0
        self.status: int | None = None
        self.is_settled = False
        self.on_status: Callable[[int | None], None] = lambda _status: None
        self._transport: asyncio.Transport | None = scope.get("state", {}).get("transport")
        self._receive, self._send, self._now_s = receive, send, now_s
        self._is_read = False

    @property
    def target(self) -> str:
        """Path and query as they would stand in a request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed or closing."""
        return self._transport is not None and self._transport.is_closing()

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the request's body as it arrives.

        Raises:
            GoneError: The client closed the connection first.
        """
        while not self._is_read:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            self._is_read = not message.get("more_body", False)
            chunk: bytes = message.get("body", b"")
            self.body_bytes += len(chunk)
            yield chunk

    async def drain(self) -> None:
        """Read the rest of the body and forget it."""
        async for _ in self.body():
            pass

    def settle(self, status: int | None) -> None:
        """Tell the counters what the answer is, once."""
        if not self.is_settled:
            self.is_settled, self.status = True, status
            self.on_status(status)

    async def send(self, answer: Answer) -> None:
        """Send an answer as it is."""
        headers = [*answer.headers, ("content-length", str(answer.size_bytes))]
        if isinstance(answer.body, Path):
            await self.send_stream(answer.status, headers, chunks_of(answer.body))
            return
        await self._send_head(answer.status, headers)
        await self._send({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def _send_head(self, status: int, headers: Headers) -> None:
        self.settle(status)
        await self._send({"type": "http.response.start", "status": status, "headers": _encode(self._dated(headers))})

    async def send_stream(self, status: int, headers: Headers, chunks: Iterable[bytes]) -> None:
        """Send a body in pieces; without a `content-length` it is chunked."""
        await self._send_head(status, headers)
        for chunk in chunks:
            if self.is_gone:
                await self._wait_until_closed()
                return
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _dated(self, headers: Headers) -> Headers:
        return [("date", formatdate(self._now_s(), usegmt=True)), ("server", "istio-envoy"), *headers]

    def head(self, status: int, headers: Headers) -> bytes:
        """Return the bytes of a response head that ends the connection."""
        lines = [f"HTTP/1.1 {status} {phrase_of(status)}"]
        lines += [f"{name}: {value}" for name, value in [*self._dated(headers), ("connection", "close")]]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def write_raw(self, data: bytes) -> None:
        """Write bytes to the socket below HTTP, waiting while the client does not read."""
        transport = self._raw()
        transport.write(data)
        await asyncio.sleep(0)
        while transport.get_write_buffer_size() > _RAW_BUFFER_BYTES and not transport.is_closing():
            await asyncio.sleep(0.002)

    async def close_raw(self) -> None:
        """Close the connection after what was written."""
        self.settle(None)
        self._raw().close()
        await self._wait_until_closed()

    async def reset_raw(self) -> None:
        """Reset the connection: the client gets RST, nothing more is sent."""
        self.settle(None)
        transport = self._raw()
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
        await self._wait_until_closed()

    def _raw(self) -> asyncio.Transport:
        if self._transport is None:
            raise RuntimeError("this server gives no access to its sockets; start it through `server`")
        return self._transport

    async def _wait_until_closed(self) -> None:
        """Return when the server has seen the end too, so that it does not expect an answer any more."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def forget(self) -> None:
        """Let go of the connection; what arrived stays readable."""
        self._transport = None
        self._receive, self._send = _no_receive, _no_send
        self.on_status = lambda _status: None

    def summary(self) -> dict[str, Any]:
        """Return what arrived as a JSON object; a key appears only as the start of its hash."""
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": [[name.decode("latin-1"), _shown(name, value)] for name, value in self.raw_headers],
            "body_bytes": self.body_bytes,
            "status": self.status,
            "arrived_s": self.arrived_s,
            "arrived_at_s": self.arrived_at_s,
        }


async def _no_receive() -> Any:
    raise RuntimeError("this exchange is over")


async def _no_send(_message: Any) -> None:
    raise RuntimeError("this exchange is over")


def _shown(name: bytes, value: bytes) -> str:
    if name.lower() in {b"d360-api-key", b"authorization"}:
        return "sha256:" + hashlib.sha256(value).hexdigest()[:12]
    return value.decode("latin-1")


def _encode(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
