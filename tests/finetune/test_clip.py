"""Training CLIP: it learns, it resumes, its command writes what the pipeline loads."""

from __future__ import annotations

import functools
import json
import math
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from finetune import clip as command
from finetune import clip_pairs
from finetune.clip import (
    REAL_EVERY,
    RealPairs,
    draw_pairs,
    patch_labels,
    recall,
    train,
)
from finetune.clip_views import view
from finetune.data.pages import PageSet, read_pages
from finetune.data.scenes import SceneSet
from finetune.training import TrainStep
from pipelines.errors import InvalidInput
from pipelines.painter import SIZE
from pipelines.vqgan_clip import VQGANCLIPPipeline
from pipelines.vqgan_clip.clip import CLIP, embedded_config
from pipelines.vqgan_clip.clip_checkpoints import TransformersCLIP
from pipelines.vqgan_clip.loading import load_clip
from pipelines.weights import save_model
from tests.pipelines.test_clip_checkpoints import words_tokenizer
from tests.tiny import CLIP_CONFIG, CPU, VQGAN_CONFIG, clip, vqgan
from tests.tiny_pictures import folder, picture


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
    # Activations that are computed twice are the same ones.
    *told, resumed = begin(scenes, tmp_path / "resumed.pt", 4, checkpointing=True)
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


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_a_clip_that_says_the_same_of_everything_finds_nothing(
    scenes: SceneSet, value: float
) -> None:
    collapsed = clip()
    for parameter in collapsed.parameters():
        parameter.fill_(value)
    found = recall(collapsed, scenes, count=12, among=6)
    figures = clip_pairs.figures(collapsed, *own())
    found |= {k: v for k, v in figures.items() if k.endswith("recall@1") and "chance" not in k}
    assert set(found.values()) == {0.0}


def test_pictures_of_the_same_words_are_no_rivals() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.1], [0.9, 0.2, 0.3], [0.0, 0.0, 0.1]])
    assert clip_pairs.ranks(scores, ["a", "a", "b"]).tolist() == [0, 1, 0]
    assert clip_pairs.ranks(scores, ["a", "b", "c"]).tolist() == [1, 2, 0]
    sure, unit = torch.tensor(4.0), torch.eye(3)[[0, 0, 1]]
    for words, shown, told in (("aab", "xyz", True), ("abc", "xxz", True), ("abc", "xyz", False)):
        loss, logits = clip_pairs.contrast(unit, unit, sure, clip_pairs.rivals(words, shown))
        assert (loss < 0.01) == told
        assert (logits.argmax(1).tolist() == [0, 1, 2]) == told


def test_several_words_of_one_picture_are_no_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, words = own()
    pictures[1] = pictures[0]
    asked = list[int]()

    class Sees(CLIP):
        """Knows what is shown, whatever is said of it."""

        def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
            asked.append(len(pixels))
            return torch.nn.functional.normalize(pixels.mean((2, 3)) + 1)

        def embed_texts(self, prompts: Sequence[str]) -> torch.Tensor:
            told = torch.from_numpy(pictures[[words.index(p) for p in prompts]])
            return self.embed_images(told.permute(0, 3, 1, 2) / 127.5 - 1)

    monkeypatch.setattr(clip_pairs, "AT_ONCE", 3)
    found = clip_pairs.figures(Sees(CLIP_CONFIG), pictures, words)
    assert {k: v for k, v in found.items() if "to words" in k or "to picture" in k} == {
        f"{way} recall@{k}": 1.0 for way in ("picture to words", "words to picture") for k in (1, 5)
    }
    assert found["chance recall@1"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 4 + 1 / 4) / 4)
    assert max(asked) == 3  # of thousands that are held out a few at a time


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


# --- somebody's own pictures -------------------------------------------------------------


def own(count: int = 4) -> tuple[np.ndarray, list[str]]:
    pictures = np.stack([np.asarray(picture(n, SIZE)) for n in range(count)])
    return pictures, ["a fox", "two owls at night", "the sea", "snow on a red house"][:count]


def learn(path: Path, steps: int, **changed: Any) -> list[Any]:
    options: dict[str, Any] = {"config": CLIP_CONFIG, "batch": 4, "save_every": 2,
                               "report_every": 1}  # fmt: skip
    return list(clip_pairs.train(steps, *own(), path, CPU, **(options | changed)))


def test_own_pairs_can_be_overfitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_pairs, "boxes", lambda _, n: torch.tensor([[SIZE, 0, 0]] * n))
    *steps, model = learn(tmp_path / "clip.pt", 60, peak=0.004, save_every=1000)
    metrics = [e.metrics for e in steps if isinstance(e, TrainStep)]
    assert metrics[-1]["contrast"] < 0.5 * metrics[0]["contrast"]
    assert isinstance(model, CLIP)
    found = clip_pairs.figures(model.eval(), *own())
    assert found["picture to words recall@1"] == found["words to picture recall@1"] == 1
    assert found["chance recall@1"] == 0.25


def test_own_pairs_resume_to_the_same_curve(tmp_path: Path) -> None:
    *straight, one = learn(tmp_path / "straight.pt", 4)
    options: dict[str, Any] = {"config": CLIP_CONFIG, "batch": 4, "save_every": 2,
                               "report_every": 1}  # fmt: skip
    events = clip_pairs.train(4, *own(), tmp_path / "resumed.pt", CPU, **options)
    while next(events).step < 3:  # type: ignore[union-attr]
        pass
    events.close()  # type: ignore[attr-defined]
    torch.manual_seed(99)  # nothing may hang on the process's own random state
    *told, two = learn(tmp_path / "resumed.pt", 4, checkpointing=True)
    curve = [(e.step, e.metrics) for e in straight if isinstance(e, TrainStep)]
    assert [(e.step, e.metrics) for e in told if isinstance(e, TrainStep)] == curve[2:]
    assert isinstance(one, CLIP)
    assert isinstance(two, CLIP)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key


def test_only_the_top_learns(tmp_path: Path) -> None:
    config = embedded_config(
        image_size=32, patch=16, width=64, image_layers=2, text_layers=2, projection=32
    )
    torch.manual_seed(1)
    base = CLIP(config)
    *_, model = learn(tmp_path / "clip.pt", 2, base=base, top=1, peak=0.01)
    assert isinstance(model, CLIP)
    before, after = base.state_dict(), model.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert any("vision_model.encoder.layers.1" in k for k in moved)
    assert any("text_model.encoder.layers.1" in k for k in moved)
    assert any("text_projection" in k for k in moved)
    assert not any("layers.0" in k or "embeddings" in k for k in moved)
    with pytest.raises(InvalidInput, match="from 1 to 2"):
        clip_pairs.train_top(CLIP(config), 3)


def test_the_command_learns_own_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("finetune.own.signal.signal", lambda *_: None)
    monkeypatch.setattr(command, "embedded_config", lambda: CLIP_CONFIG)
    home = folder(tmp_path / "pictures", 5)
    (home / "04.txt").unlink()
    where = {"pairs": home, "out": tmp_path / "models", "runs": tmp_path / "runs"}
    arguments = [f"--{name}={path}" for name, path in where.items()]
    arguments += ["--steps=2", "--batch=2", "--device=cpu"]

    def call(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", ["clip", *arguments, *more])
        command.main()

    call("--dry-run")
    assert "pictures without words: 1 (04.png)" in capsys.readouterr().out
    call()
    model = CLIP.from_pretrained(tmp_path / "models" / "clip", CPU)
    assert model.config == CLIP_CONFIG
    told = json.loads((tmp_path / "models" / "clip" / "training.json").read_text())
    assert (told["pairs"], told["figures"]["held out"]) == (3, 1)
    assert (tmp_path / "runs" / "samples" / "clip-000002.png").is_file()
    with pytest.raises(SystemExit, match="needs a --base"):
        call("--top=1")
    call(f"--base={tmp_path / 'models'}", "--top=1", f"--out={tmp_path / 'more'}",
         f"--runs={tmp_path / 'more runs'}")  # fmt: skip
    again = CLIP.from_pretrained(tmp_path / "more" / "clip", CPU)
    key = "model.vision_model.embeddings.patch_embedding.weight"
    assert torch.equal(model.state_dict()[key], again.state_dict()[key])


def test_the_top_of_a_public_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CLIP of transformers is trained further, and stays one that the painter takes."""
    monkeypatch.setattr("finetune.own.signal.signal", lambda *_: None)
    given = tmp_path / "given"
    torch.manual_seed(1)
    public: Any = CLIPModel(CLIPConfig(**CLIP_CONFIG))
    public.save_pretrained(given)
    words_tokenizer().save_pretrained(given)
    home = folder(tmp_path / "pictures", 4)
    where = {"pairs": home, "out": tmp_path / "models", "runs": tmp_path / "runs", "base": given}
    arguments = [f"--{name}={path}" for name, path in where.items()]
    arguments += ["--steps=2", "--batch=2", "--device=cpu", "--top=1", "--peak=0.01"]
    monkeypatch.setattr(sys, "argv", ["clip", *arguments])
    command.main()
    save_model(vqgan(), VQGAN_CONFIG, tmp_path / "models" / "vqgan")
    painter = VQGANCLIPPipeline.from_pretrained(str(tmp_path / "models"), device=CPU)
    taught = painter.clips[0].model
    assert isinstance(taught, TransformersCLIP)
    before, after = public.state_dict(), taught.model.state_dict()
    assert torch.equal(before["text_model.embeddings.token_embedding.weight"],
                       after["text_model.embeddings.token_embedding.weight"])  # fmt: skip
    assert not torch.equal(before["visual_projection.weight"], after["visual_projection.weight"])
    pixels = torch.zeros(1, 3, 32, 32)
    first = load_clip(str(given), CPU)
    assert isinstance(first, TransformersCLIP)
    assert torch.allclose(first.norm(pixels), taught.norm(pixels), atol=1e-6)
