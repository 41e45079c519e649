"""Hints, masks and palettes read as a person drew them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pipelines.colorize.hints import CELL, hint_layer, hint_map, palette, paste, read_mask
from pipelines.errors import InvalidInput


def layer(width: int, height: int) -> Image.Image:
    return Image.new("RGBA", (width, height))


def test_no_hints() -> None:
    for hints in (None, layer(37, 20)):
        cells = hint_map(hints, 37, 20)
        assert cells.shape == (4, 5, 10)
        assert cells.dtype == np.float32
        assert not cells.any()


def test_a_stroke_keeps_its_colour_and_place() -> None:
    hints = layer(64, 32)
    ImageDraw.Draw(hints).line((8, 16, 40, 16), fill=(255, 0, 128, 255), width=1)
    cells = hint_map(hints, 64, 32)
    assert cells[3].sum() == 9  # one row of cells from x = 8 to x = 40
    assert cells[3, 4, 2:11].all()
    colours = cells[:3, cells[3] > 0]
    assert np.allclose(colours, np.array([[1], [-1], [128 / 127.5 - 1]]), atol=1e-6)


def test_colours_side_by_side_are_not_mixed() -> None:
    hints = layer(8, 8)
    hints.paste((255, 0, 0, 255), (0, 0, 5, 8))
    hints.paste((0, 0, 255, 255), (5, 0, 8, 8))
    cells = hint_map(hints, 8, 8)
    for rgb in cells[:3].reshape(3, -1).T:
        assert tuple(rgb) in {(1, -1, -1), (-1, -1, 1)}


def test_faint_paint_is_no_hint() -> None:
    hints = Image.new("RGBA", (16, 16), (10, 20, 30, 127))
    assert not hint_map(hints, 16, 16).any()


def test_strokes_outside_the_picture_are_left_out() -> None:
    hints = layer(100, 100)
    hints.paste((0, 255, 0, 255), (30, 0, 100, 100))
    assert not hint_map(hints, 30, 30).any()  # also not in the cells that stick out at 30..32
    assert hint_map(hints, 31, 30)[3].sum() == 8


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_saved_hints_are_read_back(width: int, height: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
    pixels[..., 3] = (rng.random((height, width)) < 0.1) * 255
    cells = hint_map(Image.fromarray(pixels), width, height)
    saved = hint_layer(cells, width, height)
    assert saved.size == (width, height)
    assert np.array_equal(hint_map(saved, width, height), cells)


def test_masks() -> None:
    assert read_mask(None, 5, 3).all()
    mask = Image.new("L", (4, 4))
    mask.putpixel((1, 2), 255)
    inside = read_mask(mask, 6, 6)
    assert inside.shape == (6, 6)
    assert inside.sum() == 1
    assert inside[2, 1]
    with pytest.raises(InvalidInput, match="empty"):
        read_mask(mask, 6, 2)  # what is masked lies outside


def test_paste_keeps_what_is_outside() -> None:
    rng = np.random.default_rng(0)
    old, new = (Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)) for _ in "ab")
    mask = rng.random((9, 7)) < 0.5
    pasted = np.asarray(paste(new, old, mask))
    assert np.array_equal(pasted[~mask], np.asarray(old)[~mask])
    assert np.array_equal(pasted[mask], np.asarray(new)[mask])


def test_palette_names_the_colours_that_are_there() -> None:
    picture = Image.new("RGB", (90, 60), (250, 240, 200))
    picture.paste((200, 30, 40), (0, 0, 45, 60))
    picture.paste((20, 60, 200), (80, 50, 88, 58))  # small, but it must not be lost
    colours = palette(picture, 8)
    assert len(colours) == 3
    for there in ((200, 30, 40), (250, 240, 200), (20, 60, 200)):
        assert min(max(abs(a - b) for a, b in zip(there, c, strict=True)) for c in colours) <= 2
    assert palette(picture, 8) == colours
    assert len(palette(Image.new("RGB", (1, 1)), 12)) == 1


def test_cells_are_of_the_size_told() -> None:
    assert hint_map(None, 512, 256).shape == (4, 256 // CELL, 512 // CELL)
