"""Wait until a number's retrieval is open."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_360dialog.exceptions import Dialog360Error
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from airflow.sdk import Context


class Dialog360RetrievalOpenSensor(BaseSensorOperator):
    """Until one more GET may be risked for a number: no block, and a credit of its error budget left. Reads the ledger only.

    Args:
        dialog360_conn_id: the number. Templated.
        deferrable: wait in the triggerer for the exact instant; False pokes.
    """

    template_fields: Collection[str] = ("dialog360_conn_id",)
    ui_color = "#e3f6ec"

    def __init__(
        self,
        *,
        dialog360_conn_id: str = Dialog360Hook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("mode", "reschedule")
        super().__init__(**kwargs)
        self.dialog360_conn_id = dialog360_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Poke; or, deferrable, wait for the instant at which it opens."""
        if not self.deferrable:
            return super().execute(context)
        opens_at = self._opens_at()
        if opens_at is not None:
            from airflow.providers.standard.triggers.temporal import DateTimeTrigger

            from airflow_provider_360dialog.hooks.waiting import wait_until

            self.defer(
                trigger=DateTimeTrigger(moment=wait_until(opens_at)),
                method_name="resume",
                timeout=timedelta(seconds=self.timeout),
            )
        return None

    def resume(self, context: Context, event: Any = None) -> Any:  # noqa: ARG002 - Airflow's signature
        """Look again: somebody else may have used what had become free."""
        return self.execute(context)

    def poke(self, context: Context) -> bool:  # noqa: ARG002 - Airflow's signature
        """Whether it is open now."""
        return self._opens_at() is None

    def _opens_at(self) -> datetime | None:
        try:
            return Dialog360Hook(self.dialog360_conn_id).retrieval_opens_at()
        except Dialog360Error as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error
