"""What sensors share that look into the ledger now and then."""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.configuration import conf
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from airflow_provider_360dialog.exceptions import Dialog360Error

if TYPE_CHECKING:
    from airflow.sdk import Context


_TRIGGERERS_DELAY: Final = timedelta(minutes=5)


class LedgerSensor(BaseSensorOperator):
    """Base class; takes ``deferrable``, and whatever Airflow's ``BaseSensorOperator`` takes. Holds no slot between two looks.

    Args:
        deferrable: wait in the triggerer; False gives the slot back and is run again.
    """

    ui_color = "#e3f6ec"

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("mode", "reschedule")
        super().__init__(**kwargs)
        self.deferrable = deferrable

    @abstractmethod
    def is_over(self) -> bool:
        """Whether there is nothing left to wait for."""

    def execute(self, context: Context) -> Any:
        """Poke; or, deferrable, look, and look again after ``poke_interval``."""
        if not self.deferrable:
            return super().execute(context)
        return self._look(context, datetime.now(UTC))

    def resume(self, context: Context, event: Any = None, *, began_at: str | None = None) -> Any:  # noqa: ARG002 - Airflow's
        """Look again; ``timeout`` runs from the first look on."""
        return self._look(context, datetime.fromisoformat(began_at) if began_at else datetime.now(UTC))

    def poke(self, context: Context) -> bool:  # noqa: ARG002 - Airflow's signature
        """Whether it is over now."""
        try:
            return self.is_over()
        except Dialog360Error as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error

    def _look(self, context: Context, began_at: datetime) -> None:
        if self.poke(context):
            return
        left = began_at + timedelta(seconds=self.timeout) - datetime.now(UTC)
        if left <= timedelta(0):
            raise AirflowSensorTimeout(f"What {self.task_id!r} waits for has not come within {self.timeout:.0f} s.")
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        look_in = min(timedelta(seconds=self.poke_interval), left)  # the last look comes when the time is over
        self.defer(
            trigger=DateTimeTrigger(moment=datetime.now(UTC) + look_in),
            method_name="resume",
            kwargs={"began_at": began_at.isoformat()},
            timeout=left + _TRIGGERERS_DELAY,
        )
