"""Phases 2 and 3 of a VQGAN: the codes stay, the decoder learns to draw them crisply.

A patch discriminator joins with a hinge loss, scaled so that its gradient at the decoder's last
layer is a fixed share of the reconstruction's (Esser et al. 2021, section 3.1). As encoder and
codebooks are not touched, everything that was trained on the codes stays valid. Phase 3 trains
nothing but what draws a picture of twice the side: the small picture stays as it is, too.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from finetune.data.bank import PictureBank
from finetune.distributed import average_gradients, averaged, mean, share
from finetune.losses import psnr, reconstruction_loss
from finetune.perceptual import PERCEPTUAL, Distance
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    autocast,
    load_checkpoint,
    rate,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.painter import SIZE
from pipelines.vqgan_clip.checkpointing import checkpoint_blocks
from pipelines.vqgan_clip.vqgan import LARGE_CHANNELS, VQGAN, enlarged

log = logging.getLogger(__name__)

ADVERSARIAL = 0.3
"""Share of the adversarial gradient; Esser et al. take 0.8, which roughens flat colour here."""
ENLARGING = 0.8
"""The same where nothing but large pictures is learned: their discriminator sees the small ones,
in which flat colour is flat."""
JUDGE_PEAK = 4e-4
"""Highest learning rate of a discriminator."""
ENLARGE_PEAK = 1.5e-3
"""Learning rate of phase 3, whose part is small."""


class PatchDiscriminator(nn.Module):
    """Real or made, for every patch of about 70 pixels. Source: Isola et al. 2017 (PatchGAN)."""

    def __init__(self, channels: int = 48, *, beside: bool = False) -> None:
        """`beside`: whether each picture comes with another of its size, which it was made from."""
        super().__init__()
        widths = (channels, 2 * channels, 4 * channels)
        layers: list[nn.Module] = []
        before = 3 * 4 * (2 if beside else 1)
        for n, width in enumerate(widths):
            stride = 1 if n == 0 else 2  # the pixel-unshuffle in front halves already
            layers += [spectral_norm(nn.Conv2d(before, width, 4, stride, 1)), nn.LeakyReLU(0.2)]
            before = width
        layers += [spectral_norm(nn.Conv2d(before, before, 3, 1, 1)), nn.LeakyReLU(0.2)]
        layers.append(spectral_norm(nn.Conv2d(before, 1, 3, 1, 1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Tensor, beside: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) in [-1, 1], two of them where they come so -> (B, 1, h, w) logits, about H/8
        a side."""
        seen = pixels if beside is None else torch.cat([pixels, beside], dim=1)
        return self.layers(F.pixel_unshuffle(seen, 2))


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last: Tensor) -> Tensor:
    """|grad of the reconstruction| / |grad of the adversary| at the weights `last`, at most 1e4.

    The gradients are those of the batch of all processes.
    """
    (a,) = torch.autograd.grad(reconstruction, last, retain_graph=True)
    (b,) = torch.autograd.grad(adversarial, last, retain_graph=True)
    a, b = averaged(a), averaged(b)
    return (a.norm() / (b.norm() + 1e-4)).clamp(0, 1e4).detach()


def _forget_other(
    path: Path, vqgan: VQGAN, facts: dict[str, Any] | None, large_alone: bool
) -> None:
    """Delete a checkpoint of this run of which something that stays as it is, is not what `vqgan`
    has: the phase before has gone on since."""
    try:
        saved = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (EOFError, OSError, RuntimeError, pickle.UnpicklingError):
        return  # there is none, or it is damaged: who reads it says so
    if facts is not None and saved["extra"].get("facts") != facts:
        return
    for name, value in vqgan.state_dict().items():
        decodes = name.startswith("decoder.")
        if not decodes or (large_alone and ".large_" not in name):
            before = saved["model"].get(name)
            # In half precision, as the model may have been written and read in between.
            if before is None or not torch.equal(before.half(), value.cpu().half()):
                log.info("what is before %s has learned more, so it begins anew", path.stem)
                path.unlink(missing_ok=True)
                return


def sharpen(
    steps: int,
    vqgan: VQGAN,
    bank: PictureBank,
    runs: Path,
    device: torch.device,
    *,
    minutes: float | None = None,
    seed: int = 0,
    batch: int = 4,
    side: int = SIZE,
    peak: float = JUDGE_PEAK,
    adversary_from: float = 0.15,
    large_alone: bool = False,
    save_every: int = 250,
    report_every: int = 50,
    checkpointing: bool = False,
    perceptual: Distance | None = None,
    facts: dict[str, Any] | None = None,
    keep_samples: Callable[[int, VQGAN], None] | None = None,
) -> Iterator[TrainStep | VQGAN]:
    """Train the decoder of `vqgan` on pages, or on crops of `side` pixels of them, resuming from
    `runs/sharpen.pt`; the last event is the averaged model. The discriminator learns alone until
    `adversary_from` (1: it takes no part at all). `batch`, `checkpointing`, `facts` and
    `keep_samples` are as in `finetune.vqgan.train`.

    A bank of pictures of twice the side teaches the decoder to draw those, too. With `large_alone`
    it learns nothing else, resuming from `runs/enlarge.pt`. A checkpoint of the decoder of other
    codes than those of `vqgan` is thrown away; with `large_alone`, of another small picture, too.
    """
    torch.manual_seed(seed)  # the new weights
    large = bank.scale > 1
    # Without large pictures, what draws them would stay as it is while all before it changes.
    wide, looks = 0, ()
    if large:
        wide = vqgan.config.large_channels or LARGE_CHANNELS
        looks = vqgan.config.large_styles or bank.styles
    config = replace(vqgan.config, large_channels=wide, large_styles=looks)
    model = VQGAN(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.load_state_dict(vqgan.state_dict(), strict=False)
    model.requires_grad_(False)
    for name, weights in model.decoder.named_parameters():
        weights.requires_grad_("large_" in name or not large_alone)
    if checkpointing:
        checkpoint_blocks(model)
    averaged_model = VQGAN(config).to(device)
    judge = PatchDiscriminator(beside=large).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [p for p in model.decoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=peak, betas=(0.5, 0.95))
    adversary = torch.optim.AdamW(judge.parameters(), lr=JUDGE_PEAK, betas=(0.5, 0.95))
    parts = {"model": model, "averaged": averaged_model, "judge": judge, "optimizer": optimizer,
             "adversary": adversary}  # fmt: skip
    last = model.decoder.large_out if large else model.decoder.out
    ema = Ema(model, averaged_model)
    checkpoint = runs / ("enlarge.pt" if large_alone else "sharpen.pt")
    _forget_other(checkpoint, vqgan, facts, large_alone)
    start, extra = load_checkpoint(checkpoint, parts, facts)
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    step = start
    while not clock.over(step):
        progress = clock.progress(step)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + 500_000 + step)
        crops = bank.crops(generator, batch, side, step)
        target, pixels, weight, styles = (share(t) for t in crops)
        with autocast(device):
            with torch.no_grad():
                quantised, _ = model.quantizer(model.encode(pixels).float())
            with torch.set_grad_enabled(not large_alone):
                features = model.decoder.features(quantised)
                fake = model.decoder.draw(features).float()
            drawn = model.decoder.draw_large(features, styles).float() if large else fake
        loss = reconstruction_loss(drawn, target, weight)
        reconstruction = loss
        if large and not large_alone:
            small = F.interpolate(weight, size=(side, side), mode="area")
            loss = loss + reconstruction_loss(fake, pixels, small)
        if perceptual is not None and not large_alone:
            with autocast(device):
                loss = loss + PERCEPTUAL * perceptual(fake, pixels).float()
        y, x = torch.randint(target.shape[2] - side + 1, (2,), generator=generator).tolist()
        cut = (..., slice(y, y + side), slice(x, x + side))
        real, made = target[cut], drawn[cut]
        beside = enlarged(fake.detach())[cut] if large else None
        if progress >= adversary_from:
            with autocast(device):
                adversarial = -judge(made, beside).float().mean()
            balance = adaptive_weight(reconstruction, adversarial, last.weight)
            loss = loss + (ENLARGING if large_alone else ADVERSARIAL) * balance * adversarial
        set_learning_rate([optimizer], rate(progress, peak))
        set_learning_rate([adversary], rate(progress, min(peak, JUDGE_PEAK)))
        optimizer.zero_grad()
        loss.backward(inputs=trained)
        average_gradients([model.decoder])
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        hinge = loss.new_zeros(())
        if adversary_from < 1:
            with autocast(device):
                true, false = judge(real, beside), judge(made.detach(), beside)
            hinge = F.relu(1 - true.float()).mean() + F.relu(1 + false.float()).mean()
            adversary.zero_grad()
            hinge.backward()
            average_gradients([judge])
            adversary.step()
        ema.update(step)
        step += 1
        over = clock.over(step)
        if step % save_every == 0 or over:
            save_checkpoint(checkpoint, step, parts, facts=facts,
                            progress=clock.progress(step))  # fmt: skip
            if keep_samples is not None:
                keep_samples(step, averaged_model)
        if step % report_every == 0 or over:
            seen = (drawn, target) if large_alone else (fake, pixels)
            metrics = {"loss": mean(reconstruction), "hinge": mean(hinge),
                       "psnr": psnr(seen[0].detach(), seen[1])}  # fmt: skip
            yield TrainStep(step, steps, metrics, clock.eta(step))
    yield averaged_model
