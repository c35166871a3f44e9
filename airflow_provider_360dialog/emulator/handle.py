"""The emulator inside a test: a server in a thread of this process, and a handle on everything it knows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_360dialog.emulator.server import DEFAULT_KEY, build_server, listen, open_state
from airflow_provider_360dialog.emulator.settings import Settings
from airflow_provider_360dialog.emulator.state import DEFAULT_DISPLAY_PHONE, Media, State

if TYPE_CHECKING:
    from airflow_provider_360dialog.emulator.armory import ArmedFault

START_WITHIN_S = 10.0
STOP_WITHIN_S = 10.0


class Emulator:
    """A running emulator.

    Attributes:
        base_url: Where it listens, without a trailing slash.
        number_id: Its first number.
        key: The key that this number was opened with.
        state: Everything it knows.
    """

    def __init__(self, base_url: str, state: State, *, number_id: str, key: str) -> None:
        self.base_url = base_url
        self.state = state
        self.number_id = number_id
        self.key = key

    def arm(
        self,
        kind: str,
        *,
        operation: str = "any",
        times: int | Literal["always"] = 1,
        number_id: str | None = None,
        media_id: str | None = None,
        delay_s: float = 0.0,
        **params: Any,
    ) -> ArmedFault:
        """Arm a fault for the next matching requests; see `faults.FAULT_KINDS`.

        Raises:
            ValueError: Unknown kind, operation or parameter.
        """
        return self.state.faults.arm(
            kind, operation=operation, times=times, number_id=number_id, media_id=media_id, delay_s=delay_s, **params
        )

    def disarm(self, fault_id: int | None = None) -> int:
        """Remove one fault, or all; return how many were removed."""
        return self.state.faults.disarm(fault_id)

    def configure(self, **changes: Any) -> None:
        """Change settings while it runs; see `Settings`."""
        self.state.configure(**changes)

    def counters(self, number: str | None = None, *, with_times: bool = False) -> dict[str, Any]:
        """Return the counters of a number, by default the first."""
        return self.state.counters(number or self.number_id, with_times=with_times)

    def reset_counters(self) -> None:
        """Start counting anew for all numbers."""
        self.state.reset_counters()

    def advance(self, seconds: float) -> float:
        """Move the clock forward and return the new instant in Unix seconds."""
        return self.state.advance(seconds)

    def add_number(self, number_id: str, key: str, display_phone: str = DEFAULT_DISPLAY_PHONE) -> None:
        """Add a number and its key."""
        self.state.add_number(number_id, key, display_phone)

    def rotate_key(self, number_id: str, key: str) -> None:
        """Give a number a new key; the old one gets 401 at once."""
        self.state.rotate_key(number_id, key)
        if number_id == self.number_id:
            self.key = key

    def set_health(self, can_send_message: str = "AVAILABLE", *, number: str | None = None, **details: Any) -> None:
        """Say what `GET /health_status` answers; `details` are `additional_info` and `errors`."""
        self.state.set_health(number or self.number_id, can_send_message, **details)

    def forgive(self, number: str | None = None) -> None:
        """End a number's block and forget its failures."""
        self.state.number(number or self.number_id).forgive()

    def inject_webhook_media(
        self,
        content: bytes,
        *,
        mime_type: str = "image/jpeg",
        number: str | None = None,
        **details: Any,
    ) -> dict[str, Any]:
        """Let a customer send a file and return the webhook; `details` as in `State.inject_webhook_media`."""
        return self.state.inject_webhook_media(content, mime_type=mime_type, number_id=number or self.number_id, **details)

    def media(self, media_id: str) -> Media:
        """Return a media id, alive or not.

        Raises:
            KeyError: The id was never given.
        """
        return self.state.media[media_id]

    def content(self, media_id: str) -> bytes:
        """Return the stored bytes of a live media id."""
        return self.state.storage.path_of(media_id).read_bytes()

    def live_media(self, number: str | None = None) -> list[Media]:
        """Return every id that works now, oldest first, by default of all numbers."""
        return self.state.live_media(number)

    def requests(self, last: int = 100) -> list[dict[str, Any]]:
        """Return the last requests, oldest first, with the key shown only as the start of its hash."""
        return self.state.last_requests(last)


@contextmanager
def running(
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    number_id: str | None = None,
    key: str = DEFAULT_KEY,
    data_dir: Path | None = None,
    **settings: Any,
) -> Iterator[Emulator]:
    """Run an emulator in a thread of this process until the block ends.

    Args:
        port: Port; 0 takes a free one.
        host: Address to listen on.
        number_id: The first number; None for one that no other emulator has had (with `data_dir`: always the same).
        key: Its key.
        data_dir: Where to remember things; a temporary folder without it.
        **settings: Fields of `Settings` (`profile="strict"`, `error_shape="C"`, `service_s=0.8`, ...).

    Raises:
        TimeoutError: It does not listen, or does not stop, within 10 s.
    """
    state = open_state(Settings(**settings), number_id=number_id, key=key, data_dir=data_dir)
    listening = threading.Event()
    server = build_server(state, listening.set)
    sock, base_url = listen(host, port)
    with sock:
        thread = threading.Thread(target=server.run, args=([sock],), name="dialog360-emulator", daemon=True)
        thread.start()
        try:
            if not listening.wait(START_WITHIN_S):
                raise TimeoutError("the emulator does not listen")
            first = next(iter(state.numbers))  # an earlier run may have named another
            yield Emulator(base_url, state, number_id=first, key=state.key_of(first))
        finally:
            server.should_exit = True
            thread.join(STOP_WITHIN_S)
            state.close()
    if thread.is_alive():
        raise TimeoutError("the emulator does not stop")
