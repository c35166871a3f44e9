"""The example DAG of photos on a whole Airflow: the gate, its page, and what customers would see."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.pictures import BERLIN, exif, jpeg, opened, png, scene, turned
from tests.system.test_campaign_dags import start

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("airflow_logs_on_failure")]

DAG = "example_checked_photos"
HTML = b"<html><body>Error 500</body></html>"


def day_of(days_ago):
    return (datetime.now(UTC) - timedelta(days=days_ago)).date().isoformat()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("photos") / "photos"


@pytest.fixture(scope="module")
def good(airflow, folder):
    """A day on which one of twenty-four is unfit; run twice."""
    day = folder / day_of(1)
    day.mkdir(parents=True)
    for index in range(20):
        (day / f"{index:02}.jpg").write_bytes(jpeg(scene(seed=index)))
    (day / "turned.jpg").write_bytes(turned())
    (day / "located.jpg").write_bytes(jpeg(scene(seed=50), exif=exif(position=BERLIN)))
    (day / "menu.png").write_bytes(png(scene(seed=77)))
    (day / "page.jpg").write_bytes(HTML)
    runs = []
    for hour in (5, 6):
        run_id = start(airflow, DAG, {"folder": str(folder)}, day=day.name, hour=hour)
        assert airflow.wait(DAG, run_id) == "success"
        runs.append(run_id)
    return day, runs


@pytest.fixture(scope="module")
def bad(airflow, folder, good):
    """A day on which half of them are unfit."""
    day = folder / day_of(2)
    day.mkdir()
    (day / "a.jpg").write_bytes(jpeg(scene(seed=300)))
    (day / "b.jpg").write_bytes(HTML)
    run_id = start(airflow, DAG, {"folder": str(folder)}, day=day.name, hour=5)
    return day, run_id, airflow.wait(DAG, run_id)


def test_every_fit_photo_gets_an_id_and_what_is_sent_was_prepared(emulator, good):
    day, _ = good
    rows = {row["key"]: row for row in csv.DictReader((day.parent / f"{day.name}.ids.csv").read_text().splitlines())}
    ids = {key: row["media_id"] for key, row in rows.items() if row["media_id"]}
    assert len(ids) == 23
    sent = {key: emulator.content(ids[key]) for key in ("turned.jpg", "located.jpg", "menu.png", "00.jpg")}
    assert opened(sent["turned.jpg"]).size == (64, 96)
    assert b"Exif" not in sent["located.jpg"]
    assert opened(sent["menu.png"]).format == "JPEG"
    assert sent["00.jpg"] == (day / "00.jpg").read_bytes()


def test_the_second_run_sends_nothing_and_prepares_nothing(airflow, good):
    day, (first, second) = good
    assert airflow.xcom(DAG, first, "upload")["uploads"] == 23
    assert airflow.xcom(DAG, second, "upload")["uploads"] == 0
    assert len(list((day.parent.parent / "photos-prepared" / day.name).glob("*.json"))) == 3


def test_the_page_of_the_gate_names_what_was_unfit(good):
    day, _ = good
    page = (day.parent.parent / "photos-reports" / day.name / "report.html").read_text()
    assert "23 of 24 files can be sent; 1 cannot." in page
    assert "page.jpg" in page
    report = json.loads((day.parent.parent / "photos-reports" / day.name / "report.json").read_text())
    assert report["counts"]["bad"] == 1
    assert report["not_looked_at"] is None


def test_where_too_many_are_unfit_nothing_is_sent_and_the_page_stands(airflow, bad):
    day, run_id, state = bad
    assert state == "failed"
    states = {ti["task_id"]: (ti["state"], ti["try_number"]) for ti in airflow.task_instances(DAG, run_id)}
    assert states["check"] == ("failed", 1)
    assert states["upload"][0] == "upstream_failed"
    assert "1 of 2 files can be sent; 1 cannot." in (day.parent.parent / "photos-reports" / day.name / "report.html").read_text()
