"""The colour models and the baselines they are measured against, as functions of one kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from finetune.colour_test_set import Sample
from pipelines.colorize.denoiser import StablePaint
from pipelines.colorize.generator import Generator
from pipelines.colorize.paintstorch import PaintsTorchPipeline
from pipelines.colorize.planning import ColourPlanner
from pipelines.colorize.regions import Regions, find_regions
from pipelines.colorize.settings import StablePaintConfig
from pipelines.colorize.stablepaint import StablePaintPipeline
from pipelines.colorize.stenciltorch import StencilTorchPipeline
from pipelines.errors import ModelUnavailable

FILL = "nearest-stroke fill"
PLANNED = ", planned"
"""Behind the name of a method: with the planner's colours where there is no hint."""


@dataclass(frozen=True)
class Method:
    """A way to colour; `paint(lineart, hints, seed)` gives a PIL RGB of the line art's size."""

    name: str
    paint: Callable[[Image.Image, Image.Image | None, int], Image.Image]
    masked: Callable[[Sample], Image.Image] | None = None
    """The original painted anew within the sample's mask."""
    baselines: tuple[str, ...] = ()
    """Names of what it must beat; empty for a baseline."""
    live: bool = True
    """Whether it remembers a drawing, so that a second stroke costs less."""
    planned: bool = False
    """Whether it is told a planner's choice."""


def fill(regions: Regions, lineart: Image.Image, hints: Image.Image | None) -> Image.Image:
    """Every region in the colour of its nearest stroke, under the lines; white without strokes."""
    height, width = regions.labels.shape
    colours = np.full((height, width, 3), 255, np.uint8)
    layer = None
    if hints is not None:
        layer = np.asarray(hints.resize((width, height), Image.Resampling.NEAREST))
    if layer is not None and (layer[..., 3] > 127).any():
        drawn = layer[..., 3] > 127
        found, labels = cv2.distanceTransformWithLabels(
            (~drawn).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        distance, places = np.asarray(found).ravel(), np.asarray(labels, np.int64).ravel()
        table = np.zeros((int(places.max()) + 1, 3), np.uint8)
        table[places.reshape(height, width)[drawn]] = layer[drawn][:, :3]
        ends = np.cumsum(regions.areas)
        flat = colours.reshape(-1, 3)
        for end, area in zip(ends, regions.areas, strict=True):
            pixels = regions.order[end - area : end]
            near = pixels[distance[pixels] == distance[pixels].min()]
            flat[pixels] = np.median(table[places[near]], axis=0).round()
    picture = Image.fromarray(colours).resize(lineart.size, Image.Resampling.NEAREST)
    ink = np.asarray(lineart, np.float32)[..., None] / 255
    return Image.fromarray(np.round(np.asarray(picture) * ink).astype(np.uint8))


def generator_methods(name: str, weights: Path, device: torch.device) -> list[Method]:
    """A generator, "paintstorch" or "stenciltorch", untrained and as it is in `weights`.

    Raises: ModelUnavailable.
    """
    stencil = name == "stenciltorch"
    kind = StencilTorchPipeline if stencil else PaintsTorchPipeline
    label = "StencilTorch" if stencil else "PaintsTorch"
    trained = kind.from_pretrained(str(weights / name), device=device)
    torch.manual_seed(0)  # the untrained copy's weights
    config = trained.painter.generator.config
    copy = Generator(config).to(device).eval().requires_grad_(False)
    raw = f"untrained {label}"
    methods = list[Method]()
    for title, model, rivals in ((raw, kind(copy), ()), (label, trained, (FILL, raw))):

        def paint(
            lineart: Image.Image, hints: Image.Image | None, seed: int, model: object = model
        ) -> Image.Image:
            assert isinstance(model, (PaintsTorchPipeline, StencilTorchPipeline))
            return model(lineart, hints)

        def masked(one: Sample, model: object = model) -> Image.Image:
            assert isinstance(model, StencilTorchPipeline)
            return model(one.lineart, one.hints["sparse"], one.mask, one.picture)

        methods.append(Method(title, paint, masked if stencil else None, rivals))
    return methods


def stablepaint_methods(
    weights: Path, device: torch.device, config: StablePaintConfig
) -> list[Method]:
    """StablePaint at 100% corruption, untrained and as it is. Raises: ModelUnavailable."""
    trained = StablePaintPipeline.from_pretrained(str(weights / "stablepaint"), device=device)
    torch.manual_seed(0)
    copy = StablePaint(trained.model.config).to(device).eval().requires_grad_(False)
    raw = "untrained StablePaint"
    methods = list[Method]()
    rows = ((raw, StablePaintPipeline(copy), ()), ("StablePaint", trained, (FILL, raw)))
    for title, model, rivals in rows:

        def of(
            one: tuple[Image.Image, Image.Image | None, int],
            mask: Image.Image | None = None,
            picture: Image.Image | None = None,
            model: StablePaintPipeline = model,
        ) -> Image.Image:
            lineart, hints, seed = one
            settings = StablePaintConfig(
                variations=1, steps=config.steps, guidance=config.guidance,
                sampler=config.sampler, seed=seed, preview_every=config.steps,
            )  # fmt: skip
            return model(lineart, hints, settings, mask=mask, picture=picture).pictures[0]

        methods.append(
            Method(
                title,
                lambda lineart, hints, seed, of=of: of((lineart, hints, seed)),
                lambda s, of=of: of((s.lineart, s.hints["sparse"], s.seed), s.mask, s.picture),
                rivals,
                live=False,
            )
        )
    return methods


def planned(method: Method, planner: ColourPlanner) -> Method:
    """A method that is told the planner's choice where there is no hint.

    As in the app, a choice holds for its drawing, and strokes are carried on from it.
    """
    last: tuple[Image.Image, int, Image.Image] | None = None

    def paint(lineart: Image.Image, hints: Image.Image | None, seed: int) -> Image.Image:
        nonlocal last
        if last is None or last[0] is not lineart or last[1] != seed:
            last = lineart, seed, planner(lineart, seed=seed)
        told = planner.after_strokes(last[2], lineart, None, hints, seed=seed)
        return method.paint(lineart, told, seed)

    return Method(
        method.name + PLANNED, paint, None, method.baselines, live=method.live, planned=True
    )


def all_methods(
    weights: Path, device: torch.device, config: StablePaintConfig = StablePaintConfig()
) -> list[Method]:
    """The baselines and every model that `weights` holds; what is missing is said and left out."""

    def nearest(lineart: Image.Image, hints: Image.Image | None, seed: int) -> Image.Image:
        return fill(find_regions(lineart), lineart, hints)

    methods = [Method(FILL, nearest, live=False)]
    loaders: tuple[Callable[[], list[Method]], ...] = (
        lambda: generator_methods("paintstorch", weights, device),
        lambda: generator_methods("stenciltorch", weights, device),
        lambda: stablepaint_methods(weights, device, config),
    )
    for load in loaders:
        try:
            methods += load()
        except ModelUnavailable as error:
            tqdm.write(f"left out: {error}")
    try:
        planner = ColourPlanner.from_pretrained(str(weights / "planner"), device=device)
    except ModelUnavailable as error:
        tqdm.write(f"left out: {error}")
        return methods
    return [
        m for one in methods for m in ((one, planned(one, planner)) if one.baselines else (one,))
    ]
