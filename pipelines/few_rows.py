"""Products of a few rows with a layer's weights, read as bytes.

A model that writes one position after another multiplies a handful of rows with each of its
matrices in turn, and spends its time on fetching them from memory. The embedded weights are int8
in their files (`weights.quantise`); kept like that beside the float32 ones, there is a quarter to
fetch. Nothing of the weights is lost; the rows are rounded to bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pipelines.weights import dequantise, quantise

_product: Any = getattr(torch, "_weight_int8pack_mm", None)
"""bfloat16 rows (n, in), int8 (out, in), a factor for each output -> bfloat16 (n, out)."""

MOST_ROWS = 16
"""With more rows the time goes into computing, which float32 is better at."""


@dataclass(frozen=True)
class _Packed:
    """A layer's matrix as it was at one time."""

    matrix: Tensor
    version: int
    whole: Tensor | None
    """int8 (out, in); None where there is nothing to gain, or something to lose."""
    step: Tensor
    """Of each row of the matrix."""
    ones: Tensor


_packed: WeakKeyDictionary[nn.Module, _Packed] = WeakKeyDictionary()


def linear(layer: nn.Module, x: Tensor, *, inputs_first: bool = False) -> Tensor:
    """x (..., in) -> (..., out) with the layer's `weight` and, if it has one, `bias`.

    The weight is (out, in), or with `inputs_first` (in, out).
    """
    weight, bias = layer.weight, getattr(layer, "bias", None)
    assert isinstance(weight, Tensor)
    rows = x.reshape(-1, x.shape[-1])
    packed = _of(layer, weight, inputs_first) if len(rows) <= MOST_ROWS else None
    if packed is None or packed.whole is None or rows.dtype != torch.float32:
        whole = nn.functional.linear(rows, weight.t() if inputs_first else weight, bias)
        return whole.view(*x.shape[:-1], -1)
    if inputs_first:
        rows = rows * packed.step
    found: Tensor = _product(rows.bfloat16(), packed.whole, packed.ones).float()
    if not inputs_first:
        found = found * packed.step
    if bias is not None:
        found = found + bias
    return found.view(*x.shape[:-1], -1)


def _of(layer: nn.Module, weight: Tensor, inputs_first: bool) -> _Packed | None:
    if weight.device.type != "cpu" or weight.requires_grad:
        return None  # a graphics card has no need of it, and what is trained changes
    found = _packed.get(layer)
    if found is None or found.matrix is not weight or found.version != weight._version:
        found = _packed[layer] = _pack(weight, inputs_first)
    return found


@torch.inference_mode(mode=False)  # what is kept may be met by a model that learns
def _pack(weight: Tensor, inputs_first: bool) -> _Packed:
    whole, step = quantise(weight)
    # The kernel wants (out, in).
    kept = whole.t().contiguous() if inputs_first else whole
    can = (
        torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and _product is not None
        and torch.equal(dequantise(whole, step), weight)
    )
    ones = torch.ones(len(kept), dtype=torch.bfloat16)
    return _Packed(weight, weight._version, kept if can else None, step.float(), ones)
