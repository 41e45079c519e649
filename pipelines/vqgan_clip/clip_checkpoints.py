"""Public CLIP and SigLIP checkpoints behind `PictureTextModel`.

Source: Radford et al. 2021 (arXiv 2103.00020) and Zhai et al. 2023 (arXiv 2303.15343), in the
classes of transformers, which also name their tokenizers and the way pixels are normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.hub import complete, load_named
from pipelines.vqgan_clip.lighter import PatchConv, QuickGELU, attend
from pipelines.vqgan_clip.models import fingerprint

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the pixels in [0, 1] that OpenAI's CLIPs were trained on."""


class PixelNorm(nn.Module):
    """Pixels in [-1, 1] -> what a model was trained on: (pixels in [0, 1] - mean) / std."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        m, s = torch.tensor(mean), torch.tensor(std)
        self.register_buffer("scale", (0.5 / s).view(-1, 1, 1), persistent=False)
        self.register_buffer("shift", ((0.5 - m) / s).view(-1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same."""
        return pixels * self.scale + self.shift


class TransformersCLIP(nn.Module):
    """A CLIP or SigLIP of transformers, frozen."""

    def __init__(
        self, model: Any, tokenizer: Any, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.norm = PixelNorm(mean, std)
        self._fixed_length = model.config.model_type.startswith("siglip")
        self._length: int = model.config.text_config.max_position_embeddings
        self._halved = False
        self.fingerprint = ""
        """Of the weights before they were halved; "" of others."""
        self.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, name: str, device: torch.device) -> TransformersCLIP:
        """By folder or hub name. Raises: ModelUnavailable, at once where no hub is reached."""
        from transformers import AutoConfig, AutoModel, AutoTokenizer, BaseImageProcessor

        def load(local: bool) -> TransformersCLIP:
            config: Any = AutoConfig.from_pretrained(name, local_files_only=local)
            check_kind(config)
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
            # Not in the file's own precision: the gradients of a view round to 0 in float16.
            model = complete(
                AutoModel.from_pretrained(
                    name, config=config, dtype=torch.float32, local_files_only=local,
                    output_loading_info=True,
                )
            )  # fmt: skip
            mean, std = CLIP_MEAN, CLIP_STD
            if config.model_type.startswith("siglip"):
                mean = std = (0.5, 0.5, 0.5)
            try:
                said, _ = BaseImageProcessor.get_image_processor_dict(name, local_files_only=local)
            except OSError:  # a folder without preprocessor_config.json: the usual values
                said = {}
            return cls(
                model, tokenizer, said.get("image_mean") or mean, said.get("image_std") or std
            )

        found = load_named(
            name, "CLIP", load,
            needs="config.json, model.safetensors and the tokenizer's files (tokenizer.json, or "
            "vocab.json and merges.txt) of a CLIP or SigLIP",
            instead="an OpenAI archive (.pt) by its path, or “embedded”",
        )  # fmt: skip
        lighten(found.model)
        return found.to(device)

    @property
    def image_size(self) -> int:
        return self.model.config.vision_config.image_size

    def halve(self) -> None:
        """Keep the matrices that pictures go through in bfloat16 alone, as guidance in low
        precision takes them in every step: less than half of the memory, and the same values."""
        self.fingerprint = fingerprint(self)
        self._halved = halve(self.model)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, D), unit length."""
        low = torch.autocast(pixels.device.type, torch.bfloat16) if self._halved else nullcontext()
        with low:
            seen = self.model.get_image_features(pixel_values=self.norm(pixels))
        return F.normalize(seen.pooler_output.float(), dim=-1)

    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """-> (B, D), unit length; cut at the model's limit."""
        words = self.tokenizer(
            list(prompts), padding="max_length" if self._fixed_length else True, truncation=True,
            max_length=self._length, return_tensors="pt",
        )  # fmt: skip
        inputs = {"input_ids": words["input_ids"].to(self.norm.scale.device)}
        if not self._fixed_length:  # SigLIP reads its padding, as it did in training
            inputs["attention_mask"] = words["attention_mask"].to(self.norm.scale.device)
        read = self.model.get_text_features(**inputs)
        return F.normalize(read.pooler_output.float(), dim=-1)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float, dropout: float = 0.0, **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """`attend` as transformers calls such a thing."""
    return attend(query, key, value, attention_mask, scaling).transpose(1, 2).contiguous(), None


def lighten(model: Any) -> None:
    """Give the image tower, through which gradients go, parts whose gradients cost less."""
    tower = getattr(model, "vision_model", None)
    if tower is None:  # OpenAI's ResNets
        return
    from transformers import AttentionInterface
    from transformers.activations import QuickGELUActivation

    AttentionInterface.register("storybrush", _attention)
    tower.config._attn_implementation = "storybrush"
    for part in [*tower.modules()]:
        for name, child in part.named_children():
            if isinstance(child, QuickGELUActivation):
                setattr(part, name, QuickGELU())
            elif type(child) is nn.Conv2d and PatchConv.fits(child):
                setattr(part, name, PatchConv.of(child))


def halve(model: Any) -> bool:
    """Round the matrices of the image tower to bfloat16 -> whether there is one."""
    tower = getattr(model, "vision_model", None)
    if tower is None:
        return False
    for part in tower.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            part.to(torch.bfloat16)
    return True


def check_kind(config: Any) -> None:
    """Raises ValueError when a config is not that of a model of pictures and texts."""
    vision = getattr(config, "vision_config", None)
    text = getattr(config, "text_config", None)
    size = getattr(vision, "image_size", None)
    if not isinstance(size, int) or not hasattr(text, "max_position_embeddings"):
        kind = cast(str, getattr(config, "model_type", "")) or "something else"
        raise ValueError(f"its config.json is of {kind}, not of a CLIP or SigLIP")
