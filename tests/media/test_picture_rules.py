"""From the facts of a picture to its findings."""

import pytest

from airflow_provider_360dialog.media.limits import BY_MIME_TYPE
from airflow_provider_360dialog.media.picture_rules import picture_problems
from airflow_provider_360dialog.media.pictures import Flaw, Picture

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
E, W = "error", "warning"
CUT, BROKEN = Flaw("image_truncated", "has no end"), Flaw("image_corrupt", "has no size")
REENCODED = ("png_reencoded", W)


def picture(**facts):
    return Picture(**{"width": 640, "height": 480, "bits": 8, "colours": "rgb", **facts})


def sticker(**facts):
    return picture(**{"width": 512, "height": 512, "colours": "rgba", "transparent": True, **facts})


def found(facts, mime_type, kind=None):
    return [(problem.code, problem.severity) for problem in picture_problems(facts, mime_type=mime_type, kind=kind)]


@pytest.mark.parametrize(
    ("facts", "mime_type", "expected"),
    [
        pytest.param(picture(), JPEG, [], id="a photo is good"),
        pytest.param(picture(located=True), JPEG, [], id="a position is no fault of a photo"),
        pytest.param(picture(), PNG, [REENCODED], id="a PNG is made a JPEG"),
        pytest.param(picture(colours="rgba", transparent=True), PNG, [REENCODED], id="a transparent PNG is made a JPEG"),
        pytest.param(picture(bits=16), PNG, [("image_not_8_bit", E), REENCODED], id="16 bits"),
        pytest.param(picture(bits=12), JPEG, [("image_not_8_bit", E)], id="12 bits"),
        pytest.param(
            picture(bits=1, colours="grey"), PNG, [("image_not_8_bit", E), ("image_not_rgb", E), REENCODED], id="black and white"
        ),
        pytest.param(picture(colours="grey"), JPEG, [("image_not_rgb", E)], id="grey"),
        pytest.param(picture(colours="cmyk"), JPEG, [("image_not_rgb", E)], id="CMYK"),
        pytest.param(picture(colours="palette"), PNG, [("image_not_rgb", E), REENCODED], id="a palette"),
        pytest.param(picture(frames=2), PNG, [REENCODED, ("image_animated", E)], id="an animated PNG"),
        pytest.param(picture(pictures=2), JPEG, [("image_several", W)], id="several pictures"),
        pytest.param(picture(pictures=2, gain_map=True), JPEG, [], id="a gain map is no further picture"),
        pytest.param(picture(flaw=CUT), JPEG, [("image_truncated", E)], id="cut off"),
        pytest.param(picture(flaw=BROKEN), JPEG, [("image_corrupt", E)], id="damaged"),
        pytest.param(Picture(flaw=BROKEN), JPEG, [("image_corrupt", E)], id="damaged before a size was found"),
        pytest.param(picture(width=20_000, height=10_000), JPEG, [], id="200 million pixels are decoded"),
        pytest.param(picture(width=20_001, height=10_000), JPEG, [("image_too_many_pixels", E)], id="more are not"),
        pytest.param(picture(width=65_500, height=9), JPEG, [], id="a side of 65,500 is decoded"),
        pytest.param(picture(width=65_501, height=9), JPEG, [("image_too_many_pixels", E)], id="a wider one is not"),
        pytest.param(picture(width=9, height=65_501), JPEG, [("image_too_many_pixels", E)], id="a higher one is not"),
        pytest.param(sticker(), WEBP, [], id="a sticker is good"),
        pytest.param(sticker(frames=9), WEBP, [], id="a sticker may move"),
        pytest.param(sticker(orientation=6, bits=8), WEBP, [], id="a sticker is not turned by anybody"),
        pytest.param(sticker(width=511), WEBP, [("sticker_not_512", W)], id="a sticker too narrow"),
        pytest.param(sticker(height=513), WEBP, [("sticker_not_512", W)], id="a sticker too high"),
        pytest.param(sticker(transparent=False), WEBP, [("sticker_not_transparent", W)], id="a square sticker"),
        pytest.param(sticker(flaw=CUT), WEBP, [("image_truncated", E)], id="a sticker that is cut off"),
        pytest.param(Picture(flaw=BROKEN), WEBP, [("image_corrupt", E)], id="a sticker damaged before a size was found"),
        pytest.param(
            sticker(width=16_383, height=16_383), WEBP, [("image_too_many_pixels", E), ("sticker_not_512", W)], id="a sticker bomb"
        ),
        pytest.param(
            picture(bits=12, colours="cmyk", orientation=3, pictures=2, width=70_000, flaw=CUT),
            JPEG,
            [
                ("image_truncated", E), ("image_too_many_pixels", E), ("image_not_8_bit", E), ("image_not_rgb", E),
                ("image_rotated", W), ("image_several", W),
            ],
            id="everything at once",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_picture(facts, mime_type, expected):
    assert found(facts, mime_type) == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_but_the_first_is_warned_of(orientation):
    expected = [] if orientation == 1 else [("image_rotated", W)]
    assert found(picture(orientation=orientation), JPEG) == expected
    assert found(picture(orientation=orientation), PNG) == [*expected, REENCODED]


WRONG = {"bits": 16, "colours": "grey", "orientation": 3, "pictures": 2, "frames": 2, "width": 70_000, "height": 70_000}


@pytest.mark.parametrize("mime_type", [JPEG, PNG, WEBP])
@pytest.mark.parametrize(
    ("flaw", "expected"),
    [(None, []), (CUT, [("image_truncated", W)]), (BROKEN, [("image_corrupt", W)])],
    ids=["whole", "cut", "broken"],
)
def test_a_document_is_sent_as_it_is_and_only_warned_of_where_it_is_broken(mime_type, flaw, expected):
    assert found(picture(**WRONG, flaw=flaw), mime_type, kind="document") == expected


@pytest.mark.parametrize("kind", [None, "image", "sticker", "video", "nonsense"])
def test_any_other_kind_is_judged_by_the_type(kind):
    """That a WebP cannot be sent as an image is said by the rule for kinds."""
    assert found(sticker(width=1), WEBP, kind=kind) == [("sticker_not_512", W)]
    assert found(picture(colours="grey"), JPEG, kind=kind) == [("image_not_rgb", E)]


@pytest.mark.parametrize(
    ("facts", "mime_type", "words"),
    [
        pytest.param(picture(flaw=CUT), JPEG, "The picture is cut off: it has no end.", id="cut"),
        pytest.param(picture(flaw=BROKEN), JPEG, "The picture is damaged: it has no size.", id="damaged"),
        pytest.param(picture(bits=16), JPEG, "16 bits per channel", id="bits"),
        pytest.param(picture(bits=1), JPEG, "1 bit per channel", id="one bit"),
        pytest.param(picture(colours="grey"), JPEG, "grey", id="grey"),
        pytest.param(picture(colours="palette"), JPEG, "palette", id="palette"),
        pytest.param(picture(colours="cmyk"), JPEG, "CMYK", id="cmyk"),
        pytest.param(picture(pictures=3), JPEG, "3 pictures (MPO)", id="pictures"),
        pytest.param(picture(orientation=6), JPEG, "orientation 6", id="orientation"),
        pytest.param(picture(width=70_000), JPEG, "70,000 x 480 pixels", id="size"),
        pytest.param(sticker(width=96, height=48), WEBP, "96 x 48 pixels", id="sticker"),
        pytest.param(picture(transparent=True), PNG, "without its transparency", id="transparency"),
        pytest.param(picture(frames=3), PNG, "animated PNG of 3 frames", id="frames"),
    ],
)
def test_a_message_says_what_was_found(facts, mime_type, words):
    assert any(words in problem.message for problem in picture_problems(facts, mime_type=mime_type))


def test_an_opaque_png_loses_no_transparency():
    assert "transparency" not in picture_problems(picture(), mime_type=PNG)[0].message


def test_every_finding_is_two_sentences():
    everything = {**WRONG, "flaw": CUT}
    problems = [
        problem for mime_type in (JPEG, PNG, WEBP) for flaw in (CUT, BROKEN)
        for problem in picture_problems(picture(**{**everything, "flaw": flaw}), mime_type=mime_type)
    ]  # fmt: skip
    assert len({problem.code for problem in problems}) == 11
    for problem in problems:
        assert problem.message[0].isupper()
        assert problem.remedy[0].isupper()
        assert problem.message.endswith(".")
        assert problem.remedy.endswith(".")


def test_an_animation_is_told_by_its_frames_for_the_limit_of_its_size():
    """As `limits` takes it: the flag of an animation of one frame wins nothing."""
    limit = BY_MIME_TYPE[WEBP]
    assert limit.bounds(animated=sticker(frames=2).animated) == (512_000, 500_000)
    assert limit.bounds(animated=sticker(frames=1).animated) == (102_400, 100_000)
