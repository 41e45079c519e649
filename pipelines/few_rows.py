"""Products of a few rows with a layer's weights, read as bytes.

A model that writes one position after another multiplies a handful of rows with each of its
matrices in turn, and spends its time on fetching them from memory. The embedded weights are int8
in their files (`weights.quantise`); kept like that beside the float32 ones, there is a quarter to
fetch. Nothing of the weights is lost; the rows are rounded to bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pipelines.device import fast_bf16
from pipelines.weights import dequantise, quantise

_product: Any = getattr(torch, "_weight_int8pack_mm", None)
"""bfloat16 rows (n, in), int8 (out, in), a factor for each output -> bfloat16 (n, out)."""

MOST_ROWS = 16
"""With more rows the time goes into computing, which float32 is better at."""

MOST_ALIKE = 64
"""Of rows that are computed alike."""

BLOCK = 4
"""Rows that are computed alike come in whole blocks: for one alone libraries have another way
everywhere, and for what is left over of a block of four on processors of AMD."""


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


@dataclass(frozen=True)
class _Turned:
    """A layer's matrix as it was at one time, and that as (in, out)."""

    matrix: Tensor
    version: int
    inputs_first: Tensor


Made = TypeVar("Made", _Packed, _Turned)

_packed: WeakKeyDictionary[nn.Module, _Packed] = WeakKeyDictionary()
_turned: WeakKeyDictionary[nn.Module, _Turned] = WeakKeyDictionary()


def computes_alike(device: torch.device) -> bool:
    """Whether `linear` can compute rows alike on this device."""
    return device.type == "cpu" and _capability() in ("AVX2", "AVX512")


def linear(
    layer: nn.Module, x: Tensor, *, inputs_first: bool = False, alike: bool = False
) -> Tensor:
    """x (..., in) -> (..., out) with the layer's `weight` and, if it has one, `bias`.

    The weight is (out, in), or with `inputs_first` (in, out). With `alike`, and MOST_ALIKE rows at
    most, what becomes of a row does not depend on how many there are beside it, to the last bit
    where the device `computes_alike`.
    """
    weight, bias = layer.weight, getattr(layer, "bias", None)
    assert isinstance(weight, Tensor)
    rows = x.reshape(-1, x.shape[-1])
    packed = _of(layer, weight, inputs_first) if len(rows) <= _most_packed(alike) else None
    if packed is None or packed.whole is None or rows.dtype != torch.float32:
        if inputs_first:
            weight = weight.t()
        elif alike:
            weight = _inputs_first(layer, weight).t()
        if alike and (short := -len(rows) % BLOCK):
            rows = nn.functional.pad(rows, (0, 0, 0, short))
        found = nn.functional.linear(rows, weight, bias)
        return found[: x.shape[:-1].numel()].view(*x.shape[:-1], -1)
    if inputs_first:
        rows = rows * packed.step
    found = _product(rows.bfloat16(), packed.whole, packed.ones).float()
    if not inputs_first:
        found = found * packed.step
    if bias is not None:
        found = found + bias
    return found.view(*x.shape[:-1], -1)


def _most_packed(alike: bool) -> int:
    """Up to how many rows bytes are multiplied; of rows that are alike all or none."""
    if not alike:
        return MOST_ROWS
    return MOST_ALIKE if _bytes_pay() else 0


@cache
def _bytes_pay() -> bool:
    """Whether bytes are quicker for any number of rows: with AVX2, where memory was slower, and
    with bfloat16 in the processor; with AVX-512 alone 24 rows are quicker in float32, and eight
    nearly as quick."""
    return _capability() == "AVX2" or fast_bf16(torch.device("cpu"))


@cache
def _capability() -> str:
    return torch.backends.cpu.get_cpu_capability()


def _of(layer: nn.Module, weight: Tensor, inputs_first: bool) -> _Packed | None:
    if weight.device.type != "cpu" or weight.requires_grad:
        return None  # a graphics card has no need of it, and what is trained changes
    return _kept(_packed, layer, weight, lambda: _pack(weight, inputs_first))


def _kept(
    found: WeakKeyDictionary[nn.Module, Made], layer: nn.Module, weight: Tensor,
    make: Callable[[], Made],
) -> Made:  # fmt: skip
    """What was made of a layer's weight, made again where that has changed."""
    made = found.get(layer)
    if made is None or made.matrix is not weight or made.version != weight._version:
        made = found[layer] = make()
    return made


@torch.inference_mode(mode=False)  # what is kept may be met by a model that learns
def _pack(weight: Tensor, inputs_first: bool) -> _Packed:
    whole, step = quantise(weight)
    # The kernel wants (out, in).
    kept = whole.t().contiguous() if inputs_first else whole
    can = (
        computes_alike(weight.device)
        and _product is not None
        and torch.equal(dequantise(whole, step), weight)
    )
    ones = torch.ones(len(kept), dtype=torch.bfloat16)
    return _Packed(weight, weight._version, kept if can else None, step.float(), ones)


@torch.inference_mode(mode=False)
def _inputs_first(layer: nn.Module, weight: Tensor) -> Tensor:
    """A weight (out, in) as (in, out): only the libraries' products with such go through the inputs
    in one order for any number of rows, as far as was seen."""
    if weight.device.type != "cpu" or weight.requires_grad:
        return weight.t()
    return _kept(
        _turned, layer, weight, lambda: _Turned(weight, weight._version, weight.t().contiguous())
    ).inputs_first
