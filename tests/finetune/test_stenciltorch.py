"""Training StencilTorch: what it sees, what it is judged on, that it learns."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from finetune import colorizer, paintstorch, stenciltorch
from finetune.colorizer import Recipe, train
from finetune.data.illustrations import ColourBatch, IllustrationSet
from finetune.stenciltorch import StencilTorch
from finetune.training import TrainStep
from pipelines.colorize.generator import Generator
from pipelines.colorize.stenciltorch import StencilTorchPipeline
from tests.tiny_colorizer import CPU, Ready, config, illustrations, small_batch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> IllustrationSet:
    return illustrations(tmp_path_factory.mktemp("set"))


@pytest.fixture
def small(data: IllustrationSet) -> ColourBatch:
    """64x64 pictures of which the left half is masked."""
    made = small_batch(data)
    mask = torch.zeros_like(made.mask)
    mask[..., :32] = 1
    return replace(made, mask=mask)


@pytest.fixture
def always(small: ColourBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colorizer, "byte_batch", lambda *_, **__: Ready(small))


def test_it_sees_lines_inside_and_colours_outside(small: ColourBatch) -> None:
    seen = StencilTorch().see(small)
    assert seen.shape == (4, 4, 64, 64)
    assert torch.equal(seen[:, :3, :, :32], small.lineart.expand(-1, 3, -1, -1)[..., :32])
    assert torch.equal(seen[:, :3, :, 32:], small.picture[..., 32:])
    assert torch.equal(seen[:, 3:], small.mask)


def test_hints_count_inside(small: ColourBatch) -> None:
    ready = StencilTorch().prepare(replace(small, hints=torch.ones_like(small.hints)))
    assert (ready.hints[..., :8] == 1).all()
    assert (ready.hints[..., 8:] == 0).all()
    assert torch.equal(ready.mask, small.mask)


def test_outside_is_pasted_back(small: ColourBatch) -> None:
    fake = torch.full_like(small.picture, 0.25)
    pasted = StencilTorch().paste(fake, small)
    assert (pasted[..., :32] == 0.25).all()
    assert torch.equal(pasted[..., 32:], small.picture[..., 32:])


@pytest.mark.usefixtures("always")
def test_one_batch_can_be_overfitted(data: IllustrationSet, tmp_path: Path) -> None:
    never = Recipe(critic_from=2.0, adversarial_from=2.0, adversarial_full=3.0)
    events = train(
        StencilTorch(), 100, data, tmp_path, CPU, config=config(4), recipe=never, count=4,
        peak=5e-3, save_every=1000, report_every=1, samples_every=1000,
    )  # fmt: skip
    *steps, model = events
    told = [e.metrics for e in steps if isinstance(e, TrainStep)]
    for name, part in (("colour", 0.6), ("helper", 0.7)):  # the guide learns, too
        assert told[-1][name] < part * told[0][name], name
    assert isinstance(model, Generator)
    with Image.open(tmp_path / "stenciltorch.png") as grid:
        assert grid.size == (5 * 64, 4 * 64)


@pytest.mark.usefixtures("always")
def test_resuming_equals_no_interruption(data: IllustrationSet, tmp_path: Path) -> None:
    def begin(runs: Path) -> list[TrainStep | Generator]:
        return list(
            train(StencilTorch(), 4, data, runs, CPU, config=config(4), count=4, save_every=2)
        )

    straight = begin(tmp_path / "straight")[-1]
    events = train(
        StencilTorch(), 4, data, tmp_path / "resumed", CPU, config=config(4), count=4,
        save_every=2, report_every=1,
    )  # fmt: skip
    assert next(e.step for e in events if isinstance(e, TrainStep) and e.step == 3) == 3
    events.close()  # type: ignore[attr-defined]
    resumed = begin(tmp_path / "resumed")[-1]
    assert isinstance(straight, Generator)
    assert isinstance(resumed, Generator)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.usefixtures("always")
def test_the_command_writes_what_the_pipeline_loads(
    data: IllustrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        paintstorch, "GeneratorConfig", lambda inputs, features: config(inputs, features)
    )
    out = tmp_path / "weights"
    arguments = ["--data", str(data.folder), "--out", str(out), "--runs", str(tmp_path), "--steps"]
    monkeypatch.setattr(sys, "argv", ["stenciltorch", *arguments, "2", "--device", "cpu"])
    stenciltorch.main()
    paint = StencilTorchPipeline.from_pretrained(str(out), device="cpu")
    assert paint.painter.generator.config == config(4)
    assert paint(Image.new("L", (40, 40), 255)).size == (40, 40)
