"""The line art of a whole book, for its edition to colour.

Drawn for the page, not for the colour models (`lineart.py`): outlines of one width, as closed as
they can be, with the background as clear as the figures, whatever their contrast.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.book import Book

SIDE = 512
"""Shorter side in pixels at which outlines are found."""

SCALE = 3
"""Pixels of a drawing for one of those: 230 dots an inch on A4."""

SMOOTH = 1.6
"""Sigma of the Gaussian before the gradient, in pixels of SIDE."""

STRONG, WEAK = 0.89, 0.2
"""An outline begins where the gradient is among the strongest 11 of 100, and goes on down to this
part of that gradient."""

FAINTEST = 3.0
"""Least gradient, of L*a*b* and Sobel, at which an outline begins: paper has grain."""

SHORTEST = 24
"""Outlines of no more pixels are specks."""

THICKNESS = 3.2
"""Sigma in pixels of the drawing that the pen is blurred with; a line is about twice as wide."""


def draw_pages(book: Book) -> list[Image.Image | None]:
    """The drawing of every page, PIL L, 255 = paper; None where a page is not painted."""
    return [None if page.picture is None else draw(page.image()) for page in book.pages]


def draw(picture: Image.Image) -> Image.Image:
    """Outlines of a picture, PIL L, 255 = paper, shorter side SIDE * SCALE pixels.

    Source: Canny 1986, on the gradient of the colours L*a*b* together (Di Zenzo 1986), so that
    colours of one brightness are parted as well. We differ in choosing the thresholds by their
    rank in the picture.
    """
    scale = SIDE / min(picture.size)
    width, height = (max(round(side * scale), 1) for side in picture.size)
    small = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    pen = cv2.resize(
        _outlines(np.asarray(small)),
        (width * SCALE, height * SCALE),
        interpolation=cv2.INTER_NEAREST,
    )
    ink = cv2.GaussianBlur(pen, (0, 0), THICKNESS).astype(np.float32)
    return Image.fromarray((255 - np.clip((ink - 29) * 6, 0, 255)).astype(np.uint8))


def _outlines(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) in [0, 255] -> (H, W), 255 on outlines one pixel wide, else 0."""
    lab = np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    for _ in range(2):  # evens out brush strokes and noise, keeps edges
        lab = cv2.bilateralFilter(lab, 7, 12, 4)
    lab = cv2.GaussianBlur(lab, (0, 0), SMOOTH)
    x, y = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    xx, yy, xy = ((a * b).sum(axis=2) for a, b in ((x, x), (y, y), (x, y)))
    gradient = np.sqrt((xx + yy + np.hypot(xx - yy, 2 * xy)) / 2)
    angle = np.arctan2(2 * xy, xx - yy) / 2
    level = max(float(np.quantile(gradient, STRONG)), FAINTEST)
    # OpenCV's Canny takes int16, and its arithmetic overflows in the upper half of that.
    unit = min(1000 / level, 12000 / max(float(gradient.max()), 1e-6))
    dx, dy = ((gradient * unit * turn(angle)).astype(np.int16) for turn in (np.cos, np.sin))
    edges = cv2.Canny(dx, dy, WEAK * level * unit, level * unit, L2gradient=True)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(edges, connectivity=8)
    kept = np.asarray(stats)[:, cv2.CC_STAT_AREA] > SHORTEST
    kept[0] = False  # the paper
    return np.where(kept[np.asarray(labels, np.int32)], np.uint8(255), np.uint8(0))
