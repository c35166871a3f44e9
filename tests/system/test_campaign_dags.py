"""The example DAGs of campaigns on a whole Airflow, one after the other, as weeks would pass: night, again, evening, clean-up."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.system.conftest import PARTNER_CHANNELS, THREE_CHANNELS

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("airflow_logs_on_failure")]

NIGHTLY, EVENING, CLEANUP, PARTNER = (
    "example_campaign_preupload",
    "example_media_refresh",
    "example_media_cleanup",
    "example_partner_channels",
)
FILES = 36
GROUPS = sorted({conn_id.partition("_")[0] for conn_id in PARTNER_CHANNELS})

PDF_END = b"startxref\n0\n%%EOF\n"


@dataclass
class Run:
    """A DAG run that has ended in success.

    Attributes:
        states: task id -> how many of its instances ended how. tries: all of them. xcom: (task id, map index) -> result.
        requests: that reached the emulator while it ran, by operation.
    """

    run_id: str
    states: dict[str, dict[str, int]]
    tries: set[int]
    xcom: dict[tuple[str, int], object]
    requests: Counter

    def of(self, task_id):
        return [value for (name, _), value in sorted(self.xcom.items()) if name == task_id]


def days_ago(days):
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


def wait_for(what, is_so, *, within_s=60):
    deadline = time.monotonic() + within_s
    while not (found := is_so()):
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
    return found


def end_scheduled_runs(airflow, dag_id):
    """A schedule may fall due while this test runs; as only one run is active at a time, ours would wait for it."""
    path = f"/api/v2/dags/{dag_id}/dagRuns"
    for run in airflow.ask(path, state="running")["dag_runs"] + airflow.ask(path, state="queued")["dag_runs"]:
        if run["run_type"] == "scheduled":
            airflow.ask(f"{path}/{urllib.parse.quote(run['dag_run_id'], safe='')}", method="PATCH", body={"state": "failed"})


def start(airflow, dag_id, conf, *, day, hour=2):
    wait_for(f"{dag_id} is there", lambda: any(dag["dag_id"] == dag_id for dag in airflow.ask("/api/v2/dags")["dags"]))
    end_scheduled_runs(airflow, dag_id)
    return airflow.start(dag_id, conf, logical_date=f"{day}T{hour:02}:00:00Z")


def requests(emulator):
    found = Counter()
    for number_id in emulator.numbers.values():
        found.update(emulator.counters(number_id)["requests"])
    return found


def refused(emulator):
    return {number_id: found for number_id in emulator.numbers.values() if (found := emulator.counters(number_id)["refused"])}


def end_of(airflow, emulator, dag_id, run_id, before):
    assert airflow.wait(dag_id, run_id) == "success"
    states, tries, xcom = {}, set(), {}
    for ti in airflow.task_instances(dag_id, run_id):
        states.setdefault(ti["task_id"], Counter())[ti["state"]] += 1
        tries.add(ti["try_number"])
        if ti["state"] == "success":
            with contextlib.suppress(AssertionError):  # no result
                xcom[ti["task_id"], ti["map_index"]] = airflow.xcom(dag_id, run_id, ti["task_id"], map_index=ti["map_index"])
    return Run(run_id, {task_id: dict(found) for task_id, found in states.items()}, tries, xcom, requests(emulator) - before)


def run(airflow, emulator, dag_id, conf, *, day, hour=2):
    before = requests(emulator)
    return end_of(airflow, emulator, dag_id, start(airflow, dag_id, conf, day=day, hour=hour), before)


def write_manifest(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text).writerows([("key", "uri", "channel"), *rows])
    path.write_text(text.getvalue())


def read_ids(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def change_ledger(airflow, *statements):
    """Time passes: what the ledger has noted becomes older."""
    with contextlib.closing(sqlite3.connect(airflow.home / "dialog360" / "ledger.db", timeout=30)) as ledger, ledger:
        for statement, values in statements:
            ledger.execute(statement, values)


def ids_age(airflow, days):
    earlier = "uploaded_at = uploaded_at - :s, state_since = state_since - :s, safe_until = safe_until - :s"
    change_ledger(airflow, (f"UPDATE d360_media SET {earlier}", {"s": days * 86_400}))


def live_ids(emulator):
    return {media.media_id for conn_id in THREE_CHANNELS for media in emulator.live_media(emulator.numbers[conn_id])}


@dataclass
class Campaign:
    """The vouchers of one day."""

    folder: Path
    day: str

    @property
    def conf(self):
        return {"folder": str(self.folder)}

    @property
    def exported(self):
        return self.folder / f"{self.day}.ids.csv"


@pytest.fixture(scope="module")
def vouchers(tmp_path_factory):
    """A folder of small PDFs and the manifest of a day that shares them out over three channels."""
    folder, day = tmp_path_factory.mktemp("vouchers"), days_ago(1)
    rows = []
    for index in range(FILES):
        (folder / f"{index:02}.pdf").write_bytes(b"%PDF-1.4\n" + f"voucher {index}\n".encode() * 200 + PDF_END)
        rows.append((f"customer-{index:02}", f"{index:02}.pdf", THREE_CHANNELS[index % 3]))
    write_manifest(folder / f"{day}.csv", rows)
    return Campaign(folder, day)


@pytest.fixture(scope="module")
def night(airflow, emulator, vouchers):
    return run(airflow, emulator, NIGHTLY, vouchers.conf, day=vouchers.day)


@pytest.fixture(scope="module")
def night_again(airflow, emulator, vouchers, night):
    before = vouchers.exported.read_bytes()
    return run(airflow, emulator, NIGHTLY, vouchers.conf, day=vouchers.day, hour=3), before


@pytest.fixture(scope="module")
def evening(airflow, emulator, vouchers, night_again):
    """24 days later; the send was put off."""
    before = live_ids(emulator)
    ids_age(airflow, 24)
    name = f"vouchers-{vouchers.day}"
    conf = {"campaign": name, "folder": str(vouchers.folder)}
    return run(airflow, emulator, EVENING, conf, day=vouchers.day), before, vouchers.folder / f"{name}.ids.csv"


@pytest.fixture(scope="module")
def later(vouchers):
    """A campaign that uses three of the files again, one on each channel."""
    campaign = Campaign(vouchers.folder, days_ago(2))
    rows = [(f"guest-{index}", f"{index:02}.pdf", THREE_CHANNELS[index]) for index in range(3)]
    write_manifest(vouchers.folder / f"{campaign.day}.csv", rows)
    return campaign


@dataclass
class CleanUp:
    """A clean-up that asked somebody.

    Attributes:
        ids: that lived before. planned: ids that stood in its plans when it asked. question: what it asked.
        before_answer: requests until then. run: as it ended.
    """

    ids: set[str]
    planned: set[str]
    question: dict[str, object]
    before_answer: Counter
    run: Run


def has_been_drained(airflow, run_id):
    """An answer that comes before this, within a second or so, looks to the scheduler as if the task had died in its queue."""
    words = ("Received executor event with state success", "task_id='approve'", run_id)
    log = (airflow.home / "standalone.log").read_text(errors="replace")
    return any(all(word in line for word in words) for line in log.splitlines())


def clean_up(airflow, emulator, folder, answer, *, day, hour, meanwhile=lambda: None):
    """Run the clean-up until it asks, let something happen, then answer by the REST API."""
    before, ids = requests(emulator), live_ids(emulator)
    run_id = start(airflow, CLEANUP, {"folder": str(folder)}, day=day, hour=hour)
    path = f"/api/v2/dags/{CLEANUP}/dagRuns/{urllib.parse.quote(run_id, safe='')}/taskInstances/approve"
    wait_for("somebody is asked", lambda: airflow.ask(path)["state"] in {"awaiting_input", "deferred"}, within_s=90)
    wait_for("the scheduler knows that the task waits", lambda: has_been_drained(airflow, run_id), within_s=60)
    question, before_answer = airflow.ask(f"{path}/-1/hitlDetails"), requests(emulator) - before
    plans = [path for path in folder.glob(f"{day}-*.jsonl") if not path.name.endswith(".audit.jsonl")]
    planned = {json.loads(line)["media_id"] for plan in plans for line in plan.read_text().splitlines()[1:]}
    meanwhile()
    airflow.ask(f"{path}/-1/hitlDetails", method="PATCH", body={"chosen_options": [answer], "params_input": {}})
    return CleanUp(ids, planned, question, before_answer, end_of(airflow, emulator, CLEANUP, run_id, before))


@pytest.fixture(scope="module")
def cleanup_folder(airflow, evening, tmp_path_factory):
    """Where the plans go, four days after the send."""
    ids_age(airflow, 4)
    change_ledger(airflow, ("UPDATE d360_campaign SET needed_until = needed_until - :s", {"s": 4 * 86_400}))
    return tmp_path_factory.mktemp("cleanup")


@pytest.fixture(scope="module")
def not_cleaned(airflow, emulator, vouchers, cleanup_folder):
    return clean_up(airflow, emulator, cleanup_folder, "Reject", day=vouchers.day, hour=1)


@pytest.fixture(scope="module")
def cleaned(airflow, emulator, vouchers, cleanup_folder, not_cleaned, later):
    """While the plan waits for its answer, another campaign is planned."""
    in_between = []

    def meanwhile():
        in_between.append(run(airflow, emulator, NIGHTLY, later.conf, day=later.day))

    found = clean_up(airflow, emulator, cleanup_folder, "Approve", day=vouchers.day, hour=2, meanwhile=meanwhile)
    return found, in_between[0]


@pytest.fixture(scope="module")
def cleaned_again(airflow, emulator, vouchers, cleanup_folder, cleaned):
    return run(airflow, emulator, CLEANUP, {"folder": str(cleanup_folder)}, day=vouchers.day, hour=3)


@pytest.fixture(scope="module")
def partner(airflow, emulator, tmp_path_factory):
    """Two channels of each group have three files."""
    folder, day = tmp_path_factory.mktemp("partner"), days_ago(1)
    for group in GROUPS:
        rows = []
        for index in range(6):
            path = folder / day / f"{group}-{index}.pdf"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"%PDF-1.4\n" + f"{group} {index}\n".encode() * 200 + PDF_END)
            rows.append((f"guest-{index}", path.name, f"{group}_{7 + index % 2:03}"))
        write_manifest(folder / day / f"{group}.csv", rows)
    return run(airflow, emulator, PARTNER, {"folder": str(folder)}, day=day), folder / day


def test_a_night_uploads_each_file_once_and_writes_down_who_has_which_id(emulator, vouchers, night):
    rows = read_ids(vouchers.exported)
    assert len(rows) == FILES
    assert {row["key"]: row["channel"] for row in rows} == {
        f"customer-{index:02}": THREE_CHANNELS[index % 3] for index in range(FILES)
    }
    for row in rows:
        media = emulator.media(row["media_id"])
        assert (media.number_id, media.sha256_hex) == (emulator.numbers[row["channel"]], row["sha256"])
    assert night.states["upload"] == {"success": 3}
    assert night.requests["upload"] == FILES
    assert night.requests["fetch"] == night.requests["delete"] == 0
    assert refused(emulator) == {}
    assert night.tries == {1}


def test_results_in_xcom_are_counts_and_places(night):
    (planned,) = night.of("plan")
    assert planned["counts"] | {"bytes": 0} == {
        "items": FILES, "rejected": 0, "prepared": 0, "ready": 0, "uploads": FILES, "bytes": 0,
    }  # fmt: skip
    assert sorted(planned["channels"]) == sorted(THREE_CHANNELS)
    assert [each["uploads"] for each in night.of("upload")] == [FILES // 3] * 3
    assert night.of("export")[0]["rows"] == FILES
    assert all(len(json.dumps(value)) < 4096 for value in night.xcom.values())


def test_an_export_is_an_event_of_the_one_asset(airflow, vouchers, night, night_again):
    """On which a DAG that sends can be scheduled."""
    events = airflow.ask("/api/v2/assets/events", limit=100)["asset_events"]
    of_runs = {each["source_run_id"]: each for each in events if each["source_dag_id"] == NIGHTLY}
    for each in (night, night_again[0]):
        extra = of_runs[each.run_id]["extra"]
        expected = {"campaign": f"vouchers-{vouchers.day}", "uri": str(vouchers.exported), "version": 1, "rows": FILES}
        assert {name: extra[name] for name in expected} == expected
    assert len({each["asset_id"] for each in events}) == 1


def test_the_same_night_again_asks_360dialog_nothing_and_exports_the_same(vouchers, night, night_again):
    """F16: where nothing is to be uploaded, that task is skipped, and the export runs all the same."""
    again, before = night_again
    assert sum(again.requests.values()) == 0
    assert again.states["upload"] == {"skipped": 1}
    assert again.states["export"] == {"success": 1}
    assert vouchers.exported.read_bytes() == before
    assert again.of("export")[0]["version"] == night.of("export")[0]["version"]


def test_an_evening_renews_what_would_die_and_the_old_ids_work_on(emulator, vouchers, evening):
    """US-3: no GET."""
    refreshed, before, exported = evening
    assert refreshed.requests == {"upload": FILES}
    assert refreshed.states == {"refresh": {"success": 3}, "export": {"success": 1}}
    new = {row["media_id"] for row in read_ids(exported)}
    assert len(new) == FILES
    assert not new & before
    assert live_ids(emulator) == new | before
    in_a_week = datetime.fromisoformat(f"{vouchers.day}T23:59:59+00:00") + timedelta(days=7)
    assert all(datetime.fromisoformat(row["safe_until"]) >= in_a_week for row in read_ids(exported))


def test_a_clean_up_asks_first_and_deletes_nothing_without_a_yes(not_cleaned):
    assert not_cleaned.question["subject"] == f"Delete {2 * FILES} media ids at 360dialog?"
    assert not_cleaned.question["defaults"] == ["Reject"]
    assert not_cleaned.planned == not_cleaned.ids
    assert len(not_cleaned.ids) == 2 * FILES
    assert sum(not_cleaned.run.requests.values()) == 0
    assert set(not_cleaned.run.states["apply"]) == {"skipped"}


def test_a_clean_up_deletes_what_was_approved_but_not_what_another_campaign_needs_by_now(
    emulator, not_cleaned, cleaned, later, cleanup_folder
):
    """F19, F20: that campaign was planned between plan and apply, and uses ids that were there."""
    approved, in_between = cleaned
    assert sum((approved.before_answer + in_between.requests).values()) == 0
    assert approved.ids == approved.planned == not_cleaned.ids
    needed = {row["media_id"] for row in read_ids(later.exported)}
    assert len(needed) == 3
    assert live_ids(emulator) == needed
    deleted = len(approved.ids) - 3
    assert approved.run.requests == {"delete": deleted}
    assert sum(each["deleted"] for each in approved.run.of("apply")) == deleted
    assert sum(each["kept_referenced"] for each in approved.run.of("apply")) == 3
    audits = [json.loads(line) for path in cleanup_folder.glob("*.audit.jsonl") for line in path.read_text().splitlines()]
    assert approved.ids <= {line.get("media_id") for line in audits}


def test_a_clean_up_with_nothing_to_delete_asks_nobody(cleaned_again):
    assert sum(cleaned_again.requests.values()) == 0
    assert set(cleaned_again.states["approve"]) == set(cleaned_again.states["apply"]) == {"skipped"}


@pytest.mark.parametrize("dag_id", [NIGHTLY, EVENING, CLEANUP, PARTNER])
def test_an_example_with_a_schedule_runs_once_at_a_time_and_makes_up_for_nothing(airflow, partner, dag_id):
    """F18: 30 missed nights are not 30 plans at once."""
    found = airflow.ask(f"/api/v2/dags/{dag_id}/details")
    assert found["timetable_summary"]
    assert (found["catchup"], found["max_active_runs"]) == (False, 1)
    assert found["doc_md"].count("Guarantees") == 1


def test_groups_of_many_channels_upload_on_those_that_have_something(emulator, partner):
    ran, place = partner
    assert ran.requests["upload"] == 6 * len(GROUPS) == 24
    assert refused(emulator) == {}
    for group in GROUPS:
        assert ran.states[f"{group}.upload"] == {"success": 2}
        assert ran.of(f"{group}.plan")[0]["channels"] == [f"{group}_007", f"{group}_008"]
        rows = read_ids(place / f"{group}.ids.csv")
        assert [row["channel"] for row in rows] == [f"{group}_007"] * 3 + [f"{group}_008"] * 3
        assert {emulator.media(row["media_id"]).number_id for row in rows} == {
            emulator.numbers[f"{group}_007"],
            emulator.numbers[f"{group}_008"],
        }
    assert all(len(json.dumps(value)) < 4096 for value in ran.xcom.values())
