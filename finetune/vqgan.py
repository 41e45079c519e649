"""Train the embedded VQGAN on the story world: `python -m finetune.vqgan`.

`--pictures FOLDER` trains one on somebody's own pictures instead (`finetune/vqgan_pictures.py`).

Phase 1 trains encoder and decoder, at first without codes; then the codebooks start from k-means of
what the encoder says. Crops around characters (the network is convolutional) make every step count;
the last part runs on whole pages. Loss: L1 + gradients + commitment, clip art weighing more.
Phase 2 (`finetune/sharpen.py`) leaves the codes as they are, sharpens the decoder against a patch
discriminator (Esser et al. 2021, section 3.1), and teaches it to draw twice as large. Phase 3
trains that part alone.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from finetune import vqgan_pictures
from finetune.data.bank import MOST_HELD, PictureBank
from finetune.data.pages import PageSet, read_pages
from finetune.data.scenes import SceneSet, unpainted
from finetune.distributed import (
    average_gradients,
    first_alone,
    gathered,
    leave,
    mean,
    processes,
    rank,
    share,
)
from finetune.losses import psnr, reconstruction_loss
from finetune.own import Home, guarded, own_options, refuse_own, tell
from finetune.perceptual import PERCEPTUAL, Distance
from finetune.sharpen import ENLARGE_PEAK, sharpen
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    autocast,
    begin,
    checkpointing_option,
    load_checkpoint,
    parser,
    rate,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.painter import SIZE
from pipelines.vqgan_clip.checkpointing import checkpoint_blocks
from pipelines.vqgan_clip.vqgan import VQGAN, VQGANConfig
from pipelines.weights import save_model

log = logging.getLogger(__name__)

EMBEDDED = VQGANConfig(
    fine_channels=144, coarse_channels=256, encoder_blocks=(2, 2), decoder_blocks=(4, 3), groups=6,
    codebook_size=512, code_channels=12, finest_channels=64, finest_blocks=2,
)  # fmt: skip
"""Shape of the shipped model."""
OUT = Path("pipelines/weights/vqgan")


def train(
    steps: int,
    bank: PictureBank,
    runs: Path,
    device: torch.device,
    *,
    config: VQGANConfig = EMBEDDED,
    minutes: float | None = None,
    seed: int = 0,
    batch: int = 16,
    side: int = 128,
    unquantised: float = 0.1,
    whole_from: float = 0.8,
    peak: float = 1.2e-3,
    save_every: int = 250,
    report_every: int = 50,
    base: VQGAN | None = None,
    checkpointing: bool = False,
    perceptual: Distance | None = None,
    facts: dict[str, Any] | None = None,
    keep_samples: Callable[[int, VQGAN], None] | None = None,
) -> Iterator[TrainStep | VQGAN]:
    """Phase 1: encoder, codebooks and decoder, resuming from `runs/vqgan.pt`; the last event is the
    averaged model.

    For the first `unquantised` part nothing is quantised; from `whole_from` on, whole pages. A
    `base` is what the training starts from, codes and all. `batch` is of all processes together.
    `checkpointing` computes activations twice instead of keeping them. `facts` tell this run from
    others; `keep_samples` is called with every checkpoint.
    Raises InvalidInput when the checkpoint belongs to another run.
    """
    torch.manual_seed(seed)  # the initial weights
    if base is not None:
        # Phase 2 begins that part anew, with the looks that its own pictures have.
        config = replace(base.config, large_channels=0, large_styles=())
    model = VQGAN(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if base is not None:
        model.load_state_dict({k: v for k, v in base.state_dict().items() if ".large_" not in k})
        model.quantizer.sums.copy_(model.quantizer.codebook)
        model.quantizer.counts.fill_(1.0)
    if checkpointing:
        checkpoint_blocks(model)
    averaged = VQGAN(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.01)
    parts = {"model": model, "averaged": averaged, "optimizer": optimizer}
    ema = Ema(model, averaged)
    start, extra = load_checkpoint(runs / "vqgan.pt", parts, facts)
    seeded = bool(extra.get("seeded", base is not None))
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    step = start
    while not clock.over(step):
        progress = clock.progress(step)
        # Resuming goes on with the same pages.
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        whole = progress >= whole_from
        count = max(batch // 4 // processes(), 1) * processes() if whole else batch
        drawn = bank.crops(generator, count, SIZE if whole else side, step)
        pixels, weight = share(drawn.pixels), share(drawn.weights)
        with autocast(device):
            latents = model.encode(pixels)
        latents = latents.float()
        commit = latents.new_zeros(())
        if progress >= unquantised and not seeded:
            with torch.no_grad():
                crops = (bank.crops(generator, batch, side, step + n) for n in range(24))
                many = [gathered(model.encode(share(c.pixels))) for c in crops]
            model.quantizer.seed_from(torch.cat(many), generator)
            seeded = True
        indices: Tensor | None = None
        quantised = latents
        if seeded:
            quantised, indices = model.quantizer(latents)
            commit = F.mse_loss(latents, model.quantizer.lookup(indices, *latents.shape[2:]))
        with autocast(device):
            fake = model.decode(quantised)
        fake = fake.float()
        reconstruction = reconstruction_loss(fake, pixels, weight)
        # Keeps latents near the unit ball before there are codes to hold them.
        loss = reconstruction + 0.1 * commit + 1e-4 * latents.square().mean()
        if perceptual is not None:
            with autocast(device):
                loss = loss + PERCEPTUAL * perceptual(fake, pixels).float()
        set_learning_rate([optimizer], rate(progress, peak))
        optimizer.zero_grad()
        loss.backward()
        average_gradients([model])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if indices is not None:
            model.quantizer.adapt(gathered(latents.detach()), gathered(indices), generator,
                                  revive=step % 10 == 0)  # fmt: skip
        ema.update(step)
        step += 1
        last = clock.over(step)
        if step % save_every == 0 or last:
            save_checkpoint(runs / "vqgan.pt", step, parts, seeded=seeded, facts=facts,
                            progress=clock.progress(step))  # fmt: skip
            if keep_samples is not None:
                keep_samples(step, averaged)
        if step % report_every == 0 or last:
            used = 0.0
            if indices is not None:
                all_used = gathered(indices)
                used = float(
                    np.mean([all_used[..., g].unique().numel() for g in range(config.groups)])
                )
            metrics = {"loss": mean(reconstruction), "commit": commit.item(),
                       "psnr": psnr(fake.detach(), pixels), "codes": used}  # fmt: skip
            yield TrainStep(step, steps, metrics, clock.eta(step))
    yield averaged


def main() -> None:
    p = parser(__doc__ or "", steps=6000, out=str(OUT))
    p.add_argument("--batch", type=int, default=16, help="crops a step")
    p.add_argument("--scenes", type=int, default=24_000, help="pictures painted for training")
    p.add_argument("--pages", type=Path, help="folder of story pages: real pictures to mix in")
    p.add_argument(
        "--phase",
        choices=("codes", "sharpen", "enlarge", "all"),
        default="all",
        help="codes: encoder, codebooks, decoder; sharpen: the decoder of --out alone; enlarge: "
        "what it draws large pictures with",
    )
    p.add_argument("--sharpen-steps", type=int, default=2000)
    p.add_argument("--enlarge-steps", type=int, default=3000, help="those of phase 3")
    p.add_argument("--large-scenes", type=int, default=6000, help="those painted for both")
    p.add_argument(
        "--side",
        type=int,
        choices=(128, SIZE),
        default=SIZE,
        help="phase 2: whole pages, or crops (four times as many a step)",
    )
    p.add_argument("--sharpen-peak", type=float, default=4e-4, help="phase 2: learning rate")
    p.add_argument(
        "--adversary-from",
        type=float,
        default=0.15,
        help="phase 2: where the discriminator joins, as a share of the run; 1: never",
    )
    p.add_argument("--lpips", type=Path, metavar="FOLDER",
                   help="LPIPS for the perceptual loss of --pictures, instead of CLIP's features: "
                   "vgg16.pth of torchvision and vgg.pth of LPIPS")  # fmt: skip
    p.add_argument("--report-every", type=int, default=50, help="steps between two lines")
    checkpointing_option(p)
    own_options(p, "--pictures", "a folder of your own pictures, instead of the story world")
    args = p.parse_args()
    guarded(lambda: run(args, begin(args)))


def run(args: argparse.Namespace, device: torch.device) -> None:
    """The command, its arguments read. Raises AppError."""
    if args.pictures is not None:
        vqgan_pictures.run(args, device, OUT, EMBEDDED, train)
    else:
        refuse_own(args, "--pictures", "peak", "lpips")
        _embedded(args, device)
    leave()


def _embedded(args: argparse.Namespace, device: torch.device) -> None:
    count = args.batch * processes()
    phases = ("codes", "sharpen", "enlarge") if args.phase == "all" else (args.phase,)
    large = args.large_scenes
    held = (min(args.scenes, MOST_HELD), min(large, MOST_HELD))
    taken = vqgan_pictures.footprint_of(EMBEDDED, args, phases, 2 * SIZE, held, None, device)
    painted = unpainted(args.runs / "scenes-train", args.scenes) if "codes" in phases else 0
    if phases != ("codes",):
        painted += unpainted(args.runs / "scenes-large", large, scale=2)
    taken = replace(taken, disk=taken.disk + painted)
    lines = [
        f"{args.scenes:,} scenes for the codes, {large:,} large ones for what follows",
        f"steps: {args.steps:,} for the codes, {args.sharpen_steps:,} to sharpen, "
        f"{args.enlarge_steps:,} to enlarge; this run: {', '.join(phases)}",
    ]
    if not tell(lines, taken, device, Home(args.out, args.runs), args.dry_run):
        return
    real = list(read_pages(args.pages, "train")) if args.pages else []
    if "codes" in phases:
        with first_alone():
            scenes = SceneSet(args.runs / "scenes-train", args.scenes)
        bank = PictureBank(scenes, PageSet(real) if real else None, device)
        events = train(args.steps, bank, args.runs, device, minutes=args.minutes, seed=args.seed,
                       batch=count, save_every=args.save_every,
                       checkpointing=args.gradient_checkpointing)  # fmt: skip
        _write(report(events), args.out)
    if phases == ("codes",):
        return
    with first_alone():
        # All laid out as finished pages are: what is sharpened is what will be drawn.
        scenes = SceneSet(args.runs / "scenes-large", args.large_scenes, seed=2, scale=2,
                          simple=1.0)  # fmt: skip
    bank = PictureBank(scenes, PageSet(real, 2 * SIZE) if real else None, device)
    common = {"minutes": args.minutes, "seed": args.seed, "save_every": args.save_every,
              "checkpointing": args.gradient_checkpointing}  # fmt: skip
    if "sharpen" in phases:
        model = VQGAN.from_pretrained(args.out, device)
        each = max(args.batch * 128**2 // args.side**2, 1)  # as many pixels as in phase 1
        events = sharpen(
            args.sharpen_steps, model, bank, args.runs, device, batch=each * processes(),
            side=args.side, peak=args.sharpen_peak, adversary_from=args.adversary_from, **common,
        )  # fmt: skip
        _write(report(events), args.out)
    if "enlarge" in phases:
        model = VQGAN.from_pretrained(args.out, device)
        events = sharpen(args.enlarge_steps, model, bank, args.runs, device, batch=count, side=128,
                         peak=ENLARGE_PEAK, large_alone=True, **common)  # fmt: skip
        _write(report(events), args.out)


def _write(model: VQGAN, folder: Path) -> None:
    with first_alone():  # the others may read it next
        if rank() == 0:
            save_model(model, model.config, folder, int8=True)
            log.info("wrote %s", folder)


if __name__ == "__main__":
    main()
