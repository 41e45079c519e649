"""The second embedded CLIP, which knows pages of real picture books.

A picture is what EfficientNet-Lite sees in it, a text the sum of what its words mean apart (a table
distilled from a sentence encoder; the weights of frequent words are small, Arora et al. 2017); a
linear layer each brings both into one space. Nothing but these two layers was trained on pages, so
that a few dozen pictures of one's own teach them, too (`python -m finetune.clip --base pages`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor, nn

from pipelines.durable import write_whole
from pipelines.errors import ModelUnavailable, StorageError
from pipelines.vqgan_clip.efficientnet import LITE0, STEM, EfficientNetLite, Stage
from pipelines.weights import building, check_file, load_weights, read_config, save_model

TEXT_LENGTH = 128
"""Longest text, in tokens."""
LONGEST = 100 * TEXT_LENGTH
"""In characters: what stands behind is not looked at."""
UNKNOWN = "[UNK]"
VOCABULARY = "vocab.txt"


def pages_config(
    *,
    image_size: int = 224,
    stages: Sequence[Stage] = LITE0,
    stem: int = STEM,
    features: int = 1280,
    word_width: int = 64,
    projection: int = 128,
) -> dict[str, Any]:
    """Its shape, as plain values. `image_size` is a multiple of 32."""
    return {
        "image_size": image_size, "stages": [list(s) for s in stages], "stem": stem,
        "features": features, "word_width": word_width, "projection_dim": projection,
    }  # fmt: skip


class PagesCLIP(nn.Module):
    """A `PictureTextModel`. `vocabulary`: the WordPiece tokens, among them UNKNOWN, of which the
    table says nothing."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: dict[str, Any], vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.config, self.vocabulary = config, list(vocabulary)
        self.image_size: int = config["image_size"]
        if self.image_size % 32 or self.image_size <= 0:
            raise ValueError(f"image_size is {self.image_size}, not a multiple of 32")
        features, width, out = (config[k] for k in ("features", "word_width", "projection_dim"))
        stages = [Stage(*s) for s in config["stages"]]
        self.trunk = EfficientNetLite(stages, config["stem"], features)
        self.register_buffer("mean", torch.zeros(features))  # of the features over many pages
        self.register_buffer("deviation", torch.ones(features))
        self.words = nn.EmbeddingBag(len(self.vocabulary), width, mode="sum")
        self.visual_projection = nn.Linear(features, out)
        self.text_projection = nn.Linear(width, out)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.tokenizer = wordpiece(self.vocabulary)

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device) -> PagesCLIP:
        """Raises ModelUnavailable."""
        values = read_config(folder)
        try:
            text = check_file(folder / VOCABULARY).read_text(encoding="utf-8")
        except UnicodeDecodeError as e:
            raise ModelUnavailable(f"The file {folder / VOCABULARY} is no vocabulary: {e}.") from e
        with building(folder):
            clip = cls(values, text.splitlines())
        load_weights(clip, folder)
        return clip.to(device).eval().requires_grad_(False)

    def save(self, folder: Path, *, int8: bool = True) -> None:
        """Write what `from_pretrained` reads. Raises StorageError."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / VOCABULARY, ("\n".join(self.vocabulary) + "\n").encode())
        except OSError as e:
            raise StorageError(
                f"The vocabulary could not be written to {folder} ({e}): free some disk space and "
                "run the same command again."
            ) from e
        save_model(self, self.config, folder, int8=int8)

    def learned(self) -> list[nn.Parameter]:
        """What pictures with words teach: the two linear layers and the scale of the scores."""
        layers = (self.visual_projection, self.text_projection)
        return [*(p for layer in layers for p in layer.parameters()), self.logit_scale]

    def picture_features(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, F), standardised."""
        return (self.trunk(pixels) - self.mean) / self.deviation

    def text_features(self, prompts: Sequence[str]) -> Tensor:
        """-> (B, W), unit length; 0 of a text in which no token is known."""
        rows = [
            self.tokenizer.encode(p[:LONGEST].encode("utf-8", "replace").decode()).ids
            for p in prompts
        ]
        device = self.logit_scale.device
        starts = [0]
        for row in rows[:-1]:
            starts.append(starts[-1] + len(row))
        ids = torch.tensor([i for row in rows for i in row], dtype=torch.long, device=device)
        bags = self.words(ids, torch.tensor(starts[: len(rows)], dtype=torch.long, device=device))
        return F.normalize(bags, dim=-1)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """-> (B, D), unit length; gradients reach pixels."""
        return F.normalize(self.visual_projection(self.picture_features(pixels)), dim=-1)

    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """-> (B, D), unit length. Whatever says nothing that is known has one and the same."""
        return F.normalize(self.text_projection(self.text_features(prompts)), dim=-1)


def wordpiece(vocabulary: Sequence[str]) -> Tokenizer:
    """BERT's, uncased (Devlin et al. 2019), without its marks of beginning and end. Raises
    ValueError for a vocabulary without UNKNOWN, or with a token twice."""
    ids = {token: n for n, token in enumerate(vocabulary)}
    if UNKNOWN not in ids or len(ids) != len(vocabulary):
        raise ValueError(f"its vocabulary has a token twice, or no {UNKNOWN}")
    tokenizer = Tokenizer(WordPiece(ids, unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.enable_truncation(TEXT_LENGTH)
    return tokenizer
