"""Training CLIP: it learns, it resumes, its command writes what the pipeline loads."""

from __future__ import annotations

import functools
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from finetune import clip as command
from finetune.clip import (
    REAL_EVERY,
    RealPairs,
    draw_pairs,
    patch_labels,
    recall,
    train,
    view,
)
from finetune.data.pages import PageSet, read_pages
from finetune.data.scenes import SceneSet
from finetune.training import TrainStep
from pipelines.painter import SIZE
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


def test_a_draw(scenes: SceneSet) -> None:
    draw = draw_pairs(scenes.records, random.Random(1), 6)
    assert len(set(draw.ids.tolist())) == len(set(draw.prompts)) == 6
    assert draw.ids_text.shape == draw.mask_text.shape
    side, left, top = draw.box.unbind(1)
    assert side[::2].tolist() == [SIZE] * 3  # whole pictures
    assert (side[1::2] < SIZE).all()
    assert (left + side <= SIZE).all()
    assert (top + side <= SIZE).all()
    again = draw_pairs(scenes.records, random.Random(1), 6)
    assert again.prompts == draw.prompts
    assert torch.equal(again.box, draw.box)


def test_views_of_whole_pictures_are_the_pictures_reduced(scenes: SceneSet) -> None:
    pictures = torch.from_numpy(scenes.pictures[:2].copy())
    seen = view(pictures, torch.tensor([[SIZE, 0, 0]] * 2), 64)
    pixels = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.allclose(seen, torch.nn.functional.avg_pool2d(pixels, 4), atol=1e-4)


def test_views_and_labels_of_cutouts_go_together(scenes: SceneSet) -> None:
    """A page that shows its own labels, cut: every patch has the label whose colour it shows."""
    cells = torch.arange(256).view(1, 16, 16)
    page = cells.repeat_interleave(16, 1).repeat_interleave(16, 2)[..., None].expand(-1, -1, -1, 3)
    box = torch.tensor([[192, 32, 16]])
    seen = view(page.to(torch.uint8), box, 256)
    labels = patch_labels(cells, box, 16)
    middles = ((seen[0, 0, 8::16, 8::16] + 1) * 127.5).flatten()
    row, column = middles // 16, middles % 16
    exact = (labels[0] // 16 - row).abs() + (labels[0] % 16 - column).abs()
    assert (exact < 1.5).float().mean() > 0.7  # where a middle falls on a border, either will do
    assert patch_labels(cells, torch.tensor([[SIZE, 0, 0]]), 16)[0].tolist() == list(range(256))


def test_one_batch_can_be_overfitted(
    scenes: SceneSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = draw_pairs(scenes.records, random.Random(1), 4)
    monkeypatch.setattr(command, "draw_pairs", lambda *_: draw)
    events = begin(scenes, tmp_path / "clip.pt", 60, peak=0.004, save_every=1000)
    *steps, model = events
    metrics = [e.metrics for e in steps if isinstance(e, TrainStep)]
    for name, share in (("contrast", 0.3), ("tags", 0.3), ("patches", 0.6)):
        assert metrics[-1][name] < share * metrics[0][name], name
    assert metrics[-1]["recall@1"] == 1.0
    assert isinstance(model, CLIP)
    pictures = torch.from_numpy(scenes.pictures[draw.ids.numpy()])
    with torch.no_grad():  # what is shipped is the average
        pixels = view(pictures, draw.box, CLIP_CONFIG["vision_config"]["image_size"])
        scores = model.embed_images(pixels) @ model.embed_texts(draw.prompts).T
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]


def test_real_pages_take_their_turn(scenes: SceneSet, tmp_path: Path) -> None:
    rows = list[str]()
    for n in range(5):
        Image.new("RGB", (64, 64), (50 * n, 99, 99)).save(tmp_path / f"{n}.png")
        text = "" if n == 4 else f"Page {n} of it."
        rows.append(
            json.dumps({"image": f"{n}.png", "text": text, "caption": "A wall." * (n == 3)})
        )
    (tmp_path / "pages.jsonl").write_text("\n".join(rows))
    pages = PageSet(list(read_pages(tmp_path, "train")))
    real = RealPairs(pages, CPU)
    draw = real.draw(random.Random(0), 9)
    assert sorted(draw.prompts) == ["A wall.", "Page 0 of it.", "Page 1 of it.", "Page 2 of it."]
    told = [real.words[i] for i in draw.ids.tolist()]
    assert told == draw.prompts
    steps = list(begin(scenes, tmp_path / "clip.pt", REAL_EVERY, pages=pages))
    shares = ["real pages recall@1" in e.metrics for e in steps if isinstance(e, TrainStep)]
    assert shares == [False] * (REAL_EVERY - 1) + [True]


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
    monkeypatch.setattr(command, "JUDGE", CLIP_CONFIG)
    monkeypatch.setattr(command, "recall", functools.partial(recall, count=4, among=2))
    SceneSet(tmp_path / "scenes-test", 4, split="test")  # else the command paints a thousand
    out = tmp_path / "weights" / "judge"
    arguments = ["--steps", "2", "--batch", "4", "--scenes", "6", "--device", "cpu", "--judge"]
    where = ["--out", str(out), "--runs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["clip", *arguments, *where])
    command.main()
    model = CLIP.from_pretrained(out, CPU)
    assert model.config == CLIP_CONFIG
    assert model.embed_texts(["a fox"]).shape == (1, 32)
    assert (tmp_path / "judge.pt").exists()  # guide and judge have checkpoints of their own
