"""Where an answer may send us, as a table, and what a foreign host really gets to see."""

from __future__ import annotations

import pytest

from airflow_provider_360dialog import emulator
from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.api.redirects import Hop, decide_hop
from airflow_provider_360dialog.exceptions import RedirectRefusedError
from tests.support.wire import KEY, MemorySource, answering, channel, http

BASE = "https://waba-v2.360dialog.io"
CDN = "media.example.com"


def decide(
    location: str | None, *, operation: str = "download", method: str = "GET", status: int = 308, target: str = "/a/b?q=1"
):
    return decide_hop(
        operation=operation,
        method=method,
        status=status,
        location=location,
        at=Hop(BASE, target, with_key=True),
        base_url=BASE,
        download_hosts=frozenset({CDN}),
    )


FOLLOWED = {
    "absolute": (f"{BASE}/v2/x?y=%2f", Hop(BASE, "/v2/x?y=%2f", with_key=True)),
    "absolute with the default port": (f"{BASE}:443/v2", Hop(BASE, "/v2", with_key=True)),
    "upper case": ("HTTPS://WABA-V2.360DIALOG.IO/v2", Hop(BASE, "/v2", with_key=True)),
    "a path": ("/v2/x", Hop(BASE, "/v2/x", with_key=True)),
    "a relative path": ("c", Hop(BASE, "/a/c", with_key=True)),
    "a query only": ("?z=2", Hop(BASE, "/a/b?z=2", with_key=True)),
    "the host without a path": (BASE, Hop(BASE, "/", with_key=True)),
    "a fragment, which is dropped": ("/v2#x", Hop(BASE, "/v2", with_key=True)),
    "without a scheme": ("//waba-v2.360dialog.io/v2", Hop(BASE, "/v2", with_key=True)),
    "a download to a listed host, without the key": (f"https://{CDN}/f?s=1", Hop(f"https://{CDN}", "/f?s=1", with_key=False)),
}
REFUSED = {
    "nothing": None,
    "empty": "",
    "another host": "https://evil.example/x",
    "another host without a scheme": "//evil.example/x",
    "http": "http://waba-v2.360dialog.io/x",
    "another port": f"{BASE}:8443/x",
    "a user on the same host": "https://user:pw@waba-v2.360dialog.io/x",
    "the host as a user": "https://waba-v2.360dialog.io@evil.example/x",
    "a subdomain": "https://x.waba-v2.360dialog.io/x",
    "a look-alike": "https://waba-v2.360dialog.io.evil.example/x",
    "a trailing dot": "https://waba-v2.360dialog.io./x",
    "a Cyrillic look-alike": "https://wаba-v2.360dialog.io/x",
    "a backslash": "https:\\\\evil.example/x",
    "a slash and a backslash": "/\\evil.example/x",
    "white space": "https://waba-v2.360dialog.io/a b",
    "a header split": "/x\r\nX: 1",
    "another scheme": "ftp://waba-v2.360dialog.io/x",
    "file": "file:///etc/passwd",
    "an address in brackets that is none": "https://[",
    "an address in brackets without a scheme": "//[::g]/x",
    "a listed host over http": f"http://{CDN}/f",
    "a listed host at a port": f"https://{CDN}:8443/f",
    "a listed host with a user": f"https://u@{CDN}/f",
}


@pytest.mark.parametrize(("location", "hop"), FOLLOWED.values(), ids=FOLLOWED.keys())
def test_a_redirect_is_followed_to(location: str, hop: Hop):
    assert decide(location) == hop


@pytest.mark.parametrize("location", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_to(location: str | None, status: int):
    refused = decide(location, status=status)
    assert isinstance(refused, RedirectRefusedError)
    assert "pw" not in str(refused)


def test_only_a_download_leaves_for_a_listed_host():
    for operation in ("upload", "fetch", "delete", "health"):
        assert isinstance(decide(f"https://{CDN}/f", operation=operation), RedirectRefusedError)


def test_away_from_home_nothing_leads_back_with_the_key():
    """A listed host could otherwise choose what is asked of 360dialog with our key."""
    away = Hop(f"https://{CDN}", "/f", with_key=False)
    back = decide_hop(operation="download", method="GET", status=302, location=f"{BASE}/1", at=away, base_url=BASE,
                      download_hosts=frozenset({CDN}))  # fmt: skip
    assert isinstance(back, RedirectRefusedError)


def test_303_is_followed_for_a_get_only():
    """It would turn an upload into something that nobody asked for."""
    assert isinstance(decide("/x", operation="upload", method="POST", status=303), RedirectRefusedError)
    assert decide("/x", status=303) == Hop(BASE, "/x", with_key=True)


CALLS = {
    "upload": lambda api: api.upload(
        MemorySource(b"SECRET BODY"), size_bytes=11, sha256="", mime_type="image/png", filename="a.png"
    ),
    "fetch": lambda api: api.fetch("123"),
    "download": lambda api: api.download(
        api.read_url("https://lookaside.fbsbx.com/whatsapp_business/attachments/?hash=ATcanary"), _Sink(), max_bytes=100
    ),
    "delete": lambda api: api.delete("123"),
}


class _Sink:
    def write(self, block: bytes) -> None:
        pytest.fail("a refused redirect gave bytes")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("form", ["another host", "http", "another port", "a user"])
def test_a_foreign_listener_sees_neither_key_nor_body(emu_for_redirects, status: int, form: str, call):
    """Whatever the status and the form of the address, nothing at all is sent there, and the error shows scheme and host only."""
    emu = emu_for_redirects
    with answering(http(body=b"{}")) as foreign:
        location = {
            "another host": f"http://localhost:{foreign.port}/steal?hash=ATcanary",
            "http": f"http://127.0.0.2:{foreign.port}/steal?hash=ATcanary",
            "another port": f"http://127.0.0.1:{foreign.port}/steal?hash=ATcanary",
            "a user": emu.base_url.replace("//", "//user:pw@") + "/steal?hash=ATcanary",
        }[form]
        emu.disarm()
        emu.arm("redirect", status=status, location=location)
        error = call(MediaApi(channel(emu.base_url, key=emu.key)))
        assert isinstance(error, RedirectRefusedError)
        assert foreign.received == []
    for secret in ("ATcanary", "steal", KEY, emu.key, "pw"):
        assert secret not in str(error)


@pytest.fixture(scope="module")
def emu_for_redirects():
    with emulator.running() as running:
        yield running


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("when", ["headers", "body"])
def test_a_redirect_to_the_same_origin_sends_the_whole_upload_again(emu: emulator.Emulator, status: int, when: str):
    """Method and body are kept, whether the host has read the body before it answers or not."""
    import hashlib

    content = b"\x89PNG\r\n\x1a\n" + bytes(300_000)
    emu.arm("redirect", status=status, when=when, operation="upload", hops=2)
    media_id = MediaApi(channel(emu.base_url, key=emu.key)).upload(
        MemorySource(content),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        mime_type="image/png",
        filename="a.png",
    )
    assert isinstance(media_id, str)
    assert emu.content(media_id) == content


def test_a_chain_of_redirects_ends_after_three(emu: emulator.Emulator):
    emu.arm("redirect", loop=True, times="always")
    error = MediaApi(channel(emu.base_url, key=emu.key)).health()
    assert isinstance(error, RedirectRefusedError)
    assert "more than 3" in str(error)
    assert len(emu.requests()) == 4
