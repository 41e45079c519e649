"""Train the embedded VQGAN on the story world: `python -m finetune.vqgan`.

Phase 1 trains encoder and decoder without codes; then the codebooks start from k-means of what
the encoder says. Crops around characters (the network is convolutional) make every step count;
the last part runs on whole pages. Loss: L1 + gradients + commitment, the painter's own foreground
mask weighing characters more.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from finetune.data.scenes import sample_record
from finetune.training import (
    Ema,
    Pace,
    TrainStep,
    begin,
    learning_rate,
    load_checkpoint,
    parser,
    report,
    save_checkpoint,
)
from pipelines.painter import GRID, SIZE, Painting
from pipelines.vqgan_clip.vqgan import VQGAN, VQGANConfig
from pipelines.weights import save_model

log = logging.getLogger(__name__)


def to_tensors(page: Painting) -> tuple[Tensor, Tensor]:
    """-> pixels (3, H, W) uint8, foreground (1, H, W) uint8."""
    pixels = torch.from_numpy(np.array(page.picture)).permute(2, 0, 1)
    return pixels, torch.from_numpy(np.array(page.foreground))[None]


def crops(rng: random.Random, count: int, side: int) -> tuple[Tensor, Tensor]:
    """`count` crops of fresh pages: pixels (B, 3, s, s) in [-1, 1], weights (B, 1, s, s).

    Crops lie on the grid, so that a patch is cut as it is in the whole page; two of three are
    drawn around a piece of clip art.
    """
    pictures, weights = list[Tensor](), list[Tensor]()
    while len(pictures) < count:
        pixels, mask = to_tensors(sample_record(rng, "train").paint(rng))
        for k in range(3 if side < SIZE else 1):
            x = y = 0
            if side < SIZE:
                places = mask[0, ::GRID, ::GRID].nonzero()
                if k < 2 and len(places):
                    cy, cx = places[rng.randrange(len(places))].tolist()
                    y, x = (min(max((c * GRID) - side // 2, 0), SIZE - side) for c in (cy, cx))
                else:
                    x, y = (GRID * rng.randint(0, (SIZE - side) // GRID) for _ in range(2))
            pictures.append(pixels[:, y : y + side, x : x + side])
            weights.append(mask[:, y : y + side, x : x + side])
    batch = torch.stack(pictures[:count]).float() / 127.5 - 1
    return batch, 1.0 + 2.0 * (torch.stack(weights[:count]).float() / 255)


def reconstruction_loss(fake: Tensor, real: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 of pixels and of their differences to the right and down."""
    loss = (weight * (fake - real).abs()).mean()
    for dim in (2, 3):
        loss = loss + 0.5 * (fake.diff(dim=dim) - real.diff(dim=dim)).abs().mean()
    return loss


def train(
    steps: int,
    runs: Path,
    device: torch.device,
    *,
    config: VQGANConfig = VQGANConfig(),
    seed: int = 0,
    batch: int = 16,
    side: int = 128,
    warmup: int = 600,
    whole_from: float = 0.8,
    peak: float = 1.2e-3,
    save_every: int = 250,
    report_every: int = 50,
) -> Iterator[TrainStep | VQGAN]:
    """Train for `steps`, resuming from `runs/vqgan.pt`; the last event is the averaged model.

    For `warmup` steps nothing is quantised; from `whole_from` of the run on, whole pages.
    """
    model = VQGAN(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = VQGAN(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.01)
    parts = {"model": model, "averaged": averaged, "optimizer": optimizer}
    ema = Ema(model, averaged)
    start, _ = load_checkpoint(runs / "vqgan.pt", parts)
    pace = Pace(start, steps)
    for step in range(start, steps):
        rng = random.Random(f"{seed} vqgan {step}")  # resuming goes on with the same pages
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        whole = step >= whole_from * steps
        pixels, weight = crops(rng, batch // 4 if whole else batch, SIZE if whole else side)
        pixels, weight = pixels.to(device), weight.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            latents = model.encode(pixels)
        latents = latents.float()
        commit = latents.new_zeros(())
        used = 0.0
        if step == warmup:
            many = [
                model.encode(crops(random.Random(f"{seed} seeds {k}"), batch, side)[0].to(device))
                for k in range(24)
            ]
            model.quantizer.seed_from(torch.cat(many).detach(), generator)
        if step >= warmup:
            quantised, indices = model.quantizer(latents)
            commit = F.mse_loss(latents, model.quantizer.lookup(indices, *latents.shape[2:]))
            used = float(np.mean([indices[..., g].unique().numel() for g in range(config.groups)]))
        else:
            quantised, indices = latents, None
        with torch.autocast(device.type, torch.bfloat16):
            fake = model.decode(quantised)
        fake = fake.float()
        reconstruction = reconstruction_loss(fake, pixels, weight)
        # Keeps latents near the unit ball before there are codes to hold them.
        loss = reconstruction + 0.1 * commit + 1e-4 * latents.square().mean()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if indices is not None:
            model.quantizer.adapt(latents.detach(), indices, generator)
        ema.update(step)
        done = step + 1
        if done % save_every == 0 or done == steps:
            save_checkpoint(runs / "vqgan.pt", done, parts)
        if done % report_every == 0 or done == steps:
            mse = F.mse_loss(fake.detach().clamp(-1, 1), pixels).item()
            psnr = 10 * float(np.log10(4 / max(mse, 1e-9)))
            metrics = {"loss": reconstruction.item(), "commit": commit.item(), "psnr": psnr,
                       "codes": used}  # fmt: skip
            yield TrainStep(done, steps, metrics, pace.eta(done))
    yield averaged


def main() -> None:
    p = parser(__doc__ or "", steps=6000, out="pipelines/weights/vqgan")
    p.add_argument("--batch", type=int, default=16, help="crops a step")
    args = p.parse_args()
    device = begin(args)
    events = train(args.steps, args.runs, device, seed=args.seed, batch=args.batch,
                   save_every=args.save_every)  # fmt: skip
    model = report(events)
    save_model(model, model.config, args.out)
    log.info("wrote %s", args.out)


if __name__ == "__main__":
    main()
