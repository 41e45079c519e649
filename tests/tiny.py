"""The real picture models at a size that a test can afford, randomly initialised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from pipelines.events import Sentence
from pipelines.presets import PictureConfig
from pipelines.tokenizer import load_tokenizer
from pipelines.vqgan_clip import VQGANCLIPPipeline
from pipelines.vqgan_clip.clip import CLIP, embedded_config
from pipelines.vqgan_clip.code_transformer import CodeTransformer, CodeTransformerConfig
from pipelines.vqgan_clip.vqgan import VQGAN, VQGANConfig
from pipelines.weights import save_model

CPU = torch.device("cpu")

VQGAN_CONFIG = VQGANConfig(
    fine_channels=16, coarse_channels=32, decoder_blocks=(1, 1), groups=2, codebook_size=16,
    code_channels=4,
)  # fmt: skip
CLIP_CONFIG = embedded_config(
    image_size=32, patch=16, width=64, image_layers=1, text_layers=1, projection=32
)
TRANSFORMER_CONFIG = CodeTransformerConfig(
    vocabulary=load_tokenizer().get_vocab_size(), words=8, width=32, layers=2, heads=2, grid=4,
    groups=2, codebook_size=16, sizes=(2, 3), part_channels=16,
)  # fmt: skip

FOX = Sentence("Pip saw an owl.", "fox near owl @forest night")

QUICK = PictureConfig(
    steps=2, cutouts=2, candidates=2, width=128, height=128, preview_every=1, seed=5
)


def vqgan() -> VQGAN:
    torch.manual_seed(1)
    model = VQGAN(VQGAN_CONFIG)
    for block in model.modules():
        if isinstance(block, torch.nn.Conv2d):  # residual blocks begin as zero: wake them
            torch.nn.init.normal_(block.weight, std=(0.7 / block.weight[0].numel()) ** 0.5)
    return model.eval().requires_grad_(False)


def clip(seed: int = 2) -> CLIP:
    torch.manual_seed(seed)
    return CLIP(CLIP_CONFIG).eval().requires_grad_(False)


def transformer(grid: int = TRANSFORMER_CONFIG.grid) -> CodeTransformer:
    torch.manual_seed(3)
    model = CodeTransformer(replace(TRANSFORMER_CONFIG, grid=grid))
    for weight in model.parameters():  # so that prompts and codes tell
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=0.3)
    return model.eval().requires_grad_(False)


def pipeline(grid: int = TRANSFORMER_CONFIG.grid) -> VQGANCLIPPipeline:
    """`grid` 8 draws the 128x128 of QUICK as they are; smaller grids are quicker and enlarged."""
    return VQGANCLIPPipeline(vqgan(), clip(), transformer(grid), name="tiny", low_precision=False)


def write(folder: Path) -> Path:
    """A folder that `VQGANCLIPPipeline.from_pretrained` takes."""
    save_model(vqgan(), VQGAN_CONFIG, folder / "vqgan")
    save_model(clip(), CLIP_CONFIG, folder / "clip")
    save_model(transformer(), TRANSFORMER_CONFIG, folder / "code_transformer")
    return folder
