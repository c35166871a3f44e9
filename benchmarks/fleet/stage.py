"""Everything that a fleet's run needs, started and in place: servers, Airflow, the past, connections. See `staged`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import support
from benchmarks.fleet import airflow
from benchmarks.fleet.leaks import tables_of
from benchmarks.fleet.load import AGE_S, Inbox, Shop, Sizes, seed_past
from benchmarks.fleet.services import EmulatedHost, Redis, emulated_host, redis
from tests.support.postgres import Postgres, postgres

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store
    from benchmarks.fleet.airflow import Fleet

HOUR_S = 3600.0
METADATA = "d1"
"""Airflow's database, on a server of its own."""
_DAG_IDS = {"fleet_campaign", "fleet_refresh", "fleet_inbound", "fleet_cleanup"}
_DAGS = support.CHECKOUT / "benchmarks" / "dags" / "fleet_load.py"
_UP_S = 240
_GET_S = 0.3


@dataclass(frozen=True)
class Stage:
    """Everything that runs, and where."""

    place: Path
    home: Path
    host: EmulatedHost
    broker: Redis
    metadata: Postgres
    ledger: Postgres
    ledger_url: str
    fleet: Fleet
    shop: Shop
    inbox: Inbox

    def ask_metadata(self, sql: str) -> list[Any]:
        """Rows of Airflow's database."""
        return self.metadata.execute(sql, METADATA)

    def keep(self, folder: Path) -> None:
        """Copy what a diagnosis needs: logs, what the jobs wrote, the emulator's journal, and the tables as text."""
        shutil.copytree(self.place, folder, ignore=shutil.ignore_patterns("bytes", "files", "redis"), dirs_exist_ok=True)
        for server, url in ((self.metadata, METADATA), (self.ledger, self.ledger_url)):
            for table, content in tables_of(server, url):
                (folder / f"{table}.tsv").write_bytes(content)

    def store(self) -> Store:
        """The ledger, to be read."""
        from airflow_provider_360dialog.ledger.store import Store

        return Store(self.ledger_url).open_existing()


@contextmanager
def staged(sizes: Sizes, *, channels: int, waves: int, service_s: float, seed: int) -> Iterator[Stage]:
    """Start everything; the past is made while Airflow starts."""
    with ExitStack() as stack:
        place = stack.enter_context(support.folder())
        home = place / "home"
        home.mkdir()
        broker = stack.enter_context(redis(place / "redis"))
        metadata, ledger = stack.enter_context(postgres()), stack.enter_context(postgres())
        host = stack.enter_context(emulated_host(place / "emulator", channels, service_s=service_s))
        dags = place / "dags"
        dags.mkdir()
        (dags / _DAGS.name).write_text(_DAGS.read_text())
        ledger_url = ledger.new_database()
        variables = {
            "PROOF_NUMBERS": " ".join(number.conn_id for number in host.numbers),
            "AIRFLOW__DIALOG360__LEDGER_CONN_ID": "fleet_ledger",
        }
        fleet = stack.enter_context(airflow.fleet(home, dags, metadata, broker, variables))
        shop = Shop(place / "shop", sizes, waves, seed)
        seed_past(shop, host, ledger_url, place / "past")
        _let_it_age(host, ledger, ledger_url, shop, sizes.wave_s)
        fleet.wait_for("Airflow is up", lambda: fleet.is_up(_DAG_IDS), within_s=_UP_S)
        airflow.add_connections(fleet, host, ledger_url)
        inbox = Inbox(place, host, seed)
        yield Stage(place, home, host, broker, metadata, ledger, ledger_url, fleet, shop, inbox)


def _let_it_age(host: EmulatedHost, ledger: Postgres, url: str, shop: Shop, wave_s: float) -> None:
    """What was uploaded just now was uploaded three weeks ago; and the ended campaigns end, one with each wave."""
    host.stop()
    host.age(AGE_S)
    host.start()
    for operation in ("fetch", "download"):  # so that there are some under way when somebody dies
        host.asked.ask("faults", {"kind": "delay", "operation": operation, "times": "always", "delay_s": _GET_S})
    columns = ("uploaded_at", "safe_until", "state_since")
    aged = ", ".join(f"{column} = {column} - {AGE_S}" for column in columns)
    ledger.execute(f"UPDATE d360_media SET {aged}", url)
    for wave, campaign in enumerate(shop.ended):
        ends = f"extract(epoch FROM clock_timestamp()) - {HOUR_S} + {wave * wave_s}"  # a clean-up leaves them alone for an hour
        ledger.execute(f"UPDATE d360_campaign SET needed_until = {ends} WHERE name = '{campaign.name}'", url)
