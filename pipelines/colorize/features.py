"""Local features of a drawing: what the generator and the critic know of what is drawn.

PaintsTorch takes them from an illustration tagger whose weights are not to be had. The slot is
open: a network is chosen by name from FEATURES, and `register` adds one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.colorize.blocks import SLOPE, Down, stack
from pipelines.errors import ModelUnavailable
from pipelines.weights import EMBEDDED

if TYPE_CHECKING:
    from pipelines.vqgan_clip.clip import CLIP

STRIDE = 16
"""Pixels along a side of one position of the features."""


class LocalFeatures(nn.Module):
    """A feature network: (B, C, H, W) drawing or composition -> (B, channels, H/16, W/16)."""

    channels: int
    trained_along = False
    """Whether it has no knowledge of its own and learns together with the generator."""

    def forward(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError


class OwnFeatures(LocalFeatures):
    """A small network that learns which colours a drawn thing has.

    While it is trained, a head predicts the colour of the simplified picture at every position
    from the drawing alone, as classification (Zhang et al. 2016, arXiv 1603.08511): to do that it
    must tell sky from grass and fox from frog, and unlike a regression it never answers grey.
    """

    trained_along = True

    def __init__(self, inputs: int, width: int = 96) -> None:
        """`inputs`: channels that it sees."""
        super().__init__()
        self.channels = 2 * width
        self.stem = nn.Conv2d(16 * inputs, width // 2, 3, padding=1)
        self.to_middle = Down(width // 2, width)
        self.middle = stack(width, (1, 1))
        self.down = Down(width, self.channels)
        self.coarse = stack(self.channels, (1, 2, 4))

    def forward(self, inputs: Tensor) -> Tensor:
        x = F.leaky_relu(self.stem(F.pixel_unshuffle(inputs, 4)), SLOPE)
        x = self.middle(self.to_middle(x))  # (B, width, H/8, W/8)
        return F.leaky_relu(self.coarse(self.down(x)), SLOPE)


class ClipFeatures(LocalFeatures):
    """Patch features of the image tower of a CLIP, which is kept as it is.

    The picture is squeezed into CLIP's square and its features are stretched back. CLIP's weights
    are not part of the colorizer's file.
    """

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.channels = int(clip.config["vision_config"]["hidden_size"])
        # In a tuple it is no submodule: it is neither saved nor trained with the colorizer.
        self._kept = (clip.eval().requires_grad_(False),)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClipFeatures:
        """`.to()` moves CLIP along."""
        self._kept[0]._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        _, c, h, w = inputs.shape
        rgb = inputs[:, :3] if c >= 3 else inputs[:, :1].expand(-1, 3, -1, -1)
        x = patch_features(self._kept[0], rgb)
        return F.interpolate(x, (h // STRIDE, w // STRIDE), mode="bilinear", align_corners=False)


class NoFeatures(LocalFeatures):
    """An empty slot."""

    channels = 0

    def forward(self, inputs: Tensor) -> Tensor:
        b, _, h, w = inputs.shape
        return inputs.new_empty(b, 0, h // STRIDE, w // STRIDE)


def patch_features(clip: CLIP, pictures: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> features of CLIP's patches (B, D, grid, grid), unit variance."""
    side = clip.image_size
    small = F.interpolate(pictures, (side, side), mode="bilinear", antialias=True)
    seen = clip.model.vision_model(small).last_hidden_state[:, 1:]  # (B, P*P, D)
    seen = F.layer_norm(seen, seen.shape[-1:])
    grid = side // int(clip.config["vision_config"]["patch_size"])
    return seen.transpose(1, 2).reshape(len(pictures), -1, grid, grid)


def _own(inputs: int, width: int) -> LocalFeatures:
    return OwnFeatures(inputs, width)


def _clip(inputs: int, width: int, folder: Path | None = None) -> LocalFeatures:
    from pipelines.vqgan_clip.clip import CLIP

    return ClipFeatures(CLIP.from_pretrained(folder or EMBEDDED / "clip", torch.device("cpu")))


def _none(inputs: int, width: int) -> LocalFeatures:
    return NoFeatures()


Factory = Callable[[int, int], LocalFeatures]
"""(channels that it sees, width asked for; what is trained already has its own) -> network."""

FEATURES: dict[str, Factory] = {"own": _own, "clip": _clip, "none": _none}


def register(name: str, factory: Factory) -> None:
    """Put a feature network into the slot under a name of its own."""
    FEATURES[name] = factory


def make_features(name: str, inputs: int, width: int) -> LocalFeatures:
    """Raises ModelUnavailable when there is no such network, or its weights are not there."""
    if name not in FEATURES:
        raise ModelUnavailable(
            f"There is no feature network “{name}”: choose one of {', '.join(FEATURES)}, or add "
            "it with pipelines.colorize.features.register."
        )
    return FEATURES[name](inputs, width)
