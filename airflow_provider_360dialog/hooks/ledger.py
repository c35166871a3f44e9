"""The one place that knows where the ledger is.

``[dialog360] ledger_conn_id``, an Airflow connection of type postgres; else a SQLite file at ``[dialog360] ledger_path``,
which is for one host and says so.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import LedgerRefusedError

if TYPE_CHECKING:
    import threading

    from sqlalchemy.engine import URL

    from airflow_provider_360dialog.ledger.store import Store

SECTION: Final = "dialog360"
_ONE_HOST: Final = frozenset({"LocalExecutor", "SequentialExecutor", ""})
_REMEDY: Final = "Use PostgreSQL: set [dialog360] ledger_conn_id to an Airflow connection of type postgres"

_stores: dict[str, Store] = {}


def ledger_store() -> Store:
    """The ledger of this Airflow, not opened yet: `Store.open` to write, `Store.open_existing` to read.

    Raises:
        LedgerRefusedError: what is configured cannot be a ledger, or SQLite cannot serve this installation.
    """
    from airflow.configuration import conf
    from sqlalchemy.engine import URL

    conn_id = conf.get(SECTION, "ledger_conn_id", fallback="") or ""
    trusted = False
    if conn_id:
        url = _postgres_url(conn_id)
    else:
        path = conf.get(SECTION, "ledger_path", fallback="") or str(Path(_airflow_home(), "dialog360", "ledger.db"))
        trusted = conf.getboolean(SECTION, "allow_single_host_ledger", fallback=False)
        if not trusted:
            _check_one_host(path, conf.get("core", "executor", fallback=""))
        url = URL.create("sqlite", database=str(Path(path).expanduser()))
    return _store(url, single_host=not trusted)


def opened_ledger(stop: threading.Event) -> Store:
    """The same, opened for a task; where its database does not answer, it is asked for five minutes.

    Args:
        stop: set when the task is told to end.

    Raises:
        LedgerUnavailableError: it did not answer in all that time. LedgerRefusedError: as `ledger_store`, or as `Store.open`.
    """
    from airflow_provider_360dialog.jobs.calls import patiently

    return patiently(ledger_store().open, stop=stop)


def ledger_behind(conn_id: str) -> Store:
    """The ledger behind an Airflow connection of type postgres, whatever is configured; not opened yet.

    Raises:
        LedgerRefusedError: the connection is none of that type, or does not exist.
    """
    return _store(_postgres_url(conn_id, said_by="--to"), single_host=True)


def _store(url: URL, *, single_host: bool) -> Store:
    from airflow_provider_360dialog.ledger.store import Store

    return _stores.setdefault(url.render_as_string(hide_password=False), Store(url, single_host=single_host))


def _airflow_home() -> str:
    return str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser())


def _check_one_host(path: str, executors: str) -> None:
    """An empty SQLite file in each pod would mean no memory and many times the rate."""
    names = (re.split(r"[:.=]", each.strip())[-1] for each in re.split(r"[,;]", executors))
    others = sorted({name for name in names if name not in _ONE_HOST})
    if others:
        raise LedgerRefusedError(
            place=path, reason=f"SQLite is for one host, and {', '.join(others)} runs tasks on many. {_REMEDY}"
        )
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        reason = f"SQLite is for one host, and each pod of Kubernetes would have an empty ledger of its own. {_REMEDY}; "
        raise LedgerRefusedError(
            place=path, reason=reason + "or, for a single pod with a volume, [dialog360] allow_single_host_ledger"
        )


def _postgres_url(conn_id: str, *, said_by: str = "[dialog360] ledger_conn_id") -> URL:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError
    from sqlalchemy.engine import URL

    try:
        conn = BaseHook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as fault:
        reason = f"{said_by} names connection {conn_id!r}, which Airflow does not have"
        raise LedgerRefusedError(place=conn_id, reason=reason) from fault
    if conn.conn_type not in {"postgres", "postgresql"}:
        reason = f"connection {conn_id!r} is of type {conn.conn_type!r}, not postgres"
        if conn.conn_type == "generic":
            reason += "; Airflow stores that where its postgres provider is missing: add it by --conn-uri postgres://..."
        raise LedgerRefusedError(place=conn_id, reason=reason)
    allowed = ("sslmode", "sslrootcert", "sslcert", "sslkey", "options", "target_session_attrs", "application_name")
    query = {name: str(value) for name, value in conn.extra_dejson.items() if name in allowed}
    return URL.create(
        "postgresql+psycopg",
        username=conn.login or None,
        password=conn.password or None,
        host=conn.host or None,
        port=conn.port or None,
        database=conn.schema or None,
        query=query,
    )
