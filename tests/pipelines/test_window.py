"""Pictures larger than the code transformer's grid, drawn within a sliding window."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from pipelines.plan import FIELDS, PIECES
from pipelines.vqgan_clip.clip import tokenize
from pipelines.vqgan_clip.code_transformer import CodeTransformer
from pipelines.vqgan_clip.window import WindowReader, drawn_grid, sample, window_of
from tests.tiny import CPU, TRANSFORMER_CONFIG

CONFIG = replace(TRANSFORMER_CONFIG, words=0)
GRID = CONFIG.grid


@pytest.fixture(scope="module")
def transformer() -> CodeTransformer:
    torch.manual_seed(3)
    model = CodeTransformer(CONFIG)
    for weight in model.parameters():
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=0.3)
    return model.eval().requires_grad_(False)


def test_windows_hold_their_positions_and_half_a_window_before_them() -> None:
    for size in ((16, 16), (16, 40), (23, 31)):
        for row in range(size[0]):
            for column in range(size[1]):
                top, left = window_of(row, column, size, 16)
                assert 0 <= row - top < 16
                assert 0 <= column - left < 16
                assert top + 16 <= size[0]
                assert left + 16 <= size[1]
                assert row - top >= min(row, 7)
                assert column - left >= min(column, 7)


def test_equals_full_attention_inside_one_window(transformer: CodeTransformer) -> None:
    """Every position of a grid of 6x9 is read as in the window it is drawn in, read whole."""
    size = (6, 9)
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(CONFIG.codebook_size, (2, 54, 2), generator=generator)
    plan = torch.zeros(2, PIECES * FIELDS, dtype=torch.long)
    prompts = ["a fox in the forest", "an owl"]
    reader = WindowReader(transformer, prompts, plan, size)
    whole = codes.view(2, *size, 2)
    for position in range(54):
        row, column = divmod(position, size[1])
        top, left = window_of(row, column, size, GRID)
        inside = whole[:, top : top + GRID, left : left + GRID].flatten(1, 2)
        place = (row - top) * GRID + column - left
        _, logits = transformer(*tokenize(prompts, CPU), plan, inside)
        hidden = reader(codes[:, :position])
        found = transformer.head(hidden[:, None], codes[:, position : position + 1])
        for mine, full in zip(found, logits, strict=True):
            assert torch.allclose(mine[:, 0], full[:, place], atol=1e-4), (row, column)


@pytest.mark.parametrize("size", [(GRID, GRID), (6, GRID), (5, 7)])
def test_samples_of_any_size(transformer: CodeTransformer, size: tuple[int, int]) -> None:
    def draw(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [d.codes for d in sample(transformer, "a fox", 2, size, generator=generator)]

    rows = draw(5)
    assert [r.shape for r in rows] == [(2, size[1] * n, 2) for n in range(1, size[0] + 1)]
    for before, after in pairwise(rows):
        assert torch.equal(after[:, : before.shape[1]], before)
    assert torch.equal(draw(5)[-1], rows[-1])
    assert not torch.equal(draw(6)[-1], rows[-1])
    if size[1] == GRID:  # within the first window it draws what the transformer alone draws
        own = list(transformer.sample("a fox", 2, generator=torch.Generator().manual_seed(5)))
        assert torch.equal(own[-1].codes, rows[GRID - 1])


def test_transformers_that_plan_draw_their_own_size() -> None:
    assert drawn_grid(CONFIG, (6, 9)) == (6, 9)
    assert drawn_grid(CONFIG, (6, 3)) == (GRID, GRID)  # too small for a window
    assert drawn_grid(TRANSFORMER_CONFIG, (6, 9)) == (GRID, GRID)
