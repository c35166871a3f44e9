"""What a hostile server, network or sender can do to the archive: nothing but the verified bytes ever has a final name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_360dialog.api import sockets
from airflow_provider_360dialog.exceptions import WaitError
from airflow_provider_360dialog.ports import Timeouts
from tests.jobs.inbound_doubles import HOUR_S, desk_of, id_of, jpeg, part_of
from tests.support.wire import answering, http


@pytest.fixture
def desk(number, tmp_path):
    yield from strict_desk(number, tmp_path, None)


@pytest.fixture
def hasty(number, tmp_path):
    """One that waits for no server for long; for those that never come to an end."""
    yield from strict_desk(number, tmp_path, Timeouts(1.0, 0.5, 1.5))


def strict_desk(number, tmp_path, timeouts):
    number.emu.configure(profile="strict")
    with desk_of(number, tmp_path, timeouts=timeouts) as desk:
        yield desk
        desk.check_never_blocked()


def check_nothing_stands(desk, outcome):
    """No file, no part, no probe; only the report, where there is one."""
    report = set() if outcome.report_uri is None else {os.path.relpath(outcome.report_uri, desk.place)}
    assert set(desk.files()) == report


def check_it_comes_later(desk, contents):
    """When the server behaves again."""
    desk.emu.disarm()
    desk.clock.advance(HOUR_S + 1)
    assert desk.archive(None).error is None
    assert sorted(content for name, content in desk.files().items() if "/lost/" not in name) == sorted(contents)


# --- downloads ----------------------------------------------------------------------------------------------------


FAULTS = [
    pytest.param("wrong_bytes", {}, id="other bytes of the same size"),
    pytest.param("wrong_size", {"delta_bytes": 1}, id="a byte too many"),
    pytest.param("wrong_size", {"delta_bytes": -1}, id="a byte too few"),
    pytest.param("wrong_size", {"delta_bytes": 10_000_000}, id="ten megabytes too many"),
    pytest.param("truncate", {}, id="a Content-Length that is too long"),
    pytest.param("truncate", {"keep_bytes": 0}, id="a Content-Length and no body"),
    pytest.param("endless", {}, id="a body without an end"),
    pytest.param("gzip_bomb", {"size_bytes": 10 << 30}, id="a bomb of 10 GB"),
    pytest.param("html", {"status": 200}, id="a page with 200"),
    pytest.param("html", {"status": 502}, id="a page with 502"),
    pytest.param("empty", {}, id="nothing with 200"),
    pytest.param("drop", {}, id="no answer"),
    pytest.param("reset", {}, id="a connection that is reset"),
    pytest.param("drip", {"bytes_per_s": 800.0}, id="a slow drip"),
    pytest.param("drip", {"bytes_per_s": 0.1}, id="a drip that stands still"),
]


@pytest.mark.parametrize("by", ["url", "id", "url without a hash"])
@pytest.mark.parametrize(("kind", "more"), FAULTS)
def test_a_download_that_is_not_the_file_leaves_nothing_behind(kind, more, by, hasty, monkeypatch):
    """No final name, no unfinished file; it is pending, and comes when the server behaves."""
    if by == "url without a hash" and kind == "wrong_bytes":
        pytest.skip("nothing tells them from the right ones")
    monkeypatch.setattr(sockets, "CRAWL_S", 0.4)
    content = jpeg(2000)
    webhook = hasty.receive(content, url=by != "id")
    if by == "url without a hash":
        part_of(webhook).pop("sha256")
        if kind == "wrong_size":
            more = {"delta_bytes": 101 * 1024 * 1024}
    hasty.number.arm(kind, operation="download", times="always", **more)
    outcome = hasty.archive(hasty.land("a.json", webhook))
    assert outcome.error is None or isinstance(outcome.error, WaitError)
    assert [row["state"] for row in hasty.rows()] == ["pending"]
    assert set(outcome.counts.lost) <= {"corrupt"}
    assert hasty.leases() == []
    check_nothing_stands(hasty, outcome)
    check_it_comes_later(hasty, [content])


@pytest.mark.parametrize("delta_bytes", [1, -1])
def test_where_nobody_says_a_hash_the_size_has_to_be_right(delta_bytes, hasty):
    """That of the id's own answer."""
    content = jpeg(2000)
    hasty.number.arm("omit_field", operation="fetch", times="always", field="sha256")
    hasty.number.arm("wrong_size", operation="download", times="always", delta_bytes=delta_bytes)
    webhook = hasty.receive(content, url=False)
    part_of(webhook).pop("sha256")
    outcome = hasty.archive(hasty.land("a.json", webhook))
    assert outcome.counts.lost == {"corrupt": 1}
    check_nothing_stands(hasty, outcome)
    check_it_comes_later(hasty, [content])


LIES = {
    "a Content-Length that is too short": lambda content: http(body=content, Content_Length=str(len(content) - 7)),
    "a Content-Length that is too long": lambda content: http(body=content, Content_Length=str(len(content) + 7)),
    "a Content-Length that is no number": lambda content: http(body=content[:-1], Content_Length="many"),
    "a Content-Length below nothing": lambda content: http(body=content[:-1], Content_Length="-1"),
    "two Content-Lengths": lambda content: http(body=content[:-9], Content_Length=f"{len(content)}\r\nContent-Length: 3"),
    "chunks that are none": lambda content: http(body=content, Content_Length="\r\nTransfer-Encoding: chunked"),
    "a part": lambda content: http("206 Partial Content", content[:100]),
    "a part that says it is all": lambda content: http(body=content[:100]),
    "bytes that are said to be packed": lambda content: http(body=content, Content_Encoding="gzip"),
    "an encoding that nobody knows": lambda content: http(body=content, Content_Encoding="br"),
    "no content": lambda content: http("204 No Content"),
    "no HTTP": lambda content: content,
    "a status without meaning": lambda content: http("299 Fine", content[:-1]),
    "a redirect to a stranger": lambda content: http("302 Found", content, Location="https://evil.example/whatsapp_business/"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_host_that_lies_in_its_headers_leaves_nothing_behind(lie, hasty):
    """By the URL and then by the id, for it gives the same to both."""
    content = jpeg(2000)
    webhook = hasty.receive(content)
    with answering(LIES[lie](content)) as listener:
        outcome = hasty.archive(hasty.land("a.json", webhook), calls=hasty.calls_of(base_url=listener.base_url))
        assert listener.received
    assert [row["state"] for row in hasty.rows()] == ["pending"]
    check_nothing_stands(hasty, outcome)
    check_it_comes_later(hasty, [content])


def test_one_hostile_file_among_good_ones_takes_nothing_from_them(hasty):
    """They are archived in the same run."""
    contents = [jpeg() for _ in range(6)]
    bad, *good = [hasty.receive(each, url=False) for each in contents]
    hasty.number.arm("wrong_bytes", operation="download", times="always", media_id=id_of(bad))
    outcome = hasty.archive(hasty.land("a.jsonl", bad, *good))
    assert hasty.archived_ids() <= {id_of(each) for each in good}
    if outcome.error is None:
        assert outcome.counts.archived + outcome.standing.pending == 6
    check_it_comes_later(hasty, contents)


MEMORY = """
import json, re, sys
from pathlib import Path
from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.hooks.folders import folder_at
from airflow_provider_360dialog.hooks.inbound import _file, webhook_files
from airflow_provider_360dialog.jobs.archive import Archiver
from airflow_provider_360dialog.jobs.calls import Calls
from airflow_provider_360dialog.jobs.intake import Finder, take_in
from airflow_provider_360dialog.ports import Channel, Timeouts
from tests.support.ledger import channel_of, open_store

folder, base_url, number, key, good, bad = sys.argv[1:]
calls = Calls(MediaApi(Channel(api_key=key, base_url=base_url, timeouts=Timeouts(5.0, 5.0, 60.0))),
              channel_of(open_store(Path(folder)), number, api_key=key))

def peak_kib():  # getrusage would begin with the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def archive(source):
    run = calls.ledger.intake.begin(task=None)
    take_in(webhook_files(source, {}), run=run, calls=calls)
    Archiver(lambda call: call(calls), folder_at(folder + "/archive"), Finder(_file), calls.stop).archive(run, calls)
    return calls.ledger.inbound.counts(run)

assert archive(good).archived == 1
before = peak_kib()
counts = archive(bad)
files = [str(path) for path in Path(folder, "archive").rglob("*") if path.is_file()]
print(json.dumps({"grown_kib": peak_kib() - before, "archived": counts.archived, "files": len(files)}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the peak of one process")
@pytest.mark.parametrize("by", ["url", "id"])
@pytest.mark.parametrize(
    ("kind", "more"),
    [("gzip_bomb", {"size_bytes": 10 << 30}), ("endless", {}), ("wrong_size", {"delta_bytes": 100 * 1024 * 1024})],
)
def test_a_bomb_and_a_body_without_an_end_cost_no_memory(kind, more, by, desk, checkout, tmp_path):
    """Under 32 MB more than an ordinary file; nothing is archived."""
    good, bad = desk.receive(jpeg(4_000_000)), desk.receive(url=by == "url")
    desk.number.arm(kind, operation="download", times="always", media_id=id_of(bad), **more)
    (tmp_path / "of_the_child").mkdir()
    paths = [str(desk.land(name, webhook)) for name, webhook in (("good.json", good), ("bad.json", bad))]
    number = desk.number
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "of_the_child"), number.base_url, number.number_id, number.key, *paths],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(checkout)])},
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["archived"], told["files"]) == (0, 1)
    assert told["grown_kib"] < 32 * 1024, told


# --- senders ------------------------------------------------------------------------------------------------------


NAMES = {
    "up and away": "../../../../etc/cron.d/x",
    "absolute": "/etc/passwd",
    "a NUL": "photo.jpg\0.exe",
    "right to left": "photo\u202egpj.exe",
    "10 kB": "a" * 10_240,
    "a device": "CON",
    "a line": "a\nb.pdf",
    "a drive": "C:\\Windows\\x.dll",
    "only dots": "..",
    "a stream": "x.pdf:$DATA",
    "a surrogate": "\ud800.pdf",
    "an extension of a program": "invoice.pdf.exe",
    "nothing": "",
}
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_senders_file_name_is_in_no_path(name, desk, caplog):
    """Nor outside of the folder, nor in a log line; in the metadata it is escaped."""
    before = {path for path in desk.path.rglob("*") if desk.place not in path.parents}
    webhook = desk.receive(PDF, "application/pdf", file_name="x", caption=NAMES[name])
    part_of(webhook)["filename"] = NAMES[name]
    outcome = desk.archive(desk.land("a.json", webhook), write_metadata=True)
    assert outcome.counts.archived == 1
    number, media_id = desk.number.number_id, id_of(webhook)
    for path in desk.files():
        assert re.fullmatch(rf"{number}/\d{{4}}/\d\d/\d\d/{media_id}-[0-9a-f]{{8}}\.pdf(\.json)?", path)
    after = {path for path in desk.path.rglob("*") if desk.place not in path.parents} - {desk.place}
    assert {path.name for path in after - before} <= {"a.json", "ledger.db-wal", "ledger.db-shm"}
    if len(NAMES[name]) > 3:
        assert NAMES[name] not in caplog.text
    [text] = [content.decode("ascii") for path, content in desk.files().items() if path.endswith(".json")]
    shown = json.loads(text)["file_name"]
    assert shown is None or (len(shown) <= 255 and shown.isprintable())


@pytest.mark.parametrize(
    "media_id", ["../../x", "1/../../x", "1\n", "1?x=y", "%2e%2e", "", " 1", "1" * 33, "٣٤", {"a": 1}, [1], True, None, 1.5]
)
def test_a_forged_media_id_is_never_asked_for(media_id, desk):
    """It would be part of a path, of the request and of the archive."""
    webhook = desk.forge()
    part_of(webhook)["id"] = media_id
    outcome = desk.archive(desk.land("a.json", webhook))
    assert outcome.counts.lost == {"no_id": 1}
    assert desk.sent() == (0, 0)
    check_nothing_stands(desk, outcome)


@pytest.mark.parametrize("number_id", ["../../x", "1/2", "", "1\n2", "x" * 100])
def test_a_forged_number_is_nobodys(number_id, desk):
    """It would be the first part of the path."""
    webhook = desk.forge()
    webhook["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] = number_id
    outcome = desk.archive(desk.land("a.json", webhook))
    assert desk.rows() == []
    assert desk.sent() == (0, 0)
    check_nothing_stands(desk, outcome)


@pytest.mark.parametrize("timestamp", ["99999999999", "-1", "0", "1e400", "4102444799", "x" * 100, None, 10**40])
def test_a_forged_time_makes_no_path_and_no_eternal_life(timestamp, desk):
    """A time ahead of the clock counts as now; none, or one that cannot be, too."""
    webhook = desk.receive(url=False)
    message = webhook["entry"][0]["changes"][0]["value"]["messages"][0]
    message["timestamp"] = timestamp
    assert desk.archive(desk.land("a.json", webhook)).counts.archived == 1
    [name] = desk.files()
    assert re.fullmatch(rf"\d+/{desk.now():%Y/%m}/\d\d/\d+-[0-9a-f]{{8}}\.jpg", name)
    assert desk.rows()[0]["received_at"] <= desk.emu.state.now_s()


CONTENTS = {
    "a page": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "a page after blanks": b"\n\n   <html><body onload=x></body></html>",
    "a drawing with a script": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
    "a bare drawing": b'<svg xmlns="http://www.w3.org/2000/svg" onload="x"></svg>',
    "a Windows program": b"MZ\x90\x00" + bytes(200) + b"PE\0\0" + bytes(100),
    "a Linux program": b"\x7fELF\x02\x01\x01" + bytes(200),
    "an archive": b"Rar!\x1a\x07\x01\x00" + bytes(100),
    "a database": b"SQLite format 3\x00" + bytes(100),
    "noise": bytes(range(128, 256)) * 4,
}


@pytest.mark.parametrize("announced", ["image/jpeg", "text/plain", "text/html", "image/svg+xml"])
@pytest.mark.parametrize("by", ["url", "id"])
@pytest.mark.parametrize("content", CONTENTS)
def test_content_that_could_harm_is_refused_though_its_hash_is_right(content, by, announced, desk):
    """Whoever opens the archive in a browser must not run it (T14); it is told as lost, and nothing is stored."""
    webhook = desk.receive(CONTENTS[content], "image/jpeg", url=by == "url")
    part_of(webhook)["mime_type"] = announced
    outcome = desk.archive(desk.land("a.json", webhook))
    assert outcome.counts.lost == {"refused_type": 1}
    assert [(row["state"], row["reason"], row["uri"]) for row in desk.rows()] == [("lost", "refused_type", None)]
    assert desk.sent() == ((0, 1) if by == "url" else (1, 1))
    assert desk.calls.ledger.ration.credits_left() == 4
    assert [line["is_final"] for line in desk.report(outcome)] == [True]
    check_nothing_stands(desk, outcome)


def test_a_file_above_every_limit_is_lost_before_it_is_downloaded(desk):
    """By what 360dialog says of its size."""
    desk.number.arm("wrong_size", operation="fetch", times="always", delta_bytes=200 * 1024 * 1024)
    outcome = desk.archive(desk.land("a.json", desk.receive(url=False)))
    assert outcome.counts.lost == {"too_large": 1}
    assert desk.sent() == (1, 0)
    check_nothing_stands(desk, outcome)


def test_a_picture_that_would_unpack_to_a_huge_one_is_stored_as_it_came(desk):
    """Nothing is decoded here: 50,000 by 50,000 points in a few bytes."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    assert desk.archive(desk.land("a.json", desk.receive(png, "image/png"))).counts.archived == 1
    assert list(desk.files().values()) == [png]


# --- the folder ---------------------------------------------------------------------------------------------------


def test_a_link_that_leads_out_of_the_folder_is_not_followed(desk):
    """Whoever can make one in the archive could otherwise have files written elsewhere."""
    outside = desk.path / "outside"
    outside.mkdir()
    desk.place.mkdir()
    (desk.place / desk.number.number_id).symlink_to(outside)
    outcome = desk.archive(desk.land("a.json", desk.receive()))
    assert "symbolic link" in str(outcome.error)
    assert list(outside.iterdir()) == []
    assert [row["state"] for row in desk.rows()] == ["pending"]
