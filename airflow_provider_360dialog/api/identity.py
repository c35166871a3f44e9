"""What may be asked for: media ids and media URLs, judged before a request is built. Pure.

A media URL is parsed, never edited as text: only its query survives, byte for byte; the host comes from the connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from airflow_provider_360dialog.exceptions import MediaIdInvalidError, MediaUrlRefusedError

MEDIA_URL_HOST: Final = "lookaside.fbsbx.com"
ATTACHMENTS_PATH: Final = "/whatsapp_business/attachments/"

_MEDIA_ID = re.compile(r"[0-9]{1,32}")
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?P<hash>#.*)?"
)
# RFC 3986, section 3.4, and no more: anything else would be rewritten on the way by one library or another.
_QUERY = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})+")
_EXT = re.compile(r"(?:^|&)ext=([0-9]{9,14})(?:&|\Z)")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_MAX_URL_CHARS: Final = 4096


def check_media_id(value: object) -> str:
    """The id itself, as text of 1 to 32 ASCII digits.

    Raises:
        MediaIdInvalidError: for anything else, numbers and other scripts' digits included.
    """
    if isinstance(value, str) and _MEDIA_ID.fullmatch(value):
        return value
    raise MediaIdInvalidError(value=value)


def is_host_name(text: str) -> bool:
    """Whether ``text`` is a plain lowercase DNS host name: no scheme, port, path, user or wildcard."""
    return _HOST.fullmatch(text) is not None


@dataclass(frozen=True)
class MediaTarget:
    """What is asked of the connection's host for a media URL: path and query, and the instant at which the URL ends.

    Attributes:
        query: byte for byte as given. expires_at: aware UTC from ``ext``, None where there is none.
    """

    query: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"MediaTarget(query hidden, expires_at={self.expires_at!r})"

    @property
    def path_and_query(self) -> str:
        """The request target."""
        return f"{ATTACHMENTS_PATH}?{self.query}"


def read_media_url(text: str, *, base_url: str, extra_hosts: frozenset[str] = frozenset()) -> MediaTarget:
    r"""Parse a media URL down to what may be sent to the connection's host.

    Args:
        text: as 360dialog or a webhook gave it; escaped slashes (``\/``) of a raw pasted JSON string are undone.
        base_url: the connection's; a URL that was already rewritten to it is accepted.
        extra_hosts: further hosts that the connection allows, lowercase.

    Raises:
        MediaUrlRefusedError: for anything but ``https://<accepted host>/whatsapp_business/attachments/?<query>``: another scheme,
            host or path, userinfo, a port, a fragment, a backslash, white space, control or non-ASCII characters.
    """
    if not isinstance(text, str) or not text:
        raise MediaUrlRefusedError(reason="it is empty or not text")
    if len(text) > _MAX_URL_CHARS:
        raise MediaUrlRefusedError(reason=f"it is longer than {_MAX_URL_CHARS} characters")
    text = text.replace("\\/", "/")
    if not text.isascii() or any(ch <= " " or ch == "\x7f" for ch in text):
        raise MediaUrlRefusedError(reason="it holds white space, control or non-ASCII characters")
    if "\\" in text:
        raise MediaUrlRefusedError(reason="it holds a backslash")
    parts = _URL.fullmatch(text)
    if parts is None:
        raise MediaUrlRefusedError(reason="it is not an absolute URL")
    _check_place(parts["scheme"], parts["authority"], parts["path"], base_url=base_url, extra_hosts=extra_hosts)
    if parts["hash"] is not None:
        raise MediaUrlRefusedError(reason="it has a fragment")
    query = parts["query"]
    if not query or not _QUERY.fullmatch(query):
        raise MediaUrlRefusedError(reason="its query is missing or holds characters that a URL may not have")
    return MediaTarget(query=query, expires_at=read_expiry(query))


def _check_place(scheme: str, authority: str, path: str, *, base_url: str, extra_hosts: frozenset[str]) -> None:
    if "@" in authority:
        raise MediaUrlRefusedError(reason="it names a user before the host")
    if f"{scheme.lower()}://{authority.lower()}" != base_url:
        if scheme.lower() != "https":
            raise MediaUrlRefusedError(reason="it is not https")
        if ":" in authority or "[" in authority:
            raise MediaUrlRefusedError(reason="it names a port or an address in brackets")
        if authority.lower() != MEDIA_URL_HOST and authority.lower() not in extra_hosts:
            shown = authority if is_host_name(authority.lower()) else "its host"
            raise MediaUrlRefusedError(reason=f"{shown} is not a media host")
    if path != ATTACHMENTS_PATH:
        raise MediaUrlRefusedError(reason=f"its path is not {ATTACHMENTS_PATH}")


def read_expiry(query: str) -> datetime | None:
    """``ext`` of a media URL's query as an aware UTC instant, None where there is none.

    Unix seconds on the wire, milliseconds in some of 360dialog's examples.
    """
    found = _EXT.search(query)
    if found is None:
        return None
    seconds = int(found[1])
    if seconds >= 10**11:
        seconds //= 1000
    return datetime.fromtimestamp(seconds, UTC)
