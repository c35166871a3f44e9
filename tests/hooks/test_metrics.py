"""Metrics, through Airflow's own way to its backend: what the hook tells of its number, and that nothing depends on it."""

from __future__ import annotations

import ast
import inspect
import logging
import re
import sys
import time

import airflow.sdk.serde  # noqa: F401 - touches the metrics when it is imported
import pytest
from airflow.sdk.configuration import conf
from airflow.sdk.observability.stats import Stats

from airflow_provider_360dialog.exceptions import (
    ChannelClosedError,
    Dialog360Error,
    MediaGoneError,
    MediaRejectedError,
    ThrottledError,
    UploadRefusedError,
)
from airflow_provider_360dialog.hooks import metrics
from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.metrics import METRICS, PREFIX, Meter
from tests.docs.pages import between
from tests.jobs.doubles import Patient
from tests.jobs.inbound_doubles import jpeg, without

ME = {"conn_id": "number_a"}


class Backend:
    """What Airflow hands metrics to."""

    def __init__(self):
        self.told, self.broken = [], False

    def incr(self, stat, count=1, rate=1, *, tags=None):
        self._note("counter", stat, count, tags)

    def gauge(self, stat, value, rate=1, delta=False, *, tags=None):
        self._note("gauge", stat, value, tags)

    def _note(self, kind, stat, value, tags):
        if self.broken:
            raise OSError("no route to the backend")
        self.told.append((kind, stat, value, tags))

    def sums(self, name):
        """Tags without the connection -> sum."""
        found = {}
        for _, stat, value, tags in self.told:
            if stat == PREFIX + name:
                rest = tuple(value for key, value in tags.items() if key != "conn_id")
                found[rest] = found.get(rest, 0) + value
        return found

    def values(self, name):
        return [value for _, stat, value, _ in self.told if stat == PREFIX + name]


def initialize(factory):
    more = {"export_legacy_names": False} if "export_legacy_names" in inspect.signature(Stats.initialize).parameters else {}
    Stats.initialize(factory=factory, **more)


@pytest.fixture
def backend(monkeypatch):
    """A backend that is on. Whatever was told is in the table, as it says there."""
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger

    backend = Backend()
    initialize(lambda: backend)
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setattr(metrics, "_complained", type(metrics._complained)())
    yield backend
    initialize(NoStatsLogger)
    for kind, stat, _, tags in backend.told:
        metric = METRICS[stat.removeprefix(PREFIX)]
        assert (kind, set(tags)) == (metric.kind, {"conn_id", *metric.tags})


@pytest.fixture
def quick(hook):
    """The hook; repeats are not waited for."""
    hook._session.stop = Patient()
    return hook


# --- what is told -------------------------------------------------------------------------------------------------


def test_an_upload_is_counted_with_its_bytes_and_its_reuse_apart(hook, photo, backend):
    """So that the share that was reused can be computed."""
    hook.upload(photo)
    hook.upload(photo)
    hook.upload(photo)
    assert backend.sums("upload.files") == {(): 1}
    assert backend.sums("upload.bytes") == {(): photo.stat().st_size}
    assert backend.sums("upload.reused") == {(): 2}
    assert all(tags == ME for _, _, _, tags in backend.told)


def test_the_uploads_of_a_campaign_are_counted_too(hook, photo, tmp_path, backend):
    """They go the same way, without the lineage."""
    campaigns = Campaigns()
    campaigns.plan("c", [str(photo)], ["number_a"], "2100-01-01T00:00:00Z", assign="replicate")
    campaigns.upload("c", hook)
    assert backend.sums("upload.files") == {(): 1}


def test_a_download_and_a_delete_are_counted(hook, photo, tmp_path, backend):
    """A delete that found nothing is not one."""
    media_id = hook.upload(photo).media_id
    hook.download(tmp_path / "a.jpg", media_id=media_id)
    assert (hook.delete(media_id), hook.delete(media_id)) == (True, False)
    assert backend.sums("download.files") == {(): 1}
    assert backend.sums("download.bytes") == {(): photo.stat().st_size}
    assert backend.sums("delete.files") == {(): 1}
    assert backend.sums("refused") == {("delete",): 1}


def test_every_throttle_of_an_upload_is_counted_also_those_that_are_repeated(quick, number, photo, backend):
    number.arm("error", operation="upload", times=2, status=429, text="Too many")
    quick.upload(photo)
    assert backend.sums("throttled") == {("upload",): 2}
    assert backend.sums("refused") == {}
    assert backend.sums("upload.files") == {(): 1}


def test_a_refusal_is_no_throttle(quick, number, photo, backend):
    number.arm("error", operation="upload", status=400, text="Unsupported media", code=100)
    with pytest.raises(UploadRefusedError):
        quick.upload(photo)
    with pytest.raises(MediaGoneError):
        quick.fetch_media("999999")
    assert backend.sums("refused") == {("upload",): 1, ("fetch",): 1}
    assert backend.sums("throttled") == backend.sums("upload.files") == {}


def test_what_the_ledger_answers_is_no_refusal(quick, number, backend):
    """360dialog was asked once."""
    for _ in range(3):
        with pytest.raises(MediaGoneError):
            quick.fetch_media("999999")
    assert backend.sums("refused") == {("fetch",): number.sent("fetch")} == {("fetch",): 1}


def test_an_upload_with_an_unknown_end_may_be_an_orphan(quick, number, photo, backend):
    """A fetch with such an end is not."""
    number.arm("error", operation="upload", times=2, status=500)
    number.arm("error", operation="fetch", status=500)
    quick.fetch_media(quick.upload(photo).media_id)
    assert backend.sums("failed") == {("upload",): 2, ("fetch",): 1}
    assert backend.sums("upload.orphans_possible") == {(): 2}


def test_the_archive_tells_what_each_try_has_added(quick, number, tmp_path, backend, monkeypatch):
    """A task that is tried again goes on with its run; nothing is told twice."""
    monkeypatch.setattr("airflow_provider_360dialog.hooks.session.task_name", lambda: ("dag/run/task/-1", 1))
    webhooks = [number.emu.inject_webhook_media(jpeg(), mime_type="image/jpeg", number=number.number_id) for _ in range(3)]
    quick.archive_inbound([*webhooks[:2], without(webhooks[2], "id")], tmp_path / "archive")
    quick.archive_inbound([webhooks[2]], tmp_path / "archive")
    quick.archive_inbound(None, tmp_path / "archive")
    assert backend.sums("inbound.archived") == {(): 3}
    assert backend.values("inbound.archived") == [2, 1]
    assert backend.sums("inbound.lost") == {("no_id",): 1}
    assert backend.values("inbound.pending") == [0, 0, 0]


# --- pace and budget ----------------------------------------------------------------------------------------------


def test_pace_and_budget_are_told_as_they_are(hook, number, connect, photo, backend):
    connect(number.base_url, number.key, uploads_per_second=7)
    hook.upload(photo)
    assert backend.values("upload.pace") == [7]
    assert backend.values("retrieval.error_budget_left") == [4]
    assert backend.values("retrieval.blocked_seconds") == [0.0]


def test_they_are_told_every_ten_seconds_and_not_with_each_call(hook, photo, backend):
    """They cost questions to the ledger."""
    for _ in range(3):
        hook.upload(photo)
    assert len(backend.values("upload.pace")) == 1
    hook._session.meter._look_at = time.monotonic()
    hook.upload(photo)
    assert len(backend.values("upload.pace")) == 2
    assert time.monotonic() + 5 < hook._session.meter._look_at <= time.monotonic() + 10


def test_a_block_is_told_at_once(quick, number, photo, backend):
    """With how long it lasts, and nothing left to spend."""
    media_id = quick.upload(photo).media_id
    number.arm("error", operation="fetch", status=429, text="Too many", retry_after=600.0)
    with pytest.raises(ThrottledError):
        quick.fetch_media(media_id)
    with pytest.raises(ChannelClosedError):
        quick.fetch_media(media_id)
    assert backend.sums("throttled") == {("fetch",): 1}
    assert [round(each, -2) for each in backend.values("retrieval.blocked_seconds")] == [0, 600, 600]
    assert backend.values("retrieval.error_budget_left") == [4, 0, 0]


def test_a_failure_that_costs_budget_is_told_at_once(quick, photo, backend):
    """Not when the next call succeeds. A file that is refused before anything is sent costs none, and no question."""
    quick.upload(photo)
    for media_id in ("999998", "999999"):
        with pytest.raises(MediaGoneError):
            quick.fetch_media(media_id)
    with pytest.raises(MediaRejectedError):
        quick.upload(photo.with_name("bad_html_named.pdf"))
    assert backend.values("retrieval.error_budget_left") == [4, 3, 2]


def test_the_pace_is_nothing_during_a_pause(quick, number, photo, backend):
    number.arm("error", operation="upload", times="always", status=429, text="Too many", retry_after=600.0)
    with pytest.raises(ThrottledError):
        quick.upload(photo)
    assert backend.values("upload.pace") == [0.0]


def test_where_nobody_listens_the_ledger_is_not_asked(hook, photo, backend, monkeypatch):
    """Counters go to Airflow, which drops them."""
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
    hook.upload(photo)
    hook.archive_inbound(None, photo.parent.parent)
    assert {stat for _, stat, _, _ in backend.told} == {PREFIX + "upload.files", PREFIX + "upload.bytes"}


@pytest.mark.parametrize("option", metrics._BACKENDS)
def test_airflow_knows_the_options_that_say_whether_somebody_listens(option, monkeypatch):
    """Without a fallback: the option is there. Each one is enough."""
    for each in metrics._BACKENDS:
        monkeypatch.setenv(f"AIRFLOW__METRICS__{each.upper()}", str(each == option))
    assert conf.getboolean("metrics", option) is True
    assert metrics.is_listened_to()


# --- nothing depends on it ----------------------------------------------------------------------------------------


def test_a_backend_that_fails_fails_no_call_and_is_complained_of_once(hook, photo, tmp_path, backend, caplog):
    backend.broken = True
    with caplog.at_level(logging.WARNING):
        media_id = hook.upload(photo).media_id
        hook.download(tmp_path / "a.jpg", media_id=media_id)
        hook.archive_inbound(None, tmp_path)
        assert hook.delete(media_id)
    assert caplog.text.count("metrics cannot be sent") == 1


def test_an_airflow_without_that_module_fails_no_call(hook, photo, backend, monkeypatch):
    monkeypatch.setitem(sys.modules, "airflow.sdk.observability.stats", None)
    assert hook.upload(photo).media_id
    assert backend.told == []


def test_a_ledger_that_cannot_be_read_fails_no_call(hook, photo, backend, monkeypatch):
    """Pace and budget are looked at after the call."""

    def fails(_):
        raise Dialog360Error("away")

    monkeypatch.setattr("airflow_provider_360dialog.ledger.ration.Ration.rate", fails)
    assert hook.upload(photo).media_id
    assert backend.values("upload.files") == [1]


def test_before_the_number_is_known_nobody_is_asked_for_it(hook, number, backend):
    """A call that ended before is no reason to ask 360dialog."""
    hook._session.run(lambda _: None)
    assert backend.told == []
    assert number.emu.counters(number.number_id)["requests"] == {}


# --- names and tags -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conn_id", "tag"),
    [
        ("shop_berlin", "shop_berlin"),
        ("shop_2026", "shop_2026"),
        ("wa_4915112345678", "wa__78"),
        ("106540352242922", "_22"),
    ],
)
def test_a_number_in_the_name_of_a_connection_is_not_sent(conn_id, tag, backend):
    """All but its last two digits."""
    Meter(conn_id).answered("delete", True)
    assert [tags for *_, tags in backend.told] == [{"conn_id": tag}]
    assert Dialog360Hook(conn_id)._session.meter._tags == {"conn_id": tag}


def test_the_page_has_every_metric_and_no_other():
    table = between("observability.md", "metrics")
    rows = re.findall(r"^\| `dialog360\.([\w.]+)` \| (\w+) \| ([^|]*)\| [^|]+ \|$", table, re.MULTILINE)
    assert len(rows) == len(table.splitlines()) - 2
    said = {name: (kind, tuple(re.findall(r"`(\w+)`", tags))) for name, kind, tags in rows}
    assert said == {name: (each.kind, each.tags) for name, each in METRICS.items()}


def test_every_metric_is_told_somewhere():
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(metrics))) if isinstance(node, ast.Call)]
    told = {node.args[0].value for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "_tell"}
    assert told == set(METRICS)
    assert all(re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", name) for name in METRICS)
