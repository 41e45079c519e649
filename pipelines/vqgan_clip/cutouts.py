"""Cutouts: the many slightly different views of a picture through which CLIP judges it.

Source: Crowson et al. 2022, appendix. We differ in that a view is resampled once: its crop,
rotation, shear, mirroring and perspective are one homography, its colour jitter one matrix, and it
reads a picture that was reduced beforehand to about the resolution it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.presets import PictureConfig

CPU = torch.device("cpu")

NOISE = 0.05
"""Standard deviation of the noise on a view."""

_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Views:
    """The random numbers of one picture's views; the first view is always the whole picture.

    `warps` (n, 3, 3) takes a view's plane to the picture's, both [-1, 1]. `levels` (n,) says how
    often the picture a view reads is twice CLIP's side. None: that augmentation is off.
    """

    size: int
    pooled: bool
    warps: Tensor
    levels: Tensor
    colours: Tensor | None = None
    """(n, 3, 4): a matrix and an offset of RGB."""
    boxes: Tensor | None = None
    """(n, 4): left, top, right, bottom of what is erased, [-1, 1]."""
    noise: Tensor | None = None
    """(n, 3, size, size)."""

    def __len__(self) -> int:
        return len(self.warps) + 1


def draw_views(
    config: PictureConfig,
    size: int,
    shape: tuple[int, int],
    generator: torch.Generator,
    device: torch.device = CPU,
) -> Views:
    """`config.cutouts` views of `size` pixels for a picture of `shape` (height, width) on `device`.

    `generator` is on the CPU. Noise alone is drawn where it is wanted: millions of numbers a step
    take a processor longer than the step takes a graphics card.
    """
    n = config.cutouts - 1
    on, pooled = set(config.augment), config.cutout_method == "pooled"

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    zero, one = torch.zeros(n), torch.ones(n)
    scale = one
    if not pooled:
        scale = config.cutout_min + (1 - config.cutout_min) * (
            torch.rand(n, generator=generator) ** config.cutout_power
        )
    angle = uniform(-8.0, 8.0) * math.pi / 180 if "rotate" in on else zero
    shear = uniform(-0.05, 0.05) if "shear" in on else zero
    mirror = one
    if "flip" in on:
        mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    # A view is a square; of a picture that is none it takes a square part.
    wide, high = (min(shape) / side for side in (shape[1], shape[0]))
    if pooled:
        wide = high = 1.0
    shift_x = uniform(-1.0, 1.0) * (1 - scale * wide) if not pooled else zero
    shift_y = uniform(-1.0, 1.0) * (1 - scale * high) if not pooled else zero
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [
        cos * mirror * wide, (shear - sin) * wide, shift_x,
        sin * mirror * high, cos * high, shift_y,
        zero, zero, one,
    ]  # fmt: skip
    warps = torch.stack(rows, dim=1).view(n, 3, 3)
    if "perspective" in on:
        tilt = torch.eye(3).repeat(n, 1, 1)
        tilt[:, 2, 0], tilt[:, 2, 1] = uniform(-0.15, 0.15), uniform(-0.15, 0.15)
        warps = warps @ tilt
    most = 0 if pooled else max(0, int(math.log2(max(min(shape) / size, 1))))
    levels = (scale.log2().neg() + 0.48).floor().clamp(0, most).long()
    colours = _colours(n, uniform) if "colour" in on else None
    boxes = None
    if "erase" in on:
        x, y = uniform(-1.0, 1.0), uniform(-1.0, 1.0)
        # Half of the views keep everything: their boxes are empty.
        half = uniform(-0.3, 0.3).clamp(min=0)
        boxes = torch.stack([x - half, y - half, x + half, y + half], dim=1)
    noise = None
    if "noise" in on:
        where = generator
        if device.type != "cpu":
            seed = int(torch.randint(2**62, (), generator=generator))
            where = torch.Generator(device).manual_seed(seed)
        noise = NOISE * torch.randn(n, 3, size, size, generator=where, device=device)
    return Views(size, pooled, warps, levels, colours, boxes, noise)


def reduce(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 3, H, W) -> (B, 3, *size): each pixel the mean of those it covers."""
    if pixels.shape[-2] < size[0] or pixels.shape[-1] < size[1]:
        return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
    return F.interpolate(pixels, size=size, mode="area")


def take(pixels: Tensor, views: Sequence[Views], wanted: Sequence[tuple[int, int]]) -> Tensor:
    """The views that `wanted` names by (picture, view), in order: (N, 3, size, size).

    `pixels` (B, 3, H, W) are the pictures, `views` the random numbers of each of them.
    """
    first, last = wanted[0][0], wanted[-1][0] + 1
    pixels, views = pixels[first:last], views[first:last]
    wanted = [(picture - first, view) for picture, view in wanted]
    size, pooled = views[0].size, views[0].pooled
    height, width = pixels.shape[-2:]
    short = min(height, width)
    whole = reduce(pixels, (size, size))
    if pooled:
        whole = (whole + F.adaptive_max_pool2d(pixels, size)) / 2
    by_level: dict[int, list[int]] = {}
    found: list[Tensor | None] = [None] * len(wanted)
    for place, (picture, view) in enumerate(wanted):
        if view == 0:
            found[place] = whole[picture]
        else:
            by_level.setdefault(int(views[picture].levels[view - 1]), []).append(place)
    for level, places in by_level.items():
        side = size * 2**level
        source = whole
        if level or (height != width and not pooled):
            source = reduce(pixels, (round(side * height / short), round(side * width / short)))
        pairs = [wanted[p] for p in places]
        seen = _augmented(source, views, pairs)
        for place, view in zip(places, seen, strict=True):
            found[place] = view
    return torch.stack([view for view in found if view is not None])


def _augmented(source: Tensor, views: Sequence[Views], pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Views of `source` (B, 3, h, w), none of them the first: (N, 3, size, size)."""
    size = views[0].size
    owners = torch.tensor([picture for picture, _ in pairs], device=source.device)
    warps = torch.stack([views[p].warps[v - 1] for p, v in pairs]).to(source)
    line = (2 * torch.arange(size, device=source.device) + 1) / size - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    plane = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(-1, 3).to(source)
    seen = plane @ warps.transpose(1, 2)  # (N, size * size, 3), homogeneous
    grid = (seen[..., :2] / seen[..., 2:]).view(-1, size, size, 2)
    taken = F.grid_sample(
        source.index_select(0, owners), grid, padding_mode="reflection", align_corners=False
    )  # (N, 3, size, size)
    if views[0].colours is not None:
        jitter = torch.stack([_row(views[p].colours, v) for p, v in pairs]).to(source)
        taken = torch.einsum("nij,njhw->nihw", jitter[..., :3], taken) + jitter[..., 3:, None]
    if views[0].boxes is not None:
        left, top, right, bottom = (
            torch.stack([_row(views[p].boxes, v) for p, v in pairs]).to(source)[:, :, None, None]
        ).unbind(1)
        inside = (x > left) & (x < right) & (y > top) & (y < bottom)
        taken = taken.masked_fill(inside[:, None], 0.0)
    if views[0].noise is not None:
        taken = taken + torch.stack([_row(views[p].noise, v) for p, v in pairs]).to(taken)
    return taken


def _row(numbers: Tensor | None, view: int) -> Tensor:
    assert numbers is not None  # all pictures of a batch have the same augmentations
    return numbers[view - 1]


def _colours(n: int, uniform: Callable[[float, float], Tensor]) -> Tensor:
    """Brightness, contrast and saturation, each by a tenth: (n, 3, 4).

    Saturation stretches colours away from the grey axis. Their hue stays: a prompt that names a
    colour pulls the other way in every turned view (finetune/LOG.md).
    """
    grey = torch.tensor(_GREY).expand(3, 3)
    saturation = uniform(0.9, 1.1)[:, None, None]
    contrast = uniform(0.9, 1.1)[:, None, None]
    brightness = uniform(-0.1, 0.1)[:, None, None].expand(n, 3, 1)
    matrix = contrast * (saturation * torch.eye(3) + (1 - saturation) * grey)
    return torch.cat([matrix, brightness], dim=2)
