"""``dialog360 check``: the verdict of the hook, for a shell."""

from __future__ import annotations

import json

import pytest

from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

NAMES = ("photo.jpg", "chart.png", "bad_vorbis.ogg", "bad_empty.jpg", "clip.mp4")


@pytest.fixture
def files(checkout):
    return [str(checkout / "dags_examples" / "media" / name) for name in NAMES]


def test_each_file_has_the_verdict_of_the_hook(dialog360, files):
    """One object a line, in the order in which they were given; the exit status says that one is bad."""
    done = dialog360("check", "--json", *files)
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [each["path"] for each in told] == files
    for path, each in zip(files, told, strict=True):
        verdict = Dialog360Hook().inspect(path)
        assert (each["ok"], each["kind"], each["mime_type"]) == (verdict.ok, verdict.kind, verdict.mime_type)
        assert (each["size_bytes"], each["sha256"]) == (verdict.size_bytes, verdict.sha256)
        assert [problem["code"] for problem in each["problems"]] == [problem.code for problem in verdict.problems]
        assert all(set(problem) == {"code", "severity", "message", "remedy"} for problem in each["problems"])
    assert done.status == 1


def test_good_files_are_all_well(dialog360, files):
    done = dialog360("check", files[0], files[1])
    assert done.status == 0
    assert done.out.splitlines()[-1] == "2 files can be sent, 1 of them with warnings; 0 cannot."
    assert dialog360("check", files[0]).out.endswith("1 file can be sent, 0 of them with warnings; 0 cannot.\n")
    assert "[png_reencoded]" in done.out
    assert "\x1b" not in done.out, "no colours but in a terminal"


def test_what_cannot_be_read_is_a_problem_and_the_others_are_judged(dialog360, files, tmp_path):
    done = dialog360("check", "--json", str(tmp_path / "nowhere.jpg"), files[0])
    first, second = map(json.loads, done.out.splitlines())
    assert [problem["code"] for problem in first["problems"]] == ["source_unreadable"]
    assert (first["sha256"], second["ok"], done.status) == (None, True, 1)


def test_a_name_cannot_write_to_the_terminal(dialog360, files, tmp_path):
    """Nor pass for markup."""
    path = tmp_path / "a\x1b[31m[red]b\n.jpg"
    path.write_bytes(b"")
    done = dialog360("check", str(path))
    assert "\x1b" not in done.out
    assert "a\\x1b[31m[red]b\\x0a.jpg" in done.out


def test_without_a_file_it_is_usage(dialog360):
    assert dialog360("check").status == 2
