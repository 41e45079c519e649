"""The code transformer reads on as it reads at once, and knows mirrored pieces."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from pipelines.plan import FIELDS, PIECES
from pipelines.reader import Reader
from pipelines.vqgan_clip.clip import tokenize
from pipelines.vqgan_clip.code_transformer import Chooser, CodeTransformer, PlanFeatures, gumbel
from tests.tiny import CPU, TRANSFORMER_CONFIG, transformer


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


def test_reading_on_for_some_rows_alone() -> None:
    body = transformer().body
    x = torch.randn(3, 6, body.config.n_embd, generator=torch.Generator().manual_seed(1))
    where = torch.arange(6)
    mask = torch.ones(3, 6)
    mask[2, 0] = 0
    rows = torch.tensor([2, 0, 2, 1])
    with torch.no_grad():
        read, expected = Reader(body, mask), Reader(body, mask[rows])
        read(x[:, :4], where[:4])
        read.take(rows)
        expected(x[rows, :4], where[:4])
        for n in (4, 5):
            here = read(x[rows, n : n + 1], where[n : n + 1])
            assert torch.allclose(here, expected(x[rows, n : n + 1], where[n : n + 1]), atol=1e-5)


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


def some_plans(*words: int) -> torch.Tensor:
    return torch.cat([plan((word, 1, word % 3, 0)) for word in words])


def test_plans_that_are_given_are_kept_and_read() -> None:
    """The likeliest codes, drawn one by one, are those of one whole pass over the plan."""
    drawer, plans = transformer(), some_plans(1, 2)
    rows = [
        *drawer.sample("a fox", 2, plans=plans, guidance=1.0, top_k=1, generator=torch.Generator())
    ]
    assert all(torch.equal(row.plan, plans) for row in rows)
    ids, mask = tokenize(["a fox"] * 2, CPU)
    with torch.no_grad():
        _, logits = drawer(ids, mask, plans, rows[-1].codes)
    likeliest = torch.stack([x.argmax(-1) for x in logits], dim=-1)
    assert torch.equal(rows[-1].codes, likeliest)
    assert not torch.equal(rows[-1].codes[0], rows[-1].codes[1])


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("given", [True, False])
def test_what_is_sampled_together_is_what_is_sampled_alone(guidance: float, given: bool) -> None:
    drawer = transformer()
    prompts = ["a fox", "an owl in the forest at night, and a cat", "a fox"]
    plans = some_plans(1, 2, 3, 4, 5, 6).view(3, 2, -1) if given else None
    choose = Chooser(guidance, 0.7, 10, 2)

    def luck(k: int) -> torch.Generator:
        return torch.Generator().manual_seed(k)

    rows = [*drawer.sample_together(prompts, choose, [luck(k) for k in range(3)], plans=plans)]
    assert len(rows) == TRANSFORMER_CONFIG.grid
    for k, prompt in enumerate(prompts):
        alone = [
            *drawer.sample(
                prompt, 2, plans=None if plans is None else plans[k], guidance=guidance,
                temperature=0.7, top_k=10, generator=luck(k),
            )
        ]  # fmt: skip
        for one, other in zip(alone, [row[k] for row in rows], strict=True):
            assert torch.equal(one.plan, other.plan)
            assert torch.equal(one.codes, other.codes)
    assert not torch.equal(rows[-1][0].codes, rows[-1][2].codes)  # other luck


def test_the_likeliest_few_are_drawn_as_often_as_they_should_be() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0, -9.0]]).expand(20_000, -1)
    luck = gumbel(20_000, 4, generator=torch.Generator().manual_seed(1))
    drawn = Chooser(1.0, 0.5, 3, 20_000)(logits, luck)
    wanted = (logits[0, :3] / 0.5).softmax(0)
    assert torch.allclose(torch.bincount(drawn, minlength=4)[:3] / 20_000, wanted, atol=0.01)
    assert (drawn < 3).all()


def test_what_lies_behind_is_drawn_alike_where_pictures_have_one_scenery() -> None:
    """Whatever stands in front, and for every candidate."""
    drawer, count = transformer(), 2
    plans = torch.cat([some_plans(1, 1), some_plans(2, 2)]).view(2, count, -1)
    covered = drawer.features.covered(plans.flatten(0, 1))
    behind = ~covered.any(0)
    assert 0 < behind.sum() < len(behind)
    # One code of all is likely to be as likely as another: chance alone decides.
    choose = Chooser(1.0, 1e6, 1000, count)

    def codes(*sceneries: int | None) -> torch.Tensor:
        luck = [torch.Generator().manual_seed(k) for k in range(2)]
        shared = [None if s is None else torch.Generator().manual_seed(s) for s in sceneries]
        *_, last = drawer.sample_together(
            ["a fox", "a fox"], choose, luck, plans=plans, sceneries=shared
        )
        return torch.stack([drawn.codes for drawn in last]).flatten(0, 1)  # (4, N, G)

    same, other, own = codes(7, 7), codes(7, 8), codes(None, None)
    assert all(torch.equal(one[behind], same[0][behind]) for one in same)
    front = covered.all(0)
    assert not any(torch.equal(a[front], b[front]) for a, b in pairwise(same))
    assert torch.equal(other[:count], same[:count])
    assert not torch.equal(other[2][behind], same[2][behind])
    assert not torch.equal(own[0][behind], own[1][behind])
    assert torch.equal(own[covered], same[covered])


def test_pages_like_what_their_empty_stage_has_where_nothing_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawer, count = transformer(), 2
    stage = torch.zeros_like(some_plans(1, 1))
    plans = torch.cat([some_plans(1, 1), some_plans(2, 2), stage]).view(3, count, -1)
    covered = drawer.features.covered(plans.flatten(0, 1)).view(3, count, -1)
    assert not covered[2].any()

    def codes(temperature: float, *stages: int | None) -> torch.Tensor:
        luck = [torch.Generator().manual_seed(k) for k in range(3)]
        *_, last = drawer.sample_together(
            ["a fox", "an owl", "by day"], Chooser(1.5, temperature, 1000, count), luck,
            plans=plans, stages=stages,
        )  # fmt: skip
        return torch.stack([drawn.codes for drawn in last])  # (3, count, N, G)

    free = codes(0.3)
    some = codes(0.3, 2, None, None)
    monkeypatch.setattr("pipelines.vqgan_clip.code_transformer.LIKED", 100.0)  # so much decides
    alike = codes(0.3, 2, None, None)
    there = alike[2, 0]
    assert torch.equal(alike[2], free[2])  # nothing changes for the stage
    assert torch.equal(alike[1], free[1])  # nor for who has none
    for one, before, held in zip(alike[0], free[0], covered[0], strict=True):
        assert torch.equal(one[~held], there[~held])
        assert not torch.equal(before[~held], there[~held])
        assert not torch.equal(one[held], there[held])
    # With what a page usually likes it, the stage is no rule.
    nothing = ~covered[0, 0]
    shared = [(c[0, 0] == there)[nothing].all(1).sum() for c in (free, some, alike)]
    assert shared[0] < shared[1] < shared[2]
