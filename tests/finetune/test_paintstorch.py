"""Training PaintsTorch, and what both colorizers' training shares: it learns, resumes, survives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from finetune import colorizer, paintstorch
from finetune.colorizer import (
    LEVELS,
    Batches,
    Recipe,
    hint_loss,
    load,
    palette_classes,
    train,
)
from finetune.critic import Critic, critic_loss, gradient_penalty
from finetune.data.illustrations import ColourBatch, IllustrationSet
from finetune.paintstorch import PaintsTorch
from finetune.training import TrainStep
from pipelines.colorize.generator import Generator, GeneratorConfig
from pipelines.colorize.paintstorch import PaintsTorchPipeline
from pipelines.weights import save_model
from tests import tiny
from tests.tiny_colorizer import CPU, Ready, config, illustrations, small_batch

ALL_AT_ONCE = Recipe(critic_from=0.0, adversarial_from=0.0, adversarial_full=0.5)


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
) -> Iterator[TrainStep | Generator]:
    options: dict[str, Any] = {
        "config": config(), "count": 4, "save_every": 3, "report_every": 1, "samples_every": 1000,
    }  # fmt: skip
    return train(PaintsTorch(), steps, data, runs, CPU, **(options | changed))


def test_one_batch_can_be_overfitted(
    data: IllustrationSet, small: ColourBatch, tmp_path: Path
) -> None:
    never = Recipe(critic_from=2.0, adversarial_from=2.0, adversarial_full=3.0)
    events = begin(data, tmp_path, 100, peak=5e-3, save_every=1000, recipe=never)
    *steps, model = events
    told = [e.metrics for e in steps if isinstance(e, TrainStep)]
    assert len(told) == 100
    for name, part in (("colour", 0.6), ("hints", 0.6), ("helper", 0.7), ("palette", 0.7)):
        assert told[-1][name] < part * told[0][name], name
    assert isinstance(model, Generator)
    with torch.no_grad():  # what is shipped is the average
        fake = model(small.lineart, small.hints)
    assert (fake - small.picture).abs().mean() < 0.6 * small.picture.abs().mean()
    with Image.open(tmp_path / "paintstorch.png") as grid:
        assert grid.size == (5 * 64, 4 * 64)


@pytest.mark.parametrize("interrupted", ["by close", "after the checkpoint"])
def test_resuming_equals_no_interruption(
    data: IllustrationSet, small: ColourBatch, tmp_path: Path, interrupted: str
) -> None:
    *_, straight = begin(data, tmp_path / "straight", 5, recipe=ALL_AT_ONCE)
    events = begin(data, tmp_path / "resumed", 5, recipe=ALL_AT_ONCE)
    for event in events:
        assert isinstance(event, TrainStep)
        if event.step == (3 if interrupted == "by close" else 4):  # saved at 3
            break
    events.close()  # type: ignore[attr-defined]
    # Activations that are computed twice are the same ones.
    *told, resumed = begin(data, tmp_path / "resumed", 5, recipe=ALL_AT_ONCE, checkpointing=True)
    assert [e.step for e in told if isinstance(e, TrainStep)] == [4, 5]
    assert isinstance(straight, Generator)
    assert isinstance(resumed, Generator)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_step_that_is_not_finite_changes_nothing(
    data: IllustrationSet, small: ColourBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(small, picture=small.picture * float("nan"))
    calls = 0

    def byte_batch(*_: object, **__: object) -> Ready:
        nonlocal calls
        calls += 1
        return Ready(broken if calls == 4 else small)  # the first is shown, not learned from

    monkeypatch.setattr(colorizer, "byte_batch", byte_batch)
    *steps, model = begin(data, tmp_path, 5, recipe=ALL_AT_ONCE)
    skipped = [e.metrics["skipped"] for e in steps if isinstance(e, TrainStep)]
    assert skipped == [0, 0, 2, 2, 2]  # generator and critic
    assert isinstance(model, Generator)
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_run_ends_with_its_minutes(
    data: IllustrationSet, small: ColourBatch, tmp_path: Path
) -> None:
    *steps, model = begin(data, tmp_path, 10_000, minutes=1e-4)
    assert len(steps) < 10
    assert isinstance(model, Generator)
    assert (tmp_path / "paintstorch.png").exists()
    assert (tmp_path / "paintstorch.pt").exists()


@pytest.mark.parametrize("with_clip", [True, False])
def test_the_critic_joins_late(
    data: IllustrationSet, small: ColourBatch, tmp_path: Path, with_clip: bool
) -> None:
    recipe = Recipe(critic_from=0.3, adversarial_from=0.6, adversarial_full=0.9)
    clip = tiny.clip() if with_clip else None
    *steps, _ = begin(data, tmp_path, 10, recipe=recipe, clip=clip)
    told = [e.metrics for e in steps if isinstance(e, TrainStep)]
    assert [n for n, m in enumerate(told) if "distance" in m] == list(range(3, 10))
    content = [n for n, m in enumerate(told) if "content" in m]
    assert content == (list(range(10)) if with_clip else list(range(7, 10)))


def test_workers_make_the_same_batches(data: IllustrationSet) -> None:
    batches = Batches(data, 5, 2)
    alone, helped = (list(load(batches, range(3, 6), n, CPU)) for n in (0, 2))
    assert len(alone) == len(helped) == 3
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.picture, b.picture)
        assert torch.equal(a.hints, b.hints)
    assert not torch.equal(alone[0].picture, alone[1].picture)


def test_the_critic_learns_to_tell_within_its_slope() -> None:
    torch.manual_seed(0)
    critic = Critic(1, 2, (8, 8, 16, 16))
    optimizer = torch.optim.AdamW(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
    real, fake = 0.1 * torch.rand(4, 3, 32, 32), -0.1 * torch.rand(4, 3, 32, 32)
    drawing, features, mix = torch.zeros(4, 1, 32, 32), torch.zeros(4, 2, 2, 2), torch.rand(4)
    a = b = penalty = torch.zeros(())
    for _ in range(100):
        a, b = critic(real, drawing, features)[0], critic(fake, drawing, features)[0]
        penalty = gradient_penalty(critic, real, fake, drawing, features, mix)
        optimizer.zero_grad()
        (critic_loss(a, b) + 10 * penalty).backward()
        optimizer.step()
    assert (a.mean() - b.mean()).item() > 3  # the pictures are 6 apart
    assert penalty.item() < 0.5


def test_hint_loss_looks_under_hints_and_not_at_lines(small: ColourBatch) -> None:
    hints = torch.zeros_like(small.hints)
    hints[:, :, 4:6, 4:6] = torch.tensor([1.0, -1.0, 0.0, 1.0])[:, None, None]
    made = replace(small, hints=hints, lineart=torch.ones_like(small.lineart))
    right = torch.full_like(made.picture, 0.3)
    right[:, :, 16:24, 16:24] = torch.tensor([1.0, -1.0, 0.0])[:, None, None]
    assert hint_loss(right, made) == pytest.approx(0, abs=1e-6)
    assert hint_loss(torch.full_like(right, 0.3), made) > 0.5
    crossed = replace(made, lineart=-torch.ones_like(small.lineart))
    assert hint_loss(torch.full_like(right, 0.3), crossed) == 0


def test_palette_classes_name_the_colour_in_the_middle() -> None:
    flat = torch.full((1, 3, 32, 32), -1.0)
    flat[:, :, 16:] = 1.0
    flat[:, 2, 16:, 16:] = 0.0
    top = LEVELS**3 - 1
    assert palette_classes(flat).tolist() == [[[0, 0], [top, top - LEVELS // 2]]]


# --- the command --------------------------------------------------------------------------


def test_the_command_writes_what_the_pipeline_loads(
    data: IllustrationSet, small: ColourBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shape(inputs: int, features: str) -> GeneratorConfig:
        return config(inputs, features)

    monkeypatch.setattr(paintstorch, "GeneratorConfig", shape)
    out = tmp_path / "weights"
    arguments = ["--data", str(data.folder), "--out", str(out), "--runs", str(tmp_path), "--steps"]
    arguments += ["2", "--batch", "4", "--device", "cpu", "--features", "none"]
    monkeypatch.setattr(sys, "argv", ["paintstorch", *arguments])
    paintstorch.main()
    paint = PaintsTorchPipeline.from_pretrained(str(out), device="cpu")
    assert paint.painter.generator.config == config(1, "none")
    assert paint(Image.new("L", (40, 40), 255)).size == (40, 40)
    first = paint.painter.generator.state_dict()
    paintstorch.main()  # a finished run is not trained again: it writes the same model
    again = PaintsTorchPipeline.from_pretrained(str(out), device="cpu").painter.generator
    for key, value in again.state_dict().items():
        assert torch.equal(value, first[key]), key


def test_the_command_goes_on_from_a_base(
    data: IllustrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    first = Generator(config(1, "none"))
    save_model(first, first.config, tmp_path / "mine" / "paintstorch")
    arguments = ["--data", str(data.folder), "--out", str(tmp_path / "out"), "--steps", "1"]
    arguments += ["--runs", str(tmp_path), "--batch", "4", "--device", "cpu", "--peak", "1e-9"]
    start = ["--base", str(tmp_path / "mine")]
    monkeypatch.setattr(sys, "argv", ["paintstorch", *arguments, *start])
    paintstorch.main()
    again = Generator.from_pretrained(tmp_path / "out", torch.device("cpu"))
    assert again.config == first.config
    for key, value in again.state_dict().items():
        assert torch.allclose(value, first.state_dict()[key], atol=1e-3), key
    inside = Generator(config(4, "none"))
    save_model(inside, inside.config, tmp_path / "inside")
    monkeypatch.setattr(
        sys, "argv", ["paintstorch", *arguments, "--base", str(tmp_path / "inside")]
    )
    with pytest.raises(SystemExit, match="holds no paintstorch"):
        paintstorch.main()
