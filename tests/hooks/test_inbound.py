"""The archive through the real hook: connection, places and payloads in, a small result out; S3 as a destination."""

from __future__ import annotations

import json
import logging
import re
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_360dialog.exceptions import (
    CallError,
    ChannelClosedError,
    DestinationError,
    InboundLostError,
    KeyRefusedError,
    SourceUnreadableError,
    StorageFailedError,
)
from airflow_provider_360dialog.hooks import ledger as hooks_ledger
from airflow_provider_360dialog.hooks.inbound import _parts, _value, webhook_files
from airflow_provider_360dialog.ledger.store import Store
from tests.jobs.doubles import Patient
from tests.jobs.inbound_doubles import HOUR_S, BothClocks, id_of, jpeg, message_of, part_of, tree, without

COUNTS = ["taken_in", "archived", "bytes", "lost", "pending", "suspects", "not_deleted"]
KEYS = ["counts", "lost", "lost_uri", "oldest_pending_s", "budget_left", "webhooks"]


@pytest.fixture
def clock(number, own_ledger, monkeypatch):
    """The ledger's clock and the emulator's, moved together."""
    clock = BothClocks(own_ledger.parent, number.emu)
    url = f"sqlite:///{own_ledger}"
    monkeypatch.setitem(hooks_ledger._stores, url, Store(url, now_sql=clock.now_sql))
    return clock


@pytest.fixture
def archive(hook, clock, number, tmp_path):
    """`hook.archive_inbound` into a folder of this machine; strict, and never blocked. Waiting costs no time."""
    number.emu.configure(profile="strict")
    hook._session.stop = Patient(clock)
    yield lambda source, destination=tmp_path / "archive", **more: hook.archive_inbound(source, destination, **more)
    assert number.emu.counters(number.number_id)["blocks"] == 0


@pytest.fixture
def receive(number):
    """A customer sends a file; its webhook."""

    def receive(content=None, mime_type="image/jpeg", *, url=True):
        content = jpeg() if content is None else content
        return number.emu.inject_webhook_media(content, mime_type=mime_type, number=number.number_id, with_url=url)

    return receive


@pytest.fixture
def land(tmp_path):
    """Webhooks as JSON Lines in a folder; the file."""

    def land(*webhooks, name="a.jsonl"):
        path = tmp_path / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(each) + "\n" for each in webhooks))
        return path

    return land


def files(tmp_path):
    return tree(tmp_path / "archive")


# --- the result ---------------------------------------------------------------------------------------------------


def test_the_result_has_the_keys_that_are_documented(archive, receive, land, tmp_path):
    """And can be stored as JSON."""
    content = jpeg()
    lost = without(receive(), "id")
    result = archive(land(receive(content), lost))
    assert list(result) == KEYS
    assert list(result["counts"]) == COUNTS
    assert result["counts"] == dict(zip(COUNTS, [2, 1, len(content), 1, 0, 0, 0], strict=True))
    assert (result["lost"], result["oldest_pending_s"], result["budget_left"]) == ({"no_id": 1}, None, 4)
    assert result["webhooks"] == {"sources": 1, "read": 1, "new": 2}
    assert Path(result["lost_uri"]).is_file()
    assert json.loads(json.dumps(result)) == result
    assert content in files(tmp_path).values()


def test_the_result_stays_small_however_much_was_done(archive, receive, land, number):
    """1,000 files, of which most are lost: under 4 kB, without a name, a number, or a URL."""
    text = json.dumps(without(receive(), "id"))
    lost = [json.loads(text.replace(message_of(json.loads(text))["id"], f"wamid.{n}")) for n in range(960)]
    webhooks = [receive() for _ in range(40)]
    result = archive(land(*lost, *webhooks), write_metadata=True)
    assert (result["counts"]["taken_in"], result["counts"]["archived"], result["lost"]) == (1000, 40, {"no_id": 960})
    told = json.dumps(result)
    assert len(told) < 4096
    assert part_of(webhooks[0])["url"] not in told
    assert id_of(webhooks[0]) not in told
    assert message_of(webhooks[0])["from"] not in told


def test_what_is_pending_is_told_with_its_age(archive, receive, land, number, clock):
    """And the budget that is left."""
    number.arm("error", operation="fetch", times="always", status=500)
    path = land(receive(url=False))
    clock.advance(600)
    result = archive(path)
    assert (result["counts"]["pending"], result["counts"]["lost"], result["budget_left"]) == (1, 0, 2)
    assert 600 <= result["oldest_pending_s"] < 700


def test_nothing_to_do_is_a_result_too(archive, number):
    """No request but the one that asks whose key it is."""
    result = archive(None)
    assert result["counts"] == dict.fromkeys(COUNTS, 0)
    assert (result["lost"], result["lost_uri"], result["webhooks"]) == ({}, None, {})
    assert number.sent("fetch") == number.sent("download") == 0


def test_a_copy_that_could_not_be_deleted_is_counted(archive, receive, land, number):
    """The task succeeds all the same."""
    number.arm("error", operation="delete", times="always", status=500)
    result = archive(land(receive(), receive()), delete_after_archive=True)
    assert (result["counts"]["archived"], result["counts"]["not_deleted"]) == (2, 2)


# --- losses and faults --------------------------------------------------------------------------------------------


def test_on_lost_fail_fails_after_all_the_rest_is_done(archive, receive, land, tmp_path):
    """It names the reasons and the report; what could be had is archived, and the report is written."""
    contents = [jpeg(), jpeg()]
    path = land(without(receive(), "id"), *map(receive, contents))
    with pytest.raises(InboundLostError) as caught:
        archive(path, on_lost="fail")
    assert caught.value.lost == {"no_id": 1}
    assert not caught.value.retryable
    assert sorted(content for name, content in files(tmp_path).items() if name.endswith(".jpg")) == sorted(contents)
    assert json.loads(Path(caught.value.report_uri).read_text())["reason"] == "no_id"
    assert archive(path, on_lost="fail")["lost"] == {}


def test_a_source_that_cannot_be_read_fails_after_all_the_rest_is_done(archive, receive, land, tmp_path):
    """Its own error, which names it."""
    path = land(receive())
    (path.parent / "b.json.gz").write_bytes(b"nothing")
    with pytest.raises(SourceUnreadableError, match=r"b\.json\.gz"):
        archive(path.parent)
    assert len(files(tmp_path)) == 1


def test_a_number_that_is_closed_says_until_when(*, archive, receive, land, number, clock, monkeypatch):
    """What `as_airflow_sees_it` turns into a wait; after it, the same call goes on."""
    monkeypatch.setattr("airflow_provider_360dialog.jobs.archive._HANDS", 1)  # else the last failure and the good one race
    webhook = receive(url=False)
    clock.advance(60)
    for batch in range(4):
        forged = receive(url=False)
        part_of(forged)["id"] = f"99000000000{batch}"
        land(forged, name=f"{batch}/forged.jsonl")  # each judged alone
    path = land(webhook)
    with pytest.raises(ChannelClosedError) as caught:
        archive(path.parent)
    assert number.sent("fetch") == 4
    clock.advance((caught.value.retry_at.timestamp() - number.emu.state.now_s()) + 1)
    assert archive(None)["counts"]["archived"] == 1


# --- the connection -----------------------------------------------------------------------------------------------


def test_a_key_that_is_replaced_in_between_is_used(archive, receive, land, number, connect):
    """The connection is read once more; nothing is lost, and nothing is asked twice under the new key."""
    land(*[receive(url=False) for _ in range(6)])
    path = land(*[receive(url=False) for _ in range(3)], name="b.jsonl")
    archive(path)
    old = number.key
    number.rotate_key()
    assert number.key != old
    connect(number.base_url, number.key)
    result = archive(path.parent)
    assert (result["counts"]["archived"], result["counts"]["pending"]) == (6, 0)
    assert result["budget_left"] >= 1


def test_a_key_that_is_not_replaced_stops_the_run(archive, receive, land, number):
    """Every row is pending; as many requests failed as were under way."""
    path = land(receive(url=False))
    archive(path)
    land(*[receive(url=False) for _ in range(6)], name="b.jsonl")
    number.rotate_key()
    with pytest.raises(KeyRefusedError):
        archive(path.parent)
    assert number.sent("fetch") - 1 <= 3


@pytest.mark.parametrize("place", ["https://evil.example/x", "", "s3://", "bogus://bucket/x", "s3://user:pass@bucket/x"])
def test_a_destination_that_is_no_folder_is_refused_before_anything_is_done(place, archive, receive, land, number):
    """No webhook is read, nothing is asked."""
    with pytest.raises(DestinationError):
        archive(land(receive()), place)
    assert number.sent("health") == number.sent("download") == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"on_lost": "explode"}, "on_lost is 'report' or 'fail'"),
        ({"on_lost": None}, "on_lost is 'report' or 'fail'"),
        ({"webhook_url_life": 300}, "webhook_url_life is a timedelta"),
        ({"webhook_url_life": "PT5M"}, "webhook_url_life is a timedelta"),
        ({"also_accept": "image/heic"}, "also_accept is a list"),
        ({"also_accept": ["text/nothing"]}, "text/nothing"),
        ({"also_accept": ["application/zip", "text/html"]}, "text/html"),
    ],
)
def test_an_argument_that_is_wrong_is_named_before_anything_is_done(more, words, archive, receive, land, number):
    """With what it should be."""
    with pytest.raises(CallError, match=words):
        archive(land(receive()), **more)
    assert number.sent("health") == number.sent("download") == 0


def test_a_url_life_is_handed_on(archive, receive, land, number, clock):
    """From its message on, for a URL that does not say when it ends."""
    webhook = receive()
    part = part_of(webhook)
    ends_at = part["url"].partition("ext=")[2].partition("&")[0]
    part["url"] = part["url"].replace(f"ext={ends_at}", "")
    clock.advance(30)
    archive(land(webhook), webhook_url_life=timedelta(seconds=20))
    assert (number.sent("fetch"), number.sent("download")) == (1, 1)


# --- payloads -----------------------------------------------------------------------------------------------------


def test_a_payload_is_archived_by_id_and_told_with_one_warning(archive, receive, number, tmp_path, caplog):
    """Its URL has gone through Airflow's database."""
    content = jpeg()
    with caplog.at_level(logging.WARNING):
        result = archive(receive(content))
    assert result["webhooks"] == {"sources": 1, "read": 1, "new": 1, "urls_dropped": 1}
    assert (number.sent("fetch"), number.sent("download")) == (1, 1)
    assert list(files(tmp_path).values()) == [content]
    assert len([each for each in caplog.records if "Airflow's own database" in each.getMessage()]) == 1


# --- webhook_files, _parts, _value --------------------------------------------------------------------------------


WEBHOOK = {"entry": []}


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (None, []),
        ("", []),
        ("  \n", []),
        ([], []),
        ("[]", []),
        ("s3://bucket/in/", ["s3://bucket/in/"]),
        (Path("/a"), [Path("/a")]),
        (["/a", ["/b", ("/c",)]], ["/a", "/b", "/c"]),
        (iter(["/a", "/b"]), ["/a", "/b"]),
        ('["/a", "/b"]', ["/a", "/b"]),
        ("['/a', None]", ["/a"]),
        (WEBHOOK, [WEBHOOK]),
        (json.dumps(WEBHOOK), [WEBHOOK]),
        (repr(WEBHOOK), [WEBHOOK]),
        ({"uri": "/a"}, ["/a"]),
        ({"uri": "/a", "size": 3}, ["/a"]),
        ({"uri": "/a", "entry": []}, [{"uri": "/a", "entry": []}]),
        ({"uri": "/a", "messages": []}, [{"uri": "/a", "messages": []}]),
        ({"uri": 3}, [{"uri": 3}]),
        ([{"uri": "/a"}, WEBHOOK, "/b"], ["/a", WEBHOOK, "/b"]),
        ([json.dumps({"uri": "/a"}), repr([WEBHOOK])], ["/a", WEBHOOK]),
    ],
)
def test_the_parts_of_a_source(source, parts):
    """Places and payloads, one after the other, whatever they are wrapped in."""
    assert list(_parts(source)) == parts


def test_an_object_storage_path_is_a_place():
    """And no iterable of its parts."""
    path = ObjectStoragePath("file:///a/b")
    assert list(_parts(path)) == [path]


@pytest.mark.parametrize(
    "source", [3, 1.5, True, b"bytes", bytearray(b"x"), object(), [3], ["", b"x"], "[1, 2]", "{1: [2], 'x'}"]
)
def test_what_is_no_source_is_an_error_of_the_caller(source):
    """It says what a source is."""
    with pytest.raises(CallError, match="source"):
        list(webhook_files(source, {}))


@pytest.mark.parametrize(
    "text",
    [
        "{broken",
        "[1, 2",
        "{{ dag_run.conf }}",
        "{'a': open('/etc/passwd')}",
        "[__import__('os').system('true')]",
        "{'a': " * 3000,
        "[" * 100_000,
        "{" + "9" * 6000 + "}",
        "{\0}",
    ],
)
def test_text_that_only_looks_like_a_payload_names_the_remedy(text):
    """A template without `tojson`, mostly. Nothing of it is run."""
    with pytest.raises(CallError, match=r"tojson"):
        _value(text)


@pytest.mark.parametrize("text", ["{{'entry': []}}", "{['a']: 1}", "[{{}}]"])
def test_text_of_a_set_that_cannot_be_one_names_the_remedy(text):
    """Doubled braces of a template that was not rendered are the likeliest mistake of all."""
    with pytest.raises(CallError, match=r"tojson"):
        _value(text)


def test_text_that_is_far_too_long_is_not_even_tried(monkeypatch):
    """A payload has three megabytes at most."""
    monkeypatch.setattr("airflow_provider_360dialog.hooks.inbound._TEXT_MAX_CHARS", 10)
    with pytest.raises(CallError, match="tojson"):
        _value(json.dumps({"entry": [1, 2, 3]}))


@pytest.mark.parametrize("key", [("a", "b"), b"x"])
def test_a_payload_with_a_key_that_json_cannot_have_is_an_error_of_the_caller(key):
    """Or is taken in without it; but no error without words."""
    try:
        list(webhook_files({key: 1, "entry": []}, {}))
    except CallError:
        return


def test_a_place_that_is_no_place_is_an_error_of_the_caller(archive):
    """Whatever looked like one."""
    with pytest.raises((CallError, SourceUnreadableError)):
        archive("https://evil.example/webhooks.jsonl")


def objects(bucket):
    """All but the report."""
    return list(filter(re.compile("(?!.*/lost/)").match, bucket.keys()))


# --- S3 -----------------------------------------------------------------------------------------------------------


def test_an_s3_prefix_gets_the_same_names_and_bytes(archive, receive, number, bucket):
    """Webhooks from S3, files to S3; the connection id stays in what is put on record, so that it can be opened again."""
    contents = [jpeg() for _ in range(3)]
    webhooks = [receive(each) for each in contents]
    source = bucket.put("landing/a.jsonl", "".join(json.dumps(each) + "\n" for each in webhooks).encode())
    result = archive(source, bucket.uri("archive/"), write_metadata=True)
    assert result["counts"]["archived"] == 3
    assert (number.sent("fetch"), number.sent("download")) == (0, 3)
    keys = sorted(filter(re.compile("archive/").match, bucket.keys()))
    assert len(keys) == 6
    assert sorted(bucket.read(key) for key in keys if key.endswith(".jpg")) == sorted(contents)
    said = json.loads(bucket.read(next(key for key in keys if key.endswith(".json"))))
    assert said["uri"].startswith(f"s3://store@{bucket.name}/archive/{number.number_id}/")
    assert bucket.unfinished() == []
    again = archive(bucket.uri("landing/"), bucket.uri("archive/"))
    assert again["webhooks"] == {"sources": 1}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("wrong_bytes", {}),
        ("wrong_size", {"delta_bytes": 1}),
        ("truncate", {}),
        ("endless", {}),
        ("html", {"status": 200}),
        ("empty", {}),
        ("drop", {}),
        ("error", {"status": 404, "text": "Media not found"}),
        ("error", {"status": 500}),
    ],
)
@pytest.mark.parametrize("url", [True, False])
def test_a_download_that_is_not_the_file_leaves_no_object(*, kind, more, url, archive, receive, land, number, bucket):
    """An object store commits on close; so nothing is opened there before the bytes are verified."""
    number.arm(kind, operation="download", times="always", **more)
    path = land(receive(url=url))
    try:
        result = archive(path, bucket.uri("archive/"))
    except ChannelClosedError:
        result = {"counts": {"archived": 0}}
    assert result["counts"]["archived"] == 0
    assert objects(bucket) == []
    assert bucket.unfinished() == []


def test_content_that_could_harm_leaves_no_object(archive, receive, land, bucket):
    """Also not in a bucket that a browser may read."""
    result = archive(land(receive(b"<svg onload=x></svg>"), receive(b"MZ\x90\x00" + bytes(300))), bucket.uri("archive/"))
    assert result["lost"] == {"refused_type": 2}
    assert objects(bucket) == []


def test_a_bucket_that_is_not_there_is_found_out_before_any_request(archive, receive, land, number, bucket, clock):
    """Nothing is asked for what could not be stored (F72); when it is there, it goes on."""
    path = land(receive(url=False))
    with pytest.raises((DestinationError, StorageFailedError)):
        archive(path, "s3://store@no-such-bucket/archive/")
    assert number.sent("fetch") == 0
    assert archive(None, bucket.uri("archive/"))["counts"]["archived"] == 1


def test_a_second_task_goes_on_where_the_hour_has_passed(archive, receive, land, number, clock, tmp_path):
    """A file that failed rests for an hour; then any run brings it."""
    number.arm("wrong_bytes", operation="download", times=2)
    assert archive(land(receive(url=False)))["lost"] == {"corrupt": 1}
    clock.advance(HOUR_S + 1)
    assert archive(None)["counts"]["archived"] == 1
