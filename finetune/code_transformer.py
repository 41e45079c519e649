"""Train the embedded code transformer on the story world: `python -m finetune.code_transformer`.

`--pairs FOLDER` trains one on somebody's own pictures and words (`finetune/code_pairs.py`).

Loss: negative log-likelihood of the plan (the painter's own layout) and of the codes in raster
order (Esser et al. 2021, section 3.2), positions on clip art counting double; the prompt is dropped
in 10% of the examples for classifier-free guidance.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from finetune import code_pairs
from finetune.code_bank import Batch, CodeBank, codes_of
from finetune.data.folder import Order
from finetune.data.scenes import SceneSet, unpainted
from finetune.distributed import (
    average_gradients,
    averaged,
    first_alone,
    leave,
    mean,
    processes,
    rank,
    share,
    share_of,
)
from finetune.own import guarded, own_options, peak_of, refuse_own, tell_set
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    autocast,
    begin,
    checkpointing_option,
    load_checkpoint,
    optimizers_of,
    parser,
    prefetch,
    rate,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.errors import InvalidInput
from pipelines.scene import vocabulary
from pipelines.tokenizer import load_tokenizer
from pipelines.vqgan_clip.checkpointing import checkpoint_blocks
from pipelines.vqgan_clip.clip import tokenize
from pipelines.vqgan_clip.code_transformer import (
    CodeTransformer,
    CodeTransformerConfig,
    nll,
    plan_nll,
)
from pipelines.vqgan_clip.vqgan import VQGAN, VQGANConfig
from pipelines.weights import EMBEDDED, save_model

log = logging.getLogger(__name__)

DROP_PROMPT = 0.1
OUT = Path("pipelines/weights/code_transformer")


def embedded_config(vqgan: VQGANConfig, words: int | None = None) -> CodeTransformerConfig:
    """Shape of the shipped model; `words` that its plans can name, by default all."""
    return CodeTransformerConfig(
        vocabulary=load_tokenizer().get_vocab_size(),
        words=len(vocabulary()) if words is None else words,
        width=320,
        layers=8,
        heads=5,
        groups=vqgan.groups,
        codebook_size=vqgan.codebook_size,
        mirrored=True,
    )


@dataclass(frozen=True)
class Draw:
    """What is drawn ahead of the device: pages, and the tokens of their prompts (B, T)."""

    ids: list[int]
    prompts: list[str]
    read: Tensor
    mask: Tensor


class Record(Protocol):
    """What is known of a page."""

    def prompt(self, rng: random.Random) -> str:
        """One of the ways to ask for it."""
        ...


class Bank(Protocol):
    """Pages as codes: a CodeBank, or somebody's own pictures."""

    planned: bool
    order: Order | None

    @property
    def records(self) -> Sequence[Record]: ...

    def __len__(self) -> int: ...

    def batch(self, ids: Sequence[int], prompts: list[str]) -> Batch: ...


def draws(
    records: Sequence[Record], seed: int, start: int, steps: int, count: int,
    order: Order | None = None,
) -> Iterator[Draw]:  # fmt: skip
    """A batch for each of the steps start..steps; the prompt is dropped from DROP_PROMPT of it.

    With an `order` every page has its turn once an epoch; otherwise pages are drawn.
    """
    for step in range(start, steps):
        rng = random.Random(f"{seed} codes {step}")
        ids = [rng.randrange(len(records)) for _ in range(count)]
        if order is not None:
            ids = order.ids(step, count).tolist()
        prompts = ["" if rng.random() < DROP_PROMPT else records[i].prompt(rng) for i in ids]
        yield Draw(ids, prompts, *tokenize(prompts, torch.device("cpu")))


@torch.no_grad()
def validate(model: CodeTransformer, held_out: Bank, device: torch.device) -> float:
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
    bank: Bank,
    held_out: Bank,
    vqgan: VQGANConfig,
    checkpoint: Path,
    device: torch.device,
    *,
    config: CodeTransformerConfig | None = None,
    minutes: float | None = None,
    seed: int = 0,
    batch: int = 12,
    peak: float = code_pairs.PEAK,
    save_every: int = 250,
    report_every: int = 20,
    validate_every: int = 250,
    base: CodeTransformer | None = None,
    checkpointing: bool = False,
    facts: dict[str, Any] | None = None,
    keep_samples: Callable[[int, CodeTransformer], None] | None = None,
) -> Iterator[TrainStep | CodeTransformer]:
    """Train for `steps`, resuming from `checkpoint`; the last event is the averaged model.

    `base`: where to start. `batch` is of all processes together. `checkpointing` computes
    activations twice instead of keeping them. `facts` tell this run from others; `keep_samples` is
    called with every checkpoint. Raises InvalidInput when the checkpoint is of another run.
    """
    torch.manual_seed(seed)  # the initial weights
    config = config or (base.config if base is not None else embedded_config(vqgan))
    model, average = CodeTransformer(config).to(device), CodeTransformer(config).to(device)
    if base is not None:
        model.load_state_dict(base.state_dict())
    if checkpointing:
        checkpoint_blocks(model.body)
    optimizers = optimizers_of(model.body.h, model, peak, tables=[model.features.parts.weight])
    parts: dict[str, torch.nn.Module | torch.optim.Optimizer] = {
        "model": model,
        "averaged": average,
        **optimizers,
    }
    ema = Ema(model, average)
    start, extra = load_checkpoint(checkpoint, parts, facts)
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    step = start
    drawn = draws(bank.records, seed, start, steps, batch, bank.order)
    for draw in () if clock.over(step) else prefetch(drawn):
        b = bank.batch(share_of(draw.ids), share_of(draw.prompts))
        read, mask = share(draw.read).to(device), share(draw.mask).to(device)
        with autocast(device):
            planned, logits = model(read, mask, b.plans, b.codes)
        losses = nll(logits, b.codes)
        weight = 1.0 + b.front.float()
        plan_loss = plan_nll(planned, b.plans) if bank.planned else empty_plan_nll(planned)
        loss = (losses * weight).sum() / averaged(weight.sum()) + 0.1 * plan_loss
        set_learning_rate(optimizers.values(), rate(clock.progress(step), peak))
        model.zero_grad()
        loss.backward()
        average_gradients([model])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        ema.update(step)
        step += 1
        last = clock.over(step)
        if step % save_every == 0 or last:
            save_checkpoint(checkpoint, step, parts, progress=clock.progress(step), facts=facts)
            if keep_samples is not None:
                keep_samples(step, average)
        if step % report_every == 0 or last:
            metrics = {"plan": mean(plan_loss)}
            if bank.planned:
                metrics |= {"clip art": losses[b.front].mean().item(),
                            "background": losses[~b.front].mean().item()}  # fmt: skip
            else:
                metrics["nats"] = mean(losses.mean())
            if step % validate_every == 0 or last:
                metrics["held out"] = validate(average, held_out, device)
            yield TrainStep(step, steps, metrics, clock.eta(step))
        if last:
            break
    yield average


def empty_plan_nll(logits: Sequence[Tensor]) -> Tensor:
    """Negative log-likelihood in nats of plans that hold nothing, entry by entry: what is sampled
    later is then what was learned."""
    nothing = logits[0].new_zeros(len(logits[0]), dtype=torch.long)
    return torch.stack([F.cross_entropy(x.float(), nothing) for x in logits]).sum()


def main() -> None:
    p = parser(__doc__ or "", steps=4000, out=str(OUT))
    p.add_argument("--batch", type=int, default=12)
    p.add_argument("--vqgan", type=Path, help="whose codes are learned (the embedded one; with "
                   "--pairs the one in --out)")  # fmt: skip
    p.add_argument("--scenes", type=int, default=24_000, help="pictures painted for training")
    p.add_argument("--more", type=int, default=0, help="further pictures, all in simple layouts")
    p.add_argument("--classes", action="store_true",
                   help="--pairs: the folder of a picture names its class")  # fmt: skip
    p.add_argument("--side", type=int, default=0, help="--pairs: pixels of the pictures; what is "
                   "larger than the transformer's grid is learned in windows")  # fmt: skip
    p.add_argument("--from", dest="begun", type=Path, help="folder of a code transformer to go on "
                   "from, at --peak (0: a quarter of what a fresh one takes)")  # fmt: skip
    checkpointing_option(p)
    own_options(p, "--pairs", "your own pictures with words: a folder, csv, jsonl or parquet")
    args = p.parse_args()
    guarded(lambda: run(args, begin(args)))


def run(args: argparse.Namespace, device: torch.device) -> None:
    """The command, its arguments read. Raises AppError."""
    if args.pairs is not None:
        if args.begun:
            raise InvalidInput("--from: without --pairs only; name with --base where to start.")
        code_pairs.run(args, device, OUT, lambda v: embedded_config(v.config, words=0), train)
    else:
        refuse_own(args, "--pairs", "classes", "side", *(() if args.begun else ("peak",)))
        _embedded(args, device)
    leave()


def _embedded(args: argparse.Namespace, device: torch.device) -> None:
    vqgan = VQGAN.from_pretrained(args.vqgan or EMBEDDED / "vqgan", device)
    taken = code_pairs.footprint_of(embedded_config(vqgan.config), args, device)
    painted = unpainted(args.runs / "scenes-train", args.scenes)
    painted += unpainted(args.runs / "scenes-more", args.more)
    taken = replace(taken, disk=taken.disk + painted)
    if not tell_set(args.scenes + args.more, args, taken, device, "scenes"):
        return
    with first_alone():
        sets = [SceneSet(args.runs / "scenes-train", args.scenes)]
        if args.more:
            sets.append(SceneSet(args.runs / "scenes-more", args.more, seed=1, simple=1.0))
        held_out = SceneSet(args.runs / "scenes-test", 1000, split="test")
    begun = CodeTransformer.from_pretrained(args.begun, device) if args.begun else None
    events = train(
        args.steps, CodeBank(sets, vqgan, device), CodeBank([held_out], vqgan, device),
        vqgan.config, args.runs / "code_transformer.pt", device, minutes=args.minutes,
        seed=args.seed, batch=args.batch * processes(), save_every=args.save_every,
        checkpointing=args.gradient_checkpointing, base=begun,
        peak=peak_of(args, code_pairs.PEAK, begun),
        facts={"vqgan": codes_of(vqgan)},
    )  # fmt: skip
    model = report(events)
    if rank() == 0:
        save_model(model, model.config, args.out, int8=True)
        log.info("wrote %s", args.out)


if __name__ == "__main__":
    main()
