"""PaintsTorch: colour a drawing from strokes, quick enough to answer while one draws.

Source: Hati et al. 2019, PaintsTorch: a user-guided anime line art colorization tool.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image as Picture
from PIL.Image import fromarray

from pipelines.colorize.generator import Generator
from pipelines.colorize.hints import hint_map
from pipelines.colorize.live import LivePainter
from pipelines.device import pick_device
from pipelines.errors import ModelUnavailable
from pipelines.paper import flat
from pipelines.weights import EMBEDDED


class PaintsTorchPipeline:
    """Drawing and strokes in, picture out. Safe to share: calls take turns.

    The same arguments give the same picture. What hangs on the drawing alone is remembered, so a
    further stroke costs less than the first.
    """

    def __init__(
        self, generator: Generator, *, name: str = "embedded", low_precision: bool | None = None
    ) -> None:
        """`low_precision` works in bfloat16; by default where that is native."""
        self.name = name
        self.painter = LivePainter(generator, low_precision=low_precision)

    @classmethod
    def from_pretrained(
        cls, preset_or_path: str = "embedded", *, device: torch.device | str | None = None
    ) -> PaintsTorchPipeline:
        """Load "embedded" or a folder. Raises ModelUnavailable."""
        return cls(load_generator("paintstorch", preset_or_path, 1, device), name=preset_or_path)

    def __call__(self, lineart: Picture, hints: Picture | None = None) -> Picture:
        """Colour a drawing of any size.

        lineart: PIL L, 255 = paper; of other modes the brightness counts, and transparent parts
        are paper. hints: PIL RGBA of its size, strokes where alpha is above 127; None = none.
        -> PIL RGB of the same size.

        Raises: OutOfMemory.
        """
        drawing = np.asarray(flat(lineart).convert("L"))[None]
        cells = hint_map(hints, lineart.width, lineart.height)
        return fromarray(self.painter.paint(drawing, cells))


def load_generator(
    model: str, preset_or_path: str, inputs: int, device: torch.device | str | None
) -> Generator:
    """The generator of `model` from the embedded weights or a folder that sees `inputs` channels.

    Raises: ModelUnavailable.
    """
    folder = EMBEDDED / model if preset_or_path == "embedded" else Path(preset_or_path)
    where = device if isinstance(device, torch.device) else pick_device(device or "auto")
    generator = Generator.from_pretrained(folder, where)
    if generator.config.inputs != inputs:
        raise ModelUnavailable(
            f"The model in {folder} sees {generator.config.inputs} channels, not {inputs}: it is "
            f"not one of finetune.{model}. Name a folder that this command wrote."
        )
    return generator
