"""What backgrounds are drawn with: a canvas with the light of the hour, and the sky's weather.

Coordinates are [0, 1] from the top left. Everything is drawn at twice the page's size, then halved:
smooth edges. Shapes are large and soft, since a 16 x 16 grid of codes must hold them.
"""

from __future__ import annotations

import math
import random
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SIZE = 256
"""Side of a painted page in pixels."""

RGB = tuple[int, int, int]
Points = list[tuple[float, float]]

WHITE: RGB = (255, 255, 255)

SKY: dict[str, tuple[RGB, RGB]] = {  # top and bottom of the sky
    "day": ((104, 182, 240), (222, 242, 252)),
    "night": ((16, 22, 62), (66, 80, 146)),
    "sunset": ((112, 92, 172), (255, 190, 124)),
}
_TINT: dict[str, tuple[RGB, float]] = {  # what the light does to the ground
    "day": (WHITE, 0.0),
    "night": ((30, 44, 114), 0.56),
    "sunset": ((224, 108, 84), 0.28),
}
_SUN: dict[str, tuple[RGB, RGB]] = {  # disc and halo
    "day": ((255, 214, 74), (255, 244, 190)),
    "night": ((255, 244, 204), (170, 186, 240)),
    "sunset": ((255, 232, 150), (255, 214, 140)),
}


def mix(a: RGB, b: RGB, t: float) -> RGB:
    """`a` at t = 0, `b` at t = 1."""
    return (
        round(a[0] + (b[0] - a[0]) * t),
        round(a[1] + (b[1] - a[1]) * t),
        round(a[2] + (b[2] - a[2]) * t),
    )


@cache
def _soft_spot(level: int) -> Picture:
    """A round spot fading outwards, L 64x64, of `level` sixteenths in its middle."""
    y, x = np.mgrid[-31.5:32:1, -31.5:32:1] / 32
    r = np.sqrt(x * x + y * y)
    fade = np.clip(1 - r, 0, 1)
    fade = fade * fade * (3 - 2 * fade)
    return Image.fromarray((fade * 255 * level / 16).astype(np.uint8))


@cache
def _ramp(height: int) -> Picture:
    """L 1 x height, 0 at the top to 255 at the bottom."""
    return Image.fromarray(np.linspace(0, 255, height).astype(np.uint8)[:, None])


class Canvas:
    """A background in the making. `skies` are those of the scene, `side` the page's pixels."""

    def __init__(
        self, time: str, skies: frozenset[str], rng: random.Random, side: int = SIZE
    ) -> None:
        self.time, self.skies, self.rng = time, skies, rng
        self.s = 2 * side
        self.image = Image.new("RGB", (self.s, self.s))
        self.draw = ImageDraw.Draw(self.image)
        self.veil = ImageDraw.Draw(self.image, "RGBA")  # blends what it draws
        self.sun_x = rng.choice((0.16, 0.84))
        self.tint = _TINT[time]

    def page(self) -> Picture:
        """The finished background at the page's size."""
        return self.image.reduce(2)

    # colour

    def light(self, colour: RGB) -> RGB:
        """The colour under the light of the hour, a little different every time."""
        tint, amount = self.tint
        j = self.rng.randint(-4, 4)
        r, g, b = mix(colour, tint, amount)
        return (min(max(r + j, 0), 255), min(max(g + j, 0), 255), min(max(b + j, 0), 255))

    def far(self, colour: RGB, distance: float) -> RGB:
        """The colour seen through air: nearer to the sky's with the distance in [0, 1]."""
        return mix(mix(colour, *_TINT[self.time]), SKY[self.time][1], distance)

    def lamplight(self) -> None:
        """From here on what is drawn is indoors: at night somebody has lit a lamp."""
        if self.time == "night":
            self.tint = ((74, 58, 118), 0.34)

    # areas

    def gradient(self, top: RGB, bottom: RGB, y0: float = 0.0, y1: float = 1.0) -> None:
        """A band over the whole width."""
        above, height = round(y0 * self.s), max(round((y1 - y0) * self.s), 1)
        blend = Image.new("RGB", (1, height), top)
        blend.paste(bottom, (0, 0, 1, height), _ramp(height))
        self.image.paste(blend.resize((self.s, height), Image.Resampling.NEAREST), (0, above))

    def area(self, points: Points, top: RGB, bottom: RGB) -> None:
        """A polygon whose colour runs from its top to its bottom. Colours as they are."""
        s = self.s
        ys = [y for _, y in points]
        y0, y1 = max(int(min(ys) * s), 0), min(math.ceil(max(ys) * s), s)
        height = y1 - y0
        if height < 2:
            return
        blend = Image.new("RGB", (1, height), top)
        blend.paste(bottom, (0, 0, 1, height), _ramp(height))
        # Whole rows at the bottom need no mask: `ragged` is how far down the outline is one.
        ragged = height
        if points[-2:] == [(1.0, 1.0), (0.0, 1.0)]:
            ragged = min(math.ceil(max(ys[:-2]) * s) - y0, height)
            if ragged < height:
                rest = blend.crop((0, ragged, 1, height))
                self.image.paste(rest.resize((s, height - ragged), Image.Resampling.NEAREST),
                                 (0, y0 + ragged))  # fmt: skip
        if ragged < 1:
            return
        left, right = (
            max(int(min(x for x, _ in points) * s), 0),
            min(math.ceil(max(x for x, _ in points) * s) + 1, s),
        )
        fill = blend.crop((0, 0, 1, ragged)).resize(
            (right - left, ragged), Image.Resampling.NEAREST
        )
        mask = Image.new("L", fill.size, 0)
        ImageDraw.Draw(mask).polygon([(x * s - left, y * s - y0) for x, y in points], fill=255)
        self.image.paste(fill, (left, y0), mask)

    def hills(
        self, y: float, height: float, colour: RGB, waves: float = 1.2, *, distance: float = 0.0
    ) -> None:
        """Everything below a rolling line around `y`, lighter along the line."""
        phase, waves = self.rng.uniform(0, 2 * math.pi), waves * self.rng.uniform(0.8, 1.2)
        line = [
            (x / 32, y + height * math.sin(phase + waves * 2 * math.pi * x / 32)) for x in range(33)
        ]
        base = self.far(colour, distance)
        crest = mix(base, SKY[self.time][1], 0.22)
        self.area([*line, (1.0, 1.0), (0.0, 1.0)], crest, mix(base, (20, 40, 60), 0.10))

    def ground(self, y: float, colour: RGB) -> None:
        """The near ground: light at its far edge, deeper towards the reader."""
        self.hills(y, 0.010, colour, 0.7)

    # shapes

    def box(
        self, x0: float, y0: float, x1: float, y1: float, colour: RGB, radius: float = 0
    ) -> None:
        s = self.s
        self.draw.rounded_rectangle(
            (x0 * s, y0 * s, x1 * s, y1 * s), radius * s, fill=self.light(colour)
        )

    def pane(self, x0: float, y0: float, x1: float, y1: float, colour: RGB, r: float = 0) -> None:
        """A box that the light of the hour leaves alone: a window, a lamp."""
        s = self.s
        self.draw.rounded_rectangle((x0 * s, y0 * s, x1 * s, y1 * s), r * s, fill=colour)

    def disc(self, x: float, y: float, rx: float, colour: RGB, ry: float | None = None) -> None:
        ry = rx if ry is None else ry
        s = self.s
        self.draw.ellipse(
            ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=self.light(colour)
        )

    def shape(self, points: Points, colour: RGB) -> None:
        self.draw.polygon([(x * self.s, y * self.s) for x, y in points], fill=self.light(colour))

    def glass(self, points: Points, colour: RGB, strength: float) -> None:
        """A polygon that lets through what is behind it; strength in [0, 1]."""
        fill = (*colour, round(255 * strength))
        self.veil.polygon([(x * self.s, y * self.s) for x, y in points], fill=fill)

    def soft(
        self, x: float, y: float, rx: float, ry: float, colour: RGB, strength: float = 0.5
    ) -> None:
        """A spot that fades outwards: a glow, or with a dark colour a shadow."""
        s = self.s
        spot = _soft_spot(round(16 * strength))
        spot = spot.resize(
            (max(round(2 * rx * s), 2), max(round(2 * ry * s), 2)), Image.Resampling.BILINEAR
        )
        self.image.paste(colour, (round((x - rx) * s), round((y - ry) * s)), spot)

    # what stands in many places

    def tuft(self, x: float, y: float, h: float, colour: RGB) -> None:
        """A few blades of grass."""
        for lean in (-0.55, 0.0, 0.5):
            tip = (x + lean * h * 0.9, y - h * (1.0 - 0.3 * abs(lean)))
            root = x + lean * h * 0.3
            self.shape([(root - h * 0.14, y), (root + h * 0.14, y), tip], colour)

    def tufts(self, count: int, colour: RGB, low: float = 0.78) -> None:
        for _ in range(count):
            y = self.rng.uniform(low, 0.985)
            self.tuft(self.rng.random(), y, 0.028 + 0.035 * (y - 0.6), colour)

    def bloom(self, x: float, y: float, r: float, petals: RGB) -> None:
        """A flower seen from the front, on a short stem."""
        self.box(x - r * 0.18, y, x + r * 0.18, y + r * 2.6, (86, 150, 74))
        for k in range(5):
            a = 2 * math.pi * k / 5 - 0.3
            self.disc(x + r * 0.72 * math.cos(a), y + r * 0.72 * math.sin(a), r * 0.56, petals)
        self.disc(x, y, r * 0.45, (255, 214, 92) if petals[2] > 110 else (255, 244, 200))

    def pebble(self, x: float, y: float, r: float, colour: RGB) -> None:
        self.disc(x, y + r * 0.16, r * 1.04, mix(colour, (30, 30, 60), 0.25), r * 0.52)
        self.disc(x, y, r, colour, r * 0.5)
        self.disc(x - r * 0.25, y - r * 0.16, r * 0.45, mix(colour, WHITE, 0.4), r * 0.16)

    def pebbles(self, count: int, colour: RGB, low: float = 0.78) -> None:
        for _ in range(count):
            y = self.rng.uniform(low, 0.97)
            self.pebble(self.rng.random(), y, self.rng.uniform(0.012, 0.02) * (0.5 + y), colour)

    def crown(self, x: float, y: float, r: float, leaf: RGB) -> None:
        """Leaves in one round mass, lit from above."""
        self.disc(x, y + r * 0.10, r, mix(leaf, (20, 60, 80), 0.28))
        self.disc(x, y, r * 0.95, leaf, r * 0.9)
        self.disc(x - r * 0.2, y - r * 0.28, r * 0.52, mix(leaf, (236, 246, 170), 0.28), r * 0.42)

    def tree(self, x: float, y: float, h: float, leaf: RGB, trunk: RGB = (124, 86, 58)) -> None:
        self.soft(x, y, h * 0.34, h * 0.06, mix(leaf, (10, 30, 40), 0.7), 0.5)
        w = h * 0.06
        self.shape([(x - w, y - h * 0.5), (x + w, y - h * 0.5), (x + w * 1.5, y), (x - w * 1.5, y)],
                   trunk)  # fmt: skip
        self.shape([(x + w * 0.2, y - h * 0.5), (x + w, y - h * 0.5), (x + w * 1.5, y),
                    (x + w * 0.4, y)], mix(trunk, (40, 20, 30), 0.3))  # fmt: skip
        for dx, dy, r in ((-0.2, 0.58, 0.21), (0.2, 0.58, 0.21), (0.0, 0.76, 0.25)):
            self.crown(x + dx * h, y - dy * h, r * h, leaf)

    def pine(self, x: float, y: float, h: float, leaf: RGB, snow: bool = False) -> None:
        self.box(x - h * 0.05, y - h * 0.2, x + h * 0.05, y, (112, 78, 54))
        dark = mix(leaf, (10, 30, 60), 0.25)
        for k in range(3):
            w, base = h * (0.32 - 0.07 * k), y - h * (0.14 + 0.25 * k)
            tip = (x, base - h * 0.4)
            self.shape([(x - w, base), (x + w, base), tip], leaf)
            self.shape([(x + w * 0.12, base), (x + w, base), tip], dark)
            if snow:
                self.shape([(x - w * 0.5, base - h * 0.2), (x - w * 0.1, base - h * 0.14),
                            (x + w * 0.2, base - h * 0.2), (x + w * 0.5, base - h * 0.19), tip],
                           (246, 250, 255))  # fmt: skip

    def house(self, x: float, y: float, w: float, wall: RGB, roof: RGB) -> None:
        h = w * 0.78
        self.box(x + w * 0.22, y - h * 1.65, x + w * 0.36, y - h, mix(roof, (60, 40, 40), 0.3))
        self.box(x - w / 2, y - h, x + w / 2, y, wall)
        self.box(x + w * 0.28, y - h, x + w / 2, y, mix(wall, (120, 90, 110), 0.18))
        self.shape([(x - w * 0.62, y - h), (x + w * 0.62, y - h), (x, y - h * 1.75)], roof)
        self.shape([(x + w * 0.2, y - h), (x + w * 0.62, y - h), (x, y - h * 1.75)],
                   mix(roof, (60, 20, 60), 0.2))  # fmt: skip
        glow: RGB = (255, 220, 120) if self.time != "day" else (176, 220, 240)
        for dx in (-0.25, 0.25):
            left, top = x + dx * w - w * 0.11, y - h * 0.75
            self.box(left - w * 0.025, top - w * 0.025, left + w * 0.245, top + w * 0.265, WHITE)
            self.pane(left, top, left + w * 0.22, top + w * 0.24, glow)
            if self.time != "day":
                self.soft(left + w * 0.11, top + w * 0.12, w * 0.3, w * 0.3, glow, 0.45)
        self.box(x - w * 0.09, y - h * 0.45, x + w * 0.09, y, (140, 90, 60), w * 0.05)

    def glints(self, y0: float, y1: float, colour: RGB, count: int = 6) -> None:
        """Light on water: flat strokes, wider towards the reader."""
        for k in range(count):
            y = y0 + (y1 - y0) * (k + self.rng.uniform(0.2, 0.8)) / count
            near = (y - y0) / max(y1 - y0, 1e-6)
            w, x = 0.08 + 0.14 * near, self.rng.uniform(-0.05, 0.95)
            self.box(x, y, x + w, y + 0.006 + 0.006 * near, colour, 0.004)

    def water(self, y0: float, y1: float, colour: RGB) -> None:
        """Open water over the whole width, with the sky's light on it."""
        base = self.far(colour, 0.0)
        self.gradient(mix(base, SKY[self.time][1], 0.45), mix(base, (10, 40, 90), 0.12), y0, y1)
        if self.shines():
            self.soft(self.sun_x, (y0 + y1) / 2, 0.16, (y1 - y0) * 0.62, _SUN[self.time][0], 0.6)
        self.glints(y0 + 0.015, y1 - 0.02, mix(colour, WHITE, 0.5))

    # the sky

    def shines(self) -> bool:
        """Whether sun or moon is out."""
        if self.time == "sunset":
            return True
        wanted = "moon" if self.time == "night" else "sun"
        return wanted in self.skies or not self.skies

    def sky(self, bottom: float = 0.8) -> None:
        """The open sky and what hangs in it."""
        top, low = SKY[self.time]
        if self.skies & {"rain", "storm"}:
            grey = mix((128, 140, 164), top, 0.3 if self.time == "day" else 0.75)
            top, low = mix(top, grey, 0.75), mix(low, grey, 0.35)
        self.gradient(top, low, 0.0, bottom)
        if bottom < 1:
            self.gradient(low, low, bottom, 1.0)
        self.heavens()

    def heavens(self) -> None:
        """Stars, sun or moon, rainbow, clouds: of the hour and of the scene's skies."""
        skies, rng, x = self.skies, self.rng, self.sun_x
        if self.time == "night" or "stars" in skies:
            self.stars(20 if "stars" in skies else 10)
        y = 0.33 if self.time == "sunset" else 0.13
        disc, halo = _SUN["night" if "moon" in skies else self.time]
        if "moon" in skies or (self.time == "night" and self.shines()):
            self.soft(x, 0.13, 0.24, 0.24, halo, 0.5)
            self.pane(x - 0.082, 0.048, x + 0.082, 0.212, disc, 0.082)
            for dx, dy, r in ((-0.03, -0.02, 0.02), (0.03, 0.025, 0.015), (-0.012, 0.04, 0.011)):
                self.pane(x + dx - r, 0.13 + dy - r, x + dx + r, 0.13 + dy + r, (240, 226, 176), r)
        elif self.time != "night" and self.shines():
            self.soft(x, y, 0.34, 0.34, halo, 0.55)
            self.soft(x, y, 0.16, 0.16, disc, 0.85)
            self.pane(x - 0.08, y - 0.08, x + 0.08, y + 0.08, disc, 0.08)
            self.pane(x - 0.066, y - 0.07, x + 0.05, y + 0.046, mix(disc, WHITE, 0.3), 0.058)
        if self.time == "sunset":
            self.soft(x, 0.52, 0.8, 0.2, (255, 216, 150), 0.55)
        if "rainbow" in skies:
            self._rainbow()
        if skies & {"clouds", "rain", "storm", "snow", "wind"}:
            heavy = bool(skies & {"rain", "storm"})
            for k in range(3):
                self.cloud((k + rng.uniform(0.3, 0.7)) / 3, rng.uniform(0.08, 0.17), 0.09, heavy)
        elif self.time != "night" and not skies:
            self.cloud(1 - x + rng.uniform(-0.12, 0.12), rng.uniform(0.10, 0.18), 0.07)

    def stars(self, count: int) -> None:
        rng = self.rng
        for k in range(count):
            x, y, r = rng.random(), rng.uniform(0.02, 0.4), rng.uniform(0.004, 0.009)
            if k % 5 == 0:  # a large one that twinkles
                self.soft(x, y, 0.035, 0.035, (255, 246, 200), 0.6)
                for a, b in ((0.02, 0.0045), (0.0045, 0.02)):
                    self.draw.polygon([(v * self.s, w * self.s) for v, w in
                                       ((x - a, y), (x, y - b), (x + a, y), (x, y + b))],
                                      fill=(255, 248, 214))  # fmt: skip
            else:
                self.pane(x - r, y - r, x + r, y + r, (255, 246, 206), r)

    def _rainbow(self) -> None:
        bands = ((230, 84, 84), (246, 160, 72), (250, 220, 90), (104, 190, 110), (92, 150, 224),
                 (150, 104, 196))  # fmt: skip
        s = self.s
        for k, colour in enumerate(bands):
            r = 0.60 - 0.03 * k
            arc = [v * s for v in (0.5 - r, 0.70 - r, 0.5 + r, 0.70 + r)]
            self.veil.arc(arc, 180, 360, fill=(*colour, 205), width=int(0.034 * s))

    def cloud(self, x: float, y: float, r: float, heavy: bool = False) -> None:
        """Drawn as a picture book would: a shaded belly and light tops."""
        low, high = SKY[self.time][1], WHITE
        body = mix(high, low, 0.25 if self.time == "day" else 0.55)
        belly = mix(low, (120, 140, 180), 0.35)
        if heavy:
            body, belly = mix((178, 184, 200), low, 0.15), (132, 140, 162)
        if self.time == "night":
            body, belly = mix(body, (50, 60, 116), 0.55), mix(belly, (40, 50, 100), 0.55)
        parts = ((-1.0, 0.2, 0.62), (-0.35, -0.12, 0.85), (0.45, -0.05, 0.78), (1.05, 0.22, 0.55))
        for dx, dy, k in parts:
            self._puff(x + dx * r, y + dy * r + 0.16 * r, k * r, belly)
        self.pane(x - 1.4 * r, y + 0.28 * r, x + 1.4 * r, y + 0.86 * r, belly, 0.28 * r)
        for dx, dy, k in parts:
            self._puff(x + dx * r, y + dy * r, k * r * 0.94, body)
        self._puff(x - 0.45 * r, y - 0.30 * r, 0.48 * r, mix(body, WHITE, 0.5))

    def _puff(self, x: float, y: float, r: float, colour: RGB) -> None:
        self.pane(x - r, y - r * 0.85, x + r, y + r * 0.85, colour, r * 0.85)
