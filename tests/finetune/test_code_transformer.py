"""Training the code transformer: it learns, it resumes, its command writes what is loaded."""

from __future__ import annotations

import functools
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune import code_transformer as command
from finetune.code_transformer import batch_of, encode, train, validate
from finetune.data.scenes import label_map, sample_record
from finetune.training import TrainStep
from pipelines.vqgan_clip.code_transformer import CodeTransformer
from pipelines.vqgan_clip.vqgan import VQGAN
from pipelines.weights import save_model
from tests.tiny import CPU, TRANSFORMER_CONFIG, VQGAN_CONFIG, vqgan

CONFIG = replace(TRANSFORMER_CONFIG, grid=16, layers=1)


@pytest.fixture(scope="module")
def coder() -> VQGAN:
    return vqgan()


def begin(coder: VQGAN, path: Path, steps: int, **changed: Any) -> Iterator[Any]:
    options: dict[str, Any] = {
        "config": CONFIG, "batch": 2, "save_every": 2, "report_every": 1, "validate_every": 1000,
    }  # fmt: skip
    return train(steps, coder, path, CPU, **(options | changed))


@pytest.fixture
def unvalidated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation paints 64 pages; one test of it is enough."""
    monkeypatch.setattr(command, "validate", lambda *_: 0.0)


def test_a_batch(coder: VQGAN) -> None:
    prompts, codes, front = batch_of(coder, random.Random(1), 3, "train", CPU)
    assert len(set(prompts)) == 3
    assert codes.shape == (3, 256, 2)
    assert front.shape == (3, 256)
    assert 0 <= codes.min() <= codes.max() < 16
    share = front.float().mean(1)
    assert (share > 0.02).all()
    assert (share < 0.9).all()
    again = batch_of(coder, random.Random(1), 3, "train", CPU)
    assert again[0] == prompts
    assert torch.equal(again[1], codes)


def test_positions_of_clip_art_are_the_painters(coder: VQGAN) -> None:
    rng = random.Random(5)
    records = [sample_record(rng, "train") for _ in range(2)]
    _, front = encode(coder, records, random.Random(6), CPU)
    painting = random.Random(6)
    for record, found in zip(records, front, strict=True):
        labels = label_map(record.paint(painting))
        assert torch.equal(found.view(16, 16), torch.from_numpy(labels >= 0))


@pytest.mark.usefixtures("unvalidated")
def test_one_batch_can_be_overfitted(
    coder: VQGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(16, (2, 256, 2), generator=generator)
    front = torch.arange(256).expand(2, -1) % 3 == 0
    batch = ["a fox", "an owl, at night"], codes, front
    monkeypatch.setattr(command, "batch_of", lambda *_: batch)
    monkeypatch.setattr(command, "DROP_PROMPT", 0.0)
    wide = replace(CONFIG, width=64, layers=2)
    events = begin(coder, tmp_path / "codes.pt", 70, config=wide, peak=0.06, save_every=1000)
    *steps, model = events
    losses = [e.metrics["loss"] for e in steps]
    assert losses[0] == pytest.approx(2 * math.log(16), abs=0.5)  # at first it knows nothing
    assert losses[-1] < 0.5 * losses[0]
    assert isinstance(model, CodeTransformer)


@pytest.mark.usefixtures("unvalidated")
def test_resuming_equals_no_interruption(coder: VQGAN, tmp_path: Path) -> None:
    *_, straight = begin(coder, tmp_path / "straight.pt", 4)
    events = begin(coder, tmp_path / "resumed.pt", 4)
    for event in events:
        if event.step == 3:  # saved at 2
            break
    events.close()  # type: ignore[attr-defined]
    *told, resumed = begin(coder, tmp_path / "resumed.pt", 4)
    assert [e.step for e in told] == [3, 4]
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_validation_is_the_same_each_time_and_near_chance_without_training(coder: VQGAN) -> None:
    torch.manual_seed(0)
    model = CodeTransformer(CONFIG)
    first = validate(model, coder, CPU)
    assert first == pytest.approx(2 * math.log(16), abs=0.5)
    assert validate(model, coder, CPU) == first


@pytest.mark.usefixtures("unvalidated")
def test_the_command_writes_a_model(
    coder: VQGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(coder, VQGAN_CONFIG, tmp_path / "vqgan")
    monkeypatch.setattr(command, "train", functools.partial(train, config=CONFIG))
    out = tmp_path / "weights" / "code_transformer"
    arguments = ["--steps", "2", "--batch", "2", "--vqgan", str(tmp_path / "vqgan")]
    where = ["--out", str(out), "--runs", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["code_transformer", *arguments, *where])
    command.main()
    model = CodeTransformer.from_pretrained(out, CPU)
    assert model.config == CONFIG


@pytest.mark.usefixtures("unvalidated")
def test_without_a_config_the_shape_is_that_of_the_vqgan(coder: VQGAN, tmp_path: Path) -> None:
    events = train(1, coder, tmp_path / "codes.pt", CPU, batch=1)
    *_, model = events
    assert isinstance(model, CodeTransformer)
    assert (model.config.groups, model.config.codebook_size) == (2, 16)
    assert model.config.grid == 16
