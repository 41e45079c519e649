"""Less memory for a backward pass: blocks are computed again instead of kept.

Source: Chen et al. 2016, arXiv 1604.06174.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
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


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[None]:
    """Within, every block of `model` keeps only what goes into it.

    The backward pass may come later. One thread at a time, as blocks are changed meanwhile.
    """
    blocks = blocks_of(model)
    for block in blocks:
        # Nothing in these models is random, so there is no state to bring back.
        block.forward = partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
