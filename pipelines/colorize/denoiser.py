"""The latent diffusion U-Net of StablePaint, on diffusers' UNet2DConditionModel.

Source: Rombach et al. 2022 (arXiv 2112.10752) for the conditioning; v-prediction from Salimans and
Ho 2022 (2202.00512); zero terminal SNR from Lin et al. 2023 (2305.08891), without which the start
of a sampling at 100% corruption is never seen in training. The condition joins twice: position by
position as channels (colour stays in its region) and as tokens of a coarser grid that the lowest
level attends to (a colour hinted at here is known over there). Nothing knows absolute positions,
so the size of a picture is free.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor, nn

from pipelines.colorize.autoencoder import STRIDE, Autoencoder, AutoencoderConfig, pool_hints
from pipelines.colorize.hints import CELL
from pipelines.weights import building, load_weights, read_config

if TYPE_CHECKING:
    from pathlib import Path

TRAIN_STEPS = 1000
_TOKEN = 4
"""Latent positions along a side of one token."""


@dataclass(frozen=True)
class DenoiserConfig:
    """Shape of the U-Net."""

    latent_channels: int = 8
    channels: tuple[int, ...] = (64, 128, 160)
    """At 1/8, 1/16, 1/32 of the picture."""
    context_channels: int = 96
    heads: int = 4
    groups: int = 16
    """Of its group norms."""


class Condition(NamedTuple):
    """What is known before any noise is taken away."""

    latents: Tensor
    """(B, C, h, w): line art and hints, as the autoencoder encodes them."""
    hints: Tensor
    """(B, 4, h, w): hint map, pooled."""
    lines: Tensor
    """(B, 64, h, w): the pixels of the line art, 8x8 at every position."""

    def expand(self, count: int) -> Condition:
        """The same condition for `count` variations of one picture."""
        return Condition(*(x.expand(count, -1, -1, -1) for x in self))

    def part(self, first: int, count: int) -> Condition:
        """Of `count` variations from the number `first` on: their own, or one for all."""
        if len(self.latents) == 1:
            return self.expand(count)
        return Condition(*(x[first : first + count] for x in self))


class Denoiser(nn.Module):
    """Noisy latents and condition to the velocity v = sqrt(a) noise - sqrt(1 - a) latents."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        levels = len(config.channels)
        lowest = ("CrossAttnDownBlock2D",)
        self.tokens = nn.Linear(config.latent_channels + 4, config.context_channels)
        self.unet = UNet2DConditionModel(
            in_channels=2 * config.latent_channels + 4 + STRIDE**2,
            out_channels=config.latent_channels,
            down_block_types=(("DownBlock2D",) * (levels - 1) + lowest),
            mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("UpBlock2D",) * levels,
            block_out_channels=config.channels,
            layers_per_block=1,
            cross_attention_dim=config.context_channels,
            attention_head_dim=config.heads,  # the number of heads: diffusers' name is a misnomer
            norm_num_groups=config.groups,
        )
        out = self.unet.conv_out
        nn.init.zeros_(out.weight)
        assert out.bias is not None
        nn.init.zeros_(out.bias)

    def context(self, condition: Condition) -> Tensor:
        """-> (B, h/4 * w/4, D): one token for every 4x4 latent positions."""
        coarse = [F.avg_pool2d(condition.latents, _TOKEN), pool_hints(condition.hints, _TOKEN)]
        return self.tokens(torch.cat(coarse, dim=1).flatten(2).transpose(1, 2))

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """noisy (B, C, h, w), timesteps (B,) in [0, 1000) -> v (B, C, h, w) float32.

        h and w are multiples of 4.
        """
        x = torch.cat([noisy, *condition], dim=1)
        v = self.unet(x, timesteps, self.context(condition), return_dict=False)[0]
        return v.float()


_SCHEDULE = {
    "num_train_timesteps": TRAIN_STEPS, "beta_start": 1e-4, "beta_end": 2e-2,
    "beta_schedule": "scaled_linear", "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
}  # fmt: skip


def scheduler(
    sampler: str, timesteps: list[int], noise: Mapping[str, Any] = _SCHEDULE
) -> DPMSolverMultistepScheduler:
    """A scheduler for falling `timesteps`; after the last of them no noise is left.

    "ddim" is DPM-Solver++ of the first order, which is DDIM (Lu et al. 2022, arXiv 2211.01095,
    section 4); "dpm" is that of the second order, multistep. `noise` is a scheduler's config.
    """
    order = 1 if sampler == "ddim" else 2
    with warnings.catch_warnings():  # diffusers hands tensors to NumPy in a way of NumPy 1
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        made = DPMSolverMultistepScheduler.from_config(dict(noise), solver_order=order)
        assert isinstance(made, DPMSolverMultistepScheduler)
        made.set_timesteps(timesteps=timesteps)
    return made


@dataclass(frozen=True)
class StablePaintNetworks:
    """The configs of both halves."""

    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)


class StablePaint(nn.Module):
    """Autoencoder and denoiser: all that is shipped."""

    alphas: Tensor

    def __init__(self, config: StablePaintNetworks) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(config.autoencoder)
        self.denoiser = Denoiser(config.denoiser)
        # Share of signal (as variance) that is left at each step; 0 at the last.
        self.register_buffer("alphas", DDIMScheduler(**_SCHEDULE).alphas_cumprod, persistent=False)

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device) -> StablePaint:
        """Raises ModelUnavailable."""
        values = read_config(folder)
        with building(folder):
            halves: list[dict[str, Any]] = [
                {name: tuple(v) if isinstance(v, list) else v for name, v in values[half].items()}
                for half in ("autoencoder", "denoiser")
            ]
            networks = StablePaintNetworks(AutoencoderConfig(**halves[0]),
                                           DenoiserConfig(**halves[1]))  # fmt: skip
            model = cls(networks)
        load_weights(model, folder)
        return model.to(device).eval().requires_grad_(False)

    def condition(self, lineart: Tensor, hints: Tensor) -> Condition:
        """lineart (B, 1, H, W) in [-1, 1], hint map (B, 4, H/4, W/4); sides multiples of 32."""
        return Condition(
            self.autoencoder.encode_condition(lineart, hints),
            pool_hints(hints, STRIDE // CELL),
            F.pixel_unshuffle(lineart, STRIDE),
        )

    def signal_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """timesteps (B,) -> roots of the shares of signal and of noise, (B, 1, 1, 1) each."""
        alphas = self.alphas[timesteps][:, None, None, None]
        return alphas.sqrt(), (1 - alphas).sqrt()
