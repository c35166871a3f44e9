"""Lineage, with Airflow's own collector: what it is told of uploads, downloads, campaigns and the archive."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import fsspec
import pytest
from airflow.sdk import Asset, ObjectStoragePath, plugins_manager
from airflow.sdk.io import attach
from airflow.sdk.lineage import HookLineageReader, NoOpCollector, get_hook_lineage_collector
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

from airflow_provider_360dialog.hooks import lineage
from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.lineage import CAMPAIGNS_URI, media_uri, note, place_of, to_openlineage
from airflow_provider_360dialog.operators.campaigns import campaigns_asset
from tests.jobs.doubles import Patient
from tests.jobs.inbound_doubles import jpeg

LATER = "2100-01-01T00:00:00Z"


class Collected:
    """What Airflow's collector has, as URIs."""

    def __init__(self, collector):
        self.collector = collector

    @property
    def inputs(self):
        return [each.asset.uri for each in self.collector.collected_assets.inputs]

    @property
    def outputs(self):
        return [each.asset.uri for each in self.collector.collected_assets.outputs]


@pytest.fixture
def collected(monkeypatch):
    """A plugin that reads lineage is installed, so Airflow collects it."""
    monkeypatch.setattr(plugins_manager, "get_hook_lineage_readers_plugins", lambda: [HookLineageReader])
    get_hook_lineage_collector.cache_clear()
    collector = get_hook_lineage_collector()
    assert not isinstance(collector, NoOpCollector)
    yield Collected(collector)
    get_hook_lineage_collector.cache_clear()


@pytest.fixture
def media(number):
    return f"dialog360://{number.number_id}/media"


@pytest.fixture
def store(photo):
    """A file in an object store that lives in memory."""
    files = fsspec.filesystem("memory")
    attach("memory", fs=files)
    attach("memory", conn_id="someone", fs=files)
    files.pipe_file("/shop/a b.jpg", photo.read_bytes())
    yield "memory://shop/a b.jpg"
    files.rm("/shop", recursive=True)


# --- single files -------------------------------------------------------------------------------------------------


def test_an_upload_leads_from_the_file_to_the_number(hook, photo, collected, media):
    """Also where an earlier one answered."""
    hook.upload(photo)
    hook.upload(str(photo))
    assert (collected.inputs, collected.outputs) == ([photo.as_uri()], [media])


def test_a_download_leads_from_the_number_to_the_file(hook, number, tmp_path, collected, media):
    media_id, _ = number.receive(jpeg())
    hook.download(tmp_path / "ü.jpg", media_id=media_id)
    assert (collected.inputs, collected.outputs) == ([media], [(tmp_path / "ü.jpg").as_uri()])
    assert media_id not in str(collected.collector.collected_assets)


def test_an_object_is_told_once_under_its_plain_name(hook, store, collected, media):
    """However often it was read, and however it was given; without the connection, in ASCII."""
    hook.upload(ObjectStoragePath(store))
    hook.upload("memory://someone@shop/a b.jpg", reuse=False)
    assert (collected.inputs, collected.outputs) == (["memory://shop/a%20b.jpg"], [media])


def test_what_failed_is_not_told(hook, checkout, collected):
    with pytest.raises(Exception, match="not uploaded"):
        hook.upload(checkout / "dags_examples" / "media" / "bad_html_named.pdf")
    assert (collected.inputs, collected.outputs) == ([], [])


def test_a_thousand_files_of_one_folder_become_their_folder(tmp_path, collected, caplog):
    """Airflow takes a hundred and then says so in the log."""
    with caplog.at_level(logging.DEBUG):
        for each in range(1000):
            note(collected, read=[tmp_path / f"{each}.jpg"], wrote=[f"s3://me@bucket/out/{each}.jpg"])
    assert collected.inputs == [*((tmp_path / f"{each}.jpg").as_uri() for each in range(50)), tmp_path.as_uri()]
    assert collected.outputs[49:] == ["s3://bucket/out/49.jpg", "s3://bucket/out"]
    assert "Maximum number" not in caplog.text


# --- many files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, photo):
    folder = tmp_path / "summer"
    folder.mkdir()
    for each in range(3):
        (folder / f"{each}.jpg").write_bytes(jpeg())
    (tmp_path / "summer.csv").write_text("key,uri\n" + "".join(f"{each},summer/{each}.jpg\n" for each in range(3)))
    return folder


def planned(source, hook, **more):
    campaigns = Campaigns()
    campaigns.plan("secret summer", source, ["number_a"], LATER, assign="replicate", max_reject_ratio=1, **more)
    return campaigns


@pytest.mark.parametrize("form", ["folder", "glob", "manifest", "list"])
def test_a_plan_leads_from_its_source_to_the_ledger(hook, folder, photo, collected, form):
    """Never from each file."""
    sources = {"folder": str(folder), "glob": f"{folder}/*.jpg", "manifest": f"{folder}.csv", "list": [str(photo)]}
    uris = {"folder": folder.as_uri(), "glob": folder.as_uri(), "manifest": f"{folder.as_uri()}.csv"}
    planned(sources[form], hook)
    assert collected.inputs == ([uris[form]] if form in uris else [])
    assert collected.outputs == [campaigns_asset().uri]


def test_a_dry_run_writes_nothing(hook, folder, collected):
    planned(str(folder), hook, dry_run=True)
    assert (collected.inputs, collected.outputs) == ([], [])


def test_uploads_lead_from_the_ledger_to_the_number_and_an_export_to_its_file(hook, photo, tmp_path, collected, media):
    """The name of the campaign is in none of it."""
    campaigns = planned([str(photo)], hook)
    campaigns.upload("secret summer", hook)
    campaigns.export("secret summer", tmp_path / "ids-{version}.csv")
    campaigns.refresh(hook, "2026-01-01T00:00:00Z")
    assert sorted(each.count for each in collected.collector.collected_assets.inputs) == [1, 2]  # of campaigns and of the hook
    assert set(collected.inputs) == {campaigns_asset().uri}
    assert set(collected.outputs) == {campaigns_asset().uri, media, (tmp_path / "ids-1.csv").as_uri()}
    assert "secret" not in str([*collected.inputs, *collected.outputs])


def test_the_archive_leads_from_webhooks_and_number_to_its_folder(hook, number, tmp_path, collected, media):
    (tmp_path / "landing").mkdir()
    hook._session.stop = Patient()
    hook.archive_inbound(str(tmp_path / "landing"), tmp_path / "archive")
    webhook = number.emu.inject_webhook_media(jpeg(), mime_type="image/jpeg", number=number.number_id)
    hook.archive_inbound([webhook], tmp_path / "archive")
    assert collected.inputs == [(tmp_path / "landing").as_uri(), media]
    assert collected.outputs == [(tmp_path / "archive").as_uri()]


# --- nothing depends on it ----------------------------------------------------------------------------------------


def test_where_nobody_reads_it_nothing_is_made(hook, photo, monkeypatch):
    """No Asset is made for each file."""
    monkeypatch.setattr(lineage, "_uri_of", lambda *_, **__: pytest.fail("a URI was made"))
    get_hook_lineage_collector.cache_clear()
    assert isinstance(get_hook_lineage_collector(), NoOpCollector)
    assert hook.upload(photo).media_id


def test_a_collector_that_fails_fails_no_call(hook, photo, collected, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr(collected.collector, "add_input_asset", fails)
    assert hook.upload(photo).media_id


# --- forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("s3://a@b/in/", "s3://a@b/in/"),
        ("s3://a@b/in/*.jpg", "s3://a@b/in/"),
        ("/in/2026-*/x.jpg", "/in/"),
        ("*.jpg", "./"),
        (Path("/in"), Path("/in")),
        (["/a.jpg"], None),
        ({"entry": []}, None),
        ('{"entry": []}', None),
        ("", None),
        (None, None),
    ],
)
def test_the_place_of_a_source_is(source, place):
    assert place_of(source) == place


@pytest.mark.parametrize(
    ("place", "uri"),
    [
        ("/data/a b.jpg", "file:///data/a%20b.jpg"),
        ("file:///data/a%20b.jpg", "file:///data/a%20b.jpg"),
        (Path("/data/ü"), "file:///data/%C3%BC"),
        ("s3://store@bucket/ü/a.jpg", "s3://bucket/%C3%BC/a.jpg"),
        ("s3://user:secret@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("s3://bucket/", "s3://bucket"),
        (media_uri("106540352242922"), "dialog360://106540352242922/media"),
    ],
)
def test_a_place_is_told_as(place, uri):
    """Airflow takes ASCII only."""
    assert lineage._uri_of(place, among=0) == uri
    assert Asset(uri=uri).uri.rstrip("/") == uri


def test_the_asset_of_exports_is_the_campaigns_of_the_ledger():
    assert campaigns_asset().uri == Asset(uri=CAMPAIGNS_URI).uri


# --- OpenLineage --------------------------------------------------------------------------------------------------


def test_airflow_finds_the_converter():
    assert ProvidersManagerTaskRuntime().asset_to_openlineage_converters["dialog360"] is to_openlineage


@pytest.mark.parametrize(
    ("uri", "name"), [("dialog360://106540352242922/media", "106540352242922/media"), ("dialog360://campaigns", "campaigns")]
)
def test_openlineage_gets_a_dataset(uri, name, monkeypatch):
    if importlib.util.find_spec("openlineage") is None:  # then Airflow's stand-in for its classes gives None
        from airflow.providers.common.compat.openlineage import facet

        class Dataset:
            def __init__(self, *, namespace, name):
                self.namespace, self.name = namespace, name

        monkeypatch.setattr(facet, "Dataset", Dataset)
    dataset = to_openlineage(Asset(uri=uri), None)
    assert (dataset.namespace, dataset.name) == ("dialog360", name)
