"""What every operator of the provider shares: the connection, the hook, and what an error means to Airflow."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.configuration import conf
from airflow.sdk import BaseOperator

from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.links import Dialog360HubLink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow.sdk import BaseOperatorLink, Context


class Dialog360Operator(BaseOperator):
    """Base class; takes ``dialog360_conn_id``, ``deferrable``, and whatever Airflow's ``BaseOperator`` takes.

    Where 360dialog blocks the number, the task gives its slot back until the block ends, and then runs again; that burns no
    retry. What retrying cannot mend fails it at once, whatever ``retries`` says.

    Args:
        deferrable: wait in the triggerer; False has the scheduler run the task again at the instant.
    """

    ui_color = "#e3f6ec"
    operator_extra_links: tuple[BaseOperatorLink, ...] = (Dialog360HubLink(),)

    def __init__(
        self,
        *,
        dialog360_conn_id: str = Dialog360Hook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)  # so that upload.output["media_id"] is what it says
        super().__init__(**kwargs)
        self.dialog360_conn_id = dialog360_conn_id
        self.deferrable = deferrable

    @cached_property
    def hook(self) -> Dialog360Hook:
        """The hook of this task's connection."""
        return Dialog360Hook(self.dialog360_conn_id)

    def on_kill(self) -> None:
        """Airflow is about to end the process: send nothing more."""
        self.hook.stop()

    def resume(self, context: Context, event: Any = None) -> Any:  # noqa: ARG002 - Airflow's signature
        """After a wait in the triggerer: begin again. What was done is in the ledger, so nothing is done twice."""
        return self.execute(context)

    @contextmanager
    def as_airflow_sees_it(self) -> Iterator[None]:
        """See `hooks.waiting.as_airflow_sees_it`."""
        from airflow_provider_360dialog.hooks.waiting import as_airflow_sees_it, reschedule

        with as_airflow_sees_it(self._defer if self.deferrable else reschedule):
            yield

    def _defer(self, moment: datetime) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self.defer(trigger=DateTimeTrigger(moment=moment), method_name="resume")
