"""Run one command: what it says goes to standard output, an error of ours is one sentence on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.exceptions import Dialog360Error

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from airflow_provider_360dialog.cli.commands import Command

OK: Final = 0
PROBLEMS: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
_CONTEXT: Final = "_AIRFLOW_PROCESS_CONTEXT"


class UsageError(Exception):
    """Options that do not go together."""


@dataclass(frozen=True)
class Result:
    """What a command found.

    Attributes:
        text: for people, without a final newline; empty where the command wrote its output itself.
        data: the same for programs. ok: whether all is well.
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    ok: bool = True


def run(command: Command, args: Namespace) -> int:
    """Run a command and say what it found; the exit status."""
    out = sys.stdout
    try:
        with _logs_elsewhere(), _stored_connections():
            module, _, function = command.handler.partition(":")
            result: Result = getattr(import_module(f"airflow_provider_360dialog.cli.{module}"), function)(args, out)
        if result.text:
            out.write((json.dumps({"ok": result.ok, **result.data}, indent=2) if args.json else result.text) + "\n")
            out.flush()
    except UsageError as error:
        sys.stderr.write(f"dialog360: {error}\n")
        return USAGE
    except Dialog360Error as error:
        return _say(error, as_json=args.json)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return PROBLEMS
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if not type(error).__module__.startswith("airflow."):
            raise
        return _say(error, as_json=args.json)
    return OK if result.ok else PROBLEMS


def _say(error: Exception, *, as_json: bool) -> int:
    sentence = " ".join(str(error).split())
    if as_json:
        told = {"ok": False, "error": type(error).__name__, "message": sentence}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    sys.stderr.write(f"{sentence}\n")
    return PROBLEMS


@contextmanager
def _logs_elsewhere() -> Iterator[None]:
    """Airflow logs to standard output, which is the command's: its lines go to standard error."""
    for handler in logging.getLogger().handlers:  # under `airflow dialog360` they stand already
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def _stored_connections() -> Iterator[None]:
    """Let Airflow look into its metadata database for connections, as `airflow connections` does: by this variable."""
    before = os.environ.get(_CONTEXT)
    os.environ[_CONTEXT] = "server"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_CONTEXT, None)
        else:
            os.environ[_CONTEXT] = before
