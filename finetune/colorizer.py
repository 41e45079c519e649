"""What the training of PaintsTorch and of StencilTorch share: losses, critic, the loop.

Colours first (L1, the hinted colour under every hint, the palette by feature network), then, late
and with little weight, a critic that makes the pictures crisp.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from finetune.colour_samples import save_samples
from finetune.critic import PENALTY, Critic, critic_loss, gradient_penalty
from finetune.data.illustrations import (
    REGIMES,
    ByteBatch,
    ColourBatch,
    IllustrationSet,
    Regimes,
    byte_batch,
)
from finetune.distributed import average_gradients, processes, rank
from finetune.footprint import Footprint, footprint
from finetune.losses import reconstruction_loss
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    load_checkpoint,
    prefetch,
    rate,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.colorize.features import STRIDE, patch_features
from pipelines.colorize.generator import Generator, GeneratorConfig, Joined
from pipelines.device import fast_bf16
from pipelines.vqgan_clip.checkpointing import checkpoint_blocks

if TYPE_CHECKING:
    from pipelines.vqgan_clip.clip import CLIP

log = logging.getLogger(__name__)

LEVELS = 5
"""Steps of each of red, green and blue that the feature network tells apart."""

PAPER = 0.5
"""A cell whose darkest pixel is above this has no line on it."""


@dataclass(frozen=True)
class Recipe:
    """Weights of the losses, and when the critic joins (share of the run)."""

    colour: float = 1.0
    coarse: float = 0.5
    hints: float = 0.5
    palette: float = 0.05
    content: float = 0.1
    helper: float = 0.2
    adversarial: float = 1e-4
    """The critic's slope is 1, and several times that while fakes are far from real; L1's is
    n^-0.5 for n values, 2e-3 at 256x256. So the critic has 5% to 30% of L1's say."""
    critic_from: float = 0.35
    adversarial_from: float = 0.4
    adversarial_full: float = 0.55
    penalised: float = 0.25
    """Share of a batch that the gradient penalty is measured on."""

    @classmethod
    def with_critic(cls, start: float) -> Recipe:
        """A critic from `start` on: it learns alone at first, then its say grows."""
        return cls(critic_from=start, adversarial_from=start + 0.05, adversarial_full=start + 0.2)


class Task(Protocol):
    """How a colorizer differs from the other."""

    name: str
    inputs: int
    """Channels that the generator sees."""

    def helper(self, config: GeneratorConfig) -> nn.Module:
        """A network that only training needs."""
        ...

    def prepare(self, made: ColourBatch) -> ColourBatch:
        """Let mask and hints be what the task knows."""
        ...

    def see(self, made: ColourBatch) -> Tensor:
        """-> (B, inputs, H, W)."""
        ...

    def paste(self, fake: Tensor, made: ColourBatch) -> Tensor:
        """What a person gets of the generator's output."""
        ...

    def help(self, helper: nn.Module, fake: Tensor, joined: Joined, made: ColourBatch) -> Tensor:
        """The helper's loss."""
        ...


class Batches(Dataset[ByteBatch]):
    """What step `n` learns from; it hangs on the seed and `n` alone."""

    def __init__(
        self, data: IllustrationSet, seed: int, count: int, regimes: Regimes = REGIMES
    ) -> None:
        self.data, self.seed, self.count, self.regimes = data, seed, count, regimes

    def __getitem__(self, n: int) -> ByteBatch:
        rng = np.random.default_rng([self.seed, n])
        return byte_batch(self.data, rng, self.count, regimes=self.regimes)


def as_they_are(made: ByteBatch) -> ByteBatch:
    """Arrays travel through a pipe; tensors would need more shared memory than containers have."""
    return made


def load(
    batches: Batches, steps: range, workers: int, device: torch.device
) -> Iterator[ColourBatch]:
    """The batches of `steps` on the device, made by `workers` processes (0: by a thread)."""
    made = iter(
        DataLoader(
            batches, batch_size=None, sampler=steps, num_workers=workers,
            collate_fn=as_they_are, prefetch_factor=3 if workers else None,  # type: ignore[arg-type]
        )
    )  # fmt: skip
    return prefetch(b.on(device) for b in made)


def palette_classes(simplified: Tensor) -> Tensor:
    """Which of LEVELS^3 colours is in the middle of each 16x16 cell: (B, H/16, W/16) int64."""
    middle = simplified[:, :, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    r, g, b = ((middle + 1) / 2 * (LEVELS - 1e-3)).long().unbind(1)
    return (r * LEVELS + g) * LEVELS + b


def hint_loss(fake: Tensor, made: ColourBatch) -> Tensor:
    """How far the colour under a hint is from the hint, where no line crosses it.

    A picture that is hinted everywhere counts little, or the model would only learn to be flat.
    """
    pooled = F.avg_pool2d(fake, 4)
    paper = (F.max_pool2d(-made.lineart, 4) < -PAPER).float()
    hinted = made.hints[:, 3:]
    where = hinted * paper * (1 - hinted.mean(dim=(2, 3), keepdim=True))
    return (where * (pooled - made.hints[:, :3]).abs()).sum() / (3 * where.sum() + 1)


def match(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Relative squared error of features, level by level."""
    terms = [
        F.mse_loss(f.float(), r.float()) / (r.float().square().mean() + 1e-6)
        for f, r in zip(fake, real, strict=True)
    ]
    return torch.stack(terms).mean()


def footprint_of(
    task: Task, config: GeneratorConfig, data: IllustrationSet, batch: int, device: torch.device,
    clip: CLIP | None = None, *, checkpointing: bool = False,
) -> Footprint:  # fmt: skip
    """What training takes, weighed on one picture with everything that may be in the loss."""
    model, helper = Generator(config).to(device), task.helper(config).to(device)
    critic = Critic(task.inputs, model.features.channels).to(device)
    made = task.prepare(byte_batch(data, np.random.default_rng(0), 1).on(device))

    def loss() -> Tensor:
        seen = task.see(made)
        drawing = model.encode(seen)
        joined = model.join(drawing, made.hints)
        fake = task.paste(model.decode(joined), made)
        score, _ = critic(fake, seen, drawing.features.detach())
        content = fake if clip is None else patch_features(clip, fake)
        helped = task.help(helper, fake, joined, made)
        return reconstruction_loss(fake, made.picture, made.mask) + helped + score + content.mean()

    judges, again = [clip] if clip else [], [model, helper] if checkpointing else []
    return footprint([model, helper, critic], loss, 1, batch, judges, again)


def train(
    task: Task,
    steps: int,
    data: IllustrationSet,
    runs: Path,
    device: torch.device,
    *,
    config: GeneratorConfig | None = None,
    base: Generator | None = None,
    recipe: Recipe = Recipe(),
    minutes: float | None = None,
    clip: CLIP | None = None,
    seed: int = 0,
    count: int = 16,
    workers: int = 0,
    peak: float = 8e-4,
    save_every: int = 250,
    report_every: int = 25,
    samples_every: int = 500,
    checkpointing: bool = False,
    facts: dict[str, Any] | None = None,
) -> Iterator[TrainStep | Generator]:
    """Train for `steps` or `minutes`, resuming from `runs/NAME.pt`; the last event is the averaged
    generator. `runs/NAME.png` shows what it paints. A `base` is what the generator starts from, its
    shape included; the networks that only training has start afresh.

    `count`: pictures a step, for each process that trains, made by `workers` processes. `clip`: its
    features measure content; without it the critic's do, once there is a critic. A step whose
    gradient is not finite changes nothing. `checkpointing` computes the activations of the
    generator twice instead of keeping them. `facts` tell this run from others.
    Raises InvalidInput when the checkpoint belongs to another run.
    """
    torch.manual_seed(seed)  # the initial weights
    torch.backends.cudnn.benchmark = device.type == "cuda"  # sizes never change
    config = base.config if base is not None else config or GeneratorConfig(inputs=task.inputs)
    model, averaged = Generator(config).to(device), Generator(config).to(device)
    if base is not None:
        model.load_state_dict(base.state_dict())
    helper = task.helper(config).to(device)
    critic = Critic(task.inputs, model.features.channels).to(device)
    head = nn.Conv2d(max(model.features.channels, 1), LEVELS**3, 1).to(device)
    for part in (model, averaged, helper, critic):
        part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learned = nn.ModuleList([model, helper, head])
    if checkpointing:
        checkpoint_blocks(nn.ModuleList([model, helper]))
    optimizer = torch.optim.AdamW(
        learned.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    critic_optimizer = torch.optim.AdamW(
        critic.parameters(), lr=peak, betas=(0.5, 0.9), weight_decay=0.0, fused=True
    )
    parts: dict[str, nn.Module | torch.optim.Optimizer] = {
        "model": model, "averaged": averaged, "helper": helper, "critic": critic, "head": head,
        "optimizer": optimizer, "critic_optimizer": critic_optimizer,
    }  # fmt: skip
    ema = Ema(model, averaged, decay=0.995)  # a short run: the average must not lag
    start, extra = load_checkpoint(runs / f"{task.name}.pt", parts, facts)
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    # Not for scaling: it leaves out steps with gradients that are not finite, without waiting
    # for the device to say so.
    guard = torch.amp.GradScaler(device.type, init_scale=1.0)
    low = torch.autocast(device.type, torch.bfloat16, enabled=fast_bf16(device))
    show = task.prepare(
        byte_batch(data, np.random.default_rng(0), 8, regimes={"sparse": 1.0}).on(device)
    )
    skipped = torch.zeros((), device=device)
    every = processes()  # each of them takes its turn of the batches
    turns = range(start * every + rank(), steps * every, every)
    ready = load(Batches(data, seed, count), turns, workers, device)
    step = start
    while not clock.over(step):
        progress = clock.progress(step)
        made = task.prepare(next(ready))
        seen = task.see(made)
        judging = progress >= recipe.critic_from
        pressure = (progress - recipe.adversarial_from) / (
            recipe.adversarial_full - recipe.adversarial_from
        )
        pressure = min(max(pressure, 0.0), 1.0)
        metrics: dict[str, Tensor] = {}

        with low:
            drawing = model.encode(seen)
            joined = model.join(drawing, made.hints)
            raw = model.decode(joined)
        fake = task.paste(raw.float(), made)
        features = drawing.features.detach().float()

        # --- the generator
        weight = made.mask / made.mask.mean(dim=(1, 2, 3), keepdim=True).clamp(min=0.05)
        colour = reconstruction_loss(fake, made.picture, weight)
        coarse = (F.avg_pool2d(fake, 8) - F.avg_pool2d(made.picture, 8)).abs()
        coarse = (coarse * F.avg_pool2d(weight, 8)).mean()
        hinted = hint_loss(fake, made)
        with low:
            helped = task.help(helper, fake, joined, made).float()
        loss = recipe.colour * colour + recipe.coarse * coarse + recipe.hints * hinted
        loss = loss + recipe.helper * helped
        metrics |= {"colour": colour, "coarse": coarse, "hints": hinted, "helper": helped}
        if model.features.trained_along:
            with low:
                logits = head(drawing.features)
            palette = F.cross_entropy(logits.float(), palette_classes(made.simplified))
            loss = loss + recipe.palette * palette
            metrics["palette"] = palette
        if clip is not None:
            with low:
                content = match([patch_features(clip, fake)], [patch_features(clip, made.picture)])
            loss = loss + recipe.content * content
            metrics["content"] = content
        if pressure > 0:
            critic.requires_grad_(False)
            with low:
                score, fake_seen = critic(fake, seen, features)
                if clip is None:
                    with torch.no_grad():
                        _, real_seen = critic(made.picture, seen, features)
                    content = match(fake_seen, real_seen)
                    loss = loss + pressure * recipe.content * content
                    metrics["content"] = content
            critic.requires_grad_(True)
            adversarial = -(score * made.mask.mean(dim=(1, 2, 3)).sqrt()).mean()
            loss = loss + pressure * recipe.adversarial * adversarial
        set_learning_rate([optimizer], rate(progress, peak))
        optimizer.zero_grad()
        guard.scale(loss).backward()
        average_gradients([learned])
        guard.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
        guard.step(optimizer)

        # --- the critic
        if judging:
            set_learning_rate([critic_optimizer], rate(progress, 0.2 * peak, 0.0))
            both = torch.cat([made.picture, fake.detach()])
            with low:
                scores, _ = critic(both, torch.cat([seen, seen]), torch.cat([features, features]))
            some = max(int(recipe.penalised * count), 1)
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            penalty = gradient_penalty(
                critic, made.picture[:some], fake.detach()[:some], seen[:some], features[:some],
                torch.rand(some, generator=generator).to(device),
            )  # fmt: skip
            real_score, fake_score = scores.chunk(2)
            critic_optimizer.zero_grad()
            guard.scale(critic_loss(real_score, fake_score) + PENALTY * penalty).backward()
            average_gradients([critic])
            guard.unscale_(critic_optimizer)
            critic_norm = nn.utils.clip_grad_norm_(critic.parameters(), 10.0)
            guard.step(critic_optimizer)
            skipped += ~critic_norm.isfinite()
            metrics |= {"distance": (real_score - fake_score).mean(), "penalty": penalty}
        guard.update(1.0)
        skipped += ~norm.isfinite()
        ema.update(step)
        step += 1
        over = clock.over(step)
        if step % save_every == 0 or over:
            save_checkpoint(
                runs / f"{task.name}.pt", step, parts, facts=facts, progress=clock.progress(step)
            )
        if (step % samples_every == 0 or over) and rank() == 0:
            save_samples(task, averaged, show, runs / f"{task.name}.png")
        if step % report_every == 0 or over:
            metrics["skipped"] = skipped
            told = {name: value.item() for name, value in metrics.items()}
            yield TrainStep(step, steps, {"loss": loss.item(), **told}, clock.eta(step))
    yield averaged
