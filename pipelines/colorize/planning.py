"""A planner's choice made into hints, so that a colorizer is told a colour for everything."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipelines.colorize.features import STRIDE
from pipelines.colorize.hints import CELL, cover, hint_layer, hint_map, read_mask
from pipelines.colorize.live import gather
from pipelines.colorize.planner import PAPER, PER_CELL, Planner
from pipelines.colorize.regions import (
    Regions,
    drawn_over,
    find_regions,
    touched_regions,
    without,
)
from pipelines.device import pick_device
from pipelines.errors import ModelUnavailable
from pipelines.paper import flat
from pipelines.weights import EMBEDDED

GLANCE = 256 * 256
"""Pixels of the small copy that is planned on, which the planner was trained at."""
STEPS = 6
STEPS_AGAIN, GUIDANCE_AGAIN = 3, 1.0
"""The same for a part that is chosen for again while somebody draws, who should not wait. Strokes
and what stands around it say more than guidance adds."""
TEMPERATURE = 1.0
GUIDANCE = 2.0
"""Without it everything is as green as grass that stands on grass: what a thing is tells little of
its colour, next to where it is."""
BARENESS = -1.5
"""Half of all pages of picture books are paper with something on it, many have black figures;
whoever asks for colours wants some."""
MOST_MEANT = 24
"""Colours of strokes that are carried on; who has more has painted a picture."""
ALIKE = (44, 44, 44)
"""Colours at most this far apart, in [0, 255], are one thing in another light."""
STEP = (1, 1, 1)
"""The same from one cell of the hint map to the next: a sky that grows light towards the ground is
one thing from end to end."""
REMEMBERED = 4
"""Drawings whose features and regions are kept."""


class _Known:
    """What hangs on a drawing alone."""

    def __init__(self, size: tuple[int, int], seen: Tensor, regions: Regions) -> None:
        self.size = size
        """Width and height of the plan, in its cells."""
        self.seen = seen
        self.regions = regions
        self.speakers = torch.from_numpy(speakers(regions, *size[::-1])).to(seen.device)
        """(height, width): the region that each cell speaks for."""


class ColourPlanner:
    """Drawing and strokes in, hints for everything out. Safe to share: calls take turns."""

    def __init__(self, planner: Planner, *, name: str = "embedded") -> None:
        self.planner, self.name = planner, name
        self.device = planner.palette.device
        self._known: OrderedDict[tuple[bytes, tuple[int, int]], _Known] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls, preset_or_path: str = "embedded", *, device: torch.device | str | None = None
    ) -> ColourPlanner:
        """Load "embedded" or a folder that finetune/planner.py wrote. Raises ModelUnavailable."""
        embedded = preset_or_path == "embedded"
        folder = EMBEDDED / "planner" if embedded else Path(preset_or_path)
        if not folder.is_dir():
            raise ModelUnavailable(
                f"There is no planner of colours at {folder}: use “embedded”, or a folder that "
                "python -m finetune.planner wrote."
            )
        where = device if isinstance(device, torch.device) else pick_device(device or "auto")
        return cls(Planner.from_pretrained(folder, where), name=preset_or_path)

    def __call__(
        self,
        lineart: Image.Image,
        hints: Image.Image | None = None,
        *,
        mask: Image.Image | None = None,
        picture: Image.Image | None = None,
        seed: int = 0,
        temperature: float = TEMPERATURE,
    ) -> Image.Image:
        """The strokes, and around them what the planner chose, as hints: PIL RGBA of the drawing's
        size, opaque in whole cells of the hint map.

        lineart: PIL L, 255 = paper, any size. hints: PIL RGBA of its size. With a mask (PIL L, 255
        = colour here) strokes outside it do not count, and what stands there in `picture` (PIL
        RGB) is settled. temperature: as of `Planner.plan`. The same arguments give the same plan.

        It is chosen as if there were no strokes, which are carried on after that: what they are
        drawn on is known only then, and they mean all of it.

        Raises: InvalidInput when nothing is masked.
        """
        chosen = self._choose(
            flat(lineart).convert("L"), None, mask=mask, picture=picture, seed=seed,
            steps=STEPS, temperature=temperature, guidance=GUIDANCE,
        )  # fmt: skip
        if hints is None:
            return chosen
        return self.after_strokes(
            chosen, lineart, None, hints, mask=mask, picture=picture, seed=seed,
            temperature=temperature,
        )  # fmt: skip

    def after_strokes(
        self,
        layer: Image.Image,
        lineart: Image.Image,
        before: Image.Image | None,
        now: Image.Image | None,
        *,
        mask: Image.Image | None = None,
        picture: Image.Image | None = None,
        seed: int = 0,
        temperature: float = TEMPERATURE,
    ) -> Image.Image:
        """A planned layer when strokes have changed since, from `before` to `now` (PIL RGBA, None:
        none). The regions that they touch make way, all else stays as it was. Closed ones are left
        to the strokes; in open ones strokes mean what they are drawn on (`as_meant`), and where
        that cannot be told, it is chosen for again as they suggest. The rest as for a plan;
        -> PIL RGBA."""
        drawing = flat(lineart).convert("L")
        size = drawing.size
        if mask is not None:
            inside = read_mask(mask, *size)
            before, now = (x and _within(x, inside) for x in (before, now))
        else:
            inside = np.ones(size[::-1], np.bool_)
        with self._lock:
            regions = self._look(drawing).regions
        touched = touched_regions(regions, before, now, size)
        stays = without(layer, regions, touched)
        wide = np.flatnonzero(touched & regions.open())
        if not len(wide):
            return drawn_over(stays, now)
        stood, earlier, strokes, result = (hint_map(x, *size) for x in (layer, before, now, stays))
        places = _read(regions.labels, _middles(size[1]), _middles(size[0]))
        within = cover(inside) > 0
        result = np.where(within, result, stood)
        # Each by itself: a stroke in the grass, or in a tree, leaves the sky as it is.
        for region in wide:
            here = (places == region) & within
            wanted = as_meant(stood, earlier, strokes, here)
            # What was bare paper, or has strokes of several colours, may be several things: the
            # planner says how far they go, and what comes in the place of one that is gone.
            unsure = here & (wanted != stood).any(axis=0) & (stood[:3].min(axis=0) > PAPER)
            several = len(np.unique(_bytes(strokes)[:, here & (strokes[3] > 0)], axis=1).T) > 1
            if several or (here & (earlier[3] > strokes[3])).any():
                unsure = here
            if unsure.any():
                settled = np.where(unsure, 0, np.where(here, wanted, result))
                again = self._choose(
                    drawing, hint_layer(strokes * here, *size), mask=mask, picture=picture,
                    settled=hint_layer(settled, *size), before=hint_layer(wanted * here, *size),
                    seed=seed, steps=STEPS_AGAIN, temperature=temperature, guidance=GUIDANCE_AGAIN,
                )  # fmt: skip
                wanted = hint_map(again, *size)
            result = np.where(here, wanted, result)
        return drawn_over(hint_layer(result, *size), now)

    def _choose(
        self,
        drawing: Image.Image,
        hints: Image.Image | None,
        *,
        mask: Image.Image | None,
        picture: Image.Image | None,
        settled: Image.Image | None = None,
        before: Image.Image | None = None,
        seed: int,
        steps: int,
        temperature: float,
        guidance: float,
    ) -> Image.Image:
        """A plan around strokes, PIL RGBA. settled: PIL RGBA, colours that were chosen before and
        stay; what is drawn over them counts. before: the same, of colours that are likelier than
        others. steps, temperature, guidance: as of `Planner.plan`."""
        strokes, stays, stood = (hint_map(x, *drawing.size) for x in (hints, settled, before))
        if mask is not None:
            inside = cover(read_mask(mask, *drawing.size))
            strokes = strokes * inside
            if picture is not None:
                stands = hint_map(picture.convert("RGBA"), *drawing.size)
                stays = np.where(inside > 0, stays, stands)
        with self._lock:
            known = self._look(drawing)
            columns, rows = known.size
            told, kept, earlier = (
                torch.from_numpy(gather(x, rows * PER_CELL, columns * PER_CELL))[None].to(
                    self.device
                )
                for x in (strokes, stays, stood)
            )
            with torch.inference_mode():
                plan = self.planner.plan(
                    known.seen, told, torch.Generator().manual_seed(seed), steps=steps,
                    temperature=temperature, guidance=guidance, bareness=BARENESS,
                    regions=known.speakers, settled=kept, before=earlier,
                )  # fmt: skip
        planned = spread(plan[0].float().cpu().numpy(), known.regions, drawing.size)
        chosen = np.where(stays[3] > 0, stays, planned)
        return hint_layer(np.where(strokes[3] > 0, strokes, chosen), *drawing.size)

    def _look(self, drawing: Image.Image) -> _Known:
        key = drawing.tobytes(), drawing.size
        if key not in self._known:
            scale = (GLANCE / (drawing.width * drawing.height)) ** 0.5
            columns, rows = (max(round(side * scale / STRIDE), 1) for side in drawing.size)
            small = cv2.resize(
                np.asarray(drawing), (columns * STRIDE, rows * STRIDE),
                interpolation=cv2.INTER_AREA,
            )  # fmt: skip
            pixels = torch.from_numpy(small)[None, None].to(self.device).float() / 127.5 - 1
            with torch.inference_mode():
                seen = self.planner.read(pixels)
            self._known[key] = _Known((columns, rows), seen, find_regions(drawing))
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return self._known[key]


def _within(strokes: Image.Image, inside: NDArray[np.bool_]) -> Image.Image:
    """Strokes, PIL RGBA, without those outside a mask (H, W)."""
    layer = np.array(strokes.convert("RGBA"))
    layer[~inside] = 0
    return Image.fromarray(layer)


def as_meant(
    stood: NDArray[np.float32],
    before: NDArray[np.float32],
    now: NDArray[np.float32],
    free: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """What stood, with new strokes carried as far as they are likely to be meant.

    Who draws on something means all of it: what has the colour that the stroke was drawn on, as far
    as that goes; between strokes the nearer one counts. `stood`, strokes `before` and `now`: hint
    maps (4, rows, columns); `free` (rows, columns): where that may be. -> like `stood`.
    """
    result, free = stood.copy(), free & (stood[3] > 0)
    fresh = (now[3] > 0) & (np.abs(now - before).max(axis=0) > 1 / 255) & free
    colours = _bytes(stood).transpose(1, 2, 0).copy()  # as cv2 wants it
    nearest = np.full(free.shape, np.inf, np.float32)
    found, counts = np.unique(_bytes(now)[:, fresh], axis=1, return_counts=True)
    for colour in found[:, np.argsort(-counts, kind="stable")[:MOST_MEANT]].T:
        here = fresh & (_bytes(now) == colour[:, None, None]).all(axis=0)
        # 0 = free, 1 = not, 2 = filled; cv2 wants a frame around it.
        filled = np.pad((~free).astype(np.uint8), 1, constant_values=1)
        steps = filled.copy()
        flags = 4 | cv2.FLOODFILL_MASK_ONLY | (2 << 8)
        for y, x in np.argwhere(here).tolist():
            if not filled[y + 1, x + 1]:
                cv2.floodFill(
                    colours, filled, (x, y), 0, ALIKE, ALIKE, flags | cv2.FLOODFILL_FIXED_RANGE
                )
            if not steps[y + 1, x + 1]:
                cv2.floodFill(colours, steps, (x, y), 0, STEP, STEP, flags)
        filled = np.maximum(filled, steps)
        away = np.asarray(cv2.distanceTransform((~here).astype(np.uint8), cv2.DIST_L2, 5))
        meant = (filled[1:-1, 1:-1] == 2) & (away < nearest)
        nearest[meant] = away[meant]
        result[:3, meant] = (colour / np.float32(127.5) - 1)[:, None]
    return result


def _bytes(cells: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The colours of a hint map (4, rows, columns) as (3, rows, columns) in [0, 255]."""
    return np.round((cells[:3] + 1) * 127.5).clip(0, 255).astype(np.uint8)


def spread(
    plan: NDArray[np.float32], regions: Regions, size: tuple[int, int]
) -> NDArray[np.float32]:
    """A plan (3, h, w), RGB in [-1, 1], as the hint map of a drawing of `size`, width and height:
    (4, ceil(H/4), ceil(W/4)).

    A cell of the plan speaks for the region that has most of it. Every place takes the colours of
    the cells around it, the nearer the more, which speak for the region it is in; where there is
    none, it has no hint.
    """
    h, w = plan.shape[1:]
    middles = _middles(size[1]), _middles(size[0])
    rows, columns = map(len, middles)
    labels = _read(regions.labels, *middles)  # (rows, columns): the region of each place
    speaker = speakers(regions, h, w)
    y, x = middles[0] * h - 0.5, middles[1] * w - 0.5
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    total = np.zeros((4, rows, columns), np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            r, c = np.clip(top + dy, 0, h - 1), np.clip(left + dx, 0, w - 1)
            near = np.outer(1 - np.abs(y - top - dy), 1 - np.abs(x - left - dx))
            weight = (near * (speaker[np.ix_(r, c)] == labels)).astype(np.float32)
            total[:3] += weight * plan[:, r][:, :, c]
            total[3] += weight
    told = total[3] > 1e-3
    total[:3] = np.where(told, total[:3] / np.maximum(total[3], 1e-3), 0)
    total[3] = told
    return total


def _middles(pixels: int) -> NDArray[np.float64]:
    """Where the middles of cells of the hint map are along a side, in [0, 1]."""
    return np.minimum((np.arange(-(-pixels // CELL)) + 0.5) * CELL / pixels, 1.0)


def _read(
    labels: NDArray[np.int32], y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.int32]:
    height, width = labels.shape
    rows = np.minimum((y * height).astype(np.int64), height - 1)
    columns = np.minimum((x * width).astype(np.int64), width - 1)
    return labels[np.ix_(rows, columns)]


def speakers(regions: Regions, h: int, w: int) -> NDArray[np.int32]:
    """The region that has most of each of h x w cells: (h, w)."""
    fine = 8
    y, x = ((np.arange(n * fine) + 0.5) / (n * fine) for n in (h, w))
    grid = _read(regions.labels, y, x)
    cells = grid.reshape(h, fine, w, fine).transpose(0, 2, 1, 3).reshape(h * w, fine * fine)
    ordered = np.sort(cells, axis=1)
    # The longest run of equal numbers.
    run = np.zeros_like(ordered)
    for n in range(1, ordered.shape[1]):
        run[:, n] = np.where(ordered[:, n] == ordered[:, n - 1], run[:, n - 1] + 1, 0)
    best = run.argmax(axis=1)
    return ordered[np.arange(len(ordered)), best].reshape(h, w)
