"""docs/troubleshooting.md leads from every sentence that the code can say to what to do; docs/configuration.md has every setting.

A sentence on the page is one that the code says: it is looked for in the samples of errors, in the texts of the package, and, of other
programs, where these say it.
"""

from __future__ import annotations

import ast
import re
import sqlite3
from functools import cache

import pytest

from airflow_provider_360dialog import exceptions
from airflow_provider_360dialog.get_provider_info import get_provider_info
from airflow_provider_360dialog.hooks import ledger as ledger_of_hooks
from airflow_provider_360dialog.media.decoding import workshop
from tests.docs.pages import PACKAGE, anchors, between, codes, headings, read, section
from tests.docs.samples import SAMPLES

PAGE = "troubleshooting.md"
SENTENCES = re.findall(r"^\| `([^`]+)` \| \[(\w+)\]\(errors\.md#(\w+)\) \| .+ \|$", between(PAGE, "sentences"), re.MULTILINE)
MORE = re.findall(r"^\| `([^`]+)` \| \[[^\]]+\]\(#([\w-]+)\) \|$", between(PAGE, "more sentences"), re.MULTILINE)
OPTIONS = get_provider_info()["config"]["dialog360"]["options"]
OF_OTHERS = {"database is locked", "No module named", "isn't defined"}
LEAVES = {
    each.__name__
    for each in vars(exceptions).values()
    if isinstance(each, type) and issubclass(each, exceptions.Dialog360Error) and not each.__subclasses__()
}


@cache
def trees():
    """The modules of the package, parsed."""
    found = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))]
    assert len(found) > 100
    return found


@cache
def texts():
    """Every text of the package; what is put into one at run time is a gap."""
    found = []
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
    return "\n".join(found)


def rows(page, marker):
    """The lines of a table, without its head."""
    return between(page, marker).splitlines()[2:]


# --- troubleshooting: by its sentence -----------------------------------------------------------------------------


def test_every_leaf_is_reached_by_its_sentence_and_no_other():
    """Also those that were added today."""
    assert sorted(name for _, name, _ in SENTENCES) == sorted(LEAVES)
    assert len(SENTENCES) == len(rows(PAGE, "sentences")) > 40
    assert all(name.lower() == anchor for _, name, anchor in SENTENCES)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_sentence_on_the_page_is_the_one_in_the_log(sample):
    words = [words for words, name, _ in SENTENCES if name == type(sample).__name__]
    assert words
    assert all(each in str(sample) for each in words)


@pytest.mark.parametrize(("words", "name"), [(words, name) for words, name, _ in SENTENCES], ids=lambda each: each)
def test_the_words_of_a_sentence_lead_to_one_error_only(words, name):
    assert [type(sample).__name__ for sample in SAMPLES if words in str(sample)] == [name]


def test_every_other_sentence_is_said_by_the_code_or_by_the_program_that_it_is_of(tmp_path):
    assert len(MORE) == len(rows(PAGE, "more sentences")) > 10
    assert {words for words, _ in MORE} >= OF_OTHERS
    assert [words for words, _ in MORE if words not in OF_OTHERS and words not in texts()] == []
    said = said_by_others(tmp_path)
    assert [words for words in OF_OTHERS if words not in said] == []


def said_by_others(folder):
    """SQLite, Python and Airflow, each brought to say it."""
    from airflow.sdk import Connection

    with pytest.raises(ModuleNotFoundError) as missing:
        __import__("no_such_module")
    with pytest.raises(Exception, match="isn't defined") as unknown:
        Connection.get("no_such_connection")
    one, two = (sqlite3.connect(folder / "a.db", timeout=0, isolation_level=None) for _ in range(2))
    one.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError) as locked:
        two.execute("BEGIN EXCLUSIVE")
    one.close()
    two.close()
    return f"{missing.value}\n{unknown.value}\n{locked.value}"


def test_what_is_behind_cannot_be_used_is_said_by_the_code():
    """And every way in which SQLite is refused has its row."""
    quoted = re.findall(r"^\| `([^`]+)` \|", section(PAGE, "The ledger is refused"), re.MULTILINE)
    assert len(quoted) > 8
    assert [words for words in quoted if words not in texts()] == []
    for tree in (ast.parse((PACKAGE / name).read_text()) for name in ("hooks/ledger.py", "ledger/host.py")):
        for node in ast.walk(tree):
            if isinstance(node, (ast.Constant, ast.JoinedStr)):
                said = ast.unparse(node)
                if "SQLite" in said and ". " not in said[:40] and "{_REMEDY}" in said:
                    assert any(words in said for words in quoted), said


# --- troubleshooting: by what is seen -----------------------------------------------------------------------------


def test_what_is_seen_has_a_cause_a_remedy_and_an_end():
    seen = headings(section(PAGE, "By what you see"), 3)
    assert len(seen) > 12
    short = {"The test button is grey", "A task fails at once, though it has retries", "The button Campaign leads nowhere"}
    short |= {name for name in seen if name.startswith("The page says")}
    for name in set(seen) - short:
        text = section(PAGE, name)
        assert "ause" in text, name
        assert "what to do" in text.lower(), name
        assert "**It is over when**" in text, name


def test_every_section_that_is_named_is_there():
    assert {anchor for _, anchor in MORE} <= anchors_of(PAGE)


def anchors_of(page):
    from tests.docs.pages import CHECKOUT

    return anchors(CHECKOUT / "docs" / page)


# --- configuration ------------------------------------------------------------------------------------------------


def test_every_setting_has_its_row():
    assert len(OPTIONS) >= 3
    found = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows("configuration.md", "options")]
    for (name, option), (said, variable, type_, default, meaning) in zip(OPTIONS.items(), found, strict=True):
        assert said == f"`{name}`"
        assert variable == f"`AIRFLOW__DIALOG360__{name.upper()}`"
        assert type_ == option["type"]
        assert default == ("none" if option["default"] is None else f"`{option['default']}`")
        assert meaning


def test_every_setting_of_airflow_that_is_read_is_named():
    """Whatever the code asks Airflow's configuration for."""
    asked = {
        (node.args[0].value, node.args[1].value)
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "conf"
        and len(node.args) > 1
        and all(isinstance(each, ast.Constant) for each in node.args[:2])
    }
    assert len(asked) >= 4
    named = codes(read("configuration.md"))
    assert [f"[{part}] {name}" for part, name in sorted(asked) if f"[{part}] {name}" not in named] == []


def test_every_setting_of_airflow_that_is_named_is_one():
    from airflow.configuration import conf

    named = re.findall(r"`\[(\w+)\] (\w+)`", between("configuration.md", "airflow"))
    assert len(named) > 10
    known = conf.configuration_description
    assert [each for each in named if each[1] not in known.get(each[0], {}).get("options", {})] == []


def test_every_variable_of_the_environment_that_is_read_is_named():
    named = codes(section("configuration.md", "Environment variables"))
    read_here = {
        node.args[0].value
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"os.environ.get", "os.getenv"}
        and isinstance(node.args[0], ast.Constant)
    }
    assert read_here >= {"AIRFLOW_HOME", "KUBERNETES_SERVICE_HOST"}
    assert read_here | set(workshop._KEPT_VARIABLES) <= named


def test_every_key_of_the_ledgers_connection_is_named():
    (allowed,) = re.findall(r"allowed = \(([^)]*)\)", (PACKAGE / "hooks" / "ledger.py").read_text(encoding="utf-8"))
    assert ledger_of_hooks.SECTION == "dialog360"
    assert codes(" ".join(row.split("|")[1] for row in rows("configuration.md", "ledger extra"))) == set(
        re.findall(r'"(\w+)"', allowed)
    )
