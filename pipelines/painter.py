"""The scene painter: a brief becomes a picture-book page, background drawn and clip art laid out.

It paints the world that the embedded models learn from, and the "sketch" start of a page.
Clip art: Noto Emoji (Apache-2.0). Everything is deterministic in the `random.Random` passed in.

Clip art stands on a grid of `GRID` pixels and comes in few sizes. A VQGAN with a stride of 16
then sees a character's patches always cut the same way, so that its codes repeat exactly and a
small code transformer can learn them by heart.
"""

from __future__ import annotations

import io
import math
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from pipelines.scene import ASSETS, CHARACTERS, Item, Scene, vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SIZE = 256
"""Side of a painted page in pixels."""

GRID = 16
"""Clip art is placed and sized in multiples of this many pixels."""

_DRAW = 2 * SIZE  # backgrounds are drawn at twice the size, then halved: smooth edges

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Painting:
    """`picture` PIL RGB, `foreground` PIL L (255 where clip art is), both SIZE x SIZE; `layout` far
    to near."""

    picture: Picture
    foreground: Picture
    layout: tuple[Placed, ...]


# --- colour ------------------------------------------------------------------------------


def _mix(a: RGB, b: RGB, t: float) -> RGB:
    return (
        round(a[0] + (b[0] - a[0]) * t),
        round(a[1] + (b[1] - a[1]) * t),
        round(a[2] + (b[2] - a[2]) * t),
    )


_SKY: dict[str, tuple[RGB, RGB]] = {  # top and bottom of the sky
    "day": ((120, 190, 242), (214, 238, 252)),
    "night": ((18, 24, 66), (58, 66, 124)),
    "sunset": ((118, 92, 168), (255, 178, 112)),
}
_TINT: dict[str, tuple[RGB, float]] = {  # what the light does to the ground
    "day": ((255, 255, 255), 0.0),
    "night": ((22, 28, 78), 0.55),
    "sunset": ((220, 110, 80), 0.30),
}


class _Canvas:
    """A background in the making, in coordinates of [0, 1] from the top left."""

    def __init__(self, time: str, rng: random.Random) -> None:
        self.time, self.rng = time, rng
        self.image = Image.new("RGB", (_DRAW, _DRAW))
        self.draw = ImageDraw.Draw(self.image)

    def light(self, colour: RGB) -> RGB:
        """The colour under the light of the hour, a little different every time."""
        tint, amount = _TINT[self.time]
        j = self.rng.randint(-5, 5)
        r, g, b = _mix(colour, tint, amount)
        return (min(max(r + j, 0), 255), min(max(g + j, 0), 255), min(max(b + j, 0), 255))

    def gradient(self, top: RGB, bottom: RGB, y0: float = 0.0, y1: float = 1.0) -> None:
        rows = max(int((y1 - y0) * _DRAW), 2)
        t = np.linspace(0.0, 1.0, rows)[:, None]
        column = np.array(top) * (1 - t) + np.array(bottom) * t
        band = np.repeat(column[:, None, :], _DRAW, axis=1).astype(np.uint8)
        self.image.paste(Image.fromarray(band), (0, int(y0 * _DRAW)))

    def sky(self) -> None:
        top, bottom = _SKY[self.time]
        self.gradient(top, bottom, 0.0, 0.8)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, colour: RGB, radius: float = 0
    ) -> None:
        s = _DRAW
        self.draw.rounded_rectangle(
            (x0 * s, y0 * s, x1 * s, y1 * s), radius * s, fill=self.light(colour)
        )

    def disc(self, x: float, y: float, rx: float, colour: RGB, ry: float | None = None) -> None:
        ry = rx if ry is None else ry
        s = _DRAW
        self.draw.ellipse(
            ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=self.light(colour)
        )

    def shape(self, points: list[tuple[float, float]], colour: RGB) -> None:
        self.draw.polygon([(x * _DRAW, y * _DRAW) for x, y in points], fill=self.light(colour))

    def hills(self, y: float, height: float, colour: RGB, waves: float = 1.2) -> None:
        """Everything below a rolling line around `y`."""
        phase, waves = self.rng.uniform(0, 2 * math.pi), waves * self.rng.uniform(0.8, 1.2)
        top = [
            (x / 24, y + height * math.sin(phase + waves * 2 * math.pi * x / 24)) for x in range(25)
        ]
        self.shape([*top, (1.0, 1.0), (0.0, 1.0)], colour)

    def ground(self, y: float, colour: RGB, far: RGB | None = None) -> None:
        if far is not None:
            self.hills(y - 0.06, 0.035, far, 1.0)
        self.hills(y, 0.012, colour, 0.7)

    def spots(self, y0: float, y1: float, colour: RGB, count: int, r: float) -> None:
        for _ in range(count):
            y = self.rng.uniform(y0, y1)
            self.disc(self.rng.random(), y, r * (0.6 + y), colour, r * (0.3 + y * 0.4))

    def tree(self, x: float, y: float, h: float, leaf: RGB, trunk: RGB = (112, 78, 52)) -> None:
        self.box(x - h * 0.07, y - h * 0.5, x + h * 0.07, y, trunk)
        for dx, dy, r in ((-0.2, 0.62, 0.22), (0.2, 0.62, 0.22), (0.0, 0.8, 0.26)):
            self.disc(x + dx * h, y - dy * h, r * h, leaf)

    def pine(self, x: float, y: float, h: float, leaf: RGB) -> None:
        self.box(x - h * 0.05, y - h * 0.2, x + h * 0.05, y, (100, 70, 48))
        for k in range(3):
            w, base = h * (0.32 - 0.07 * k), y - h * (0.15 + 0.25 * k)
            self.shape([(x - w, base), (x + w, base), (x, base - h * 0.4)], leaf)

    def house(self, x: float, y: float, w: float, wall: RGB, roof: RGB) -> None:
        h = w * 0.8
        self.box(x - w / 2, y - h, x + w / 2, y, wall)
        self.shape([(x - w * 0.62, y - h), (x + w * 0.62, y - h), (x, y - h * 1.7)], roof)
        glow: RGB = (255, 214, 110) if self.time == "night" else (170, 214, 236)
        s = _DRAW
        for dx in (-0.22, 0.22):
            left, top = (x + dx * w - w * 0.1) * s, (y - h * 0.75) * s
            self.draw.rectangle((left, top, left + w * 0.2 * s, top + w * 0.24 * s), fill=glow)
        self.box(x - w * 0.09, y - h * 0.4, x + w * 0.09, y, (130, 84, 56))


# --- the 22 places -----------------------------------------------------------------------


def _forest(c: _Canvas) -> None:
    c.sky()
    c.hills(0.56, 0.02, (120, 176, 120), 2.0)
    for k in range(5):
        x = (k + c.rng.uniform(0.2, 0.8)) / 5
        c.tree(x, c.rng.uniform(0.66, 0.7), c.rng.uniform(0.42, 0.52), (72, 146, 84))
    c.ground(0.68, (116, 178, 92))


def _jungle(c: _Canvas) -> None:
    c.gradient(c.light((150, 214, 150)), c.light((86, 170, 110)))
    for k in range(4):
        x = (k + c.rng.uniform(0.1, 0.9)) / 4
        c.box(x - 0.025, 0.0, x + 0.025, 0.75, (104, 96, 60))
        for side in (-1, 1):
            for y in (0.05, 0.16):
                c.disc(x + side * 0.1, y, 0.12, (36, 128, 76), 0.05)
    for k in range(7):
        c.disc(k / 6, 0.74, 0.1, (44, 138, 74), c.rng.uniform(0.06, 0.12))
    c.ground(0.74, (92, 150, 66))


def _beach(c: _Canvas) -> None:
    c.sky()
    c.box(0, 0.46, 1, 0.72, (64, 156, 206))
    for k in range(3):
        c.box(c.rng.uniform(0, 0.7), 0.51 + 0.055 * k, c.rng.uniform(0.75, 1), 0.522 + 0.055 * k,
              (150, 208, 236), 0.006)  # fmt: skip
    c.ground(0.7, (240, 214, 152))
    c.spots(0.75, 0.98, (226, 196, 130), 10, 0.012)


def _snow(c: _Canvas) -> None:
    c.sky()
    c.hills(0.52, 0.05, (206, 222, 240), 1.0)
    for k in range(3):
        x = (k + c.rng.uniform(0.2, 0.8)) / 3
        c.pine(x, 0.68, c.rng.uniform(0.26, 0.36), (88, 140, 130))
    c.ground(0.66, (240, 246, 252))
    c.spots(0.72, 0.98, (222, 232, 246), 8, 0.03)


def _desert(c: _Canvas) -> None:
    c.sky()
    c.hills(0.52, 0.06, (236, 190, 118), 1.0)
    x = c.rng.choice((0.12, 0.88))
    c.box(x - 0.02, 0.42, x + 0.02, 0.64, (98, 150, 84), 0.02)
    c.box(x - 0.07, 0.48, x - 0.04, 0.55, (98, 150, 84), 0.015)
    c.box(x + 0.04, 0.46, x + 0.07, 0.53, (98, 150, 84), 0.015)
    c.ground(0.66, (226, 172, 96))


def _river(c: _Canvas) -> None:
    c.sky()
    c.hills(0.5, 0.03, (128, 186, 116), 1.4)
    c.tree(c.rng.uniform(0.05, 0.2), 0.6, 0.3, (84, 158, 86))
    c.tree(c.rng.uniform(0.8, 0.95), 0.6, 0.3, (84, 158, 86))
    c.ground(0.58, (136, 194, 104))
    bend = c.rng.choice((-1, 1)) * 0.12
    c.shape([(0.47, 0.57), (0.53, 0.57), (0.62 + bend, 0.72), (0.95 + bend, 1), (0.15 + bend, 1),
             (0.36 + bend, 0.72)], (90, 172, 222))  # fmt: skip


def _lake(c: _Canvas) -> None:
    c.sky()
    c.hills(0.46, 0.06, (112, 160, 140), 1.2)
    for k in range(5):
        c.pine(k / 4 + c.rng.uniform(-0.06, 0.06), 0.55, 0.16, (66, 124, 96))
    c.box(0, 0.54, 1, 0.78, (96, 174, 218))
    for k in range(3):
        x = c.rng.uniform(0.05, 0.7)
        c.box(x, 0.59 + 0.05 * k, x + 0.2, 0.6 + 0.05 * k, (172, 220, 240), 0.005)
    c.ground(0.77, (132, 190, 100))


def _city(c: _Canvas) -> None:
    c.sky()
    x = -0.03
    while x < 1.0:
        w = c.rng.choice((0.14, 0.18))
        top = c.rng.uniform(0.16, 0.42)
        c.box(x, top, x + w - 0.015, 0.74,
              c.rng.choice(((168, 150, 180), (140, 160, 190), (190, 164, 150))))  # fmt: skip
        lit: RGB = (255, 222, 120) if c.time == "night" else (214, 230, 242)
        for row in range(int((0.66 - top) / 0.09)):
            for col in range(2):
                wx, wy = x + 0.025 + col * 0.055, top + 0.04 + row * 0.09
                c.draw.rectangle([v * _DRAW for v in (wx, wy, wx + 0.03, wy + 0.045)], fill=lit)
        x += w
    c.box(0, 0.72, 1, 0.78, (196, 192, 190))
    c.box(0, 0.77, 1, 1, (120, 122, 132))


def _village(c: _Canvas) -> None:
    c.sky()
    c.hills(0.52, 0.04, (140, 192, 120), 1.2)
    roofs: tuple[RGB, ...] = ((204, 92, 72), (190, 116, 66), (96, 118, 168))
    for k in range(3):
        x = (k + 0.5) / 3 + c.rng.uniform(-0.04, 0.04)
        c.house(x, 0.67, 0.2, (246, 228, 196), roofs[(k + c.rng.randint(0, 2)) % 3])
    c.ground(0.66, (146, 200, 110))


def _farm(c: _Canvas) -> None:
    c.sky()
    c.hills(0.52, 0.03, (214, 196, 100), 1.0)
    x = c.rng.choice((0.22, 0.78))
    c.box(x - 0.15, 0.44, x + 0.15, 0.68, (196, 72, 60))
    c.shape([(x - 0.18, 0.45), (x - 0.09, 0.31), (x + 0.09, 0.31), (x + 0.18, 0.45)], (122, 66, 58))
    c.box(x - 0.06, 0.52, x + 0.06, 0.68, (246, 236, 220))
    c.box(x - 0.05, 0.53, x + 0.05, 0.68, (150, 56, 48))
    c.ground(0.66, (150, 200, 98))
    for k in range(9):
        c.box(k / 8 - 0.01, 0.63, k / 8 + 0.01, 0.75, (240, 232, 214))
    c.box(0, 0.66, 1, 0.68, (240, 232, 214))


def _mountains(c: _Canvas) -> None:
    c.sky()
    for k in range(3):
        x, h = (k + c.rng.uniform(0.3, 0.7)) / 3, c.rng.uniform(0.4, 0.5)
        c.shape([(x - 0.32, 0.68), (x + 0.32, 0.68), (x, 0.68 - h)], (132, 134, 164))
        cap = ((-0.096, 0.7), (-0.03, 0.75), (0.02, 0.66), (0.096, 0.7), (0.0, 1.0))
        c.shape([(x + dx, 0.68 - h * up) for dx, up in cap], (246, 248, 254))
    c.ground(0.68, (132, 178, 112))


def _garden(c: _Canvas) -> None:
    c.sky()
    c.hills(0.5, 0.03, (150, 204, 130), 1.3)
    for k in range(6):
        c.disc(k / 5, 0.62, 0.11, (92, 166, 92), c.rng.uniform(0.07, 0.1))
    c.ground(0.65, (142, 204, 102))
    petals: tuple[RGB, ...] = ((240, 110, 130), (250, 206, 80), (250, 246, 250), (170, 120, 210))
    for _ in range(10):
        x, y = c.rng.random(), c.rng.uniform(0.7, 0.97)
        c.disc(x, y, 0.014, c.rng.choice(petals))


def _room(c: _Canvas) -> None:
    walls: tuple[RGB, ...] = ((250, 226, 190), (206, 226, 236), (232, 212, 236), (220, 236, 206))
    wall = c.rng.choice(walls)
    c.gradient(c.light(wall), c.light(_mix(wall, (255, 255, 255), 0.2)), 0, 0.72)
    x = c.rng.choice((0.08, 0.62))
    c.box(x, 0.12, x + 0.3, 0.44, (255, 255, 255), 0.01)
    top, bottom = _SKY[c.time]
    pane = _mix(top, bottom, 0.4)
    s = _DRAW
    for px in (x + 0.02, x + 0.16):
        for py in (0.14, 0.29):
            c.draw.rectangle([v * s for v in (px, py, px + 0.12, py + 0.13)], fill=pane)
    c.box(0, 0.69, 1, 0.72, (250, 246, 240))
    c.box(0, 0.72, 1, 1, (196, 146, 100))
    for k in range(4):
        c.box(0, 0.78 + k * 0.06, 1, 0.785 + k * 0.06, (176, 126, 84))
    c.disc(0.5, 0.9, 0.34, c.rng.choice(((206, 92, 92), (92, 132, 180), (112, 160, 112))), 0.07)


def _space(c: _Canvas) -> None:
    c.gradient((16, 12, 44), (44, 28, 92))
    for _ in range(26):
        x, y, r = c.rng.random(), c.rng.random() * 0.8, c.rng.uniform(0.003, 0.008)
        c.draw.ellipse([v * _DRAW for v in (x - r, y - r, x + r, y + r)], fill=(255, 250, 220))
    x = c.rng.uniform(0.1, 0.9)
    c.time = "day"  # no hour in space
    c.disc(x, 0.16, 0.09, c.rng.choice(((236, 150, 90), (120, 180, 220), (190, 130, 200))))
    c.hills(0.8, 0.02, (170, 168, 184), 0.8)
    for _ in range(5):
        cx, cy = c.rng.random(), c.rng.uniform(0.86, 0.97)
        c.disc(cx, cy, 0.05, (142, 140, 160), 0.02)


def _underwater(c: _Canvas) -> None:
    c.gradient(c.light((96, 196, 226)), c.light((22, 92, 158)))
    for _ in range(9):
        x, y, r = c.rng.random(), c.rng.uniform(0.05, 0.7), c.rng.uniform(0.008, 0.02)
        c.disc(x, y, r, (176, 226, 242))
    c.ground(0.84, (222, 200, 142))
    for _ in range(5):
        x, h = c.rng.random(), c.rng.uniform(0.14, 0.3)
        c.shape([(x - 0.02, 0.9), (x + 0.02, 0.9), (x + 0.025, 0.9 - h * 0.6), (x, 0.9 - h)],
                (52, 150, 104))  # fmt: skip
    for _ in range(3):
        c.disc(c.rng.random(), 0.9, 0.045, c.rng.choice(((236, 116, 120), (244, 160, 90))), 0.05)


def _cave(c: _Canvas) -> None:
    c.gradient(c.light((92, 78, 84)), c.light((64, 54, 62)))
    top, bottom = _SKY[c.time]
    x = c.rng.choice((0.25, 0.5, 0.75))
    s = _DRAW
    c.draw.ellipse([v * s for v in (x - 0.2, 0.22, x + 0.2, 0.84)], fill=_mix(top, bottom, 0.6))
    for k in range(6):
        px = (k + c.rng.uniform(0.2, 0.8)) / 6
        c.shape([(px - 0.05, 0), (px + 0.05, 0), (px, c.rng.uniform(0.08, 0.18))], (58, 48, 56))
    c.ground(0.72, (124, 108, 104))


def _playground(c: _Canvas) -> None:
    c.sky()
    c.hills(0.54, 0.03, (140, 198, 126), 1.2)
    c.ground(0.66, (156, 206, 110))
    x = c.rng.choice((0.2, 0.8))
    side = 1 if x < 0.5 else -1
    c.box(x - 0.03, 0.34, x + 0.03, 0.68, (228, 84, 76))
    c.shape([(x, 0.36), (x + 0.02 * side, 0.42), (x + 0.3 * side, 0.7), (x + 0.24 * side, 0.7)],
            (252, 200, 70))  # fmt: skip
    other = 1 - x
    for dx in (-0.14, 0.14):
        c.box(other + dx - 0.012, 0.34, other + dx + 0.012, 0.68, (86, 130, 196))
    c.box(other - 0.15, 0.33, other + 0.15, 0.36, (86, 130, 196))
    for dx in (-0.05, 0.05):
        c.box(other + dx - 0.004, 0.36, other + dx + 0.004, 0.58, (110, 100, 100))
    c.box(other - 0.06, 0.57, other + 0.06, 0.6, (150, 96, 60))


def _market(c: _Canvas) -> None:
    c.sky()
    c.box(0, 0.42, 1, 0.7, (232, 206, 170))
    stripes: tuple[RGB, ...] = ((222, 82, 76), (66, 140, 180), (90, 160, 96))
    for k in range(2):
        x, colour = 0.04 + k * 0.5, c.rng.choice(stripes)
        c.box(x + 0.02, 0.36, x + 0.04, 0.7, (150, 110, 76))
        c.box(x + 0.38, 0.36, x + 0.4, 0.7, (150, 110, 76))
        for i in range(6):
            c.box(
                x + i * 0.07, 0.26, x + i * 0.07 + 0.07, 0.39, colour if i % 2 else (252, 248, 240)
            )
        c.box(x, 0.56, x + 0.42, 0.7, (176, 126, 82))
        for i in range(6):
            c.disc(x + 0.05 + i * 0.065, 0.55, 0.03,
                   c.rng.choice(((232, 90, 70), (250, 190, 70), (120, 180, 80))))  # fmt: skip
    c.box(0, 0.7, 1, 1, (206, 190, 166))
    c.spots(0.75, 0.98, (190, 172, 148), 8, 0.03)


def _school(c: _Canvas) -> None:
    c.gradient(c.light((252, 236, 196)), c.light((252, 240, 214)), 0, 0.72)
    c.box(0.14, 0.1, 0.86, 0.5, (150, 106, 70), 0.01)
    c.box(0.16, 0.12, 0.84, 0.48, (58, 112, 88))
    for k in range(3):
        x = c.rng.uniform(0.2, 0.45)
        c.box(x, 0.18 + 0.09 * k, x + c.rng.uniform(0.15, 0.3), 0.195 + 0.09 * k, (226, 236, 228))
    c.box(0, 0.72, 1, 1, (206, 164, 116))
    for x in (0.12, 0.88):
        c.box(x - 0.1, 0.62, x + 0.1, 0.65, (190, 130, 76))
        c.box(x - 0.08, 0.65, x - 0.06, 0.76, (150, 100, 62))
        c.box(x + 0.06, 0.65, x + 0.08, 0.76, (150, 100, 62))


def _castle_hall(c: _Canvas) -> None:
    c.gradient(c.light((186, 176, 196)), c.light((204, 194, 206)), 0, 0.74)
    top, bottom = _SKY[c.time]
    s = _DRAW
    for x in (0.22, 0.5, 0.78):
        c.draw.rectangle(
            [v * s for v in (x - 0.06, 0.2, x + 0.06, 0.44)], fill=_mix(top, bottom, 0.5)
        )
        c.draw.ellipse(
            [v * s for v in (x - 0.06, 0.13, x + 0.06, 0.27)], fill=_mix(top, bottom, 0.5)
        )
    banner = c.rng.choice(((196, 60, 72), (82, 92, 172), (60, 132, 96)))
    for x in (0.36, 0.64):
        c.shape(
            [(x - 0.05, 0.06), (x + 0.05, 0.06), (x + 0.05, 0.4), (x, 0.46), (x - 0.05, 0.4)],
            banner,
        )
    for x in (0.05, 0.95):
        c.box(x - 0.06, 0, x + 0.06, 0.74, (162, 152, 174))
    c.box(0, 0.74, 1, 1, (166, 144, 132))
    c.shape([(0.36, 0.74), (0.64, 0.74), (0.8, 1), (0.2, 1)], (190, 62, 70))


def _road(c: _Canvas) -> None:
    c.sky()
    c.hills(0.52, 0.04, (150, 196, 120), 1.2)
    c.tree(c.rng.uniform(0.05, 0.22), 0.64, 0.26, (92, 162, 88))
    c.tree(c.rng.uniform(0.78, 0.95), 0.64, 0.26, (92, 162, 88))
    c.ground(0.62, (158, 204, 112))
    bend = c.rng.uniform(-0.1, 0.1)
    c.shape([(0.47 + bend, 0.62), (0.53 + bend, 0.62), (0.86, 1), (0.14, 1)], (212, 188, 150))


def _sky_place(c: _Canvas) -> None:
    c.sky()
    c.gradient(*_SKY[c.time], 0.0, 1.0)
    for _ in range(4):
        x, y = c.rng.random(), c.rng.uniform(0.1, 0.9)
        _cloud(c, x, y, c.rng.uniform(0.07, 0.1))
    for k in range(6):
        c.disc(k / 5, 1.0, 0.15, (248, 250, 255), 0.08)


_PAINTERS: dict[str, Callable[[_Canvas], None]] = {
    "forest": _forest, "jungle": _jungle, "beach": _beach, "snow": _snow, "desert": _desert,
    "river": _river, "lake": _lake, "city": _city, "village": _village, "farm": _farm,
    "mountains": _mountains, "garden": _garden, "room": _room, "space": _space,
    "underwater": _underwater, "cave": _cave, "playground": _playground, "market": _market,
    "school": _school, "castle_hall": _castle_hall, "road": _road, "sky": _sky_place,
}  # fmt: skip

_INDOORS = frozenset({"room", "cave", "school", "castle_hall", "underwater", "space"})
_FLOATING = frozenset({"sky", "underwater", "space"})
"""Places without a floor to stand on."""


# --- the sky's weather -------------------------------------------------------------------


def _cloud(c: _Canvas, x: float, y: float, r: float, colour: RGB = (250, 252, 255)) -> None:
    for dx, dy, k in ((-0.9, 0.15, 0.7), (0.0, -0.1, 1.0), (0.9, 0.15, 0.7), (0.3, 0.25, 0.8)):
        c.disc(x + dx * r, y + dy * r, r * k, colour, r * k * 0.75)


def _weather(c: _Canvas, scene: Scene) -> None:
    """What hangs in the sky, behind the clip art."""
    s, rng = _DRAW, c.rng
    skies = set(scene.skies)
    outside = scene.place not in _INDOORS
    if not outside:
        return
    x = rng.choice((0.16, 0.84))
    if "storm" in skies:
        shade = Image.new("RGB", c.image.size, (50, 54, 76))
        c.image.paste(Image.blend(c.image, shade, 0.45))
    if scene.time == "night" or "stars" in skies:
        for _ in range(18 if "stars" in skies else 9):
            sx, sy, r = rng.random(), rng.uniform(0.02, 0.36), rng.uniform(0.004, 0.009)
            c.draw.ellipse([v * s for v in (sx - r, sy - r, sx + r, sy + r)], fill=(255, 246, 200))
    if "moon" in skies or (scene.time == "night" and not skies):
        c.draw.ellipse([v * s for v in (x - 0.085, 0.045, x + 0.085, 0.215)], fill=(255, 242, 190))
        c.draw.ellipse([v * s for v in (x - 0.03, 0.08, x + 0.01, 0.12)], fill=(240, 224, 166))
        c.draw.ellipse([v * s for v in (x + 0.02, 0.14, x + 0.045, 0.165)], fill=(240, 224, 166))
    elif scene.time == "sunset":
        c.draw.ellipse([v * s for v in (x - 0.1, 0.36, x + 0.1, 0.56)], fill=(255, 226, 130))
    elif "sun" in skies or (scene.time == "day" and not skies):
        c.draw.ellipse([v * s for v in (x - 0.09, 0.04, x + 0.09, 0.22)], fill=(255, 214, 74))
    if "rainbow" in skies:
        bands = ((230, 84, 84), (246, 160, 72), (250, 220, 90), (104, 190, 110), (92, 150, 224),
                 (150, 104, 196))  # fmt: skip
        for k, colour in enumerate(bands):
            r = 0.62 - 0.03 * k
            box = [v * s for v in (0.5 - r, 0.08 + 0.62 - r, 0.5 + r, 0.08 + 0.62 + r)]
            c.draw.arc(box, 180, 360, fill=colour, width=int(0.034 * s))
    if skies & {"clouds", "rain", "storm", "snow", "wind"}:
        grey: RGB = (150, 156, 172) if skies & {"rain", "storm"} else (250, 252, 255)
        for k in range(3):
            _cloud(c, (k + rng.uniform(0.2, 0.8)) / 3, rng.uniform(0.07, 0.17), 0.085, grey)


def _falling(image: Picture, scene: Scene, rng: random.Random) -> None:
    """Rain, snow, lightning and wind, before everything."""
    skies = set(scene.skies)
    if scene.place in _INDOORS:
        return
    draw = ImageDraw.Draw(image)
    if "storm" in skies:
        x = rng.choice((40, 200))
        draw.polygon(
            [
                (x, 40),
                (x + 22, 40),
                (x + 10, 66),
                (x + 24, 66),
                (x - 8, 108),
                (x + 2, 76),
                (x - 12, 76),
            ],
            fill=(255, 226, 90),
        )
    if skies & {"rain", "storm"}:
        for _ in range(34):
            x, y = rng.randint(0, SIZE), rng.randint(0, SIZE)
            draw.line((x, y, x - 4, y + 12), fill=(190, 214, 240), width=2)
    if "snow" in skies:
        for _ in range(34):
            x, y, r = rng.randint(0, SIZE), rng.randint(0, SIZE), rng.choice((2, 3))
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))
    if "wind" in skies:
        for _ in range(3):
            x, y = rng.randint(10, 150), rng.randint(60, 190)
            draw.line((x, y, x + 70, y), fill=(240, 248, 255), width=3)
            draw.arc((x + 58, y - 20, x + 80, y + 1), -90, 90, fill=(240, 248, 255), width=3)


# --- clip art ----------------------------------------------------------------------------


@cache
def _art() -> dict[str, bytes]:
    with zipfile.ZipFile(ASSETS / "clipart.zip") as z:
        return {name.removesuffix(".webp"): z.read(name) for name in z.namelist()}


_BODIES: dict[str, tuple[RGB, RGB, RGB]] = {  # coat or clothes, belly or front, arms and feet
    "fox": ((244, 98, 28), (255, 240, 224), (92, 58, 52)),
    "bear": ((141, 98, 88), (188, 150, 132), (120, 80, 72)),
    "lion": ((242, 168, 48), (252, 212, 130), (226, 146, 40)),
    "wolf": ((148, 150, 158), (222, 224, 228), (118, 120, 130)),
    "panda": ((250, 250, 250), (250, 250, 250), (44, 44, 48)),
    "koala": ((150, 152, 158), (226, 226, 230), (128, 130, 138)),
    "raccoon": ((132, 138, 144), (196, 200, 204), (72, 76, 82)),
    "frog": ((170, 206, 36), (226, 238, 150), (146, 184, 28)),
    "robot": ((130, 160, 180), (232, 84, 84), (96, 124, 144)),
    "boy": ((66, 134, 214), (66, 134, 214), (84, 74, 110)),
    "girl": ((232, 92, 128), (246, 150, 172), (122, 80, 130)),
    "man": ((70, 150, 110), (70, 150, 110), (72, 78, 100)),
    "woman": ((176, 92, 180), (206, 140, 210), (92, 70, 110)),
    "grandmother": ((120, 110, 190), (240, 236, 246), (90, 84, 120)),
    "grandfather": ((140, 104, 74), (226, 206, 170), (88, 80, 84)),
    "prince": ((60, 80, 180), (246, 200, 70), (70, 60, 90)),
    "princess": ((244, 132, 190), (252, 196, 224), (220, 100, 160)),
    "baby": ((150, 208, 240), (252, 252, 252), (150, 208, 240)),
}
"""Words whose emoji is a face alone; they get a small body of these colours."""


def _with_body(word: str, face: Picture) -> Picture:
    """A face of clip art on a small drawn body, same square size."""
    coat, belly, limbs = _BODIES[word]
    side = 2 * face.width
    page = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(page)

    def disc(x: float, y: float, rx: float, ry: float, colour: RGB) -> None:
        draw.ellipse([v * side for v in (x - rx, y - ry, x + rx, y + ry)], fill=colour)

    if word == "fox":
        disc(0.74, 0.80, 0.16, 0.08, coat)
        disc(0.85, 0.77, 0.07, 0.06, belly)
    for x in (0.40, 0.60):
        disc(x, 0.95, 0.10, 0.05, limbs)
    if word in ("princess", "girl", "woman", "grandmother"):  # a dress
        points = [(0.40, 0.56), (0.60, 0.56), (0.76, 0.94), (0.24, 0.94)]
        draw.polygon([(x * side, y * side) for x, y in points], fill=coat)
        disc(0.5, 0.94, 0.26, 0.03, belly)
    else:
        disc(0.5, 0.77, 0.20, 0.19, coat)
        disc(0.5, 0.80, 0.11, 0.14, belly)
    hands = (254, 206, 60) if word in ("boy", "girl", "man", "woman", "grandmother", "grandfather",
                                       "prince", "princess", "baby") else limbs  # fmt: skip
    for x in (0.27, 0.73):
        disc(x, 0.74, 0.07, 0.06, hands)
    head = round(side * 0.68)
    art = face.resize((head, head), Image.Resampling.LANCZOS)
    page.alpha_composite(art, ((side - head) // 2, 0))
    return page


@lru_cache(maxsize=4096)
def sprite(word: str, size: int, flip: bool) -> Picture:
    """Clip art of a vocabulary word, PIL RGBA, size x size."""
    art = Image.open(io.BytesIO(_art()[word])).convert("RGBA")
    if word in _BODIES:
        art = _with_body(word, art)
    art = art.resize((size, size), Image.Resampling.LANCZOS)
    return art.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else art


@dataclass(frozen=True)
class Placed:
    """One piece of clip art: the top left corner and side in pixels, multiples of GRID."""

    word: str
    x: int
    y: int
    size: int
    flip: bool


def _snap(value: float) -> int:
    return GRID * round(value / GRID)


_BULKY = frozenset(
    {"elephant", "whale", "giraffe", "dinosaur", "dragon", "hippo", "rhino", "moose", "camel"}
)


def _unit(item: Item) -> float:
    """How large a word is drawn, in units of one ordinary character."""
    if item.word in _BULKY:
        return 1.15
    kind = vocabulary()[item.word]["class"]
    if kind == "small":
        return 0.85
    if kind in CHARACTERS:
        return 1.0
    return 1.2 if kind == "big" else 0.62


@dataclass
class _Group:
    """A subject standing on the ground and what hangs on it (held, under, above ...)."""

    item: Item
    hung: list[Item]


def _groups(scene: Scene) -> list[_Group]:
    groups: list[_Group] = []
    for item in scene.items:
        if item.relation in ("", "+", "near", "beside") or not groups:
            groups.append(_Group(item, []))
        else:
            groups[-1].hung.append(item)
    return groups


SIMPLE_SIZES = (64, 96, 128)
"""The sizes of clip art in a simple layout, in pixels."""


def simplify(placed: Placed) -> Placed:
    """The piece in the nearest of SIMPLE_SIZES, not mirrored, standing where it stood.

    A small code transformer learns far sooner what always looks the same.
    """
    size = min(SIMPLE_SIZES, key=lambda s: abs(s - placed.size))
    x = _keep(_snap(placed.x + (placed.size - size) / 2), size)
    return Placed(placed.word, x, _keep(placed.y + placed.size - size, size), size, False)


def lay_out(scene: Scene, rng: random.Random) -> list[Placed]:
    """Where each piece of clip art goes, in painting order (far to near)."""
    groups = _groups(scene)
    if rng.random() < 0.5:
        groups.reverse()
    floating = scene.place in _FLOATING
    widths: list[float] = []
    for g in groups:
        width = _unit(g.item) * (1 + 0.6 * (g.item.count - 1))
        beside = 0.0
        for h in g.hung:
            if h.relation in ("on", "under", "behind", "in", "inside"):
                beside = max(beside, 0.35 * _unit(h) + max(0.0, _unit(h) - width) * 0.65)
            elif h.relation in ("holding", "with"):
                beside += 0.35 * _unit(h)
        widths.append(width + beside)
    total = sum(widths)
    lone = len(scene.items) == 1 and scene.items[0].count == 1
    unit = min(rng.choice((128, 144)) if lone else rng.choice((112, 128)), 1.06 * SIZE / total)
    if lone and _unit(scene.items[0]) < 0.7:
        unit *= 1.5  # a small thing alone is the picture's hero
    gap = max(0.0, SIZE - unit * total) / (len(groups) + 1)
    floor = 16 * rng.choice((14, 15))
    behind: list[Placed] = []
    front: list[Placed] = []
    x = gap
    for g, width in zip(groups, widths, strict=True):
        size = max(_snap(unit * _unit(g.item)), 48)
        base = floor
        if floating or _flies(g.item, scene):
            base = 16 * rng.randint(8, 13)
        cx = x + unit * width / 2
        x += unit * width + gap
        n = g.item.count
        step = 0.6 * unit * _unit(g.item)
        main: list[Placed] = []
        for k in range(n):
            px = _snap(cx + (k - (n - 1) / 2) * step - size / 2)
            py = _snap(base - size - (16 * (k % 2) if n > 1 else 0))
            main.append(
                Placed(g.item.word, _keep(px, size), _keep(py, size), size, rng.random() < 0.5)
            )
        for h in g.hung:
            main, extra_behind, extra_front = _hang(main, h, unit, floor, rng)
            behind += extra_behind
            front += extra_front
        front = [*main, *front] if rng.random() < 0.5 else [*front, *main]
    # Held things and what a subject stands in must stay before it: paint small things last.
    front.sort(key=lambda p: (p.word in _HELD_LAST, p.size < 80))
    return behind + front


_HELD_LAST = frozenset({"boat", "canoe", "bed", "nest", "basket", "sled"})


def _flies(item: Item, scene: Scene) -> bool:
    return item.word in ("balloon", "kite", "airplane", "helicopter", "flying_saucer") or (
        item.word in ("butterfly", "bee", "bat", "dove", "ghost", "eagle")
        and scene.place not in ("room", "school")
    )


def _keep(v: int, size: int) -> int:
    """The coordinate moved so that the clip art stays on the page."""
    return min(max(v, 0), SIZE - size)


def _hang(
    main: list[Placed], item: Item, unit: float, floor: int, rng: random.Random
) -> tuple[list[Placed], list[Placed], list[Placed]]:
    """Place `item` relative to the first of `main`; returns (main, behind, in front)."""
    a = main[0]
    size = max(_snap(unit * _unit(item)), 48)
    flip = rng.random() < 0.5
    cx = a.x + a.size / 2
    relation = item.relation
    if relation in ("holding", "with"):
        side = rng.choice((-1, 1))
        size = min(size, max(_snap(a.size * 0.55), 48)) if _unit(item) < 0.8 else size
        px = _keep(_snap(cx + side * (a.size * 0.5) - size / 2), size)
        py = _keep(_snap(a.y + a.size - size), size)
        return main, [], [Placed(item.word, px, py, size, flip)]
    if relation in ("on", "in", "inside"):
        sink = 0.42 if relation == "on" else 0.25
        px = _keep(_snap(cx - size / 2), size)
        py = _keep(_snap(floor - size), size)
        if relation == "on":
            lift = _keep(_snap(py + size * sink - a.size * 0.8), a.size)
            moved = [Placed(p.word, p.x, lift, p.size, p.flip) for p in main]
            return moved, [Placed(item.word, px, py, size, flip)], []
        lift = _keep(_snap(py + size * (0.5 + sink) - a.size), a.size)
        moved = [Placed(p.word, p.x, lift, p.size, p.flip) for p in main]
        if _unit(item) > 1.0 and item.word not in _HELD_LAST:  # inside a house: before its door
            return moved, [Placed(item.word, px, py, size, flip)], []
        return moved, [], [Placed(item.word, px, py, size, flip)]
    if relation == "under":
        if _unit(item) > 0.8:  # under a tree: in front of its trunk
            px = _keep(_snap(cx + rng.choice((-1, 1)) * size * 0.25 - size / 2), size)
            return main, [Placed(item.word, px, _keep(_snap(floor - size), size), size, flip)], []
        moved = [Placed(p.word, p.x, _keep(floor - p.size, p.size), p.size, p.flip) for p in main]
        px = _keep(_snap(cx - size / 2), size)
        py = _keep(_snap(moved[0].y - size * 0.8), size)
        return moved, [], [Placed(item.word, px, py, size, flip)]
    if relation == "behind":
        px = _keep(_snap(cx + rng.choice((-1, 1)) * size * 0.45 - size / 2), size)
        return main, [], [Placed(item.word, px, _keep(_snap(floor - size), size), size, flip)]
    # above: the subject is up in the air, the other below it
    px = _keep(_snap(cx - size / 2), size)
    py = _keep(_snap(floor - size), size)
    lift = _keep(_snap(min(16.0, py - a.size * 0.9) if py < a.size else py - a.size), a.size)
    moved = [Placed(p.word, p.x, lift, p.size, p.flip) for p in main]
    return moved, [Placed(item.word, px, py, size, flip)], []


# --- styles ------------------------------------------------------------------------------


def _watercolour(image: Picture, rng: random.Random) -> Picture:
    """Pale, soft, on white paper."""
    soft = np.asarray(image, dtype=np.float32)
    pale = soft * 0.62 + 255 * 0.38
    yy, xx = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    edge = np.clip((np.maximum(np.abs(xx), np.abs(yy)) - 0.40) / 0.07, 0, 1)[..., None]
    paper = np.array([252, 250, 244], dtype=np.float32)
    return Image.fromarray((pale * (1 - edge) + paper * edge).astype(np.uint8))


def _pencil(image: Picture, rng: random.Random) -> Picture:
    """Grey pencil lines and light shading on cream paper."""
    grey = image.convert("L")
    blurred = ImageChops.invert(grey).filter(ImageFilter.GaussianBlur(3))
    dodge = (
        np.asarray(grey, np.float32) / np.maximum(256.0 - np.asarray(blurred, np.float32), 1) * 255
    )
    line = np.clip(dodge, 0, 255) * 0.75 + np.asarray(grey, np.float32) * 0.25
    line = np.clip((line - 90) / (255 - 90), 0, 1)[..., None]
    paper, lead = np.array([250.0, 246.0, 236.0]), np.array([64.0, 62.0, 70.0])
    return Image.fromarray((lead + (paper - lead) * line).astype(np.uint8))


def _vintage(image: Picture, rng: random.Random) -> Picture:
    """An old, sepia-toned print."""
    grey = np.asarray(image.convert("L"), np.float32)[..., None] / 255
    dark, light = np.array([66.0, 40.0, 22.0]), np.array([250.0, 232.0, 198.0])
    sepia = dark + (light - dark) * grey
    mixed = sepia * 0.8 + np.asarray(image, np.float32) * 0.2
    return Image.fromarray(mixed.astype(np.uint8))


STYLE_FILTERS: dict[str, Callable[[Picture, random.Random], Picture]] = {
    "watercolour": _watercolour,
    "pencil": _pencil,
    "vintage": _vintage,
}
"""Looks the models were taught; any other style word is left to CLIP."""


# --- the whole page ----------------------------------------------------------------------


def paint(
    scene: Scene, rng: random.Random, *, style: str = "storybook", simple: bool = False
) -> Painting:
    """Paint a scene, SIZE x SIZE.

    `style` is a key of STYLE_FILTERS, anything else is the plain storybook look. `simple` keeps to
    few sizes of clip art, never mirrored.
    """
    canvas = _Canvas(scene.time, rng)
    _PAINTERS[scene.place](canvas)
    _weather(canvas, scene)
    page = canvas.image.reduce(2)
    mask = Image.new("L", (SIZE, SIZE), 0)
    layout = tuple(lay_out(scene, rng))
    if simple:
        layout = tuple(simplify(p) for p in layout)
    for p in layout:
        art = sprite(p.word, p.size, p.flip)
        page.paste(art, (p.x, p.y), art)
        mask.paste(255, (p.x, p.y), art)
    _falling(page, scene, rng)
    if style in STYLE_FILTERS:
        page = STYLE_FILTERS[style](page, rng)
    return Painting(page, mask, layout)
