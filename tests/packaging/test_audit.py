"""What `scripts/audit` calls a finding, and what it calls nothing."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PYPROJECT = '[tool.ruff.lint]\nselect = {select}\nignore = {ignore}\n[tool.ruff.lint.per-file-ignores]\n"{files}" = ["S603"]\n'


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_loader("audit", SourceFileLoader("audit", str(CHECKOUT / "scripts" / "audit")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path):
    """A small one, with a line of the package and a configuration."""

    def make(line="", *, select='["S"]', ignore="[]", files="tests/**"):
        package = tmp_path / "airflow_provider_360dialog"
        package.mkdir()
        (package / "a.py").write_text(f"x = '# noqa'  {line}\n")
        (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(select=select, ignore=ignore, files=files))
        return tmp_path

    return make


@pytest.mark.parametrize(
    "line",
    [
        "", "# noqa: S311 - spreads, hides nothing", "# noqa: PLC0415", "# noqa: S101, PT018 - the caller looked",
        "# noqa: T201  (what a caller waits for)",
    ],
)  # fmt: skip
def test_an_exception_with_its_rule_and_a_reason_is_no_finding(line, audit, checkout):
    assert list(audit.blanket_ignores(checkout(line))) == []


@pytest.mark.parametrize(
    "line",
    ["# noqa", "#noqa", "# NOQA - because", "# noqa: S311", "# noqa: PLC0415, S603", "# ruff: noqa", "# ruff: noqa: S101 - many"],
)
def test_an_exception_without_is_one(line, audit, checkout):
    assert [each.partition(": ")[0] for each in audit.blanket_ignores(checkout(line))] == ["airflow_provider_360dialog/a.py:1"]


@pytest.mark.parametrize(
    "settings",
    [
        {"select": '["E"]'}, {"ignore": '["S311"]'}, {"ignore": '["S"]'}, {"files": "airflow_provider_360dialog/**"}, {"files": "**"},
    ],
    ids=["not selected", "ignored", "all ignored", "ignored in the package", "ignored in all files"],
)  # fmt: skip
def test_a_rule_that_is_off_for_the_package_is_one(settings, audit, checkout):
    assert len(list(audit.blanket_ignores(checkout(**settings)))) == 1


def test_the_exceptions_of_this_package_are_told_with_their_reasons(audit):
    told = list(audit.security_exceptions(CHECKOUT))
    assert len(told) > 5
    assert all(codes and place.count(":") == 1 for place, codes, _ in told)


FOUND = {"name": "a", "version": "1", "vulns": [{"id": "W-1", "fix_versions": ["2"]}]}
CLEAN = {"name": "b", "version": "1", "vulns": []}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answers", "count", "says"),
    [
        ({"pypi": [FOUND, CLEAN, UNKNOWN]}, 1, "1 known weaknesses in 2 of 3 packages (pypi)\nWEAK  a 1: W-1; mended in 2\n"),
        ({"pypi": [CLEAN]}, 0, "0 known weaknesses in 1 of 1 packages (pypi)\n"),
        ({"pypi": [UNKNOWN], "osv": [FOUND]}, 1, "(osv)\nWEAK"),
        ({"pypi": "no answer", "osv": [CLEAN]}, 0, "0 known weaknesses in 1 of 1 packages (osv)\n"),
        ({"pypi": [UNKNOWN], "osv": "no answer"}, 0, "NOTHING WAS AUDITED"),
        ({"pypi": "no answer", "osv": []}, 0, "NOTHING WAS AUDITED"),
    ],
)
def test_nothing_audited_is_never_called_clean(answers, count, says, audit, monkeypatch, capsys):
    monkeypatch.setattr(audit, "ask", lambda _constraints, service: answers[service])
    assert audit.audit(Path("constraints.txt")) == count
    assert says in capsys.readouterr().out


def test_what_pip_audit_cannot_read_is_told_and_not_taken_for_clean(audit, tmp_path):
    """The real program, over a file that pins nothing that exists in any version."""
    (tmp_path / "broken.txt").write_text("not a requirement at all ===\n")
    assert str(audit.ask(tmp_path / "broken.txt", "pypi")).startswith("pip-audit ended with")
