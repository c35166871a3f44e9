"""The page of threats names for each a test that holds it, or says why there is none; and the tests that it names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "threats.md"
THREATS = [f"T{number}" for number in range(1, 26)]
TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[A-Za-z0-9_]+)`")
PLACE = re.compile(r"`([a-z0-9_]+(?:/[a-z0-9_]+)*\.py)`")
WITHOUT = "No test:"


def rows():
    """Threat -> the cells of its row."""
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| T[0-9]+ \|", line)]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert all(len(row) == 5 for row in cells), [row[0] for row in cells if len(row) != 5]
    return {row[0].strip(): row for row in cells}


def functions_of(path):
    """Names of the test functions of a file."""
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_threat_has_one_row():
    assert list(rows()) == THREATS


@pytest.mark.parametrize("threat", THREATS)
def test_a_threat_is_held_by_a_test_or_by_a_written_reason(threat):
    held = rows()[threat][4]
    assert TEST.search(held) or WITHOUT in held, held


@pytest.mark.parametrize("threat", THREATS)
def test_the_tests_and_places_of_a_row_exist(threat):
    row = rows()[threat]
    named = TEST.findall(row[4])
    missing = [f"{path}::{name}" for path, name in named if name not in functions_of(CHECKOUT / path)]
    assert missing == []
    package = CHECKOUT / "airflow_provider_360dialog"
    assert [place for place in PLACE.findall(row[3]) if not (package / place).exists()] == []
    assert row[4].count("::") == len(named), "a test is named in a way that cannot be looked up"
