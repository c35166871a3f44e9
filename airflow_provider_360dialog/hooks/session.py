"""What a hook works with while its connection may change: a new key, another policy, a number that has moved away."""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import suppress
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    CallError,
    ChannelFrozenError,
    Dialog360Error,
    KeyRefusedError,
    LedgerRefusedError,
    LedgerUnavailableError,
    StoppedError,
)
from airflow_provider_360dialog.hooks.metrics import Meter
from airflow_provider_360dialog.hooks.tasks import task_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.api.messages import Operation
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import Channel

T = TypeVar("T")

log = logging.getLogger(__name__)

_CHEAP_S: Final = 0.002
_OFTEN_S: Final = 0.05
_RARELY_S: Final = 60.0
_SPEAK_EVERY_S: Final = 600.0


class Session:
    """One connection's wire and ledger, made when first needed and made anew where the connection has changed. Thread-safe.

    Args:
        conn_id: of the connection. read_channel: reads it; raises where it cannot be used.

    Attributes:
        stop: set when the task is told to end. meter: tells Airflow's metrics.
    """

    def __init__(self, conn_id: str, read_channel: Callable[[], Channel]) -> None:
        self.stop = threading.Event()
        self.meter = Meter(conn_id)
        self._conn_id, self._read_channel = conn_id, read_channel
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._calls: Calls | None = None
        self._refused: Dialog360Error | None = None
        self._asked_whether_moved = False
        self._read_again_at = self._speak_again_at = -math.inf
        self._is_key_known_to_work = False

    def calls(self) -> Calls:
        """The wire and ledger of the connection as it stands; from its next call on, whoever uses them goes by what it says now.

        Raises:
            Dialog360Error: its key was refused, and is still the same; or its fields are wrong.
        """
        with self._lock:
            return self._usable()

    def run(self, call: Callable[[Calls], T]) -> T:
        """Call; where key or access was refused, read the connection once more, and go on if somebody has put a new key there.

        Where the key is still the same, the number may have moved away: then the channel is frozen.
        """
        if self.stop.is_set():
            raise StoppedError(operation="call 360dialog")
        try:
            found = self._run(call)
        except (StoppedError, LedgerUnavailableError):
            raise
        except Dialog360Error as error:
            self._look(at_once=not isinstance(error, CallError))  # it may have cost error budget
            raise
        self._look()
        return found

    @property
    def phone_number_id(self) -> str | None:
        """Of the channel; None where it is not known yet."""
        calls = self._calls
        return calls.ledger.identity.phone_number_id if calls is not None and calls.ledger.is_identified else None

    def _look(self, *, at_once: bool = False) -> None:
        if self._calls is not None:
            self.meter.look(self._calls, at_once=at_once)

    def _run(self, call: Callable[[Calls], T]) -> T:
        with self._lock:
            calls, used = self._usable(), self._channel
        refused: Dialog360Error
        try:
            return call(calls)
        except (KeyRefusedError, AccessRefusedError) as error:
            refused = error
        with self._lock:
            if self._channel is used and self._refused is None:  # else another thread has been here already
                self._refused = refused
            calls = self._usable()
        return call(calls)

    def _answered(self, store: Store, origin: str, operation: Operation, outcome: object) -> None:
        """An attempt's outcome: for the metrics, and for people who ask after the key's health. No decision depends on either."""
        self.meter.answered(operation, outcome)
        is_refused = isinstance(outcome, KeyRefusedError | AccessRefusedError)
        if operation == "download" or (isinstance(outcome, Dialog360Error) and not is_refused):
            return  # a download may be refused for its URL's sake
        if self._is_key_known_to_work and not is_refused:
            return
        from airflow_provider_360dialog.ledger.channels import Channels

        with suppress(LedgerUnavailableError, LedgerRefusedError):
            if isinstance(outcome, KeyRefusedError | AccessRefusedError):
                Channels(store).key_refused(self._conn_id, origin, outcome.status)
            else:
                Channels(store).key_accepted(self._conn_id, origin)
            self._is_key_known_to_work = not is_refused

    def _usable(self) -> Calls:
        """What `calls` gives. Called with the lock held."""
        if self._refused is None:
            return self._present()
        channel = self._read_channel()
        if self._calls is not None and self._channel is not None and channel.api_key == self._channel.api_key:
            if not self._asked_whether_moved:
                self._asked_whether_moved = True
                self._refused = self._moved(self._calls) or self._refused
            raise copy(self._refused)
        self._refused, self._asked_whether_moved = None, False
        log.warning("the API key of connection %r was refused and has been replaced: going on", self._conn_id)
        return self._connect(channel)

    def _present(self) -> Calls:
        """The wire of the connection as it was read a moment ago; read again as often as that costs next to nothing."""
        if self._calls is not None and time.monotonic() < self._read_again_at:
            return self._calls
        channel = self._read()
        if self._calls is None or (channel is not None and channel != self._channel):
            if self._calls is not None:
                log.info("connection %r has changed: going on as it says now", self._conn_id)
            assert channel is not None  # noqa: S101 - a first read gives it or raises
            return self._connect(channel)
        if time.monotonic() >= self._speak_again_at and self._channel is not None:
            return self._connect(self._channel, self._calls.api)  # what it says of the ration is forgotten after an hour
        return self._calls

    def _read(self) -> Channel | None:
        """The connection; None where Airflow does not answer and an earlier reading can do."""
        from airflow.sdk.exceptions import AirflowNotFoundException

        began = time.monotonic()
        try:
            channel = self._read_channel()
        except (AirflowNotFoundException, Dialog360Error):
            raise
        except Exception as fault:  # whatever keeps Airflow from answering is no reason to stop uploads
            if self._calls is None:
                raise
            log.warning("connection %r cannot be read now, going on as it was: %s", self._conn_id, type(fault).__name__)
            self._read_again_at = time.monotonic() + _RARELY_S
            return None
        cost_s = time.monotonic() - began
        self._read_again_at = time.monotonic() + (_OFTEN_S if cost_s < _CHEAP_S else min(_RARELY_S, 1000 * cost_s))
        return channel

    def _connect(self, channel: Channel, api: MediaApi | None = None) -> Calls:
        from airflow_provider_360dialog.api.client import MediaApi
        from airflow_provider_360dialog.hooks.ledger import opened_ledger
        from airflow_provider_360dialog.jobs.calls import Calls, patiently
        from airflow_provider_360dialog.jobs.identify import identify
        from airflow_provider_360dialog.ledger.channel import ChannelLedger

        store, before = opened_ledger(self.stop), self._calls
        api = api or MediaApi(channel)
        ask = partial(identify, channel, api=api, store=store, conn_id=self._conn_id)
        whose = partial(patiently, ask, stop=self.stop)
        task, try_number = task_name()
        ledger = ChannelLedger(store, whose, task=task, try_number=try_number)
        self._calls = Calls(api, ledger, stop=self.stop, meter=partial(self._answered, store, channel.base_url))
        self._channel = channel
        self._speak_again_at = time.monotonic() + _SPEAK_EVERY_S
        if before is not None and before.api is not api:
            before.api.close()
        return self._calls

    def _moved(self, calls: Calls) -> ChannelFrozenError | None:
        """Whether the number has moved away; asked once for each key that was refused, and not where it never had a number."""
        from airflow_provider_360dialog.jobs.identify import freeze_if_moved

        if not calls.ledger.is_identified:
            return None
        identity = calls.ledger.identity
        reason = freeze_if_moved(identity, api=calls.api, store=calls.ledger.store)
        return None if reason is None else ChannelFrozenError(phone_number_id=identity.phone_number_id, reason=reason)
