"""What every task of ours shows: a summary at the end of its log, and a link to 360dialog's own pages."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import logging
import textwrap
from datetime import UTC, datetime

import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_360dialog.exceptions import ChannelClosedError, TooManyUnfitFilesError
from airflow_provider_360dialog.get_provider_info import get_provider_info
from airflow_provider_360dialog.operators.base import Dialog360Operator
from airflow_provider_360dialog.operators.campaigns import Dialog360RefreshMediaOperator
from airflow_provider_360dialog.operators.cleanup import Dialog360CleanupMediaOperator
from airflow_provider_360dialog.operators.files import Dialog360CheckMediaOperator
from airflow_provider_360dialog.operators.links import HUB_URL, Dialog360CampaignLink, Dialog360HubLink
from airflow_provider_360dialog.operators.media import Dialog360FetchMediaUrlOperator, Dialog360UploadMediaOperator
from airflow_provider_360dialog.operators.summary import summing_up

OPERATORS = [
    each
    for module in get_provider_info()["operators"][0]["python-modules"]
    for each in vars(importlib.import_module(module)).values()
    if inspect.isclass(each) and issubclass(each, BaseOperator) and each.__module__ == module and "execute" in vars(each)
]


@pytest.fixture
def lines(caplog):
    """What was logged, without the time that it took."""
    caplog.set_level(logging.INFO)
    return lambda: [each.getMessage().partition(" (")[0] for each in caplog.records if each.getMessage()[:4] in {"=== ", "    "}]


# --- summary ------------------------------------------------------------------------------------------------------


def test_every_operator_is_here():
    assert len(OPERATORS) > 10


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda each: each.__name__)
def test_every_operator_sums_up_and_tells_its_result(operator):
    """Inside of the block that makes Airflow's errors of ours: there a wait is still a wait."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(operator.execute)))
    (block,) = (node for node in ast.walk(tree) if isinstance(node, ast.With))
    names = [getattr(item.context_expr.func, "attr", getattr(item.context_expr.func, "id", "")) for item in block.items]
    assert names == ["as_airflow_sees_it", "summing_up"]
    told = [node for node in ast.walk(block) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tell"]
    assert len(told) == 1


def test_numbers_are_told_and_names_are_not(lines):
    """Aligned, however deep they are; and the result is given back as it was."""
    result = {
        "counts": {"items": 12000, "lost": 1},
        "lost": {"no_id": 1},
        "eta": {"seconds": 1.5, "busiest": "shop_berlin"},
        "rejects_uri": "s3://store@bucket/rejects.jsonl",
        "audit_uri": None,
        "receipt": {"before": {"width": 16}},
        "media_id": "545466424653131",
        "channels": ["shop_berlin"],
        "reused": True,
    }
    with summing_up("plan") as tell:
        assert tell(result, left=0) is result
    assert lines() == [
        "=== 360dialog, plan: done",
        "    items         12,000",
        "    lost          1",
        "    lost: no id   1",
        "    eta: seconds  1.5",
        "    rejects       s3://bucket/rejects.jsonl",
        "    reused        yes",
        "    left          0",
    ]


def test_a_wait_says_until_when(lines):
    error = ChannelClosedError(operation="fetch", phone_number_id="1", retry_at=datetime(2026, 12, 1, 9, tzinfo=UTC))
    with pytest.raises(ChannelClosedError), summing_up("fetch"):
        raise error
    assert lines() == ["=== 360dialog, fetch: waits until 2026-12-01T09:00:00+00:00"]


def test_a_failure_says_where_its_report_is(lines):
    error = TooManyUnfitFilesError(unfit=2, files=3, max_reject_ratio=0.5, report_uri="/data/report.html")
    with pytest.raises(TooManyUnfitFilesError), summing_up("check"):
        raise error
    assert lines() == ["=== 360dialog, check: failed", "    report  /data/report.html"]


def test_whatever_else_ends_it_is_a_failure(lines):
    """A bug, or a signal."""
    with pytest.raises(KeyboardInterrupt), summing_up("check"):
        raise KeyboardInterrupt
    assert lines() == ["=== 360dialog, check: failed"]


def test_operators_sum_up(connected, media, lines, tmp_path):
    """An upload, a wait, a failure: each says what it was, in the task's own log."""
    Dialog360UploadMediaOperator(task_id="t", dialog360_conn_id="number_a", path=str(media / "photo.jpg")).execute({})
    size = f"{(media / 'photo.jpg').stat().st_size:,}"
    assert lines() == ["=== 360dialog, upload: done", f"    size bytes  {size}", "    reused      no"]
    connected.arm("error", operation="fetch", status=429, text="Too many", retry_after=600.0)
    with pytest.raises(AirflowRescheduleException):
        Dialog360FetchMediaUrlOperator(task_id="t", dialog360_conn_id="number_a", media_id="1").execute({})
    assert lines()[-1].startswith("=== 360dialog, fetch of a media URL: waits until 2")
    with pytest.raises(AirflowFailException):
        Dialog360CheckMediaOperator(task_id="t", source=f"{media}/", report_uri=str(tmp_path), decode=False).execute({})
    assert lines()[-2:] == ["=== 360dialog, check of files: failed", f"    report  {tmp_path}/report.html"]


# --- links --------------------------------------------------------------------------------------------------------


def test_airflow_knows_every_link_class():
    """Else its pages show no button."""
    links = {f"{type(link).__module__}.{type(link).__name__}" for each in OPERATORS for link in each.operator_extra_links}
    assert links == set(get_provider_info()["extra-links"])
    assert links <= set(ProvidersManager().extra_links_class_names)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda each: each.__name__)
def test_operators_of_one_number_lead_to_the_hub(operator):
    """The others speak of files or of all numbers."""
    links = [type(each) for each in operator.operator_extra_links]
    assert (Dialog360HubLink in links) == issubclass(operator, Dialog360Operator)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda each: each.__name__)
def test_operators_of_a_campaign_lead_to_its_page(operator):
    links = [type(each) for each in operator.operator_extra_links]
    is_of_one = "campaign" in inspect.signature(operator.__init__).parameters and operator is not Dialog360CleanupMediaOperator
    assert (Dialog360CampaignLink in links) == is_of_one


@pytest.mark.parametrize(
    ("base_url", "campaign", "address"),
    [
        ("https://airflow.example.com/", "autumn & co", "https://airflow.example.com/dialog360/campaign?name=autumn+%26+co"),
        ("", "c", "/dialog360/campaign?name=c"),
        ("https://airflow.example.com", None, ""),
    ],
)
def test_a_campaigns_address(base_url, campaign, address, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    made = Dialog360RefreshMediaOperator(task_id="t", valid_until="2026-12-01T00:00:00+00:00", campaign=campaign)
    assert Dialog360CampaignLink().get_link(made, ti_key=None) == address


def test_the_link_survives_serialisation():
    """The web server sees nothing else."""
    with DAG("d", schedule=None) as dag:
        made = Dialog360UploadMediaOperator(task_id="t", path="a.jpg")
        Dialog360UploadMediaOperator.partial(task_id="mapped").expand(path=["a.jpg"])
    back = DagSerialization.deserialize_dag(json.loads(json.dumps(DagSerialization.serialize_dag(dag))))
    for task_id in ("t", "mapped"):
        (link,) = back.task_dict[task_id].operator_extra_links
        assert (link.name, link.xcom_key) == ("360dialog Hub", "_link_Dialog360HubLink")
    assert made.operator_extra_links[0].get_link(made, ti_key=None) == HUB_URL == "https://hub.360dialog.com"
