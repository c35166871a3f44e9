"""The proofs of judging and preparing at small size, and their own guards; how fast is for `scripts/proof media`."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import pytest

from airflow_provider_360dialog.media.judge import inspect
from benchmarks import files, fuzz, judging, preparing


@pytest.fixture(scope="module")
def whole():
    return files.seeds()


@pytest.mark.parametrize("way", fuzz.WAYS)
def test_broken_files_get_their_verdicts(way):
    """P5: none crashes, hangs or eats memory; what can be prepared is good then, and stays as it is."""
    found = fuzz.run(ways=way, count=150, most_s=60)
    assert found["holds"], found
    assert found[way]["verdicts"] == 150
    assert 20 < found[way]["ok"] < 130
    assert len(found[way]["codes"]) > 10
    assert way == "base" or any(job.endswith(" done") for job in found[way]["jobs"])


def test_photos_and_a_document_are_judged_rightly_by_one_process_and_by_two():
    found = judging.run(photos=30, rounds=1, at_least_per_s=0, document_mb=5, passes=1, megapixels=1)
    assert found["holds"], found
    assert set(found["per_s"]) == {"1", "2"}
    assert 1_000_000 < found["photo_bytes"] < 2_500_000


def test_photos_that_need_it_are_prepared_with_one_encode_each():
    found = preparing.run(photos=6, pictures=1, most_times=1000, least_megapixels=1, kept=3)
    assert found["holds"], found
    assert found["turned"]["changes"]["turned"] == found["cmyk"]["changes"]["to_rgb"] == found["png"]["changes"]["to_jpeg"] == 2
    assert found["kept"]["workers_at_first"] == 1
    assert found["kept"]["workers_at_second"] == 0


# --- what the proofs stand on -------------------------------------------------------------------------------------


def test_a_mutant_is_made_again_by_its_number_and_others_differ(whole):
    first = [files.mutant(number, whole) for number in range(200)]
    again = [files.mutant(number, files.seeds.__wrapped__()) for number in range(0, 200, 100)]
    assert [mutant.how for mutant in again if mutant not in first] == []
    assert len({mutant.data for mutant in first}) > 180
    assert sum(mutant.data != whole[number % len(whole)].data for number, mutant in enumerate(first)) > 180


def test_the_first_files_are_of_all_kinds(whole):
    assert {inspect(file).kind for file in whole[:50]} == {None, "image", "video", "audio", "document", "sticker"}
    assert all(len(file.data) < 120_000 for file in whole)


def test_every_damage_is_done_somewhere(whole):
    hows = " ".join(files.mutant(number, whole).how for number in range(1000))
    damages = ("flipped", "cut", "spliced", "doubled", "removed", "zeroed", "length_set", "stretched", "checksums_mended")
    assert [damage for damage in damages if damage not in hows] == []


def test_photos_all_differ_are_good_and_have_the_size_that_was_asked_for():
    made = list(files.photos(12, size_bytes=300_000, megapixels=0.5, pictures=2))
    verdicts = [inspect(photo) for photo in made]
    assert all(verdict.ok and 270_000 < verdict.size_bytes < 335_000 for verdict in verdicts)
    assert len({verdict.sha256 for verdict in verdicts}) == 12
    assert {bool(verdict.problems) for verdict in verdicts} == {True, False}  # some are stored turned


@pytest.mark.parametrize("size_bytes", [1000, 1234, 99_999, 10**6])
def test_a_pdf_has_exactly_the_size_that_was_asked_for(size_bytes):
    verdict = inspect(files.Named("report.pdf", files.pdf(size_bytes)))
    assert (verdict.ok, verdict.problems, verdict.size_bytes) == (True, (), size_bytes)


# --- what the proof of broken files would not overlook ------------------------------------------------------------


@contextmanager
def _with(what):
    def judge(file, kind):
        return what(file), ""

    yield judge


def _crashing(workers, tally):
    return _with(lambda file: 1 / 0)


def _dying(workers, tally):
    return _with(lambda file: os._exit(3) if tally.seconds else inspect(file))


def _sleeping(workers, tally):
    return _with(lambda file: time.sleep(60) if tally.seconds else inspect(file))


def _hoarding(workers, tally):
    hoard = []
    return _with(lambda file: hoard.append(b"x" * 5_000_000) or inspect(file))


@contextmanager
def _wrong(workers, tally):
    yield lambda file, kind: (inspect(file), "the verdict is of other bytes")


@pytest.mark.parametrize(
    ("way", "fault", "not_kept"),
    [
        (_crashing, "ZeroDivisionError at test_media_proofs.py", "every file has a verdict"),
        (_dying, "the process ended with 3", "every file has a verdict"),
        (_sleeping, "took more than 2 s", "every file has a verdict"),
        (_wrong, "the verdict is of other bytes", "every file has a verdict"),
        (_hoarding, "", "memory grows by less than 200 MB"),
    ],
)
def test_what_goes_wrong_is_found_and_its_file_named(monkeypatch, way, fault, not_kept):
    monkeypatch.setitem(fuzz._JUDGES, "base", way)
    if way is _sleeping:
        monkeypatch.setattr(fuzz, "_SILENT_S", 2.0)
    found = fuzz.run(ways="base", count=100, first=7)
    assert not found["holds"]
    assert found["base"]["not_kept"] == [not_kept]
    if fault:
        assert found["base"]["faults"][0]["fault"].startswith(fault)
        assert found["base"]["faults"][0]["number"] == (8 if way in {_dying, _sleeping} else 7)


@pytest.mark.parametrize(
    ("seen", "not_kept"),
    [
        ({"seconds": [0.1, 5.0]}, []),
        ({"seconds": [0.1, 5.1]}, ["none takes too long"]),
        ({"seconds": [0.1]}, ["every file has a verdict"]),
        ({"seconds": [0.1, 0.1], "native": ["PIL"]}, ["no decoder in this process"]),
        ({"seconds": [0.1, 0.1], "growth_of_workers_bytes": 200 * 10**6}, ["memory grows by less than 200 MB"]),
        ({"seconds": [0.1, 0.1], "jobs": {"redraw JobFailedError OSError": 2}}, ["the worker processes did something"]),
    ],
)
def test_a_promise_that_is_not_kept_is_named(seen, not_kept):
    assert fuzz._summed(vars(fuzz._Tally(**seen)), 2, 5.0)["not_kept"] == not_kept


def test_a_wrong_verdict_of_a_photo_is_counted(tmp_path):
    paths, right = judging._photos(tmp_path, 2, 0.2)
    wrong = [right[0], (right[1][0], "0" * 64)]
    assert judging._rates(paths, wrong, 1)["wrong"] == 2  # once by one process, once by two


def test_a_way_that_does_not_exist_is_refused():
    with pytest.raises(SystemExit, match="no such ways: depp"):
        fuzz.run(ways="base,depp")
