"""How a picture begins: from what the code transformer imagines, a sketch, noise or a picture; and
back to that, where guidance has gone astray."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL.Image import Image as Picture
from torch import Tensor

from pipelines.device import one_thread
from pipelines.few_rows import MOST_ALIKE, computes_alike
from pipelines.painter import paint
from pipelines.picture_request import with_style
from pipelines.plan import plan_scene
from pipelines.presets import PictureConfig
from pipelines.reading import brief_of
from pipelines.scene import Scene, describe_scene, parse_brief
from pipelines.vqgan_clip.canvas import Canvas, small_size
from pipelines.vqgan_clip.code_transformer import Chooser, CodeTransformer, Drawn
from pipelines.vqgan_clip.vqgan import VQGAN, unfinished
from pipelines.vqgan_clip.window import drawn_grid, sample

if TYPE_CHECKING:
    from pipelines.picture_request import PictureRequest
    from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline

UNTIDY = 0.02
"""What a nat a position costs a candidate, in CLIP's cosine similarity: of two that fit the words,
the one without half a barn is the likelier."""

TOP_K = 100
"""Of the likeliest codes so many may be drawn."""

ABREAST = 6
"""Most pictures that are sampled together: each takes 27 MB meanwhile, of two candidates, and so
does each of their stages."""


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


@dataclass(frozen=True, eq=False)
class Opening:
    """What a start is made from. Sketches are laid out by `seed`, all else is drawn from
    `generator`, on the CPU."""

    request: PictureRequest
    seed: int
    generator: torch.Generator


def begin(
    pipeline: VQGANCLIPPipeline, openings: Sequence[Opening]
) -> Iterator[tuple[int, Picture | Start | None]]:
    """The starts of several pictures: for each of its `rows_of` steps the index (from 0) of one and
    what there is to see of it, if anything, and its Start in the end.

    What the code transformer imagines for pictures one after another is sampled together, as long
    as it is the same to the bit as alone.
    """
    for indices in sampled_together(pipeline, openings):
        group = [openings[k] for k in indices]
        if group[0].request.config.start == "transformer":
            for k, event in _imagined(pipeline, group):
                yield indices[k], event
            continue
        (one,) = group
        with pipeline.turn(), torch.no_grad():
            latents = _latents(pipeline, one)
        yield indices[0], None
        yield indices[0], Start(latents)


def sampled_together(pipeline: VQGANCLIPPipeline, openings: Sequence[Opening]) -> list[list[int]]:
    """Indices of the openings, in order; those that are sampled together in one list."""
    found: list[list[int]] = []
    last: object = None
    for k, opening in enumerate(openings):
        c, transformer = opening.request.config, pipeline.transformer
        alike: object = None
        most = 1
        if c.start == "transformer" and transformer is not None and transformer.config.story_world:
            alike = (c.guidance, c.code_temperature, c.candidates)
            rows = c.candidates * (2 if c.guidance != 1.0 else 1)
            # Each may bring its stage.
            most = MOST_ALIKE // (2 * rows) if computes_alike(pipeline.device) else 1
        if alike is not None and alike == last and len(found[-1]) < min(most, ABREAST):
            found[-1].append(k)
        else:
            found.append([k])
        last = alike
    return found


def _latents(pipeline: VQGANCLIPPipeline, opening: Opening) -> Tensor:
    """Those of the starts that need no sampling: (1, C, h, w)."""
    request, vqgan = opening.request, pipeline.vqgan
    config = request.config
    if config.start == "noise":
        whole = pipeline.whole(config)
        height, width = small_size(whole, vqgan.stride) or (whole.height, whole.width)
        return vqgan.random_latents(width, height, 1, opening.generator)
    picture = request.picture
    if config.start == "sketch":
        picture = paint(_scene(request), random.Random(opening.seed), style=config.style).picture
    assert picture is not None
    return vqgan.encode(pipeline.on_canvas(picture, config))


def _scene(request: PictureRequest) -> Scene:
    """What a picture shows, as its words are read."""
    sentence = request.sentence
    return parse_brief(sentence.brief or brief_of(sentence.text or request.subject()))


def _plans(opening: Opening) -> Tensor:
    """A layout by the painter's rules, for all candidates: (candidates, PIECES * FIELDS).

    The transformer's own leave out a word now and then, and put the wrong one into the bed. All
    have the same, so that of two candidates the likelier is the tidier, not that with less in it.
    """
    seed = int(torch.randint(2**31, (), generator=opening.generator))
    plan = torch.tensor(plan_scene(_scene(opening.request), random.Random(seed)))
    return plan.expand(opening.request.config.candidates, -1)


def _imagined(
    pipeline: VQGANCLIPPipeline, group: Sequence[Opening]
) -> Iterator[tuple[int, Picture | Start]]:
    """Pictures while the code transformer draws, row after row; at last the best candidates."""
    transformer, vqgan = pipeline.transformer, pipeline.vqgan
    assert transformer is not None
    assert isinstance(vqgan, VQGAN)  # the transformer knows the codes of ours alone
    grid = drawn_grid(transformer.config, pipeline.latent_shape(group[0].request.config))
    frames = [pipeline.frame(o.request.config) for o in group]
    previews: list[Picture] = []
    drawn: list[Drawn] = []
    sampler = _sampler(transformer, group, grid)
    for row in range(1, grid[0] + 1):
        with pipeline.turn():
            with one_thread(if_few=True):
                drawn = next(sampler)
            if not previews or row % 2 == 0:  # to draw it takes a sixth of a row's time
                previews = [
                    frame.cut(unfinished(vqgan, d.codes[:1], row, grid))
                    for frame, d in zip(frames, drawn, strict=True)
                ]
        yield from enumerate(previews)
    for k, (opening, found) in enumerate(zip(group, drawn, strict=True)):
        with pipeline.turn(), torch.no_grad():
            start = _best(pipeline, transformer, vqgan, opening.request, found, grid)
        yield k, start


def _sampler(
    transformer: CodeTransformer, group: Sequence[Opening], grid: tuple[int, int]
) -> Iterator[list[Drawn]]:
    first = group[0]
    config = first.request.config
    if not transformer.config.story_world:
        for drawn in sample(
            transformer, first.request.subject(), config.candidates, grid,
            guidance=config.guidance, temperature=config.code_temperature,
            generator=first.generator,
        ):  # fmt: skip
            yield [drawn]
        return
    choose = Chooser(config.guidance, config.code_temperature, TOP_K, config.candidates)
    sceneries = [o.request.config.scenery for o in group]
    words = [empty_stage(opening.request) for opening in group]
    places = [None if s is None or not w else (w, s) for w, s in zip(words, sceneries, strict=True)]
    stages = list(dict.fromkeys(place for place in places if place is not None))
    plans = [_plans(opening) for opening in group]
    luck = [torch.Generator().manual_seed(scenery) for _, scenery in stages]
    for drawn in transformer.sample_together(
        [*(o.request.subject() for o in group), *(words for words, _ in stages)],
        choose,
        [*(o.generator for o in group), *luck],
        plans=torch.stack([*plans, *(torch.zeros_like(plans[0]) for _ in stages)]),
        sceneries=[
            *(None if s is None else torch.Generator().manual_seed(s) for s in sceneries),
            *(None for _ in stages),
        ],
        stages=[
            *(None if place is None else len(group) + stages.index(place) for place in places),
            *(None for _ in stages),
        ],
    ):
        yield drawn[: len(group)]


def empty_stage(request: PictureRequest) -> str:
    """The words for the place of a picture without anybody in it; "" where it has no such stage.

    By day and in no weather every place is right without anybody; by night or in the snow a third
    of them become another one, as no page that was learned from is empty (finetune/LOG.md).
    """
    scene = _scene(request)
    if scene.time != "day" or scene.skies:
        return ""
    return with_style(describe_scene(replace(scene, items=())), request.config)


def _best(
    pipeline: VQGANCLIPPipeline, transformer: CodeTransformer, vqgan: VQGAN,
    request: PictureRequest, drawn: Drawn, grid: tuple[int, int],
) -> Start:  # fmt: skip
    """Of the candidates the one that fits the words best and is likely, to be begun from."""
    config, prompt = request.config, request.subject()
    shape, frame = pipeline.latent_shape(config), pipeline.frame(config)
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
        return Start(latents, chosen if whole else None, surprise[best])
    # A transformer that plans draws its own size.
    size = (frame.canvas_height, frame.canvas_width)
    larger = F.interpolate(pixels[best : best + 1], size=size, mode="bicubic")
    return Start(vqgan.encode(larger.clamp(-1, 1)))


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
