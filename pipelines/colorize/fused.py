"""Blocks that take fewer steps on a processor: convolution, activation and sum in one call.

oneDNN can do what comes after a convolution while its result is still in the cache, and with
weights that were laid out once. PyTorch's compiler uses this; here it is used without compiling,
which people's machines may lack the tools for. Results agree to rounding. Where PyTorch does not
offer it, everything stays as it is.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.colorize.blocks import SLOPE, ResNeXtBlock
from pipelines.colorize.generator import Generator

_NAMES = ("_convolution_pointwise", "_reorder_convolution_weight")


def available(device: torch.device) -> bool:
    """Whether oneDNN's calls can be used on this device."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in _NAMES)


class FusedConv2d(nn.Module):
    """A convolution, then a leaky rectifier if asked for, then a sum; for inference alone."""

    bias: Tensor

    def __init__(self, conv: nn.Conv2d, *, rectified: bool = False) -> None:
        super().__init__()
        assert conv.bias is not None
        self.register_buffer("bias", conv.bias.detach(), persistent=False)
        self.weight = conv.weight.detach()
        self.shape = (*map(list, (conv.padding, conv.stride, conv.dilation)), conv.groups)
        self.after = ("leaky_relu", [SLOPE], "") if rectified else ("none", [], "")
        self.packed: Tensor | None = None

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> the convolution's result, or its sum with `added`."""
        if self.packed is None:  # for this size; other sizes work, too, if a little slower
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self.shape, list(x.shape)
            )
        if added is None:
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.packed, self.bias, *self.shape, *self.after
            )
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, added, self.packed, self.bias, *self.shape, "add", 1.0, None, [], None
        )


class FusedBlock(nn.Module):
    """A ResNeXtBlock in four calls instead of seven."""

    def __init__(self, block: ResNeXtBlock) -> None:
        super().__init__()
        self.narrow = FusedConv2d(block.narrow, rectified=True)
        self.mix = FusedConv2d(block.mix, rectified=True)
        self.widen = FusedConv2d(block.widen)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return self.widen(self.mix(self.narrow(F.leaky_relu(x, SLOPE))), x)


def fused(generator: Generator) -> Generator:
    """A copy for inference in float32 on a processor; the generator stays as it is."""
    made = copy.deepcopy(generator)
    _replace(made)
    return made


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, ResNeXtBlock):
            setattr(module, name, FusedBlock(child))
        elif isinstance(child, nn.Conv2d) and child.bias is not None:
            setattr(module, name, FusedConv2d(child))
        else:
            _replace(child)
