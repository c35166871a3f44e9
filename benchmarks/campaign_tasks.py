"""The tasks of a campaign, each in a process of its own, by the same calls as the operators'; for `campaign`.

Each takes the environment, what Airflow would tell the task about itself, the manifest, and a queue; there it tells its parent
``result`` (as it would go to XCom), ``error``, ``seconds``, and its memory.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CAMPAIGN = "vouchers"


@contextmanager
def _as_task(values: dict[str, str], facts: SimpleNamespace, answers: Any, told: dict[str, Any]) -> Iterator[None]:
    """What Airflow does around `execute`; in the end ``told`` goes to the parent, with the error if there is one."""
    os.environ.update(values)
    from airflow.sdk.execution_time.context import set_current_context

    import airflow_provider_360dialog.hooks.campaigns
    import airflow_provider_360dialog.hooks.manifests
    import airflow_provider_360dialog.jobs.campaign
    import airflow_provider_360dialog.jobs.export
    import airflow_provider_360dialog.jobs.plan  # noqa: F401

    told |= {"error": None, "result": {}}
    imports_mb = _memory_mb("VmRSS")
    began = time.monotonic()
    try:
        with set_current_context({"ti": facts}):  # type: ignore[arg-type,typeddict-item,unused-ignore]
            yield
    except Exception as error:  # noqa: BLE001 - told to the parent
        told["error"] = f"{type(error).__name__}: {error}"[:300]
    told["seconds"] = round(time.monotonic() - began, 2)
    told["memory_mb"] = round(_memory_mb("VmHWM"), 1)
    told["memory_over_imports_mb"] = round(told["memory_mb"] - imports_mb, 1)
    answers.put(told)


def _memory_mb(field: str) -> float:
    """Of this process; VmHWM: the most that it ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


class Opened:
    """Counts the files of a kind below a folder that this process opens from now on, by Python's own audit."""

    def __init__(self, folder: str, suffix: str) -> None:
        self.count = 0
        self._folder, self._suffix = folder, suffix
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            name = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
            self.count += name.startswith(self._folder) and name.endswith(self._suffix)


class _FirstEta(logging.Handler):
    """When the log first spoke of how long the uploads take."""

    def __init__(self) -> None:
        super().__init__()
        self.at: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.at is None and "uploads take at most" in record.getMessage():
            self.at = time.monotonic()


def plan(
    values: dict[str, str], facts: SimpleNamespace, manifest: str, answers: Any, *, conn_ids: list[str], max_reject_ratio: float
) -> None:
    """Tells also how many PDFs it opened, and how soon its log spoke of an ETA."""
    told: dict[str, Any] = {}
    opened = Opened(str(Path(manifest).parent), ".pdf")
    logger, eta = logging.getLogger("airflow_provider_360dialog.jobs.plan"), _FirstEta()
    logging.disable(logging.NOTSET)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(eta)
    with _as_task(values, facts, answers, told):
        from airflow_provider_360dialog.hooks.campaigns import Campaigns

        began = time.monotonic()
        needed_until = datetime.now(UTC) + timedelta(days=3)
        try:
            told["result"] = Campaigns().plan(CAMPAIGN, manifest, conn_ids, needed_until, max_reject_ratio=max_reject_ratio)
        finally:
            told["opened"] = opened.count
            told["first_eta_s"] = None if eta.at is None else round(eta.at - began, 2)


def upload(
    values: dict[str, str], facts: SimpleNamespace, manifest: str, answers: Any, *, conn_id: str, max_reject_ratio: float
) -> None:
    """Tells also how many PDFs it opened."""
    told: dict[str, Any] = {}
    opened = Opened(str(Path(manifest).parent), ".pdf")
    with _as_task(values, facts, answers, told):
        from airflow_provider_360dialog.hooks.campaigns import Campaigns
        from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

        try:
            told["result"] = Campaigns().upload(CAMPAIGN, Dialog360Hook(conn_id), max_reject_ratio=max_reject_ratio)
        finally:
            told["opened"] = opened.count


def export(
    values: dict[str, str], facts: SimpleNamespace, _manifest: str, answers: Any, *, destination: str, require_complete: bool
) -> None:
    """As the operator does, whose result is what goes to XCom."""
    told: dict[str, Any] = {}
    with _as_task(values, facts, answers, told):
        from airflow_provider_360dialog.operators.campaigns import Dialog360ExportCampaignOperator

        operator = Dialog360ExportCampaignOperator(
            task_id="export", campaign=CAMPAIGN, destination=destination, require_complete=require_complete
        )
        told["result"] = operator.execute({})  # type: ignore[typeddict-item,unused-ignore]
