"""Muon, for processors as well: an optimizer that moves all directions of a matrix alike.

torch.optim.Muon computes in bfloat16, which processors without it only imitate, and takes matrices
alone. This one takes a precision, and kernels of convolutions, which act as matrices, too.
Matrices of one shape are taken together: a graphics card waits for the many small products of a
small network longer than it computes them.

Source: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/); the rate is matched to
AdamW's as by Liu et al. 2025 (arXiv 2502.16982).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients that raise small singular values fast; they end between 0.7 and 1.2, not at 1."""


def orthogonal(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, m, n) -> about U Vᵀ of the singular value decomposition of each, computed in `dtype`."""
    a, b, c = QUINTIC
    x = matrices.to(dtype)
    tall = x.size(1) > x.size(2)
    x = x.mT if tall else x
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


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
            alike = defaultdict[torch.Size, list[Tensor]](list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[p.shape].append(p)
            for together in alike.values():
                self._move(together, group)
        return loss

    def _move(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """`params` are of one shape."""
        rate, momentum = group["lr"], group["momentum"]
        aheads = list[Tensor]()
        for p in params:
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p)
            assert p.grad is not None
            mean = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
            aheads.append(p.grad.lerp(mean, momentum).flatten(1))  # Nesterov's
        # Entries of the root mean square that AdamW's usually have.
        scale = 0.2 * math.sqrt(max(aheads[0].shape))
        moves = orthogonal(torch.stack(aheads), self.dtype)
        for p, move in zip(params, moves, strict=True):
            p.mul_(1 - rate * group["weight_decay"])
            p.add_(move.view_as(p), alpha=-rate * scale)
