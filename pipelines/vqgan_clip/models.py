"""What the picture maker asks of its models, whoever made them.

An `ImageCodec` turns pictures into latents and back (our VQGAN, or any VQModel of diffusers, to
which taming-transformers checkpoints are converted). A `PictureTextModel` puts pictures and words
into one space (our CLIP, CLIP and SigLIP of transformers, OpenAI's archives). Guidance knows these
two and no class behind them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class ImageCodec(Protocol):
    """Pictures (B, 3, H, W) in [-1, 1] <-> latents (B, C, H / stride, W / stride), float32.

    Weights are frozen; gradients reach the latents. Sides are multiples of `stride`.
    """

    @property
    def device(self) -> torch.device: ...

    @property
    def stride(self) -> int:
        """Pixels a latent stands for in each direction: 16 for an f16 VQGAN, 8 for f8."""
        ...

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture of `width` x `height` pixels. Raises InvalidInput."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels -> latents, not quantised."""
        ...

    def quantise(self, latents: Tensor) -> Tensor:
        """The nearest codebook entries, of the latents' shape; gradients pass straight through."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents, quantised or not, as they are -> pixels, about [-1, 1], not clamped.

        The picture of some latents is `decode(quantise(latents))`.
        """
        ...

    def finish(self, latents: Tensor, style: str = "") -> Tensor:
        """As `decode`, at twice the side, and in the look of a style (a key of `presets.STYLES`),
        where the decoder can draw that."""
        ...

    def random_latents(
        self, width: int, height: int, count: int, generator: torch.Generator
    ) -> Tensor:
        """`count` grids of random codebook entries, (count, C, h, w); `generator` on the CPU."""
        ...

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Least and greatest value of each channel over the codebook, (1, C, 1, 1) each."""
        ...


class PictureTextModel(Protocol):
    """Pictures and texts as unit vectors of the same space. Weights are frozen."""

    @property
    def image_size(self) -> int:
        """Side in pixels of the squares that `embed_images` takes."""
        ...

    def embed_images(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, D), unit length; S = `image_size`.

        The normalisation that the model was trained with happens inside. Gradients reach pixels.
        """
        ...

    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """-> (B, D), unit length; longer texts are cut at the model's limit."""
        ...


class WeightedModel(NamedTuple):
    """One of several models that guide a picture together; the weights add up to 1."""

    model: PictureTextModel
    weight: float = 1.0


def fingerprint(model: object) -> str:
    """12 hexadecimal digits of a SHA-256 of a model's weights, whatever file they came from; "" of
    what has none of its own."""
    if not isinstance(model, nn.Module):
        return ""
    if kept := getattr(model, "fingerprint", ""):
        return kept
    found: list[bytes] = []
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found.append(hashlib.sha256(content.numpy()).digest())
    # Sorted: another version of a library may name and order them differently.
    return hashlib.sha256(b"".join(sorted(found))).hexdigest()[:12]
