"""The plan of a picture: which word stands where, how large, and whether it is mirrored.

The code transformer reads it between the sentence and the codes, and learned from those that the
painter's layouts are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

from pipelines.layout import GRID, SIMPLE_SIZES, Placed, lay_out
from pipelines.scene import Scene, vocabulary

PIECES = 6
"""Most pieces a plan holds; what a scene has beyond that stays unplanned."""

FIELDS = 4
"""A piece is told by its word (0 = no piece), column, row, and which size it has (mirrored pieces
count on after the last size)."""

SIDES = tuple(size // GRID for size in SIMPLE_SIZES)
"""Of the pieces of a simple layout, in cells."""


@cache
def word_numbers() -> dict[str, int]:
    """Of the story world's words, as a plan tells them."""
    return {word: 1 + n for n, word in enumerate(vocabulary())}


def plan_of(layout: Sequence[Placed]) -> list[int]:
    """The plan that a simple layout is: far to near, the nearest PIECES of it."""
    values: list[int] = []
    for p in layout[-PIECES:]:
        kind = SIMPLE_SIZES.index(p.size) + len(SIMPLE_SIZES) * p.flip
        values += [word_numbers()[p.word], p.x // GRID, p.y // GRID, kind]
    return values + [0] * (PIECES * FIELDS - len(values))


def plan_scene(scene: Scene, rng: random.Random) -> list[int]:
    """One of the plans that the painter would have for a scene."""
    return plan_of(lay_out(scene, rng, simple=True))
