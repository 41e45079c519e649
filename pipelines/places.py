"""The 22 places: a background for each, drawn far to near. Those indoors: `interiors.py`."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.canvas import RGB, SKY, WHITE, Canvas, mix
from pipelines.interiors import (
    paint_castle_hall,
    paint_cave,
    paint_room,
    paint_school,
    paint_space,
    paint_underwater,
)

INDOORS = frozenset({"room", "cave", "school", "castle_hall", "underwater", "space"})
"""Places that the weather does not reach."""

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
    "mountains": _mountains, "garden": _garden, "room": paint_room, "space": paint_space,
    "underwater": paint_underwater, "cave": paint_cave, "playground": _playground,
    "market": _market, "school": paint_school, "castle_hall": paint_castle_hall, "road": _road,
    "sky": _sky_place,
}  # fmt: skip
