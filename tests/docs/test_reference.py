"""The pages name what the code has, all of it and nothing else. What can be derived is compared with what it derives from."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from dataclasses import fields
from datetime import timedelta

import pytest

from airflow_provider_360dialog import exceptions
from airflow_provider_360dialog.api.repeat import FURTHER_ATTEMPTS
from airflow_provider_360dialog.emulator.__main__ import build_parser
from airflow_provider_360dialog.emulator.admin import ADMIN_PREFIX, build_admin
from airflow_provider_360dialog.emulator.faults import FAULT_KINDS, Operation
from airflow_provider_360dialog.emulator.handle import Emulator, running
from airflow_provider_360dialog.emulator.settings import Settings
from airflow_provider_360dialog.emulator.state import State
from airflow_provider_360dialog.get_provider_info import get_provider_info
from airflow_provider_360dialog.hooks.campaigns import MAX_BYTES_IN_FLIGHT
from airflow_provider_360dialog.hooks.connection import _FIELDS
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.jobs import campaign as uploads
from airflow_provider_360dialog.jobs import export, manifest, plan
from airflow_provider_360dialog.ledger import rules, schema
from airflow_provider_360dialog.media.limits import (
    BY_MIME_TYPE,
    EXTENSION_SLIPS,
    LIMITS,
    MIME_SLIPS,
    extension_for,
    render_limits_table,
)
from airflow_provider_360dialog.media.preparation import redraw
from airflow_provider_360dialog.media.preparation.recipes import CHANGES
from airflow_provider_360dialog.operators import campaigns, cleanup, files, inbound, media
from airflow_provider_360dialog.operators.base import Dialog360Operator
from airflow_provider_360dialog.ports import Change, Receipt, Shape
from airflow_provider_360dialog.sensors import campaign, retrieval
from airflow_provider_360dialog.sensors import inbound as drained
from benchmarks.__main__ import PROOFS
from tests.docs.pages import CHECKOUT, PACKAGE, PAGES, between, codes, headings, read, section
from tests.docs.samples import SAMPLES


def public_classes(*modules):
    """The classes that modules define, in their order."""
    return [
        each
        for module in modules
        for name, each in vars(module).items()
        if isinstance(each, type) and each.__module__ == module.__name__ and not name.startswith("_")
    ]


OPERATORS = public_classes(media, campaigns, cleanup, inbound, files)
SENSORS = public_classes(retrieval, campaign, drained)
FIELDS = get_provider_info()["connection-types"][0]["conn-fields"]
LEAVES = {
    each.__name__
    for each in vars(exceptions).values()
    if isinstance(each, type) and issubclass(each, exceptions.Dialog360Error) and not each.__subclasses__()
}
HOOK_METHODS = [
    "upload", "inspect", "fetch_media", "download", "delete", "mark_used", "retrieval_opens_at", "archive_inbound",
    "inbound_standing", "health", "test_connection", "get_conn", "as_airflow_sees_it", "stop",
]  # fmt: skip


def arguments(function):
    """Names of what a caller may pass."""
    return [
        name
        for name, each in inspect.signature(function).parameters.items()
        if name != "self" and each.kind not in {each.VAR_KEYWORD, each.VAR_POSITIONAL}
    ]


# --- README -------------------------------------------------------------------------------------------------------


def test_the_readme_shows_the_limits_that_hold():
    assert len(LIMITS) > 10
    assert between(CHECKOUT / "README.md", "limits") == render_limits_table()


# --- errors -------------------------------------------------------------------------------------------------------


def test_every_leaf_of_the_tree_has_its_paragraph_and_no_other():
    """Also those that were added today."""
    assert len(LEAVES) > 20
    assert sorted(headings(read("errors.md"), 3)) == sorted(LEAVES)


def test_the_tree_is_drawn_as_in_the_code():
    drawn = re.search(r"    Dialog360Error\n(?:\s+[|`].*\n)+", exceptions.__doc__)
    assert textwrap.dedent(drawn[0]) in read("errors.md")
    assert set(re.findall(r"[|`]-- (\w+Error)", drawn[0])) > LEAVES


def test_there_is_a_sample_of_every_leaf():
    assert sorted(type(sample).__name__ for sample in SAMPLES) == sorted(LEAVES)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_the_sentence_on_the_page_is_the_one_in_the_log(sample):
    """It is what people search for at night."""
    text = section("errors.md", type(sample).__name__)
    assert f"```text\n{sample}\n```" in text
    assert "**What happened.**" in text
    assert "**What to do.**" in text


def test_every_error_stands_under_its_branch():
    for branch in exceptions.Dialog360Error.__subclasses__():
        below = headings(section("errors.md", branch.__name__), 3)
        assert sorted(below) == sorted(leaf.__name__ for leaf in branch.__subclasses__())
        assert below


# --- judgement ----------------------------------------------------------------------------------------------------


def problem_codes():
    """Code -> severity, of every finding that a module of media/ can make."""
    found = {}
    for module in sorted((PACKAGE / "media").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in {"error", "warning"}:
                    assert isinstance(first, ast.Constant), f"{module.name}:{node.lineno} computes a code"
                    found[first.value] = node.func.id
    return found


def test_every_problem_code_has_its_row_and_no_other():
    codes_of_code = problem_codes()
    assert len(codes_of_code) > 10
    rows = re.findall(r"^\| `(\w+)` \| (error|warning) \| [^|]+ \| [^|]+ \|$", between("judgement.md", "problems"), re.MULTILINE)
    assert len(rows) == len(between("judgement.md", "problems").splitlines()) - 2
    assert sorted(rows) == sorted(codes_of_code.items())


def test_problems_are_made_in_one_way_only():
    """Else the test above would not see them."""
    makers = [
        f"{module.name}:{node.name}"
        for module in sorted((PACKAGE / "media").rglob("*.py"))
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Problem"
    ]
    assert makers == ["problems.py:error", "problems.py:warning"]


def test_every_change_of_a_preparation_is_listed():
    lines = ["| code | what was done |", "|---|---|"] + [f"| `{code}` | {words} |" for code, words in CHANGES.items()]
    assert between("preparation.md", "changes").strip() == "\n".join(lines)


def test_the_numbers_of_a_preparation_are_those_that_hold():
    table = section("preparation.md", "What is done")
    assert f"above {BY_MIME_TYPE['image/jpeg'].warn_above_bytes:,} bytes" in table
    assert f"quality {redraw.HIGHEST_QUALITY} without" in table
    assert f"only where quality {redraw.LOWEST_QUALITY} does not fit" in table
    assert redraw.MOST_ENCODES == 5
    assert "at most five encodings" in table


def test_every_field_of_a_receipt_is_described():
    described = codes(section("preparation.md", "Receipts"))
    assert {field.name for record in (Receipt, Shape, Change) for field in fields(record)} <= described


def test_every_slip_that_is_mended_is_listed():
    rows = ["| written | sent |", "|---|---|"]
    rows += [f"| `{slip}` | `{right}` |" for slip, right in sorted(MIME_SLIPS.items())]
    rows += [f"| `{slip}` with {right} inside | `{extension_for(right)}` |" for slip, right in sorted(EXTENSION_SLIPS.items())]
    assert len(rows) > 20
    assert between("judgement.md", "slips") == "\n".join(rows) + "\n"


# --- connection ---------------------------------------------------------------------------------------------------


def test_every_field_of_the_form_has_its_row():
    assert len(FIELDS) > 10
    assert set(FIELDS) == _FIELDS
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", between("connection.md", "fields"), re.MULTILINE)
    assert rows == [(name, field["label"]) for name, field in FIELDS.items()]


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if "default" in field["schema"]])
def test_the_default_of_a_field_is_the_one_of_the_form(name):
    row = next(line for line in between("connection.md", "fields").splitlines() if line.startswith(f"| `{name}` |"))
    default = FIELDS[name]["schema"]["default"]
    assert row.split("|")[3].strip() == f"`{str(default).lower() if isinstance(default, bool) else default}`"


# --- operators and hook -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_every_argument_of_an_operator_is_described(operator):
    own = arguments(operator.__init__)
    assert own
    text = section("operators.md", operator.__name__)
    described = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert described[: len(own)] == own
    templated = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| yes \|", text, re.MULTILINE)
    assert set(templated) == set(operator.template_fields) - set(arguments(Dialog360Operator.__init__))


def test_there_is_a_section_for_every_operator():
    assert len(OPERATORS) >= 4
    assert [each for each in headings(read("operators.md"), 3) if each.startswith("Dialog360") and each.endswith("Operator")] == [
        each.__name__ for each in OPERATORS
    ]
    assert set(arguments(Dialog360Operator.__init__)) <= codes(section("operators.md", "Operators"))


@pytest.mark.parametrize("each", [*OPERATORS, *SENSORS], ids=lambda each: each.__name__)
def test_the_default_of_an_argument_is_the_one_that_holds(each):
    rows = dict(
        re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \| (?:yes|no) \|", section("operators.md", each.__name__), re.MULTILINE)
    )
    parameters = inspect.signature(each.__init__).parameters
    assert set(rows) == set(arguments(each.__init__))
    for name, said in rows.items():
        default = parameters[name].default
        if default is inspect.Parameter.empty:
            assert said == "required"
        elif isinstance(default, str):
            assert said == f"`{default}`"
        elif isinstance(default, timedelta):
            seconds = default.total_seconds()
            assert said == (f"{seconds / 3600:g} hours" if seconds >= 3600 else f"{seconds / 60:g} minutes")
        elif name != "deferrable":  # it follows Airflow's configuration
            assert said == str(default)


def test_operators_of_no_number_are_named():
    """All others take what the page says of all."""
    found = {each.__name__ for each in OPERATORS if not issubclass(each, Dialog360Operator)}
    assert len(found) > 1
    said = section("operators.md", "Operators").partition("\n### ")[0]
    assert {code for code in codes(said) if code.startswith("Dialog360")} == found


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_the_module_of_an_operator_is_the_one_that_is_named(operator):
    named = codes(section("operators.md", operator.__name__).partition("\n|")[0])
    module = next((code for code in named if code.startswith("airflow_provider_360dialog.operators.")), media.__name__)
    assert module == operator.__module__


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda sensor: sensor.__name__)
def test_every_argument_of_a_sensor_is_described(sensor):
    text = section("operators.md", sensor.__name__)
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)[: len(arguments(sensor.__init__))] == arguments(sensor.__init__)
    assert set(re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| yes \|", text, re.MULTILINE)) == set(sensor.template_fields)


def test_there_is_a_section_for_every_sensor():
    assert SENSORS
    assert headings(section("operators.md", "Sensors"), 3) == [each.__name__ for each in SENSORS]
    assert all(f"`{each.__name__}(" in read(CHECKOUT / "README.md") for each in [*OPERATORS, *SENSORS])


def test_the_hook_has_no_method_that_is_not_described():
    public = {name for name, each in vars(Dialog360Hook).items() if inspect.isfunction(each) and not name.startswith("_")}
    assert public == set(HOOK_METHODS)


@pytest.mark.parametrize("name", HOOK_METHODS)
def test_every_argument_of_a_hook_method_is_described(name):
    assert set(arguments(getattr(Dialog360Hook, name))) <= codes(section("operators.md", name))


def test_the_table_of_repeats_is_the_one_that_is_obeyed():
    faults = list(dict.fromkeys(fault for row in FURTHER_ATTEMPTS.values() for fault in row))
    assert len(faults) > 3
    lines = [
        f"| | {' | '.join(f'`{fault.__name__}`' for fault in faults)} | any other |",
        "|---" * (len(faults) + 2) + "|",
        *(
            f"| {operation} | {' | '.join(str(row.get(fault, 0)) for fault in faults)} | 0 |"
            for operation, row in FURTHER_ATTEMPTS.items()
        ),
    ]
    assert between("operators.md", "repeats") == "\n".join(lines) + "\n"


# --- campaigns ----------------------------------------------------------------------------------------------------


def test_the_columns_of_a_manifest_are_those_that_are_read():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", between("campaigns.md", "columns"), re.MULTILINE)
    assert rows == [(name, str(longest)) for name, longest in manifest._MAX_CHARS.items()]


def test_the_columns_of_an_export_are_those_that_are_written():
    assert tuple(re.findall(r"^\| `(\w+)` \|", between("campaigns.md", "export"), re.MULTILINE)) == export.COLUMNS


def test_the_numbers_of_an_upload_are_those_that_hold():
    text = section("campaigns.md", "Upload")
    assert f"begins with {uploads._FIRST_HANDS} files at once and takes more, up to {uploads._MOST_HANDS}," in text
    assert f"at most, {MAX_BYTES_IN_FLIGHT >> 20} MiB" in text
    assert f"After {uploads._FAILED_IN_A_ROW} in a row" in text
    line = uploads.Progress(total=100, done=40, rejected=10).line(5.0)
    assert f"```text\n{line}\n```" in text


def test_the_time_of_an_upload_is_the_one_that_a_plan_tells():
    found = re.search(r"; (\d+) files of [\d.]+ MB to upload, (\d+ s) at the line", section("campaigns.md", "Plan"))
    assert found[2] == f"{plan.PlanChannel('shop_berlin', 1).seconds(int(found[1])):.0f} s"


def test_the_bounds_of_a_manifest_are_those_that_hold():
    assert f"at most {manifest.LIST_MAX_ITEMS:,} items" in section("campaigns.md", "Forms")
    assert f"more than {manifest.RECORD_MAX_CHARS:,} characters" in section("campaigns.md", "What is rejected")


# --- ledger -------------------------------------------------------------------------------------------------------


def test_every_table_of_the_ledger_is_described():
    assert len(schema.metadata.tables) > 5
    first_cells = re.findall(r"^\|([^|]+)\|", between("ledger.md", "tables"), re.MULTILINE)
    assert [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)] == list(schema.metadata.tables)


def test_the_schemas_version_is_the_one_that_is_shown():
    """On every page, also where a command prints it."""
    shown = [found for page in PAGES for found in re.findall(r"schema[ _]version\"?:? (\d+)", read(page))]
    assert len(shown) > 5
    assert set(shown) == {str(schema.VERSION)}
    rows = re.findall(r"^\| (\d+) \|", section("ledger.md", "The schema's version"), re.MULTILINE)
    assert rows == [str(version) for version in range(1, schema.VERSION + 1)]


# --- emulator -----------------------------------------------------------------------------------------------------


def render_faults():
    lines = ["| fault | strikes | what it does | parameters |", "|---|---|---|---|"]
    for kind in FAULT_KINDS.values():
        strikes = "any" if set(kind.operations) == set(Operation) else ", ".join(map(str, kind.operations))
        parameters = "; ".join(f"`{name}` = `{param.default}`: {param.meaning}" for name, param in kind.params.items())
        lines.append(f"| `{kind.name}` | {strikes} | {kind.meaning} | {parameters or '-'} |")
    return "\n".join(lines) + "\n"


def test_every_fault_has_its_row_as_in_the_code():
    assert len(FAULT_KINDS) > 10
    assert between("emulator.md", "faults") == render_faults()


def test_every_option_of_the_command_line_is_described():
    options = {option for action in build_parser()._actions for option in action.option_strings} - {"-h", "--help"}
    assert len(options) > 5
    assert {code.split()[0] for code in codes(section("emulator.md", "From a shell"))} >= options


def test_every_setting_is_described():
    settings = set(Settings.__slots__)
    assert len(settings) > 5
    assert set(re.findall(r"^\| `(\w+)` \|", between("emulator.md", "settings"), re.MULTILINE)) == settings


def test_every_method_of_the_handle_is_described():
    methods = {name for name in vars(Emulator) if not name.startswith("_")}
    assert len(methods) > 5
    described = {code.partition("(")[0] for code in codes(section("emulator.md", "Inside a test"))}
    assert described >= methods | {"running"} | {name for name in arguments(running) if name != "settings"}


def test_every_admin_path_is_described():
    state = State()
    try:
        paths = {
            (method, route.path)
            for route in build_admin(state).routes
            for method in getattr(route, "methods", ())
            if route.path.startswith(ADMIN_PREFIX) and "openapi" not in route.path and "docs" not in route.path
        }
    finally:
        state.close()
    assert len(paths) > 10
    assert set(re.findall(r"^\| `(\w+) ([^`]+)` \|", between("emulator.md", "admin"), re.MULTILINE)) == paths


# --- architecture and contributing --------------------------------------------------------------------------------


def test_the_numbers_of_the_pace_are_those_that_are_obeyed():
    numbers = {name: f"{value:.4g}" for name, value in vars(rules).items() if name.isupper() and isinstance(value, float)}
    assert len(numbers) > 10
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", between("architecture.md", "pace"), re.MULTILINE)
    assert rows == list(numbers.items())


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_name_of_code_exists(page):
    """`api.sender.Sender` is a thing, and `api/sender.py` a file."""
    named = codes(read(CHECKOUT / page))
    rooms = "api|media|ledger|jobs|hooks|operators|sensors|cli|emulator|ports|exceptions|webhook|get_provider_info"
    things = sorted(name for name in named if re.fullmatch(rf"(?:{rooms})(?:\.\w+)+", name) and not name.endswith(".py"))
    files = sorted(name for name in named if re.fullmatch(r"[\w./-]+(?:\.py|/)|(?:scripts|\.ci)/[\w-]+", name))
    assert files
    for name in files:
        assert (CHECKOUT / name).exists() or (PACKAGE / name).exists(), name
    assert things or page == "CONTRIBUTING.md"
    for name in things:
        resolve(name)


def resolve(name):
    words = name.split(".")
    for cut in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(["airflow_provider_360dialog", *words[:cut]]))
        except ModuleNotFoundError:
            continue
        for word in words[cut:]:
            found = getattr(found, word)
        return found
    raise AssertionError(name)


def test_every_room_is_on_the_map():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert len(rooms) > 5
    text = section("architecture.md", "Rooms")
    assert all(re.search(rf"\b{room}/", text) for room in rooms)


def test_every_script_is_described():
    scripts = {f"scripts/{path.name}" for path in (CHECKOUT / "scripts").iterdir() if path.suffix == "" and path.is_file()}
    assert len(scripts) > 3
    assert {code.split()[0] for code in codes(read(CHECKOUT / "CONTRIBUTING.md"))} >= scripts | {".ci/run"}


def test_every_proof_is_described():
    proofs = [(subject, name) for subject, names in PROOFS.items() for name in names]
    assert len(proofs) > 8
    table = between(CHECKOUT / "CONTRIBUTING.md", "proofs")
    assert re.findall(r"^\| (\w+) \| `(\w+)` \|", table, re.MULTILINE) == proofs
    said = read(CHECKOUT / "scripts" / "proof")
    assert all(f"scripts/proof {subject}" in said for subject in PROOFS)


def test_every_proof_that_a_page_names_exists():
    """`scripts/proof ration pace` and its like."""
    named = [code.split()[1:] for page in PAGES for code in codes(read(page)) if code.startswith("scripts/proof ")]
    assert len(named) > 5
    for subject, *names in named:
        assert set(names) - {"[NAME...]"} <= set(PROOFS[subject])
