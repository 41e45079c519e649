"""Muon, for processors as well: an optimizer that moves all directions of a matrix alike.

torch.optim.Muon computes in bfloat16, which processors without it only imitate, and takes matrices
alone. This one takes a precision, and kernels of convolutions, which act as matrices, too.

Source: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/); the rate is matched to
AdamW's as by Liu et al. 2025 (arXiv 2502.16982).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients that raise small singular values fast; they end between 0.7 and 1.2, not at 1."""


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """(m, n) -> about U Vᵀ of its singular value decomposition, computed in `dtype`."""
    a, b, c = QUINTIC
    x = matrix.to(dtype)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """For parameters of two dimensions or more; all but the first are taken as one."""

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """lr: as AdamW would have it. dtype: to orthogonalise in."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, p.grad, group)
        return loss

    def _move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[p], group["momentum"]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        mean = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        ahead = grad.lerp(mean, momentum).flatten(1)  # Nesterov's
        # Entries of the root mean square that AdamW's usually have.
        scale = 0.2 * math.sqrt(max(ahead.shape))
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(orthogonal(ahead, self.dtype).view_as(p), alpha=-group["lr"] * scale)
