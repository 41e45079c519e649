"""CLIP's two transformers in plain PyTorch: what the embedded CLIP is made of.

Source: Radford et al. 2021. Names of weights, shapes and first values are those of transformers'
`CLIPModel`, which takes the same files but whose import takes seconds (see `pipelines/gpt2.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipelines.vqgan_clip.lighter import PatchConv, attend, quick_gelu

NORM_EPSILON = 1e-5
LOGIT_SCALE = math.log(1 / 0.07)


class Seen(NamedTuple):
    """What a tower says of its inputs."""

    last_hidden_state: Tensor
    """(B, T, W), of every position."""
    pooler_output: Tensor
    """(B, W), of the whole."""


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (
            nn.Linear(width, width) for _ in range(4)
        )
        for layer in (self.k_proj, self.v_proj, self.q_proj):
            nn.init.normal_(layer.weight, std=(2 * layers * width) ** -0.5)
        nn.init.normal_(self.out_proj.weight, std=width**-0.5)
        for layer in (self.k_proj, self.v_proj, self.q_proj, self.out_proj):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, allowed: Tensor | None) -> Tensor:
        """(B, T, W) -> (B, T, W); `allowed` (B, 1, T, T) says who sees whom, None: all all."""
        b, t, width = x.shape
        query, key, value = (
            layer(x).view(b, t, self.heads, -1).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = attend(query, key, value, allowed)
        return self.out_proj(mixed.transpose(1, 2).reshape(b, t, width))


class MLP(nn.Module):
    def __init__(self, width: int, inner: int, layers: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        nn.init.normal_(self.fc1.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.fc2.weight, std=(2 * layers * width) ** -0.5)
        nn.init.zeros_(self.fc1.bias)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., W) -> (..., W). OpenAI's CLIP has this approximation of GELU."""
        return self.fc2(quick_gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, inner: int, heads: int, layers: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, layers)
        self.layer_norm1 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.mlp = MLP(width, inner, layers)
        self.layer_norm2 = nn.LayerNorm(width, eps=NORM_EPSILON)

    def forward(self, x: Tensor, allowed: Tensor | None) -> Tensor:
        """(B, T, W) -> (B, T, W)."""
        x = x + self.self_attn(self.layer_norm1(x), allowed)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, c: Mapping[str, Any]) -> None:
        super().__init__()
        layers = c["num_hidden_layers"]
        self.layers = nn.ModuleList(
            Block(c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], layers)
            for _ in range(layers)
        )

    def forward(self, x: Tensor, allowed: Tensor | None = None) -> Tensor:
        """(B, T, W) -> (B, T, W)."""
        for layer in self.layers:
            x = layer(x, allowed)
        return x


class ImageEmbeddings(nn.Module):
    def __init__(self, c: Mapping[str, Any]) -> None:
        super().__init__()
        width, patch = c["hidden_size"], c["patch_size"]
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.patch_embedding = PatchConv(3, width, patch, patch, bias=False)
        places = (c["image_size"] // patch) ** 2 + 1
        self.position_embedding = nn.Embedding(places, width)
        nn.init.normal_(self.patch_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 1 + P, W), the class in front."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        cls = self.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        return torch.cat([cls, patches], dim=1) + self.position_embedding.weight


class ImageTower(nn.Module):
    def __init__(self, c: Mapping[str, Any]) -> None:
        super().__init__()
        self.embeddings = ImageEmbeddings(c)
        self.pre_layrnorm = nn.LayerNorm(
            c["hidden_size"], eps=NORM_EPSILON
        )  # the files spell it so
        self.encoder = Encoder(c)
        self.post_layernorm = nn.LayerNorm(c["hidden_size"], eps=NORM_EPSILON)

    def forward(self, pixels: Tensor) -> Seen:
        """(B, 3, S, S) in [-1, 1]; positions are the class and the patches."""
        x = self.encoder(self.pre_layrnorm(self.embeddings(pixels)))
        return Seen(x, self.post_layernorm(x[:, 0]))


class TextEmbeddings(nn.Module):
    def __init__(self, c: Mapping[str, Any]) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.position_embedding = nn.Embedding(c["max_position_embeddings"], c["hidden_size"])
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, W)."""
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextTower(nn.Module):
    def __init__(self, c: Mapping[str, Any]) -> None:
        super().__init__()
        self.end: int = c["eos_token_id"]
        self.embeddings = TextEmbeddings(c)
        self.encoder = Encoder(c)
        self.final_layer_norm = nn.LayerNorm(c["hidden_size"], eps=NORM_EPSILON)

    def forward(self, ids: Tensor, mask: Tensor) -> Seen:
        """Tokens and mask (B, T); the whole is what stands at the first end token."""
        t = ids.shape[1]
        before = torch.ones(t, t, dtype=torch.bool, device=ids.device).tril()
        allowed = before & (mask[:, None, None] > 0)
        x = self.final_layer_norm(self.encoder(self.embeddings(ids), allowed))
        ends = (ids == self.end).int().argmax(dim=1)
        return Seen(x, x[torch.arange(len(x), device=x.device), ends])


class CLIPModel(nn.Module):
    """Both towers and what brings them into one space. `config` as `embedded_config` writes it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        image, text, width = (
            config["vision_config"],
            config["text_config"],
            config["projection_dim"],
        )
        self.vision_model, self.text_model = ImageTower(image), TextTower(text)
        self.visual_projection = nn.Linear(image["hidden_size"], width, bias=False)
        self.text_projection = nn.Linear(text["hidden_size"], width, bias=False)
        for projection in (self.visual_projection, self.text_projection):
            nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE))
