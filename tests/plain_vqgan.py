"""VQGAN as Esser et al. 2021 publish it (table 7), written plainly and apart from the app, with the
names of taming-transformers: what conversions are compared with, and checkpoints to convert."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class Residual(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = norm(after), nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = (f(self.norm(x)).view(b, c, h * w) for f in (self.q, self.k, self.v))
        weights = torch.einsum("bci,bcj->bij", q, k).div(c**0.5).softmax(-1)
        mixed = torch.einsum("bij,bcj->bci", weights, v).view(b, c, h, w)
        return x + self.proj_out(mixed)


def middle(channels: int) -> nn.Module:
    part = nn.Module()
    part.block_1, part.attn_1, part.block_2 = (
        Residual(channels, channels), Attention(channels), Residual(channels, channels)
    )  # fmt: skip
    return part


def through_middle(part: Any, x: Tensor) -> Tensor:
    return part.block_2(part.attn_1(part.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, widths: list[int], blocks: int, attention: int, z: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        before = widths[0]
        for n, width in enumerate(widths):
            level = nn.Module()
            level.block, level.attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(blocks):
                level.block.append(Residual(before, width))
                before = width
                if n == attention:
                    level.attn.append(Attention(width))
            if n < len(widths) - 1:
                level.downsample = nn.Module()
                level.downsample.conv = nn.Conv2d(width, width, 3, stride=2)
            self.down.append(level)
        self.mid = middle(before)
        self.norm_out, self.conv_out = norm(before), nn.Conv2d(before, z, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            part: Any = level
            for n, block in enumerate(part.block):
                h = block(h)
                h = part.attn[n](h) if len(part.attn) else h
            if hasattr(part, "downsample"):
                h = part.downsample.conv(F.pad(h, (0, 1, 0, 1)))
        return self.conv_out(F.silu(self.norm_out(through_middle(self.mid, h))))


class Decoder(nn.Module):
    def __init__(self, widths: list[int], blocks: int, attention: int, z: int) -> None:
        super().__init__()
        before = widths[-1]
        self.conv_in = nn.Conv2d(z, before, 3, padding=1)
        self.mid = middle(before)
        levels: list[nn.Module] = []
        for n in reversed(range(len(widths))):
            level = nn.Module()
            level.block, level.attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(blocks + 1):
                level.block.append(Residual(before, widths[n]))
                before = widths[n]
                if n == attention:
                    level.attn.append(Attention(before))
            if n:
                level.upsample = nn.Module()
                level.upsample.conv = nn.Conv2d(before, before, 3, padding=1)
            levels.insert(0, level)
        self.up = nn.ModuleList(levels)
        self.norm_out, self.conv_out = norm(before), nn.Conv2d(before, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = through_middle(self.mid, self.conv_in(z))
        for level in reversed(self.up):
            part: Any = level
            for n, block in enumerate(part.block):
                h = block(h)
                h = part.attn[n](h) if len(part.attn) else h
            if hasattr(part, "upsample"):
                h = part.upsample.conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(h)))


class PlainVQGAN(nn.Module):
    """`attention`: the level that has it (-1: none); `gumbel`: codes are chosen by a layer."""

    def __init__(
        self,
        *,
        multipliers: tuple[int, ...] = (1, 1, 2, 2, 4),
        blocks: int = 1,
        attention: int = 4,
        channels: int = 32,
        z: int = 16,
        code: int = 8,
        codes: int = 24,
        gumbel: bool = False,
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.gumbel = gumbel
        self.encoder = Encoder(widths, blocks, attention, z)
        self.decoder = Decoder(widths, blocks, attention, z)
        self.quant_conv = nn.Conv2d(z, code, 1)
        self.post_quant_conv = nn.Conv2d(code, z, 1)
        self.quantize = nn.Module()
        entries = nn.Embedding(codes, code)
        if gumbel:
            self.quantize.proj = nn.Conv2d(code, codes, 1)
            self.quantize.embed = entries
        else:
            self.quantize.embedding = entries
        with torch.no_grad():  # norms that do something, and codes near what is encoded
            for name, weight in self.named_parameters():
                if "norm" in name:
                    weight.add_(0.3 * torch.randn_like(weight))
            entries.weight.mul_(0.3)

    @property
    def entries(self) -> Tensor:
        part: Any = self.quantize
        return part.embed.weight if self.gumbel else part.embedding.weight

    def indices(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, h, w)."""
        z = self.quant_conv(self.encoder(pixels))
        part: Any = self.quantize
        if self.gumbel:
            return part.proj(z).argmax(1)
        apart = z.permute(0, 2, 3, 1)[..., None, :] - self.entries  # (B, h, w, K, D)
        return apart.square().sum(-1).argmin(-1)

    def draw(self, indices: Tensor) -> Tensor:
        """(B, h, w) -> pixels (B, 3, H, W)."""
        return self.decoder(self.post_quant_conv(self.entries[indices].permute(0, 3, 1, 2)))
