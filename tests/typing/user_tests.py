"""A user's tests, with the emulator. Only type-checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import pytest

from airflow_provider_360dialog import emulator
from airflow_provider_360dialog.emulator import ArmedFault, Emulator
from airflow_provider_360dialog.exceptions import MediaGoneError
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook


@pytest.fixture
def number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    """A number of one's own."""
    with emulator.running(port=0, key="test-key", data_dir=tmp_path, profile="strict", service_s=0.1) as emu:
        connection = {"conn_type": "dialog360", "host": emu.base_url, "password": emu.key}
        monkeypatch.setenv("AIRFLOW_CONN_DIALOG360_DEFAULT", json.dumps(connection))
        yield emu


def test_an_id_dies(number: Emulator) -> None:
    """Every method of the handle."""
    media = Dialog360Hook().upload("summer.jpg")
    fault = number.arm("error", status=503, operation="fetch", times="always", delay_s=0.5)
    assert_type(fault, ArmedFault)
    assert_type(number.disarm(fault.fault_id), int)
    assert_type(number.advance(30 * 24 * 3600), float)
    with pytest.raises(MediaGoneError) as caught:
        Dialog360Hook().fetch_media(media.media_id)
    assert_type(caught.value.status, int)
    assert_type(number.counters(), dict[str, Any])
    assert_type(number.content(media.media_id), bytes)
    assert_type(number.inject_webhook_media(b"...", mime_type="image/png"), dict[str, Any])
    assert [each.media_id for each in number.live_media()] == []
    number.configure(posts_per_s=5)
    number.add_number("2", "test-key-2")
    number.rotate_key("2", "test-key-3")
    number.set_health("LIMITED", number="2")
    number.forgive()
    number.reset_counters()
    assert number.requests(5)
    assert number.media(media.media_id)
