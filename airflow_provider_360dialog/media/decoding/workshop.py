"""Worker processes for native decoders, which untrusted bytes can hang, crash or make grow: then a worker is lost, not the task.

Plain child processes of the same Python with one JSON line per request and answer, and on purpose not `multiprocessing`: an
Airflow task may run in a daemonic Celery process, which may have no children of that sort; its fork copies a process with
threads and locks, and its spawn imports Airflow's ``__main__`` again. Knows nothing of files and decoders: what a job does is
the business of the table in `worker`.

A worker gets no more of the environment than Python needs, so no key and no connection of Airflow. What it answers is not
trusted either: it is bounded and parsed as data.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from airflow_provider_360dialog.media.decoding.worker import LOAD_LIMIT_S, LONGEST_ANSWER_BYTES

if TYPE_CHECKING:
    from types import TracebackType

_PACKAGE: Final = __name__.partition(".")[0]
_ROOT: Final = str(Path(__file__).absolute().parents[3])
_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONHOME")
_MOST_JOBS: Final = 500
"""A worker is replaced after so many: libraries leak."""
_STARTS: Final = 3
_BLOCK_BYTES: Final = 64 * 1024
_END_S: Final = 5.0
_LONGEST_WORDS: Final = 200


class WorkshopError(Exception):
    """A job did not give a result. The leaves are for those who know what the job was about, and never reach a user."""


class JobFailedError(WorkshopError):
    """A job raised an exception. ``kind``: the name of its class. ``words``: the first line of its text, short and printable."""

    def __init__(self, kind: str, words: str) -> None:
        self.kind, self.words = _line(kind), _line(words)
        super().__init__(self.kind, self.words)


class JobHungError(WorkshopError):
    """A job took longer than it may, and its worker was ended. ``limit_s``: float seconds."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(limit_s)


class JobCrashedError(WorkshopError):
    """A worker died of a job. One of ``signal`` and ``exit_status`` is not None; status 0 where its answer is nonsense."""

    def __init__(self, signal: int | None, exit_status: int | None) -> None:
        self.signal, self.exit_status = signal, exit_status
        super().__init__(signal, exit_status)


class JobTooLargeError(WorkshopError):
    """A job needed more memory than a worker may have, or than the machine has."""


class WorkshopClosedError(WorkshopError):
    """The workshop was closed before the job was done."""


class WorkerMissingError(WorkshopError):
    """No worker could be started; no job was begun. ``reason``: one short line."""

    def __init__(self, reason: str) -> None:
        self.reason = _line(reason)
        super().__init__(self.reason)


class Workshop:
    """A pool of worker processes.

    Starts none before the first job, and leaves none behind: not when it is closed or forgotten, nor when its process exits or is
    killed. Threads may share it; a forked child gets workers of its own.

    Args:
        workers: processes at most. Jobs beyond that wait.
        memory_bytes: address space of each.
    """

    _module: ClassVar[str] = "airflow_provider_360dialog.media.decoding.worker"

    def __init__(self, *, workers: int = 2, memory_bytes: int = 3 * 2**30) -> None:
        self._crew = _Crew(self._module, workers, memory_bytes)
        self._end = weakref.finalize(self, self._crew.close)

    def run(self, job: str, *, limit_s: float, **arguments: Any) -> dict[str, Any]:
        """Have a job done.

        Args:
            job: a name of the table in `worker`.
            limit_s: float seconds from when its function is called; waiting for a worker and importing do not count.
            **arguments: of that function; JSON-safe. Paths are absolute: a worker stands in the root directory.

        Returns:
            What the function returned. It comes from a process that touched untrusted bytes: check what matters.

        Raises:
            JobFailedError: the function raised. JobHungError, JobCrashedError, JobTooLargeError: a worker was lost, and
                the next job gets a new one; other workers go on.
            WorkerMissingError: no worker could be started. WorkshopClosedError: the workshop is, or was meanwhile, closed.
        """
        request = json.dumps({"job": job, "limit_s": limit_s, "arguments": arguments}).encode() + b"\n"
        for _ in range(_STARTS):
            worker = self._crew.take()
            keep = False
            try:
                self._crew.check_open()  # where it was closed while the worker was being started, nobody else ends that
                result = worker.do(request, limit_s)
                keep = True
            except JobFailedError:
                keep = True
                raise
            except _NotBegunError:
                continue  # it had died while it was idle; the job is not to blame
            except WorkshopError:
                self._crew.check_open()
                raise
            finally:
                self._crew.give_back(worker, keep=keep)
            return result
        self._crew.check_open()
        raise WorkerMissingError(f"{_STARTS} workers ended before they began")

    def close(self) -> None:
        """End all workers, whatever they do. May be called again."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _NotBegunError(WorkshopError):
    """A worker was gone before it touched anything of the job."""


class _LateError(WorkshopError):
    """A worker says nothing."""


class _GoneError(WorkshopError):
    """A worker will say nothing any more."""


class _Crew:
    """The processes of one workshop in one process. Apart from it, so that a finalizer can hold on to it."""

    def __init__(self, module: str, workers: int, memory_bytes: int) -> None:
        self._module, self._workers, self._memory_bytes = module, workers, memory_bytes
        self._closed = False
        self._begin()
        _crews.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._taken = 0

    def take(self) -> _Worker:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._taken < self._workers)
            self.check_open()
            self._taken += 1
            worker = self._idle.pop() if self._idle else None
        return self._start() if worker is None else worker

    def _start(self) -> _Worker:
        try:
            worker = _Worker(self._module, self._memory_bytes)
        except BaseException:
            with self._changed:
                self._taken -= 1
                self._changed.notify()
            raise
        with self._changed:
            self._all.add(worker)
        return worker

    def give_back(self, worker: _Worker, *, keep: bool) -> None:
        keep = keep and worker.jobs < _MOST_JOBS and not self._closed
        if not keep:
            worker.end()
        with self._changed:
            self._taken -= 1
            if keep and not self._closed:
                self._idle.append(worker)
            else:
                self._all.discard(worker)
            self._changed.notify()
        if keep and self._closed:
            worker.end()

    def check_open(self) -> None:
        if self._closed:
            raise WorkshopClosedError

    def close(self) -> None:
        with self._changed:
            self._closed = True
            idle, busy = self._idle, self._all.difference(self._idle)
            self._all, self._idle = set(), []
            self._changed.notify_all()
        for worker in busy:
            worker.kill()  # the thread that waits for it sees that, and ends it
        for worker in idle:
            worker.end()

    def start_over(self) -> None:
        """In a forked child: the parent's workers are none of ours, and its locks may be held for ever."""
        for worker in self._all:
            worker.forget()
        self._begin()


class _Worker:
    """One process and the socket to it."""

    def __init__(self, module: str, memory_bytes: int) -> None:
        self.jobs = 0
        self._buffer = bytearray()
        self._channel, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this Python, and a module of this package
                    [sys.executable, "-P", "-m", module, str(os.getpid()), str(memory_bytes)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                )
        except (OSError, ValueError, TypeError) as error:
            self._channel.close()
            raise WorkerMissingError(f"{type(error).__name__}: {error}") from error
        self._poll = select.poll()  # unlike select, it takes descriptors of any number
        self._poll.register(self._channel, select.POLLIN)

    def do(self, request: bytes, limit_s: float) -> dict[str, Any]:
        loaded_at = time.monotonic() + 2 * LOAD_LIMIT_S
        try:
            if self.jobs == 0:
                self._read(loaded_at)
            self.jobs += 1
            self._send(request)
            answer = self._read(loaded_at)
        except _LateError as error:
            raise WorkerMissingError("starting and importing take too long") from error
        except _GoneError as error:
            raise _NotBegunError from error
        if "begun" in answer:
            try:
                answer = self._read(time.monotonic() + limit_s)
            except _LateError as error:
                raise JobHungError(limit_s) from error
            except _GoneError as error:
                raise self._what_it_died_of(limit_s) from error
        return _read_answer(answer)

    def _send(self, request: bytes) -> None:
        try:
            self._channel.sendall(request)
        except ConnectionError as error:
            raise _GoneError from error

    def _read(self, until: float) -> dict[str, Any]:
        """One line of the worker's, as an object; an empty one where it is none."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LONGEST_ANSWER_BYTES:
                raise JobCrashedError(None, 0)
            self._wait(until)
            self._buffer += self._receive()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        return answer if isinstance(answer, dict) else {}

    def _wait(self, until: float) -> None:
        """Nothing is caught here, for a signal's handler may raise anything, TimeoutError too, to stop the one who waits."""
        if not self._poll.poll(max(until - time.monotonic(), 0) * 1000):
            raise _LateError

    def _receive(self) -> bytes:
        try:
            block = self._channel.recv(_BLOCK_BYTES)
        except ConnectionError as error:
            raise _GoneError from error
        if not block:
            raise _GoneError
        return block

    def _what_it_died_of(self, limit_s: float) -> WorkshopError:
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return JobCrashedError(None, 0)  # it closed the socket, and lives on until it is ended
        if status == -signal.SIGALRM:
            return JobHungError(limit_s)
        if status == -signal.SIGKILL:
            return JobTooLargeError()  # so ends a process where the machine is short of memory; no decoder does it to itself
        return JobCrashedError(-status, None) if status < 0 else JobCrashedError(None, status)

    def kill(self) -> None:
        """Kill it with all that it may have started. May be called again, and by several threads."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """Kill it, and let go of it."""
        self.kill()
        self._channel.close()

    def forget(self) -> None:
        """Let go of the parent's worker without a sign to it."""
        self._channel.close()
        self._process.returncode = 0  # it is not ours to wait for


def _read_answer(answer: dict[str, Any]) -> dict[str, Any]:
    if "too_large" in answer:
        raise JobTooLargeError
    failed, result = answer.get("failed"), answer.get("result")
    if isinstance(failed, dict):
        raise JobFailedError(str(failed.get("kind")), str(failed.get("words")))
    if not isinstance(result, dict):
        raise JobCrashedError(None, 0)
    return result


def _environment() -> dict[str, str]:
    """What Python needs to start and to find the modules that are used here, in the same order."""
    paths = [str(each) for each in sys.path if Path(each).is_absolute()]
    first = next((each for each in paths if (Path(each) / _PACKAGE).is_dir()), None)
    if first != _ROOT:
        paths.insert(0, _ROOT)
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def _line(text: str) -> str:
    """What a stranger wrote: its first line, short and printable."""
    first = next((line.strip() for line in text[:2_000].splitlines() if line.strip()), "")
    return "".join(char if char.isprintable() else " " for char in first)[:_LONGEST_WORDS]


_crews: weakref.WeakSet[_Crew] = weakref.WeakSet()


def _start_over() -> None:
    for crew in list(_crews):
        crew.start_over()


os.register_at_fork(after_in_child=_start_over)
