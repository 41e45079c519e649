"""The CLIP of pages at a size that a test can afford, randomly initialised."""

from __future__ import annotations

import torch

from pipelines.vqgan_clip.efficientnet import Stage
from pipelines.vqgan_clip.pages_clip import UNKNOWN, PagesCLIP, pages_config

PAGES_CONFIG = pages_config(
    image_size=32, stages=(Stage(3, 2, 1, 8, 1), Stage(5, 2, 2, 16, 2)), stem=8, features=64,
    word_width=16, projection=16,
)  # fmt: skip
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
VOCABULARY = [*LETTERS, *(f"##{c}" for c in LETTERS), "fox", "the", "two", "owl", "at", "night",
              "sea", UNKNOWN]  # fmt: skip


def pages_clip(seed: int = 4) -> PagesCLIP:
    torch.manual_seed(seed)
    model = PagesCLIP(PAGES_CONFIG, VOCABULARY).eval().requires_grad_(False)
    for convolution in model.trunk.convolutions():  # without batch norms a signal fades
        torch.nn.init.kaiming_normal_(convolution.weight)
    model.words.weight[-1] = 0  # as that of UNKNOWN is
    return model
