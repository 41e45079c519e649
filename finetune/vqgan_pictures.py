"""A VQGAN for anybody's pictures: `python -m finetune.vqgan --pictures FOLDER --out DIR`.

The same phases as for the embedded VQGAN (`finetune/vqgan.py`, `finetune/sharpen.py`), on crops of
the pictures of a folder, with a perceptual loss. One picture of ten is held out for the figures.
Where most pictures are large enough, sharpening teaches to draw them at twice the size, too;
`--phase enlarge` then goes on with that part alone.
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
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from finetune.data.bank import OwnBank
from finetune.data.folder import Gallery, find_pictures, sort_out, squares, uncut
from finetune.distributed import processes, rank
from finetune.footprint import Footprint, footprint
from finetune.losses import psnr, reconstruction_loss
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
from finetune.sharpen import ENLARGE_PEAK, PatchDiscriminator, sharpen
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
    home = home_of(args, "vqgan", default_out)
    folder = base_folder(args.base, "vqgan")
    base = VQGAN.from_pretrained(folder, device) if folder else None
    perceptual = (
        LPIPS.from_pretrained(args.lpips, device)
        if args.lpips
        else CLIPDistance(CLIP.from_pretrained(EMBEDDED / "clip", device))
    )
    phases = ("codes", "sharpen") if args.phase == "all" else (args.phase,)
    model = base
    if "codes" not in phases and (home.model / "config.json").is_file():
        model = VQGAN.from_pretrained(home.model, device)
    if "codes" not in phases and model is None:
        raise InvalidInput(
            f"There is nothing to {args.phase} in {home.model}: train it first, or name a --base."
        )
    gallery = sort_out(find_pictures(args.pictures), args.seed)
    side = LARGE if _mostly_large(gallery.train) else SIZE
    if "enlarge" in phases and side < LARGE:
        raise InvalidInput(
            f"--phase enlarge learns from pictures of {LARGE} pixels a side or more, and most of "
            f"those in {args.pictures} are smaller: bring larger ones, or leave that phase out."
        )
    batch = args.batch * processes()
    steps = {"codes": args.steps, "sharpen": args.sharpen_steps, "enlarge": args.enlarge_steps}
    turns = batch * steps[phases[0]] / len(gallery.train)
    lines = [
        *gallery.lines(),
        f"{'' if args.minutes is None else 'at most '}{steps[phases[0]]:,} steps of {batch} crops "
        f"({phases[0]}): each picture about {turns:,.0f} times"
        + "".join(f"; then {steps[phase]:,} to {phase}" for phase in phases[1:]),
    ]
    shape, held = model.config if model else config, (len(gallery.train), len(gallery.train))
    taken = footprint_of(shape, args, phases, side, held, perceptual, device)
    taken = replace(taken, disk=taken.disk + _cut_bytes(phases, gallery, side, home.runs))
    if not tell(lines, taken, device, home, args.dry_run):
        return
    facts = facts_of(args, gallery.fingerprint, batch=batch)
    held_out = squares(gallery.test, SIZE, home.runs, "held-out")
    large = squares(gallery.test, LARGE, home.runs, "held-out") if side == LARGE else None
    before = base or model
    keep = functools.partial(keep_samples, held_out, home)
    of_codes, of_sharpen = _minutes(args)
    common = {"seed": args.seed, "save_every": args.save_every, "facts": facts,
              "report_every": args.report_every, "perceptual": perceptual,
              "checkpointing": args.gradient_checkpointing}  # fmt: skip
    if base is not None and not any(home.runs.glob("*.pt")):
        keep(phases[0], 0, base)  # as it was before
    if "codes" in phases:
        bank = OwnBank(squares(gallery.train, SIZE, home.runs, "pictures"), device, args.seed)
        model = report(train(
            args.steps, bank, home.runs, device, minutes=of_codes, batch=batch,
            peak=peak_of(args, PEAK), base=base, keep_samples=functools.partial(keep, "codes"),
            **({"unquantised": 0.0} if base is not None else {"config": config}), **common,
        ), "codes")  # fmt: skip
        del bank  # of a graphics card only one fits
    assert model is not None
    if phases != ("codes",):
        bank = OwnBank(squares(gallery.train, side, home.runs, "pictures"), device, args.seed)
        if "sharpen" in phases:
            each = max(args.batch * 128**2 // args.side**2, 1)  # as many pixels as in phase 1
            how = {"batch": each * processes(), "side": args.side, "peak": args.sharpen_peak}
        else:
            peak = peak_of(args, ENLARGE_PEAK)
            how = {"batch": batch, "side": 128, "peak": peak, "large_alone": True}
        model = report(sharpen(
            steps[phases[-1]], model, bank, home.runs, device, minutes=of_sharpen,
            adversary_from=args.adversary_from, keep_samples=functools.partial(keep, phases[-1]),
            **how, **common,
        ), phases[-1])  # fmt: skip
    if rank() == 0:
        told = facts | {"pictures": len(gallery.train), "held out": len(gallery.test),
                        "figures": figures(model, held_out, large)}  # fmt: skip
        if before is not None:
            told["before"] = figures(before, held_out, large)
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


def _cut_bytes(phases: Sequence[str], gallery: Gallery, side: int, cache: Path) -> int:
    """Of the pictures that the phases will cut."""
    learned, tested = len(gallery.train), len(gallery.test)
    sides = {SIZE if phase == "codes" else side for phase in phases}
    parts = [uncut(learned, s, cache, "pictures") for s in sides]
    return sum(parts) + sum(uncut(tested, s, cache, "held-out") for s in {SIZE, side})


def footprint_of(
    config: VQGANConfig, args: argparse.Namespace, phases: Sequence[str], side: int,
    held: tuple[int, int], perceptual: LPIPS | CLIPDistance | None, device: torch.device,
) -> Footprint:  # fmt: skip
    """Of the phases, weighed on a crop of 128 pixels; `held`: how many pictures, of 256 pixels in
    phase 1 and of `side` later, lie on a graphics card."""
    large = side > SIZE
    channels = config.large_channels or (LARGE_CHANNELS if large else 0)
    model = VQGAN(replace(config, large_channels=channels)).to(device)
    judge = PatchDiscriminator(beside=large).to(device)
    pixels = torch.zeros(1, 3, 128, 128, device=device)

    def distance(made: Tensor) -> Tensor:
        target = pixels.new_zeros(made.shape)
        return reconstruction_loss(made, target, torch.ones_like(target[:, :1]))

    def seen(made: Tensor) -> Tensor:
        return distance(made) + (perceptual(made, pixels) if perceptual is not None else 0)

    def codes() -> Tensor:
        return seen(model.decode(model.quantise(model.encode(pixels))))

    def sharpened() -> Tensor:
        with torch.no_grad():
            quantised = model.quantise(model.encode(pixels))
        features = model.decoder.features(quantised)
        fake = model.decoder.draw(features)
        plain = torch.zeros(len(features), dtype=torch.long, device=features.device)
        drawn = model.decoder.draw_large(features, plain) if large else fake
        corner = (..., slice(128), slice(128))
        beside = enlarged(fake)[corner] if large else None
        return seen(fake) + distance(drawn) + judge(drawn[corner], beside).mean()

    def on_card(pictures: int, side: int) -> int:
        return 0 if device.type == "cpu" else pictures * side * side * 3

    batch = max(args.batch, 4)  # the fewest crops that fill a whole page
    judges = [perceptual] if perceptual is not None else []
    again = [model] if args.gradient_checkpointing else []
    parts = list[Footprint]()
    for phase in phases:
        if phase == "codes":
            found = footprint([model], codes, 1, batch, judges, again)
            parts.append(replace(found, held=on_card(held[0], SIZE)))
        else:
            found = footprint([model, judge], sharpened, 1, batch, judges, again)
            parts.append(replace(found, held=on_card(held[1], side)))
    return functools.reduce(Footprint.then, parts)


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


@torch.no_grad()
def large_psnr(model: VQGAN, pictures: NDArray[np.uint8]) -> float:
    """Mean PSNR in dB of pictures (N, 512, 512, 3), encoded at half their side, drawn at all of
    it."""
    found = list[float]()
    for picture in pictures:
        pixels = torch.from_numpy(np.array(picture)).to(model.device)
        pixels = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
        small = F.interpolate(pixels, size=(SIZE, SIZE), mode="area")
        found.append(psnr(model.decode_large(model.quantise(model.encode(small))), pixels))
    return float(np.mean(found))


def figures(
    model: VQGAN, held_out: NDArray[np.uint8], large: NDArray[np.uint8] | None = None
) -> dict[str, float]:
    """On held-out pictures: PSNR in dB, SSIM, the codebooks' use, and a Fréchet distance between
    the features of patches of originals and reconstructions (in the place of rFID, whose network
    does not come with this project), by the embedded judge. `large`: the same pictures at twice the
    side, for models that draw them so.
    """
    from finetune import colour_metrics as metrics  # scikit-image

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
    distance = metrics.frechet_distance(*(metrics.patches(judge, of) for of in (fake, real)))
    found = {
        "PSNR": float(np.mean([metrics.psnr(a, b) for a, b in pairs])),
        "SSIM": float(np.mean([metrics.ssim(a, b) for a, b in pairs])),
        "codes used": float(np.mean(used)),
        "codebook perplexity": float(np.mean(perplexity)),
        "Fréchet distance of patches": distance,
    }
    if large is not None and model.config.large:
        found["PSNR of large pictures"] = large_psnr(model, large)
    return found
