"""How far two pictures are apart to the eye: LPIPS where its weights are to be had, else CLIP.

Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".
Its weights are two files: `vgg16.pth` of torchvision (the network) and `vgg.pth` of the authors'
repository (how much each channel counts).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.colorize.features import patch_features
from pipelines.errors import ModelUnavailable
from pipelines.vqgan_clip.clip import CLIP

Distance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of pictures (B, 3, H, W) in [-1, 1] -> their mean distance, a scalar."""

PERCEPTUAL = 0.1
"""Weight of the distance in a training loss."""

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions of VGG16's five stages (Simonyan and Zisserman 2015)."""
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of photographs in [-1, 1], as LPIPS was fitted with."""
NETWORK, CHANNELS = "vgg16.pth", "vgg.pth"


class LPIPS(nn.Module):
    """LPIPS on VGG16, version 0.1."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict()  # numbered as in torchvision, whose weights fill it
        self.stages: list[list[str]] = []
        number, before = 0, 3
        for widths in WIDTHS:
            self.stages.append([])
            for width in widths:
                self.features[str(number)] = nn.Conv2d(before, width, 3, padding=1)
                self.stages[-1].append(str(number))
                number, before = number + 2, width
            number += 1  # the pooling layer
        self.lins = nn.ModuleList(nn.Conv2d(w[-1], 1, 1, bias=False) for w in WIDTHS)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None])

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device) -> LPIPS:
        """Raises ModelUnavailable that says which file is missing or no such file."""
        model = cls()
        try:
            network = torch.load(folder / NETWORK, map_location="cpu", weights_only=True)
            channels = torch.load(folder / CHANNELS, map_location="cpu", weights_only=True)
            model.features.load_state_dict(
                {k.removeprefix("features."): v for k, v in network.items() if "features." in k}
            )
            model.lins.load_state_dict({f"{n}.weight": channels[f"lin{n}.model.1.weight"]
                                        for n in range(len(WIDTHS))})  # fmt: skip
        except (OSError, RuntimeError, LookupError, AttributeError, pickle.UnpicklingError) as e:
            raise ModelUnavailable(
                f"{folder} does not hold LPIPS ({e}). It needs {NETWORK} of torchvision (VGG16) "
                f"and {CHANNELS} of LPIPS 0.1; without --lpips, CLIP's features are compared."
            ) from e
        return model.to(device).eval().requires_grad_(False)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        total = one.new_zeros(())
        for n, (a, b) in enumerate(zip(self._seen(one), self._seen(other), strict=True)):
            total = total + self.lins[n]((a - b).square()).mean()
        return total

    def _seen(self, pictures: Tensor) -> list[Tensor]:
        """The last activations of each stage, unit vectors over the channels."""
        x = (pictures - self.mean) / self.deviation
        found: list[Tensor] = []
        for n, stage in enumerate(self.stages):
            x = F.max_pool2d(x, 2) if n else x
            for name in stage:
                x = F.relu(self.features[name](x))
            found.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return found


class CLIPDistance(nn.Module):
    """Mean squared difference of the features of CLIP's patches, each of unit variance."""

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.clip = clip.eval().requires_grad_(False)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        with torch.no_grad():
            target = patch_features(self.clip, other)
        return F.mse_loss(patch_features(self.clip, one), target)
