"""Run one command: what it says goes to standard output, an error of ours is one sentence on standard error."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_360dialog.exceptions import Dialog360Error

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from airflow_provider_360dialog.cli.offer import Command

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
    out, as_json = sys.stdout, getattr(args, "json", False)
    try:
        with _logs_elsewhere(), _stored_connections():
            module, _, function = command.handler.partition(":")
            result: Result = getattr(import_module(f"airflow_provider_360dialog.cli.{module}"), function)(args, out)
        if result.text:
            out.write((json.dumps({"ok": result.ok, **result.data}, indent=2) if as_json else result.text) + "\n")
            out.flush()
    except UsageError as error:
        sys.stderr.write(f"dialog360: {error}\n")
        return USAGE
    except Dialog360Error as error:
        return _say(error, as_json=as_json)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return PROBLEMS
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if not type(error).__module__.startswith("airflow."):
            raise
        return _say(error, as_json=as_json)
    return OK if result.ok else PROBLEMS


def _say(error: Exception, *, as_json: bool) -> int:
    sentence = " ".join(_words(error).split())
    if as_json:
        told = {"ok": False, "error": type(error).__name__, "message": sentence}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    sys.stderr.write(f"{sentence}\n")
    return PROBLEMS


def _words(error: Exception) -> str:
    """What an error says; where it comes of a connection that Airflow does not have, with the way out."""
    for each in (error, error.__cause__):
        named = re.search("conn_id `([^`]+)` isn't defined", str(each))
        if named and type(each).__name__ == "AirflowNotFoundException":
            from airflow_provider_360dialog.cli.connections import why_missing

            with redirect_stdout(sys.stderr), _stored_connections():
                message, remedy = why_missing(named[1], conn_type="...")
            return f"Connection {named[1]!r}: {message} -> {remedy}" if each is error else f"{error} {message} -> {remedy}"
    return str(error)


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
