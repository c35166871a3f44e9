"""What our errors mean to Airflow: wait without a slot, fail without a retry, or retry as the task was told."""

from __future__ import annotations

import random
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NoReturn

from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from airflow_provider_360dialog.exceptions import Dialog360Error, WaitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHORTEST_WAIT: Final = timedelta(seconds=60)
"""A task that is rescheduled for seconds can be taken for a failed one by the scheduler, so it is never less."""
_JITTER_S: Final = 30.0


def reschedule(moment: datetime) -> NoReturn:
    """Give the worker's slot back and have the task run again at ``moment``, a minute from now at the least; that is no retry."""
    raise AirflowRescheduleException(max(moment, datetime.now(UTC) + SHORTEST_WAIT))  # type: ignore[no-untyped-call]  # in Airflow


@contextmanager
def as_airflow_sees_it(wait: Callable[[datetime], NoReturn] = reschedule) -> Iterator[None]:
    """Turn our errors into Airflow's.

    - `WaitError` (a block, a spent error budget, a long throttle): ``wait`` until its instant, plus up to half a minute, so that
      those who wait for the same instant do not come back as a herd.
    - What retrying cannot mend: ``AirflowFailException``, whatever ``retries`` says.
    - The rest goes on as it is, and Airflow's retries hold.

    Args:
        wait: takes the aware UTC instant and does not return; by default the task is rescheduled.
    """
    fault: Dialog360Error | None = None
    try:
        yield
    except Dialog360Error as error:
        if error.retryable and not isinstance(error, WaitError):
            raise
        fault = error
    if isinstance(fault, WaitError):
        wait(wait_until(fault.retry_at))
    if fault is not None:
        raise AirflowFailException(str(fault)) from fault


def wait_until(retry_at: datetime) -> datetime:
    """When to come back: not before the instant, and not all at once."""
    return retry_at + timedelta(seconds=random.uniform(0, _JITTER_S))  # noqa: S311 - spreads, hides nothing
