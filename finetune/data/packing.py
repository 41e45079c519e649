"""Texts as sequences of one length for a plain language model, no token lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SKIPPED = -100
"""Target of a token that is not learned; what PyTorch's cross-entropy leaves out."""


def pack(documents: Iterable[Sequence[int]], block: int, between: int) -> list[list[int]]:
    """Documents one behind the other, `between` before, between and after them, in blocks.

    A block begins with the last token of the one before it, which it only reads: so each token
    but the first is a target exactly once. All blocks have `block` tokens but the last, which has
    at least two.
    """
    stream = [between]
    for ids in documents:
        stream += [*ids, between]
    step = block - 1
    return [stream[k : k + block] for k in range(0, max(len(stream) - 1, 0), step)]
