"""The way to 360dialog, before hostile resolvers, gateways and environments: the key leaves to the one host that proves its name."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider_360dialog import exceptions as ex
from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.hooks.connection import DEFAULT_BASE_URL, read_connection
from airflow_provider_360dialog.ports import Channel, Timeouts
from tests.support.wire import KEY, answering, channel, http

HOST = DEFAULT_BASE_URL.removeprefix("https://")
QUICK = Timeouts(connect_s=2.0, idle_s=2.0, total_s=4.0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of 360dialog's own host name, made by a stranger."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}",
         "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", str(path), "-out", f"{path}.crt"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


class Gateway:
    """A TLS server on loopback, and all that it could read of what it was sent."""

    def __init__(self, context):
        self._server, self._context, self.read = socket.create_server(("127.0.0.1", 0)), context, []
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            try:
                connection.settimeout(5)
                with connection, self._context.wrap_socket(connection, server_side=True) as secured:
                    self.read.append(secured.recv(65536))
                    secured.sendall(http(body=b'{"success":true}'))
            except OSError:
                self.read.append(b"")

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)


@contextmanager
def gateway(certificate, *, newest=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if newest is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    context.load_cert_chain(certificate)
    running = Gateway(context)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def resolve(monkeypatch):
    """From now on a name leads where a hostile resolver says."""
    real = socket.getaddrinfo

    def to(name, port):
        def lie(host, asked, *args, **kwargs):
            return real("127.0.0.1", port, *args, **kwargs) if host == name else real(host, asked, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", lie)

    return to


# --- T3: where a name leads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fetch", "delete"])
def test_a_name_that_leads_to_a_private_address_gets_no_byte_of_a_request(call, certificate, resolve):
    """Whoever answers there cannot prove the name: the handshake ends before the key is sent."""
    with gateway(certificate) as inside:
        resolve(HOST, inside.port)
        outcome = getattr(MediaApi(Channel(api_key=KEY, base_url=DEFAULT_BASE_URL, timeouts=QUICK)), call)("123")
    assert isinstance(outcome, ex.CertificateError)
    assert inside.read == [b""]


def test_the_gateway_of_these_tests_reads_what_a_trusting_client_sends(certificate, resolve):
    """Else the others would prove nothing."""
    with gateway(certificate) as inside:
        resolve(HOST, inside.port)
        trusting = Channel(api_key=KEY, base_url=DEFAULT_BASE_URL, timeouts=QUICK, ca_bundle=f"{certificate}.crt")
        assert MediaApi(trusting).delete("123") is True
    assert KEY.encode() in inside.read[0]


class Connection:
    conn_id, conn_type, port, schema, login, password = "number_a", "dialog360", None, None, None, "test-key"

    def __init__(self, host, extra):
        self.host, self.extra, self.extra_dejson = host, extra, extra


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "169.254.169.254", "192.168.1.1", "[fd00::1]", "[fe80::1]", "0.0.0.0", "2130706433"]
)
def test_plain_http_to_a_private_address_is_refused(host):
    """Only this machine's own addresses may be asked without TLS, unless the connection says so."""
    with pytest.raises(ex.ConnectionInvalidError):
        read_connection(Connection(f"http://{host}", {}))


@pytest.mark.parametrize("host", ["10.0.0.5", "169.254.169.254", "localhost", "2130706433", "[fd00::1]", "::1"])
def test_no_address_is_a_further_media_host(host):
    """What a redirect or a webhook may name is a public name, or nothing."""
    with pytest.raises(ex.ConnectionInvalidError):
        read_connection(Connection(None, {"extra_download_hosts": host}))


def test_a_further_media_host_that_leads_inside_gets_no_byte_of_a_request(certificate, resolve):
    """The host of a redirected download has to prove its name as well; no key would be with it either."""
    name = "media.example.com"
    moved = http("302 Found", Location=f"https://{name}/latest/meta-data/")
    with answering(moved) as home, gateway(certificate) as inside:
        resolve(name, inside.port)
        api = MediaApi(Channel(api_key=KEY, base_url=home.base_url, timeouts=QUICK, download_hosts=frozenset({name})))
        target = api.read_url("https://lookaside.fbsbx.com/whatsapp_business/attachments/?hash=AT")
        outcome = api.download(target, sink=open("/dev/null", "wb"), max_bytes=10)  # noqa: PTH123, SIM115 - a sink
    assert isinstance(outcome, ex.CertificateError)
    assert inside.read == [b""]


# --- T21: TLS -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_before_1_2_is_refused(newest, certificate, resolve):
    """Also where the certificate is trusted. A client that is less careful is served, so it is not the gateway that refuses."""
    with gateway(certificate, newest=newest) as old:
        careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        careless.set_ciphers("ALL:@SECLEVEL=0")
        careless.minimum_version, careless.check_hostname, careless.verify_mode = ssl.TLSVersion.TLSv1, False, ssl.CERT_NONE
        with careless.wrap_socket(socket.create_connection(("127.0.0.1", old.port))) as connection:
            assert connection.version() == {ssl.TLSVersion.TLSv1: "TLSv1", ssl.TLSVersion.TLSv1_1: "TLSv1.1"}[newest]
            connection.sendall(b"hello")
            connection.recv(100)
        resolve(HOST, old.port)
        trusting = Channel(api_key=KEY, base_url=DEFAULT_BASE_URL, timeouts=QUICK, ca_bundle=f"{certificate}.crt")
        outcome = MediaApi(trusting).delete("123")
    assert isinstance(outcome, ex.CertificateError)
    assert old.read == [b"hello", b""]


@pytest.mark.parametrize("extra", [{"verify": False}, {"verify_ssl": "false"}, {"check": False}])
def test_no_field_of_the_connection_turns_verification_off(extra):
    with pytest.raises(ex.ConnectionInvalidError, match="there is no such field"):
        read_connection(Connection(None, extra))


# --- T22: the environment -----------------------------------------------------------------------------------------

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_of_the_environment_sees_nothing(scheme, certificate, resolve, monkeypatch):
    """Nor is one asked for its opinion: the variables may be set for something else on the same worker."""
    with answering(http(body=b"{}")) as trap, answering(http(body=b'{"success":true}')) as home, gateway(certificate) as secured:
        for name in PROXIES:
            monkeypatch.setenv(name, trap.base_url)
        if scheme == "http":
            outcome = MediaApi(channel(home.base_url)).delete("123")
        else:
            resolve(HOST, secured.port)
            trusting = Channel(api_key=KEY, base_url=DEFAULT_BASE_URL, timeouts=QUICK, ca_bundle=f"{certificate}.crt")
            outcome = MediaApi(trusting).delete("123")
    assert outcome is True
    assert trap.received == []


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_certificate_of_the_environment_is_not_trusted(name, certificate, resolve, monkeypatch):
    """A bundle that was set for another program, or by whoever reads along, opens nothing; the connection's `ca_bundle` does."""
    monkeypatch.setenv(name, f"{certificate}.crt")
    with gateway(certificate) as inside:
        resolve(HOST, inside.port)
        outcome = MediaApi(Channel(api_key=KEY, base_url=DEFAULT_BASE_URL, timeouts=QUICK)).delete("123")
    assert isinstance(outcome, ex.CertificateError)
    assert inside.read == [b""]


def test_a_netrc_adds_nothing_to_a_request(tmp_path, monkeypatch):
    """`requests` would send the password of ~/.netrc to a host of that name."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password test-password-of-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with answering(http(body=b'{"success":true}')) as home:
        assert MediaApi(channel(home.base_url)).delete("123") is True
    assert b"authorization" not in home.received[0].lower()
