from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_360dialog import emulator


@pytest.fixture
def emu() -> Iterator[emulator.Emulator]:
    with emulator.running() as running:
        yield running
