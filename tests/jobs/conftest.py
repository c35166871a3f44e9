from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime

import pytest

from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.jobs.calls import Calls
from airflow_provider_360dialog.ports import Channel, Timeouts
from tests.jobs.doubles import JPEG, MemoryDestination, MemorySource, Patient
from tests.support.ledger import MovedClock, channel_of, open_store


@pytest.fixture
def clock(tmp_path, number):
    """The ledger's, which agrees with the emulator's."""
    clock = MovedClock(tmp_path)
    clock.advance(number.emu.state.now_s() - time.time())
    return clock


@pytest.fixture
def stop(clock):
    return Patient(clock)


@pytest.fixture
def calls(number, stop, clock, tmp_path):
    """The wire of the watched number, on the emulator's clock; waiting costs no time."""

    def now():
        return datetime.fromtimestamp(number.emu.state.now_s(), UTC)

    channel = Channel(api_key=number.key, base_url=number.base_url, timeouts=Timeouts(2.0, 2.0, 5.0))
    api = MediaApi(channel, now=now)
    yield Calls(api, channel_of(open_store(tmp_path, now_sql=clock.now_sql)), now=now, stop=stop)
    api.close()


@pytest.fixture
def source():
    return MemorySource(JPEG + os.urandom(16))


@pytest.fixture
def place():
    return MemoryDestination()


@pytest.fixture
def stored(number):
    """A photo that a customer sent: its id and the webhook's URL."""
    return number.receive(JPEG)


@pytest.fixture
def sha256():
    return hashlib.sha256(JPEG).hexdigest()
