"""PIL pictures to tensors in [-1, 1], and back; pictures of any size on canvases of whole cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from PIL.Image import Image as Picture
from torch import Tensor

from pipelines.paper import flat
from pipelines.picture_request import BRIGHT

FEATHER = 1 / 20
"""Share of the shorter side over which the edge of a mask is softened, inwards."""

STRIP = 16
"""Of pictures that are so many times as long as their shape asks, the middle alone is resampled."""


@dataclass(frozen=True)
class Frame:
    """A picture of any size in the middle of the canvas it is painted on, whose sides are multiples
    of the codec's stride. All in pixels."""

    width: int
    height: int
    canvas_width: int
    canvas_height: int

    @classmethod
    def around(cls, width: int, height: int, stride: int) -> Frame:
        """With the least canvas that holds a picture of this size."""
        return cls(width, height, *(-(-side // stride) * stride for side in (width, height)))

    def inside(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the picture on its canvas, that being of another size."""
        w = round(self.width * width / self.canvas_width)
        h = round(self.height * height / self.canvas_height)
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h

    def cut(self, canvas: Picture) -> Picture:
        """What the canvas shows, PIL of any size."""
        box = self.inside(*canvas.size)
        return canvas if box == (0, 0, *canvas.size) else canvas.crop(box)

    def extended(self, picture: Picture, width: int, height: int) -> Picture:
        """A canvas of this size whose inside is the picture, the middle of it cut to the shape;
        around it its edges are mirrored."""
        left, top, right, bottom = self.inside(width, height)
        inner = np.asarray(_cut(picture, right - left, bottom - top))
        around = ((top, height - bottom), (left, width - right), *[(0, 0)] * (inner.ndim - 2))
        return Image.fromarray(np.pad(inner, around, mode="symmetric"))


def to_pixels(picture: Picture, width: int, height: int, device: torch.device) -> Tensor:
    """PIL picture -> (1, 3, height, width) in [-1, 1], the middle of it cut to the shape."""
    array = np.array(_cut(flat(picture), width, height))
    return torch.from_numpy(array).permute(2, 0, 1)[None].to(device).float() / 127.5 - 1


def to_mask(picture: Picture, width: int, height: int, device: torch.device) -> Tensor:
    """A mask -> (1, 1, height, width) in [0, 1], cut as `to_pixels` does.

    0 wherever it is dark; the edge of what is bright is soft.
    """
    array = np.array(_cut(picture.convert("L"), width, height))
    bright = (torch.from_numpy(array).to(device) >= BRIGHT).float()[None, None]
    reach = max(1, round(FEATHER * min(width, height) / 2))
    return bright * F.avg_pool2d(
        bright, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False
    )


def to_picture(pixels: Tensor) -> Picture:
    """(3, H, W) in [-1, 1] -> PIL RGB."""
    array = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(array.cpu().numpy())


def _cut(picture: Picture, width: int, height: int) -> Picture:
    """The middle of a picture at a size of its own shape or another."""
    scale = max(width / picture.width, height / picture.height)
    size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    if size[0] * size[1] > STRIP * width * height:  # gigabytes, of which little would be kept
        w, h = min(width / scale, picture.width), min(height / scale, picture.height)
        x, y = (picture.width - w) / 2, (picture.height - h) / 2
        box = (x, y, x + w, y + h)
        return picture.resize((width, height), Image.Resampling.LANCZOS, box)
    full = picture.resize(size, Image.Resampling.LANCZOS)
    x, y = (full.width - width) // 2, (full.height - height) // 2
    return full.crop((x, y, x + width, y + height))
