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
from finetune.code_transformer import Batch, batch_of, plan_of, train, validate
from finetune.data.scenes import label_map, sample_record, tags
from pipelines.painter import Placed
from pipelines.scene import vocabulary
from pipelines.vqgan_clip.code_transformer import FIELDS, PIECES, CodeTransformer
from pipelines.vqgan_clip.vqgan import VQGAN
from pipelines.weights import save_model
from tests.tiny import CPU, TRANSFORMER_CONFIG, VQGAN_CONFIG, vqgan

CONFIG = replace(TRANSFORMER_CONFIG, words=len(vocabulary()), grid=16, sizes=(4, 6, 8), layers=1)
CHANCE = 2 * math.log(16)
"""Nats a position of two codes costs whoever knows nothing."""


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
    b = batch_of(coder, random.Random(1), 3, "train", CPU)
    assert len(set(b.prompts)) == 3
    assert b.plans.shape == (3, PIECES * FIELDS)
    assert b.codes.shape == (3, 256, 2)
    assert b.front.shape == (3, 256)
    assert 0 <= b.codes.min() <= b.codes.max() < 16
    share = b.front.float().mean(1)
    assert (share > 0.02).all()
    assert (share < 0.9).all()
    again = batch_of(coder, random.Random(1), 3, "train", CPU)
    assert again.prompts == b.prompts
    assert torch.equal(again.codes, b.codes)
    assert torch.equal(again.plans, b.plans)


def test_plans_and_foreground_are_the_painters(coder: VQGAN) -> None:
    b = batch_of(coder, random.Random(5), 4, "train", CPU)
    rng = random.Random(5)
    records = [sample_record(rng, "train") for _ in range(4)]
    for n, record in enumerate(records):
        page = record.paint(rng, simple=True)
        assert torch.equal(b.front[n].view(16, 16), torch.from_numpy(label_map(page) >= 0))
        assert b.plans[n].tolist() == plan_of(page.layout)
        pieces = b.plans[n].view(PIECES, FIELDS)
        names = {i + 1: name for name, i in tags().items()}
        for (word, x, y, size), piece in zip(pieces.tolist(), page.layout, strict=False):
            told = Placed(names[word], 16 * x, 16 * y, 16 * CONFIG.sizes[size], piece.flip)
            assert told == piece


def test_a_plan_keeps_the_nearest_pieces() -> None:
    layout = [Placed("owl", 16 * n, 0, (64, 96)[n % 2], False) for n in range(PIECES + 2)]
    plan = torch.tensor(plan_of(layout)).view(PIECES, FIELDS)
    assert plan[:, 1].tolist() == list(range(2, PIECES + 2))
    assert plan[:, 3].tolist() == [0, 1] * (PIECES // 2)
    assert plan_of([]) == [0] * (PIECES * FIELDS)


@pytest.mark.usefixtures("unvalidated")
def test_one_batch_can_be_overfitted(
    coder: VQGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(16, (2, 256, 2), generator=generator)
    front = torch.arange(256).expand(2, -1) % 3 == 0
    layouts = [Placed("fox", 64, 96, 96, False)], [Placed("owl", 16, 32, 64, True)]
    plans = torch.tensor([plan_of(x) for x in layouts])
    batch = Batch(["a fox", "an owl, at night"], plans, codes, front)
    monkeypatch.setattr(command, "batch_of", lambda *_: batch)
    monkeypatch.setattr(command, "DROP_PROMPT", 0.0)
    wide = replace(CONFIG, width=64, layers=2)
    events = begin(coder, tmp_path / "codes.pt", 60, config=wide, peak=0.03, save_every=1000)
    *steps, model = events
    first, last = steps[0].metrics, steps[-1].metrics
    for name in ("clip art", "background"):
        assert first[name] == pytest.approx(CHANCE, abs=0.5)  # at first it knows nothing
        assert last[name] < 0.5 * first[name]
    assert last["plan"] < 0.2 * first["plan"]
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
    assert first == pytest.approx(CHANCE, abs=0.5)
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
