"""Losses that several training commands share."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor


def reconstruction_loss(fake: Tensor, real: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 of pixels and of their differences to the right and down."""
    loss = (weight * (fake - real).abs()).mean()
    for dim in (2, 3):
        loss = loss + 0.5 * (fake.diff(dim=dim) - real.diff(dim=dim)).abs().mean()
    return loss


def psnr(fake: Tensor, real: Tensor) -> float:
    """Of a batch in [-1, 1], in dB."""
    return 10 * float(np.log10(4 / max(F.mse_loss(fake.clamp(-1, 1), real).item(), 1e-9)))
