"""The Colour tab in a browser: hand in, draw, mask, vary, save, load the page again."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import Server, start_server

pytestmark = pytest.mark.e2e

Visit = Callable[..., Page]
RED, BLUE = "#d94f3d", "#3d6fb6"


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    library = tmp_path_factory.mktemp("library")
    server = start_server(
        lambda port: [sys.executable, "-m", "tests.ui.colour_stand_in", str(port), str(library)]
    )
    yield server
    server.stop()


def a_drawing(folder: Path) -> Path:
    """Two circles beside each other."""
    drawing = Image.new("L", (240, 160), 255)
    draw = ImageDraw.Draw(drawing)
    for x in (20, 130):
        draw.ellipse((x, 35, x + 90, 125), outline=0, width=3)
    drawing.save(folder / "circles.png")
    return folder / "circles.png"


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """A place on the canvas, in shares of its sides."""
    box = page.locator(".paper canvas").bounding_box()
    assert box is not None
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def stroke(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw with the mouse."""
    page.locator(".paper canvas").scroll_into_view_if_needed()
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=5)
    page.mouse.up()


def colour_in(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a stroke of colour, and wait until the picture has followed."""
    before = page.locator(".easel").get_attribute("data-picture")
    stroke(page, start, end)
    expect(page.locator(".easel")).not_to_have_attribute("data-picture", before or "")


def seen(page: Page, x: float, y: float) -> tuple[int, int, int]:
    """The picture's colour at a place, from the comparison beside the canvas."""
    page.wait_for_function("document.querySelector('.compare .after')?.complete")
    r, g, b = page.evaluate(
        """([x, y]) => {
          const image = document.querySelector('.compare .after');
          const canvas = document.createElement('canvas');
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          const context = canvas.getContext('2d');
          context.drawImage(image, 0, 0);
          return [...context.getImageData(x * canvas.width, y * canvas.height, 1, 1).data];
        }""",
        [x, y],
    )[:3]
    return r, g, b


def hand_in(page: Page, file: Path) -> None:
    page.get_by_role("tab", name="Colour").click()
    page.get_by_label("Choose a drawing").set_input_files(file)


CAMERA = """() => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [240, 160];
  const context = canvas.getContext('2d');
  setInterval(() => {
    context.fillStyle = '#ddd';
    context.fillRect(0, 0, 240, 160);
    context.lineWidth = 3;
    context.strokeRect(30, 30, 80, 100);
  }, 20);
  navigator.mediaDevices.getUserMedia = async () => canvas.captureStream();
}"""
"""A camera that looks at a drawing."""

NOTHING_IS_KEPT = """() => {
  indexedDB.open = () => { throw new DOMException('no', 'SecurityError'); };
}"""
"""A browser that keeps nothing, as some private windows do."""


def test_a_photo_other_colours_and_a_small_drawing(
    colours: Server, visit: Visit, tmp_path: Path
) -> None:
    page = visit(colours.url)
    page.get_by_role("tab", name="Colour").click()
    page.evaluate(NOTHING_IS_KEPT)
    page.evaluate(CAMERA)
    page.get_by_text("Take a photo").click()
    page.get_by_role("button", name="Take it").click()
    expect(page.get_by_text("Coloured by itself.")).to_be_visible()
    easel = page.locator(".easel")
    bare = easel.get_attribute("data-picture")
    page.get_by_role("button", name="Other colours").click()
    expect(easel).not_to_have_attribute("data-picture", bare or "")
    other = easel.get_attribute("data-picture")
    page.get_by_label("Choose colours where I drew none").uncheck()
    expect(easel).not_to_have_attribute("data-picture", other or "")
    expect(page.get_by_role("button", name="Other colours")).to_be_hidden()
    expect(page.get_by_text("Draw a stroke of colour where you want it.")).to_be_visible()

    # The thinnest brush covers pixels of a small drawing, too.
    with Image.open(a_drawing(tmp_path)) as drawing:
        drawing.resize((36, 24)).save(tmp_path / "small.png")
    page.get_by_role("button", name="New drawing").click()
    page.get_by_label("Choose a drawing").set_input_files(tmp_path / "small.png")
    expect(page.get_by_text("Coloured by itself.")).to_be_visible()
    stroke(page, (0.2, 0.5), (0.35, 0.55))
    expect(page.get_by_text("Coloured. Draw on")).to_be_visible()


def test_strokes_are_undone_and_redone_and_not_drawn_over_while_they_are_on_their_way(
    colours: Server, visit: Visit, tmp_path: Path
) -> None:
    page = visit(colours.url)
    hand_in(page, a_drawing(tmp_path))
    expect(page.locator(".easel")).to_have_attribute("data-picture", re.compile("jpg"))

    def shows(red: bool, blue: bool) -> None:
        """Waits until the left circle is red, or not, and the right one blue, or not."""
        end = time.monotonic() + 60
        while True:
            (r, _, b), (red_there, _, blue_there) = seen(page, 0.27, 0.35), seen(page, 0.75, 0.35)
            if (r > b + 60, blue_there > red_there + 60) == (red, blue):
                return
            assert time.monotonic() < end
            page.wait_for_timeout(100)

    page.get_by_role("button", name=f"Colour 1, {RED}").click()
    stroke(page, (0.2, 0.5), (0.35, 0.55))
    page.get_by_role("button", name=f"Colour 7, {BLUE}").click()
    stroke(page, (0.65, 0.5), (0.85, 0.5))
    shows(red=True, blue=True)
    page.get_by_role("button", name="Undo").click()
    shows(red=True, blue=False)
    page.get_by_role("button", name="Undo").click()
    shows(red=False, blue=False)
    page.get_by_role("button", name="Redo").click()
    shows(red=True, blue=False)

    # A round is stepped back to on a slow line, and somebody draws before it is there.
    red = page.locator(".easel").get_attribute("data-picture")
    page.get_by_role("button", name="Keep going").click()
    expect(page.get_by_text("This picture stands.")).to_be_visible()
    held = list[Route]()
    page.route(re.compile(r"hints\.png"), lambda route: held.append(route), times=1)
    page.get_by_role("button", name="Step back").click()
    expect(page.get_by_text("Coloured. Draw on")).to_be_visible()
    page.wait_for_timeout(300)
    assert held
    page.get_by_role("button", name="Draw colours").click()
    page.get_by_role("button", name=f"Colour 7, {BLUE}").click()
    stroke(page, (0.65, 0.5), (0.85, 0.5))
    page.wait_for_timeout(300)  # or it would have been sent
    for route in held:
        route.continue_()
    page.reload()  # as the server has it
    expect(page.locator(".easel")).to_have_attribute("data-picture", red or "")
    page.get_by_role("button", name=f"Colour 7, {BLUE}").click()
    colour_in(page, (0.65, 0.5), (0.85, 0.5))
    (r, _, b), (red_there, _, blue_there) = seen(page, 0.27, 0.35), seen(page, 0.75, 0.35)
    assert r > b + 60
    assert blue_there > red_there + 60


def test_strokes_masks_variations_and_a_reload(
    colours: Server, visit: Visit, tmp_path: Path
) -> None:
    page = visit(colours.url)
    hand_in(page, a_drawing(tmp_path))
    expect(page.locator(".easel")).to_have_attribute("data-picture", re.compile("jpg"))

    # A stroke in the left circle: there the picture turns red.
    page.get_by_role("button", name=f"Colour 1, {RED}").click()
    colour_in(page, (0.2, 0.5), (0.35, 0.55))
    r, g, b = seen(page, 0.27, 0.35)
    assert r > g + 60
    assert r > b + 60

    # A mask over the right circle and a stroke in it: the left one stays as it is.
    page.get_by_role("button", name="Draw a mask").click()
    stroke(page, (0.62, 0.5), (0.85, 0.5))
    expect(page.get_by_text("Only the masked part changes.")).to_be_visible()
    left = seen(page, 0.27, 0.35)
    page.get_by_role("button", name="Draw colours").click()
    page.get_by_role("button", name=f"Colour 7, {BLUE}").click()
    colour_in(page, (0.7, 0.5), (0.8, 0.5))
    r, g, b = seen(page, 0.75, 0.52)
    assert b > r + 60
    assert max(abs(a - c) for a, c in zip(seen(page, 0.27, 0.35), left, strict=True)) <= 3

    # Loaded again, the strokes are there and so is the picture.
    picture = page.locator(".easel").get_attribute("data-picture")
    page.reload()
    expect(page.locator(".easel")).to_have_attribute("data-picture", picture or "")
    page.get_by_role("button", name="Show the colours").click()  # the lines and strokes alone
    pixel = page.evaluate(
        """() => { const canvas = document.querySelector('.paper canvas');
          return [...canvas.getContext('2d')
            .getImageData(0.75 * canvas.width, 0.5 * canvas.height, 1, 1).data]; }"""
    )
    assert pixel[2] > pixel[0] + 30  # the mask's tint lies over it
    page.get_by_role("button", name="Take a colour from the picture").click()
    page.locator(".paper canvas").scroll_into_view_if_needed()
    page.mouse.click(*at(page, 0.75, 0.5))
    expect(page.get_by_label("A colour of your own")).to_have_value(re.compile("#3[cd]6[ef]b[67]"))

    # Variations side by side; one is kept, and one can step back from it.
    page.get_by_role("button", name="Four variations").click()
    expect(page.get_by_role("img", name="Variation 4")).to_be_visible()

    # From one of them to another, by a slider; what it shows is kept.
    page.get_by_role("button", name="Mix: variation 1").click()
    page.get_by_role("button", name="Mix with this: variation 3").click()
    page.get_by_role("slider", name="From variation 1 to variation 3").fill("1")
    expect(page.get_by_role("img", name="25% of the way")).to_be_visible()
    page.get_by_role("button", name="Go on with this mix").click()
    expect(page.get_by_text("This picture stands.")).to_be_visible()
    page.get_by_role("button", name="Step back").click()
    expect(page.locator(".easel")).to_have_attribute("data-picture", picture or "")

    page.get_by_role("button", name="Save…").click()
    expect(page.locator(".files a")).to_have_count(3)
    with page.expect_download() as download:
        page.get_by_role("link", name="Layers for Krita").click()
    assert download.value.suggested_filename == "circles-coloured.ora"

    # Another drawing is pasted; one can go back to this one.
    page.evaluate(
        """async () => {
          const canvas = document.createElement('canvas');
          canvas.width = canvas.height = 64;
          const blob = await new Promise((resolve) => canvas.toBlob(resolve));
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([blob], 'pasted.png', { type: 'image/png' }));
          const pasted = new ClipboardEvent('paste', { clipboardData, bubbles: true });
          document.body.dispatchEvent(pasted);
        }"""
    )
    expect(page.locator(".easel")).not_to_have_attribute("data-picture", picture or "")
    page.get_by_role("button", name="Back to the drawing before").click()
    expect(page.locator(".easel")).to_have_attribute("data-picture", picture or "")
    expect(page.get_by_text("Only the masked part changes.")).to_be_visible()

    # Nobody else sees it.
    other = visit(colours.url)
    other.get_by_role("tab", name="Colour").click()
    expect(other.get_by_text("Hand in a drawing")).to_be_visible()

    # The server is started again and knows nothing of it: the browser brings it back.
    page.wait_for_function("storybrush.drawing.recall().then((kept) => kept?.layers.kept)")
    colours.stop()
    colours.start(same_port=True)
    for again in (page, other):
        again.reload()
        again.get_by_role("tab", name="Colour").click()
    expect(page.get_by_text("this browser has kept it")).to_be_visible()
    expect(page.get_by_text("Only the masked part changes. Keep going")).to_be_visible()
    r, g, b = seen(page, 0.75, 0.52)
    assert b > r + 60
    assert max(abs(a - c) for a, c in zip(seen(page, 0.27, 0.35), left, strict=True)) <= 6
    expect(other.get_by_text("Hand in a drawing")).to_be_visible()

    # It is kept no longer than it is wanted.
    page.get_by_role("button", name="New drawing").click()
    page.wait_for_function("storybrush.drawing.recall().then((kept) => !kept)")


def test_what_is_no_picture_is_said_and_a_page_of_a_book_gets_its_colours(
    colours: Server, visit: Visit, tmp_path: Path
) -> None:
    page = visit(colours.url, 390, 844)
    (tmp_path / "words.png").write_text("no picture at all")
    hand_in(page, tmp_path / "words.png")
    expect(page.get_by_test_id("toast-text")).to_have_text(re.compile("no picture that can be"))
    page.route("**/upload*", lambda route: route.abort())
    page.evaluate("window.gradio_config.max_file_size = 3 * 2 ** 20")
    Image.effect_noise((2000, 2000), 60).save(tmp_path / "large.png")
    page.get_by_label("Choose a drawing").set_input_files(tmp_path / "large.png")
    expect(page.get_by_text("larger than 3 MB")).to_be_visible()
    page.unroute("**/upload*")

    # A very tall one does not make the page as tall.
    drawing = Image.new("L", (40, 4000), 255)
    ImageDraw.Draw(drawing).ellipse((5, 5, 35, 3900), outline=0, width=2)
    drawing.save(tmp_path / "tall.png")
    hand_in(page, tmp_path / "tall.png")
    expect(page.locator(".easel")).to_have_attribute("data-picture", re.compile("jpg"))
    assert page.evaluate("document.documentElement.scrollHeight") < 6000

    page.get_by_role("tab", name="Story").click()
    page.get_by_role("button", name="a fox who wanted to fly").click()
    page.get_by_role("button", name="Make my book").click()
    expect(page.locator(".reader")).to_be_visible()
    page.get_by_role("tab", name="Pictures").click()
    page.get_by_role("button", name="Colour it: page 1").click()
    expect(page.locator(".easel")).to_have_attribute("data-picture", re.compile("jpg"))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.keyboard.press("1")
    colour_in(page, (0.2, 0.8), (0.4, 0.8))
    page.get_by_role("button", name="Keep going").click()
    expect(page.get_by_text("This picture stands.")).to_be_visible()
    page.get_by_role("button", name="Put it on the page").click()
    expect(page.get_by_test_id("toast-text")).to_have_text("The page has its new picture.")

    # Before and after come in the place of the canvas, where a thumb reaches them.
    slider = page.get_by_role("slider", name="How much of the drawing is uncovered")
    expect(slider).to_be_hidden()
    page.get_by_role("button", name="Before and after").click()
    expect(slider).to_be_in_viewport()
    expect(slider).to_have_value("50")
    expect(page.locator(".paper canvas")).to_be_hidden()
    page.get_by_role("button", name="Draw on").click()
    expect(page.locator(".paper canvas")).to_be_visible()
    expect(slider).to_be_hidden()

    # The reader leads back to the easel, and the strokes are there again.
    page.get_by_role("tab", name="Gallery").click()
    page.get_by_role("button", name="Next ›").click()
    page.get_by_role("button", name="Colour it", exact=True).click()
    expect(page.get_by_text("Your strokes of last time are here again")).to_be_visible()
