"""What is shipped and what it is built with."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from flit_core.buildapi import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, folder], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(folder / done.stdout.strip()) as archive:
        yield archive


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    version = PYPROJECT["project"]["version"]
    assert tops == {"airflow_provider_360dialog", f"airflow_provider_360dialog-{version}.dist-info"}


def test_the_wheel_holds_every_module_of_the_checkout(wheel):
    ours = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "airflow_provider_360dialog").rglob("*.py")}
    assert len(ours) > 10
    assert ours <= set(wheel.namelist())


def test_the_wheel_holds_what_is_no_module_but_needed(wheel):
    """Templates, and the mark of a typed package."""
    package = CHECKOUT / "airflow_provider_360dialog"
    others = {str(path.relative_to(CHECKOUT)) for each in ("*.jinja", "py.typed") for path in package.rglob(each)}
    assert len(others) >= 2
    assert others <= set(wheel.namelist())


def test_the_wheel_says_that_it_is_typed_and_under_which_license(wheel):
    names = wheel.namelist()
    assert "airflow_provider_360dialog/py.typed" in names
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_needs_airflow_and_nothing_that_airflow_does_not_bring():
    """One dependency: everything else that is imported has to come with it."""
    assert [Requirement(each).name for each in PYPROJECT["project"]["dependencies"]] == ["apache-airflow"]


def pins():
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_the_constraints_hold_names_and_versions_only():
    """No address, no hash, no option: they must serve on any machine and any index."""
    pin = re.compile(
        r"[a-z0-9-]+==[0-9][0-9a-z.+]*( ; [a-z_]+ [<>=!]{1,2} '[a-zA-Z0-9.*]+'( (and|or) [a-z_]+ [<>=!]{1,2} '[a-zA-Z0-9.*]+')*)?"
    )
    assert len(pins()) > 100
    assert [line for line in pins() if not pin.fullmatch(line)] == []


def test_the_constraints_pin_everything_that_the_project_asks_for():
    asked = PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"] + PYPROJECT["build-system"]["requires"]
    pinned = {canonicalize_name(line.partition("==")[0]) for line in pins()}
    assert {canonicalize_name(Requirement(each).name) for each in asked} - pinned == set()


@pytest.mark.parametrize("name", ["check", "demo", "set-up", "test"])
def test_the_scripts_can_be_started(name):
    assert os.access(CHECKOUT / "scripts" / name, os.X_OK)


@pytest.mark.parametrize("path", sorted((CHECKOUT / "airflow_provider_360dialog").rglob("*.py")), ids=lambda path: path.stem)
def test_a_module_says_its_job(path):
    assert ast.get_docstring(ast.parse(path.read_text())) or path.name == "__init__.py"


def test_operators_load_quickly():
    """Every DAG file that uses them is parsed again and again: under 60 ms beyond what Airflow's own base classes take."""
    measure = (
        "import time; from airflow.sdk import BaseHook, BaseOperator; start = time.process_time(); "
        "import airflow_provider_360dialog.operators.media; print(time.process_time() - start)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True).stdout.split()[-1])
        for _ in range(3)
    ]
    assert min(runs) < 0.060
