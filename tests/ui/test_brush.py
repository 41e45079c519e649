"""What is brushed over a picture is a mask, whatever a browser sends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from ui.brush import MOST_POINTS, brushed, strokes_of, value_of

NAMES = st.sampled_from(["strokes", "size", "erase", "points"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def stroke(*points: tuple[float, float], size: float = 0.1, **more: Any) -> dict[str, Any]:
    return {"size": size, "erase": False, "points": [list(p) for p in points], **more}


def test_where_one_brushes_the_mask_is_white() -> None:
    mask = brushed(value_of("page.png", [stroke((0.25, 0.5), (0.75, 0.5))]), (200, 100))
    assert mask is not None
    assert (mask.mode, mask.size) == ("L", (200, 100))
    seen = [mask.getpixel(p) for p in ((50, 50), (100, 58), (155, 50), (100, 65), (165, 50))]
    assert seen == [255, 255, 255, 0, 0]


def test_an_eraser_takes_away() -> None:
    strokes = [stroke((0, 0.5), (1, 0.5)), stroke((0.5, 0.5), size=0.3, erase=True)]
    mask = brushed({"strokes": strokes}, (100, 100))
    assert mask is not None
    assert [mask.getpixel((x, 50)) for x in (10, 50, 90)] == [255, 0, 255]
    strokes.append(stroke((0, 0), (1, 1), size=1, erase=True))
    assert brushed({"strokes": strokes}, (100, 100)) is None


def test_a_touch_is_a_dot() -> None:
    mask = brushed({"strokes": [stroke((1, 1), size=0)]}, (40, 40))
    assert mask is not None
    assert mask.getbbox() == (39, 39, 40, 40)


def test_more_than_anybody_draws_is_refused() -> None:
    full = stroke(*[(0.5, 0.5)] * MOST_POINTS, size=0.01)
    assert brushed({"strokes": [full]}, (8, 8)) is not None
    with pytest.raises(InvalidInput, match="clear it"):
        brushed({"strokes": [full, stroke((0, 0))]}, (8, 8))


@given(ANYTHING)
def test_whatever_a_browser_sends_is_read(value: object) -> None:
    mask = brushed(value, (16, 12))
    assert mask is None or mask.size == (16, 12)
    assert isinstance(strokes_of(value), list)
    assert brushed({"strokes": [{"size": value, "points": [[value, 0.5]]}]}, (4, 4)) is None or (
        isinstance(value, int | float)
    )
