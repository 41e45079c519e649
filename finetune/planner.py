"""Train the planner of colours: `python -m finetune.planner --data SET`.

Cells of the plan are hidden, from few to all of them, and their colours are to be told from the
line art, the hints and the cells that are left. A head that is thrown away afterwards names what
each cell shows, where that is known: to know what colour a fox has, one must see that it is one.
SET is a folder made by `python -m finetune.data.illustrations`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from finetune.colorizer import Batches, load
from finetune.colour_samples import over_lines, write_columns
from finetune.data.illustrations import (
    ColourBatch,
    IllustrationSet,
    Regimes,
    byte_batch,
)
from finetune.data.picture_sources import UNKNOWN
from finetune.data.scenes import tags
from finetune.data.simplify import to_lab
from finetune.distributed import average_gradients, leave, processes, rank
from finetune.footprint import Footprint, footprint
from finetune.own import base_folder, facts_of, guarded, set_options, tell_set
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    autocast,
    begin,
    load_checkpoint,
    optimizers_of,
    parser,
    rate,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.colorize.hints import CELL, kmeans
from pipelines.colorize.planner import PER_CELL, Planner, PlannerConfig
from pipelines.scene import vocabulary
from pipelines.vqgan_clip.checkpointing import checkpoint_blocks
from pipelines.weights import save_model

log = logging.getLogger(__name__)

LIKE = 4.0
"""CIELAB distance within which a colour passes for another."""
PAPER = 0.2
"""Pixels of the line art above this are no line."""
UNDER_LINES = 0.02
"""Votes of a pixel under a line; elsewhere 1."""
REGIMES: Regimes = {"none": 0.4, "sparse": 0.6}
"""What is told of a drawing: where all is, nothing is left to choose."""
UNREAD = 0.15
"""Share of pictures whose drawing is not shown, for classifier-free guidance."""
NAMING = 1.0
"""Weight of naming what a cell shows, against telling its colour."""
PLACE = 0.05
"""Of a cell that shows nothing but its place, against one that shows a thing: four in five are
such, and soon known."""


@dataclass(frozen=True)
class Cells:
    """What a plan should say."""

    hidden: Tensor
    """(B, h, w) bool."""
    tokens: Tensor
    """(B, h, w), K where hidden."""
    wanted: Tensor
    """(B, h, w) in [0, K)."""


def choose_palette(data: IllustrationSet, count: int, rng: np.random.Generator) -> Tensor:
    """k-means in CIELAB of a set's flat colours: (count, 3) RGB in [-1, 1]."""
    some = rng.integers(len(data), size=600)
    pixels = np.concatenate([data.simplified[n][8::16, 8::16].reshape(-1, 3) for n in some])
    points = to_lab(pixels[rng.permutation(len(pixels))[:40_000]])
    _, centres = kmeans(points, min(count, len(np.unique(points, axis=0))))
    rgb = cv2.cvtColor(centres[None], cv2.COLOR_LAB2RGB)[0]
    palette = torch.zeros(count, 3)
    palette[: len(rgb)] = torch.from_numpy(rgb.clip(0, 1)) * 2 - 1
    return palette


def alike(palette: Tensor) -> Tensor:
    """(K, K): how far each colour passes for each other; rows sum to 1."""
    lab = torch.from_numpy(to_lab(((palette.cpu().numpy() + 1) * 127.5).round().astype(np.uint8)))
    return torch.softmax(-(torch.cdist(lab, lab) ** 2) / (2 * LIKE**2), dim=1).to(palette.device)


def wanted_colours(made: ColourBatch, palette: Tensor) -> Tensor:
    """The colour that most of each cell's paper has: (B, h, w) int64."""
    middle = CELL // 2
    flat = made.simplified[:, :, middle::CELL, middle::CELL]
    near = torch.cdist(flat.permute(0, 2, 3, 1).flatten(1, 2), palette).argmin(-1)
    b, _, rows, columns = flat.shape
    paper = made.lineart[:, 0, middle::CELL, middle::CELL].flatten(1) > PAPER
    votes = torch.where(paper, 1.0, UNDER_LINES)
    h, w = rows // PER_CELL, columns // PER_CELL

    def cells(x: Tensor) -> Tensor:
        x = x.view(b, h, PER_CELL, w, PER_CELL).transpose(2, 3)
        return x.reshape(b, h, w, PER_CELL**2)

    counts = torch.zeros(b, h, w, len(palette), device=flat.device)
    return counts.scatter_add_(-1, cells(near), cells(votes)).argmax(-1)


def hide(wanted: Tensor, unknown: int, generator: torch.Generator) -> Cells:
    """Hide a share of each plan: often most of it, as when a plan is begun."""
    b, h, w = wanted.shape
    share = torch.cos(torch.rand(b, 1, 1, generator=generator) * (torch.pi / 2))
    hidden = (torch.rand(b, h, w, generator=generator) < share).to(wanted.device)
    return Cells(hidden, torch.where(hidden, unknown, wanted), wanted)


def loss_of(logits: Tensor, cells: Cells, likeness: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of hidden cells against colours that pass for the right one, and the share of
    hidden cells whose likeliest colour is right."""
    cost = -(likeness[cells.wanted] * logits.float().log_softmax(-1)).sum(-1)
    count = cells.hidden.sum().clamp_min(1)
    right = ((logits.argmax(-1) == cells.wanted) & cells.hidden).sum() / count
    return (cost * cells.hidden).sum() / count, right


def naming_loss(names: Tensor, things: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of names (B, h, w, T) where it is known what is shown (`things`, B, h, w), in
    pictures whose drawing was shown (B,), and the share of things, not of places, that have their
    right name; 0 where nothing is known."""
    known = (things != UNKNOWN) & shown[:, None, None]
    if not known.any():
        return names.sum() * 0, names.new_zeros(())
    told, right = names[known].float(), things[known]
    place = right >= len(vocabulary())
    weight = torch.where(place, PLACE, 1.0)
    cost = F.cross_entropy(told, right, reduction="none")
    named = (told.argmax(-1) == right) & ~place
    return (cost * weight).sum() / weight.sum(), named.sum() / (~place).sum().clamp_min(1)


def train(
    steps: int,
    data: IllustrationSet,
    runs: Path,
    device: torch.device,
    *,
    config: PlannerConfig = PlannerConfig(),
    base: Planner | None = None,
    minutes: float | None = None,
    seed: int = 0,
    count: int = 16,
    workers: int = 0,
    peak: float = 6e-4,
    save_every: int = 250,
    report_every: int = 25,
    samples_every: int = 500,
    checkpointing: bool = False,
    facts: dict[str, Any] | None = None,
) -> Iterator[TrainStep | Planner]:
    """Train for `steps` or `minutes`, resuming from `runs/planner.pt`; the last event is the
    averaged planner. `runs/planner.png` shows what it plans.

    base: a planner to start from, its palette included. `count`: pictures a step, for each process
    that trains. `checkpointing` computes activations twice instead of keeping them. `facts` tell
    this run from others. Raises InvalidInput when the checkpoint belongs to another run.
    """
    torch.manual_seed(seed)  # the initial weights
    config = base.config if base is not None else config
    model, averaged = Planner(config).to(device), Planner(config).to(device)
    if base is not None:
        model.load_state_dict(base.state_dict())
    else:
        palette = choose_palette(data, config.colours, np.random.default_rng(seed))
        model.palette.copy_(palette)
    if checkpointing:
        checkpoint_blocks(model)
    helper = torch.nn.Linear(config.width, len(tags())).to(device)
    inner = torch.nn.ModuleList([model.features, model.blocks])
    everything = torch.nn.ModuleList([model, helper])
    optimizers = optimizers_of(inner, everything, peak, weight_decay=0.03)
    ema = Ema(model, averaged, decay=0.995)
    parts = {"model": model, "averaged": averaged, "helper": helper, **optimizers}
    start, extra = load_checkpoint(runs / "planner.pt", parts, facts)
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    likeness = alike(model.palette)
    show = byte_batch(data, np.random.default_rng(0), 6, regimes={"sparse": 1.0}).on(device)
    every = processes()  # each of them takes its turn of the batches
    turns = range(start * every + rank(), steps * every, every)
    ready = load(Batches(data, seed, count, REGIMES), turns, workers, device)
    step = start
    low = autocast(device)
    while not clock.over(step):
        progress = clock.progress(step)
        made = next(ready)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step * every + rank())
        cells = hide(wanted_colours(made, model.palette), config.colours, generator)
        shown = (torch.rand(len(cells.hidden), generator=generator) >= UNREAD).to(device)
        with low:
            drawing = model.read(made.lineart)
            unread = model.unread(*cells.hidden.shape[1:])
            drawing = torch.where(shown[:, None, None, None], drawing, unread)
            known = model.think(drawing, made.hints, cells.tokens)
            logits, names = model.out(known), helper(known)
        loss, right = loss_of(logits, cells, likeness)
        naming, named = naming_loss(names, made.things, shown)
        set_learning_rate(optimizers.values(), rate(progress, peak))
        everything.zero_grad()
        (loss + NAMING * naming).backward()
        average_gradients([everything])
        torch.nn.utils.clip_grad_norm_(everything.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        ema.update(step)
        step += 1
        over = clock.over(step)
        if step % save_every == 0 or over:
            save_checkpoint(
                runs / "planner.pt", step, parts, facts=facts, progress=clock.progress(step)
            )
        if (step % samples_every == 0 or over) and rank() == 0:
            save_plans(averaged, show, runs / "planner.png")
        if step % report_every == 0 or over:
            told = {"loss": loss.item(), "right": right.item(), "named": named.item()}
            yield TrainStep(step, steps, told, clock.eta(step))
    yield averaged


def footprint_of(
    config: PlannerConfig, data: IllustrationSet, batch: int, device: torch.device,
    *, checkpointing: bool = False,
) -> Footprint:  # fmt: skip
    """What training takes, weighed on one picture."""
    model, helper = (
        Planner(config).to(device),
        torch.nn.Linear(config.width, len(tags())).to(device),
    )
    made = byte_batch(data, np.random.default_rng(0), 1).on(device)
    cells = hide(wanted_colours(made, model.palette), config.colours, torch.Generator())

    def loss() -> Tensor:
        known = model.think(model.read(made.lineart), made.hints, cells.tokens)
        cost, _ = loss_of(model.out(known), cells, alike(model.palette))
        return cost + helper(known).log_softmax(-1).mean()

    return footprint([model, helper], loss, 1, batch, again=[model] if checkpointing else [])


@torch.no_grad()
def save_plans(model: Planner, made: ColourBatch, path: Path) -> None:
    """A row a picture: line art and hints | two plans without hints | one with them | what the
    cells should be."""
    drawing = model.read(made.lineart)
    plans = list[Tensor]()
    for seed, hints in ((0, 0 * made.hints), (1, 0 * made.hints), (0, made.hints)):
        plans.append(model.plan(drawing, hints, torch.Generator().manual_seed(seed)))
    wanted = model.palette[wanted_colours(made, model.palette)].permute(0, 3, 1, 2)
    size = made.lineart.shape[2:]
    large = (F.interpolate(x, size) for x in (*plans, wanted))
    write_columns([over_lines(made), *large, made.picture], path)


def main() -> None:
    p = parser(__doc__ or "", steps=20_000, out="pipelines/weights/planner")
    set_options(p)
    p.add_argument("--batch", type=int, default=16, help="pictures a step")
    p.add_argument("--workers", type=int, default=0, help="processes that make the batches")
    p.add_argument("--peak", type=float, default=6e-4, help="learning rate")
    args = p.parse_args()
    guarded(lambda: run(args, begin(args)))


def run(args: argparse.Namespace, device: torch.device) -> None:
    """The command, its arguments read. Raises AppError."""
    folder = base_folder(args.base, "planner")
    base = None if folder is None else Planner.from_pretrained(folder, device)
    data = IllustrationSet(args.data)
    config, again = PlannerConfig() if base is None else base.config, args.gradient_checkpointing
    taken = footprint_of(config, data, args.batch, device, checkpointing=again)
    if not tell_set(len(data), args, taken, device):
        leave()
        return
    facts = facts_of(args, data.digest, batch=args.batch * processes())
    events = train(
        args.steps, data, args.runs, device, base=base,
        minutes=args.minutes, seed=args.seed, count=args.batch, workers=args.workers,
        peak=args.peak, save_every=args.save_every, checkpointing=again, facts=facts,
    )  # fmt: skip
    model = report(events)
    if rank() == 0:
        save_model(model, model.config, args.out, int8=True)
        log.info("wrote %s", args.out)
    leave()


if __name__ == "__main__":
    main()
