"""The proof of campaigns at small size, and its own guards; how close to the line is for `scripts/proof campaign`."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import campaign, support


def test_a_campaign_is_uploaded_once_and_nothing_is_done_twice(engine):
    """US-1, US-6, US-7, US-10: also where a second run comes at 60 %, and where a worker is killed at half."""
    scenes = "pace,rivals,killed" if engine == "sqlite" else "rivals,killed"  # where many write at once, engines differ
    found = campaign.run(engine=engine, scenes=scenes, files=300, bad=15, size_bytes=50_000, service_s=0.1, longest=0)
    assert found["holds"], found
    assert set(found[engine]) == set(scenes.split(","))
    assert found[engine]["rivals"]["rejects_named"] == 15


@pytest.mark.parametrize("bad", [0, 3, 5, 9])
def test_the_files_are_vouchers_that_differ_and_the_bad_ones_are_spread_over_the_channels(tmp_path, bad):
    from airflow_provider_360dialog.hooks.places import source_at
    from airflow_provider_360dialog.media.judge import inspect

    manifest = campaign.make_campaign(tmp_path / "files", 60, channels=3, size_bytes=2000, bad=bad)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    verdicts = {row["key"]: inspect(source_at(str(manifest.parent / row["uri"]))) for row in rows}
    good = [verdict for verdict in verdicts.values() if verdict.ok]
    assert len(good) == len({verdict.sha256 for verdict in good}) == 60 - bad
    assert {(verdict.mime_type, verdict.size_bytes) for verdict in good} == {("application/pdf", 2000)}
    assert {row["channel"] for row in rows} == {"number_1", "number_2", "number_3"}
    assert len({row["channel"] for row in rows if not verdicts[row["key"]].ok}) == min(bad, 3)


def test_a_folder_like_another_has_the_same_good_files(tmp_path):
    first = campaign.make_campaign(tmp_path / "first", 20, channels=2, size_bytes=2000)
    second = campaign.make_campaign(tmp_path / "second", 20, channels=2, size_bytes=2000, bad=3, like=first)
    same = [path.read_bytes() == (second.parent / path.name).read_bytes() for path in first.parent.glob("*.pdf")]
    assert (same.count(True), same.count(False)) == (17, 3)


def test_an_opened_file_is_seen_whoever_opens_it(tmp_path):
    """The guard of "no file was read": in a process of its own, because an audit hook stays."""
    (tmp_path / "one.pdf").write_bytes(b"%PDF-1.4\nstartxref\n0\n%%EOF\n")
    program = (
        "import os, sys; from pathlib import Path; from benchmarks.campaign_tasks import Opened\n"
        "folder = sys.argv[1]; opened = Opened(folder, '.pdf')\n"
        "Path(folder, 'one.pdf').read_bytes(); os.close(os.open(f'{folder}/one.pdf', os.O_RDONLY)); open(f'{folder}/one.pdf').close()\n"
        "os.stat(f'{folder}/one.pdf'); open(os.devnull).close(); print(opened.count)"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=support.CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "3"


def test_a_scene_that_is_none_is_refused():
    with pytest.raises(SystemExit, match="no such scenes: pase"):
        campaign.run(scenes="pase")
