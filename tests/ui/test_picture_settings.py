"""The widgets of a picture's settings say what they show, and a brushed part is a mask."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest
from PIL import Image

from pipelines.presets import FULL_PICTURE, PictureConfig
from tests.ui.blocks import built
from ui.picture_settings import FIELDS, picture_config, widgets
from ui.repaint import brushed


@pytest.mark.parametrize("plain", [PictureConfig(), FULL_PICTURE])
def test_widgets_say_what_they_show(plain: PictureConfig) -> None:
    def page() -> list[Any]:
        with gr.Blocks():
            return widgets(plain)

    values = [component.value for component in built(page)]
    assert len(values) == len(FIELDS)
    shown = picture_config(*values)
    assert {n: getattr(shown, n) for n in FIELDS} == {n: getattr(plain, n) for n in FIELDS}


def test_what_is_brushed_is_a_mask() -> None:
    empty = Image.new("RGBA", (30, 20))
    assert brushed(None) is None
    assert brushed({"layers": []}) is None
    assert brushed({"layers": [empty]}) is None
    one, two = empty.copy(), empty.copy()
    one.putpixel((3, 4), (200, 80, 40, 120))
    two.putpixel((9, 9), (0, 0, 0, 255))
    mask = brushed({"layers": [one, two], "background": None, "composite": None})
    assert mask is not None
    assert (mask.mode, mask.size) == ("L", (30, 20))
    assert [mask.getpixel(p) for p in ((3, 4), (9, 9), (0, 0))] == [255, 255, 0]
