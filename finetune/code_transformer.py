"""Train the embedded code transformer on the story world: `python -m finetune.code_transformer`.

Loss: negative log-likelihood of the plan (the painter's own layout) and of the codes in raster
order (Esser et al. 2021, section 3.2), positions on clip art counting double; the prompt is dropped
in 10% of the examples for classifier-free guidance. Pages are painted and encoded on the fly, so
that none comes twice.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from finetune.data.scenes import label_map, sample_record, tags
from finetune.training import (
    Ema,
    Pace,
    TrainStep,
    begin,
    learning_rate,
    load_checkpoint,
    optimizers_of,
    parser,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.painter import GRID, SIMPLE_SIZES, Placed
from pipelines.scene import vocabulary
from pipelines.tokenizer import load_tokenizer
from pipelines.vqgan_clip.clip import tokenize
from pipelines.vqgan_clip.code_transformer import (
    FIELDS,
    PIECES,
    CodeTransformer,
    CodeTransformerConfig,
    nll,
    plan_nll,
)
from pipelines.vqgan_clip.vqgan import VQGAN
from pipelines.weights import save_model

log = logging.getLogger(__name__)

DROP_PROMPT = 0.1


@dataclass(frozen=True)
class Batch:
    """Prompts, plans (B, PIECES * FIELDS), codes (B, N, G), foreground (B, N) bool."""

    prompts: list[str]
    plans: Tensor
    codes: Tensor
    front: Tensor


def plan_of(layout: Sequence[Placed]) -> list[int]:
    """The plan that the painter's layout is: far to near, the nearest PIECES of it."""
    values: list[int] = []
    for p in layout[-PIECES:]:
        size = SIMPLE_SIZES.index(p.size)
        values += [1 + tags()[p.word], p.x // GRID, p.y // GRID, size]
    return values + [0] * (PIECES * FIELDS - len(values))


@torch.no_grad()
def batch_of(
    vqgan: VQGAN, rng: random.Random, count: int, split: str, device: torch.device
) -> Batch:
    """Paint and encode fresh pages."""
    records = [sample_record(rng, split) for _ in range(count)]
    pages = [r.paint(rng, simple=True) for r in records]
    pixels = torch.from_numpy(np.stack([np.asarray(p.picture) for p in pages]))
    pixels = pixels.permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
    with torch.autocast(device.type, torch.bfloat16):
        latents = vqgan.encode(pixels)
    return Batch(
        [r.prompt(rng) for r in records],
        torch.tensor([plan_of(p.layout) for p in pages], device=device),
        vqgan.quantizer.indices(latents.float()),
        torch.from_numpy(np.stack([label_map(p) for p in pages]) >= 0).flatten(1).to(device),
    )


@torch.no_grad()
def validate(model: CodeTransformer, vqgan: VQGAN, device: torch.device) -> float:
    """Mean NLL of a position (nats over its codes) on 64 held-out scenes, plans given."""
    rng = random.Random("code transformer validation")
    total = 0.0
    for _ in range(4):
        b = batch_of(vqgan, rng, 16, "test", device)
        with torch.autocast(device.type, torch.bfloat16):
            _, logits = model(*tokenize(b.prompts, device), b.plans, b.codes)
        total += nll(logits, b.codes).mean().item() / 4
    return total


def train(
    steps: int,
    vqgan: VQGAN,
    checkpoint: Path,
    device: torch.device,
    *,
    config: CodeTransformerConfig | None = None,
    seed: int = 0,
    batch: int = 12,
    peak: float = 1.5e-3,
    save_every: int = 250,
    report_every: int = 20,
    validate_every: int = 250,
) -> Iterator[TrainStep | CodeTransformer]:
    """Train for `steps`, resuming from `checkpoint`; the last event is the averaged model."""
    torch.manual_seed(seed)  # the initial weights
    c = vqgan.config
    config = config or CodeTransformerConfig(
        vocabulary=load_tokenizer().get_vocab_size(),
        words=len(vocabulary()),
        groups=c.groups,
        codebook_size=c.codebook_size,
    )
    model, averaged = CodeTransformer(config).to(device), CodeTransformer(config).to(device)
    optimizers = optimizers_of(model.body.h, model, peak, tables=[model.features.parts.weight])
    parts: dict[str, torch.nn.Module | torch.optim.Optimizer] = {
        "model": model,
        "averaged": averaged,
        **optimizers,
    }
    ema = Ema(model, averaged)
    start, _ = load_checkpoint(checkpoint, parts)
    pace = Pace(start, steps)
    for step in range(start, steps):
        rng = random.Random(f"{seed} codes {step}")
        b = batch_of(vqgan, rng, batch, "train", device)
        prompts = ["" if rng.random() < DROP_PROMPT else p for p in b.prompts]
        with torch.autocast(device.type, torch.bfloat16):
            planned, logits = model(*tokenize(prompts, device), b.plans, b.codes)
        losses = nll(logits, b.codes)
        weight = 1.0 + b.front.float()
        plan_loss = plan_nll(planned, b.plans)
        loss = (losses * weight).sum() / weight.sum() + 0.1 * plan_loss
        set_learning_rate(optimizers.values(), learning_rate(step, steps, peak, warmup=100))
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        ema.update(step)
        done = step + 1
        if done % save_every == 0 or done == steps:
            save_checkpoint(checkpoint, done, parts)
        if done % report_every == 0 or done == steps:
            metrics = {"plan": plan_loss.item(), "clip art": losses[b.front].mean().item(),
                       "background": losses[~b.front].mean().item()}  # fmt: skip
            if done % validate_every == 0 or done == steps:
                metrics["held out"] = validate(averaged, vqgan, device)
            yield TrainStep(done, steps, metrics, pace.eta(done))
    yield averaged


def main() -> None:
    p = parser(__doc__ or "", steps=2500, out="pipelines/weights/code_transformer")
    p.add_argument("--batch", type=int, default=12)
    p.add_argument("--vqgan", type=Path, default=Path("pipelines/weights/vqgan"))
    args = p.parse_args()
    device = begin(args)
    vqgan = VQGAN.from_pretrained(args.vqgan, device)
    events = train(
        args.steps, vqgan, args.runs / "code_transformer.pt", device,
        seed=args.seed, batch=args.batch, save_every=args.save_every,
    )  # fmt: skip
    model = report(events)
    save_model(model, model.config, args.out)
    log.info("wrote %s", args.out)


if __name__ == "__main__":
    main()
