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

BLOCKS = (2, 3, 4)
"""Sides of the blocks of coarse hints, in cells."""

TIDY = 0.8
"""Share of strokes that stay within the colour they begin in."""

MOST_RECOLOURED = 3
NEIGHBOURS = (24, 24, 24)
"""Flat colours at most this far apart, touching, are one thing in another light."""

Cell = tuple[int, int]
"""Row and column in the hint map."""


def simulate_hints(
    simplified: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    regime: str,
    sure: tuple[Cell, ...] = (),
) -> NDArray[np.uint8]:
    """(H, W, 3) flat colours -> (4, H/4, W/4): RGB, 0 where there is no hint, mask in {0, 1}.

    `regime`: "none"; "sparse": strokes, dots or both, the first of them at the cells `sure`;
    "full": the flat colours everywhere; "coarse": everywhere, too, but one colour for blocks of
    cells, whatever lines cross them: as a planner's choice is, which knows little of edges.
    """
    middle = CELL // 2
    colours = simplified[middle::CELL, middle::CELL]
    covered = np.zeros(colours.shape[:2], np.bool_)
    painted = np.zeros_like(colours)
    if regime == "full":
        covered[:], painted[:] = True, colours
    elif regime == "coarse":
        covered[:], painted[:] = True, _most(colours, int(rng.choice(BLOCKS)))
    elif regime == "sparse":
        _draw_sparse(painted, covered, colours, rng, sure)
    elif regime != "none":
        raise ValueError(f"there is no regime {regime!r}")
    return np.concatenate([painted.transpose(2, 0, 1), covered[None].view(np.uint8)])


def _most(colours: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(h, w, 3) -> the same: in blocks of `side` x `side` cells the colour that most have."""
    h, w = colours.shape[0] // side, colours.shape[1] // side
    blocks = colours[: h * side, : w * side].reshape(h, side, w, side, 3).swapaxes(1, 2)
    cells = blocks.reshape(h, w, side * side, 3)
    codes = cells.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    alike = (codes[..., :, None] == codes[..., None, :]).sum(-1)
    chosen = np.take_along_axis(cells, alike.argmax(-1)[..., None, None], axis=2)
    most = np.broadcast_to(chosen[:, None, :, 0, None], (h, side, w, side, 3))
    filled = colours.copy()  # a rest at the right and below stays as it is
    filled[: h * side, : w * side] = most.reshape(h * side, w * side, 3)
    return filled


def _draw_sparse(
    painted: NDArray[np.uint8],
    covered: NDArray[np.bool_],
    colours: NDArray[np.uint8],
    rng: np.random.Generator,
    sure: tuple[Cell, ...],
) -> None:
    """A person's hints: a few strokes, dots, now and then everything of a colour filled in."""
    # One number for each colour: quick to compare.
    codes = colours[..., 0] * np.int32(1 << 16) + colours[..., 1] * np.int32(1 << 8)
    codes += colours[..., 2]
    palette = np.unique(codes)
    kind = rng.random()
    strokes = int(rng.integers(1, MOST_STROKES + 1)) if kind < 0.75 else 0
    dots = int(rng.integers(1, 13)) if kind > 0.55 else 0
    fills = int(rng.integers(1, 6)) if rng.random() < 0.15 else 0
    for n in range(strokes + dots + fills):
        if n < len(sure):
            y, x = sure[n]
        elif n % 2:  # anywhere: large areas are hinted most
            y, x = int(rng.integers(codes.shape[0])), int(rng.integers(codes.shape[1]))
        else:  # any colour, so that small things are hinted too
            there = np.flatnonzero(codes == palette[rng.integers(len(palette))])
            y, x = divmod(int(there[rng.integers(len(there))]), codes.shape[1])
        if n < strokes:
            shape = _stroke(codes.shape, x, y, rng)
        elif n < strokes + dots:
            shape = _disc(codes.shape, x, y, rng)
        else:
            shape = np.ones(codes.shape, np.bool_)
        if n >= strokes + dots or rng.random() < TIDY:
            shape &= codes == codes[y, x]
        np.copyto(painted, colours[y, x], where=shape[..., None])
        covered |= shape


def _stroke(shape: tuple[int, ...], x: int, y: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Source: PaintsTorch (Hati et al. 2019): waypoints in a small box, a round brush."""
    waypoints = int(rng.integers(1, MOST_WAYPOINTS + 1))
    steps = rng.integers(-MOST_REACH, MOST_REACH + 1, (waypoints, 2))
    points = np.cumsum(np.concatenate([[[x, y]], steps]), axis=0).astype(np.int32)
    canvas = np.zeros(shape, np.uint8)
    cv2.polylines(canvas, [points], False, 1, thickness=int(rng.integers(1, 5)))
    return canvas.view(np.bool_)


def _disc(shape: tuple[int, ...], x: int, y: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Source: StencilTorch (Hati et al. 2023): radius 2 to 32 of 512 pixels, mostly small."""
    canvas = np.zeros(shape, np.uint8)
    radius = 2 * 16 ** rng.random() / CELL
    cv2.circle(canvas, (x, y), round(radius), 1, thickness=-1)
    return canvas.view(np.bool_)


def recolour(
    picture: NDArray[np.uint8], simplified: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Cell, ...]:
    """Give up to three things in a picture colours that nobody would guess, in place.

    A model sees them only together with hints at the cells returned: so it learns that a hint is
    obeyed against all habit, up to the edges of the thing and no further. Both (H, W, 3) uint8.
    """
    height, width = simplified.shape[:2]
    cells: list[Cell] = []
    for _ in range(int(rng.integers(1, MOST_RECOLOURED + 1))):
        row, column = int(rng.integers(height // CELL)), int(rng.integers(width // CELL))
        y, x = row * CELL + CELL // 2, column * CELL + CELL // 2
        filled = np.zeros((height + 2, width + 2), np.uint8)
        flags = 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
        area, _, _, box = cv2.floodFill(
            simplified, filled, (x, y), 0, NEIGHBOURS, NEIGHBOURS, flags
        )
        if not 0.003 < area / (height * width) < 0.6:
            continue
        left, top, across, down = box
        part = slice(top, top + down), slice(left, left + across)
        thing = filled[1:-1, 1:-1][part].view(np.bool_)
        order = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))[rng.integers(5)]
        for image in (picture[part], simplified[part]):
            before = image.copy()
            for c in range(3):
                np.copyto(image[..., c], before[..., order[c]], where=thing)
        cells.append((row, column))
    return tuple(cells)


def simulate_mask(simplified: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) flat colours -> (H, W) in {0, 1}, 1 = colour here; never empty.

    Blobs of a brush, everything of a colour, boxes, or the whole picture.
    """
    height, width = simplified.shape[:2]
    kind = rng.random()
    if kind < 0.15:
        return np.ones((height, width), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        if kind < 0.55:
            steps = rng.normal(0, width / 8, (int(rng.integers(1, 7)), 2))
            points = np.cumsum(np.concatenate([[[x, y]], steps]), axis=0).astype(np.int32)
            brush = int(rng.integers(width // 16, width // 4))
            cv2.polylines(mask, [points], False, 1, thickness=brush)
        elif kind < 0.75:
            across, down = (int(v) for v in rng.integers(width // 16, width // 4, 2))
            cv2.rectangle(mask, (x - across, y - down), (x + across, y + down), 1, thickness=-1)
        else:
            region = cv2.inRange(simplified, simplified[y, x], simplified[y, x])
            reach = 2 * int(rng.integers(1, 6)) + 1
            disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
            mask |= np.asarray(cv2.dilate(region, disc), np.uint8) & 1
    return mask
