"""Where an answer may send us. Pure.

`requests` would carry a custom key header to a foreign host, so redirects are decided here, one hop at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

from airflow_provider_360dialog.api.identity import is_host_name
from airflow_provider_360dialog.exceptions import RedirectRefusedError

MAX_HOPS: Final = 3
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_PLACE = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<target>[^#]*)(?:#.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Hop:
    """The next request of the same exchange: same method, same body.

    Attributes:
        origin: scheme and authority. target: path and query. with_key: False away from the connection's host.
    """

    origin: str
    target: str
    with_key: bool

    def __repr__(self) -> str:
        return f"Hop({self.origin!r}, target hidden, with_key={self.with_key})"


def decide_hop(
    *,
    operation: str,
    method: str,
    status: int,
    location: str | None,
    at: Hop,
    base_url: str,
    download_hosts: frozenset[str],
) -> Hop | RedirectRefusedError:
    """Follow or refuse one redirect.

    The connection's own origin (scheme, host and port) is followed. A download may also be handed on to a host that the
    connection lists, over https and without the key. Everything else is refused.

    Args:
        operation: for the error. method: of the request. status, location: of the answer.
        at: where the request went. base_url: the connection's. download_hosts: its extra download hosts.
    """

    def refuse(reason: str, origin: str = "an unreadable address") -> RedirectRefusedError:
        return RedirectRefusedError(operation=operation, status=status, origin=origin, reason=reason)

    if not location:
        return refuse("it names no place to go to")
    if not location.isascii() or any(ch <= " " or ch in "\x7f\\" for ch in location):
        return refuse("the address holds characters that a URL may not have")
    place = _place_of(at, location)
    if place is None:
        return refuse("the address is not a web address")
    scheme, authority, target = place["scheme"].lower(), place["authority"].lower(), place["target"]
    shown = f"{scheme}://{authority.rpartition('@')[2]}"
    if "@" in authority:
        return refuse("the address names a user before the host", shown)
    target = target if target.startswith("/") else f"/{target}"
    if f"{scheme}://{_without_default_port(scheme, authority)}" == base_url and at.with_key:
        if status == 303 and method != "GET":
            return refuse("303 would turn the request into another one", shown)
        return Hop(origin=base_url, target=target, with_key=True)
    if operation == "download" and scheme == "https" and authority in download_hosts and is_host_name(authority):
        return Hop(origin=f"https://{authority}", target=target, with_key=False)
    if scheme == "http" and base_url.startswith("https:"):
        return refuse("it leaves https", shown)
    return refuse("it is not the connection's host", shown)


def _place_of(at: Hop, location: str) -> re.Match[str] | None:
    try:
        return _PLACE.fullmatch(urljoin(f"{at.origin}{at.target}", location))
    except ValueError:  # an address in brackets that is none
        return None


def _without_default_port(scheme: str, authority: str) -> str:
    return authority.removesuffix({"https": ":443", "http": ":80"}.get(scheme, "\0"))
