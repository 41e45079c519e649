"""Two processes train what one with twice the batch trains."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from pipelines.device import fast_bf16
from tests.ranks import everything

MODELS = ("vqgan", "sharpen", "clip", "scenes' clip", "code transformer", "story")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two gloo ranks found."""
    out = tmp_path_factory.mktemp("ranks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc_per_node", "2", "-m", "tests.ranks", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    written = {p.name for p in (out / "runs").iterdir() if p.is_file()}
    models = ("vqgan", "sharpen", "clip", "guide", "codes", "story", "paintstorch")
    checkpoints = {f"{model}.pt" for model in models}
    assert written == checkpoints | {"paintstorch.png"}
    return [torch.load(out / f"rank-{n}.pt") for n in range(2)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process finds with the whole batch."""
    return everything(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("model", [*MODELS, "paintstorch"])
def test_same_weights_on_every_rank(ranks: list[dict[str, Any]], model: str) -> None:
    one, two = (r[model]["weights"] for r in ranks)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("model", MODELS)
def test_the_curve_is_that_of_one_process(
    ranks: list[dict[str, Any]], alone: dict[str, Any], model: str
) -> None:
    # bfloat16 rounds a batch and its halves differently.
    loose = 5.0 if fast_bf16(torch.device("cpu")) else 1.0
    for found in ranks:
        assert found[model]["curve"] == pytest.approx(alone[model]["curve"], rel=2e-3 * loose)
    mine, theirs = ranks[0][model]["weights"], alone[model]["weights"]
    assert all(torch.allclose(mine[k], theirs[k], atol=5e-3 * loose) for k in mine)


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_those_of_the_whole_batch(
    ranks: list[dict[str, Any]], alone: dict[str, Any], model: str
) -> None:
    # Adaptive optimisers take steps of one size, so curves alone hardly tell whose gradient it was.
    whole = alone[model]["gradients"][0]
    for found in ranks:
        apart = (found[model]["gradients"][0] - whole).norm() / whole.norm()
        assert apart < (0.05 if fast_bf16(torch.device("cpu")) else 1e-3)


def test_every_rank_sees_its_share_once(ranks: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    seen = [r["seen"] for r in ranks]
    assert len(seen[0]) == len(seen[1]) == len(alone["seen"]) > 6
    for one, two, whole in zip(*seen, alone["seen"], strict=True):
        assert len(one) == len(two)
        assert one + two == whole  # in the order of the batch, nothing twice
        assert len(set(whole)) == len(whole)


def test_machines_that_share_no_folder_do_not_wait_for_ever(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        assert "(0, 3): --runs must be one folder that all machines share" in found["apart"]
