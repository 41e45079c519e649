"""The real colorizers at a size that a test can afford, randomly initialised."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from finetune.data.illustrations import ColourBatch, IllustrationSet, batch, build
from finetune.data.picture_sources import ClipArt
from pipelines.colorize.generator import Generator, GeneratorConfig
from pipelines.colorize.planner import Planner, PlannerConfig

CPU = torch.device("cpu")


def config(inputs: int = 1, features: str = "own") -> GeneratorConfig:
    return GeneratorConfig(
        inputs=inputs, channels=(8, 16, 32), encoder_blocks=(1, 1, 1), dilations=(1, 2),
        middle_dilations=(1,), fine_dilations=(1,), features=features, feature_width=8,
    )  # fmt: skip


def generator(inputs: int = 1, features: str = "own") -> Generator:
    torch.manual_seed(inputs)
    model = Generator(config(inputs, features))
    for block in model.modules():
        if isinstance(block, torch.nn.Conv2d):  # blocks begin as the identity: wake them
            torch.nn.init.normal_(block.weight, std=(0.7 / block.weight[0].numel()) ** 0.5)
    return model.eval().requires_grad_(False)


def planner() -> Planner:
    """A planner of 16 colours, evenly through the cube of RGB, that favours some."""
    torch.manual_seed(3)
    model = Planner(PlannerConfig(colours=16, width=16, blocks=1, heads=2, feature_width=8))
    model.palette.copy_(torch.rand(16, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    return model.eval().requires_grad_(False)


def drawing(width: int, height: int) -> Image.Image:
    """PIL L: a circle and a box on paper."""
    image = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(image)
    pen.ellipse((width * 0.1, height * 0.1, width * 0.6, height * 0.7), outline=0, width=2)
    pen.rectangle((width * 0.5, height * 0.5, width * 0.9, height * 0.9), outline=30, width=1)
    return image


def strokes(width: int, height: int) -> Image.Image:
    """PIL RGBA: a red stroke in the circle."""
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    line = (width * 0.25, height * 0.35, width * 0.45, height * 0.4)
    ImageDraw.Draw(image).line(line, fill=(220, 30, 20, 255), width=max(width // 16, 1))
    return image


def illustrations(folder: Path, count: int = 6) -> IllustrationSet:
    return build(folder, [ClipArt()], count, seed=3)


def small_batch(data: IllustrationSet, count: int = 4, side: int = 64) -> ColourBatch:
    """The middle of `count` pictures, with hints."""
    made = batch(data, np.random.default_rng(1), count, regimes={"sparse": 1.0})

    def middle(x: torch.Tensor) -> torch.Tensor:
        scale = 256 // x.shape[-1]
        near, far = (128 - side // 2) // scale, (128 + side // 2) // scale
        return x[..., near:far, near:far].contiguous()

    return ColourBatch(**{f.name: middle(getattr(made, f.name)) for f in fields(made)})


@dataclass(frozen=True)
class Ready:
    """Stands in for a byte batch: the same tensors every time."""

    made: ColourBatch

    def on(self, device: torch.device) -> ColourBatch:
        return self.made
