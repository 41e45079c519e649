"""A code transformer for anybody's pictures: `python -m finetune.code_transformer --pairs FOLDER`.

The loss and the loop are those of `finetune/code_transformer.py`. Nobody knows the layout of these
pictures, so their plans are empty. Pictures larger than the transformer's grid become several
overlapping windows; when it paints, its window slides (Esser et al. 2021, section 3.2).
"""

from __future__ import annotations

import argparse
import functools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from finetune.code_bank import Batch, codes_of
from finetune.data.folder import Order, squares, uncut
from finetune.data.pairs import Pair, read_pairs
from finetune.distributed import processes, rank
from finetune.footprint import Footprint, footprint
from finetune.own import Home, base_folder, facts_of, finish, home_of, peak_of, save_grid, tell
from finetune.training import autocast, report
from pipelines.errors import InvalidInput
from pipelines.plan import FIELDS, PIECES
from pipelines.vqgan_clip.clip import tokenize
from pipelines.vqgan_clip.code_transformer import CodeTransformer, CodeTransformerConfig, nll
from pipelines.vqgan_clip.pixels import to_picture
from pipelines.vqgan_clip.vqgan import STRIDE, VQGAN
from pipelines.weights import save_model

PEAK = 1.5e-3
"""Learning rate of a transformer from scratch."""
PAINTED = 4
"""Pictures painted from held-out words with every checkpoint."""


@dataclass(frozen=True)
class Words:
    """What is known of a picture."""

    text: str

    def prompt(self, rng: random.Random) -> str:
        return self.text


class PairCodes:
    """Pictures as codes, and their words: what a CodeBank is for the story world."""

    planned = False

    def __init__(
        self, pictures: NDArray[np.uint8], words: Sequence[str], vqgan: VQGAN, grid: int,
        device: torch.device, seed: int = 0,
    ) -> None:  # fmt: skip
        """`pictures` (N, S, S, 3), S at least 16 times `grid`: each is one window of `grid` x
        `grid` codes, or several that overlap by half. All have their turn once an epoch."""
        codes = list[Tensor]()
        self.records: list[Words] = []
        for picture, text in zip(pictures, words, strict=True):
            found = _windows(_encode(vqgan, picture, device), grid)
            codes.append(found)
            self.records += [Words(text)] * len(found)
        self.codes = torch.cat(codes)  # (N, grid * grid, G) int16
        self.order: Order | None = Order(len(self), seed)

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, ids: Sequence[int], prompts: list[str]) -> Batch:
        """The windows `ids`, asked for with `prompts`."""
        codes = self.codes[torch.tensor(list(ids), device=self.codes.device)].long()
        plans = codes.new_zeros(len(prompts), PIECES * FIELDS)
        return Batch(prompts, plans, codes, torch.zeros_like(codes[..., 0], dtype=torch.bool))


@torch.no_grad()
def _encode(vqgan: VQGAN, picture: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(S, S, 3) -> codes (S/16, S/16, G) int16."""
    pixels = torch.from_numpy(np.array(picture)).to(device).permute(2, 0, 1)[None].float()
    with autocast(device):
        latents = vqgan.encode(pixels / 127.5 - 1)
    codes = vqgan.quantizer.indices(latents.float()).short()
    return codes.view(*latents.shape[2:], -1)


def _windows(codes: Tensor, grid: int) -> Tensor:
    """(h, w, G) -> (N, grid * grid, G): all of them, moved by half a window; the last ones end with
    the picture."""
    step = max(grid // 2, 1)
    rows, columns = (dict.fromkeys([*range(0, n - grid, step), n - grid]) for n in codes.shape[:2])
    parts = [codes[y : y + grid, x : x + grid].flatten(0, 1) for y in rows for x in columns]
    return torch.stack(parts)


def run(
    args: argparse.Namespace, device: torch.device, default_out: Path,
    shape: Callable[[VQGAN], CodeTransformerConfig], train: Any,
) -> None:  # fmt: skip
    """The command with `--pairs`; `shape`: of a transformer from scratch. Raises AppError."""
    home = home_of(args, "code_transformer", default_out)
    vqgan = VQGAN.from_pretrained(_vqgan_of(args, home), device)
    folder = base_folder(args.base, "code_transformer")
    base = CodeTransformer.from_pretrained(folder, device) if folder else None
    config = base.config if base is not None else shape(vqgan)
    own = (vqgan.config.groups, vqgan.config.codebook_size)
    if (config.groups, config.codebook_size) != own:
        raise InvalidInput(
            f"The code transformer of {args.base} writes other codes than this VQGAN has: start "
            "from scratch (without --base), or name the --vqgan that it belongs to."
        )
    side = args.side or config.grid * STRIDE
    if side % STRIDE or side < config.grid * STRIDE:
        raise InvalidInput(
            f"--side must be a multiple of {STRIDE}, {config.grid * STRIDE} or more, not {side}."
        )
    pairs = read_pairs(args.pairs, home.runs, args.seed, classes=args.classes)
    batch = args.batch * processes()
    lines = [*pairs.lines(), f"{args.steps:,} steps of {batch} windows of {config.grid}x"
             f"{config.grid} codes, of pictures of {side} pixels"]  # fmt: skip
    taken = footprint_of(config, args, device)
    cut = [uncut(len(found), side, home.runs, name)
           for found, name in ((pairs.train, "codes"), (pairs.test, "held-out-codes"))]  # fmt: skip
    taken = replace(taken, disk=taken.disk + sum(cut))
    if not tell(lines, taken, device, home, args.dry_run):
        return
    facts = facts_of(args, pairs.fingerprint, batch=batch, side=side, vqgan=codes_of(vqgan))
    bank, held_out = (
        _bank(found, vqgan, config.grid, device, home, name, side, args.seed)
        for found, name in ((pairs.train, "codes"), (pairs.test, "held-out-codes"))
    )
    asked = list(dict.fromkeys(p.text for p in pairs.test))[:PAINTED]

    def keep(step: int, model: CodeTransformer) -> None:
        if rank() == 0:
            painted = [paint(model, vqgan, text, args.seed) for text in asked]
            save_grid([painted], home.samples(f"code_transformer-{step:06d}"))

    events = train(
        args.steps, bank, held_out, vqgan.config, home.runs / "code_transformer.pt", device,
        config=config, base=base, minutes=args.minutes, seed=args.seed, batch=batch,
        peak=peak_of(args, PEAK), save_every=args.save_every,
        checkpointing=args.gradient_checkpointing, facts=facts, keep_samples=keep,
    )  # fmt: skip
    model = report(events)
    if rank() == 0:
        told = facts | {"pairs": len(pairs.train), "figures": figures(model, held_out, device)}
        if base is not None:
            told["before"] = figures(base, held_out, device)
        finish(home, functools.partial(save_model, model, model.config), told)


def _vqgan_of(args: argparse.Namespace, home: Home) -> Path:
    """The VQGAN that was named, or the one beside which this transformer is put."""
    beside = home.model.parent / "vqgan"
    if args.vqgan is None and not beside.is_dir():
        raise InvalidInput(
            f"There is no VQGAN at {beside}: train one first (python -m finetune.vqgan --pictures "
            f"FOLDER --out {home.model.parent}), or name one with --vqgan."
        )
    if args.vqgan is None:
        return beside
    return args.vqgan / "vqgan" if (args.vqgan / "vqgan").is_dir() else args.vqgan


def _bank(
    pairs: Sequence[Pair], vqgan: VQGAN, grid: int, device: torch.device, home: Home, name: str,
    side: int, seed: int,
) -> PairCodes:  # fmt: skip
    pictures = squares([p.picture for p in pairs], side, home.runs, name)
    return PairCodes(pictures, [p.text for p in pairs], vqgan, grid, device, seed)


def footprint_of(
    config: CodeTransformerConfig, args: argparse.Namespace, device: torch.device
) -> Footprint:
    """What training takes, weighed on one window of codes."""
    model = CodeTransformer(config).to(device)
    ids, mask = tokenize(["a fox and an owl in the forest at night"], device)
    plan = torch.zeros(1, PIECES * FIELDS, dtype=torch.long, device=device)
    codes = torch.zeros(1, config.grid**2, config.groups, dtype=torch.long, device=device)

    def loss() -> Tensor:
        _, logits = model(ids, mask, plan, codes)
        return nll(logits, codes).mean()

    again = [model.body] if args.gradient_checkpointing else []
    return footprint([model], loss, 1, args.batch, again=again)


@torch.no_grad()
def paint(model: CodeTransformer, vqgan: VQGAN, prompt: str, seed: int) -> Image.Image:
    """One sample."""
    *_, drawn = model.sample(prompt, 1, generator=torch.Generator().manual_seed(seed))
    return to_picture(vqgan.decode_indices(drawn.codes.to(vqgan.device))[0])


@torch.no_grad()
def figures(model: CodeTransformer, held_out: PairCodes, device: torch.device) -> dict[str, float]:
    """Negative log-likelihood of a position's codes in nats on held-out pictures, with their words
    and without any, and what chance would reach."""
    count = min(len(held_out), 128)
    found: dict[str, float] = {"held out": float(count)}
    for name, told in (("nats a position", True), ("without words", False)):
        total = 0.0
        for first in range(0, count, 16):
            ids = range(first, min(first + 16, count))
            prompts = [held_out.records[i].text if told else "" for i in ids]
            batch = held_out.batch(ids, prompts)
            with autocast(device):
                _, logits = model(*tokenize(prompts, device), batch.plans, batch.codes)
            total += nll(logits, batch.codes).mean(1).sum().item()
        found[name] = total / count
    c = model.config
    return found | {"chance": c.groups * math.log(c.codebook_size)}
