"""Outlines for colouring: whole, of every colour, nothing on plain paper."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.book import Page
from pipelines.colorize.colouring import SCALE, SIDE, draw, draw_pages
from tests.storage.books import make_book

Colour = tuple[int, int, int]


def disc(inside: Colour, outside: Colour, blur: float = 0.0) -> Image.Image:
    picture = Image.new("RGB", (256, 256), outside)
    ImageDraw.Draw(picture).ellipse((64, 64, 192, 192), fill=inside)
    pixels = np.asarray(picture)
    return Image.fromarray(cv2.GaussianBlur(pixels, (0, 0), blur)) if blur else picture


def regions(drawing: Image.Image) -> int:
    """How many parts of the paper the lines divide."""
    paper = (np.asarray(drawing) > 200).astype(np.uint8)
    return cv2.connectedComponents(paper, connectivity=4)[0] - 1


@pytest.mark.parametrize(
    "inside, outside, blur",
    [
        ((255, 220, 60), (90, 160, 230), 0.0),
        ((200, 90, 90), (90, 146, 90), 0.0),  # as bright as each other
        ((40, 44, 70), (20, 22, 40), 0.0),  # at night
        ((250, 210, 120), (150, 200, 240), 3.0),  # softly painted
    ],
)
def test_the_outline_of_a_disc_is_closed(inside: Colour, outside: Colour, blur: float) -> None:
    drawing = draw(disc(inside, outside, blur))
    assert drawing.mode == "L"
    assert drawing.size == (SIDE * SCALE, SIDE * SCALE)
    assert regions(drawing) == 2
    lines = np.argwhere(np.asarray(drawing) < 128)
    radius = np.hypot(*(lines - SIDE * SCALE / 2).T)
    assert np.all(np.abs(radius - SIDE * SCALE / 4) < 30)


def test_a_faint_thing_is_drawn_beside_a_bold_one() -> None:
    picture = Image.new("RGB", (256, 256), (120, 170, 220))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((20, 20, 100, 100), fill=(160, 195, 225))  # a cloud
    pen.ellipse((140, 140, 230, 230), fill=(0, 0, 0))
    assert regions(draw(picture)) == 3


def test_plain_and_grainy_paper_stay_empty() -> None:
    assert np.asarray(draw(Image.new("RGB", (64, 64), (200, 180, 90)))).min() == 255
    grain = np.random.default_rng(0).normal(180, 1.0, (256, 256, 3)).clip(0, 255)
    assert np.asarray(draw(Image.fromarray(grain.astype(np.uint8)))).min() == 255


def test_pictures_keep_their_shape() -> None:
    assert draw(Image.new("RGB", (64, 32))).size == (2 * SIDE * SCALE, SIDE * SCALE)
    assert draw(Image.new("RGB", (1, 1))).size == (SIDE * SCALE, SIDE * SCALE)


def test_one_drawing_a_page() -> None:
    book = make_book(pages=2)
    book = replace(book, pages=(Page("Not painted."), *book.pages))
    drawn = draw_pages(book)
    assert [d is None for d in drawn] == [True, False, False]
