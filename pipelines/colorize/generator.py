"""The generator that PaintsTorch and StencilTorch share: a U-Net of ResNeXt blocks.

Source: Hati et al. 2019 (PaintsTorch). We differ in what makes a stroke quick: the network works
at 1/4 of the resolution and below (pixel-unshuffle stem, pixel-shuffle out), and everything that
hangs on the drawing alone is a branch of its own, computed once per drawing (`encode`); hints join
it at 1/4, 1/8 and 1/16 (`paint`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.colorize.blocks import SLOPE, ChannelNorm, Down, Up, stack
from pipelines.colorize.features import STRIDE, make_features
from pipelines.weights import building, load_weights, read_config

__all__ = ["STRIDE", "Encoded", "Generator", "GeneratorConfig", "Joined"]


@dataclass(frozen=True)
class GeneratorConfig:
    """Shape of a colorizer."""

    inputs: int = 1
    """Channels of what it sees: 1 = a drawing, 4 = a composition (RGB) and its mask."""
    channels: tuple[int, int, int] = (64, 128, 192)
    """At 1/4, 1/8 and 1/16 of the resolution."""
    encoder_blocks: tuple[int, int, int] = (1, 2, 2)
    """Blocks of the drawing's branch at 1/4, 1/8 and 1/16."""
    dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4, 2, 1)
    """Of the blocks at 1/16."""
    middle_dilations: tuple[int, ...] = (1, 2, 4, 1)
    """Of the decoder's blocks at 1/8."""
    fine_dilations: tuple[int, ...] = (1, 1)
    """Of the decoder's blocks at 1/4."""
    features: str = "own"
    """What fills the slot at the bottleneck, a name in `features.FEATURES`."""
    feature_width: int = 96
    """Width of a feature network that is trained along."""


class Encoded(NamedTuple):
    """A drawing's own features: worth keeping while its hints change."""

    fine: Tensor
    """(B, C, H/4, W/4)"""
    middle: Tensor
    """(B, C, H/8, W/8)"""
    coarse: Tensor
    """(B, C, H/16, W/16), local features included."""
    features: Tensor
    """(B, F, H/16, W/16) local features alone, which the critic sees, too."""


class Joined(NamedTuple):
    """Drawing and hints together."""

    fine: Tensor
    """(B, C, H/4, W/4)"""
    middle: Tensor
    """(B, C, H/8, W/8)"""
    latents: Tensor
    """(B, C, H/16, W/16), colours spread over the regions they belong to."""


class Generator(nn.Module):
    """Drawing and hints in, colours out; sides are multiples of STRIDE."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        fine, middle, coarse = config.channels
        blocks = config.encoder_blocks
        self.features = make_features(config.features, config.inputs, config.feature_width)
        # the drawing
        self.stem = nn.Conv2d(16 * config.inputs, fine, 3, padding=1)
        self.fine = stack(fine, (1,) * blocks[0])
        self.to_middle = Down(fine, middle)
        self.middle = stack(middle, (1,) * blocks[1])
        self.to_coarse = Down(middle, coarse)
        self.coarse = stack(coarse, (1,) * blocks[2])
        self.slot = nn.Sequential(
            ChannelNorm(coarse + self.features.channels),
            nn.Conv2d(coarse + self.features.channels, coarse, 1),
        )
        # the hints
        self.hint_stem = nn.Conv2d(4, fine, 3, padding=1)
        self.hint_fine = stack(fine, (1,))
        self.hint_to_middle = Down(fine, middle)
        self.hint_middle = stack(middle, (1,))
        self.hint_to_coarse = Down(middle, coarse)
        # both
        self.trunk = stack(coarse, config.dilations)
        self.up_middle = Up(coarse, middle)
        self.decode_middle = stack(middle, config.middle_dilations)
        self.up_fine = Up(middle, fine)
        self.decode_fine = stack(fine, config.fine_dilations)
        self.out = nn.Conv2d(fine, 48, 3, padding=1)

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device) -> Generator:
        """Raises ModelUnavailable."""
        values = read_config(folder)
        with building(folder):
            for name, value in values.items():
                values[name] = tuple(value) if isinstance(value, list) else value
            model = cls(GeneratorConfig(**values))
        load_weights(model, folder)
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.eval().requires_grad_(False)

    def encode(self, inputs: Tensor) -> Encoded:
        """What hangs on the drawing alone. inputs (B, C, H, W) in [-1, 1]."""
        features = self.features(inputs)
        fine = self.fine(self.stem(F.pixel_unshuffle(inputs, 4)))
        middle = self.middle(self.to_middle(fine))
        coarse = self.coarse(self.to_coarse(middle))
        coarse = self.slot(torch.cat([coarse, features.to(coarse.dtype)], dim=1))
        return Encoded(fine, middle, coarse, features)

    def join(self, drawing: Encoded, hints: Tensor) -> Joined:
        """hints (B, 4, H/4, W/4): RGB in [-1, 1], mask in {0, 1}."""
        fine = self.hint_fine(self.hint_stem(hints) + drawing.fine)
        middle = self.hint_middle(self.hint_to_middle(fine) + drawing.middle)
        latents = self.trunk(self.hint_to_coarse(middle) + drawing.coarse)
        return Joined(fine, middle, latents)

    def decode(self, joined: Joined) -> Tensor:
        """-> (B, 3, H, W) in [-1, 1]."""
        x = self.decode_middle(self.up_middle(joined.latents) + joined.middle)
        x = self.decode_fine(self.up_fine(x) + joined.fine)
        return F.pixel_shuffle(self.out(F.leaky_relu(x, SLOPE)), 4).tanh()

    def paint(self, drawing: Encoded, hints: Tensor) -> Tensor:
        """What a change of hints costs: -> (B, 3, H, W) in [-1, 1]."""
        return self.decode(self.join(drawing, hints))

    def forward(self, inputs: Tensor, hints: Tensor) -> Tensor:
        """inputs (B, C, H, W) in [-1, 1], hints (B, 4, H/4, W/4) -> (B, 3, H, W) in [-1, 1]."""
        return self.paint(self.encode(inputs), hints)


class LineDrawer(nn.Module):
    """G2 of PaintsTorch: redraws the line art from the colours (training only)."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.stem = nn.Conv2d(48, channels, 3, padding=1)
        self.blocks = stack(channels, (1, 1, 1))
        self.out = nn.Conv2d(channels, 16, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> line art (B, 1, H, W) in [-1, 1], 1 = paper."""
        x = self.blocks(self.stem(F.pixel_unshuffle(pictures, 4)))
        return F.pixel_shuffle(self.out(F.leaky_relu(x, SLOPE)), 4).tanh()


class GuideDecoder(nn.Module):
    """The guide of StencilTorch: the simplified picture from the same latents (training only)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        _, middle, coarse = config.channels
        self.up = Up(coarse, middle)
        self.middle = stack(middle, (1,))
        self.out = Up(middle, 3)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, C, H/16, W/16) -> (B, 3, H/4, W/4) in [-1, 1]."""
        return self.out(F.leaky_relu(self.middle(self.up(latents)), SLOPE)).tanh()
