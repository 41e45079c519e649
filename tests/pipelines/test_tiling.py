"""Tiles cover a picture, overlap, and leave no seams."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.colorize.tiling import Box, blend, tiles


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([(256, 32), (1024, 128)]))
def test_tiles_cover_and_overlap(width: int, height: int, shape: tuple[int, int]) -> None:
    side, overlap = shape
    boxes = tiles(width, height, side, overlap)
    assert boxes[0][:2] == (0, 0)
    assert boxes[-1][2:] == (width, height)
    assert all(b.left % 16 == 0 and b.top % 16 == 0 for b in boxes)
    assert all(0 < b.width <= side and 0 < b.height <= side for b in boxes)
    for low, high in ((0, 2), (1, 3)):
        spans = sorted({(b[low], b[high]) for b in boxes})
        assert len(spans) * len({(b[1 - low], b[5 - high]) for b in boxes}) == len(boxes)
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert end - start >= overlap


def test_a_small_picture_is_one_tile() -> None:
    assert tiles(50, 240, 256, 32) == [Box(0, 0, 50, 240)]


def laid(reference: NDArray[np.uint8], boxes: list[Box], *, shade: bool) -> NDArray[np.uint8]:
    """The reference put together again from its tiles, every other one `shade`d by 60."""
    canvas = np.full_like(reference, 77)
    for n, b in enumerate(boxes):
        tile = reference[b.top : b.bottom, b.left : b.right].copy()
        blend(canvas, tile + np.uint8(60 * (n % 2) * shade), b, boxes[:n])
    return canvas


@pytest.mark.parametrize("size", [(300, 500), (301, 97), (64, 700)])
def test_tiles_that_agree_give_the_picture(size: tuple[int, int]) -> None:
    reference = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    boxes = tiles(size[1], size[0], 128, 32)
    assert len(boxes) > 2
    assert np.array_equal(laid(reference, boxes, shade=False), reference)


def test_tiles_that_disagree_fade_into_each_other() -> None:
    flat = np.full((400, 600, 3), 100, np.uint8)
    result = laid(flat, tiles(600, 400, 128, 32), shade=True).astype(int)
    assert result.min() == 100
    assert result.max() == 160
    for axis in (0, 1):  # 60 levels over at least 32 pixels, and rounding
        assert np.abs(np.diff(result, axis=axis)).max() <= 60 / 32 + 3
