"""The six places under a roof, under ground, under water or beyond the sky."""

from __future__ import annotations

import math

from pipelines.canvas import RGB, SKY, WHITE, Canvas, mix


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


def paint_room(c: Canvas) -> None:
    c.lamplight()
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


def paint_space(c: Canvas) -> None:
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


def paint_underwater(c: Canvas) -> None:
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


def paint_cave(c: Canvas) -> None:
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


def paint_school(c: Canvas) -> None:
    c.lamplight()
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


def paint_castle_hall(c: Canvas) -> None:
    c.lamplight()
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
