"""What the colorizers are built of: ResNeXt blocks, pixel-unshuffle down, pixel-shuffle up.

There is no normalisation over space, so that a tile of a drawing is painted as the same place of
the whole is.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky rectifiers."""


class ResNeXtBlock(nn.Module):
    """x + 1x1(grouped dilated 3x3(1x1(x))); starts as the identity.

    Source: Xie et al. 2017, arXiv 1611.05431, dilated as in Hati et al. 2019 and without batch
    norm: the last convolution starts at zero instead (Zhang et al. 2019, arXiv 1901.09321).
    """

    def __init__(self, channels: int, *, group: int = 32, dilation: int = 1) -> None:
        """`group` is the width of a group of the 3x3 convolution, in channels."""
        super().__init__()
        self.narrow = nn.Conv2d(channels, channels, 1)
        self.mix = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation,
            groups=max(channels // group, 1),
        )  # fmt: skip
        self.widen = nn.Conv2d(channels, channels, 1)
        assert self.widen.bias is not None
        nn.init.zeros_(self.widen.weight)
        nn.init.zeros_(self.widen.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        y = F.leaky_relu(self.narrow(F.leaky_relu(x, SLOPE)), SLOPE)
        return x + self.widen(F.leaky_relu(self.mix(y), SLOPE))


def stack(channels: int, dilations: tuple[int, ...], *, group: int = 32) -> nn.Sequential:
    """A block for each dilation, one after the other."""
    return nn.Sequential(*(ResNeXtBlock(channels, group=group, dilation=d) for d in dilations))


class Down(nn.Module):
    """Halve the resolution: four neighbours become channels, then a 1x1 convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4 * channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H/2, W/2)."""
        return self.mix(F.pixel_unshuffle(x, 2))


class Up(nn.Module):
    """Double the resolution: a 1x1 convolution, then channels become neighbours.

    Source: Shi et al. 2016, arXiv 1609.05158 (pixel shuffle).
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, 4 * out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, 2H, 2W)."""
        return F.pixel_shuffle(self.mix(x), 2)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of every position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
