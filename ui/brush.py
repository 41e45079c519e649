"""Brushing over a part of a picture, written in `assets/brush.js`: a component of our own.

Its value is {"picture": address, "strokes": [{"size", "erase", "points": [[x, y], ...]}, ...]},
all lengths as shares of the picture: x and y of its sides, the brush's width of its longer one.
A third of the code that the page loads would be that of Gradio's own image editor, which shows no
strokes that it is handed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import gradio as gr
from PIL import Image, ImageDraw

from pipelines.errors import InvalidInput
from ui.theme import asset

MOST_POINTS = 20_000
"""Of all strokes together: minutes of brushing."""


def component() -> gr.HTML:
    """A brush without a picture under it."""
    return gr.HTML(
        value_of("", ()),
        html_template='<div class="part"></div>',
        js_on_load=asset("brush.js"),
        apply_default_css=False,
        elem_id="part",
        most_points=MOST_POINTS,
    )


def value_of(picture: str, strokes: Sequence[Any]) -> dict[str, Any]:
    """What the brush shows: the picture at an address, and strokes of `strokes_of`."""
    return {"picture": picture, "strokes": list(strokes)}


def strokes_of(value: object) -> list[Any]:
    """The strokes of a value, which may come from any browser."""
    strokes = value.get("strokes") if isinstance(value, Mapping) else None
    return cast("list[Any]", strokes) if isinstance(strokes, list) else []


def brushed(value: object, size: tuple[int, int]) -> Image.Image | None:
    """Where somebody has brushed, as a mask (L, 0 or 255) of so many pixels; None where nobody has.

    What is no stroke is left out. Raises InvalidInput when there are more than anybody draws.
    """
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    left = MOST_POINTS
    for points, width, ink in _strokes(strokes_of(value)):
        left -= len(points)
        if left < 0:
            raise InvalidInput("That is more than can be brushed at once: clear it, brush again.")
        at = [(x * size[0], y * size[1]) for x, y in points]
        radius = max(width * max(size), 1.0) / 2
        for x, y in at:  # round ends and bends
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
        draw.line(at, fill=ink, width=max(round(2 * radius), 1))
    return mask if mask.getbbox() else None


def _strokes(told: Sequence[Any]) -> Iterator[tuple[list[tuple[float, float]], float, int]]:
    """Points in [0, 1], width in [0, 1], and 255, or 0 of an eraser."""
    for stroke in told:
        if not isinstance(stroke, Mapping) or not isinstance(stroke.get("points"), list):
            continue
        width = _share(stroke.get("size"))
        points = [
            (x, y)
            for point in stroke["points"]
            if isinstance(point, list)
            and len(point) == 2
            and (x := _share(point[0])) is not None
            and (y := _share(point[1])) is not None
        ]
        if points and width is not None:
            yield points, width, 0 if stroke.get("erase") is True else 255


def _share(value: object) -> float | None:
    """A number in [0, 1], the nearest one where it is another; None where it is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(max(float(value), 0.0), 1.0)
