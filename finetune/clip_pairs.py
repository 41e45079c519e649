"""A CLIP for anybody's pictures and words: `python -m finetune.clip --pairs FOLDER --out DIR`.

Symmetric cross-entropy over the batch (Radford et al. 2021), from scratch or from another CLIP (the
embedded one, one's own, or a public one by folder or hub name), of which `--top N` leaves all but
the top blocks of both towers as they are. Of the one of pages only the linear layers on top learn,
in seconds, from few pictures (`finetune/clip_heads.py`). One pair of ten is held out for the
figures.
"""

from __future__ import annotations

import argparse
import copy
import functools
import hashlib
import json
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from finetune import clip_heads
from finetune.clip_views import view
from finetune.data.bank import hold
from finetune.data.folder import Order, squares, uncut
from finetune.data.pairs import Pair, read_pairs
from finetune.distributed import (
    average_gradients,
    averaged,
    gathered_with_gradient,
    processes,
    rank,
    share,
)
from finetune.footprint import Footprint, footprint
from finetune.own import (
    SHOWN,
    Home,
    facts_of,
    finish,
    home_of,
    peak_of,
    save_grid,
    tell,
)
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    autocast,
    load_checkpoint,
    rate,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.errors import InvalidInput
from pipelines.painter import SIZE
from pipelines.vqgan_clip.checkpointing import checkpoint_blocks
from pipelines.vqgan_clip.clip import CLIP
from pipelines.vqgan_clip.clip_checkpoints import TransformersCLIP
from pipelines.vqgan_clip.loading import load_clip
from pipelines.vqgan_clip.pages_clip import PagesCLIP
from pipelines.weights import save_model

PEAK = 1e-3
"""Learning rate of a CLIP from scratch."""
PUBLIC_PEAK = 2e-5
"""Of a public CLIP: it knows much that a few pictures should not make it forget."""
FEWEST = 2
"""Pairs of a batch: one alone has nothing to be told from."""
AT_ONCE = 32
"""Held-out pairs that are looked at together: there may be thousands."""


AnyCLIP = CLIP | TransformersCLIP
Base = AnyCLIP | PagesCLIP


def base_of(name: str | None, device: torch.device) -> Base | None:
    """The CLIP to start from; None: from scratch.

    "embedded", "pages", a folder of models, or a CLIP by folder or hub name. Raises InvalidInput,
    ModelUnavailable.
    """
    if name is None:
        return None
    beside = Path(name) / "clip"
    clip = load_clip(str(beside) if (beside / "config.json").is_file() else name, device)
    if isinstance(clip, TransformersCLIP) and clip.model.config.model_type == "clip":
        return clip
    if not isinstance(clip, CLIP | PagesCLIP):
        raise InvalidInput(f"{name} is no CLIP of transformers, and cannot be trained further.")
    return clip


def save(clip: Base, folder: Path) -> None:
    """Write a CLIP as it was read: in this project's form, or in that of transformers."""
    if isinstance(clip, PagesCLIP):
        clip.save(folder, int8=False)
        return
    if isinstance(clip, CLIP):
        save_model(clip, clip.config, folder)
        return
    clip.model.save_pretrained(folder, max_shard_size="100GB")
    clip.tokenizer.save_pretrained(folder)
    deviation = 0.5 / clip.norm.scale.flatten()
    pixels = {
        "image_processor_type": "CLIPImageProcessor",
        "image_mean": (0.5 - clip.norm.shift.flatten() * deviation).tolist(),
        "image_std": deviation.tolist(),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels), encoding="utf-8")


def train_top(clip: AnyCLIP, blocks: int) -> list[nn.Parameter]:
    """Freeze all of a CLIP but the top `blocks` of each tower and what follows them -> the rest.

    0 leaves everything free. Raises InvalidInput when a tower has fewer blocks.
    """
    model: Any = clip.model
    clip.requires_grad_(True)
    if not blocks:
        return list(clip.parameters())
    towers = (model.vision_model, model.text_model)
    least = min(len(t.encoder.layers) for t in towers)
    if not 0 < blocks <= least:
        raise InvalidInput(f"--top must be from 1 to {least}, the blocks of this CLIP's towers.")
    clip.requires_grad_(False)
    free: list[nn.Module] = [model.vision_model.post_layernorm, model.text_model.final_layer_norm,
                             model.visual_projection, model.text_projection]  # fmt: skip
    for tower in towers:
        free += list(tower.encoder.layers[-blocks:])
    for module in free:
        module.requires_grad_(True)
    model.logit_scale.requires_grad_(True)
    return [p for p in clip.parameters() if p.requires_grad]


def contrast(image: Tensor, text: Tensor, scale: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of unit vectors, (B, D) of pictures and of their words, and their logits.

    `others` (B, B) are the `rivals` among them: no pair is told from another one's words that are
    as true of it. What is no rival has logits of -inf.
    """
    logits = scale.exp().clamp(max=100) * image @ text.T
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(~(own | others.to(logits.device)), float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2, logits


def boxes(rng: random.Random, count: int) -> Tensor:
    """(count, 3) side, left and top of what CLIP sees: half of them whole, half cutouts."""
    found: list[tuple[int, int, int]] = []
    for n in range(count):
        side = SIZE if n % 2 == 0 else rng.randint(int(0.65 * SIZE), SIZE)
        found.append((side, rng.randint(0, SIZE - side), rng.randint(0, SIZE - side)))
    return torch.tensor(found)


def train(
    steps: int,
    pictures: NDArray[np.uint8],
    words: Sequence[str],
    checkpoint: Path,
    device: torch.device,
    *,
    shown: Sequence[Hashable] | None = None,
    config: dict[str, Any],
    base: AnyCLIP | None = None,
    top: int = 0,
    minutes: float | None = None,
    seed: int = 0,
    batch: int = 128,
    peak: float = PEAK,
    save_every: int = 250,
    report_every: int = 20,
    checkpointing: bool = False,
    facts: dict[str, Any] | None = None,
    keep_samples: Callable[[int, AnyCLIP], None] | None = None,
) -> Iterator[TrainStep | AnyCLIP]:
    """Train on pictures (N, 256, 256, 3) and their words, resuming from `checkpoint`; the last
    event is the averaged model.

    `shown` tells which pairs have the same picture. `batch` is of all processes together; each pair
    has its turn once an epoch. `checkpointing` computes activations twice instead of keeping them.
    Raises InvalidInput.
    """
    torch.manual_seed(seed)  # the initial weights
    model = CLIP(config).to(device) if base is None else copy.deepcopy(base)
    average = copy.deepcopy(model)
    learned = train_top(model, top)
    if checkpointing:
        checkpoint_blocks(model)
    optimizer = torch.optim.AdamW(learned, lr=peak, betas=(0.9, 0.98), weight_decay=0.05)
    parts: dict[str, nn.Module | torch.optim.Optimizer] = {
        "model": model, "averaged": average, "optimizer": optimizer
    }  # fmt: skip
    ema = Ema(model, average)
    start, extra = load_checkpoint(checkpoint, parts, facts)
    batch = min(batch, len(words) // processes() * processes())  # a pair is no rival of itself
    order, held = Order(len(words), seed, batch), hold(pictures, device)
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    step = start
    while not clock.over(step):
        rng = random.Random(f"{seed} pairs {step}")
        chosen, box = order.ids(step, batch), share(boxes(rng, batch))
        mine = share(chosen)
        asked: list[int] = chosen.tolist()
        own: list[int] = mine.tolist()
        taken = held[mine.to(held.device)].to(device)
        pixels = view(taken, box.to(device), model.image_size)
        with autocast(device):
            seen = model.embed_images(pixels)
            read = model.embed_texts([words[i] for i in own])
        image, text = gathered_with_gradient(seen.float()), gathered_with_gradient(read.float())
        others = rivals([words[i] for i in asked], shown and [shown[i] for i in asked])
        loss, logits = contrast(image, text, model.model.logit_scale, others)
        set_learning_rate([optimizer], rate(clock.progress(step), peak))
        optimizer.zero_grad()
        loss.backward()
        average_gradients([model])
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        ema.update(step)
        step += 1
        last = clock.over(step)
        if step % save_every == 0 or last:
            save_checkpoint(checkpoint, step, parts, progress=clock.progress(step), facts=facts)
            if keep_samples is not None:
                keep_samples(step, average)
        if step % report_every == 0 or last:
            target = torch.arange(len(logits), device=device)
            hit = (logits.argmax(1) == target).float().mean()
            metrics = {"contrast": loss.item(), "recall@1": averaged(hit).item()}
            yield TrainStep(step, steps, metrics, clock.eta(step))
    yield average


@torch.no_grad()
def scores(clip: Base, pictures: NDArray[np.uint8], words: Sequence[str]) -> Tensor:
    """(N, N) cosine of each picture, in rows, to the words of each."""
    device = next(clip.parameters()).device
    side = (clip.image_size, clip.image_size)
    seen, read = list[Tensor](), list[Tensor]()
    for k in range(0, len(words), AT_ONCE):
        raw = torch.from_numpy(np.array(pictures[k : k + AT_ONCE])).permute(0, 3, 1, 2)
        pixels = F.interpolate(raw.float().to(device) / 127.5 - 1, size=side, mode="area")
        seen.append(clip.embed_images(pixels))
        read.append(clip.embed_texts(words[k : k + AT_ONCE]))
    return torch.cat(seen) @ torch.cat(read).T


def rivals(words: Sequence[str], shown: Sequence[Hashable] | None = None) -> Tensor:
    """(N, N) bool: which pairs can be taken for each other's.

    Pictures that have the same words cannot, and neither can several words of one picture: `shown`
    tells which it is.
    """
    found = torch.ones(len(words), len(words), dtype=torch.bool)
    for known in (words, shown):
        if known is not None:
            number = {w: n for n, w in enumerate(known)}
            ids = torch.tensor([number[w] for w in known])
            found &= ids[:, None] != ids
    return found


def ranks(scores: Tensor, words: Sequence[str], shown: Sequence[Hashable] | None = None) -> Tensor:
    """(N, N) scores of pictures to the words of each, or the other way round -> (N,) how many of
    the `rivals` come before the right one, on the diagonal.

    Whoever scores as high comes before it, too, and what is no number: a CLIP that says the same of
    everything finds nothing.
    """
    others = rivals(words, shown).to(scores.device)
    return (others & ~(scores < scores.diagonal()[:, None])).sum(1)


def figures(clip: Base, pictures: NDArray[np.uint8], words: Sequence[str]) -> dict[str, float]:
    """Recall at 1 and 5 both ways among all held-out pairs, and what chance would reach."""
    shown = [hashlib.sha256(p.tobytes()).digest() for p in pictures]
    chance = (1 / (1 + rivals(words, shown).sum(1))).mean().item()
    found = {"held out": float(len(words)), "chance recall@1": chance}
    seen = scores(clip, pictures, words)
    for name, table in (("picture to words", seen), ("words to picture", seen.T)):
        position = ranks(table, words, shown)
        for k in (1, 5):
            found[f"{name} recall@{k}"] = (position < k).float().mean().item()
    return found


def keep_samples(
    pictures: NDArray[np.uint8], words: Sequence[str], home: Home, step: int, clip: Base
) -> None:
    """Held-out pictures above the ones that CLIP finds for their words."""
    if rank() == 0:
        best = scores(clip, pictures, words).argmax(0)[:SHOWN].tolist()
        real = [Image.fromarray(np.array(p)) for p in pictures]
        save_grid([real[:SHOWN], [real[n] for n in best]], home.samples(f"clip-{step:06d}"))


def run(
    args: argparse.Namespace, device: torch.device, default_out: Path, config: dict[str, Any]
) -> None:
    """The command with `--pairs`. Raises AppError."""
    home = home_of(args, "clip", default_out)
    base = base_of(args.base, device)
    if args.top and base is None:
        raise InvalidInput(
            "--top needs a --base: nothing of a CLIP from scratch can stay as it is."
        )
    if (args.top or args.gradient_checkpointing) and isinstance(base, PagesCLIP):
        raise InvalidInput(
            "Leave out --top and --gradient-checkpointing: of the CLIP of pages only two layers on "
            "top learn."
        )
    pairs = read_pairs(args.pairs, home.runs, args.seed)
    batch = args.batch * processes()
    if len(pairs.train) < FEWEST * processes():
        raise InvalidInput(
            f"{len(pairs.train)} pairs are too few: each of {processes()} processes needs {FEWEST}."
        )
    lines = [*pairs.lines(), f"{args.steps:,} steps of {min(batch, len(pairs.train))} pairs: each "
             f"about {batch * args.steps / len(pairs.train):,.0f} times"]  # fmt: skip
    taken = footprint_of(base, config, args, len(pairs.train), device)
    cut = [uncut(len(found), SIZE, home.runs, name)
           for found, name in ((pairs.train, "pairs"), (pairs.test, "held-out-pairs"))]  # fmt: skip
    taken = replace(taken, disk=taken.disk + sum(cut))
    if not tell(lines, taken, device, home, args.dry_run):
        return
    facts = facts_of(args, pairs.fingerprint, batch=batch, top=args.top)
    learned, held_out = _cut(pairs.train, home, "pairs"), _cut(pairs.test, home, "held-out-pairs")
    tested = [p.text for p in pairs.test]

    peak = peak_of(args, PEAK)
    if isinstance(base, TransformersCLIP):
        peak = args.peak or PUBLIC_PEAK

    def keep(step: int, clip: AnyCLIP) -> None:
        keep_samples(held_out, tested, home, step, clip)

    words = [p.text for p in pairs.train]
    if isinstance(base, PagesCLIP):
        model: Base = _heads(base, learned, pairs.train, args, peak, home.runs)
    else:
        model = report(train(
            args.steps, learned, words, home.runs / "clip.pt", device,
            shown=[p.picture for p in pairs.train], config=config, base=base, top=args.top,
            minutes=args.minutes, seed=args.seed, batch=batch, peak=peak,
            save_every=args.save_every, facts=facts, keep_samples=keep,
            checkpointing=args.gradient_checkpointing,
        ))  # fmt: skip
    if rank() == 0:
        told = facts | {"pairs": len(pairs.train)}
        told["figures"] = figures(model.eval(), held_out, tested)
        if base is not None:
            told["before"] = figures(base, held_out, tested)
        finish(home, functools.partial(save, model), told)


def _cut(pairs: Sequence[Pair], home: Home, name: str) -> NDArray[np.uint8]:
    return squares([p.picture for p in pairs], SIZE, home.runs, name)


def _heads(
    base: PagesCLIP, pictures: NDArray[np.uint8], pairs: Sequence[Pair], args: argparse.Namespace,
    peak: float, runs: Path,
) -> PagesCLIP:  # fmt: skip
    """Teach the top of a CLIP of pages: each process does the whole, which takes seconds."""
    first: dict[Path, int] = {}
    for n, pair in enumerate(pairs):
        first.setdefault(pair.picture, n)  # a picture may have several captions
    shown = [first[p.picture] for p in pairs]
    features = clip_heads.kept_features(base, pictures, args.seed, runs)
    return report(clip_heads.train(
        base, features, shown, [p.text for p in pairs], steps=args.steps, minutes=args.minutes,
        seed=args.seed, batch=args.batch, peak=peak,
    ))  # fmt: skip


def footprint_of(
    base: Base | None, config: dict[str, Any], args: argparse.Namespace, pictures: int,
    device: torch.device,
) -> Footprint:  # fmt: skip
    """What training takes, weighed on two pairs; `pictures`: how many a graphics card holds."""
    model = CLIP(config).to(device) if base is None else copy.deepcopy(base)
    if isinstance(model, PagesCLIP):
        for parameter in model.learned():
            parameter.requires_grad_(True)
    else:
        train_top(model, args.top)
    pixels = torch.zeros(FEWEST, 3, model.image_size, model.image_size, device=device)

    def loss() -> Tensor:
        words = ["a fox and an owl in the forest at night"] * FEWEST
        return (model.embed_images(pixels) * model.embed_texts(words)).sum()

    again = [model] if args.gradient_checkpointing else []
    held = 0 if device.type == "cpu" else pictures * SIZE * SIZE * 3
    return replace(footprint([model], loss, FEWEST, args.batch, again=again), held=held)
