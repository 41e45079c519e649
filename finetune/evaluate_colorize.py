"""Figures of the colour models on held-out pictures: `python -m finetune.evaluate colorize`.

Half of the pictures are pages of held-out stories (`--pages FOLDER`), half are scenes of the story
world. Each is coloured from its XDoG line art without hints, with sparse ones (simulated strokes
and dots), and with full ones (its flat colours everywhere), by

- two baselines: every region in its nearest stroke's colour (white where there is none), and the
  same networks untrained;
- PaintsTorch, StencilTorch and StablePaint as they are; told a planner's choice where there is no
  hint ("planned"), as the app does; and each with the app's filter "Keep colours within the lines".
  Neither is part of the models, so both have rows of their own.

Everything is drawn from fixed seeds. `RUNS/colorize/` gets the table, a grid of pictures, and the
folder that the app's blind rating shows (`app.py --rating`). With `--grid FILE` the grid goes there
and the table beside it, as Markdown. `--lpips FOLDER` adds LPIPS, whose weights are not ours.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tqdm import tqdm

from finetune import colour_metrics as metrics
from finetune import perceptual
from finetune.data.illustrations import SIDE, Pictures, StoryWorld, draw_line_art
from finetune.data.pages import read_pages
from finetune.data.simplify import flatten
from finetune.data.strokes import simulate_hints, simulate_mask
from pipelines.colorize.denoiser import StablePaint
from pipelines.colorize.generator import Generator
from pipelines.colorize.hints import hint_layer
from pipelines.colorize.paintstorch import PaintsTorchPipeline
from pipelines.colorize.planning import ColourPlanner
from pipelines.colorize.regions import Regions, find_regions, within_lines
from pipelines.colorize.settings import StablePaintConfig
from pipelines.colorize.stablepaint import StablePaintPipeline
from pipelines.colorize.stenciltorch import StencilTorchPipeline
from pipelines.errors import ModelUnavailable

if TYPE_CHECKING:
    from pipelines.vqgan_clip.clip import CLIP

REGIMES = ("none", "sparse", "full")
SIGMA = 0.4
"""Of XDoG: the middle one of those that the models were trained on."""
WITHIN = ", within the lines"
"""Behind the name of a method: with the app's filter."""
PLANNED = ", planned"
"""Behind the name of a method: with the planner's colours where there is no hint."""
FILL, ORIGINAL = "nearest-stroke fill", "original"
TIMED_SIDE = 512
VIVID = ((214, 40, 40), (40, 90, 214), (40, 170, 60), (240, 200, 30), (150, 50, 180))


# --- what is coloured --------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """One more stroke, of a colour that nothing near it has, to see how far it reaches."""

    hints: Image.Image
    """The sparse hints and the stroke, PIL RGBA."""
    region: NDArray[np.bool_]
    """(H, W), the thing that the stroke is on, as the original shows it."""


@dataclass(frozen=True)
class Sample:
    """A held-out picture with its line art, hints of each regime, a mask, and a probe."""

    name: str
    picture: Image.Image
    """PIL RGB, SIDE x SIDE."""
    lineart: Image.Image
    """PIL L."""
    hints: dict[str, Image.Image | None]
    """By regime, PIL RGBA."""
    mask: Image.Image
    """PIL L."""
    probe: Probe | None
    seed: int

    @cached_property
    def regions(self) -> Regions:
        return find_regions(self.lineart)


def samples(count: int, pages: Path | None, seed: int = 0) -> Iterator[Sample]:
    """`count` held-out pictures, real pages and scenes in turn; scenes alone without `pages`."""
    files = list(dict.fromkeys(p.picture for p in read_pages(pages, "test"))) if pages else []
    wanted = min((count + 1) // 2, len(files))
    # Evenly through the list, which goes story by story.
    chosen = [files[n * len(files) // wanted] for n in range(wanted)]
    for n in range(count):
        if n % 2 == 0 and n // 2 < wanted:
            with Image.open(chosen[n // 2]) as page:
                picture, strength = page.convert("RGB"), Pictures(()).strength
            name = f"{n:03d}-page-{chosen[n // 2].stem}"
        else:
            world = StoryWorld(split="test")
            picture = world.draw(n, random.Random(f"{seed} colorize {n}")).picture
            strength, name = world.strength, f"{n:03d}-scene"
        yield sample(name, picture, sum(strength) / 2, np.random.default_rng([seed, n]), n)


def sample(
    name: str, picture: Image.Image, strength: float, rng: np.random.Generator, seed: int
) -> Sample:
    """The middle of a picture with everything that is drawn for it."""
    side = min(picture.size)
    whole = np.asarray(ImageOps.fit(picture.convert("RGB"), (side, side)))
    small = Image.fromarray(whole).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    lineart = Image.fromarray(draw_line_art(whole, strength=strength, sigma=SIGMA))
    flat = flatten(np.asarray(small))
    hints: dict[str, Image.Image | None] = {"none": None}
    for regime in ("sparse", "full"):
        hints[regime] = _layer(simulate_hints(flat, rng, regime=regime))
    mask = Image.fromarray(simulate_mask(flat, rng) * np.uint8(255))
    return Sample(name, small, lineart, hints, mask, _probe(flat, hints["sparse"], rng), seed)


def _layer(cells: NDArray[np.uint8]) -> Image.Image:
    """Simulated hints as a person's layer, PIL RGBA."""
    signed = cells.astype(np.float32)
    signed[:3] = (signed[:3] / 127.5 - 1) * signed[3]
    return hint_layer(signed, SIDE, SIDE)


def _probe(
    flat: NDArray[np.uint8], hints: Image.Image | None, rng: np.random.Generator
) -> Probe | None:
    """A stroke in the middle of some thing of one colour; None when there is no such thing."""
    for _ in range(30):
        y, x = (int(v) for v in rng.integers(SIDE, size=2))
        filled = np.zeros((SIDE + 2, SIDE + 2), np.uint8)
        flags = 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
        area = cv2.floodFill(flat.copy(), filled, (x, y), 0, (0,) * 3, (0,) * 3, flags)[0]
        thing = filled[1:-1, 1:-1]
        depth = cv2.distanceTransform(np.pad(thing, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        if not 0.01 < area / flat[..., 0].size < 0.25 or depth.max() < 5:
            continue
        middle = divmod(int(depth.argmax()), SIDE)
        own = np.array([flat[y, x]])
        apart = [float(metrics.difference(own, np.array([v], np.uint8))[0]) for v in VIVID]
        layer = Image.new("RGBA", (SIDE, SIDE)) if hints is None else hints.copy()
        radius = min(float(depth.max()) * 0.6, 10.0)
        box = (middle[1] - radius, middle[0] - radius, middle[1] + radius, middle[0] + radius)
        ImageDraw.Draw(layer).ellipse(box, fill=(*VIVID[int(np.argmax(apart))], 255))
        return Probe(layer, thing.astype(np.bool_))
    return None


# --- who colours ---------------------------------------------------------------------------------


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


# --- measuring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A figure of the table."""

    name: str
    digits: int
    best: Callable[[Sequence[float]], float] | None
    """`max` or `min`; None for what is not compared."""


PSNR = Column("PSNR dB ↑", 1, max)
SSIM = Column("SSIM ↑", 3, max)
LPIPS = Column("LPIPS ↓", 3, min)
CLIP_DISTANCE = Column("CLIP patch distance ↓", 3, min)
FRECHET = Column("Fréchet distance of CLIP patches ↓", 1, min)
HINTS = Column("under strokes, CIEDE2000 ↓", 1, min)
LEAKAGE = Column("leakage, share of CIEDE2000 ↓", 3, min)
OUTSIDE = Column("pixels changed outside a mask ↓", 0, None)
LATENCY = Column(f"ms at {TIMED_SIDE}x{TIMED_SIDE}", 0, None)
COLUMNS = (PSNR, SSIM, LPIPS, CLIP_DISTANCE, FRECHET, HINTS, LEAKAGE, OUTSIDE, LATENCY)


@dataclass
class Row:
    """What was found of one method in one regime."""

    method: str
    regime: str
    baselines: tuple[str, ...]
    pictures: list[Image.Image] = field(default_factory=list[Image.Image])
    figures: dict[Column, float] = field(default_factory=dict[Column, float])


def measure(
    methods: Sequence[Method],
    held_out: Sequence[Sample],
    judge: CLIP,
    lpips: perceptual.LPIPS | None = None,
) -> Iterator[Row]:
    """Rows in the order of regimes and methods; each model's filtered pictures follow its own."""
    real = metrics.patches(judge, [s.picture for s in held_out])
    # An untrained copy takes as long as the trained one.
    timed = [m for m in methods if m.baselines or m.name == FILL]
    times = {m.name: latency(m, held_out[0]) for m in tqdm(timed, desc="timing")}
    for regime in REGIMES:
        for method in methods:
            plain = Row(method.name, regime, method.baselines)
            tidy = Row(method.name + WITHIN, regime,
                       tuple(b if b == FILL else b + WITHIN for b in method.baselines))  # fmt: skip
            leaks = dict[str, list[float]]()
            outside = list[float]()
            bar = tqdm(held_out, desc=f"{regime}: {method.name}", unit="picture", mininterval=5)
            for one in bar:
                hints = one.hints[regime]
                painted = method.paint(one.lineart, hints, one.seed)
                plain.pictures.append(painted)
                tidy.pictures.append(
                    within_lines(one.regions, one.lineart, painted, hints, planned=method.planned)
                )
                if regime != "sparse":
                    continue
                if one.probe is not None:
                    again = method.paint(one.lineart, one.probe.hints, one.seed)
                    filtered = within_lines(
                        one.regions, one.lineart, again, one.probe.hints, planned=method.planned
                    )
                    for row, fresh in ((plain, again), (tidy, filtered)):
                        leak = metrics.leakage(
                            row.pictures[-1], fresh, one.probe.region, one.lineart
                        )
                        if leak is not None:
                            leaks.setdefault(row.method, []).append(leak)
                if method.masked is not None:
                    inside = np.asarray(one.mask) > 127
                    result = method.masked(one)
                    outside.append(metrics.changed_outside(one.picture, result, inside))
            for row, share in ((plain, 0), (tidy, 1)):
                if row is tidy and method.name == FILL:
                    continue  # it keeps within the lines by itself
                judged(row, held_out, judge, real, lpips)
                if row.method in leaks:
                    row.figures[LEAKAGE] = float(np.mean(leaks[row.method]))
                if outside:
                    row.figures[OUTSIDE] = float(np.sum(outside))
                if method.name in times:
                    row.figures[LATENCY] = 1000 * times[method.name][share]
                yield row


def judged(
    row: Row,
    held_out: Sequence[Sample],
    judge: CLIP,
    real: torch.Tensor,
    lpips: perceptual.LPIPS | None,
) -> None:
    """Fill in what its pictures alone tell."""
    pairs = list(zip(row.pictures, held_out, strict=True))
    seen = metrics.patches(judge, row.pictures)
    row.figures |= {
        PSNR: float(np.mean([metrics.psnr(p, s.picture) for p, s in pairs])),
        SSIM: float(np.mean([metrics.ssim(p, s.picture) for p, s in pairs])),
        CLIP_DISTANCE: metrics.patch_distance(seen, real),
        FRECHET: metrics.frechet_distance(seen, real),
    }
    if lpips is not None:
        row.figures[LPIPS] = float(np.mean([metrics.lpips(lpips, p, s.picture) for p, s in pairs]))
    strokes = [(p, s.hints[row.regime], s.lineart) for p, s in pairs]
    found = [metrics.hint_distance(p, h, lines) for p, h, lines in strokes if h is not None]
    under = [value for value in found if value is not None]
    if under:
        row.figures[HINTS] = float(np.mean(under))


def latency(method: Method, one: Sample) -> tuple[float, float]:
    """Seconds that a change of hints takes at 512x512, without the filter and with it."""
    size = (TIMED_SIDE, TIMED_SIDE)
    lineart = one.lineart.resize(size, Image.Resampling.LANCZOS)
    layers = [h and h.resize(size, Image.Resampling.NEAREST)
              for h in (one.hints["sparse"], one.probe and one.probe.hints)]  # fmt: skip
    regions = find_regions(lineart)
    plain, tidy = list[float](), list[float]()
    for n in range(4 if method.live else 2):
        begin = time.perf_counter()
        painted = method.paint(lineart, layers[n % 2], one.seed)
        painting = time.perf_counter() - begin
        within_lines(regions, lineart, painted, layers[n % 2], planned=method.planned)
        plain.append(painting)
        tidy.append(time.perf_counter() - begin)
    # The first one reads the drawing, which is remembered.
    return float(np.median(plain[1:])), float(np.median(tidy[1:]))


# --- what is written -----------------------------------------------------------------------------


def table(rows: Sequence[Row], count: int, pages: int) -> str:
    """Markdown; bold is what beats both baselines of its row."""
    lines = [
        f"{count} held-out pictures of {SIDE}x{SIDE}: {pages} pages of real books, "
        f"{count - pages} scenes of the story world. Bold: better than nearest-stroke fill and "
        "than the same network untrained. Features: our own judge, a CLIP of another seed.",
    ]
    for regime in REGIMES:
        here = [r for r in rows if r.regime == regime]
        shown = [c for c in COLUMNS if any(c in r.figures for r in here)]
        lines += ["", f"**Hints: {regime}**", ""]
        lines.append("| " + " | ".join(["method", *(c.name for c in shown)]) + " |")
        lines.append("| --- " + "| ---: " * len(shown) + "|")
        figures = {r.method: r.figures for r in here}
        for row in here:
            cells = [cell(row, column, figures) for column in shown]
            lines.append("| " + " | ".join([row.method, *cells]) + " |")
    return "\n".join(lines) + "\n"


def cell(row: Row, column: Column, figures: dict[str, dict[Column, float]]) -> str:
    """A figure as the table shows it."""
    if column not in row.figures:
        return ""
    value = row.figures[column]
    text = f"{value:.{column.digits}f}"
    rivals = [figures[b][column] for b in row.baselines if column in figures.get(b, {})]
    # A baseline without this figure has not done what it measures: it cannot be beaten in it.
    if column.best is None or not rivals:
        return text
    seen, *others = (round(v, column.digits) for v in (value, *rivals))
    wins = column.best([seen, *others]) == seen and seen not in others
    return f"**{text}**" if wins else text


def over_lines(one: Sample, regime: str) -> Image.Image:
    """The strokes drawn over the line art, as a person sees them."""
    shown = one.lineart.convert("RGBA")
    hints = one.hints[regime]
    if hints is not None:
        shown.alpha_composite(hints)
    return shown.convert("RGB")


def grid(
    rows: Sequence[Row], held_out: Sequence[Sample], most: int = 8, side: int = 176
) -> Image.Image:
    """Line art with strokes | baselines | ours | original; sparse hints above, none below.

    Ours are shown as they are, and as the app shows them: planned, where there is a planner, and
    within the lines.
    """
    names = list(dict.fromkeys(r.method for r in rows if not r.method.startswith("untrained")))
    untrained = [r.method for r in rows if r.method.startswith("untrained")][:1]
    ours = [n for n in names if n != FILL and not n.endswith((PLANNED, WITHIN))]
    best = (next(n for n in (o + PLANNED + WITHIN, o + WITHIN) if n in names) for o in ours)
    names = [FILL, *untrained, *(n for pair in zip(ours, best, strict=True) for n in pair)]
    found = {(r.method, r.regime): r.pictures for r in rows}
    lined = [("sparse", n) for n in range(min(most, len(held_out)))]
    lined += [("none", n) for n in range(min(most // 2, len(held_out)))]
    titles = ["strokes", *names, ORIGINAL]
    top = 56
    page = Image.new("RGB", (len(titles) * side, top + len(lined) * side), "white")
    pen = ImageDraw.Draw(page)
    for x, title in enumerate(titles):
        text = (
            title.replace(PLANNED, ",\nplanned")
            .replace(WITHIN, ",\nwithin the lines")
            .replace("untrained ", "untrained\n")
        )
        pen.multiline_text((x * side + 4, 6), text.replace("-stroke", "-\nstroke"), fill="black",
                           font=ImageFont.load_default(12))  # fmt: skip
    for y, (regime, n) in enumerate(lined):
        one = held_out[n]
        shown = [over_lines(one, regime), *(found[name, regime][n] for name in names), one.picture]
        for x, picture in enumerate(shown):
            small = picture.resize((side - 4, side - 4), Image.Resampling.LANCZOS)
            page.paste(small, (x * side, top + y * side))
    return page


def write_for_rating(rows: Sequence[Row], held_out: Sequence[Sample], folder: Path) -> None:
    """FOLDER/METHOD/PICTURE.png with sparse hints, as storage/ratings.py reads it."""
    shown = {"drawing": [over_lines(s, "sparse") for s in held_out],
             ORIGINAL: [s.picture for s in held_out]}  # fmt: skip
    shown |= {
        r.method: r.pictures
        for r in rows
        if r.regime == "sparse" and not r.method.startswith("untrained")
    }
    for name, pictures in shown.items():
        home = folder / re.sub(r"[^\w]+", "-", name)
        home.mkdir(parents=True, exist_ok=True)
        for one, picture in zip(held_out, pictures, strict=True):
            picture.save(home / f"{one.name}.png")


def run(
    judge: CLIP,
    methods: Sequence[Method],
    held_out: Sequence[Sample],
    out: Path,
    picture: Path | None = None,
    *,
    lpips: perceptual.LPIPS | None = None,
) -> dict[str, float]:
    """Measure everything, write it to `out`, and return the figures, "METHOD, REGIME: COLUMN".

    A `picture` is where the grid goes instead; the table is written beside it, too.
    """
    begin = time.monotonic()
    rows = list(measure(methods, held_out, judge, lpips))
    pages = sum("-page-" in s.name for s in held_out)
    text = table(rows, len(held_out), pages)
    where = picture or out / "grid.jpg"
    tables = [out / "table.md", *([picture.with_suffix(".md")] if picture else [])]
    for path in (*tables, where):
        path.parent.mkdir(parents=True, exist_ok=True)
    for path in tables:
        path.write_text(text, encoding="utf-8")
    grid(rows, held_out).save(where, quality=90)
    write_for_rating(rows, held_out, out / "rating")
    print(f"{text}\n{tables[-1]}, {where}: {time.monotonic() - begin:.0f} s")
    return {
        f"{r.method}, {r.regime}: {column.name}": value
        for r in rows
        for column, value in r.figures.items()
    }
