"""Train StablePaint on a set of illustrations: `python -m finetune.stablepaint --data SET`.

One run, two phases. Up to AUTOENCODER of it the two encoders and the decoder learn: L1 and
gradients at three sizes, a little KL, both encoders held to the same latents, and late a small
patch discriminator. Then they stand still and the U-Net learns to take noise away.

Pictures of a set are 256x256 and people's are larger, so what is learned from is a mix: whole
pictures, parts of them seen twice as large, and whole pictures at 512x512, four times fewer a
step. Nothing in the networks knows absolute positions.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from finetune.data.illustrations import ByteBatch, ColourBatch, IllustrationSet, batch, byte_batch
from finetune.distributed import average_gradients, leave, processes, rank
from finetune.footprint import Footprint, footprint
from finetune.losses import psnr, reconstruction_loss
from finetune.own import base_folder, facts_of, guarded, set_options, tell_set
from finetune.sharpen import PatchDiscriminator, adaptive_weight
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    begin,
    load_checkpoint,
    parser,
    rate,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.colorize.autoencoder import STRIDE, Autoencoder
from pipelines.colorize.denoiser import TRAIN_STEPS, StablePaint, StablePaintNetworks
from pipelines.colorize.hints import CELL, hint_layer
from pipelines.colorize.settings import StablePaintConfig
from pipelines.colorize.stablepaint import StablePaintPipeline
from pipelines.device import fast_bf16
from pipelines.vqgan_clip.checkpointing import checkpoint_blocks
from pipelines.vqgan_clip.pixels import to_picture
from pipelines.weights import save_model

log = logging.getLogger(__name__)

AUTOENCODER = 0.25
"""Share of a run that trains the autoencoder."""
KL = 1e-6
"""Weight of the KL, summed over a picture's latents (Rombach et al. 2022)."""
ALIGN = 0.05
"""Weight of the distance between the two encoders' latents."""
ADVERSARY = 0.2
"""Share of the adversarial gradient at the decoder's last layer."""
ADVERSARY_FROM = 0.7
"""Of the autoencoder's phase; the discriminator alone learns a little earlier."""
ENLARGED = 0.2
"""Share of steps in which latents of a half-size picture are decoded at full size, as those of very
large pictures are."""
DROP_HINTS = 0.12
"""Share of pictures whose hints the denoiser does not see, for classifier-free guidance."""
PURE_NOISE = 0.12
"""Share of pictures at the last timestep, where every sampling at 100% corruption begins."""
SNR_LIMIT = 5.0
ECHO = 2
"""Steps that share a loaded batch; size, part, noise and timesteps are drawn anew."""
EMA_EVERY = 4


class Batches(Dataset[ByteBatch]):
    """Batch `n` of a run, without what StablePaint does not look at; the same for one seed."""

    def __init__(self, data: IllustrationSet, seed: int, count: int) -> None:
        self.data, self.seed, self.count = data, seed, count

    def __getitem__(self, n: int) -> ByteBatch:
        made = byte_batch(self.data, np.random.default_rng([self.seed, n]), self.count)
        return replace(made, simplified=made.simplified[:0], mask=made.mask[:0])


def _as_is(made: ByteBatch) -> ByteBatch:
    """In place of the default, which would make tensors: these need more shared memory than
    containers have, arrays go through a pipe."""
    return made


def load(
    data: IllustrationSet, seed: int, count: int, first: int, last: int, workers: int
) -> Iterator[ByteBatch]:
    """Batches `first` to `last`, made by `workers` processes (0: by this one). Where several
    processes train, each takes its turn of them."""
    every = processes()
    turns = range(first * every + rank(), last * every, every)
    yield from DataLoader(
        Batches(data, seed, count), batch_size=None, sampler=turns,
        num_workers=workers, collate_fn=_as_is,  # type: ignore[arg-type]
        prefetch_factor=3 if workers else None,
    )  # fmt: skip


@dataclass(frozen=True)
class View:
    """What one step learns from: sizes as in ColourBatch, or twice them."""

    lineart: Tensor
    picture: Tensor
    hints: Tensor


def view(made: ColourBatch, rng: np.random.Generator) -> View:
    """A batch seen whole (45%), in parts twice as large (25%), or a quarter of its pictures whole
    and twice as large (30%)."""
    kind = rng.choice(["whole", "near", "large"], p=[0.45, 0.25, 0.30])
    lineart, picture, hints = made.lineart, made.picture, made.hints
    if kind == "whole":
        return View(lineart, picture, hints)
    if kind == "large":
        some = max(len(picture) // 4, 1)
        first = int(rng.integers(len(picture) - some + 1))
        lineart, picture, hints = (x[first : first + some] for x in (lineart, picture, hints))
    # Enlarged lines are soft; those of a larger drawing are crisp, or something in between.
    contrast = float(rng.uniform(1.0, 3.0))
    lineart = F.interpolate(lineart, scale_factor=2.0, mode="bicubic")
    lineart = (lineart * contrast).clamp(-1, 1)
    picture = F.interpolate(picture, scale_factor=2.0, mode="bicubic").clamp(-1, 1)
    hints = F.interpolate(hints, scale_factor=2.0, mode="nearest")
    if kind == "near":
        side = picture.shape[-1] // 2
        y, x = (STRIDE * int(rng.integers(side // STRIDE + 1)) for _ in range(2))
        lineart, picture = (i[..., y : y + side, x : x + side] for i in (lineart, picture))
        y, x, side = y // CELL, x // CELL, side // CELL
        hints = hints[..., y : y + side, x : x + side]
    return View(lineart, picture, hints)


def picture_loss(fake: Tensor, real: Tensor) -> Tensor:
    """L1 of pixels and their gradients at full, half and quarter size."""
    one = fake.new_ones(())
    loss = reconstruction_loss(fake, real, one)
    for size in (2, 4):
        halves = F.avg_pool2d(fake, size), F.avg_pool2d(real, size)
        loss = loss + 0.5 * reconstruction_loss(*halves, one)
    return loss


def autoencoder_losses(
    model: Autoencoder, seen: View, generator: torch.Generator, *, enlarged: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """-> loss, KL in nats a picture, reconstructions (B, 3, H, W) of the illustrations."""
    shown = F.avg_pool2d(seen.picture, 2) if enlarged else seen.picture
    posterior = model.illustration(shown)
    latents = posterior.sample(generator)
    if enlarged:
        latents = F.interpolate(latents, scale_factor=2.0, mode="bilinear")
    guess = model.condition(seen.lineart, seen.hints)
    fakes = model.decoder(torch.cat([latents, guess]), torch.cat([seen.lineart] * 2))
    fake, guessed = fakes.chunk(2)
    kl = posterior.kl().mean()
    loss = picture_loss(fake, seen.picture) + picture_loss(guessed, seen.picture) + KL * kl
    if not enlarged:
        loss = loss + ALIGN * F.mse_loss(guess, posterior.mean.detach())
    return loss, kl.detach(), fake


def denoiser_loss(model: StablePaint, seen: View, generator: torch.Generator) -> Tensor:
    """Mean squared error of the velocity, over random timesteps.

    Weighted by (min(snr, 5) + 1) / (snr + 1): as min-SNR (Hang et al. 2023, arXiv 2303.09556) it
    does not let the almost clean steps rule, but it keeps the weight of the noisiest ones, which
    min-SNR's own form takes to 0 and on which a start from pure noise depends.
    """
    device = seen.picture.device
    count = len(seen.picture)

    def uniform() -> Tensor:
        return torch.rand(count, device=device, generator=generator)

    keep = (uniform() > DROP_HINTS).float()[:, None, None, None]
    with torch.no_grad():
        clean = model.autoencoder.encode(seen.picture)
        condition = model.condition(seen.lineart, seen.hints * keep)
    timesteps = (uniform() * TRAIN_STEPS).long().clamp(max=TRAIN_STEPS - 1)
    timesteps = timesteps.masked_fill(uniform() < PURE_NOISE, TRAIN_STEPS - 1)
    noise = torch.randn(clean.shape, device=device, generator=generator)
    signal, share = model.signal_noise(timesteps)
    velocity = signal * noise - share * clean
    guess = model.denoiser(signal * clean + share * noise, timesteps, condition)
    remaining = share.square()  # 1 / (snr + 1)
    snr = signal.square() / remaining.clamp_min(1e-8)
    weight = (snr.clamp(max=SNR_LIMIT) + 1) * remaining
    return (weight * (guess - velocity).square()).mean()


def descend(
    loss: Tensor,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    limit: float = 1.0,
) -> None:
    """One step, left out when a gradient is not finite; the device is never waited for."""
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    average_gradients([module])
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_([p for p in module.parameters() if p.requires_grad], limit)
    scaler.step(optimizer)
    scaler.update()


def train(
    steps: int,
    runs: Path,
    device: torch.device,
    data: IllustrationSet,
    *,
    config: StablePaintNetworks = StablePaintNetworks(),
    base: StablePaint | None = None,
    minutes: float | None = None,
    seed: int = 0,
    count: int = 64,
    workers: int = 0,
    peak: float = 1e-3,
    denoiser_peak: float = 8e-4,
    autoencoder: float = AUTOENCODER,
    save_every: int = 250,
    report_every: int = 50,
    samples: bool = True,
    checkpointing: bool = False,
    facts: dict[str, Any] | None = None,
) -> Iterator[TrainStep | StablePaint]:
    """Train for `steps` or `minutes`, resuming from `runs/stablepaint.pt`; the last event is the
    averaged model. `count` pictures a step; `samples` writes runs/stablepaint-*.png. A `base` is
    what it starts from, its shape included; the critic starts afresh. `checkpointing` computes
    activations twice instead of keeping them. `facts` tell this run from others. Raises
    InvalidInput when the checkpoint belongs to another run."""
    torch.manual_seed(seed)  # the initial weights
    config = config if base is None else base.config
    model = StablePaint(config)
    averaged = StablePaint(config)
    if base is not None:
        model.load_state_dict(base.state_dict())
        averaged.load_state_dict(base.state_dict())
    if checkpointing:
        checkpoint_blocks(model)
    discriminator = PatchDiscriminator()
    for network in (model, averaged, discriminator):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    coder = model.autoencoder
    optimizers = {
        name: torch.optim.AdamW(part.parameters(), lr=peak, betas=betas, weight_decay=0.01,
                                fused=True)
        for name, part, betas in (
            ("coder", coder, (0.9, 0.95)),
            ("denoiser", model.denoiser, (0.9, 0.99)),
            ("critic", discriminator, (0.5, 0.9)),
        )
    }  # fmt: skip
    parts: dict[str, torch.nn.Module | torch.optim.Optimizer] = {
        "model": model, "averaged": averaged, "discriminator": discriminator, **optimizers
    }  # fmt: skip
    emas = {
        "coder": Ema(coder, averaged.autoencoder, decay=0.992),
        "denoiser": Ema(model.denoiser, averaged.denoiser, decay=0.995),
    }
    start, extra = load_checkpoint(runs / "stablepaint.pt", parts, facts)
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    # The step with which the denoiser began, -1 before.
    began: int = extra.get("began", -1)
    coder.requires_grad_(began < 0)
    scaler = torch.amp.GradScaler(device.type, init_scale=1.0, growth_interval=2**30)
    loader = load(data, seed, count, start // ECHO, steps // ECHO + 1, workers)
    made = next(loader).on(device)
    low_precision = fast_bf16(device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    psnr_of: tuple[Tensor, Tensor] | None = None
    kl = torch.zeros(())
    step = start
    over = clock.over(step)
    while not over:
        progress = clock.progress(step)
        rng = np.random.default_rng([seed, step, 1])
        noise = seed * 1_000_003 + step + 500_000_000 * rank()
        generator = torch.Generator(device).manual_seed(noise)
        if step > start and step % ECHO == 0:
            made = next(loader).on(device)
        seen = view(made, rng)
        if began < 0 and progress >= autoencoder:
            # What ships is what the denoiser learns from.
            coder.load_state_dict(averaged.autoencoder.state_dict())
            coder.requires_grad_(False)
            many = (batch(data, np.random.default_rng([seed, k, 2]), count) for k in range(4))
            coder.measure_latents(m.picture.to(device) for m in many)
            averaged.autoencoder.load_state_dict(coder.state_dict())
            began = step
        if began < 0:
            phase = progress / autoencoder
            enlarged = bool(rng.random() < ENLARGED)
            with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
                loss, kl, fake = autoencoder_losses(coder, seen, generator, enlarged=enlarged)
                if phase >= ADVERSARY_FROM:
                    discriminator.requires_grad_(False)
                    adversarial = -discriminator(fake).float().mean()
                    weight = adaptive_weight(loss, adversarial, coder.decoder.out.weight)
                    loss = loss + ADVERSARY * weight * adversarial
            set_learning_rate([optimizers["coder"]], rate(phase, peak))
            descend(loss, coder, optimizers["coder"], scaler)
            if phase >= ADVERSARY_FROM - 0.1:
                discriminator.requires_grad_(True)
                with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
                    real, made_up = discriminator(torch.cat([seen.picture, fake.detach()])).chunk(2)
                    hinge = F.relu(1 - real.float()).mean() + F.relu(1 + made_up.float()).mean()
                set_learning_rate([optimizers["critic"]], 0.3 * peak)
                descend(hinge, discriminator, optimizers["critic"], scaler)
            if step % EMA_EVERY == 0:
                emas["coder"].update(step // EMA_EVERY)
            psnr_of = fake.detach(), seen.picture
        else:
            phase = (progress - autoencoder) / (1 - autoencoder)
            with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
                loss = denoiser_loss(model, seen, generator)
            set_learning_rate([optimizers["denoiser"]], rate(phase, denoiser_peak))
            descend(loss, model.denoiser, optimizers["denoiser"], scaler)
            if (step - began) % EMA_EVERY == 0:
                emas["denoiser"].update((step - began) // EMA_EVERY)
            psnr_of = None
        step += 1
        over = clock.over(step)
        if step % save_every == 0 or over:
            save_checkpoint(runs / "stablepaint.pt", step, parts, progress=clock.progress(step),
                            began=began, facts=facts)  # fmt: skip
            if samples and rank() == 0:
                sample_grid(averaged, data).save(runs / f"stablepaint-{step:06d}.png")
        if step % report_every == 0 or over:
            metrics = {"loss": float(loss.detach()), "denoising": float(began >= 0)}
            if psnr_of is not None:
                metrics |= {"psnr": psnr(*psnr_of), "kl": float(kl)}
            yield TrainStep(step, steps, metrics, clock.eta(step))
    yield averaged


def footprint_of(
    config: StablePaintNetworks, data: IllustrationSet, count: int, device: torch.device,
    *, checkpointing: bool = False,
) -> Footprint:  # fmt: skip
    """What training takes: the networks of both phases stay, each weighed on one picture."""
    model, discriminator = StablePaint(config).to(device), PatchDiscriminator().to(device)
    made = byte_batch(data, np.random.default_rng(0), 1).on(device)
    seen = View(made.lineart, made.picture, made.hints)
    generator = torch.Generator(device)

    def codes() -> Tensor:
        loss, _, fake = autoencoder_losses(model.autoencoder, seen, generator, enlarged=False)
        return loss + discriminator(fake).mean()

    def noise() -> Tensor:
        return denoiser_loss(model, seen, generator)

    coder, denoiser = model.autoencoder, model.denoiser
    first = footprint([coder, discriminator], codes, 1, count, again=[coder] * checkpointing)
    last = footprint([denoiser], noise, 1, count, again=[denoiser] * checkpointing)
    return Footprint(first.models + last.models, max(first.activations, last.activations),
                     first.disk + last.disk)  # fmt: skip


def sample_grid(model: StablePaint, data: IllustrationSet, rows: int = 4) -> Image.Image:
    """Line art with hints, its latents decoded, two variations, one without hints, the picture and
    its reconstruction; PIL RGB, a row for each of `rows` items."""
    seed = 20_000
    shown = batch(data, np.random.default_rng(seed), rows, regimes={"sparse": 1.0})
    pipeline = StablePaintPipeline(model.eval())
    device = pipeline.device
    grid = Image.new("RGB", (7 * 256, rows * 256))
    for row in range(rows):
        lineart = to_picture(shown.lineart[row].expand(3, -1, -1)).convert("L")
        hints = hint_layer(shown.hints[row].numpy(), 256, 256)
        with torch.no_grad():
            pixels, lines = (i[row : row + 1].to(device) for i in (shown.picture, shown.lineart))
            rebuilt = model.autoencoder.decode(model.autoencoder.encode(pixels), lines)[0]
        drawn = lineart.convert("RGBA")
        drawn.alpha_composite(hints)
        options = StablePaintConfig(variations=2, steps=10, seed=seed)
        alone = StablePaintConfig(variations=1, steps=10, seed=seed)
        plain = StablePaintConfig(variations=1, corruption=0.0, seed=seed)
        pictures = [
            drawn.convert("RGB"),
            *pipeline(lineart, hints, plain).pictures,
            *pipeline(lineart, hints, options).pictures,
            *pipeline(lineart, None, alone).pictures,
            to_picture(shown.picture[row]),
            to_picture(rebuilt),
        ]
        for column, picture in enumerate(pictures):
            grid.paste(picture, (column * 256, row * 256))
    model.train()
    return grid


def main() -> None:
    p = parser(__doc__ or "", steps=40_000, out="pipelines/weights/stablepaint")
    set_options(p)
    p.add_argument("--batch", type=int, default=64, help="pictures a step")
    p.add_argument("--workers", type=int, default=3, help="processes that prepare batches")
    p.add_argument("--peak", type=float, default=1e-3,
                   help="learning rate of the autoencoder; the U-Net's is 0.8 of it")  # fmt: skip
    args = p.parse_args()
    guarded(lambda: run(args, begin(args)))


def run(args: argparse.Namespace, device: torch.device) -> None:
    """The command, its arguments read. Raises AppError."""
    folder = base_folder(args.base, "stablepaint")
    base = None if folder is None else StablePaint.from_pretrained(folder, device)
    data = IllustrationSet(args.data)
    config = StablePaintNetworks() if base is None else base.config
    again = args.gradient_checkpointing
    taken = footprint_of(config, data, args.batch, device, checkpointing=again)
    if not tell_set(len(data), args, taken, device):
        leave()
        return
    facts = facts_of(args, data.digest, batch=args.batch * processes())
    events = train(args.steps, args.runs, device, data, base=base,
                   minutes=args.minutes, seed=args.seed, count=args.batch, workers=args.workers,
                   peak=args.peak, denoiser_peak=0.8 * args.peak,
                   save_every=args.save_every, checkpointing=again, facts=facts)  # fmt: skip
    model = report(events)
    if rank() == 0:
        save_model(model, model.config, args.out)
        log.info("wrote %s", args.out)
    leave()


if __name__ == "__main__":
    main()
