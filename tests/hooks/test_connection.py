"""From an Airflow connection to a channel: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
import logging
from urllib.parse import quote

import pytest
from airflow.sdk import Connection

from airflow_provider_360dialog.exceptions import ConnectionInvalidError
from airflow_provider_360dialog.get_provider_info import get_provider_info
from airflow_provider_360dialog.hooks import connection as module
from airflow_provider_360dialog.hooks.connection import read_connection
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.ports import Channel, Policy, Timeouts
from tests.canary import KEY

LIKE_A_KEY = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU"  # 26 letters and digits, as 360dialog's keys are
STANDARD = "https://waba-v2.360dialog.io"


def conn(*, extra=None, **fields):
    extra = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
    return Connection(**{"conn_id": "number_a", "conn_type": "dialog360", "password": KEY, "extra": extra} | fields)


def refusal(connection):
    with pytest.raises(ConnectionInvalidError) as caught:
        read_connection(connection)
    return caught.value


@pytest.fixture
def from_environment(monkeypatch):
    """Airflow's own parsing of `AIRFLOW_CONN_...`, through the hook."""

    def read(text):
        monkeypatch.setenv("AIRFLOW_CONN_NUMBER_A", text)
        return Dialog360Hook("number_a")._read_channel()

    return read


def test_a_key_is_all_that_it_needs():
    """Everything else has a default: the host, the strict policy, a full share."""
    assert read_connection(conn()) == Channel(api_key=KEY, base_url=STANDARD)


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        pytest.param({"host": "https://waba-v2.360dialog.io/"}, STANDARD, id="a trailing slash is no path"),
        pytest.param({"host": "waba-v2.360dialog.io"}, STANDARD, id="https is understood"),
        pytest.param({"host": " https://waba-v2.360dialog.io "}, STANDARD, id="blanks around it are cut off"),
        pytest.param({"host": "HTTPS://WABA-V2.360dialog.IO"}, STANDARD, id="case does not matter"),
        pytest.param({"host": "https://waba-v2.360dialog.io:443"}, STANDARD, id="the default port is left out"),
        pytest.param({"host": "https://waba-v2.360dialog.io."}, STANDARD, id="a final dot is left out"),
        pytest.param({"host": "example.com", "schema": "https"}, "https://example.com", id="the scheme in its own field"),
        pytest.param({"host": "https://example.com", "port": 8443}, "https://example.com:8443", id="the port in its own field"),
        pytest.param({"host": "http://127.0.0.1:8360"}, "http://127.0.0.1:8360", id="plain http to this machine"),
        pytest.param({"host": "http://127.8.9.1:1"}, "http://127.8.9.1:1", id="all of 127 is this machine"),
        pytest.param({"host": "localhost", "schema": "http", "port": 1}, "http://localhost:1", id="localhost is this machine"),
        pytest.param({"host": "http://[::1]:8360"}, "http://[::1]:8360", id="IPv6 loopback is this machine"),
    ],
)
def test_reads_the_host(fields, base_url):
    """Scheme, host and port end up as one base URL without a slash."""
    assert read_connection(conn(**fields)).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        pytest.param({"conn_type": "http"}, "conn_type", "dialog360", id="another connection type"),
        pytest.param({"password": None}, "password", "empty", id="no key"),
        pytest.param({"password": ""}, "password", "empty", id="an empty key"),
        pytest.param({"password": f"{KEY}\n"}, "password", "white space", id="a key with a newline"),
        pytest.param({"password": f"{KEY}\r\nX-Evil: 1"}, "password", "white space", id="a key that is a header injection"),
        pytest.param({"password": f"{KEY} "}, "password", "white space", id="a key with a blank"),
        pytest.param({"password": f"{KEY}\N{ZERO WIDTH SPACE}"}, "password", "white space", id="a key with an invisible letter"),
        pytest.param({"login": KEY, "password": None}, "login", "password", id="the key in the login"),
        pytest.param({"login": "me"}, "login", "password", id="a login besides the key"),
        pytest.param({"host": "waba.360dialog.io"}, "host", "retired", id="the retired host"),
        pytest.param({"host": "https://WABA.360dialog.io./"}, "host", "retired", id="the retired host in disguise"),
        pytest.param({"host": "waba-sandbox.360dialog.io"}, "host", "sandbox", id="the sandbox"),
        pytest.param({"host": "hub.360dialog.io"}, "host", "Partner", id="the partner API"),
        pytest.param({"host": "lookaside.fbsbx.com"}, "host", "Meta", id="the media host"),
        pytest.param({"host": "graph.facebook.com"}, "host", "Meta", id="Meta's API"),
        pytest.param({"host": "http://waba-v2.360dialog.io"}, "host", "https", id="plain http to the world"),
        pytest.param({"host": "x.io", "schema": "http"}, "host", "https", id="plain http by the schema"),
        pytest.param({"host": "http://127.0.0.1.nip.io"}, "host", "https", id="a name that looks like loopback"),
        pytest.param({"host": "http://localhost.evil.io"}, "host", "https", id="a name that begins with localhost"),
        pytest.param({"host": "http://0.0.0.0:8360"}, "host", "https", id="the any address is not loopback"),
        pytest.param({"host": "http://169.254.169.254"}, "host", "link-local", id="a cloud's metadata address"),
        pytest.param({"host": f"https://{KEY}@waba-v2.360dialog.io"}, "host", "user", id="a user in the host"),
        pytest.param({"host": f"https://:{KEY}@waba-v2.360dialog.io"}, "host", "user", id="a password in the host"),
        pytest.param({"host": f"{STANDARD}/v1"}, "host", "path", id="a path"),
        pytest.param({"host": f"{STANDARD}?a=1"}, "host", "path", id="a query"),
        pytest.param({"host": f"{STANDARD}#a"}, "host", "path", id="a fragment"),
        pytest.param({"host": f"https:\\\\{KEY}"}, "host", "", id="backslashes"),
        pytest.param({"host": "ftp://example.com"}, "host", "base URL", id="another scheme"),
        pytest.param({"host": "https://"}, "host", "base URL", id="a scheme and no host"),
        pytest.param({"host": "https://exa mple.com"}, "host", "base URL", id="a blank in the host"),
        pytest.param({"host": "https://ex\N{CYRILLIC SMALL LETTER A}mple.com"}, "host", "base URL", id="a look-alike letter"),
        pytest.param({"host": "https://[::1"}, "host", "base URL", id="an open bracket"),
        pytest.param({"host": "https://example.com:99999"}, "host", "base URL", id="a port that is none"),
        pytest.param({"host": "https://example.com:x"}, "host", "base URL", id="a port that is no number"),
        pytest.param({"host": "https://example.com", "port": 99999}, "port", "", id="a port field that is none"),
        pytest.param({"host": "https://example.com", "port": -1}, "port", "", id="a negative port field"),
        pytest.param({"extra": '["a"]'}, "extra", "JSON object", id="an extra that is a list"),
        pytest.param({"extra": '"a"'}, "extra", "JSON object", id="an extra that is a text"),
        pytest.param({"extra": '{"__extra__": "[1]"}'}, "extra", "", id="an inner extra that is a list"),
        pytest.param({"extra": '{"__extra__": "x"}'}, "extra", "JSON object", id="an inner extra that is no JSON"),
    ],
)
def test_refuses_and_names_the_field(fields, field, says):
    """A malformed connection is refused in a sentence that names the field, and never shows the key."""
    error = refusal(conn(**fields))
    assert (error.conn_id, error.field) == ("number_a", field)
    assert says in error.reason
    assert KEY not in str(error)


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        pytest.param({"api_key": "x"}, "extra: api_key", id="a name for a key"),
        pytest.param({"D360-API-KEY": "x"}, "extra: D360-API-KEY", id="the header's name"),
        pytest.param({"headers": {"Authorization": "x"}}, "extra: headers", id="a header inside"),
        pytest.param({"comment": LIKE_A_KEY}, "extra: comment", id="a key under an innocent name"),
        pytest.param({"comment": [{"a": LIKE_A_KEY}]}, "extra: comment", id="a key deep inside"),
        pytest.param({"phone_number_id": LIKE_A_KEY}, "extra: phone_number_id", id="a key under a name that is known"),
        pytest.param({"throttle_policy": f" {LIKE_A_KEY} "}, "extra: throttle_policy", id="a key with blanks"),
        pytest.param({"extra_download_hosts": LIKE_A_KEY}, "extra: extra_download_hosts", id="a key for a host"),
        pytest.param({"ca_bundle": LIKE_A_KEY}, "extra: ca_bundle", id="a key for a path"),
        pytest.param({"proxy": LIKE_A_KEY}, "extra: proxy", id="a key for a proxy"),
        pytest.param({"proxy": f"http://me:{LIKE_A_KEY}@p.io:1"}, "extra: proxy", id="a proxy with a password"),
        pytest.param({LIKE_A_KEY: 1}, None, id="a key for a name"),
        pytest.param({"__extra__": json.dumps({"token": LIKE_A_KEY})}, "extra: token", id="a key in the inner extra"),
    ],
)
def test_a_secret_in_extra_is_refused_and_not_repeated(extra, field):
    """The key goes into the password, which Airflow encrypts and masks, and nowhere else."""
    error = refusal(conn(extra=extra))
    assert field is None or error.field == field
    assert LIKE_A_KEY not in str(error)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("phone_number_id", ["+49123", "12 34", "x", "1" * 33, "١٢"], "digits"),
        ("throttle_policy", ["Strict", "lax"], "strict"),
        ("throttle_policy", [True, ["strict"], {"a": 1}], "not a text"),
        ("uploads_per_second", [0, -1, 25, "24.51", "nan", "inf", "-inf", "x", True, [1], {}, "1e999"], "24.5"),
        ("error_budget", [0, -1, 1.5, "1.5", "nan", "x", True, [1], "1_0x"], "whole number"),
        ("count_failed_uploads", ["x", 2, [True], {}, "truee"], "true or false"),
        ("allow_insecure_host", ["x", 2, "maybe"], "true or false"),
        ("connect_timeout_s", [0, -1, 301, "nan", "inf", True, "x"], "above 0"),
        ("idle_timeout_s", [0, 601, "nan"], "above 0"),
        ("total_timeout_s", [0, 3601, "nan"], "above 0"),
        (
            "extra_download_hosts",
            ["https://a.io", "a.io:1", "*.a.io", "a.io/x", "localhost", "127.0.0.1", ["a b"], "a@b.io"],
            "host",
        ),
        ("proxy", ["x", "socks5://a:1", "http://", "http://u@a:1", True, "http://[::1"], ""),
        ("ca_bundle", [True, ["a"], {"a": 1}], "text"),
    ],
)
def test_a_value_out_of_range_is_refused(name, values, expected):
    """Numbers are finite and in range, switches are true or false, hosts are names."""
    for value in values:
        host = "http://a.io" if name == "allow_insecure_host" else None  # read only where it matters
        error = refusal(conn(extra={name: value}, host=host))
        assert (error.field, expected in error.reason) == (f"extra: {name}", True), value


@pytest.mark.parametrize(
    ("extra", "changes"),
    [
        pytest.param({"phone_number_id": 106540352242922}, {"phone_number_id": "106540352242922"}, id="an id as a number"),
        pytest.param({"throttle_policy": "documented"}, {"throttle": "documented"}, id="the other policy"),
        pytest.param({"uploads_per_second": "0.5"}, {"uploads_per_second": 0.5}, id="a number as text"),
        pytest.param({"error_budget": "3"}, {"error_budget": 3}, id="a whole number as text"),
        pytest.param({"count_failed_uploads": "True"}, {"count_failed_uploads": True}, id="true as text"),
        pytest.param({"count_failed_uploads": "off"}, {}, id="off is false"),
        pytest.param({"uploads_per_second": None, "error_budget": "", "phone_number_id": " "}, {}, id="empty fields of the form"),
    ],
)
def test_reads_the_policy(extra, changes):
    """What the form, the JSON and the URI give is the same, as text or as numbers."""
    assert read_connection(conn(extra=extra)).policy == Policy(**changes)


def test_reads_the_rest_of_extra(tmp_path):
    """Hosts by comma or blank, lower case; timeouts in seconds; certificate authorities and proxy as given."""
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    channel = read_connection(
        conn(
            extra={
                "extra_download_hosts": "Media.Example.com, cdn.example.com  x.io",
                "connect_timeout_s": 1,
                "idle_timeout_s": "2",
                "total_timeout_s": 3.5,
                "ca_bundle": str(bundle),
                "proxy": "http://proxy.example.com:3128",
            }
        )
    )
    assert channel.download_hosts == {"media.example.com", "cdn.example.com", "x.io"}
    assert channel.timeouts == Timeouts(1.0, 2.0, 3.5)
    assert (channel.ca_bundle, channel.proxy) == (str(bundle), "http://proxy.example.com:3128")


def test_a_misspelt_field_is_refused_with_the_names_that_are_known():
    """A typo that is silently ignored would be a limit that does not hold."""
    error = refusal(conn(extra={"upload_per_second": 5}))
    assert error.field == "extra: upload_per_second"
    assert "uploads_per_second" in error.reason


def test_a_field_name_with_control_characters_is_shown_printable():
    """What a stranger wrote cannot forge a log line."""
    assert refusal(conn(extra={"a\nb\x1b[31m": 1})).field.isprintable()


def test_plain_http_to_another_machine_is_allowed_with_a_loud_warning(caplog):
    """An emulator in a compose file is the one good reason."""
    with caplog.at_level(logging.WARNING):
        channel = read_connection(conn(host="http://emulator:8360", extra={"allow_insecure_host": True}))
    assert channel.base_url == "http://emulator:8360"
    assert "UNPROTECTED" in caplog.text


def test_https_needs_no_warning(caplog):
    """A warning that always comes is none."""
    read_connection(conn(extra={"allow_insecure_host": True}))
    read_connection(conn(host="http://127.0.0.1:1"))
    assert not caplog.records


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "http://169.254.169.254", "https://169.254.1.1:8443", "https://[fe80::1]", "[::ffff:169.254.169.254]",
        "http://2852039166", "https://0xa9fea9fe", "https://169.254.43518", "http://0xa9.0xfe.0xa9.0xfe", "1.2.3.4.5",
    ],
)  # fmt: skip
def test_a_link_local_address_is_refused_however_it_is_written(host):
    """Clouds answer there with a machine's own secrets; and resolvers take numbers for addresses."""
    with pytest.raises(ConnectionInvalidError, match="host"):
        read_connection(conn(host=host, extra={"allow_insecure_host": True}))


def test_a_name_may_have_numbers_in_it():
    assert read_connection(conn(host="https://10.gateway.e2e")).base_url == "https://10.gateway.e2e"


def test_a_wrong_host_stays_wrong_with_allow_insecure_host():
    """The switch is about encryption, not about who gets the key."""
    extra = {"allow_insecure_host": True}
    assert refusal(conn(host="http://waba.360dialog.io", extra=extra)).field == "host"


@pytest.mark.parametrize(
    ("text", "base_url", "policy"),
    [
        pytest.param(f"dialog360://:{KEY}@", STANDARD, {}, id="a URI with a key alone"),
        pytest.param(f"dialog360://:{KEY}@waba-v2.360dialog.io", STANDARD, {}, id="a URI with a host"),
        pytest.param(f"dialog360://:{KEY}@waba-v2.360dialog.io/https", STANDARD, {}, id="a URI with a schema"),
        pytest.param(f"dialog360://:{KEY}@localhost:8360/http", "http://localhost:8360", {}, id="a URI with http as schema"),
        pytest.param(
            f"dialog360://:{KEY}@http%3A%2F%2F127.0.0.1:8360", "http://127.0.0.1:8360", {}, id="a URI with an encoded host"
        ),
        pytest.param(
            f"dialog360://:{KEY}@{quote('http://127.0.0.1:8360', safe='')}", "http://127.0.0.1:8360", {}, id="a port inside it"
        ),
        pytest.param(f"dialog360://:{KEY}@[::1]:8360/http", "http://[::1]:8360", {}, id="a URI with an IPv6 host"),
        pytest.param(
            f"dialog360://:{KEY}@/?throttle_policy=documented&uploads_per_second=5",
            STANDARD,
            {"throttle": "documented", "uploads_per_second": 5.0},
            id="extras in a URI's query",
        ),
        pytest.param(
            f"dialog360://:{KEY}@/?__extra__={quote(json.dumps({'error_budget': 2}))}",
            STANDARD,
            {"error_budget": 2},
            id="extras as one JSON in a URI",
        ),
        pytest.param(json.dumps({"conn_type": "dialog360", "password": KEY}), STANDARD, {}, id="JSON with a key alone"),
        pytest.param(
            json.dumps(
                {"conn_type": "dialog360", "password": KEY, "host": "http://127.0.0.1", "port": 1, "extra": {"error_budget": 2}}
            ),
            "http://127.0.0.1:1",
            {"error_budget": 2},
            id="JSON with everything",
        ),
        pytest.param(
            json.dumps({"conn_type": "dialog360", "password": KEY, "extra": '{"error_budget": 2}'}),
            STANDARD,
            {"error_budget": 2},
            id="JSON with an extra that is JSON text",
        ),
    ],
)
def test_both_forms_of_an_environment_variable_work(from_environment, text, base_url, policy):
    """As Airflow parses them, not as we think it does."""
    channel = from_environment(text)
    assert (channel.api_key, channel.base_url, channel.policy) == (KEY, base_url, Policy(**policy))


def test_a_key_with_reserved_characters_survives_a_uri(from_environment):
    """Percent-encoded in the URI, plain on the wire."""
    assert from_environment(f"dialog360://:{quote('k/e+y@:=%', safe='')}@").api_key == "k/e+y@:=%"


def test_a_uri_without_the_colon_is_explained(from_environment):
    """`dialog360://KEY@host` puts the key into the login, which Airflow does not mask."""
    with pytest.raises(ConnectionInvalidError, match="note the colon") as caught:
        from_environment(f"dialog360://{KEY}@waba-v2.360dialog.io")
    assert caught.value.field == "login"


def test_the_form_and_the_reader_know_the_same_fields():
    """A field of the form that nobody reads would be a knob that does nothing, and the other way round."""
    form = set(get_provider_info()["connection-types"][0]["conn-fields"])
    assert form
    assert form == module._FIELDS


class Spying(dict):
    """Notes which names are asked for."""

    def __init__(self, data):
        super().__init__(data)
        self.asked = set()

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


def test_every_field_of_the_form_is_read():
    """Read, not only tolerated."""
    reader = module._Reader(conn(host="http://a.io"))
    reader._extra = Spying({"allow_insecure_host": "true"})
    reader.channel()
    assert reader._extra.asked == module._FIELDS


@pytest.mark.parametrize("name", sorted(module._FIELDS))
def test_the_forms_own_default_is_accepted_and_changes_nothing(name):
    """What the form fills in by itself is what an empty form means."""
    schema = get_provider_info()["connection-types"][0]["conn-fields"][name]["schema"]
    assert read_connection(conn(extra={name: schema.get("default")})) == read_connection(conn())


@pytest.mark.parametrize(
    ("name", "edge"),
    [("uploads_per_second", "maximum"), ("error_budget", "minimum")],
    ids=["the largest share", "the least budget"],
)
def test_the_forms_own_limits_are_the_readers(name, edge):
    """A value that the form lets pass is not refused by the task at night."""
    schema = get_provider_info()["connection-types"][0]["conn-fields"][name]["schema"]
    assert getattr(read_connection(conn(extra={name: schema[edge]})).policy, name) == schema[edge]
