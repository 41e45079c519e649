"""Less memory for a backward pass: blocks are computed again instead of kept; and how much it is.

Pictures that are painted and models that are trained (`--gradient-checkpointing`) both use it.

Source: Chen et al. 2016, arXiv 1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The parts of a network that stand in lists and hold no list themselves."""
    lists = (nn.ModuleList, nn.Sequential)
    found: dict[int, nn.Module] = {}
    for parent in model.modules():
        if isinstance(parent, lists):
            for child in parent:
                if not any(isinstance(part, lists) for part in child.modules()):
                    found[id(child)] = child
    return [*found.values()]


def checkpoint_blocks(model: nn.Module) -> list[nn.Module]:
    """From now on every block of `model` keeps only what goes into it -> the blocks.

    Gradients stay the same; a step takes about a third longer.
    """
    blocks = blocks_of(model)
    for block in blocks:
        # Nothing in these models is random, so there is no state to bring back.
        block.forward = partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )
    return blocks


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[None]:
    """Within, every block of `model` keeps only what goes into it.

    The backward pass may come later. One thread at a time, as blocks are changed meanwhile.
    """
    blocks = checkpoint_blocks(model)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def bytes_kept(compute: Callable[[], Any], model: object) -> int:
    """Bytes that a computation keeps for its backward pass, without the weights of `model`."""
    weights: set[int] = set()
    if isinstance(model, nn.Module):
        weights = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        # An output itself and its graph would hold each other.
        return tensor.detach()

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        made = compute()  # held until all is counted: what is freed lends its place to others
    del made
    return sum(kept.values())


def bytes_checkpointed(
    compute: Callable[[], Any], model: object, again: Sequence[nn.Module]
) -> int:
    """As `bytes_kept`, with the blocks of the networks `again` checkpointed, which are parts of
    `model`: what goes into each, and all of the largest, kept for a moment on the way back."""
    inside = [0]

    def look(block: nn.Module, args: tuple[Any, ...], more: Mapping[str, Any]) -> None:
        if torch.is_grad_enabled():
            plain = type(block).forward
            inside.append(bytes_kept(lambda: plain(block, *args, **more), block))

    with ExitStack() as stack:
        for network in again:
            stack.enter_context(checkpointed(network))
            for block in blocks_of(network):
                hook = block.register_forward_pre_hook(look, with_kwargs=True)
                stack.callback(hook.remove)
        kept = bytes_kept(compute, model)
    return kept + max(inside)
