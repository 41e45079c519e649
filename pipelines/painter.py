"""The scene painter: a brief becomes a picture-book page, background drawn and clip art laid out.

It paints the world that the embedded models learn from, and the "sketch" start of a page.
Everything is deterministic in the `random.Random` passed in. Backgrounds: `places.py`; clip art:
`clipart.py`; where it goes: `layout.py`; styles: `looks.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from pipelines.canvas import SIZE, Canvas
from pipelines.clipart import shadow, sprite
from pipelines.layout import GRID, SIMPLE_SIZES, Placed, lay_out
from pipelines.looks import STYLE_FILTERS
from pipelines.places import INDOORS, PLACE_PAINTERS
from pipelines.scene import Scene

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = [
    "GRID", "SIMPLE_SIZES", "SIZE", "STYLE_FILTERS", "Painting", "Placed", "lay_out", "paint",
    "sprite",
]  # fmt: skip

_GROUND = 12 * GRID
"""A piece whose foot is lower than this on the page stands on the ground and casts a shadow."""


@dataclass(frozen=True)
class Painting:
    """`picture` PIL RGB, `foreground` PIL L (255 where clip art is), both of the page's size;
    `layout` far to near, in pixels of a page of SIZE."""

    picture: Picture
    foreground: Picture
    layout: tuple[Placed, ...]


def paint(
    scene: Scene,
    rng: random.Random,
    *,
    style: str = "storybook",
    simple: bool = False,
    scale: int = 1,
    texture: float = 1.0,
) -> Painting:
    """Paint a scene, a square of SIZE * scale pixels.

    `style` is a key of STYLE_FILTERS, anything else is the plain storybook look. `simple` keeps to
    few sizes of clip art. `texture` in [0, 1] is how strong that of a style is. The same scene, rng
    and options at another scale give the same page, larger.
    """
    canvas = Canvas(scene.time, frozenset(scene.skies), rng, SIZE * scale)
    PLACE_PAINTERS[scene.place](canvas)
    outside = scene.place not in INDOORS
    if outside and "storm" in scene.skies:
        canvas.glass([(0, 0), (1, 0), (1, 1), (0, 1)], (44, 48, 78), 0.42)
    page = canvas.page()
    mask = Image.new("L", page.size, 0)
    layout = tuple(lay_out(scene, rng, simple=simple))
    for p in layout:
        size, x, y = p.size * scale, p.x * scale, p.y * scale
        art = sprite(p.word, size, p.flip)
        if scene.place != "sky" and p.y + p.size >= _GROUND:
            dark, dx, dy = shadow(p.word, size, p.flip)
            page.paste((26, 32, 62), (x + dx, y + dy), dark)
        page.paste(art, (x, y), art)
        mask.paste(255, (x, y), art)
    if outside:
        _falling(page, scene, rng, scale)
    if style in STYLE_FILTERS:
        page = STYLE_FILTERS[style](page, mask, texture)
    return Painting(page, mask, layout)


def _falling(image: Picture, scene: Scene, rng: random.Random, scale: int) -> None:
    """Rain, snow, lightning and wind, before everything."""
    skies = set(scene.skies)
    draw = ImageDraw.Draw(image, "RGBA")

    def spot() -> tuple[int, int]:
        return rng.randint(0, SIZE) * scale, rng.randint(0, SIZE) * scale

    if "storm" in skies:
        x = rng.choice((40, 200))
        bolt = ((0, 40), (22, 40), (10, 66), (24, 66), (-8, 108), (2, 76), (-12, 76))
        draw.polygon([((x + dx) * scale, y * scale) for dx, y in bolt], fill=(255, 228, 100))
    if skies & {"rain", "storm"}:
        for _ in range(38):
            x, y = spot()
            draw.line((x, y, x - 4 * scale, y + 13 * scale), fill=(206, 226, 248, 200),
                      width=2 * scale)  # fmt: skip
    if "snow" in skies:
        for _ in range(38):
            (x, y), r = spot(), rng.choice((2, 2, 3, 4)) * scale
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255, 235))
    if "wind" in skies:
        for _ in range(4):
            x, y = rng.randint(4, 160) * scale, rng.randint(50, 190) * scale
            w, r = rng.randint(50, 80) * scale, 10 * scale
            tone = (246, 251, 255, 215)
            draw.line((x, y, x + w, y), fill=tone, width=3 * scale)
            draw.arc((x + w - r, y - 2 * r, x + w + r, y + 2), -90, 90, fill=tone, width=3 * scale)
            draw.line((x + w // 3, y + 8 * scale, x + w, y + 8 * scale), fill=tone, width=2 * scale)
