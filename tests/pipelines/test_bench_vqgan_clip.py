"""The yardstick of VQGAN+CLIP: the same crops for all, and no figure that was not reached."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
import torch

from pipelines.vqgan_clip.guidance import usual_views
from tests.bench import vqgan_clip as bench
from tests.tiny import CPU, clip, vqgan

SHARED = {"device": "cpu", "size": 128, "threads": 0, "shared": False, "full": False, "race": 1}


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "models", lambda full, device, plain: (vqgan(), clip()))


def options(**more: Any) -> argparse.Namespace:
    return argparse.Namespace(**SHARED, **more)


def test_both_are_judged_by_the_same_crops_and_not_by_the_whole_picture() -> None:
    plain, ours = (
        bench.Run(bench.RACE[name], options()) for name in ("plain, 32 cutouts", "8 cutouts")
    )
    assert torch.equal(plain.crops.warps, ours.crops.warps)
    assert plain.crops.warps[:, 0, 0].max() < 1  # none of them is the whole
    assert plain.score() == pytest.approx(ours.score(), abs=1e-5)  # they begin alike
    assert ours.guide.views == usual_views(CPU)


def test_a_score_that_is_not_reached_has_no_figures() -> None:
    yardstick = bench.race(options(only="plain, 32 cutouts", goal=None))
    assert yardstick["steps"] == 1
    row = bench.race(options(only="8 cutouts", goal=-1.0))
    assert row["steps"] == 1
    assert bench.compared(row, yardstick) is not None
    never = bench.race(options(only="8 cutouts", goal=2.0))
    assert (never["steps"], never["pages an hour"]) == (None, None)
    assert bench.compared(never, yardstick) is None


def test_pages_an_hour() -> None:
    row = bench.measure(options(only="8 cutouts", steps=1))
    assert row["pages an hour"] == pytest.approx(3600 / (row["seconds"] * 500))
