"""Train StencilTorch: `python -m finetune.stenciltorch --data SET`.

The generator sees a composition (the picture outside a mask, line art inside) and the mask; its
output is pasted back. A guide decoder, thrown away afterwards, rebuilds the simplified picture from
the same latents, weighted down so that colours do not come out flat (Hati et al. 2023).
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetune.data.illustrations import ColourBatch
from finetune.paintstorch import command, options
from pipelines.colorize.generator import GeneratorConfig, GuideDecoder, Joined


class StencilTorch:
    """Composition, mask and hints in; pasted into the picture."""

    name = "stenciltorch"
    inputs = 4

    def helper(self, config: GeneratorConfig) -> nn.Module:
        return GuideDecoder(config)

    def prepare(self, made: ColourBatch) -> ColourBatch:
        """Hints outside the mask do not count."""
        return replace(made, hints=made.hints * F.max_pool2d(made.mask, 4))

    def see(self, made: ColourBatch) -> Tensor:
        composition = torch.where(made.mask > 0, made.lineart, made.picture)
        return torch.cat([composition, made.mask], dim=1)

    def paste(self, fake: Tensor, made: ColourBatch) -> Tensor:
        return torch.where(made.mask > 0, fake, made.picture)

    def help(self, helper: nn.Module, fake: Tensor, joined: Joined, made: ColourBatch) -> Tensor:
        """The guide: L1 from the simplified picture."""
        guide = helper(joined.latents).float()
        return F.l1_loss(guide, F.avg_pool2d(made.simplified, 4))


def main() -> None:
    command(StencilTorch(), options(__doc__ or "", "pipelines/weights/stenciltorch"))


if __name__ == "__main__":
    main()
