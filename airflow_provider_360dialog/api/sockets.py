"""`requests`' adapter with five habits changed.

- A deadline for the whole exchange: every read waits no longer than what is left of it. (`requests`' own timeout bounds one read,
  so a server that drips one byte a second would hold a worker for ever.)
- The request target leaves byte for byte; `urllib3` would re-write percent escapes.
- `urllib3`'s log lines, which name path and query, are scrubbed while a request of ours is under way.
- A request that has to leave at a certain instant waits for it where the connection stands: neither handshake nor name
  resolution makes it late.
- Blocks of 256 KiB, and no retries or redirects of its own.

Nothing else in the project touches sockets.
"""

from __future__ import annotations

import http.client
import io
import logging
import re
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import is_connection_dropped

from airflow_provider_360dialog.api.multipart import BLOCK_BYTES

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from urllib3.poolmanager import PoolManager

    from airflow_provider_360dialog.exceptions import Dialog360Error

POOL_SIZE: Final = 64


class DeadlineError(TimeoutError):
    """The exchange as a whole took too long."""

    def __init__(self, words: str = "the deadline of the exchange has passed") -> None:
        super().__init__(words)


class NotLeftError(Exception):
    """Whoever had to say when the request may leave said that it must not. ``error``: why. Nothing was sent."""

    def __init__(self, error: Dialog360Error) -> None:
        super().__init__("the request was not to leave")
        self.error = error


CRAWL_BYTES: Final = 300_000
CRAWL_S: Final = 30.0


@dataclass
class Flight:
    """One request under way in this thread.

    Attributes:
        target: path and query, as they must leave. ends_at: on the monotonic clock. idle_s: longest wait for one read.
        depart: called when the connection stands; returns when the request may leave, or with why it must not. Time spent in it
            does not count against the deadline.
        connected: whether a connection stood, so that bytes may have left.
        crawls_from: since when what comes is weighed; None while nothing large is expected. came_bytes: since then.
    """

    target: str
    ends_at: float
    idle_s: float
    depart: Callable[[], Dialog360Error | None] | None = None
    connected: bool = False
    crawls_from: float | None = None
    came_bytes: int = 0

    def expect_file(self, more_s: float) -> None:
        """The head is there, and a file follows: it gets more time, but may not crawl."""
        self.ends_at += more_s
        self.crawls_from, self.came_bytes = time.monotonic(), 0

    def came(self, size_bytes: int) -> None:
        """Bytes have come.

        Raises:
            DeadlineError: it is a crawl, under 10 kB/s over 30 s.
        """
        if self.crawls_from is None:
            return
        self.came_bytes += size_bytes
        now = time.monotonic()
        if now - self.crawls_from >= CRAWL_S:
            if self.came_bytes < CRAWL_BYTES:
                raise DeadlineError("the body comes at less than 10 kB/s")
            self.crawls_from, self.came_bytes = now, 0

    def left_s(self) -> float:
        """What is left of the deadline.

        Raises:
            DeadlineError: nothing is.
        """
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise DeadlineError
        return left

    def check(self) -> None:
        """Raise `DeadlineError` where nothing is left."""
        self.left_s()


_flight: ContextVar[Flight | None] = ContextVar("dialog360_flight", default=None)


@contextmanager
def under_way(flight: Flight) -> Iterator[None]:
    """Sockets that this thread uses inside belong to ``flight``."""
    token = _flight.set(flight)
    try:
        yield
    finally:
        _flight.reset(token)


class _BoundedReads(io.RawIOBase):
    """A socket's reading side that never waits beyond idle time or deadline."""

    def __init__(self, sock: socket.socket, flight: Flight) -> None:
        self._sock, self._flight = sock, flight
        self._raw = cast("io.RawIOBase", sock.makefile("rb", buffering=0))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(min(self._flight.idle_s, self._flight.left_s()))
        size_bytes = cast("int | None", self._raw.readinto(buffer))
        self._flight.came(size_bytes or 0)
        return size_bytes

    def close(self) -> None:
        self._raw.close()
        super().close()


class _SocketForReading:
    """What `http.client.HTTPResponse` needs of a socket: one call."""

    def __init__(self, sock: socket.socket, flight: Flight) -> None:
        self._sock, self._flight = sock, flight

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReads(self._sock, self._flight), BLOCK_BYTES // 4)


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        flight = _flight.get()
        super().__init__(sock if flight is None else cast("Any", _SocketForReading(sock, flight)), *args, **kwargs)


class _OurConnection(HTTPConnection):
    debuglevel = 0  # whatever http.client's global says: it would print the key
    response_class = _Response

    def connect(self) -> None:
        super().connect()
        flight = _flight.get()
        if flight is not None:
            flight.connected = True

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        flight = _flight.get()
        if flight is not None:
            if flight.depart is not None:
                self._wait_to_depart(flight, flight.depart)
            flight.connected = self.sock is not None
            # A proxy is asked for plain http in the absolute form; everybody else gets path and query.
            origin = "" if url.startswith("/") else url[: url.index("/", url.index("//") + 2)]
            url = origin + flight.target
        super().putrequest(method, url, *args, **kwargs)

    def _wait_to_depart(self, flight: Flight, depart: Callable[[], Dialog360Error | None]) -> None:
        for _ in range(2):  # a connection that the other side has closed meanwhile is made again, once
            if self.sock is None:
                self.connect()
            began = time.monotonic()
            error = depart()
            flight.ends_at += time.monotonic() - began
            if error is not None:
                raise NotLeftError(error)
            if not is_connection_dropped(self):
                return
            options = self._response_options  # what urllib3 has noted of this request, which closing forgets
            self.close()
            self._response_options = options


class _OurTlsConnection(_OurConnection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _OurConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _OurTlsConnection


class OurAdapter(HTTPAdapter):
    """Thread-safe; keeps up to 64 connections to a host."""

    def __init__(self) -> None:
        super().__init__(pool_connections=8, pool_maxsize=POOL_SIZE, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Called by `requests` once."""
        super().init_poolmanager(connections, maxsize, block=block, blocksize=BLOCK_BYTES, **pool_kwargs)
        _take_our_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Called by `requests` for each exchange through a proxy."""
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **({} if known else {"blocksize": BLOCK_BYTES, **proxy_kwargs}))
        if not known:
            _take_our_pools(manager)
        return manager


def _take_our_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


_QUERY = re.compile(r"\?\S*")


class _Scrubber(logging.Filter):
    """Takes queries out of `urllib3`'s lines about our requests; other people's lines pass untouched."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _flight.get() is not None:
            record.msg, record.args = _QUERY.sub("?...", record.getMessage()), ()
            record.exc_info, record.exc_text = None, None
        return True


_SCRUBBER = _Scrubber()
for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_SCRUBBER)
