"""Training StablePaint: both phases learn, it resumes, its command writes a model."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from finetune import stablepaint as command
from finetune.data.illustrations import ColourBatch, IllustrationSet, batch, build
from finetune.data.picture_sources import ClipArt
from finetune.sharpen import PatchDiscriminator
from finetune.stablepaint import (
    Batches,
    View,
    denoiser_loss,
    descend,
    load,
    picture_loss,
    train,
    view,
)
from finetune.training import TrainStep
from pipelines.colorize.denoiser import Condition, StablePaint
from pipelines.colorize.stablepaint import StablePaintPipeline
from pipelines.weights import save_model
from tests.pipelines.test_stablepaint import NETWORKS, tiny
from tests.tiny import CPU


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> IllustrationSet:
    return build(tmp_path_factory.mktemp("set"), [ClipArt()], 4, seed=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small critic, and parts of 64x64 instead of what is seen on a GPU."""
    monkeypatch.setattr(command, "PatchDiscriminator", functools.partial(PatchDiscriminator, 4))

    def part(made: ColourBatch, rng: np.random.Generator) -> View:
        y, x = (32 * int(rng.integers(7)) for _ in range(2))
        across = (slice(y, y + 64), slice(x, x + 64))
        cells = (slice(y // 4, y // 4 + 16), slice(x // 4, x // 4 + 16))
        return View(made.lineart[:, :, *across], made.picture[:, :, *across],
                    made.hints[:, :, *cells])  # fmt: skip

    monkeypatch.setattr(command, "view", part)


def start(
    data: IllustrationSet, runs: Path, steps: int, **changed: Any
) -> Iterator[TrainStep | StablePaint]:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "config": NETWORKS, "count": 2, "autoencoder": 0.5, "save_every": 3, "report_every": 1,
        "samples": False,
    }  # fmt: skip
    return train(steps, runs, CPU, data, **(options | changed))


def fixed(monkeypatch: pytest.MonkeyPatch, data: IllustrationSet) -> None:
    """The same view at every step."""
    batches = [Batches(data, 0, 2)[0]]
    one = command.view(batches[0].on(CPU), np.random.default_rng(1))
    monkeypatch.setattr(command, "view", lambda *_: one)
    monkeypatch.setattr(command, "load", lambda *_: cycle(batches))


def losses(events: list[TrainStep | StablePaint], *, denoising: bool) -> list[float]:
    steps = [e for e in events if isinstance(e, TrainStep)]
    return [e.metrics["loss"] for e in steps if e.metrics["denoising"] == denoising]


def test_the_autoencoder_can_overfit_one_batch(
    data: IllustrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed(monkeypatch, data)
    events = list(start(data, tmp_path, 90, autoencoder=1.0, peak=1e-2, save_every=1000))
    told = losses(events, denoising=False)
    assert len(told) == 90  # the adversary joins at 63
    assert min(told[50:62]) < 0.4 * told[0]
    psnr = [e.metrics["psnr"] for e in events if isinstance(e, TrainStep)]
    assert psnr[-1] > psnr[0] + 5


def test_the_denoiser_can_overfit_one_batch(
    data: IllustrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed(monkeypatch, data)
    events = list(
        start(data, tmp_path, 150, autoencoder=0.2, peak=1e-2, denoiser_peak=1e-2,
              save_every=1000)
    )  # fmt: skip
    told = losses(events, denoising=True)
    assert len(told) == 120
    assert np.mean(told[-30:]) < 0.75 * np.mean(told[:10])
    model = events[-1]
    assert isinstance(model, StablePaint)  # what ships is the average, of both halves
    assert float(model.autoencoder.latent_std.mean()) != 1.0
    assert float(model.denoiser.unet.conv_out.weight.abs().sum()) > 0


@pytest.mark.parametrize("saved", [3, 6])
def test_resuming_equals_no_interruption(data: IllustrationSet, tmp_path: Path, saved: int) -> None:
    """Interrupted in the first phase, and in the second (which begins with step 5 of 8)."""
    *_, straight = start(data, tmp_path / "straight", 8)
    events = start(data, tmp_path / "resumed", 8)
    for event in events:
        assert isinstance(event, TrainStep)
        if event.step == saved + 1:
            break
    events.close()  # type: ignore[attr-defined]
    torch.manual_seed(99)  # nothing may hang on the process's own random state
    # Activations that are computed twice are the same ones.
    *told, resumed = start(data, tmp_path / "resumed", 8, checkpointing=True)
    assert [e.step for e in told if isinstance(e, TrainStep)] == list(range(saved + 1, 9))
    assert isinstance(straight, StablePaint)
    assert isinstance(resumed, StablePaint)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0, growth_interval=2**30)
    before = layer.weight.clone()
    descend(layer(torch.tensor([[float("nan"), 1.0]])).sum(), layer, optimizer, scaler)
    assert torch.equal(layer.weight, before)
    descend(layer(torch.ones(1, 2)).sum(), layer, optimizer, scaler)
    assert layer.weight.isfinite().all()
    assert not torch.equal(layer.weight, before)


@pytest.mark.usefixtures("ticking")
def test_minutes_end_a_run(data: IllustrationSet, tmp_path: Path) -> None:
    events = list(start(data, tmp_path, 100_000, minutes=0.03))
    assert isinstance(events[-1], StablePaint)
    assert losses(events, denoising=True)  # both phases had their share
    assert losses(events, denoising=False)


def test_batches_are_the_same_for_one_seed(data: IllustrationSet) -> None:
    a, b, c = (Batches(data, seed, 2)[n] for seed, n in ((0, 5), (0, 5), (0, 6)))
    assert np.array_equal(a.picture, b.picture)
    assert np.array_equal(a.hints, b.hints)
    assert not np.array_equal(a.picture, c.picture)
    (first,) = load(data, 0, 2, 5, 6, workers=0)
    assert np.array_equal(first.picture, a.picture)
    made = first.on("cpu")
    assert made.lineart.shape == (2, 1, 256, 256)
    assert len(made.simplified) == len(made.mask) == 0


def test_views_are_whole_near_and_large(data: IllustrationSet) -> None:
    made = batch(data, np.random.default_rng(0), 4, regimes={"full": 1.0})
    shapes = set[tuple[int, ...]]()
    for seed in range(12):
        seen = view(made, np.random.default_rng(seed))
        count, _, side, _ = seen.picture.shape
        shapes.add((count, side))
        assert seen.lineart.shape == (count, 1, side, side)
        assert seen.hints.shape == (count, 4, side // 4, side // 4)
        # A hint lies on what it is the colour of.
        cells = torch.nn.functional.avg_pool2d(seen.picture, 4)
        assert float((cells - seen.hints[:, :3]).abs().mean()) < 0.12
    assert shapes == {(4, 256), (1, 512)}


def test_picture_loss_sees_colours_and_edges() -> None:
    real = torch.zeros(1, 3, 16, 16)
    assert picture_loss(real, real) == 0
    assert picture_loss(real + 0.5, real) == pytest.approx(0.5 * (1 + 0.5 + 0.5))
    edge = real.clone()
    edge[..., 8:] = 0.5
    assert picture_loss(edge, real) > picture_loss(real + 0.25, real)


def test_the_loss_weighs_pure_noise_in_full_and_knows_a_perfect_guess(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny()
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    seen = View(torch.ones(2, 1, 64, 64), pixels, torch.zeros(2, 4, 16, 16))
    clean = model.autoencoder.encode(pixels)

    class Guess(torch.nn.Module):
        off = 0.0

        def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
            signal, share = model.signal_noise(timesteps)
            noise = (noisy - signal * clean) / share
            return signal * noise - share * clean + self.off

    monkeypatch.setattr(command, "PURE_NOISE", 1.0)
    monkeypatch.setattr(model, "denoiser", Guess())

    def loss(off: float) -> float:
        Guess.off = off
        return float(denoiser_loss(model, seen, torch.Generator().manual_seed(0)))

    assert loss(0.0) == pytest.approx(0, abs=1e-6)
    assert loss(0.5) == pytest.approx(0.25, rel=1e-3)  # the weight is 1 where there is no signal


def test_the_command_writes_a_model(
    data: IllustrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "train", functools.partial(train, config=NETWORKS))
    monkeypatch.setattr(command, "sample_grid", functools.partial(command.sample_grid, rows=1))
    out = tmp_path / "weights"
    arguments = ["--data", str(data.folder), "--steps", "3", "--batch", "2", "--workers", "0"]
    arguments += ["--out", str(out), "--runs", str(tmp_path / "runs"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["stablepaint", *arguments])
    command.main()
    assert (tmp_path / "runs" / "stablepaint-000003.png").exists()
    pipeline = StablePaintPipeline.from_pretrained(str(out), device="cpu")
    assert pipeline.model.config == NETWORKS


def test_the_command_goes_on_from_a_base(
    data: IllustrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "train", functools.partial(train, samples=False))
    first = tiny()
    save_model(first, first.config, tmp_path / "mine" / "stablepaint")
    out = tmp_path / "weights"
    arguments = ["--steps", "2", "--batch", "2", "--workers", "0", "--device", "cpu"]
    arguments += ["--out", str(out), "--runs", str(tmp_path / "runs")]

    def call(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", ["stablepaint", *arguments, *more])
        command.main()

    call("--data", str(data.folder), "--base", str(tmp_path / "mine"), "--peak", "1e-9")
    again = StablePaint.from_pretrained(out, CPU)
    assert again.config == first.config
    measured = {"autoencoder.latent_mean", "autoencoder.latent_std"}
    for key, value in again.state_dict().items():
        if key not in measured:
            assert torch.allclose(value, first.state_dict()[key], atol=1e-3), key
    with pytest.raises(SystemExit, match="holds no finished set"):
        call("--data", str(tmp_path))
    with pytest.raises(SystemExit, match="no stablepaint in"):
        call("--data", str(data.folder), "--base", str(tmp_path))
