"""The figures of the model cards: what R-precision and its helpers measure."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from finetune import evaluate as command
from finetune.data.pages import PageSet, StoryPage
from finetune.data.scenes import SceneRecord, SceneSet
from finetune.data.storyworld import Captioned, stream_scenes
from finetune.evaluate import (
    AMONG,
    METHODS,
    TOGETHER,
    batches,
    evaluate_large,
    evaluate_pictures,
    evaluate_vqgan,
    r_precision,
    real_recall,
    reconstruction_grid,
    save_grid,
    sentence_of,
)
from pipelines.events import Sentence
from pipelines.presets import PictureConfig
from pipelines.scene import describe_scene, parse_brief
from pipelines.vqgan_clip.clip import CLIP
from pipelines.vqgan_clip.vqgan import enlarged
from tests import tiny
from tests.tiny_pictures import picture


@pytest.fixture(scope="module")
def judge() -> CLIP:
    """A random text tower tells prompts apart once its token embeddings are large."""
    model = tiny.clip()
    torch.nn.init.normal_(model.model.text_model.embeddings.token_embedding.weight)
    return model


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    found = dict.fromkeys(describe_scene(c.scene) for c in islice(stream_scenes(1), 400))
    return [*found][:150]


class PaintedScenes(SceneSet):
    """As many records as R-precision needs; only the first few pictures differ."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(folder, 4, split="test")
        first = [SceneRecord(r.captioned, "storybook") for r in self.records]
        more = [SceneRecord(c, "storybook") for c in islice(stream_scenes(2), count - 4)]
        ids = np.arange(count) % 4
        self.records = first + more
        self.pictures, self.labels = self.pictures[ids], self.labels[ids]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneSet:
    return PaintedScenes(tmp_path_factory.mktemp("scenes") / "test", 160)


def test_r_precision_of_pictures_that_say_their_prompts(judge: CLIP, prompts: list[str]) -> None:
    seen = judge.embed_texts(prompts)
    assert r_precision(judge, seen, prompts, prompts) == 1.0
    assert r_precision(judge, seen[:20], prompts[:20], prompts) == 1.0
    opposite = -seen
    assert r_precision(judge, opposite, prompts, prompts) == 0.0


def test_r_precision_of_shuffled_pictures_is_chance(judge: CLIP, prompts: list[str]) -> None:
    seen = judge.embed_texts(prompts)
    assert r_precision(judge, seen.roll(1, 0), prompts, prompts) < 0.08
    noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(1))
    found = r_precision(judge, torch.nn.functional.normalize(noise, dim=-1), prompts, prompts)
    assert found < 0.08


def test_r_precision_between(judge: CLIP, prompts: list[str]) -> None:
    """Half of the pictures right is half of the precision."""
    seen = judge.embed_texts(prompts).clone()
    seen[::2] = -seen[::2]
    assert r_precision(judge, seen, prompts, prompts) == 0.5


def test_a_prompt_never_competes_with_itself(judge: CLIP, prompts: list[str]) -> None:
    """The same words under another picture are no rival."""
    seen = judge.embed_texts(prompts)
    assert r_precision(judge, seen, prompts, prompts + prompts) == 1.0
    same = [prompts[0]] * 5
    assert r_precision(judge, judge.embed_texts(same), same, same + prompts[1:]) == 1.0


def test_rivals_are_99_and_the_same_each_time(judge: CLIP, prompts: list[str]) -> None:
    assert AMONG == 100
    with pytest.raises(ValueError, match=r"[Ss]ample larger"):
        r_precision(judge, judge.embed_texts(prompts[:2]), prompts[:2], prompts[:99])
    noise = torch.randn((len(prompts), 32), generator=torch.Generator().manual_seed(2))
    assert r_precision(judge, noise, prompts, prompts) == r_precision(
        judge, noise, prompts, prompts
    )


def test_sentences_of_records() -> None:
    record = SceneRecord(Captioned(parse_brief("fox @forest day"), "Pip ran."), "pencil")
    assert sentence_of(record) == Sentence("Pip ran.", "fox @forest day")


def test_batches_hold_every_picture_once(scenes: SceneSet) -> None:
    found = [*batches(scenes, 7, size=3)]
    assert [ids for ids, _ in found] == [[0, 1, 2], [3, 4, 5], [6]]
    pixels = torch.cat([p for _, p in found])
    assert pixels.shape == (7, 3, 256, 256)
    back = ((pixels[2] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert (back == scenes.pictures[2]).all()


def test_figures_of_a_vqgan(scenes: SceneSet, judge: CLIP) -> None:
    found = evaluate_vqgan(tiny.vqgan(), judge, scenes, 104)
    assert 0 < found["PSNR"] < 25  # a random network: some dB
    assert 0 < found["PSNR clip art"] < 25
    assert -1 < found["SSIM"] < 0.9
    assert found["Fréchet distance"] > 1e-3
    assert 0 < found["codes used"] <= 1
    size = tiny.VQGAN_CONFIG.codebook_size
    assert 1 <= found["perplexity of codes"] <= found["codes used"] * size + 1e-3
    for name in ("R-precision originals", "R-precision reconstructions"):
        assert 0 <= found[name] <= 0.2


def test_a_judge_that_knows_no_original_gives_no_share(scenes: SceneSet, judge: CLIP) -> None:
    blind = CLIP(judge.config)
    for tower in (blind.model.visual_projection, blind.model.text_projection):
        torch.nn.init.zeros_(tower.weight)  # every prompt is ranked first, or none
    found = evaluate_vqgan(tiny.vqgan(), blind, scenes, 104)
    share, original = found["reconstructions / originals"], found["R-precision originals"]
    assert share == 1.0 if original else np.isnan(share)


class Perfect(torch.nn.Module):
    """A VQGAN's twin without loss: pixels are their own latents."""

    config = tiny.VQGAN_CONFIG

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels

    def quantizer(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return latents, torch.zeros(len(latents), 4, 2, dtype=torch.long)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


def test_a_perfect_vqgan_is_ranked_as_the_originals(scenes: SceneSet, judge: CLIP) -> None:
    found = evaluate_vqgan(Perfect(), judge, scenes, 104)  # type: ignore[arg-type]
    assert found["R-precision originals"] == found["R-precision reconstructions"]
    assert found["PSNR"] > 80
    assert found["SSIM"] == pytest.approx(1)
    assert found["Fréchet distance"] == pytest.approx(0, abs=1e-4)
    assert found["codes used"] == 1 / tiny.VQGAN_CONFIG.codebook_size
    assert found["perplexity of codes"] == pytest.approx(1)


class Enlarger(Perfect):
    """Without loss, and without detail when it draws large; `blur` takes off more."""

    def __init__(self, blur: int) -> None:
        super().__init__()
        self.blur = blur

    def quantise(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def style_index(self, style: str) -> int:
        return 0

    def decode_large(self, latents: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        return avg_pool2d(enlarged(latents), self.blur, 1, self.blur // 2)


def test_what_is_drawn_large_is_compared_with_pages_painted_so(judge: CLIP, tmp_path: Path) -> None:
    painted = SceneSet(tmp_path / "large", 3, split="test", scale=2, workers=1)
    sharp, soft = (evaluate_large(Enlarger(n), judge, painted, 2) for n in (1, 9))  # type: ignore[arg-type]
    assert 15 < soft["large: PSNR"] < sharp["large: PSNR"] < 60
    assert soft["large: Fréchet distance"] > sharp["large: Fréchet distance"] > 0


def test_figures_of_ways_to_paint(scenes: SceneSet, judge: CLIP, tmp_path: Path) -> None:
    methods = {
        "sketch": PictureConfig(start="sketch", steps=0),
        TOGETHER: PictureConfig(start="noise", steps=1, cutouts=1),
    }
    grid = tmp_path / "grid.jpg"
    found = evaluate_pictures(tiny.pipeline(), judge, scenes, 2, methods, grid)
    names = ("original", "sketch", TOGETHER)
    figures = {f"{k} {n}" for k in ("R-precision", "judge similarity") for n in names}
    assert set(found) == figures | {f"seconds a page {n}" for n in names[1:]}
    assert all(found[f"seconds a page {n}"] > 0 for n in names[1:])
    for name in names:
        assert found[f"R-precision {name}"] in (0.0, 0.5, 1.0)
        assert -1 <= found[f"judge similarity {name}"] <= 1
    with Image.open(grid) as picture:
        assert picture.size == (2 * 192, 3 * 192)


def test_ways_to_paint_include_the_apps_default() -> None:
    assert METHODS["code transformer + guidance"] == PictureConfig()


def test_a_wrong_folder_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ["--before", str(tmp_path / "no writer"), "--after", "embedded"]
    monkeypatch.setattr(sys, "argv", ["evaluate", "story", *where])
    with pytest.raises(SystemExit, match="no writer"):
        command.main()


def test_captions_and_stories_of_real_pages_are_ranked_apart(tmp_path: Path) -> None:
    pages = list[StoryPage]()
    for n in range(5):
        picture(n, 64).save(tmp_path / f"{n}.png")
        pages.append(StoryPage(tmp_path / f"{n}.png", "A tale" if n else "", "Blobs" * (n < 2)))
    found = real_recall(tiny.clip(), PageSet(pages, 64))
    assert (found["real pages, captions"], found["real pages, story text"]) == (2, 4)
    assert found["captions, words to picture: recall@10"] == 1
    assert 1 <= found["story text, picture to words: median rank"] <= 4
    assert not any("captions" in k for k in real_recall(tiny.clip(), PageSet(pages[2:], 64)))


def test_grids(tmp_path: Path, scenes: SceneSet) -> None:
    colours = ["red", "lime", "blue"]
    rows = [[Image.new("RGB", (8, 8), c) for c in colours] for _ in range(2)]
    save_grid(rows, tmp_path / "grid.png", columns=2)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (2 * 192, 2 * 192)
        assert picture.getpixel((90, 90)) == (255, 0, 0)
        assert picture.getpixel((192 + 90, 192 + 90)) == (0, 255, 0)
    reconstruction_grid(tiny.vqgan(), scenes, tmp_path / "rebuilt.png", count=3)
    with Image.open(tmp_path / "rebuilt.png") as picture:
        assert picture.size == (3 * 192, 2 * 192)
