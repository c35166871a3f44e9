"""What Airflow reads about the package. A malformed answer breaks every ``airflow`` command of an installation."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from airflow_provider_360dialog.get_provider_info import get_provider_info

CHECKOUT = Path(__file__).resolve().parents[2]
CONNECTION = get_provider_info()["connection-types"][0]
FIELDS = CONNECTION["conn-fields"]


def airflow_schema(name):
    spec = find_spec("airflow")
    found = [Path(folder, name) for folder in spec.submodule_search_locations if Path(folder, name).exists()]
    assert found, f"airflow-core ships no {name} any more"
    return json.loads(found[0].read_text())


def test_satisfies_the_schema_that_airflow_enforces_at_run_time():
    jsonschema.validate(get_provider_info(), airflow_schema("provider_info.schema.json"))


def test_satisfies_the_strict_schema_of_airflows_own_providers():
    """The loose schema lets a misspelt form through; this one does not."""
    required_of_airflows_own = {"state": "ready", "source-date-epoch": 0, "versions": ["0.1.0"]}
    jsonschema.validate(get_provider_info() | required_of_airflows_own, airflow_schema("provider.yaml.schema.json"))


def test_every_call_gives_a_new_dictionary():
    get_provider_info()["connection-types"][0]["conn-fields"].clear()
    assert get_provider_info()["connection-types"][0]["conn-fields"]


def test_imports_nothing_but_the_standard_library():
    """Every airflow command calls it."""
    code = (
        "import sys; from airflow_provider_360dialog.get_provider_info import get_provider_info; get_provider_info(); "
        "print(*{name.partition('.')[0] for name in sys.modules} - {'__main__', *sys.stdlib_module_names})"
    )
    # -S: without site-packages there is nothing to import, and no start-up file that imports things by itself
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.split() == ["airflow_provider_360dialog"]


def test_the_entry_point_leads_here():
    (point,) = [p for p in entry_points(group="apache_airflow_provider") if p.dist.name == "airflow-provider-360dialog"]
    assert point.load() is get_provider_info


def test_the_package_name_is_the_distribution_name():
    """Airflow refuses to start any command otherwise."""
    assert distribution("airflow-provider-360dialog").metadata["Name"] == get_provider_info()["package-name"]


@pytest.mark.parametrize("section", ["hooks", "operators"])
def test_every_module_that_is_named_can_be_imported(section):
    modules = [module for each in get_provider_info()[section] for module in each["python-modules"]]
    assert modules
    for module in modules:
        importlib.import_module(module)


def test_every_integration_that_is_named_is_declared():
    info = get_provider_info()
    declared = {each["integration-name"] for each in info["integrations"]}
    assert {each["integration-name"] for section in ("hooks", "operators") for each in info[section]} == declared


def test_the_form_has_these_fields():
    """Their names are part of the contract: people's connections hold them."""
    assert list(FIELDS) == [
        "phone_number_id",
        "throttle_policy",
        "uploads_per_second",
        "error_budget",
        "count_failed_uploads",
        "extra_download_hosts",
        "connect_timeout_s",
        "idle_timeout_s",
        "total_timeout_s",
        "ca_bundle",
        "proxy",
        "allow_insecure_host",
    ]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_says_what_it_is_for_and_its_default_is_valid(name):
    field = FIELDS[name]
    jsonschema.Draft202012Validator.check_schema(field["schema"])
    jsonschema.validate(field["schema"].get("default"), field["schema"])  # a field without a default starts as null
    assert field["label"]
    assert field["description"].endswith(".")
    assert not field["label"].endswith(".")


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        ("phone_number_id", "106540352242922", True),
        ("phone_number_id", "+49 151 0000000", False),
        ("phone_number_id", "", False),
        ("throttle_policy", "documented", True),
        ("throttle_policy", "none", False),
        ("uploads_per_second", 24.5, True),
        ("uploads_per_second", 0.1, True),
        ("uploads_per_second", 0, False),
        ("uploads_per_second", 25, False),
        ("error_budget", 1, True),
        ("error_budget", 0, False),
        ("error_budget", 1.5, False),
        ("connect_timeout_s", 0.5, True),
        ("connect_timeout_s", 0, False),
        ("total_timeout_s", None, False),
        ("allow_insecure_host", "yes", False),
    ],
)
def test_the_form_accepts(name, value, valid):
    assert jsonschema.Draft202012Validator(FIELDS[name]["schema"]).is_valid(value) is valid


def test_placeholders_belong_to_fields_of_the_form():
    standard = {"description", "host", "port", "login", "password", "schema", "extra"}
    assert set(CONNECTION["ui-field-behaviour"]["placeholders"]) <= standard | set(FIELDS)


@pytest.fixture(scope="module")
def providers():
    from airflow.providers_manager import ProvidersManager

    return ProvidersManager()


def test_airflow_lists_the_provider(providers):
    provider = providers.providers["airflow-provider-360dialog"]
    assert provider.version == distribution("airflow-provider-360dialog").version
    assert provider.data["name"] == "360dialog"


def test_workers_load_the_hook_under_its_connection_type():
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    hook = ProvidersManagerTaskRuntime().hooks["dialog360"]
    assert hook.hook_class_name == CONNECTION["hook-class-name"]
    assert hook.hook_name == "360dialog"
    assert hook.connection_testable
    assert hook.connection_id_attribute_name == "dialog360_conn_id"


def test_the_hook_class_says_the_same_as_the_provider_info():
    """Where they differ, Airflow registers the hook under another name and only warns."""
    module, _, name = CONNECTION["hook-class-name"].rpartition(".")
    hook = getattr(importlib.import_module(module), name)
    assert hook.conn_type == CONNECTION["connection-type"]
    assert hook.hook_name == CONNECTION["hook-name"]
    assert hook.conn_name_attr == "dialog360_conn_id"
    assert hook.default_conn_name == "dialog360_default"


def test_airflow_builds_the_form(providers):
    behaviour = providers.field_behaviours["dialog360"]
    assert behaviour["relabeling"] == {"password": "API key", "host": "Base URL"}
    assert set(behaviour["hidden_fields"]) == {"schema", "login", "port"}
    widgets = providers.connection_form_widgets
    assert [name for name in widgets if name.startswith("extra__dialog360__")] == [f"extra__dialog360__{name}" for name in FIELDS]
    assert widgets["extra__dialog360__throttle_policy"].field["schema"]["enum"] == ["strict", "documented"]
