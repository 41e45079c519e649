"""Train the embedded code transformer on the story world: `python -m finetune.code_transformer`.

Loss: negative log-likelihood of the plan (the painter's own layout) and of the codes in raster
order (Esser et al. 2021, section 3.2), positions on clip art counting double; the prompt is dropped
in 10% of the examples for classifier-free guidance.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from finetune.data.scenes import SceneRecord, SceneSet
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    autocast,
    begin,
    load_checkpoint,
    optimizers_of,
    parser,
    prefetch,
    rate,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.scene import vocabulary
from pipelines.tokenizer import load_tokenizer
from pipelines.vqgan_clip.clip import tokenize
from pipelines.vqgan_clip.code_transformer import (
    CodeTransformer,
    CodeTransformerConfig,
    nll,
    plan_nll,
)
from pipelines.vqgan_clip.vqgan import VQGAN, VQGANConfig
from pipelines.weights import save_model

log = logging.getLogger(__name__)

DROP_PROMPT = 0.1


def embedded_config(vqgan: VQGANConfig) -> CodeTransformerConfig:
    """Shape of the shipped model."""
    return CodeTransformerConfig(
        vocabulary=load_tokenizer().get_vocab_size(),
        words=len(vocabulary()),
        width=320,
        layers=8,
        heads=5,
        groups=vqgan.groups,
        codebook_size=vqgan.codebook_size,
        mirrored=True,
    )


@dataclass(frozen=True)
class Batch:
    """Prompts, plans (B, PIECES * FIELDS), codes (B, N, G), foreground (B, N) bool."""

    prompts: list[str]
    plans: Tensor
    codes: Tensor
    front: Tensor


class CodeBank:
    """Scenes of simple layouts as codes, on the device: a page takes a few kilobytes."""

    def __init__(self, scenes: Sequence[SceneSet], vqgan: VQGAN, device: torch.device) -> None:
        """Encode every page of the sets that has a plan."""
        codes, plans, front = list[Tensor](), list[Tensor](), list[Tensor]()
        self.records: list[SceneRecord] = []
        for found in scenes:
            kept = np.flatnonzero(found.plans[:, 0] >= 0)
            self.records += [found.records[n] for n in kept]
            plans.append(torch.from_numpy(found.plans[kept]))
            front.append(torch.from_numpy(found.labels[kept] >= 0).flatten(1))
            for at in tqdm(range(0, len(kept), 64), desc="encoding", mininterval=5):
                codes.append(self._encode(vqgan, found.pictures[kept[at : at + 64]], device))
        self.codes = torch.cat(codes)  # (N, positions, G) int16
        self.plans = torch.cat(plans).to(device)
        self.front = torch.cat(front).to(device)

    @staticmethod
    @torch.no_grad()
    def _encode(vqgan: VQGAN, pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
        pixels = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        with autocast(device):
            latents = vqgan.encode(pixels)
        return vqgan.quantizer.indices(latents.float()).short()

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, ids: Sequence[int], prompts: list[str]) -> Batch:
        """The pages `ids`, asked for with `prompts`."""
        chosen = torch.tensor(ids, device=self.plans.device)
        return Batch(prompts, self.plans[chosen].long(), self.codes[chosen].long(),
                     self.front[chosen])  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """What is drawn ahead of the device: pages, and the tokens of their prompts (B, T)."""

    ids: list[int]
    prompts: list[str]
    read: Tensor
    mask: Tensor


def draws(
    records: Sequence[SceneRecord], seed: int, start: int, steps: int, count: int
) -> Iterator[Draw]:
    """A batch for each of the steps start..steps; the prompt is dropped from DROP_PROMPT of it."""
    for step in range(start, steps):
        rng = random.Random(f"{seed} codes {step}")
        ids = [rng.randrange(len(records)) for _ in range(count)]
        prompts = ["" if rng.random() < DROP_PROMPT else records[i].prompt(rng) for i in ids]
        yield Draw(ids, prompts, *tokenize(prompts, torch.device("cpu")))


@torch.no_grad()
def validate(model: CodeTransformer, held_out: CodeBank, device: torch.device) -> float:
    """Mean NLL of a position (nats over its codes) on held-out scenes, plans given."""
    rng = random.Random("code transformer validation")
    total, count = 0.0, min(len(held_out), 128)
    for first in range(0, count, 16):
        ids = range(first, min(first + 16, count))
        b = held_out.batch(ids, [held_out.records[i].prompt(rng) for i in ids])
        with autocast(device):
            _, logits = model(*tokenize(b.prompts, device), b.plans, b.codes)
        total += nll(logits, b.codes).mean(1).sum().item()
    return total / count


def train(
    steps: int,
    bank: CodeBank,
    held_out: CodeBank,
    vqgan: VQGANConfig,
    checkpoint: Path,
    device: torch.device,
    *,
    config: CodeTransformerConfig | None = None,
    minutes: float | None = None,
    seed: int = 0,
    batch: int = 12,
    peak: float = 1.5e-3,
    save_every: int = 250,
    report_every: int = 20,
    validate_every: int = 250,
) -> Iterator[TrainStep | CodeTransformer]:
    """Train for `steps`, resuming from `checkpoint`; the last event is the averaged model."""
    torch.manual_seed(seed)  # the initial weights
    config = config or embedded_config(vqgan)
    model, averaged = CodeTransformer(config).to(device), CodeTransformer(config).to(device)
    optimizers = optimizers_of(model.body.h, model, peak, tables=[model.features.parts.weight])
    parts: dict[str, torch.nn.Module | torch.optim.Optimizer] = {
        "model": model,
        "averaged": averaged,
        **optimizers,
    }
    ema = Ema(model, averaged)
    start, extra = load_checkpoint(checkpoint, parts)
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    step = start
    for draw in prefetch(draws(bank.records, seed, start, steps, batch)):
        b = bank.batch(draw.ids, draw.prompts)
        with autocast(device):
            planned, logits = model(draw.read.to(device), draw.mask.to(device), b.plans, b.codes)
        losses = nll(logits, b.codes)
        weight = 1.0 + b.front.float()
        plan_loss = plan_nll(planned, b.plans)
        loss = (losses * weight).sum() / weight.sum() + 0.1 * plan_loss
        set_learning_rate(optimizers.values(), rate(clock.progress(step), peak))
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        ema.update(step)
        step += 1
        last = clock.over(step)
        if step % save_every == 0 or last:
            save_checkpoint(checkpoint, step, parts, progress=clock.progress(step))
        if step % report_every == 0 or last:
            metrics = {"plan": plan_loss.item(), "clip art": losses[b.front].mean().item(),
                       "background": losses[~b.front].mean().item()}  # fmt: skip
            if step % validate_every == 0 or last:
                metrics["held out"] = validate(averaged, held_out, device)
            yield TrainStep(step, steps, metrics, clock.eta(step))
        if last:
            break
    yield averaged


def main() -> None:
    p = parser(__doc__ or "", steps=4000, out="pipelines/weights/code_transformer")
    p.add_argument("--batch", type=int, default=12)
    p.add_argument("--vqgan", type=Path, default=Path("pipelines/weights/vqgan"))
    p.add_argument("--scenes", type=int, default=24_000, help="pictures painted for training")
    p.add_argument("--more", type=int, default=0, help="further pictures, all in simple layouts")
    args = p.parse_args()
    device = begin(args)
    vqgan = VQGAN.from_pretrained(args.vqgan, device)
    sets = [SceneSet(args.runs / "scenes-train", args.scenes)]
    if args.more:
        sets.append(SceneSet(args.runs / "scenes-more", args.more, seed=1, simple=1.0))
    held_out = SceneSet(args.runs / "scenes-test", 1000, split="test")
    events = train(
        args.steps, CodeBank(sets, vqgan, device), CodeBank([held_out], vqgan, device),
        vqgan.config, args.runs / "code_transformer.pt", device,
        minutes=args.minutes, seed=args.seed, batch=args.batch, save_every=args.save_every,
    )  # fmt: skip
    model = report(events)
    save_model(model, model.config, args.out, int8=True)
    log.info("wrote %s", args.out)


if __name__ == "__main__":
    main()
