"""Keeps the leases of this process alive while what they are for is under way."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_360dialog.exceptions import LedgerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

RENEW_EVERY_S: Final = 40.0


class Renewer(Protocol):
    """Where a lease stands."""

    def renew(self, claim: Any) -> bool:
        """Prolong it; False where somebody else has it."""
        ...


_keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()


class Keeper:
    """One thread for all claims of a process; it runs only while there are any.

    Args:
        renew_every_s: a third of a lease, so that two renewals may fail.
    """

    def __init__(self, renew_every_s: float = RENEW_EVERY_S) -> None:
        self._renew_every_s = renew_every_s
        self._claims: dict[Any, Renewer] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

        _keepers.add(self)

    def forget(self) -> None:
        """In a forked child: claims, thread and lock are the parent's."""
        self._claims, self._thread = {}, None
        self._changed = threading.Condition()

    @contextmanager
    def keeping(self, claim: Any, renewer: Renewer) -> Iterator[None]:
        """Renew ``claim`` every 40 s until the block ends."""
        with self._changed:
            self._claims[claim] = renewer
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dialog360-leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._claims.pop(claim, None)
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._claims, timeout=self._renew_every_s)
                if not self._claims:
                    self._thread = None
                    return
                claims = list(self._claims.items())
            for claim, renewer in claims:
                self._renew(claim, renewer)

    def _renew(self, claim: Any, renewer: Renewer) -> None:
        try:
            kept = renewer.renew(claim)
        except LedgerUnavailableError as error:
            log.warning("a lease could not be renewed and may lapse: %s", error)
            return
        with self._changed:
            ended = claim not in self._claims
        if not kept and not ended:
            log.warning("a lease was lost to another worker; what comes back here does not count")


def _forget_all() -> None:
    for keeper in _keepers:
        keeper.forget()


os.register_at_fork(after_in_child=_forget_all)
