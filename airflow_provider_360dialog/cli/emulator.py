"""``dialog360 emulator``: ``python -m airflow_provider_360dialog.emulator`` by another name; a test keeps their options alike."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from airflow_provider_360dialog.cli.offer import Command, option
from airflow_provider_360dialog.cli.run import Result
from airflow_provider_360dialog.emulator.settings import BlockedAnswer, ErrorShape, Profile

if TYPE_CHECKING:
    from argparse import Namespace

EMULATOR: Final = Command(
    "emulator",
    "run a local 360dialog, for tests and for trying things out",
    "emulator:serve",
    (
        option("--host", default="127.0.0.1", help="address to listen on (default %(default)s)"),
        option("--port", type=int, default=8360, help="port, 0 for a free one (default %(default)s)"),
        option("--number-id", help="first phone number id (default: a new one each time; with --data always the same)"),
        option("--key", default="test-key", help="its key (default %(default)s)"),
        option("--data", type=Path, help="folder that remembers numbers, media and bytes over a restart"),
        option("--any-key", action="store_true", help="an unknown key opens a new number instead of a 401"),
        option("--profile", choices=list(map(str, Profile)), default="documented", help="error throttle (default %(default)s)"),
        option("--error-shape", choices=list(map(str, ErrorShape)), default="B", help="gateway errors (default %(default)s)"),
        option("--blocked-answer", choices=list(map(str, BlockedAnswer)), default="429", help="default %(default)s"),
        option("--extend-block", action="store_true", help="a request during a block starts the block anew"),
        option("--count-failed-downloads", choices=["yes", "no"], help="spend failures on downloads (default: the profile's)"),
        option("--posts-per-s", type=int, default=25, help="uploads per sliding second and number (default %(default)s)"),
        option("--service-s", type=float, default=0.0, help="seconds that an upload takes (default %(default)s)"),
        option("--jitter-s", type=float, default=0.0, help="random delay before the limiter, up to (default %(default)s)"),
        option("--lost-url-status", type=int, default=404, help="download by a dead URL (default %(default)s)"),
    ),
)


def serve(args: Namespace, out: TextIO) -> Result:
    """Serve until SIGTERM or SIGINT."""
    from airflow_provider_360dialog.emulator.__main__ import main

    with redirect_stdout(out):  # its one line is the answer
        status = main(_words(args))
    return Result("", ok=status == 0)


def _words(args: Namespace) -> list[str]:
    """The options as they were given."""
    words: list[str] = []
    for each in EMULATOR.options:
        name = each.flags[0]
        value = getattr(args, name.removeprefix("--").replace("-", "_"))
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f"{name}={value}")
    return words
