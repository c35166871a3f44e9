"""The labelled set: what is known of each file before anybody judges it, against what is said of it.

``base.csv`` holds a row a file: what the base install has to say. ``media.csv`` holds the rows that read otherwise where ``[media]``
is installed, for pictures, films and sounds are decoded then; all others hold for both. ``errors`` and ``warnings`` are codes of
docs/judgement.md. The rows were written from the documents and not from the verdicts: where one is red, find out who is right.
"""

import csv
import re
from pathlib import Path

import pytest

from airflow_provider_360dialog.media.decoding.deep import inspect_deeply
from airflow_provider_360dialog.media.decoding.workshop import Workshop
from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.media.limits import BY_MIME_TYPE
from tests.media.builders import MemorySource
from tests.media.labelled.files import FILES

HERE = Path(__file__).parent
DOCUMENT = Path(__file__).parents[3] / "docs" / "judgement.md"
NOT_OF_A_FILE = {"decoder_crashed", "not_decoded", "not_prepared"}
"""What depends on the decoder of the day, on the machine, and on what is to be done with the file."""


def read_table(name):
    with (HERE / name).open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    found = {row["file"]: row for row in rows}
    assert len(found) == len(rows)
    return found


BASE = read_table("base.csv")
MEDIA = read_table("media.csv")

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.id)


@pytest.fixture(scope="module")
def workshop():
    with Workshop(workers=1) as opened:
        yield opened


def row_of(file, verdict):
    codes = {severity: sorted(p.code for p in verdict.problems if p.severity == severity) for severity in ("error", "warning")}
    return {
        "file": file.id,
        "sent_name": verdict.filename,
        "ok": "yes" if verdict.ok else "no",
        "kind": verdict.kind or "",
        "mime_type": verdict.mime_type or "",
        "errors": " ".join(codes["error"]),
        "warnings": " ".join(codes["warning"]),
    }


@each_file
def test_the_base_install_judges_it_right(file):
    verdict = inspect(MemorySource(file.make(), file.name), mime_type=file.mime_type, kind=file.kind)
    assert row_of(file, verdict) == BASE[file.id]
    assert file.accepted or not verdict.ok
    assert all(problem.message and problem.remedy for problem in verdict.problems)


@each_file
def test_with_media_it_is_judged_right(file, workshop):
    source = MemorySource(file.make(), file.name)
    deep = inspect_deeply(source, workshop=workshop, mime_type=file.mime_type, kind=file.kind)
    assert row_of(file, deep.verdict) == MEDIA.get(file.id, BASE[file.id])


def test_no_file_that_whatsapp_does_not_take_is_let_through():
    """By the table of the base install, which holds its verdicts as they are."""
    strangers = [file.id for file in FILES if not file.accepted]
    assert len(strangers) > 120
    assert [name for name in strangers if BASE[name]["ok"] == "yes"] == []
    assert [name for name in strangers if MEDIA.get(name, BASE[name])["ok"] == "yes"] == []


def test_what_is_let_through_has_a_type_that_whatsapp_takes():
    accepted = [row for row in BASE.values() if row["ok"] == "yes"]
    assert len(accepted) > 120
    assert {row["mime_type"] for row in accepted} == set(BY_MIME_TYPE)


def test_every_file_has_its_row_and_every_row_its_file():
    ids = [file.id for file in FILES]
    assert len(ids) >= 120
    assert ids == list(BASE)


def test_decoding_only_adds_findings():
    """So the second table is that of differences, and nothing that the base install refuses is let through by decoding."""
    for name, row in MEDIA.items():
        base = BASE[name]
        assert row != base
        assert base["ok"] == "yes"
        assert [row[column] for column in ("sent_name", "kind", "mime_type")] == [
            base[column] for column in ("sent_name", "kind", "mime_type")
        ]
        for column in ("errors", "warnings"):
            assert set(base[column].split()) <= set(row[column].split())


@pytest.mark.parametrize("table", [BASE, MEDIA], ids=["base", "media"])
def test_a_file_with_an_error_is_not_ok(table):
    assert [name for name, row in table.items() if (row["ok"] == "no") != bool(row["errors"])] == []


def test_every_code_of_the_documents_occurs_in_the_set():
    section = DOCUMENT.read_text(encoding="utf-8").partition("<!-- problems -->")[2].partition("<!-- /problems -->")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert len(documented) > 40
    found = {code for row in (*BASE.values(), *MEDIA.values()) for code in f"{row['errors']} {row['warnings']}".split()}
    assert documented - NOT_OF_A_FILE == found & documented
