"""Large pictures in overlapping tiles, feathered into each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """Part of a picture in pixels, `right` and `bottom` excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


def spans(length: int, side: int, overlap: int, grid: int) -> list[tuple[int, int]]:
    """[0, length) in spans of at most `side` that overlap by at least `overlap`.

    All are of the same length but for rounding, so no span is a sliver; starts are multiples of
    `grid`. `side` must be above `overlap + grid`.
    """
    if length <= side:
        return [(0, length)]
    count = -(-(length - overlap) // (side - overlap - grid))
    starts = {(length - side) * n // (count - 1) // grid * grid for n in range(count)}
    return [(start, min(start + side + grid, length)) for start in sorted(starts)]


def tiles(width: int, height: int, side: int, overlap: int, grid: int = 16) -> list[Box]:
    """Boxes that cover a picture, in reading order."""
    return [
        Box(left, top, right, bottom)
        for top, bottom in spans(height, side - grid, overlap, grid)
        for left, right in spans(width, side - grid, overlap, grid)
    ]


def _ramp(start: int, end: int, before: int) -> NDArray[np.float32]:
    """Weights of a span whose first part, up to `before`, another span has covered already."""
    weights = np.ones(end - start, np.float32)
    shared = before - start
    if shared > 0:
        weights[:shared] = (np.arange(shared, dtype=np.float32) + 0.5) / shared
    return weights


def blend(canvas: NDArray[np.uint8], tile: NDArray[np.uint8], box: Box, painted: list[Box]) -> None:
    """Lay `tile` (h, w, 3) over `canvas` (H, W, 3) in place.

    Where tiles that were laid before it (`painted`, in reading order) reach into it from the left
    and from above, it fades in linearly.
    """
    left = max((b.right for b in painted if b.top == box.top and b.left < box.left), default=0)
    above = max((b.bottom for b in painted if b.top < box.top), default=0)
    columns = _ramp(box.left, box.right, min(left, box.right))
    rows = _ramp(box.top, box.bottom, min(above, box.bottom))
    part = canvas[box.top : box.bottom, box.left : box.right]
    weight = (rows[:, None] * columns)[..., None]
    part[:] = np.round(part + (tile.astype(np.float32) - part) * weight).astype(np.uint8)
