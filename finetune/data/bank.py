"""Pictures to train on, held where the training runs, and crops cut out of them."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune.data.folder import Order
from finetune.data.pages import PageSet
from finetune.data.scenes import CELLS, SceneSet
from pipelines.painter import GRID, SIZE

REAL = 0.15
"""Share of crops from real pages, where there are any."""


class PictureBank:
    """Pictures to cut crops from, on the device where there is room, with what is worth seeing.

    `pictures` (N, S, S, 3) uint8, S = 256 times `scale`; `front` (N, 16, 16) bool: the cells of
    clip art. Real pages, which have no clip art, follow the scenes; `REAL` of the crops are theirs.
    """

    def __init__(
        self, scenes: SceneSet, pages: PageSet | None, device: torch.device, most: int = 40_000
    ) -> None:
        """At most `most` scenes, so that a graphics card holds them (200 KB each)."""
        self.device = device
        self.scale = scenes.pictures.shape[1] // SIZE
        self.scenes = min(len(scenes), most)
        painted = hold(scenes.pictures[: self.scenes], device)
        front = torch.from_numpy(scenes.labels[: self.scenes] >= 0)
        self.parts = [(painted, front.to(device))]
        if pages is not None:
            real = hold(pages.pictures, device)
            self.parts.append((real, torch.zeros(len(pages), CELLS, CELLS, dtype=torch.bool,
                                                 device=device)))  # fmt: skip

    def crops(
        self, generator: torch.Generator, count: int, side: int, step: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Pixels (B, 3, s, s) in [-1, 1] and weights (B, 1, s, s), s = side times the bank's scale:
        3 on clip art, else 1.

        Crops lie on the grid, so that a patch is cut as it is in the whole page; two of three are
        drawn around a piece of clip art. `generator` is on the CPU: the same crops on any device.
        `step` says nothing here: pictures are drawn, not taken in turn.
        """
        real = round(REAL * count) if len(self.parts) > 1 else 0
        cut = [self._cut(k, generator, self._drawn(k, generator, n), side)
               for k, n in ((0, count - real), (1, real)) if n]  # fmt: skip
        pixels, front = (torch.cat(t) for t in zip(*cut, strict=True))
        return self._weighted(pixels, front)

    def _weighted(self, pixels: Tensor, front: Tensor) -> tuple[Tensor, Tensor]:
        pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        cell = GRID * self.scale
        fine = front.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
        return pixels, 1.0 + 2.0 * fine[:, None].float()

    def _drawn(self, part: int, generator: torch.Generator, count: int) -> Tensor:
        return torch.randint(len(self.parts[part][0]), (count,), generator=generator)

    def _cut(
        self, part: int, generator: torch.Generator, which: Tensor, side: int
    ) -> tuple[Tensor, Tensor]:
        """(B, s, s, 3) uint8 and the cells of them that show clip art, (B, s/16, s/16) bool."""
        pictures, front = self.parts[part]
        count = len(which)
        cells, most = side // GRID, CELLS - side // GRID
        place = torch.randint(most + 1, (count, 2), generator=generator)
        # A cell of clip art for two of three, the middle of the crop; none shown: anywhere.
        pick = torch.rand(count, CELLS * CELLS, generator=generator)
        shown = front[which.to(front.device)].flatten(1).cpu()
        cell = (pick * shown).argmax(1)
        around = torch.stack([cell // CELLS, cell % CELLS], 1) - cells // 2
        use = shown.any(1) & (torch.arange(count) % 3 < 2)
        y, x = torch.where(use[:, None], around.clamp(0, most), place).unbind(1)
        i = which.to(front.device)[:, None, None]

        def taken(source: Tensor, unit: int) -> Tensor:
            """`unit`: how many of the source's pixels lie along a cell."""
            rows, columns = (_span(c, cells, unit, source.device) for c in (y, x))
            return source[i, rows[:, :, None], columns[:, None]]

        return taken(pictures, GRID * self.scale), taken(front, 1)


class OwnBank(PictureBank):
    """Crops of somebody's own pictures, each of which has its turn once an epoch."""

    def __init__(self, pictures: NDArray[np.uint8], device: torch.device, seed: int = 0) -> None:
        """`pictures` (N, S, S, 3) uint8, S a multiple of 256."""
        self.device, self.scale = device, pictures.shape[1] // SIZE
        self.scenes = 0
        held = hold(pictures, device)
        self.parts = [(held, torch.zeros(len(held), CELLS, CELLS, dtype=torch.bool, device=device))]
        self.order = Order(len(held), seed)

    def crops(
        self, generator: torch.Generator, count: int, side: int, step: int = 0
    ) -> tuple[Tensor, Tensor]:
        """As PictureBank's; the pictures are those whose turn it is at `step`, all weights 1."""
        which = self.order.ids(step, count)
        return self._weighted(*self._cut(0, generator, which, side))


def _span(first: Tensor, cells: int, unit: int, device: torch.device) -> Tensor:
    """Cells `first` (B,) -> the positions of `cells` cells from there on, (B, cells * unit)."""
    return (first * unit)[:, None].to(device) + torch.arange(cells * unit, device=device)


def hold(pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """On a graphics card whole, else as it lies on disk."""
    if device.type == "cpu":
        with warnings.catch_warnings():  # read-only memory: it is only read
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(pictures)
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
