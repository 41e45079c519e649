"""The line art of a whole book, for its edition to colour."""

from __future__ import annotations

from PIL import Image

from pipelines.book import Book
from pipelines.colorize.lineart import extract

WIDTH = 1536
"""Shorter side of a drawing in pixels: 230 dots an inch on A4."""


def draw_pages(book: Book) -> list[Image.Image | None]:
    """Line art of every page, PIL L, 255 = paper; None where a page is not painted."""
    return [None if page.picture is None else draw(page.image()) for page in book.pages]


def draw(picture: Image.Image) -> Image.Image:
    """Line art of a picture, large enough to be printed."""
    scale = max(1.0, WIDTH / min(picture.size))
    width, height = (round(side * scale) for side in picture.size)
    return extract(picture.resize((width, height), Image.Resampling.BICUBIC))
