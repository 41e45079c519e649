"""CLIP behind one small interface: pictures and prompts become unit vectors in the same space.

Source: Radford et al. 2021. The embedded model is a small one with our own tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.tokenizer import END_ID, PAD_ID, TEXT_LENGTH, load_tokenizer, prompt_ids
from pipelines.vqgan_clip.clip_model import CLIPModel
from pipelines.weights import building, load_weights, read_config


def embedded_config(
    *,
    image_size: int = 128,
    patch: int = 16,
    width: int = 256,
    image_layers: int = 6,
    text_layers: int = 3,
    projection: int = 256,
) -> dict[str, Any]:
    """Shape of an embedded CLIP, as plain values."""
    heads = width // 64
    shape = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": heads}
    return {
        "projection_dim": projection,
        "vision_config": {
            **shape, "num_hidden_layers": image_layers, "image_size": image_size,
            "patch_size": patch, "projection_dim": projection,
        },
        "text_config": {
            **shape, "num_hidden_layers": text_layers, "projection_dim": projection,
            "vocab_size": load_tokenizer().get_vocab_size(),
            "max_position_embeddings": TEXT_LENGTH, "bos_token_id": PAD_ID,
            "eos_token_id": END_ID, "pad_token_id": PAD_ID,
        },
    }  # fmt: skip


def tokenize(
    prompts: Sequence[str], device: torch.device, length: int = 0
) -> tuple[Tensor, Tensor]:
    """-> ids and mask, (B, T) int64, padded to `length` or the longest prompt."""
    rows = [prompt_ids(p) for p in prompts]
    length = max(length, *map(len, rows))
    ids = torch.tensor([r + [PAD_ID] * (length - len(r)) for r in rows], device=device)
    mask = torch.tensor([[1] * len(r) + [0] * (length - len(r)) for r in rows], device=device)
    return ids, mask


class CLIP(nn.Module):
    """The embedded CLIP. Pictures are (B, 3, S, S) in [-1, 1], S = `image_size`."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.image_size: int = config["vision_config"]["image_size"]
        self.model = CLIPModel(config)

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device) -> CLIP:
        """Raises ModelUnavailable."""
        values = read_config(folder)
        with building(folder):
            clip = cls(values)
        load_weights(clip, folder)
        return clip.to(device).eval().requires_grad_(False)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """-> (B, D), unit length."""
        seen = self.model.vision_model(pixels)
        return F.normalize(self.model.visual_projection(seen.pooler_output), dim=-1)

    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """-> (B, D), unit length."""
        ids, mask = tokenize(prompts, self.model.logit_scale.device)
        read = self.model.text_model(ids, mask)
        return F.normalize(self.model.text_projection(read.pooler_output), dim=-1)
