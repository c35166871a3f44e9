"""The constraints of the oldest Airflow, and the scripts that use them; `scripts/test-versions` itself runs in CI."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
PIN = re.compile(
    r"[a-z0-9-]+==[0-9][0-9a-z.+]*( ; [a-z_]+ [<>=!]{1,2} '[a-zA-Z0-9.*]+'( (and|or) [a-z_]+ [<>=!]{1,2} '[a-zA-Z0-9.*]+')*)?"
)


def pins(name):
    return [line for line in (CHECKOUT / name).read_text().splitlines() if not line.startswith("#")]


def version_of(name, package):
    return next(line.partition("==")[2] for line in pins(name) if line.startswith(f"{package}=="))


def test_the_constraints_of_the_oldest_hold_names_and_versions_only():
    found = pins("constraints-3.2.txt")
    assert len(found) > 100
    assert [line for line in found if not PIN.fullmatch(line)] == []


def test_both_ends_of_what_is_supported_are_tried():
    """The oldest minor version that the package asks for, and the newest one that the project is developed with."""
    asked = next(Requirement(each) for each in PROJECT["dependencies"] if Requirement(each).name == "apache-airflow")
    oldest, newest = (version_of(name, "apache-airflow") for name in ("constraints-3.2.txt", "constraints.txt"))
    assert [str(each) for each in asked.specifier] == [f">={'.'.join(oldest.split('.')[:2])}"]
    assert Version(newest) > Version(oldest)
    for name, version in (("constraints-3.2.txt", oldest), ("constraints.txt", newest)):
        assert version_of(name, "apache-airflow-core") == version


@pytest.mark.parametrize("name", ["audit", "test-versions"])
def test_the_scripts_can_be_started(name):
    assert os.access(CHECKOUT / "scripts" / name, os.X_OK)


def test_a_wrong_word_is_told_how_it_is_called():
    done = subprocess.run(
        [CHECKOUT / "scripts" / "test-versions", "--newest"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (2, "usage: scripts/test-versions [--next] [--debian SUITE]\n")
