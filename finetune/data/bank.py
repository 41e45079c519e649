"""Pictures to train on, held where the training runs, and crops cut out of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Part:
    """Pictures of one kind."""

    pictures: Tensor
    """(N, S, S, 3) uint8, some of which may be of another kind."""
    front: Tensor
    """(N, 16, 16) bool: the cells of clip art."""
    ids: Tensor
    """(M,) int64: those of this kind."""
    styled: bool = False
    real: bool = False


class PictureBank:
    """Pictures to cut crops from, on the device where there is room, with what is worth seeing.

    A batch has scenes, then those in one of the taught styles (as many as there are), then real
    pages, which have no clip art: `REAL` of the crops are theirs.
    """

    def __init__(
        self, scenes: SceneSet, pages: PageSet | None, device: torch.device, most: int = 40_000
    ) -> None:
        """At most `most` scenes, so that a graphics card holds them (200 KB each)."""
        self.device = device
        self.scale = scenes.pictures.shape[1] // SIZE
        self.scenes = min(len(scenes), most)
        painted = hold(scenes.pictures[: self.scenes], device)
        front = torch.from_numpy(scenes.labels[: self.scenes] >= 0).to(device)
        look = [r.style != "storybook" for r in scenes.records[: self.scenes]]
        styled = torch.tensor(look, dtype=torch.bool)
        self.parts = [_Part(painted, front, (~styled).nonzero()[:, 0])]
        if styled.any():
            self.parts.append(_Part(painted, front, styled.nonzero()[:, 0], styled=True))
        if pages is not None:
            real = hold(pages.pictures, device)
            nothing = torch.zeros(len(pages), CELLS, CELLS, dtype=torch.bool, device=device)
            self.parts.append(_Part(real, nothing, torch.arange(len(pages)), real=True))

    def crops(
        self, generator: torch.Generator, count: int, side: int, step: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Pixels (B, 3, s, s) in [-1, 1] and weights (B, 1, s, s), s = side times the bank's scale:
        3 on clip art, else 1.

        Crops lie on the grid, so that a patch is cut as it is in the whole page; two of three are
        drawn around a piece of clip art. `generator` is on the CPU: the same crops on any device.
        `step` says nothing here: pictures are drawn, not taken in turn.
        """
        cut = list[tuple[Tensor, Tensor]]()
        for part, n in zip(self.parts, self._counts(count), strict=True):
            if n:
                pick = torch.randint(len(part.ids), (n,), generator=generator)
                cut.append(_cut(part, generator, part.ids[pick], side))
        pixels, front = (torch.cat(t) for t in zip(*cut, strict=True))
        return self._weighted(pixels, front)

    def styled(self, count: int) -> Tensor:
        """Which of so many crops are painted in one of the taught styles, (count,) bool."""
        flags = [torch.full((n,), part.styled)
                 for part, n in zip(self.parts, self._counts(count), strict=True)]  # fmt: skip
        return torch.cat(flags).to(self.device)

    def _counts(self, count: int) -> list[int]:
        """How many of so many crops each part gives."""
        real = round(REAL * count) if any(p.real for p in self.parts) else 0
        styled = sum(len(p.ids) for p in self.parts if p.styled)
        painted = sum(len(p.ids) for p in self.parts if not p.real)
        styled = round(styled / max(painted, 1) * (count - real))
        return [real if p.real else styled if p.styled else count - real - styled
                for p in self.parts]  # fmt: skip

    def _weighted(self, pixels: Tensor, front: Tensor) -> tuple[Tensor, Tensor]:
        pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        cell = GRID * self.scale
        fine = front.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
        return pixels, 1.0 + 2.0 * fine[:, None].float()


class OwnBank(PictureBank):
    """Crops of somebody's own pictures, each of which has its turn once an epoch."""

    def __init__(self, pictures: NDArray[np.uint8], device: torch.device, seed: int = 0) -> None:
        """`pictures` (N, S, S, 3) uint8, S a multiple of 256."""
        self.device, self.scale = device, pictures.shape[1] // SIZE
        self.scenes = 0
        held = hold(pictures, device)
        nothing = torch.zeros(len(held), CELLS, CELLS, dtype=torch.bool, device=device)
        self.parts = [_Part(held, nothing, torch.arange(len(held)))]
        self.order = Order(len(held), seed)

    def crops(
        self, generator: torch.Generator, count: int, side: int, step: int = 0
    ) -> tuple[Tensor, Tensor]:
        """As PictureBank's; the pictures are those whose turn it is at `step`, all weights 1."""
        which = self.order.ids(step, count)
        return self._weighted(*_cut(self.parts[0], generator, which, side))


def _cut(
    part: _Part, generator: torch.Generator, which: Tensor, side: int
) -> tuple[Tensor, Tensor]:
    """(B, s, s, 3) uint8 and the cells of them that show clip art, (B, s/16, s/16) bool."""
    count = len(which)
    cells, most = side // GRID, CELLS - side // GRID
    place = torch.randint(most + 1, (count, 2), generator=generator)
    # A cell of clip art for two of three, the middle of the crop; none shown: anywhere.
    pick = torch.rand(count, CELLS * CELLS, generator=generator)
    shown = part.front[which.to(part.front.device)].flatten(1).cpu()
    cell = (pick * shown).argmax(1)
    around = torch.stack([cell // CELLS, cell % CELLS], 1) - cells // 2
    use = shown.any(1) & (torch.arange(count) % 3 < 2)
    y, x = torch.where(use[:, None], around.clamp(0, most), place).unbind(1)
    i = which.to(part.front.device)[:, None, None]

    def taken(source: Tensor, unit: int) -> Tensor:
        """`unit`: how many of the source's pixels lie along a cell."""
        rows, columns = (_span(c, cells, unit, source.device) for c in (y, x))
        return source[i, rows[:, :, None], columns[:, None]]

    return taken(part.pictures, GRID * part.pictures.shape[1] // SIZE), taken(part.front, 1)


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
