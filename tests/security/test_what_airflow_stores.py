"""What of ours comes to rest in Airflow's own tables where others read it, and what never does (T5, T6, T18); by the source itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from airflow.triggers.base import BaseTrigger

import airflow_provider_360dialog

PACKAGE = Path(airflow_provider_360dialog.__file__).parent
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
MAY_BE_DEFERRED_WITH = {"trigger", "method_name", "timeout", "kwargs"}
MAY_COME_BACK = {"began_at"}


def calls(name):
    """Place and node of every call of a function or method of this name."""
    for place, tree in TREES.items():
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            if getattr(called, "attr", getattr(called, "id", None)) == name:
                yield f"{place}:{node.lineno}", node


def test_every_module_was_looked_at():
    assert len(TREES) > 150


def test_there_is_no_trigger_of_ours():
    """So nothing of ours runs in the triggerer, and no trigger of ours is written into a database."""
    found = []
    for module in pkgutil.walk_packages(airflow_provider_360dialog.__path__, "airflow_provider_360dialog."):
        if any(part in module.name for part in (".operators", ".sensors", ".hooks", ".ui")):
            members = vars(importlib.import_module(module.name)).values()
            found += [each for each in members if inspect.isclass(each) and issubclass(each, BaseTrigger)]
    assert found == []


def test_a_deferral_carries_an_instant_and_nothing_else():
    """What comes back from a trigger is stored as plain JSON (T5)."""
    deferrals = list(calls("defer"))
    assert len(deferrals) >= 3
    for place, call in deferrals:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert not call.args, place
        assert given.keys() <= MAY_BE_DEFERRED_WITH, place
        trigger = given["trigger"]
        assert isinstance(trigger, ast.Call), place
        assert trigger.func.id == "DateTimeTrigger", place
        assert [each.arg for each in trigger.keywords] == ["moment"], place
        back = given.get("kwargs", ast.Dict([], []))
        assert {key.value for key in back.keys} <= MAY_COME_BACK, place


@pytest.mark.parametrize("store", ["asset_state_store", "AssetStateStore", "asset_state", "xcom_push", "Variable"])
def test_no_other_store_of_airflow_is_written_to(store):
    """Any task may read them (T18); results are return values, which have fixed fields (T6)."""
    named = [
        place
        for place, tree in TREES.items()
        for node in ast.walk(tree)
        if store in {getattr(node, "attr", None), getattr(node, "id", None), getattr(node, "name", None)}
        or (isinstance(node, ast.Constant) and node.value == store)
    ]
    assert named == []


def test_statements_are_not_made_of_text():
    """SQL is SQLAlchemy's expressions; what is text is written out, but for columns and types of a schema's step (T19)."""
    texts = [*calls("text"), *calls("exec_driver_sql")]
    texts = [(place, call.args[0]) for place, call in texts if place.startswith("ledger/")]
    assert len(texts) > 5
    made = (ast.JoinedStr, ast.BinOp, ast.Call)
    put_together = {place.partition(":")[0] for place, text in texts for node in ast.walk(text) if isinstance(node, made)}
    assert put_together == {"ledger/upgrades.py"}


def test_a_campaign_cannot_be_planned_without_its_end():
    """Until when its media are needed has no default (T25)."""
    from airflow_provider_360dialog.hooks.campaigns import Campaigns
    from airflow_provider_360dialog.operators.campaigns import Dialog360PlanCampaignOperator

    with pytest.raises(TypeError, match="needed_until"):
        Dialog360PlanCampaignOperator(task_id="t", campaign="c", source="/a/", channels=["number_a"])
    asked = inspect.signature(Campaigns.plan).parameters["needed_until"]
    assert asked.default is inspect.Parameter.empty
