"""One pass over a file, and the committed samples."""

import hashlib
import io
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.exceptions import SourceUnreadableError, StorageFailedError
from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.media.limits import LARGEST_MAX_BYTES, LIMITS
from airflow_provider_360dialog.ports import Verdict
from tests.media import builders as b

SAMPLES = Path(__file__).parents[2] / "dags_examples" / "media"


def codes(verdict):
    return [problem.code for problem in verdict.problems]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.mime_type)
def test_every_accepted_type_passes_under_its_own_name(limit):
    data = b.BUILDERS[limit.mime_type]()
    verdict = inspect(b.MemorySource(data, f"file{limit.extensions[0]}"), mime_type=limit.mime_type, kind=limit.kind)
    assert replace(verdict, problems=()) == Verdict(
        kind=limit.kind,
        mime_type=limit.mime_type,
        filename=f"file{limit.extensions[0]}",
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    assert codes(verdict) == (["png_reencoded"] if limit.mime_type == "image/png" else [])


@pytest.mark.parametrize(
    ("name", "mime_type", "expected"),
    [
        ("photo.jpg", "image/jpeg", []),
        ("chart.png", "image/png", ["png_reencoded"]),
        ("invoice.pdf", "application/pdf", []),
        ("letter.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", []),
        ("notes.txt", "text/plain", []),
        ("voice_note.ogg", "audio/ogg", []),
        ("clip.mp4", "video/mp4", []),
        ("sticker.webp", "image/webp", []),
        ("sticker_animated.webp", "image/webp", []),
        ("bad_empty.jpg", None, ["empty_file"]),
        ("bad_html_named.pdf", "text/html", ["type_not_accepted", "extension_disagrees"]),
        ("bad_png_named.jpg", "image/png", ["extension_disagrees", "png_reencoded"]),
        ("bad_sticker_too_large.webp", "image/webp", ["sticker_too_large", "sticker_not_512", "sticker_not_transparent"]),
        ("bad_table.csv", "text/csv", ["type_not_accepted"]),
        ("bad_vorbis.ogg", "audio/vorbis", ["type_not_accepted"]),
    ],
)
def test_a_sample_is_what_its_name_says(name, mime_type, expected):
    verdict = inspect(b.MemorySource((SAMPLES / name).read_bytes(), name))
    assert (verdict.mime_type, codes(verdict)) == (mime_type, expected)


def test_the_samples_are_all_judged_here_and_small():
    judged = {row[0] for row in test_a_sample_is_what_its_name_says.pytestmark[0].args[1]}
    files = list(SAMPLES.iterdir())
    assert judged == {file.name for file in files}
    assert sum(file.stat().st_size for file in files) < 600_000


@pytest.mark.parametrize(("frames", "expected"), [(1, ["sticker_too_large"]), (2, [])])
def test_what_moves_is_told_by_its_frames_and_not_by_its_flag(frames, expected):
    """200 kB are too much for a still sticker, also for one that calls itself an animation."""
    assert codes(inspect(b.MemorySource(b.animation(frames, 200_000), "a.webp"))) == expected


def test_the_given_name_replaces_the_sources_own():
    assert inspect(b.MemorySource(b.PNG, "tmp3f9.jpg"), filename="chart.png").filename == "chart.png"


def test_a_source_that_announces_too_much_is_not_opened():
    source = b.MemorySource(b.PDF, "a.pdf", announced_bytes=LARGEST_MAX_BYTES + 1)
    verdict = inspect(source)
    assert source.opened == 0
    assert (codes(verdict), verdict.size_bytes, verdict.sha256) == (["too_large"], LARGEST_MAX_BYTES + 1, "")


class Endless(io.RawIOBase):
    """Zeros behind a beginning, as many as asked for; counts the largest read and all bytes."""

    def __init__(self, head, size_bytes):
        self.head, self.left, self.largest_read, self.total = head, size_bytes, 0, 0

    def read(self, size=-1):
        assert size > 0
        self.largest_read = max(self.largest_read, size)
        size = min(size, self.left)
        data, self.head = self.head[:size].ljust(size, b"\0"), self.head[size:]
        self.left -= size
        self.total += size
        return data


class EndlessSource(b.MemorySource):
    def __init__(self, head, size_bytes, name):
        super().__init__(b"", name, announced_bytes=10)
        self.handle = Endless(head, size_bytes)

    def open(self):
        return self.handle


def test_reading_stops_when_a_growing_file_passes_every_limit():
    source = EndlessSource(b.PDF, 10**12, "a.pdf")
    verdict = inspect(source)
    assert source.handle.total <= LARGEST_MAX_BYTES + 256 * 1024
    assert (codes(verdict), verdict.sha256, verdict.mime_type) == (["too_large"], "", "application/pdf")


@pytest.mark.parametrize(("head", "mib"), [(b.PDF, 2), (b"PK\3\4", 12)], ids=["pdf", "zip, whose end is kept"])
def test_memory_stays_flat_for_a_file_of_100_mb(head, mib):
    source = EndlessSource(head, 100 * 10**6, "a.bin")
    tracemalloc.start()
    try:
        inspect(source)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert source.handle.total == 100 * 10**6
    assert source.handle.largest_read <= 256 * 1024
    assert peak_bytes < mib * 2**20


class Dripping(io.BytesIO):
    def read(self, size=-1):
        return super().read(min(size, 7))


@pytest.mark.parametrize("mime_type", sorted(b.BUILDERS))
def test_a_source_that_gives_little_at_a_time_is_judged_the_same(mime_type, monkeypatch):
    source = b.MemorySource(b.BUILDERS[mime_type](), "file")
    whole = inspect(source)
    monkeypatch.setattr(source, "open", lambda: Dripping(source.data))
    assert inspect(source) == whole


def test_what_counts_is_what_was_read_and_not_what_was_announced():
    assert inspect(b.MemorySource(b.PNG, "a.png", announced_bytes=3)).size_bytes == len(b.PNG)
    assert codes(inspect(b.MemorySource(b"", "a.png", announced_bytes=3))) == ["empty_file"]


def _raise(*args):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("where", ["size_bytes", "open"])
def test_a_source_that_cannot_be_read_says_which(where, monkeypatch):
    source = b.MemorySource(b.PNG, "a.png")
    monkeypatch.setattr(source, where, _raise)
    with pytest.raises(SourceUnreadableError, match="Permission denied") as caught:
        inspect(source)
    assert caught.value.uri == "memory://a.png"
    assert isinstance(caught.value.__cause__, OSError)


def test_a_source_that_breaks_while_it_is_read_says_which(monkeypatch):
    source = b.MemorySource(b.PNG, "a.png")
    monkeypatch.setattr(source, "open", _Breaking)
    with pytest.raises(StorageFailedError, match="stale"):
        inspect(source)


class _Breaking(io.BytesIO):
    def read(self, size=-1):
        raise OSError("stale handle")


WORDS = st.none() | st.sampled_from(["image/jpeg", "video/3gp", "text/csv", "audio/ogg; codecs=opus", ""]) | st.text(max_size=40)
KINDS = st.none() | st.sampled_from(["image", "video", "audio", "document", "sticker"]) | st.text(max_size=10)


@given(
    data=st.binary(max_size=600),
    start=st.sampled_from(sorted(b.BUILDERS)),
    cut=st.integers(0, 1100),
    mime_type=WORDS,
    kind=KINDS,
    name=st.text(),
)
def test_there_is_always_a_verdict(data, start, cut, mime_type, kind, name):
    mixed = b.BUILDERS[start]()[:cut] + data
    verdict = inspect(b.MemorySource(mixed, name), mime_type=mime_type, kind=kind)
    assert verdict.size_bytes == len(mixed)
    assert verdict.sha256 == hashlib.sha256(mixed).hexdigest()
    assert verdict.filename.isascii()
    assert not verdict.ok or (verdict.kind and verdict.mime_type)
    assert all(problem.remedy for problem in verdict.problems)
