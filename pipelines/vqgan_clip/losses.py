"""What a picture is moved by: distance from prompts, and how it should look.

Pictures are (B, 3, H, W) in [-1, 1]; every loss of pictures is (B,), one a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def spherical_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared great-circle distance of unit vectors, halved as usual: 2 arcsin(|a-b|/2)^2."""
    return 2 * ((a - b).norm(dim=-1) / 2).clamp(max=1).arcsin().square()


@dataclass(frozen=True)
class Targets:
    """Prompts as one CLIP sees them: unit vectors (P, D), their weights and stops (P,)."""

    vectors: Tensor
    weights: Tensor
    stops: Tensor

    def loss(self, seen: Tensor) -> Tensor:
        """Distance of every view (N, D) from the prompts, weighted and added up: (N,).

        Source: Crowson et al. 2022. A prompt does not pull when its distance, negative for a
        prompt that pushes away, is below its stop.
        """
        distance = spherical_distance(seen[:, None], self.vectors[None])  # (N, P)
        pull = (distance * self.weights.sign()).maximum(self.stops)
        return (pull * self.weights.abs()).sum(-1)

    def similarity(self, seen: Tensor) -> Tensor:
        """Mean cosine similarity (N,) with the prompts that pull, by their weights."""
        share = self.weights.clamp(min=0)
        share = share / share.sum().clamp(min=1e-9)
        return (seen @ self.vectors.T) @ share


def smoothness(pixels: Tensor) -> Tensor:
    """Total variation: mean squared difference of neighbours."""
    across = (pixels[..., 1:] - pixels[..., :-1]).square().mean((1, 2, 3))
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).square().mean((1, 2, 3))
    return across + down


def palette_distance(pixels: Tensor, palette: Tensor) -> Tensor:
    """Mean squared distance of each pixel from the closest colour of `palette` (K, 3)."""
    closest = palette[(pixels.detach().movedim(1, -1)[..., None, :] - palette).square()
                      .sum(-1).argmin(-1)]  # fmt: skip
    return (pixels - closest.movedim(-1, 1)).square().sum(1).mean((1, 2))


def asymmetry(pixels: Tensor) -> Tensor:
    """Mean squared difference between left and right half, one of them mirrored."""
    return (pixels - pixels.flip(-1)).square().mean((1, 2, 3))


def hold(latents: Tensor, start: Tensor) -> Tensor:
    """Mean squared distance of latents (B, C, h, w) from where they started: (B,)."""
    return F.mse_loss(latents, start, reduction="none").mean((1, 2, 3))


def palette_tensor(colours: tuple[tuple[int, int, int], ...], device: torch.device) -> Tensor:
    """Colours in [0, 255] -> (K, 3) in [-1, 1]."""
    return torch.tensor(colours, dtype=torch.float32, device=device) / 127.5 - 1
