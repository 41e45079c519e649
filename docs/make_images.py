"""Make the README's pictures and the style samples: `python -m docs.make_images`.

The app makes them itself. Needs Chromium (see README), poppler-utils and the embedded models; the
library is a temporary one.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from pipelines.book import Book
from pipelines.colorize.colouring import draw_pages
from pipelines.events import PageFinished, Sentence
from pipelines.presets import STYLES, PictureConfig, StoryConfig
from pipelines.storybook import book_from_draft, load_pictures, load_story, paint
from storage.export import export
from storage.local import LocalLibrary

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SAMPLES = ROOT / "ui" / "assets" / "styles"
DRAWINGS = ROOT / "ui" / "assets" / "drawings"
DRAWING_SIDE = 640
"""Pixels: a stroke is coloured at once, and the lines are clear on a large screen."""
SAMPLE = Sentence("A fox stood by the lake.", "fox near pine_tree @lake day")

REQUESTS = (
    ("a fox who wanted to fly", "storybook", 3),
    ("an owl who was afraid of the dark", "storybook", 5),
    ("a robot and a cat at the beach", "watercolour", 7),
    ("a dragon who baked a cake", "storybook", 11),
)


STROKES = (
    (2, (0.43, 0.38), (0.57, 0.38)),
    (2, (0.385, 0.72), (0.39, 0.80)),
    (2, (0.68, 0.83), (0.72, 0.80)),
    (12, (0.76, 0.66), (0.79, 0.71)),
    (1, (0.39, 0.655), (0.6, 0.655)),
    (1, (0.61, 0.7), (0.6, 0.74)),
    (1, (0.12, 0.838), (0.23, 0.838)),
)
"""Number of a colour of the palette, begin and end of a stroke on the drawing of a fox."""


HELD_OUT = (
    "A monkey and a donkey in the village at sunset.",
    "A flamingo and a bear at the river at night.",
    "A queen near two bowls of soup on the beach at night.",
    "A donkey near a coin in the forest.",
    "A grandfather near a pie on the farm.",
    "A peacock near a watermelon in the jungle.",
)
"""Scenes held out from training: the first and the fourth of stories that it has not seen, the
others of words in places or beside others that it has not."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def style_samples() -> None:
    """One picture a style, 4:3, 320 pixels wide."""
    SAMPLES.mkdir(parents=True, exist_ok=True)
    for name in STYLES:
        page = load_pictures()(SAMPLE, PictureConfig(style=name, seed=4, candidates=8))
        picture = page.image()
        middle = (0, picture.height * 3 // 16, picture.width, picture.height * 15 // 16)
        sample = picture.crop(middle).resize((320, 240), Image.Resampling.LANCZOS)
        sample.save(SAMPLES / f"{name}.webp", quality=86)


def example_drawings() -> None:
    """The drawings that the Colour tab offers, from `docs/drawings`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": DRAWING_SIDE, "height": DRAWING_SIDE})
        for source in sorted((ROOT / "docs" / "drawings").glob("*.svg")):
            style = "<style>body { margin: 0 } svg { width: 100vw; height: 100vh }</style>"
            page.set_content(style + source.read_text(encoding="utf-8"))
            drawn = Image.open(io.BytesIO(page.screenshot())).convert("L")
            drawn.save(DRAWINGS / f"{source.stem}.png", optimize=True)
        browser.close()


def make_book(words: str, style: str, seed: int, pages: int) -> Book:
    config = StoryConfig(words, sentences=pages, drafts=1, seed=seed)
    book = book_from_draft(load_story()(config)[0], config, style=style)
    for event in paint(load_pictures(), book, PictureConfig(style=style, seed=seed)):
        if isinstance(event, PageFinished):
            book = book.with_page(event.index, event.page)
    return book


def spread(book: Book, path: Path, columns: int = 3) -> None:
    """The book's pages with their sentences, as one picture."""
    side, text, gap = 300, 74, 20
    rows = -(-len(book.pages) // columns)
    sheet = Image.new(
        "RGB", (columns * (side + gap) + gap, rows * (side + text + gap) + gap), (250, 243, 230)
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for n, page in enumerate(book.pages):
        x, y = gap + n % columns * (side + gap), gap + n // columns * (side + text + gap)
        sheet.paste(page.image().resize((side, side), Image.Resampling.LANCZOS), (x, y))
        for k, found in enumerate(wrapped(draw, page.text, font, side)[:3]):
            draw.text((x, y + side + 8 + 20 * k), found, (58, 48, 40), font)
    sheet.save(path, quality=84)


def wrapped(draw: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> list[str]:
    """Lines of at most `width` pixels."""
    line, lines = "", list[str]()
    for word in text.split():
        if draw.textlength(f"{line} {word}", font) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def before_and_after(first: Path, path: Path) -> None:
    """Held-out scenes painted by an earlier version, whose checkout `first` is, and by this one:
    the same command in both."""
    side, gap, head = 180, 12, 24
    width = len(HELD_OUT) * (side + gap) + gap
    sheet = Image.new("RGB", (width, 2 * (side + head) + 66), (250, 243, 230))
    draw, font, dark = ImageDraw.Draw(sheet), ImageFont.load_default(13), (58, 48, 40)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "scenes.txt"
        text.write_text("\n".join(HELD_OUT), encoding="utf-8")
        for row, home in enumerate((first, ROOT)):
            out = Path(folder) / str(row)
            command = [sys.executable, "-m", "pipelines", "held-out scenes", "--text", str(text)]
            subprocess.run([*command, "--seed", "3", "--out", str(out)], cwd=home, check=True)
            y = row * (side + head)
            draw.text((gap, y + 5), ("The first version", "This version")[row], dark, font)
            for n, file in enumerate(sorted(out.glob("page-*.png"))):
                picture = Image.open(file).convert("RGB").resize((side, side))
                sheet.paste(picture, (gap + n * (side + gap), y + head))
    for n, scene in enumerate(HELD_OUT):
        for k, line in enumerate(wrapped(draw, scene, font, side)[:3]):
            place = gap + n * (side + gap), 2 * (side + head) + 8 + 17 * k
            draw.text(place, line, dark, font)
    sheet.save(path, quality=84)


def printed(book: Book, path: Path, height: int = 380) -> None:
    """Cover and second page of the PDF, and the same page to colour, side by side on a table.

    Needs pdftoppm (poppler-utils).
    """
    gap, sheets = 24, list[Image.Image]()
    with tempfile.TemporaryDirectory() as folder:
        for name, pages in (("pdf", (1, 3)), ("colouring", (3,))):
            pdf = Path(folder) / f"{name}.pdf"
            pdf.write_bytes(export(book, name, draw_pages))
            for n in pages:
                place = pdf.with_name(f"{name}-{n}")
                command = ["pdftoppm", "-png", "-singlefile", "-r", "120", "-f", str(n)]
                subprocess.run([*command, str(pdf), str(place)], check=True)
                sheet = Image.open(place.with_suffix(".png")).convert("RGB")
                width = sheet.width * height // sheet.height
                sheets.append(sheet.resize((width, height), Image.Resampling.LANCZOS))
    size = (sum(s.width + gap for s in sheets) + gap, height + 2 * gap)
    table, x = Image.new("RGB", size, (226, 217, 201)), gap
    for sheet in sheets:
        table.paste(sheet, (x, gap))
        x += sheet.width + gap
    table.save(path, quality=84)


@contextmanager
def running_app(library: Path) -> Iterator[str]:
    """The app on a library, in a process of its own: its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--library", str(library)]
    app = subprocess.Popen(command, cwd=ROOT)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        app.terminate()
        app.wait(30)


def screenshots(library: Path, *, colour_alone: bool = False) -> None:
    """Every tab, as a visitor sees it; or the Colour tab alone."""
    from playwright.sync_api import sync_playwright

    with running_app(library) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(180_000)
        page.goto(url)
        if not colour_alone:
            story_to_gallery(page)
        colour_tab(page)
        if not colour_alone:
            phone = browser.new_page(
                viewport={"width": 390, "height": 844}, color_scheme="dark", device_scale_factor=2
            )
            phone.goto(url)
            phone.get_by_role("tab", name="Gallery").click()
            phone.locator(".cover").first.click()
            phone.locator(".reader img").first.wait_for()
            phone.keyboard.press("ArrowRight")
            time.sleep(1)
            shot(phone, "phone", width=390)
        browser.close()


def story_to_gallery(page: Page) -> None:
    """A book from its words to the shelf."""
    page.get_by_label("What is your story about?").fill("a fox who wanted to fly")
    page.get_by_role("button", name="Write the story first").click()
    page.get_by_role("button", name="Use this story").first.wait_for()
    page.get_by_role("button", name="Use this story").first.click()
    page.locator(".line").first.wait_for()
    shot(page, "story")
    page.get_by_role("button", name="Paint this story").click()
    page.locator(".spread.painted").nth(2).wait_for()
    time.sleep(3)  # into the next page, so that its preview is seen
    shot(page, "pictures")
    page.get_by_text("Finished: your book is in the gallery.").wait_for()
    page.get_by_role("tab", name="Gallery").click()
    page.locator(".cover").first.wait_for()
    time.sleep(1)
    shot(page, "gallery")


def colour_tab(page: Page) -> None:
    """A drawing and some strokes."""
    page.get_by_role("tab", name="Colour").click()
    page.locator(".example").first.click()
    page.locator(".easel[data-picture]").wait_for()
    for colour, start, end in STROKES:
        page.get_by_role("button", name=f"Colour {colour},").click()
        box = page.locator(".paper canvas").bounding_box()
        assert box is not None
        where = [
            (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)
        ]
        page.mouse.move(*where[0])
        page.mouse.down()
        page.mouse.move(*where[1], steps=5)
        page.mouse.up()
        time.sleep(8)  # the picture follows every stroke
    shot(page, "colour")


def shot(page: Page, name: str, width: int = 1100) -> None:
    """A screenshot of what is in sight, as WebP."""
    with tempfile.NamedTemporaryFile(suffix=".png") as png:
        page.screenshot(path=png.name)
        picture = Image.open(png.name).convert("RGB")
    picture.thumbnail((width, 4000), Image.Resampling.LANCZOS)
    picture.save(IMAGES / f"{name}.webp", quality=82)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("what", nargs="*", default=["styles", "pages", "tabs"],
                   help="of drawings, styles, pages, tabs, colour")  # fmt: skip
    p.add_argument("--first", type=Path,
                   help="checkout of an earlier version that paints the same scenes")  # fmt: skip
    args = p.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    if args.first:
        before_and_after(args.first, IMAGES / "before_after.webp")
        return
    if "drawings" in args.what:
        example_drawings()
    if "styles" in args.what:
        style_samples()
    with tempfile.TemporaryDirectory() as folder:
        if "pages" in args.what or "tabs" in args.what:
            library = LocalLibrary(Path(folder))
            for n, (words, style, seed) in enumerate(REQUESTS):
                book = make_book(words, style, seed, 6)
                library.save(replace(book, author="Storybrush"))
                if n == 0:
                    spread(book, IMAGES / "pages.webp")
                    printed(book, IMAGES / "printed.webp")
        if "tabs" in args.what or "colour" in args.what:
            screenshots(Path(folder), colour_alone="tabs" not in args.what)


if __name__ == "__main__":
    main()
