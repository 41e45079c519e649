"""Small drawn bodies for clip art that is a face, a head or a bust alone.

Everything is drawn on a square of twice the art's side in coordinates of [0, 1] from the top left;
the art itself goes on last, unchanged, so that a character stays who it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

RGB = tuple[int, int, int]

_SKIN: RGB = (252, 200, 44)
_FINE = 2  # drawn at this multiple, then halved: smooth edges


@dataclass(frozen=True)
class Body:
    """`plush`: a sitting animal under a face; `person`: clothes under a face; `bust`: the lower
    half of clothes that the art has the upper half of; `beast`, `hen`: side views, head left."""

    kind: Literal["plush", "person", "bust", "beast", "hen"]
    coat: RGB = (0, 0, 0)
    front: RGB = (0, 0, 0)
    limbs: RGB = (70, 66, 84)
    """Paws, trousers, legs or hooves."""
    skin: RGB = _SKIN
    skirt: bool = False
    """A dress or a robe down to the feet."""
    free: str = "left right"
    """The sides of a bust whose hand is not in the art already."""


def _plush(coat: RGB, front: RGB, limbs: RGB) -> Body:
    return Body("plush", coat, front, limbs)


def _person(coat: RGB, front: RGB, limbs: RGB, *, skirt: bool = False, skin: RGB = _SKIN) -> Body:
    return Body("person", coat, front, limbs, skin=skin, skirt=skirt)


def _bust(limbs: RGB, *, skirt: bool = False, free: str = "left right", skin: RGB = _SKIN) -> Body:
    return Body("bust", limbs=limbs, skirt=skirt, free=free, skin=skin)


BODIES: dict[str, Body] = {
    "fox": _plush((244, 98, 28), (255, 240, 224), (92, 58, 52)),
    "bear": _plush((141, 98, 88), (188, 150, 132), (120, 80, 72)),
    "lion": _plush((242, 168, 48), (252, 212, 130), (226, 146, 40)),
    "wolf": _plush((148, 150, 158), (222, 224, 228), (118, 120, 130)),
    "panda": _plush((250, 250, 250), (250, 250, 250), (44, 44, 48)),
    "koala": _plush((150, 152, 158), (226, 226, 230), (128, 130, 138)),
    "raccoon": _plush((132, 138, 144), (196, 200, 204), (72, 76, 82)),
    "frog": _plush((170, 206, 36), (226, 238, 150), (146, 184, 28)),
    "polar_bear": _plush((240, 246, 250), (255, 255, 255), (206, 220, 230)),
    "hamster": _plush((244, 166, 92), (255, 244, 226), (255, 190, 190)),
    "robot": _plush((130, 160, 180), (232, 84, 84), (96, 124, 144)),
    "boy": _person((66, 134, 214), (66, 134, 214), (84, 74, 110)),
    "girl": _person((232, 92, 128), (246, 150, 172), (122, 80, 130), skirt=True),
    "man": _person((70, 150, 110), (70, 150, 110), (72, 78, 100)),
    "woman": _person((176, 92, 180), (206, 140, 210), (92, 70, 110), skirt=True),
    "grandmother": _person((120, 110, 190), (240, 236, 246), (90, 84, 120), skirt=True),
    "grandfather": _person((140, 104, 74), (226, 206, 170), (88, 80, 84)),
    "prince": _person((60, 80, 180), (246, 200, 70), (70, 60, 90)),
    "princess": _person((244, 132, 190), (252, 196, 224), (220, 100, 160), skirt=True),
    "baby": _person((150, 208, 240), (252, 252, 252), (150, 208, 240)),
    "alien": _person((110, 196, 120), (200, 240, 160), (90, 150, 110), skin=(176, 190, 197)),
    "king": _person((190, 40, 60), (255, 250, 240), (110, 30, 60), skirt=True),
    "queen": _person((124, 66, 170), (252, 214, 90), (100, 50, 140), skirt=True),
    "knight": _person((144, 164, 174), (229, 57, 53), (96, 125, 139), skin=(96, 125, 139)),
    "pirate": _person((40, 60, 110), (250, 250, 250), (70, 50, 44)),
    "clown": _person((66, 165, 245), (255, 214, 64), (229, 57, 53), skin=(255, 255, 255)),
    "cowboy": _person((198, 84, 60), (126, 78, 50), (64, 96, 160)),
    "wizard": _bust((60, 48, 110), skirt=True, free="left"),
    "witch": _bust((60, 48, 110), skirt=True, free="left"),
    "elf": _bust((130, 60, 40), skirt=True),
    "judge": _bust((50, 50, 56), skirt=True, free="left"),
    "farmer": _bust((36, 92, 164), free="left"),
    "astronaut": _bust((206, 212, 218), skin=(236, 240, 244)),
    "cook": _bust((84, 92, 110), free="left"),
    "pilot": _bust((34, 38, 50)),
    "teacher": _bust((82, 78, 100), free="left"),
    "doctor": _bust((66, 120, 170)),
    "artist": _bust((70, 76, 120), free="left"),
    "firefighter": _bust((60, 54, 58)),
    "singer": _bust((46, 48, 60), free="left"),
    "builder": _bust((44, 84, 150)),
    "detective": _bust((60, 64, 74), free="left"),
    "vampire": _bust((34, 34, 42), skin=(250, 222, 140)),
    "zombie": _bust((84, 90, 110), free=""),
    "santa": _bust((214, 46, 44), skin=(255, 255, 255)),
    "ninja": _bust((38, 42, 50), skin=(38, 42, 50)),
    "guard": _bust((34, 36, 46), skin=(255, 255, 255)),
    "scientist": _bust((70, 78, 104), free="left"),
    "mechanic": _bust((32, 52, 120), free="left"),
    "police_officer": _bust((26, 46, 110)),
    "juggler": _bust((60, 56, 66), free=""),
    "zebra": Body("beast", (250, 250, 250), (52, 56, 60), (52, 56, 60)),
    "moose": Body("beast", (134, 88, 72), (116, 74, 60), (92, 58, 48)),
    "unicorn": Body("beast", (238, 238, 246), (240, 120, 170), (200, 180, 220)),
    "boar": Body("beast", (126, 88, 76), (96, 64, 56), (72, 48, 44)),
    "hen": Body("hen", (242, 242, 242), (214, 218, 222), (246, 166, 40)),
}
"""Words whose art is not a whole figure."""


class _Figure:
    """A square RGBA page to draw a body on."""

    def __init__(self, side: int) -> None:
        self.side = side * _FINE
        self.image = Image.new("RGBA", (self.side, self.side), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: RGB) -> None:
        s = self.side
        self.draw.ellipse([v * s for v in (x - rx, y - ry, x + rx, y + ry)], fill=colour)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: RGB, r: float) -> None:
        s = self.side
        self.draw.rounded_rectangle([v * s for v in (x0, y0, x1, y1)], r * s, fill=colour)

    def shape(self, points: list[tuple[float, float]], colour: RGB) -> None:
        self.draw.polygon([(x * self.side, y * self.side) for x, y in points], fill=colour)

    def limb(self, x0: float, y0: float, x1: float, y1: float, width: float, colour: RGB) -> None:
        """A thick stroke with round ends."""
        s = self.side
        self.draw.line([v * s for v in (x0, y0, x1, y1)], fill=colour, width=round(width * s))
        for x, y in ((x0, y0), (x1, y1)):
            self.disc(x, y, width / 2, width / 2, colour)

    def done(self) -> Picture:
        return self.image.reduce(_FINE)


def shade(colour: RGB, amount: float) -> RGB:
    """The colour darkened by `amount` in [0, 1]."""
    r, g, b = (round(v * (1 - amount)) for v in colour)
    return (r, g, b)


def _draw_plush(f: _Figure, word: str, b: Body) -> None:
    if word == "fox":
        f.disc(0.74, 0.80, 0.16, 0.08, b.coat)
        f.disc(0.85, 0.77, 0.07, 0.06, b.front)
    if word == "raccoon":
        f.limb(0.66, 0.86, 0.84, 0.74, 0.10, b.coat)
        f.disc(0.85, 0.735, 0.055, 0.055, b.limbs)
    for side in (-1, 1):
        f.disc(0.5 + side * 0.11, 0.93, 0.105, 0.055, b.limbs)
        f.limb(0.5 + side * 0.17, 0.67, 0.5 + side * 0.235, 0.79, 0.095, shade(b.coat, 0.07))
        f.disc(0.5 + side * 0.238, 0.80, 0.052, 0.048, b.limbs)
    f.disc(0.5, 0.77, 0.205, 0.185, b.coat)
    f.disc(0.5, 0.80, 0.12, 0.135, b.front)


def _draw_person(f: _Figure, word: str, b: Body) -> None:
    if word in ("king", "queen", "knight"):  # a cape behind
        f.shape([(0.36, 0.62), (0.64, 0.62), (0.80, 0.93), (0.20, 0.93)], shade(b.coat, 0.25))
    for side in (-1, 1):
        x = 0.5 + side * 0.085
        f.box(x - 0.06, 0.76, x + 0.06, 0.95, b.limbs, 0.03)
        f.disc(x + side * 0.015, 0.955, 0.082, 0.035, shade(b.limbs, 0.35))
        f.limb(0.5 + side * 0.13, 0.68, 0.5 + side * 0.225, 0.79, 0.085, shade(b.coat, 0.10))
        f.disc(0.5 + side * 0.238, 0.81, 0.046, 0.046, b.skin)
    if b.skirt:
        f.box(0.37, 0.58, 0.63, 0.76, b.coat, 0.07)
        f.shape([(0.39, 0.66), (0.61, 0.66), (0.73, 0.90), (0.27, 0.90)], b.coat)
        f.disc(0.5, 0.90, 0.23, 0.03, b.front)
    else:
        f.box(0.35, 0.58, 0.65, 0.87, b.coat, 0.08)
    if word == "clown":
        for y in (0.71, 0.79):
            f.disc(0.5, y, 0.032, 0.032, b.front)
    elif word in ("king", "prince", "grandfather", "pirate", "knight", "cowboy", "alien"):
        f.box(0.455, 0.62, 0.545, 0.865, b.front, 0.02)
    elif word == "baby":
        f.disc(0.5, 0.72, 0.11, 0.08, b.front)
    if word in ("pirate", "cowboy", "prince", "knight"):
        f.box(0.35, 0.80, 0.65, 0.845, (92, 60, 40), 0.01)
        f.box(0.465, 0.795, 0.535, 0.85, (252, 200, 60), 0.01)


def _draw_beast(f: _Figure, word: str, b: Body) -> None:
    dark = shade(b.coat, 0.14)
    low = 0.07 if word == "boar" else 0.0
    for x, colour in ((0.47, dark), (0.80, dark), (0.37, b.coat), (0.72, b.coat)):
        f.box(x, 0.62 + low, x + 0.085, 0.95, colour, 0.03)
        f.box(x - 0.004, 0.905, x + 0.089, 0.96, b.limbs, 0.02)
    f.limb(0.90, 0.56 + low, 0.95, 0.72, 0.05, b.front)
    if word == "unicorn":
        f.disc(0.935, 0.68, 0.055, 0.12, b.front)
    f.box(0.33, 0.46 + low, 0.93, 0.76 + low, b.coat, 0.15)
    if word == "zebra":
        for k in range(5):
            x = 0.46 + 0.095 * k
            f.shape([(x, 0.465), (x + 0.035, 0.465), (x + 0.02, 0.66), (x - 0.005, 0.66)], b.front)


def _draw_hen(f: _Figure, b: Body) -> None:
    for x in (0.50, 0.63):
        f.limb(x, 0.80, x, 0.93, 0.03, b.limbs)
        f.limb(x - 0.05, 0.945, x + 0.04, 0.945, 0.03, b.limbs)
    for dx, dy in ((0.0, 0.0), (0.05, 0.08), (0.02, 0.17)):
        f.limb(0.72, 0.62 + dy * 0.5, 0.88 + dx, 0.44 + dy, 0.10, b.front)
    f.disc(0.56, 0.66, 0.29, 0.21, b.coat)
    f.disc(0.62, 0.66, 0.16, 0.11, b.front)


def _draw_bust(page: Picture, art: Picture, b: Body) -> None:
    """Go on below the cut edge of `art`, which is pasted on `page` later at the same place.

    The clothes are the art's own last row drawn out downwards.
    """
    side, width = page.width, art.width
    left, cut = (side - width) // 2, art.height - 3
    row = art.crop((0, cut, width, cut + 1))
    length = round((0.985 if b.skirt else 0.865) * side) - cut
    cloth = row.resize((width, length))
    mask = Image.new("L", (2 * width, 2 * length), 0)  # at twice the size: smooth edges
    draw = ImageDraw.Draw(mask)
    w, h = 2 * width, 2 * length
    if b.skirt:
        draw.polygon([(0.18 * w, 0), (0.82 * w, 0), (0.90 * w, h), (0.10 * w, h)], fill=255)
        draw.rectangle((0, 0, w, 0.06 * h), fill=255)
    else:
        draw.rounded_rectangle((0.20 * w, -h, 0.80 * w, h), 0.07 * w, fill=255)
    for name, x in (("left", 0.04), ("right", 0.80)):
        if name in b.free and not b.skirt:
            draw.rounded_rectangle((x * w, -h, (x + 0.16) * w, 0.62 * h), 0.07 * w, fill=255)
    f = _Figure(side)
    for sign in (-1, 1):
        x = 0.5 + sign * 0.10
        if not b.skirt:
            f.box(x - 0.075, 0.80, x + 0.075, 0.95, b.limbs, 0.03)
        f.disc(x + sign * 0.012, 0.955, 0.095, 0.038, shade(b.limbs, 0.4))
        if ("left" if sign < 0 else "right") in b.free and not b.skirt:
            reach = (cut + 0.62 * length) / side
            f.disc(0.5 + sign * 0.38 * width / side, reach, 0.042, 0.042, b.skin)
    page.alpha_composite(f.done())
    mask = mask.resize((width, length), Image.Resampling.BOX)
    clear = Image.new("RGBA", (width, length), (0, 0, 0, 0))
    page.alpha_composite(Image.composite(cloth, clear, mask), (left, cut))
    # A seam of shade where an arm lies on the side.
    if not b.skirt:
        seam = ImageDraw.Draw(page, "RGBA")
        for name, x in (("left", 0.205), ("right", 0.795)):
            if name in b.free:
                at = left + x * width
                seam.line((at, cut, at, cut + 0.55 * length), fill=(20, 20, 40, 60), width=3)


_HEAD = {"plush": 0.68, "person": 0.67, "bust": 0.74, "beast": 0.60, "hen": 0.62}
"""Side of the art as a part of the figure's."""


def with_body(word: str, art: Picture) -> Picture:
    """The art of `word`, PIL RGBA and square, on its drawn body: RGBA of twice the side."""
    b = BODIES[word]
    side = 2 * art.width
    head = round(side * _HEAD[b.kind])
    art = art.resize((head, head), Image.Resampling.LANCZOS)
    page = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    if b.kind == "bust":
        box = art.getchannel("A").point([255 * (v > 200) for v in range(256)]).getbbox()
        art = art.crop((0, 0, head, box[3] if box else head))
        _draw_bust(page, art, b)
        page.alpha_composite(art, ((side - head) // 2, 0))
        return page
    figure = _Figure(side)
    if b.kind == "plush":
        _draw_plush(figure, word, b)
    elif b.kind == "person":
        _draw_person(figure, word, b)
    elif b.kind == "hen":
        _draw_hen(figure, b)
    else:
        _draw_beast(figure, word, b)
    page = figure.done()
    x = (side - head) // 2 if b.kind in ("plush", "person") else round(0.01 * side)
    page.alpha_composite(art, (x, round(0.10 * side) if word == "boar" else 0))
    return page
