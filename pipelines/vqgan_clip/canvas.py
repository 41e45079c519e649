"""A picture while it is painted: latents, what is held to and what must stay, early stopping, size.

`guidance` says which way its latents go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.presets import PictureConfig, read_palette
from pipelines.prompts import phase_at
from pipelines.vqgan_clip.cutouts import reduce
from pipelines.vqgan_clip.losses import Targets, palette_tensor
from pipelines.vqgan_clip.models import ImageCodec
from pipelines.vqgan_clip.optimisers import make_optimiser, step_factor

SMALLEST = 128
"""Shorter side in pixels below which pictures are not made smaller for want of memory."""
GAIN = 1e-3
"""What counts as a better score, or a lower loss, for `PictureConfig.patience`."""


@dataclass(frozen=True)
class Kept:
    """What must stay as it is: `pixels` (1, 3, H, W) where `mask` (1, 1, H, W) is 0; 1 = paint."""

    pixels: Tensor
    mask: Tensor

    def over(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) with the kept part in its place."""
        return torch.where(self.mask > 0, self.pixels.lerp(pixels, self.mask), self.pixels)

    def resized(self, height: int, width: int) -> Kept:
        return Kept(resize(self.pixels, height, width), resize_mask(self.mask, height, width))

    def latent_mask(self, shape: Sequence[int]) -> Tensor:
        """(1, 1, h, w): 1 where a latent shows in anything that is to be painted."""
        return F.adaptive_max_pool2d(self.mask, tuple(shape)).ceil()


@dataclass(frozen=True)
class Aims:
    """What guides a picture: for every phase, the prompts as each CLIP sees them."""

    phases: tuple[tuple[Targets, ...], ...]


@dataclass(frozen=True)
class Step:
    """What a step of one picture has found, both unitless."""

    loss: float
    score: float
    """CLIP's cosine similarity, mean over the views."""


class Canvas:
    """One picture while it is painted: latents, their optimiser, and how far it has come."""

    def __init__(
        self,
        codec: ImageCodec,
        latents: Tensor,
        aims: Aims,
        config: PictureConfig,
        generator: torch.Generator,
        kept: Kept | None = None,
    ) -> None:
        """`latents` (1, C, h, w) is the start; `generator` on the CPU draws the views."""
        self.codec, self.aims, self.config, self.generator = codec, aims, config, generator
        self.kept, self.step = kept, 0
        self.steps = config.steps
        """How many are to be taken; a film takes its own number."""
        self.shrunk = False
        """Whether it was made smaller for want of memory."""
        self.pull = 0.0 if config.start == "noise" else config.pull
        self.palette = palette_tensor(read_palette(config.palette), latents.device)
        self._first = latents.detach().clone(), kept
        self._begin(latents, latents)

    def _begin(self, latents: Tensor, start: Tensor) -> None:
        # Cloned outside inference mode: optimised tensors must not be born there.
        self.latents = latents.detach().clone().requires_grad_(True)
        self.start = start.detach().clone()
        self._low, self._high = self.codec.bounds()
        self._optimiser = make_optimiser(self.config.optimiser, self.latents, self.config.step_size)
        self._paint = None
        if self.kept is not None:
            self._paint = self.kept.latent_mask(latents.shape[-2:])
        self._hope()

    def _hope(self) -> None:
        """Forget what was best: other words or another size are measured anew."""
        self._best: tuple[float, Tensor] | None = None
        self._smooth, self._stale = 0.0, 0

    @property
    def finished(self) -> bool:
        """All steps are done, or it is tired where painting ends: large, with the last words."""
        last = self.phase == len(self.aims.phases) - 1
        return self.step >= self.steps or (self.tired and last and not self.small)

    @property
    def tired(self) -> bool:
        """Nothing has improved for `config.patience` steps."""
        return 0 < self.config.patience <= self._stale

    @property
    def phase(self) -> int:
        """Which of the phases guides the next step."""
        step = max(1, min(self.step + 1, self.steps))
        return phase_at(self.aims.phases, step, self.steps)

    @property
    def small(self) -> bool:
        """Whether it still is at the size at which painting begins."""
        begun = small_size(self.config, self.codec.stride) == self.pixels_wide
        return begun and not self.shrunk

    def grow(self) -> None:
        """Go on at full size once the steps at the small one are done, or help no more."""
        c = self.config
        if self.small and (self.step == small_steps(c) or self.tired):
            self.resize(c.height, c.width)

    @property
    def pixels_wide(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        stride = self.codec.stride
        return self.latents.shape[-2] * stride, self.latents.shape[-1] * stride

    @property
    def group(self) -> tuple[object, ...]:
        """Pictures with the same are painted as one batch."""
        c = self.config
        return tuple(self.latents.shape), c.cutouts, c.cutout_method, c.augment

    def targets(self) -> tuple[Targets, ...]:
        """What guides the next step, for each CLIP."""
        return self.aims.phases[self.phase]

    def pull_now(self) -> float:
        """Weight of the distance from the start at the next step."""
        done = self.step / max(self.steps - 1, 1)
        return self.pull * (1 + (self.config.pull_end - 1) * done)

    def apply(self, gradient: Tensor, step: Step) -> None:
        """One step of the optimiser along `gradient` (1, C, h, w); `step` is what it has found."""
        if self._paint is not None:
            gradient = gradient * self._paint
        self.latents.grad = gradient
        factor = step_factor(self.config.schedule, self.step / max(self.steps, 1))
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.step_size * factor
        self._optimiser.step()
        with torch.no_grad():
            self.latents.clamp_(self._low, self._high)
            if self._paint is not None:  # moments and decay move latents without a gradient, too
                self.latents.copy_(torch.where(self._paint > 0, self.latents, self.start))
        self._watch(step)
        phase = self.phase
        self.step += 1
        if self.phase != phase:
            self._hope()

    def _watch(self, step: Step) -> None:
        """Early stopping, on a running mean: the views make the score jump.

        Where prompts only push away there is no score, and the loss is watched.
        """
        if not self.config.patience:
            return
        pulls = bool((self.targets()[0].weights > 0).any())
        found = step.score if pulls else -step.loss
        self._smooth = found if self._best is None else 0.7 * self._smooth + 0.3 * found
        if self._best is None or self._smooth > self._best[0] + GAIN:
            self._best, self._stale = (self._smooth, self.latents.detach().clone()), 0
        else:
            self._stale += 1

    def settle(self) -> None:
        """If painting stopped early, go back to the latents with the best score."""
        if self.step < self.steps and self._best is not None:
            with torch.no_grad():
                self.latents.copy_(self._best[1])

    @torch.no_grad()
    def take_back(self, where: Tensor) -> None:
        """Begin anew where `where` (h, w) is true; of a picture that has the size of its start."""
        self.latents.copy_(torch.where(where, self._first[0], self.latents))

    @torch.no_grad()
    def resize(self, height: int, width: int) -> None:
        """Go on at another size, with a fresh optimiser; at the first size with the first start."""

        def other(latents: Tensor) -> Tensor:
            pixels = self.codec.decode(self.codec.quantise(latents)).float().clamp(-1, 1)
            return self.codec.encode(resize(pixels, height, width)).float()

        first, kept = self._first
        stride = self.codec.stride
        back = tuple(first.shape[-2:]) == (height // stride, width // stride)
        self.kept = kept if back or kept is None else kept.resized(height, width)
        self._begin(other(self.latents), first if back else other(self.start))

    @torch.no_grad()
    def begin_from(self, pixels: Tensor) -> None:
        """Paint on from a picture (1, 3, H, W) of this size, which also is what is held to."""
        latents = self.codec.encode(pixels).float()
        self._begin(latents, latents)

    @torch.no_grad()
    def decode(self) -> Tensor:
        """The picture now: (1, 3, H, W) in [-1, 1]."""
        pixels = self.codec.decode(self.codec.quantise(self.latents)).float().clamp(-1, 1)
        return pixels if self.kept is None else self.kept.over(pixels)

    @torch.no_grad()
    def finish(self, *, start: bool = False) -> Tensor:
        """The picture, or what it began from, at the size that the codec finishes at, nothing
        kept: (1, 3, H, W)."""
        latents = self._first[0] if start else self.latents
        pixels = self.codec.finish(self.codec.quantise(latents), self.config.style)
        return pixels.float().clamp(-1, 1)


def small_steps(config: PictureConfig) -> int:
    """How many steps are meant to be taken at the small size; the last is never one of them."""
    return min(round(config.small_first * config.steps), max(config.steps - 1, 0))


def small_size(config: PictureConfig, stride: int) -> tuple[int, int] | None:
    """(height, width) at which painting begins, if that is not the full size."""
    unit = max(16, stride)
    height, width = (side // 2 // unit * unit for side in (config.height, config.width))
    return (height, width) if small_steps(config) and min(height, width) >= SMALLEST else None


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, 3, height, width), the same range."""
    if height * width < pixels.shape[-2] * pixels.shape[-1]:
        return reduce(pixels, (height, width))
    return F.interpolate(pixels, size=(height, width), mode="bicubic").clamp(-1, 1)


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask (1, 1, H, W) at another size; what is 0 stays 0 at least where all of it was."""
    mode = "area" if height < mask.shape[-2] else "bilinear"
    return F.interpolate(mask, size=(height, width), mode=mode)
