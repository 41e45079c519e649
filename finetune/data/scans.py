"""Clean line art made to look drawn by hand and scanned or photographed.

Lines are (H, W) uint8, 255 = paper, at the size that models train at; what they show stays where
it is, to within a pixel or two, because the coloured picture does.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def wear(lines: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Drawn again by an unsteady hand with some pen or pencil, on some paper, seen by a camera."""
    drawn = draw_again(lines, rng)
    return photograph(drawn, rng)


def draw_again(lines: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Other line weights, wobble, gaps, double lines; pen, pencil or bleeding ink; on white."""
    ink = _weigh(255 - lines, rng)
    if rng.random() < 0.5:
        ink = _displace(ink, rng.uniform(0.3, 1.2), rng)
    if rng.random() < 0.2:  # drawn twice, the second time more lightly
        again = _displace(ink, rng.uniform(1.0, 2.5), rng)
        ink = np.maximum(ink, (again * rng.uniform(0.4, 0.9)).astype(np.uint8))
    depth = ink.astype(np.float32) / 255
    if rng.random() < 0.4:  # the pen leaves the paper
        depth *= _step(_noise(ink.shape, 6, rng), -rng.uniform(1.3, 2.2))
    kind = rng.random()
    if kind < 0.45:  # pencil: grey, pressed unevenly, with the grain of the paper
        depth *= rng.uniform(0.4, 0.8) + 0.15 * _noise(ink.shape, 12, rng)
        depth *= (1 + rng.uniform(0.1, 0.5) * _noise(ink.shape, 0.7, rng)).clip(0, 1.3)
    elif kind < 0.6:  # ink that bleeds
        depth = cv2.GaussianBlur(depth, (0, 0), rng.uniform(0.6, 1.2)) * 1.5
    else:  # a pen, not always black
        depth *= rng.uniform(0.7, 1.0)
    return (255 * (1 - depth)).clip(0, 255).astype(np.uint8)


def photograph(drawn: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """On paper of some shade and texture, under uneven light, blurred, noisy, saved as JPEG."""
    height, width = drawn.shape
    light = np.full((height, width), rng.uniform(0.75, 1.0), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width) - 0.5
    if rng.random() < 0.6:  # light from one side
        angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
        light *= 1 + slope * (np.cos(angle) * x + np.sin(angle) * y - 0.35)
    if rng.random() < 0.4:  # darker corners
        light *= 1 - rng.uniform(0, 0.5) * (x**2 + y**2)
    if rng.random() < 0.3:  # the shadow of a hand or a phone
        light *= _shadow(height, width, rng)
    light *= 1 + rng.uniform(0, 0.02) * _noise((height, width), 1.0, rng)
    light *= 1 + rng.uniform(0, 0.03) * _noise((height, width), 16, rng)
    seen = drawn * light
    if rng.random() < 0.6:
        seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.3, 0.9))
    seen = seen + rng.uniform(0, 5) * rng.standard_normal((height, width), np.float32)
    pixels = seen.clip(0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
    _, data = cv2.imencode(".jpg", pixels, quality)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _weigh(ink: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Thinner or thicker lines, the same all over or changing along the way; 0 = paper."""
    kind = rng.random()
    if kind < 0.35:
        return ink
    spread = rng.uniform(0.5, 1.2)
    soft = cv2.GaussianBlur(ink.astype(np.float32) / 255, (0, 0), spread)
    # A line one pixel wide is left with 0.4 / spread of its depth: it must not vanish.
    level = rng.uniform(0.25, 0.85) * min(1.0, 0.4 / spread) * np.ones_like(soft)
    if kind < 0.7:
        level *= 1 + 0.3 * _noise(ink.shape, 20, rng)
    return (((soft / level.clip(0.05) - 0.7) * 425).clip(0, 255)).astype(np.uint8)


def _displace(ink: NDArray[np.uint8], reach: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Moved about by `reach` pixels, in ways that change slowly over the picture."""
    height, width = ink.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x += reach * _noise(ink.shape, 14, rng)
    y += reach * _noise(ink.shape, 14, rng)
    return np.asarray(cv2.remap(ink, x, y, cv2.INTER_LINEAR), np.uint8)


def _noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> Field:
    """(H, W) smooth noise of mean 0 and deviation 1 that changes over `scale` pixels."""
    height, width = shape
    if scale < 2:
        fine = rng.standard_normal((height, width), np.float32)
        soft = np.asarray(cv2.GaussianBlur(fine, (0, 0), scale), np.float32)
        return soft / max(float(soft.std()), 1e-6)
    coarse = rng.standard_normal(
        (max(3, round(height / scale)), max(3, round(width / scale))), np.float32
    )
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth * np.float32(1.2), np.float32)


def _step(field: Field, level: float) -> Field:
    """0 below `level`, 1 above, with a short ramp between."""
    return ((field - level) * 4).clip(0, 1).astype(np.float32)


def _shadow(height: int, width: int, rng: np.random.Generator) -> Field:
    """(H, W) light behind something that stands in it, with a soft edge."""
    corners = rng.uniform(-0.3, 1.3, (int(rng.integers(3, 6)), 2)) * (width, height)
    shape = np.zeros((height, width), np.float32)
    cv2.fillPoly(shape, [cv2.convexHull(corners.astype(np.int32))], 1.0)
    soft = cv2.GaussianBlur(shape, (0, 0), width * rng.uniform(0.01, 0.08))
    return np.asarray(1 - rng.uniform(0.1, 0.5) * soft, np.float32)
