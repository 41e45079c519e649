"""VQGAN+CLIP: the latents are moved until CLIP finds the picture close to the prompt.

Source: Crowson et al. 2022, arXiv 2204.08583. As there: straight-through quantisation, latents kept
inside the codebook's bounds, squared great-circle distance, Adam, random cutouts. We differ in the
cutouts (crop, rotation, shear and flip composed into one resampling of the batch) and in a pull
towards the start, which keeps a good first picture orderly.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.vqgan_clip.clip import CLIP
from pipelines.vqgan_clip.vqgan import VQGAN


def spherical_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared great-circle distance of unit vectors, halved as usual: 2 arcsin(|a-b|/2)^2."""
    return 2 * ((a - b).norm(dim=-1) / 2).clamp(max=1).arcsin().square()


def cutouts(pixels: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """`count` views of one picture: (1, 3, H, W) -> (count, 3, size, size).

    The first is the whole picture; the others are crops of 70% to 100% of the side, turned by up
    to 8 degrees, sheared by up to 5%, half of them mirrored, with a little noise.
    """
    whole = F.interpolate(pixels, size=(size, size), mode="area")
    if count == 1:
        return whole
    n = count - 1

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    scale = uniform(0.7, 1.0)
    angle = uniform(-8.0, 8.0) * math.pi / 180
    shear = uniform(-0.05, 0.05)
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    shift_x = uniform(-1.0, 1.0) * (1 - scale)
    shift_y = uniform(-1.0, 1.0) * (1 - scale)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [cos * mirror, shear - sin, shift_x, sin * mirror, cos, shift_y]
    theta = torch.stack(rows, dim=1).view(n, 2, 3).to(pixels)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    # Resampling the reduced picture is cheaper and reads no aliases.
    views = F.grid_sample(
        whole.expand(n, -1, -1, -1), grid, padding_mode="reflection", align_corners=False
    )
    noise = 0.05 * torch.randn(views.shape, generator=generator).to(views)
    return torch.cat([whole, views + noise])


class Guidance:
    """The latents of one picture and their optimiser."""

    def __init__(
        self,
        vqgan: VQGAN,
        clip: CLIP,
        prompt: str,
        latents: Tensor,
        *,
        step_size: float,
        cutouts: int,
        pull: float,
        generator: torch.Generator,
        low_precision: bool,
    ) -> None:
        """`latents` (1, C, h, w) is the start; `pull` weighs the distance from it."""
        self._vqgan, self._clip = vqgan, clip
        self._cutouts, self._pull, self._generator = cutouts, pull, generator
        self._low_precision = low_precision
        self._low, self._high = vqgan.quantizer.bounds()
        self._start = latents.detach().clone()
        # Cloned outside inference mode: optimised tensors must not be born there.
        self.latents = latents.detach().clone().requires_grad_(True)
        self._optimizer = torch.optim.Adam([self.latents], lr=step_size, betas=(0.9, 0.98))
        with torch.no_grad():
            self._target = clip.embed_texts([prompt])

    def descend(self) -> tuple[float, float]:
        """One Adam step -> (loss, CLIP's cosine similarity over the cutouts), both unitless."""
        with (
            torch.enable_grad(),
            torch.autocast(self.latents.device.type, torch.bfloat16, enabled=self._low_precision),
        ):
            quantised, _ = self._vqgan.quantizer(self.latents)
            pixels = self._vqgan.decode(quantised).float().clamp(-1, 1)
            views = cutouts(pixels, self._cutouts, self._clip.image_size, self._generator)
            seen = self._clip.embed_images(views).float()
            distance = spherical_distance(seen, self._target).mean()
            loss = distance + self._pull * F.mse_loss(self.latents, self._start)
        (self.latents.grad,) = torch.autograd.grad(loss, [self.latents])
        self._optimizer.step()
        with torch.no_grad():
            self.latents.clamp_(self._low, self._high)
            score = (seen @ self._target.T).mean().item()
        return loss.item(), score

    @torch.no_grad()
    def decode(self, *, large: bool = False) -> Tensor:
        """The picture now: (3, H, W) in [-1, 1]; `large`: (3, 2H, 2W), where the VQGAN can."""
        quantised, _ = self._vqgan.quantizer(self.latents)
        draw = self._vqgan.decode_large if large else self._vqgan.decode
        return draw(quantised)[0].float().clamp(-1, 1)
