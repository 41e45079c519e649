"""CLIP as Radford et al. 2021 publish it, written plainly and apart from the app, with OpenAI's
names: what readers of archives are compared with, and archives to read."""

from __future__ import annotations

import copy
import gzip
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MERGES = (("f", "o"), ("fo", "x</w>"), ("o", "w"), ("ow", "l</w>"))
LETTERS = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))]
LETTERS += [chr(256 + n) for n in range(256 - len(LETTERS))]
TOKENS = [*LETTERS, *(x + "</w>" for x in LETTERS), *("".join(m) for m in MERGES),
          "<|startoftext|>", "<|endoftext|>"]  # fmt: skip
CONTEXT, WIDTH, OUT = 12, 64, 24


def write_vocabulary(folder: Path) -> None:
    """OpenAI's file: a line that is no merge, then the merges (and, there, more than are used)."""
    lines = ['"bpe_simple_vocab_16e6.txt#version: 0.2', *(" ".join(m) for m in MERGES), "n o"]
    with gzip.open(folder / "bpe_simple_vocab_16e6.txt.gz", "wt", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, mask: Tensor | None) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C) -> the same."""
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=self.mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, mask: Tensor | None = None) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width, mask) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class VisionTransformer(nn.Module):
    def __init__(self, side: int, patch: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, 2)
        self.proj = nn.Parameter(torch.randn(width, OUT))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).permute(2, 0, 1)  # (N, B, C)
        first = self.class_embedding.expand(1, x.shape[1], -1)
        x = torch.cat([first, x]) + self.positional_embedding[:, None]
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[0]) @ self.proj


class Bottleneck(nn.Module):
    def __init__(self, before: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.stride = stride
        if stride > 1 or before != planes * 4:
            self.downsample = nn.Sequential()
            self.downsample.add_module("-1", nn.AvgPool2d(stride))
            self.downsample.add_module("0", nn.Conv2d(before, planes * 4, 1, bias=False))
            self.downsample.add_module("1", nn.BatchNorm2d(planes * 4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(F.avg_pool2d(y, self.stride)))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class AttentionPool(nn.Module):
    def __init__(self, side: int, width: int, heads: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, width) / width**0.5)
        self.k_proj, self.q_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.c_proj = nn.Linear(width, width), nn.Linear(width, OUT)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.positional_embedding[:, None]
        bias = torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias])
        return F.multi_head_attention_forward(
            x[:1], x, x, x.shape[-1], self.heads, None, bias, None, None, False, 0.0,
            self.c_proj.weight, self.c_proj.bias, training=False, need_weights=False,
            use_separate_proj_weight=True, q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight, v_proj_weight=self.v_proj.weight,
        )[0][0]  # fmt: skip


class ModifiedResNet(nn.Module):
    def __init__(self, width: int, layers: tuple[int, int, int, int], side: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(c) for c in (half, half, width))
        self.layer1 = self._layer(width, width, layers[0], 1)
        self.layer2 = self._layer(4 * width, 2 * width, layers[1], 2)
        self.layer3 = self._layer(8 * width, 4 * width, layers[2], 2)
        self.layer4 = self._layer(16 * width, 8 * width, layers[3], 2)
        self.attnpool = AttentionPool(side, 32 * width, 32 * width // 64)

    @staticmethod
    def _layer(before: int, planes: int, count: int, stride: int) -> nn.Sequential:
        more = (Bottleneck(4 * planes, planes, 1) for _ in range(count - 1))
        return nn.Sequential(Bottleneck(before, planes, stride), *more)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = F.avg_pool2d(self.bn3(self.conv3(x)).relu(), 2)
        return self.attnpool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


class PlainCLIP(nn.Module):
    """With a vision transformer of 16 patches of 8, or a ResNet for 64x64 pixels."""

    def __init__(self, *, resnet: bool) -> None:
        super().__init__()
        self.visual = ModifiedResNet(8, (1, 2, 1, 1), 2) if resnet else VisionTransformer(4, 8, 128)
        mask = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)
        self.transformer = Transformer(WIDTH, 2, mask)
        self.token_embedding = nn.Embedding(len(TOKENS), WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, WIDTH))
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.randn(WIDTH, OUT))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        for name, module in self.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.copy_(0.1 * torch.randn_like(module.running_mean))
                module.running_var.copy_(0.5 + torch.rand_like(module.running_var))
            elif isinstance(module, nn.Linear | nn.Conv2d) and "attn" not in name:
                nn.init.kaiming_normal_(module.weight)
        for weight in self.parameters():  # what half precision holds
            weight.data = weight.data.half().float()
        for buffer in self.buffers():
            if buffer.is_floating_point():
                buffer.copy_(buffer.half())
        self.eval().requires_grad_(False)

    def encode_image(self, x: Tensor) -> Tensor:
        return self.visual(x)

    def encode_text(self, ids: Tensor) -> Tensor:
        """(B, CONTEXT), zeros behind the end."""
        x = self.token_embedding(ids) + self.positional_embedding
        x = self.ln_final(self.transformer(x.transpose(0, 1))).transpose(0, 1)
        return x[torch.arange(len(x)), ids.argmax(-1)] @ self.text_projection

    def forward(self, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.encode_image(x), self.encode_text(ids)


def write_archive(model: PlainCLIP, path: Path) -> Path:
    """As OpenAI published them: TorchScript in half precision."""
    side = 64 if isinstance(model.visual, ModifiedResNet) else 32
    inputs = torch.zeros(1, 3, side, side), torch.zeros(1, CONTEXT, dtype=torch.long)
    with warnings.catch_warnings():  # tracing is a thing of the past, and so are the archives
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(copy.deepcopy(model), inputs, check_trace=False)
        torch.jit.save(traced.half(), str(path))
    return path
