"""What the command line offers, as data; and the two parsers that are made of it: our own, and a part of Airflow's."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any, Final

from airflow_provider_360dialog.cli.campaign_commands import CAMPAIGN_COMMANDS
from airflow_provider_360dialog.cli.emulator import EMULATOR
from airflow_provider_360dialog.cli.offer import JSON, Command, Group, count, instant, option

PROGRAM: Final = "dialog360"
ABOUT: Final = "WhatsApp media at 360dialog: files, campaigns, channels, the ledger, and what may be wrong."
_EXIT_CODES: Final = "Exit status: 0 all is well, 1 problems were found, 2 not a command."


COMMANDS: Final[tuple[Command | Group, ...]] = (
    *CAMPAIGN_COMMANDS,
    Group(
        "ledger",
        "what the provider remembers",
        (
            Command("init", "create the ledger where there is none", "ledger:init", (JSON,)),
            Command("migrate", "bring the ledger's schema up to this version, under a lock", "ledger:migrate", (JSON,)),
            Command("stats", "count media ids, uploads and refusals of each channel", "ledger:stats", (JSON,)),
            Command(
                "verify",
                "look for what does not fit together; asks 360dialog nothing",
                "ledger:verify",
                (
                    JSON,
                    option(
                        "--restored-at",
                        type=instant,
                        metavar="INSTANT",
                        help="after a restore: the instant that the backup shows; names what cannot be trusted since",
                    ),
                    option("--limit", type=count, default=5, metavar="N", help="rows named of each kind (default: %(default)s)"),
                ),
            ),
            Command(
                "copy",
                "copy the whole ledger into an empty PostgreSQL; nobody may use it meanwhile",
                "ledger:copy",
                (JSON, option("--to", metavar="CONN_ID", required=True, help="an Airflow connection of type postgres")),
            ),
            Command(
                "export",
                "write every media id as CSV or JSON lines",
                "ledger:export",
                (
                    JSON,
                    option("--format", choices=["csv", "jsonl"], help="default: what --to ends in, else csv"),
                    option("--to", metavar="PLACE", help="a path or an object storage URI (default: standard output)"),
                    option("--overwrite", action="store_true", help="replace what stands at --to"),
                ),
            ),
        ),
    ),
    Command(
        "check",
        "judge files by their content, as an upload would, without sending anything",
        "files:check",
        (
            option("--json", action="store_true", help="print one JSON object a line, one for each file"),
            option("--headers-only", action="store_true", help="read headers and decode nothing: quick"),
            option("--prepare", metavar="DIR", help="keep copies there of the pictures that have to be mended; needs [media]"),
            option("files", nargs="+", metavar="FILE", help="a path or an object storage URI"),
        ),
    ),
    Command(
        "doctor",
        "check versions, connection, key, ledger, clocks and DAG folder; says what is wrong and what to do",
        "doctor:doctor",
        (
            JSON,
            option("--conn-id", action="append", metavar="CONN_ID", help="once or more (default: dialog360_default)"),
        ),
    ),
    EMULATOR,
)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"{PROGRAM} {version('airflow-provider-360dialog')}\n")
        parser.exit(0)


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``dialog360``; ``chosen`` of what it gives is the `Command`."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=ABOUT, epilog=_EXIT_CODES)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    below = parser.add_subparsers(required=True, metavar="COMMAND")
    for each in COMMANDS:
        one = below.add_parser(each.name, help=each.about, description=each.about)
        if isinstance(each, Group):
            group = one.add_subparsers(required=True, metavar="COMMAND")
            for command in each.commands:
                _fill(group.add_parser(command.name, help=command.about, description=command.about), command)
        else:
            _fill(one, each)
    return parser


def _fill(parser: argparse.ArgumentParser, command: Command) -> None:
    for each in command.options:
        parser.add_argument(*each.flags, **each.settings)
    parser.set_defaults(chosen=command)


def airflow_commands() -> list[Any]:
    """The same commands for ``airflow dialog360 ...``; Airflow finds this function through `get_provider_info`."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    def action(command: Command) -> ActionCommand:
        options = [Arg(each.flags, **each.settings) for each in command.options]  # type: ignore[no-untyped-call]  # untyped in Airflow
        return ActionCommand(command.name, command.about, partial(_run_for_airflow, command), options)

    def both(each: Command | Group) -> ActionCommand | GroupCommand:
        return (
            action(each) if isinstance(each, Command) else GroupCommand(each.name, each.about, list(map(action, each.commands)))
        )

    return [GroupCommand(PROGRAM, ABOUT, list(map(both, COMMANDS)))]


def _run_for_airflow(command: Command, args: argparse.Namespace) -> None:
    from airflow_provider_360dialog.cli.run import run

    status = run(command, args)
    if status:
        raise SystemExit(status)
