"""Training the VQGAN: it learns, it resumes, its command writes what the pipeline loads."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune import vqgan as command
from finetune.data.scenes import sample_record
from finetune.training import TrainStep
from finetune.vqgan import crops, reconstruction_loss, train
from pipelines.painter import GRID, SIZE
from pipelines.vqgan_clip.vqgan import VQGAN
from tests.tiny import CPU, VQGAN_CONFIG


def begin(runs: Path, steps: int, **changed: Any) -> Iterator[TrainStep | VQGAN]:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "config": VQGAN_CONFIG, "batch": 4, "side": 32, "warmup": 1, "save_every": 3,
        "report_every": 1,
    }  # fmt: skip
    return train(steps, runs, CPU, **(options | changed))


def test_crops_lie_on_the_grid_and_show_clip_art() -> None:
    pixels, weights = crops(random.Random(1), 12, 64)
    assert pixels.shape == (12, 3, 64, 64)
    assert weights.shape == (12, 1, 64, 64)
    assert pixels.min() >= -1
    assert pixels.max() <= 1
    assert weights.min() == 1  # background
    assert weights.max() == 3  # clip art
    shows = (weights.flatten(1).amax(1) > 1).float().mean()
    assert shows > 0.6  # two of three are drawn around a piece of clip art
    rng = random.Random(1)  # each is cut out of the page at multiples of GRID
    page = np.asarray(sample_record(rng, "train").paint(rng).picture)
    cuts = [
        page[y : y + 64, x : x + 64]
        for y in range(0, SIZE - 63, GRID)
        for x in range(0, SIZE - 63, GRID)
    ]
    for crop in pixels[:3]:
        found = ((crop + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        assert any((found == cut).all() for cut in cuts)


def test_crops_of_whole_pages_and_the_same_for_the_same_seed() -> None:
    (a, _), (b, _), (c, _) = (crops(random.Random(seed), 2, SIZE) for seed in (1, 1, 2))
    assert a.shape == (2, 3, SIZE, SIZE)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_reconstruction_loss() -> None:
    real = torch.zeros(1, 3, 8, 8)
    weight = torch.ones(1, 1, 8, 8)
    assert reconstruction_loss(real, real, weight) == 0
    assert reconstruction_loss(real + 0.5, real, weight) == pytest.approx(0.5)  # no edges moved
    assert reconstruction_loss(real + 0.5, real, 3 * weight) == pytest.approx(1.5)
    edge = real.clone()
    edge[..., 4:] = 0.5  # one column of differences, 8 of 56
    assert reconstruction_loss(edge, real, weight) == pytest.approx(0.25 + 0.5 * 0.5 / 7)


def test_one_batch_can_be_overfitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = crops(random.Random(1), 4, 32)
    monkeypatch.setattr(command, "crops", lambda *_: batch)
    events = begin(tmp_path, 120, warmup=60, peak=0.05, save_every=1000)
    *steps, model = events
    losses = [e.metrics["loss"] for e in steps if isinstance(e, TrainStep)]
    assert len(losses) == 120
    assert min(losses[50:60]) < 0.6 * losses[0]
    assert losses[-1] < 0.5 * losses[0]  # with codes, too
    assert isinstance(model, VQGAN)
    with torch.no_grad():  # what is shipped is the average, with codes
        fake = model.decode(model.quantizer(model.encode(batch[0]))[0])
    assert reconstruction_loss(fake, *batch) < 0.6 * losses[0]
    used = [e.metrics["codes"] for e in steps if isinstance(e, TrainStep)]
    assert max(used[:60]) == 0
    assert used[-1] > 4


@pytest.mark.parametrize("interrupted", ["by close", "after the checkpoint"])
def test_resuming_equals_no_interruption(tmp_path: Path, interrupted: str) -> None:
    *_, straight = begin(tmp_path / "straight", 5)
    events = begin(tmp_path / "resumed", 5)
    for event in events:
        assert isinstance(event, TrainStep)
        if event.step == (3 if interrupted == "by close" else 4):  # saved at 3
            break
    events.close()  # type: ignore[attr-defined]
    torch.manual_seed(99)  # nothing may hang on the process's own random state
    *told, resumed = train(
        5, tmp_path / "resumed", CPU, config=VQGAN_CONFIG, batch=4, side=32, warmup=1,
        save_every=3, report_every=1,
    )  # fmt: skip
    assert [e.step for e in told if isinstance(e, TrainStep)] == [4, 5]
    assert isinstance(straight, VQGAN)
    assert isinstance(resumed, VQGAN)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_the_command_writes_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = functools.partial(train, config=VQGAN_CONFIG, side=32, warmup=1)
    monkeypatch.setattr(command, "train", small)
    out = tmp_path / "weights" / "vqgan"
    arguments = ["--steps", "3", "--batch", "4", "--out", str(out), "--runs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["vqgan", *arguments, "--device", "cpu"])
    command.main()
    model = VQGAN.from_pretrained(out, CPU)
    assert model.config == VQGAN_CONFIG
    assert model.decode(model.encode(torch.zeros(1, 3, 64, 64))).isfinite().all()
    command.main()  # a finished run is not trained again: it writes the same model
    again = VQGAN.from_pretrained(out, CPU)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
