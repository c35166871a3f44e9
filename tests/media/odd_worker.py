"""A worker that does what no worker should, and its workshop, for test_workshop.py and the processes that it starts."""

import ctypes
import errno
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from airflow_provider_360dialog.media.decoding import worker
from airflow_provider_360dialog.media.decoding.workshop import Workshop

JOBS = {
    name: f"tests.media.odd_worker:{name}"
    for name in (
        "echo", "spin", "spin_in_native_code", "segfault", "abort", "leave", "grow", "fail", "shout", "long_answer", "no_json",
        "break_the_protocol", "look_around", "hang_with_a_child", "killed", "terminated", "nap", "decode", "no_memory",
    )
}  # fmt: skip


class OddWorkshop(Workshop):
    _module = "tests.media.odd_worker"


def state(pid):
    """Its letter in /proc; X where it is gone. A zombie (Z) runs no more: who inherits it must reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def wait_until(is_so):
    until = time.monotonic() + 30
    while not is_so() and time.monotonic() < until:
        time.sleep(0.02)
    return is_so()


worker._PARENT_LOOK_S = 0.1
worker.GRACE_S = 0.5


def load(load_s=None, **arguments):
    if load_s is not None:
        time.sleep(load_s)
        os.environ["LOADED"] = "yes"


def decode(*, path, mime_type, thumbnail_px):
    """What is written behind a picture in its file: the name of a job, or an answer."""
    order = Path(path).read_bytes().rpartition(b"order:")[2].decode()
    return json.loads(order) if order.startswith("{") else globals()[order]()


def echo(**arguments):
    return {"pid": os.getpid(), **arguments}


def nap(*, nap_s):
    time.sleep(nap_s)
    return {"pid": os.getpid()}


def spin():
    while True:
        pass


def spin_in_native_code():
    """Holds the GIL for ever, as a decoder may: no signal handler in Python would run."""
    ctypes.PyDLL(None).sleep(3600)


def segfault():
    ctypes.string_at(0)


def abort():
    os.abort()


def leave():
    os._exit(3)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)
    return {"pid": os.getpid()}


def grow(*, size_bytes=2**40):
    return {"length": len(bytearray(size_bytes))}


def no_memory():
    """As PyAV says it."""
    raise OSError(errno.ENOMEM, "no memory")


class OddError(Exception):
    def __str__(self):
        return "\n  first \x1b[31mline" + "x" * 1000 + "\nsecond"


def fail():
    raise OddError


def shout():
    sys.stdout.write("print")
    os.write(1, b'{"result": {"forged": true}}\n')
    os.write(2, b"stderr\n")
    sys.stderr.write("stderr")
    ctypes.CDLL(None).puts(b"native")
    return {"heard": os.read(0, 10).decode()}


def long_answer(*, length):
    return {"text": "x" * length}


def no_json():
    return {"set": {1, 2}}


def break_the_protocol(*, line, times=1):
    """What a decoder that was taken over could do."""
    for descriptor in range(3, 20):
        try:
            if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("socket"):
                for _ in range(times):
                    os.write(descriptor, line.encode())
        except OSError:
            pass
    return {}


def look_around():
    import airflow_provider_360dialog

    return {
        "environment": dict(os.environ),
        "package": airflow_provider_360dialog.__file__,
        "executable": sys.executable,
        "cwd": str(Path.cwd()),
        "session": os.getsid(0),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "descriptors": [str(Path(f"/proc/self/fd/{each}").readlink()) for each in (0, 1, 2)],
    }


def hang_with_a_child():
    os.fork()
    time.sleep(3600)


if __name__ == "__main__":
    worker.serve(JOBS)
