"""The admin paths: what a test in another process can ask and do."""

from __future__ import annotations

import base64
import hashlib
import itertools
import subprocess
import sys

import pytest
import requests

from airflow_provider_360dialog import emulator

_new = itertools.count(900000000000001)


def test_number_can_be_added_and_its_key_rotated(channel):
    """A number added over HTTP works at once; a rotated key replaces the old one."""
    number_id = str(next(_new))
    assert channel.admin("POST", "numbers", json={"number_id": number_id, "key": "k1"}).status_code == 201
    health = f"{channel.url}/health_status"
    assert requests.get(health, headers={"D360-API-KEY": "k1"}, timeout=10).json()["id"] == number_id
    assert channel.admin("POST", f"numbers/{number_id}/key", json={"key": "k2"}).status_code == 200
    assert requests.get(health, headers={"d360-api-key": "k1"}, timeout=10).status_code == 401
    assert requests.get(health, headers={"d360-api-key": "k2"}, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "numbers", {"number_id": "abc", "key": "k"}, 422),
        ("POST", "numbers", {"number_id": "1"}, 422),
        ("POST", "numbers/42/key", {"key": "unheard-of"}, 404),
        ("POST", "numbers/42/health", {}, 404),
        ("POST", "clock", {"advance_s": -1}, 422),
        ("POST", "settings", {"profil": "strict"}, 422),
        ("POST", "settings", {"profile": "lax"}, 422),
        ("GET", "media/42", None, 404),
        ("GET", "counters?number=42", None, 404),
    ],
)
def test_nonsense_is_refused(channel, method, path, body, status):
    """422 for a value, 404 for a thing that is not there; never a 500."""
    assert channel.admin(method, path, json=body).status_code == status


def test_clock_health_settings_and_forgiveness(channel):
    """What the Python handle can do, HTTP can do."""
    before = channel.admin("GET", "clock").json()["now_s"]
    assert channel.admin("POST", "clock", json={"advance_s": 1000}).json()["now_s"] >= before + 1000
    channel.admin("POST", f"numbers/{channel.number_id}/health", json={"can_send_message": "LIMITED"})
    assert channel.health().json()["health_status"]["can_send_message"] == "LIMITED"
    assert channel.admin("POST", "settings", json={"profile": "strict"}).json()["profile"] == "strict"
    for _ in range(6):
        channel.fetch("1")
    assert channel.fetch("1").status_code == 429
    channel.admin("POST", f"numbers/{channel.number_id}/forgive")
    assert channel.fetch("1").status_code == 400


def test_counters_tell_every_operation_apart(channel):
    """Requests, accepted and refused per operation; a reset starts anew but keeps the media."""
    media_id = channel.new_id()
    channel.download(media_id)
    channel.fetch("1")
    channel.health()
    found = channel.admin("GET", "counters", params={"number": channel.number_id}).json()["numbers"][channel.number_id]
    assert found["requests"] == {"upload": 1, "fetch": 2, "download": 1, "health": 1}
    assert found["accepted"] == {"upload": 1, "fetch": 1, "download": 1, "health": 1}
    assert found["refused"] == {"fetch:400": 1}
    assert (found["ids_alive"], found["max_failed_plus_in_flight_gets"]) == (1, 1)
    channel.admin("POST", "counters/reset")
    assert channel.counters()["requests"] == {}
    assert channel.counters()["ids_alive"] == 1


def test_last_requests_show_headers_but_no_key(channel):
    """What arrived can be looked at; the key is the start of its hash."""
    channel.upload(headers={"X-Trace": "7"})
    seen = channel.admin("GET", "requests", params={"last": 1}).json()[0]
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert (seen["method"], seen["path"], seen["status"], headers["x-trace"]) == ("POST", "/media", 200, "7")
    assert headers["d360-api-key"] == "sha256:" + hashlib.sha256(channel.key.encode()).hexdigest()[:12]
    assert seen["body_bytes"] == int(headers["content-length"])
    assert channel.key not in str(channel.emu.requests())


def test_live_media_are_listed_with_their_hash(channel):
    """The orphan helper: every id that works, with sha256."""
    kept, deleted = channel.new_id(b"one"), channel.new_id(b"two")
    channel.delete(deleted)
    listed = channel.admin("GET", "media", params={"number": channel.number_id}).json()
    assert [(media["media_id"], media["sha256_hex"]) for media in listed] == [(kept, hashlib.sha256(b"one").hexdigest())]
    assert channel.admin("GET", f"media/{deleted}").json()["alive"] is False
    assert channel.emu.content(kept) == b"one"


def test_webhook_media_over_http(channel):
    """Bytes go in as base64, the webhook comes out."""
    body = {
        "content_base64": base64.b64encode(b"hello").decode(),
        "mime_type": "application/pdf",
        "number_id": channel.number_id,
        "file_name": "a.pdf",
    }
    hook = channel.admin("POST", "webhook-media", json=body).json()
    part = hook["entry"][0]["changes"][0]["value"]["messages"][0]["document"]
    assert part["filename"] == "a.pdf"
    assert channel.download(part["id"]).content == b"hello"


def test_armed_faults_and_the_table_are_listed(channel):
    """A person can read what may be armed and what is."""
    channel.arm("drip", operation="download", bytes_per_s=5)
    found = channel.admin("GET", "faults").json()
    assert found["armed"][0]["bytes_per_s"] == 5
    assert set(found["kinds"]) == set(emulator.FAULT_KINDS)


def test_importing_the_package_is_cheap():
    """Neither FastAPI nor uvicorn is loaded before a name is used, and Airflow never."""
    code = (
        "import sys, airflow_provider_360dialog.emulator as e\n"
        "assert not {'fastapi', 'uvicorn', 'starlette'} & set(sys.modules)\n"
        "e.running\n"
        "assert 'uvicorn' in sys.modules and 'airflow' not in sys.modules\n"
        "print(sorted(n for n in sys.modules if n.startswith('airflow_provider_360dialog') and '.emulator' not in n))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "['airflow_provider_360dialog']"


def test_every_exported_name_exists():
    """The lazy table and the modules agree."""
    for name in emulator.__all__:
        assert getattr(emulator, name) is not None
    with pytest.raises(AttributeError):
        emulator.nothing  # noqa: B018
