"""The machine on which something was measured, and how busy others kept it. Names no host, no user and no path."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("apache-airflow", "apache-airflow-providers-http", "httpx", "psycopg", "pywa", "requests", "SQLAlchemy", "urllib3")


def describe() -> dict[str, Any]:
    """Cores, processor, memory and system."""
    cpus = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpus, re.MULTILINE)
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model[1].strip() if model else platform.machine(),
        "memory_gib": round(memory_bytes / 2**30),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
    }


def versions() -> dict[str, str]:
    """Of what takes part. The provider is that of the checkout."""
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, "PostgreSQL": _postgres() or "none"}
    return found | {name: metadata.version(name) for name in _PACKAGES}


def today() -> str:
    """The date in UTC."""
    return datetime.now(UTC).date().isoformat()


def busy_percent(during_s: float = 3.0) -> float:
    """How much of all cores others use while this process does nothing."""
    before = _ticks()
    time.sleep(during_s)
    after = _ticks()
    total, idle = (after[index] - before[index] for index in (0, 1))
    return round(100 * (1 - idle / total), 1) if total else 0.0


def load_average() -> list[float]:
    """Over 1, 5 and 15 minutes."""
    return [round(each, 1) for each in os.getloadavg()]


def _ticks() -> tuple[int, int]:
    """All, and the idle ones."""
    values = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(values), values[3] + values[4]


def _postgres() -> str | None:
    from tests.support.postgres import find_programs

    programs = find_programs()
    if programs is None:
        return None
    told = subprocess.run([programs / "postgres", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)*", told)
    return found[0] if found else None
