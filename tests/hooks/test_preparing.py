"""Prepared pictures are kept under what they were made of, so that nothing is prepared twice; uploads and plans send what was prepared."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_360dialog.exceptions import (
    CallError,
    DestinationError,
    MediaRejectedError,
    MediaToolsMissingError,
    TooManyUnfitFilesError,
)
from airflow_provider_360dialog.hooks import places
from airflow_provider_360dialog.hooks import preparing as module
from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.files import Files
from airflow_provider_360dialog.hooks.places import source_at
from airflow_provider_360dialog.hooks.preparing import Preparer
from airflow_provider_360dialog.jobs.judging import Judges
from airflow_provider_360dialog.jobs.manifest import Wanted
from airflow_provider_360dialog.media.preparation import recipes
from tests.support.pictures import jpeg, located, opened, png, scene, turned

NEEDED = datetime.now(UTC) + timedelta(days=9)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Three that have to be prepared, one that has not, one that cannot be sent."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    (folder / "turned.jpg").write_bytes(turned())
    (folder / "deep" / "logo.png").write_bytes(png(scene(seed=5)))
    (folder / "located.jpg").write_bytes(located())
    (folder / "fine.jpg").write_bytes(jpeg(scene(seed=9)))
    (folder / "page.pdf").write_bytes(b"<html><body>Error</body></html>")
    monkeypatch.setattr(places, "_FRESH_S", 0.0)  # else nothing is remembered of files that are two seconds old
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """How often a picture was prepared and not found."""
    counted = []
    follow = module.follow

    def counting(recipe, examined, source, **means):
        counted.append(source.name)
        return follow(recipe, examined, source, **means)

    monkeypatch.setattr(module, "follow", counting)
    return counted


def prepared(folder, path, **said):
    with Preparer(folder) as preparer:
        return preparer.prepare(source_at(path), **said).verdict


def stored(hook, media_id):
    """The bytes that 360dialog got."""
    with tempfile.TemporaryDirectory() as folder:
        hook.download(f"{folder}/file", media_id=media_id)
        return Path(folder, "file").read_bytes()


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


# --- what is kept -------------------------------------------------------------------------------------------------


def test_a_prepared_file_is_named_by_its_source_and_recipe_and_has_its_receipt_beside_it(photos, tmp_path):
    verdict = prepared(tmp_path / "ready", photos / "turned.jpg")
    base = f"turned-{hashlib.sha256(turned()).hexdigest()[:16]}-{recipes.RECIPES}-image"
    assert sorted(path.name for path in (tmp_path / "ready").iterdir()) == [f"{base}.jpg", f"{base}.json"]
    assert verdict.receipt.uri == str(tmp_path / "ready" / f"{base}.jpg")
    record = json.loads((tmp_path / "ready" / f"{base}.json").read_text())
    assert record["receipt"]["changes"][0]["code"] == "turned"
    assert record["sha256"] == hashlib.sha256((tmp_path / "ready" / f"{base}.jpg").read_bytes()).hexdigest()


def test_what_stands_there_is_not_prepared_again(photos, tmp_path, drawn):
    first = prepared(tmp_path / "ready", photos / "turned.jpg")
    (photos / "turned.jpg").rename(photos / "turned.jpeg")
    again = prepared(str(tmp_path / "ready") + "/", photos / "turned.jpeg")
    assert again == first
    assert drawn == ["turned.jpg"]


def test_the_same_bytes_for_another_use_are_prepared_for_it(tmp_path, drawn):
    (tmp_path / "a.jpg").write_bytes(located(quality=60))
    as_image = prepared(tmp_path / "ready", tmp_path / "a.jpg")
    as_document = prepared(tmp_path / "ready", tmp_path / "a.jpg", kind="document")
    assert (as_image.kind, as_document.kind) == ("image", "document")
    assert len(drawn) == 2


def remove(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def spoil(path):
    path.write_text("{")


def of_another(path):
    path.write_text(path.read_text().replace(hashlib.sha256(turned()).hexdigest(), "0" * 64))


def test_a_record_cannot_lead_to_another_file(photos, tmp_path):
    """Whoever may write to the folder must not have other files sent that our task may read."""
    first = prepared(tmp_path / "ready", photos / "turned.jpg")
    record = next((tmp_path / "ready").glob("*.json"))
    (tmp_path / "secret").write_bytes(bytes(first.size_bytes))
    record.write_text(record.read_text().replace(first.receipt.uri, str(tmp_path / "secret")))
    assert prepared(tmp_path / "ready", photos / "turned.jpg") == first


def test_a_relative_folder_is_found_from_anywhere(photos, tmp_path, monkeypatch):
    """The task that uploads may stand in another directory."""
    monkeypatch.chdir(tmp_path)
    assert prepared("ready", photos / "turned.jpg").receipt.uri.startswith(f"{tmp_path}/ready/turned-")


@pytest.mark.parametrize(
    ("ending", "harm"),
    [(".jpg", remove), (".jpg", cut), (".json", remove), (".json", spoil), (".json", of_another)],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_what_does_not_stand_whole_is_made_anew(photos, tmp_path, drawn, ending, harm):
    first = prepared(tmp_path / "ready", photos / "turned.jpg")
    harm(next((tmp_path / "ready").glob(f"*{ending}")))
    assert prepared(tmp_path / "ready", photos / "turned.jpg") == first
    assert len(drawn) == 2
    assert Path(first.receipt.uri).stat().st_size == first.size_bytes


def test_the_name_to_send_is_the_one_of_today(photos, tmp_path):
    prepared(tmp_path / "ready", photos / "turned.jpg")
    assert prepared(tmp_path / "ready", photos / "turned.jpg", filename="Sommer.jpeg").filename == "Sommer.jpg"


def test_other_rules_prepare_anew(photos, tmp_path, drawn, monkeypatch):
    prepared(tmp_path / "ready", photos / "turned.jpg")
    monkeypatch.setattr(recipes, "RECIPES", "p2")
    prepared(tmp_path / "ready", photos / "turned.jpg")
    assert len(drawn) == 2


def test_an_object_store_keeps_them_too(photos, bucket, drawn):
    verdict = prepared(bucket.uri("ready"), photos / "turned.jpg")
    assert verdict.receipt.uri.startswith(bucket.uri("ready/turned-"))
    assert prepared(bucket.uri("ready/"), photos / "turned.jpg") == verdict
    assert len(drawn) == 1
    with source_at(verdict.receipt.uri).open() as handle:
        assert hashlib.sha256(handle.read()).hexdigest() == verdict.sha256


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_drawn(photos, tmp_path, drawn):
    (tmp_path / "ready").write_text("a file")
    with pytest.raises(DestinationError, match="give the name of a folder"):
        prepared(tmp_path / "ready", photos / "turned.jpg")
    assert drawn == []


def test_without_pillow_the_remedy_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "PIL" else find(name))
    with pytest.raises(MediaToolsMissingError, match=r"pip install 'airflow-provider-360dialog\[media\]'"):
        Preparer()


def test_the_source_is_never_touched(photos, tmp_path):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.rglob("*.*")}
    Files().prepare(str(photos), tmp_path / "ready", max_reject_ratio=1)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.rglob("*.*")} == before


# --- one upload ---------------------------------------------------------------------------------------------------


def test_an_upload_sends_what_was_prepared(hook, number, photos):
    uploaded = hook.upload(photos / "turned.jpg", prepare=True)
    sent = stored(hook, uploaded.media_id)
    assert hashlib.sha256(sent).hexdigest() == uploaded.sha256 == uploaded.receipt.after.sha256
    assert opened(sent).size == (64, 96)
    assert uploaded.receipt.changes[0].code == "turned"
    assert uploaded["receipt"]["changes"][0]["code"] == "turned"
    assert json.loads(json.dumps(uploaded)) == uploaded


def test_a_second_upload_neither_draws_nor_sends(hook, number, photos, drawn):
    first = hook.upload(photos / "turned.jpg", prepare=True)
    again = hook.upload(photos / "turned.jpg", prepare=True)
    assert (again.media_id, again.reused, again.receipt) == (first.media_id, True, first.receipt)
    assert drawn == ["turned.jpg"]
    assert number.sent("upload") == 1


def test_what_is_on_record_is_prepared_again_where_it_has_to_be_sent_again(hook, number, photos):
    first = hook.upload(photos / "turned.jpg", prepare=True)
    again = hook.upload(photos / "turned.jpg", prepare=True, reuse=False)
    assert again.sha256 == first.sha256
    assert again.media_id != first.media_id
    assert stored(hook, again.media_id) == stored(hook, first.media_id)


def test_a_picture_is_sent_as_it_is_and_prepared_under_two_ids(hook, photos):
    as_it_is, mended = hook.upload(photos / "turned.jpg"), hook.upload(photos / "turned.jpg", prepare=True)
    assert as_it_is.receipt is None
    assert as_it_is.media_id != mended.media_id
    assert hook.upload(photos / "turned.jpg").media_id == as_it_is.media_id


def test_a_file_that_cannot_be_mended_is_refused_and_nothing_is_sent(hook, number, photos):
    with pytest.raises(MediaRejectedError, match="type_not_accepted"):
        hook.upload(photos / "page.pdf", prepare=True)
    assert number.sent("upload") == 0


# --- a campaign ---------------------------------------------------------------------------------------------------


def plan(photos, **more):
    return Campaigns().plan("c", str(photos), ["number_a"], NEEDED, **({"max_reject_ratio": 1, "prepare": True} | more))


def test_a_campaign_is_planned_of_prepared_files_and_uploads_them(hook, number, photos, tmp_path):
    found = plan(photos)
    assert found["counts"] | {"bytes": 0} == {"items": 5, "rejected": 1, "prepared": 3, "ready": 0, "uploads": 4, "bytes": 0}
    assert len(list((tmp_path / "photos.prepared").glob("*.jpg"))) == 3
    assert Campaigns().upload("c", hook)["done"] == 4
    Campaigns().export("c", tmp_path / "ids.jsonl", require_complete=False)
    ids = {each["key"]: each["media_id"] for each in lines(tmp_path / "ids.jsonl") if each["media_id"]}
    assert ids.keys() == {"turned.jpg", "deep/logo.png", "located.jpg", "fine.jpg"}
    assert opened(stored(hook, ids["turned.jpg"])).size == (64, 96)
    assert opened(stored(hook, ids["deep/logo.png"])).format == "JPEG"
    assert number.emu.media(ids["deep/logo.png"]).file_name == "logo.jpg"  # and not that of the kept file
    assert b"Exif" not in stored(hook, ids["located.jpg"])


def test_a_plan_that_runs_again_reads_and_draws_nothing(hook, photos, drawn, monkeypatch):
    plan(photos)
    before = len(drawn)
    monkeypatch.setattr(module, "examine", lambda *_, **__: pytest.fail("a file was read"))
    (photos / "page.pdf").unlink()
    assert plan(photos)["counts"]["prepared"] == before == 3


def test_a_plan_prepares_again_what_is_gone(hook, photos, tmp_path, drawn):
    plan(photos)
    for path in (tmp_path / "photos.prepared").glob("turned*"):
        path.unlink()
    plan(photos)
    assert drawn.count("turned.jpg") == 2
    assert len(drawn) == 4


def test_a_dry_run_counts_the_same_and_keeps_nothing(hook, photos, tmp_path):
    found = plan(photos, dry_run=True)
    assert (found["counts"]["prepared"], found["counts"]["uploads"]) == (3, 4)
    assert not (tmp_path / "photos.prepared").exists()


def test_a_dry_run_fills_no_disk(photos):
    """What is prepared only to be counted is removed at once, not when all is done."""
    wanted = [Wanted(path.name, str(path)) for path in photos.glob("*.jpg")]
    with Preparer() as preparer, Judges("plan", source_at, threading.Event(), preparing=preparer) as judges:
        assert sum(each.verdict.receipt is not None for each in judges.judge(wanted)) == 2
        assert list(preparer._here.iterdir()) == []


def test_a_plan_with_and_one_without_preparation_do_not_mix(hook, photos):
    assert plan(photos)["counts"]["prepared"] == 3
    assert plan(photos, prepare=False)["counts"]["prepared"] == 0
    assert plan(photos)["counts"]["prepared"] == 3


def test_prepared_files_never_become_items(hook, photos):
    with pytest.raises(CallError, match="lies within source"):
        plan(photos, prepared_uri=photos / "ready")
    with pytest.raises(CallError, match="lies within source"):
        plan(photos, prepared_uri=photos)
    assert plan(photos, prepared_uri=f"{photos}-ready")["counts"]["items"] == 5


def test_a_list_needs_a_place_for_them(hook, photos, tmp_path):
    items = [{"key": "a", "uri": str(photos / "turned.jpg")}]
    with pytest.raises(CallError, match="needs prepared_uri"):
        Campaigns().plan("d", items, ["number_a"], NEEDED, prepare=True)
    found = Campaigns().plan("d", items, ["number_a"], NEEDED, prepare=True, prepared_uri=tmp_path / "ready")
    assert found["counts"]["prepared"] == 1


def test_a_whole_bucket_needs_a_place_elsewhere(hook, bucket):
    bucket.put("photos/turned.jpg", turned())
    whole = bucket.uri("").rstrip("/")
    with pytest.raises(CallError, match="needs prepared_uri"):
        Campaigns().plan("e", f"{whole}/", ["number_a"], NEEDED, prepare=True)
    with pytest.raises(CallError, match="lies within source"):
        Campaigns().plan("e", f"{whole}/", ["number_a"], NEEDED, prepare=True, prepared_uri=f"{whole}/ready")
    assert Campaigns().plan("e", f"{whole}/photos/", ["number_a"], NEEDED, prepare=True)["counts"]["prepared"] == 1


# --- on its own ---------------------------------------------------------------------------------------------------


def test_a_manifest_says_what_to_send(photos, tmp_path):
    found = Files().prepare(str(photos), tmp_path / "ready", max_reject_ratio=0.5)
    assert found["counts"] == {"items": 5, "prepared": 3, "unchanged": 1, "rejected": 1}
    assert found["manifest_uri"] == str(tmp_path / "ready" / "manifest.jsonl")
    manifest = {each["key"]: each for each in lines(found["manifest_uri"])}
    assert manifest.keys() == {"turned.jpg", "deep/logo.png", "located.jpg", "fine.jpg"}
    assert manifest["fine.jpg"] == {"key": "fine.jpg", "uri": str(photos / "fine.jpg")}
    assert manifest["deep/logo.png"]["filename"] == "logo.jpg"
    assert Path(manifest["deep/logo.png"]["uri"]).parent == tmp_path / "ready"
    receipts = {each["key"]: each for each in lines(found["receipts_uri"])}
    assert receipts.keys() == {"turned.jpg", "deep/logo.png", "located.jpg"}
    assert receipts["turned.jpg"]["source_uri"] == str(photos / "turned.jpg")
    assert receipts["turned.jpg"]["uri"] == manifest["turned.jpg"]["uri"]
    rejects = lines(found["rejects_uri"])
    assert [each["key"] for each in rejects] == ["page.pdf"]
    assert rejects[0]["problems"][0]["code"] == "type_not_accepted"


def test_the_manifest_can_be_planned(hook, photos, tmp_path):
    found = Files().prepare(str(photos), tmp_path / "ready", max_reject_ratio=1)
    planned = Campaigns().plan("f", found["manifest_uri"], ["number_a"], NEEDED)
    assert (planned["counts"]["items"], planned["counts"]["rejected"], planned["counts"]["uploads"]) == (4, 0, 4)


def test_what_a_manifest_says_of_an_item_is_kept(photos, tmp_path):
    rows = [
        {"key": "anna", "uri": "turned.jpg", "channel": "number_a", "subject": "4711", "mime_type": "image/jpeg"},
        {"key": "otto", "uri": "fine.jpg", "filename": "menu.jpg", "kind": "document"},
        {"uri": "fine.jpg"},
    ]
    (photos / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = Files().prepare(photos / "list.jsonl", tmp_path / "ready", manifest_uri=tmp_path / "m.jsonl", max_reject_ratio=0.5)
    anna, otto = lines(tmp_path / "m.jsonl")
    assert anna | {"uri": ""} == {"key": "anna", "uri": "", "channel": "number_a", "subject": "4711", "filename": "turned.jpg"}
    assert otto == {"key": "otto", "uri": str(photos / "fine.jpg"), "filename": "menu.jpg", "kind": "document"}
    assert [each["line"] for each in lines(found["rejects_uri"])] == [3]


def test_too_many_unfit_files_fail_after_all_is_written(photos, tmp_path):
    with pytest.raises(TooManyUnfitFilesError, match=r"1 of 5 files .*manifest\.jsonl\.rejects\.jsonl"):
        Files().prepare(str(photos), tmp_path / "ready")
    assert len(lines(tmp_path / "ready" / "manifest.jsonl")) == 4


def test_nothing_to_prepare_is_an_empty_manifest(tmp_path):
    (tmp_path / "none").mkdir()
    found = Files().prepare(str(tmp_path / "none"), tmp_path / "ready")
    assert found["counts"]["items"] == 0
    assert (found["receipts_uri"], found["rejects_uri"]) == (None, None)
    assert (tmp_path / "ready" / "manifest.jsonl").read_text() == ""


def test_a_destination_within_the_source_is_refused(photos):
    with pytest.raises(CallError, match="lies within source"):
        Files().prepare(str(photos), photos / "ready")
