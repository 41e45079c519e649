"""How a picture begins: from what the code transformer imagines, a sketch, noise or a picture; and
back to that, where guidance has gone astray."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL.Image import Image as Picture
from torch import Tensor

from pipelines.painter import paint
from pipelines.presets import PictureConfig
from pipelines.reading import brief_of
from pipelines.scene import parse_brief
from pipelines.vqgan_clip.canvas import Canvas, small_size
from pipelines.vqgan_clip.code_transformer import Drawn
from pipelines.vqgan_clip.vqgan import VQGAN, unfinished
from pipelines.vqgan_clip.window import drawn_grid, sample

if TYPE_CHECKING:
    from pipelines.picture_request import PictureRequest
    from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline

UNTIDY = 0.02
"""What a nat a position costs a candidate, in CLIP's cosine similarity: of two that fit the words,
the one without half a barn is the likelier."""


@dataclass(frozen=True)
class Start:
    """What a canvas begins from."""

    latents: Tensor
    """(1, C, h, w)."""
    drawn: Drawn | None = None
    """What the code transformer drew, where the latents are just that: B = 1."""
    surprise: Tensor = field(default_factory=lambda: torch.empty(0))
    """Of each of its positions, (N,) in nats."""


def rows_of(pipeline: VQGANCLIPPipeline, config: PictureConfig) -> int:
    """How many steps a start has, as `begin` tells them."""
    grid = pipeline.latent_shape(config)
    if config.start == "transformer" and pipeline.transformer is not None:
        return drawn_grid(pipeline.transformer.config, grid)[0]
    return 1


def begin(
    pipeline: VQGANCLIPPipeline, request: PictureRequest, seed: int, generator: torch.Generator
) -> Iterator[Picture | Start | None]:
    """For each of `rows_of` steps what there is to see, if anything; at last the Start.

    Sketches are laid out by `seed`, all else is drawn from `generator` (CPU).
    """
    if request.config.start == "transformer":
        yield from _imagined(pipeline, request, generator)
        return
    with torch.no_grad():
        latents = _latents(pipeline, request, seed, generator)
    yield None
    yield Start(latents)


def _latents(
    pipeline: VQGANCLIPPipeline, request: PictureRequest, seed: int, generator: torch.Generator
) -> Tensor:
    """Those of the starts that need no sampling: (1, C, h, w)."""
    config, vqgan = request.config, pipeline.vqgan
    if config.start == "noise":
        whole = pipeline.whole(config)
        height, width = small_size(whole, vqgan.stride) or (whole.height, whole.width)
        return vqgan.random_latents(width, height, 1, generator)
    picture = request.picture
    if config.start == "sketch":
        sentence = request.sentence
        scene = parse_brief(sentence.brief or brief_of(sentence.text or request.subject()))
        picture = paint(scene, random.Random(seed), style=config.style).picture
    assert picture is not None
    return vqgan.encode(pipeline.on_canvas(picture, config))


def _imagined(
    pipeline: VQGANCLIPPipeline, request: PictureRequest, generator: torch.Generator
) -> Iterator[Picture | Start]:
    """Pictures while the code transformer draws, row after row; at last the best candidate."""
    transformer, vqgan, config = pipeline.transformer, pipeline.vqgan, request.config
    assert transformer is not None
    assert isinstance(vqgan, VQGAN)  # the transformer knows the codes of ours alone
    prompt, shape = request.subject(), pipeline.latent_shape(config)
    grid = drawn_grid(transformer.config, shape)
    frame = pipeline.frame(config)
    drawn: Drawn | None = None
    preview: Picture | None = None
    sampler = sample(
        transformer, prompt, config.candidates, grid, guidance=config.guidance,
        temperature=config.code_temperature, generator=generator,
    )  # fmt: skip
    for row in range(1, grid[0] + 1):
        with pipeline.turn():
            drawn = next(sampler)
            if preview is None or row % 2 == 0:  # to draw it takes a sixth of a row's time
                preview = frame.cut(unfinished(vqgan, drawn.codes[:1], row, grid))
        yield preview
    assert drawn is not None
    with pipeline.turn(), torch.no_grad():
        codes = drawn.codes.to(pipeline.device)
        pixels = vqgan.decode_indices(codes, grid[0])
        fit = pipeline.score(pixels, prompt)
        whole = grid == (transformer.config.grid,) * 2
        surprise = fit.new_zeros(len(codes), 1)
        if whole and config.surprise:
            surprise = transformer.surprise(prompt, drawn)
        best = int((fit - UNTIDY * surprise.mean(1)).argmax())
        codes = codes[best : best + 1]
        if grid == shape:
            chosen = Drawn(drawn.plan[best : best + 1].to(pipeline.device), codes)
            latents = vqgan.quantizer.lookup(codes, *grid)
            start = Start(latents, chosen if whole else None, surprise[best])
        else:  # a transformer that plans draws its own size
            size = (frame.canvas_height, frame.canvas_width)
            larger = F.interpolate(pixels[best : best + 1], size=size, mode="bicubic")
            start = Start(vqgan.encode(larger.clamp(-1, 1)))
    yield start


def take_back(
    pipeline: VQGANCLIPPipeline, request: PictureRequest, start: Start, canvas: Canvas
) -> None:
    """What guidance has made of the start, where the code transformer finds it next to impossible:
    codes of other styles, which CLIP likes and a person sees as hatched skies."""
    most = request.config.surprise
    if start.drawn is None or not most or not request.sentence_alone or canvas.shrunk:
        return
    assert isinstance(pipeline.vqgan, VQGAN)
    assert pipeline.transformer is not None
    now = Drawn(start.drawn.plan, pipeline.vqgan.quantizer.indices(canvas.latents))
    surprise = pipeline.transformer.surprise(request.subject(), now)[0]
    odd = surprise > start.surprise + most
    canvas.take_back(odd.view(canvas.latents.shape[-2:]))
