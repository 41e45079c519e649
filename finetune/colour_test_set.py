"""Held-out pictures with line art, hints, a mask and a probe, for measuring the colour models."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from finetune import colour_metrics as metrics
from finetune.data.illustrations import draw_line_art
from finetune.data.pages import read_pages
from finetune.data.picture_sources import SIDE, Pictures, StoryWorld
from finetune.data.simplify import flatten
from finetune.data.strokes import simulate_hints, simulate_mask
from pipelines.colorize.hints import hint_layer
from pipelines.colorize.regions import Regions, find_regions

SIGMA = 0.4
"""Of XDoG: the middle one of those that the models were trained on."""
VIVID = ((214, 40, 40), (40, 90, 214), (40, 170, 60), (240, 200, 30), (150, 50, 180))


@dataclass(frozen=True)
class Probe:
    """One more stroke, of a colour that nothing near it has, to see how far it reaches."""

    hints: Image.Image
    """The sparse hints and the stroke, PIL RGBA."""
    region: NDArray[np.bool_]
    """(H, W), the thing that the stroke is on, as the original shows it."""


@dataclass(frozen=True)
class Sample:
    """A held-out picture with its line art, hints of each regime, a mask, and a probe."""

    name: str
    picture: Image.Image
    """PIL RGB, SIDE x SIDE."""
    lineart: Image.Image
    """PIL L."""
    hints: dict[str, Image.Image | None]
    """By regime, PIL RGBA."""
    mask: Image.Image
    """PIL L."""
    probe: Probe | None
    seed: int

    @cached_property
    def regions(self) -> Regions:
        return find_regions(self.lineart)


def samples(count: int, pages: Path | None, seed: int = 0) -> Iterator[Sample]:
    """`count` held-out pictures, real pages and scenes in turn; scenes alone without `pages`."""
    files = list(dict.fromkeys(p.picture for p in read_pages(pages, "test"))) if pages else []
    wanted = min((count + 1) // 2, len(files))
    # Evenly through the list, which goes story by story.
    chosen = [files[n * len(files) // wanted] for n in range(wanted)]
    for n in range(count):
        if n % 2 == 0 and n // 2 < wanted:
            with Image.open(chosen[n // 2]) as page:
                picture, strength = page.convert("RGB"), Pictures(()).strength
            name = f"{n:03d}-page-{chosen[n // 2].stem}"
        else:
            world = StoryWorld(split="test")
            picture = world.draw(n, random.Random(f"{seed} colorize {n}")).picture
            strength, name = world.strength, f"{n:03d}-scene"
        yield sample(name, picture, sum(strength) / 2, np.random.default_rng([seed, n]), n)


def sample(
    name: str, picture: Image.Image, strength: float, rng: np.random.Generator, seed: int
) -> Sample:
    """The middle of a picture with everything that is drawn for it."""
    side = min(picture.size)
    whole = np.asarray(ImageOps.fit(picture.convert("RGB"), (side, side)))
    small = Image.fromarray(whole).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    lineart = Image.fromarray(draw_line_art(whole, strength=strength, sigma=SIGMA))
    flat = flatten(np.asarray(small))
    hints: dict[str, Image.Image | None] = {"none": None}
    for regime in ("sparse", "full"):
        hints[regime] = _layer(simulate_hints(flat, rng, regime=regime))
    mask = Image.fromarray(simulate_mask(flat, rng) * np.uint8(255))
    return Sample(name, small, lineart, hints, mask, _probe(flat, hints["sparse"], rng), seed)


def _layer(cells: NDArray[np.uint8]) -> Image.Image:
    """Simulated hints as a person's layer, PIL RGBA."""
    signed = cells.astype(np.float32)
    signed[:3] = (signed[:3] / 127.5 - 1) * signed[3]
    return hint_layer(signed, SIDE, SIDE)


def _probe(
    flat: NDArray[np.uint8], hints: Image.Image | None, rng: np.random.Generator
) -> Probe | None:
    """A stroke in the middle of some thing of one colour; None when there is no such thing."""
    for _ in range(30):
        y, x = (int(v) for v in rng.integers(SIDE, size=2))
        filled = np.zeros((SIDE + 2, SIDE + 2), np.uint8)
        flags = 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
        area = cv2.floodFill(flat.copy(), filled, (x, y), 0, (0,) * 3, (0,) * 3, flags)[0]
        thing = filled[1:-1, 1:-1]
        depth = cv2.distanceTransform(np.pad(thing, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        if not 0.01 < area / flat[..., 0].size < 0.25 or depth.max() < 5:
            continue
        middle = divmod(int(depth.argmax()), SIDE)
        own = np.array([flat[y, x]])
        apart = [float(metrics.difference(own, np.array([v], np.uint8))[0]) for v in VIVID]
        layer = Image.new("RGBA", (SIDE, SIDE)) if hints is None else hints.copy()
        radius = min(float(depth.max()) * 0.6, 10.0)
        box = (middle[1] - radius, middle[0] - radius, middle[1] + radius, middle[0] + radius)
        ImageDraw.Draw(layer).ellipse(box, fill=(*VIVID[int(np.argmax(apart))], 255))
        return Probe(layer, thing.astype(np.bool_))
    return None
