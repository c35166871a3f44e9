"""One exchange over real sockets: bounds, bytes, secrets."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import multiprocessing
import socket
import ssl
import subprocess
import threading
import time
import traceback
from pathlib import Path

import pytest

from airflow_provider_360dialog import emulator
from airflow_provider_360dialog import exceptions as ex
from airflow_provider_360dialog.api import sockets
from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.ports import Channel, FetchedMedia, Timeouts
from tests.support.wire import KEY, MemorySource, answering, channel, http, listening

PNG = b"\x89PNG\r\n\x1a\n" + b"content" * 1000
URL = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?"


class Sink:
    def __init__(self) -> None:
        self.content = b""

    def write(self, block: bytes) -> None:
        self.content += block


def upload(api: MediaApi, content: bytes = PNG) -> str | ex.Dialog360Error:
    sha256 = hashlib.sha256(content).hexdigest()
    return api.upload(MemorySource(content), size_bytes=len(content), sha256=sha256, mime_type="image/png", filename="a.png")


def head_of(request: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return first, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


# --- what leaves --------------------------------------------------------------------------------------------------


def test_a_request_says_who_asks_and_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    """Key, a User-Agent of ours, no compression asked for; proxy variables and ~/.netrc are not looked at."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with answering(http(body=b'{"success":true}')) as server:
        assert MediaApi(channel(server.base_url)).delete("123") is True
    first, headers = head_of(server.received[0])
    assert first == "DELETE /123 HTTP/1.1"
    assert headers.pop("host") == server.base_url.removeprefix("http://")
    assert headers.pop("user-agent").startswith("airflow-provider-360dialog/")
    assert headers == {"d360-api-key": KEY, "accept-encoding": "identity", "accept": "*/*"}


@pytest.mark.parametrize("query", ["mid=1&ext=2&hash=AT%2b%2F~!$'()*,;:@/?", "b=1&a=2&a=3&&=", "hash=%e4"])
def test_the_query_of_a_media_url_leaves_byte_for_byte(query: str):
    with answering(http(body=b"x")) as server:
        api = MediaApi(channel(server.base_url))
        api.download(api.read_url(URL + query), Sink(), max_bytes=10)
    assert head_of(server.received[0])[0] == f"GET /whatsapp_business/attachments/?{query} HTTP/1.1"


def test_cookies_are_not_kept():
    with answering(http(body=b'{"success":true}', Set_Cookie="a=b")) as server:
        api = MediaApi(channel(server.base_url))
        api.delete("1")
        api.delete("2")
    assert all(b"ookie" not in request for request in server.received)


def test_a_configured_proxy_is_asked_with_the_target_byte_for_byte():
    with answering(http(body=b"x")) as proxy:
        api = MediaApi(Channel(api_key=KEY, base_url="http://127.0.0.1:9", proxy=proxy.base_url))
        api.download(api.read_url(f"{URL}hash=%2b"), sink := Sink(), max_bytes=10)
    assert head_of(proxy.received[0])[0] == "GET http://127.0.0.1:9/whatsapp_business/attachments/?hash=%2b HTTP/1.1"
    assert sink.content == b"x"


def test_connections_are_kept_and_shared_by_threads(emu: emulator.Emulator):
    api = MediaApi(channel(emu.base_url, key=emu.key))
    seen: list[object] = []
    threads = [threading.Thread(target=lambda: seen.append(upload(api))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({media_id for media_id in seen if isinstance(media_id, str)}) == 20


def _upload_in_child(api: MediaApi, results: multiprocessing.Queue) -> None:
    results.put(str(upload(api)))


def test_a_forked_child_opens_its_own_connections(emu: emulator.Emulator):
    """Two processes on one socket would read each other's answers."""
    api = MediaApi(channel(emu.base_url, key=emu.key))
    first = upload(api)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_upload_in_child, args=(api, results))
    child.start()
    second, third = results.get(timeout=10), upload(api)
    child.join(10)
    assert len({first, second, third}) == 3
    assert all(str(media_id).isdigit() for media_id in (first, second, third))


# --- bounds -------------------------------------------------------------------------------------------------------


def _drip(interval_s: float, head: bytes, tail: bytes):
    def serve(connection: socket.socket, _request: bytes, _number: int) -> None:
        connection.sendall(head)
        for byte in tail:
            connection.sendall(bytes([byte]))
            time.sleep(interval_s)

    return serve


@pytest.mark.parametrize("part", ["status line", "header", "body"])
def test_a_server_that_drips_is_given_up_at_the_deadline(part: str):
    """One byte at a time never runs into an idle time-out; the deadline of the whole exchange holds all the same."""
    head = {"status line": b"", "header": b"HTTP/1.1 200 OK\r\nX: ", "body": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"}[
        part
    ]
    with listening(_drip(0.05, head, b"H" * 400)) as server:
        started = time.monotonic()
        error = MediaApi(channel(server.base_url, total_s=0.6, idle_s=5)).fetch("1")
    assert isinstance(error, ex.InterruptedExchangeError)
    assert "deadline" in str(error)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("part", ["status line", "header"])
def test_the_head_of_a_download_has_no_more_time_than_any_other(part: str):
    """The time for 100 MB begins when the file does."""
    head = {"status line": b"", "header": b"HTTP/1.1 200 OK\r\nX: "}[part]
    with listening(_drip(0.05, head, b"H" * 400)) as server:
        api = MediaApi(channel(server.base_url, total_s=0.6, idle_s=5))
        target = api.read_url(f"{server.base_url}/whatsapp_business/attachments/?mid=1")
        error = api.download(target, io.BytesIO(), max_bytes=100 * 1024 * 1024)
    assert isinstance(error, ex.InterruptedExchangeError)
    assert "deadline" in str(error)


def test_a_download_that_crawls_is_given_up(monkeypatch: pytest.MonkeyPatch):
    """Though a byte comes now and then, and there is time for 100 MB."""
    monkeypatch.setattr(sockets, "CRAWL_S", 0.4)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    with listening(_drip(0.05, head, b"H" * 400)) as server:
        api = MediaApi(channel(server.base_url, total_s=60, idle_s=5))
        target = api.read_url(f"{server.base_url}/whatsapp_business/attachments/?mid=1")
        error = api.download(target, io.BytesIO(), max_bytes=100 * 1024 * 1024)
    assert isinstance(error, ex.InterruptedExchangeError)
    assert "less than 10 kB/s" in str(error)


def test_a_silent_server_is_given_up_after_the_idle_time():
    with listening(lambda *_: time.sleep(1.5)) as server:
        error = MediaApi(channel(server.base_url, idle_s=0.3)).fetch("1")
    assert isinstance(error, ex.InterruptedExchangeError)
    assert "0.3 s without a byte" in str(error)


def test_a_server_that_never_reads_is_given_up():
    """An upload into a full socket buffer ends too."""
    release = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        connection, _ = server.accept()
        release.wait(10)
        connection.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        api = MediaApi(channel(f"http://127.0.0.1:{server.getsockname()[1]}", connect_s=0.4, idle_s=0.4, total_s=0.5))
        error = upload(api, b"x" * 40_000_000)
    finally:
        release.set()
        thread.join(10)
        server.close()
    assert isinstance(error, ex.InterruptedExchangeError)


def test_no_connection_means_that_nothing_was_sent():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = MediaApi(channel(f"http://127.0.0.1:{port}")).fetch("1")
    assert isinstance(error, ex.UnreachableError)
    assert "refused" in str(error)


def test_an_unknown_host_means_that_nothing_was_sent():
    error = MediaApi(channel("https://no-such-host.invalid")).fetch("1")
    assert isinstance(error, ex.UnreachableError)
    assert "name cannot be resolved" in str(error)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{", b"nonsense\r\n\r\n"],
    ids=["closed without an answer", "cut off before its length", "cut off inside a chunk", "not HTTP"],
)  # fmt: skip
def test_half_an_answer_is_a_cut_off_exchange(answer: bytes):
    with answering(answer) as server:
        assert isinstance(MediaApi(channel(server.base_url)).fetch("1"), ex.InterruptedExchangeError)


def test_a_long_answer_is_not_read_to_its_end():
    """Sixty-four kilobytes are enough for any JSON of this API."""
    sent = 0

    def serve(connection: socket.socket, _request: bytes, _number: int) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(2000):
            connection.sendall(b" " * 65536)
            sent += 65536

    with listening(serve) as server:
        error = MediaApi(channel(server.base_url)).fetch("1")
    assert isinstance(error, ex.AnswerUnreadableError)
    assert "64 kB" in str(error)
    assert sent < 60_000_000


def test_a_download_takes_one_byte_more_than_allowed_and_no_more():
    with answering(http(body=b"x" * 100_000)) as server:
        api = MediaApi(channel(server.base_url))
        api.download(api.read_url(f"{URL}hash=x"), sink := Sink(), max_bytes=1000)
    assert len(sink.content) == 1001


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(gzip.compress(b'{"success":true}'), "gzip"), (b'{"success":true}', "identity")],
    ids=["gzip", "identity"],
)
def test_an_answer_that_was_compressed_unasked_is_read(body: bytes, encoding: str):
    with answering(http(body=body, Content_Encoding=encoding)) as server:
        assert MediaApi(channel(server.base_url)).delete("1") is True


def test_a_bomb_in_an_answer_is_unreadable():
    with answering(http(body=gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")) as server:
        assert isinstance(MediaApi(channel(server.base_url)).delete("1"), ex.AnswerUnreadableError)


def test_a_refusal_before_the_body_was_read_is_seen():
    """413 while we still send: the answer counts, not the broken pipe."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(http("413 Payload Too Large", b'{"error":"too big"}'))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            continue

    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: serve(server.accept()[0]))
    thread.start()
    error = upload(MediaApi(channel(f"http://127.0.0.1:{server.getsockname()[1]}")), b"x" * 5_000_000)
    thread.join(10)
    server.close()
    assert isinstance(error, ex.UploadRefusedError)


def test_other_bytes_than_were_judged_are_noticed(emu: emulator.Emulator):
    """A file that changed between judgement and sending: the id stands for something that nobody judged."""
    api = MediaApi(channel(emu.base_url, key=emu.key))
    error = api.upload(MemorySource(b"y" * 10), size_bytes=10, sha256="0" * 64, mime_type="image/png", filename="a.png")
    assert isinstance(error, ex.SourceChangedError)
    assert error.media_id is not None


# --- secrets ------------------------------------------------------------------------------------------------------


def test_urllib3_logs_our_requests_without_their_query(caplog: pytest.LogCaptureFixture):
    """Its DEBUG lines hold path and query; other people's lines are left alone."""
    caplog.set_level(logging.DEBUG)
    with answering(http(body=b"x")) as server:
        api = MediaApi(channel(server.base_url))
        api.download(api.read_url(f"{URL}hash=ATcanary"), Sink(), max_bytes=10)
        import requests

        requests.get(f"{server.base_url}/theirs?q=1", timeout=5)
    assert "/whatsapp_business/attachments/?..." in caplog.text
    assert "/theirs?q=1" in caplog.text
    assert "ATcanary" not in caplog.text


def test_http_client_debugging_does_not_print_the_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    import http.client

    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with answering(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"success":true}') as server:
        MediaApi(channel(server.base_url)).delete("1")
    assert KEY not in capsys.readouterr().out


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "500 Oops", "429 Slow", "200 OK"])
def test_a_server_that_quotes_key_and_url_back_brings_neither_into_an_error(status: str):
    """Nor do the exception's chain and its traceback lead to them."""
    query = "mid=1&ext=2&hash=ATcanary/x"
    body = f'{{"error":"you sent {KEY} to ?{query} and hash ATcanary\\/x"}}'.encode()
    with answering(http(status, body)) as server:
        api = MediaApi(channel(server.base_url))
        for outcome in (api.fetch("1"), api.delete("1"), api.health(), upload(api)):
            assert KEY not in repr(outcome) + str(outcome)
        outcome = api.download(api.read_url(URL + query), Sink(), max_bytes=10_000)
        assert "ATcanary" not in repr(outcome) + str(outcome)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"], ids=["closed", "cut off"])
def test_a_network_fault_leads_back_to_no_secret(answer: bytes):
    """No chained exception of a library, whose text and request object hold them."""
    with answering(answer) as server:
        api = MediaApi(channel(server.base_url))
        error = api.download(api.read_url(f"{URL}hash=ATcanary"), Sink(), max_bytes=10)
    assert isinstance(error, ex.InterruptedExchangeError)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "ATcanary" not in "".join(traceback.format_exception(error))


def test_records_and_settings_show_no_secret():
    shown = repr(Channel(api_key=KEY, base_url="https://h", proxy="http://p", timeouts=Timeouts()))
    assert KEY not in shown


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", f"{path}.crt"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def _serve_tls(server: socket.socket, certificate: Path, seen: list[bytes]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    try:
        with context.wrap_socket(server.accept()[0], server_side=True) as connection:
            seen.append(connection.recv(65536))
            connection.sendall(http(body=b'{"success":true}'))
    except OSError:
        seen.append(b"")


@pytest.mark.parametrize(("host", "trusted"), [("localhost", True), ("localhost", False), ("127.0.0.1", True)],
                         ids=["trusted by the connection's bundle", "self-signed", "another name"])  # fmt: skip
def test_a_certificate_is_verified_before_anything_is_sent(certificate: Path, host: str, trusted: bool):
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve_tls, args=(server, certificate, seen))
        thread.start()
        bundle = f"{certificate}.crt" if trusted else None
        api = MediaApi(Channel(api_key=KEY, base_url=f"https://{host}:{server.getsockname()[1]}", ca_bundle=bundle))
        outcome = api.delete("1")
        thread.join(10)
    if host == "localhost" and trusted:
        assert outcome is True
        assert KEY.encode() in seen[0]
    else:
        assert isinstance(outcome, ex.CertificateError)
        assert seen == [b""]


def test_a_plain_http_server_behind_https_is_a_setup_fault():
    def serve() -> None:
        with server.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(http("400 Bad Request"))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        outcome = MediaApi(channel(f"https://127.0.0.1:{server.getsockname()[1]}")).delete("1")
        thread.join(10)
    assert isinstance(outcome, ex.CertificateError)


# --- the whole way ------------------------------------------------------------------------------------------------


def test_the_four_calls_and_health_against_the_emulator(emu: emulator.Emulator):
    api = MediaApi(channel(emu.base_url, key=emu.key))
    assert api.health().phone_number_id == emu.number_id  # type: ignore[union-attr]
    media_id = upload(api)
    assert isinstance(media_id, str)
    fetched = api.fetch(media_id)
    assert isinstance(fetched, FetchedMedia)
    assert (fetched.size_bytes, fetched.sha256) == (len(PNG), hashlib.sha256(PNG).hexdigest())
    api.download(api.read_url(fetched.url.reveal()), sink := Sink(), max_bytes=len(PNG))
    assert sink.content == PNG
    assert api.delete(media_id) is True
    assert isinstance(api.fetch(media_id), ex.MediaGoneError)
