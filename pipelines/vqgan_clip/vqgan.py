"""VQGAN: a picture becomes a small grid of codebook entries, and back.

Source: Esser et al. 2021, arXiv 2012.09841. We differ in three ways that pay on a CPU: a
pixel-unshuffle stem (the network works at 1/4 of the resolution and below), norms that look at
one position at a time (a crop then encodes as the whole picture does), and product codes (each
position holds `groups` indices into as many codebooks), which hold more bits a position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn

from pipelines.errors import InvalidInput
from pipelines.vqgan_clip.pixels import to_picture
from pipelines.weights import building, load_weights, read_config


@dataclass(frozen=True)
class VQGANConfig:
    """Shape of an embedded VQGAN. `stride` is 16: 256x256 pixels become 16x16 positions."""

    fine_channels: int = 128
    coarse_channels: int = 256
    encoder_blocks: tuple[int, int] = (1, 1)
    """Residual blocks at 1/8 and at 1/16 of the resolution."""
    decoder_blocks: tuple[int, int] = (3, 3)
    """Residual blocks at 1/16 and at 1/8 of the resolution."""
    groups: int = 4
    codebook_size: int = 512
    code_channels: int = 16
    finest_channels: int = 0
    """Width at 1/4 of the resolution, where the decoder sharpens; 0 = pixels come from 1/8."""
    finest_blocks: int = 2
    large_channels: int = 0
    """Width at 1/2 of the resolution, where the decoder draws pictures of twice the side; 0 = it
    does not."""
    large_blocks: int = 3
    large_styles: tuple[str, ...] = ()
    """Styles (keys of `presets.STYLES`) whose look large pictures get when the decoder is told."""

    @property
    def large(self) -> bool:
        """Whether the decoder also draws pictures of twice the side."""
        return self.large_channels > 0

    @property
    def latent_channels(self) -> int:
        return self.groups * self.code_channels


STRIDE = 16
_STEM = 8
LARGE_CHANNELS = 48
"""Width at 1/2 of the resolution of those that draw large."""
_LARGE = 4
"""Pixels along a position of 1/2 of the resolution in a picture of twice the side."""
_TABLE = 2**25
"""Distances computed at a time when latents are quantised (128 MB)."""


def grid_of(width: int, height: int, stride: int) -> tuple[int, int]:
    """(h, w) of a picture's latents. Raises InvalidInput when a side is no multiple of `stride`."""
    for name, side in (("Width", width), ("Height", height)):
        if side % stride or side <= 0:
            raise InvalidInput(f"{name} must be a multiple of {stride} pixels, not {side}.")
    return height // stride, width // stride


def enlarged(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 3, 2H, 2W), no detail added."""
    return F.interpolate(pixels, scale_factor=2, mode="bilinear")


class PositionNorm(nn.Module):
    """RMS norm over channels at every position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        scale = torch.rsqrt(x.float().square().mean(dim=1, keepdim=True) + 1e-6).to(x.dtype)
        return x * scale * self.weight.to(x.dtype)[:, None, None]


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(norm(x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = PositionNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


class Encoder(nn.Module):
    def __init__(self, c: VQGANConfig) -> None:
        super().__init__()
        fine, coarse = c.fine_channels, c.coarse_channels
        self.stem = nn.Conv2d(3 * _STEM**2, fine, 1)
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(c.encoder_blocks[0])))
        self.down = nn.Conv2d(4 * fine, coarse, 1)
        self.coarse = nn.Sequential(*(ResidualBlock(coarse) for _ in range(c.encoder_blocks[1])))
        self.norm = PositionNorm(coarse)
        self.out = nn.Conv2d(coarse, c.latent_channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, C, H/16, W/16)."""
        x = self.stem(F.pixel_unshuffle(pixels, _STEM))  # (B, fine, H/8, W/8)
        x = self.down(F.pixel_unshuffle(self.fine(x), 2))  # (B, coarse, H/16, W/16)
        return self.out(self.norm(self.coarse(x)))


class Decoder(nn.Module):
    def __init__(self, c: VQGANConfig) -> None:
        super().__init__()
        fine, coarse = c.fine_channels, c.coarse_channels
        self.styled = bool(c.large and c.large_styles)
        self.stem = nn.Conv2d(c.latent_channels, coarse, 3, padding=1)
        self.coarse = nn.Sequential(*(ResidualBlock(coarse) for _ in range(c.decoder_blocks[0])))
        self.up = nn.Conv2d(coarse, 4 * fine, 1)
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(c.decoder_blocks[1])))
        last, self.scale = fine, _STEM
        if c.finest_channels:
            last, self.scale = c.finest_channels, _STEM // 2
            self.finest_up = nn.Conv2d(fine, 4 * last, 1)
            self.finest = nn.Sequential(*(ResidualBlock(last) for _ in range(c.finest_blocks)))
        self.norm = PositionNorm(last)
        self.out = nn.Conv2d(last, 3 * self.scale**2, 3, padding=1)
        if c.large:
            wide, side = c.large_channels, self.scale  # of a position at 1/2 of the resolution
            self.large_up = nn.Conv2d(last, (side // 2) ** 2 * wide, 1)
            if c.large_styles:
                self.large_style = nn.Embedding(1 + len(c.large_styles), wide)
                nn.init.zeros_(self.large_style.weight)
            self.large_blocks = nn.Sequential(*(ResidualBlock(wide) for _ in range(c.large_blocks)))
            self.large_norm = PositionNorm(wide)
            self.large_out = nn.Conv2d(wide, 3 * _LARGE**2, 3, padding=1)
            nn.init.zeros_(self.large_out.weight)
            assert self.large_out.bias is not None
            nn.init.zeros_(self.large_out.bias)

    def features(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) -> what both sizes are drawn from, at 1/4 or 1/8 of the resolution."""
        x = self.coarse(self.stem(latents))
        x = self.fine(F.pixel_shuffle(self.up(x), 2))
        if self.scale < _STEM:
            x = self.finest(F.pixel_shuffle(self.finest_up(x), 2))
        return x

    def draw(self, x: Tensor) -> Tensor:
        """Features -> (B, 3, 16h, 16w), about [-1, 1], not clamped."""
        return F.pixel_shuffle(self.out(F.silu(self.norm(x))), self.scale)

    def draw_large(self, x: Tensor, styles: Tensor) -> Tensor:
        """Features -> (B, 3, 32h, 32w), about [-1, 1], not clamped: the small picture enlarged, and
        what it has no room for. `styles` (B,) int64: 0, or which of `large_styles`, from 1 on;
        codes alone do not say whether strokes are a pencil's or just noise."""
        small = enlarged(self.draw(x))
        x = F.pixel_shuffle(self.large_up(x), self.scale // 2)
        if self.styled:
            x = x + self.large_style(styles)[:, :, None, None].to(x.dtype)
        x = self.large_blocks(x)
        return small + F.pixel_shuffle(self.large_out(F.silu(self.large_norm(x))), _LARGE)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, 16h, 16w), about [-1, 1], not clamped."""
        return self.draw(self.features(latents))


class ProductQuantizer(nn.Module):
    """`groups` codebooks side by side, learned as moving averages of what is assigned to them.

    Source: van den Oord et al. 2017, appendix A.1 (moving averages).
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, groups: int, size: int, channels: int) -> None:
        super().__init__()
        self.groups, self.size, self.channels = groups, size, channels
        self.register_buffer("codebook", torch.randn(groups, size, channels))  # (G, K, D)
        # Statistics of training alone: not part of a shipped model.
        self.register_buffer("counts", torch.ones(groups, size), persistent=False)
        self.register_buffer("sums", torch.randn(groups, size, channels), persistent=False)

    def split(self, latents: Tensor) -> Tensor:
        """(B, G*D, h, w) -> (G, B*h*w, D), positions in raster order."""
        b, _, h, w = latents.shape
        x = latents.view(b, self.groups, self.channels, h * w)
        return x.permute(1, 0, 3, 2).reshape(self.groups, b * h * w, self.channels)

    def indices(self, latents: Tensor) -> Tensor:
        """Nearest entries: (B, G*D, h, w) -> (B, h*w, G) int64."""
        b = latents.shape[0]
        # In full precision whatever the caller runs in: a rounded distance picks another entry.
        with torch.autocast(latents.device.type, enabled=False):
            x = self.split(latents.float())  # (G, N, D)
            book = self.codebook.float().transpose(1, 2)  # (G, D, K)
            sizes = book.square().sum(1, keepdim=True)  # (G, 1, K)
            # Squared distance less |x|^2, a few rows at a time: large codebooks have large tables.
            rows = max(1, _TABLE // (self.groups * self.size))
            parts = [
                torch.baddbmm(sizes, part, book, alpha=-2.0).argmin(-1)
                for part in x.split(rows, dim=1)
            ]
        return torch.cat(parts, dim=1).view(self.groups, b, -1).permute(1, 2, 0)

    def lookup(self, indices: Tensor, height: int, width: int) -> Tensor:
        """(B, h*w, G) int64 -> (B, G*D, h, w)."""
        b = indices.shape[0]
        parts = [F.embedding(indices[..., g], self.codebook[g]) for g in range(self.groups)]
        x = torch.stack(parts, dim=1)  # (B, G, h*w, D)
        return x.permute(0, 1, 3, 2).reshape(b, self.groups * self.channels, height, width)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise, gradients passed straight through: -> (quantised, indices (B, h*w, G))."""
        with torch.no_grad():
            indices = self.indices(latents)
            nearest = self.lookup(indices, latents.shape[2], latents.shape[3]).to(latents.dtype)
        return latents + (nearest - latents).detach(), indices

    def random(self, grid: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
        """`count` grids (h, w) of random entries: (count, G*D, h, w); `generator` on the CPU."""
        height, width = grid
        shape = (count, height * width, self.groups)
        indices = torch.randint(self.size, shape, generator=generator)
        return self.lookup(indices.to(self.codebook.device), height, width)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of each latent channel, (1, G*D, 1, 1)."""
        low, high = self.codebook.amin(1), self.codebook.amax(1)
        return low.reshape(1, -1, 1, 1), high.reshape(1, -1, 1, 1)

    @torch.no_grad()
    def adapt(
        self, latents: Tensor, indices: Tensor, generator: torch.Generator, *, revive: bool = True
    ) -> None:
        """One moving-average step of the codebooks; with `revive`, entries nobody uses are
        re-seeded (which waits for a graphics card, so not at every step)."""
        decay = 0.98
        x = self.split(latents.float())
        for g in range(self.groups):
            ids = indices[..., g].reshape(-1)
            counts = torch.bincount(ids, minlength=self.size).float()
            sums = torch.zeros_like(self.sums[g]).index_add_(0, ids, x[g])
            self.counts[g].mul_(decay).add_(counts, alpha=1 - decay)
            self.sums[g].mul_(decay).add_(sums, alpha=1 - decay)
            dead = self.counts[g] < 0.02 * self.counts[g].mean()
            if revive and len(dead := dead.nonzero()[:, 0]):
                pick = torch.randint(len(x[g]), (len(dead),), generator=generator)
                self.sums[g, dead] = x[g, pick.to(x.device)] * self.counts[g].mean()
                self.counts[g, dead] = self.counts[g].mean()
            self.codebook[g] = self.sums[g] / self.counts[g][:, None].clamp_min(1e-5)

    @torch.no_grad()
    def seed_from(self, latents: Tensor, generator: torch.Generator, rounds: int = 6) -> None:
        """Start the codebooks from data: k-means over (B, G*D, h, w), `rounds` of Lloyd."""
        x = self.split(latents.float())
        for g in range(self.groups):
            pick = torch.randperm(x.shape[1], generator=generator)[: self.size].to(x.device)
            centres = x[g, pick].clone()
            for _ in range(rounds):
                ids = torch.cdist(x[g], centres).argmin(1)
                counts = torch.bincount(ids, minlength=self.size).float()
                sums = torch.zeros_like(centres).index_add_(0, ids, x[g])
                used = counts > 0
                centres[used] = sums[used] / counts[used, None]
            self.codebook[g] = centres
            self.sums[g] = centres
            self.counts[g] = 1.0


class VQGAN(nn.Module):
    """Encoder, codebooks, decoder."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer = ProductQuantizer(config.groups, config.codebook_size, config.code_channels)
        self.decoder = Decoder(config)

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device) -> VQGAN:
        """Raises ModelUnavailable."""
        values = read_config(folder)
        older = values.pop("large", False)
        with building(folder):
            for name in ("encoder_blocks", "decoder_blocks", "large_styles"):
                values[name] = tuple(values.get(name, ()))
            model = cls(VQGANConfig(**values))
        # Models of before drew large pictures in another way, which is left out.
        load_weights(model, folder, without=".large_" if older else "")
        return model.to(device).eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return self.quantizer.codebook.device

    @property
    def stride(self) -> int:
        return STRIDE

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture. Raises InvalidInput when a side is no multiple of 16."""
        return self.config.latent_channels, *grid_of(width, height, STRIDE)

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], sides multiples of 16 -> latents (B, C, H/16, W/16)."""
        return self.encoder(pixels)

    def quantise(self, latents: Tensor) -> Tensor:
        """The nearest entries, (B, C, h, w) -> the same; gradients pass straight through."""
        return self.quantizer(latents)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents, quantised or not -> pixels (B, 3, 16h, 16w), about [-1, 1]."""
        return self.decoder(latents)

    def decode_large(self, latents: Tensor, styles: Tensor | None = None) -> Tensor:
        """Latents -> pixels (B, 3, 32h, 32w), about [-1, 1]; needs `config.large`. `styles` are as
        in `Decoder.draw_large`, none of them by default."""
        if styles is None:
            styles = torch.zeros(len(latents), dtype=torch.long, device=latents.device)
        return self.decoder.draw_large(self.decoder.features(latents), styles)

    def style_index(self, style: str) -> int:
        """What `decode_large` calls a style; 0 for one that it has no look for."""
        known = self.config.large_styles
        return 1 + known.index(style) if style in known else 0

    def finish(self, latents: Tensor, style: str = "") -> Tensor:
        """As `decode_large` (twice the side), in the look of `style`, where this VQGAN has it, else
        as `decode`."""
        if not self.config.large:
            return self.decode(latents)
        styles = torch.full((len(latents),), self.style_index(style), device=latents.device)
        return self.decode_large(latents, styles)

    def random_latents(
        self, width: int, height: int, count: int, generator: torch.Generator
    ) -> Tensor:
        """`count` grids of random codebook entries, (count, C, h, w); `generator` on the CPU."""
        return self.quantizer.random(grid_of(width, height, STRIDE), count, generator)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Least and greatest value of each channel over the codebooks, (1, C, 1, 1) each."""
        return self.quantizer.bounds()

    def decode_indices(self, indices: Tensor, height: int | None = None) -> Tensor:
        """Codes (B, h*w, G) -> pixels in [-1, 1]; `height` in positions, square by default."""
        n = indices.shape[1]
        h = height or math.isqrt(n)
        return self.decode(self.quantizer.lookup(indices, h, n // h)).clamp(-1, 1)


@torch.no_grad()
def unfinished(vqgan: VQGAN, codes: Tensor, rows: int, grid: tuple[int, int]) -> Image:
    """A picture of `grid` (h, w) positions of which only the upper `rows` rows are drawn, codes
    (1, rows * w, G): PIL RGB, paper below."""
    height, width = (side * vqgan.stride for side in grid)
    pixels = vqgan.decode_indices(codes.to(vqgan.device), rows)[0]
    page = torch.full((3, height, width), 0.93, device=vqgan.device)
    page[:, : rows * vqgan.stride] = pixels
    return to_picture(page)
