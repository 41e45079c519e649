"""Plans that the painter's rules give to a scene."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.layout import GRID, lay_out
from pipelines.plan import FIELDS, PIECES, SIDES, plan_scene, word_numbers
from pipelines.scene import PLACES, parse_brief, vocabulary

CELLS = 16


def pieces(brief: str, seed: int) -> list[tuple[str, int, int, int]]:
    """Word, column, row and side of each piece."""
    names = {number: word for word, number in word_numbers().items()}
    plan = np.reshape(plan_scene(parse_brief(brief), random.Random(seed)), (PIECES, FIELDS))
    return [(names[w], x, y, SIDES[kind % len(SIDES)]) for w, x, y, kind in plan.tolist() if w]


@pytest.mark.parametrize("seed", range(20))
def test_who_is_in_bed_and_who_is_not(seed: int) -> None:
    for brief, sleeper, other in (
        ("cat near owl in bed @room night", "owl", "cat"),
        ("owl near cat in bed @room night", "cat", "owl"),
    ):
        found = {word: (x, y, side) for word, x, y, side in pieces(brief, seed)}
        assert set(found) == {"cat", "owl", "bed"}

        def apart(word: str, found: dict[str, tuple[int, int, int]] = found) -> float:
            (x, _, side), (bed, _, wide) = found[word], found["bed"]
            return abs(x + side / 2 - bed - wide / 2)

        assert apart(sleeper) <= 1 < apart(other)


@given(
    st.lists(st.sampled_from([*vocabulary()]), min_size=1, max_size=4, unique=True),
    st.sampled_from([*PLACES]),
    st.integers(0, 2**31),
)
def test_every_word_has_its_piece_on_the_page(words: list[str], place: str, seed: int) -> None:
    found = pieces(f"{' + '.join(words)} @{place} day", seed)
    assert sorted({word for word, *_ in found}) == sorted(words)
    for _, x, y, side in found:
        assert min(x, y) >= 0
        assert max(x, y) + side <= CELLS


def test_a_plan_is_a_simple_layout() -> None:
    scene = parse_brief("fox holding kite @garden day")
    layout = lay_out(scene, random.Random(3), simple=True)
    assert pieces(str(scene), 3) == [
        (p.word, p.x // GRID, p.y // GRID, p.size // GRID) for p in layout
    ]
