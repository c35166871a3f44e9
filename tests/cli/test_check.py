"""``dialog360 check``: the verdict of the hook, for a shell."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from contextlib import contextmanager

import pytest

from airflow_provider_360dialog.cli import files as command
from airflow_provider_360dialog.cli.commands import build_parser
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.places import source_at
from airflow_provider_360dialog.ports import Change, Receipt, Shape, Verdict

NAMES = ("photo.jpg", "chart.png", "bad_vorbis.ogg", "bad_empty.jpg", "clip.mp4")
KEYS = ["path", "ok", "kind", "mime_type", "size_bytes", "sha256", "problems"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def files(checkout):
    return [str(checkout / "dags_examples" / "media" / name) for name in NAMES]


@pytest.fixture
def in_terminal(monkeypatch):
    """Run ``dialog360 check`` where somebody sits; what stands on standard output and on standard error."""

    def run(*words, columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        out, err = Terminal(), Terminal()
        monkeypatch.setattr("sys.stderr", err)
        command.check(build_parser().parse_args(["check", *words]), out)
        return out.getvalue(), err.getvalue()

    return run


def test_each_file_has_the_verdict_of_the_hook(dialog360, files):
    """One object a line, in the order in which they were given; the exit status says that one is bad."""
    done = dialog360("check", "--json", "--headers-only", *files)
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [each["path"] for each in told] == files
    for path, each in zip(files, told, strict=True):
        assert list(each) == KEYS
        verdict = Dialog360Hook().inspect(path)
        assert (each["ok"], each["kind"], each["mime_type"]) == (verdict.ok, verdict.kind, verdict.mime_type)
        assert (each["size_bytes"], each["sha256"]) == (verdict.size_bytes, verdict.sha256)
        assert [problem["code"] for problem in each["problems"]] == [problem.code for problem in verdict.problems]
        assert all(set(problem) == {"code", "severity", "message", "remedy"} for problem in each["problems"])
    assert done.status == 1


def test_good_files_are_all_well(dialog360, files):
    done = dialog360("check", "--headers-only", files[0], files[1])
    assert done.status == 0
    assert done.out.splitlines()[-1] == "2 files can be sent, 1 of them with warnings; 0 cannot."
    only = dialog360("check", "--headers-only", files[0])
    assert only.out.endswith("1 file can be sent, 0 of them with warnings; 0 cannot.\n")
    assert "[png_reencoded]" in done.out
    assert "\x1b" not in done.out, "no colours but in a terminal"


def test_what_cannot_be_read_is_a_problem_and_the_others_are_judged(dialog360, files, tmp_path):
    done = dialog360("check", "--json", "--headers-only", tmp_path / "nowhere.jpg", files[0])
    first, second = map(json.loads, done.out.splitlines())
    assert [problem["code"] for problem in first["problems"]] == ["source_unreadable"]
    assert list(first) == KEYS
    assert (first["sha256"], second["ok"], done.status) == (None, True, 1)


def test_a_folder_is_no_file_and_is_told_what_to_give_in_its_place(dialog360, tmp_path):
    done = dialog360("check", "--headers-only", tmp_path)
    assert "[source_unreadable]" in done.out
    assert "-> It is a folder: name the files in it" in done.out
    assert done.status == 1


def test_a_uri_is_shown_without_its_secrets(dialog360):
    done = dialog360("check", "--json", "--headers-only", "s3://user:test-key@bucket/photo.jpg", "https://host/a?sig=test-key")
    assert [json.loads(line)["path"] for line in done.out.splitlines()] == ["s3://bucket/photo.jpg", "https://host/a"]
    assert "test-key" not in done.out + done.err


def test_a_name_cannot_write_to_the_terminal(dialog360, files, tmp_path):
    """Nor pass for markup."""
    path = tmp_path / "a\x1b[31m[red]b\n\u202e.jpg"
    path.write_bytes(b"")
    done = dialog360("check", "--headers-only", str(path))
    assert "\x1b" not in done.out
    assert "a\\x1b[31m[red]b\\x0a\\x202e.jpg" in done.out


def test_without_a_file_it_is_usage(dialog360):
    assert dialog360("check").status == 2


def test_what_is_prepared_has_to_be_decoded(dialog360, files, tmp_path):
    done = dialog360("check", "--headers-only", "--prepare", tmp_path, files[0])
    assert (done.status, done.out) == (2, "")
    assert "do not go together" in done.err


def test_only_headers_are_read_where_that_is_asked_for(dialog360, files):
    """And it is said, where it disturbs no program."""
    text = dialog360("check", "--headers-only", files[0])
    assert text.out.splitlines()[-2].startswith("Only headers were read")
    lines = dialog360("check", "--headers-only", "--json", files[0])
    assert len(lines.out.splitlines()) == 1
    assert "Only headers were read" in lines.err


# --- the table ----------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_file(dialog360, files):
    head, *rows = dialog360("check", "--headers-only", *files).out.splitlines()
    assert head.split() == ["file", "kind", "type", "size", "findings"]
    firsts = [row.split(maxsplit=5) for row in rows if row[:4].strip() in {"ok", "warn", "BAD"}]
    assert [row[:5] for row in firsts] == [
        ["ok", files[0], "image", "image/jpeg", "21.0"],
        ["warn", files[1], "image", "image/png", "1.4"],
        ["BAD", files[2], "-", "audio/vorbis", "7.3"],
        ["BAD", files[3], "-", "-", "0"],
        ["ok", files[4], "video", "video/mp4", "11.6"],
    ]
    starts = {row.index(mark) for row in rows for mark in ("[png_", "[type_", "[empty_", "-> ") if mark in row}
    assert starts == {head.index("findings")}, "the findings stand below each other"


def test_without_a_terminal_no_code_and_no_name_is_broken(dialog360, files, tmp_path, monkeypatch):
    """Whatever COLUMNS says: the lines are for grep."""
    monkeypatch.setenv("COLUMNS", "40")
    path = tmp_path / ("long-name-" * 10 + ".mp3")
    path.write_bytes(b"")
    out = dialog360("check", "--headers-only", files[1], files[2], path).out
    assert all(word in out for word in ("[png_reencoded]", "[type_not_accepted]", "[empty_file]", str(path), files[1]))
    assert all(line == line.rstrip() for line in out.splitlines())


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_in_a_terminal_it_is_coloured_and_fits(in_terminal, files, columns):
    from rich.text import Text

    out, _ = in_terminal("--headers-only", *files, columns=columns)
    assert "\x1b[31m" in out
    assert "\x1b[32mok" in out
    lines = [Text.from_ansi(line).plain for line in out.splitlines()]
    assert max(map(len, lines)) <= columns
    assert all(any(code in line for line in lines) for code in ("[png_reencoded]", "[type_not_accepted]"))
    assert "image, image/png, 1.4 kB" in " ".join(lines) or columns == 200


def test_a_bar_is_shown_where_somebody_sits_and_it_takes_a_while(in_terminal, dialog360, files):
    out, err = in_terminal("--headers-only", *files * 2, columns=150)
    assert "Looking at files" in err
    assert "10/10" in err
    assert "Looking" not in out
    assert in_terminal("--headers-only", *files, columns=150)[1] == "", "not for a few"
    assert dialog360("check", "--headers-only", *files * 2).err == "", "nobody sits there"


# --- who judges ---------------------------------------------------------------------------------------------------


def test_pixels_are_looked_at_unless_headers_are_enough(dialog360, files, tmp_path):
    """A photo whose header is fine, and whose picture is not."""
    path, content = tmp_path / "photo.jpg", bytearray((tmp_path / files[0]).read_bytes())
    content[4_000:20_000] = bytes(16_000)
    path.write_bytes(content)
    assert "image_corrupt" not in dialog360("check", "--headers-only", path).out
    assert "[image_corrupt]" in dialog360("check", path).out
    assert "[image_corrupt]" in dialog360("check", "--prepare", tmp_path / "mended", path).out, "it needs no preparation"


def test_what_could_not_be_looked_at_is_said_last_but_one(dialog360, tmp_path, monkeypatch):
    """On standard error where the output is for a program."""
    monkeypatch.setattr("airflow_provider_360dialog.media.decoding.deep.missing_tools", lambda: ("PyAV",))
    path = tmp_path / "notes.txt"
    path.write_text("Hello")
    assert dialog360("check", path).out.splitlines()[-2].startswith("PyAV is not installed")
    done = dialog360("check", "--json", path)
    assert done.data["ok"]
    assert done.err.startswith("PyAV is not installed")
    monkeypatch.undo()
    assert len(dialog360("check", path).out.splitlines()) == 3, "a head, a row and the counts"


@pytest.fixture
def prepared(monkeypatch):
    """A preparation that changed every file; where it was asked to keep them."""
    asked = []
    before = Shape("a" * 64, "image/png", 6_112_345, 4000, 3000, None)
    after = Shape("b" * 64, "image/jpeg", 4_912_345, 2000, 1500, 92)
    changes = (Change("turned", "Its pixels were turned."), Change("scaled_down", "It has fewer pixels."))

    @contextmanager
    def preparing(folder):
        asked.append(folder)
        receipt = Receipt(changes, before, after, "p1-image", 2, f"{folder}/photo.jpg")
        yield lambda source: Verdict("image", "image/jpeg", "photo.jpg", 4_912_345, "b" * 64, (), receipt)

    monkeypatch.setattr(command, "_preparing", preparing)
    return asked


def test_a_prepared_file_says_what_changed_and_where_it_is(dialog360, files, prepared):
    done = dialog360("check", "--prepare", "/out", files[0])
    assert prepared == ["/out"]
    words = " ".join(done.out.split())
    assert "-> /out/photo.jpg: 6.1 MB, 4000 x 3000 -> 4.9 MB, 2000 x 1500, quality 92" in words
    assert "Its pixels were turned. It has fewer pixels." in words
    assert done.out.splitlines()[-1] == "1 file can be sent, 0 of them with warnings, 1 of them prepared; 0 cannot."
    assert done.status == 0


def test_a_picture_is_prepared_into_the_folder(dialog360, files, tmp_path):
    told = dialog360("check", "--prepare", tmp_path / "mended", "--json", files[1]).data
    content = source_at(told["receipt"]["uri"]).open().read()
    assert hashlib.sha256(content).hexdigest() == told["sha256"] == told["receipt"]["after"]["sha256"]
    assert told["mime_type"] == "image/jpeg"


def test_a_prepared_file_has_its_receipt_in_json(dialog360, files, prepared):
    told = dialog360("check", "--prepare", "/out", "--json", files[0]).data
    assert list(told) == [*KEYS, "receipt"]
    assert told["receipt"]["uri"] == "/out/photo.jpg"
    assert told["receipt"]["changes"][0] == {"code": "turned", "message": "Its pixels were turned."}


def test_without_pillow_a_preparation_says_what_to_install_and_prints_no_table(dialog360, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "PIL" else find(name, *more))
    done = dialog360("check", "--prepare", tmp_path / "ready", tmp_path / "a.jpg")
    assert (done.status, done.out) == (1, "")
    assert "pip install 'airflow-provider-360dialog[media]'" in done.err
