"""Where pictures to learn colouring from come from: the story world, picture files, clip art."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.data.curation import upright
from finetune.data.scenes import sample_record, shown_by, solid, tags
from pipelines.painter import sprite
from pipelines.paper import flat
from pipelines.scene import vocabulary

SIDE = 256
"""Side of a picture to learn from, in pixels."""

UNKNOWN = -1
"""Of `Drawn.things`: nobody knows what this pixel shows."""


@dataclass(frozen=True)
class Drawn:
    """A picture to learn from."""

    picture: Image.Image
    """PIL RGB, square, SIDE or larger."""
    row: dict[str, Any]
    """What the index says about it."""
    things: NDArray[np.int16] | None = None
    """(H, H), of its size: what each pixel shows, as `tags` counts, -1 = unknown; None: all are."""


class Source(Protocol):
    """Where pictures come from; travels to the workers, so it must pickle."""

    @property
    def share(self) -> float:
        """How often it is drawn from, against the shares of the others."""
        ...

    @property
    def strength(self) -> tuple[float, float]:
        """From weak to strong: how its lines are drawn."""
        ...

    def draw(self, n: int, rng: random.Random) -> Drawn:
        """Item `n`."""
        ...


@dataclass(frozen=True)
class StoryWorld:
    """Pages of the story world, painted afresh; a third of them seen from nearer."""

    share: float = 45
    split: str = "train"
    strength: tuple[float, float] = (0.7, 1.2)

    def draw(self, n: int, rng: random.Random) -> Drawn:
        record = sample_record(rng, self.split)
        scene = record.captioned.scene
        page = record.paint(rng)
        picture, things = page.picture, shown_by(page, scene.place)
        if rng.random() < 0.33:
            side = rng.randrange(picture.width // 2, picture.width)
            left, top = _corner(picture, side, rng)
            part = picture.crop((left, top, left + side, top + side))
            picture = part.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            things = things[top : top + side, left : left + side]
        return Drawn(picture, {"source": "storyworld", "brief": str(scene)}, things)


@dataclass(frozen=True)
class Pictures:
    """Picture files: whole ones and parts, each file equally often."""

    files: tuple[str, ...]
    share: float = 45
    strength: tuple[float, float] = (0.3, 0.85)

    def draw(self, n: int, rng: random.Random) -> Drawn:
        file = self.files[n % len(self.files)]
        with Image.open(file) as image:
            picture = flat(upright(image))
        shorter = min(picture.size)
        # From 3/5 of a picture, or SIDE pixels of a large one, up to all of its shorter side.
        least = min(shorter, max(SIDE, shorter * 3 // 5))
        side = shorter if rng.random() < 0.4 else rng.randint(least, shorter)
        left, top = _corner(picture, side, rng)
        part = picture.crop((left, top, left + side, top + side))
        if side < SIDE:
            part = part.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        elif side > 2 * SIDE:
            part = part.resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS)
        return Drawn(part, {"source": "pictures", "file": Path(file).name})


@dataclass(frozen=True)
class ClipArt:
    """One to three pieces of clip art on a plain or gradient ground."""

    share: float = 10
    strength: tuple[float, float] = (0.7, 1.2)

    def draw(self, n: int, rng: random.Random) -> Drawn:
        top, bottom = ([rng.randrange(256) for _ in range(3)] for _ in "ab")
        if rng.random() < 0.4:
            top = bottom = [255, 255, 255] if rng.random() < 0.5 else top
        t = np.linspace(0, 1, SIDE)[:, None, None]
        ground = np.array(top) * (1 - t) + np.array(bottom) * t
        picture = Image.fromarray(np.broadcast_to(ground, (SIDE, SIDE, 3)).astype(np.uint8))
        words = rng.sample(sorted(vocabulary()), rng.choice((1, 1, 1, 2, 3)))
        things = Image.new("I", picture.size, UNKNOWN)
        for word in words:
            size = rng.randrange(150, 250) if len(words) == 1 else rng.randrange(80, 150)
            art = sprite(word, size, rng.random() < 0.5)
            corner = (rng.randint(-8, SIDE - size + 8), rng.randint(-8, SIDE - size + 8))
            picture.paste(art, corner, art)
            things.paste(tags()[word], corner, solid(art))
        return Drawn(picture, {"source": "clipart", "words": words}, np.asarray(things, np.int16))


def _corner(picture: Image.Image, side: int, rng: random.Random) -> tuple[int, int]:
    """Left and top of a square of `side` pixels somewhere in the picture."""
    return rng.randint(0, picture.width - side), rng.randint(0, picture.height - side)
