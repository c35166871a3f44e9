"""The doctor's look at the ledger: where it is, whether it can be used, what its clock says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_360dialog.cli.checks import Check, check_skew
from airflow_provider_360dialog.exceptions import Dialog360Error, LedgerMissingError
from airflow_provider_360dialog.hooks.ledger import SECTION, ledger_store
from airflow_provider_360dialog.ledger.condition import missing_parts, read_clock, try_writing
from airflow_provider_360dialog.ledger.host import check_file_system

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store


def check_ledger(found: list[Store]) -> Iterator[Check]:
    """All about the ledger; one that can be read is put into ``found``."""
    from airflow.configuration import conf

    executor = conf.get("core", "executor", fallback="") or "no executor"
    try:
        store = ledger_store()
    except Dialog360Error as error:
        yield Check("ledger", "FAIL", str(error))
        return
    try:
        if store.dialect == "sqlite":
            check_file_system(Path(store.place))
        store.open_existing()
        missing = missing_parts(store)
        try_writing(store)
    except LedgerMissingError as error:
        yield _missing(store, error)
        return
    except Dialog360Error as error:
        yield Check("ledger", "FAIL", str(error))
        return
    if missing:
        message = f"{store.place} ({store.dialect}) lacks {', '.join(missing[:5])}, though its schema version is right."
        remedy = "Restore a whole backup; or put this ledger away and let the next upload make a new one."
        yield Check("ledger", "FAIL", message, remedy)
        return
    found.append(store)
    yield Check("ledger", "ok", f"{store.place} ({store.dialect}) can be read and written, its schema fits; {executor}.")
    if store.dialect == "sqlite" and conf.getboolean(SECTION, "allow_single_host_ledger", fallback=False):
        yield Check(
            "ledger",
            "warn",
            f"[{SECTION}] allow_single_host_ledger is set: nobody checks that all tasks run on this host.",
            f"Where they do not, use PostgreSQL: set [{SECTION}] ledger_conn_id.",
        )
    yield _clock(store)


def _missing(store: Store, error: LedgerMissingError) -> Check:
    if store.dialect == "sqlite":
        above = next(folder for folder in Path(store.place).parents if folder.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            return Check("ledger", "FAIL", str(error), f"This user cannot make one either: {above} is not writable.")
    return Check("ledger", "warn", str(error), "Nothing, before the first upload; to have it now: dialog360 ledger init")


def _clock(store: Store) -> Check:
    before = time.time()
    theirs = read_clock(store)
    after = time.time()
    skew_s, unsure_s = (before + after) / 2 - theirs, (after - before) / 2
    return check_skew("clock", skew_s, unsure_s=unsure_s, other="the ledger's database")
