"""Ports for servers that have to be told theirs. What can be given port 0 needs none of these."""

from __future__ import annotations

import random
import socket

_FROM, _TO = 20_000, 32_000
_random = random.SystemRandom()  # of its own: Hypothesis seeds the other one alike in every process


def free_port() -> int:
    """A loopback port that is free, and that nobody is given who asks the kernel for any.

    Between the choice and its use, other processes open connections and servers by the hundred; the kernel's own choices, from 32768 on
    (49152 elsewhere), would be given to one of them now and then.
    """
    for port in _random.sample(range(_FROM, _TO), 100):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"none of a hundred ports between {_FROM} and {_TO} is free")
