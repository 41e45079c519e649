"""Colours kept within the lines: a drawing's regions, and a picture evened out over them.

The models see where a colour belongs, but small ones paint with a wide brush. Here every region
takes what the model has painted there on the whole, and where a person has drawn a stroke, the
region takes the stroke's colour, the more the nearer to it.

Source of the regions: trapped-ball segmentation (Zhang et al. 2009, "Vectorizing cartoon
animations"): a ball that does not fit through a gap in a line does not flow out through it. We
differ in growing what the ball has reached by a little, instead of merging slivers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.colorize.hints import hint_map

WORK_SIDE = 512
"""Longest side at which regions are looked for."""
BALLS = (7, 4, 2, 1, 0)
"""Radii in pixels of a picture whose longest side is 512."""
SMALLEST = 10
"""Pixels of a region."""
LEAST_STROKE = 12
"""Pixels of a stroke within a region; less has only slipped over the line."""
REACH = 0.28
"""Of the longest side: how far a stroke fills a region that is larger than this."""


@dataclass(frozen=True)
class Regions:
    """Where a drawing's regions are, at a working size."""

    labels: NDArray[np.int32]
    """(h, w), from 0; every pixel has one, those under lines that of the nearest region."""
    areas: NDArray[np.int64]
    """Pixels of each region."""
    order: NDArray[np.int64]
    """Indices of all pixels, region after region."""


def find_regions(lineart: Image.Image) -> Regions:
    """The regions of a drawing, PIL L, 255 = paper."""
    scale = min(1.0, WORK_SIDE / max(lineart.size))
    size = max(8, round(lineart.width * scale)), max(8, round(lineart.height * scale))
    grey = np.asarray(lineart.convert("L").resize(size, Image.Resampling.BOX))
    free = (grey > 150).astype(np.uint8)
    labels = np.zeros(free.shape, np.int32)
    unit = max(size) / 512
    for ball in BALLS:
        radius = round(ball * unit) if ball else 0
        rest = free * (labels == 0).astype(np.uint8)
        disc = _disc(radius)
        kept = cv2.erode(rest, disc, borderType=cv2.BORDER_CONSTANT, borderValue=1)
        count, found, stats, _ = cv2.connectedComponentsWithStats(kept, connectivity=4)
        fine = stats[:, cv2.CC_STAT_AREA] >= SMALLEST
        fine[0] = False
        numbers = np.zeros(count, np.int32)
        numbers[fine] = labels.max() + 1 + np.arange(int(fine.sum()))
        fresh = numbers[np.asarray(found, np.int32)]
        labels = np.where(labels == 0, _grown(fresh, rest, radius), labels)
        labels = _grown(labels, free, radius + 1)  # corners that the ball has not reached
    if not labels.any():
        labels[:] = 1
    labels = _nearest(labels)
    _, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(free.shape).astype(np.int32)
    order = np.argsort(labels.ravel(), kind="stable")
    return Regions(labels, np.bincount(labels.ravel()), order)


def within_lines(
    regions: Regions, lineart: Image.Image, picture: Image.Image, hints: Image.Image | None
) -> Image.Image:
    """A model's picture, PIL RGB, with its colours and the strokes' kept within the lines.

    lineart: PIL L of the picture's size; hints: PIL RGBA of its size. -> PIL RGB.
    """
    labels, areas = regions.labels, regions.areas
    height, width = labels.shape
    small = picture.convert("RGB").resize((width, height), Image.Resampling.BOX)
    colours = _evened(np.asarray(small, np.float32), regions)
    if hints is not None:
        colours = _stroked(colours, labels, areas, hints)
    colours = cv2.GaussianBlur(colours, (0, 0), 0.8)
    large = cv2.resize(colours, picture.size, interpolation=cv2.INTER_LINEAR)
    ink = np.asarray(lineart.convert("L"), np.float32)[..., None] / 255
    return Image.fromarray(np.round(large * (0.1 + 0.9 * ink)).clip(0, 255).astype(np.uint8))


def _evened(rgb: NDArray[np.float32], regions: Regions) -> NDArray[np.float32]:
    """Every region in its median colour, large ones with most of what varies in them."""
    labels, areas = regions.labels, regions.areas
    flat = rgb.reshape(-1, 3)[regions.order]
    ends = np.cumsum(areas)
    samples = (  # a few thousand pixels tell a median well enough
        flat[end - area : end : area // 2000 + 1] for area, end in zip(areas, ends, strict=True)
    )
    medians = np.stack([np.median(sample, axis=0) for sample in samples]).astype(np.float32)
    share = areas / labels.size
    stay = np.clip((share - 0.06) / 0.3, 0.0, 0.85).astype(np.float32)[labels][..., None]
    flats = medians[labels]
    soft = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 4), np.float32)
    return (flats + stay * (soft - flats)).astype(np.float32)


def _stroked(
    colours: NDArray[np.float32],
    labels: NDArray[np.int32],
    areas: NDArray[np.int64],
    hints: Image.Image,
) -> NDArray[np.float32]:
    """Strokes fill the regions that they are in; between several, the nearer one counts more."""
    height, width = labels.shape
    strokes = hints.convert("RGBA")
    if strokes.size != (width, height):
        strokes = strokes.resize((width, height), Image.Resampling.NEAREST)
    layer = np.asarray(strokes)
    rows, columns = np.nonzero(layer[..., 3] > 127)
    drawn = layer[rows, columns, :3].astype(np.int16)  # (N, 3)
    total = np.zeros_like(colours)
    weights = np.full((height, width), 1e-12, np.float32)
    nearest = np.full((height, width), 1e6, np.float32)
    for colour in _stroke_colours(hints):
        alike = np.abs(drawn - colour).max(1) <= 10
        here = rows[alike], columns[alike]
        touched = np.bincount(labels[here], minlength=len(areas)) >= LEAST_STROKE
        if not touched.any():
            continue
        elsewhere = np.ones((height, width), np.uint8)
        elsewhere[here] = 0
        distance = np.asarray(cv2.distanceTransform(elsewhere, cv2.DIST_L2, 5), np.float32)
        inside = touched[labels]
        near = 1 / (distance + 2)
        weight = np.where(inside, near * near * near, 0)
        total += weight[..., None] * colour.astype(np.float32)
        weights += weight
        nearest = np.where(inside, np.minimum(nearest, distance), nearest)
    reach = np.clip(0.9 * np.sqrt(areas), 20, REACH * max(height, width)).astype(np.float32)
    share = (1 / (1 + (nearest / reach[labels]) ** 6))[..., None]
    return (colours + share * (total / weights[..., None] - colours)).astype(np.float32)


def _stroke_colours(hints: Image.Image) -> list[NDArray[np.int16]]:
    """The colours that were drawn with, the most used first; at most 24."""
    cells = hint_map(hints, *hints.size)
    used = np.round((cells[:3, cells[3] > 0].T + 1) * 127.5).astype(np.int16)
    if not len(used):
        return []
    found, counts = np.unique(used, axis=0, return_counts=True)
    chosen = list[NDArray[np.int16]]()
    for n in np.argsort(-counts, kind="stable"):
        if all(np.abs(found[n] - c).max() > 10 for c in chosen):
            chosen.append(found[n])
        if len(chosen) == 24:
            break
    return chosen


def _disc(radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _grown(labels: NDArray[np.int32], free: NDArray[np.uint8], steps: int) -> NDArray[np.int32]:
    """Labels spread into what is free around them, so many pixels far, never across a line."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    now = labels.astype(np.float32)
    for _ in range(steps):
        now = np.where((now == 0) & (free > 0), cv2.dilate(now, cross), now)
    return now.astype(np.int32)


def _nearest(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Every pixel without a label takes that of the nearest one that has one."""
    _, found = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.asarray(found, np.int64)
    table = np.zeros(int(places.max()) + 1, np.int32)
    given = labels > 0
    table[places[given]] = labels[given]
    return table[places]
