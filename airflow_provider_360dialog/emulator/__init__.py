"""A faithful local 360dialog for tests, demos and continuous integration.

It answers `POST /media`, `GET /<media id>`, the download path, `DELETE /<media id>` and the two health paths as recorded
traffic shows them, keeps the limits of a phone number, lets media die on a movable clock, and misbehaves on request.
Start it from a shell (`python -m airflow_provider_360dialog.emulator`) or inside a test::

    from airflow_provider_360dialog import emulator

    with emulator.running() as emu:
        requests.get(f"{emu.base_url}/health_status", headers={"D360-API-KEY": emu.key})

The names below are imported on first use, so importing this package costs nothing. Nothing here knows the client that it
is used to test.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_360dialog.emulator.armory import ArmedFault
    from airflow_provider_360dialog.emulator.faults import FAULT_KINDS, Operation
    from airflow_provider_360dialog.emulator.handle import Emulator, running
    from airflow_provider_360dialog.emulator.settings import BlockedAnswer, ErrorShape, Profile, Settings
    from airflow_provider_360dialog.emulator.state import State

_HOMES = {
    "FAULT_KINDS": "faults",
    "ArmedFault": "armory",
    "BlockedAnswer": "settings",
    "Emulator": "handle",
    "ErrorShape": "settings",
    "Operation": "faults",
    "Profile": "settings",
    "Settings": "settings",
    "State": "state",
    "running": "handle",
}

__all__ = [
    "FAULT_KINDS",
    "ArmedFault",
    "BlockedAnswer",
    "Emulator",
    "ErrorShape",
    "Operation",
    "Profile",
    "Settings",
    "State",
    "running",
]


def __getattr__(name: str) -> Any:
    """Import an exported name when it is first asked for."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
