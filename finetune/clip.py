"""Train the embedded CLIP on the story world: `python -m finetune.clip`.

`--pairs FOLDER` trains one on somebody's own pictures and words (`finetune/clip_pairs.py`).

Symmetric cross-entropy over the batch (Radford et al. 2021), helped by what the painter knows:
a head shared by both towers says which words, place, time and weather are shown, and a head on the
picture's patches says which word each of them belongs to. The heads are thrown away afterwards.

The judge is the same command with another seed and another shape: `--judge --seed 1 --out
pipelines/weights/judge`.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetune import clip_pairs
from finetune.clip_pairs import FEWEST, contrast, ranks, rivals
from finetune.clip_views import view
from finetune.data.bank import MOST_HELD, hold
from finetune.data.pages import PageSet, read_pages
from finetune.data.scenes import SceneRecord, SceneSet, tag_vector, tags, unpainted
from finetune.distributed import (
    average_gradients,
    first_alone,
    gathered_with_gradient,
    leave,
    processes,
    rank,
    share,
)
from finetune.own import guarded, own_options, refuse_own, tell_set
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    autocast,
    begin,
    checkpointing_option,
    load_checkpoint,
    parser,
    prefetch,
    rate,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.errors import InvalidInput
from pipelines.painter import GRID, SIZE
from pipelines.vqgan_clip.checkpointing import checkpoint_blocks
from pipelines.vqgan_clip.clip import CLIP, embedded_config, tokenize
from pipelines.weights import save_model

log = logging.getLogger(__name__)

OUT = Path("pipelines/weights/clip")

REAL_EVERY = 5
"""Every so many batches are pages of real books, where there are any."""

JUDGE: dict[str, Any] = embedded_config(
    image_size=96, patch=8, width=192, image_layers=5, text_layers=2, projection=192
)
"""Shape of the judge: it looks through other windows than the CLIP that guides."""


class Heads(nn.Module):
    """What training alone needs: tags from an embedding, words from patches."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.tags = nn.Linear(embedding, len(tags()))
        self.words = nn.Linear(width, len(tags()) + 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, D) unit vectors -> (B, T) logits."""
        return self.tags(embedding * 8.0)


class PairBank:
    """Pictures and what is known of them, on the device where there is room."""

    def __init__(self, scenes: SceneSet, device: torch.device, most: int = MOST_HELD) -> None:
        """At most `most` scenes, so that a graphics card holds them (200 KB each)."""
        self.count, self.device = min(len(scenes), most), device
        self.records = scenes.records[: self.count]
        self.pictures = hold(scenes.pictures[: self.count], device)
        cells = torch.from_numpy(scenes.labels[: self.count].astype(np.int64))
        self.labels = torch.where(cells < 0, len(tags()), cells).to(device)
        self.shown = torch.from_numpy(np.stack([tag_vector(r) for r in self.records])).to(device)


@dataclass(frozen=True)
class Draw:
    """Which pairs a batch holds, and how they are cut: what is drawn ahead of the device."""

    ids: Tensor
    """(B,) int64."""
    ids_text: Tensor
    mask_text: Tensor
    """Tokens and mask of the prompts, (B, T)."""
    box: Tensor
    """(B, 3) side, left and top of the cutout in pixels; whole pictures have the whole page."""
    noise: float
    prompts: list[str]


def draw_pairs(records: Sequence[SceneRecord], rng: random.Random, count: int) -> Draw:
    """`count` different scenes, each asked for in one of its ways.

    Half of the pictures are whole, half are cutouts of 65% to 100% of the side, as CLIP will see
    them when it guides; a little noise joins both.
    """
    ids = rng.sample(range(len(records)), count)
    boxes: list[tuple[int, int, int]] = []
    for n in range(count):
        side = SIZE if n % 2 == 0 else rng.randint(int(0.65 * SIZE), SIZE)
        boxes.append((side, rng.randint(0, SIZE - side), rng.randint(0, SIZE - side)))
    prompts = [records[i].prompt(rng) for i in ids]
    read, mask = tokenize(prompts, torch.device("cpu"))
    noise = 0.06 * rng.random()
    return Draw(torch.tensor(ids), read, mask, torch.tensor(boxes), noise, prompts)


def patch_labels(labels: Tensor, box: Tensor, grid: int) -> Tensor:
    """Labels (B, 16, 16) of the cells -> of the `grid` x `grid` patches of the cutouts, flat."""
    centres = (torch.arange(grid, device=box.device) + 0.5) / grid
    column, row = (
        ((box[:, k : k + 1] + centres * box[:, :1]) / GRID).long().clamp(0, labels.shape[1] - 1)
        for k in (1, 2)
    )
    batch = torch.arange(len(box), device=box.device)[:, None, None]
    return labels[batch, row[:, :, None], column[:, None]].flatten(1)


def train(
    steps: int,
    scenes: SceneSet,
    checkpoint: Path,
    device: torch.device,
    *,
    pages: PageSet | None = None,
    config: dict[str, Any] | None = None,
    minutes: float | None = None,
    seed: int = 0,
    batch: int = 128,
    peak: float = 1e-3,
    save_every: int = 250,
    report_every: int = 20,
    checkpointing: bool = False,
) -> Iterator[TrainStep | CLIP]:
    """Train for `steps`, resuming from `checkpoint`; the last event is the averaged model.

    With `pages`, every REAL_EVERY-th batch holds pages of real books and their words. `batch` is of
    all processes together. `checkpointing` computes activations twice instead of keeping them.
    Raises InvalidInput.
    """
    torch.manual_seed(seed)  # the initial weights
    batch = batch // processes() * processes()
    config = config or embedded_config()
    model, averaged = CLIP(config).to(device), CLIP(config).to(device)
    if checkpointing:
        checkpoint_blocks(model)
    vision = config["vision_config"]
    side, patches = vision["image_size"], vision["image_size"] // vision["patch_size"]
    heads = Heads(config["projection_dim"], vision["hidden_size"]).to(device)
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *heads.parameters()], lr=peak, betas=(0.9, 0.98), weight_decay=0.05
    )
    parts = {"model": model, "averaged": averaged, "heads": heads, "optimizer": optimizer}
    ema = Ema(model, averaged)
    start, extra = load_checkpoint(checkpoint, parts)
    bank = PairBank(scenes, device)
    real = RealPairs(pages, device) if pages is not None else None
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))

    def draws() -> Iterator[Draw]:
        for step in range(start, steps):
            rng = random.Random(f"{seed} clip {step}")
            turn = real is not None and step % REAL_EVERY == REAL_EVERY - 1
            if turn and real is not None:
                yield real.draw(rng, batch)
            else:
                yield draw_pairs(bank.records, rng, batch)

    step = start
    metrics: dict[str, float] = {}
    for draw in () if clock.over(step) else prefetch(draws()):
        box, ids = share(draw.box).to(device), share(draw.ids).to(device)
        turn = real is not None and step % REAL_EVERY == REAL_EVERY - 1
        source = real.pictures if turn and real is not None else bank.pictures
        pixels = view(source[ids.to(source.device)].to(device), box, side)
        noise = torch.Generator(device).manual_seed(seed * 1_000_003 + step)
        shape = (len(draw.ids), *pixels.shape[1:])
        blur = torch.randn(shape, generator=noise, device=device)
        pixels = pixels + draw.noise * share(blur)
        with autocast(device):
            seen = model.model.vision_model(pixels)
            ids_text, mask_text = share(draw.ids_text), share(draw.mask_text)
            read = model.model.text_model(ids_text.to(device), mask_text.to(device))
            image = model.model.visual_projection(seen.pooler_output)
            text = model.model.text_projection(read.pooler_output)
            words = heads.words(seen.last_hidden_state[:, 1:])
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        all_images, all_texts = gathered_with_gradient(image), gathered_with_gradient(text)
        others, scale = rivals(draw.prompts), model.model.logit_scale
        contrast_loss, logits = contrast(all_images, all_texts, scale, others)
        loss = contrast_loss
        tag_loss = patch_loss = loss.new_zeros(())
        if not turn:
            # A cutout may have lost what its words name, so only whole pictures learn the tags.
            shown = bank.shown[ids]
            whole = (draw.box[:, 0] == SIZE).float()
            weight = share(whole / whole.mean())[:, None].to(device)
            tag_loss = F.binary_cross_entropy_with_logits(heads(image), shown, weight)
            tag_loss = tag_loss + F.binary_cross_entropy_with_logits(heads(text), shown)
            labels = patch_labels(bank.labels[ids], box, patches)
            patch_loss = F.cross_entropy(words.float().flatten(0, 1), labels.flatten())
            loss = loss + 20.0 * tag_loss + patch_loss
        set_learning_rate([optimizer], rate(clock.progress(step), peak))
        optimizer.zero_grad()
        loss.backward()
        average_gradients([model, heads])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        ema.update(step)
        step += 1
        last = clock.over(step)
        if step % save_every == 0 or last:
            save_checkpoint(checkpoint, step, parts, progress=clock.progress(step))
        if step % report_every == 0 or last:
            target = torch.arange(len(logits), device=device)
            recall = (logits.argmax(1) == target).float().mean().item()
            if turn:
                metrics["real pages recall@1"] = recall
            else:
                metrics |= {"contrast": contrast_loss.item(), "tags": tag_loss.item(),
                            "patches": patch_loss.item(), "recall@1": recall}  # fmt: skip
            yield TrainStep(step, steps, dict(metrics), clock.eta(step))
        if last:
            break
    yield averaged


class RealPairs:
    """Pages of real books and what stands beside them: the caption, or the text."""

    def __init__(self, pages: PageSet, device: torch.device) -> None:
        words = [p.caption or p.text for p in pages.pages]
        kept = [n for n, w in enumerate(words) if w]
        if len(kept) < FEWEST * processes():
            raise InvalidInput(
                f"{len(kept)} pages with words are too few: each of {processes()} processes needs "
                f"{FEWEST}."
            )
        self.words = [words[n] for n in kept]
        self.pictures = hold(pages.pictures[kept], device)

    def draw(self, rng: random.Random, count: int) -> Draw:
        """`count` different pages (if there are fewer, all that are shared evenly by the
        processes), cut as `draw_pairs` cuts scenes."""
        most = len(self.words) // processes() * processes()
        ids = rng.sample(range(len(self.words)), min(count, most))
        boxes: list[tuple[int, int, int]] = []
        for _ in ids:
            side = rng.randint(int(0.65 * SIZE), SIZE)
            boxes.append((side, rng.randint(0, SIZE - side), rng.randint(0, SIZE - side)))
        prompts = [self.words[i] for i in ids]
        read, mask = tokenize(prompts, torch.device("cpu"))
        return Draw(
            torch.tensor(ids), read, mask, torch.tensor(boxes), 0.06 * rng.random(), prompts
        )


@torch.no_grad()
def recall(
    clip: CLIP, scenes: SceneSet, *, count: int = 1000, among: int = 100
) -> dict[str, float]:
    """Recall at 1 and 5 both ways among `among` held-out pairs, averaged over `count` pairs."""
    rng = random.Random(0)
    device = clip.model.logit_scale.device
    image, text, asked = list[Tensor](), list[Tensor](), list[list[str]]()
    for begin_at in range(0, count, among):
        ids = range(begin_at, begin_at + among)
        raw = torch.from_numpy(np.stack([scenes.pictures[i] for i in ids])).permute(0, 3, 1, 2)
        pixels = F.interpolate(
            raw.float().to(device) / 127.5 - 1, size=clip.image_size, mode="area"
        )
        image.append(clip.embed_images(pixels))
        asked.append([scenes.records[i].prompt(rng) for i in ids])
        text.append(clip.embed_texts(asked[-1]))
    found: dict[str, list[float]] = {}
    for a, b, words in zip(image, text, asked, strict=True):
        for name, scores in (("image to text", a @ b.T), ("text to image", b @ a.T)):
            position = ranks(scores, words)
            for k in (1, 5):
                share = (position < k).float().mean().item()
                found.setdefault(f"{name} recall@{k}", []).append(share)
    return {k: float(np.mean(v)) for k, v in found.items()}


def main() -> None:
    p = parser(__doc__ or "", steps=1600, out=str(OUT))
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--scenes", type=int, default=24_000, help="pictures painted for training")
    p.add_argument("--pages", type=Path, help="folder of story pages: real pictures and words")
    p.add_argument("--judge", action="store_true", help="the judge's shape")
    p.add_argument("--top", type=int, default=0,
                   help="--pairs: only so many top blocks of the base learn, 0 = all")  # fmt: skip
    checkpointing_option(p)
    own_options(p, "--pairs", "your own pictures with words: a folder, csv, jsonl or parquet")
    args = p.parse_args()
    guarded(lambda: run(args, begin(args)))


def run(args: argparse.Namespace, device: torch.device) -> None:
    """The command, its arguments read. Raises AppError."""
    if args.pairs is not None:
        clip_pairs.run(args, device, OUT, embedded_config())
    else:
        refuse_own(args, "--pairs", "peak", "top")
        _embedded(args, device)
    leave()


def _embedded(args: argparse.Namespace, device: torch.device) -> None:
    config = JUDGE if args.judge else embedded_config()
    taken = clip_pairs.footprint_of(None, config, args, min(args.scenes, MOST_HELD), device)
    painted = unpainted(args.runs / "scenes-train", args.scenes)
    taken = replace(taken, disk=taken.disk + painted)
    if not tell_set(args.scenes, args, taken, device, "scenes"):
        return
    with first_alone():
        scenes = SceneSet(args.runs / "scenes-train", args.scenes)
        held_out = SceneSet(args.runs / "scenes-test", 1000, split="test")
    events = train(
        args.steps, scenes, args.runs / f"{args.out.name}.pt", device,
        pages=PageSet(list(read_pages(args.pages, "train"))) if args.pages else None,
        config=config, minutes=args.minutes,
        seed=args.seed, batch=args.batch * processes(), save_every=args.save_every,
        checkpointing=args.gradient_checkpointing,
    )  # fmt: skip
    model = report(events)
    if rank() > 0:
        return
    save_model(model, model.config, args.out, int8=True)
    for name, value in recall(model.eval(), held_out).items():
        log.info("%s %.3f", name, value)


if __name__ == "__main__":
    main()
