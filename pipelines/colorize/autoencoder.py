"""Latents of StablePaint: two encoders into them, one decoder out of them.

Source: MODELS.md of the project's design, after Rombach et al. 2022 (arXiv 2112.10752): one encoder
reads illustrations, the other line art with hints, and both speak the decoder's language. We
differ in three ways: pixel-unshuffle stems (nothing runs at full resolution, which a CPU likes);
norms that look at one position at a time, so that a part decodes as the whole does; and the
decoder is given the line art, so that latents need only hold colour and lines stay crisp. The first
three channels begin as the picture's colours, small: what is learned is added to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.colorize.hints import CELL
from pipelines.vqgan_clip.vqgan import PositionNorm, ResidualBlock

STRIDE = 8
"""Pixels along a side of one latent position."""
MULTIPLE = 32
"""Sides of what the networks take are multiples of this."""
REACH = 96
"""Pixels: what lies farther than this does not change a decoded pixel."""
_STEM = 4
_COLOUR = 2.0
"""Latent units for one unit of colour."""
_LOG_VARIANCE = -4.0
"""What posteriors begin with: little noise, so that there is something to decode."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """Channels at 1/4, 1/8, 1/16 and 1/32 of the resolution, and residual blocks."""

    latent_channels: int = 8
    illustration_channels: tuple[int, int] = (48, 96)
    illustration_blocks: int = 2
    """At 1/8."""
    condition_channels: tuple[int, int, int, int] = (32, 64, 96, 128)
    decoder_channels: tuple[int, int] = (48, 96)
    decoder_blocks: tuple[int, int] = (2, 3)
    """At 1/4 and at 1/8."""


def pool_hints(hints: Tensor, size: int) -> Tensor:
    """(B, 4, H, W) -> (B, 4, H/size, W/size): mean colour of the hinted cells, and whether any."""
    colour, mask = hints[:, :3] * hints[:, 3:], hints[:, 3:]
    share = F.avg_pool2d(mask, size)
    mean = F.avg_pool2d(colour, size) / share.clamp_min(1e-6)
    return torch.cat([mean, (share > 0).to(mean.dtype)], dim=1)


class Posterior(NamedTuple):
    """A normal distribution of latents, (B, C, h, w) each."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """`generator` lives on the latents' device."""
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + noise * torch.exp(0.5 * self.log_variance)

    def kl(self) -> Tensor:
        """Divergence from the unit normal in nats, summed over a picture's latents: (B,)."""
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * terms.flatten(1).sum(1)


def _with_colours(latents: Tensor, colours: Tensor) -> Tensor:
    """Colours (B, 3, h, w) in [-1, 1] added to the first three channels."""
    rest = latents.shape[1] - 3
    return latents + F.pad(_COLOUR * colours, (0, 0, 0, 0, 0, rest))


class IllustrationEncoder(nn.Module):
    """Pictures to latents."""

    def __init__(self, c: AutoencoderConfig) -> None:
        super().__init__()
        fine, coarse = c.illustration_channels
        self.stem = nn.Conv2d(3 * _STEM**2, fine, 3, padding=1)
        self.down = nn.Conv2d(4 * fine, coarse, 1)
        self.blocks = nn.Sequential(*(ResidualBlock(coarse) for _ in range(c.illustration_blocks)))
        self.norm = PositionNorm(coarse)
        self.out = nn.Conv2d(coarse, 2 * c.latent_channels, 1)
        assert self.out.bias is not None
        nn.init.constant_(self.out.bias[c.latent_channels :], _LOG_VARIANCE)

    def forward(self, pixels: Tensor) -> Posterior:
        """(B, 3, H, W) in [-1, 1] -> (B, C, H/8, W/8) twice."""
        x = F.silu(self.stem(F.pixel_unshuffle(pixels, _STEM)))  # (B, fine, H/4, W/4)
        x = self.blocks(self.down(F.pixel_unshuffle(x, 2)))  # (B, coarse, H/8, W/8)
        mean, log_variance = self.out(self.norm(x)).float().chunk(2, dim=1)
        mean = _with_colours(mean, F.avg_pool2d(pixels, STRIDE))
        return Posterior(mean, log_variance.clamp(-12, 4))


class ConditionEncoder(nn.Module):
    """Line art with hints to latents: the colours that are likely, seen from far enough away
    (down to 1/32 and up again) that a stroke reaches the whole of its region."""

    def __init__(self, c: AutoencoderConfig) -> None:
        super().__init__()
        widths = c.condition_channels
        self.stem = nn.Conv2d(_STEM**2 + 4, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(4 * a, b, 1) for a, b in pairwise(widths))
        self.before = nn.ModuleList(ResidualBlock(w) for w in widths[1:])
        self.after = nn.ModuleList(ResidualBlock(w) for w in widths[1:])
        self.ups = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths[1:]))
        self.norm = PositionNorm(widths[1])
        self.out = nn.Conv2d(widths[1], c.latent_channels, 1)

    def forward(self, lineart: Tensor, hints: Tensor) -> Tensor:
        """lineart (B, 1, H, W), hint map (B, 4, H/4, W/4) -> (B, C, H/8, W/8)."""
        x = torch.cat([F.pixel_unshuffle(lineart, _STEM), hints], dim=1)  # (B, 20, H/4, W/4)
        hinted = pool_hints(hints, STRIDE // CELL)[:, :3]
        x = F.silu(self.stem(x))
        seen: list[Tensor] = []
        for down, block in zip(self.downs, self.before, strict=True):
            x = block(down(F.pixel_unshuffle(x, 2)))  # 1/8, 1/16, 1/32
            seen.append(x)
        for level in reversed(range(len(seen))):
            x = self.after[level](x)
            if level:
                x = seen[level - 1] + F.pixel_shuffle(self.ups[level - 1](x), 2)
        return _with_colours(self.out(self.norm(x)).float(), hinted)


class Decoder(nn.Module):
    """Latents and line art to pixels."""

    def __init__(self, c: AutoencoderConfig) -> None:
        super().__init__()
        fine, coarse = c.decoder_channels
        self.stem = nn.Conv2d(c.latent_channels, coarse, 3, padding=1)
        self.coarse = nn.Sequential(*(ResidualBlock(coarse) for _ in range(c.decoder_blocks[1])))
        self.up = nn.Conv2d(coarse, 4 * fine, 1)
        self.lines = nn.Conv2d(_STEM**2, fine, 3, padding=1)
        self.mix = nn.Conv2d(2 * fine, fine, 1)
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(c.decoder_blocks[0])))
        self.norm = PositionNorm(fine)
        self.out = nn.Conv2d(fine, 3 * _STEM**2, 3, padding=1)

    def forward(self, latents: Tensor, lineart: Tensor) -> Tensor:
        """(B, C, h, w), (B, 1, 8h, 8w) -> (B, 3, 8h, 8w), about [-1, 1], not clamped."""
        x = F.pixel_shuffle(self.up(self.coarse(self.stem(latents))), 2)  # (B, fine, 2h, 2w)
        lines = F.silu(self.lines(F.pixel_unshuffle(lineart, _STEM)))
        x = self.fine(self.mix(torch.cat([x, lines], dim=1)))
        pixels = F.pixel_shuffle(self.out(F.silu(self.norm(x))), _STEM).float()
        colours = F.interpolate(latents[:, :3].float(), scale_factor=STRIDE, mode="bilinear")
        return colours / _COLOUR + pixels


class Autoencoder(nn.Module):
    """Both encoders and the decoder. Outside, latents have mean 0 and variance 1 a channel."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.illustration = IllustrationEncoder(config)
        self.condition = ConditionEncoder(config)
        self.decoder = Decoder(config)
        self.register_buffer("latent_mean", torch.zeros(1, config.latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(1, config.latent_channels, 1, 1))

    def encode(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] -> latents (B, C, H/8, W/8)."""
        return (self.illustration(pixels).mean - self.latent_mean) / self.latent_std

    def encode_condition(self, lineart: Tensor, hints: Tensor) -> Tensor:
        """lineart (B, 1, H, W) in [-1, 1], hint map (B, 4, H/4, W/4) -> latents."""
        return (self.condition(lineart, hints) - self.latent_mean) / self.latent_std

    def decode(self, latents: Tensor, lineart: Tensor) -> Tensor:
        """Latents (B, C, h, w), lineart (B, 1, 8h, 8w) -> pixels (B, 3, 8h, 8w), about [-1, 1]."""
        return self.decoder(latents * self.latent_std + self.latent_mean, lineart)

    @torch.no_grad()
    def measure_latents(self, pictures: Iterable[Tensor]) -> None:
        """Learn the latents' mean and deviation from batches of pictures, (B, 3, H, W) each."""
        raw = torch.cat([self.illustration(pixels).mean for pixels in pictures])
        self.latent_mean.copy_(raw.mean(dim=(0, 2, 3), keepdim=True))
        self.latent_std.copy_(raw.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-3))
