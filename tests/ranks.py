"""What each process of the two-rank test runs: a few steps of every picture model's training.

`torchrun --standalone --nproc_per_node 2 -m tests.ranks OUT` writes OUT/rank-N.pt.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finetune import clip, clip_pairs, code_transformer, colorizer, gpt2
from finetune import vqgan as vqgan_training
from finetune.code_pairs import PairCodes
from finetune.data.bank import OwnBank
from finetune.data.scenes import SceneSet
from finetune.distributed import join, leave, rank
from finetune.paintstorch import PaintsTorch
from finetune.sharpen import sharpen
from finetune.training import TrainStep, load_checkpoint, save_checkpoint
from pipelines.errors import InvalidInput
from pipelines.painter import SIZE
from pipelines.vqgan_clip.vqgan import VQGAN
from tests.tiny import CLIP_CONFIG, CPU, TRANSFORMER_CONFIG, VQGAN_CONFIG, vqgan
from tests.tiny_colorizer import config, illustrations
from tests.tiny_pictures import picture

BATCH = 4
"""Of all processes together."""
ODD = 3
"""Of each of two: not every process begins with a whole picture."""
STORY_CONFIG = {**gpt2.embedded_config(), "n_embd": 32, "n_layer": 1, "n_head": 2}
OPTIONS: dict[str, Any] = {"batch": BATCH, "save_every": 100, "report_every": 1, "peak": 1e-3}
AT_ODDS: dict[str, Any] = {**OPTIONS, "batch": 2 * ODD}


def everything(runs: Path) -> dict[str, Any]:
    """Losses and weights of the trainings, and the pictures that a VQGAN has seen."""
    pictures = np.stack([np.asarray(picture(n, SIZE)) for n in range(8)])
    words = [f"blob number {n}" for n in range(8)]
    bank = OwnBank(pictures, CPU)
    scenes = SceneSet(runs / f"scenes-{rank()}", 2 * ODD, workers=1)
    codes = PairCodes(pictures[:, :64, :64], words, vqgan(), TRANSFORMER_CONFIG.grid, CPU)
    seen: list[list[float]] = []
    encode = VQGAN.encode

    def watched(self: VQGAN, pixels: Tensor) -> Tensor:
        seen.append(pixels.flatten(1).double().sum(1).tolist())
        return encode(self, pixels)

    VQGAN.encode = watched  # type: ignore[method-assign]
    gpt2.VALIDATION_STORIES = 2
    try:
        found = {
            "vqgan": drain(vqgan_training.train(
                4, bank, runs, CPU, config=VQGAN_CONFIG, side=32, unquantised=0.5, whole_from=2.0,
                **OPTIONS,
            )),
            "sharpen": drain(sharpen(
                2, vqgan(), bank, runs, CPU, side=32, adversary_from=0.0, **OPTIONS
            )),
            "clip": drain(clip_pairs.train(
                3, pictures, words, runs / "clip.pt", CPU, config=CLIP_CONFIG, **OPTIONS
            )),
            "scenes' clip": drain(clip.train(
                2, scenes, runs / "guide.pt", CPU, config=CLIP_CONFIG,
                **AT_ODDS,
            )),
            "code transformer": drain(code_transformer.train(
                3, codes, codes, VQGAN_CONFIG, runs / "codes.pt", CPU,
                config=replace(TRANSFORMER_CONFIG, words=0), **OPTIONS,
            )),
            "story": drain(gpt2.train(3, runs, CPU, config=STORY_CONFIG, **OPTIONS)),
        }  # fmt: skip
    finally:
        VQGAN.encode = encode  # type: ignore[method-assign]
    return found | {"seen": seen}


def colours(runs: Path) -> dict[str, Any]:
    """As `everything`, of a colour model: every process has batches of its own."""
    data = illustrations(runs / f"set-{rank()}", 2)
    recipe = colorizer.Recipe(critic_from=0.0, adversarial_from=0.0)
    return drain(colorizer.train(
        PaintsTorch(), 1, data, runs, CPU, config=config(), count=1, report_every=1, recipe=recipe
    ))  # fmt: skip


def apart(folder: Path) -> str:
    """What is said where each process has a folder of its own: only the first one's is written."""
    model, path = nn.Linear(1, 1), folder / str(rank()) / "model.pt"
    save_checkpoint(path, 3, {"model": model})
    try:
        load_checkpoint(path, {"model": model})
    except InvalidInput as error:
        return str(error)
    return ""


def drain(events: Any) -> dict[str, Any]:
    """The curve of a run, the weights at its end, and the gradients of its steps, averaged and not
    yet clipped."""
    curve: list[float] = []
    weights: dict[str, Tensor] = {}
    gradients: list[Tensor] = []
    clip = nn.utils.clip_grad_norm_

    def watched(parameters: Iterable[Tensor], most: float) -> Tensor:
        learned = list(parameters)
        grads = [p.grad.flatten() for p in learned if p.grad is not None]
        gradients.append(torch.cat(grads))  # a copy
        return clip(learned, most)

    nn.utils.clip_grad_norm_ = watched
    try:
        for event in events:
            if isinstance(event, TrainStep):
                metrics = event.metrics
                curve.append(next(metrics[k] for k in ("loss", "contrast", "nats") if k in metrics))
            elif isinstance(event, nn.Module):
                weights = event.state_dict()
    finally:
        nn.utils.clip_grad_norm_ = clip
    return {"curve": curve, "weights": weights, "gradients": gradients}


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    join(CPU)
    result = everything(out / "runs") | {"paintstorch": colours(out / "runs")}
    torch.save(result | {"apart": apart(out / "apart")}, out / f"rank-{rank()}.pt")
    leave()
