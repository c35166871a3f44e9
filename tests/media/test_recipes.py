"""What has to be done to a picture follows from its facts, and nothing else is done."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from airflow_provider_360dialog.media.judge import Examined
from airflow_provider_360dialog.media.pictures import Flaw, Picture
from airflow_provider_360dialog.media.preparation import recipes
from airflow_provider_360dialog.media.preparation.recipes import CHANGES, MENDED, Recipe, recipe_for
from airflow_provider_360dialog.media.voices import Voice
from airflow_provider_360dialog.ports import Problem, Verdict

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
LIMIT = 5_000_000


def examined(mime_type=JPEG, *, kind=None, size_bytes=1000, errors=(), look=..., **facts):
    picture = Picture(**{"width": 96, "height": 64, "bits": 8, "colours": "rgb"} | facts)
    problems = (*(Problem(code, "error", "", "") for code in errors), Problem("image_rotated", "warning", "", ""))
    verdict = Verdict(
        kind=kind or ("sticker" if mime_type == WEBP else "image"), mime_type=mime_type, filename="a.jpg", size_bytes=size_bytes,
        sha256="0" * 64, problems=problems,
    )  # fmt: skip
    return Examined(verdict, picture if look is ... else look)


NOTHING = {
    "a plain JPEG": examined(),
    "a JPEG at its limit": examined(size_bytes=LIMIT),
    "a broken one": examined(orientation=6, flaw=Flaw("image_truncated", "has no end")),
    "one that another error forbids": examined(orientation=6, errors=["mime_disagrees"]),
    "one with an error that can be mended and another that cannot": examined(
        colours="grey", errors=["image_not_rgb", "kind_mismatch"]
    ),
    "no picture": examined(orientation=6, look=Voice("audio/ogg")),
    "what was not looked at": examined(orientation=6, look=None),
    "a sticker as it should be": examined(WEBP, width=512, height=512, colours="rgba"),
    "an animated sticker of any size": examined(WEBP, width=300, height=300, frames=3),
    "an animated sticker that is too large": examined(WEBP, width=512, height=512, frames=3, size_bytes=500_001),
    "a document that is turned": examined(kind="document", orientation=6),
    "a document in grey": examined(kind="document", colours="grey", bits=16),
    "a document of several pictures": examined(kind="document", pictures=2),
    "a document that is too large": examined(kind="document", size_bytes=LIMIT + 1),
    "an Ultra HDR picture": examined(pictures=2, gain_map=True),
}


@pytest.mark.parametrize("what", NOTHING.values(), ids=NOTHING)
def test_nothing_is_done_to(what):
    assert recipe_for(what) is None


def recipe(mime_type=JPEG, use="image", *, redraw=True, orientation=1, located=False, several=False, max_bytes=LIMIT):
    return Recipe(
        mime_type=mime_type, use=use, redraw=redraw, orientation=orientation, located=located, several=several,
        max_bytes=max_bytes if redraw else 0,
    )  # fmt: skip


SOMETHING = {
    "a turned JPEG": (examined(orientation=6), recipe(orientation=6)),
    "a JPEG with a position": (examined(located=True), recipe(redraw=False, located=True)),
    "a turned JPEG with a position": (examined(orientation=3, located=True), recipe(orientation=3, located=True)),
    "a JPEG of several pictures": (examined(pictures=2), recipe(redraw=False, several=True)),
    "a JPEG above the decimal limit": (examined(size_bytes=LIMIT + 1), recipe()),
    "a JPEG above every limit": (examined(size_bytes=9_000_000, errors=["too_large"]), recipe()),
    "a grey JPEG": (examined(colours="grey", errors=["image_not_rgb"]), recipe()),
    "a JPEG for a printer": (examined(colours="cmyk", errors=["image_not_rgb"]), recipe()),
    "a JPEG of 12 bits": (examined(bits=12, errors=["image_not_8_bit"]), recipe()),
    "any PNG": (examined(PNG), recipe(PNG)),
    "a transparent PNG, for nobody knows yet whether it really is": (
        examined(PNG, colours="rgba", transparent=True),
        recipe(PNG),
    ),
    "a PNG of 16 bits with a palette's error": (examined(PNG, bits=16, errors=["image_not_8_bit"]), recipe(PNG)),
    "a sticker of another size": (
        examined(WEBP, width=300, height=512),
        recipe(WEBP, "sticker", max_bytes=100_000),
    ),
    "a sticker that is too large": (
        examined(WEBP, width=512, height=512, size_bytes=100_001),
        recipe(WEBP, "sticker", max_bytes=100_000),
    ),
    "a turned sticker": (
        examined(WEBP, width=512, height=512, orientation=8),
        recipe(WEBP, "sticker", orientation=8, max_bytes=100_000),
    ),
    "an animated sticker with a position": (
        examined(WEBP, width=512, height=512, frames=2, located=True),
        recipe(WEBP, "sticker", redraw=False, located=True),
    ),
    "a document with a position, and nothing else of it": (
        examined(kind="document", located=True, orientation=6, pictures=2),
        recipe(use="document", redraw=False, located=True, orientation=6),
    ),
}


@pytest.mark.parametrize(("what", "expected"), SOMETHING.values(), ids=SOMETHING)
def test_the_recipe_for(what, expected):
    assert recipe_for(what) == expected


def test_a_recipes_id_holds_its_rules_and_what_it_is_for():
    """What is kept under one id has to be made anew where either is another."""
    assert {recipe(use=use).id for use in ("image", "sticker", "document")} == {
        f"{recipes.RECIPES}-image",
        f"{recipes.RECIPES}-sticker",
        f"{recipes.RECIPES}-document",
    }


def test_what_can_be_mended_is_a_finding_of_pictures(checkout):
    """Else a file would be prepared whose error stays."""
    rules = (checkout / "airflow_provider_360dialog" / "media" / "picture_rules.py").read_text()
    whole = (checkout / "airflow_provider_360dialog" / "media" / "rules.py").read_text()
    made = set(re.findall(r'error\(\s*"(\w+)"', rules + whole))
    assert MENDED
    assert made >= MENDED


def test_every_change_is_a_sentence():
    assert len(CHANGES) > 5
    for code, words in CHANGES.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]+", code)
        assert re.fullmatch(r"[A-Z][^\n]+\.", words)
    assert {each.name for each in fields(Recipe)} >= {"redraw", "located", "several"}
