"""Files that real encoders made, damaged behind good headers, and what a deep look says of them."""

import base64
import io
import struct
import sys
import zlib

import pytest
from PIL import Image

from airflow_provider_360dialog.exceptions import SourceChangedError, StorageFailedError, WorkerUnavailableError
from airflow_provider_360dialog.media.decoding import decode as decoding
from airflow_provider_360dialog.media.decoding import deep
from airflow_provider_360dialog.media.decoding.decode import FILM_TYPES, PICTURE_TYPES, decode
from airflow_provider_360dialog.media.decoding.deep import (
    inspect_deeply,
    inspect_headers,
    missing_tools,
    missing_words,
    not_looked_at,
)
from airflow_provider_360dialog.media.decoding.workshop import Workshop
from airflow_provider_360dialog.media.judge import inspect
from airflow_provider_360dialog.media.limits import LIMITS
from tests.media.builders import MemorySource, chunk
from tests.media.labelled import encoders
from tests.media.odd_worker import OddWorkshop
from tests.support import pictures as p


@pytest.fixture(scope="module")
def workshop():
    with Workshop(workers=1) as shared:
        yield shared


@pytest.fixture
def odd(monkeypatch):
    monkeypatch.setattr(deep, "LIMIT_S", 0.3)
    with OddWorkshop(workers=1) as workshop:
        yield workshop


def look(workshop, data, name, **said):
    return inspect_deeply(MemorySource(data, name), workshop=workshop, **said)


def added(workshop, data, name, **said):
    """What decoding finds and headers do not: code and severity."""
    before = inspect(MemorySource(data, name), **said)
    after = look(workshop, data, name, **said).verdict
    return [(problem.code, problem.severity) for problem in after.problems if problem not in before.problems]


def animation(frames=4):
    images = [p.scene(512, 512, "RGBA", seed=seed * 40) for seed in range(frames)]
    return p.webp(images[0], save_all=True, append_images=images[1:], duration=100, lossless=True)


def with_thumbnail():
    """A JPEG inside of the EXIF of another, and something behind its end."""
    tags = Image.Exif()
    tags.get_ifd(0x8769)[0x927C] = p.jpeg(p.scene(32, 32))
    return p.jpeg(exif=tags.tobytes()) + p.jpeg(p.scene(16, 16)) + b"behind the end"


def several():
    """An MPO, as a camera with two lenses makes it."""
    target = io.BytesIO()
    p.scene().save(target, "MPO", save_all=True, append_images=[p.scene(seed=9)])
    return target.getvalue()


GOOD = {
    "a JPEG": ("a.jpg", p.jpeg),
    "a progressive JPEG": ("a.jpg", lambda: p.jpeg(p.scene(200, 150), progressive=True)),
    "a JPEG with marks to restart at": ("a.jpg", lambda: p.jpeg(p.scene(200, 150), restart_marker_rows=1, subsampling=0)),
    "a JPEG of one pixel": ("a.jpg", lambda: p.jpeg(p.scene(1, 1))),
    "a JPEG with a thumbnail and something behind its end": ("a.jpg", with_thumbnail),
    "an MPO": ("a.jpg", several),
    "a PNG": ("a.png", lambda: p.png(p.scene(mode="RGBA"))),
    "a sticker": ("a.webp", p.webp),
    "a sticker that moves": ("a.webp", animation),
    "an MP4": ("a.mp4", encoders.film),
    "an MP4 with B-frames": ("a.mp4", lambda: encoders.film(options=encoders.MAIN_B)),
    "an MP4 without sound": ("a.mp4", lambda: encoders.film(sound=None)),
    "a 3GP": ("a.3gp", lambda: encoders.film("3gp")),
    "an M4A": ("a.m4a", lambda: encoders.sound("ipod", "aac")),
    "an Ogg with Opus": ("a.ogg", lambda: encoders.sound("ogg", "libopus")),
    "an MP3": ("a.mp3", lambda: encoders.sound("mp3", "libmp3lame")),
    "an AAC": ("a.aac", lambda: encoders.sound("adts", "aac")),
    "an AMR": ("a.amr", lambda: encoders.sound("amr", "libopencore_amrnb", rate=8000)),
}


@pytest.mark.parametrize("sort", GOOD)
def test_what_an_encoder_makes_can_be_decoded(workshop, sort):
    name, make = GOOD[sort]
    found = look(workshop, make(), name, thumbnail_px=64)
    assert found.verdict == inspect(MemorySource(make(), name))
    assert found.verdict.ok
    assert (found.thumbnail is not None) == (found.verdict.kind != "audio")


def test_what_can_be_decoded_is_every_picture_film_and_sound_that_is_accepted():
    assert {limit.mime_type for limit in LIMITS if limit.kind != "document"} == PICTURE_TYPES | FILM_TYPES


def zeroed(data, share_from, share_to):
    start, end = int(len(data) * share_from), int(len(data) * share_to)
    return data[:start] + bytes(end - start) + data[end:]


def media_zeroed(data, share_from=0.0):
    start = data.index(b"mdat") + 4
    start += int((len(data) - start) * share_from)
    return data[:start] + bytes(len(data) - start)


def jpeg_with_a_part_missing():
    data = p.jpeg(p.noise(400, 300))
    return data[: len(data) // 2] + data[len(data) * 2 // 3 :]


def jpeg_noise():
    data = p.jpeg(p.noise(400, 300))
    start = data.index(b"\xff\xda") + 20
    return data[:start] + b"\xff\xc0\x00\x00" * 200 + data[start:]


def png_with(content):
    header = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND")


def png_with_a_wrong_checksum():
    data = bytearray(p.png())
    data[-13] ^= 1  # the last byte of the checksum in front of IEND
    return bytes(data)


def last_frame_zeroed():
    data = animation()
    middle = (data.rindex(b"ANMF") + len(data)) // 2
    return data[:middle] + bytes(len(data) - middle)


def film_cut_behind_its_index():
    return media_zeroed(encoders.film(), 0.5)


DAMAGED = {
    "a JPEG whose data breaks off in nonsense": ("a.jpg", jpeg_noise, [("image_corrupt", "error")]),
    "a JPEG with a part missing, which Pillow passes over": ("a.jpg", jpeg_with_a_part_missing, [("image_corrupt", "warning")]),
    "a PNG whose data is no zlib": ("a.png", lambda: png_with(b"no zlib at all"), [("image_corrupt", "error")]),
    "a PNG with a wrong checksum": ("a.png", png_with_a_wrong_checksum, [("image_corrupt", "error")]),
    "a sticker with a hole": ("a.webp", lambda: zeroed(p.webp(lossless=True), 0.1, 0.95), [("image_corrupt", "error")]),
    "a sticker whose last frame is empty": ("a.webp", last_frame_zeroed, [("image_corrupt", "error")]),
    "an MP4 without anything in its data": (
        "a.mp4",
        lambda: media_zeroed(encoders.film()),
        [("video_corrupt", "error"), ("audio_corrupt", "warning")],
    ),
    "an MP4 with half of its data": (
        "a.mp4",
        film_cut_behind_its_index,
        [("video_corrupt", "warning"), ("audio_corrupt", "warning")],
    ),
    "a silent MP4 without anything in its data": (
        "a.mp4",
        lambda: media_zeroed(encoders.film(sound=None)),
        [("video_corrupt", "error")],
    ),
    "an M4A with half of its data": (
        "a.m4a",
        lambda: media_zeroed(encoders.sound("ipod", "aac", mux=(("movflags", "+faststart"),)), 0.5),
        [("audio_corrupt", "warning")],
    ),
    "an M4A of 5 s whose last second is gone": (
        "a.m4a",
        lambda: media_zeroed(encoders.sound("ipod", "aac", mux=(("movflags", "+faststart"),), seconds=5.0), 0.8),
        [("audio_corrupt", "warning")],
    ),
    "an MP3 with a hole": ("a.mp3", lambda: zeroed(encoders.sound("mp3", "libmp3lame"), 0.5, 1), [("audio_corrupt", "warning")]),
    "an AAC with a hole": ("a.aac", lambda: zeroed(encoders.sound("adts", "aac"), 0.5, 0.7), [("audio_corrupt", "warning")]),
    "an Ogg that ends behind its heads": (
        "a.ogg",
        lambda: zeroed(encoders.sound("ogg", "libopus"), 0.1, 1),
        [("audio_corrupt", "error")],
    ),
}


@pytest.mark.parametrize("sort", DAMAGED)
def test_damage_behind_good_headers_is_found(workshop, sort):
    name, make, expected = DAMAGED[sort]
    data = make()
    assert inspect(MemorySource(data, name)).ok
    assert added(workshop, data, name) == expected
    assert all(severity == "warning" for _, severity in added(workshop, data, name, kind="document"))
    assert len(added(workshop, data, name, kind="document")) == len(expected)


def test_a_whole_film_is_looked_at_in_its_beginning_and_its_end(workshop, monkeypatch):
    """What lies between is believed: a film of a minute takes no longer than one of 4 s."""
    monkeypatch.setattr(encoders, "FRAMES", 200)
    film = encoders.film(side=(80, 48), options={**encoders.MAIN_B, "g": "25"})
    assert added(workshop, film, "a.mp4") == []
    start = film.index(b"mdat") + 4
    middle = (len(film) + start) // 2
    assert added(workshop, film[:middle] + bytes(200) + film[middle + 200 :], "a.mp4") == []
    assert ("video_corrupt", "warning") in added(workshop, media_zeroed(film, 0.95), "a.mp4")
    assert ("video_corrupt", "warning") in added(workshop, film[: start + 2000] + bytes(500) + film[start + 2500 :], "a.mp4")


def test_a_film_whose_pictures_are_mended_by_guessing_is_damaged(tmp_path):
    """A decoder that finds a wrong bit hides it; phones show blocks there. Some wrong bits make another right picture."""
    film = encoders.film(sound=None, options=encoders.MAIN)
    path, start = tmp_path / "a", film.index(b"mdat") + 600
    found = 0
    for at in range(start, len(film) - 100, (len(film) - 100 - start) // 20):
        path.write_bytes(film[:at] + bytes([film[at] ^ 0x10]) + film[at + 1 :])
        found += bool(decode(path=str(path), mime_type="video/mp4")["flaws"])
    assert found >= 10


def test_errors_come_first_and_say_what_to_do(workshop):
    data = media_zeroed(encoders.film(options=encoders.HIGH))
    verdict = look(workshop, data, "a.mp4").verdict
    assert [problem.code for problem in verdict.problems] == ["video_corrupt", "video_high_profile", "audio_corrupt"]
    half = look(workshop, film_cut_behind_its_index(), "a.mp4").verdict
    assert [problem.remedy for problem in half.problems] == [
        (
            "Get it again; or, to play over the damage: ffmpeg -err_detect ignore_err -i in.mp4 -map 0:v:0 -map 0:a:0? "
            "-c:v libx264 -profile:v main -bf 0 -pix_fmt yuv420p -c:a aac -movflags +faststart out.mp4"
        )
    ] * 2


def test_what_a_library_says_shows_no_path_of_this_machine(workshop):
    for sort in DAMAGED.values():
        for problem in look(workshop, sort[1](), sort[0]).verdict.problems:
            assert "dialog360-" not in problem.message
            assert problem.message.endswith(".")
            assert problem.message.isprintable()


# --- thumbnails ---------------------------------------------------------------------------------------------------


def thumbnail(workshop, data, name, px=64, **said):
    image = Image.open(io.BytesIO(look(workshop, data, name, thumbnail_px=px, **said).thumbnail))
    image.load()
    return image


def test_no_thumbnail_is_made_where_none_is_asked_for(workshop):
    assert look(workshop, p.jpeg(), "a.jpg").thumbnail is None


def test_a_thumbnail_is_no_longer_than_asked_and_turned_as_the_picture_is_shown(workshop):
    image = Image.new("RGB", (400, 200), "blue")
    image.paste("red", (0, 0, 200, 200))
    data = p.jpeg(image, exif=p.exif(orientation=6, position=p.BERLIN), comment=b"by hand")
    shown = thumbnail(workshop, data, "a.jpg")
    assert "comment" not in shown.info
    assert (shown.format, shown.size, dict(shown.getexif())) == ("JPEG", (32, 64), {})
    assert shown.getpixel((16, 8))[0] > 200
    assert shown.getpixel((16, 56))[0] < 100


def test_a_thumbnail_keeps_transparency(workshop):
    shown = thumbnail(workshop, p.webp(Image.new("RGBA", (512, 512), (255, 0, 0, 0))), "a.webp")
    assert (shown.format, shown.size) == ("PNG", (64, 64))
    assert shown.getpixel((5, 5))[3] == 0


def test_the_thumbnail_of_a_sticker_that_moves_is_its_first_frame(workshop):
    first = thumbnail(workshop, p.webp(p.scene(512, 512, "RGBA"), lossless=True), "a.webp")
    assert thumbnail(workshop, animation(), "a.webp").tobytes() == first.tobytes()


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA"])
def test_a_document_of_any_colours_has_a_thumbnail(workshop, mode):
    data = p.jpeg(p.scene(mode=mode)) if mode == "CMYK" else p.png(p.scene(mode=mode))
    assert thumbnail(workshop, data, "a.jpg" if mode == "CMYK" else "a.png", kind="document").size == (64, 43)


def test_the_thumbnail_of_a_film_is_its_first_frame_as_it_is_shown(workshop):
    """A phone that is held upright stores the film lying, and a matrix."""
    film = encoders.film(sound=None)
    lying = thumbnail(workshop, film, "a.mp4", px=32)
    at = film.index(b"tkhd") + 44
    upright = film[:at] + struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30) + film[at + 36 :]
    turned = thumbnail(workshop, upright, "a.mp4", px=32)
    assert lying.size == turned.size == (32, 32)
    expected = lying.transpose(Image.Transpose.ROTATE_270).tobytes()
    assert sum(abs(a - b) for a, b in zip(expected, turned.tobytes(), strict=True)) / len(expected) < 4


# --- bounds -------------------------------------------------------------------------------------------------------


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path):
    """Also where headers were read otherwise before."""
    header = struct.pack(">IIBBBBB", 20_001, 10_000, 8, 2, 0, 0, 0)
    path = tmp_path / "a"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND"))
    with pytest.raises(MemoryError):
        decode(path=str(path), mime_type="image/png")


def test_a_film_ends_its_turn_when_its_time_is_over(tmp_path, monkeypatch):
    """What was not looked at is believed."""
    monkeypatch.setattr(decoding, "BUDGET_S", 0.0)
    for number, data in enumerate([encoders.film(), media_zeroed(encoders.film())]):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert decode(path=str(path), mime_type="video/mp4") == {"flaws": [], "thumbnail": None}
    sticker = tmp_path / "sticker"
    sticker.write_bytes(last_frame_zeroed())
    assert decode(path=str(sticker), mime_type="image/webp")["flaws"] == []


@pytest.mark.parametrize(
    ("make", "mime_type"),
    [
        (lambda: p._saved(p.scene(), "GIF"), "image/jpeg"),
        (p.png, "image/jpeg"),
        (p.jpeg, "image/webp"),
        (lambda: encoders.sound("wav", "pcm_s16le"), "audio/mpeg"),
        (lambda: encoders.sound("ogg", "flac"), "audio/ogg"),
        (encoders.film, "audio/ogg"),
        (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n" * 100, "video/mp4"),
    ],
)
def test_no_other_format_can_be_reached(tmp_path, make, mime_type):
    """The libraries know hundreds, and some of them open further files."""
    path = tmp_path / "a"
    path.write_bytes(make())
    answer = decode(path=str(path), mime_type=mime_type, thumbnail_px=32)
    assert answer["thumbnail"] is None
    assert str(tmp_path) not in str(answer)
    if "ogg" not in mime_type:
        assert [flaw["whole"] for flaw in answer["flaws"]] == [True]


def test_a_codec_that_a_document_may_have_is_left_alone(workshop):
    film = encoders.film(picture="libx265", sound=None, options={})
    for data in (film, media_zeroed(film)):
        assert added(workshop, data, "a.mp4", kind="document") == []


def test_a_jpeg_is_decoded_once_where_pyav_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "a"
    path.write_bytes(jpeg_with_a_part_missing())
    assert decode(path=str(path), mime_type="image/jpeg")["flaws"] == []


# --- workers that do not give a verdict ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "code", "severity", "says"),
    [
        ("spin", "not_decoded", "warning", "takes longer than 0 s"),
        ("grow", "not_decoded", "warning", "needs more memory"),
        ("killed", "not_decoded", "warning", "needs more memory"),
        ("fail", "not_decoded", "warning", "(OddError: first"),
        ("segfault", "decoder_crashed", "error", "makes its decoder crash"),
        ("leave", "decoder_crashed", "error", "makes its decoder crash"),
        ("{}", "decoder_crashed", "error", "makes its decoder crash"),
        ('{"flaws": [{"code": "made_up", "whole": 1, "words": ""}], "thumbnail": null}', "decoder_crashed", "error", "crash"),
        (
            '{"flaws": [{"code": "image_corrupt", "whole": 1, "words": 1}], "thumbnail": null}',
            "decoder_crashed",
            "error",
            "crash",
        ),
        ('{"flaws": 1, "thumbnail": null}', "decoder_crashed", "error", "crash"),
        ('{"flaws": [], "thumbnail": 1}', "decoder_crashed", "error", "crash"),
        ('{"flaws": [], "thumbnail": "%"}', "decoder_crashed", "error", "crash"),
        ('{"flaws": [], "thumbnail": "PHN2Zz4="}', "decoder_crashed", "error", "crash"),
    ],
)
@pytest.mark.parametrize("kind", [None, "document"])
def test_a_decoder_that_is_lost_becomes_a_finding(odd, order, code, severity, says, kind):
    """And the next file is judged as if nothing had been."""
    found = look(odd, p.jpeg() + b"order:" + order.encode(), "a.jpg", kind=kind)
    problems = found.verdict.problems
    assert [(problem.code, problem.severity) for problem in problems] == [(code, severity)]
    assert says in problems[0].message
    assert problems[0].message.isprintable()
    assert found.thumbnail is None
    assert look(odd, p.jpeg() + b'order:{"flaws": [], "thumbnail": null}', "a.jpg").verdict.problems == ()


def test_the_words_of_a_library_are_short_and_printable(odd):
    order = 'order:{"flaws": [{"code": "image_corrupt", "whole": true, "words": "\\u001b[31m%s"}], "thumbnail": null}' % (
        "x" * 999
    )
    message = look(odd, p.jpeg() + order.encode(), "a.jpg").verdict.problems[0].message
    assert message.isprintable()
    assert len(message) < 200


def test_a_thumbnail_has_a_bound(odd):
    big = base64.b64encode(b"\xff\xd8\xff" + bytes(2**20)).decode()
    order = f'order:{{"flaws": [], "thumbnail": "{big}"}}'
    assert [problem.code for problem in look(odd, p.jpeg() + order.encode(), "a.jpg").verdict.problems] == ["decoder_crashed"]


def test_a_worker_that_cannot_start_is_nobodys_fault_but_the_machines(workshop, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Workshop() as nothing, pytest.raises(WorkerUnavailableError, match="No such file"):
        look(nothing, p.jpeg(), "a.jpg")


# --- around it ----------------------------------------------------------------------------------------------------


class NoWorkshop:
    def run(self, *_, **__):
        raise AssertionError


@pytest.mark.parametrize(("data", "name"), [(p.jpeg()[:-20], "a.jpg"), (b"text", "a.txt"), (p.jpeg(), "a.pdf")])
def test_what_is_refused_already_or_is_no_medium_is_not_decoded(data, name):
    found = look(NoWorkshop(), data, name)
    assert found == inspect_headers(MemorySource(data, name))
    assert found.verdict == inspect(MemorySource(data, name))


def test_a_file_that_changes_meanwhile_is_not_judged(workshop):
    class Changing(MemorySource):
        def open(self):
            handle = super().open()
            self.data = p.jpeg(p.scene(seed=7))
            return handle

    with pytest.raises(SourceChangedError):
        inspect_deeply(Changing(p.jpeg(), "a.jpg"), workshop=workshop)


def test_nothing_stays_on_the_disk(workshop, monkeypatch, tmp_path):
    monkeypatch.setattr(deep.tempfile, "tempdir", str(tmp_path))
    look(workshop, p.jpeg(), "a.jpg")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(deep.tempfile, "tempdir", str(tmp_path / "nothing"))
    with pytest.raises(StorageFailedError, match="temporary"):
        look(workshop, p.jpeg(), "a.jpg")


@pytest.mark.parametrize(
    ("missing", "tools", "says"),
    [
        ((), (), None),
        (("PIL",), ("Pillow",), "Pillow is not installed, so pictures were judged by their headers"),
        (("av",), ("PyAV",), "PyAV is not installed, so videos and sounds were"),
        (("PIL", "av"), ("Pillow", "PyAV"), "Pillow and PyAV are not installed, so pictures and videos and sounds were"),
    ],
)
def test_where_a_library_is_missing_headers_decide_and_that_is_said(workshop, monkeypatch, missing, tools, says):
    found = deep.find_spec
    monkeypatch.setattr(deep, "find_spec", lambda name: None if name in missing else found(name))
    assert missing_tools() == tools
    assert missing_words(tools) == (not_looked_at() or "")
    if says is not None:
        assert says in not_looked_at()
        assert "pip install 'airflow-provider-360dialog[media]'" in not_looked_at()
    assert bool(added(workshop, jpeg_noise(), "a.jpg")) == ("PIL" not in missing)
    assert bool(added(workshop, media_zeroed(encoders.film()), "a.mp4")) == ("av" not in missing)
    assert "Only headers were read" in not_looked_at(decode=False)
