"""What a run takes is told before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from finetune.footprint import Footprint, footprint
from pipelines.errors import OutOfMemory, StorageError
from tests.tiny import CPU


def test_activations_are_weighed_once_and_grow_with_the_batch() -> None:
    model = nn.Sequential(nn.Linear(100, 200), nn.Tanh(), nn.Linear(200, 10))
    x = torch.randn(2, 100)
    one, ten = (footprint([model], lambda: model(x).sum(), 2, n) for n in (2, 20))
    weights = 4 * (100 * 200 + 200 + 200 * 10 + 10)
    assert one.models == 5 * weights
    assert one.disk == 8 * weights
    # The input and what leaves the tanh are kept for the way back, each once; not the weights.
    assert one.activations == pytest.approx(1.2 * 4 * 2 * (100 + 200), abs=1)
    assert ten.activations == pytest.approx(10 * one.activations, abs=10)


def test_two_phases_take_the_memory_of_the_larger_and_the_disk_of_both() -> None:
    codes, sharp = Footprint(3, 10, 5), Footprint(4, 8, 6, held=20)
    assert codes.then(sharp) == Footprint(4, 8, 11, held=20)
    assert (sharp.then(codes).memory, sharp.memory) == (32, 32)
    judge, x = nn.Linear(100, 200), torch.randn(1, 100, requires_grad=True)
    found = footprint([], lambda: judge(x).sum(), 1, 10, [judge])
    assert found.models == 4 * (100 * 200 + 200)  # once, whatever the batch
    assert found.activations < 10 * 4 * 300


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    Footprint(1, 1, 1).check(CPU, tmp_path)
    assert "1 MB, activations 2 MB" in Footprint(10**6, 2 * 10**6, 1).line(CPU, tmp_path)
    with pytest.raises(OutOfMemory, match="lower --batch"):
        Footprint(10**6, 10**15, 1).check(CPU, tmp_path)
    with pytest.raises(StorageError, match="name another disk with --runs"):
        Footprint(1, 1, 10**18).check(CPU, tmp_path / "runs")
