"""Runs the emulator with uvicorn, and opens the one door that uvicorn keeps shut: the transport below a request."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from airflow_provider_360dialog.emulator.admin import ADMIN_PREFIX, build_admin
from airflow_provider_360dialog.emulator.state import DEFAULT_DISPLAY_PHONE, DEFAULT_KEY, DEFAULT_NUMBER_ID, State
from airflow_provider_360dialog.emulator.wire import Wire

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from airflow_provider_360dialog.emulator.settings import Settings

STOP_WITHIN_S = 2
GRACE_S = 0.3


class TransportProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # uvicorn picks httptools or h11 at import
    """Uvicorn's protocol that lets a request know its transport and when its first bytes arrived.

    Both travel in the request's `state`, which uvicorn copies into every ASGI scope, so neither HTTP parser is touched.
    """

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Give this connection a state of its own."""
        self.app_state = {**self.app_state, "transport": transport, "arrived_s": time.monotonic()}
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Note the instant; a request that starts in these bytes carries it."""
        self.app_state["arrived_s"] = time.monotonic()
        super().data_received(data)


def build_app(state: State) -> ASGIApp:
    """Return the whole application: admin paths and wire."""
    admin, wire = build_admin(state), Wire(state)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_admin = scope["type"] == "http" and scope["path"].startswith(ADMIN_PREFIX + "/")
        await (admin if is_admin else wire)(scope, receive, send)

    return app


def open_state(settings: Settings, *, number_id: str | None, key: str, data_dir: Path | None = None) -> State:
    """Return a state that has its first number, from an earlier run or new.

    Without a folder nothing outlives this state, so it gets a number that no other has had: a client that remembers media ids
    by number must not take this one for another.
    """
    if number_id is None:
        number_id = DEFAULT_NUMBER_ID if data_dir is not None else f"1{secrets.randbelow(10**14):014d}"
    state = State(settings, data_dir)
    if not state.numbers:
        state.add_number(number_id, key, DEFAULT_DISPLAY_PHONE)
    return state


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """Return a bound socket and the base URL that it stands for; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay off only where the protocol is named
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    shown = f"[{host}]" if ":" in host else host
    return sock, f"http://{shown}:{sock.getsockname()[1]}"


class Server(uvicorn.Server):
    """Uvicorn that calls back when it listens."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Stop listening, give what is being answered a moment, then cut it."""
        asyncio.get_running_loop().call_later(GRACE_S, self._cut)
        await super().shutdown(sockets)

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        asyncio.get_running_loop().call_later(GRACE_S / 3, self._cancel)  # once uvicorn knows of the closed connections

    def _cancel(self) -> None:
        for task in list(self.server_state.tasks):
            task.cancel()


def build_server(state: State, on_listening: Callable[[], None] = lambda: None) -> Server:
    """Return a server for a state; give it a listening socket to run on."""
    config = uvicorn.Config(
        build_app(state),
        http=TransportProtocol,
        ws="none",
        lifespan="off",
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )
    return Server(config, on_listening)


__all__ = ["DEFAULT_KEY", "DEFAULT_NUMBER_ID", "Server", "build_app", "build_server", "listen", "open_state"]
