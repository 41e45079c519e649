"""Training the code transformer: it learns, it resumes, its command writes what is loaded."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune import code_transformer as command
from finetune.code_bank import Batch, CodeBank
from finetune.code_pairs import PairCodes, _windows, figures
from finetune.code_transformer import (
    Draw,
    draws,
    embedded_config,
    empty_plan_nll,
    train,
    validate,
)
from finetune.data.scenes import SceneSet
from finetune.training import TrainStep, autocast
from pipelines.painter import Placed
from pipelines.plan import FIELDS, PIECES, plan_of
from pipelines.scene import vocabulary
from pipelines.vqgan_clip import VQGANCLIPPipeline
from pipelines.vqgan_clip.clip import tokenize
from pipelines.vqgan_clip.code_transformer import CodeTransformer
from pipelines.vqgan_clip.vqgan import VQGAN
from pipelines.weights import save_model
from tests.tiny import CPU, FOX, QUICK, TRANSFORMER_CONFIG, VQGAN_CONFIG, vqgan
from tests.tiny_pictures import folder, picture

CONFIG = replace(TRANSFORMER_CONFIG, words=len(vocabulary()), grid=16, sizes=(4, 6, 8), layers=1,
                 mirrored=True)  # fmt: skip
CHANCE = 2 * math.log(16)
"""Nats a position of two codes costs whoever knows nothing."""


@pytest.fixture(scope="module")
def coder() -> VQGAN:
    return vqgan()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneSet:
    return SceneSet(tmp_path_factory.mktemp("scenes") / "train", 10, workers=1)


@pytest.fixture(scope="module")
def bank(coder: VQGAN, scenes: SceneSet) -> CodeBank:
    return CodeBank([scenes, scenes], coder, CPU)


def begin(bank: CodeBank, path: Path, steps: int, **changed: Any) -> Iterator[Any]:
    options: dict[str, Any] = {
        "config": CONFIG, "batch": 2, "save_every": 2, "report_every": 1, "validate_every": 1000,
    }  # fmt: skip
    return train(steps, bank, bank, VQGAN_CONFIG, path, CPU, **(options | changed))


@pytest.fixture
def unvalidated(monkeypatch: pytest.MonkeyPatch) -> None:
    """One test of validation is enough."""
    monkeypatch.setattr(command, "validate", lambda *_: 0.0)


def test_a_bank_holds_the_scenes_that_can_be_planned(
    bank: CodeBank, scenes: SceneSet, coder: VQGAN
) -> None:
    kept = [n for n in range(len(scenes)) if scenes.plans[n, 0] > 0]
    assert 0 < len(kept) < len(scenes)
    assert len(bank) == 2 * len(kept)  # two sets
    assert bank.records == [scenes.records[n] for n in kept] * 2
    last = len(kept) - 1
    b = bank.batch([last, 0], ["one", "two"])
    assert b.prompts == ["one", "two"]
    assert b.plans.tolist() == [scenes.plans[kept[last]].tolist(), scenes.plans[kept[0]].tolist()]
    assert b.front.shape == (2, 256)
    assert torch.equal(b.front[0].view(16, 16), torch.from_numpy(scenes.labels[kept[last]] >= 0))
    page = torch.from_numpy(np.array(scenes.pictures[kept[0]]))
    pixels = page.permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad(), autocast(pixels.device):
        latents = coder.encode(pixels)
    assert torch.equal(b.codes[1], coder.quantizer.indices(latents.float())[0])


def test_draws_are_the_same_for_the_same_step(bank: CodeBank) -> None:
    one = list(draws(bank.records, 0, 0, 40, 3))
    two = list(draws(bank.records, 0, 38, 40, 3))
    assert [d.ids for d in one[38:]] == [d.ids for d in two]
    assert [d.prompts for d in one[38:]] == [d.prompts for d in two]
    dropped = sum(d.prompts.count("") for d in one) / 120
    assert 0.02 < dropped < 0.25


@pytest.mark.usefixtures("unvalidated")
def test_one_batch_can_be_overfitted(
    bank: CodeBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(16, (2, 256, 2), generator=generator)
    front = torch.arange(256).expand(2, -1) % 3 == 0
    layouts = [Placed("fox", 64, 96, 96, False)], [Placed("owl", 16, 32, 64, True)]
    plans = torch.tensor([plan_of(x) for x in layouts])
    batch = Batch(["a fox", "an owl, at night"], plans, codes, front)
    draw = Draw([0, 1], batch.prompts, *tokenize(batch.prompts, CPU))
    monkeypatch.setattr(command, "draws", lambda *_: iter([draw] * 60))
    monkeypatch.setattr(CodeBank, "batch", lambda *_: batch)
    wide = replace(CONFIG, width=64, layers=2)
    events = begin(bank, tmp_path / "codes.pt", 60, config=wide, peak=0.01, save_every=1000)
    *steps, model = events
    first, last = steps[0].metrics, steps[-1].metrics
    for name in ("clip art", "background"):
        assert first[name] == pytest.approx(CHANCE, abs=0.5)  # at first it knows nothing
        assert last[name] < 0.5 * first[name]
    assert last["plan"] < 0.2 * first["plan"]
    assert isinstance(model, CodeTransformer)


@pytest.mark.usefixtures("unvalidated")
def test_resuming_equals_no_interruption(bank: CodeBank, tmp_path: Path) -> None:
    *_, straight = begin(bank, tmp_path / "straight.pt", 4)
    events = begin(bank, tmp_path / "resumed.pt", 4)
    for event in events:
        if event.step == 3:  # saved at 2
            break
    events.close()  # type: ignore[attr-defined]
    # Activations that are computed twice are the same ones.
    *told, resumed = begin(bank, tmp_path / "resumed.pt", 4, checkpointing=True)
    assert [e.step for e in told] == [3, 4]
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_validation_is_the_same_each_time_and_near_chance_without_training(bank: CodeBank) -> None:
    torch.manual_seed(0)
    model = CodeTransformer(CONFIG)
    first = validate(model, bank, CPU)
    assert first == pytest.approx(CHANCE, abs=0.5)
    assert validate(model, bank, CPU) == first


@pytest.mark.usefixtures("unvalidated")
def test_the_command_writes_a_model(
    coder: VQGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(coder, VQGAN_CONFIG, tmp_path / "vqgan")
    monkeypatch.setattr(command, "train", functools.partial(train, config=CONFIG))
    SceneSet(tmp_path / "scenes-test", 4, split="test")  # else the command paints a thousand
    out = tmp_path / "weights" / "code_transformer"
    arguments = ["--steps", "2", "--batch", "2", "--vqgan", str(tmp_path / "vqgan")]
    arguments += ["--scenes", "6", "--more", "3"]
    where = ["--out", str(out), "--runs", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["code_transformer", *arguments, *where])
    command.main()
    model = CodeTransformer.from_pretrained(out, CPU)
    assert model.config == CONFIG
    assert len(SceneSet(tmp_path / "scenes-more", 3)) == 3

    (tmp_path / "code_transformer.pt").unlink()
    further = ["--from", str(out), "--peak", "1e-9"]
    monkeypatch.setattr(sys, "argv", ["code_transformer", *arguments, *where, *further])
    monkeypatch.setattr(command, "train", train)
    command.main()
    gone_on = CodeTransformer.from_pretrained(out, CPU)
    assert gone_on.config == CONFIG
    for new, old in zip(gone_on.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=1e-3)


def test_the_shipped_shape_is_that_of_the_vqgan() -> None:
    config = embedded_config(VQGAN_CONFIG)
    assert (config.groups, config.codebook_size) == (2, 16)
    assert config.grid == 16
    assert config.mirrored
    assert config.words == len(vocabulary())


# --- somebody's own pictures -------------------------------------------------------------

OWN = replace(TRANSFORMER_CONFIG, words=0, layers=1)


def own_codes(coder: VQGAN, count: int, side: int = 64) -> PairCodes:
    pictures = np.stack([np.asarray(picture(n, side)) for n in range(count)])
    return PairCodes(pictures, [f"blob {n}" for n in range(count)], coder, OWN.grid, CPU)


def test_larger_pictures_become_windows(coder: VQGAN) -> None:
    bank = own_codes(coder, 2, 96)  # 6x6 codes: four windows of 4x4
    assert len(bank) == 8
    assert [r.text for r in bank.records] == ["blob 0"] * 4 + ["blob 1"] * 4
    pixels = torch.from_numpy(np.array(picture(0, 96))).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad(), autocast(pixels.device):
        latents = coder.encode(pixels)
    whole = coder.quantizer.indices(latents.float()).view(6, 6, -1)
    batch = bank.batch([3, 0], ["a", "b"])
    assert torch.equal(batch.codes[0], whole[2:, 2:].flatten(0, 1))
    assert torch.equal(batch.codes[1], whole[:4, :4].flatten(0, 1))
    assert not batch.plans.any()


def test_windows_reach_the_edge_of_a_picture() -> None:
    codes = torch.arange(7 * 5).view(7, 5, 1)
    windows = _windows(codes, 4)  # rows from 0, 2 and 3, columns from 0 and 1
    assert windows.shape == (6, 16, 1)
    assert torch.equal(windows[-1], codes[3:, 1:].flatten(0, 1))
    assert windows.unique().tolist() == list(range(7 * 5))


def test_own_pictures_are_learned_and_their_plans_stay_empty(coder: VQGAN, tmp_path: Path) -> None:
    bank = own_codes(coder, 4)
    options: dict[str, Any] = {"config": replace(OWN, width=64), "batch": 4, "peak": 0.01,
                               "report_every": 1, "save_every": 1000}  # fmt: skip
    *steps, model = train(60, bank, bank, VQGAN_CONFIG, tmp_path / "own.pt", CPU, **options)
    assert isinstance(model, CodeTransformer)
    first, last = steps[0], steps[-1]
    assert isinstance(first, TrainStep)
    assert isinstance(last, TrainStep)
    assert last.metrics["nats"] < 0.5 * first.metrics["nats"]
    found = figures(model, bank, CPU)
    assert found["chance"] == pytest.approx(CHANCE)
    assert found["nats a position"] < found["without words"]  # the words tell
    *_, drawn = model.sample("blob 1", 3, generator=torch.Generator().manual_seed(1))
    assert not drawn.plan.any()


def test_an_empty_plan_is_learned_entry_by_entry() -> None:
    logits = [torch.zeros(2, 4), torch.zeros(2, 8)]
    assert empty_plan_nll(logits).item() == pytest.approx(math.log(4) + math.log(8))
    assert len(OWN.field_sizes) * PIECES == PIECES * FIELDS


@pytest.mark.parametrize("classes", [False, True])
def test_the_command_learns_own_pictures(
    coder: VQGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: bool
) -> None:
    monkeypatch.setattr("finetune.own.signal.signal", lambda *_: None)
    monkeypatch.setattr(command, "embedded_config", lambda *_, **__: OWN)
    home = folder(tmp_path / "pictures", 4)
    if classes:
        for n in range(4):
            (home / f"kind {n % 2}").mkdir(exist_ok=True)
            (home / f"{n:02d}.png").rename(home / f"kind {n % 2}" / f"{n}.png")
    where = {"pairs": home, "out": tmp_path / "models", "runs": tmp_path / "runs"}
    arguments = [f"--{name}={path}" for name, path in where.items()]
    arguments += ["--steps=2", "--batch=2", "--device=cpu", "--gradient-checkpointing"]
    arguments += ["--classes"] if classes else []
    monkeypatch.setattr(sys, "argv", ["code_transformer", *arguments])
    with pytest.raises(SystemExit, match="train one first"):
        command.main()
    save_model(coder, VQGAN_CONFIG, tmp_path / "models" / "vqgan")
    command.main()
    told = json.loads((tmp_path / "models" / "code_transformer" / "training.json").read_text())
    assert told["pairs"] == 3
    assert 0 < told["figures"]["nats a position"] < 2 * CHANCE
    assert (tmp_path / "runs" / "samples" / "code_transformer-000002.png").is_file()
    # as the app and the command line are given it: --vqgan FOLDER
    painter = VQGANCLIPPipeline.from_pretrained(vqgan=str(tmp_path / "models"), device=CPU)
    assert painter.transformer is not None
    assert painter.name == "models"
    page = painter(FOX, replace(QUICK, steps=0, height=160, enlarge=False))
    assert page.image().size == (128, 160)
    with torch.no_grad():
        coder = vqgan()
        coder.decoder.out.weight.mul_(2)  # sharpened since: its codes are the same
        save_model(coder, VQGAN_CONFIG, tmp_path / "models" / "vqgan")
        command.main()
        coder.quantizer.codebook.mul_(2)
    save_model(coder, VQGAN_CONFIG, tmp_path / "models" / "vqgan")
    with pytest.raises(SystemExit, match=r"another run \(different: vqgan\)"):
        command.main()
    monkeypatch.setattr(sys, "argv", ["code_transformer", *arguments, "--base=embedded"])
    with pytest.raises(SystemExit, match="writes other codes than this VQGAN"):
        command.main()
