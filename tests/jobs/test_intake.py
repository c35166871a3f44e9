"""The intake of webhooks: every form in which they are landed, once each, faults counted, and never a URL on record."""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import shutil
from datetime import timedelta

import pytest

from airflow_provider_360dialog.exceptions import LedgerUnavailableError, SourceUnreadableError, StoppedError
from airflow_provider_360dialog.hooks import places
from airflow_provider_360dialog.hooks.inbound import _file
from airflow_provider_360dialog.jobs import intake
from airflow_provider_360dialog.jobs.intake import Finder, WebhookFile, payload_file, take_in
from tests.canary import CANARY, Number
from tests.jobs.inbound_doubles import desk_of, hash_of, id_of, message_of, part_of, without


@pytest.fixture
def desk(number, tmp_path):
    with desk_of(number, tmp_path) as desk:
        yield desk


@pytest.fixture
def webhooks(desk):
    """Three files of a customer."""
    return [desk.receive() for _ in range(3)]


@pytest.fixture
def _settled(monkeypatch):
    """A file's stamp counts from its first moment on, and not only after two seconds."""
    monkeypatch.setattr(places, "_FRESH_S", -1.0)


@pytest.fixture
def stranger(number, emulated):
    """Another number of the same emulator."""
    emulated.add_number(f"9{number.number_id}", f"{number.key}-other")
    return Number(emulated, f"9{number.number_id}", f"{number.key}-other")


def ids(desk):
    return [row["media_id"] for row in desk.rows()]


# --- forms --------------------------------------------------------------------------------------------------------


def lines(webhooks, path):
    path.write_text("".join(json.dumps(each) + "\n" for each in webhooks))


def lines_without_a_last_end(webhooks, path):
    path.write_text("\n".join(map(json.dumps, webhooks)))


def lines_of_windows_with_gaps(webhooks, path):
    path.write_bytes(b"\xef\xbb\xbf\r\n" + b"".join(json.dumps(each).encode() + b"\r\n\r\n" for each in webhooks))


def pretty_list(webhooks, path):
    path.write_text(json.dumps(webhooks, indent=4))


def list_in_one_line(webhooks, path):
    path.write_text(json.dumps(webhooks))


def pretty_envelope(webhooks, path):
    path.write_text(json.dumps({"entry": [entry for each in webhooks for entry in each["entry"]]}, indent=2))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "write", [lines, lines_without_a_last_end, lines_of_windows_with_gaps, pretty_list, list_in_one_line, pretty_envelope]
)
def test_every_form_of_a_file_says_the_same(write, packed, desk, webhooks):
    """JSON Lines or one document, plain or packed."""
    path = desk.landing / "landed.json"
    write(webhooks, path)
    if packed:
        content = path.read_bytes()
        path = path.with_name("landed.json.gz")
        path.write_bytes(gzip.compress(content))
    found = desk.take_in(path)
    assert (found.counts(), found.fault) == ({"sources": 1, "read": 1, "new": 3}, None)
    assert ids(desk) == [id_of(each) for each in webhooks]


def test_a_single_webhook_in_many_lines_is_a_document(desk, webhooks):
    """Pretty-printed, as a person writes it."""
    path = desk.landing / "one.json"
    path.write_text(json.dumps(webhooks[0], indent=2))
    assert desk.take_in(path).new == 1
    assert desk.rows("media_id", "line") == [{"media_id": id_of(webhooks[0]), "line": 1}]


def test_what_a_webhook_says_is_on_record(desk):
    """All that is needed for asking, judging and expiring; the file and the line for looking again."""
    webhook = desk.receive(b"x", "audio/ogg; codecs=opus")
    path = desk.land("a.jsonl", {"object": "x", "entry": []}, webhook)
    desk.take_in(path)
    row = desk.rows()[0]
    part = part_of(webhook)
    assert (row["media_id"], row["kind"], row["mime_type"], row["line"]) == (part["id"], "audio", "audio/ogg", 2)
    assert row["sha256"] == desk.emu.media(part["id"]).sha256_hex
    assert row["received_at"] == float(message_of(webhook)["timestamp"])
    assert row["url_until"] == float(re.search(r"ext=(\d+)", part["url"])[1])
    with desk.store.read() as db:
        assert db.exec_driver_sql("SELECT uri FROM d360_inbound_source").scalar_one() == str(path)


def test_a_url_without_an_end_counts_from_its_message(desk):
    """For as long as the caller says that such URLs live."""
    webhook = desk.receive()
    part_of(webhook)["url"] = re.sub(r"&?ext=\d+", "", part_of(webhook)["url"])
    desk.take_in(desk.land("a.jsonl", webhook), webhook_url_life=timedelta(seconds=77))
    row = desk.rows()[0]
    assert row["url_until"] == row["received_at"] + 77


def test_a_folder_holds_one_webhook_a_file(desk, webhooks):
    """As a function on a bucket writes them; those below count too, other files do not."""
    for number, webhook in enumerate(webhooks):
        desk.land(f"2026/11/{number}.json", webhook)
    (desk.landing / "readme.txt").write_text("not a webhook")
    (desk.landing / ".hidden.json").write_text(json.dumps(desk.receive()))
    found = desk.take_in(desk.landing)
    assert found.counts() == {"sources": 3, "read": 3, "new": 3}


def test_a_glob_takes_what_fits(desk, webhooks):
    """And nothing beside it."""
    desk.land("a-1.jsonl", webhooks[0])
    desk.land("a-2.jsonl", webhooks[1])
    desk.land("b-1.jsonl", webhooks[2])
    assert desk.take_in(f"{desk.landing}/a-*.jsonl").new == 2
    assert ids(desk) == [id_of(each) for each in webhooks[:2]]


def test_a_list_takes_places_and_payloads_of_every_sort(desk, webhooks):
    """One after the other: a path, the extra of an Asset event, a payload, its text, nothing."""
    one, two = desk.land("one.jsonl", webhooks[0]), desk.land("two.jsonl", webhooks[1])
    payload, text = desk.receive(), json.dumps(desk.receive())
    found = desk.take_in([one, {"uri": str(two)}, webhooks[2], payload, text, "", None, []])
    assert (found.sources, found.new) == (5, 5)
    assert len(set(ids(desk))) == 5


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda webhook: webhook, id="a mapping"),
        pytest.param(lambda webhook: [webhook], id="a list"),
        pytest.param(json.dumps, id="JSON text"),
        pytest.param(lambda webhook: json.dumps([webhook], indent=1), id="JSON text of a list"),
        pytest.param(repr, id="Python text, as a template gives it"),
        pytest.param(lambda webhook: f"  {webhook!r}\n", id="Python text with space around"),
        pytest.param(lambda webhook: {"payload": json.dumps(webhook)}, id="inside an envelope"),
        pytest.param(lambda webhook: webhook["entry"][0]["changes"][0]["value"], id="its value alone"),
    ],
)
def test_a_payload_is_taken_in_whatever_its_form(form, desk):
    """From conf, XCom, an Asset event or a template; the same one counts once."""
    webhook = desk.receive(caption='it\'s "quoted" \u202e\n')
    found = desk.take_in(form(webhook))
    assert (found.sources, found.read, found.new) == (1, 1, 1)
    assert ids(desk) == [id_of(webhook)]
    again = desk.take_in(form(webhook))
    assert again.counts() == {"sources": 1}


def test_the_url_of_a_payload_is_dropped_with_one_warning_and_stands_nowhere(desk, caplog):
    """Airflow has stored the payload, where others can read it."""
    webhooks = [desk.receive() for _ in range(4)]
    with caplog.at_level(logging.WARNING):
        found = desk.take_in(webhooks)
    assert found.urls_dropped == 4
    assert [row["url_until"] for row in desk.rows()] == [None] * 4
    said = [record.getMessage() for record in caplog.records if "Airflow's own database" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("4 media URLs")
    assert "Give the place of a file" in said[0]


# --- once ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_settled")
def test_a_file_is_read_once_and_again_when_it_has_changed(desk, webhooks):
    """By its stamp; what is on record stays as it is."""
    path = desk.land("a.jsonl", *webhooks)
    assert desk.take_in(path).counts() == {"sources": 1, "read": 1, "new": 3}
    assert desk.take_in(path).counts() == {"sources": 1}
    more = desk.receive()
    desk.land("a.jsonl", *webhooks, more)
    assert desk.take_in(path).counts() == {"sources": 1, "read": 1, "new": 1, "known": 3}
    assert desk.take_in(desk.landing).counts() == {"sources": 1}


def test_a_file_that_has_just_been_written_is_read_each_time(desk, webhooks):
    """It could change again within the same instant; what it says is known by its ids."""
    path = desk.land("a.jsonl", *webhooks)
    desk.take_in(path)
    assert desk.take_in(path).counts() == {"sources": 1, "read": 1, "known": 3}


def test_a_file_that_came_in_two_files_is_taken_in_once(desk, webhooks):
    """Webhooks come at least once; the first one wins."""
    first = without(webhooks[0])
    part_of(webhooks[0])["mime_type"] = "image/png"
    desk.land("a.jsonl", first, first, webhooks[1])
    desk.land("b.jsonl", webhooks[1], webhooks[0])
    found = desk.take_in(desk.landing)
    assert (found.new, found.known) == (2, 3)
    assert desk.row(id_of(first))["mime_type"] == "image/jpeg"


@pytest.mark.usefixtures("_settled")
def test_a_file_of_many_pages_is_taken_in_whole(desk):
    """1,201 webhooks, and 1,003 files of one each."""
    made = desk.forge_many(1201)
    desk.land("many.jsonl", *made)
    assert desk.take_in(desk.landing).new == 1201
    for number, webhook in enumerate(desk.forge_many(1003)):
        desk.land(f"each/{number:04}.json", webhook)
    assert desk.take_in(desk.landing).counts() == {"sources": 1004, "read": 1003, "new": 1003}
    assert desk.take_in(desk.landing).counts() == {"sources": 1004}


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ['{"entry": [', "\x00\x01 no JSON", "17", "[" * 100_000, '"text"', '{"a": 1}', "\ud800"])
@pytest.mark.parametrize("at", [0, 1, 3], ids=["first", "in the middle", "last"])
def test_a_damaged_line_is_counted_and_the_rest_is_read(damage, at, desk, webhooks):
    """Wherever it stands."""
    made = [json.dumps(each) for each in webhooks]
    made.insert(at, damage)
    path = desk.landing / "a.jsonl"
    path.write_bytes("\n".join(made).encode("utf-8", "surrogatepass"))
    found = desk.take_in(path)
    assert (found.new, found.malformed, found.read, found.fault) == (3, 1, 1, None)
    assert [row["line"] for row in desk.rows()] == [number for number in range(1, 5) if number != at + 1]


def test_a_line_that_is_far_too_long_is_one_damaged_line(desk, webhooks, monkeypatch):
    """It is not held in memory, and the rest is read."""
    long = json.dumps(webhooks[1] | {"x": "y" * (6 * 1024 * 1024)})
    path = desk.landing / "a.jsonl"
    path.write_text("\n".join([json.dumps(webhooks[0]), long, json.dumps(webhooks[2])]))
    found = desk.take_in(path)
    assert (found.new, found.malformed) == (2, 1)


def test_a_document_that_is_too_long_for_one_is_damaged_and_not_held(desk, webhooks, monkeypatch):
    """Its lines say nothing, so they are counted."""
    monkeypatch.setattr("airflow_provider_360dialog.jobs.intake.DOCUMENT_MAX_BYTES", 100)
    path = desk.landing / "a.json"
    path.write_text(json.dumps(webhooks, indent=0))
    found = desk.take_in(path)
    assert found.new == 0
    assert found.malformed > 3
    assert found.fault is None


def break_as_folder(desk, path):
    """Listed as a file, and a folder when it is opened."""

    def lines():
        path.unlink()
        path.mkdir()
        yield from _file(str(path)).lines()

    return lines


def break_as_vanished(desk, path):
    def lines():
        path.unlink()
        yield from _file(str(path)).lines()

    return lines


@pytest.mark.parametrize("how", [break_as_folder, break_as_vanished])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_file_that_cannot_be_read_leaves_the_others_alone(how, at, desk, webhooks):
    """They are taken in, and then its error is told."""
    paths = [desk.land(f"{number}.jsonl", webhook) for number, webhook in enumerate(webhooks)]
    files = [_file(str(path), "stamp") for path in paths]
    files[at] = WebhookFile(str(paths[at]), "stamp", lines=how(desk, paths[at]), whole=files[at].whole)
    found = take_in(files, run=desk.begin(), calls=desk.calls)
    assert (found.new, found.read, found.sources) == (2, 2, 3)
    assert isinstance(found.fault, SourceUnreadableError)
    assert str(paths[at]) in str(found.fault)
    assert ids(desk) == [id_of(each) for number, each in enumerate(webhooks) if number != at]


@pytest.mark.usefixtures("_settled")
def test_a_packed_file_that_is_cut_off_gives_what_it_holds_and_is_read_again_when_it_is_whole(desk, webhooks):
    """It is not noted as read, and its error is told; the files beside it are read."""
    made = [desk.receive(caption=os.urandom(700).hex()) for _ in range(400)]
    whole = gzip.compress("".join(json.dumps(each) + "\n" for each in made).encode())
    path = desk.landing / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) * 3 // 4])
    desk.land("b.jsonl", *webhooks)
    found = desk.take_in(desk.landing)
    assert isinstance(found.fault, SourceUnreadableError)
    assert (found.sources, found.read) == (2, 1)
    assert 3 < found.new < 403
    assert set(map(id_of, webhooks)) < set(ids(desk))
    path.write_bytes(whole)
    again = desk.take_in(desk.landing)
    assert (again.fault, again.read) == (None, 1)
    assert found.new + again.new == 403


def test_a_file_that_is_no_gzip_file_is_told_by_name(desk, webhooks):
    """And the other one is read."""
    (desk.landing / "a.json.gz").write_bytes(b"\x1f\x8bnothing")
    desk.land("b.jsonl", *webhooks)
    found = desk.take_in(desk.landing)
    assert found.new == 3
    assert "a.json.gz" in str(found.fault)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_place_that_is_not_there_leaves_the_other_places_of_a_list_alone(at, desk, webhooks):
    """Two of three are read, and then the error of the third is told."""
    places = [desk.land(f"{number}.jsonl", webhook) for number, webhook in enumerate(webhooks[:2])]
    places.insert(at, desk.landing / "nowhere.jsonl")
    found = desk.take_in(places)
    assert isinstance(found.fault, SourceUnreadableError)
    assert "nowhere.jsonl" in str(found.fault)
    assert found.new == 2


def test_a_place_that_is_not_there_is_told(desk):
    """It may be misspelt."""
    found = desk.take_in(desk.landing / "nowhere.jsonl")
    assert (found.read, found.new) == (0, 0)
    assert isinstance(found.fault, SourceUnreadableError)


def test_the_first_fault_is_the_one_that_is_told(desk):
    """The others are in the log."""
    for name in ("a", "b"):
        (desk.landing / f"{name}.json.gz").write_bytes(b"nothing")
    assert "a.json.gz" in str(desk.take_in(desk.landing).fault)


# --- what is not for us -------------------------------------------------------------------------------------------


def test_files_of_other_numbers_are_left_for_them(desk, webhooks, stranger):
    """Each number's task takes its own out of the same folder."""
    theirs = [desk.receive(number=stranger) for _ in range(2)]
    lost = without(desk.receive(number=stranger), "id")
    path = desk.land("a.jsonl", theirs[0], webhooks[0], theirs[1], lost)
    found = desk.take_in(path)
    assert (found.new, found.other_channels) == (1, 3)
    calls = desk.calls_of(number=stranger)
    found = desk.take_in(path, calls=calls)
    assert (found.new, found.other_channels) == (3, 1)
    channels = [row["channel_id"] for row in desk.rows()]
    assert channels == [channels[0]] + [calls.ledger.identity.channel_id] * 3


def test_messages_of_other_kinds_are_counted(desk, webhooks):
    """Text and statuses."""
    text = json.loads(json.dumps(webhooks[0]))
    message_of(text).update(type="text", text={"body": "hello"})
    status = json.loads(json.dumps(webhooks[0]))
    value = status["entry"][0]["changes"][0]["value"]
    del value["messages"]
    value["statuses"] = [{"id": "x", "status": "read"}, {"id": "y", "status": "read"}]
    found = desk.take_in(desk.land("a.jsonl", text, status, webhooks[1]))
    assert found.counts() == {"sources": 1, "read": 1, "new": 1, "others": 3}


def test_a_file_of_no_number_is_counted_and_left_alone(desk, webhooks, caplog):
    """Nobody could ask for it."""
    del webhooks[0]["entry"][0]["changes"][0]["value"]["metadata"]
    with caplog.at_level(logging.WARNING):
        found = desk.take_in(desk.land("a.jsonl", *webhooks))
    assert (found.new, found.no_channel) == (2, 1)
    assert "1 received files belong to no number" in caplog.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda part, message: part.pop("id"), "no media id", id="without an id"),
        pytest.param(lambda part, message: part.update(id="../../x"), "not one", id="with an id that is a path"),
        pytest.param(
            lambda part, message: message.update(errors=[{"code": 131052, "title": "Media download error"}]),
            "Media download error",
            id="with an error beside it",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_lost_at_once(change, words, desk, webhooks):
    """It counts once however often it comes, and nothing is ever sent for it."""
    change(part_of(webhooks[0]), message_of(webhooks[0]))
    path = desk.land("a.jsonl", webhooks[0], webhooks[1], webhooks[0])
    outcome = desk.archive(path)
    assert outcome.counts.lost == {"no_id": 1}
    assert (outcome.found.new, outcome.found.known) == (2, 1)
    [row] = [row for row in desk.rows() if row["media_id"].startswith("none-")]
    assert (row["state"], row["reason"], row["kind"]) == ("lost", "no_id", "image")
    assert words in row["details"]
    [line] = desk.report(outcome)
    assert (line["reason"], line["is_final"], line["line"], line["source"]) == ("no_id", True, 1, str(path))
    assert desk.sent() == (0, 1)
    assert desk.archive(path).counts.lost == {}


def test_a_number_that_has_far_too_much_pending_takes_in_no_more(desk, webhooks, monkeypatch, caplog):
    """Nobody sends so much; what is left is read when there is room again."""
    monkeypatch.setattr("airflow_provider_360dialog.ledger.intake.MOST_PENDING", 2)
    for number, webhook in enumerate(webhooks):
        desk.land(f"{number}.jsonl", webhook)
    found = desk.take_in(desk.landing)
    assert (found.new, found.fault) == (2, None)
    assert "left for later" in caplog.text
    desk.archive(None)
    assert desk.take_in(desk.landing).new == 1


# --- secrets, ends ------------------------------------------------------------------------------------------------


def test_no_url_is_in_the_ledger_a_log_or_a_result(desk, webhooks, caplog):
    """Also not of a file that is refused, lost or damaged."""
    webhooks += [desk.receive() for _ in range(3)]
    lost, refused = without(webhooks[3], "id"), webhooks[4]
    message_of(refused)["errors"] = [{"code": 131052, "message": f"see {part_of(refused)['url']}"}]
    path = desk.land("a.jsonl", *webhooks[:3], lost, refused)
    with path.open("a") as file:
        file.write(f'{{"damaged {part_of(webhooks[5])["url"]}\n')
    hashes = [hash_of(part_of(each)["url"]) for each in webhooks]
    assert all(each in CANARY.words for each in hashes), "nobody watches them"
    with caplog.at_level(logging.DEBUG):
        outcome = desk.archive(path, write_metadata=True)
    assert outcome.counts.archived == 3
    written = {"the ledger": desk.ledger_bytes(), "the log": caplog.text.encode(), "a result": repr(outcome).encode()}
    written |= {name: content for name, content in desk.files().items() if name.endswith((".json", ".jsonl"))}
    assert len(written) == 3 + 3 + 1
    assert b"a.jsonl" in written["the ledger"]
    for where, content in written.items():
        for each in hashes:
            assert each.encode() not in content, where


def test_a_task_that_is_told_to_end_stops_reading(desk):
    """What was read stays on record; the file is read again."""
    made = desk.forge_many(1200)
    path = desk.land("a.jsonl", *made)
    file = _file(str(path), "stamp")

    def lines():
        for number, line in enumerate(file.lines()):
            if number == 700:
                desk.stop.set()
            yield line

    with pytest.raises(StoppedError):
        take_in([WebhookFile(file.uri, "stamp", lines, file.whole)], run=desk.begin(), calls=desk.calls)
    assert len(desk.rows()) == 500
    desk.stop.clear()
    assert take_in([file], run=desk.begin(), calls=desk.calls).new == 700


def test_a_ledger_that_is_away_for_a_moment_is_waited_for(desk, webhooks, monkeypatch):
    """Nothing is lost and nothing is put on record twice."""
    write, left = desk.store.write, [3]

    def away():
        if left[0]:
            left[0] -= 1
            raise LedgerUnavailableError(place="p", reason="r")
        return write()

    run = desk.begin()
    monkeypatch.setattr(desk.store, "write", away)
    assert desk.take_in(desk.land("a.jsonl", *webhooks), run=run).new == 3
    assert left == [0]


def test_a_run_is_a_task_in_all_its_tries(desk):
    """Whatever an earlier try has done or lost is told by the one that ends well; whoever is no task is a run of its own."""
    first = desk.begin(desk.calls_of(task="dag/run/task/-1", try_number=1))
    assert desk.begin(desk.calls_of(task="dag/run/task/-1", try_number=2)) == first
    assert desk.begin(desk.calls_of(task="dag/run/task/0", try_number=1)) != first
    assert desk.begin() != desk.begin()


# --- looking again ------------------------------------------------------------------------------------------------


def test_the_finder_reads_a_file_once_for_many_rows(desk):
    """A window of 500 lines at a time, and it keeps four of them."""
    made = [desk.receive() for _ in range(3)]
    path = desk.land("a.jsonl", *made)
    desk.take_in(path)
    asked = []

    def file_at(uri):
        asked.append(uri)
        return _file(uri)

    finder = Finder(file_at)
    claimant = desk.calls.ledger.claimant
    items = [desk.calls.ledger.inbound.take(claimant()) for _ in made]
    found = [finder.find(item, desk.number.number_id) for item in items]
    assert [each.media_id for each in found] == [item.media_id for item in items]
    assert {each.url.reveal() for each in found} == {part_of(each)["url"] for each in made}
    assert asked == [str(path)]
    assert Finder(file_at).find(items[0], "1") is None  # another number's


@pytest.mark.parametrize("line", [1, 499, 500, 501, 1000, 1400])
def test_the_finder_finds_a_webhook_in_any_window(line, desk):
    """By its line, which is not read far beyond."""
    made = desk.forge_many(1400)
    path = desk.land("a.jsonl", *made)
    read = []
    file = _file(str(path))

    def lines():
        for each in file.lines():
            read.append(each)
            yield each

    media_id = id_of(made[line - 1])
    desk.take_in(desk.land("b.jsonl", made[line - 1]))
    from dataclasses import replace

    item = replace(desk.calls.ledger.inbound.take(desk.calls.ledger.claimant()), source=str(path), line=line)
    finder = Finder(lambda uri: WebhookFile(uri, None, lines, file.whole))
    assert finder.find(item, desk.number.number_id).media_id == media_id
    assert len(read) <= (line // 500 + 1) * 500 + 1


def test_a_webhook_that_is_not_there_any_more_costs_only_its_url(desk, webhooks, caplog):
    """The file is asked for by its id."""
    path = desk.land("a.jsonl", *webhooks)
    desk.take_in(path)
    path.unlink()
    outcome = desk.archive(None)
    assert (outcome.counts.archived, outcome.error) == (3, None)
    assert desk.sent() == (3, 3)
    assert "could not be read again" in caplog.text


def test_a_landing_that_was_emptied_costs_only_urls(desk, webhooks):
    """Also where another webhook stands in its line now."""
    path = desk.land("a.jsonl", *webhooks)
    desk.take_in(path)
    desk.land("a.jsonl", desk.receive())
    assert desk.archive(None).counts.archived == 3
    assert desk.sent() == (3, 3)
    shutil.rmtree(desk.landing)


def test_the_same_payload_has_one_name_and_another_one_another():
    """Whatever stands in it; a lone surrogate too."""
    one, two = payload_file({"a": "\ud800"}), payload_file({"a": "b"})
    assert intake.is_payload(one.uri)
    assert not intake.is_payload("s3://bucket/payload")
    assert one.uri == payload_file({"a": "\ud800"}).uri != two.uri
    assert (one.is_stored, one.stamp is not None) == (False, True)
