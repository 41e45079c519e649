"""What the training commands share: schedule, moving average, checkpoints."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from finetune import training, vqgan
from finetune.muon import Muon, orthogonal
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    begin,
    load_checkpoint,
    optimizers_of,
    parser,
    prefetch,
    rate,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.durable import write_whole
from pipelines.errors import InvalidInput, StorageError


class Counting(nn.Module):
    """A parameter, a buffer that is saved and one that a model's file leaves out."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value))
        self.register_buffer("kept", torch.full((2,), value))
        self.register_buffer("scratch", torch.full((2,), value), persistent=False)


def test_learning_rate_rises_then_falls() -> None:
    rates = [rate(s / 1000, 0.01, warmup=0.1) for s in range(1000)]
    assert rates[0] == pytest.approx(0.0001)
    assert rates[100] == max(rates) == pytest.approx(0.01)
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[50] == pytest.approx(0.005)
    assert rates[550] == pytest.approx(0.01 * 0.51)
    assert rates[-1] == pytest.approx(0.0002, rel=0.01)
    assert rate(5.0, 0.01, warmup=0.1) == pytest.approx(0.0002)


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


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"

    def full(_: Any, where: Path) -> None:
        where.write_bytes(b"half a checkp")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(training.torch, "save", full)
        with pytest.raises(StorageError, match="There is none yet: free some disk space"):
            save_checkpoint(path, 1, parts())
    assert list(tmp_path.iterdir()) == []
    save_checkpoint(path, 1, parts())
    monkeypatch.setattr(training.torch, "save", full)
    with pytest.raises(StorageError, match=r"step 2 could not.*The last one is kept"):
        save_checkpoint(path, 2, parts())
    assert load_checkpoint(path, parts())[0] == 1


def test_a_small_file_is_written_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "run.json", b"{}")
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> None:
        write(path, data[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "run.json", b"[1, 2]")
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert (tmp_path / "run.json").read_text() == "{}"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_replace_no_checkpoint(tmp_path: Path, value: float) -> None:
    path, wild = tmp_path / "model.pt", parts()
    save_checkpoint(path, 1, parts())
    wild["model"].weight.data[1] = value
    with pytest.raises(
        InvalidInput, match=r"At step 2 .* last one is kept: .* lower learning rate"
    ):
        save_checkpoint(path, 2, wild)
    assert load_checkpoint(path, parts())[0] == 1


def test_a_checkpoint_is_on_the_disk_before_it_replaces_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            training.os, name, lambda *a, n=name, r=real: (done.append(n), r(*a))[1]
        )
    save_checkpoint(tmp_path / "model.pt", 1, parts())
    assert done == ["fsync", "replace", "fsync"]


def test_checkpoints_that_are_damaged_or_of_another_run_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(InvalidInput, match="is damaged"):
        load_checkpoint(path, parts())
    facts = {"data": "a", "seed": 0}
    save_checkpoint(path, 3, parts(), facts=facts)
    assert load_checkpoint(path, parts(), facts)[0] == 3
    with pytest.raises(InvalidInput, match=r"another run \(different: seed\)"):
        load_checkpoint(path, parts(), facts | {"seed": 1})


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path, mine = tmp_path / "model.pt", parts()
    step_of(**mine)
    save_checkpoint(path, 1, mine)
    others: tuple[dict[str, Any], ...] = (
        {"model": nn.Linear(2, 2)}, {"another": Counting()},
        {"optimizer": torch.optim.AdamW(nn.Linear(2, 2).parameters())},
    )  # fmt: skip
    for other in others:
        with pytest.raises(InvalidInput, match=r"of another shape\. Name another folder"):
            load_checkpoint(path, other)


@pytest.mark.parametrize("native", [True, False])
def test_muon_takes_the_matrices(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr("pipelines.device.fast_bf16", lambda _: native)
    near, deep = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3)
    blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), near, deep)
    table = nn.Embedding(5, 4)
    model = nn.ModuleList([blocks, table, nn.Embedding(3, 4), nn.Linear(4, 2)])
    found = optimizers_of(blocks, model, 0.1, tables=[table.weight], weight_decay=0.3)
    groups = [g for o in found.values() for g in o.param_groups]
    matrices = {id(blocks[0].weight), id(blocks[1].weight), id(deep.weight)}
    everything = [id(p) for g in groups for p in g["params"]]
    assert sorted(everything) == sorted(id(p) for p in model.parameters())
    muon = found["muon"]
    assert isinstance(muon, Muon)
    assert muon.dtype == (torch.bfloat16 if native else torch.float32)
    assert {id(p) for g in muon.param_groups for p in g["params"]} == matrices
    set_learning_rate(found.values(), 0.01)
    for group in groups:
        held = {id(p) for p in group["params"]}
        fast = held == {id(table.weight)}
        assert group["lr"] == pytest.approx(0.01 * (training.TABLE_SPEED if fast else 1.0))
        assert group["weight_decay"] == (0.3 if held == matrices else 0.0)


def test_muon_moves_as_that_of_pytorch_does() -> None:
    generator = torch.Generator().manual_seed(0)
    theirs = nn.Parameter(torch.randn(12, 30, generator=generator))
    mine = nn.Parameter(theirs.detach().clone())
    kernel = nn.Parameter(theirs.detach().clone().view(12, 10, 1, 3))
    reference = torch.optim.Muon(
        [theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    other = nn.Parameter(torch.randn(12, 30, generator=generator))  # moves beside the first
    ours = Muon([mine, other, kernel], lr=0.01, weight_decay=0.1)
    before = mine.detach().clone()
    for _ in range(5):
        theirs.grad = torch.randn(12, 30, generator=generator)
        mine.grad, kernel.grad = theirs.grad.clone(), theirs.grad.clone().view_as(kernel)
        other.grad = torch.randn(12, 30, generator=generator)
        reference.step()
        ours.step()
    assert torch.allclose(kernel.view_as(mine), mine, atol=1e-5)
    moved = (mine - before).norm()
    assert (mine - theirs).norm() < 0.03 * moved  # they compute in bfloat16
    assert 0.01 < moved < 1


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_all_directions_of_an_orthogonal_matrix_are_alike(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    made = orthogonal(matrices, torch.float32)
    values = torch.linalg.svdvals(made)
    assert 0.6 < values.min() < values.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    for ours, exact in zip(made, u @ v, strict=True):
        assert nn.functional.cosine_similarity(ours.flatten(), exact.flatten(), 0) > 0.95


def test_the_clock_counts_from_where_it_was_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 130.0, 160.0])
    monkeypatch.setattr(training.time, "monotonic", lambda: next(times))
    clock = Clock(50, 100)
    assert clock.eta(50) is None
    assert clock.eta(60) == pytest.approx(120.0)  # 3 s a step, 40 to go
    assert clock.eta(80) == pytest.approx(40.0)  # 2 s a step, 20 to go
    assert clock.progress(80) == 0.8
    assert not clock.over(99)
    assert clock.over(100)


def test_the_clock_keeps_to_its_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(training.time, "monotonic", lambda: now)
    clock = Clock(0, 1000, minutes=2.0)
    now = 60.0
    assert clock.progress(100) == pytest.approx(0.5)  # half of the time, a tenth of the steps
    assert clock.progress(700) == pytest.approx(0.7)
    assert clock.eta(100) == pytest.approx(60.0)  # not the 540 s that the steps would take
    now = 119.0
    assert not clock.over(100)
    now = 120.0
    assert not clock.over(100)  # of a step that is taken, or of none
    assert clock.over(101)
    resumed = Clock(100, 1000, minutes=2.0, progress=0.5)
    now = 150.0
    assert resumed.progress(101) == pytest.approx(0.75)


def test_prefetched_items_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(prefetch(iter(range(20)))) == list(range(20))

    def breaking() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = prefetch(breaking())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_prefetching_stops_with_its_reader() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield taken[-1]

    before = threading.active_count()
    items = prefetch(endless(), ahead=2)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    for _ in range(50):
        if threading.active_count() == before:
            break
        time.sleep(0.05)
    assert threading.active_count() == before
    assert len(taken) < 8


def test_report_drains_and_tells(caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(1, 1)
    with caplog.at_level(logging.INFO):
        steps = (TrainStep(5, 10, {"loss": 0.25}, 90.0), TrainStep(10, 10, {"loss": 0.125}))
        assert report(iter([*steps, model])) is model
    assert [r.getMessage() for r in caplog.records] == [
        "step 5/10  loss 0.2500  1.5 min left",
        "step 10/10  loss 0.1250",
    ]


def test_events_are_json_for_every_program(tmp_path: Path) -> None:
    step = TrainStep(1, 2, {"loss": math.nan, "perplexity": math.inf, "psnr": 3.5})
    training.follow(tmp_path / "events")
    try:
        training.note_step(step)
    finally:
        training.follow(None)
    told = json.loads((tmp_path / "events").read_text(), parse_constant=pytest.fail)
    assert told["metrics"] == {"loss": None, "perplexity": None, "psnr": 3.5}


def test_options_of_every_command(tmp_path: Path) -> None:
    p = parser("Train it.", steps=7, out="weights/it")
    args = p.parse_args([])
    assert (args.steps, args.out, args.seed) == (7, Path("weights/it"), 0)
    args = p.parse_args(["--seed", "3", "--device", "cpu"])
    assert begin(args) == torch.device("cpu")
    drawn = torch.rand(3)
    begin(args)
    assert torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize(
    "option",
    ["--batch=0", "--batch=-1", "--minutes=0", "--minutes=nan", "--save-every=0",
     "--report-every=0", "--peak=nan", "--peak=1000", "--steps=0", "--steps=-3", "--seed=-1",
     "--seed=99999999999999999999", "--sharpen-steps=0", "--adversary-from=2"],
)  # fmt: skip
def test_numbers_that_nothing_can_be_trained_with(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.own.signal.signal", lambda *_: None)
    where = [f"--pictures={tmp_path}", f"--out={tmp_path / 'out'}", f"--runs={tmp_path / 'runs'}"]
    monkeypatch.setattr(sys, "argv", ["vqgan", *where, option])
    with pytest.raises(SystemExit, match=f"^{option.partition('=')[0]} must be from"):
        vqgan.main()
