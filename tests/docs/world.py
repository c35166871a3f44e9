"""The installation that the pages' commands speak about, made once: an Airflow, three numbers, a ledger with two campaigns in it.

What stands below ``/tmp`` and ``/data`` on the pages stands below the world's folder here, and AIRFLOW_HOME is the pages'
``/tmp/airflow``:

- ``shop_berlin`` (``travel`` is the same number), ``shop_bonn``, which is LIMITED and blocked, and ``shop_bremen``; the connection
  ``dialog360_default`` is the emulator's first number. No connection ``shop_cologne``.
- The campaign ``vouchers-2026-11-22``, of ``/data/vouchers/2026-11-22.csv``, is uploaded in part, and has rejects; ``spring-vouchers``
  is complete.
- ``shop_berlin`` has old ids that no campaign needs, and some that have ended. ``shop_bremen`` has what a verification finds.
- The DAG folder holds a key, ``dags_examples`` is the checkout's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import sqlalchemy as sa

from airflow_provider_360dialog import emulator
from airflow_provider_360dialog.exceptions import Dialog360Error
from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger import store as store_module
from tests.docs.pages import CHECKOUT

BIN = Path(sys.executable).parent
NUMBERS = {"shop_berlin": "106540352242922", "shop_bonn": "106540352242907", "shop_bremen": "106540352242941"}
CHANNELS = list(NUMBERS)
DAY_S = 86_400.0
_KEY_LIKE = "kEy0" * 7


@dataclass(frozen=True)
class World:
    """``folder``: never used itself, only copies of it. ``environment``: of a shell, but for what depends on the folder."""

    folder: Path
    environment: dict[str, str]

    def copy(self, to: Path, *, is_new: bool = False) -> dict[str, str]:
        """A world of one's own; its environment.

        Args:
            to: is made. is_new: without a ledger, as after an installation.
        """
        shutil.copytree(self.folder, to, symlinks=True)
        if is_new:
            shutil.rmtree(airflow_home(to) / "dialog360")
        return environment_of(to) | self.environment


def airflow_home(folder: Path) -> Path:
    return folder / "tmp" / "airflow"


def environment_of(folder: Path) -> dict[str, str]:
    """What of a shell's environment depends on the folder; nothing of a developer's own Airflow."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHONPATH"))}
    return kept | {
        "AIRFLOW_HOME": str(airflow_home(folder)),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "HOME": str(folder),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "TMPDIR": str(folder / "tmp"),
        "COLUMNS": "200",
    }


@contextmanager
def made(folder: Path) -> Iterator[World]:
    """Make it in ``folder``, with an emulator that runs until the block ends."""
    home = airflow_home(folder)
    (home / "dags").mkdir(parents=True)
    migration = subprocess.Popen(
        [BIN / "airflow", "db", "migrate"], env=environment_of(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with emulator.running(profile="strict") as emu:
        connections = _connections(emu)
        _make_files(folder)
        ledger = {"AIRFLOW__DIALOG360__LEDGER_PATH": str(home / "dialog360" / "ledger.db")}
        with mock.patch.dict(os.environ, connections | ledger):
            _fill(emu, folder)
            _forget_engine(ledger_store().place)
        assert migration.wait(120) == 0
        (home / "airflow.cfg").unlink()  # it names this folder; each copy gets its own
        yield World(folder, connections | {"D360_API_KEY": "test-key", "WEBHOOK_HEADER_SECRET": "a-secret-of-the-test"})


def _connections(emu: emulator.Emulator) -> dict[str, str]:
    """The numbers, and the variables that connect them."""
    keys = {"dialog360_default": emu.key}
    for conn_id, number_id in NUMBERS.items():
        keys[conn_id] = f"test-key-{conn_id}"
        emu.add_number(number_id, keys[conn_id])
    keys["travel"] = keys["shop_berlin"]
    emu.set_health("LIMITED", number=NUMBERS["shop_bonn"], additional_info=["Your display name has not been approved yet."])
    fields = {"conn_type": "dialog360", "host": emu.base_url}
    return {f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(fields | {"password": key}) for conn_id, key in keys.items()}


def _make_files(folder: Path) -> None:
    (folder / "dags_examples").symlink_to(CHECKOUT / "dags_examples")
    for name in ("vouchers", "plans"):
        (folder / "data" / name).mkdir(parents=True)
    (folder / "tmp" / "backup").mkdir()
    vouchers = folder / "data" / "vouchers"
    for at in range(6):
        (vouchers / f"{at}.txt").write_text(f"voucher {at}\n" * 20_000)
    (vouchers / "empty.txt").touch()
    rows = [
        f"{channel}-{at},{vouchers / name}.txt,{channel}"
        for channel in CHANNELS
        for at, name in enumerate([*"012345" * 30, *(["empty"] * 2 if channel == "shop_berlin" else [])])
    ]
    (vouchers / "2026-11-22.csv").write_text("\n".join(["key,uri,channel", *rows, ""]))
    send = f'from airflow.providers.http.operators.http import HttpOperator\n\nHEADERS = {{"D360-API-KEY": "{_KEY_LIKE}"}}\n'
    (airflow_home(folder) / "dags" / "send.py").write_text(send)


def _fill(emu: emulator.Emulator, folder: Path) -> None:
    vouchers, in_3_days = folder / "data" / "vouchers", datetime.now(UTC) + timedelta(days=3)
    hooks = {conn_id: Dialog360Hook(conn_id) for conn_id in [*NUMBERS, "travel"]}
    for name in ("photo.jpg", "invoice.pdf", "chart.png", "notes.txt"):
        hooks["shop_berlin"].upload(CHECKOUT / "dags_examples" / "media" / name)
    instants = ("uploaded_at", "state_since", "safe_until")
    _sql(f"UPDATE d360_media SET {', '.join(f'{each} = {each} - :age' for each in instants)}", age=3 * DAY_S)
    _sql(f"UPDATE d360_media SET {', '.join(f'{each} = {each} - :age' for each in instants)} WHERE id <= 2", age=26.1 * DAY_S)
    Campaigns().plan("spring-vouchers", [{"key": "1", "uri": str(vouchers / "0.txt")}], ["shop_bremen"], in_3_days)
    Campaigns().upload("spring-vouchers", hooks["shop_bremen"])
    Campaigns().plan("vouchers-2026-11-22", str(vouchers / "2026-11-22.csv"), CHANNELS, in_3_days)
    for conn_id, count in (("shop_berlin", 2), ("shop_bonn", 3), ("shop_bremen", 4)):
        for at in range(count):
            hooks[conn_id].upload(vouchers / f"{at}.txt")
    hooks["travel"].upload(vouchers / "0.txt")
    _spoil(emu, hooks)


def _spoil(emu: emulator.Emulator, hooks: dict[str, Dialog360Hook]) -> None:
    """The budget of one number is spent, and it is blocked; the last two files of another do not fit together."""
    for media_id in ("100000000000001", "100000000000002", "100000000000003"):
        with contextlib.suppress(Dialog360Error):
            hooks["shop_bonn"].fetch_media(media_id)
    emu.arm("error", status=429, operation="fetch", text="Too many failed requests")
    with contextlib.suppress(Dialog360Error):
        hooks["shop_bonn"].fetch_media("100000000000004")
    _sql("UPDATE d360_media SET safe_until = safe_until + :more WHERE id = (SELECT max(id) FROM d360_media)", more=DAY_S)
    _sql(
        "UPDATE d360_fingerprint SET owner = 'h:1:ab', lease_until = 1, sending = 1 "
        "WHERE id = (SELECT max(fingerprint_id) FROM d360_media WHERE id < (SELECT max(id) FROM d360_media))"
    )


def _sql(statement: str, **values: object) -> None:
    with ledger_store().write() as db:
        assert db.execute(sa.text(statement), values).rowcount


def _forget_engine(place: str) -> None:
    """Close the file, so that it can be copied whole."""
    for name in [name for name in store_module._engines if name[1].endswith(place)]:
        store_module._engines.pop(name).dispose()
