"""Send a request, read its answer. Knows no rules: one exchange, same-origin redirects included, and the outcome as data."""

from __future__ import annotations

import os
import ssl
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, ProxyError

from airflow_provider_360dialog.api.decoding import EncodingError, decode
from airflow_provider_360dialog.api.messages import MAX_JSON_BYTES, Answer, ApiRequest
from airflow_provider_360dialog.api.multipart import BLOCK_BYTES, MultipartFile
from airflow_provider_360dialog.api.redirects import MAX_HOPS, REDIRECTS, Hop, decide_hop
from airflow_provider_360dialog.api.sockets import DeadlineError, Flight, NotLeftError, OurAdapter, under_way
from airflow_provider_360dialog.exceptions import (
    AnswerUnreadableError,
    CertificateError,
    Dialog360Error,
    InterruptedExchangeError,
    RedirectRefusedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_360dialog.ports import Channel

_SLOWEST_BYTES_PER_S: Final = 50_000
_SECRET_MIN_CHARS: Final = 5


class _BundleError(Exception):
    """The certificates to trust cannot be read."""


class Sink(Protocol):
    """Where a download's bytes go."""

    def write(self, block: bytes, /) -> object:
        """Take one block."""
        ...


class Sender:
    """Speaks for one channel. Thread-safe; survives a fork; opens its first connection with its first request.

    Args:
        channel: host, key and bounds.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._adapter: OurAdapter | None = None
        self._pid = 0
        self._user_agent = f"airflow-provider-360dialog/{_version()} python-requests/{requests.__version__}"

    def longest_s(self, moved_bytes: int = 0) -> float:
        """How long an exchange takes at most, float seconds: its connection, its deadline, and what a last read may add."""
        timeouts = self._channel.timeouts
        return timeouts.connect_s + timeouts.total_s + moved_bytes / _SLOWEST_BYTES_PER_S + 5.0

    def exchange(
        self,
        request: ApiRequest,
        *,
        body: MultipartFile | None = None,
        sink: Sink | None = None,
        max_bytes: int = MAX_JSON_BYTES,
        depart: Callable[[], Dialog360Error | None] | None = None,
    ) -> Answer | Dialog360Error:
        """One request and its answer, read to the end.

        Args:
            request: what is asked. body: of an upload.
            sink: takes the decoded body of a 2xx; without one the body is in the answer.
            max_bytes: how many decoded bytes are read for the sink; one more than that is written when there are more.
            depart: see `Flight`; called for each request that leaves, so again where it is redirected.

        Returns:
            The answer, whatever its status; or, as data, the error that kept it from being read. Only what the sink or the
            source of the body raise comes out as an exception.
        """
        timeouts = self._channel.timeouts
        sent_bytes = len(body) if body is not None else 0
        flight = Flight(
            target=request.target,
            ends_at=time.monotonic() + timeouts.total_s + sent_bytes / _SLOWEST_BYTES_PER_S,
            idle_s=timeouts.idle_s,
            depart=depart,
        )
        if body is not None:
            body.on_read = flight.check
        with under_way(flight):
            return self._follow(request, flight, body, sink, max_bytes)

    def close(self) -> None:
        """Give the pooled connections back."""
        if self._adapter is not None:
            self._adapter.close()
            self._adapter = None

    def _follow(
        self, request: ApiRequest, flight: Flight, body: MultipartFile | None, sink: Sink | None, max_bytes: int
    ) -> Answer | Dialog360Error:
        hop = Hop(origin=self._channel.base_url, target=request.target, with_key=True)
        status = 0
        for _ in range(MAX_HOPS + 1):
            if body is not None:
                body.seek(0)
            flight.target, flight.connected = hop.target, False
            answer = self._once(request, hop, flight, body, sink, max_bytes)
            if isinstance(answer, Dialog360Error) or answer.status not in REDIRECTS:
                return answer
            step = decide_hop(
                operation=request.operation,
                method=request.method,
                status=answer.status,
                location=answer.headers.get("location"),
                at=hop,
                base_url=self._channel.base_url,
                download_hosts=self._channel.download_hosts,
            )
            if isinstance(step, RedirectRefusedError):
                return step
            hop, status = step, answer.status
        reason = f"more than {MAX_HOPS} redirects in a row"
        return RedirectRefusedError(operation=request.operation, status=status, origin=hop.origin, reason=reason)

    def _once(
        self,
        request: ApiRequest,
        hop: Hop,
        flight: Flight,
        body: MultipartFile | None,
        sink: Sink | None,
        max_bytes: int,
    ) -> Answer | Dialog360Error:
        fault: Exception
        status = 0
        try:
            response = self._send(self._prepare(request, hop, body), flight)
            try:
                status = response.status_code
                if sink is not None and 200 <= status < 300:
                    flight.expect_file(max_bytes / _SLOWEST_BYTES_PER_S)
                    return self._read(response, hop, sink, max_bytes)
                return self._read(response, hop, None, max_bytes)
            finally:
                response.close()  # back to the pool where it was read to its end
        except NotLeftError as held_back:
            return held_back.error
        except (requests.RequestException, HTTPError, EncodingError, DeadlineError, _BundleError) as caught:
            fault = caught
        # Built outside the except block, so that no traceback leads back to objects that hold the key or a media URL.
        return _read_fault(request, hop.origin, status, fault, flight)

    def _prepare(self, request: ApiRequest, hop: Hop, body: MultipartFile | None) -> requests.PreparedRequest:
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity", "Accept": "*/*"}
        if hop.with_key:
            headers["D360-API-KEY"] = self._channel.api_key
        if body is not None:
            headers["Content-Type"] = body.content_type
            headers["Content-Length"] = str(len(body))
        prepared = requests.PreparedRequest()
        prepared.method = request.method
        prepared.url = f"{hop.origin}{hop.target}"
        prepared.headers = CaseInsensitiveDict(headers)
        prepared.body = body  # type: ignore[assignment]  # requests takes any file; its stubs do not say so
        return prepared

    def _send(self, prepared: requests.PreparedRequest, flight: Flight) -> requests.Response:
        if self._adapter is None or self._pid != os.getpid():
            self._adapter, self._pid = OurAdapter(), os.getpid()
        channel = self._channel
        proxies = {"http": channel.proxy, "https": channel.proxy} if channel.proxy else {}
        if channel.ca_bundle is not None and not Path(channel.ca_bundle).is_file():
            raise _BundleError("the file of the CA bundle is not there")  # requests would raise a bare OSError
        return self._adapter.send(
            prepared,
            stream=True,
            timeout=(min(channel.timeouts.connect_s, flight.left_s()), channel.timeouts.idle_s),
            verify=channel.ca_bundle or True,
            proxies=proxies,
        )

    def _read(self, response: requests.Response, hop: Hop, sink: Sink | None, max_bytes: int) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        blocks = decode(_raw(response), headers.get("content-encoding", ""), max_bytes=max_bytes if sink else MAX_JSON_BYTES)
        if sink is not None:
            for block in blocks:
                sink.write(block)
            return Answer(response.status_code, headers)
        content = b"".join(blocks)
        return Answer(
            response.status_code,
            headers,
            self._without_secrets(content[:MAX_JSON_BYTES], hop, response.ok),
            whole=len(content) <= MAX_JSON_BYTES,
        )

    def _without_secrets(self, content: bytes, hop: Hop, ok: bool) -> bytes:
        """A server that quotes the key or a media URL back must not bring either into a message."""
        secrets = {self._channel.api_key}
        query = hop.target.partition("?")[2]
        if query and not ok:
            secrets |= {query, *(pair.partition("=")[2] for pair in query.split("&"))}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _SECRET_MIN_CHARS:
                for form in {secret, quote(secret, safe=""), secret.replace("/", "\\/")}:
                    content = content.replace(form.encode(), b"***")
        return content


def _version() -> str:
    try:
        return metadata.version("airflow-provider-360dialog")
    except metadata.PackageNotFoundError:
        return "unknown"


def _raw(response: requests.Response) -> Iterable[bytes]:
    """The body as it comes, undecoded."""
    while block := response.raw.read(BLOCK_BYTES, decode_content=False):
        yield block


def _read_fault(request: ApiRequest, origin: str, status: int, fault: Exception, flight: Flight) -> Dialog360Error:
    """Which error a failed exchange stands for. The words are ours: library texts hold paths and queries."""
    if isinstance(fault, EncodingError):
        return AnswerUnreadableError(operation=request.operation, status=status, reason=str(fault))
    if isinstance(fault, _BundleError):
        return CertificateError(origin=origin, reason=str(fault))
    chain = list(_causes(fault))
    if isinstance(fault, requests.exceptions.SSLError) and not any(isinstance(c, ssl.SSLEOFError) for c in chain):
        return CertificateError(origin=origin, reason=_tls_words(chain))
    reason = _words(chain, flight)
    if not flight.connected and not status:
        return UnreachableError(operation=request.operation, origin=origin, reason=reason)
    return InterruptedExchangeError(operation=request.operation, origin=origin, reason=reason)


def _causes(fault: BaseException) -> Iterable[BaseException]:
    seen: set[int] = set()
    waiting: list[Any] = [fault]
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]


def _words(chain: list[BaseException], flight: Flight) -> str:
    prefix = "proxy: " if any(isinstance(c, ProxyError | requests.exceptions.ProxyError) for c in chain) else ""
    if any(isinstance(c, NameResolutionError) for c in chain):
        return f"{prefix}its name cannot be resolved"
    for cause in chain:
        if isinstance(cause, DeadlineError):
            return f"{prefix}{cause}"
    if time.monotonic() >= flight.ends_at:  # the last read was given no more time than was left
        return f"{prefix}{DeadlineError()}"
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno and cause.strerror and not isinstance(cause, requests.RequestException):
            return f"{prefix}{cause.strerror}"
    if any(isinstance(c, TimeoutError | requests.exceptions.Timeout) or type(c).__name__.endswith("TimeoutError") for c in chain):
        waited = f"{flight.idle_s:g} s without a byte" if flight.connected else "no connection in time"
        return f"{prefix}timed out ({waited})"
    named = next((c for c in reversed(chain) if not isinstance(c, NewConnectionError)), chain[0])
    return prefix + {
        "IncompleteRead": "the answer was cut short",
        "RemoteDisconnected": "the host closed the connection",
    }.get(type(named).__name__, type(named).__name__)


def _tls_words(chain: list[BaseException]) -> str:
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message or "verification failed"
    for cause in chain:
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return str(cause.reason).lower().replace("_", " ")
    return "the TLS handshake failed"
