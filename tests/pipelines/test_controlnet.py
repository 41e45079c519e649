"""The full-size path: Stable Diffusion and ControlNet in diffusers' format, tiny and random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pipelines.colorize import controlnet as module
from pipelines.colorize.controlnet import ControlNetPipeline, start_picture
from pipelines.colorize.progress import ColourProgress, Variations
from pipelines.colorize.settings import StablePaintConfig
from pipelines.errors import InvalidInput, ModelUnavailable
from tests.pipelines.test_stablepaint import arrays, drawing, noise_picture, strokes

QUICK = StablePaintConfig(variations=2, steps=2, seed=5, preview_every=1)


def write(folder: Path) -> tuple[str, str]:
    """Folders as the hub has them: Stable Diffusion, and a ControlNet for it."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), layers_per_block=1,
        cross_attention_dim=16, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    shape: dict[str, Any] = {
        "block_out_channels": (8, 8, 8, 8), "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }  # fmt: skip
    vae = AutoencoderKL(**shape, latent_channels=4, norm_num_groups=4)
    vocabulary = {c + end: 0 for c in "abcdefghijklmnopqrstuvwxyz,'" for end in ("", "</w>")}
    tokens = [*vocabulary, "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={t: n for n, t in enumerate(tokens)}, merges=[])
    tokenizer.model_max_length = 77
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1,
        vocab_size=len(tokens), bos_token_id=len(tokens) - 2, eos_token_id=len(tokens) - 1,
        projection_dim=16,
    )  # fmt: skip
    parts: dict[str, Any] = {
        "vae": vae, "text_encoder": CLIPTextModel(text), "tokenizer": tokenizer, "unet": unet,
        "scheduler": PNDMScheduler(beta_start=0.00085, beta_end=0.012, skip_prk_steps=True,
                                   beta_schedule="scaled_linear", steps_offset=1),
        "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False,
    }  # fmt: skip
    StableDiffusionPipeline(**parts).save_pretrained(folder / "sd")
    net = ControlNetModel.from_unet(unet, conditioning_channels=3)
    for block in (*net.controlnet_down_blocks, net.controlnet_mid_block):  # begins as zero: wake it
        for weight in block.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    net.save_pretrained(folder / "lineart")
    return str(folder / "sd"), str(folder / "lineart")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def pipeline(folders: tuple[str, str]) -> ControlNetPipeline:
    return ControlNetPipeline.from_pretrained(*folders, device="cpu")


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_variations_stream_and_repeat(pipeline: ControlNetPipeline, sampler: str) -> None:
    config = StablePaintConfig(variations=2, steps=2, seed=5, preview_every=1, sampler=sampler)
    *steps, last = pipeline.stream(drawing(50, 70), strokes(50, 70), config)
    assert [e.step for e in steps if isinstance(e, ColourProgress)] == [1, 2]
    assert all(isinstance(e, ColourProgress) and e.previews for e in steps)
    assert isinstance(last, Variations)
    assert last.seeds == (5, 6)
    assert all(p.size == (50, 70) for p in last.pictures)
    one, two = arrays(last)
    assert np.abs(one - two).mean() > 0.1
    again = pipeline(drawing(50, 70), strokes(50, 70), config)
    np.testing.assert_array_equal(arrays(again), [one, two])


def test_line_art_hints_and_words_tell(pipeline: ControlNetPipeline) -> None:
    config = StablePaintConfig(variations=1, steps=2, seed=5, corruption=0.5)
    plain = arrays(pipeline(drawing(), strokes(), config))[0]
    for other in (
        pipeline(Image.new("L", (64, 64), 255), strokes(), config),
        pipeline(drawing(), None, config),
        pipeline(drawing(), strokes(), config, prompt="a fox"),
    ):
        assert (arrays(other)[0] != plain).any()


def test_outside_the_mask_nothing_changes(pipeline: ControlNetPipeline) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (10, 10, 30, 50))
    before = noise_picture()
    after = arrays(pipeline(drawing(), strokes(), QUICK, mask=mask, picture=before))[0]
    changed = (after != np.asarray(before)).any(axis=2)
    inside = np.asarray(mask) > 127
    assert not (changed & ~inside).any()
    assert changed[inside].mean() > 0.9


def test_no_corruption_is_the_start_itself(pipeline: ControlNetPipeline) -> None:
    still = StablePaintConfig(variations=2, corruption=0.0, seed=1)
    one, two = arrays(pipeline(drawing(), strokes(), still))
    np.testing.assert_array_equal(one, two)


def test_large_drawings_are_painted_smaller(
    pipeline: ControlNetPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORK_PIXELS", 32 * 32)
    result = pipeline(drawing(100, 60), strokes(100, 60), QUICK)
    assert result.pictures[0].size == (100, 60)


def test_the_start_takes_the_nearest_stroke() -> None:
    start = np.asarray(start_picture(Image.new("L", (64, 64), 255), strokes()))
    assert start[0, 0].tolist() == [220, 40, 30]
    assert start[63, 63].tolist() == [30, 60, 200]
    assert start[60, 0].tolist() in ([220, 40, 30], [30, 60, 200])
    lined = np.asarray(start_picture(drawing(), strokes()))
    assert lined[64 // 3].max() == 0
    plain = np.asarray(start_picture(drawing(), None))
    np.testing.assert_array_equal(plain[..., 0], np.asarray(drawing()))


def test_what_cannot_be_had_is_said(
    folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match="hf download nobody/lineart"):
        ControlNetPipeline.from_pretrained(folders[0], "nobody/lineart", device="cpu")
    with pytest.raises(ModelUnavailable, match="Stable Diffusion “nobody/sd”"):
        ControlNetPipeline.from_pretrained("nobody/sd", folders[1], device="cpu")
    with pytest.raises(ModelUnavailable, match="holds no line art ControlNet"):
        ControlNetPipeline.from_pretrained(folders[0], str(tmp_path), device="cpu")


def test_a_picture_of_another_size_is_refused(pipeline: ControlNetPipeline) -> None:
    with pytest.raises(InvalidInput, match="same size"):
        pipeline(drawing(), None, QUICK, picture=noise_picture(32, 64))
