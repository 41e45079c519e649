"""A VQGAN for anybody's pictures: `python -m finetune.vqgan --pictures FOLDER --out DIR`.

The same two phases as for the embedded VQGAN (`finetune/vqgan.py`, `finetune/sharpen.py`), on crops
of the pictures of a folder, with a perceptual loss. One picture of ten is held out for the figures.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from finetune.data.bank import OwnBank
from finetune.data.folder import Gallery, find_pictures, sort_out, squares, uncut
from finetune.distributed import processes, rank
from finetune.footprint import Footprint, footprint
from finetune.losses import reconstruction_loss
from finetune.own import (
    SHOWN,
    Home,
    base_folder,
    facts_of,
    finish,
    home_of,
    peak_of,
    save_grid,
    tell,
)
from finetune.perceptual import LPIPS, CLIPDistance
from finetune.sharpen import PatchDiscriminator, sharpen
from finetune.training import note, report
from pipelines.errors import InvalidInput
from pipelines.painter import SIZE
from pipelines.vqgan_clip.clip import CLIP
from pipelines.vqgan_clip.pixels import to_picture
from pipelines.vqgan_clip.vqgan import LARGE_CHANNELS, VQGAN, VQGANConfig, enlarged
from pipelines.weights import EMBEDDED, save_model

LARGE = 2 * SIZE
CODES_SHARE = 0.7
"""Of the minutes, where there are some, the part of phase 1."""
PEAK = 1.2e-3
"""Learning rate of a VQGAN from scratch."""


def run(
    args: argparse.Namespace, device: torch.device, default_out: Path, config: VQGANConfig,
    train: Any,
) -> None:  # fmt: skip
    """The command with `--pictures`; `train` is that of phase 1. Raises AppError."""
    if args.phase == "enlarge":
        raise InvalidInput("--phase enlarge is of the story world: of --pictures, sharpen has it.")
    home = home_of(args, "vqgan", default_out)
    folder = base_folder(args.base, "vqgan")
    base = VQGAN.from_pretrained(folder, device) if folder else None
    perceptual = (
        LPIPS.from_pretrained(args.lpips, device)
        if args.lpips
        else CLIPDistance(CLIP.from_pretrained(EMBEDDED / "clip", device))
    )
    gallery = sort_out(find_pictures(args.pictures), args.seed)
    batch = args.batch * processes()
    lines = gallery.lines()
    pictures_seen = batch * args.steps
    lines.append(
        f"{'' if args.minutes is None else 'at most '}{args.steps:,} steps of {batch} crops: each "
        "picture about "
        f"{pictures_seen / len(gallery.train):,.0f} times; then {args.sharpen_steps:,} to sharpen"
    )
    side = LARGE if _mostly_large(gallery.train) else SIZE
    each = max(args.batch * 128**2 // args.side**2, 1)  # as many pixels as in phase 1
    taken = _footprint(base.config if base else config, args, gallery, side, perceptual, device)
    taken = replace(taken, disk=taken.disk + _cut_bytes(args.phase, gallery, side, home.runs))
    if not tell(lines, taken, device, home, args.dry_run):
        return
    facts = facts_of(args, gallery.fingerprint, batch=batch)
    held_out = squares(gallery.test, SIZE, home.runs, "held-out")
    keep = functools.partial(keep_samples, held_out, home)
    of_codes, of_sharpen = _minutes(args)
    model = base
    if args.phase == "sharpen" and (home.model / "config.json").is_file():
        model = VQGAN.from_pretrained(home.model, device)
    if base is not None and not any(home.runs.glob("*.pt")):
        keep(args.phase if args.phase == "sharpen" else "codes", 0, base)  # as it was before
    if args.phase != "sharpen":
        bank = OwnBank(squares(gallery.train, SIZE, home.runs, "pictures"), device, args.seed)
        model = report(train(
            args.steps, bank, home.runs, device, minutes=of_codes, seed=args.seed, batch=batch,
            peak=peak_of(args, PEAK), save_every=args.save_every, report_every=args.report_every,
            base=base,
            perceptual=perceptual, facts=facts, keep_samples=functools.partial(keep, "codes"),
            **({"unquantised": 0.0} if base is not None else {"config": config}),
        ), "codes")  # fmt: skip
        del bank  # of a graphics card only one fits
    if model is None:
        raise InvalidInput(f"There is nothing to sharpen in {home.model}: train it first.")
    if args.phase != "codes":
        bank = OwnBank(squares(gallery.train, side, home.runs, "pictures"), device, args.seed)
        model = report(sharpen(
            args.sharpen_steps, model, bank, home.runs, device, minutes=of_sharpen,
            seed=args.seed, batch=each * processes(), side=args.side, peak=args.sharpen_peak,
            adversary_from=args.adversary_from, save_every=args.save_every,
            report_every=args.report_every,
            perceptual=perceptual, facts=facts, keep_samples=functools.partial(keep, "sharpen"),
        ), "sharpen")  # fmt: skip
    if rank() == 0:
        told = facts | {"pictures": len(gallery.train), "held out": len(gallery.test),
                        "figures": figures(model, held_out)}  # fmt: skip
        if base is not None:
            told["before"] = figures(base, held_out)
        finish(home, functools.partial(save_model, model, model.config), told)


def _minutes(args: argparse.Namespace) -> tuple[float | None, float | None]:
    """Of each phase: `--minutes` are those of the whole run."""
    if args.minutes is None or args.phase != "all":
        return args.minutes, args.minutes
    return CODES_SHARE * args.minutes, (1 - CODES_SHARE) * args.minutes


def _mostly_large(files: Sequence[Path]) -> bool:
    """Whether half of the pictures can teach to draw at twice the size."""
    sides = list[int]()
    for file in files:
        with Image.open(file) as image:
            sides.append(min(image.size))
    return float(np.median(sides)) >= LARGE


def _cut_bytes(phase: str, gallery: Gallery, side: int, cache: Path) -> int:
    """Of the pictures that the phases will cut."""
    learned, tested = len(gallery.train), len(gallery.test)
    sides = {*([] if phase == "sharpen" else [SIZE]), *([] if phase == "codes" else [side])}
    parts = [uncut(learned, s, cache, "pictures") for s in sides]
    return sum(parts) + uncut(tested, SIZE, cache, "held-out")


def _footprint(
    config: VQGANConfig, args: argparse.Namespace, gallery: Gallery, side: int,
    perceptual: LPIPS | CLIPDistance, device: torch.device,
) -> Footprint:  # fmt: skip
    """Of both phases, each weighed on a crop of 128 pixels."""
    large = side > SIZE
    channels = config.large_channels or (LARGE_CHANNELS if large else 0)
    model = VQGAN(replace(config, large_channels=channels)).to(device)
    judge = PatchDiscriminator(beside=large).to(device)
    pixels = torch.zeros(1, 3, 128, 128, device=device)

    def distance(made: Tensor) -> Tensor:
        target = pixels.new_zeros(made.shape)
        return reconstruction_loss(made, target, torch.ones_like(target[:, :1]))

    def codes() -> Tensor:
        fake = model.decode(model.quantise(model.encode(pixels)))
        return distance(fake) + perceptual(fake, pixels)

    def sharpened() -> Tensor:
        with torch.no_grad():
            quantised = model.quantise(model.encode(pixels))
        features = model.decoder.features(quantised)
        fake = model.decoder.draw(features)
        plain = torch.zeros(len(features), dtype=torch.long, device=features.device)
        drawn = model.decoder.draw_large(features, plain) if large else fake
        corner = (..., slice(128), slice(128))
        beside = enlarged(fake)[corner] if large else None
        adversarial = judge(drawn[corner], beside).mean()
        return distance(fake) + distance(drawn) + perceptual(fake, pixels) + adversarial

    def held(side: int) -> int:
        return 0 if device.type == "cpu" else len(gallery.train) * side * side * 3

    first = footprint([model], codes, 1, args.batch, [perceptual])
    last = footprint([model, judge], sharpened, 1, args.batch, [perceptual])
    first, last = replace(first, held=held(SIZE)), replace(last, held=held(side))
    return {"codes": first, "sharpen": last}.get(args.phase) or first.then(last)


@torch.no_grad()
def rebuilt(model: VQGAN, pictures: NDArray[np.uint8]) -> tuple[list[Image.Image], Tensor]:
    """Pictures (N, 256, 256, 3) encoded and decoded again, and their codes (N, 256, G)."""
    made, codes = list[Image.Image](), list[Tensor]()
    for picture in pictures:
        pixels = torch.from_numpy(np.array(picture)).to(model.device)
        pixels = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
        quantised, indices = model.quantizer(model.encode(pixels).float())
        made.append(to_picture(model.decode(quantised)[0]))
        codes.append(indices.cpu())
    return made, torch.cat(codes)


def keep_samples(
    held_out: NDArray[np.uint8], home: Home, phase: str, step: int, model: VQGAN
) -> None:
    """Held-out pictures above what the averaged model makes of them."""
    if rank() == 0:
        shown = held_out[:SHOWN]
        rows = [[Image.fromarray(p) for p in np.array(shown)], rebuilt(model, shown)[0]]
        path = home.samples(f"{phase}-{step:06d}")
        save_grid(rows, path)
        note("pictures", step=step, phase=phase, path=path)


def figures(model: VQGAN, held_out: NDArray[np.uint8]) -> dict[str, float]:
    """On held-out pictures: PSNR in dB, SSIM, the codebooks' use, and a Fréchet distance between
    the features of patches of originals and reconstructions (in the place of rFID, whose network
    does not come with this project), by the embedded judge.
    """
    from finetune.colour_metrics import frechet_distance, patches, psnr, ssim  # scikit-image

    real = [Image.fromarray(p) for p in np.array(held_out)]
    fake, codes = rebuilt(model, held_out)
    perplexity, used = list[float](), list[float]()
    size = model.config.codebook_size
    for g in range(model.config.groups):
        share = torch.bincount(codes[..., g].flatten(), minlength=size).double()
        share = share / share.sum()
        used.append((share > 0).double().mean().item())
        perplexity.append(torch.special.entr(share).sum().exp().item())
    judge = CLIP.from_pretrained(EMBEDDED / "judge", torch.device("cpu"))
    pairs = list(zip(fake, real, strict=True))
    return {
        "PSNR": float(np.mean([psnr(a, b) for a, b in pairs])),
        "SSIM": float(np.mean([ssim(a, b) for a, b in pairs])),
        "codes used": float(np.mean(used)),
        "codebook perplexity": float(np.mean(perplexity)),
        "Fréchet distance of patches": frechet_distance(patches(judge, fake), patches(judge, real)),
    }
