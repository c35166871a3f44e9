"""What is inside of a file reaches its verdict: readers and rules have tests of their own, here is the way between them."""

import pytest

from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.media.limits import DOCX, LARGEST_MAX_BYTES
from tests.media import builders as b
from tests.media import film_builders as f

LONG = 70_000  # more than the head that tells the type
PALETTE = b"\x89PNG\r\n\x1a\n" + b.chunk(b"IHDR", b"\0\0\0\x1e\0\0\0\x14\x08\x03\0\0\0")
PALETTE += b.chunk(b"PLTE", bytes(6)) + b.chunk(b"IDAT", b"x") + b.chunk(b"IEND")
H265 = f.mp4(f.trak(b"vide", f.stsd(f.picture(b"hvc1"))))
STEREO = b.ogg(b"OpusHead\1\2" + bytes(9))
AMR_3GP = f.mp4(f.trak(b"soun", f.stsd(f.sound(b"samr"))), brand=b"3gp4")
TABLE = b"name;city;sum\n" * 9


def index_last(*tracks, brand=b"isom"):
    return f.box(b"ftyp", brand, f.u32(512), b"mp41") + f.box(b"mdat", bytes(LONG)) + f.moov(*tracks)


def judged(data, name, **said):
    verdict = inspect(b.MemorySource(data, name), **said)
    return verdict.mime_type, [problem.code for problem in verdict.problems]


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        pytest.param(PALETTE, "a.png", ("image/png", ["image_not_rgb", "png_reencoded"]), id="a picture"),
        pytest.param(b.JPEG[:-2], "a.jpg", ("image/jpeg", ["image_truncated"]), id="a picture that is cut off"),
        pytest.param(H265, "a.mp4", ("video/mp4", ["video_codec_not_accepted"]), id="a film"),
        pytest.param(STEREO, "a.ogg", ("audio/ogg", ["voice_stereo"]), id="a sound"),
        pytest.param(b.PDF[:-8], "a.pdf", ("application/pdf", ["pdf_truncated"]), id="a PDF"),
        pytest.param(TABLE, "a", ("text/plain", ["extension_missing", "csv_as_text"]), id="a table that nobody calls a text"),
        pytest.param(TABLE, "a.txt", ("text/plain", []), id="a table that is called a text"),
        pytest.param(b"a" * LONG + b"\xff", "a.txt", (None, ["type_unknown"]), id="a text that breaks late"),
        pytest.param(AMR_3GP, "a.3gp", ("audio/3gpp", ["type_not_accepted"]), id="of what is not taken, nothing more is said"),
    ],
)
def test_what_is_inside_is_told(data, name, expected):
    assert judged(data, name) == expected


def test_a_document_that_is_cut_off_is_that_and_not_a_zip_archive():
    mime_type, codes = judged(b.office("word/document.xml")[:-30], "a.docx")
    assert codes == ["document_truncated"]
    assert mime_type == "application/zip"
    assert judged(b.office("word/document.xml"), "a.docx") == (DOCX, [])


@pytest.mark.parametrize(("tracks", "mime_type"), [((f.AAC,), "audio/mp4"), ((f.MAIN, f.AAC), "video/mp4")])
@pytest.mark.parametrize("said", ["audio/mp4", "video/mp4"])
def test_tracks_behind_the_media_say_whether_it_is_a_film(said, tracks, mime_type):
    """Nobody's word is needed, and a wrong one is told."""
    found, codes = judged(index_last(*tracks), "a", mime_type=said)
    assert found == mime_type
    assert ("mime_disagrees" in codes) is (said != mime_type)


@pytest.mark.parametrize(
    ("sound", "mime_type"),
    [(b.mp3(), "audio/mpeg"), (b.adts(), "audio/aac"), (b"no sound at all" * 99, None)],
    ids=["mp3", "aac", "nothing"],
)
def test_what_follows_a_tag_that_is_longer_than_the_head(sound, mime_type):
    assert judged(b.id3(sound, LONG), "a")[0] == mime_type


@pytest.mark.parametrize("data", [PALETTE, H265, STEREO])
def test_as_a_document_it_may_hold_what_it_wants(data):
    assert inspect(b.MemorySource(data, "a"), kind="document").ok


def test_what_was_not_read_to_its_end_is_not_called_cut_off():
    """It is too large; what else is wrong nobody has seen."""
    data = b.JPEG[:-2] + bytes(LARGEST_MAX_BYTES)
    assert judged(data, "a.jpg")[1] == ["too_large"]
