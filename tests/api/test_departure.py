"""An upload waits for its instant where the connection stands, with its first block at hand."""

from __future__ import annotations

import hashlib
import socket
import threading
import time

import pytest

from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.exceptions import SourceUnreadableError, StoppedError
from airflow_provider_360dialog.ports import Channel
from tests.jobs.doubles import JPEG, MemorySource

SHA256 = hashlib.sha256(JPEG).hexdigest()


class Keeper:
    """A server that keeps connections, and closes them when it is told to; counts what it has read to the end."""

    def __init__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.connections, self.bodies, self._open = 0, 0, []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        data = b""
        while True:
            try:
                block = connection.recv(65536)
            except OSError:
                return
            if not block:
                return
            data += block
            head, found, body = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) if found else 0
            if found and len(body) >= length:
                self.bodies, data = self.bodies + 1, b""
                answer = b'{"id": "%d"}' % (1000 + self.bodies)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
                )

    def accepted(self, count):
        """How many connections it has taken; it has a moment to come to ``count``."""
        ends_at = time.monotonic() + 5
        while self.connections < count and time.monotonic() < ends_at:
            time.sleep(0.005)
        return self.connections

    def hang_up(self):
        """Close what stands, and let the other side notice."""
        for connection in self._open:
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def close(self):
        self._listening.close()
        self.hang_up()


@pytest.fixture
def server():
    made = Keeper()
    yield made
    made.close()


@pytest.fixture
def api(server):
    made = MediaApi(Channel(api_key="test-key", base_url=server.base_url))
    yield made
    made.close()


def upload(api, depart=None, source=None):
    file = {"size_bytes": len(JPEG), "sha256": SHA256, "mime_type": "image/jpeg", "filename": "a.jpg"}
    return api.upload(source or MemorySource(JPEG), **file, depart=depart)


def test_the_connection_stands_and_the_file_is_open_before_it_waits(api, server):
    source, seen = MemorySource(JPEG), []
    assert upload(api, lambda: seen.append((server.accepted(1), source.opened, server.bodies)), source) == "1001"
    assert seen == [(1, 1, 0)]


@pytest.mark.parametrize("warm", [True, False], ids=["a kept connection", "a new connection"])
def test_a_connection_that_ends_while_it_waits_is_made_again_and_the_file_is_sent_once(warm, api, server):
    """Else the answer would be lost with the body accepted, and the file sent again."""
    if warm:
        assert upload(api) == "1001"
    waits = []

    def depart():
        waits.append(server.accepted(len(waits) + 1))
        if len(waits) == 1:
            server.hang_up()

    assert upload(api, depart) == f"{1001 + warm}"
    assert server.bodies == 1 + warm
    assert waits == [1, 2]  # it takes another turn on the new connection


def test_what_must_not_leave_does_not(api, server):
    """Why is the outcome; the connection is there for the next one."""
    reason = StoppedError(operation="upload")
    assert upload(api, lambda: reason) is reason
    assert server.bodies == 0
    assert upload(api) == "1001"


def test_a_file_that_cannot_be_read_fails_before_it_waits(api, server):
    class Broken(MemorySource):
        def open(self):
            raise PermissionError(13, "Permission denied")

    waits = []
    with pytest.raises(SourceUnreadableError):
        upload(api, lambda: waits.append(1), Broken(JPEG))
    assert not waits
    assert server.bodies == 0


def test_waiting_does_not_count_against_the_deadline(server, monkeypatch):
    """A turn may be a minute away."""
    from airflow_provider_360dialog.ports import Timeouts

    api = MediaApi(Channel(api_key="test-key", base_url=server.base_url, timeouts=Timeouts(1.0, 1.0, 0.3)))
    monkeypatch.setattr("airflow_provider_360dialog.api.sender._SLOWEST_BYTES_PER_S", 10**9)
    try:
        assert upload(api, lambda: threading.Event().wait(0.6) or None) == "1001"
    finally:
        api.close()
