"""Train the embedded CLIP on the story world: `python -m finetune.clip`.

Symmetric cross-entropy over the batch (Radford et al. 2021), helped by what the painter knows:
a head shared by both towers says which words, place, time and weather are shown, and a head on the
picture's patches says which word each of them belongs to. The heads are thrown away afterwards.

The judge is the same command with another seed: `--seed 1 --out pipelines/weights/judge`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetune.data.scenes import SceneSet, tag_vector, tags
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
from pipelines.painter import GRID, SIZE
from pipelines.vqgan_clip.clip import CLIP, embedded_config, tokenize
from pipelines.weights import save_model

log = logging.getLogger(__name__)


class Heads(nn.Module):
    """What training alone needs: tags from an embedding, words from patches."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.tags = nn.Linear(embedding, len(tags()))
        self.words = nn.Linear(width, len(tags()) + 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, D) unit vectors -> (B, T) logits."""
        return self.tags(embedding * 8.0)


def sample_batch(
    scenes: SceneSet, rng: random.Random, count: int, side: int, patch: int
) -> tuple[Tensor, Tensor, list[str], Tensor, Tensor]:
    """-> pixels (B, 3, S, S), patch labels (B, P*P), prompts, tags (B, T), whole (B,) bool.

    Half of the pictures are whole, half are cutouts of 65% to 100% of the side, as CLIP will see
    them when it guides; a little noise joins both.
    """
    ids = rng.sample(range(len(scenes)), count)
    pixels, labels, prompts, vectors = list[Tensor](), list[Tensor](), list[str](), []
    grid = side // patch
    centres = (np.arange(grid) + 0.5) / grid
    for n, i in enumerate(ids):
        cut, x, y = SIZE, 0, 0
        if n % 2:
            cut = rng.randint(int(0.65 * SIZE), SIZE)
            x, y = rng.randint(0, SIZE - cut), rng.randint(0, SIZE - cut)
        raw = torch.from_numpy(np.array(scenes.pictures[i, y : y + cut, x : x + cut]))
        picture = raw.permute(2, 0, 1)[None].float() / 127.5 - 1
        pixels.append(F.interpolate(picture, size=(side, side), mode="area")[0])
        rows = ((y + centres * cut) / GRID).astype(int)
        columns = ((x + centres * cut) / GRID).astype(int)
        cells = scenes.labels[i][np.ix_(rows, columns)].astype(np.int64)
        labels.append(torch.from_numpy(np.where(cells < 0, len(tags()), cells)).flatten())
        prompts.append(scenes.records[i].prompt(rng))
        vectors.append(tag_vector(scenes.records[i]))
    batch = torch.stack(pixels)
    noise = torch.Generator().manual_seed(rng.randrange(2**31))
    batch = batch + 0.06 * rng.random() * torch.randn(batch.shape, generator=noise)
    whole = torch.arange(count) % 2 == 0
    return batch, torch.stack(labels), prompts, torch.from_numpy(np.stack(vectors)), whole


def train(
    steps: int,
    scenes: SceneSet,
    checkpoint: Path,
    device: torch.device,
    *,
    config: dict[str, Any] | None = None,
    seed: int = 0,
    batch: int = 128,
    peak: float = 1e-3,
    save_every: int = 250,
    report_every: int = 20,
) -> Iterator[TrainStep | CLIP]:
    """Train for `steps`, resuming from `checkpoint`; the last event is the averaged model."""
    torch.manual_seed(seed)  # the initial weights
    config = config or embedded_config()
    model, averaged = CLIP(config).to(device), CLIP(config).to(device)
    vision = config["vision_config"]
    heads = Heads(config["projection_dim"], vision["hidden_size"]).to(device)
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *heads.parameters()], lr=peak, betas=(0.9, 0.98), weight_decay=0.05
    )
    parts = {"model": model, "averaged": averaged, "heads": heads, "optimizer": optimizer}
    ema = Ema(model, averaged)
    start, _ = load_checkpoint(checkpoint, parts)
    pace = Pace(start, steps)
    for step in range(start, steps):
        rng = random.Random(f"{seed} clip {step}")
        pixels, labels, prompts, shown, whole = sample_batch(
            scenes, rng, batch, vision["image_size"], vision["patch_size"]
        )
        pixels, labels, shown = pixels.to(device), labels.to(device), shown.to(device)
        whole = whole.to(device)
        ids, mask = tokenize(prompts, device)
        with torch.autocast(device.type, torch.bfloat16):
            seen = model.model.vision_model(pixel_values=pixels)
            read = model.model.text_model(input_ids=ids, attention_mask=mask)
            image = model.model.visual_projection(seen.pooler_output)
            text = model.model.text_projection(read.pooler_output)
            patches = heads.words(seen.last_hidden_state[:, 1:])
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        logits = model.model.logit_scale.exp().clamp(max=100) * image @ text.T
        target = torch.arange(batch, device=device)
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        # A cutout may have lost what its words name, so only whole pictures learn the tags.
        tag_loss = F.binary_cross_entropy_with_logits(heads(image[whole]), shown[whole])
        tag_loss = tag_loss + F.binary_cross_entropy_with_logits(heads(text), shown)
        patch_loss = F.cross_entropy(patches.float().flatten(0, 1), labels.flatten())
        loss = contrast + 20.0 * tag_loss + patch_loss
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak, warmup=100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        ema.update(step)
        done = step + 1
        if done % save_every == 0 or done == steps:
            save_checkpoint(checkpoint, done, parts)
        if done % report_every == 0 or done == steps:
            recall = (logits.argmax(1) == target).float().mean().item()
            metrics = {"contrast": contrast.item(), "tags": tag_loss.item(),
                       "patches": patch_loss.item(), "recall@1": recall}  # fmt: skip
            yield TrainStep(done, steps, metrics, pace.eta(done))
    yield averaged


@torch.no_grad()
def recall(
    clip: CLIP, scenes: SceneSet, *, count: int = 1000, among: int = 100
) -> dict[str, float]:
    """Recall at 1 and 5 both ways among `among` held-out pairs, averaged over `count` pairs."""
    rng = random.Random(0)
    device = clip.model.logit_scale.device
    image, text = list[Tensor](), list[Tensor]()
    for begin_at in range(0, count, among):
        ids = range(begin_at, begin_at + among)
        raw = torch.from_numpy(np.stack([scenes.pictures[i] for i in ids])).permute(0, 3, 1, 2)
        pixels = F.interpolate(
            raw.float().to(device) / 127.5 - 1, size=clip.image_size, mode="area"
        )
        image.append(clip.embed_images(pixels))
        text.append(clip.embed_texts([scenes.records[i].prompt(rng) for i in ids]))
    found: dict[str, list[float]] = {}
    for a, b in zip(image, text, strict=True):
        for name, scores in (("image to text", a @ b.T), ("text to image", b @ a.T)):
            rank = (scores > scores.diagonal()[:, None]).sum(1)
            for k in (1, 5):
                found.setdefault(f"{name} recall@{k}", []).append((rank < k).float().mean().item())
    return {k: float(np.mean(v)) for k, v in found.items()}


def main() -> None:
    p = parser(__doc__ or "", steps=1600, out="pipelines/weights/clip")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--scenes", type=int, default=24_000, help="pictures painted for training")
    args = p.parse_args()
    device = begin(args)
    scenes = SceneSet(args.runs / "scenes-train", args.scenes)
    held_out = SceneSet(args.runs / "scenes-test", 1000, split="test")
    events = train(
        args.steps, scenes, args.runs / f"{args.out.name}.pt", device,
        seed=args.seed, batch=args.batch, save_every=args.save_every,
    )  # fmt: skip
    model = report(events)
    save_model(model, model.config, args.out)
    for name, value in recall(model.eval(), held_out).items():
        log.info("%s %.3f", name, value)


if __name__ == "__main__":
    main()
