"""The story world's pages as codes, as the code transformer learns them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from finetune.data.folder import Order
from finetune.data.scenes import SceneRecord, SceneSet
from finetune.training import autocast
from pipelines.painter import SIZE
from pipelines.vqgan_clip.vqgan import VQGAN


@dataclass(frozen=True)
class Batch:
    """Prompts, plans (B, PIECES * FIELDS), codes (B, N, G), foreground (B, N) bool."""

    prompts: list[str]
    plans: Tensor
    codes: Tensor
    front: Tensor


def codes_of(vqgan: VQGAN) -> str:
    """The same for VQGANs that write the same codes, whatever their decoders have learned since."""
    digest = hashlib.sha256()
    for name, value in vqgan.state_dict().items():
        if name.startswith("encoder.") or name == "quantizer.codebook":
            # In half precision, as the model may have been written and read in between.
            digest.update(value.cpu().half().numpy().tobytes())
    return digest.hexdigest()[:16]


class CodeBank:
    """Scenes of simple layouts as codes, on the device: a page takes a few kilobytes."""

    planned = True
    """Whether the pages have plans to learn."""
    order: Order | None = None
    """None: pages are drawn, not taken in turn."""

    def __init__(self, scenes: Sequence[SceneSet], vqgan: VQGAN, device: torch.device) -> None:
        """Encode every page of the sets that has a plan."""
        planned = [np.flatnonzero(found.plans[:, 0] >= 0) for found in scenes]
        _, h, w = vqgan.latent_shape(SIZE, SIZE)
        # In one piece: many small ones between what encoding uses would take its memory to bits.
        self.codes = torch.empty(
            sum(map(len, planned)), h * w, vqgan.config.groups, dtype=torch.int16, device=device
        )
        plans, front = list[Tensor](), list[Tensor]()
        self.records: list[SceneRecord] = []
        for found, kept in zip(scenes, planned, strict=True):
            places = self.codes[len(self.records) :]
            self.records += [found.records[n] for n in kept]
            plans.append(torch.from_numpy(found.plans[kept]))
            front.append(torch.from_numpy(found.labels[kept] >= 0).flatten(1))
            for at in tqdm(range(0, len(kept), 64), desc="encoding", mininterval=5):
                some = found.pictures[kept[at : at + 64]]
                places[at : at + len(some)] = self._encode(vqgan, some, device)
        self.plans = torch.cat(plans).to(device)
        self.front = torch.cat(front).to(device)

    @staticmethod
    @torch.no_grad()
    def _encode(vqgan: VQGAN, pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
        pixels = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        with autocast(device):
            latents = vqgan.encode(pixels)
        return vqgan.quantizer.indices(latents.float()).short()

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, ids: Sequence[int], prompts: list[str]) -> Batch:
        """The pages `ids`, asked for with `prompts`."""
        chosen = torch.tensor(ids, device=self.plans.device)
        return Batch(prompts, self.plans[chosen].long(), self.codes[chosen].long(),
                     self.front[chosen])  # fmt: skip
