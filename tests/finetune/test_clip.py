"""Training CLIP: it learns, it resumes, its command writes what the pipeline loads."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune import clip as command
from finetune.clip import recall, sample_batch, train
from finetune.data.scenes import SceneSet, tags
from finetune.training import TrainStep
from pipelines.vqgan_clip.clip import CLIP
from tests.tiny import CLIP_CONFIG, CPU, clip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneSet:
    return SceneSet(tmp_path_factory.mktemp("scenes") / "train", 12)


def begin(scenes: SceneSet, path: Path, steps: int, **changed: Any) -> Iterator[TrainStep | CLIP]:
    options: dict[str, Any] = {
        "config": CLIP_CONFIG, "batch": 4, "save_every": 2, "report_every": 1,
    }  # fmt: skip
    return train(steps, scenes, path, CPU, **(options | changed))


def test_a_batch(scenes: SceneSet) -> None:
    pixels, labels, prompts, shown, whole = sample_batch(scenes, random.Random(1), 6, 64, 16)
    assert pixels.shape == (6, 3, 64, 64)
    assert labels.shape == (6, 16)
    assert shown.shape == (6, len(tags()))
    assert whole.tolist() == [True, False] * 3
    assert len(set(prompts)) == 6
    assert labels.min() >= 0
    assert labels.max() <= len(tags())  # the last means background
    for n in range(6):  # the words on the patches are words that the scene shows
        words = set(labels[n].tolist()) - {len(tags())}
        assert words <= set(shown[n].nonzero()[:, 0].tolist())
    again = sample_batch(scenes, random.Random(1), 6, 64, 16)
    assert torch.equal(again[0], pixels)
    assert again[2] == prompts


def test_whole_pictures_keep_their_labels(scenes: SceneSet) -> None:
    """At one patch a cell, the labels of a whole picture are those on disk."""
    rng = random.Random(3)
    ids = random.Random(3).sample(range(len(scenes)), 4)
    _, labels, _, _, whole = sample_batch(scenes, rng, 4, 256, 16)
    for n in range(4):
        if whole[n]:
            expected = torch.from_numpy(scenes.labels[ids[n]].astype("int64")).flatten()
            expected[expected < 0] = len(tags())
            assert torch.equal(labels[n], expected)


def test_one_batch_can_be_overfitted(
    scenes: SceneSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = sample_batch(scenes, random.Random(1), 4, 32, 16)
    monkeypatch.setattr(command, "sample_batch", lambda *_: batch)
    events = begin(scenes, tmp_path / "clip.pt", 60, peak=0.01, save_every=1000)
    *steps, model = events
    metrics = [e.metrics for e in steps if isinstance(e, TrainStep)]
    for name, share in (("contrast", 0.3), ("tags", 0.3), ("patches", 0.6)):
        assert metrics[-1][name] < share * metrics[0][name], name
    assert metrics[-1]["recall@1"] == 1.0
    assert isinstance(model, CLIP)
    with torch.no_grad():  # what is shipped is the average
        scores = model.embed_images(batch[0]) @ model.embed_texts(batch[2]).T
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]


def test_resuming_equals_no_interruption(scenes: SceneSet, tmp_path: Path) -> None:
    *_, straight = begin(scenes, tmp_path / "straight.pt", 4)
    events = begin(scenes, tmp_path / "resumed.pt", 4)
    for event in events:
        assert isinstance(event, TrainStep)
        if event.step == 3:  # saved at 2
            break
    events.close()  # type: ignore[attr-defined]
    *told, resumed = begin(scenes, tmp_path / "resumed.pt", 4)
    assert [e.step for e in told if isinstance(e, TrainStep)] == [3, 4]
    assert isinstance(straight, CLIP)
    assert isinstance(resumed, CLIP)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_another_seed_is_another_model(scenes: SceneSet, tmp_path: Path) -> None:
    """The judge: other weights, other pictures."""
    *_, one = begin(scenes, tmp_path / "one.pt", 1)
    *_, two = begin(scenes, tmp_path / "two.pt", 1, seed=1)
    assert isinstance(one, CLIP)
    assert isinstance(two, CLIP)
    a, b = one.model.visual_projection.weight, two.model.visual_projection.weight
    assert (a - b).abs().mean() > 0.01


def test_recall_near_chance_without_training(scenes: SceneSet) -> None:
    found = recall(clip(), scenes, count=12, among=6)
    assert set(found) == {
        f"{way} recall@{k}" for way in ("image to text", "text to image") for k in (1, 5)
    }
    for way in ("image to text", "text to image"):
        assert 0 <= found[f"{way} recall@1"] <= 0.6
        assert found[f"{way} recall@1"] <= found[f"{way} recall@5"] <= 1


def test_the_command_writes_a_model(
    scenes: SceneSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "train", functools.partial(train, config=CLIP_CONFIG))
    monkeypatch.setattr(command, "recall", functools.partial(recall, count=4, among=2))
    SceneSet(tmp_path / "scenes-test", 4, split="test")  # else the command paints a thousand
    out = tmp_path / "weights" / "judge"
    arguments = ["--steps", "2", "--batch", "4", "--scenes", "6", "--device", "cpu"]
    where = ["--out", str(out), "--runs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["clip", *arguments, *where])
    command.main()
    model = CLIP.from_pretrained(out, CPU)
    assert model.config == CLIP_CONFIG
    assert model.embed_texts(["a fox"]).shape == (1, 32)
    assert (tmp_path / "judge.pt").exists()  # guide and judge have checkpoints of their own
