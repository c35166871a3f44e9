"""Media ids and media URLs are judged before anything is built from them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.api.identity import check_media_id, read_media_url
from airflow_provider_360dialog.exceptions import CallError, MediaIdInvalidError, MediaUrlRefusedError
from airflow_provider_360dialog.ports import Channel

BASE = "https://waba-v2.360dialog.io"
GOOD = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext=1728904986&hash=ATsecret"
PATH = "whatsapp_business/attachments/?mid=1&hash=ATsecret"

BAD_URLS = {
    "empty": "",
    "white space only": "   ",
    "plain http": f"http://lookaside.fbsbx.com/{PATH}",
    "no scheme": f"//lookaside.fbsbx.com/{PATH}",
    "a path only": f"/{PATH}",
    "another scheme": f"ftp://lookaside.fbsbx.com/{PATH}",
    "file": "file:///etc/passwd",
    "javascript": "javascript:alert(1)",
    "data": "data:text/plain,x",
    "gopher": f"gopher://lookaside.fbsbx.com/{PATH}",
    "another host": f"https://evil.example/{PATH}",
    "a look-alike prefix": f"https://lookaside.fbsbx.com.evil.example/{PATH}",
    "a look-alike suffix": f"https://evil-lookaside.fbsbx.com/{PATH}",
    "a subdomain": f"https://x.lookaside.fbsbx.com/{PATH}",
    "the parent domain": f"https://fbsbx.com/{PATH}",
    "a trailing dot": f"https://lookaside.fbsbx.com./{PATH}",
    "a user": f"https://user@lookaside.fbsbx.com/{PATH}",
    "a user and a password": f"https://user:pw@lookaside.fbsbx.com/{PATH}",
    "the host as a user": f"https://lookaside.fbsbx.com@evil.example/{PATH}",
    "the host as a user with a port": f"https://lookaside.fbsbx.com:443@evil.example/{PATH}",
    "a port": f"https://lookaside.fbsbx.com:8443/{PATH}",
    "the default port": f"https://lookaside.fbsbx.com:443/{PATH}",
    "an empty port": f"https://lookaside.fbsbx.com:/{PATH}",
    "an address": f"https://169.254.169.254/{PATH}",
    "loopback": f"https://127.0.0.1/{PATH}",
    "an IPv6 address": f"https://[::1]/{PATH}",
    "a decimal address": f"https://2130706433/{PATH}",
    "localhost": f"https://localhost/{PATH}",
    "no host": f"https:///{PATH}",
    "a Cyrillic look-alike": f"https://lооkaside.fbsbx.com/{PATH}",
    "punycode": f"https://xn--lkaside-f1a.fbsbx.com/{PATH}",
    "a fullwidth dot": f"https://lookaside\uff0efbsbx.com/{PATH}",
    "a backslash for the host": f"https:\\\\lookaside.fbsbx.com/{PATH}",
    "a backslash before another host": f"https://lookaside.fbsbx.com\\@evil.example/{PATH}",
    "a backslash in the path": "https://lookaside.fbsbx.com/whatsapp_business\\attachments/?hash=x",
    "a double-escaped slash": f"https:\\\\/\\\\/lookaside.fbsbx.com/{PATH}",
    "another path": "https://lookaside.fbsbx.com/other/?hash=ATsecret",
    "the root": "https://lookaside.fbsbx.com/?hash=ATsecret",
    "no slash before the query": "https://lookaside.fbsbx.com/whatsapp_business/attachments?hash=ATsecret",
    "a longer path": "https://lookaside.fbsbx.com/whatsapp_business/attachments/x?hash=ATsecret",
    "dot segments": "https://lookaside.fbsbx.com/whatsapp_business/attachments/../../media?hash=ATsecret",
    "encoded dot segments": "https://lookaside.fbsbx.com/whatsapp_business/attachments/%2e%2e/media?hash=ATsecret",
    "an encoded slash": "https://lookaside.fbsbx.com/whatsapp_business%2fattachments/?hash=ATsecret",
    "an encoded backslash": "https://lookaside.fbsbx.com/whatsapp_business/attachments/%5c?hash=ATsecret",
    "a doubled slash": "https://lookaside.fbsbx.com//whatsapp_business/attachments/?hash=ATsecret",
    "path parameters": "https://lookaside.fbsbx.com/whatsapp_business/attachments/;x?hash=ATsecret",
    "upper case path": "https://lookaside.fbsbx.com/WhatsApp_Business/Attachments/?hash=ATsecret",
    "no query": "https://lookaside.fbsbx.com/whatsapp_business/attachments/",
    "an empty query": "https://lookaside.fbsbx.com/whatsapp_business/attachments/?",
    "a fragment": f"https://lookaside.fbsbx.com/{PATH}#x",
    "an empty fragment": f"https://lookaside.fbsbx.com/{PATH}#",
    "a space": f"https://lookaside.fbsbx.com/{PATH} x",
    "a leading space": f" https://lookaside.fbsbx.com/{PATH}",
    "a trailing newline": f"https://lookaside.fbsbx.com/{PATH}\n",
    "a header split": f"https://lookaside.fbsbx.com/{PATH}\r\nX-Evil: 1",
    "a tab in the scheme": f"ht\ttps://lookaside.fbsbx.com/{PATH}",
    "a NUL": f"https://lookaside.fbsbx.com/{PATH}\0",
    "a DEL": f"https://lookaside.fbsbx.com/{PATH}\x7f",
    "a non-ASCII query": f"https://lookaside.fbsbx.com/{PATH}ä",
    "a right-to-left mark": f"https://lookaside.fbsbx.com/{PATH}\u202e",
    "a broken escape": f"https://lookaside.fbsbx.com/{PATH}%zz",
    "a cut-off escape": f"https://lookaside.fbsbx.com/{PATH}%2",
    "quotes": f'https://lookaside.fbsbx.com/{PATH}"',
    "angle brackets": f"https://lookaside.fbsbx.com/{PATH}<x>",
    "a brace": f"https://lookaside.fbsbx.com/{PATH}{{x}}",
    "5,000 characters": f"https://lookaside.fbsbx.com/{PATH}" + "a" * 5000,
    "the base host over http": f"http://waba-v2.360dialog.io/{PATH}",
    "the base host with a port": f"https://waba-v2.360dialog.io:8443/{PATH}",
    "the base host with a user": f"https://x@waba-v2.360dialog.io/{PATH}",
}
BAD_IDS = {
    "empty": "",
    "a number": 123,
    "None": None,
    "bytes": b"123",
    "a URL": "https://evil.example/1",
    "a foreign host": "//evil.example/x",
    "a path": "../media",
    "a slash": "1/2",
    "a query": "1?phone_number_id=2",
    "a fragment": "1#2",
    "an escape": "1%2f2",
    "a sign": "-1",
    "a point": "1.0",
    "a space": "1 2",
    "a newline": "1\n",
    "a header split": "1\r\nX: 1",
    "letters": "media_1",
    "33 digits": "1" * 33,
    "Arabic digits": "١٢٣",
    "fullwidth digits": "１２３",
    "a superscript": "1²",
    "a handle": "2:c2FtcGxl",
    "a list": ["1"],
}


def test_the_tables_are_as_long_as_promised():
    assert len(BAD_URLS) + len(BAD_IDS) >= 60


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        pytest.fail("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS.keys())
def test_a_hostile_url_opens_no_socket(url: str):
    """It is refused with a reason that shows no query."""
    api = MediaApi(Channel(api_key="test-key", base_url=BASE))
    with pytest.raises(MediaUrlRefusedError) as refused:
        api.read_url(url)
    assert "ATsecret" not in str(refused.value)


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("media_id", BAD_IDS.values(), ids=BAD_IDS.keys())
@pytest.mark.parametrize("call", ["fetch", "delete"])
def test_a_hostile_id_opens_no_socket(call: str, media_id: object):
    """Only 1 to 32 ASCII digits, as text, become part of a request."""
    api = MediaApi(Channel(api_key="test-key", base_url=BASE))
    with pytest.raises(MediaIdInvalidError):
        getattr(api, call)(media_id)


GOOD_URLS = {
    "as recorded": (GOOD, "mid=1&ext=1728904986&hash=ATsecret"),
    "raw pasted, with escaped slashes": (GOOD.replace("/", "\\/"), "mid=1&ext=1728904986&hash=ATsecret"),
    "host in upper case": (GOOD.replace("lookaside", "LOOKASIDE"), "mid=1&ext=1728904986&hash=ATsecret"),
    "already rewritten": (GOOD.replace("https://lookaside.fbsbx.com", BASE), "mid=1&ext=1728904986&hash=ATsecret"),
    "any order, escapes in lower case, empty values": (
        "https://lookaside.fbsbx.com/whatsapp_business/attachments/?hash=A%2bT%2F&mid=&ext=1&&x",
        "hash=A%2bT%2F&mid=&ext=1&&x",
    ),
}


@pytest.mark.parametrize(("url", "query"), GOOD_URLS.values(), ids=GOOD_URLS.keys())
def test_a_good_url_keeps_its_query_byte_for_byte(url: str, query: str):
    """The path is ours, the query is as given."""
    assert read_media_url(url, base_url=BASE).path_and_query == f"/whatsapp_business/attachments/?{query}"


def test_a_further_host_is_accepted_where_the_connection_lists_it():
    """`*.fbcdn.net` was seen by others; it has to be allowed by name."""
    url = GOOD.replace("lookaside.fbsbx.com", "media.fbcdn.net")
    with pytest.raises(MediaUrlRefusedError, match=r"media\.fbcdn\.net is not a media host"):
        read_media_url(url, base_url=BASE)
    assert read_media_url(url, base_url=BASE, extra_hosts=frozenset({"media.fbcdn.net"})).query.endswith("ATsecret")


@pytest.mark.parametrize(
    ("ext", "expires_at"),
    [
        ("1728904986", datetime(2024, 10, 14, 11, 23, 6, tzinfo=UTC)),
        ("1664537344507", datetime(2022, 9, 30, 11, 29, 4, tzinfo=UTC)),
        ("12", None),
        ("soon", None),
    ],
    ids=["seconds, as on the wire", "milliseconds, as in the document", "too small for an instant", "not a number"],
)
def test_ext_is_the_end_of_a_url(ext: str, expires_at: datetime | None):
    url = f"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext={ext}&hash=x"
    assert read_media_url(url, base_url=BASE).expires_at == expires_at


def test_a_target_shows_no_query():
    assert "ATsecret" not in repr(read_media_url(GOOD, base_url=BASE))


@given(st.text(max_size=200))
def test_any_text_is_judged_without_a_surprise(text: str):
    """A URL gives a target on our path, or `MediaUrlRefusedError`; an id itself, or `MediaIdInvalidError`."""
    for judge in (lambda: read_media_url(text, base_url=BASE), lambda: check_media_id(text)):
        try:
            judged = judge()
        except CallError:
            continue
        assert isinstance(judged, str) or judged.path_and_query.startswith("/whatsapp_business/attachments/?")
