"""A picture is prepared as its recipe says, judged anew, and has a receipt; whatever cannot be prepared is refused."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict

import pytest

from airflow_provider_360dialog.exceptions import SourceChangedError, WorkerUnavailableError
from airflow_provider_360dialog.media.decoding import workshop as workshops
from airflow_provider_360dialog.media.decoding.workshop import Workshop
from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.media.preparation.fitting import TooLargeError
from airflow_provider_360dialog.media.preparation.prepare import prepare
from airflow_provider_360dialog.media.preparation.recipes import CHANGES, RECIPES
from airflow_provider_360dialog.ports import Verdict
from tests.media.builders import segment
from tests.support.pictures import exif, jpeg, located, opened, png, scene, turned, webp


class Memory:
    """A file in memory."""

    def __init__(self, content, name="photo.jpg"):
        self.content, self.name, self.uri = content, name, f"memory:{name}"

    def size_bytes(self):
        return len(self.content)

    def open(self):
        return io.BytesIO(self.content)

    def stamp(self):
        return None


@pytest.fixture(scope="module")
def workshop():
    with Workshop(workers=1) as found:
        yield found


@pytest.fixture
def prepared(workshop, tmp_path):
    def prepare_it(content, name="photo.jpg", **said):
        return prepare(Memory(content, name), workshop=workshop, folder=tmp_path, **said)

    return prepare_it


def codes(prepared):
    return [change.code for change in prepared.verdict.receipt.changes]


MENDED = {
    "turned": (turned(), "a.jpg", ["turned"], "image/jpeg"),
    "located": (located(), "a.jpg", ["location_removed"], "image/jpeg"),
    "grey": (jpeg(scene(mode="L")), "a.jpg", ["to_rgb"], "image/jpeg"),
    "for a printer": (jpeg(scene(mode="CMYK")), "a.jpg", ["to_rgb"], "image/jpeg"),
    "a PNG": (png(), "a.png", ["to_jpeg"], "image/jpeg"),
    "a PNG with a palette": (png(scene(mode="P")), "a.png", ["to_rgb", "to_jpeg"], "image/jpeg"),
    "a sticker": (webp(scene(300, 200, "RGBA")), "a.webp", ["fitted_to_512"], "image/webp"),
}


@pytest.mark.parametrize(("content", "name", "changes", "mime_type"), MENDED.values(), ids=MENDED)
def test_what_can_be_mended_is_fine_afterwards(prepared, content, name, changes, mime_type):
    found = prepared(content, name)
    after = found.path.read_bytes()
    assert codes(found) == changes
    assert found.verdict.ok
    assert found.verdict.mime_type == mime_type
    assert found.verdict.filename == "a" + {"image/jpeg": ".jpg", "image/webp": ".webp"}[mime_type]
    assert not [problem.code for problem in found.verdict.problems if problem.code != "sticker_not_transparent"]
    assert found.verdict.sha256 == hashlib.sha256(after).hexdigest()
    assert opened(after).mode in {"RGB", "RGBA"}


@pytest.mark.parametrize(("content", "name"), [each[:2] for each in MENDED.values()], ids=MENDED)
def test_a_second_preparation_changes_nothing(prepared, content, name):
    after = prepared(content, name).path.read_bytes()
    again = prepared(after, "b.webp" if name.endswith("webp") else "b.jpg")
    assert again.verdict.receipt is None
    assert again.path is None
    assert again.verdict.ok


def test_a_receipt_says_what_was_before_and_what_is_now(prepared):
    content = turned(quality=83)
    found = prepared(content)
    receipt = found.verdict.receipt
    assert receipt.changes[0].message == CHANGES["turned"]
    assert (receipt.recipe, receipt.encodes, receipt.uri) == (f"{RECIPES}-image", 1, None)
    assert asdict(receipt.before) == {
        "sha256": hashlib.sha256(content).hexdigest(), "mime_type": "image/jpeg", "size_bytes": len(content), "width": 96,
        "height": 64, "quality": 83,
    }  # fmt: skip
    assert asdict(receipt.after) == {
        "sha256": found.verdict.sha256, "mime_type": "image/jpeg", "size_bytes": found.path.stat().st_size, "width": 64,
        "height": 96, "quality": 83,
    }  # fmt: skip


def test_where_no_pixel_is_touched_the_receipt_says_so(prepared):
    found = prepared(located(quality=71))
    assert found.verdict.receipt.encodes == 0
    assert found.verdict.receipt.after.quality == 71
    assert opened(found.path.read_bytes()).tobytes() == opened(located(quality=71)).tobytes()
    assert b"Exif" not in found.path.read_bytes()


def test_the_quality_of_what_was_no_jpeg_is_not_known(prepared):
    receipt = prepared(png(), "a.png").verdict.receipt
    assert receipt.before.quality is None
    assert receipt.after.quality == 95


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param(jpeg(), "a.jpg", id="a good photo"),
        pytest.param(b"%PDF-1.4\nstartxref\n0\n%%EOF", "a.pdf", id="a document"),
        pytest.param(png(scene(mode="RGBA", seed=3).rotate(30, expand=True)), "a.png", id="a picture that really is transparent"),
    ],
)
def test_what_is_as_it_should_be_stays(prepared, tmp_path, content, name):
    found = prepared(content, name)
    assert found.verdict == inspect(Memory(content, name))
    assert found.path is None
    assert list(tmp_path.iterdir()) == []


def test_a_document_loses_its_position_and_nothing_else(prepared):
    content = jpeg(scene(mode="L"), exif=exif(orientation=6, position={1: "N", 2: (52.0, 31.0, 12.0)}))
    found = prepared(content, kind="document")
    assert codes(found) == ["location_removed"]
    assert found.verdict.kind == "document"
    sent = opened(found.path.read_bytes())
    assert sent.mode == "L"
    assert dict(sent.getexif()) == {0x0112: 6}  # a turned photo is still shown upright


def test_what_the_caller_says_still_counts(prepared):
    """A declared type that disagrees is an error that no preparation can mend: nothing is drawn."""
    found = prepared(turned(), mime_type="application/pdf")
    assert [problem.code for problem in found.verdict.errors] == ["mime_disagrees"]
    assert found.path is None


def test_a_png_that_was_declared_as_one_becomes_a_jpeg_all_the_same(prepared):
    found = prepared(png(), "a.png", mime_type="image/png", filename="logo.png", kind="image")
    assert found.verdict.ok
    assert found.verdict.filename == "logo.jpg"
    assert found.verdict.mime_type == "image/jpeg"


def broken_png():
    content = bytearray(png(scene(mode="P")))
    at = content.index(b"IDAT") + 8
    content[at : at + 60] = b"\x55" * 60
    return bytes(content)


def test_a_picture_that_cannot_be_decoded_is_refused_with_a_remedy(prepared, tmp_path):
    found = prepared(broken_png(), "a.png")
    assert [problem.code for problem in found.verdict.errors] == ["not_prepared", "image_not_rgb"]
    assert "cannot be decoded" in found.verdict.errors[0].message
    assert "save it again" in found.verdict.errors[0].remedy
    assert found.path is None
    assert list(tmp_path.iterdir()) == []


FAULTS = {
    "hangs": (workshops.JobHungError(120.0), "longer than 120 s"),
    "crashes": (workshops.JobCrashedError(11, None), "crash"),
    "is too large": (workshops.JobTooLargeError(), "more memory"),
    "cannot be made small enough": (
        workshops.JobFailedError("TooLargeError", str(TooLargeError(5_000_000, 5))),
        f"could not be prepared: {TooLargeError(5_000_000, 5)}.",
    ),
    "is none": (workshops.JobFailedError("UnidentifiedImageError", "cannot identify '/tmp/a'"), "(UnidentifiedImageError)"),
}


class Broken:
    """A workshop in which every job ends like this."""

    def __init__(self, fault):
        self.fault = fault

    def run(self, job, **arguments):
        raise self.fault


@pytest.mark.parametrize(("fault", "words"), FAULTS.values(), ids=FAULTS)
def test_a_picture_whose_preparation_fails_is_not_sent(tmp_path, fault, words):
    """Also one that could be sent as it is: it was to be prepared, perhaps to remove its position."""
    found = prepare(Memory(turned()), workshop=Broken(fault), folder=tmp_path)
    assert [problem.code for problem in found.verdict.errors] == ["not_prepared"]
    assert words in found.verdict.errors[0].message
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_cannot_start_is_no_fault_of_the_file(tmp_path):
    with pytest.raises(WorkerUnavailableError, match="no memory"):
        prepare(Memory(turned()), workshop=Broken(workshops.WorkerMissingError("no memory")), folder=tmp_path)


def test_a_file_that_changes_under_our_hands_is_tried_again(workshop, tmp_path):
    class Changing(Memory):
        def open(self):
            handle = super().open()
            self.content = turned(quality=50)
            return handle

    with pytest.raises(SourceChangedError):
        prepare(Changing(turned(quality=90)), workshop=workshop, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_pictures_in_a_file_become_the_first(prepared):
    second = jpeg(scene(seed=99))
    content = jpeg()
    index = b"MPF\x00MM\x00*\x00\x00\x00\x08\x00\x01\xb0\x01\x00\x04\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00"
    found = prepared(content[:2] + segment(0xE2, index) + content[2:] + second)
    assert codes(found) == ["metadata_removed", "first_picture_kept"]
    assert second[-200:] not in found.path.read_bytes()


def test_a_verdict_with_a_receipt_survives_json(prepared):
    """It is kept in the ledger, and beside the prepared file."""
    verdict = prepared(turned()).verdict
    assert Verdict.from_facts(json.loads(json.dumps(asdict(verdict)))) == verdict
