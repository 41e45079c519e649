"""Training the planner of colours: its targets, it learns, it resumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from finetune import colorizer
from finetune.data.illustrations import UNKNOWN, ColourBatch, IllustrationSet
from finetune.planner import (
    alike,
    choose_palette,
    hide,
    loss_of,
    naming_loss,
    train,
    wanted_colours,
)
from finetune.training import TrainStep
from pipelines.colorize.planner import Planner, PlannerConfig
from pipelines.scene import vocabulary
from tests.tiny_colorizer import CPU, Ready, illustrations, small_batch

TINY = PlannerConfig(colours=24, width=32, blocks=2, heads=2, feature_width=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> IllustrationSet:
    return illustrations(tmp_path_factory.mktemp("set"))


@pytest.fixture
def small(data: IllustrationSet, monkeypatch: pytest.MonkeyPatch) -> ColourBatch:
    """The same 64x64 pictures at every step."""
    made = small_batch(data)
    monkeypatch.setattr(colorizer, "byte_batch", lambda *_, **__: Ready(made))
    return made


def begin(
    data: IllustrationSet, runs: Path, steps: int, **changed: Any
) -> Iterator[TrainStep | Planner]:
    options: dict[str, Any] = {
        "config": TINY, "count": 4, "save_every": 3, "report_every": 1, "samples_every": 1000,
    }  # fmt: skip
    return train(steps, data, runs, CPU, **(options | changed))


def test_one_batch_can_be_overfitted(
    data: IllustrationSet, small: ColourBatch, tmp_path: Path
) -> None:
    *steps, model = begin(data, tmp_path, 150, peak=1e-2, save_every=1000)
    told = [e.metrics for e in steps if isinstance(e, TrainStep)]
    assert np.mean([t["right"] for t in told[-20:]]) > 0.8
    assert np.mean([t["named"] for t in told[-20:]]) > 0.8
    assert isinstance(model, Planner)
    wanted = wanted_colours(small, model.palette)
    drawing = model.read(small.lineart)
    plan = model.plan(drawing, small.hints, torch.Generator().manual_seed(0), temperature=0)
    right = (plan - model.palette[wanted].permute(0, 3, 1, 2)).abs().amax(dim=1) < 1e-4
    assert right.float().mean() > 0.8  # the average plans what was learned
    with Image.open(tmp_path / "planner.png") as grid:
        assert grid.height % 256 == 0


def test_resuming_equals_no_interruption(
    data: IllustrationSet, small: ColourBatch, tmp_path: Path
) -> None:
    *_, straight = begin(data, tmp_path / "straight", 5)
    events = begin(data, tmp_path / "resumed", 5)
    for event in events:
        if isinstance(event, TrainStep) and event.step == 4:  # saved at 3
            break
    events.close()  # type: ignore[attr-defined]
    # Activations that are computed twice are the same ones.
    *told, resumed = begin(data, tmp_path / "resumed", 5, checkpointing=True)
    assert [e.step for e in told if isinstance(e, TrainStep)] == [4, 5]
    assert isinstance(straight, Planner)
    assert isinstance(resumed, Planner)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_it_can_start_from_a_planner(data: IllustrationSet, tmp_path: Path) -> None:
    *_, first = begin(data, tmp_path / "a", 1)
    assert isinstance(first, Planner)
    *_, second = begin(data, tmp_path / "b", 1, base=first, peak=0.0, config=PlannerConfig())
    assert isinstance(second, Planner)
    assert second.config == TINY
    for key, value in first.state_dict().items():
        assert torch.allclose(second.state_dict()[key], value), key


def test_a_cell_wants_the_colour_of_most_of_its_paper() -> None:
    palette = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, -1]])  # red, green, ink
    flat = palette[0][None, :, None, None].repeat(1, 1, 32, 32)
    flat[:, :, :16, :16] = palette[2][None, :, None, None]  # a thick line
    flat[:, :, :4, :4] = palette[1][None, :, None, None]  # paper beside it
    lines = torch.ones(1, 1, 32, 32)
    lines[:, :, :16, :16] = -1
    lines[:, :, :4, :4] = 1
    things = torch.zeros(1, 2, 2, dtype=torch.int64)
    made = ColourBatch(lines, flat, flat, torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 32, 32), things)
    assert wanted_colours(made, palette).tolist() == [[[1, 0], [0, 0]]]


def test_cells_are_named_where_that_is_known_and_the_drawing_seen() -> None:
    place = len(vocabulary())
    things = torch.tensor([[[1, UNKNOWN, place]], [[0, 2, place]]])
    names = torch.zeros(2, 1, 3, place + 1, requires_grad=True)
    shown = torch.tensor([True, False])
    loss, _ = naming_loss(names, things, shown)
    assert loss.item() == pytest.approx(np.log(place + 1), abs=1e-4)
    loss.backward()
    assert names.grad is not None
    touched = names.grad.abs().sum(-1)
    assert (touched > 0).tolist() == [[[True, False, True]], [[False, False, False]]]
    assert touched[0, 0, 2] < 0.1 * touched[0, 0, 0]  # a place counts for little
    right = torch.nn.functional.one_hot(things.clamp_min(0), place + 1).float() * 100
    assert [t.item() for t in naming_loss(right, things, shown)] == [0, 1]
    nowhere = torch.zeros_like(names)
    nowhere[..., place] = 100  # knows the places, and nothing else
    assert naming_loss(nowhere, things, shown)[1].item() == 0
    none, share = naming_loss(names, torch.full_like(things, UNKNOWN), shown)
    assert (none.item(), share.item()) == (0, 0)
    none.backward()  # still a loss: every process has gradients


def test_only_hidden_cells_count() -> None:
    wanted = torch.arange(64).view(1, 8, 8) % 3
    cells = hide(wanted, 3, torch.Generator().manual_seed(2))
    assert torch.equal(cells.tokens == 3, cells.hidden)
    assert torch.equal(cells.tokens[~cells.hidden], wanted[~cells.hidden])
    logits = torch.nn.functional.one_hot(wanted, 3).float() * 100
    wrong = torch.where(cells.hidden[..., None], logits, -logits)
    loss, right = loss_of(wrong, cells, torch.eye(3))
    assert (float(loss), float(right)) == (0, 1)
    shares = [
        float(hide(wanted, 3, torch.Generator().manual_seed(n)).hidden.float().mean())
        for n in range(200)
    ]
    assert min(shares) < 0.1
    assert 0.55 < np.mean(shares) < 0.72  # 2 / pi


def test_the_palette_is_of_the_set_and_like_colours_pass_for_each_other(
    data: IllustrationSet,
) -> None:
    palette = choose_palette(data, 24, np.random.default_rng(0))
    assert palette.shape == (24, 3)
    assert palette.abs().max() <= 1
    near = alike(torch.tensor([[0.0, 0, 0], [0.01, 0, 0], [1, -1, -1]]))
    assert torch.allclose(near.sum(dim=1), torch.ones(3))
    assert near[0, 1] > 0.4
    assert near[0, 2] < 1e-6
