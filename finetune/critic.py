"""The critic of PaintsTorch and StencilTorch: WGAN-GP with drift.

Sources: Arjovsky et al. 2017 (Wasserstein GAN); Gulrajani et al. 2017, arXiv 1704.00028 (gradient
penalty); Karras et al. 2018, arXiv 1710.10196 (drift); Ledig et al. 2017, arXiv 1609.04802 (SRGAN,
whose discriminator's shape it has, of ResNeXt blocks without dilation as in Hati et al. 2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.colorize.blocks import SLOPE, Down, stack

PENALTY = 10.0
DRIFT = 1e-3


class Critic(nn.Module):
    """How real a coloured drawing looks, without bounds; local features join at 1/16."""

    def __init__(
        self, inputs: int, features: int, channels: tuple[int, int, int, int] = (48, 96, 160, 224)
    ) -> None:
        """`inputs`: channels of the drawing; `channels` at 1/2, 1/4, 1/8 and 1/16."""
        super().__init__()
        half, quarter, eighth, sixteenth = channels
        self.stem = nn.Conv2d(4 * (3 + inputs), half, 3, padding=1)
        self.levels = nn.ModuleList(
            [
                nn.Sequential(Down(half, quarter), stack(quarter, (1,))),
                nn.Sequential(Down(quarter, eighth), stack(eighth, (1, 1))),
                nn.Sequential(Down(eighth, sixteenth), stack(sixteenth, (1,))),
            ]
        )
        self.slot = nn.Conv2d(sixteenth + features, sixteenth, 1)
        self.last = stack(sixteenth, (1, 1))
        self.score = nn.Conv2d(sixteenth, 1, 1)

    def forward(
        self, pictures: Tensor, drawing: Tensor, features: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """pictures (B, 3, H, W) and drawing (B, C, H, W) in [-1, 1], features (B, F, H/16, W/16)
        -> scores (B,), and what it saw at 1/4, 1/8 and 1/16 on the way."""
        x = F.pixel_unshuffle(torch.cat([pictures, drawing], dim=1), 2)
        x = F.leaky_relu(self.stem(x), SLOPE)
        seen = list[Tensor]()
        for level in self.levels:
            x = level(x)
            seen.append(x)
        x = self.last(self.slot(torch.cat([x, features.to(x.dtype)], dim=1)))
        return self.score(F.leaky_relu(x, SLOPE)).float().mean(dim=(1, 2, 3)), seen


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, drawing: Tensor, features: Tensor, mix: Tensor
) -> Tensor:
    """How far the critic's slope is from 1 between real and fake; in float32.

    mix (B,) in [0, 1]: where between the two.
    """
    between = torch.lerp(real, fake, mix[:, None, None, None]).requires_grad_()
    scores, _ = critic(between, drawing, features)
    (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Wasserstein distance between scores, turned round, and drift; without the penalty."""
    return fake.mean() - real.mean() + DRIFT * real.square().mean()
