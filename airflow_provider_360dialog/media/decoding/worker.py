"""A worker process: does one job after the other, on bytes that nobody vouches for.

Started by `workshop` and by nothing else. It reads one JSON line per job from the socket that is its standard input, and
answers with two: one when it is about to begin, one with what came of it. It protects its parent and not itself: a job that takes
too long or too much memory, or crashes, ends the process. It imports a job's module when the first job of that name comes.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

JOBS: Final[dict[str, str]] = {
    "decode": "airflow_provider_360dialog.media.decoding.decode:decode",
    "redraw": "airflow_provider_360dialog.media.preparation.redraw:redraw",
}
"""Name of a job -> the function that does it. A function ``load`` of its module, if there is one, gets the same arguments before
the time of the job begins: to import what the job needs."""

LOAD_LIMIT_S: Final = 60.0
"""How long importing may take; with cold disks and busy processors it is seconds."""
GRACE_S: Final = 1.0
"""By how much a worker outlives the limit of a job whose parent is gone."""
LONGEST_ANSWER_BYTES: Final = 16 * 2**20

_PARENT_LOOK_S = 5.0
_LONGEST_WORDS = 2_000
_Job: TypeAlias = Callable[..., dict[str, Any]]


def serve(jobs: Mapping[str, str]) -> None:
    """Do jobs until the parent is gone. ``sys.argv``: the parent's process id, and the address space that may be used, bytes."""
    parent, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    channel = _take_channel()
    _confine(memory_bytes)
    with channel, channel.makefile("rb") as requests:
        _send(channel, {"ready": True})
        while _wait_for_request(channel, parent) and (line := requests.readline()):
            answer = _answer(channel, jobs, json.loads(line))
            _send(channel, answer)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if "too_large" in answer:
                return  # what is left of the heap is not worth keeping


def _take_channel() -> socket.socket:
    """The socket that was standard input; what anybody reads or prints from now on is /dev/null."""
    channel = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    return channel


def _confine(memory_bytes: int) -> None:
    """Bound the memory, leave no core file, die of the alarm, and leave it to the parent when to stop."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    bound = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    with suppress(ValueError, OSError):  # not every system bounds the address space
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)


def _wait_for_request(channel: socket.socket, parent: int) -> bool:
    """False where the parent is dead: a process that it forked may hold the other end open."""
    while os.getppid() == parent:
        if select.select([channel], [], [], _PARENT_LOOK_S)[0]:
            return True
    return False


def _answer(channel: socket.socket, jobs: Mapping[str, str], request: dict[str, Any]) -> dict[str, Any]:
    arguments = request["arguments"]
    try:
        signal.setitimer(signal.ITIMER_REAL, LOAD_LIMIT_S)
        function = _load(jobs, request["job"], arguments)
        _send(channel, {"begun": True})
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"] + GRACE_S)
        answer = {"result": function(**arguments)}
        if len(json.dumps(answer)) >= LONGEST_ANSWER_BYTES:
            return _failed("ValueError", "its answer is too long")
    except MemoryError:
        return {"too_large": True}
    except BaseException as fault:  # noqa: BLE001 - whatever a library raises, SystemExit too, is an answer
        if getattr(fault, "errno", None) == errno.ENOMEM:
            return {"too_large": True}
        return _failed(type(fault).__name__, _words(fault))
    return answer


def _load(jobs: Mapping[str, str], job: str, arguments: dict[str, Any]) -> _Job:
    module_name, _, function_name = jobs[job].partition(":")
    module = importlib.import_module(module_name)
    load = getattr(module, "load", None)
    if load is not None:
        load(**arguments)
    function: _Job = getattr(module, function_name)
    return function


def _words(fault: BaseException) -> str:
    try:
        return str(fault)[:_LONGEST_WORDS]
    except Exception:  # noqa: BLE001 - a text that cannot be made is no reason to lose the answer
        return ""


def _failed(kind: str, words: str) -> dict[str, Any]:
    return {"failed": {"kind": kind, "words": words}}


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    serve(JOBS)
