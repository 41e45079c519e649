"""The code transformer reads on as it reads at once, and knows mirrored pieces."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.plan import FIELDS, PIECES
from pipelines.reader import Reader
from pipelines.vqgan_clip.code_transformer import CodeTransformer, PlanFeatures
from tests.tiny import TRANSFORMER_CONFIG, transformer


@pytest.mark.parametrize("first", [1, 5, 9])
def test_reading_on_is_reading_at_once(first: int) -> None:
    body = transformer().body
    x = torch.randn(3, 12, body.config.n_embd, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(3, 12, dtype=torch.long)
    mask[1, 2:4] = 0  # a shorter prompt
    where = torch.arange(12)
    with torch.no_grad():
        expected = body(x, where, mask)
        read = Reader(body, mask)
        steps = [(0, first), *((n, n + 1) for n in range(first, 12))]
        found = torch.cat([read(x[:, a:b], where[a:b]) for a, b in steps], dim=1)
    assert torch.allclose(found[mask == 1], expected[mask == 1], atol=1e-4)


def plan(*pieces: tuple[int, int, int, int]) -> torch.Tensor:
    rest = [(0, 0, 0, 0)] * (PIECES - len(pieces))
    return torch.tensor([*pieces, *rest]).view(1, PIECES * FIELDS)


def test_a_mirrored_piece_has_its_parts_from_right_to_left() -> None:
    config = replace(TRANSFORMER_CONFIG, mirrored=True)  # grid 4, sizes 2 and 3
    features = PlanFeatures(config)
    for k in range(2):  # the same for both ways, so that only the order of the parts differs
        features.layers[2 + k].load_state_dict(features.layers[k].state_dict())
    with torch.no_grad():
        plain = features(plan((3, 1, 0, 1))).view(4, 4, -1)  # 3 cells wide at column 1
        mirrored = features(plan((3, 1, 0, 1 + len(config.sizes)))).view(4, 4, -1)
    assert torch.equal(mirrored[:3, 1:], plain[:3, 1:].flip(1))
    assert not torch.equal(mirrored[:3, 1:], plain[:3, 1:])
    assert plain[3].abs().sum() == plain[:, 0].abs().sum() == 0  # nothing where no piece is


def test_models_without_mirrored_pieces_have_fewer_kinds() -> None:
    plain, mirrored = (replace(TRANSFORMER_CONFIG, mirrored=m) for m in (False, True))
    assert plain.field_sizes[3] * 2 == mirrored.field_sizes[3]
    assert CodeTransformer(mirrored).plan_out[3].out_features == mirrored.field_sizes[3]
