"""Lines are drawn where a picture has edges, and only there."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from pipelines.colorize.lineart import extract, remove_specks


def disc(background: tuple[int, int, int], colour: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (160, 120), background)
    ImageDraw.Draw(picture).ellipse((40, 20, 120, 100), fill=colour)
    return picture


def on_the_circle(lineart: Image.Image) -> tuple[float, float]:
    """Share of the circle that is drawn, and share of the rest that is."""
    lines = np.asarray(lineart) < 128
    y, x = np.mgrid[0 : lineart.height, 0 : lineart.width]
    away = np.abs(np.hypot(x - 80, y - 60) - 40)
    angle = (np.degrees(np.arctan2(y - 60, x - 80)) // 5).astype(int)
    drawn = {a for a in np.unique(angle) if lines[(angle == a) & (away < 4)].any()}
    return len(drawn) / len(np.unique(angle)), float(lines[away >= 4].mean())


def test_an_edge_becomes_a_line() -> None:
    lineart = extract(disc((250, 250, 250), (200, 40, 40)))
    assert lineart.mode == "L"
    assert lineart.size == (160, 120)
    drawn, elsewhere = on_the_circle(lineart)
    assert drawn == 1
    assert elsewhere == 0


def test_colours_of_one_brightness_are_told_apart() -> None:
    picture = disc((200, 60, 60), (60, 129, 60))  # both of brightness 102
    assert on_the_circle(extract(picture))[0] > 0.95


def test_edges_in_the_dark_are_drawn() -> None:
    assert on_the_circle(extract(disc((12, 12, 20), (44, 40, 60)), strength=0.7))[0] > 0.9


def test_a_pen_stroke_is_one_line() -> None:
    picture = Image.new("RGB", (100, 60), "white")
    ImageDraw.Draw(picture).line((0, 30, 99, 30), fill="black", width=3)
    column = np.asarray(extract(picture))[:, 50] < 128
    assert 2 <= column.sum() <= 5
    assert np.diff(np.flatnonzero(column)).max() == 1  # not its two sides


def test_strength_draws_more_lines() -> None:
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.integers(-40, 41, 12)) % 200 + 30
    picture = Image.fromarray(np.repeat(steps.astype(np.uint8), 12)[None].repeat(80, 0))
    inks = [float((np.asarray(extract(picture, strength=s)) < 128).mean()) for s in (0, 0.5, 1)]
    assert inks[0] < inks[1] <= inks[2]
    assert inks[2] > 1.2 * inks[0]


def test_an_empty_picture_has_no_lines() -> None:
    rng = np.random.default_rng(0)
    noise = (200 + rng.normal(0, 1, (64, 64, 3))).astype(np.uint8)
    for picture in (Image.new("RGB", (1, 1)), Image.new("RGB", (64, 64), "navy"), noise):
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        assert np.asarray(extract(image, strength=1)).min() == 255


def test_lines_grow_with_the_picture() -> None:
    small = disc((250, 250, 250), (200, 40, 40)).resize((640, 480), Image.Resampling.NEAREST)
    large = small.resize((2560, 1920), Image.Resampling.NEAREST)
    shrunk = extract(large).resize(small.size, Image.Resampling.BOX)
    ink, again = (float(255 - np.asarray(i, np.float32).mean()) for i in (extract(small), shrunk))
    assert 0.5 < again / ink < 2


def test_specks_are_removed() -> None:
    ink = np.zeros((20, 20), np.uint8)
    ink[2, 2] = ink[2, 3] = 255
    ink[10, 2:18] = 255
    kept = remove_specks(ink, 2)
    assert kept[10, 2:18].all()
    assert kept.sum() == 16 * 255
