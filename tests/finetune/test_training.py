"""What the training commands share: schedule, moving average, checkpoints."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from finetune import training
from finetune.training import (
    Ema,
    Pace,
    TrainStep,
    begin,
    learning_rate,
    load_checkpoint,
    optimizers_of,
    parser,
    report,
    save_checkpoint,
    set_learning_rate,
)


class Counting(nn.Module):
    """A parameter, a buffer that is saved and one that a model's file leaves out."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value))
        self.register_buffer("kept", torch.full((2,), value))
        self.register_buffer("scratch", torch.full((2,), value), persistent=False)


def test_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(s, 1000, 0.01, warmup=100) for s in range(1000)]
    assert rates[0] == pytest.approx(0.0001)
    assert rates[99] == rates[100] == max(rates) == pytest.approx(0.01)
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[50] == pytest.approx(0.0051)
    assert rates[550] == pytest.approx(0.01 * 0.51)
    assert rates[-1] == pytest.approx(0.0002, rel=0.01)
    assert learning_rate(5000, 1000, 0.01, warmup=100) == pytest.approx(0.0002)


def test_learning_rate_of_runs_shorter_than_the_warmup() -> None:
    assert [learning_rate(s, 3, 1.0, warmup=4) for s in range(3)] == [0.25, 0.5, 0.75]


def test_ema_begins_equal_and_follows() -> None:
    model, averaged = Counting(1.0), Counting(5.0)
    ema = Ema(model, averaged, decay=0.9)
    assert torch.equal(averaged.weight, model.weight)
    assert not averaged.weight.requires_grad
    assert model.weight.requires_grad
    with torch.no_grad():
        model.weight.fill_(2.0)
    model.kept.fill_(7.0)  # type: ignore[operator]
    model.scratch.fill_(8.0)  # type: ignore[operator]
    ema.update(0)  # early it follows quickly: 1/10 is kept
    assert averaged.weight.tolist() == pytest.approx([1.9] * 3)
    assert torch.equal(averaged.kept, model.kept)  # type: ignore[arg-type]
    assert torch.equal(averaged.scratch, model.scratch)  # type: ignore[arg-type]
    ema.update(10_000)  # later 9/10
    assert averaged.weight.tolist() == pytest.approx([1.91] * 3)
    for step in range(10_000, 10_200):
        ema.update(step)
    assert averaged.weight.tolist() == pytest.approx([2.0] * 3, abs=1e-5)


def step_of(model: Counting, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    (model.weight - torch.tensor([1.0, 2.0, 3.0])).square().sum().backward()
    optimizer.step()
    model.kept.add_(1)  # type: ignore[operator]
    model.scratch.add_(2)  # type: ignore[operator]


def parts() -> dict[str, Any]:
    model = Counting()
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.1)}


def test_a_checkpoint_goes_on_as_if_never_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "model.pt"
    first = parts()
    assert load_checkpoint(path, first) == (0, {})
    for _ in range(5):
        step_of(**first)
    save_checkpoint(path, 5, first, best=0.5)
    second = parts()
    assert load_checkpoint(path, second) == (5, {"best": 0.5})
    for _ in range(5):
        step_of(**first)
        step_of(**second)
    for name in ("weight", "kept", "scratch"):
        assert torch.equal(getattr(first["model"], name), getattr(second["model"], name))
    assert second["model"].scratch.tolist() == [20.0, 20.0]


def test_a_checkpoint_cut_off_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    first = parts()
    step_of(**first)
    save_checkpoint(path, 1, first)

    def cut(_: Any, where: Path) -> None:
        where.write_bytes(b"half a checkp")
        raise KeyboardInterrupt

    monkeypatch.setattr(training.torch, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, 2, first)
    assert load_checkpoint(path, parts())[0] == 1


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pt", 1, parts())
    with pytest.raises(RuntimeError, match="weight"):
        load_checkpoint(tmp_path / "model.pt", {"model": nn.Linear(2, 2)})


def test_muon_takes_the_matrices_and_adamw_all_else() -> None:
    blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    table = nn.Embedding(5, 4)
    model = nn.ModuleList([blocks, table, nn.Embedding(3, 4), nn.Linear(4, 2)])
    found = optimizers_of(blocks, model, 0.1, tables=[table.weight])

    def names(name: str) -> set[int]:
        return {id(p) for g in found[name].param_groups for p in g["params"]}

    assert names("muon") == {id(p) for p in blocks.parameters() if p.ndim == 2}
    assert names("muon") | names("adamw") == {id(p) for p in model.parameters()}
    assert names("muon") & names("adamw") == set()
    set_learning_rate(found.values(), 0.01)
    for group in (g for o in found.values() for g in o.param_groups):
        fast = any(p is table.weight for p in group["params"])
        assert group["lr"] == pytest.approx(0.01 * (training.TABLE_SPEED if fast else 1.0))
        assert fast == (len(group["params"]) == 1 and group["params"][0] is table.weight)


def test_pace_counts_from_where_it_was_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 130.0, 160.0])
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    pace = Pace(50, 100)
    assert pace.eta(50) is None
    assert pace.eta(60) == pytest.approx(120.0)  # 3 s a step, 40 to go
    assert pace.eta(80) == pytest.approx(40.0)  # 2 s a step, 20 to go


def test_report_drains_and_tells(caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(1, 1)
    with caplog.at_level(logging.INFO):
        steps = (TrainStep(5, 10, {"loss": 0.25}, 90.0), TrainStep(10, 10, {"loss": 0.125}))
        assert report(iter([*steps, model])) is model
    assert [r.getMessage() for r in caplog.records] == [
        "step 5/10  loss 0.2500  1.5 min left",
        "step 10/10  loss 0.1250",
    ]


def test_options_of_every_command(tmp_path: Path) -> None:
    p = parser("Train it.", steps=7, out="weights/it")
    args = p.parse_args([])
    assert (args.steps, args.out, args.seed) == (7, Path("weights/it"), 0)
    args = p.parse_args(["--seed", "3", "--device", "cpu"])
    assert begin(args) == torch.device("cpu")
    drawn = torch.rand(3)
    begin(args)
    assert torch.equal(torch.rand(3), drawn)
