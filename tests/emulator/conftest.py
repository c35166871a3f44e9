"""One server for the folder; every test gets a fresh number on it, no faults, default settings, the real time."""

from __future__ import annotations

import itertools
import socket

import pytest
import requests

from airflow_provider_360dialog import emulator

_numbers = itertools.count(200000000000001)


class Channel:
    """A number of the shared emulator and the calls a client makes."""

    def __init__(self, emu, number_id: str, key: str) -> None:
        self.emu, self.number_id, self.key = emu, number_id, key
        self.url = emu.base_url
        self.session = requests.Session()
        self.session.headers["D360-API-KEY"] = key

    def upload(self, content=b"picture", mime="image/png", name="whatsapp.png", data=None, **more):
        fields = {"messaging_product": "whatsapp"} if data is None else data
        more.setdefault("timeout", 10)
        return self.session.post(f"{self.url}/media", data=fields, files={"file": (name, content, mime)}, **more)

    def new_id(self, content=b"picture", mime="image/png") -> str:
        return self.upload(content, mime).json()["id"]

    def fetch(self, media_id, **more):
        more.setdefault("timeout", 10)
        return self.session.get(f"{self.url}/{media_id}", **more)

    def media_url(self, media_id) -> str:
        return self.fetch(media_id).json()["url"].replace("https://lookaside.fbsbx.com", self.url)

    def download(self, media_id, **more):
        more.setdefault("timeout", 10)
        return self.session.get(self.media_url(media_id), **more)

    def delete(self, media_id):
        return self.session.delete(f"{self.url}/{media_id}", timeout=10)

    def health(self):
        return self.session.get(f"{self.url}/health_status", timeout=10)

    def counters(self, **more):
        return self.emu.counters(self.number_id, **more)

    def arm(self, kind, **more):
        return self.emu.arm(kind, number_id=self.number_id, **more)

    def admin(self, method, path, **more):
        return requests.request(method, f"{self.url}/_emulator/{path}", timeout=10, **more)

    def raw(self, method="GET", path="/health_status") -> bytes:
        """Send one request on a bare socket and return every byte until the server closes."""
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as sock:
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nD360-API-KEY: {self.key}\r\n\r\n"
            sock.sendall(head.encode())
            received = b""
            while chunk := sock.recv(65536):
                received += chunk
            return received


@pytest.fixture(scope="session")
def shared():
    with emulator.running() as emu:
        yield emu


@pytest.fixture
def channel(shared):
    number_id = str(next(_numbers))
    shared.add_number(number_id, f"key-of-{number_id}")
    channel = Channel(shared, number_id, f"key-of-{number_id}")
    yield channel
    channel.session.close()
    shared.disarm()
    shared.state.settings = emulator.Settings()
    shared.configure()
    shared.state.clock.offset_s = 0.0


@pytest.fixture
def other(shared):
    number_id = str(next(_numbers))
    shared.add_number(number_id, f"key-of-{number_id}")
    channel = Channel(shared, number_id, f"key-of-{number_id}")
    yield channel
    channel.session.close()
