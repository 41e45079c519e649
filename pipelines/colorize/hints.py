"""Colour hints, masks and palettes: what a person draws, as the models read it.

Hints are PIL RGBA of the line art's size: where alpha is above 127 there is a hint, elsewhere
none. Models read the *hint map*: (4, H/4, W/4), RGB in [-1, 1] and 0 where there is no hint, and a
mask in {0, 1}. A mask is PIL L, 255 = colour here.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import InvalidInput

CELL = 4
"""Pixels of a picture along a side of one cell of the hint map."""

RGB = tuple[int, int, int]


def _fitted(layer: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The layer cropped, or filled up with 0, at its right and bottom: (height, width, ...)."""
    fitted = np.zeros((height, width, *layer.shape[2:]), np.uint8)
    part = layer[:height, :width]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted


def hint_map(hints: Image.Image | None, width: int, height: int) -> NDArray[np.float32]:
    """Hints of a picture of `width` x `height` -> (4, ceil(height/4), ceil(width/4)).

    Each cell takes the colour of its hinted pixel nearest to its middle, so colours are never
    mixed. Strokes outside the picture are left out; None is no hints at all.
    """
    rows, columns = -(-height // CELL), -(-width // CELL)
    result = np.zeros((4, rows, columns), np.float32)
    if hints is None:
        return result
    layer = _fitted(np.asarray(hints.convert("RGBA")), columns * CELL, rows * CELL)
    # A stroke may cross the edge into the cells that only fill up the last row and column.
    layer[height:], layer[:, width:] = 0, 0
    middle = (CELL - 1) / 2
    offsets = [(y, x) for y in range(CELL) for x in range(CELL)]
    for y, x in sorted(offsets, key=lambda o: (o[0] - middle) ** 2 + (o[1] - middle) ** 2):
        pixels = layer[y::CELL, x::CELL]
        fresh = (pixels[..., 3] > 127) & (result[3] == 0)
        result[:3, fresh] = pixels[fresh, :3].T / np.float32(127.5) - 1
        result[3, fresh] = 1
    return result


def hint_layer(cells: NDArray[np.float32], width: int, height: int) -> Image.Image:
    """A hint map as a layer to save or show, PIL RGBA width x height; hint_map() reads it back."""
    rgb = np.round((cells[:3] + 1) * 127.5) * cells[3]
    layer = np.concatenate([rgb, cells[3:] * 255]).clip(0, 255).astype(np.uint8)
    large = layer.transpose(1, 2, 0).repeat(CELL, axis=0).repeat(CELL, axis=1)
    return Image.fromarray(_fitted(large, width, height))


def read_mask(mask: Image.Image | None, width: int, height: int) -> NDArray[np.bool_]:
    """(height, width), True where colour may go; None is everywhere.

    Raises: InvalidInput when nothing within the picture is masked.
    """
    if mask is None:
        return np.ones((height, width), np.bool_)
    inside = _fitted(np.asarray(mask.convert("L")), width, height) > 127
    if not inside.any():
        raise InvalidInput(
            "The mask is empty: paint over the part to colour, or fill the mask to colour it all."
        )
    return inside


def cover(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) bool -> (ceil(H/4), ceil(W/4)) float32: 1 where a cell has something of the mask."""
    height, width = inside.shape
    full = np.pad(inside, ((0, -height % CELL), (0, -width % CELL)))
    cells = full.reshape(full.shape[0] // CELL, CELL, full.shape[1] // CELL, CELL)
    return cells.max(axis=(1, 3)).astype(np.float32)


def paste(inside: Image.Image, picture: Image.Image, mask: NDArray[np.bool_]) -> Image.Image:
    """`inside` where the mask is True, elsewhere `picture` bit for bit; sizes alike, PIL RGB."""
    return Image.fromarray(
        np.where(mask[..., None], np.asarray(inside), np.asarray(picture.convert("RGB")))
    )


def palette(picture: Image.Image, count: int = 12) -> list[RGB]:
    """At most `count` colours that a picture is made of, the most common first.

    k-means in CIE L*a*b* on a small copy. A picture of fewer colours gives fewer.
    """
    small = picture.convert("RGB")
    small.thumbnail((96, 96), Image.Resampling.BOX)
    lab = np.asarray(cv2.cvtColor(np.asarray(small, np.float32) / 255, cv2.COLOR_RGB2LAB))
    lab = lab.reshape(-1, 3).astype(np.float32)
    count = min(count, len(np.unique(np.asarray(small).reshape(-1, 3), axis=0)))
    labels, centres = kmeans(lab, count)
    shares = np.bincount(labels, minlength=count)
    rgb = cv2.cvtColor(centres[None], cv2.COLOR_LAB2RGB)[0]
    colours = np.round(rgb * 255).clip(0, 255).astype(int).tolist()
    order = [n for n in np.argsort(-shares, kind="stable") if shares[n]]
    return [(colours[n][0], colours[n][1], colours[n][2]) for n in order]


def kmeans(
    points: NDArray[np.float32], count: int, rounds: int = 8
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """points (N, D) -> labels (N,), centres (count, D); count at most N.

    The start is the points that lie farthest from those already taken, beginning with the one
    nearest to the mean (Gonzalez 1985), so that small bright spots keep their colour and the
    result is the same every time.
    """
    first = np.argmin(((points - points.mean(0)) ** 2).sum(1))
    centres = points[[first]]
    distance = ((points - centres[0]) ** 2).sum(1)
    while len(centres) < count:
        centres = np.concatenate([centres, points[[np.argmax(distance)]]])
        distance = np.minimum(distance, ((points - centres[-1]) ** 2).sum(1))
    labels = np.zeros(len(points), np.int64)
    for _ in range(rounds):
        labels = (-2 * points @ centres.T + (centres**2).sum(1)).argmin(1)
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, points)
        sizes = np.bincount(labels, minlength=count)
        filled = sizes > 0
        centres[filled] = sums[filled] / sizes[filled, None]
    return labels, centres
