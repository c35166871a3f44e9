"""What a user writes is type-checked strictly, against the package as it is installed; so are the blocks of the pages.

``user_*.py`` are as users write them, and nothing may be found in them. In ``mistakes.py`` exactly that is found which stands there. The
wheel is unpacked into an environment of its own: without ``py.typed`` in it, mypy would see nothing of the package.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import CHECKOUT, blocks, name_of

HERE = Path(__file__).parent
USERS = sorted(HERE.glob("user_*.py"))
MISTAKES = HERE / "mistakes.py"
BLOCKS = blocks(language="python")
LEFT_OPEN_ON_PAGES = {
    r"\[no-untyped-def\]$": "Airflow and pytest call these functions; an example is shorter without their types",
    r"\[no-untyped-call\]$": "a test of an example calls its own helper",
    r"\[type-arg\]$": "the same: `dict` for what came out of XCom",
    r"\[no-any-return\]$": "what came out of XCom has no type",
    r'"XComArg"; expected .* \[arg-type\]$': "Airflow says XComArg for what is a value when the task runs",
    r'"XComArg" is not indexable +\[index\]$': "the same",
    r"Too few arguments +\[call-arg\]$": "Airflow fills in arguments that are named as in its context; its types do not say so",
    r'"fsspec": module is installed, but missing library stubs .*\[import-untyped\]$': "it has no types",
}


class Finding(NamedTuple):
    """One line of mypy's."""

    file: str
    line: int
    text: str

    @property
    def code(self) -> str:
        return self.text.rpartition("[")[2].rstrip("]")


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """Type-check files strictly, where the package is installed from its wheel; what is found."""
    folder = tmp_path_factory.mktemp("typing")
    python = install(folder)

    def run(*files: Path) -> list[Finding]:
        options = ["--strict", "--no-error-summary", "--hide-error-context", "--no-pretty", "--no-color-output", "--config-file="]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *options, "--python-executable", python, "--cache-dir", folder / "cache", *files],
            cwd=folder, capture_output=True, text=True, timeout=300, check=False,
            env={name: value for name, value in os.environ.items() if name != "MYPYPATH"},
        )  # fmt: skip
        assert done.returncode in {0, 1}, done.stdout + done.stderr
        found = re.findall(r"^([^:\n]+):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
        assert len(found) == done.stdout.count(": error: ")
        return [Finding(Path(file).name, int(line), text) for file, line, text in found]

    return run


def install(folder: Path) -> Path:
    """An environment with the wheel in it, and all that this one has besides; its interpreter."""
    build = "import sys; from flit_core.buildapi import build_wheel; print(build_wheel(sys.argv[1]))"
    built = subprocess.run([sys.executable, "-c", build, folder], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    venv.create(folder / "environment", symlinks=True)
    (site,) = (folder / "environment").glob("lib/python3*/site-packages")
    with zipfile.ZipFile(folder / built.stdout.strip()) as wheel:
        wheel.extractall(site)
    (site / "this_one.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )  # its own .pth files, and so the checkout, are not read
    return folder / "environment" / "bin" / "python"


def test_what_a_user_writes_has_no_finding(check):
    """Types are known: a line that would be right for ``Any`` as well is told from one that is not."""
    assert len(USERS) == 3
    assert check(*USERS) == []


def test_mistakes_are_found_and_nothing_else(check):
    marked = [
        (at, mark[1])
        for at, line in enumerate(MISTAKES.read_text().splitlines(), start=1)
        if (mark := re.search(r"# E: ([\w-]+)$", line))
    ]
    assert len(marked) > 25
    assert [(each.line, each.code) for each in check(MISTAKES)] == marked


def test_the_blocks_of_the_pages_have_no_finding(check, tmp_path):
    """But for what is left open, with the reasons."""
    assert len(BLOCKS) > 30
    for block in BLOCKS:
        (tmp_path / f"{re.sub(r'[^a-z]+', '_', name_of(block.page).lower())}_{block.line}.py").write_text(block.text)
    found = check(*sorted(tmp_path.glob("*.py")))
    reasons = {pattern: [each for each in found if re.search(pattern, each.text)] for pattern in LEFT_OPEN_ON_PAGES}
    left_open = {each for some in reasons.values() for each in some}
    assert [each for each in found if each not in left_open] == []
    assert [pattern for pattern, some in reasons.items() if not some] == [], "these reasons are not needed any more"


@pytest.mark.parametrize("module", ["operators", "sensors"])
def test_every_operator_and_sensor_is_used(module):
    """Each with all of its arguments, by name."""
    import ast
    import importlib
    import inspect
    import pkgutil

    package = importlib.import_module(f"airflow_provider_360dialog.{module}")
    classes = {
        each.__name__: each
        for info in pkgutil.iter_modules(package.__path__)
        for each in vars(importlib.import_module(f"{package.__name__}.{info.name}")).values()
        if isinstance(each, type)
        and re.fullmatch(r"Dialog360\w+(Operator|Sensor)", each.__name__)
        and each.__name__ != "Dialog360Operator"
    }
    assert len(classes) >= 3
    calls = [node for node in ast.walk(ast.parse((HERE / "user_dag.py").read_text())) if isinstance(node, ast.Call)]
    for name, each in classes.items():
        used = {word.arg for call in calls if name in ast.unparse(call.func) for word in call.keywords}
        own = {word for word, one in inspect.signature(each.__init__).parameters.items() if one.kind is one.KEYWORD_ONLY}
        assert own - used - {"dialog360_conn_id", "deferrable"} == set(), name
