"""The 22 places: a background for each, drawn far to near on a canvas."""

from __future__ import annotations

import math
from collections.abc import Callable

from pipelines.canvas import RGB, SKY, WHITE, Canvas, mix

INDOORS = frozenset({"room", "cave", "school", "castle_hall", "underwater", "space"})
"""Places that the weather does not reach."""
FLOATING = frozenset({"sky", "underwater", "space"})
"""Places without a floor to stand on."""

_GRASS: RGB = (118, 190, 92)
_PETALS: tuple[RGB, ...] = ((240, 108, 130), (250, 204, 78), (252, 248, 252), (176, 124, 216))


def _forest(c: Canvas) -> None:
    c.sky()
    c.hills(0.52, 0.02, (104, 170, 124), 1.6, distance=0.55)
    for k in range(6):  # a far row in the mist
        c.pine((k + c.rng.uniform(0.2, 0.8)) / 6, 0.62, c.rng.uniform(0.2, 0.26),
               mix((96, 160, 124), SKY[c.time][1], 0.3 if c.time == "day" else 0.0))  # fmt: skip
    c.hills(0.60, 0.015, (112, 184, 104), 1.2, distance=0.2)
    for k in range(5):
        x = (k + c.rng.uniform(0.2, 0.8)) / 5
        h = c.rng.uniform(0.42, 0.52) * (0.8 if abs(x - c.sun_x) < 0.18 else 1.0)
        c.tree(x, c.rng.uniform(0.67, 0.70), h, c.rng.choice(((72, 150, 84), (92, 164, 78))))
    c.ground(0.68, (122, 188, 94))
    for x in (c.rng.uniform(0.0, 0.1), c.rng.uniform(0.9, 1.0)):
        c.crown(x, 0.72, 0.075, (84, 160, 84))
    c.tufts(9, (92, 164, 78))
    c.pebbles(2, (176, 170, 160))


def _jungle(c: Canvas) -> None:
    top, low = c.light((178, 226, 160)), c.light((96, 178, 116))
    c.gradient(top, low)
    c.heavens()
    for k in range(5):  # far trunks in the haze
        x = (k + c.rng.uniform(0.1, 0.9)) / 5
        c.box(x - 0.018, 0.05, x + 0.018, 0.72, (120, 170, 110))
    for k in range(6):
        c.crown(k / 5, 0.66, 0.12, (78, 166, 96))
    for x in (c.rng.uniform(0.0, 0.06), c.rng.uniform(0.36, 0.64), c.rng.uniform(0.94, 1.0)):
        c.box(x - 0.034, 0.0, x + 0.034, 0.76, (120, 100, 66), 0.01)
        c.box(x + 0.008, 0.0, x + 0.034, 0.76, (98, 82, 58), 0.01)
        for side in (-1, 1):
            for y, r in ((0.03, 0.17), (0.14, 0.13)):
                if abs(x + side * 0.1 - c.sun_x) > 0.12:
                    c.disc(x + side * r * 0.8, y + 0.015, r * 0.8, (28, 106, 68), 0.05)
                    c.disc(x + side * r * 0.8, y, r * 0.8, (52, 146, 82), 0.05)
    for x in (0.25, 0.75):  # a hanging vine
        x += c.rng.uniform(-0.08, 0.08)
        c.box(x - 0.006, 0, x + 0.006, c.rng.uniform(0.25, 0.4), (70, 140, 74), 0.006)
    c.ground(0.74, (98, 162, 70))
    for k in range(5):  # big leaves in front of the thicket
        x = k / 4
        for lean in (-1, 0, 1):
            tip = (x + lean * 0.09, 0.64 - 0.02 * (lean == 0))
            c.shape([(x - 0.03, 0.78), (x + 0.03, 0.78), tip],
                    (58, 150, 82) if lean else (78, 168, 90))  # fmt: skip
    c.tufts(7, (74, 142, 62), 0.84)


def _beach(c: Canvas) -> None:
    c.sky(0.5)
    if c.rng.random() < 0.5:
        side = 1 - c.sun_x
        c.disc(side, 0.47, 0.2, mix((120, 176, 120), SKY[c.time][1], 0.35), 0.06)
    c.water(0.46, 0.74, (58, 158, 208))
    foam = mix((236, 248, 252), SKY[c.time][1], 0.2)
    c.hills(0.705, 0.010, foam, 0.9)
    c.hills(0.72, 0.012, (222, 192, 132), 0.9)
    c.hills(0.735, 0.012, (244, 220, 160), 0.9)
    for _ in range(5):
        x, y = c.rng.random(), c.rng.uniform(0.8, 0.97)
        c.disc(x, y, 0.05, (232, 204, 142), 0.012)
    c.pebbles(2, (238, 226, 210), 0.82)
    c.tufts(2, (170, 176, 92), 0.84)


def _snow(c: Canvas) -> None:
    c.sky()
    c.hills(0.50, 0.06, (200, 218, 240), 1.0, distance=0.35)
    for k in range(6):
        c.pine((k + c.rng.uniform(0.2, 0.8)) / 6, 0.60, 0.15,
               mix((110, 158, 158), SKY[c.time][1], 0.25), snow=True)  # fmt: skip
    c.hills(0.59, 0.025, (222, 234, 248), 1.2)
    for x in (c.rng.uniform(0.04, 0.16), c.rng.uniform(0.42, 0.58), c.rng.uniform(0.84, 0.96)):
        c.pine(x, 0.69, c.rng.uniform(0.30, 0.38), (80, 144, 128), snow=True)
    c.ground(0.67, (242, 247, 253))
    for _ in range(4):  # drifts
        x, y = c.rng.random(), c.rng.uniform(0.76, 0.97)
        c.disc(x, y + 0.012, 0.13, (216, 228, 246), 0.028)
        c.disc(x, y, 0.12, (246, 250, 255), 0.026)


def _desert(c: Canvas) -> None:
    c.sky()
    c.hills(0.50, 0.04, (232, 178, 130), 0.9, distance=0.4)
    if c.rng.random() < 0.5:  # a table mountain far off
        x = 1 - c.sun_x
        c.area([(x - 0.14, 0.40), (x + 0.1, 0.40), (x + 0.17, 0.56), (x - 0.2, 0.56)],
               c.far((206, 128, 96), 0.25), c.far((222, 160, 110), 0.3))  # fmt: skip
    c.hills(0.555, 0.05, (240, 196, 124), 0.8)
    x = c.rng.choice((0.10, 0.90))
    green, dark = (96, 160, 92), (70, 128, 84)
    c.soft(x, 0.665, 0.1, 0.02, c.light((150, 100, 60)), 0.6)
    for dx, y0, y1 in ((-0.062, 0.47, 0.56), (0.062, 0.44, 0.53)):
        c.box(x + dx - 0.017, y0, x + dx + 0.017, y1, green, 0.017)
        c.box(min(x, x + dx) - 0.008, y1 - 0.03, max(x, x + dx) + 0.008, y1 + 0.004, green, 0.015)
    c.box(x - 0.026, 0.38, x + 0.026, 0.665, green, 0.026)
    c.box(x + 0.006, 0.40, x + 0.026, 0.665, dark, 0.01)
    c.hills(0.66, 0.022, (234, 182, 106), 0.7)
    for _ in range(4):  # ripples in the sand
        x, y = c.rng.random(), c.rng.uniform(0.75, 0.96)
        c.disc(x, y, 0.12, (222, 168, 94), 0.008)
    c.pebbles(3, (206, 158, 112))


def _river(c: Canvas) -> None:
    c.sky()
    c.hills(0.46, 0.05, (120, 176, 140), 1.1, distance=0.5)
    c.hills(0.53, 0.02, (128, 190, 112), 1.4, distance=0.2)
    for x in (c.rng.uniform(0.03, 0.1), c.rng.uniform(0.18, 0.28), c.rng.uniform(0.8, 0.96)):
        c.tree(x, 0.61, c.rng.uniform(0.26, 0.32), (84, 164, 86))
    c.ground(0.58, (134, 198, 104))
    b = c.rng.choice((-1, 1)) * 0.12
    bank = [
        (0.455, 0.575),
        (0.545, 0.575),
        (0.63 + b, 0.72),
        (1.0 + b, 1),
        (0.10 + b, 1),
        (0.34 + b, 0.72),
    ]
    stream = [
        (0.47, 0.575),
        (0.53, 0.575),
        (0.61 + b, 0.72),
        (0.95 + b, 1),
        (0.15 + b, 1),
        (0.36 + b, 0.72),
    ]
    c.area(bank, c.light((206, 196, 140)), c.light((190, 176, 124)))
    water = c.far((84, 172, 224), 0.0)
    c.area(stream, mix(water, SKY[c.time][1], 0.5), mix(water, (20, 70, 130), 0.15))
    for y, w in ((0.66, 0.08), (0.76, 0.12), (0.86, 0.16), (0.94, 0.2)):
        x = 0.46 + b * min((y - 0.575) / 0.145, 1) + c.rng.uniform(-0.06, 0.08)
        c.box(x, y, x + w, y + 0.009, (190, 228, 246), 0.004)
    for x in (0.24 + b, 0.84 + b):
        for k in range(3):  # reeds
            c.box(
                x + k * 0.02,
                0.72 + 0.01 * (k % 2),
                x + k * 0.02 + 0.007,
                0.86,
                (92, 150, 74),
                0.003,
            )
    c.tufts(6, (100, 168, 78))
    c.pebbles(3, (186, 180, 170), 0.9)


def _lake(c: Canvas) -> None:
    c.sky(0.56)
    c.hills(0.42, 0.07, (112, 150, 170), 1.0, distance=0.55)
    c.hills(0.49, 0.025, (104, 166, 122), 1.4, distance=0.2)
    for k in range(7):
        c.pine(k / 6 + c.rng.uniform(-0.05, 0.05), 0.555, c.rng.uniform(0.13, 0.17), (68, 134, 104))
    c.water(0.55, 0.80, (88, 172, 222))
    c.gradient(c.far((78, 148, 150), 0.15), c.far((96, 168, 196), 0.2), 0.55, 0.575)  # the shore
    for x in (0.06, 0.9):
        for k in range(3):  # reeds
            h = c.rng.uniform(0.1, 0.15)
            c.box(x + k * 0.022, 0.82 - h, x + k * 0.022 + 0.007, 0.83, (88, 146, 76), 0.003)
            c.box(
                x + k * 0.022 - 0.004,
                0.82 - h,
                x + k * 0.022 + 0.011,
                0.86 - h,
                (134, 92, 62),
                0.006,
            )
    c.disc(c.rng.uniform(0.25, 0.75), 0.745, 0.045, (104, 176, 96), 0.013)
    c.disc(c.rng.uniform(0.25, 0.75), 0.70, 0.032, (104, 176, 96), 0.010)
    c.hills(0.785, 0.010, (196, 186, 136), 0.8)
    c.hills(0.80, 0.012, (134, 194, 100), 0.8)
    c.tufts(6, (100, 166, 78), 0.86)


def _city(c: Canvas) -> None:
    c.sky()
    x = -0.02
    while x < 1.0:  # a far skyline in the haze
        w, top = c.rng.choice((0.1, 0.13)), c.rng.uniform(0.30, 0.46)
        c.area([(x, top), (x + w, top), (x + w, 0.72), (x, 0.72)],
               c.far((140, 160, 190), 0.5), c.far((150, 166, 190), 0.65))  # fmt: skip
        x += w
    x = -0.03
    walls: tuple[RGB, ...] = ((206, 126, 108), (122, 152, 190), (224, 184, 130), (146, 134, 180))
    last = -1
    while x < 1.0:
        w = c.rng.choice((0.16, 0.2))
        top = c.rng.uniform(0.18, 0.38)
        if abs(x + w / 2 - c.sun_x) < 0.2:
            top = c.rng.uniform(0.36, 0.46)
        pick = c.rng.choice([n for n in range(4) if n != last])
        last, wall = pick, walls[pick]
        c.box(x, top, x + w - 0.012, 0.74, wall)
        c.box(x + w - 0.045, top, x + w - 0.012, 0.74, mix(wall, (60, 50, 90), 0.22))
        c.box(x - 0.006, top - 0.014, x + w - 0.006, top + 0.012, mix(wall, WHITE, 0.35))
        lit: RGB = (255, 226, 130) if c.time != "day" else (222, 238, 248)
        dim = c.light((110, 130, 164))
        for row in range(int((0.62 - top) / 0.095)):
            for col in range(2):
                wx, wy = x + 0.022 + col * (w - 0.035) * 0.42, top + 0.045 + row * 0.095
                on = c.time == "day" or c.rng.random() < 0.7
                c.pane(wx, wy, wx + 0.038, wy + 0.052, lit if on else dim, 0.004)
        x += w
    c.box(0, 0.715, 1, 0.80, (212, 206, 200))
    c.box(0, 0.785, 1, 0.80, (176, 170, 172))
    c.gradient(c.light((126, 130, 142)), c.light((98, 102, 116)), 0.80, 1.0)
    for k in range(4):
        c.box(0.04 + k * 0.27, 0.895, 0.17 + k * 0.27, 0.91, (236, 226, 180), 0.004)
    for x in (c.rng.uniform(0.02, 0.12), c.rng.uniform(0.86, 0.98)):
        c.tree(x, 0.755, 0.2, (104, 172, 92))


def _village(c: Canvas) -> None:
    c.sky()
    c.hills(0.46, 0.05, (128, 186, 134), 1.0, distance=0.45)
    c.hills(0.53, 0.03, (140, 198, 116), 1.3, distance=0.15)
    roofs: tuple[RGB, ...] = ((206, 92, 74), (196, 124, 66), (98, 122, 172), (150, 90, 130))
    walls: tuple[RGB, ...] = ((250, 236, 206), (244, 222, 206), (232, 238, 226))
    start = c.rng.randint(0, 3)
    for k in range(3):
        x = (k + 0.5) / 3 + c.rng.uniform(-0.04, 0.04)
        c.soft(x, 0.675, 0.16, 0.025, c.light((60, 110, 60)), 0.6)
        c.house(x, c.rng.uniform(0.655, 0.675), c.rng.uniform(0.19, 0.215), c.rng.choice(walls),
                roofs[(k + start) % 4])  # fmt: skip
    for x in (0.32, 0.68):
        c.crown(x + c.rng.uniform(-0.03, 0.03), 0.645, 0.045, (98, 172, 88))
    c.ground(0.67, (146, 204, 108))
    x = c.rng.uniform(0.4, 0.6)
    c.area([(x - 0.03, 0.675), (x + 0.03, 0.675), (0.78, 1), (0.26, 1)],
           c.light((236, 216, 168)), c.light((222, 196, 146)))  # fmt: skip
    c.tufts(7, (108, 174, 80))
    for _ in range(3):
        c.bloom(c.rng.choice((c.rng.uniform(0, 0.2), c.rng.uniform(0.8, 1))),
                c.rng.uniform(0.84, 0.94), 0.018, c.rng.choice(_PETALS))  # fmt: skip


def _farm(c: Canvas) -> None:
    c.sky()
    c.hills(0.47, 0.04, (150, 196, 120), 1.0, distance=0.4)
    c.hills(0.53, 0.025, (230, 206, 104), 0.9, distance=0.1)
    for k in range(4):  # furrows of the cornfield
        c.hills(0.575 + 0.02 * k, 0.008, ((216, 188, 88), (236, 214, 120))[k % 2], 0.6)
    x = c.rng.choice((0.22, 0.78))
    red: RGB = (204, 74, 62)
    c.soft(x, 0.69, 0.22, 0.03, c.light((60, 100, 50)), 0.6)
    c.box(x - 0.15, 0.45, x + 0.15, 0.69, red)
    c.box(x + 0.09, 0.45, x + 0.15, 0.69, mix(red, (80, 20, 60), 0.2))
    roof: Callable[[float], list[tuple[float, float]]] = lambda d: [  # noqa: E731
        (x - 0.18 - d, 0.46 + d), (x - 0.10 - d / 2, 0.335 - d), (x, 0.275 - d),
        (x + 0.10 + d / 2, 0.335 - d), (x + 0.18 + d, 0.46 + d)]  # fmt: skip
    c.shape(roof(0.012), (250, 240, 226))
    c.shape(roof(0.0), (134, 70, 60))
    c.box(x - 0.035, 0.36, x + 0.035, 0.42, (250, 240, 226), 0.01)
    c.box(x - 0.026, 0.368, x + 0.026, 0.412, (90, 60, 56), 0.008)
    c.box(x - 0.07, 0.52, x + 0.07, 0.69, (250, 240, 226))
    c.box(x - 0.058, 0.532, x + 0.058, 0.69, (164, 60, 52))
    for a, b in ((-0.058, 0.058), (0.058, -0.058)):
        c.shape([(x + a, 0.532), (x + a + 0.012, 0.532), (x + b, 0.69), (x + b - 0.012, 0.69)],
                (250, 240, 226))  # fmt: skip
    c.ground(0.675, (150, 204, 98))
    for k in range(8):
        px = k / 7
        c.box(px - 0.012, 0.655, px + 0.012, 0.775, (246, 238, 222), 0.008)
    for y in (0.675, 0.72):
        c.box(0, y, 1, y + 0.018, (238, 228, 208))
    c.tufts(8, (112, 176, 76), 0.82)


def _mountains(c: Canvas) -> None:
    c.sky()
    for k in range(4):
        x, h = (k + c.rng.uniform(0.2, 0.8)) / 4, c.rng.uniform(0.20, 0.28)
        c.area([(x - 0.26, 0.62), (x, 0.62 - h), (x + 0.26, 0.62)],
               c.far((150, 160, 196), 0.45), c.far((170, 186, 210), 0.7))  # fmt: skip
    for k in range(3):
        x, h = (k + c.rng.uniform(0.3, 0.7)) / 3, c.rng.uniform(0.40, 0.48)
        if abs(x - c.sun_x) < 0.2:
            h *= 0.78
        rock: RGB = (138, 142, 172)
        c.area([(x - 0.31, 0.68), (x, 0.68 - h), (x + 0.31, 0.68)],
               c.far(rock, 0.05), c.far(rock, 0.35))  # fmt: skip
        c.area([(x, 0.68 - h), (x + 0.31, 0.68), (x + 0.06, 0.68)],
               c.far((104, 108, 146), 0.05), c.far((120, 126, 160), 0.35))  # fmt: skip
        cap = ((-0.1, 0.68), (-0.045, 0.74), (-0.01, 0.64), (0.035, 0.73), (0.1, 0.68), (0.0, 1.0))
        c.shape([(x + dx, 0.68 - h * up) for dx, up in cap], (250, 252, 255))
        c.shape([(x, 0.68 - h), (x + 0.1, 0.68 - h * 0.68), (x + 0.035, 0.68 - h * 0.73)],
                (214, 224, 242))  # fmt: skip
    c.hills(0.63, 0.02, (112, 168, 120), 1.3, distance=0.2)
    for x in (c.rng.uniform(0.02, 0.1), c.rng.uniform(0.14, 0.24), c.rng.uniform(0.82, 0.97)):
        c.pine(x, 0.70, c.rng.uniform(0.18, 0.24), (74, 140, 104))
    c.ground(0.69, (134, 188, 108))
    c.pebbles(4, (168, 170, 184))
    c.tufts(6, (104, 160, 84))


def _garden(c: Canvas) -> None:
    c.sky()
    c.hills(0.47, 0.04, (136, 196, 140), 1.1, distance=0.45)
    c.hills(0.54, 0.02, (150, 206, 128), 1.4, distance=0.15)
    x = c.rng.choice((0.1, 0.9))
    c.tree(x, 0.66, 0.38, (116, 182, 92))
    for k in range(7):  # a hedge
        c.crown(k / 6, 0.635, 0.075, (92, 172, 92))
    c.ground(0.655, (144, 208, 102))
    for k in range(9):  # flower beds along the hedge
        c.disc((k + c.rng.uniform(0.2, 0.8)) / 9, c.rng.uniform(0.675, 0.70), 0.016,
               c.rng.choice(_PETALS))  # fmt: skip
    c.tufts(6, (104, 178, 80))
    for x in (c.rng.uniform(0.02, 0.14), c.rng.uniform(0.3, 0.45), c.rng.uniform(0.55, 0.7),
              c.rng.uniform(0.86, 0.98)):  # fmt: skip
        c.bloom(x, c.rng.uniform(0.82, 0.93), 0.022, c.rng.choice(_PETALS))


def _window(c: Canvas, x: float, y: float, w: float, h: float) -> None:
    """A window on the sky of the hour, with its light on the wall around it."""
    top, low = SKY[c.time]
    c.soft(x + w / 2, y + h / 2, w * 1.2, h * 1.1, mix(low, WHITE, 0.4), 0.3)
    c.box(x - 0.018, y - 0.018, x + w + 0.018, y + h + 0.018, WHITE, 0.01)
    c.pane(x, y, x + w, y + h, mix(top, low, 0.5))
    c.pane(x, y + h * 0.62, x + w, y + h, mix(top, low, 0.85))
    if c.time == "night":
        for dx, dy in ((0.2, 0.25), (0.7, 0.2), (0.45, 0.6)):
            c.pane(x + w * dx - 0.006, y + h * dy - 0.006, x + w * dx + 0.006, y + h * dy + 0.006,
                   (255, 246, 206), 0.006)  # fmt: skip
    c.box(x + w / 2 - 0.007, y, x + w / 2 + 0.007, y + h, WHITE)
    c.box(x, y + h / 2 - 0.007, x + w, y + h / 2 + 0.007, WHITE)
    c.box(x - 0.035, y + h + 0.016, x + w + 0.035, y + h + 0.04, (244, 236, 224), 0.006)


def _curtains(c: Canvas, x: float, y: float, w: float, h: float, colour: RGB) -> None:
    c.box(x - 0.07, y - 0.05, x + w + 0.07, y - 0.034, (150, 108, 72), 0.006)
    for side in (-1, 1):
        a = x - 0.02 if side < 0 else x + w + 0.02
        top, hem = y - 0.04, y + h + 0.06
        c.shape([(a + side * 0.05, top), (a - side * 0.06, top), (a - side * 0.01, y + h * 0.7),
                 (a + side * 0.01, hem), (a + side * 0.06, hem)], colour)  # fmt: skip
        c.shape([(a + side * 0.05, top), (a + side * 0.015, top), (a + side * 0.035, hem),
                 (a + side * 0.06, hem)], mix(colour, (60, 30, 60), 0.16))  # fmt: skip


def _boards(c: Canvas, y: float, colour: RGB) -> None:
    """A wooden floor from `y` down."""
    c.gradient(c.light(mix(colour, (60, 30, 30), 0.12)), c.light(mix(colour, WHITE, 0.08)), y, 1.0)
    for k, line in enumerate((0.05, 0.12, 0.21)):
        c.box(0, y + line, 1, y + line + 0.005, mix(colour, (60, 30, 20), 0.22))
        for j in range(3):
            bx = (j + 0.5 * (k % 2)) / 3 + 0.12
            c.box(
                bx,
                y + line,
                bx + 0.005,
                min(y + (0.12, 0.21, 0.34)[k], 1),
                mix(colour, (60, 30, 20), 0.2),
            )


_SPINES: tuple[RGB, ...] = ((214, 96, 88), (92, 140, 190), (236, 186, 92), (120, 168, 112))


def _room(c: Canvas) -> None:
    walls: tuple[RGB, ...] = ((252, 228, 192), (208, 228, 238), (236, 216, 240), (222, 238, 208))
    wall = c.rng.choice(walls)
    kind = c.rng.choice(("parlour", "kitchen", "bedroom"))
    c.gradient(c.light(mix(wall, (120, 90, 90), 0.06)), c.light(mix(wall, WHITE, 0.25)), 0, 0.72)
    x = c.rng.choice((0.08, 0.60))
    other = 0.62 if x < 0.3 else 0.06
    cloth = c.rng.choice(((222, 108, 104), (104, 150, 200), (126, 176, 124), (240, 176, 92)))
    if kind == "bedroom":
        for k in range(7):  # wallpaper
            c.box(k / 7 + 0.05, 0, k / 7 + 0.075, 0.7, mix(wall, WHITE, 0.4))
        for k in range(8):  # bunting
            bx, by = k / 7, 0.035 + 0.02 * math.sin(math.pi * k / 7)
            c.shape([(bx - 0.035, by), (bx + 0.035, by), (bx, by + 0.065)],
                    (cloth, (250, 206, 96), (150, 190, 220))[k % 3])  # fmt: skip
    elif kind == "kitchen":
        for row in range(3):  # tiles above the worktop
            c.box(0, 0.485 + 0.045 * row, 1, 0.487 + 0.045 * row, mix(wall, (90, 110, 130), 0.18))
        c.gradient(c.light((246, 246, 242)), c.light((232, 234, 234)), 0.475, 0.6)
        for k in range(12):
            c.box(k / 12, 0.475, k / 12 + 0.004, 0.6, (214, 220, 224))
        c.box(0, 0.535, 1, 0.539, (214, 220, 224))
    _window(c, x, 0.13, 0.3, 0.28)
    if kind != "kitchen":
        _curtains(c, x, 0.13, 0.3, 0.28, cloth)
    if kind == "parlour":  # a shelf of books
        c.box(other, 0.14, other + 0.3, 0.64, (172, 120, 78), 0.01)
        for row in range(3):
            y = 0.16 + 0.16 * row
            c.box(other + 0.02, y, other + 0.28, y + 0.135, (126, 84, 56))
            bx = other + 0.028
            while bx < other + 0.24:
                w = c.rng.choice((0.022, 0.03))
                c.box(bx, y + c.rng.choice((0.02, 0.035)), bx + w - 0.003, y + 0.135,
                      c.rng.choice(_SPINES))  # fmt: skip
                bx += w
    elif kind == "kitchen":
        c.box(other, 0.26, other + 0.3, 0.28, (172, 120, 78), 0.006)  # a shelf with jars
        for k in range(4):
            jx = other + 0.025 + k * 0.068
            c.box(jx, 0.19, jx + 0.05, 0.262, ((236, 176, 96), (214, 110, 96), (160, 190, 130),
                  (242, 226, 190))[k], 0.012)  # fmt: skip
            c.box(jx + 0.004, 0.172, jx + 0.046, 0.196, (250, 246, 238), 0.006)
        c.box(0, 0.595, 1, 0.625, (214, 190, 160), 0.004)
        c.box(0, 0.622, 1, 0.72, (236, 226, 208))
        for k in range(5):
            c.box(k * 0.2 + 0.012, 0.635, k * 0.2 + 0.188, 0.715, (246, 240, 228), 0.008)
            c.disc(k * 0.2 + 0.1, 0.65, 0.009, (176, 136, 92))
    else:
        c.box(other + 0.04, 0.2, other + 0.26, 0.42, (188, 140, 92), 0.008)  # a picture of hills
        c.box(other + 0.06, 0.22, other + 0.24, 0.40, (190, 224, 240))
        c.shape([(other + 0.06, 0.40), (other + 0.06, 0.36), (other + 0.11, 0.31),
                 (other + 0.18, 0.40)], (150, 200, 130))  # fmt: skip
        c.shape([(other + 0.09, 0.40), (other + 0.18, 0.30), (other + 0.24, 0.35),
                 (other + 0.24, 0.40)], (116, 172, 108))  # fmt: skip
    c.box(0, 0.695, 1, 0.72, (252, 248, 242))
    _boards(c, 0.72, (204, 154, 106))
    if kind != "kitchen":
        rug = c.rng.choice(((208, 98, 98), (98, 138, 186), (118, 166, 118)))
        c.disc(0.5, 0.885, 0.40, mix(rug, (60, 30, 60), 0.15), 0.085)
        c.disc(0.5, 0.88, 0.39, rug, 0.08)
        c.disc(0.5, 0.88, 0.33, mix(rug, WHITE, 0.3), 0.065)
        c.disc(0.5, 0.88, 0.30, rug, 0.058)


def _space(c: Canvas) -> None:
    c.time = "day"  # no hour in space
    c.gradient((14, 12, 44), (56, 36, 108))
    hue = c.rng.choice(((120, 70, 180), (60, 100, 190), (190, 80, 140)))
    c.soft(c.rng.uniform(0.2, 0.8), c.rng.uniform(0.25, 0.5), 0.6, 0.28, hue, 0.4)
    c.soft(c.rng.uniform(0.2, 0.8), c.rng.uniform(0.1, 0.4), 0.35, 0.2, (90, 120, 220), 0.25)
    c.stars(26)
    x = c.rng.uniform(0.12, 0.88)
    ball = c.rng.choice(((240, 156, 96), (116, 178, 226), (196, 134, 206)))
    c.soft(x, 0.17, 0.19, 0.19, ball, 0.5)
    if c.rng.random() < 0.5:
        c.disc(x, 0.17, 0.16, mix(ball, WHITE, 0.5), 0.032)
    c.disc(x, 0.17, 0.095, ball)
    c.disc(x + 0.02, 0.19, 0.07, mix(ball, (40, 20, 80), 0.18))
    c.disc(x - 0.015, 0.155, 0.065, mix(ball, WHITE, 0.12))
    c.disc(1 - x + c.rng.uniform(-0.1, 0.1), c.rng.uniform(0.3, 0.42), 0.03,
           c.rng.choice(((150, 210, 180), (230, 200, 130))))  # fmt: skip
    c.hills(0.78, 0.03, (132, 128, 160), 0.9)
    c.hills(0.83, 0.015, (178, 174, 196), 0.8)
    for _ in range(4):  # craters
        cx, cy = c.rng.random(), c.rng.uniform(0.87, 0.96)
        c.disc(cx, cy, 0.062, (204, 200, 218), 0.026)
        c.disc(cx, cy + 0.004, 0.052, (138, 134, 160), 0.02)


def _underwater(c: Canvas) -> None:
    c.gradient(c.light((122, 214, 236)), c.light((24, 98, 166)))
    for k in range(3):  # rays from above
        x = 0.1 + 0.3 * k + c.rng.uniform(-0.06, 0.06)
        w = c.rng.uniform(0.05, 0.09)
        c.glass([(x, 0), (x + w, 0), (x + w * 2.4 - 0.1, 0.8), (x - 0.16, 0.8)],
                c.light((230, 250, 255)), 0.15)  # fmt: skip
    c.hills(0.74, 0.05, (44, 120, 176), 1.4)
    c.hills(0.82, 0.02, (214, 196, 148), 0.8)
    for side in (c.rng.uniform(0.0, 0.12), c.rng.uniform(0.88, 1.0)):  # plants
        for k in range(3):
            x, h = side + (k - 1) * 0.05, c.rng.uniform(0.2, 0.36)
            green = c.rng.choice(((46, 156, 112), (74, 178, 108)))
            for j in range(5):
                y = 0.88 - h * j / 5
                lean = 0.014 * (1 if j % 2 else -1)
                c.disc(x + lean, y - h * 0.1, 0.019 * (1.15 - j / 6), green, h * 0.14)
    for _ in range(3):  # corals
        x = c.rng.uniform(0.08, 0.92)
        pink = c.rng.choice(((240, 120, 130), (248, 168, 96), (196, 130, 206)))
        for dx, dy, r in ((-0.035, 0.0, 0.026), (0.0, -0.035, 0.03), (0.035, -0.005, 0.026)):
            c.disc(x + dx, 0.875 + dy, r, pink, r * 1.25)
        c.disc(x, 0.90, 0.05, mix(pink, (90, 40, 90), 0.15), 0.024)
    for _ in range(8):
        x, y, r = c.rng.random(), c.rng.uniform(0.05, 0.7), c.rng.uniform(0.008, 0.018)
        c.disc(x, y, r, (190, 234, 246))
        c.disc(x - r * 0.3, y - r * 0.3, r * 0.35, WHITE)
    c.pebbles(3, (196, 180, 160), 0.92)


def _cave(c: Canvas) -> None:
    c.gradient(c.light((104, 90, 104)), c.light((66, 56, 74)))
    top, low = SKY[c.time]
    x = c.rng.choice((0.25, 0.5, 0.75))
    c.soft(x, 0.5, 0.42, 0.5, mix(low, (255, 236, 200), 0.5), 0.45)
    for grow, colour in ((0.02, c.light((128, 112, 120))), (0.0, mix(top, low, 0.55))):
        c.pane(x - 0.18 - grow, 0.24 - grow, x + 0.18 + grow, 0.86, colour, 0.18)
    c.pane(x - 0.18, 0.58, x + 0.18, 0.86, mix(mix(top, low, 0.8), (120, 180, 120), 0.35))
    for k in range(7):
        px = (k + c.rng.uniform(0.2, 0.8)) / 7
        h = c.rng.uniform(0.08, 0.2)
        c.shape([(px - 0.055, 0), (px + 0.055, 0), (px, h)], (62, 52, 66))
        c.shape([(px - 0.055, 0), (px - 0.01, 0), (px, h)], (84, 72, 86))
    c.ground(0.72, (132, 116, 120))
    for side in (c.rng.uniform(0.03, 0.12), c.rng.uniform(0.88, 0.97)):  # crystals
        hue = c.rng.choice(((126, 206, 236), (206, 140, 232), (140, 226, 180)))
        c.soft(side, 0.68, 0.16, 0.16, hue, 0.45)
        for dx, h, lean in ((-0.04, 0.1, -0.03), (0.0, 0.17, 0.0), (0.045, 0.12, 0.03)):
            px, py = side + dx, 0.745
            c.shape([(px - 0.022, py), (px + 0.022, py), (px + 0.02 + lean, py - h * 0.75),
                     (px + lean, py - h), (px - 0.02 + lean, py - h * 0.75)], hue)  # fmt: skip
            c.shape([(px - 0.022, py), (px, py), (px + lean, py - h),
                     (px - 0.02 + lean, py - h * 0.75)], mix(hue, WHITE, 0.45))  # fmt: skip
    c.pebbles(5, (158, 142, 144))


def _playground(c: Canvas) -> None:
    c.sky()
    c.hills(0.49, 0.04, (136, 192, 140), 1.0, distance=0.45)
    for k in range(7):
        c.crown((k + c.rng.uniform(0.1, 0.9)) / 7, 0.60, 0.07, (110, 180, 108))
    c.ground(0.635, (158, 212, 110))
    c.disc(0.5, 0.83, 0.46, (244, 222, 166), 0.10)  # sand
    x = c.rng.choice((0.2, 0.8))
    side = 1 if x < 0.5 else -1
    c.soft(x, 0.70, 0.16, 0.025, c.light((80, 120, 60)), 0.6)
    for dx in (-0.055, 0.03):  # the slide
        c.box(x + dx, 0.34, x + dx + 0.022, 0.70, (228, 84, 76), 0.008)
    for k in range(5):
        c.box(x - 0.05, 0.42 + 0.055 * k, x + 0.05, 0.433 + 0.055 * k, (240, 130, 110), 0.004)
    c.shape([(x - 0.085, 0.35), (x, 0.255), (x + 0.085, 0.35)], (72, 148, 206))
    c.shape([(x + 0.04 * side, 0.415), (x + 0.075 * side, 0.40), (x + 0.33 * side, 0.70),
             (x + 0.24 * side, 0.70)], (252, 200, 70))  # fmt: skip
    c.shape([(x + 0.075 * side, 0.40), (x + 0.095 * side, 0.40), (x + 0.35 * side, 0.69),
             (x + 0.33 * side, 0.70)], (226, 158, 50))  # fmt: skip
    other = 1 - x
    for lean in (-1, 1):  # the swing
        top = other + lean * 0.115
        c.shape([(top - 0.011, 0.34), (top + 0.011, 0.34), (top + lean * 0.045 + 0.013, 0.70),
                 (top + lean * 0.045 - 0.013, 0.70)], (86, 134, 204))  # fmt: skip
    c.box(other - 0.14, 0.325, other + 0.14, 0.355, (86, 134, 204), 0.014)
    for dx in (-0.05, 0.05):
        c.box(other + dx - 0.004, 0.355, other + dx + 0.004, 0.58, (120, 110, 112))
    c.box(other - 0.065, 0.575, other + 0.065, 0.603, (168, 108, 66), 0.01)
    c.tufts(6, (116, 180, 84), 0.92)


def _market(c: Canvas) -> None:
    c.sky()
    walls: tuple[RGB, ...] = ((240, 214, 178), (226, 190, 176), (214, 214, 196))
    x = -0.02
    while x < 1:  # houses behind the stalls
        w, top = c.rng.uniform(0.2, 0.28), c.rng.uniform(0.26, 0.36)
        wall = c.rng.choice(walls)
        c.box(x, top, x + w, 0.7, wall)
        c.shape([(x - 0.02, top), (x + w + 0.02, top), (x + w / 2, top - 0.1)], (190, 108, 88))
        c.pane(x + w / 2 - 0.03, top + 0.03, x + w / 2 + 0.03, top + 0.1,
               (255, 224, 140) if c.time != "day" else (190, 220, 234), 0.03)  # fmt: skip
        x += w
    c.gradient(c.light((222, 206, 182)), c.light((198, 180, 156)), 0.68, 1.0)
    stripes: list[RGB] = [(224, 86, 80), (70, 148, 186), (96, 168, 102), (238, 168, 70)]
    c.rng.shuffle(stripes)
    for k in range(2):
        x, colour = 0.05 + k * 0.49, stripes[k]
        c.soft(x + 0.2, 0.725, 0.26, 0.03, c.light((100, 80, 70)), 0.55)
        for px in (x + 0.02, x + 0.38):
            c.box(px - 0.01, 0.40, px + 0.01, 0.72, (156, 114, 78))
        c.box(x + 0.02, 0.42, x + 0.38, 0.58, mix((120, 90, 70), colour, 0.2))
        for i in range(6):  # the awning
            a = x - 0.01 + i * 0.07
            tone = colour if i % 2 else (252, 248, 240)
            c.box(a, 0.30, a + 0.0705, 0.42, tone)
            c.disc(a + 0.035, 0.42, 0.035, tone, 0.028)
        c.box(x - 0.01, 0.285, x + 0.41, 0.315, mix(colour, (60, 20, 40), 0.2), 0.008)
        for i in range(6):  # the wares
            r = 0.03
            tone = c.rng.choice(((236, 92, 72), (250, 194, 74), (124, 188, 84), (176, 110, 190)))
            c.disc(x + 0.045 + i * 0.062, 0.575, r, tone)
            c.disc(x + 0.037 + i * 0.062, 0.565, r * 0.4, mix(tone, WHITE, 0.4))
        c.box(x, 0.59, x + 0.40, 0.725, (186, 136, 90), 0.006)
        for i in range(4):
            c.box(x + 0.1 * i, 0.59, x + 0.1 * i + 0.005, 0.725, (152, 106, 70))
        c.box(x - 0.01, 0.585, x + 0.41, 0.61, (206, 158, 108), 0.006)
    for _ in range(7):  # cobbles
        x, y = c.rng.random(), c.rng.uniform(0.78, 0.97)
        c.disc(x, y, 0.05, (186, 168, 146), 0.016)


def _school(c: Canvas) -> None:
    wall = c.rng.choice(((252, 236, 196), (222, 236, 226), (226, 232, 246)))
    c.gradient(c.light(mix(wall, (140, 110, 90), 0.05)), c.light(mix(wall, WHITE, 0.3)), 0, 0.72)
    c.box(0.16, 0.09, 0.84, 0.49, (164, 116, 76), 0.012)
    c.box(0.18, 0.11, 0.82, 0.47, (62, 120, 94))
    c.box(0.18, 0.11, 0.82, 0.13, (50, 102, 82))
    chalk: RGB = (232, 240, 232)
    kind = c.rng.randint(0, 2)
    if kind == 0:
        for k in range(3):
            x = c.rng.uniform(0.24, 0.36)
            c.box(x, 0.18 + 0.09 * k, x + c.rng.uniform(0.2, 0.38), 0.196 + 0.09 * k, chalk, 0.006)
    elif kind == 1:  # a house and a sun in chalk
        c.shape([(0.30, 0.30), (0.46, 0.30), (0.38, 0.19)], (244, 190, 170))
        c.box(0.32, 0.30, 0.44, 0.42, chalk)
        c.disc(0.62, 0.22, 0.05, (250, 228, 140))
        c.box(0.24, 0.42, 0.76, 0.432, (170, 220, 170), 0.004)
    else:  # sums
        for k in range(3):
            c.box(0.28 + 0.17 * k, 0.22, 0.30 + 0.17 * k, 0.36, chalk, 0.006)
        for x in (0.36, 0.53):
            c.box(x, 0.285, x + 0.05, 0.297, (250, 220, 150), 0.004)
            c.box(x + 0.019, 0.264, x + 0.031, 0.318, (250, 220, 150), 0.004)
    c.box(0.16, 0.485, 0.84, 0.51, (186, 138, 94), 0.006)
    for x, tone in ((0.02, (240, 150, 130)), (0.88, (150, 190, 226))):
        c.box(x, 0.16, x + 0.10, 0.30, WHITE, 0.004)
        c.disc(x + 0.05, 0.23, 0.032, tone)
    c.box(0, 0.695, 1, 0.72, (244, 236, 222))
    _boards(c, 0.72, (216, 172, 122))
    for x in (0.11, 0.89):
        c.soft(x, 0.79, 0.14, 0.025, c.light((110, 70, 50)), 0.55)
        for dx in (-0.085, 0.065):
            c.box(x + dx, 0.645, x + dx + 0.02, 0.79, (150, 102, 64))
        c.box(x - 0.115, 0.60, x + 0.115, 0.65, (202, 142, 84), 0.008)
        c.box(x - 0.115, 0.635, x + 0.115, 0.65, (170, 114, 68), 0.006)


def _castle_hall(c: Canvas) -> None:
    c.gradient(c.light((172, 164, 186)), c.light((212, 204, 214)), 0, 0.74)
    for row in range(6):  # big stones
        for k in range(4):
            x, y = k / 4 + 0.125 * (row % 2), 0.02 + 0.12 * row
            c.box(x, y, x + 0.12, y + 0.05, (192, 184, 202), 0.01)
    top, low = SKY[c.time]
    for x in (0.24, 0.5, 0.76):
        c.soft(x, 0.3, 0.14, 0.26, mix(low, (255, 244, 214), 0.5), 0.45)
        c.pane(x - 0.072, 0.12, x + 0.072, 0.47, c.light((146, 136, 160)), 0.07)
        c.pane(x - 0.058, 0.135, x + 0.058, 0.46, mix(top, low, 0.5), 0.058)
        c.pane(x - 0.058, 0.33, x + 0.058, 0.46, mix(top, low, 0.85))
        c.pane(x - 0.006, 0.14, x + 0.006, 0.46, c.light((146, 136, 160)))
        c.pane(x - 0.058, 0.30, x + 0.058, 0.312, c.light((146, 136, 160)))
    banner = c.rng.choice(((198, 62, 74), (84, 96, 176), (62, 136, 98)))
    for x in (0.37, 0.63):
        c.shape([(x - 0.05, 0.05), (x + 0.05, 0.05), (x + 0.05, 0.42), (x, 0.48), (x - 0.05, 0.42)],
                banner)  # fmt: skip
        c.shape([(x + 0.02, 0.05), (x + 0.05, 0.05), (x + 0.05, 0.42), (x + 0.02, 0.456)],
                mix(banner, (40, 10, 40), 0.2))  # fmt: skip
        c.disc(x, 0.22, 0.026, (250, 210, 96))
        c.box(x - 0.06, 0.035, x + 0.06, 0.055, (214, 170, 80), 0.008)
    for x in (0.05, 0.95):
        c.box(x - 0.06, 0, x + 0.06, 0.74, (176, 166, 188))
        c.box(x + 0.02, 0, x + 0.06, 0.74, (150, 140, 166))
        c.box(x - 0.08, 0.0, x + 0.08, 0.05, (196, 188, 204), 0.01)
        c.box(x - 0.08, 0.70, x + 0.08, 0.755, (196, 188, 204), 0.01)
        glow: RGB = (255, 214, 130)
        c.soft(x, 0.36, 0.16, 0.16, glow, 0.55)
        c.pane(x - 0.012, 0.38, x + 0.012, 0.46, (120, 84, 60), 0.006)
        c.pane(x - 0.02, 0.325, x + 0.02, 0.39, (255, 176, 70), 0.02)
        c.pane(x - 0.01, 0.35, x + 0.01, 0.388, (255, 236, 160), 0.01)
    c.gradient(c.light((150, 130, 128)), c.light((184, 164, 150)), 0.74, 1.0)
    for y in (0.80, 0.88):
        c.box(0, y, 1, y + 0.005, (140, 122, 120))
    gold, red = (236, 186, 88), (196, 66, 74)
    c.shape([(0.35, 0.74), (0.65, 0.74), (0.83, 1), (0.17, 1)], gold)
    c.area([(0.365, 0.74), (0.635, 0.74), (0.80, 1), (0.20, 1)],
           c.light(mix(red, (60, 10, 40), 0.15)), c.light(red))  # fmt: skip


def _road(c: Canvas) -> None:
    c.sky()
    c.hills(0.44, 0.05, (124, 176, 150), 1.0, distance=0.5)
    c.hills(0.52, 0.03, (146, 200, 118), 1.3, distance=0.2)
    for x in (c.rng.uniform(0.02, 0.1), c.rng.uniform(0.18, 0.28), c.rng.uniform(0.8, 0.96)):
        c.tree(x, 0.645, c.rng.uniform(0.24, 0.3), (98, 172, 88))
    c.ground(0.62, (156, 208, 110))
    b = c.rng.uniform(-0.1, 0.1)
    edge = [
        (0.455 + b, 0.62),
        (0.545 + b, 0.62),
        (0.60 + b / 2, 0.74),
        (0.93, 1),
        (0.07, 1),
        (0.38 + b / 2, 0.74),
    ]
    way = [
        (0.465 + b, 0.62),
        (0.535 + b, 0.62),
        (0.585 + b / 2, 0.74),
        (0.88, 1),
        (0.12, 1),
        (0.395 + b / 2, 0.74),
    ]
    c.area(edge, c.light((186, 200, 118)), c.light((170, 176, 104)))
    c.area(way, c.light((236, 214, 172)), c.light((214, 186, 142)))
    for side in (0.04, 0.96):  # a fence along it
        for k in range(3):
            px, py, h = side + (0.5 - side) * 0.2 * k, 0.80 - 0.055 * k, 0.1 - 0.018 * k
            c.box(px - 0.009, py - h, px + 0.009, py, (184, 140, 96), 0.005)
    c.tufts(6, (116, 180, 82))
    c.pebbles(3, (206, 192, 170))
    for x in (c.rng.uniform(0.0, 0.1), c.rng.uniform(0.9, 1.0)):
        c.bloom(x, c.rng.uniform(0.86, 0.93), 0.02, c.rng.choice(_PETALS))


def _sky_place(c: Canvas) -> None:
    c.sky(1.0)
    for _ in range(2):
        c.cloud(c.rng.random(), c.rng.uniform(0.3, 0.45), c.rng.uniform(0.05, 0.065))
    for _ in range(2):
        c.cloud(c.rng.random(), c.rng.uniform(0.55, 0.75), c.rng.uniform(0.08, 0.11))
    low = SKY[c.time][1]
    for depth, y in ((0.35, 0.93), (0.0, 0.99)):  # a sea of clouds below
        body = mix(mix(WHITE, low, 0.2 + depth), (60, 70, 130), 0.45 if c.time == "night" else 0.0)
        for k in range(7):
            x = k / 6 + c.rng.uniform(-0.05, 0.05)
            r = c.rng.uniform(0.10, 0.13)
            c.pane(x - r, y - r * 0.7, x + r, y + r, body, r * 0.8)


PLACE_PAINTERS: dict[str, Callable[[Canvas], None]] = {
    "forest": _forest, "jungle": _jungle, "beach": _beach, "snow": _snow, "desert": _desert,
    "river": _river, "lake": _lake, "city": _city, "village": _village, "farm": _farm,
    "mountains": _mountains, "garden": _garden, "room": _room, "space": _space,
    "underwater": _underwater, "cave": _cave, "playground": _playground, "market": _market,
    "school": _school, "castle_hall": _castle_hall, "road": _road, "sky": _sky_place,
}  # fmt: skip
