"""Phase 2 of a VQGAN: the codes stay, the decoder learns to draw them crisply.

A patch discriminator joins with a hinge loss, scaled so that its gradient at the decoder's last
layer is a fixed share of the reconstruction's (Esser et al. 2021, section 3.1). As encoder and
codebooks are not touched, everything that was trained on the codes stays valid.
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
from pipelines.vqgan_clip.vqgan import VQGAN

log = logging.getLogger(__name__)

ADVERSARIAL = 0.3
"""Share of the adversarial gradient; Esser et al. take 0.8, which roughens flat colour here."""


class PatchDiscriminator(nn.Module):
    """Real or made, for every patch of about 70 pixels. Source: Isola et al. 2017 (PatchGAN)."""

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        widths = (channels, 2 * channels, 4 * channels)
        layers: list[nn.Module] = []
        before = 3 * 4
        for n, width in enumerate(widths):
            stride = 1 if n == 0 else 2  # the pixel-unshuffle in front halves already
            layers += [spectral_norm(nn.Conv2d(before, width, 4, stride, 1)), nn.LeakyReLU(0.2)]
            before = width
        layers += [spectral_norm(nn.Conv2d(before, before, 3, 1, 1)), nn.LeakyReLU(0.2)]
        layers.append(spectral_norm(nn.Conv2d(before, 1, 3, 1, 1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 1, h, w) logits, about H/8 a side."""
        return self.layers(F.pixel_unshuffle(pixels, 2))


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last: Tensor) -> Tensor:
    """|grad of the reconstruction| / |grad of the adversary| at the weights `last`, at most 1e4.

    The gradients are those of the batch of all processes.
    """
    (a,) = torch.autograd.grad(reconstruction, last, retain_graph=True)
    (b,) = torch.autograd.grad(adversarial, last, retain_graph=True)
    a, b = averaged(a), averaged(b)
    return (a.norm() / (b.norm() + 1e-4)).clamp(0, 1e4).detach()


def _forget_other_codes(path: Path, vqgan: VQGAN, facts: dict[str, Any] | None) -> None:
    """Delete a checkpoint of this run that sharpens other codes: phase 1 has gone on since."""
    try:
        saved = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (EOFError, OSError, RuntimeError, pickle.UnpicklingError):
        return  # there is none, or it is damaged: who reads it says so
    if facts is not None and saved["extra"].get("facts") != facts:
        return
    for name, value in vqgan.state_dict().items():
        if name.startswith("encoder.") or name == "quantizer.codebook":
            before = saved["model"].get(name)
            # In half precision, as the model may have been written and read in between.
            if before is None or not torch.equal(before.half(), value.cpu().half()):
                log.info("the codes have learned more, so sharpening begins anew")
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
    peak: float = 4e-4,
    adversary_from: float = 0.15,
    save_every: int = 250,
    report_every: int = 50,
    perceptual: Distance | None = None,
    facts: dict[str, Any] | None = None,
    keep_samples: Callable[[int, VQGAN], None] | None = None,
) -> Iterator[TrainStep | VQGAN]:
    """Train the decoder of `vqgan` on pages, or on crops of `side` pixels of them, resuming from
    `runs/sharpen.pt`; the last event is the averaged model. The discriminator learns alone until
    `adversary_from` (1: it takes no part at all). `batch`, `facts` and `keep_samples` are as in
    `finetune.vqgan.train`.

    A bank of pictures of twice the side teaches the decoder to draw those, too. A checkpoint of
    the decoder of other codes than those of `vqgan` is thrown away.
    """
    torch.manual_seed(seed)  # the discriminator's weights
    large = bank.scale > 1
    config = replace(vqgan.config, large=large or vqgan.config.large)
    model = VQGAN(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.load_state_dict(vqgan.state_dict(), strict=False)
    if large and not vqgan.config.large:
        model.decoder.begin_large()
    model.requires_grad_(False)
    model.decoder.requires_grad_(True)
    averaged_model = VQGAN(config).to(device)
    judge = PatchDiscriminator().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [p for p in model.decoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=peak, betas=(0.5, 0.95))
    adversary = torch.optim.AdamW(judge.parameters(), lr=peak, betas=(0.5, 0.95))
    parts = {"model": model, "averaged": averaged_model, "judge": judge, "optimizer": optimizer,
             "adversary": adversary}  # fmt: skip
    last = model.decoder.large_out if large else model.decoder.out
    ema = Ema(model, averaged_model)
    _forget_other_codes(runs / "sharpen.pt", vqgan, facts)
    start, extra = load_checkpoint(runs / "sharpen.pt", parts, facts)
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    step = start
    while not clock.over(step):
        progress = clock.progress(step)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + 500_000 + step)
        target, weight = (share(t) for t in bank.crops(generator, batch, side, step))
        pixels = F.interpolate(target, size=(side, side), mode="area") if large else target
        with autocast(device):
            with torch.no_grad():
                quantised, _ = model.quantizer(model.encode(pixels).float())
            features = model.decoder.features(quantised)
            fake = model.decoder.draw(features).float()
            drawn = model.decoder.draw_large(features).float() if large else fake
        loss = reconstruction_loss(drawn, target, weight)
        reconstruction = loss
        if large:
            small = F.interpolate(weight, size=(side, side), mode="area")
            loss = loss + reconstruction_loss(fake, pixels, small)
        if perceptual is not None:
            with autocast(device):
                loss = loss + PERCEPTUAL * perceptual(fake, pixels).float()
        y, x = torch.randint(target.shape[2] - side + 1, (2,), generator=generator).tolist()
        real, made = (t[:, :, y : y + side, x : x + side] for t in (target, drawn))
        if progress >= adversary_from:
            with autocast(device):
                adversarial = -judge(made).float().mean()
            balance = adaptive_weight(reconstruction, adversarial, last.weight)
            loss = loss + ADVERSARIAL * balance * adversarial
        set_learning_rate([optimizer, adversary], rate(progress, peak))
        optimizer.zero_grad()
        loss.backward(inputs=trained)
        average_gradients([model.decoder])
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        hinge = loss.new_zeros(())
        if adversary_from < 1:
            with autocast(device):
                true, false = judge(real), judge(made.detach())
            hinge = F.relu(1 - true.float()).mean() + F.relu(1 + false.float()).mean()
            adversary.zero_grad()
            hinge.backward()
            average_gradients([judge])
            adversary.step()
        ema.update(step)
        step += 1
        over = clock.over(step)
        if step % save_every == 0 or over:
            save_checkpoint(runs / "sharpen.pt", step, parts, facts=facts,
                            progress=clock.progress(step))  # fmt: skip
            if keep_samples is not None:
                keep_samples(step, averaged_model)
        if step % report_every == 0 or over:
            metrics = {"loss": mean(reconstruction), "hinge": mean(hinge),
                       "psnr": psnr(fake.detach(), pixels)}  # fmt: skip
            yield TrainStep(step, steps, metrics, clock.eta(step))
    yield averaged_model
