"""What a person waits for, in a browser on this machine: `python -m tests.bench.browser`.

The app with the embedded models and Chromium share the processor, as on one's own computer. Seconds
from the click until the page shows the answer; the last line is JSON.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright

from tests.bench.app_process import App
from tests.bench.colour import drawing
from tests.e2e.conftest import CHROMIUM, FLAGS

PATIENCE = 300_000
"""Milliseconds until something is taken for broken."""
STROKES = 9
REST = 2.5
"""Seconds between strokes, as when one looks at what came of the last."""


def until(page: Page, condition: str, argument: object = None) -> None:
    """Wait until the page holds it to be true; looks fifty times a second."""
    page.wait_for_function(condition, arg=argument, polling=20, timeout=PATIENCE)


def there(page: Page, selector: str, count: int = 1) -> None:
    """Wait for elements whose pictures, if they are such, are loaded."""
    until(
        page,
        """([selector, count]) => [...document.querySelectorAll(selector)]
             .filter((e) => e.tagName === 'IMG' ? e.complete && e.naturalWidth : e.textContent)
             .length >= count""",
        [selector, count],
    )


def seconds(act: Callable[[], object], *answers: Callable[[], None]) -> list[float]:
    """From `act` on until each of the answers."""
    begin = time.perf_counter()
    act()
    found = list[float]()
    for answer in answers:
        answer()
        found.append(time.perf_counter() - begin)
    return found


class Peak:
    """The most memory that the app has while this is open, in gigabytes."""

    def __init__(self, app: App) -> None:
        self.app, self.most = app, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(1.0):
            with suppress(psutil.Error):  # a process has just ended
                self.most = max(self.most, self.app.memory())

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def book(page: Page) -> dict[str, float]:
    """A story of two drafts, and all of its pages."""
    page.get_by_label("What is your story about?").fill("a fox who wanted to fly")
    write = page.get_by_role("button", name="Write the story first")
    words, drafts = seconds(
        write.click,
        lambda: there(page, ".draft.writing .tale"),
        lambda: there(page, ".draft [data-choose]", 2),
    )
    page.get_by_role("button", name="Use this story").first.click()
    paint = page.get_by_role("button", name="Paint this story")
    spreads = page.locator("li.spread")
    preview, first, whole = seconds(
        paint.click,
        lambda: there(page, ".spread.painting img.wet"),
        lambda: there(page, ".spread.painted img"),
        # Pictures that are out of sight are loaded when somebody scrolls to them.
        lambda: there(page, ".spread.painted", spreads.count()),
    )
    pages = spreads.count()
    return {
        "first words": words,
        "two drafts": drafts,
        "first preview": preview,
        "first page": first,
        "pages of the book": pages,
        "the whole book": whole,
        "six pages at that pace": 6 * whole / pages,
    }


def colour(page: Page, folder: Path) -> dict[str, float]:
    """A drawing of 512x512 and some strokes on it."""
    drawing().save(folder / "drawing.png")
    tab = page.get_by_role("tab", name="Colour")
    hand_in = page.get_by_label("Choose a drawing")
    (opened,) = seconds(tab.click, lambda: page.get_by_text("Hand in a drawing").wait_for())
    (colours,) = seconds(
        lambda: hand_in.set_input_files(folder / "drawing.png"),
        lambda: until(page, "document.querySelector('.easel')?.dataset.picture"),
    )
    page.keyboard.press("1")
    canvas = page.locator(".paper canvas")
    canvas.scroll_into_view_if_needed()
    answers = list[float]()
    for n in range(STROKES):
        time.sleep(REST)
        before = page.locator(".easel").get_attribute("data-picture")
        box = canvas.bounding_box()
        assert box is not None
        x, y = box["x"] + (0.08 + 0.1 * n) * box["width"], box["y"] + 0.3 * box["height"]
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 0.05 * box["width"], y + 0.15 * box["height"], steps=8)
        changed = "(before) => document.querySelector('.easel').dataset.picture !== before"
        answers += seconds(page.mouse.up, lambda: until(page, changed, before))  # noqa: B023
    return {
        "colour tab": opened,
        "drawing coloured": colours,
        "stroke answered": statistics.median(answers[1:]),
        "slowest stroke": max(answers[1:]),
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="storybrush-") as folder:
        app = App(Path(folder) / "library")
        try:
            app.told("Models ready")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.set_default_timeout(PATIENCE)
                (opened,) = seconds(
                    lambda: page.goto(app.url),
                    lambda: page.get_by_role("tab", name="Gallery").wait_for(),
                )
                with Peak(app) as peak:
                    found = {"page opened": opened} | book(page) | colour(page, Path(folder))
                found["peak memory, GB"] = peak.most
                browser.close()
        finally:
            app.close()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Chromium on the same machine")
    for name, value in found.items():
        print(f"{name:20s} {value:6.2f}")
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
