"""A pre-upload while a DAG run is at it, as people see it: in a browser, on a whole Airflow, from the page to the run and its rejects."""

from __future__ import annotations

import json
import time
import urllib.parse

import pytest

from tests.system.test_campaign_dags import NIGHTLY, days_ago, start, wait_for, write_manifest
from tests.ui.browser import MISSING, browser, find_chromium

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("airflow_logs_on_failure")]

FILES = 320  # 13 s at the line
FRAME = "document.querySelector('iframe').contentDocument"


@pytest.fixture
def run(airflow, tmp_path):
    """A DAG run that has just been triggered: campaign and run id. Two of its files cannot be sent."""
    day, folder = days_ago(1), tmp_path / "watched"
    rows = []
    folder.mkdir()
    for n in range(FILES):
        (folder / f"{n}.txt").write_text(f"watched voucher {n}")
        rows.append((f"k{n}", f"{n}.txt", "whatsapp_centre"))
    for n in (1, 2):
        (folder / f"empty{n}.txt").touch()
        rows.append((f"e{n}", f"empty{n}.txt", "whatsapp_centre"))
    write_manifest(folder / f"{day}.csv", rows)
    return f"vouchers-{day}", start(airflow, NIGHTLY, {"folder": str(folder)}, day=day, hour=5)


def test_somebody_watches_a_dag_run_upload_and_goes_from_the_page_to_the_run(airflow, run):
    """Nobody touches the page: it renews itself."""
    if find_chromium() is None:
        pytest.skip(f"THE BROWSER TEST DID NOT RUN: {MISSING}")
    campaign, run_id = run
    page = f"{airflow.base_url}/plugin/whatsapp-media/dialog360/campaign?name={campaign}"
    wait_for("the plan", lambda: "plan" in ended(airflow, run_id), within_s=120)
    with browser() as tab:
        tab.look(width=1280)
        tab.open(f"{page}&every=1")
        tab.wait_for(f"{FRAME}.querySelector('.sentences .tag.good')?.innerText === 'running'", within_s=60)
        seen = watch(tab)
        assert seen == sorted(seen)
        assert len(set(seen)) >= 3, seen
        assert airflow.wait(NIGHTLY, run_id) == "success"
        tab.open(f"{page}&every=0")
        tab.wait_for(f"{FRAME}.querySelector('h1 .tag')?.innerText === 'Ready, but for what was rejected.'")
        assert " was at it from " in tab.run(f"{FRAME}.querySelector('.sentences').innerText")
        tab.run(f"{FRAME}.querySelector('summary').click()")
        assert "empty_file" in tab.wait_for(f"{FRAME}.querySelector('details[open]')?.innerText")
        tab.run(f"{FRAME}.querySelector('.sentences a').click()")
        path = f"/dags/{NIGHTLY}/runs/{urllib.parse.quote(run_id, safe='')}"
        tab.wait_for(f"location.pathname.startsWith({json.dumps(path)})")


def watch(tab):
    """How many items are done, as the page says it, each time it says something else, until it says that all are."""
    done = f"+[...{FRAME}.querySelectorAll('.tile')].find(e => e.innerText.includes('done')).querySelector('dd').innerText"
    seen, ends_at = [], time.monotonic() + 90
    while not seen or seen[-1] < FILES:
        now = tab.wait_for(f"{done} + 1") - 1  # 0 is nothing to wait for
        if not seen or now != seen[-1]:
            seen.append(now)
        assert time.monotonic() < ends_at, seen
    return seen


def ended(airflow, run_id):
    return {ti["task_id"] for ti in airflow.task_instances(NIGHTLY, run_id) if ti["state"] == "success"}
