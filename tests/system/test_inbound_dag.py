"""The example DAG of the inbound archive on a whole Airflow, with a bucket: an hour, the next, and a file that nobody gets."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import urllib.parse
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_360dialog.ledger import schema
from tests.hooks.conftest import Bucket, s3_url  # noqa: F401 - a fixture
from tests.system.test_campaign_dags import change_ledger, days_ago, requests, start, wait_for

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("airflow_logs_on_failure")]

DAG = "example_inbound_archive"
ARCHIVE, ALERT = "archive", "nothing_waits_for_a_day"
NORTH, SOUTH = CHANNELS = ("whatsapp_north", "whatsapp_south")  # in the order in which the example maps over them
MEDIA = Path(__file__).resolve().parents[2] / "dags_examples" / "media"
TELLS = "received files have been waiting for a day"


@dataclass
class Sent:
    """What a customer has sent."""

    conn_id: str
    media_id: str
    content: bytes
    mime_type: str
    webhook: dict

    @property
    def message(self):
        return self.webhook["entry"][0]["changes"][0]["value"]["messages"][0]


@dataclass
class Hour:
    """A run that has ended.

    Attributes:
        state: of the run. states: (task id, map index) -> state. results: connection id -> what its archive task returned.
        requests: that reached the emulator while it ran, by operation.
    """

    run_id: str
    state: str
    states: dict[tuple[str, int], str]
    results: dict[str, dict]
    requests: Counter


@pytest.fixture(scope="module")
def send(emulator):
    """Let a customer send a sample file to a number."""

    def sent(conn_id, name, mime_type, **more):
        content = (MEDIA / name).read_bytes()
        webhook = emulator.inject_webhook_media(content, mime_type=mime_type, number=emulator.numbers[conn_id], **more)
        message = webhook["entry"][0]["changes"][0]["value"]["messages"][0]
        return Sent(conn_id, message[message["type"]]["id"], content, mime_type, webhook)

    return sent


@pytest.fixture(scope="module")
def bucket(airflow, s3_url):  # noqa: F811
    """An empty bucket, and its connection in Airflow's own database."""
    found = Bucket(s3_url, "inbound")
    body = {
        "connection_id": "store",
        "conn_type": "aws",
        "login": "a",
        "password": "b",
        "extra": json.dumps({"endpoint_url": s3_url, "region_name": "eu-central-1"}),
    }
    airflow.ask("/api/v2/connections", method="POST", body=body)
    return found


@pytest.fixture(scope="module")
def conf(bucket):
    return {"webhooks": bucket.uri("webhooks"), "archive": bucket.uri("archive")}


def ages(bucket):
    """Each object, and when it was last written."""
    return {key: bucket.client.head_object(Bucket=bucket.name, Key=key)["LastModified"] for key in Bucket.keys(bucket)}


def end_of(airflow, emulator, run_id, before):
    state = airflow.wait(DAG, run_id)
    states, results = {}, {}
    for ti in airflow.task_instances(DAG, run_id):
        states[ti["task_id"], ti["map_index"]] = ti["state"]
        assert ti["rendered_map_index"] == CHANNELS[ti["map_index"]]
        if ti["task_id"] == ARCHIVE and ti["state"] == "success":
            results[CHANNELS[ti["map_index"]]] = airflow.xcom(DAG, run_id, ARCHIVE, map_index=ti["map_index"])
    return Hour(run_id, state, states, results, requests(emulator) - before)


@pytest.fixture(scope="module")
def live(send):
    """Files that can be had, with and without a URL in their webhook."""
    return [
        send(NORTH, "photo.jpg", "image/jpeg", caption="Our roof"),
        send(NORTH, "invoice.pdf", "application/pdf", file_name="../../invoice.pdf", with_url=False),
        send(SOUTH, "chart.png", "image/png"),
        send(SOUTH, "sticker.webp", "image/webp", with_url=False),
    ]


@pytest.fixture(scope="module")
def gone(emulator, send):
    """A file that its sender took back before anybody asked for it."""
    found = send(SOUTH, "photo.jpg", "image/jpeg", with_url=False)
    emulator.state.delete_media(emulator.media(found.media_id))
    return found


@pytest.fixture(scope="module")
def first(airflow, emulator, bucket, conf, live, gone):
    """Webhooks of both numbers in one file, one webhook in another."""
    *many, last = [json.dumps(each.webhook) for each in (*live, gone)]
    bucket.put("webhooks/2026/many.jsonl", "\n".join(many).encode())
    bucket.put("webhooks/2026/one.json", last.encode())
    before = requests(emulator)
    return end_of(airflow, emulator, start(airflow, DAG, conf, day=days_ago(1), hour=1), before)


@pytest.fixture(scope="module")
def second(airflow, emulator, bucket, conf, first):
    """The next hour: the same files, and one more."""
    stood = ages(bucket)
    before = requests(emulator)
    return end_of(airflow, emulator, start(airflow, DAG, conf, day=days_ago(1), hour=2), before), stood


def test_every_file_that_can_be_had_stands_in_the_bucket_with_the_bytes_that_were_sent(emulator, bucket, first, live):
    """And beside it what the webhook says of it."""
    assert first.state == "success"
    names = {key for key in ages(bucket) if key.startswith("archive/") and "/lost/" not in key}
    assert len(names) == 2 * len(live)
    for each in live:
        number = emulator.numbers[each.conn_id]
        day = datetime.fromtimestamp(int(each.message["timestamp"]), UTC)
        begins = f"archive/{number}/{day:%Y/%m/%d}/{each.media_id}-"
        name, beside = sorted(key for key in names if key.startswith(begins))
        assert beside == f"{name}.json"
        assert bucket.read(name) == each.content
        said = json.loads(bucket.read(beside))
        part = each.message[each.message["type"]]
        expected = {
            "media_id": each.media_id,
            "phone_number_id": number,
            "uri": bucket.uri(name),
            "mime_type": each.mime_type,
            "size_bytes": len(each.content),
            "sha256": emulator.media(each.media_id).sha256_hex,
            "sender": each.message["from"],
            "message_id": each.message["id"],
            "caption": part.get("caption"),
            "file_name": part.get("filename"),
        }
        assert {key: said[key] for key in expected} == expected


def test_a_file_that_is_gone_is_in_the_report_with_its_reason(emulator, bucket, first, gone):
    lost = first.results[SOUTH]
    assert lost["lost"] == {"gone": 1}
    assert lost["lost_uri"].startswith(bucket.uri(f"archive/{emulator.numbers[SOUTH]}/lost/"))
    (line,) = bucket.read(lost["lost_uri"].removeprefix(bucket.uri(""))).splitlines()
    said = json.loads(line)
    assert (said["media_id"], said["reason"], said["is_final"]) == (gone.media_id, "gone", True)
    assert said["source"] == bucket.uri("webhooks/2026/one.json")
    assert first.results[NORTH]["lost_uri"] is None


def test_results_are_small_and_each_number_took_its_own(first, live, gone):
    assert {conn_id: found["counts"]["taken_in"] for conn_id, found in first.results.items()} == {NORTH: 2, SOUTH: 3}
    assert {conn_id: found["counts"]["archived"] for conn_id, found in first.results.items()} == {NORTH: 2, SOUTH: 2}
    assert all(found["counts"]["pending"] == 0 for found in first.results.values())
    assert first.requests["download"] == len(live)
    assert first.requests["fetch"] == 2 + 1  # without a URL in the webhook
    assert all(len(json.dumps(found)) < 4096 and "lookaside" not in json.dumps(found) for found in first.results.values())


def test_nobody_is_told_while_nothing_waits(airflow, first, second):
    for hour in (first, second[0]):
        assert [hour.states[ALERT, index] for index in range(2)] == ["success"] * 2
        assert not any(TELLS in log for log in logs_of(airflow, hour.run_id))


def test_the_next_hour_archives_nothing_twice(bucket, second):
    hour, stood = second
    assert hour.state == "success"
    assert hour.requests["fetch"] == hour.requests["download"] == 0
    for found in hour.results.values():
        assert (found["counts"]["taken_in"], found["counts"]["archived"], found["counts"]["lost"]) == (0, 0, 0)
        assert found["webhooks"] == {"sources": 2}  # neither had to be read again
    assert ages(bucket) == stood


# --- what nobody gets ---------------------------------------------------------------------------------------------


def logs_of(airflow, run_id, task_id=ALERT, map_index=None):
    where = f"task_id={task_id}" if map_index is None else f"task_id={task_id}/map_index={map_index}"
    return [path.read_text(errors="replace") for path in airflow.home.glob(f"logs/dag_id={DAG}/run_id={run_id}/{where}/**/*.log")]


def has_been_drained(airflow, run_id, map_index):
    """What is moved before this looks to the scheduler as if the task had died in its queue."""
    words = ("Received executor event with state success", f"task_id='{ALERT}'", run_id, f"map_index={map_index}")
    log = (airflow.home / "standalone.log").read_text(errors="replace")
    return any(all(word in line for word in words) for line in log.splitlines())


def half_an_hour_passes(airflow, run_id):
    """What Airflow has noted of its sensors' waiting becomes older: the example's timeout is half an hour."""
    moved = ", ".join(
        f"{name} = strftime('%Y-%m-%d %H:%M:%f', {name}, '-1900 seconds')"
        for name in ("start_date", "end_date", "reschedule_date")
    )
    of_run = "ti_id IN (SELECT id FROM task_instance WHERE dag_id = ? AND run_id = ? AND task_id = ?)"
    with contextlib.closing(sqlite3.connect(airflow.home / "airflow.db", timeout=30)) as database, database:
        database.execute(f"UPDATE task_reschedule SET {moved} WHERE {of_run}", (DAG, run_id, ALERT))


@pytest.fixture(scope="module")
def third(airflow, emulator, bucket, conf, send, second):
    """A file comes, and 360dialog fails whenever it is asked for it."""
    stuck = send(NORTH, "notes.txt", "text/plain", with_url=False)
    emulator.arm("error", status=500, operation="fetch", media_id=stuck.media_id, times="always")
    bucket.put("webhooks/2026/stuck.json", json.dumps(stuck.webhook).encode())
    before = requests(emulator)
    return end_of(airflow, emulator, start(airflow, DAG, conf, day=days_ago(1), hour=3), before)


@pytest.fixture(scope="module")
def fourth(airflow, emulator, conf, third):
    """Two days later it is still not there."""
    change_ledger(
        airflow,
        (
            "UPDATE d360_inbound SET received_at = received_at - :s WHERE state = :pending",
            {"s": 2 * 86_400, "pending": schema.PENDING},
        ),
    )
    before = requests(emulator)
    run_id = start(airflow, DAG, conf, day=days_ago(1), hour=4)
    path = f"/api/v2/dags/{DAG}/dagRuns/{urllib.parse.quote(run_id, safe='')}/taskInstances"

    def waits():
        found = airflow.ask(path, limit=100)["task_instances"]
        return {(ti["task_id"], ti["map_index"]): ti["state"] for ti in found}.get((ALERT, 0)) == "up_for_reschedule"

    wait_for("the alert looks again later", waits, within_s=120)
    wait_for("the scheduler knows that", lambda: has_been_drained(airflow, run_id, 0))
    half_an_hour_passes(airflow, run_id)
    return end_of(airflow, emulator, run_id, before)


def test_what_fails_is_left_for_later_and_costs_little(third):
    """It is neither lost nor asked for again within the hour; nobody is told yet."""
    found = third.results[NORTH]
    assert third.state == "success"
    assert (found["counts"]["pending"], found["counts"]["lost"], found["lost_uri"]) == (1, 0, None)
    assert third.requests["fetch"] == 2  # once more in the same call
    assert (found["budget_left"], third.results[SOUTH]["counts"]["pending"]) == (2, 0)


def test_a_file_that_waits_for_a_day_turns_the_alert_red_and_somebody_is_told(airflow, fourth):
    """Of the number that has it, and of no other."""
    assert fourth.state == "failed"
    assert fourth.states == {(ARCHIVE, 0): "success", (ARCHIVE, 1): "success", (ALERT, 0): "failed", (ALERT, 1): "success"}
    assert any(TELLS in log for log in logs_of(airflow, fourth.run_id, map_index=0))
    assert not any(TELLS in log for log in logs_of(airflow, fourth.run_id, map_index=1))
    assert fourth.results[NORTH]["oldest_pending_s"] >= 2 * 86_400
    assert fourth.requests["fetch"] == 0  # it rests


def test_no_number_was_ever_blocked(emulator, fourth):
    for conn_id in CHANNELS:
        assert emulator.counters(emulator.numbers[conn_id])["blocks"] == 0
