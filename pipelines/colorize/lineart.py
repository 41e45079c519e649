"""Line art drawn from a picture: XDoG.

Line art is PIL L, 255 = paper, 0 = line.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

GAMMA = 0.95
K = 4.5
REFERENCE = 512
"""Shorter side in pixels for which sigma is meant; it grows with larger pictures."""

STRENGTH = 0.9
"""Of lines that are taken from a picture: what has an outline can be coloured by itself."""

FAINTEST = 4
"""Responses below this, of 255, are noise, however empty the picture is."""

_BRIGHTEN = (255 * (np.arange(256) / 255) ** 0.6).astype(np.uint8)
"""Edges in the dark look as strong to the eye as those in the light, so they are drawn so."""


def extent(size: tuple[int, int]) -> float:
    """The longer side of a drawing, by which the width of its lines is judged; a strip is several
    drawings beside each other, each half as long again as it is high."""
    return min(max(size), 1.5 * min(size))


def extract(picture: Image.Image, *, strength: float = STRENGTH, sigma: float = 0.4) -> Image.Image:
    """Line art of a picture, PIL L of the same size.

    `strength` in [0, 1]: 0 keeps the boldest lines only, 1 also faint ones. `sigma`: pixels of
    blur of the finer of the two Gaussians, for a picture whose shorter side is at most 512.

    Source: XDoG (Winnemoeller et al. 2012), `D = G(sigma) - gamma*G(k*sigma)`, thresholded after
    Otsu. We differ in taking the strongest response of the three colours, so that edges between
    colours of one brightness are lines as well; in adding dark strokes whole, where D alone would
    draw both their sides; and in a threshold with a soft step and with hysteresis (Canny 1986), so
    that lines are smooth and go on where they grow faint.
    """
    rgb = np.asarray(picture.convert("RGB"))
    scale = max(1.0, min(rgb.shape[:2]) / REFERENCE)
    return Image.fromarray(draw_lines(rgb, strength=strength, sigma=sigma * scale, scale=scale))


def draw_lines(
    rgb: NDArray[np.uint8], *, strength: float, sigma: float, scale: float = 1.0
) -> NDArray[np.uint8]:
    """(H, W, 3) in [0, 255] -> (H, W), 255 = paper. `scale` widens strokes and specks alike."""
    bright = cv2.LUT(rgb, _BRIGHTEN)
    fine, coarse = (cv2.GaussianBlur(bright, (0, 0), s) for s in (sigma, sigma * K))
    difference = cv2.addWeighted(coarse, GAMMA, fine, -1, 0)  # -D, cut off at 0
    response = cv2.max(cv2.max(difference[..., 0], difference[..., 1]), difference[..., 2])
    reach = 2 * round(2 * scale) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    strokes = cv2.morphologyEx(cv2.cvtColor(bright, cv2.COLOR_RGB2GRAY), cv2.MORPH_BLACKHAT, disc)
    response = cv2.max(response, cv2.addWeighted(strokes, 0.5, strokes, 0, 0))
    response = np.asarray(response, np.uint8)
    level = max(_otsu(response) * 1.4 ** (1 - 4 * strength), FAINTEST)
    ramp = np.clip((np.arange(256) / level - 0.75) * 510, 0, 255).astype(np.uint8)
    ink = np.asarray(cv2.LUT(response, ramp), np.uint8)  # paper at 3/4 of the level, line at 5/4
    return 255 - remove_specks(ink, round(2 * scale * scale), sure=response > 1.5 * level)


def _otsu(response: NDArray[np.uint8]) -> float:
    """The level that parts lines from the rest, among pixels that respond at all."""
    there = response[response >= FAINTEST]
    if there.size < 16:
        return 255.0
    level, _ = cv2.threshold(there[:, None], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return float(level)


def remove_specks(
    ink: NDArray[np.uint8], area: int, *, sure: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """`ink` (H, W), 0 = none, without islands of at most `area` pixels, or without a `sure` one."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((ink > 64).astype(np.uint8))
    labels = np.asarray(labels, np.int32)
    kept = stats[:, cv2.CC_STAT_AREA] > area
    if sure is not None:
        has = np.zeros(len(kept), np.bool_)
        has[labels[sure]] = True
        kept &= has
    return np.where(kept[labels], ink, np.uint8(0))
