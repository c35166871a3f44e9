"""How much memory a process and those that it starts have needed at most."""

from __future__ import annotations

import os
import resource
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self


class Peaks:
    """A context manager. The largest resident size that this process ever had, and the largest of any process that it started.

    The second is never below what this process had when it started one: so counts the system, where a process ends between two
    looks.
    """

    def __init__(self) -> None:
        self._of_workers, self._workers, self._over = 0, set[str](), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def now(self) -> tuple[int, int]:
        """Both, until now."""
        self._look()
        ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        return peak_bytes("self"), max(self._of_workers, ended)

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._workers = children()
            self._look()

    def _look(self) -> None:
        for worker in self._workers:
            self._of_workers = max(self._of_workers, peak_bytes(worker))


def children() -> set[str]:
    """Ids of the processes that this one has started and that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            if stat.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                found.add(stat.parent.name)
    return found


def peak_bytes(process: str) -> int:
    """The largest resident size that a process ever had; 0 where there is none of this id."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
