"""Parts of frozen networks whose gradients cost less, for the same values.

Guidance spends most of a step on the way back through networks that do not learn. On processors
some of PyTorch's own ways back are slow, or keep what is easily computed again (`finetune/LOG.md`
has the figures). Where nothing is gained, these do what PyTorch does.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

Part = TypeVar("Part", bound=nn.Module)

FEW_POSITIONS = 256
"""Up to so many, attention in bfloat16 on a processor is quicker written out."""

QUICK = 1.702
"""x * sigmoid(1.702 x) is OpenAI's approximation of GELU (Hendrycks and Gimpel 2016)."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:  # fmt: skip
    """`F.scaled_dot_product_attention` of (B, H, T, D); `allowed` says who sees whom, `scale` is
    D^-0.5 unless given."""
    few = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if few and allowed is None and query.requires_grad and key.shape[-2] <= FEW_POSITIONS:
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        return ((query * factor) @ key.transpose(-1, -2)).softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, scale=scale)


class _QuickGELU(Function):
    """Keeps what goes in, and nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.silu(QUICK * x, inplace=True).div_(QUICK)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grads[0], QUICK * x)


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), of any shape."""
    return _QuickGELU.apply(x)  # type: ignore[return-value]


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return quick_gelu(x)


def _shared(kind: type[Part], part: nn.Module) -> Part:
    """The same part, weights and all, as one of another class, which has the same attributes."""
    made = kind.__new__(kind)
    made.__dict__.update(part.__dict__)
    return made


class PatchConv(nn.Conv2d):
    """A convolution of patches that lie side by side, as the matrix product that it is."""

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        """Whether a convolution is one of such patches."""
        side_by_side = conv.kernel_size == conv.stride and conv.kernel_size[0] > 1
        return (
            side_by_side and conv.padding in (0, (0, 0), "valid") and conv.groups == 1
            and conv.dilation == (1, 1)
        )  # fmt: skip

    @classmethod
    def of(cls, conv: nn.Conv2d) -> PatchConv:
        """With the weights of `conv`, shared."""
        return _shared(cls, conv)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, H / h, W / w); what is left of the sides is not seen."""
        (high, wide), batch = self.kernel_size, len(input)
        rows, columns = input.shape[2] // high, input.shape[3] // wide
        seen = input[..., : rows * high, : columns * wide]
        patches = seen.reshape(batch, -1, rows, high, columns, wide).permute(0, 2, 4, 1, 3, 5)
        found = F.linear(patches.flatten(3), self.weight.flatten(1), self.bias)
        return found.permute(0, 3, 1, 2)


class _FrozenConv(Function):
    """Keeps nothing: a gradient in what goes in needs the weights alone, but PyTorch keeps what
    goes in, too, and in low precision a rounded copy of the weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: nn.Conv2d) -> Tensor:
        ctx.conv, ctx.shape, ctx.dtype = conv, x.shape, x.dtype
        return nn.Conv2d.forward(conv, x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (slope,), conv = grads, ctx.conv
        last = slope.is_contiguous(memory_format=torch.channels_last)
        # Only its shape and layout are looked at.
        like = torch.empty(
            ctx.shape, dtype=slope.dtype, device=slope.device,
            memory_format=torch.channels_last if last else torch.contiguous_format,
        )  # fmt: skip
        found = torch.ops.aten.convolution_backward(
            slope, like, conv.weight.to(slope.dtype), None, conv.stride, conv.padding,
            conv.dilation, False, [0, 0], conv.groups, [True, False, False],
        )[0]  # fmt: skip
        return found.to(ctx.dtype), None


class FrozenConv(nn.Conv2d):
    """A convolution that does not learn."""

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        """Whether a convolution can be one of these: padding, if any, with so many zeros."""
        return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)

    @classmethod
    def of(cls, conv: nn.Conv2d) -> FrozenConv:
        """With the weights of `conv`, shared."""
        return _shared(cls, conv)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, h, w)."""
        if input.device.type != "cpu" or self.weight.requires_grad:
            return super().forward(input)
        return _FrozenConv.apply(input, self)  # type: ignore[return-value]


class _NormSilu(Function):
    """silu(group norm) of a frozen network: keeps what goes in, and nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Any:
        n, c, size = len(x), x.shape[1], x[0, 0].numel()
        ordered = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
        if not ordered or x.stride(0) != x[0].numel():  # a stride of one alone may be anything
            x = x.clone(memory_format=torch.contiguous_format)
        normal, mean, rstd = torch.native_group_norm(x, weight, bias, n, c, size, groups, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.groups, ctx.eps = groups, eps
        return F.silu(normal, inplace=True)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        n, c, size, groups = len(x), x.shape[1], x[0, 0].numel(), ctx.groups
        normal = torch.native_group_norm(x, weight, bias, n, c, size, groups, ctx.eps)[0]
        slope = torch.ops.aten.silu_backward(grads[0], normal)
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            slope = slope.contiguous(memory_format=torch.channels_last)
            found = _back_from_the_last(slope, x, weight, mean, rstd, groups)
        else:
            found = torch.ops.aten.native_group_norm_backward(
                slope.contiguous(), x, mean, rstd, weight, n, c, size, groups, [True, False, False]
            )[0]
        return found, None, None, None, None


def _back_from_the_last(
    slope: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, groups: int
) -> Tensor:
    """The gradient of a group norm in `x`, whose channels lie last in memory; that in its output,
    `slope`, is used up.

    With x' = (x - mean) rstd, a group of n values has, `slope` being dz and `weight` w,
    dx = rstd (w dz - sum(w dz) / n - x' sum(w dz x') / n): for each channel a number times dz, one
    times x, and one more. PyTorch's own way takes twelve times as long in this layout as in the
    other.
    """
    batch, channels = x.shape[:2]
    seen, made = (t.permute(0, 2, 3, 1).reshape(batch, -1, channels) for t in (x, slope))
    each = channels // groups
    count = seen.shape[1] * each
    mean, rstd = (t.float().repeat_interleave(each, 1)[:, None] for t in (mean, rstd))
    weight = weight.float()

    def of_group(values: Tensor) -> Tensor:
        """(B, 1, C) -> the sum over a channel's group, of the same shape."""
        total = values.view(batch, 1, groups, each).sum(-1, keepdim=True)
        return total.expand(-1, -1, -1, each).reshape(batch, 1, channels)

    def of_channel(values: Tensor) -> Tensor:
        """(B, H W, C) -> (B, 1, C); a row at a time, so that what is rounded evens out."""
        return values.unflatten(1, x.shape[2:]).sum(2).float().sum(1, keepdim=True)

    def low(values: Tensor) -> Tensor:
        return values.to(x.dtype)

    plain, along = of_channel(made), of_channel(made * seen)
    level = of_group(weight * plain) * rstd / count
    tilt = of_group(weight * (along - mean * plain)) * rstd**3 / count
    made.mul_(low(weight * rstd)).add_(low(mean * tilt - level)).addcmul_(seen, low(-tilt))
    return made.view(batch, *x.shape[2:], channels).permute(0, 3, 1, 2)


class NormSilu(nn.GroupNorm):
    """A group norm, and SiLU of it; frozen."""

    @classmethod
    def of(cls, norm: nn.GroupNorm) -> NormSilu:
        """With the weights of `norm`, shared."""
        return _shared(cls, norm)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        if input.device.type != "cpu" or self.weight.requires_grad:
            return F.silu(super().forward(input))
        return _NormSilu.apply(input, self.weight, self.bias, self.num_groups, self.eps)  # type: ignore[return-value]
