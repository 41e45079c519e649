"""Public models in the formats of their makers, tiny and random, from file to finished page."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pipelines.__main__ as command
from pipelines.book import read_recipe
from pipelines.errors import ModelUnavailable
from pipelines.hub import bare, is_home, located, models_folder
from pipelines.presets import PRESETS, PictureConfig, Preset
from pipelines.story import StoryPipeline
from pipelines.storybook import load_pictures
from pipelines.vqgan_clip import VQGANCLIPPipeline, loading
from pipelines.weights import save_model
from tests.plain_clip import PlainCLIP, write_vocabulary
from tests.plain_vqgan import PlainVQGAN
from tests.tiny import CLIP_CONFIG, FOX, clip, write

QUICK = PictureConfig(steps=1, cutouts=2, width=128, height=128, preview_every=9, seed=3)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with vqgan.ckpt (f16) and clip.pt (OpenAI's, with its vocabulary)."""
    torch.manual_seed(1)
    folder = tmp_path / "downloads"
    folder.mkdir()
    torch.save({"state_dict": PlainVQGAN(multipliers=(1,) * 5).state_dict()}, folder / "vqgan.ckpt")
    with torch.no_grad():
        torch.save(PlainCLIP(resnet=False).state_dict(), folder / "clip.pt")
    write_vocabulary(folder)
    return folder


def test_a_downloaded_vqgan_and_several_clips_paint(files: Path) -> None:
    save_model(clip(), CLIP_CONFIG, files / "ours")
    pipeline = VQGANCLIPPipeline.from_pretrained(
        vqgan=str(files / "vqgan.ckpt"),
        clip=f"{files}/clip.pt:3,{files}/ours:1",
        device="cpu",
    )
    assert [c.weight for c in pipeline.clips] == [0.75, 0.25]
    sketch = pipeline(FOX, QUICK)  # there is no code transformer that knows this VQGAN's codes
    page = pipeline(FOX, replace(QUICK, start="noise"))
    assert page.picture != sketch.picture
    assert page.image().size == (128, 128)
    assert page.picture is not None
    recipe = read_recipe(page.picture)
    assert recipe is not None
    assert recipe.models["pictures"] == "vqgan.ckpt + clip.pt:3 + ours"
    assert re.fullmatch(r"[0-9a-f]{12}:0\.75 \+ [0-9a-f]{12}:0\.25", recipe.models["clip"])
    assert str(files).encode() not in page.picture
    other = pipeline(FOX, replace(QUICK, start="picture"), picture=page.image())
    assert other.picture != page.picture


def test_another_clip_guides_the_models_of_a_folder(files: Path, tmp_path: Path) -> None:
    models = write(tmp_path / "tiny")
    pipeline = VQGANCLIPPipeline.from_pretrained(str(models), clip=f"{files / 'clip.pt'}:3")
    assert pipeline.transformer is not None
    assert pipeline.name == "tiny + clip.pt"  # recipes travel: no folders of this machine
    assert pipeline(FOX, QUICK).score is not None


def test_the_embedded_vqgan_brings_its_code_transformer_along(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "EMBEDDED", write(tmp_path / "tiny"))
    clip = str(files / "clip.pt")
    pipeline = VQGANCLIPPipeline.from_pretrained("full", vqgan="embedded", clip=clip)
    assert pipeline.transformer is not None
    assert pipeline.name == "embedded + clip.pt"


def test_files_may_lie_in_the_folder_for_models(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = Preset("big", "Big", "gpt2", "", "vqgan.ckpt", "clip.pt")
    monkeypatch.setitem(PRESETS, "big", preset)
    kept = tmp_path / "data" / "storybrush" / "models"
    with pytest.raises(ModelUnavailable, match=rf"vqgan\.ckpt cannot be read.*put it into {kept}"):
        load_pictures("big")
    kept.mkdir(parents=True)
    (files / "vqgan.ckpt").rename(kept / "vqgan.ckpt")
    with pytest.raises(ModelUnavailable, match=r"clip\.pt cannot be read.*openai/CLIP"):
        load_pictures("big")
    for file in files.iterdir():
        file.rename(kept / file.name)
    assert load_pictures("big").name == "vqgan.ckpt + clip.pt"


@pytest.mark.parametrize("name", ["a" * 300, "/" + "a" * 300, "~/" + "a" * 5000])
def test_names_that_cannot_even_be_looked_for(name: str) -> None:
    for read in (located, bare, is_home, StoryPipeline.from_pretrained):
        with pytest.raises(ModelUnavailable, match=f"no model to be found by “{name[:80]}…”"):
            read(name)
    assert located("~nobody-of-this-name/model") == "~nobody-of-this-name/model"


def test_the_full_preset_says_what_to_download() -> None:
    """The file is asked for before any CLIP, and a name of a file is not taken for the hub's."""
    for guide in ("", "embedded"):
        with pytest.raises(ModelUnavailable) as told:
            VQGANCLIPPipeline.from_pretrained("full", clip=guide)
        assert "vqgan_imagenet_f16_16384.ckpt cannot be read" in str(told.value)
        assert "taming-transformers" in str(told.value)
        assert f"put it into {models_folder()}" in str(told.value)
        assert "hf download" not in str(told.value)
    with pytest.raises(ModelUnavailable, match="hf download openai/clip-vit-base-patch32 "):
        VQGANCLIPPipeline.from_pretrained("full", vqgan="embedded")


def test_the_command_takes_models_by_name(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tale.txt").write_text("A fox met an owl.")
    out = tmp_path / "book"

    def run(*more: str) -> int:
        options = f"--out {out} --steps 1 --cutouts 2 --size 128 --start noise --seed 3 --force"
        monkeypatch.setattr(sys, "argv", ["pipelines", "a fox", *options.split(), *more])
        return command.main()

    models = ("--vqgan", str(files / "vqgan.ckpt"), "--clip", str(files / "clip.pt"))
    assert run("--text", str(tmp_path / "tale.txt"), *models) == 0
    picture = next(out.glob("*.png")).read_bytes()
    recipe = read_recipe(picture)
    assert recipe is not None
    assert recipe.models["pictures"] == "vqgan.ckpt + clip.pt"
    assert run("--text", str(tmp_path / "tale.txt"), "--vqgan", str(files / "none.ckpt")) == 1
    assert run("--story", "nobody/writer") == 1
    assert "hf download nobody/writer " in capsys.readouterr().err
