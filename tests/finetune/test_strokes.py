"""Simulated hints and masks: the colours under them, in their place, like a person's."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.data.strokes import recolour, simulate_hints, simulate_mask
from pipelines.colorize.hints import CELL

SIDE = 128
FLAT = np.zeros((SIDE, SIDE, 3), np.uint8)
FLAT[:] = (40, 90, 200)
FLAT[: SIDE // 2, : SIDE // 2] = (220, 60, 30)
FLAT[80:100, 80:100] = (250, 230, 90)


def test_no_and_full_hints() -> None:
    rng = np.random.default_rng(0)
    assert not simulate_hints(FLAT, rng, regime="none").any()
    full = simulate_hints(FLAT, rng, regime="full")
    assert full.shape == (4, SIDE // CELL, SIDE // CELL)
    assert (full[3] == 1).all()
    assert np.array_equal(full[:3].transpose(1, 2, 0), FLAT[2::CELL, 2::CELL])
    with pytest.raises(ValueError, match="some"):
        simulate_hints(FLAT, rng, regime="some")


def test_sparse_hints_are_few_and_true() -> None:
    cells = FLAT[2::CELL, 2::CELL]
    colours = {tuple(c) for c in cells.reshape(-1, 3).tolist()}
    shares, true = [], []
    for seed in range(60):
        hints = simulate_hints(FLAT, np.random.default_rng(seed), regime="sparse")
        there = hints[3] == 1
        assert there.any()
        assert set(np.unique(hints[3])) <= {0, 1}
        assert not hints[:3, ~there].any()
        painted = hints[:3].transpose(1, 2, 0)
        assert {tuple(c) for c in painted[there].tolist()} <= colours
        shares.append(there.mean())
        true.append((painted == cells).all(2)[there].mean())
    assert np.median(shares) < 0.3
    assert max(shares) > 0.3  # now and then all of a colour
    assert 0.8 < np.mean(true) < 1  # most strokes are tidy, not all


def test_hints_begin_where_they_are_told() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        hints = simulate_hints(FLAT, rng, regime="sparse", sure=((22, 22),))
        assert hints[3, 22, 22] == 1


def test_things_change_their_colours_whole() -> None:
    changed = 0
    for seed in range(20):
        picture, flat = FLAT.copy(), FLAT.copy()
        noise = np.random.default_rng(seed).integers(0, 5, FLAT.shape, np.uint8)
        picture += noise
        cells = recolour(picture, flat, np.random.default_rng(seed))
        touched = (flat != FLAT).any(2)
        changed += touched.any()
        # Whole things or nothing, in the picture as in its flat copy.
        for part in (FLAT == (220, 60, 30)).all(2), (FLAT == (250, 230, 90)).all(2):
            assert touched[part].all() or not touched[part].any()
        assert np.abs(picture.astype(int) - flat).max() < 5
        assert not touched.any() or cells
    assert changed > 5  # the ground is too large to be a thing


def test_masks() -> None:
    shares = []
    for seed in range(80):
        mask = simulate_mask(FLAT, np.random.default_rng(seed))
        assert mask.shape == FLAT.shape[:2]
        assert set(np.unique(mask)) <= {0, 1}
        assert mask.any()
        shares.append(mask.mean())
    assert (np.array(shares) == 1).any()
    assert 0.1 < np.median(shares) < 0.7


def test_same_seed_same_hints() -> None:
    for make in (
        lambda rng: simulate_hints(FLAT, rng, regime="sparse"),
        lambda rng: simulate_mask(FLAT, rng),
    ):
        once, again = (make(np.random.default_rng(3)) for _ in "ab")
        assert np.array_equal(once, again)
        assert not np.array_equal(once, make(np.random.default_rng(4)))


def test_coarse_hints_are_what_most_of_a_block_is() -> None:
    flat = np.zeros((64, 64, 3), np.uint8)  # 16 x 16 cells
    flat[:, 40:] = (200, 30, 40)  # the line between the two is where no block of 3 or 4 ends
    colours = {(0, 0, 0), (200, 30, 40)}
    for seed in range(6):
        hints = simulate_hints(flat, np.random.default_rng(seed), regime="coarse")
        assert hints[3].all()
        assert {tuple(c) for c in hints[:3].reshape(3, -1).T.tolist()} == colours
        right = (hints[0] > 0) == (flat[2::4, 2::4, 0] > 0)
        assert right.mean() > 0.85
        assert right[:, :8].all()
        assert right[:, 12:].all()
