"""EfficientNet-Lite: a picture to what a network of photographs sees in it.

Source: Tan & Le 2019 (arXiv 1905.11946) in the Lite variant of its authors: ReLU6 instead of swish,
no squeeze-and-excitation, stem and head of one size. Each batch norm is folded into the convolution
before it, so that the network only runs; `finetune/clip_pages.py` converts public weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stage(NamedTuple):
    """Blocks of one size; the first of them may halve the picture."""

    kernel: int
    stride: int
    expand: int
    """So many times as many channels within a block."""
    channels: int
    blocks: int


LITE0 = (
    Stage(3, 1, 1, 16, 1), Stage(3, 2, 6, 24, 2), Stage(5, 2, 6, 40, 2), Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3), Stage(5, 2, 6, 192, 4), Stage(3, 1, 6, 320, 1),
)  # fmt: skip
STEM = 32


class Convolution(nn.Conv2d):
    """One with a bias that pads as TensorFlow's "same": at stride 2 less at the left and top."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(channels, out, kernel, stride, padding, groups=groups)
        before = (kernel - 2) // 2
        self.around = (before, kernel - 2 - before) * 2 if stride == 2 else None

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W), even sides at stride 2 -> (B, out, H / stride, W / stride)."""
        return super().forward(input if self.around is None else F.pad(input, self.around))


class Block(nn.Module):
    """Mobile inverted bottleneck (Sandler et al. 2018)."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = channels * expand
        self.widen = Convolution(channels, inner, 1) if expand > 1 else None
        self.depthwise = Convolution(inner, inner, kernel, stride, groups=inner)
        self.narrow = Convolution(inner, out, 1)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, H / stride, W / stride)."""
        wide = x if self.widen is None else F.relu6(self.widen(x))
        y = self.narrow(F.relu6(self.depthwise(wide)))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """Pictures (B, 3, H, W) -> (B, `features`), the mean over the last grid. Sides are multiples of
    32; pixels in [-1, 1], about as the weights were trained."""

    def __init__(
        self, stages: Sequence[Stage] = LITE0, stem: int = STEM, features: int = 1280
    ) -> None:
        super().__init__()
        self.stem = Convolution(3, stem, 3, stride=2)
        widths = [stem, *chain.from_iterable([s.channels] * s.blocks for s in stages)]
        strides = [s.stride if n == 0 else 1 for s in stages for n in range(s.blocks)]
        kinds = [s for s in stages for _ in range(s.blocks)]
        self.blocks = nn.Sequential(*(
            Block(widths[n], widths[n + 1], s.kernel, strides[n], s.expand)
            for n, s in enumerate(kinds)
        ))  # fmt: skip
        self.head = Convolution(widths[-1], features, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, features); gradients reach pixels."""
        x = (pixels * 127.5 + 0.5) / 128  # (0 to 255, less 127) / 128: as the weights were trained
        x = x.contiguous(memory_format=torch.channels_last)  # half the time on a processor
        x = F.relu6(self.stem(x))  # (B, stem, H / 2, W / 2)
        return F.relu6(self.head(self.blocks(x))).mean((2, 3))

    def convolutions(self) -> list[Convolution]:
        """In the order in which a picture meets them."""
        return [m for m in self.modules() if isinstance(m, Convolution)]
