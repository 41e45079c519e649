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

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from finetune import colour_metrics as metrics
from finetune import perceptual
from finetune.colour_methods import FILL, PLANNED, Method
from finetune.colour_test_set import Sample
from finetune.data.picture_sources import SIDE
from pipelines.colorize.regions import find_regions, within_lines

if TYPE_CHECKING:
    from pipelines.vqgan_clip.clip import CLIP

REGIMES = ("none", "sparse", "full")
WITHIN = ", within the lines"
"""Behind the name of a method: with the app's filter."""
ORIGINAL = "original"
TIMED_SIDE = 512


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
