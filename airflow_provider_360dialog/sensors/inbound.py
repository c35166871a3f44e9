"""Wait until nothing that customers sent has been waiting for too long."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_360dialog.exceptions import CallError
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.sensors.base import LedgerSensor

if TYPE_CHECKING:
    from collections.abc import Collection


class Dialog360InboundDrainedSensor(LedgerSensor):
    """Until nothing is pending for a number that was received longer ago than ``older_than``. Reads the ledger only.

    With a short ``timeout`` it is an alert: it fails where something has been waiting for too long.

    Args:
        older_than: the age that a pending file may have; 0 waits until nothing is pending at all.
        dialog360_conn_id: the number. Templated.
        deferrable: wait in the triggerer between two looks; False gives the slot back and is run again.
    """

    template_fields: Collection[str] = ("dialog360_conn_id",)

    def __init__(
        self,
        *,
        older_than: timedelta = timedelta(hours=24),
        dialog360_conn_id: str = Dialog360Hook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.older_than = older_than
        self.dialog360_conn_id = dialog360_conn_id

    def is_over(self) -> bool:
        """Whether nothing is too old now."""
        if not isinstance(self.older_than, timedelta) or self.older_than < timedelta(0):
            raise CallError(f"older_than is a timedelta of at least 0, not {str(self.older_than)[:40]!r}.")
        standing = Dialog360Hook(self.dialog360_conn_id).inbound_standing()
        if standing is None or standing.oldest_pending_s is None:
            self.log.info("nothing is pending")
            return True
        oldest = timedelta(seconds=standing.oldest_pending_s)
        self.log.info("%d pending, %d of them suspect; the oldest for %s", standing.pending, standing.suspects, oldest)
        return oldest < self.older_than
