"""A grid of what a colorizer paints, to look at while it learns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pipelines.colorize.generator import Generator

if TYPE_CHECKING:
    from finetune.colorizer import Task
    from finetune.data.illustrations import ColourBatch


def over_lines(made: ColourBatch) -> Tensor:
    """Hints drawn over the line art: (B, 3, H, W) in [-1, 1]."""
    hints = F.interpolate(made.hints, scale_factor=4, mode="nearest")
    return torch.where(hints[:, 3:] > 0, hints[:, :3], made.lineart)


@torch.no_grad()
def save_samples(task: Task, model: Generator, made: ColourBatch, path: Path) -> None:
    """A row a picture: what is seen | hints | painted without hints | with them | the original."""
    seen = task.see(made)
    drawing = model.encode(seen)
    plain, hinted = (
        task.paste(model.paint(drawing, hints).float(), made)
        for hints in (torch.zeros_like(made.hints), made.hints)
    )
    first = seen[:, :3] if seen.shape[1] >= 3 else seen.expand(-1, 3, -1, -1)
    write_columns([first, over_lines(made), plain, hinted, made.picture], path)


def write_columns(columns: list[Tensor], path: Path) -> None:
    """A picture with a row for each item: columns (B, 3, H, W) in [-1, 1], side by side."""
    grid = torch.stack([c.float() for c in columns], dim=1)  # (B, n, 3, H, W)
    b, n, _, h, w = grid.shape
    pixels = grid.permute(0, 3, 1, 4, 2).reshape(b * h, n * w, 3)
    pixels = ((pixels + 1) * 127.5).round().clamp(0, 255).byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.cpu().numpy()).save(path)
