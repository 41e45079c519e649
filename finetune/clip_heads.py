"""The two linear layers of the CLIP of pages, on features that are computed once.

Symmetric cross-entropy over the batch (Radford et al. 2021), among pairs that have neither the
picture nor the words in common. It takes seconds on a processor; computing the features takes most
of the time, about 0.1 s a picture on one core.
"""

from __future__ import annotations

import copy
import hashlib
import os
import random
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from finetune.clip_views import view
from finetune.training import Clock, TrainStep, rate, set_learning_rate
from pipelines.painter import SIZE
from pipelines.vqgan_clip.models import fingerprint
from pipelines.vqgan_clip.pages_clip import PagesCLIP

VIEWS = 4
"""Of each picture: the whole, mirrored, a cutout, mirrored."""
AT_ONCE = 16
PEAK = 1e-3
DROPOUT, WORD_DROPOUT = 0.5, 0.1
"""Of the features and of the text: there are few pages, and many features."""
WEIGHT_DECAY = 0.3


@torch.no_grad()
def picture_features(model: PagesCLIP, pictures: NDArray[np.uint8], seed: int) -> Tensor:
    """Pictures (N, 256, 256, 3) -> (N, VIEWS, F), as the trunk says them, on its device."""
    rng = random.Random(f"{seed} views")
    device, found = model.mean.device, list[Tensor]()
    for k in tqdm(range(0, len(pictures), AT_ONCE), desc="features", mininterval=5):
        raw = torch.from_numpy(np.array(pictures[k : k + AT_ONCE])).to(device)
        sides = [rng.randint(int(0.65 * SIZE), SIZE) for _ in raw]
        cut = [(s, rng.randint(0, SIZE - s), rng.randint(0, SIZE - s)) for s in sides]
        seen = list[Tensor]()
        for box in ([(SIZE, 0, 0)] * len(raw), cut):
            pixels = view(raw, torch.tensor(box, device=device), model.image_size)
            seen += [model.trunk(pixels), model.trunk(pixels.flip(3))]
        found.append(torch.stack(seen, 1))
    return torch.cat(found)


def kept_features(model: PagesCLIP, pictures: NDArray[np.uint8], seed: int, folder: Path) -> Tensor:
    """As `picture_features`, which are kept in `folder` for another run on the same pictures."""
    digest = hashlib.sha256(f"{fingerprint(model.trunk)} {model.image_size} {seed}".encode())
    for picture in pictures:
        digest.update(picture.tobytes())
    path = folder / f"features-{digest.hexdigest()[:12]}.pt"
    if path.is_file():
        return torch.load(path, map_location=model.mean.device, weights_only=True)
    features = picture_features(model, pictures, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")  # several processes may write the same
    try:
        torch.save(features, fresh)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)  # on a full disk
    return features


def _numbered(things: Sequence[Hashable], device: torch.device) -> Tensor:
    numbers = {t: n for n, t in enumerate(dict.fromkeys(things))}
    return torch.tensor([numbers[t] for t in things], device=device)


def train(
    base: PagesCLIP,
    features: Tensor,
    shown: Sequence[int],
    words: Sequence[str],
    *,
    steps: int,
    minutes: float | None = None,
    seed: int = 0,
    batch: int = 256,
    peak: float = PEAK,
    report_every: int = 100,
) -> Iterator[TrainStep | PagesCLIP]:
    """Teach a copy of `base` pairs: the picture `features[shown[n]]` (VIEWS, F) has `words[n]`.

    The last event is the copy. The same seed gives the same weights.
    """
    device = features.device
    model = copy.deepcopy(base).eval()
    learned = model.learned()
    for parameter in learned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learned, lr=peak, weight_decay=WEIGHT_DECAY)
    with torch.no_grad():
        seen = (features - model.mean) / model.deviation
        read = torch.cat([model.text_features(words[k : k + 512])
                          for k in range(0, len(words), 512)])  # fmt: skip
    pictures = torch.tensor(list(shown), device=device)
    texts = _numbered(words, device)
    clock, step = Clock(0, steps, minutes), 0
    drawn = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    batch = min(batch, len(words))

    def kept(shape: torch.Size, dropout: float) -> Tensor:
        return (torch.rand(shape, generator=drawn) >= dropout).float().to(device) / (1 - dropout)

    while not clock.over(step):
        if len(order) < batch:
            order = torch.randperm(len(words), generator=drawn)
        ids, order = order[:batch].to(device), order[batch:]
        ways = torch.randint(features.shape[1], (batch,), generator=drawn).to(device)
        x, t = seen[pictures[ids], ways], read[ids]
        image = F.normalize(model.visual_projection(x * kept(x.shape, DROPOUT)), dim=-1)
        text = F.normalize(model.text_projection(t * kept(t.shape, WORD_DROPOUT)), dim=-1)
        logits = model.logit_scale.exp().clamp(max=100) * image @ text.T
        same = pictures[ids][:, None] == pictures[ids]
        same |= texts[ids][:, None] == texts[ids]
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, float("-inf"))
        target = torch.arange(batch, device=device)
        loss = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
        set_learning_rate([optimizer], rate(clock.progress(step), peak))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        step += 1
        if step % report_every == 0 or clock.over(step):
            hit = (logits.argmax(1) == target).float().mean().item()
            metrics = {"contrast": loss.item() / 2, "recall@1": hit}
            yield TrainStep(step, steps, metrics, clock.eta(step))
    yield model.requires_grad_(False)
