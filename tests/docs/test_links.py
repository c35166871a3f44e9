"""Every relative link leads somewhere."""

from __future__ import annotations

import pytest

from tests.docs.pages import CHECKOUT, PAGES, all_blocks, anchors, is_generated, links, name_of, read

RELATIVE = [(page, target) for page, target in links() if "://" not in target and not target.startswith("mailto:")]


def test_there_are_pages_and_links():
    assert len(PAGES) > 8
    assert len(RELATIVE) > 20


@pytest.mark.parametrize(("page", "target"), RELATIVE, ids=[f"{name_of(page)}-{target}" for page, target in RELATIVE])
def test_a_relative_link_resolves(page, target):
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    assert found.is_relative_to(CHECKOUT)
    assert found.exists()
    if anchor and not is_generated(found):
        assert anchor in anchors(found)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_fence_of_a_page_is_seen(page):
    """Indented, longer or unclosed ones would hide their code from all other tests here."""
    fences = [line for line in read(page).splitlines() if line.lstrip(" >").startswith(("```", "~~~"))]
    assert len(fences) == 2 * len([block for block in all_blocks() if block.page == page])


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [CHECKOUT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [
                (page.parent / target.partition("#")[0]).resolve()
                for each, target in RELATIVE
                if each == page and ".md" in target and "://" not in target
            ]
    assert reached >= set(PAGES)
