"""Doubles at the seams of a job: a flag, a source and a destination in memory."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager

from airflow_provider_360dialog.exceptions import DestinationError

JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(9)
    + b"\xff\xc0\x00\x11\x08\x00\x10\x00\x10\x03" + bytes(9)  # 16 x 16 pixels, three colours of 8 bits
    + b"\xff\xda\x00\x0c" + bytes(10) + bytes(range(255)) * 400 + b"\xff\xd9"
)  # fmt: skip
"""A photo by all that its headers say."""


PACE_S = 0.35
"""Longer waits are not for the turn of an upload."""


class Patient(threading.Event):
    """A flag to stop that notes how long it was waited for, and does not wait: it moves the ledger's clock, where it has one.

    The short waits for an upload's turn are waited, and not noted.
    """

    def __init__(self, clock=None):
        super().__init__()
        self.waits_s, self._clock = [], clock

    def wait(self, timeout=None):
        if timeout is not None and timeout < PACE_S:
            return super().wait(timeout)
        self.waits_s.append(timeout)
        if self._clock is not None:
            self._clock.advance(timeout)
        return self.is_set()


class MemorySource:
    """A file in memory; counts how often it was opened."""

    uri, name = "memory:photo.jpg", "photo.jpg"

    def __init__(self, content):
        self.content, self.opened = content, 0

    def size_bytes(self):
        return len(self.content)

    def open(self):
        self.opened += 1
        return io.BytesIO(self.content)

    def stamp(self):
        return None


class MemoryDestination:
    """A place in memory: what was published, and how many stages were begun."""

    uri = "memory:out.jpg"

    def __init__(self, *, usable=True):
        self.published, self.staged, self.usable = None, 0, usable

    def check(self):
        if not self.usable:
            raise DestinationError(uri=self.uri, reason="taken")

    @contextmanager
    def stage(self):
        self.staged += 1
        place = self

        class Staged:
            file = io.BytesIO()

            def publish(self):
                place.published = self.file.getvalue()

        Staged.file = io.BytesIO()
        yield Staged()
