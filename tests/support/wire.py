"""What the tests of the wire share: a socket that answers whatever it is told and remembers every byte that reached it."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from airflow_provider_360dialog.ports import Channel, Timeouts

KEY = "test-key-of-the-wire"


@dataclass
class MemorySource:
    """A file in memory."""

    content: bytes
    uri: str = "memory:photo.png"
    name: str = "photo.png"
    opened: int = 0

    def size_bytes(self) -> int:
        return len(self.content)

    def open(self) -> io.BytesIO:
        self.opened += 1
        return io.BytesIO(self.content)

    def stamp(self) -> None:
        return None


@dataclass
class Listener:
    """A loopback server: each connection is handed to ``serve`` and all that came in is kept."""

    port: int
    received: list[bytes] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def read_request(connection: socket.socket) -> bytes:
    """One whole HTTP/1.1 request with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        more = connection.recv(65536)
        if not more:
            break
        body += more
    return head + b"\r\n\r\n" + body


@contextmanager
def listening(serve: Callable[[socket.socket, bytes, int], None]) -> Iterator[Listener]:
    """Serve connections one after the other; ``serve(connection, request, number)``; ends with the block."""
    server = socket.create_server(("127.0.0.1", 0))
    listener = Listener(server.getsockname()[1])

    def run() -> None:
        number = 0
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    request = read_request(connection)
                    listener.received.append(request)
                    if request:
                        serve(connection, request, number)
                        number += 1
                except OSError:
                    continue

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


@contextmanager
def answering(*answers: bytes) -> Iterator[Listener]:
    """Answer the n-th connection with the n-th text, the last one for ever, and close."""

    def serve(connection: socket.socket, _request: bytes, number: int) -> None:
        connection.sendall(answers[min(number, len(answers) - 1)])

    with listening(serve) as listener:
        yield listener


def http(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """An HTTP answer that closes the connection."""
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in ({"Content_Length": str(len(body))} | headers).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def channel(base_url: str, *, key: str = KEY, **timeouts: float) -> Channel:
    bounds = {"connect_s": 2.0, "idle_s": 2.0, "total_s": 4.0, **timeouts}
    return Channel(api_key=key, base_url=base_url, timeouts=Timeouts(**bounds))
