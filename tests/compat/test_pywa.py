"""pywa's own client on the emulator: it speaks to a client that this project did not write.

pywa talks to Meta directly: same four calls, other host, path and authorisation. A transport of a few lines maps those three
and nothing else. The number's key is not a watched one, because pywa logs URLs.
"""

from __future__ import annotations

import httpx
import pytest
import pywa
from pywa.errors import WhatsAppError

from airflow_provider_360dialog import emulator

KEY = "key-of-pywa"
GRAPH, MEDIA_HOST = "graph.facebook.com", "lookaside.fbsbx.com"


class To360dialog(httpx.BaseTransport):
    """Host, path and key as 360dialog wants them; method, query and body as pywa made them."""

    def __init__(self, base_url):
        self.base, self.inner, self.asked = httpx.URL(base_url), httpx.HTTPTransport(), []

    def handle_request(self, request):
        path = request.url.raw_path.decode()
        if request.url.host == GRAPH:
            _, version, rest = path.split("/", 2)
            assert version.startswith("v")
            path = "/media" if rest.endswith("/media") else f"/{rest}"
        else:
            assert request.url.host == MEDIA_HOST
        key = request.headers.pop("Authorization").removeprefix("Bearer ")
        url = self.base.copy_with(raw_path=path.encode())
        request.headers.update({"D360-API-KEY": key, "Host": url.netloc.decode()})
        self.asked.append((request.method, path.partition("?")[0]))
        return self.inner.handle_request(httpx.Request(request.method, url, headers=request.headers, stream=request.stream))

    def close(self):
        self.inner.close()


@pytest.fixture(scope="module")
def emu():
    with emulator.running(key=KEY, error_shape="A") as running:
        yield running


@pytest.fixture
def client(emu):
    with httpx.Client(transport=To360dialog(emu.base_url)) as session:
        yield pywa.WhatsApp(phone_id=emu.number_id, token=KEY, session=session)


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("photo.jpg", "image/jpeg"),
        ("chart.png", "image/png"),
        ("invoice.pdf", "application/pdf"),
        ("voice_note.ogg", "audio/ogg"),
        ("clip.mp4", "video/mp4"),
        ("sticker.webp", "image/webp"),
    ],
)
def test_pywa_takes_a_file_through_its_whole_life(name, mime_type, client, emu, checkout, tmp_path):
    """Upload, URL, download, delete, with pywa's own methods and models."""
    path = checkout / "dags_examples" / "media" / name
    media = client.upload_media(path, mime_type=mime_type, filename=name)
    assert emu.content(media.id) == path.read_bytes()

    found = client.get_media_url(media.id)
    assert (found.id, found.mime_type, found.file_size) == (media.id, mime_type, path.stat().st_size)
    assert found.sha256 == emu.media(media.id).sha256_hex

    assert client.get_media_bytes(found.url) == path.read_bytes()
    saved = client.download_media(url=found.url, path=tmp_path, filename=name)
    assert saved.read_bytes() == path.read_bytes()

    assert client.delete_media(media.id, phone_id=None)
    assert emu.live_media() == []


def test_pywa_reads_the_emulators_refusal(client):
    """Meta's error object, with its code."""
    with pytest.raises(WhatsAppError) as caught:
        client.get_media_url("999")
    assert caught.value.code == 100
    with pytest.raises(WhatsAppError):
        client.delete_media("999")


def test_pywa_reads_the_emulators_refusal_of_a_key(emu):
    """A 401 in Meta's shape, which pywa reads."""
    with httpx.Client(transport=To360dialog(emu.base_url)) as session, pytest.raises(WhatsAppError, match="OAuth access token"):
        pywa.WhatsApp(phone_id=emu.number_id, token="wrong", session=session).get_media_url("1")


def test_pywa_uses_four_kinds_of_request_only(client, emu, checkout):
    """The transport maps what it is given; there are no Graph routes in the emulator."""
    media = client.upload_media(checkout / "dags_examples" / "media" / "photo.jpg", mime_type="image/jpeg", filename="a.jpg")
    client.get_media_bytes(client.get_media_url(media.id).url)
    client.delete_media(media.id)
    asked = client.api._session._transport.asked
    assert asked == [
        ("POST", "/media"),
        ("GET", f"/{media.id}"),
        ("GET", "/whatsapp_business/attachments/"),
        ("DELETE", f"/{media.id}"),
    ]
    answer = httpx.get(f"{emu.base_url}/v19.0/{emu.number_id}/media", headers={"D360-API-KEY": KEY})
    assert answer.status_code == 404
