"""The app as a newcomer meets it: `python app.py`, the embedded models, a browser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Server
from tests.e2e.test_colour import RED, a_drawing, colour_in, hand_in, seen

pytestmark = pytest.mark.e2e


def test_a_drawing_takes_the_colour_of_a_stroke(
    storybrush: Server, visit: Callable[..., Page], tmp_path: Path
) -> None:
    page = visit(storybrush.url)
    hand_in(page, a_drawing(tmp_path))
    expect(page.get_by_text("Coloured by itself.")).to_be_visible()
    left, right = seen(page, 0.27, 0.35), seen(page, 0.73, 0.65)
    page.get_by_role("button", name=f"Colour 1, {RED}").click()
    colour_in(page, (0.2, 0.5), (0.35, 0.55))
    wanted = (0xD9, 0x4F, 0x3D)

    def apart(colour: tuple[int, int, int]) -> int:
        return max(abs(a - b) for a, b in zip(colour, wanted, strict=True))

    assert apart(seen(page, 0.27, 0.35)) < min(25, apart(left) / 2)
    assert max(abs(a - b) for a, b in zip(seen(page, 0.73, 0.65), right, strict=True)) < 25


def quickly(page: Page) -> None:
    """Set the pages to be painted with less work: how well is tested elsewhere."""
    page.get_by_role("tab", name="Pictures").click()
    page.locator("#picture-advanced").get_by_role("button", name="Advanced").first.click()
    for name, value in (("Steps", "5"), ("Candidates", "1")):
        number = page.get_by_label(f"number input for {name}", exact=True)
        number.fill(value)
        number.press("Tab")
    page.get_by_role("tab", name="Story").click()


def answers(connection: HTTPConnection) -> bool:
    connection.request("GET", "/robots.txt")
    return bool(connection.getresponse().read())


def test_words_story_edit_two_pages_gallery_restart(
    storybrush: Server, visit: Callable[..., Page]
) -> None:
    idle = HTTPConnection("127.0.0.1", storybrush.port)
    assert answers(idle)
    page = visit(storybrush.url)
    page.set_default_timeout(120_000)
    slow = 120_000
    page.get_by_label("What is your story about?").fill("a fox who wanted to fly")
    # Enough of them that some are left when two are painted, however quick this machine is.
    page.get_by_label("number input for Pages").fill("8")
    page.get_by_role("button", name="Write the story first").click()
    expect(page.locator(".draft .tale").first).to_be_visible(timeout=slow)
    page.get_by_role("button", name="Use this story").first.click()
    edited = "The fox sat on a big rock in the snow."
    first = page.get_by_role("textbox", name="Sentence 1", exact=True)
    first.fill(edited)
    first.blur()
    expect(page.locator(".line").first).to_contain_text("in the snow")
    page.get_by_role("textbox", name="Title").fill("Tested fox")
    quickly(page)
    page.get_by_role("button", name="Paint this story").click()
    expect(page.locator(".spread.painted").nth(1)).to_be_visible(timeout=slow)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped:")).to_be_visible()
    with closing(idle):  # a browser takes it up again, and may not send a click twice
        assert answers(idle)

    storybrush.stop()
    storybrush.start()
    page = visit(storybrush.url)
    page.get_by_role("tab", name="Gallery").click()
    page.get_by_role("button", name="Open Tested fox").click()
    expect(page.locator(".reader")).to_contain_text("Tested fox")
    page.keyboard.press("ArrowRight")
    picture = page.get_by_role("img", name=edited)
    expect(picture).to_be_visible()
    expect(picture).to_have_js_property("naturalWidth", 512)  # once it is loaded
