"""Moved time: a ledger and an emulator whose clocks the parent moves together, and the calls of a worker on that ledger."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from benchmarks import support

_NOW = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0 + (SELECT ahead FROM proof_clock))",
    "postgresql": "(extract(epoch FROM clock_timestamp())::float8 + (SELECT ahead FROM proof_clock))",
}


@dataclass(frozen=True)
class Place:
    """What a worker has to be told: which ledger, which emulator, which number."""

    url: str
    engine: str
    base_url: str
    number: support.Number

    def open(self) -> Any:
        """The ledger, on the clock that is moved."""
        from airflow_provider_360dialog.ledger.store import Store

        return Store(self.url, now_sql=_NOW[self.engine], single_host=False).open()

    def identify(self, store: Any) -> Any:
        """The number's channel on record."""
        from airflow_provider_360dialog.ledger.channels import Channels

        at = {"conn_id": self.number.conn_id, "origin": self.base_url, "phone_number_id": self.number.number_id}
        return Channels(store).bind(api_key=self.number.key, **at)

    def calls(self, store: Any, api: Any = None) -> Any:
        """What the jobs take; ``api`` for one that is watched."""
        from airflow_provider_360dialog.jobs.calls import Calls
        from airflow_provider_360dialog.ledger.channel import ChannelLedger

        identity = self.identify(store)
        return Calls(api or self.api(), ChannelLedger(store, lambda: identity))

    def api(self, kind: Any = None) -> Any:
        """The number's wire, of a class of its own where ``kind`` is given."""
        from airflow_provider_360dialog.api.client import MediaApi
        from airflow_provider_360dialog.ports import Channel

        return (kind or MediaApi)(Channel(api_key=self.number.key, base_url=self.base_url))


class Clock:
    """The parent's hand on both clocks. ``ahead`` is shared with the workers; only the parent changes it.

    Move it only while no GET is under way: none takes a minute.
    """

    def __init__(self, place: Place, emulated: support.Emulator) -> None:
        from airflow_provider_360dialog.ledger.store import Store

        with Store(place.url).open().write() as db:
            db.exec_driver_sql("CREATE TABLE proof_clock (ahead DOUBLE PRECISION NOT NULL)")
            db.exec_driver_sql("INSERT INTO proof_clock VALUES (0)")
        self.store = place.open()
        self.ahead = support.workers().RawValue("d", 0.0)
        self._emulated = emulated

    def move(self, step_s: float) -> None:
        """Forward, both."""
        self._emulated.ask("clock", {"advance_s": step_s})
        with self.store.write() as db:
            db.exec_driver_sql(f"UPDATE proof_clock SET ahead = ahead + {step_s}")
        self.ahead.value += step_s


def now_s(ahead: Any) -> float:
    """The moved instant, as a worker can tell it."""
    return time.time() + float(ahead.value)
