"""``dialog360``, the command line. Knows what can be asked and how answers look; what they are, the other rooms know.

This module and `commands` import next to nothing: ``--help`` answers at once. Each command imports what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None for the process's own.

    Returns:
        0: all is well. 1: problems were found, or an error of ours kept it from being told. 2 (as ``SystemExit``, from argparse):
        not a command.
    """
    from airflow_provider_360dialog.cli.commands import build_parser
    from airflow_provider_360dialog.cli.run import run

    args = build_parser().parse_args(argv)
    return run(args.chosen, args)
