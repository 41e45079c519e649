"""The widgets of a picture's settings say what they show."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from pipelines.presets import FULL_PICTURE, PictureConfig
from tests.ui.blocks import built
from ui.picture_settings import FIELDS, picture_config, widgets


@pytest.mark.parametrize("plain", [PictureConfig(), FULL_PICTURE])
def test_widgets_say_what_they_show(plain: PictureConfig) -> None:
    def page() -> list[Any]:
        with gr.Blocks():
            return widgets(plain)

    values = [component.value for component in built(page)]
    assert len(values) == len(FIELDS)
    shown = picture_config(*values)
    assert {n: getattr(shown, n) for n in FIELDS} == {n: getattr(plain, n) for n in FIELDS}
