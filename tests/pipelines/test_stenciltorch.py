"""StencilTorch: what is outside the mask stays, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pipelines.colorize import live, stenciltorch
from pipelines.colorize.hints import cover
from pipelines.colorize.stenciltorch import StencilTorchPipeline, look
from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.weights import save_model
from tests.tiny_colorizer import config, drawing, generator, strokes

PAINT = StencilTorchPipeline(generator(4), low_precision=False)


def noise(width: int, height: int, seed: int = 1) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def box(width: int, height: int, corners: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).rectangle(corners, fill=255)
    return mask


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.floats(0, 1), st.integers(0, 10_000), st.booleans()
)
def test_outside_the_mask_nothing_changes(
    width: int, height: int, share: float, seed: int, hinted: bool
) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.random((height, width)) < share
    inside.flat[rng.integers(inside.size)] = True  # never empty
    before = noise(width, height, seed)
    after = PAINT(
        drawing(width, height), strokes(width, height) if hinted else None,
        Image.fromarray(inside.astype(np.uint8) * 255), before,
    )  # fmt: skip
    assert after.mode == "RGB"
    assert after.size == before.size
    assert np.array_equal(np.asarray(after)[~inside], np.asarray(before)[~inside])


def test_inside_the_mask_strokes_count_outside_they_do_not() -> None:
    before = noise(96, 96)
    around = box(96, 96, (10, 10, 60, 60))
    apart = box(96, 96, (70, 0, 95, 30))
    plain = PAINT(drawing(96, 96), None, around, before)
    assert plain != before
    assert PAINT(drawing(96, 96), strokes(96, 96), around, before) != plain
    kept = PAINT(drawing(96, 96), None, apart, before)
    assert PAINT(drawing(96, 96), strokes(96, 96), apart, before) == kept


def test_what_lies_under_the_mask_is_not_seen_and_its_surroundings_are() -> None:
    mask = box(64, 64, (16, 16, 47, 47))
    before = noise(64, 64)
    other = before.copy()
    other.paste((255, 0, 255), (16, 16, 48, 48))
    expected = PAINT(drawing(64, 64), None, mask, before)
    assert PAINT(drawing(64, 64), None, mask, other) == expected
    other.paste((0, 255, 0), (0, 0, 16, 64))
    inner = (16, 16, 48, 48)
    assert PAINT(drawing(64, 64), None, mask, other).crop(inner) != expected.crop(inner)


def test_everything_masked_or_no_mask_is_the_same() -> None:
    everywhere = Image.new("L", (48, 48), 255)
    result = PAINT(drawing(48, 48), None, None, noise(48, 48))
    assert PAINT(drawing(48, 48), None, everywhere, noise(48, 48, 2)) == result
    assert PAINT(drawing(48, 48)) == result  # no picture yet


def test_without_a_picture_the_drawing_stands_outside() -> None:
    mask = box(48, 48, (0, 0, 20, 20))
    after = np.asarray(PAINT(drawing(48, 48), None, mask))
    lines = np.asarray(drawing(48, 48).convert("RGB"))
    outside = np.asarray(mask) == 0
    assert np.array_equal(after[outside], lines[outside])


def test_transparent_parts_of_the_picture_are_white() -> None:
    clear = Image.new("RGBA", (32, 32), (10, 20, 30, 0))
    after = PAINT(drawing(32, 32), None, box(32, 32, (0, 0, 8, 8)), clear)
    assert after.getpixel((31, 31)) == (255, 255, 255)


def test_a_mask_of_nothing_and_other_sizes_are_said() -> None:
    with pytest.raises(InvalidInput, match="mask is empty"):
        PAINT(drawing(32, 32), None, Image.new("L", (32, 32), 0), noise(32, 32))
    with pytest.raises(InvalidInput, match="40x32"):
        PAINT(drawing(32, 32), None, None, noise(40, 32))


def test_rounds_go_on_from_each_other() -> None:
    first = PAINT(drawing(64, 64), None, box(64, 64, (0, 0, 31, 63)), noise(64, 64))
    second = PAINT(drawing(64, 64), None, box(64, 64, (32, 0, 63, 63)), first)
    assert second.crop((0, 0, 32, 64)) == first.crop((0, 0, 32, 64))


def test_of_a_large_picture_only_the_mask_and_its_surroundings_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stenciltorch, "MAX_PIXELS", 64**2)
    monkeypatch.setattr(stenciltorch, "CONTEXT", 32)
    inside = np.zeros((200, 300), np.bool_)
    inside[90:120, 250:] = True
    assert look(inside, 300, 200) == (48, 152, 208, 300)
    assert look(inside[:60, 200:260], 60, 60) == (0, 60, 0, 60)
    before = noise(300, 200)
    mask = Image.fromarray(inside.astype(np.uint8) * 255)
    after = np.asarray(PAINT(drawing(300, 200), strokes(300, 200), mask, before))
    assert np.array_equal(after[~inside], np.asarray(before)[~inside])
    assert not np.array_equal(after[inside], np.asarray(before)[inside])
    monkeypatch.setattr(live, "MAX_PIXELS", 64**2)  # and in tiles
    monkeypatch.setattr(live, "TILE", 80)
    monkeypatch.setattr(live, "OVERLAP", 16)
    tiled = np.asarray(PAINT(drawing(300, 200), strokes(300, 200), mask, before))
    assert np.array_equal(tiled[~inside], np.asarray(before)[~inside])


def test_cells_count_where_something_of_them_is_masked() -> None:
    inside = np.zeros((6, 9), np.bool_)
    inside[5, 8] = inside[0, 3] = True
    assert cover(inside).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_weights_come_back_and_the_other_kind_is_refused(tmp_path: Path) -> None:
    save_model(generator(4), config(4), tmp_path / "four")
    loaded = StencilTorchPipeline.from_pretrained(str(tmp_path / "four"), device="cpu")
    assert loaded(drawing(32, 32)).size == (32, 32)
    save_model(generator(1), config(1), tmp_path / "one")
    with pytest.raises(ModelUnavailable, match="stenciltorch"):
        StencilTorchPipeline.from_pretrained(str(tmp_path / "one"), device="cpu")
