"""What every operator of the provider shares: the connection, the hook, and what an error means to Airflow's retries."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_360dialog.exceptions import Dialog360Error
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

if TYPE_CHECKING:
    from collections.abc import Iterator


class Dialog360Operator(BaseOperator):
    """Base class; takes ``dialog360_conn_id`` and whatever Airflow's ``BaseOperator`` takes."""

    ui_color = "#e3f6ec"

    def __init__(self, *, dialog360_conn_id: str = Dialog360Hook.default_conn_name, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", True)  # so that upload.output["media_id"] is what it says
        super().__init__(**kwargs)
        self.dialog360_conn_id = dialog360_conn_id

    @cached_property
    def hook(self) -> Dialog360Hook:
        """The hook of this task's connection."""
        return Dialog360Hook(self.dialog360_conn_id)

    def on_kill(self) -> None:
        """Airflow is about to end the process: send nothing more."""
        self.hook.stop()

    @contextmanager
    def final_errors_fail(self) -> Iterator[None]:
        """What retrying cannot mend fails the task at once, whatever ``retries`` says; the rest is left to Airflow's retries."""
        fault: Dialog360Error | None = None
        try:
            yield
        except Dialog360Error as error:
            if error.retryable:
                raise
            fault = error
        if fault is not None:
            raise AirflowFailException(str(fault)) from fault
