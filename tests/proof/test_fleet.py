"""The proof of a whole fleet at small size, and its own guards; `scripts/proof fleet` runs it for 15 minutes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from benchmarks import support
from benchmarks.fleet import books
from benchmarks.fleet.books import FileKey, Given, Kept
from benchmarks.fleet.leaks import Leaks
from benchmarks.fleet.report import in_words
from benchmarks.fleet.services import REDIS_MISSING

FILE, OTHER = FileKey("1", "aa" * 32), FileKey("1", "bb" * 32)
SMOKE = ["--minutes=0.8", "--files=400", "--gap-s=4", "--away-s=5", "--inbound=8", "--large-mb=16", "--refused=0.02"]
_ENDS_WITHIN_S = 900  # about three minutes; more on a machine that does other things


def needed(is_there, missing, what):
    """Skip where a program is not there; in CI it has to be."""
    if not is_there:
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(f"CI must test {what}, and there is {missing}")
        pytest.skip(f"THE FLEET IS NOT TESTED: {missing}")


@pytest.mark.system
def test_a_fleet_that_is_killed_all_over_loses_doubles_and_blocks_nothing():
    """P1 to P9, on CeleryExecutor, PostgreSQL and Redis; a busy machine's late uploads may be refused a little more often."""
    from tests.support.postgres import MISSING

    needed(support.has_postgres(), MISSING, "a fleet")
    if os.environ.get("D360_FLEET") != "1":
        pytest.skip(
            "THE FLEET IS NOT TESTED: it takes five minutes; set D360_FLEET=1, or run scripts/proof fleet fleet:minutes=3"
        )
    needed(shutil.which("redis-server"), REDIS_MISSING, "a fleet")
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fleet", *SMOKE], cwd=support.CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    try:
        line, _ = process.communicate(timeout=_ENDS_WITHIN_S)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(180)
    assert line, "the proof ended without a word; its last ones stand in the output above"
    found = json.loads(line)
    assert found["holds"], found


def given(*uploads, deleted=()):
    """The emulator's books: (file, media id) in order."""
    of_file: dict = {}
    for key, media_id in uploads:
        of_file.setdefault(key, []).append(media_id)
    return Given(of_file, {media_id: key for key, media_id in uploads}, set(deleted))


def kept(pointed_at, *, possible=0, **by_state):
    found = Kept(pointed_at=pointed_at, orphan_possible=possible)
    for state, ids in by_state.items():
        found.by_state[state] = ids
    return found


RIGHT = kept("11", current=["11"])


@pytest.mark.parametrize(
    ("books_of_360dialog", "ledger", "lost", "doubled", "unknown"),
    [
        pytest.param(given((FILE, "11")), {FILE: RIGHT}, 0, 0, 0, id="one upload, one current id"),
        pytest.param(given(), {}, 1, 0, 0, id="the ledger knows nothing of a file that is needed"),
        pytest.param(given((FILE, "11")), {FILE: kept(None)}, 1, 1, 0, id="no id answers, and an upload is not counted"),
        pytest.param(given((FILE, "11"), deleted={"11"}), {FILE: RIGHT}, 1, 0, 0, id="the id that answers was deleted"),
        pytest.param(given((OTHER, "11")), {FILE: RIGHT}, 1, 1, 1, id="the id that answers means another file"),
        pytest.param(given(), {FILE: RIGHT}, 1, 0, 1, id="the id was never given"),
        pytest.param(given((FILE, "10"), (FILE, "11")), {FILE: RIGHT}, 0, 1, 0, id="an upload that nobody has on record"),
        pytest.param(
            given((FILE, "10"), (FILE, "11")), {FILE: kept("11", current=["11"], possible=1)}, 0, 0, 0, id="it was counted"
        ),
        pytest.param(given((FILE, "10"), (FILE, "11")), {FILE: kept("11", current=["10", "11"])}, 0, 1, 0, id="two current ids"),
        pytest.param(
            given((FILE, "10"), (FILE, "11")),
            {FILE: kept("11", current=["11"], retiring=["10"])},
            0,
            1,
            0,
            id="replaced without need",
        ),
        pytest.param(
            given((FILE, "10"), (FILE, "11")), {FILE: kept("11", current=["11"], surplus=["10"])}, 0, 0, 0, id="surplus on record"
        ),
    ],
)
def test_the_books_find_what_is_lost_and_what_is_doubled(books_of_360dialog, ledger, lost, doubled, unknown):
    found = books.judge_uploads(books_of_360dialog, ledger, {FILE}, renewable=set())
    assert (len(found.lost), len(found.doubled), len(found.unknown_ids)) == (lost, doubled, unknown), found
    assert found.again == len(books_of_360dialog.uploads.get(FILE, [0])) - 1


def test_a_renewed_id_is_not_doubled():
    renewed = {FILE: kept("11", current=["11"], retiring=["10"])}
    found = books.judge_uploads(given((FILE, "10"), (FILE, "11")), renewed, {FILE}, renewable={FILE})
    assert (found.doubled, found.renewed, found.again) == ([], 1, 0)


def test_a_delete_is_needless_where_a_campaign_has_needed_the_file_all_the_time():
    renewed = {FILE: kept("11", current=["11"], deleted=["10"]), OTHER: kept(None, deleted=["20"])}
    told = given((FILE, "10"), (FILE, "11"), (OTHER, "20"), deleted={"10", "20"})
    assert books.needless_deletes(told, renewed, {FILE, OTHER}) == ["20"]
    assert books.needless_deletes(told, renewed, {FILE}) == []


def test_the_journal_tells_uploads_and_deletes_but_not_what_customers_sent():
    def media(media_id, origin):
        return {"event": "media", "media_id": media_id, "number_id": "1", "sha256_hex": FILE.sha256, "origin": origin}

    events = [{"event": "clock"}, media("11", "uploaded"), media("12", "received"), {"event": "deleted", "media_id": "11"}]
    assert books.read_journal([*events, {"event": "deleted", "media_id": "12"}]) == given((FILE, "11"), deleted={"11"})


@pytest.mark.parametrize(
    ("instants", "over"),
    [
        pytest.param([index / 24.99 for index in range(100)], 0, id="just below 25 a second"),
        pytest.param([index / 25.6 for index in range(26)], 1, id="26 within a second"),
        pytest.param([0.0] * 30, 5, id="thirty at once"),
        pytest.param([0.0] * 30 + [1.0] * 25, 5, id="what was too much does not count itself"),
        pytest.param([], 0, id="none"),
    ],
)
def test_uploads_beyond_25_in_any_second_are_counted(instants, over):
    assert books.too_many(instants) == over


@pytest.fixture
def archive(tmp_path):
    """One archived file: its content is its media id."""
    place = tmp_path / "archive"
    (place / "1" / "2026").mkdir(parents=True)
    (place / "1" / "lost").mkdir()
    (place / "1" / "lost" / "report.jsonl").write_text("{}")
    (place / "1" / "2026" / "77-aabbccdd.png").write_bytes(b"77")
    return place


SENT = {("1", "77"): hashlib.sha256(b"77").hexdigest()}


@pytest.mark.parametrize(
    ("change", "states", "wrong", "missing"),
    [
        pytest.param(None, {("1", "77"): "archived"}, 0, 0, id="as it was sent"),
        pytest.param(None, {("1", "77"): "pending"}, 1, 0, id="archived, but the ledger does not know"),
        pytest.param(("1/2026/77-aabbccdd.png", b"7"), {("1", "77"): "archived"}, 1, 0, id="other bytes"),
        pytest.param(("1/2027/77-aabbccdd.png", b"77"), {("1", "77"): "archived"}, 1, 0, id="there twice"),
        pytest.param(("1/2026/77-aabbccdd.png", None), {("1", "77"): "archived"}, 0, 1, id="not there"),
        pytest.param(None, {("1", "77"): "archived", ("1", "99"): "lost: corrupt"}, 1, 0, id="lost for a wrong reason"),
        pytest.param(None, {("1", "77"): "archived", ("1", "99"): "lost: gone"}, 0, 0, id="lost, because nobody has it"),
    ],
)
def test_the_books_find_what_is_wrong_with_an_archive(archive, change, states, wrong, missing):
    dead = {key for key in states if key[1] == "99"}
    if change is not None:
        path, content = archive / change[0], change[1]
        path.parent.mkdir(exist_ok=True)
        path.unlink() if content is None else path.write_bytes(content)
    found = books.judge_archive(archive, SENT, dead, states)
    assert (len(found.wrong), len(found.missing)) == (wrong, missing), found


@pytest.mark.parametrize(
    ("rows", "told", "wrong"),
    [
        pytest.param([("1", "a", "11")], given((FILE, "11")), 0, id="right"),
        pytest.param([("1", "a", "11")], given((FILE, "11"), deleted={"11"}), 1, id="a deleted id"),
        pytest.param([("1", "a", "11")], given((OTHER, "11")), 1, id="another file's id"),
        pytest.param([], given((FILE, "11")), 1, id="an item is missing"),
        pytest.param([("1", "a", "11")] * 2, given((FILE, "11")), 1, id="an item stands there twice"),
    ],
)
def test_the_books_find_what_is_wrong_with_an_export(tmp_path, rows, told, wrong):
    names = ("phone_number_id", "key", "media_id")
    path = tmp_path / "export.jsonl"
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    assert len(books.judge_export(path, {"a"}, ["1"], told, {"a": FILE.sha256})) == wrong
    assert len(books.judge_export(tmp_path / "none", {"a"}, ["1"], told, {"a": FILE.sha256})) == 1


def test_a_key_and_a_media_url_are_found_wherever_they_stand(tmp_path):
    from airflow_provider_360dialog.emulator.links import Links

    url = Links().issue(number_id="1", media_id="77", expires_at_s=1)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "task.log").write_text(f"asking\n{url}\n")
    (tmp_path / "state.json").write_text('{"key": "test-key"}')
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "webhook").write_text(url)
    (tmp_path / "clean.log").write_text("ATtentive words, and mid=77&ext=1 without a hash")
    leaks = Leaks({b"test-key": "the key"})
    leaks.look_at_folder(tmp_path, but=(tmp_path / "hidden",))
    assert [line.partition(":")[0] for line in leaks.found] == ["a media URL's hash in logs/task.log", "the key in state.json"]
    assert not any("test-key" in line or url in line for line in leaks.found)
    assert leaks.looked_at.keys() == {"logs", "other files"}


def test_a_report_names_what_broke():
    words = in_words({"lost": 1}, {"0 lost": False, "0 doubled": True}, [], {"lost": ["the one"]})
    assert "BROKEN  0 lost" in words
    assert "kept    0 doubled" in words
    assert "lost: the one" in words
