"""Colours kept within the lines: a drawing's regions, and a picture evened out over them.

The models see where a colour belongs, but small ones paint with a wide brush. Here every region
takes what the model has painted there on the whole, and where a person has drawn a stroke, the
region takes the stroke's colour, the more the nearer to it.

Source of the regions: trapped-ball segmentation (Zhang et al. 2009, "Vectorizing cartoon
animations"): a ball that does not fit through a gap in a line does not flow out through it. We
differ in growing what the ball has reached by a little, instead of merging slivers, and in joining
what it has only not got through to: a wall goes on beside its windows, however close to the roof.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.colorize.hints import hint_map
from pipelines.colorize.lineart import extent

WORK_SIDE = 512
"""Longest side at which regions are looked for; strips are longer, of no more pixels than a square.
"""
BALLS = (7, 4, 2, 1, 0)
"""Radii in pixels of a picture whose extent is 512."""
SMALLEST = 10
"""Pixels of a region."""
LEAST_STROKE = 12
"""Pixels of a stroke within a region, of a picture of 512 x 512; less has slipped over the line."""
LEAST_SHARE = 0.18
"""The same as a share of what the stroke has in the region that has most of it, ..."""
COVERED = 1 / 8
"""... unless this share of the region is drawn over."""
OPENNESS = 0.55
"""Share of the border between two regions that is no line, from which on they are one, ..."""
SLIVER = 0.03
"""... where one of them is at most this share of the drawing: two large things are rarely one."""
BLEED = 3
"""Pixels of a quarter of the working size: how far colours from beyond a line are seen."""
MOST_COLOURS = 96
"""Colours of strokes that are told apart."""
REACH = 0.28
"""Of the longest side: how far a stroke fills a region that is larger than this."""
LARGE = 0.15
"""Share of the picture above which a region may be open to others."""
PLANNED_REACH = 0.05
"""As REACH, where a planner has chosen what strokes in an open region mean for the rest of it."""

_INK = np.round(255 * (0.1 + 0.9 * np.arange(256) / 255)).astype(np.uint8)
"""Colours shine through the lines a little."""


@dataclass(frozen=True)
class Regions:
    """Where a drawing's regions are, at a working size."""

    labels: NDArray[np.int32]
    """(h, w), from 0; every pixel has one, those under lines that of the nearest region."""
    areas: NDArray[np.int64]
    """Pixels of each region."""
    order: NDArray[np.int64]
    """Indices of all pixels, region after region."""

    def open(self) -> NDArray[np.bool_]:
        """(R,): which may be several things, a sky that runs into a hill: they are large and touch
        the edge of the picture, as a large balloon does not."""
        labels = self.labels
        at_edge = np.zeros(len(self.areas), np.bool_)
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            at_edge[edge] = True
        return at_edge & (self.areas > LARGE * labels.size)


def find_regions(lineart: Image.Image) -> Regions:
    """The regions of a drawing, PIL L, 255 = paper."""
    root = (lineart.width * lineart.height) ** 0.5
    scale = min(1.0, WORK_SIDE / extent(lineart.size), WORK_SIDE / root)
    size = max(8, round(lineart.width * scale)), max(8, round(lineart.height * scale))
    grey = np.asarray(lineart.convert("L").resize(size, Image.Resampling.BOX))
    free = (grey > 150).astype(np.uint8)
    labels = np.zeros(free.shape, np.int32)
    unit = extent(size) / 512
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
    labels = _joined(_nearest(labels), free > 0)
    _, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(free.shape).astype(np.int32)
    order = np.argsort(labels.ravel(), kind="stable")
    return Regions(labels, np.bincount(labels.ravel()), order)


def within_lines(
    regions: Regions,
    lineart: Image.Image,
    picture: Image.Image,
    hints: Image.Image | None,
    *,
    planned: bool = False,
) -> Image.Image:
    """A model's picture, PIL RGB, with its colours and the strokes' kept within the lines.

    lineart: PIL L of the picture's size; hints: the strokes, PIL RGBA of its size. planned: whether
    the model was told a planner's choice, which knows how far a stroke goes in an open region.
    -> PIL RGB.
    """
    height, width = regions.labels.shape
    small = np.asarray(picture.convert("RGB"))
    if picture.size != (width, height):
        small = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
    planes = _evened(np.asarray(small, np.uint8), regions)
    if hints is not None:
        _stroke(planes, regions, hints, planned)
    colours = cv2.merge([cv2.convertScaleAbs(plane) for plane in planes])  # rounded
    colours = cv2.GaussianBlur(colours, (0, 0), 0.8)
    if picture.size != (width, height):
        colours = cv2.resize(colours, picture.size, interpolation=cv2.INTER_LINEAR)
    ink = cv2.LUT(np.asarray(lineart.convert("L")), _INK)
    return Image.fromarray(cv2.multiply(colours, cv2.merge([ink] * 3), scale=1 / 255))


def touched_regions(
    regions: Regions, before: Image.Image | None, now: Image.Image | None, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which regions strokes touch that are new or gone: (R,) for each of them.

    before, now: the strokes, PIL RGBA of the drawing's size, width and height; None: none.
    """
    touched = np.zeros(len(regions.areas), np.bool_)
    old, new = _packed(before, size), _packed(now, size)
    # A further stroke is small: everything is looked at around it alone.
    differs = (old != new) & ((old | new) >= OPAQUE)
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    if len(rows):
        changed = differs[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = regions.labels.shape
        across, left = _shrunk(changed.T, int(columns[0]), size[0], width)
        small, top = _shrunk(across.T, int(rows[0]), size[1], height)
        near = regions.labels[top : top + small.shape[0], left : left + small.shape[1]]
        ys, xs = np.nonzero(small)
        touched[near[_meant(ys, xs, near, regions.areas)]] = True
    return touched


def drawn_over(layer: Image.Image, strokes: Image.Image | None) -> Image.Image:
    """Strokes over a layer, PIL RGBA of its size; None: none."""
    new = _packed(strokes, layer.size)
    result = np.where(new >= OPAQUE, new, _packed(layer, layer.size))
    return Image.fromarray(result.view(np.uint8).reshape(*result.shape, 4))


def without(layer: Image.Image, regions: Regions, gone: NDArray[np.bool_]) -> Image.Image:
    """A layer, PIL RGBA of the drawing's size, with nothing in the regions `gone` (R,)."""
    away = gone[regions.labels].astype(np.uint8)
    away = cv2.resize(away, layer.size, interpolation=cv2.INTER_NEAREST)
    result = _packed(layer, layer.size).copy()
    result[np.asarray(away) > 0] = 0
    return Image.fromarray(result.view(np.uint8).reshape(*result.shape, 4))


OPAQUE = 1 << 31
"""The least packed pixel that counts as a stroke: its alpha is above 127."""


def _packed(strokes: Image.Image | None, size: tuple[int, int]) -> NDArray[np.uint32]:
    """A layer, PIL RGBA, with every pixel as one number, (H, W): alpha in its highest bits."""
    if strokes is None:
        return np.zeros(size[::-1], "<u4")
    layer = strokes if strokes.mode == "RGBA" else strokes.convert("RGBA")
    return np.asarray(layer).view("<u4")[..., 0]


def _shrunk(
    part: NDArray[np.bool_], start: int, whole: int, small: int
) -> tuple[NDArray[np.bool_], int]:
    """Rows from `start` on of a picture that has `whole` of them, False elsewhere, brought to
    `small` rows: those from the first to the last that have any True, and where they begin."""
    full = np.zeros((whole, part.shape[1]), np.float32)
    full[start : start + len(part)] = part
    if whole != small:
        full = cv2.resize(full, (part.shape[1], small), interpolation=cv2.INTER_AREA)
    found = np.asarray(full) > 0
    rows = np.flatnonzero(found.any(axis=1))
    return found[rows[0] : rows[-1] + 1], int(rows[0])


Planes = NDArray[np.float32]
"""(3, h, w): red, green and blue by themselves, which is quicker than side by side."""


def _evened(rgb: NDArray[np.uint8], regions: Regions) -> Planes:
    """Every region in its median colour, large ones with most of what varies in them."""
    labels, areas = regions.labels, regions.areas
    flat = rgb.reshape(-1, 3)[regions.order]
    ends = np.cumsum(areas)
    samples = (  # a thousand pixels or two tell a median well enough
        flat[end - area : end : area // 1000 + 1] for area, end in zip(areas, ends, strict=True)
    )
    medians = np.stack([np.median(sample, axis=0) for sample in samples]).astype(np.float32)
    stay = np.clip((areas / labels.size - 0.06) / 0.3, 0.0, 0.85).astype(np.float32)
    planes = np.ascontiguousarray(medians.T[:, labels])
    if stay.any():
        height, width = labels.shape
        at_half = labels[::2, ::2]
        size = at_half.shape[1], at_half.shape[0]
        # Where colours change slowly, a few of the pixels say as much.
        few = cv2.resize(rgb, (-(-width // 4), -(-height // 4)), interpolation=cv2.INTER_AREA)
        soft = np.zeros((*at_half.shape, 3), np.uint8)
        for region in np.flatnonzero(stay):
            # The model's brush is wide: what it has painted beside a line is of both sides of it.
            own = np.pad((labels[::4, ::4] == region).astype(np.uint8), 1, mode="edge")
            inner = cv2.erode(own, _disc(BLEED))[1:-1, 1:-1].astype(np.float32)
            weight = cv2.GaussianBlur(inner, (0, 0), BLEED)
            total = cv2.GaussianBlur(few * inner[..., None], (0, 0), BLEED)
            calm = total / np.maximum(weight, 1e-3)[..., None]
            calm[weight < 1e-3] = medians[region]
            calm = cv2.resize(np.rint(calm).astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
            cv2.copyTo(calm, (at_half == region).astype(np.uint8), soft)
        soft = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
        share = stay[labels]
        for plane, channel in zip(planes, cv2.split(soft), strict=True):
            plane += share * (channel - plane)
    return planes


def _stroke(planes: Planes, regions: Regions, hints: Image.Image, planned: bool) -> None:
    """Let strokes fill the regions that they are in, in place; between several, the nearer one
    counts more."""
    labels, areas = regions.labels, regions.areas
    height, width = labels.shape
    strokes = hints.convert("RGBA")
    if strokes.size != (width, height):
        strokes = strokes.resize((width, height), Image.Resampling.NEAREST)
    layer = np.asarray(strokes)
    rows, columns = np.nonzero(layer[..., 3] > 127)
    drawn = layer[rows, columns, :3].astype(np.int16)  # (N, 3)
    total = np.zeros_like(planes)
    weights = np.full((height, width), 1e-12, np.float32)
    nearest = np.full((height, width), 1e6, np.float32)
    slipped = np.zeros((height, width), np.bool_)  # as strokes of all colours lie, one over another
    slipped[rows, columns] = True
    slipped[_meant(rows, columns, labels, areas)] = False
    for colour in _stroke_colours(hints):
        alike = np.abs(drawn - colour).max(1) <= 10
        here = _meant(rows[alike], columns[alike], labels, areas, slipped)
        touched = np.zeros(len(areas), np.bool_)
        touched[labels[here]] = True
        if not touched.any():
            continue
        inside = touched[labels]
        ys, xs = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
        box = slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1)  # all that this colour changes
        elsewhere = np.ones((height, width), np.uint8)
        elsewhere[here] = 0
        found = cv2.distanceTransform(np.ascontiguousarray(elsewhere[box]), cv2.DIST_L2, 5)
        distance = np.where(inside[box], np.asarray(found, np.float32), np.float32(1e6))
        np.minimum(nearest[box], distance, out=nearest[box])
        weight = distance + 2
        weight *= weight * weight
        np.reciprocal(weight, out=weight)
        weights[box] += weight
        for plane, value in zip(total, colour.tolist(), strict=True):
            plane[box] += weight * np.float32(value)
    side = max(height, width)
    reach = np.clip(0.9 * np.sqrt(areas), 20, REACH * side)
    if planned:
        reach[regions.open()] = PLANNED_REACH * side
    reach = reach.astype(np.float32)
    far = nearest / reach[labels]
    far *= far
    share = 1 / (1 + far * far * far)
    for plane, sum_ in zip(planes, total, strict=True):
        plane += share * (sum_ / weights - plane)


def _meant(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    labels: NDArray[np.int32],
    areas: NDArray[np.int64],
    slipped: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Those pixels of strokes of one colour that lie where they were meant to: what has only
    slipped over a line is little, next to the rest of its stroke and to what it slipped into.

    Every stroke means something: one dab, however small, and each stripe that a sweep goes through.
    But what another stroke has cut off from its own is as little as before, where `slipped` (h, w)
    is set.
    """
    shape = np.zeros(labels.shape, np.uint8)
    shape[rows, columns] = 1
    count, strokes = cv2.connectedComponents(shape)
    regions = labels[rows, columns].astype(np.int64)
    keys, pairs, pixels = np.unique(
        np.asarray(strokes, np.int64)[rows, columns] * len(areas) + regions,
        return_inverse=True, return_counts=True,
    )  # fmt: skip
    stroke, region = np.divmod(keys, len(areas))
    most = np.zeros(count, np.int64)
    np.maximum.at(most, stroke, pixels)
    least = LEAST_STROKE * areas.sum() / WORK_SIDE**2
    large = (pixels >= LEAST_SHARE * most[stroke]) | (pixels >= COVERED * areas[region])
    whole = pixels == most[stroke]
    if slipped is not None:
        cut = np.zeros(len(keys), np.bool_)
        cut[pairs] = slipped[rows, columns]
        whole &= ~cut | (pixels >= least) | (pixels >= COVERED * areas[region])
    meant = (whole | ((pixels >= least) & large))[pairs]
    return rows[meant], columns[meant]


def _stroke_colours(hints: Image.Image) -> list[NDArray[np.int16]]:
    """The colours that were drawn with, the most used first."""
    cells = hint_map(hints, *hints.size)
    used = np.round((cells[:3, cells[3] > 0].T + 1) * 127.5).astype(np.int16)
    found, counts = np.unique(used, axis=0, return_counts=True)
    found = found[np.argsort(-counts, kind="stable")]
    chosen = list[NDArray[np.int16]]()
    while len(found) and len(chosen) < MOST_COLOURS:
        chosen.append(found[0])
        found = found[np.abs(found - found[0]).max(axis=1) > 10]
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


def _joined(labels: NDArray[np.int32], free: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Labels (h, w), one for all of what is parted by next to no line.

    A gap is a small part of the line between two regions; where a ball got stuck between a window
    and a roof, there is hardly any line between what lies on either side.
    """
    sides = ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
    gaps = (free[:, :-1] & free[:, 1:], free[:-1] & free[1:])
    border = [a != b for a, b in sides]
    one, two = (
        np.concatenate([pair[n][at] for pair, at in zip(sides, border, strict=True)])
        for n in (0, 1)
    )
    is_gap = np.concatenate([gap[at] for gap, at in zip(gaps, border, strict=True)])
    own = np.bincount(labels.ravel())
    now = np.arange(len(own), dtype=np.int64)
    while True:
        low, high = np.minimum(now[one], now[two]), np.maximum(now[one], now[two])
        keys, which = np.unique(low * len(now) + high, return_inverse=True)
        share = np.bincount(which, is_gap, len(keys)) / np.bincount(which, minlength=len(keys))
        share[keys // len(now) == keys % len(now)] = 0  # within one region by now
        areas = np.bincount(now, own, len(now))
        smaller = np.minimum(areas[keys // len(now)], areas[keys % len(now)])
        share[smaller > SLIVER * labels.size] = 0
        # Each with one other at a time: what has joined one may be parted from the next by a line.
        taken = np.zeros(len(now), np.bool_)
        for n in np.argsort(-share, kind="stable")[: int((share >= OPENNESS).sum())]:
            low_, high_ = divmod(int(keys[n]), len(now))
            if not (taken[low_] or taken[high_]):
                taken[[low_, high_]] = True
                now[now == high_] = low_
        if not taken.any():
            return now[labels].astype(np.int32)


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
