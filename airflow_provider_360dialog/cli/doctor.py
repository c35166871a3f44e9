"""``dialog360 doctor``: what is wrong with this installation, and what to do. Changes nothing, costs no error budget."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from airflow_provider_360dialog.cli.channel_checks import check_channel
from airflow_provider_360dialog.cli.checks import Check
from airflow_provider_360dialog.cli.key_scan import scan
from airflow_provider_360dialog.cli.ledger_checks import check_ledger
from airflow_provider_360dialog.cli.run import Result
from airflow_provider_360dialog.cli.words import counted
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_360dialog.ledger.store import Store

_NEEDED: Final = {"apache-airflow-core": "3.2", "SQLAlchemy": "2.0"}
_SHOWN: Final = {
    "airflow-provider-360dialog": "provider",
    "apache-airflow-core": "Airflow",
    "SQLAlchemy": "SQLAlchemy",
    "requests": "requests",
    "psycopg": "psycopg",
}
_MOST_SHOWN: Final = 20


def doctor(args: Namespace, _out: TextIO) -> Result:
    """The whole list."""
    checks = list(_checks(args.conn_id or [Dialog360Hook.default_conn_name]))
    levels = Counter(check.level for check in checks)
    verdict = f"{levels['ok']} ok, {counted(levels['warn'], 'warning')}, {levels['FAIL']} FAIL."
    text = "\n".join([*map(_lines, checks), "", verdict])
    return Result(text, {"checks": [asdict(check) for check in checks]}, ok=not levels["FAIL"])


def _checks(conn_ids: list[str]) -> Iterator[Check]:
    yield from _guarded("versions", check_versions)
    stores: list[Store] = []
    yield from _guarded("ledger", partial(check_ledger, stores))
    for conn_id in dict.fromkeys(conn_ids):
        yield from _guarded("connection", partial(check_channel, conn_id, stores[0] if stores else None), conn_id)
    yield from _guarded("keys in DAG folder", check_dag_folder)


def _guarded(name: str, look: Callable[[], Iterator[Check]], conn_id: str | None = None) -> Iterator[Check]:
    """One check that breaks does not keep the others from being made; foreign texts, which may hold secrets, are not shown."""
    try:
        yield from look()
    except Exception as fault:  # noqa: BLE001 - a list with one line missing would look like good news
        what = f"This could not be checked ({type(fault).__name__})."
        yield Check(name, "FAIL", what, "Mend what the other lines name, and run this again.", conn_id)


def _lines(check: Check) -> str:
    about = f" {check.conn_id}:" if check.conn_id else ""
    line = f"{check.level:<4}  {check.name}:{about} {check.message}"
    return f"{line}\n      -> {check.remedy}" if check.remedy else line


def check_versions() -> Iterator[Check]:
    """What is installed."""
    found = {name: version for name in _SHOWN if (version := _version(name)) is not None}
    words = [f"{_SHOWN[name]} {version}" for name, version in found.items()]
    words.insert(2, f"Python {sys.version.split()[0]}")
    old = [name for name, least in _NEEDED.items() if _numbers(found.get(name, "0")) < _numbers(least)]
    if old:
        wanted = " and ".join(f"{_SHOWN[name]} {_NEEDED[name]} or newer" for name in old)
        yield Check("versions", "FAIL", ", ".join(words) + ".", f"Install {wanted}.")
    else:
        yield Check("versions", "ok", ", ".join(words) + ".")


def check_dag_folder() -> Iterator[Check]:
    """Whether somebody has written an API key into a DAG file."""
    from airflow.configuration import conf

    name, folder = "keys in DAG folder", Path(conf.get("core", "dags_folder", fallback="") or ".").expanduser()
    if not folder.is_dir():
        yield Check(name, "ok", f"There is no DAG folder on this machine ({folder}).")
        return
    seen = scan(folder)
    for place in seen.places[:_MOST_SHOWN]:
        yield Check(
            name,
            "FAIL",
            f"{place.path}:{place.line} holds a text that looks like an API key.",
            "Generate a new key, put it into the password of an Airflow connection, and remove this one: whoever can read the "
            "file, or the history of its repository, has it.",
        )
    if len(seen.places) > _MOST_SHOWN:
        yield Check(name, "FAIL", f"... and {len(seen.places) - _MOST_SHOWN:,} more.")
    if seen.left_out:
        yield Check(
            name, "warn", f"{counted(seen.left_out, 'file')} of {folder} not looked at: too many, too large or unreadable."
        )
    if not seen.places:
        yield Check(name, "ok", f"None found in {counted(seen.files, 'Python file')} of {folder}.")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
