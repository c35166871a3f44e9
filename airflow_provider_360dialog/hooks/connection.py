"""From an Airflow connection to a channel.

Every refusal names the field and the remedy; none shows a value that could be a secret.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from airflow_provider_360dialog.exceptions import ConnectionInvalidError
from airflow_provider_360dialog.ports import Channel, Policy, Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

CONN_TYPE: Final = "dialog360"
DEFAULT_BASE_URL: Final = "https://waba-v2.360dialog.io"
MAX_UPLOADS_PER_SECOND: Final = 24.5

_WRONG_HOSTS: Final = {
    "waba.360dialog.io": f"this is the retired On-Premise API. Use {DEFAULT_BASE_URL}",
    "waba-sandbox.360dialog.io": f"the sandbox has no media endpoints. Use {DEFAULT_BASE_URL}, or the emulator",
    "hub.360dialog.io": f"this is the Partner API, which has no media endpoints. Use {DEFAULT_BASE_URL}",
    "lookaside.fbsbx.com": f"the API key must never go to Meta's media host. Use {DEFAULT_BASE_URL}",
    "graph.facebook.com": f"this is Meta's own API, not 360dialog's. Use {DEFAULT_BASE_URL}",
}
_FIELDS: Final = frozenset(
    {
        "phone_number_id", "throttle_policy", "uploads_per_second", "error_budget", "count_failed_uploads",
        "extra_download_hosts", "connect_timeout_s", "idle_timeout_s", "total_timeout_s", "ca_bundle", "proxy",
        "allow_insecure_host",
    }
)  # fmt: skip
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_KEY = re.compile(r"[\x21-\x7e]{1,512}")
_KEY_LIKE_NAME = re.compile(r"api.?key|d360|token|secret|passw|credential|authorization", re.IGNORECASE)
_KEY_LIKE_VALUE = re.compile(r"(?=[A-Za-z0-9_-]*[0-9])(?=[A-Za-z0-9_-]*[A-Za-z])[A-Za-z0-9_-]{20,}")
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})

T = TypeVar("T")


class AirflowConnection(Protocol):
    """The part of Airflow's connection that is read here."""

    conn_id: str
    conn_type: str | None
    host: str | None
    port: int | None
    schema: str | None
    login: str | None
    password: str | None
    extra: Any


def read_connection(conn: AirflowConnection) -> Channel:
    """Judge a connection and make a channel of it.

    Args:
        conn: from the JSON or the URI form, the web form or a secrets backend alike.

    Raises:
        ConnectionInvalidError: names the first field that is wrong, and what to put there.
    """
    return _Reader(conn).channel()


class _Reader:
    def __init__(self, conn: AirflowConnection) -> None:
        self._conn = conn
        self._extra = self._read_extra()

    def _wrong(self, field: str, reason: str) -> ConnectionInvalidError:
        return ConnectionInvalidError(conn_id=self._conn.conn_id, field=field, reason=reason)

    def channel(self) -> Channel:
        if self._conn.conn_type not in {CONN_TYPE, None, ""}:
            raise self._wrong(
                "conn_type", f"it is {self._conn.conn_type!r}; this provider needs a connection of type '{CONN_TYPE}'"
            )
        return Channel(
            api_key=self._api_key(),
            base_url=self._base_url(),
            policy=self._policy(),
            download_hosts=self._download_hosts(),
            timeouts=Timeouts(
                connect_s=self._number("connect_timeout_s", 10.0, most=300),
                idle_s=self._number("idle_timeout_s", 20.0, most=600),
                total_s=self._number("total_timeout_s", 30.0, most=3600),
            ),
            ca_bundle=self._ca_bundle(),
            proxy=self._proxy(),
        )

    def _read_extra(self) -> dict[str, Any]:
        raw = self._conn.extra
        if not raw:
            return {}
        try:
            data = json.loads(raw) if isinstance(raw, str) else raw
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise self._wrong("extra", "it is not a JSON object")
        # The URI form may carry one JSON object under this name.
        if set(data) == {"__extra__"}:
            try:
                data = json.loads(data["__extra__"])
            except (TypeError, ValueError):
                data = None
            if not isinstance(data, dict):
                raise self._wrong("extra", "its '__extra__' is not a JSON object")
        for name, value in data.items():
            self._check_extra(str(name), value)
        return {name: value for name, value in data.items() if value is not None and value != ""}

    def _check_extra(self, name: str, value: Any) -> None:
        if name not in _FIELDS:
            if _KEY_LIKE_NAME.search(name) or _holds_key(value) or _holds_key(name):
                raise self._wrong(
                    "extra" if _holds_key(name) else f"extra: {_printable(name)}",
                    "this looks like an API key. Put it into the password, which Airflow encrypts and masks, and nowhere else",
                )
            known = ", ".join(sorted(_FIELDS))
            raise self._wrong(f"extra: {_printable(name)}", f"there is no such field. Known are: {known}")
        if name not in {"ca_bundle", "proxy", "extra_download_hosts"} and _holds_key(value):
            raise self._wrong(f"extra: {name}", "this looks like an API key. The key belongs into the password, and nowhere else")

    def _api_key(self) -> str:
        if self._conn.login:
            raise self._wrong(
                "login",
                "it must be empty; the API key belongs into the password (in a URI: dialog360://:KEY@host, note the colon)",
            )
        key = self._conn.password
        if not key:
            raise self._wrong("password", "it is empty. Put the number's D360-API-KEY here (360dialog Hub, 'Generate API key')")
        if not _KEY.fullmatch(key):
            raise self._wrong("password", "the API key holds white space or other characters that no key has; paste it again")
        return key

    def _base_url(self) -> str:
        text = (self._conn.host or DEFAULT_BASE_URL).strip()
        scheme = (self._conn.schema or "https").lower()
        if scheme not in {"http", "https"}:
            raise self._wrong(  # a URI such as dialog360://http://:KEY@host puts the key there: never show it
                "schema",
                "it is neither http nor https. In a URI, percent-encode the host: dialog360://:KEY@http%3A%2F%2Flocalhost%3A8360",
            )
        if "://" not in text:
            text = f"{scheme}://[{text}]" if _is_address(text) and ":" in text else f"{scheme}://{text}"
        try:
            parts = urlsplit(text)
            port = parts.port or self._conn.port
        except ValueError:
            raise self._wrong("host", f"it is not a base URL such as {DEFAULT_BASE_URL}") from None
        if port is not None and not 0 < port < 65536:
            raise self._wrong("port", "it has to be a number from 1 to 65535, or empty")
        host = (parts.hostname or "").removesuffix(".")
        if "@" in parts.netloc:
            raise self._wrong("host", "it names a user; the API key belongs into the password")
        if parts.path not in {"", "/"} or parts.query or parts.fragment or "\\" in text:
            raise self._wrong("host", f"give scheme and host only, such as {DEFAULT_BASE_URL}, without a path")
        self._check_host(parts.scheme, host)
        shown = f"[{host}]" if ":" in host else host
        default = {"http": 80, "https": 443}[parts.scheme]
        return f"{parts.scheme}://{shown}" + ("" if port in {None, default} else f":{port}")

    def _check_host(self, scheme: str, host: str) -> None:
        if scheme not in {"http", "https"} or not (_is_name(host) or _is_address(host)):
            raise self._wrong("host", f"it is not a base URL such as {DEFAULT_BASE_URL}")
        if host in _WRONG_HOSTS:
            raise self._wrong("host", _WRONG_HOSTS[host])
        if _is_link_local(host):
            raise self._wrong("host", "it is a link-local address, where clouds tell machines their secrets, and not 360dialog")
        if scheme == "http":
            self._check_plain_http(host)

    def _check_plain_http(self, host: str) -> None:
        if _is_loopback(host):
            return
        if not self._flag("allow_insecure_host"):
            raise self._wrong(
                "host",
                "plain http would show the API key to everybody on the way. Use https; "
                "for an emulator inside a private network, set 'allow_insecure_host'",
            )
        log.warning(
            "Connection %r sends its API key UNPROTECTED over plain http to %s, because 'allow_insecure_host' is set. "
            "Never do this with the key of a real number.",
            self._conn.conn_id,
            host,
        )

    def _policy(self) -> Policy:
        phone_number_id = self._text("phone_number_id")
        if phone_number_id is not None and not re.fullmatch(r"[0-9]{1,32}", phone_number_id):
            raise self._wrong("extra: phone_number_id", "it is Meta's id of the number: 1 to 32 digits, no '+', no spaces")
        throttle = self._text("throttle_policy") or "strict"
        if throttle not in {"strict", "documented"}:
            raise self._wrong("extra: throttle_policy", "it is 'strict' or 'documented'")
        error_budget = self._converted("error_budget", None, _whole_number, "a whole number of at least 1")
        return Policy(
            phone_number_id=phone_number_id,
            throttle="strict" if throttle == "strict" else "documented",
            uploads_per_second=self._number("uploads_per_second", MAX_UPLOADS_PER_SECOND, most=MAX_UPLOADS_PER_SECOND),
            error_budget=error_budget,
            count_failed_uploads=self._flag("count_failed_uploads"),
        )

    def _download_hosts(self) -> frozenset[str]:
        listed = self._extra.get("extra_download_hosts", "")
        hosts = listed if isinstance(listed, list) else re.split(r"[,\s]+", str(listed))
        names = frozenset(str(h).lower() for h in hosts if str(h))
        for name in names:
            if not _HOST.fullmatch(name) or "." not in name or _is_address(name):
                raise self._wrong("extra: extra_download_hosts", "list host names only, without scheme, port, path or wildcard")
        return names

    def _ca_bundle(self) -> str | None:
        path = self._text("ca_bundle")
        if path is not None and not Path(path).is_file():
            raise self._wrong("extra: ca_bundle", "there is no such file here; it has to be on every worker, at the same path")
        return path

    def _proxy(self) -> str | None:
        proxy = self._text("proxy")
        if proxy is None:
            return None
        try:
            parts = urlsplit(proxy)
            is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            is_url = False
        if not is_url:
            raise self._wrong("extra: proxy", "it is not a proxy URL such as http://proxy.example.com:3128")
        if "@" in parts.netloc:
            raise self._wrong("extra: proxy", "it holds a user or a password, and 'extra' is no place for secrets")
        return proxy

    def _text(self, name: str) -> str | None:
        value = self._extra.get(name)
        if value is None:
            return None
        if isinstance(value, bool | list | dict):
            raise self._wrong(f"extra: {name}", "it is not a text")
        return str(value).strip() or None

    def _number(self, name: str, default: float, *, most: float) -> float:
        def convert(value: Any) -> float:
            number = float(value)
            if isinstance(value, bool) or not 0 < number <= most:
                raise ValueError
            return number

        return self._converted(name, default, convert, f"a number above 0 and at most {most:g}")

    def _flag(self, name: str) -> bool:
        def convert(value: Any) -> bool:
            text = str(value).strip().lower()
            if text not in _TRUE | _FALSE:
                raise ValueError
            return text in _TRUE

        return self._converted(name, False, convert, "true or false")

    def _converted(self, name: str, default: T, convert: Callable[[Any], T], expected: str) -> T:
        value = self._extra.get(name)
        if value is None:
            return default
        try:
            return convert(value)
        except (TypeError, ValueError):
            raise self._wrong(f"extra: {name}", f"it has to be {expected}") from None


def _whole_number(value: Any) -> int | None:
    number = int(str(value))
    if isinstance(value, bool) or number < 1:
        raise ValueError
    return number


def _holds_key(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_KEY_LIKE_NAME.search(str(k)) or _holds_key(v) for k, v in value.items())
    if isinstance(value, list):
        return any(_holds_key(v) for v in value)
    return isinstance(value, str) and _KEY_LIKE_VALUE.fullmatch(value.strip()) is not None


def _printable(text: str) -> str:
    return "".join(ch if ch.isprintable() else " " for ch in text)[:60]


def _is_name(host: str) -> bool:
    """A name, and no number: resolvers take 2852039166 and 0xa9fea9fe for addresses."""
    return _HOST.fullmatch(host) is not None and re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]) is None


def _is_link_local(host: str) -> bool:
    if not _is_address(host):
        return False
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_link_local or (mapped is not None and mapped.is_link_local)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
