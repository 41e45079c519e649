"""What CLIP sees of a picture while it learns: the whole of it, or a cutout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.painter import SIZE


def view(pictures: Tensor, box: Tensor, side: int) -> Tensor:
    """Cutouts of pictures (B, 256, 256, 3) uint8, box (B, 3) side, left
    and top in pixels -> (B, 3, side, side) in [-1, 1].

    The pictures are reduced first, as guidance does it.
    """
    pixels = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    small = F.interpolate(pixels, size=(side, side), mode="area")
    scale = box[:, 0].float() / SIZE
    shift = (box[:, 1:].float() + box[:, :1].float() / 2) / SIZE * 2 - 1  # (B, 2) x, y
    zero = torch.zeros_like(scale)
    rows = [scale, zero, shift[:, 0], zero, scale, shift[:, 1]]
    theta = torch.stack(rows, 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, [len(box), 3, side, side], align_corners=False)
    return F.grid_sample(small, grid, padding_mode="reflection", align_corners=False)
