"""Pictures to train on, held where the training runs, and crops cut out of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from finetune.data.folder import Order
from finetune.data.pages import PageSet
from finetune.data.scenes import CELLS, SceneSet
from pipelines.painter import GRID, SIZE, STYLE_FILTERS

REAL = 0.15
"""Share of crops from real pages, where there are any."""
MOST_HELD = 40_000
"""Scenes that are learned from at most, so that a graphics card holds them (200 KB each)."""


STYLES = tuple(STYLE_FILTERS)
"""The taught styles, in the order of their numbers (from 1 on) in `Crops.styles`."""


class Crops(NamedTuple):
    """A batch that was cut out of pictures."""

    pixels: Tensor
    """(B, 3, s, s) in [-1, 1], s = side times the bank's scale."""
    small: Tensor
    """(B, 3, side, side) in [-1, 1]: the same, as codes are made of it."""
    weights: Tensor
    """(B, 1, s, s): 3 on clip art, else 1."""
    styles: Tensor
    """(B,) int64: which of STYLES each is painted in, 0 for none of them."""


@dataclass(frozen=True)
class _Part:
    """Pictures of one kind."""

    pictures: Tensor
    """(N, S, S, 3) uint8, some of which may be of another kind."""
    small: Tensor | None
    """(N, 256, 256, 3) uint8: the same, where they are not just `pictures` made smaller."""
    front: Tensor
    """(N, 16, 16) bool: the cells of clip art."""
    ids: Tensor
    """(M,) int64: those of this kind."""
    styles: Tensor
    """(N,) int64: as `Crops.styles`."""
    styled: bool = False
    real: bool = False


class PictureBank:
    """Pictures to cut crops from, on the device where there is room, with what is worth seeing.

    A batch has scenes, then those in one of the taught styles (as many as there are), then real
    pages, which have no clip art: `REAL` of the crops are theirs.
    """

    styles = STYLES
    """Names of those in `Crops.styles`."""

    def __init__(
        self, scenes: SceneSet, pages: PageSet | None, device: torch.device, most: int = MOST_HELD
    ) -> None:
        """At most `most` scenes, so that a graphics card holds them (200 KB each)."""
        self.device = device
        self.scale = scenes.pictures.shape[1] // SIZE
        self.scenes = min(len(scenes), most)
        painted = hold(scenes.pictures[: self.scenes], device)
        small = hold(scenes.small[: self.scenes], device) if self.scale > 1 else None
        front = torch.from_numpy(scenes.labels[: self.scenes] >= 0).to(device)
        looks = ("storybook", *STYLES)
        styles = torch.tensor([looks.index(r.style) for r in scenes.records[: self.scenes]])
        plain, styled = (styles == 0).nonzero()[:, 0], styles.nonzero()[:, 0]
        self.parts = [_Part(painted, small, front, plain, styles)]
        if len(styled):
            self.parts.append(_Part(painted, small, front, styled, styles, styled=True))
        if pages is not None:
            real = hold(pages.pictures, device)
            nothing = torch.zeros(len(pages), CELLS, CELLS, dtype=torch.bool, device=device)
            ids = torch.arange(len(pages))
            self.parts.append(_Part(real, None, nothing, ids, torch.zeros_like(ids), real=True))

    def crops(self, generator: torch.Generator, count: int, side: int, step: int = 0) -> Crops:
        """Crops of `side` pixels, times the bank's scale.

        They lie on the grid, so that a patch is cut as it is in the whole page; two of three are
        drawn around a piece of clip art. `generator` is on the CPU: the same crops on any device.
        `step` says nothing here: pictures are drawn, not taken in turn.
        """
        cut = list[Crops]()
        for part, n in zip(self.parts, self._counts(count), strict=True):
            if n:
                pick = torch.randint(len(part.ids), (n,), generator=generator)
                cut.append(_cut(part, generator, part.ids[pick], side))
        return Crops(*(torch.cat(t) for t in zip(*cut, strict=True)))

    def _counts(self, count: int) -> list[int]:
        """How many of so many crops each part gives."""
        real = round(REAL * count) if any(p.real for p in self.parts) else 0
        styled = sum(len(p.ids) for p in self.parts if p.styled)
        painted = sum(len(p.ids) for p in self.parts if not p.real)
        styled = round(styled / max(painted, 1) * (count - real))
        return [real if p.real else styled if p.styled else count - real - styled
                for p in self.parts]  # fmt: skip


class OwnBank(PictureBank):
    """Crops of somebody's own pictures, each of which has its turn once an epoch."""

    styles = ()

    def __init__(self, pictures: NDArray[np.uint8], device: torch.device, seed: int = 0) -> None:
        """`pictures` (N, S, S, 3) uint8, S a multiple of 256."""
        self.device, self.scale = device, pictures.shape[1] // SIZE
        self.scenes = 0
        held = hold(pictures, device)
        nothing = torch.zeros(len(held), CELLS, CELLS, dtype=torch.bool, device=device)
        ids = torch.arange(len(held))
        self.parts = [_Part(held, None, nothing, ids, torch.zeros_like(ids))]
        self.order = Order(len(held), seed)

    def crops(self, generator: torch.Generator, count: int, side: int, step: int = 0) -> Crops:
        """As PictureBank's; the pictures are those whose turn it is at `step`, all weights 1."""
        which = self.order.ids(step, count)
        return _cut(self.parts[0], generator, which, side)


def _cut(part: _Part, generator: torch.Generator, which: Tensor, side: int) -> Crops:
    """A crop of each of the pictures `which` (B,)."""
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

    def pixels(source: Tensor) -> Tensor:
        """(B, 3, s, s) in [-1, 1]."""
        cut = taken(source, GRID * source.shape[1] // SIZE)
        return cut.permute(0, 3, 1, 2).float() / 127.5 - 1

    whole = pixels(part.pictures)
    small = whole if part.small is None else pixels(part.small)
    if small.shape[-1] != side:
        small = F.interpolate(small, size=(side, side), mode="area")
    unit = whole.shape[-1] // cells
    fine = taken(part.front, 1).repeat_interleave(unit, 1).repeat_interleave(unit, 2)
    weights = 1.0 + 2.0 * fine[:, None].float()
    return Crops(whole, small, weights, part.styles[which].to(whole.device))


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
