"""The programs themselves, in processes of their own; and the page about them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_360dialog.cli.commands import COMMANDS, Group, build_parser

BIN = Path(sys.executable).parent
LEAVES = {
    f"{each.name} {command.name}" if isinstance(each, Group) else each.name: command
    for each in COMMANDS
    for command in (each.commands if isinstance(each, Group) else [each])
}


def shell(*words, **environment):
    done = subprocess.run(
        list(map(str, words)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "AIRFLOW__CORE__UNIT_TEST_MODE": "False", **environment},
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_help_needs_no_airflow():
    """It answers at once."""
    code = (
        "import sys; from airflow_provider_360dialog.cli.commands import build_parser; build_parser().format_help(); "
        "print(*{'airflow', 'sqlalchemy', 'requests', 'pendulum'} & set(sys.modules))"
    )
    assert shell(sys.executable, "-c", code).stdout == "\n"


@pytest.mark.parametrize(
    "words", [(BIN / "dialog360",), (sys.executable, "-m", "airflow_provider_360dialog.cli")], ids=["script", "module"]
)
def test_the_program_says_its_version(words):
    assert shell(*words, "--version").stdout.startswith("dialog360 0.")


@pytest.mark.parametrize("words", [(), ("ledger",), ("send",), ("ledger", "verify", "--limit", "-1")], ids=str)
def test_what_is_no_command_is_usage(dialog360, words):
    done = dialog360(*words)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("usage: dialog360")


def test_standard_output_holds_the_answer_alone(tmp_path, number, connect):
    """Airflow would log to it."""
    connect("http://number.invalid", number.key, allow_insecure_host=True)  # logs a warning
    done = shell(BIN / "dialog360", "doctor", "--json", "--conn-id", "number_a", AIRFLOW_HOME=str(tmp_path))
    assert json.loads(done.stdout)["ok"] is False
    assert "UNPROTECTED" in done.stderr
    assert number.key not in done.stdout + done.stderr


def test_a_reader_who_leaves_early_is_no_error(dialog360, uploads, own_ledger):
    uploads(3)
    line = f"{BIN / 'dialog360'} ledger export --format jsonl | head -n 1"
    done = shell("bash", "-c", line)
    assert json.loads(done.stdout)
    assert done.stderr == ""


def test_airflow_has_the_same_commands(tmp_path, own_ledger):
    """One broken entry would be dropped with a warning; a malformed provider info would end every airflow command."""
    home = {"AIRFLOW_HOME": str(tmp_path)}
    missing = shell(BIN / "airflow", "dialog360", "ledger", "stats", **home)
    assert missing.returncode == 1
    assert missing.stderr.strip().startswith("There is no ledger at ")
    made = shell(BIN / "airflow", "dialog360", "ledger", "init", "--json", **home)
    assert made.returncode == 0
    assert json.loads(made.stdout)["ledger"] == str(own_ledger)
    assert own_ledger.exists()


def test_airflow_gets_every_command_and_option():
    from airflow.cli.cli_parser import get_parser

    for name, command in LEAVES.items():
        for option in command.options:
            words = [word for each in command.options if is_required(each) or each is option for word in words_of(each)]
            args = get_parser().parse_args(["dialog360", *name.split(), *words])
            assert vars(args)[option.flags[0].lstrip("-").replace("-", "_")]


def is_required(option):
    return option.settings.get("required") or not option.flags[0].startswith("-")


def words_of(option):
    """An option as somebody could give it."""
    name = option.flags[0]
    given = [] if option.settings.get("action") == "store_true" else [example(option)]
    return [name, *given] if name.startswith("-") else given


def example(option):
    """A value that an option takes."""
    instant = "2026-11-22T06:00:00+00:00"
    of_name = {"--restored-at": instant, "--needed-until": instant}
    of_type = {"count": "3", "hours": "1.5", "int": "3", "float": "0.5"}
    choices = option.settings.get("choices")
    kind = getattr(option.settings.get("type"), "__name__", "")
    return of_name.get(option.flags[0]) or (choices[-1] if choices else of_type.get(kind, "x"))


@pytest.mark.parametrize("name", LEAVES)
def test_a_handler_exists(name):
    from importlib import import_module

    module, _, function = LEAVES[name].handler.partition(":")
    assert callable(getattr(import_module(f"airflow_provider_360dialog.cli.{module}"), function))


@pytest.mark.parametrize("name", LEAVES)
def test_the_page_has_every_command_with_every_option(checkout, name):
    text = (checkout / "docs" / "cli.md").read_text()
    section = text.partition(f"\n## dialog360 {name}\n")[2].partition("\n## ")[0]
    assert f"$ dialog360 {name}" in section
    for option in LEAVES[name].options:
        shown = option.flags[0] if option.flags[0].startswith("-") else option.settings["metavar"]
        assert shown == "--json" or f"`{shown}" in section


def test_the_parser_is_complete():
    assert build_parser().parse_args(["ledger", "init"]).chosen is LEAVES["ledger init"]
