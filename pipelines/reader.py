"""A GPT-2 read a position at a time, for the story writer and the code transformer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pipelines.few_rows import linear


class Reader:
    """A GPT-2 that reads on where it stopped, a position at a time.

    The same function as transformers' own with a cache. At this size a step is over in a few
    milliseconds, of which that spends more than half on masks and on its general case.
    """

    def __init__(self, body: Any, mask: Tensor, *, alike: bool = False) -> None:
        """`body` is a `pipelines.gpt2.GPT2`, or transformers' `GPT2Model`, whose parts have the
        same names. `mask` (B, T) of all that will be read: 0 where a short prompt was padded.
        `alike`: what is read in a row does not depend on how many there are (`few_rows`)."""
        self.product = partial(linear, inputs_first=True, alike=alike)
        self.body, self.heads = body, int(body.config.n_head)
        self.blocks: list[Any] = list(body.h)
        batch, length = mask.shape
        width = int(body.config.n_embd)
        shape = (len(self.blocks), batch, self.heads, length, width // self.heads)
        weights = body.wpe.weight
        self.keys, self.values = (torch.empty(shape, dtype=weights.dtype, device=weights.device)
                                  for _ in range(2))  # fmt: skip
        self.bias = (1.0 - mask.to(weights.dtype))[:, None, None] * -1e9  # (B, 1, 1, T)
        self.done = 0

    @classmethod
    def joined(cls, readers: Sequence[Reader]) -> Reader:
        """Readers that have read equally much, as one that reads on for all of them."""
        first = readers[0]
        if len(readers) == 1:
            return first
        together = copy(first)
        together.bias = torch.cat([r.bias for r in readers])
        layers, _, *rest = first.keys.shape
        shape = (layers, len(together.bias), *rest)
        together.keys, together.values = (first.keys.new_empty(shape) for _ in range(2))
        known = (..., slice(first.done), slice(None))
        torch.cat([r.keys[known] for r in readers], dim=1, out=together.keys[known])
        torch.cat([r.values[known] for r in readers], dim=1, out=together.values[known])
        return together

    def take(self, rows: Tensor) -> None:
        """Read on for these rows (N,) alone, any of which may be there several times."""
        rows = rows.to(self.keys.device)
        self.bias = self.bias[rows]
        layers, _, *rest = self.keys.shape
        known = (..., slice(self.done), slice(None))
        for name in ("keys", "values"):
            before = getattr(self, name)
            after = before.new_empty((layers, len(rows), *rest))
            after[known] = before[known][:, rows]
            setattr(self, name, after)

    def __call__(self, x: Tensor, where: Tensor) -> Tensor:
        """Inputs (B, n, W) at positions `where` (n,) -> hidden states (B, n, W)."""
        b, n, width = x.shape
        end = self.done + n
        x = x + self.body.wpe(where)
        bias = self.bias[..., :end]
        if n > 1:  # nobody looks ahead
            ahead = torch.ones(n, end, dtype=torch.bool, device=x.device).triu(self.done + 1)
            bias = bias + ahead * -1e9
        for k, block in enumerate(self.blocks):
            attn, mlp = block.attn, block.mlp
            mixed = self.product(attn.c_attn, block.ln_1(x))
            mixed = mixed.view(b, n, 3, self.heads, -1)
            query, key, value = mixed.permute(2, 0, 3, 1, 4)  # (B, H, n, D) each
            self.keys[k, :, :, self.done : end] = key
            self.values[k, :, :, self.done : end] = value
            scores = query @ self.keys[k, :, :, :end].transpose(2, 3) * query.shape[-1] ** -0.5
            seen = (scores + bias).softmax(-1) @ self.values[k, :, :, :end]
            seen = seen.transpose(1, 2).reshape(b, n, width)
            x = x + self.product(attn.c_proj, seen)
            inner = mlp.act(self.product(mlp.c_fc, block.ln_2(x)))
            x = x + self.product(mlp.c_proj, inner)
        self.done = end
        return self.body.ln_f(x)
