"""StencilTorch: colour a masked part of a picture, everything else kept bit for bit.

Source: Hati et al. 2023, StencilTorch: an iterative and user-guided framework for anime lineart
colorization. Its output is the next round's input, with another mask and other strokes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image as Picture
from PIL.Image import fromarray

from pipelines.colorize.generator import Generator
from pipelines.colorize.hints import CELL, cover, hint_map, paste, read_mask
from pipelines.colorize.live import MAX_PIXELS, LivePainter
from pipelines.colorize.paintstorch import load_generator
from pipelines.errors import InvalidInput
from pipelines.paper import flat

CONTEXT = 192
"""Pixels around the mask that are looked at in a large picture."""


class StencilTorchPipeline:
    """Drawing, strokes, mask and picture in, picture out. Safe to share: calls take turns.

    The same arguments give the same picture. What hangs on drawing, mask and picture is
    remembered, so a further stroke costs less than the first.
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
    ) -> StencilTorchPipeline:
        """Load "embedded" or a folder. Raises ModelUnavailable."""
        return cls(load_generator("stenciltorch", preset_or_path, 4, device), name=preset_or_path)

    def __call__(
        self,
        lineart: Picture,
        hints: Picture | None = None,
        mask: Picture | None = None,
        picture: Picture | None = None,
    ) -> Picture:
        """Colour a drawing within a mask.

        lineart: PIL L, 255 = paper. hints: PIL RGBA, strokes where alpha is above 127; those
        outside the mask do not count. mask: PIL L, 255 = colour here; None = everywhere. picture:
        what stands outside the mask, PIL RGB of the drawing's size (transparent parts on white);
        None = the drawing itself. -> PIL RGB, outside the mask equal to `picture`.

        Raises: InvalidInput when nothing is masked or the sizes differ; OutOfMemory.
        """
        width, height = lineart.size
        if picture is not None and picture.size != lineart.size:
            raise InvalidInput(
                f"The picture is {picture.width}x{picture.height} and the drawing {width}x{height}"
                " pixels: choose a picture of the drawing's size."
            )
        inside = read_mask(mask, width, height)
        lines = np.asarray(flat(lineart).convert("L"))[..., None].repeat(3, axis=2)
        before = fromarray(lines) if picture is None else flat(picture)
        seen = np.where(inside[..., None], lines, np.asarray(before))
        inputs = np.concatenate([seen, inside[..., None] * np.uint8(255)], axis=2)
        cells = hint_map(hints, width, height) * cover(inside)
        top, bottom, left, right = look(inside, width, height)
        fresh = np.array(before)
        fresh[top:bottom, left:right] = self.painter.paint(
            inputs[top:bottom, left:right].transpose(2, 0, 1),
            cells[:, top // CELL : -(-bottom // CELL), left // CELL : -(-right // CELL)],
            mask=True,
        )
        return paste(fromarray(fresh), before, inside)


def look(inside: NDArray[np.bool_], width: int, height: int) -> tuple[int, int, int, int]:
    """Rows and columns (top, bottom, left, right) to look at: the mask and CONTEXT around it.

    In pictures of up to a megapixel that is everything. Starts are multiples of 16.
    """
    if width * height <= MAX_PIXELS:
        return 0, height, 0, width
    rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
    top, left = (max(int(i[0]) - CONTEXT, 0) // 16 * 16 for i in (rows, columns))
    bottom = min(int(rows[-1]) + 1 + CONTEXT, height)
    right = min(int(columns[-1]) + 1 + CONTEXT, width)
    return top, bottom, left, right
