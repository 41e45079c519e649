"""Hints and masks as people draw them, simulated.

Hints are drawn on the cells of the hint map, a quarter of the picture's size. Their colours are
read from the simplified picture, because people pick flat mid-tones.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.colorize.hints import CELL

MOST_STROKES = 10
MOST_WAYPOINTS = 5
MOST_REACH = 10
"""Cells between two waypoints, along either axis."""

TIDY = 0.8
"""Share of strokes that stay within the region they begin in."""


def simulate_hints(
    simplified: NDArray[np.uint8], rng: np.random.Generator, *, regime: str
) -> NDArray[np.float32]:
    """(H, W, 3) flat colours -> hint map (4, H/4, W/4).

    `regime`: "none"; "sparse": strokes, discs, or both; "full": the flat colours everywhere.
    """
    middle = CELL // 2
    colours = np.ascontiguousarray(simplified[middle::CELL, middle::CELL])
    covered = np.zeros(colours.shape[:2], np.uint8)
    painted = np.zeros_like(colours)
    if regime == "full":
        covered[:], painted = 1, colours
    elif regime == "sparse":
        _draw_sparse(painted, covered, colours, rng)
    elif regime != "none":
        raise ValueError(f"no such regime: {regime}")
    result = np.zeros((4, *covered.shape), np.float32)
    result[:3] = painted.transpose(2, 0, 1) / np.float32(127.5) - 1
    result[:3] *= covered
    result[3] = covered
    return result


def _draw_sparse(
    painted: NDArray[np.uint8],
    covered: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    rng: np.random.Generator,
) -> None:
    """A person's hints: a few strokes, dots, or now and then whole regions filled."""
    kind = rng.random()
    strokes = rng.integers(1, MOST_STROKES + 1) if kind < 0.75 else 0
    dots = rng.integers(1, 13) if kind > 0.55 else 0
    fills = rng.integers(1, 6) if rng.random() < 0.15 else 0
    height, width = covered.shape
    for n in range(int(strokes + dots + fills)):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        colour = colours[y, x]
        if n < strokes:
            shape = _stroke(covered.shape, x, y, rng)
        elif n < strokes + dots:
            shape = _disc(covered.shape, x, y, rng)
        else:
            shape = np.ones(covered.shape, np.uint8)
        if n >= strokes + dots or rng.random() < TIDY:
            shape &= (colours == colour).all(2).view(np.uint8)
        there = shape > 0
        painted[there] = colour
        covered[there] = 1


def _stroke(shape: tuple[int, ...], x: int, y: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Source: PaintsTorch (Hati et al. 2019): waypoints in a small box, a round brush."""
    steps = rng.integers(-MOST_REACH, MOST_REACH + 1, (int(rng.integers(1, MOST_WAYPOINTS + 1)), 2))
    points = np.cumsum(np.concatenate([[[x, y]], steps]), axis=0).astype(np.int32)
    canvas = np.zeros(shape[:2], np.uint8)
    cv2.polylines(canvas, [points], False, 1, thickness=int(rng.integers(1, 5)))
    return canvas


def _disc(shape: tuple[int, ...], x: int, y: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Source: StencilTorch (Hati et al. 2023): radius 2 to 32 of 512 pixels, mostly small."""
    canvas = np.zeros(shape[:2], np.uint8)
    radius = 2 * 16 ** rng.random() / CELL
    cv2.circle(canvas, (x, y), round(radius), 1, thickness=-1)
    return canvas


def simulate_mask(simplified: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) flat colours -> (H, W) in {0, 1}, 1 = colour here; never empty.

    Blobs of a brush, regions of one colour, boxes, or everything.
    """
    height, width = simplified.shape[:2]
    kind = rng.choice(("blobs", "regions", "boxes", "all"), p=(0.4, 0.25, 0.2, 0.15))
    if kind == "all":
        return np.ones((height, width), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        if kind == "blobs":
            steps = rng.normal(0, width / 8, (int(rng.integers(1, 7)), 2))
            points = np.cumsum(np.concatenate([[[x, y]], steps]), axis=0)
            brush = int(rng.integers(width // 16, width // 4))
            cv2.polylines(mask, [points.astype(np.int32)], False, 1, thickness=brush)
        elif kind == "boxes":
            across, down = rng.integers(width // 8, width // 2, 2) // 2
            corners = (x - int(across), y - int(down)), (x + int(across), y + int(down))
            cv2.rectangle(mask, *corners, 1, thickness=-1)
        else:
            region = cv2.inRange(simplified, simplified[y, x], simplified[y, x])
            grow = cv2.getStructuringElement(
                cv2.MORPH_ELLIPSE, (2 * int(rng.integers(1, 6)) + 1,) * 2
            )
            mask |= np.asarray(cv2.dilate(region, grow), np.uint8) & 1
    return mask
